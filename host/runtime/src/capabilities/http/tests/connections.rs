//! Tests which requests share a connection, and what happens when the server closes it.

use super::tls::CertificateAuthority;
use super::{API, get, ok, target};
use crate::bindings::runbook::http::types::Response;
use crate::bindings::runbook::http::{reader::Host as _, writer::Host as _};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host, host_with_audited_names};
use hyper::body::Bytes;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The received requests: the number of the connection, and the first line.
type ReceivedRequests = Arc<Mutex<Vec<(usize, String)>>>;

/// What a server does with its connection when it has read a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerBehavior {
    /// It answers, and waits for the next.
    Answer,
    /// It answers, and closes without having said that it would.
    AnswerAndClose,
    /// It closes without an answer.
    Close,
}

/// A server that handles the requests of all connections in order, as `behavior` says; the last
/// element is for all further requests.
async fn server(behavior: &'static [ServerBehavior]) -> (SocketAddr, ReceivedRequests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = ReceivedRequests::default();
    let kept = Arc::clone(&received);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let received = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut buffer = vec![0; 10_000];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let line = text.lines().next().unwrap_or_default().to_owned();
                    let index = {
                        let mut received = received.lock().unwrap();
                        received.push((number, line));
                        received.len() - 1
                    };
                    let behavior = *behavior.get(index).or(behavior.last()).unwrap();
                    if behavior != ServerBehavior::Close {
                        stream.write_all(ok("hello").as_bytes()).await.unwrap();
                    }
                    if behavior != ServerBehavior::Answer {
                        return;
                    }
                }
            });
        }
    });
    (address, received)
}

async fn read(host: &mut Host, slot: &str) -> Result<Response, Fault> {
    HostCall::new(host).get(slot.to_owned(), "/".to_owned(), Vec::new()).await
}

async fn send_change(host: &mut Host, slot: &str) -> Result<Response, Fault> {
    HostCall::new(host)
        .post(slot.to_owned(), "/".to_owned(), Vec::new(), b"x".to_vec(), Vec::new())
        .await
}

fn connections(received: &ReceivedRequests) -> Vec<usize> {
    received.lock().unwrap().iter().map(|(number, _)| *number).collect()
}

#[tokio::test]
async fn reads_of_one_call_share_a_connection_and_two_calls_do_not() {
    let (address, received) = server(&[ServerBehavior::Answer]).await;
    for _ in 0..2 {
        let mut host = host(API, &target(address, ""), Path::new("/"));
        let first = read(&mut host, "api").await.unwrap();
        assert!(first.timing.connect_us > 0);
        for _ in 0..3 {
            let next = read(&mut host, "api").await.unwrap();
            assert_eq!((next.body.as_slice(), next.peer.as_str()), (&b"hello"[..], &*first.peer));
            let timing = &next.timing;
            assert_eq!((timing.dns_us, timing.connect_us, timing.tls_us), (0, 0, 0));
            assert!(timing.first_byte_us > 0 && timing.total_us >= timing.first_byte_us);
        }
    }
    assert_eq!(connections(&received), [0, 0, 0, 0, 1, 1, 1, 1]);
}

#[tokio::test]
async fn two_targets_at_one_address_never_share_a_connection_nor_do_two_slots() {
    let (address, received) = server(&[ServerBehavior::Answer]).await;
    let other = format!("[targets.other]\nhttp = \"http://{address}/v1\"\n");
    let targets = target(address, "") + &other;
    let verbs: &[&str] = &["http.get"];
    let slots: &[Slot] = &[("api", verbs, "api"), ("same", verbs, "api"), ("b", verbs, "other")];
    let mut host = host(slots, &targets, Path::new("/"));
    for slot in ["api", "b", "same", "api", "b", "same"] {
        read(&mut host, slot).await.unwrap();
    }
    assert_eq!(connections(&received), [0, 1, 2, 0, 1, 2]);
}

#[tokio::test]
async fn the_audit_log_distinguishes_reused_and_new_connections() {
    let (address, _) = server(&[ServerBehavior::Answer]).await;
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut host = host_with_audited_names(API, &target(address, ""), &[], &told);
    for _ in 0..2 {
        read(&mut host, "api").await.unwrap();
    }
    let told = told.lock().unwrap().clone();
    let told: Vec<_> = told.iter().filter(|line| line.contains("127.0.0.1")).collect();
    assert_eq!(told, ["allowed connect 127.0.0.1", "allowed reused connection to 127.0.0.1"]);
}

#[tokio::test]
async fn a_read_is_retried_once_if_its_reused_connection_was_closed() {
    use ServerBehavior::{Answer, AnswerAndClose, Close};
    // Closed after an answer, whether that is seen in time or not.
    let (address, received) = server(&[AnswerAndClose]).await;
    let mut reads = host(API, &target(address, ""), Path::new("/"));
    for _ in 0..5 {
        assert_eq!(read(&mut reads, "api").await.unwrap().body, b"hello");
    }
    assert_eq!(connections(&received), [0, 1, 2, 3, 4]);
    // Closed when the request has been read.
    let (address, received) = server(&[Answer, Close, Answer]).await;
    let mut reads = host(API, &target(address, ""), Path::new("/"));
    read(&mut reads, "api").await.unwrap();
    assert_eq!(read(&mut reads, "api").await.unwrap().body, b"hello");
    assert_eq!(connections(&received), [0, 0, 1]);
    // Again on the new one: that is a fault.
    let (address, received) = server(&[Answer, Close, Close]).await;
    let mut reads = host(API, &target(address, ""), Path::new("/"));
    read(&mut reads, "api").await.unwrap();
    let fault = read(&mut reads, "api").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "http.broken"));
    assert_eq!(connections(&received), [0, 0, 1]);
}

