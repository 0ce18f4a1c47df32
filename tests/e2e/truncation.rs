//! An operation that leaves entries out reports it: `truncated = true` in its output, "50 of 120"
//! in its summary. Each operation is tested with a real service that returns more than fits.

use crate::{BUNDLED, home};
use runbook_tests::env::TestEnv;
use runbook_tests::http::Receiver;
use runbook_tests::postgres::{PASSWORD, Postgres};
use serde_json::Value as Json;

/// Operations whose output can contain a list, each with its test with more than fits.
const CASES: &[(&str, fn())] = &[
    ("http:get", http_get),
    ("http:post", http_post),
    ("postgres:long-running", long_running),
    ("postgres:terminate-queries", terminate_queries),
    ("postgres:terminate-blockers", terminate_blockers),
    ("sqlite:integrity-check", integrity_check),
    ("nagios:check", nagios_check),
    ("net:tcp", net_tcp),
    ("net:dns", net_dns),
    ("system:disks", system_disks),
    ("system:processes", system_processes),
    ("system:port", system_port),
    ("files:prune", files_prune),
];

/// Operations that need no test here, and why: their list is never truncated, or they are tested
/// elsewhere.
const NEVER_TRUNCATED: &[(&str, &str)] = &[
    ("grpc:health", "one answer for each service that the runbook writes"),
    ("sql:transaction", "one number for each statement that the runbook writes"),
    (
        "disk:space",
        "one file system for each path that the runbook writes; what `df` printed and \
                    was cut is refused",
    ),
    (
        "net:certificate",
        "names and problems of one certificate, which fit into one message of a handshake",
    ),
    (
        "systemd:failed",
        "needs a real systemd: it is cut in `checks_of_units_are_what_systemd_says_and_a_cut_list_is_told`",
    ),
    (
        "system:users",
        "as for `system:processes`: the machine of the test need not have sessions, so the plugin's own \
         tests cut them",
    ),
    ("sql:query", "has tests of its own, beside the other tests of SQL"),
];

/// Whether a value of this schema can hold an array.
fn can_hold_a_list(schema: &Json, definitions: &Json) -> bool {
    match schema {
        // Anything fits.
        Json::Bool(any) => *any,
        Json::Object(entries) => {
            let is_array = |kind: &Json| {
                kind == "array"
                    || kind.as_array().is_some_and(|kinds| kinds.contains(&"array".into()))
            };
            let referred =
                entries.get("$ref").and_then(Json::as_str).and_then(|name| name.rsplit('/').next());
            entries.get("type").is_some_and(is_array)
                || referred.is_some_and(|name| can_hold_a_list(&definitions[name], definitions))
                || ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| entries.get(*key)?.as_array()).flatten().any(|one| can_hold_a_list(one, definitions))
                || entries.get("properties").and_then(Json::as_object).is_some_and(|properties| properties.values().any(|one| can_hold_a_list(one, definitions)))
                || entries.get("additionalProperties").is_some_and(|one| can_hold_a_list(one, definitions))
                // A description alone says nothing of the type, so anything fits.
                || !["type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"].iter().any(|key| entries.contains_key(*key))
        }
        Json::Null | Json::Number(_) | Json::String(_) | Json::Array(_) => true,
    }
}

#[test]
fn every_output_with_a_list_reports_whether_it_was_truncated() {
    let mut found = 0;
    for bundled in BUNDLED {
        let inspected = runbook_runtime::inspect(bundled.component).expect("it is a plugin");
        for (name, operation) in &inspected.manifest.operations {
            let reference = format!("{}:{name}", bundled.name);
            let schema = &operation.output;
            // A smoke test returns the verdicts of all its cases.
            if operation.kind.name() == "smoke-test" || !can_hold_a_list(schema, &schema["$defs"]) {
                continue;
            }
            found += 1;
            if NEVER_TRUNCATED.iter().any(|(known, _)| *known == reference) {
                continue;
            }
            assert_eq!(
                schema["properties"]["truncated"]["type"], "boolean",
                "`{reference}` can hold a list: {schema}"
            );
            let required = schema["required"]
                .as_array()
                .is_some_and(|required| required.contains(&"truncated".into()));
            assert!(required, "`{reference}` need not say whether it was cut");
            assert!(
                CASES.iter().any(|(known, _)| *known == reference),
                "`{reference}` is not tried with more than fits"
            );
        }
    }
    assert_eq!(
        found,
        CASES.len() + NEVER_TRUNCATED.len(),
        "an operation in a table is no longer there"
    );
    for (_, case) in CASES {
        case();
    }
}

