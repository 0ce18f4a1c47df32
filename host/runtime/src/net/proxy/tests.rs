//! Tests against a real proxy, with servers behind it, and against proxies that answer otherwise.

use super::MAX_HEADERS;
use crate::bindings::runbook::http::reader::Host as _;
use crate::bindings::runbook::sql::reader::Host as _;
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::net::testing::{
    Audit, SERVER, acceptor, acceptor_for_clients, allowed, greet, greeter, greeting_target, host,
    https,
};
use crate::testing::Slot;
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::postgres::{self, Postgres};
use runbook_tests::proxy::{self, Tinyproxy};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The lines of a proxy target that the targets of these tests name as `via`.
fn gateway(port: u16, more: &str) -> String {
    format!("[targets.bastion]\nproxy = \"http://127.0.0.1:{port}\"\n{more}\n")
}

const LOGIN: &str = "user = \"runbook\"\npassword = \"secret:word\"";

/// A proxy that reads one request and sends these bytes; then it holds the connection, or ends it.
async fn answering(answer: &'static [u8], end: End) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let length = stream.read(&mut request).await.unwrap_or_default();
            kept.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into_owned());
            let _ = stream.write_all(answer).await;
            match end {
                End::Held => held.push(stream),
                End::Closed => drop(stream),
            }
        }
    });
    (port, requests)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Held,
    Closed,
}

/// What a proxy is asked for, and what becomes of it, for a server of its own at 127.0.0.1.
async fn greet_through(gateway: &str, secrets: &[(&'static str, &str)]) -> Result<String, Fault> {
    let (address, _) = greeter().await;
    let targets = gateway.to_owned() + &greeting_target(address, "");
    greet(&mut host(SERVER, &targets, secrets, &[], &Audit::default())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn http_sql_and_net_work_through_a_real_proxy() {
    let proxy = Tinyproxy::start_with_login();
    let gateway = gateway(proxy.port, LOGIN);
    let secrets = [("word", proxy::PASSWORD), ("pw", postgres::PASSWORD)];
    let audit = Audit::default();
    let authority = CertificateAuthority::new("behind");
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate()).unwrap();

    let port = https(&authority).await.port();
    let targets = format!(
        "{gateway}[targets.t]\nhttp = \"https://localhost:{port}\"\nca = {ca:?}\nvia = \"bastion\"\n"
    );
    let api: &[Slot] = &[("s", &["http.get"], "t")];
    let mut call = host(api, &targets, &secrets, &[("localhost", &["127.0.0.1"])], &audit);
    let response = HostCall::new(&mut call).get("s".to_owned(), "/a".to_owned(), Vec::new()).await;
    let response = response.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"ok".as_slice()));
    assert_eq!(response.peer, format!("127.0.0.1:{port} through bastion"));
    let judged = ["GET /a", "forward to 127.0.0.1", "connect 127.0.0.1 (gateway 127.0.0.1)"];
    assert_eq!(allowed(&audit), judged);

    let postgres = Postgres::start(3);
    let targets = format!(
        "{gateway}[targets.t]\nsql = \"postgres://orders_admin@127.0.0.1:{}/orders?sslmode=disable\"\n\
         password = \"secret:pw\"\nsuperuser = true\nvia = \"bastion\"\n",
        postgres.port
    );
    let database: &[Slot] = &[("s", &["sql.query"], "t")];
    let mut call = host(database, &targets, &secrets, &[], &audit);
    let count = "select count(*) from orders".to_owned();
    HostCall::new(&mut call).query("s".to_owned(), count, Vec::new()).await.unwrap();

    // This server speaks first, so what it says may come with the answer of the proxy.
    let (address, count) = greeter().await;
    let targets = gateway + &greeting_target(address, "");
    let greeting = greet(&mut host(SERVER, &targets, &secrets, &[], &audit)).await.unwrap();
    assert_eq!(greeting, format!("\"220 ready\\r\\n\" by {address} through bastion"));
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
    let asked = proxy.requests();
    let expected = [port, postgres.port, address.port()]
        .map(|port| format!("CONNECT 127.0.0.1:{port} HTTP/1.1"));
    assert_eq!(asked, expected, "nothing but CONNECT, to addresses that were judged");
}

#[tokio::test]
async fn each_answer_of_a_proxy_that_is_no_connection_has_a_class_and_shows_nothing_of_it() {
    let (login, none) = (LOGIN, "");
    for (answer, more, class, code) in [
        ("407 Proxy Authentication Required", login, FaultClass::Invalid, "proxy.login"),
        ("407 Proxy Authentication Required", none, FaultClass::Invalid, "proxy.login"),
        ("401 Unauthorized", login, FaultClass::Invalid, "proxy.login"),
        ("403 Forbidden", none, FaultClass::Invalid, "proxy.forbidden"),
        ("204 No Content", none, FaultClass::Invalid, "proxy.refused"),
        ("400 Bad Request", none, FaultClass::Invalid, "proxy.refused"),
        ("404 Not Found", none, FaultClass::Invalid, "proxy.refused"),
        ("405 Method Not Allowed", none, FaultClass::Invalid, "proxy.refused"),
        ("301 Moved", none, FaultClass::Invalid, "proxy.redirect"),
        ("302 Found", none, FaultClass::Invalid, "proxy.redirect"),
        ("307 Temporary Redirect", none, FaultClass::Invalid, "proxy.redirect"),
        ("101 Switching Protocols", none, FaultClass::Invalid, "proxy.refused"),
        ("429 Too Many Requests", none, FaultClass::Transient, "proxy.unreachable"),
        ("500 Internal Server Error", none, FaultClass::Transient, "proxy.unreachable"),
        ("502 Bad Gateway", none, FaultClass::Transient, "proxy.unreachable"),
        ("503 Service Unavailable", none, FaultClass::Transient, "proxy.unreachable"),
        ("504 Gateway Timeout", none, FaultClass::Transient, "proxy.unreachable"),
    ] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = elsewhere.local_addr().unwrap();
        let text = format!(
            "HTTP/1.1 {answer}\r\nLocation: http://{place}/\r\nContent-Length: 9\r\n\
             Upgrade: x\r\nConnection: upgrade\r\n\r\nof-a-page"
        );
        let (port, requests) =
            answering(Box::leak(text.into_boxed_str()).as_bytes(), End::Held).await;
        let fault = greet_through(&gateway(port, more), &[("word", "hunter2")]).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (class, code),
            "{answer}: {}",
            fault.message
        );
        for hidden in ["of-a-page", "hunter2", "cnVuYm9vazpodW50ZXIy"] {
            assert!(!fault.message.contains(hidden), "{}", fault.message);
        }
        let asked = requests.lock().unwrap().clone();
        assert_eq!(asked.len(), 1, "{answer}: it is asked once");
        let shows_login = asked[0].contains("proxy-authorization: Basic cnVuYm9vazpodW50ZXIy\r\n");
        assert_eq!(shows_login, more == LOGIN, "{asked:?}");
        let moved = tokio::time::timeout(std::time::Duration::from_millis(50), elsewhere.accept());
        assert!(moved.await.is_err(), "{answer}: nobody goes where the proxy points");
    }
}

