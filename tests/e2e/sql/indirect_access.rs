//! The relations and classes of a target also limit what a statement reaches indirectly by a view,
//! a function, a trigger or a foreign key.

use super::{unknown_until_run_time, with_secret};
use runbook_tests::env::TestEnv;
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::postgres::{PASSWORD, Postgres};
use std::collections::BTreeMap;

const MARK: &str = "KEPT-FROM-CHECKS-77";

/// Runs one statement by one operation and returns what was printed, with the report.
fn statement(env: &TestEnv, target: &str, operation: &str, statement: &str) -> (bool, String) {
    let quoted = serde_json::to_string(&unknown_until_run_time(statement))
        .expect("text is JSON, and a TOML string");
    let input = if operation == "transaction" {
        format!("statements = [{quoted}]")
    } else {
        format!("statement = {quoted}")
    };
    let more = if operation == "query" { "" } else { "irreversible = \"it is a test\"\n" };
    env.file(
        "n.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"n\"\n[secrets.word]\n\
                  source = \"age:s.age#word\"\n[targets.db]\n{target}\n[[step]]\nid = \"s\"\n\
                  uses = \"sql:{operation}\"\nbind.db = \"db\"\nwith = {{ {input} }}\n{more}"
        ),
    );
    let finished = env.run(&["exec", "n.toml", "-y", "--report", "json=n.json"]);
    (finished.status == 0, format!("{}{}{}", finished.stdout, finished.stderr, env.read("n.json")))
}

/// A statement with its operation and its own target.
pub(super) struct Statement {
    pub(super) target: String,
    pub(super) operation: &'static str,
    pub(super) text: String,
}

/// Runs many statements in one run, each in its own step, and returns for each what [`statement`]
/// returns. Hundreds of statements take only seconds.
pub(super) fn statements(env: &TestEnv, asked: &[Statement]) -> Vec<(bool, String)> {
    let mut text = "format = 1\n[runbook]\nname = \"n\"\n[defaults]\non_failure = \"continue\"\n\
         [secrets.word]\nsource = \"age:s.age#word\"\n"
        .to_owned();
    for (number, Statement { target, operation, text: statement }) in asked.iter().enumerate() {
        let quoted = serde_json::to_string(&unknown_until_run_time(statement))
            .expect("text is JSON, and a TOML string");
        let input = if *operation == "transaction" {
            format!("statements = [{quoted}]")
        } else {
            format!("statement = {quoted}")
        };
        let more = if *operation == "query" { "" } else { "irreversible = \"it is a test\"\n" };
        text += &format!(
            "[targets.t{number}]\n{target}\n[[step]]\nid = \"s{number}\"\n\
             uses = \"sql:{operation}\"\nbind.db = \"t{number}\"\nwith = {{ {input} }}\n{more}"
        );
    }
    env.file("n.toml", &text);
    let finished = env.run(&["exec", "n.toml", "-y", "--report", "json=n.json"]);
    let report: serde_json::Value = serde_json::from_str(&env.read("n.json"))
        .unwrap_or_else(|_| panic!("{}{}", finished.stdout, finished.stderr));
    let steps = report["steps"].as_array().expect("a report has steps");
    assert_eq!(steps.len(), asked.len(), "{}{}", finished.stdout, finished.stderr);
    for printed in [&finished.stdout, &finished.stderr] {
        assert!(!printed.contains(MARK), "{printed}");
    }
    steps.iter().map(|step| (step["state"] == "succeeded", step.to_string())).collect()
}

