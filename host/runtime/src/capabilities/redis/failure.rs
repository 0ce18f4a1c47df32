//! Why a command has no answer, and the fault that the caller gets.

use crate::fault::{Fault, FaultClass};
use crate::limits::format_limit;
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
            "ERR" if self.message.starts_with("max number of clients") => {
                (FaultClass::Transient, "redis.no-connection-left")
            }
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

/// What the operator can do about an answer, if the answer does not say it.
fn help(reply: &ServerReply) -> &'static str {
    let message = reply.message.as_str();
    match reply.code.as_str() {
        "ERR" if message.starts_with("max number of clients") => {
            ": its connections are used up (`maxclients`)"
        }
        "NOAUTH" => " The target names no `password`.",
        "NOPERM" if message.contains("'command|info'") => {
            "; the user needs `+command`, because the host asks first what each command does"
        }
        _ => "",
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
    /// The server does not speak the protocol; with the beginning of what it said instead.
    Protocol(String),
    /// The connection broke before the server had answered anything.
    Unanswered(String),
    /// The server accepted the connection and answered no TLS handshake within this time.
    NoTls(Duration),
    /// The connection broke.
    Broken(String),
    /// The call took longer than this.
    TimedOut(Duration),
}

impl Failure {
    /// The failure for an error of the library.
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Protocol(String::new()),
            _ => match error.code() {
                Some(code) => Self::Server(ServerReply {
                    code: code.to_owned(),
                    message: error.detail().unwrap_or_default().to_owned(),
                }),
                None => Self::Broken(error.to_string()),
            },
        }
    }

    /// The failure of a connection that broke or cannot be understood, after the server had sent
    /// `heard` in place of an answer.
    pub(super) fn after(self, heard: &[u8], has_answered: bool) -> Self {
        // A whole line or nothing: what is cut off may begin a secret that is not recognized.
        let line = || {
            let text = String::from_utf8_lossy(heard);
            text.split_once('\n').map_or_else(String::new, |(line, _)| line.trim_end().to_owned())
        };
        // Later than the first answer, it may be a part of a value.
        if has_answered {
            return self;
        }
        match (self, heard.first()) {
            // An alert or a handshake of TLS.
            (Self::Broken(_) | Self::Protocol(_), Some(0x15 | 0x16)) => {
                Self::Unanswered("it answered in TLS".to_owned())
            }
            (Self::Broken(_), Some(b'-')) => {
                let line = line();
                let error = line.strip_prefix('-').unwrap_or_default();
                let (code, message) = error.split_once(' ').unwrap_or((error, ""));
                Self::Server(ServerReply { code: code.to_owned(), message: message.to_owned() })
            }
            (Self::Broken(reason), Some(b'+' | b':' | b'$' | b'*')) => Self::Broken(reason),
            (Self::Broken(_) | Self::Protocol(_), Some(_)) => Self::Protocol(line()),
            (Self::Broken(reason), None) => Self::Unanswered(reason),
            (other, _) => other,
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
                let what = format!("no answer within {}", format_limit(within));
                new(FaultClass::Timeout, "redis.timeout", what)
            }
            Self::NoTls(within) => {
                let what = format!(
                    "it accepted the connection and answered no TLS within {}; a server without \
                     TLS waits like that: if it has none, write `tls = \"off\"`",
                    format_limit(within)
                );
                new(FaultClass::Timeout, "redis.tls-timeout", what)
            }
            Self::TimedOut(within) => {
                let what = format!("no answer within {}", format_limit(within));
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
                new(class, code, format!("{} {}{}", reply.code, reply.message, help(&reply)))
            }
            Self::TooLarge(limit) => {
                let what =
                    format!("the answer has more than {limit} bytes, `max_bytes` of the target");
                new(FaultClass::Limit, "redis.answer-too-large", what)
            }
            Self::Protocol(heard) => {
                let said = if heard.is_empty() {
                    String::new()
                } else {
                    format!(" (it said `{}`)", heard.escape_debug())
                };
                let what = format!("it does not speak the protocol of Redis{said}");
                in_doubt(FaultClass::Assertion, "redis.protocol", what)
            }
            Self::Unanswered(reason) => in_doubt(
                FaultClass::Transient,
                "redis.broken",
                format!("the connection broke before it answered anything: {reason}"),
            ),
            Self::Broken(reason) => in_doubt(
                FaultClass::Transient,
                "redis.broken",
                format!("the connection broke: {reason}"),
            ),
        }
    }
}
