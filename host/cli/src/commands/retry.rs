//! `runbook retry`: begins a new run at a step of a run that has ended.

use super::exec::{self, RunStart};
use super::resume::{decisions, load};
use crate::completion;
use crate::context::Context;
use crate::earlier_runs;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepare;
use crate::shared_arguments::ExistingRunArgs;
use crate::value_parsers::decision;
use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::ArgValueCompleter;
use runbook_engine::{
    Decision, Params, Plan, RetryError, RetryOf, RunId, RunState, StepId, fold, retry_of,
};
use std::collections::BTreeMap;
use std::path::Path;

/// The arguments of `runbook retry`.
#[derive(Debug, ClapArgs)]
pub struct RetryArgs {
    /// Which run is tried again.
    #[command(flatten)]
    pub run: ExistingRunArgs,
    /// Do not ask before starting
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Where to begin: a step, a step of a nested runbook (`restore.load`) or an item
    /// (`vacuum[orders]`)
    #[arg(long, value_name = "STEP", value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::steps))]
    pub from: String,
    /// Decide about a step whose outcome is unknown: `STEP=done` (it happened) or `STEP=retry` (it
    /// did not; do it again)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Run although the maintenance window is closed; the journal says who did
    #[arg(long)]
    pub outside_window: bool,
}

/// Begins a new run at a step of one that has ended. It has the present runbook and the parameters
/// of the ended run.
pub fn run(context: &Context, args: &RetryArgs) -> Result<ExitStatus, Failure> {
    let (run, stored, state, mut earlier) = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run.run).await?;
        // A second retry would not know what the first one has done, and would do it again.
        match journal.retried_by(run).await.map_err(Failure::engine)? {
            Some(later_run) => Err(already_retried(run, later_run, &args.from)),
            None => {
                let state = fold(&stored.records).map_err(Failure::engine)?;
                let state = state
                    .ok_or_else(|| Failure::usage(format!("run {} never began", run.short())))?;
                let earlier = earlier_runs::states(&journal, &state).await?;
                Ok((run, stored, state, earlier))
            }
        }
    })?;
    let header = &stored.header;
    let (file, _) = header
        .sources
        .first()
        .ok_or_else(|| Failure::engine("the journal kept no text of the runbook"))?;
    let (file, environment) = (Path::new(file), header.environment.as_deref());
    let prepared = prepare::from_file(context, file, environment)?;
    let mut known: Vec<&str> =
        prepared.runbook.params.iter().map(|param| param.name.name.as_str()).collect();
    let mut given: Vec<&str> = header.params.keys().map(String::as_str).collect();
    known.sort_unstable();
    given.sort_unstable();
    if known != given {
        return Err(Failure::usage(format!(
            "the parameters of `{}` are others than those of run {}",
            file.display(),
            run.short()
        ))
        .hint(format!(
            "begin anew: `runbook exec {}`",
            runbook_text::file_argument(&file.display().to_string())
        )));
    }
    let plan = exec::plan(context, &prepared, &Params::from_journal(header.params.clone()), file)?;
    let from = StepId::new(args.from.as_str());
    let retry = retry(&plan, run, &state, &earlier, &from, &decisions(&args.decide)?)?;
    earlier.insert(run, state);
    exec::confirm(context, &prepared.runbook, args.yes)?;
    let outside = execution::outside_window(args.outside_window);
    let output = &args.run.output;
    exec::begin_run(
        context,
        &prepared,
        &plan,
        RunStart { run: None, environment, outside, output, retry_of: Some(retry), earlier },
    )
}

fn already_retried(run: RunId, later_run: RunId, from: &str) -> Failure {
    let (run, later_run) = (run.short(), later_run.short());
    Failure::usage(format!(
        "run {run} was tried again by run {later_run}, which knows what both have done"
    ))
    .hint(format!("`runbook show {later_run}` says how it ended"))
    .hint(format!(
        "to go on from there: `runbook retry {later_run} --from {}`",
        runbook_text::shell_argument(from)
    ))
}

fn retry(
    plan: &Plan,
    run: RunId,
    state: &RunState,
    earlier: &BTreeMap<RunId, RunState>,
    from: &StepId,
    decisions: &BTreeMap<StepId, Decision>,
) -> Result<RetryOf, Failure> {
    retry_of(plan, run, state, earlier, from, decisions).map_err(|error| {
        let hint = match &error {
            RetryError::NotEnded => format!("`runbook resume {}`", run.short()),
            RetryError::UnknownStep { .. } => {
                "name one of them, or an item of one: `STEP[KEY]`".to_owned()
            }
            RetryError::NeededStepNotDone { needed, .. } => {
                format!("begin with it: `--from {}`", runbook_text::shell_argument(needed.as_str()))
            }
            RetryError::AlreadyDone { open, .. } if open.is_empty() => {
                "all its steps are done; name a `[[verify]]` to look again, or begin anew with \
                 `runbook exec`"
                    .to_owned()
            }
            RetryError::AlreadyDone { open, done_in, .. } => {
                let undo = undo_hint(run, state, earlier, *done_in);
                format!("begin with what is not done: {}{undo}", open.join(", "))
            }
            RetryError::OutcomeUnknown { steps } => {
                let step = steps.first().map_or("STEP", StepId::as_str);
                let (done, retry) = (decide_option(step, "done"), decide_option(step, "retry"));
                format!(
                    "find out whether it did, then say so: `{done}` (it happened) or `{retry}` (it \
                     did not; do it again)"
                )
            }
            RetryError::UndoUnknown { steps } => {
                let step = steps.first().map_or("STEP", StepId::as_str);
                let (done, retry) = (decide_option(step, "done"), decide_option(step, "retry"));
                format!(
                    "find out how it is now, then say so: `{done}` (it is still done) or `{retry}` \
                     (it is undone; do it again)"
                )
            }
            RetryError::NoDecisionNeeded { step } => {
                format!("leave out `{}`", decide_option(step.as_str(), "…"))
            }
            RetryError::FailNotPossible { step } => {
                format!(
                    "`{}` or `{}`",
                    decide_option(step.as_str(), "done"),
                    decide_option(step.as_str(), "retry")
                )
            }
            RetryError::OperationChanged { .. } => "begin anew with `runbook exec`".to_owned(),
        };
        Failure::usage(error).hint(hint)
    })
}

/// A hint with the commands that undo a run and the later runs that rely on it, the last one first.
fn undo_hint(
    run: RunId,
    state: &RunState,
    earlier: &BTreeMap<RunId, RunState>,
    done_in: RunId,
) -> String {
    let since = earlier.get(&done_in).unwrap_or(state).started;
    let chain = earlier.iter().map(|(run, state)| (*run, state)).chain([(run, state)]);
    let mut chain: Vec<_> = chain
        .filter(|(_, state)| {
            state.started >= since && !state.remaining_changes().undoable.is_empty()
        })
        .collect();
    chain.sort_by_key(|(_, state)| std::cmp::Reverse(state.started));
    let commands: Vec<String> =
        chain.iter().map(|(run, _)| format!("`runbook undo {}`", run.short())).collect();
    if commands.is_empty() {
        String::new()
    } else {
        format!("; or undo it first: {}", commands.join(", then "))
    }
}

/// `--decide STEP=DECISION`, for a shell.
fn decide_option(step: &str, decision: &str) -> String {
    format!("--decide {}", runbook_text::shell_argument(&format!("{step}={decision}")))
}