#[test]
fn indirect_access_is_limited_by_the_target_on_postgresql() {
    let postgres = Postgres::start(1);
    postgres.psql(
        "orders",
        &format!(
            "drop table orders; create table customers (id int primary key, name text); \
                  insert into customers values (1, '{MARK}'); create table orders (id int primary \
                  key, v text, customer int references customers); insert into orders values (1, \
                  'a', 1); create table lines (id int, an_order int references orders on delete \
                  cascade); insert into lines values (1, 1); create table audit (v text); create \
                  table quiet (v text); create view seen as select o.v, c.name from orders o join \
                  customers c on c.id = o.customer; create function tells() returns text language \
                  plpgsql as 'begin return (select name from customers limit 1); end'; create \
                  function changes() returns int language plpgsql as 'begin update customers set \
                  name = ''x''; return 1; end'; create function adds() returns int language \
                  plpgsql as 'begin insert into orders values (9, ''z'', 1); return 1; end'; \
                  create function noted() returns trigger language plpgsql as 'begin insert into \
                  audit values (new.v); return new; end'; create trigger noted before insert on \
                  quiet for each row execute function noted(); create table parts (id int) \
                  partition by range (id); create table parts_one partition of parts for values \
                  from (0) to (9); create table \"Orders\" (v text); insert into \"Orders\" values \
                  ('{MARK}'); grant all on all tables in schema public to orders_admin"
        ),
    );
    let env = with_secret(PASSWORD);
    let target = |more: &str| {
        format!(
            "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"\n\
             {more}",
            postgres.port
        )
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
        for text in [
            "select adds()",
            "select changes()",
            "select pg_notify('a', 'b')",
            "select setval('x', 1)",
        ] {
            let (done, told) = statement(&env, &classes, operation, text);
            assert!(!done, "`{text}` by {operation}: {told}");
        }
    }
    let (done, told) = statement(
        &env,
        &target("statements = [\"select\", \"update\"]"),
        "transaction",
        "select adds()",
    );
    assert!(!done, "{told}");
    let state = "select (select count(*) from orders), (select name from customers), (select \
                 count(*) from lines), (select count(*) from audit), (select count(*) from quiet)";
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

/// A function that reads a table in a block that is rolled back, whose locks are gone before
/// anybody can ask for them.
fn function_that_hides_its_reads(
    name: &str,
    arguments: &str,
    returns: &str,
    value: &str,
) -> String {
    format!(
        "create function {name}({arguments}) returns {returns} language plpgsql as $$ declare \
             found text; begin begin select c.name into found from customers c limit 1; raise \
             exception using message = found; exception when others then found := sqlerrm; end; \
             {value}; end $$;"
    )
}

/// A function that reveals what it has read in an error message.
fn function_that_leaks_by_error(name: &str, arguments: &str, returns: &str) -> String {
    function_that_hides_its_reads(name, arguments, returns, "raise exception using message = found")
}

/// Statements that call a function indirectly, each with the SQL that prepares it.
fn indirect_function_calls() -> Vec<(String, String)> {
    let mut ways: Vec<(String, String)> = Vec::new();
    let mut way = |made: String, statement: &str| ways.push((made, statement.to_owned()));
    // By its name, or as an attribute of a row.
    way(
        function_that_hides_its_reads("tells", "", "text", "return found"),
        "select tells() from orders",
    );
    way(
        function_that_hides_its_reads("tells", "", "text", "return found"),
        "select public.\"tells\" () from orders",
    );
    way(
        function_that_hides_its_reads("json_tree", "text", "text", "return found"),
        "select x from json_tree('a') as x, orders",
    );
    for name in [
        "told",
        "\"lies mich\"",
        "\"größe\"",
        "\"a-b\"",
        "\"Told\"",
        "\"say \"\"it\"\"\"",
        "\"select\"",
        "abs",
        "_x$1",
    ] {
        for arguments in ["orders", "orders, int default 1", "anyelement", "variadic orders[]"] {
            // Each kind of arguments with one name, each name with one kind.
            if arguments != "orders" && name != "told" {
                continue;
            }
            for row in ["o", "(o)"] {
                way(
                    function_that_hides_its_reads(name, arguments, "text", "return found"),
                    &format!("select {row}.{name} from orders o"),
                );
            }
        }
    }
    let long = "l".repeat(63);
    way(
        function_that_hides_its_reads(&long, "orders", "text", "return found"),
        &format!("select o.{long}more from orders o"),
    );
    way(
        format!(
            "create schema own; {}",
            function_that_hides_its_reads("own.upper", "orders", "text", "return found")
        ),
        "select own.upper(o) from orders o",
    );
    // A value of a domain is checked, also inside of an array and a row.
    let domain = format!(
        "{} create domain known as text check (checks(value));",
        function_that_leaks_by_error("checks", "text", "boolean")
    );
    let row = format!("{domain} create type holder as (v known);");
    for statement in [
        "select 'x'::known",
        "select known 'x'",
        "select cast('x' as known)",
        "select '{x}'::known[]",
        "select '{x}'::_known",
        "select cast(v as known) from orders",
    ] {
        way(domain.clone(), statement);
    }
    for statement in [
        "select row('x')::holder",
        "select (json_populate_record(null::holder, '{\"v\": \"x\"}')).v",
    ] {
        way(row.clone(), statement);
    }
    // A function of the server's that runs a text.
    way(
        format!(
            "{} create domain known as text check (query_to_xml('select tells()', true, true, '') \
             is not null);",
            function_that_leaks_by_error("tells", "", "text")
        ),
        "select 'x'::known",
    );
    // A cast to a type by each of its names.
    for name in [
        "int",
        "integer",
        "int4",
        "bigint",
        "int8",
        "smallint",
        "int2",
        "boolean",
        "bool",
        "real",
        "float4",
        "float(3)",
        "float",
        "double precision",
        "float8",
        "decimal",
        "dec",
        "numeric",
        "char",
        "character",
        "character varying",
        "varchar",
        "bpchar",
        "\"char\"",
        "text",
        "name",
        "bytea",
        "timestamp with time zone",
        "timestamptz",
        "timestamp",
        "time with time zone",
        "timetz",
        "time",
        "date",
        "interval",
        "bit",
        "bit varying",
        "varbit",
        "json",
        "jsonb",
        "uuid",
        "xml",
    ] {
        let made = format!(
            "{} create cast (mood as {name}) with function casts(mood);",
            function_that_leaks_by_error("casts", "mood", name)
        );
        way(made, &format!("select cast(m.f as {name}) from moods m"));
    }
    let assigned = format!(
        "{} create cast (mood as int) with function casts(mood) as implicit;",
        function_that_leaks_by_error("casts", "mood", "int")
    );
    way(assigned, "select m.f + 1 from moods m");
    // An operator, also where it is written as a word.
    for (operator, expression) in [
        ("##", "m.f ## 'x'::text"),
        ("##", "m.f operator(public.##) 'x'::text"),
        ("~~", "m.f like 'x'::text"),
        ("!~~", "m.f not like 'x'::text"),
        ("~~*", "m.f ilike 'x'::text"),
        ("!~~*", "m.f not ilike 'x'::text"),
        ("~", "m.f similar to 'x'"),
        ("!~", "m.f not similar to 'x'"),
        ("=", "m.f in ('x'::text)"),
        ("<>", "m.f not in ('x'::text)"),
        ("=", "case m.f when 'x'::text then 1 end"),
        ("=", "nullif(m.f, 'x'::text)"),
        ("=", "m.f is distinct from 'x'::text"),
        ("=", "m.f = any (array['x'::text])"),
        ("<", "m.f < all (array['x'::text])"),
        (">=", "m.f between 'x'::text and 'y'::text"),
        ("<", "m.f not between 'x'::text and 'y'::text"),
        ("=", "m.f in (select o.v from orders o)"),
    ] {
        // Some words need two of them.
        let operators = if operator.contains(['<', '>']) {
            vec!["<", "<=", ">", ">=", "<>"]
        } else {
            vec![operator]
        };
        let made = format!(
            "{} {}",
            function_that_leaks_by_error("compares", "mood, text", "boolean"),
            operators
                .iter()
                .map(|operator| format!(
                    "create operator {operator} (leftarg = mood, rightarg = text, function = \
                     compares);"
                ))
                .collect::<String>()
        );
        way(made, &format!("select {expression} from moods m"));
    }
    let joined = format!(
        "{} create operator = (leftarg = mood, rightarg = mood, function = compares);",
        function_that_leaks_by_error("compares", "mood, mood", "boolean")
    );
    for from in ["moods join pairs using (f)", "moods natural join pairs"] {
        way(joined.clone(), &format!("select 1 from {from}"));
    }
    // An aggregate with the name of one of the server's.
    let aggregate = format!(
        "{} create aggregate max(orders) (sfunc = steps, stype = text);",
        function_that_hides_its_reads("steps", "text, orders", "text", "return found")
    );
    for call in ["max(o)", "max (o)", "\"max\"(o)", "public.max(o)"] {
        way(aggregate.clone(), &format!("select {call} from orders o"));
    }
    // An order of its own, which only a superuser can make.
    let operators = ["<<<", "<<=", "===", ">>=", ">>>"];
    let made = operators
        .map(|name| {
            format!("create operator {name} (leftarg = mood, rightarg = mood, function = less);")
        })
        .concat();
    let class = format!(
        "{} create function less(mood, mood) returns boolean language sql as 'select false'; \
         {made} create operator class moody default for type mood using btree as operator 1 <<<, \
         operator 2 <<=, operator 3 ===, operator 4 >>=, operator 5 >>>, function 1 ranks(mood, \
         mood);",
        function_that_leaks_by_error("ranks", "mood, mood", "int")
    );
    for statement in [
        "select f from moods order by f",
        "select f from (select f from moods union all select f from moods) as moods order by f",
    ] {
        way(class.clone(), statement);
    }
    ways
}

/// Each statement is first run on the server, where it must reveal the hidden text, and then by a
/// step, where it must not. Each has its own database, so that the expected statement is refused.
#[test]
fn a_function_that_hides_its_reads_cannot_be_called_indirectly() {
    let postgres = Postgres::start(1);
    postgres.psql(
        "orders",
        &format!(
            "drop table orders; create table customers (name text); insert into customers \
                  values ('{MARK}'); create table orders (id int, v text); insert into orders \
                  values (1, 'a'); create type mood as (v text); create table moods (f mood); \
                  insert into moods values (row('a')), (row('b')); create table pairs (f mood); \
                  insert into pairs values (row('a')); grant all on all tables in schema public to \
                  orders_admin"
        ),
    );
    let env = with_secret(PASSWORD);
    let target = |database: &str| {
        format!(
            "sql = \"postgres://orders_admin@127.0.0.1:{}/{database}\"\n\
             password = \"secret:word\"\n\
             relations = [\"orders\", \"moods\", \"pairs\", \"holder\"]\n",
            postgres.port
        )
    };
    let (mut databases, mut asked) = (BTreeMap::new(), Vec::new());
    for (number, (made, text)) in indirect_function_calls().into_iter().enumerate() {
        let count = databases.len();
        let database = databases.entry(made.clone()).or_insert_with(|| {
            let database = format!("way_{count}");
            postgres.psql(
                "postgres",
                &format!("create database {database} template orders owner orders_admin"),
            );
            postgres.psql(&database, &made);
            database
        });
        let (Ok(shown) | Err(shown)) = postgres.try_psql(database, &text);
        assert!(shown.contains(MARK), "`{text}` does not reach `{made}`: {shown}");
        if number % 8 == 0 {
            asked.push(Statement {
                target: target(database),
                operation: "transaction",
                text: text.clone(),
            });
        }
        asked.push(Statement { target: target(database), operation: "query", text });
    }
    for (Statement { text, operation, .. }, (done, told)) in
        asked.iter().zip(statements(&env, &asked))
    {
        assert!(
            !done && told.contains("\"class\":\"denied\"") && !told.contains(MARK),
            "`{text}` by {operation}: {told}"
        );
    }
    let expressions = [
        "lower(o.v)",
        "count(*)",
        "min(o.id)",
        "o.id + 1",
        "o.v || 'x'",
        "o.id::text",
        "coalesce(o.v, '')",
        "now()",
        "o.v like 'a'",
        "'x'::plain",
        "'[1,2]'::scale",
    ];
    // What leads to nothing of somebody's own is in nobody's way.
    postgres.psql(
        "orders",
        &format!(
            "create domain plain as text check (length(value) < 9 and value ~ '^\\w+$' and value \
             <> 'y'); create type scale as range (subtype = int); create type small as enum ('s'); \
             create function v(int) returns int language sql as 'select 1'; create operator ## \
             (leftarg = int, rightarg = int, function = int4pl); {} revoke execute on function \
             hidden(int, int) from public; create operator ### (leftarg = int, rightarg = int, \
             function = hidden); create extension if not exists citext",
            function_that_hides_its_reads("hidden", "int, int", "int", "return 1")
        ),
    );
    let text = |expression| format!("select {expression} from orders o");
    let asked = expressions.map(|expression| Statement {
        target: target("orders"),
        operation: "query",
        text: text(expression),
    });
    for (Statement { text, .. }, (done, told)) in asked.iter().zip(statements(&env, &asked)) {
        assert!(done, "`{text}`: {told}");
    }
}

/// Types such as `regclass` show names of the catalog, and row types show the columns of a
/// relation.
#[test]
fn no_type_reveals_names_or_columns_of_another_relation() {
    let postgres = Postgres::start(1);
    postgres.psql(
        "orders",
        "drop table orders; create table orders (id int, v text, secrets int); insert into orders \
         values (1, 'a', 2); create table secrets (id int, hidden_column text); create domain \
         alias as oid; create domain of_types as regtype; create domain of_rows as secrets; create \
         type of_names as (a regclass); create type span as range (subtype = regclass); grant all \
         on all tables in schema public to orders_admin",
    );
    let types = postgres.psql(
        "orders",
        "select string_agg(typname, ' ') from pg_type where typname ~ '^_?reg' and oid < 16384",
    );
    assert!(types.split_whitespace().count() >= 22, "{types}");
    let env = with_secret(PASSWORD);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"\n\
         relations = [\"orders\"]\n",
        postgres.port
    );
    let oid = postgres.psql("orders", "select 'secrets'::regclass::oid");
    let row = postgres.psql("orders", "select 'secrets'::regtype::oid");
    let mut refused: Vec<String> =
        types.split_whitespace().map(|name| format!("select null::{name} from orders")).collect();
    refused.extend([
        format!("select {}::regtype::text from orders", row.trim()),
        format!(
            "select coalesce(nullif(pg_typeof(1), pg_typeof(1)), {})::text from orders",
            row.trim()
        ),
        format!("select '{{{}}}'::_regclass::text from orders", oid.trim()),
        format!("select {}::oid::of_types::text from orders", row.trim()),
        format!("select json_populate_record(null::of_names, '{{\"a\": {}}}')::text", oid.trim()),
        format!("select '[{0},{0}]'::span::text", oid.trim()),
    ]);
    for name in ["secrets", "public.secrets", "\"secrets\"", "_secrets", "of_rows"] {
        refused.push(format!("select to_json(null::{name})"));
        refused.push(format!("select to_json(cast(null as {name}))"));
        refused.push(format!("select json_populate_record(null::{name}, '{{\"id\": 1}}')::text"));
    }
    refused.push("select to_json(secrets '(1,x)')".to_owned());
    refused.push(
        "select to_json(x.a) from json_to_record('{\"a\": {\"id\": 1}}') as x(a secrets)"
            .to_owned(),
    );
    let queries = |texts: Vec<String>| -> Vec<Statement> {
        texts
            .into_iter()
            .map(|text| Statement { target: target.clone(), operation: "query", text })
            .collect()
    };
    let asked = queries(refused);
    for (Statement { text, .. }, (done, told)) in asked.iter().zip(statements(&env, &asked)) {
        assert!(!done && !told.contains("hidden_column"), "`{text}`: {told}");
    }
    postgres.psql("orders", "drop domain of_types, of_rows; drop type span, of_names");
    let asked = queries(vec![
        "select secrets, orders.secrets from orders where secrets > 1 order by secrets".to_owned(),
        "select id::alias from orders".to_owned(),
        "select json_populate_record(null::orders, '{}')::text".to_owned(),
    ]);
    for (Statement { text, .. }, (done, told)) in asked.iter().zip(statements(&env, &asked)) {
        assert!(done, "`{text}`: {told}");
    }
}

