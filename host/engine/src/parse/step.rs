//! `[[preflight]]`, `[[step]]`, `[[verify]]`, `[[finally]]`, `[[notify]]`.

use super::expect::read_expect;
use super::for_each::read_for_each;
use super::manual::{read_approval, read_manual};
use super::names;
use super::undo::read_undo;
use super::uses::{check_uses, read_bind, read_uses};
use crate::event::{Section, Trigger};
use crate::model::{
    Bind, IfNeedsFailed, Manual, NestedKind, Notify, OnCancel, OnFailure, Poll, Retry, Step,
    StepAction, section_noun,
};
use runbook_contract::{ErrorClass, StepId};
use runbook_document::{Reader, Spanned, Table};
use std::sync::Arc;
use std::time::Duration;

const SECTIONS: &[Section] =
    &[Section::Preflight, Section::Step, Section::Verify, Section::Finally];

/// Reads the four sections in the order in which they run. `default` is `on_failure` of steps that
/// do not set it.
pub(super) fn read_all(reader: &mut Reader<'_>, default: OnFailure) -> Vec<Step> {
    let mut steps = Vec::new();
    for section in SECTIONS {
        let noun = section_noun(*section);
        steps.extend(reader.read_each(noun, noun, |step| read_one(*section, step, default)));
    }
    steps
}

fn read_one(section: Section, reader: &mut Reader<'_>, default: OnFailure) -> Option<Step> {
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
        with: super::with_file::read_with(reader),
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
        on_failure: read_on_failure(section, reader, default),
        on_cancel: names::choice(reader, "on_cancel", OnCancel::ALL)
            .map(|on_cancel| on_cancel.value)
            .unwrap_or_default(),
        action: action(read_manual(section, reader), nested, uses),
        approval: read_approval(section, reader),
        for_each: read_for_each(section, reader),
        group: None,
        check: None,
        source: Arc::clone(reader.source()),
        span: reader.table().span.clone(),
        id: id?.map(StepId::new),
    };
    Some(step)
}

/// The fields that guards and checks share, since both are probes.
pub(super) struct ProbeFields {
    id: Option<Spanned<String>>,
    uses: Option<Spanned<String>>,
    title: Option<String>,
    bind: Vec<Bind>,
    with: Option<Table>,
}

impl ProbeFields {
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
        Self { id, uses, title, bind, with: super::with_file::read_with(reader) }
    }

    /// A step with these fields only; `None` if `id` or `uses` is missing.
    pub(super) fn into_step(self, reader: &Reader<'_>, section: Section) -> Option<Step> {
        let minimal_step = minimal_step(reader, section, self.id?.map(StepId::new), self.uses?);
        Some(Step { title: self.title, bind: self.bind, with: self.with, ..minimal_step })
    }
}

/// A step with `id` and `uses` only; every other field has its default.
fn minimal_step(
    reader: &Reader<'_>,
    section: Section,
    id: Spanned<StepId>,
    uses: Spanned<String>,
) -> Step {
    Step {
        section,
        written_in: section,
        id,
        action: StepAction::Plugin { uses },
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
        approval: None,
        for_each: None,
        group: None,
        check: None,
    }
}

/// What a step does. A step must have exactly one action; a missing or second one is reported where
/// the keys are read.
fn action(
    manual: Option<Manual>,
    nested: Option<StepAction>,
    uses: Option<Spanned<String>>,
) -> StepAction {
    let manual = manual.map(StepAction::Manual);
    let plugin = uses.map(|uses| StepAction::Plugin { uses });
    let mut actions: Vec<StepAction> = [manual, nested, plugin].into_iter().flatten().collect();
    match actions.pop() {
        Some(only) if actions.is_empty() => only,
        last => StepAction::Refused(actions.into_iter().chain(last).collect()),
    }
}

/// The keys that a step with a nested file can have. The steps of that file have all others.
const KEYS_FOR_NESTED: &[&str] =
    &["id", "title", "with", "needs", "if_needs_failed", "when", "runbook", "suite", "tags"];

