//! The access report: what plugins and runbooks may do. Each verb of each slot is a row with a
//! plain sentence, and says whether it is imported, declared, granted, within the boundary, and
//! used. The order is fixed, so that two reports can be compared.
//!
//! Everything here is a pure function; renderers are in `host/report`.

mod argument_match;
pub mod finding;
pub mod flow;
mod interpreter;
mod open_grant;
mod program_options;
mod program_text;
mod sentence;
#[cfg(test)]
mod tests;
mod usage;

pub use finding::{FINDING_RULES, Finding, FindingRow, FindingRule, Location};
pub use flow::{Flow, FlowStep, SinkKind, SourceKind, flows};
pub use usage::{RunbookKey, UsageCounts};

use crate::boundary::{Boundary, BoundaryViolation};
use crate::capability::{Risk, Verb, VerbEffect, functions_of};
use crate::grant::{ConditionalVerb, EffectiveGrants, Grant};
use crate::manifest::Manifest;
use crate::scope::{AccessScope, ConcreteCall};
use crate::targets::{Gateway, PathView, Target};
use runbook_document::{Source, Span};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// The version of the JSON form.
pub const FORMAT: u32 = 1;

/// An access report on some plugins and runbooks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AccessReport {
    /// The version of this form, always [`FORMAT`].
    pub format: u32,
    /// The plugins, sorted by their reference.
    pub plugins: Vec<PluginEntry>,
    /// The runbooks, sorted by their path.
    pub runbooks: Vec<RunbookEntry>,
    /// What a reviewer should look at, the riskiest first.
    pub findings: Vec<Finding>,
}

/// One plugin of an [`AccessReport`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginEntry {
    /// Its reference in `uses`: a bundled name or a path.
    pub reference: String,
    /// The name that its manifest gives it.
    pub name: String,
    /// The version of the plugin, as its manifest says.
    pub version: String,
    /// One line: what the plugin does, as its manifest says.
    pub description: String,
    /// The digest of the component's bytes, `sha256:…`.
    pub digest: String,
    /// The size of the component, in bytes.
    pub size_bytes: u64,
    /// Whether it imports WASI, for which the host links empty implementations.
    pub needs_inert_wasi: bool,
    /// Where its bytes come from.
    pub origin: PluginOrigin,
    /// One row for each verb of each slot.
    pub rows: Vec<AccessRow>,
}

/// Where the bytes of a plugin come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginOrigin {
    /// The plugin is built into this program.
    Bundled,
    /// A component file, whose bytes may be signed.
    File {
        /// The file, as a person would name it from the current folder.
        path: String,
        /// The signature beside it, in one line: `none`, or its key and whether that key is
        /// trusted.
        signature: String,
        /// Whether the trust file in force accepts the signature. Always true where no trust file
        /// is in force.
        is_trusted: bool,
        /// Whether there is a signature that does not match these bytes.
        is_wrongly_signed: bool,
    },
}

/// One fact from the text of a runbook, so that a reviewer need not open the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// The key or subject: `with.statement`, `undo`, `approval`.
    pub name: String,
    /// Its text. It may have several lines, as SQL often has.
    pub text: String,
}

/// One runbook of an [`AccessReport`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunbookEntry {
    /// Its path, as it was given.
    pub file: String,
    /// The `name` that the runbook has in its file.
    pub name: String,
    /// The environment that the targets are from.
    pub environment: Option<String>,
    /// Facts about the whole runbook: owner, risk, locks, limits.
    pub details: Vec<Detail>,
    /// Its calls, in file order.
    pub steps: Vec<StepEntry>,
    /// Which data can reach which destination.
    pub flows: Vec<Flow>,
    /// Every key of its files with its value. The name is the path of the key:
    /// `step.restart.retry.attempts`.
    #[serde(rename = "written")]
    pub file_entries: Vec<Detail>,
    /// The files that decide what it does, absolute and without links: its texts, its plugins, its
    /// lockfile. For findings only.
    #[serde(skip)]
    pub controlling_files: Vec<PathBuf>,
}

/// One call of a runbook.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepEntry {
    /// The id of the step.
    pub step: String,
    /// The operation that it calls, as `plugin:operation`.
    pub uses: String,
    /// Inputs, condition, approval, undo and time limits, as the runbook writes them.
    pub details: Vec<Detail>,
    /// One row for each verb of each bound slot.
    pub rows: Vec<AccessRow>,
    /// Verbs of the operation that are not granted because the input does not need them.
    pub withheld: Vec<UngrantedVerb>,
}

