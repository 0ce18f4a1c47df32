//! Servers, what is said to them, and names that are looked up.

use super::{Judgment, Rule};
use crate::targets::{NetTarget, NotListed};
use std::net::SocketAddr;

/// Judges a server and every line that is to be said to it, before anything is connected to.
pub(super) fn judge_conversation(
    target: &NetTarget,
    host: Option<&str>,
    port: Option<u16>,
    says: &[&str],
) -> Judgment {
    target.endpoint(host, port).map_err(refused)?;
    match says.iter().find(|line| !target.may_say(line)) {
        Some(line) if target.questions.is_empty() => {
            let reason = format!("the target lets nothing be said, and this is `{}`", shown(line));
            Err((Rule::Questions, reason))
        }
        Some(line) => {
            let reason = format!("`{}` fits none of {}", shown(line), listed(&target.questions));
            Err((Rule::Questions, reason))
        }
        None => Ok(()),
    }
}

pub(super) fn judge_lookup(target: &NetTarget, name: Option<&str>) -> Judgment {
    target.name(name).map(drop).map_err(refused)
}

/// Only the resolver of the target is asked, if it names one; else those of the system, which are
/// asked for every other name of this host too.
pub(super) fn judge_resolver(target: &NetTarget, resolver: SocketAddr) -> Judgment {
    match target.resolver {
        Some(own) if own != resolver => {
            Err((Rule::Resolver, format!("{resolver} is not the target's resolver, {own}")))
        }
        Some(_) | None => Ok(()),
    }
}

fn refused(why: NotListed) -> (Rule, String) {
    match why {
        NotListed::Host(host) => {
            (Rule::Host, format!("`{}` is not among the target's hosts", shown(&host)))
        }
        NotListed::Port(port) => (Rule::Port, format!("{port} is not among the target's ports")),
        NotListed::Name(name) => {
            (Rule::Name, format!("`{}` is not among the names of the target", shown(&name)))
        }
        NotListed::NoHost(known) => (Rule::Host, unnamed("host", known)),
        NotListed::NoPort(known) => (Rule::Port, unnamed("port", known)),
        NotListed::NoName(known) => (Rule::Name, unnamed("name", known)),
    }
}

fn unnamed(what: &str, known: usize) -> String {
    format!("the call names no {what}, and the target lists {known} of them")
}

fn listed(patterns: &[String]) -> String {
    patterns.iter().map(|pattern| format!("`{pattern}`")).collect::<Vec<_>>().join(", ")
}

fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}
