//! A transaction that is stopped before COMMIT is sent did not happen. If COMMIT was sent but not
//! answered, its outcome is unknown.

use super::with_secret;
use runbook_tests::env::TestEnv;
use runbook_tests::postgres::{PASSWORD, Postgres};
use runbook_tests::wait_for;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};

fn write_runbook(env: &TestEnv, port: u16, target: &str, step: &str) {
    env.file(
        "t.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"t\"\n[secrets.word]\n\
                  source = \"age:s.age#word\"\n[targets.db]\n\
                  sql = \"postgres://orders_admin@127.0.0.1:{port}/orders?sslmode=disable\"\n\
                  password = \"secret:word\"\n{target}\n[[step]]\nid = \"s\"\n\
                  uses = \"sql:transaction\"\nbind.db = \"db\"\nirreversible = \"it is a test\"\n\
                  with = {{ statements = [\"insert into orders (id, item, amount) values (100, \
                  'x', 1)\", \"update orders set amount = 0 where id = 1\"] }}\n{step}\n"
        ),
    );
}

/// A session that locks the row that the transaction changes.
fn holder(postgres: &Postgres) -> Child {
    let child = postgres
        .client("psql")
        .args([
            "-XAt",
            "-d",
            "orders",
            "-c",
            "begin; update orders set amount = 7 where id = 1; select pg_sleep(600)",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("psql runs");
    let sleeps = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and \
                  wait_event = 'PgSleep'";
    wait_for("the row is held", || postgres.psql("orders", sleeps) == "1");
    child
}

#[test]
fn a_transaction_that_was_stopped_before_its_commit_did_not_happen() {
    let postgres = Postgres::start(3);
    let mut holder = holder(&postgres);
    let env = with_secret(PASSWORD);
    for (target, step, said) in [
        (
            "timeout = \"1s\"",
            "timeout = \"1m\"",
            "the `timeout` of the target ended it, which is 1s (t.toml:",
        ),
        ("timeout = \"1m\"", "timeout = \"2s\"", ""),
    ] {
        write_runbook(&env, postgres.port, target, step);
        // Failed, and nothing to clean up: not the code of a run that left something behind.
        let finished = env.run(&["exec", "t.toml", "-y"]).status(1).out(said);
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!all.contains("unknown") && !all.contains("took effect"), "{all}");
        assert_eq!(postgres.psql("orders", "select count(*) from orders"), "3");
    }
    holder.kill().expect("psql ends");
    holder.wait().expect("psql ends");
}

/// A proxy that forwards bytes in both directions until COMMIT, and does not forward its answer.
fn proxy_without_commit_answer(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let server = TcpStream::connect(("127.0.0.1", to)).expect("the server is there");
            let (from_server, to_client) =
                (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
            std::thread::spawn(move || forward_until(from_server, to_client, b"COMMIT\0"));
            std::thread::spawn(move || forward_until(client, server, b"Q\0\0\0\x0bCOMMIT\0"));
        }
    });
    port
}

fn forward_until(mut from: TcpStream, mut to: TcpStream, until: &[u8]) {
    let mut chunk = [0; 4096];
    loop {
        let length = from.read(&mut chunk).unwrap_or(0);
        let is_over = chunk[..length].windows(until.len()).any(|bytes| bytes == until);
        // The answer of the server is dropped; the client's COMMIT is forwarded.
        let is_answer = until.first() == Some(&b'C');
        if length == 0 || (is_over && is_answer) {
            let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
            return;
        }
        if to.write_all(&chunk[..length]).is_err() {
            return;
        }
    }
}

#[test]
fn a_transaction_whose_commit_was_not_answered_is_unknown() {
    let postgres = Postgres::start(3);
    let env = with_secret(PASSWORD);
    write_runbook(&env, proxy_without_commit_answer(postgres.port), "", "");
    let finished = env.run(&["exec", "t.toml", "-y", "--report", "json=t.json"]);
    assert_ne!(finished.status, 0);
    assert_ne!(
        finished.status, 1,
        "a run that may have left something is not clean: {}",
        finished.stdout
    );
    let report: serde_json::Value =
        serde_json::from_str(&env.read("t.json")).expect("the report is JSON");
    assert_eq!(report["steps"][0]["fault"]["class"], "unknown", "{report}");
    assert_eq!(postgres.psql("orders", "select count(*) from orders"), "4", "it did happen");
}

/// Ctrl-C stops a change that waits for a row before its commit, so it is known that nothing
/// happened.
#[test]
fn a_change_cancelled_before_its_commit_did_not_happen() {
    let postgres = Postgres::start(3);
    let mut holder = holder(&postgres);
    let env = with_secret(PASSWORD);
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    for uses in ["transaction", "execute"] {
        write_runbook(&env, postgres.port, "", "");
        if uses == "execute" {
            let text = env.read("t.toml").replace("sql:transaction", "sql:execute");
            let text = text.replace(
                "statements = [\"insert into orders (id, item, amount) values (100, 'x', 1)\", ",
                "statement = ",
            );
            env.file("t.toml", &text.replace("where id = 1\"]", "where id = 1\""));
        }
        let child = env.spawn(&["exec", "t.toml", "-y", "--report", "json=t.json"]);
        wait_for("it waits for the row", || postgres.psql("orders", waits) == "1");
        runbook_tests::interrupt(&child);
        let finished =
            runbook_tests::env::finish(child.wait_with_output().expect("it ends")).status(130);
        finished.out("No step had changed anything").without("unknown").without("DIRTY");
        let report: serde_json::Value =
            serde_json::from_str(&env.read("t.json")).expect("the report is JSON");
        assert_eq!(report["steps"][0]["fault"]["effect"], "none", "{report}");
        wait_for("the server has ended it, too", || postgres.psql("orders", waits) == "0");
        assert_eq!(postgres.psql("orders", "select count(*) from orders"), "3");
    }
    holder.kill().expect("psql ends");
    holder.wait().expect("psql ends");
}
