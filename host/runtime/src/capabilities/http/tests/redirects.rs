//! Redirects between real servers: which requests each of them gets, and with what in them.

use super::auth::{Requests, answering, header_of, with_status};
use super::tls::CertificateAuthority;
use super::{get, ok};
use crate::bindings::runbook::http::types::{BodyPlace, BodySecret, Header, HeaderValue, Response};
use crate::bindings::runbook::http::{reader::Host as _, writer::Host as _};
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::testing::{Slot, host};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runbook_tests::certificates::CertificateAuthority as IssuingAuthority;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SLOTS: &[Slot] =
    &[("api", &["http.get", "http.head", "http.post"], "api"), ("key", &["secrets.use"], "key")];

/// The server of the target, one that it may be redirected to, and one that it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Own,
    Listed,
    Unlisted,
}

const PLACES: [Place; 3] = [Place::Own, Place::Listed, Place::Unlisted];

/// What says who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    Bearer,
    Basic,
    Signature,
    TargetHeader,
    SecretOfPlugin,
    HeaderOfPlugin,
    SecretInHarmlessHeader,
    Cookie,
    BodySecret,
}

const CREDENTIALS: [Credential; 9] = [
    Credential::Bearer,
    Credential::Basic,
    Credential::Signature,
    Credential::TargetHeader,
    Credential::SecretOfPlugin,
    Credential::HeaderOfPlugin,
    Credential::SecretInHarmlessHeader,
    Credential::Cookie,
    Credential::BodySecret,
];

impl Credential {
    /// The key of the target that has it.
    fn key(self) -> &'static str {
        match self {
            Self::Bearer => "auth = { bearer = \"secret:token\" }",
            Self::Basic => "auth = { basic = { user = \"u\", password = \"secret:token\" } }",
            Self::Signature => {
                "auth = { aws-sigv4 = { access_key = \"secret:password\", secret_key = \
                 \"secret:token\", session_token = \"secret:token\", region = \"r\", service = \
                 \"s3\" } }"
            }
            Self::TargetHeader => "headers = { X-Key = \"secret:token\" }",
            Self::HeaderOfPlugin => "request_headers = [\"x-trace\"]",
            Self::Cookie => "cookies = true",
            Self::SecretOfPlugin | Self::SecretInHarmlessHeader | Self::BodySecret => "",
        }
    }

    /// What a plugin sends of it.
    fn headers(self) -> Vec<Header> {
        let plain = |text: &str| HeaderValue::Plain(text.to_owned());
        let (name, value) = match self {
            Self::SecretOfPlugin => ("X-Key", HeaderValue::Secret("key".to_owned())),
            Self::HeaderOfPlugin => ("X-Trace", plain("captured-t0ken")),
            Self::SecretInHarmlessHeader => ("Accept-Language", plain("s3cr3t-t0ken")),
            _ => ("Accept", plain("text/plain")),
        };
        vec![Header { name: name.to_owned(), value }]
    }

    /// Whether a request to the target itself has it, by what a server sees.
    fn is_in(self, request: &str) -> bool {
        match self {
            Self::Bearer | Self::TargetHeader | Self::SecretOfPlugin => {
                request.contains("s3cr3t-t0ken")
            }
            Self::SecretInHarmlessHeader => request.contains("s3cr3t-t0ken"),
            Self::Basic => request.contains(&STANDARD.encode("u:s3cr3t-t0ken")),
            Self::Signature => request.contains("AWS4-HMAC-SHA256"),
            Self::HeaderOfPlugin => request.contains("captured-t0ken"),
            Self::Cookie => request.contains("session=of-"),
            Self::BodySecret => request.ends_with("key=s3cr3t-t0ken"),
        }
    }
}

/// Three servers, each of which redirects to the next address of one chain until it is at its end.
struct Site {
    servers: Vec<(SocketAddr, Requests)>,
    chain: Arc<Mutex<VecDeque<String>>>,
}

async fn site() -> Site {
    let chain: Arc<Mutex<VecDeque<String>>> = Arc::default();
    let mut servers = Vec::new();
    for place in PLACES {
        let chain = Arc::clone(&chain);
        let cookie = format!("Set-Cookie: session=of-{place:?}; Path=/\r\nConnection: close\r\n");
        servers.push(
            answering(None, move |_| match chain.lock().unwrap().pop_front() {
                Some(hop) => with_status(&hop, &cookie, ""),
                None => with_status("200 OK", &cookie, "the end"),
            })
            .await,
        );
    }
    Site { servers, chain }
}

impl Site {
    fn address(&self, place: Place) -> SocketAddr {
        self.servers[place as usize].0
    }

    fn requests(&self, place: Place) -> Vec<String> {
        self.servers[place as usize].1.lock().unwrap().clone()
    }

