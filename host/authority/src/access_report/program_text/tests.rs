use super::*;
use crate::access_report::interpreter;
use std::process::{Command, Stdio};

fn patterns(texts: &[&str]) -> Vec<ArgumentPattern> {
    texts.iter().map(|text| ArgumentPattern::Literal((*text).to_owned())).collect()
}

fn reads_input(program: &str, arguments: &[&str]) -> bool {
    reads_input_in(Path::new("/"), program, arguments)
}

fn reads_input_in(folder: &Path, program: &str, arguments: &[&str]) -> bool {
    let mut found = Vec::new();
    find_in_arguments(&[program.to_owned()], &patterns(arguments), folder, &mut found);
    found.contains(&ProgramText::Input)
}

#[test]
fn an_interpreter_without_a_text_in_its_arguments_reads_standard_input() {
    for (name, family) in interpreter::names() {
        let expected =
            !matches!(family.default_source, DefaultSource::Arguments | DefaultSource::Command(0));
        assert_eq!(reads_input(name, &[]), expected, "{name}");
        for build in ["3.11", "-static", ".static", "5.36-x86_64-linux-gnu", "-2.1.0-beta3", "-18"]
        {
            assert!(family_of(&format!("/usr/bin/{name}{build}")).is_some(), "{name}{build}");
        }
        for other in ["-exporter", "_helper", "ctl", "-keygen"] {
            let other = format!("{name}{other}");
            assert!(
                family_of(&other).is_none()
                    || interpreter::names().any(|(known, _)| known == other),
                "{other}"
            );
        }
    }
    for (program, arguments, expected) in [
        ("sh", &["-c", "date"][..], false),
        ("sh", &["-ec", "date"], false),
        ("sh", &["-e"], true),
        ("bash", &["-o", "errexit"], true),
        ("bash", &["-o", "errexit", "x.sh"], false),
        ("bash", &["--norc", "x.sh"], false),
        ("bash", &["--unknown", "x.sh"], true),
        ("bash", &["-s", "x.sh"], true),
        ("sh", &["/dev/stdin"], true),
        ("python3", &["-W", "ignore"], true),
        ("python3", &["-i", "x.py"], true),
        ("python3", &["x.py", "-i"], false),
        ("psql", &["--dbname=orders", "-v", "ON_ERROR_STOP=1"], true),
        ("psql", &["-U", "c"], true),
        ("psql", &["-Uc"], true),
        ("psql", &["-qAtc", "select 1"], false),
        ("psql", &["--file=-"], true),
        ("psql", &["-f-"], true),
        ("psql", &["-f", "x.sql"], false),
        ("sqlite3", &["a.db"], true),
        ("sqlite3", &["-batch", "a.db", "select 1"], false),
        ("sqlite3", &["-cmd", "x", "a.db"], true),
        ("env", &["LANG=C", "sh"], true),
        ("env", &["LANG=C", "sh", "-c", "date"], false),
        ("sudo", &["-u", "postgres", "psql"], true),
        ("sudo", &["-s"], true),
        ("timeout", &["5", "/bin/date"], false),
        ("kubectl", &["apply", "-f", "-"], true),
        ("make", &["-f", "-"], true),
        ("awk", &["-f", "/dev/stdin"], true),
        ("xargs", &["rm"], true),
        ("python3", &["-m", "code"], true),
        ("python3", &["-mpdb", "x.py"], true),
        ("python3", &["-m", "json.tool"], false),
        ("psql", &["-l"], false),
        ("psql", &["-c"], true),
        ("node", &["-p", "--no-warnings"], true),
        ("ssh", &["host"], true),
        ("ssh", &["host", "bash", "-s"], true),
        ("ssh", &["host", "bash -s"], true),
        ("ssh", &["-p", "22", "host", "date"], false),
        ("bash", &["--rcfile", "x.sh"], true),
        ("perl", &["-lne", "print"], false),
        ("mysql", &["-uroot", "-p", "-e", "select 1"], false),
        ("deno", &["run", "-"], true),
        ("deno", &["run", "x.ts"], false),
        ("systemctl", &["restart", "mysql"], false),
        ("unheard-of", &["--shell=/bin/bash"], true),
        ("unheard-of", &["bash", "-c", "date"], false),
        ("unheard-of", &["-c", "date | bash"], true),
        ("unheard-of", &["a", "b"], false),
        ("env", &["-u", "bash", "sh"], true),
        ("timeout", &["5", "bash", "-c", "date"], false),
        ("flock", &["/run/x", "-c", "psql -c 'select 1'"], false),
    ] {
        assert_eq!(reads_input(program, arguments), expected, "{program} {arguments:?}");
    }
}

