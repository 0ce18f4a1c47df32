//! Grants that are too open in a detail that matters: a shell with any command, the root directory,
//! every container.

use super::argument_match::always_matches;
use super::interpreter::{DefaultSource, Family, family_of};
use super::program_text::{self, ProgramText};
use crate::capability::Verb;
use crate::pattern::ArgumentPattern;
use crate::targets::{ContainerFilter, NetTarget, TargetKind, lexical};
use std::path::Path;

/// What is too open about a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OpenGrant {
    /// The program runs whatever its arguments say, and an argument is open.
    Interpreter {
        /// The path of the program.
        program: String,
        /// The pattern of the argument.
        argument: String,
    },
    /// The program runs what it reads on standard input, and that is the plugin's.
    ReadsInput {
        /// The path of the program.
        program: String,
    },
    /// The directory holds the system, everybody's files, or keys.
    SystemDirectory {
        /// The path of the directory.
        directory: String,
    },
    /// The filter lets every container through.
    EveryContainer,
    /// Any line may be said to a server.
    AnyLine {
        /// The pattern that lets it through.
        pattern: String,
    },
    /// Names of any domain, or of a whole top-level domain, may be looked up.
    AnyName {
        /// The pattern that lets them through.
        pattern: String,
    },
}

/// Directories that hold the system itself, keys, or what decides how it runs: each with all that
/// is below.
const SYSTEM_TREES: &[&str] = &[
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/boot",
    "/dev",
    "/proc",
    "/sys",
    "/root",
    "/var/spool",
    "/run/systemd",
];

/// Shared directories, below which each user has one.
const SHARED_DIRECTORIES: &[&str] = &[
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/run",
    "/srv",
    "/tmp",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/tmp",
];

/// Characters that every shell and language reads as part of a name: no blank, no quote, nothing
/// that ends or begins a command.
const NAME: &str = r"[A-Za-z0-9_.:=/@%+,-]*";

/// A name that is no option.
const NAME_AND_NO_OPTION: &str = r"(?:[A-Za-z0-9_.:=/@%+,][A-Za-z0-9_.:=/@%+,-]*)?";

/// Programs whose first operand is no command, though what stands behind it is.
const FILE_BEFORE_COMMAND: &[&str] = &["flock", "script", "taskset", "chrt"];

/// Options, of any program, whose value is a command.
const COMMAND_OPTIONS: &[&str] = &[
    "split-string",
    "command",
    "c",
    "S",
    "eval",
    "exec",
    "execute",
    "run",
    "to-command",
    "use-compress-program",
    "checkpoint-action",
    "info-script",
    "rsh",
    "rsync-path",
    "pager",
    "shell",
    "init-file",
    "rcfile",
    "session-command",
];

/// Words behind which another command is named: `docker exec api COMMAND`.
const STARTS_AGAIN: &[&str] = &["exec", "run", "shell", "debug"];

/// What is too open about `verb` on a target.
pub(super) fn of(target: &TargetKind, verb: Verb) -> Vec<OpenGrant> {
    match target {
        TargetKind::Process(process) => {
            let called = |path: &Path| interpreter(&path.display().to_string(), &process.arguments);
            let by_name = called(process.program.named());
            let by_arguments =
                if by_name.is_empty() { called(process.program.real()) } else { by_name };
            // A program that only reads is given no input.
            let is_fed =
                verb == Verb::ProcessRun && program_text::of(process).contains(&ProgramText::Input);
            let program = process.program.named().display().to_string();
            by_arguments
                .into_iter()
                .chain(is_fed.then_some(OpenGrant::ReadsInput { program }))
                .chain(
                    process
                        .writes
                        .iter()
                        .flatten()
                        .filter_map(|path| system_directory(path.real())),
                )
                .collect()
        }
        TargetKind::Docker(docker) => {
            let every = is_every_container(&docker.filter).then_some(OpenGrant::EveryContainer);
            let inside =
                if verb == Verb::DockerExec { command(&docker.command) } else { Vec::new() };
            every.into_iter().chain(inside).collect()
        }
        TargetKind::Files(files) => system_directory(files.root.real()).into_iter().collect(),
        TargetKind::Net(net) => said_at_will(net, verb),
        TargetKind::Http(_) | TargetKind::Sql(_) | TargetKind::Secret(_) => Vec::new(),
    }
}

