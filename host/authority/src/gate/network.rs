//! Judges connections by the addresses that the name of a server resolves to.

use super::{Judgment, Rule};
use crate::pattern::{AddressClass, AddressPolicy};
use crate::targets::{AddressVisibility, addresses_for};
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
