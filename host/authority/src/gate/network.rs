//! Connections: the addresses that the name of a server leads to.

use super::{Judged, Rule};
use crate::pattern::{AddressClass, AddressPolicy};
use crate::targets::{AddressVisibility, addresses_for};
use std::net::IpAddr;

pub(super) fn judge_address(
    visibility: AddressVisibility,
    policy: &AddressPolicy,
    host: &str,
    address: IpAddr,
) -> Judged {
    let class = AddressClass::of(address);
    let is_hidden = visibility == AddressVisibility::InASecret && class == AddressClass::Metadata;
    let reached = if is_hidden { policy.clone() } else { addresses_for(policy, host) };
    if reached.allows(address) {
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
