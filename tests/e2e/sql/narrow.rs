//! A target that names relations or classes holds for what a statement reaches by a view, a function, a trigger or a foreign key, too.

use super::with_secret;
use runbook_tests::env::TestEnv;
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::postgres::{PASSWORD, Postgres};

const MARK: &str = "KEPT-FROM-CHECKS-77";

/// Runs one statement by one operation and returns what was printed, with the report.
fn statement(env: &TestEnv, target: &str, operation: &str, statement: &str) -> (bool, String) {
    let quoted = serde_json::to_string(statement).expect("text is JSON, and a TOML string");
    let input = if operation == "transaction" { format!("statements = [{quoted}]") } else { format!("statement = {quoted}") };
    let more = if operation == "query" { "" } else { "irreversible = \"it is a test\"\n" };
    env.file(
        "n.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"n\"\n[secrets.word]\nsource = \"age:s.age#word\"\n[targets.db]\n{target}\n\
             [[step]]\nid = \"s\"\nuses = \"sql:{operation}\"\nbind.db = \"db\"\nwith = {{ {input} }}\n{more}"
        ),
    );
    let finished = env.run(&["exec", "n.toml", "-y", "--report", "json=n.json"]);
    (finished.status == 0, format!("{}{}{}", finished.stdout, finished.stderr, env.read("n.json")))
}

#[test]
fn what_a_statement_reaches_through_others_is_held_to_the_target_on_postgresql() {
    let postgres = Postgres::start(1);
    postgres.psql(
        "orders",
        &format!(
            "drop table orders; create table customers (id int primary key, name text); insert into customers values (1, '{MARK}'); \
             create table orders (id int primary key, v text, customer int references customers); insert into orders values (1, 'a', 1); \
             create table lines (id int, an_order int references orders on delete cascade); insert into lines values (1, 1); \
             create table audit (v text); create table quiet (v text); \
             create view seen as select o.v, c.name from orders o join customers c on c.id = o.customer; \
             create function tells() returns text language plpgsql as 'begin return (select name from customers limit 1); end'; \
             create function changes() returns int language plpgsql as 'begin update customers set name = ''x''; return 1; end'; \
             create function adds() returns int language plpgsql as 'begin insert into orders values (9, ''z'', 1); return 1; end'; \
             create function noted() returns trigger language plpgsql as 'begin insert into audit values (new.v); return new; end'; \
             create trigger noted before insert on quiet for each row execute function noted(); \
             create table parts (id int) partition by range (id); create table parts_one partition of parts for values from (0) to (9); \
             create table \"Orders\" (v text); insert into \"Orders\" values ('{MARK}'); \
             grant all on all tables in schema public to orders_admin"
        ),
    );
    let env = with_secret(PASSWORD);
    let target = |more: &str| {
        format!("sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"\n{more}", postgres.port)
    };
    let named = |names: &str| target(&format!("relations = [{names}]"));
    for (names, operation, text) in [
        ("\"orders\"", "query", "select tells()"),
        ("\"orders\"", "query", "select v from orders where tells() is not null"),
        ("\"orders\"", "query", "select v from \"Orders\""),
        ("\"orders\"", "query", "select v from orders union all table customers"),
        ("\"orders\"", "execute", "select changes()"),
        ("\"orders\"", "transaction", "select changes()"),
        ("\"orders\"", "execute", "update orders set v = tells()"),
        ("\"orders\"", "transaction", "delete from orders where id = 1"),
        ("\"quiet\"", "execute", "insert into quiet values ('x')"),
        ("\"quiet\"", "transaction", "insert into quiet values ('x')"),
    ] {
        let (done, told) = statement(&env, &named(names), operation, text);
        assert!(!done && !told.contains(MARK), "`{text}` by {operation}: {told}");
    }
    let classes = target("statements = [\"select\"]");
    for operation in ["execute", "transaction"] {
        for text in ["select adds()", "select changes()", "select pg_notify('a', 'b')", "select setval('x', 1)"] {
            let (done, told) = statement(&env, &classes, operation, text);
            assert!(!done, "`{text}` by {operation}: {told}");
        }
    }
    let (done, told) = statement(&env, &target("statements = [\"select\", \"update\"]"), "transaction", "select adds()");
    assert!(!done, "{told}");
    let state = "select (select count(*) from orders), (select name from customers), (select count(*) from lines), (select count(*) from audit), (select count(*) from quiet)";
    assert_eq!(postgres.psql("orders", state), format!("1|{MARK}|1|0|0"));
    // A view, a partition and a foreign key belong to what is named.
    for (names, operation, text) in [
        ("\"seen\"", "query", "select v from seen"),
        ("\"orders\"", "query", "select v from orders where v = 'a'"),
        ("\"orders\"", "execute", "insert into orders values (2, 'b', 1)"),
        ("\"orders\"", "transaction", "update orders set v = 'c' where id = 2"),
        ("\"parts\"", "execute", "insert into parts values (1)"),
        ("\"parts\"", "query", "select id from parts"),
        ("\"quiet\", \"audit\"", "execute", "insert into quiet values ('x')"),
        ("\"orders\", \"lines\"", "execute", "delete from orders where id = 1"),
        ("'\"Orders\"'", "execute", "delete from \"Orders\""),
        ("\"orders\"", "execute", "vacuum orders"),
    ] {
        let (done, told) = statement(&env, &named(names), operation, text);
        assert!(done, "`{text}` by {operation}: {told}");
    }
}

/// The locks of a block that is rolled back are gone before anybody can ask for them, so no function that has one is called at all.
#[test]
fn a_function_that_hides_what_it_reads_is_not_called_by_any_name() {
    let postgres = Postgres::start(1);
    let hides = |name: &str, arguments: &str, returns: &str, value: &str| {
        format!(
            "create function {name}({arguments}) returns {returns} language plpgsql as $$ declare found text; begin \
             begin select c.name into found from customers c limit 1; raise exception using message = found; \
             exception when others then found := sqlerrm; end; return {value}; end $$;"
        )
    };
    let setup = [
        format!("drop table orders; create table customers (name text); insert into customers values ('{MARK}');"),
        "create table orders (id int, v text); insert into orders values (1, 'a'); create schema own; create type mood as (v text);"
            .to_owned(),
        hides("tells", "", "text", "found"),
        hides("told", "orders", "text", "found"),
        hides("abs", "orders", "text", "found"),
        hides("own.upper", "orders", "text", "found"),
        hides("joined", "text, text", "text", "found"),
        hides("cast_to_mood", "int", "mood", "row(found)::mood"),
        hides("step", "text, orders", "text", "found"),
        "create operator ## (leftarg = text, rightarg = text, function = joined);".to_owned(),
        "create cast (int as mood) with function cast_to_mood(int);".to_owned(),
        "create aggregate max(orders) (sfunc = step, stype = text);".to_owned(),
        "grant all on all tables in schema public to orders_admin; grant usage on schema own to orders_admin".to_owned(),
    ];
    postgres.psql("orders", &setup.join("\n"));
    let env = with_secret(PASSWORD);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"\nrelations = [\"orders\"]\n",
        postgres.port
    );
    for expression in [
        "tells()",
        "public.tells()",
        "\"tells\"()",
        "told(o)",
        "o.told",
        "(o).told",
        "abs(o)",
        "o.abs",
        "own.upper(o)",
        "o.v ## o.v",
        "o.v operator(public.##) o.v",
        "(o.id::mood).v",
        "cast(o.id as mood)",
        "max(o)",
        "pg_catalog.pg_get_viewdef(0)",
        "(16385)::regclass",
    ] {
        for operation in ["query", "transaction"] {
            let text = format!("select {expression} from orders o");
            let (done, told) = statement(&env, &target, operation, &text);
            assert!(!done && !told.contains(MARK), "`{text}` by {operation}: {told}");
        }
    }
    for expression in
        ["lower(o.v)", "count(*)", "min(o.id)", "o.id + 1", "o.v || 'x'", "o.id::text", "coalesce(o.v, '')", "now()"]
    {
        let (done, told) = statement(&env, &target, "query", &format!("select {expression} from orders o"));
        assert!(done, "`{expression}`: {told}");
    }
    // A name of the server's that somebody made a function of is called by nobody.
    let (done, told) = statement(&env, &target, "query", "select upper(o.v) from orders o");
    assert!(!done && told.contains("own.upper"), "{told}");
}

