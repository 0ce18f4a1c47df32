//! SQL on every database: a query cannot write, whatever the statement is, and every type arrives
//! as a value.

mod certificates;
mod commit;
mod earlier_session;
mod indirect_access;
mod server_errors;
mod sqlite;
mod validated_statements;
mod wire;

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::postgres::{PASSWORD, Postgres};

/// Makes a statement a template, so that `validate` does not know it and the checks at run time are
/// tested.
fn unknown_until_run_time(statement: &str) -> String {
    format!("{{{{ '' }}}}{statement}")
}

/// Runs a runbook with one preflight that runs `statement` as a query.
fn query(env: &TestEnv, target: &str, statement: &str) -> runbook_tests::env::ProgramOutput {
    let quoted = serde_json::to_string(&unknown_until_run_time(statement))
        .expect("text is JSON, and a TOML string");
    let text = format!(
        "format = 1\n[runbook]\nname = \"q\"\n[secrets.word]\nsource = \"age:s.age#word\"\n\
                 [targets.db]\n{target}\n[[preflight]]\nid = \"q\"\nuses = \"sql:query\"\n\
                 bind.db = \"db\"\nwith = {{ statement = {quoted} }}\n"
    );
    env.file("q.toml", &text);
    env.run(&["exec", "q.toml", "--report", "json=q.json"])
}

fn with_secret(password: &str) -> TestEnv {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#word"], password).status(0);
    env
}

/// The first row of the last query.
fn first_row(env: &TestEnv) -> serde_json::Value {
    let report: serde_json::Value =
        serde_json::from_str(&env.read("q.json")).expect("the report is JSON");
    report["steps"][0]["output"]["rows"][0].clone()
}

const POSTGRES_WRITES: &[&str] = &[
    "update t set a = 2",
    "delete from t",
    "insert into t values (9)",
    "truncate t",
    "drop table t",
    "create table x (a int)",
    "create temp table x (a int)",
    "select 1; update t set a = 2",
    "select 1; commit; update t set a = 2",
    "commit",
    "rollback; update t set a = 2",
    "end; update t set a = 2",
    "set transaction read write",
    "set session characteristics as transaction read write",
    "begin read write; update t set a = 2; commit",
    "with x as (update t set a = 2 returning a) select * from x",
    "with x as (delete from t returning a) select * from x",
    "with x as (insert into t values (7) returning a) select * from x",
    "select * into y from t",
    "select * from t for update",
    "select * from t for share",
    "copy t to stdout",
    "copy t to '/tmp/rb-out'",
    "copy t from program 'true'",
    "do $$ begin update t set a = 2; end $$",
    "call nothing()",
    "explain analyze update t set a = 2",
    "show all",
    "vacuum t",
    "lock table t",
    "notify x",
    "listen x",
    "select 1) ; drop table t; --",
    "select 1 /* ; */ ; /* */ delete from t",
    "prepare p as delete from t",
    "execute p",
    "declare c cursor for select 1",
    "fetch all from runbook_cursor",
    "select nextval('s')",
    "select setval('s', 99)",
    "select pg_read_file('/etc/passwd')",
    "select pg_ls_dir('/')",
    "select lo_import('/etc/passwd')",
    "refresh materialized view m",
    "alter system set work_mem = '1MB'",
    "grant all on t to public",
    "security label on table t is 'x'",
    "savepoint a; update t set a = 2",
    "select 1\u{0};",
    // Functions with side effects that write to no table.
    "select pg_terminate_backend(pid) from pg_stat_activity",
    "select \"pg_terminate_backend\"(1)",
    "select pg_catalog.pg_cancel_backend(1)",
    "select u&\"pg\\005fterminate_backend\"(1)",
    "select pg_notify('c', 'x')",
    "select set_config('statement_timeout', '0', false)",
    "select pg_reload_conf()",
    "select pg_switch_wal()",
    "select pg_logical_emit_message(false, 'a', 'b')",
    "select lo_export(1, '/tmp/rb-out')",
    "select dblink_exec('dbname=orders', 'delete from t')",
    "select query_to_xml('delete from t returning a', true, true, '')",
    "select query_to_xml_and_xmlschema('select pg_notify(''c'', ''x'')', true, true, '')",
    "select * from ts_stat('delete from t returning a')",
    "select pg_create_physical_replication_slot('s')",
    "select pg_stat_reset()",
    "select pg_file_write('x', 'y', false)",
    "select/**/pg_promote()",
    "table t for update",
    "values (1) for update; delete from t",
    "merge into t using t as u on false when not matched then insert values (1)",
    "create function f() returns int language sql as 'delete from t returning a'",
    "reindex table t",
    "cluster t",
    "comment on table t is 'x'",
    "discard all",
    "reset all",
    "set role postgres",
    "checkpoint",
    "import foreign schema x from server y into z",
];

