//! A denied call or a missing local path is explained to the operator wherever the step is shown.

use crate::home;
use runbook_tests::http::Receiver;

/// The keys of a target, the operation, its input, and the message that an operator must see: with
/// the slot, the key, and the target with its line.
const DENIALS: &[(&str, &str, &str, &str)] = &[
    (
        "http = \"<>\"\npaths = [\"/stts\"]",
        "http:get",
        "with = { path = \"/stats\" }",
        "`/stats` is none of `/stts` (rule `path` of target `queue`, key `paths`, r.toml:",
    ),
    (
        "http = \"<>\"\npaths = [\"/a\"]",
        "http:head",
        "with = { path = \"/b\" }",
        "`http.head` on slot `target` is not granted",
    ),
    (
        "http = \"<>\"",
        "smoke:run",
        "with = { cases = [{ name = \"one\", path = \"/\", headers = { x-key = \"a\" } }] }",
        "key `request_headers`, r.toml:",
    ),
    (
        "sql = \"sqlite:shop.db\"\ncreate = true\nstatements = [\"select\"]\n\
         relations = [\"orders\"]",
        "sql:query",
        "with = { statement = \"select * from {{ 'sqlite_master' }}\" }",
        "key `relations`, r.toml:",
    ),
];

#[test]
fn a_denied_call_is_reported_with_slot_target_key_and_line_in_every_output() {
    let receiver = Receiver::start();
    for (target, uses, with, said) in DENIALS {
        let slot = if uses.starts_with("sql") { "db" } else { "target" };
        let target = target.replace("<>", &format!("http://127.0.0.1:{}", receiver.port));
        let head = format!("format = 1\n[runbook]\nname = \"r\"\n[targets.queue]\n{target}\n");
        let call = format!("id = \"look\"\nuses = \"{uses}\"\nbind.{slot} = \"queue\"\n{with}\n");
        let env = home();
        env.file("r.toml", &format!("{head}[[check]]\n{call}"));
        let words = said.split_once(" (").map_or(*said, |(words, _)| words);
        for format in ["table", "json", "tap", "junit"] {
            let found = env.run(&["check", "r.toml", "--format", format]);
            let text = found
                .stdout
                .replace("&apos;", "'")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert!(
                text.contains(words) && text.contains("target `queue`"),
                "{uses} {format}: {text}"
            );
        }
        env.file("r.toml", &format!("{head}[[step]]\n{call}"));
        let run = env.run(&["exec", "r.toml"]);
        let everything = format!("{}{}", run.stdout, run.stderr)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(everything.contains(said), "{uses}: {everything}");
        let id = env.newest_run();
        for command in [
            &["show", &id][..],
            &["report", &id, "--format", "json"],
            &["report", &id, "--format", "markdown"],
        ] {
            let found = env.run(command);
            let text = format!("{}{}", found.stdout, found.stderr)
                .replace('\\', "")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert!(
                text.contains("target `queue`") && text.contains("r.toml:"),
                "{uses} {command:?}: {text}"
            );
        }
        env.run(&["audit", "show", &id])
            .status(0)
            .out("DENIED by rule `")
            .out("of target `queue`, key `")
            .out("r.toml:4`");
    }
}

/// A target whose path does not exist on this machine, the step that needs it, and the path.
const MISSING: &[(&str, &str, &str)] = &[
    (
        "[targets.dir]\nfiles = \"bakups\"\naccess = \"write\"\n",
        "uses = \"sqlite:backup\"\nbind = { db = \"db\", directory = \"dir\" }\n\
         with = { file = \"a.db\" }\nirreversible = \"adds a file\"\n",
        "bakups",
    ),
    (
        "[targets.df]\nprocess = \"/usr/bin/no-such-program\"\n\
         arguments = [\"-P\", \"-k\", \"--\", \"/\"]\nread_only = true\n",
        "uses = \"disk:space\"\nbind.program = \"df\"\nwith = { paths = [\"/\"] }\n",
        "/usr/bin/no-such-program",
    ),
    (
        "[targets.gone]\nsql = \"sqlite:gone.db\"\n",
        "uses = \"sql:query\"\nbind.db = \"gone\"\nwith = { statement = \"select 1\" }\n",
        "gone.db",
    ),
];

#[test]
fn a_missing_local_path_is_reported_before_and_by_the_run() {
    for (target, step, path) in MISSING {
        let env = home();
        env.file(
            "r.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"r\"\n{target}[targets.db]\n\
                 sql = \"sqlite:db.db\"\n[[step]]\nid = \"one\"\n{step}"
            ),
        );
        rusqlite::Connection::open(env.path().join("db.db"))
            .expect("a file")
            .execute_batch("create table t (x)")
            .expect("a database");
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let warned = env.run(&["validate", "r.toml"]).status(0);
        assert!(
            one_line(&warned.stderr).contains(path) && warned.stderr.contains("r.toml:4"),
            "{}",
            warned.stderr
        );
        for command in [&["plan", "r.toml"][..], &["exec", "--dry-run", "r.toml"]] {
            let asks_nobody = command[0] == "plan" && !step.contains("sqlite:backup");
            let found = env.run(command);
            let text = one_line(&found.stdout);
            assert!(
                asks_nobody || (text.contains("cannot say") && text.contains(path)),
                "{command:?}: {text}"
            );
            assert!(
                !text.contains("would files") && !text.contains("would process"),
                "{command:?}: {text}"
            );
        }
        let run = env.run(&["exec", "r.toml"]).status(1);
        assert!(one_line(&run.stdout).contains(path), "{}", run.stdout);
        env.run(&["runs"]).out("failed-clean");
    }
}

