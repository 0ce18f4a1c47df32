//! Judges connections by the addresses that the name of a server resolves to, and by the gateway
//! that they go through.

use super::{Judgment, Rule};
use crate::pattern::{AddressClass, AddressPolicy};
use crate::targets::{
    AddressVisibility, Gateway, NameResolution, ServerName, Target, addresses_for,
};
use std::net::IpAddr;

pub(super) fn judge_address(
    visibility: AddressVisibility,
    policy: &AddressPolicy,
    host: &str,
    address: IpAddr,
) -> Judgment {
    let class = AddressClass::of(address);
    let is_hidden_metadata =
        visibility == AddressVisibility::Hidden && class == AddressClass::Metadata;
    let effective_policy =
        if is_hidden_metadata { policy.clone() } else { addresses_for(policy, host) };
    if effective_policy.allows(address) {
        return Ok(());
    }
    let reason = match class {
        AddressClass::Metadata => format!(
            "`{host}` leads to {address}, where a cloud provider hands out credentials; no check \
             needs to go there"
        ),
        AddressClass::Public
        | AddressClass::Private
        | AddressClass::Loopback
        | AddressClass::LinkLocal
        | AddressClass::Reserved => format!(
            "`{host}` leads to {address}, a {class} address; add `addresses = [\"{class}\"]` to \
             the target if that is right",
            class = class.name()
        ),
    };
    Err((Rule::Address, reason))
}

/// A target with a gateway is never connected to directly.
pub(super) fn judge_direct(target: &Target) -> Judgment {
    let Some(via) = &target.via else { return Ok(()) };
    Err((Rule::Via, format!("it is reached through `{}`, and not directly", via.gateway.value)))
}

/// Judges a connection to a gateway by the gateway's own `addresses`.
pub(super) fn judge_gateway(gateway: Option<&Gateway>, host: &str, address: IpAddr) -> Judgment {
    let Some(gateway) = gateway else { return Err(not_through_gateway()) };
    if gateway.server().0 != host {
        let reason = format!("`{host}` is not the gateway `{}`", gateway.name);
        return Err((Rule::Via, reason));
    }
    judge_address(AddressVisibility::Visible, gateway.addresses(), host, address)
}

/// Judges the connection that a gateway is asked for. An address is judged as for a direct
/// connection. A name is allowed only if the target lets the gateway resolve it.
pub(super) fn judge_forward(
    target: &Target,
    gateway: Option<&Gateway>,
    host: &str,
    address: Option<IpAddr>,
) -> Judgment {
    let (Some(via), Some(_)) = (&target.via, gateway) else { return Err(not_through_gateway()) };
    let Some(policy) = target.addresses() else { return Err(not_through_gateway()) };
    match (address, ServerName::of(host), via.resolution) {
        (Some(address), ..) => judge_address(target.address_visibility(), policy, host, address),
        (None, ServerName::Name(_), NameResolution::Remote) => Ok(()),
        (None, ..) => {
            let reason = format!(
                "the addresses of `{host}` are judged on this host; the gateway may resolve a name \
                 only with `remote_dns = true`"
            );
            Err((Rule::Via, reason))
        }
    }
}

fn not_through_gateway() -> (Rule, String) {
    (Rule::Via, "it is not reached through a gateway".to_owned())
}
