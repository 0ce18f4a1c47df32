//! `runbook check`: runs suites on their own, for people, CI and monitoring.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::http::Receiver;

fn suite(port: u16, away: u16) -> String {
    format!(
        r#"
format = 1
[runbook]
name = "shop"
[params.path]
type = "string"
default = "/"
[targets.api]
http = "http://127.0.0.1:{port}"
[targets.away]
http = "http://127.0.0.1:{away}"
[targets.db]
sql = "sqlite:work.db"
[[check]]
id = "api"
uses = "http:get"
bind.target = "api"
with = {{ path = "{{{{ params.path }}}}" }}
tags = ["web"]
[[check]]
id = "rows"
uses = "sql:query"
bind.db = "db"
with = {{ statement = "select 3 as n", first_row = {{ n = 3 }} }}
tags = ["data"]
[[check]]
id = "minor"
uses = "sql:query"
bind.db = "db"
with = {{ statement = "select 3 as n", first_row = {{ n = 4 }} }}
critical = false
tags = ["data", "minor"]
[[check]]
id = "broken"
uses = "sql:query"
bind.db = "db"
with = {{ statement = "select 3 as n", first_row = {{ n = 5 }} }}
tags = ["broken"]
[[check]]
id = "blind"
uses = "sql:query"
bind.db = "db"
with = {{ statement = "select n from missing_table" }}
tags = ["blind"]
[[check]]
id = "after"
uses = "http:get"
bind.target = "away"
with = {{ path = "/" }}
depends_on = ["broken"]
tags = ["broken"]
"#
    )
}

fn prepared() -> (TestEnv, Receiver) {
    let (env, server) = (home(), Receiver::start());
    rusqlite::Connection::open(env.path().join("work.db"))
        .expect("a file")
        .execute_batch("vacuum")
        .expect("a database");
    env.file("shop.toml", &suite(server.port, runbook_tests::free_port()));
    (env, server)
}

#[test]
fn the_exit_code_says_what_was_found() {
    let (env, _server) = prepared();
    let check = |more: &[&str]| env.run(&[&["check", "shop.toml"], more].concat());
    check(&["--tag", "web"]).status(0).out("✓ api").out("1 healthy");
    check(&["--tag", "data"]).status(1).out("! minor").out("1 healthy, 1 warning");
    check(&["--tag", "data", "--fail-on", "critical"]).status(0);
    check(&["--tag", "broken"]).status(2).out("✗ broken").out("- after").out("expected 5");
    check(&["--tag", "blind"]).status(3).out("? blind").out("1 unknown");
    check(&[]).status(2).out("2 healthy, 1 skipped, 1 warning, 1 unknown, 1 critical");
}

#[test]
fn a_check_without_an_answer_is_never_healthy() {
    let (env, _server) = prepared();
    env.run(&["check", "shop.toml", "--tag", "nothing-has-this"]).status(3);
    env.run(&["check", "missing.toml"]).status(3).err("missing.toml");
    env.run(&["check", "shop.toml", "--no-such-flag"]).status(3).err("--no-such-flag");
    env.run(&["check"]).status(3);
    env.run(&["check", "--help"]).status(0);
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:work.db\"\n[[step]]\n\
         id = \"a\"\nuses = \"sqlite:integrity-check\"\nbind.db = \"db\"\n",
    );
    env.run(&["check", "r.toml"]).status(3).err("is a runbook").err("runbook exec");
    env.run(&["exec", "shop.toml"]).status(2).err("runbook check");
    // A server that takes the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    env.file(
        "silent.toml",
        &suite(silent.local_addr().expect("it is bound").port(), runbook_tests::free_port()),
    );
    let since = std::time::Instant::now();
    env.run(&["check", "silent.toml", "--tag", "web", "--timeout", "500ms"]).status(3).out("? api");
    assert!(since.elapsed().as_secs() < 10, "it waited for {:?}", since.elapsed());
}

#[test]
fn parameters_go_to_the_checks() {
    let (env, server) = prepared();
    env.run(&["check", "shop.toml", "--tag", "web", "--set", "path=/health"]).status(0);
    assert_eq!(server.received().last().expect("it was asked").line, "GET /health");
    env.run(&["check", "shop.toml", "--set", "pth=/"]).status(3).err("did you mean `path`?");
}

