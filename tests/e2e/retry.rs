//! `runbook retry RUN --from STEP`: a new run after the cause of a failure was removed.

use crate::{home, query_texts};
use runbook_tests::env::TestEnv;
use runbook_tests::http::Receiver;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "three"
[defaults]
on_failure = "stop"
[params.word]
type = "string"
required = true
[targets.db]
sql = "sqlite:work.db"
[locks]
exclusive = ["three"]
[[step]]
id = "first"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('first {{ params.word }}')"]
irreversible = "counted"
[[step]]
id = "second"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into missing values (1)"]
irreversible = "counted"
[[step]]
id = "third"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('third after {{ steps.first.output.rows }}')"]
irreversible = "counted"
"#;

fn effects(env: &TestEnv) -> Vec<String> {
    query_texts(env, "work.db", "select name from effects order by rowid")
}

#[test]
fn retry_starts_at_a_step_with_the_repaired_runbook_and_the_parameters_of_the_run() {
    let env = home();
    let database = rusqlite::Connection::open(env.path().join("work.db")).expect("a file");
    database.execute_batch("create table effects (name text)").expect("good SQL");
    env.file("r.toml", RUNBOOK);
    env.run(&["exec", "r.toml", "--yes", "--set", "word=INC-42"])
        .status(7)
        .out("no such table: missing");
    let failed = env.newest_run();
    env.run(&["retry", &failed, "--from", "third", "--yes"])
        .status(2)
        .err("`second`, which `third` needs, is not done")
        .err("--from second");
    env.run(&["retry", &failed, "--from", "secnd", "--yes"]).status(2).err("first, second, third");
    env.file(
        "r.toml",
        &RUNBOOK.replace("into missing values (1)", "into effects values ('second')"),
    );
    let done = env.run(&["retry", &failed, "--from", "second", "--yes"]).status(0);
    done.err(&format!("tries run {failed} again; done there: first"))
        .out("done in run")
        .out("Succeeded");
    assert_eq!(effects(&env), ["first INC-42", "second", "third after [1]"]);
    let later = env.newest_run();
    // `show` of the first run does not suggest another retry.
    let shown = env
        .run(&["show", &failed])
        .status(0)
        .out("DIRTY")
        .out(&format!("run {later} tries it again"));
    assert!(!shown.stdout.contains("runbook retry"), "{}", shown.stdout);
    env.run(&["show", &env.newest_run(), "--format", "json"]).status(0).out("\"retry_of\"");
    env.file("r.toml", &RUNBOOK.replace("params.word", "params.other"));
    env.run(&["retry", &failed, "--from", "second", "--yes"]).status(2);
    // A run can be retried only once. The later run knows the completed steps of both.
    env.file(
        "r.toml",
        &RUNBOOK.replace("into missing values (1)", "into effects values ('second')"),
    );
    for from in ["first", "second", "third"] {
        env.run(&["retry", &failed, "--from", from, "--yes"])
            .status(2)
            .err("was tried again by run")
            .err("runbook retry ");
    }
    assert_eq!(effects(&env), ["first INC-42", "second", "third after [1]"]);
}

const REFUND: &str = r#"
format = 1
[runbook]
name = "refund"
[defaults]
on_failure = "stop"
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "refund"
uses = "sql:transaction"
bind.db = "db"
for_each = ["1", "2", "3", "4"]
with = { statements = ["insert into effects select name from customers where name = '{{ item }}'"] }
irreversible = "money"
"#;

#[test]
fn retry_skips_completed_items_and_can_start_at_an_item() {
    let env = home();
    let database = rusqlite::Connection::open(env.path().join("work.db")).expect("a file");
    let tables = "create table effects (name text); create table customers (name text); insert \
                  into customers values ('1'), ('2'), ('3'), ('4'); create trigger broken before \
                  insert on effects when new.name = '3' begin select raise(abort, 'no'); end";
    database.execute_batch(tables).expect("good SQL");
    env.file("r.toml", REFUND);
    env.run(&["exec", "r.toml", "--yes"]).status(7);
    let failed = env.newest_run();
    database.execute_batch("drop trigger broken").expect("good SQL");
    env.run(&["retry", &failed, "--from", "refund[1]", "--yes"])
        .status(2)
        .err("is done in run")
        .err("refund");
    env.run(&["retry", &failed, "--from", "refund[3]", "--decide", "refund[1]=done"])
        .status(2)
        .err("no decision about");
    env.run(&["retry", &failed, "--from", "refund[3]", "--yes"]).status(0).out("4 of 4 items done");
    assert_eq!(effects(&env), ["1", "2", "3", "4"]);
}

