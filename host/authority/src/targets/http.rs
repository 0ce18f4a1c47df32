//! An `http` target: one base address over HTTP.

use super::auth::{self, HttpAuth, OAuth2Client};
use super::base_url::{HttpBase, parse_base};
use super::injected::{HeaderEncoding, InjectedHeader};
use super::network::read_addresses;
use super::redirect_origins::read_redirect_origins;
use super::tls::{Encryption, read_tls};
use super::unix_socket::read_socket;
use super::{Folder, HostPath, PathView, TlsKeys, secret_reference};
use crate::pattern::{AddressPolicy, PathError, PathPattern, canonical_request_path};
use runbook_document::{ByteSize, Reader, Spanned, Table, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// One base address, as an `http` target describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpTarget {
    /// The base address, or the secret that holds it.
    pub base: HttpBase,
    /// The Unix socket through which requests go, instead of a connection to the host of the base.
    pub socket: Option<HostPath>,
    /// Paths (below the base) that may be requested; empty is every path.
    pub paths: Vec<PathPattern>,
    /// Services whose health may be asked for by gRPC, beside that of the whole server; `None` is
    /// every service.
    pub services: Option<Vec<String>>,
    /// Request headers that a plugin may set, in addition to a few that it may always set.
    pub request_headers: Vec<String>,
    /// Request headers that the host sets. A plugin can neither see nor replace them.
    pub headers: BTreeMap<String, InjectedHeader>,
    /// How the host shows on whose behalf it asks.
    pub auth: Option<HttpAuth>,
    /// The addresses that the host name, and that of a token server, may resolve to.
    pub addresses: AddressPolicy,
    /// How many redirects are followed; each hop must stay within the target, or lead to one of
    /// `redirect_origins`.
    pub redirects: u32,
    /// Origins beside that of the base to which a read may be redirected. Nothing that says who asks
    /// goes there.
    pub redirect_origins: Vec<Url>,
    /// Whether the cookies of the server are sent back to it, within one call of a plugin.
    pub cookies: bool,
    /// How much of a response body a plugin is given.
    pub max_body: ByteSize,
    /// For one request, all hops included.
    pub timeout: Duration,
    /// The authorities to trust instead of the system's, and the client certificate.
    pub tls_keys: TlsKeys,
}

impl HttpTarget {
    /// `name: value` of each header that the host sets, as a review shows it.
    pub(crate) fn header_lines(&self, view: PathView) -> impl Iterator<Item = String> {
        let auth = self.auth.iter();
        let auth = auth.map(move |auth| format!("authorization: {}", auth.redacted(view)));
        let of_headers =
            self.headers.iter().map(|(name, value)| format!("{name}: {}", value.redacted()));
        auth.chain(of_headers)
    }

    /// Whether the host sets a header, whose name is given in small letters.
    pub(crate) fn sets(&self, header: &str) -> bool {
        let by_auth = |auth: &HttpAuth| auth.headers().contains(&header);
        self.headers.contains_key(header)
            || self.auth.as_ref().is_some_and(by_auth)
            || (self.cookies && header == COOKIE)
    }

    /// The base address; `None` if it is a secret.
    pub(crate) fn base_url(&self) -> Option<&Url> {
        match &self.base {
            HttpBase::Url(base) => Some(base),
            HttpBase::Secret(_) => None,
        }
    }

    /// The client as which the host fetches tokens, if it does.
    pub fn oauth2(&self) -> Option<&OAuth2Client> {
        self.auth.as_ref()?.oauth2()
    }

    /// Where the host gets its tokens, if it does: a token server, or the login of Vault.
    pub fn token_url(&self) -> Option<Url> {
        match self.auth.as_ref()? {
            HttpAuth::OAuth2(client) => Some(client.token_url.clone()),
            HttpAuth::VaultAppRole(role) => {
                let mut url = self.base_url()?.clone();
                let base = url.path().trim_end_matches('/').to_owned();
                url.set_path(&format!("{base}/v1/auth/{}/login", role.mount));
                Some(url)
            }
            HttpAuth::Header(_) | HttpAuth::AwsSigV4(_) => None,
        }
    }

