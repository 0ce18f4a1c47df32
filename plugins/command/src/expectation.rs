//! What is expected of a program that has ended.

use runbook_sdk::assertion::{Assertions, start_of};
use runbook_sdk::prelude::*;
use runbook_sdk::process::Output as Ended;

/// How a program is called, and what is expected of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    /// The arguments of the program.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// The exit codes that are a pass; `[0]` if absent.
    #[serde(default = "only_zero")]
    pub(crate) exit_codes: Vec<i32>,
    /// The exit codes that are a warning.
    #[serde(default)]
    warn_exit_codes: Vec<i32>,
    /// Texts that stdout must contain.
    #[serde(default)]
    stdout_contains: Vec<String>,
    /// Texts that stdout must not contain.
    #[serde(default)]
    stdout_lacks: Vec<String>,
    /// Whether anything on stderr is a failure.
    #[serde(default)]
    stderr_empty: bool,
}

pub(crate) fn only_zero() -> Vec<i32> {
    vec![0]
}

/// How a program ended, and what it wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Its exit code.
    pub(crate) exit_code: i32,
    /// What it wrote to stdout, as text.
    pub(crate) stdout: String,
    /// What it wrote to stderr, as text.
    pub(crate) stderr: String,
    /// Whether it wrote more than the target's `max_output`, so that the end is missing.
    pub(crate) truncated: bool,
}

impl From<&Ended> for Output {
    fn from(ended: &Ended) -> Self {
        Self {
            exit_code: ended.exit_code,
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
            truncated: ended.truncated,
        }
    }
}

/// What a program said, in one line: the first line of stdout, or the last one of stderr, where a
/// program says why it failed.
pub(crate) fn said(output: &Output) -> Option<String> {
    let of = |line: &str| (!line.trim().is_empty()).then(|| start_of(line.trim()));
    if output.exit_code == 0 {
        output.stdout.lines().find_map(of)
    } else {
        output.stderr.lines().rev().find_map(of).or_else(|| output.stdout.lines().find_map(of))
    }
}

/// `it ended with 3: no such host`, or only how it ended. What a program that ended with 0 says on
/// stderr is told too: it may be that it could not do its work.
pub(crate) fn ending(output: &Output) -> String {
    let ending = match said(output) {
        Some(said) => format!("it ended with {}: {said}", output.exit_code),
        None => format!("it ended with {} and said nothing", output.exit_code),
    };
    let stderr = output.stderr.lines().find(|line| !line.trim().is_empty());
    match stderr.filter(|_| output.exit_code == 0) {
        Some(line) => format!("{ending}; on stderr: {}", start_of(line.trim())),
        None => ending,
    }
}

/// From here on a shell reports that a program could not be started, or that a signal ended it.
const NO_ANSWER: i32 = 126;

impl Expectation {
    /// Judges a program that has ended, and says why in one line. An output that was cut proves
    /// neither that a text is in it nor that it is not.
    pub(crate) fn judge(&self, output: &Output) -> (Outcome, String) {
        let is_warning = self.warn_exit_codes.contains(&output.exit_code);
        let is_named = is_warning || self.exit_codes.contains(&output.exit_code);
        if !is_named && !(0..NO_ANSWER).contains(&output.exit_code) {
            let why = format!("{}, so it did not come to an end by itself", ending(output));
            return (Outcome::Unknown, why);
        }
        let mut wrong = Assertions::new();
        wrong.holds(is_named, || {
            format!("{}, expected {}", ending(output), one_of(&self.exit_codes))
        });
        let missing =
            self.stdout_contains.iter().filter(|text| !output.stdout.contains(text.as_str()));
        let mut is_unsure = false;
        for text in missing {
            if output.truncated {
                is_unsure = true;
            } else {
                wrong.contains("stdout", &output.stdout, text);
            }
        }
        for text in &self.stdout_lacks {
            let is_there = output.stdout.contains(text.as_str());
            let is_text = !output.stdout.contains(char::REPLACEMENT_CHARACTER);
            is_unsure |= (output.truncated || !is_text) && !is_there;
            wrong.holds(!is_there, || format!("stdout contains `{text}`"));
        }
        let stderr = output.stderr.trim();
        wrong.holds(!self.stderr_empty || stderr.is_empty(), || {
            format!("stderr is not empty: {}", start_of(stderr))
        });
        if !wrong.failures().is_empty() {
            return (Outcome::Fail, wrong.failures().join("; "));
        }
        if is_unsure {
            let why = if output.truncated {
                "its output was cut, so it cannot be searched; raise `max_output` of its target"
            } else {
                "its output is no UTF-8 text, so it cannot be searched"
            };
            return (Outcome::Unknown, why.to_owned());
        }
        let outcome = if is_warning { Outcome::Warn } else { Outcome::Pass };
        (outcome, ending(output))
    }
}

