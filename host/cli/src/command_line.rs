//! The commands and their arguments, as clap parses them.

use crate::commands;
use crate::exit_status::{CommandFamily, ExitStatus};
use crate::global_arguments::GlobalArgs;
use crate::schemas::SchemaKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Runs health probes, smoke tests and runbook steps in sandboxed plugins, survives crashes, and
/// undoes what failed.
#[derive(Debug, Parser)]
#[command(name = "runbook", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Args {
    /// Options that every command has.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a runbook
    #[command(visible_alias = "run")]
    Exec(commands::exec::ExecArgs),
    /// Run check suites, and report what they found
    ///
    /// Probes only read. Smoke tests may write, and remove what they wrote. No journal is kept.
    Check(commands::check::CheckArgs),
    /// Show what a runbook would do, and ask its steps
    ///
    /// Order, groups that run at the same time, inputs, authority, and what each step says it would
    /// do.
    Plan(commands::plan::PlanArgs),
    /// Check runbooks and the plugins that they use
    Validate(commands::validate::ValidateArgs),
    /// Continue a run that crashed, was interrupted or waits
    Resume(commands::resume::ResumeArgs),
    /// Begin a new run at a step of a finished one
    ///
    /// Steps that the finished run has done and not undone are not done again. The runbook is taken
    /// as it is now, the parameters as they were.
    Retry(commands::retry::RetryArgs),
    /// Undo a finished run, last step first
    ///
    /// Steps whose undo failed before are tried again. `--with FILE` takes the undo from a
    /// corrected runbook.
    Undo(commands::undo::UndoArgs),
    /// End a run in order, from another terminal
    ///
    /// A run that no process executes any more is ended by this command. What it did is undone as
    /// its runbook says.
    Cancel(commands::cancel::CancelArgs),
    /// Approve a waiting step
    Approve(commands::approve::ApproveArgs),
    /// Reject a waiting step
    ///
    /// The run then fails, and is undone as its runbook says.
    Reject(commands::approve::RejectArgs),
    /// Answer a manual step: it is done, and this was found
    Answer(commands::answer::AnswerArgs),
    /// List the runbooks of this project
    ///
    /// Each with the name by which `exec`, `plan`, `check`, `validate` and `lock` find it. A
    /// project is a folder with `.runbook.toml`.
    List(commands::list::ListArgs),
    /// List runs, newest first
    #[command(visible_alias = "ls")]
    Runs(commands::runs::RunsArgs),
    /// Show a run
    #[command(visible_alias = "logs")]
    Show(commands::show::ShowArgs),
    /// Write the report of a run, such as one HTML file
    Report(commands::report::ReportArgs),
    /// Remove runs that ended long ago from the journal
    Prune(commands::prune::PruneArgs),
    /// Record what was reviewed in the lockfile
    ///
    /// The lockfile holds the text of each runbook and of every file that it consists of, its
    /// plugins, and what it grants to them. A run that differs in any of these is refused. A file
    /// that `validate` refuses is not locked.
    Lock(commands::lock::LockArgs),
    /// Show what plugins and runbooks may do
    ///
    /// With findings: what a reviewer should look at.
    Review(commands::review::ReviewArgs),
    /// Show or verify the audit log: what runs did, host call by host call
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: commands::audit::AuditCommand,
    },
    /// Keep secrets in age-encrypted files
    Secret {
        /// What to do with them.
        #[command(subcommand)]
        command: commands::secret::SecretCommand,
    },
    /// List, inspect and build plugins
    Plugin {
        /// What to do with them.
        #[command(subcommand)]
        command: commands::plugin::PluginCommand,
    },
    /// Format runbooks and suites; their meaning stays the same
    Fmt(commands::fmt::FmtArgs),
    /// Explain a code, such as E0231, or a key of a file, such as step.retry
    Explain(commands::explain::ExplainArgs),
    /// Print the JSON Schema of a kind of file, for editors
    Schema {
        /// The kind of file
        #[arg(value_enum)]
        file: SchemaKind,
    },
    /// Print a completion script for a shell
    ///
    /// It also completes runs, steps, parameters and plugins.
    Completions {
        /// The shell that the script is for
        shell: commands::completions::CompletionShell,
    },
    /// Print the manual page, or write all of them
    Man {
        /// A folder for one page for each command; it is made if it does not exist [default: one
        /// page to stdout]
        #[arg(long, short, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Check what this host needs, and show every setting
    Doctor(commands::doctor::DoctorArgs),
    /// List the locks of runs that are held, or break one
    Locks(commands::locks::LocksArgs),
    /// Explain a command, or a topic: exit-codes, options
    Help {
        /// The topic, or a command, such as `secret set`
        topic: Vec<String>,
    },
}