#[tokio::test]
async fn what_is_no_proxy_is_a_fault_and_never_more_than_a_little_is_read() {
    let header = |count: usize| {
        let headers: String = (0..count).map(|n| format!("X-{n}: a\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{headers}\r\n")
    };
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "a".repeat(1 << 20));
    let endless = format!("HTTP/1.1 200 {}", "a".repeat(1 << 20));
    for (what, answer) in [
        ("a banner of SSH", "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        ("bytes", "\u{0}\u{1}\u{2}\r\n\r\n".to_owned()),
        ("another version", "HTTP/3.0 200 OK\r\n\r\n".to_owned()),
        ("no status", "HTTP/1.1 OK\r\n\r\n".to_owned()),
        ("a header without a name", "HTTP/1.1 200 OK\r\n: x\r\n\r\n".to_owned()),
        ("too many headers", header(MAX_HEADERS + 1)),
        ("a header that is too long", long),
        ("a line without end", endless),
    ] {
        let (port, _) = answering(Box::leak(answer.into_boxed_str()).as_bytes(), End::Held).await;
        let fault = greet_through(&gateway(port, ""), &[]).await.unwrap_err();
        let found = (fault.class, fault.code.as_str());
        assert_eq!(found, (FaultClass::Assertion, "proxy.protocol"), "{what}: {}", fault.message);
        assert!(fault.message.len() < 500, "{what}: {}", fault.message);
    }
    for (what, answer) in
        [("nothing", ""), ("half a line", "HTTP/1.1 2"), ("half a head", "HTTP/1.1 200 OK\r\nA: b")]
    {
        let (port, _) = answering(answer.as_bytes(), End::Closed).await;
        let fault = greet_through(&gateway(port, ""), &[]).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Transient, "{what}: {}", fault.message);
        assert_eq!(fault.code, "proxy.ended", "{what}: {}", fault.message);
    }
}

