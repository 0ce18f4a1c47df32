//! Plan files: `plan --out` writes one, and `exec --plan` runs it once, if nothing has changed.

use crate::atomic_write::{self, FileMode};
use crate::failure::Failure;
use crate::lockfile::{self, Difference};
use crate::prepared::PreparedRunbook;
use crate::runbook_file::RunbookFile;
use crate::text_file;
use jiff::Timestamp;
use runbook_document::{Diagnostics, Source};
use runbook_engine::{
    DryRunResult, DryStep, GivenParam, GivenValue, Json, Params, Plan, RunId, Runbook,
    resolve_params,
};
use runbook_journal::JournalLocation;
use runbook_report::push_line;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The name of the only entry in `reviewed`, which has the form of a lockfile.
const ENTRY: &str = "plan";

/// A plan file: what was planned, and from which texts and plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// The version of the format, which is 1.
    format: u32,
    /// The id of its run. A plan is executed once.
    pub run: RunId,
    /// When the plan was made.
    made: Timestamp,
    /// Who made the plan, for people.
    operator: String,
    /// The journal of its run. Another journal would not know that the plan has run.
    journal: String,
    /// The absolute path of the runbook, with links resolved.
    pub runbook: PathBuf,
    /// `--env`, if one was given.
    pub environment: Option<String>,
    /// All parameters as typed JSON.
    params: serde_json::Map<String, Json>,
    /// The texts, the plugins and their grants, in the form of a lockfile.
    reviewed: String,
    /// The input of each step, and what it says that it would do.
    steps: Vec<PlanFileStep>,
}

/// One step of a plan file, as far as it was known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFileStep {
    id: String,
    input: Json,
    /// The input of its undo, or why it could not be undone.
    undo: Option<Result<Json, String>>,
    texts: Vec<String>,
}

impl PlanFileStep {
    fn of(step: &DryStep) -> Self {
        let rows = crate::commands::dry_run::rows(step).into_iter();
        // Only what is the same each time: the findings of probes and the messages of faults are
        // not.
        let texts = match &step.result {
            DryRunResult::Failed(fault) => vec![format!("cannot say: {}", fault.code)],
            DryRunResult::Denied(fault) => vec![format!("denied: {}", fault.code)],
            DryRunResult::Probed { .. } | DryRunResult::NotAsked => Vec::new(),
            DryRunResult::Proposed(_)
            | DryRunResult::NestedFile { .. }
            | DryRunResult::Skipped
            | DryRunResult::AtRunTime { .. } => {
                rows.map(|row| row[1..].join(" ").trim().to_owned()).collect()
            }
        };
        Self { id: step.id.to_string(), input: step.input.clone(), undo: step.undo.clone(), texts }
    }
}

/// A planned run, from which a plan file is made or with which it is compared.
pub struct PlannedRun<'a> {
    /// The id of the run.
    pub run: RunId,
    /// Who made the plan, or runs it.
    pub operator: &'a str,
    /// The journal of the run.
    pub journal: &'a JournalLocation,
    /// The path of the runbook.
    pub file: &'a Path,
    /// The runbook, verified and granted.
    pub prepared: &'a PreparedRunbook,
    /// The plan of the run: its steps in order.
    pub plan: &'a Plan,
    /// What its steps say that they would do.
    pub found: &'a [DryStep],
}

impl PlanFile {
    /// The plan file of a planned run.
    ///
    /// # Errors
    /// Two files of the runbook have the same name.
    pub fn of(planned: &PlannedRun<'_>) -> Result<Self, Failure> {
        let file = RunbookFile::locate(planned.file)?;
        let snapshot = lockfile::snapshot(planned.prepared, planned.file, ENTRY)?;
        Ok(Self {
            format: 1,
            run: planned.run,
            made: Timestamp::now(),
            operator: planned.operator.to_owned(),
            journal: journal_name(planned.journal),
            runbook: file.real().to_owned(),
            environment: planned.prepared.environment.clone(),
            params: planned.plan.params.clone(),
            reviewed: runbook_authority::lockfile::render(
                &snapshot,
                &file.folder().to_string_lossy(),
            ),
            steps: planned.found.iter().map(PlanFileStep::of).collect(),
        })
    }

