//! A runbook of twelve steps is killed after every record of its journal and before and after every
//! host call, with its journal in SQLite and in PostgreSQL. After a resume, the final state and the
//! number of effects are the same as without a kill.

use crate::{home, query_texts};
use runbook_tests::env::{ProgramOutput, TestEnv, first_run};
use runbook_tests::kill_point_stride;
use runbook_tests::postgres::Postgres;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Steps that insert a row. Only the engine prevents a second insert.
const INSERTING: [&str; 8] = ["s01", "s02", "s04", "s05", "s07", "s08", "s10", "s11"];

/// The inserting steps that are declared idempotent.
const IDEMPOTENT: [&str; 2] = ["s05", "s10"];

/// Failpoints at which the program is killed, by their names in `host/cli/src/failpoints.rs`.
const FAILPOINTS: [&str; 3] = ["record", "entered", "returned"];

/// How the run ends when nobody kills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpectedEnd {
    Succeeded,
    Undone,
}

fn runbook(end: ExpectedEnd) -> String {
    let mut text = String::from(
        "format = 1\n[runbook]\nname = \"matrix\"\n[targets.db]\nsql = \"sqlite:work.db\"\n\
         [targets.out]\nfiles = \"out\"\naccess = \"write\"\n[locks]\nexclusive = [\"matrix\"]\n\
         [[preflight]]\nid = \"sound\"\nuses = \"sqlite:integrity-check\"\nbind.db = \"db\"\n",
    );
    for number in 1..=12 {
        let id = format!("s{number:02}");
        let step = if INSERTING.contains(&id.as_str()) {
            let statements_line = if IDEMPOTENT.contains(&id.as_str()) {
                format!(
                    "idempotent = true\nwith.statements = [\"insert into effects select '{id}' \
                     where not exists (select 1 from effects where name = '{id}')\"]"
                )
            } else {
                format!("with.statements = [\"insert into effects values ('{id}')\"]")
            };
            format!(
                "uses = \"sql:transaction\"\nbind.db = \"db\"\n{statements_line}\n\
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
        ExpectedEnd::Succeeded => 8,
        ExpectedEnd::Undone => 9,
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
fn prepared(end: ExpectedEnd, journal: Option<&str>) -> TestEnv {
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

fn run(env: &TestEnv, arguments: &[&str], kill: Option<(&str, u32)>) -> ProgramOutput {
    let mut command = env.command(arguments);
    if env.path().join("journal").exists() {
        command.env("RUNBOOK_JOURNAL", env.read("journal"));
    }
    if let Some((failpoint, number)) = kill {
        command.env("RUNBOOK_TEST_KILL", format!("{failpoint}:{number}"));
    }
    runbook_tests::env::finish(command.output().expect("the program starts"))
}

fn names(env: &TestEnv, table: &str) -> Vec<String> {
    query_texts(env, "work.db", &format!("select name from {table} order by name"))
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
fn resume(env: &TestEnv, id: &str) -> (ProgramOutput, Vec<String>) {
    resume_until(env, id, None)
}

/// Like [`resume`], but the first process is killed at `kill`.
fn resume_until(
    env: &TestEnv,
    id: &str,
    mut kill: Option<(&str, u32)>,
) -> (ProgramOutput, Vec<String>) {
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
        // While a run is undone, a step cannot be retried.
        let again = if resumed.stderr.contains(&format!("{unknown}=retry`")) {
            "retry"
        } else {
            "not-done"
        };
        let decision = if happened { "done" } else { again };
        // Earlier decisions are recorded, so only the new one is given.
        arguments.truncate(undecided);
        arguments.extend(["--decide".to_owned(), format!("{unknown}={decision}")]);
        asked.push(unknown);
    }
}

/// Kills a new run at every `stride`-th point of each failpoint until a run is not killed any more.
/// Returns the last point of each failpoint.
fn kill_everywhere(
    end: ExpectedEnd,
    stride: usize,
    journal: &dyn Fn() -> Option<String>,
) -> BTreeMap<&'static str, u32> {
    let mut killed = BTreeMap::new();
    for failpoint in FAILPOINTS {
        for number in (1..).step_by(stride) {
            let url = journal();
            let env = prepared(end, url.as_deref());
            let first = run(&env, &["exec", "r.toml", "--yes"], Some((failpoint, number)));
            let finished = if first.status == -1 {
                killed.insert(failpoint, number);
                resume_after_kill(&env, end, failpoint, number)
            } else {
                first
            };
            let expected = match end {
                ExpectedEnd::Succeeded => 0,
                ExpectedEnd::Undone => 1,
            };
            let context = format!(
                "{end:?}, killed at {failpoint} {number}\n{}\n{}",
                finished.stdout, finished.stderr
            );
            assert_eq!(finished.status, expected, "{context}");
            match end {
                ExpectedEnd::Succeeded => {
                    assert_eq!(names(&env, "effects"), INSERTING, "{context}");
                    assert_eq!(copies(&env), ["s03.db", "s06.db", "s09.db"], "{context}");
                }
                ExpectedEnd::Undone => {
                    assert!(names(&env, "effects").is_empty(), "{context}");
                    assert!(copies(&env).is_empty(), "{context}");
                }
            }
            assert_eq!(names(&env, "inserted"), INSERTING, "{context}: each effect happens once");
            if killed.get(failpoint) != Some(&number) {
                break;
            }
        }
    }
    killed
}

/// Resumes a killed run, and checks that at most one question was asked.
fn resume_after_kill(
    env: &TestEnv,
    end: ExpectedEnd,
    failpoint: &str,
    number: u32,
) -> ProgramOutput {
    let id = first_run(&run(env, &["runs", "--limit", "1"], None).status(0));
    let (finished, asked) = resume(env, &id);
    assert!(asked.len() <= 1, "{end:?}, killed at {failpoint} {number}: asked about {asked:?}");
    let (ended, status) = match end {
        ExpectedEnd::Succeeded => ("has ended: succeeded", 0),
        ExpectedEnd::Undone => ("has ended: undone", 1),
    };
    // If the run was killed after its last record, `resume` reports that it has ended.
    if finished.stderr.contains(ended) { ProgramOutput { status, ..finished } } else { finished }
}

/// Checks that the kills reached the last point of each failpoint: records, entered host calls and
/// returned host calls.
fn assert_killed_to_the_end(end: ExpectedEnd, stride: usize, killed: &BTreeMap<&'static str, u32>) {
    let last_points = match end {
        ExpectedEnd::Succeeded => [("record", 33), ("entered", 18), ("returned", 18)],
        ExpectedEnd::Undone => [("record", 59), ("entered", 32), ("returned", 32)],
    };
    let stride = u32::try_from(stride).expect("a small number");
    for (failpoint, number) in last_points {
        assert!(killed[failpoint] + stride > number, "{failpoint}: {killed:?}");
    }
}

#[test]
fn a_run_killed_anywhere_is_completed_once_with_a_sqlite_journal() {
    let killed = kill_everywhere(ExpectedEnd::Succeeded, 1, &|| None);
    assert_killed_to_the_end(ExpectedEnd::Succeeded, 1, &killed);
}

#[test]
fn an_undo_killed_anywhere_is_completed_once_with_a_sqlite_journal() {
    let killed = kill_everywhere(ExpectedEnd::Undone, 1, &|| None);
    assert_killed_to_the_end(ExpectedEnd::Undone, 1, &killed);
}

#[test]
fn a_run_killed_anywhere_is_completed_once_with_a_postgresql_journal() {
    let postgres = Postgres::start(0);
    let url = postgres.database("runs");
    let killed =
        kill_everywhere(ExpectedEnd::Succeeded, kill_point_stride(), &|| Some(url.clone()));
    assert_killed_to_the_end(ExpectedEnd::Succeeded, kill_point_stride(), &killed);
}

#[test]
fn an_undo_killed_anywhere_is_completed_once_with_a_postgresql_journal() {
    let postgres = Postgres::start(0);
    let url = postgres.database("runs");
    let killed = kill_everywhere(ExpectedEnd::Undone, kill_point_stride(), &|| Some(url.clone()));
    assert_killed_to_the_end(ExpectedEnd::Undone, kill_point_stride(), &killed);
}

/// Numbers that look random and are the same every time (Knuth's MMIX generator).
fn random_numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Kills and resumes a run up to five times, at pseudo-random points.
fn check_repeated_kills(journal: &dyn Fn() -> Option<String>, seeds: std::ops::Range<u64>) {
    let mut kills = 0;
    for seed in seeds {
        let mut random = random_numbers(seed);
        let end = if random(2) == 0 { ExpectedEnd::Succeeded } else { ExpectedEnd::Undone };
        let url = journal();
        let env = prepared(end, url.as_deref());
        let mut at = |most: u64| {
            let failpoint = FAILPOINTS[usize::try_from(random(3)).expect("below 3")];
            let most = if failpoint == "record" { 60 } else { most };
            (failpoint, u32::try_from(1 + random(most)).expect("small"))
        };
        let mut kills_so_far = vec![format!("seed {seed}, {end:?}")];
        let first = at(20);
        kills_so_far.push(format!("{first:?}"));
        let mut finished = run(&env, &["exec", "r.toml", "--yes"], Some(first));
        for _ in 0..5 {
            if finished.status != -1 {
                break;
            }
            kills += 1;
            let id = first_run(&run(&env, &["runs", "--limit", "1"], None).status(0));
            let next = at(8);
            kills_so_far.push(format!("{next:?}"));
            finished = resume_until(&env, &id, Some(next)).0;
        }
        if finished.status == -1 {
            kills += 1;
            finished = resume_after_kill(&env, end, "again", 0);
        }
        let expected = match end {
            ExpectedEnd::Succeeded => 0,
            ExpectedEnd::Undone => 1,
        };
        let has_ended = ["has ended: succeeded", "has ended: undone"]
            .iter()
            .any(|ended| finished.stderr.contains(ended));
        assert!(
            finished.status == expected || has_ended,
            "{kills_so_far:?}: {}\n{}\n{}",
            finished.status,
            finished.stdout,
            finished.stderr
        );
        assert_eq!(
            names(&env, "inserted"),
            INSERTING,
            "{kills_so_far:?}: each effect happens once\n{}",
            finished.stdout
        );
        let (effects, copied): (&[&str], &[&str]) = match end {
            ExpectedEnd::Succeeded => (&INSERTING, &["s03.db", "s06.db", "s09.db"]),
            ExpectedEnd::Undone => (&[], &[]),
        };
        assert_eq!(
            (names(&env, "effects"), copies(&env)),
            (owned(effects), owned(copied)),
            "{kills_so_far:?}\n{}",
            finished.stdout
        );
    }
    assert!(kills > 40, "only {kills} kills");
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_run_killed_repeatedly_is_completed_once_with_a_sqlite_journal() {
    check_repeated_kills(&|| None, 0..24);
}

#[test]
fn a_run_killed_repeatedly_is_completed_once_with_a_postgresql_journal() {
    let postgres = Postgres::start(0);
    let url = postgres.database("runs");
    check_repeated_kills(&|| Some(url.clone()), 100..124);
}

/// A payment whose undo is a refund, and a check that fails, so that the payment is refunded. The
/// refund is an insert and is not declared idempotent.
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
fn an_interrupted_undo_is_never_repeated() {
    let mut dirty = 0;
    for failpoint in FAILPOINTS {
        for number in 1.. {
            let env = prepared(ExpectedEnd::Undone, None);
            env.file("r.toml", REFUND);
            let mut finished = run(&env, &["exec", "r.toml", "--yes"], Some((failpoint, number)));
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
            let context = format!(
                "killed at {failpoint} {number}: {}\n{}\n{}",
                finished.status, finished.stdout, finished.stderr
            );
            assert!(refunds <= 1, "{context}");
            match finished.status {
                7 => {
                    dirty += 1;
                    assert!(
                        finished.stdout.contains("nobody can say whether it happened"),
                        "{context}"
                    );
                }
                // The run had ended before the kill.
                2 => assert!(finished.stderr.contains("has ended"), "{context}"),
                other => assert!(other == 1 && refunds == 1, "{context}"),
            }
            if !was_killed {
                break;
            }
        }
    }
    assert!(dirty >= 2, "it was cut off in its undo {dirty} times");
}
