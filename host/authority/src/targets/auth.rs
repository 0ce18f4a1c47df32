//! `auth` of an `http` target: how the host authenticates requests. The plugin sees none of the
//! headers for it, and can set none of them.

use super::base_url::parse_base;
use super::injected::{HeaderEncoding, InjectedHeader};
use super::tls::{Encryption, read_tls};
use super::{Folder, PathView, TlsKeys, secret_reference};
use runbook_document::{Reader, Span, Spanned};
use url::Url;

/// How the requests of an `http` target are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// `bearer` or `basic`: the same `Authorization` with each request.
    Header(InjectedHeader),
    /// `aws-sigv4`: a signature of each request.
    AwsSigV4(AwsSigV4),
    /// `oauth2`: a token that the host fetches.
    OAuth2(Box<OAuth2Client>),
    /// `vault-approle`: a token that the host gets of the server itself, which is Vault.
    VaultAppRole(VaultAppRole),
}

/// A role by which the host logs in to Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultAppRole {
    /// The id of the role. It is sent.
    pub role_id: ClientName,
    /// The name of the secret that holds the secret id. It is sent.
    pub secret_id: String,
    /// The mount of the authentication method, such as `approle`.
    pub mount: String,
}

/// A name that a server knows a client by: public, unless a secret holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientName {
    /// The value with `secret:NAME` in place of a secret.
    Plain(String),
    /// The value of the secret of this name.
    Secret(String),
}

/// The keys and the scope that sign requests to a service of AWS (AWS Signature Version 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSigV4 {
    /// The access key id. It is sent.
    pub access_key: ClientName,
    /// The name of the secret that holds the secret access key. It is never sent.
    pub secret_key: String,
    /// The name of the secret that holds the session token of temporary credentials. It is sent.
    pub session_token: Option<String>,
    /// Such as `eu-central-1`.
    pub region: String,
    /// Such as `s3` or `execute-api`.
    pub service: String,
}

/// The client credentials of an OAuth 2.0 server (RFC 6749, section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2Client {
    /// Where the token comes from.
    pub token_url: Url,
    /// The name of the client.
    pub client_id: ClientName,
    /// The name of the secret that holds the client's password.
    pub client_secret: String,
    /// The scope that is requested: names with one space between them.
    pub scope: Option<String>,
    /// The authorities and the client certificate for the connection to the token server. Those of
    /// the target are not used there.
    pub tls_keys: TlsKeys,
}

impl ClientName {
    /// The name as a review shows it: `secret:NAME` in place of a secret.
    pub fn redacted(&self) -> String {
        match self {
            Self::Plain(name) => name.clone(),
            Self::Secret(name) => format!("secret:{name}"),
        }
    }

    /// The name of the secret that holds the client name, if one does.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Secret(name) => Some(name),
        }
    }
}

impl HttpAuth {
    /// The headers that the host sets for this authentication, in lower case.
    pub fn headers(&self) -> &'static [&'static str] {
        match self {
            Self::Header(_) | Self::OAuth2(_) | Self::VaultAppRole(_) => &["authorization"],
            Self::AwsSigV4(_) => &[
                "authorization",
                "x-amz-date",
                "x-amz-content-sha256",
                "x-amz-security-token",
                "x-amz-region-set",
            ],
        }
    }

    /// The client of a token server, if the method is `oauth2`.
    pub fn oauth2(&self) -> Option<&OAuth2Client> {
        match self {
            Self::OAuth2(client) => Some(client),
            Self::Header(_) | Self::AwsSigV4(_) | Self::VaultAppRole(_) => None,
        }
    }

    /// The `Authorization` header as a review shows it, with `secret:NAME` in place of a secret.
    pub(crate) fn redacted(&self, view: PathView) -> String {
        match self {
            Self::Header(header) => header.redacted(),
            Self::AwsSigV4(aws) => {
                let session = aws.session_token.iter();
                let session: String =
                    session.map(|name| format!(", session token secret:{name}")).collect();
                format!(
                    "AWS4-HMAC-SHA256 for service {} in {} with access key {}, secret key \
                     secret:{}{session}",
                    aws.service,
                    aws.region,
                    aws.access_key.redacted(),
                    aws.secret_key
                )
            }
            Self::OAuth2(client) => client.redacted(view),
            Self::VaultAppRole(role) => format!(
                "Bearer with a token of auth/{} for role {} with secret:{}",
                role.mount,
                role.role_id.redacted(),
                role.secret_id
            ),
        }
    }

    /// The names of all its secrets.
    pub(super) fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Header(header) => header.secret.as_deref().into_iter().collect(),
            Self::AwsSigV4(aws) => aws.secrets(),
            Self::OAuth2(client) => {
                let id = client.client_id.secret().into_iter();
                let own_secrets = id.chain([client.client_secret.as_str()]);
                own_secrets.chain(client.tls_keys.secrets()).collect()
            }
            Self::VaultAppRole(role) => {
                role.role_id.secret().into_iter().chain([role.secret_id.as_str()]).collect()
            }
        }
    }
}

