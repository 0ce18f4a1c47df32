//! `[defaults]`: the steps that use them, that override them, and that do not use them.

use crate::support::{plan, refusal_messages, try_plan_with};
use runbook_engine::Section;
use std::time::Duration;

const DEFAULTS: &str = "[defaults]\ntimeout = \"7s\"\nretry = { attempts = 4, delay = \"2s\" }\n";

/// Each section that uses defaults: its table in the runbook, and an operation that it may call.
const SECTIONS: &[(&str, Section, &str)] = &[
    ("preflight", Section::Preflight, "test:look"),
    ("step", Section::Step, "test:look"),
    ("verify", Section::Verify, "test:look"),
    ("finally", Section::Finally, "test:look"),
];

#[test]
fn every_section_uses_a_default_only_for_keys_that_it_does_not_set() {
    for (table, section, uses) in SECTIONS {
        let text = |keys: &str| {
            let step = "[[step]]\nid = \"other\"\nuses = \"test:look\"\n";
            format!("{DEFAULTS}{step}[[{table}]]\nid = \"one\"\nuses = \"{uses}\"\n{keys}")
        };
        let timeout_and_attempts = |keys: &str| {
            let plan = plan(&text(keys));
            let found = plan
                .section(*section)
                .find(|step| step.id.as_str() == "one")
                .expect("it is planned");
            (found.timeout, found.retry.attempts)
        };
        assert_eq!(timeout_and_attempts(""), (Duration::from_secs(7), 4), "{table}");
        assert_eq!(
            timeout_and_attempts("timeout = \"3s\"\n"),
            (Duration::from_secs(3), 4),
            "{table}"
        );
        assert_eq!(
            timeout_and_attempts("retry = { attempts = 2 }\n"),
            (Duration::from_secs(7), 2),
            "{table}"
        );
    }
}

#[test]
fn defaults_do_not_apply_to_retry_of_a_poll_and_to_manual_steps() {
    let text = "[[step]]\nid = \"wait\"\nuses = \"test:look\"\nuntil = \"outcome == 'pass'\"\n\
                every = \"1s\"\nwithin = \"1m\"\n[[step]]\nid = \"ask\"\n\
                manual = { instructions = \"look\" }\n";
    let plan = plan(&format!("{DEFAULTS}{text}"));
    let steps: Vec<_> = plan.section(Section::Step).collect();
    assert_eq!(steps[0].retry.attempts, 1);
    assert_eq!(steps[0].timeout, Duration::from_secs(7));
    assert_ne!(steps[1].timeout, Duration::from_secs(7));
}

#[test]
fn a_nested_file_has_defaults_of_its_own() {
    let outer = format!("{DEFAULTS}[[step]]\nid = \"in\"\nrunbook = \"inner.toml\"\n");
    let step = "[[step]]\nid = \"a\"\nuses = \"test:look\"\n";
    for (inner, attempts) in
        [(step.to_owned(), 1), (format!("[defaults]\nretry = {{ attempts = 2 }}\n{step}"), 2)]
    {
        let plan = try_plan_with(&outer, &[("inner.toml", &inner)]).expect("it is right");
        let nested_step = plan
            .section(Section::Step)
            .find(|step| step.id.as_str() == "in.a")
            .expect("it is planned");
        assert_eq!(nested_step.retry.attempts, attempts);
    }
}

#[test]
fn a_default_without_a_meaning_is_refused() {
    let check = "[[check]]\nid = \"a\"\nuses = \"test:look\"\n";
    assert!(
        refusal_messages(&format!("[defaults]\non_failure = \"stop\"\n{check}"))
            .contains("has no meaning in a suite")
    );
    let step = "[[step]]\nid = \"a\"\nuses = \"test:look\"\n";
    assert!(
        refusal_messages(&format!("on_failure = \"stop\"\n{step}"))
            .contains("unknown key `on_failure` in `[runbook]`")
    );
    assert!(
        refusal_messages(&format!("[defaults]\nundo = \"auto\"\n{step}"))
            .contains("unknown key `undo`")
    );
    assert!(
        refusal_messages(&format!("[defaults]\non_failure = \"ignore\"\n{step}"))
            .contains("cannot be `ignore`")
    );
}
