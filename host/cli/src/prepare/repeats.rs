//! Findings that only repeat another are left out.

use runbook_document::{Diagnostic, Diagnostics, Severity};
use std::collections::BTreeSet;

/// Whether a finding is about a text in which a mistake was reported already: a name that is
/// unknown there has no output either.
pub fn holds_a_mistake(found: &Diagnostic, told: &Diagnostics) -> bool {
    let is_inside = |inner: &Diagnostic| {
        found.span.start <= inner.span.start && inner.span.end <= found.span.end
    };
    told.iter().any(|told| {
        told.severity == Severity::Error
            && told.source.name() == found.source.name()
            && is_inside(told)
    })
}

/// What a later stage has found, without findings at the place of a mistake that was reported
/// already.
pub fn new_findings(told: &Diagnostics, later: Diagnostics) -> Vec<Diagnostic> {
    let place =
        |found: &Diagnostic| (found.source.name().to_owned(), found.span.start, found.span.end);
    let errors = told.iter().filter(|found| found.severity == Severity::Error);
    let mut places: BTreeSet<_> = errors.map(place).collect();
    let mut fresh = Vec::new();
    for found in later {
        let is_new = !places.contains(&place(&found));
        if found.severity == Severity::Error {
            places.insert(place(&found));
        }
        if is_new {
            fresh.push(found);
        }
    }
    fresh
}