fn one_of(exit_codes: &[i32]) -> String {
    match exit_codes {
        [] => "no exit code at all".to_owned(),
        [one] => one.to_string(),
        several => {
            let several: Vec<_> = several.iter().map(i32::to_string).collect();
            format!("one of {}", several.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(expected: Json, exit_code: i32, stdout: &str, stderr: &str) -> (Outcome, String) {
        cut(expected, &output(exit_code, stdout, stderr))
    }

    fn output(exit_code: i32, stdout: &str, stderr: &str) -> Output {
        Output { exit_code, stdout: stdout.to_owned(), stderr: stderr.to_owned(), truncated: false }
    }

    fn cut(expected: Json, output: &Output) -> (Outcome, String) {
        let expected: Expectation = serde_json::from_value(expected).expect("the input fits");
        expected.judge(output)
    }

    #[test]
    fn without_anything_said_0_is_the_only_exit_code_that_passes() {
        for exit_code in [1, 2, 3, 64, 125] {
            let (outcome, why) = judged(json!({}), exit_code, "fine", "no such host\n");
            assert_eq!(outcome, Outcome::Fail, "{exit_code}");
            assert_eq!(why, format!("it ended with {exit_code}: no such host, expected 0"));
        }
        assert_eq!(
            judged(json!({}), 0, "\nfine\nmore", "\nnoise\n"),
            (Outcome::Pass, "it ended with 0: fine; on stderr: noise".to_owned())
        );
        assert_eq!(judged(json!({}), 0, "", "").1, "it ended with 0 and said nothing");
    }

    #[test]
    fn a_program_that_was_not_started_or_was_killed_gives_no_verdict_unless_that_is_expected() {
        for exit_code in [-9, -1, 126, 127, 137, 139, 255] {
            assert_eq!(judged(json!({}), exit_code, "fine", "").0, Outcome::Unknown, "{exit_code}");
            let named = json!({ "exit_codes": [exit_code] });
            assert_eq!(judged(named, exit_code, "fine", "").0, Outcome::Pass);
            let named = json!({ "warn_exit_codes": [exit_code] });
            assert_eq!(judged(named, exit_code, "fine", "").0, Outcome::Warn);
        }
    }

    #[test]
    fn exit_codes_and_texts_are_judged_together() {
        let expected = json!({
            "exit_codes": [0, 2], "warn_exit_codes": [1],
            "stdout_contains": ["ready"], "stdout_lacks": ["ERROR"], "stderr_empty": true,
        });
        for (exit_code, stdout, stderr, outcome) in [
            (0, "ready", "", Outcome::Pass),
            (2, "ready", " \n", Outcome::Pass),
            (1, "ready", "", Outcome::Warn),
            (1, "", "", Outcome::Fail),
            (3, "ready", "", Outcome::Fail),
            (0, "ready ERROR", "", Outcome::Fail),
            (0, "ready", "x", Outcome::Fail),
        ] {
            assert_eq!(judged(expected.clone(), exit_code, stdout, stderr).0, outcome, "{stdout}");
        }
        let (_, why) = judged(expected, 3, "ERROR", "x");
        for part in
            ["expected one of 0, 2", "does not contain `ready`", "contains `ERROR`", "not empty"]
        {
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn an_output_that_was_cut_proves_nothing() {
        let cut_output = Output { truncated: true, ..output(0, "ready", "") };
        for expected in [json!({ "stdout_contains": ["x"] }), json!({ "stdout_lacks": ["x"] })] {
            assert_eq!(cut(expected, &cut_output).0, Outcome::Unknown);
        }
        assert_eq!(cut(json!({ "stdout_contains": ["ready"] }), &cut_output).0, Outcome::Pass);
        assert_eq!(cut(json!({ "stdout_lacks": ["ready"] }), &cut_output).0, Outcome::Fail);
        assert_eq!(cut(json!({}), &cut_output).0, Outcome::Pass);
        let no_text = output(0, "caf\u{fffd}", "");
        assert_eq!(cut(json!({ "stdout_lacks": ["caf\u{e9}"] }), &no_text).0, Outcome::Unknown);
    }
}
