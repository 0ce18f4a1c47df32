//! The bundled plugin `smoke`: runs a scenario of several HTTP requests against an application.

mod case;
mod values;

use case::Case;
use runbook_sdk::prelude::*;
use values::Values;

/// The scenario.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What to try, in this order. A case that uses a value that an earlier one failed to capture
    /// is `unknown`.
    cases: Vec<Case>,
    /// Requests that always run at the end, to remove what the cases made. One whose values were
    /// never captured is `unknown`.
    #[serde(default)]
    cleanup: Vec<Case>,
}

fn run(_job: &Job, input: Input) -> Result<Vec<Verdict>> {
    if input.cases.is_empty() {
        return Err(Fault::invalid(
            "smoke.no-case",
            "the scenario has no case, so it would prove nothing",
        ));
    }
    for case in input.cases.iter().chain(&input.cleanup) {
        if let Some(text) = case.find_secret_reference() {
            let message = format!(
                "case `{}` would send the text `{text}` as it stands: a request never names a \
                 secret. For a header, bind the secret to the slot `token` and say `auth = true`; \
                 for a body, bind it to `password` and say `password_at`. `positions` of its \
                 target says where it goes: `header`, `basic`, `json` or `form` \
                 (`runbook explain targets.positions`)",
                case.name()
            );
            return Err(Fault::invalid("smoke.secret-text", message));
        }
    }
    let mut values = Values::default();
    let mut verdicts: Vec<_> = input.cases.iter().map(|case| case.run(&mut values)).collect();
    for case in &input.cleanup {
        let mut verdict = case.run(&mut values);
        // The prefix tells the engine which cases prove that nothing is left behind. A cleanup case
        // whose value was never captured proves nothing: the object may exist.
        verdict.name = format!("cleanup: {}", verdict.name);
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

runbook_sdk::plugin! { smoke_tests: { "run" => run } }
