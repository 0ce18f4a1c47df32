//! `systemd:failed`

use crate::units;
use runbook_sdk::prelude::*;
use runbook_sdk::system::UnitList;

/// How many failed units are allowed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// More are a failure.
    #[serde(default)]
    max: u32,
}

/// The units that have failed, of those that the target lets be seen.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Their names.
    failed: Vec<String>,
    /// How many units were looked at.
    count: u32,
    /// Whether some were left out, because of `max_rows` of the target.
    truncated: bool,
}

pub(crate) fn failed(_job: &Job, input: Input) -> Result<Report<Output>> {
    Ok(report(&input, units().list()?))
}

fn report(input: &Input, found: UnitList) -> Report<Output> {
    let failed: Vec<String> = found
        .found
        .into_iter()
        .filter(|unit| unit.active == "failed")
        .map(|unit| unit.name)
        .collect();
    let is_too_many = failed.len() as u64 > u64::from(input.max);
    let outcome = match (is_too_many, found.cut) {
        (true, _) => Outcome::Fail,
        (false, true) => Outcome::Unknown,
        (false, false) => Outcome::Pass,
    };
    let mut summary = if failed.is_empty() {
        format!("none of {} units has failed", found.count)
    } else {
        format!("failed: {}", failed.join(", "))
    };
    if found.cut {
        summary.push_str("; more units than the target lets through");
    }
    let output = Output { failed, count: found.count, truncated: found.cut };
    Report::new(outcome, summary, output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::system::UnitRow;

    #[test]
    fn a_failed_unit_is_named_and_a_cut_list_does_not_pass() {
        let list = |states: &[&str], cut: bool| UnitList {
            found: states
                .iter()
                .map(|state| UnitRow {
                    name: format!("{state}.service"),
                    description: String::new(),
                    load: "loaded".to_owned(),
                    active: (*state).to_owned(),
                    sub: String::new(),
                })
                .collect(),
            count: 9,
            cut,
        };
        for (states, cut, max, outcome) in [
            (&["active", "inactive"][..], false, 0, Outcome::Pass),
            (&["active", "failed"], false, 0, Outcome::Fail),
            (&["active", "failed"], false, 1, Outcome::Pass),
            (&["active"], true, 0, Outcome::Unknown),
        ] {
            let report = report(&Input { max }, list(states, cut));
            assert_eq!(report.outcome, outcome, "{}", report.summary);
        }
    }
}
