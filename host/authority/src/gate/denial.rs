//! The decision of the gate, and the rules by which it denies a request.

use crate::capability::Verb;

/// The gate's decision about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateDecision {
    /// The call may happen.
    Allow,
    /// The call is denied, for the reason in [`Denial`].
    Deny(Denial),
}

/// The rule that denies a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The slot is not bound.
    Unbound,
    /// The verb is not granted on the slot.
    Verb,
    /// The input of the step does not need the verb.
    Input,
    /// The step may only read: it is a plan, an observation or a dry run.
    EffectsOff,
    /// The path or query of a request is not allowed.
    Path,
    /// A request header is not allowed, or its value is not.
    Header,
    /// A token is not from the server that the target names.
    Auth,
    /// The address of a connection is of a class that is not allowed.
    Address,
    /// The target is reached through a gateway, or not through this one.
    Via,
    /// The server redirects more often than the target allows, or to an address outside of it.
    Redirect,
    /// The target is reached through another socket, or through none.
    Socket,
    /// The target does not let the health of the service be asked for.
    Service,
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
    /// The path below a directory fits no pattern of the target.
    FilePattern,
    /// The file is younger than the target lets be removed.
    FileAge,
    /// The call would put a secret where the target does not allow it.
    Position,
    /// The target does not list the host.
    Host,
    /// The target does not list the port.
    Port,
    /// A line fits no pattern of what may be said to a server.
    Questions,
    /// The target does not let the name be looked up.
    Name,
    /// The resolver is not the one that the target names.
    Resolver,
    /// The target does not let the mount point be seen.
    Mount,
    /// The target does not let processes of the name be seen.
    ProcessName,
    /// A command of Redis is not allowed, or is unknown.
    Command,
    /// A key that a command uses is not allowed, or cannot be told.
    Key,
    /// The subject or the text of a message has characters that no message can have, or is too
    /// long.
    Message,
    /// The call has sent as many messages as the target allows.
    Messages,
    /// The target does not let the unit be seen.
    Unit,
    /// The target does not let the unit be changed.
    Control,
    /// A key of an object, or the beginning of keys, is not canonical.
    Object,
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
    (Rule::Auth, "auth"),
    (Rule::Address, "address"),
    (Rule::Via, "via"),
    (Rule::Redirect, "redirect"),
    (Rule::Socket, "socket"),
    (Rule::Service, "service"),
    (Rule::Statement, "statement"),
    (Rule::Relation, "relation"),
    (Rule::Container, "container"),
    (Rule::Image, "image"),
    (Rule::Argument, "argument"),
    (Rule::Environment, "environment"),
    (Rule::File, "file"),
    (Rule::FilePattern, "pattern"),
    (Rule::FileAge, "age"),
    (Rule::Position, "position"),
    (Rule::Host, "host"),
    (Rule::Port, "port"),
    (Rule::Questions, "questions"),
    (Rule::Name, "name"),
    (Rule::Resolver, "resolver"),
    (Rule::Mount, "mount"),
    (Rule::ProcessName, "process"),
    (Rule::Command, "command"),
    (Rule::Key, "key"),
    (Rule::Object, "object"),
    (Rule::Message, "message"),
    (Rule::Messages, "messages"),
    (Rule::Unit, "unit"),
    (Rule::Control, "control"),
    (Rule::Approval, "approval"),
    (Rule::Lease, "lease"),
];

impl Rule {
    /// Its name in messages and the audit log.
    pub fn name(self) -> &'static str {
        RULES.iter().find(|(rule, _)| *rule == self).map_or("", |(_, name)| *name)
    }

    /// The key of a target of this capability that the rule checks; `None` if it checks no key.
    pub fn key(self, capability: crate::Capability) -> Option<&'static str> {
        match self {
            Self::Verb => Some("verbs"),
            Self::Path => Some("paths"),
            Self::Header => Some("request_headers"),
            Self::Auth => Some("auth"),
            Self::Address => Some("addresses"),
            Self::Via => Some("via"),
            Self::Redirect => Some("redirects"),
            Self::Socket => Some("socket"),
            Self::Service => Some("services"),
            Self::Statement => Some("statements"),
            Self::Relation => Some("relations"),
            Self::Container => Some("docker"),
            Self::Image => Some("images"),
            Self::Argument if capability == crate::Capability::Docker => Some("command"),
            Self::Argument => Some("arguments"),
            Self::Environment => Some("environment"),
            Self::File => Some("files"),
            Self::FilePattern => Some("patterns"),
            Self::FileAge => Some("min_age"),
            Self::Position => Some("positions"),
            Self::Host => Some("net"),
            Self::Port => Some("ports"),
            Self::Questions => Some("questions"),
            Self::Name => Some("names"),
            Self::Resolver => Some("resolver"),
            Self::Command => Some("commands"),
            Self::Key => Some("keys"),
            Self::Object => Some("objects"),
            Self::Messages => Some("max_messages"),
            Self::Mount => Some("mounts"),
            Self::ProcessName => Some("processes"),
            Self::Unit => Some("units"),
            Self::Control => Some("control"),
            Self::Unbound
            | Self::Input
            | Self::EffectsOff
            | Self::Message
            | Self::Approval
            | Self::Lease => None,
        }
    }
}

/// Why a call is denied, for the operator. The plugin learns only that the call was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The rule that denies the call.
    pub rule: Rule,
    /// The slot that the call named.
    pub slot: String,
    /// The verb that the call used.
    pub verb: Verb,
    /// What the call asked for, and what is allowed.
    pub reason: String,
    /// The name of the target that the slot is bound to; empty if it is bound to none.
    pub target: String,
    /// `file:line` of the target to change; empty if no change of a target would allow the call.
    pub location: String,
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = match self.rule {
            Rule::EffectsOff | Rule::Message | Rule::Approval | Rule::Lease => "is denied",
            Rule::Unbound
            | Rule::Verb
            | Rule::Input
            | Rule::Path
            | Rule::Header
            | Rule::Auth
            | Rule::Address
            | Rule::Via
            | Rule::Redirect
            | Rule::Socket
            | Rule::Service
            | Rule::Statement
            | Rule::Relation
            | Rule::Container
            | Rule::Image
            | Rule::Argument
            | Rule::Environment
            | Rule::File
            | Rule::FilePattern
            | Rule::FileAge
            | Rule::Position
            | Rule::Host
            | Rule::Port
            | Rule::Questions
            | Rule::Name
            | Rule::Resolver
            | Rule::Mount
            | Rule::ProcessName
            | Rule::Command
            | Rule::Key
            | Rule::Object
            | Rule::Messages
            | Rule::Unit
            | Rule::Control => "is not granted",
        };
        let (verb, slot, rule) = (self.verb.full_name(), &self.slot, self.rule.name());
        write!(f, "`{verb}` on slot `{slot}` {verdict}: {} (rule `{rule}`", self.reason)?;
        if !self.target.is_empty() {
            write!(f, " of target `{}`", self.target)?;
        }
        if let Some(key) = self.rule.key(self.verb.row().capability) {
            write!(f, ", key `{key}`")?;
        }
        if self.location.is_empty() { write!(f, ")") } else { write!(f, ", {})", self.location) }
    }
}
