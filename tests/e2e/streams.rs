//! A closed, full or broken stdin, stdout or stderr neither stops a run nor changes how it ends.

use crate::home;
use crate::signals::{done, looks_at_the_gate, open_gate, prepared, wait_for_the_gate};
use runbook_tests::env::TestEnv;
use runbook_tests::running::RunningProgram;
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

/// How a stream is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamFault {
    /// It is closed when the program starts.
    Closed,
    /// It is `/dev/full`, as a full disk.
    Full,
    /// It is a pipe whose reader is closed.
    PipeWithoutReader,
    /// It is a terminal that was closed.
    ClosedTerminal,
}

const OUTPUT_FAULTS: &[StreamFault] = &[
    StreamFault::Closed,
    StreamFault::Full,
    StreamFault::PipeWithoutReader,
    StreamFault::ClosedTerminal,
];

/// Every combination in the table of the documents.
fn all() -> Vec<Vec<(Stream, StreamFault)>> {
    let mut all = vec![
        vec![(Stream::In, StreamFault::Closed)],
        vec![(Stream::In, StreamFault::ClosedTerminal)],
    ];
    for wrong in OUTPUT_FAULTS {
        all.push(vec![(Stream::Out, *wrong)]);
        all.push(vec![(Stream::Err, *wrong)]);
        all.push(vec![(Stream::Out, *wrong), (Stream::Err, *wrong)]);
    }
    all.push(vec![
        (Stream::In, StreamFault::Closed),
        (Stream::Out, StreamFault::Closed),
        (Stream::Err, StreamFault::Closed),
    ]);
    all.push(vec![
        (Stream::In, StreamFault::ClosedTerminal),
        (Stream::Out, StreamFault::ClosedTerminal),
        (Stream::Err, StreamFault::ClosedTerminal),
    ]);
    all
}

