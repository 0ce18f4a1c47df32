use super::body::{Body, BodyEnd};
use super::connection::ConnectTiming;
use super::exchange::ServerResponse;
use super::{http_target, response};
use crate::bindings::runbook::http::types::{BodyPlace, BodySecret, Header, HeaderValue, Response};
use crate::bindings::runbook::http::{reader::Host as _, writer::Host as _};
use crate::capabilities::truncation_tests::{AcceptedText, AllowedRemainder, CAP, Channel};
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::net::peer::Peer;
use crate::testing::{Slot, effective_grants, host, host_with};
use hyper::header::{HeaderMap, HeaderName, HeaderValue as Value};
use runbook_contract::Mode;
use runbook_secrets::Scrubber;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

mod auth;
mod client_certificate;
mod connections;
mod cookies;
mod encoding;
mod grpc;
mod redirects;
mod tls;
mod unix_socket;

const API: &[Slot] = &[("api", &["http.get", "http.head", "http.post"], "api")];

/// A server that answers every connection with `answer` and keeps what it was sent.
async fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, answer) = (Arc::new(Mutex::new(Vec::new())), answer.into());
    let server_requests = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = vec![0; 64 << 10];
            let length = stream.read(&mut received).await.unwrap();
            server_requests
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&received[..length]).into_owned());
            stream.write_all(&answer).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    (address, requests)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Kind: test\r\n\r\n{body}", body.len())
}

fn target(address: SocketAddr, more: &str) -> String {
    format!("[targets.api]\nhttp = \"http://{address}/v1\"\n{more}\n")
}

async fn get(targets: &str, path: &str) -> Result<Response, Fault> {
    HostCall::new(&mut host(API, targets, Path::new("/")))
        .get("api".to_owned(), path.to_owned(), Vec::new())
        .await
}

#[tokio::test]
async fn an_answer_arrives_whole_with_its_timing() {
    let (address, requests) = server(ok("hello")).await;
    let response = get(&target(address, ""), "/orders?a=1").await.unwrap();
    assert_eq!(
        (response.status, response.body.as_slice(), response.truncated),
        (200, b"hello".as_slice(), false)
    );
    assert_eq!(response.peer, address.to_string());
    assert!(response.headers.contains(&("x-kind".to_owned(), "test".to_owned())));
    let timing = &response.timing;
    assert!(timing.connect_us > 0 && timing.first_byte_us > 0 && timing.tls_us == 0, "{timing:?}");
    assert!(timing.total_us >= timing.connect_us + timing.first_byte_us, "{timing:?}");
    let request = requests.lock().unwrap()[0].clone();
    assert!(request.starts_with("GET /v1/orders?a=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains(&format!("host: {address}\r\n")), "{request}");
}

#[tokio::test]
async fn a_body_is_sent_and_an_answer_is_cut_at_the_limit_of_the_target() {
    let (address, requests) = server(ok(&"x".repeat(5000))).await;
    let mut host = host(API, &target(address, "max_body = \"1KiB\""), Path::new("/"));
    let headers = vec![Header {
        name: "Content-Type".to_owned(),
        value: HeaderValue::Plain("text/plain".to_owned()),
    }];
    let response = HostCall::new(&mut host)
        .post("api".to_owned(), "/".to_owned(), headers, b"the body".to_vec(), Vec::new())
        .await
        .unwrap();
    assert_eq!((response.body.len(), response.truncated), (1024, true));
    let request = requests.lock().unwrap()[0].to_lowercase();
    assert!(
        request.contains("content-length: 8\r\n") && request.ends_with("the body"),
        "{request}"
    );
}

#[tokio::test]
async fn secrets_go_where_the_target_says_and_never_come_back() {
    let (address, requests) = server(ok("you sent Bearer s3cr3t-t0ken and czNjcjN0LXQwa2Vu")).await;
    let targets = target(address, "headers = { Authorization = \"Bearer secret:token\" }");
    let response = get(&targets, "/").await.unwrap();
    assert!(requests.lock().unwrap()[0].contains("Bearer s3cr3t-t0ken"));
    let body = String::from_utf8(response.body).unwrap();
    assert!(
        !body.contains("s3cr3t") && !body.contains("czNjcjN0") && body.contains("[secret token]"),
        "{body}"
    );
}

#[tokio::test]
async fn wherever_a_body_is_cut_nothing_of_a_secret_is_left() {
    let echo = "x".repeat(1024 - 8)
        + "Bearer s3cr3t-t0ken, czNjcjN0LXQwa2Vu, s3cr3t%2Dt0ken and so on"
        + &"y".repeat(3000);
    for before in 0..70 {
        let (address, _) = server(ok(&echo[before..])).await;
        let targets = target(
            address,
            "headers = { Authorization = \"Bearer secret:token\" }\nmax_body = \"1KiB\"",
        );
        let response = get(&targets, "/").await.unwrap();
        let body = String::from_utf8(response.body).unwrap();
        assert!(
            response.truncated && !body.contains("s3") && !body.contains("czN"),
            "{before}: {}",
            &body[900..]
        );
    }
}

#[tokio::test]
async fn a_body_that_stops_within_a_secret_ends_before_it() {
    // The server sends less than the announced length, and keeps the connection open.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1000]).await;
        let body = "x".repeat(1024 - 9) + "s3cr3t-t0";
        let _ = stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{body}k").as_bytes())
            .await;
        std::future::pending::<()>().await;
    });
    let targets = target(
        address,
        "headers = { Authorization = \"Bearer secret:token\" }\nmax_body = \"1KiB\"",
    );
    let response = get(&targets, "/").await.unwrap();
    let body = String::from_utf8(response.body).unwrap();
    assert!(response.truncated && body.ends_with("x[secret token]"), "{}", &body[1000..]);
}