/// Reading statements that must work on every database.
const READS: &[&str] = &[
    "select a from t",
    "SELECT A FROM T",
    "select count(*) from t where a between 0 and 10",
    "select a, count(*) from t group by a having count(*) > 0 order by a limit 5",
    "with x as (select a from t) select * from x",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select sum(i) \
     from n",
    "select * from t as one join t as two on one.a = two.a",
    "select * from t where exists (select 1 from t)",
    "select case when a = 1 then 'one' else 'other' end from t",
    "select 'delete from t; drop table t' as text from t",
    "select a as \"update\" from t",
    "-- a comment\nselect a from t",
    "/* a comment */ select a from t",
    "select coalesce(null, a) from t union select 2 union all select 3",
    "select upper('x'), length('abc'), abs(-1)",
    "values (1), (2)",
];

#[test]
fn no_statement_writes_through_a_query_on_postgresql() {
    let postgres = Postgres::start(1);
    postgres.psql(
        "orders",
        "create table t (a int); alter table t owner to orders_admin; insert into t values (1); \
         create sequence s; alter sequence s owner to orders_admin",
    );
    let env = with_secret(PASSWORD);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"",
        postgres.port
    );
    query(&env, &target, "select a from t").status(0);
    for statement in POSTGRES_WRITES {
        let finished = query(&env, &target, statement);
        assert_ne!(finished.status, 0, "`{statement}` was answered\n{}", finished.stdout);
        let found = postgres.psql(
            "orders",
            "select count(*), sum(a), (select last_value from s), (select count(*) from pg_class \
             where relname in ('x', 'y')) from t",
        );
        assert_eq!(found, "1|1|1|0", "`{statement}` changed something");
    }
    for statement in READS {
        query(&env, &target, statement).status(0);
    }
    // PostgreSQL 15 lets a read-only transaction make a large object; the rollback takes it away.
    query(&env, &target, "select lo_create(0)");
    assert_eq!(postgres.psql("orders", "select count(*) from pg_largeobject_metadata"), "0");
}

#[test]
fn every_postgresql_type_arrives_as_a_value() {
    let postgres = Postgres::start(1);
    let env = with_secret(PASSWORD);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"",
        postgres.port
    );
    let statement = "select true as b, 5::int2 as i2, 9007199254740993::int8 as i8, 1.5::float8 as \
                     f, 12.50::numeric as n, 'NaN'::numeric as nan, 'x'::text as t, \
                     '\\x00ff'::bytea as y, '2026-11-20 21:50:00+00'::timestamptz as tz, \
                     'infinity'::timestamptz as inf, '294276-12-31'::timestamp as far, \
                     '2026-11-20'::date as d, '21:50'::time as tm, \
                     '6f1c1c5e-5b0e-4f6e-8f5e-000000000001'::uuid as u, '{\"a\": [1]}'::jsonb as \
                     j, array[1, null, 3] as arr, array['a b', 'c'] as texts, '1 day'::interval as \
                     iv, '10.0.0.0/8'::inet as net, null::int as nothing";
    query(&env, &target, statement).status(0);
    let expected = serde_json::json!({
        "b": true, "i2": 5, "i8": 9_007_199_254_740_993_i64, "f": 1.5, "n": "12.50", "nan": "NaN", "t": "x", "y": "00ff",
        "tz": "2026-11-20T21:50:00Z", "inf": "infinity", "far": "294276-12-31T00:00:00", "d": "2026-11-20", "tm": "21:50:00",
        "u": "6f1c1c5e-5b0e-4f6e-8f5e-000000000001", "j": { "a": [1] }, "arr": [1, null, 3], "texts": ["a b", "c"],
        "iv": "P1D", "net": "10.0.0.0/8", "nothing": null,
    });
    assert_eq!(first_row(&env), expected);
}

