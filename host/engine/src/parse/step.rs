//! `[[preflight]]`, `[[step]]`, `[[verify]]`, `[[finally]]`, `[[notify]]`.

use super::names;
use crate::event::{Section, Trigger};
use crate::model::{
    Approval, Bind, Expectation, FieldType, ForEach, IfNeedsFailed, Items, Manual, Nested, NestedKind, Notify, OnCancel,
    OnFailure, Poll, Retry, SelfApproval, Step, UndoDeclaration, section_noun,
};
use crate::range::Range;
use runbook_contract::{ErrorClass, StepId};
use runbook_document::{FromNode, Located, Node, Reader, Span, Table, Value};
use std::sync::Arc;
use std::time::Duration;

const SECTIONS: &[Section] = &[Section::Preflight, Section::Step, Section::Verify, Section::Finally];

/// Reads the four sections in the order in which they run. `unless_said` is what follows the failure of a step that does not say.
pub(super) fn read_all(reader: &mut Reader<'_>, unless_said: OnFailure) -> Vec<Step> {
    let mut steps = Vec::new();
    for section in SECTIONS {
        let noun = section_noun(*section);
        steps.extend(reader.each(noun, noun, |step| read_one(*section, step, unless_said)));
    }
    steps
}

fn read_one(section: Section, reader: &mut Reader<'_>, unless_said: OnFailure) -> Option<Step> {
    let id = reader.required::<String>("id");
    if let Some(id) = &id {
        names::check_kebab(reader, &id.value, &id.span, "an id");
    }
    let nested = read_nested(section, reader);
    let uses = read_uses(reader);
    let step = Step {
        section,
        written_in: section,
        title: reader.optional("title").map(|title| title.value),
        bind: read_bind(reader),
        with: reader.optional::<Table>("with").map(|with| with.value),
        if_needs_failed: read_if_needs_failed(reader),
        needs: read_needs(section, reader),
        when: reader.optional("when"),
        timeout: reader.optional("timeout").map(|timeout| timeout.value),
        total_timeout: reader.optional("total_timeout").map(|timeout| timeout.value),
        retry: reader.section("retry", "`retry`", read_retry),
        idempotent: reader.optional("idempotent").map(|idempotent| idempotent.value),
        poll: read_poll(reader),
        expect: read_expect(reader),
        undo: read_undo(section, reader),
        on_failure: read_on_failure(section, reader, unless_said),
        on_cancel: names::choice(reader, "on_cancel", OnCancel::ALL).map(|on_cancel| on_cancel.value).unwrap_or_default(),
        manual: read_manual(section, reader),
        approval: read_approval(section, reader),
        for_each: read_for_each(section, reader),
        nested,
        group: None,
        check: None,
        source: Arc::clone(reader.source()),
        span: reader.table().span.clone(),
        id: id?.map(StepId::new),
        uses,
    };
    Some(step)
}

/// What checks and guards, which only look, say first: who looks, and at what.
pub(super) struct Looking {
    id: Option<Located<String>>,
    uses: Option<Located<String>>,
    title: Option<String>,
    bind: Vec<Bind>,
    with: Option<Table>,
}

impl Looking {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let id = reader.required::<String>("id");
        if let Some(id) = &id {
            names::check_kebab(reader, &id.value, &id.span, "an id");
        }
        let uses = reader.required::<String>("uses");
        if let Some(uses) = &uses {
            check_uses(reader, uses);
        }
        let title = reader.optional("title").map(|title| title.value);
        let bind = read_bind(reader);
        Self { id, uses, title, bind, with: reader.optional::<Table>("with").map(|with| with.value) }
    }

    /// A step that says no more than this; `None` if its id or what it uses is missing.
    pub(super) fn into_step(self, reader: &Reader<'_>, section: Section) -> Option<Step> {
        let bare = bare(reader, section, self.id?.map(StepId::new), self.uses?);
        Some(Step { title: self.title, bind: self.bind, with: self.with, ..bare })
    }
}

