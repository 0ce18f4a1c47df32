//! `files:prune`

use crate::change::target;
use crate::directory;
use runbook_sdk::assertion::pluralize;
use runbook_sdk::files::{FileInfo, ListOptions, Listing, Order};
use runbook_sdk::prelude::*;

/// How many files one step removes at most. The plan and the result name each.
const MAX_FILES: usize = 1_000;

/// Which files are removed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The folder below the directory; the directory itself if absent.
    #[serde(default)]
    folder: String,
    /// Only files whose name fits; `*` is any run of characters.
    name: String,
    /// As many of the newest are kept, whatever their age; at least 1.
    keep: usize,
    /// Only files older than this are removed.
    older_than: Span,
    /// At most as many are removed, the oldest first; 100 if absent, and never more than 1,000.
    max: Option<usize>,
}

/// What was removed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The paths of the files that were removed, the oldest first.
    removed: Vec<String>,
    /// Their bytes.
    removed_bytes: u64,
    /// The files that were to be removed and were not, with the reason.
    kept: Vec<Kept>,
    /// Whether files are left that fit, because only so many are removed at once.
    truncated: bool,
}

/// A file that was to be removed and was not.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Kept {
    path: String,
    reason: String,
}

/// The files that are to be removed.
struct Removal {
    files: Vec<FileInfo>,
    /// Whether more files fit than are removed at once.
    is_truncated: bool,
    total: u64,
}

impl Removal {
    fn read(input: &Input) -> Result<Self> {
        if input.keep == 0 {
            let message = "`keep` is 0: at least the newest file is kept";
            return Err(Fault::invalid("files.keep", message));
        }
        let options = ListOptions {
            pattern: Some(input.name.clone()),
            order: Order::Oldest,
            files_only: true,
            max_entries: u32::MAX,
        };
        let listing = directory().entries(&input.folder, &options)?;
        Ok(Self::of(input, listing, clock::now_ms()))
    }

    /// The oldest files of a list that is sorted by age.
    fn of(input: &Input, listing: Listing, now_ms: u64) -> Self {
        let total = listing.total;
        let beyond_newest = usize::try_from(total).unwrap_or(usize::MAX).saturating_sub(input.keep);
        let age_ms = input.older_than.0.as_millis().max(listing.min_age_ms.into());
        let is_old = |file: &FileInfo| u128::from(now_ms.saturating_sub(file.modified_ms)) > age_ms;
        let mut files: Vec<FileInfo> =
            listing.entries.into_iter().take(beyond_newest).take_while(is_old).collect();
        let max = input.max.unwrap_or(100).min(MAX_FILES);
        let is_truncated = files.len() > max;
        files.truncate(max);
        Self { files, is_truncated, total }
    }

    fn state(&self) -> Json {
        json!({ "files": self.total })
    }
}

fn bytes(files: &[FileInfo]) -> u64 {
    files.iter().map(|file| file.size_bytes).sum()
}

fn count(files: usize) -> String {
    pluralize(files as u64, "file")
}

pub(crate) struct Prune;

impl Step for Prune {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let removal = Removal::read(input)?;
        let before = removal.state();
        if removal.files.is_empty() {
            return Ok(Proposal::nothing("no file is old enough", before));
        }
        let more = if removal.is_truncated { ", and more fit" } else { "" };
        let size = Size(bytes(&removal.files));
        let summary = format!(
            "remove {} of {} ({size}){more}",
            removal.files.len(),
            count(to_usize(removal.total))
        );
        let effect_of = |file: &FileInfo| {
            let summary = format!("remove `{}` ({})", file.path, Size(file.size_bytes));
            effect("files.remove", target(&file.path), summary)
        };
        let effects = removal.files.iter().map(effect_of).collect();
        Ok(Proposal { effects, summary, before })
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            let output = Output {
                removed: Vec::new(),
                removed_bytes: 0,
                kept: Vec::new(),
                truncated: false,
            };
            return Ok(Completion::unchanged(proposal.summary.clone(), output));
        }
        let Removal { mut files, is_truncated, .. } = Removal::read(input)?;
        // Only what the plan named; a file of it that was changed since is too young.
        files.retain(|file| {
            let target = target(&file.path);
            proposal.effects.iter().any(|effect| effect.target == target)
        });
        let pruned = directory().prune(&files)?;
        let removed_bytes = bytes(&pruned.removed);
        let more = if is_truncated { ", and more fit" } else { "" };
        let summary =
            format!("removed {} ({}){more}", count(pruned.removed.len()), Size(removed_bytes));
        let output = Output {
            removed: pruned.removed.into_iter().map(|file| file.path).collect(),
            removed_bytes,
            kept: pruned
                .kept
                .into_iter()
                .map(|file| Kept { path: file.path, reason: file.reason })
                .collect(),
            truncated: is_truncated,
        };
        if output.removed.is_empty() {
            return Ok(Completion::unchanged(summary, output));
        }
        Ok(Completion::changed(summary, output))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        Removal::read(input).map(|removal| removal.state())
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::files::FileKind;

    fn prunable(json: &Json, ages_s: &[u64], protected_s: u64) -> (usize, bool) {
        let input: Input = serde_json::from_value(json.clone()).expect("good input");
        let now_ms = 1_000_000_000;
        let entries: Vec<FileInfo> = ages_s
            .iter()
            .map(|age| FileInfo {
                path: age.to_string(),
                kind: FileKind::File,
                size_bytes: 1,
                modified_ms: now_ms - age * 1_000,
            })
            .collect();
        let (total, total_bytes) = (entries.len() as u64, 0);
        let min_age_ms = protected_s * 1_000;
        let listing = Listing { entries, total, total_bytes, unnamed: 0, min_age_ms };
        let planned = Removal::of(&input, listing, now_ms);
        (planned.files.len(), planned.is_truncated)
    }

    #[test]
    fn the_newest_are_kept_and_the_young_and_never_more_removed_than_allowed() {
        let ages = [500, 400, 300, 200, 100];
        for (keep, older_than, max, min_age, expected) in [
            (1, "0s", 100, 0, (4, false)),
            (3, "0s", 100, 0, (2, false)),
            (9, "0s", 100, 0, (0, false)),
            (1, "300s", 100, 0, (2, false)),
            (1, "0s", 100, 400, (1, false)),
            (1, "0s", 2, 0, (2, true)),
        ] {
            let input = json!({ "name": "*", "keep": keep, "older_than": older_than, "max": max });
            assert_eq!(prunable(&input, &ages, min_age), expected, "{input} {min_age}");
        }
    }
}
