//! What is expected of a program that has ended.

use runbook_sdk::assertion::{Assertions, start_of};
use runbook_sdk::prelude::*;
use runbook_sdk::process::Output as ProgramOutput;

/// How a program is called, and what is expected of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    /// The arguments of the program.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// The exit codes that are a pass; `[0]` if absent.
    #[serde(default = "default_exit_codes")]
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

pub(crate) fn default_exit_codes() -> Vec<i32> {
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

impl From<&ProgramOutput> for Output {
    fn from(program_output: &ProgramOutput) -> Self {
        Self {
            exit_code: program_output.exit_code,
            stdout: String::from_utf8_lossy(&program_output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&program_output.stderr).into_owned(),
            truncated: program_output.truncated,
        }
    }
}

/// The message of a program, in one line: the first line of stdout, or, if it failed, the last one
/// of stderr, where programs give the reason.
pub(crate) fn message_line(output: &Output) -> Option<String> {
    let trimmed_start = |line: &str| (!line.trim().is_empty()).then(|| start_of(line.trim()));
    if output.exit_code == 0 {
        output.stdout.lines().find_map(trimmed_start)
    } else {
        output
            .stderr
            .lines()
            .rev()
            .find_map(trimmed_start)
            .or_else(|| output.stdout.lines().find_map(trimmed_start))
    }
}

/// The signal that an exit code above 128 stands for: the host reports 128 and its number.
fn signal(exit_code: i32) -> Option<&'static str> {
    const SIGNALS: &[(i32, &str)] = &[
        (1, "HUP"),
        (2, "INT"),
        (3, "QUIT"),
        (4, "ILL"),
        (6, "ABRT"),
        (7, "BUS"),
        (8, "FPE"),
        (9, "KILL"),
        (11, "SEGV"),
        (13, "PIPE"),
        (14, "ALRM"),
        (15, "TERM"),
        (24, "XCPU, its limit of processor time"),
        (25, "XFSZ, its limit of a file"),
        (31, "SYS"),
    ];
    SIGNALS.iter().find(|(number, _)| number + 128 == exit_code).map(|(_, name)| *name)
}

/// `it ended with 3: no such host`, or only the exit code. For exit code 0 the first line of stderr
/// is added, because the program may have been unable to do its work.
pub(crate) fn describe_exit(output: &Output) -> String {
    let end = match signal(output.exit_code) {
        Some(signal) => format!("it ended with {} (signal {signal})", output.exit_code),
        None => format!("it ended with {}", output.exit_code),
    };
    let description = match message_line(output) {
        Some(message) => format!("{end}: {message}"),
        None => format!("{end} and said nothing"),
    };
    let stderr = output.stderr.lines().find(|line| !line.trim().is_empty());
    match stderr.filter(|_| output.exit_code == 0) {
        Some(line) => format!("{description}; on stderr: {}", start_of(line.trim())),
        None => description,
    }
}

/// From here on a shell reports that a program could not be started, or that a signal ended it.
const SHELL_FAILURE_EXIT_CODE: i32 = 126;

