//! Statements that stand in a runbook, judged before anything runs by the gate that judges them when their turn comes.

use crate::prepare::{Prepared, Site, node_at, params_of_sites};
use runbook_authority::{Decision, Mode, Operation, TargetKind, Verb};
use runbook_document::{Diagnostic, FromNode as _};
use runbook_engine::model::Param;
use runbook_engine::{Known, UseSite};

/// The bundled plugin, whose inputs `statement` and `statements` are run as they stand.
const PLUGIN: &str = "sql";

/// Statements that their targets never allow. One with a template is not known yet.
pub fn never_allowed(prepared: &Prepared) -> Vec<Diagnostic> {
    let params_of = params_of_sites(&prepared.runbook);
    let mut found = Vec::new();
    for use_site in prepared.runbook.use_sites() {
        if let Some(site) = prepared.sites.get(&use_site.step).filter(|site| site.reference == PLUGIN) {
            found.extend(of_site(&use_site, site, params_of(&use_site.step)));
        }
    }
    found
}

fn of_site(use_site: &UseSite<'_>, site: &Site, params: &[Param]) -> Vec<Diagnostic> {
    let Some(with) = use_site.with else { return Vec::new() };
    let known = Known::of_types(&with.to_json(), params);
    let is_known = |pointer: &String| !known.unknown.contains(pointer) && !known.sampled.contains(pointer);
    let count = known.value["statements"].as_array().map_or(0, Vec::len);
    let places = (0..count).map(|number| format!("/statements/{number}")).chain(["/statement".to_owned()]);
    let mut found = Vec::new();
    for pointer in places.filter(is_known) {
        let Some(node) = node_at(with, &pointer) else { continue };
        let Some((reason, place)) = String::from_node(node).and_then(|text| denial(site, &text)) else { continue };
        let message = format!("`{}` never runs this statement: {reason}", use_site.uses.value);
        let diagnostic =
            Diagnostic::error("E0237", use_site.source, node.span.clone(), message).label("denied when its turn comes");
        found.push(diagnostic.help(format!("write another statement, or allow it by the target ({place})")));
    }
    found
}

/// Why the gate denies a statement, and where the target stands.
fn denial(site: &Site, statement: &str) -> Option<(String, String)> {
    let of_sql = |verb: &&Verb| matches!(verb, Verb::SqlQuery | Verb::SqlExecute | Verb::SqlTransaction);
    let grants = site.effective.iter().filter(|grant| matches!(grant.target.kind, TargetKind::Sql(_)));
    let verbs = grants.flat_map(|grant| grant.verbs.iter().filter(of_sql).map(move |verb| (grant, *verb)));
    verbs.into_iter().find_map(|(grant, verb)| {
        let operation = Operation::Sql { slot: &grant.slot, verb, statement: Some(statement) };
        match runbook_authority::gate::decide(&site.effective, Mode::Effects, &operation) {
            Decision::Allow => None,
            Decision::Deny(denial) => Some((denial.reason, denial.place)),
        }
    })
}
