//! Cleans everything that leaves a call: removes secrets, and makes every text plain text.
//!
//! Secrets are removed from the text as the plugin sent it, before it is made one line and
//! shortened: the scrubber would not recognise a secret in a changed text.

use runbook_authority::gate::Denial;
use runbook_contract::{
    Case, Completion, Effect, ErrorClass, Fault, LogLevel, LogLine, Measurement, Proposal, Report,
    Response,
};
use runbook_secrets::Scrubber;
use runbook_text::{line, shortened};

/// How much of a text was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// The whole text was kept.
    Whole,
    /// Only the beginning was kept; there was more.
    Beginning,
}

/// The longest name (of a case, a label, a verb, the code of a fault), in bytes.
const MAX_NAME: usize = 256;

/// The longest line of text, in bytes.
const MAX_LINE: usize = 4 << 10;

/// How many bytes the markers of removed secrets may add to a log line.
const MARKER_BYTES: usize = 256;

/// Cleans the output of one call.
pub(crate) struct OutputSanitizer<'a> {
    scrubber: &'a Scrubber,
}

impl<'a> OutputSanitizer<'a> {
    pub(crate) fn new(scrubber: &'a Scrubber) -> Self {
        Self { scrubber }
    }

    /// A text as one clean line.
    pub(crate) fn line(&self, text: &str) -> String {
        self.clean_line(text, MAX_LINE)
    }

    fn name(&self, text: &str) -> String {
        self.clean_line(text, MAX_NAME)
    }

    fn clean_line(&self, text: &str, cap: usize) -> String {
        shortened(&line(&self.scrubber.text(text)), cap).into_owned()
    }

    /// The lines of one log message, each of at most about `cap` bytes.
    pub(crate) fn log(
        &self,
        level: LogLevel,
        message: &str,
        truncation: Truncation,
        cap: usize,
    ) -> Vec<LogLine> {
        let scrubbed = match truncation {
            Truncation::Whole => self.scrubber.text(message).into_owned(),
            Truncation::Beginning => format!("{}…", self.scrubber.truncated_text(message)),
        };
        let lines = scrubbed.lines().filter(|text| !text.trim().is_empty());
        // A marker may be longer than the secret that it replaces.
        let max_bytes = cap.saturating_add(MARKER_BYTES);
        lines
            .map(|text| LogLine { level, message: shortened(&line(text), max_bytes).into_owned() })
            .collect()
    }

    pub(crate) fn denial(&self, denial: Denial) -> Denial {
        Denial { reason: self.line(&denial.reason), slot: self.name(&denial.slot), ..denial }
    }

    pub(crate) fn fault(&self, fault: &Fault) -> Fault {
        Fault::new(fault.class, self.name(&fault.code), self.line(&fault.message))
    }

    /// The response, cleaned of secrets; notes about it are added to `notes`.
    ///
    /// # Errors
    /// A check has a measurement that is not a finite number: without data a check must not pass. A
    /// completed step only loses that measurement, with a note.
    pub(crate) fn response(
        &self,
        response: Response,
        notes: &mut Vec<LogLine>,
    ) -> Result<Response, Fault> {
        Ok(match response {
            Response::Report(report) => {
                let measurements = self.measurements(report.measurements);
                if let Some(not_finite) =
                    measurements.iter().find(|measurement| !measurement.value.is_finite())
                {
                    let message = format!(
                        "the check measured `{}` and answered with {}, which is no number",
                        not_finite.label, not_finite.value
                    );
                    return Err(Fault::new(ErrorClass::Invalid, "output.measurement", message));
                }
                let output = self.scrubber.json(report.output);
                Response::Report(Report {
                    summary: self.line(&report.summary),
                    output,
                    measurements,
                    ..report
                })
            }
            Response::Cases(cases) => {
                Response::Cases(cases.into_iter().map(|case| self.case(case)).collect())
            }
            Response::Proposal(proposal) => Response::Proposal(Proposal {
                effects: proposal.effects.iter().map(|effect| self.effect(effect)).collect(),
                summary: self.line(&proposal.summary),
                before: self.scrubber.json(proposal.before),
            }),
            Response::Observation(value) => Response::Observation(self.scrubber.json(value)),
            Response::Completion(completion) => {
                let (measurements, not_finite): (Vec<_>, Vec<_>) = self
                    .measurements(completion.measurements)
                    .into_iter()
                    .partition(|measurement| measurement.value.is_finite());
                notes.extend(not_finite.into_iter().map(|Measurement { label, value, .. }| {
                    LogLine {
                        level: LogLevel::Warn,
                        message: format!(
                            "the plugin measured `{label}` and answered with {value}, which is no \
                         number; it is left out"
                        ),
                    }
                }));
                let output = self.scrubber.json(completion.output);
                Response::Completion(Completion {
                    summary: self.line(&completion.summary),
                    output,
                    measurements,
                    ..completion
                })
            }
        })
    }

    fn measurements(&self, measurements: Vec<Measurement>) -> Vec<Measurement> {
        let range = |range: Option<String>| range.map(|range| self.name(&range));
        let sanitized = |Measurement { label, value, unit, warn, crit }| Measurement {
            label: self.name(&label),
            value,
            unit: self.name(&unit),
            warn: range(warn),
            crit: range(crit),
        };
        measurements.into_iter().map(sanitized).collect()
    }

    fn case(&self, case: Case) -> Case {
        Case { name: self.name(&case.name), detail: self.line(&case.detail), ..case }
    }

    fn effect(&self, effect: &Effect) -> Effect {
        Effect {
            verb: self.name(&effect.verb),
            target: self.line(&effect.target),
            summary: self.line(&effect.summary),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
