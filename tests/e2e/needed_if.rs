//! `needed_if` in a manifest: a step is granted only the verbs that its input needs.

use crate::{home, renamed_plugin};
use runbook_tests::env::TestEnv;
use runbook_tests::http::Receiver;
use serde_json::Value as Json;
use std::collections::BTreeSet;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

const HEAD: &str =
    "format = 1\n[runbook]\nname = \"r\"\n[targets.api]\nhttp = \"http://127.0.0.1:1\"\n";

/// A case of a smoke test with a method, or without one if `method` is empty.
fn case(method: &str) -> String {
    let method = if method.is_empty() { String::new() } else { format!(", method = \"{method}\"") };
    format!("{{ name = \"c\", path = \"/\"{method} }}")
}

/// Every kind of place for a call with this input: its name, and the files to write.
fn call_sites(input: &str) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let call =
        format!("id = \"smoke\"\nuses = \"smoke:run\"\nbind.target = \"api\"\nwith = {input}\n");
    let step = format!("[[step]]\n{call}irreversible = \"it cleans up\"\n");
    let check = format!("[[check]]\n{call}");
    let nested = "[targets.api]\nhttp = \"http://127.0.0.1:1\"\n[[step]]\nid = \"inner\"\n";
    vec![
        ("a step", vec![("r.toml", format!("{HEAD}{step}"))]),
        ("a step of a list", vec![("r.toml", format!("{HEAD}{step}for_each = [\"a\", \"b\"]\n"))]),
        ("a check", vec![("r.toml", format!("{HEAD}{check}"))]),
        (
            "a nested runbook",
            vec![
                (
                    "r.toml",
                    format!("format = 1\n[runbook]\nname = \"r\"\n{nested}runbook = \"n.toml\"\n"),
                ),
                ("n.toml", format!("{HEAD}{step}").replace("\"r\"", "\"n\"")),
            ],
        ),
        (
            "a suite",
            vec![
                (
                    "r.toml",
                    format!("format = 1\n[runbook]\nname = \"r\"\n{nested}suite = \"n.toml\"\n"),
                ),
                ("n.toml", format!("{HEAD}{check}").replace("\"r\"", "\"n\"")),
            ],
        ),
        (
            "a file with its targets elsewhere",
            vec![
                (
                    "r.toml",
                    format!("format = 1\ninclude = [\"t.toml\"]\n[runbook]\nname = \"r\"\n{step}"),
                ),
                ("t.toml", "format = 1\n[targets.api]\nhttp = \"http://127.0.0.1:1\"\n".to_owned()),
            ],
        ),
    ]
}

fn with_files(files: &[(&str, String)]) -> TestEnv {
    let env = home();
    for (name, text) in files {
        env.file(name, text);
    }
    env
}

/// The verbs on slot `target` that a review shows as granted, and those that it shows as not needed
/// by the input.
fn granted_and_withheld(env: &TestEnv) -> (BTreeSet<String>, BTreeSet<String>) {
    let found = env.run(&["review", "--format", "json", "r.toml"]);
    let report: Json = serde_json::from_str(&found.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", found.stdout, found.stderr));
    let steps = report["runbooks"][0]["steps"].as_array().expect("a list").clone();
    let verbs = |key: &str| -> BTreeSet<String> {
        let rows = steps.iter().flat_map(|step| step[key].as_array().expect("a list"));
        rows.filter(|row| row["slot"] == "target")
            .map(|row| row["verb"].as_str().expect("a text").trim_start_matches("http.").to_owned())
            .collect()
    };
    (verbs("rows"), verbs("withheld"))
}

fn lowercase_set(methods: &[&str]) -> BTreeSet<String> {
    methods.iter().map(|method| method.to_lowercase()).collect()
}

#[test]
fn a_smoke_test_is_granted_the_methods_of_its_cases_and_no_others() {
    for method in METHODS.iter().copied().chain([""]) {
        let own = if method.is_empty() { "GET" } else { method };
        let in_cases = format!("{{ cases = [{}] }}", case(method));
        let in_cleanup = format!("{{ cases = [{}], cleanup = [{}] }}", case("HEAD"), case(method));
        for (input, granted) in [(in_cases, vec![own]), (in_cleanup, vec!["HEAD", own])] {
            for (place, files) in call_sites(&input) {
                let (found, withheld) = granted_and_withheld(&with_files(&files));
                assert_eq!(found, lowercase_set(&granted), "{place}: {input}");
                let all = lowercase_set(&METHODS);
                assert_eq!(withheld, all.difference(&found).cloned().collect(), "{place}: {input}");
            }
        }
    }
}

#[test]
fn a_templated_method_is_granted_every_verb_and_the_review_names_the_template() {
    let params = "[params.m]\ntype = \"string\"\ndefault = \"GET\"\n";
    for (template, more) in [("{{ params.m }}", ""), ("{{ item }}", "for_each = [\"GET\"]\n")] {
        let cases = format!("{}, {}", case("GET"), case(template));
        let env = home();
        env.file(
            "r.toml",
            &format!(
                "{HEAD}{params}[[step]]\nid = \"smoke\"\nuses = \"smoke:run\"\n\
                 bind.target = \"api\"\nwith = {{ cases = [{cases}] }}\nirreversible = \"no\"\n\
                 {more}"
            ),
        );
        assert_eq!(
            granted_and_withheld(&env),
            (lowercase_set(&METHODS), BTreeSet::new()),
            "{template}"
        );
        let review = env.run(&["review", "r.toml"]).status(0).stdout;
        let row = |verb: &str| {
            let line = review.lines().find(|line| line.contains(verb)).expect("a row");
            line.to_owned()
        };
        assert!(row("http.get").ends_with("needed by `cases[0].method` of the input"), "{review}");
        let may =
            "may be needed: `cases[1].method` of the input is a template, known only at run time";
        assert!(row("http.delete").ends_with(may), "{review}");
    }
}

#[test]
fn a_secret_that_no_case_uses_is_not_granted_and_its_store_is_not_opened() {
    let receiver = Receiver::start();
    let with_login = |case: &str| {
        let env = home();
        env.file(
            "r.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"r\"\n[secrets.login]\n\
                 source = \"age:gone.age#login\"\n[targets.api]\nhttp = \"http://127.0.0.1:{}\"\n\
                 [targets.login]\nsecret = \"login\"\n\
                 positions = [{{ slot = \"target\", header = \"authorization\" }}]\n[[step]]\n\
                 id = \"smoke\"\nuses = \"smoke:run\"\n\
                 bind = {{ target = \"api\", token = \"login\" }}\nirreversible = \"no\"\n\
                 with = {{ cases = [{{ name = \"c\", path = \"/\"{case} }}] }}\n",
                receiver.port
            ),
        );
        env
    };
    let unused = with_login("");
    let review = unused.run(&["review", "r.toml"]).status(0).stdout;
    assert!(
        review.contains(
            "not granted: secrets.use on `token`: this input does not need it; it is needed if \
             `cases[].auth` or `cleanup[].auth` is `true`"
        ),
        "{review}"
    );
    unused.run(&["exec", "r.toml"]).status(0);
    let used = with_login(", auth = true").run(&["exec", "r.toml"]);
    assert_ne!(used.status(3).stderr.find("gone.age"), None);
}

