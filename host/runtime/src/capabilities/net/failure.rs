//! Why a server or a resolver gave no answer, and the fault that the caller gets.

use crate::fault::{Fault, FaultClass};
use crate::limits::format_limit;
use crate::net::allowed_addresses::ConnectError;
use crate::net::dns::NoAnswer;
use crate::net::handshake::TlsFailure;
use std::io;
use std::time::Duration;

/// Why there is no answer.
pub(super) enum Failure {
    ConnectError(ConnectError),
    /// There is no encrypted connection, and the server showed no certificate.
    Tls(TlsFailure),
    /// The connection broke in the middle.
    Broken(io::Error),
    /// The call took longer than this.
    Late(Duration),
    /// The server accepted the connection and did not send this text in time. The number is the
    /// count of bytes that it did send.
    Silent(String, usize),
    /// No resolver answered.
    NoAnswer(NoAnswer),
    /// There is no resolver to ask.
    NoResolver(String),
}

impl Failure {
    pub(super) fn into_fault(self, place: &str) -> Fault {
        let new = |class, code, what: String| Fault::new(class, code, format!("{place}: {what}"));
        match self {
            Self::ConnectError(ConnectError::Refused(fault)) => fault,
            Self::ConnectError(ConnectError::TimedOut(within)) | Self::Late(within) => {
                let what = format!("no answer within {}", format_limit(within));
                new(FaultClass::Timeout, "net.timeout", what)
            }
            Self::ConnectError(ConnectError::Resolve(error)) => new(
                FaultClass::Transient,
                "net.resolve",
                format!("its name cannot be resolved: {error}"),
            ),
            Self::ConnectError(ConnectError::Connect(error)) => new(
                FaultClass::Transient,
                "net.connect",
                format!("cannot be connected to: {error}"),
            ),
            Self::Tls(TlsFailure::Interrupted(reason)) => {
                new(FaultClass::Transient, "net.tls-broken", reason)
            }
            Self::Tls(TlsFailure::Certificate(reason)) => {
                new(FaultClass::Assertion, "net.certificate", reason)
            }
            Self::Tls(TlsFailure::Protocol(reason) | TlsFailure::ClientRejected(reason)) => {
                new(FaultClass::Assertion, "net.tls-protocol", reason)
            }
            Self::Tls(TlsFailure::LocalSetup(reason)) => {
                new(FaultClass::Invalid, "net.tls", reason)
            }
            Self::Broken(error) => new(
                FaultClass::Transient,
                "net.broken",
                format!("the connection broke in the middle: {error}"),
            ),
            Self::Silent(until, bytes) => new(
                FaultClass::Timeout,
                "net.silent",
                format!(
                    "it accepted the connection and did not send `{}` in time; {bytes} bytes came",
                    until.escape_debug()
                ),
            ),
            Self::NoAnswer(NoAnswer::TimedOut(within)) => new(
                FaultClass::Timeout,
                "net.dns-timeout",
                format!("no resolver answered within {}", format_limit(within)),
            ),
            Self::NoAnswer(NoAnswer::Unreachable(resolver, error)) => new(
                FaultClass::Transient,
                "net.dns-connect",
                format!("the resolver {resolver} cannot be reached: {error}"),
            ),
            Self::NoAnswer(NoAnswer::Unreadable(resolver)) => new(
                FaultClass::Assertion,
                "net.dns-protocol",
                format!("the resolver {resolver} gave an answer that cannot be read"),
            ),
            Self::NoAnswer(NoAnswer::InvalidQuestion(why)) => {
                new(FaultClass::Invalid, "net.dns-name", format!("it cannot be asked for: {why}"))
            }
            Self::NoResolver(why) => new(
                FaultClass::Invalid,
                "net.no-resolver",
                format!("{why}; name one as `resolver` of the target"),
            ),
        }
    }
}
