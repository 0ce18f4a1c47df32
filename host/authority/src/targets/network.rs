//! What targets over a network have in common: the addresses that the name of a server may lead
//! to. One rule for every kind of target.

use crate::pattern::{AddressClass, AddressPolicy};
use runbook_document::{Located, Reader};
use std::net::IpAddr;

/// A server, as a target or a URL names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerName<'a> {
    /// An address that is written out. It is the only one that is ever connected to.
    Address(IpAddr),
    /// `localhost`, which says by itself that it is this machine.
    Localhost,
    /// A name that a resolver must be asked about.
    Name(&'a str),
}

/// Whether a reviewer sees the address of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressVisibility {
    /// The target names it.
    Written,
    /// It is in a secret: an address there names itself only if it is no metadata service.
    InASecret,
}

impl<'a> ServerName<'a> {
    /// What `host` is, with or without the brackets that a URL puts around an IPv6 address.
    pub fn of(host: &'a str) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match bare.parse() {
            Ok(address) => Self::Address(address),
            Err(_) if bare == "localhost" => Self::Localhost,
            Err(_) => Self::Name(bare),
        }
    }
}

/// Which addresses a server may be connected to at: those of the policy, and the one that `host`
/// names outright.
pub fn addresses_for(policy: &AddressPolicy, host: &str) -> AddressPolicy {
    let mut policy = policy.clone();
    match ServerName::of(host) {
        ServerName::Address(address) => policy.named.push(address),
        ServerName::Localhost => policy.classes.push(AddressClass::Loopback),
        ServerName::Name(_) => {}
    }
    policy
}

/// The addresses at which a server is in fact reached, for comparisons of grants: of one that is
/// written out, that one alone.
pub(crate) fn reached_addresses(policy: &AddressPolicy, host: &str) -> AddressPolicy {
    let mut policy = addresses_for(policy, host);
    if let ServerName::Address(address) = ServerName::of(host) {
        policy = AddressPolicy { classes: Vec::new(), named: vec![address] };
    }
    policy
}

/// Reads `addresses = ["private"]`; public ones if it is not there.
pub(super) fn read_addresses(reader: &mut Reader<'_>) -> AddressPolicy {
    let public = || AddressPolicy { classes: vec![AddressClass::Public], named: Vec::new() };
    let Some(written) = reader.optional::<Vec<Located<String>>>("addresses") else {
        return public();
    };
    let mut policy = AddressPolicy::default();
    for text in written.value {
        match AddressClass::find(&text.value) {
            Some(class) => policy.classes.push(class),
            None => {
                let message = format!("`{}` is not a class of addresses", text.value);
                reader.error_with_help(
                    "E0103",
                    text.span.clone(),
                    message,
                    "unknown",
                    format!("known: {}", AddressClass::names().join(", ")),
                );
            }
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_or_this_machine_or_a_name() {
        let address = |text: &str| ServerName::Address(text.parse().expect("an address"));
        for (host, found) in [
            ("10.0.0.1", address("10.0.0.1")),
            ("[::1]", address("::1")),
            ("::1", address("::1")),
            ("[::ffff:7f00:1]", address("::ffff:127.0.0.1")),
            ("localhost", ServerName::Localhost),
            // Other spellings of an address are names: whoever reads the target sees no address.
            ("127.1", ServerName::Name("127.1")),
            ("2130706433", ServerName::Name("2130706433")),
            ("0x7f000001", ServerName::Name("0x7f000001")),
            ("localhost.", ServerName::Name("localhost.")),
            ("localhost.evil.example", ServerName::Name("localhost.evil.example")),
            ("127.0.0.1.evil.example", ServerName::Name("127.0.0.1.evil.example")),
            ("db.internal", ServerName::Name("db.internal")),
        ] {
            assert_eq!(ServerName::of(host), found, "{host}");
        }
    }
}
