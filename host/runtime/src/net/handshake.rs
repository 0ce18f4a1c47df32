//! Converts the errors of rustls to failures with a class and a plain reason.

use super::issuer::UntrustedIssuer;
use jiff::Timestamp;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::io;

/// Why a connection could not be encrypted, with a reason in plain words; `it` in a reason is the
/// server.
#[derive(Debug)]
pub(crate) enum TlsFailure {
    /// The handshake was interrupted, or the server was not ready: the next attempt may succeed.
    Interrupted(String),
    /// The certificate of the server is not trusted.
    Certificate(String),
    /// The server does not speak TLS, or no version or cipher that is accepted here.
    Protocol(String),
    /// The server refuses the client certificate of this host, or requires one that is missing.
    ClientRejected(String),
    /// The setup of this host is wrong, such as authorities that cannot be read.
    LocalSetup(String),
}

/// Why the server refused the client certificate, if that is the cause of an error. In TLS 1.3 a
/// server reports it only after the handshake, before it has read any data.
pub(crate) fn client_rejection(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let alert = inner.and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(Error::AlertReceived(alert)) = alert
            && let TlsFailure::ClientRejected(reason) = failure_of_alert(*alert)
        {
            return Some(reason);
        }
        next = error.source();
    }
    None
}

impl From<io::Error> for TlsFailure {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Self::of(error),
            None => Self::Interrupted(format!(
                "the connection broke in the middle of the handshake: {error}"
            )),
        }
    }
}

impl TlsFailure {
    /// In plain words.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Interrupted(why)
            | Self::Certificate(why)
            | Self::Protocol(why)
            | Self::ClientRejected(why)
            | Self::LocalSetup(why) => why,
        }
    }

    pub(crate) fn of(error: &Error) -> Self {
        let protocol = |what: &str| Self::Protocol(what.to_owned());
        match error {
            Error::InvalidCertificate(error) => Self::Certificate(certificate_reason(error)),
            Error::InvalidCertRevocationList(_) => {
                Self::LocalSetup("a list of revoked certificates cannot be used".to_owned())
            }
            Error::NoCertificatesPresented => {
                Self::Certificate("it shows no certificate".to_owned())
            }
            Error::UnsupportedNameType => {
                Self::LocalSetup("its name cannot stand in a certificate".to_owned())
            }
            Error::InvalidMessage(_) => protocol("it does not speak TLS on this port"),
            Error::PeerIncompatible(error) => Self::Protocol(incompatibility_reason(error)),
            Error::AlertReceived(alert) => failure_of_alert(*alert),
            Error::NoApplicationProtocol => {
                protocol("it speaks neither HTTP/2 nor HTTP/1.1 over TLS")
            }
            Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerSentOversizedRecord
            | Error::DecryptError
            | Error::InvalidEncryptedClientHello(_) => protocol("it breaks the rules of TLS"),
            Error::HandshakeNotComplete => {
                Self::Interrupted("the handshake did not end".to_owned())
            }
            Error::EncryptError
            | Error::General(_)
            | Error::FailedToGetCurrentTime
            | Error::FailedToGetRandomBytes
            | Error::BadMaxFragmentSize
            | Error::InconsistentKeys(_)
            | Error::Other(_) => Self::LocalSetup("this host cannot encrypt".to_owned()),
            // Variants of a later rustls.
            _ => protocol("the handshake failed"),
        }
    }
}