#[test]
fn a_superuser_is_refused_because_nothing_is_read_only_for_one() {
    let postgres = Postgres::start(1);
    let env = with_secret("postgres-word");
    let target = format!(
        "sql = \"postgres://postgres@127.0.0.1:{}/orders\"\npassword = \"secret:word\"",
        postgres.port
    );
    query(&env, &target, "select 1").status(4).err("superuser").without("postgres-word");
    query(&env, &format!("{target}\nsuperuser = true"), "select 1 as one").status(0);
}

#[test]
fn roles_as_good_as_a_superuser_are_refused_on_postgresql() {
    let postgres = Postgres::start(1);
    let env = with_secret(PASSWORD);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"",
        postgres.port
    );
    query(&env, &target, "select 1").status(0);
    postgres.psql("postgres", "create role middle; create role top superuser");
    for (give, take, reason) in [
        (
            "alter role orders_admin createrole",
            "alter role orders_admin nocreaterole",
            "CREATEROLE",
        ),
        ("alter role orders_admin bypassrls", "alter role orders_admin nobypassrls", "BYPASSRLS"),
        (
            "alter role orders_admin replication",
            "alter role orders_admin noreplication",
            "REPLICATION",
        ),
        (
            "grant pg_execute_server_program to orders_admin",
            "revoke pg_execute_server_program from orders_admin",
            "run programs",
        ),
        (
            "grant pg_write_server_files to orders_admin",
            "revoke pg_write_server_files from orders_admin",
            "write files",
        ),
        (
            "grant pg_read_server_files to orders_admin",
            "revoke pg_read_server_files from orders_admin",
            "read files",
        ),
        (
            "grant pg_execute_server_program to middle; grant middle to orders_admin",
            "revoke middle from orders_admin",
            "run programs",
        ),
        (
            "alter role orders_admin noinherit; grant top to orders_admin",
            "revoke top from orders_admin",
            "superuser",
        ),
    ] {
        postgres.psql("postgres", give);
        query(&env, &target, "select 1").status(4).err(reason);
        query(&env, &format!("{target}\nsuperuser = true"), "select 1").status(0);
        postgres.psql("postgres", take);
        query(&env, &target, "select 1").status(0);
    }
}

#[test]
fn users_as_good_as_a_superuser_are_refused_on_mariadb() {
    let server = MariaDb::start();
    let env = with_secret(mariadb::PASSWORD);
    let target = format!(
        "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"",
        server.port
    );
    query(&env, &target, "select 1").status(0);
    server
        .sql("create role middle; create role top; grant file on *.* to top; grant top to middle");
    for (give, take) in [
        ("grant file on *.* to shop@'127.0.0.1'", "revoke file on *.* from shop@'127.0.0.1'"),
        ("grant super on *.* to shop@'127.0.0.1'", "revoke super on *.* from shop@'127.0.0.1'"),
        (
            "grant create user on *.* to shop@'127.0.0.1'",
            "revoke create user on *.* from shop@'127.0.0.1'",
        ),
        ("grant update on *.* to shop@'127.0.0.1'", "revoke update on *.* from shop@'127.0.0.1'"),
        (
            "grant insert on mysql.* to shop@'127.0.0.1'",
            "revoke insert on mysql.* from shop@'127.0.0.1'",
        ),
        ("grant middle to shop@'127.0.0.1'", "revoke middle from shop@'127.0.0.1'"),
    ] {
        server.sql(give);
        query(&env, &target, "select 1").status(4).err("privilege");
        query(&env, &format!("{target}\nsuperuser = true"), "select 1").status(0);
        server.sql(take);
        query(&env, &target, "select 1").status(0);
    }
}

