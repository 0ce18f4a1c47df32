//! `objects:objects`

use crate::{age_s, number, store};
use runbook_sdk::assertion::pluralize;
use runbook_sdk::prelude::*;

/// The objects, and what they must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The beginning of their keys, below the prefix of the target; all of them if absent.
    #[serde(default)]
    prefix: String,
    /// Fewer is a failure.
    min_count: Option<u64>,
    /// More is a failure.
    max_count: Option<u64>,
    /// If the newest is older, that is a failure; so is no object at all.
    max_age: Option<Span>,
    /// If they have more together, that is a failure.
    max_total_bytes: Option<u64>,
}

/// What they are.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How many were listed.
    count: u64,
    /// Whether there are more than the target allows to be listed.
    cut: bool,
    /// Their size together, in bytes.
    total_bytes: u64,
    /// The key of the newest.
    newest: Option<String>,
    /// The age of the newest in seconds.
    newest_age_s: Option<f64>,
}

pub(crate) fn objects(_job: &Job, input: Input) -> Result<Report<Output>> {
    let listing = store().list(&input.prefix)?;
    let count = listing.objects.len() as u64;
    let total = listing.objects.iter().map(|object| object.size_bytes).fold(0, u64::saturating_add);
    let newest = listing.objects.iter().max_by_key(|object| object.modified_ms);
    let age = newest.map(|object| age_s(object.modified_ms));
    let mut wrong = Vec::new();
    if let Some(min) = input.min_count
        && count < min
    {
        wrong.push(format!("fewer than {min}"));
    }
    if let Some(max) = input.max_count
        && count > max
    {
        wrong.push(format!("more than {max}"));
    }
    if let Some(max) = input.max_age
        && age.is_none_or(|age| age > max.0.as_secs_f64())
    {
        wrong.push(format!("none is newer than {} s", max.as_secs()));
    }
    if let Some(max) = input.max_total_bytes
        && total > max
    {
        wrong.push(format!("more than {} together", Size(max)));
    }
    let more = if listing.cut { ", and more that were not listed" } else { "" };
    let mut summary = format!("{}{more}, {}", pluralize(count, "object"), Size(total));
    if !wrong.is_empty() {
        summary = format!("{summary}: {}", wrong.join(", "));
    }
    // What was not listed could change each answer but two: there are enough, or too many.
    let is_known = !listing.cut
        || !wrong.is_empty()
        || (input.max_count.is_none()
            && input.max_age.is_none()
            && input.max_total_bytes.is_none());
    let outcome = match (wrong.is_empty(), is_known) {
        (_, false) => Outcome::Unknown,
        (true, true) => Outcome::Pass,
        (false, true) if listing.cut && !is_too_much(&input, count, total) => Outcome::Unknown,
        (false, true) => Outcome::Fail,
    };
    let output = Output {
        count,
        cut: listing.cut,
        total_bytes: total,
        newest: newest.map(|object| object.key.clone()),
        newest_age_s: age,
    };
    Ok(Report::new(outcome, summary, output)
        .measure(measurement("count", number(count), ""))
        .measure(measurement("total", number(total), "B")))
}

/// Whether what was listed is too much already.
fn is_too_much(input: &Input, count: u64, total: u64) -> bool {
    input.max_count.is_some_and(|max| count > max)
        || input.max_total_bytes.is_some_and(|max| total > max)
}
