//! The cost of one decision of the gate. Every host call pays it.

use criterion::{Criterion, criterion_group, criterion_main};
use runbook_authority::gate::{
    ConnectionState, GateDecision, GateRequest, HeaderValue, Mode, SystemObject, decide,
};
use runbook_authority::grant::{Binding, EffectiveGrants, GrantSite, grant};
use runbook_authority::manifest::KnownInput;
use runbook_authority::targets::{ContainerFacts, Folder, Targets};
use runbook_authority::{Manifest, Verb};
use runbook_document::{Diagnostics, Source, Spanned, Value};
use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;

const MANIFEST: &str = r#"format = 1
[plugin]
name = "p"
version = "1.0.0"
description = "d"
[slots.api]
capability = "http"
verbs = ["get"]
reason = "r"
[slots.app]
capability = "docker"
verbs = ["stop"]
reason = "r"
[slots.program]
capability = "process"
verbs = ["run"]
reason = "r"
[slots.db]
capability = "sql"
verbs = ["query"]
reason = "r"
[slots.folder]
capability = "files"
verbs = ["read"]
reason = "r"
[slots.server]
capability = "net"
verbs = ["connect"]
reason = "r"
[slots.names]
capability = "net"
verbs = ["lookup"]
reason = "r"
[slots.cache]
capability = "redis"
verbs = ["read"]
reason = "r"
[slots.machine]
capability = "system"
verbs = ["processes", "units"]
reason = "r"
[[operation]]
name = "o"
kind = "step"
summary = "s"
[operation.slots]
api = ["get"]
app = ["stop"]
program = ["run"]
db = ["query"]
folder = ["read"]
server = ["connect"]
names = ["lookup"]
cache = ["read"]
machine = ["processes", "units"]
"#;

const TARGETS: &str = r#"[targets.api]
http = "https://api.internal/v1"
paths = ["/orders/*", "/health", "/customers/**"]
request_headers = ["x-trace"]
[targets.app]
docker = { pattern = "orders-*" }
[targets.program]
process = "/usr/bin/pg_dump"
arguments = ["--format=plain", { regex = "--table=[a-z_]+" }]
[targets.db]
sql = "postgres://a@h/d"
[targets.folder]
files = "logs"
[targets.server]
net = "mail.internal"
ports = [25, 465, 587]
addresses = ["10.20.0.0/16", "private"]
questions = ["EHLO *", "QUIT"]
[targets.names]
net = []
names = ["*.example.com", "example.com"]
[targets.cache]
redis = "cache.internal"
commands = ["get", "ttl", "llen"]
keys = ["orders:*", "session:*"]
[targets.machine]
system = ["processes", "units"]
processes = ["nginx", "php-fpm*"]
units = ["nginx.service", "app-*.service"]
"#;

fn grants() -> EffectiveGrants {
    let mut diagnostics = Diagnostics::default();
    let manifest =
        Manifest::parse(&Source::new("plugin.toml", MANIFEST), &mut diagnostics).expect("good");
    let source = Source::new("r.toml", TARGETS);
    let table = runbook_document::parse(&source, &mut diagnostics).expect("good");
    let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value) else {
        panic!("targets")
    };
    let mut targets = Targets::default();
    targets.read(
        &source,
        table,
        Folder::without_links(Path::new("/base")).expect("absolute"),
        &mut diagnostics,
    );
    let located = |text: &str| Spanned { value: text.to_owned(), span: 0..0 };
    let bindings = ["api", "app", "program", "db", "folder", "server", "names", "cache", "machine"]
        .map(|name| Binding { slot: located(name), target: located(name) });
    let site = GrantSite {
        step: "s",
        uses: "p:o",
        operation: "o",
        source: &source,
        span: &(0..0),
        input: KnownInput::empty(),
    };
    grant(&site, &manifest, &bindings, &targets).expect("granted")
}

fn gate(criterion: &mut Criterion) {
    let grants = grants();
    let headers = [
        ("accept", HeaderValue::Plain("application/json")),
        ("x-trace", HeaderValue::Plain("abc")),
    ];
    let request = GateRequest::Http {
        slot: "api",
        verb: Verb::HttpGet,
        path: "/customers/17/orders?page=2",
        headers: &headers,
        secrets: &[],
    };
    let denied = GateRequest::Http {
        slot: "api",
        verb: Verb::HttpGet,
        path: "/admin",
        headers: &headers,
        secrets: &[],
    };
    let labels = [("role".to_owned(), "api".to_owned())];
    let container = ContainerFacts { name: "orders-api", labels: &labels };
    let stop = GateRequest::Container { slot: "app", verb: Verb::DockerStop, container };
    let arguments = ["--format=plain".to_owned(), "--table=orders".to_owned()];
    let run =
        GateRequest::Process { slot: "program", verb: Verb::ProcessRun, arguments: &arguments };
    let query = GateRequest::Sql { slot: "db", verb: Verb::SqlQuery, statement: Some("select 1") };
    let file = GateRequest::Files { slot: "folder", verb: Verb::FilesRead, path: "app/today.log" };
    let says = ["EHLO probe.internal", "QUIT"];
    let endpoint = GateRequest::Endpoint {
        slot: "server",
        verb: Verb::NetConnect,
        host: None,
        port: Some(587),
        says: &says,
    };
    let connection = GateRequest::Connect {
        slot: "server",
        verb: Verb::NetConnect,
        host: "mail.internal",
        address: IpAddr::from([10, 20, 3, 4]),
        connection: ConnectionState::New,
    };
    let lookup = GateRequest::Lookup {
        slot: "names",
        verb: Verb::NetLookup,
        name: Some("api.example.com"),
        kind: "A",
    };
    let get = [b"get".to_vec(), b"orders:17".to_vec()];
    let command = GateRequest::Redis { slot: "cache", verb: Verb::RedisRead, command: &get };
    let object = SystemObject::Process("php-fpm8.2");
    let process = GateRequest::System { slot: "machine", verb: Verb::SystemProcesses, object };
    let object = SystemObject::Unit("app-orders.service");
    let unit = GateRequest::System { slot: "machine", verb: Verb::SystemUnits, object };
    for (name, request) in [
        ("request", request),
        ("request that is denied", denied),
        ("container", stop),
        ("program", run),
        ("statement", query),
        ("file", file),
        ("server that is talked to", endpoint),
        ("address that is connected to", connection),
        ("name that is looked up", lookup),
        ("command of redis", command),
        ("processes of a name", process),
        ("unit of systemd", unit),
    ] {
        // A call that the gate denies early would measure nothing.
        let is_allowed = matches!(decide(&grants, Mode::Effects, &request), GateDecision::Allow);
        assert_eq!(is_allowed, name != "request that is denied", "{name}");
        criterion.bench_function(&format!("gate: {name}"), |bencher| {
            bencher
                .iter(|| black_box(decide(black_box(&grants), Mode::Effects, black_box(&request))));
        });
    }
}

criterion_group!(benches, gate);
criterion_main!(benches);
