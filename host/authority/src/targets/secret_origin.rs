//! Where the value of a secret comes from, as `[secrets.NAME]` says.
//!
//! An origin that needs a program or a server names a target for it, so that the same reviews,
//! lockfiles, boundaries and sandboxes hold for it as for a target that a slot is bound to.

use super::{Folder, Gateway, HostPath, PathView, Target};
use crate::capability::Verb;
use crate::capability::VerbEffect;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Where the value of a secret comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretOrigin {
    /// `age:FILE#NAME`: one secret of an age store.
    Age(FileEntry),
    /// `sops:FILE#PATH`: one value of a file that `sops` encrypted.
    Sops(FileEntry),
    /// `systemd:NAME`: a credential that systemd passes to the service.
    Credential(String),
    /// `env:NAME`: a variable of the environment in which the host was started.
    Variable(String),
    /// `exec:TARGET`: what a program prints.
    Program(ProgramOutput),
    /// `vault:TARGET`: a field of a secret in a KV store (version 2) of Vault.
    Vault(VaultValue),
}

/// One entry of an encrypted file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// The file.
    pub file: HostPath,
    /// The name or the path of the entry in it.
    pub entry: String,
    /// Of an age store, whom a run that writes it may encrypt it to.
    pub recipients: RecipientList,
}

/// The public keys that were listed beside an age store when the runbook was read. They are what
/// was reviewed: a run encrypts the store to no others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RecipientList {
    /// The list was not read, because only the text of the runbook is checked.
    #[default]
    Unknown,
    /// There is no list, as for a store that is encrypted with a passphrase.
    Absent,
    /// These keys, without comments.
    Listed(BTreeSet<String>),
}

impl RecipientList {
    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = match self {
            Self::Listed(keys) => Some(keys),
            Self::Unknown | Self::Absent => None,
        };
        keys.into_iter().flatten().map(String::as_str)
    }
}

impl From<Option<BTreeSet<String>>> for RecipientList {
    fn from(keys: Option<BTreeSet<String>>) -> Self {
        keys.map_or(Self::Absent, Self::Listed)
    }
}

impl FileEntry {
    /// The secret `name` of the age store at a path, with the recipients that are listed now.
    pub(super) fn of_store(store: &str, name: &str, folder: Folder<'_>) -> Self {
        let file = folder.locate(store);
        let recipients = folder.recipients_of(file.real());
        Self { file, entry: name.to_owned(), recipients }
    }
}

/// What a program prints.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramOutput {
    /// A `process` target that allows exactly `arguments`.
    pub target: Arc<Target>,
    /// The arguments of the program.
    pub arguments: Vec<String>,
}

/// A field of a secret in a KV store of Vault.
#[derive(Debug, Clone, PartialEq)]
pub struct VaultValue {
    /// An `http` target that allows exactly the path of the secret.
    pub target: Arc<Target>,
    /// The gateway through which the target is reached, if it has a `via`.
    pub gateway: Option<Arc<Gateway>>,
    /// The path of the request, such as `/v1/kv/data/orders/db`.
    pub path: String,
    /// The field of the secret.
    pub field: String,
    /// The version of the secret; the newest if absent.
    pub version: Option<u64>,
}

impl VaultValue {
    /// The path of the request with its query.
    pub fn request_path(&self) -> String {
        self.version
            .map_or_else(|| self.path.clone(), |version| format!("{}?version={version}", self.path))
    }
}

/// The beginnings of sources that have a path of this host after them.
const FILE_SCHEMES: [&str; 3] = ["age:", "sops:", "exec:"];

/// The beginnings of all other sources.
const OTHER_SCHEMES: [&str; 3] = ["systemd:", "env:", "vault:"];

impl SecretOrigin {
    /// The secret `name` of the age store at a path. A relative path is below `folder`.
    pub fn age(store: &str, name: &str, folder: Folder<'_>) -> Self {
        Self::Age(FileEntry::of_store(store, name, folder))
    }

    /// The origin as text, for comparisons: `age:/srv/checks/secrets/prod.age#orders-db`.
    pub fn render(&self, view: PathView) -> String {
        match self {
            Self::Age(entry) => format!("age:{}#{}", entry.file.render(view), entry.entry),
            Self::Sops(entry) => format!("sops:{}#{}", entry.file.render(view), entry.entry),
            Self::Credential(name) => format!("systemd:{name}"),
            Self::Variable(name) => format!("env:{name}"),
            Self::Program(ProgramOutput { target, arguments }) => {
                let program = target.process().map(|process| process.program.render(view));
                let arguments = serde_json::Value::from(arguments.clone());
                format!("exec:{} {arguments}", program.unwrap_or_default())
            }
            Self::Vault(value) => {
                let base = value.target.http().and_then(|http| http.base_url());
                let base = base.map(|base| base.as_str().trim_end_matches('/').to_owned());
                let path = value.request_path();
                format!("vault:{}{path}#{}", base.unwrap_or_default(), value.field)
            }
        }
    }