/// Of every function of the server's catalog: it is refused by name, or its answer does not depend on another table.
#[test]
fn no_function_of_the_catalog_that_is_let_through_answers_about_another_relation() {
    use runbook_authority::pattern::{Dialect, classify};
    let postgres = Postgres::start(1);
    let names = postgres.psql(
        "orders",
        "select string_agg(distinct proname, ' ') from pg_proc where pronamespace = 'pg_catalog'::regnamespace and prokind <> 'p'",
    );
    let is_let_through = |name: &&str| {
        let facts = classify(Dialect::Postgres, &format!("select pg_catalog.{name}(id) from orders"));
        facts.is_some_and(|facts| facts.relations.iter().all(|relation| relation == "orders"))
    };
    let let_through: Vec<&str> = names.split_whitespace().filter(is_let_through).collect();
    assert!(let_through.len() > 250, "{let_through:?}");
    for other in [
        "pg_relation_size",
        "currtid2",
        "pg_describe_object",
        "pg_get_functiondef",
        "pg_control_system",
        "pg_get_replication_slots",
        "pg_partition_root",
        "satisfies_hash_partition",
        "to_regclass",
        "col_description",
        "has_table_privilege",
        "query_to_xml",
        "pg_stat_get_live_tuples",
    ] {
        assert!(!let_through.contains(&other), "{other}");
    }
    // They wait, or take their time, for as long as they are told.
    let slow = ["pg_sleep", "pg_sleep_for", "pg_sleep_until", "factorial"];
    let list: Vec<String> = let_through.iter().filter(|name| !slow.contains(name)).map(|name| format!("'{name}'")).collect();
    let arguments = "case t when 'oid'::regtype then 'NUMBER::oid' when 'int4'::regtype then 'NUMBER::int4' \
                     when 'int8'::regtype then 'NUMBER::int8' when 'name'::regtype then '''vault''::name' \
                     when 'text'::regtype then '''vault''::text' when 'anyelement'::regtype then '''vault''::text' \
                     when '\"any\"'::regtype then 'NUMBER::oid' when 'bool'::regtype then 'true' when 'numeric'::regtype then '2::numeric' end";
    postgres.psql(
        "orders",
        &format!(
            "create table vault (a int primary key); insert into vault values (1), (2); \
             create function answer(call text) returns text language plpgsql as $$ declare found text; begin \
             execute 'select ' || call || '::text' into found; return coalesce(found, 'null'); \
             exception when others then return sqlstate; end $$; \
             create table calls as select p.proname || '(' || coalesce((select string_agg({arguments}, ', ' order by n) \
               from unnest(p.proargtypes) with ordinality as a(t, n)), '') || ')' as call \
             from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f' and not p.proretset \
             and p.proname in ({}) and p.pronargs between 1 and 4 and not exists \
               (select from unnest(p.proargtypes) as a(t) where ({arguments}) is null); \
             update calls set call = replace(call, 'NUMBER', 'vault'::regclass::oid::text)",
            list.join(", ")
        ),
    );
    let count: usize = postgres.psql("orders", "select count(*) from calls").trim().parse().expect("a number");
    assert!(count > 60, "{count} calls");
    let answers = || {
        let query =
            "select md5(call || answer(call)) || ' = ' || call || ' = ' || left(answer(call), 60) from calls order by call";
        postgres.psql("orders", query)
    };
    let with = answers();
    postgres.psql("orders", "drop table vault");
    let (with, without) = (with, answers());
    assert_eq!(with.lines().collect::<Vec<_>>(), without.lines().collect::<Vec<_>>());
}

