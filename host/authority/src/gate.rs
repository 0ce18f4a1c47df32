//! The gate. Every host function asks [`decide`] before it touches anything; there is no other
//! check of authority.
//!
//! Invariant: pure. No I/O, no clock, no state. The answer depends on the arguments alone, so that
//! reports, tests and the runtime cannot disagree.

mod approved;
mod canonical;

pub use approved::{Approved, ApprovedEffect, shown_arguments, shown_creation, shown_statement};
pub use canonical::Clean;

use crate::capability::{Effect, Verb};
use crate::grant::{ConditionalVerb, Effective, Grant};
use crate::pattern::{
    StatementClass, canonical_request_path, classify, first_mismatch, relative_file_path,
};
use crate::targets::{
    ContainerFacts, DockerTarget, HttpTarget, ProcessTarget, SecretPlace, SqlTarget, TargetKind,
    is_name, unusable_header,
};
pub use runbook_contract::Mode;
use std::net::IpAddr;
use url::Url;

/// The value of a request header, as a plugin gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// A text that is sent as it is.
    Plain(&'a str),
    /// The name of a secrets slot.
    Secret(&'a str),
}

/// A container to create, as a plugin asks for it.
#[derive(Debug, Clone, Copy)]
pub struct Creation<'a> {
    /// The name and the labels of the new container.
    pub container: ContainerFacts<'a>,
    /// The reference of the image that it is made of.
    pub image: &'a str,
    /// What runs in it; empty is what the image says.
    pub command: &'a [String],
    /// The variables that the plugin sets.
    pub environment: &'a [(String, String)],
}

/// One call of a host function, in canonical form.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    /// A request, before anything is resolved.
    Http {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The path of the request, with its query.
        path: &'a str,
        /// The headers, as name and value.
        headers: &'a [(&'a str, HeaderValue<'a>)],
        /// Secrets in the body: place and secrets slot.
        secrets: &'a [(SecretPlace, &'a str)],
    },
    /// A connection for a request, when its address is known.
    Connect {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb of the request.
        verb: Verb,
        /// The base address of the slot's target.
        base: &'a Url,
        /// Where the connection would go.
        address: IpAddr,
    },
    /// The next hop of a redirect.
    Redirect {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb of the request.
        verb: Verb,
        /// The base address of the slot's target.
        base: &'a Url,
        /// The address that the server points to.
        to: &'a Url,
        /// How many hops were followed, this one included.
        hop: u32,
    },
    /// A statement on a database, or a verb that runs none.
    Sql {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The statement; `None` for what runs none (`kind`, `backup`, `restore`).
        statement: Option<&'a str>,
    },
    /// A Docker verb, before a container is looked up.
    Docker {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
    },
    /// A Docker verb on an inspected container.
    Container {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The container as the engine describes it.
        container: ContainerFacts<'a>,
    },
    /// A container that is made, in all that a plugin says of it.
    Create {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The container that is made, as the plugin asks for it.
        creation: Creation<'a>,
    },
    /// A Docker verb on an image.
    Image {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The reference of the image, such as `postgres:17`.
        image: &'a str,
    },
    /// A program inside a container.
    Exec {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The program and its arguments.
        command: &'a [String],
    },
    /// A secret that the plugin asks about, or asks to see.
    Secret {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
    },
    /// A file or folder below the directory of a slot.
    Files {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// Path below the slot's directory.
        path: &'a str,
    },
    /// A program that is started on this host.
    Process {
        /// The slot that the call names.
        slot: &'a str,
        /// The verb that the call uses.
        verb: Verb,
        /// The arguments of the program, without its own name.
        arguments: &'a [String],
    },
}

impl<'a> Operation<'a> {
    /// The name of the slot that the call is made on.
    pub fn slot(&self) -> &'a str {
        match self {
            Self::Http { slot, .. }
            | Self::Connect { slot, .. }
            | Self::Redirect { slot, .. }
            | Self::Sql { slot, .. }
            | Self::Docker { slot, .. }
            | Self::Container { slot, .. }
            | Self::Create { slot, .. }
            | Self::Image { slot, .. }
            | Self::Exec { slot, .. }
            | Self::Secret { slot, .. }
            | Self::Files { slot, .. }
            | Self::Process { slot, .. } => slot,
        }
    }

    /// The verb that the call needs.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Http { verb, .. }
            | Self::Connect { verb, .. }
            | Self::Redirect { verb, .. }
            | Self::Sql { verb, .. }
            | Self::Docker { verb, .. }
            | Self::Container { verb, .. }
            | Self::Create { verb, .. }
            | Self::Image { verb, .. }
            | Self::Secret { verb, .. }
            | Self::Files { verb, .. }
            | Self::Exec { verb, .. }
            | Self::Process { verb, .. } => *verb,
        }
    }
}

