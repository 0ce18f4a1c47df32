//! Tests responses that a server has compressed, or claims to have.

use super::super::decoding::gzip_of;
use super::{API, get, ok, server, target};
use crate::bindings::runbook::http::types::{Header, HeaderValue, Response};
use crate::bindings::runbook::http::{reader::Host as _, writer::Host as _};
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::testing::host;
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn encoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\nVary: x\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn names(response: &Response) -> Vec<&str> {
    response.headers.iter().map(|(name, _)| name.as_str()).collect()
}

async fn get_with(targets: &str, name: &str, value: &str) -> Result<Response, Fault> {
    let headers =
        vec![Header { name: name.to_owned(), value: HeaderValue::Plain(value.to_owned()) }];
    HostCall::new(&mut host(API, targets, Path::new("/")))
        .get("api".to_owned(), "/".to_owned(), headers)
        .await
}

#[tokio::test]
async fn a_compressed_body_that_the_host_asked_for_is_decoded_and_its_encoding_headers_are_removed()
{
    let (address, requests) = server(encoded("gzip", &gzip_of(b"hello"))).await;
    let response = get(&target(address, ""), "/").await.unwrap();
    assert_eq!((response.body.as_slice(), response.truncated), (&b"hello"[..], false));
    assert_eq!(names(&response), ["vary"]);
    let request = requests.lock().unwrap()[0].to_lowercase();
    assert!(request.contains("accept-encoding: gzip, deflate, br, zstd\r\n"), "{request}");
    // A response without a body stays empty.
    let (empty, _) = server(encoded("gzip", b"")).await;
    assert_eq!(get(&target(empty, ""), "/").await.unwrap().body, b"");
}

#[tokio::test]
async fn a_plugin_or_target_that_sets_accept_encoding_gets_the_encoded_body() {
    let stream = gzip_of(b"hello");
    let (address, requests) = server(encoded("gzip", &stream)).await;
    let by_plugin = target(address, "request_headers = [\"Accept-Encoding\", \"Range\"]");
    let by_target = target(address, "headers = { Accept-Encoding = \"gzip\" }");
    for response in [
        get_with(&by_plugin, "Accept-Encoding", "gzip, deflate, br, zstd").await,
        get_with(&by_plugin, "Range", "bytes=0-9").await,
        get(&by_target, "/").await,
    ] {
        let response = response.unwrap();
        assert_eq!(response.body, stream);
        assert_eq!(names(&response), ["content-encoding", "content-length", "vary"]);
    }
    let requests = requests.lock().unwrap().clone();
    assert!(requests[1].to_lowercase().contains("accept-encoding: identity\r\n"), "{requests:?}");
    // A body with an unknown encoding is returned unchanged, with its header.
    let (unsupported, _) = server(encoded("compress", b"\x1f\x9d")).await;
    let response = get(&target(unsupported, ""), "/").await.unwrap();
    assert_eq!(response.body, b"\x1f\x9d");
    assert!(names(&response).contains(&"content-encoding"));
    // The headers of a response to HEAD are unchanged.
    let (head, requests) =
        server("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\n").await;
    let response = HostCall::new(&mut host(API, &target(head, ""), Path::new("/")))
        .head("api".to_owned(), "/".to_owned(), Vec::new())
        .await
        .unwrap();
    assert_eq!(names(&response), ["content-encoding", "content-length"]);
    assert!(requests.lock().unwrap()[0].to_lowercase().contains("accept-encoding: identity\r\n"));
}

