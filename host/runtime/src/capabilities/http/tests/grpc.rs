//! The health protocol of gRPC, with servers that are written from its specification.

use super::auth::answering;
use super::tls::CertificateAuthority;
use super::{API, ok};
use crate::bindings::runbook::http::health::{HealthAnswer, Host as _, ServingStatus};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, effective_grants, host, host_with};
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response};
use runbook_contract::Mode;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

const SLOTS: &[Slot] = &[("api", &["http.health"], "api")];

type Requests = Arc<Mutex<Vec<(Parts, Vec<u8>)>>>;
type Lines = Vec<(&'static str, String)>;

/// What a server answers.
#[derive(Clone)]
struct Answer {
    status: u16,
    content_type: &'static str,
    /// Headers beside `content-type`.
    headers: Lines,
    /// `None` ends the answer with its head.
    body: Option<Vec<u8>>,
    trailers: Lines,
}

impl Answer {
    fn message(body: &[u8]) -> Self {
        Self {
            status: 200,
            content_type: "application/grpc",
            headers: Vec::new(),
            body: Some(body.to_vec()),
            trailers: vec![("grpc-status", "0".to_owned())],
        }
    }

    /// An answer that has only a head, as of a call that fails at once.
    fn head_only(headers: Lines) -> Self {
        Self { headers, body: None, ..Self::message(b"") }
    }
}

/// The answer `HealthCheckResponse { status }` in its frame.
fn health_message(status: u8) -> Vec<u8> {
    if status == 0 { vec![0; 5] } else { vec![0, 0, 0, 0, 2, 0x08, status] }
}

/// Answers every call of one connection.
async fn serve<S>(stream: S, answer: Answer, requests: Requests)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (answer, requests) = (answer.clone(), Arc::clone(&requests));
        tokio::spawn(async move {
            let (parts, mut body) = request.into_parts();
            let mut received = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                received.extend_from_slice(&data);
            }
            requests.lock().unwrap().push((parts, received));
            let map = |lines: &Lines| -> HeaderMap {
                let line = |(name, value): &(&'static str, String)| {
                    (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
                };
                lines.iter().map(line).collect()
            };
            let mut head = Response::builder().status(answer.status).body(()).unwrap();
            *head.headers_mut() = map(&answer.headers);
            head.headers_mut()
                .insert("content-type", HeaderValue::from_static(answer.content_type));
            let Some(body) = answer.body else {
                let _ = respond.send_response(head, true);
                return;
            };
            let Ok(mut stream) = respond.send_response(head, false) else { return };
            let is_last = answer.trailers.is_empty();
            let _ = stream.send_data(Bytes::from(body), is_last);
            if !is_last {
                let _ = stream.send_trailers(map(&answer.trailers));
            }
        });
    }
}

async fn server(answer: Answer) -> (SocketAddr, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, requests) = (listener.local_addr().unwrap(), Requests::default());
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer.clone(), Arc::clone(&kept)));
        }
    });
    (address, requests)
}

fn target(address: SocketAddr, more: &str) -> String {
    format!("[targets.api]\nhttp = \"http://{address}\"\n{more}\n")
}

async fn check_by(host: &mut Host, service: &str) -> Result<HealthAnswer, Fault> {
    HostCall::new(host).check("api".to_owned(), service.to_owned()).await
}

async fn check(targets: &str, service: &str) -> Result<HealthAnswer, Fault> {
    check_by(&mut host(SLOTS, targets, Path::new("/")), service).await
}

#[tokio::test]
async fn the_health_of_a_service_is_asked_for_by_the_call_of_the_protocol() {
    for (status, expected) in [
        (0, ServingStatus::Unknown),
        (1, ServingStatus::Serving),
        (2, ServingStatus::NotServing),
        (3, ServingStatus::ServiceUnknown),
        (4, ServingStatus::Unknown),
        (127, ServingStatus::Unknown),
    ] {
        let (address, requests) = server(Answer::message(&health_message(status))).await;
        let keys = "headers = { X-Tenant = \"a\" }\nauth = { bearer = \"secret:token\" }";
        for service in ["", "orders.v1.Orders"] {
            let answer = check(&target(address, keys), service).await.unwrap();
            assert_eq!(answer.status, expected, "{status}");
            assert_eq!(answer.peer, address.to_string());
            let timing = answer.timing;
            assert!(timing.connect_us > 0 && timing.total_us >= timing.first_byte_us, "{timing:?}");
        }
        let requests = requests.lock().unwrap();
        for ((head, body), service) in requests.iter().zip(["", "orders.v1.Orders"]) {
            assert_eq!(head.method, Method::POST);
            let expected = format!("http://{address}/grpc.health.v1.Health/Check");
            assert_eq!(head.uri.to_string(), expected);
            for (name, value) in [
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("x-tenant", "a"),
                ("authorization", "Bearer s3cr3t-t0ken"),
                ("grpc-accept-encoding", "identity"),
            ] {
                assert_eq!(head.headers.get(name).unwrap(), value, "{name}");
            }
            let timeout = head.headers["grpc-timeout"].to_str().unwrap();
            assert!(timeout.ends_with('m') && timeout.len() <= 9, "{timeout}");
            let mut message = Vec::new();
            if !service.is_empty() {
                message.extend_from_slice(&[0x0a, u8::try_from(service.len()).unwrap()]);
                message.extend_from_slice(service.as_bytes());
            }
            let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
            frame.extend_from_slice(&message);
            assert_eq!(*body, frame, "{service}");
        }
    }
}