impl<'a> Operation<'a> {
    /// The secrets slots whose values the call would carry, unseen by the plugin.
    pub fn secret_slots(&self) -> Vec<&'a str> {
        match self {
            Self::Http { headers, secrets, .. } => {
                let slot_of = |(_, value): &(&str, HeaderValue<'a>)| match value {
                    HeaderValue::Plain(_) => None,
                    HeaderValue::Secret(slot) => Some(*slot),
                };
                headers
                    .iter()
                    .filter_map(slot_of)
                    .chain(secrets.iter().map(|(_, slot)| *slot))
                    .collect()
            }
            Self::Connect { .. }
            | Self::Redirect { .. }
            | Self::Sql { .. }
            | Self::Docker { .. }
            | Self::Container { .. }
            | Self::Create { .. }
            | Self::Image { .. }
            | Self::Exec { .. }
            | Self::Secret { .. }
            | Self::Files { .. }
            | Self::Process { .. } => Vec::new(),
        }
    }
}

/// The gate's decision about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The call may happen.
    Allow,
    /// The call is denied, for the reason in [`Denial`].
    Deny(Denial),
}

/// Which rule denies a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The slot is not bound.
    Unbound,
    /// The verb is not granted on the slot.
    Verb,
    /// The input of the step does not need the verb.
    Input,
    /// Effects are off: plan, observe or dry run.
    EffectsOff,
    /// The path or query of a request is not allowed.
    Path,
    /// A request header is not allowed, or its value is not.
    Header,
    /// The address of a connection is of a class that is not allowed.
    Address,
    /// The server redirects more often than the target allows, or to another place.
    Redirect,
    /// The class of a statement is not allowed, or is unknown.
    Statement,
    /// A relation that a statement names is not allowed.
    Relation,
    /// The filter of the target does not let the container through.
    Container,
    /// The target does not list the image.
    Image,
    /// An argument of a program fits no pattern of the target.
    Argument,
    /// The target does not list a variable of a container that is made.
    Environment,
    /// The path below a directory is not allowed.
    File,
    /// The target does not let a secret go where the call would put it.
    Position,
    /// The call is not among the effects that were approved.
    Approval,
    /// A lock of the run is not held any more.
    Lease,
}

const RULES: &[(Rule, &str)] = &[
    (Rule::Unbound, "unbound"),
    (Rule::Verb, "verb"),
    (Rule::Input, "input"),
    (Rule::EffectsOff, "effects-off"),
    (Rule::Path, "path"),
    (Rule::Header, "header"),
    (Rule::Address, "address"),
    (Rule::Redirect, "redirect"),
    (Rule::Statement, "statement"),
    (Rule::Relation, "relation"),
    (Rule::Container, "container"),
    (Rule::Image, "image"),
    (Rule::Argument, "argument"),
    (Rule::Environment, "environment"),
    (Rule::File, "file"),
    (Rule::Position, "position"),
    (Rule::Approval, "approval"),
    (Rule::Lease, "lease"),
];

impl Rule {
    /// Its name in messages and the audit log.
    pub fn name(self) -> &'static str {
        RULES.iter().find(|(rule, _)| *rule == self).map_or("", |(_, name)| *name)
    }

    /// The key of a target whose value decides, if one does.
    pub fn key(self, of: crate::Capability) -> Option<&'static str> {
        match self {
            Self::Verb => Some("verbs"),
            Self::Path => Some("paths"),
            Self::Header => Some("request_headers"),
            Self::Address => Some("addresses"),
            Self::Redirect => Some("redirects"),
            Self::Statement => Some("statements"),
            Self::Relation => Some("relations"),
            Self::Container => Some("docker"),
            Self::Image => Some("images"),
            Self::Argument if of == crate::Capability::Docker => Some("command"),
            Self::Argument => Some("arguments"),
            Self::Environment => Some("environment"),
            Self::File => Some("files"),
            Self::Position => Some("positions"),
            Self::Unbound | Self::Input | Self::EffectsOff | Self::Approval | Self::Lease => None,
        }
    }
}

