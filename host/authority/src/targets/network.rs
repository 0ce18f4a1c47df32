//! What targets over a network have in common: the addresses that the name of a server may lead
//! to. One rule for every kind of target.

use crate::pattern::{AddressBlock, AddressBlockError, AddressClass, AddressPolicy};
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
        ServerName::Address(address) => policy.blocks.push(AddressBlock::single(address)),
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
        policy = AddressPolicy { classes: Vec::new(), blocks: vec![AddressBlock::single(address)] };
    }
    policy
}

/// Reads `addresses = ["private", "10.20.0.0/16"]`; public ones if it is not there.
pub(super) fn read_addresses(reader: &mut Reader<'_>) -> AddressPolicy {
    read_address_policy(reader, "addresses", "E0103").unwrap_or_else(|| AddressPolicy {
        classes: vec![AddressClass::Public],
        blocks: Vec::new(),
    })
}

/// Reads classes, blocks and single addresses under `key`, with an error `code` for what is none.
pub(crate) fn read_address_policy(
    reader: &mut Reader<'_>,
    key: &'static str,
    code: &'static str,
) -> Option<AddressPolicy> {
    let written = reader.optional::<Vec<Located<String>>>(key)?;
    let mut policy = AddressPolicy::default();
    for text in written.value {
        if let Some(class) = AddressClass::find(&text.value) {
            policy.classes.push(class);
            continue;
        }
        match AddressBlock::parse(&text.value) {
            Ok(block) => policy.blocks.push(block),
            Err(error) => {
                let help = match &error {
                    AddressBlockError::Syntax(word) => {
                        runbook_document::suggestion(word, &AddressClass::names())
                    }
                    AddressBlockError::HostBits { block, .. } => format!("write `{block}`"),
                    AddressBlockError::SeveralClasses(_) | AddressBlockError::EmbedsIpv4(_) => {
                        format!("classes are {}", AddressClass::names().join(", "))
                    }
                };
                let message = error.to_string();
                reader.error_with_help(code, text.span.clone(), message, "no such addresses", help);
            }
        }
    }
    Some(policy)
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
