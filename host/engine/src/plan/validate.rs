//! What is wrong with a runbook, once it is known what its operations are.

use crate::event::Section;
use crate::model::{DeclaredRisk, Runbook, Step, UndoDeclaration, section_noun};
use runbook_contract::{Kind, OperationFacts, StepId};
use runbook_document::{Diagnostic, Diagnostics, Span};
use std::collections::BTreeMap;

/// The code of the finding that an operation was not resolved.
pub const NOTHING_KNOWN: &str = "E0209";

/// What is wrong with a runbook, given what its operations are. Needs no parameters, so `validate`
/// uses it too.
pub fn check_facts(runbook: &Runbook, facts: &BTreeMap<StepId, OperationFacts>) -> Diagnostics {
    let mut diagnostics = Diagnostics::default();
    for site in runbook.use_sites() {
        if !facts.contains_key(&site.step) {
            let message =
                format!("nothing is known of `{}`, which `{}` uses", site.uses.value, site.step);
            diagnostics.push(
                Diagnostic::error(NOTHING_KNOWN, site.source, site.uses.span.clone(), message)
                    .label("not resolved"),
            );
        }
    }
    check_file(runbook, facts, &mut diagnostics);
    for group in &runbook.groups {
        // Each file is judged as it was written: its own ids, its own sections.
        let prefix = group.id.inner(&StepId::new(""));
        let own = facts.iter().filter_map(|(id, facts)| {
            let id = id.as_str().strip_prefix(prefix.as_str())?;
            Some((StepId::new(id), facts.clone()))
        });
        check_file(&group.inner, &own.collect(), &mut diagnostics);
    }
    diagnostics
}

fn check_file(
    runbook: &Runbook,
    facts: &BTreeMap<StepId, OperationFacts>,
    diagnostics: &mut Diagnostics,
) {
    let own = runbook
        .steps
        .iter()
        .chain(runbook.guards.iter().map(|guard| &guard.look))
        .filter(|step| step.group.is_none());
    for step in own {
        if let Some(own) = facts.get(&step.id.value) {
            check_step(step, own, facts, diagnostics);
        }
    }
    check_risk(runbook, facts, diagnostics);
}

/// What may stand in a section that does not act: the rules of [`check_step`], in one line.
fn what_looks(section: Section) -> &'static str {
    match section {
        Section::Preflight => {
            "use a probe, or a smoke test that only reads, or move it to `[[step]]`"
        }
        Section::Guard => "use a probe",
        Section::Verify
        | Section::Check
        | Section::Step
        | Section::Finally
        | Section::Undo
        | Section::Notify => "use a probe or a smoke test",
    }
}

fn check_step(
    step: &Step,
    own: &OperationFacts,
    facts: &BTreeMap<StepId, OperationFacts>,
    diagnostics: &mut Diagnostics,
) {
    let error = |code, span: &Span, message: String| {
        Diagnostic::error(code, &step.source, span.clone(), message)
    };
    let looks_only = matches!(
        step.section,
        Section::Preflight | Section::Verify | Section::Guard | Section::Check
    );
    if looks_only && own.kind == Kind::Step {
        let message = format!(
            "{} uses an operation that changes things, and a {} may not",
            step.subject(),
            section_noun(step.section)
        );
        diagnostics.push(
            error("E0228", &step.id.span, message)
                .label("changes something")
                .help(what_looks(step.section)),
        );
    }
    let tries = own.kind == Kind::SmokeTest || (own.kind == Kind::Probe && own.writes);
    if step.section == Section::Guard && tries {
        let message = format!(
            "{} is a smoke test, and a guard may only read, because it repeats",
            step.subject()
        );
        diagnostics.push(
            error("E0228", &step.id.span, message).label("changes something").help("use a probe"),
        );
    }
    if looks_only && step.section == Section::Preflight && own.writes {
        let message =
            format!("{} writes, and a preflight runs before any lock is held", step.subject());
        diagnostics.push(
            error("E0228", &step.id.span, message)
                .label("writes")
                .help("use a probe, or move it to `[[step]]`"),
        );
    }
    if let Some(approval) = step.approval.as_ref().filter(|_| own.kind != Kind::Step) {
        let message = format!(
            "{} has no plan that could be approved: it is a probe or a smoke test",
            step.subject()
        );
        diagnostics.push(
            error("E0228", &approval.span, message)
                .label("nothing to approve")
                .help("remove `approval`"),
        );
    }
    if step.poll.is_some() && own.kind == Kind::Step {
        let message = format!(
            "{} would repeat a change: `until` polls probes and smoke tests only",
            step.subject()
        );
        diagnostics.push(
            error("E0228", &step.id.span, message)
                .label("acts")
                .help("poll with a probe in a step of its own"),
        );
    }
    match &step.undo {
        None if step.section == Section::Step && own.kind == Kind::Step && own.writes => {
            let message =
                format!("{} changes something and does not say how it ends badly", step.subject());
            let help = if own.undo {
                "add `undo = \"auto\"`, or `irreversible = \"…\"` with the reason why that is \
                 acceptable"
            } else {
                "add `undo = { uses = … }`, or `irreversible = \"…\"` with the reason why that is \
                 acceptable"
            };
            diagnostics.push(
                error("E0221", &step.id.span, message)
                    .label("no `undo` and no `irreversible`")
                    .help(help),
            );
        }
        Some(UndoDeclaration::Auto { span } | UndoDeclaration::Explicit { span, .. })
            if own.kind == Kind::Probe && !own.writes =>
        {
            let message = format!(
                "{} is a probe: it changes nothing, so there is nothing to undo",
                step.subject()
            );
            diagnostics
                .push(error("E0222", span, message).label("undoes nothing").help("remove `undo`"));
        }
        Some(UndoDeclaration::Auto { span }) if own.kind != Kind::Step || !own.undo => {
            let uses = step.uses().map(|uses| uses.value.as_str()).unwrap_or_default();
            let message = format!("`{uses}` cannot undo what it does");
            let help =
                "name another operation, `undo = { uses = … }`, or say `irreversible = \"…\"`";
            diagnostics.push(error("E0222", span, message).label("not offered").help(help));
        }
        Some(UndoDeclaration::Explicit { span, .. })
            if facts.get(&step.id.value.undo()).is_some_and(|undo| undo.kind != Kind::Step) =>
        {
            let message =
                format!("the undo of {} only reads: it must be a step operation", step.subject());
            diagnostics.push(error("E0222", span, message).label("changes nothing"));
        }
        None
        | Some(
            UndoDeclaration::Auto { .. }
            | UndoDeclaration::Explicit { .. }
            | UndoDeclaration::Irreversible { .. },
        ) => {}
    }
}

/// `risk` is compared with what the file can do.
fn check_risk(
    runbook: &Runbook,
    facts: &BTreeMap<StepId, OperationFacts>,
    diagnostics: &mut Diagnostics,
) {
    let Some(risk) = &runbook.risk else { return };
    let writes = |step: &&Step| {
        facts.get(&step.id.value).is_some_and(|own| own.kind == Kind::Step && own.writes)
    };
    let writing = runbook.section(Section::Step).find(writes);
    if let (DeclaredRisk::ReadOnly, Some(step)) = (risk.value, writing) {
        let message = format!(
            "the runbook says that it is read-only, and {} changes something",
            step.subject()
        );
        let diagnostic = Diagnostic::error("E0229", runbook.source(), risk.span.clone(), message);
        diagnostics.push(
            diagnostic
                .label("not true")
                .help("write `risk = \"reversible\"` or `risk = \"destructive\"`"),
        );
    }
}
