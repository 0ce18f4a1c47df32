//! A runbook that is verified and granted: the input of the later stages.

use runbook_authority::{Effective, Verb, VerbEffect};
use runbook_document::Source;
use runbook_engine::{OperationFacts, Runbook, StepId};
use runbook_runtime::Verified;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// One place that calls a plugin, granted.
#[derive(Debug)]
pub struct Site {
    /// What `uses` calls the plugin: a bundled name or a path.
    pub reference: String,
    /// The name of the operation, without its plugin.
    pub operation: String,
    /// The plugin, whose imports are verified.
    pub plugin: Arc<Verified>,
    /// What it may do here.
    pub effective: Effective,
}

impl Site {
    /// Whether the call may change something.
    pub fn changes(&self) -> bool {
        let changes = |verb: &Verb| verb.effect() == VerbEffect::Change;
        self.effective.iter().any(|grant| grant.verbs.iter().any(changes))
    }
}

/// A runbook whose every step is verified and granted.
#[derive(Debug)]
pub struct Prepared {
    /// The runbook, as it was parsed.
    pub runbook: Runbook,
    /// Its folder, absolute and without links: relative paths are below it.
    pub folder: PathBuf,
    /// The environment whose targets were taken.
    pub environment: Option<String>,
    /// The waivers beside it, if it is a suite and there are any. Read once: what is compared with
    /// the lockfile is what holds.
    pub waivers: Option<Arc<Source>>,
    /// The call sites of the runbook, each granted.
    pub sites: BTreeMap<StepId, Site>,
    /// What the engine needs to know of each.
    pub facts: BTreeMap<StepId, OperationFacts>,
}

impl Prepared {
    /// Every call of the runbook with what it is granted, in file order: steps, each with its undo
    /// after it, then guards and notifications.
    pub fn calls(&self) -> impl Iterator<Item = (StepId, &Site)> {
        self.runbook.use_sites().into_iter().filter_map(|site| {
            let granted = self.sites.get(&site.step)?;
            Some((site.step, granted))
        })
    }

    /// The secrets that calls are granted, by name, each with the calls in file order.
    pub fn users_of_secrets(&self) -> BTreeMap<&str, Vec<String>> {
        let mut users: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (id, site) in self.calls() {
            for name in site.effective.secrets() {
                users.entry(name).or_default().push(id.to_string());
            }
        }
        users
    }
}
