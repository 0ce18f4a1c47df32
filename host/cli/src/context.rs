//! The environment of the program, read once: directories, terminal, operator.

use crate::account;
use crate::configuration::{self, Configuration};
use crate::directories::{cache_directory, config_directory, state_directory};
use crate::failure::Failure;
use crate::global_arguments::{ColorChoice, GlobalArgs};
use crate::host_policy::HostPolicy;
use crate::process;
use crate::program_log::LogFormat;
use crate::project::Project;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _};
use runbook_engine::ProcessIdentity;
use runbook_journal::JournalLocation;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// Whether the operator has given a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingOrigin {
    /// It is the default; a file that it names need not exist.
    Default,
    /// The operator, by flag or environment.
    Given,
}

/// Whether a runbook must be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockPolicy {
    /// A lockfile holds for the runbooks beside it; where there is none, nothing is locked.
    WherePresent,
    /// A runbook without a lock entry is refused.
    Required,
}

impl LockPolicy {
    /// The policy that requires a lock if anybody requires one.
    pub fn required_if(is_required: bool) -> Self {
        if is_required { Self::Required } else { Self::WherePresent }
    }
}

/// The environment of the program: directories, terminal, operator and settings.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about the environment, each with its own name"
)]
pub struct Context {
    /// Whether stderr may be colored.
    pub color_stderr: bool,
    /// Whether stdout may be colored.
    pub color_stdout: bool,
    /// Whether progress may be drawn on stderr.
    pub live: bool,
    /// Whether stdout and stderr are the same terminal, pipe or file. What is written to one is not
    /// repeated on the other.
    pub outputs_are_same: bool,
    /// Whether stdout and stderr are the same terminal.
    pub outputs_are_same_terminal: bool,
    /// Whether a question can be asked.
    pub interactive: bool,
    /// Where the journal is.
    pub journal: JournalLocation,
    /// Where `journal` comes from.
    pub journal_origin: SettingOrigin,
    /// Private keys to try, in order.
    pub identities: Vec<PathBuf>,
    /// Where `identities` comes from.
    pub identity_origin: SettingOrigin,
    /// Where passphrases are read from instead of the terminal.
    pub passphrase_file: Option<PathBuf>,
    /// The boundary files in force: of the host, of the operator and of the projects. Each must
    /// exist.
    pub boundaries: Vec<PathBuf>,
    /// The trust files in force: of the host, of the operator and of the projects. Each must exist.
    pub trust_files: Vec<PathBuf>,
    /// The folder of the audit log that is read.
    pub audit_log: PathBuf,
    /// The only folder of an audit log that runs on this host may write, if the administrator named
    /// one.
    pub host_audit_log: Option<PathBuf>,
    /// Whether a runbook must be locked.
    pub lock_policy: LockPolicy,
    /// Where compiled plugins are kept.
    pub cache: PathBuf,
    /// Who runs the program, as the operating system knows them: `user@host`.
    pub operator: String,
    /// The name of this machine.
    pub host: String,
    /// The identity of this process among all others, if the system provides it.
    pub process: Option<ProcessIdentity>,
    /// The parts of the program that log, and how much, if any were chosen.
    pub log: Option<String>,
    /// The format of the log, if one was chosen.
    pub log_format: Option<LogFormat>,
    /// Where the value of each global option comes from, as text for people. The key is the name of
    /// the option.
    pub origins: BTreeMap<String, String>,
    /// The project of the working directory, which says where runbooks are.
    pub project: Project,
    /// This project and the enclosing ones. The limits of all of them apply.
    pub projects: Vec<Project>,
}

impl Context {
    /// Whether the journal exists. It is not created.
    pub fn has_journal(&self) -> bool {
        self.journal.file().is_none_or(Path::exists)
    }

    /// The projects whose limits apply to a folder, without those that the working directory has.
    ///
    /// # Errors
    /// As [`Project::enclosing`].
    pub fn additional_projects(&self, folder: &Path) -> Result<Vec<Project>, Failure> {
        let mut all = Project::enclosing(folder)?;
        all.retain(|project| self.projects.iter().all(|here| here.file != project.file));
        Ok(all)
    }

