//! `uses` and `bind`: which operation is called, and on what.

use crate::model::Bind;
use runbook_document::{FromNode as _, Reader, Spanned, Table};

/// `uses = "plugin:operation"`, which a step must have if it has no other action.
pub(super) fn read_uses(reader: &mut Reader<'_>) -> Option<Spanned<String>> {
    let has_other_action =
        ["manual", "suite", "runbook"].iter().any(|key| reader.table().get(key).is_some());
    let uses = if has_other_action {
        reader.optional::<String>("uses")
    } else {
        reader.required::<String>("uses")
    };
    let uses = uses?;
    check_uses(reader, &uses);
    Some(uses)
}

pub(super) fn check_uses(reader: &mut Reader<'_>, uses: &Spanned<String>) {
    let parts: Vec<&str> = uses.value.rsplitn(2, ':').collect();
    if parts.len() != 2 || parts.iter().any(|part| part.trim().is_empty()) {
        let message = format!(
            "`uses` of {} must be `plugin:operation`, not `{}`",
            reader.subject(),
            uses.value
        );
        let is_plugin = parts.len() == 1
            && uses.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !uses.value.is_empty();
        let help = if is_plugin {
            format!(
                "name its operation, as in `{0}:OPERATION`; `runbook plugin inspect {0}` lists \
                 them",
                uses.value
            )
        } else {
            "write it as in `uses = \"postgres:ping\"`".to_owned()
        };
        reader.error_with_help("E0209", uses.span.clone(), message, "no operation", help);
    }
}

pub(super) fn read_bind(reader: &mut Reader<'_>) -> Vec<Bind> {
    let Some(table) = reader.optional::<Table>("bind") else { return Vec::new() };
    let mut binds = Vec::new();
    for (slot, node) in &table.value.entries {
        match String::from_node(node) {
            Some(target) => binds.push(Bind {
                slot: Spanned { value: slot.name.clone(), span: slot.span.clone() },
                target: Spanned { value: target, span: node.span.clone() },
            }),
            None => {
                let message = format!(
                    "`bind.{}` of {} must be the name of a target, or a target",
                    slot.name,
                    reader.subject()
                );
                reader.error("E0203", node.span.clone(), message, "wrong type");
            }
        }
    }
    binds
}