#[test]
fn each_format_reports_the_same_results() {
    let (env, _server) = prepared();
    let out = |format: &str| env.run(&["check", "shop.toml", "--format", format]).status(2).stdout;
    let json: serde_json::Value = serde_json::from_str(&out("json")).expect("JSON");
    let states: Vec<_> = json["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["health"].as_str().expect("a word").to_owned())
        .collect();
    assert_eq!(states, ["healthy", "healthy", "warning", "critical", "unknown", "skipped"]);
    assert_eq!(
        (json["worst"].as_str(), json["unhealthy_count"].as_u64()),
        (Some("critical"), Some(3))
    );
    assert_eq!(
        (json["totals"]["healthy"].as_u64(), json["totals"]["skipped"].as_u64()),
        (Some(2), Some(1))
    );
    assert!(json["at"].as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok()), "{json}");
    assert!(out("nagios").starts_with("CRITICAL - 2 healthy"));
    assert!(out("tap").contains("\nnot ok 4 - shop/broken"));
    assert!(out("junit").contains("tests=\"6\" skipped=\"1\" errors=\"1\" failures=\"2\""));
    assert!(
        out("prometheus").contains("runbook_check_healthy{suite=\"shop\",check=\"broken\"} 0\n")
    );
    assert!(out("github").contains("::error title=broken critical::"));
    assert!(out("markdown").contains("| broken | critical |"));
    assert_eq!(out("jsonl").lines().count(), 6);
    let table = out("table");
    assert!(table.lines().any(|row| row.contains("broken") && row.contains("critical")), "{table}");
}

#[test]
fn a_file_for_a_collector_is_replaced_as_a_whole_and_nothing_is_kept() {
    let (env, _server) = prepared();
    env.file("shop.prom", "old");
    env.run(&[
        "check",
        "shop.toml",
        "--tag",
        "web",
        "--format",
        "prometheus",
        "--output",
        "shop.prom",
    ])
    .status(0);
    assert!(
        env.read("shop.prom").contains("runbook_check_healthy{suite=\"shop\",check=\"api\"} 1")
    );
    env.run(&["runs"]).status(0).err("no run has been made yet");
}

#[test]
fn watch_repeats_until_interrupted() {
    let (env, server) = prepared();
    let child =
        env.spawn(&["check", "shop.toml", "--tag", "web", "--watch", "100ms", "--format", "jsonl"]);
    runbook_tests::wait_for("four times", || server.received().len() >= 4);
    runbook_tests::interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).lines().count() >= 3);
}

#[test]
fn a_suite_is_granted_and_locked_as_a_runbook_is() {
    let (env, _server) = prepared();
    env.run(&["check", "shop.toml", "--tag", "web", "--locked"]).status(3).err("lock");
    env.run(&["lock", "shop.toml"]).status(0);
    env.run(&["check", "shop.toml", "--tag", "web", "--locked"]).status(0);
    env.file(
        "shop.toml",
        &env.read("shop.toml").replace("[targets.db]", "[targets.db]\ncreate = true"),
    );
    env.run(&["check", "shop.toml", "--tag", "web"]).status(3).err("widened");
    env.file("boundary.toml", "format = 1\n");
    env.run(&["check", "shop.toml", "--boundary", "boundary.toml"]).status(3).err("boundary");
}

fn waiver(check: &str, expires: &str) -> String {
    format!(
        "format = 1\n[[waiver]]\nsuite = \"shop\"\ncheck = \"{check}\"\n\
             reason = \"known, SHOP-7\"\nexpires = {expires}\n"
    )
}

#[test]
fn a_waived_check_is_skipped_until_its_waiver_expires() {
    let (env, _server) = prepared();
    env.file("waivers.toml", &waiver("minor", "2099-12-31"));
    env.run(&["check", "shop.toml", "--tag", "data"])
        .status(0)
        .out("- minor")
        .out("waived until 2099-12-31: known, SHOP-7");
    env.file("waivers.toml", &waiver("minor", "2020-01-31"));
    env.run(&["check", "shop.toml", "--tag", "data"])
        .status(1)
        .out("! minor")
        .out("its waiver expired on 2020-01-31");
    // A check that depends on a waived check runs; checks that are not selected are not shown.
    env.file("waivers.toml", &waiver("broken", "2099-12-31"));
    env.run(&["check", "shop.toml", "--tag", "broken"]).out("- broken").without("- after");
    env.run(&["check", "shop.toml", "--tag", "web"]).status(0).without("broken");
    // If all checks are waived, the result is unknown.
    env.file("waivers.toml", &waiver("api", "2099-12-31"));
    env.run(&["check", "shop.toml", "--tag", "web"]).status(3).out("1 skipped");
}