    /// The target that it names.
    pub fn target(&self) -> Option<&Arc<Target>> {
        match self {
            Self::Program(output) => Some(&output.target),
            Self::Vault(value) => Some(&value.target),
            Self::Age(_) | Self::Sops(_) | Self::Credential(_) | Self::Variable(_) => None,
        }
    }

    /// The gateway through which the target that it names is reached.
    pub fn gateway(&self) -> Option<&Arc<Gateway>> {
        match self {
            Self::Vault(value) => value.gateway.as_ref(),
            // A program connects by itself.
            Self::Program(_)
            | Self::Age(_)
            | Self::Sops(_)
            | Self::Credential(_)
            | Self::Variable(_) => None,
        }
    }

    /// Whether reading it runs a program that may change something.
    pub fn may_change(&self) -> bool {
        match self {
            Self::Program(output) => program_verb(&output.target).effect() == VerbEffect::Change,
            Self::Age(_)
            | Self::Sops(_)
            | Self::Credential(_)
            | Self::Variable(_)
            | Self::Vault(_) => false,
        }
    }

    /// The encrypted file that it is in.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Age(entry) | Self::Sops(entry) => Some(entry.file.real()),
            Self::Credential(_) | Self::Variable(_) | Self::Program(_) | Self::Vault(_) => None,
        }
    }
}

/// The slot of the host for reading a secret. No slot of a plugin has a dot in its name.
pub fn source_slot(secret: &str) -> String {
    format!("secrets.{secret}")
}

/// The verb by which the program of a target is run.
pub(crate) fn program_verb(target: &Target) -> Verb {
    if target.process().is_some_and(|process| process.read_only) {
        Verb::ProcessInspect
    } else {
        Verb::ProcessRun
    }
}

/// Applies `change` to a path, or to the path in an origin (`age:PATH#NAME`, `exec:PATH […]`).
pub(crate) fn map_path(text: &str, change: impl Fn(&str) -> String) -> String {
    let scheme = FILE_SCHEMES.into_iter().find(|scheme| text.starts_with(scheme));
    match scheme {
        Some(scheme) => {
            let origin = &text[scheme.len()..];
            let end = if scheme == "exec:" { origin.find(" [") } else { origin.rfind('#') };
            let (path, rest) = origin.split_at(end.unwrap_or(origin.len()));
            format!("{scheme}{}{rest}", change(path))
        }
        None => change(text),
    }
}

/// Whether a text is an absolute path, or an origin with one.
pub(crate) fn has_absolute_path(text: &str) -> bool {
    let after_scheme = FILE_SCHEMES.into_iter().find_map(|scheme| text.strip_prefix(scheme));
    after_scheme.unwrap_or(text).starts_with('/')
}

/// Whether a pattern of a boundary can match an origin.
pub(crate) fn is_source_pattern(pattern: &str) -> bool {
    let after =
        |schemes: [&str; 3]| schemes.into_iter().find_map(|scheme| pattern.strip_prefix(scheme));
    pattern.starts_with('*')
        || after(FILE_SCHEMES).is_some_and(|path| path.starts_with(['/', '*']))
        || after(OTHER_SCHEMES).is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_path_changes_a_path_or_the_path_in_an_origin() {
        let add_prefix = |path: &str| format!("/x{path}");
        assert_eq!(map_path("age:/s/a.age#b", add_prefix), "age:/x/s/a.age#b");
        assert_eq!(map_path("age:/s/#1/a.age#b", add_prefix), "age:/x/s/#1/a.age#b");
        assert_eq!(map_path("sops:/s/a.yaml#db/b", add_prefix), "sops:/x/s/a.yaml#db/b");
        assert_eq!(map_path("exec:/bin/p [\"#\"]", add_prefix), "exec:/x/bin/p [\"#\"]");
        assert_eq!(map_path("/s/a#b", add_prefix), "/x/s/a#b");
        assert!(["/a", "age:/a#b", "exec:/a []"].into_iter().all(has_absolute_path));
        assert!(!["a", "env:/A", "vault:https://h/p#f"].into_iter().any(has_absolute_path));
    }

    #[test]
    fn a_name_by_itself_matches_no_source() {
        let patterns = [
            "*",
            "*#orders-*",
            "age:/srv/s.age#token",
            "age:*#token",
            "sops:/srv/*",
            "exec:/usr/bin/pass *",
            "vault:https://vault.internal:8200/v1/kv/data/orders/*",
            "systemd:db",
            "env:TOKEN",
        ];
        assert!(patterns.into_iter().all(is_source_pattern));
        let names = ["token", "age:s.age#token", "/srv/s.age#token", "", "exec:pass", "systemd:"];
        assert!(!names.into_iter().any(is_source_pattern));
    }
}
