//! The manifest: the declared needs of a plugin, the set D.
//!
//! An author writes `plugin.toml`; `runbook plugin build` embeds it, with the schemas of the
//! operations, as the custom section [`SECTION`] of the component, so that one digest covers code
//! and declaration.

mod condition;
mod condition_schema;

use crate::capability::{Capability, Verb};
pub use condition::{InputPath, KnownInput, Need, NotAPath, Scalar, ValueTest, VerbCondition};
pub use runbook_contract::Kind;
use runbook_document::{Diagnostics, Key, Located, Node, Reader, Source, Table, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The component's custom section that holds the manifest as JSON.
pub const SECTION: &str = "runbook:manifest";

/// The version of the manifest format that this host reads.
pub const FORMAT: u32 = 1;

/// What a plugin is, what it offers, and what it may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the manifest's format, always [`FORMAT`].
    pub format: u32,
    /// Kebab case; the part before the colon in `uses`.
    pub name: String,
    /// The version of the plugin, as semver.org defines it.
    pub version: String,
    /// One line: what the plugin is for.
    pub description: String,
    /// The slots that a runbook binds.
    pub slots: BTreeMap<String, Slot>,
    /// What the plugin offers, by name.
    pub operations: BTreeMap<String, Operation>,
}

/// A slot: a name that a runbook binds to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The kind of thing that can be bound to it.
    pub capability: Capability,
    /// The most that any operation of the plugin does with it.
    pub verbs: Vec<Verb>,
    /// Why the plugin needs it, in the author's words.
    pub reason: String,
}

/// Something that a plugin offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Whether it is a probe, a smoke test or a step.
    pub kind: Kind,
    /// One line: what it does, in the third person.
    pub summary: String,
    /// The slots that it uses, and what it does with each.
    pub slots: BTreeMap<String, Vec<Verb>>,
    /// Slots that need not be bound.
    pub optional: Vec<String>,
    /// Verbs that only some inputs need. Every other verb of `slots` is needed by every input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed_if: Vec<VerbCondition>,
    /// Whether running it again after an unknown outcome does no harm. Probes always are.
    pub idempotent: bool,
    /// Whether the plugin can undo it.
    pub undo: bool,
    /// JSON Schema of the input; `null` until the plugin is built.
    pub input: serde_json::Value,
    /// JSON Schema of the output; `null` until the plugin is built.
    pub output: serde_json::Value,
}

impl Operation {
    /// Refuses combinations that an operation of its kind cannot have.
    fn problem(&self) -> Option<&'static str> {
        let has = |slot: &String| self.slots.contains_key(slot);
        match self.kind {
            Kind::Probe if self.writes() => {
                Some("is a probe, and uses verbs that change something")
            }
            Kind::Probe if !self.idempotent => Some("is a probe that is not idempotent; each is"),
            Kind::Probe | Kind::SmokeTest if self.undo => {
                Some("has an undo, which only a step has")
            }
            Kind::Probe | Kind::SmokeTest | Kind::Step => (!self.optional.iter().all(has))
                .then_some("has an optional slot that is not among its slots"),
        }
    }

    /// The conditions under which it needs a verb on a slot; none if it always does.
    pub fn conditions(&self, slot: &str, verb: Verb) -> impl Iterator<Item = &VerbCondition> {
        self.needed_if
            .iter()
            .filter(move |condition| condition.slot == slot && condition.verb == verb)
    }

    /// What is wrong with one of the conditions: it names what the operation does not use, or a
    /// place or value that the schema of the input does not have.
    ///
    /// # Errors
    /// The number of the first wrong condition, from 1, and what is wrong with it.
    pub fn check_conditions(&self) -> Result<(), String> {
        for (index, condition) in self.needed_if.iter().enumerate() {
            let VerbCondition { slot, verb, any_of, .. } = condition;
            let uses = self.slots.get(slot).is_some_and(|verbs| verbs.contains(verb));
            let problem = if !uses {
                Some(format!("the operation does not use `{verb}` on slot `{slot}`"))
            } else if any_of.is_empty() {
                Some("`any_of` names no place of the input".to_owned())
            } else {
                condition_schema::problem(condition, &self.input)
            };
            if let Some(problem) = problem {
                return Err(format!("entry {} of `needed_if`: {problem}", index + 1));
            }
        }
        Ok(())
    }

    /// Whether any verb that it may use changes something.
    pub fn writes(&self) -> bool {
        self.slots.values().flatten().any(|verb| verb.effect() == crate::capability::Effect::Change)
    }
}

