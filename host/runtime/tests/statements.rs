//! What the gate lets through of statements that are made by a grammar, run on real servers, which then say what was touched.
//!
//! The gate alone is on trial here: no cursor, no transaction that only reads. `RUNBOOK_SEED` and `RUNBOOK_CASES` choose others than
//! those that always run.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_authority::gate::{Decision, Operation, decide};
use runbook_authority::{Mode, Verb};
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::postgres::Postgres;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use std::collections::{BTreeMap, BTreeSet};
use support::{effective, manifest, manifest_with_slot};

const CLASSES: &[&str] = &["select", "insert", "update", "delete", "define", "maintain"];

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Postgres,
    MariaDb,
}

/// Statements by a grammar, over a table that is granted and others that are not.
struct Grammar {
    server: Server,
    state: u64,
    depth: u32,
}

impl Grammar {
    fn new(server: Server, seed: u64) -> Self {
        Self { server, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, depth: 0 }
    }

    fn next(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from((self.state >> 11) % below as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len())]
    }

    /// One of what fits the server: each text begins with `p`, `m` or `b` (both) and a space.
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let wanted = if self.server == Server::Postgres { 'p' } else { 'm' };
        let fitting: Vec<&str> = of.iter().filter(|text| text.starts_with([wanted, 'b'])).map(|text| &text[2..]).collect();
        self.one(&fitting)
    }

    fn classes(&mut self) -> Vec<&'static str> {
        // Definitions are dear to undo on MariaDB.
        CLASSES.iter().copied().filter(|class| if *class == "define" { self.next(5) == 0 } else { self.next(3) > 0 }).collect()
    }

    /// Fills every `<rule>` of a text, again and again.
    fn fill(&mut self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(begin) = rest.find('<') {
            let Some(length) = rest[begin..].find('>') else { break };
            let rule = &rest[begin + 1..begin + length];
            if rule.is_empty() || !rule.chars().all(|c| c.is_ascii_lowercase()) {
                filled += &rest[..=begin];
                rest = &rest[begin + 1..];
                continue;
            }
            filled += &rest[..begin];
            self.depth += 1;
            filled += &self.rule(rule);
            self.depth -= 1;
            rest = &rest[begin + length + 1..];
        }
        filled + rest
    }

    fn rule(&mut self, rule: &str) -> String {
        let deep = self.depth > 6;
        let text = match rule {
            "table" => self.pick(&[
                "b orders", "b orders", "b orders", "b orders", "b orders", "b ORDERS", "b secrets", "b vault", "p \"orders\"",
                "p \"Orders\"", "m `orders`", "m `secrets`", "p public.orders", "p public.secrets", "p other.orders", "m shop.orders",
                "m shop.secrets", "m other.orders", "p only orders", "p only secrets", "p \"secrets\"", "b seen", "p pg_class",
                "m information_schema.tables", "b ids", "p orders *", "m orders partition (p0)",
            ]),
            "expression" if deep => self.one(&["1", "v", "id", "null", "'x'", "n + 1"]),
            "expression" => self.pick(&[
                "b 1", "b v", "b id", "b null", "b n + 1", "b 'secrets'", "b (<query>)", "b (select max(v) from <table>)",
                "b case when exists (<query>) then 1 else 2 end", "b coalesce((select v from <table> limit 1), 'x')", "b count(*)",
                "b <expression> in (<query>)", "b <expression> = any (<query>)", "p array(<query>)", "p (table <table>)",
                "p (select x from (table <table>) as x limit 1)::text", "p table_to_xml('secrets', true, true, '')",
                "p query_to_xml('select * from secrets', true, true, '')", "p nextval('ids')", "m nextval(ids)", "m next value for ids",
                "p setval('ids', 5)", "p 'secrets'::regclass::text", "m reads_secrets()", "m writes_secrets()", "m @a := 1",
                "m load_file('/etc/hostname')", "b upper(v)", "p (orders).v", "p row(v, (<query>))::text", "p lo_from_bytea(0, 'x')",
                "p exists (with w as (<query>) select 1 from w)", "m json_value('{}', '$.a')", "m \"v\"", "p E'a\\'b'",
                "p $a$ from secrets $a$", "m (select v from orders procedure analyse())", "b cast(n as char(3))",
                "p count(*) filter (where exists (<query>))", "p max((select v from <table> limit 1)) over ()",
                "b (values (1))", "m values(v)", "m (table <table>)", "b 1 --1\n", "b 1 /* from secrets */", "m 1 # from secrets\n",
                "m 1 /*! + (select max(n) from <table>) */", "m 1 /*M! + (select max(n) from <table>) */",
                "m 1 /*!50000 union select v from secrets */", "p 1 /* /* */ + (select max(n) from secrets) */ */",
            ]),
            "source" if deep => self.fill("<table>").leak(),
            "source" => self.pick(&[
                "b <table>", "b <table>", "b <table>", "b <table> as x", "b (<query>) as x", "b <table> as x join <table> as y on true",
                "b <table> as x, <table> as y", "b <table> as x left join (<query>) as y on true", "p lateral (<query>) as x",
                "p generate_series(1, 2) as g(v)", "p orders as x cross join lateral (select * from <table> limit 1) as y",
                "p <table> as x tablesample system (50)", "p rows from (generate_series(1, 2)) as g(v)", "b (<source>)",
                "m <table> as x natural join <table> as y", "m <table> as x straight_join <table> as y", "m { oj <table> as x left join <table> as y on true }",
                "m json_table('[1]', '$[*]' columns (v int path '$')) as x", "p xmltable('/a' passing '<a/>' columns v text) as x",
                "p query_to_xml('select * from secrets', true, true, '') as x", "p unnest(array(<query>)) as u(v)",
                "b (values (1, 2, 3)) as x(id, v, n)", "m <table> use index (primary)", "p pg_stats",
            ]),
            "arm" => self.pick(&[
                "b select <items> from <source>", "b select <items> from <source> where <condition>", "b values (1, 'x', 2)",
                "b table <table>", "b (<query>)", "b select <expression>", "b select v from <source> group by v having <condition>",
                "b select distinct v from <source>", "p select all v from <source>", "m select sql_calc_found_rows v from <source>",
                "m select high_priority v from <source>", "p select distinct on (v) v from <source>",
                "p select v, rank() over (order by (select 1 from <table> limit 1)) from <source>",
            ]),
            "items" => self.one(&["v", "*", "count(*)", "<expression>", "v, <expression>", "(select 1 from <table> limit 1) as a"]),
            "condition" if deep => self.one(&["true", "id = 1", "v is null"]),
            "condition" => self.pick(&[
                "b true", "b id = 1", "b exists (<query>)", "b id in (select id from <table>)", "b not (<condition>)",
                "b <condition> and <condition>", "b v = (select max(v) from <table>)", "b <expression> is null", "b 1 = 1 or <condition>",
                "p (id, v) in (table <table>)", "m id between 1 and (select max(id) from <table>)", "p v ~ (select max(v) from <table>)",
            ]),
            "query" if deep => self.one(&["select v from <table>", "select 1"]),
            "query" => self.pick(&[
                "b <arm>", "b <arm>", "b <arm>", "b <arm> union all <arm>", "b <arm> union <arm>", "b <arm> except <arm>", "b <arm> intersect <arm>",
                "b <arm> order by (select 1 from <table> limit 1)", "b <arm> limit 1", "b with w as (<query>) <arm>", "p <arm> limit (select 1 from <table> limit 1)",
                "p with w as materialized (<query>) select * from w", "b with recursive w(a) as (select 1 union all select a + 1 from w where a < 3) <arm>",
                "p with w as (<change>) select * from w", "p with w as (<change>) <arm>", "b <arm> for update", "p <arm> for key share", "m <arm> lock in share mode",
                "p <arm> fetch first 1 row only", "m <arm> union all table <table>", "p <arm> union all table <table>", "p table <table> union <arm>",
                "b with orders as (<query>) select v from orders", "b with secrets as (<query>) select v from secrets",
            ]),
            "change" => self.pick(&[
                "p insert into <table> (id, v) select id + 100, v from <source> returning v", "p update <table> set v = 'x' returning v",
                "p delete from <table> where <condition> returning v", "b update <table> set v = (select max(v) from <table>) where <condition>",
                "b insert into <table> (id, v) values (7, 'x')", "b insert into <table> (id, v, n) <query>", "b delete from <table> where <condition>",
                "p insert into <table> (id, v) values (1, 'x') on conflict (id) do update set v = 'PWNED'", "p insert into <table> (id, v) values (1, 'x') on conflict do nothing",
                "m insert into <table> (id, v) values (1, 'x') on duplicate key update v = 'PWNED'", "m replace into <table> (id, v) values (1, 'x')",
                "m insert ignore into <table> (id, v) values (1, 'x')", "m insert into <table> set id = 9, v = (select max(v) from <table> as z)",
                "m update <table> as x join <table> as y on x.id = y.id set y.v = 'PWNED'", "m update <table> as x, <table> as y set x.v = y.v",
                "m delete x from <table> as x join <table> as y on x.id = y.id", "m delete x, y from <table> as x join <table> as y on x.id = y.id",
                "m delete from x using <table> as x join <table> as y", "p update <table> as x set v = y.v from <source> y where <condition>",
                "p delete from <table> as x using <table> as y where x.id = y.id",
                "p merge into <table> as x using <table> as y on x.id = y.id when matched then update set v = y.v when not matched then insert (id, v) values (y.id, y.v)",
                "p merge into <table> as x using (<query>) as y on true when matched then delete", "b with w as (<query>) <change>",
                "p insert into <table> (id, v) table <table>", "b truncate <table>", "b truncate table <table>", "p truncate <table>, <table>",
                "p truncate <table> cascade", "p update only <table> set v = 'x'", "m delete from <table> returning (select max(v) from vault)",
                "m insert into <table> (id, v) values ((select max(id) from <table> as q) + 50, 'x') returning v",
            ]),
            "maintain" => self.pick(&[
                "p analyze <table>", "p analyze <table>, <table>", "p analyze verbose <table>", "p analyze <table>(v), <table>", "p analyze (verbose) <table>",
                "p reindex table <table>", "p reindex (verbose) table <table>", "m analyze table <table>", "m analyze table <table>, <table>",
                "m analyze <change>", "m analyze <change> # orders", "m analyze format=json <query>", "m optimize table <table>", "m optimize table <table>, <table>",
                "m check table <table>", "m check table <table>, <table> quick", "m repair table <table>", "m repair local table <table>, <table>", "m checksum table <table>",
                "m analyze <query>", "p cluster <table>", "p refresh materialized view <table>", "p vacuum <table>", "m analyze table <table> persistent for all",
            ]),
            "define" => self.pick(&[
                "b create table made as <query>", "b create table orders as <query>", "p create table made (like <table>)", "m create table made like <table>",
                "b create view made as <query>", "b create view orders as <query>", "b create index i on <table> (n)", "b drop table <table>", "b drop table <table>, <table>",
                "p drop table <table> cascade", "b alter table <table> add column z int", "p alter table <table> add foreign key (id) references <table> (id)",
                "m alter table <table> add foreign key (id) references <table> (id)", "b alter table <table> rename to made", "p create table made () inherits (<table>)",
                "m rename table <table> to made", "p comment on table <table> is 'x'", "p grant select on <table> to public", "p grant all on all tables in schema public to public",
                "p create table made (x bigint references <table>)", "p create table made (x int default (nextval('ids')))", "b create or replace view seen as <query>",
                "p create rule r as on insert to orders do also delete from <table>", "p create materialized view made as <query>", "p alter table <table> alter column n type text using (v)",
                "p create trigger t before insert on <table> for each row execute function f()", "p drop index secrets_pkey", "p drop view seen cascade", "m drop index i on <table>",
                "p alter table <table> drop column n cascade", "p create temp table orders as <query>", "m create table made (x int) engine=merge union=(<table>)", "p drop schema other cascade",
                "p create policy p on <table> using (exists (<query>))", "p alter table orders inherit <table>", "p create table made partition of <table> default", "p create unlogged table orders as table <table>",
            ]),
            "look" => self.pick(&[
                "b explain <query>", "b explain <change>", "p explain analyze <change>", "p explain (analyze) <change>", "p explain (analyze true, verbose) <query>", "p explain (verbose) <query>",
                "p explain (analyze) create table made as <query>", "p explain (analyze on) create table orders as <query>", "m explain extended <query>", "m explain format=json <query>",
                "m show index from <table>", "m show columns from <table>", "m show create table <table>", "m show tables", "m describe <table>", "m show keys in <table>", "m show fields from <table> where <condition>",
                "p copy <table> to stdout", "p copy (<query>) to stdout", "p lock table <table>", "m lock tables <table> write", "m do (select max(v) from <table>)", "m handler <table> open",
                "m call writes()", "p do $$ begin delete from secrets; end $$", "p declare c cursor for <query>", "p prepare x as <query>", "m set @x = (select max(v) from <table>)",
                "p select v into made from <source>", "m select v from <source> into @x", "m select v into @x from <source> limit 1", "m <query> into outfile '/tmp/x'", "p values ((<query>))", "m execute immediate 'delete from secrets'",
                "m help 'select'", "p show all", "p show work_mem", "m show variables like 'x'", "p listen x", "m begin not atomic delete from secrets; end", "m kill 99999", "m flush tables",
            ]),
            "decorated" => self.pick(&[
                "m /*! <change> */", "m /*M! <change> */", "m /*M! insert into log */ <query>", "m /*M! delete from secrets where 1 or v in ( */ <query> /*M! ) */", "m <query> /*M! into @x */",
                "m <query> /*! union all select v from secrets */", "b <query>; <change>", "b <query>;", "b -- x\n<query>", "b /* x */ <change>", "m # x\n<change>", "b (<query>)", "b ((<query>))",
                "b <query> -- from secrets", "p <query> /* /* */ union table secrets -- */", "m <query> --1", "b <query> /* open", "m <change> # <query>", "b <change> -- <query>",
            ]),
            "statement" => self.one(&["<query>", "<query>", "<query>", "<change>", "<change>", "<maintain>", "<define>", "<look>", "<decorated>"]),
            other => panic!("no rule `{other}`"),
        };
        self.fill(text)
    }
}

