//! Refuses to read a file that contains a secret into a plugin: a program may have printed the
//! secret into the file.
//!
//! The file is not scrubbed, because a plugin that rewrites it would write the marker into it.

use runbook_secrets::Scrubber;
use std::io::{self, Read};

/// The first bytes of a zstd frame. The host itself compresses files with the suffix `.zst`.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How many bytes of decompressed content are searched. A larger file is refused while secrets are
/// known.
const MAX_DECODED: u64 = 64 << 20;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretContentError {
    #[error("it shows the secret `{name}`, which a plugin is not shown")]
    Secret { name: String },
    #[error("decompressed it has more than {} MiB, in which a secret could be", MAX_DECODED >> 20)]
    TooLarge,
}

/// Refuses content that contains a secret, plain or compressed with zstd.
pub(super) fn refuse(content: &[u8], scrubber: &Scrubber) -> io::Result<()> {
    if scrubber.is_empty() {
        return Ok(());
    }
    refuse_plain(content, scrubber)?;
    if !content.starts_with(&ZSTD_MAGIC) {
        return Ok(());
    }
    let mut decoded = Vec::new();
    // If the stream is damaged, the part before the damage is searched.
    let _ =
        zstd::stream::read::Decoder::new(content)?.take(MAX_DECODED + 1).read_to_end(&mut decoded);
    if decoded.len() as u64 > MAX_DECODED {
        return Err(io::Error::other(SecretContentError::TooLarge));
    }
    refuse_plain(&decoded, scrubber)
}

fn refuse_plain(content: &[u8], scrubber: &Scrubber) -> io::Result<()> {
    match scrubber.find_shown_secret(content) {
        Some(name) => Err(io::Error::other(SecretContentError::Secret { name: name.to_owned() })),
        None => Ok(()),
    }
}