/// A verb of an operation that one call of it is not granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UngrantedVerb {
    /// The slot.
    pub slot: String,
    /// `http.delete`.
    pub verb: String,
    /// Why not, and which input would need it.
    pub reason: String,
}

/// One verb of one slot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AccessRow {
    /// The name of the slot.
    pub slot: String,
    /// The verb with its capability, such as `http.get`.
    pub verb: String,
    /// How much harm it can do.
    pub risk: Risk,
    /// What it allows, in one plain sentence.
    pub sentence: String,
    /// Why, in the author's words.
    pub reason: String,
    /// Which part of the input needs it; `None` if every input needs it, or nothing is granted.
    pub needed_by: Option<String>,
    /// The host functions of the verb that the component imports.
    pub imported: Vec<String>,
    /// Whether the manifest declares it. What is granted always is.
    pub declared: bool,
    /// What it is granted on; `None` in the access report of a plugin alone.
    pub granted: Option<GrantedTarget>,
    /// How it compares with the boundary; `None` if none is in force or nothing is granted.
    pub boundary: Option<BoundaryStatus>,
    /// How often it was used here, by the audit log; `None` if no audit log was read.
    pub used: Option<u64>,
    /// How often each secret of the target was put into a call, by the audit log.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub used_secrets: BTreeMap<String, u64>,
    /// What is too open about the grant.
    #[serde(skip)]
    open_grants: Vec<open_grant::OpenGrant>,
    /// The target itself, for findings about several rows of a runbook together.
    #[serde(skip)]
    target: Option<Arc<Target>>,
    /// The database whose connection the program is given.
    #[serde(skip)]
    connection: Option<Arc<Target>>,
    /// The gateway through which the target is reached.
    #[serde(skip)]
    gateway: Option<Arc<Gateway>>,
}

/// The target that a verb is granted on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrantedTarget {
    /// The name of the target.
    pub target: String,
    /// What it is, in a few words.
    pub what: String,
    /// The values that are allowed in each dimension.
    pub reach: BTreeMap<&'static str, Vec<String>>,
    /// Where the target is written.
    pub place: SourceLocation,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SourceLocation {
    /// The file, as it was given.
    pub file: String,
    /// The line of the place, counted from 1.
    pub line: usize,
    /// The column of the place, counted from 1.
    pub column: usize,
}

impl SourceLocation {
    /// The place of a target.
    pub fn of(target: &Target) -> Self {
        Self::at(&target.source, &target.span)
    }

    fn at(source: &Source, span: &Span) -> Self {
        let position = source.position(span.start);
        Self { file: source.name().to_owned(), line: position.line, column: position.column }
    }
}

/// How a grant compares with the boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoundaryStatus {
    /// The boundary covers every call that the grant allows.
    Within,
    /// The grant allows a call that the boundary does not cover.
    Exceeded {
        /// Such a call; empty if the comparison was too complex.
        witness: String,
    },
}

/// The boundaries and usage counts that an access report shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportContext<'a> {
    /// The boundaries in force. A grant must be within each of them.
    pub boundaries: &'a [Boundary],
    /// How often verbs were used, by the audit log; `None` if no audit log was read.
    pub used: Option<&'a UsageCounts>,
}

/// One component, for its entry in the report.
#[derive(Debug, Clone, Copy)]
pub struct Component<'a> {
    /// Its reference in `uses`.
    pub reference: &'a str,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// The digest of the component's bytes.
    pub digest: &'a crate::Digest,
    /// The size of the component, in bytes.
    pub size_bytes: u64,
    /// What it imports, as `interface#function`.
    pub imports: &'a BTreeSet<String>,
    /// Whether it imports WASI, for which the host links empty implementations.
    pub needs_inert_wasi: bool,
    /// Where its bytes come from.
    pub origin: &'a PluginOrigin,
}

/// One call of a runbook, as the access report names it.
#[derive(Debug, Clone)]
pub struct CallSite<'a> {
    /// The id of the step.
    pub step: &'a str,
    /// The operation that it calls, as `plugin:operation`.
    pub uses: &'a str,
    /// What the runbook's text says about the call.
    pub details: Vec<Detail>,
    /// The runbook that the audit log counts the call for.
    pub runbook_key: &'a RunbookKey,
}