/// Whether the gate lets a statement through on a target that grants `orders`, what `seen` shows of it, and some classes.
fn is_let_through(server: Server, classes: &[&str], statement: &str) -> bool {
    let manifest = manifest(&manifest_with_slot("sql", &["execute"], "step"));
    let address = if server == Server::Postgres { "postgres://a@h/d" } else { "mysql://a@h/d" };
    let toml = format!("[targets.t]\nsql = \"{address}\"\nrelations = [\"orders\", \"seen\"]\nstatements = {classes:?}\n");
    let effective = effective(&manifest, "check", &toml, &[("s", "t")], std::path::Path::new("/"));
    let operation = Operation::Sql { slot: "s", verb: Verb::SqlExecute, statement: Some(statement) };
    matches!(decide(&effective, Mode::Effects, &operation), Decision::Allow)
}

#[derive(Debug, Default)]
struct Tally {
    made: u64,
    let_through: u64,
    ran: u64,
}

/// Cases until enough of them were let through and run; a grammar of which nothing passes would prove nothing.
fn enough(tally: &Tally, cases: u64) -> bool {
    tally.ran >= cases
}

const TABLES: &str = "(id bigint primary key, v varchar(40), n int)";

#[tokio::test]
async fn what_the_gate_lets_through_touches_nothing_else_on_postgresql() {
    let server = Postgres::start(1);
    let mut setup = "drop table orders cascade; create schema other; create sequence ids;".to_owned();
    for table in ["orders", "secrets", "vault", "\"Orders\"", "other.orders"] {
        setup += &format!("create table {table} {TABLES}; insert into {table} values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);");
    }
    setup += "create view seen as select * from orders;";
    server.psql("orders", &setup);
    let mut connection = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(server.port)
        .username("postgres")
        .password("postgres-word")
        .database("orders")
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap();
    run(&mut connection, "set statement_timeout = '2s'").await.unwrap();
    let (seed, cases) = (from_environment("RUNBOOK_SEED", 7), from_environment("RUNBOOK_CASES", 300));
    let mut grammar = Grammar::new(Server::Postgres, seed);
    let mut tally = Tally::default();
    while !enough(&tally, cases) {
        tally.made += 1;
        let (classes, statement) = (grammar.classes(), grammar.rule("statement"));
        if !is_let_through(Server::Postgres, &classes, &statement) {
            continue;
        }
        tally.let_through += 1;
        run(&mut connection, "begin").await.unwrap();
        // What earlier transactions of the session did may not be written down yet.
        let before = changed_on_postgres(&mut connection).await;
        let ran = run(&mut connection, &statement).await.is_ok();
        if ran {
            tally.ran += 1;
            let touched = relations_on_postgres(&mut connection).await;
            let strange: Vec<_> = touched.iter().filter(|name| !is_of_the_grant(name)).collect();
            assert!(strange.is_empty(), "seed {seed}: `{statement}` touched {strange:?}");
            let after = changed_on_postgres(&mut connection).await;
            for (index, class) in ["insert", "update", "delete"].iter().enumerate() {
                let allowed = classes.contains(class) || (classes.contains(&"define") && *class == "insert");
                assert!(
                    after[index] == before[index] || allowed,
                    "seed {seed}: `{statement}` did {class}, and {classes:?} are granted"
                );
            }
        }
        run(&mut connection, "rollback").await.unwrap();
    }
    println!("PostgreSQL, seed {seed}: {tally:?}");
}