/// [`REFUND`] with an undo.
fn refund_with_undo() -> String {
    let undo = "undo = { uses = \"sql:transaction\", bind.db = \"db\", with.statements = \
                [\"delete from effects where name = '{{ item }}'\"] }";
    REFUND.replace("irreversible = \"money\"", undo)
}

#[test]
fn retry_skips_items_of_an_earlier_run_after_the_later_run_was_undone() {
    let env = home();
    let database = rusqlite::Connection::open(env.path().join("work.db")).expect("a file");
    let broken = "create trigger broken before insert on effects when new.name = '3' begin select \
                  raise(abort, 'no'); end";
    let tables = "create table effects (name text); create table customers (name text); \
                  insert into customers values ('1'), ('2'), ('3'), ('4');";
    database.execute_batch(&format!("{tables}{broken}")).expect("good SQL");
    env.file("r.toml", &refund_with_undo());
    env.run(&["exec", "r.toml", "--yes"]).status(7);
    let first = env.newest_run();
    database.execute_batch("drop trigger broken").expect("good SQL");
    let more = refund_with_undo().replace("\"4\"]", "\"4\", \"5\"]");
    let more = format!(
        "{more}\n[[step]]\nid = \"last\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                 with.statement = \"select 1 from gone\"\n"
    );
    env.file("r.toml", &more);
    env.run(&["retry", &first, "--from", "refund[3]", "--yes"]).status(7);
    let second = env.newest_run();
    // The effects of the first run stay, and the output names the run and the command that undoes
    // them.
    let undone = env.run(&["undo", &second, "--yes"]).status(0);
    undone
        .out(&format!("What run {first} did stays: `refund[1]`, `refund[2]`"))
        .out(&format!("`runbook undo {first}` puts back"));
    env.run(&["undo", &second, "--yes"])
        .status(0)
        .err("undone already")
        .err(&format!("`runbook undo {first}`"));
    for format in ["text", "json", "markdown"] {
        env.run(&["show", &second, "--format", format])
            .status(0)
            .out(&format!("runbook undo {first}"));
    }
    env.run(&["show", &first])
        .status(0)
        .out(&format!("`runbook undo {first}` puts back `refund[1]`, `refund[2]`"));
    assert_eq!(effects(&env), ["1", "2"]);
    env.run(&["retry", &second, "--from", "refund[1]", "--yes"])
        .status(2)
        .err(&format!("is done in run {first}"))
        .err(&format!("or undo it first: `runbook undo {first}`"));
    // A retry needs no decision, and completes no item twice.
    env.file("r.toml", &more.replace("select 1 from gone", "select 1"));
    let third = env.run(&["retry", &second, "--from", "refund", "--yes"]).status(0);
    third
        .err(&format!("done in run {first}: refund[1], refund[2]"))
        .out(&format!("done in run {first}"))
        .out("Succeeded");
    let mut found = effects(&env);
    found.sort();
    assert_eq!(found, ["1", "2", "3", "4"], "5 is no customer");
    let newest = env.newest_run();
    env.run(&["undo", &first, "--yes"])
        .status(2)
        .err(&format!("run {newest} tried run {first} again"));
    env.run(&["undo", &newest, "--yes"]).status(0);
    env.run(&["undo", &first, "--yes"]).status(0);
    assert!(effects(&env).is_empty());
    let shown = env.run(&["show", &newest]).status(0);
    assert!(!shown.stdout.contains("stays: "), "{}", shown.stdout);
}

/// `up` has an effect, and `bad` fails. The tests replace `UNDO` with templates that cannot be
/// rendered.
const ROLLBACK: &str = r#"
format = 1
[runbook]
name = "rollback"
[params.tag]
type = "int"
default = 2
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "up"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('up')"]
undo = { uses = "sql:transaction", bind.db = "db", with.statements = ["UNDO"] }
[[step]]
id = "bad"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into missing values (1)"]
irreversible = "counted"
"#;

