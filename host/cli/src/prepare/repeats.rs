//! Removes findings that only repeat another.

use runbook_document::{Diagnostic, Diagnostics, Severity};
use std::collections::BTreeSet;

/// Whether an error inside the text of this finding was reported already. An unknown name, for
/// example, has no output either.
pub fn contains_reported_error(found: &Diagnostic, reported: &Diagnostics) -> bool {
    let is_inside = |inner: &Diagnostic| {
        found.span.start <= inner.span.start && inner.span.end <= found.span.end
    };
    reported.iter().any(|reported| {
        reported.severity == Severity::Error
            && reported.source.name() == found.source.name()
            && is_inside(reported)
    })
}

/// The findings of a later stage, without those at the place of an error that was reported already.
pub fn new_findings(reported: &Diagnostics, later: Diagnostics) -> Vec<Diagnostic> {
    let location_of =
        |found: &Diagnostic| (found.source.name().to_owned(), found.span.start, found.span.end);
    let errors = reported.iter().filter(|found| found.severity == Severity::Error);
    let mut places: BTreeSet<_> = errors.map(location_of).collect();
    let mut kept = Vec::new();
    for found in later {
        let is_new = !places.contains(&location_of(&found));
        if found.severity == Severity::Error {
            places.insert(location_of(&found));
        }
        if is_new {
            kept.push(found);
        }
    }
    kept
}
