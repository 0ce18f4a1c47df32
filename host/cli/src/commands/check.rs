//! `runbook check`: runs check suites. The engine runs them like a runbook whose only step is the
//! suite, with a temporary journal.

use crate::atomic_write::{self, FileMode};
use crate::audit_log::Purpose;
use crate::completion;
use crate::context::Context;
use crate::events::EventWriter;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::parameters;
use crate::plugin_caller::PluginCaller;
use crate::prepare;
use crate::prepared::PreparedRunbook;
use crate::session::{Session, SessionConfig};
use crate::shared_arguments::ParamArgs;
use crate::signals::{CancelSignals, SignalMode};
use crate::temporary_journal::TemporaryJournal;
use crate::value_parsers::{check_format, duration};
use crate::waivers::{WaiverStatus, Waivers};
use crate::{other_files, output_file, project, ui};
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_engine::model::{Criticality, Step};
use runbook_engine::{OutsideWindow, Plan, Record, RunId, Runbook, Section, StepId};
use runbook_report::Summary;
use runbook_report::checks::{CheckFormat, CheckResult, Checks, Health, WarningPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The arguments of `runbook check`.
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// The suites; files that are neither suites nor runbooks, such as `waivers.toml`, are named
    /// and skipped
    #[arg(required = true, value_name = "FILE|NAME", add = ArgValueCompleter::new(completion::runbooks))]
    pub files: Vec<PathBuf>,
    /// The parameters of the suites.
    #[command(flatten)]
    pub params: ParamArgs,
    /// Take targets from `targets.NAME.toml` beside each suite
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
    /// Only checks with this tag; may be given several times
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// table, json, jsonl, junit, tap, prometheus, nagios, markdown or github
    #[arg(long, default_value = "table", value_parser = check_format)]
    pub format: CheckFormat,
    /// The file to write; it is replaced in one step, as a textfile collector needs [default:
    /// stdout]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write each event when it happens, as one line of JSON; `-` is stdout, which then
    /// has nothing else
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// The mildest state for which the exit code is not 0: warning or critical
    #[arg(long, value_enum, default_value = "warning")]
    pub fail_on: FailOn,
    /// How long all checks of a suite may take; a check that is not done by then is unknown
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub timeout: Duration,
    /// Repeat the checks until Ctrl-C, this long after each round
    #[arg(long, value_name = "TIME", value_parser = duration, num_args = 0..=1, default_missing_value = "30s")]
    pub watch: Option<Duration>,
}

/// The mildest result for which `runbook check` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// A warning, or anything worse
    Warning,
    /// A critical check that failed; an unknown outcome counts too
    Critical,
}

/// Runs the checks. Every error gives the exit code of an unknown outcome.
pub fn run(context: &Context, args: &CheckArgs) -> ExitStatus {
    match run_rounds(context, args) {
        Ok(found) => ExitStatus::Checked(with_fail_on(found, args.fail_on)),
        Err(failure) => {
            ui::failure(context.color_stderr.into(), &failure);
            ExitStatus::Checked(Health::Unknown)
        }
    }
}

/// The health that decides the exit code: with `--fail-on critical`, a warning counts as healthy.
fn with_fail_on(found: Health, fail_on: FailOn) -> Health {
    match (found, fail_on) {
        (Health::Warning, FailOn::Critical) => Health::Healthy,
        (found, FailOn::Warning | FailOn::Critical) => found,
    }
}

fn run_rounds(context: &Context, args: &CheckArgs) -> Result<Health, Failure> {
    execution::block_on(async {
        let signals = CancelSignals::with_mode(SignalMode::Checks)?;
        let mut outputs =
            args.output.iter().chain(&args.events).filter(|path| *path != Path::new("-"));
        outputs.try_for_each(|path| output_file::refuse_overwriting_input(context, path))?;
        let events = args.events.as_deref().map(EventWriter::open).transpose()?;
        let found = project::find_all(&context.project, &args.files)?;
        let files = other_files::runbooks_of(&found)?;
        let mut cache = WatchCache::default();
        let mut last = None;
        if let Some(environment) = &args.env {
            // On stderr in every format: the environment may come from a variable, and the output
            // does not name it.
            ui::note(&format!("environment {environment}"));
        }
        loop {
            let checks =
                run_suites(context, args, &files, &signals, events.as_ref(), &mut cache).await?;
            if let Some(last) = last.filter(|_| signals.is_cancelled()) {
                // An interrupted round is discarded; the last complete round is reported.
                return Ok(last);
            }
            if let Some(events) = &events {
                events.flush();
            }
            let written = write(context, args, &checks);
            // A closed pipe is not an error: its reader has read enough.
            if !matches!(written, Err(Failure::BrokenPipe)) {
                written?;
            }
            last = Some(checks.worst());
            let Some(pause) = args.watch else { return Ok(checks.worst()) };
            let is_wanted = || args.output.is_some() || ui::stdout_has_reader();
            if !signals.sleep_while(cache.until_next(pause), is_wanted).await {
                return Ok(checks.worst());
            }
        }
    })
}

