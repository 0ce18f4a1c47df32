//! What a person has approved, and nothing beyond it: asked after the grant, for each change of a step that asked for approval.

use super::{Decision, Denial, Operation, Rule};
use crate::capability::{Effect, Verb};
use std::collections::BTreeSet;

/// One effect that was shown to the person who approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedEffect {
    /// Capability and verb: `files.write`.
    pub verb: String,
    /// What it is done to, as the plugin named it: `orders.csv`, `container api`, `/v1/refunds`; with `SLOT:` before it where the
    /// verb is granted on several slots.
    pub target: String,
}

/// All that was approved, and the slots that it may be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    effects: Vec<ApprovedEffect>,
    /// Each verb with each slot that grants it.
    slots: BTreeSet<(String, String)>,
}

/// What an operation is done to, as far as an approval can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Object<'a> {
    /// All that the slot is bound to: what a statement or a program does is bounded by the grant alone. Also what is not known yet.
    Slot,
    /// One thing below it.
    Named(&'a str),
}

/// What may stand before a name, for people.
const KINDS: &[&str] = &["container ", "image ", "file "];

impl Approved {
    /// The effects of an approved proposal, in a step with these grants.
    pub fn new(effects: Vec<ApprovedEffect>, effective: &crate::grant::Effective) -> Self {
        let slots = effective.iter().flat_map(|grant| grant.verbs.iter().map(|verb| (verb.full_name(), grant.slot.clone())));
        Self { effects, slots: slots.collect() }
    }

    /// Whether an operation is within what was approved. Reading always is.
    pub fn decide(&self, operation: &Operation<'_>) -> Decision {
        let verb = operation.verb();
        if verb.effect() == Effect::Read || self.effects.iter().any(|effect| self.names(effect, operation)) {
            return Decision::Allow;
        }
        let approved: Vec<String> =
            self.effects.iter().map(|effect| format!("`{}` on `{}`", effect.verb, effect.target.escape_debug())).collect();
        let approved = if approved.is_empty() { "no effect at all".to_owned() } else { approved.join(", ") };
        let asked = match object(operation) {
            Object::Slot => String::new(),
            Object::Named(name) => format!(" on `{}`", name.escape_debug()),
        };
        let several = if self.slots_of(&verb.full_name()).len() > 1 {
            "; several slots grant it, so an effect names its own, as in `SLOT:TARGET`"
        } else {
            ""
        };
        let name = verb.full_name();
        let reason = format!("`{name}`{asked} is beyond what was approved: {approved}{several}");
        Decision::Deny(Denial { rule: Rule::Approval, slot: operation.slot().to_owned(), verb, reason, place: String::new() })
    }

    fn names(&self, effect: &ApprovedEffect, operation: &Operation<'_>) -> bool {
        let (verb, slot) = (operation.verb().full_name(), operation.slot());
        if effect.verb != verb {
            return false;
        }
        let Some(target) = self.on_slot(effect, &verb, slot) else { return false };
        match object(operation) {
            Object::Slot => true,
            Object::Named(object) => {
                target == object || KINDS.iter().any(|kind| target.strip_prefix(kind).is_some_and(|name| name == object))
            }
        }
    }

    fn slots_of(&self, verb: &str) -> Vec<&str> {
        self.slots.iter().filter(|(known, _)| known == verb).map(|(_, slot)| slot.as_str()).collect()
    }

    /// What the effect names below this slot; `None` if it is about another one, or does not say about which of several.
    fn on_slot<'e>(&self, effect: &'e ApprovedEffect, verb: &str, slot: &str) -> Option<&'e str> {
        let granting = self.slots_of(verb);
        match effect.target.split_once(':') {
            Some((named, rest)) if granting.contains(&named) => (named == slot).then_some(rest),
            Some(_) | None => (granting == [slot]).then_some(effect.target.as_str()),
        }
    }
}