/// The commands, in groups by purpose.
const GROUPS: &[(&str, &[&str])] = &[
    ("Run", &["exec", "resume", "undo", "retry", "cancel", "answer", "approve", "reject"]),
    ("Check", &["check", "validate", "plan"]),
    ("Look", &["list", "runs", "show", "report", "locks", "prune"]),
    ("Review", &["review", "lock", "audit"]),
    ("Author", &["plugin", "fmt", "explain", "schema"]),
    ("Set up", &["doctor", "secret", "completions", "man", "help"]),
];

/// The command line with its help. Commands are listed in groups. The global options are hidden:
/// `runbook help options` lists them.
pub fn command() -> clap::Command {
    let whole_command = Args::command();
    let mut groups = String::new();
    for (heading, names) in GROUPS {
        groups.push_str(&format!("{heading}:\n"));
        for name in *names {
            let known = whole_command
                .find_subcommand(name)
                .expect("each name in a group is a command: a test");
            let about = known.get_about().map(ToString::to_string).unwrap_or_default();
            let aliases: Vec<_> = known.get_visible_aliases().collect();
            let aliases = if aliases.is_empty() {
                String::new()
            } else {
                format!(" [also: {}]", aliases.join(", "))
            };
            groups.push_str(&format!("  {name:<11}  {about}{aliases}\n"));
        }
        groups.push('\n');
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n\
                 {{options}}{{after-help}}"
    );
    with_common_options_hidden(whole_command).help_template(template)
}

/// The command and all its subcommands, with the global options hidden in their help.
fn with_common_options_hidden(command: clap::Command) -> clap::Command {
    let names: Vec<String> =
        command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
    let hidden = command
        .mut_args(|argument| if argument.is_global_set() { argument.hide(true) } else { argument })
        .after_help(
            "Options of every command, such as `--journal` and `-v`: `runbook help options`",
        );
    names
        .into_iter()
        .fold(hidden, |command, name| command.mut_subcommand(name, with_common_options_hidden))
}

/// What a command works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandData {
    /// Files of runbooks. The limits of the enclosing project apply.
    Runbooks,
    /// The journal, or this program itself. It works even if the project file is broken.
    Records,
}

impl Command {
    /// The data that a command works with. An undo by `cancel` obeys the limits of the project of
    /// its runbook.
    pub fn data(&self) -> CommandData {
        match self {
            Self::Exec(_)
            | Self::Check(_)
            | Self::Plan(_)
            | Self::Validate(_)
            | Self::Resume(_)
            | Self::Retry(_)
            | Self::Undo(_)
            | Self::List(_)
            | Self::Lock(_)
            | Self::Review(_)
            | Self::Plugin { .. }
            | Self::Doctor(_) => CommandData::Runbooks,
            Self::Cancel(_)
            | Self::Approve(_)
            | Self::Reject(_)
            | Self::Answer(_)
            | Self::Runs(_)
            | Self::Show(_)
            | Self::Report(_)
            | Self::Prune(_)
            | Self::Audit { .. }
            | Self::Secret { .. }
            | Self::Fmt(_)
            | Self::Explain(_)
            | Self::Schema { .. }
            | Self::Completions { .. }
            | Self::Man { .. }
            | Self::Locks(_)
            | Self::Help { .. } => CommandData::Records,
        }
    }

    /// The table of exit codes that the command uses.
    pub fn family(&self) -> CommandFamily {
        if matches!(self, Self::Check(_)) { CommandFamily::Check } else { CommandFamily::Run }
    }
}

/// The exit status for a wrong command line. No command was parsed, so `words` are searched for the
/// name of one.
pub fn usage_error_status(error: &clap::Error, words: impl Iterator<Item = OsString>) -> u8 {
    match error.exit_code() {
        0 => ExitStatus::Success.code(),
        _ => ExitStatus::Usage.code_in(family_of(words)),
    }
}

