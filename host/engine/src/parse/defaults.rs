//! `[defaults]`: values for steps and checks that do not set their own.

use super::{names, step};
use crate::model::{OnFailure, Retry, Step};
use runbook_document::{Located, Reader};
use std::time::Duration;

/// The defaults of a file, as `[defaults]` says; `None` where it does not.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults {
    timeout: Option<Duration>,
    retry: Option<Retry>,
    on_failure: Option<Located<OnFailure>>,
}

impl Defaults {
    /// Reads the section; absent, nothing has a default.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let defaults = reader.section("defaults", "`[defaults]`", |reader| Self {
            timeout: reader.optional("timeout").map(|timeout| timeout.value),
            retry: reader.section("retry", "`retry`", step::read_retry),
            on_failure: names::choice(reader, "on_failure", OnFailure::ALL),
        });
        defaults.unwrap_or_default()
    }

    /// What follows when a step fails that does not say.
    pub(super) fn on_failure(&self) -> OnFailure {
        self.on_failure.as_ref().map(|word| word.value).unwrap_or_default()
    }

    /// Refuses in a suite what has no meaning there.
    pub(super) fn check_suite(&self, reader: &mut Reader<'_>) {
        if let Some(word) = &self.on_failure {
            let message = "`on_failure` of `[defaults]` has no meaning in a suite: a check changes nothing, \
                 and all are made";
            reader.error("E0220", word.span.clone(), message, "only in a runbook");
        }
    }

    /// Fills in what a step that calls a plugin does not say. What waits for something asks again
    /// by itself, so no `retry` is added.
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
