//! `files:exists`, `files:age` and `files:size`

use crate::{directory, find};
use runbook_sdk::assertion::pluralize;
use runbook_sdk::files::{FileInfo, FileKind, ListOptions, Listing, Order};
use runbook_sdk::prelude::*;

/// A file, and whether it must be there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExistsInput {
    /// Its path below the directory.
    path: String,
    /// Whether it must be there; true if absent.
    exists: Option<bool>,
}

/// Whether the file is there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExistsOutput {
    exists: bool,
    /// `file`, `directory` or `other`; null if nothing is there.
    kind: Option<String>,
}

pub(crate) fn exists(_job: &Job, input: ExistsInput) -> Result<Report<ExistsOutput>> {
    let kind = find(&input.path)?.map(|info| kind_name(info.kind).to_owned());
    let must_exist = input.exists.unwrap_or(true);
    let summary = match &kind {
        Some(kind) => format!("`{}` is a {kind}", input.path),
        None => format!("`{}` is not there", input.path),
    };
    let exists = kind.is_some();
    Ok(Report::pass_if(exists == must_exist, summary, ExistsOutput { exists, kind }))
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Other => "other",
    }
}

/// Files of a name, and how old the newest may be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgeInput {
    /// The folder below the directory; the directory itself if absent.
    #[serde(default)]
    folder: String,
    /// The name of the file, or a pattern in which `*` is any run of characters.
    name: String,
    /// Older than this is a warning.
    warn: Option<Span>,
    /// Older than this is a failure.
    crit: Option<Span>,
    /// Younger than this is a failure.
    min: Option<Span>,
}

/// The newest of the files.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AgeOutput {
    /// Its path.
    path: String,
    /// Seconds since its last change.
    age_seconds: u64,
    /// How many files fit.
    files: u64,
}

fn list(folder: &str, name: &str, order: Order, max_entries: u32) -> Result<Listing> {
    let pattern = Some(name.to_owned());
    let options = ListOptions { pattern, order, files_only: true, max_entries };
    directory().entries(folder, &options)
}

pub(crate) fn age(_job: &Job, input: AgeInput) -> Result<Report<AgeOutput>> {
    let listing = list(&input.folder, &input.name, Order::Newest, 1)?;
    let Some(newest) = listing.entries.first() else {
        let message = format!("there is no file `{}`", input.name);
        return Err(Fault::assertion("files.no-file", message));
    };
    Ok(age_report(&input, newest, listing.total, clock::now_ms()))
}

fn age_report(input: &AgeInput, newest: &FileInfo, files: u64, now_ms: u64) -> Report<AgeOutput> {
    let age_ms = now_ms.saturating_sub(newest.modified_ms);
    let is_over =
        |limit: Option<Span>| limit.is_some_and(|limit| u128::from(age_ms) > limit.0.as_millis());
    let is_too_young = input.min.is_some_and(|min| u128::from(age_ms) < min.0.as_millis());
    let outcome = if is_over(input.crit) || is_too_young {
        Outcome::Fail
    } else if is_over(input.warn) {
        Outcome::Warn
    } else {
        Outcome::Pass
    };
    let age_seconds = age_ms / 1000;
    let summary = format!("`{}` was changed {age_seconds} s ago", newest.path);
    #[expect(clippy::cast_precision_loss, reason = "an age in seconds is small")]
    let measured = measurement("age", age_seconds as f64, "s");
    Report::new(outcome, summary, AgeOutput { path: newest.path.clone(), age_seconds, files })
        .measure(measured)
}

/// Files of a name, and how many and how large they may be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizeInput {
    /// The folder below the directory; the directory itself if absent.
    #[serde(default)]
    folder: String,
    /// The name of the file, or a pattern in which `*` is any run of characters.
    name: String,
    /// Fewer bytes, of all files together, are a failure.
    min_bytes: Option<u64>,
    /// More bytes, of all files together, are a failure.
    max_bytes: Option<u64>,
    /// Fewer files are a failure; 1 if absent.
    min_files: Option<u64>,
    /// More files are a failure.
    max_files: Option<u64>,
}

/// How many files there are, and how large.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SizeOutput {
    files: u64,
    /// Of all files together.
    bytes: u64,
}

pub(crate) fn size(_job: &Job, input: SizeInput) -> Result<Report<SizeOutput>> {
    let listing = list(&input.folder, &input.name, Order::Name, 0)?;
    Ok(size_report(&input, listing.total, listing.total_bytes))
}

fn size_report(input: &SizeInput, files: u64, bytes: u64) -> Report<SizeOutput> {
    let mut assertions = Assertions::new();
    let few = input.min_files.unwrap_or(1);
    assertions.holds(files >= few, || format!("fewer than {}", pluralize(few, "file")));
    if let Some(many) = input.max_files {
        assertions.holds(files <= many, || format!("more than {}", pluralize(many, "file")));
    }
    if let Some(small) = input.min_bytes {
        assertions.holds(bytes >= small, || format!("less than {}", Size(small)));
    }
    if let Some(large) = input.max_bytes {
        assertions.holds(bytes <= large, || format!("more than {}", Size(large)));
    }
    let found = format!("`{}`: {} of {}", input.name, pluralize(files, "file"), Size(bytes));
    let summary = if assertions.all_hold() {
        found
    } else {
        format!("{found}, {}", assertions.failures().join(", "))
    };
    Report::pass_if(assertions.all_hold(), summary, SizeOutput { files, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_the_newest_file_decides() {
        let newest = FileInfo {
            path: "a".to_owned(),
            kind: FileKind::File,
            size_bytes: 1,
            modified_ms: 1_000,
        };
        for (limits, outcome) in [
            (json!({}), Outcome::Pass),
            (json!({ "warn": "9s", "crit": "10s" }), Outcome::Warn),
            (json!({ "warn": "10s", "crit": "10s" }), Outcome::Pass),
            (json!({ "crit": "9s" }), Outcome::Fail),
            (json!({ "min": "11s" }), Outcome::Fail),
            (json!({ "min": "10s" }), Outcome::Pass),
        ] {
            let mut input = limits.clone();
            input["name"] = "a".into();
            let input = serde_json::from_value(input).expect("good input");
            assert_eq!(age_report(&input, &newest, 1, 11_000).outcome, outcome, "{limits}");
        }
    }

    #[test]
    fn number_and_bytes_of_files_are_compared() {
        for (limits, outcome) in [
            (json!({}), Outcome::Pass),
            (json!({ "min_files": 3 }), Outcome::Fail),
            (json!({ "max_files": 1 }), Outcome::Fail),
            (json!({ "min_bytes": 10, "max_bytes": 10 }), Outcome::Pass),
            (json!({ "min_bytes": 11 }), Outcome::Fail),
            (json!({ "max_bytes": 9 }), Outcome::Fail),
        ] {
            let mut input = limits.clone();
            input["name"] = "a*".into();
            let input = serde_json::from_value(input).expect("good input");
            assert_eq!(size_report(&input, 2, 10).outcome, outcome, "{limits}");
        }
    }
}
