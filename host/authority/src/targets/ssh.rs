//! An `ssh` gateway: a server that forwards connections, the key that it must show, and the key by
//! which the host logs in.
//!
//! Nothing of the user who runs the program is used: no `~/.ssh`, no `SSH_AUTH_SOCK`, no
//! configuration of OpenSSH. No host key is trusted because it was seen first.

use super::network::read_addresses;
use super::{Folder, HostPath, PathView, PemFile, secret_reference};
use crate::pattern::AddressPolicy;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use runbook_document::{Node, Reader, Spanned, Value};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// The port of SSH.
const SSH_PORT: u16 = 22;

/// The types of keys that a host may show, as `known_hosts` names them.
const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];

/// An SSH server that forwards connections.
#[derive(Debug, Clone, PartialEq)]
pub struct SshGateway {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The user that the host logs in as.
    pub user: String,
    /// The keys that the server may show.
    pub host_keys: HostKeys,
    /// How the host logs in.
    pub credential: SshCredential,
    /// The addresses that the name of the server may resolve to.
    pub addresses: AddressPolicy,
    /// For connecting and logging in together.
    pub timeout: Duration,
}

/// The keys that an SSH server may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeys {
    /// One of these keys.
    Listed(Vec<HostKey>),
    /// A key that this file has for the server, in the format of OpenSSH's `known_hosts`.
    KnownHosts(PemFile),
}

/// One key of an SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// Its fingerprint, as `ssh-keygen -l` prints it: `SHA256:` and Base64.
    pub fingerprint: String,
    /// The type of the key, such as `ssh-ed25519`; `None` if only the fingerprint is known.
    pub key_type: Option<String>,
}

/// How the host logs in to an SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshCredential {
    /// The secret of this name holds a private key in the format of OpenSSH.
    Key {
        /// The name of the secret.
        secret: String,
        /// The name of the secret with the passphrase of the key, if it has one.
        passphrase: Option<String>,
    },
    /// An agent signs with the keys that it holds.
    Agent {
        /// Its Unix socket.
        socket: HostPath,
    },
}

impl SshGateway {
    pub(super) fn describe(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("ssh {}@{host}:{}", self.user, self.port)
    }

    /// The host keys that are trusted, and the agent that is used.
    pub(super) fn trust(&self, view: PathView) -> String {
        let keys = match &self.host_keys {
            HostKeys::Listed(keys) => {
                let fingerprints: Vec<_> =
                    keys.iter().map(|key| key.fingerprint.as_str()).collect();
                format!("host key {}", fingerprints.join(" or "))
            }
            HostKeys::KnownHosts(file) => format!("known_hosts {}", file.render(view)),
        };
        match &self.credential {
            SshCredential::Key { .. } => keys,
            SshCredential::Agent { socket } => format!("{keys} and agent {}", socket.render(view)),
        }
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        match &self.credential {
            SshCredential::Key { secret, passphrase } => {
                std::iter::once(secret.as_str()).chain(passphrase.as_deref()).collect()
            }
            SshCredential::Agent { .. } => Vec::new(),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<SshGateway> {
    let server = reader.required::<String>("ssh").and_then(|text| read_server(reader, &text));
    let user = reader.required::<String>("user").and_then(|text| read_user(reader, text));
    let host_keys = read_host_keys(reader, folder);
    let credential = read_credential(reader, folder);
    let addresses = read_addresses(reader);
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(10), |timeout| timeout.value);
    let (host, port) = server?;
    Some(SshGateway {
        host,
        port,
        user: user?,
        host_keys: host_keys?,
        credential: credential?,
        addresses,
        timeout,
    })
}

/// `host`, `host:port`, an IPv4 address, or an IPv6 address in brackets.
fn read_server(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<(String, u16)> {
    let parsed = parse_server(&text.value);
    if parsed.is_none() {
        let message = format!("`{}` is not the address of an SSH server", text.value);
        let help = "the user is `user = \"…\"`, and there is no scheme";
        let label = "such as \"bastion.internal\", \"10.0.0.5:2222\" or \"[fd00::5]:22\"";
        reader.error_with_help("E0103", text.span.clone(), message, label, help);
    }
    parsed
}

fn parse_server(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, port)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, port) = text.split_at(end);
            let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
            (is_address || super::dns_name(host).is_some()).then_some((host, port))?
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None if port.is_empty() => SSH_PORT,
        None => return None,
    };
    Some((host.to_ascii_lowercase(), port))
}

fn read_user(reader: &mut Reader<'_>, text: Spanned<String>) -> Option<String> {
    let is_user = !text.value.is_empty()
        && !text.value.chars().any(|c| c.is_control() || c.is_whitespace() || c == '@');
    if !is_user {
        let message = format!("`{}` is not the name of a user", text.value.escape_debug());
        reader.error("E0103", text.span, message, "such as \"ops\"");
    }
    is_user.then_some(text.value)
}