fn command(patterns: &[ArgumentPattern]) -> Vec<OpenGrant> {
    match patterns.split_first() {
        Some((ArgumentPattern::Literal(program), arguments)) => interpreter(program, arguments),
        Some((ArgumentPattern::OneOf(programs), arguments)) => {
            programs.iter().flat_map(|program| interpreter(program, arguments)).collect()
        }
        // Which program runs is open itself: a name is enough.
        Some((open @ (ArgumentPattern::Regex(_) | ArgumentPattern::Repeat(_)), _))
            if !is_fixed(open) =>
        {
            vec![OpenGrant::Interpreter {
                program: "any program".to_owned(),
                argument: open.to_string(),
            }]
        }
        Some((ArgumentPattern::Regex(_) | ArgumentPattern::Repeat(_), _)) | None => Vec::new(),
    }
}

fn interpreter(program: &str, arguments: &[ArgumentPattern]) -> Vec<OpenGrant> {
    let Some(family) = family_of(program) else { return Vec::new() };
    let open = arguments
        .iter()
        .enumerate()
        .find(|(index, pattern)| is_open(family, program, &arguments[..*index], pattern));
    open.map(|(_, pattern)| OpenGrant::Interpreter {
        program: program.to_owned(),
        argument: pattern.to_string(),
    })
    .into_iter()
    .collect()
}

/// Whether an argument, behind others, is open enough to be a command or to hold one. How long it
/// may be does not matter: `rm -rf /` is short. Its letters do, and where it stands.
fn is_open(
    family: &Family,
    program: &str,
    before: &[ArgumentPattern],
    pattern: &ArgumentPattern,
) -> bool {
    match pattern {
        ArgumentPattern::Literal(_) | ArgumentPattern::OneOf(_) => false,
        ArgumentPattern::Repeat(repeated) => is_open(family, program, before, repeated),
        ArgumentPattern::Regex(_) if is_value_of_one_option(pattern) => false,
        ArgumentPattern::Regex(_) => {
            !always_matches(pattern, NAME_AND_NO_OPTION)
                || (is_a_command_by_name(family, program, before) && !is_below_a_folder(pattern))
        }
    }
}

/// Whether the pattern is `--option=` and a name.
fn is_value_of_one_option(pattern: &ArgumentPattern) -> bool {
    let Some((option, _)) = pattern.expression().split_once('=') else { return false };
    let is_plain = option.starts_with('-')
        && option.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let is_command = COMMAND_OPTIONS.contains(&option.trim_start_matches('-'));
    is_plain && !is_command && always_matches(pattern, &format!("{}={NAME}", regex::escape(option)))
}

/// Whether the pattern names only files in or below one folder. Who may write to that folder then
/// decides which commands there are; a step that may write there is a finding by itself.
fn is_below_a_folder(pattern: &ArgumentPattern) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_');
    let expression = pattern.expression();
    let fixed = &expression[..expression.find(|c| !plain(c)).unwrap_or(expression.len())];
    let Some((folder, _)) = fixed.rsplit_once('/').filter(|(folder, _)| folder.len() > 1) else {
        return false;
    };
    // Each part begins with no dot, so that none climbs.
    let below = format!("{}(?:/[A-Za-z0-9_@%+,-][A-Za-z0-9_.@%+,-]*)+", regex::escape(folder));
    expression.starts_with('/') && always_matches(pattern, &below)
}

/// Whether a name by itself says what runs, where it stands: the program that a launcher starts,
/// the script that a shell or a language reads, the command of `sh -c`. To a client of a database a
/// name is no statement.
fn is_a_command_by_name(family: &Family, program: &str, before: &[ArgumentPattern]) -> bool {
    if family.starts {
        let named = operands(before);
        let needed = match family.otherwise {
            DefaultSource::Command(needed) | DefaultSource::Operands(needed) => needed.max(1),
            DefaultSource::FirstOperand
            | DefaultSource::Subcommand
            | DefaultSource::Input
            | DefaultSource::Arguments => 1,
        };
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let needed = needed + usize::from(FILE_BEFORE_COMMAND.contains(&name.as_ref()));
        return named.len() < needed || named.iter().any(|operand| STARTS_AGAIN.contains(operand));
    }
    match family.otherwise {
        DefaultSource::FirstOperand | DefaultSource::Subcommand => {
            program_text::reads_input(program, before)
        }
        DefaultSource::Operands(_)
        | DefaultSource::Command(_)
        | DefaultSource::Input
        | DefaultSource::Arguments => false,
    }
}