/// A step that says nothing but what it is.
fn bare(reader: &Reader<'_>, section: Section, id: Located<StepId>, uses: Located<String>) -> Step {
    Step {
        section,
        written_in: section,
        id,
        uses: Some(uses),
        source: Arc::clone(reader.source()),
        span: reader.table().span.clone(),
        title: None,
        bind: Vec::new(),
        with: None,
        needs: None,
        if_needs_failed: IfNeedsFailed::Run,
        when: None,
        timeout: None,
        total_timeout: None,
        retry: None,
        idempotent: None,
        poll: None,
        expect: Vec::new(),
        undo: None,
        on_failure: OnFailure::default(),
        on_cancel: OnCancel::default(),
        manual: None,
        approval: None,
        for_each: None,
        nested: None,
        group: None,
        check: None,
    }
}

/// What a step that stands for another file can say; the rest is said by the steps of that file.
const OF_NESTED: &[&str] = &["id", "title", "with", "needs", "if_needs_failed", "when", "runbook", "suite", "tags"];

/// `runbook = "restore.toml"` or `suite = "checks.toml"`
fn read_nested(section: Section, reader: &mut Reader<'_>) -> Option<Nested> {
    let runbook = reader.optional::<String>("runbook");
    let suite = reader.optional::<String>("suite");
    let tags = reader.optional::<Vec<String>>("tags");
    if let (Some(tags), None) = (&tags, &suite) {
        let message = format!("`tags` of {} has no meaning: it selects checks of a suite", reader.subject());
        reader.error("E0220", tags.span.clone(), message, "only with `suite`");
    }
    let tags = tags.map(|tags| tags.value).unwrap_or_default();
    let nested = match (runbook, suite) {
        (None, None) => return None,
        (Some(file), None) => Nested { kind: NestedKind::Runbook, file, tags },
        (None, Some(file)) => Nested { kind: NestedKind::Suite, file, tags },
        (Some(_), Some(suite)) => {
            let message = format!("{} names a runbook and a suite", reader.subject());
            reader.error("E0220", suite.span, message, "make two steps of it");
            return None;
        }
    };
    let key = nested.kind.key();
    if section != Section::Step {
        let message = format!("`{key}` of {} has no meaning", reader.subject());
        reader.error("E0220", nested.file.span.clone(), message, "only in `[[step]]`");
    }
    let tolerates = |name: &str| nested.kind == NestedKind::Suite && name == "on_failure";
    let others: Vec<_> = reader.table().entries.iter().map(|(key, _)| key.clone()).collect();
    for other in others.iter().filter(|other| !OF_NESTED.contains(&other.name.as_str()) && !tolerates(&other.name)) {
        let message = format!("`{}` of {} has no meaning beside `{key}`", other.name, reader.subject());
        let help = format!("the steps of `{}` say it for themselves", nested.file.value);
        reader.error_with_help("E0220", other.span.clone(), message, "remove this", help);
    }
    Some(nested)
}

/// `uses = "plugin:operation"`, which a step must have unless it is of another form.
fn read_uses(reader: &mut Reader<'_>) -> Option<Located<String>> {
    let other_form = ["manual", "suite", "runbook"].iter().any(|key| reader.table().get(key).is_some());
    let uses = if other_form { reader.optional::<String>("uses") } else { reader.required::<String>("uses") };
    let uses = uses?;
    check_uses(reader, &uses);
    Some(uses)
}

fn check_uses(reader: &mut Reader<'_>, uses: &Located<String>) {
    let parts: Vec<&str> = uses.value.rsplitn(2, ':').collect();
    if parts.len() != 2 || parts.iter().any(|part| part.trim().is_empty()) {
        let message = format!("`uses` of {} must be `plugin:operation`, not `{}`", reader.subject(), uses.value);
        let is_plugin =
            parts.len() == 1 && uses.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !uses.value.is_empty();
        let help = if is_plugin {
            format!("name its operation, as in `{0}:OPERATION`; `runbook plugin inspect {0}` lists them", uses.value)
        } else {
            "write it as in `uses = \"postgres:ping\"`".to_owned()
        };
        reader.error_with_help("E0209", uses.span.clone(), message, "no operation", help);
    }
}

