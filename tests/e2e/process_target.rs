//! `docs/targets/process.md`: each of its examples is a target that holds.

use crate::{home, repository};

/// The examples of the page.
fn examples() -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("docs/targets/process.md"))
        .expect("it can be read");
    let found: Vec<_> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect();
    assert_eq!(found.len(), 3, "three examples");
    found
}

/// The last program of an example, in a step of its own.
fn runbook(example: &str) -> String {
    let program = example
        .rsplit("[targets.")
        .next()
        .and_then(|rest| rest.split(']').next())
        .expect("a target");
    format!(
        "format = 1\n[runbook]\nname = \"example\"\n{example}\n[[step]]\nid = \"act\"\n\
         uses = \"command:run\"\nbind.program = \"{program}\"\nirreversible = \"an example\"\n\
         with = {{ arguments = ARGUMENTS }}\n"
    )
}

/// The line of the arguments, as the input of the step.
fn arguments(example: &str) -> String {
    let line = example.lines().find_map(|line| line.strip_prefix("arguments = "));
    line.expect("arguments").to_owned()
}

#[test]
fn each_example_of_the_page_about_programs_is_reviewed_and_runs_within_its_walls() {
    let env = home();
    for example in examples() {
        let text = runbook(&example).replace("ARGUMENTS", &arguments(&example));
        env.file("r.toml", &text);
        let reviewed = env.run(&["review", "r.toml"]).status(0).out("reads no file");
        let is_open = example.contains("network = true");
        assert_eq!(reviewed.stdout.contains("RB024"), is_open, "{}", reviewed.stdout);
        let ended = env.run(&["exec", "--yes", "r.toml"]);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        if example.contains("/usr/bin/find") {
            assert_eq!(ended.status, 0, "{said}");
        } else {
            // Nobody listens there, and no name leads there: the program began, or the host refused
            // to lend it a connection.
            assert_ne!(ended.status, 0, "{said}");
            assert!(!said.contains("process.sandbox"), "{said}");
        }
    }
}

#[test]
fn the_page_names_every_key_of_a_program_and_what_every_program_may_read() {
    let page = std::fs::read_to_string(repository().join("docs/targets/process.md"))
        .expect("it can be read");
    for key in [
        "arguments",
        "environment",
        "reads",
        "writes",
        "network",
        "signals",
        "memory",
        "cpu",
        "timeout",
        "sha256",
        "connection",
        "read_only",
    ] {
        assert!(page.contains(&format!("`{key}`")) || page.contains(&format!("`{key} =")), "{key}");
    }
    for place in ["`/usr`", "`/bin`", "`/sbin`", "`/lib*`", "`/dev/null`"] {
        assert!(page.contains(place), "{place}");
    }
}

/// A system call that this thread, and what it starts, has not got.
fn without<T: Send>(number: i64, run: impl FnOnce() -> T + Send) -> T {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
    let older = move || {
        let arch = std::env::consts::ARCH.try_into().expect("a known processor");
        let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let rules = std::collections::BTreeMap::from([(number, Vec::new())]);
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, absent, arch).expect("a filter");
        apply_filter(&BpfProgram::try_from(filter).expect("a filter")).expect("it is applied");
        run()
    };
    std::thread::scope(|scope| scope.spawn(older).join().expect("it ends"))
}

#[test]
fn a_boundary_refuses_programs_on_a_kernel_that_lacks_what_it_requires() {
    let env = home();
    let program = env.script("program", "echo ran > ran");
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"r\"\n[targets.it]\nprocess = \"{}\"\n\
             arguments = []\ndirectory = \".\"\n[[step]]\nid = \"act\"\nuses = \"command:run\"\n\
             bind.program = \"it\"\nirreversible = \"an example\"\n",
            program.display()
        ),
    );
    let allow = "[[allow]]\ncapability = \"process\"\nverbs = [\"*\"]\n";
    env.file("all.toml", &format!("format = 1\nrequire = [\"signals\"]\n{allow}"));
    env.file("some.toml", &format!("format = 1\nrequire = [\"system-calls\"]\n{allow}"));
    let exec = |boundary: &str| env.run(&["exec", "--yes", "--boundary", boundary, "r.toml"]);
    let ran = || std::fs::remove_file(env.path().join("ran")).is_ok();
    without(libc::SYS_landlock_create_ruleset, || {
        let refused = exec("all.toml").status(6);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains("E0120") && said.contains("`signals`"), "{said}");
        assert!(said.contains("Landlock of Linux 6.12"), "{said}");
        assert!(!ran());
        exec("some.toml").status(0);
        assert!(ran());
        let run = env.newest_run();
        env.run(&["show", &run, "--format", "jsonl"])
            .out("lacks a protection for the program, `signals`");
        env.run(&["doctor"]).out("signals");
    });
    exec("all.toml").status(0);
    assert!(ran());
}