impl PluginEntry {
    /// What one plugin declares and imports.
    pub fn new(component: &Component<'_>, context: &ReportContext<'_>) -> Self {
        let manifest = component.manifest;
        let rows = manifest.slots.iter().flat_map(|(name, slot)| {
            slot.verbs.iter().map(move |verb| AccessRow {
                slot: name.clone(),
                verb: verb.full_name(),
                risk: verb.row().risk,
                sentence: verb
                    .row()
                    .sentence
                    .replace("{}", &format!("whatever `{name}` is bound to")),
                reason: slot.reason.clone(),
                needed_by: None,
                imported: imported(*verb, component.imports),
                declared: true,
                granted: None,
                boundary: None,
                used: context.used.map(|used| used.by_plugin(component.digest, name, *verb)),
                used_secrets: BTreeMap::new(),
                open_grants: Vec::new(),
                target: None,
                connection: None,
                gateway: None,
            })
        });
        Self {
            reference: component.reference.to_owned(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            digest: component.digest.to_string(),
            size_bytes: component.size_bytes,
            needs_inert_wasi: component.needs_inert_wasi,
            origin: component.origin.clone(),
            rows: rows.collect(),
        }
    }
}

fn imported(verb: Verb, imports: &BTreeSet<String>) -> Vec<String> {
    functions_of(verb)
        .map(|row| format!("{}#{}", row.interface, row.function))
        .filter(|name| imports.contains(name))
        .collect()
}

impl StepEntry {
    /// What one call is granted.
    pub fn new(
        call: CallSite<'_>,
        component: &Component<'_>,
        grants: &EffectiveGrants,
        context: &ReportContext<'_>,
    ) -> Self {
        let rows = grants
            .reviewed()
            .flat_map(|grant| rows_of(&call, grant, component, grants, context))
            .collect();
        let withheld = grants.withheld().map(|verb| UngrantedVerb {
            slot: verb.slot.clone(),
            verb: verb.verb.full_name(),
            reason: verb.reason(),
        });
        Self {
            step: call.step.to_owned(),
            uses: call.uses.to_owned(),
            details: call.details,
            rows,
            withheld: withheld.collect(),
        }
    }
}

fn rows_of(
    call: &CallSite<'_>,
    grant: &Grant,
    component: &Component<'_>,
    grants: &EffectiveGrants,
    context: &ReportContext<'_>,
) -> Vec<AccessRow> {
    let plugin = &component.manifest.name;
    let scope = AccessScope::of(plugin, grant, grants, PathView::OnThisHost);
    let reach: BTreeMap<_, _> = scope
        .values
        .iter()
        .map(|(dimension, values)| (dimension.key(), values.words(dimension.row().shape)))
        .collect();
    let granted = GrantedTarget {
        target: grant.target.name.clone(),
        what: grant.target.describe(),
        reach,
        place: SourceLocation::of(&grant.target),
    };
    // The grants by which the host itself reads secrets belong to no slot.
    let is_of_host = grants.get(&grant.slot).is_none();
    let reason = if is_of_host {
        "the host itself reads the secret of this name".to_owned()
    } else {
        let declared_slot = component.manifest.slots.get(&grant.slot);
        declared_slot.map(|slot| slot.reason.clone()).unwrap_or_default()
    };
    let row = |verb: Verb| AccessRow {
        slot: grant.slot.clone(),
        verb: verb.full_name(),
        risk: verb.row().risk,
        sentence: sentence::verb_sentence(grant, verb, grants, &scope),
        reason: reason.clone(),
        needed_by: grants.conditional_verb(&grant.slot, verb).map(ConditionalVerb::reason),
        imported: if is_of_host { Vec::new() } else { imported(verb, component.imports) },
        declared: true,
        granted: Some(granted.clone()),
        boundary: boundary_status(context.boundaries, plugin, grant, grants, verb),
        used: context.used.map(|used| used.by_step(call.runbook_key, call.step, &grant.slot, verb)),
        used_secrets: context
            .used
            .map(|used| used.secrets_of(call.runbook_key, call.step, &grant.slot, verb))
            .unwrap_or_default(),
        open_grants: open_grant::open_grants(&grant.target.kind, verb),
        target: Some(Arc::clone(&grant.target)),
        connection: grants.connection_of(grant).cloned(),
        gateway: grants.gateway_of(grant).cloned(),
    };
    grant.verbs.iter().map(|verb| row(*verb)).collect()
}

/// How one verb of a grant compares with the boundaries; `None` if none is in force.
fn boundary_status(
    boundaries: &[Boundary],
    plugin: &str,
    grant: &Grant,
    grants: &EffectiveGrants,
    verb: Verb,
) -> Option<BoundaryStatus> {
    let verb_grant = Grant { verbs: vec![verb], ..grant.clone() };
    let exceeded = boundaries
        .iter()
        .find_map(|boundary| boundary.check_grant(plugin, &verb_grant, grants).err())
        .map(|exceeded| BoundaryStatus::Exceeded { witness: boundary_words(&exceeded) });
    (!boundaries.is_empty()).then(|| exceeded.unwrap_or(BoundaryStatus::Within))
}

/// A call that is beyond the boundary, and in what: the call itself may differ from one that is
/// allowed in a value that its sentence does not show, such as a time limit.
fn boundary_words(exceeded: &BoundaryViolation) -> String {
    let call = exceeded.witness.as_ref().map(ConcreteCall::sentence).unwrap_or_default();
    let Some(nearest) = &exceeded.nearest_rule else { return call };
    let limits: Vec<_> = nearest
        .exceeded_dimensions
        .iter()
        .map(|(dimension, covered)| format!("{} = {covered}", dimension.key()))
        .collect();
    if limits.is_empty() || call.is_empty() {
        return call;
    }
    format!("{call}; the nearest rule, {}, allows only {}", nearest.location, limits.join("; "))
}

/// Something that the review should cover and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewGap {
    /// The rule by which it is a finding.
    pub rule: FindingRule,
    /// The file or folder, as it was named or found.
    pub file: String,
    /// Why the review does not cover it, in one line.
    pub reason: String,
}

