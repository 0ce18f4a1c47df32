//! The gate. Every host function asks [`decide`] before it touches anything; there is no other
//! check of authority.
//!
//! Invariant: pure. No I/O, no clock, no state. The answer depends on the arguments alone, so that
//! reports, tests and the runtime cannot disagree.

mod approved;
mod canonical;
mod denial;
mod http;
mod net;
mod network;
mod operation;
mod programs;
mod sql;

pub use approved::{Approved, ApprovedEffect, shown_arguments, shown_creation, shown_statement};
pub use canonical::Clean;
pub use denial::{Denial, GateDecision, Rule};
pub use operation::{ConnectionState, Creation, HeaderValue, Operation};

use crate::capability::VerbEffect;
use crate::grant::{ConditionalVerb, Effective, Grant};
use crate::pattern::relative_file_path;
use crate::targets::TargetKind;
use http::{judge_position, judge_redirect, judge_request, judge_token};
use net::{judge_conversation, judge_lookup, judge_resolver};
use network::judge_address;
use programs::{judge_command, judge_container, judge_creation, judge_image, judge_program};
pub use runbook_contract::Mode;
use sql::judge_statement;

/// Decides one call of a host function by what the step is granted.
pub fn decide(effective: &Effective, mode: Mode, operation: &Operation<'_>) -> GateDecision {
    match judge(effective, mode, operation) {
        Ok(()) => GateDecision::Allow,
        Err(denial) => GateDecision::Deny(denial),
    }
}

fn judge(effective: &Effective, mode: Mode, operation: &Operation<'_>) -> Result<(), Denial> {
    let (slot, verb) = (operation.slot(), operation.verb());
    let deny = |rule, reason: String, grant: Option<&Grant>| {
        let place = grant.map(|grant| grant.target.place()).unwrap_or_default();
        let target = grant.map(|grant| grant.target.name.clone()).unwrap_or_default();
        Err(Denial { rule, slot: slot.to_owned(), verb, reason, target, place })
    };
    if let Some(conditional) = effective.conditional_verb(slot, verb)
        && !conditional.need.is_granted()
    {
        // No line of the target would change it, so none is named.
        let target = conditional.target.name.clone();
        let reason = too_narrow(conditional);
        return Err(Denial {
            rule: Rule::Input,
            slot: slot.to_owned(),
            verb,
            reason,
            target,
            place: String::new(),
        });
    }
    let Some(grant) = effective.get(slot) else {
        return deny(Rule::Unbound, "the slot is not bound in this step".to_owned(), None);
    };
    if !grant.verbs.contains(&verb) {
        return deny(
            Rule::Verb,
            format!("the step may only {}", crate::manifest::list(&grant.verbs)),
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
    judge_operation(effective, grant, operation)
        .or_else(|(rule, reason)| deny(rule, reason, Some(grant)))
}

/// Why a verb is not granted that the input does not need by what the manifest says, and whose
/// mistake it is that the plugin asks for it.
fn too_narrow(conditional: &ConditionalVerb) -> String {
    format!(
        "{}; that it asked all the same is a mistake in the plugin or in `needed_if` of its \
         manifest",
        conditional.reason()
    )
}

type Judged = Result<(), (Rule, String)>;

/// Compares a call with the target that its slot is bound to. Every operation names the one kind of
/// target that it concerns.
fn judge_operation(effective: &Effective, grant: &Grant, operation: &Operation<'_>) -> Judged {
    let kind = &grant.target.kind;
    let other_kind = || {
        Err((Rule::Verb, format!("the slot is bound to a `{}` target", grant.target.capability())))
    };
    match operation {
        Operation::Http { slot, path, headers, secrets, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_request(effective, slot, target, path, headers)?;
            secrets.iter().try_for_each(|(place, secret_slot)| {
                judge_position(effective, slot, secret_slot, place)
            })
        }
        Operation::Connect { host, address, .. } => {
            // A program that is lent a connection is given only addresses that its server may have.
            let lent = || effective.lent(grant).and_then(|target| target.addresses());
            let Some(policy) = grant.target.addresses().or_else(lent) else { return other_kind() };
            judge_address(grant.target.address_visibility(), policy, host, *address)
        }
        Operation::Redirect { base, to, hop, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_redirect(target, base, to, *hop)
        }
        Operation::Token { server, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_token(target, server)
        }
        Operation::Sql { statement, .. } => {
            let TargetKind::Sql(target) = kind else { return other_kind() };
            statement.map_or(Ok(()), |statement| judge_statement(target, statement))
        }
        Operation::Docker { .. } => {
            let TargetKind::Docker(_) = kind else { return other_kind() };
            Ok(())
        }
        Operation::Container { container, .. } => {
            let TargetKind::Docker(target) = kind else { return other_kind() };
            judge_container(target, *container)
        }
        Operation::Create { creation, .. } => {
            let TargetKind::Docker(target) = kind else { return other_kind() };
            judge_creation(target, creation)
        }
        Operation::Image { image, .. } => {
            let TargetKind::Docker(target) = kind else { return other_kind() };
            judge_image(target, image)
        }
        Operation::Exec { command, .. } => {
            let TargetKind::Docker(target) = kind else { return other_kind() };
            judge_command(&target.command, command)
        }
        Operation::Secret { .. } => {
            let TargetKind::Secret(_) = kind else { return other_kind() };
            Ok(())
        }
        Operation::Files { path, .. } => {
            let TargetKind::Files(_) = kind else { return other_kind() };
            relative_file_path(path)
                .map(drop)
                .map_err(|error| (Rule::File, format!("`{}`: {error}", path.escape_debug())))
        }
        Operation::Process { verb, arguments, .. } => {
            let TargetKind::Process(target) = kind else { return other_kind() };
            judge_program(target, *verb, arguments)
        }
        Operation::Endpoint { host, port, says, .. } => {
            let TargetKind::Net(target) = kind else { return other_kind() };
            judge_conversation(target, *host, *port, says)
        }
        Operation::Lookup { name, .. } => {
            let TargetKind::Net(target) = kind else { return other_kind() };
            judge_lookup(target, *name)
        }
        Operation::Resolver { resolver, .. } => {
            let TargetKind::Net(target) = kind else { return other_kind() };
            judge_resolver(target, *resolver)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
