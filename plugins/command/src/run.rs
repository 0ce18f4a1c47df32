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
    #[serde(default, deserialize_with = "path_that_is_there")]
    #[schemars(with = "String", length(min = 1))]
    creates: Option<String>,
    /// The program of the slot `condition`. The program is run only if this one ends with one of
    /// its exit codes; afterwards it must not.
    #[serde(default, deserialize_with = "that_is_there")]
    #[schemars(with = "Condition")]
    only_if: Option<Condition>,
}

/// A value that is written must be one: a template that gives nothing would turn the condition off.
fn that_is_there<'de, D, T>(deserializer: D) -> std::result::Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

fn path_that_is_there<'de, D>(deserializer: D) -> std::result::Result<Option<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let path: Option<String> = that_is_there(deserializer)?;
    if path.as_ref().is_some_and(|path| path.trim().is_empty()) {
        return Err(serde::de::Error::custom("`creates` is empty, and names no file"));
    }
    Ok(path)
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
    /// The exit codes that mean that it is not; `[1]` if absent, or `[0]` if 1 is among
    /// `exit_codes`. Every other one says nothing, so nothing is done.
    otherwise: Option<Vec<i32>>,
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
        let otherwise = match &self.otherwise {
            Some(codes) => codes.clone(),
            None if self.exit_codes.contains(&1) => vec![0],
            None => vec![1],
        };
        if let Some(both) = self.exit_codes.iter().find(|code| otherwise.contains(code)) {
            let message = format!(
                "exit code {both} of the condition means both that the step is needed and that it \
                 is not: leave it out of `exit_codes` or of `otherwise`"
            );
            return Err(Fault::invalid("command.condition", message));
        }
        match output.exit_code {
            code if self.exit_codes.contains(&code) => Ok(true),
            code if otherwise.contains(&code) => Ok(false),
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

    fn observe(job: &Job, input: &Input) -> Result<Json> {
        let seen = Seen::look(input)?;
        if job.unanswered.is_some() && may_have_begun(&seen) {
            return Err(Fault::unknown(
                "command.begun",
                "the program was started and nobody saw it end: it may have done a part of its \
                 work, and what it started may still run",
            ));
        }
        Ok(seen.state())
    }
}

/// Whether a program of which nobody saw the end may have done a part of its work: that it is not
/// finished does not say that it was not begun.
fn may_have_begun(seen: &Seen) -> bool {
    seen.created == Some(false) || seen.needed == Some(true)
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
        let turned = condition(json!({ "exit_codes": [1] }));
        assert_eq!(turned.judge(&ended(1)).ok(), Some(true));
        assert_eq!(turned.judge(&ended(0)).ok(), Some(false));
        let both = condition(json!({ "exit_codes": [0, 2], "otherwise": [2] }));
        assert!(both.judge(&ended(0)).is_err(), "before anything is run");
    }

    #[test]
    fn a_condition_that_is_written_is_one() {
        let refused = |written: Json| serde_json::from_value::<Input>(written).is_err();
        for nothing in [Json::Null, json!(""), json!("  "), json!(3)] {
            assert!(refused(json!({ "creates": nothing })), "{nothing}");
        }
        for nothing in [Json::Null, json!(""), json!([])] {
            assert!(refused(json!({ "only_if": nothing })), "{nothing}");
        }
        assert!(!refused(json!({})) && !refused(json!({ "creates": "a", "only_if": {} })));
    }

    #[test]
    fn that_it_is_not_finished_does_not_say_that_it_was_not_begun() {
        for (created, needed, may) in [
            (None, None, false),
            (Some(true), None, false),
            (Some(true), Some(false), false),
            (Some(false), None, true),
            (None, Some(true), true),
            (Some(true), Some(true), true),
            (Some(false), Some(false), true),
        ] {
            assert_eq!(may_have_begun(&Seen { created, needed }), may, "{created:?} {needed:?}");
        }
    }
}
