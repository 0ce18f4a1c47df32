//! Every way in which stdin, stdout and stderr can be closed, full, stopped or gone: none stops a
//! run or changes how it ends.

use crate::home;
use crate::signals::{done, looks_at_the_gate, open_gate, prepared, wait_for_the_gate};
use runbook_tests::env::TestEnv;
use runbook_tests::running::Running;
use runbook_tests::terminal::{Control, Terminal};
use runbook_tests::wait_for;
use std::fs::OpenOptions;
use std::process::{Command, Stdio};

/// A descriptor of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    In,
    Out,
    Err,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// Closed when the program starts.
    Closed,
    /// A disk without room.
    Full,
    /// A pipe that nobody reads any more.
    NobodyReads,
    /// A terminal that was closed before.
    TerminalGone,
}

const OUTPUT: &[Wrong] = &[Wrong::Closed, Wrong::Full, Wrong::NobodyReads, Wrong::TerminalGone];

/// Every combination that a table of the documents names.
fn all() -> Vec<Vec<(Stream, Wrong)>> {
    let mut all = vec![vec![(Stream::In, Wrong::Closed)], vec![(Stream::In, Wrong::TerminalGone)]];
    for wrong in OUTPUT {
        all.push(vec![(Stream::Out, *wrong)]);
        all.push(vec![(Stream::Err, *wrong)]);
        all.push(vec![(Stream::Out, *wrong), (Stream::Err, *wrong)]);
    }
    all.push(vec![
        (Stream::In, Wrong::Closed),
        (Stream::Out, Wrong::Closed),
        (Stream::Err, Wrong::Closed),
    ]);
    all.push(vec![
        (Stream::In, Wrong::TerminalGone),
        (Stream::Out, Wrong::TerminalGone),
        (Stream::Err, Wrong::TerminalGone),
    ]);
    all
}

/// The exit status of a command whose descriptors are wrong.
fn status(env: &TestEnv, arguments: &[&str], wrongs: &[(Stream, Wrong)]) -> Option<i32> {
    let program = env.command(arguments);
    let mut closed = String::new();
    for (stream, wrong) in wrongs {
        if *wrong == Wrong::Closed {
            closed.push_str(match stream {
                Stream::In => " <&-",
                Stream::Out => " >&-",
                Stream::Err => " 2>&-",
            });
        }
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec \"$@\"{closed}"), "sh"])
        .arg(program.get_program())
        .args(program.get_args());
    command
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(env.path());
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for (stream, wrong) in wrongs {
        let end = match wrong {
            Wrong::Closed => continue,
            Wrong::Full => {
                Stdio::from(OpenOptions::new().write(true).open("/dev/full").expect("Linux has it"))
            }
            Wrong::NobodyReads => Stdio::from(std::io::pipe().expect("a pipe").1),
            Wrong::TerminalGone => {
                let mut terminal = Terminal::open();
                let end = terminal.end();
                terminal.close();
                Stdio::from(end)
            }
        };
        match stream {
            Stream::In => command.stdin(end),
            Stream::Out => command.stdout(end),
            Stream::Err => command.stderr(end),
        };
    }
    command.status().expect("it starts").code()
}

#[test]
fn whatever_is_wrong_with_a_descriptor_a_run_ends_as_it_would_and_says_so_by_its_exit_code() {
    for wrongs in all() {
        let env = prepared();
        open_gate(&env);
        assert_eq!(status(&env, &["exec", "r.toml"], &wrongs), Some(0), "{wrongs:?}");
        assert_eq!(done(&env), ["first", "second"], "{wrongs:?}");
        env.run(&["show", &env.newest_run()]).status(0).out("Succeeded.");
    }
}

#[test]
fn a_run_that_failed_says_so_by_its_exit_code_although_nobody_reads_its_report() {
    for wrongs in all() {
        let env = prepared();
        let text = crate::signals::RUNBOOK.replace("within = \"5m\"", "within = \"60ms\"");
        env.file("r.toml", &text);
        assert_eq!(status(&env, &["exec", "r.toml"], &wrongs), Some(1), "{wrongs:?}");
        assert!(done(&env).is_empty(), "{wrongs:?}");
    }
}