impl Manifest {
    /// Reads a `plugin.toml`. All mistakes are reported; `None` if any makes it unusable.
    pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let table = runbook_document::parse(source, diagnostics)?;
        let before = diagnostics.len();
        // Reviewers read every string of it, on terminals and in reports.
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
        let mut in_part = BTreeSet::new();
        let slots = reader.named("slots", "slot", |name, reader| {
            let before = reader.diagnostics().len();
            let slot = read_slot(name, reader);
            if reader.diagnostics().len() > before {
                in_part.insert(name.name.clone());
            }
            slot
        });
        let slots: BTreeMap<_, _> = slots.into_iter().collect();
        let declared = Declared { slots: &slots, in_part };
        let operations =
            reader.each("operation", "operation", |reader| read_operation(reader, &declared));
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
        // The missing use may be in a place that has a mistake of its own.
        if !diagnostics.has_errors() {
            manifest.report_unused_slots(source, &table, diagnostics);
        }
        (diagnostics.len() == before || !diagnostics.has_errors()).then_some(manifest)
    }

    /// Reads the JSON of a component's [`SECTION`].
    ///
    /// # Errors
    /// [`ManifestError`] if the section is not the JSON of a manifest, has another format, holds a
    /// text that cannot be shown as it is, or contradicts itself.
    pub fn from_section(json: &[u8]) -> Result<Self, ManifestError> {
        let value: serde_json::Value = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        check_texts(&value, &mut Vec::new())?;
        let manifest: Self = serde_json::from_value(value).map_err(ManifestError::Json)?;
        if manifest.format != FORMAT {
            return Err(ManifestError::Format { found: manifest.format });
        }
        manifest.check_consistency()?;
        Ok(manifest)
    }

    /// The JSON of the component's [`SECTION`]; the same manifest always gives the same bytes.
    pub fn to_section(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has string keys only, so it is always JSON")
    }

    /// A section comes from a file that anybody can write, so what `parse` checks is checked again.
    fn check_consistency(&self) -> Result<(), ManifestError> {
        let names = self
            .slots
            .keys()
            .map(|name| ("slot", name))
            .chain(self.operations.keys().map(|name| ("operation", name)));
        for (what, name) in std::iter::once(("plugin", &self.name)).chain(names) {
            if !is_kebab_case(name) {
                return Err(ManifestError::Name { what, name: name.clone() });
            }
        }
        for (slot_name, slot) in &self.slots {
            if let Some(verb) =
                slot.verbs.iter().find(|verb| verb.row().capability != slot.capability)
            {
                return Err(ManifestError::ForeignVerb { slot: slot_name.clone(), verb: *verb });
            }
        }
        for (operation_name, operation) in &self.operations {
            for (slot_name, verbs) in &operation.slots {
                let declared = self.slots.get(slot_name);
                let undeclared = verbs
                    .iter()
                    .find(|verb| !declared.is_some_and(|slot| slot.verbs.contains(verb)));
                if declared.is_none() || undeclared.is_some() {
                    return Err(ManifestError::UndeclaredUse {
                        operation: operation_name.clone(),
                        slot: slot_name.clone(),
                    });
                }
            }
            if let Some(problem) = operation.problem() {
                return Err(ManifestError::Operation {
                    operation: operation_name.clone(),
                    problem,
                });
            }
            operation.check_conditions().map_err(|problem| ManifestError::Condition {
                operation: operation_name.clone(),
                problem,
            })?;
        }
        Ok(())
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

    /// Every verb that the plugin declares, on any slot.
    pub fn declared_verbs(&self) -> impl Iterator<Item = Verb> {
        self.slots.values().flat_map(|slot| slot.verbs.iter().copied())
    }
}