#[tokio::test]
async fn a_secret_in_the_name_of_a_header_does_not_come_back() {
    let (address, _) =
        server("HTTP/1.1 200 OK\r\nX-S3cr3t-T0ken-X: 1\r\nContent-Length: 0\r\n\r\n").await;
    let response =
        get(&target(address, "headers = { Authorization = \"Bearer secret:token\" }"), "/")
            .await
            .unwrap();
    assert!(
        response.headers.contains(&("x-[secret token]-x".to_owned(), "1".to_owned())),
        "{:?}",
        response.headers
    );
}

#[tokio::test]
async fn a_secret_slot_is_placed_only_where_its_target_allows() {
    let (address, requests) = server(ok("")).await;
    let targets = format!(
        "{}[targets.key]\nsecret = \"token\"\n[[targets.key.positions]]\nslot = \"api\"\n\
         header = \"X-Key\"\nformat = \"k={{}};\"\n",
        target(address, "")
    );
    let slots: &[Slot] = &[("api", &["http.get"], "api"), ("key", &["secrets.use"], "key")];
    let header = |name: &str| {
        vec![Header { name: name.to_owned(), value: HeaderValue::Secret("key".to_owned()) }]
    };
    let mut host = host(slots, &targets, Path::new("/"));
    HostCall::new(&mut host).get("api".to_owned(), "/".to_owned(), header("X-Key")).await.unwrap();
    assert!(requests.lock().unwrap()[0].contains("k=s3cr3t-t0ken;"));
    let fault = HostCall::new(&mut host)
        .get("api".to_owned(), "/".to_owned(), header("X-Other"))
        .await
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::Denied);
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_basic_auth_header_is_scrubbed() {
    // printf 'smoke:hunter2-hunter2' | base64
    const BASIC: &str = "Basic c21va2U6aHVudGVyMi1odW50ZXIy";
    let (address, requests) = server(ok(&format!("you sent {BASIC}"))).await;
    // Set by the target.
    let response = get(
        &target(address, "auth = { basic = { user = \"smoke\", password = \"secret:password\" } }"),
        "/",
    )
    .await
    .unwrap();
    let body = String::from_utf8(response.body).unwrap();
    assert!(!body.contains("dW50ZXIy") && body.contains("[secret password"), "{body}");
    // Placed by the plugin.
    let targets = format!(
        "{}[targets.key]\nsecret = \"password\"\n\
         positions = [{{ slot = \"api\", basic = \"smoke\" }}]\n",
        target(address, "")
    );
    let slots: &[Slot] = &[("api", &["http.get"], "api"), ("key", &["secrets.use"], "key")];
    let headers = vec![Header {
        name: "Authorization".to_owned(),
        value: HeaderValue::Secret("key".to_owned()),
    }];
    let mut host = host(slots, &targets, Path::new("/"));
    HostCall::new(&mut host).get("api".to_owned(), "/".to_owned(), headers).await.unwrap();
    let requests = requests.lock().unwrap();
    assert!(
        requests.len() == 2 && requests.iter().all(|request| request.contains(BASIC)),
        "{requests:?}"
    );
}

