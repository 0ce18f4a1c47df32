//! `command:run`

use crate::expectation::{Output, default_exit_codes, describe_exit};
use crate::with_arguments;
use runbook_sdk::files::Directory;
use runbook_sdk::prelude::*;
use runbook_sdk::process::Program;

/// How the program is called, and in which cases it is not run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The arguments of the program.
    #[serde(default)]
    arguments: Vec<String>,
    /// The exit codes that mean success; `[0]` if absent.
    #[serde(default = "default_exit_codes")]
    exit_codes: Vec<i32>,
    /// A file in the folder of the slot `files`. If it is there, the program is not run; after the
    /// program it must be there.
    #[serde(default, deserialize_with = "present_path")]
    #[schemars(with = "String", length(min = 1))]
    creates: Option<String>,
    /// The program of the slot `condition`. The program is run only if this one ends with one of
    /// its exit codes; afterwards it must not.
    #[serde(default, deserialize_with = "present_value")]
    #[schemars(with = "Condition")]
    only_if: Option<Condition>,
}

/// Refuses null: a template that renders to nothing would otherwise turn the condition off.
fn present_value<'de, D, T>(deserializer: D) -> std::result::Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

fn present_path<'de, D>(deserializer: D) -> std::result::Result<Option<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let path: Option<String> = present_value(deserializer)?;
    if path.as_ref().is_some_and(|path| path.trim().is_empty()) {
        return Err(serde::de::Error::custom("`creates` is empty, and names no file"));
    }
    Ok(path)
}

/// How the program that decides the condition is called, and what its exit codes mean.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// The arguments of the program of the slot `condition`.
    #[serde(default)]
    arguments: Vec<String>,
    /// The exit codes that mean that the step is needed; `[0]` if absent.
    #[serde(default = "default_exit_codes")]
    exit_codes: Vec<i32>,
    /// The exit codes that mean that the step is not needed; `[1]` if absent, or `[0]` if 1 is
    /// among `exit_codes`. With any other exit code the step fails before the program is run.
    otherwise: Option<Vec<i32>>,
}

/// The visible signs of whether the program did its work.
#[derive(Debug, PartialEq, Eq)]
struct WorkState {
    /// Whether the file that it creates is there.
    created: Option<bool>,
    /// Whether the condition says that it is needed.
    needed: Option<bool>,
}

impl WorkState {
    fn observe(input: &Input) -> Result<Self> {
        let created = input.creates.as_deref().map(file_exists).transpose()?;
        let needed = input.only_if.as_ref().map(Condition::holds).transpose()?;
        Ok(Self { created, needed })
    }

    /// Why the program is not run.
    fn skip_reason(&self, input: &Input) -> Option<String> {
        match (self.created, self.needed) {
            (Some(true), _) => {
                Some(format!("`{}` is there already", input.creates.as_deref().unwrap_or_default()))
            }
            (_, Some(false)) => Some("the condition says that it is not needed".to_owned()),
            (Some(false) | None, Some(true) | None) => None,
        }
    }

    /// The state that the host compares after an undo and after a crash; null if there is nothing
    /// to observe.
    fn to_json(&self) -> Json {
        match (self.created, self.needed) {
            (None, None) => Json::Null,
            (created, needed) => json!({ "created": created, "needed": needed }),
        }
    }
}

fn file_exists(path: &str) -> Result<bool> {
    match Directory::slot(slot!("files")).stat(path) {
        Ok(_) => Ok(true),
        Err(fault) if fault.class == FaultClass::NotFound => Ok(false),
        Err(fault) => Err(fault),
    }
}

impl Condition {
    fn holds(&self) -> Result<bool> {
        let program = with_arguments(Program::slot(slot!("condition")), &self.arguments);
        self.judge(&Output::from(&program.inspect()?))
    }

    fn judge(&self, output: &Output) -> Result<bool> {
        let otherwise = match &self.otherwise {
            Some(codes) => codes.clone(),
            None if self.exit_codes.contains(&1) => vec![0],
            None => vec![1],
        };
        if let Some(ambiguous_code) = self.exit_codes.iter().find(|code| otherwise.contains(code)) {
            let message = format!(
                "exit code {ambiguous_code} of the condition means both that the step is needed and that it \
                 is not: leave it out of `exit_codes` or of `otherwise`"
            );
            return Err(Fault::invalid("command.condition", message));
        }
        match output.exit_code {
            code if self.exit_codes.contains(&code) => Ok(true),
            code if otherwise.contains(&code) => Ok(false),
            _ => {
                let message =
                    format!("the condition says neither yes nor no: {}", describe_exit(output));
                Err(Fault::invalid("command.condition", message))
            }
        }
    }
}

pub(crate) struct Run;

