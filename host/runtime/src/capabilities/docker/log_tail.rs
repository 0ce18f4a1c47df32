//! The end of a container's log, for a plugin.

use super::{MAX_LINES, MAX_OUTPUT};
use crate::bindings::runbook::docker::types::{LogLine, LogTail};
use runbook_secrets::Scrubber;
use std::collections::VecDeque;

/// Collects the newest part of a log.
#[derive(Default)]
pub(super) struct LogBuffer {
    /// Consecutive output of one stream: whether it is stderr, and the bytes.
    chunks: VecDeque<(bool, Vec<u8>)>,
    bytes: usize,
    truncated: bool,
}

impl LogBuffer {
    /// Adds output of the engine. The engine may split it anywhere, even within a secret, so
    /// consecutive output of one stream is joined.
    pub(super) fn add(&mut self, stderr: bool, bytes: &[u8]) {
        match self.chunks.back_mut() {
            Some((is_stderr, last)) if *is_stderr == stderr => last.extend_from_slice(bytes),
            Some(_) | None => self.chunks.push_back((stderr, bytes.to_vec())),
        }
        self.bytes += bytes.len();
        // One and a half times the returned size is kept, so that a secret that was cut at the
        // beginning is not in the returned part.
        if self.bytes > 2 * MAX_OUTPUT {
            self.drop_first(self.bytes - MAX_OUTPUT - MAX_OUTPUT / 2);
            self.truncated = true;
        }
    }

    fn drop_first(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some((_, piece)) = self.chunks.front_mut() {
            if piece.len() > bytes {
                piece.drain(..bytes);
                return;
            }
            bytes -= piece.len();
            self.chunks.pop_front();
        }
    }

    /// The newest lines, without secrets, and no more than were asked for.
    pub(super) fn into_tail(self, scrubber: &Scrubber, max_lines: u32) -> LogTail {
        let mut lines = Vec::new();
        for (stderr, piece) in &self.chunks {
            let clean_bytes = scrubber.bytes(piece);
            let text = String::from_utf8_lossy(&clean_bytes);
            lines.extend(
                text.lines()
                    .map(|line| LogLine { stderr: *stderr, text: line.trim_end().to_owned() }),
            );
        }
        lines.drain(..lines.len().saturating_sub(max_lines as usize));
        let mut bytes_left = MAX_OUTPUT;
        let fitting_lines = lines.iter().rev().take(MAX_LINES as usize).take_while(|line| {
            let rest = bytes_left.checked_sub(line.text.len());
            bytes_left = rest.unwrap_or(0);
            rest.is_some()
        });
        let dropped_lines = lines.len() - fitting_lines.count();
        LogTail {
            lines: lines.split_off(dropped_lines),
            truncated: self.truncated || dropped_lines > 0,
        }
    }
}
