//! Which secrets a target sends away, in which form, and to whom.

use super::{HttpAuth, HttpBase, HttpTarget, InjectedHeader, Target, TargetKind, is_local_host};
use url::Url;

/// The form in which a secret leaves this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretForm {
    /// Its value.
    Value,
    /// A token that another server gave for it.
    Token,
    /// A signature that was made with it.
    Signature,
}

/// A secret that a target sends to another server or program, in some form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentSecret<'a> {
    /// Its name in the runbook.
    pub(crate) name: &'a str,
    /// The form in which it is sent.
    pub(crate) form: SecretForm,
    /// The receiver, for a message.
    pub(crate) to: String,
    /// The transport, such as `http`, if it does not verify the receiver.
    pub(crate) unverified: Option<&'static str>,
}

impl SentSecret<'_> {
    /// The secret and its form, for a message: ``secret `token` ``.
    pub(crate) fn describe(&self) -> String {
        match self.form {
            SecretForm::Value => format!("secret `{}`", self.name),
            SecretForm::Token => format!("a token that it gets for secret `{}`", self.name),
            SecretForm::Signature => format!("what it signs with secret `{}`", self.name),
        }
    }
}

impl Target {
    /// The transport of a request to `url`, if it goes to another machine without encryption.
    pub(super) fn unencrypted_transport(&self, url: &Url) -> Option<&'static str> {
        let is_local = self.via.is_none() && is_local_host(url.host_str().unwrap_or_default());
        (url.scheme() == "http" && !is_local).then_some("http")
    }

    /// The secrets that the target sends away. The private key of a client certificate is not one:
    /// it stays here.
    pub(crate) fn transmitted_secrets(&self) -> Vec<SentSecret<'_>> {
        match &self.kind {
            TargetKind::Http(http) => self.sent_by_http(http),
            TargetKind::Sql(sql) => self.sent_values(sql.password.as_deref()),
            TargetKind::Objects(objects) => {
                let mut sent = self.sent_values(objects.keys.sent_secrets());
                sent.push(self.sent(&objects.keys.secret_key, SecretForm::Signature));
                sent
            }
            TargetKind::Redis(redis) => self.sent_values(redis.password.as_deref()),
            TargetKind::Mail(mail) => self.sent_values(mail.password()),
            TargetKind::Process(process) => self.sent_values(process.secrets()),
            TargetKind::Secret(secret) => self.sent_values([secret.secret.as_str()]),
            TargetKind::Docker(_)
            | TargetKind::Files(_)
            | TargetKind::Net(_)
            | TargetKind::System(_) => Vec::new(),
        }
    }

    fn sent_values<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<SentSecret<'a>> {
        names.into_iter().map(|name| self.sent(name, SecretForm::Value)).collect()
    }

    fn sent<'a>(&self, name: &'a str, form: SecretForm) -> SentSecret<'a> {
        SentSecret { name, form, to: self.describe(), unverified: self.unverified_transport() }
    }

    fn sent_by_http<'a>(&'a self, http: &'a HttpTarget) -> Vec<SentSecret<'a>> {
        let base = match &http.base {
            HttpBase::Url(_) => None,
            HttpBase::Secret(name) => Some(name.as_str()),
        };
        let secret_of = |header: &'a InjectedHeader| header.secret.as_deref();
        let mut sent =
            self.sent_values(base.into_iter().chain(http.headers.values().filter_map(secret_of)));
        match &http.auth {
            None => {}
            Some(HttpAuth::Header(header)) => sent.extend(self.sent_values(secret_of(header))),
            Some(HttpAuth::AwsSigV4(aws)) => {
                sent.extend(self.sent_values(aws.sent_secrets()));
                sent.push(self.sent(&aws.secret_key, SecretForm::Signature));
            }
            Some(HttpAuth::OAuth2(client)) => {
                let names =
                    client.client_id.secret().into_iter().chain([client.client_secret.as_str()]);
                sent.extend(names.map(|name| SentSecret {
                    name,
                    form: SecretForm::Value,
                    to: client.token_url.to_string(),
                    unverified: self.unencrypted_transport(&client.token_url),
                }));
                sent.push(self.sent(&client.client_secret, SecretForm::Token));
            }
            Some(HttpAuth::VaultAppRole(role)) => {
                let names = role.role_id.secret().into_iter().chain([role.secret_id.as_str()]);
                sent.extend(self.sent_values(names));
                sent.push(self.sent(&role.secret_id, SecretForm::Token));
            }
        }
        sent
    }
}
