//! A plugin with access to one SQLite file reaches no other file by any statement or verb. The
//! tests compare the files of the home.

use super::{query, unknown_until_run_time, with_secret};
use runbook_tests::env::TestEnv;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

/// The content of a file that no output may show.
const MARK: &str = "KEPT-OUTSIDE-5b1f";

/// The verbs that take a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Query,
    Execute,
    Transaction,
}

/// Statements, one after another, that name a file, or reach for something that is not this
/// database. `FILE` is a path outside, `HEX` the same as a blob's digits. What a parameter is bound
/// to stands in the second place.
fn attacks() -> Vec<(Vec<String>, Vec<&'static str>)> {
    let forms: &[(&str, bool)] = &[
        ("'FILE'", false),
        ("\"FILE\"", false),
        ("[FILE]", false),
        ("`FILE`", false),
        ("?", true),
        ("?1", true),
        (":file", true),
        ("'FI' || 'LE'", false),
        ("('FILE')", false),
        ("(select 'FILE')", false),
        ("(select ?)", true),
        ("x'HEX'", false),
        ("cast(x'HEX' as text)", false),
        ("+'FILE'", false),
        ("coalesce(null, 'FILE')", false),
        ("printf('%s', 'FILE')", false),
        ("case when 1 then 'FILE' end", false),
        ("replace('FILEx', 'x', '')", false),
        ("'file:FILE'", false),
        ("'file:FILE?mode=rwc'", false),
        ("'file:FILE?immutable=1'", false),
        ("'file://FILE' || ''", false),
        ("(with w(f) as (values ('FILE')) select f from w)", false),
        ("json_extract('[\"FILE\"]', '$[0]')", false),
        ("null", false),
        ("''", false),
        ("':memory:'", false),
        ("'' || ''", false),
    ];
    let mut attacks = Vec::new();
    for (form, bound) in forms {
        for attach in
            ["attach FORM as x", "attach database FORM as x", "/* a */ attach FORM as x key 'k'"]
        {
            let parameters = if *bound { vec!["FILE"] } else { Vec::new() };
            let attach = attach.replace("FORM", form);
            attacks.push((vec![attach.clone()], parameters.clone()));
            attacks.push((
                vec![attach.clone(), "insert into t select v from x.s".to_owned()],
                parameters.clone(),
            ));
            attacks.push((vec![attach, "update x.s set v = 'changed'".to_owned()], parameters));
        }
        let parameters = if *bound { vec!["FILE-copy"] } else { Vec::new() };
        for vacuum in ["vacuum into FORM", "vacuum main into FORM"] {
            attacks.push((
                vec![vacuum.replace("FORM", &form.replace("FILE", "FILE-copy"))],
                parameters.clone(),
            ));
        }
    }
    for statement in [
        "detach main",
        "detach x",
        "pragma database_list",
        "select file from pragma_database_list",
        "select * from pragma_database_list('main')",
        "pragma temp_store_directory = 'DIR'",
        "pragma temp_store_directory",
        "pragma data_store_directory = 'DIR'",
        "pragma writable_schema = on",
        "pragma writable_schema = 1",
        "pragma trusted_schema = on",
        "pragma hard_heap_limit = 1000",
        "pragma soft_heap_limit = 1000",
        "pragma mmap_size = 1000000000",
        "pragma locking_mode = exclusive",
        "pragma temp_store = memory",
        "pragma threads = 64",
        "pragma key = 'x'",
        "pragma vdbe_trace = on",
        "pragma parser_trace = on",
        "select load_extension('FILE')",
        "select load_extension('FILE', 'entry')",
        "select writefile('FILE', 'x')",
        "select readfile('FILE')",
        "select edit('x', 'FILE')",
        "select fts3_tokenizer('x', x'0011223344556677')",
        "select fts3_tokenizer('simple')",
        "select lsmode(1)",
        "select * from fsdir('DIR')",
        "select * from zipfile('FILE')",
        "select * from csv('FILE')",
        "select data from sqlite_dbpage",
        "update sqlite_dbpage set data = zeroblob(4096)",
        "create virtual table z using zipfile('FILE')",
        "create virtual table z using csv(filename='FILE')",
        "create virtual table z using fsdir('DIR')",
        "create virtual table z using dbstat",
        "create virtual table z using sqlite_dbpage",
        "create virtual table z using fts5(a, content='FILE', tokenize='FILE')",
        "insert into sqlite_master values ('table', 'z', 'z', 0, 'x')",
        "update sqlite_master set sql = 'x'",
        "delete from sqlite_master",
        "create trigger r after insert on t begin attach 'FILE' as x; end",
        ".open FILE",
        "select 1; attach 'FILE' as x",
        "explain attach 'FILE' as x; attach 'FILE' as x",
        "vacuum; attach 'FILE' as x",
        "vacuum /* x */ into 'FILE-copy'",
    ] {
        attacks.push((vec![statement.to_owned()], Vec::new()));
    }
    attacks
}