#[tokio::test]
async fn a_change_is_sent_once_on_a_connection_that_is_new() {
    use ServerBehavior::{Answer, AnswerAndClose, Close};
    let (address, received) = server(&[Answer, Answer, Answer, Close]).await;
    let mut both = host(API, &target(address, ""), Path::new("/"));
    read(&mut both, "api").await.unwrap();
    send_change(&mut both, "api").await.unwrap();
    read(&mut both, "api").await.unwrap();
    let fault = send_change(&mut both, "api").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Unknown, "http.broken"));
    let received: Vec<_> = received.lock().unwrap().clone();
    let line = |method: &str| format!("{method} /v1 HTTP/1.1");
    let expected = [(0, "GET"), (1, "POST"), (1, "GET"), (2, "POST")];
    assert_eq!(received, expected.map(|(number, method)| (number, line(method))));
    // No change is lost if the server closes idle connections.
    let (address, received) = server(&[AnswerAndClose]).await;
    let mut both = host(API, &target(address, ""), Path::new("/"));
    for _ in 0..5 {
        read(&mut both, "api").await.unwrap();
        send_change(&mut both, "api").await.unwrap();
    }
    assert_eq!(received.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn a_body_that_was_not_read_to_its_end_ends_its_connection() {
    let (address, received) = server(&[ServerBehavior::Answer]).await;
    let mut host = host(API, &target(address, "max_body = \"1B\""), Path::new("/"));
    for _ in 0..2 {
        let response = read(&mut host, "api").await.unwrap();
        assert_eq!((response.body.len(), response.truncated), (1, true));
    }
    assert_eq!(connections(&received), [0, 1]);
}

/// Serves HTTP/2 requests, and shuts down after `max_requests`.
async fn serve_h2<S>(stream: S, number: usize, received: ReceivedRequests, max_requests: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut count = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        let host = head.headers.contains_key("host");
        let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let scheme = head.uri.scheme_str().unwrap_or_default().to_owned();
        let line = format!("{} {scheme} {path} host={host}", head.method);
        received.lock().unwrap().push((number, line));
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
        }
        let response = hyper::Response::builder().header("x-kind", "h2").body(()).unwrap();
        if let Ok(mut stream) = respond.send_response(response, false) {
            let _ = stream.send_data(Bytes::from_static(b"over h2"), true);
        }
        count += 1;
        if count == max_requests {
            connection.graceful_shutdown();
        }
    }
}

async fn h2_server(
    authority: &CertificateAuthority,
    max_requests: usize,
) -> (SocketAddr, ReceivedRequests) {
    let acceptor = authority.acceptor(&[b"h2", b"http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = ReceivedRequests::default();
    let kept = Arc::clone(&received);
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, received) = (acceptor.clone(), Arc::clone(&kept));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                serve_h2(stream, number, received, max_requests).await;
            });
        }
    });
    (address, received)
}

#[tokio::test]
async fn http_2_is_used_with_a_server_that_supports_it() {
    let authority = CertificateAuthority::new("ours");
    let (address, received) = h2_server(&authority, usize::MAX).await;
    let targets = authority.target(address.port());
    let mut host = host(API, &targets, Path::new("/"));
    let response = read(&mut host, "api").await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, &b"over h2"[..]));
    assert!(response.headers.contains(&("x-kind".to_owned(), "h2".to_owned())));
    assert!(response.timing.tls_us > 0 && response.timing.first_byte_us > 0);
    assert_eq!(read(&mut host, "api").await.unwrap().timing.tls_us, 0);
    assert_eq!(send_change(&mut host, "api").await.unwrap().body, b"over h2");
    let expected = [(0, "GET"), (0, "GET"), (1, "POST")]
        .map(|(number, method)| (number, format!("{method} https / host=false")));
    assert_eq!(*received.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_server_of_http_2_that_goes_away_between_two_reads_is_connected_to_anew() {
    let authority = CertificateAuthority::new("ours");
    let (address, received) = h2_server(&authority, 1).await;
    let mut host = host(API, &authority.target(address.port()), Path::new("/"));
    for _ in 0..5 {
        assert_eq!(read(&mut host, "api").await.unwrap().body, b"over h2");
    }
    assert_eq!(received.lock().unwrap().len(), 5);
}

/// The server negotiates HTTP/2, and then sends something else.
#[tokio::test]
async fn a_server_that_breaks_http_2_is_a_fault_and_leaves_a_change_in_doubt() {
    let authority = CertificateAuthority::new("ours");
    let acceptor = authority.acceptor(&[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.write_all(ok("HTTP/1.1").as_bytes()).await;
            while let Ok(1..) = stream.read(&mut [0; 1000]).await {}
        }
    });
    assert!(get(&authority.target(port), "/").await.is_err());
    let mut host = host(API, &authority.target(port), Path::new("/"));
    let fault = send_change(&mut host, "api").await.unwrap_err();
    assert!(matches!(fault.class, FaultClass::Unknown | FaultClass::Transient), "{fault:?}");
}
