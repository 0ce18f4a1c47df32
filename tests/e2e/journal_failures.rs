//! Failures of the journal's storage: an unreachable PostgreSQL server, a full disk, a removed
//! file. And a journal that two operators use at once.

use crate::{home, query_texts};
use runbook_tests::env::{ProgramOutput, TestEnv, first_run};
use runbook_tests::postgres::Postgres;
use runbook_tests::running::RunningProgram;
use runbook_tests::wait_for;
use std::process::Stdio;

/// Three effects, and a poll between them that ends when the table `said` has a row.
const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "shared"
[targets.db]
sql = "sqlite:work.db"
[locks]
exclusive = ["shared"]
[[step]]
id = "first"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('first')"]
irreversible = "counted"
[[step]]
id = "wait"
uses = "sql:query"
bind.db = "db"
with = { statement = "select name from said", row_count = 1 }
until = "outcome == 'pass'"
every = "100ms"
within = "120s"
[[step]]
id = "second"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('second')"]
irreversible = "counted"
[[step]]
id = "third"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('third')"]
irreversible = "counted"
"#;

fn prepared() -> TestEnv {
    let env = home();
    env.file("r.toml", RUNBOOK);
    database(&env)
        .execute_batch("create table effects (name text not null); create table said (name text)")
        .expect("good SQL");
    env
}

fn database(env: &TestEnv) -> rusqlite::Connection {
    let database =
        rusqlite::Connection::open(env.path().join("work.db")).expect("a database can be made");
    database.busy_timeout(std::time::Duration::from_secs(5)).expect("it can wait");
    database
}

fn effects(env: &TestEnv) -> Vec<String> {
    query_texts(env, "work.db", "select name from effects")
}

fn say_go(env: &TestEnv) {
    database(env).execute("insert into said values ('go')", []).expect("it can be written");
}

fn run(env: &TestEnv, journal: &str, arguments: &[&str]) -> ProgramOutput {
    runbook_tests::env::finish(
        env.command(arguments)
            .env("RUNBOOK_JOURNAL", journal)
            .output()
            .expect("the program starts"),
    )
}

/// Starts the run, and waits until its first effect has happened and is recorded.
fn start_run(env: &TestEnv, journal: &str) -> RunningProgram {
    start_run_with_stderr(env, journal, Stdio::piped())
}

/// Like [`start_run`], with stderr redirected.
fn start_run_with_stderr(env: &TestEnv, journal: &str, notes: Stdio) -> RunningProgram {
    let mut command = env.command(&["exec", "r.toml", "--yes"]);
    command.env("RUNBOOK_JOURNAL", journal).stdout(Stdio::piped()).stderr(notes);
    let child = RunningProgram::start(&mut command);
    wait_for("the first effect", || effects(env) == ["first"]);
    // If the program were killed before the record, the outcome would be unknown.
    let recorded = || {
        let runs = run(env, journal, &["runs", "--limit", "1"]).stdout;
        runs.split_whitespace()
            .next()
            .is_some_and(|id| run(env, journal, &["show", id]).stdout.contains("✓ first"))
    };
    wait_for("the first record", recorded);
    child
}

fn end(child: RunningProgram) -> ProgramOutput {
    runbook_tests::env::finish(child.wait_with_output().expect("the program ends"))
}

fn newest(env: &TestEnv, journal: &str) -> String {
    first_run(&run(env, journal, &["runs", "--limit", "1"]).status(0))
}

#[test]
fn a_run_continues_when_its_journal_server_returns() {
    let mut postgres = Postgres::start(0);
    let (env, url) = (prepared(), postgres.database("runs"));
    let notes = std::fs::File::create(env.path().join("notes")).expect("it can be made");
    let child = start_run_with_stderr(&env, &url, notes.into());
    postgres.kill();
    say_go(&env);
    wait_for("it waits for the journal", || env.read("notes").contains("does not answer since "));
    assert_eq!(effects(&env), ["first"], "no effect happens that the journal does not know of");
    postgres.start_again();
    // The outage is reported once with its start, and its end is reported.
    end(child).status(0);
    let told = env.read("notes");
    assert_eq!(told.matches("does not answer since ").count(), 1, "{told}");
    assert!(told.contains("the journal answers again, after "), "{told}");
    assert_eq!(effects(&env), ["first", "second", "third"]);
    run(&env, &url, &["show", &newest(&env, &url)]).status(0).out("Succeeded");
}

