//! Why a request has no answer, and the fault that its caller gets.

use super::body::Unread;
use super::decoding::Damage;
use crate::fault::{Fault, FaultClass};
use crate::net::handshake::TlsFailure;
use crate::net::judged::Unreached;
use runbook_authority::VerbEffect;
use std::time::Duration;

/// Why there is no answer.
pub(super) enum Failure {
    Unreached(Unreached),
    Tls(TlsFailure),
    /// The server does not accept the certificate of this host, and so has not looked at the
    /// request.
    RefusedClient(String),
    /// It failed before any byte of the request went out.
    Unsent(hyper::Error),
    /// It failed after that, and before the head of an answer: the other side may have acted.
    Unanswered(hyper::Error),
    /// It failed in the body of the answer, or where its head should be.
    Broken(hyper::Error),
    /// The body of the answer is not encoded as the answer says.
    Damaged(Damage),
}

impl Failure {
    /// Whether the connection was lost before anything of an answer could be read.
    pub(super) fn is_without_answer(&self) -> bool {
        match self {
            Self::Unsent(_) | Self::Unanswered(_) => true,
            Self::Unreached(_)
            | Self::Tls(_)
            | Self::RefusedClient(_)
            | Self::Broken(_)
            | Self::Damaged(_) => false,
        }
    }

    pub(super) fn into_fault(self, place: &str, effect: VerbEffect) -> Fault {
        let new = |class, code, what: String| Fault::new(class, code, format!("{place}: {what}"));
        match self {
            Self::Unreached(Unreached::Refused(fault)) => fault,
            Self::Unreached(Unreached::Late(within)) => late(place, within),
            Self::Unreached(Unreached::Resolve(error)) => new(
                FaultClass::Transient,
                "http.resolve",
                format!("its name cannot be resolved: {error}"),
            ),
            Self::Unreached(Unreached::Connect(error)) => new(
                FaultClass::Transient,
                "http.connect",
                format!("cannot be connected to: {error}"),
            ),
            // Nothing of the request was sent, so each of these is as harmless as no connection.
            Self::Tls(TlsFailure::Cut(reason)) => {
                new(FaultClass::Transient, "http.tls-broken", reason)
            }
            Self::Tls(TlsFailure::Certificate(reason)) => {
                new(FaultClass::Assertion, "http.certificate", reason)
            }
            Self::Tls(TlsFailure::Protocol(reason)) => {
                new(FaultClass::Assertion, "http.tls-protocol", reason)
            }
            Self::RefusedClient(reason) | Self::Tls(TlsFailure::Client(reason)) => {
                new(FaultClass::Invalid, "http.client-certificate", reason)
            }
            Self::Tls(TlsFailure::Here(reason)) => new(FaultClass::Invalid, "http.tls", reason),
            Self::Unsent(error) => new(FaultClass::Transient, "http.connect", chain(&error)),
            Self::Broken(error) if error.is_parse() => new(
                after_request(effect, FaultClass::Assertion),
                "http.protocol",
                format!("the answer is not HTTP: {}", chain(&error)),
            ),
            Self::Damaged(Damage(what)) => new(
                after_request(effect, FaultClass::Assertion),
                "http.encoding",
                format!("the body of the answer cannot be decoded: {what}"),
            ),
            Self::Unanswered(error) | Self::Broken(error) => new(
                after_request(effect, FaultClass::Transient),
                "http.broken",
                format!("the connection broke before the answer was complete: {}", chain(&error)),
            ),
        }
    }
}

/// A server that took longer than it was waited for.
pub(super) fn late(place: &str, within: Duration) -> Fault {
    let message = format!("{place} did not answer within {within:?}");
    Fault::new(FaultClass::Timeout, "http.timeout", message)
}

/// The class of what went wrong when the request was out: without a whole answer nobody knows
/// whether a change was made.
fn after_request(effect: VerbEffect, of_read: FaultClass) -> FaultClass {
    match effect {
        VerbEffect::Read => of_read,
        VerbEffect::Change => FaultClass::Unknown,
    }
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Broken(error) => Self::Broken(error),
            Unread::Damaged(damage) => Self::Damaged(damage),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
