//! Explains the codes of faults, which reports print as `(assertion, engine.expect)`.

use crate::plugins::BUNDLED;
use runbook_authority::Capability;

/// The codes of the engine, without `engine.`, and what each means.
const ENGINE_CODES: &[(&str, &str)] = &[
    ("answer", "A plugin answered with something that does not fit the call. Tell its author."),
    ("cancelled", "The call was stopped, because the run was cancelled or has failed."),
    (
        "cleanup-timeout",
        "`cleanup_timeout` of the runbook was over before this was done. Give it more time, and \
         run `runbook undo RUN`.",
    ),
    (
        "effects-off",
        "It would change something, and this is a plan or a dry run. Nothing was changed.",
    ),
    (
        "expect",
        "The step did not give what `expect` in the runbook, or the operation itself, asks \
                for. The message says what was seen.",
    ),
    (
        "items",
        "What `for_each` names is no list that it can go through, or items of it failed. The \
               message says which.",
    ),
    (
        "items-cut",
        "The list of `for_each` is cut off: there are more items. Raise `max_rows` or \
                   `max_bytes` of the target that it was read from.",
    ),
    (
        "lease-lost",
        "This run may not hold its locks any more, so nothing new was begun. \
                    `runbook locks` says who holds them.",
    ),
    ("manual", "Nobody answered the manual step within its time."),
    (
        "max-effects",
        "The run has made as many effects as `[limits] max_effects` allows, and was \
                     stopped before the next one.",
    ),
    ("operator", "An operator recorded what became of this step."),
    ("params", "The parameters of a nested runbook or suite do not fit what it declares."),
    ("rejected", "An approver rejected this step."),
    (
        "still-needed",
        "What this step made is kept, because a later step that depends on it could not be put \
         back. Repair that one, then `runbook undo RUN`.",
    ),
    (
        "still-runs",
        "What an earlier attempt began is still running outside. Wait until it has \
                    ended, then `runbook resume RUN`.",
    ),
    ("template", "A template or expression has no value. The message names what is missing."),
    (
        "timeout",
        "The step was not done within its `timeout`. Whether it took effect may be unknown.",
    ),
    (
        "undo-cut-off",
        "The undo was stopped in the middle, so whether it took effect is unknown. Look, then \
         `runbook undo RUN`.",
    ),
    (
        "undo-input",
        "The input of `undo` cannot be made, so the step was not begun: nobody could \
                    have put it back.",
    ),
    (
        "unobservable",
        "The step cannot observe its target, so whether its undo took effect is unknown. A person \
         must look.",
    ),
    (
        "until",
        "The expression of `until` did not hold before `within` was over. The message says \
               what was seen last.",
    ),
];

/// The families of codes that are about gateways.
const GATEWAYS: &[&str] = &["ssh", "proxy"];

/// The explanation of a fault code; `None` if the text is not one.
pub fn explain(code: &str) -> Option<String> {
    let (family, name) = code.split_once('.')?;
    let is_a_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    if !is_a_word(name) {
        return None;
    }
    let origin = if family == "engine" {
        let (_, meaning) = ENGINE_CODES.iter().find(|(known, _)| *known == name)?;
        return Some(format!("{code}: a fault of the engine\n  {meaning}\n{CLASS_NOTE}"));
    } else if family == "plugin" {
        "of the bridge between host and plugin: the plugin was given, or gave back, what it does \
         not declare"
            .to_owned()
    } else if GATEWAYS.contains(&family) {
        format!(
            "of a connection through a gateway (`{family}`), whichever target names it as `via`"
        )
    } else {
        let is_plugin = BUNDLED.iter().any(|bundled| bundled.name == family);
        let is_capability = Capability::all().any(|capability| capability.name() == family);
        match (is_capability, is_plugin) {
            (true, true) => format!(
                "of the host's `{family}` calls, or of the bundled plugin `{family}` itself"
            ),
            (true, false) => format!("of the host's `{family}` calls, whichever plugin makes them"),
            (false, true) => format!("of the bundled plugin `{family}`"),
            (false, false) => return None,
        }
    };
    let advice = if family == "plugin" {
        "`runbook plugin inspect FILE` shows what it takes and gives back.".to_owned()
    } else if GATEWAYS.contains(&family) {
        "The message beside it names the gateway and says what happened.".to_owned()
    } else {
        format!(
            "The message beside it says what happened; `runbook plugin inspect {family}` shows \
                 what the plugin does."
        )
    };
    Some(format!("{code}: a fault {origin}\n  {advice}\n{CLASS_NOTE}"))
}

/// Explains the class that a report prints before the code.
const CLASS_NOTE: &str = "  The word before the code in a report is its class, which `retry.on` of a step may name \
     (`runbook explain step.retry.on`).\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_an_unknown_family_is_not_a_code() {
        for word in [
            "nobody.timeout",
            // In two parts: a test collects the codes of the engine from the source files.
            concat!("engine.", "nothing"),
            "engine.",
            "sql",
            "sql.No",
            "step.retry",
        ] {
            assert_eq!(explain(word), None, "{word}");
        }
        assert!(explain("sql.timeout").is_some_and(|text| text.contains("the host's `sql` calls")));
        assert!(
            explain("webhook.status").is_some_and(|text| text.contains("bundled plugin `webhook`"))
        );
    }
}