    /// Fails if the path is an existing file that is not a plan, so that a mistyped path overwrites
    /// nothing.
    ///
    /// # Errors
    /// There is such a file.
    pub fn refuse_overwriting_other_file(path: &Path) -> Result<(), Failure> {
        let would_lose_content =
            std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0);
        let is_plan = |text: String| {
            let keys = serde_json::from_str::<serde_json::Map<String, Json>>(&text).ok();
            keys.is_some_and(|keys| {
                ["format", "run", "reviewed", "steps"].iter().all(|key| keys.contains_key(*key))
            })
        };
        if !would_lose_content || text_file::read(path).is_ok_and(is_plan) {
            return Ok(());
        }
        let message =
            format!("`{}` exists and is not a plan, so it is not replaced", path.display());
        Err(Failure::usage(message).hint("name another file"))
    }

    /// Writes the file atomically. Only its owner may read it, because parameters may be
    /// confidential.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).expect("a plan has string keys only");
        atomic_write::replace(path, &format!("{text}\n"), FileMode::Owner)
    }

    /// Reads a file that `plan --out` wrote.
    ///
    /// # Errors
    /// It cannot be read, or is not a plan of this version.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = text_file::read(path).map_err(|error| {
            Failure::usage(format!("the plan `{shown}` cannot be read: {error}"))
        })?;
        let read: Self = serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!("`{shown}` is not a plan of this version: {error}"))
                .hint("make one with `runbook plan FILE --out PLAN`")
        })?;
        match read.format {
            1 => Ok(read),
            other => Err(Failure::usage(format!(
                "`{shown}` has format {other}; this host reads format 1"
            ))),
        }
    }

    /// Fails if the plan was made with another journal: it could then run once in each.
    ///
    /// # Errors
    /// The journal is another one.
    pub fn require_same_journal(
        &self,
        path: &Path,
        journal: &JournalLocation,
    ) -> Result<(), Failure> {
        let current_journal = journal_name(journal);
        if self.journal == current_journal {
            return Ok(());
        }
        let message = format!(
            "`{}` belongs to the journal {}, and this one is {current_journal}: a plan runs once",
            path.display(),
            self.journal
        );
        Err(Failure::refused(message).hint("name its journal by `--journal`, or plan again"))
    }

    /// Its parameters, checked like those of the command line.
    ///
    /// # Errors
    /// Each parameter that the runbook does not accept.
    pub fn parameters(&self, runbook: &Runbook) -> Result<Params, Failure> {
        let given = self.params.iter().map(|(name, value)| {
            let place = format!("the plan: {name} = {value}");
            let value = match value {
                Json::String(text) => GivenValue::Text(text.clone()),
                other => GivenValue::Json(other.clone()),
            };
            GivenParam { name: name.clone(), place, value }
        });
        resolve_params(runbook, &given.collect::<Vec<_>>()).map_err(Failure::findings)
    }

    /// Fails if what would run now differs from the plan.
    ///
    /// # Errors
    /// Each difference in the texts, the plugins, their grants, the parameters, and what the steps
    /// say.
    pub fn compare(&self, path: &Path, planned: &PlannedRun<'_>) -> Result<(), Failure> {
        let mut differences = String::new();
        self.compare_reviewed(path, planned, &mut differences)?;
        let params = &planned.plan.params;
        for name in
            self.params.keys().chain(params.keys().filter(|name| !self.params.contains_key(*name)))
        {
            let value_text = |params: &serde_json::Map<String, Json>| {
                params.get(name).map_or("nothing".to_owned(), Json::to_string)
            };
            if self.params.get(name) != params.get(name) {
                push_line(
                    &mut differences,
                    format_args!(
                        "  {name}: planned {}, now {}",
                        value_text(&self.params),
                        value_text(params)
                    ),
                );
            }
        }
        let steps: Vec<PlanFileStep> = planned.found.iter().map(PlanFileStep::of).collect();
        for step in &steps {
            match self.steps.iter().find(|planned| planned.id == step.id) {
                None => push_line(&mut differences, format_args!("  {}: not in the plan", step.id)),
                Some(planned) => compare_step(planned, step, &mut differences),
            }
        }
        for removed_step in
            self.steps.iter().filter(|planned| steps.iter().all(|step| step.id != planned.id))
        {
            push_line(
                &mut differences,
                format_args!("  {}: in the plan, and no longer in the runbook", removed_step.id),
            );
        }
        if differences.is_empty() {
            return Ok(());
        }
        let message = format!(
            "what would run is not what `{}` holds:\n{}",
            path.display(),
            differences.trim_end()
        );
        Err(Failure::refused(message).hint("look at the difference, and plan again"))
    }

    fn compare_reviewed(
        &self,
        path: &Path,
        planned: &PlannedRun<'_>,
        differences: &mut String,
    ) -> Result<(), Failure> {
        let folder = RunbookFile::locate(planned.file)?.folder().to_string_lossy().into_owned();
        let source = Source::new(path.display().to_string(), self.reviewed.as_str());
        let mut diagnostics = Diagnostics::default();
        let Some(planned_snapshot) =
            runbook_authority::lockfile::parse(&source, &folder, &mut diagnostics)
        else {
            return Err(Failure::usage(format!(
                "`{}` was changed: what was reviewed cannot be read",
                path.display()
            ))
            .hint("make one with `runbook plan FILE --out PLAN`"));
        };
        let current = lockfile::snapshot(planned.prepared, planned.file, ENTRY)?;
        let difference = Difference::between(&planned_snapshot, ENTRY, &current);
        if !difference.is_empty() || difference.lacks_text {
            push_line(differences, format_args!("{}", difference.render()));
        }
        Ok(())
    }
}

/// The name of a journal, which does not depend on the working directory.
fn journal_name(journal: &JournalLocation) -> String {
    match journal {
        JournalLocation::File(path) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            runbook_runtime::resolve_symlinks(&absolute).display().to_string()
        }
        server @ JournalLocation::Server(_) => server.to_string(),
    }
}

fn compare_step(planned: &PlanFileStep, current: &PlanFileStep, differences: &mut String) {
    if planned.input != current.input {
        push_line(
            differences,
            format_args!(
                "  {}: planned with {}, now with {}",
                current.id, planned.input, current.input
            ),
        );
    }
    if planned.undo != current.undo {
        push_line(differences, format_args!("  {}: its undo would be another", current.id));
    }
    if planned.texts != current.texts {
        let joined_texts = |texts: &[String]| {
            if texts.is_empty() { "nothing".to_owned() } else { texts.join("; ") }
        };
        push_line(
            differences,
            format_args!(
                "  {}: planned `{}`, now `{}`",
                current.id,
                joined_texts(&planned.texts),
                joined_texts(&current.texts)
            ),
        );
    }
}