impl AwsSigV4 {
    /// The names of its secrets.
    pub(super) fn secrets(&self) -> Vec<&str> {
        let key = self.access_key.secret().into_iter();
        key.chain([self.secret_key.as_str()]).chain(self.session_token.as_deref()).collect()
    }

    /// The names of those that are sent, and not only used to sign.
    pub(super) fn sent_secrets(&self) -> impl Iterator<Item = &str> {
        self.access_key.secret().into_iter().chain(self.session_token.as_deref())
    }
}

impl OAuth2Client {
    fn redacted(&self, view: PathView) -> String {
        let scope = self.scope.iter().map(|scope| format!(", scope {scope}"));
        let tls = self.tls_keys.sentences(view).into_iter().map(|part| format!(", {part}"));
        format!(
            "Bearer with a token of {} for client {} with secret:{}{}",
            self.token_url,
            self.client_id.redacted(),
            self.client_secret,
            scope.chain(tls).collect::<String>()
        )
    }
}

/// The keys of `auth`, for messages.
const AUTH_METHODS: &str = "bearer, basic, aws-sigv4, oauth2, vault-approle";

/// Reads `auth`, with its span.
pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<(Span, HttpAuth)> {
    let span = reader.table().get("auth").map(|node| node.span.clone());
    let auth = reader.section("auth", "`auth`", |reader| {
        let span = reader.table().span.clone();
        let methods = [
            read_bearer(reader).map(HttpAuth::Header),
            read_basic(reader).map(HttpAuth::Header),
            read_aws(reader).map(HttpAuth::AwsSigV4),
            read_oauth2(reader, folder).map(Box::new).map(HttpAuth::OAuth2),
            read_approle(reader).map(HttpAuth::VaultAppRole),
        ];
        let written = reader.table().entries.len();
        let mut methods = methods.into_iter().flatten();
        match (methods.next(), written) {
            (Some(method), 1) => Some(method),
            // Its errors were reported already.
            (None, 1) => None,
            _ => {
                let message = format!("`auth` must have exactly one of {AUTH_METHODS}");
                let help = "such as `auth = { bearer = \"secret:token\" }`";
                reader.error_with_help("E0108", span, message, "which of them?", help);
                None
            }
        }
    })??;
    Some((span?, auth))
}

/// `bearer = "secret:NAME"`
fn read_bearer(reader: &mut Reader<'_>) -> Option<InjectedHeader> {
    let secret = Some(read_secret(reader, "bearer", Presence::Optional)?);
    Some(InjectedHeader { prefix: "Bearer ".to_owned(), secret, encoding: HeaderEncoding::Plain })
}

/// `basic = { user = "…", password = "secret:NAME" }`
fn read_basic(reader: &mut Reader<'_>) -> Option<InjectedHeader> {
    reader.section("basic", "`basic`", |reader| {
        let user = reader.required::<String>("user");
        let secret = Some(read_secret(reader, "password", Presence::Required)?);
        let user = user?;
        if user.value.contains(':') {
            reader.error("E0103", user.span, "a user of Basic has no colon", "this user");
            return None;
        }
        let prefix = format!("{}:", user.value);
        Some(InjectedHeader { prefix, secret, encoding: HeaderEncoding::Basic })
    })?
}

fn read_aws(reader: &mut Reader<'_>) -> Option<AwsSigV4> {
    reader.section("aws-sigv4", "`aws-sigv4`", |reader| {
        let access_key = read_name(reader, "access_key");
        let secret_key = read_secret(reader, "secret_key", Presence::Required);
        let session_token = read_secret(reader, "session_token", Presence::Optional);
        let region = read_word(reader, "region", "eu-central-1");
        let service = read_word(reader, "service", "execute-api");
        Some(AwsSigV4 {
            access_key: access_key?,
            secret_key: secret_key?,
            session_token,
            region: region?,
            service: service?,
        })
    })?
}

