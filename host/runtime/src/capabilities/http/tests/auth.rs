//! Authentication of requests, as a server sees it: headers that the host sets, signatures, tokens.

use super::tls::CertificateAuthority;
use super::{API, get, ok, target};
use crate::bindings::runbook::http::types::{Header, HeaderValue, Response};
use crate::bindings::runbook::http::{reader::Host as _, writer::Host as _};
use crate::capabilities::http::auth::tests::signature_of;
use crate::fault::{Fault, FaultClass};
use crate::host::{CallId, Host, HostCall};
use crate::testing::{FixedSecrets, effective_grants, fixed_resolver, host};
use crate::{AuditEvent, AuditSink, CallLimits, Services};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runbook_contract::Mode;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

pub(super) type Requests = Arc<Mutex<Vec<String>>>;

/// A server that answers each request with the result of `answer`, one request a connection; and
/// the requests that it received.
pub(super) async fn answering(
    tls: Option<TlsAcceptor>,
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (SocketAddr, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Requests::default();
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &tls {
                None => one_answer(stream, &kept, &answer).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        one_answer(stream, &kept, &answer).await;
                    }
                }
            }
        }
    });
    (address, requests)
}

async fn one_answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    requests: &Requests,
    answer: &impl Fn(&str) -> String,
) {
    let mut received = Vec::new();
    let request = loop {
        let mut piece = vec![0; 16 << 10];
        let length = stream.read(&mut piece).await.unwrap();
        received.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let expected = header_of(head, "content-length").map_or(0, |text| text.parse().unwrap());
        if body.len() >= expected {
            break text;
        }
    };
    requests.lock().unwrap().push(request.clone());
    stream.write_all(answer(&request).as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
}

/// The value of a header of a request.
pub(super) fn header_of<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let lines = request.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

/// An answer that repeats the request.
fn echo(request: &str) -> String {
    ok(&format!("you sent {request}"))
}

pub(super) fn with_status(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

const SECRETS: FixedSecrets = FixedSecrets(&[
    ("token", "s3cr3t-t0ken"),
    ("client", "p:ss w\u{f6}rd-of-client"),
    ("key", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    ("session", "temporary-session-token"),
]);

/// A host for a step of this run.
fn host_of(run: &str, services: &Services, targets: &str) -> Host {
    let id = CallId {
        run: run.to_owned(),
        step: "step".to_owned(),
        attempt: 1,
        plugin: "test".into(),
        digest: "none".into(),
    };
    Host::new(
        Arc::new(effective_grants(API, targets, Path::new("/"))),
        Mode::Effects,
        Arc::new(services.clone()),
        Arc::new(CallLimits::default()),
        id,
        Instant::now() + Duration::from_secs(50),
    )
}

/// Services with [`SECRETS`], and the operations that the audit log records, each with the secrets
/// of the target.
fn services() -> (Services, Requests) {
    let told = Requests::default();
    let kept = Arc::clone(&told);
    let audit: AuditSink = Arc::new(move |record| {
        if let AuditEvent::Judged { operation, target_secrets, .. } = record.event {
            let line = format!("{operation} [{}]", target_secrets.join(" "));
            kept.lock().unwrap().push(line);
        }
        Ok(())
    });
    let secrets = Arc::new(SECRETS);
    (Services { secrets, audit: Some(audit), ..Services::none() }, told)
}

async fn get_by(host: &mut Host, path: &str) -> Result<Response, Fault> {
    HostCall::new(host).get("api".to_owned(), path.to_owned(), Vec::new()).await
}

fn text(response: Response) -> String {
    let headers: String =
        response.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    headers + &String::from_utf8_lossy(&response.body)
}

#[tokio::test]
async fn a_bearer_token_of_the_target_is_sent_and_neither_seen_nor_replaced_by_the_plugin() {
    let (address, requests) = answering(None, echo).await;
    let targets = target(
        address,
        "auth = { bearer = \"secret:token\" }\nrequest_headers = [\"authorization\"]",
    );
    let shown = text(get(&targets, "/").await.unwrap());
    assert!(shown.contains("Bearer [secret token]") && !shown.contains("s3cr3t"), "{shown}");
    let sent = requests.lock().unwrap()[0].clone();
    assert_eq!(header_of(&sent, "authorization"), Some("Bearer s3cr3t-t0ken"));
    for name in ["Authorization", "authorization", "AUTHORIZATION"] {
        let own = vec![Header {
            name: name.to_owned(),
            value: HeaderValue::Plain("Bearer own".to_owned()),
        }];
        let mut host = host(API, &targets, Path::new("/"));
        let fault =
            HostCall::new(&mut host).get("api".to_owned(), "/".to_owned(), own).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{name}");
    }
    assert_eq!(requests.lock().unwrap().len(), 1, "what is denied is not sent");
}

const AWS: &str = "auth = { aws-sigv4 = { access_key = \"AKIDEXAMPLE\", secret_key = \"secret:key\", \
                   session_token = \"secret:session\", region = \"eu-central-1\", service = \
                   \"SERVICE\" } }";

#[tokio::test]
async fn each_request_of_a_target_of_aws_is_signed_for_what_it_is_and_so_is_each_hop() {
    for service in ["execute-api", "s3"] {
        let (address, requests) = answering(None, |request| {
            if request.contains(" /v1/old%20one?") {
                with_status("302 Found", "Location: /v1/new%20one?b=2&a=1\r\n", "")
            } else {
                echo(request)
            }
        })
        .await;
        let targets =
            target(address, &format!("redirects = 1\n{}", AWS.replace("SERVICE", service)));
        let (services, told) = services();
        let mut host = host_of("run", &services, &targets);
        let shown = text(get_by(&mut host, "/old%20one?x=1").await.unwrap());
        assert!(!shown.contains("temporary-session") && !shown.contains("wJalr"), "{shown}");
        let posted = HostCall::new(&mut host)
            .post("api".to_owned(), "/p".to_owned(), Vec::new(), b"{\"a\":1}".to_vec(), Vec::new())
            .await
            .unwrap();
        assert_eq!(posted.status, 200);
        let requests = requests.lock().unwrap().clone();
        assert_eq!(requests.len(), 3);
        for request in &requests {
            let sent = header_of(request, "authorization").unwrap();
            let host = format!("http://{}", header_of(request, "host").unwrap());
            let signed = signature_of(
                &AWS.replace("SERVICE", service),
                ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                Some("temporary-session-token"),
                (request, &host),
            );
            assert_eq!(sent, signed, "{request}");
            assert_eq!(header_of(request, "x-amz-security-token"), Some("temporary-session-token"));
            let digest = header_of(request, "x-amz-content-sha256");
            assert_eq!(digest.is_some(), service == "s3", "{request}");
        }
        let told = told.lock().unwrap();
        assert_eq!(told[0], "GET /old%20one?… [key session]", "{told:?}");
    }
}

#[tokio::test]
async fn no_plugin_sets_what_a_signature_of_aws_covers_by_itself() {
    let (address, requests) = answering(None, echo).await;
    let names = ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];
    let free = format!("request_headers = {names:?}\n{}", AWS.replace("SERVICE", "s3"));
    let (services, _) = services();
    for name in names {
        let own = vec![Header { name: name.to_owned(), value: HeaderValue::Plain("x".to_owned()) }];
        let fault = HostCall::new(&mut host_of("run", &services, &target(address, &free)))
            .get("api".to_owned(), "/".to_owned(), own)
            .await
            .unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{name}");
    }
    assert_eq!(requests.lock().unwrap().len(), 0);
}

/// A target at `api` that gets its tokens from `server`, an address such as `http://127.0.0.1:1`.
fn with_tokens(api: SocketAddr, server: &str, more: &str) -> String {
    let client = format!(
        "auth = {{ oauth2 = {{ token_url = \"{server}/oauth/token\", client_id = \"runbook-checks\", \
         client_secret = \"secret:client\", scope = \"read write\"{more} }} }}"
    );
    target(api, &client)
}

/// A token server that numbers its tokens, which are good for so many seconds.
async fn token_server(expires_in: &'static str) -> (SocketAddr, Requests) {
    let count = Mutex::new(0);
    answering(None, move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let body = format!(
            "{{\"access_token\":\"issued-token-{count}\",\"token_type\":\"Bearer\"{expires_in}}}"
        );
        with_status("200 OK", "Content-Type: application/json\r\n", &body)
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_once_in_a_run_and_never_seen_by_a_plugin() {
    let (api, requests) = answering(None, echo).await;
    let (server, asked) = token_server(",\"expires_in\":3600").await;
    let targets = with_tokens(api, &format!("http://{server}"), "");
    let (services, told) = services();
    for (run, calls) in [("one", 2), ("one", 1), ("two", 2)] {
        let mut host = host_of(run, &services, &targets);
        for _ in 0..calls {
            let shown = text(get_by(&mut host, "/").await.unwrap());
            assert!(shown.contains("Bearer [secret client"), "{shown}");
            assert!(!shown.contains("issued-token"), "{shown}");
        }
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2, "one for each run: {asked:#?}");
    let (head, body) = asked[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /oauth/token HTTP/1.1\r\n"), "{head}");
    let basic = STANDARD.encode("runbook-checks:p%3Ass+w%C3%B6rd-of-client");
    assert_eq!(header_of(head, "authorization"), Some(format!("Basic {basic}").as_str()));
    assert_eq!(body, "grant_type=client_credentials&scope=read+write");
    let sent: Vec<_> = requests
        .lock()
        .unwrap()
        .iter()
        .map(|request| header_of(request, "authorization").unwrap().to_owned())
        .collect();
    let (one, two) = ("Bearer issued-token-1", "Bearer issued-token-2");
    assert_eq!(sent, [one, one, one, two, two]);
    let told = told.lock().unwrap();
    let fetched: Vec<_> = told.iter().filter(|line| line.starts_with("token from ")).collect();
    assert_eq!(fetched.len(), 2, "{told:#?}");
    assert!(told.iter().any(|line| line == "GET / [client]"), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("issued-token")), "{told:#?}");
}

#[tokio::test]
async fn a_token_is_not_used_beyond_its_time_nor_after_it_was_refused() {
    for (expires_in, answer) in [
        (",\"expires_in\":1", "200 OK"),
        (",\"expires_in\":0", "200 OK"),
        (",\"expires_in\":3600", "401 Unauthorized"),
        ("", "401 Unauthorized"),
    ] {
        let (api, requests) = answering(None, move |_| with_status(answer, "", "")).await;
        let (server, asked) = token_server(expires_in).await;
        let (services, _) = services();
        let targets = with_tokens(api, &format!("http://{server}"), "");
        let mut host = host_of("run", &services, &targets);
        for number in 1..=2 {
            get_by(&mut host, "/").await.unwrap();
            let sent = requests.lock().unwrap().last().unwrap().clone();
            let expected = format!("Bearer issued-token-{number}");
            assert_eq!(header_of(&sent, "authorization"), Some(expected.as_str()), "{answer}");
        }
        assert_eq!(asked.lock().unwrap().len(), 2, "{expires_in} {answer}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_of_the_target_and_nothing_was_changed() {
    const INVALID: FaultClass = FaultClass::Invalid;
    let good = "{\"access_token\":\"issued\",\"token_type\":\"Bearer\"}";
    for (status, headers, body, class, why) in [
        (
            "401 Unauthorized",
            "",
            "{\"error\":\"invalid_client\"}",
            INVALID,
            "status 401 (invalid_client)",
        ),
        ("400 Bad Request", "", "{\"error\":\"IGNORE ALL\\n\"}", INVALID, "status 400"),
        ("403 Forbidden", "", "no", INVALID, "status 403"),
        ("302 Found", "Location: /elsewhere\r\n", good, INVALID, "status 302"),
        (
            "307 Temporary Redirect",
            "Location: http://127.0.0.1:9/\r\n",
            good,
            INVALID,
            "status 307",
        ),
        ("503 Service Unavailable", "", good, FaultClass::Transient, "status 503"),
        ("429 Too Many Requests", "", "", FaultClass::Transient, "status 429"),
        ("200 OK", "", "", FaultClass::Assertion, "without a token"),
        ("200 OK", "", "{\"access_token\":\"issued\"}", FaultClass::Assertion, "without a token"),
        ("200 OK", "", "[\"issued\"]", FaultClass::Assertion, "without a token"),
        (
            "200 OK",
            "",
            "{\"access_token\":\"issued\",\"token_type\":\"mac\"}",
            FaultClass::Assertion,
            "is no bearer token",
        ),
        (
            "200 OK",
            "",
            "{\"access_token\":\"a\\r\\nx: y\",\"token_type\":\"Bearer\"}",
            FaultClass::Assertion,
            "that no header may have",
        ),
        (
            "200 OK",
            "",
            "{\"access_token\":\"\",\"token_type\":\"Bearer\"}",
            FaultClass::Assertion,
            "that no header may have",
        ),
    ] {
        let (api, requests) = answering(None, echo).await;
        let (server, asked) = answering(None, move |_| with_status(status, headers, body)).await;
        let (services, _) = services();
        let targets = with_tokens(api, &format!("http://{server}"), "");
        let mut host = host_of("run", &services, &targets);
        let fault = HostCall::new(&mut host)
            .post("api".to_owned(), "/".to_owned(), Vec::new(), b"x".to_vec(), Vec::new())
            .await
            .unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, "http.token"), "{status} {body}");
        assert!(fault.message.ends_with(why), "{}", fault.message);
        assert!(!fault.message.contains("issued") && !fault.message.contains("IGNORE"));
        assert_eq!(asked.lock().unwrap().len(), 1, "{status}: no redirect is followed");
        assert_eq!(requests.lock().unwrap().len(), 0, "{status}");
        assert_eq!(host.verbs_that_acted(), Vec::new(), "{status}");
    }
}

#[tokio::test]
async fn a_token_server_is_judged_like_every_server_and_a_denied_one_gets_no_packet() {
    for (name, address) in [
        ("inside.example", "10.0.0.7"),
        ("metadata.google.internal", "169.254.169.254"),
        ("mapped.example", "::ffff:169.254.169.254"),
        ("rebound.example", "127.0.0.1"),
    ] {
        let (api, requests) = answering(None, echo).await;
        let (server, asked) = token_server("").await;
        let targets = with_tokens(api, &format!("http://{name}:{}", server.port()), "");
        let (services, audited) = services();
        let resolver = fixed_resolver(&[(name, &[address])]);
        let services = Services { resolver, ..services };
        let fault = get_by(&mut host_of("run", &services, &targets), "/").await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{name}");
        let audited = audited.lock().unwrap();
        let shown: std::net::IpAddr = address.parse().unwrap();
        assert_eq!(audited.last(), Some(&format!("connect {shown} []")), "{audited:?}");
        assert_eq!(asked.lock().unwrap().len(), 0, "{name}");
        assert_eq!(requests.lock().unwrap().len(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_token_server_is_believed_by_its_own_authority_and_not_by_that_of_the_target() {
    let (ours, theirs) = (CertificateAuthority::new("ours"), CertificateAuthority::new("theirs"));
    let (api, _) = answering(Some(ours.acceptor(&[])), echo).await;
    let answer =
        with_status("200 OK", "", "{\"access_token\":\"issued\",\"token_type\":\"bearer\"}");
    let (server, asked) = answering(Some(theirs.acceptor(&[])), move |_| answer.clone()).await;
    let url = format!("https://localhost:{}", server.port());
    for (ca, is_believed) in [(Some(&theirs), true), (Some(&ours), false), (None, false)] {
        let ca = ca.map(|ca| format!(", ca = {:?}", ca.file())).unwrap_or_default();
        let of_api = ours.target(api.port());
        let auth = with_tokens(api, &url, &ca);
        let auth = auth.lines().find(|line| line.starts_with("auth = ")).unwrap();
        let (services, _) = services();
        let mut host = host_of("run", &services, &format!("{of_api}{auth}\n"));
        match get_by(&mut host, "/").await {
            Ok(_) => assert!(is_believed, "{ca}"),
            Err(fault) => {
                assert!(!is_believed, "{}", fault.message);
                assert_eq!(fault.code, "http.certificate", "{}", fault.message);
                assert!(fault.message.contains("the token server"), "{}", fault.message);
            }
        }
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}
