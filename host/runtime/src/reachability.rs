//! Tries whether the target of a slot answers, without a plugin.
//!
//! A try changes nothing: it connects, logs in and reads what an answer says. It goes to the same
//! addresses, with the same certificates and secrets, as the host functions of a call with these
//! grants.

use crate::fault::{Fault, FaultClass};
use crate::host::{CallId, Host};
use crate::limits::CallLimits;
use crate::services::Services;
use runbook_authority::gate::{Mode, Rule};
use runbook_authority::{EffectiveGrants, Grant, VerbEffect};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One target to try: a slot of a call, and the id of that call for the audit log.
#[derive(Debug, Clone)]
pub struct ReachRequest {
    /// What the call is granted.
    pub grants: Arc<EffectiveGrants>,
    /// The slot that is bound to the target.
    pub slot: String,
    /// The id of the run in the audit log.
    pub run: String,
    /// The id of the step that has the slot.
    pub step: String,
    /// How long the try may take, at most.
    pub timeout: Duration,
}

/// Why a target does not answer as it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// The kind of reason.
    pub reason: UnreachableReason,
    /// What happened, in one line, without secrets.
    pub message: String,
}

/// The kinds of reasons why a target does not answer as it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnreachableReason {
    /// Its name has no address.
    Name,
    /// Its name leads to an address that the target does not allow.
    Address,
    /// Nobody accepts a connection, or the connection broke.
    Connection,
    /// There is no encrypted connection: a certificate, a host key, a protocol, a file of the
    /// target.
    Tls,
    /// It does not accept the user, the password or the token, or the secret cannot be read.
    Credentials,
    /// The proxy of the target makes no connection: it cannot be used, refuses, or cannot reach the
    /// server.
    Proxy,
    /// It did not answer in time.
    Timeout,
    /// It answers, and cannot serve now: it is starting, or its connections are used up.
    Busy,
    /// A file, directory or program is not there, or is not what the target pins.
    Local,
    /// It was not tried: its secret comes from a program that may change something.
    Withheld,
    /// Another reason.
    Other,
}

impl UnreachableReason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Name,
        Self::Address,
        Self::Connection,
        Self::Tls,
        Self::Credentials,
        Self::Proxy,
        Self::Timeout,
        Self::Busy,
        Self::Local,
        Self::Withheld,
        Self::Other,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Address => "address",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Credentials => "credentials",
            Self::Proxy => "proxy",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Local => "local",
            Self::Withheld => "withheld",
            Self::Other => "other",
        }
    }

    /// The reason of a fault.
    fn of(fault: &Fault) -> Self {
        if fault.code == runbook_contract::SECRET_WITHHELD {
            return Self::Withheld;
        }
        let (capability, code) = fault.code.split_once('.').unwrap_or(("", &fault.code));
        match (capability, code) {
            ("proxy", _) => Self::Proxy,
            ("secrets", _)
            | (_, "login" | "privilege" | "superuser" | "password")
            | ("objects", "keys" | "access-denied")
            | ("ssh", "key" | "agent") => Self::Credentials,
            ("files" | "process", _) | (_, "no-database" | "no-such-database" | "socket") => {
                Self::Local
            }
            ("ssh", "host-key" | "known-hosts" | "protocol") => Self::Tls,
            (_, "resolve") => Self::Name,
            (_, "not-ready" | "no-connection-left" | "too-many-connections") => Self::Busy,
            (_, code) if code.contains("tls") || code.contains("certificate") => Self::Tls,
            (_, "connect" | "broken" | "unavailable" | "engine-away" | "dns-connect") => {
                Self::Connection
            }
            _ => match fault.class {
                FaultClass::Timeout => Self::Timeout,
                FaultClass::Transient => Self::Connection,
                FaultClass::Denied
                | FaultClass::NotFound
                | FaultClass::Invalid
                | FaultClass::Conflict
                | FaultClass::Assertion
                | FaultClass::Limit
                | FaultClass::Cancelled
                | FaultClass::Unknown => Self::Other,
            },
        }
    }
}