/// Reads `auth = { aws-sigv4 = { … } }` of a target whose service is S3.
pub(super) fn read_s3(reader: &mut Reader<'_>) -> Option<AwsSigV4> {
    let Some(node) = reader.table().get("auth") else {
        let span = reader.table().span.clone();
        let message = "an `objects` target needs `auth`: nothing of the environment is used";
        let help = "such as `auth = { aws-sigv4 = { access_key = \"AKIA…\", \
                    secret_key = \"secret:s3\", region = \"eu-central-1\" } }`";
        reader.error_with_help("E0202", span, message, "has none", help);
        return None;
    };
    let span = node.span.clone();
    reader.section("auth", "`auth`", |reader| {
        let keys = reader.section("aws-sigv4", "`aws-sigv4`", |reader| {
            let access_key = read_name(reader, "access_key");
            let secret_key = read_secret(reader, "secret_key", Presence::Required);
            let session_token = read_secret(reader, "session_token", Presence::Optional);
            let region = read_word(reader, "region", "eu-central-1");
            Some(AwsSigV4 {
                access_key: access_key?,
                secret_key: secret_key?,
                session_token,
                region: region?,
                service: "s3".to_owned(),
            })
        });
        if keys.is_none() {
            let message = "`auth` of objects must be `aws-sigv4`";
            reader.error("E0108", span, message, "which keys sign?");
        }
        keys?
    })?
}

