//! `runbook exec`: runs a runbook.

use super::existing_run;
use crate::audit_log::Purpose;
use crate::completion;
use crate::context::{Context, SettingOrigin};
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::live::Live;
use crate::output_arguments::OutputArgs;
use crate::parameters;
use crate::plan_file::{PlanFile, PlannedRun};
use crate::plugin_caller::PluginCaller;
use crate::prepare;
use crate::prepared::PreparedRunbook;
use crate::project;
use crate::question::{self, Consent};
use crate::runbook_file::RunbookFile;
use crate::secret_availability;
use crate::session::{Session, SessionConfig};
use crate::shared_arguments::RunbookArgs;
use crate::ui;
use crate::value_parsers::run_id;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_engine::Section;
use runbook_engine::model::{DeclaredRisk, OutsidePolicy, UndoDeclaration};
use runbook_engine::{
    ChangePolicy, DryRun, DryRunScope, OutsideWindow, Params, Plan, RetryOf, RunError, RunHeader,
    RunId, RunState, Runbook,
};
use runbook_journal::JournalError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The arguments of `runbook exec`.
#[derive(Debug, ClapArgs)]
pub struct ExecArgs {
    /// The runbook: its file, or its name in this project (`runbook list`)
    #[arg(value_name = "FILE|NAME", required_unless_present = "plan", add = ArgValueCompleter::new(completion::runbooks))]
    pub file: Option<PathBuf>,
    /// Its parameters and environment.
    #[command(flatten)]
    pub runbook: RunbookArgs,
    /// Run what `runbook plan --out` has written: once, and only if nothing differs from it
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["file", "set", "params_file", "dry_run", "run_id"], value_hint = clap::ValueHint::FilePath)]
    pub plan: Option<PathBuf>,
    /// Show what would happen: probes read, steps say what they would do, and every effect is
    /// denied
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before starting what cannot be undone; without a terminal such a runbook needs it
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Run although the maintenance window is closed; the journal says who did
    #[arg(long)]
    pub outside_window: bool,
    /// Begin the run under this id, a UUID as `uuidgen` makes it. If a run has this id already,
    /// report its state and begin nothing: for a caller that tries again
    #[arg(long, value_name = "UUID", value_parser = run_id, conflicts_with = "dry_run")]
    pub run_id: Option<RunId>,
    /// Which events and reports are written, and where.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs a runbook, or a plan that `runbook plan --out` has written.
pub fn run(context: &Context, args: &ExecArgs) -> Result<ExitStatus, Failure> {
    let planned = args
        .plan
        .as_deref()
        .map(|path| PlanFile::read(path).map(|planned| (path, planned)))
        .transpose()?;
    let file = match (&args.file, &planned) {
        (Some(typed), _) => project::find(&context.project, typed)?,
        (None, Some((_, planned))) => planned.runbook.clone(),
        (None, None) => return Err(Failure::usage("no runbook was named")),
    };
    let environment = environment(args, planned.as_ref().map(|(_, planned)| planned))?;
    let prepared = prepare::from_file(context, &file, environment)?;
    let params = match &planned {
        Some((_, planned)) => planned.parameters(&prepared.runbook)?,
        None => parameters::resolve(context, &prepared.runbook, &args.runbook.params)?,
    };
    let plan = plan(context, &prepared, &params, &file)?;
    if args.dry_run {
        return execution::block_on(async {
            let run = RunId::generate();
            let operator = PluginCaller::new(context, &prepared, run, Purpose::Preview)?;
            super::dry_run::run(context, &plan, &operator, run, environment).await
        });
    }
    if let Some((path, planned)) = &planned {
        planned.require_same_journal(path, &context.journal)?;
    }
    let requested = planned.as_ref().map(|(_, planned)| planned.run).or(args.run_id);
    if let Some(status) = report_existing_run(context, args, requested, environment, &plan)? {
        return Ok(status);
    }
    if let Some((path, planned)) = &planned {
        compare(context, (path, planned), &file, &prepared, &plan)?;
    }
    confirm(context, &prepared.runbook, args.yes)?;
    let start = RunStart {
        run: requested,
        environment,
        outside: execution::outside_window(args.outside_window),
        output: &args.output,
        retry_of: None,
        earlier: BTreeMap::new(),
    };
    begin_run(context, &prepared, &plan, start)
}