/// Runs one operation and returns its step in the report.
fn step(env: &TestEnv, targets: &str, uses: &str, slot: &str, with: &str, more: &str) -> Json {
    let text = format!(
        "format = 1\n[runbook]\nname = \"t\"\n[secrets.word]\nsource = \"age:s.age#word\"\n\
                 [targets.it]\n{targets}\n[[step]]\nid = \"it\"\nuses = \"{uses}\"\n\
                 bind.{slot} = \"it\"\nwith = {with}\n{more}\n"
    );
    env.file("t.toml", &text);
    let finished = env.run(&["exec", "t.toml", "--report", "json=t.json"]);
    let report: Json = serde_json::from_str(&env.read("t.json"))
        .unwrap_or_else(|error| panic!("{error}\n{finished:?}"));
    report["steps"][0].clone()
}

/// The number of entries of a list in the output, the value of `truncated`, and the summary.
fn found(step: &Json, list: &str) -> (usize, bool, String) {
    let entries =
        step["output"][list].as_array().unwrap_or_else(|| panic!("there is no `{list}`: {step}"));
    let truncated = step["output"]["truncated"]
        .as_bool()
        .unwrap_or_else(|| panic!("nothing says whether it was cut: {step}"));
    (entries.len(), truncated, step["summary"].as_str().unwrap_or_default().to_owned())
}

/// A server that returns a JSON list with this number of entries, in about twice as many bytes.
fn server(entries: usize) -> (Receiver, String) {
    let body = format!("[{}0]", "0,".repeat(entries - 1));
    let server = Receiver::start_with_response("200 OK", Box::leak(body.into_boxed_str()));
    let target = format!("http = \"http://127.0.0.1:{}\"", server.port);
    (server, target)
}

fn check_body(uses: &str, with: &str, more: &str) {
    let env = home();
    let (_server, small) = server(50_000);
    let whole = step(&env, &small, uses, "target", with, more);
    assert_eq!(found(&whole, "body").0, 50_000, "what fits is kept");
    assert_eq!(whole["output"]["truncated"], false);
    for (entries, limit) in [(450_000, "an output holds"), (1_500_000, "`max_body`")] {
        let (_server, target) = server(entries);
        let cut = step(&env, &target, uses, "target", with, more);
        assert_eq!(
            (&cut["output"]["body"], &cut["output"]["truncated"]),
            (&Json::Null, &Json::Bool(true)),
            "{entries}: {cut}"
        );
        assert!(
            cut["summary"].as_str().is_some_and(|summary| summary.contains(limit)),
            "{entries}: {cut}"
        );
    }
}

fn http_get() {
    check_body("http:get", "{}", "");
}

fn http_post() {
    check_body("http:post", "{ body = 1 }", "irreversible = \"it is a test\"");
}

/// A server with this number of sleeping sessions, and a home with a target on it.
fn server_with_sleepers(sessions: usize) -> (Postgres, Vec<std::process::Child>, TestEnv, String) {
    let postgres = Postgres::start(1);
    let sleepers = (0..sessions).map(|_| postgres.sleeper()).collect();
    let asleep = "select count(*) from pg_stat_activity where usename = 'orders_admin' and \
                  wait_event = 'PgSleep'";
    runbook_tests::wait_for("all sleep", || {
        postgres.psql("orders", asleep) == sessions.to_string()
    });
    if sessions > 0 {
        postgres.wait_until_older_than_a_second("wait_event = 'PgSleep'");
    }
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#word"], PASSWORD).status(0);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"",
        postgres.port
    );
    (postgres, sleepers, env, target)
}

fn end_all(sleepers: Vec<std::process::Child>) {
    for mut sleeper in sleepers {
        let _ = sleeper.kill();
        let _ = sleeper.wait();
    }
}

fn long_running() {
    let (_postgres, sleepers, env, target) = server_with_sleepers(120);
    let with = "{ older_than = \"1s\", max = 500 }";
    let whole = step(&env, &target, "postgres:long-running", "db", with, "");
    assert_eq!(
        (found(&whole, "queries").0, &whole["output"]["count"], found(&whole, "queries").1),
        (120, &120.into(), false)
    );
    let cut =
        step(&env, &format!("{target}\nmax_rows = 50"), "postgres:long-running", "db", with, "");
    let (entries, truncated, summary) = found(&cut, "queries");
    assert_eq!((entries, &cut["output"]["count"], truncated), (50, &120.into(), true), "{cut}");
    assert!(summary.contains("120 queries") && summary.contains("50 of 120"), "{summary}");
    end_all(sleepers);
}

