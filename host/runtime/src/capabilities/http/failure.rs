//! Why a request has no response, and the fault that its caller gets.

use super::body::BodyError;
use super::decoding::DecodeError;
use crate::fault::{Fault, FaultClass};
use crate::net::allowed_addresses::ConnectError;
use crate::net::handshake::TlsFailure;
use crate::net::unix_socket::{SocketError, socket_fault};
use hyper::http::uri::InvalidUri;
use runbook_authority::VerbEffect;
use std::time::Duration;

/// Why there is no response.
pub(in crate::capabilities) enum Failure {
    ConnectError(ConnectError),
    Socket(SocketError),
    Tls(TlsFailure),
    /// The server refused the client certificate, so it has not read the request.
    ClientRejected(String),
    /// No request can have this address. Nothing was sent.
    Address(InvalidUri),
    /// The connection failed before any byte of the request was sent.
    Unsent(hyper::Error),
    /// The connection failed after the request was sent and before the head of a response: the
    /// server may have acted.
    Unanswered(hyper::Error),
    /// The connection failed in the body of the response, or the head is not HTTP.
    Broken(hyper::Error),
    /// The body of the response is not encoded as its headers say.
    Damaged(DecodeError),
}

impl Failure {
    /// Whether the same request may succeed a moment later.
    #[cfg(feature = "objects")]
    pub(in crate::capabilities) fn is_transient(&self) -> bool {
        match self {
            Self::Unsent(_) | Self::Unanswered(_) | Self::Tls(TlsFailure::Interrupted(_)) => true,
            Self::Broken(error) => !error.is_parse(),
            Self::ConnectError(error) => match error {
                ConnectError::Resolve(_) | ConnectError::Connect(_) | ConnectError::TimedOut(_) => {
                    true
                }
                ConnectError::Refused(_) => false,
            },
            Self::Tls(
                TlsFailure::Certificate(_)
                | TlsFailure::Protocol(_)
                | TlsFailure::ClientRejected(_)
                | TlsFailure::LocalSetup(_),
            )
            | Self::Socket(_)
            | Self::ClientRejected(_)
            | Self::Address(_)
            | Self::Damaged(_) => false,
        }
    }

    /// Whether the connection was lost before any byte of a response was read.
    pub(super) fn is_without_answer(&self) -> bool {
        match self {
            Self::Unsent(_) | Self::Unanswered(_) => true,
            Self::ConnectError(_)
            | Self::Socket(_)
            | Self::Tls(_)
            | Self::ClientRejected(_)
            | Self::Address(_)
            | Self::Broken(_)
            | Self::Damaged(_) => false,
        }
    }

    pub(in crate::capabilities) fn into_fault(self, target: &str, effect: VerbEffect) -> Fault {
        let new = |class, code, what: String| Fault::new(class, code, format!("{target}: {what}"));
        match self {
            Self::ConnectError(ConnectError::Refused(fault)) => fault,
            Self::Socket(error) => socket_fault(target, error),
            Self::ConnectError(ConnectError::TimedOut(timeout)) => timeout_fault(target, timeout),
            Self::ConnectError(ConnectError::Resolve(error)) => new(
                FaultClass::Transient,
                "http.resolve",
                format!("its name cannot be resolved: {error}"),
            ),
            Self::ConnectError(ConnectError::Connect(error)) => new(
                FaultClass::Transient,
                "http.connect",
                format!("cannot be connected to: {error}"),
            ),
            // Nothing of the request was sent, so the server cannot have acted.
            Self::Tls(TlsFailure::Interrupted(reason)) => {
                new(FaultClass::Transient, "http.tls-broken", reason)
            }
            Self::Tls(TlsFailure::Certificate(reason)) => {
                new(FaultClass::Assertion, "http.certificate", reason)
            }
            Self::Tls(TlsFailure::Protocol(reason)) => {
                new(FaultClass::Assertion, "http.tls-protocol", reason)
            }
            Self::ClientRejected(reason) | Self::Tls(TlsFailure::ClientRejected(reason)) => {
                new(FaultClass::Invalid, "http.client-certificate", reason)
            }
            Self::Tls(TlsFailure::LocalSetup(reason)) => {
                new(FaultClass::Invalid, "http.tls", reason)
            }
            Self::Address(error) => new(
                FaultClass::Invalid,
                "http.path",
                format!("no request can have this address: {error}"),
            ),
            Self::Unsent(error) => new(FaultClass::Transient, "http.connect", error_chain(&error)),
            Self::Broken(error) if error.is_parse() => new(
                class_after_send(effect, FaultClass::Assertion),
                "http.protocol",
                format!("the answer is not HTTP: {}", error_chain(&error)),
            ),
            Self::Damaged(DecodeError(what)) => new(
                class_after_send(effect, FaultClass::Assertion),
                "http.encoding",
                format!("the body of the answer cannot be decoded: {what}"),
            ),
            Self::Unanswered(error) | Self::Broken(error) => new(
                class_after_send(effect, FaultClass::Transient),
                "http.broken",
                format!(
                    "the connection broke before the answer was complete: {}",
                    error_chain(&error)
                ),
            ),
        }
    }
}

/// The fault for a server that did not answer in time.
pub(super) fn timeout_fault(target: &str, timeout: Duration) -> Fault {
    let timeout = crate::limits::format_limit(timeout);
    let message = format!("{target} did not answer within {timeout}");
    Fault::new(FaultClass::Timeout, "http.timeout", message)
}

/// The class of a fault after the request was sent: without a complete response it is unknown
/// whether a change was made.
fn class_after_send(effect: VerbEffect, class_of_read: FaultClass) -> FaultClass {
    match effect {
        VerbEffect::Read => class_of_read,
        VerbEffect::Change => FaultClass::Unknown,
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken(error) => Self::Broken(error),
            BodyError::Damaged(damage) => Self::Damaged(damage),
        }
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
