//! A `net` target: servers that are connected to over TCP, and DNS names that are looked up.

use super::network::read_addresses;
use super::tls::{Encryption, read_ca};
use super::{Folder, TlsKeys};
use crate::capability::Verb;
use crate::pattern::AddressPolicy;
use crate::pattern_matches;
use runbook_document::{ByteSize, Node, Reader, Spanned, Value};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The port of DNS.
const DNS_PORT: u16 = 53;

/// Servers and names, as a `net` target describes them.
#[derive(Debug, Clone, PartialEq)]
pub struct NetTarget {
    /// The servers that may be connected to: names and addresses, in lower case.
    pub hosts: Vec<String>,
    /// The TCP ports of the servers. Without a port, the host connects to nothing.
    pub ports: Vec<u16>,
    /// The addresses that the names of the servers may lead to.
    pub addresses: AddressPolicy,
    /// The authorities that certificates are compared with, instead of the system's.
    pub tls_keys: TlsKeys,
    /// Patterns of the lines that may be said to a server. They are said in a plan and a dry run
    /// too, because the target states that they change nothing.
    pub questions: Vec<String>,
    /// Patterns of the names that may be looked up.
    pub names: Vec<String>,
    /// The resolver that is asked for names, instead of the system's resolvers.
    pub resolver: Option<SocketAddr>,
    /// How many bytes of the answers to one call a plugin is given.
    pub max_bytes: ByteSize,
    /// How many records of one answer a plugin is given.
    pub max_records: u32,
    /// For one call: resolving, connecting and the conversation together.
    pub timeout: Duration,
}

/// Why a call names no server, or no DNS name, of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotListed {
    /// The target does not list this host.
    Host(String),
    /// The target does not list this port.
    Port(u16),
    /// The call leaves the host out, and the target lists so many.
    NoHost(usize),
    /// The call leaves the port out, and the target lists so many.
    NoPort(usize),
    /// The call leaves the name out, and the target lists so many, or a pattern.
    NoName(usize),
    /// No pattern of the target matches this text, or it is no DNS name.
    Name(String),
}

impl NetTarget {
    /// The host and the port that a call is about.
    ///
    /// # Errors
    /// The target does not list the host or the port, or the call leaves out one of which the
    /// target lists none or several.
    pub fn endpoint(
        &self,
        host: Option<&str>,
        port: Option<u16>,
    ) -> Result<(&str, u16), NotListed> {
        let host = match host {
            Some(wanted) => {
                let wanted = wanted.trim_matches(['[', ']']);
                self.hosts
                    .iter()
                    .find(|host| host.eq_ignore_ascii_case(wanted))
                    .ok_or_else(|| NotListed::Host(wanted.to_owned()))?
            }
            None => only(&self.hosts, NotListed::NoHost)?,
        };
        let port = match port {
            Some(wanted) => {
                self.ports.iter().find(|port| **port == wanted).ok_or(NotListed::Port(wanted))?
            }
            None => only(&self.ports, NotListed::NoPort)?,
        };
        Ok((host, *port))
    }

    /// The name that a lookup is about, in the form in which it is asked for.
    ///
    /// # Errors
    /// No pattern matches the name, it is no DNS name, or the call leaves it out and the target
    /// lists no name, several names or a pattern.
    pub fn name(&self, name: Option<&str>) -> Result<String, NotListed> {
        let Some(wanted) = name else {
            let exact: Vec<_> = self.names.iter().filter(|name| !name.contains('*')).collect();
            return if exact.len() == self.names.len() {
                only(&exact, NotListed::NoName).map(|name| (*name).clone())
            } else {
                Err(NotListed::NoName(self.names.len()))
            };
        };
        dns_name(wanted)
            .filter(|name| self.names.iter().any(|pattern| pattern_matches(pattern, name)))
            .ok_or_else(|| NotListed::Name(wanted.to_owned()))
    }

    /// Whether a line may be sent to a server.
    pub fn may_say(&self, line: &str) -> bool {
        is_line(line) && self.questions.iter().any(|pattern| pattern_matches(pattern, line))
    }

    /// Whether a pattern of `questions` has a wildcard, so that a plugin can send any text to a server.
    pub(crate) fn may_send_any_text(&self) -> bool {
        self.questions.iter().any(|pattern| pattern.contains('*'))
    }

    /// Whether a pattern of `names` has a wildcard, so that a plugin can send any text to the name
    /// servers as part of a name.
    pub(crate) fn may_look_up_any_text(&self) -> bool {
        self.names.iter().any(|pattern| pattern.contains('*'))
    }

    /// The resolver, as reviews and boundaries write it.
    pub(crate) fn resolver_word(&self) -> String {
        self.resolver.map_or_else(|| SYSTEM_RESOLVER.to_owned(), |resolver| resolver.to_string())
    }

