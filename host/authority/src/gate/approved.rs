//! Decides about the changes of a step that needed approval: only what was shown to the approver
//! may happen. This follows the decision about the grant.

use super::{Creation, Denial, GateDecision, Operation, Rule};
use crate::capability::{Verb, VerbEffect};
use std::collections::BTreeSet;

/// One effect that was shown to the person who approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedEffect {
    /// The verb with its capability, such as `files.write`.
    pub verb: String,
    /// The object, as the plugin named it: `orders.csv`, `container api`, `/v1/refunds`;
    /// with `SLOT:` before it where the verb is granted on several slots. A container that is made
    /// is `NAME`, or `NAME of image IMAGE`.
    pub target: String,
    /// The summary that was shown. If it begins and ends with a backtick, it is exactly the
    /// statement or the arguments: see [`shown_statement`], [`shown_arguments`] and
    /// [`shown_creation`].
    pub summary: String,
}

/// The approved effects, the slots that they may concern, and which of them are done already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    effects: Vec<ApprovedEffect>,
    /// Every verb, with every slot that grants it.
    slots: BTreeSet<(String, String)>,
    /// For each effect, whether it is done, if it may be done only once.
    done: Vec<bool>,
    /// The effects that the host call under way can be, while the gate is asked about it part by
    /// part.
    candidates: Vec<usize>,
}

/// The object of an operation, as far as an approval can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Object<'a> {
    /// All that the slot is bound to: what a statement or a program does is bounded by the grant
    /// alone. Also what is not known yet.
    Slot,
    /// One thing of the target, by its name.
    Named(&'a str),
}

/// How often an approved effect may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repetition {
    /// Once for each time that it is listed: for requests, and for effects that were shown word for
    /// word.
    OncePerEffect,
    /// Any number of times: an effect that was described in words is limited by its verb and its
    /// object.
    Unlimited,
}

/// Which part of a host call the gate decides. A program in a container is decided in two parts,
/// because the container is known only after it was inspected. One approved effect must cover both
/// parts; otherwise the command of one effect could run in the container of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallPart {
    /// The whole call.
    Whole,
    /// The first of two: the command.
    First,
    /// The last of two: the container.
    Last,
}

fn part_of(operation: &Operation<'_>) -> CallPart {
    if operation.verb() != Verb::DockerExec {
        return CallPart::Whole;
    }
    match operation {
        Operation::Exec { .. } => CallPart::First,
        Operation::Container { .. } => CallPart::Last,
        Operation::Http { .. }
        | Operation::Connect { .. }
        | Operation::Token { .. }
        | Operation::Redirect { .. }
        | Operation::Sql { .. }
        | Operation::Docker { .. }
        | Operation::Create { .. }
        | Operation::Image { .. }
        | Operation::Secret { .. }
        | Operation::Files { .. }
        | Operation::Process { .. }
        | Operation::Endpoint { .. }
        | Operation::Lookup { .. }
        | Operation::Resolver { .. } => CallPart::Whole,
    }
}

/// A statement as a binding summary shows it: on one line, between backticks, with `\\` before
/// what would be another line.
pub fn shown_statement(statement: &str) -> String {
    let mut shown = String::with_capacity(statement.len() + 2);
    shown.push('`');
    for c in statement.chars() {
        if c == '\\' || c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.push('`');
    shown
}

/// Arguments as a binding summary shows them: a JSON list between backticks.
pub fn shown_arguments(arguments: &[String]) -> String {
    format!("`{}`", serde_json::Value::from(arguments.to_vec()))
}

/// A created container as a binding summary shows it: labels, variables, image and command, as
/// `docker create` takes them.
pub fn shown_creation(creation: &Creation<'_>) -> String {
    let option = |name: &'static str| {
        move |(key, value): &(String, String)| [name.to_owned(), format!("{key}={value}")]
    };
    let mut words: Vec<String> =
        creation.container.labels.iter().flat_map(option("--label")).collect();
    words.extend(creation.environment.iter().flat_map(option("--env")));
    words.push(creation.image.to_owned());
    words.extend_from_slice(creation.command);
    shown_arguments(&words)
}

/// The kinds of objects that may precede a name in the target of an effect, as in `image app:1`.
const OBJECT_KINDS: &[&str] = &["container ", "image ", "file "];

