//! What tests of connections through gateways share.

use crate::FetchAttempt;
use crate::bindings::runbook::net::connect::Host as _;
use crate::bindings::runbook::net::types::{Endpoint, Turn};
use crate::fault::Fault;
use crate::host::{CallId, Host, HostCall};
use crate::testing::{Slot, effective_grants, fixed_resolver};
use crate::{
    AuditEvent, AuditSink, BoxFuture, CallLimits, SecretFacts, SecretFetchError, SecretSource,
    Services,
};
use runbook_authority::GateDecision;
use runbook_contract::Mode;
use runbook_secrets::Secret;
use runbook_tests::certificates::CertificateAuthority;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Secrets by name.
pub(super) struct Secrets(pub(super) BTreeMap<&'static str, String>);

impl SecretSource for Secrets {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretFetchError>> {
        let found = self.0.get(name).map(|value| Secret::from(value.as_str()));
        let missing = || SecretFetchError {
            name: name.to_owned(),
            reason: "none".to_owned(),
            attempt: FetchAttempt::Failed,
        };
        Box::pin(async move { found.ok_or_else(missing) })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretFetchError>> {
        let missing = SecretFetchError {
            name: name.to_owned(),
            reason: "none".to_owned(),
            attempt: FetchAttempt::Failed,
        };
        Box::pin(async move { Err(missing) })
    }
}

pub(super) type Audit = Arc<Mutex<Vec<String>>>;

/// A call with these slots. Each decision of the gate is added to `audit` as one line.
pub(super) fn host(
    slots: &[Slot],
    targets: &str,
    secrets: &[(&'static str, &str)],
    names: &[(&str, &[&str])],
    audit: &Audit,
) -> Host {
    let audit = Arc::clone(audit);
    let sink: AuditSink = Arc::new(move |record| {
        if let AuditEvent::Judged { operation, decision, .. } = record.event {
            let allowed = matches!(decision, GateDecision::Allow);
            let decision = if allowed { "allowed" } else { "denied" };
            audit.lock().unwrap().push(format!("{decision} {operation}"));
        }
        Ok(())
    });
    let secrets =
        Secrets(secrets.iter().map(|(name, value)| (*name, (*value).to_owned())).collect());
    let services = Services {
        secrets: Arc::new(secrets),
        resolver: fixed_resolver(names),
        audit: Some(sink),
        ..Services::none()
    };
    let id = CallId {
        run: "run".to_owned(),
        step: "step".to_owned(),
        attempt: 1,
        plugin: "test".into(),
        digest: "none".into(),
    };
    Host::new(
        Arc::new(effective_grants(slots, targets, Path::new("/"))),
        Mode::Effects,
        Arc::new(services),
        Arc::new(CallLimits::default()),
        id,
        Instant::now() + Duration::from_mins(1),
    )
}

pub(super) const SERVER: &[Slot] = &[("s", &["net.connect", "net.inspect-tls"], "t")];

/// A server that greets, on a `net` target with a gateway.
pub(super) fn greeting_target(address: SocketAddr, more: &str) -> String {
    format!(
        "[targets.t]\nnet = \"{}\"\nports = [{}]\nvia = \"bastion\"\n{more}\n",
        address.ip(),
        address.port()
    )
}

/// A server that greets and hangs up, and the number of connections so far.
pub(super) async fn greeter() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"220 ready\r\n").await;
        }
    });
    (address, count)
}

/// What the greeting server says, or the fault.
pub(super) async fn greet(host: &mut Host) -> Result<String, Fault> {
    let (endpoint, turn) =
        (Endpoint { host: None, port: None }, Turn { say: None, until: Some("\r\n".to_owned()) });
    let connection = HostCall::new(host).check("s".to_owned(), endpoint, vec![turn]).await?;
    let text = String::from_utf8_lossy(&connection.answers[0].content).into_owned();
    Ok(format!("{text:?} by {}", connection.peer))
}

/// What accepts TLS with a certificate for this name.
pub(super) fn acceptor(authority: &CertificateAuthority, name: &str) -> TlsAcceptor {
    acceptor_with(authority, name, Arc::new(NoClientAuth))
}

/// What accepts TLS from those alone that show a certificate of `clients`.
pub(super) fn acceptor_for_clients(
    authority: &CertificateAuthority,
    name: &str,
    clients: &CertificateAuthority,
) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    acceptor_with(authority, name, verifier)
}

fn acceptor_with(
    authority: &CertificateAuthority,
    name: &str,
    verifier: Arc<dyn ClientCertVerifier>,
) -> TlsAcceptor {
    let issued = authority.server(name);
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// An HTTPS server for `localhost` that answers every request with 200.
pub(super) async fn https(authority: &CertificateAuthority) -> SocketAddr {
    let acceptor = acceptor(authority, "localhost");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                    let _ =
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    address
}

pub(super) fn allowed(audit: &Audit) -> Vec<String> {
    let lines = audit.lock().unwrap();
    lines.iter().filter_map(|line| line.strip_prefix("allowed ")).map(str::to_owned).collect()
}