impl fmt::Display for UnreachableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tries whether the target of a slot answers. Returns what answered, in one line.
///
/// # Errors
/// [`Unreachable`]: the target does not answer, or not as it must. A slot that is not bound is
/// [`UnreachableReason::Other`].
pub async fn reach(request: &ReachRequest, services: Services) -> Result<String, Unreachable> {
    let id = CallId {
        run: request.run.clone(),
        step: request.step.clone(),
        attempt: 1,
        plugin: "runbook".into(),
        digest: "none".into(),
    };
    let mode = request.grants.get(&request.slot).map_or(Mode::ReadOnly, mode_of);
    let mut host = Host::new(
        Arc::clone(&request.grants),
        mode,
        Arc::new(services),
        Arc::new(CallLimits::default()),
        id,
        Instant::now() + request.timeout,
    );
    let tried = tokio::time::timeout(request.timeout, host.reach(&request.slot)).await;
    let answer = tried.unwrap_or_else(|_| {
        let message = format!("no answer within {}", crate::limits::format_limit(request.timeout));
        Err(Fault::new(FaultClass::Timeout, "timeout", message))
    });
    answer.map_err(|fault| {
        let is_address_denial =
            fault.class == FaultClass::Denied && host.last_denied_rule() == Some(Rule::Address);
        let reason = if is_address_denial {
            UnreachableReason::Address
        } else {
            UnreachableReason::of(&fault)
        };
        let fault = host.scrubbed_fault(host.with_denial_reason(fault));
        Unreachable { reason, message: fault.message }
    })
}

/// A grant without a reading verb is tried by connecting for one that changes; nothing is sent that
/// could change something.
fn mode_of(grant: &Grant) -> Mode {
    if grant.verbs.iter().any(|verb| verb.effect() == VerbEffect::Read) {
        Mode::ReadOnly
    } else {
        Mode::Effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{effective_grants, fixed_resolver};
    use std::path::Path;

    async fn tried(targets: &str, verbs: &'static [&'static str]) -> Result<String, Unreachable> {
        let grants = effective_grants(&[("slot", verbs, "target")], targets, Path::new("/"));
        let request = ReachRequest {
            grants: Arc::new(grants),
            slot: "slot".to_owned(),
            run: "run".to_owned(),
            step: "step".to_owned(),
            timeout: Duration::from_secs(20),
        };
        let names: &[(&str, &[&str])] =
            &[("inside.test", &["10.1.2.3"]), ("credentials.test", &["169.254.169.254"])];
        reach(&request, Services { resolver: fixed_resolver(names), ..Services::none() }).await
    }

    /// No packet is sent: nothing here could answer at these addresses.
    #[tokio::test]
    async fn an_address_that_a_target_does_not_allow_is_not_tried_and_named() {
        let cases: [(&str, &'static [&'static str]); 7] = [
            ("http = \"http://NAME\"", &["http.get"]),
            ("http = \"http://NAME\"", &["http.post"]),
            ("sql = \"postgres://u@NAME/d?sslmode=disable\"", &["sql.query"]),
            ("net = \"NAME\"\nports = [25]", &["net.connect"]),
            ("redis = \"NAME\"", &["redis.read"]),
            ("docker = { name = \"a\" }\nengine = \"tcp://NAME\"", &["docker.list"]),
            (
                "objects = \"s3://bucket\"\nendpoint = \"http://NAME\"\nauth = { aws-sigv4 = { \
                 access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
                &["objects.get"],
            ),
        ];
        for (keys, verbs) in cases {
            for (name, address) in
                [("inside.test", "10.1.2.3"), ("credentials.test", "169.254.169.254")]
            {
                let targets = format!("[targets.target]\n{}\n", keys.replace("NAME", name));
                let why = tried(&targets, verbs).await.unwrap_err();
                assert_eq!(why.reason, UnreachableReason::Address, "{why:?}");
                assert!(why.message.contains(address), "{}", why.message);
            }
        }
    }

    #[test]
    fn each_reason_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            UnreachableReason::ALL.into_iter().map(UnreachableReason::name).collect();
        assert_eq!(names.len(), UnreachableReason::ALL.len());
    }
}
