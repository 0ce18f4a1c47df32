//! Checks the SQL statements of a runbook before anything runs, by every rule that needs no
//! database.

use crate::prepared::GrantedSite;
use crate::written_input::{node_at, params_of_sites};
use runbook_authority::{GateDecision, GateRequest, Mode, Verb};
use runbook_document::{Diagnostic, Diagnostics, FromNode as _, Node};
use runbook_engine::model::Param;
use runbook_engine::{CallSite, PartialInput, Runbook, StepId};
use runbook_runtime::StatementProblem;
use std::collections::BTreeMap;

/// The bundled plugin that runs its inputs `statement` and `statements` unchanged.
const PLUGIN: &str = "sql";

/// Reports statements that would be denied or refused, and warns of those that are not understood.
/// Statements with templates are not checked, because their text is not known yet.
pub fn check(runbook: &Runbook, sites: &BTreeMap<StepId, GrantedSite>) -> Diagnostics {
    let params_of = params_of_sites(runbook);
    let mut found = Diagnostics::default();
    for call_site in runbook.call_sites() {
        if let Some(site) = sites.get(&call_site.step).filter(|site| site.reference == PLUGIN) {
            found.extend(check_site(&call_site, site, params_of(&call_site.step)));
        }
    }
    found
}

fn check_site(call_site: &CallSite<'_>, site: &GrantedSite, params: &[Param]) -> Vec<Diagnostic> {
    let Some(with) = call_site.with else { return Vec::new() };
    let known = PartialInput::from_types(&with.to_json(), params);
    let is_known = |pointer: &String| {
        !known.unknown.contains(pointer) && !known.sample_places.contains(pointer)
    };
    let count = known.value["statements"].as_array().map_or(0, Vec::len);
    let places =
        (0..count).map(|number| format!("/statements/{number}")).chain(["/statement".to_owned()]);
    let verdict = |pointer: String| {
        let node = node_at(with, &pointer)?;
        Some(verdict_diagnostic(call_site, node, judge(site, &String::from_node(node)?)?))
    };
    places.filter(is_known).filter_map(verdict).collect()
}

/// Why a statement would not run.
enum StatementVerdict {
    /// The gate denies the statement.
    Denied { reason: String, location: String },
    /// The driver or the server refuses it.
    Refused(String),
    /// The parser does not understand the text.
    NotUnderstood(String),
}

/// The first reason why a statement would not run, if there is one.
fn judge(site: &GrantedSite, statement: &str) -> Option<StatementVerdict> {
    let is_sql =
        |verb: &&Verb| matches!(verb, Verb::SqlQuery | Verb::SqlExecute | Verb::SqlTransaction);
    let judge = |grant: &runbook_authority::Grant, verb: Verb| {
        let target = grant.target.sql()?;
        let operation = GateRequest::Sql { slot: &grant.slot, verb, statement: Some(statement) };
        if let GateDecision::Deny(denial) =
            runbook_authority::gate::decide(&site.grants, Mode::Effects, &operation)
        {
            return Some(StatementVerdict::Denied {
                reason: denial.reason,
                location: denial.location,
            });
        }
        Some(match runbook_runtime::check_statement(target, verb, statement)? {
            StatementProblem::NeverRuns(reason) => StatementVerdict::Refused(reason),
            StatementProblem::NotUnderstood(reason) => StatementVerdict::NotUnderstood(reason),
        })
    };
    let verbs = site
        .grants
        .iter()
        .flat_map(|grant| grant.verbs.iter().filter(is_sql).map(move |verb| (grant, *verb)));
    verbs.into_iter().find_map(|(grant, verb)| judge(grant, verb))
}

fn verdict_diagnostic(
    call_site: &CallSite<'_>,
    node: &Node,
    verdict: StatementVerdict,
) -> Diagnostic {
    const CODE: &str = "E0237";
    let (source, span, uses) =
        (node.source(call_site.source), node.span.clone(), &call_site.uses.value);
    match verdict {
        StatementVerdict::Denied { reason, location } => Diagnostic::error(
            CODE,
            source,
            span,
            format!("`{uses}` never runs this statement: {reason}"),
        )
        .label("denied when its turn comes")
        .help(format!("write another statement, or allow it by the target ({location})")),
        StatementVerdict::Refused(reason) => Diagnostic::error(
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
        StatementVerdict::NotUnderstood(reason) => Diagnostic::warning(
            CODE,
            source,
            span,
            format!("`{uses}` may not run this statement, which is not understood: {reason}"),
        )
        .label("is this what you mean?")
        .help("try it by hand; if the server takes it, all is well"),
    }
}
