//! A step that does something that its plan did not say is reported. What was approved was the
//! plan.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

const ONE: &str = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"";

#[test]
fn a_step_that_does_as_it_said_is_no_drift() {
    assert_eq!(end(Run::new(ONE, World::default()).execute()), (RunEnd::Succeeded, None));
    assert_eq!(
        end(Run::new(ONE, World::default().doing("a", &[])).execute()),
        (RunEnd::Succeeded, None),
        "it may do less"
    );
}

#[test]
fn a_step_that_does_more_than_it_said_succeeds_with_a_warning_that_names_it() {
    let run = Run::new(ONE, World::default().doing("a", &["sql.do", "files.remove"]));
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
