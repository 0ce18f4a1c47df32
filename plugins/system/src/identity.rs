//! `system:identity`

use runbook_sdk::prelude::*;
use runbook_sdk::system::{Machine, MachineIdentity};

/// What the machine must be. What is absent is not compared.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its host name.
    hostname: Option<String>,
    /// How the release of its kernel begins, such as `6.12.`.
    kernel: Option<String>,
    /// The `ID` of its distribution, such as `debian`.
    distribution: Option<String>,
    /// Its `VERSION_ID`, such as `13`.
    version: Option<String>,
}

/// What the machine is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    hostname: String,
    /// The release of the kernel.
    kernel: String,
    /// Empty if the machine does not say, as are the next two.
    distribution: String,
    version: String,
    /// Such as `Debian GNU/Linux 13 (trixie)`.
    title: String,
    /// Whether the runbook runs in a container.
    in_container: bool,
}

pub(crate) fn identity(_job: &Job, input: Input) -> Result<Report<Output>> {
    Ok(report(&input, Machine::slot(slot!("machine")).identity()?))
}

fn report(input: &Input, found: MachineIdentity) -> Report<Output> {
    let mut assertions = Assertions::new();
    for (what, expected, found) in [
        ("the host name", &input.hostname, &found.hostname),
        ("the distribution", &input.distribution, &found.distribution),
        ("its version", &input.version, &found.version),
    ] {
        if let Some(expected) = expected {
            assertions.equals(what, found, expected);
        }
    }
    if let Some(start) = &input.kernel {
        assertions.holds(found.kernel.starts_with(start.as_str()), || {
            format!("the kernel is {}, expected {start}", found.kernel)
        });
    }
    let summary = if assertions.all_hold() {
        let title = if found.title.is_empty() { "an unknown distribution" } else { &found.title };
        format!("{}: {title}, kernel {}", found.hostname, found.kernel)
    } else {
        assertions.failures().join("; ")
    };
    let output = Output {
        hostname: found.hostname,
        kernel: found.kernel,
        distribution: found.distribution,
        version: found.version,
        title: found.title,
        in_container: found.in_container,
    };
    Report::pass_if(assertions.all_hold(), summary, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_compared() {
        let found = || MachineIdentity {
            hostname: "web-1".to_owned(),
            kernel: "6.12.9-amd64".to_owned(),
            distribution: "debian".to_owned(),
            version: "13".to_owned(),
            title: "Debian GNU/Linux 13 (trixie)".to_owned(),
            in_container: false,
        };
        for (input, holds) in [
            (json!({}), true),
            (json!({ "hostname": "web-1", "kernel": "6.12.", "version": "13" }), true),
            (json!({ "hostname": "web-2" }), false),
            (json!({ "kernel": "6.1.", "distribution": "debian" }), false),
            (json!({ "version": "12" }), false),
        ] {
            let parsed: Input = serde_json::from_value(input.clone()).expect("good input");
            assert_eq!(report(&parsed, found()).outcome == Outcome::Pass, holds, "{input}");
        }
    }
}
