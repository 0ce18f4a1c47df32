//! `[[guard]]`

use super::expect;
use super::names;
use super::step::ProbeFields;
use crate::event::Section;
use crate::model::{Guard, OnBreach, Step};
use runbook_document::Reader;
use std::time::Duration;

/// The time between two probes of a guard, if the runbook does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest time between two probes of a guard. More frequent probes would be a load of
/// their own.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn read_all(reader: &mut Reader<'_>) -> Vec<Guard> {
    reader.read_each("guard", "guard", read)
}

fn read(reader: &mut Reader<'_>) -> Option<Guard> {
    let fields = ProbeFields::read(reader);
    let expect = expect::read_expect(reader);
    let timeout = reader.optional("timeout").map(|timeout| timeout.value);
    let every = reader.optional::<Duration>("every");
    if let Some(every) = every.as_ref().filter(|every| every.value < MIN_INTERVAL) {
        let message = format!("`every` of {} must be 100ms or more", reader.subject());
        reader.error("E0226", every.span.clone(), message, "too often");
    }
    let in_a_row = reader.optional::<u32>("for");
    if let Some(zero) = in_a_row.as_ref().filter(|count| count.value == 0) {
        let message = format!("`for` of {} counts probes, so it is at least 1", reader.subject());
        reader.error("E0226", zero.span.clone(), message, "too few");
    }
    let on_breach = names::choice(reader, "on_breach", OnBreach::ALL)
        .map(|on_breach| on_breach.value)
        .unwrap_or_default();
    let probe = fields.into_step(reader, Section::Guard)?;
    Some(Guard {
        probe: Step { timeout, expect, ..probe },
        every: every.map_or(DEFAULT_INTERVAL, |every| every.value),
        in_a_row: in_a_row.map_or(1, |count| count.value),
        on_breach,
    })
}
