//! Grants that are too open: a shell with any command, the root directory, every container.

use super::argument_match::always_matches;
use super::interpreter::{DefaultSource, ProgramFamily, family_of};
use super::program_text::{self, ProgramText};
use crate::capability::Verb;
use crate::pattern::ArgumentPattern;
use crate::targets::{ContainerFilter, NetTarget, SystemTarget, TargetKind, normalize_path};
use std::path::Path;

/// One way in which a grant is too open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OpenGrant {
    /// The program runs what its arguments say, and the plugin can choose an argument freely.
    Interpreter {
        /// The path of the program.
        program: String,
        /// The pattern of the argument.
        argument: String,
    },
    /// The program runs what it reads on standard input, and the plugin writes that.
    ReadsInput {
        /// The path of the program.
        program: String,
    },
    /// The directory contains the system, the files of other users, or keys.
    SystemDirectory {
        /// The path of the directory.
        directory: String,
    },
    /// The filter matches every container.
    EveryContainer,
    /// Any line may be said to a server.
    AnyLine {
        /// The pattern that lets it through.
        pattern: String,
    },
    /// A command of Redis that runs code, administers the server or reaches other databases.
    ServerCommand {
        /// Its name.
        command: String,
    },
    /// Messages go to another machine without encryption.
    UnencryptedMail,
    /// Names of any domain, or of a whole top-level domain, may be looked up.
    AnyName {
        /// The pattern that lets them through.
        pattern: String,
    },
    /// Units of any name may be seen.
    EveryUnit {
        /// The pattern of their names.
        pattern: String,
    },
    /// The arguments of processes of any name may be seen.
    EveryArgument {
        /// The pattern of their names.
        pattern: String,
    },
}

/// Directories that contain the system, keys or settings of the system, each with everything below
/// it.
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

/// Texts of characters that every shell and language reads as part of a name: no space, no quote,
/// no separator of commands.
const NAME: &str = r"[A-Za-z0-9_.:=/@%+,-]*";

/// A name that is not an option.
const NAME_NOT_OPTION: &str = r"(?:[A-Za-z0-9_.:=/@%+,][A-Za-z0-9_.:=/@%+,-]*)?";

/// Programs whose second operand is a command, and whose first is something else.
const PROGRAMS_WITH_OPERAND_BEFORE_COMMAND: &[&str] = &["flock", "script", "taskset", "chrt"];

/// Options of any program whose value is a command.
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

/// Subcommands that another command follows: `docker exec api COMMAND`.
const COMMAND_SUBCOMMANDS: &[&str] = &["exec", "run", "shell", "debug"];

/// What is too open about `verb` on a target.
pub(super) fn open_grants(target: &TargetKind, verb: Verb) -> Vec<OpenGrant> {
    match target {
        TargetKind::Process(process) => {
            let grants_by_path =
                |path: &Path| open_arguments(&path.display().to_string(), &process.arguments);
            let written_path_grants = grants_by_path(process.program.unresolved());
            let argument_grants = if written_path_grants.is_empty() {
                grants_by_path(process.program.real())
            } else {
                written_path_grants
            };
            // A program with `read_only` gets no input.
            let reads_input = verb == Verb::ProcessRun
                && program_text::program_texts(process).contains(&ProgramText::Input);
            let program = process.program.unresolved().display().to_string();
            argument_grants
                .into_iter()
                .chain(reads_input.then_some(OpenGrant::ReadsInput { program }))
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
            let filter_grant =
                is_every_container(&docker.filter).then_some(OpenGrant::EveryContainer);
            let command_grants =
                if verb == Verb::DockerExec { open_commands(&docker.command) } else { Vec::new() };
            filter_grant.into_iter().chain(command_grants).collect()
        }
        TargetKind::Files(files) => system_directory(files.root.real()).into_iter().collect(),
        TargetKind::Net(net) => said_at_will(net, verb),
        TargetKind::System(system) => whole_machine(system, verb),
        TargetKind::Redis(redis) => redis
            .exact_commands()
            .map(|command| OpenGrant::ServerCommand { command: command.to_owned() })
            .collect(),
        TargetKind::Mail(mail) if mail.is_exposed() => vec![OpenGrant::UnencryptedMail],
        TargetKind::Http(_)
        | TargetKind::Sql(_)
        | TargetKind::Objects(_)
        | TargetKind::Mail(_)
        | TargetKind::Secret(_) => Vec::new(),
    }
}

