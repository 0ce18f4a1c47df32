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

fn with_nested_files(plugins: FakePlugins) -> Run {
    Run::with_nested_files(OUTER, &[("restore.toml", RESTORE)], plugins)
}

fn refusal_messages_with_files(outer: &str, files: &[(&str, &str)]) -> String {
    messages(&try_plan_with(outer, files).expect_err("it is refused")).join("\n")
}

/// An outer runbook that only names `restore.toml`.
fn nesting_step(step: &str) -> String {
    format!("[[step]]\nid = \"restore\"\nrunbook = \"restore.toml\"\n{step}")
}

#[test]
fn steps_of_a_nested_file_are_steps_of_the_run_with_parameters_of_that_file() {
    let run = with_nested_files(FakePlugins::default());
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert_eq!(run.plugins.applied(), ["restore.copy", "restore.load", "open", "restore.tell"]);
    let file = json!({ "file": "orders-INC-1.dump" });
    assert_eq!(
        (run.plugins.input("restore.load"), run.plugins.input("open")),
        (file.clone(), file)
    );
}

#[test]
fn locks_of_a_nested_file_are_held_before_the_first_step_of_the_run() {
    let run = with_nested_files(FakePlugins::default());
    end(run.execute());
    assert_eq!(
        run.state().locks.iter().map(|lock| lock.name.as_str()).collect::<Vec<_>>(),
        ["db:orders"]
    );
}

#[test]
fn a_later_failure_undoes_the_steps_of_a_nested_file_in_reverse_order() {
    let run = with_nested_files(
        FakePlugins::default().with("open", [Reply::Fails(ErrorClass::Conflict)]),
    );
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Step { step: "open".into() })));
    assert_eq!(
        run.plugins.undone(),
        ["open", "restore.load", "restore.copy"],
        "what failed may have half happened"
    );
}

#[test]
fn a_failure_in_a_nested_file_is_a_failure_of_the_run() {
    for (step, class) in
        [("restore.load", ErrorClass::Conflict), ("restore.good", ErrorClass::Transient)]
    {
        let run = with_nested_files(FakePlugins::default().with(step, [Reply::Fails(class)]));
        assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Step { step: step.into() })));
        assert!(
            run.plugins.done().iter().all(|done| done == "restore.tell"),
            "{:?}",
            run.plugins.done()
        );
        assert_eq!(run.state().step(&"restore".into()).phase, StepPhase::Failed(class));
    }
}

#[test]
fn a_nested_preflight_runs_before_the_first_effect_of_its_file() {
    let run = with_nested_files(
        FakePlugins::default().with("restore.there", [Reply::Fails(ErrorClass::NotFound)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::FailedClean);
    assert_eq!(run.plugins.applied(), ["restore.tell"]);
}

#[test]
fn a_skipped_nested_file_skips_all_its_steps() {
    let run = Run::with_nested_files(
        &nesting_step(
            "when = \"params.incident != ''\"\nwith.table = \"a\"\n[params.incident]\n\
               type = \"string\"\ndefault = \"\"",
        ),
        &[("restore.toml", RESTORE)],
        FakePlugins::default(),
    );
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert!(run.plugins.applied().is_empty());
    assert_eq!(
        run.state().step(&"restore.copy".into()).phase,
        StepPhase::Skipped(SkipReason::Condition)
    );
}

#[test]
fn max_effects_of_a_nested_file_applies_to_its_steps_only() {
    let limited = format!("[limits]\nmax_effects = {{ sql = 1 }}\n{RESTORE}");
    let run = Run::with_nested_files(OUTER, &[("restore.toml", &limited)], FakePlugins::default());
    assert_eq!(
        end(run.execute()),
        (RunEnd::Undone, Some(Cause::Step { step: "restore.load".into() }))
    );
    let enough = limited.replace("sql = 1", "sql = 3");
    assert_eq!(
        end(Run::with_nested_files(OUTER, &[("restore.toml", &enough)], FakePlugins::default())
            .execute())
        .0,
        RunEnd::Succeeded
    );
}

#[test]
fn the_timeout_of_a_nested_file_applies_to_its_steps_only() {
    let slow = RESTORE.replacen("[params.table]", "timeout = \"20s\"\n[params.table]", 1).replace(
        "[[verify]]",
        "[[step]]\nid = \"wait\"\nuses = \"test:look\"\nuntil = \"outcome == 'pass'\"\n\
         every = \"5s\"\nwithin = \"1m\"\n[[verify]]",
    );
    let run = Run::with_nested_files(
        OUTER,
        &[("restore.toml", &slow)],
        FakePlugins::default().with("restore.wait", [Reply::Found(Outcome::Fail, json!({}))]),
    );
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Timeout)));
}