#[test]
fn an_invalid_waiver_file_is_reported_and_waives_nothing() {
    let (env, _server) = prepared();
    let check = |waivers: &str| {
        env.file("waivers.toml", waivers);
        env.run(&["check", "shop.toml", "--tag", "data"]).status(3)
    };
    check(&waiver("minr", "2099-12-31")).err("did you mean `minor`?");
    check(&waiver("minor", "\"soon\"")).err("must be a date");
    check(&waiver("minor", "2099-12-31").replace("reason", "raeson")).err("raeson");
    check(&waiver("minor", "2099-12-31").replace("known, SHOP-7", " "))
        .err("a waiver needs a reason");
    check("format = [").err("waivers.toml");
    // A waiver for another suite is ignored.
    env.file("waivers.toml", &waiver("x", "2099-12-31").replace("shop", "other"));
    env.run(&["check", "shop.toml", "--tag", "data"]).status(1);
}

#[test]
fn a_watched_check_with_its_own_interval_runs_at_that_interval() {
    let (env, server) = (home(), Receiver::start());
    let rare = Receiver::start();
    let check = |id: &str, more: &str| {
        format!(
            "[[check]]\nid = \"{id}\"\nuses = \"http:get\"\nbind.target = \"{id}\"\n\
                 with = {{ path = \"/\" }}\n{more}"
        )
    };
    let targets = format!(
        "[targets.often]\nhttp = \"http://127.0.0.1:{}\"\n[targets.rare]\n\
         http = \"http://127.0.0.1:{}\"\n",
        server.port, rare.port
    );
    let (often, rare_check) = (check("often", ""), check("rare", "every = \"1h\"\n"));
    env.file(
        "s.toml",
        &format!("format = 1\n[runbook]\nname = \"s\"\n{targets}{often}{rare_check}"),
    );
    let child = env.spawn(&["check", "s.toml", "--watch", "100ms", "--format", "jsonl"]);
    runbook_tests::wait_for("four times", || server.received().len() >= 4);
    runbook_tests::interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(rare.received().len(), 1, "an hour has not passed");
    let told = String::from_utf8_lossy(&output.stdout);
    let lines = |check: &str| {
        told.lines().filter(|line| line.contains(&format!("\"check\":\"{check}\""))).count()
    };
    assert_eq!(lines("rare"), lines("often"), "what it found last is told each time: {told}");
}

#[test]
fn watch_ends_when_its_output_is_closed() {
    use std::io::BufRead as _;
    let env = home();
    env.file(
        "s.toml",
        "format = 1\n[runbook]\nname = \"s\"\n[targets.db]\nsql = \"sqlite:work.db\"\n[[check]]\n\
         id = \"a\"\nuses = \"sql:query\"\nbind.db = \"db\"\nwith = { statement = \"select 1\" }\n",
    );
    rusqlite::Connection::open(env.path().join("work.db"))
        .expect("it opens")
        .execute_batch("create table t (a)")
        .expect("SQL");
    // The interval is longer than the test, so the program ends because its output is closed and
    // not because a second write fails.
    let mut child = env.spawn(&["check", "s.toml", "--watch", "1d", "--format", "jsonl"]);
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().expect("it is piped"))
        .read_line(&mut line)
        .expect("it writes a line");
    assert!(line.contains("healthy"), "{line}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn check_constraints_are_verified_although_the_file_is_opened_for_reading() {
    let env = home();
    env.file(
        "s.toml",
        "format = 1\n[runbook]\nname = \"s\"\n[targets.db]\nsql = \"sqlite:work.db\"\n[[check]]\n\
         id = \"a\"\nuses = \"sqlite:integrity-check\"\nbind.db = \"db\"\n",
    );
    let database = rusqlite::Connection::open(env.path().join("work.db")).expect("it opens");
    let run = |statements: &str| database.execute_batch(statements).expect("good SQL");
    run("create table orders (n int check (n > 0), \"a b\" text, constraint c check (\"a b\" <> \
         'check (' or n is null))");
    run("insert into orders values (1, 'x'), (null, 'check (')");
    env.run(&["check", "s.toml"]).status(0).out("sound");
    run("pragma ignore_check_constraints = on; insert into orders values (-1, 'x')");
    env.run(&["check", "s.toml"])
        .status(2)
        .out("CHECK (n > 0) of `orders` does not hold for 1 row");
    run("delete from orders where n < 0; insert into orders values (2, 'check (')");
    env.run(&["check", "s.toml"]).status(2).out("does not hold for 1 row");
}