    pub(super) fn describe(&self) -> String {
        let hosts = self.hosts.join(", ");
        let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
        match (self.hosts.is_empty(), ports.as_slice()) {
            (true, _) => format!("DNS names {}", self.names.join(", ")),
            (false, []) => hosts,
            (false, [port]) => format!("{hosts}, port {port}"),
            (false, ports) => format!("{hosts}, ports {}", ports.join(", ")),
        }
    }
}

/// The word for the resolvers that the system is configured with.
pub(crate) const SYSTEM_RESOLVER: &str = "system";

/// The item of a list of one; for any other list, the error for its length.
fn only<T>(all: &[T], error: impl FnOnce(usize) -> NotListed) -> Result<&T, NotListed> {
    match all {
        [one] => Ok(one),
        _ => Err(error(all.len())),
    }
}

/// Whether a text is one line, not empty and without control characters, so that it cannot carry a
/// second line past the gate.
fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// A DNS name in the form that is compared and asked for: in lower case, without the final dot.
/// `None` if the text is no DNS name (RFC 1035, section 2.3.4, and underscores).
pub fn dns_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then_some(name)
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<NetTarget> {
    let hosts = read_hosts(reader);
    let ports = read_ports(reader);
    let addresses = read_addresses(reader);
    let connects = hosts.as_ref().is_none_or(|hosts| !hosts.is_empty()) && !ports.is_empty();
    let encryption = if connects {
        Encryption::Verified
    } else {
        Encryption::NotGuaranteed("without `ports` nothing is connected to")
    };
    let tls_keys = read_ca(reader, folder, encryption);
    let questions = read_questions(reader);
    if !connects {
        for key in ["questions", "addresses"] {
            refuse_without_ports(reader, key);
        }
    }
    let names = read_names(reader, hosts.as_deref().unwrap_or_default());
    let resolver = reader.optional::<String>("resolver").and_then(|text| {
        let address = parse_resolver(&text.value);
        if address.is_none() {
            reader.error_with_help(
                "E0103",
                text.span,
                format!("`{}` is not the address of a resolver", text.value),
                "a name would have to be looked up first",
                "such as `10.0.0.53`, `10.0.0.53:5353` or `[fd00::53]:53`",
            );
        }
        address
    });
    let max_bytes =
        reader.optional::<ByteSize>("max_bytes").map_or(ByteSize(64 << 10), |size| size.value);
    let max_records = reader.optional::<u32>("max_records").map_or(100, |records| records.value);
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(10), |timeout| timeout.value);
    let hosts = hosts?;
    if hosts.is_empty() && names.is_empty() {
        let span = reader.table().span.clone();
        let help = "name a host as `net`, or a DNS name as `names`";
        reader.error_with_help("E0103", span, "it names no server and no DNS name", "empty", help);
        return None;
    }
    Some(NetTarget {
        hosts,
        ports,
        addresses,
        tls_keys,
        questions,
        names,
        resolver,
        max_bytes,
        max_records,
        timeout,
    })
}

/// The only verbs that have an effect on a target that connects to nothing; `None` if it connects.
pub(super) fn implied_verbs(target: &NetTarget) -> Option<&'static [Verb]> {
    (target.hosts.is_empty() || target.ports.is_empty()).then_some(&[Verb::NetLookup])
}

/// Reports a verb that connects, on a target that connects to nothing.
pub(super) fn refuse_verbs(
    reader: &mut Reader<'_>,
    target: &NetTarget,
    verbs: &Spanned<Vec<Verb>>,
) {
    let Some(possible) = implied_verbs(target) else { return };
    if let Some(verb) = verbs.value.iter().find(|verb| !possible.contains(verb)) {
        let message =
            format!("`{verb}` has no effect here: without `ports` nothing is connected to");
        let help = "add `ports`, and a host as `net`, or leave it out";
        reader.error_with_help("E0108", verbs.span.clone(), message, "never possible", help);
    }
}

/// Reports a key about connections, in a target that connects to nothing.
fn refuse_without_ports(reader: &mut Reader<'_>, key: &str) {
    let Some(node) = reader.table().get(key) else { return };
    let span = node.span.clone();
    let message = format!("`{key}` has no effect here: without `ports` nothing is connected to");
    let help = "add `ports`, and a host as `net`, or remove it";
    reader.error_with_help("E0108", span, message, "never used", help);
}