/// Of each capability whose steps tell exactly what they would do: the keys of a target and a step
/// that it does not allow, and what the operator must read.
const DENIED_EFFECTS: &[(&str, &str, &str)] = &[
    (
        "http = \"http://127.0.0.1:<port>\"\npaths = [\"/incidents\"]",
        "uses = \"http:post\"\nbind.target = \"t\"\nwith = { path = \"/drain\", body = {} }",
        "`/drain` is none of `/incidents`",
    ),
    (
        "process = \"/usr/bin/true\"\narguments = [\"/a\"]",
        "uses = \"command:run\"\nbind.program = \"t\"\nwith = { arguments = [\"/b\"] }",
        "key `arguments`",
    ),
    (
        "sql = \"sqlite:a.db\"\nstatements = [\"update\"]",
        "uses = \"sql:execute\"\nbind.db = \"t\"\n\
         with = { statement = \"delete from {{ 'a' }}\" }",
        "key `statements`",
    ),
];

#[test]
fn what_the_gate_would_deny_is_denied_in_a_plan_and_a_dry_run() {
    let receiver = Receiver::start();
    for (target, step, said) in DENIED_EFFECTS {
        let env = home();
        rusqlite::Connection::open(env.path().join("a.db"))
            .expect("a file")
            .execute_batch("create table a (x)")
            .expect("a database");
        let target = target.replace("<port>", &receiver.port.to_string());
        env.file(
            "r.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"r\"\n[targets.t]\n{target}\n\
                 [[step]]\nid = \"one\"\n{step}\nirreversible = \"it is a test\"\n"
            ),
        );
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let plan = ["plan", "r.toml", "--out", "r.plan"];
        for command in [&plan[..2], &plan, &["exec", "--dry-run", "r.toml"]] {
            let found = env.run(command).status(6);
            let text = words(&found.stdout);
            assert!(text.contains("one denied") && text.contains(said), "{command:?}: {text}");
            assert!(!text.contains("one would"), "{command:?}: {text}");
            assert!(text.contains("would fail, because it is denied: `one`."), "{text}");
        }
        assert!(!env.path().join("r.plan").exists(), "a plan that cannot be run is not written");
        let json = env.run(&["plan", "r.toml", "--format", "json"]).status(6);
        assert!(
            json.stdout.replace(": ", ":").contains("\"result\":\"denied\""),
            "{}",
            json.stdout
        );
        // The run is denied for the same reason.
        let run = env.run(&["exec", "r.toml"]).status(1);
        assert!(words(&run.stdout).contains(said), "{}", run.stdout);
    }
    assert!(receiver.received().is_empty(), "nothing was sent");
}

#[test]
fn a_dry_run_whose_service_is_down_does_not_say_that_nothing_would_happen() {
    let env = home();
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"r\"\n[targets.t]\nredis = \"127.0.0.1:1\"\n\
         addresses = [\"loopback\"]\ntls = \"off\"\nkeys = [\"a\"]\n[[step]]\nid = \"off\"\n\
         uses = \"redis:set\"\nbind.db = \"t\"\nwith = { key = \"a\", value = \"b\" }\n\
         undo = \"auto\"\n",
    );
    let found = env.run(&["exec", "--dry-run", "r.toml"]).status(1);
    let text = found.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("off cannot say"), "{text}");
    assert!(
        text.contains("No effect is known now. 1 step could not say what would happen: `off`."),
        "{text}"
    );
    assert!(!text.contains("0 effects"), "{text}");
    // A plan says it too.
    let found = env.run(&["plan", "r.toml"]).status(0);
    let text = found.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("could not say what would happen"), "{text}");
}

#[test]
fn a_run_in_which_steps_failed_and_were_tolerated_names_them_in_its_first_sentence() {
    let env = home();
    let step = |id: &str| {
        format!(
            "[[step]]\nid = \"{id}\"\nuses = \"sql:query\"\nbind.db = \"t\"\n\
             with = {{ statement = \"select * from missing\" }}\non_failure = \"continue\"\n"
        )
    };
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"r\"\n[targets.t]\nsql = \"sqlite:a.db\"\n{}{}",
            step("first"),
            step("second")
        ),
    );
    rusqlite::Connection::open(env.path().join("a.db"))
        .expect("a file")
        .execute_batch("create table a (x)")
        .expect("a database");
    let found = env.run(&["exec", "r.toml"]).status(0);
    let text = found.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("should look at: `first`, `second` failed"), "{text}");
}