/// The failure for a TLS alert of the server.
fn failure_of_alert(alert: AlertDescription) -> TlsFailure {
    use AlertDescription as Alert;
    let protocol = |what: &str| TlsFailure::Protocol(what.to_owned());
    let client_rejected = |reason: &str| {
        TlsFailure::ClientRejected(format!(
            "it refuses the certificate that this host shows: {reason}"
        ))
    };
    match alert {
        Alert::CloseNotify | Alert::UserCanceled | Alert::InternalError => TlsFailure::Interrupted(
            format!("it ended the handshake ({})", words(&format!("{alert:?}"))),
        ),
        Alert::ProtocolVersion => protocol(OLD_VERSION),
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            protocol("it has no cipher in common with this host")
        }
        Alert::UnrecognisedName => protocol("it does not know the name that it is called by"),
        Alert::NoCertificate | Alert::CertificateRequired => TlsFailure::ClientRejected(
            "it wants a certificate of the client, and this host sends none; name one as \
             `client_cert` of the target, with its `client_key`"
                .to_owned(),
        ),
        Alert::CertificateExpired => client_rejected("it has expired, or is not valid yet"),
        Alert::CertificateRevoked => client_rejected("it was revoked"),
        Alert::UnknownCA => client_rejected("its authority is not one that the server knows"),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError => {
            client_rejected(&format!("it says only `{}`", words(&format!("{alert:?}"))))
        }
        Alert::NoApplicationProtocol => protocol("it speaks neither HTTP/2 nor HTTP/1.1 over TLS"),
        other => TlsFailure::Protocol(format!(
            "it refused the handshake ({})",
            words(&format!("{other:?}"))
        )),
    }
}

const OLD_VERSION: &str = "it speaks no version of TLS from 1.2 on";

fn incompatibility_reason(error: &PeerIncompatible) -> String {
    match error {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => OLD_VERSION.to_owned(),
        other => format!("it cannot agree with this host ({})", words(&format!("{other:?}"))),
    }
}

/// The hint for a certificate whose issuer is not trusted.
const CA_HINT: &str = "; if it is right, name the authority's PEM file as `ca` of the target";

/// The problem of a certificate, in plain words.
fn certificate_reason(error: &CertificateError) -> String {
    use CertificateError as CertError;
    let text = match error {
        CertError::ExpiredContext { not_after, .. } => {
            return format!("its certificate expired at {}", time(*not_after));
        }
        CertError::NotValidYetContext { not_before, .. } => {
            return format!("its certificate is not valid before {}", time(*not_before));
        }
        CertError::NotValidForNameContext { expected, presented } => {
            return name_mismatch_reason(expected, presented);
        }
        CertError::Other(other) => {
            return match other.0.downcast_ref::<UntrustedIssuer>() {
                Some(untrusted_issuer) => format!("{untrusted_issuer}{CA_HINT}"),
                None => verifier_reason(&other.0.to_string()),
            };
        }
        CertError::Expired => "its certificate has expired",
        CertError::NotValidYet => "its certificate is not valid yet",
        CertError::NotValidForName => "its certificate is for another name",
        CertError::UnknownIssuer => {
            return format!("{}{CA_HINT}", UntrustedIssuer::Authority(None));
        }
        CertError::Revoked => "its certificate was revoked",
        CertError::UnknownRevocationStatus => "nobody says whether its certificate was revoked",
        CertError::ExpiredRevocationList | CertError::ExpiredRevocationListContext { .. } => {
            "the list of revoked certificates by which its certificate is judged is too old"
        }
        CertError::BadEncoding => "its certificate cannot be read",
        CertError::BadSignature => "the signature of its certificate is wrong",
        CertError::UnsupportedSignatureAlgorithmContext { .. }
        | CertError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed in a way that is too weak or not known here"
        }
        CertError::UnhandledCriticalExtension => {
            "its certificate demands something that is not known here"
        }
        CertError::InvalidPurpose | CertError::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers"
        }
        CertError::InvalidOcspResponse => {
            "what it shows about the revocation of its certificate is wrong"
        }
        CertError::ApplicationVerificationFailure => "its certificate was not accepted",
        // Variants of a later rustls, and deprecated variants.
        _ => "its certificate is not accepted here",
    };
    text.to_owned()
}

/// The reason for an error of the verifier that has no variant in rustls.
fn verifier_reason(name: &str) -> String {
    match name {
        "CaUsedAsEndEntity" => {
            "its certificate is the own certificate of an authority (`CA:TRUE`), which no server \
             may present; issue one for the server"
                .to_owned()
        }
        "NameConstraintViolation" => {
            "its certificate is for a name for which its authority may not issue one".to_owned()
        }
        other => format!("its certificate is not accepted ({})", words(other)),
    }
}