/// A function that creates, drops or truncates needs the class `define`.
#[test]
fn definitions_and_truncations_by_functions_are_limited_by_the_classes_on_postgresql() {
    let postgres = Postgres::start(1);
    let effects = [
        "truncate wiped",
        "truncate wiped restart identity",
        "drop table victim",
        "drop function spare()",
        "drop view seen",
        "create table made (x int)",
        "create temp table made (x int)",
        "create function made() returns int language sql as 'select 1'",
        "create or replace view seen as select 2 as x",
        "create index made on wiped (x)",
        "create schema made",
        "create type made as (x int)",
        "create sequence made",
        "alter table wiped add y int",
        "alter table wiped rename to other",
        "alter table wiped enable row level security",
        "alter table wiped set (fillfactor = 50)",
        "alter function spare() rename to other",
        "alter default privileges grant select on tables to public",
        "grant select on wiped to public",
        "comment on table wiped is 'x'",
        "create rule made as on insert to wiped do nothing",
        "refresh materialized view kept",
        "reindex table wiped",
        "cluster wiped using wiped_x",
        "analyze wiped",
        "create statistics made on x, z from wiped",
        "alter sequence wiped_x_seq increment 2",
        "create domain made as int",
    ];
    let mut setup =
        "create table wiped (x serial, z int); create index wiped_x on wiped (x); insert into \
         wiped select i, i from generate_series(1, 9) i; create table victim (x int); create view \
         seen as select 1 as x; create function spare() returns int language sql as 'select 1'; \
         create materialized view kept as select 1 as x; create table log (x int); analyze \
         wiped;"
            .to_owned();
    for (number, effect) in effects.iter().enumerate() {
        setup += &format!(
            "create function act_{number}() returns int language plpgsql as $act$ begin {effect}; \
             return 1; end $act$; create function quietly_{number}() returns int language plpgsql \
             as $act$ begin begin {effect}; exception when division_by_zero then null; end; return \
             1; end $act$;"
        );
    }
    // As the role that the steps have, so that it may do all of this.
    postgres.psql(
        "orders",
        &format!("grant create on schema public to orders_admin; set role orders_admin; {setup}"),
    );
    let env = with_secret(PASSWORD);
    let target = |classes: &str| {
        format!(
            "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"\n\
             statements = [{classes}]\n",
            postgres.port
        )
    };
    let state = "select md5(string_agg(t, ',' order by t)) from (select c::text from pg_class c \
                 union all select p::text from pg_proc p union all select n::text from \
                 pg_namespace n union all select d::text from pg_description d union all select \
                 a::text from pg_default_acl a union all select t::text from pg_type t union all \
                 select t::text from pg_trigger t union all select s::text from pg_sequence s \
                 union all select w.x::text from wiped w union all select s.starelid || \
                 'statistics' from pg_statistic s where starelid >= 16384) as a(t)";
    let before = postgres.psql("orders", state);
    let mut asked = Vec::new();
    for number in 0..effects.len() {
        for (call, operation) in [("act", "execute"), ("quietly", "transaction")] {
            let text = format!("insert into log select {call}_{number}()");
            asked.push(Statement {
                target: target("\"insert\", \"select\", \"update\", \"delete\""),
                operation,
                text,
            });
        }
    }
    for (number, (done, told)) in statements(&env, &asked).into_iter().enumerate() {
        assert!(
            !done && told.contains("sql.statement"),
            "`{}` by {}: {told}",
            effects[number / 2],
            asked[number].operation
        );
    }
    assert_eq!(postgres.psql("orders", state), before);
    // Of its own words it does what the classes name.
    let asked = [
        ("\"delete\"", "execute", "truncate log"),
        ("\"delete\"", "transaction", "truncate wiped restart identity"),
        ("\"delete\"", "execute", "delete from log"),
        ("\"maintain\"", "transaction", "analyze wiped"),
        ("\"maintain\"", "transaction", "reindex table wiped"),
        ("\"maintain\"", "execute", "vacuum wiped"),
        ("\"insert\"", "transaction", "insert into wiped (z) values (1)"),
        ("\"define\"", "execute", "create table made (x int)"),
        ("\"define\", \"insert\", \"select\"", "execute", "insert into log select act_0()"),
        ("\"select\", \"other\"", "execute", "select lo_from_bytea(0, 'x')"),
    ]
    .map(|(classes, operation, text)| Statement {
        target: target(classes),
        operation,
        text: text.to_owned(),
    });
    for (Statement { text, operation, .. }, (done, told)) in
        asked.iter().zip(statements(&env, &asked))
    {
        assert!(done, "`{text}` by {operation}: {told}");
    }
}

