//! A `proxy` gateway: an HTTP proxy that is asked for connections by CONNECT, and for nothing else.
//!
//! No variable of the environment names a proxy, and none exempts a server from one.

use super::network::read_addresses;
use super::tls::{Encryption, TlsKeys, read_tls};
use super::{Folder, PathView, secret_reference};
use crate::pattern::AddressPolicy;
use runbook_document::{Reader, Spanned};
use std::time::Duration;
use url::Url;

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyGateway {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// How the connection to the proxy itself is protected.
    pub transport: ProxyTransport,
    /// How the host logs in; `None` if the proxy asks for no login.
    pub login: Option<ProxyLogin>,
    /// The addresses that the name of the proxy may resolve to.
    pub addresses: AddressPolicy,
    /// For connecting, the handshake and the answer to CONNECT together.
    pub timeout: Duration,
}

/// How the connection to a proxy is protected. What goes through it is protected by the protocol of
/// the target alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyTransport {
    /// Not at all.
    Plain,
    /// By TLS: the certificate of the proxy is verified.
    Tls(Box<TlsKeys>),
}

/// The user and the password for a proxy, sent as `Proxy-Authorization: Basic`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    /// The user.
    pub user: String,
    /// The name of the secret that holds the password. It is sent to the proxy.
    pub password: String,
}

impl ProxyGateway {
    pub(super) fn describe(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let scheme = match self.transport {
            ProxyTransport::Plain => "http",
            ProxyTransport::Tls(_) => "https",
        };
        let user = self.login.as_ref().map_or_else(String::new, |login| format!("{}@", login.user));
        format!("proxy {scheme}://{user}{host}:{}", self.port)
    }

    /// The authorities that are trusted instead of the system's, and the certificate that is shown;
    /// `None` if there are none.
    pub(super) fn trust(&self, view: PathView) -> Option<String> {
        let ProxyTransport::Tls(keys) = &self.transport else { return None };
        let sentences = keys.sentences(view);
        (!sentences.is_empty()).then(|| sentences.join(" and "))
    }

    pub(super) fn tls_keys(&self) -> Option<&TlsKeys> {
        match &self.transport {
            ProxyTransport::Plain => None,
            ProxyTransport::Tls(keys) => Some(keys.as_ref()),
        }
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        let of_tls = self.tls_keys().map(TlsKeys::secrets).unwrap_or_default();
        self.login.iter().map(|login| login.password.as_str()).chain(of_tls).collect()
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<ProxyGateway> {
    let server = reader.required::<String>("proxy").and_then(|text| read_server(reader, &text));
    let is_encrypted = server.as_ref().is_none_or(|server| server.is_encrypted);
    let encryption = if is_encrypted {
        Encryption::Verified
    } else {
        Encryption::NotGuaranteed("`http` does not encrypt the connection to the proxy")
    };
    let tls_keys = read_tls(reader, folder, encryption);
    let login = read_login(reader);
    let addresses = read_addresses(reader);
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(10), |timeout| timeout.value);
    let Server { host, port, is_encrypted } = server?;
    let transport =
        if is_encrypted { ProxyTransport::Tls(Box::new(tls_keys)) } else { ProxyTransport::Plain };
    Some(ProxyGateway { host, port, transport, login: login.ok()?, addresses, timeout })
}

/// What the URL of a proxy says.
struct Server {
    host: String,
    port: u16,
    is_encrypted: bool,
}

fn read_server(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<Server> {
    let server = parse_server(&text.value);
    if server.is_none() {
        // The text may hold a password, so it is not repeated.
        reader.error_with_help(
            "E0103",
            text.span.clone(),
            "this is not the address of an HTTP proxy",
            "such as \"http://proxy.internal:3128\"",
            "write scheme (`http` or `https`), host and port alone: the user is `user`, the \
             password `password = \"secret:NAME\"`",
        );
    }
    server
}

/// Parses `http://host:port` or `https://host:port`. The port must be written, because proxies have
/// no usual one.
fn parse_server(text: &str) -> Option<Server> {
    let (scheme, rest) = text.split_once("://")?;
    let is_encrypted = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let (_, port) = rest.trim_end_matches('/').rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let url = Url::parse(text).ok()?;
    let is_bare = url.path() == "/"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && !rest.contains('@');
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    is_bare.then_some(Server { host, port, is_encrypted })
}

/// Reads `user` and `password`: both or none.
fn read_login(reader: &mut Reader<'_>) -> Result<Option<ProxyLogin>, ()> {
    let user = reader.optional::<String>("user");
    let password = reader.optional::<String>("password");
    let (user, password) = match (user, password) {
        (None, None) => return Ok(None),
        (Some(user), Some(password)) => (user, password),
        (Some(text), None) => {
            let message = "`user` needs `password` beside it";
            reader.error("E0108", text.span, message, "half of a pair");
            return Err(());
        }
        (None, Some(text)) => {
            let message = "`password` needs `user` beside it";
            reader.error("E0108", text.span, message, "half of a pair");
            return Err(());
        }
    };
    let is_user =
        !user.value.is_empty() && !user.value.chars().any(|c| c.is_control() || ":@/".contains(c));
    if !is_user {
        let message = format!("`{}` is not the name of a user", user.value.escape_debug());
        reader.error("E0103", user.span, message, "without `:`, `@` and `/`");
    }
    let Some(secret) = secret_reference(&password.value).map(str::to_owned) else {
        let label = "never the password itself";
        reader.error("E0103", password.span, "a password must be `secret:NAME`", label);
        return Err(());
    };
    if is_user { Ok(Some(ProxyLogin { user: user.value, password: secret })) } else { Err(()) }
}