fn read_bind(reader: &mut Reader<'_>) -> Vec<Bind> {
    let Some(table) = reader.optional::<Table>("bind") else { return Vec::new() };
    let mut binds = Vec::new();
    for (slot, node) in &table.value.entries {
        match String::from_node(node) {
            Some(target) => binds.push(Bind {
                slot: Located { value: slot.name.clone(), span: slot.span.clone() },
                target: Located { value: target, span: node.span.clone() },
            }),
            None => {
                let message = format!("`bind.{}` of {} must be the name of a target", slot.name, reader.subject());
                reader.error("E0203", node.span.clone(), message, "wrong type");
            }
        }
    }
    binds
}

fn read_needs(section: Section, reader: &mut Reader<'_>) -> Option<Vec<Located<StepId>>> {
    let needs = reader.optional::<Vec<Located<String>>>("needs")?;
    if section != Section::Step {
        let message = format!("`needs` of {} has no meaning: only steps form a graph", reader.subject());
        reader.error("E0220", needs.span, message, "only in `[[step]]`");
        return None;
    }
    Some(needs.value.into_iter().map(|need| need.map(StepId::new)).collect())
}

/// Steps that say what they need do not run without it, unless they say so. The others only stand behind the step above.
fn read_if_needs_failed(reader: &mut Reader<'_>) -> IfNeedsFailed {
    let said = names::choice(reader, "if_needs_failed", IfNeedsFailed::ALL);
    let has_needs = reader.table().get("needs").is_some();
    match (said, has_needs) {
        (Some(said), true) => said.value,
        (Some(said), false) => {
            let message = format!("`if_needs_failed` of {} has no meaning without `needs`", reader.subject());
            reader.error("E0220", said.span, message, "beside `needs`");
            said.value
        }
        (None, true) => IfNeedsFailed::Skip,
        (None, false) => IfNeedsFailed::Run,
    }
}

