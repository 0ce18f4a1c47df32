//! `with_file`: statements and smoke test cases in files of their own. The files are texts of the
//! runbook like any other, and statements are never built from templates.

use crate::{home, repository};
use runbook_tests::env::{ProgramOutput, TestEnv};
use runbook_tests::http::Receiver;
use rusqlite::Connection;
use std::os::unix::fs::symlink;

const TOP: &str = r#"format = 1
[runbook]
name = "filed"
[params.who]
type = "string"
default = "ada; drop table said"
[targets.db]
sql = "sqlite:n.db"
"#;

const SAY: &str = r#"
[[step]]
id = "say"
uses = "sql:execute"
bind.db = "db"
with_file.statement = "sql/say.sql"
with = { parameters = ["{{ params.who }}"] }
irreversible = "it is said"
"#;

const UPGRADE: &str = r#"
[[step]]
id = "upgrade"
uses = "sql:transaction"
bind.db = "db"
with_file.statements = "sql/upgrade.sql"
irreversible = "it is said"
"#;

const SAY_SQL: &str = "-- who was it?\ninsert into said values (?1);\n";

const UPGRADE_SQL: &str = "-- two; not three\ninsert into said values ('a;b');\n\n\
                           insert into said values ('c') /* the; end */;\n";

fn prepared(more: &str) -> TestEnv {
    let env = home();
    Connection::open(env.path().join("n.db"))
        .and_then(|db| db.execute_batch("create table said (what)"))
        .expect("made");
    env.file("r.toml", &format!("{TOP}{more}"));
    env.file("sql/say.sql", SAY_SQL);
    env.file("sql/upgrade.sql", UPGRADE_SQL);
    env
}

fn said(env: &TestEnv) -> Vec<String> {
    let db = Connection::open(env.path().join("n.db")).expect("it opens");
    let mut rows = db.prepare("select what from said order by rowid").expect("SQL");
    rows.query_map([], |row| row.get(0)).expect("SQL").map(|row| row.expect("text")).collect()
}

/// All output with wrapped lines joined.
fn unwrapped_output(finished: &ProgramOutput) -> String {
    let said = format!("{} {}", finished.stdout, finished.stderr);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn statements_run_exactly_as_written_in_their_files() {
    let env = prepared(&format!("{SAY}{UPGRADE}"));
    env.run(&["exec", "r.toml", "-y"]).status(0);
    assert_eq!(said(&env), ["ada; drop table said", "a;b", "c"]);
    // From another folder the files are the same.
    std::fs::create_dir(env.path().join("elsewhere")).expect("a folder");
    env.run_in("elsewhere", &["exec", "../r.toml", "-y", "--set", "who=bob"]).status(0);
    assert_eq!(said(&env)[3..], ["bob", "a;b", "c"]);
}

#[test]
fn undos_checks_and_nested_runbooks_can_have_input_files() {
    let undo = "undo = \
                { uses = \"sql:execute\", bind.db = \"db\", with_file.statement = \"sql/undo.sql\" }";
    let step = SAY.replace("irreversible = \"it is said\"", undo);
    let fails = "[[step]]\nid = \"fails\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                 with = { statement = \"select 1\", row_count = 2 }\n";
    let env = prepared(&format!("{step}{fails}"));
    env.file("sql/undo.sql", "delete from said");
    assert_ne!(env.run(&["exec", "r.toml", "-y"]).status, 0);
    assert_eq!(said(&env), [""; 0], "the file of the undo is run");
    env.file(
        "outer.toml",
        "format = 1\n[runbook]\nname = \"outer\"\n[[step]]\nid = \"in\"\n\
         runbook = \"inner.toml\"\n",
    );
    env.file("inner.toml", &format!("{TOP}{UPGRADE}"));
    env.run(&["exec", "outer.toml", "-y"]).status(0);
    assert_eq!(said(&env), ["a;b", "c"]);
    let suite = "format = 1\n[runbook]\nname = \"s\"\n[targets.db]\nsql = \"sqlite:n.db\"\n\
                 [[check]]\nid = \"two\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                 with_file.statement = \"sql/count.sql\"\nexpect = { \"rows.0.n\" = 2 }\n";
    env.file("s.toml", suite);
    env.file("sql/count.sql", "select count(*) as n\nfrom said;\n");
    env.run(&["check", "s.toml"]).status(0);
}

#[test]
fn the_samples_of_the_document_are_valid() {
    let text = std::fs::read_to_string(repository().join("docs/runbooks.md")).expect("readable");
    let section = text.split_once("### An input in a file of its own").expect("a section").1;
    let section = section.split_once("\n### ").expect("an end").0;
    let mut blocks = section.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let (steps, cases) = (blocks.next().expect("steps"), blocks.next().expect("cases"));
    let env = home();
    Connection::open(env.path().join("n.db"))
        .and_then(|db| db.execute_batch("create table orders (at); create table old (at);"))
        .expect("made");
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"shown\"\n[targets.orders]\n\
                  sql = \"sqlite:n.db\"\n[targets.api]\nhttp = \"http://127.0.0.1:1\"\n{steps}"
        ),
    );
    env.file("sql/archive.sql", "insert into old select at from orders where at < ?1;\n");
    env.file("sql/upgrade.sql", "alter table old add who;\nalter table orders add who;\n");
    env.file("shop.with.toml", cases);
    env.run(&["validate", "r.toml", "shop.with.toml"]).status(0);
    env.file("shop.with.toml", &cases.replace("contains", "kontains"));
    let told = unwrapped_output(&env.run(&["validate", "r.toml"]).status(2));
    assert!(told.contains("shop.with.toml:7:"), "{told}");
}