/// Statements that must work in the database of the target.
const VALID_STATEMENTS: &[&str] = &[
    "create table u (a integer primary key, b text)",
    "create virtual table w using fts5(a)",
    "insert into w values ('words of a text')",
    "create virtual table r using rtree(id, x0, x1)",
    "create temp table v as select 1 as a",
    "insert into u (b) values ('one') on conflict do nothing",
    "with n(i) as (values (1), (2)) insert into u (b) select i from n",
    "create index i on u (b)",
    "create view z as select * from u",
    "create trigger g after insert on u begin update u set b = 'two' where a = new.a; end",
    "insert into u (b) values ('three') returning a",
    "update u set b = 'four' where a = 1",
    "delete from u where a = 2",
    "alter table u add column c",
    "alter table u rename column c to d",
    "pragma user_version = 7",
    "pragma application_id = 9",
    "pragma foreign_keys = on",
    "analyze",
    "reindex",
    "pragma wal_checkpoint",
    "select * from w where w match 'words'",
    "vacuum",
    "-- a comment\nvacuum",
    "pragma integrity_check",
    "drop trigger g",
    "drop view z",
    "drop table w",
];

/// Every file below a folder with its content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder)
        .expect("the folder can be listed")
        .map(|entry| entry.expect("an entry").path());
    entries.map(|path| (path.display().to_string(), fs::read(&path).expect("a file"))).collect()
}

/// Runs every group of statements as a step of its own and returns the steps of the report.
fn run(env: &TestEnv, verb: Verb, groups: &[(Vec<String>, Vec<String>)]) -> Vec<Value> {
    let mut text =
        "format = 1\n[runbook]\nname = \"q\"\n[targets.db]\nsql = \"sqlite:data.db\"\n".to_owned();
    for (index, (statements, parameters)) in groups.iter().enumerate() {
        let statements: Vec<String> =
            statements.iter().map(|statement| unknown_until_run_time(statement)).collect();
        let (operation, input) = match verb {
            Verb::Query => {
                ("query", json!({ "statement": statements.last(), "parameters": parameters }))
            }
            Verb::Execute => {
                ("execute", json!({ "statement": statements[0], "parameters": parameters }))
            }
            Verb::Transaction => ("transaction", json!({ "statements": statements })),
        };
        let fields: Vec<_> = input
            .as_object()
            .expect("an object")
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let more = if verb == Verb::Query { "" } else { "irreversible = \"it is a test\"\n" };
        text += &format!(
            "[[step]]\nid = \"s{index}\"\nuses = \"sql:{operation}\"\nbind.db = \"db\"\n\
             with = {{ {} }}\non_failure = \"continue\"\n{more}",
            fields.join(", ")
        );
    }
    env.file("all.toml", &text);
    let finished = env.run(&["exec", "all.toml", "-y", "--report", "json=all.json"]);
    let report = fs::read_to_string(env.path().join("all.json"));
    let report: Value =
        serde_json::from_str(&report.unwrap_or_else(|_| panic!("no report: {}", finished.stderr)))
            .expect("JSON");
    let steps = report["steps"].as_array().expect("there are steps").clone();
    assert_eq!(steps.len(), groups.len());
    steps
}

