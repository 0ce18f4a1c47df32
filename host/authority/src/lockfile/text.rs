//! The text of a file in a lockfile: compressed, and encoded as one line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Read as _;

/// The largest text, in bytes. It is far above the size of any file of a runbook, so that a damaged
/// entry cannot fill the memory.
const MAX_BYTES: u64 = 64 << 20;

/// The zstd compression level. It is high because the file is written once and read in every
/// review.
const COMPRESSION_LEVEL: i32 = 19;

/// Compresses a text and encodes it as Base64.
pub(super) fn pack(text: &str) -> String {
    let packed = zstd::bulk::compress(text.as_bytes(), COMPRESSION_LEVEL)
        .expect("memory can be compressed to memory");
    STANDARD.encode(packed)
}

/// Reverses [`pack`]; `None` if this is no packed text.
pub(super) fn unpack(packed: &str) -> Option<String> {
    let bytes = STANDARD.decode(packed).ok()?;
    let mut text = String::new();
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(bytes.as_slice()).ok()?.take(MAX_BYTES + 1);
    decoder.read_to_string(&mut text).ok()?;
    (text.len() as u64 <= MAX_BYTES).then_some(text)
}
