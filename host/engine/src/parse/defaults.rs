//! `[defaults]`: values for steps and checks that do not set their own.

use super::{names, step};
use crate::model::{OnFailure, Retry, Step};
use runbook_document::{Reader, Spanned};
use std::time::Duration;

/// The defaults of a file, from `[defaults]`; `None` where it has none.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults {
    timeout: Option<Duration>,
    retry: Option<Retry>,
    on_failure: Option<Spanned<OnFailure>>,
}

impl Defaults {
    /// Reads the section. Without it, there are no defaults.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let defaults = reader.section("defaults", "`[defaults]`", |reader| Self {
            timeout: reader.optional("timeout").map(|timeout| timeout.value),
            retry: reader.section("retry", "`retry`", step::read_retry),
            on_failure: names::choice(reader, "on_failure", OnFailure::ALL),
        });
        defaults.unwrap_or_default()
    }

    /// `on_failure` of steps that do not set it.
    pub(super) fn on_failure(&self) -> OnFailure {
        self.on_failure.as_ref().map(|word| word.value).unwrap_or_default()
    }

    /// Reports the defaults that have no meaning in a suite.
    pub(super) fn check_suite(&self, reader: &mut Reader<'_>) {
        if let Some(word) = &self.on_failure {
            let message = "`on_failure` of `[defaults]` has no meaning in a suite: a check changes nothing, \
                 and all are made";
            reader.error("E0220", word.span.clone(), message, "only in a runbook");
        }
    }

    /// Sets what a step that calls a plugin does not set itself. A step with `until` gets no
    /// `retry`, because a poll repeats by itself.
    pub(super) fn fill(&self, step: &mut Step) {
        if step.uses().is_none() {
            return;
        }
        step.timeout = step.timeout.or(self.timeout);
        if step.retry.is_none() && step.poll.is_none() {
            step.retry.clone_from(&self.retry);
        }
    }
}
