//! Texts about the changes that a run left behind when it did not succeed.

use super::{StepStatus, Summary};
use crate::phrases::quote_ids;
use runbook_engine::{RemainingChanges, RunEnd, StepId};

impl Summary {
    /// For a run that ended without success and is not dirty: which changes were undone, and which
    /// stay because they have no undo. The text says "observed" only of what was observed, and
    /// "changed" only of what was certainly changed.
    pub(super) fn undone_text(&self, end: RunEnd) -> String {
        let RemainingChanges { changed, possibly_changed, .. } = self.remaining_changes();
        let undone: Vec<_> =
            self.steps.iter().filter(|step| step.state == StepStatus::Undone).collect();
        let is_observed = undone.iter().all(|step| step.restored);
        let mut sentences = Vec::new();
        if undone.is_empty() && changed.is_empty() && possibly_changed.is_empty() {
            let is_undone = end == RunEnd::Undone;
            let text = if is_undone {
                "Nothing is left that needs an undo."
            } else {
                "No step had changed anything."
            };
            sentences.push(text.to_owned());
        } else if !undone.is_empty() {
            let how = if is_observed { ", and was observed to be as before" } else { "" };
            sentences.push(format!("What can be undone is undone{how}."));
        }
        if !changed.is_empty() {
            sentences.push(format!(
                "What {} changed stays: the runbook says that it has no undo.",
                quote_ids(&changed)
            ));
        }
        if !possibly_changed.is_empty() {
            sentences.push(format!(
                "What {} may have changed stays: it has no undo.",
                quote_ids(&possibly_changed)
            ));
        }
        sentences.join(" ")
    }
}

/// The end of a `runbook retry` command: the `--decide` options for steps of which it is unknown
/// whether they took effect, and what each of them means.
pub(super) fn decide_options(possibly_changed: &[StepId]) -> String {
    if possibly_changed.is_empty() {
        return "`".to_owned();
    }
    let options_with = |decision: &str| {
        let options = possibly_changed.iter().map(|step| {
            format!(" --decide {}", runbook_text::shell_argument(&format!("{step}={decision}")))
        });
        options.collect::<String>()
    };
    let is_one = possibly_changed.len() == 1;
    let (happened, each_note) =
        if is_one { ("it happened", "") } else { ("all happened", "; or decide for each") };
    let did_not_happen = if is_one { "it did not" } else { "none did" };
    let (done, retry) = (options_with("done"), options_with("retry"));
    format!(
        "{done}` ({happened}) or `{}` ({did_not_happen}; do it again){each_note}",
        retry.trim_start()
    )
}
