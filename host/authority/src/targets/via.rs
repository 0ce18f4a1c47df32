//! `via`: the gateway through which the connections of a target go, and who resolves names there.

use super::{HttpBase, NetTarget, ServerName, TargetKind};
use crate::capability::Verb;
use runbook_document::{Reader, Spanned};

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The name of the gateway, and its place in the file.
    pub gateway: Spanned<String>,
    /// Who resolves the name of the target's server.
    pub resolution: NameResolution,
}

/// Who resolves the name of a server behind a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameResolution {
    /// This host, so that each address is judged by `addresses`. The gateway is given the address.
    Local,
    /// The gateway, which is given the name: the addresses are not known here.
    Remote,
}

const VIA: &str = "via";
const REMOTE_DNS: &str = "remote_dns";

/// Reads `via` and `remote_dns` of a target that may be reached over a network.
pub(super) fn read(reader: &mut Reader<'_>, kind: Option<&TargetKind>) -> Option<Via> {
    let gateway = reader.optional::<String>(VIA);
    let remote_dns = reader.optional::<bool>(REMOTE_DNS);
    let is_remote = remote_dns.as_ref().is_some_and(|flag| flag.value);
    if let (Some(flag), None) = (&remote_dns, &gateway) {
        let message = "`remote_dns` needs `via` beside it";
        reader.error("E0108", flag.span.clone(), message, "nothing is connected through");
    }
    let gateway = gateway?;
    if let Some(reason) = kind.and_then(why_without_effect) {
        let message = format!("`{VIA}` has no effect here: {reason}");
        reader.error("E0108", gateway.span.clone(), message, "never used");
        return None;
    }
    if let (true, Some(flag)) = (is_remote, &remote_dns) {
        refuse_useless_remote_dns(reader, kind, flag);
    }
    if let Some(TargetKind::Net(_)) = kind {
        refuse_lookups(reader);
    }
    let resolution = if is_remote { NameResolution::Remote } else { NameResolution::Local };
    Some(Via { gateway, resolution })
}

/// Why a target connects to no server.
fn why_without_effect(kind: &TargetKind) -> Option<&'static str> {
    match kind {
        TargetKind::Http(http) if http.socket.is_some() => {
            Some("a socket is not reached over a network")
        }
        TargetKind::Sql(sql) if sql.server().is_none() => {
            Some("a file or a socket is not reached over a network")
        }
        TargetKind::Net(net) if super::net::implied_verbs(net).is_some() => {
            Some("without `ports` nothing is connected to")
        }
        TargetKind::Http(_)
        | TargetKind::Sql(_)
        | TargetKind::Net(_)
        | TargetKind::Redis(_)
        | TargetKind::Docker(_)
        | TargetKind::Objects(_)
        | TargetKind::Mail(_)
        | TargetKind::Files(_)
        | TargetKind::Process(_)
        | TargetKind::Secret(_)
        | TargetKind::System(_) => None,
    }
}

/// Reports `remote_dns` of a server that needs no resolution, and `addresses` beside it.
fn refuse_useless_remote_dns(
    reader: &mut Reader<'_>,
    kind: Option<&TargetKind>,
    flag: &Spanned<bool>,
) {
    let hosts: Vec<&str> = match kind {
        Some(TargetKind::Http(http)) => match &http.base {
            HttpBase::Url(url) => url.host_str().into_iter().collect(),
            HttpBase::Secret(_) => Vec::new(),
        },
        Some(TargetKind::Sql(sql)) => sql.server().map(|(host, _)| host).into_iter().collect(),
        Some(TargetKind::Net(NetTarget { hosts, .. })) => {
            hosts.iter().map(String::as_str).collect()
        }
        Some(TargetKind::Redis(redis)) => vec![redis.host.as_str()],
        Some(
            TargetKind::Docker(_)
            | TargetKind::Objects(_)
            | TargetKind::Mail(_)
            | TargetKind::Files(_)
            | TargetKind::Process(_)
            | TargetKind::Secret(_)
            | TargetKind::System(_),
        )
        | None => Vec::new(),
    };
    let is_address = |host: &&str| matches!(ServerName::of(host), ServerName::Address(_));
    if !hosts.is_empty() && hosts.iter().all(is_address) {
        let message = format!("`{REMOTE_DNS}` has no effect here: `{}` is an address", hosts[0]);
        reader.error("E0108", flag.span.clone(), message, "nothing is resolved");
    } else if let Some(addresses) = reader.table().get("addresses") {
        let span = addresses.span.clone();
        let message = format!(
            "`addresses` has no effect with `{REMOTE_DNS}`: the gateway resolves the name, and \
             this host does not see its addresses"
        );
        reader.error("E0108", span, message, "cannot be enforced");
    }
}

/// Reports keys about lookups, which do not go through a gateway.
fn refuse_lookups(reader: &mut Reader<'_>) {
    for key in ["names", "resolver"] {
        let Some(node) = reader.table().get(key) else { continue };
        let span = node.span.clone();
        let message = format!("`{key}` is about lookups, and a lookup does not go through `{VIA}`");
        let help = "look names up with a target of their own, without `via`";
        reader.error_with_help("E0108", span, message, "not both", help);
    }
}

/// Reports a verb that does not go through the gateway of its target.
pub(super) fn refuse_verbs(reader: &mut Reader<'_>, verbs: &Spanned<Vec<Verb>>) {
    if let Some(verb) = verbs.value.iter().find(|verb| !goes_through(**verb)) {
        let message = format!("`{verb}` has no effect here: it does not go through `{VIA}`");
        let help = "look names up with a target of their own, without `via`";
        reader.error_with_help("E0108", verbs.span.clone(), message, "never possible", help);
    }
}

/// Whether calls of a verb go through the gateway of their target. A lookup asks resolvers, which
/// no gateway leads to.
pub(crate) fn goes_through(verb: Verb) -> bool {
    verb != Verb::NetLookup
}
