//! Who issued a certificate that is not trusted: rustls says only that it is not.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// The error of a chain that ends at an authority that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Untrusted {
    /// The server's certificate is signed by its own key.
    SelfSigned,
    /// The name of the authority where the chain ends, if it has one that can be shown.
    By(Option<String>),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfSigned => f.write_str("its certificate is self-signed"),
            Self::By(Some(name)) => {
                write!(f, "its certificate was issued by `{name}`, which is not trusted here")
            }
            Self::By(None) => {
                f.write_str("its certificate was issued by an authority that is not trusted here")
            }
        }
    }
}

impl std::error::Error for Untrusted {}

/// A verifier that decides as rustls does, and names the issuer that is not trusted.
#[derive(Debug)]
pub(super) struct NamingIssuers(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for NamingIssuers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| match error {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    let untrusted = untrusted(end_entity, intermediates);
                    CertificateError::Other(OtherError(Arc::new(untrusted))).into()
                }
                other => other,
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn untrusted(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Untrusted {
    let Some(names) = Names::of(intermediates.last().unwrap_or(end_entity)) else {
        return Untrusted::By(None);
    };
    if intermediates.is_empty() && names.issuer == names.subject {
        return Untrusted::SelfSigned;
    }
    Untrusted::By(common_name(names.issuer))
}

/// The two names of a certificate, as DER.
struct Names<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;
/// `2.5.4.3`, the common name, and `2.5.4.10`, the organisation.
const NAMED_BY: [&[u8]; 2] = [&[0x55, 4, 3], &[0x55, 4, 10]];
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;

impl<'a> Names<'a> {
    /// RFC 5280, section 4.1.
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let (certificate, _) = expect(certificate, SEQUENCE)?;
        let (signed, _) = expect(certificate, SEQUENCE)?;
        let rest = expect(signed, VERSION).map_or(signed, |(_, rest)| rest);
        let (_, _serial, rest) = element(rest)?;
        let (_algorithm, rest) = expect(rest, SEQUENCE)?;
        let (issuer, rest) = expect(rest, SEQUENCE)?;
        let (_validity, rest) = expect(rest, SEQUENCE)?;
        let (subject, _) = expect(rest, SEQUENCE)?;
        Some(Self { issuer, subject })
    }
}

/// The common name in a name, or its organisation.
fn common_name(name: &[u8]) -> Option<String> {
    NAMED_BY
        .into_iter()
        .find_map(|kind| attribute(name, kind))
        .map(|text| String::from_utf8_lossy(text).into_owned())
}

fn attribute<'a>(name: &'a [u8], kind: &[u8]) -> Option<&'a [u8]> {
    let mut rest = name;
    loop {
        let (set, behind) = expect(rest, SET)?;
        rest = behind;
        let (pair, _) = expect(set, SEQUENCE)?;
        let (found, value) = expect(pair, OBJECT_IDENTIFIER)?;
        let (tag, text, _) = element(value)?;
        if found == kind && matches!(tag, UTF8 | PRINTABLE) && !text.is_empty() {
            return Some(text);
        }
    }
}

/// The content of the first element, if it has this tag, and what follows it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, _, _)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// The first element of DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};

    fn named(kind: DnType, name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(kind, name);
        params
    }

    #[test]
    fn the_issuer_is_named_by_its_common_name_or_its_organisation() {
        for (kind, name) in [(DnType::CommonName, "Root X"), (DnType::OrganizationName, "Acme")] {
            let issuer =
                CertifiedIssuer::self_signed(named(kind, name), KeyPair::generate().unwrap())
                    .unwrap();
            let leaf = named(DnType::CommonName, "leaf")
                .signed_by(&KeyPair::generate().unwrap(), &issuer)
                .unwrap();
            assert_eq!(untrusted(leaf.der(), &[]), Untrusted::By(Some(name.to_owned())));
        }
        let key = KeyPair::generate().unwrap();
        let alone = named(DnType::CommonName, "alone").self_signed(&key).unwrap();
        assert_eq!(untrusted(alone.der(), &[]), Untrusted::SelfSigned);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(mut bytes: Vec<u8>, at: usize, byte: u8) {
            let _ = untrusted(&CertificateDer::from(bytes.clone()), &[]);
            let key = KeyPair::generate().unwrap();
            let good = named(DnType::CommonName, "leaf").self_signed(&key).unwrap();
            bytes = good.der().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = untrusted(&CertificateDer::from(bytes), &[]);
        }
    }
}