    /// The URL of a request path below a base address. The path `/` is the base address itself,
    /// as written: many webhooks answer only there.
    ///
    /// # Errors
    /// [`PathError`] if the path is not one that [`canonical_request_path`] accepts.
    pub fn url(&self, base: &Url, path: &str) -> Result<Url, PathError> {
        let (path, query) = canonical_request_path(path)?;
        let mut url = base.clone();
        if path != "/" {
            url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        }
        url.set_query(query);
        Ok(url)
    }

    pub(super) fn describe(&self) -> String {
        let base = match &self.base {
            HttpBase::Url(url) => url.as_str().trim_end_matches('/').to_owned(),
            HttpBase::Secret(name) => format!("the address in secret `{name}`"),
        };
        match &self.socket {
            Some(socket) => format!("{base} through the socket {socket}"),
            None => base,
        }
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        let base = match &self.base {
            HttpBase::Url(_) => None,
            HttpBase::Secret(name) => Some(name.as_str()),
        };
        base.into_iter()
            .chain(self.headers.values().filter_map(|header| header.secret.as_deref()))
            .chain(self.auth.iter().flat_map(HttpAuth::secrets))
            .chain(self.tls_keys.secrets())
            .collect()
    }
}

/// The header that has the cookies of a request, in small letters.
const COOKIE: &str = "cookie";

/// The most redirects that a target may let be followed.
const MAX_REDIRECTS: u32 = 10;

fn read_redirects(reader: &mut Reader<'_>) -> u32 {
    let Some(count) = reader.optional::<u32>("redirects") else { return 0 };
    if count.value > MAX_REDIRECTS {
        let message = format!(
            "`redirects = {}` is more than {MAX_REDIRECTS}, which is the most that is followed",
            count.value
        );
        reader.error("E0103", count.span, message, format!("at most {MAX_REDIRECTS}"));
    }
    count.value.min(MAX_REDIRECTS)
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<HttpTarget> {
    let base = reader.required::<String>("http").and_then(|text| read_base(reader, &text));
    let socket = read_socket(reader, folder, base.as_ref());
    let paths = read_patterns(reader);
    let services = read_services(reader);
    let request_headers = read_request_headers(reader);
    let headers = reader
        .optional::<Table>("headers")
        .map(|table| read_headers(reader, &table.value))
        .unwrap_or_default();
    let auth = read_auth(reader, folder, &headers);
    let addresses = read_addresses(reader);
    let redirects = read_redirects(reader);
    let redirect_origins = read_redirect_origins(reader, base.as_ref(), redirects, socket.as_ref());
    let cookies = read_cookies(reader, &request_headers, &headers);
    let max_body =
        reader.optional::<ByteSize>("max_body").map_or(ByteSize(1 << 20), |size| size.value);
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(30), |timeout| timeout.value);
    let is_unencrypted = matches!(&base, Some(HttpBase::Url(base)) if base.scheme() == "http");
    let encryption = if is_unencrypted {
        Encryption::NotGuaranteed("`http` does not encrypt")
    } else {
        Encryption::Verified
    };
    let tls_keys = read_tls(reader, folder, encryption);
    Some(HttpTarget {
        base: base?,
        socket,
        paths,
        services,
        request_headers,
        headers,
        auth,
        addresses,
        redirects,
        redirect_origins,
        cookies,
        max_body,
        timeout,
        tls_keys,
    })
}