pub(super) fn read_retry(reader: &mut Reader<'_>) -> Retry {
    let default = Retry::default();
    let attempts = reader.required::<u32>("attempts");
    let backoff = reader.optional::<f64>("backoff");
    let jitter = reader.optional::<f64>("jitter");
    if let Some(attempts) = attempts.as_ref().filter(|attempts| attempts.value == 0) {
        reader.error("E0226", attempts.span.clone(), "`attempts` counts the first attempt too, so it is at least 1", "too few");
    }
    if let Some(backoff) = backoff.as_ref().filter(|backoff| !(1.0..=100.0).contains(&backoff.value)) {
        reader.error("E0226", backoff.span.clone(), "`backoff` must be from 1 to 100", "out of range");
    }
    if let Some(jitter) = jitter.as_ref().filter(|jitter| !(0.0..=1.0).contains(&jitter.value)) {
        reader.error("E0226", jitter.span.clone(), "`jitter` must be from 0 to 1", "out of range");
    }
    let classes: Vec<(ErrorClass, &'static str)> = ErrorClass::ALL.iter().map(|class| (*class, class.name())).collect();
    Retry {
        attempts: attempts.map_or(default.attempts, |attempts| attempts.value),
        delay: reader.optional("delay").map_or(default.delay, |delay| delay.value),
        backoff: backoff.map_or(default.backoff, |backoff| backoff.value),
        max_delay: reader.optional("max_delay").map_or(default.max_delay, |delay| delay.value),
        jitter: jitter.map_or(default.jitter, |jitter| jitter.value),
        on: names::choices(reader, "on", &classes).map_or(default.on, |on| on.value),
    }
}

pub(super) fn read_poll(reader: &mut Reader<'_>) -> Option<Poll> {
    let until = reader.optional::<String>("until");
    let every = reader.optional::<Duration>("every");
    let within = reader.optional::<Duration>("within");
    match (until, within) {
        (Some(until), Some(within)) => {
            let every = every.map_or(Duration::from_secs(1), |every| every.value);
            Some(Poll { until, every: every.max(Duration::from_millis(10)), within: within.value })
        }
        (Some(until), None) => {
            let message = format!("{} polls for ever: `until` needs `within`", reader.subject());
            reader.error_with_help("E0226", until.span, message, "no end", "add `within = \"2m\"`");
            None
        }
        (None, within) => {
            for span in [every.map(|every| every.span), within.map(|within| within.span)].into_iter().flatten() {
                let message = format!("{} has no `until`, so it does not poll", reader.subject());
                reader.error_with_help("E0226", span, message, "has no effect", "add `until = \"outcome == 'pass'\"`");
            }
            None
        }
    }
}

pub(super) fn read_expect(reader: &mut Reader<'_>) -> Vec<Expectation> {
    let Some(table) = reader.optional::<Table>("expect") else { return Vec::new() };
    let mut found = Vec::new();
    collect_expectations(reader, &table.value, (&mut Vec::new(), &table.span), &mut found);
    if table.value.entries.is_empty() {
        let message = format!("`expect` of {} is empty, so it would always hold", reader.subject());
        reader.error_with_help(
            "E0219",
            table.span,
            message,
            "expects nothing",
            "name a field, as in `expect = { status = 200 }`",
        );
    }
    found
}

/// A table whose keys are only `warn` and `crit` is a pair of ranges; another table goes one level deeper.
fn collect_expectations(
    reader: &mut Reader<'_>,
    table: &Table,
    (path, at): (&mut Vec<String>, &Span),
    found: &mut Vec<Expectation>,
) {
    let ranges = |table: &Table| table.entries.iter().all(|(key, _)| key.name == "warn" || key.name == "crit");
    if !table.entries.is_empty() && ranges(table) {
        let warn = read_range(reader, table, "warn");
        let crit = read_range(reader, table, "crit");
        found.push(Expectation::Within { path: path.clone(), at: at.clone(), warn, crit });
        return;
    }
    for (key, node) in &table.entries {
        let depth = path.len();
        path.extend(key.name.split('.').map(str::to_owned));
        match &node.value {
            Value::Table(inner) if inner.entries.is_empty() => {
                let message = format!("`expect.{}` of {} is empty, so it would always hold", path.join("."), reader.subject());
                reader.error("E0219", node.span.clone(), message, "expects nothing");
            }
            Value::Table(inner) => collect_expectations(reader, inner, (path, &key.span), found),
            _ => found.push(Expectation::Equals { path: path.clone(), at: key.span.clone(), value: node.clone() }),
        }
        path.truncate(depth);
    }
}

fn read_range(reader: &mut Reader<'_>, table: &Table, key: &str) -> Option<Located<String>> {
    let node = table.get(key)?;
    let text = match &node.value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => {
            let message = format!("`{key}` of {} must be a range such as `\"10:20\"`, not {}", reader.subject(), other.kind());
            reader.error("E0203", node.span.clone(), message, "wrong type");
            return None;
        }
    };
    if Range::parse(&text).is_none() {
        let message = format!("`{key}` of {} is not a range: `{text}`", reader.subject());
        let help = "write `10` (0 to 10), `10:` (10 or more), `~:10` (10 or less), `10:20`, or `@10:20` (outside)";
        reader.error_with_help("E0226", node.span.clone(), message, "not a range", help);
    }
    Some(Located { value: text, span: node.span.clone() })
}