impl Expectation {
    /// Judges a program that has ended, and gives the reason in one line. An output that was cut
    /// off does not prove that a text is missing.
    pub(crate) fn judge(&self, output: &Output) -> (Outcome, String) {
        let is_warning = self.warn_exit_codes.contains(&output.exit_code);
        let is_expected = is_warning || self.exit_codes.contains(&output.exit_code);
        if !is_expected && !(0..SHELL_FAILURE_EXIT_CODE).contains(&output.exit_code) {
            let why = format!("{}, so it did not come to an end by itself", describe_exit(output));
            return (Outcome::Unknown, why);
        }
        let mut assertions = Assertions::new();
        assertions.holds(is_expected, || {
            format!("{}, expected {}", describe_exit(output), one_of(&self.exit_codes))
        });
        let missing =
            self.stdout_contains.iter().filter(|text| !output.stdout.contains(text.as_str()));
        let mut is_inconclusive = false;
        for text in missing {
            if output.truncated {
                is_inconclusive = true;
            } else {
                assertions.contains("stdout", &output.stdout, text);
            }
        }
        for text in &self.stdout_lacks {
            let is_there = output.stdout.contains(text.as_str());
            let is_text = !output.stdout.contains(char::REPLACEMENT_CHARACTER);
            is_inconclusive |= (output.truncated || !is_text) && !is_there;
            assertions.holds(!is_there, || format!("stdout contains `{text}`"));
        }
        let stderr = output.stderr.trim();
        assertions.holds(!self.stderr_empty || stderr.is_empty(), || {
            format!("stderr is not empty: {}", start_of(stderr))
        });
        if !assertions.failures().is_empty() {
            return (Outcome::Fail, assertions.failures().join("; "));
        }
        if is_inconclusive {
            let why = if output.truncated {
                "its output was cut, so it cannot be searched; raise `max_output` of its target"
            } else {
                "its output is no UTF-8 text, so it cannot be searched"
            };
            return (Outcome::Unknown, why.to_owned());
        }
        let outcome = if is_warning { Outcome::Warn } else { Outcome::Pass };
        (outcome, describe_exit(output))
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

    /// The verdict on a program that ended with these values, by an input `expected`.
    fn judge_exit(expected: Json, exit_code: i32, stdout: &str, stderr: &str) -> (Outcome, String) {
        judge_output(expected, &output(exit_code, stdout, stderr))
    }

    fn output(exit_code: i32, stdout: &str, stderr: &str) -> Output {
        Output { exit_code, stdout: stdout.to_owned(), stderr: stderr.to_owned(), truncated: false }
    }

    fn judge_output(expected: Json, output: &Output) -> (Outcome, String) {
        let expected: Expectation = serde_json::from_value(expected).expect("the input fits");
        expected.judge(output)
    }

    #[test]
    fn by_default_only_exit_code_0_passes() {
        for exit_code in [1, 2, 3, 64, 125] {
            let (outcome, why) = judge_exit(json!({}), exit_code, "fine", "no such host\n");
            assert_eq!(outcome, Outcome::Fail, "{exit_code}");
            assert_eq!(why, format!("it ended with {exit_code}: no such host, expected 0"));
        }
        assert_eq!(
            judge_exit(json!({}), 0, "\nfine\nmore", "\nnoise\n"),
            (Outcome::Pass, "it ended with 0: fine; on stderr: noise".to_owned())
        );
        assert_eq!(judge_exit(json!({}), 0, "", "").1, "it ended with 0 and said nothing");
        let (outcome, why) = judge_exit(json!({}), 139, "", "");
        assert_eq!(outcome, Outcome::Unknown);
        assert!(why.starts_with("it ended with 139 (signal SEGV) and said nothing"), "{why}");
    }

    #[test]
    fn a_program_that_was_not_started_or_was_killed_gives_no_verdict_unless_that_is_expected() {
        for exit_code in [-9, -1, 126, 127, 137, 139, 255] {
            assert_eq!(
                judge_exit(json!({}), exit_code, "fine", "").0,
                Outcome::Unknown,
                "{exit_code}"
            );
            let input = json!({ "exit_codes": [exit_code] });
            assert_eq!(judge_exit(input, exit_code, "fine", "").0, Outcome::Pass);
            let input = json!({ "warn_exit_codes": [exit_code] });
            assert_eq!(judge_exit(input, exit_code, "fine", "").0, Outcome::Warn);
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
            assert_eq!(
                judge_exit(expected.clone(), exit_code, stdout, stderr).0,
                outcome,
                "{stdout}"
            );
        }
        let (_, why) = judge_exit(expected, 3, "ERROR", "x");
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
            assert_eq!(judge_output(expected, &cut_output).0, Outcome::Unknown);
        }
        assert_eq!(
            judge_output(json!({ "stdout_contains": ["ready"] }), &cut_output).0,
            Outcome::Pass
        );
        assert_eq!(
            judge_output(json!({ "stdout_lacks": ["ready"] }), &cut_output).0,
            Outcome::Fail
        );
        assert_eq!(judge_output(json!({}), &cut_output).0, Outcome::Pass);
        let binary_output = output(0, "caf\u{fffd}", "");
        assert_eq!(
            judge_output(json!({ "stdout_lacks": ["caf\u{e9}"] }), &binary_output).0,
            Outcome::Unknown
        );
    }
}