fn terminate_queries() {
    let (postgres, sleepers, env, target) = server_with_sleepers(120);
    let more = "irreversible = \"clients connect again\"";
    let target = format!("{target}\nmax_rows = 50");
    let done =
        step(&env, &target, "postgres:terminate-queries", "db", "{ older_than = \"1s\" }", more);
    assert_eq!(
        (found(&done, "pids").0, &done["output"]["count"], found(&done, "pids").1),
        (120, &120.into(), false),
        "{done}"
    );
    assert!(found(&done, "pids").2.contains("120 terminated"), "{done}");
    let left = postgres
        .psql("orders", "select count(*) from pg_stat_activity where usename = 'orders_admin'");
    assert_eq!(left, "0", "none is left");
    end_all(sleepers);
}

fn terminate_blockers() {
    let (postgres, sleepers, env, target) = server_with_sleepers(0);
    postgres.psql(
        "orders",
        "create table many (n int); alter table many owner to orders_admin; insert into many \
         select generate_series(1, 12)",
    );
    let lock = |n: u32| format!("begin; update many set n = n where n = {n}; select pg_sleep(600)");
    let mut sessions: Vec<_> = (1..=12).map(|n| postgres.session(&lock(n))).collect();
    let asleep = "select count(*) from pg_stat_activity where usename = 'orders_admin' and \
                  wait_event = 'PgSleep'";
    runbook_tests::wait_for("all hold their rows", || postgres.psql("orders", asleep) == "12");
    sessions.extend(
        (1..=12).map(|n| postgres.session(&format!("update many set n = n where n = {n}"))),
    );
    let waiting = "select count(*) from pg_locks where not granted";
    runbook_tests::wait_for("all wait", || postgres.psql("orders", waiting) == "12");
    postgres.wait_until_older_than_a_second("pid in (select pid from pg_locks where not granted)");
    let more = "irreversible = \"clients connect again\"";
    let with = "{ older_than = \"1s\" }";
    let refused = step(
        &env,
        &format!("{target}\nmax_rows = 5"),
        "postgres:terminate-blockers",
        "db",
        with,
        more,
    );
    assert!(refused.to_string().contains("5 of 12 blockers"), "{refused}");
    assert_eq!(postgres.psql("orders", waiting), "12", "a part of them is not ended");
    let done = step(&env, &target, "postgres:terminate-blockers", "db", with, more);
    assert_eq!(
        (found(&done, "ended").0, &done["output"]["count"], found(&done, "ended").1),
        (12, &12.into(), false),
        "{done}"
    );
    assert_eq!(done["output"]["still_waiting"], 0, "{done}");
    end_all(sleepers);
    end_all(sessions);
}

fn nagios_check() {
    let env = home();
    let program = env.script(
        "check_many",
        "printf 'fine |'; i=0; while [ $i -lt 500 ]; do printf ' m=%s' $i; i=$((i + 1)); done",
    );
    let target = format!("process = \"{}\"\narguments = []\nread_only = true\n", program.display());
    let whole = step(&env, &target, "nagios:check", "program", "{}", "");
    assert_eq!((found(&whole, "metrics").0, found(&whole, "metrics").1), (500, false), "{whole}");
    let cut =
        step(&env, &format!("{target}max_output = \"1KiB\""), "nagios:check", "program", "{}", "");
    let (entries, truncated, summary) = found(&cut, "metrics");
    assert!(entries < 500 && truncated, "{cut}");
    assert!(summary.contains("the end is missing"), "{summary}");
}

fn integrity_check() {
    let env = home();
    rusqlite::Connection::open(env.path().join("data.db"))
        .expect("a database can be made")
        .execute_batch(
            "create table t (a); with recursive n (i) as (select 1 union all select i + 1 from n \
             where i < 500) insert into t select null from n; pragma writable_schema = 1; update \
             sqlite_schema set sql = 'create table t (a not null)'",
        )
        .expect("good SQL");
    for (limit, kept) in [("", 100), ("max_rows = 50", 50)] {
        let cut = step(
            &env,
            &format!("sql = \"sqlite:data.db\"\n{limit}"),
            "sqlite:integrity-check",
            "db",
            "{}",
            "",
        );
        let (entries, truncated, summary) = found(&cut, "problems");
        assert_eq!((entries, truncated), (kept, true), "{cut}");
        assert!(summary.contains(&format!("{kept} problems or more")), "{summary}");
    }
}

