//! Turns a core wasm module and its plugin.toml into a plugin component.