#[tokio::test]
async fn the_size_limit_counts_decoded_bytes_and_a_secret_at_the_limit_is_scrubbed() {
    let secret = "Bearer s3cr3t-t0ken, czNjcjN0LXQwa2Vu, s3cr3t%2Dt0ken and so on";
    let echo = "x".repeat(1024 - 8) + secret + &"y".repeat(3000);
    for before in (0..70).step_by(3) {
        let (address, _) = server(encoded("gzip", &gzip_of(&echo.as_bytes()[before..]))).await;
        let more = "headers = { Authorization = \"Bearer secret:token\" }\nmax_body = \"1KiB\"";
        let response = get(&target(address, more), "/").await.unwrap();
        let body = String::from_utf8(response.body).unwrap();
        assert!(response.truncated && body.starts_with("xxx"), "{before}: {body}");
        assert!(!body.contains("s3") && !body.contains("czN"), "{before}: {}", &body[900..]);
    }
}

/// A server that sends the same piece of an encoded body until the connection is closed.
async fn endless(coding: &str, begin: Vec<u8>, piece: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n\r\n");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1000]).await;
        let _ = stream.write_all(&[head.as_bytes(), &begin].concat()).await;
        while stream.write_all(&piece).await.is_ok() {}
    });
    address
}

#[tokio::test]
async fn a_response_that_decompresses_without_end_is_truncated_or_stopped_at_the_timeout() {
    let bomb = gzip_of(&vec![b'x'; 16 << 20]);
    let twice = gzip_of(&bomb.repeat(10));
    for (coding, piece) in [("gzip", bomb), ("gzip, gzip", twice)] {
        let address = endless(coding, Vec::new(), piece).await;
        let response = get(&target(address, "max_body = \"1MiB\""), "/").await.unwrap();
        assert_eq!((response.body.len(), response.truncated), (1 << 20, true), "{coding}");
    }
    let empty_body = gzip_of(&gzip_of(b"").repeat(50_000));
    let address = endless("gzip, gzip", Vec::new(), empty_body).await;
    let fault = get(&target(address, "timeout = \"1s\""), "/").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "http.timeout"));
}

async fn post(targets: &str) -> Result<Response, Fault> {
    HostCall::new(&mut host(API, targets, Path::new("/")))
        .post("api".to_owned(), "/".to_owned(), Vec::new(), b"x".to_vec(), Vec::new())
        .await
}

/// A response that cannot be decoded is a wrong response to a read. After a change its effect is
/// unknown.
#[tokio::test]
async fn an_answer_that_cannot_be_read_is_wrong_and_leaves_a_change_in_doubt() {
    let whole = gzip_of(b"hello");
    let mut damaged = whole.clone();
    damaged[whole.len() - 6] ^= 1;
    let chunk = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {}\r\n", "gzip,".repeat(9));
    for (answer, code, class) in [
        (encoded("gzip", &damaged), "http.encoding", FaultClass::Assertion),
        (encoded("gzip", &whole[..9]), "http.encoding", FaultClass::Assertion),
        (encoded("br", b"plain text"), "http.encoding", FaultClass::Assertion),
        (encoded("gzip, zstd", &whole), "http.encoding", FaultClass::Assertion),
        (format!("{chunk}\r\n").into_bytes(), "http.encoding", FaultClass::Assertion),
        (b"220 mail.example ESMTP\r\n".to_vec(), "http.protocol", FaultClass::Assertion),
        // Cut by the connection, not by the encoder.
        (
            [
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 90\r\n\r\n",
                &whole[..9],
            ]
            .concat(),
            "http.broken",
            FaultClass::Transient,
        ),
    ] {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let (address, _) = server(answer).await;
        let fault = get(&target(address, ""), "/").await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{shown}: {}", fault.message);
        let fault = post(&target(address, "")).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Unknown, code), "{shown}");
    }
    // Damage after the returned part is ignored.
    let long = gzip_of("x".repeat(100_000).as_bytes());
    let (address, _) = server(encoded("gzip", &long[..long.len() - 4])).await;
    let response = get(&target(address, "max_body = \"1KiB\""), "/").await.unwrap();
    assert_eq!((response.body.len(), response.truncated), (1024, true));
    let (address, _) = server(ok("plain")).await;
    assert_eq!(post(&target(address, "")).await.unwrap().body, b"plain");
}
