//! The steps that a step waits for by default, and what it does if they failed.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::*;
use runbook_engine::{AttemptEvent, RunEvent, StepEvent};

/// The `needs` of the steps of a runbook: none, or a list of earlier steps.
type NeedsOfSteps = Vec<Option<Vec<usize>>>;

/// All combinations for `n` steps, each without `needs` or with at most one earlier step.
fn all_needs(n: usize) -> Vec<NeedsOfSteps> {
    (0..n).fold(vec![Vec::new()], |all_needs, step| {
        let choices: Vec<Option<Vec<usize>>> = [None, Some(Vec::new())]
            .into_iter()
            .chain((0..step).map(|need| Some(vec![need])))
            .collect();
        all_needs
            .iter()
            .flat_map(|shape: &NeedsOfSteps| {
                choices.iter().map(|choice| [shape.clone(), vec![choice.clone()]].concat())
            })
            .collect()
    })
}

fn text(shape: &NeedsOfSteps) -> String {
    let step = |(number, needs): (usize, &Option<Vec<usize>>)| {
        let names = |needs: &Vec<usize>| {
            needs.iter().map(|need| format!("\"s{need}\"")).collect::<Vec<_>>().join(", ")
        };
        let needs =
            needs.as_ref().map(|needs| format!("needs = [{}]\n", names(needs))).unwrap_or_default();
        format!("[[step]]\nid = \"s{number}\"\nuses = \"test:look\"\n{needs}")
    };
    shape.iter().enumerate().map(step).collect()
}

/// The first step without `needs` for which some earlier step is open: no step needs that one so
/// far, and this step does not wait for it.
fn step_with_open_branches(shape: &NeedsOfSteps) -> Option<usize> {
    let needs = |step: usize| match (&shape[step], step) {
        (Some(needs), _) => needs.clone(),
        (None, 0) => Vec::new(),
        (None, step) => vec![step - 1],
    };
    // Only the steps up to this one count: a later join does not matter.
    let is_needed =
        |step: usize, until: usize| (0..=until).any(|other| needs(other).contains(&step));
    (0..shape.len())
        .find(|step| shape[*step].is_none() && (0..*step).any(|earlier| !is_needed(earlier, *step)))
}

#[test]
fn a_step_that_does_not_wait_for_open_branches_is_warned_of() {
    let mut n_warned = 0;
    for shape in (1..=4).flat_map(all_needs) {
        let plan = plan(&text(&shape));
        let messages = messages(&plan.warnings);
        let found: Vec<&String> =
            messages.iter().filter(|message| message.contains(" only, and not for ")).collect();
        match step_with_open_branches(&shape) {
            Some(step) => {
                assert!(
                    found[0].contains(&format!("step `s{step}` waits for `s{}` only", step - 1)),
                    "{shape:?}: {found:?}"
                );
                n_warned += 1;
            }
            None => assert!(found.is_empty(), "{shape:?}: {found:?}"),
        }
    }
    assert!(n_warned > 10, "{n_warned}");
}

#[test]
fn at_most_max_parallel_calls_are_made_at_once() {
    for (limit, expected) in [("", 64), ("[limits]\nmax_parallel = 3\n", 3)] {
        let steps: String = (0..200)
            .map(|number| {
                format!("[[step]]\nid = \"s{number}\"\nuses = \"test:look\"\nneeds = []\n")
            })
            .collect();
        let run = Run::new(&format!("{limit}{steps}"), FakePlugins::default());
        end(run.execute());
        let (mut under_way, mut highest) = (0_i32, 0);
        for record in run.records() {
            let RunEvent::Step { event: StepEvent::Attempt(event), .. } = record.event else {
                continue;
            };
            under_way += match event {
                AttemptEvent::Started { .. } => 1,
                AttemptEvent::Ended { .. } => -1,
                AttemptEvent::Refused { .. } | AttemptEvent::Recovered { .. } => 0,
            };
            highest = highest.max(under_way);
        }
        assert_eq!(highest, expected);
    }
}

#[test]
fn a_nested_file_sees_the_targets_of_the_files_that_nest_it() {
    let outer =
        "[targets.db]\nsql = \"sqlite:a.db\"\n[[step]]\nid = \"inner\"\nrunbook = \"inner.toml\"\n";
    let inner = "[targets.own]\nsql = \"sqlite:b.db\"\n[[step]]\nid = \"innermost\"\n\
                 runbook = \"innermost.toml\"\n";
    let innermost = "[[step]]\nid = \"a\"\nuses = \"test:look\"\nbind.db = \"db\"\n[[step]]\n\
                     id = \"b\"\nuses = \"test:look\"\nbind.db = \"own\"\n";
    let files = [("inner.toml", inner), ("innermost.toml", innermost)];
    assert!(try_plan_with(outer, &files).is_ok());
    // By itself it must define its targets. It does not see those of another nested file.
    assert!(refusal_messages(innermost).contains("there is no such target"));
    let beside = "[[step]]\nid = \"lends\"\nrunbook = \"inner.toml\"\n[[step]]\nid = \"takes\"\n\
                  runbook = \"taking.toml\"\n";
    let taking = "[[step]]\nid = \"a\"\nuses = \"test:look\"\nbind.db = \"own\"\n";
    let found = try_plan_with(
        beside,
        &[
            (
                "inner.toml",
                "[targets.own]\nsql = \"sqlite:b.db\"\n[[step]]\nid = \"x\"\n\
                 uses = \"test:look\"\n",
            ),
            ("taking.toml", taking),
        ],
    );
    assert!(messages(&found.unwrap_err()).join("\n").contains("there is no such target"));
}