    /// The value of `--journal` that names this journal from any folder; `None` for the default.
    pub fn named_journal(&self) -> Option<String> {
        match (self.journal_origin, &self.journal) {
            (SettingOrigin::Default, _) => None,
            (SettingOrigin::Given, JournalLocation::File(path)) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                Some(path.display().to_string())
            }
            (SettingOrigin::Given, server @ JournalLocation::Server(_)) => Some(server.to_string()),
        }
    }

    /// Reads the environment, once. `args` are those of the command line, completed by the
    /// configuration; the projects are those of the working directory.
    ///
    /// # Errors
    /// What the host or the environment sets cannot be used.
    pub fn new(
        args: &GlobalArgs,
        configuration: &Configuration,
        matches: &ArgMatches,
        (here, projects): (&Path, Vec<Project>),
    ) -> Result<Self, Failure> {
        let project = Project::nearest(&projects, here);
        let stderr_terminal = std::io::stderr().is_terminal();
        let supports_cursor =
            std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
        let is_colored = |is_terminal: bool| match args.color {
            ColorChoice::Auto => wants_color(|name| std::env::var(name).ok())
                .unwrap_or(is_terminal && supports_cursor),
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        let host_policy = HostPolicy::load()?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let identities = if args.identity.is_empty() {
            vec![config_directory()?.join("identity.txt")]
        } else {
            args.identity.clone()
        };
        Ok(Self {
            color_stderr: is_colored(stderr_terminal),
            color_stdout: is_colored(std::io::stdout().is_terminal()),
            outputs_are_same: are_outputs_same(),
            outputs_are_same_terminal: stderr_terminal
                && std::io::stdout().is_terminal()
                && are_outputs_same(),
            live: stderr_terminal && supports_cursor,
            interactive: !args.no_input && stderr_terminal && std::io::stdin().is_terminal(),
            journal: journal(args.journal.as_deref())?,
            journal_origin: if args.journal.is_some() {
                SettingOrigin::Given
            } else {
                SettingOrigin::Default
            },
            identities,
            identity_origin: if args.identity.is_empty() {
                SettingOrigin::Default
            } else {
                SettingOrigin::Given
            },
            passphrase_file: args.passphrase_file.clone(),
            boundaries: limits(
                [
                    host_policy.boundary,
                    configuration.boundary().map(Path::to_owned),
                    args.boundary.clone(),
                ],
                projects.iter().map(|project| project.boundary.clone()),
            ),
            trust_files: limits(
                [host_policy.trust, configuration.trust().map(Path::to_owned), args.trust.clone()],
                projects.iter().map(|project| project.trust.clone()),
            ),
            audit_log: args
                .audit_log
                .clone()
                .or_else(|| host_policy.audit_log.clone())
                .map_or_else(|| state_directory().map(|dir| dir.join("audit")), Ok)?,
            host_audit_log: host_policy.audit_log,
            lock_policy: LockPolicy::required_if(
                args.locked || projects.iter().any(|project| project.locked.is_some()),
            ),
            cache: args.cache.clone().map_or_else(cache_directory, Ok)?,
            operator: account::operator(&host),
            host,
            process: process::identity(),
            log: args.log.clone(),
            log_format: args.log_format,
            origins: origins(matches, configuration, &projects),
            project,
            projects,
        })
    }
}

/// All files of one kind of limit: those of the host and the operator, and those of the projects.
fn limits(
    of_host_and_operator: [Option<PathBuf>; 3],
    of_projects: impl Iterator<Item = Option<PathBuf>>,
) -> Vec<PathBuf> {
    of_host_and_operator.into_iter().chain(of_projects).flatten().collect()
}

