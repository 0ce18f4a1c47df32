//! What a run that did not succeed has left behind, in exact sentences.

use super::{StepStatus, Summary};
use crate::phrases::quoted;
use runbook_engine::{Account, RunEnd, StepId};

impl Summary {
    /// For a run that ended without success and is not dirty: what is undone, and what stays
    /// because nothing undoes it. It says "observed" only of what was observed, and "changed" only
    /// of what certainly was.
    pub(super) fn undone_text(&self, end: RunEnd) -> String {
        let Account { changed, perhaps, .. } = self.account();
        let undone: Vec<_> =
            self.steps.iter().filter(|step| step.state == StepStatus::Undone).collect();
        let is_seen = undone.iter().all(|step| step.restored);
        let mut said = Vec::new();
        if undone.is_empty() && changed.is_empty() && perhaps.is_empty() {
            let is_undone = end == RunEnd::Undone;
            let text = if is_undone {
                "Nothing is left that needs an undo."
            } else {
                "No step had changed anything."
            };
            said.push(text.to_owned());
        } else if !undone.is_empty() {
            let how = if is_seen { ", and was observed to be as before" } else { "" };
            said.push(format!("What can be undone is undone{how}."));
        }
        if !changed.is_empty() {
            said.push(format!(
                "What {} changed stays: the runbook says that it has no undo.",
                quoted(&changed)
            ));
        }
        if !perhaps.is_empty() {
            said.push(format!("What {} may have changed stays: it has no undo.", quoted(&perhaps)));
        }
        said.join(" ")
    }
}

/// The options of `retry` about what may have happened, and the end of the command: none is needed
/// if all is known.
pub(super) fn to_decide(perhaps: &[StepId]) -> String {
    if perhaps.is_empty() {
        return "`".to_owned();
    }
    let decide = |how: &str| {
        let each = perhaps
            .iter()
            .map(|step| format!(" --decide {}", runbook_text::argument(&format!("{step}={how}"))));
        each.collect::<String>()
    };
    let is_one = perhaps.len() == 1;
    let (it, each) =
        if is_one { ("it happened", "") } else { ("all happened", "; or decide for each") };
    let not = if is_one { "it did not" } else { "none did" };
    let (done, retry) = (decide("done"), decide("retry"));
    format!("{done}` ({it}) or `{}` ({not}; do it again){each}", retry.trim_start())
}