fn net_tcp() {
    let env = home();
    let target = format!("net = \"127.0.0.1\"\nports = [{}]", crate::net::mail());
    let of = |more: &str, banner: &str| {
        let with = format!("{{ banner = \"{banner}\" }}");
        found(&step(&env, &format!("{target}\n{more}"), "net:tcp", "server", &with, ""), "answers")
    };
    let (check_body, truncated, _) = of("", "220");
    assert_eq!((check_body, truncated), (1, false));
    let (check_body, truncated, summary) = of("max_bytes = \"7B\"", "ready");
    assert_eq!((check_body, truncated), (1, true), "{summary}");
    assert!(summary.contains("`max_bytes` of the target"), "{summary}");
}

fn net_dns() {
    let env = home();
    let target = format!(
        "net = []\nnames = [\"many.example.com\"]\nresolver = \"127.0.0.1:{}\"",
        crate::net::resolver()
    );
    let of = |more: &str| {
        let with = "{ type = \"A\" }";
        found(&step(&env, &format!("{target}\n{more}"), "net:dns", "names", with, ""), "records")
    };
    assert_eq!((of("").0, of("").1), (3, false));
    let (records, truncated, summary) = of("max_records = 2");
    assert_eq!((records, truncated), (2, true));
    assert!(summary.contains("more than the target lets through"), "{summary}");
}

fn system_disks() {
    let env = home();
    let of = |more: &str| {
        let target = format!("system = [\"disks\"]\nmounts = [\"/\"]\n{more}");
        found(&step(&env, &target, "system:disks", "machine", "{}", ""), "file_systems")
    };
    assert_eq!((of("").0, of("").1), (1, false));
    let (file_systems, truncated, summary) = of("max_rows = 0");
    assert_eq!((file_systems, truncated), (0, true), "{summary}");
}

fn system_processes() {
    let env = home();
    let mut sleepers: Vec<_> = (0..3)
        .map(|_| {
            std::process::Command::new(named_sleep(&env)).arg("600").spawn().expect("it starts")
        })
        .collect();
    runbook_tests::wait_for("all have their name", || {
        let has_name = |child: &std::process::Child| {
            std::fs::read_to_string(format!("/proc/{}/comm", child.id()))
                .is_ok_and(|name| name.starts_with("cut-"))
        };
        sleepers.iter().all(has_name)
    });
    let of = |more: &str| {
        let name = format!("cut-{}", std::process::id());
        let target = format!("system = [\"processes\"]\nprocesses = [\"{name}\"]\n{more}");
        found(&step(&env, &target, "system:processes", "machine", "{}", ""), "processes")
    };
    let (whole, cut) = (of(""), of("max_rows = 2"));
    for child in &mut sleepers {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert_eq!((whole.0, whole.1), (3, false), "{}", whole.2);
    assert_eq!((cut.0, cut.1), (2, true), "{}", cut.2);
    assert!(cut.2.contains("2 of 3 are listed"), "{}", cut.2);
}

/// A copy of `sleep` with a name of its own.
fn named_sleep(env: &TestEnv) -> std::path::PathBuf {
    let program = env.path().join(format!("cut-{}", std::process::id()));
    if !program.exists() {
        std::fs::copy("/bin/sleep", &program).expect("it can be copied");
    }
    program
}

fn files_prune() {
    let env = home();
    std::fs::create_dir(env.path().join("old")).expect("a new folder");
    for name in ["1", "2", "3", "4"] {
        env.file(&format!("old/{name}"), "x");
    }
    let of = |max: u32| {
        let with = format!("{{ name = \"*\", keep = 1, older_than = \"0s\", max = {max} }}");
        let target = "files = \"old\"\naccess = \"write\"";
        let more = "irreversible = \"they are old\"";
        found(&step(&env, target, "files:prune", "directory", &with, more), "removed")
    };
    // The files must be older than nothing.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let (removed, truncated, summary) = of(2);
    assert_eq!((removed, truncated), (2, true), "{summary}");
    assert!(summary.contains("and more fit"), "{summary}");
    let (removed, truncated, summary) = of(2);
    assert_eq!((removed, truncated), (1, false), "{summary}");
}

fn system_port() {
    let env = home();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("bound").port();
    let _udp = std::net::UdpSocket::bind(("127.0.0.1", port)).expect("a port");
    let of = |more: &str| {
        let target = format!("system = [\"ports\"]\n{more}");
        let with = format!("{{ port = {port} }}");
        found(&step(&env, &target, "system:port", "machine", &with, ""), "listeners")
    };
    assert_eq!((of("").0, of("").1), (2, false));
    let (listeners, truncated, summary) = of("max_rows = 1");
    assert_eq!((listeners, truncated), (1, true), "{summary}");
    assert!(summary.contains("more listen there"), "{summary}");
}