/// Reads exactly one of `host_key` and `known_hosts`.
fn read_host_keys(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<HostKeys> {
    let listed = reader.optional::<Node>("host_key");
    let known_hosts = reader.optional::<String>("known_hosts");
    match (listed, known_hosts) {
        (Some(listed), None) => read_listed(reader, listed.value).map(HostKeys::Listed),
        (None, Some(file)) => {
            let file = (!file.value.is_empty()).then(|| PemFile::locate(&file.value, folder));
            file.map(HostKeys::KnownHosts)
        }
        (Some(_), Some(file)) => {
            let message = "an ssh target has one of `host_key` and `known_hosts`";
            reader.error("E0108", file.span, message, "remove one of the two");
            None
        }
        (None, None) => {
            let help = "take the fingerprint from whoever runs the server: `ssh-keygen -lf \
                        /etc/ssh/ssh_host_ed25519_key.pub` prints it there";
            let span = reader.table().span.clone();
            let message = "an ssh target must have one of `host_key` and `known_hosts`: without \
                           it anybody could take the server's place";
            reader.error_with_help("E0108", span, message, "which key does the server show?", help);
            None
        }
    }
}

fn read_listed(reader: &mut Reader<'_>, node: Node) -> Option<Vec<HostKey>> {
    let items = match node.value {
        Value::Array(items) if !items.is_empty() => items,
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => vec![node],
    };
    let mut keys = Vec::new();
    for item in items {
        let text = if let Value::String(text) = &item.value { Some(text.trim()) } else { None };
        match text.and_then(parse_host_key) {
            Some(key) => keys.push(key),
            None => {
                let message = "`host_key` must be a public key or its SHA-256 fingerprint, or a \
                               list of them";
                let label = "such as \"SHA256:…\" or \"ssh-ed25519 AAAA…\"";
                reader.error("E0103", item.span, message, label);
                return None;
            }
        }
    }
    Some(keys)
}

/// A line of a `.pub` file, or a fingerprint.
fn parse_host_key(text: &str) -> Option<HostKey> {
    if let Some(digest) = text.strip_prefix("SHA256:") {
        let bytes = STANDARD_NO_PAD.decode(digest.trim_end_matches('=')).ok()?;
        return (bytes.len() == 32).then(|| fingerprint_of_digest(&bytes, None));
    }
    let mut words = text.split_ascii_whitespace();
    let key_type = words.next().filter(|word| KEY_TYPES.contains(word))?;
    let blob = STANDARD.decode(words.next()?).ok()?;
    // The key begins with its own type, after a length of four bytes.
    let own_type = blob.get(4..4 + key_type.len())?;
    (own_type == key_type.as_bytes())
        .then(|| fingerprint_of_digest(&Sha256::digest(&blob), Some(key_type.to_owned())))
}

fn fingerprint_of_digest(digest: &[u8], key_type: Option<String>) -> HostKey {
    HostKey { fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(digest)), key_type }
}

/// Reads exactly one of `key` and `agent`, and `passphrase` beside `key`.
fn read_credential(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<SshCredential> {
    let key = reader.optional::<String>("key");
    let passphrase = reader.optional::<String>("passphrase");
    let agent = reader.optional::<String>("agent");
    if let (Some(passphrase), None) = (&passphrase, &key) {
        let message = "`passphrase` needs `key` beside it";
        reader.error("E0108", passphrase.span.clone(), message, "half of a pair");
    }
    match (key, agent) {
        (Some(key), None) => {
            let secret = read_secret(reader, "key", &key);
            let passphrase =
                passphrase.map(|text| read_secret(reader, "passphrase", &text).ok_or(()));
            Some(SshCredential::Key { secret: secret?, passphrase: passphrase.transpose().ok()? })
        }
        (None, Some(agent)) if agent.value.starts_with('/') => {
            Some(SshCredential::Agent { socket: folder.locate(&agent.value) })
        }
        (None, Some(agent)) => {
            let message = "`agent` must be the absolute path of the socket of an agent";
            let help = "`echo $SSH_AUTH_SOCK` shows it; a run does not read that variable";
            reader.error_with_help("E0103", agent.span, message, "such as \"/run/agent\"", help);
            None
        }
        (Some(_), Some(agent)) => {
            let message = "an ssh target has one of `key` and `agent`";
            reader.error("E0108", agent.span, message, "remove one of the two");
            None
        }
        (None, None) => {
            let span = reader.table().span.clone();
            let message = "an ssh target must have one of `key` and `agent`";
            let help = "`key = \"secret:NAME\"` names a private key in the store";
            reader.error_with_help("E0108", span, message, "how does the host log in?", help);
            None
        }
    }
}

fn read_secret(reader: &mut Reader<'_>, key: &str, text: &Spanned<String>) -> Option<String> {
    let name = secret_reference(&text.value).map(str::to_owned);
    if name.is_none() {
        // The text itself may be the key, so it is not repeated.
        let message = format!("`{key}` must be `secret:NAME`");
        reader.error("E0103", text.span.clone(), message, "never a path, never the value itself");
    }
    name
}
