//! A statement that still runs on the server after its program was killed is ended before its step
//! is undone, repeated or decided.

use super::with_secret;
use runbook_tests::env::{ProgramOutput, TestEnv};
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::wait_for;

/// Statements that commit by themselves, each with the SQL that blocks it and a query for what it
/// changes.
const STATEMENTS: &[(&str, &str, &str)] = &[
    (
        "call slow()",
        "select if(get_lock('gate', 0), 'held', 'no')",
        "select total from shop.orders where id = 1",
    ),
    (
        "alter table orders add column late int",
        "begin; select id from shop.orders limit 0; select 'held'",
        "select count(*) from information_schema.columns where table_name = 'orders' and \
         column_name = 'late'",
    ),
    (
        "update kept set total = 111",
        "lock tables shop.kept read; select 'held'",
        "select total from shop.kept where id = 1",
    ),
];

fn server() -> MariaDb {
    let server = MariaDb::start();
    server.sql(
        "create table shop.orders (id int primary key, total int); insert into shop.orders \
                values (1, 10); create table shop.kept (id int primary key, total int) engine = \
                myisam; insert into shop.kept values (1, 10); create user clerk@'127.0.0.1' \
                identified by 'shop-word'; grant all on shop.* to clerk@'127.0.0.1'; create \
                definer = shop@'127.0.0.1' procedure shop.slow() modifies sql data update \
                shop.orders set total = 111 where id = 1 and get_lock('gate', 600)",
    );
    server.sql(
        "create procedure shop.as_root() modifies sql data update shop.orders set total = \
                111 where id = 1 and get_lock('gate', 600)",
    );
    server
}

/// Writes a runbook of one step on a target with this `timeout`. Its undo runs as user `undo_by`,
/// with the additional keys `more`.
fn write_runbook(
    env: &TestEnv,
    server: &MariaDb,
    statement: &str,
    timeout: &str,
    undo_by: &str,
    more: &str,
) {
    let target = |name: &str, user: &str, timeout: &str| {
        format!(
            "[targets.{name}]\nsql = \"mysql://{user}@127.0.0.1:{}/shop\"\n\
             password = \"secret:word\"\ntimeout = \"{timeout}\"\n",
            server.port
        )
    };
    let targets = target("db", "shop", timeout) + &target("other", undo_by, "1m");
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"r\"\n[secrets.word]\n\
                  source = \"age:s.age#word\"\n{targets}[[step]]\nid = \"s\"\n\
                  uses = \"sql:execute\"\nbind.db = \"db\"\ntimeout = \"2m\"\n\
                  with = {{ statement = \"{statement}\" }}\n\
                  undo = {{ uses = \"sql:execute\", bind.db = \"other\", with = {{ statement \
                  = \"insert into undone values (1)\" }}{more} }}\n"
        ),
    );
    server.sql("create or replace table shop.undone (id int)");
}

/// Counts the sessions of the program. Within a procedure they have the user of its definer.
const SESSIONS: &str =
    "select count(*) from information_schema.processlist where host like '%:%' and user <> 'clerk'";

/// Starts the run, and kills the program when its statement waits on the server.
fn kill_during_statement(env: &TestEnv, server: &MariaDb) -> String {
    let mut child = env.spawn(&["exec", "r.toml", "-y"]);
    let waits = "select count(*) from information_schema.processlist where host like '%:%' and \
                 state like '%lock%'";
    wait_for("the statement waits on the server", || {
        if child.try_wait().expect("it is ours").is_some() {
            let mut said = String::new();
            let _ = std::io::Read::read_to_string(
                &mut child.stdout.take().expect("it is piped"),
                &mut said,
            );
            panic!("it has ended: {said}");
        }
        server.sql(waits) == "1"
    });
    child.kill().expect("it runs");
    child.wait().expect("it is ours");
    assert_eq!(server.sql(SESSIONS), "1", "the server does not notice that its client is gone");
    env.newest_run()
}

fn output_of(finished: &ProgramOutput) -> String {
    format!("{}{}", finished.stdout, finished.stderr)
}

#[test]
fn a_statement_left_running_by_a_killed_program_is_ended_before_undo_or_resume() {
    let server = server();
    let env = with_secret(mariadb::PASSWORD);
    for (statement, held_by, changed) in STATEMENTS {
        let before = server.sql(changed);
        for command in ["cancel", "resume"] {
            write_runbook(
                &env,
                &server,
                statement,
                "2m",
                "shop",
                if command == "cancel" { ", idempotent = true" } else { "" },
            );
            let mut holder = server.session(&format!("{held_by}; do sleep(600)"));
            let run = kill_during_statement(&env, &server);
            let finished = match command {
                "cancel" => env.run(&["cancel", &run, "--yes"]).status(0),
                // Whether it happened is unknown, but it cannot happen any more.
                _ => env.run(&["resume", &run]).status(5),
            };
            assert_eq!(
                server.sql(SESSIONS),
                "0",
                "`{statement}`, {command}: {}",
                output_of(&finished)
            );
            holder.kill().expect("the client ends");
            holder.wait().expect("the client ends");
            server.end_sessions();
            assert_eq!(
                server.sql(changed),
                before,
                "`{statement}`, {command}: {}",
                output_of(&finished)
            );
            let undone = if command == "cancel" { "1" } else { "0" };
            assert_eq!(
                server.sql("select count(*) from shop.undone"),
                undone,
                "`{statement}`: {}",
                output_of(&finished)
            );
        }
    }
}