#[test]
fn a_run_without_its_journal_server_stops_before_the_next_effect_and_can_be_resumed() {
    let mut postgres = Postgres::start(0);
    let (env, url) = (prepared(), postgres.database("runs"));
    let child = start_run(&env, &url);
    postgres.kill();
    say_go(&env);
    let stopped =
        end(child).status(5).err("cannot be reached").err("127.0.0.1").err("runbook resume");
    assert!(!stopped.stderr.contains("s3cret"), "{}", stopped.stderr);
    assert_eq!(effects(&env), ["first"]);
    run(&env, &url, &["runs"]).status(3).err("cannot be reached");
    postgres.start_again();
    let id = newest(&env, &url);
    run(&env, &url, &["resume", &id]).status(0);
    assert_eq!(effects(&env), ["first", "second", "third"]);
}

#[test]
fn two_operators_with_one_journal_never_hold_one_lock() {
    let postgres = Postgres::start(0);
    let (ada, bob, url) = (prepared(), prepared(), postgres.database("runs"));
    let first = start_run(&ada, &url);
    run(&bob, &url, &["exec", "r.toml", "--yes"])
        .status(6)
        .out("lock `shared` is held by run")
        .out(&format!("process {}", first.id()));
    assert!(effects(&bob).is_empty());
    // Bob can watch what Ada's run does, and cannot take it over while it lives.
    let id = newest(&bob, &url);
    run(&bob, &url, &["show", &id]).status(0);
    say_go(&ada);
    end(first).status(0);
}

#[test]
fn of_two_simultaneous_resumes_only_one_executes_the_run() {
    let postgres = Postgres::start(0);
    let (env, url) = (prepared(), postgres.database("runs"));
    let mut child = start_run(&env, &url);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    say_go(&env);
    let id = newest(&env, &url);
    let resume = || run(&env, &url, &["resume", &id]);
    let ended = std::thread::scope(|scope| {
        let both = [scope.spawn(resume), scope.spawn(resume)];
        both.map(|one| one.join().expect("it ends"))
    });
    let mut statuses: Vec<_> = ended.iter().map(|one| one.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 0, "{ended:#?}");
    assert_eq!(effects(&env), ["first", "second", "third"], "{ended:#?}");
}

#[test]
fn the_lock_of_a_dead_process_is_taken_over() {
    let postgres = Postgres::start(0);
    let (env, url) = (prepared(), postgres.database("runs"));
    let mut child = start_run(&env, &url);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    say_go(&env);
    run(&env, &url, &["exec", "r.toml", "--yes"]).status(0).err("taken over from run");
}

/// A shell script that runs in its own mount namespace with a disk of 1 MiB for the journal. It
/// runs the program, and fills and frees the disk when the files `fill` and `free` appear.
const ON_A_SMALL_DISK: &str = r#"
mkdir small; mount -t tmpfs -o size=1m tmpfs small
until_there() { while [ ! -e "$1" ]; do sleep 0.05; done; }
set +e
"$1" --journal small/j.db exec r.toml --yes > exec.out 2> exec.err & pid=$!
until_there fill; dd if=/dev/zero of=small/junk bs=4k 2> /dev/null; : > filled
wait $pid; echo $? > exec.status
dd if=/dev/zero of=small/junk2 bs=4k 2> /dev/null
for command in runs locks "show $("$1" --journal small/j.db runs | cut -d' ' -f1)"; do
"$1" --journal small/j.db $command >> look.out 2>> look.err; echo $? >> look.status
done
"$1" --journal small/j.db exec r.toml --yes > again.out 2> again.err; echo $? > again.status
until_there free; rm small/junk small/junk2
run=$("$1" --journal small/j.db runs | cut -d' ' -f1)
"$1" --journal small/j.db resume "$run" > resume.out 2> resume.err; echo $? > resume.status
"#;