fn open_commands(patterns: &[ArgumentPattern]) -> Vec<OpenGrant> {
    match patterns.split_first() {
        Some((ArgumentPattern::Literal(program), arguments)) => open_arguments(program, arguments),
        Some((ArgumentPattern::OneOf(programs), arguments)) => {
            programs.iter().flat_map(|program| open_arguments(program, arguments)).collect()
        }
        // The plugin can choose the program itself.
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

fn open_arguments(program: &str, arguments: &[ArgumentPattern]) -> Vec<OpenGrant> {
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

/// Whether an argument, after others, can be a command or contain one. Its characters and its
/// position decide. Its length does not: `rm -rf /` is short.
fn is_open(
    family: &ProgramFamily,
    program: &str,
    earlier_arguments: &[ArgumentPattern],
    pattern: &ArgumentPattern,
) -> bool {
    match pattern {
        ArgumentPattern::Literal(_) | ArgumentPattern::OneOf(_) => false,
        ArgumentPattern::Repeat(repeated) => is_open(family, program, earlier_arguments, repeated),
        ArgumentPattern::Regex(_) if is_value_of_one_option(pattern) => false,
        ArgumentPattern::Regex(_) => {
            !always_matches(pattern, NAME_NOT_OPTION)
                || (is_command_position(family, program, earlier_arguments)
                    && !is_below_one_folder(pattern))
        }
    }
}

/// Whether every text of the pattern is `--option=` with a name, for one option that takes no
/// command.
fn is_value_of_one_option(pattern: &ArgumentPattern) -> bool {
    let Some((option, _)) = pattern.expression().split_once('=') else { return false };
    let is_plain = option.starts_with('-')
        && option.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let is_command = COMMAND_OPTIONS.contains(&option.trim_start_matches('-'));
    is_plain && !is_command && always_matches(pattern, &format!("{}={NAME}", regex::escape(option)))
}

/// Whether the pattern names only files below one folder. The commands are then limited to that
/// folder. A step that may write there is another finding.
fn is_below_one_folder(pattern: &ArgumentPattern) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_');
    let expression = pattern.expression();
    let literal_prefix =
        &expression[..expression.find(|c| !is_plain(c)).unwrap_or(expression.len())];
    let Some((folder, _)) = literal_prefix.rsplit_once('/').filter(|(folder, _)| folder.len() > 1)
    else {
        return false;
    };
    // No part begins with a dot, so that none is `..`.
    let inside_folder =
        format!("{}(?:/[A-Za-z0-9_@%+,-][A-Za-z0-9_.@%+,-]*)+", regex::escape(folder));
    expression.starts_with('/') && always_matches(pattern, &inside_folder)
}

/// Whether a name at this position decides what runs: the program that a launcher starts, the
/// script that a shell or a language reads, the command of `sh -c`. For a client of a database, a
/// name is not a statement.
fn is_command_position(
    family: &ProgramFamily,
    program: &str,
    earlier_arguments: &[ArgumentPattern],
) -> bool {
    if family.is_launcher {
        let words = operands(earlier_arguments);
        let operand_count = match family.default_source {
            DefaultSource::Command(operand_count) | DefaultSource::Operands(operand_count) => {
                operand_count.max(1)
            }
            DefaultSource::FirstOperand
            | DefaultSource::Subcommand
            | DefaultSource::Input
            | DefaultSource::Arguments => 1,
        };
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let operand_count = operand_count
            + usize::from(PROGRAMS_WITH_OPERAND_BEFORE_COMMAND.contains(&name.as_ref()));
        return words.len() < operand_count
            || words.iter().any(|operand| COMMAND_SUBCOMMANDS.contains(operand));
    }
    match family.default_source {
        DefaultSource::FirstOperand | DefaultSource::Subcommand => {
            program_text::reads_input(program, earlier_arguments)
        }
        DefaultSource::Operands(_)
        | DefaultSource::Command(_)
        | DefaultSource::Input
        | DefaultSource::Arguments => false,
    }
}

/// The fixed arguments that are certainly operands: no options, possible values of options, numbers
/// or variables.
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
    let lines = target.questions.iter().filter(|pattern| pattern.starts_with('*')).map(owned);
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

/// Patterns that begin with `*`: of processes, if their arguments are seen, and of units.
fn whole_machine(target: &SystemTarget, verb: Verb) -> Vec<OpenGrant> {
    let open = |patterns: &[String]| -> Vec<String> {
        patterns.iter().filter(|pattern| pattern.starts_with('*')).cloned().collect()
    };
    if verb == Verb::SystemProcesses && target.process_arguments {
        let patterns = open(&target.processes).into_iter();
        patterns.map(|pattern| OpenGrant::EveryArgument { pattern }).collect()
    } else if verb == Verb::SystemUnits {
        let patterns = open(&target.units).into_iter();
        patterns.map(|pattern| OpenGrant::EveryUnit { pattern }).collect()
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

/// The finding for a directory that belongs to the system, is shared, is a whole home, or is
/// hidden. A directory whose name begins with a dot often contains keys and settings.
fn system_directory(root: &Path) -> Option<OpenGrant> {
    let root = normalize_path(root);
    let components: Vec<_> = root.iter().skip(1).map(|part| part.to_string_lossy()).collect();
    let is_system_directory = SYSTEM_TREES.iter().any(|tree| root.starts_with(tree))
        // `/lib64`, `/libx32`
        || components.first().is_some_and(|first| first.starts_with("lib"));
    let is_shared = SHARED_DIRECTORIES.iter().any(|directory| root == Path::new(directory));
    let is_home = matches!(components.as_slice(), [home, _] if home == "home");
    let is_hidden = components.iter().any(|part| part.starts_with('.'));
    let directory = root.display().to_string();
    (is_system_directory || is_shared || is_home || is_hidden)
        .then_some(OpenGrant::SystemDirectory { directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open_grant(program: &str, arguments: &[ArgumentPattern]) -> bool {
        !open_arguments(program, arguments).is_empty()
    }

    fn literal(text: &str) -> ArgumentPattern {
        ArgumentPattern::Literal(text.to_owned())
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 96, ..Default::default() })]
        /// For any regular expression: if it matches a short argument that is an option or has a
        /// character that is in no name, the argument of an interpreter is open, whatever its
        /// length.
        #[test]
        fn an_argument_is_open_by_its_characters_and_not_by_its_length(
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
            let triples = letters.iter().flat_map(|one| letters.iter().flat_map(move |two| letters.map(|three| format!("{one}{two}{three}"))));
            let texts = letters.map(str::to_owned).into_iter().chain(pairs).chain(triples);
            let unsafe_text = texts.into_iter().find(|text| pattern.matches(text) && !is_name(text));
            let is_option = is_value_of_one_option(&pattern);
            for (program, before) in [
                ("/bin/sh", &["-c"][..]), ("/bin/sh", &["/opt/x.sh"]),
                    ("/usr/bin/python3", &["-c"]), ("/usr/bin/psql", &["-c"]),
                ("/usr/bin/psql", &["-d"]), ("/usr/bin/env", &[]),
                    ("/usr/bin/sudo", &["systemctl", "restart"]), ("/usr/bin/ssh", &["host"]),
                ("/usr/bin/awk", &[]), ("/usr/bin/make", &["-f", "x"]),
            ] {
                let fixed_arguments: Vec<_> = before.iter().map(|text| literal(text)).collect();
                let one = [fixed_arguments.as_slice(), std::slice::from_ref(&pattern)].concat();
                let many = [fixed_arguments.as_slice(),
                    &[ArgumentPattern::Repeat(Box::new(pattern.clone()))]].concat();
                if unsafe_text.is_some() && !is_option {
                    proptest::prop_assert!(is_open_grant(program, &one) && is_open_grant(program, &many),
                        "{program} {one:?}: {unsafe_text:?}");
                }
                proptest::prop_assert_eq!(is_open_grant(program, &one), is_open_grant(program, &many));
            }
        }
    }

    #[test]
    fn a_name_is_open_where_it_decides_what_runs() {
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
            assert_eq!(is_open_grant(program, &arguments), expected, "{program} {before:?}");
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
            assert_eq!(
                is_open_grant("/bin/sh", std::slice::from_ref(&pattern)),
                expected,
                "{path}"
            );
            assert_eq!(is_open_grant("/usr/bin/env", &[pattern]), expected, "{path}");
        }
        let option = ArgumentPattern::regex("--dbname=[a-z_]+").expect("an expression");
        assert!(!is_open_grant("/usr/bin/psql", &[option]));
        for option in COMMAND_OPTIONS {
            let open =
                ArgumentPattern::regex(&format!("--{option}=[a-z]+")).expect("an expression");
            assert!(is_open_grant("/usr/bin/env", &[open]), "{option}");
        }
        let any_option = ArgumentPattern::regex("--[a-z]+=[a-z_]+").expect("an expression");
        assert!(is_open_grant("/usr/bin/psql", &[any_option]));
        assert!(
            !open_commands(&[name()]).is_empty()
                && !open_commands(&[ArgumentPattern::Repeat(Box::new(name()))]).is_empty()
        );
    }
}
