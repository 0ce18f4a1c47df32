//! `runbook.lock`: what was reviewed. A run whose text, plugins or grants differ from it stops and
//! shows the difference.
//!
//! `runbook lock` writes the file, and people read it in reviews. So it is TOML with the words of
//! grants and boundaries, in a stable order. Paths below its folder are written relative to it,
//! so that every clone has the same file.

mod parse;
mod render;
#[cfg(test)]
mod tests;
mod text;

/// The version of the format that this host writes. The host also reads format 1, which holds
/// neither the texts nor the plugins of runbooks.
pub const FORMAT: u32 = 2;

/// The file's name, beside the runbooks.
pub const FILE_NAME: &str = "runbook.lock";

pub use parse::parse;
pub use render::render;