/// Sends a login with a password in the body. Returns the response and the received requests.
async fn log_in(
    positions: &str,
    place: BodyPlace,
    body: &str,
) -> (Result<Response, Fault>, Vec<String>) {
    let echo = "you sent hunter2-hunter2, {\"p\":\"hunter2-hunter2\"}";
    let (address, requests) = server(ok(echo)).await;
    let targets = format!(
        "{}[targets.key]\nsecret = \"password\"\npositions = [{{ slot = \"api\", {positions} }}]\n",
        target(address, "")
    );
    let slots: &[Slot] = &[("api", &["http.post"], "api"), ("key", &["secrets.use"], "key")];
    let mut host = host(slots, &targets, Path::new("/"));
    let secrets = vec![BodySecret { place, slot: "key".to_owned() }];
    let body = body.as_bytes().to_vec();
    let answer = HostCall::new(&mut host)
        .post("api".to_owned(), "/".to_owned(), Vec::new(), body, secrets)
        .await;
    let requests = requests.lock().unwrap().clone();
    (answer, requests)
}

#[tokio::test]
async fn a_password_is_put_into_a_body_where_its_target_says_and_never_comes_back() {
    let json = |pointer: &str| BodyPlace::Json(pointer.to_owned());
    let form = |name: &str| BodyPlace::Form(name.to_owned());
    for (positions, place, body, sent) in [
        (
            "json = \"/password\"",
            json("/password"),
            "{\"user\":\"smoke\"}",
            "{\"user\":\"smoke\",\"password\":\"hunter2-hunter2\"}",
        ),
        (
            "json = \"/a/0/p~1w\"",
            json("/a/0/p~1w"),
            "{\"a\":[{}]}",
            "{\"a\":[{\"p/w\":\"hunter2-hunter2\"}]}",
        ),
        (
            "json = \"/p\", format = \"Bearer {}\"",
            json("/p"),
            "{}",
            "{\"p\":\"Bearer hunter2-hunter2\"}",
        ),
        (
            "form = \"password\"",
            form("password"),
            "user=smoke",
            "user=smoke&password=hunter2-hunter2",
        ),
        ("form = \"p w\"", form("p w"), "", "p+w=hunter2-hunter2"),
    ] {
        let (answer, requests) = log_in(positions, place, body).await;
        let answer = String::from_utf8(answer.unwrap().body).unwrap();
        assert!(requests[0].ends_with(&format!("\r\n\r\n{sent}")), "{requests:?}");
        assert!(
            requests[0].to_lowercase().contains(&format!("content-length: {}\r\n", sent.len())),
            "{requests:?}"
        );
        assert!(!answer.contains("hunter2"), "{answer}");
    }
    // Anywhere else it is denied, and nothing is sent.
    for (positions, place) in [
        ("json = \"/password\"", json("/other")),
        ("json = \"/password\"", json("/a/password")),
        ("json = \"/password\"", form("password")),
        ("form = \"password\"", form("user")),
        ("form = \"password\"", json("/password")),
        ("header = \"password\"", form("password")),
    ] {
        let (answer, requests) = log_in(positions, place, "{}").await;
        assert_eq!(
            (answer.unwrap_err().class, requests.len()),
            (FaultClass::Denied, 0),
            "{positions}"
        );
    }
    // The fault says that the body has no such place, without the secret.
    for (positions, place, body) in [
        ("json = \"/password\"", json("/password"), "user=smoke"),
        ("json = \"/password\"", json("/password"), "[]"),
        ("json = \"/a/b\"", json("/a/b"), "{\"a\":1}"),
        ("form = \"password\"", form("password"), "password=mine"),
    ] {
        let (answer, requests) = log_in(positions, place, body).await;
        let fault = answer.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str(), requests.len()),
            (FaultClass::Invalid, "http.body-secret", 0),
            "{body}"
        );
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
    }
}

