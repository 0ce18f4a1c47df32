//! `runbook explain`: every key of a file, from the schema that editors use.

use crate::home;

#[test]
fn a_key_is_explained_with_the_keys_below_it() {
    let env = home();
    env.run(&["explain"]).status(0).out("targets").out("step").out("guard");
    env.run(&["explain", "step.retry"])
        .status(0)
        .out("attempts")
        .out("Which errors are tried again");
    env.run(&["explain", "step.on_failure"]).status(0).out("`undo`").out("`stop`");
    env.run(&["explain", "params.type"]).status(0).out("`duration`");
    env.run(&["explain", "targets.statements"]).status(0).out("list of");
    env.run(&["explain", "--file", "boundary", "allow.addresses"]).status(0).out("`metadata`");
    env.run(&["explain", "--file", "waivers", "waiver.expires"]).status(0).out("The last day");
    env.run(&["explain", "--file", "settings", "audit_log"]).status(0).out("absolute path");
    env.run(&["explain", "--file", "targets", "targets.statements"]).status(0).out("list of");
    env.run(&["explain", "--file", "plugin", "slots.verbs"]).status(0).out("`query`");
}

#[test]
fn a_key_is_explained_as_it_stands_in_the_file_and_of_any_kind_of_file() {
    let env = home();
    for (asked, expected) in [
        ("targets.db.sql", "targets.db.sql: "),
        ("targets.db.statements", "list of"),
        ("params.limit.type", "`duration`"),
        ("slots.target.verbs", "`query`"),
        ("boundary.allow", "capability"),
        ("boundary.files", "allow.files: "),
        ("boundary.allow.files", "allow.files: "),
        ("plugin.slots", "slots: "),
        ("plugin.name", "plugin.name: "),
        ("trust.key", "key: "),
        ("waiver.expires", "The last day"),
        ("waivers.waiver.expires", "The last day"),
        ("settings.audit_log", "absolute path"),
        ("audit_log", "absolute path"),
    ] {
        env.run(&["explain", asked]).status(0).out(expected);
    }
    env.run(&["explain", "targets.db.sqll"]).status(2).err("did you mean `sql`?");
    env.run(&["explain", "boundary.allow.fils"]).status(2).err("did you mean `files`?");
    env.run(&["explain", "RB19"]).status(2).err("there is no code `RB19`").err("did you mean `RB");
}

#[test]
fn every_code_of_a_fault_that_the_program_or_a_bundled_plugin_has_is_explained() {
    let mut files = Vec::new();
    for folder in ["host", "plugins"] {
        crate::docs::collect_files(&crate::repository().join(folder), "rs", &mut files);
    }
    let families = [
        "engine.",
        "sql.",
        "http.",
        "files.",
        "process.",
        "docker.",
        "disk.",
        "postgres.",
        "slack.",
        "smoke.",
        "webhook.",
        "ssh.",
        "proxy.",
    ];
    let mut codes = std::collections::BTreeSet::new();
    for file in files.iter().filter(|file| file.to_string_lossy().contains("/src/")) {
        let text = std::fs::read_to_string(file).expect("a source file is text");
        // A fault is made by its class, its code and its message.
        for made in text.match_indices("Fault::").map(|(at, _)| &text[at..]) {
            let Some(code) =
                made.split('"').nth(1).filter(|_| made.find('"').is_some_and(|at| at < 60))
            else {
                continue;
            };
            if families.iter().any(|family| code.starts_with(family)) && !code.contains(' ') {
                codes.insert(code.to_owned());
            }
        }
        codes.extend(text.split('"').filter(|word| is_engine_code(word)).map(str::to_owned));
    }
    assert!(codes.len() > 60, "{codes:?}");
    let env = home();
    for code in &codes {
        env.run(&["explain", code]).status(0).out("a fault of");
    }
    env.run(&["explain", "engine.expct"]).status(2);
}

fn is_engine_code(word: &str) -> bool {
    word.strip_prefix("engine.").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    })
}

#[test]
fn an_unknown_key_comes_with_the_nearest_one() {
    let env = home();
    env.run(&["explain", "step.rety"]).status(2).err("no key `rety`").err("did you mean `retry`?");
    env.run(&["explain", "zzzzzz"]).status(2).err("known there").err("targets");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let env = home();
    // The folder is made.
    env.run(&["man", "--output", "man"]).status(0);
    env.file("taken", "a file");
    env.run(&["man", "-o", "taken"]).status(2).err("name a folder that you may write to");
    assert!(
        env.path().join("man/runbook.1").exists() && env.path().join("man/runbook-exec.1").exists()
    );
    env.run(&["man"]).status(0).out(".TH runbook 1");
}
