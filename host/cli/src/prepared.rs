//! A runbook that is verified and granted: the input of the later stages.

use runbook_authority::{EffectiveGrants, Verb, VerbEffect};
use runbook_document::Source;
use runbook_engine::{OperationFacts, Runbook, StepId};
use runbook_runtime::VerifiedComponent;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// One place in a runbook that calls a plugin, with what it is granted.
#[derive(Debug)]
pub struct GrantedSite {
    /// The plugin as `uses` names it: a bundled name or a path.
    pub reference: String,
    /// The name of the operation, without its plugin.
    pub operation: String,
    /// The plugin, whose imports are verified.
    pub plugin: Arc<VerifiedComponent>,
    /// What the call may do.
    pub grants: EffectiveGrants,
}

impl GrantedSite {
    /// Whether the call may change something.
    pub fn may_change(&self) -> bool {
        let changes = |verb: &Verb| verb.effect() == VerbEffect::Change;
        self.grants.iter().any(|grant| grant.verbs.iter().any(changes))
    }
}

/// A runbook whose every step is verified and granted.
#[derive(Debug)]
pub struct PreparedRunbook {
    /// The runbook, as it was parsed.
    pub runbook: Runbook,
    /// Its folder, absolute and without links: relative paths are below it.
    pub folder: PathBuf,
    /// The environment whose targets were taken.
    pub environment: Option<String>,
    /// The waivers beside it, if it is a suite and there are any. They are read once, so that what
    /// is compared with the lockfile is what applies.
    pub waivers: Option<Arc<Source>>,
    /// The call sites of the runbook, each granted.
    pub sites: BTreeMap<StepId, GrantedSite>,
    /// What the engine needs to know about the operation of each call site.
    pub facts: BTreeMap<StepId, OperationFacts>,
}

impl PreparedRunbook {
    /// Every call of the runbook with what it is granted, in file order: steps, each with its undo
    /// after it, then guards and notifications.
    pub fn calls(&self) -> impl Iterator<Item = (StepId, &GrantedSite)> {
        self.runbook.call_sites().into_iter().filter_map(|site| {
            let granted = self.sites.get(&site.step)?;
            Some((site.step, granted))
        })
    }

    /// The secrets that calls are granted, by name, each with the calls in file order.
    pub fn users_of_secrets(&self) -> BTreeMap<&str, Vec<String>> {
        let mut users: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (id, site) in self.calls() {
            for name in site.grants.secrets() {
                users.entry(name).or_default().push(id.to_string());
            }
        }
        users
    }
}
