//! Gateways: what connections go through. No slot is bound to a gateway; a target names it as
//! `via`.

use super::ssh::{self, SshCredential, SshGateway};
use super::{Folder, PathView, SecretOrigin};
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
}

/// The keys of a target that make it a gateway.
pub(super) const KIND_KEYS: &[&str] = &["ssh"];

impl Gateway {
    /// Its host name or address, and its port.
    pub fn server(&self) -> (&str, u16) {
        match &self.kind {
            GatewayKind::Ssh(ssh) => (&ssh.host, ssh.port),
        }
    }

    /// The addresses that its own name may resolve to.
    pub fn addresses(&self) -> &AddressPolicy {
        match &self.kind {
            GatewayKind::Ssh(ssh) => &ssh.addresses,
        }
    }

    /// How long connecting to it and logging in may take together.
    pub fn timeout(&self) -> Duration {
        match &self.kind {
            GatewayKind::Ssh(ssh) => ssh.timeout,
        }
    }

    /// A short description without secrets: `ssh ops@10.0.0.5:22`.
    pub fn describe(&self) -> String {
        match &self.kind {
            GatewayKind::Ssh(ssh) => ssh.describe(),
        }
    }

    /// Its description with all that decides whom the host trusts, for comparisons:
    /// `ssh ops@10.0.0.5:22 with host key SHA256:…`.
    pub(crate) fn identity(&self, view: PathView) -> String {
        match &self.kind {
            GatewayKind::Ssh(ssh) => format!("{} with {}", ssh.describe(), ssh.trust(view)),
        }
    }

    /// The names of the secrets that it needs. None of them is sent to it.
    pub fn secrets(&self) -> Vec<&str> {
        match &self.kind {
            GatewayKind::Ssh(ssh) => ssh.secrets(),
        }
    }

    /// Whether the host logs in with the keys of an agent.
    pub(crate) fn uses_agent(&self) -> bool {
        match &self.kind {
            GatewayKind::Ssh(ssh) => matches!(ssh.credential, SshCredential::Agent { .. }),
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
    let kind = ssh::read(reader, folder).map(GatewayKind::Ssh)?;
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
