//! Cleans everything that leaves a call: secrets are removed, and every text is made plain text.
//!
//! Secrets are looked for in the text as it came. Only then it is made one line and cut: what was
//! replaced or cut before would not be recognised any more.

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

/// Bytes of a name: a case, a label, a verb, the code of a fault.
const NAME: usize = 256;

/// Bytes of one line of text.
const LINE: usize = 4 << 10;

/// Bytes that a line of log may have beside those that were written.
const MARKS: usize = 256;

/// Cleans what leaves one call.
pub(crate) struct Outgoing<'a> {
    scrubber: &'a Scrubber,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(scrubber: &'a Scrubber) -> Self {
        Self { scrubber }
    }

    /// A text for a place of one line.
    pub(crate) fn line(&self, text: &str) -> String {
        self.short(text, LINE)
    }

    fn name(&self, text: &str) -> String {
        self.short(text, NAME)
    }

    fn short(&self, text: &str, cap: usize) -> String {
        shortened(&line(&self.scrubber.text(text)), cap).into_owned()
    }

    /// The lines of one log message, each of at most about `cap` bytes.
    pub(crate) fn log(
        &self,
        level: LogLevel,
        message: &str,
        kept: Truncation,
        cap: usize,
    ) -> Vec<LogLine> {
        let clean = match kept {
            Truncation::Whole => self.scrubber.text(message).into_owned(),
            Truncation::Beginning => format!("{}…", self.scrubber.cut_text(message)),
        };
        let lines = clean.lines().filter(|text| !text.trim().is_empty());
        // What is cut already ends in a sign of that, and a marker is longer than the secret.
        let most = cap.saturating_add(MARKS);
        lines
            .map(|text| LogLine { level, message: shortened(&line(text), most).into_owned() })
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
    /// A check that measured something that is no number, because a check without data is not
    /// healthy. What a step did is done; there such a number is left out, with a note.
    pub(crate) fn response(
        &self,
        response: Response,
        notes: &mut Vec<LogLine>,
    ) -> Result<Response, Fault> {
        Ok(match response {
            Response::Report(report) => {
                let measurements = self.measurements(report.measurements);
                if let Some(none) = measurements.iter().find(|measured| !measured.value.is_finite())
                {
                    let message = format!(
                        "the check measured `{}` and answered with {}, which is no number",
                        none.label, none.value
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
                let (measurements, none): (Vec<_>, Vec<_>) = self
                    .measurements(completion.measurements)
                    .into_iter()
                    .partition(|measured| measured.value.is_finite());
                notes.extend(none.into_iter().map(|Measurement { label, value, .. }| LogLine {
                    level: LogLevel::Warn,
                    message: format!(
                        "the plugin measured `{label}` and answered with {value}, which is no \
                         number; it is left out"
                    ),
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
        let one = |Measurement { label, value, unit, warn, crit }| Measurement {
            label: self.name(&label),
            value,
            unit: self.name(&unit),
            warn: range(warn),
            crit: range(crit),
        };
        measurements.into_iter().map(one).collect()
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