/// Why a call is denied. For the operator; the plugin learns only that it was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The rule that denies the call.
    pub rule: Rule,
    /// The slot that the call named.
    pub slot: String,
    /// The verb that the call used.
    pub verb: Verb,
    /// What was asked and what is allowed.
    pub reason: String,
    /// The name of the target that the slot is bound to; empty if it is bound to none.
    pub target: String,
    /// `file:line` of the target whose line would have to change; empty if there is none.
    pub place: String,
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.rule {
            Rule::EffectsOff | Rule::Approval | Rule::Lease => "is denied",
            Rule::Unbound
            | Rule::Verb
            | Rule::Input
            | Rule::Path
            | Rule::Header
            | Rule::Address
            | Rule::Redirect
            | Rule::Statement
            | Rule::Relation
            | Rule::Container
            | Rule::Image
            | Rule::Argument
            | Rule::Environment
            | Rule::File
            | Rule::Position => "is not granted",
        };
        let (verb, slot, rule) = (self.verb.full_name(), &self.slot, self.rule.name());
        write!(f, "`{verb}` on slot `{slot}` {word}: {} (rule `{rule}`", self.reason)?;
        if !self.target.is_empty() {
            write!(f, " of target `{}`", self.target)?;
        }
        if let Some(key) = self.rule.key(self.verb.row().capability) {
            write!(f, ", key `{key}`")?;
        }
        if self.place.is_empty() { write!(f, ")") } else { write!(f, ", {})", self.place) }
    }
}

