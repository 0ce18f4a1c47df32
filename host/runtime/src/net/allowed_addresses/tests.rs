//! Tests that no name leads a capability to an address that its target does not allow.

use crate::bindings::runbook::http::reader::Host as _;
use crate::bindings::runbook::net::connect::Host as _;
use crate::bindings::runbook::net::types::{Endpoint, Turn};
use crate::bindings::runbook::sql::reader::Host as _;
use crate::fault::{Fault, FaultClass};
use crate::host::HostCall;
use crate::testing::{Slot, host_with_audited_names};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// A kind of target over a network, as its targets are written: `HOST`, `PORT` and `MORE` are
/// replaced.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Http,
    Postgres,
    Mysql,
    Net,
    Redis,
    Objects,
    #[cfg(feature = "mail")]
    Mail,
}

const KINDS: &[Kind] = &[
    Kind::Http,
    Kind::Postgres,
    Kind::Mysql,
    Kind::Net,
    Kind::Redis,
    Kind::Objects,
    #[cfg(feature = "mail")]
    Kind::Mail,
];

impl Kind {
    fn target(self, host: &str, port: u16, more: &str) -> String {
        let target_url = match self {
            Self::Http => format!("http = \"http://{host}:{port}\""),
            Self::Postgres => {
                format!("sql = \"postgres://me@{host}:{port}/shop?sslmode=disable\"")
            }
            Self::Mysql => format!("sql = \"mysql://me@{host}:{port}/shop?sslmode=disable\""),
            Self::Net => format!("net = \"{host}\"\nports = [{port}]"),
            Self::Redis => format!("redis = \"{host}:{port}\"\ntls = \"off\""),
            Self::Objects => format!(
                "objects = \"s3://bucket\"\nendpoint = \"http://{host}:{port}\"\nauth = {{ aws-sigv4 = \
                 {{ access_key = \"A\", secret_key = \"secret:token\", region = \"r\" }} }}"
            ),
            #[cfg(feature = "mail")]
            Self::Mail => format!(
                "mail = \"{host}:{port}\"\ntls = \"off\"\nfrom = \"checks@a.example\"\n\
                 to = [\"ops@a.example\"]"
            ),
        };
        format!("[targets.t]\n{target_url}\n{more}\n")
    }

    fn slots(self) -> &'static [Slot] {
        match self {
            Self::Http => &[("s", &["http.get"], "t")],
            Self::Postgres | Self::Mysql => &[("s", &["sql.query"], "t")],
            Self::Net => &[("s", &["net.connect"], "t")],
            Self::Redis => &[("s", &["redis.read"], "t")],
            Self::Objects => &[("s", &["objects.get"], "t")],
            #[cfg(feature = "mail")]
            Self::Mail => &[("s", &["mail.send"], "t")],
        }
    }
}

/// Reads once from a target. Returns the fault, and the decisions of the gate about addresses.
async fn read(kind: Kind, target: &str, names: &[(&str, &[&str])]) -> (Fault, Vec<String>) {
    let decisions = Arc::default();
    let mut host = host_with_audited_names(kind.slots(), target, names, &decisions);
    let mut call = HostCall::new(&mut host);
    let slot = "s".to_owned();
    let fault = match kind {
        Kind::Http => call.get(slot, "/".to_owned(), Vec::new()).await.map(drop),
        Kind::Postgres | Kind::Mysql => {
            call.query(slot, "select 1".to_owned(), Vec::new()).await.map(drop)
        }
        Kind::Objects => {
            let key = "a".to_owned();
            crate::bindings::runbook::objects::reader::Host::get(&mut call, slot, key)
                .await
                .map(drop)
        }
        Kind::Redis => crate::bindings::runbook::redis::reader::Host::read(
            &mut call,
            slot,
            vec![b"ping".to_vec()],
        )
        .await
        .map(drop),
        #[cfg(feature = "mail")]
        Kind::Mail => crate::bindings::runbook::mail::sender::Host::send(
            &mut call,
            slot,
            "a".to_owned(),
            "b".to_owned(),
        )
        .await
        .map(drop),
        Kind::Net => {
            // Who hangs up did not say it.
            let (endpoint, turn) =
                (Endpoint { host: None, port: None }, Turn { say: None, until: Some("x".into()) });
            let done = call.check(slot, endpoint, vec![turn]).await;
            done.and_then(|_| Err(Fault::new(FaultClass::Transient, "net.closed", "it hung up")))
        }
    }
    .expect_err("nothing there answers");
    drop(call);
    let decisions: &Mutex<Vec<String>> = &decisions;
    let decision_lines = decisions.lock().unwrap().clone();
    (fault, decision_lines.into_iter().filter(|line| line.contains(" connect ")).collect())
}

/// A local server that counts connections and closes them.
async fn counting_server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let server_count = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            server_count.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    (port, count)
}

