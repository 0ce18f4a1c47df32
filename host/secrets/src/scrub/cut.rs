//! The beginning of a secret at the end of a text that was cut off.

use super::view::each_decoded;
use super::{Hit, MIN_LEN, Machine};

/// An escape of this many bytes may have been cut in two: a pair of surrogates in JSON, encoded for
/// an address twice.
const LONGEST_ESCAPE: usize = 48;

impl Machine {
    /// What may be the beginning of a secret, in any of its forms, up to the end of the text.
    pub(super) fn beginning_at_end(&self, text: &[u8]) -> Option<Hit> {
        let from = text.len().saturating_sub(self.overlap);
        let window = &text[from..];
        let found = ends(window).flat_map(|end| {
            let plain = self.beginning_in(&window[..end], |start| start);
            plain.into_iter().chain(self.beginning_in_decoded(&window[..end]))
        });
        let (start, marker) = found.min()?;
        Some(Hit { range: from + start..text.len(), marker })
    }

    fn beginning_in_decoded(&self, window: &[u8]) -> Option<(usize, usize)> {
        let mut first = None;
        each_decoded(window, &mut |view| {
            let found =
                self.beginning_in(&view.bytes, |start| view.origin(&(start..start + 1)).start);
            first = first.into_iter().chain(found).min();
        });
        first
    }

    /// Where the longest beginning of a pattern starts, and its marker.
    fn beginning_in(&self, text: &[u8], origin: impl Fn(usize) -> usize) -> Option<(usize, usize)> {
        let starts = self
            .patterns
            .iter()
            .filter_map(|pattern| Some((pattern.beginning_at_end(text, MIN_LEN)?, pattern.marker)));
        starts.map(|(start, marker)| (origin(start), marker)).min()
    }
}

/// Where the text may end for one who decodes it: at its end, or before an escape that was cut in
/// two.
fn ends(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let before_escape = (text.len().saturating_sub(LONGEST_ESCAPE)..text.len())
        .filter(|at| matches!(text[*at], b'%' | b'\\' | b'&'));
    std::iter::once(text.len()).chain(before_escape)
}