impl Approved {
    /// The effects of an approved proposal, in a step with these grants.
    pub fn new(effects: Vec<ApprovedEffect>, effective: &crate::grant::Effective) -> Self {
        let slots = effective.iter().flat_map(|grant| {
            grant.verbs.iter().map(|verb| (verb.full_name(), grant.slot.clone()))
        });
        Self {
            done: vec![false; effects.len()],
            slots: slots.collect(),
            effects,
            candidates: Vec::new(),
        }
    }

    /// Whether an operation is within what was approved, which then counts as done. Reading always
    /// is.
    pub fn decide(&mut self, operation: &Operation<'_>) -> GateDecision {
        if operation.verb().effect() == VerbEffect::Read {
            return GateDecision::Allow;
        }
        let part = part_of(operation);
        let may_be = |at: &usize| {
            matches!(part, CallPart::Whole | CallPart::First) || self.candidates.contains(at)
        };
        let covering =
            |(at, effect): (usize, &ApprovedEffect)| Some((at, self.covers(effect, operation)?));
        let named: Vec<(usize, Repetition)> = self
            .effects
            .iter()
            .enumerate()
            .filter(|(at, _)| may_be(at))
            .filter_map(covering)
            .collect();
        let is_left = |&(at, repetition): &(usize, Repetition)| {
            repetition == Repetition::Unlimited || !self.done[at]
        };
        let left: Vec<usize> = named.iter().copied().filter(is_left).map(|(at, _)| at).collect();
        let Some(first) = left.first().copied() else {
            self.candidates.clear();
            return self.deny(
                operation,
                if named.is_empty() { ApprovalGap::NotShown } else { ApprovalGap::AlreadyDone },
            );
        };
        match part {
            CallPart::Whole => self.done[first] = true,
            CallPart::First => self.candidates = left,
            CallPart::Last => {
                self.done[first] = true;
                self.candidates.clear();
            }
        }
        GateDecision::Allow
    }

    fn deny(&self, operation: &Operation<'_>, gap: ApprovalGap) -> GateDecision {
        let verb = operation.verb();
        let name = verb.full_name();
        let several = if self.slots_of(&name).len() > 1 {
            "; several slots grant it, so an effect names its own, as in `SLOT:TARGET`"
        } else {
            ""
        };
        let asked = match (object_of(operation), wording(operation)) {
            (Object::Named(object), _) => format!(" on `{}`", object.escape_debug()),
            // An effect that was not shown for its verb was not shown word for word either, so its
            // text would explain nothing.
            (Object::Slot, Some(text)) if self.effects.iter().any(|effect| effect.verb == name) => {
                format!(" of {text}")
            }
            (Object::Slot, _) => String::new(),
        };
        let reason = match gap {
            ApprovalGap::NotShown => {
                format!("`{name}`{asked} is beyond what was approved: {}{several}", self.list())
            }
            ApprovalGap::AlreadyDone => format!(
                "`{name}`{asked} was done already as often as it was approved: {}",
                self.list()
            ),
        };
        GateDecision::Deny(Denial {
            rule: Rule::Approval,
            slot: operation.slot().to_owned(),
            verb,
            reason,
            target: String::new(),
            place: String::new(),
        })
    }

    /// All that was approved, in words.
    fn list(&self) -> String {
        let of = |effect: &ApprovedEffect| {
            let wording = if is_word_for_word(&effect.summary) {
                format!(": {}", effect.summary)
            } else {
                String::new()
            };
            format!("`{}` on `{}`{wording}", effect.verb, effect.target.escape_debug())
        };
        let effects: Vec<String> = self.effects.iter().map(of).collect();
        if effects.is_empty() { "no effect at all".to_owned() } else { effects.join(", ") }
    }

