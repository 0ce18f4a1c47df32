//! The command line as it is typed.

use crate::commands::plugin::PluginCommand;
use crate::commands::secret::SecretCommand;
use crate::completion;
use crate::context::GlobalArgs;
use crate::events::Events;
use crate::exit_status::{ExitStatus, Family};
use crate::failure::Failure;
use crate::schemas::FileKind;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args as ClapArgs, CommandFactory as _, Parser, Subcommand};
use clap_complete::ArgValueCompleter;
use runbook_report::checks::CheckFormat;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs health probes, smoke tests and runbook steps in sandboxed plugins, survives crashes, and undoes what failed.
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
    Exec(ExecArgs),
    /// Make the checks of suites, and say what they found
    ///
    /// Probes only look. Smoke tests try things out, which may write, and remove what they made. No journal is kept.
    Check(CheckArgs),
    /// Show what a runbook would do, and ask its steps
    ///
    /// Order, groups that run at the same time, inputs, authority, and what each step says it would do.
    Plan(PlanArgs),
    /// Check runbooks and the plugins that they use
    Validate(ValidateArgs),
    /// Continue a run that crashed, was interrupted or waits
    Resume(ResumeArgs),
    /// Begin a new run at a step of a finished one
    ///
    /// What that one has done and not undone is not done again. The runbook is as it is now, the parameters as they were.
    Retry(RetryArgs),
    /// Undo a finished run, last step first
    ///
    /// What could not be undone before is tried again. With `--with FILE` the undo is that of a mended runbook.
    Undo(UndoArgs),
    /// End a run in order, from another terminal
    ///
    /// One that nobody executes any more is ended from here. What it did is undone as its runbook says.
    Cancel(CancelArgs),
    /// Say that a step may do what it says it would
    Approve(ApproveArgs),
    /// Say that it must not
    ///
    /// The run then fails, and is undone as its runbook says.
    Reject(RejectArgs),
    /// Say that a person's step is done, and what was found
    Answer(AnswerArgs),
    /// List runs, newest first
    Runs(RunsArgs),
    /// Show a run
    Show(ShowArgs),
    /// Write the report of a run, such as one HTML file
    Report(ReportArgs),
    /// Remove runs that ended long ago from the journal
    Prune(PruneArgs),
    /// Write down what was reviewed
    ///
    /// The text of each runbook and of every file that it is made of, its plugins, and what it grants to them. A run that differs in
    /// any of these is refused. A file that `validate` refuses is not locked.
    Lock(LockArgs),
    /// Show what plugins and runbooks may do
    ///
    /// And what somebody should look at.
    Audit(crate::commands::audit::AuditArgs),
    /// Keep secrets in age-encrypted files
    Secret {
        /// What to do with them.
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// List, inspect and build plugins
    Plugin {
        /// What to do with them.
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Format runbooks and suites; what they say stays the same
    Fmt(FmtArgs),
    /// Explain a code, such as E0231, or a key of a file, such as step.retry
    Explain(ExplainArgs),
    /// Print the JSON Schema of a kind of file, for editors
    Schema {
        /// Which kind
        #[arg(value_enum)]
        file: FileKind,
    },
    /// Print a completion script for a shell
    ///
    /// It completes runs, steps, parameters and plugins, too.
    Completions {
        /// The shell
        shell: CompletionShell,
    },
    /// Print the manual page, or write all of them
    Man {
        /// A folder for one page a command; it is made if it is not there [default: one page to stdout]
        #[arg(long, short, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Check what is needed, and show every setting
    Doctor,
    /// Explain a command, or a topic: exit-codes
    Help {
        /// The topic, or a command, such as `secret set`
        topic: Vec<String>,
    },
}

impl Command {
    /// What its exit codes mean.
    pub fn family(&self) -> Family {
        if matches!(self, Self::Check(_)) { Family::Check } else { Family::Run }
    }
}

/// How the program ends when its command line is wrong. No command was parsed, so it is looked for among the words.
pub fn status_of_a_usage_error(error: &clap::Error, words: impl Iterator<Item = OsString>) -> u8 {
    match error.exit_code() {
        0 => ExitStatus::Success.code(),
        _ => ExitStatus::Usage.code_in(family_of(words)),
    }
}

/// The first word that is a command, and neither an option nor its value.
fn family_of(words: impl Iterator<Item = OsString>) -> Family {
    let command = Args::command();
    let takes_value = |word: &str| {
        let of_word = |option: &&clap::Arg| option.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        command.get_arguments().find(of_word).is_some_and(|option| option.get_action().takes_values())
    };
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        if takes_value(&word) {
            words.next();
        } else if command.get_subcommands().any(|known| known.get_name() == word) {
            return if word == "check" { Family::Check } else { Family::Run };
        }
    }
    Family::Run
}

/// `runbook retry`
#[derive(Debug, ClapArgs)]
pub struct RetryArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Do not ask before starting
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Where to begin: a step, a step of a nested runbook (`restore.load`) or an item (`vacuum[orders]`)
    #[arg(long, value_name = "STEP", value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::steps))]
    pub from: String,
    /// Decide about a step whose outcome is unknown: `STEP=done` (it happened) or `STEP=retry` (it did not; do it again)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Run although the maintenance window is closed; the journal says who did
    #[arg(long)]
    pub outside_window: bool,
}

