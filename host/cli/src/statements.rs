//! Judges the statements of a runbook before anything runs, by every rule that needs no database.

use crate::prepared::Site;
use crate::written_input::{node_at, params_of_sites};
use runbook_authority::{GateDecision, Mode, Operation, Verb};
use runbook_document::{Diagnostic, Diagnostics, FromNode as _, Node};
use runbook_engine::model::Param;
use runbook_engine::{Known, Runbook, StepId, UseSite};
use runbook_runtime::Foreseen;
use std::collections::BTreeMap;

/// The bundled plugin, whose inputs `statement` and `statements` are run as they stand.
const PLUGIN: &str = "sql";

/// Statements that never run where they stand, and a warning of those that are not understood. One
/// with a template is not known yet.
pub fn foreseen(runbook: &Runbook, sites: &BTreeMap<StepId, Site>) -> Diagnostics {
    let params_of = params_of_sites(runbook);
    let mut found = Diagnostics::default();
    for use_site in runbook.use_sites() {
        if let Some(site) = sites.get(&use_site.step).filter(|site| site.reference == PLUGIN) {
            found.extend(of_site(&use_site, site, params_of(&use_site.step)));
        }
    }
    found
}

fn of_site(use_site: &UseSite<'_>, site: &Site, params: &[Param]) -> Vec<Diagnostic> {
    let Some(with) = use_site.with else { return Vec::new() };
    let known = Known::of_types(&with.to_json(), params);
    let is_known =
        |pointer: &String| !known.unknown.contains(pointer) && !known.sampled.contains(pointer);
    let count = known.value["statements"].as_array().map_or(0, Vec::len);
    let places =
        (0..count).map(|number| format!("/statements/{number}")).chain(["/statement".to_owned()]);
    let judged = |pointer: String| {
        let node = node_at(with, &pointer)?;
        Some(told(use_site, node, judge(site, &String::from_node(node)?)?))
    };
    places.filter(is_known).filter_map(judged).collect()
}

/// What is known of a statement before its turn comes.
enum Judged {
    /// The gate denies the statement.
    Denied { reason: String, target: String },
    /// The driver or the server refuses it.
    Refused(String),
    /// The text may be no statement at all.
    Doubtful(String),
}

fn judge(site: &Site, statement: &str) -> Option<Judged> {
    let of_sql =
        |verb: &&Verb| matches!(verb, Verb::SqlQuery | Verb::SqlExecute | Verb::SqlTransaction);
    let judge = |grant: &runbook_authority::Grant, verb: Verb| {
        let target = grant.target.sql()?;
        let operation = Operation::Sql { slot: &grant.slot, verb, statement: Some(statement) };
        if let GateDecision::Deny(denial) =
            runbook_authority::gate::decide(&site.effective, Mode::Effects, &operation)
        {
            return Some(Judged::Denied { reason: denial.reason, target: denial.place });
        }
        Some(match runbook_runtime::foresee(target, verb, statement)? {
            Foreseen::Refused(reason) => Judged::Refused(reason),
            Foreseen::Doubtful(reason) => Judged::Doubtful(reason),
        })
    };
    let verbs = site
        .effective
        .iter()
        .flat_map(|grant| grant.verbs.iter().filter(of_sql).map(move |verb| (grant, *verb)));
    verbs.into_iter().find_map(|(grant, verb)| judge(grant, verb))
}

fn told(use_site: &UseSite<'_>, node: &Node, judged: Judged) -> Diagnostic {
    const CODE: &str = "E0237";
    let (source, span, uses) =
        (node.source(use_site.source), node.span.clone(), &use_site.uses.value);
    match judged {
        Judged::Denied { reason, target } => Diagnostic::error(
            CODE,
            source,
            span,
            format!("`{uses}` never runs this statement: {reason}"),
        )
        .label("denied when its turn comes")
        .help(format!("write another statement, or allow it by the target ({target})")),
        Judged::Refused(reason) => Diagnostic::error(
            CODE,
            source,
            span,
            format!("`{uses}` never runs this statement: {reason}"),
        )
        .label("refused when its turn comes")
        .help(
            "write one statement that it runs: `sql:query` looks, `sql:execute` changes, \
               `sql:transaction` takes several",
        ),
        Judged::Doubtful(reason) => Diagnostic::warning(
            CODE,
            source,
            span,
            format!("`{uses}` may not run this statement, which is not understood: {reason}"),
        )
        .label("is this what you mean?")
        .help("try it by hand; if the server takes it, all is well"),
    }
}
