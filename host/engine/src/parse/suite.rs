//! `[[check]]`: a file that has it is a suite of checks, and holds nothing that changes anything.

use super::expect;
use super::step::{self, ProbeFields};
use crate::event::Section;
use crate::model::{Check, Criticality, Step};
use runbook_contract::StepId;
use runbook_document::{Reader, Spanned};
use std::time::Duration;

/// The keys that a suite cannot have.
const KEYS_NOT_FOR_SUITE: &[&str] =
    &["preflight", "step", "verify", "finally", "guard", "locks", "window", "undo"];

/// Reads all checks, and reports the keys that a suite cannot have.
pub(super) fn read_all(reader: &mut Reader<'_>) -> Vec<Step> {
    let Some(first) = reader.table().get("check") else { return Vec::new() };
    let span = first.span.clone();
    for key in KEYS_NOT_FOR_SUITE {
        if reader.table().get(key).is_some() {
            let message = format!("a file with `[[check]]` is a suite, and a suite has no `{key}`");
            reader.error_with_help(
                "E0232",
                span.clone(),
                message,
                "makes it a suite",
                "put the checks into a file of their own",
            );
        }
    }
    reader.read_each("check", "check", read)
}

fn read(reader: &mut Reader<'_>) -> Option<Step> {
    let fields = ProbeFields::read(reader);
    let timeout = reader.optional("timeout").map(|timeout| timeout.value);
    let retry = reader.section("retry", "`retry`", step::read_retry);
    // Without `until`, `every` says how often a watched suite makes the check.
    let is_poll = ["until", "within"].iter().any(|key| reader.table().get(key).is_some());
    let poll = is_poll.then(|| step::read_poll(reader)).flatten();
    let expect = expect::read_expect(reader);
    let when = reader.optional("when");
    let depends_on = reader
        .optional::<Vec<Spanned<String>>>("depends_on")
        .map(|names| names.value)
        .unwrap_or_default();
    let criticality = match reader.optional::<bool>("critical").map(|critical| critical.value) {
        Some(false) => Criticality::Minor,
        Some(true) | None => Criticality::Critical,
    };
    let tags = reader.optional::<Vec<String>>("tags").map(|tags| tags.value).unwrap_or_default();
    reader.mark_known("until");
    reader.mark_known("within");
    let every = reader.optional::<Duration>("every").map(|every| every.value);
    reader.optional::<Duration>("grace");
    let probe = fields.into_step(reader, Section::Check)?;
    Some(Step {
        timeout,
        retry,
        poll,
        expect,
        when,
        needs: Some(depends_on.into_iter().map(|need| need.map(StepId::new)).collect()),
        check: Some(Check { criticality, tags, every }),
        ..probe
    })
}
