//! TLS by rustls with ring. The certificate is always checked; there is no switch that turns this off.

use crate::blocking;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Encrypts a connection. `host` is the name that the certificate must have; `ca` a PEM file that replaces the system's authorities.
pub(crate) async fn encrypt(stream: TcpStream, host: &str, ca: Option<&str>) -> io::Result<TlsStream<TcpStream>> {
    let ca = ca.map(str::to_owned);
    let config = blocking::run(move |_| ca.map_or_else(system_config, |ca| ca_config(&ca))).await?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await
}

/// Reading the system's authorities takes milliseconds, so it is done once.
fn system_config() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(io::Error::other("this machine has no certificate authorities; install them or set `ca` in the target"));
    }
    Ok(Arc::clone(CONFIG.get_or_init(|| config(roots))))
}

fn ca_config(path: &str) -> io::Result<Arc<ClientConfig>> {
    let unusable = |reason: String| io::Error::other(format!("the `ca` file `{path}` cannot be used: {reason}"));
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
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