#[test]
fn a_full_disk_stops_a_run_before_its_next_effect_and_it_is_resumed_when_there_is_room() {
    let env = prepared();
    let program = env.command(&[]);
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-ec", ON_A_SMALL_DISK, "sh"])
        .arg(program.get_program());
    command
        .current_dir(env.path())
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.spawn().expect("unshare is there");
    let told = || std::fs::read_to_string(env.path().join("exec.err")).unwrap_or_default();
    wait_for("the first effect and its record", || told().contains("✓ first"));
    env.file("fill", "");
    wait_for("the disk is full", || env.path().join("filled").exists());
    say_go(&env);
    wait_for("the run stops", || env.path().join("exec.status").exists());
    wait_for("its status is written", || !env.read("exec.status").is_empty());
    assert_eq!(env.read("exec.status").trim(), "5", "{}", env.read("exec.err"));
    assert!(env.read("exec.err").contains("is full; free some space"), "{}", env.read("exec.err"));
    assert_eq!(effects(&env), ["first"], "no effect happens that the journal does not know of");
    env.file("free", "");
    assert!(child.wait().expect("it ends").success());
    // On the full disk, runs can be shown, and no run is started.
    assert_eq!(
        env.read("look.status"),
        "0\n0\n0\n",
        "{}{}",
        env.read("look.out"),
        env.read("look.err")
    );
    assert!(env.read("look.out").contains("✓ first"), "{}", env.read("look.out"));
    assert_eq!(
        env.read("again.status").trim(),
        "3",
        "{}{}",
        env.read("again.out"),
        env.read("again.err")
    );
    assert!(env.read("again.err").contains("E0501"), "{}", env.read("again.err"));
    assert_eq!(env.read("resume.status").trim(), "0", "{}", env.read("resume.err"));
    assert_eq!(effects(&env), ["first", "second", "third"]);
}

/// Shell commands that remove or replace the journal file of a run that has it open.
const WAYS_TO_LOSE_A_JOURNAL: &[(&str, &str)] = &[
    ("the folder is emptied", "rm -rf state/*"),
    ("the folder is removed", "rm -rf state"),
    ("the folder is moved away, and a new one is made", "mv state elsewhere; mkdir state"),
    ("the file alone is removed", "rm state/j.db"),
    ("another file takes its place", "cp state/j.db state/other; mv state/other state/j.db"),
    ("a link takes its place", "mv state/j.db state/moved; ln -s /dev/null state/j.db"),
    ("its newest records are removed", "rm state/j.db-wal"),
    ("what tells who writes is removed", "rm state/j.db-shm"),
];

#[test]
fn a_run_whose_journal_file_is_removed_stops_before_its_next_effect_and_continues_from_a_copy() {
    for (way, script) in WAYS_TO_LOSE_A_JOURNAL {
        let env = prepared();
        std::fs::create_dir(env.path().join("state")).expect("a folder can be made");
        let child = start_run(&env, "state/j.db");
        let run_id = newest(&env, "state/j.db");
        let done = std::process::Command::new("sh")
            .args(["-ec", script])
            .current_dir(env.path())
            .status()
            .expect("sh");
        assert!(done.success(), "{way}");
        say_go(&env);
        let ended = end(child);
        assert_eq!(
            effects(&env),
            ["first"],
            "{way}: an effect that no journal knows of: {}",
            ended.stderr
        );
        assert_eq!(ended.status, 5, "{way}: {}", ended.stderr);
        for said in [
            "E0515",
            "while it was in use",
            "so the run stopped before its next effect",
            "changed so far, and not put back: `first`",
        ] {
            assert!(ended.stderr.contains(said), "{way}: `{said}` is not said: {}", ended.stderr);
        }
        // The printed command works as it is.
        let printed = ended
            .stderr
            .split("`runbook resume ")
            .nth(1)
            .and_then(|rest| rest.split('`').next())
            .expect("it is printed");
        let typed: Vec<&str> = printed.split(' ').map(|word| word.trim_matches('\'')).collect();
        assert_eq!(typed.len(), 3, "{printed}");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(typed[2]).expect("the copy is there").permissions(),
        );
        assert_eq!(mode & 0o077, 0, "{way}: the copy is for its owner alone");
        // The copy has the lease of the process that ended, which is known to be dead.
        let resumed = env.run(&["resume", typed[0], typed[1], typed[2]]);
        assert_eq!(resumed.status, 0, "{way}: {}{}", resumed.stdout, resumed.stderr);
        assert!(run_id.starts_with(typed[0]), "{way}: {run_id} {printed}");
        assert_eq!(effects(&env), ["first", "second", "third"], "{way}");
    }
}

#[test]
fn a_password_in_a_journal_url_is_refused_and_not_shown() {
    let env = home();
    let refused = run(&env, "postgres://ada:s3cret@127.0.0.1/runs", &["runs"]).status(2);
    assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
    refused.err("PGPASSWORD");
}

