//! Why a store did not do what it was asked for, and the fault that its caller gets.

use super::xml::XmlError;
use crate::capabilities::http::Failure;
use crate::fault::{Fault, FaultClass};
use runbook_authority::VerbEffect;
use std::time::Duration;

/// Why there is no good answer.
pub(super) enum Problem {
    /// The connection, or HTTP.
    Http(Failure),
    /// Nothing came for this long.
    TimedOut(Duration),
    /// The store refused, with a code and a message of its own.
    Status(Refusal),
    /// The answer is not one of S3.
    Protocol(String),
    /// The object is larger than `limit` bytes, the value of this key of the target.
    TooLarge { limit: u64, key: &'static str },
    /// The object is another than it was when the copy began.
    Replaced,
    /// The host itself stopped the call.
    Fault(Fault),
}

/// What a store says when it refuses.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

/// Whether a change may have reached the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing that changes an object was sent.
    Nothing,
    /// A change was sent.
    Change,
}

impl From<XmlError> for Problem {
    fn from(XmlError(what): XmlError) -> Self {
        Self::Protocol(format!("the answer of the store: {what}"))
    }
}

impl Refusal {
    /// Whether the store says that it did nothing, and may do it later.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    /// Whether the store says that it did nothing.
    pub(super) fn is_without_effect(&self) -> bool {
        self.is_busy() || (300..500).contains(&self.status)
    }

    fn class_and_code(&self, sent: Sent) -> (FaultClass, &'static str) {
        match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket") => (FaultClass::Invalid, "objects.no-bucket"),
            (404, _) => (FaultClass::NotFound, "objects.not-found"),
            (409 | 412, _) => (FaultClass::Conflict, "objects.condition"),
            (416, _) => (FaultClass::Conflict, "objects.replaced"),
            (300..=399, _) => (FaultClass::Invalid, "objects.redirect"),
            (401 | 403, "AccessDenied" | "") => (FaultClass::Invalid, "objects.access-denied"),
            (401 | 403, _) => (FaultClass::Invalid, "objects.keys"),
            (429 | 503, _) => (FaultClass::Transient, "objects.busy"),
            (500..=599, _) if sent == Sent::Change => (FaultClass::Unknown, "objects.server"),
            (500..=599, _) => (FaultClass::Transient, "objects.server"),
            _ => (FaultClass::Invalid, "objects.refused"),
        }
    }
}

impl Problem {
    /// The body of an answer broke off.
    pub(super) fn broken(error: hyper::Error) -> Self {
        Self::Http(Failure::Broken(error))
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Http(failure) => failure.is_transient(),
            Self::TimedOut(_) => true,
            Self::Status(refusal) => refusal.is_busy() || refusal.status >= 500,
            Self::Protocol(_) | Self::TooLarge { .. } | Self::Replaced | Self::Fault(_) => false,
        }
    }

    /// The fault for the guest. `place` is the target.
    pub(super) fn into_fault(self, place: &str, sent: Sent) -> Fault {
        let new = |class, code, what: String| Fault::new(class, code, format!("{place}: {what}"));
        let in_doubt = |class| if sent == Sent::Change { FaultClass::Unknown } else { class };
        match self {
            Self::Fault(fault) => fault,
            Self::Http(failure) => {
                let effect = match sent {
                    Sent::Nothing => VerbEffect::Read,
                    Sent::Change => VerbEffect::Change,
                };
                let mut fault = failure.into_fault(place, effect);
                if let Some(rest) = fault.code.strip_prefix("http.") {
                    fault.code = format!("objects.{rest}");
                }
                fault
            }
            Self::TimedOut(within) => new(
                FaultClass::Timeout,
                "objects.timeout",
                format!(
                    "nothing came for {within:?}, `timeout` of the target or what is left of the step"
                ),
            ),
            Self::Status(refusal) => {
                let (class, code) = refusal.class_and_code(sent);
                let Refusal { status, code: said, message } = refusal;
                let said = if said.is_empty() { String::new() } else { format!(" {said}") };
                let message = if message.is_empty() { message } else { format!(": {message}") };
                new(class, code, format!("the store answered {status}{said}{message}"))
            }
            Self::Protocol(what) => new(in_doubt(FaultClass::Assertion), "objects.protocol", what),
            Self::TooLarge { limit, key } => new(
                FaultClass::Limit,
                "objects.too-large",
                format!("the object has more than {limit} bytes, `{key}` of the target"),
            ),
            Self::Replaced => new(
                FaultClass::Conflict,
                "objects.replaced",
                "the object was replaced while it was copied".to_owned(),
            ),
        }
    }
}
