//! The addresses that the name of a server may resolve to, for every kind of target that is reached
//! over a network.

use super::dns_name;
use crate::pattern::{AddressBlock, AddressBlockError, AddressClass, AddressPolicy};
use runbook_document::{Reader, Spanned};
use std::net::{IpAddr, SocketAddr};

/// A server, as a target or a URL names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerName<'a> {
    /// An IP address. The host connects to no other address.
    Address(IpAddr),
    /// `localhost`, which always means this machine.
    Localhost,
    /// A name that must be resolved.
    Name(&'a str),
}

/// The visibility of a server's address to a reviewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressVisibility {
    /// The target names the address.
    Visible,
    /// The address is in a secret. An IP address in a secret is allowed like one in the target,
    /// except that of a metadata service.
    Hidden,
}

impl<'a> ServerName<'a> {
    /// Parses a host name or address. An IPv6 address may have the brackets that a URL puts around
    /// it.
    pub fn of(host: &'a str) -> Self {
        let without_brackets =
            host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match without_brackets.parse() {
            Ok(address) => Self::Address(address),
            Err(_) if without_brackets == "localhost" => Self::Localhost,
            Err(_) => Self::Name(without_brackets),
        }
    }
}

/// The addresses that a connection to `host` may use: those of the policy, and `host` itself if it
/// is an IP address or `localhost`.
pub fn addresses_for(policy: &AddressPolicy, host: &str) -> AddressPolicy {
    let mut policy = policy.clone();
    match ServerName::of(host) {
        ServerName::Address(address) => policy.blocks.push(AddressBlock::single(address)),
        ServerName::Localhost => policy.classes.push(AddressClass::Loopback),
        ServerName::Name(_) => {}
    }
    policy
}

/// The addresses that a connection to `host` can reach, for comparisons of grants: only `host`
/// itself if it is an IP address; otherwise those of [`addresses_for`].
pub(crate) fn reachable_addresses(policy: &AddressPolicy, host: &str) -> AddressPolicy {
    let mut policy = addresses_for(policy, host);
    if let ServerName::Address(address) = ServerName::of(host) {
        policy = AddressPolicy { classes: Vec::new(), blocks: vec![AddressBlock::single(address)] };
    }
    policy
}

/// Parses `host`, `host:port`, an address, or an address and a port. The host is in lower case and
/// without brackets.
pub(super) fn parse_server(text: &str) -> Option<(String, Option<u16>)> {
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some((address.to_string(), None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() > 0).then(|| (address.ip().to_string(), Some(address.port())));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (text, None),
    };
    let host = host.to_ascii_lowercase();
    // A name of digits and dots alone would be read as an address in another notation.
    let has_letter = host.chars().any(|c| c.is_ascii_alphabetic());
    (has_letter && dns_name(&host).as_ref() == Some(&host)).then_some((host, port))
}

/// Reads `addresses = ["private", "10.20.0.0/16"]`. Without the key, only public addresses are
/// allowed.
pub(super) fn read_addresses(reader: &mut Reader<'_>) -> AddressPolicy {
    read_address_policy(reader, "addresses", "E0103").unwrap_or_else(|| AddressPolicy {
        classes: vec![AddressClass::Public],
        blocks: Vec::new(),
    })
}

/// Reads classes, blocks and single addresses under `key`. Any other text is an error with this
/// `code`.
pub(crate) fn read_address_policy(
    reader: &mut Reader<'_>,
    key: &'static str,
    code: &'static str,
) -> Option<AddressPolicy> {
    let texts = reader.optional::<Vec<Spanned<String>>>(key)?;
    let mut policy = AddressPolicy::default();
    for text in texts.value {
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
    fn a_server_is_a_host_and_a_port_and_nothing_else() {
        for (text, server) in [
            ("Cache.internal", Some(("cache.internal", None))),
            ("cache.internal:6380", Some(("cache.internal", Some(6380)))),
            ("localhost:1", Some(("localhost", Some(1)))),
            ("10.0.0.7", Some(("10.0.0.7", None))),
            ("10.0.0.7:6380", Some(("10.0.0.7", Some(6380)))),
            ("::1", Some(("::1", None))),
            ("[fd00::1]:6380", Some(("fd00::1", Some(6380)))),
            ("", None),
            ("redis://cache.internal", None),
            ("user:word@cache.internal", None),
            ("cache.internal/0", None),
            ("cache.internal:0", None),
            ("cache.internal:", None),
            ("a,b", None),
            ("127.1", None),
            ("/run/redis.sock", None),
        ] {
            let expected = server.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(parse_server(text), expected, "{text}");
        }
    }

    #[test]
    fn a_server_is_an_address_or_this_machine_or_a_name() {
        let address = |text: &str| ServerName::Address(text.parse().expect("an address"));
        for (host, expected) in [
            ("10.0.0.1", address("10.0.0.1")),
            ("[::1]", address("::1")),
            ("::1", address("::1")),
            ("[::ffff:7f00:1]", address("::ffff:127.0.0.1")),
            ("localhost", ServerName::Localhost),
            // Other spellings of an address count as names, because a reviewer sees no address.
            ("127.1", ServerName::Name("127.1")),
            ("2130706433", ServerName::Name("2130706433")),
            ("0x7f000001", ServerName::Name("0x7f000001")),
            ("localhost.", ServerName::Name("localhost.")),
            ("localhost.evil.example", ServerName::Name("localhost.evil.example")),
            ("127.0.0.1.evil.example", ServerName::Name("127.0.0.1.evil.example")),
            ("db.internal", ServerName::Name("db.internal")),
        ] {
            assert_eq!(ServerName::of(host), expected, "{host}");
        }
    }
}
