//! Lines for the operator: always there, capped.

use crate::bindings::runbook::base::log::{self as wit, Level};
use crate::host::HostCall;
use crate::limits::Limits;

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// For the author of the plugin.
    Debug,
    /// For the operator.
    Info,
    /// Somebody should look.
    Warn,
    /// Something did not work.
    Error,
}

/// One line of a plugin's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How important it is.
    pub level: LogLevel,
    /// The line; secrets are removed.
    pub message: String,
}

/// The log of one call: the first lines are kept, because they say how it began to go wrong.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Vec<LogLine>,
    lines_left: usize,
    bytes_left: usize,
    line_cap: usize,
    dropped: u64,
}

impl Log {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            lines: Vec::new(),
            lines_left: limits.log_lines,
            bytes_left: limits.log_bytes,
            line_cap: limits.log_line,
            dropped: 0,
        }
    }

    pub(crate) fn add(&mut self, level: LogLevel, mut message: String) {
        cut(&mut message, self.line_cap);
        if self.lines_left == 0 || message.len() > self.bytes_left {
            self.dropped += 1;
            return;
        }
        self.lines_left -= 1;
        self.bytes_left -= message.len();
        self.lines.push(LogLine { level, message });
    }

    /// The lines, with a note of how many were dropped.
    pub(crate) fn into_lines(self) -> Vec<LogLine> {
        let mut lines = self.lines;
        if self.dropped > 0 {
            lines.push(LogLine { level: LogLevel::Warn, message: format!("… {} more lines were dropped", self.dropped) });
        }
        lines
    }
}

/// Cuts a text at a character's boundary and says so.
fn cut(text: &mut String, cap: usize) {
    if text.len() > cap {
        text.truncate(text.floor_char_boundary(cap.saturating_sub('…'.len_utf8())));
        text.push('…');
        text.shrink_to_fit();
    }
}

impl wit::Host for HostCall<'_> {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.log.add(level, message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_keeps_the_first_lines_and_counts_the_rest() {
        let mut log = Log::new(&Limits { log_lines: 3, ..Limits::default() });
        (0..1000).for_each(|n| log.add(LogLevel::Info, format!("line {n}")));
        let lines = log.into_lines();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[2].message, "line 2");
        assert_eq!(lines[3].message, "… 997 more lines were dropped");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut log = Log::new(&Limits { log_line: 10, ..Limits::default() });
        log.add(LogLevel::Info, "ääääääääää".to_owned());
        assert_eq!(log.into_lines()[0].message, "äää…");
    }

    #[test]
    fn all_lines_together_stay_below_the_cap() {
        let mut log = Log::new(&Limits { log_bytes: 100, ..Limits::default() });
        (0..50).for_each(|_| log.add(LogLevel::Info, "x".repeat(30)));
        assert_eq!(log.into_lines().len(), 3 + 1);
    }
}