/// Runs a command with broken streams, and returns its exit status.
fn status(env: &TestEnv, arguments: &[&str], faults: &[(Stream, StreamFault)]) -> Option<i32> {
    let program = env.command(arguments);
    let mut closed = String::new();
    for (stream, wrong) in faults {
        if *wrong == StreamFault::Closed {
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
    for (stream, wrong) in faults {
        let end = match wrong {
            StreamFault::Closed => continue,
            StreamFault::Full => {
                Stdio::from(OpenOptions::new().write(true).open("/dev/full").expect("Linux has it"))
            }
            StreamFault::PipeWithoutReader => Stdio::from(std::io::pipe().expect("a pipe").1),
            StreamFault::ClosedTerminal => {
                let mut terminal = Terminal::open();
                let end = terminal.open_client_side();
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
fn a_run_succeeds_with_any_broken_descriptor() {
    for faults in all() {
        let env = prepared();
        open_gate(&env);
        assert_eq!(status(&env, &["exec", "r.toml"], &faults), Some(0), "{faults:?}");
        assert_eq!(done(&env), ["first", "second"], "{faults:?}");
        env.run(&["show", &env.newest_run()]).status(0).out("Succeeded.");
    }
}

#[test]
fn a_failed_run_keeps_its_exit_code_with_any_broken_descriptor() {
    for faults in all() {
        let env = prepared();
        let text = crate::signals::RUNBOOK.replace("within = \"5m\"", "within = \"60ms\"");
        env.file("r.toml", &text);
        assert_eq!(status(&env, &["exec", "r.toml"], &faults), Some(1), "{faults:?}");
        assert!(done(&env).is_empty(), "{faults:?}");
    }
}

#[test]
fn resume_undo_and_check_work_with_any_broken_descriptor() {
    for faults in all() {
        let env = prepared();
        let mut child = env.spawn(&["exec", "r.toml"]);
        wait_for_the_gate(&env, 0);
        child.kill().and_then(|()| child.wait()).expect("it is ours");
        open_gate(&env);
        let run = env.newest_run();
        assert_eq!(status(&env, &["resume", &run], &faults), Some(0), "{faults:?}");
        assert_eq!(done(&env), ["first", "second"], "{faults:?}");
        assert_eq!(status(&env, &["undo", &run, "--yes"], &faults), Some(0), "{faults:?}");
        assert_eq!(done(&env), ["second"], "{faults:?}");
        // If the results of `check` cannot be written, its exit code is 3 (unknown). A reader that
        // closes the pipe is no error.
        let is_lost = |wrong: &(Stream, StreamFault)| {
            wrong.0 == Stream::Out
                && matches!(wrong.1, StreamFault::Full | StreamFault::ClosedTerminal)
        };
        let expected = if faults.iter().any(is_lost) { 3 } else { 0 };
        assert_eq!(status(&env, &["check", "checks.toml"], &faults), Some(expected), "{faults:?}");
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
fn a_recorded_answer_counts_although_its_confirmation_cannot_be_printed() {
    let env = home();
    let manual = "format = 1\n[runbook]\nname = \"m\"\n[[step]]\nid = \"look\"\n\
                  manual = { instructions = \"Look.\" }\n";
    env.file("m.toml", manual);
    env.run(&["exec", "m.toml"]).status(5);
    let run = env.newest_run();
    assert_eq!(
        status(&env, &["answer", &run, "look"], &[(Stream::Out, StreamFault::Full)]),
        Some(0)
    );
    env.run(&["resume", &run]).status(0);
}

#[test]
fn a_full_nonblocking_pipe_delays_only_the_output() {
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
        RunningProgram::start(env.command(&["exec", "r.toml"]).stdout(out_end).stderr(err_end));
    wait_for_the_gate(&env, 0);
    open_gate(&env);
    wait_for("the run has ended although nobody reads", || has_ended(&env));
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
fn a_signal_ends_a_program_that_only_waits_for_its_reader() {
    let env = prepared();
    open_gate(&env);
    let (_reader, end) = std::io::pipe().expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&end).expect("flags");
    rustix::fs::fcntl_setfl(&end, flags | rustix::fs::OFlags::NONBLOCK).expect("it can be set");
    while rustix::io::write(&end, &[b'.'; 4096]).is_ok() {}
    while rustix::io::write(&end, b".").is_ok() {}
    let mut child =
        RunningProgram::start(env.command(&["exec", "r.toml"]).stdout(end).stderr(Stdio::null()));
    // The tables of the journal may not exist yet.
    wait_for("the run has begun", || looks_at_the_gate(&env) > 0);
    wait_for("the run has ended", || has_ended(&env));
    wait_for("the program ends", || {
        let gone = child.try_wait().expect("it is ours").is_some();
        if !gone {
            runbook_tests::send(&child, "TERM");
        }
        gone
    });
    assert_eq!(done(&env), ["first", "second"]);
}

fn has_ended(env: &TestEnv) -> bool {
    if !env.path().join(".local/state/runbook/journal.db").exists() {
        return false;
    }
    let query = "select event from events where event like '%\"run-ended\"%'";
    !crate::query_texts(env, ".local/state/runbook/journal.db", query).is_empty()
}

#[test]
fn closing_the_terminal_does_not_end_a_run() {
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
            // Some more polls, so that the live view writes to the closed terminal.
            wait_for_the_gate(&env, looks_at_the_gate(&env) + 5);
            open_gate(&env);
            let exit_status = child.wait().expect("it ends");
            assert_eq!(exit_status.code(), Some(0), "{control:?} {arguments:?}: {exit_status}");
            assert_eq!(done(&env), ["first", "second"], "{control:?} {arguments:?}");
            env.run(&["show", &env.newest_run(), "--follow"]).status(0).out("Succeeded.");
        }
    }
}

/// A step that prompts at a terminal, its prompt, and the answer without Enter.
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
fn a_prompt_whose_terminal_is_closed_gets_no_answer_and_the_run_waits() {
    for control in [Control::Session, Control::None] {
        for (step, question, beginning) in QUESTIONS {
            let env = prepared();
            let head = "format = 1\n[runbook]\nname = \"asks\"\n[targets.db]\nsql = \"sqlite:work.db\"\n\
                 [[step]]\nid = \"look\"\n";
            env.file("q.toml", &format!("{head}{step}\n"));
            let mut terminal = Terminal::open();
            let mut child = terminal.spawn(&env.command(&["exec", "q.toml"]), control);
            wait_for("it asks", || terminal.shown().contains(question));
            // The answer is typed without Enter.
            terminal.type_keys(beginning);
            terminal.close();
            let exit_status = child.wait().expect("it ends");
            assert_eq!(exit_status.code(), Some(5), "{control:?} {step}: {exit_status}");
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
fn an_unfinished_yes_is_no_confirmation() {
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