/// Names and their forbidden addresses, also in other notations.
const FORBIDDEN_NAMES: &[(&str, &str)] = &[
    ("metadata.google.internal", "169.254.169.254"),
    ("pods.aws", "169.254.170.23"),
    ("six.aws", "fd00:ec2::254"),
    ("mapped.example", "::ffff:169.254.169.254"),
    ("translated.example", "64:ff9b::a9fe:a9fe"),
    ("tunnel.example", "2002:a9fe:a9fe::1"),
    ("rebound.example", "127.0.0.1"),
    ("rebound-mapped.example", "::ffff:127.0.0.1"),
    ("rebound-six.example", "::1"),
    ("inside.example", "10.0.0.7"),
    ("inside-mapped.example", "::ffff:192.168.1.1"),
    ("inside-six.example", "fd12::7"),
    ("near.example", "169.254.7.7"),
    ("anywhere.example", "0.0.0.0"),
    ("localhost.evil.example", "127.0.0.1"),
    ("127.0.0.1.evil.example", "127.0.0.1"),
];

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_never_connected_to_by_any_kind_of_target() {
    let (port, connections) = counting_server().await;
    for kind in KINDS {
        for (name, address) in FORBIDDEN_NAMES {
            let names: &[(&str, &[&str])] = &[(name, &[address])];
            let (fault, judged) = read(*kind, &kind.target(name, port, ""), names).await;
            let shown: std::net::IpAddr = address.parse().unwrap();
            assert_eq!(fault.class, FaultClass::Denied, "{kind:?} {name}: {}", fault.message);
            assert_eq!(judged, [format!("denied connect {shown}")], "{kind:?} {name}");
        }
        // Private addresses may be allowed, but never the metadata service of the machine.
        let private = "addresses = [\"private\", \"link-local\", \"loopback\", \"public\"]";
        let names: &[(&str, &[&str])] = &[("m.example", &["169.254.169.254", "fd00:ec2::254"])];
        let (fault, judged) = read(*kind, &kind.target("m.example", port, private), names).await;
        assert_eq!((fault.class, judged.len()), (FaultClass::Denied, 2), "{kind:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_allowed_addresses_of_a_name_are_connected_to() {
    for kind in KINDS {
        let (port, connections) = counting_server().await;
        let target = kind.target("db.example", port, "addresses = [\"loopback\"]");
        let names: &[(&str, &[&str])] =
            &[("db.example", &["169.254.169.254", "10.0.0.7", "127.0.0.1"])];
        let (fault, judged) = read(*kind, &target, names).await;
        let expected = [
            "denied connect 169.254.169.254",
            "denied connect 10.0.0.7",
            "allowed connect 127.0.0.1",
        ];
        assert_eq!(judged, expected, "{kind:?}");
        // It hung up.
        assert_eq!(fault.class, FaultClass::Transient, "{kind:?}: {}", fault.message);
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn the_gate_also_decides_about_an_ip_address_in_a_target() {
    for kind in KINDS {
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let (port, connections) = counting_server().await;
            let names: &[(&str, &[&str])] = &[("localhost", &["127.0.0.1"])];
            let (fault, judged) = read(*kind, &kind.target(host, port, ""), names).await;
            assert_eq!(fault.class, FaultClass::Transient, "{kind:?} {host}: {}", fault.message);
            assert_eq!(judged.len(), 1, "{kind:?} {host}");
            assert!(judged[0].starts_with("allowed connect "), "{kind:?} {host}: {judged:?}");
            assert_eq!(connections.load(Ordering::SeqCst), 1, "{kind:?} {host}");
        }
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_a_transient_fault() {
    for kind in KINDS {
        let (fault, judged) = read(*kind, &kind.target("gone.example", 1, ""), &[]).await;
        assert_eq!(fault.class, FaultClass::Transient, "{kind:?}");
        assert!(fault.code.ends_with(".resolve"), "{kind:?}: {}", fault.code);
        assert!(fault.message.contains("cannot be resolved"), "{}", fault.message);
        assert_eq!(judged, Vec::<String>::new());
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a source file, without tests and comments.
fn code_of(path: &Path) -> String {
    if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
        return String::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every way to connect or to resolve a name, and the one file that may use it.
#[test]
fn connections_are_made_and_names_are_resolved_in_one_place() {
    const FILE_BY_CALL: &[(&str, &str)] = &[
        ("TcpStream::connect", "net/connect.rs"),
        ("TcpSocket", ""),
        ("AllowedSocket(", "net/unix_socket.rs"),
        ("UdpSocket", "net/dns.rs"),
        ("connect_timeout", ""),
        ("lookup_host", "net/resolve.rs"),
        ("to_socket_addrs", ""),
        ("ToSocketAddrs", ""),
        ("getaddrinfo", ""),
        ("HttpConnector", ""),
        ("rustix::net", ""),
        ("libc::connect", ""),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let mut used: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for path in &paths {
        let code = code_of(path);
        for (call, _) in FILE_BY_CALL.iter().filter(|(call, _)| code.contains(call)) {
            let file = path.strip_prefix(&root).unwrap().display().to_string();
            used.entry(call).or_default().push(file);
        }
    }
    for (call, place) in FILE_BY_CALL {
        let expected: Vec<&str> = [*place].into_iter().filter(|place| !place.is_empty()).collect();
        let found = used.remove(call).unwrap_or_default();
        assert_eq!(
            found, expected,
            "`{call}`: judge the server with `Host::allowed_addresses` instead"
        );
    }
}
