//! TLS by rustls with ring: one way to build a connection for every kind of target. The certificate
//! is always checked, but for a database whose target says `sslmode=prefer` or `require`.

use super::handshake::TlsFailure;
use super::issuer::NamingIssuers;
use super::recording::{Recorder, Recording};
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
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of a file of certificates. All that a system has are below one MiB.
const MAX_CERTIFICATES: u64 = 16 << 20;

/// The protocols that a client of HTTP speaks.
pub(crate) const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// How a server proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By a certificate for its name, of an authority that is believed.
    Certificate,
    /// Not at all. Only for databases whose target says that the certificate does not count.
    Nothing,
}

/// What the host must know to build a connection: texts in PEM.
#[derive(Default)]
struct Material {
    ca: Option<Text>,
    client: Option<(Text, Text)>,
}

/// A text in PEM, and what to call it in a message.
struct Text {
    name: String,
    pem: Secret,
}

impl Host {
    /// How connections of a target are encrypted. `protocols` are offered by ALPN; a fault has the
    /// code `code`.
    pub(crate) async fn client_config(
        &self,
        keys: &TlsKeys,
        proof: Proof,
        protocols: &'static [&'static [u8]],
        code: &'static str,
    ) -> Result<Arc<ClientConfig>, Fault> {
        let here = |reason: String| Fault::new(FaultClass::Invalid, code, reason);
        let material = self.material(keys, &here).await?;
        let built = blocking::run(move |_| material.config(proof, protocols)).await;
        built.map(Arc::new).map_err(here)
    }

    /// How a connection is encrypted by which nothing is sent: it is made whatever the server shows
    /// of itself, which is then in the recording.
    pub(crate) async fn recording_config(
        &self,
        keys: &TlsKeys,
        protocols: &'static [&'static [u8]],
        code: &'static str,
    ) -> Result<(Arc<ClientConfig>, Recording), Fault> {
        let here = |reason: String| Fault::new(FaultClass::Invalid, code, reason);
        let material = self.material(keys, &here).await?;
        let recording = Recording::default();
        let kept = Arc::clone(&recording);
        let built = blocking::run(move |_| material.recording(kept, protocols)).await;
        Ok((built.map(Arc::new).map_err(here)?, recording))
    }

    async fn material(
        &self,
        keys: &TlsKeys,
        here: &impl Fn(String) -> Fault,
    ) -> Result<Material, Fault> {
        let mut material = Material::default();
        if let Some(ca) = &keys.ca {
            material.ca = Some(self.certificates("ca", ca, here).await?);
        }
        if let Some(client) = &keys.client {
            let shown = self.certificates("client_cert", &client.certificates, here).await?;
            material.client = Some((shown, self.private_key(&client.key, here).await?));
        }
        Ok(material)
    }

    async fn certificates(
        &self,
        key: &str,
        certificates: &Certificates,
        here: &impl Fn(String) -> Fault,
    ) -> Result<Text, Fault> {
        match certificates {
            Certificates::File(file) => {
                let name = format!("the `{key}` file `{}`", file.real().display());
                let file = file.clone();
                let read = blocking::run(move |_| read_pinned(&file)).await;
                let pem = read.map_err(|why| here(format!("{name} cannot be used: {why}")))?;
                Ok(Text { name, pem: Secret::new(pem) })
            }
            Certificates::Secret(secret) => self.text_of_secret(key, secret).await,
        }
    }

    async fn private_key(
        &self,
        key: &PrivateKey,
        here: &impl Fn(String) -> Fault,
    ) -> Result<Text, Fault> {
        match key {
            PrivateKey::File(path) => {
                let path = path.real().to_owned();
                let name = format!("the `client_key` file `{}`", path.display());
                let read = blocking::run(move |_| read_private(&path)).await;
                let pem = read.map_err(|why| here(format!("{name} cannot be used: {why}")))?;
                Ok(Text { name, pem: Secret::new(pem.to_vec()) })
            }
            PrivateKey::Secret(secret) => self.text_of_secret("client_key", secret).await,
        }
    }

    async fn text_of_secret(&self, key: &str, secret: &str) -> Result<Text, Fault> {
        let name = format!("secret `{secret}`, which is `{key}` of the target,");
        Ok(Text { name, pem: self.secret(secret).await? })
    }
}

