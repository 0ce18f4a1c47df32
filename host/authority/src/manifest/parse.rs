//! Reads `plugin.toml` into a manifest, and reports every mistake at its position.

use super::{FORMAT, Kind, Manifest, Operation, Slot, condition, is_kebab_case, verb_list};
use crate::capability::{Capability, Verb};
use runbook_document::{Diagnostics, Key, Node, Reader, Source, Spanned, Table, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Manifest {
    /// Reads a `plugin.toml`. All mistakes are reported; `None` if any makes it unusable.
    pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let table = runbook_document::parse(source, diagnostics)?;
        let count_before = diagnostics.len();
        // Reviewers read every string of the manifest, on terminals and in reports.
        runbook_document::refuse_in_strings(source, &table, diagnostics);
        let mut reader = Reader::new(source, &table, "the manifest", diagnostics);
        let format = reader.required::<u32>("format");
        if let Some(format) = format.filter(|format| format.value != FORMAT) {
            let message = format!(
                "manifest format {} is not known; this host reads format {FORMAT}",
                format.value
            );
            reader.error("E0301", format.span, message, "unknown format");
        }
        let identity = reader.section("plugin", "`[plugin]`", read_identity);
        if identity.is_none() && table.get("plugin").is_none() {
            reader.error(
                "E0202",
                table.span.clone(),
                "the manifest has no `[plugin]` table",
                "`[plugin]` is missing",
            );
        }
        let mut incomplete = BTreeSet::new();
        let slots = reader.read_named("slots", "slot", |name, reader| {
            let count_before = reader.diagnostics().len();
            let slot = read_slot(name, reader);
            if reader.diagnostics().len() > count_before {
                incomplete.insert(name.name.clone());
            }
            slot
        });
        let slots: BTreeMap<_, _> = slots.into_iter().collect();
        let declared = DeclaredSlots { slots: &slots, incomplete };
        let operations =
            reader.read_each("operation", "operation", |reader| read_operation(reader, &declared));
        reader.finish();
        let mut by_name = BTreeMap::new();
        for (name, operation) in operations {
            let duplicate = by_name.insert(name.value.clone(), operation).is_some();
            if duplicate {
                let message = format!("operation `{}` is there twice", name.value);
                diagnostics.push(
                    runbook_document::Diagnostic::error("E0207", source, name.span, message)
                        .label("second one"),
                );
            }
        }
        let (name, version, description) = identity.flatten()?;
        let manifest =
            Self { format: FORMAT, name, version, description, slots, operations: by_name };
        // The operation that uses a slot may have a mistake of its own, which is reported already.
        if !diagnostics.has_errors() {
            manifest.report_unused_slots(source, &table, diagnostics);
        }
        (diagnostics.len() == count_before || !diagnostics.has_errors()).then_some(manifest)
    }

    fn report_unused_slots(
        &self,
        source: &Arc<Source>,
        table: &Table,
        diagnostics: &mut Diagnostics,
    ) {
        let headers = match table.get("slots").map(|node| &node.value) {
            Some(Value::Table(slots)) => slots.entries.as_slice(),
            Some(_) | None => &[],
        };
        for name in self.slots.keys() {
            if !self.operations.values().any(|operation| operation.slots.contains_key(name)) {
                let message = format!("slot `{name}` is used by no operation");
                let header = headers
                    .iter()
                    .find(|(key, _)| key.name == *name)
                    .map_or(0..0, |(key, _)| key.span.clone());
                let warning =
                    runbook_document::Diagnostic::warning("E0302", source, header, message)
                        .label("this slot");
                diagnostics
                    .push(warning.help(
                        "name it in the `slots` of the operation that uses it, or remove it",
                    ));
            }
        }
    }
}

fn read_identity(reader: &mut Reader<'_>) -> Option<(String, String, String)> {
    let name = reader.required::<String>("name");
    let version = reader.required::<String>("version");
    let description = reader.required::<String>("description");
    if let Some(name) = name.as_ref().filter(|name| !is_kebab_case(&name.value)) {
        reader.error(
            "E0303",
            name.span.clone(),
            format!("plugin name `{}` is not kebab case", name.value),
            "letters, digits and single dashes",
        );
    }
    Some((name?.value, version?.value, description?.value))
}

fn read_slot(name: &Key, reader: &mut Reader<'_>) -> Option<(String, Slot)> {
    if !is_kebab_case(&name.name) {
        reader.error(
            "E0303",
            name.span.clone(),
            format!("slot name `{}` is not kebab case", name.name),
            "letters, digits and single dashes",
        );
    }
    let capability = reader.required::<String>("capability").and_then(|typed| {
        let found = Capability::find(&typed.value);
        if found.is_none() {
            let known: Vec<_> = Capability::all().map(Capability::name).collect();
            report_unknown(reader, "E0304", &typed, "capability", &known);
        }
        found
    });
    let verbs = reader.required::<Vec<Spanned<String>>>("verbs");
    let reason = reader.required::<String>("reason");
    let capability = capability?;
    let verbs = read_verbs(reader, capability, verbs?);
    Some((name.name.clone(), Slot { capability, verbs, reason: reason?.value }))
}

