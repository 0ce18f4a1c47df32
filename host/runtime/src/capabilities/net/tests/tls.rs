//! Certificates of real servers: good ones, and one for each problem.

use super::{SERVER, only, server};
use crate::bindings::runbook::net::tls::Host as _;
use crate::bindings::runbook::net::types::{Endpoint, Inspection, ProblemKind};
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::testing::{host, host_with_names};
use runbook_tests::certificates::{CertificateAuthority, IssuedCertificate};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A server that shows these certificates, its own first.
async fn shows(chain: &[&str], key: &str, protocols: &[&[u8]]) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let serve = move |stream: TcpStream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            // An inspection sends no data.
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            assert!(said.is_empty(), "{said:?}");
        }
    };
    server(serve).await.0
}

async fn issued(issued: &IssuedCertificate) -> SocketAddr {
    shows(&[&issued.certificate], &issued.key, &[]).await
}

fn target(port: u16, more: &str) -> String {
    format!("[targets.t]\nnet = [\"localhost\", \"127.0.0.1\"]\nports = [{port}]\n{more}\n")
}

async fn inspect(targets: &str, name: &str) -> Result<Inspection, Fault> {
    let endpoint = Endpoint { host: Some(name.to_owned()), port: None };
    HostCall::new(&mut host(SERVER, targets, Path::new("/")))
        .inspect("s".to_owned(), endpoint)
        .await
}

struct TrustedAuthority {
    authority: CertificateAuthority,
    folder: tempfile::TempDir,
}

impl TrustedAuthority {
    fn new() -> Self {
        let (authority, folder) =
            (CertificateAuthority::new("Team Root"), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
        Self { authority, folder }
    }

    fn target(&self, address: SocketAddr) -> String {
        target(address.port(), &format!("ca = {:?}", self.folder.path().join("ca.pem")))
    }
}

fn kinds(inspection: &Inspection) -> Vec<ProblemKind> {
    inspection.problems.iter().map(|problem| problem.kind).collect()
}

#[tokio::test]
async fn a_good_certificate_is_described_in_all_that_it_says() {
    let trusted = TrustedAuthority::new();
    let issued = trusted.authority.server("localhost");
    let root = trusted.authority.certificate();
    let address = shows(&[&issued.certificate, &root], &issued.key, &[b"h2", b"http/1.1"]).await;
    let seen = inspect(&trusted.target(address), "localhost").await.unwrap();
    assert!(seen.problems.is_empty(), "{:?}", seen.problems);
    assert_eq!((seen.protocol.as_str(), seen.alpn.as_deref()), ("TLSv1.3", Some("h2")));
    assert!(seen.cipher.starts_with("TLS13_"), "{}", seen.cipher);
    assert_eq!(seen.peer, format!("127.0.0.1:{}", address.port()));
    let [own, authority] = seen.chain.as_slice() else { panic!("{:?}", seen.chain) };
    assert_eq!(own.names, ["localhost"]);
    assert!(own.subject.contains("CN=localhost") && own.issuer.contains("CN=Team Root"));
    assert_eq!(own.issuer, authority.subject);
    assert_eq!(own.key, "EC P-256");
    assert!(own.signature.to_lowercase().contains("ecdsa"), "{}", own.signature);
    assert!(own.not_before_ms < own.not_after_ms && !own.serial.is_empty());
    assert!(own.fingerprint.starts_with("sha256:") && own.fingerprint.len() == 71);
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_the_answer_and_not_a_fault() {
    let trusted = TrustedAuthority::new();
    let authority = &trusted.authority;
    let other = CertificateAuthority::new("Other Root");
    let alone = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let alone =
        IssuedCertificate { certificate: alone.cert.pem(), key: alone.signing_key.serialize_pem() };
    let (expired, wrong, untrusted) =
        (ProblemKind::Expired, ProblemKind::WrongName, ProblemKind::UntrustedIssuer);
    for (certificate, problems, words) in [
        (authority.expired_server("localhost"), &[expired][..], "expired"),
        (authority.server("other.example"), &[wrong], "other.example, not for localhost"),
        (authority.expired_server("other.example"), &[expired, wrong], "expired"),
        (other.server("localhost"), &[untrusted], "issued by `Other Root`"),
        (other.expired_server("other.example"), &[untrusted, expired, wrong], "Other Root"),
        (alone, &[untrusted], "self-signed"),
    ] {
        let seen = inspect(&trusted.target(issued(&certificate).await), "localhost").await;
        let seen = seen.unwrap();
        let mut found = kinds(&seen);
        found.sort_by_key(|kind| problems.iter().position(|known| known == kind));
        assert_eq!(found, problems, "{:?}", seen.problems);
        assert!(
            seen.problems.iter().any(|problem| problem.message.contains(words)),
            "{words}: {:?}",
            seen.problems
        );
        assert_eq!((seen.chain.len(), seen.protocol.as_str()), (1, "TLSv1.3"));
    }
}

#[tokio::test]
async fn an_inspection_believes_the_authority_of_the_target_alone() {
    let trusted = TrustedAuthority::new();
    let address = issued(&trusted.authority.server("localhost")).await;
    let with = inspect(&trusted.target(address), "localhost").await.unwrap();
    assert_eq!(kinds(&with), []);
    let without = inspect(&target(address.port(), ""), "localhost").await.unwrap();
    assert_eq!(kinds(&without), [ProblemKind::UntrustedIssuer]);
    // The address has no name in it.
    let by_address = inspect(&trusted.target(address), "127.0.0.1").await.unwrap();
    assert_eq!(kinds(&by_address), [ProblemKind::WrongName]);
}

#[tokio::test]
async fn a_server_that_refuses_what_is_offered_by_alpn_is_asked_again_without() {
    let trusted = TrustedAuthority::new();
    let certificate = trusted.authority.server("localhost");
    let address = shows(&[&certificate.certificate], &certificate.key, &[b"imap"]).await;
    let seen = inspect(&trusted.target(address), "localhost").await.unwrap();
    assert_eq!((kinds(&seen), seen.alpn), (Vec::new(), None));
}

#[tokio::test]
async fn a_server_without_tls_is_a_failed_check_and_one_that_hangs_up_is_transient() {
    let plain = |mut stream: TcpStream| async move {
        let _ = stream.write_all(b"220 mail.internal ready\r\n").await;
        let _ = stream.read(&mut [0; 1000]).await;
    };
    let (address, _) = server(plain).await;
    let fault = inspect(&target(address.port(), ""), "localhost").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Assertion, "net.tls-protocol"));
    let (address, _) = server(|stream| async move { drop(stream) }).await;
    let fault = inspect(&target(address.port(), ""), "localhost").await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{}", fault.message);
}

#[tokio::test]
async fn a_name_that_leads_to_another_address_is_not_inspected() {
    let trusted = TrustedAuthority::new();
    let address = issued(&trusted.authority.server("localhost")).await;
    let targets = format!("[targets.t]\nnet = \"a.example\"\nports = [{}]\n", address.port());
    let granted = crate::testing::effective_grants(SERVER, &targets, Path::new("/"));
    let mut host = host_with_names(granted, &[("a.example", &["127.0.0.1"])]);
    let fault = HostCall::new(&mut host).inspect("s".to_owned(), only()).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Denied);
    assert_eq!(host.into_trace().denials[0].rule.name(), "address");
}