/// `runbook check`
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// The suites; files that are neither suites nor runbooks, such as `waivers.toml`, are told and skipped
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Set a parameter; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter, add = ArgValueCompleter::new(completion::parameters))]
    pub set: Vec<(String, String)>,
    /// Take targets from `targets.NAME.toml` beside each suite
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
    /// Only checks with this tag; may be given several times
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// table, json, jsonl, junit, tap, prometheus, nagios, markdown or github
    #[arg(long, default_value = "table", value_parser = check_format)]
    pub format: CheckFormat,
    /// Where to; replaced as a whole, for a textfile collector [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write what happens while it happens, one line of JSON an event; `-` is stdout, which then has nothing else
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// From which state on the exit code is not 0: warning or critical
    #[arg(long, value_enum, default_value = "warning")]
    pub fail_on: FailOn,
    /// How long all checks of a suite may take; what is not done then is unknown
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub timeout: Duration,
    /// Make them again and again, this long after the last time, until Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = duration, num_args = 0..=1, default_missing_value = "30s")]
    pub watch: Option<Duration>,
}

/// From which state on `runbook check` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// A warning
    Warning,
    /// A critical check that failed; what could not be told counts, too
    Critical,
}

/// `runbook fmt`
#[derive(Debug, ClapArgs)]
pub struct FmtArgs {
    /// The files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Change nothing; exit code 1 if a file is not formatted
    #[arg(long)]
    pub check: bool,
}

/// `runbook explain`
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// The code, such as `E0231` or `RB004`, or the key, such as `step.retry.on`; without one, all keys at the top
    #[arg(add = ArgValueCompleter::new(completion::keys))]
    pub key: Option<String>,
    /// Of which kind of file
    #[arg(long, value_enum, default_value = "runbook")]
    pub file: FileKind,
}

/// Shells for which there are completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CompletionShell {
    /// GNU Bash
    Bash,
    /// Zsh
    Zsh,
    /// fish
    Fish,
}

/// How a runbook is found and filled in.
#[derive(Debug, ClapArgs)]
pub struct RunbookArgs {
    /// The runbook
    pub file: PathBuf,
    /// Set a parameter; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter, add = ArgValueCompleter::new(completion::parameters))]
    pub set: Vec<(String, String)>,
    /// Take targets from `targets.NAME.toml` beside the runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
}

/// `runbook exec`
#[derive(Debug, ClapArgs)]
pub struct ExecArgs {
    /// Which runbook.
    #[command(flatten)]
    pub runbook: RunbookArgs,
    /// Show what would happen: probes look, steps say what they would do, and every effect is refused
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before starting what cannot be undone; without a terminal such a runbook needs it
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Run although the maintenance window is closed; the journal says who did
    #[arg(long)]
    pub outside_window: bool,
    /// What is told.
    #[command(flatten)]
    pub told: Told,
}

/// `runbook plan`
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// Which runbook.
    #[command(flatten)]
    pub runbook: RunbookArgs,
    /// Contact nothing: show only what the file itself says
    #[arg(long)]
    pub offline: bool,
}

/// `runbook lock`
#[derive(Debug, ClapArgs)]
pub struct LockArgs {
    /// The runbooks and suites; files of other kinds, such as `targets.NAME.toml`, are told and skipped
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Take targets from `targets.NAME.toml` beside each runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
    /// Accept another text, what is wider than before, or other code; the difference is shown
    #[arg(long)]
    pub accept: bool,
}

/// `runbook validate`
#[derive(Debug, ClapArgs)]
pub struct ValidateArgs {
    /// The runbooks and suites; targets, waivers, boundaries, trust files, settings and manifests are checked as what they are
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Take targets from `targets.NAME.toml` beside each runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
}

