//! Why a command has no answer, and the fault that the caller gets.

use crate::fault::{Fault, FaultClass};
use crate::net::allowed_addresses::ConnectError;
use crate::net::handshake::TlsFailure;
use ::redis::{ErrorKind, RedisError};
use std::time::Duration;

/// What had left the host before a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing that changes anything.
    Nothing,
    /// A command that may change something.
    Change,
}

/// An error that the server answers.
#[derive(Debug)]
pub(super) struct ServerReply {
    /// Its first word, such as `ERR` or `WRONGTYPE`.
    pub(super) code: String,
    /// The rest.
    pub(super) message: String,
}

/// Codes of errors that a server reports instead of running a command.
const BEFORE_THE_COMMAND: &[&str] = &[
    "WRONGTYPE",
    "NOPERM",
    "NOAUTH",
    "READONLY",
    "LOADING",
    "BUSY",
    "OOM",
    "MISCONF",
    "MOVED",
    "ASK",
    "CROSSSLOT",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "NOREPLICAS",
    "TRYAGAIN",
];

impl ServerReply {
    /// Whether the server reports this error before it runs a command.
    pub(super) fn is_before_the_command(&self) -> bool {
        BEFORE_THE_COMMAND.contains(&self.code.as_str())
            || self.message.starts_with("wrong number of arguments")
            || self.message.starts_with("unknown command")
    }

    /// Whether the server does not know a subcommand of `COMMAND`.
    pub(super) fn is_unknown_subcommand(&self) -> bool {
        ["unknown subcommand", "Unknown subcommand", "unknown command"]
            .iter()
            .any(|words| self.message.starts_with(words))
    }

    fn class_and_code(&self) -> (FaultClass, &'static str) {
        match self.code.as_str() {
            "WRONGTYPE" => (FaultClass::Conflict, "redis.wrong-type"),
            "NOAUTH" | "WRONGPASS" => (FaultClass::Invalid, "redis.login"),
            "NOPERM" => (FaultClass::Invalid, "redis.permission"),
            "READONLY" => (FaultClass::Conflict, "redis.replica"),
            "MISCONF" | "NOREPLICAS" | "BUSYKEY" | "BUSYGROUP" => {
                (FaultClass::Conflict, "redis.conflict")
            }
            "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => {
                (FaultClass::Transient, "redis.not-ready")
            }
            "MOVED" | "ASK" | "CROSSSLOT" => (FaultClass::Invalid, "redis.cluster"),
            "OOM" => (FaultClass::Limit, "redis.memory"),
            "NOGROUP" => (FaultClass::NotFound, "redis.not-found"),
            _ => (FaultClass::Invalid, "redis.error"),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The gate, a secret or a limit of the host has stopped the call.
    Refused(Fault),
    Connect(ConnectError),
    Tls(TlsFailure),
    /// The server does not accept the user or the password.
    Login(ServerReply),
    /// The server answers with an error.
    Server(ServerReply),
    /// The answer has more bytes than this.
    TooLarge(usize),
    /// The server does not speak the protocol.
    Protocol,
    /// The connection broke.
    Broken(String),
    /// The call took longer than this.
    TimedOut(Duration),
}

impl Failure {
    /// The failure for an error of the library.
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Protocol,
            _ => match error.code() {
                Some(code) => Self::Server(ServerReply {
                    code: code.to_owned(),
                    message: error.detail().unwrap_or_default().to_owned(),
                }),
                None => Self::Broken(error.to_string()),
            },
        }
    }

    /// The fault for the guest. `place` is the server, such as `cache.internal:6379`.
    pub(super) fn into_fault(self, place: &str, sent: Sent) -> Fault {
        let new = |class, code, what: String| Fault::new(class, code, format!("{place}: {what}"));
        // After a change was sent, only an answer of the server says what has become of it.
        let in_doubt = |class, code, what: String| match sent {
            Sent::Nothing => new(class, code, what),
            Sent::Change => new(
                FaultClass::Unknown,
                "redis.in-doubt",
                format!("{what}; the command was sent, and it may have taken effect"),
            ),
        };
        match self {
            Self::Refused(fault) | Self::Connect(ConnectError::Refused(fault)) => fault,
            Self::Connect(ConnectError::Resolve(error)) => new(
                FaultClass::Transient,
                "redis.resolve",
                format!("its name cannot be resolved: {error}"),
            ),
            Self::Connect(ConnectError::Connect(error)) => new(
                FaultClass::Transient,
                "redis.connect",
                format!("it cannot be connected to: {error}"),
            ),
            Self::Connect(ConnectError::TimedOut(within)) => {
                new(FaultClass::Timeout, "redis.timeout", format!("no answer within {within:?}"))
            }
            Self::TimedOut(within) => {
                let what = format!("no answer within {within:?}");
                let what = match sent {
                    Sent::Nothing => what,
                    Sent::Change => {
                        format!("{what}; the command was sent, and it may have taken effect")
                    }
                };
                new(FaultClass::Timeout, "redis.timeout", what)
            }
            Self::Tls(TlsFailure::Interrupted(reason)) => {
                new(FaultClass::Transient, "redis.tls-broken", reason)
            }
            Self::Tls(TlsFailure::Certificate(reason)) => {
                new(FaultClass::Assertion, "redis.certificate", reason)
            }
            Self::Tls(TlsFailure::Protocol(reason)) => {
                new(FaultClass::Assertion, "redis.tls-protocol", reason)
            }
            Self::Tls(TlsFailure::ClientRejected(reason)) => {
                new(FaultClass::Invalid, "redis.client-certificate", reason)
            }
            Self::Tls(TlsFailure::LocalSetup(reason)) => {
                new(FaultClass::Invalid, "redis.tls", reason)
            }
            Self::Login(reply) => {
                let what =
                    format!("it does not accept the login: {} {}", reply.code, reply.message);
                new(FaultClass::Invalid, "redis.login", what)
            }
            Self::Server(reply) => {
                let (class, code) = reply.class_and_code();
                new(class, code, format!("{} {}", reply.code, reply.message))
            }
            Self::TooLarge(limit) => {
                let what =
                    format!("the answer has more than {limit} bytes, `max_bytes` of the target");
                new(FaultClass::Limit, "redis.answer-too-large", what)
            }
            Self::Protocol => in_doubt(
                FaultClass::Assertion,
                "redis.protocol",
                "it does not speak the protocol of Redis".to_owned(),
            ),
            Self::Broken(reason) => in_doubt(
                FaultClass::Transient,
                "redis.broken",
                format!("the connection broke: {reason}"),
            ),
        }
    }
}
