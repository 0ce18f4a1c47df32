//! `undo` and `irreversible`: how a step is undone, or why it cannot be.

use super::uses::{check_uses, read_bind};
use crate::event::Section;
use crate::model::UndoDeclaration;
use runbook_document::{Node, Reader, Spanned, Value};

pub(super) fn read_undo(section: Section, reader: &mut Reader<'_>) -> Option<UndoDeclaration> {
    let undo = reader.optional::<Node>("undo");
    let irreversible = reader.optional::<String>("irreversible");
    if let (Some(undo), Some(_)) = (&undo, &irreversible) {
        let message = format!("{} has both `undo` and `irreversible`", reader.subject());
        reader.error_with_help(
            "E0220",
            undo.span.clone(),
            message,
            "contradicts `irreversible`",
            "keep the one that is true",
        );
        return None;
    }
    let span = undo
        .as_ref()
        .map(|undo| undo.span.clone())
        .or_else(|| irreversible.as_ref().map(|reason| reason.span.clone()))?;
    if section != Section::Step {
        let message = format!("{} cannot be undone: only steps can", reader.subject());
        reader.error("E0220", span, message, "only in `[[step]]`");
        return None;
    }
    match undo {
        Some(undo) => read_undo_value(reader, &undo),
        None => read_reason(reader, irreversible?),
    }
}

fn read_reason(reader: &mut Reader<'_>, reason: Spanned<String>) -> Option<UndoDeclaration> {
    if reason.value.trim().is_empty() {
        let message = format!("`irreversible` of {} needs a reason", reader.subject());
        reader.error_with_help(
            "E0220",
            reason.span,
            message,
            "empty",
            "say why it is acceptable, as in `\"adds a file\"`",
        );
        return None;
    }
    Some(UndoDeclaration::Irreversible { reason })
}

fn read_undo_value(reader: &mut Reader<'_>, undo: &Spanned<Node>) -> Option<UndoDeclaration> {
    match &undo.value.value {
        Value::String(word) if word == "auto" => {
            Some(UndoDeclaration::Auto { span: undo.span.clone() })
        }
        Value::Table(_) => reader.section("undo", "`undo`", |reader| {
            let uses = reader.required::<String>("uses");
            let with = super::with_file::read_with(reader);
            let bind = read_bind(reader);
            let idempotent =
                reader.optional::<bool>("idempotent").map(|idempotent| idempotent.value);
            let uses = uses?;
            check_uses(reader, &uses);
            Some(UndoDeclaration::Explicit {
                uses,
                with,
                bind,
                idempotent,
                span: undo.span.clone(),
            })
        })?,
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_) => {
            let message =
                format!("`undo` of {} must be `\"auto\"` or a table with `uses`", reader.subject());
            let help = "write `undo = \"auto\"`, or \
                 `undo = { uses = \"plugin:operation\", bind = { … } }`";
            reader.error_with_help("E0203", undo.span.clone(), message, "neither", help);
            None
        }
    }
}
