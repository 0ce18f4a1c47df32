//! Completes command lines with runs, steps, parameters, environments, plugins and keys. If
//! something cannot be read, nothing is offered: completion never shows an error, never asks a
//! question and never changes anything.

use crate::command_line::Args;
use crate::configuration::Configuration;
use crate::context::Context;
use crate::execution;
use crate::failure::Failure;
use crate::plugins::BUNDLED;
use crate::project::{self, Project};
use crate::runbook_file::RunbookFile;
use crate::schemas::{SchemaKind, find_key, schema};
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use clap_complete::CompletionCandidate as Candidate;
use runbook_document::{Diagnostics, Source};
use runbook_engine::{Decision, Journal as _, PauseReason, RunId, StoredRun};
use runbook_journal::SqlJournal;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// How many runs are offered: the newest.
const MAX_RUNS: usize = 50;

/// How long completion waits for the journal.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The decisions about a step whose outcome is unknown.
const DECISIONS: [(Decision, &str, &str); 4] = Decision::ALL;

/// Ids of runs, newest first. Those that have not ended come before the others.
pub fn runs(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let list =
        |journal: SqlJournal| async move { journal.list(MAX_RUNS).await.map_err(Failure::engine) };
    let Some(mut runs) = read_journal(list) else { return Vec::new() };
    runs.sort_by_key(|run| run.ended.is_some());
    let offered =
        runs.iter().map(|run| (run.run.short(), format!("{} {}", run.name, run.status.name())));
    candidates_with_prefix(typed, offered)
}

/// Ids of the steps of the typed run: those that wait for a person, else all.
pub fn steps(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    candidates_with_prefix(
        typed,
        steps_of_run().into_iter().map(|(step, why)| (step, why.to_owned())),
    )
}

/// `STEP=done` and the other decisions, for the typed run.
pub fn decisions(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let offered = steps_of_run().into_iter().flat_map(|(step, _)| {
        DECISIONS.map(|(_, word, meaning)| (format!("{step}={word}"), meaning.to_owned()))
    });
    candidates_with_prefix(typed, offered)
}

/// Parameters of the typed runbook, and the `choices` of those that have some.
pub fn parameters(current: &OsStr) -> Vec<Candidate> {
    let (Some(typed), Some(table)) = (current.to_str(), runbook_json()) else { return Vec::new() };
    let params = table["params"].as_object().into_iter().flatten();
    let mut offered = Vec::new();
    for (name, param) in params {
        let help = param["help"].as_str().unwrap_or_default().to_owned();
        match param["choices"].as_array() {
            Some(values) if typed.starts_with(&format!("{name}=")) => {
                let values = values.iter().filter_map(|value| value.as_str());
                offered.extend(values.map(|value| (format!("{name}={value}"), help.clone())));
            }
            Some(_) | None => offered.push((format!("{name}="), help)),
        }
    }
    candidates_with_prefix(typed, offered)
}

/// The names of the runbooks and suites of this project, and TOML files.
pub fn runbooks(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let files = clap_complete::PathCompleter::file().filter(|path| {
        path.is_dir() || path.extension().is_some_and(|extension| extension == "toml")
    });
    let files = clap_complete::engine::ValueCompleter::complete(&files, current);
    let Ok((listed, _)) = Project::here().and_then(|project| project::runbooks(&project)) else {
        return files;
    };
    let mut offered = candidates_with_prefix(
        typed,
        listed.into_iter().map(|runbook| (runbook.name, runbook.title)),
    );
    offered.extend(files);
    offered
}

/// Environments of the typed runbook: there is a `targets.NAME.toml` beside it.
pub fn environments(current: &OsStr) -> Vec<Candidate> {
    let (Some(typed), Some(file)) = (current.to_str(), runbook_file()) else { return Vec::new() };
    let Ok(file) = RunbookFile::locate(&file) else { return Vec::new() };
    let environments = crate::prepare::environments(file.folder()).into_iter();
    candidates_with_prefix(
        typed,
        environments
            .map(|environment| (environment.clone(), format!("targets.{environment}.toml"))),
    )
}

/// Bundled plugins and component files.
pub fn plugins(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let mut offered = candidates_with_prefix(
        typed,
        BUNDLED.iter().map(|bundled| (bundled.name.to_owned(), "bundled".to_owned())),
    );
    let components = clap_complete::PathCompleter::file().filter(|path| {
        path.is_dir() || path.extension().is_some_and(|extension| extension == "wasm")
    });
    offered.extend(clap_complete::engine::ValueCompleter::complete(&components, current));
    offered
}

