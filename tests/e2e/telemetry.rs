//! Traces by OTLP, received by a test collector.

use crate::home;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use runbook_tests::env::{ProgramOutput, TestEnv};
use runbook_tests::http::Receiver;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "traced"
[params.word]
type = "string"
default = "s3cret-looking-word"
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "make"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["create table made (name text)", "insert into made values ('{{ params.word }}')"]
undo = { uses = "sql:transaction", bind = { db = "db" }, with = { statements = ["drop table made"] } }
[[step]]
id = "look"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from made", first_row = { n = 1 } }
"#;

fn prepared(runbook: &str) -> TestEnv {
    let env = home();
    rusqlite::Connection::open(env.path().join("work.db"))
        .expect("a file")
        .execute_batch("vacuum")
        .expect("a database");
    env.file("r.toml", runbook);
    env
}

fn exec(env: &TestEnv, variables: &[(&str, &str)]) -> ProgramOutput {
    let mut command = env.command(&["exec", "r.toml", "--yes"]);
    command.envs(variables.iter().copied());
    runbook_tests::env::finish(command.output().expect("the program starts"))
}

/// Trusted certificates are those of the target or the system.
#[test]
fn no_variable_decides_which_certificates_are_trusted() {
    let server = Receiver::start();
    let text = format!(
        "format = 1\n[runbook]\nname = \"r\"\n[targets.t]\nhttp = \"https://127.0.0.1:{}\"\n\
         [[preflight]]\nid = \"look\"\nuses = \"http:get\"\nbind.target = \"t\"\n\
         with.path = \"/\"\n",
        server.port
    );
    let said = |variables: &[(&str, &str)]| {
        let env = prepared(&text);
        let finished = exec(&env, variables);
        assert_ne!(finished.status, 0, "it speaks no TLS");
        let lines = finished.stdout.lines().chain(finished.stderr.lines());
        lines
            .filter_map(|line| line.split_once("https://"))
            .map(|(_, rest)| rest.to_owned())
            .collect::<Vec<_>>()
    };
    let without = said(&[]);
    assert!(!without.is_empty());
    for variables in [
        &[("SSL_CERT_FILE", "/dev/null")][..],
        &[("SSL_CERT_DIR", "/")],
        &[("SSL_CERT_FILE", "/"), ("SSL_CERT_DIR", "/")],
    ] {
        assert_eq!(said(variables), without, "{variables:?}");
    }
}

fn endpoint(collector: &Receiver) -> String {
    format!("http://127.0.0.1:{}", collector.port)
}

fn spans(collector: &Receiver) -> Vec<Span> {
    let received = collector.received();
    let [one] = received.as_slice() else { panic!("one request, not {}", received.len()) };
    assert_eq!(one.line, "POST /v1/traces");
    let request = ExportTraceServiceRequest::decode(one.bytes.as_slice()).expect("it is OTLP");
    let resource = format!("{:?}", request.resource_spans[0].resource);
    assert!(resource.contains("service.name"), "{resource}");
    request
        .resource_spans
        .into_iter()
        .flat_map(|of| of.scope_spans)
        .flat_map(|of| of.spans)
        .collect()
}

fn span_named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no span `{name}` in {names:?}"))
}

#[test]
fn a_run_is_a_trace_with_a_span_for_each_attempt() {
    let (env, collector) = (prepared(RUNBOOK), Receiver::start());
    exec(&env, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint(&collector))])
        .status(0)
        .without("warning");
    let spans = spans(&collector);
    let root = span_named(&spans, "runbook traced");
    let (make, look) =
        (span_named(&spans, "make: attempt 1"), span_named(&spans, "look: attempt 1"));
    assert!(
        root.parent_span_id.is_empty()
            && make.parent_span_id == root.span_id
            && look.parent_span_id == root.span_id
    );
    assert!(
        root.start_time_unix_nano <= make.start_time_unix_nano
            && make.end_time_unix_nano <= look.start_time_unix_nano
    );
    assert!(look.end_time_unix_nano <= root.end_time_unix_nano);
    // The trace is found by the id of the run.
    let shown = env.run(&["runs", "--format", "json"]).status(0).stdout;
    let run = serde_json::from_str::<serde_json::Value>(&shown).expect("JSON")["run"]
        .as_str()
        .expect("an id")
        .replace('-', "");
    let id = u128::from_be_bytes(root.trace_id.as_slice().try_into().expect("16 bytes"));
    assert_eq!(format!("{id:032x}"), run);
    // Parameters and outputs are not in the trace.
    assert!(!format!("{spans:?}").contains("s3cret-looking-word"));
}

