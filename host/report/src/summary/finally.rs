//! `finally` steps and notifications. They are never undone, so every sentence about the end of a
//! run mentions them.

use super::Summary;
use crate::phrases::quote_ids;
use runbook_engine::{RemainingEffect, Section, StepId, Trigger};
use serde::Serialize;

/// A notification that could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct UnsentNotification {
    /// The id of the notification, `notify/N`.
    pub notify: String,
    /// The event that triggered it.
    pub on: Trigger,
    /// Why it could not be sent.
    pub why: String,
}

impl Summary {
    /// Sentences about changes by `finally` steps, about notifications that could not be sent, and
    /// about a cancel that came too late; empty if there is none.
    pub(super) fn finally_text(&self) -> String {
        let steps_with = |effect: RemainingEffect| -> Vec<StepId> {
            let finally = self.steps.iter().filter(|step| {
                step.section == Section::Finally && step.change.remaining() == effect
            });
            finally.map(|step| StepId::new(step.id.as_str())).collect()
        };
        let (changed, possibly_changed) =
            (steps_with(RemainingEffect::Surely), steps_with(RemainingEffect::Perhaps));
        let mut text = String::new();
        if !changed.is_empty() {
            text += &format!(" `finally` changed something, which stays: {}.", quote_ids(&changed));
        }
        if !possibly_changed.is_empty() {
            text += &format!(
                " `finally` may have changed something: {}.",
                quote_ids(&possibly_changed)
            );
        }
        for UnsentNotification { notify, on, why } in &self.unsent_notifications {
            text += &format!(" `{notify}` ({}) was not sent: {why}.", trigger_name(*on));
        }
        text + &self.late_cancel_text()
    }
}

/// The name of a trigger, as a runbook writes it in `on`.
fn trigger_name(on: Trigger) -> &'static str {
    Trigger::ALL.iter().find(|(trigger, _)| *trigger == on).map_or("", |(_, name)| name)
}
