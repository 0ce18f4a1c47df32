//! `runbook explain`: every key of a file, from the schema that editors use.

use crate::home;

#[test]
fn a_key_its_meaning_and_what_is_below_it() {
    let env = home();
    env.run(&["explain"]).status(0).out("targets").out("step").out("guard");
    env.run(&["explain", "step.retry"]).status(0).out("attempts").out("Which errors are tried again");
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
    assert!(env.path().join("man/runbook.1").exists() && env.path().join("man/runbook-exec.1").exists());
    env.run(&["man"]).status(0).out(".TH runbook 1");
}
