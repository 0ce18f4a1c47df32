//! Decides about the changes of a step that needed approval: a change is allowed only if it was
//! shown to the approvers. The gate has decided by the grant before.

use super::{Creation, Denial, GateDecision, GateRequest, ObjectName, Rule, SystemObject};
use crate::capability::{Verb, VerbEffect};
use crate::pattern::shown_command;
use std::collections::BTreeSet;

/// One effect that was shown to the approvers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedEffect {
    /// The verb with its capability, such as `files.write`.
    pub verb: String,
    /// The object, as the plugin named it: `orders.csv`, `container api`, `/v1/refunds`. It begins
    /// with `SLOT:` if several slots grant the verb. A container to create is `NAME`, or
    /// `NAME of image IMAGE`.
    pub target: String,
    /// The summary that was shown. A summary between backticks is the exact statement or the exact
    /// arguments: see [`shown_statement`], [`shown_arguments`] and [`shown_creation`]. Any other
    /// summary is a description in words.
    pub summary: String,
}

/// The approved effects of a step, and which of them are done already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedEffects {
    effects: Vec<ApprovedEffect>,
    /// Every granted verb with every slot that grants it.
    slots: BTreeSet<(String, String)>,
    /// For each effect, by its index, whether it was done.
    done: Vec<bool>,
    /// The indices of the effects that can still cover the current host call, between its first and
    /// its last part.
    candidates: Vec<usize>,
}

/// The object of a request, as far as an approval can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Object<'a> {
    /// Everything that the slot is bound to. The grant alone limits what a statement or a program
    /// may do; and the container of a program is not known before it was inspected.
    Slot,
    /// One thing of the target, by its name.
    Named(&'a str),
}

/// How often an approved effect may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repetition {
    /// Once for each time that the effect is listed: for HTTP requests, and for effects whose
    /// summary is the exact statement or arguments.
    OncePerEffect,
    /// Any number of times: an effect that was described in words is limited only by its verb and
    /// its object.
    Unlimited,
}

/// The part of a host call that a request is about. A host call that runs a program in a container
/// makes two requests, because the container is known only after it was inspected. One approved
/// effect must cover both; otherwise the command of one effect could run in the container of
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallPart {
    /// The only request of the call.
    Whole,
    /// The first request of two: the command.
    First,
    /// The last request of two: the container.
    Last,
}

fn call_part(request: &GateRequest<'_>) -> CallPart {
    if request.verb() != Verb::DockerExec {
        return CallPart::Whole;
    }
    match request {
        GateRequest::Exec { .. } => CallPart::First,
        GateRequest::Container { .. } => CallPart::Last,
        GateRequest::Http { .. }
        | GateRequest::Connect { .. }
        | GateRequest::Gateway { .. }
        | GateRequest::Forward { .. }
        | GateRequest::Token { .. }
        | GateRequest::Redirect { .. }
        | GateRequest::Socket { .. }
        | GateRequest::Health { .. }
        | GateRequest::Sql { .. }
        | GateRequest::Docker { .. }
        | GateRequest::Create { .. }
        | GateRequest::Image { .. }
        | GateRequest::Secret { .. }
        | GateRequest::Files { .. }
        | GateRequest::FileList { .. }
        | GateRequest::FileRename { .. }
        | GateRequest::FileRemoval { .. }
        | GateRequest::Process { .. }
        | GateRequest::Endpoint { .. }
        | GateRequest::Lookup { .. }
        | GateRequest::Resolver { .. }
        | GateRequest::System { .. }
        | GateRequest::Mail { .. }
        | GateRequest::Redis { .. }
        | GateRequest::RedisFacts { .. }
        | GateRequest::Objects { .. } => CallPart::Whole,
    }
}

/// A statement as an exact summary shows it: on one line, between backticks. Backslashes and
/// control characters are escaped.
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

/// Arguments as an exact summary shows them: a JSON list between backticks.
pub fn shown_arguments(arguments: &[String]) -> String {
    format!("`{}`", serde_json::Value::from(arguments.to_vec()))
}

/// A container to create as an exact summary shows it: labels, variables, image and command, as
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

impl ApprovedEffects {
    /// The effects of an approved proposal, in a step with these grants.
    pub fn new(effects: Vec<ApprovedEffect>, grants: &crate::grant::EffectiveGrants) -> Self {
        let slots = grants.iter().flat_map(|grant| {
            grant.verbs.iter().map(|verb| (verb.full_name(), grant.slot.clone()))
        });
        Self {
            done: vec![false; effects.len()],
            slots: slots.collect(),
            effects,
            candidates: Vec::new(),
        }
    }

