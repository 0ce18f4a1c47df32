//! The end of a container's log, as a plugin is shown it.

use super::{MAX_LINES, MAX_OUTPUT};
use crate::bindings::runbook::docker::types::{LogLine, LogTail};
use runbook_secrets::Scrubber;
use std::collections::VecDeque;

/// The end of a log, as it comes.
#[derive(Default)]
pub(super) struct Newest {
    /// Whether it is of stderr, and what was written there until the other stream was.
    pieces: VecDeque<(bool, Vec<u8>)>,
    bytes: usize,
    truncated: bool,
}

impl Newest {
    /// The engine parts what a container writes wherever it likes, also within a secret: what
    /// belongs together is joined.
    pub(super) fn add(&mut self, stderr: bool, written: &[u8]) {
        match self.pieces.back_mut() {
            Some((kind, last)) if *kind == stderr => last.extend_from_slice(written),
            Some(_) | None => self.pieces.push_back((stderr, written.to_vec())),
        }
        self.bytes += written.len();
        // Half as much again as is ever shown stays, so that what is left of a secret at the
        // beginning is not.
        if self.bytes > 2 * MAX_OUTPUT {
            self.drop_first(self.bytes - MAX_OUTPUT - MAX_OUTPUT / 2);
            self.truncated = true;
        }
    }

    fn drop_first(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some((_, piece)) = self.pieces.front_mut() {
            if piece.len() > bytes {
                piece.drain(..bytes);
                return;
            }
            bytes -= piece.len();
            self.pieces.pop_front();
        }
    }

    /// The newest lines, without secrets, and no more than were asked for.
    pub(super) fn into_tail(self, scrubber: &Scrubber, asked: u32) -> LogTail {
        let mut lines = Vec::new();
        for (stderr, piece) in &self.pieces {
            let clean = scrubber.bytes(piece);
            let text = String::from_utf8_lossy(&clean);
            lines.extend(
                text.lines()
                    .map(|line| LogLine { stderr: *stderr, text: line.trim_end().to_owned() }),
            );
        }
        lines.drain(..lines.len().saturating_sub(asked as usize));
        let mut left = MAX_OUTPUT;
        let fits = lines.iter().rev().take(MAX_LINES as usize).take_while(|line| {
            let rest = left.checked_sub(line.text.len());
            left = rest.unwrap_or(0);
            rest.is_some()
        });
        let dropped = lines.len() - fits.count();
        LogTail { lines: lines.split_off(dropped), truncated: self.truncated || dropped > 0 }
    }
}