async fn run(connection: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false).fetch_all(connection).await.map(|_| ())
}

fn is_of_the_grant(name: &str) -> bool {
    name.starts_with("pg_toast") || ["orders", "orders_pkey", "i", "seen"].contains(&name)
}

/// Which relations this transaction holds that are not the system's own.
async fn relations_on_postgres(connection: &mut PgConnection) -> BTreeSet<String> {
    let locks = "select relation::regclass::text from pg_locks where pid = pg_backend_pid() and locktype = 'relation' \
                 and relation >= 16384";
    let rows = sqlx::query(locks).fetch_all(&mut *connection).await.unwrap();
    // What was dropped has no name any more, only a number.
    rows.iter().map(|row| row.get::<String, _>(0)).filter(|name| name.parse::<u64>().is_err()).collect()
}

/// How many rows were inserted, updated and deleted.
async fn changed_on_postgres(connection: &mut PgConnection) -> [i64; 3] {
    let changed = "select coalesce(sum(n_tup_ins), 0)::int8, coalesce(sum(n_tup_upd), 0)::int8, coalesce(sum(n_tup_del), 0)::int8 \
                   from pg_stat_xact_user_tables";
    let row = sqlx::query(changed).fetch_one(&mut *connection).await.unwrap();
    [row.get(0), row.get(1), row.get(2)]
}

