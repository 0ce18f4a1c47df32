//! The byte strings by which one secret is found.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::fmt::Write;
use std::ops::Range;

/// From this length on, each line of a secret of several lines is a pattern of its own, because
/// logs are scrubbed line by line.
const MIN_LINE_LENGTH: usize = 8;

/// One byte string to look for.
pub(super) struct Pattern {
    pub(super) bytes: Vec<u8>,
    /// The index of the secret's marker.
    pub(super) marker: usize,
    edges: PatternEdges,
}

/// Which characters beside a match belong to the secret too.
#[derive(Clone, Copy)]
enum PatternEdges {
    Exact,
    /// The character before (if `before`) and the one after (if `after`) hold bits of the secret
    /// and of its neighbours.
    Base64 {
        before: usize,
        after: usize,
    },
}

impl Pattern {
    /// The match, extended by the characters beside it that belong to the secret.
    pub(super) fn widen(&self, text: &[u8], found: Range<usize>) -> Range<usize> {
        let PatternEdges::Base64 { before, after } = self.edges else { return found };
        let is_sextet =
            |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
        let start = found.start
            - text[..found.start].iter().rev().take(before).take_while(is_sextet).count();
        let mut end =
            found.end + text[found.end..].iter().take(after).take_while(is_sextet).count();
        if end > found.end {
            end += text[end..].iter().take(2).take_while(|byte| **byte == b'=').count();
        }
        start..end
    }
}

impl Pattern {
    /// The position from which on a text ends with a beginning of this pattern of at least `least`
    /// bytes; `None` if there is none. The whole pattern does not count.
    pub(super) fn beginning_at_end(&self, text: &[u8], min_length: usize) -> Option<usize> {
        let longest = text.len().min(self.bytes.len() - 1);
        let length = (min_length..=longest).rev().find(|length| {
            let (end, beginning) = (&text[text.len() - length..], &self.bytes[..*length]);
            end.eq_ignore_ascii_case(beginning)
        })?;
        Some(self.widen(text, text.len() - length..text.len()).start)
    }
}

/// All patterns of a secret.
pub(super) fn secret_patterns(secret: &[u8], marker: usize) -> Vec<Pattern> {
    let mut patterns = value_patterns(secret, marker);
    for line in secret.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        // The first and last line of a key in PEM are the same for everybody.
        if line.len() >= MIN_LINE_LENGTH && line.len() < secret.len() && !line.starts_with(b"-----")
        {
            patterns.extend(value_patterns(line, marker));
        }
    }
    patterns
}

fn value_patterns(value: &[u8], marker: usize) -> Vec<Pattern> {
    let exact = |bytes: Vec<u8>| Pattern { bytes, marker, edges: PatternEdges::Exact };
    let hex = value.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    });
    let mut patterns = vec![exact(value.to_vec()), exact(hex.into_bytes())];
    for offset in 0..3 {
        let (core, edges) = base64_core(value, offset);
        let url_safe: Vec<u8> = core
            .iter()
            .map(|byte| {
                if *byte == b'+' {
                    b'-'
                } else if *byte == b'/' {
                    b'_'
                } else {
                    *byte
                }
            })
            .collect();
        if url_safe != core {
            patterns.push(Pattern { bytes: url_safe, marker, edges });
        }
        patterns.push(Pattern { bytes: core, marker, edges });
    }
    patterns
}

/// The characters of base64 that depend on `value` alone if it begins `offset` bytes after a
/// multiple of three.
fn base64_core(value: &[u8], offset: usize) -> (Vec<u8>, PatternEdges) {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(value);
    let encoded = STANDARD_NO_PAD.encode(&padded).into_bytes();
    let first = (offset * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    let edges = PatternEdges::Base64 {
        before: usize::from(offset != 0),
        after: usize::from(last < encoded.len()),
    };
    (encoded[first..last].to_vec(), edges)
}
