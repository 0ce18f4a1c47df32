//! `manual` and `approval`: what people do in a run.

use super::names;
use crate::event::Section;
use crate::model::{Approval, FieldType, Manual, SelfApproval};
use runbook_document::{FromNode as _, Reader, Spanned, Table};

/// The keys that a manual step cannot have, because they are for a plugin.
const KEYS_NOT_FOR_MANUAL: &[&str] = &[
    "uses",
    "bind",
    "with",
    "retry",
    "until",
    "undo",
    "irreversible",
    "approval",
    "for_each",
    "timeout",
];

/// `manual = { instructions = "…", form = { lag_ok = "bool" }, … }`
pub(super) fn read_manual(section: Section, reader: &mut Reader<'_>) -> Option<Manual> {
    let span = reader.table().get("manual")?.span.clone();
    if section != Section::Step {
        let message = format!("`manual` of {} has no meaning", reader.subject());
        reader.error("E0220", span, message, "only in `[[step]]`");
    }
    for key in KEYS_NOT_FOR_MANUAL {
        if let Some(node) = reader.table().get(key) {
            let message = format!(
                "`{key}` of {} has no meaning: a person does it, no plugin",
                reader.subject()
            );
            reader.error("E0220", node.span.clone(), message, "remove this, or `manual`");
        }
    }
    let manual = reader.section("manual", "`manual`", |reader| {
        let instructions = reader.required::<String>("instructions");
        let form = reader
            .optional::<Table>("form")
            .map(|form| read_form(reader, &form.value))
            .unwrap_or_default();
        Some(Manual {
            form,
            choices: reader.optional("choices").map(|choices| choices.value).unwrap_or_default(),
            confirm: reader.optional("confirm").map(|confirm| confirm.value),
            timeout: reader.optional("timeout").map(|timeout| timeout.value),
            instructions: instructions?,
        })
    });
    manual.flatten()
}

fn read_form(reader: &mut Reader<'_>, form: &Table) -> Vec<(String, FieldType)> {
    let mut fields = Vec::new();
    for (name, node) in &form.entries {
        names::check_identifier(reader, &name.name, &name.span, "the name of a field");
        if name.name == Manual::CHOICE {
            let message = format!(
                "a field cannot be called `{}`: that is what was chosen of `choices`",
                name.name
            );
            reader.error("E0206", name.span.clone(), message, "taken");
        }
        let text = String::from_node(node);
        match text
            .as_deref()
            .and_then(|text| FieldType::ALL.iter().find(|(_, known)| *known == text))
        {
            Some((kind, _)) => fields.push((name.name.clone(), *kind)),
            None => {
                let message = format!("`{}` of the form must be the name of a type", name.name);
                let known: Vec<_> = FieldType::ALL.iter().map(|(_, name)| *name).collect();
                reader.error_with_help(
                    "E0203",
                    node.span.clone(),
                    message,
                    "not a type",
                    format!("known: {}", known.join(", ")),
                );
            }
        }
    }
    fields
}

/// `approval = { quorum = 1, not_self = true, … }`
pub(super) fn read_approval(
    section: Section,
    reader: &mut Reader<'_>,
) -> Option<Spanned<Approval>> {
    let span = reader.table().get("approval")?.span.clone();
    if section != Section::Step {
        let message = format!(
            "`approval` of {} has no meaning: only a step has an effect to approve",
            reader.subject()
        );
        reader.error("E0220", span.clone(), message, "only in `[[step]]`");
    }
    let approval = reader.section("approval", "`approval`", |reader| {
        let quorum = reader.optional::<u32>("quorum");
        if let Some(zero) = quorum.as_ref().filter(|quorum| quorum.value == 0) {
            reader.error(
                "E0226",
                zero.span.clone(),
                "`quorum` must be 1 or more",
                "nobody would be asked",
            );
        }
        let approvers: Vec<String> =
            reader.optional("approvers").map(|names| names.value).unwrap_or_default();
        let quorum = quorum.map_or(1, |quorum| quorum.value);
        if !approvers.is_empty()
            && usize::try_from(quorum).is_ok_and(|quorum| quorum > approvers.len())
        {
            let message =
                format!("`quorum` is {quorum}, and `approvers` has only {}", approvers.len());
            reader.error("E0226", reader.table().span.clone(), message, "can never be approved");
        }
        Approval {
            quorum,
            self_approval: if reader.optional::<bool>("not_self").is_some_and(|not| not.value) {
                SelfApproval::DoesNotCount
            } else {
                SelfApproval::Counts
            },
            expires: reader.optional("expires").map(|expires| expires.value),
            approvers,
        }
    })?;
    Some(Spanned { value: approval, span })
}