#[test]
fn a_killed_attempt_is_ended_before_a_decision_about_it_applies() {
    let server = server();
    let env = with_secret(mariadb::PASSWORD);
    let (statement, held_by, changed) = STATEMENTS[0];
    for (decision, status) in [("not-done", 1), ("done", 0), ("fail", 1)] {
        write_runbook(&env, &server, statement, "2m", "shop", "");
        let mut holder = server.session(&format!("{held_by}; do sleep(600)"));
        let run = kill_during_statement(&env, &server);
        let finished =
            env.run(&["resume", &run, "--decide", &format!("s={decision}")]).status(status);
        assert_eq!(server.sql(SESSIONS), "0", "{decision}: {}", output_of(&finished));
        holder.kill().expect("the client ends");
        holder.wait().expect("the client ends");
        server.end_sessions();
        assert_eq!(server.sql(changed), "10", "{decision}: {}", output_of(&finished));
    }
}

#[test]
fn an_undo_by_another_user_runs_after_the_user_of_the_step_has_ended_the_statement() {
    let server = server();
    let env = with_secret(mariadb::PASSWORD);
    let (statement, held_by, _) = STATEMENTS[0];
    write_runbook(&env, &server, statement, "2m", "clerk", ", idempotent = true");
    let mut holder = server.session(&format!("{held_by}; do sleep(600)"));
    let run = kill_during_statement(&env, &server);
    // The user of the undo may not end the statement.
    let finished = env.run(&["cancel", &run, "--yes"]).status(0);
    assert_eq!(server.sql(SESSIONS), "0", "{}", output_of(&finished));
    assert_eq!(server.sql("select count(*) from shop.undone"), "1", "{}", output_of(&finished));
    holder.kill().expect("the client ends");
    holder.wait().expect("the client ends");
}

/// The caller of a procedure may not end it while it runs as an administrator.
#[test]
fn a_statement_that_its_user_may_not_end_is_waited_for_until_its_time_limit() {
    let server = server();
    let env = with_secret(mariadb::PASSWORD);
    write_runbook(&env, &server, "call as_root()", "4s", "shop", ", idempotent = true");
    let mut holder = server.session("select if(get_lock('gate', 0), 'held', 'no'); do sleep(600)");
    let run = kill_during_statement(&env, &server);
    let finished = env.run(&["cancel", &run, "--yes"]).status(0);
    assert_eq!(server.sql(SESSIONS), "0", "{}", output_of(&finished));
    assert_eq!(server.sql("select count(*) from shop.undone"), "1", "{}", output_of(&finished));
    holder.kill().expect("the client ends");
    holder.wait().expect("the client ends");
    server.end_sessions();
    assert_eq!(server.sql("select total from shop.orders"), "10", "{}", output_of(&finished));
}

#[test]
fn a_statement_that_still_runs_is_not_undone_and_the_operator_is_told_how_to_end_it() {
    let server = server();
    let env = with_secret(mariadb::PASSWORD);
    let (statement, held_by, _) = STATEMENTS[0];
    write_runbook(&env, &server, statement, "3s", "shop", ", idempotent = true");
    let mut holder = server.session(&format!("{held_by}; do sleep(600)"));
    let run = kill_during_statement(&env, &server);
    server.end_sessions();
    holder.wait().expect("the client has ended");
    // A session of another user without a time limit takes its place, as on a server without such
    // limits.
    let report = env.run(&["report", &run, "--format", "json"]).status(0).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).expect("the report is JSON");
    let lock = format!(
        "concat('runbook-', left(sha2(concat('{}', char(0), 's'), 256), 40))",
        report["run"].as_str().expect("a run has an id")
    );
    let mut holder =
        server.session(&format!("select if(get_lock({lock}, 0), 'held', 'no'); do sleep(600)"));
    let said = output_of(&env.run(&["cancel", &run, "--yes"]).status(7));
    assert!(said.contains("still runs on the database server") && said.contains("KILL"), "{said}");
    assert_eq!(server.sql("select count(*) from shop.undone"), "0", "{said}");
    holder.kill().expect("the client ends");
    holder.wait().expect("the client ends");
    server.end_sessions();
    let said = output_of(&env.run(&["undo", &run, "--yes"]).status(0));
    assert_eq!(server.sql("select count(*) from shop.undone"), "1", "{said}");
}
