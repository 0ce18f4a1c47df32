//! A look at what a server shows of itself over TLS: the handshake goes on whatever its
//! certificates are, and what the verifier says about them is kept. Nothing is sent over such a
//! connection.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a server has shown, and what is wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct ServerCertificates {
    /// Its own certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Why a client that verifies would end the handshake here: first of all the time, then whether
    /// the chain is trusted.
    pub(crate) refused: Vec<Error>,
}

/// Where it is kept: empty until the server has shown its certificates.
pub(crate) type Recording = Arc<Mutex<Option<ServerCertificates>>>;

/// What a recording has, if the server has shown anything.
pub(crate) fn shown(recording: &Recording) -> Option<ServerCertificates> {
    recording.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A moment at which the certificate was valid that is not any more, or not yet.
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

/// A verifier that asks another one, keeps what it says, and lets every certificate pass. The
/// server must still hold the key of the one that it shows.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    pub(super) recording: Recording,
}

impl ServerCertVerifier for Recorder {
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
        // A verifier tells the first reason that it finds. What else is wrong with a certificate
        // that has expired is asked as of a moment at which it was valid.
        let second = first.as_ref().and_then(valid_moment).and_then(verify);
        let refused = first.into_iter().chain(second).collect();
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(ServerCertificates { chain, refused });
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