/// Fixed arguments that are operands for sure: no option, nothing that may be the value of one, no
/// number, no variable.
fn operands(patterns: &[ArgumentPattern]) -> Vec<&str> {
    let mut may_be_a_value = false;
    let mut found = Vec::new();
    for pattern in patterns {
        match pattern {
            ArgumentPattern::Literal(text) if text.starts_with('-') => {
                may_be_a_value = !text.contains('=');
            }
            ArgumentPattern::Literal(text) => {
                let is_a_word =
                    !text.contains('=') && !text.starts_with(|c: char| c.is_ascii_digit());
                found.extend((is_a_word && !may_be_a_value).then_some(text.as_str()));
                may_be_a_value = false;
            }
            ArgumentPattern::OneOf(_) | ArgumentPattern::Regex(_) | ArgumentPattern::Repeat(_) => {
                may_be_a_value = false;
            }
        }
    }
    found
}

fn is_fixed(pattern: &ArgumentPattern) -> bool {
    match pattern {
        ArgumentPattern::Literal(_) | ArgumentPattern::OneOf(_) => true,
        ArgumentPattern::Regex(_) => false,
        ArgumentPattern::Repeat(repeated) => is_fixed(repeated),
    }
}

/// Patterns behind which a plugin says what it likes to whom it likes: lines whose first word is
/// open, and names of no domain in particular.
fn said_at_will(target: &NetTarget, verb: Verb) -> Vec<OpenGrant> {
    let owned = |pattern: &String| pattern.clone();
    let lines = target.send.iter().filter(|pattern| pattern.starts_with('*')).map(owned);
    let is_of_any_domain = |pattern: &&String| {
        let fixed = pattern.rsplit_once('*').map(|(_, fixed)| fixed);
        // `*.example.com` is one domain; `*.com`, `*example.com` and `*` are many.
        fixed.is_some_and(|fixed| !fixed.starts_with('.') || fixed.matches('.').count() < 2)
    };
    let names = target.names.iter().filter(is_of_any_domain).map(owned);
    if verb == Verb::NetConnect {
        lines.map(|pattern| OpenGrant::AnyLine { pattern }).collect()
    } else if verb == Verb::NetLookup {
        names.map(|pattern| OpenGrant::AnyName { pattern }).collect()
    } else {
        Vec::new()
    }
}

fn is_every_container(filter: &ContainerFilter) -> bool {
    match filter {
        ContainerFilter::Pattern(pattern) => pattern.chars().all(|c| c == '*'),
        ContainerFilter::Name(_) | ContainerFilter::Label { .. } | ContainerFilter::Project(_) => {
            false
        }
    }
}

