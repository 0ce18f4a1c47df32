//! Records of a DNS name.

use super::failure::Failure;
use super::{micros, net_target, secret_in, shows_a_secret};
use crate::bindings::runbook::net::types::{DnsRecord, RecordKind, Resolution};
use crate::fault::Fault;
use crate::host::Host;
use crate::net::dns::{self, Response};
use crate::net::resolve::Resolver;
use runbook_authority::targets::NetTarget;
use runbook_authority::{GateRequest, Verb};
use simple_dns::TYPE;
use std::net::SocketAddr;
use tokio::time::Instant;

/// The types of records that can be asked for.
const KINDS: &[(RecordKind, TYPE, &str)] = &[
    (RecordKind::A, TYPE::A, "A"),
    (RecordKind::Aaaa, TYPE::AAAA, "AAAA"),
    (RecordKind::Caa, TYPE::CAA, "CAA"),
    (RecordKind::Cname, TYPE::CNAME, "CNAME"),
    (RecordKind::Mx, TYPE::MX, "MX"),
    (RecordKind::Ns, TYPE::NS, "NS"),
    (RecordKind::Ptr, TYPE::PTR, "PTR"),
    (RecordKind::Soa, TYPE::SOA, "SOA"),
    (RecordKind::Srv, TYPE::SRV, "SRV"),
    (RecordKind::Txt, TYPE::TXT, "TXT"),
];

impl Host {
    pub(super) async fn resolution(
        &mut self,
        slot: &str,
        name: Option<&str>,
        kind: RecordKind,
    ) -> Result<Resolution, Fault> {
        let verb = Verb::NetLookup;
        let (_, asked, word) =
            KINDS.iter().find(|(known, ..)| *known == kind).expect("every kind is in the table");
        self.enter(&GateRequest::Lookup { slot, verb, name, kind: word })?;
        let target = self.target(slot)?;
        let net = net_target(&target);
        let name = net.name(name).map_err(|_| Fault::denied())?;
        let began = Instant::now();
        let resolvers = resolvers(net, &self.resolver())
            .map_err(|why| Failure::NoResolver(why).into_fault(&name))?;
        let resolvers = resolvers
            .into_iter()
            .map(|resolver| self.allowed_resolver(slot, verb, resolver))
            .collect::<Result<Vec<_>, _>>()?;
        let within = self.remaining(net.timeout);
        let answer = dns::ask(&resolvers, &name, *asked, within).await;
        let answer = answer.map_err(|why| Failure::NoAnswer(why).into_fault(&name))?;
        let (resolver, code) = (answer.resolver, answer.response.code);
        let (records, cut) = records(answer.response, net);
        self.count_transferred(records.iter().map(|record| record.data.len()).sum());
        let texts = records.iter().flat_map(|record| [record.name.as_str(), &record.data]);
        if let Some(secret) = secret_in(&self.scrubber(), texts) {
            return Err(shows_a_secret(&name, &secret));
        }
        Ok(Resolution {
            name,
            code: code.to_owned(),
            records,
            cut,
            resolver: resolver.to_string(),
            duration_us: micros(began.elapsed()),
        })
    }
}

/// The resolvers to ask: the one of the target, or those of the system.
fn resolvers(net: &NetTarget, system: &Resolver) -> Result<Vec<SocketAddr>, String> {
    if let Some(resolver) = net.resolver {
        return Ok(vec![resolver]);
    }
    let named = match system {
        Resolver::System => dns::system_resolvers()
            .map_err(|error| format!("the system's resolvers cannot be read: {error}"))?,
        Resolver::Fixed(_) => Vec::new(),
    };
    if named.is_empty() { Err("the system names no resolver".to_owned()) } else { Ok(named) }
}

/// As many whole records of an answer as the target allows, and whether there were more.
fn records(response: Response, net: &NetTarget) -> (Vec<DnsRecord>, bool) {
    let (mut records, mut remaining_bytes) = (Vec::new(), net.max_bytes.0);
    for dns::DnsRecord { name, kind, data, ttl_s } in response.records {
        let size = data.len() as u64;
        if size > remaining_bytes || records.len() as u64 >= u64::from(net.max_records) {
            return (records, true);
        }
        remaining_bytes -= size;
        records.push(DnsRecord { name, kind, data, ttl_s });
    }
    (records, false)
}
