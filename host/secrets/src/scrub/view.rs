//! Decodes layers of encoding of a text, and keeps the origin of each byte in the original text.
//!
//! A secret is searched in decoded text, because encoders disagree about which characters they
//! escape, so that a list of all encoded forms of a secret would never be complete.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// How many layers are decoded: JSON within a form within JSON has three.
const MAX_LAYERS: usize = 3;

/// A text after decoding one or more layers.
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    /// For each byte, the part of the original text that it was decoded from.
    origins: Vec<Origin>,
}

#[derive(Clone, Copy)]
struct Origin {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy)]
enum Layer {
    Json,
    Percent,
    /// Percent-encoded as forms do, where `+` is a space.
    Form,
    /// Line breaks with the white space after them, as in base64 that is wrapped at 64 or 76
    /// characters. They are removed.
    Wrapped,
    /// Escaped for HTML or XML, as in error pages that quote a request.
    Entities,
}

const LAYERS: [Layer; 5] =
    [Layer::Json, Layer::Percent, Layer::Form, Layer::Wrapped, Layer::Entities];

/// Calls `visit` with each decoding of one to three layers of `text` that differs from the text. At
/// most three views are in memory at once.
pub(super) fn each_decoding(text: &[u8], visit: &mut impl FnMut(&View)) {
    // Most text has no encoding; one pass finds that out.
    if text.iter().any(|byte| LAYERS.iter().any(|layer| layer.marker_bytes().contains(byte))) {
        visit_decodings(text, None, MAX_LAYERS, &mut HashSet::new(), visit);
    }
}

/// Visits each decoding of a text. `seen` has the hashes of the texts that were visited already
/// with the same number of layers left. A collision of hashes would only skip a rare mixture of
/// encodings.
fn visit_decodings(
    text: &[u8],
    origins: Option<&[Origin]>,
    n_left: usize,
    seen: &mut HashSet<(usize, u64)>,
    visit: &mut impl FnMut(&View),
) {
    let views = LAYERS.iter().filter_map(|layer| decode_layer(*layer, text, origins));
    for view in views {
        let mut hasher = DefaultHasher::new();
        view.bytes.hash(&mut hasher);
        if !seen.insert((n_left, hasher.finish())) {
            continue;
        }
        visit(&view);
        if n_left > 1 {
            visit_decodings(&view.bytes, Some(&view.origins), n_left - 1, seen, visit);
        }
    }
}

impl Layer {
    /// The bytes without which this layer changes nothing.
    fn marker_bytes(self) -> &'static [u8] {
        match self {
            Self::Json => b"\\",
            Self::Percent => b"%",
            Self::Form => b"+",
            Self::Wrapped => b"\n\r",
            Self::Entities => b"&",
        }
    }
}

impl View {
    /// The part of the original text that `range`, which is not empty, was decoded from.
    pub(super) fn origin(&self, range: &Range<usize>) -> Range<usize> {
        self.origins[range.start].start..self.origins[range.end - 1].end
    }
}

/// Decodes one layer of `text`; `None` if that changes nothing. `origins` has the origins of the
/// bytes of `text`; `None` if it is the original text.
fn decode_layer(layer: Layer, text: &[u8], origins: Option<&[Origin]>) -> Option<View> {
    if !text.iter().any(|byte| layer.marker_bytes().contains(byte)) {
        return None;
    }
    let origin = |at: usize, len: usize| match origins {
        Some(origins) => Origin { start: origins[at].start, end: origins[at + len - 1].end },
        None => Origin { start: at, end: at + len },
    };
    let mut view =
        View { bytes: Vec::with_capacity(text.len()), origins: Vec::with_capacity(text.len()) };
    let mut at = 0;
    while at < text.len() {
        let (decoded_bytes, len) = match layer {
            Layer::Json => json_escape(&text[at..]),
            Layer::Form if text[at] == b'+' => Some((DecodedBytes::byte(b' '), 1)),
            Layer::Form | Layer::Percent => percent_escape(&text[at..]),
            Layer::Wrapped => line_break(&text[at..]),
            Layer::Entities => entity(&text[at..]),
        }
        .unwrap_or((DecodedBytes::byte(text[at]), 1));
        for byte in decoded_bytes.as_slice() {
            view.bytes.push(*byte);
            view.origins.push(origin(at, len));
        }
        at += len;
    }
    (view.bytes != text).then_some(view)
}