/// The environment of the plan or of the command line. With a plan, another one on the command line
/// is an error.
fn environment<'a>(
    args: &'a ExecArgs,
    planned: Option<&'a PlanFile>,
) -> Result<Option<&'a str>, Failure> {
    let Some(planned) = planned else { return Ok(args.runbook.env.as_deref()) };
    match (args.runbook.env.as_deref(), planned.environment.as_deref()) {
        (Some(requested), plan_environment) if Some(requested) != plan_environment => {
            let plan_environment = plan_environment
                .map_or("no environment".to_owned(), |name| format!("environment `{name}`"));
            let message = format!(
                "the plan was made with {plan_environment}, and `--env` or `RUNBOOK_ENV` says `{requested}`"
            );
            Err(Failure::usage(message).hint("leave it out, or plan again with it"))
        }
        (_, plan_environment) => Ok(plan_environment),
    }
}

/// Asks the steps again what they would do, and fails if anything differs from the plan.
fn compare(
    context: &Context,
    (path, planned): (&Path, &PlanFile),
    file: &Path,
    prepared: &PreparedRunbook,
    plan: &Plan,
) -> Result<(), Failure> {
    // Templates may contain the operator, who must be the present one.
    let (run, operator) = (planned.run, context.operator.as_str());
    let found = execution::block_on(async {
        let caller = PluginCaller::new(context, prepared, run, Purpose::Preview)?;
        let (environment, dry_run_scope) = (planned.environment.as_deref(), DryRunScope::Steps);
        Ok(DryRun { plan, operate: &caller, run, operator, environment, dry_run_scope }
            .ask_all()
            .await)
    })?;
    planned.compare(
        path,
        &PlannedRun {
            run,
            operator,
            journal: &context.journal,
            file,
            prepared,
            plan,
            found: &found,
        },
    )
}

/// Reports the state of the run with the id that the caller gave, if it exists. Must be called
/// before any question to the operator.
fn report_existing_run(
    context: &Context,
    args: &ExecArgs,
    requested: Option<RunId>,
    environment: Option<&str>,
    plan: &Plan,
) -> Result<Option<ExitStatus>, Failure> {
    let Some(run) = requested.filter(|_| context.has_journal()) else { return Ok(None) };
    let new_header = header(context, run, plan, environment);
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        existing_run::report(context, &journal, &new_header, plan, &args.output).await
    })
}

/// The plan of a new run. Prints its warnings.
pub fn plan(
    context: &Context,
    prepared: &PreparedRunbook,
    params: &Params,
    file: &Path,
) -> Result<Plan, Failure> {
    let mut plan =
        Plan::build(&prepared.runbook, params, &prepared.facts).map_err(Failure::findings)?;
    ui::findings(&plan.warnings, context.color_stderr.into());
    normalize_source_names(&mut plan, file)?;
    Ok(plan)
}

/// Gives the texts of a plan the names under which the journal keeps them, so that a run can be
/// resumed from any folder: the absolute path of the runbook, and paths relative to its folder for
/// all others.
pub fn normalize_source_names(plan: &mut Plan, file: &Path) -> Result<(), Failure> {
    let file = RunbookFile::locate(file)?;
    for (name, _) in plan.sources.iter_mut().skip(1) {
        *name = file.relative_path(name);
    }
    if let Some((name, _)) = plan.sources.first_mut() {
        *name = file.real().display().to_string();
    }
    Ok(())
}

/// The options of a new run.
pub struct RunStart<'a> {
    /// The id that the caller or the plan file gives.
    pub run: Option<RunId>,
    /// The environment that `--env` chose, if any.
    pub environment: Option<&'a str>,
    /// Whether it may begin outside its window.
    pub outside: OutsideWindow,
    /// Events and reports to write.
    pub output: &'a OutputArgs,
    /// What it retries, if it is a retry.
    pub retry_of: Option<RetryOf>,
    /// The states of the earlier runs that it relies on.
    pub earlier: BTreeMap<RunId, RunState>,
}

