//! Checks a runbook against the facts about its operations, which their manifests and components
//! state.

use crate::event::Section;
use crate::model::{DeclaredRisk, Runbook, Step, UndoDeclaration, section_noun};
use runbook_contract::{Kind, OperationFacts, StepId};
use runbook_document::{Diagnostic, Diagnostics, Span};
use std::collections::BTreeMap;

/// The code of the error that an operation could not be resolved.
pub const UNRESOLVED_OPERATION: &str = "E0209";

/// Checks a runbook against the facts about its operations. Needs no parameters, so
/// `runbook validate` can use it.
pub fn check_facts(runbook: &Runbook, facts: &BTreeMap<StepId, OperationFacts>) -> Diagnostics {
    let mut diagnostics = Diagnostics::default();
    for site in runbook.call_sites() {
        if !facts.contains_key(&site.step) {
            let message =
                format!("nothing is known of `{}`, which `{}` uses", site.uses.value, site.step);
            diagnostics.push(
                Diagnostic::error(
                    UNRESOLVED_OPERATION,
                    site.source,
                    site.uses.span.clone(),
                    message,
                )
                .label("not resolved"),
            );
        }
    }
    check_file(runbook, facts, &mut diagnostics);
    for group in &runbook.groups {
        // Each file is checked as it was written, with its own ids and sections.
        let prefix = group.id.inner(&StepId::new(""));
        let own_facts = facts.iter().filter_map(|(id, facts)| {
            let id = id.as_str().strip_prefix(prefix.as_str())?;
            Some((StepId::new(id), facts.clone()))
        });
        check_file(&group.inner, &own_facts.collect(), &mut diagnostics);
    }
    diagnostics
}

fn check_file(
    runbook: &Runbook,
    facts: &BTreeMap<StepId, OperationFacts>,
    diagnostics: &mut Diagnostics,
) {
    let own_steps = runbook
        .steps
        .iter()
        .chain(runbook.guards.iter().map(|guard| &guard.probe))
        .filter(|step| step.group.is_none());
    for step in own_steps {
        if let Some(own_facts) = facts.get(&step.id.value) {
            check_step(step, own_facts, facts, diagnostics);
        }
    }
    check_risk(runbook, facts, diagnostics);
}

/// The help for an operation that a section does not allow: the rules of [`check_step`] in one
/// line.
fn allowed_operations_help(section: Section) -> &'static str {
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
    own_facts: &OperationFacts,
    facts: &BTreeMap<StepId, OperationFacts>,
    diagnostics: &mut Diagnostics,
) {
    diagnostics.extend(
        [
            change_where_nothing_may_change(step, own_facts),
            smoke_test_as_guard(step, own_facts),
            write_before_the_locks(step, own_facts),
            approval_without_a_plan(step, own_facts),
            change_that_is_polled(step, own_facts),
            missing_undo(step, own_facts),
            impossible_undo(step, own_facts, facts),
        ]
        .into_iter()
        .flatten(),
    );
}

fn error(code: &'static str, step: &Step, span: &Span, message: String) -> Diagnostic {
    Diagnostic::error(code, &step.source, span.clone(), message)
}

/// Whether operations of kind `step` are not allowed in the section.
fn only_observes(section: Section) -> bool {
    match section {
        Section::Preflight | Section::Verify | Section::Guard | Section::Check => true,
        Section::Step | Section::Finally | Section::Undo | Section::Notify => false,
    }
}

fn change_where_nothing_may_change(step: &Step, own_facts: &OperationFacts) -> Option<Diagnostic> {
    if !only_observes(step.section) || own_facts.kind != Kind::Step {
        return None;
    }
    let message = format!(
        "{} uses an operation that changes things, and a {} may not",
        step.subject(),
        section_noun(step.section)
    );
    Some(
        error("E0228", step, &step.id.span, message)
            .label("changes something")
            .help(allowed_operations_help(step.section)),
    )
}

fn smoke_test_as_guard(step: &Step, own_facts: &OperationFacts) -> Option<Diagnostic> {
    let may_write =
        own_facts.kind == Kind::SmokeTest || (own_facts.kind == Kind::Probe && own_facts.writes);
    if step.section != Section::Guard || !may_write {
        return None;
    }
    let message = format!(
        "{} is a smoke test, and a guard may only read, because it repeats",
        step.subject()
    );
    Some(
        error("E0228", step, &step.id.span, message).label("changes something").help("use a probe"),
    )
}

