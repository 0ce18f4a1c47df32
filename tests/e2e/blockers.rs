//! A session that holds a lock although it is never idle and runs only short queries.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::postgres::{PASSWORD, Postgres};
use std::process::Child;

/// Four sessions: a chatty one holds `orders`; one waits for `orders` and holds `stock`; one waits
/// for `stock`; one more waits for `orders`.
struct BlockedDatabase {
    postgres: Postgres,
    env: TestEnv,
    sessions: Vec<Child>,
}

impl BlockedDatabase {
    fn new() -> Self {
        let postgres = Postgres::start(10);
        postgres
            .psql("orders", "create table stock (n int); alter table stock owner to orders_admin");
        let chatty = "begin;\nlock table orders in access exclusive mode;\nselect 1 \\watch 0.3\n";
        let mut blocked = Self {
            sessions: vec![postgres.named_session("billing-worker", chatty)],
            postgres,
            env: home(),
        };
        blocked.wait_for(
            "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and \
             relation = 'orders'::regclass",
            "1",
        );
        let middle = "begin; lock table stock in access exclusive mode; select count(*) from \
                      orders; select pg_sleep(600)";
        for (waiting, sql) in [
            (1, middle),
            (2, "lock table stock in access share mode"),
            (3, "select count(*) from orders"),
        ] {
            let sql = if waiting == 2 { format!("begin; {sql}") } else { sql.to_owned() };
            blocked.sessions.push(blocked.postgres.session(&sql));
            blocked.wait_for(
                "select count(distinct pid) from pg_locks where not granted",
                &waiting.to_string(),
            );
        }
        blocked
            .postgres
            .wait_until_older_than_a_second("pid in (select pid from pg_locks where not granted)");
        blocked.env.run(&["secret", "keygen"]).status(0);
        blocked.env.run_with_input(&["secret", "set", "s.age#word"], PASSWORD).status(0);
        blocked
    }

    fn wait_for(&self, sql: &str, expected: &str) {
        runbook_tests::wait_for(sql, || self.postgres.psql("orders", sql) == expected);
    }

    fn exec(
        &self,
        operation: &str,
        with: &str,
        arguments: &[&str],
    ) -> runbook_tests::env::ProgramOutput {
        let text = format!(
            "format = 1\n[runbook]\nname = \"jam\"\n[secrets.word]\nsource = \"age:s.age#word\"\n\
             [targets.db]\nsql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\n\
             password = \"secret:word\"\n[[step]]\nid = \"free\"\nuses = \"postgres:{operation}\"\n\
             bind.db = \"db\"\nwith = {with}\nirreversible = \"clients connect again\"\n",
            self.postgres.port
        );
        self.env.file("jam.toml", &text);
        self.env.run(&[&["exec", "jam.toml"], arguments].concat())
    }

    fn pid_of(&self, application: &str) -> String {
        self.postgres.psql(
            "orders",
            &format!("select pid from pg_stat_activity where application_name = '{application}'"),
        )
    }
}

impl Drop for BlockedDatabase {
    fn drop(&mut self) {
        for session in &mut self.sessions {
            let _ = session.kill();
            let _ = session.wait();
        }
    }
}

#[test]
fn the_session_that_holds_the_lock_is_ended_and_those_that_waited_go_on() {
    let blocked = BlockedDatabase::new();
    let chatty = blocked.pid_of("billing-worker");
    let with = "{ older_than = \"1s\" }";
    let planned = blocked.exec("terminate-blockers", with, &["--dry-run"]).status(0);
    for said in [
        format!("process {chatty} of orders_admin (`billing-worker`)"),
        "3 sessions wait for it".to_owned(),
        "select count(*) from orders".to_owned(),
    ] {
        assert!(
            planned.stdout.contains(&said),
            "the plan does not say `{said}`:\n{}",
            planned.stdout
        );
    }
    assert_eq!(blocked.pid_of("billing-worker"), chatty, "a dry run ends nobody");
    blocked
        .exec("terminate-blockers", "{ older_than = \"1h\" }", &[])
        .status(0)
        .out("no session that blocks others is that old");
    assert_eq!(blocked.pid_of("billing-worker"), chatty, "it is younger than that");

    blocked
        .exec("terminate-blockers", with, &[])
        .status(0)
        .out("1 terminated, for which 3 waited")
        .out("1 session waits still for a lock");
    assert_eq!(blocked.pid_of("billing-worker"), "");
    blocked.wait_for(
        "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and usename = \
         'orders_admin'",
        "1",
    );
    let waiting = "select count(*) from pg_locks where not granted";
    assert_eq!(
        blocked.postgres.psql("orders", waiting),
        "1",
        "the session in the middle got its lock and was not terminated"
    );
    // Now the session in the middle blocks another one.
    blocked.exec("terminate-blockers", with, &[]).status(0).out("1 terminated, for which 1 waited");
    assert_eq!(blocked.postgres.psql("orders", waiting), "0");
    blocked.exec("terminate-blockers", with, &[]).status(0).out("no session");
}