impl Text {
    fn unusable(&self, why: &str) -> String {
        format!("{} cannot be used: {why}", self.name)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.pem.expose()).collect();
        let all = all.map_err(|error| self.unusable(&error.to_string()))?;
        if all.is_empty() { Err(self.unusable("it holds no certificate")) } else { Ok(all) }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        // The library's message may quote what it read.
        PrivateKeyDer::from_pem_slice(self.pem.expose()).map_err(|_| {
            self.unusable(
                "it holds no private key in PEM that is not encrypted; to keep one encrypted, \
                 put it into the secret store",
            )
        })
    }
}

impl Material {
    fn config(&self, proof: Proof, protocols: &[&[u8]]) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match proof {
            Proof::Nothing => Arc::new(Anybody(Arc::clone(&provider))),
            Proof::Certificate => verifier(self.roots()?, Arc::clone(&provider)),
        };
        self.config_with(verifier, provider, protocols)
    }

    fn recording(&self, recording: Recording, protocols: &[&[u8]]) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(self.roots()?, Arc::clone(&provider));
        self.config_with(Arc::new(Recorder { verifier, recording }), provider, protocols)
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
                .map_err(|error| mismatch(certificates, key, &error))?,
        };
        // A resumed session would carry one target's connection into another's.
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    /// The authorities of the target alone, if it names any; else those of the system.
    fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        let Some(ca) = &self.ca else {
            return system_roots().map_err(|error| error.to_string());
        };
        let mut roots = RootCertStore::empty();
        for certificate in ca.certificates()? {
            roots.add(certificate).map_err(|error| ca.unusable(&error.to_string()))?;
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
    Arc::new(NamingIssuers(verifier))
}

fn mismatch(certificates: &Text, key: &Text, error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            key.unusable(&format!("it does not belong to the certificate of {}", certificates.name))
        }
        _ => certificates.unusable(&error.to_string()),
    }
}

/// Encrypts a connection. `host` is the name that the certificate must have.
pub(crate) async fn encrypt(
    stream: TcpStream,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, TlsFailure> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|error| TlsFailure::Here(error.to_string()))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(TlsFailure::from)
}

/// A verifier that accepts every certificate, but only from a server that holds its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

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
    // The client that sends traces has its own idea of HTTP/2.
    Material::default().config(Proof::Certificate, &[b"http/1.1"]).map_err(io::Error::other)
}

/// Reading the system's authorities takes milliseconds, so it is done once.
fn system_roots() -> io::Result<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities());
    if roots.is_empty() {
        return Err(io::Error::other(
            "this machine has no certificate authorities; install them or set `ca` in the target",
        ));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
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

/// The digest of a file of certificates, if it can be read: what a review shows, a lockfile holds,
/// and alone is used.
pub fn certificates_digest(path: &Path) -> Option<Digest> {
    read_certificates(path).ok().map(|pem| Digest::of(&pem))
}

/// The path was judged with its links followed, so that none is followed now.
fn read_certificates(path: &Path) -> io::Result<Vec<u8>> {
    runbook_regular_file::read(path, MAX_CERTIFICATES)
}

/// The content of a file, if it is the one that was judged.
fn read_pinned(file: &PemFile) -> Result<Vec<u8>, String> {
    let pem = read_certificates(file.real()).map_err(|error| error.to_string())?;
    match file.content() {
        FileContent::Is(digest) if *digest != Digest::of(&pem) => {
            Err("it was changed since the runbook was read".to_owned())
        }
        FileContent::Absent => Err("it was not there when the runbook was read".to_owned()),
        FileContent::Is(_) | FileContent::Unknown => Ok(pem),
    }
}
