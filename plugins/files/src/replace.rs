//! `files:replace`

use crate::change::{changed_since, recorded, target};
use crate::difference::Difference;
use crate::{absent_as_none, directory, find};
use runbook_sdk::files::{ExistingFile, ExpectedFile};
use runbook_sdk::prelude::*;

/// A file, and what it holds afterwards.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its path below the directory.
    path: String,
    /// Its whole text.
    content: String,
    /// The path of the backup; a name beside the file, with the run and the step, if absent.
    backup: Option<String>,
}

/// Where the old file is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The path of the backup; null if there was no file, or if it had the text already.
    backup: Option<String>,
}

/// The state of the file. It contains nothing that changes by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    /// The digest of the file; `None` if it is not there.
    digest: Option<String>,
    /// The path of its backup.
    backup: String,
}

fn backup_path(job: &Job, input: &Input) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let step: String = job.step.chars().map(plain).collect();
    let name = || format!("{}.before-{}-{step}", input.path, job.run_id);
    input.backup.clone().unwrap_or_else(name)
}

impl State {
    fn read(job: &Job, input: &Input) -> Result<Self> {
        let digest = absent_as_none(directory().digest(&input.path))?;
        Ok(Self { digest, backup: backup_path(job, input) })
    }

    fn to_json(&self) -> Json {
        json!({ "digest": self.digest, "backup": self.backup })
    }
}

pub(crate) struct Replace;

impl Step for Replace {
    type Input = Input;
    type Output = Output;

    fn plan(job: &Job, input: &Input) -> Result<Proposal> {
        let before = State::read(job, input)?;
        let old = absent_as_none(directory().read(&input.path))?;
        if old.as_deref() == Some(input.content.as_bytes()) {
            let summary = format!("`{}` has this text already", input.path);
            return Ok(Proposal::nothing(summary, before.to_json()));
        }
        let difference = Difference::of(old.as_deref().unwrap_or_default(), &input.content);
        let (added, removed) = (difference.added, difference.removed);
        let summary = match &old {
            Some(_) => format!("replace `{}`: {added} lines added, {removed} removed", input.path),
            None => format!("create `{}` with {added} lines", input.path),
        };
        let mut effects = vec![effect("files.write", target(&input.path), summary.clone())];
        if old.is_some() {
            let kept = format!("keep the old file as `{}`", before.backup);
            effects.push(effect("files.write", target(&before.backup), kept));
        }
        // They show the difference, and are no effects of a capability.
        let lines = difference.lines.into_iter();
        effects.extend(lines.map(|line| effect("diff", target(&input.path), line)));
        Ok(Proposal { effects, summary, before: before.to_json() })
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            return Ok(Completion::unchanged(proposal.summary.clone(), Output { backup: None }));
        }
        let State { digest, backup } = recorded(&proposal.before)?;
        let backup = digest.is_some().then_some(backup);
        let expected = digest.map_or(ExpectedFile::Absent, ExpectedFile::Digest);
        directory().replace(&input.path, input.content.as_bytes(), &expected, backup.as_deref())?;
        let summary = match &backup {
            Some(backup) => format!("replaced `{}`, the old file is `{backup}`", input.path),
            None => format!("created `{}`", input.path),
        };
        Ok(Completion::changed(summary, Output { backup }))
    }

    fn observe(job: &Job, input: &Input) -> Result<Json> {
        State::read(job, input).map(|state| state.to_json())
    }

    fn undo(_job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        let State { digest, backup } = recorded(before)?;
        let (path, slot) = (&input.path, directory());
        let now = absent_as_none(slot.digest(path))?;
        let kept = match &digest {
            Some(_) => absent_as_none(slot.digest(&backup))?,
            None => None,
        };
        if now == digest {
            // The replacement did not happen, but its backup may have.
            if kept.is_some() && kept == digest {
                slot.rename(&backup, path, ExistingFile::Replace)?;
            }
            return Ok(Completion::unchanged(format!("`{path}` is as it was"), Json::Null));
        }
        let is_ours = match &now {
            Some(_) => slot.read(path)? == input.content.as_bytes(),
            None => true,
        };
        if !is_ours {
            return Err(changed_since(path));
        }
        match digest {
            None => slot.remove(path)?,
            Some(_) if kept == digest => slot.rename(&backup, path, ExistingFile::Replace)?,
            Some(_) => {
                let state = if find(&backup)?.is_some() { "was changed" } else { "is not there" };
                let message = format!("the backup `{backup}` {state}");
                return Err(Fault::conflict("files.no-backup", message));
            }
        }
        Ok(Completion::changed(format!("put back `{path}`"), Json::Null))
    }
}
