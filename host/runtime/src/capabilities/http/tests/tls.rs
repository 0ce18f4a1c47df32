//! Tests TLS handshakes with real servers, and with servers that do not speak TLS.

use super::{get, ok};
use crate::fault::{Fault, FaultClass};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, GeneralSubtree, IsCa, KeyPair,
    NameConstraints, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate authority, with the PEM file of its certificate.
pub(super) struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl CertificateAuthority {
    pub(super) fn new(name: &str) -> Self {
        Self::with_params(name, |_| {})
    }

    fn with_params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file, _folder: folder }
    }

    /// A server whose certificate is valid except for what `change` makes different.
    async fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> SocketAddr {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        serve(certificate.der().clone(), &key).await
    }

    /// The PEM file with the certificate of the authority.
    pub(super) fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// A target at this port that trusts no other authority.
    pub(super) fn target(&self, port: u16) -> String {
        format!("[targets.api]\nhttp = \"https://localhost:{port}\"\nca = {:?}\n", self.file)
    }

    /// Accepts TLS connections with a valid certificate and these ALPN protocols.
    pub(super) fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(certificate.der().clone(), &key, protocols)
    }

    async fn get(&self, port: u16) -> Result<u16, Fault> {
        get(&self.target(port), "/").await.map(|response| response.status)
    }
}

fn acceptor(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    protocols: &[&[u8]],
) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(certificate: CertificateDer<'static>, key: &KeyPair) -> SocketAddr {
    let acceptor = acceptor(certificate, key, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 1000]).await;
                let _ = stream.write_all(ok("encrypted").as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused_with_the_reason() {
    let authority = CertificateAuthority::new("ours");
    let good = authority.server(|_| {}).await;
    assert_eq!(authority.get(good.port()).await.unwrap(), 200, "a good certificate is accepted");
    let untrusted = CertificateAuthority::new("theirs");
    let key = KeyPair::generate().unwrap();
    let self_signed =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let ca_params = {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let ca_key = KeyPair::generate().unwrap();
    let ca_certificate = ca_params.self_signed(&ca_key).unwrap();
    let trusting_server_certificate = {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, ca_certificate.pem()).unwrap();
        let issuer = CertifiedIssuer::self_signed(
            CertificateParams::new(Vec::new()).unwrap(),
            KeyPair::generate().unwrap(),
        )
        .unwrap();
        CertificateAuthority { issuer, file, _folder: folder }
    };
    let constrained_authority = CertificateAuthority::with_params("of other names", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("other.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    for (trusted_authority, address, reason) in [
        (
            &constrained_authority,
            constrained_authority.server(|_| {}).await,
            "its certificate is for a name for which its authority may not issue one",
        ),
        (
            &authority,
            authority.server(|params| params.not_after = date_time_ymd(2001, 2, 3)).await,
            "its certificate expired at 2001-02-03T00:00:00Z",
        ),
        (
            &authority,
            authority.server(|params| params.not_before = date_time_ymd(2999, 2, 3)).await,
            "its certificate is not valid before 2999-02-03T00:00:00Z",
        ),
        (
            &authority,
            authority
                .server(|params| {
                    *params = CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
                })
                .await,
            "its certificate is for other.example, not for localhost",
        ),
        (
            &authority,
            authority.server(|params| *params = CertificateParams::new(Vec::new()).unwrap()).await,
            "its certificate is for no name at all, not for localhost",
        ),
        (
            &authority,
            untrusted.server(|_| {}).await,
            "its certificate was issued by `theirs`, which is not trusted here; if it is right, \
             name the authority's PEM file as `ca`",
        ),
        (
            &authority,
            serve(self_signed.der().clone(), &key).await,
            "its certificate is self-signed; if it is right",
        ),
        (
            &trusting_server_certificate,
            serve(ca_certificate.der().clone(), &ca_key).await,
            "its certificate is the own certificate of an authority",
        ),
    ] {
        let fault = trusted_authority.get(address.port()).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Assertion, "http.certificate"),
            "{}",
            fault.message
        );
        assert!(fault.message.contains(reason), "{}", fault.message);
    }
    let hostile = CertificateAuthority::new("red \u{1b}[31m\nand another line\u{202e}");
    let fault = authority.get(hostile.server(|_| {}).await.port()).await.unwrap_err();
    assert!(fault.message.contains("issued by `red "), "{}", fault.message);
    let hidden = |c: char| c.is_control() || c == '\u{202e}';
    assert!(!fault.message.chars().any(hidden), "{:?}", fault.message);
}

/// A proxy that forwards this many bytes from a real server, and then closes the connection.
async fn truncating_proxy(server: SocketAddr, bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(server).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        let upload =
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let _ = tokio::io::copy(&mut from_server.take(bytes as u64), &mut to_client).await;
        upload.abort();
    });
    address
}

#[tokio::test]
async fn a_handshake_that_is_cut_anywhere_is_a_transient_fault() {
    let authority = CertificateAuthority::new("ours");
    let server = authority.server(|_| {}).await;
    // Cuts later and later, at last within the HTTP response, until the response arrives whole.
    let mut n_cut = 0;
    for bytes in (0..64).chain((64..).step_by(61)) {
        match authority.get(truncating_proxy(server, bytes).await.port()).await {
            Ok(status) => {
                assert_eq!(status, 200);
                break;
            }
            Err(fault) => {
                assert_eq!(
                    fault.class,
                    FaultClass::Transient,
                    "after {bytes} bytes: {} {}",
                    fault.code,
                    fault.message
                );
                n_cut += 1;
            }
        }
    }
    assert!(n_cut > 64, "the handshake has more than 64 bytes");
}

/// A server that answers one connection with these bytes.
async fn one_answer_server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 2000]).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
        // Waits until the client has read the answer and closed the connection. Closing with
        // unread bytes would reset it, and the client could lose the answer.
        let _ = stream.read(&mut [0; 2000]).await;
    });
    address
}

#[tokio::test]
async fn a_server_without_tls_or_with_an_old_version_is_an_assertion_fault() {
    let authority = CertificateAuthority::new("ours");
    for (answer, class, reason) in [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n" as &[u8],
            FaultClass::Assertion,
            "it does not speak TLS on this port",
        ),
        (
            b"220 mail.example ESMTP\r\n",
            FaultClass::Assertion,
            "it does not speak TLS on this port",
        ),
        // Fatal alerts: protocol_version, handshake_failure, unrecognized_name, internal_error.
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            FaultClass::Assertion,
            "it speaks no version of TLS from 1.2 on",
        ),
        (b"\x15\x03\x03\x00\x02\x02\x28", FaultClass::Assertion, "it has no cipher in common"),
        (b"\x15\x03\x03\x00\x02\x02\x70", FaultClass::Assertion, "it does not know the name"),
        (
            b"\x15\x03\x03\x00\x02\x02\x50",
            FaultClass::Transient,
            "it ended the handshake (internal error)",
        ),
    ] {
        let fault = authority.get(one_answer_server(answer).await.port()).await.unwrap_err();
        assert_eq!(fault.class, class, "{}", fault.message);
        assert!(fault.message.contains(reason), "{}", fault.message);
    }
    // A `ca` file that does not exist is a fault of class `invalid`.
    let targets = "[targets.api]\nhttp = \"https://localhost:1\"\nca = \"/nowhere/ca.pem\"\n";
    let server = authority.server(|_| {}).await;
    let fault =
        get(&targets.replace(":1\"", &format!(":{}\"", server.port())), "/").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "http.tls"));
    assert!(fault.message.contains("/nowhere/ca.pem"), "{}", fault.message);
}