/// The bytes that an escape stands for: up to four, and how many.
struct DecodedBytes([u8; 4], usize);

impl DecodedBytes {
    fn byte(byte: u8) -> Self {
        Self([byte, 0, 0, 0], 1)
    }

    fn from_char(c: char) -> Self {
        let mut bytes = [0; 4];
        let len = c.encode_utf8(&mut bytes).len();
        Self(bytes, len)
    }

    fn as_slice(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

/// What an escape stands for, and its length in the text.
type Escape = Option<(DecodedBytes, usize)>;

fn percent_escape(text: &[u8]) -> Escape {
    let [b'%', high, low, ..] = text else { return None };
    Some((DecodedBytes::byte(hex_digit(*high)? << 4 | hex_digit(*low)?), 3))
}

fn json_escape(text: &[u8]) -> Escape {
    let [b'\\', letter, ..] = text else { return None };
    let simple = match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'"' | b'\\' | b'/' | b'\'' => *letter,
        b'0' if !text.get(2).is_some_and(u8::is_ascii_digit) => 0,
        b'x' => return byte_escape(text),
        b'u' if text.get(2) == Some(&b'{') => return braced_escape(text),
        b'u' => return unicode_escape(text),
        _ => return None,
    };
    Some((DecodedBytes::byte(simple), 2))
}

/// `\xc3`, as Python and C write a byte.
fn byte_escape(text: &[u8]) -> Escape {
    let [b'\\', b'x', high, low, ..] = text else { return None };
    Some((DecodedBytes::byte(hex_digit(*high)? << 4 | hex_digit(*low)?), 4))
}

/// `\u{e9}`, as Rust and JavaScript write a character.
fn braced_escape(text: &[u8]) -> Escape {
    let digits = text.strip_prefix(b"\\u{")?;
    let len = digits.iter().take(7).position(|byte| *byte == b'}').filter(|len| *len > 0)?;
    let number = digits[..len]
        .iter()
        .try_fold(0, |number, digit| Some(number << 4 | u32::from(hex_digit(*digit)?)))?;
    Some((DecodedBytes::from_char(char::from_u32(number)?), len + 4))
}

fn unicode_escape(text: &[u8]) -> Escape {
    let first = code_unit(text)?;
    if let Some(c) = char::from_u32(first) {
        return Some((DecodedBytes::from_char(c), 6));
    }
    let second = code_unit(&text[6..])?;
    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let c = char::decode_utf16(pair).next()?.ok()?;
    Some((DecodedBytes::from_char(c), 12))
}

fn code_unit(text: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = text else { return None };
    digits
        .get(..4)?
        .iter()
        .try_fold(0, |unit, digit| Some(unit << 4 | u32::from(hex_digit(*digit)?)))
}

/// The characters that encoders write as named entities.
const ENTITIES: [(&[u8], char); 6] = [
    (b"lt;", '<'),
    (b"gt;", '>'),
    (b"amp;", '&'),
    (b"quot;", '"'),
    (b"apos;", '\''),
    (b"nbsp;", '\u{a0}'),
];

/// The most digits of a numeric entity, leading zeros included.
const MAX_DIGITS: usize = 12;

fn entity(text: &[u8]) -> Escape {
    let rest = text.strip_prefix(b"&")?;
    if let Some((name, c)) = ENTITIES.iter().find(|(name, _)| {
        rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    }) {
        return Some((DecodedBytes::from_char(*c), 1 + name.len()));
    }
    let (digits, radix, prefix_len) = match rest {
        [b'#', b'x' | b'X', digits @ ..] => (digits, 16, 3),
        [b'#', digits @ ..] => (digits, 10, 2),
        _ => return None,
    };
    let len =
        digits.iter().take(MAX_DIGITS).position(|byte| *byte == b';').filter(|len| *len > 0)?;
    let number = std::str::from_utf8(&digits[..len])
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, radix).ok())?;
    Some((DecodedBytes::from_char(char::from_u32(number)?), prefix_len + len + 1))
}

fn line_break(text: &[u8]) -> Escape {
    if !matches!(text[0], b'\n' | b'\r') {
        return None;
    }
    let len = text.iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | b' ' | b'\t')).count();
    Some((DecodedBytes([0; 4], 0), len))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