/// `runbook = "restore.toml"` or `suite = "checks.toml"`
fn read_nested(section: Section, reader: &mut Reader<'_>) -> Option<StepAction> {
    let runbook = reader.optional::<String>("runbook");
    let suite = reader.optional::<String>("suite");
    let tags = reader.optional::<Vec<String>>("tags");
    if let (Some(tags), None) = (&tags, &suite) {
        let message =
            format!("`tags` of {} has no meaning: it selects checks of a suite", reader.subject());
        reader.error("E0220", tags.span.clone(), message, "only with `suite`");
    }
    match (runbook, suite) {
        (None, None) => None,
        (Some(file), None) => {
            check_nested(section, reader, NestedKind::Runbook, &file);
            Some(StepAction::Runbook { file })
        }
        (None, Some(file)) => {
            check_nested(section, reader, NestedKind::Suite, &file);
            let tags = tags.map(|tags| tags.value).unwrap_or_default();
            Some(StepAction::Suite { file, tags })
        }
        (Some(_), Some(suite)) => {
            let message = format!("{} names a runbook and a suite", reader.subject());
            reader.error("E0220", suite.span, message, "make two steps of it");
            None
        }
    }
}

/// Reports the keys that have no meaning beside the name of a nested file.
fn check_nested(
    section: Section,
    reader: &mut Reader<'_>,
    kind: NestedKind,
    file: &Spanned<String>,
) {
    let key = kind.key();
    if section != Section::Step {
        let message = format!("`{key}` of {} has no meaning", reader.subject());
        reader.error("E0220", file.span.clone(), message, "only in `[[step]]`");
    }
    let is_allowed = |name: &str| kind == NestedKind::Suite && name == "on_failure";
    let others: Vec<_> = reader.table().entries.iter().map(|(key, _)| key.clone()).collect();
    for other in others
        .iter()
        .filter(|other| !KEYS_FOR_NESTED.contains(&other.name.as_str()) && !is_allowed(&other.name))
    {
        let message =
            format!("`{}` of {} has no meaning beside `{key}`", other.name, reader.subject());
        let help = format!("the steps of `{}` say it for themselves", file.value);
        reader.error_with_help("E0220", other.span.clone(), message, "remove this", help);
    }
}

fn read_needs(section: Section, reader: &mut Reader<'_>) -> Option<Vec<Spanned<StepId>>> {
    let needs = reader.optional::<Vec<Spanned<String>>>("needs")?;
    if section != Section::Step {
        let message =
            format!("`needs` of {} has no meaning: only steps form a graph", reader.subject());
        reader.error("E0220", needs.span, message, "only in `[[step]]`");
        return None;
    }
    Some(needs.value.into_iter().map(|need| need.map(StepId::new)).collect())
}

/// Reads `if_needs_failed`. By default, a step with `needs` is skipped if one of them failed, and a
/// step without `needs` runs.
fn read_if_needs_failed(reader: &mut Reader<'_>) -> IfNeedsFailed {
    let word = names::choice(reader, "if_needs_failed", IfNeedsFailed::ALL);
    let has_needs = reader.table().get("needs").is_some();
    match (word, has_needs) {
        (Some(word), true) => word.value,
        (Some(word), false) => {
            let message =
                format!("`if_needs_failed` of {} has no meaning without `needs`", reader.subject());
            reader.error("E0220", word.span, message, "beside `needs`");
            word.value
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
        reader.error(
            "E0226",
            attempts.span.clone(),
            "`attempts` counts the first attempt too, so it is at least 1",
            "too few",
        );
    }
    if let Some(backoff) =
        backoff.as_ref().filter(|backoff| !(1.0..=100.0).contains(&backoff.value))
    {
        reader.error(
            "E0226",
            backoff.span.clone(),
            "`backoff` must be from 1 to 100",
            "out of range",
        );
    }
    if let Some(jitter) = jitter.as_ref().filter(|jitter| !(0.0..=1.0).contains(&jitter.value)) {
        reader.error("E0226", jitter.span.clone(), "`jitter` must be from 0 to 1", "out of range");
    }
    let classes: Vec<(ErrorClass, &'static str)> =
        ErrorClass::ALL.iter().map(|class| (*class, class.name())).collect();
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
            for span in [every.map(|every| every.span), within.map(|within| within.span)]
                .into_iter()
                .flatten()
            {
                let message = format!("{} has no `until`, so it does not poll", reader.subject());
                reader.error_with_help(
                    "E0226",
                    span,
                    message,
                    "has no effect",
                    "add `until = \"outcome == 'pass'\"`",
                );
            }
            None
        }
    }
}

