//! `runbook exec`: runs a runbook.

use super::begun;
use crate::audit_log::Purpose;
use crate::completion;
use crate::context::{Context, SettingOrigin};
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::live::Live;
use crate::output_arguments::OutputArgs;
use crate::parameters;
use crate::plan_file::{PlanFile, PlanFileContent};
use crate::plugin_caller::PluginCaller;
use crate::prepare;
use crate::prepared::Prepared;
use crate::project;
use crate::question::{self, Agreed};
use crate::runbook_file::RunbookFile;
use crate::secrets_before;
use crate::session::{Session, SessionParts};
use crate::shared_arguments::RunbookArgs;
use crate::ui;
use crate::value_parsers::run_id;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_engine::Section;
use runbook_engine::model::{DeclaredRisk, UndoDeclaration};
use runbook_engine::{
    AskedPlugins, Changes, DryRun, OutsideWindow, Params, Plan, RetryOf, RunError, RunHeader,
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
        (Some(written), _) => project::find(&context.project, written)?,
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
        planned.refuse_another_journal(path, &context.journal)?;
    }
    let named = planned.as_ref().map(|(_, planned)| planned.run).or(args.run_id);
    if let Some(status) = begun_before(context, args, named, environment, &plan)? {
        return Ok(status);
    }
    if let Some((path, planned)) = &planned {
        compare(context, (path, planned), &file, &prepared, &plan)?;
    }
    confirm(context, &prepared.runbook, args.yes)?;
    let start = RunStart {
        run: named,
        environment,
        outside: execution::outside_window(args.outside_window),
        output: &args.output,
        retry_of: None,
        earlier: BTreeMap::new(),
    };
    begin(context, &prepared, &plan, start)
}

/// The environment: that of the plan, if there is one; another one that was named or set is a
/// mistake.
fn environment<'a>(
    args: &'a ExecArgs,
    planned: Option<&'a PlanFile>,
) -> Result<Option<&'a str>, Failure> {
    let Some(planned) = planned else { return Ok(args.runbook.env.as_deref()) };
    match (args.runbook.env.as_deref(), planned.environment.as_deref()) {
        (Some(named), of_plan) if Some(named) != of_plan => {
            let of_plan =
                of_plan.map_or("no environment".to_owned(), |name| format!("environment `{name}`"));
            let message = format!(
                "the plan was made with {of_plan}, and `--env` or `RUNBOOK_ENV` says `{named}`"
            );
            Err(Failure::usage(message).hint("leave it out, or plan again with it"))
        }
        (_, of_plan) => Ok(of_plan),
    }
}

/// Asks the steps again what they would do, and refuses everything that was not planned so.
fn compare(
    context: &Context,
    (path, planned): (&Path, &PlanFile),
    file: &Path,
    prepared: &Prepared,
    plan: &Plan,
) -> Result<(), Failure> {
    // Steps see the present operator, so that name is compared.
    let (run, operator) = (planned.run, context.operator.as_str());
    let found = execution::block_on(async {
        let caller = PluginCaller::new(context, prepared, run, Purpose::Preview)?;
        let (environment, audience) = (planned.environment.as_deref(), AskedPlugins::Steps);
        Ok(DryRun { plan, operate: &caller, run, operator, environment, audience }.ask_all().await)
    })?;
    planned.compare(
        path,
        &PlanFileContent {
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

/// Reports the state of the run that the caller names, if it was begun before. This comes before
/// every question to a person.
fn begun_before(
    context: &Context,
    args: &ExecArgs,
    named: Option<RunId>,
    environment: Option<&str>,
    plan: &Plan,
) -> Result<Option<ExitStatus>, Failure> {
    let Some(run) = named.filter(|_| context.has_journal()) else { return Ok(None) };
    let asked = header(context, run, plan, environment);
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        begun::tell(context, &journal, &asked, plan, &args.output).await
    })
}

/// The plan of a new run, with its warnings said.
pub fn plan(
    context: &Context,
    prepared: &Prepared,
    params: &Params,
    file: &Path,
) -> Result<Plan, Failure> {
    let mut plan =
        Plan::build(&prepared.runbook, params, &prepared.facts).map_err(Failure::findings)?;
    ui::findings(&plan.warnings, context.color_stderr.into());
    keep_names(&mut plan, file)?;
    Ok(plan)
}

/// Names the texts of a plan as the journal keeps them. A run is resumed from any folder, so the
/// runbook's own name is where it lies, and every other name is the path in its folder.
pub fn keep_names(plan: &mut Plan, file: &Path) -> Result<(), Failure> {
    let file = RunbookFile::locate(file)?;
    for (name, _) in plan.sources.iter_mut().skip(1) {
        *name = file.beside(name);
    }
    if let Some((name, _)) = plan.sources.first_mut() {
        *name = file.real().display().to_string();
    }
    Ok(())
}

/// How a new run is begun.
pub struct RunStart<'a> {
    /// The run that its caller or its plan names.
    pub run: Option<RunId>,
    /// The environment that `--env` chose, if any.
    pub environment: Option<&'a str>,
    /// Whether it may run outside its window.
    pub outside: OutsideWindow,
    /// Events and reports to write.
    pub output: &'a OutputArgs,
    /// The run that it tries again.
    pub retry_of: Option<RetryOf>,
    /// That run and those before it.
    pub earlier: BTreeMap<RunId, RunState>,
}

