//! TLS by rustls with ring, for every kind of target. The certificate of the server is always
//! verified, except for a database whose target says `sslmode=prefer` or `require`.

use super::handshake::TlsFailure;
use super::issuer::IssuerNamingVerifier;
use super::recording::{Recording, RecordingVerifier};
use crate::blocking;
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::Digest;
use runbook_authority::targets::{Certificates, FileContent, PemFile, PrivateKey, TlsKeys};
use runbook_secrets::Secret;
use runbook_secrets::files::read_private;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The largest certificate file, in bytes. The bundle of a system is smaller than 1 MiB.
const MAX_CERTIFICATES: u64 = 16 << 20;

/// The ALPN protocols of an HTTP client.
pub(crate) const HTTP_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// How a server is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerVerification {
    /// By a certificate for its name from a trusted authority.
    Certificate,
    /// Not at all. Only for databases whose target says `sslmode=prefer` or `require`.
    Skipped,
}

/// The certificates and keys for a connection, in PEM.
#[derive(Default)]
struct TlsMaterial {
    ca: Option<PemText>,
    client: Option<(PemText, PemText)>,
}

/// A text in PEM, and its name for messages.
struct PemText {
    name: String,
    pem: Secret,
}

impl Host {
    /// The TLS configuration for connections of a target. `protocols` are offered by ALPN; faults
    /// get the code `code`.
    pub(crate) async fn client_config(
        &self,
        keys: &TlsKeys,
        server_verification: ServerVerification,
        protocols: &'static [&'static [u8]],
        code: &'static str,
    ) -> Result<Arc<ClientConfig>, Fault> {
        let client_fault = |reason: String| Fault::new(FaultClass::Invalid, code, reason);
        let tls_material = self.tls_material(keys, &client_fault).await?;
        let config =
            blocking::run(move |_| tls_material.config(server_verification, protocols)).await;
        config.map(Arc::new).map_err(client_fault)
    }

    /// How a connection is encrypted by which nothing is sent: it is made whatever the server shows
    /// of itself, which is then in the recording.
    pub(crate) async fn recording_config(
        &self,
        keys: &TlsKeys,
        protocols: &'static [&'static [u8]],
        code: &'static str,
    ) -> Result<(Arc<ClientConfig>, Recording), Fault> {
        let client_fault = |reason: String| Fault::new(FaultClass::Invalid, code, reason);
        let tls_material = self.tls_material(keys, &client_fault).await?;
        let recording = Recording::default();
        let kept = Arc::clone(&recording);
        let built = blocking::run(move |_| tls_material.recording(kept, protocols)).await;
        Ok((built.map(Arc::new).map_err(client_fault)?, recording))
    }

    async fn tls_material(
        &self,
        keys: &TlsKeys,
        client_fault: &impl Fn(String) -> Fault,
    ) -> Result<TlsMaterial, Fault> {
        let mut tls_material = TlsMaterial::default();
        if let Some(ca) = &keys.ca {
            tls_material.ca = Some(self.certificates("ca", ca, client_fault).await?);
        }
        if let Some(client) = &keys.client {
            let shown =
                self.certificates("client_cert", &client.certificates, client_fault).await?;
            tls_material.client = Some((shown, self.private_key(&client.key, client_fault).await?));
        }
        Ok(tls_material)
    }

    async fn certificates(
        &self,
        key: &str,
        certificates: &Certificates,
        client_fault: &impl Fn(String) -> Fault,
    ) -> Result<PemText, Fault> {
        match certificates {
            Certificates::File(file) => {
                let name = format!("the `{key}` file `{}`", file.real().display());
                let file = file.clone();
                let read = blocking::run(move |_| read_pinned(&file)).await;
                let pem =
                    read.map_err(|why| client_fault(format!("{name} cannot be used: {why}")))?;
                Ok(PemText { name, pem: Secret::new(pem) })
            }
            Certificates::Secret(secret) => self.pem_of_secret(key, secret).await,
        }
    }

    async fn private_key(
        &self,
        key: &PrivateKey,
        client_fault: &impl Fn(String) -> Fault,
    ) -> Result<PemText, Fault> {
        match key {
            PrivateKey::File(path) => {
                let path = path.real().to_owned();
                let name = format!("the `client_key` file `{}`", path.display());
                let read = blocking::run(move |_| read_private(&path)).await;
                let pem =
                    read.map_err(|why| client_fault(format!("{name} cannot be used: {why}")))?;
                Ok(PemText { name, pem: Secret::new(pem.to_vec()) })
            }
            PrivateKey::Secret(secret) => self.pem_of_secret("client_key", secret).await,
        }
    }

    async fn pem_of_secret(&self, key: &str, secret: &str) -> Result<PemText, Fault> {
        let name = format!("secret `{secret}`, which is `{key}` of the target,");
        Ok(PemText { name, pem: self.secret(secret).await? })
    }
}