/// A run, and what is told of it.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// What is told.
    #[command(flatten)]
    pub told: Told,
}

/// What is told of a run beside what is shown.
#[derive(Debug, ClapArgs)]
pub struct Told {
    /// Write a report of the run when it ends or waits, such as `junit=report.xml`; may be given several times; `-` is stdout
    #[arg(long, value_name = "FORMAT=PATH", value_parser = report)]
    pub report: Vec<(runbook_report::Format, PathBuf)>,
    /// Write what happens while it happens, one line of JSON an event (`runbook schema events`); `-` is stdout, which then has nothing else
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
}

impl Told {
    /// Whether stdout belongs to a report or to events, so that nothing else is written to it.
    pub fn has_stdout(&self) -> bool {
        let stdout = Path::new("-");
        self.events.as_deref() == Some(stdout) || self.report.iter().any(|(_, path)| path == stdout)
    }

    /// Opens what events are written to.
    ///
    /// # Errors
    /// It cannot be opened, or a report goes to stdout as well.
    pub fn open(&self) -> Result<Option<Events>, Failure> {
        let stdout = Path::new("-");
        if self.events.as_deref() == Some(stdout) && self.report.iter().any(|(_, path)| path == stdout) {
            return Err(Failure::usage("events and a report are both to go to stdout").hint("write one of them to a file"));
        }
        self.events.as_deref().map(Events::open).transpose()
    }
}

/// `runbook undo`
#[derive(Debug, ClapArgs)]
pub struct UndoArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Decide about a step whose undo may have happened: `STEP=done` (it is undone), `STEP=retry` (it is not; undo it) or
    /// `STEP=not-done` (it is not; leave it as it is)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Do not ask before undoing
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Undo by the `undo` of this runbook, whose steps are those of the run; the journal keeps its text and its digest
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub with: Option<PathBuf>,
}

/// `runbook cancel`
#[derive(Debug, ClapArgs)]
pub struct CancelArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Decide about a step whose outcome is unknown: `STEP=done` (it happened; its undo runs), `STEP=not-done` (it did not) or
    /// `STEP=fail` (treat it as failed: its undo runs)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Do not ask before ending a run that nobody executes any more
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// `runbook resume`
#[derive(Debug, ClapArgs)]
pub struct ResumeArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Decide about a step whose outcome is unknown: `STEP=done` (it happened), `STEP=retry` (it did not; do it again),
    /// `STEP=not-done` (it did not; fail without undoing it) or `STEP=fail` (treat it as failed: its undo runs)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Continue although the maintenance window is closed; the journal says who did
    #[arg(long)]
    pub outside_window: bool,
    /// Continue although the runbook or a plugin has changed since the run started; the difference is shown
    #[arg(long)]
    pub accept_changes: bool,
}

/// `runbook approve`
#[derive(Debug, ClapArgs)]
pub struct ApproveArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// The step
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::steps))]
    pub step: String,
    /// Do not ask; what is approved is shown all the same
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// `runbook answer`
#[derive(Debug, ClapArgs)]
pub struct AnswerArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// The step
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::steps))]
    pub step: String,
    /// A value of its form; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    pub set: Vec<(String, String)>,
    /// One of its choices
    #[arg(long)]
    pub choice: Option<String>,
    /// What it asks to be typed, letter by letter
    #[arg(long)]
    pub confirm: Option<String>,
}

/// `runbook reject`
#[derive(Debug, ClapArgs)]
pub struct RejectArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// The step
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::steps))]
    pub step: String,
    /// Why, for those who read the report
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub reason: String,
}

/// `runbook runs`
#[derive(Debug, ClapArgs)]
pub struct RunsArgs {
    /// How many
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// As JSON lines
    #[arg(long)]
    pub json: bool,
}

/// `runbook report`
#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// text, json, junit, markdown or html [default: by the ending of `--output`, else text]
    #[arg(long, value_parser = format)]
    pub format: Option<runbook_report::Format>,
    /// Where to [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `runbook prune`
#[derive(Debug, ClapArgs)]
pub struct PruneArgs {
    /// Remove runs that ended longer ago than this, such as `90d`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub older_than: Duration,
    /// Remove dirty runs too: those that left something changed for a person to look at
    #[arg(long)]
    pub dirty: bool,
    /// Only say how many there are
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// `runbook show`
#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// text, json, junit, markdown, html, or jsonl: each event as a line of JSON (`runbook schema events`)
    #[arg(long, default_value = "text", value_parser = shown)]
    pub format: Shown,
    /// Tell what happens as it happens, from the start, until the run ends or waits for somebody
    #[arg(long)]
    pub follow: bool,
}

