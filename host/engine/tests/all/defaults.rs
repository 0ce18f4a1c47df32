//! `[defaults]`: what every section takes from it, what says otherwise, and what takes nothing.

use crate::support::{plan, refused, try_plan_with};
use runbook_engine::Section;
use std::time::Duration;

const DEFAULTS: &str = "[defaults]\ntimeout = \"7s\"\nretry = { attempts = 4, delay = \"2s\" }\n";

/// Each section that takes defaults, as it is written, with an operation that it may call.
const SECTIONS: &[(&str, Section, &str)] = &[
    ("preflight", Section::Preflight, "test:look"),
    ("step", Section::Step, "test:look"),
    ("verify", Section::Verify, "test:look"),
    ("finally", Section::Finally, "test:look"),
];

#[test]
fn every_section_takes_what_it_does_not_say_and_keeps_what_it_says() {
    for (table, section, uses) in SECTIONS {
        let text = |own: &str| {
            let step = "[[step]]\nid = \"other\"\nuses = \"test:look\"\n";
            format!("{DEFAULTS}{step}[[{table}]]\nid = \"one\"\nuses = \"{uses}\"\n{own}")
        };
        let one = |own: &str| {
            let plan = plan(&text(own));
            let found = plan
                .section(*section)
                .find(|step| step.id.as_str() == "one")
                .expect("it is planned");
            (found.timeout, found.retry.attempts)
        };
        assert_eq!(one(""), (Duration::from_secs(7), 4), "{table}");
        assert_eq!(one("timeout = \"3s\"\n"), (Duration::from_secs(3), 4), "{table}");
        assert_eq!(one("retry = { attempts = 2 }\n"), (Duration::from_secs(7), 2), "{table}");
    }
}

#[test]
fn what_waits_for_something_is_not_tried_again_as_well_and_a_person_has_no_default() {
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
        let a = plan
            .section(Section::Step)
            .find(|step| step.id.as_str() == "in.a")
            .expect("it is planned");
        assert_eq!(a.retry.attempts, attempts);
    }
}

#[test]
fn what_has_no_meaning_as_a_default_is_refused_with_the_place_where_it_belongs() {
    let check = "[[check]]\nid = \"a\"\nuses = \"test:look\"\n";
    assert!(
        refused(&format!("[defaults]\non_failure = \"stop\"\n{check}"))
            .contains("has no meaning in a suite")
    );
    let step = "[[step]]\nid = \"a\"\nuses = \"test:look\"\n";
    assert!(
        refused(&format!("on_failure = \"stop\"\n{step}"))
            .contains("unknown key `on_failure` in `[runbook]`")
    );
    assert!(
        refused(&format!("[defaults]\nundo = \"auto\"\n{step}")).contains("unknown key `undo`")
    );
    assert!(
        refused(&format!("[defaults]\non_failure = \"ignore\"\n{step}"))
            .contains("cannot be `ignore`")
    );
}