/// The results of earlier rounds with `--watch`. A check with its own `every` runs only that often.
#[derive(Debug, Default)]
struct WatchCache(BTreeMap<(PathBuf, String), CachedCheck>);

/// The last result of one check, and when it ran.
#[derive(Debug)]
struct CachedCheck {
    result: CheckResult,
    at: Instant,
    every: Option<Duration>,
}

impl WatchCache {
    /// The checks of a suite that are not due and that no due check needs.
    fn not_due(
        &self,
        file: &Path,
        suite: &Runbook,
        interval: Option<Duration>,
    ) -> BTreeSet<StepId> {
        let Some(interval) = interval else { return BTreeSet::new() };
        let is_not_due = |check: &&Step| {
            let found = self.0.get(&(file.to_owned(), check.id.value.to_string()));
            found.is_some_and(|found| found.at.elapsed() < found.every.unwrap_or(interval))
        };
        let mut not_due: BTreeSet<StepId> = suite
            .section(Section::Check)
            .filter(is_not_due)
            .map(|check| check.id.value.clone())
            .collect();
        loop {
            let due =
                suite.section(Section::Check).filter(|check| !not_due.contains(&check.id.value));
            let needed: Vec<StepId> = due
                .flat_map(|check| check.needs.iter().flatten())
                .map(|need| need.value.clone())
                .collect();
            let before = not_due.len();
            not_due.retain(|check| !needed.contains(check));
            if not_due.len() == before {
                return not_due;
            }
        }
    }

    /// The time until the next check is due.
    fn until_next(&self, interval: Duration) -> Duration {
        let time_left = |found: &CachedCheck| {
            found.every.unwrap_or(interval).saturating_sub(found.at.elapsed())
        };
        self.0.values().map(time_left).min().unwrap_or(interval)
    }

    /// Stores the results of the checks that ran, and adds earlier results for those that did not.
    fn store_and_merge(
        &mut self,
        file: &Path,
        suite: &Runbook,
        new_results: Vec<CheckResult>,
    ) -> Vec<CheckResult> {
        for result in new_results {
            let check =
                suite.section(Section::Check).find(|check| check.id.value.as_str() == result.check);
            let every = check.and_then(|check| check.check.as_ref()?.every);
            self.0.insert(
                (file.to_owned(), result.check.clone()),
                CachedCheck { result, at: Instant::now(), every },
            );
        }
        let found = suite
            .section(Section::Check)
            .filter_map(|check| self.0.get(&(file.to_owned(), check.id.value.to_string())));
        found.map(|found| found.result.clone()).collect()
    }
}

async fn run_suites(
    context: &Context,
    args: &CheckArgs,
    files: &[&PathBuf],
    signals: &CancelSignals,
    events: Option<&EventWriter>,
    cache: &mut WatchCache,
) -> Result<Checks, Failure> {
    let at = jiff::Timestamp::now();
    let mut results = Vec::new();
    for file in files {
        results.extend(run_suite(context, args, file, signals, events, cache).await?);
    }
    let warnings = match args.fail_on {
        FailOn::Warning => WarningPolicy::Fail,
        FailOn::Critical => WarningPolicy::Pass,
    };
    Ok(Checks { at, results, warnings })
}

