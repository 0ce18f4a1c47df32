//! The gate. Every host function calls [`decide`] before it has any effect. There is no other check
//! of authority.
//!
//! Invariant: the gate is pure. It has no I/O, no clock and no state. The decision depends on the
//! arguments alone, so that reports, tests and the runtime always agree.

mod approved;
mod canonical;
mod denial;
mod files;
mod http;
mod mail;
mod net;
mod network;
mod objects;
mod programs;
mod proposed;
mod redis;
mod request;
mod sql;
mod system;

pub use approved::{
    ApprovedEffect, ApprovedEffects, shown_arguments, shown_creation, shown_statement,
};
pub use canonical::Scrub;
pub use denial::{Denial, GateDecision, Rule};
pub use http::crosses_origins;
pub use proposed::denial_of_proposal;
pub use request::{
    ConnectionState, Creation, GateRequest, HeaderValue, MailMessage, ObjectName, SystemObject,
};

use crate::capability::VerbEffect;
use crate::grant::{ConditionalVerb, EffectiveGrants, Grant};
use crate::targets::TargetKind;
use files::{judge_folder, judge_path, judge_removal};
use http::{
    Hop, judge_health, judge_http_request, judge_network, judge_position, judge_redirect,
    judge_socket, judge_token,
};
use mail::judge_message;
use net::{judge_conversation, judge_lookup, judge_resolver};
use network::{judge_address, judge_direct, judge_forward, judge_gateway};
use objects::judge_object;
use programs::{judge_command, judge_container, judge_creation, judge_image, judge_program};
use redis::{judge_by_server, judge_command as judge_redis_command};
pub use runbook_contract::Mode;
use sql::judge_statement;
use system::judge_part;

/// Decides one request by what the step is granted.
pub fn decide(grants: &EffectiveGrants, mode: Mode, request: &GateRequest<'_>) -> GateDecision {
    match judge(grants, mode, request) {
        Ok(()) => GateDecision::Allow,
        Err(denial) => GateDecision::Deny(denial),
    }
}

fn judge(grants: &EffectiveGrants, mode: Mode, request: &GateRequest<'_>) -> Result<(), Denial> {
    let (slot, verb) = (request.slot(), request.verb());
    let deny = |rule, reason: String, grant: Option<&Grant>| {
        let location = grant.map(|grant| grant.target.location()).unwrap_or_default();
        let target = grant.map(|grant| grant.target.name.clone()).unwrap_or_default();
        Err(Denial { rule, slot: slot.to_owned(), verb, reason, target, location })
    };
    if let Some(conditional) = grants.conditional_verb(slot, verb)
        && !conditional.need.is_granted()
    {
        // No line of the target could change this, so the denial names none.
        let target = conditional.target.name.clone();
        let reason = withheld_reason(conditional);
        return Err(Denial {
            rule: Rule::Input,
            slot: slot.to_owned(),
            verb,
            reason,
            target,
            location: String::new(),
        });
    }
    let Some(grant) = grants.get(slot) else {
        return deny(Rule::Unbound, "the slot is not bound in this step".to_owned(), None);
    };
    if !grant.verbs.contains(&verb) {
        return deny(
            Rule::Verb,
            format!("the step may only {}", crate::manifest::verb_list(&grant.verbs)),
            Some(grant),
        );
    }
    if mode == Mode::ReadOnly && verb.effect() == VerbEffect::Change {
        return deny(
            Rule::EffectsOff,
            "nothing may be changed here: this is a plan, an observation or a dry run".to_owned(),
            Some(grant),
        );
    }
    judge_on_target(grants, grant, request)
        .or_else(|(rule, reason)| deny(rule, reason, Some(grant)))
}

/// The reason for denying a verb that the input does not need according to the manifest. The
/// message blames the plugin or its manifest, because the plugin has asked for the verb.
fn withheld_reason(conditional: &ConditionalVerb) -> String {
    format!(
        "{}; that it asked all the same is a mistake in the plugin or in `needed_if` of its \
         manifest",
        conditional.reason()
    )
}

/// `Ok` if a request is allowed; otherwise the rule that denies it, and the reason.
type Judgment = Result<(), (Rule, String)>;