    /// Sends a request that is redirected through these places.
    async fn send(
        &self,
        method: &str,
        code: u16,
        places: &[Place],
        credential: Credential,
    ) -> Result<Response, Fault> {
        for (_, requests) in &self.servers {
            requests.lock().unwrap().clear();
        }
        *self.chain.lock().unwrap() = places
            .iter()
            .map(|place| {
                format!("{code} Moved\r\nLocation: http://{}/v1/next", self.address(*place))
            })
            .collect();
        let targets = format!(
            "[targets.api]\nhttp = \"http://{}/v1\"\nredirects = 4\n\
             redirect_origins = [\"http://{}\"]\n{}\n[targets.key]\nsecret = \"token\"\n\
             positions = [{{ slot = \"api\", header = \"X-Key\" }}, {{ slot = \"api\", form = \
             \"key\" }}]\n",
            self.address(Place::Own),
            self.address(Place::Listed),
            credential.key()
        );
        let mut host = host(SLOTS, &targets, Path::new("/"));
        // The scrubber knows a secret when it has been used once.
        let _ = host.secret("token").await.unwrap();
        let mut call = HostCall::new(&mut host);
        let (slot, path, headers) = ("api".to_owned(), "/start".to_owned(), credential.headers());
        match method {
            "GET" => call.get(slot, path, headers).await,
            "HEAD" => call.head(slot, path, headers).await,
            _ => {
                let place = BodyPlace::Form("key".to_owned());
                let secrets = match credential {
                    Credential::BodySecret => vec![BodySecret { place, slot: "key".to_owned() }],
                    _ => Vec::new(),
                };
                call.post(slot, path, headers, Vec::new(), secrets).await
            }
        }
    }
}

/// Every chain of at most three places.
fn chains() -> Vec<Vec<Place>> {
    let mut chains: Vec<Vec<Place>> = vec![Vec::new()];
    for length in 0..3 {
        let longest: Vec<_> =
            chains.iter().filter(|chain| chain.len() == length).cloned().collect();
        chains.extend(
            longest.iter().flat_map(|chain| {
                PLACES.map(|place| chain.iter().copied().chain([place]).collect())
            }),
        );
    }
    chains
}

/// Every chain with every kind of credential, as a read and as a change.
#[tokio::test]
async fn nothing_that_says_who_asks_goes_to_another_origin_than_that_of_the_target() {
    let site = site().await;
    for credential in CREDENTIALS {
        for (number, chain) in chains().into_iter().enumerate() {
            let code = [301, 302, 303, 307, 308][number % 5];
            for method in ["GET", "HEAD", "POST"] {
                let is_read = method != "POST";
                let code = if is_read { code } else { [307, 308][number % 2] };
                let at = format!("{method} {code} {chain:?} {credential:?}");
                let answer = site.send(method, code, &chain, credential).await;
                let is_allowed =
                    |place: &Place| *place == Place::Own || (is_read && *place == Place::Listed);
                let followed = chain.iter().take_while(|place| is_allowed(place)).count();
                match answer {
                    Ok(response) => {
                        assert_eq!((followed, response.status), (chain.len(), 200), "{at}");
                    }
                    Err(fault) => {
                        assert!(followed < chain.len(), "{at}: {fault:?}");
                        assert_eq!(fault.class, FaultClass::Denied, "{at}");
                    }
                }
                let visited = |place| {
                    let hops = &chain[..followed];
                    hops.iter().filter(|hop| **hop == place).count()
                        + usize::from(place == Place::Own)
                };
                for place in PLACES {
                    let requests = site.requests(place);
                    assert_eq!(requests.len(), visited(place), "{at}: {place:?} {requests:?}");
                    assert!(requests.iter().all(|request| request.starts_with(method)), "{at}");
                }
                for request in site.requests(Place::Listed) {
                    let text = request.to_lowercase();
                    for secret in
                        ["s3cr3t", "hunter2", "captured", "authorization", "cookie", "x-amz"]
                    {
                        assert!(!text.contains(secret), "{at}: {request}");
                    }
                    assert!(
                        CREDENTIALS.iter().all(|other| !other.is_in(&request)),
                        "{at}: {request}"
                    );
                    let accept = header_of(&request, "accept");
                    let is_harmless = credential.headers()[0].name == "Accept";
                    assert_eq!(accept.is_some(), is_harmless, "{at}: {request}");
                }
                for (number, request) in site.requests(Place::Own).iter().enumerate() {
                    let has_body = credential != Credential::BodySecret || !is_read;
                    let has_cookie = credential != Credential::Cookie || number > 0;
                    assert_eq!(
                        credential.is_in(request),
                        has_body && has_cookie,
                        "{at}: {request}"
                    );
                    assert!(!request.contains("of-Listed"), "{at}: {request}");
                }
            }
        }
    }
}

#[tokio::test]
async fn after_a_change_only_a_redirect_that_repeats_it_is_followed() {
    let site = site().await;
    for code in [300, 301, 302, 303, 304, 307, 308] {
        let answer = site.send("POST", code, &[Place::Own], Credential::BodySecret).await.unwrap();
        let is_repeated = matches!(code, 307 | 308);
        assert_eq!(answer.status, if is_repeated { 200 } else { code }, "{code}");
        let requests = site.requests(Place::Own);
        assert_eq!(requests.len(), if is_repeated { 2 } else { 1 }, "{code}: {requests:?}");
        for request in requests {
            assert!(
                request.starts_with("POST ") && request.ends_with("key=s3cr3t-t0ken"),
                "{code}"
            );
        }
    }
}

