//! Finds the beginning of a secret at the end of a truncated text.

use super::view::each_decoding;
use super::{Hit, MIN_SECRET_LENGTH, SecretMatcher};

/// The longest escape that may have been truncated: a pair of surrogates in JSON, percent-encoded
/// twice.
const MAX_ESCAPE_LENGTH: usize = 48;

impl SecretMatcher {
    /// The part at the end of the text that may be the beginning of a secret, in any of its forms.
    pub(super) fn beginning_at_end(&self, text: &[u8]) -> Option<Hit> {
        let window_start = text.len().saturating_sub(self.overlap);
        let window = &text[window_start..];
        let found = possible_ends(window).flat_map(|end| {
            let plain = self.beginning_in(&window[..end], |start| start);
            plain.into_iter().chain(self.beginning_in_decoded(&window[..end]))
        });
        let (start, marker) = found.min()?;
        Some(Hit { range: window_start + start..text.len(), marker })
    }

    fn beginning_in_decoded(&self, window: &[u8]) -> Option<(usize, usize)> {
        let mut earliest = None;
        each_decoding(window, &mut |view| {
            let found =
                self.beginning_in(&view.bytes, |start| view.origin(&(start..start + 1)).start);
            earliest = earliest.into_iter().chain(found).min();
        });
        earliest
    }

    /// Where the longest beginning of a pattern starts, and its marker.
    fn beginning_in(&self, text: &[u8], origin: impl Fn(usize) -> usize) -> Option<(usize, usize)> {
        let starts = self.patterns.iter().filter_map(|pattern| {
            Some((pattern.beginning_at_end(text, MIN_SECRET_LENGTH)?, pattern.marker))
        });
        starts.map(|(start, marker)| (origin(start), marker)).min()
    }
}

/// Where the decodable part of a text may end: at its end, or before an escape that was truncated.
fn possible_ends(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let before_escape = (text.len().saturating_sub(MAX_ESCAPE_LENGTH)..text.len())
        .filter(|at| matches!(text[*at], b'%' | b'\\' | b'&'));
    std::iter::once(text.len()).chain(before_escape)
}