const SQLITE_WRITES: &[&str] = &[
    "update t set a = 2",
    "delete from t",
    "insert into t values (9) returning a",
    "drop table t",
    "create table x (a)",
    "create temp table x (a)",
    "select 1; delete from t",
    "vacuum",
    "vacuum into 'copy.db'",
    "attach 'other.db' as o",
    "attach '/etc/passwd' as o",
    "detach main",
    "pragma query_only = off",
    "pragma user_version = 5",
    "pragma journal_mode = delete",
    "pragma writable_schema = on",
    "with x as (select 1) delete from t",
    "with x as (select 1) insert into t select * from x",
    "replace into t values (1)",
    "reindex",
    "analyze",
    "begin immediate",
    "commit",
    "savepoint a",
    "select load_extension('x')",
    "select writefile('out', 'x')",
    "explain delete from t; delete from t",
    "create trigger r after insert on t begin delete from t; end",
    "alter table t rename to u",
    "insert into t select 1 union select 2",
    "update or replace t set a = 3",
    "with recursive n as (select 1) update t set a = 4",
    "create view v as select 1",
    "create virtual table v using fts5(a)",
    "create index j on t (a)",
    "drop index i",
    "pragma main.user_version = 7",
    "pragma user_version(8)",
    "pragma wal_checkpoint(truncate)",
    "pragma application_id = 3",
    "pragma incremental_vacuum",
    "pragma optimize",
    "pragma temp_store_directory = '/tmp'",
    "pragma trusted_schema = on",
    "attach ':memory:' as m",
    "attach database 'file:other.db?mode=rwc' as o",
    "rollback to a",
    "release a",
    "end transaction",
    "select edit(a) from t",
    "select fts3_tokenizer('x', x'00')",
    "values (1); delete from t",
    "-- nothing\ndelete from t",
];

#[test]
fn no_statement_writes_through_a_query_on_sqlite() {
    let env = with_secret("unused");
    let path = env.path().join("data.db");
    let count = || -> (i64, i64, i64) {
        let database = rusqlite::Connection::open(&path).expect("the database is there");
        let version =
            database.query_row("pragma user_version", [], |row| row.get(0)).expect("a number");
        database
            .query_row("select count(*), sum(a) from t", [], |row| {
                Ok((row.get(0)?, row.get(1)?, version))
            })
            .expect("one row")
    };
    rusqlite::Connection::open(&path)
        .expect("a database can be made")
        .execute_batch("create table t (a); create index i on t (a); insert into t values (1)")
        .expect("good SQL");
    query(&env, "sql = \"sqlite:data.db\"", "select a from t").status(0);
    query(&env, "sql = \"sqlite:data.db\"", "select * from pragma_table_info('t')").status(0);
    for statement in READS {
        query(&env, "sql = \"sqlite:data.db\"", statement).status(0);
    }
    for statement in SQLITE_WRITES {
        let finished = query(&env, "sql = \"sqlite:data.db\"", statement);
        assert_ne!(finished.status, 0, "`{statement}` was answered\n{}", finished.stdout);
        assert_eq!(count(), (1, 1, 0), "`{statement}` changed something");
    }
    for file in ["copy.db", "other.db", "out"] {
        assert!(!env.path().join(file).exists(), "{file} was made");
    }
}