#[tokio::test]
async fn a_secret_that_would_break_the_request_is_refused_without_being_shown() {
    let (address, requests) = server(ok("")).await;
    let fault =
        get(&target(address, "headers = { X-Key = \"secret:control\" }"), "/").await.unwrap_err();
    assert_eq!(fault.code, "http.header");
    assert!(!fault.message.contains("is-bad"), "{}", fault.message);
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn headers_that_frame_or_route_a_request_are_denied() {
    let (address, requests) = server(ok("")).await;
    for name in [
        "Host",
        "Transfer-Encoding",
        "Content-Length",
        "Connection",
        "Authorization",
        "X-Forwarded-For",
        "a b",
        "a\r\nb",
    ] {
        let headers =
            vec![Header { name: name.to_owned(), value: HeaderValue::Plain("x".to_owned()) }];
        let mut host = host(API, &target(address, ""), Path::new("/"));
        let fault = HostCall::new(&mut host)
            .get("api".to_owned(), "/".to_owned(), headers)
            .await
            .unwrap_err();
        assert_eq!(
            (fault.class, fault.message.as_str()),
            (FaultClass::Denied, "not granted"),
            "{name}"
        );
    }
    for path in [
        "/../x",
        "/%2e%2e/x",
        "//evil.example/",
        "/a\r\nHost: x",
        "http://evil.example/",
        "/a%2Fb",
        "/\\x",
        "",
    ] {
        assert_eq!(
            get(&target(address, ""), path).await.unwrap_err().class,
            FaultClass::Denied,
            "{path}"
        );
    }
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_denied() {
    // The name is not an address and not `localhost`, so loopback is not granted by naming it.
    let (address, requests) = server(ok("")).await;
    let name = std::fs::read_to_string("/etc/hostname").unwrap().trim().to_owned();
    let resolved = tokio::net::lookup_host((name.as_str(), 1))
        .await
        .map(|mut found| found.next().map(|found| found.ip()));
    let policy = |classes: &str| {
        format!(
            "[targets.api]\nhttp = \"http://{name}:{}/\"\naddresses = {classes}\n",
            address.port()
        )
    };
    if resolved.is_ok() {
        // Whatever the machine's own address is, it is neither link-local nor metadata.
        assert_eq!(
            get(&policy("[\"link-local\"]"), "/").await.unwrap_err().class,
            FaultClass::Denied
        );
    }
    // An address in another spelling is parsed to the same address, and named outright by the
    // target.
    let hidden =
        format!("[targets.api]\nhttp = \"http://[::ffff:127.0.0.1]:{}/\"\n", address.port());
    assert_eq!(get(&hidden, "/").await.unwrap().status, 200);
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed_unless_the_target_says_so() {
    let (destination, _) = server(ok("there")).await;
    let redirect = |location: String| {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
    };
    let (address, _) = server(redirect(format!("http://{destination}/v1/"))).await;
    assert_eq!(get(&target(address, ""), "/").await.unwrap().status, 302);
    // A redirect to another server is denied.
    let fault = get(&target(address, "redirects = 3"), "/").await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Denied);
    // A redirect to itself is stopped at the limit.
    let (cycle_address, requests) = server(redirect("/v1/again".to_owned())).await;
    assert_eq!(
        get(&target(cycle_address, "redirects = 3"), "/").await.unwrap_err().class,
        FaultClass::Denied
    );
    assert_eq!(requests.lock().unwrap().len(), 4);
    // A redirect out of the base path is denied.
    let (up, _) = server(redirect("/admin".to_owned())).await;
    assert_eq!(get(&target(up, "redirects = 3"), "/").await.unwrap_err().class, FaultClass::Denied);
}

#[tokio::test]
async fn an_address_that_is_too_long_is_a_fault_and_nothing_is_sent() {
    let long = "a".repeat(70_000);
    let (address, requests) = server(ok("")).await;
    for path in [format!("/{long}"), format!("/?{long}")] {
        let fault = get(&target(address, ""), &path).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied);
    }
    assert!(requests.lock().unwrap().is_empty());
    for location in [format!("/v1/{long}"), format!("/v1/?{long}")] {
        let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ";
        // As long a header as the host reads.
        let answer = format!("{head}{}\r\n\r\n", &location[..65_000]);
        let (address, requests) = server(answer).await;
        assert!(get(&target(address, "redirects = 3"), "/").await.is_err());
        assert_eq!(requests.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_left_at_the_timeout_of_the_target() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let targets = target(listener.local_addr().unwrap(), "timeout = \"200ms\"");
    let fault = get(&targets, "/").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "http.timeout"));
}

#[tokio::test]
async fn an_incomplete_response_is_a_fault() {
    let (address, _) = server("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await;
    assert_eq!(get(&target(address, ""), "/").await.unwrap_err().code, "http.broken");
    let (address, _) = server("nonsense\r\n\r\n").await;
    assert_eq!(get(&target(address, ""), "/").await.unwrap_err().code, "http.protocol");
    let (address, _) =
        server(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20))).await;
    assert!(get(&target(address, ""), "/").await.is_err());
    // After a change was sent, it is unknown whether it happened.
    let (address, _) = server("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await;
    let mut host = host(API, &target(address, ""), Path::new("/"));
    let fault = HostCall::new(&mut host)
        .post("api".to_owned(), "/".to_owned(), Vec::new(), Vec::new(), Vec::new())
        .await
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::Unknown);
}

