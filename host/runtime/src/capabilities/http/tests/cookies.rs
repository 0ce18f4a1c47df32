//! Cookies that a server sets, and the requests in which they come back.

use super::auth::{Requests, answering, header_of, with_status};
use super::tls::CertificateAuthority;
use crate::bindings::runbook::http::types::Response;
use crate::bindings::runbook::http::{reader::Host as _, writer::Host as _};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host};
use std::net::SocketAddr;
use std::path::Path;

const SLOTS: &[Slot] = &[
    ("api", &["http.get", "http.post"], "api"),
    ("same", &["http.get"], "api"),
    ("plain", &["http.get"], "plain"),
];

/// A server that sets these cookies in each answer to `/set`.
async fn setting(cookies: &[&str]) -> (SocketAddr, Requests) {
    let lines: String = cookies.iter().map(|line| format!("Set-Cookie: {line}\r\n")).collect();
    answering(None, move |request| {
        let set = if request.contains("/set ") { lines.as_str() } else { "" };
        with_status("200 OK", &format!("{set}Connection: close\r\n"), "done")
    })
    .await
}

fn targets(base: &str) -> String {
    format!(
        "[targets.api]\nhttp = \"{base}\"\ncookies = true\n[targets.plain]\nhttp = \"{base}\"\n"
    )
}

async fn get(host: &mut Host, slot: &str, path: &str) -> Response {
    HostCall::new(host).get(slot.to_owned(), path.to_owned(), Vec::new()).await.unwrap()
}

/// The header `Cookie` of the last request.
fn last_cookies(requests: &Requests) -> Option<String> {
    let requests = requests.lock().unwrap();
    header_of(requests.last().unwrap(), "cookie").map(str::to_owned)
}

#[tokio::test]
async fn cookies_go_back_to_the_server_that_set_them_alone() {
    let (address, requests) = setting(&["session=1234; Path=/", "b=2"]).await;
    let (other, other_requests) = setting(&[]).await;
    let targets = targets(&format!("http://{address}"));
    let elsewhere = format!("[targets.api]\nhttp = \"http://{other}\"\ncookies = true\n");
    let mut call = host(SLOTS, &targets, Path::new("/"));
    let response = get(&mut call, "api", "/set").await;
    assert_eq!(last_cookies(&requests), None);
    // What the host keeps, the plugin does not see.
    assert!(
        response.headers.iter().all(|(name, _)| name != "set-cookie"),
        "{:?}",
        response.headers
    );
    get(&mut call, "api", "/next").await;
    assert_eq!(last_cookies(&requests).as_deref(), Some("b=2; session=1234"));
    // Another slot of the same target, a target that keeps none, another call, another server.
    for slot in ["same", "plain"] {
        let response = get(&mut call, slot, "/set").await;
        assert_eq!(last_cookies(&requests), None, "{slot}");
        let sees_them = response.headers.iter().any(|(name, _)| name == "set-cookie");
        assert_eq!(sees_them, slot == "plain");
    }
    get(&mut call, "plain", "/next").await;
    assert_eq!(last_cookies(&requests), None);
    let mut next_call = host(SLOTS, &targets, Path::new("/"));
    get(&mut next_call, "api", "/next").await;
    assert_eq!(last_cookies(&requests), None);
    let mut other_target = host(&SLOTS[..1], &elsewhere, Path::new("/"));
    get(&mut other_target, "api", "/next").await;
    assert_eq!(last_cookies(&other_requests), None);
    // A change sends them, too.
    HostCall::new(&mut call)
        .post("api".to_owned(), "/".to_owned(), Vec::new(), Vec::new(), Vec::new())
        .await
        .unwrap();
    assert_eq!(last_cookies(&requests).as_deref(), Some("b=2; session=1234"));
}

/// Each kind of attribute, over a connection that is not encrypted and over one that is.
#[tokio::test]
async fn a_cookie_goes_back_only_where_its_attributes_let_it() {
    let long = format!("a={}", "x".repeat(5000));
    for (line, path, plain, encrypted) in [
        ("a=1", "/x", true, true),
        ("a=1; Secure", "/x", false, true),
        ("a=1; Secure; HttpOnly; SameSite=Strict", "/x", false, true),
        ("a=1; Path=/x", "/x/y", true, true),
        ("a=1; Path=/x", "/xy", false, false),
        ("a=1; Path=/set", "/x", false, false),
        ("a=1; Max-Age=0", "/x", false, false),
        ("a=1; Max-Age=-1", "/x", false, false),
        ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "/x", false, false),
        ("a=1; Max-Age=3600", "/x", true, true),
        ("a=1; Domain=localhost", "/x", true, true),
        ("a=1; Domain=other.example", "/x", false, false),
        ("a=1; Domain=127.0.0.1", "/x", false, false),
        ("a=1; Domain=host", "/x", false, false),
        ("__Secure-a=1", "/x", false, false),
        ("__Secure-a=1; Secure", "/x", false, true),
        ("__Host-a=1; Secure", "/x", false, false),
        ("__Host-a=1; Secure; Path=/", "/x", false, true),
        ("__host-a=1; Secure; Path=/; Domain=localhost", "/x", false, false),
        (long.as_str(), "/x", false, false),
        ("", "/x", false, false),
        ("=", "/x", false, false),
    ] {
        for is_encrypted in [false, true] {
            let authority = CertificateAuthority::new("ours");
            let set = format!("Set-Cookie: {line}\r\nConnection: close\r\n");
            let tls = is_encrypted.then(|| authority.acceptor(&[]));
            let (address, requests) =
                answering(tls, move |_| with_status("200 OK", &set, "done")).await;
            let target = if is_encrypted {
                authority.target(address.port()) + "cookies = true\n"
            } else {
                format!(
                    "[targets.api]\nhttp = \"http://localhost:{}\"\ncookies = true\n",
                    address.port()
                )
            };
            let mut call = host(&SLOTS[..1], &target, Path::new("/"));
            get(&mut call, "api", "/set").await;
            get(&mut call, "api", path).await;
            let is_expected = if is_encrypted { encrypted } else { plain };
            let found = last_cookies(&requests);
            assert_eq!(found.is_some(), is_expected, "{line} {path} {is_encrypted}: {found:?}");
        }
    }
}

#[tokio::test]
async fn a_server_cannot_fill_the_memory_of_the_host_with_cookies() {
    let (address, requests) = answering(None, |request| {
        let number = request.len();
        let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let lines: String = (0..20)
            .map(|index| format!("Set-Cookie: c{path}-{index}={number}; Path=/\r\n"))
            .collect();
        with_status("200 OK", &format!("{lines}Connection: close\r\n"), "done")
    })
    .await;
    let targets = format!("[targets.api]\nhttp = \"http://{address}\"\ncookies = true\n");
    let mut call = host(&SLOTS[..1], &targets, Path::new("/"));
    for number in 0..5 {
        get(&mut call, "api", &format!("/{number}")).await;
    }
    let cookies = last_cookies(&requests).unwrap();
    assert_eq!(cookies.split("; ").count(), 50);
}
