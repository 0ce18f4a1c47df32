//! `finally` steps and notifications. They are never undone, so every sentence about the end of a
//! run mentions them.

use super::Summary;
use crate::phrases::quoted;
use runbook_engine::{RemainingEffect, Section, StepId, Trigger};
use serde::Serialize;

/// A notification that could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct UnsentNotification {
    /// The id of the notification, `notify/N`.
    pub notify: String,
    /// For what it was to be sent.
    pub on: Trigger,
    /// Why it could not be.
    pub why: String,
}

impl Summary {
    /// Changes by `finally`, notifications that could not be sent, and a cancel that came too late:
    /// a sentence for each, empty if there is none.
    pub(super) fn beside_text(&self) -> String {
        let of = |left: RemainingEffect| -> Vec<StepId> {
            let finally = self
                .steps
                .iter()
                .filter(|step| step.section == Section::Finally && step.change.left() == left);
            finally.map(|step| StepId::new(step.id.as_str())).collect()
        };
        let (done, perhaps) = (of(RemainingEffect::Surely), of(RemainingEffect::Perhaps));
        let mut text = String::new();
        if !done.is_empty() {
            text += &format!(" `finally` changed something, which stays: {}.", quoted(&done));
        }
        if !perhaps.is_empty() {
            text += &format!(" `finally` may have changed something: {}.", quoted(&perhaps));
        }
        for UnsentNotification { notify, on, why } in &self.not_sent {
            text += &format!(" `{notify}` ({}) was not sent: {why}.", word(*on));
        }
        text + &self.too_late()
    }
}

/// The word of a runbook for what something is sent for.
fn word(on: Trigger) -> &'static str {
    Trigger::ALL.iter().find(|(trigger, _)| *trigger == on).map_or("", |(_, name)| name)
}
