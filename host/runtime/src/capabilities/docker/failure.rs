//! The fault for an error of the engine, or of the way to it.

use super::transport::TransportFailure;
use crate::fault::{Fault, FaultClass};
use crate::host::scrubbed_fault;
use crate::net::allowed_addresses::ConnectError;
use crate::net::handshake::{TlsFailure, client_rejection};
use bollard::errors::Error;
use runbook_secrets::Scrubber;
use std::io;

/// The fault for an error of the engine at `place`, without secrets.
pub(super) fn engine_fault(error: &Error, place: &str, scrubber: &Scrubber) -> Fault {
    let fault = match error {
        Error::DockerResponseServerError { status_code, message } => {
            let is_taken = message.contains("is already in use");
            let (class, code) = match status_code {
                // Podman reports it as an error of its own.
                500 if is_taken => (FaultClass::Conflict, "docker.conflict"),
                404 => (FaultClass::NotFound, "docker.not-found"),
                409 => (FaultClass::Conflict, "docker.conflict"),
                400 => (FaultClass::Invalid, "docker.invalid"),
                401 | 403 => (FaultClass::Invalid, "docker.login"),
                _ => (FaultClass::Transient, "docker.engine"),
            };
            // Scrubbed first, because the scrubber would not recognise a secret in lower case.
            Fault::new(class, code, scrubber.text(message).to_lowercase())
        }
        other => way_fault(other, place),
    };
    scrubbed_fault(fault, scrubber)
}

/// Why a request was not sent or its answer not read, if that is the cause of an error.
pub(super) fn transport_failure(error: &Error) -> Option<&TransportFailure> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(first_cause(error));
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(failure) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(failure);
        }
        next = error.source();
    }
    None
}

/// The error in an error of the library, which leaves it out of its own causes.
fn first_cause(error: &Error) -> &(dyn std::error::Error + 'static) {
    match error {
        Error::IOError { err } => err,
        Error::HyperResponseError { err } => err,
        other => other,
    }
}

/// An error and its causes.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether the parts of an answer are not what their lengths say.
fn has_wrong_chunks(error: &hyper::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
            return true;
        }
        next = error.source();
    }
    false
}

fn way_fault(error: &Error, place: &str) -> Fault {
    let new = |class, code, what: String| {
        Fault::new(class, code, format!("the Docker engine at `{place}`: {what}"))
    };
    if let Some(failure) = transport_failure(error) {
        return transport_fault(failure, place);
    }
    if let Some(reason) = client_rejection(first_cause(error)) {
        return new(FaultClass::Invalid, "docker.client-certificate", reason);
    }
    let is_garbage = match error {
        Error::JsonDataError { .. }
        | Error::JsonSerdeError { .. }
        | Error::APIVersionParseError {}
        | Error::StrParseError { .. } => true,
        Error::HyperResponseError { err } => err.is_parse() || has_wrong_chunks(err),
        _ => false,
    };
    if is_garbage {
        let what = "it does not speak the API of Docker".to_owned();
        return new(FaultClass::Assertion, "docker.protocol", what);
    }
    let reasons = reasons(first_cause(error));
    let message = format!("the Docker engine at `{place}` does not answer: {reasons}");
    Fault::new(FaultClass::Transient, "docker.engine-away", message)
}

fn transport_fault(failure: &TransportFailure, place: &str) -> Fault {
    let new = |class, code, what: String| {
        Fault::new(class, code, format!("the Docker engine at `{place}` {what}"))
    };
    let away = |error: &dyn std::fmt::Display, help: &str| {
        let what = format!("does not answer: {error}; {help}");
        new(FaultClass::Transient, "docker.engine-away", what)
    };
    match failure {
        TransportFailure::Socket(error) => away(error, "start it, or set `socket` in the target"),
        TransportFailure::Connect(ConnectError::Refused(fault)) => fault.clone(),
        TransportFailure::Connect(ConnectError::Resolve(error)) => {
            let what = format!("has a name that cannot be resolved: {error}");
            new(FaultClass::Transient, "docker.resolve", what)
        }
        TransportFailure::Connect(ConnectError::Connect(error)) => {
            away(error, "start it, or set `engine` in the target")
        }
        TransportFailure::TimedOut(timeout)
        | TransportFailure::Connect(ConnectError::TimedOut(timeout)) => {
            let what = format!("could not be connected to within {timeout:?}");
            new(FaultClass::Timeout, "docker.timeout", what)
        }
        TransportFailure::Tls(TlsFailure::Interrupted(reason)) => {
            new(FaultClass::Transient, "docker.tls-broken", format!("cut the connection: {reason}"))
        }
        TransportFailure::Tls(TlsFailure::Certificate(reason)) => {
            new(FaultClass::Assertion, "docker.certificate", format!("is not trusted: {reason}"))
        }
        TransportFailure::Tls(TlsFailure::Protocol(reason)) => {
            let what = format!("cannot be spoken to by TLS: {reason}");
            new(FaultClass::Assertion, "docker.tls-protocol", what)
        }
        TransportFailure::Tls(TlsFailure::ClientRejected(reason)) => {
            let what = format!("does not let this host in: {reason}");
            new(FaultClass::Invalid, "docker.client-certificate", what)
        }
        TransportFailure::Tls(TlsFailure::LocalSetup(reason)) => {
            new(FaultClass::Invalid, "docker.tls", format!("cannot be reached by TLS: {reason}"))
        }
        TransportFailure::TooLarge => {
            new(FaultClass::Limit, "docker.answer-too-large", "answers without an end".to_owned())
        }
    }
}