/// Why a component's manifest section cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not the JSON of a manifest.
    #[error("the manifest section is not a manifest: {0}")]
    Json(#[source] serde_json::Error),
    /// It was made for another host.
    #[error("manifest format {found} is not known; this host reads format {FORMAT}")]
    Format {
        /// The format that the manifest names.
        found: u32,
    },
    /// A text that could not be shown as it is.
    #[error("the manifest has {} in {place}, which is not seen or begins a line of its own", runbook_text::describe(*character))]
    Text {
        /// Where, as a path of keys.
        place: String,
        /// The first character that is not shown.
        character: char,
    },
    /// A name that is none.
    #[error("{what} `{name}` of the manifest is not kebab case: letters, digits and single dashes")]
    Name {
        /// The kind of thing that has the name: `plugin`, `slot` or `operation`.
        what: &'static str,
        /// The name as it is written.
        name: String,
    },
    /// A slot lists a verb of another capability.
    #[error("slot `{slot}` declares `{}`, which is not a verb of its capability", verb.full_name())]
    ForeignVerb {
        /// The name of the slot.
        slot: String,
        /// The verb that belongs to another capability.
        verb: Verb,
    },
    /// An operation that `runbook plugin build` would never write.
    #[error("operation `{operation}` of the manifest {problem}")]
    Operation {
        /// The name of the operation.
        operation: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A condition of an operation that fits neither its slots nor its input.
    #[error("operation `{operation}` of the manifest: {problem}")]
    Condition {
        /// The operation.
        operation: String,
        /// Which condition, and what is wrong with it.
        problem: String,
    },
    /// An operation uses more than its plugin declares.
    #[error("operation `{operation}` uses more of slot `{slot}` than the manifest declares")]
    UndeclaredUse {
        /// The name of the operation.
        operation: String,
        /// The name of the slot.
        slot: String,
    },
}

/// Refuses texts that cannot be shown as they are. Those of schemas may have several lines, all
/// others have one.
fn check_texts(value: &serde_json::Value, path: &mut Vec<String>) -> Result<(), ManifestError> {
    use serde_json::Value as Json;
    let check = |text: &str, path: &[String]| {
        let in_schema = path.len() > 3
            && path[0] == "operations"
            && matches!(path[2].as_str(), "input" | "output");
        let found = if in_schema {
            runbook_text::first_hidden(text)
        } else {
            runbook_text::first_not_in_line(text)
        };
        found.map_or(Ok(()), |found| {
            let keys = path
                .iter()
                .map(|key| runbook_text::shortened(&runbook_text::line(key), 100).into_owned());
            let place = format!("`{}`", keys.collect::<Vec<_>>().join("."));
            Err(ManifestError::Text { place, character: found.character })
        })
    };
    match value {
        Json::String(text) => check(text, path),
        Json::Array(items) => items.iter().try_for_each(|item| check_texts(item, path)),
        Json::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            path.push(key.clone());
            check(key, path)?;
            check_texts(value, path)?;
            path.pop();
            Ok(())
        }),
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(()),
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
    let verbs = reader.required::<Vec<Located<String>>>("verbs");
    let reason = reader.required::<String>("reason");
    let capability = capability?;
    let verbs = read_verbs(reader, capability, verbs?);
    Some((name.name.clone(), Slot { capability, verbs, reason: reason?.value }))
}

fn read_verbs(
    reader: &mut Reader<'_>,
    capability: Capability,
    names: Located<Vec<Located<String>>>,
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

/// What `[slots]` declares, as far as it could be read.
struct Declared<'a> {
    slots: &'a BTreeMap<String, Slot>,
    /// Slots that are declared but could not be read completely, perhaps because of a typing error.
    in_part: BTreeSet<String>,
}