#[test]
fn broken_at_each_record_a_run_with_a_nested_file_has_each_effect_once() {
    let complete_run = with_nested_files(FakePlugins::default());
    end(complete_run.execute());
    break_journal_at_each_record(
        &complete_run,
        || with_nested_files(FakePlugins::default()),
        |run, at| {
            let mut outcome = run.resume().unwrap();
            if let StopReason::Paused { reason: PauseReason::UnknownOutcome { steps } } =
                &outcome.stopped
            {
                outcome = run
                    .resume_with(&steps.iter().map(|step| (step.clone(), Decision::Done)).collect())
                    .unwrap();
            }
            let StopReason::Ended { end, .. } = outcome.stopped else {
                panic!("record {at}: {:?}", outcome.stopped)
            };
            assert!(
                matches!(end, RunEnd::Succeeded | RunEnd::SucceededWithWarnings | RunEnd::Undone),
                "record {at}: {end:?}"
            );
            let applied = run.plugins.applied();
            let n_effects = applied.iter().filter(|step| *step != "restore.tell").count();
            let different: std::collections::BTreeSet<_> =
                applied.iter().filter(|step| *step != "restore.tell").collect();
            assert_eq!(n_effects, different.len(), "record {at}: {applied:?}");
        },
    );
}

#[test]
fn the_input_of_a_nested_file_must_fit_its_parameters() {
    let with =
        |with: &str| refusal_messages_with_files(&nesting_step(with), &[("restore.toml", RESTORE)]);
    assert!(with("").contains("its parameter `table` is required"));
    assert!(with("with = { table = 5 }").contains("`table`: `5` is not of type string"));
    assert!(
        with("with = { table = \"a\", labels = \"b\" }")
            .contains("it has no parameter `labels`; did you mean `label`?")
    );
}

#[test]
fn a_parameter_known_only_at_run_time_is_checked_at_run_time() {
    let numbered = RESTORE.replacen("type = \"string\"", "type = \"int\"", 1);
    let outer = "[[step]]\nid = \"look\"\nuses = \"test:look\"\n".to_owned()
        + &nesting_step("with = { table = \"{{ steps.look.output.n }}\" }");
    let plugins = |n: Json| {
        FakePlugins::default().with("look", [Reply::Found(Outcome::Pass, json!({ "n": n }))])
    };
    assert_eq!(
        end(Run::with_nested_files(&outer, &[("restore.toml", &numbered)], plugins(json!(3)))
            .execute())
        .0,
        RunEnd::Succeeded
    );
    let run = Run::with_nested_files(&outer, &[("restore.toml", &numbered)], plugins(json!([])));
    assert_eq!(
        end(run.execute()),
        (RunEnd::FailedClean, Some(Cause::Step { step: "restore".into() }))
    );
}

#[test]
fn keys_of_steps_are_refused_beside_a_nested_file() {
    let messages = refusal_messages_with_files(
        &nesting_step("with.table = \"a\"\nretry = { attempts = 2 }"),
        &[("restore.toml", RESTORE)],
    );
    assert!(
        messages.contains("`retry` of step `restore` has no meaning beside `runbook`"),
        "{messages}"
    );
}

#[test]
fn nested_cycles_other_folders_and_missing_files_are_refused() {
    let messages_of = |file: &str, inner: &str| {
        refusal_messages_with_files(
            &nesting_step("").replace("restore.toml", file),
            &[("restore.toml", inner)],
        )
    };
    assert!(messages_of("gone.toml", RESTORE).contains("`gone.toml` cannot be read"));
    assert!(
        messages_of("../restore.toml", RESTORE).contains("is not in the folder of the runbook")
    );
    assert!(
        messages_of("restore.toml", &nesting_step("")).contains("`restore.toml` would run itself")
    );
    assert!(
        messages_of("restore.toml", &nesting_step("").replace("restore.toml", "test.toml"))
            .contains("`test.toml` would run itself")
    );
    assert!(messages_of("test.toml", RESTORE).contains("would run itself"));
}

#[test]
fn two_definitions_of_a_target_in_one_run_are_refused() {
    let target = |url: &str| format!("[targets.db]\nsql = \"{url}\"\n");
    let outer = target("sqlite:a.db") + &nesting_step("with.table = \"a\"");
    let same = target("sqlite:a.db") + RESTORE;
    assert!(try_plan_with(&outer, &[("restore.toml", &same)]).is_ok());
    let other = target("sqlite:b.db") + RESTORE;
    let messages = refusal_messages_with_files(&outer, &[("restore.toml", &other)]);
    assert!(messages.contains("target `db` is one thing at test.toml:"), "{messages}");
}