#[tokio::test]
async fn what_follows_the_answer_of_a_proxy_is_what_the_server_says() {
    for answer in [
        "HTTP/1.1 200 Connection established\r\n\r\n220 ready\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n220 ready\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n220 ready\r\n",
    ] {
        let (port, requests) = answering(answer.as_bytes(), End::Held).await;
        let greeting = greet_through(&gateway(port, ""), &[]).await;
        let greeting = greeting.unwrap_or_else(|fault| panic!("{answer}: {}", fault.message));
        assert!(greeting.starts_with("\"220 ready\\r\\n\""), "{greeting}");
        let asked = requests.lock().unwrap().clone();
        let lines: Vec<_> = asked[0].split("\r\n").collect();
        let server = lines[0].strip_prefix("CONNECT ").and_then(|line| line.split(' ').next());
        assert_eq!(lines[1..], [&format!("host: {}", server.unwrap()), "", ""]);
    }
}

#[tokio::test]
async fn a_proxy_that_never_answers_is_left_at_its_timeout() {
    for answer in ["", "HTTP/1.1 200 OK\r\nX-Slow: a", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (port, _) = answering(answer.as_bytes(), End::Held).await;
        let fault = greet_through(&gateway(port, "timeout = \"200ms\""), &[]).await.unwrap_err();
        let found = (fault.class, fault.code.as_str());
        assert_eq!(found, (FaultClass::Timeout, "proxy.timeout"), "{}", fault.message);
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let fault = greet_through(&gateway(free, ""), &[]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "proxy.connect"));
}

