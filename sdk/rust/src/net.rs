//! The servers, or the DNS names, that the runbook bound to a slot.

use crate::bindings::runbook::net::{connect, dns, tls, types};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;

pub use types::{
    Answer, AnswerEnd, Certificate, Connection, DnsRecord, Inspection, Problem, ProblemKind,
    RecordKind, Resolution,
};

/// A slot that is bound to servers. A host or a port that the plugin does not set is the only one
/// that the target lists.
#[derive(Debug, Clone)]
pub struct Server {
    slot: Slot,
    endpoint: types::Endpoint,
}

/// One turn of a conversation: a line that is said, a text that is waited for, or both.
#[derive(Debug, Clone)]
pub struct Turn(types::Turn);

impl Turn {
    /// Waits for a text, such as a banner.
    pub fn wait(until: &str) -> Self {
        Self(types::Turn { say: None, until: Some(until.to_owned()) })
    }

    /// Sends a line, which the target must allow. The host adds the end of the line.
    pub fn say(line: &str) -> Self {
        Self(types::Turn { say: Some(line.to_owned()), until: None })
    }

    /// Waits for a text after the line.
    #[must_use]
    pub fn until(mut self, until: &str) -> Self {
        self.0.until = Some(until.to_owned());
        self
    }
}

impl Server {
    /// The servers of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot, endpoint: types::Endpoint { host: None, port: None } }
    }

    /// One of the hosts of the target.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.endpoint.host = Some(host.to_owned());
        self
    }

    /// One of the ports of the target.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.endpoint.port = Some(port);
        self
    }

    /// Connects over TCP and holds a conversation; without turns it only connects. The conversation
    /// ends at the first text that does not come: the last answer has the reason.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `connect`, the target does not list the host or the
    /// port, or does not allow a line, or if an answer shows a secret; `transient` if nothing
    /// accepts the connection or it breaks; `timeout` if the server accepts it and does not send
    /// the expected text in time; `invalid` if there are more than 32 turns, or a text to wait for
    /// is empty or has more than 1024 bytes.
    #[track_caller]
    pub fn connect(&self, turns: &[Turn]) -> Result<Connection> {
        let turns: Vec<_> = turns.iter().map(|turn| turn.0.clone()).collect();
        host!("net/connect.check", connect::check(self.slot.name(), &self.endpoint, &turns))
    }

    /// Looks at the certificates of the server.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `inspect-tls` or the target does not list the host or
    /// the port; `transient` if nothing accepts the connection; `timeout` if the server is silent;
    /// `assertion` if it speaks no TLS. A certificate with problems is no error.
    #[track_caller]
    pub fn inspect_tls(&self) -> Result<Inspection> {
        host!("net/tls.inspect", tls::inspect(self.slot.name(), &self.endpoint))
    }
}

/// A slot that is bound to DNS names.
#[derive(Debug, Clone)]
pub struct Names {
    slot: Slot,
}

impl Names {
    /// The names of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// Asks for the records of a name; without one, of the only name that the target lists.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `lookup`, the target does not let the name be looked up,
    /// or a record shows a secret; `transient` if the resolver cannot be reached; `timeout` if none
    /// answers; `assertion` if the answer cannot be read. A name that does not exist is no error,
    /// nor is any other response code: see [`Resolution::code`](types::Resolution).
    #[track_caller]
    pub fn lookup(&self, name: Option<&str>, kind: RecordKind) -> Result<Resolution> {
        host!("net/dns.lookup", dns::lookup(self.slot.name(), name, kind))
    }
}