#[tokio::test]
async fn a_closed_port_is_transient_and_names_the_target() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let fault = get(&target(address, ""), "/").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "http.connect"));
    assert!(fault.message.contains(&address.to_string()), "{}", fault.message);
}

#[tokio::test]
async fn a_base_address_can_be_a_secret_and_is_not_shown() {
    let fault = get("[targets.api]\nhttp = \"secret:token\"\n", "/").await.unwrap_err();
    assert_eq!(fault.code, "http.base");
    assert!(!fault.message.contains("s3cr3t"), "{}", fault.message);
}

#[tokio::test]
async fn the_path_of_a_secret_address_is_as_secret_as_the_address() {
    let mut host = host(API, "[targets.api]\nhttp = \"secret:hook\"\n", Path::new("/"));
    let fault = HostCall::new(&mut host)
        .get("api".to_owned(), "/".to_owned(), Vec::new())
        .await
        .unwrap_err();
    assert_eq!(fault.code, "http.connect");
    assert!(
        !fault.message.contains("127.0.0.1") && fault.message.contains("secret `hook`"),
        "{}",
        fault.message
    );
    assert_eq!(
        host.scrubber().text("POST /services/T0000/XyZzY HTTP/1.1"),
        "POST [secret hook, in part] HTTP/1.1"
    );
}

#[tokio::test]
async fn a_dry_run_reads_and_does_not_write() {
    let (address, requests) = server(ok("")).await;
    let granted = effective_grants(API, &target(address, ""), Path::new("/"));
    let mut host = host_with(granted, Mode::ReadOnly, Duration::from_secs(5));
    assert!(
        HostCall::new(&mut host).get("api".to_owned(), "/".to_owned(), Vec::new()).await.is_ok()
    );
    let fault = HostCall::new(&mut host)
        .post("api".to_owned(), "/".to_owned(), Vec::new(), Vec::new(), Vec::new())
        .await
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::Denied);
    assert_eq!(requests.lock().unwrap().len(), 1);
    let trace = host.into_trace();
    assert_eq!(trace.denials[0].rule.name(), "effects-off");
    assert_eq!(trace.calls.len(), 2);
}

