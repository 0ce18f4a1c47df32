//! `for_each` in a run: each item is a step of its own, done once, undone in reverse, whatever
//! breaks.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{Reply, Run, World, broken_at_each_record, end, refused};
use proptest::prelude::*;
use runbook_engine::*;
use serde_json::json;
use std::collections::BTreeSet;

const EACH: &str = "[[step]]\nid = \"each\"\nuses = \"test:do\"\nundo = \"auto\"\n";

/// A first step, a step for each of three names, and one that reads what came of them.
fn three(more: &str) -> String {
    format!(
        "[[step]]\nid = \"first\"\nuses = \"test:do\"\nundo = \"auto\"\n\
             {EACH}for_each = [\"a\", \"b\", \"c\"]\nwith = {{ name = \"{{{{ item }}}}\" }}\n\
             {more}\n[[step]]\nid = \"last\"\nuses = \"test:do\"\nundo = \"auto\"\n\
             with = {{ seen = \"{{{{ steps.each.output }}}}\" }}\n"
    )
}

fn fault(run: &Run, step: &str) -> Fault {
    run.state().step(&step.into()).fault.clone().unwrap()
}

#[test]
fn items_are_done_in_order_and_their_outputs_are_a_map_by_key() {
    let run = Run::new(&three(""), World::default());
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["first", "each[a]", "each[b]", "each[c]", "last"]);
    let seen = json!({ "a": { "input": { "name": "a" } }, "b": { "input": { "name": "b" } },
        "c": { "input": { "name": "c" } } });
    assert_eq!(run.world.input("last"), json!({ "seen": seen }));
}

#[test]
fn the_output_of_an_earlier_step_is_gone_through_by_key() {
    let look = "[[preflight]]\nid = \"look\"\nuses = \"test:look\"\n";
    let each = "for_each = \"steps.look.output.tables\"\nas = \"table\"\n\
                key = \"{{ table.name }}\"\nwith = { rows = \"{{ table.rows }}\" }\n";
    let tables =
        json!({ "tables": [{ "name": "orders", "rows": 3 }, { "name": "users", "rows": 5 }] });
    let run = Run::new(
        &format!("{look}{EACH}{each}"),
        World::default().with("look", [Reply::Found(Outcome::Pass, tables)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["each[orders]", "each[users]"]);
    assert_eq!(run.world.input("each[users]"), json!({ "rows": 5 }));
}

#[test]
fn a_map_is_gone_through_by_its_keys() {
    let run = Run::new(
        &format!(
            "{EACH}for_each = {{ x = 1, y = 2 }}\nwith = {{ n = \"{{{{ item.value }}}}\" }}\n"
        ),
        World::default(),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["each[x]", "each[y]"]);
    assert_eq!(run.world.input("each[y]"), json!({ "n": 2 }));
}

#[test]
fn an_empty_list_is_a_success_that_says_so() {
    let run = Run::new(&format!("{EACH}for_each = []\n"), World::default());
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    let state = run.state();
    assert_eq!(state.step(&"each".into()).summary, "the list is empty: nothing to do");
    assert_eq!(state.step(&"each".into()).output, Some(json!({})));
}

#[test]
fn keys_that_are_there_twice_fail_the_step_before_anything_is_done() {
    let run = Run::new(&format!("{EACH}for_each = [\"a\", \"a\"]\n"), World::default());
    assert_eq!(
        end(run.execute()),
        (RunEnd::FailedClean, Some(Cause::Step { step: "each".into() }))
    );
    assert_eq!(
        fault(&run, "each").message,
        "two items have the key `a`; let `key` tell them apart"
    );
    assert!(run.world.applied().is_empty());
}

#[test]
fn a_failed_item_stops_the_others_and_all_is_undone_in_reverse() {
    let run = Run::new(
        &three(""),
        World::default().with("each[b]", [Reply::FailsLate(ErrorClass::Assertion)]),
    );
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Step { step: "each[b]".into() })));
    assert_eq!(run.world.applied(), ["first", "each[a]", "each[b]"]);
    assert_eq!(run.world.undone(), ["each[b]", "each[a]", "first"]);
    assert_eq!(
        fault(&run, "each").message,
        "1 of 3 items done, 1 not begun or not ended, 1 failed: `b`"
    );
}

