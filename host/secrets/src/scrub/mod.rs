//! Removes known secrets from text that leaves a call.
//!
//! A secret is found as plain text, in hexadecimal, in base64 (standard and URL-safe, padded or
//! not, at any offset inside of longer encoded data, wrapped or not), percent-encoded, escaped as
//! in JSON, Rust, Python or C (`\n`, `\u00e9`, `\u{e9}`, `\xc3\xa9`), as HTML entities, and in one
//! of these within another. The case of ASCII letters is ignored, because names of headers and some
//! messages change it. Scrubbing is a second line of defence: a plugin that may reveal a secret can
//! always transform it in an unforeseen way.
//!
//! Text that is truncated may end within a secret. Without further care, a plugin that controls
//! where it is truncated could read most of the secret.
//! - If more bytes are known than are shown, [`Scrubber::first_bytes`] also searches behind the
//!   cut ([`Scrubber::lookahead`] bytes), so that nothing of a secret is left. This is for text
//!   that a guest sees.
//! - Otherwise [`Scrubber::truncated_text`] removes what may be the beginning of a secret at the
//!   end of the text. At most three bytes of a secret are left, because fewer than four bytes are
//!   the beginning of many words. This is only for text that a guest wrote and does not see again:
//!   otherwise a plugin could test a guess of the beginning of a secret.
//!
//! The matcher keeps its own copy of the values, which is not wiped when it is dropped. It exists
//! as long as the process that uses the secrets.

mod cut;
mod pattern;
mod view;

use crate::secret::Secret;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use pattern::Pattern;
use serde_json::Value;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Shorter values would replace parts of ordinary words.
const MIN_SECRET_LENGTH: usize = 4;

/// Text is decoded in windows of this size, because decoded text takes many times the memory of the
/// text.
const WINDOW: usize = 256 << 10;

/// How many bytes of text one byte of a pattern takes at most: an escaped escape of an escaped
/// character, with room.
const MAX_EXPANSION: usize = 16;

/// Replaces every known secret by `[secret NAME]`. Cheap to clone; free of cost where there are no
/// secrets.
#[derive(Clone, Default)]
pub struct Scrubber(Option<Arc<SecretMatcher>>);

struct SecretMatcher {
    search: AhoCorasick,
    patterns: Vec<Pattern>,
    /// By how many bytes windows overlap, so that a secret across the end of one window is whole in
    /// the next.
    overlap: usize,
    /// The most lines that a secret has.
    max_lines: usize,
    markers: Vec<String>,
    too_short: Vec<String>,
}

/// A part of the text that shows a secret.
struct Hit {
    range: Range<usize>,
    marker: usize,
}