#[tokio::test]
async fn each_status_of_a_call_has_the_class_of_its_meaning() {
    use FaultClass::{Assertion, Invalid, Timeout, Transient};
    let classes = [
        (1, Transient),
        (2, Assertion),
        (3, Invalid),
        (4, Timeout),
        (6, Assertion),
        (7, Invalid),
        (8, Transient),
        (9, Assertion),
        (10, Transient),
        (11, Assertion),
        (12, Invalid),
        (13, Assertion),
        (14, Transient),
        (15, Assertion),
        (16, Invalid),
        (17, Assertion),
        (4_000_000_000_u32, Assertion),
    ];
    let lines = |status: u32| -> Lines {
        let message = "no s3cr3t%2Dt0ken%0a here, really".to_owned();
        vec![("grpc-status", status.to_string()), ("grpc-message", message)]
    };
    for (status, class) in classes {
        let in_trailers = Answer { trailers: lines(status), ..Answer::message(b"") };
        for answer in [in_trailers, Answer::head_only(lines(status))] {
            let (address, _) = server(answer).await;
            let fault = check(&target(address, "auth = { bearer = \"secret:token\" }"), "")
                .await
                .unwrap_err();
            assert_eq!((fault.class, fault.code.as_str()), (class, "http.grpc"), "{status}");
            let message = &fault.message;
            assert!(!message.contains("s3cr3t") && !message.contains('\n'), "{message}");
            assert!(status > 16 || message.contains("here, really"), "{message}");
        }
    }
    // A service that the server does not know.
    for answer in
        [Answer { trailers: lines(5), ..Answer::message(b"") }, Answer::head_only(lines(5))]
    {
        let (address, _) = server(answer).await;
        let answer = check(&target(address, ""), "a.B").await.unwrap();
        assert_eq!(answer.status, ServingStatus::ServiceUnknown);
    }
}

/// Answers over HTTP/2 that are no answers of a health service.
#[tokio::test]
async fn what_is_not_the_answer_of_a_health_service_is_never_taken_for_one() {
    use FaultClass::{Assertion, Invalid, Transient};
    let good = health_message(1);
    let message = |body: &[u8]| Answer::message(body);
    let compressed = [&[1][..], &good[1..]].concat();
    let html = |status| Answer { status, content_type: "text/html", ..Answer::message(&good) };
    for (what, answer, class) in [
        ("nothing", message(b""), Assertion),
        ("half a prefix", message(&good[..3]), Assertion),
        ("half a message", message(&good[..6]), Assertion),
        ("more than a message", message(&[&good[..], &[0]].concat()), Assertion),
        ("two messages", message(&[&good[..], &good[..]].concat()), Assertion),
        ("a compressed message", message(&compressed), Assertion),
        ("no protocol buffer", message(&[0, 0, 0, 0, 2, 0xff, 0xff]), Assertion),
        ("a text in place of a number", message(&[0, 0, 0, 0, 3, 0x0a, 1, b'a']), Assertion),
        ("a large message", message(&vec![0; 1 << 20]), Assertion),
        ("no status", Answer { trailers: Vec::new(), ..message(&good) }, Assertion),
        (
            "a status that is no number",
            Answer { trailers: vec![("grpc-status", "SERVING".to_owned())], ..message(&good) },
            Assertion,
        ),
        ("200 of a web server", html(200), Assertion),
        ("400 of a web server", html(400), Assertion),
        ("401 of a web server", html(401), Invalid),
        ("403 of a web server", html(403), Invalid),
        ("404 of a web server", html(404), Invalid),
        ("418 of a web server", html(418), Assertion),
        ("429 of a web server", html(429), Transient),
        ("503 of a web server", html(503), Transient),
        ("504 with the type of gRPC", Answer { status: 504, ..message(&good) }, Transient),
        ("302 of a web server", html(302), Assertion),
    ] {
        let (address, requests) = server(answer).await;
        let answer = check(&target(address, ""), "").await;
        assert_eq!(requests.lock().unwrap().len(), 1, "{what}");
        let fault = answer.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, "http.grpc"), "{what}: {fault:?}");
    }
    // A field of another number is one of a later version.
    let (address, _) = server(message(&[0, 0, 0, 0, 5, 0x12, 1, b'a', 0x08, 1])).await;
    let answer = check(&target(address, ""), "").await.unwrap();
    assert_eq!(answer.status, ServingStatus::Serving);
}