#[test]
fn a_tolerated_item_leaves_the_others_to_be_done() {
    let run = Run::new(
        &three("on_failure = \"continue\""),
        World::default().with("each[b]", [Reply::Fails(ErrorClass::Conflict)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
    assert_eq!(run.world.applied(), ["first", "each[a]", "each[c]", "last"]);
    let seen = run.world.input("last");
    let keys: Vec<_> = seen["seen"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["a", "c"], "what did not work has no output");
}

#[test]
fn a_step_that_stops_leaves_its_items_as_they_are() {
    let run = Run::new(
        &three("on_failure = \"stop\""),
        World::default().with("each[b]", [Reply::Fails(ErrorClass::Conflict)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert!(run.world.undone().is_empty());
}

#[test]
fn each_item_has_its_own_attempts() {
    let retry = "retry = { attempts = 2, on = [\"transient\"] }";
    let world = World::default().with(
        "each[b]",
        [Reply::Refused(ErrorClass::Transient), Reply::Refused(ErrorClass::Transient)],
    );
    let run = Run::new(&three(retry), world);
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(run.state().step(&"each[b]".into()).attempts, 2);
    assert_eq!(run.state().step(&"each[a]".into()).attempts, 1);
}

#[test]
fn a_condition_that_names_the_item_is_asked_for_each_and_another_once() {
    let run = Run::new(&three("when = \"item != 'b'\""), World::default());
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["first", "each[a]", "each[c]", "last"]);
    assert_eq!(run.state().step(&"each".into()).summary, "2 of 3 items done, 1 skipped");
    // The list does not exist, and is not looked at.
    let none = "for_each = \"steps.look.output.none\"\nwhen = \"steps.look.output.go\"\n";
    let look = "[[preflight]]\nid = \"look\"\nuses = \"test:look\"\n";
    let world =
        World::default().with("look", [Reply::Found(Outcome::Pass, json!({ "go": false }))]);
    let run = Run::new(&format!("{look}{EACH}{none}"), world);
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
    let run = Run::new(each, World::default().with("bad", [Reply::Fails(ErrorClass::Invalid)]));
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(run.world.applied(), ["each[a]", "each[b]", "each[b]/undo", "each[a]/undo"]);
    assert_eq!(run.world.input("each[a]/undo"), json!({ "name": "a", "was": "a" }));
}

#[test]
fn mistakes_in_for_each_are_shown() {
    let step = |text: &str| refused(&format!("{EACH}{text}"));
    assert!(step("for_each = 5\n").contains("must be a list, a map, or an expression"));
    assert!(step("for_each = [1]\nas = \"steps\"\n").contains("cannot be called `steps`"));
    assert!(step("max_parallel = 2\n").contains("has no `for_each`"));
    assert!(
        step("for_each = [\"a\"]\nwith = { x = \"{{ thing }}\" }\n")
            .contains("`thing` is not a name")
    );
    let verify = "[[verify]]\nid = \"v\"\nuses = \"test:look\"\nfor_each = [1]\n";
    assert!(
        refused(&format!("{EACH}{verify}")).contains("`for_each` of verify `v` has no meaning")
    );
}

/// Every way in which a list of an output comes to `for_each`: with `cut`, what it says of itself
/// is `truncated = true`.
const WAYS: &[&str] = &[
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
fn a_list_that_was_cut_is_never_gone_through() {
    let rows = |cut: bool| json!({ "rows": ["a", "b"], "row_count": 2, "truncated": cut });
    for way in WAYS {
        for cut in [false, true] {
            // `first` hands on the outputs of a suite, which are a map of outputs.
            let text = format!(
                "[params.n]\ntype = \"int\"\ndefault = 1\n[[step]]\nid = \"look\"\n\
                 uses = \"test:look\"\n[[step]]\nid = \"first\"\nsuite = \"suite.toml\"\n\
                 {EACH}{way}\n"
            );
            let suite = "[[check]]\nid = \"look\"\nuses = \"test:look\"\n";
            let found = || [Reply::Found(Outcome::Pass, rows(cut))];
            let world = World::default().with("look", found()).with("first.look", found());
            let run = Run::nesting(&text, &[("suite.toml", suite)], world);
            let ended = end(run.execute()).0;
            if cut {
                assert_eq!(ended, RunEnd::FailedClean, "{way}");
                assert_eq!(fault(&run, "each").code, "engine.items-cut", "{way}");
                assert!(fault(&run, "each").message.contains("is cut"), "{way}");
                assert!(run.world.applied().is_empty(), "{way}");
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
                    "{way}: {:?}",
                    run.state().step(&"each".into()).fault
                );
            }
        }
    }
}

#[test]
fn a_list_that_was_cut_is_not_gone_through_in_a_nested_file_either() {
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
    let inner = format!("{params}{EACH}for_each = \"params.rows\"\n");
    for cut in [false, true] {
        let rows = json!({ "rows": ["a", "b"], "truncated": cut });
        let world = World::default().with("look", [Reply::Found(Outcome::Pass, rows)]);
        let run = Run::nesting(outer, &[("middle.toml", &middle), ("inner.toml", &inner)], world);
        let ended = end(run.execute());
        if cut {
            assert_eq!(
                ended,
                (RunEnd::FailedClean, Some(Cause::Step { step: "nest.deep.each".into() }))
            );
            assert!(fault(&run, "nest.deep.each").message.contains("`steps.look.output` is cut"));
        } else {
            assert_eq!(ended.0, RunEnd::Succeeded);
            assert_eq!(
                run.world.applied(),
                ["nest.deep.each[a]", "nest.deep.each[b]", "nest.plain[x]"]
            );
        }
    }
}

/// The most items of one step that were under way at once.
fn most_at_once(records: &[Record]) -> usize {
    let (mut open, mut most) = (BTreeSet::new(), 0);
    for record in records {
        let RunEvent::Step { step, event: StepEvent::Attempt(event) } = &record.event else {
            continue;
        };
        match event {
            AttemptEvent::Started { .. } => drop(open.insert(step.clone())),
            AttemptEvent::Ended { .. } => drop(open.remove(step)),
            AttemptEvent::Refused { .. } | AttemptEvent::Recovered { .. } => {}
        }
        most = most.max(open.len());
    }
    most
}

/// Resumes until the end. Where it is unknown whether an item took effect, looks at the world and
/// says so.
fn finish(run: &Run) -> RunEnd {
    let mut outcome = run.resume().unwrap();
    for _ in 0..20 {
        match outcome.stopped {
            Stopped::Ended { end, .. } => return end,
            Stopped::Paused { reason: PauseReason::UnknownOutcome { steps } } => {
                let done = run.world.done();
                let decide = |step: StepId| {
                    let decision = if done.contains(&step.to_string()) {
                        Decision::Done
                    } else {
                        Decision::Retry
                    };
                    (step, decision)
                };
                outcome = run.decide(&steps.into_iter().map(decide).collect()).unwrap();
            }
            Stopped::Paused { reason } => panic!("it paused: {reason:?}"),
        }
    }
    panic!("it never ended")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn items_are_done_once_at_most_so_many_at_a_time_whatever_breaks(n_items in 0_usize..5,
        max_parallel in 1_usize..4) {
        let names: Vec<_> = (0..n_items).map(|n| format!("\"i{n}\"")).collect();
        let text = format!("{EACH}for_each = [{}]\nmax_parallel = {max_parallel}\n",
            names.join(", "));
        let anew = || Run::new(&text, World::default());
        let whole = anew();
        prop_assert_eq!(end(whole.execute()).0, RunEnd::Succeeded);
        prop_assert!(most_at_once(&whole.records()) <= max_parallel);
        prop_assert_eq!(whole.world.done().len(), n_items);
        broken_at_each_record(&whole, anew, |run, at| {
            let ended = finish(run);
            assert!(matches!(ended, RunEnd::Succeeded | RunEnd::SucceededWithWarnings),
                "record {at}: {ended:?}");
            let applied = run.world.applied();
            assert_eq!(applied.iter().collect::<BTreeSet<_>>().len(), applied.len(),
                "record {at}: an item was done twice: {applied:?}");
            assert_eq!(applied.len(), n_items, "record {at}");
        });
    }

    #[test]
    fn after_a_failed_item_nothing_is_left_whatever_breaks(n_items in 1_usize..5,
        failing in 0_usize..5, max_parallel in 1_usize..4) {
        let names: Vec<_> = (0..n_items).map(|n| format!("\"i{n}\"")).collect();
        let text = format!("{EACH}for_each = [{}]\nmax_parallel = {max_parallel}\n",
            names.join(", "));
        let failing = format!("each[i{}]", failing % n_items);
        let anew = || Run::new(&text,
            World::default().with(&failing, [Reply::Fails(ErrorClass::Assertion)]));
        let whole = anew();
        prop_assert!(matches!(end(whole.execute()).0, RunEnd::Undone | RunEnd::FailedClean));
        prop_assert!(whole.world.done().is_empty());
        broken_at_each_record(&whole, anew, |run, at| {
            let ended = finish(run);
            // An item that counts as done by the operator's word may be all that there was.
            assert!(matches!(ended, RunEnd::Undone | RunEnd::FailedClean),
                "record {at}: {ended:?}");
            assert!(run.world.done().is_empty(), "record {at}: left {:?}", run.world.done());
        });
    }
}