fn read_undo(section: Section, reader: &mut Reader<'_>) -> Option<UndoDeclaration> {
    let undo = reader.optional::<Node>("undo");
    let irreversible = reader.optional::<String>("irreversible");
    if let (Some(undo), Some(_)) = (&undo, &irreversible) {
        let message = format!("{} has both `undo` and `irreversible`", reader.subject());
        reader.error_with_help("E0220", undo.span.clone(), message, "contradicts `irreversible`", "keep the one that is true");
        return None;
    }
    let span = undo.as_ref().map(|undo| undo.span.clone()).or_else(|| irreversible.as_ref().map(|reason| reason.span.clone()))?;
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

fn read_reason(reader: &mut Reader<'_>, reason: Located<String>) -> Option<UndoDeclaration> {
    if reason.value.trim().is_empty() {
        let message = format!("`irreversible` of {} needs a reason", reader.subject());
        reader.error_with_help("E0220", reason.span, message, "empty", "say why it is acceptable, as in `\"adds a file\"`");
        return None;
    }
    Some(UndoDeclaration::Irreversible { reason })
}

fn read_undo_value(reader: &mut Reader<'_>, undo: &Located<Node>) -> Option<UndoDeclaration> {
    match &undo.value.value {
        Value::String(word) if word == "auto" => Some(UndoDeclaration::Auto { span: undo.span.clone() }),
        Value::Table(_) => reader.section("undo", "`undo`", |reader| {
            let uses = reader.required::<String>("uses");
            let with = reader.optional::<Table>("with").map(|with| with.value);
            let bind = read_bind(reader);
            let idempotent = reader.optional::<bool>("idempotent").map(|idempotent| idempotent.value);
            let uses = uses?;
            check_uses(reader, &uses);
            Some(UndoDeclaration::Explicit { uses, with, bind, idempotent, span: undo.span.clone() })
        })?,
        _ => {
            let message = format!("`undo` of {} must be `\"auto\"` or a table with `uses`", reader.subject());
            let help = "write `undo = \"auto\"`, or `undo = { uses = \"plugin:operation\", bind = { … } }`";
            reader.error_with_help("E0203", undo.span.clone(), message, "neither", help);
            None
        }
    }
}

fn read_on_failure(section: Section, reader: &mut Reader<'_>, unless_said: OnFailure) -> OnFailure {
    let on_failure = names::choice(reader, "on_failure", OnFailure::ALL);
    if let Some(word) = on_failure.as_ref().filter(|_| section != Section::Step) {
        let message = format!("`on_failure` of {} has no meaning", reader.subject());
        reader.error("E0220", word.span.clone(), message, "only in `[[step]]`");
    }
    match (on_failure, section) {
        (Some(said), _) => said.value,
        (None, Section::Step) => unless_said,
        (
            None,
            Section::Preflight
            | Section::Verify
            | Section::Finally
            | Section::Guard
            | Section::Check
            | Section::Undo
            | Section::Notify,
        ) => OnFailure::default(),
    }
}

/// What a step that a person does cannot have: there is no plugin that it would be for.
const NOT_OF_MANUAL: &[&str] =
    &["uses", "bind", "with", "retry", "until", "undo", "irreversible", "approval", "for_each", "timeout"];

/// `manual = { instructions = "…", form = { lag_ok = "bool" }, … }`
fn read_manual(section: Section, reader: &mut Reader<'_>) -> Option<Manual> {
    let span = reader.table().get("manual")?.span.clone();
    if section != Section::Step {
        let message = format!("`manual` of {} has no meaning", reader.subject());
        reader.error("E0220", span, message, "only in `[[step]]`");
    }
    for key in NOT_OF_MANUAL {
        if let Some(node) = reader.table().get(key) {
            let message = format!("`{key}` of {} has no meaning: a person does it, no plugin", reader.subject());
            reader.error("E0220", node.span.clone(), message, "remove this, or `manual`");
        }
    }
    let manual = reader.section("manual", "`manual`", |reader| {
        let instructions = reader.required::<String>("instructions");
        let form = reader.optional::<Table>("form").map(|form| read_form(reader, &form.value)).unwrap_or_default();
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
            let message = format!("a field cannot be called `{}`: that is what was chosen of `choices`", name.name);
            reader.error("E0206", name.span.clone(), message, "taken");
        }
        let text = String::from_node(node);
        match text.as_deref().and_then(|text| FieldType::ALL.iter().find(|(_, known)| *known == text)) {
            Some((kind, _)) => fields.push((name.name.clone(), *kind)),
            None => {
                let message = format!("`{}` of the form must be the name of a type", name.name);
                let known: Vec<_> = FieldType::ALL.iter().map(|(_, name)| *name).collect();
                reader.error_with_help("E0203", node.span.clone(), message, "not a type", format!("known: {}", known.join(", ")));
            }
        }
    }
    fields
}

/// `approval = { quorum = 1, not_self = true, … }`
fn read_approval(section: Section, reader: &mut Reader<'_>) -> Option<Located<Approval>> {
    let span = reader.table().get("approval")?.span.clone();
    if section != Section::Step {
        let message = format!("`approval` of {} has no meaning: only a step has an effect to approve", reader.subject());
        reader.error("E0220", span.clone(), message, "only in `[[step]]`");
    }
    let approval = reader.section("approval", "`approval`", |reader| {
        let quorum = reader.optional::<u32>("quorum");
        if let Some(none) = quorum.as_ref().filter(|quorum| quorum.value == 0) {
            reader.error("E0226", none.span.clone(), "`quorum` must be 1 or more", "nobody would be asked");
        }
        let approvers: Vec<String> = reader.optional("approvers").map(|names| names.value).unwrap_or_default();
        let quorum = quorum.map_or(1, |quorum| quorum.value);
        if !approvers.is_empty() && usize::try_from(quorum).is_ok_and(|quorum| quorum > approvers.len()) {
            let message = format!("`quorum` is {quorum}, and `approvers` has only {}", approvers.len());
            reader.error("E0226", reader.table().span.clone(), message, "can never be approved");
        }
        Approval {
            quorum,
            oneself: if reader.optional::<bool>("not_self").is_some_and(|not| not.value) {
                SelfApproval::DoesNotCount
            } else {
                SelfApproval::Counts
            },
            expires: reader.optional("expires").map(|expires| expires.value),
            approvers,
        }
    })?;
    Some(Located { value: approval, span })
}

fn read_for_each(section: Section, reader: &mut Reader<'_>) -> Option<ForEach> {
    let items = reader.optional::<Node>("for_each");
    let name = reader.optional::<String>("as");
    let key = reader.optional::<String>("key");
    let max_parallel = reader.optional::<u32>("max_parallel");
    let Some(items) = items else {
        let others = [name.map(|name| name.span), key.map(|key| key.span), max_parallel.map(|number| number.span)];
        for span in others.into_iter().flatten() {
            let message = format!("{} has no `for_each`, so this has no effect", reader.subject());
            reader.error("E0226", span, message, "has no effect");
        }
        return None;
    };
    if section != Section::Step {
        let message = format!("`for_each` of {} has no meaning", reader.subject());
        reader.error("E0220", items.span, message, "only in `[[step]]`");
        return None;
    }
    if let Some(name) = &name {
        names::check_identifier(reader, &name.value, &name.span, "the name of an item");
        if TAKEN.contains(&name.value.as_str()) {
            let message = format!("an item cannot be called `{}`: that is something else in templates", name.value);
            reader.error("E0206", name.span.clone(), message, "taken");
        }
    }
    Some(ForEach {
        items: read_items(reader, items)?,
        name: name.map_or_else(|| "item".to_owned(), |name| name.value),
        key,
        max_parallel: max_parallel.map_or(1, |number| number.value.max(1)),
    })
}

/// Names that templates know already.
const TAKEN: &[&str] = &["params", "steps", "run", "outcome", "output"];

fn read_items(reader: &mut Reader<'_>, items: Located<Node>) -> Option<Items> {
    match &items.value.value {
        Value::String(text) => Some(Items::Expression(Located { value: text.clone(), span: items.span })),
        Value::Array(_) | Value::Table(_) => Some(Items::Literal(items)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            let message = format!("`for_each` of {} must be a list, a map, or an expression that has one", reader.subject());
            let help = "write `for_each = [\"a\", \"b\"]`, or `for_each = \"steps.look.output.tables\"`";
            reader.error_with_help("E0203", items.span, message, "no items", help);
            None
        }
    }
}

/// Reads all notifications; they are numbered from 1 in file order.
pub(super) fn read_notifies(reader: &mut Reader<'_>) -> Vec<Notify> {
    let mut number = 0;
    reader.each("notify", "notify", |reader| {
        number += 1;
        let on = names::choices(reader, "on", Trigger::ALL);
        if reader.table().get("on").is_none() {
            reader.required::<Vec<String>>("on");
        }
        let uses = reader.required::<String>("uses");
        let notify = Notify {
            id: StepId::notify(number),
            on: on.map(|on| on.value).unwrap_or_default(),
            bind: read_bind(reader),
            with: reader.optional::<Table>("with").map(|with| with.value),
            timeout: reader.optional("timeout").map(|timeout| timeout.value),
            source: Arc::clone(reader.source()),
            uses: uses?,
        };
        check_uses(reader, &notify.uses);
        Some(notify)
    })
}