impl Scrubber {
    /// A scrubber for these secrets (name, value). Values of less than 4 bytes are left out, see
    /// [`too_short`](Self::too_short).
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let (mut patterns, mut markers, mut too_short) = (Vec::new(), Vec::new(), Vec::new());
        let mut max_lines = 0;
        for (name, secret) in secrets {
            if secret.len() < MIN_SECRET_LENGTH {
                too_short.push(name.to_owned());
                continue;
            }
            max_lines = max_lines.max(secret.expose().split(|byte| *byte == b'\n').count());
            patterns.extend(pattern::secret_patterns(secret.expose(), markers.len()));
            markers.push(format!("[secret {name}]"));
        }
        if patterns.is_empty() && too_short.is_empty() {
            return Self(None);
        }
        // Overlapping matches are wanted: the end of one secret may be the beginning of another.
        let search = AhoCorasickBuilder::new()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(patterns.iter().map(|pattern| pattern.bytes.as_slice()))
            .expect("secrets are far smaller than the 2 GiB that the automaton can hold");
        let overlap =
            MAX_EXPANSION * patterns.iter().map(|pattern| pattern.bytes.len()).max().unwrap_or(0);
        Self(Some(Arc::new(SecretMatcher {
            search,
            patterns,
            overlap,
            max_lines,
            markers,
            too_short,
        })))
    }

    /// Whether nothing is ever replaced.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|matcher| matcher.patterns.is_empty())
    }

    /// The names of the secrets that are too short to be scrubbed, for a warning.
    pub fn too_short(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |matcher| &matcher.too_short)
    }

    /// The text without secrets; borrowed if there were none.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some((matcher, hits)) = self.hits(text.as_bytes()) else { return Cow::Borrowed(text) };
        matcher.replaced_text(text, hits)
    }

    /// The bytes without secrets; borrowed if there were none.
    pub fn bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        match self.hits(bytes) {
            Some((matcher, hits)) => Cow::Owned(matcher.replace(bytes, hits)),
            None => Cow::Borrowed(bytes),
        }
    }

    /// A truncated text without secrets, and without what may be the beginning of a secret at its
    /// end.
    pub fn truncated_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some((matcher, hits)) = self.hits_of_truncated(text.as_bytes()) else {
            return Cow::Borrowed(text);
        };
        matcher.replaced_text(text, hits)
    }

    /// Truncated bytes without secrets, as [`truncated_text`](Self::truncated_text) for text.
    pub fn truncated_bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        match self.hits_of_truncated(bytes) {
            Some((matcher, hits)) => Cow::Owned(matcher.replace(bytes, hits)),
            None => Cow::Borrowed(bytes),
        }
    }

    /// How many bytes behind a cut must be known for [`first_bytes`](Self::first_bytes); 0 if
    /// nothing is ever replaced.
    pub fn lookahead(&self) -> usize {
        self.0.as_ref().map_or(0, |matcher| matcher.overlap)
    }

    /// The most lines that a secret has. If only the last lines of a text are shown, this many
    /// lines before them must be known.
    pub fn max_lines(&self) -> usize {
        self.0.as_ref().map_or(0, |matcher| matcher.max_lines)
    }

    /// The first `cap` bytes of a longer text of which `bytes` is the beginning, without secrets.
    /// Nothing is left of a secret that lies across the cut.
    pub fn first_bytes<'t>(&self, bytes: &'t [u8], cap: usize) -> Cow<'t, [u8]> {
        let shown = &bytes[..bytes.len().min(cap)];
        let Some((matcher, mut hits)) = self.hits(bytes) else { return Cow::Borrowed(shown) };
        hits.retain(|hit| hit.range.start < shown.len());
        for hit in &mut hits {
            hit.range.end = hit.range.end.min(shown.len());
        }
        if hits.is_empty() {
            Cow::Borrowed(shown)
        } else {
            Cow::Owned(matcher.replace(shown, hits))
        }
    }

    /// The name of a secret that the bytes show in any form; `None` if they show none.
    pub fn find_shown_secret(&self, bytes: &[u8]) -> Option<&str> {
        let (matcher, hits) = self.hits(bytes)?;
        let marker = hits.first().map(|hit| matcher.markers[hit.marker].as_str())?;
        marker.strip_prefix("[secret ").and_then(|name| name.strip_suffix(']'))
    }

    /// The JSON value without secrets in strings, keys and numbers. A number that shows a secret
    /// becomes a string.
    pub fn json(&self, value: Value) -> Value {
        if self.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.scrub_owned(text)),
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.json(item)).collect())
            }
            Value::Object(map) => Value::Object(
                map.into_iter()
                    .map(|(key, value)| (self.scrub_owned(key), self.json(value)))
                    .collect(),
            ),
            Value::Number(number) => match self.text(&number.to_string()) {
                Cow::Borrowed(_) => Value::Number(number),
                Cow::Owned(text) => Value::String(text),
            },
            plain @ (Value::Null | Value::Bool(_)) => plain,
        }
    }

    fn scrub_owned(&self, text: String) -> String {
        match self.text(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(scrubbed) => scrubbed,
        }
    }

    fn hits(&self, bytes: &[u8]) -> Option<(&SecretMatcher, Vec<Hit>)> {
        let matcher = self.0.as_deref()?;
        let hits = matcher.find(bytes);
        (!hits.is_empty()).then_some((matcher, hits))
    }

    fn hits_of_truncated(&self, bytes: &[u8]) -> Option<(&SecretMatcher, Vec<Hit>)> {
        let matcher = self.0.as_deref()?;
        let mut hits = matcher.find(bytes);
        hits.extend(matcher.beginning_at_end(bytes));
        (!hits.is_empty()).then_some((matcher, hits))
    }
}