    /// Decides whether an approved effect covers a request, and marks that effect as done. A
    /// request that only reads is always allowed.
    pub fn decide(&mut self, request: &GateRequest<'_>) -> GateDecision {
        if request.verb().effect() == VerbEffect::Read {
            return GateDecision::Allow;
        }
        let part = call_part(request);
        let is_candidate = |index: &usize| {
            matches!(part, CallPart::Whole | CallPart::First) || self.candidates.contains(index)
        };
        let covering_effect = |(index, effect): (usize, &ApprovedEffect)| {
            Some((index, self.repetition_of(effect, request)?))
        };
        let matching_effects: Vec<(usize, Repetition)> = self
            .effects
            .iter()
            .enumerate()
            .filter(|(index, _)| is_candidate(index))
            .filter_map(covering_effect)
            .collect();
        let is_available = |&(index, repetition): &(usize, Repetition)| {
            repetition == Repetition::Unlimited || !self.done[index]
        };
        let available_effects: Vec<usize> =
            matching_effects.iter().copied().filter(is_available).map(|(index, _)| index).collect();
        let Some(first) = available_effects.first().copied() else {
            self.candidates.clear();
            return self.deny(
                request,
                if matching_effects.is_empty() {
                    ApprovalGap::NotShown
                } else {
                    ApprovalGap::AlreadyDone
                },
            );
        };
        match part {
            CallPart::Whole => self.done[first] = true,
            CallPart::First => self.candidates = available_effects,
            CallPart::Last => {
                self.done[first] = true;
                self.candidates.clear();
            }
        }
        GateDecision::Allow
    }

    fn deny(&self, request: &GateRequest<'_>, gap: ApprovalGap) -> GateDecision {
        let verb = request.verb();
        let name = verb.full_name();
        let slot_hint = if self.slots_of(&name).len() > 1 {
            "; several slots grant it, so an effect names its own, as in `SLOT:TARGET`"
        } else {
            ""
        };
        let object_text = match (object_of(request), exact_summary(request)) {
            (Object::Named(object), _) => format!(" on `{}`", object.escape_debug()),
            // The exact text helps only if some effect of this verb was approved.
            (Object::Slot, Some(text)) if self.effects.iter().any(|effect| effect.verb == name) => {
                format!(" of {text}")
            }
            (Object::Slot, _) => String::new(),
        };
        let reason = match gap {
            ApprovalGap::NotShown => {
                format!(
                    "`{name}`{object_text} is beyond what was approved: {}{slot_hint}",
                    self.describe()
                )
            }
            ApprovalGap::AlreadyDone => format!(
                "`{name}`{object_text} was done already as often as it was approved: {}",
                self.describe()
            ),
        };
        GateDecision::Deny(Denial {
            rule: Rule::Approval,
            slot: request.slot().to_owned(),
            verb,
            reason,
            target: String::new(),
            location: String::new(),
        })
    }

    /// The approved effects, as a list for a message.
    fn describe(&self) -> String {
        let effect_text = |effect: &ApprovedEffect| {
            let exact_text = if is_exact(&effect.summary) {
                format!(": {}", effect.summary)
            } else {
                String::new()
            };
            format!("`{}` on `{}`{exact_text}", effect.verb, effect.target.escape_debug())
        };
        let effects: Vec<String> = self.effects.iter().map(effect_text).collect();
        if effects.is_empty() { "no effect at all".to_owned() } else { effects.join(", ") }
    }

    /// How often an effect allows a request; `None` if the effect does not cover it.
    fn repetition_of(
        &self,
        effect: &ApprovedEffect,
        request: &GateRequest<'_>,
    ) -> Option<Repetition> {
        let (verb, slot) = (request.verb().full_name(), request.slot());
        if effect.verb != verb {
            return None;
        }
        let target = self.object_on_slot(effect, &verb, slot)?;
        let is_target = |object: &str| {
            target == object
                || OBJECT_KINDS
                    .iter()
                    .any(|kind| target.strip_prefix(kind).is_some_and(|name| name == object))
        };
        let is_named = match (object_of(request), request) {
            (Object::Slot, _) => true,
            // The approvers must have seen the image: in an exact summary, or after the name.
            (Object::Named(object), GateRequest::Create { creation, .. }) => {
                is_target(&format!("{object} of image {}", creation.image))
                    || (is_target(object) && is_exact(&effect.summary))
            }
            (Object::Named(object), _) => is_target(object),
        };
        if !is_named {
            return None;
        }
        match exact_summary(request) {
            Some(text) if is_exact(&effect.summary) => {
                matches_summary(&effect.summary, &text).then_some(Repetition::OncePerEffect)
            }
            Some(_) | None if matches!(request, GateRequest::Http { .. }) => {
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

    /// The object of the effect on this slot; `None` if the effect names another slot, or names
    /// none although several slots grant the verb.
    fn object_on_slot<'e>(
        &self,
        effect: &'e ApprovedEffect,
        verb: &str,
        slot: &str,
    ) -> Option<&'e str> {
        let granting_slots = self.slots_of(verb);
        match effect.target.split_once(':') {
            Some((named_slot, rest)) if granting_slots.contains(&named_slot) => {
                (named_slot == slot).then_some(rest)
            }
            Some(_) | None => (granting_slots == [slot]).then_some(effect.target.as_str()),
        }
    }
}

/// Why no approved effect covers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ApprovalGap {
    /// No approved effect matches the request.
    NotShown,
    /// Each approved effect that matches was done already.
    AlreadyDone,
}

