//! Why a message was not taken, and the fault that the caller gets.

use crate::fault::{Fault, FaultClass};
use crate::net::allowed_addresses::ConnectError;
use crate::net::handshake::TlsFailure;
use std::time::Duration;

/// What had left the host before a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// No message that the server could take.
    Nothing,
    /// A whole message.
    Message,
}

/// What a server answers to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// Its three digits.
    pub(super) code: u16,
    /// The texts of its lines.
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// Whether the server has done what it was asked for.
    pub(super) fn is_good(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether the server may do it later.
    fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" "))
    }
}

/// Why a message was not taken, or no dialogue begun.
#[derive(Debug)]
pub(super) enum Failure {
    /// The gate, a secret or a limit of the host has stopped the call.
    Refused(Fault),
    Connect(ConnectError),
    Tls(TlsFailure),
    /// The server does not offer `STARTTLS`, or does not do it.
    NoStartTls(String),
    /// The server has sent something after `STARTTLS` that is not encrypted.
    InjectedBeforeTls,
    /// The server has sent something that it was not asked for.
    OutOfTurn,
    /// The server offers no way to log in that is spoken here.
    NoLogin,
    /// The server does not accept the user or the password.
    Login(Reply),
    /// The server does not accept a command, named here.
    Command(&'static str, Reply),
    /// The server does not accept these recipients.
    Recipients(Vec<(String, Reply)>),
    /// The message has more bytes than the server takes.
    TooLarge {
        bytes: usize,
        limit: usize,
    },
    /// The server does not speak the protocol.
    Protocol(String),
    /// The connection broke.
    Broken(String),
    /// The call took longer than this.
    TimedOut(Duration),
}

/// The end of a message about a failure after which nobody knows whether the message was taken.
const MAY_BE_DELIVERED: &str = "the whole message was sent, and it may be delivered";

impl Failure {
    /// The fault for the guest. `place` is the server, such as `mail.example:465`.
    pub(super) fn into_fault(self, place: &str, sent: Sent) -> Fault {
        match self {
            Self::Refused(fault) | Self::Connect(ConnectError::Refused(fault)) => fault,
            other => {
                let (class, code, what) = other.class_code_and_words();
                match sent {
                    Sent::Nothing => Fault::new(class, code, format!("{place}: {what}")),
                    // After the message was sent, only an answer says what has become of it; and a
                    // refusal is one, after which `Sent` is `Nothing`.
                    Sent::Message => {
                        let message = format!("{place}: {what}; {MAY_BE_DELIVERED}");
                        if class == FaultClass::Timeout {
                            Fault::new(class, code, message)
                        } else {
                            Fault::new(FaultClass::Unknown, "mail.in-doubt", message)
                        }
                    }
                }
            }
        }
    }

    fn class_code_and_words(self) -> (FaultClass, &'static str, String) {
        match self {
            // Both were handled before.
            Self::Refused(fault) | Self::Connect(ConnectError::Refused(fault)) => {
                (fault.class, "mail.refused", fault.message)
            }
            Self::Connect(ConnectError::Resolve(error)) => (
                FaultClass::Transient,
                "mail.resolve",
                format!("its name cannot be resolved: {error}"),
            ),
            Self::Connect(ConnectError::Connect(error)) => (
                FaultClass::Transient,
                "mail.connect",
                format!("it cannot be connected to: {error}"),
            ),
            Self::Connect(ConnectError::TimedOut(within)) | Self::TimedOut(within) => {
                (FaultClass::Timeout, "mail.timeout", format!("no answer within {within:?}"))
            }
            Self::Tls(failure) => of_tls(failure),
            Self::NoStartTls(why) => (
                FaultClass::Assertion,
                "mail.tls-missing",
                format!("{why}, and nothing is sent without encryption"),
            ),
            Self::InjectedBeforeTls => (
                FaultClass::Assertion,
                "mail.tls-injection",
                "something without encryption came after STARTTLS, which somebody on the way may \
                 have put there"
                    .to_owned(),
            ),
            Self::OutOfTurn => {
                let what = "it sent something that it was not asked for".to_owned();
                (FaultClass::Assertion, "mail.protocol", what)
            }
            Self::NoLogin => {
                let what = "it offers neither AUTH PLAIN nor AUTH LOGIN on this connection";
                (FaultClass::Invalid, "mail.login", what.to_owned())
            }
            Self::Login(reply) if reply.is_transient() => {
                (FaultClass::Transient, "mail.try-later", format!("it lets nobody in now: {reply}"))
            }
            Self::Login(reply) => (
                FaultClass::Invalid,
                "mail.login",
                format!("it does not accept the login: {reply}"),
            ),
            Self::Command(command, reply) if reply.is_transient() => (
                FaultClass::Transient,
                "mail.try-later",
                format!("it does not accept {command} now: {reply}"),
            ),
            Self::Command(command, reply) => (
                FaultClass::Invalid,
                "mail.refused",
                format!("it does not accept {command}: {reply}"),
            ),
            Self::Recipients(refused) => of_recipients(&refused),
            Self::TooLarge { bytes, limit } => (
                FaultClass::Limit,
                "mail.message-too-large",
                format!("the message has {bytes} bytes, and the server takes at most {limit}"),
            ),
            Self::Protocol(what) => {
                (FaultClass::Assertion, "mail.protocol", format!("it does not speak SMTP: {what}"))
            }
            Self::Broken(why) => {
                (FaultClass::Transient, "mail.broken", format!("the connection broke: {why}"))
            }
        }
    }
}

fn of_tls(failure: TlsFailure) -> (FaultClass, &'static str, String) {
    match failure {
        TlsFailure::Interrupted(reason) => (FaultClass::Transient, "mail.tls-broken", reason),
        TlsFailure::Certificate(reason) => (FaultClass::Assertion, "mail.certificate", reason),
        TlsFailure::Protocol(reason) => (FaultClass::Assertion, "mail.tls-protocol", reason),
        TlsFailure::ClientRejected(reason) => {
            (FaultClass::Invalid, "mail.client-certificate", reason)
        }
        TlsFailure::LocalSetup(reason) => (FaultClass::Invalid, "mail.tls", reason),
    }
}

/// Some recipients are refused. If a later try may be better for each of them, the fault is
/// transient.
fn of_recipients(refused: &[(String, Reply)]) -> (FaultClass, &'static str, String) {
    let listed: Vec<_> =
        refused.iter().map(|(address, reply)| format!("{address} ({reply})")).collect();
    let what = format!("it does not accept {}; nobody gets the message", listed.join(", "));
    if refused.iter().all(|(_, reply)| reply.is_transient()) {
        (FaultClass::Transient, "mail.try-later", what)
    } else {
        (FaultClass::Invalid, "mail.recipient", what)
    }
}
