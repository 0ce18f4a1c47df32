//! What plugin authors use: typed operations, assertions, host calls in Rust types.