#[tokio::test]
async fn what_the_gate_lets_through_touches_nothing_else_on_mariadb() {
    let server = MariaDb::start();
    server.sql(&format!("set global userstat = 1; set global innodb_flush_log_at_trx_commit = 0; create database other; grant all on other.* to shop@'127.0.0.1'; create sequence shop.ids; {}", tables_of_mariadb()));
    let mut connection = MySqlConnectOptions::new()
        .host("127.0.0.1")
        .port(server.port)
        .username("shop")
        .password(mariadb::PASSWORD)
        .database("shop")
        .disable_statement_logging()
        .connect()
        .await
        .unwrap();
    let modes = "set session sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT', max_statement_time = 2";
    run_on_mariadb(&mut connection, modes).await.unwrap();
    for function in [
        "create function reads_secrets() returns text reads sql data return (select max(v) from secrets)",
        "create function writes_secrets() returns int modifies sql data begin update secrets set v = 'PWNED'; return 1; end",
    ] {
        sqlx::raw_sql(function).execute(&mut connection).await.unwrap();
    }
    let (seed, cases) = (from_environment("RUNBOOK_SEED", 7), from_environment("RUNBOOK_CASES", 300));
    let mut grammar = Grammar::new(Server::MariaDb, seed);
    let mut tally = Tally::default();
    let mut before = statistics(&mut connection).await;
    while !enough(&tally, cases) {
        tally.made += 1;
        let (classes, statement) = (grammar.classes(), grammar.rule("statement"));
        if !is_let_through(Server::MariaDb, &classes, &statement) {
            continue;
        }
        tally.let_through += 1;
        let ran = run_on_mariadb(&mut connection, &statement).await.is_ok();
        let after = statistics(&mut connection).await;
        if ran {
            tally.ran += 1;
        }
        let strange: Vec<_> = after
            .iter()
            .filter(|(table, (read, changed))| {
                let (old_read, old_changed) = before.get(*table).copied().unwrap_or_default();
                !["shop.orders", "shop.seen"].contains(&table.as_str()) && (*read > old_read || *changed > old_changed)
            })
            .collect();
        assert!(strange.is_empty(), "seed {seed}: `{statement}` touched {strange:?}");
        let changed =
            |statistics: &BTreeMap<String, (u64, u64)>| statistics.get("shop.orders").map_or(0, |(_, changed)| *changed);
        let writes = ["insert", "update", "delete", "define"].iter().any(|class| classes.contains(class));
        assert!(
            writes || changed(&after) == changed(&before),
            "seed {seed}: `{statement}` changed rows, and {classes:?} are granted"
        );
        let tables = texts(
            &mut connection,
            "select group_concat(table_name order by table_name) from information_schema.tables where table_schema = 'shop'",
        )
        .await;
        let defined = tables != ["ids,orders,secrets,seen,vault"];
        assert!(
            !defined || classes.contains(&"define"),
            "seed {seed}: `{statement}` left {tables:?}, and {classes:?} are granted"
        );
        let words = texts(&mut connection, "select group_concat(v order by id) from shop.secrets union all select group_concat(v order by id) from shop.vault union all select group_concat(v order by id) from other.orders").await;
        assert!(words.iter().all(|text| text == "a,b,c"), "seed {seed}: `{statement}` changed what is not granted: {words:?}");
        // Each statement meets the same database.
        if classes.contains(&"define") {
            server_again(&mut connection).await;
        } else if changed(&after) != changed(&before) {
            let again = "replace into shop.orders values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)";
            sqlx::raw_sql("delete from shop.orders where id > 3").execute(&mut connection).await.unwrap();
            sqlx::raw_sql(again).execute(&mut connection).await.unwrap();
        }
        before = statistics(&mut connection).await;
    }
    println!("MariaDB, seed {seed}: {tally:?}");
}