/// The variables that configure connections of PostgreSQL's own programs, each with a value with
/// which a connection would fail.
const VARIABLES: [(&str, &str); 17] = [
    ("PGHOST", "192.0.2.1"),
    ("PGHOSTADDR", "192.0.2.1"),
    ("PGPORT", "1"),
    ("PGUSER", "nobody"),
    ("PGDATABASE", "nowhere"),
    ("PGSSLMODE", "require"),
    ("PGSSLROOTCERT", "/nowhere/root.pem"),
    ("PGSSLCERT", "/nowhere/client.pem"),
    ("PGSSLKEY", "/nowhere/client.key"),
    ("PGOPTIONS", "-c search_path=pg_catalog"),
    ("PGAPPNAME", "somebody else"),
    ("PGSERVICE", "nowhere"),
    ("PGREQUIRESSL", "1"),
    ("PGREQUIREAUTH", "none"),
    ("PGCHANNELBINDING", "require"),
    ("PGTARGETSESSIONATTRS", "read-only"),
    ("PGCONNECT_TIMEOUT", "0"),
];

#[test]
fn no_variable_redirects_the_journal() {
    let postgres = Postgres::start(1);
    let url = postgres.database("environment");
    let env = home();
    let runs = |url: &str, variable: (&str, &str)| {
        let mut command = env.command(&["runs"]);
        command.env("RUNBOOK_JOURNAL", url).env(variable.0, variable.1);
        runbook_tests::env::finish(command.output().expect("the program starts"))
    };
    runs(&url, ("UNRELATED", "1")).status(0);
    let mut refused = Vec::new();
    for variable in VARIABLES {
        let done = runs(&url, variable);
        if done.status == 0 {
            continue;
        }
        done.status(2).err(&format!("`{}` is set", variable.0)).err("unset it");
        refused.push(variable.0);
    }
    // The driver uses these variables in addition to the URL, so they are refused.
    assert_eq!(refused, ["PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGOPTIONS"]);
    // Only the password is taken from a variable.
    let owned = format!("postgres://orders_admin@127.0.0.1:{}/orders", postgres.port);
    runs(&owned, ("PGPASSWORD", runbook_tests::postgres::PASSWORD)).status(0);
    runs(&owned, ("PGPASSWORD", "another")).without("another");
    assert_ne!(runs(&owned, ("PGPASSWORD", "another")).status, 0);
}

/// A run with its own journal waits for a person, and every report format names the next command.
#[test]
fn every_printed_command_names_the_journal_and_works_from_any_folder() {
    let env = crate::home();
    std::fs::create_dir(env.path().join("my runs")).expect("a folder can be made");
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"r\"\n[[step]]\nid = \"look\"\n\
         manual = { instructions = \"look\", confirm = \"I looked\" }\n",
    );
    let journal = env.path().join("my runs/j.db").display().to_string();
    let named = format!("--journal '{journal}'");
    let own = ["--journal", "my runs/j.db"];
    let paused =
        env.run(&[&["exec", "r.toml", "--report", "markdown=r.md"][..], &own].concat()).status(5);
    paused.err(&format!("{named}`"));
    assert!(env.read("r.md").contains(&named), "{}", env.read("r.md"));
    let runs = env.run(&[&["runs", "--format", "json"][..], &own].concat()).status(0).stdout;
    let run = runs
        .split("\"run\":\"")
        .nth(1)
        .and_then(|rest| rest.get(..13))
        .expect("it is listed")
        .to_owned();
    for format in ["text", "json", "markdown", "html"] {
        let shown =
            env.run(&[&["show", &run, "--format", format][..], &own].concat()).status(0).stdout;
        let plain = shown.replace("&#39;", "'").replace("&#x27;", "'").replace("&apos;", "'");
        assert!(plain.contains(&named), "{format}: {plain}");
    }
    // With another journal, the error says which journal was searched.
    env.run(&["show", &run])
        .status(2)
        .err("looked in the journal of this account")
        .err("`--journal`");
    env.run(&[&["show", "0000"][..], &own].concat())
        .status(2)
        .err("looked in the journal")
        .err("my runs/j.db");
    // Typed as it stands.
    env.run(&["answer", &run, "look", "--confirm", "I looked", "--journal", &journal]).status(0);
    env.run(&["resume", &run, "--journal", &journal]).status(0).out("Succeeded.");
}
