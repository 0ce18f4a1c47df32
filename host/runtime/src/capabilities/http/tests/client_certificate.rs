//! Tests servers that require a client certificate.

use super::super::HostCall;
use super::{API, get, ok};
use crate::bindings::runbook::http::writer::Host as _;
use crate::fault::FaultClass;
use crate::testing::host;
use runbook_authority::Verb;
use runbook_tests::certificates::{CertificateAuthority, IssuedCertificate};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A server with the certificate `shown` that accepts only clients with a certificate of `clients`.
async fn server(shown: &IssuedCertificate, clients: &CertificateAuthority) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&clients.certificate())).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(&shown.certificate)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Closing with unread bytes would reset the connection, and lose the alert.
                let accepted = acceptor.accept(stream).into_fallible().await;
                match accepted {
                    Ok(mut stream) => {
                        let _ = stream.read(&mut [0; 1000]).await;
                        let _ = stream.write_all(ok("known").as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                    Err((_, mut stream)) => {
                        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    }
                }
            });
        }
    });
    port
}

/// A target at `port` that trusts `ca.pem` of a folder, with these further keys.
fn target(folder: &Path, port: u16, keys: &str) -> String {
    let ca = folder.join("ca.pem");
    format!("[targets.api]\nhttp = \"https://127.0.0.1:{port}\"\nca = {ca:?}\n{keys}\n")
}

fn client_keys(folder: &Path, certificate: &str, key: &str) -> String {
    let certificate = folder.join(format!("{certificate}.pem"));
    let key = folder.join(format!("{key}.key"));
    format!("client_cert = {certificate:?}\nclient_key = {key:?}")
}

#[tokio::test]
async fn a_server_that_requires_a_client_certificate_gets_the_one_of_the_target() {
    let (own_authority, other_authority) =
        (CertificateAuthority::new("ours"), CertificateAuthority::new("theirs"));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ca.pem"), own_authority.certificate()).unwrap();
    own_authority.client("checks.example").write(folder, "good");
    own_authority.expired_client("checks.example").write(folder, "expired");
    other_authority.client("checks.example").write(folder, "strange");
    let port = server(&own_authority.server("127.0.0.1"), &own_authority).await;
    let valid_target = target(folder, port, &client_keys(folder, "good", "good"));
    assert_eq!(get(&valid_target, "/").await.unwrap().status, 200);
    for (keys, reason) in [
        (String::new(), "it wants a certificate of the client, and this host sends none"),
        (client_keys(folder, "expired", "expired"), "it has expired"),
        (
            client_keys(folder, "strange", "strange"),
            "it refuses the certificate that this host shows",
        ),
    ] {
        let targets = target(folder, port, &keys);
        let fault = get(&targets, "/").await.unwrap_err();
        let code = fault.code.as_str();
        assert_eq!(
            (fault.class, code),
            (FaultClass::Invalid, "http.client-certificate"),
            "{reason}: {}",
            fault.message
        );
        assert!(fault.message.contains(reason), "{}", fault.message);
        // The server has not read the request, so it certainly has no effect.
        let mut host = host(API, &targets, Path::new("/"));
        let (slot, path) = ("api".to_owned(), "/charge".to_owned());
        let mut call = HostCall::new(&mut host);
        let posted = call.post(slot, path, Vec::new(), b"{}".to_vec(), Vec::new()).await;
        drop(call);
        assert_eq!(posted.unwrap_err().class, FaultClass::Invalid, "{reason}");
        assert_eq!(host.verbs_that_acted(), Vec::<Verb>::new(), "{reason}");
    }
}

#[tokio::test]
async fn an_unusable_client_certificate_or_key_is_reported_with_the_reason() {
    let own_authority = CertificateAuthority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ca.pem"), own_authority.certificate()).unwrap();
    own_authority.client("checks.example").write(folder, "good");
    own_authority.client("checks.example").write(folder, "other");
    own_authority.client("checks.example").write(folder, "open");
    let open = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(folder.join("open.key"), open).unwrap();
    std::fs::write(folder.join("text.pem"), "a text").unwrap();
    let text = folder.join("text.key");
    std::fs::write(&text, "another text").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o600)).unwrap();
    let port = server(&own_authority.server("127.0.0.1"), &own_authority).await;
    for (certificate, key, reason) in [
        ("good", "other", "it does not belong to the certificate of"),
        ("open", "open", "open.key"),
        ("good", "none", "none.key"),
        ("none", "good", "none.pem` cannot be used: "),
        ("text", "good", "text.pem` cannot be used: it holds no certificate"),
        ("good", "text", "text.key` cannot be used: it holds no private key"),
    ] {
        let targets = target(folder, port, &client_keys(folder, certificate, key));
        let fault = get(&targets, "/").await.unwrap_err();
        let code = fault.code.as_str();
        assert_eq!((fault.class, code), (FaultClass::Invalid, "http.tls"), "{}", fault.message);
        assert!(fault.message.contains(reason), "{certificate}, {key}: {}", fault.message);
    }
}
