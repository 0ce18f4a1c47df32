//! `files:count`

use crate::directory;
use runbook_sdk::assertion::pluralize;
use runbook_sdk::files::{LineCount, LineSearch};
use runbook_sdk::prelude::*;

/// Which lines are counted, and how many there may be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The path of the log below the directory.
    path: String,
    /// A regular expression that is compared with each line.
    pattern: String,
    /// Also in the rotated files beside it, also compressed ones; false if absent.
    #[serde(default)]
    rotated: bool,
    /// Only lines of this time before now. Each line, or one before it, must begin with its time.
    window: Option<Span>,
    /// Minutes east of UTC of times that have no zone; 0 if absent.
    #[serde(default)]
    zone_minutes: i32,
    /// More matches are a warning.
    warn: Option<u64>,
    /// More matches are a failure.
    crit: Option<u64>,
    /// Fewer matches are a failure.
    min: Option<u64>,
}

/// How many lines match.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    matches: u64,
    /// How many lines were compared.
    lines: u64,
    /// The last line that matches; null if none does.
    last_match: Option<String>,
    /// How many files were read.
    files: usize,
    /// Whether `max_total` of the target ended the search, so that older lines are missing.
    cut: bool,
}

pub(crate) fn count(_job: &Job, input: Input) -> Result<Report<Output>> {
    let window_ms =
        input.window.map(|window| u64::try_from(window.0.as_millis()).unwrap_or(u64::MAX));
    let search = LineSearch {
        pattern: input.pattern.clone(),
        rotated: input.rotated,
        since_ms: window_ms.map(|window| clock::now_ms().saturating_sub(window)),
        zone_minutes: input.zone_minutes,
    };
    let count = directory().count(&input.path, &search)?;
    Ok(report(&input, count))
}

fn report(input: &Input, count: LineCount) -> Report<Output> {
    let matches = count.matches;
    let is_over = |limit: Option<u64>| limit.is_some_and(|limit| matches > limit);
    // Lines that are missing could only make more matches.
    let outcome = if is_over(input.crit) {
        Outcome::Fail
    } else if count.cut && (input.crit.is_some() || input.min.is_some_and(|min| matches < min)) {
        Outcome::Unknown
    } else if input.min.is_some_and(|min| matches < min) {
        Outcome::Fail
    } else if is_over(input.warn) {
        Outcome::Warn
    } else if count.cut && input.warn.is_some() {
        Outcome::Unknown
    } else {
        Outcome::Pass
    };
    let cut = if count.cut { "; older lines are beyond `max_total` of the target" } else { "" };
    let summary =
        format!("{} of {} in `{}` match{cut}", matches, pluralize(count.lines, "line"), input.path);
    let output = Output {
        matches,
        lines: count.lines,
        last_match: count.last_match,
        files: count.files.len(),
        cut: count.cut,
    };
    #[expect(clippy::cast_precision_loss, reason = "a rounded count is shown")]
    Report::new(outcome, summary, output).measure(measurement("matches", matches as f64, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(limits: &Json, matches: u64, cut: bool) -> Outcome {
        let mut input = limits.clone();
        (input["path"], input["pattern"]) = ("a".into(), "x".into());
        let input = serde_json::from_value(input).expect("good input");
        let (files, last_match) = (vec!["a".to_owned()], None);
        report(&input, LineCount { matches, lines: 10, last_match, bytes: 1, cut, files }).outcome
    }

    #[test]
    fn a_cut_search_gives_no_verdict_that_missing_lines_could_change() {
        let limits = json!({ "warn": 1, "crit": 3, "min": 1 });
        for (matches, cut, expected) in [
            (1, false, Outcome::Pass),
            (2, false, Outcome::Warn),
            (4, false, Outcome::Fail),
            (0, false, Outcome::Fail),
            (4, true, Outcome::Fail),
            (2, true, Outcome::Unknown),
            (0, true, Outcome::Unknown),
        ] {
            assert_eq!(outcome(&limits, matches, cut), expected, "{matches} {cut}");
        }
        assert_eq!(outcome(&json!({ "warn": 1 }), 1, true), Outcome::Unknown);
        assert_eq!(outcome(&json!({ "warn": 1 }), 2, true), Outcome::Warn);
        assert_eq!(outcome(&json!({ "min": 1 }), 2, true), Outcome::Pass);
    }
}