#[test]
fn what_is_let_through_as_a_select_only_reads_on_mariadb() {
    let server = MariaDb::start();
    server.sql("create table shop.t (a int); insert into shop.t values (1)");
    let env = with_secret(mariadb::PASSWORD);
    let target = format!("sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"\n", server.port);
    let (done, told) = statement(
        &env,
        &target,
        "execute",
        "create function writes() returns int modifies sql data begin update t set a = 2; return 1; end",
    );
    assert!(done, "{told}");
    for operation in ["execute", "transaction"] {
        let (done, told) = statement(&env, &format!("{target}statements = [\"select\"]"), operation, "select writes()");
        assert!(!done, "{told}");
        let (done, told) = statement(&env, &format!("{target}relations = [\"t\"]"), operation, "select writes() from t");
        assert!(!done, "{told}");
    }
    assert_eq!(server.sql("select a from shop.t"), "1");
    let (done, told) =
        statement(&env, &format!("{target}statements = [\"select\"]\nrelations = [\"t\"]"), "query", "select max(a) from t");
    assert!(done, "{told}");
}

#[test]
fn what_a_statement_reaches_through_others_is_held_to_the_target_on_sqlite() {
    let env = with_secret("unused");
    let path = env.path().join("data.db");
    rusqlite::Connection::open(&path)
        .expect("a database can be made")
        .execute_batch(&format!(
            "create table customers (name text); insert into customers values ('{MARK}'); create table orders (v text); insert into orders values ('a'); \
             create table quiet (v text); create table audit (v text); create view seen as select name from customers; \
             create trigger noted after insert on quiet begin insert into audit values (new.v); end; create virtual table words using fts5(v); \
             insert into words values ('one two')"
        ))
        .expect("good SQL");
    let named = |names: &str| format!("sql = \"sqlite:data.db\"\nrelations = [{names}]");
    for (names, operation, text) in [
        ("\"orders\"", "query", "select name from customers"),
        ("\"orders\"", "query", "select v from orders union all select name from seen"),
        ("\"orders\"", "query", "select * from 'customers'"),
        ("\"orders\"", "query", "select * from [customers]"),
        ("\"quiet\"", "execute", "insert into quiet values ('x')"),
        ("\"orders\"", "transaction", "insert into orders select name from customers"),
        ("\"orders\"", "execute", "update orders set v = (select name from customers)"),
    ] {
        let (done, told) = statement(&env, &named(names), operation, text);
        assert!(!done && !told.contains(MARK), "`{text}` by {operation}: {told}");
    }
    for (names, operation, text) in [
        ("\"orders\"", "query", "select v from orders"),
        ("\"main.orders\"", "query", "select v from main.orders"),
        ("\"seen\"", "query", "select name from seen"),
        ("\"words\"", "query", "select v from words"),
        ("\"words\"", "execute", "insert into words values ('three')"),
        ("\"quiet\", \"audit\", \"noted\"", "execute", "insert into quiet values ('x')"),
        (
            "\"orders\", \"n\"",
            "query",
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3) select i from n",
        ),
    ] {
        let (done, told) = statement(&env, &named(names), operation, text);
        assert!(done, "`{text}` by {operation}: {told}");
    }
}