fn read_verbs(
    reader: &mut Reader<'_>,
    capability: Capability,
    names: Spanned<Vec<Spanned<String>>>,
) -> Vec<Verb> {
    if names.value.is_empty() {
        reader.error("E0306", names.span, "the list of verbs is empty", "name at least one verb");
    }
    let mut verbs = Vec::new();
    for typed in names.value {
        match Verb::find(capability, &typed.value) {
            Some(verb) => verbs.push(verb),
            None => {
                let known: Vec<_> = capability.verbs().map(|verb| verb.row().name).collect();
                report_unknown(reader, "E0305", &typed, &format!("verb of `{capability}`"), &known);
            }
        }
    }
    verbs.sort_unstable();
    verbs.dedup();
    verbs
}

/// The slots that `[slots]` declares.
struct DeclaredSlots<'a> {
    slots: &'a BTreeMap<String, Slot>,
    /// The names of slots that are declared but have mistakes, so that their verbs may be
    /// incomplete.
    incomplete: BTreeSet<String>,
}

fn read_operation(
    reader: &mut Reader<'_>,
    declared: &DeclaredSlots<'_>,
) -> Option<(Spanned<String>, Operation)> {
    let name = reader.required::<String>("name");
    if let Some(name) = name.as_ref().filter(|name| !is_kebab_case(&name.value)) {
        let message = format!("operation name `{}` is not kebab case", name.value);
        reader.error("E0303", name.span.clone(), message, "letters, digits and single dashes");
    }
    let kind = reader.required::<String>("kind").and_then(|typed| {
        let found = Kind::parse(&typed.value);
        if found.is_none() {
            report_unknown(
                reader,
                "E0307",
                &typed,
                "kind of operation",
                &["probe", "smoke-test", "step"],
            );
        }
        found.map(|kind| Spanned { value: kind, span: typed.span })
    });
    let summary = reader.required::<String>("summary");
    let used_slots = reader
        .optional::<runbook_document::Table>("slots")
        .map(|table| table.value.entries)
        .unwrap_or_default();
    let optional = reader
        .optional::<Vec<Spanned<String>>>("optional")
        .map(|list| list.value)
        .unwrap_or_default();
    let idempotent = reader.optional::<bool>("idempotent").is_some_and(|flag| flag.value);
    let undo = reader.optional::<bool>("undo");
    let used_slots: BTreeMap<_, _> = used_slots
        .iter()
        .filter_map(|(slot, verbs)| read_slot_use(reader, declared, slot, verbs))
        .collect();
    for slot in optional.iter().filter(|slot| !used_slots.contains_key(&slot.value)) {
        let message = format!("`{}` is optional but not among the operation's slots", slot.value);
        reader.error("E0308", slot.span.clone(), message, "not in `slots`");
    }
    let needed_if = reader.read_each("needed_if", "condition", |reader| {
        condition::read(reader, &used_slots, &declared.incomplete)
    });
    let kind = kind?;
    if let Some(undo) = undo.as_ref().filter(|undo| undo.value && kind.value != Kind::Step) {
        reader.error(
            "E0309",
            undo.span.clone(),
            format!("a {} changes nothing, so it has no undo", kind.value.name()),
            "remove this",
        );
    }
    let operation = Operation {
        kind: kind.value,
        summary: summary?.value,
        slots: used_slots,
        optional: optional.into_iter().map(|slot| slot.value).collect(),
        needed_if,
        idempotent: idempotent || kind.value == Kind::Probe,
        undo: undo.is_some_and(|undo| undo.value),
        input: serde_json::Value::Null,
        output: serde_json::Value::Null,
    };
    if kind.value == Kind::Probe && operation.writes() {
        reader.error(
            "E0310",
            kind.span,
            "a probe changes nothing, but this one uses verbs that do",
            "make it a step; a program that only reads has the verb `inspect`",
        );
    }
    Some((name?, operation))
}

/// Reads one `slot = ["verb"]` of an operation.
fn read_slot_use(
    reader: &mut Reader<'_>,
    declared: &DeclaredSlots<'_>,
    key: &Key,
    node: &Node,
) -> Option<(String, Vec<Verb>)> {
    let is_incomplete = declared.incomplete.contains(&key.name);
    let Some(slot) = declared.slots.get(&key.name) else {
        if is_incomplete {
            return None;
        }
        let typed = Spanned { value: key.name.clone(), span: key.span.clone() };
        let known: Vec<_> = declared.slots.keys().map(String::as_str).collect();
        report_unknown(reader, "E0308", &typed, "slot", &known);
        return None;
    };
    let names = match &node.value {
        Value::Array(items) => items
            .iter()
            .map(<Spanned<String> as runbook_document::FromNode>::from_node)
            .collect::<Option<Vec<_>>>(),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => None,
    };
    let Some(names) = names else {
        reader.error(
            "E0203",
            node.span.clone(),
            format!("`{}` must be a list of verbs", key.name),
            "wrong type",
        );
        return None;
    };
    let verbs =
        read_verbs(reader, slot.capability, Spanned { value: names, span: node.span.clone() });
    for verb in verbs.iter().filter(|verb| !is_incomplete && !slot.verbs.contains(verb)) {
        let message = format!(
            "the operation uses `{verb}` on slot `{}`, which declares only {}",
            key.name,
            verb_list(&slot.verbs)
        );
        reader.error("E0311", node.span.clone(), message, "not declared by the slot");
    }
    Some((key.name.clone(), verbs))
}

fn report_unknown(
    reader: &mut Reader<'_>,
    code: &'static str,
    typed: &Spanned<String>,
    noun: &str,
    known: &[&str],
) {
    let help = runbook_document::suggestion(&typed.value, known);
    reader.error_with_help(
        code,
        typed.span.clone(),
        format!("`{}` is not a {noun}", typed.value),
        "unknown",
        help,
    );
}