impl PemText {
    fn unusable_reason(&self, why: &str) -> String {
        format!("{} cannot be used: {why}", self.name)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.pem.expose()).collect();
        let certificates =
            certificates.map_err(|error| self.unusable_reason(&error.to_string()))?;
        if certificates.is_empty() {
            Err(self.unusable_reason("it holds no certificate"))
        } else {
            Ok(certificates)
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        // The message of the library may quote the key.
        PrivateKeyDer::from_pem_slice(self.pem.expose()).map_err(|_| {
            self.unusable_reason(
                "it holds no private key in PEM that is not encrypted; to keep one encrypted, \
                 put it into the secret store",
            )
        })
    }
}

impl TlsMaterial {
    fn config(
        &self,
        server_verification: ServerVerification,
        protocols: &[&[u8]],
    ) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match server_verification {
            ServerVerification::Skipped => Arc::new(AcceptAnyCertificate(Arc::clone(&provider))),
            ServerVerification::Certificate => verifier(self.roots()?, Arc::clone(&provider)),
        };
        self.config_with(verifier, provider, protocols)
    }

    fn recording(&self, recording: Recording, protocols: &[&[u8]]) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(self.roots()?, Arc::clone(&provider));
        self.config_with(Arc::new(RecordingVerifier { verifier, recording }), provider, protocols)
    }

    fn config_with(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        provider: Arc<CryptoProvider>,
        protocols: &[&[u8]],
    ) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => builder
                .with_client_auth_cert(certificates.certificates()?, key.private_key()?)
                .map_err(|error| key_mismatch(certificates, key, &error))?,
        };
        // A session must not be resumed by a connection of another target.
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    /// The authorities that the target names, or those of the system if it names none.
    fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        let Some(ca) = &self.ca else {
            return system_roots().map_err(|error| error.to_string());
        };
        let mut roots = RootCertStore::empty();
        for certificate in ca.certificates()? {
            roots.add(certificate).map_err(|error| ca.unusable_reason(&error.to_string()))?;
        }
        Ok(Arc::new(roots))
    }
}

fn verifier(
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .expect("there is an authority, and no list of revoked certificates");
    Arc::new(IssuerNamingVerifier(verifier))
}

fn key_mismatch(certificates: &PemText, key: &PemText, error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => key.unusable_reason(&format!(
            "it does not belong to the certificate of {}",
            certificates.name
        )),
        _ => certificates.unusable_reason(&error.to_string()),
    }
}

/// Encrypts a connection. `host` is the name that the certificate must have.
pub(crate) async fn encrypt<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<S>, TlsFailure> {
    let without_brackets = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(without_brackets)
        .map_err(|error| TlsFailure::LocalSetup(error.to_string()))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(TlsFailure::from)
}

/// A verifier that accepts every certificate, but only from a server that holds its key.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
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

/// The TLS configuration for connections of the host itself, with the same rules as for plugins.
///
/// # Errors
/// This machine has no certificate authorities.
pub fn system_tls() -> io::Result<ClientConfig> {
    // HTTP/1.1 only: the client that sends traces negotiates HTTP/2 itself.
    TlsMaterial::default()
        .config(ServerVerification::Certificate, &[b"http/1.1"])
        .map_err(io::Error::other)
}

/// Reading the system's authorities takes milliseconds, so it is done once.
fn system_roots() -> io::Result<Arc<RootCertStore>> {
    static SYSTEM_ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = SYSTEM_ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities());
    if roots.is_empty() {
        return Err(io::Error::other(
            "this machine has no certificate authorities; install them or set `ca` in the target",
        ));
    }
    Ok(Arc::clone(SYSTEM_ROOTS.get_or_init(|| Arc::new(roots))))
}

/// The files in which systems keep the trusted authorities: Debian, Fedora, SUSE, RHEL, Alpine.
const CA_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities that this system trusts. Environment variables (`SSL_CERT_FILE`, `SSL_CERT_DIR`)
/// are ignored, because secrets are sent to servers that these authorities certify.
fn authorities() -> Vec<CertificateDer<'static>> {
    let bundle = CA_BUNDLES.iter().map(Path::new).find(|bundle| bundle.is_file());
    let folder = Path::new("/etc/ssl/certs");
    let folder = bundle.is_none().then_some(folder).filter(|folder| folder.is_dir());
    rustls_native_certs::load_certs_from_paths(bundle, folder).certs
}

/// The digest of a certificate file, if it can be read. A review shows it, and a lockfile pins it.
pub fn certificates_digest(path: &Path) -> Option<Digest> {
    read_certificates(path).ok().map(|pem| Digest::of(&pem))
}

/// Reads a certificate file. Links in its path were resolved when the target was read; none is
/// followed now.
fn read_certificates(path: &Path) -> io::Result<Vec<u8>> {
    runbook_regular_file::read(path, MAX_CERTIFICATES)
}

/// The content of a PEM file, if it has not changed since the target was read.
pub(super) fn read_pinned(file: &PemFile) -> Result<Vec<u8>, String> {
    let pem = read_certificates(file.real()).map_err(|error| error.to_string())?;
    match file.content() {
        FileContent::Known(digest) if *digest != Digest::of(&pem) => {
            Err("it was changed since the runbook was read".to_owned())
        }
        FileContent::Absent => Err("it was not there when the runbook was read".to_owned()),
        FileContent::Known(_) | FileContent::Unknown => Ok(pem),
    }
}