    /// How often an effect lets an operation be done; `None` if it is about something else.
    fn covers(&self, effect: &ApprovedEffect, operation: &Operation<'_>) -> Option<Repetition> {
        let (verb, slot) = (operation.verb().full_name(), operation.slot());
        if effect.verb != verb {
            return None;
        }
        let target = self.on_slot(effect, &verb, slot)?;
        let names = |object: &str| {
            target == object
                || OBJECT_KINDS
                    .iter()
                    .any(|kind| target.strip_prefix(kind).is_some_and(|name| name == object))
        };
        let is_named = match (object_of(operation), operation) {
            (Object::Slot, _) => true,
            // Which image it is must be shown: by the whole wording, or behind the name.
            (Object::Named(object), Operation::Create { creation, .. }) => {
                names(&format!("{object} of image {}", creation.image))
                    || (names(object) && is_word_for_word(&effect.summary))
            }
            (Object::Named(object), _) => names(object),
        };
        if !is_named {
            return None;
        }
        match wording(operation) {
            Some(text) if is_word_for_word(&effect.summary) => {
                shows(&effect.summary, &text).then_some(Repetition::OncePerEffect)
            }
            Some(_) | None if matches!(operation, Operation::Http { .. }) => {
                Some(Repetition::OncePerEffect)
            }
            Some(_) | None => Some(Repetition::Unlimited),
        }
    }

    fn slots_of(&self, verb: &str) -> Vec<&str> {
        self.slots
            .iter()
            .filter(|(known, _)| known == verb)
            .map(|(_, slot)| slot.as_str())
            .collect()
    }

    /// What the effect names below this slot; `None` if it is about another one, or does not say
    /// about which of several.
    fn on_slot<'e>(&self, effect: &'e ApprovedEffect, verb: &str, slot: &str) -> Option<&'e str> {
        let granting = self.slots_of(verb);
        match effect.target.split_once(':') {
            Some((named, rest)) if granting.contains(&named) => (named == slot).then_some(rest),
            Some(_) | None => (granting == [slot]).then_some(effect.target.as_str()),
        }
    }
}

/// Why no approved effect covers an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ApprovalGap {
    /// No effect that was shown is this one.
    NotShown,
    /// It was shown, and was done as often as it was shown.
    AlreadyDone,
}

/// Whether a summary is a statement or arguments, and nothing else. One that was too long to be
/// shown ends with `…`.
fn is_word_for_word(summary: &str) -> bool {
    summary.len() > 2
        && summary.starts_with('`')
        && (summary.ends_with('`') || summary.ends_with('…'))
}

/// Whether a summary shows this. If the text was too long to be shown, its beginning is bound.
fn shows(summary: &str, wording: &str) -> bool {
    summary.strip_suffix('…').map_or(wording == summary, |beginning| wording.starts_with(beginning))
}

/// What an operation does, as a summary would show it word for word.
fn wording(operation: &Operation<'_>) -> Option<String> {
    match operation {
        Operation::Sql { statement, .. } => statement.map(shown_statement),
        Operation::Process { arguments, .. } => Some(shown_arguments(arguments)),
        Operation::Exec { command, .. } => Some(shown_arguments(command)),
        Operation::Create { creation, .. } => Some(shown_creation(creation)),
        Operation::Token { .. }
        | Operation::Redirect { .. }
        | Operation::Http { .. }
        | Operation::Connect { .. }
        | Operation::Docker { .. }
        | Operation::Container { .. }
        | Operation::Image { .. }
        | Operation::Secret { .. }
        | Operation::Files { .. }
        | Operation::Endpoint { .. }
        | Operation::Lookup { .. }
        | Operation::Resolver { .. } => None,
    }
}

fn object_of<'a>(operation: &Operation<'a>) -> Object<'a> {
    match operation {
        Operation::Redirect { base, to, .. } => {
            let prefix = base.path().trim_end_matches('/');
            Object::Named(
                to.path().strip_prefix(prefix).filter(|rest| !rest.is_empty()).unwrap_or("/"),
            )
        }
        Operation::Container { container, .. } => Object::Named(container.name),
        Operation::Create { creation, .. } => Object::Named(creation.container.name),
        Operation::Image { image, .. } => Object::Named(image),
        Operation::Http { path, .. } | Operation::Files { path, .. } => Object::Named(path),
        Operation::Connect { .. }
        | Operation::Sql { .. }
        | Operation::Docker { .. }
        | Operation::Exec { .. }
        | Operation::Secret { .. }
        | Operation::Token { .. }
        | Operation::Process { .. }
        | Operation::Endpoint { .. }
        | Operation::Lookup { .. }
        | Operation::Resolver { .. } => Object::Slot,
    }
}

#[cfg(test)]
mod tests;
