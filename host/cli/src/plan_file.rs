//! Plan files: `exec --plan` runs what `plan --out` has shown, once, or refuses.

use crate::atomic_write::{self, FileMode};
use crate::failure::Failure;
use crate::lockfile::{self, Difference};
use crate::prepared::Prepared;
use crate::runbook_file::RunbookFile;
use crate::text_file;
use jiff::Timestamp;
use runbook_document::{Diagnostics, Source};
use runbook_engine::{
    DryFinding, DryStep, GivenParam, GivenValue, Json, Params, Plan, RunId, Runbook, resolve_params,
};
use runbook_journal::JournalLocation;
use runbook_report::push_line;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The name of the entry of the reviewed part; a plan has one.
const ENTRY: &str = "plan";

/// The content of a plan file: what was planned, and from which texts and plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// The version of the format, which is 1.
    format: u32,
    /// The run that it becomes: a plan is executed once.
    pub run: RunId,
    /// When it was made.
    made: Timestamp,
    /// Who made it, for people.
    operator: String,
    /// The journal of its run. Another journal would not know that it ran.
    journal: String,
    /// The runbook, an absolute path without links.
    pub runbook: PathBuf,
    /// `--env`, if one was given.
    pub environment: Option<String>,
    /// All parameters as typed JSON.
    params: serde_json::Map<String, Json>,
    /// The texts, the plugins and what they may do, in the words of a lockfile.
    reviewed: String,
    /// What each step is given and says that it would do.
    steps: Vec<PlannedText>,
}

/// One step of a plan, as far as it was known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedText {
    id: String,
    input: Json,
    /// What its undo would be given, or why it could not be undone.
    undo: Option<Result<Json, String>>,
    says: Vec<String>,
}

impl PlannedText {
    fn of(step: &DryStep) -> Self {
        let rows = crate::commands::dry_run::rows(step).into_iter();
        // A value that is known only later may be described differently each time.
        let says = match &step.finding {
            DryFinding::Failed(fault) => vec![format!("cannot say: {}", fault.code)],
            DryFinding::Found { .. } | DryFinding::NotAsked => Vec::new(),
            DryFinding::Would(_)
            | DryFinding::Opens { .. }
            | DryFinding::Skipped
            | DryFinding::AtRunTime { .. } => {
                rows.map(|row| row[1..].join(" ").trim().to_owned()).collect()
            }
        };
        Self { id: step.id.to_string(), input: step.input.clone(), undo: step.undo.clone(), says }
    }
}

/// The content of a plan file.
pub struct PlanFileContent<'a> {
    /// The run that it becomes.
    pub run: RunId,
    /// Who made it, or runs it.
    pub operator: &'a str,
    /// The journal of its run.
    pub journal: &'a JournalLocation,
    /// The path of the runbook.
    pub file: &'a Path,
    /// The runbook, verified and granted.
    pub prepared: &'a Prepared,
    /// The plan of the run: its steps in order.
    pub plan: &'a Plan,
    /// What its steps say that they would do.
    pub found: &'a [DryStep],
}

impl PlanFile {
    /// The file of a plan.
    ///
    /// # Errors
    /// Two files of the runbook have one name.
    pub fn of(planned: &PlanFileContent<'_>) -> Result<Self, Failure> {
        let file = RunbookFile::locate(planned.file)?;
        let snapshot = lockfile::snapshot(planned.prepared, planned.file, ENTRY)?;
        Ok(Self {
            format: 1,
            run: planned.run,
            made: Timestamp::now(),
            operator: planned.operator.to_owned(),
            journal: name_of(planned.journal),
            runbook: file.real().to_owned(),
            environment: planned.prepared.environment.clone(),
            params: planned.plan.params.clone(),
            reviewed: runbook_authority::lockfile::render(
                &snapshot,
                &file.folder().to_string_lossy(),
            ),
            steps: planned.found.iter().map(PlannedText::of).collect(),
        })
    }