#[tokio::test]
async fn a_certificate_is_trusted_by_the_authority_of_the_target_alone() {
    let certified_key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certified_key.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified_key.signing_key.serialize_der())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config
        .with_no_client_auth()
        .with_single_cert(vec![certified_key.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
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
    let with_ca =
        |host: &str| format!("[targets.api]\nhttp = \"https://{host}:{port}\"\nca = {ca:?}\n");
    let response = get(&with_ca("localhost"), "/").await.unwrap();
    assert_eq!(response.body, b"encrypted");
    assert!(response.timing.tls_us > 0);
    // The name must be right, and without the authority nothing is trusted.
    assert_eq!(get(&with_ca("127.0.0.1"), "/").await.unwrap_err().code, "http.certificate");
    // A `ca` file that has changed since the target was read is refused, even if it is valid.
    let original_pem = std::fs::read_to_string(&ca).unwrap();
    for (before, after) in [
        (Some(original_pem.clone()), Some(format!("{original_pem}\n"))),
        (None, Some(original_pem.clone())),
        (Some(original_pem), None),
    ] {
        let put = |content: &Option<String>| match content {
            Some(text) => std::fs::write(&ca, text).unwrap(),
            None => std::fs::remove_file(&ca).unwrap(),
        };
        put(&before);
        let mut allowed_addresses = host(API, &with_ca("localhost"), Path::new("/"));
        put(&after);
        let fault = HostCall::new(&mut allowed_addresses)
            .get("api".to_owned(), "/".to_owned(), Vec::new())
            .await
            .unwrap_err();
        assert!(fault.message.contains("cannot be used"), "{fault:?}");
    }
    let without = format!("[targets.api]\nhttp = \"https://localhost:{port}\"\n");
    assert_eq!(get(&without, "/").await.unwrap_err().code, "http.certificate");
}

/// Channels for the bodies and headers of responses.
pub(in crate::capabilities) fn channels() -> Vec<Channel> {
    fn server_response(body: &[u8], end: BodyEnd, header: &[u8]) -> ServerResponse {
        let mut headers = HeaderMap::new();
        headers.insert("x-value", Value::from_bytes(header).unwrap());
        if let Ok(name) = HeaderName::from_bytes(header) {
            headers.insert(name, Value::from_static("1"));
        }
        let peer = Peer::Address(SocketAddr::from(([127, 0, 0, 1], 1)));
        let body = Body { bytes: body.to_vec(), end };
        ServerResponse {
            status: 200,
            headers,
            body,
            peer,
            connect_timing: ConnectTiming::default(),
            first_byte: Duration::ZERO,
        }
    }
    fn seen(server_response: ServerResponse, scrubber: &Scrubber) -> Response {
        let more = format!("max_body = \"{CAP}B\"");
        let granted = effective_grants(
            API,
            &target(SocketAddr::from(([127, 0, 0, 1], 1)), &more),
            Path::new("/"),
        );
        let target = granted.get("api").unwrap();
        response(server_response, http_target(&target.target).unwrap(), scrubber, Duration::ZERO)
    }
    vec![
        Channel::bytes("body", CAP, |scrubber, text| {
            seen(server_response(text, BodyEnd::Known, b""), scrubber).body
        }),
        Channel {
            allowed_remainder: AllowedRemainder::Beginning,
            ..Channel::bytes("body of a server that falls silent", CAP, |scrubber, text| {
                seen(server_response(text, BodyEnd::Stalled, b""), scrubber).body
            })
        },
        Channel {
            accepted: AcceptedText::HeaderValue,
            ..Channel::bytes("header", CAP, |scrubber, text| {
                format!("{:?}", seen(server_response(b"", BodyEnd::Known, text), scrubber).headers)
                    .into_bytes()
            })
        },
        Channel {
            accepted: AcceptedText::Name,
            ..Channel::bytes("name of a header", CAP, |scrubber, text| {
                assert!(HeaderName::from_bytes(text).is_ok(), "{}", String::from_utf8_lossy(text));
                let Response { headers, .. } =
                    seen(server_response(b"", BodyEnd::Known, text), scrubber);
                headers
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>()
                    .join("\n")
                    .into_bytes()
            })
        },
    ]
}
