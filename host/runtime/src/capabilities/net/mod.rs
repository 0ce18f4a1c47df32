//! Servers over TCP and TLS, and DNS names: only those that a slot's target lists. The gate decides
//! about the server and every line to send before a name is resolved, and then about each address
//! before the host connects to it.

mod certificate;
mod conversation;
mod failure;
mod inspection;
mod lookup;
mod reachability;

use crate::bindings::runbook::net::types::{
    Connection, Endpoint, Inspection, RecordKind, Resolution, Turn,
};
use crate::bindings::runbook::net::{connect, dns, tls, types};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::net::allowed_addresses::Server;
use conversation::Conversation;
use failure::Failure;
use runbook_authority::targets::NetTarget;
use runbook_authority::{GateRequest, Target, Verb};
use runbook_secrets::Scrubber;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most turns of one conversation.
const MAX_TURNS: usize = 32;

/// The most bytes of a text that a conversation waits for.
const MAX_UNTIL: usize = 1024;

impl types::Host for HostCall<'_> {}

impl connect::Host for HostCall<'_> {
    async fn check(
        &mut self,
        slot: String,
        endpoint: Endpoint,
        turns: Vec<Turn>,
    ) -> Result<Connection, Fault> {
        let says: Vec<&str> = turns.iter().filter_map(|turn| turn.say.as_deref()).collect();
        let access = self.server_access(&slot, Verb::NetConnect, &endpoint, &says)?;
        check_turns(&turns)?;
        let within = access.within;
        let done = tokio::time::timeout(within, self.converse(&access, &turns)).await;
        let connection = done.map_err(|_| access.timeout_fault()).and_then(|done| done);
        connection.map_err(|fault| self.scrubbed_fault(fault))
    }
}

impl tls::Host for HostCall<'_> {
    async fn inspect(&mut self, slot: String, endpoint: Endpoint) -> Result<Inspection, Fault> {
        let access = self.server_access(&slot, Verb::NetInspectTls, &endpoint, &[])?;
        let within = access.within;
        let done = tokio::time::timeout(within, self.inspection(&access)).await;
        let inspection = done.map_err(|_| access.timeout_fault()).and_then(|done| done);
        inspection.map_err(|fault| self.scrubbed_fault(fault))
    }
}

impl dns::Host for HostCall<'_> {
    async fn lookup(
        &mut self,
        slot: String,
        name: Option<String>,
        kind: RecordKind,
    ) -> Result<Resolution, Fault> {
        let resolution = self.resolution(&slot, name.as_deref(), kind).await;
        resolution.map_err(|fault| self.scrubbed_fault(fault))
    }
}

/// A server of a slot that the gate has allowed.
struct ServerAccess {
    slot: String,
    verb: Verb,
    target: Arc<Target>,
    host: String,
    port: u16,
    within: Duration,
}

impl ServerAccess {
    fn net(&self) -> &NetTarget {
        net_target(&self.target)
    }

    /// `db.internal:5432`
    fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn server(&self) -> Server<'_> {
        Server {
            slot: &self.slot,
            verb: self.verb,
            host: &self.host,
            port: self.port,
            timeout: self.within,
        }
    }

    fn timeout_fault(&self) -> Fault {
        Failure::Late(self.within).into_fault(&self.place())
    }
}

fn net_target(target: &Target) -> &NetTarget {
    target.net().expect("the gate lets operations on servers and names through on net targets only")
}

impl Host {
    /// The server of a call, if the gate allows `verb` there and every line in `says`.
    fn server_access(
        &mut self,
        slot: &str,
        verb: Verb,
        endpoint: &Endpoint,
        says: &[&str],
    ) -> Result<ServerAccess, Fault> {
        let (host, port) = (endpoint.host.as_deref(), endpoint.port);
        self.enter(&GateRequest::Endpoint { slot, verb, host, port, says })?;
        let target = self.target(slot)?;
        let net = net_target(&target);
        let (host, port) = net.endpoint(host, port).map_err(|_| Fault::denied())?;
        let (host, within) = (host.to_owned(), self.remaining(net.timeout));
        Ok(ServerAccess { slot: slot.to_owned(), verb, target, host, port, within })
    }

    async fn converse(
        &mut self,
        access: &ServerAccess,
        turns: &[Turn],
    ) -> Result<Connection, Fault> {
        let place = access.place();
        let route = self.route(&access.server()).await;
        let route = route.map_err(|why| Failure::ConnectError(why).into_fault(&place))?;
        let began = Instant::now();
        let connected = route.connect().await;
        let (stream, peer) =
            connected.map_err(|why| Failure::ConnectError(why).into_fault(&place))?;
        let connect_us = micros(began.elapsed());
        let most = usize::try_from(access.net().max_bytes.0).unwrap_or(usize::MAX);
        let mut conversation = Conversation::new(stream, most, began + access.within);
        let answers = conversation.hold(turns).await.map_err(|why| why.into_fault(&place))?;
        self.count_transferred(answers.iter().map(|answer| answer.content.len()).sum());
        let answers = conversation::without_secrets(answers, &self.scrubber())
            .map_err(|name| shows_a_secret(&place, &name))?;
        Ok(Connection {
            host: access.host.clone(),
            port: access.port,
            peer: peer.to_string(),
            dns_us: micros(route.dns()),
            connect_us,
            answers,
        })
    }
}

/// Checks the limits that every conversation has, with any target.
fn check_turns(turns: &[Turn]) -> Result<(), Fault> {
    let invalid = |message: String| Err(Fault::new(FaultClass::Invalid, "net.turns", message));
    if turns.len() > MAX_TURNS {
        return invalid(format!("a conversation has at most {MAX_TURNS} turns"));
    }
    let untils = turns.iter().filter_map(|turn| turn.until.as_ref());
    match untils.map(String::len).find(|length| *length == 0 || *length > MAX_UNTIL) {
        Some(_) => invalid(format!("a text to wait for has from 1 to {MAX_UNTIL} bytes")),
        None => Ok(()),
    }
}

/// The fault for an answer that contains a secret of this run. An answer with the secret replaced
/// would be wrong, so the plugin gets no answer.
fn shows_a_secret(place: &str, name: &str) -> Fault {
    let message = format!("{place}: its answer shows secret `{name}`");
    Fault::new(FaultClass::Denied, "net.secret", message)
}

/// The name of a secret that one of the texts shows.
fn secret_in<'a>(scrubber: &Scrubber, texts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    texts
        .into_iter()
        .find_map(|text| scrubber.find_shown_secret(text.as_bytes()))
        .map(str::to_owned)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests;
