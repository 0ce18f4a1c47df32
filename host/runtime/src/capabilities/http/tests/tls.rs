//! Handshakes with real servers, and with those that only pretend.

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

/// An authority, and the file that names it.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
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

    /// A server whose certificate is `change` of a good one.
    async fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> SocketAddr {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        serve(certificate.der().clone(), &key).await
    }

    /// Its certificate, as a file in PEM.
    pub(super) fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// A target at this port that trusts the authority alone.
    pub(super) fn target(&self, port: u16) -> String {
        format!("[targets.api]\nhttp = \"https://localhost:{port}\"\nca = {:?}\n", self.file)
    }

    /// Makes handshakes with a good certificate, and speaks these protocols.
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
async fn a_certificate_that_is_not_to_be_trusted_is_said_to_be_and_why() {
    let authority = Authority::new("ours");
    let good = authority.server(|_| {}).await;
    assert_eq!(authority.get(good.port()).await.unwrap(), 200, "the test can fail");
    let strange = Authority::new("theirs");
    let key = KeyPair::generate().unwrap();
    let self_signed =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let of_authority = {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let authority_key = KeyPair::generate().unwrap();
    let as_authority = of_authority.self_signed(&authority_key).unwrap();
    let trusting_itself = {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, as_authority.pem()).unwrap();
        let issuer = CertifiedIssuer::self_signed(
            CertificateParams::new(Vec::new()).unwrap(),
            KeyPair::generate().unwrap(),
        )
        .unwrap();
        Authority { issuer, file, _folder: folder }
    };
    let elsewhere = Authority::with("of other names", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("other.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    for (who, address, reason) in [
        (
            &elsewhere,
            elsewhere.server(|_| {}).await,
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
            strange.server(|_| {}).await,
            "its certificate was issued by `theirs`, which is not trusted here; if it is right, \
             name the authority's PEM file as `ca`",
        ),
        (
            &authority,
            serve(self_signed.der().clone(), &key).await,
            "its certificate is self-signed; if it is right",
        ),
        (
            &trusting_itself,
            serve(as_authority.der().clone(), &authority_key).await,
            "its certificate is self-signed as an authority's own",
        ),
    ] {
        let fault = who.get(address.port()).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Assertion, "http.certificate"),
            "{}",
            fault.message
        );
        assert!(fault.message.contains(reason), "{}", fault.message);
    }
    let hostile = Authority::new("red \u{1b}[31m\nand another line\u{202e}");
    let fault = authority.get(hostile.server(|_| {}).await.port()).await.unwrap_err();
    assert!(fault.message.contains("issued by `red "), "{}", fault.message);
    let hidden = |c: char| c.is_control() || c == '\u{202e}';
    assert!(!fault.message.chars().any(hidden), "{:?}", fault.message);
}

/// Hands on what a real server says, up to so many bytes, and then hangs up.
async fn cut_after(server: SocketAddr, bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(server).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        let up =
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let _ = tokio::io::copy(&mut from_server.take(bytes as u64), &mut to_client).await;
        up.abort();
    });
    address
}

#[tokio::test]
async fn a_handshake_that_is_cut_anywhere_is_worth_another_attempt() {
    let authority = Authority::new("ours");
    let server = authority.server(|_| {}).await;
    // Until nothing is cut any more; the last ones cut the answer itself.
    let mut cut = 0;
    for bytes in (0..64).chain((64..).step_by(61)) {
        match authority.get(cut_after(server, bytes).await.port()).await {
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
                cut += 1;
            }
        }
    }
    assert!(cut > 64, "the test can fail");
}

/// Answers whatever comes with these bytes.
async fn raw(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 2000]).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
        // Until the client has read it and gone: closing with unread bytes would reset the
        // connection.
        let _ = stream.read(&mut [0; 2000]).await;
    });
    address
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_or_an_old_one_is_wrong_and_not_away() {
    let authority = Authority::new("ours");
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
        let fault = authority.get(raw(answer).await.port()).await.unwrap_err();
        assert_eq!(fault.class, class, "{}", fault.message);
        assert!(fault.message.contains(reason), "{}", fault.message);
    }
    // What is wrong here is said of here.
    let targets = "[targets.api]\nhttp = \"https://localhost:1\"\nca = \"/nowhere/ca.pem\"\n";
    let server = authority.server(|_| {}).await;
    let fault =
        get(&targets.replace(":1\"", &format!(":{}\"", server.port())), "/").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "http.tls"));
    assert!(fault.message.contains("/nowhere/ca.pem"), "{}", fault.message);
}