/// A proxy behind TLS: what it decrypts goes to the real one.
async fn encrypted(acceptor: TlsAcceptor, to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut near = match acceptor.accept(stream).into_fallible().await {
                    Ok(near) => near,
                    Err((_, mut stream)) => {
                        // What is not read would reset the connection before the alert is.
                        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                        return;
                    }
                };
                let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_tls_is_verified_by_the_authority_of_its_target_alone() {
    let proxy = Tinyproxy::start_with_login();
    let (authority, other) =
        (CertificateAuthority::new("ours"), CertificateAuthority::new("other"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &CertificateAuthority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.certificate()).unwrap();
        path
    };
    let (ours, others) = (file("ours.pem", &authority), file("others.pem", &other));
    let secrets = [("word", proxy::PASSWORD)];
    for (name, ca, is_good) in [
        ("127.0.0.1", Some(&ours), true),
        ("127.0.0.1", Some(&others), false),
        ("127.0.0.1", None, false),
        ("elsewhere.test", Some(&ours), false),
    ] {
        let port = encrypted(acceptor(&authority, name), proxy.port).await;
        let ca = ca.map_or_else(String::new, |path| format!("ca = {path:?}\n"));
        let gateway =
            format!("[targets.bastion]\nproxy = \"https://127.0.0.1:{port}\"\n{ca}{LOGIN}\n");
        let before = proxy.requests().len();
        match greet_through(&gateway, &secrets).await {
            Ok(greeting) => assert!(is_good, "{name}: {greeting}"),
            Err(fault) => {
                assert!(!is_good, "{name}: {}", fault.message);
                let found = (fault.class, fault.code.as_str());
                assert_eq!(
                    found,
                    (FaultClass::Assertion, "proxy.certificate"),
                    "{}",
                    fault.message
                );
            }
        }
        assert_eq!(proxy.requests().len() > before, is_good, "no word goes to another proxy");
    }
    let (port, _) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n", End::Closed).await;
    let plain = format!("[targets.bastion]\nproxy = \"https://127.0.0.1:{port}\"\n");
    let fault = greet_through(&plain, &[]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Assertion, "proxy.tls"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_asks_for_a_certificate_gets_that_of_the_target() {
    let proxy = Tinyproxy::start("");
    let (authority, clients) = (CertificateAuthority::new("ours"), CertificateAuthority::new("us"));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate()).unwrap();
    clients.client("runbook").write(folder.path(), "client");
    let shown = format!(
        "client_cert = {:?}\nclient_key = {:?}\n",
        folder.path().join("client.pem"),
        folder.path().join("client.key")
    );
    let acceptor = acceptor_for_clients(&authority, "127.0.0.1", &clients);
    let port = encrypted(acceptor, proxy.port).await;
    for (more, is_good) in [(shown.as_str(), true), ("", false)] {
        let gateway =
            format!("[targets.bastion]\nproxy = \"https://127.0.0.1:{port}\"\nca = {ca:?}\n{more}");
        match greet_through(&gateway, &[]).await {
            Ok(greeting) => assert!(is_good, "{greeting}"),
            Err(fault) => {
                assert!(!is_good, "{}", fault.message);
                let found = (fault.class, fault.code.as_str());
                // The alert of TLS is lost if the proxy hangs up before it has read the request.
                let expected = [
                    (FaultClass::Invalid, "proxy.client-certificate"),
                    (FaultClass::Transient, "proxy.ended"),
                ];
                assert!(expected.contains(&found), "{}", fault.message);
            }
        }
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_judged_addresses_and_for_names_only_with_remote_dns() {
    let answer = b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n";
    let net_target = |more: &str| {
        format!("[targets.t]\nnet = \"mail.test\"\nports = [25]\nvia = \"bastion\"\n{more}\n")
    };
    for (address, more, asked) in [
        ("1.1.1.1", "", Some("CONNECT 1.1.1.1:25 ")),
        ("2606:4700::9", "", Some("CONNECT [2606:4700::9]:25 ")),
        ("10.0.0.9", "addresses = [\"private\"]", Some("CONNECT 10.0.0.9:25 ")),
        ("10.0.0.9", "", None),
        ("169.254.169.254", "addresses = [\"private\", \"link-local\"]", None),
        ("10.0.0.9", "remote_dns = true", Some("CONNECT mail.test:25 ")),
    ] {
        let (port, requests) = answering(answer, End::Held).await;
        let targets = gateway(port, "") + &net_target(more);
        let names: &[(&str, &[&str])] = &[("mail.test", &[address])];
        let audit = Audit::default();
        let greeted = greet(&mut host(SERVER, &targets, &[], names, &audit)).await;
        let lines = requests.lock().unwrap().clone();
        match asked {
            Some(line) => {
                greeted.unwrap_or_else(|fault| panic!("{address} {more}: {}", fault.message));
                assert!(lines[0].starts_with(line), "{lines:?}");
            }
            None => {
                assert_eq!(greeted.unwrap_err().class, FaultClass::Denied, "{address}");
                assert!(lines.is_empty(), "no packet is sent: {lines:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_addresses_of_a_proxy_are_judged_by_its_own_key() {
    let (port, requests) = answering(b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n", End::Held).await;
    let target = greeting_target(SocketAddr::from(([127, 0, 0, 1], 25)), "");
    for (more, class) in [("", Some(FaultClass::Denied)), ("addresses = [\"loopback\"]", None)] {
        let proxy = format!("[targets.bastion]\nproxy = \"http://proxy.test:{port}\"\n{more}\n");
        let names: &[(&str, &[&str])] = &[("proxy.test", &["127.0.0.1"])];
        let mut call = host(SERVER, &(proxy + &target), &[], names, &Audit::default());
        assert_eq!(greet(&mut call).await.err().map(|fault| fault.class), class);
        assert_eq!(requests.lock().unwrap().is_empty(), class.is_some(), "no packet is sent");
    }
}

/// A change of which nobody knows whether it arrived is in doubt, as over a direct connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_killed_in_the_middle_leaves_a_read_transient() {
    let postgres = Postgres::start(1);
    let mut proxy = Tinyproxy::start("");
    let targets = format!(
        "{}[targets.t]\nsql = \"postgres://orders_admin@127.0.0.1:{}/orders?sslmode=disable\"\n\
         password = \"secret:pw\"\nsuperuser = true\nvia = \"bastion\"\n",
        gateway(proxy.port, ""),
        postgres.port
    );
    let secrets = [("pw", postgres::PASSWORD)];
    let database: &[Slot] = &[("s", &["sql.query"], "t")];
    let mut call = host(database, &targets, &secrets, &[], &Audit::default());
    let runs = tokio::spawn(async move {
        let sleep = "select pg_sleep(300)".to_owned();
        HostCall::new(&mut call).query("s".to_owned(), sleep, Vec::new()).await.map(drop)
    });
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    let is_sleeping = || postgres.psql("postgres", sleeping) != "0";
    tokio::task::block_in_place(|| runbook_tests::wait_for("the statement runs", is_sleeping));
    tokio::task::block_in_place(|| proxy.kill());
    let fault = runs.await.unwrap().unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{}", fault.message);
}
