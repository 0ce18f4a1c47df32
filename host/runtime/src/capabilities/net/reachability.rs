//! Tries whether the servers of a slot accept connections, and whether its resolver answers.

use super::failure::Failure;
use super::net_target;
use crate::bindings::runbook::net::types::{Endpoint, RecordKind};
use crate::fault::Fault;
use crate::host::Host;
use runbook_authority::Verb;
use runbook_authority::targets::NetTarget;

impl Host {
    /// Connects to each server and port of the target, and asks the resolver for one of its names.
    pub(in super::super) async fn reach_servers(
        &mut self,
        slot: &str,
        verb: Verb,
    ) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let net = net_target(&target);
        let mut answers = Vec::new();
        let connects = verb != Verb::NetLookup;
        let servers: Vec<_> = endpoints(net).filter(|_| connects).collect();
        for (host, port) in &servers {
            self.reach_server(slot, verb, host, *port).await?;
        }
        if !servers.is_empty() {
            let places: Vec<_> =
                servers.iter().map(|(host, port)| format!("{host} at port {port}")).collect();
            answers.push(format!("connections are accepted by {}", places.join(", ")));
        }
        let name = net.names.iter().find(|name| !name.contains('*') && target.via.is_none());
        if let Some(name) = name.filter(|_| self.has_verb(slot, Verb::NetLookup)) {
            let found = self.resolution(slot, Some(name.as_str()), RecordKind::A).await?;
            answers.push(format!("resolver {} answers {} for {name}", found.resolver, found.code));
        }
        if answers.is_empty() {
            answers.push(
                "nothing was tried: the target has no port, and each name is a pattern".to_owned(),
            );
        }
        Ok(answers.join("; "))
    }

    async fn reach_server(
        &mut self,
        slot: &str,
        verb: Verb,
        host: &str,
        port: u16,
    ) -> Result<(), Fault> {
        let endpoint = Endpoint { host: Some(host.to_owned()), port: Some(port) };
        let access = self.server_access(slot, verb, &endpoint, &[])?;
        let place = access.place();
        let fault = |why| Failure::ConnectError(why).into_fault(&place);
        let route = self.route(&access.server()).await.map_err(fault)?;
        route.connect().await.map(drop).map_err(fault)
    }
}

fn endpoints(net: &NetTarget) -> impl Iterator<Item = (&str, u16)> {
    net.hosts.iter().flat_map(|host| net.ports.iter().map(move |port| (host.as_str(), *port)))
}