/// `cookies`, unless the target names the header `Cookie` too.
fn read_cookies(
    reader: &mut Reader<'_>,
    request_headers: &[String],
    headers: &BTreeMap<String, InjectedHeader>,
) -> bool {
    let Some(cookies) = reader.optional::<bool>("cookies") else { return false };
    let by_plugin = request_headers.iter().any(|name| name == COOKIE).then_some("request_headers");
    let by_target = headers.contains_key(COOKIE).then_some("headers");
    if let Some(key) = by_plugin.or(by_target).filter(|_| cookies.value) {
        let message = format!("`cookies` sets `cookie`, which `{key}` names too");
        reader.error("E0108", cookies.span, message, "one of the two");
    }
    cookies.value
}

fn read_base(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<HttpBase> {
    if let Some(name) = secret_reference(&text.value) {
        return Some(HttpBase::Secret(name.to_owned()));
    }
    match parse_base(&text.value) {
        Ok(url) => Some(HttpBase::Url(url)),
        Err(reason) => {
            let message = format!("`{}` cannot be a base address: {reason}", text.value);
            let with_scheme = format!("http://{}", text.value);
            if !text.value.contains("://") && parse_base(&with_scheme).is_ok() {
                let help = format!("write `{with_scheme}`, or the same with `https`");
                reader.error_with_help("E0103", text.span.clone(), message, "has no scheme", help);
            } else {
                reader.error("E0103", text.span.clone(), message, "this address");
            }
            None
        }
    }
}

fn read_patterns(reader: &mut Reader<'_>) -> Vec<PathPattern> {
    let texts =
        reader.optional::<Vec<Spanned<String>>>("paths").map(|list| list.value).unwrap_or_default();
    let mut patterns = Vec::new();
    for text in texts {
        match PathPattern::parse(&text.value).filter(|_| text.value.starts_with('/')) {
            Some(pattern) => patterns.push(pattern),
            None => reader.error(
                "E0103",
                text.span.clone(),
                format!("`{}` is not a path pattern", text.value),
                "such as `/orders/*` or `/v1/**`",
            ),
        }
    }
    patterns
}

/// `auth`, unless `headers` sets one of its headers too.
fn read_auth(
    reader: &mut Reader<'_>,
    folder: Folder<'_>,
    headers: &BTreeMap<String, InjectedHeader>,
) -> Option<HttpAuth> {
    let (span, auth) = auth::read(reader, folder)?;
    if let Some(twice) = auth.headers().iter().find(|name| headers.contains_key(**name)) {
        let message = format!("`auth` sets `{twice}`, which `headers` sets too");
        reader.error("E0108", span, message, "one of the two");
    }
    Some(auth)
}

/// Headers that decide where a request goes, how it is framed, or what it asks for: only the host
/// sets them. Otherwise a header could override the verbs and paths of the target.
const HOST_HEADERS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "expect",
    "forwarded",
    "via",
    "http2-settings",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-original-uri",
    "x-original-host",
    "x-rewrite-url",
    "x-host",
    "x-envoy-original-path",
];

/// Prefixes of the names of further such headers.
const HOST_HEADER_PREFIXES: &[&str] = &["proxy-", "x-forwarded-", "x-http-method", "x-override-"];

/// The reason why neither a plugin nor a target can set a header; `None` if they can.
pub(crate) fn unusable_header(name: &str) -> Option<&'static str> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Some("is not the name of a header");
    }
    // Servers that pass headers on as variables do not distinguish `_` from `-`.
    let name = name.to_ascii_lowercase().replace('_', "-");
    let is_host_header = HOST_HEADERS.contains(&name.as_str())
        || HOST_HEADER_PREFIXES.iter().any(|family| name.starts_with(family));
    is_host_header.then_some("is set by the host alone")
}

/// The most characters of the name of a gRPC service.
const MAX_SERVICE: usize = 200;

/// The reason why no gRPC service has this name; `None` if one may.
pub(crate) fn unusable_service(name: &str) -> Option<&'static str> {
    let is_in_a_name = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.len() > MAX_SERVICE {
        Some("is longer than 200 characters")
    } else if name.chars().all(is_in_a_name) {
        None
    } else {
        Some("has a character beside letters, digits and `._-/`")
    }
}

