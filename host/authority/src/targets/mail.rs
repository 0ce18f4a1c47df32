//! A `mail` target: one mail server, one sender and the recipients of everything that is sent.

use super::network::{parse_server, read_addresses};
use super::tls::{Encryption, read_tls};
use super::{Folder, TlsKeys, dns_name, is_local_host, secret_reference};
use crate::pattern::AddressPolicy;
use runbook_document::{ByteSize, Reader, Spanned};
use std::time::Duration;

/// The port of a server that encrypts from the first byte.
const IMPLICIT_PORT: u16 = 465;

/// The port of a server that encrypts after `STARTTLS`.
const STARTTLS_PORT: u16 = 587;

/// The port of a server without encryption.
const PLAIN_PORT: u16 = 25;

/// The largest number of recipients: as many as every server must take in one message.
const MAX_RECIPIENTS: usize = 100;

/// How the connection to a server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// From the first byte. The certificate and its name must be good.
    Implicit,
    /// After `STARTTLS`, which the server must offer. The certificate and its name must be good.
    StartTls,
    /// Never.
    Off,
}

/// The login on a mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailLogin {
    /// The user.
    pub user: String,
    /// The name of the secret with the password of the user.
    pub password: String,
}

/// One mail server, as a `mail` target describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct MailTarget {
    /// The name or address of the server, in lower case and without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: MailTls,
    /// The addresses that the name of the server may resolve to.
    pub addresses: AddressPolicy,
    /// The authorities to trust instead of the system's, and the client certificate.
    pub tls_keys: TlsKeys,
    /// The login, if there is one.
    pub login: Option<MailLogin>,
    /// The address of the sender.
    pub from: String,
    /// The addresses of all recipients, at least one.
    pub to: Vec<String>,
    /// How many messages one call of a plugin may send.
    pub max_messages: u32,
    /// How many bytes a message may have, with its headers and encoded.
    pub max_bytes: ByteSize,
    /// For one message: resolving, connecting and the whole dialogue together.
    pub timeout: Duration,
}

impl MailTarget {
    /// The name of the secret with the password.
    pub fn password(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.password.as_str())
    }

    /// Whether its server is on another machine and the connection is not encrypted.
    pub(crate) fn is_exposed(&self) -> bool {
        self.tls == MailTls::Off && !is_local_host(&self.host)
    }

    pub(super) fn describe(&self) -> String {
        let Self { host, port, .. } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let start = match self.tls {
            MailTls::StartTls => " (STARTTLS)",
            MailTls::Implicit | MailTls::Off => "",
        };
        let user =
            self.login.as_ref().map(|login| format!(" as {}", login.user)).unwrap_or_default();
        format!("mail server {host}:{port}{start}{user}")
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<MailTarget> {
    let server = reader.required::<String>("mail").and_then(|text| read_server(reader, &text));
    let port = server.as_ref().and_then(|(_, port)| *port);
    let tls = read_tls_mode(reader, port);
    let addresses = read_addresses(reader);
    let encryption = match tls {
        MailTls::Implicit | MailTls::StartTls => Encryption::Verified,
        MailTls::Off => Encryption::NotGuaranteed("`tls = \"off\"` does not encrypt"),
    };
    let tls_keys = read_tls(reader, folder, encryption);
    let login = read_login(reader);
    let from = reader.required::<String>("from").and_then(|text| read_address(reader, text));
    let to = read_recipients(reader);
    let max_messages = read_max_messages(reader);
    let max_bytes =
        reader.optional::<ByteSize>("max_bytes").map_or(ByteSize(256 << 10), |size| size.value);
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(30), |timeout| timeout.value);
    let (host, port) = server?;
    let (login, login_span) =
        login.map_or((None, None), |login| (Some(login.value), Some(login.span)));
    if let (MailTls::Off, false, Some(span)) = (tls, is_local_host(&host), login_span) {
        reader.error_with_help(
            "E0108",
            span,
            "a password is never sent to another machine without encryption",
            "with `tls = \"off\"`",
            "remove `tls = \"off\"`, or the login",
        );
    }
    let port = port.unwrap_or(match tls {
        MailTls::Implicit => IMPLICIT_PORT,
        MailTls::StartTls => STARTTLS_PORT,
        MailTls::Off => PLAIN_PORT,
    });
    Some(MailTarget {
        host,
        port,
        tls,
        addresses,
        tls_keys,
        login,
        from: from?,
        to: to?,
        max_messages,
        max_bytes,
        timeout,
    })
}

