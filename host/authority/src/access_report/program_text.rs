//! Where the text that a program runs comes from: its arguments, standard input, a file. A text
//! that is not certainly in the arguments counts as the worst case.

use super::argument_match::may_match;
use super::interpreter::{Family, Otherwise, any_name, family_of, starts_nothing};
use super::program_options::{Argument, Meaning, readings};
use crate::pattern::ArgumentPattern;
use crate::targets::{ProcessTarget, lexical};
use std::path::{Path, PathBuf};

/// A place, other than its arguments, from which a program may read its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ProgramText {
    /// It is read from standard input.
    Input,
    /// It stands in the file at this path.
    File {
        /// What the file is, for people.
        what: String,
        /// The path of the file.
        path: PathBuf,
    },
    /// In a file whose name matches this pattern, from the working directory.
    AnyFile {
        /// The pattern that the file's name matches.
        pattern: ArgumentPattern,
        /// The working directory, from which the name is relative.
        folder: PathBuf,
    },
    /// In files of this folder, the working directory.
    Folder(PathBuf),
}

impl ProgramText {
    /// The part of the text that may be in a directory, for people; `None` if there is none.
    pub(super) fn below(&self, directory: &Path) -> Option<String> {
        match self {
            Self::Input => None,
            Self::File { what, path } => {
                path.starts_with(directory).then(|| format!("{what} `{}`", path.display()))
            }
            Self::Folder(folder) => folder
                .starts_with(directory)
                .then(|| format!("what lies in `{}`", folder.display())),
            Self::AnyFile { pattern, folder } => {
                let is_inside =
                    folder.starts_with(directory) || may_name_a_file_in(pattern, directory);
                is_inside.then(|| format!("a file that {pattern} names"))
            }
        }
    }
}

/// Whether some text of the pattern is a path below the directory, or climbs. What cannot be
/// compared is.
fn may_name_a_file_in(pattern: &ArgumentPattern, directory: &Path) -> bool {
    // `//dumps` and `/./dumps` are `/dumps`.
    let parts = directory
        .iter()
        .skip(1)
        .map(|part| format!(r"/(?:\.?/)*{}", regex::escape(&part.to_string_lossy())));
    let inside = format!(r"{}(?:/(?s:.)*)?|(?s:.)*\.\.(?s:.)*", parts.collect::<String>());
    may_match(pattern, &inside)
}

/// How many argument lists of one target are tried at most. A target with more alternatives counts
/// as reading standard input.
const MAX_LISTS: usize = 256;

/// Every place, but its arguments, where the text of this program may stand.
pub(super) fn of(process: &ProcessTarget) -> Vec<ProgramText> {
    let folder = process
        .directory
        .as_ref()
        .map_or_else(|| PathBuf::from("/"), |folder| folder.real().to_owned());
    let mut found = Vec::new();
    if process.sha256.is_none() {
        for path in [process.program.named(), process.program.real()] {
            found.push(ProgramText::File { what: "the program".to_owned(), path: path.to_owned() });
        }
    }
    let programs =
        [process.program.named(), process.program.real()].map(|path| path.display().to_string());
    let families = of_arguments(&programs, &process.arguments, &folder, &mut found);
    if families.iter().any(|family| family.reads_folder) && process.directory.is_some() {
        found.push(ProgramText::Folder(folder));
    }
    found
}

/// Whether these arguments alone leave it to standard input what the program runs: then none of
/// them names its text.
pub(super) fn reads_input(program: &str, arguments: &[ArgumentPattern]) -> bool {
    let mut found = Vec::new();
    of_arguments(&[program.to_owned()], arguments, Path::new("/"), &mut found);
    found.contains(&ProgramText::Input)
}