impl Step for Run {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let work_state = WorkState::observe(input)?;
        if let Some(why) = work_state.skip_reason(input) {
            return Ok(Proposal::nothing(why, work_state.to_json()));
        }
        let effect = arguments_effect("process.run", "the program", &input.arguments);
        Ok(Proposal::one(effect, work_state.to_json()))
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            let empty_output = Output {
                exit_code: 0,
                stdout: String::new(),
                stderr: String::new(),
                truncated: false,
            };
            return Ok(Completion::unchanged(proposal.summary.clone(), empty_output));
        }
        let program = with_arguments(Program::slot(slot!("program")), &input.arguments);
        let output = Output::from(&program.run()?);
        if !input.exit_codes.contains(&output.exit_code) {
            return Err(Fault::assertion("command.failed", describe_exit(&output)));
        }
        if let Some(why) = missing_effect(input, &WorkState::observe(input)?) {
            let message = format!("{}, and {why}", describe_exit(&output));
            return Err(Fault::assertion("command.without-effect", message));
        }
        Ok(Completion::changed(describe_exit(&output), output))
    }

    fn observe(job: &Job, input: &Input) -> Result<Json> {
        let work_state = WorkState::observe(input)?;
        if job.unanswered.is_some() && may_have_begun(&work_state) {
            return Err(Fault::unknown(
                "command.begun",
                "the program was started and nobody saw it end: it may have done a part of its \
                 work, and what it started may still run",
            ));
        }
        Ok(work_state.to_json())
    }
}

/// Whether a program whose end nobody saw may have done a part of its work. Unfinished work does
/// not prove that the program was not started.
fn may_have_begun(work_state: &WorkState) -> bool {
    work_state.created == Some(false) || work_state.needed == Some(true)
}

/// The signs that the program did not do its work, although its exit code means success.
fn missing_effect(input: &Input, work_state: &WorkState) -> Option<String> {
    let mut reasons = Vec::new();
    if work_state.created == Some(false) {
        let path = input.creates.as_deref().unwrap_or_default();
        reasons.push(format!("there is no `{path}`, which it creates"));
    }
    if work_state.needed == Some(true) {
        reasons.push("the condition says that it is still needed".to_owned());
    }
    (!reasons.is_empty()).then(|| reasons.join(", and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(input: Json) -> Input {
        serde_json::from_value(input).expect("the input fits")
    }

    #[test]
    fn the_program_runs_unless_the_file_exists_or_the_condition_says_no() {
        let input = input(json!({ "creates": "app.conf" }));
        for (created, needed, is_run) in [
            (None, None, true),
            (None, Some(true), true),
            (None, Some(false), false),
            (Some(false), None, true),
            (Some(true), None, false),
            (Some(false), Some(true), true),
            (Some(false), Some(false), false),
            (Some(true), Some(true), false),
            (Some(true), Some(false), false),
        ] {
            let work_state = WorkState { created, needed };
            assert_eq!(work_state.skip_reason(&input).is_none(), is_run, "{work_state:?}");
            assert_eq!(work_state.to_json().is_null(), created.is_none() && needed.is_none());
        }
    }

    #[test]
    fn a_missing_effect_is_a_failure_whatever_the_exit_code() {
        let input = input(json!({ "creates": "app.conf" }));
        let failure = |created, needed| missing_effect(&input, &WorkState { created, needed });
        assert_eq!(failure(Some(true), Some(false)), None);
        assert_eq!(failure(None, None), None);
        assert_eq!(
            failure(Some(false), Some(true)).as_deref(),
            Some(
                "there is no `app.conf`, which it creates, and the condition says that it is still \
                 needed"
            )
        );
    }

    #[test]
    fn a_condition_with_any_other_exit_code_is_a_fault() {
        let condition = |value: Json| -> Condition {
            serde_json::from_value(value).expect("the condition fits")
        };
        let output = |exit_code| Output {
            exit_code,
            stdout: String::new(),
            stderr: "cannot connect\n".to_owned(),
            truncated: false,
        };
        let default = condition(json!({}));
        assert_eq!(default.judge(&output(0)).ok(), Some(true));
        assert_eq!(default.judge(&output(1)).ok(), Some(false));
        for exit_code in [-9, 2, 126, 127, 255] {
            let fault = default.judge(&output(exit_code)).expect_err("it says nothing");
            assert!(fault.message.contains("cannot connect"), "{}", fault.message);
        }
        let other = condition(json!({ "exit_codes": [3], "otherwise": [0, 4] }));
        assert_eq!(other.judge(&output(3)).ok(), Some(true));
        assert_eq!(other.judge(&output(4)).ok(), Some(false));
        assert!(other.judge(&output(1)).is_err());
        let inverted = condition(json!({ "exit_codes": [1] }));
        assert_eq!(inverted.judge(&output(1)).ok(), Some(true));
        assert_eq!(inverted.judge(&output(0)).ok(), Some(false));
        let ambiguous_code = condition(json!({ "exit_codes": [0, 2], "otherwise": [2] }));
        assert!(ambiguous_code.judge(&output(0)).is_err(), "before anything is run");
    }

    #[test]
    fn an_empty_condition_is_refused() {
        let is_refused = |value: Json| serde_json::from_value::<Input>(value).is_err();
        for empty_value in [Json::Null, json!(""), json!("  "), json!(3)] {
            assert!(is_refused(json!({ "creates": empty_value })), "{empty_value}");
        }
        for empty_value in [Json::Null, json!(""), json!([])] {
            assert!(is_refused(json!({ "only_if": empty_value })), "{empty_value}");
        }
        assert!(!is_refused(json!({})) && !is_refused(json!({ "creates": "a", "only_if": {} })));
    }

    #[test]
    fn an_unfinished_program_may_have_begun() {
        for (created, needed, expected) in [
            (None, None, false),
            (Some(true), None, false),
            (Some(true), Some(false), false),
            (Some(false), None, true),
            (None, Some(true), true),
            (Some(true), Some(true), true),
            (Some(false), Some(false), true),
        ] {
            assert_eq!(
                may_have_begun(&WorkState { created, needed }),
                expected,
                "{created:?} {needed:?}"
            );
        }
    }
}