fn object<'a>(operation: &Operation<'a>) -> Object<'a> {
    match operation {
        Operation::Redirect { base, to, .. } => {
            let prefix = base.path().trim_end_matches('/');
            Object::Named(to.path().strip_prefix(prefix).filter(|rest| !rest.is_empty()).unwrap_or("/"))
        }
        Operation::Container { container, .. } => Object::Named(container.name),
        // What `create` makes is a container, which the image does not name.
        Operation::Image { verb, image, .. } if *verb != Verb::DockerCreate => Object::Named(image),
        Operation::Http { path, .. } | Operation::Files { path, .. } => Object::Named(path),
        Operation::Image { .. }
        | Operation::Connect { .. }
        | Operation::Sql { .. }
        | Operation::Docker { .. }
        | Operation::Exec { .. }
        | Operation::Secret { .. }
        | Operation::Process { .. } => Object::Slot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::VERBS;
    use crate::gate::ContainerFacts;
    use crate::grant::Effective;

    fn effect(verb: &str, target: &str) -> ApprovedEffect {
        ApprovedEffect { verb: verb.to_owned(), target: target.to_owned() }
    }

    /// What was approved, in a step whose slot `s` (and `other`, if it is there) grants every verb.
    fn approved(effects: &[ApprovedEffect], slots: &[&str]) -> Approved {
        let mut approved = Approved::new(effects.to_vec(), &Effective::none());
        approved.slots =
            VERBS.iter().flat_map(|row| slots.iter().map(|slot| (row.verb.full_name(), (*slot).to_owned()))).collect();
        approved
    }

    fn allows(approved: &Approved, operation: &Operation<'_>) -> bool {
        approved.decide(operation) == Decision::Allow
    }

    #[test]
    fn a_verb_that_changes_something_is_allowed_if_and_only_if_it_was_approved() {
        for done in VERBS {
            let operation = Operation::Docker { slot: "s", verb: done.verb };
            assert_eq!(allows(&approved(&[], &["s"]), &operation), done.effect == Effect::Read, "{}", done.verb.full_name());
            for named in VERBS {
                let approved = approved(&[effect(&named.verb.full_name(), "anything")], &["s"]);
                let expected = done.effect == Effect::Read || named.verb == done.verb;
                assert_eq!(
                    allows(&approved, &operation),
                    expected,
                    "{} approved, {} done",
                    named.verb.full_name(),
                    done.verb.full_name()
                );
            }
        }
    }

    #[test]
    fn what_has_a_name_is_allowed_if_and_only_if_it_was_approved_by_that_name() {
        let labels: Vec<(String, String)> = Vec::new();
        let names = ["/a", "/a?b", "/b", "a", "b", ""];
        for done in names {
            let operations = [
                Operation::Http { slot: "s", verb: Verb::HttpPost, path: done, headers: &[], secrets: &[] },
                Operation::Files { slot: "s", verb: Verb::FilesWrite, path: done },
                Operation::Files { slot: "s", verb: Verb::FilesRemove, path: done },
                Operation::Container {
                    slot: "s",
                    verb: Verb::DockerStop,
                    container: ContainerFacts { name: done, labels: &labels },
                },
                Operation::Image { slot: "s", verb: Verb::DockerPull, image: done },
            ];
            for operation in &operations {
                let verb = operation.verb().full_name();
                for named in names {
                    let plain = approved(&[effect(&verb, named)], &["s"]);
                    assert_eq!(allows(&plain, operation), named == done, "{verb}: `{named}` approved, `{done}` done");
                    let of_slot = approved(&[effect(&verb, &format!("s:{named}"))], &["s", "other"]);
                    assert_eq!(allows(&of_slot, operation), named == done, "{verb}: `{named}` approved, `{done}` done");
                    let of_other = approved(&[effect(&verb, &format!("other:{named}"))], &["s", "other"]);
                    assert!(!allows(&of_other, operation), "{verb}: it was approved for another slot");
                    let of_any = approved(&[effect(&verb, named)], &["s", "other"]);
                    assert!(!allows(&of_any, operation), "{verb}: which slot was approved cannot be told");
                }
            }
        }
        let stop = Operation::Container {
            slot: "s",
            verb: Verb::DockerStop,
            container: ContainerFacts { name: "api", labels: &labels },
        };
        assert!(allows(&approved(&[effect("docker.stop", "container api")], &["s"]), &stop));
        assert!(!allows(&approved(&[effect("docker.stop", "container api2")], &["s"]), &stop));
    }
}