#[test]
fn an_undo_that_cannot_be_rendered_stops_the_step_and_a_wrong_one_can_be_corrected_afterwards() {
    let env = home();
    let database = rusqlite::Connection::open(env.path().join("work.db")).expect("a file");
    database.execute_batch("create table effects (name text)").expect("good SQL");
    // The error is known before the run: no step begins, and `plan` reports it.
    env.file("r.toml", &ROLLBACK.replace("\"UNDO\"", "\"{{ params.tag }}\""));
    env.run(&["validate", "r.toml"]).status(2).err("/statements/0").err("params.tag | string");
    env.file("r.toml", &ROLLBACK.replace("\"UNDO\"", "\"{{ params.tag + 0 }}\""));
    env.run(&["plan", "r.toml"])
        .status(0)
        .out("up/undo")
        .out("could not be done")
        .out("/statements/0");
    env.run(&["exec", "r.toml", "--yes"])
        .status(1)
        .out("could not be undone")
        .out("No step had changed anything");
    assert!(effects(&env).is_empty());
    // An output that the plugin never has is reported before the run, with the known outputs.
    env.file("r.toml", &ROLLBACK.replace("\"UNDO\"", "\"{{ steps.up.output.nothing }}\""));
    for command in ["validate", "plan", "exec"] {
        env.run(&[command, "r.toml"])
            .status(2)
            .err("E0234")
            .err("`up` (`sql:transaction`) has no `nothing`")
            .err("known: rows");
    }
    assert!(effects(&env).is_empty());
    // The error is known only after the step has run: the run is dirty, says what to do, and can be
    // undone with a corrected copy.
    env.file("r.toml", &ROLLBACK.replace("\"UNDO\"", "\"{{ steps.up.output.rows[5] }}\""));
    let run = env.run(&["exec", "r.toml", "--yes"]);
    run.status(7).out("Next: repair what keeps `up` from being undone").out("--with FILE");
    assert_eq!(effects(&env), ["up"]);
    let dirty = env.newest_run();
    env.run(&["undo", &dirty, "--yes"]).status(7);
    env.file(
        "corrected.toml",
        &ROLLBACK.replace("\"UNDO\"", "\"delete from effects where name = 'up'\""),
    );
    env.file("other.toml", &ROLLBACK.replace("name = \"rollback\"", "name = \"other\""));
    env.run(&["undo", &dirty, "--yes", "--with", "other.toml"]).status(2).err("is runbook `other`");
    env.run(&["undo", &dirty, "--yes", "--with", "corrected.toml"])
        .status(0)
        .err("by another text (sha256:");
    assert!(effects(&env).is_empty());
}

#[test]
fn of_simultaneous_retries_one_starts_and_the_others_are_rejected() {
    let env = home();
    let database = rusqlite::Connection::open(env.path().join("work.db")).expect("a file");
    database.execute_batch("create table effects (name text)").expect("good SQL");
    env.file("r.toml", &RUNBOOK.replace("[locks]\nexclusive = [\"three\"]\n", ""));
    env.run(&["exec", "r.toml", "--yes", "--set", "word=INC-42"]).status(7);
    let failed = env.newest_run();
    let repaired = RUNBOOK
        .replace("[locks]\nexclusive = [\"three\"]\n", "")
        .replace("into missing values (1)", "into effects values ('second')");
    env.file("r.toml", &repaired);
    let tries: Vec<_> =
        (0..4).map(|_| env.spawn(&["retry", &failed, "--from", "second", "--yes"])).collect();
    let ended: Vec<_> = tries
        .into_iter()
        .map(|child| runbook_tests::env::finish(child.wait_with_output().expect("it ends")))
        .collect();
    let (done, refused): (Vec<_>, Vec<_>) = ended.iter().partition(|finished| finished.status == 0);
    assert_eq!(done.len(), 1, "{ended:?}");
    assert!(
        refused
            .iter()
            .all(|other| other.status == 2 && other.stderr.contains("was tried again by run")),
        "{refused:?}"
    );
    assert_eq!(effects(&env), ["first INC-42", "second", "third after [1]"]);
    assert_eq!(
        env.run(&["runs"]).status(0).stdout.lines().count(),
        2,
        "no run is listed that never began"
    );
}

#[test]
fn undo_of_a_run_with_nothing_to_undo_is_rejected() {
    let env = home();
    let database = rusqlite::Connection::open(env.path().join("work.db")).expect("a file");
    database.execute_batch("create table effects (name text)").expect("good SQL");
    env.file("r.toml", RUNBOOK);
    env.run(&["exec", "r.toml", "--yes", "--set", "word=INC-42"]).status(7).without("runbook undo");
    let failed = env.newest_run();
    env.run(&["undo", &failed, "--yes"]).status(2).err("nothing of run").err("`first` stays");
    env.run(&["show", &failed])
        .status(0)
        .out("DIRTY. Something was changed and not put back (first)")
        .without("runbook undo");
}

/// Two steps that can be undone. The second fails in the first run.
const STACKED: &str = r#"
format = 1
[runbook]
name = "stacked"
[defaults]
on_failure = "stop"
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "first"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('first')"]
undo = { uses = "sql:transaction", bind.db = "db", with.statements = ["delete from effects where name = 'first'"] }
[[step]]
id = "second"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into missing values ('second')"]
undo = { uses = "sql:transaction", bind.db = "db", with.statements = ["delete from effects where name = 'second'"] }
"#;

