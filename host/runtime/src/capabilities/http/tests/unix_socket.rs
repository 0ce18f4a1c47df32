//! Targets that are reached through a Unix socket of this host.

use super::{API, ok};
use crate::bindings::runbook::http::types::Response;
use crate::bindings::runbook::http::{reader::Host as _, writer::Host as _};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{host, host_with_audited_names};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

type Requests = Arc<Mutex<Vec<(usize, String)>>>;

/// A server on a socket of this path, which answers every request with `answer`. The requests have
/// the number of their connection.
fn serve(path: &Path, answer: String) -> Requests {
    let listener = UnixListener::bind(path).unwrap();
    let requests = Requests::default();
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let (answer, kept) = (answer.clone(), Arc::clone(&kept));
            tokio::spawn(async move {
                let mut buffer = vec![0; 10_000];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    kept.lock().unwrap().push((number, text));
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    requests
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().canonicalize().unwrap();
    (home, path)
}

/// A target behind a socket, whose address is that of a server which must not be reached.
fn target(socket: &str, port: u16, more: &str) -> String {
    format!("[targets.api]\nhttp = \"http://localhost:{port}/v1\"\nsocket = {socket:?}\n{more}\n")
}

async fn get(host: &mut Host) -> Result<Response, Fault> {
    HostCall::new(host).get("api".to_owned(), "/orders?a=1".to_owned(), Vec::new()).await
}

#[tokio::test]
async fn a_request_goes_through_the_socket_and_not_to_the_address() {
    let (_home, home) = folder();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let requests = serve(&home.join("app.sock"), ok("by socket"));
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let socket = home.join("app.sock").display().to_string();
    let mut by_audit = host_with_audited_names(API, &target(&socket, port, ""), &[], &told);
    for _ in 0..2 {
        let response = get(&mut by_audit).await.unwrap();
        assert_eq!((response.body.as_slice(), &response.peer), (&b"by socket"[..], &socket));
    }
    // A path below the folder of the runbook, and a link that was there when it was read.
    std::os::unix::fs::symlink("app.sock", home.join("link.sock")).unwrap();
    for path in ["app.sock", "link.sock", "./link.sock"] {
        let mut relative = host(API, &target(path, port, ""), &home);
        assert_eq!(get(&mut relative).await.unwrap().status, 200, "{path}");
    }
    let mut changing = host(API, &target(&socket, port, ""), Path::new("/"));
    HostCall::new(&mut changing)
        .post("api".to_owned(), "/".to_owned(), Vec::new(), b"x".to_vec(), Vec::new())
        .await
        .unwrap();
    let requests = requests.lock().unwrap().clone();
    let (first, last) = (&requests[0].1, &requests[requests.len() - 1].1);
    assert!(first.starts_with("GET /v1/orders?a=1 HTTP/1.1\r\n"), "{first}");
    assert!(first.to_lowercase().contains(&format!("host: localhost:{port}\r\n")), "{first}");
    assert!(last.starts_with("POST /v1/ ") || last.starts_with("POST /v1 "), "{last}");
    let numbers: Vec<_> = requests.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 0, 1, 2, 3, 4], "reads of one call share a connection");
    let told = told.lock().unwrap().clone();
    let told: Vec<_> = told.iter().filter(|line| line.contains("socket")).cloned().collect();
    assert_eq!(
        told,
        [
            format!("allowed connect socket {socket}"),
            format!("allowed reused connection to socket {socket}")
        ]
    );
    drop(elsewhere);
}

/// What is at the path is another thing than when the target was read.
#[tokio::test]
async fn a_socket_that_was_replaced_is_not_connected_to() {
    let (_home, home) = folder();
    let (app, other) = (home.join("app.sock"), home.join("other.sock"));
    let other_requests = serve(&other, ok("other"));
    let fault_of = |fault: Fault| (fault.class, fault.code.clone());
    let invalid = (FaultClass::Invalid, "http.socket".to_owned());
    let transient = (FaultClass::Transient, "http.connect".to_owned());
    let app_text = app.display().to_string();
    let read = || host(API, &target(&app_text, 1, ""), Path::new("/"));
    for (put, expected) in [
        ("nothing", &transient),
        ("a closed socket", &transient),
        ("a file", &invalid),
        ("a link", &invalid),
    ] {
        let requests = serve(&app, ok("app"));
        let mut host = read();
        std::fs::remove_file(&app).unwrap();
        match put {
            "a closed socket" => drop(std::os::unix::net::UnixListener::bind(&app).unwrap()),
            "a file" => std::fs::write(&app, "").unwrap(),
            "a link" => std::os::unix::fs::symlink(&other, &app).unwrap(),
            _ => {}
        }
        let fault = get(&mut host).await.unwrap_err();
        assert_eq!(&fault_of(fault), expected, "{put}");
        assert_eq!(requests.lock().unwrap().len(), 0, "{put}");
        let _ = std::fs::remove_file(&app);
    }
    assert_eq!(other_requests.lock().unwrap().len(), 0);
    // A service that was restarted has a new socket at the path.
    let mut host = read();
    serve(&app, ok("app"));
    assert_eq!(get(&mut host).await.unwrap().body, b"app");
}

#[tokio::test]
async fn a_redirect_of_a_socket_leads_only_back_to_it() {
    let (_home, home) = folder();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    for (location, is_followed) in [
        ("/v1/next".to_owned(), true),
        (format!("http://localhost:{port}/v1/next"), true),
        (format!("http://127.0.0.1:{port}/v1/next"), false),
        ("http://localhost:1/v1/next".to_owned(), false),
        ("/admin".to_owned(), false),
    ] {
        let path = home.join("app.sock");
        let head =
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let requests = serve(&path, head);
        let socket = path.display().to_string();
        let mut host = host(API, &target(&socket, port, "redirects = 2"), Path::new("/"));
        assert_eq!(get(&mut host).await.unwrap_err().class, FaultClass::Denied, "{location}");
        let expected = if is_followed { 3 } else { 1 };
        assert_eq!(requests.lock().unwrap().len(), expected, "{location}");
        std::fs::remove_file(&path).unwrap();
    }
    drop(elsewhere);
}
