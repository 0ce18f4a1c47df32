//! Connections: the addresses that the name of a server leads to.

use super::{Judged, Rule};
use crate::pattern::{AddressClass, AddressPolicy};
use crate::targets::addresses_for;
use std::net::IpAddr;

pub(super) fn judge_address(policy: &AddressPolicy, host: &str, address: IpAddr) -> Judged {
    if addresses_for(policy, host).allows(address) {
        return Ok(());
    }
    let class = AddressClass::of(address).name();
    Err((
        Rule::Address,
        format!(
            "`{host}` leads to {address}, a {class} address; add `addresses = [\"{class}\"]` to \
             the target if that is right"
        ),
    ))
}
