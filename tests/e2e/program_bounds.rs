//! A program that a step runs cannot use the operator's terminal, and the operator's environment
//! cannot redirect the run.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::running::RunningProgram;
use runbook_tests::terminal::{Control, Terminal};
use runbook_tests::wait_for;

/// A runbook whose first step runs a script and whose second waits for an approval.
fn runbook(env: &TestEnv, script: &str) {
    let program = env.script("program", script);
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"bounds\"\n[targets.it]\nprocess = \"{0}\"\n\
             arguments = []\ndirectory = \"{1}\"\n[[step]]\nid = \"first\"\n\
             uses = \"command:run\"\nbind.program = \"it\"\nirreversible = \"looked at\"\n\
             [[step]]\nid = \"second\"\nuses = \"command:run\"\nbind.program = \"it\"\n\
             irreversible = \"looked at\"\napproval = {{ quorum = 1 }}\n",
            program.display(),
            env.path().display()
        ),
    );
}

/// Without a controlling terminal, a program can neither open `/dev/tty` nor type keys with
/// `TIOCSTI`.
#[test]
fn a_program_has_no_controlling_terminal() {
    let env = home();
    runbook(&env, "if (: < /dev/tty) 2>/dev/null; then echo has one; else echo has none; fi");
    let terminal = Terminal::open();
    let mut child = terminal.spawn(&env.command(&["exec", "r.toml", "--yes"]), Control::Session);
    wait_for("it asks", || terminal.shown().contains("type `approve second`"));
    let shown = terminal.shown();
    assert!(shown.contains("has none"), "{shown}");
    terminal.type_keys("approve second\n");
    assert!(child.wait().expect("it ends").success(), "{}", terminal.shown());
}

#[test]
fn input_typed_before_a_prompt_does_not_answer_it() {
    let env = home();
    runbook(&env, "touch begun; while ! test -e go; do sleep 0.05; done");
    let terminal = Terminal::open();
    let mut child = terminal.spawn(&env.command(&["exec", "r.toml", "--yes"]), Control::Session);
    wait_for("the first step runs", || env.path().join("begun").exists());
    terminal.type_keys("approve second\napprove sec");
    wait_for("it was typed", || terminal.shown().contains("approve sec"));
    env.file("go", "");
    wait_for("it asks", || terminal.shown().contains("type `approve second`"));
    let run = env.newest_run();
    env.run(&["show", &run]).status(0).out("approv");
    assert!(child.try_wait().expect("it can be asked").is_none(), "{}", terminal.shown());
    terminal.type_keys("approve second\n");
    let status = child.wait().expect("it ends");
    let shown = terminal.shown();
    assert!(status.success() && shown.contains("approved by"), "{shown}");
    assert_eq!(shown.matches("type `approve second`").count(), 1, "one question, {shown}");
}

#[test]
fn resolver_variables_of_the_operator_are_removed() {
    let env = home();
    runbook(&env, "touch begun; while ! test -e go; do sleep 0.05; done");
    let mut command = env.command(&["exec", "r.toml", "--yes"]);
    for name in ["HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "RESOLV_HOST_CONF"] {
        command.env(name, "evil");
    }
    command.env("HARMLESS", "kept");
    let running = RunningProgram::start(&mut command);
    wait_for("the first step runs", || env.path().join("begun").exists());
    let environment =
        std::fs::read(format!("/proc/{}/environ", running.id())).expect("it still runs");
    let environment = String::from_utf8_lossy(&environment);
    env.file("go", "");
    assert!(environment.contains("HARMLESS=kept"), "{environment}");
    assert!(!environment.contains("evil"), "{environment}");
}

/// A lock file of `flock`, a socket of a service manager, a pipe of `make`: whoever starts the
/// program may leave files open in it. The sandbox of a program judges what it opens, not what is
/// open already.
#[test]
fn a_program_inherits_no_file_of_whoever_starts_the_host() {
    let env = home();
    runbook(
        &env,
        "for n in 3 4 5 6 7 8 9; do (: <&$n) 2>/dev/null && echo has $n; done; echo looked",
    );
    for sandbox in ["", "reads = []\nwrites = []\n"] {
        let text = env.read("r.toml").replacen("directory =", &format!("{sandbox}directory ="), 1);
        env.file("bounds.toml", &text);
        let host = env.command(&["exec", "bounds.toml", "--yes", "--no-input"]);
        let mut shell = std::process::Command::new("bash");
        shell.arg("-c").arg(
            "exec 3</etc/passwd 4</ 5>>inherited 6</dev/null 7<> <(:) 8<<<text 9<.; exec \"$@\"",
        );
        shell.arg("bash").arg(host.get_program()).args(host.get_args());
        shell.current_dir(env.path());
        for (name, value) in host.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let ended = runbook_tests::env::finish(shell.output().expect("bash runs"));
        ended.status(5).out("looked").without("has ");
    }
}

/// A core dump would write the secrets in memory to a file.
#[test]
fn the_program_dumps_no_core() {
    let env = home();
    runbook(&env, "touch begun; while ! test -e go; do sleep 0.05; done");
    let running = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for("the first step runs", || env.path().join("begun").exists());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.id()));
    let core = limits.expect("it still runs");
    let core = core.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    let soft_and_hard: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(soft_and_hard, ["0", "0"]);
    env.file("go", "");
}