#[test]
fn a_nested_window_holds_for_the_whole_run() {
    let window = "[window]\nallow = \
                  [{ days = \"sun\", from = \"02:00\", to = \"04:00\", zone = \"UTC\" }]\n\
                  outside = \"refuse\"\n";
    let inner = window.to_owned() + RESTORE;
    let run = Run {
        clock: InstantClock::at("2026-11-22T05:00:00Z"),
        ..Run::with_nested_files(OUTER, &[("restore.toml", &inner)], FakePlugins::default())
    };
    assert!(matches!(end(run.execute()), (RunEnd::FailedClean, Some(Cause::OutsideWindow { .. }))));
    let other = window.replace("04:00", "06:00") + OUTER;
    assert!(
        refusal_messages_with_files(&other, &[("restore.toml", &inner)])
            .contains("a `[window]` of its own")
    );
}

#[test]
fn a_nested_guard_watches_while_its_steps_run() {
    let guarded = format!(
        "[[guard]]\nid = \"calm\"\nuses = \"test:look\"\nexpect = {{ crit = \"5\" }}\n{RESTORE}"
    );
    let rate = |rate: f64| Reply::Found(Outcome::Pass, json!({ "value": rate }));
    let run = Run::with_nested_files(
        OUTER,
        &[("restore.toml", &guarded)],
        FakePlugins::default().with("restore.calm", [rate(9.0)]),
    );
    assert_eq!(
        end(run.execute()),
        (RunEnd::FailedClean, Some(Cause::Guard { guard: "restore.calm".into() }))
    );
    let calm_run = Run::with_nested_files(
        OUTER,
        &[("restore.toml", &guarded)],
        FakePlugins::default().with("restore.calm", [rate(1.0)]),
    );
    assert_eq!(end(calm_run.execute()).0, RunEnd::Succeeded);
}

#[test]
fn a_file_nested_in_a_nested_file_is_part_of_the_same_run() {
    let middle = nesting_step("with.table = \"t\"");
    let outer =
        nesting_step("").replace("restore.toml", "middle.toml").replace("\"restore\"", "\"all\"");
    let run = Run::with_nested_files(
        &outer,
        &[("middle.toml", &middle), ("restore.toml", RESTORE)],
        FakePlugins::default(),
    );
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert_eq!(run.plugins.applied()[0], "all.restore.copy");
    assert_eq!(run.plugins.input("all.restore.load"), json!({ "file": "t-none.dump" }));
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

fn run_with_suite(step: &str, plugins: FakePlugins) -> Run {
    Run::with_nested_files(
        &format!("[[step]]\nid = \"all\"\nsuite = \"suite.toml\"\n{step}"),
        &[("suite.toml", SUITE)],
        plugins,
    )
}

#[test]
fn all_checks_of_a_suite_are_made_and_the_worst_critical_one_decides() {
    let fails = || [Reply::Found(Outcome::Fail, json!({}))];
    let run = run_with_suite("", FakePlugins::default());
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    let run = run_with_suite("", FakePlugins::default().with("all.disk", fails()));
    assert_eq!(end(run.execute()), (RunEnd::SucceededWithWarnings, None));
    let run = run_with_suite("", FakePlugins::default().with("all.api", fails()));
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
    let run = run_with_suite(
        "on_failure = \"continue\"",
        FakePlugins::default().with("all.api", [Reply::Fails(ErrorClass::Transient)]),
    );
    assert_eq!(end(run.execute()), (RunEnd::SucceededWithWarnings, None));
}

#[test]
fn tags_select_checks_and_a_selection_of_nothing_is_refused() {
    let run = run_with_suite("tags = [\"host\"]", FakePlugins::default());
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert_eq!(
        run.plan.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(),
        ["all", "all.disk"]
    );
    let messages = refusal_messages_with_files(
        "[[step]]\nid = \"all\"\nsuite = \"suite.toml\"\ntags = [\"wep\"]",
        &[("suite.toml", SUITE)],
    );
    assert!(messages.contains("no check of the suite has the tag `wep`"), "{messages}");
}

#[test]
fn a_suite_cannot_be_run_as_a_runbook() {
    assert!(
        refusal_messages_with_files(SUITE, &[])
            .contains("`test` is a suite of checks, not a runbook")
    );
}

#[test]
fn a_suite_may_only_read() {
    let suite_with_step = SUITE.replacen("test:look", "test:do", 1);
    let messages = refusal_messages_with_files(
        "[[step]]\nid = \"all\"\nsuite = \"suite.toml\"",
        &[("suite.toml", &suite_with_step)],
    );
    assert!(messages.contains("check `api` uses an operation that changes things"), "{messages}");
    let mixed = format!("{SUITE}\n[[step]]\nid = \"x\"\nuses = \"test:look\"");
    assert!(
        refusal_messages_with_files(
            "[[step]]\nid = \"all\"\nsuite = \"suite.toml\"",
            &[("suite.toml", &mixed)]
        )
        .contains("a suite has no `step`")
    );
    assert!(
        refusal_messages_with_files(
            &nesting_step("").replace("restore.toml", "suite.toml"),
            &[("suite.toml", SUITE)]
        )
        .contains("is a suite")
    );
}
