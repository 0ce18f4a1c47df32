//! `system:users`

use runbook_sdk::assertion::pluralize;
use runbook_sdk::prelude::*;
use runbook_sdk::system::{Machine, Session as Found, SessionList};

/// Who may be logged in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// More sessions are a failure; any number may be there if absent.
    max: Option<u32>,
    /// Names of users who may be logged in; anybody may, if absent.
    allowed: Option<Vec<String>>,
}

/// Who is logged in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    sessions: Vec<Session>,
    /// How many sessions there are, with those that were left out.
    count: u32,
    /// Whether some were left out, because of `max_rows` of the target.
    truncated: bool,
    /// Whether they are those of a container.
    in_container: bool,
}

/// One session.
#[derive(Serialize, JsonSchema)]
struct Session {
    user: String,
    terminal: String,
    /// The host that the user came from, if over a network.
    remote: Option<String>,
    /// Milliseconds since 1970.
    since_ms: u64,
}

pub(crate) fn users(_job: &Job, input: Input) -> Result<Report<Output>> {
    Ok(report(&input, Machine::slot(slot!("machine")).users()?))
}

fn report(input: &Input, found: SessionList) -> Report<Output> {
    let mut assertions = Assertions::new();
    if let Some(max) = input.max {
        assertions.holds(found.count <= max, || {
            format!("{} are open, expected {max} at most", pluralize(found.count.into(), "session"))
        });
    }
    let is_allowed = |session: &Found| {
        input.allowed.as_ref().is_none_or(|allowed| allowed.contains(&session.user))
    };
    for session in found.found.iter().filter(|session| !is_allowed(session)) {
        assertions.holds(false, || format!("`{}` is logged in", session.user));
    }
    let outcome = if !assertions.all_hold() {
        Outcome::Fail
    } else if found.cut && input.allowed.is_some() {
        Outcome::Unknown
    } else {
        Outcome::Pass
    };
    let mut summary = if assertions.all_hold() {
        format!("{} open", pluralize(found.count.into(), "session"))
    } else {
        assertions.failures().join("; ")
    };
    if found.cut {
        summary.push_str("; more than the target lets through");
    }
    let measured = measurement("sessions", found.count.into(), "");
    let measured = Measurement { crit: input.max.map(|max| max.to_string()), ..measured };
    let session = |one: Found| Session {
        user: one.user,
        terminal: one.terminal,
        remote: one.remote,
        since_ms: one.since_ms,
    };
    let output = Output {
        sessions: found.found.into_iter().map(session).collect(),
        count: found.count,
        truncated: found.cut,
        in_container: found.in_container,
    };
    Report::new(outcome, summary, output).measure(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_names_are_compared() {
        let sessions = |cut: bool| SessionList {
            found: ["root", "anna"]
                .map(|user| Found {
                    user: user.to_owned(),
                    terminal: "pts/0".to_owned(),
                    remote: None,
                    since_ms: 0,
                })
                .into(),
            count: 2,
            cut,
            in_container: false,
        };
        for (input, cut, outcome) in [
            (json!({}), false, Outcome::Pass),
            (json!({ "max": 2 }), false, Outcome::Pass),
            (json!({ "max": 1 }), false, Outcome::Fail),
            (json!({ "allowed": ["anna", "root"] }), false, Outcome::Pass),
            (json!({ "allowed": ["anna"] }), false, Outcome::Fail),
            (json!({ "allowed": ["anna", "root"] }), true, Outcome::Unknown),
        ] {
            let parsed: Input = serde_json::from_value(input.clone()).expect("good input");
            assert_eq!(report(&parsed, sessions(cut)).outcome, outcome, "{input}");
        }
    }
}
