//! Why there is no encrypted connection, in classes and in plain words. One table of everything
//! that rustls says.

use super::issuer::Untrusted;
use jiff::Timestamp;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::io;

/// Why there is no encrypted connection.
#[derive(Debug)]
pub(crate) enum TlsFailure {
    /// It was cut, or the other side was not ready for it: the next attempt may work.
    Cut(String),
    /// The certificate that was shown is not one to trust.
    Certificate(String),
    /// The other side does not speak TLS, or none that is accepted here.
    Protocol(String),
    /// The other side does not accept who this host says it is: it shows no certificate, or one
    /// that is refused.
    Client(String),
    /// This host cannot make such a connection to anybody: its authorities cannot be read, say.
    Here(String),
}

/// Why the other side refused who this host says it is, if that is what is behind an error. By TLS
/// 1.3 a server says so only after the handshake, when it has not looked at anything else yet.
pub(crate) fn refused_client(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let alert = inner.and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(Error::AlertReceived(alert)) = alert
            && let TlsFailure::Client(reason) = of_alert(*alert)
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
            None => {
                Self::Cut(format!("the connection broke in the middle of the handshake: {error}"))
            }
        }
    }
}

impl TlsFailure {
    /// In plain words.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Cut(why)
            | Self::Certificate(why)
            | Self::Protocol(why)
            | Self::Client(why)
            | Self::Here(why) => why,
        }
    }

    pub(crate) fn of(error: &Error) -> Self {
        let protocol = |what: &str| Self::Protocol(what.to_owned());
        match error {
            Error::InvalidCertificate(error) => Self::Certificate(certificate(error)),
            Error::InvalidCertRevocationList(_) => {
                Self::Here("a list of revoked certificates cannot be used".to_owned())
            }
            Error::NoCertificatesPresented => {
                Self::Certificate("it shows no certificate".to_owned())
            }
            Error::UnsupportedNameType => {
                Self::Here("its name cannot stand in a certificate".to_owned())
            }
            Error::InvalidMessage(_) => protocol("it does not speak TLS on this port"),
            Error::PeerIncompatible(error) => Self::Protocol(incompatible(error)),
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::NoApplicationProtocol => {
                protocol("it speaks neither HTTP/2 nor HTTP/1.1 over TLS")
            }
            Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerSentOversizedRecord
            | Error::DecryptError
            | Error::InvalidEncryptedClientHello(_) => protocol("it breaks the rules of TLS"),
            Error::HandshakeNotComplete => Self::Cut("the handshake did not end".to_owned()),
            Error::EncryptError
            | Error::General(_)
            | Error::FailedToGetCurrentTime
            | Error::FailedToGetRandomBytes
            | Error::BadMaxFragmentSize
            | Error::InconsistentKeys(_)
            | Error::Other(_) => Self::Here("this host cannot encrypt".to_owned()),
            // Of a later rustls.
            _ => protocol("the handshake failed"),
        }
    }
}

/// What the other side gave as its reason.
fn of_alert(alert: AlertDescription) -> TlsFailure {
    use AlertDescription as Alert;
    let protocol = |what: &str| TlsFailure::Protocol(what.to_owned());
    let client = |why: &str| {
        TlsFailure::Client(format!("it refuses the certificate that this host shows: {why}"))
    };
    match alert {
        Alert::CloseNotify | Alert::UserCanceled | Alert::InternalError => {
            TlsFailure::Cut(format!("it ended the handshake ({})", words(&format!("{alert:?}"))))
        }
        Alert::ProtocolVersion => protocol(OLD_VERSION),
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            protocol("it has no cipher in common with this host")
        }
        Alert::UnrecognisedName => protocol("it does not know the name that it is called by"),
        Alert::NoCertificate | Alert::CertificateRequired => TlsFailure::Client(
            "it wants a certificate of the client, and this host sends none; name one as \
             `client_cert` of the target, with its `client_key`"
                .to_owned(),
        ),
        Alert::CertificateExpired => client("it has expired, or is not valid yet"),
        Alert::CertificateRevoked => client("it was revoked"),
        Alert::UnknownCA => client("its authority is not one that the server knows"),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError => {
            client(&format!("it says only `{}`", words(&format!("{alert:?}"))))
        }
        Alert::NoApplicationProtocol => protocol("it speaks neither HTTP/2 nor HTTP/1.1 over TLS"),
        other => TlsFailure::Protocol(format!(
            "it refused the handshake ({})",
            words(&format!("{other:?}"))
        )),
    }
}

const OLD_VERSION: &str = "it speaks no version of TLS from 1.2 on";

