//! Names the issuer of an untrusted certificate, which rustls does not.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// The error for a certificate chain that ends at an untrusted authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UntrustedIssuer {
    /// The server's certificate is signed by its own key.
    SelfSigned,
    /// The chain ends at this authority; `None` if its name cannot be read.
    Authority(Option<String>),
}

impl fmt::Display for UntrustedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfSigned => f.write_str("its certificate is self-signed"),
            Self::Authority(Some(name)) => {
                write!(f, "its certificate was issued by `{name}`, which is not trusted here")
            }
            Self::Authority(None) => {
                f.write_str("its certificate was issued by an authority that is not trusted here")
            }
        }
    }
}

impl std::error::Error for UntrustedIssuer {}

/// Verifies as rustls does, and adds the untrusted issuer to the error.
#[derive(Debug)]
pub(super) struct IssuerNamingVerifier(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for IssuerNamingVerifier {
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
                    let untrusted_issuer = untrusted_issuer(end_entity, intermediates);
                    CertificateError::Other(OtherError(Arc::new(untrusted_issuer))).into()
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

fn untrusted_issuer(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> UntrustedIssuer {
    let Some(names) = CertificateNames::of(intermediates.last().unwrap_or(end_entity)) else {
        return UntrustedIssuer::Authority(None);
    };
    if intermediates.is_empty() && names.issuer == names.subject {
        return UntrustedIssuer::SelfSigned;
    }
    UntrustedIssuer::Authority(common_name(names.issuer))
}

/// The issuer and the subject of a certificate, as DER.
struct CertificateNames<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
}

const SEQUENCE_TAG: u8 = 0x30;
const SET_TAG: u8 = 0x31;
const OBJECT_IDENTIFIER_TAG: u8 = 0x06;
const VERSION_TAG: u8 = 0xa0;
/// `2.5.4.3`, the common name, and `2.5.4.10`, the organisation.
const NAME_ATTRIBUTES: [&[u8]; 2] = [&[0x55, 4, 3], &[0x55, 4, 10]];
const UTF8_TAG: u8 = 0x0c;
const PRINTABLE_TAG: u8 = 0x13;

impl<'a> CertificateNames<'a> {
    /// RFC 5280, section 4.1.
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let (certificate, _) = expect(certificate, SEQUENCE_TAG)?;
        let (signed_part, _) = expect(certificate, SEQUENCE_TAG)?;
        let rest = expect(signed_part, VERSION_TAG).map_or(signed_part, |(_, rest)| rest);
        let (_, _serial, rest) = element(rest)?;
        let (_algorithm, rest) = expect(rest, SEQUENCE_TAG)?;
        let (issuer, rest) = expect(rest, SEQUENCE_TAG)?;
        let (_validity, rest) = expect(rest, SEQUENCE_TAG)?;
        let (subject, _) = expect(rest, SEQUENCE_TAG)?;
        Some(Self { issuer, subject })
    }
}

/// The common name in a distinguished name, or its organisation.
fn common_name(name: &[u8]) -> Option<String> {
    NAME_ATTRIBUTES
        .into_iter()
        .find_map(|kind| attribute(name, kind))
        .map(|text| String::from_utf8_lossy(text).into_owned())
}

fn attribute<'a>(name: &'a [u8], kind: &[u8]) -> Option<&'a [u8]> {
    let mut rest = name;
    loop {
        let (set, after_set) = expect(rest, SET_TAG)?;
        rest = after_set;
        let (pair, _) = expect(set, SEQUENCE_TAG)?;
        let (attribute_type, value) = expect(pair, OBJECT_IDENTIFIER_TAG)?;
        let (tag, text, _) = element(value)?;
        if attribute_type == kind && matches!(tag, UTF8_TAG | PRINTABLE_TAG) && !text.is_empty() {
            return Some(text);
        }
    }
}

/// The content of the first element, if it has this tag, and what follows it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der)
        .filter(|(first_tag, _, _)| *first_tag == tag)
        .map(|(_, content, rest)| (content, rest))
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

    fn params_with_name(kind: DnType, name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(kind, name);
        params
    }

    #[test]
    fn the_issuer_is_named_by_its_common_name_or_its_organisation() {
        for (kind, name) in [(DnType::CommonName, "Root X"), (DnType::OrganizationName, "Acme")] {
            let issuer = CertifiedIssuer::self_signed(
                params_with_name(kind, name),
                KeyPair::generate().unwrap(),
            )
            .unwrap();
            let leaf = params_with_name(DnType::CommonName, "leaf")
                .signed_by(&KeyPair::generate().unwrap(), &issuer)
                .unwrap();
            assert_eq!(
                untrusted_issuer(leaf.der(), &[]),
                UntrustedIssuer::Authority(Some(name.to_owned()))
            );
        }
        let key = KeyPair::generate().unwrap();
        let self_signed = params_with_name(DnType::CommonName, "alone").self_signed(&key).unwrap();
        assert_eq!(untrusted_issuer(self_signed.der(), &[]), UntrustedIssuer::SelfSigned);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(mut bytes: Vec<u8>, position: usize, byte: u8) {
            let _ = untrusted_issuer(&CertificateDer::from(bytes.clone()), &[]);
            let key = KeyPair::generate().unwrap();
            let certificate = params_with_name(DnType::CommonName, "leaf").self_signed(&key).unwrap();
            bytes = certificate.der().to_vec();
            let position = position % bytes.len();
            bytes[position] = byte;
            let _ = untrusted_issuer(&CertificateDer::from(bytes), &[]);
        }
    }
}