fn read_operation(
    reader: &mut Reader<'_>,
    declared: &Declared<'_>,
) -> Option<(Located<String>, Operation)> {
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
        found.map(|kind| Located { value: kind, span: typed.span })
    });
    let summary = reader.required::<String>("summary");
    let used = reader
        .optional::<runbook_document::Table>("slots")
        .map(|table| table.value.entries)
        .unwrap_or_default();
    let optional = reader
        .optional::<Vec<Located<String>>>("optional")
        .map(|list| list.value)
        .unwrap_or_default();
    let idempotent = reader.optional::<bool>("idempotent").is_some_and(|flag| flag.value);
    let undo = reader.optional::<bool>("undo");
    let used: BTreeMap<_, _> =
        used.iter().filter_map(|(slot, verbs)| read_use(reader, declared, slot, verbs)).collect();
    for slot in optional.iter().filter(|slot| !used.contains_key(&slot.value)) {
        let message = format!("`{}` is optional but not among the operation's slots", slot.value);
        reader.error("E0308", slot.span.clone(), message, "not in `slots`");
    }
    let needed_if =
        reader.each("needed_if", "condition", |reader| condition::read(reader, &used, declared));
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
        slots: used,
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

/// One `slot = ["verb"]` of an operation.
fn read_use(
    reader: &mut Reader<'_>,
    declared: &Declared<'_>,
    key: &Key,
    node: &Node,
) -> Option<(String, Vec<Verb>)> {
    let is_in_part = declared.in_part.contains(&key.name);
    let Some(slot) = declared.slots.get(&key.name) else {
        if is_in_part {
            return None;
        }
        let typed = Located { value: key.name.clone(), span: key.span.clone() };
        let known: Vec<_> = declared.slots.keys().map(String::as_str).collect();
        report_unknown(reader, "E0308", &typed, "slot", &known);
        return None;
    };
    let names = match &node.value {
        Value::Array(items) => items
            .iter()
            .map(<Located<String> as runbook_document::FromNode>::from_node)
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
        read_verbs(reader, slot.capability, Located { value: names, span: node.span.clone() });
    for verb in verbs.iter().filter(|verb| !is_in_part && !slot.verbs.contains(verb)) {
        let message = format!(
            "the operation uses `{verb}` on slot `{}`, which declares only {}",
            key.name,
            list(&slot.verbs)
        );
        reader.error("E0311", node.span.clone(), message, "not declared by the slot");
    }
    Some((key.name.clone(), verbs))
}

/// Verbs as a list for messages: `` `query`, `execute` ``.
pub(crate) fn list(verbs: &[Verb]) -> String {
    verbs.iter().map(|verb| format!("`{verb}`")).collect::<Vec<_>>().join(", ")
}

fn report_unknown(
    reader: &mut Reader<'_>,
    code: &'static str,
    typed: &Located<String>,
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

/// Lower-case letters, digits and single dashes, starting with a letter.
pub fn is_kebab_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
format = 1
[plugin]
name = "postgres"
version = "0.1.0"
description = "Checks a database"
[slots.db]
capability = "sql"
verbs = ["query", "execute"]
reason = "reads statistics"
[[operation]]
name = "ping"
kind = "probe"
summary = "connects"
slots = { db = ["query"] }
"#;

    fn parse(text: &str) -> Result<Manifest, Vec<String>> {
        let mut diagnostics = Diagnostics::default();
        let manifest = Manifest::parse(&Source::new("plugin.toml", text), &mut diagnostics);
        manifest.ok_or_else(|| {
            diagnostics
                .iter()
                .map(|d| format!("{}: {} {}", d.position().line, d.code, d.message))
                .collect()
        })
    }

    /// All that is said of a text, warnings too: line, code and message.
    fn told(text: &str) -> Vec<String> {
        let mut diagnostics = Diagnostics::default();
        let _ = Manifest::parse(&Source::new("plugin.toml", text), &mut diagnostics);
        diagnostics
            .iter()
            .map(|d| format!("{}: {} {}", d.position().line, d.code, d.message))
            .collect()
    }

    #[test]
    fn what_follows_from_a_mistake_is_not_told_as_another_one() {
        assert_eq!(told(GOOD), Vec::<String>::new());
        // Each mistake by itself, and the only line that is to be said of it.
        for (good, wrong, expected) in [
            (
                "verbs = [\"query\", \"execute\"]",
                "verbs = [\"qery\"]",
                "9: E0305 `qery` is not a verb of `sql`",
            ),
            (
                "verbs = [\"query\", \"execute\"]",
                "verbs = [\"qery\", \"execute\"]",
                "9: E0305 `qery` is not a verb of `sql`",
            ),
            ("{ db = [\"query\"] }", "{ dbb = [\"query\"] }", "15: E0308 `dbb` is not a slot"),
            (
                "{ db = [\"query\"] }",
                "{ db = [\"qery\"] }",
                "15: E0305 `qery` is not a verb of `sql`",
            ),
            (
                "capability = \"sql\"",
                "capability = \"sqll\"",
                "8: E0304 `sqll` is not a capability",
            ),
        ] {
            let found = told(&GOOD.replace(good, wrong));
            assert_eq!(found, [expected], "{wrong}");
        }
    }

    #[test]
    fn an_unused_slot_is_told_at_its_header() {
        let unused = "[slots.other]\ncapability = \"sql\"\nverbs = [\"query\"]\nreason = \"none\"\n[[operation]]";
        assert_eq!(
            told(&GOOD.replace("[[operation]]", unused)),
            ["11: E0302 slot `other` is used by no operation"]
        );
    }

    #[test]
    fn a_manifest_survives_the_way_into_the_section_and_back() {
        let manifest = parse(GOOD).expect("the example is good");
        assert_eq!(
            Manifest::from_section(&manifest.to_section()).expect("own output is readable"),
            manifest
        );
    }

    #[test]
    fn an_operation_that_uses_an_undeclared_verb_is_refused() {
        let errors = parse(&GOOD.replace("[\"query\", \"execute\"]", "[\"execute\"]"))
            .expect_err("`query` is not declared");
        assert_eq!(
            errors,
            ["15: E0311 the operation uses `query` on slot `db`, which declares only `execute`"]
        );
    }

    #[test]
    fn a_probe_that_changes_something_is_refused() {
        let errors = parse(&GOOD.replace("{ db = [\"query\"] }", "{ db = [\"execute\"] }"))
            .expect_err("probes do not write");
        assert_eq!(errors, ["13: E0310 a probe changes nothing, but this one uses verbs that do"]);
    }

    #[test]
    fn a_section_that_claims_less_than_it_uses_is_refused() {
        let mut manifest = parse(GOOD).expect("the example is good");
        manifest.slots.get_mut("db").expect("the slot is there").verbs = vec![Verb::SqlExecute];
        assert!(matches!(
            Manifest::from_section(&manifest.to_section()),
            Err(ManifestError::UndeclaredUse { .. })
        ));
    }

    /// Every place of a text in a JSON value, and the value with `hostile` in its place.
    fn with_hostile(value: &serde_json::Value, hostile: &str) -> Vec<(String, serde_json::Value)> {
        use serde_json::Value as Json;
        match value {
            Json::String(_) => vec![(String::new(), Json::from(hostile))],
            Json::Array(items) => {
                let one = |(at, item): (usize, &Json)| {
                    let changed = with_hostile(item, hostile).into_iter();
                    changed.map(move |(place, item)| {
                        let mut items = items.clone();
                        items[at] = item;
                        (format!("/{at}{place}"), Json::from(items))
                    })
                };
                items.iter().enumerate().flat_map(one).collect()
            }
            Json::Object(entries) => {
                let one = |(key, value): (&String, &Json)| {
                    let in_value =
                        with_hostile(value, hostile).into_iter().map(|(place, value)| {
                            let mut changed = entries.clone();
                            changed.insert(key.clone(), value);
                            (format!("/{key}{place}"), Json::Object(changed))
                        });
                    let in_key = entries.iter().map(|(known, value)| {
                        (
                            if known == key { hostile.to_owned() } else { known.clone() },
                            value.clone(),
                        )
                    });
                    in_value
                        .chain([(
                            format!("/{key} itself"),
                            in_key.collect::<serde_json::Map<_, _>>().into(),
                        )])
                        .collect::<Vec<_>>()
                };
                entries.iter().flat_map(one).collect()
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
        }
    }

    #[test]
    fn a_section_with_a_character_that_cannot_be_shown_is_refused_wherever_it_stands() {
        let mut manifest = parse(GOOD).expect("the example is good");
        let operation = manifest.operations.get_mut("ping").expect("it is there");
        operation.optional = vec!["db".to_owned()];
        operation.input = serde_json::json!({ "title": "T", "properties": { "a": { "description": "two\nlines", "enum": ["x"] } } });
        let section: serde_json::Value =
            serde_json::from_slice(&manifest.to_section()).expect("it is JSON");
        assert!(Manifest::from_section(section.to_string().as_bytes()).is_ok());
        for hostile in [
            "\u{1b}[2J",
            "a\rb",
            "\u{9b}",
            "\u{202e}",
            "\u{2028}",
            "\u{ffff}",
            "\u{200b}",
            "\u{e0041}",
            "\0",
        ] {
            let places = with_hostile(&section, hostile);
            assert!(places.len() > 20, "{}", places.len());
            for (place, value) in places {
                let error = Manifest::from_section(value.to_string().as_bytes()).expect_err(&place);
                let shown = error.to_string();
                assert!(matches!(error, ManifestError::Text { .. }), "{place}: {shown}");
                assert!(runbook_text::first_not_in_line(&shown).is_none(), "{place}: {shown:?}");
            }
        }
    }

    #[test]
    fn names_of_a_section_are_names() {
        for name in ["../../etc/passwd", "A", "a b", "", "a\\b", "é"] {
            let section = String::from_utf8(parse(GOOD).expect("good").to_section()).expect("text");
            for known in ["postgres", "db", "ping"] {
                let changed = section
                    .replace(&format!("\"{known}\""), &serde_json::Value::from(name).to_string());
                let error = Manifest::from_section(changed.as_bytes()).expect_err(name);
                assert!(
                    matches!(error, ManifestError::Name { .. }),
                    "{known} as {name:?}: {error}"
                );
            }
        }
    }

    #[test]
    fn no_text_of_a_manifest_hides_anything() {
        for text in ["Checks a database", "reads statistics", "connects", "0.1.0"] {
            let errors = parse(&GOOD.replace(text, "x\\u202Ey")).expect_err(text);
            assert!(errors[0].contains("E0290") && errors[0].contains("U+202E"), "{errors:?}");
        }
    }

    #[test]
    fn what_a_plugin_toml_cannot_say_a_section_cannot_say_either() {
        type Change = fn(&mut Manifest, &str);
        let changes: [(&str, Change); 5] = [
            ("a name", |manifest, operation| {
                let moved = manifest.operations.remove(operation).expect("it is there");
                manifest.operations.insert("No Name".to_owned(), moved);
            }),
            ("a probe that writes", |manifest, operation| {
                let operation = manifest.operations.get_mut(operation).expect("it is there");
                operation.slots.insert("db".to_owned(), vec![Verb::SqlExecute]);
            }),
            ("a probe that is run once", |manifest, operation| {
                manifest.operations.get_mut(operation).expect("it is there").idempotent = false;
            }),
            ("a probe with an undo", |manifest, operation| {
                manifest.operations.get_mut(operation).expect("it is there").undo = true;
            }),
            ("an optional slot", |manifest, operation| {
                manifest.operations.get_mut(operation).expect("it is there").optional =
                    vec!["nobody".to_owned()];
            }),
        ];
        for (what, change) in changes {
            let mut manifest = parse(GOOD).expect("the example is good");
            change(&mut manifest, "ping");
            let error = Manifest::from_section(&manifest.to_section()).expect_err(what);
            assert!(
                matches!(error, ManifestError::Operation { .. } | ManifestError::Name { .. }),
                "{what}: {error}"
            );
        }
        let errors =
            parse(&GOOD.replace("name = \"ping\"", "name = \"Ping it\"")).expect_err("no name");
        assert_eq!(errors, ["12: E0303 operation name `Ping it` is not kebab case"]);
    }

    const CONDITION: &str = "needed_if = [{ slot = \"db\", verb = \"query\", any_of = [\"a[].b\"], is = \"x\", or_absent = true }]\n";

    #[test]
    fn a_condition_survives_the_way_into_the_section_and_back() {
        for test in ["is = \"x\", or_absent = true", "is = true", "is = 3", "is = \"true\"", ""] {
            let written = CONDITION.replace("is = \"x\", or_absent = true", test);
            let manifest = parse(&format!("{GOOD}{written}")).expect("it is good");
            assert_eq!(manifest.operations["ping"].needed_if.len(), 1);
            let read = Manifest::from_section(&manifest.to_section()).expect("own output");
            assert_eq!(read, manifest, "{written}");
        }
    }

    #[test]
    fn a_condition_that_means_nothing_is_told_at_its_place() {
        for (good, wrong, expected) in [
            ("slot = \"db\"", "slot = \"dp\"", "16: E0313 `dp` is not among the operation's slots"),
            (
                "verb = \"query\"",
                "verb = \"execute\"",
                "16: E0313 the operation does not use `execute` on slot `db`",
            ),
            ("[\"a[].b\"]", "[]", "16: E0313 `any_of` names no place of the input"),
            (
                "[\"a[].b\"]",
                "[\"a[0].b\"]",
                "16: E0313 `a[0].b` is no path of an input: write keys with dots between them, and `[]` behind a list, such as `cases[].method`",
            ),
            (
                "is = \"x\"",
                "is = 1.5",
                "16: E0313 `is` must be a text, a whole number, `true` or `false`",
            ),
            ("is = \"x\", ", "", "16: E0313 `or_absent` belongs to `is`, and there is no `is`"),
            ("slot = \"db\", ", "", "16: E0202 condition 1 has no `slot`, which must be a string"),
            (
                "any_of = ",
                "anyof = ",
                "16: E0202 condition 1 has no `any_of`, which must be a list such as `[\"a\", \"b\"]`",
            ),
        ] {
            let found = told(&format!("{GOOD}{}", CONDITION.replace(good, wrong)));
            assert_eq!(found.first().map(String::as_str), Some(expected), "{wrong}");
        }
    }

    #[test]
    fn a_condition_of_a_section_is_held_to_its_operation_and_its_input() {
        type Change = fn(&mut VerbCondition);
        let changes: [(&str, Change); 5] = [
            ("does not use `query` on slot `other`", |condition| {
                condition.slot = "other".to_owned();
            }),
            ("does not use `execute` on slot `db`", |condition| {
                condition.verb = Verb::SqlExecute;
            }),
            ("names no place", |condition| condition.any_of.clear()),
            ("has no key `bb` there", |condition| {
                condition.any_of = vec![InputPath::parse("a[].bb").expect("a path")];
            }),
            ("is never there; it is one of `\"x\"`", |condition| {
                condition.test = ValueTest::Is(Scalar::Text("y".to_owned()));
            }),
        ];
        let mut manifest = parse(&format!("{GOOD}{CONDITION}")).expect("it is good");
        manifest.operations.get_mut("ping").expect("it is there").input = serde_json::json!({
            "type": "object",
            "properties": { "a": { "type": "array", "items": {
                "type": "object",
                "properties": { "b": { "enum": ["x"] }, "bc": {} },
                "additionalProperties": false,
            } } },
        });
        assert!(Manifest::from_section(&manifest.to_section()).is_ok());
        for (expected, change) in changes {
            let mut wrong = manifest.clone();
            let operation = wrong.operations.get_mut("ping").expect("it is there");
            change(&mut operation.needed_if[0]);
            let error = Manifest::from_section(&wrong.to_section()).expect_err(expected);
            assert!(matches!(error, ManifestError::Condition { .. }), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        for path in ["a[0]", "", "a..b"] {
            let text = String::from_utf8(manifest.to_section()).expect("JSON");
            let wrong = text.replace("\"a[].b\"", &format!("\"{path}\""));
            assert_ne!(wrong, text);
            let error = Manifest::from_section(wrong.as_bytes()).expect_err(path);
            assert!(error.to_string().contains("is no path of an input"), "{error}");
        }
    }

    #[test]
    fn unknown_names_come_with_the_nearest_known_one() {
        let errors = parse(&GOOD.replace("capability = \"sql\"", "capability = \"sqll\""))
            .expect_err("no such capability");
        assert!(errors[0].contains("`sqll` is not a capability"), "{errors:?}");
    }
}
