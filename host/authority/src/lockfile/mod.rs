//! `runbook.lock`: what was reviewed. A run whose text, plugins or grants differ from it stops and
//! shows the difference.
//!
//! The file is written by `runbook lock` and read by people in reviews, so it is TOML in the words
//! of grants and boundaries, in a stable order. Paths below its folder are written relative to it,
//! so that every clone has the same file.

mod parse;
mod render;
#[cfg(test)]
mod tests;
mod text;

/// The version of the format that this host writes. It reads the one before, too, which held
/// neither texts nor plugins of runbooks.
pub const FORMAT: u32 = 2;

/// The file's name, beside the runbooks.
pub const FILE_NAME: &str = "runbook.lock";

pub use parse::parse;
pub use render::render;