impl SecretMatcher {
    fn replaced_text<'t>(&self, text: &'t str, mut hits: Vec<Hit>) -> Cow<'t, str> {
        for hit in &mut hits {
            // A secret of arbitrary bytes may begin or end within a character.
            hit.range =
                text.floor_char_boundary(hit.range.start)..text.ceil_char_boundary(hit.range.end);
        }
        let bytes = self.replace(text.as_bytes(), hits);
        Cow::Owned(
            String::from_utf8(bytes).expect("text was cut at the boundaries of characters only"),
        )
    }

    /// Every place that shows a secret, in no order, possibly overlapping.
    fn find(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut start = 0;
        while start < bytes.len() {
            let end = bytes.len().min(start + WINDOW);
            let from = start.saturating_sub(self.overlap);
            self.find_in_window(&bytes[from..end], |hit| {
                hits.push(Hit {
                    range: from + hit.range.start..from + hit.range.end,
                    marker: hit.marker,
                });
            });
            start = end;
        }
        if !hits.is_empty() {
            let existing = self.existing_markers(bytes);
            hits.retain(|hit| {
                !existing.iter().any(|existing| {
                    existing.start <= hit.range.start && hit.range.end <= existing.end
                })
            });
        }
        hits
    }

    fn find_in_window(&self, window: &[u8], mut visit: impl FnMut(Hit)) {
        self.search(window).for_each(&mut visit);
        view::each_decoding(window, &mut |view| {
            for hit in self.search(&view.bytes) {
                visit(Hit { range: view.origin(&hit.range), marker: hit.marker });
            }
        });
    }

    fn search<'m>(&'m self, bytes: &'m [u8]) -> impl Iterator<Item = Hit> + 'm {
        self.search.find_overlapping_iter(bytes).map(|found| {
            let pattern = &self.patterns[found.pattern().as_usize()];
            Hit { range: pattern.widen(bytes, found.range()), marker: pattern.marker }
        })
    }

    /// The markers `[secret NAME]` in a text that was scrubbed before. Without them, a secret whose
    /// value is `secret` would be found in each marker.
    fn existing_markers(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let starts = bytes
            .windows(8)
            .enumerate()
            .filter(|(_, window)| window == b"[secret ")
            .map(|(start, _)| start);
        starts
            .filter_map(|start| {
                let marker = self
                    .markers
                    .iter()
                    .find(|marker| bytes[start..].starts_with(marker.as_bytes()))?;
                Some(start..start + marker.len())
            })
            .collect()
    }

    /// The bytes with each hit replaced by its marker. Hits that overlap become one, with the
    /// marker of the longest.
    fn replace(&self, bytes: &[u8], mut hits: Vec<Hit>) -> Vec<u8> {
        hits.sort_by_key(|hit| (hit.range.start, std::cmp::Reverse(hit.range.end)));
        let mut out = Vec::with_capacity(bytes.len());
        let mut copied_to = 0;
        let mut hits = hits.into_iter().peekable();
        while let Some(hit) = hits.next() {
            let (start, mut end, mut marker, mut longest) =
                (hit.range.start, hit.range.end, hit.marker, hit.range.len());
            while let Some(next) = hits.next_if(|next| next.range.start < end) {
                end = end.max(next.range.end);
                if next.range.len() > longest {
                    (marker, longest) = (next.marker, next.range.len());
                }
            }
            out.extend_from_slice(&bytes[copied_to..start]);
            out.extend_from_slice(self.markers[marker].as_bytes());
            copied_to = end;
        }
        out.extend_from_slice(&bytes[copied_to..]);
        out
    }
}

#[cfg(test)]
mod tests;