/// Servers that do not speak HTTP/2.
#[tokio::test]
async fn a_server_that_does_not_speak_http2_is_a_failed_check_and_a_closed_port_is_away() {
    let waits = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http1 = waits.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = waits.accept().await.unwrap();
        let _ = stream.write_all(ok("hello").as_bytes()).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let fault = check(&target(http1, ""), "").await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Assertion, "http.grpc"),
        "{fault:?}"
    );
    assert!(fault.message.contains("does not speak HTTP/2"), "{}", fault.message);
    // One that closes the connection may do so before its answer is read.
    let (hangs_up, _) = answering(None, |_| ok("hello")).await;
    let fault = check(&target(hangs_up, ""), "").await.unwrap_err();
    let is_expected = matches!(fault.class, FaultClass::Assertion | FaultClass::Transient);
    assert!(is_expected && fault.message.contains("does not speak HTTP/2"), "{fault:?}");
    let authority = CertificateAuthority::new("ours");
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let (encrypted, requests) =
            answering(Some(authority.acceptor(protocols)), |_| ok("")).await;
        let fault = check(&authority.target(encrypted.port()), "").await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Assertion, "http.tls-protocol")
        );
        assert_eq!(requests.lock().unwrap().len(), 0);
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let fault = check(&target(closed, ""), "").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "http.connect"));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_target = target(silent.local_addr().unwrap(), "timeout = \"200ms\"");
    let fault = check(&silent_target, "").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "http.timeout"));
}

#[tokio::test]
async fn a_health_check_goes_over_tls_and_through_a_socket() {
    let answer = Answer::message(&health_message(1));
    let authority = CertificateAuthority::new("ours");
    let acceptor = authority.acceptor(&[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Requests::default());
    let (tls_answer, kept) = (answer.clone(), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            tokio::spawn(serve(stream, tls_answer.clone(), Arc::clone(&kept)));
        }
    });
    let found = check(&authority.target(port), "").await.unwrap();
    assert_eq!(found.status, ServingStatus::Serving);
    assert!(found.timing.tls_us > 0);
    assert_eq!(requests.lock().unwrap()[0].0.uri.scheme_str(), Some("https"));
    // Nobody else's certificate is believed.
    let untrusted = format!("[targets.api]\nhttp = \"https://localhost:{port}\"\n");
    assert_eq!(check(&untrusted, "").await.unwrap_err().code, "http.certificate");

    let home = tempfile::tempdir().unwrap();
    let path = home.path().canonicalize().unwrap().join("grpc.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer.clone(), Requests::default()));
        }
    });
    let by_socket = format!("[targets.api]\nhttp = \"http://app/\"\nsocket = {path:?}\n");
    let found = check(&by_socket, "").await.unwrap();
    assert_eq!((found.status, found.peer), (ServingStatus::Serving, path.display().to_string()));
}

#[tokio::test]
async fn a_health_check_is_a_read_of_a_granted_service_and_nothing_else_is_sent() {
    let (address, requests) = server(Answer::message(&health_message(1))).await;
    let keys = target(address, "services = [\"orders.v1.Orders\"]");
    let granted = effective_grants(SLOTS, &keys, Path::new("/"));
    let mut dry_run = host_with(granted, Mode::ReadOnly, Duration::from_secs(20));
    assert!(check_by(&mut dry_run, "orders.v1.Orders").await.is_ok());
    assert!(check_by(&mut dry_run, "").await.is_ok());
    for service in ["other", "orders.v1.Orders/x", "*", "a\r\nb"] {
        let fault = check_by(&mut dry_run, service).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{service}");
    }
    // A slot that may only send requests asks for no health.
    let mut other_verbs = host(API, &target(address, ""), Path::new("/"));
    assert_eq!(check_by(&mut other_verbs, "").await.unwrap_err().class, FaultClass::Denied);
    // A name that leads to an address that the target does not allow.
    let granted =
        effective_grants(SLOTS, "[targets.api]\nhttp = \"http://a.internal\"\n", Path::new("/"));
    let mut by_name = crate::testing::host_with_names(granted, &[("a.internal", &["127.0.0.1"])]);
    assert_eq!(check_by(&mut by_name, "").await.unwrap_err().class, FaultClass::Denied);
    assert_eq!(requests.lock().unwrap().len(), 2);
}
