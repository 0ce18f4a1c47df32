//! A probe that gets no answer has the outcome unknown, for every probe and every reason.

use crate::{BUNDLED, home};
use runbook_tests::free_port;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

/// Targets of one kind of server that gives no answer: its port is closed, its name is not found,
/// or it is silent.
struct Server {
    kind: &'static str,
    away: Vec<(&'static str, String)>,
    /// The target of a server that accepts connections and sends nothing.
    silent: String,
    /// The key of the target that limits its time, if it has one.
    limit: Option<&'static str>,
}

/// Each bundled probe, the kind of server, its slot and its input.
const PROBES: &[(&str, &str, &str, &str)] = &[
    ("http:get", "http", "target", "{}"),
    ("http:head", "http", "target", "{}"),
    ("grpc:health", "http", "server", "{}"),
    ("postgres:ping", "postgres", "db", "{}"),
    ("postgres:long-running", "postgres", "db", "{ older_than = \"1m\" }"),
    ("sql:query", "postgres", "db", "{ statement = \"select 1\" }"),
    ("sql:query", "mysql", "db", "{ statement = \"select 1\" }"),
    ("docker:status", "docker", "container", "{}"),
    ("docker:wait-healthy", "docker", "container", "{}"),
    ("redis:ping", "redis", "db", "{}"),
    ("redis:server", "redis", "db", "{}"),
    ("redis:key", "redis", "db", "{ key = \"a\" }"),
    ("objects:object", "objects", "store", "{ key = \"a\" }"),
    ("objects:objects", "objects", "store", "{}"),
    ("net:tcp", "net", "server", "{ banner = \"220\" }"),
    ("net:certificate", "net", "server", "{}"),
    ("net:dns", "names", "names", "{ type = \"A\" }"),
    ("systemd:unit", "bus", "units", "{ unit = \"a.service\" }"),
    ("systemd:failed", "bus", "units", "{}"),
    ("disk:space", "program", "program", "{ paths = [\"/\"] }"),
    ("command:check", "program", "program", "{ arguments = [\"-P\", \"-k\", \"--\"] }"),
    ("nagios:check", "program", "program", "{ arguments = [\"-P\", \"-k\", \"--\"] }"),
];

/// Probes that read files of this machine and contact no server.
const FILE_PROBES: &[&str] = &[
    "sqlite:integrity-check",
    "files:exists",
    "files:age",
    "files:size",
    "files:count",
    "system:cpu",
    "system:load",
    "system:memory",
    "system:disks",
    "system:uptime",
    "system:processes",
    "system:port",
    "system:users",
    "system:identity",
];

/// A host name with a label longer than 63 bytes, which no DNS query can contain.
fn unresolvable_name() -> String {
    format!("{}.internal", "a".repeat(70))
}

fn servers(folder: &std::path::Path, silent: u16, asleep: std::net::SocketAddr) -> Vec<Server> {
    let (refused, unknown) = (format!("127.0.0.1:{}", free_port()), unresolvable_name());
    let server = |kind, write: &dyn Fn(&str) -> String| Server {
        kind,
        away: vec![
            ("nobody-listens", write(&refused)),
            ("no-such-name", write(&format!("{unknown}:4999"))),
        ],
        silent: write(&format!("127.0.0.1:{silent}")),
        limit: Some("timeout = \"300ms\""),
    };
    let program = folder.join("df");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").expect("writable");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let arguments = "[\"-P\", \"-k\", \"--\", { repeat = { one_of = [\"/\"] } }]";
    let program =
        format!("process = \"{}\"\narguments = {arguments}\nread_only = true", program.display());
    vec![
        server("http", &|at| format!("http = \"http://{at}\"")),
        server("postgres", &|at| format!("sql = \"postgres://me@{at}/shop?sslmode=disable\"")),
        server("mysql", &|at| format!("sql = \"mysql://me@{at}/shop?sslmode=disable\"")),
        server("objects", &|at| {
            format!(
                "objects = \"s3://bucket/\"\nendpoint = \"http://{at}\"\nauth = {{ aws-sigv4 = {{ \
                 access_key = \"A\", secret_key = \"secret:key\", region = \"r\" }} }}"
            )
        }),
        Server {
            kind: "docker",
            away: vec![(
                "nobody-listens",
                format!("docker = {{ name = \"app\" }}\nsocket = \"{}/gone\"", folder.display()),
            )],
            silent: format!(
                "docker = {{ name = \"app\" }}\nsocket = \"{}/silent\"",
                folder.display()
            ),
            limit: None,
        },
        Server {
            kind: "redis",
            away: vec![(
                "nobody-listens",
                format!("redis = \"127.0.0.1:{}\"\ntls = \"off\"", free_port()),
            )],
            silent: format!("redis = \"127.0.0.1:{silent}\"\ntls = \"off\""),
            limit: Some("timeout = \"300ms\""),
        },
        Server {
            kind: "net",
            away: vec![(
                "nobody-listens",
                format!("net = \"127.0.0.1\"\nports = [{}]", free_port()),
            )],
            silent: format!("net = \"127.0.0.1\"\nports = [{silent}]"),
            limit: Some("timeout = \"300ms\""),
        },
        Server {
            kind: "names",
            away: vec![(
                "nobody-listens",
                format!("net = \"a.example\"\nresolver = \"127.0.0.1:{}\"", free_port()),
            )],
            silent: format!("net = \"a.example\"\nresolver = \"{asleep}\""),
            limit: Some("timeout = \"300ms\""),
        },
        Server {
            kind: "bus",
            away: vec![(
                "nobody-listens",
                format!(
                    "system = [\"units\"]\nunits = [\"a.service\"]\nbus = \"{}/gone\"",
                    folder.display()
                ),
            )],
            silent: format!(
                "system = [\"units\"]\nunits = [\"a.service\"]\nbus = \"{}/silent\"",
                folder.display()
            ),
            limit: Some("timeout = \"300ms\""),
        },
        Server {
            kind: "program",
            away: Vec::new(),
            silent: program,
            limit: Some("timeout = \"300ms\""),
        },
    ]
}

#[test]
fn every_probe_without_an_answer_is_unknown() {
    let env = home();
    // Connections wait in the queue of a listener that never accepts.
    let (tcp, _unix) = (
        TcpListener::bind("127.0.0.1:0").expect("a port"),
        UnixListener::bind(env.path().join("silent")).expect("a socket"),
    );
    // What is sent to it is never read.
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let asleep = udp.local_addr().expect("bound");
    let servers = servers(env.path(), tcp.local_addr().expect("bound").port(), asleep);
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#key"], "a-key-of-a-store").status(0);
    let mut text = "format = 1\n[runbook]\nname = \"away\"\n[secrets.key]\n\
                    source = \"age:s.age#key\"\n"
        .to_owned();
    let mut expected = Vec::new();
    for server in &servers {
        let mut cases: Vec<_> =
            server.away.iter().map(|(why, target)| (*why, target.clone(), "")).collect();
        cases.extend(
            server
                .limit
                .map(|limit| ("limit-of-the-target", format!("{}\n{limit}", server.silent), "")),
        );
        cases.push(("limit-of-the-check", server.silent.clone(), "timeout = \"300ms\"\n"));
        for (why, target, limit) in cases {
            let name = format!("{}-{why}", server.kind);
            let _ = write!(text, "[targets.{name}]\n{target}\n");
            for (uses, _, slot, input) in PROBES.iter().filter(|(_, kind, ..)| *kind == server.kind)
            {
                let id = format!("{}-{name}", uses.replace(':', "-"));
                let _ = write!(
                    text,
                    "[[check]]\nid = \"{id}\"\nuses = \"{uses}\"\nbind.{slot} = \"{name}\"\n\
                     with = {input}\n{limit}"
                );
                expected.push(id);
            }
        }
    }
    env.file("away.toml", &text);
    let found = env.run(&["check", "--format", "json", "away.toml"]).status(3);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    let health: std::collections::BTreeMap<&str, (&str, &str)> = found["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|check| {
            let text = |key: &str| check[key].as_str().unwrap_or_default();
            (text("check"), (text("health"), text("summary")))
        })
        .collect();
    assert!(expected.len() > 25, "{}", expected.len());
    for id in &expected {
        let (health, summary) =
            health.get(id.as_str()).unwrap_or_else(|| panic!("{id} was not made: {found:#}"));
        assert_eq!(*health, "unknown", "{id}: {summary}");
        for other in ["not granted", "not a function", "does not fit"] {
            assert!(!summary.contains(other), "{id} fails for another reason: {summary}");
        }
    }
}

#[test]
fn every_bundled_probe_is_in_the_table_of_probes() {
    for bundled in BUNDLED {
        let inspected = runbook_runtime::inspect(bundled.component).expect("it is a plugin");
        for (name, operation) in &inspected.manifest.operations {
            let reference = format!("{}:{name}", bundled.name);
            let is_listed = PROBES.iter().any(|(uses, ..)| *uses == reference)
                || FILE_PROBES.contains(&reference.as_str());
            assert_eq!(operation.kind.name() == "probe", is_listed, "{reference}");
        }
    }
}