fn read_on_failure(section: Section, reader: &mut Reader<'_>, default: OnFailure) -> OnFailure {
    let on_failure = names::choice(reader, "on_failure", OnFailure::ALL);
    if let Some(word) = on_failure.as_ref().filter(|_| section != Section::Step) {
        let message = format!("`on_failure` of {} has no meaning", reader.subject());
        reader.error("E0220", word.span.clone(), message, "only in `[[step]]`");
    }
    match (on_failure, section) {
        (Some(word), _) => word.value,
        (None, Section::Step) => default,
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

/// Reads all notifications; they are numbered from 1 in file order.
pub(super) fn read_notifies(reader: &mut Reader<'_>) -> Vec<Notify> {
    let mut number = 0;
    reader.read_each("notify", "notify", |reader| {
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
            with: super::with_file::read_with(reader),
            timeout: reader.optional("timeout").map(|timeout| timeout.value),
            source: Arc::clone(reader.source()),
            uses: uses?,
        };
        check_uses(reader, &notify.uses);
        Some(notify)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_document::Source;

    const RUNBOOK: &str = "format = 1\n[runbook]\nname = \"inner\"\n";
    const ACTIONS: [&str; 4] = [
        "uses = \"http:get\"",
        "manual = { instructions = \"look\" }",
        "runbook = \"inner.toml\"",
        "suite = \"checks.toml\"",
    ];

    fn load(name: &str) -> std::io::Result<Arc<Source>> {
        let inner = match name {
            "inner.toml" => "[[step]]\nid = \"a\"\nuses = \"http:get\"\n",
            "checks.toml" => "[[check]]\nid = \"a\"\nuses = \"http:get\"\n",
            other => return Err(std::io::Error::other(other.to_owned())),
        };
        Ok(Source::new(name, format!("{RUNBOOK}{inner}")))
    }

    /// A runbook with one step that has these actions.
    fn source_with(forms: &[&str]) -> Arc<Source> {
        let step = format!("{RUNBOOK}[[step]]\nid = \"outer\"\n{}\n", forms.join("\n"));
        Source::new("r.toml", step)
    }

    #[test]
    fn a_step_has_exactly_one_action_and_all_actions_of_a_wrong_step_are_read() {
        for number in 0..1_usize << ACTIONS.len() {
            let has_form = |form: usize| number >> form & 1 == 1;
            let forms: Vec<&str> =
                (0..ACTIONS.len()).filter(|f| has_form(*f)).map(|f| ACTIONS[f]).collect();
            let source = source_with(&forms);
            let refusal = super::super::parse(&source, None, &mut load).err();
            assert_eq!(refusal.is_none(), forms.len() == 1, "{forms:?}: {refusal:?}");

            let (runbook, _) = super::super::parse_leniently(&source, None, &mut load);
            let runbook = runbook.expect("it has a name");
            let step = runbook.step(&StepId::new("outer")).expect("the step is there");
            // Of a runbook and a suite in one step, neither is read.
            let n_read = [has_form(0), has_form(1), has_form(2) != has_form(3)]
                .into_iter()
                .filter(|is| *is)
                .count();
            let is_refused = matches!(step.action, StepAction::Refused(_));
            assert_eq!(is_refused, n_read != 1, "{forms:?}");
            assert_eq!(step.uses().is_some(), has_form(0), "{forms:?}");
            assert_eq!(step.manual().is_some(), has_form(1), "{forms:?}");
            assert_eq!(step.nested().is_some(), has_form(2) != has_form(3), "{forms:?}");
            let inner = StepId::new("outer").inner(&StepId::new("a"));
            assert_eq!(runbook.step(&inner).is_some(), has_form(2) != has_form(3), "{forms:?}");
        }
    }
}