fn write_before_the_locks(step: &Step, own_facts: &OperationFacts) -> Option<Diagnostic> {
    if step.section != Section::Preflight || !own_facts.writes {
        return None;
    }
    let message =
        format!("{} writes, and a preflight runs before any lock is held", step.subject());
    Some(
        error("E0228", step, &step.id.span, message)
            .label("writes")
            .help("use a probe, or move it to `[[step]]`"),
    )
}

fn approval_without_a_plan(step: &Step, own_facts: &OperationFacts) -> Option<Diagnostic> {
    let approval = step.approval.as_ref().filter(|_| own_facts.kind != Kind::Step)?;
    let message = format!(
        "{} has no plan that could be approved: it is a probe or a smoke test",
        step.subject()
    );
    Some(
        error("E0228", step, &approval.span, message)
            .label("nothing to approve")
            .help("remove `approval`"),
    )
}

fn change_that_is_polled(step: &Step, own_facts: &OperationFacts) -> Option<Diagnostic> {
    if step.poll.is_none() || own_facts.kind != Kind::Step {
        return None;
    }
    let message = format!(
        "{} would repeat a change: `until` polls probes and smoke tests only",
        step.subject()
    );
    Some(
        error("E0228", step, &step.id.span, message)
            .label("changes something")
            .help("poll with a probe in a step of its own"),
    )
}

fn missing_undo(step: &Step, own_facts: &OperationFacts) -> Option<Diagnostic> {
    let changes = step.section == Section::Step && own_facts.kind == Kind::Step && own_facts.writes;
    if step.undo.is_some() || !changes {
        return None;
    }
    let message =
        format!("{} changes something and does not say how it ends badly", step.subject());
    let help = if own_facts.undo {
        "add `undo = \"auto\"`, or `irreversible = \"…\"` with the reason why that is acceptable"
    } else {
        "add `undo = { uses = … }`, or `irreversible = \"…\"` with the reason why that is \
         acceptable"
    };
    Some(
        error("E0221", step, &step.id.span, message)
            .label("no `undo` and no `irreversible`")
            .help(help),
    )
}

/// The error for an undo of a step that changes nothing, an undo that the operation does not offer,
/// or an undo that only reads.
fn impossible_undo(
    step: &Step,
    own_facts: &OperationFacts,
    facts: &BTreeMap<StepId, OperationFacts>,
) -> Option<Diagnostic> {
    let (span, is_auto) = match step.undo.as_ref()? {
        UndoDeclaration::Auto { span } => (span, true),
        UndoDeclaration::Explicit { span, .. } => (span, false),
        UndoDeclaration::Irreversible { .. } => return None,
    };
    if own_facts.kind == Kind::Probe && !own_facts.writes {
        let message = format!(
            "{} is a probe: it changes nothing, so there is nothing to undo",
            step.subject()
        );
        return Some(
            error("E0222", step, span, message).label("undoes nothing").help("remove `undo`"),
        );
    }
    if is_auto && (own_facts.kind != Kind::Step || !own_facts.undo) {
        let uses = step.uses().map(|uses| uses.value.as_str()).unwrap_or_default();
        let message = format!("`{uses}` cannot undo what it does");
        let help = "name another operation, `undo = { uses = … }`, or say `irreversible = \"…\"`";
        return Some(error("E0222", step, span, message).label("not offered").help(help));
    }
    let undo = facts.get(&step.id.value.undo()).filter(|_| !is_auto)?;
    (undo.kind != Kind::Step).then(|| {
        let message =
            format!("the undo of {} only reads: it must be a step operation", step.subject());
        error("E0222", step, span, message).label("changes nothing")
    })
}

/// Compares `risk` with what the operations can do.
fn check_risk(
    runbook: &Runbook,
    facts: &BTreeMap<StepId, OperationFacts>,
    diagnostics: &mut Diagnostics,
) {
    let Some(risk) = &runbook.risk else { return };
    let writes = |step: &&Step| {
        facts
            .get(&step.id.value)
            .is_some_and(|own_facts| own_facts.kind == Kind::Step && own_facts.writes)
    };
    let writing_step = runbook.section(Section::Step).find(writes);
    if let (DeclaredRisk::ReadOnly, Some(step)) = (risk.value, writing_step) {
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
