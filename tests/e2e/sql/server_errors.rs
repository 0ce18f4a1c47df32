//! If the server ends a change with an error and rolls it back, the change is reported as not
//! happened: for each kind of error, on each server, with one statement and with several.

use super::indirect_access::{Statement, statements};
use super::{unknown_until_run_time, with_secret};
use runbook_tests::env::{ProgramOutput, TestEnv};
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::postgres::{PASSWORD, Postgres};
use runbook_tests::wait_for;
use std::process::{Child, Stdio};

/// A change that the server ends with an error.
struct FailureCase {
    /// The error code of the server.
    code: &'static str,
    statement: &'static str,
    /// Additional keys of the target.
    target: &'static str,
    /// A part of the message.
    expected_message: &'static str,
}

fn write_runbook(env: &TestEnv, address: &str, target: &str, with: &str, uses: &str) {
    env.file(
        "t.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"t\"\n[secrets.word]\n\
                  source = \"age:s.age#word\"\n[targets.db]\n{address}\n{target}\n[[step]]\n\
                  id = \"s\"\nuses = \"sql:{uses}\"\nbind.db = \"db\"\n\
                  irreversible = \"it is a test\"\nwith = {{ {with} }}\n"
        ),
    );
}

/// The operations of the plugin, each with its input.
const VERBS: &[(&str, &str)] =
    &[("execute", "statement = STATEMENT"), ("transaction", "statements = [STATEMENT]")];

const EXEC: &[&str] = &["exec", "t.toml", "-y", "--report", "json=t.json"];

/// Checks that the report says that the change did not happen.
fn assert_did_not_happen(env: &TestEnv, finished: &ProgramOutput, ended: &FailureCase, uses: &str) {
    let all = format!("{}{}", finished.stdout, finished.stderr);
    let what = format!("{} by sql:{uses}\n{all}", ended.code);
    assert_eq!(finished.status, 1, "{what}");
    let report: serde_json::Value =
        serde_json::from_str(&env.read("t.json")).expect("the report is JSON");
    let fault = &report["steps"][0]["fault"];
    assert_eq!(fault["effect"], "none", "{what}");
    let told = format!("{fault}");
    assert!(told.contains(ended.code) && told.contains(ended.expected_message), "{told}\n{what}");
    for word in ["unknown", "took effect", "may have", "DIRTY", "the step's own"] {
        assert!(!all.contains(word), "`{word}`: {what}");
    }
    if !ended.expected_message.contains("`timeout`") {
        assert!(!all.contains("`timeout`"), "no limit ended it: {what}");
    }
}

/// Waits in a transaction until another session waits for one of its locks.
const WAIT_UNTIL_BLOCKING: &str = "do $$ begin while not exists (select from pg_locks where not granted) loop perform \
     pg_sleep(0.02); end loop; end $$;";

/// The script of another session, which locks order 1 before the change begins.
fn postgres_helper(code: &str) -> String {
    let hold = "begin; update orders set amount = 7 where id = 1; select 'held';";
    let waiting = "(select pid from pg_stat_activity where wait_event_type = 'Lock')";
    match code {
        "57014-cancel" => format!(
            "{hold} {WAIT_UNTIL_BLOCKING} select pg_cancel_backend({waiting}); select pg_sleep(600);"
        ),
        "57P01" => {
            format!(
                "{hold} {WAIT_UNTIL_BLOCKING} select pg_terminate_backend({waiting}); select \
                     pg_sleep(600);"
            )
        }
        "40P01" => {
            format!(
                "set deadlock_timeout = '1h'; {hold} {WAIT_UNTIL_BLOCKING} update orders set \
                     amount = 7 where id = 2; select pg_sleep(600);"
            )
        }
        "40001" => format!("{hold} {WAIT_UNTIL_BLOCKING} commit; select pg_sleep(600);"),
        _ => format!("{hold} select pg_sleep(600);"),
    }
}