/// What the arguments say of a program with these names. Returns the families that it belongs to.
fn of_arguments(
    programs: &[String],
    arguments: &[ArgumentPattern],
    folder: &Path,
    found: &mut Vec<ProgramText>,
) -> Vec<&'static Family> {
    let mut families: Vec<&Family> = Vec::new();
    for family in programs.iter().filter_map(|program| family_of(program)) {
        if !families.iter().any(|known| std::ptr::eq(*known, family)) {
            families.push(family);
        }
    }
    let may_start = families.is_empty() && !programs.iter().any(|program| starts_nothing(program));
    match lists(arguments) {
        Some(lists) => {
            for list in &lists {
                families.iter().for_each(|family| of_list(family, list, folder, found));
                if may_start {
                    of_started(list, folder, found);
                }
            }
        }
        None if families.is_empty() => {}
        None => found.push(ProgramText::Input),
    }
    families
}

/// Every list of arguments that the patterns let through, as far as it matters here; `None` if
/// there are too many.
fn lists(patterns: &[ArgumentPattern]) -> Option<Vec<Vec<Argument<'_>>>> {
    let mut lists: Vec<Vec<Argument<'_>>> = vec![Vec::new()];
    for pattern in patterns {
        let (alternatives, may_be_absent) = match pattern {
            ArgumentPattern::Repeat(inner) => (alternatives(inner), true),
            ArgumentPattern::Literal(_) | ArgumentPattern::OneOf(_) | ArgumentPattern::Regex(_) => {
                (alternatives(pattern), false)
            }
        };
        let mut longer = if may_be_absent { lists.clone() } else { Vec::new() };
        for list in &lists {
            longer.extend(
                alternatives
                    .iter()
                    .map(|argument| list.iter().copied().chain([*argument]).collect::<Vec<_>>()),
            );
        }
        if longer.len() > MAX_LISTS {
            return None;
        }
        lists = longer;
    }
    Some(lists)
}

fn alternatives(pattern: &ArgumentPattern) -> Vec<Argument<'_>> {
    match pattern {
        ArgumentPattern::Literal(text) => vec![Argument::Text(text)],
        ArgumentPattern::OneOf(texts) => texts.iter().map(|text| Argument::Text(text)).collect(),
        ArgumentPattern::Regex(_) => vec![Argument::Open(pattern)],
        ArgumentPattern::Repeat(inner) => alternatives(inner),
    }
}

fn of_list(family: &Family, list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    of_program(family, list, folder, found);
    if family.starts {
        let may_start_any = |argument: &Argument<'_>| match argument {
            Argument::Text(_) => false,
            Argument::Open(pattern) => any_name(|name| pattern.matches(name)),
        };
        if list.iter().any(may_start_any) {
            found.push(ProgramText::Input);
        }
        of_started(list, folder, found);
    }
}

/// Finds the texts of a program itself, without what it starts, over all readings of its arguments.
fn of_program(family: &Family, list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    let Some(readings) = readings(family, list) else {
        found.push(ProgramText::Input);
        return;
    };
    for reading in readings {
        of_reading(family, &reading, folder, found);
    }
    if matches!(family.otherwise, Otherwise::Command(_) | Otherwise::Subcommand)
        && list.iter().any(
            |argument| matches!(argument, Argument::Text(text) if is_input_option(text, folder)),
        )
    {
        found.push(ProgramText::Input);
    }
}

