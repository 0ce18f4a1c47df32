//! `command:run`

use crate::expectation::{Output, ending, only_zero};
use crate::with_arguments;
use runbook_sdk::files::Directory;
use runbook_sdk::prelude::*;
use runbook_sdk::process::Program;

/// How the program is called, and how it is told that it is not needed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The arguments of the program.
    #[serde(default)]
    arguments: Vec<String>,
    /// The exit codes that mean that it did what it is for; `[0]` if absent.
    #[serde(default = "only_zero")]
    exit_codes: Vec<i32>,
    /// A file in the folder of the slot `files`. If it is there, the program is not run; after the
    /// program it must be there.
    creates: Option<String>,
    /// The program of the slot `condition`. The program is run only if this one ends with one of
    /// its exit codes; afterwards it must not.
    only_if: Option<Condition>,
}

/// How a condition is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// The arguments of the program of the slot `condition`.
    #[serde(default)]
    arguments: Vec<String>,
    /// The exit codes that mean that the step is needed; `[0]` if absent.
    #[serde(default = "only_zero")]
    exit_codes: Vec<i32>,
    /// The exit codes that mean that it is not; `[1]` if absent. Every other one says nothing, so
    /// nothing is done.
    #[serde(default = "only_one")]
    otherwise: Vec<i32>,
}

fn only_one() -> Vec<i32> {
    vec![1]
}

/// What can be seen of whether the program did what it is for.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Whether the file that it creates is there.
    created: Option<bool>,
    /// Whether the condition says that it is needed.
    needed: Option<bool>,
}

impl Seen {
    fn look(input: &Input) -> Result<Self> {
        let created = input.creates.as_deref().map(is_there).transpose()?;
        // What is there already need not be asked about.
        let needed = input.only_if.as_ref().map(Condition::holds).transpose()?;
        Ok(Self { created, needed })
    }

    /// Why the program is not run.
    fn why_not(&self, input: &Input) -> Option<String> {
        match (self.created, self.needed) {
            (Some(true), _) => {
                Some(format!("`{}` is there already", input.creates.as_deref().unwrap_or_default()))
            }
            (_, Some(false)) => Some("the condition says that it is not needed".to_owned()),
            (Some(false) | None, Some(true) | None) => None,
        }
    }

    /// What is compared after an undo and after a crash: nothing, if nothing can be seen.
    fn state(&self) -> Json {
        match (self.created, self.needed) {
            (None, None) => Json::Null,
            (created, needed) => json!({ "created": created, "needed": needed }),
        }
    }
}

fn is_there(path: &str) -> Result<bool> {
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
        match output.exit_code {
            code if self.exit_codes.contains(&code) => Ok(true),
            code if self.otherwise.contains(&code) => Ok(false),
            _ => {
                let message = format!("the condition says neither yes nor no: {}", ending(output));
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
        let seen = Seen::look(input)?;
        if let Some(why) = seen.why_not(input) {
            return Ok(Proposal::nothing(why, seen.state()));
        }
        let effect = arguments_effect("process.run", "the program", &input.arguments);
        Ok(Proposal::one(effect, seen.state()))
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            let nothing = Output {
                exit_code: 0,
                stdout: String::new(),
                stderr: String::new(),
                truncated: false,
            };
            return Ok(Completion::unchanged(proposal.summary.clone(), nothing));
        }
        let program = with_arguments(Program::slot(slot!("program")), &input.arguments);
        let output = Output::from(&program.run()?);
        if !input.exit_codes.contains(&output.exit_code) {
            return Err(Fault::assertion("command.failed", ending(&output)));
        }
        if let Some(why) = undone(input, &Seen::look(input)?) {
            let message = format!("{}, and {why}", ending(&output));
            return Err(Fault::assertion("command.without-effect", message));
        }
        Ok(Completion::changed(ending(&output), output))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        Seen::look(input).map(|seen| seen.state())
    }
}

/// What shows that the program did not do what it is for, although its exit code says so.
fn undone(input: &Input, seen: &Seen) -> Option<String> {
    let mut reasons = Vec::new();
    if seen.created == Some(false) {
        let path = input.creates.as_deref().unwrap_or_default();
        reasons.push(format!("there is no `{path}`, which it creates"));
    }
    if seen.needed == Some(true) {
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
    fn it_is_run_unless_the_file_is_there_or_the_condition_says_no() {
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
            let seen = Seen { created, needed };
            assert_eq!(seen.why_not(&input).is_none(), is_run, "{seen:?}");
            assert_eq!(seen.state().is_null(), created.is_none() && needed.is_none());
        }
    }

    #[test]
    fn what_shows_that_nothing_was_done_is_a_failure_whatever_the_exit_code() {
        let input = input(json!({ "creates": "app.conf" }));
        let failure = |created, needed| undone(&input, &Seen { created, needed });
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
    fn a_condition_that_could_not_be_asked_is_neither_yes_nor_no() {
        let condition = |written: Json| -> Condition {
            serde_json::from_value(written).expect("the condition fits")
        };
        let ended = |exit_code| Output {
            exit_code,
            stdout: String::new(),
            stderr: "cannot connect\n".to_owned(),
            truncated: false,
        };
        let default = condition(json!({}));
        assert_eq!(default.judge(&ended(0)).ok(), Some(true));
        assert_eq!(default.judge(&ended(1)).ok(), Some(false));
        for exit_code in [-9, 2, 126, 127, 255] {
            let fault = default.judge(&ended(exit_code)).expect_err("it says nothing");
            assert!(fault.message.contains("cannot connect"), "{}", fault.message);
        }
        let other = condition(json!({ "exit_codes": [3], "otherwise": [0, 4] }));
        assert_eq!(other.judge(&ended(3)).ok(), Some(true));
        assert_eq!(other.judge(&ended(4)).ok(), Some(false));
        assert!(other.judge(&ended(1)).is_err());
    }
}
