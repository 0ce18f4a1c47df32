//! TLS by rustls with ring. The certificate is always checked, but for a database whose target says
//! `sslmode=prefer` or `require`.

use super::handshake::TlsFailure;
use crate::blocking;
use runbook_authority::Digest;
use runbook_authority::targets::{CaContent, CaFile};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of a file of authorities. All that a system has are below one MiB.
const MAX_CA: u64 = 16 << 20;

/// Encrypts a connection. `host` is the name that the certificate must have; `ca` a PEM file that
/// replaces the system's authorities.
pub(crate) async fn encrypt(
    stream: TcpStream,
    host: &str,
    ca: Option<&CaFile>,
) -> Result<TlsStream<TcpStream>, TlsFailure> {
    let ca = ca.cloned();
    let here = |error: io::Error| TlsFailure::Here(error.to_string());
    let config = blocking::run(move |_| ca.map_or_else(system_config, |ca| ca_config(&ca)))
        .await
        .map_err(here)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|error| TlsFailure::Here(error.to_string()))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(TlsFailure::from)
}

/// Encrypts a connection to a database, whose certificate one of the system's authorities must have
/// signed for `host`.
pub(crate) async fn encrypt_verified(
    stream: TcpStream,
    host: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(io::Error::other)?;
    let mut config = (*blocking::run(|_| system_config()).await?).clone();
    config.alpn_protocols.clear();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Encrypts a connection without verifying the server. It is only for databases whose target says
/// that the certificate does not count.
pub(crate) async fn encrypt_unverified(
    stream: TcpStream,
    host: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(io::Error::other)?;
    let mut config = (*config(RootCertStore::empty())).clone();
    config.alpn_protocols.clear();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anybody(rustls::crypto::ring::default_provider())));
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A verifier that accepts every certificate, but only from a server that holds its key.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// How the host itself speaks TLS: the rule for plugins' requests is the rule for its own.
///
/// # Errors
/// This machine has no certificate authorities.
pub fn system_tls() -> io::Result<ClientConfig> {
    system_config().map(|config| (*config).clone())
}

/// Reading the system's authorities takes milliseconds, so it is done once.
fn system_config() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities());
    if roots.is_empty() {
        return Err(io::Error::other(
            "this machine has no certificate authorities; install them or set `ca` in the target",
        ));
    }
    Ok(Arc::clone(CONFIG.get_or_init(|| config(roots))))
}

/// Where systems keep the certificates of the authorities that they trust: Debian, Fedora, SUSE,
/// RHEL, Alpine.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities that this system trusts. No variable (`SSL_CERT_FILE`, `SSL_CERT_DIR`) changes
/// them, because secrets are sent to the servers that they vouch for; a target or the system
/// decides.
fn authorities() -> Vec<CertificateDer<'static>> {
    let bundle = BUNDLES.iter().map(Path::new).find(|bundle| bundle.is_file());
    let folder = Path::new("/etc/ssl/certs");
    let folder = bundle.is_none().then_some(folder).filter(|folder| folder.is_dir());
    rustls_native_certs::load_certs_from_paths(bundle, folder).certs
}

/// The digest of a file of authorities, if it can be read: what a review shows, a lockfile holds,
/// and alone is believed.
pub fn ca_digest(path: &Path) -> Option<Digest> {
    read_ca(path).ok().map(|pem| Digest::of(&pem))
}

/// The path was judged with its links followed, so that none is followed now.
fn read_ca(path: &Path) -> io::Result<Vec<u8>> {
    runbook_regular_file::read(path, MAX_CA)
}

fn ca_config(ca: &CaFile) -> io::Result<Arc<ClientConfig>> {
    let unusable = |reason: String| {
        io::Error::other(format!(
            "the `ca` file `{}` cannot be used: {reason}",
            ca.real().display()
        ))
    };
    let pem = read_ca(ca.real()).map_err(|error| unusable(error.to_string()))?;
    match ca.content() {
        CaContent::Is(digest) if *digest != Digest::of(&pem) => {
            return Err(unusable("it was changed since the runbook was read".to_owned()));
        }
        CaContent::Absent => {
            return Err(unusable("it was not there when the runbook was read".to_owned()));
        }
        CaContent::Is(_) | CaContent::Unknown => {}
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(config(roots))
}

fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A resumed session would carry one target's connection into another's.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
