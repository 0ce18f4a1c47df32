//! A grammar of SQL statements, over a table that is granted and others that are not.

use super::Server;

const CLASSES: &[&str] = &["select", "insert", "update", "delete", "define", "maintain"];

/// Generates one statement. Each byte of `choices` decides one choice. When the bytes are used up,
/// the first alternative is taken, which is always the shortest.
pub(super) struct Grammar<'c> {
    server: Server,
    choices: std::slice::Iter<'c, u8>,
    depth: u32,
}

impl<'c> Grammar<'c> {
    pub(super) fn new(server: Server, choices: &'c [u8]) -> Self {
        Self { server, choices: choices.iter(), depth: 0 }
    }

    fn next(&mut self, below: usize) -> usize {
        usize::from(self.choices.next().copied().unwrap_or_default()) % below
    }

    fn choose<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len())]
    }

    /// One of the alternatives for this server: each text begins with `p`, `m` or `b` (both) and a
    /// space.
    fn choose_for_server<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let wanted = if self.server == Server::Postgres { 'p' } else { 'm' };
        let fitting: Vec<&str> = of
            .iter()
            .filter(|text| text.starts_with([wanted, 'b']))
            .map(|text| &text[2..])
            .collect();
        self.choose(&fitting)
    }

    /// The classes that the target grants.
    pub(super) fn classes(&mut self) -> Vec<&'static str> {
        // Definitions are slow to undo on MariaDB, so they are granted less often.
        CLASSES
            .iter()
            .copied()
            .filter(|class| if *class == "define" { self.next(5) == 0 } else { self.next(3) > 0 })
            .collect()
    }

    /// Expands every `<rule>` in a text, recursively.
    fn expand(&mut self, text: &str) -> String {
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

    /// A text that a rule produces.
    pub(super) fn rule(&mut self, rule: &str) -> String {
        let deep = self.depth > 6;
        let text = match rule {
            "table" => self.choose_for_server(&[
                "b orders",
                "b orders",
                "b orders",
                "b orders",
                "b orders",
                "b ORDERS",
                "b secrets",
                "b vault",
                "p \"orders\"",
                "p \"Orders\"",
                "m `orders`",
                "m `secrets`",
                "p public.orders",
                "p public.secrets",
                "p other.orders",
                "m shop.orders",
                "m shop.secrets",
                "m other.orders",
                "p only orders",
                "p only secrets",
                "p \"secrets\"",
                "b seen",
                "p pg_class",
                "m information_schema.tables",
                "b ids",
                "p orders *",
                "m orders partition (p0)",
            ]),
            "expression" if deep => self.choose(&["1", "v", "id", "null", "'x'", "n + 1"]),
            "expression" => self.choose_for_server(&[
                "b 1",
                "b v",
                "b id",
                "b null",
                "b n + 1",
                "b 'secrets'",
                "b (<query>)",
                "b (select max(v) from <table>)",
                "b case when exists (<query>) then 1 else 2 end",
                "b coalesce((select v from <table> limit 1), 'x')",
                "b count(*)",
                "b <expression> in (<query>)",
                "b <expression> = any (<query>)",
                "p array(<query>)",
                "p (table <table>)",
                "p (select x from (table <table>) as x limit 1)::text",
                "p table_to_xml('secrets', true, true, '')",
                "p query_to_xml('select * from secrets', true, true, '')",
                "p nextval('ids')",
                "m nextval(ids)",
                "m next value for ids",
                "p setval('ids', 5)",
                "p 'secrets'::regclass::text",
                "m reads_secrets()",
                "m writes_secrets()",
                "m @a := 1",
                "m load_file('/etc/hostname')",
                "b upper(v)",
                "p (orders).v",
                "p row(v, (<query>))::text",
                "p lo_from_bytea(0, 'x')",
                "p exists (with w as (<query>) select 1 from w)",
                "m json_value('{}', '$.a')",
                "m \"v\"",
                "p E'a\\'b'",
                "p $a$ from secrets $a$",
                "m (select v from orders procedure analyse())",
                "b cast(n as char(3))",
                "p count(*) filter (where exists (<query>))",
                "p max((select v from <table> limit 1)) over ()",
                "b (values (1))",
                "m values(v)",
                "m (table <table>)",
                "b 1 --1\n",
                "b 1 /* from secrets */",
                "m 1 # from secrets\n",
                "m 1 /*! + (select max(n) from <table>) */",
                "m 1 /*M! + (select max(n) from <table>) */",
                "m 1 /*!50000 union select v from secrets */",
                "p 1 /* /* */ + (select max(n) from secrets) */ */",
            ]),
            "source" if deep => "<table>",
            "source" => self.choose_for_server(&[
                "b <table>",
                "b <table>",
                "b <table>",
                "b <table> as x",
                "b (<query>) as x",
                "b <table> as x join <table> as y on true",
                "b <table> as x, <table> as y",
                "b <table> as x left join (<query>) as y on true",
                "p lateral (<query>) as x",
                "p generate_series(1, 2) as g(v)",
                "p orders as x cross join lateral (select * from <table> limit 1) as y",
                "p <table> as x tablesample system (50)",
                "p rows from (generate_series(1, 2)) as g(v)",
                "b (<source>)",
                "m <table> as x natural join <table> as y",
                "m <table> as x straight_join <table> as y",
                "m { oj <table> as x left join <table> as y on true }",
                "m json_table('[1]', '$[*]' columns (v int path '$')) as x",
                "p xmltable('/a' passing '<a/>' columns v text) as x",
                "p query_to_xml('select * from secrets', true, true, '') as x",
                "p unnest(array(<query>)) as u(v)",
                "b (values (1, 2, 3)) as x(id, v, n)",
                "m <table> use index (primary)",
                "p pg_stats",
            ]),
            "arm" => self.choose_for_server(&[
                "b select <items> from <source>",
                "b select <items> from <source> where <condition>",
                "b values (1, 'x', 2)",
                "b table <table>",
                "b (<query>)",
                "b select <expression>",
                "b select v from <source> group by v having <condition>",
                "b select distinct v from <source>",
                "p select all v from <source>",
                "m select sql_calc_found_rows v from <source>",
                "m select high_priority v from <source>",
                "p select distinct on (v) v from <source>",
                "p select v, rank() over (order by (select 1 from <table> limit 1)) from <source>",
            ]),
            "items" => self.choose(&[
                "v",
                "*",
                "count(*)",
                "<expression>",
                "v, <expression>",
                "(select 1 from <table> limit 1) as a",
            ]),
            "condition" if deep => self.choose(&["true", "id = 1", "v is null"]),
            "condition" => self.choose_for_server(&[
                "b true",
                "b id = 1",
                "b exists (<query>)",
                "b id in (select id from <table>)",
                "b not (<condition>)",
                "b <condition> and <condition>",
                "b v = (select max(v) from <table>)",
                "b <expression> is null",
                "b 1 = 1 or <condition>",
                "p (id, v) in (table <table>)",
                "m id between 1 and (select max(id) from <table>)",
                "p v ~ (select max(v) from <table>)",
            ]),
            "query" if deep => self.choose(&["select v from <table>", "select 1"]),
            "query" => self.choose_for_server(&[
                "b <arm>",
                "b <arm>",
                "b <arm>",
                "b <arm> union all <arm>",
                "b <arm> union <arm>",
                "b <arm> except <arm>",
                "b <arm> intersect <arm>",
                "b <arm> order by (select 1 from <table> limit 1)",
                "b <arm> limit 1",
                "b with w as (<query>) <arm>",
                "p <arm> limit (select 1 from <table> limit 1)",
                "p with w as materialized (<query>) select * from w",
                "b with recursive w(a) as (select 1 union all select a + 1 from w where a < 3) \
                 <arm>",
                "p with w as (<change>) select * from w",
                "p with w as (<change>) <arm>",
                "b <arm> for update",
                "p <arm> for key share",
                "m <arm> lock in share mode",
                "p <arm> fetch first 1 row only",
                "m <arm> union all table <table>",
                "p <arm> union all table <table>",
                "p table <table> union <arm>",
                "b with orders as (<query>) select v from orders",
                "b with secrets as (<query>) select v from secrets",
            ]),
            "change" => self.choose_for_server(&[
                "p insert into <table> (id, v) select id + 100, v from <source> returning v",
                "p update <table> set v = 'x' returning v",
                "p delete from <table> where <condition> returning v",
                "b update <table> set v = (select max(v) from <table>) where <condition>",
                "b insert into <table> (id, v) values (7, 'x')",
                "b insert into <table> (id, v, n) <query>",
                "b delete from <table> where <condition>",
                "p insert into <table> (id, v) values (1, 'x') on conflict (id) do update set v = \
                 'PWNED'",
                "p insert into <table> (id, v) values (1, 'x') on conflict do nothing",
                "m insert into <table> (id, v) values (1, 'x') on duplicate key update v = 'PWNED'",
                "m replace into <table> (id, v) values (1, 'x')",
                "m insert ignore into <table> (id, v) values (1, 'x')",
                "m insert into <table> set id = 9, v = (select max(v) from <table> as z)",
                "m update <table> as x join <table> as y on x.id = y.id set y.v = 'PWNED'",
                "m update <table> as x, <table> as y set x.v = y.v",
                "m delete x from <table> as x join <table> as y on x.id = y.id",
                "m delete x, y from <table> as x join <table> as y on x.id = y.id",
                "m delete from x using <table> as x join <table> as y",
                "p update <table> as x set v = y.v from <source> y where <condition>",
                "p delete from <table> as x using <table> as y where x.id = y.id",
                "p merge into <table> as x using <table> as y on x.id = y.id when matched then \
                 update set v = y.v when not matched then insert (id, v) values (y.id, y.v)",
                "p merge into <table> as x using (<query>) as y on true when matched then delete",
                "b with w as (<query>) <change>",
                "p insert into <table> (id, v) table <table>",
                "b truncate <table>",
                "b truncate table <table>",
                "p truncate <table>, <table>",
                "p truncate <table> cascade",
                "p update only <table> set v = 'x'",
                "m delete from <table> returning (select max(v) from vault)",
                "m insert into <table> (id, v) values ((select max(id) from <table> as q) + 50, \
                 'x') returning v",
            ]),
            "maintain" => self.choose_for_server(&[
                "p analyze <table>",
                "p analyze <table>, <table>",
                "p analyze verbose <table>",
                "p analyze <table>(v), <table>",
                "p analyze (verbose) <table>",
                "p reindex table <table>",
                "p reindex (verbose) table <table>",
                "m analyze table <table>",
                "m analyze table <table>, <table>",
                "m analyze <change>",
                "m analyze <change> # orders",
                "m analyze format=json <query>",
                "m optimize table <table>",
                "m optimize table <table>, <table>",
                "m check table <table>",
                "m check table <table>, <table> quick",
                "m repair table <table>",
                "m repair local table <table>, <table>",
                "m checksum table <table>",
                "m analyze <query>",
                "p cluster <table>",
                "p refresh materialized view <table>",
                "p vacuum <table>",
                "m analyze table <table> persistent for all",
            ]),
            "define" => self.choose_for_server(&[
                "b create table made as <query>",
                "b create table orders as <query>",
                "p create table made (like <table>)",
                "m create table made like <table>",
                "b create view made as <query>",
                "b create view orders as <query>",
                "b create index i on <table> (n)",
                "b drop table <table>",
                "b drop table <table>, <table>",
                "p drop table <table> cascade",
                "b alter table <table> add column z int",
                "p alter table <table> add foreign key (id) references <table> (id)",
                "m alter table <table> add foreign key (id) references <table> (id)",
                "b alter table <table> rename to made",
                "p create table made () inherits (<table>)",
                "m rename table <table> to made",
                "p comment on table <table> is 'x'",
                "p grant select on <table> to public",
                "p grant all on all tables in schema public to public",
                "p create table made (x bigint references <table>)",
                "p create table made (x int default (nextval('ids')))",
                "b create or replace view seen as <query>",
                "p create rule r as on insert to orders do also delete from <table>",
                "p create materialized view made as <query>",
                "p alter table <table> alter column n type text using (v)",
                "p create trigger t before insert on <table> for each row execute function f()",
                "p drop index secrets_pkey",
                "p drop view seen cascade",
                "m drop index i on <table>",
                "p alter table <table> drop column n cascade",
                "p create temp table orders as <query>",
                "m create table made (x int) engine=merge union=(<table>)",
                "p drop schema other cascade",
                "p create policy p on <table> using (exists (<query>))",
                "p alter table orders inherit <table>",
                "p create table made partition of <table> default",
                "p create unlogged table orders as table <table>",
            ]),
            "other" => self.choose_for_server(&[
                "b explain <query>",
                "b explain <change>",
                "p explain analyze <change>",
                "p explain (analyze) <change>",
                "p explain (analyze true, verbose) <query>",
                "p explain (verbose) <query>",
                "p explain (analyze) create table made as <query>",
                "p explain (analyze on) create table orders as <query>",
                "m explain extended <query>",
                "m explain format=json <query>",
                "m show index from <table>",
                "m show columns from <table>",
                "m show create table <table>",
                "m show tables",
                "m describe <table>",
                "m show keys in <table>",
                "m show fields from <table> where <condition>",
                "p copy <table> to stdout",
                "p copy (<query>) to stdout",
                "p lock table <table>",
                "m lock tables <table> write",
                "m do (select max(v) from <table>)",
                "m handler <table> open",
                "m call writes()",
                "p do $$ begin delete from secrets; end $$",
                "p declare c cursor for <query>",
                "p prepare x as <query>",
                "m set @x = (select max(v) from <table>)",
                "p select v into made from <source>",
                "m select v from <source> into @x",
                "m select v into @x from <source> limit 1",
                "m <query> into outfile '/tmp/x'",
                "p values ((<query>))",
                "m execute immediate 'delete from secrets'",
                "m help 'select'",
                "p show all",
                "p show work_mem",
                "m show variables like 'x'",
                "p listen x",
                "m begin not atomic delete from secrets; end",
                "m kill 99999",
                "m flush tables",
            ]),
            "decorated" => self.choose_for_server(&[
                "m /*! <change> */",
                "m /*M! <change> */",
                "m /*M! insert into log */ <query>",
                "m /*M! delete from secrets where 1 or v in ( */ <query> /*M! ) */",
                "m <query> /*M! into @x */",
                "m <query> /*! union all select v from secrets */",
                "b <query>; <change>",
                "b <query>;",
                "b -- x\n<query>",
                "b /* x */ <change>",
                "m # x\n<change>",
                "b (<query>)",
                "b ((<query>))",
                "b <query> -- from secrets",
                "p <query> /* /* */ union table secrets -- */",
                "m <query> --1",
                "b <query> /* open",
                "m <change> # <query>",
                "b <change> -- <query>",
            ]),
            "statement" => self.choose(&[
                "<query>",
                "<query>",
                "<query>",
                "<change>",
                "<change>",
                "<maintain>",
                "<define>",
                "<other>",
                "<decorated>",
            ]),
            other => panic!("no rule `{other}`"),
        };
        self.expand(text)
    }
}