fn incompatible(error: &PeerIncompatible) -> String {
    match error {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => OLD_VERSION.to_owned(),
        other => format!("it cannot agree with this host ({})", words(&format!("{other:?}"))),
    }
}

/// What to do about a certificate whose issuer is not trusted.
const NAME_CA: &str = "; if it is right, name the authority's PEM file as `ca` of the target";

/// What is wrong with a certificate, in plain words.
fn certificate(error: &CertificateError) -> String {
    use CertificateError as Wrong;
    let text = match error {
        Wrong::ExpiredContext { not_after, .. } => {
            return format!("its certificate expired at {}", time(*not_after));
        }
        Wrong::NotValidYetContext { not_before, .. } => {
            return format!("its certificate is not valid before {}", time(*not_before));
        }
        Wrong::NotValidForNameContext { expected, presented } => {
            return other_name(expected, presented);
        }
        Wrong::Other(other) => {
            return match other.0.downcast_ref::<Untrusted>() {
                Some(untrusted) => format!("{untrusted}{NAME_CA}"),
                None => of_verifier(&other.0.to_string()),
            };
        }
        Wrong::Expired => "its certificate has expired",
        Wrong::NotValidYet => "its certificate is not valid yet",
        Wrong::NotValidForName => "its certificate is for another name",
        Wrong::UnknownIssuer => return format!("{}{NAME_CA}", Untrusted::By(None)),
        Wrong::Revoked => "its certificate was revoked",
        Wrong::UnknownRevocationStatus => "nobody says whether its certificate was revoked",
        Wrong::ExpiredRevocationList | Wrong::ExpiredRevocationListContext { .. } => {
            "the list of revoked certificates by which its certificate is judged is too old"
        }
        Wrong::BadEncoding => "its certificate cannot be read",
        Wrong::BadSignature => "the signature of its certificate is wrong",
        Wrong::UnsupportedSignatureAlgorithmContext { .. }
        | Wrong::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed in a way that is too weak or not known here"
        }
        Wrong::UnhandledCriticalExtension => {
            "its certificate demands something that is not known here"
        }
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers"
        }
        Wrong::InvalidOcspResponse => {
            "what it shows about the revocation of its certificate is wrong"
        }
        Wrong::ApplicationVerificationFailure => "its certificate was not accepted",
        // Of a later rustls, and old names of what is above.
        _ => "its certificate is not accepted here",
    };
    text.to_owned()
}

/// The words for an error of the verifier, for which rustls has none of its own.
fn of_verifier(name: &str) -> String {
    match name {
        "CaUsedAsEndEntity" => {
            "its certificate is self-signed as an authority's own (`CA:TRUE`), which no server may \
             show; issue one for the server"
                .to_owned()
        }
        "NameConstraintViolation" => {
            "its certificate is for a name for which its authority may not issue one".to_owned()
        }
        other => format!("its certificate is not accepted ({})", words(other)),
    }
}

fn other_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    // As the library writes them: `DnsName("a.example")`.
    let plain = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let names: Vec<_> = presented.iter().map(plain).collect();
    let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
    format!("its certificate is for {names}, not for {}", expected.to_str())
}

fn time(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| "a time that cannot be written".to_owned(), |time| time.to_string())
}

/// `PathLenConstraintViolated` is `path len constraint violated`.
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
    struct Named(&'static str);

    impl std::fmt::Display for Named {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Named {}

    #[test]
    fn every_fault_of_a_certificate_is_one_of_the_server_in_plain_words() {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_700_000_000));
        let other = |name| CertificateError::Other(OtherError(Arc::new(Named(name))));
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
            certificate(&named(&["b.example", "c.example"])),
            "its certificate is for b.example, c.example, not for a.example"
        );
        let expired = CertificateError::ExpiredContext { time: now, not_after: now };
        assert_eq!(certificate(&expired), "its certificate expired at 2023-11-14T22:13:20Z");
        assert_eq!(
            certificate(&other("PathLenConstraintViolated")),
            "its certificate is not accepted (path len constraint violated)"
        );
    }

    #[test]
    fn every_alert_has_a_class() {
        for number in 0..=u8::MAX {
            let alert = AlertDescription::from(number);
            let failure = TlsFailure::of(&Error::AlertReceived(alert));
            let is_passing = matches!(
                alert,
                AlertDescription::CloseNotify
                    | AlertDescription::UserCanceled
                    | AlertDescription::InternalError
            );
            assert_eq!(matches!(failure, TlsFailure::Cut(_)), is_passing, "{alert:?}");
            assert!(
                matches!(
                    failure,
                    TlsFailure::Cut(_) | TlsFailure::Protocol(_) | TlsFailure::Client(_)
                ),
                "{alert:?}: {failure:?}"
            );
        }
    }
}
