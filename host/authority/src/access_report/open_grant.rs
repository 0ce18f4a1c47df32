//! Grants that name something and leave open what matters: a shell with any command, the root directory, every container.

use super::interpreter::family_of;
use super::program_text::{self, ProgramText};
use crate::capability::Verb;
use crate::pattern::ArgumentPattern;
use crate::targets::{ContainerFilter, TargetKind, lexical};
use std::path::Path;

/// What is too open about a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OpenGrant {
    /// The program runs whatever its arguments say, and an argument is open.
    Interpreter {
        /// The program.
        program: String,
        /// The pattern of the argument.
        argument: String,
    },
    /// The program runs what it reads on standard input, and that is the plugin's.
    ReadsInput {
        /// The program.
        program: String,
    },
    /// The directory holds the system, everybody's files, or keys.
    SystemDirectory {
        /// The directory.
        directory: String,
    },
    /// The filter lets every container through.
    EveryContainer,
}

/// Directories that hold the system itself, keys, or what decides how it runs: each with all that is below.
const SYSTEM_TREES: &[&str] =
    &["/etc", "/usr", "/bin", "/sbin", "/boot", "/dev", "/proc", "/sys", "/root", "/var/spool", "/run/systemd"];

/// Directories of everybody, below which each has his own.
const SHARED_DIRECTORIES: &[&str] = &[
    "/", "/home", "/media", "/mnt", "/opt", "/run", "/srv", "/tmp", "/var", "/var/cache", "/var/lib", "/var/log", "/var/run",
    "/var/tmp",
];

/// An open argument longer than this can hold a command of its own; a table's name or a date cannot.
const LONGEST_NAME: usize = 32;

/// What is too open about `verb` on a target.
pub(super) fn of(target: &TargetKind, verb: Verb) -> Vec<OpenGrant> {
    match target {
        TargetKind::Process(process) => {
            let called = |path: &Path| interpreter(&path.display().to_string(), &process.arguments);
            let by_name = called(process.program.named());
            let by_arguments = if by_name.is_empty() { called(process.program.real()) } else { by_name };
            // A program that only reads is given no input.
            let is_fed = verb == Verb::ProcessRun && program_text::of(process).contains(&ProgramText::Input);
            let program = process.program.named().display().to_string();
            by_arguments.into_iter().chain(is_fed.then_some(OpenGrant::ReadsInput { program })).collect()
        }
        TargetKind::Docker(docker) => {
            let every = is_every_container(&docker.filter).then_some(OpenGrant::EveryContainer);
            let inside = if verb == Verb::DockerExec { command(&docker.command) } else { Vec::new() };
            every.into_iter().chain(inside).collect()
        }
        TargetKind::Files(files) => system_directory(files.root.real()).into_iter().collect(),
        TargetKind::Http(_) | TargetKind::Sql(_) | TargetKind::Secret(_) => Vec::new(),
    }
}

fn command(patterns: &[ArgumentPattern]) -> Vec<OpenGrant> {
    match patterns.split_first() {
        Some((ArgumentPattern::Literal(program), arguments)) => interpreter(program, arguments),
        Some((ArgumentPattern::OneOf(programs), arguments)) => {
            programs.iter().flat_map(|program| interpreter(program, arguments)).collect()
        }
        // Which program runs is open itself.
        Some((open @ (ArgumentPattern::Regex(_) | ArgumentPattern::Repeat(_)), _)) if is_open(open) => {
            vec![OpenGrant::Interpreter { program: "any program".to_owned(), argument: open.to_string() }]
        }
        Some((ArgumentPattern::Regex(_) | ArgumentPattern::Repeat(_), _)) | None => Vec::new(),
    }
}

fn interpreter(program: &str, arguments: &[ArgumentPattern]) -> Vec<OpenGrant> {
    if family_of(program).is_none() {
        return Vec::new();
    }
    let open = arguments.iter().find(|pattern| is_open(pattern));
    open.map(|pattern| OpenGrant::Interpreter { program: program.to_owned(), argument: pattern.to_string() })
        .into_iter()
        .collect()
}

/// Whether an argument is open enough to hold a command.
fn is_open(pattern: &ArgumentPattern) -> bool {
    match pattern {
        ArgumentPattern::Literal(_) | ArgumentPattern::OneOf(_) => false,
        ArgumentPattern::Regex(_) => longest(pattern.expression()).is_none_or(|longest| longest > LONGEST_NAME),
        ArgumentPattern::Repeat(pattern) => is_open(pattern),
    }
}

/// The length of the longest text that an expression matches, in bytes; `None` if there is no longest.
fn longest(expression: &str) -> Option<usize> {
    regex_automata::util::syntax::parse(expression).ok()?.properties().maximum_len()
}

fn is_every_container(filter: &ContainerFilter) -> bool {
    match filter {
        ContainerFilter::Pattern(pattern) => pattern.chars().all(|c| c == '*'),
        ContainerFilter::Name(_) | ContainerFilter::Label { .. } | ContainerFilter::Project(_) => false,
    }
}

/// A directory that is one of the system, of everybody, a whole home, or hidden: what begins with a dot holds keys and settings.
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
    (is_of_the_system || is_shared || is_a_home || is_hidden).then_some(OpenGrant::SystemDirectory { directory })
}