/// A directory that is one of the system, of everybody, a whole home, or hidden: what begins with a
/// dot holds keys and settings.
fn system_directory(root: &Path) -> Option<OpenGrant> {
    let root = lexical(root);
    let parts: Vec<_> = root.iter().skip(1).map(|part| part.to_string_lossy()).collect();
    let is_of_the_system = SYSTEM_TREES.iter().any(|tree| root.starts_with(tree))
        // `/lib64`, `/libx32`
        || parts.first().is_some_and(|first| first.starts_with("lib"));
    let is_shared = SHARED_DIRECTORIES.iter().any(|directory| root == Path::new(directory));
    let is_a_home = matches!(parts.as_slice(), [home, _] if home == "home");
    let is_hidden = parts.iter().any(|part| part.starts_with('.'));
    let directory = root.display().to_string();
    (is_of_the_system || is_shared || is_a_home || is_hidden)
        .then_some(OpenGrant::SystemDirectory { directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found(program: &str, arguments: &[ArgumentPattern]) -> bool {
        !interpreter(program, arguments).is_empty()
    }

    fn literal(text: &str) -> ArgumentPattern {
        ArgumentPattern::Literal(text.to_owned())
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 96, ..Default::default() })]
        /// Whatever regular expression: if some short argument that it matches has a letter that is
        /// in no name, or is an option, the argument of a program that runs texts is open; how long
        /// it may be does not matter.
        #[test]
        fn an_argument_is_open_by_its_letters_and_not_by_its_length(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "a", "-", "/", "=", " ", ";", "[ -~]", "[a-z]", "[a-z;]", "[^a]", ".", "\\w",
                    "\\s", "(?:a|b c)", "{1,3}", "{0,9}", "?",
                    "*", "|", "\\$", "'", "(?i)", "(?s)", "é",
                ]),
                0..6,
            )
        ) {
            let Ok(pattern) = ArgumentPattern::regex(&pieces.concat()) else { return Ok(()) };
            let letters = ["a", "b", "-", "/", "=", " ", ";", "$", "'", "\n", "é"];
            let is_name = |text: &str| !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-/=".contains(c));
            let pairs = letters.iter().flat_map(|one| letters.map(|two| format!("{one}{two}")));
            let threes = letters.iter().flat_map(|one| letters.iter().flat_map(move |two| letters.map(|three| format!("{one}{two}{three}"))));
            let texts = letters.map(str::to_owned).into_iter().chain(pairs).chain(threes);
            let worst = texts.into_iter().find(|text| pattern.matches(text) && !is_name(text));
            let is_option = is_value_of_one_option(&pattern);
            for (program, before) in [
                ("/bin/sh", &["-c"][..]), ("/bin/sh", &["/opt/x.sh"]),
                    ("/usr/bin/python3", &["-c"]), ("/usr/bin/psql", &["-c"]),
                ("/usr/bin/psql", &["-d"]), ("/usr/bin/env", &[]),
                    ("/usr/bin/sudo", &["systemctl", "restart"]), ("/usr/bin/ssh", &["host"]),
                ("/usr/bin/awk", &[]), ("/usr/bin/make", &["-f", "x"]),
            ] {
                let fixed: Vec<_> = before.iter().map(|text| literal(text)).collect();
                let one = [fixed.as_slice(), std::slice::from_ref(&pattern)].concat();
                let many = [fixed.as_slice(),
                    &[ArgumentPattern::Repeat(Box::new(pattern.clone()))]].concat();
                if worst.is_some() && !is_option {
                    proptest::prop_assert!(is_found(program, &one) && is_found(program, &many),
                        "{program} {one:?}: {worst:?}");
                }
                proptest::prop_assert_eq!(is_found(program, &one), is_found(program, &many));
            }
        }
    }

    #[test]
    fn a_name_is_open_where_it_says_what_runs() {
        let name = || ArgumentPattern::regex("[a-z]{1,20}").expect("an expression");
        for (program, before, expected) in [
            ("/bin/sh", &["-c"][..], true),
            ("/bin/sh", &[], true),
            ("/bin/sh", &["/opt/x.sh"], false),
            ("/bin/sh", &["-c", "exec /opt/x \"$1\"", "x"], false),
            ("/usr/bin/python3", &["-u"], true),
            ("/usr/bin/python3", &["/opt/x.py", "--table"], false),
            ("/usr/bin/psql", &["-c"], false),
            ("/usr/bin/env", &[], true),
            ("/usr/bin/env", &["LANG=C"], true),
            ("/usr/bin/nice", &["-n", "5"], true),
            ("/usr/bin/nice", &["-n", "5", "/usr/bin/pg_dump"], false),
            ("/usr/bin/timeout", &["5"], true),
            ("/usr/bin/timeout", &["5", "/usr/bin/pg_dump"], false),
            ("/usr/bin/sudo", &["-u", "postgres"], true),
            ("/usr/bin/sudo", &["systemctl", "restart"], false),
            ("/usr/bin/flock", &["/run/lock"], true),
            ("/usr/bin/flock", &["/run/lock", "/opt/x"], false),
            ("/usr/sbin/chroot", &["/srv"], true),
            ("/usr/bin/ssh", &["host"], true),
            ("/usr/bin/ssh", &["host", "systemctl"], false),
            ("/usr/bin/docker", &["restart"], false),
            ("/usr/bin/docker", &["exec", "api"], true),
            ("/usr/bin/kubectl", &["get", "pods"], false),
        ] {
            let arguments: Vec<_> =
                before.iter().map(|text| literal(text)).chain([name()]).collect();
            assert_eq!(is_found(program, &arguments), expected, "{program} {before:?}");
        }
        for (path, expected) in [
            ("/opt/tools/[a-z]+", false),
            ("/opt/tools/[a-z./]+", true),
            ("/[a-z]+/x", true),
            ("(?:/opt/x|/bin/sh)", true),
            ("/opt/x|/bin/sh", true),
            ("[a-z/]+\\.py", true),
        ] {
            let pattern = ArgumentPattern::regex(path).expect("an expression");
            assert_eq!(is_found("/bin/sh", std::slice::from_ref(&pattern)), expected, "{path}");
            assert_eq!(is_found("/usr/bin/env", &[pattern]), expected, "{path}");
        }
        let option = ArgumentPattern::regex("--dbname=[a-z_]+").expect("an expression");
        assert!(!is_found("/usr/bin/psql", &[option]));
        for option in COMMAND_OPTIONS {
            let open =
                ArgumentPattern::regex(&format!("--{option}=[a-z]+")).expect("an expression");
            assert!(is_found("/usr/bin/env", &[open]), "{option}");
        }
        let any_option = ArgumentPattern::regex("--[a-z]+=[a-z_]+").expect("an expression");
        assert!(is_found("/usr/bin/psql", &[any_option]));
        assert!(
            !command(&[name()]).is_empty()
                && !command(&[ArgumentPattern::Repeat(Box::new(name()))]).is_empty()
        );
    }
}