/// A server that puts what it was sent into the address, in several spellings.
#[tokio::test]
async fn a_redirect_to_another_origin_with_a_secret_in_the_address_is_not_followed() {
    let (listed, requests) = answering(None, |_| ok("")).await;
    for spelling in [
        "s3cr3t-t0ken",
        "s3cr3t%2Dt0ken",
        "czNjcjN0LXQwa2Vu",
        "x/s3cr3t-t0ken",
        "?t=s3cr3t-t0ken&u=1",
        "a#s3cr3t-t0ken",
    ] {
        let location = format!("Location: http://{listed}/{spelling}\r\nConnection: close\r\n");
        let (own, _) = answering(None, move |_| with_status("302 Found", &location, "")).await;
        let targets = format!(
            "[targets.api]\nhttp = \"http://{own}\"\nredirects = 2\n\
             redirect_origins = [\"http://{listed}\"]\nauth = {{ bearer = \"secret:token\" }}\n"
        );
        let fault = get(&targets, "/").await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Assertion, "http.redirect"),
            "{spelling}"
        );
        assert!(!fault.message.contains("s3cr3t"), "{}", fault.message);
    }
    assert_eq!(requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_redirect_back_from_an_encrypted_origin_to_one_that_is_not_is_not_followed() {
    let authority = CertificateAuthority::new("ours");
    let own_chain = Arc::new(Mutex::new(String::new()));
    let chain = Arc::clone(&own_chain);
    let (own, requests) =
        answering(None, move |_| with_status("302 Found", &chain.lock().unwrap(), "")).await;
    let back = format!("Location: http://{own}/\r\nConnection: close\r\n");
    let (listed, listed_requests) =
        answering(Some(authority.acceptor(&[])), move |_| with_status("302 Found", &back, ""))
            .await;
    let listed = format!("https://localhost:{}", listed.port());
    *own_chain.lock().unwrap() = format!("Location: {listed}/\r\nConnection: close\r\n");
    let targets = format!(
        "[targets.api]\nhttp = \"http://{own}\"\nredirects = 4\n\
         redirect_origins = [\"{listed}\"]\n"
    );
    // The target is not encrypted, so it has no `ca`: the system's authorities do not know this one.
    assert_eq!(get(&targets, "/").await.unwrap_err().code, "http.certificate");
    assert_eq!((requests.lock().unwrap().len(), listed_requests.lock().unwrap().len()), (1, 0));
}

/// A server with this certificate that answers with `answer`, asks for a client certificate and
/// does without, and tells for each request whether it got one.
async fn asking_server(
    authority: &IssuingAuthority,
    answer: impl Fn() -> String + Send + 'static,
) -> (u16, Arc<Mutex<Vec<bool>>>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate =
        |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().into_owned();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.certificate())).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
    let shown = authority.server("localhost");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate(&shown.certificate)],
            PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, told) = (listener.local_addr().unwrap().port(), Arc::default());
    let kept: Arc<Mutex<Vec<bool>>> = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 10_000]).await;
            kept.lock().unwrap().push(stream.get_ref().1.peer_certificates().is_some());
            let _ = stream.write_all(answer().as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, told)
}

#[tokio::test]
async fn another_origin_is_not_shown_the_client_certificate_of_the_target() {
    let authority = IssuingAuthority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ca.pem"), authority.certificate()).unwrap();
    authority.client("checks.example").write(folder, "client");
    let own_url = Arc::new(Mutex::new(String::new()));
    let back = Arc::clone(&own_url);
    let redirect = |url: &str| {
        with_status("307 Moved", &format!("Location: {url}\r\nConnection: close\r\n"), "")
    };
    let (listed, listed_saw) =
        asking_server(&authority, move || redirect(&back.lock().unwrap())).await;
    let listed_url = format!("https://localhost:{listed}");
    let answers = Mutex::new(vec![ok("the end"), redirect(&listed_url)]);
    let (own, own_saw) =
        asking_server(&authority, move || answers.lock().unwrap().pop().unwrap()).await;
    *own_url.lock().unwrap() = format!("https://localhost:{own}/back");
    let path = |name: &str| folder.join(name);
    let targets = format!(
        "[targets.api]\nhttp = \"https://localhost:{own}\"\nredirects = 4\n\
         redirect_origins = [\"{listed_url}\"]\nca = {:?}\nclient_cert = {:?}\n\
         client_key = {:?}\n",
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    assert_eq!(get(&targets, "/").await.unwrap().body, b"the end");
    assert_eq!(*own_saw.lock().unwrap(), [true, true]);
    assert_eq!(*listed_saw.lock().unwrap(), [false]);
}