#[test]
fn a_transaction_that_is_never_idle_is_found_by_its_age_and_not_by_that_of_its_last_query() {
    let blocked = BlockedDatabase::new();
    let chatty = blocked.pid_of("billing-worker");
    blocked
        .exec("terminate-queries", "{ older_than = \"1s\" }", &["--dry-run"])
        .status(0)
        .without(&format!("process {chatty} "));
    blocked
        .exec("terminate-queries", "{ older_than = \"1s\", by = \"transaction\" }", &["--dry-run"])
        .status(0)
        .out(&format!("process {chatty} of orders_admin (`billing-worker`)"));
    // Sessions that only waited may end by themselves when they get the lock.
    blocked
        .exec("terminate-queries", "{ older_than = \"1s\", by = \"transaction\" }", &[])
        .status(0)
        .out(" terminated");
    assert_eq!(blocked.pid_of("billing-worker"), "");
    let left = "select count(*) from pg_stat_activity where usename = 'orders_admin' and \
                xact_start is not null";
    assert_eq!(blocked.postgres.psql("orders", left), "0");
}

#[test]
fn a_session_that_cannot_be_ended_is_reported_and_fails_the_step() {
    let blocked = BlockedDatabase::new();
    // The superuser's session holds a lock for which an ordinary one waits.
    let mut superuser = blocked.postgres.client("psql");
    let mut superuser = superuser
        .args([
            "-XAt",
            "-d",
            "orders",
            "-c",
            "begin; lock table pg_description in access exclusive mode; select pg_sleep(600)",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("psql runs");
    blocked.wait_for(
        "select count(*) from pg_locks where relation = 'pg_description'::regclass and granted and \
         mode = 'AccessExclusiveLock'",
        "1",
    );
    let mut waiter = blocked.postgres.session("select count(*) from pg_description");
    blocked.wait_for("select count(distinct pid) from pg_locks where not granted", "4");
    blocked
        .postgres
        .wait_until_older_than_a_second("pid in (select pid from pg_locks where not granted)");
    let failed = blocked.exec("terminate-blockers", "{ older_than = \"1s\" }", &[]).status(1);
    assert!(failed.stdout.contains("1 terminated, 1 left"), "{}\n{}", failed.stdout, failed.stderr);
    assert_eq!(blocked.pid_of("billing-worker"), "", "the others are ended all the same");
    for child in [&mut superuser, &mut waiter] {
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn a_role_that_cannot_see_other_sessions_fails_the_probe() {
    let blocked = BlockedDatabase::new();
    blocked.postgres.psql(
        "postgres",
        "create role blind login password 'blind-word'; grant connect on database orders to blind",
    );
    blocked.env.run_with_input(&["secret", "set", "s.age#word"], "blind-word").status(0);
    let text = format!(
        "format = 1\n[runbook]\nname = \"jam\"\n[secrets.word]\nsource = \"age:s.age#word\"\n\
         [targets.db]\nsql = \"postgres://blind@127.0.0.1:{}/orders\"\npassword = \"secret:word\"\n\
         [[step]]\nid = \"look\"\nuses = \"postgres:long-running\"\nbind.db = \"db\"\n\
         with = {{ older_than = \"1s\" }}\n",
        blocked.postgres.port
    );
    blocked.env.file("blind.toml", &text);
    let looked = blocked.env.run(&["exec", "blind.toml"]);
    assert_ne!(looked.status, 0, "what cannot be seen is not fine: {}", looked.stdout);
    assert!(
        looked.stdout.contains("cannot be seen (grant `pg_read_all_stats`)"),
        "{}",
        looked.stdout
    );
}