/// Where the value of each global option comes from: its flag, its variable, a file, or the
/// default. For `boundary`, `trust` and `locked` a project counts too.
fn origins(
    matches: &ArgMatches,
    configuration: &Configuration,
    projects: &[Project],
) -> BTreeMap<String, String> {
    let command = GlobalArgs::augment_args(clap::Command::new("runbook"));
    let matches = configuration::deepest_subcommand(matches);
    let origin = |option: &clap::Arg| {
        let name = option.get_long().unwrap_or_default();
        let id = option.get_id().as_str();
        // A switch that is off sets nothing.
        let is_off =
            matches!(option.get_action(), clap::ArgAction::SetTrue) && !matches.get_flag(id);
        let typed = match matches.value_source(id) {
            Some(_) if is_off && name == "locked" => None,
            Some(ValueSource::CommandLine) => Some(format!("from --{name}")),
            Some(ValueSource::EnvVariable) => {
                Some(format!("from {}", option.get_env().unwrap_or_default().to_string_lossy()))
            }
            Some(_) | None => None,
        };
        let configured_origin =
            configuration.location_of(name).map(|place| format!("from {place}"));
        let of_project = |project: &Project| match (name, &project.file) {
            ("boundary", Some(file)) => {
                project.boundary.as_ref().map(|_| format!("from {}", file.display()))
            }
            ("trust", Some(file)) => {
                project.trust.as_ref().map(|_| format!("from {}", file.display()))
            }
            ("locked", _) => project.locked.as_ref().map(|place| format!("from {place}")),
            _ => None,
        };
        let limit = || projects.iter().find_map(of_project);
        typed.or(configured_origin).or_else(limit).unwrap_or_else(|| "default".to_owned())
    };
    let global = command.get_opts().filter(|option| option.is_global_set());
    global.filter_map(|option| Some((option.get_long()?.to_owned(), origin(option)))).collect()
}

/// The choice of color by environment variables; `None` if none is set. `NO_COLOR` overrides the
/// others.
fn wants_color(variable: impl Fn(&str) -> Option<String>) -> Option<bool> {
    let is_on = |name: &str| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
    if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return Some(false);
    }
    if is_on("FORCE_COLOR") || is_on("CLICOLOR_FORCE") {
        return Some(true);
    }
    variable("CLICOLOR").is_some_and(|value| value == "0").then_some(false)
}

/// Whether stdout and stderr are the same file. Terminals are compared by their device, because one
/// terminal can be opened by several paths.
fn are_outputs_same() -> bool {
    let is_terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    match (rustix::fs::fstat(std::io::stdout()), rustix::fs::fstat(std::io::stderr())) {
        (Ok(stdout), Ok(stderr)) if is_terminal => stdout.st_rdev == stderr.st_rdev,
        (Ok(stdout), Ok(stderr)) => {
            (stdout.st_dev, stdout.st_ino) == (stderr.st_dev, stderr.st_ino)
        }
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Parses the location of the journal. Clap must not parse it: its error would show the value, and
/// the URL may contain a password.
fn journal(given: Option<&str>) -> Result<JournalLocation, Failure> {
    match given {
        Some(text) => {
            let journal_failure = |error: runbook_journal::LocationError| {
                Failure::usage(format!("`--journal`: {error}"))
            };
            let location = JournalLocation::parse(text).map_err(journal_failure)?;
            location
                .check_environment(|name| std::env::var_os(name).is_some())
                .map_err(journal_failure)?;
            Ok(location)
        }
        None => Ok(JournalLocation::File(state_directory()?.join("journal.db"))),
    }
}

#[cfg(test)]
mod tests {
    use super::wants_color;

    #[test]
    fn no_color_overrides_the_other_color_variables() {
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let table: &[(Variables<'_>, Option<bool>)] = &[
            (&[], None),
            (&[("NO_COLOR", "")], None),
            (&[("NO_COLOR", "1")], Some(false)),
            (&[("FORCE_COLOR", "1")], Some(true)),
            (&[("FORCE_COLOR", "0")], None),
            (&[("CLICOLOR_FORCE", "1")], Some(true)),
            (&[("CLICOLOR", "0")], Some(false)),
            (&[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "1")], Some(true)),
            (&[("NO_COLOR", "1"), ("FORCE_COLOR", "1"), ("CLICOLOR_FORCE", "1")], Some(false)),
        ];
        for (variables, expected) in table {
            let variable = |name: &str| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(wants_color(variable), *expected, "{variables:?}");
        }
    }
}