async fn run_suite(
    context: &Context,
    args: &CheckArgs,
    file: &Path,
    signals: &CancelSignals,
    events: Option<&EventWriter>,
    cache: &mut WatchCache,
) -> Result<Vec<CheckResult>, Failure> {
    let environment = args.env.as_deref();
    let PreparedRunbook { runbook: suite, folder, waivers, sites, facts, .. } =
        prepare::from_file(context, file, environment)?;
    if suite.section(Section::Check).next().is_none() {
        let message = format!("`{}` is a runbook, not a suite of checks", file.display());
        return Err(Failure::usage(message).hint(format!(
            "run it with `runbook exec {}`",
            runbook_text::file_argument(&file.display().to_string())
        )));
    }
    require_known_tags(&suite, &args.tag, file)?;
    let params = parameters::resolve(context, &suite, &args.params)?;
    let waivers = Waivers::read(waivers.as_ref(), &suite)?;
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let not_due = cache.not_due(file, &suite, args.watch);
    let is_left_out = |check: &StepId| {
        not_due.contains(check)
            || matches!(waivers.status_of(check.as_str(), &today), WaiverStatus::Waived(_))
    };
    let runbook = suite.as_run(&args.tag, args.timeout, is_left_out);
    let plan = Plan::build(&runbook, &params, &facts).map_err(Failure::findings)?;
    let environment_name = environment.map(str::to_owned);
    let prepared = PreparedRunbook {
        runbook,
        folder,
        environment: environment_name,
        waivers: None,
        sites,
        facts,
    };
    let run = RunId::generate();
    let caller = PluginCaller::new(context, &prepared, run, Purpose::Run)?;
    let header = super::exec::header(context, run, &plan, environment);
    let mut summary = Summary::of(&header, &[]);
    let journal = TemporaryJournal::new(header);
    let mut on_record = |record: &Record| {
        summary.fold(record);
        if let Some(events) = events {
            events.write(run, record);
        }
    };
    let outside = OutsideWindow::AsWritten;
    let config = SessionConfig { run, plan: &plan, caller, journal, environment, outside };
    Session::with_signals(context, signals, config)
        .execute(&mut on_record)
        .await
        .map_err(Failure::engine)?;
    Ok(cache.store_and_merge(file, &suite, results(&suite, &summary, &waivers, &today, &args.tag)))
}

/// Fails for a tag that no check has, because a selection without checks would always pass.
fn require_known_tags(suite: &Runbook, wanted: &[String], file: &Path) -> Result<(), Failure> {
    let tags = suite
        .section(Section::Check)
        .filter_map(|check| check.check.as_ref())
        .flat_map(|check| &check.tags);
    let known: BTreeSet<&str> = tags.map(String::as_str).collect();
    let Some(unknown) = wanted.iter().find(|tag| !known.contains(tag.as_str())) else {
        return Ok(());
    };
    let failure =
        Failure::usage(format!("`--tag {unknown}`: no check of `{}` has this tag", file.display()));
    Err(if known.is_empty() {
        failure.hint("its checks have no `tags`; leave `--tag` out")
    } else {
        let known: Vec<&str> = known.into_iter().collect();
        failure.hint(runbook_document::suggestion(unknown, &known))
    })
}

/// The results in file order: of the checks that ran, and of selected checks that are waived.
fn results(
    suite: &Runbook,
    summary: &Summary,
    waivers: &Waivers,
    today: &str,
    tags: &[String],
) -> Vec<CheckResult> {
    let name = &suite.name.value;
    let result = |step: &Step| {
        let id = step.id.value.as_str();
        let check = step.check.as_ref();
        let criticality = check.map_or(Criticality::Critical, |check| check.criticality);
        let found = summary.step(&step.id.value);
        match (waivers.status_of(id, today), found) {
            (WaiverStatus::Waived(waiver), _) => {
                let is_selected = tags.is_empty()
                    || check.is_some_and(|check| check.tags.iter().any(|tag| tags.contains(tag)));
                is_selected.then(|| CheckResult::waived(name, id, &waiver.reason, &waiver.expires))
            }
            (WaiverStatus::Expired(waiver), Some(found)) => {
                let mut result = CheckResult::of(name, id, found, criticality);
                result.summary =
                    format!("{} (its waiver expired on {})", result.summary, waiver.expires);
                Some(result)
            }
            (WaiverStatus::NotWaived, Some(found)) => {
                Some(CheckResult::of(name, id, found, criticality))
            }
            (WaiverStatus::NotWaived | WaiverStatus::Expired(_), None) => None,
        }
    };
    suite.section(Section::Check).filter_map(result).collect()
}

/// The SGR code for a row of the table, by its first character. The heading is bold.
fn row_color(row: &str) -> &'static str {
    match row.chars().next() {
        Some('✓') => "32",
        Some('!' | '?') => "33",
        Some('✗') => "31",
        Some('-') => "2",
        Some('c') if row.starts_with("check ") => "1",
        Some(_) | None => "",
    }
}

fn write(context: &Context, args: &CheckArgs, checks: &Checks) -> Result<(), Failure> {
    let text = args.format.render(checks);
    match (&args.output, args.format) {
        (Some(path), _) => atomic_write::replace(path, &text, FileMode::Everybody),
        (None, _) if args.events.as_deref() == Some(Path::new("-")) => Ok(()),
        (None, CheckFormat::Table) => {
            ui::colored_text(&text, context.color_stdout.into(), row_color)
        }
        (
            None,
            CheckFormat::Json
            | CheckFormat::JsonLines
            | CheckFormat::Junit
            | CheckFormat::Tap
            | CheckFormat::Prometheus
            | CheckFormat::Nagios
            | CheckFormat::Markdown
            | CheckFormat::Github,
        ) => ui::data(&text),
    }
}
