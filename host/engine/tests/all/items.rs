//! `for_each` in a run: each item is a step of its own, which is done once and undone in reverse
//! order, at whichever record the journal fails.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{
    FakePlugins, Reply, Run, break_journal_at_each_record, end, refusal_messages,
};
use proptest::prelude::*;
use runbook_engine::*;
use serde_json::json;
use std::collections::BTreeSet;

const EACH_STEP: &str = "[[step]]\nid = \"each\"\nuses = \"test:do\"\nundo = \"auto\"\n";

/// A first step, a step for each of three names, and a step that uses their outputs. `more` is
/// further TOML of the step with the items.
fn runbook_with_three_items(more: &str) -> String {
    format!(
        "[[step]]\nid = \"first\"\nuses = \"test:do\"\nundo = \"auto\"\n\
             {EACH_STEP}for_each = [\"a\", \"b\", \"c\"]\nwith = {{ name = \"{{{{ item }}}}\" }}\n\
             {more}\n[[step]]\nid = \"last\"\nuses = \"test:do\"\nundo = \"auto\"\n\
             with = {{ seen = \"{{{{ steps.each.output }}}}\" }}\n"
    )
}

fn fault(run: &Run, step: &str) -> Fault {
    run.state().step(&step.into()).fault.clone().unwrap()
}

#[test]
fn items_are_done_in_order_and_their_outputs_are_a_map_by_key() {
    let run = Run::new(&runbook_with_three_items(""), FakePlugins::default());
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["first", "each[a]", "each[b]", "each[c]", "last"]);
    let seen = json!({ "a": { "input": { "name": "a" } }, "b": { "input": { "name": "b" } },
        "c": { "input": { "name": "c" } } });
    assert_eq!(run.plugins.input("last"), json!({ "seen": seen }));
}

#[test]
fn for_each_over_an_output_uses_key() {
    let look = "[[preflight]]\nid = \"look\"\nuses = \"test:look\"\n";
    let each = "for_each = \"steps.look.output.tables\"\nas = \"table\"\n\
                key = \"{{ table.name }}\"\nwith = { rows = \"{{ table.rows }}\" }\n";
    let tables =
        json!({ "tables": [{ "name": "orders", "rows": 3 }, { "name": "users", "rows": 5 }] });
    let run = Run::new(
        &format!("{look}{EACH_STEP}{each}"),
        FakePlugins::default().with("look", [Reply::Found(Outcome::Pass, tables)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["each[orders]", "each[users]"]);
    assert_eq!(run.plugins.input("each[users]"), json!({ "rows": 5 }));
}

#[test]
fn for_each_over_a_map_uses_its_keys() {
    let run = Run::new(
        &format!(
            "{EACH_STEP}for_each = {{ x = 1, y = 2 }}\nwith = {{ n = \"{{{{ item.value }}}}\" }}\n"
        ),
        FakePlugins::default(),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["each[x]", "each[y]"]);
    assert_eq!(run.plugins.input("each[y]"), json!({ "n": 2 }));
}

#[test]
fn a_step_with_an_empty_list_succeeds_and_says_that_the_list_is_empty() {
    let run = Run::new(&format!("{EACH_STEP}for_each = []\n"), FakePlugins::default());
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    let state = run.state();
    assert_eq!(state.step(&"each".into()).summary, "the list is empty: nothing to do");
    assert_eq!(state.step(&"each".into()).output, Some(json!({})));
}

#[test]
fn duplicate_keys_fail_the_step_before_any_effect() {
    let run = Run::new(&format!("{EACH_STEP}for_each = [\"a\", \"a\"]\n"), FakePlugins::default());
    assert_eq!(
        end(run.execute()),
        (RunEnd::FailedClean, Some(Cause::Step { step: "each".into() }))
    );
    assert_eq!(
        fault(&run, "each").message,
        "two items have the key `a`; let `key` tell them apart"
    );
    assert!(run.plugins.applied().is_empty());
}

#[test]
fn a_failed_item_stops_the_others_and_all_is_undone_in_reverse() {
    let run = Run::new(
        &runbook_with_three_items(""),
        FakePlugins::default().with("each[b]", [Reply::FailsAfterEffect(ErrorClass::Assertion)]),
    );
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Step { step: "each[b]".into() })));
    assert_eq!(run.plugins.applied(), ["first", "each[a]", "each[b]"]);
    assert_eq!(run.plugins.undone(), ["each[b]", "each[a]", "first"]);
    assert_eq!(
        fault(&run, "each").message,
        "1 of 3 items done, 1 not begun or not ended, 1 failed: `b`"
    );
}