#[test]
fn no_statement_of_any_verb_leaves_the_sqlite_file_of_its_target() {
    for verb in [Verb::Query, Verb::Execute, Verb::Transaction] {
        let env = with_secret("unused");
        let outside = tempfile::tempdir().expect("a folder can be made");
        let file = outside.path().join("other.db").display().to_string();
        rusqlite::Connection::open(&file)
            .expect("a database can be made")
            .execute_batch(&format!("create table s (v); insert into s values ('{MARK}')"))
            .expect("good SQL");
        fs::write(outside.path().join("words.txt"), MARK).expect("a file can be written");
        rusqlite::Connection::open(env.path().join("data.db"))
            .expect("a database can be made")
            .execute_batch("create table t (a); insert into t values (1)")
            .expect("good SQL");
        let before = files(outside.path());
        let hex: String = file.bytes().map(|byte| format!("{byte:02x}")).collect();
        let filled_in = |text: &str| {
            text.replace("HEX", &hex)
                .replace("FI' || 'LE", &format!("{}' || '{}", &file[..9], &file[9..]))
                .replace("FILE", &file)
                .replace("DIR", &outside.path().display().to_string())
        };
        let groups: Vec<(Vec<String>, Vec<String>)> = attacks()
            .iter()
            // A transaction of the bundled plugin binds nothing.
            .filter(|(_, parameters)| verb != Verb::Transaction || parameters.is_empty())
            .map(|(statements, parameters)| {
                (
                    statements.iter().map(|text| filled_in(text)).collect(),
                    parameters.iter().map(|text| filled_in(text)).collect(),
                )
            })
            .collect();
        for ((statements, _), step) in groups.iter().zip(run(&env, verb, &groups)) {
            // A nameless file is SQLite's own and gone with the handle.
            let answered = step["fault"].is_null();
            let harmless = ["vacuum into ''", "vacuum main into ''"];
            assert!(
                !answered || harmless.iter().any(|start| statements[0].starts_with(start)),
                "{verb:?} {statements:?} was answered: {step}"
            );
            let told = format!("{} {}", step["output"], step["fault"]);
            let inside = env.path().display().to_string();
            assert!(
                !told.contains(MARK) && !told.contains(&inside),
                "{verb:?} {statements:?} tells {told}"
            );
        }
        assert_eq!(files(outside.path()), before, "{verb:?} changed something outside");
        let held = fs::read(env.path().join("data.db")).expect("the database is there");
        assert!(
            !held.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes()),
            "{verb:?} copied something from outside"
        );
        let made: Vec<_> = files_of_home(&env);
        assert!(made.iter().all(|name| !name.contains("copy")), "{verb:?} made {made:?}");
    }
}

