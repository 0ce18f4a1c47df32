//! What one step may do.

use crate::capability::{Capability, Verb};
use crate::manifest::{self, Need, VerbCondition};
use crate::targets::{
    Gateway, ProcessTarget, SecretOrigin, SqlTarget, Target, Targets, program_verb, source_slot,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one slot of one step may do: its verbs, on its target.
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

/// A verb that only some inputs need, on a bound slot, and whether the input of this step needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionalVerb {
    /// The slot.
    pub slot: String,
    /// The verb. It is granted if it may be needed.
    pub verb: Verb,
    /// What the slot is bound to.
    pub target: Arc<Target>,
    /// The need of the input for the verb.
    pub need: Need,
    /// The inputs that need the verb, as the manifest says: `` `cases[].method` is `"DELETE"` ``.
    pub condition: String,
}

impl ConditionalVerb {
    /// Why it is granted, or why it is not, in one line without a period at the end.
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

/// What the host is granted to read the value of secret `name`: exactly one call to the target that
/// its origin names. `None` if it needs no target.
pub(crate) fn source_grant(name: &str, origin: &SecretOrigin) -> Option<Grant> {
    let (target, verb) = match origin {
        SecretOrigin::Program(output) => (&output.target, program_verb(&output.target)),
        SecretOrigin::Vault(value) => (&value.target, Verb::HttpGet),
        SecretOrigin::Age(_)
        | SecretOrigin::Sops(_)
        | SecretOrigin::Credential(_)
        | SecretOrigin::Variable(_) => return None,
    };
    Some(Grant {
        slot: source_slot(name),
        capability: target.capability(),
        verbs: vec![verb],
        target: Arc::clone(target),
    })
}

/// All that one step may do. It can only be made by [`grant`](super::grant), and for the host
/// itself by [`of_source`](Self::of_source).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EffectiveGrants {
    grants: BTreeMap<String, Grant>,
    /// The verbs that depend on the input, granted or not.
    conditional: Vec<ConditionalVerb>,
    /// The sql targets whose connections process targets use, by name.
    connections: BTreeMap<String, Arc<Target>>,
    /// What the host itself is granted to read a secret, by the name of the secret. No plugin can
    /// use it: it belongs to no slot.
    sources: BTreeMap<String, Grant>,
    /// The gateways through which targets are reached, by name.
    gateways: BTreeMap<String, Arc<Gateway>>,
}

impl EffectiveGrants {
    /// No grant at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same grants with every verb on every slot. No plugin can declare that; it is for tests
    /// of rules that hold for every grant.
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

    /// All grants that a reviewer must see: those of the slots, and those by which the host reads
    /// the secrets of their targets.
    pub fn reviewed(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().chain(self.sources.values())
    }

    /// The verb by which the host runs the program of a target that prints a secret.
    pub fn program_verb(target: &Target) -> Verb {
        program_verb(target)
    }

