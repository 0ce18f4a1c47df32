//! An effect that a step did not propose is reported, because only the proposal was approved.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

const ONE_STEP: &str = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"";

#[test]
fn a_step_that_does_what_it_proposed_succeeds() {
    assert_eq!(
        end(Run::new(ONE_STEP, FakePlugins::default()).execute()),
        (RunEnd::Succeeded, None)
    );
    assert_eq!(
        end(Run::new(ONE_STEP, FakePlugins::default().with_changing_verbs("a", &[])).execute()),
        (RunEnd::Succeeded, None),
        "it may do less"
    );
}

#[test]
fn a_step_with_an_effect_that_it_did_not_propose_succeeds_with_a_warning() {
    let run = Run::new(
        ONE_STEP,
        FakePlugins::default().with_changing_verbs("a", &["sql.do", "files.remove"]),
    );
    assert_eq!(end(run.execute()), (RunEnd::SucceededWithWarnings, None));
    let state = run.state();
    let step = state.step(&"a".into());
    assert_eq!(step.outcome, Some(Outcome::Warn));
    assert!(
        step.summary.contains("departed from its plan, which did not announce `files.remove`"),
        "{}",
        step.summary
    );
}