fn postgres_session(postgres: &Postgres, script: &str) -> Child {
    let mut child = postgres
        .client("psql")
        .args(["-XAt", "-d", "orders"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("psql runs");
    let mut input = child.stdin.take().expect("stdin is piped");
    std::io::Write::write_all(&mut input, script.as_bytes()).expect("psql reads");
    drop(input);
    wait_for("the row is held", || {
        postgres.psql(
            "orders",
            "select count(*) from pg_locks l join pg_class c on c.oid = l.relation where c.relname \
             = 'orders' and l.mode = 'RowExclusiveLock'",
        ) != "0"
    });
    child
}

#[test]
fn a_change_that_postgresql_rejects_did_not_happen() {
    let two = "with a as (update orders set amount = 0 where id = 2 returning id) update orders \
               set amount = 0 where id = 1 and exists (select from a)";
    let cases = [
        (
            "57014",
            FailureCase {
                code: "57014",
                statement: "update orders set amount = 0 from (select pg_sleep(60)) s",
                target: "timeout = \"1s\"",
                expected_message: "the `timeout` of the target ended it, which is 1s (t.toml:",
            },
        ),
        (
            "57014-cancel",
            FailureCase {
                code: "57014",
                statement: "update orders set amount = 0",
                target: "",
                expected_message: "somebody else stopped the statement on the server",
            },
        ),
        (
            "57P01",
            FailureCase {
                code: "57P01",
                statement: "update orders set amount = 0",
                target: "",
                expected_message: "somebody ended the session on the server, or the server is being stopped",
            },
        ),
        (
            "55P03",
            FailureCase {
                code: "55P03",
                statement: "with a as (select id from orders for update nowait) update orders set \
                            amount = 0 from a",
                target: "",
                expected_message: "could not obtain lock",
            },
        ),
        (
            "40P01",
            FailureCase {
                code: "40P01",
                statement: two,
                target: "",
                expected_message: "deadlock detected",
            },
        ),
        (
            "40001",
            FailureCase {
                code: "40001",
                statement: "update orders set amount = 0",
                target: "",
                expected_message: "could not serialize access",
            },
        ),
        (
            "23505",
            FailureCase {
                code: "23505",
                statement: "insert into orders values (9, 'x', 1), (9, 'y', 1)",
                target: "",
                expected_message: "duplicate key",
            },
        ),
        (
            "23503",
            FailureCase {
                code: "23503",
                statement: "insert into late values (9)",
                target: "",
                expected_message: "foreign key",
            },
        ),
        (
            "42601",
            FailureCase {
                code: "42601",
                statement: "vacuum orders orders orders",
                target: "",
                expected_message: "syntax error",
            },
        ),
        (
            "22012",
            FailureCase {
                code: "22012",
                statement: "create table made as select 1 / (id - id) from orders",
                target: "",
                expected_message: "division by zero",
            },
        ),
    ];
    for (uses, with) in VERBS {
        let postgres = Postgres::start(3);
        postgres.psql(
            "orders",
            "alter role orders_admin set default_transaction_isolation = 'repeatable read'; alter \
             role orders_admin set deadlock_timeout = '100ms'; create table late (id bigint \
             references orders deferrable initially deferred); alter table late owner to \
             orders_admin",
        );
        let env = with_secret(PASSWORD);
        for (helper, ended) in &cases {
            let before = postgres.psql(
                "orders",
                "select md5(string_agg(o::text, ',' order by id)), (select count(*) from late) \
                 from orders o",
            );
            let address = format!(
                "sql = \"postgres://orders_admin@127.0.0.1:{}/orders?sslmode=disable\"\n\
                 password = \"secret:word\"",
                postgres.port
            );
            let statement = serde_json::to_string(&unknown_until_run_time(ended.statement))
                .expect("text is JSON, and a TOML string");
            write_runbook(
                &env,
                &address,
                ended.target,
                &with.replace("STATEMENT", &statement),
                uses,
            );
            let mut other = postgres_session(&postgres, &postgres_helper(helper));
            assert_did_not_happen(&env, &env.run(EXEC), ended, uses);
            other.kill().expect("psql ends");
            other.wait().expect("psql ends");
            postgres.psql(
                "orders",
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = \
                 'psql' and pid <> pg_backend_pid()",
            );
            wait_for("the other session is gone", || {
                postgres
                    .psql("orders", "select count(*) from pg_locks where mode = 'RowExclusiveLock'")
                    == "0"
            });
            let after = postgres.psql(
                "orders",
                "select md5(string_agg(o::text, ',' order by id)), (select count(*) from late) \
                 from orders o",
            );
            // The other session has committed its own row, to make ours fail.
            assert!(before == after || *helper == "40001", "{helper}: {before} {after}");
            assert_eq!(
                postgres.psql("orders", "select count(*) from orders where amount = 0"),
                "0",
                "{helper}"
            );
        }
    }
}

#[test]
fn a_change_that_mariadb_rejects_did_not_happen() {
    let server = MariaDb::start();
    server.sql(
        "use shop; create table t (id int primary key, n int) engine = innodb; insert into \
                t values (1, 1), (2, 1); create table big (id int primary key, n int) engine = \
                innodb; insert into big select seq, 0 from seq_1_to_500; set global \
                innodb_lock_wait_timeout = 50",
    );
    server.sql(
        "delimiter //\ncreate procedure shop.until_waited_for() begin while not exists \
                (select 1 from information_schema.innodb_trx where trx_state = 'LOCK WAIT') do do \
                sleep(0.2); end while; end//\ndelimiter ;",
    );
    let waiting = "select coalesce(max(trx_mysql_thread_id), 0) from information_schema.innodb_trx \
                   where trx_state = 'LOCK WAIT'";
    let cases = [
        FailureCase {
            code: "70100",
            statement: "update t set n = 0",
            target: "timeout = \"1s\"",
            expected_message: "the `timeout` of the target ended it, which is 1s (t.toml:",
        },
        FailureCase {
            code: "70100",
            statement: "update t set n = 0",
            target: "",
            expected_message: "somebody else stopped the statement on the server",
        },
        FailureCase {
            code: "HY000",
            statement: "update t set n = 0",
            target: "",
            expected_message: "Lock wait timeout exceeded",
        },
        FailureCase {
            code: "40001",
            statement: "update t set n = 0 where id in (1, 2) order by id desc",
            target: "",
            expected_message: "Deadlock found",
        },
        FailureCase {
            code: "23000",
            statement: "insert into t values (3, 1), (3, 1)",
            target: "",
            expected_message: "Duplicate entry",
        },
        FailureCase {
            code: "42000",
            statement: "update t set n = ",
            target: "",
            expected_message: "SQL syntax",
        },
        FailureCase {
            code: "42S02",
            statement: "update nothing set n = 0",
            target: "",
            expected_message: "doesn't exist",
        },
    ];
    let env = with_secret(mariadb::PASSWORD);
    for (uses, with) in VERBS {
        for ended in &cases {
            let address = format!(
                "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"",
                server.port
            );
            let statement = serde_json::to_string(&unknown_until_run_time(ended.statement))
                .expect("text is JSON, and a TOML string");
            write_runbook(
                &env,
                &address,
                ended.target,
                &with.replace("STATEMENT", &statement),
                uses,
            );
            let lock_wait = if ended.expected_message.starts_with("Lock wait") { 1 } else { 50 };
            server.sql(&format!("set global innodb_lock_wait_timeout = {lock_wait}"));
            // A larger transaction is not the one that is chosen to end a deadlock.
            let then = if ended.expected_message.starts_with("Deadlock") {
                "call until_waited_for(); update t set n = 7 where id = 2; do sleep(600)"
            } else {
                "do sleep(600)"
            };
            let mut other = server.session(&format!(
                "use shop; begin; update big set n = n + 1; update t set n = 7 where id = 1; \
                 select 'held'; {then}"
            ));
            let finished = std::thread::scope(|scope| {
                let run = scope.spawn(|| env.run(EXEC));
                if ended.expected_message.starts_with("somebody else") {
                    wait_for("it waits for the row", || server.query_transactions(waiting) != "0");
                    server.sql(&format!("kill query {}", server.sql(waiting)));
                }
                run.join().expect("the program ends")
            });
            assert_did_not_happen(&env, &finished, ended, uses);
            other.kill().expect("the client ends");
            other.wait().expect("the client ends");
            server.end_sessions();
            assert_eq!(
                server.sql("select group_concat(id, ':', n order by id) from shop.t"),
                "1:1,2:1",
                "{}",
                ended.expected_message
            );
        }
    }
}

#[test]
fn a_connection_that_is_killed_before_its_commit_did_nothing() {
    let server = MariaDb::start();
    server.sql(
        "use shop; create table t (id int primary key, n int) engine = innodb; insert into \
                t values (1, 1)",
    );
    let env = with_secret(mariadb::PASSWORD);
    let address = format!(
        "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"",
        server.port
    );
    write_runbook(&env, &address, "", "statement = \"update t set n = 0\"", "execute");
    let mut other =
        server.session("use shop; begin; update t set n = 7; select 'held'; do sleep(600)");
    let waiting = "select coalesce(max(trx_mysql_thread_id), 0) from information_schema.innodb_trx \
                   where trx_state = 'LOCK WAIT'";
    let finished = std::thread::scope(|scope| {
        let run = scope.spawn(|| env.run(&["exec", "t.toml", "-y"]));
        wait_for("it waits for the row", || server.query_transactions(waiting) != "0");
        server.sql(&format!("kill {}", server.sql(waiting)));
        run.join().expect("the program ends")
    });
    let said = "the connection was lost before COMMIT, so it did not happen";
    finished.status(1).out(said).without("unknown").without("cannot be reached").without("DIRTY");
    other.kill().expect("the client ends");
    other.wait().expect("the client ends");
    server.end_sessions();
    assert_eq!(server.sql("select n from shop.t"), "1");
}

/// Definitions commit by themselves. If the server refused one because of a name or a privilege, it
/// did not begin.
#[test]
fn a_rejected_definition_on_mariadb_did_not_happen_and_a_partial_one_may_have() {
    let server = MariaDb::start();
    server.sql(
        "use shop; create table t (id int primary key, n int, key i (n)); create table u \
                (id int); create table kept (id int); create table log (id int); create view v as \
                select 1 as a; create procedure p() select 1; create trigger tr before insert on u \
                for each row set @a = 1; create sequence s; create event e on schedule every 1 \
                year do set @a = 1; create database other; create table other.x (id int); create \
                function noted() returns int modifies sql data return last_insert_id()",
    );
    server.sql_each(
        "delimiter //\nuse shop//\n\
                     create definer = shop@'127.0.0.1' procedure half() begin insert into log \
                     values (1); insert into nosuch values (1); end//\n",
    );
    let env = with_secret(mariadb::PASSWORD);
    let target = format!(
        "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"\n",
        server.port
    );
    let asked = |texts: &[&str]| -> Vec<Statement> {
        texts
            .iter()
            .map(|text| Statement {
                target: target.clone(),
                operation: "execute",
                text: (*text).to_owned(),
            })
            .collect()
    };
    let state = "select md5(group_concat(x order by x)) from (select concat_ws('/', table_schema, \
                 table_name, column_name, column_type) as x from information_schema.columns where \
                 table_schema in ('shop', 'other') union all select concat_ws('/', table_name, \
                 index_name) from information_schema.statistics where table_schema = 'shop' union \
                 all select concat_ws('/', routine_name) from information_schema.routines where \
                 routine_schema = 'shop' union all select schema_name from \
                 information_schema.schemata union all select trigger_name from \
                 information_schema.triggers union all select event_name from \
                 information_schema.events) as all_of_it";
    let before = server.sql(state);
    let refused = asked(&[
        "alter table nosuch add column x int",
        "alter table t add column n int",
        "alter table t add index i (n)",
        "alter table t add index j (nosuch)",
        "alter table t add primary key (n)",
        "alter table t add column x int, drop column nosuch",
        "alter table t rename to u",
        "alter table other.x add column y int",
        "alter view nosuch as select 1",
        "alter event nosuch disable",
        "alter sequence nosuch restart 1",
        "alter procedure nosuch comment 'x'",
        "create table t (x int)",
        "create table fresh like nosuch",
        "create table fresh (x int, x int)",
        "create table nosuch.fresh (x int)",
        "create table other.fresh (x int)",
        "create index i on t (n)",
        "create index j on nosuch (n)",
        "create index j on t (nosuch)",
        "create view v as select 2",
        "create view fresh as select * from nosuch",
        "create trigger fresh before insert on nosuch for each row set @a = 1",
        "create trigger tr before insert on u for each row set @a = 1",
        "create procedure p() select 1",
        "create database other",
        "create sequence s",
        "create event e on schedule every 1 year do set @a = 1",
        "drop table nosuch",
        "drop table v",
        "drop table other.x",
        "drop view nosuch",
        "drop view t",
        "drop index nosuch on t",
        "drop index i on nosuch",
        "drop procedure nosuch",
        "drop function nosuch",
        "drop trigger nosuch",
        "drop event nosuch",
        "drop sequence nosuch",
        "drop sequence t",
        "drop database other",
        "rename table nosuch to fresh",
        "rename table t to u",
        "truncate nosuch",
        "truncate table other.x",
    ]);
    for (Statement { text, .. }, (done, told)) in refused.iter().zip(statements(&env, &refused)) {
        assert!(!done && told.contains("\"effect\":\"none\""), "`{text}`: {told}");
    }
    assert_eq!(server.sql(state), before);
    let in_part = asked(&["drop table kept, nosuch", "call half()"]);
    for (Statement { text, .. }, (done, told)) in in_part.iter().zip(statements(&env, &in_part)) {
        assert!(!done && !told.contains("\"effect\":\"none\""), "`{text}`: {told}");
    }
    assert_eq!(server.sql("select count(*) from shop.log"), "1");
    assert_ne!(server.sql(state), before, "a table that was there is gone");
}

/// A table of an engine without transactions keeps the rows from before the error, also if a
/// trigger writes to it in another database.
#[test]
fn a_change_that_mariadb_cannot_roll_back_is_not_reported_as_clean() {
    for (table, behind) in [
        ("create table t (id int primary key) engine = myisam", ""),
        (
            "create table t (id int primary key) engine = innodb",
            "create database other; create table other.log (id int) engine = myisam; grant all on \
             other.* to shop@'127.0.0.1'; create trigger t_log after insert on t for each row \
             insert into other.log values (new.id)",
        ),
    ] {
        let server = MariaDb::start();
        server.sql(&format!("use shop; {table}; {behind}"));
        let kept = if behind.is_empty() {
            "select count(*) from shop.t"
        } else {
            "select count(*) from other.log"
        };
        let env = with_secret(mariadb::PASSWORD);
        for (count, (uses, with)) in VERBS.iter().enumerate() {
            let address = format!(
                "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"",
                server.port
            );
            let id = count * 10 + 1;
            let statement = format!("\"insert into t values ({id}), ({}), ({id})\"", id + 1);
            write_runbook(&env, &address, "", &with.replace("STATEMENT", &statement), uses);
            let before = server.sql(kept);
            let finished = env.run(&["exec", "t.toml", "-y"]);
            assert_ne!(before, server.sql(kept), "something stays");
            let all = format!("{}{}", finished.stdout, finished.stderr);
            assert!(
                all.contains("what it had changed in a table without transactions stays"),
                "{all}"
            );
            assert!(!all.contains("No step had changed anything"), "{all}");
        }
    }
}

#[test]
fn a_change_that_sqlite_rejects_did_not_happen() {
    let env = crate::home();
    let database =
        rusqlite::Connection::open(env.path().join("data.db")).expect("a database can be made");
    database
        .execute_batch(
            "pragma journal_mode = delete; create table t (id integer primary key, n int not \
             null); insert into t values (1, 1), (2, 1); create table late (id int references t \
             deferrable initially deferred)",
        )
        .expect("good SQL");
    let endless = "insert into t (n) with recursive c(i) as (select 1 union all select i + 1 from \
                   c) select i from c";
    let cases = [
        (
            "",
            FailureCase {
                code: "sql.timeout",
                statement: endless,
                target: "timeout = \"1s\"",
                expected_message: "the `timeout` of the target ended it, which is 1s (t.toml:",
            },
        ),
        (
            "begin immediate",
            FailureCase {
                code: "sql.locked",
                statement: "update t set n = 0",
                target: "timeout = \"1s\"",
                expected_message: "database is locked",
            },
        ),
        // A reader blocks only the commit of a change.
        (
            "begin; select * from t",
            FailureCase {
                code: "sql.locked",
                statement: "update t set n = 0",
                target: "timeout = \"1s\"",
                expected_message: "database is locked",
            },
        ),
        (
            "",
            FailureCase {
                code: "sql.constraint",
                statement: "insert or fail into t values (3, 1), (4, 1), (3, 1)",
                target: "",
                expected_message: "UNIQUE",
            },
        ),
        (
            "",
            FailureCase {
                code: "sql.constraint",
                statement: "update t set n = case id when 2 then null else 0 end",
                target: "",
                expected_message: "NOT NULL",
            },
        ),
        (
            "",
            FailureCase {
                code: "sql.error",
                statement: "update t set n = ",
                target: "",
                expected_message: "incomplete input",
            },
        ),
        (
            "begin immediate",
            FailureCase {
                code: "sql.locked",
                statement: "create table made (a)",
                target: "timeout = \"1s\"",
                expected_message: "database is locked",
            },
        ),
    ];
    for (uses, with) in VERBS {
        for (other, ended) in &cases {
            let statement = serde_json::to_string(&unknown_until_run_time(ended.statement))
                .expect("text is JSON, and a TOML string");
            write_runbook(
                &env,
                "sql = \"sqlite:data.db\"",
                ended.target,
                &with.replace("STATEMENT", &statement),
                uses,
            );
            let text =
                env.read("t.toml").replace("[secrets.word]\nsource = \"age:s.age#word\"\n", "");
            env.file("t.toml", &text);
            let holder =
                rusqlite::Connection::open(env.path().join("data.db")).expect("it is there");
            let mut held = None;
            for part in other.split("; ").filter(|part| !part.is_empty()) {
                if part.starts_with("select") {
                    let mut statement = holder.prepare(part).expect("good SQL");
                    // Left in the middle of its rows, and so in its transaction.
                    held =
                        statement.query([]).expect("it reads").next().expect("a row").map(|_| ());
                } else {
                    holder.execute_batch(part).expect("good SQL");
                }
            }
            assert_eq!(held.is_some(), other.contains("select"));
            assert_did_not_happen(&env, &env.run(EXEC), ended, uses);
            drop(holder);
            let mut rows =
                database.prepare("select group_concat(id || ':' || n) from t").expect("good SQL");
            let rows: String = rows.query_row([], |row| row.get(0)).expect("a row");
            assert_eq!(rows, "1:1,2:1", "{}", ended.statement);
        }
    }
}