#[test]
fn a_run_is_not_undone_before_the_retry_that_relies_on_it() {
    let env = home();
    let database = rusqlite::Connection::open(env.path().join("work.db")).expect("a file");
    database.execute_batch("create table effects (name text)").expect("good SQL");
    env.file("r.toml", STACKED);
    env.run(&["exec", "r.toml", "--yes"]).status(7);
    let first = env.newest_run();
    env.file("r.toml", &STACKED.replace("into missing", "into effects"));
    env.run(&["retry", &first, "--from", "second", "--yes"]).status(0);
    let second = env.newest_run();
    assert_eq!(effects(&env), ["first", "second"]);
    env.run(&["undo", &first, "--yes"])
        .status(2)
        .err("relies on what that one did")
        .err(&format!("runbook undo {second}"));
    assert_eq!(effects(&env), ["first", "second"], "nothing was done");
    // The later run is undone first, as the message says.
    env.run(&["undo", &second, "--yes"]).status(0);
    assert_eq!(effects(&env), ["first"]);
    env.run(&["undo", &first, "--yes"]).status(0);
    assert!(effects(&env).is_empty());
}

/// A server that closes the first connection without an answer and answers every later one.
fn break_first_connection(listener: &TcpListener) {
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(mut stream) = stream else { return };
        let _ = stream.read(&mut [0; 4096]);
        if number > 0 {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    }
}

#[test]
fn the_command_printed_after_an_unknown_outcome_works() {
    for way in ["done", "retry"] {
        let env = home();
        let database = rusqlite::Connection::open(env.path().join("work.db")).expect("a file");
        database.execute_batch("create table effects (name text)").expect("good SQL");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || break_first_connection(&listener));
        let step = |id: &str, needs: &str| {
            format!(
                "[[step]]\nid = \"{id}\"\n{needs}uses = \"sql:transaction\"\nbind.db = \"db\"\n\
                 with.statements = [\"insert into effects values ('{id}')\"]\n\
                 undo = {{ uses = \"sql:transaction\", bind.db = \"db\", \
                 with.statements = [\"delete from effects where name = '{id}'\"] }}\n"
            )
        };
        let tell = "[[step]]\nid = \"tell\"\nneeds = [\"first\"]\nuses = \"http:post\"\n\
                    bind.target = \"api\"\nwith = { path = \"/\", body = \"x\" }\n\
                    irreversible = \"told\"\n";
        env.file(
            "r.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"tells\"\n[defaults]\non_failure = \"stop\"\n\
                 [targets.db]\nsql = \"sqlite:work.db\"\n[targets.api]\n\
                 http = \"http://127.0.0.1:{port}\"\n{}{tell}{}",
                step("first", ""),
                step("last", "needs = [\"tell\"]\n")
            ),
        );
        let failed = env.run(&["exec", "r.toml", "--yes"]).status(7);
        let shown = failed.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, command) = shown
            .split_once("`runbook retry ")
            .unwrap_or_else(|| panic!("nothing to type in {shown}"));
        let command = command.split('`').next().expect("it has an end");
        assert!(
            command.ends_with("--decide tell=done") && shown.contains("`--decide tell=retry`"),
            "{shown}"
        );
        let command = command.replace("tell=done", &format!("tell={way}"));
        let arguments: Vec<&str> =
            ["retry", "--yes"].into_iter().chain(command.split(' ')).collect();
        env.run(&arguments).status(0).out("Succeeded");
        assert_eq!(effects(&env), ["first", "last"], "{way}");
    }
}

/// A message to a server that answers with an error although it may have accepted the message.
const PAGE: &str = r#"
format = 1
[runbook]
name = "page"
[defaults]
on_failure = "stop"
[targets.ops]
http = "http://127.0.0.1:PORT"
[[step]]
id = "page"
uses = "webhook:post"
bind.webhook = "ops"
with.json = { text = "look" }
irreversible = "a message was sent"
"#;

#[test]
fn a_stopped_run_whose_step_may_have_happened_names_the_command_that_decides_it() {
    let env = home();
    let refuses = Receiver::start_with_response("503 Service Unavailable", "{}");
    env.file("r.toml", &PAGE.replace("PORT", &refuses.port.to_string()));
    env.run(&["exec", "r.toml", "--yes"]).status(7);
    let failed = env.newest_run();
    let shown = env.run(&["show", &failed]).status(0).stdout;
    let told = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let command = format!("retry {failed} --from page --decide page=done");
    assert!(told.contains(&format!("`runbook {command}` (it happened)")), "{told}");
    assert!(told.contains("`--decide page=retry` (it did not; do it again)"), "{told}");
    let typed: Vec<&str> = command.split(' ').chain(["--yes"]).collect();
    env.run(&typed).status(0).out("Succeeded");
    assert_eq!(refuses.received().len(), 1, "it is not sent again");
}
