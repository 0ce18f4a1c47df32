//! `systemd:unit`

use crate::units;
use runbook_sdk::prelude::*;
use runbook_sdk::system::{ExitKind, Unit};

/// Which unit, and what it must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its full name, such as `nginx.service`.
    unit: String,
    /// Its active state: `active` if absent.
    #[serde(default = "default_active")]
    active: String,
    /// Its sub-state, such as `running` or `exited`; any, if absent.
    sub: Option<String>,
    /// Whether it starts with the machine, such as `enabled`; any, if absent.
    file_state: Option<String>,
    /// More restarts by systemd are a warning.
    warn_restarts: Option<u32>,
    /// A shorter time in this state is a warning.
    warn_younger: Option<Span>,
}

fn default_active() -> String {
    "active".to_owned()
}

/// What systemd knows of the unit.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    name: String,
    description: String,
    /// `loaded`, `not-found`, `masked`, ….
    load: String,
    /// `active`, `inactive`, `failed`, `activating`, ….
    active: String,
    /// Such as `running`, `dead` or `exited`.
    sub: String,
    /// `enabled`, `disabled`, `static`, …; empty for a unit without a file.
    file_state: String,
    /// Milliseconds since 1970 of the last change of its state.
    since_ms: u64,
    /// The main process, while it runs.
    pid: Option<u32>,
    /// How often systemd has restarted it by itself.
    restarts: u32,
    /// How a service ended: `success`, `exit-code`, `signal`, `timeout`, ….
    outcome: String,
    /// The exit code of the main process, if it has ended by itself.
    exit_code: Option<i32>,
    /// The signal that ended the main process, if one did.
    signal: Option<i32>,
}

pub(crate) fn unit(_job: &Job, input: Input) -> Result<Report<Output>> {
    let found = units().unit(&input.unit)?;
    Ok(report(&input, found, clock::now_ms()))
}

fn report(input: &Input, found: Unit, now_ms: u64) -> Report<Output> {
    let exit_code = found.last_exit.filter(|exit| exit.kind == ExitKind::Exited);
    let signal = found.last_exit.filter(|exit| exit.kind != ExitKind::Exited);
    let (exit_code, signal) = (exit_code.map(|exit| exit.status), signal.map(|exit| exit.status));
    let mut failures = Assertions::new();
    failures.holds(found.load == "loaded", || format!("{} is `{}`", input.unit, found.load));
    failures.equals("its state", &found.active, &input.active);
    if let Some(sub) = &input.sub {
        failures.equals("its sub-state", &found.sub, sub);
    }
    if let Some(file_state) = &input.file_state {
        failures.equals("its file", &found.file_state, file_state);
    }
    let age_s = now_ms.saturating_sub(found.since_ms) / 1000;
    let mut warnings = Assertions::new();
    if let Some(most) = input.warn_restarts {
        warnings.holds(found.restarts <= most, || {
            format!("systemd has restarted it {} times", found.restarts)
        });
    }
    if let Some(limit) = input.warn_younger {
        warnings.holds(age_s >= limit.as_secs(), || format!("it is so for {age_s} s only"));
    }
    let outcome = match (failures.all_hold(), warnings.all_hold()) {
        (false, _) => Outcome::Fail,
        (true, false) => Outcome::Warn,
        (true, true) => Outcome::Pass,
    };
    let mut parts = failures.failures().to_vec();
    parts.extend_from_slice(warnings.failures());
    if parts.is_empty() {
        parts.push(format!("{} ({})", found.active, found.sub));
    }
    if !failures.all_hold() {
        parts.extend(exit_code.map(|code| format!("its last exit code was {code}")));
        parts.extend(signal.map(|signal| format!("signal {signal} ended it")));
    }
    let summary = format!("{}: {}", input.unit, parts.join("; "));
    let restarts = measurement("restarts", found.restarts.into(), "");
    let restarts =
        Measurement { warn: input.warn_restarts.map(|most| most.to_string()), ..restarts };
    let output = Output {
        name: found.name,
        description: found.description,
        load: found.load,
        active: found.active,
        sub: found.sub,
        file_state: found.file_state,
        since_ms: found.since_ms,
        pid: found.pid,
        restarts: found.restarts,
        outcome: found.outcome,
        exit_code,
        signal,
    };
    Report::new(outcome, summary, output).measure(restarts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::system::UnitExit;

    fn found(load: &str, active: &str, exit: Option<(ExitKind, i32)>) -> Unit {
        Unit {
            name: "a.service".to_owned(),
            description: String::new(),
            load: load.to_owned(),
            active: active.to_owned(),
            sub: "running".to_owned(),
            file_state: "enabled".to_owned(),
            since_ms: 50_000,
            pid: None,
            restarts: 3,
            outcome: "success".to_owned(),
            last_exit: exit.map(|(kind, status)| UnitExit { kind, status, at_ms: 0 }),
        }
    }

    #[test]
    fn state_restarts_and_age_are_compared_and_the_last_exit_is_told() {
        for (input, found, outcome, words) in [
            (json!({}), found("loaded", "active", None), Outcome::Pass, "active (running)"),
            (json!({}), found("not-found", "inactive", None), Outcome::Fail, "is `not-found`"),
            (
                json!({}),
                found("loaded", "failed", Some((ExitKind::Exited, 7))),
                Outcome::Fail,
                "its last exit code was 7",
            ),
            (
                json!({}),
                found("loaded", "failed", Some((ExitKind::Killed, 9))),
                Outcome::Fail,
                "signal 9 ended it",
            ),
            (json!({ "active": "inactive" }), found("loaded", "inactive", None), Outcome::Pass, ""),
            (json!({ "sub": "exited" }), found("loaded", "active", None), Outcome::Fail, "running"),
            (json!({ "warn_restarts": 3 }), found("loaded", "active", None), Outcome::Pass, ""),
            (
                json!({ "warn_restarts": 2 }),
                found("loaded", "active", None),
                Outcome::Warn,
                "3 times",
            ),
            (json!({ "warn_younger": "10s" }), found("loaded", "active", None), Outcome::Pass, ""),
            (
                json!({ "warn_younger": "11s" }),
                found("loaded", "active", None),
                Outcome::Warn,
                "10 s",
            ),
        ] {
            let mut input = input;
            input["unit"] = json!("a.service");
            let parsed: Input = serde_json::from_value(input.clone()).expect("good input");
            let report = report(&parsed, found, 60_000);
            assert_eq!(report.outcome, outcome, "{input}: {}", report.summary);
            assert!(report.summary.contains(words), "{input}: {}", report.summary);
        }
    }
}