fn of_reading(
    family: &Family,
    reading: &[Meaning<'_>],
    folder: &Path,
    found: &mut Vec<ProgramText>,
) {
    let mut operands = Vec::new();
    let mut is_given = false;
    for meaning in reading {
        match meaning {
            Meaning::Text => is_given = true,
            Meaning::Input => found.push(ProgramText::Input),
            Meaning::Option(text) if is_input_option(text, folder) => {
                found.push(ProgramText::Input);
            }
            Meaning::Option(_) => {}
            Meaning::File(argument) => {
                is_given = true;
                push_file(*argument, folder, found);
            }
            Meaning::More(argument) => push_file(*argument, folder, found),
            Meaning::Operand(argument) => operands.push(*argument),
        }
    }
    match family.otherwise {
        _ if is_given => {}
        Otherwise::FirstOperand => match operands.first() {
            Some(script) => push_file(*script, folder, found),
            None => found.push(ProgramText::Input),
        },
        Otherwise::Operands(needed) | Otherwise::Command(needed) if operands.len() >= needed => {}
        Otherwise::Subcommand if operands.len() > 1 => {
            operands.iter().skip(1).for_each(|operand| push_file(*operand, folder, found));
        }
        Otherwise::Operands(_)
        | Otherwise::Command(_)
        | Otherwise::Subcommand
        | Otherwise::Input => {
            found.push(ProgramText::Input);
        }
        Otherwise::Arguments => {}
    }
}

/// Finds the texts of programs that arguments may start. It is not known which of them is started,
/// so each counts, with the arguments behind it.
fn of_started(list: &[Argument<'_>], folder: &Path, found: &mut Vec<ProgramText>) {
    // An argument may be a command line itself (`env -S`, `flock -c`), or hold a name behind `=`.
    let mut words: Vec<Argument<'_>> = Vec::new();
    let parts: Vec<Option<Vec<String>>> =
        list.iter().map(|argument| argument.text().and_then(command_words)).collect();
    for (argument, parts) in list.iter().zip(&parts) {
        match (argument, parts) {
            (_, Some(parts)) => words.extend(parts.iter().map(|part| Argument::Text(part))),
            (Argument::Text(text), None) => {
                let mut names = text.split(|c: char| {
                    c.is_whitespace() || !(c.is_alphanumeric() || "-_./+:@".contains(c))
                });
                if names.any(|name| {
                    family_of(name).is_some_and(|family| family.otherwise != Otherwise::Arguments)
                }) {
                    found.push(ProgramText::Input);
                }
                words.push(*argument);
            }
            (Argument::Open(_), None) => words.push(*argument),
        }
    }
    for (at, word) in words.iter().enumerate() {
        if let Some(family) = word.text().and_then(family_of) {
            of_program(family, &words[at + 1..], folder, found);
        }
    }
}

/// The words of an argument if it is one word or a command line of plain and quoted words; `None`
/// if a shell would do more with it.
fn command_words(text: &str) -> Option<Vec<String>> {
    if !text.contains(|c: char| c.is_whitespace() || "'\"\\;|&<>()$`{}".contains(c)) {
        let value = text
            .rsplit_once('=')
            .filter(|_| text.starts_with('-'))
            .map(|(_, value)| value.to_owned());
        return Some([text.to_owned()].into_iter().chain(value).collect());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (Some('"') | None, '$' | '`' | '\\')
            | (None, ';' | '|' | '&' | '<' | '>' | '(' | ')' | '{' | '}' | '\n' | '\r') => {
                return None;
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Whether an option, or an operand, has a value that names standard input.
fn is_input_option(text: &str, folder: &Path) -> bool {
    let value = text.rsplit_once('=').map(|(_, value)| value);
    let attached = text
        .strip_prefix('-')
        .and_then(|word| word.char_indices().nth(1).map(|(at, _)| &word[at..]));
    let is_named = |name: &str| name == "-" || (name.starts_with('/') && is_input(name, folder));
    is_named(text)
        || value.is_some_and(is_named)
        || attached.filter(|_| !text.starts_with("--")).is_some_and(is_named)
}

/// Whether a file is standard input, or may be: `-`, and every path that leads below `/dev` or
/// `/proc`, through links too.
fn is_input(name: &str, folder: &Path) -> bool {
    name == "-"
        || trail(&folder.join(name.trim_start_matches('@'))).iter().any(|path| is_device(path))
}

fn is_device(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

/// Links that are followed for one path.
const MAX_LINKS: usize = 40;

/// A path, and what it becomes with each link followed.
fn trail(path: &Path) -> Vec<PathBuf> {
    let mut trail = vec![lexical(path)];
    while trail.len() <= MAX_LINKS {
        let last = trail.last().cloned().unwrap_or_default();
        if is_device(&last) {
            break;
        }
        let mut parents: Vec<&Path> = last.ancestors().collect();
        parents.reverse();
        let link = parents
            .into_iter()
            .find_map(|parent| std::fs::read_link(parent).ok().map(|to| (parent, to)));
        let Some((link, to)) = link else { break };
        let rest = last.strip_prefix(link).unwrap_or(Path::new(""));
        trail.push(lexical(&link.parent().unwrap_or(Path::new("/")).join(to).join(rest)));
    }
    trail
}

fn push_file(argument: Argument<'_>, folder: &Path, found: &mut Vec<ProgramText>) {
    match argument {
        Argument::Text(text) if is_input(text, folder) => found.push(ProgramText::Input),
        Argument::Text(text) => {
            for path in trail(&folder.join(text)) {
                found.push(ProgramText::File { what: "the text in".to_owned(), path });
            }
        }
        Argument::Open(pattern) => {
            let may_be_device =
                ["/dev", "/proc"].iter().any(|place| may_name_a_file_in(pattern, Path::new(place)));
            // From the root, `dev/stdin` is one.
            let is_relative_device =
                folder == Path::new("/") && may_match(pattern, r"(?:\./*)*(?:dev|proc)/(?s:.)*");
            if may_be_device || is_relative_device || pattern.matches("-") {
                found.push(ProgramText::Input);
            }
            found
                .push(ProgramText::AnyFile { pattern: pattern.clone(), folder: folder.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
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
        of_arguments(&[program.to_owned()], &patterns(arguments), folder, &mut found);
        found.contains(&ProgramText::Input)
    }

    #[test]
    fn an_interpreter_without_a_text_in_its_arguments_reads_standard_input() {
        for (name, family) in interpreter::names() {
            let expected =
                !matches!(family.otherwise, Otherwise::Arguments | Otherwise::Command(0));
            assert_eq!(reads_input(name, &[]), expected, "{name}");
            for build in
                ["3.11", "-static", ".static", "5.36-x86_64-linux-gnu", "-2.1.0-beta3", "-18"]
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
            of_arguments(&[program.to_owned()], &arguments, Path::new("/"), &mut found);
            assert_eq!(found.contains(&ProgramText::Input), expected, "{program} {first}");
        }
    }

    /// Runs a program with `text` on its standard input. Whether it did what the text says.
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
        let said = child.wait_with_output().expect("it ends").stdout;
        String::from_utf8_lossy(&said).contains("fed")
    }

    /// Interpreters, and how each says `fed` by a text that does not contain the word.
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

    fn there(program: &str) -> bool {
        Path::new(program).exists()
    }

    /// Compares the table with the interpreters of this machine: one that the table calls safe must
    /// not run the text that it is given.
    #[test]
    fn an_interpreter_that_is_said_not_to_read_its_input_does_not() {
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
        let mut fed = 0;
        for (program, text) in INTERPRETERS.iter().filter(|(program, _)| there(program)) {
            let lists = options.iter().flat_map(|first| {
                let two = values.iter().map(move |value| vec![*first, *value]);
                let three =
                    ["x", "link"].into_iter().map(move |script| vec![*first, "errexit", script]);
                two.chain(three).chain([vec![*first]])
            });
            let operands = values
                .iter()
                .flat_map(|value| [vec![*value], vec![*value, "x"], vec!["--", *value]]);
            for arguments in lists.chain(operands).chain([vec![]]) {
                if reads_input_in(folder.path(), program, &arguments) {
                    fed += 1;
                    continue;
                }
                assert!(
                    !runs_its_input(folder.path(), program, &arguments, text),
                    "{program} {arguments:?} ran its input"
                );
            }
        }
        assert!(fed > 0, "no interpreter is installed");
    }

    /// The same of programs that start others: in the table, beside it, and by a command line in
    /// one argument.
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
        let started: &[&[&str]] = &[
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
        let mut fed = 0;
        for (program, own) in launchers.iter().filter(|(program, _)| there(program)) {
            for command in started {
                let arguments: Vec<&str> = own.iter().chain(*command).copied().collect();
                if reads_input_in(folder.path(), program, &arguments) {
                    fed += 1;
                    continue;
                }
                let ran = runs_its_input(folder.path(), program, &arguments, "echo f''ed\n");
                assert!(!ran, "{program} {arguments:?} ran its input");
            }
        }
        assert!(fed > 0, "no program that starts others is installed");
    }
}