/// What `runbook show` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// How the run stands.
    Report(runbook_report::Format),
    /// All that happened in it.
    Events,
}

fn shown(text: &str) -> Result<Shown, String> {
    let known: Vec<_> = runbook_report::FORMATS.iter().map(|(_, name, ..)| *name).chain(["jsonl"]).collect();
    let found = if text == "jsonl" { Some(Shown::Events) } else { runbook_report::Format::find(text).map(Shown::Report) };
    one_of(found, text, &known)
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The key of an item may hold `=`, a decision does not.
fn decision(text: &str) -> Result<(String, String), String> {
    let (step, decision) = text.rsplit_once('=').ok_or("write STEP=DECISION")?;
    Ok((step.to_owned(), decision.to_owned()))
}

fn format(text: &str) -> Result<runbook_report::Format, String> {
    let known: Vec<_> = runbook_report::FORMATS.iter().map(|(_, name, ..)| *name).collect();
    one_of(runbook_report::Format::find(text), text, &known)
}

fn duration(text: &str) -> Result<Duration, String> {
    runbook_document::parse_duration(text)
        .ok_or_else(|| format!("`{text}` is not a time; write a number with its unit, such as `90d`"))
}

fn check_format(text: &str) -> Result<CheckFormat, String> {
    let known: Vec<_> = runbook_report::checks::CHECK_FORMATS.iter().map(|(_, name)| *name).collect();
    one_of(CheckFormat::find(text), text, &known)
}

/// What was found by a name, or which names there are.
pub fn one_of<T>(found: Option<T>, text: &str, known: &[&str]) -> Result<T, String> {
    found.ok_or_else(|| format!("`{text}` is not a format; known: {}", known.join(", ")))
}

fn report(text: &str) -> Result<(runbook_report::Format, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write FORMAT=PATH, such as junit=report.xml")?;
    Ok((format(name)?, PathBuf::from(path)))
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
        for below in command.get_subcommands() {
            let words: Vec<_> = words.iter().cloned().chain([below.get_name().to_owned()]).collect();
            found.extend(commands(below, &words));
        }
        found
    }

    #[test]
    fn an_empty_name_of_a_run_or_a_step_is_refused_by_every_command() {
        let mut seen = 0;
        for (words, command) in commands(&Args::command(), &["runbook".to_owned()]) {
            let names: Vec<_> = command.get_positionals().map(|argument| argument.get_id().to_string()).collect();
            for (empty, name) in names.iter().enumerate().filter(|(_, name)| ["run", "step"].contains(&name.as_str())) {
                let given = names.iter().enumerate().map(|(index, _)| if index == empty { "" } else { "x" }.to_owned());
                let line: Vec<String> = words.iter().cloned().chain(given).collect();
                let error = Args::try_parse_from(&line).expect_err("it is empty").to_string();
                assert!(error.contains(&format!("'<{}>'", name.to_uppercase())) || error.contains("[RUN]"), "{line:?}: {error}");
                seen += 1;
            }
        }
        assert!(seen >= 12, "only {seen}");
    }

    #[test]
    fn what_every_command_has_stands_below_its_own_options() {
        for (words, mut command) in commands(&Args::command(), &["runbook".to_owned()]) {
            command.build();
            for option in command.get_opts().filter(|option| option.is_global_set()) {
                assert_eq!(option.get_help_heading(), Some("Options of every command"), "{words:?} --{}", option.get_id());
            }
        }
    }

    #[test]
    fn no_variable_of_the_environment_says_yes() {
        for (words, command) in commands(&Args::command(), &["runbook".to_owned()]) {
            for option in command.get_arguments().filter(|option| option.get_id() == "yes") {
                assert_eq!(option.get_env(), None, "{words:?}");
            }
        }
    }

    #[test]
    fn a_mistake_on_the_command_line_of_check_is_told_in_its_own_exit_codes_wherever_options_stand() {
        let mut lines = vec![vec!["check", "--bogus"], vec!["--no-input", "check"], vec!["--bogus", "check"]];
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
            assert_eq!(family_of(line.iter().map(OsString::from)), Family::Check, "{line:?}");
        }
        for line in [&["exec", "check"][..], &["--journal", "check", "exec"], &["--color=check"], &[]] {
            assert_eq!(family_of(line.iter().map(OsString::from)), Family::Run, "{line:?}");
        }
    }
}