#[test]
fn with_on_failure_continue_a_failed_item_does_not_stop_the_others() {
    let run = Run::new(
        &runbook_with_three_items("on_failure = \"continue\""),
        FakePlugins::default().with("each[b]", [Reply::Fails(ErrorClass::Conflict)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
    assert_eq!(run.plugins.applied(), ["first", "each[a]", "each[c]", "last"]);
    let seen = run.plugins.input("last");
    let keys: Vec<_> = seen["seen"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["a", "c"], "what did not work has no output");
}

#[test]
fn with_on_failure_stop_a_failed_item_is_not_followed_by_an_undo() {
    let run = Run::new(
        &runbook_with_three_items("on_failure = \"stop\""),
        FakePlugins::default().with("each[b]", [Reply::Fails(ErrorClass::Conflict)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert!(run.plugins.undone().is_empty());
}

#[test]
fn each_item_has_its_own_attempts() {
    let retry = "retry = { attempts = 2, on = [\"transient\"] }";
    let plugins = FakePlugins::default().with(
        "each[b]",
        [
            Reply::FailsWithoutEffect(ErrorClass::Transient),
            Reply::FailsWithoutEffect(ErrorClass::Transient),
        ],
    );
    let run = Run::new(&runbook_with_three_items(retry), plugins);
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(run.state().step(&"each[b]".into()).attempts, 2);
    assert_eq!(run.state().step(&"each[a]".into()).attempts, 1);
}

#[test]
fn a_condition_with_the_item_is_evaluated_for_each_item_and_any_other_once() {
    let run = Run::new(&runbook_with_three_items("when = \"item != 'b'\""), FakePlugins::default());
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["first", "each[a]", "each[c]", "last"]);
    assert_eq!(run.state().step(&"each".into()).summary, "2 of 3 items done, 1 skipped");
    // The list does not exist, and is not evaluated.
    let missing_list = "for_each = \"steps.look.output.none\"\nwhen = \"steps.look.output.go\"\n";
    let look = "[[preflight]]\nid = \"look\"\nuses = \"test:look\"\n";
    let plugins =
        FakePlugins::default().with("look", [Reply::Found(Outcome::Pass, json!({ "go": false }))]);
    let run = Run::new(&format!("{look}{EACH_STEP}{missing_list}"), plugins);
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert!(matches!(
        run.state().step(&"each".into()).phase,
        StepPhase::Skipped(SkipReason::Condition)
    ));
}

#[test]
fn an_explicit_undo_sees_its_item_and_the_output_of_its_item() {
    let each = "[[step]]\nid = \"each\"\nuses = \"test:do\"\nfor_each = [\"a\", \"b\"]\n\
                with = { name = \"{{ item }}\" }\n\
                undo = \
                { uses = \"test:do\", with = { name = \"{{ item }}\", was = \"{{ steps.each.output.input.name }}\" } }\n[[step]]\nid = \"bad\"\nuses = \"test:do\"\nundo = \"auto\"\n";
    let run =
        Run::new(each, FakePlugins::default().with("bad", [Reply::Fails(ErrorClass::Invalid)]));
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(run.plugins.applied(), ["each[a]", "each[b]", "each[b]/undo", "each[a]/undo"]);
    assert_eq!(run.plugins.input("each[a]/undo"), json!({ "name": "a", "was": "a" }));
}

#[test]
fn mistakes_in_for_each_are_shown() {
    let step = |text: &str| refusal_messages(&format!("{EACH_STEP}{text}"));
    assert!(step("for_each = 5\n").contains("must be a list, a map, or an expression"));
    assert!(step("for_each = [1]\nas = \"steps\"\n").contains("cannot be called `steps`"));
    assert!(step("max_parallel = 2\n").contains("has no `for_each`"));
    assert!(
        step("for_each = [\"a\"]\nwith = { x = \"{{ thing }}\" }\n")
            .contains("`thing` is not a name")
    );
    let verify = "[[verify]]\nid = \"v\"\nuses = \"test:look\"\nfor_each = [1]\n";
    assert!(
        refusal_messages(&format!("{EACH_STEP}{verify}"))
            .contains("`for_each` of verify `v` has no meaning")
    );
}

/// `for_each` lines whose expression uses a list in an output.
const FOR_EACH_EXPRESSIONS: &[&str] = &[
    "for_each = \"steps.look.output.rows\"",
    "for_each = \"steps['look'].output.rows[0:2]\"",
    "for_each = \"steps.look.output.rows | sort | list\"",
    "for_each = \"(steps.look.output.rows | default([])) + ['z']\"",
    "for_each = \"steps.look.output.rows if params.n > 0 else []\"",
    "for_each = \"steps.first.output.look.rows\"",
    "for_each = [\"{{ steps.look.output.rows | length }}\"]",
    "for_each = \"range(steps.look.output.row_count)\"",
];

#[test]
fn for_each_over_a_truncated_output_fails() {
    let rows =
        |truncated: bool| json!({ "rows": ["a", "b"], "row_count": 2, "truncated": truncated });
    for expression in FOR_EACH_EXPRESSIONS {
        for truncated in [false, true] {
            // The output of `first` is a map of the outputs of a suite.
            let text = format!(
                "[params.n]\ntype = \"int\"\ndefault = 1\n[[step]]\nid = \"look\"\n\
                 uses = \"test:look\"\n[[step]]\nid = \"first\"\nsuite = \"suite.toml\"\n\
                 {EACH_STEP}{expression}\n"
            );
            let suite = "[[check]]\nid = \"look\"\nuses = \"test:look\"\n";
            let found = || [Reply::Found(Outcome::Pass, rows(truncated))];
            let plugins = FakePlugins::default().with("look", found()).with("first.look", found());
            let run = Run::with_nested_files(&text, &[("suite.toml", suite)], plugins);
            let ended = end(run.execute()).0;
            if truncated {
                assert_eq!(ended, RunEnd::FailedClean, "{expression}");
                assert_eq!(fault(&run, "each").code, "engine.items-cut", "{expression}");
                assert!(fault(&run, "each").message.contains("is cut"), "{expression}");
                assert!(run.plugins.applied().is_empty(), "{expression}");
                assert!(
                    run.state()
                        .step(&"look".into())
                        .summary
                        .ends_with("(cut: its output does not hold all)")
                );
            } else {
                assert_eq!(
                    ended,
                    RunEnd::Succeeded,
                    "{expression}: {:?}",
                    run.state().step(&"each".into()).fault
                );
            }
        }
    }
}

#[test]
fn for_each_over_a_truncated_parameter_of_a_nested_file_fails() {
    let outer = "[[step]]\nid = \"look\"\nuses = \"test:look\"\n[[step]]\nid = \"nest\"\n\
                 runbook = \"middle.toml\"\n\
                 with = { rows = \"{{ steps.look.output.rows }}\", other = \"x\" }\n";
    let params = "[params.rows]\ntype = \"list\"\nrequired = true\n[params.other]\n\
                  type = \"string\"\ndefault = \"x\"\n";
    let middle = format!(
        "{params}[[step]]\nid = \"deep\"\nrunbook = \"inner.toml\"\n\
                 with = {{ rows = \"{{{{ params.rows }}}}\" }}\n[[step]]\nid = \"plain\"\n\
                 uses = \"test:do\"\nundo = \"auto\"\nfor_each = [\"{{{{ params.other }}}}\"]\n"
    );
    let inner = format!("{params}{EACH_STEP}for_each = \"params.rows\"\n");
    for truncated in [false, true] {
        let rows = json!({ "rows": ["a", "b"], "truncated": truncated });
        let plugins = FakePlugins::default().with("look", [Reply::Found(Outcome::Pass, rows)]);
        let run = Run::with_nested_files(
            outer,
            &[("middle.toml", &middle), ("inner.toml", &inner)],
            plugins,
        );
        let ended = end(run.execute());
        if truncated {
            assert_eq!(
                ended,
                (RunEnd::FailedClean, Some(Cause::Step { step: "nest.deep.each".into() }))
            );
            assert!(fault(&run, "nest.deep.each").message.contains("`steps.look.output` is cut"));
        } else {
            assert_eq!(ended.0, RunEnd::Succeeded);
            assert_eq!(
                run.plugins.applied(),
                ["nest.deep.each[a]", "nest.deep.each[b]", "nest.plain[x]"]
            );
        }
    }
}

/// The most items that were under way at once.
fn most_at_once(records: &[Record]) -> usize {
    let (mut under_way, mut most) = (BTreeSet::new(), 0);
    for record in records {
        let RunEvent::Step { step, event: StepEvent::Attempt(event) } = &record.event else {
            continue;
        };
        match event {
            AttemptEvent::Started { .. } => drop(under_way.insert(step.clone())),
            AttemptEvent::Ended { .. } => drop(under_way.remove(step)),
            AttemptEvent::Refused { .. } | AttemptEvent::Recovered { .. } => {}
        }
        most = most.max(under_way.len());
    }
    most
}

/// Resumes until the run ends. Decides each unknown outcome by whether the step has taken effect.
fn finish(run: &Run) -> RunEnd {
    let mut outcome = run.resume().unwrap();
    for _ in 0..20 {
        match outcome.stopped {
            StopReason::Ended { end, .. } => return end,
            StopReason::Paused { reason: PauseReason::UnknownOutcome { steps } } => {
                let done = run.plugins.done();
                let decide = |step: StepId| {
                    let decision = if done.contains(&step.to_string()) {
                        Decision::Done
                    } else {
                        Decision::Retry
                    };
                    (step, decision)
                };
                outcome = run.resume_with(&steps.into_iter().map(decide).collect()).unwrap();
            }
            StopReason::Paused { reason } => panic!("it paused: {reason:?}"),
        }
    }
    panic!("it never ended")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn items_are_done_once_and_at_most_max_parallel_at_a_time(n_items in 0_usize..5,
        max_parallel in 1_usize..4) {
        let names: Vec<_> = (0..n_items).map(|n| format!("\"i{n}\"")).collect();
        let text = format!("{EACH_STEP}for_each = [{}]\nmax_parallel = {max_parallel}\n",
            names.join(", "));
        let new_run = || Run::new(&text, FakePlugins::default());
        let complete_run = new_run();
        prop_assert_eq!(end(complete_run.execute()).0, RunEnd::Succeeded);
        prop_assert!(most_at_once(&complete_run.records()) <= max_parallel);
        prop_assert_eq!(complete_run.plugins.done().len(), n_items);
        break_journal_at_each_record(&complete_run, new_run, |run, at| {
            let ended = finish(run);
            assert!(matches!(ended, RunEnd::Succeeded | RunEnd::SucceededWithWarnings),
                "record {at}: {ended:?}");
            let applied = run.plugins.applied();
            assert_eq!(applied.iter().collect::<BTreeSet<_>>().len(), applied.len(),
                "record {at}: an item was done twice: {applied:?}");
            assert_eq!(applied.len(), n_items, "record {at}");
        });
    }

    #[test]
    fn after_a_failed_item_everything_is_undone(n_items in 1_usize..5,
        failing in 0_usize..5, max_parallel in 1_usize..4) {
        let names: Vec<_> = (0..n_items).map(|n| format!("\"i{n}\"")).collect();
        let text = format!("{EACH_STEP}for_each = [{}]\nmax_parallel = {max_parallel}\n",
            names.join(", "));
        let failing = format!("each[i{}]", failing % n_items);
        let new_run = || Run::new(&text,
            FakePlugins::default().with(&failing, [Reply::Fails(ErrorClass::Assertion)]));
        let complete_run = new_run();
        prop_assert!(matches!(end(complete_run.execute()).0, RunEnd::Undone | RunEnd::FailedClean));
        prop_assert!(complete_run.plugins.done().is_empty());
        break_journal_at_each_record(&complete_run, new_run, |run, at| {
            let ended = finish(run);
            // `FailedClean` if no item took effect before the failed one.
            assert!(matches!(ended, RunEnd::Undone | RunEnd::FailedClean),
                "record {at}: {ended:?}");
            assert!(run.plugins.done().is_empty(), "record {at}: left {:?}", run.plugins.done());
        });
    }
}