/// A name that is built-in in one spelling can be a stored function in another.
#[test]
fn a_stored_function_with_the_name_of_a_built_in_one_is_not_called_on_mariadb() {
    use runbook_authority::pattern::{Dialect, pure_functions};
    let server = MariaDb::start();
    server.sql(&format!(
        "create table shop.secrets (password text); insert into shop.secrets values ('{MARK}'); \
         create table shop.orders (id int); insert into shop.orders values (1)"
    ));
    let env = with_secret(mariadb::PASSWORD);
    let target = format!(
        "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"\n\
         relations = [\"orders\"]\n",
        server.port
    );
    // A name that this server takes for no function of somebody's own is refused here already.
    let names: Vec<&str> = pure_functions(Dialect::MySql).collect();
    let made = |name: &&str| {
        format!(
            "create function shop.`{name}`(x int) returns text reads sql data return (select \
                 max(password) from shop.secrets);"
        )
    };
    server.sql_each(&names.iter().map(made).collect::<String>());
    let spellings: Vec<String> = names
        .iter()
        .flat_map(|name| {
            [
                format!("`{name}`(1)"),
                format!("{name} (1)"),
                format!("{name}/**/(1)"),
                format!("{name}(1)"),
                format!("shop.{name}(1)"),
                format!("shop.`{name}` (1)"),
            ]
        })
        .collect();
    let text = |call: &str| format!("select {call} as v from shop.orders");
    let all: String = spellings
        .iter()
        .enumerate()
        .map(|(number, call)| format!("{};", text(&format!("{number}, {call}"))))
        .collect();
    let told = server.sql_each(&format!("use shop; {all}"));
    let reached: Vec<&String> = told
        .lines()
        .filter_map(|line| spellings.get(line.strip_suffix(MARK)?.trim().parse::<usize>().ok()?))
        .collect();
    assert!(
        reached.len() > 100,
        "{} of {} spellings lead to a stored function",
        reached.len(),
        spellings.len()
    );
    let query = |call: &str| Statement {
        target: target.clone(),
        operation: "query",
        text: text(call).replace("shop.orders", "orders"),
    };
    let asked: Vec<Statement> = reached.iter().map(|call| query(call)).collect();
    for (Statement { text, .. }, (done, told)) in asked.iter().zip(statements(&env, &asked)) {
        assert!(!done && !told.contains(MARK), "`{text}`: {told}");
    }
    server.sql(
        &names
            .iter()
            .map(|name| format!("drop function if exists shop.`{name}`;"))
            .collect::<String>(),
    );
    let asked =
        ["count(*)", "max(id)", "concat(id, 'x')", "if(id = 1, 2, 3)", "left('abc', 2)"].map(query);
    for (Statement { text, .. }, (done, told)) in asked.iter().zip(statements(&env, &asked)) {
        assert!(done, "`{text}`: {told}");
    }
}

/// Every function of the server's catalog is refused by name, or its result does not depend on
/// another table.
#[test]
fn no_allowed_catalog_function_reveals_another_relation() {
    use runbook_authority::pattern::{Dialect, classify};
    let postgres = Postgres::start(1);
    let names = postgres.psql(
        "orders",
        "select string_agg(distinct proname, ' ') from pg_proc where pronamespace = \
         'pg_catalog'::regnamespace and prokind <> 'p'",
    );
    let is_let_through = |name: &&str| {
        let facts =
            classify(Dialect::Postgres, &format!("select pg_catalog.{name}(id) from orders"));
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
    let list: Vec<String> = let_through
        .iter()
        .filter(|name| !slow.contains(name))
        .map(|name| format!("'{name}'"))
        .collect();
    let arguments = "case t when 'oid'::regtype then 'NUMBER::oid' when 'int4'::regtype then \
                     'NUMBER::int4' when 'int8'::regtype then 'NUMBER::int8' when 'name'::regtype \
                     then '''vault''::name' when 'text'::regtype then '''vault''::text' when \
                     'anyelement'::regtype then '''vault''::text' when '\"any\"'::regtype then \
                     'NUMBER::oid' when 'bool'::regtype then 'true' when 'numeric'::regtype then \
                     '2::numeric' end";
    postgres.psql(
        "orders",
        &format!(
            "create table vault (a int primary key); insert into vault values (1), (2); create \
             function answer(call text) returns text language plpgsql as $$ declare found text; \
             begin execute 'select ' || call || '::text' into found; return coalesce(found, \
             'null'); exception when others then return sqlstate; end $$; create table calls as \
             select p.proname || '(' || coalesce((select string_agg({arguments}, ', ' order by n) \
             from unnest(p.proargtypes) with ordinality as a(t, n)), '') || ')' as call from \
             pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f' and \
             not p.proretset and p.proname in ({}) and p.pronargs between 1 and 4 and not exists \
             (select from unnest(p.proargtypes) as a(t) where ({arguments}) is null); update calls \
             set call = replace(call, 'NUMBER', 'vault'::regclass::oid::text)",
            list.join(", ")
        ),
    );
    let count: usize =
        postgres.psql("orders", "select count(*) from calls").trim().parse().expect("a number");
    assert!(count > 60, "{count} calls");
    let answers = || {
        let query = "select md5(call || answer(call)) || ' = ' || call || ' = ' || \
                     left(answer(call), 60) from calls order by call";
        postgres.psql("orders", query)
    };
    let with = answers();
    postgres.psql("orders", "drop table vault");
    let (with, without) = (with, answers());
    assert_eq!(with.lines().collect::<Vec<_>>(), without.lines().collect::<Vec<_>>());
}

#[test]
fn a_statement_allowed_as_select_only_reads_on_mariadb() {
    let server = MariaDb::start();
    server.sql("create table shop.t (a int); insert into shop.t values (1)");
    let env = with_secret(mariadb::PASSWORD);
    let target = format!(
        "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"\n",
        server.port
    );
    let (done, told) = statement(
        &env,
        &target,
        "execute",
        "create function writes() returns int modifies sql data begin update t set a = 2; return \
         1; end",
    );
    assert!(done, "{told}");
    for operation in ["execute", "transaction"] {
        let (done, told) = statement(
            &env,
            &format!("{target}statements = [\"select\"]"),
            operation,
            "select writes()",
        );
        assert!(!done, "{told}");
        let (done, told) = statement(
            &env,
            &format!("{target}relations = [\"t\"]"),
            operation,
            "select writes() from t",
        );
        assert!(!done, "{told}");
    }
    assert_eq!(server.sql("select a from shop.t"), "1");
    let (done, told) = statement(
        &env,
        &format!("{target}statements = [\"select\"]\nrelations = [\"t\"]"),
        "query",
        "select max(a) from t",
    );
    assert!(done, "{told}");
}

#[test]
fn indirect_access_is_limited_by_the_target_on_sqlite() {
    let env = with_secret("unused");
    let path = env.path().join("data.db");
    rusqlite::Connection::open(&path)
        .expect("a database can be made")
        .execute_batch(&format!(
            "create table customers (name text); insert into customers values ('{MARK}'); create \
             table orders (v text); insert into orders values ('a'); create table quiet (v text); \
             create table audit (v text); create view seen as select name from customers; create \
             trigger noted after insert on quiet begin insert into audit values (new.v); end; \
             create virtual table words using fts5(v); insert into words values ('one two')"
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
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3) select i \
             from n",
        ),
    ] {
        let (done, told) = statement(&env, &named(names), operation, text);
        assert!(done, "`{text}` by {operation}: {told}");
    }
}

/// A statement that the gate would deny is reported at its line before a run. A statement with a
/// template is not known yet.
#[test]
fn a_statement_that_its_target_never_allows_is_found_by_validate() {
    let env = crate::home();
    for (narrowed, with, is_found) in [
        ("relations = [\"orders\"]", "statement = \"delete from secrets\"", true),
        ("relations = [\"orders\"]", "statement = \"select count(*) from orders\"", false),
        ("relations = [\"orders\"]", "statement = \"select * from {{ params.x }}\"", false),
        (
            "relations = [\"orders\"]",
            "statements = [\"delete from orders\", \"delete from secrets\"]",
            true,
        ),
        ("statements = [\"select\"]", "statement = \"drop table orders\"", true),
        (
            "statements = [\"delete\"]",
            "statement = \"delete from orders; drop table orders\"",
            true,
        ),
        ("statements = [\"define\"]", "statement = \"drop table orders\"", false),
        ("", "statement = \"drop table orders\"", false),
    ] {
        let operation = if with.starts_with("statements") { "transaction" } else { "execute" };
        let undo = "undo = \
                    { uses = \"sql:execute\", bind.db = \"all\", with = { statement = \"drop table t\" } }";
        env.file(
            "v.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"v\"\n[params.x]\ntype = \"string\"\n\
                 default = \"a\"\n[targets.all]\nsql = \"sqlite:v.db\"\n[targets.db]\n\
                 sql = \"sqlite:v.db\"\n{narrowed}\n[[step]]\nid = \"s\"\n\
                 uses = \"sql:{operation}\"\nbind.db = \"db\"\nwith = {{ {with} }}\n{undo}\n"
            ),
        );
        let finished = env.run(&["validate", "v.toml"]);
        let told = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(
            told.contains("E0237") && told.contains("v.toml:"),
            is_found,
            "{narrowed}, {with}: {told}"
        );
        assert_eq!(finished.status == 0, !is_found, "{narrowed}, {with}: {told}");
    }
}
