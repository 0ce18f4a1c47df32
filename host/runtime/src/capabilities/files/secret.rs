//! A file that shows a secret is not read into a plugin: a program whose output went there may have
//! printed what it was given.
//!
//! It is refused and not scrubbed, because a plugin that reads and rewrites the file would write
//! the marker into it.

use runbook_secrets::Scrubber;
use std::io::{self, Read};

/// What a frame of zstd begins with: the host itself compresses what goes to a file `*.zst`.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes of decompressed content that are looked through. A file that has more is not shown while
/// secrets are known.
const MOST_DECODED: u64 = 64 << 20;

/// Why a file is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum HiddenBecause {
    #[error("it shows the secret `{name}`, which a plugin is not shown")]
    Secret { name: String },
    #[error("decompressed it has more than {} MiB, in which a secret could be", MOST_DECODED >> 20)]
    TooLarge,
}

/// An error if the content shows a secret, as it is or decompressed.
pub(super) fn refuse(content: &[u8], scrubber: &Scrubber) -> io::Result<()> {
    if scrubber.is_empty() {
        return Ok(());
    }
    refuse_plain(content, scrubber)?;
    if !content.starts_with(&ZSTD) {
        return Ok(());
    }
    let mut decoded = Vec::new();
    // What breaks in the middle has been decoded up to there.
    let _ =
        zstd::stream::read::Decoder::new(content)?.take(MOST_DECODED + 1).read_to_end(&mut decoded);
    if decoded.len() as u64 > MOST_DECODED {
        return Err(io::Error::other(HiddenBecause::TooLarge));
    }
    refuse_plain(&decoded, scrubber)
}

fn refuse_plain(content: &[u8], scrubber: &Scrubber) -> io::Result<()> {
    match scrubber.shown_in(content) {
        Some(name) => Err(io::Error::other(HiddenBecause::Secret { name: name.to_owned() })),
        None => Ok(()),
    }
}
