//! The text of a file as a lockfile keeps it: compressed, on one line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Read as _;

/// Far above the size of any text of a runbook; a larger one is damaged.
const MAX_BYTES: u64 = 64 << 20;

/// How hard it is compressed: the file is small, and it is written once and read in every review.
const LEVEL: i32 = 19;

/// The text as the lockfile keeps it, compressed.
pub(super) fn pack(text: &str) -> String {
    let packed =
        zstd::bulk::compress(text.as_bytes(), LEVEL).expect("memory can be compressed to memory");
    STANDARD.encode(packed)
}

/// The text that was packed; `None` if this is no such text.
pub(super) fn unpack(packed: &str) -> Option<String> {
    let bytes = STANDARD.decode(packed).ok()?;
    let mut text = String::new();
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(bytes.as_slice()).ok()?.take(MAX_BYTES + 1);
    decoder.read_to_string(&mut text).ok()?;
    (text.len() as u64 <= MAX_BYTES).then_some(text)
}