fn read_oauth2(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<OAuth2Client> {
    reader.section("oauth2", "`oauth2`", |reader| {
        let token_url = reader.required::<String>("token_url").and_then(|text| {
            let url = parse_base(&text.value);
            if let Err(reason) = &url {
                let message = format!("`{}` cannot be a token server: {reason}", text.value);
                reader.error("E0103", text.span, message, "this address");
            }
            url.ok()
        });
        let client_id = read_name(reader, "client_id");
        let client_secret = read_secret(reader, "client_secret", Presence::Required);
        let scope = read_scope(reader);
        let is_unencrypted = token_url.as_ref().is_some_and(|url| url.scheme() == "http");
        let encryption = if is_unencrypted {
            Encryption::NotGuaranteed("`http` does not encrypt")
        } else {
            Encryption::Verified
        };
        let tls_keys = read_tls(reader, folder, encryption);
        Some(OAuth2Client {
            token_url: token_url?,
            client_id: client_id?,
            client_secret: client_secret?,
            scope,
            tls_keys,
        })
    })?
}

fn read_approle(reader: &mut Reader<'_>) -> Option<VaultAppRole> {
    reader.section("vault-approle", "`vault-approle`", |reader| {
        let role_id = read_name(reader, "role_id");
        let secret_id = read_secret(reader, "secret_id", Presence::Required);
        let mount = reader.optional::<String>("mount");
        let is_mount = |text: &str| {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
            !text.is_empty() && text.chars().all(is_allowed)
        };
        let mount = match mount {
            Some(mount) if !is_mount(&mount.value) => {
                let message = format!("`{}` is not the mount of a method", mount.value);
                reader.error("E0103", mount.span, message, "such as \"approle\"");
                return None;
            }
            Some(mount) => mount.value.trim_matches('/').to_owned(),
            None => "approle".to_owned(),
        };
        Some(VaultAppRole { role_id: role_id?, secret_id: secret_id?, mount })
    })?
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

fn read_text(
    reader: &mut Reader<'_>,
    key: &'static str,
    presence: Presence,
) -> Option<Spanned<String>> {
    match presence {
        Presence::Required => reader.required::<String>(key),
        Presence::Optional => reader.optional::<String>(key),
    }
}

/// Reads a key that must be `secret:NAME`. The message for any other text does not repeat it: it
/// may be the secret value itself.
fn read_secret(reader: &mut Reader<'_>, key: &'static str, presence: Presence) -> Option<String> {
    let text = read_text(reader, key, presence)?;
    let name = secret_reference(&text.value).map(str::to_owned);
    if name.is_none() {
        let message = format!("`{key}` must be `secret:NAME`");
        reader.error("E0103", text.span, message, "such as \"secret:login\"");
    }
    name
}

fn read_name(reader: &mut Reader<'_>, key: &'static str) -> Option<ClientName> {
    let text = reader.required::<String>(key)?;
    if let Some(name) = secret_reference(&text.value) {
        return Some(ClientName::Secret(name.to_owned()));
    }
    let is_name = !text.value.is_empty()
        && !text.value.starts_with("secret:")
        && text.value.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_name {
        let message = format!("`{key}` must be a name without spaces, or `secret:NAME`");
        reader.error("E0103", text.span, message, "this name");
        return None;
    }
    Some(ClientName::Plain(text.value))
}

/// A part of the scope of a signature: letters, digits and dashes.
fn read_word(reader: &mut Reader<'_>, key: &'static str, example: &str) -> Option<String> {
    let text = reader.required::<String>(key)?;
    let is_word = !text.value.is_empty()
        && text.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_word {
        let message = format!("`{key}` must be letters, digits and dashes");
        reader.error("E0103", text.span, message, format!("such as \"{example}\""));
        return None;
    }
    Some(text.value)
}

/// Names with one space between them (RFC 6749, section 3.3).
fn read_scope(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.optional::<String>("scope")?;
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
    };
    if !text.value.split(' ').all(is_name) {
        let message = "`scope` must be names with one space between them";
        reader.error("E0103", text.span, message, "such as \"read write\"");
        return None;
    }
    Some(text.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::grants;
    use crate::targets::http::tests::messages;

    #[test]
    fn a_key_of_auth_that_means_nothing_is_a_mistake_and_no_value_is_repeated() {
        let aws =
            "access_key = \"AKID\", secret_key = \"secret:k\", region = \"r-1\", service = \"s3\"";
        let oauth2 = "token_url = \"https://a/t\", client_id = \"c\", client_secret = \"secret:k\"";
        for (line, code) in [
            ("auth = {}".to_owned(), "E0108"),
            ("auth = \"secret:k\"".to_owned(), "E0203"),
            ("auth = { bearer = \"hunter2-hunter2\" }".to_owned(), "E0103"),
            ("auth = { bearer = \"Bearer secret:k\" }".to_owned(), "E0103"),
            ("auth = { bearer = \"secret:k\", digest = \"a\" }".to_owned(), "E0108"),
            (format!("auth = {{ bearer = \"secret:k\", aws-sigv4 = {{ {aws} }} }}"), "E0108"),
            ("auth = { basic = { user = \"a:b\", password = \"secret:k\" } }".to_owned(), "E0103"),
            (
                "auth = { basic = { user = \"a\", password = \"hunter2-hunter2\" } }".to_owned(),
                "E0103",
            ),
            ("auth = { basic = { user = \"a\" } }".to_owned(), "E0202"),
            (
                format!(
                    "auth = {{ aws-sigv4 = {{ {} }} }}",
                    aws.replace("secret:k", "hunter2-hunter2")
                ),
                "E0103",
            ),
            (format!("auth = {{ aws-sigv4 = {{ {} }} }}", aws.replace("r-1", "r/1")), "E0103"),
            (format!("auth = {{ aws-sigv4 = {{ {} }} }}", aws.replace("s3", "")), "E0103"),
            (format!("auth = {{ aws-sigv4 = {{ {} }} }}", aws.replace("AKID", "A B")), "E0103"),
            (
                format!(
                    "auth = {{ oauth2 = {{ {} }} }}",
                    oauth2.replace("secret:k", "hunter2-hunter2")
                ),
                "E0103",
            ),
            (
                format!("auth = {{ oauth2 = {{ {} }} }}", oauth2.replace("https://a/t", "ftp://a")),
                "E0103",
            ),
            (format!("auth = {{ oauth2 = {{ {} }} }}", oauth2.replace("a/t", "u:p@a/t")), "E0103"),
            (format!("auth = {{ oauth2 = {{ {oauth2}, scope = \"a  b\" }} }}"), "E0103"),
            (format!("auth = {{ oauth2 = {{ {oauth2}, scope = \"\" }} }}"), "E0103"),
            (
                format!(
                    "auth = {{ oauth2 = {{ {}, ca = \"a.pem\" }} }}",
                    oauth2.replace("https", "http")
                ),
                "E0108",
            ),
            (
                "auth = { bearer = \"secret:k\" }\nheaders = { Authorization = \"a\" }".to_owned(),
                "E0108",
            ),
            (
                format!("auth = {{ aws-sigv4 = {{ {aws} }} }}\nheaders = {{ X-Amz-Date = \"a\" }}"),
                "E0108",
            ),
            ("basic = { user = \"a\", password = \"secret:k\" }".to_owned(), "E0204"),
        ] {
            let said = messages(&line);
            assert!(said.starts_with(code), "{line}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_review_names_who_asks_by_the_names_of_secrets() {
        for (auth, written) in [
            ("{ bearer = \"secret:k\" }", "Bearer secret:k"),
            ("{ basic = { user = \"u\", password = \"secret:k\" } }", "Basic u:secret:k"),
            (
                "{ aws-sigv4 = { access_key = \"secret:a\", secret_key = \"secret:k\", session_token = \
                 \"secret:t\", region = \"eu-central-1\", service = \"s3\" } }",
                "AWS4-HMAC-SHA256 for service s3 in eu-central-1 with access key secret:a, secret \
                 key secret:k, session token secret:t",
            ),
            (
                "{ oauth2 = { token_url = \"https://a/t\", client_id = \"c\", client_secret = \
                 \"secret:k\", scope = \"read write\", ca = \"ca.pem\" } }",
                "Bearer with a token of https://a/t for client c with secret:k, scope read write, \
                 trusting only the authorities of /base/ca.pem",
            ),
        ] {
            let grants = grants("http", &format!("http = \"https://h\"\nauth = {auth}"));
            let http = grants.get("s").and_then(|grant| grant.target.http().cloned());
            let lines: Vec<_> = http.expect("http").header_lines(PathView::OnThisHost).collect();
            assert_eq!(lines, [format!("authorization: {written}")]);
        }
    }
}