#[test]
fn an_open_argument_that_may_be_an_option_may_name_standard_input() {
    for (program, first, expected) in [
        ("psql", "--dbname=[a-z]{1,20}", false),
        ("psql", "--[a-z]+=[a-z]{1,20}", true),
        ("psql", "--fil=[a-z]{1,20}", true),
        ("psql", "-[a-z]", true),
        ("psql", "--dbname=.*", true),
        ("psql", "[a-z]{1,20}", false),
        ("sh", "[a-z./]{1,20}", true),
        ("env", "[a-z]{2,20}", true),
    ] {
        let open = ArgumentPattern::regex(first).expect("an expression");
        let arguments = [
            open,
            ArgumentPattern::Literal("-c".to_owned()),
            ArgumentPattern::Literal("date".to_owned()),
        ];
        let mut found = Vec::new();
        find_in_arguments(&[program.to_owned()], &arguments, Path::new("/"), &mut found);
        assert_eq!(found.contains(&ProgramText::Input), expected, "{program} {first}");
    }
}

/// Runs a program with `text` on its standard input, and returns whether it ran the text.
fn runs_its_input(folder: &Path, program: &str, arguments: &[&str], text: &str) -> bool {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is there");
    // It may have ended already, and then it read nothing.
    let _ = std::io::Write::write_all(&mut child.stdin.take().expect("piped"), text.as_bytes());
    let output = child.wait_with_output().expect("it ends").stdout;
    String::from_utf8_lossy(&output).contains("fed")
}

/// Interpreters, each with a text that makes it print `fed` and does not contain that word.
const INTERPRETERS: &[(&str, &str)] = &[
    ("/bin/sh", "echo f''ed\n"),
    ("/bin/bash", "echo f''ed\n"),
    ("/bin/dash", "echo f''ed\n"),
    ("/usr/bin/python3", "print('f'+'ed')\n"),
    ("/usr/bin/perl", "print 'f'.'ed';\n"),
    ("/usr/bin/ruby", "print 'f'+'ed'\n"),
    ("/usr/bin/lua", "print('f'..'ed')\n"),
    ("/usr/bin/node", "console.log('f'+'ed')\n"),
    ("/usr/bin/php", "<?php echo 'f'.'ed';\n"),
    ("/usr/bin/m4", "syscmd(echo f''ed)\n"),
];

fn is_installed(program: &str) -> bool {
    Path::new(program).exists()
}

