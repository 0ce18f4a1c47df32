//! The log lines of one call of a plugin: capped while it runs, and cleaned when it has ended.

use crate::limits::CallLimits;
use crate::sanitizer::{OutputSanitizer, Truncation};
use runbook_contract::{LogLevel, LogLine};

/// The log of one call. The first lines are kept, because they usually show the cause of a failure.
#[derive(Debug, Default)]
pub(crate) struct Log {
    messages: Vec<Message>,
    lines: usize,
    bytes_left: usize,
    line_cap: usize,
    dropped: usize,
}

/// One message of a guest, not yet cleaned.
#[derive(Debug)]
struct Message {
    level: LogLevel,
    text: String,
    truncation: Truncation,
}

impl Log {
    pub(crate) fn new(limits: &CallLimits) -> Self {
        Self {
            messages: Vec::new(),
            lines: limits.log_lines,
            bytes_left: limits.log_bytes,
            line_cap: limits.log_line_bytes,
            dropped: 0,
        }
    }

    pub(crate) fn add(&mut self, level: LogLevel, mut text: String) {
        let mut truncation = Truncation::Whole;
        if text.len() > self.line_cap {
            text.truncate(text.floor_char_boundary(self.line_cap));
            text.shrink_to_fit();
            truncation = Truncation::Beginning;
        }
        if self.messages.len() == self.lines || text.len() > self.bytes_left {
            self.dropped += 1;
            return;
        }
        self.bytes_left -= text.len();
        self.messages.push(Message { level, text, truncation });
    }

    /// Adds text that a guest printed. It is kept as one message, because a secret may span several
    /// lines.
    pub(crate) fn add_printed(
        &mut self,
        level: LogLevel,
        mut text: String,
        mut truncation: Truncation,
    ) {
        if text.len() > self.bytes_left {
            let rest = text.split_off(text.floor_char_boundary(self.bytes_left));
            self.dropped += rest.lines().count();
            truncation = Truncation::Beginning;
        }
        if self.messages.len() == self.lines {
            self.dropped += text.lines().count();
        } else if !text.is_empty() {
            self.bytes_left -= text.len();
            self.messages.push(Message { level, text, truncation });
        }
    }

    /// The lines, with a note of how many were dropped.
    pub(crate) fn into_lines(self, sanitizer: &OutputSanitizer<'_>) -> Vec<LogLine> {
        let mut lines = Vec::new();
        let mut dropped = self.dropped;
        for Message { level, text, truncation } in self.messages {
            let mut message_lines = sanitizer.log(level, &text, truncation, self.line_cap);
            // A message of many lines counts as many.
            dropped += message_lines.len().saturating_sub(self.lines - lines.len());
            message_lines.truncate(self.lines - lines.len());
            lines.append(&mut message_lines);
        }
        if dropped > 0 {
            lines.push(LogLine {
                level: LogLevel::Warn,
                message: format!("… {dropped} more lines were dropped"),
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_secrets::{Scrubber, Secret};

    fn lines(log: Log) -> Vec<LogLine> {
        log.into_lines(&OutputSanitizer::new(&Scrubber::default()))
    }

    #[test]
    fn a_flood_keeps_the_first_lines_and_counts_the_rest() {
        let mut log = Log::new(&CallLimits { log_lines: 3, ..CallLimits::default() });
        (0..1000).for_each(|n| log.add(LogLevel::Info, format!("line {n}")));
        let lines = lines(log);
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[2].message, "line 2");
        assert_eq!(lines[3].message, "… 997 more lines were dropped");
    }

    #[test]
    fn a_message_of_several_lines_is_several_lines() {
        let mut log = Log::new(&CallLimits { log_lines: 3, ..CallLimits::default() });
        log.add(
            LogLevel::Error,
            "panicked at lib.rs:5:\n\n  no \u{1b}[2Jqueue\r\nthird\nfourth".to_owned(),
        );
        let messages: Vec<_> = lines(log).into_iter().map(|line| line.message).collect();
        let dropped = "… 1 more lines were dropped";
        assert_eq!(messages, ["panicked at lib.rs:5:", "  no \u{fffd}[2Jqueue", "third", dropped]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut log = Log::new(&CallLimits { log_line_bytes: 7, ..CallLimits::default() });
        log.add(LogLevel::Info, "ääääääääää".to_owned());
        assert_eq!(lines(log)[0].message, "äää…");
    }

    #[test]
    fn all_lines_together_stay_below_the_cap() {
        let mut log = Log::new(&CallLimits { log_bytes: 100, ..CallLimits::default() });
        (0..50).for_each(|_| log.add(LogLevel::Info, "x".repeat(30)));
        assert_eq!(lines(log).len(), 3 + 1);
    }

    #[test]
    fn wherever_a_line_is_cut_no_beginning_of_a_secret_is_left() {
        let secret = Secret::from("s3cr3t-t0ken");
        let scrubber = Scrubber::new([("token", &secret)]);
        for cap in 6..30 {
            let mut log = Log::new(&CallLimits { log_line_bytes: cap, ..CallLimits::default() });
            log.add(LogLevel::Info, "pass: s3cr3t-t0ken, and more than may be kept".to_owned());
            let lines = log.into_lines(&OutputSanitizer::new(&scrubber));
            assert!(!lines[0].message.contains("s3cr"), "cut at {cap}: {}", lines[0].message);
        }
    }
}
