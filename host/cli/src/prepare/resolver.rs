//! From the uses of a runbook to what each may do: find the plugin, grant, compare with the
//! boundaries and with the places of the host.

use super::input_fit::{known_input, wrong_input};
use crate::boundary;
use crate::failure::Failure;
use crate::host_places::{self, PlacesOfHost};
use crate::plugins::Plugins;
use crate::prepared::Site;
use crate::written_input::params_of_sites;
use runbook_authority::grant::{self, GrantSite, Refusal, RefusalRule};
use runbook_authority::manifest::KnownInput;
use runbook_authority::{Binding, Boundary, Effective, Manifest, Targets};
use runbook_contract::StepId;
use runbook_document::{Diagnostic, Diagnostics};
use runbook_engine::model::{Bind, Param};
use runbook_engine::{OperationFacts, Runbook, UseSite};
use runbook_runtime::Verified;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the uses of a runbook are resolved against.
pub struct UseResolver<'a> {
    pub boundaries: &'a [Boundary],
    pub places: &'a PlacesOfHost,
    /// Which plugins are trusted, and those that were read.
    pub plugins: Plugins,
    /// The folder of the runbook: plugins are named relative to it.
    pub folder: &'a Path,
    pub targets: &'a Targets,
    /// The names of targets with mistakes.
    pub wrong: &'a BTreeSet<&'a str>,
}

/// The uses that could be resolved, and the facts of their operations.
type Resolved = (BTreeMap<StepId, Site>, BTreeMap<StepId, OperationFacts>);

impl UseResolver<'_> {
    /// Resolves each use, and adds what is wrong with the others.
    ///
    /// # Errors
    /// A plugin has findings of its own.
    pub fn resolve(
        mut self,
        runbook: &Runbook,
        diagnostics: &mut Diagnostics,
    ) -> Result<Resolved, Failure> {
        let (mut sites, mut facts) = Resolved::default();
        let params_of = params_of_sites(runbook);
        for site in runbook.use_sites() {
            let Some((reference, operation)) = site.uses.value.rsplit_once(':') else { continue };
            let plugin = match self.plugins.get(reference, self.folder) {
                Ok(plugin) => plugin,
                Err(failure) => {
                    diagnostics.push(unusable(&site, failure)?);
                    continue;
                }
            };
            let params = params_of(&site.step);
            match granted(&site, operation, plugin.manifest(), self.targets, params) {
                Ok(effective) => {
                    let uses = (reference, operation);
                    self.check(&site, uses, (&plugin, &effective), params, diagnostics);
                    facts.insert(site.step.clone(), facts_of(&plugin, operation, &effective));
                    let site_of = Site {
                        reference: reference.to_owned(),
                        operation: operation.to_owned(),
                        plugin,
                        effective,
                    };
                    sites.insert(site.step, site_of);
                }
                Err(refusals) => diagnostics.extend(self.causes(&site, refusals)),
            }
        }
        Ok((sites, facts))
    }

    /// What is wrong with a use that was granted.
    fn check(
        &self,
        site: &UseSite<'_>,
        uses: (&str, &str),
        (plugin, effective): (&Verified, &Effective),
        params: &[Param],
        diagnostics: &mut Diagnostics,
    ) {
        for boundary in self.boundaries {
            boundary::check(boundary, site, (plugin.manifest(), effective), diagnostics);
        }
        host_places::check(self.places, site, effective, diagnostics);
        diagnostics.extend(wrong_input(site, uses, self.folder, plugin, params));
        let declared = plugin.manifest().operations.get(uses.1);
        diagnostics
            .extend(declared.and_then(|declared| crate::spent_time::check_timeout(site, declared)));
    }

    /// The refusals of a grant, without those that only follow from another mistake.
    fn causes(&self, site: &UseSite<'_>, refusals: Vec<Refusal>) -> Vec<Diagnostic> {
        // A slot whose name is mistyped is not bound.
        let has_slip = refusals.iter().any(|refusal| refusal.rule == RefusalRule::UnknownSlot);
        let follows = |refusal: &Refusal| match refusal.rule {
            RefusalRule::Unbound => has_slip,
            rule => rule.concerns_target() && is_bound_to(site, self.wrong),
        };
        refusals.into_iter().filter(|refusal| !follows(refusal)).map(Into::into).collect()
    }
}

/// Whether a slot is bound to one of these targets, which have mistakes. A refusal of such a slot
/// would only repeat the mistake of its target.
fn is_bound_to(site: &UseSite<'_>, targets: &BTreeSet<&str>) -> bool {
    site.bind.iter().any(|bind| targets.contains(bind.target.value.as_str()))
}

/// A plugin that cannot be used, shown where the runbook names it.
fn unusable(site: &UseSite<'_>, failure: Failure) -> Result<Diagnostic, Failure> {
    match failure {
        Failure::Error { error, hints, status } => {
            let code =
                if status == crate::exit_status::ExitStatus::Refused { "E0117" } else { "E0312" };
            let said = std::iter::once(error.to_string()).chain(Failure::causes(error.as_ref()));
            let message = said.collect::<Vec<_>>().join(": ");
            let diagnostic = Diagnostic::error(code, site.source, site.uses.span.clone(), message)
                .label("this plugin");
            Ok(if hints.is_empty() { diagnostic } else { diagnostic.help(hints.join("; ")) })
        }
        other @ (Failure::Findings { .. } | Failure::BrokenPipe) => Err(other),
    }
}

fn granted(
    site: &UseSite<'_>,
    operation: &str,
    manifest: &Manifest,
    targets: &Targets,
    params: &[Param],
) -> Result<Effective, Vec<grant::Refusal>> {
    let bindings: Vec<_> = site
        .bind
        .iter()
        .map(|Bind { slot, target, .. }| Binding { slot: slot.clone(), target: target.clone() })
        .collect();
    let step = site.step.as_str();
    let known = known_input(site, params);
    // A sample of a type says nothing about the value that a condition compares.
    let unknown: BTreeSet<String> = known.unknown.into_iter().chain(known.sampled).collect();
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

fn facts_of(plugin: &Verified, operation: &str, effective: &Effective) -> OperationFacts {
    let declared =
        plugin.manifest().operations.get(operation).expect("granting found the operation");
    OperationFacts {
        kind: declared.kind,
        idempotent: declared.idempotent,
        undo: declared.undo,
        writes: declared.writes(),
        digest: plugin.digest().to_string(),
        places: effective
            .iter()
            .map(|grant| format!("`{}` ({})", grant.target.name, grant.target.describe()))
            .collect(),
    }
}