/// Whether a summary is an exact statement or exact arguments, between backticks. A text that was
/// too long to be shown ends with `…` instead.
fn is_exact(summary: &str) -> bool {
    summary.len() > 2
        && summary.starts_with('`')
        && (summary.ends_with('`') || summary.ends_with('…'))
}

/// Whether an exact summary shows this text. Of a text that was too long, only the beginning is
/// compared.
fn matches_summary(summary: &str, exact: &str) -> bool {
    summary.strip_suffix('…').map_or(exact == summary, |beginning| exact.starts_with(beginning))
}

/// The exact summary of a request: its statement or its arguments. `None` if it has neither.
fn exact_summary(request: &GateRequest<'_>) -> Option<String> {
    match request {
        GateRequest::Sql { statement, .. } => statement.map(shown_statement),
        GateRequest::Process { arguments, .. } => Some(shown_arguments(arguments)),
        GateRequest::Exec { command, .. } => Some(shown_arguments(command)),
        GateRequest::Create { creation, .. } => Some(shown_creation(creation)),
        GateRequest::FileRename { from, to, .. } => {
            Some(shown_arguments(&[(*from).to_owned(), (*to).to_owned()]))
        }
        GateRequest::Redis { command, .. } | GateRequest::RedisFacts { command, .. } => {
            Some(shown_arguments(&shown_command(command)))
        }
        GateRequest::Mail { message, .. } => {
            Some(shown_arguments(&[message.subject.to_owned(), message.text.to_owned()]))
        }
        GateRequest::Token { .. }
        | GateRequest::Redirect { .. }
        | GateRequest::Socket { .. }
        | GateRequest::Health { .. }
        | GateRequest::Http { .. }
        | GateRequest::Connect { .. }
        | GateRequest::Gateway { .. }
        | GateRequest::Forward { .. }
        | GateRequest::Docker { .. }
        | GateRequest::Container { .. }
        | GateRequest::Image { .. }
        | GateRequest::Secret { .. }
        | GateRequest::Files { .. }
        | GateRequest::FileList { .. }
        | GateRequest::FileRemoval { .. }
        | GateRequest::Endpoint { .. }
        | GateRequest::Lookup { .. }
        | GateRequest::Resolver { .. }
        | GateRequest::Objects { .. }
        | GateRequest::System { .. } => None,
    }
}

fn object_of<'a>(request: &GateRequest<'a>) -> Object<'a> {
    match request {
        GateRequest::Redirect { base, to, .. } => {
            let prefix = base.path().trim_end_matches('/');
            Object::Named(
                to.path().strip_prefix(prefix).filter(|rest| !rest.is_empty()).unwrap_or("/"),
            )
        }
        GateRequest::Container { container, .. } => Object::Named(container.name),
        GateRequest::Create { creation, .. } => Object::Named(creation.container.name),
        GateRequest::Image { image, .. } => Object::Named(image),
        GateRequest::Objects { name: ObjectName::Key(name) | ObjectName::Prefix(name), .. } => {
            Object::Named(name)
        }
        GateRequest::Http { path, .. }
        | GateRequest::Files { path, .. }
        | GateRequest::FileList { path, .. }
        | GateRequest::FileRemoval { path, .. }
        | GateRequest::FileRename { from: path, .. } => Object::Named(path),
        GateRequest::System {
            object:
                SystemObject::Mount(name) | SystemObject::Process(name) | SystemObject::Unit(name),
            ..
        } => Object::Named(name),
        GateRequest::Connect { .. }
        | GateRequest::Socket { .. }
        | GateRequest::Health { .. }
        | GateRequest::Gateway { .. }
        | GateRequest::Forward { .. }
        | GateRequest::Sql { .. }
        | GateRequest::Docker { .. }
        | GateRequest::Exec { .. }
        | GateRequest::Secret { .. }
        | GateRequest::Token { .. }
        | GateRequest::Process { .. }
        | GateRequest::Endpoint { .. }
        | GateRequest::Lookup { .. }
        | GateRequest::Resolver { .. }
        | GateRequest::System { object: SystemObject::Part, .. }
        | GateRequest::Mail { .. }
        | GateRequest::Redis { .. }
        | GateRequest::RedisFacts { .. } => Object::Slot,
    }
}

#[cfg(test)]
mod tests;
