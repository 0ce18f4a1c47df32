//! A server that answers as the documented HTTP API of Vault does: the login of an AppRole, and
//! reads of a KV store of version 2.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The role that may log in.
pub const ROLE_ID: &str = "59d6d1ca-47bb-4e7e-a40b-8be3bc5a0ba8";
/// The secret id of the role.
pub const SECRET_ID: &str = "84896a0c-1347-aa90-a4f6-aca8b7558780";
/// The token that reads `kv`.
pub const TOKEN: &str = "hvs.CAESIExampleTokenOfTheTests";

/// How the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// As Vault that is unsealed.
    Unsealed,
    /// As Vault that is sealed.
    Sealed,
    /// As a proxy before it that shows a page of its own, with this status.
    ErrorPage(u16),
}

/// The server, on loopback. It has `kv/orders/db` with the fields `password`, `port` and `nested`,
/// whose version 1 was deleted.
#[derive(Debug)]
pub struct VaultServer {
    /// Its port.
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl VaultServer {
    /// Starts one whose `password` is this text.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn start(password: &str, behavior: Behavior) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (requests, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, stopped, password) =
            (Arc::clone(&requests), Arc::clone(&stop), password.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(stream) = stream
                    && let Some(line) = serve(&stream, &password, behavior)
                {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            }
        });
        Self { port, requests, stop }
    }

    /// The method and the path of each request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for VaultServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Answers one request. Returns its method and path.
fn serve(stream: &TcpStream, password: &str, behavior: Behavior) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let line = line.trim().trim_end_matches(" HTTP/1.1").to_owned();
    let (mut token, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "x-vault-token" => value.trim().clone_into(&mut token),
            "authorization" => {
                value.trim().strip_prefix("Bearer ")?.clone_into(&mut token);
            }
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, kind, text) = match behavior {
        Behavior::Sealed => {
            (503, "application/json", json!({ "errors": ["Vault is sealed"] }).to_string())
        }
        Behavior::ErrorPage(status) => {
            (status, "text/html", "<html><body>Sign in to continue</body></html>".to_owned())
        }
        Behavior::Unsealed => {
            let (status, answer) = answer(&line, &token, &body, password);
            (status, "application/json", answer.to_string())
        }
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} Answer\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
    .ok()?;
    Some(line)
}

fn answer(line: &str, token: &str, body: &[u8], password: &str) -> (u16, Value) {
    let (method, path) = line.split_once(' ').unwrap_or((line, ""));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match (method, path) {
        ("POST", "/v1/auth/approle/login") => {
            let sent: Value = serde_json::from_slice(body).unwrap_or_default();
            if sent["role_id"] == ROLE_ID && sent["secret_id"] == SECRET_ID {
                let auth = json!({
                    "client_token": TOKEN, "accessor": "0e9e354a-520f-df04-6867-ee81cae3d42d",
                    "policies": ["orders"], "lease_duration": 1200, "renewable": true
                });
                (200, json!({ "request_id": "1", "lease_duration": 0, "data": null, "auth": auth }))
            } else {
                (400, json!({ "errors": ["invalid role or secret ID"] }))
            }
        }
        _ if token != TOKEN => (403, json!({ "errors": ["permission denied"] })),
        ("GET", "/v1/kv/data/orders/db") if query == "version=1" => {
            let metadata = json!({
                "created_time": "2026-01-01T00:00:00.123456789Z", "custom_metadata": null,
                "deletion_time": "2026-06-01T00:00:00.5Z", "destroyed": false, "version": 1
            });
            (404, json!({ "request_id": "1", "data": { "data": null, "metadata": metadata } }))
        }
        ("GET", "/v1/kv/data/orders/db") => {
            let metadata = json!({
                "created_time": "2026-06-01T00:00:00.123456789Z", "custom_metadata": null,
                "deletion_time": "", "destroyed": false, "version": 2
            });
            let data = json!({ "password": password, "port": 5432, "nested": { "a": "b" } });
            (200, json!({ "request_id": "1", "data": { "data": data, "metadata": metadata } }))
        }
        // A store of version 1 answers without metadata.
        ("GET", "/v1/old/data/orders/db") => (200, json!({ "data": { "password": password } })),
        ("GET", _) => (404, json!({ "errors": [] })),
        _ => (405, json!({ "errors": ["unsupported operation"] })),
    }
}