/// The family of the first word that is a command, and neither an option nor its value.
fn family_of(words: impl Iterator<Item = OsString>) -> CommandFamily {
    let command = Args::command();
    let takes_value = |word: &str| {
        let is_named_by_word = |option: &&clap::Arg| {
            option.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
        };
        command
            .get_arguments()
            .find(is_named_by_word)
            .is_some_and(|option| option.get_action().takes_values())
    };
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        if takes_value(&word) {
            words.next();
        } else if let Some(known) = command.find_subcommand(&word) {
            return if known.get_name() == "check" {
                CommandFamily::Check
            } else {
                CommandFamily::Run
            };
        }
    }
    CommandFamily::Run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    /// Every command, with the words that lead to it.
    fn commands(command: &clap::Command, words: &[String]) -> Vec<(Vec<String>, clap::Command)> {
        let mut found = vec![(words.to_vec(), command.clone())];
        for subcommand in command.get_subcommands() {
            let words: Vec<_> =
                words.iter().cloned().chain([subcommand.get_name().to_owned()]).collect();
            found.extend(commands(subcommand, &words));
        }
        found
    }

    #[test]
    fn an_empty_name_of_a_run_or_a_step_is_refused_by_every_command() {
        let mut n_checked = 0;
        for (words, command) in commands(&Args::command(), &["runbook".to_owned()]) {
            let names: Vec<_> =
                command.get_positionals().map(|argument| argument.get_id().to_string()).collect();
            for (empty_index, name) in names
                .iter()
                .enumerate()
                .filter(|(_, name)| ["run", "step"].contains(&name.as_str()))
            {
                let values = names
                    .iter()
                    .enumerate()
                    .map(|(index, _)| if index == empty_index { "" } else { "x" }.to_owned());
                let line: Vec<String> = words.iter().cloned().chain(values).collect();
                let error = Args::try_parse_from(&line).expect_err("it is empty").to_string();
                assert!(
                    error.contains(&format!("'<{}>'", name.to_uppercase()))
                        || error.contains("[RUN]"),
                    "{line:?}: {error}"
                );
                n_checked += 1;
            }
        }
        assert!(n_checked >= 12, "only {n_checked}");
    }

    #[test]
    fn every_command_is_in_one_group_of_the_help() {
        let mut grouped: Vec<&str> =
            GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = Args::command();
        let mut known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        grouped.sort_unstable();
        known.sort_unstable();
        assert_eq!(grouped, known);
    }

    #[test]
    fn options_of_every_command_have_a_heading_of_their_own() {
        for (words, mut command) in commands(&Args::command(), &["runbook".to_owned()]) {
            command.build();
            for option in command.get_opts().filter(|option| option.is_global_set()) {
                assert_eq!(
                    option.get_help_heading(),
                    Some(crate::global_arguments::COMMON_OPTIONS),
                    "{words:?} --{}",
                    option.get_id()
                );
            }
        }
    }

    #[test]
    fn no_environment_variable_answers_yes() {
        for (words, command) in commands(&Args::command(), &["runbook".to_owned()]) {
            for option in command.get_arguments().filter(|option| option.get_id() == "yes") {
                assert_eq!(option.get_env(), None, "{words:?}");
            }
        }
    }

    #[test]
    fn a_usage_error_of_check_has_an_exit_code_of_check_wherever_options_are() {
        let mut lines = vec![
            vec!["check", "--bogus"],
            vec!["--no-input", "check"],
            vec!["-v", "check"],
            vec!["--bogus", "check"],
        ];
        let command = Args::command();
        let names: Vec<String> = command
            .get_opts()
            .filter(|option| option.get_action().takes_values())
            .filter_map(|option| Some(format!("--{}", option.get_long()?)))
            .collect();
        assert!(names.len() >= 8, "{names:?}");
        for name in &names {
            lines.push(vec![name, "exec", "check", "--bogus"]);
        }
        let with_value: Vec<String> = names.iter().map(|name| format!("{name}=never")).collect();
        for name in &with_value {
            lines.push(vec![name, "check", "--bogus"]);
        }
        for line in lines {
            assert_eq!(
                family_of(line.iter().map(OsString::from)),
                CommandFamily::Check,
                "{line:?}"
            );
        }
        for line in
            [&["exec", "check"][..], &["--journal", "check", "exec"], &["--color=check"], &[]]
        {
            assert_eq!(family_of(line.iter().map(OsString::from)), CommandFamily::Run, "{line:?}");
        }
    }
}
