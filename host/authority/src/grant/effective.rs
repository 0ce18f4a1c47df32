//! What one step may do.

use crate::capability::{Capability, Verb};
use crate::manifest::{self, Need, VerbCondition};
use crate::targets::{Target, Targets};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one slot of one step is granted.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The name of the slot.
    pub slot: String,
    /// The capability that the slot declares.
    pub capability: Capability,
    /// The verbs that may be used: those that the operation needs.
    pub verbs: Vec<Verb>,
    /// The target that the slot is bound to.
    pub target: Arc<Target>,
}

/// A verb that only some inputs need, on a slot that is bound, and whether this input does.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionalVerb {
    /// The slot.
    pub slot: String,
    /// The verb. It is granted if it may be needed.
    pub verb: Verb,
    /// What the slot is bound to.
    pub target: Arc<Target>,
    /// Whether the input needs it.
    pub need: Need,
    /// When an input needs it, as the manifest says: `` `cases[].method` is `"DELETE"` ``.
    pub condition: String,
}

impl ConditionalVerb {
    /// Why it is granted, or why it is not, in one line without a full stop.
    pub fn reason(&self) -> String {
        let place = |at: &str| match at {
            "" => "the input".to_owned(),
            at => format!("`{at}` of the input"),
        };
        match &self.need {
            Need::Met { at } => format!("needed by {}", place(at)),
            Need::Unknown { at } => {
                format!("may be needed: {} is a template, known only at run time", place(at))
            }
            Need::No => {
                format!("this input does not need it; it is needed if {}", self.condition)
            }
        }
    }
}

/// All that one step may do. It can only be made by [`grant`](super::grant).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effective {
    grants: BTreeMap<String, Grant>,
    /// What the input decides, by slot and verb.
    conditional: Vec<ConditionalVerb>,
    /// The connections that process targets borrow.
    connections: BTreeMap<String, Arc<Target>>,
}

impl Effective {
    /// The authority of a plugin that was granted nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same with every verb on every slot, which no plugin can declare: for tests of rules that
    /// hold for every grant.
    #[cfg(test)]
    pub(crate) fn with_every_verb(mut self) -> Self {
        for grant in self.grants.values_mut() {
            grant.verbs = crate::capability::VERBS.iter().map(|row| row.verb).collect();
        }
        self
    }

    /// The grant of one slot.
    pub fn get(&self, slot: &str) -> Option<&Grant> {
        self.grants.get(slot)
    }

    /// All grants, sorted by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values()
    }

    /// The verbs that only some inputs need, on bound slots, whether granted or not.
    pub fn conditional(&self) -> impl Iterator<Item = &ConditionalVerb> {
        self.conditional.iter()
    }

    /// The verbs that are not granted because the input does not need them.
    pub fn withheld(&self) -> impl Iterator<Item = &ConditionalVerb> {
        self.conditional.iter().filter(|conditional| !conditional.need.is_granted())
    }

    /// What the input decides about a verb on a slot; `None` if every input needs it or none may
    /// have it.
    pub fn conditional_verb(&self, slot: &str, verb: Verb) -> Option<&ConditionalVerb> {
        self.conditional
            .iter()
            .find(|conditional| conditional.slot == slot && conditional.verb == verb)
    }

    /// The sql target that a process target takes its connection from.
    pub fn connection(&self, name: &str) -> Option<&Arc<Target>> {
        self.connections.get(name)
    }

    /// The sql target whose connection the program of a grant is given.
    pub fn lent(&self, grant: &Grant) -> Option<&Arc<Target>> {
        self.connection(grant.target.connection()?)
    }

    /// The names of all secrets that the step's host functions may need.
    pub fn secrets(&self) -> Vec<&str> {
        let targets =
            self.grants.values().map(|grant| &grant.target).chain(self.connections.values());
        let mut names: Vec<_> = targets.flat_map(|target| target.secrets()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Effective {
    pub(super) fn note_conditions(
        &mut self,
        operation: &manifest::Operation,
        grant: &Grant,
        decided: &[(Verb, Option<Need>)],
    ) {
        let conditional = |(verb, need): &(Verb, Option<Need>)| {
            let conditions = operation.conditions(&grant.slot, *verb);
            let sentences: Vec<_> = conditions.map(VerbCondition::sentence).collect();
            Some(ConditionalVerb {
                slot: grant.slot.clone(),
                verb: *verb,
                target: Arc::clone(&grant.target),
                need: need.clone()?,
                condition: sentences.join(", or if "),
            })
        };
        self.conditional.extend(decided.iter().filter_map(conditional));
    }

    /// Adds a grant. One without a verb is none: nothing of its target is opened for it.
    pub(super) fn insert(&mut self, grant: Grant, targets: &Targets) {
        if grant.verbs.is_empty() {
            return;
        }
        if let Some(connection) = grant.target.connection().and_then(|name| targets.get(name)) {
            self.connections.insert(connection.name.clone(), Arc::clone(connection));
        }
        self.grants.insert(grant.slot.clone(), grant);
    }
}
