//! Grants that name something and leave open what matters: a shell with any command, the root directory, every container.

use super::interpreter::family_of;
use super::program_text::{self, ProgramText};
use crate::capability::Verb;
use crate::pattern::ArgumentPattern;
use crate::targets::{ContainerFilter, TargetKind};
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

/// Directories that hold the system itself, everybody's files, keys, or the state of other programs.
const SYSTEM_DIRECTORIES: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/var",
    "/var/lib",
    "/var/run",
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

fn system_directory(root: &Path) -> Option<OpenGrant> {
    let text = root.to_string_lossy();
    let plain = if text.len() > 1 { text.trim_end_matches('/') } else { &text };
    let directory = if plain.is_empty() { "/" } else { plain };
    SYSTEM_DIRECTORIES.contains(&directory).then(|| OpenGrant::SystemDirectory { directory: directory.to_owned() })
}
