//! Tries whether the target of a slot answers. Each kind of target has its own way.

use crate::fault::Fault;
use crate::host::{Host, HostCall};
use runbook_authority::capability::Capability;
use runbook_authority::gate::Rule;
#[cfg(feature = "system")]
use runbook_authority::targets::asks_systemd;
use runbook_authority::{Verb, VerbEffect};

impl Host {
    /// Tries whether the target of a slot answers, and changes nothing. Returns what answered, in
    /// one line.
    pub(crate) async fn reach(&mut self, slot: &str) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let verb = self.reaching_verb(slot)?;
        let mut call = HostCall::new(self);
        match target.capability() {
            Capability::Http => call.reach_http_server(slot, verb).await,
            Capability::Sql => call.reach_database(slot, verb).await,
            #[cfg(feature = "docker")]
            Capability::Docker => call.reach_docker_engine(slot, verb).await,
            #[cfg(not(feature = "docker"))]
            Capability::Docker => Err(not_built_in("docker")),
            Capability::Files => call.reach_directory(slot).await,
            Capability::Process => call.reach_program(slot).await,
            Capability::Net => call.reach_servers(slot, verb).await,
            #[cfg(feature = "redis")]
            Capability::Redis => call.reach_redis(slot, verb).await,
            #[cfg(not(feature = "redis"))]
            Capability::Redis => Err(not_built_in("redis")),
            #[cfg(feature = "objects")]
            Capability::Objects => call.reach_objects(slot, verb).await,
            #[cfg(not(feature = "objects"))]
            Capability::Objects => Err(not_built_in("objects")),
            #[cfg(feature = "mail")]
            Capability::Mail => call.reach_mail_server(slot).await,
            #[cfg(not(feature = "mail"))]
            Capability::Mail => Err(not_built_in("mail")),
            Capability::Secrets => call.reach_secret(slot).await,
            #[cfg(feature = "system")]
            Capability::System if asks_systemd(verb) => call.reach_systemd(slot, verb).await,
            Capability::System | Capability::State => Ok("needs no connection".to_owned()),
        }
    }

    /// The verb for which the target is tried: one that reads, if the slot has one.
    fn reaching_verb(&self, slot: &str) -> Result<Verb, Fault> {
        let verbs = self.grants().find(|grant| grant.slot == slot).map(|grant| &grant.verbs);
        let verbs = verbs.ok_or_else(Fault::denied)?;
        let reading = verbs.iter().find(|verb| verb.effect() == VerbEffect::Read);
        reading.or(verbs.first()).copied().ok_or_else(Fault::denied)
    }

    /// Whether the slot is granted a verb.
    pub(crate) fn has_verb(&self, slot: &str, verb: Verb) -> bool {
        self.grants().any(|grant| grant.slot == slot && grant.verbs.contains(&verb))
    }

    /// The rule of the last denial.
    pub(crate) fn last_denied_rule(&self) -> Option<Rule> {
        self.denials().last().map(|denial| denial.rule)
    }
}

/// The fault of a target for whose kind this program was built without the cargo feature.
#[cfg(not(all(feature = "docker", feature = "mail", feature = "redis")))]
fn not_built_in(feature: &str) -> Fault {
    let message = format!("this program was built without the feature `{feature}`");
    Fault::new(crate::fault::FaultClass::Invalid, "target.not-built", message)
}