    /// What the host is granted to read one secret; nothing if its origin names no target.
    pub fn of_source(name: &str, origin: &SecretOrigin) -> Self {
        let grants = source_grant(name, origin).map(|grant| (grant.slot.clone(), grant));
        let gateways = origin.gateway().map(|gateway| (gateway.name.clone(), Arc::clone(gateway)));
        Self {
            grants: grants.into_iter().collect(),
            gateways: gateways.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The verbs that only some inputs need, on bound slots, whether granted or not.
    pub fn conditional(&self) -> impl Iterator<Item = &ConditionalVerb> {
        self.conditional.iter()
    }

    /// The verbs that are not granted because the input does not need them.
    pub fn withheld(&self) -> impl Iterator<Item = &ConditionalVerb> {
        self.conditional.iter().filter(|conditional| !conditional.need.is_granted())
    }

    /// The conditional verb of this slot; `None` if the verb does not depend on the input.
    pub fn conditional_verb(&self, slot: &str, verb: Verb) -> Option<&ConditionalVerb> {
        self.conditional
            .iter()
            .find(|conditional| conditional.slot == slot && conditional.verb == verb)
    }

    /// The sql target of this name whose connection a process target uses.
    pub fn connection(&self, name: &str) -> Option<&Arc<Target>> {
        self.connections.get(name)
    }

    /// The sql target whose connection the program of a grant gets, if its target has a
    /// `connection`.
    pub fn connection_of(&self, grant: &Grant) -> Option<&Arc<Target>> {
        self.connection(grant.target.connection()?)
    }

    /// The gateway through which the target of a grant is reached, if its target has a `via`.
    pub fn gateway_of(&self, grant: &Grant) -> Option<&Arc<Gateway>> {
        self.gateways.get(&grant.target.via.as_ref()?.gateway.value)
    }

    /// The origins of all secrets that the step's host functions may need, by name.
    pub fn secret_origins(&self) -> BTreeMap<&str, &SecretOrigin> {
        let targets = self.reviewed().map(|grant| &grant.target).chain(self.connections.values());
        let of_targets = targets.flat_map(|target| {
            let origin = |name| Some((name, target.secret_origins.get(name)?));
            target.secrets().into_iter().filter_map(origin)
        });
        let of_gateways = self.gateways.values().flat_map(|gateway| {
            let origin = |name| Some((name, gateway.secret_origins.get(name)?));
            gateway.secrets().into_iter().filter_map(origin)
        });
        of_targets.chain(of_gateways).collect()
    }

    /// Whether a program can connect to more than the server of its `connection`: a program that is
    /// lent the Unix socket of a database reaches every Unix socket of the host, because the kernel
    /// cannot limit which one. A program that only reads makes no connection.
    pub fn connects_anywhere(&self, process: &ProcessTarget) -> bool {
        let lent = process.connection.as_ref().and_then(|name| self.connection(name));
        let is_lent_a_socket =
            lent.and_then(|target| target.sql()).is_some_and(SqlTarget::is_reached_by_unix_socket);
        !process.read_only && (process.network || is_lent_a_socket)
    }

    /// The names of all secrets that the step's host functions may need.
    pub fn secrets(&self) -> Vec<&str> {
        let targets = self.reviewed().map(|grant| &grant.target).chain(self.connections.values());
        let of_gateways = self.gateways.values().flat_map(|gateway| gateway.secrets());
        let mut names: Vec<_> =
            targets.flat_map(|target| target.secrets()).chain(of_gateways).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl EffectiveGrants {
    pub(super) fn add_conditional_verbs(
        &mut self,
        operation: &manifest::Operation,
        grant: &Grant,
        verb_needs: &[(Verb, Option<Need>)],
    ) {
        let conditional_verb = |(verb, need): &(Verb, Option<Need>)| {
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
        self.conditional.extend(verb_needs.iter().filter_map(conditional_verb));
    }

    /// Adds a grant, unless it has no verb.
    pub(super) fn insert(&mut self, grant: Grant, targets: &Targets) {
        if grant.verbs.is_empty() {
            return;
        }
        if let Some(connection) = grant.target.connection().and_then(|name| targets.get(name)) {
            self.insert_sources(connection);
            self.connections.insert(connection.name.clone(), Arc::clone(connection));
        }
        self.insert_gateway(&grant.target, targets);
        self.insert_sources(&grant.target);
        self.grants.insert(grant.slot.clone(), grant);
    }

    /// Adds the gateway of a target, and what the host needs to read the secrets of the gateway.
    fn insert_gateway(&mut self, target: &Target, targets: &Targets) {
        let Some(gateway) = target.via.as_ref().and_then(|via| targets.gateway(&via.gateway.value))
        else {
            return;
        };
        for name in gateway.secrets() {
            self.insert_source(name, gateway.secret_origins.get(name));
        }
        self.gateways.insert(gateway.name.clone(), Arc::clone(gateway));
    }

    /// Adds what the host needs to read the secrets of a target.
    fn insert_sources(&mut self, target: &Target) {
        for name in target.secrets() {
            self.insert_source(name, target.secret_origins.get(name));
        }
    }

    /// Adds what the host needs to read one secret: the call to the target that its origin names,
    /// and the gateway of that target.
    fn insert_source(&mut self, name: &str, origin: Option<&SecretOrigin>) {
        let Some(origin) = origin else { return };
        let Some(grant) = source_grant(name, origin) else { return };
        self.sources.insert(name.to_owned(), grant);
        if let Some(gateway) = origin.gateway() {
            self.gateways.entry(gateway.name.clone()).or_insert_with(|| Arc::clone(gateway));
        }
    }
}
