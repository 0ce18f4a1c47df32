//! Records the certificates that a server shows in a TLS handshake, and the errors that a verifier
//! finds in them. The handshake goes on with any certificate; no data is sent over such a
//! connection.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The certificates that a server has shown, and the errors in them.
#[derive(Debug, Clone)]
pub(crate) struct ServerCertificates {
    /// The server's own certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The errors for which a verifying client would end the handshake. If the certificate is out
    /// of its period of validity, the error about the trust of the chain comes second.
    pub(crate) errors: Vec<Error>,
}

/// Where the certificates are kept: `None` until the server has shown them.
pub(crate) type Recording = Arc<Mutex<Option<ServerCertificates>>>;

/// Takes the certificates out of a recording, if the server has shown any.
pub(crate) fn take_certificates(recording: &Recording) -> Option<ServerCertificates> {
    recording.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// For a certificate that has expired or is not yet valid: a moment at which it is valid.
fn valid_moment(error: &Error) -> Option<UnixTime> {
    let seconds = match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            not_after.as_secs().checked_sub(1)
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            not_before.as_secs().checked_add(1)
        }
        _ => None,
    };
    seconds.map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

/// A verifier that records the errors of another verifier, and lets every certificate pass. The
/// server must still prove that it holds the key of its certificate.
#[derive(Debug)]
pub(super) struct RecordingVerifier {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    pub(super) recording: Recording,
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |now| {
            let verifier = &self.verifier;
            verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .err()
        };
        let first = verify(now);
        // A verifier stops at the first error. To find the others in a certificate that has
        // expired, it is verified again as of a moment at which it was valid.
        let second = first.as_ref().and_then(valid_moment).and_then(verify);
        let errors = first.into_iter().chain(second).collect();
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(ServerCertificates { chain, errors });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