#[test]
fn a_query_that_never_ends_is_stopped_at_its_deadline() {
    let env = with_secret("unused");
    rusqlite::Connection::open(env.path().join("data.db"))
        .expect("a database can be made")
        .execute_batch("create table t (a)")
        .expect("good SQL");
    let forever =
        "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    let start = std::time::Instant::now();
    query(&env, "sql = \"sqlite:data.db\"\ntimeout = \"1s\"", forever).status(4);
    assert!(start.elapsed() < std::time::Duration::from_secs(6));
}

const MARIADB_WRITES: &[&str] = &[
    "update t set a = 2",
    "delete from t",
    "insert into t values (9)",
    "insert into t values (9) returning a",
    "replace into t values (9)",
    "truncate t",
    "drop table t",
    "create table x (a int)",
    "create temporary table x (a int)",
    "alter table t add b int",
    "select 1; update t set a = 2",
    "commit",
    "start transaction read write",
    "set transaction read write",
    "set session transaction read write",
    "set global max_connections = 5",
    "set @a = 1",
    "select a into @x from t",
    "select * from t into outfile '/tmp/rb-mariadb-out'",
    "select load_file('/etc/passwd')",
    "load data infile '/etc/passwd' into table t",
    "do sleep(0)",
    "call nothing()",
    "lock tables t write",
    "flush tables",
    "analyze table t",
    "optimize table t",
    "grant all on shop.* to x",
    "prepare p from 'delete from t'",
    "/*! delete from t */",
    "select 1 /*!; delete from t */",
    "with x as (select 1) delete from t",
    "handler t open",
    "kill 1",
    "kill query 1",
    "# nothing\ndelete from t",
    "/*M! delete from t */",
    "select 1 /*!50000 into @x */",
    "select get_lock('a', 0)",
    "select release_all_locks()",
    "select nextval(t)",
    "select * from t into dumpfile '/tmp/rb-mariadb-out'",
    "(select 1) union (select 2 into @x)",
    "select a from t for update; delete from t",
    "rename table t to u",
    "create view v as select 1",
    "create event e on schedule every 1 second do delete from t",
    "create trigger g before insert on t for each row delete from t",
    "execute immediate 'delete from t'",
    "begin not atomic delete from t; end",
    "if 1 then delete from t; end if",
    "install plugin x soname 'y'",
    "set password = password('x')",
    "set role none",
    "use mysql",
    "purge binary logs before now()",
    "reset query cache",
    "change master to master_host = 'x'",
    "shutdown",
    "cache index t in c",
    "repair table t",
    "drop database shop",
    "xa start 'a'",
    "savepoint a",
    "unlock tables",
    "explain delete from t; delete from t",
    "analyze delete from t",
];

#[test]
fn no_statement_writes_through_a_query_on_mariadb() {
    let server = MariaDb::start();
    // The user may write files, so that only the checks of the host are tested.
    server.sql(
        "create table shop.t (a int); insert into shop.t values (1); grant file on *.* to \
                shop@'127.0.0.1'",
    );
    let env = with_secret(mariadb::PASSWORD);
    let target = format!(
        "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"\nsuperuser = true",
        server.port
    );
    query(&env, &target, "select a from t").status(0);
    query(&env, &target, "show tables").status(0);
    for statement in READS
        .iter()
        .filter(|statement| !statement.contains("\"update\"") && !statement.contains("FROM T"))
    {
        query(&env, &target, statement).status(0);
    }
    for statement in MARIADB_WRITES {
        let finished = query(&env, &target, statement);
        assert_ne!(finished.status, 0, "`{statement}` was answered\n{}", finished.stdout);
        assert_eq!(
            server.sql("select count(*), sum(a) from shop.t"),
            "1\t1",
            "`{statement}` changed something"
        );
        assert_eq!(server.sql("show tables from shop"), "t", "`{statement}` made something");
    }
    let values = "select cast(12.50 as decimal(10,2)) as n, true as b, 18446744073709551615 as \
                  big, 'x' as t, x'00ff' as y, timestamp'2026-11-20 21:50:00' as at, \
                  date'2026-11-20' as d, null as nothing";
    query(&env, &target, values).status(0);
    let row = first_row(&env);
    assert_eq!(
        (&row["n"], &row["big"], &row["at"], &row["d"], &row["y"]),
        (
            &"12.50".into(),
            &"18446744073709551615".into(),
            &"2026-11-20T21:50:00".into(),
            &"2026-11-20".into(),
            &"00ff".into()
        ),
        "{row}"
    );
}

