//! A runbook of twelve steps, killed at every record of its journal and at both ends of every host
//! call, with its journal in SQLite and in PostgreSQL: the same final state and the same number of
//! effects as if nothing had been.

use crate::{home, texts};
use runbook_tests::each_so_many;
use runbook_tests::env::{Finished, TestEnv, first_run};
use runbook_tests::postgres::Postgres;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Steps that insert a row, which must happen once: nothing stops a second one but the engine.
const INSERTING: [&str; 8] = ["s01", "s02", "s04", "s05", "s07", "s08", "s10", "s11"];

/// Of these, those that say of themselves that they may run again.
const IDEMPOTENT: [&str; 2] = ["s05", "s10"];

/// Moments at which the program is killed; the names are those of `host/cli/src/failpoints.rs`.
const MOMENTS: [&str; 3] = ["record", "entered", "returned"];

/// How the run ends when nobody kills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeded,
    Undone,
}

fn runbook(end: End) -> String {
    let mut text = String::from(
        "format = 1\n[runbook]\nname = \"matrix\"\n[targets.db]\nsql = \"sqlite:work.db\"\n\
         [targets.out]\nfiles = \"out\"\naccess = \"write\"\n[locks]\nexclusive = [\"matrix\"]\n\
         [[preflight]]\nid = \"sound\"\nuses = \"sqlite:integrity-check\"\nbind.db = \"db\"\n",
    );
    for number in 1..=12 {
        let id = format!("s{number:02}");
        let step = if INSERTING.contains(&id.as_str()) {
            let only_once = if IDEMPOTENT.contains(&id.as_str()) {
                format!(
                    "idempotent = true\nwith.statements = [\"insert into effects select '{id}' \
                     where not exists (select 1 from effects where name = '{id}')\"]"
                )
            } else {
                format!("with.statements = [\"insert into effects values ('{id}')\"]")
            };
            format!(
                "uses = \"sql:transaction\"\nbind.db = \"db\"\n{only_once}\n\
                     undo = {{ uses = \"sql:transaction\", bind = {{ db = \"db\" }}, with = {{ \
                     statements = [\"delete from effects where name = '{id}'\"] }}, idempotent = \
                     true }}\n"
            )
        } else if number == 12 {
            "uses = \"sql:query\"\nbind.db = \"db\"\n\
             with = { statement = \"select count(*) as n from effects\", first_row = { n = 8 } }\n"
                .to_owned()
        } else {
            format!(
                "uses = \"sqlite:backup\"\nbind = {{ db = \"db\", directory = \"out\" }}\n\
                     with.file = \"{id}.db\"\nundo = \"auto\"\n"
            )
        };
        let _ = write!(text, "[[step]]\nid = \"{id}\"\n{step}");
    }
    let expected = match end {
        End::Succeeded => 8,
        End::Undone => 9,
    };
    let _ = write!(
        text,
        "[[verify]]\nid = \"all\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
         with = {{ statement = \"select count(*) as n from effects\", first_row = {{ n = \
         {expected} }} }}\n"
    );
    text
}

/// A database that keeps a log of every insert, also of those that are deleted again.
fn prepared(end: End, journal: Option<&str>) -> TestEnv {
    let env = home();
    env.file("r.toml", &runbook(end));
    std::fs::create_dir(env.path().join("out")).expect("a folder can be made");
    let database =
        rusqlite::Connection::open(env.path().join("work.db")).expect("a database can be made");
    let tables = "create table effects (name text not null); create table inserted (name text not \
                  null); create trigger logged after insert on effects begin insert into inserted \
                  values (new.name); end";
    database.execute_batch(tables).expect("tables can be made");
    if let Some(url) = journal {
        env.file("journal", url);
    }
    env
}

fn run(env: &TestEnv, arguments: &[&str], kill: Option<(&str, u32)>) -> Finished {
    let mut command = env.command(arguments);
    if env.path().join("journal").exists() {
        command.env("RUNBOOK_JOURNAL", env.read("journal"));
    }
    if let Some((moment, number)) = kill {
        command.env("RUNBOOK_TEST_KILL", format!("{moment}:{number}"));
    }
    runbook_tests::env::finish(command.output().expect("the program starts"))
}

fn names(env: &TestEnv, table: &str) -> Vec<String> {
    texts(env, "work.db", &format!("select name from {table} order by name"))
}

fn copies(env: &TestEnv) -> Vec<String> {
    let entries = std::fs::read_dir(env.path().join("out")).expect("the folder is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Resumes the killed run as an operator would, who looks at the database when the outcome of a
/// step is unknown.
fn resume(env: &TestEnv, id: &str) -> (Finished, Vec<String>) {
    resume_until(env, id, None)
}

/// The same, killed in the first of its processes.
fn resume_until(env: &TestEnv, id: &str, mut kill: Option<(&str, u32)>) -> (Finished, Vec<String>) {
    let mut arguments = vec!["resume".to_owned(), id.to_owned()];
    let mut asked = Vec::new();
    let undecided = arguments.len();
    loop {
        let given: Vec<_> = arguments.iter().map(String::as_str).collect();
        let resumed = run(env, &given, kill.take());
        let ids = || (1..=12).map(|number| format!("s{number:02}"));
        let unknown = ids().find(|id| resumed.stderr.contains(&format!("{id}=not-done`")));
        let Some(unknown) = unknown.filter(|_| resumed.status == 5) else {
            return (resumed, asked);
        };
        assert!(
            !IDEMPOTENT.contains(&unknown.as_str()),
            "what may run again is not asked about: {}",
            resumed.stderr
        );
        assert!(asked.len() < 3, "the same is asked again: {}", resumed.stderr);
        let happened = names(env, "inserted").contains(&unknown)
            || copies(env).contains(&format!("{unknown}.db"));
        // A run that is being undone does nothing again.
        let again = if resumed.stderr.contains(&format!("{unknown}=retry`")) {
            "retry"
        } else {
            "not-done"
        };
        let decision = if happened { "done" } else { again };
        // What was answered is not asked about any more.
        arguments.truncate(undecided);
        arguments.extend(["--decide".to_owned(), format!("{unknown}={decision}")]);
        asked.push(unknown);
    }
}

/// Kills at each moment, or at each so many, until there is none left; the last of each.
fn kill_everywhere(
    end: End,
    each: usize,
    journal: &dyn Fn() -> Option<String>,
) -> BTreeMap<&'static str, u32> {
    let mut killed = BTreeMap::new();
    for moment in MOMENTS {
        for number in (1..).step_by(each) {
            let url = journal();
            let env = prepared(end, url.as_deref());
            let first = run(&env, &["exec", "r.toml", "--yes"], Some((moment, number)));
            let finished = if first.status == -1 {
                killed.insert(moment, number);
                check_one(&env, end, moment, number)
            } else {
                first
            };
            let expected = match end {
                End::Succeeded => 0,
                End::Undone => 1,
            };
            let place = format!(
                "{end:?}, killed at {moment} {number}\n{}\n{}",
                finished.stdout, finished.stderr
            );
            assert_eq!(finished.status, expected, "{place}");
            match end {
                End::Succeeded => {
                    assert_eq!(names(&env, "effects"), INSERTING, "{place}");
                    assert_eq!(copies(&env), ["s03.db", "s06.db", "s09.db"], "{place}");
                }
                End::Undone => {
                    assert!(names(&env, "effects").is_empty(), "{place}");
                    assert!(copies(&env).is_empty(), "{place}");
                }
            }
            assert_eq!(names(&env, "inserted"), INSERTING, "{place}: each effect happens once");
            if killed.get(moment) != Some(&number) {
                break;
            }
        }
    }
    killed
}

/// What the operator does after a kill.
fn check_one(env: &TestEnv, end: End, moment: &str, number: u32) -> Finished {
    let id = first_run(&run(env, &["runs", "--limit", "1"], None).status(0));
    let (finished, asked) = resume(env, &id);
    assert!(asked.len() <= 1, "{end:?}, killed at {moment} {number}: asked about {asked:?}");
    let (ended, status) = match end {
        End::Succeeded => ("has ended: succeeded", 0),
        End::Undone => ("has ended: undone", 1),
    };
    // Killed after its last record: nothing is left to do, and the program says so.
    if finished.stderr.contains(ended) { Finished { status, ..finished } } else { finished }
}

/// Says whether a program that is killed at each so many moments was killed up to the last of each
/// kind: of records, of host calls that were entered, and of those that returned.
fn assert_killed_to_the_end(end: End, each: usize, killed: &BTreeMap<&'static str, u32>) {
    let moments = match end {
        End::Succeeded => [("record", 33), ("entered", 18), ("returned", 18)],
        End::Undone => [("record", 59), ("entered", 32), ("returned", 32)],
    };
    let each = u32::try_from(each).expect("a small number");
    for (moment, number) in moments {
        assert!(killed[moment] + each > number, "{moment}: {killed:?}");
    }
}

#[test]
fn with_its_journal_in_sqlite_a_run_killed_anywhere_ends_as_if_nothing_had_been() {
    let killed = kill_everywhere(End::Succeeded, 1, &|| None);
    assert_killed_to_the_end(End::Succeeded, 1, &killed);
}

#[test]
fn with_its_journal_in_sqlite_an_undo_killed_anywhere_ends_as_if_nothing_had_been() {
    let killed = kill_everywhere(End::Undone, 1, &|| None);
    assert_killed_to_the_end(End::Undone, 1, &killed);
}

#[test]
fn with_its_journal_in_postgresql_a_run_killed_anywhere_ends_as_if_nothing_had_been() {
    let postgres = Postgres::start(0);
    let url = postgres.database("runs");
    let killed = kill_everywhere(End::Succeeded, each_so_many(), &|| Some(url.clone()));
    assert_killed_to_the_end(End::Succeeded, each_so_many(), &killed);
}

#[test]
fn with_its_journal_in_postgresql_an_undo_killed_anywhere_ends_as_if_nothing_had_been() {
    let postgres = Postgres::start(0);
    let url = postgres.database("runs");
    let killed = kill_everywhere(End::Undone, each_so_many(), &|| Some(url.clone()));
    assert_killed_to_the_end(End::Undone, each_so_many(), &killed);
}

/// Numbers that look random and are the same every time (Knuth's MMIX generator).
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Killed, resumed, killed in the resume, and so on, up to five times, at moments that nobody
/// chose.
fn killed_again_and_again(journal: &dyn Fn() -> Option<String>, seeds: std::ops::Range<u64>) {
    let mut kills = 0;
    for seed in seeds {
        let mut random = numbers(seed);
        let end = if random(2) == 0 { End::Succeeded } else { End::Undone };
        let url = journal();
        let env = prepared(end, url.as_deref());
        let mut at = |most: u64| {
            let moment = MOMENTS[usize::try_from(random(3)).expect("below 3")];
            let most = if moment == "record" { 60 } else { most };
            (moment, u32::try_from(1 + random(most)).expect("small"))
        };
        let mut story = vec![format!("seed {seed}, {end:?}")];
        let first = at(20);
        story.push(format!("{first:?}"));
        let mut finished = run(&env, &["exec", "r.toml", "--yes"], Some(first));
        for _ in 0..5 {
            if finished.status != -1 {
                break;
            }
            kills += 1;
            let id = first_run(&run(&env, &["runs", "--limit", "1"], None).status(0));
            let next = at(8);
            story.push(format!("{next:?}"));
            finished = resume_until(&env, &id, Some(next)).0;
        }
        if finished.status == -1 {
            kills += 1;
            finished = check_one(&env, end, "again", 0);
        }
        let expected = match end {
            End::Succeeded => 0,
            End::Undone => 1,
        };
        let has_ended = ["has ended: succeeded", "has ended: undone"]
            .iter()
            .any(|ended| finished.stderr.contains(ended));
        assert!(
            finished.status == expected || has_ended,
            "{story:?}: {}\n{}\n{}",
            finished.status,
            finished.stdout,
            finished.stderr
        );
        assert_eq!(
            names(&env, "inserted"),
            INSERTING,
            "{story:?}: each effect happens once\n{}",
            finished.stdout
        );
        let (effects, copied): (&[&str], &[&str]) = match end {
            End::Succeeded => (&INSERTING, &["s03.db", "s06.db", "s09.db"]),
            End::Undone => (&[], &[]),
        };
        assert_eq!(
            (names(&env, "effects"), copies(&env)),
            (owned(effects), owned(copied)),
            "{story:?}\n{}",
            finished.stdout
        );
    }
    assert!(kills > 40, "only {kills} kills");
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn with_its_journal_in_sqlite_a_run_killed_again_and_again_ends_as_if_nothing_had_been() {
    killed_again_and_again(&|| None, 0..24);
}

#[test]
fn with_its_journal_in_postgresql_a_run_killed_again_and_again_ends_as_if_nothing_had_been() {
    let postgres = Postgres::start(0);
    let url = postgres.database("runs");
    killed_again_and_again(&|| Some(url.clone()), 100..124);
}

/// A payment, its refund, and why it is refunded. The refund is an insert, and nobody says that it
/// may be repeated.
const REFUND: &str = r#"
format = 1
[runbook]
name = "refund"
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "pay"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('paid')"]
undo = { uses = "sql:transaction", bind = { db = "db" }, with = { statements = ["insert into effects values ('refunded')"] } }
[[step]]
id = "check"
uses = "sql:query"
bind.db = "db"
with = { statement = "select 1 as n", row_count = 2 }
"#;

#[test]
fn an_undo_that_was_cut_off_is_never_made_twice() {
    let mut dirty = 0;
    for moment in MOMENTS {
        for number in 1.. {
            let env = prepared(End::Undone, None);
            env.file("r.toml", REFUND);
            let mut finished = run(&env, &["exec", "r.toml", "--yes"], Some((moment, number)));
            let was_killed = finished.status == -1;
            if was_killed {
                let id = first_run(&run(&env, &["runs", "--limit", "1"], None).status(0));
                finished = run(&env, &["resume", &id], None);
                if finished.status == 5 {
                    let decision =
                        if names(&env, "effects").is_empty() { "pay=retry" } else { "pay=done" };
                    finished = run(&env, &["resume", &id, "--decide", decision], None);
                }
            }
            let refunds = names(&env, "effects").iter().filter(|name| *name == "refunded").count();
            let place = format!(
                "killed at {moment} {number}: {}\n{}\n{}",
                finished.status, finished.stdout, finished.stderr
            );
            assert!(refunds <= 1, "{place}");
            match finished.status {
                7 => {
                    dirty += 1;
                    assert!(
                        finished.stdout.contains("nobody can say whether it happened"),
                        "{place}"
                    );
                }
                // It had ended before it was killed.
                2 => assert!(finished.stderr.contains("has ended"), "{place}"),
                other => assert!(other == 1 && refunds == 1, "{place}"),
            }
            if !was_killed {
                break;
            }
        }
    }
    assert!(dirty >= 2, "it was cut off in its undo {dirty} times");
}
