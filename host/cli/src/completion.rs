//! What a command line can be completed with: runs, steps, parameters, environments, plugins, keys.
//! If something cannot be read, nothing is offered: completion never shows an error, never waits
//! for a person and never changes anything.

use crate::command_line::Args;
use crate::configuration::Configuration;
use crate::context::Context;
use crate::execution;
use crate::failure::Failure;
use crate::plugins::BUNDLED;
use crate::project::{self, Project};
use crate::runbook_file::RunbookFile;
use crate::schemas::{FileKind, find, schema};
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use clap_complete::CompletionCandidate as Candidate;
use runbook_document::{Diagnostics, Source};
use runbook_engine::{Decision, Journal as _, PauseReason, RunId, StoredRun};
use runbook_journal::SqlJournal;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// Runs that are offered: the newest.
const RUNS: usize = 50;

/// How long the journal may take, because a person waits for the completion.
const PATIENCE: Duration = Duration::from_secs(2);

/// What can be decided about a step whose outcome is unknown.
const DECISIONS: [(Decision, &str, &str); 4] = Decision::ALL;

/// Ids of runs, newest first, those that wait or go on before the others.
pub fn runs(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let list =
        |journal: SqlJournal| async move { journal.list(RUNS).await.map_err(Failure::engine) };
    let Some(mut runs) = from_journal(list) else { return Vec::new() };
    runs.sort_by_key(|run| run.ended.is_some());
    let offered =
        runs.iter().map(|run| (run.run.short(), format!("{} {}", run.name, run.phase.name())));
    begin_with(typed, offered)
}

/// Ids of steps of the run that was typed: those that wait for a person, else all.
pub fn steps(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    begin_with(typed, steps_of_run().into_iter().map(|(step, why)| (step, why.to_owned())))
}

/// `STEP=done` and the other decisions, for the run that was typed.
pub fn decisions(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let offered = steps_of_run().into_iter().flat_map(|(step, _)| {
        DECISIONS.map(|(_, word, meaning)| (format!("{step}={word}"), meaning.to_owned()))
    });
    begin_with(typed, offered)
}

/// Parameters of the runbook that was typed, and the values of those that name them.
pub fn parameters(current: &OsStr) -> Vec<Candidate> {
    let (Some(typed), Some(table)) = (current.to_str(), runbook()) else { return Vec::new() };
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
    begin_with(typed, offered)
}

/// The runbooks and suites of this project by name, and files.
pub fn runbooks(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let files = clap_complete::PathCompleter::file().filter(|path| {
        path.is_dir() || path.extension().is_some_and(|extension| extension == "toml")
    });
    let files = clap_complete::engine::ValueCompleter::complete(&files, current);
    let Ok((listed, _)) = Project::here().and_then(|project| project::runbooks(&project)) else {
        return files;
    };
    let mut offered = begin_with(typed, listed.into_iter().map(|one| (one.name, one.title)));
    offered.extend(files);
    offered
}

/// Environments: there is a `targets.NAME.toml` beside the runbook that was typed.
pub fn environments(current: &OsStr) -> Vec<Candidate> {
    let (Some(typed), Some(file)) = (current.to_str(), runbook_file()) else { return Vec::new() };
    let Ok(file) = RunbookFile::locate(&file) else { return Vec::new() };
    let environments = crate::prepare::environments(file.folder()).into_iter();
    begin_with(
        typed,
        environments
            .map(|environment| (environment.clone(), format!("targets.{environment}.toml"))),
    )
}

/// The bundled plugins and component files that fit what was typed.
pub fn plugins(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let mut offered = begin_with(
        typed,
        BUNDLED.iter().map(|bundled| (bundled.name.to_owned(), "bundled".to_owned())),
    );
    let components = clap_complete::PathCompleter::file().filter(|path| {
        path.is_dir() || path.extension().is_some_and(|extension| extension == "wasm")
    });
    offered.extend(clap_complete::engine::ValueCompleter::complete(&components, current));
    offered
}

/// The keys of files that begin with what was typed.
pub fn keys(current: &OsStr) -> Vec<Candidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    // Keys are written in small letters, codes are not.
    if typed.starts_with(|first: char| first.is_ascii_uppercase()) {
        return begin_with(
            typed,
            crate::error_pages::codes().map(|(code, title)| (code.to_owned(), title.to_owned())),
        );
    }
    let above = typed.rsplit_once('.').map_or("", |(above, _)| above);
    let Ok(found) = find(&schema(FileKind::Runbook), above) else { return Vec::new() };
    let whole = |key: String| if above.is_empty() { key } else { format!("{above}.{key}") };
    begin_with(typed, found.keys.into_iter().map(|(key, meaning)| (whole(key), meaning)))
}

fn begin_with(typed: &str, offered: impl IntoIterator<Item = (String, String)>) -> Vec<Candidate> {
    let fits = offered.into_iter().filter(|(value, _)| value.starts_with(typed));
    fits.map(|(value, help)| Candidate::new(value).help((!help.is_empty()).then(|| help.into())))
        .collect()
}

/// What the command line says so far, as well as it can be understood.
fn typed() -> Option<ArgMatches> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    Args::command().ignore_errors(true).try_get_matches_from(words).ok()
}

/// The surroundings that the command line names.
fn context() -> Option<Context> {
    let typed = typed()?;
    let global = crate::global_arguments::GlobalArgs::from_arg_matches(&typed).ok()?;
    let configuration = Configuration::load().ok()?;
    let here = std::env::current_dir().ok()?;
    let projects = Project::all_of(&here).unwrap_or_default();
    Context::new(&configuration.complete(global, &typed), &configuration, &typed, (&here, projects))
        .ok()
}

fn from_journal<T, F: Future<Output = Result<T, Failure>>>(
    read: impl FnOnce(SqlJournal) -> F,
) -> Option<T> {
    let context = context()?;
    if !context.has_journal() {
        return None;
    }
    execution::block_on(async {
        let reading = async { read(execution::open_journal(&context).await?).await };
        tokio::time::timeout(PATIENCE, reading).await.map_err(Failure::engine)?
    })
    .ok()
}

/// The steps of the run that was typed, and why they are offered.
fn steps_of_run() -> Vec<(String, &'static str)> {
    let words = typed();
    let run = words
        .as_ref()
        .and_then(|words| words.subcommand())
        .and_then(|(_, words)| words.try_get_one::<String>("run").ok()?);
    let Some(run) = run.cloned() else { return Vec::new() };
    let load = |journal: SqlJournal| async move {
        let id: RunId = journal.find(&run).await.map_err(Failure::engine)?;
        journal.load(id).await.map_err(Failure::engine)
    };
    from_journal(load).as_ref().map(waiting_or_all).unwrap_or_default()
}

fn waiting_or_all(stored: &StoredRun) -> Vec<(String, &'static str)> {
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

/// The runbook that was typed.
fn runbook_file() -> Option<PathBuf> {
    let words = typed()?;
    let (_, words) = words.subcommand()?;
    let one = words.try_get_one::<PathBuf>("file").ok().flatten().cloned();
    let written =
        one.or_else(|| words.try_get_many::<PathBuf>("files").ok().flatten()?.next().cloned())?;
    project::find(&Project::here().ok()?, &written).ok()
}

fn runbook() -> Option<serde_json::Value> {
    let file = runbook_file()?;
    let text = crate::text_file::read(&file).ok()?;
    let table = runbook_document::parse(
        &Source::new(file.to_string_lossy(), text),
        &mut Diagnostics::default(),
    )?;
    Some(table.to_json())
}