#[test]
fn a_result_is_cut_at_the_rows_and_the_bytes_of_the_target() {
    let env = with_secret("unused");
    rusqlite::Connection::open(env.path().join("data.db"))
        .expect("a database can be made")
        .execute_batch("create table t (a); insert into t values ('one'), ('two'), ('three')")
        .expect("good SQL");
    let report = |more: &str| -> serde_json::Value {
        query(&env, &format!("sql = \"sqlite:data.db\"\n{more}"), "select a from t");
        let report: serde_json::Value =
            serde_json::from_str(&env.read("q.json")).expect("the report is JSON");
        report["steps"][0].clone()
    };
    assert_eq!(report("")["output"]["rows"].as_array().map(Vec::len), Some(3));
    // A truncated result is marked or is a fault.
    for limit in ["max_rows = 2", "max_bytes = \"40B\""] {
        let step = report(limit);
        let is_told = step["output"]["truncated"] == true || step["fault"].is_object();
        assert!(
            is_told && step["output"]["rows"].as_array().is_none_or(|rows| rows.len() < 3),
            "{limit}: {step}"
        );
    }
}

#[test]
fn a_database_file_is_made_only_where_the_target_says_so() {
    let env = with_secret("unused");
    let write = |more: &str| {
        env.file(
            "w.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"w\"\n[targets.db]\nsql = \"sqlite:new.db\"\n\
                 {more}\n[[step]]\nid = \"w\"\nuses = \"sql:transaction\"\nbind.db = \"db\"\n\
                 with = {{ statements = [\"create table t (a)\"] }}\nirreversible = \"x\"\n"
            ),
        );
        env.run(&["exec", "w.toml"])
    };
    write("").status(1).out("it is made by a change, where its target says");
    assert!(!env.path().join("new.db").exists());
    write("create = true").status(0);
    assert!(env.path().join("new.db").exists());
}

/// As they stand, and with databases of this machine in place of those that they name.
#[test]
fn the_examples_of_the_page_about_sql_targets_do_what_they_say() {
    let page = include_str!("../../docs/targets/sql.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let examples: Vec<&str> = blocks.collect();
    assert_eq!(examples.len(), 3);
    let (env, postgres) = (crate::home(), runbook_tests::postgres::Postgres::start(3));
    env.run(&["secret", "keygen"]).status(0);
    let password = runbook_tests::postgres::PASSWORD;
    env.run_with_input(&["secret", "set", "prod.age#orders"], password).status(0);
    env.file("backups/readme.txt", "copies");
    let shop = rusqlite::Connection::open(env.path().join("shop.db")).expect("a database");
    shop.execute_batch("create table items (name text); insert into items values ('book')")
        .expect("it is made");
    drop(shop);
    let here = format!("127.0.0.1:{}", postgres.port);
    for example in examples {
        env.file("example.toml", example);
        env.run(&["validate", "example.toml"]).status(0);
        let local = example
            .replace("db.internal:5432", &here)
            .replace("addresses = [\"private\"]", "addresses = [\"loopback\"]");
        env.file("local.toml", &local);
        let verb = if example.contains("[[check]]") { "check" } else { "exec" };
        env.run(&[verb, "local.toml"]).status(0);
    }
    let items = postgres.psql("orders", "select id, item = 'book' from orders order by id");
    assert_eq!(items.trim(), "1|t\n3|f");
    assert!(env.path().join("backups/shop.db.zst").is_file());
}