/// Decides one call of a host function by what the step is granted.
pub fn decide(effective: &Effective, mode: Mode, operation: &Operation<'_>) -> Decision {
    match judge(effective, mode, operation) {
        Ok(()) => Decision::Allow,
        Err(denial) => Decision::Deny(denial),
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
    if mode == Mode::ReadOnly && verb.effect() == Effect::Change {
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
        "{}; that it asked all the same is a mistake in the plugin or in `needed_if` of its manifest",
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
        Operation::Connect { base, address, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_address(target, base, *address)
        }
        Operation::Redirect { base, to, hop, .. } => {
            let TargetKind::Http(target) = kind else { return other_kind() };
            judge_redirect(target, base, to, *hop)
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
    }
}

/// Headers that any plugin may set.
const FREE_HEADERS: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "user-agent",
    "if-none-match",
    "if-modified-since",
];

fn judge_request(
    effective: &Effective,
    slot: &str,
    target: &HttpTarget,
    path: &str,
    headers: &[(&str, HeaderValue<'_>)],
) -> Judged {
    let (plain, _) = canonical_request_path(path)
        .map_err(|error| (Rule::Path, format!("`{}`: {error}", path.escape_debug())))?;
    if !target.paths.is_empty() && !target.paths.iter().any(|pattern| pattern.matches(plain)) {
        let allowed: Vec<_> =
            target.paths.iter().map(|pattern| format!("`{}`", pattern.as_str())).collect();
        return Err((Rule::Path, format!("`{plain}` is none of {}", allowed.join(", "))));
    }
    headers.iter().try_for_each(|(name, value)| judge_header(effective, slot, target, name, *value))
}

fn judge_header(
    effective: &Effective,
    slot: &str,
    target: &HttpTarget,
    name: &str,
    value: HeaderValue<'_>,
) -> Judged {
    let name = name.to_ascii_lowercase();
    let shown = name.escape_debug();
    if let Some(why) = unusable_header(&name) {
        return Err((Rule::Header, format!("`{shown}` {why}")));
    }
    if target.headers.contains_key(&name) {
        return Err((Rule::Header, format!("`{shown}` is set by the target")));
    }
    match value {
        HeaderValue::Plain(text) if text.chars().any(|c| c.is_control() && c != '\t') => {
            Err((Rule::Header, format!("the value of `{shown}` has a control character")))
        }
        HeaderValue::Plain(_)
            if FREE_HEADERS.contains(&name.as_str()) || target.request_headers.contains(&name) =>
        {
            Ok(())
        }
        HeaderValue::Plain(_) => {
            Err((Rule::Header, format!("`{shown}` is not among `request_headers`")))
        }
        HeaderValue::Secret(secret_slot) => {
            judge_position(effective, slot, secret_slot, &SecretPlace::Header(name))
        }
    }
}

/// Whether the secret of `secret_slot` may go into this place of a request on `http_slot`.
fn judge_position(
    effective: &Effective,
    http_slot: &str,
    secret_slot: &str,
    place: &SecretPlace,
) -> Judged {
    let denied = |why: &str| {
        let shown = match place {
            SecretPlace::Header(name) => format!("header `{name}`"),
            SecretPlace::Json(pointer) => format!("JSON `{}` of the body", pointer.escape_debug()),
            SecretPlace::Form(name) => format!("field `{}` of the form", name.escape_debug()),
        };
        Err((
            Rule::Position,
            format!(
                "secret slot `{}` in {shown} of `{http_slot}`: {why}",
                secret_slot.escape_debug()
            ),
        ))
    };
    if let Some(conditional) = effective.conditional_verb(secret_slot, Verb::SecretsUse)
        && !conditional.need.is_granted()
    {
        return denied(&too_narrow(conditional));
    }
    let Some(grant) = effective.get(secret_slot) else { return denied("the slot is not bound") };
    let TargetKind::Secret(secret) = &grant.target.kind else {
        return denied("the slot is not bound to a secret");
    };
    if !grant.verbs.contains(&Verb::SecretsUse) {
        return denied("`use` is not granted");
    }
    if secret
        .positions
        .iter()
        .any(|position| position.slot == http_slot && position.place == *place)
    {
        return Ok(());
    }
    let line = match place {
        SecretPlace::Header(name) => format!("header = {name:?}"),
        SecretPlace::Json(pointer) => format!("json = {pointer:?}"),
        SecretPlace::Form(name) => format!("form = {name:?}"),
    };
    denied(&format!(
        "it is not among the target's `positions`; add {{ slot = {http_slot:?}, {line} }} if that is right"
    ))
}

fn judge_address(target: &HttpTarget, base: &Url, address: IpAddr) -> Judged {
    let policy = target.addresses_for(base);
    if policy.allows(address) {
        return Ok(());
    }
    let class = crate::pattern::AddressClass::of(address).name();
    let host = base.host_str().unwrap_or_default();
    Err((
        Rule::Address,
        format!(
            "`{host}` leads to {address}, a {class} address; add `addresses = [\"{class}\"]` to the target if that is right"
        ),
    ))
}

fn judge_redirect(target: &HttpTarget, base: &Url, to: &Url, hop: u32) -> Judged {
    if hop > target.redirects {
        return Err((
            Rule::Redirect,
            format!("the server redirects, and the target allows {} redirects", target.redirects),
        ));
    }
    let same_origin = base.scheme() == to.scheme()
        && base.host() == to.host()
        && base.port_or_known_default() == to.port_or_known_default();
    let prefix = base.path().trim_end_matches('/');
    let below =
        to.path().strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let (true, Some(rest)) =
        (same_origin && to.username().is_empty() && to.password().is_none(), below)
    else {
        return Err((
            Rule::Redirect,
            "the server redirects to another place than the target".to_owned(),
        ));
    };
    let path = if rest.is_empty() { "/" } else { rest };
    let (plain, _) =
        canonical_request_path(path).map_err(|error| (Rule::Redirect, error.to_string()))?;
    if target.paths.is_empty() || target.paths.iter().any(|pattern| pattern.matches(plain)) {
        return Ok(());
    }
    Err((
        Rule::Redirect,
        "the server redirects to a path that the target does not allow".to_owned(),
    ))
}

fn judge_statement(target: &SqlTarget, statement: &str) -> Judged {
    if target.statements.is_none() && target.relations.is_none() {
        return Ok(());
    }
    let Some(facts) = classify(target.dialect(), statement) else {
        return Err((
            Rule::Statement,
            "the target allows only named classes or relations, and this is not one statement that every reader takes alike"
                .to_owned(),
        ));
    };
    let allows = |class: &StatementClass| {
        target.statements.as_ref().is_none_or(|classes| classes.contains(class))
    };
    if let Some(class) = facts.classes.iter().find(|class| !allows(class)) {
        let allowed: Vec<_> =
            target.statements.iter().flatten().map(|class| format!("`{}`", class.name())).collect();
        return Err((
            Rule::Statement,
            format!("a `{}` statement is none of {}", class.name(), allowed.join(", ")),
        ));
    }
    let Some(relations) = &target.relations else { return Ok(()) };
    // A statement that changes something and names no relation (`vacuum`), or that is not
    // understood, may concern every relation.
    let only_reads = facts.classes.iter().all(|class| *class == StatementClass::Select);
    let may_be_anything = facts.classes.contains(&StatementClass::Other)
        || (!only_reads && facts.relations.is_empty());
    if may_be_anything || facts.relations.contains("*") {
        let classes: Vec<_> = facts.classes.iter().map(|class| class.name()).collect();
        let message = format!(
            "a `{}` statement that may be about every relation; the target names relations",
            classes.join("`, `")
        );
        return Err((Rule::Relation, message));
    }
    if let Some(function) =
        facts.relations.iter().find_map(|name| name.strip_prefix(crate::pattern::FUNCTION))
    {
        let message = format!(
            "`{function}` may read any relation, and the target names relations: ask for what it does by a view that the target names, or \
             leave `relations` out and give the step a role that may see no more"
        );
        return Err((Rule::Relation, message));
    }
    match facts.relations.iter().find(|relation| !relations.contains(relation)) {
        Some(relation) => {
            Err((Rule::Relation, format!("`{relation}` is not among the target's relations")))
        }
        None => Ok(()),
    }
}

fn judge_container(target: &DockerTarget, container: ContainerFacts<'_>) -> Judged {
    if target.filter.matches(container) {
        return Ok(());
    }
    Err((
        Rule::Container,
        format!("container `{}` is not one of the target's", container.name.escape_debug()),
    ))
}

fn judge_image(target: &DockerTarget, image: &str) -> Judged {
    if target.images.iter().any(|pattern| crate::pattern_matches(pattern, image)) {
        return Ok(());
    }
    Err((
        Rule::Image,
        format!("image `{}` is not among the target's `images`", image.escape_debug()),
    ))
}

/// Without a command the image says what runs, and images are named by the target.
fn judge_creation(target: &DockerTarget, creation: &Creation<'_>) -> Judged {
    judge_image(target, creation.image)?;
    judge_container(target, creation.container)?;
    if !creation.command.is_empty() {
        judge_command(&target.command, creation.command)?;
    }
    creation.environment.iter().try_for_each(|(name, value)| judge_variable(target, name, value))
}

fn judge_variable(target: &DockerTarget, name: &str, value: &str) -> Judged {
    if !is_name(name) {
        return Err((
            Rule::Environment,
            format!("`{}` is not the name of a variable", name.escape_debug()),
        ));
    }
    if value.contains('\0') {
        return Err((Rule::Environment, format!("the value of the variable `{name}` has a NUL")));
    }
    let variable = format!("{name}={value}");
    if target.environment.iter().any(|pattern| crate::pattern_matches(pattern, &variable)) {
        return Ok(());
    }
    Err((
        Rule::Environment,
        format!("the variable `{name}`, with this value, is not among the target's `environment`"),
    ))
}

/// Judges that a program that may only read is run by the verb `inspect`, and any other by `run`,
/// whatever verbs the target lists.
fn judge_program(target: &ProcessTarget, verb: Verb, arguments: &[String]) -> Judged {
    match (target.read_only, verb) {
        (true, Verb::ProcessInspect) | (false, Verb::ProcessRun) => {
            judge_command(&target.arguments, arguments)
        }
        (true, _) => {
            Err((Rule::Verb, "the target's program may only read (`read_only`)".to_owned()))
        }
        (false, _) => Err((
            Rule::Verb,
            "the target does not say that its program only reads; add `read_only = true`"
                .to_owned(),
        )),
    }
}

fn judge_command(patterns: &[crate::pattern::ArgumentPattern], arguments: &[String]) -> Judged {
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err((Rule::Argument, "an argument has a NUL".to_owned()));
    }
    match first_mismatch(patterns, arguments) {
        None => Ok(()),
        Some((position, expected)) => {
            Err((Rule::Argument, format!("argument {position} must be {expected}")))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