#[test]
fn a_run_that_fails_is_a_trace_with_errors_and_its_undo() {
    let (env, collector) = (prepared(&RUNBOOK.replace("n = 1", "n = 2")), Receiver::start());
    exec(
        &env,
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/v1/traces", endpoint(&collector)))],
    )
    .status(1);
    let spans = spans(&collector);
    let code = |name: &str| {
        span_named(&spans, name)
            .status
            .as_ref()
            .map_or(StatusCode::Unset, opentelemetry_proto::tonic::trace::v1::Status::code)
    };
    assert_eq!(
        (code("runbook traced"), code("look: attempt 1")),
        (StatusCode::Error, StatusCode::Error)
    );
    assert_eq!(
        (code("make: attempt 1"), code("make: undo 1")),
        (StatusCode::Unset, StatusCode::Unset)
    );
}

#[test]
fn headers_of_the_environment_are_sent() {
    let (env, collector) = (prepared(RUNBOOK), Receiver::start());
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint(&collector)),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ops"),
    ];
    exec(&env, &variables).status(0);
    let headers = format!("{:?}", collector.received()[0].headers).to_lowercase();
    assert!(headers.contains("x-tenant") && headers.contains("ops"), "{headers}");
}

#[test]
fn a_collector_that_fails_is_only_a_warning() {
    let env = prepared(RUNBOOK);
    let away = format!("http://127.0.0.1:{}", runbook_tests::free_port());
    exec(&env, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &away)])
        .status(0)
        .err("warning: the trace of the run could not be sent")
        .out("Succeeded");
    let (env, collector) =
        (prepared(RUNBOOK), Receiver::start_with_response("403 Forbidden", "no"));
    exec(&env, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint(&collector))])
        .status(0)
        .err("warning: the trace")
        .out("Succeeded");
}

#[test]
fn nothing_is_sent_unless_it_is_asked_for() {
    let (env, collector) = (prepared(RUNBOOK), Receiver::start());
    let disabled =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint(&collector)), ("OTEL_SDK_DISABLED", "true")];
    exec(&env, &disabled).status(0).without("warning");
    assert!(collector.received().is_empty());
}

/// The variables by which programs commonly find a proxy.
const PROXY_VARIABLES: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "FTP_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "ftp_proxy",
];

#[test]
fn neither_plugins_nor_traces_go_through_a_proxy_that_the_environment_names() {
    let (application, collector, proxy) = (
        Receiver::start(),
        Receiver::start(),
        Receiver::start_with_response("502 Bad Gateway", "proxy"),
    );
    let env = home();
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"direct\"\n[targets.api]\n\
             http = \"http://127.0.0.1:{}\"\n[[step]]\nid = \"read\"\nuses = \"http:get\"\n\
             bind.target = \"api\"\nwith = {{ path = \"/health\" }}\n[[step]]\nid = \"send\"\n\
             uses = \"http:post\"\nbind.target = \"api\"\n\
             with = {{ path = \"/done\", body = {{}} }}\nirreversible = \"sent\"\n",
            application.port
        ),
    );
    let through = endpoint(&proxy);
    let mut variables: Vec<(&str, &str)> =
        PROXY_VARIABLES.iter().map(|name| (*name, through.as_str())).collect();
    let to = endpoint(&collector);
    variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &to));
    exec(&env, &variables).status(0).without("warning");
    let lines = |receiver: &Receiver| {
        receiver.received().into_iter().map(|request| request.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(&application), ["GET /health", "POST /done"]);
    assert_eq!(lines(&collector), ["POST /v1/traces"]);
    assert_eq!(lines(&proxy), [""; 0], "a proxy was used");
    // The proxy works: it answers a direct request.
    assert_eq!(runbook_tests::http::get(proxy.port, "/is-it-there"), None);
    runbook_tests::wait_for("the proxy answers", || !proxy.received().is_empty());
}

#[test]
fn doctor_reports_that_proxy_variables_are_ignored() {
    let env = home();
    let without = |command: &mut std::process::Command| {
        PROXY_VARIABLES.iter().for_each(|name| {
            command.env_remove(name);
        });
    };
    let mut command = env.command(&["doctor"]);
    without(&mut command);
    let shown = command.output().expect("the program starts");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("none is named by the environment"), "{shown}");
    for name in PROXY_VARIABLES {
        let mut command = env.command(&["doctor"]);
        without(&mut command);
        let done = command.env(name, "http://user:hunter2@proxy:3128").output().expect("it starts");
        let shown = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{name}: {shown}");
        assert!(shown.contains(&format!("{name} is set and ignored")), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
