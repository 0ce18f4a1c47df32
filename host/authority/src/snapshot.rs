//! What plugins and runbooks may do, in a form that can be compared: read from a lockfile, a folder
//! or a git revision.

use crate::capability::{Capability, Verb};
use crate::digest::Digest;
use crate::grant::EffectiveGrants;
use crate::manifest::{Kind, Manifest};
use crate::scope::{AccessScope, Dimension};
use crate::targets::PathView;
use std::collections::{BTreeMap, BTreeSet};

/// What plugins and runbooks may do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Plugins, by what `uses` calls them: a bundled name or a path.
    pub plugins: BTreeMap<String, PluginFacts>,
    /// Runbooks, by path, with the environment after an `@`.
    pub runbooks: BTreeMap<String, RunbookFacts>,
}

impl Snapshot {
    /// The same snapshot with paths as if `root` were the root of the file system, so that
    /// snapshots of two checkouts can be compared.
    #[must_use]
    pub fn relative_to(self, root: &str) -> Self {
        self.moved(root, "")
    }

    /// The same snapshot with paths as if folder `from` were `to`, so that a copy of a folder can be
    /// compared with it. Both are absolute and without a slash at the end.
    #[must_use]
    pub fn moved(mut self, from: &str, to: &str) -> Self {
        for grant in self.runbooks.values_mut().flat_map(|runbook| runbook.grants.values_mut()) {
            for (dimension, values) in &mut grant.scope.values {
                if matches!(
                    dimension,
                    Dimension::Files
                        | Dimension::Directories
                        | Dimension::Programs
                        | Dimension::Reads
                        | Dimension::Writes
                        | Dimension::Secrets
                        | Dimension::Sockets
                        | Dimension::ClientCertificates
                ) {
                    *values = values.moved(from, to);
                }
            }
        }
        self
    }
}

/// One plugin of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginFacts {
    /// The name that its manifest gives it.
    pub name: String,
    /// The version of the plugin, as its manifest says.
    pub version: String,
    /// The digest of the component's bytes.
    pub digest: Digest,
    /// The digest of what it imports, exports and offers.
    pub interface: Digest,
    /// The host functions that it imports, as `interface#function`, sorted.
    pub imports: BTreeSet<String>,
    /// Its slots, by name.
    pub slots: BTreeMap<String, SlotFacts>,
}

/// One slot of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotFacts {
    /// The capability that the slot declares.
    pub capability: Capability,
    /// The verbs that the slot declares.
    pub verbs: BTreeSet<Verb>,
}

/// One runbook of a snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunbookFacts {
    /// The plugins that its steps use, by what `uses` calls them.
    pub plugins: BTreeSet<String>,
    /// The text of each file that it is made of, by path below its folder. Empty for a lockfile of
    /// format 1, which does not keep them.
    pub texts: BTreeMap<String, String>,
    /// What each slot of each step is granted, by step and slot.
    pub grants: BTreeMap<(String, String), GrantFacts>,
}

/// What one slot of one step is granted.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantFacts {
    /// The operation that the step calls, as `plugin:operation`.
    pub uses: String,
    /// The name of the target.
    pub target: String,
    /// How far the grant reaches.
    pub scope: AccessScope,
}

impl RunbookFacts {
    /// The same facts with the text of one file under another name, so that `v1.toml` can be
    /// compared with `v2.toml`. Both are paths, whose last parts count.
    #[must_use]
    pub fn with_file_renamed(mut self, from: &str, to: &str) -> Self {
        let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        if let Some(text) = self.texts.remove(&last(from)) {
            self.texts.insert(last(to), text);
        }
        self
    }
}

impl PluginFacts {
    /// The facts of one component.
    pub fn of(
        manifest: &Manifest,
        digest: &Digest,
        imports: BTreeSet<String>,
        exports: &[String],
    ) -> Self {
        let slots = manifest.slots.iter().map(|(name, slot)| {
            (
                name.clone(),
                SlotFacts {
                    capability: slot.capability,
                    verbs: slot.verbs.iter().copied().collect(),
                },
            )
        });
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: digest.clone(),
            interface: interface_digest(manifest, &imports, exports),
            slots: slots.collect(),
            imports,
        }
    }
}

/// The digest of the interface of a plugin: what it imports, exports and offers, without its code,
/// texts and version.
fn interface_digest(manifest: &Manifest, imports: &BTreeSet<String>, exports: &[String]) -> Digest {
    let operations: BTreeMap<_, _> = manifest
        .operations
        .iter()
        .map(|(name, operation)| {
            let kind: Kind = operation.kind;
            (
                name,
                (
                    kind.name(),
                    &operation.slots,
                    &operation.optional,
                    &operation.needed_if,
                    operation.idempotent,
                    operation.undo,
                    &operation.input,
                    &operation.output,
                ),
            )
        })
        .collect();
    let text = serde_json::to_vec(&(imports, exports, operations))
        .expect("string keys only, so it is always JSON");
    Digest::of(&text)
}

impl RunbookFacts {
    /// Adds what one step is granted.
    pub fn add(&mut self, (step, uses, plugin): (&str, &str, &str), grants: &EffectiveGrants) {
        for grant in grants.reviewed() {
            let facts = GrantFacts {
                uses: uses.to_owned(),
                target: grant.target.name.clone(),
                scope: AccessScope::of(plugin, grant, grants, PathView::Portable),
            };
            self.grants.insert((step.to_owned(), grant.slot.clone()), facts);
        }
    }
}