/// Compares the table with the interpreters of this machine: one that the table calls safe must
/// not run the text that it is given.
#[test]
fn an_interpreter_that_the_table_calls_safe_does_not_run_its_input() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("x"), "").expect("it is written");
    for (name, to) in [("link", "/dev/stdin"), ("far", "link"), ("devices", "/dev")] {
        std::os::unix::fs::symlink(to, folder.path().join(name)).expect("it is made");
    }
    let options = [
        "-c",
        "-e",
        "-s",
        "-ec",
        "-ce",
        "-o",
        "-O",
        "-eo",
        "-ox",
        "-oe",
        "-i",
        "-x",
        "-m",
        "-W",
        "-B",
        "-I",
        "--",
        "-",
        "+x",
        "+e",
        "+o",
        "--norc",
        "--noediting",
        "--rcfile",
        "--posix",
        "--unheard-of",
        "-mcode",
        "-p",
    ];
    let values = [
        "errexit",
        "true",
        "x",
        "code",
        "/dev/stdin",
        "/dev/./stdin",
        "//dev/stdin",
        "/dev/fd/0",
        "/proc/self/fd/0",
        "/proc/thread-self/fd/0",
        "/usr/../dev/stdin",
        "link",
        "./far",
        "devices/stdin",
        "/dev/null",
    ];
    let mut reading_input = 0;
    for (program, text) in INTERPRETERS.iter().filter(|(program, _)| is_installed(program)) {
        let lists = options.iter().flat_map(|first| {
            let value_lists = values.iter().map(move |value| vec![*first, *value]);
            let script_lists =
                ["x", "link"].into_iter().map(move |script| vec![*first, "errexit", script]);
            value_lists.chain(script_lists).chain([vec![*first]])
        });
        let operands =
            values.iter().flat_map(|value| [vec![*value], vec![*value, "x"], vec!["--", *value]]);
        for arguments in lists.chain(operands).chain([vec![]]) {
            if reads_input_in(folder.path(), program, &arguments) {
                reading_input += 1;
                continue;
            }
            assert!(
                !runs_its_input(folder.path(), program, &arguments, text),
                "{program} {arguments:?} ran its input"
            );
        }
    }
    assert!(reading_input > 0, "no interpreter is installed");
}

/// Compares the table with launchers of this machine: in the table, not in the table, and with a
/// command line in one argument.
#[test]
fn a_program_that_starts_one_that_runs_its_input_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("launch");
    std::os::unix::fs::symlink("/usr/bin/env", &link).expect("it is made");
    let link = link.display().to_string();
    let launchers: &[(&str, &[&str])] = &[
        (&link, &[]),
        ("/usr/bin/env", &[]),
        ("/usr/bin/env", &["-u", "bash"]),
        ("/usr/bin/env", &["-S"]),
        ("/usr/bin/env", &["-i", "A=b"]),
        ("/usr/bin/nice", &["-n", "1"]),
        ("/usr/bin/nohup", &[]),
        ("/usr/bin/timeout", &["60"]),
        ("/usr/bin/stdbuf", &["-oL"]),
        ("/usr/bin/setsid", &["-w"]),
        ("/usr/bin/setarch", &["x86_64"]),
        ("/usr/bin/linux64", &[]),
        ("/usr/bin/unshare", &["-r"]),
        ("/usr/sbin/chroot", &["/"]),
        ("/usr/bin/flock", &["lock"]),
        ("/usr/bin/flock", &["lock", "-c"]),
        ("/usr/bin/flock", &["bash", "-c"]),
        ("/usr/bin/script", &["-q", "/dev/null"]),
        ("/usr/bin/script", &["-q", "/dev/null", "-c"]),
        ("/usr/bin/prlimit", &[]),
        ("/usr/bin/choom", &["-n", "1000"]),
        ("/usr/bin/catchsegv", &[]),
        ("/usr/bin/chrt", &["-i", "0"]),
        ("/usr/bin/ionice", &[]),
        ("/usr/bin/taskset", &["1"]),
        ("/usr/bin/time", &[]),
        ("/usr/bin/setpriv", &[]),
        ("/usr/bin/newgrp", &[]),
        ("/usr/bin/sg", &["root"]),
        ("/usr/bin/sg", &["root", "-c"]),
    ];
    let commands: &[&[&str]] = &[
        &[],
        &["bash"],
        &["/bin/sh", "-s"],
        &["bash -s"],
        &["true; bash"],
        &["'bash'"],
        &["bash", "--norc"],
        &["bash", "-c", "true"],
        &["true"],
        &["nice", "bash"],
    ];
    let mut reading_input = 0;
    for (program, own) in launchers.iter().filter(|(program, _)| is_installed(program)) {
        for command in commands {
            let arguments: Vec<&str> = own.iter().chain(*command).copied().collect();
            if reads_input_in(folder.path(), program, &arguments) {
                reading_input += 1;
                continue;
            }
            let is_run = runs_its_input(folder.path(), program, &arguments, "echo f''ed\n");
            assert!(!is_run, "{program} {arguments:?} ran its input");
        }
    }
    assert!(reading_input > 0, "no program that starts others is installed");
}
