//! `system:port`

use runbook_sdk::prelude::*;
use runbook_sdk::system::{Listener as Found, ListenerList, Machine, Protocol as FoundProtocol};

/// Which port must listen.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its number.
    port: u16,
    /// `tcp` or `udp`.
    #[serde(default)]
    protocol: Protocol,
    /// The address that it must listen on, such as `127.0.0.1`; any, if absent.
    address: Option<String>,
    /// The name of the process that must have it. The target must list it in `processes`.
    process: Option<String>,
    /// Whether it must not listen.
    #[serde(default)]
    absent: bool,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Protocol {
    #[default]
    Tcp,
    Udp,
}

/// What listens on the port.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    listeners: Vec<Listener>,
    /// Whether some were left out, because of `max_rows` of the target.
    truncated: bool,
    /// Whether they are those of a container.
    in_container: bool,
}

/// One socket.
#[derive(Serialize, JsonSchema)]
struct Listener {
    protocol: Protocol,
    address: String,
    port: u16,
    /// The process that has it, if that may be seen.
    process: Option<String>,
}

pub(crate) fn port(_job: &Job, input: Input) -> Result<Report<Output>> {
    let found = Machine::slot(slot!("machine")).ports(Some(input.port))?;
    Ok(report(&input, found))
}

fn report(input: &Input, found: ListenerList) -> Report<Output> {
    let all: Vec<Listener> = found.found.into_iter().map(listener).collect();
    let of_protocol: Vec<_> = all
        .iter()
        .filter(|one| one.protocol == input.protocol)
        .filter(|one| input.address.as_ref().is_none_or(|address| *address == one.address))
        .collect();
    let fits = |one: &&&Listener| input.process.is_none() || one.process == input.process;
    let is_there = of_protocol.iter().any(|one| fits(&one));
    let word = match input.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let place = input.address.as_ref().map(|address| format!(" on {address}")).unwrap_or_default();
    let names: Vec<&str> = of_protocol.iter().filter_map(|one| one.process.as_deref()).collect();
    let (outcome, mut summary) = match (of_protocol.is_empty(), is_there, input.absent) {
        (false, true, false) => {
            let by = names.first().map(|name| format!(", by `{name}`")).unwrap_or_default();
            (Outcome::Pass, format!("{word} port {} listens{place}{by}", input.port))
        }
        (false, true, true) => {
            (Outcome::Fail, format!("{word} port {} listens{place}", input.port))
        }
        (false, false, is_absent) => {
            let wanted = input.process.as_deref().unwrap_or_default();
            let outcome = match (is_absent, names.is_empty()) {
                (true, false) => Outcome::Pass,
                (false, false) => Outcome::Fail,
                // Whose it is cannot be seen.
                (_, true) => Outcome::Unknown,
            };
            let by = if names.is_empty() {
                format!(
                    "; whether `{wanted}` has it cannot be seen: that needs the part `processes` \
                     with `{wanted}` in the target, and the rights to see its owner"
                )
            } else {
                format!(" by `{}`, not by `{wanted}`", names.join("`, `"))
            };
            (outcome, format!("{word} port {} listens{place}{by}", input.port))
        }
        (true, _, is_absent) => {
            let outcome = if is_absent { Outcome::Pass } else { Outcome::Fail };
            (outcome, format!("{word} port {} does not listen{place}", input.port))
        }
    };
    let is_sure = outcome == Outcome::Pass && !input.absent;
    if found.cut {
        summary.push_str("; more listen there than the target lets through");
    }
    let outcome = if found.cut && !is_sure { Outcome::Unknown } else { outcome };
    let output = Output { listeners: all, truncated: found.cut, in_container: found.in_container };
    Report::new(outcome, summary, output)
}

fn listener(found: Found) -> Listener {
    let protocol = match found.protocol {
        FoundProtocol::Tcp => Protocol::Tcp,
        FoundProtocol::Udp => Protocol::Udp,
    };
    Listener { protocol, address: found.address, port: found.port, process: found.process }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(input: &Json, found: &[(FoundProtocol, &str, Option<&str>)], cut: bool) -> Outcome {
        let input: Input = serde_json::from_value(input.clone()).expect("good input");
        let listener = |(protocol, address, process): &(FoundProtocol, &str, Option<&str>)| Found {
            protocol: *protocol,
            address: (*address).to_owned(),
            port: 5432,
            process: process.map(str::to_owned),
        };
        let found = found.iter().map(listener).collect();
        report(&input, ListenerList { found, count: 1, cut, in_container: false }).outcome
    }

    #[test]
    fn protocol_address_and_process_of_a_port_are_compared() {
        let postgres = [(FoundProtocol::Tcp, "127.0.0.1", Some("postgres"))];
        let hidden = [(FoundProtocol::Tcp, "0.0.0.0", None)];
        for (input, found, outcome) in [
            (json!({ "port": 5432 }), &postgres[..], Outcome::Pass),
            (json!({ "port": 5432 }), &[], Outcome::Fail),
            (json!({ "port": 5432, "absent": true }), &[], Outcome::Pass),
            (json!({ "port": 5432, "absent": true }), &postgres, Outcome::Fail),
            (json!({ "port": 5432, "protocol": "udp" }), &postgres, Outcome::Fail),
            (json!({ "port": 5432, "address": "127.0.0.1" }), &postgres, Outcome::Pass),
            (json!({ "port": 5432, "address": "0.0.0.0" }), &postgres, Outcome::Fail),
            (json!({ "port": 5432, "process": "postgres" }), &postgres, Outcome::Pass),
            (json!({ "port": 5432, "process": "mysqld" }), &postgres, Outcome::Fail),
            (
                json!({ "port": 5432, "process": "mysqld", "absent": true }),
                &postgres,
                Outcome::Pass,
            ),
            (json!({ "port": 5432, "process": "postgres" }), &hidden, Outcome::Unknown),
        ] {
            assert_eq!(judged(&input, found, false), outcome, "{input}");
        }
        assert_eq!(judged(&json!({ "port": 5432 }), &[], true), Outcome::Unknown);
        assert_eq!(judged(&json!({ "port": 5432 }), &postgres, true), Outcome::Pass);
    }
}