fn files_of_home(env: &TestEnv) -> Vec<String> {
    fs::read_dir(env.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect()
}

#[test]
fn statements_within_the_sqlite_file_work() {
    let env = with_secret("unused");
    rusqlite::Connection::open(env.path().join("data.db"))
        .expect("a database can be made")
        .execute_batch("create table t (a)")
        .expect("good SQL");
    let groups: Vec<_> = VALID_STATEMENTS
        .iter()
        .map(|statement| (vec![(*statement).to_owned()], Vec::new()))
        .collect();
    for (statement, step) in VALID_STATEMENTS.iter().zip(run(&env, Verb::Execute, &groups)) {
        assert!(step["fault"].is_null(), "`{statement}`: {step}");
    }
}

#[test]
fn no_sqlite_error_reveals_a_path_of_the_host() {
    let env = with_secret("unused");
    fs::create_dir(env.path().join("folder.db")).expect("a folder can be made");
    env.file(
        "words.db",
        "this is no database, but it is long enough to have a head of its own, which is wrong",
    );
    for name in ["folder.db", "words.db", "missing.db", "no/such/folder.db"] {
        let finished =
            query(&env, &format!("sql = \"sqlite:{name}\""), "select 1 from sqlite_master");
        assert_ne!(finished.status, 0, "{name}");
        let report: Value = serde_json::from_str(&env.read("q.json")).expect("the report is JSON");
        let fault = report["steps"][0]["fault"].to_string();
        // The message for the operator about a missing file follows the message for the plugin.
        let plugin_was_told = fault.split(": target `db` (q.toml:").next().unwrap_or_default();
        let is_told = plugin_was_told.len() > 10
            && !plugin_was_told.contains(&env.path().display().to_string());
        assert!(is_told, "{name}: {fault}");
    }
}

#[test]
fn a_copy_that_becomes_larger_than_the_target_allows_is_not_restored() {
    let env = with_secret("unused");
    let path = env.path().join("data.db");
    let database = rusqlite::Connection::open(&path).expect("a database can be made");
    database.execute_batch("create table t (a); insert into t values (1)").expect("good SQL");
    fs::create_dir(env.path().join("copies")).expect("a folder can be made");
    let bomb =
        zstd::encode_all(std::io::repeat(0).take(64 << 20), 3).expect("zeros can be compressed");
    assert!(bomb.len() < 100_000);
    fs::write(env.path().join("copies/bomb.db.zst"), bomb).expect("a file can be written");
    env.file(
        "restore.toml",
        "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:data.db\"\n\
         max_copy = \"1MiB\"\n[targets.copies]\nfiles = \"copies\"\n[[step]]\nid = \"r\"\n\
         uses = \"sqlite:restore\"\nbind = { db = \"db\", directory = \"copies\" }\n\
         with = { file = \"bomb.db.zst\" }\nirreversible = \"it is a test\"\n",
    );
    env.run(&["exec", "restore.toml", "-y"])
        .status(1)
        .out("`max_copy`")
        .out("No step had changed anything");
    // Other checks also prevent that a file is replaced.
    fs::write(
        env.path().join("copies/damaged.db"),
        b"this is no database at all, but long enough to be read as one",
    )
    .expect("a file");
    for file in ["missing.db", "damaged.db"] {
        let text = env.read("restore.toml").replace("bomb.db.zst", file);
        env.file("other.toml", &text);
        env.run(&["exec", "other.toml", "-y"]).status(1).out("No step had changed anything");
    }
    let rows: i64 = database
        .query_row("select count(*) from t", [], |row| row.get(0))
        .expect("the database is as it was");
    assert_eq!(rows, 1);
}

/// A rollback journal whose end names a super-journal: SQLite rolls it back, and then deletes the
/// file that it names.
fn hot_journal(database: &Path, victim: &Path) -> Vec<u8> {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let bytes = fs::read(database).expect("the database is there");
    let page_size = u32::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let pages = u32::try_from(bytes.len()).expect("a small file") / page_size;
    let mut journal = MAGIC.to_vec();
    for number in [0, 1, pages, 512, page_size] {
        journal.extend(number.to_be_bytes());
    }
    journal.resize(512, 0);
    let name = victim.display().to_string().into_bytes();
    let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
    journal.extend((0x4000_0000 / page_size + 1).to_be_bytes());
    journal.extend(&name);
    journal.extend(u32::try_from(name.len()).expect("a short name").to_be_bytes());
    journal.extend(sum.to_be_bytes());
    journal.extend(MAGIC);
    journal
}

#[test]
fn a_journal_beside_a_database_that_names_another_file_deletes_nothing() {
    for (uses, with) in [
        ("sql:execute", "with = { statement = \"insert into t values (2)\" }"),
        ("sql:transaction", "with = { statements = [\"insert into t values (2)\"] }"),
    ] {
        let env = crate::home();
        let database = env.path().join("a.db");
        rusqlite::Connection::open(&database)
            .expect("a database can be made")
            .execute_batch("create table t (n); insert into t values (1)")
            .expect("good SQL");
        let victim = env.path().join("victim");
        fs::write(&victim, "precious").expect("a file can be written");
        fs::write(env.path().join("a.db-journal"), hot_journal(&database, &victim))
            .expect("a file can be written");
        env.file(
            "r.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"t\"\n[targets.db]\nsql = \"sqlite:a.db\"\n\
                 [[step]]\nid = \"one\"\nuses = \"{uses}\"\nbind.db = \"db\"\n\
                 irreversible = \"a test\"\n{with}\n"
            ),
        );
        let finished = env.run(&["exec", "r.toml", "--yes"]);
        assert_ne!(finished.status, 0, "{uses}: {finished:?}");
        assert_eq!(
            fs::read_to_string(&victim).ok().as_deref(),
            Some("precious"),
            "{uses}: {finished:?}"
        );
        assert!(
            format!("{}{}", finished.stdout, finished.stderr).contains("names another file"),
            "{uses}: {finished:?}"
        );
    }
}