#[test]
fn an_input_that_widens_its_grant_is_shown_by_review_and_refused_by_the_lockfile() {
    let text = |method: &str| {
        format!(
            "{HEAD}[[step]]\nid = \"smoke\"\nuses = \"smoke:run\"\nbind.target = \"api\"\n\
             with = {{ cases = [{}] }}\nirreversible = \"no\"\n",
            case(method)
        )
    };
    let env = home();
    env.file("r.toml", &text("GET"));
    env.file("wider.toml", &text("DELETE"));
    let said = "verbs: get → delete";
    env.run(&["review", "--diff", "r.toml", "wider.toml"]).status(1).out("widened").out(said);
    env.run(&["lock", "r.toml"]).status(0);
    env.file("r.toml", &text("DELETE"));
    env.run(&["lock", "r.toml"]).status(6).out("widened").out(said);
    env.run(&["exec", "r.toml"]).status(6).err("is not what").err("now possible: DELETE");
    // One verb fewer is narrower.
    env.file("both.toml", &text("GET").replace(" }] }", &format!(" }}, {}] }}", case("DELETE"))));
    env.run(&["review", "--diff", "both.toml", "r.toml"]).status(0).out("narrowed");
}

/// The plugin `smoke` with a manifest whose condition for DELETE does not mention `cleanup`.
fn component_with_narrow_condition() -> Vec<u8> {
    let component = renamed_plugin("smoke", "smock");
    let find = |text: &[u8], from: usize| {
        let at = component[from..].windows(text.len()).position(|found| found == text);
        from + at.expect("the manifest has a condition of DELETE")
    };
    let from = find(b"\"verb\":\"http.delete\",\"any_of\":", 0);
    let at = find(b"\"cleanup[].method\"", from);
    let mut changed = component.clone();
    changed[at..at + 18].copy_from_slice(b"\"cases[].method\"  ");
    changed
}

#[test]
fn a_plugin_whose_condition_is_too_narrow_is_denied_and_its_operator_told_why() {
    let receiver = Receiver::start();
    let env = home();
    std::fs::write(env.path().join("smock.wasm"), component_with_narrow_condition())
        .expect("written");
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"r\"\n[targets.api]\nhttp = \"http://127.0.0.1:{}\"\n\
             [[step]]\nid = \"smoke\"\nuses = \"./smock.wasm:run\"\nbind.target = \"api\"\n\
             irreversible = \"no\"\nwith = {{ cases = [{}], cleanup = [{}] }}\n",
            receiver.port,
            case("GET"),
            case("DELETE")
        ),
    );
    let said = "`http.delete` on slot `target` is not granted: this input does not need it; it is \
                needed if `cases[].method` or `cases[].method` is `\"DELETE\"`";
    let run = env.run(&["exec", "r.toml"]);
    let told = format!("{}{}", run.stdout, run.stderr);
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(said) && told.contains("`needed_if` of its manifest"), "{told}");
    env.run(&["audit", "show", &env.newest_run()]).status(0).out("DENIED by rule `input`");
    let lines: Vec<_> = receiver.received().into_iter().map(|request| request.line).collect();
    assert_eq!(lines, ["GET /"]);
}

#[test]
fn inspect_shows_which_inputs_an_operation_grants_a_verb_to() {
    let text = home().run(&["plugin", "inspect", "smoke:run"]).status(0).stdout;
    assert!(text.contains("granted only to an input that needs it"), "{text}");
    for (verb, condition) in [
        ("http.get", "if `cases[].method` or `cleanup[].method` is `\"GET\"` or left out"),
        ("http.delete", "if `cases[].method` or `cleanup[].method` is `\"DELETE\"`"),
        ("secrets.use", "if `cases[].password_at` or `cleanup[].password_at` is there"),
    ] {
        let found = text.lines().any(|line| line.contains(verb) && line.ends_with(condition));
        assert!(found, "{verb}: {text}");
    }
    let none = home().run(&["plugin", "inspect", "http:get"]).status(0).stdout;
    assert!(!none.contains("granted only"), "{none}");
}
