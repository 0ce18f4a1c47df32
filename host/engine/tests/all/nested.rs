//! Nested runbooks and suites: the steps of another file, as steps of this run.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::json;

const OUTER: &str = r#"
    [params.incident]
    type = "string"
    default = "INC-1"

    [[step]]
    id = "look"
    uses = "test:look"

    [[step]]
    id = "restore"
    runbook = "restore.toml"
    with = { table = "orders", label = "{{ params.incident }}" }

    [[step]]
    id = "open"
    uses = "test:do"
    undo = "auto"
    with = { file = "{{ steps.restore.output.copy.input.file }}" }
"#;

const RESTORE: &str = r#"
    [params.table]
    type = "string"
    required = true

    [params.label]
    type = "string"
    default = "none"

    [locks]
    exclusive = ["db:orders"]

    [[preflight]]
    id = "there"
    uses = "test:look"

    [[step]]
    id = "copy"
    uses = "test:do"
    undo = "auto"
    with = { file = "{{ params.table }}-{{ params.label }}.dump" }

    [[step]]
    id = "load"
    uses = "test:do"
    undo = "auto"
    with = { file = "{{ steps.copy.output.input.file }}" }

    [[verify]]
    id = "good"
    uses = "test:look"

    [[finally]]
    id = "tell"
    uses = "test:do"
"#;

fn nesting(world: World) -> Run {
    Run::nesting(OUTER, &[("restore.toml", RESTORE)], world)
}

fn refused_with(outer: &str, files: &[(&str, &str)]) -> String {
    messages(&try_plan_with(outer, files).expect_err("it is refused")).join("\n")
}

/// An outer runbook that only names `restore.toml`.
fn only(step: &str) -> String {
    format!("[[step]]\nid = \"restore\"\nrunbook = \"restore.toml\"\n{step}")
}

#[test]
fn its_steps_are_steps_of_the_run_with_its_own_parameters_and_names() {
    let run = nesting(World::default());
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert_eq!(run.world.applied(), ["restore.copy", "restore.load", "open", "restore.tell"]);
    let file = json!({ "file": "orders-INC-1.dump" });
    assert_eq!((run.world.input("restore.load"), run.world.input("open")), (file.clone(), file));
}

#[test]
fn its_locks_are_held_before_the_first_step_of_the_run() {
    let run = nesting(World::default());
    end(run.execute());
    assert_eq!(
        run.state().locks.iter().map(|lock| lock.name.as_str()).collect::<Vec<_>>(),
        ["db:orders"]
    );
}

#[test]
fn a_failure_after_it_undoes_its_steps_too_in_reverse_order() {
    let run = nesting(World::default().with("open", [Reply::Fails(ErrorClass::Conflict)]));
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Step { step: "open".into() })));
    assert_eq!(
        run.world.undone(),
        ["open", "restore.load", "restore.copy"],
        "what failed may have half happened"
    );
}

#[test]
fn a_failure_in_it_is_a_failure_of_the_run() {
    for (step, class) in
        [("restore.load", ErrorClass::Conflict), ("restore.good", ErrorClass::Transient)]
    {
        let run = nesting(World::default().with(step, [Reply::Fails(class)]));
        assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Step { step: step.into() })));
        assert!(
            run.world.done().iter().all(|done| done == "restore.tell"),
            "{:?}",
            run.world.done()
        );
        assert_eq!(run.state().step(&"restore".into()).phase, StepPhase::Failed(class));
    }
}

#[test]
fn its_preflight_holds_before_its_first_effect() {
    let run = nesting(World::default().with("restore.there", [Reply::Fails(ErrorClass::NotFound)]));
    assert_eq!(end(run.execute()).0, RunEnd::FailedClean);
    assert_eq!(run.world.applied(), ["restore.tell"]);
}

#[test]
fn when_it_is_skipped_so_are_all_its_steps() {
    let run = Run::nesting(
        &only(
            "when = \"params.incident != ''\"\nwith.table = \"a\"\n[params.incident]\n\
               type = \"string\"\ndefault = \"\"",
        ),
        &[("restore.toml", RESTORE)],
        World::default(),
    );
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert!(run.world.applied().is_empty());
    assert_eq!(
        run.state().step(&"restore.copy".into()).phase,
        StepPhase::Skipped(SkipReason::Condition)
    );
}

#[test]
fn its_limit_of_effects_is_for_its_steps_only() {
    let limited = format!("[limits]\nmax_effects = {{ sql = 1 }}\n{RESTORE}");
    let run = Run::nesting(OUTER, &[("restore.toml", &limited)], World::default());
    assert_eq!(
        end(run.execute()),
        (RunEnd::Undone, Some(Cause::Step { step: "restore.load".into() }))
    );
    let enough = limited.replace("sql = 1", "sql = 3");
    assert_eq!(
        end(Run::nesting(OUTER, &[("restore.toml", &enough)], World::default()).execute()).0,
        RunEnd::Succeeded
    );
}