fn read_services(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let names = reader.optional::<Vec<Spanned<String>>>("services")?;
    let mut services = Vec::new();
    for name in names.value {
        let unusable = if name.value.is_empty() {
            Some("is the whole server, which may always be asked for")
        } else {
            unusable_service(&name.value)
        };
        match unusable {
            None => services.push(name.value),
            Some(reason) => {
                let message = format!("service `{}` {reason}", name.value.escape_debug());
                reader.error("E0103", name.span, message, "such as `orders.v1.Orders`");
            }
        }
    }
    Some(services)
}

fn read_request_headers(reader: &mut Reader<'_>) -> Vec<String> {
    let names_in_file = reader
        .optional::<Vec<Spanned<String>>>("request_headers")
        .map(|list| list.value)
        .unwrap_or_default();
    let mut names = Vec::new();
    for name in names_in_file {
        match unusable_header(&name.value) {
            Some(reason) => {
                reader.error(
                    "E0103",
                    name.span,
                    format!("`{}` {reason}", name.value),
                    "no plugin may set it",
                );
            }
            None => names.push(name.value.to_lowercase()),
        }
    }
    names
}

fn read_headers(reader: &mut Reader<'_>, table: &Table) -> BTreeMap<String, InjectedHeader> {
    let mut headers = BTreeMap::new();
    for (key, node) in &table.entries {
        if let Some(reason) = unusable_header(&key.name) {
            let help =
                "what a request asks for is said by the address, `paths` and the operation of the \
                 plugin"
                    .to_owned();
            reader.error_with_help(
                "E0103",
                key.span.clone(),
                format!("header `{}` {reason}", key.name),
                "in `headers`",
                help,
            );
            continue;
        }
        let Value::String(text) = &node.value else {
            reader.error(
                "E0203",
                node.span.clone(),
                format!("header `{}` must be a string", key.name),
                "wrong type",
            );
            continue;
        };
        let injected = match text.split_once("secret:") {
            None => InjectedHeader {
                prefix: text.clone(),
                secret: None,
                encoding: HeaderEncoding::Plain,
            },
            Some((prefix, _)) => match secret_reference(&text[prefix.len()..]) {
                Some(name) => InjectedHeader {
                    prefix: prefix.to_owned(),
                    secret: Some(name.to_owned()),
                    encoding: HeaderEncoding::Plain,
                },
                None => {
                    let message = format!("header `{}` must end in `secret:NAME`", key.name);
                    reader.error(
                        "E0103",
                        node.span.clone(),
                        message,
                        "such as \"Bearer secret:api-token\"",
                    );
                    continue;
                }
            },
        };
        if injected.prefix.chars().any(|c| c.is_control() && c != '\t') {
            let message = format!("the value of header `{}` has a control character", key.name);
            reader.error("E0103", node.span.clone(), message, "it would end the header");
            continue;
        }
        if headers.insert(key.name.to_lowercase(), injected).is_some() {
            let message = format!("header `{}` is set twice", key.name.to_lowercase());
            reader.error("E0103", key.span.clone(), message, "in other letters above");
        }
    }
    headers
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pattern::AddressClass;
    use std::net::IpAddr;
    use url::Host;

    #[test]
    fn an_address_in_any_spelling_is_one_address() {
        for (text, address) in [
            ("http://127.1/", "127.0.0.1"),
            ("http://0x7f000001/", "127.0.0.1"),
            ("http://0x7f.0.0.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://017700000001/", "127.0.0.1"),
            ("http://127.0.0.1./", "127.0.0.1"),
            ("http://\u{ff11}27.0.0.1/", "127.0.0.1"),
            ("http://169.254.43518/", "169.254.169.254"),
            ("http://[::ffff:7f00:1]/", "::ffff:7f00:1"),
            ("http://[0:0:0:0:0:ffff:169.254.169.254]/", "::ffff:a9fe:a9fe"),
            ("http://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1"),
        ] {
            let base = parse_base(text).expect("an address");
            let found: IpAddr = match base.host() {
                Some(Host::Ipv4(found)) => found.into(),
                Some(Host::Ipv6(found)) => found.into(),
                other => panic!("{text} is taken for the name {other:?}"),
            };
            let expected: IpAddr = address.parse().expect("an address");
            assert_eq!(
                (found, AddressClass::of(found)),
                (expected, AddressClass::of(expected)),
                "{text}"
            );
            assert_ne!(AddressClass::of(found), AddressClass::Public, "{text}");
        }
    }

    /// The diagnostics of a target with this line, one a line.
    pub(crate) fn messages(line: &str) -> String {
        messages_of(&format!("http = \"http://h\"\n{line}"))
    }

    /// The diagnostics of a target with these lines, one a line.
    pub(crate) fn messages_of(lines: &str) -> String {
        let source = runbook_document::Source::new("r.toml", format!("[targets.api]\n{lines}\n"));
        let mut diagnostics = runbook_document::Diagnostics::default();
        let table =
            runbook_document::parse(&source, &mut diagnostics).expect("the test's TOML is good");
        let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value) else {
            panic!("targets")
        };
        let folder = Folder::without_links(std::path::Path::new("/base")).expect("absolute");
        crate::targets::Targets::default().read(&source, table, folder, &mut diagnostics);
        diagnostics.iter().map(|found| format!("{} {}\n", found.code, found.message)).collect()
    }

    /// Every header that only the host may set, in several spellings, set by the target and by the
    /// plugin.
    #[test]
    fn no_target_sets_or_lets_a_plugin_set_a_header_of_the_host() {
        let families = HOST_HEADER_PREFIXES
            .iter()
            .flat_map(|family| ["x", "override", "-"].map(|rest| format!("{family}{rest}")));
        let names = HOST_HEADERS.iter().map(|name| (*name).to_owned()).chain(families);
        for name in names {
            for spelling in [name.clone(), name.to_uppercase(), name.replace('-', "_")] {
                for line in [
                    format!("headers = {{ \"{spelling}\" = \"1\" }}"),
                    format!("headers = {{ \"{spelling}\" = \"Bearer secret:token\" }}"),
                    format!("request_headers = [\"{spelling}\"]"),
                ] {
                    let messages = messages(&line);
                    assert!(
                        messages.starts_with("E0103 ")
                            && messages.contains("is set by the host alone"),
                        "{line}: {messages}"
                    );
                }
            }
        }
        for invalid_line in [
            "headers = { \"a b\" = \"1\" }",
            "headers = { \"\" = \"1\" }",
            "headers = { \"a:\" = \"1\" }",
            "headers = { a = \"1\\r\\nx: y\" }",
            "headers = { a = \"1\", A = \"2\" }",
            "request_headers = [\"a b\"]",
        ] {
            assert!(messages(invalid_line).starts_with("E0103 "), "{invalid_line}");
        }
        for valid_line in [
            "headers = \
             { X-Tenant = \"a\", Authorization = \"Bearer secret:t\", X-Original-Name = \"é\" }",
            "request_headers = [\"X-Trace\"]",
        ] {
            assert_eq!(messages(valid_line), "", "{valid_line}");
        }
    }

    #[test]
    fn a_base_address_with_a_user_a_query_or_a_parent_path_is_refused() {
        for text in [
            "http://user@host/",
            "http://user:password@host/",
            "http://host/?a=b",
            "http://host/#a",
            "http://host/a%2f..%2fb",
            "ftp://host/",
            "javascript:alert(1)",
            "http://ho st/",
            "http://host:99999/",
        ] {
            assert!(parse_base(text).is_err(), "{text}");
        }
    }
}
