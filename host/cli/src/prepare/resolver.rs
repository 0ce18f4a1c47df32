//! Resolves each `uses` of a runbook: finds the plugin, grants, and compares the grant with the
//! boundaries and with the paths of the host.

use super::input_fit::{known_input, wrong_input};
use crate::boundary;
use crate::failure::Failure;
use crate::plugins::Plugins;
use crate::prepared::GrantedSite;
use crate::protected_paths::{self, ProtectedPathsAndMounts};
use crate::written_input::params_of_sites;
use runbook_authority::grant::{self, GrantSite, Refusal, RefusalRule};
use runbook_authority::manifest::KnownInput;
use runbook_authority::{Binding, Boundary, EffectiveGrants, Manifest, Targets};
use runbook_contract::StepId;
use runbook_document::{Diagnostic, Diagnostics};
use runbook_engine::model::{Bind, Param};
use runbook_engine::{CallSite, OperationFacts, Runbook};
use runbook_runtime::VerifiedComponent;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Resolves each `uses` of a runbook.
pub struct UseResolver<'a> {
    pub boundaries: &'a [Boundary],
    pub protected_paths: &'a ProtectedPathsAndMounts,
    /// Loads plugins, and knows which are trusted.
    pub plugins: Plugins,
    /// The folder of the runbook: plugins are named relative to it.
    pub folder: &'a Path,
    pub targets: &'a Targets,
    /// The names of targets with mistakes.
    pub wrong_targets: &'a BTreeSet<&'a str>,
}

/// The resolved call sites, and the facts of their operations.
type SitesAndFacts = (BTreeMap<StepId, GrantedSite>, BTreeMap<StepId, OperationFacts>);

impl UseResolver<'_> {
    /// Returns the call sites that could be resolved, and adds diagnostics for all others.
    ///
    /// # Errors
    /// The manifest of a plugin has mistakes.
    pub fn resolve(
        mut self,
        runbook: &Runbook,
        diagnostics: &mut Diagnostics,
    ) -> Result<SitesAndFacts, Failure> {
        let (mut sites, mut facts) = SitesAndFacts::default();
        let params_of = params_of_sites(runbook);
        for site in runbook.call_sites() {
            let Some((reference, operation)) = site.uses.value.rsplit_once(':') else { continue };
            let plugin = match self.plugins.get(reference, self.folder) {
                Ok(plugin) => plugin,
                Err(failure) => {
                    diagnostics.push(unusable_plugin(&site, failure)?);
                    continue;
                }
            };
            let params = params_of(&site.step);
            match effective_grant(&site, operation, plugin.manifest(), self.targets, params) {
                Ok(grants) => {
                    let uses = (reference, operation);
                    self.check(&site, uses, (&plugin, &grants), params, diagnostics);
                    facts.insert(site.step.clone(), facts_of(&plugin, operation, &grants));
                    let granted_site = GrantedSite {
                        reference: reference.to_owned(),
                        operation: operation.to_owned(),
                        plugin,
                        grants,
                    };
                    sites.insert(site.step, granted_site);
                }
                Err(refusals) => diagnostics.extend(self.causes(&site, refusals)),
            }
        }
        Ok((sites, facts))
    }

    /// Adds what is wrong with a call site that was granted.
    fn check(
        &self,
        site: &CallSite<'_>,
        uses: (&str, &str),
        (plugin, grants): (&VerifiedComponent, &EffectiveGrants),
        params: &[Param],
        diagnostics: &mut Diagnostics,
    ) {
        for boundary in self.boundaries {
            boundary::check(boundary, site, (plugin.manifest(), grants), diagnostics);
        }
        protected_paths::check(self.protected_paths, site, grants, diagnostics);
        diagnostics.extend(wrong_input(site, uses, self.folder, plugin, params));
        let declared = plugin.manifest().operations.get(uses.1);
        diagnostics
            .extend(declared.and_then(|declared| crate::spent_time::check_timeout(site, declared)));
    }

    /// The refusals of a grant, without those that only follow from another mistake.
    fn causes(&self, site: &CallSite<'_>, refusals: Vec<Refusal>) -> Vec<Diagnostic> {
        // A mistyped slot name also leaves the right slot unbound.
        let has_unknown_slot =
            refusals.iter().any(|refusal| refusal.rule == RefusalRule::UnknownSlot);
        let is_consequence = |refusal: &Refusal| match refusal.rule {
            RefusalRule::Unbound => has_unknown_slot,
            rule => rule.concerns_target() && is_bound_to(site, self.wrong_targets),
        };
        refusals.into_iter().filter(|refusal| !is_consequence(refusal)).map(Into::into).collect()
    }
}

/// Whether a slot is bound to one of these targets, which have mistakes. A refusal of such a slot
/// would only repeat the mistake of its target.
fn is_bound_to(site: &CallSite<'_>, targets: &BTreeSet<&str>) -> bool {
    site.bind.iter().any(|bind| targets.contains(bind.target.value.as_str()))
}

/// A plugin that cannot be used, shown where the runbook names it.
fn unusable_plugin(site: &CallSite<'_>, failure: Failure) -> Result<Diagnostic, Failure> {
    match failure {
        Failure::Error { error, hints, status } => {
            let code =
                if status == crate::exit_status::ExitStatus::Refused { "E0117" } else { "E0312" };
            let messages =
                std::iter::once(error.to_string()).chain(Failure::causes(error.as_ref()));
            let message = messages.collect::<Vec<_>>().join(": ");
            let diagnostic = Diagnostic::error(code, site.source, site.uses.span.clone(), message)
                .label("this plugin");
            Ok(if hints.is_empty() { diagnostic } else { diagnostic.help(hints.join("; ")) })
        }
        other @ (Failure::Findings { .. } | Failure::BrokenPipe) => Err(other),
    }
}

fn effective_grant(
    site: &CallSite<'_>,
    operation: &str,
    manifest: &Manifest,
    targets: &Targets,
    params: &[Param],
) -> Result<EffectiveGrants, Vec<grant::Refusal>> {
    let bindings: Vec<_> = site
        .bind
        .iter()
        .map(|Bind { slot, target, .. }| Binding { slot: slot.clone(), target: target.clone() })
        .collect();
    let step = site.step.as_str();
    let known = known_input(site, params);
    // A sample value has the type of a parameter, but a condition cannot be decided by it.
    let unknown: BTreeSet<String> = known.unknown.into_iter().chain(known.sample_places).collect();
    let grant_site = GrantSite {
        step,
        uses: &site.uses.value,
        operation,
        source: site.source,
        span: &site.uses.span,
        input: KnownInput { value: &known.value, unknown: &unknown },
    };
    grant::grant(&grant_site, manifest, &bindings, targets)
}

fn facts_of(
    plugin: &VerifiedComponent,
    operation: &str,
    grants: &EffectiveGrants,
) -> OperationFacts {
    let declared =
        plugin.manifest().operations.get(operation).expect("granting found the operation");
    OperationFacts {
        kind: declared.kind,
        idempotent: declared.idempotent,
        undo: declared.undo,
        writes: declared.writes(),
        digest: plugin.digest().to_string(),
        places: grants
            .iter()
            .map(|grant| format!("`{}` ({})", grant.target.name, grant.target.describe()))
            .collect(),
    }
}