#[test]
fn its_time_limit_is_for_its_steps_only() {
    let slow = RESTORE.replacen("[params.table]", "timeout = \"20s\"\n[params.table]", 1).replace(
        "[[verify]]",
        "[[step]]\nid = \"wait\"\nuses = \"test:look\"\nuntil = \"outcome == 'pass'\"\n\
         every = \"5s\"\nwithin = \"1m\"\n[[verify]]",
    );
    let run = Run::nesting(
        OUTER,
        &[("restore.toml", &slow)],
        World::default().with("restore.wait", [Reply::Found(Outcome::Fail, json!({}))]),
    );
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Timeout)));
}

#[test]
fn broken_at_each_record_it_ends_as_if_nothing_had_been() {
    let whole = nesting(World::default());
    end(whole.execute());
    broken_at_each_record(
        &whole,
        || nesting(World::default()),
        |run, at| {
            let mut outcome = run.resume().unwrap();
            if let Stopped::Paused { reason: PauseReason::UnknownOutcome { steps } } =
                &outcome.stopped
            {
                outcome = run
                    .decide(&steps.iter().map(|step| (step.clone(), Decision::Done)).collect())
                    .unwrap();
            }
            let Stopped::Ended { end, .. } = outcome.stopped else {
                panic!("record {at}: {:?}", outcome.stopped)
            };
            assert!(
                matches!(end, RunEnd::Succeeded | RunEnd::SucceededWithWarnings | RunEnd::Undone),
                "record {at}: {end:?}"
            );
            let applied = run.world.applied();
            let once = applied.iter().filter(|step| *step != "restore.tell").count();
            let different: std::collections::BTreeSet<_> =
                applied.iter().filter(|step| *step != "restore.tell").collect();
            assert_eq!(once, different.len(), "record {at}: {applied:?}");
        },
    );
}

#[test]
fn what_it_is_given_must_fit_its_parameters() {
    let with = |with: &str| refused_with(&only(with), &[("restore.toml", RESTORE)]);
    assert!(with("").contains("its parameter `table` is required"));
    assert!(with("with = { table = 5 }").contains("`table`: `5` is not of type string"));
    assert!(
        with("with = { table = \"a\", labels = \"b\" }")
            .contains("it has no parameter `labels`; did you mean `label`?")
    );
}

#[test]
fn a_value_that_is_known_only_at_run_time_is_judged_then() {
    let numbered = RESTORE.replacen("type = \"string\"", "type = \"int\"", 1);
    let outer = "[[step]]\nid = \"look\"\nuses = \"test:look\"\n".to_owned()
        + &only("with = { table = \"{{ steps.look.output.n }}\" }");
    let world =
        |n: Json| World::default().with("look", [Reply::Found(Outcome::Pass, json!({ "n": n }))]);
    assert_eq!(
        end(Run::nesting(&outer, &[("restore.toml", &numbered)], world(json!(3))).execute()).0,
        RunEnd::Succeeded
    );
    let run = Run::nesting(&outer, &[("restore.toml", &numbered)], world(json!([])));
    assert_eq!(
        end(run.execute()),
        (RunEnd::FailedClean, Some(Cause::Step { step: "restore".into() }))
    );
}

#[test]
fn what_belongs_to_its_steps_cannot_stand_beside_it() {
    let refused = refused_with(
        &only("with.table = \"a\"\nretry = { attempts = 2 }"),
        &[("restore.toml", RESTORE)],
    );
    assert!(
        refused.contains("`retry` of step `restore` has no meaning beside `runbook`"),
        "{refused}"
    );
}

#[test]
fn circles_other_folders_and_missing_files_are_refused() {
    let refused = |file: &str, inner: &str| {
        refused_with(&only("").replace("restore.toml", file), &[("restore.toml", inner)])
    };
    assert!(refused("gone.toml", RESTORE).contains("`gone.toml` cannot be read"));
    assert!(refused("../restore.toml", RESTORE).contains("is not in the folder of the runbook"));
    assert!(refused("restore.toml", &only("")).contains("`restore.toml` would run itself"));
    assert!(
        refused("restore.toml", &only("").replace("restore.toml", "test.toml"))
            .contains("`test.toml` would run itself")
    );
    assert!(refused("test.toml", RESTORE).contains("would run itself"));
}

#[test]
fn a_name_means_one_thing_in_a_run() {
    let target = |url: &str| format!("[targets.db]\nsql = \"{url}\"\n");
    let outer = target("sqlite:a.db") + &only("with.table = \"a\"");
    let same = target("sqlite:a.db") + RESTORE;
    assert!(try_plan_with(&outer, &[("restore.toml", &same)]).is_ok());
    let other = target("sqlite:b.db") + RESTORE;
    let refused = refused_with(&outer, &[("restore.toml", &other)]);
    assert!(refused.contains("target `db` is one thing at test.toml:"), "{refused}");
}

#[test]
fn a_nested_window_holds_for_the_whole_run() {
    let window = "[window]\nallow = \
                  [{ days = \"sun\", from = \"02:00\", to = \"04:00\", zone = \"UTC\" }]\n\
                  outside = \"refuse\"\n";
    let inner = window.to_owned() + RESTORE;
    let run = Run {
        clock: Still::at("2026-11-22T05:00:00Z"),
        ..Run::nesting(OUTER, &[("restore.toml", &inner)], World::default())
    };
    assert!(matches!(end(run.execute()), (RunEnd::FailedClean, Some(Cause::OutsideWindow { .. }))));
    let other = window.replace("04:00", "06:00") + OUTER;
    assert!(refused_with(&other, &[("restore.toml", &inner)]).contains("a `[window]` of its own"));
}