/// `net = "db.internal"`, or a list of hosts.
fn read_hosts(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let written = reader.required::<Node>("net")?;
    let texts: Vec<(Option<&String>, &Node)> = match &written.value.value {
        Value::String(text) => vec![(Some(text), &written.value)],
        Value::Array(items) => items.iter().map(|item| (text_of(item), item)).collect(),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => vec![(None, &written.value)],
    };
    let mut hosts = Vec::new();
    for (text, node) in texts {
        let Some(text) = text else {
            let message = "`net` must be a host, or a list of hosts";
            reader.error("E0203", node.span.clone(), message, "wrong type");
            return None;
        };
        let bare = text.trim_matches(['[', ']']).to_ascii_lowercase();
        if bare.parse::<IpAddr>().is_ok() || dns_name(&bare).is_some_and(|name| name == bare) {
            hosts.push(bare);
        } else {
            let help = "a host stands without scheme, port and path: ports are `ports = [443]`, \
                        patterns of names to look up `names = [\"*.internal\"]`";
            let message = format!("`{text}` is not a host");
            let label = "such as \"db.internal\" or \"10.0.0.1\"";
            reader.error_with_help("E0103", node.span.clone(), message, label, help);
            return None;
        }
    }
    hosts.dedup();
    Some(hosts)
}

fn text_of(node: &Node) -> Option<&String> {
    if let Value::String(text) = &node.value { Some(text) } else { None }
}

fn read_ports(reader: &mut Reader<'_>) -> Vec<u16> {
    let mut ports = Vec::new();
    for node in reader.optional::<Vec<Node>>("ports").map(|list| list.value).unwrap_or_default() {
        let port =
            if let Value::Integer(number) = node.value { u16::try_from(number).ok() } else { None };
        match port.filter(|port| *port > 0) {
            Some(port) => ports.push(port),
            None => {
                let message = "a port is an integer from 1 to 65535";
                reader.error("E0103", node.span, message, "not a port");
            }
        }
    }
    ports
}

fn read_questions(reader: &mut Reader<'_>) -> Vec<String> {
    let written = reader
        .optional::<Vec<Spanned<String>>>("questions")
        .map(|list| list.value)
        .unwrap_or_default();
    let mut patterns = Vec::new();
    for text in written {
        if is_line(&text.value) {
            patterns.push(text.value);
        } else {
            reader.error_with_help(
                "E0103",
                text.span,
                "a pattern of `questions` is one line, neither empty nor with control characters",
                "not a line",
                "write each line as a pattern of its own; the host ends each with CR and LF",
            );
        }
    }
    patterns
}

/// The names that may be looked up: those of the hosts, if the target lists none.
fn read_names(reader: &mut Reader<'_>, hosts: &[String]) -> Vec<String> {
    let Some(written) = reader.optional::<Vec<Spanned<String>>>("names") else {
        return hosts.iter().filter(|host| host.parse::<IpAddr>().is_err()).cloned().collect();
    };
    let mut names = Vec::new();
    for text in written.value {
        let name = dns_name(&text.value.replace('*', "x"));
        match name {
            Some(_) => {
                let bare = text.value.strip_suffix('.').unwrap_or(&text.value);
                names.push(bare.to_ascii_lowercase());
            }
            None => reader.error(
                "E0103",
                text.span,
                format!("`{}` is not a DNS name", text.value),
                "such as \"example.com\" or \"*.example.com\"",
            ),
        }
    }
    names
}

fn parse_resolver(text: &str) -> Option<SocketAddr> {
    let address = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
    text.parse::<SocketAddr>().ok().or_else(address).filter(|resolver| resolver.port() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_name_is_compared_in_one_form_and_nothing_else_is_one() {
        for (text, name) in [
            ("Example.COM.", Some("example.com")),
            ("_sip._tcp.example.com", Some("_sip._tcp.example.com")),
            ("4.3.2.1.in-addr.arpa", Some("4.3.2.1.in-addr.arpa")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a b", None),
            ("a\\.b", None),
            ("ä.example", None),
            ("*.example.com", None),
        ] {
            assert_eq!(dns_name(text).as_deref(), name, "{text}");
        }
        assert_eq!(dns_name(&"a".repeat(64)), None);
        assert_eq!(dns_name(&vec!["a".repeat(63); 4].join(".")), None);
    }

    #[test]
    fn a_resolver_is_an_address_and_never_a_name() {
        for (text, address) in [
            ("10.0.0.53", Some("10.0.0.53:53")),
            ("10.0.0.53:5353", Some("10.0.0.53:5353")),
            ("fd00::53", Some("[fd00::53]:53")),
            ("[fd00::53]:5353", Some("[fd00::53]:5353")),
            ("dns.example", None),
            ("10.0.0.53:0", None),
            ("https://dns.example/dns-query", None),
        ] {
            let expected = address.map(|address| address.parse().expect("an address"));
            assert_eq!(parse_resolver(text), expected, "{text}");
        }
    }
}
