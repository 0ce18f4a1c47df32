//! Which secrets a target sends away, in which form, and to whom.

use super::{HttpAuth, HttpBase, HttpTarget, InjectedHeader, Target, TargetKind, is_local_host};
use url::Url;

/// What of a secret leaves this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretForm {
    /// Its value.
    Value,
    /// A token that another server gave for it.
    Token,
    /// A signature that was made with it.
    Signature,
}

/// A secret that a target makes use of at another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentSecret<'a> {
    /// Its name in the runbook.
    pub(crate) name: &'a str,
    /// What of it is sent.
    pub(crate) form: SecretForm,
    /// Who gets that, in a few words.
    pub(crate) to: String,
    /// By what it is sent, if nobody verifies who gets it.
    pub(crate) unverified: Option<&'static str>,
}

impl SentSecret<'_> {
    /// What is sent, for a message: ``secret `token` ``.
    pub(crate) fn what(&self) -> String {
        match self.form {
            SecretForm::Value => format!("secret `{}`", self.name),
            SecretForm::Token => format!("a token that it gets for secret `{}`", self.name),
            SecretForm::Signature => format!("what it signs with secret `{}`", self.name),
        }
    }
}

/// By what a request to `url` goes to a server elsewhere without encryption.
pub(super) fn open_transport(url: &Url) -> Option<&'static str> {
    let is_unencrypted =
        url.scheme() == "http" && !is_local_host(url.host_str().unwrap_or_default());
    is_unencrypted.then_some("http")
}

impl Target {
    /// The secrets that reach the other side: not the private key by which the host shows who it
    /// is.
    pub(crate) fn transmitted_secrets(&self) -> Vec<SentSecret<'_>> {
        match &self.kind {
            TargetKind::Http(http) => self.sent_by_http(http),
            TargetKind::Sql(sql) => self.sent_values(sql.password.as_deref()),
            TargetKind::Process(process) => self.sent_values(process.secrets()),
            TargetKind::Secret(secret) => self.sent_values([secret.secret.as_str()]),
            TargetKind::Docker(_) | TargetKind::Files(_) | TargetKind::Net(_) => Vec::new(),
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
        let of_header = |header: &'a InjectedHeader| header.secret.as_deref();
        let mut sent =
            self.sent_values(base.into_iter().chain(http.headers.values().filter_map(of_header)));
        match &http.auth {
            None => {}
            Some(HttpAuth::Header(header)) => sent.extend(self.sent_values(of_header(header))),
            Some(HttpAuth::AwsSigV4(aws)) => {
                let session = aws.session_token.as_deref();
                sent.extend(self.sent_values(aws.access_key.secret().into_iter().chain(session)));
                sent.push(self.sent(&aws.secret_key, SecretForm::Signature));
            }
            Some(HttpAuth::OAuth2(client)) => {
                let names =
                    client.client_id.secret().into_iter().chain([client.client_secret.as_str()]);
                sent.extend(names.map(|name| SentSecret {
                    name,
                    form: SecretForm::Value,
                    to: client.token_url.to_string(),
                    unverified: open_transport(&client.token_url),
                }));
                sent.push(self.sent(&client.client_secret, SecretForm::Token));
            }
        }
        sent
    }
}