/// Begins a new run and executes it until it ends or waits.
pub fn begin_run(
    context: &Context,
    prepared: &PreparedRunbook,
    plan: &Plan,
    start: RunStart<'_>,
) -> Result<ExitStatus, Failure> {
    let RunStart { environment, outside, output, retry_of, earlier, .. } = start;
    execution::block_on(async {
        let run = start.run.unwrap_or_else(RunId::generate);
        let caller = PluginCaller::new(context, prepared, run, Purpose::Run)?;
        // Outside of its window the run is refused, so nothing is read for it.
        let is_refused = plan.window.as_ref().is_some_and(|window| {
            outside == OutsideWindow::AsWritten
                && window.outside == OutsidePolicy::Refuse
                && !window.is_open(jiff::Timestamp::now())
        });
        if !is_refused {
            secret_availability::check_new_run(&caller)?;
        }
        let journal = execution::open_journal(context).await?;
        let session = Session::open(
            context,
            SessionConfig { run, plan, caller, journal, environment, outside },
        )?;
        let session = session.with_retry_of(retry_of).with_usual_duration().await?;
        warn_of_account_journal(context, plan);
        let header = header(context, run, plan, environment);
        let mut live = Live::new(context, &header, &[])
            .with_earlier_runs(&earlier)
            .with_output(context, output)?;
        let outcome = session.execute(&mut live).await;
        if start.run.is_some() && outcome.as_ref().is_err_and(is_run_id_taken) {
            // Another process began it after this one looked for it.
            let reported =
                existing_run::report(context, session.journal(), &header, plan, output).await?;
            return reported.ok_or_else(|| {
                Failure::engine(format!("the journal has run {run} and does not show it"))
            });
        }
        let outcome =
            session.resume_with_operator(outcome, ChangePolicy::Refuse, &mut live).await?;
        session.conclude(outcome, &live, output).await
    })
}

/// Whether there is a run with this id already.
fn is_run_id_taken(error: &RunError) -> bool {
    let RunError::Journal { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(JournalError::RunExists { .. }))
}

/// Warns if a runbook with locks uses the default journal. Locks exclude only runs in the same
/// journal, and by default each account has its own.
fn warn_of_account_journal(context: &Context, plan: &Plan) {
    if plan.locks.exclusive.is_empty() || context.journal_origin == SettingOrigin::Given {
        return;
    }
    let locks: Vec<String> = plan.locks.exclusive.iter().map(|name| format!("`{name}`")).collect();
    ui::minor_warning(&format!(
        "lock {} excludes only runs in the journal of this account, {}; whoever must be excluded \
         names one journal with `--journal`",
        locks.join(", "),
        context.journal
    ));
}

/// Asks before a destructive run. Without a terminal, `--yes` is needed.
pub fn confirm(context: &Context, runbook: &Runbook, yes: bool) -> Result<(), Failure> {
    if runbook.risk.as_ref().is_none_or(|risk| risk.value != DeclaredRisk::Destructive) {
        return Ok(());
    }
    let irreversible_steps = runbook
        .section(Section::Step)
        .filter(|step| matches!(step.undo, Some(UndoDeclaration::Irreversible { .. })));
    let irreversible_steps: Vec<_> =
        irreversible_steps.map(|step| format!("`{}`", step.id.value)).collect();
    let why = if irreversible_steps.is_empty() {
        "is declared destructive; each of its steps has an undo".to_owned()
    } else {
        format!("has steps that cannot be undone ({})", irreversible_steps.join(", "))
    };
    let question = format!("`{}` {why}. Run it?", runbook.title);
    if question::confirm(context, &question, Consent::by_flag(yes))? {
        Ok(())
    } else {
        Err(Failure::usage("not started, as you answered"))
    }
}

pub fn header(context: &Context, run: RunId, plan: &Plan, environment: Option<&str>) -> RunHeader {
    RunHeader {
        run,
        name: plan.name.clone(),
        title: plan.title.clone(),
        sources: Vec::new(),
        digest: plan.digest.clone(),
        params: plan.params.clone(),
        environment: environment.map(str::to_owned),
        operator: context.operator.clone(),
        started: jiff::Timestamp::now(),
    }
}