fn read_server(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<(String, Option<u16>)> {
    let server = parse_server(&text.value);
    if server.is_none() {
        // The text may hold a password, so it is not repeated.
        reader.error_with_help(
            "E0103",
            text.span.clone(),
            "this is not the address of a mail server",
            "such as \"mail.example\" or \"10.0.0.7:587\"",
            "write host and port alone: the user is `user`, the password \
             `password = \"secret:NAME\"`",
        );
    }
    server
}

/// Reads `tls` and `starttls`. Without `starttls`, the port decides: 465, which is also the port of
/// a server that names none, is encrypted from the first byte, and any other after `STARTTLS`.
fn read_tls_mode(reader: &mut Reader<'_>, port: Option<u16>) -> MailTls {
    let starttls = reader.optional::<bool>("starttls");
    let tls = reader.optional::<String>("tls");
    let is_off = match &tls {
        None => false,
        Some(text) => match text.value.as_str() {
            "require" => false,
            "off" => true,
            other => {
                let message = format!("`tls` is `require` or `off`, not `{other}`");
                reader.error("E0103", text.span.clone(), message, "unknown");
                false
            }
        },
    };
    if is_off {
        if let Some(text) = starttls {
            let message = "`starttls` has no effect here: `tls = \"off\"` does not encrypt";
            reader.error("E0108", text.span, message, "never used");
        }
        return MailTls::Off;
    }
    let is_implicit_port = port.is_none_or(|port| port == IMPLICIT_PORT);
    if starttls.map_or(!is_implicit_port, |starttls| starttls.value) {
        MailTls::StartTls
    } else {
        MailTls::Implicit
    }
}

/// Reads `user` and `password`: both or neither.
fn read_login(reader: &mut Reader<'_>) -> Option<Spanned<MailLogin>> {
    let user = reader.optional::<String>("user");
    let password = reader.optional::<String>("password");
    if let Some(text) = &password
        && secret_reference(&text.value).is_none()
    {
        let label = "never the password itself";
        reader.error("E0103", text.span.clone(), "a password must be `secret:NAME`", label);
    }
    if let Some(text) = &user
        && (text.value.is_empty() || text.value.chars().any(char::is_control))
    {
        let message = "a user has at least one character and no control characters";
        reader.error("E0103", text.span.clone(), message, "no server knows it");
    }
    match (user, password) {
        (Some(user), Some(password)) => {
            let name = secret_reference(&password.value)?.to_owned();
            let value = MailLogin { user: user.value, password: name };
            Some(Spanned { value, span: password.span })
        }
        (Some(user), None) => {
            let message = "`user` needs `password` beside it";
            reader.error("E0108", user.span, message, "half of a pair");
            None
        }
        (None, Some(password)) => {
            let message = "`password` needs `user` beside it";
            reader.error("E0108", password.span, message, "half of a pair");
            None
        }
        (None, None) => None,
    }
}

fn read_recipients(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let texts = reader.required::<Vec<Spanned<String>>>("to")?;
    let count = texts.value.len();
    if !(1..=MAX_RECIPIENTS).contains(&count) {
        let message = format!("a message has 1 to {MAX_RECIPIENTS} recipients, not {count}");
        reader.error("E0103", texts.span, message, "who is to get it?");
        return None;
    }
    let mut addresses: Vec<String> = Vec::new();
    for text in texts.value {
        let span = text.span.clone();
        let address = read_address(reader, text)?;
        if addresses.contains(&address) {
            reader.error("E0103", span, format!("`{address}` is there twice"), "once is enough");
        }
        addresses.push(address);
    }
    Some(addresses)
}

fn read_max_messages(reader: &mut Reader<'_>) -> u32 {
    let Some(count) = reader.optional::<u32>("max_messages") else { return 1 };
    if count.value == 0 {
        let message = "a target by which no message is sent is of no use";
        reader.error("E0103", count.span, message, "at least 1");
    }
    count.value
}

fn read_address(reader: &mut Reader<'_>, text: Spanned<String>) -> Option<String> {
    let address = mail_address(&text.value);
    if address.is_none() {
        let shown = text.value.escape_debug().to_string();
        reader.error_with_help(
            "E0103",
            text.span,
            format!("`{shown}` is not an address of mail"),
            "such as \"ops@example.org\"",
            "write the bare address, in ASCII: no name before it, no `<>`, no quotes; a domain in \
             other letters in its form `xn--…`",
        );
    }
    address
}

/// The address, with its domain in lower case, if a text is a plain address of mail: `local@domain`
/// in ASCII. Addresses that some servers read in another way are none here: quoted names, comments,
/// address literals, routes with `%` or `!`.
pub(crate) fn mail_address(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "#$&'*+-/=?^_`{|}~.".contains(c);
    let is_local = (1..=64).contains(&local.len())
        && local.chars().all(is_plain)
        && local.split('.').all(|part| !part.is_empty())
        && !local.starts_with('-');
    let domain = domain.to_ascii_lowercase();
    let has_letter = domain.chars().any(|c| c.is_ascii_alphabetic());
    let is_domain = has_letter
        && !domain.ends_with('.')
        && domain.is_ascii()
        && dns_name(&domain).as_ref() == Some(&domain);
    (is_local && is_domain).then(|| format!("{local}@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_name_and_a_domain_in_ascii_and_nothing_else() {
        for (text, address) in [
            ("ops@example.org", Some("ops@example.org")),
            ("Ops.Team+db@Example.ORG", Some("Ops.Team+db@example.org")),
            ("root@localhost", Some("root@localhost")),
            ("a@xn--bcher-kva.example", Some("a@xn--bcher-kva.example")),
            ("", None),
            ("ops", None),
            ("@example.org", None),
            ("ops@", None),
            ("ops@example.org.", None),
            ("ops@@example.org", None),
            ("ops@a@example.org", None),
            ("ops@10.0.0.7", None),
            ("ops@[10.0.0.7]", None),
            (".ops@example.org", None),
            ("ops.@example.org", None),
            ("o..s@example.org", None),
            ("-f@example.org", None),
            ("a%b@example.org", None),
            ("a!b@example.org", None),
            ("\"a b\"@example.org", None),
            ("Ops <ops@example.org>", None),
            ("ops@example.org,root@example.org", None),
            ("ops@example.org>\r\nRCPT TO:<root@example.org", None),
            ("ops\n@example.org", None),
            ("ops\0@example.org", None),
            ("bücher@example.org", None),
            ("ops@bücher.example", None),
            ("ops @example.org", None),
            ("ops(comment)@example.org", None),
        ] {
            assert_eq!(mail_address(text).as_deref(), address, "{text:?}");
        }
        assert_eq!(mail_address(&format!("{}@a.example", "a".repeat(65))), None);
    }
}
