//! The fields of a certificate, and the problems that a verifying client has with it.

use crate::bindings::runbook::net::types::{Certificate, Problem, ProblemKind};
use crate::net::handshake::TlsFailure;
use runbook_authority::Digest;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::oid_registry::{Oid, OidRegistry};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

/// The fields of a certificate. If it cannot be parsed, only its fingerprint is set.
pub(super) fn read(der: &CertificateDer<'_>) -> Certificate {
    let fingerprint = Digest::of(der).to_string();
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Certificate {
            subject: String::new(),
            issuer: String::new(),
            names: Vec::new(),
            serial: String::new(),
            not_before_ms: 0,
            not_after_ms: 0,
            key: String::new(),
            signature: String::new(),
            fingerprint,
        };
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    Certificate {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names: names
            .map(|names| names.value.general_names.iter().map(name).collect())
            .unwrap_or_default(),
        serial: certificate.raw_serial_as_string(),
        not_before_ms: milliseconds(certificate.validity().not_before),
        not_after_ms: milliseconds(certificate.validity().not_after),
        key: key(&certificate),
        signature: algorithm_name(certificate.signature_algorithm.oid()),
        fingerprint,
    }
}

/// The problems with the server's own certificate: the errors of the verifier and, since a verifier
/// stops at the first, those that its period of validity and its names show.
pub(super) fn problems_of(der: &CertificateDer<'_>, host: &str, errors: &[Error]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = errors.iter().map(problem).collect();
    problems.dedup_by_key(|problem| problem.kind);
    let mut add = |kind: ProblemKind, error: CertificateError| {
        if !problems.iter().any(|known| known.kind == kind) {
            problems.push(Problem { kind, message: reason(&Error::InvalidCertificate(error)) });
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let own = read(der);
    if !own.serial.is_empty() && now > own.not_after_ms {
        add(ProblemKind::Expired, CertificateError::Expired);
    }
    if now < own.not_before_ms {
        add(ProblemKind::NotYetValid, CertificateError::NotValidYet);
    }
    if let (Ok(certificate), Ok(name)) =
        (ParsedCertificate::try_from(der), ServerName::try_from(host.to_owned()))
        && let Err(Error::InvalidCertificate(error)) = verify_server_name(&certificate, &name)
    {
        add(ProblemKind::WrongName, error);
    }
    problems
}

fn problem(error: &Error) -> Problem {
    let kind = match error {
        Error::InvalidCertificate(error) => kind_of(error),
        _ => ProblemKind::Other,
    };
    Problem { kind, message: reason(error) }
}

fn kind_of(error: &CertificateError) -> ProblemKind {
    use CertificateError as Wrong;
    match error {
        Wrong::Expired | Wrong::ExpiredContext { .. } => ProblemKind::Expired,
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => ProblemKind::NotYetValid,
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => ProblemKind::WrongName,
        Wrong::UnknownIssuer => ProblemKind::UntrustedIssuer,
        Wrong::Other(other) => {
            let is_untrusted =
                other.0.downcast_ref::<crate::net::issuer::UntrustedIssuer>().is_some();
            // A self-signed certificate that is marked as an authority, as `openssl req -x509`
            // makes it.
            if is_untrusted || other.0.to_string() == "CaUsedAsEndEntity" {
                ProblemKind::UntrustedIssuer
            } else {
                ProblemKind::Other
            }
        }
        _ => ProblemKind::Other,
    }
}

fn reason(error: &Error) -> String {
    TlsFailure::of(error).reason().to_owned()
}

/// A name for which a certificate was issued. DNS names and addresses are written as they are,
/// other kinds with the kind before them. A kind of name without text is described in words.
fn name(name: &GeneralName<'_>) -> String {
    match name {
        // No client takes a DNS name for an address, whatever it looks like.
        GeneralName::DNSName(name) if name.parse::<IpAddr>().is_ok() => format!("DNS:{name}"),
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(name) => format!("URI:{name}"),
        GeneralName::IPAddress(bytes) => address(bytes),
        GeneralName::DirectoryName(name) => name.to_string(),
        GeneralName::RegisteredID(oid) => oid.to_id_string(),
        GeneralName::OtherName(oid, _) => format!("other name {}", oid.to_id_string()),
        GeneralName::X400Address(_) => "an X.400 address".to_owned(),
        GeneralName::EDIPartyName(_) => "an EDI party name".to_owned(),
        GeneralName::Invalid(..) => "a name that cannot be read".to_owned(),
    }
}

fn address(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::from(Ipv4Addr::from(bytes)));
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)));
    v4.or(v6).map_or_else(|_| "an address that cannot be read".to_owned(), |ip| ip.to_string())
}

fn key(certificate: &X509Certificate<'_>) -> String {
    let info = certificate.public_key();
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(_)) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
            let curve = curve.map(|oid| oid.to_id_string()).unwrap_or_default();
            let known = CURVES.iter().find(|(oid, _)| *oid == curve);
            format!("EC {}", known.map_or(curve.as_str(), |(_, name)| name))
        }
        Ok(
            PublicKey::DSA(_)
            | PublicKey::GostR3410(_)
            | PublicKey::GostR3410_2012(_)
            | PublicKey::Unknown(_),
        )
        | Err(_) => algorithm_name(info.algorithm.oid()),
    }
}

const CURVES: &[(&str, &str)] =
    &[("1.2.840.10045.3.1.7", "P-256"), ("1.3.132.0.34", "P-384"), ("1.3.132.0.35", "P-521")];

/// Algorithms that the library has no name for.
const ALGORITHM_NAMES: &[(&str, &str)] = &[("1.3.101.112", "Ed25519"), ("1.3.101.113", "Ed448")];

/// The name of an algorithm, or its number.
fn algorithm_name(oid: &Oid<'_>) -> String {
    let number = oid.to_id_string();
    if let Some((_, name)) = ALGORITHM_NAMES.iter().find(|(known, _)| *known == number) {
        return (*name).to_owned();
    }
    let registry = OidRegistry::default().with_crypto().with_x509();
    registry.get(oid).map_or(number, |entry| entry.sn().to_owned())
}

fn milliseconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or_default().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A check compares these texts with the names that clients look for.
    #[test]
    fn only_names_that_a_client_accepts_are_written_without_their_kind() {
        for (kind, text) in [
            (GeneralName::DNSName("www.example.com"), "www.example.com"),
            (GeneralName::IPAddress(&[10, 9, 9, 9]), "10.9.9.9"),
            (GeneralName::DNSName("10.9.9.9"), "DNS:10.9.9.9"),
            (GeneralName::DNSName("::1"), "DNS:::1"),
            (GeneralName::RFC822Name("www.example.com"), "email:www.example.com"),
            (GeneralName::URI("www.example.com"), "URI:www.example.com"),
        ] {
            assert_eq!(name(&kind), text);
        }
    }
}