fn tables_of_mariadb() -> String {
    let mut text = String::new();
    for table in ["shop.orders", "shop.secrets", "shop.vault", "other.orders"] {
        text += &format!(
            "create or replace table {table} {TABLES}; insert into {table} values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);"
        );
    }
    text + "create or replace view shop.seen as select * from shop.orders;"
}

async fn server_again(connection: &mut MySqlConnection) {
    let text = format!(
        "drop view if exists shop.made; drop table if exists shop.made; drop view if exists shop.orders; drop table if exists shop.seen; create or replace table shop.orders {TABLES}; insert into shop.orders values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3); create or replace view shop.seen as select * from shop.orders"
    );
    for statement in text.split(';') {
        // Of a kind that is not there, the drop says so; the rest must work.
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *connection).await;
        assert!(done.is_ok() || statement.contains("drop"), "{statement}: {done:?}");
    }
}

async fn run_on_mariadb(connection: &mut MySqlConnection, statement: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false).fetch_all(connection).await.map(|_| ())
}

async fn texts(connection: &mut MySqlConnection, query: &'static str) -> Vec<String> {
    let rows = sqlx::raw_sql(query).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.get::<Option<String>, _>(0).unwrap_or_default()).collect()
}

/// Rows read and changed of each table so far.
async fn statistics(connection: &mut MySqlConnection) -> BTreeMap<String, (u64, u64)> {
    let question = "select concat(table_schema, '.', table_name), concat(rows_read), concat(rows_changed) from information_schema.table_statistics \
                    where table_schema in ('shop', 'other')";
    let rows = sqlx::raw_sql(question).fetch_all(connection).await.unwrap();
    let number = |text: String| text.parse().unwrap();
    rows.iter().map(|row| (row.get(0), (number(row.get(1)), number(row.get(2))))).collect()
}