    /// Refuses to write over a file that is no plan, so that a mistyped name loses nothing.
    ///
    /// # Errors
    /// There is such a file.
    pub fn refuse_another(path: &Path) -> Result<(), Failure> {
        let is_lost = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0);
        let is_plan = |text: String| {
            let keys = serde_json::from_str::<serde_json::Map<String, Json>>(&text).ok();
            keys.is_some_and(|keys| {
                ["format", "run", "reviewed", "steps"].iter().all(|key| keys.contains_key(*key))
            })
        };
        if !is_lost || text_file::read(path).is_ok_and(is_plan) {
            return Ok(());
        }
        let message =
            format!("`{}` exists and is not a plan, so it is not replaced", path.display());
        Err(Failure::usage(message).hint("name another file"))
    }

    /// Writes the file, whole or not at all. It may hold what others should not read: only its
    /// owner may.
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
    /// It cannot be read, or is no plan of this version.
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

    /// Refuses to run it with another journal than it was made with: it would run once in each.
    ///
    /// # Errors
    /// The journal is another.
    pub fn refuse_another_journal(
        &self,
        path: &Path,
        journal: &JournalLocation,
    ) -> Result<(), Failure> {
        let here = name_of(journal);
        if self.journal == here {
            return Ok(());
        }
        let message = format!(
            "`{}` belongs to the journal {}, and this one is {here}: a plan runs once",
            path.display(),
            self.journal
        );
        Err(Failure::refused(message).hint("name its journal by `--journal`, or plan again"))
    }

    /// Its parameters, checked as those of the command line are.
    ///
    /// # Errors
    /// Each that the runbook does not take.
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

    /// Refuses to run what is not what was planned.
    ///
    /// # Errors
    /// Each difference: in the texts, the plugins, what they may do, the parameters, and what the
    /// steps say.
    pub fn compare(&self, path: &Path, planned: &PlanFileContent<'_>) -> Result<(), Failure> {
        let mut differences = String::new();
        self.compare_reviewed(path, planned, &mut differences)?;
        let params = &planned.plan.params;
        for name in
            self.params.keys().chain(params.keys().filter(|name| !self.params.contains_key(*name)))
        {
            let shown = |params: &serde_json::Map<String, Json>| {
                params.get(name).map_or("nothing".to_owned(), Json::to_string)
            };
            if self.params.get(name) != params.get(name) {
                push_line(
                    &mut differences,
                    format_args!(
                        "  {name}: planned {}, now {}",
                        shown(&self.params),
                        shown(params)
                    ),
                );
            }
        }
        let steps: Vec<PlannedText> = planned.found.iter().map(PlannedText::of).collect();
        for step in &steps {
            match self.steps.iter().find(|planned| planned.id == step.id) {
                None => push_line(&mut differences, format_args!("  {}: not in the plan", step.id)),
                Some(planned) => compare_step(planned, step, &mut differences),
            }
        }
        for gone in
            self.steps.iter().filter(|planned| steps.iter().all(|step| step.id != planned.id))
        {
            push_line(
                &mut differences,
                format_args!("  {}: in the plan, and no longer in the runbook", gone.id),
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
        planned: &PlanFileContent<'_>,
        differences: &mut String,
    ) -> Result<(), Failure> {
        let folder = RunbookFile::locate(planned.file)?.folder().to_string_lossy().into_owned();
        let source = Source::new(path.display().to_string(), self.reviewed.as_str());
        let mut diagnostics = Diagnostics::default();
        let Some(then) = runbook_authority::lockfile::parse(&source, &folder, &mut diagnostics)
        else {
            return Err(Failure::usage(format!(
                "`{}` was changed: what was reviewed cannot be read",
                path.display()
            ))
            .hint("make one with `runbook plan FILE --out PLAN`"));
        };
        let now = lockfile::snapshot(planned.prepared, planned.file, ENTRY)?;
        let difference = Difference::between(&then, ENTRY, &now);
        if !difference.is_empty() || difference.lacks_text {
            push_line(differences, format_args!("{}", difference.render()));
        }
        Ok(())
    }
}

/// A journal by one name from every folder.
fn name_of(journal: &JournalLocation) -> String {
    match journal {
        JournalLocation::File(path) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            runbook_runtime::follow_links(&absolute).display().to_string()
        }
        server @ JournalLocation::Server(_) => server.to_string(),
    }
}

fn compare_step(planned: &PlannedText, now: &PlannedText, differences: &mut String) {
    if planned.input != now.input {
        push_line(
            differences,
            format_args!("  {}: planned with {}, now with {}", now.id, planned.input, now.input),
        );
    }
    if planned.undo != now.undo {
        push_line(differences, format_args!("  {}: its undo would be another", now.id));
    }
    if planned.says != now.says {
        let said =
            |says: &[String]| if says.is_empty() { "nothing".to_owned() } else { says.join("; ") };
        push_line(
            differences,
            format_args!(
                "  {}: planned `{}`, now `{}`",
                now.id,
                said(&planned.says),
                said(&now.says)
            ),
        );
    }
}
