//! Gateways: what connections go through. No slot is bound to a gateway; a target names it as
//! `via`.

use super::proxy::{self, ProxyGateway, ProxyTransport};
use super::sent::{SecretForm, SentSecret};
use super::ssh::{self, SshCredential, SshGateway};
use super::{Folder, PathView, SecretOrigin, is_local_host};
use crate::pattern::AddressPolicy;
use runbook_document::{Key, Reader, Source, Span};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One gateway, as `[targets.NAME]` describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// The `NAME` of `[targets.NAME]`.
    pub name: String,
    /// The file that it is written in.
    pub source: Arc<Source>,
    /// The place of its name.
    pub span: Span,
    /// The kind of the gateway, with its settings.
    pub kind: GatewayKind,
    /// The origins of the secrets of its runbook, by the names that the runbook gives them.
    pub secret_origins: Arc<BTreeMap<String, SecretOrigin>>,
}

/// The kind of a gateway, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum GatewayKind {
    /// An SSH server that forwards connections (a bastion).
    Ssh(SshGateway),
    /// An HTTP proxy that makes connections by CONNECT.
    Proxy(ProxyGateway),
}

/// The keys of a target that make it a gateway.
pub(super) const KIND_KEYS: &[&str] = &["ssh", "proxy"];

impl GatewayKind {
    /// The key of a target that makes it a gateway of this kind; the codes of its faults begin with
    /// it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Ssh(_) => "ssh",
            Self::Proxy(_) => "proxy",
        }
    }
}

impl Gateway {
    /// Its host name or address, and its port.
    pub fn server(&self) -> (&str, u16) {
        match &self.kind {
            GatewayKind::Ssh(ssh) => (&ssh.host, ssh.port),
            GatewayKind::Proxy(proxy) => (&proxy.host, proxy.port),
        }
    }

    /// The addresses that its own name may resolve to.
    pub fn addresses(&self) -> &AddressPolicy {
        match &self.kind {
            GatewayKind::Ssh(ssh) => &ssh.addresses,
            GatewayKind::Proxy(proxy) => &proxy.addresses,
        }
    }

    /// How long connecting to it and logging in may take together, and for a proxy its answer too.
    pub fn timeout(&self) -> Duration {
        match &self.kind {
            GatewayKind::Ssh(ssh) => ssh.timeout,
            GatewayKind::Proxy(proxy) => proxy.timeout,
        }
    }

    /// The user that the host logs in as; `None` if there is no login.
    pub fn user(&self) -> Option<&str> {
        match &self.kind {
            GatewayKind::Ssh(ssh) => Some(&ssh.user),
            GatewayKind::Proxy(proxy) => proxy.login.as_ref().map(|login| login.user.as_str()),
        }
    }

    /// A short description without secrets: `ssh ops@10.0.0.5:22`, `proxy http://10.0.0.6:3128`.
    pub fn describe(&self) -> String {
        match &self.kind {
            GatewayKind::Ssh(ssh) => ssh.describe(),
            GatewayKind::Proxy(proxy) => proxy.describe(),
        }
    }

    /// Its description with all that decides whom the host trusts, for comparisons:
    /// `ssh ops@10.0.0.5:22 with host key SHA256:…`.
    pub(crate) fn identity(&self, view: PathView) -> String {
        match &self.kind {
            GatewayKind::Ssh(ssh) => format!("{} with {}", ssh.describe(), ssh.trust(view)),
            GatewayKind::Proxy(proxy) => match proxy.trust(view) {
                None => proxy.describe(),
                Some(trust) => format!("{} {trust}", proxy.describe()),
            },
        }
    }

    /// The names of the secrets that it needs.
    pub fn secrets(&self) -> Vec<&str> {
        match &self.kind {
            GatewayKind::Ssh(ssh) => ssh.secrets(),
            GatewayKind::Proxy(proxy) => proxy.secrets(),
        }
    }

    /// The secrets that it is sent. A private key stays here.
    pub(crate) fn transmitted_secrets(&self) -> Vec<SentSecret<'_>> {
        let GatewayKind::Proxy(proxy) = &self.kind else { return Vec::new() };
        let is_exposed = proxy.transport == ProxyTransport::Plain && !is_local_host(&proxy.host);
        let sent = proxy.login.iter().map(|login| SentSecret {
            name: &login.password,
            form: SecretForm::Value,
            to: self.describe(),
            unverified: is_exposed.then_some("http"),
        });
        sent.collect()
    }

    /// A secret by its name, with its source.
    pub(crate) fn describe_secret(&self, name: &str) -> String {
        match self.secret_origins.get(name) {
            Some(origin) => format!("secret `{name}` ({})", origin.render(PathView::OnThisHost)),
            None => format!("secret `{name}`"),
        }
    }

    /// Whether the host logs in with the keys of an agent.
    pub(crate) fn uses_agent(&self) -> bool {
        match &self.kind {
            GatewayKind::Ssh(ssh) => matches!(ssh.credential, SshCredential::Agent { .. }),
            GatewayKind::Proxy(_) => false,
        }
    }

    /// The sources of its secrets. For an unknown secret, its name.
    pub(crate) fn secret_sources(&self, view: PathView) -> Vec<String> {
        let source = |name: &str| {
            self.secret_origins
                .get(name)
                .map_or_else(|| name.to_owned(), |secret| secret.render(view))
        };
        self.secrets().into_iter().map(source).collect()
    }

    /// `file:line` of the gateway.
    pub fn location(&self) -> String {
        self.source.place(&self.span)
    }
}

/// Reads a `[targets.NAME]` table that has one of [`KIND_KEYS`].
pub(super) fn read(key: &Key, reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<Gateway> {
    let has = |key: &str| reader.table().get(key).is_some();
    let (has_ssh, has_proxy) = (has("ssh"), has("proxy"));
    if has_ssh && has_proxy {
        let message = format!("target `{}` must have one of ssh and proxy", key.name);
        reader.error("E0101", key.span.clone(), message, "which kind of gateway is it?");
        reader.mark_known("proxy");
    }
    let kind = if has_ssh {
        ssh::read(reader, folder).map(GatewayKind::Ssh)
    } else {
        proxy::read(reader, folder).map(GatewayKind::Proxy)
    }?;
    Some(Gateway {
        name: key.name.clone(),
        source: Arc::clone(reader.source()),
        span: key.span.clone(),
        kind,
        secret_origins: Arc::default(),
    })
}

#[cfg(test)]
mod tests;