/// Compares a request with the target that its slot is bound to. Each request fits one kind of
/// target.
fn judge_on_target(grants: &EffectiveGrants, grant: &Grant, request: &GateRequest<'_>) -> Judgment {
    let kind = &grant.target.kind;
    let other_kind = || {
        Err((Rule::Verb, format!("the slot is bound to a `{}` target", grant.target.capability())))
    };
    match request {
        GateRequest::Http { slot, path, headers, secrets, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_http_request(grants, slot, target, path, headers)?;
            secrets.iter().try_for_each(|(place, secret_slot)| {
                judge_position(grants, slot, secret_slot, place)
            })
        }
        GateRequest::Connect { host, address, .. } => {
            // A program with a `connection` may reach only the addresses of that database server.
            let connection = || grants.connection_of(grant).and_then(|target| target.addresses());
            let Some(policy) = grant.target.addresses().or_else(connection) else {
                return other_kind();
            };
            judge_direct(&grant.target)?;
            grant.target.http().map_or(Ok(()), |target| judge_network(target, host))?;
            judge_address(grant.target.address_visibility(), policy, host, *address)
        }
        GateRequest::Gateway { host, address, .. } => {
            judge_gateway(grants.gateway_of(grant).map(AsRef::as_ref), host, *address)
        }
        GateRequest::Forward { host, address, .. } => {
            let gateway = grants.gateway_of(grant).map(AsRef::as_ref);
            judge_forward(&grant.target, gateway, host, *address)
        }
        GateRequest::Redirect { verb, base, from, to, hop, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_redirect(target, *verb, &Hop { base, from, to, number: *hop })
        }
        GateRequest::Socket { path, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_socket(target, path)
        }
        GateRequest::Health { service, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_health(target, service)
        }
        GateRequest::Token { server, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_token(target, server)
        }
        GateRequest::Sql { statement, .. } => {
            let TargetKind::Sql(target) = kind else { return other_kind() };
            statement.map_or(Ok(()), |statement| judge_statement(target, statement))
        }
        GateRequest::Docker { .. } => {
            let TargetKind::Docker(_) = kind else { return other_kind() };
            Ok(())
        }
        GateRequest::Container { container, .. } => {
            let TargetKind::Docker(target) = kind else { return other_kind() };
            judge_container(target, *container)
        }
        GateRequest::Create { creation, .. } => {
            let TargetKind::Docker(target) = kind else { return other_kind() };
            judge_creation(target, creation)
        }
        GateRequest::Image { image, .. } => {
            let TargetKind::Docker(target) = kind else { return other_kind() };
            judge_image(target, image)
        }
        GateRequest::Exec { command, .. } => {
            let TargetKind::Docker(target) = kind else { return other_kind() };
            judge_command(&target.command, command)
        }
        GateRequest::Secret { .. } => {
            let TargetKind::Secret(_) = kind else { return other_kind() };
            Ok(())
        }
        GateRequest::Files { path, .. } => {
            let TargetKind::Files(target) = kind else { return other_kind() };
            judge_path(target, path)
        }
        GateRequest::FileList { path, .. } => {
            let TargetKind::Files(_) = kind else { return other_kind() };
            judge_folder(path)
        }
        GateRequest::FileRename { from, to, .. } => {
            let TargetKind::Files(target) = kind else { return other_kind() };
            judge_path(target, from).and_then(|()| judge_path(target, to))
        }
        GateRequest::FileRemoval { path, age, .. } => {
            let TargetKind::Files(target) = kind else { return other_kind() };
            judge_removal(target, path, *age)
        }
        GateRequest::Process { verb, arguments, .. } => {
            let TargetKind::Process(target) = kind else { return other_kind() };
            judge_program(target, *verb, arguments)
        }
        GateRequest::Endpoint { host, port, says, .. } => {
            let TargetKind::Net(target) = kind else { return other_kind() };
            judge_conversation(target, *host, *port, says)
        }
        GateRequest::Lookup { name, .. } => {
            let TargetKind::Net(target) = kind else { return other_kind() };
            judge_direct(&grant.target)?;
            judge_lookup(target, *name)
        }
        GateRequest::Resolver { resolver, .. } => {
            let TargetKind::Net(target) = kind else { return other_kind() };
            judge_direct(&grant.target)?;
            judge_resolver(target, *resolver)
        }
        GateRequest::Redis { verb, command, .. } => {
            let TargetKind::Redis(target) = kind else { return other_kind() };
            judge_redis_command(target, *verb, command)
        }
        GateRequest::RedisFacts { verb, command, facts, .. } => {
            let TargetKind::Redis(target) = kind else { return other_kind() };
            judge_by_server(target, *verb, command, *facts)
        }
        GateRequest::Objects { name, .. } => {
            let TargetKind::Objects(target) = kind else { return other_kind() };
            judge_object(target, *name)
        }
        GateRequest::Mail { message, .. } => {
            let TargetKind::Mail(target) = kind else { return other_kind() };
            judge_message(target, message)
        }
        GateRequest::System { verb, object, .. } => {
            let TargetKind::System(target) = kind else { return other_kind() };
            judge_part(target, *verb, *object)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