impl AccessReport {
    /// An access report with its findings.
    pub fn new(mut plugins: Vec<PluginEntry>, mut runbooks: Vec<RunbookEntry>) -> Self {
        plugins.sort_by(|a, b| a.reference.cmp(&b.reference));
        plugins.dedup_by(|a, b| a.reference == b.reference && a.digest == b.digest);
        runbooks.sort_by(|a, b| (&a.file, &a.environment).cmp(&(&b.file, &b.environment)));
        runbooks.dedup_by(|a, b| a.file == b.file && a.environment == b.environment);
        let findings = finding::find(&plugins, &runbooks);
        Self { format: FORMAT, plugins, runbooks, findings }
    }

    /// The same report with a finding for each file that it does not cover. These findings come
    /// first, because the report is incomplete.
    #[must_use]
    pub fn with_gaps(mut self, gaps: impl IntoIterator<Item = ReviewGap>) -> Self {
        let finding = |gap: ReviewGap| {
            let row = gap.rule.row();
            let (subject, message) =
                (format!("`{}`", gap.file), format!("not reviewed: {}", gap.reason));
            Finding {
                rule: row.rule,
                risk: row.risk,
                subject,
                message,
                location: Location::File(gap.file),
            }
        };
        let mut gaps: Vec<_> = gaps.into_iter().map(finding).collect();
        gaps.sort_by_key(|finding| std::cmp::Reverse(finding.risk));
        self.findings.splice(0..0, gaps);
        self
    }

    /// The highest risk among findings; `None` if there is none.
    pub fn highest_finding_risk(&self) -> Option<Risk> {
        self.findings.iter().map(|finding| finding.risk).max()
    }

    /// The highest risk among what is declared and granted; `None` if nothing is.
    pub fn highest_granted_risk(&self) -> Option<Risk> {
        let plugins = self.plugins.iter().flat_map(|plugin| &plugin.rows);
        let steps =
            self.runbooks.iter().flat_map(|runbook| &runbook.steps).flat_map(|step| &step.rows);
        plugins.chain(steps).map(|row| row.risk).max()
    }

    /// Whether any grant reaches beyond the boundary.
    pub fn exceeds_boundary(&self) -> bool {
        let steps = self.runbooks.iter().flat_map(|runbook| &runbook.steps);
        steps
            .flat_map(|step| &step.rows)
            .any(|row| matches!(row.boundary, Some(BoundaryStatus::Exceeded { .. })))
    }
}

/// Whether the verb of this full name changes anything.
pub fn is_changing_verb(full_name: &str) -> bool {
    crate::VERBS
        .iter()
        .any(|row| row.effect == VerbEffect::Change && row.verb.full_name() == full_name)
}