/// Keys of runbooks, and error codes.
pub fn keys(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    // Keys begin with a lower-case letter, codes with an upper-case one.
    if typed.starts_with(|first: char| first.is_ascii_uppercase()) {
        return candidates_with_prefix(
            typed,
            crate::error_pages::codes().map(|(code, title)| (code.to_owned(), title.to_owned())),
        );
    }
    let parent_key = typed.rsplit_once('.').map_or("", |(parent_key, _)| parent_key);
    let Ok(found) = find_key(&schema(SchemaKind::Runbook), parent_key) else { return Vec::new() };
    let full_key =
        |key: String| if parent_key.is_empty() { key } else { format!("{parent_key}.{key}") };
    candidates_with_prefix(
        typed,
        found.keys.into_iter().map(|(key, meaning)| (full_key(key), meaning)),
    )
}

fn candidates_with_prefix(
    typed: &str,
    offered: impl IntoIterator<Item = (String, String)>,
) -> Vec<Candidate> {
    let matching = offered.into_iter().filter(|(value, _)| value.starts_with(typed));
    matching
        .map(|(value, help)| Candidate::new(value).help((!help.is_empty()).then(|| help.into())))
        .collect()
}

/// The incomplete command line, as far as it can be parsed.
fn typed_arguments() -> Option<ArgMatches> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    Args::command().ignore_errors(true).try_get_matches_from(words).ok()
}

/// The context for the global options that were typed.
fn context() -> Option<Context> {
    let typed = typed_arguments()?;
    let global = crate::global_arguments::GlobalArgs::from_arg_matches(&typed).ok()?;
    let configuration = Configuration::load().ok()?;
    let here = std::env::current_dir().ok()?;
    let projects = Project::enclosing(&here).unwrap_or_default();
    Context::new(&configuration.complete(global, &typed), &configuration, &typed, (&here, projects))
        .ok()
}

fn read_journal<T, F: Future<Output = Result<T, Failure>>>(
    read: impl FnOnce(SqlJournal) -> F,
) -> Option<T> {
    let context = context()?;
    if !context.has_journal() {
        return None;
    }
    execution::block_on(async {
        let reading = async { read(execution::open_journal(&context).await?).await };
        tokio::time::timeout(JOURNAL_TIMEOUT, reading).await.map_err(Failure::engine)?
    })
    .ok()
}

/// The steps of the typed run, and why they are offered.
fn steps_of_run() -> Vec<(String, &'static str)> {
    let words = typed_arguments();
    let run = words
        .as_ref()
        .and_then(|words| words.subcommand())
        .and_then(|(_, words)| words.try_get_one::<String>("run").ok()?);
    let Some(run) = run.cloned() else { return Vec::new() };
    let load = |journal: SqlJournal| async move {
        let id: RunId = journal.find(&run).await.map_err(Failure::engine)?;
        journal.load(id).await.map_err(Failure::engine)
    };
    read_journal(load).as_ref().map(waiting_steps_or_all).unwrap_or_default()
}

/// The steps that the run waits for, else all of them, each with the reason why it is offered.
fn waiting_steps_or_all(stored: &StoredRun) -> Vec<(String, &'static str)> {
    let Ok(Some(state)) = runbook_engine::fold(&stored.records) else { return Vec::new() };
    let (waiting, why) = match &state.paused {
        Some(PauseReason::Approval { steps }) => (steps.as_slice(), "waits for approval"),
        Some(PauseReason::Manual { steps }) => (steps.as_slice(), "waits for a person"),
        Some(PauseReason::UnknownOutcome { steps }) => (steps.as_slice(), "its outcome is unknown"),
        Some(
            PauseReason::Guard { .. }
            | PauseReason::LeaseLost { .. }
            | PauseReason::OutsideWindow { .. }
            | PauseReason::Interrupted,
        )
        | None => (&[][..], ""),
    };
    if waiting.is_empty() {
        return state.steps.keys().map(|step| (step.to_string(), "")).collect();
    }
    waiting.iter().map(|step| (step.to_string(), why)).collect()
}

/// The file of the typed runbook.
fn runbook_file() -> Option<PathBuf> {
    let words = typed_arguments()?;
    let (_, words) = words.subcommand()?;
    let file = words.try_get_one::<PathBuf>("file").ok().flatten().cloned();
    let typed_name =
        file.or_else(|| words.try_get_many::<PathBuf>("files").ok().flatten()?.next().cloned())?;
    project::find(&Project::here().ok()?, &typed_name).ok()
}

fn runbook_json() -> Option<serde_json::Value> {
    let file = runbook_file()?;
    let text = crate::text_file::read(&file).ok()?;
    let table = runbook_document::parse(
        &Source::new(file.to_string_lossy(), text),
        &mut Diagnostics::default(),
    )?;
    Some(table.to_json())
}