#[test]
fn a_nested_guard_watches_while_its_steps_run() {
    let guarded = format!(
        "[[guard]]\nid = \"calm\"\nuses = \"test:look\"\nexpect = {{ crit = \"5\" }}\n{RESTORE}"
    );
    let rate = |rate: f64| Reply::Found(Outcome::Pass, json!({ "value": rate }));
    let run = Run::nesting(
        OUTER,
        &[("restore.toml", &guarded)],
        World::default().with("restore.calm", [rate(9.0)]),
    );
    assert_eq!(
        end(run.execute()),
        (RunEnd::FailedClean, Some(Cause::Guard { guard: "restore.calm".into() }))
    );
    let calm = Run::nesting(
        OUTER,
        &[("restore.toml", &guarded)],
        World::default().with("restore.calm", [rate(1.0)]),
    );
    assert_eq!(end(calm.execute()).0, RunEnd::Succeeded);
}

#[test]
fn nested_twice_it_is_one_run_all_the_same() {
    let middle = only("with.table = \"t\"");
    let outer = only("").replace("restore.toml", "middle.toml").replace("\"restore\"", "\"all\"");
    let run = Run::nesting(
        &outer,
        &[("middle.toml", &middle), ("restore.toml", RESTORE)],
        World::default(),
    );
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert_eq!(run.world.applied()[0], "all.restore.copy");
    assert_eq!(run.world.input("all.restore.load"), json!({ "file": "t-none.dump" }));
}

const SUITE: &str = r#"
    [[check]]
    id = "api"
    uses = "test:look"
    tags = ["web"]

    [[check]]
    id = "pages"
    uses = "test:look"
    depends_on = ["api"]
    tags = ["web"]

    [[check]]
    id = "disk"
    uses = "test:look"
    critical = false
    tags = ["host"]
"#;

fn suite(step: &str, world: World) -> Run {
    Run::nesting(
        &format!("[[step]]\nid = \"all\"\nsuite = \"suite.toml\"\n{step}"),
        &[("suite.toml", SUITE)],
        world,
    )
}

#[test]
fn all_checks_of_a_suite_are_made_and_the_worst_critical_one_decides() {
    let fails = || [Reply::Found(Outcome::Fail, json!({}))];
    let run = suite("", World::default());
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    let run = suite("", World::default().with("all.disk", fails()));
    assert_eq!(end(run.execute()), (RunEnd::SucceededWithWarnings, None));
    let run = suite("", World::default().with("all.api", fails()));
    assert_eq!(end(run.execute()), (RunEnd::FailedClean, Some(Cause::Step { step: "all".into() })));
    let state = run.state();
    assert_eq!(
        state.step(&"all.disk".into()).phase,
        StepPhase::Succeeded,
        "one failure does not hide what else there is"
    );
    assert_eq!(state.step(&"all.pages".into()).phase, StepPhase::Skipped(SkipReason::Dependency));
}

#[test]
fn a_suite_that_may_fail_lets_the_run_go_on() {
    let run = suite(
        "on_failure = \"continue\"",
        World::default().with("all.api", [Reply::Fails(ErrorClass::Transient)]),
    );
    assert_eq!(end(run.execute()), (RunEnd::SucceededWithWarnings, None));
}

#[test]
fn tags_select_checks_and_a_selection_of_nothing_is_refused() {
    let run = suite("tags = [\"host\"]", World::default());
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert_eq!(
        run.plan.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(),
        ["all", "all.disk"]
    );
    let refused = refused_with(
        "[[step]]\nid = \"all\"\nsuite = \"suite.toml\"\ntags = [\"wep\"]",
        &[("suite.toml", SUITE)],
    );
    assert!(refused.contains("no check of the suite has the tag `wep`"), "{refused}");
}

#[test]
fn a_suite_by_itself_is_no_runbook() {
    assert!(refused_with(SUITE, &[]).contains("`test` is a suite of checks, not a runbook"));
}

#[test]
fn a_suite_only_looks() {
    let acts = SUITE.replacen("test:look", "test:do", 1);
    let refused =
        refused_with("[[step]]\nid = \"all\"\nsuite = \"suite.toml\"", &[("suite.toml", &acts)]);
    assert!(refused.contains("check `api` uses an operation that changes things"), "{refused}");
    let mixed = format!("{SUITE}\n[[step]]\nid = \"x\"\nuses = \"test:look\"");
    assert!(
        refused_with("[[step]]\nid = \"all\"\nsuite = \"suite.toml\"", &[("suite.toml", &mixed)])
            .contains("a suite has no `step`")
    );
    assert!(
        refused_with(&only("").replace("restore.toml", "suite.toml"), &[("suite.toml", SUITE)])
            .contains("is a suite")
    );
}
