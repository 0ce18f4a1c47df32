//! The details of each call from the text of a runbook, so that a reviewer need not open the file:
//! inputs with their SQL and arguments, conditions, approvals, undo, limits.

use crate::prepared::PreparedRunbook;
use runbook_authority::access_report::{Detail, StepEntry};
use runbook_authority::toml_entries::{self, TomlEntry};
use runbook_document::{Table, format_duration};
use runbook_engine::model::section_noun;
use runbook_engine::model::{
    Approval, DeclaredRisk, Items, OnFailure, SelfApproval, Step, UndoDeclaration,
};
use runbook_engine::{CallSite, Runbook};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every key of the files of a runbook with its value. The name of a detail is the path of the key.
pub(super) fn of_texts(prepared: &PreparedRunbook) -> Vec<Detail> {
    let runbook_name = prepared.runbook.source().name();
    let texts = prepared.runbook.sources.iter().chain(&prepared.waivers);
    texts
        .flat_map(|source| {
            let file = if source.name() == runbook_name {
                String::new()
            } else {
                format!("{}: ", path_in_folder(source.name(), &prepared.folder))
            };
            toml_entries::entries_of(source.text())
                .into_iter()
                .map(move |TomlEntry { key, value }| detail(&format!("{file}{key}"), value))
        })
        .collect()
}

/// The path of a file relative to the folder of the runbook, so that reviews are the same in every
/// checkout.
fn path_in_folder(name: &str, folder: &Path) -> String {
    let real = Path::new(name).canonicalize().unwrap_or_else(|_| PathBuf::from(name));
    real.strip_prefix(folder).unwrap_or(&real).display().to_string()
}

/// The details of the whole runbook.
pub(super) fn of_runbook(runbook: &Runbook) -> Vec<Detail> {
    let risk = runbook.risk.as_ref().map(|risk| name_in(DeclaredRisk::ALL, risk.value));
    let locks = (!runbook.locks.exclusive.is_empty()).then(|| runbook.locks.exclusive.join(", "));
    let effects = runbook
        .limits
        .max_effects
        .iter()
        .map(|(capability, maximum)| format!("{capability} {maximum}"));
    let effects: Vec<_> = effects.collect();
    let params =
        runbook.params.iter().map(|param| format!("{} ({})", param.name.name, param.kind.name()));
    let params: Vec<_> = params.collect();
    [
        ("owner", runbook.owner.clone()),
        ("risk", risk.map(str::to_owned)),
        ("timeout", runbook.timeout.map(format_duration)),
        ("params", (!params.is_empty()).then(|| params.join(", "))),
        ("exclusive locks", locks),
        ("max_effects", (!effects.is_empty()).then(|| effects.join(", "))),
    ]
    .into_iter()
    .filter_map(|(name, text)| text.map(|text| detail(name, text)))
    .collect()
}

/// The details of one call. The conditions of a step belong to its own call, not to that of its
/// undo.
pub(super) fn of_call(call: &CallSite<'_>) -> Vec<Detail> {
    let mut details = vec![detail("part", section_noun(call.section).to_owned())];
    if let Some(step) = call.calling_step {
        push_conditions(&mut details, step);
    }
    if let Some(with) = call.with {
        push_input(&mut details, with);
    }
    if let Some(step) = call.calling_step {
        push_consequences(&mut details, step);
    }
    details
}

/// The manual steps, which call no plugin.
pub(super) fn manual_steps(runbook: &Runbook) -> Vec<StepEntry> {
    let manual = runbook.steps.iter().filter(|step| step.manual().is_some());
    manual
        .map(|step| {
            let mut details =
                vec![detail("part", format!("{}, done by a person", section_noun(step.section)))];
            push_conditions(&mut details, step);
            push_consequences(&mut details, step);
            StepEntry {
                step: step.id.value.as_str().to_owned(),
                uses: "manual".to_owned(),
                details,
                rows: Vec::new(),
                withheld: Vec::new(),
            }
        })
        .collect()
}

fn push_conditions(details: &mut Vec<Detail>, step: &Step) {
    if let Some(when) = &step.when {
        details.push(detail("when", when.value.clone()));
    }
    if let Some(for_each) = &step.for_each {
        let items = match &for_each.items {
            Items::Expression(expression) => expression.value.clone(),
            Items::Literal(node) => node.value.to_json().to_string(),
        };
        details.push(detail("for_each", items));
    }
    if let Some(approval) = &step.approval {
        details.push(detail("approval", approval_text(&approval.value)));
    }
}

/// The input, one detail for each value with its path.
fn push_input(details: &mut Vec<Detail>, with: &Table) {
    push_value(details, "with", &with.to_json());
}

fn push_value(details: &mut Vec<Detail>, path: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(key, value)| push_value(details, &format!("{path}.{key}"), value));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            let numbered = items.iter().enumerate();
            numbered
                .for_each(|(index, item)| push_value(details, &format!("{path}[{index}]"), item));
        }
        Value::String(text) => details.push(detail(path, text.trim_end().to_owned())),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {
            details.push(detail(path, value.to_string()));
        }
    }
}

fn push_consequences(details: &mut Vec<Detail>, step: &Step) {
    match &step.undo {
        Some(UndoDeclaration::Auto { .. }) => {
            details.push(detail("undo", "by the plugin itself".to_owned()));
        }
        Some(UndoDeclaration::Explicit { uses, .. }) => {
            details.push(detail(
                "undo",
                format!("{}, shown as `{}`", uses.value, step.id.value.undo()),
            ));
        }
        Some(UndoDeclaration::Irreversible { reason }) => {
            details.push(detail("irreversible", reason.value.clone()));
        }
        None => {}
    }
    if step.on_failure != OnFailure::default() {
        details.push(detail("on_failure", name_in(OnFailure::ALL, step.on_failure).to_owned()));
    }
    if let Some(retry) = &step.retry {
        details.push(detail("retry", format!("{} attempts", retry.attempts)));
    }
    if let Some(timeout) = step.timeout {
        details.push(detail("timeout", format_duration(timeout)));
    }
}

fn approval_text(approval: &Approval) -> String {
    let people = if approval.quorum == 1 {
        "1 person".to_owned()
    } else {
        format!("{} people", approval.quorum)
    };
    let approvers_note = if approval.approvers.is_empty() {
        String::new()
    } else {
        format!(" of {}", approval.approvers.join(", "))
    };
    let self_approval = match approval.self_approval {
        SelfApproval::Counts => "",
        SelfApproval::DoesNotCount => ", not the operator who started the run",
    };
    let expires = approval
        .expires
        .map(|after: Duration| format!(", expires after {}", format_duration(after)));
    format!("{people}{approvers_note}{self_approval}{}", expires.unwrap_or_default())
}

fn name_in<T: PartialEq>(all: &[(T, &'static str)], value: T) -> &'static str {
    all.iter().find(|(known, _)| *known == value).map_or("", |(_, name)| *name)
}

fn detail(name: &str, text: String) -> Detail {
    Detail { name: name.to_owned(), text }
}
