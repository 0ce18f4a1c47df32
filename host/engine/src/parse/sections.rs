//! `[locks]`, `[limits]`, `[undo]`.

use super::names;
use crate::model::{Limits, Locks, OnBusy, UndoCause, UndoCauses, UndoPolicy, VerifyUndo};
use runbook_document::{Reader, Spanned, Table};
use std::time::Duration;

pub(super) fn locks(reader: &mut Reader<'_>) -> Locks {
    reader
        .section("locks", "`[locks]`", |reader| {
            let exclusive = reader
                .required::<Vec<Spanned<String>>>("exclusive")
                .map(|names| names.value)
                .unwrap_or_default();
            for name in exclusive.iter().filter(|name| name.value.trim().is_empty()) {
                reader.error(
                    "E0206",
                    name.span.clone(),
                    "a lock needs a name, such as `db:orders`",
                    "empty",
                );
            }
            let mut exclusive: Vec<String> = exclusive.into_iter().map(|name| name.value).collect();
            exclusive.sort();
            exclusive.dedup();
            Locks {
                exclusive,
                wait: reader.optional("wait").map_or(Duration::ZERO, |wait| wait.value),
                on_busy: names::choice(reader, "on_busy", OnBusy::ALL)
                    .map(|on_busy| on_busy.value)
                    .unwrap_or_default(),
            }
        })
        .unwrap_or_default()
}

pub(super) fn limits(reader: &mut Reader<'_>) -> Limits {
    let default = Limits::default();
    reader
        .section("limits", "`[limits]`", |reader| Limits {
            max_effects: max_effects(reader),
            cleanup_timeout: reader
                .optional("cleanup_timeout")
                .map_or(default.cleanup_timeout, |timeout| timeout.value),
            max_parallel: max_parallel(reader).unwrap_or(default.max_parallel),
        })
        .unwrap_or_default()
}

fn max_parallel(reader: &mut Reader<'_>) -> Option<usize> {
    let max_parallel = reader.optional::<u32>("max_parallel")?;
    if max_parallel.value == 0 {
        reader.error(
            "E0226",
            max_parallel.span.clone(),
            "`max_parallel` counts calls at once, so it is at least 1",
            "too few",
        );
    }
    usize::try_from(max_parallel.value).ok()
}

fn max_effects(reader: &mut Reader<'_>) -> std::collections::BTreeMap<String, u32> {
    const CAPABILITIES: &[&str] = &[
        "http", "sql", "docker", "secrets", "files", "process", "net", "system", "redis",
        "objects", "mail",
    ];
    let Some(table) = reader.optional::<Table>("max_effects") else {
        return std::collections::BTreeMap::new();
    };
    let mut limits = std::collections::BTreeMap::new();
    for (capability, node) in &table.value.entries {
        if !CAPABILITIES.contains(&capability.name.as_str()) {
            let message =
                format!("`max_effects` names `{}`, which is not a capability", capability.name);
            let help = format!("use one of: {}", CAPABILITIES.join(", "));
            reader.error_with_help(
                "E0208",
                capability.span.clone(),
                message,
                "not a capability",
                help,
            );
        }
        match <u32 as runbook_document::FromNode>::from_node(node) {
            Some(number) => {
                limits.insert(capability.name.clone(), number);
            }
            None => {
                let message =
                    format!("`max_effects.{}` must be an integer of 0 or more", capability.name);
                reader.error("E0203", node.span.clone(), message, "wrong type");
            }
        }
    }
    limits
}

pub(super) fn undo_policy(reader: &mut Reader<'_>) -> UndoPolicy {
    reader
        .section("undo", "`[undo]`", |reader| UndoPolicy {
            on: names::choices(reader, "on", UndoCause::ALL)
                .map_or_else(UndoCauses::default, |causes| UndoCauses(causes.value)),
            verify: match reader.optional::<bool>("verify").map(|verify| verify.value) {
                Some(false) => VerifyUndo::Trust,
                Some(true) | None => VerifyUndo::Observe,
            },
        })
        .unwrap_or_default()
}