#[test]
fn so_it_is_with_a_run_that_is_resumed_or_undone_and_with_checks() {
    for wrongs in all() {
        let env = prepared();
        let mut child = env.spawn(&["exec", "r.toml"]);
        wait_for_the_gate(&env, 0);
        child.kill().and_then(|()| child.wait()).expect("it is ours");
        open_gate(&env);
        let run = env.newest_run();
        assert_eq!(status(&env, &["resume", &run], &wrongs), Some(0), "{wrongs:?}");
        assert_eq!(done(&env), ["first", "second"], "{wrongs:?}");
        assert_eq!(status(&env, &["undo", &run, "--yes"], &wrongs), Some(0), "{wrongs:?}");
        assert_eq!(done(&env), ["second"], "{wrongs:?}");
        // What checks found is their output: where it cannot be written, nothing is known. A reader
        // that has had enough is no error.
        let is_lost = |wrong: &(Stream, Wrong)| {
            wrong.0 == Stream::Out && matches!(wrong.1, Wrong::Full | Wrong::TerminalGone)
        };
        let expected = if wrongs.iter().any(is_lost) { 3 } else { 0 };
        assert_eq!(status(&env, &["check", "checks.toml"], &wrongs), Some(expected), "{wrongs:?}");
    }
}

#[test]
fn a_warning_says_that_the_report_could_not_be_written() {
    let env = prepared();
    open_gate(&env);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output = env
        .command(&["exec", "r.toml"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("warning: the report of the run"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
}

#[test]
fn what_was_written_down_stays_so_although_it_cannot_be_said() {
    let env = home();
    let manual = "format = 1\n[runbook]\nname = \"m\"\n[[step]]\nid = \"look\"\n\
                  manual = { instructions = \"Look.\" }\n";
    env.file("m.toml", manual);
    env.run(&["exec", "m.toml"]).status(5);
    let run = env.newest_run();
    assert_eq!(status(&env, &["answer", &run, "look"], &[(Stream::Out, Wrong::Full)]), Some(0));
    env.run(&["resume", &run]).status(0);
}

#[test]
fn a_pipe_that_does_not_block_and_has_no_room_delays_only_what_is_said() {
    let env = prepared();
    let (mut out, out_end) = std::io::pipe().expect("a pipe");
    let (mut err, err_end) = std::io::pipe().expect("a pipe");
    for end in [&out_end, &err_end] {
        let flags = rustix::fs::fcntl_getfl(end).expect("flags");
        rustix::fs::fcntl_setfl(end, flags | rustix::fs::OFlags::NONBLOCK).expect("it can be set");
        while rustix::io::write(end, &[b'.'; 4096]).is_ok() {}
        while rustix::io::write(end, b".").is_ok() {}
    }
    let mut child =
        Running::start(env.command(&["exec", "r.toml"]).stdout(out_end).stderr(err_end));
    wait_for_the_gate(&env, 0);
    open_gate(&env);
    wait_for("the run has ended although nobody reads", || ended(&env));
    assert_eq!(done(&env), ["first", "second"]);
    let read = |from: &mut std::io::PipeReader| {
        let mut text = String::new();
        std::io::Read::read_to_string(from, &mut text).expect("it is text");
        text
    };
    let said = std::thread::scope(|scope| {
        let said = scope.spawn(|| read(&mut err));
        (read(&mut out), said.join().expect("no panic"))
    });
    assert!(child.wait().expect("it ends").success());
    assert!(
        said.0.contains("Succeeded.") && said.1.contains("second"),
        "nothing is lost: {said:?}"
    );
}

#[test]
fn a_signal_ends_a_program_that_only_waits_to_be_read() {
    let env = prepared();
    open_gate(&env);
    let (_reader, end) = std::io::pipe().expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&end).expect("flags");
    rustix::fs::fcntl_setfl(&end, flags | rustix::fs::OFlags::NONBLOCK).expect("it can be set");
    while rustix::io::write(&end, &[b'.'; 4096]).is_ok() {}
    while rustix::io::write(&end, b".").is_ok() {}
    let mut child =
        Running::start(env.command(&["exec", "r.toml"]).stdout(end).stderr(Stdio::null()));
    // Its tables may not be there yet.
    wait_for("the run has begun", || looks_at_the_gate(&env) > 0);
    wait_for("the run has ended", || ended(&env));
    wait_for("the program ends", || {
        let gone = child.try_wait().expect("it is ours").is_some();
        if !gone {
            runbook_tests::send(&child, "TERM");
        }
        gone
    });
    assert_eq!(done(&env), ["first", "second"]);
}

fn ended(env: &TestEnv) -> bool {
    if !env.path().join(".local/state/runbook/journal.db").exists() {
        return false;
    }
    let query = "select event from events where event like '%\"run-ended\"%'";
    !crate::texts(env, ".local/state/runbook/journal.db", query).is_empty()
}

#[test]
fn a_terminal_that_is_closed_in_the_middle_ends_no_run() {
    for control in [Control::Session, Control::None] {
        for arguments in [&["exec", "r.toml"][..], &["resume"]] {
            let env = prepared();
            let mut arguments = arguments.to_vec();
            let run = if arguments == ["resume"] {
                let mut child = env.spawn(&["exec", "r.toml"]);
                wait_for_the_gate(&env, 0);
                child.kill().and_then(|()| child.wait()).expect("it is ours");
                env.newest_run()
            } else {
                String::new()
            };
            if !run.is_empty() {
                arguments.push(&run);
            }
            let looks = looks_at_the_gate(&env);
            let mut terminal = Terminal::open();
            let mut child = terminal.spawn(&env.command(&arguments), control);
            wait_for_the_gate(&env, looks);
            wait_for("the view moves", || terminal.shown().contains("of 3 steps"));
            terminal.close();
            // Some more looks: it draws, and writes what it sees.
            wait_for_the_gate(&env, looks_at_the_gate(&env) + 5);
            open_gate(&env);
            let ended = child.wait().expect("it ends");
            assert_eq!(ended.code(), Some(0), "{control:?} {arguments:?}: {ended}");
            assert_eq!(done(&env), ["first", "second"], "{control:?} {arguments:?}");
            env.run(&["show", &env.newest_run(), "--follow"]).status(0).out("Succeeded.");
        }
    }
}

/// What a run waits for at a terminal, and the beginning of an answer.
const QUESTIONS: &[(&str, &str, &str)] = &[
    (
        "manual = { instructions = \"Look.\", confirm = \"I looked\" }",
        "when it is done: ",
        "I looked",
    ),
    ("manual = { instructions = \"Look.\", form = { n = \"int\" } }", "n (int): ", "3"),
    ("manual = { instructions = \"Look.\", choices = [\"go\"] }", "choose one of go: ", "go"),
    (
        "uses = \"sql:transaction\"\nbind.db = \"db\"\n\
         with = { statements = [\"delete from done\"] }\nirreversible = \"x\"\n\
         approval = { quorum = 1 }",
        "type `approve look`",
        "approve look",
    ),
];

#[test]
fn a_question_whose_terminal_goes_away_has_no_answer_and_the_run_waits() {
    for control in [Control::Session, Control::None] {
        for (step, question, beginning) in QUESTIONS {
            let env = prepared();
            let head = "format = 1\n[runbook]\nname = \"asks\"\n[targets.db]\nsql = \"sqlite:work.db\"\n\
                 [[step]]\nid = \"look\"\n";
            env.file("q.toml", &format!("{head}{step}\n"));
            let mut terminal = Terminal::open();
            let mut child = terminal.spawn(&env.command(&["exec", "q.toml"]), control);
            wait_for("it asks", || terminal.shown().contains(question));
            // Typed, and not finished with Enter.
            terminal.type_keys(beginning);
            terminal.close();
            let ended = child.wait().expect("it ends");
            assert_eq!(ended.code(), Some(5), "{control:?} {step}: {ended}");
            let run = env.newest_run();
            env.run(&["show", &run])
                .status(0)
                .out("Paused")
                .without("answered by")
                .without("approved by");
            env.run(&["resume", &run]).status(5);
        }
    }
}

#[test]
fn a_yes_that_was_not_finished_is_none() {
    for keys in ["y", "\u{4}", "no\n"] {
        let env = prepared();
        env.file(
            "r.toml",
            &crate::signals::RUNBOOK
                .replace("name = \"signals\"", "name = \"signals\"\nrisk = \"destructive\""),
        );
        let mut terminal = Terminal::open();
        let mut child = terminal.spawn(&env.command(&["exec", "r.toml"]), Control::None);
        wait_for("it asks", || terminal.shown().contains("[y/N]"));
        terminal.type_keys(keys);
        if keys == "y" {
            terminal.close();
        }
        assert_eq!(child.wait().expect("it ends").code(), Some(2), "{keys:?}");
        assert!(done(&env).is_empty(), "{keys:?}");
    }
}