#[test]
fn the_cases_of_a_smoke_test_run_from_their_file() {
    let ops = Receiver::start();
    let env = prepared(&format!(
        "[targets.api]\nhttp = \"http://127.0.0.1:{}\"\n[[step]]\nid = \"smoke\"\n\
         uses = \"smoke:run\"\nbind.target = \"api\"\nwith_file = \"cases.toml\"\n",
        ops.port
    ));
    env.file(
        "cases.toml",
        "format = 1\n[[cases]]\nname = \"a hook\"\nmethod = \"POST\"\npath = \"/hooks/ops\"\n\
         body = { who = \"{{ params.who }}\" }\n",
    );
    let report = env.run(&["exec", "r.toml", "-y", "--report", "json=r.json"]);
    let report = format!("{report:?} {}", env.read("r.json"));
    assert!(report.contains("a hook"), "{report}");
    assert!(ops.received().iter().any(|request| request.body.contains("drop table")), "{report}");
}

#[test]
fn a_file_of_inputs_is_reviewed_locked_planned_and_resumed_like_the_runbook() {
    let wait = "[[step]]\nid = \"look\"\nmanual = { instructions = \"Look.\" }\n";
    let env = prepared(&format!("{wait}{SAY}{UPGRADE}"));
    let review = env.run(&["review", "r.toml"]).status(0);
    let shown = unwrapped_output(&review);
    for text in ["insert into said values (?1)", "insert into said values ('a;b')", "sql/say.sql"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    env.run(&["lock", "r.toml"]).status(0);
    let locked = env.read("runbook.lock");
    assert!(locked.contains("sql/upgrade.sql") && locked.contains("sql/say.sql"), "{locked}");
    env.run(&["plan", "r.toml", "--out", "p.json"]).status(0);
    env.run(&["exec", "r.toml", "-y", "--locked"]).status(5);
    let run = env.newest_run();

    env.file("sql/say.sql", "delete from said where what = ?1");
    env.run(&["exec", "r.toml", "-y"])
        .status(6)
        .err("file `sql/say.sql` has another text")
        .err("-insert into said values (?1);");
    assert_ne!(env.run(&["exec", "--plan", "p.json", "-y"]).status, 0, "another text than planned");
    env.run(&["lock", "--accept", "r.toml"]).status(0);
    let told = env.run(&["exec", "--plan", "p.json", "-y"]);
    assert_ne!(told.status, 0, "{told:?}");
    assert_eq!(said(&env), [""; 0]);

    env.run(&["answer", &run, "look"]).status(0);
    env.run(&["resume", &run]).status(0);
    assert_eq!(said(&env), ["ada; drop table said", "a;b", "c"], "the text of its beginning");
}

/// A wrong statement file, the expected place, and the expected code.
const WRONG: &[(&str, &str, &str)] = &[
    ("insert into said values ('{{ params.who }}')", "say.sql:1:", "E0240"),
    ("-- a\n-- {% if params.who %}\nselect 1", "say.sql:2:", "E0240"),
    ("select '{{1,2}}'", "say.sql:1:", "E0240"),
    ("", "say.sql:1:", "E0240"),
    ("-- nothing\n", "say.sql:1:", "E0240"),
    ("-- a\n\ncommit", "say.sql:3:", "E0237"),
    ("insert into said values (?1);\ndelete from said", "say.sql:1:", "E0237"),
    ("insert into said values ('\u{202e}')", "say.sql:1:", "E0290"),
];

#[test]
fn a_mistake_in_a_statement_file_is_reported_at_its_line() {
    for (text, place, code) in WRONG {
        let env = prepared(SAY);
        env.file("sql/say.sql", text);
        for command in [&["validate", "r.toml"][..], &["exec", "r.toml", "-y"]] {
            let told = env.run(command);
            assert_ne!(told.status, 0, "{text:?}: {told:?}");
            let told = unwrapped_output(&told);
            assert!(told.contains(place) && told.contains(code), "{text:?}: {told}");
        }
        assert_eq!(said(&env), [""; 0]);
    }
    for (text, line) in [
        ("select 1;\nselect 'a\\'; delete from said; --'", 2),
        ("select 1;\n\nselect 'open", 3),
        ("select 1;\ncreate trigger t after insert on said begin delete from said; end", 2),
        ("/*!40101 set names utf8 */;\nselect 1", 1),
    ] {
        let env = prepared(UPGRADE);
        env.file("sql/upgrade.sql", text);
        let told = unwrapped_output(&env.run(&["validate", "r.toml"]).status(2));
        assert!(told.contains(&format!("upgrade.sql:{line}:")), "{text:?}: {told}");
        assert!(told.contains("E0240"), "{text:?}: {told}");
    }
}

#[test]
fn a_mistake_in_an_input_file_is_reported_at_its_line() {
    let smoke = "[targets.api]\nhttp = \"http://127.0.0.1:1\"\n[[step]]\nid = \"smoke\"\n\
                 uses = \"smoke:run\"\nbind.target = \"api\"\nwith_file = \"c.toml\"\n";
    for (text, line, code) in [
        ("format = 1\n[[cases]]\nname = \"a\"\npath = \"/{{ params.whoo }}\"\n", 4, "E02"),
        ("format = 1\n[[cases]]\nname = \"a\"\npath = 7\n", 4, "E0230"),
        ("format = 1\n[[cases]]\nname = \"a\"\npath = \"/\"\nexpekt = {}\n", 5, "E0230"),
        ("format = 1\nfourty = 2\n[[cases]]\nname = \"a\"\npath = \"/\"\n", 2, "E0230"),
        ("format = 2\n[[cases]]\nname = \"a\"\npath = \"/\"\n", 1, "E0205"),
        ("format = 1\n[[cases]]\nname = \n", 3, "E0201"),
        (
            "format = 1\n[[cases]]\nname = \"a\"\npath = \"/\"\n\
             headers = { a = \"ghp_0123456789abcdefghijABCDEFGHIJ012345\" }\n",
            5,
            "E0223",
        ),
    ] {
        let env = prepared(smoke);
        env.file("c.toml", text);
        let told = unwrapped_output(&env.run(&["validate", "r.toml"]).status(2));
        assert!(told.contains(&format!("c.toml:{line}:")) && told.contains(code), "{text}: {told}");
    }
}

#[test]
fn an_invalid_with_file_key_is_refused() {
    for (good, bad, told) in [
        (
            "uses = \"sql:execute\"\nbind.db = \"db\"",
            "manual = { instructions = \"a\" }",
            "without `uses`",
        ),
        ("with = { parameters", "with = { statement = \"a\", parameters", "which one is meant?"),
        ("\"sql/say.sql\"", "7", "must be a file or a table of files"),
        ("with_file.statement", "with_file", "does not end in `.toml`"),
        ("sql/say.sql", "r.toml", "does not end in `.sql`"),
        ("sql/say.sql", "sql/none.sql", "cannot be read"),
        ("irreversible", "with_files = \"a\"\nirreversible", "did you mean"),
    ] {
        let env = prepared(&SAY.replace(good, bad));
        let said = unwrapped_output(&env.run(&["validate", "r.toml"]).status(2));
        assert!(said.contains(told), "{bad}: {said}");
    }
    let env = prepared("");
    env.file("r.toml", &format!("include = [\"sql/say.sql\"]\n{TOP}"));
    env.run(&["validate", "r.toml"]).status(2).err("is no file of targets and secrets");
}

/// The author of a runbook must not be able to read files of the checkout by naming them.
#[test]
fn a_statement_file_must_lie_in_the_folder_of_its_runbook() {
    const CANARY: &str = "b3BlbnNzaC1rZXktdjEAAAAA";
    let env = home();
    for file in ["elsewhere/key.sql", "work/.git/config.sql", "work/.hidden.sql", "work/key.txt"] {
        env.file(file, CANARY);
    }
    env.file("work/n.toml", CANARY);
    for (to, link) in [
        ("../elsewhere/key.sql", "work/link.sql"),
        ("../elsewhere", "work/up"),
        (".git/config.sql", "work/to-hidden.sql"),
        ("key.txt", "work/to-text.sql"),
        ("n.toml", "work/to-toml.sql"),
        ("/dev/zero", "work/zero.sql"),
    ] {
        symlink(to, env.path().join(link)).expect("a link can be made");
    }
    let absolute = env.path().join("elsewhere/key.sql").display().to_string();
    for name in [
        "../elsewhere/key.sql",
        "up/key.sql",
        "link.sql",
        ".git/config.sql",
        ".hidden.sql",
        "./.hidden.sql",
        "to-hidden.sql",
        "to-text.sql",
        "to-toml.sql",
        "zero.sql",
        "/etc/hostname.sql",
        absolute.as_str(),
    ] {
        env.file("work/r.toml", &format!("{TOP}{}", SAY.replace("sql/say.sql", name)));
        for command in ["validate", "exec", "review", "lock"] {
            let told = env.run_in("work", &[command, "r.toml"]);
            assert_ne!(told.status, 0, "{command} {name}: {told:?}");
            let told = unwrapped_output(&told);
            assert!(told.contains("E0225") && !told.contains(CANARY), "{command} {name}: {told}");
        }
    }
}

/// Files are locked, compared and shown by name. A name that looks like another could hide a text
/// from the reviewer.
#[test]
fn a_file_with_hidden_characters_in_its_name_is_refused() {
    type Naming = fn(&str) -> String;
    let named: [(&str, Naming); 4] = [
        ("sql", |name| SAY.replace("sql/say.sql", name)),
        ("toml", |name| {
            SAY.replace("with_file.statement = \"sql/say.sql\"", "")
                .replace("with = {", &format!("with_file = \"{name}\"\nwith = {{"))
        }),
        ("toml", |name| format!("[[step]]\nid = \"in\"\nrunbook = \"{name}\"\n")),
        ("toml", |name| format!("[[step]]\nid = \"in\"\nsuite = \"{name}\"\n")),
    ];
    for (ending, more) in named {
        for (escaped, character) in [
            ("\\t", '\t'),
            ("\\u0007", '\u{7}'),
            ("\\u200B", '\u{200b}'),
            ("\\u200C", '\u{200c}'),
            ("\\u202E", '\u{202e}'),
        ] {
            let name = format!("a{escaped}b.{ending}");
            let env = prepared(&more(&name));
            env.file(&format!("a{character}b.{ending}"), "select 1");
            let refused = env.run(&["validate", "r.toml"]);
            assert_ne!(refused.status, 0, "{name}");
            assert!(unwrapped_output(&refused).contains("cannot be shown"), "{name}: {refused:?}");
        }
    }
}

#[test]
fn a_file_with_two_spellings_is_one_text_of_the_run() {
    let asks = "[[step]]\nid = \"look\"\nmanual = { instructions = \"look\" }\n";
    let again = SAY.replace("\"say\"", "\"again\"").replace("sql/say.sql", "./sql//say.sql");
    let env = prepared(&format!("{SAY}{asks}{again}"));
    env.run(&["lock", "r.toml"]).status(0);
    let lock = std::fs::read_to_string(env.path().join("runbook.lock")).expect("a lockfile");
    assert_eq!(lock.matches("say.sql\"").count(), 1, "{lock}");
    env.run(&["lock", "./r.toml"]).status(0);
    assert_eq!(lock, std::fs::read_to_string(env.path().join("runbook.lock")).expect("there"));
    let paused = env.run(&["exec", "r.toml", "-y", "--run-id", RUN]);
    paused.status(5);
    env.run(&["answer", RUN, "look"]).status(0);
    env.run(&["resume", RUN]).status(0);
    assert_eq!(said(&env).len(), 2, "both steps ran the one file");
}

const RUN: &str = "0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f";