/// Begins a new run and stays with it until it ends or waits.
pub fn begin(
    context: &Context,
    prepared: &Prepared,
    plan: &Plan,
    start: RunStart<'_>,
) -> Result<ExitStatus, Failure> {
    let RunStart { environment, outside, output, retry_of, earlier, .. } = start;
    execution::block_on(async {
        let run = start.run.unwrap_or_else(RunId::generate);
        let caller = PluginCaller::new(context, prepared, run, Purpose::Run)?;
        secrets_before::of_new_run(&caller)?;
        let journal = execution::open_journal(context).await?;
        let session = Session::open(
            context,
            SessionParts { run, plan, caller, journal, environment, outside },
        )?;
        let session = session.trying_again(retry_of).knowing_usual().await?;
        warn_of_own_journal(context, plan);
        let header = header(context, run, plan, environment);
        let mut live = Live::new(context, &header, &[])
            .with_earlier_runs(&earlier)
            .with_output(context, output)?;
        let outcome = session.execute(&mut live).await;
        if start.run.is_some() && outcome.as_ref().is_err_and(is_taken) {
            // Somebody else began it after it was looked for.
            let told = begun::tell(context, session.journal(), &header, plan, output).await?;
            return told.ok_or_else(|| {
                Failure::engine(format!("the journal has run {run} and does not show it"))
            });
        }
        let outcome = session.with_person(outcome, Changes::Refuse, &mut live).await?;
        session.conclude(outcome, &live, output).await
    })
}

/// Whether there is a run with this id already.
fn is_taken(error: &RunError) -> bool {
    let RunError::Journal { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(JournalError::RunExists { .. }))
}

/// Warns that locks live in the journal, so that they exclude only those who use the same one; by
/// default each account of each machine has its own.
fn warn_of_own_journal(context: &Context, plan: &Plan) {
    if plan.locks.exclusive.is_empty() || context.journal_origin == SettingOrigin::Given {
        return;
    }
    let locks: Vec<String> = plan.locks.exclusive.iter().map(|name| format!("`{name}`")).collect();
    ui::advice(&format!(
        "lock {} excludes only runs in the journal of this account, {}; whoever must be excluded \
         names one journal with `--journal`",
        locks.join(", "),
        context.journal
    ));
}

/// Asks before a run that changes something for good. Without a terminal only `--yes` starts it.
pub fn confirm(context: &Context, runbook: &Runbook, yes: bool) -> Result<(), Failure> {
    if runbook.risk.as_ref().is_none_or(|risk| risk.value != DeclaredRisk::Destructive) {
        return Ok(());
    }
    let stays = runbook
        .section(Section::Step)
        .filter(|step| matches!(step.undo, Some(UndoDeclaration::Irreversible { .. })));
    let stays: Vec<_> = stays.map(|step| format!("`{}`", step.id.value)).collect();
    let why = if stays.is_empty() {
        "is declared destructive; each of its steps has an undo".to_owned()
    } else {
        format!("has steps that cannot be undone ({})", stays.join(", "))
    };
    let question = format!("`{}` {why}. Run it?", runbook.title);
    if question::confirm(context, &question, Agreed::by_flag(yes))? {
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