fn name_mismatch_reason(expected: &ServerName<'_>, presented: &[String]) -> String {
    // rustls writes them as `DnsName("a.example")`.
    let plain_name = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let names: Vec<_> = presented.iter().map(plain_name).collect();
    let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
    format!("its certificate is for {names}, not for {}", expected.to_str())
}

fn time(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| "a time that cannot be written".to_owned(), |time| time.to_string())
}

/// The words of a name in camel case: `PathLenConstraintViolated` becomes `path len constraint
/// violated`.
fn words(camel_case: &str) -> String {
    let mut text = String::new();
    for c in camel_case.chars().filter(|c| c.is_alphanumeric()) {
        if c.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::OtherError;
    use std::sync::Arc;

    #[derive(Debug)]
    struct NamedError(&'static str);

    impl std::fmt::Display for NamedError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for NamedError {}

    #[test]
    fn every_certificate_error_becomes_a_plain_reason() {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_700_000_000));
        let other = |name| CertificateError::Other(OtherError(Arc::new(NamedError(name))));
        let named = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("a.example").unwrap(),
            presented: presented.iter().map(|name| format!("DnsName(\"{name}\")")).collect(),
        };
        for error in [
            CertificateError::BadEncoding,
            CertificateError::Expired,
            CertificateError::ExpiredContext { time: now, not_after: now },
            CertificateError::NotValidYet,
            CertificateError::NotValidYetContext { time: now, not_before: now },
            CertificateError::Revoked,
            CertificateError::UnhandledCriticalExtension,
            CertificateError::UnknownIssuer,
            CertificateError::UnknownRevocationStatus,
            CertificateError::ExpiredRevocationList,
            CertificateError::ExpiredRevocationListContext { time: now, next_update: now },
            CertificateError::BadSignature,
            CertificateError::NotValidForName,
            named(&["b.example"]),
            named(&[]),
            CertificateError::InvalidPurpose,
            CertificateError::InvalidOcspResponse,
            CertificateError::ApplicationVerificationFailure,
            other("CaUsedAsEndEntity"),
            other("PathLenConstraintViolated"),
            other("NameConstraintViolation"),
            other("MaximumPathDepthExceeded"),
        ] {
            let shown = format!("{error:?}");
            let TlsFailure::Certificate(text) = TlsFailure::of(&Error::InvalidCertificate(error))
            else {
                panic!("{shown}")
            };
            assert!(text.contains("certificate"), "{text}");
            assert!(
                !text.contains("Other") && !text.contains("Error") && !text.contains("Context"),
                "{text}"
            );
        }
        assert_eq!(
            certificate_reason(&named(&["b.example", "c.example"])),
            "its certificate is for b.example, c.example, not for a.example"
        );
        let expired = CertificateError::ExpiredContext { time: now, not_after: now };
        assert_eq!(certificate_reason(&expired), "its certificate expired at 2023-11-14T22:13:20Z");
        assert_eq!(
            certificate_reason(&other("PathLenConstraintViolated")),
            "its certificate is not accepted (path len constraint violated)"
        );
    }

    #[test]
    fn every_alert_has_a_class() {
        for number in 0..=u8::MAX {
            let alert = AlertDescription::from(number);
            let failure = TlsFailure::of(&Error::AlertReceived(alert));
            let is_transient = matches!(
                alert,
                AlertDescription::CloseNotify
                    | AlertDescription::UserCanceled
                    | AlertDescription::InternalError
            );
            assert_eq!(matches!(failure, TlsFailure::Interrupted(_)), is_transient, "{alert:?}");
            assert!(
                matches!(
                    failure,
                    TlsFailure::Interrupted(_)
                        | TlsFailure::Protocol(_)
                        | TlsFailure::ClientRejected(_)
                ),
                "{alert:?}: {failure:?}"
            );
        }
    }
}
