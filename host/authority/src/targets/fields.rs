//! Every key of every target is enforced: by the gate, shown here, or by a capability, in the test
//! that is named here.
//!
//! A key that is added to the format and not to this table fails the first test; a check that is
//! dropped fails the second.

use crate::gate::Creation;
use crate::gate::tests::effective;
use crate::gate::{ConnectionState, GateDecision, HeaderValue, Mode, Operation, decide};
use crate::grant::Effective;
use crate::targets::{ContainerFacts, Folder, Targets};
use crate::{Capability, Verb};
use runbook_document::{Diagnostics, Source, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// How a key is enforced.
enum Enforcement {
    /// The gate: with this line, the operation is denied; with that one, it is allowed.
    Gate(&'static str, &'static str, fn(&Effective) -> GateDecision),
    /// A capability, the way into it, or granting: the test of this name, anywhere in the
    /// repository.
    Test(&'static str),
}

/// For each capability, its key in a target, and the shortest target that is valid.
pub(crate) const MINIMAL_TARGETS: &[(Capability, &str, &str)] = &[
    (Capability::Http, "http", "http = \"http://api.internal\""),
    (Capability::Sql, "sql", "sql = \"postgres://a@h/d\""),
    (Capability::Docker, "docker", "docker = { name = \"a\" }"),
    (Capability::Files, "files", "files = \"x\""),
    (Capability::Process, "process", "process = \"/bin/x\""),
    (Capability::Secrets, "secret", "secret = \"token\""),
    (Capability::Net, "net", "net = \"h\""),
];

fn request(effective: &Effective, path: &str, headers: &[(&str, HeaderValue<'_>)]) -> GateDecision {
    decide(
        effective,
        Mode::Effects,
        &Operation::Http { slot: "s", verb: Verb::HttpGet, path, headers, secrets: &[] },
    )
}

fn header(effective: &Effective) -> GateDecision {
    request(effective, "/", &[("x-trace", HeaderValue::Plain("a"))])
}

fn statement(effective: &Effective) -> GateDecision {
    decide(
        effective,
        Mode::Effects,
        &Operation::Sql {
            slot: "s",
            verb: Verb::SqlQuery,
            statement: Some("select * from orders"),
        },
    )
}

fn container(effective: &Effective) -> GateDecision {
    let labels = [
        ("role".to_owned(), "api".to_owned()),
        ("com.docker.compose.project".to_owned(), "shop".to_owned()),
    ];
    let container = ContainerFacts { name: "orders-api", labels: &labels };
    decide(
        effective,
        Mode::Effects,
        &Operation::Container { slot: "s", verb: Verb::DockerStop, container },
    )
}

fn arguments(effective: &Effective) -> GateDecision {
    decide(
        effective,
        Mode::Effects,
        &Operation::Process { slot: "s", verb: Verb::ProcessRun, arguments: &["-a".to_owned()] },
    )
}

fn connect(effective: &Effective, verb: Verb) -> GateDecision {
    let address = std::net::IpAddr::from([10, 0, 0, 1]);
    let connect = Operation::Connect {
        slot: "s",
        verb,
        host: "api.internal",
        address,
        connection: ConnectionState::New,
    };
    decide(effective, Mode::Effects, &connect)
}

fn server(effective: &Effective) -> GateDecision {
    let says: &[&str] = &["PING"];
    let (slot, verb) = ("s", Verb::NetConnect);
    let (host, port) = (Some("h"), Some(443));
    decide(effective, Mode::Effects, &Operation::Endpoint { slot, verb, host, port, says })
}

fn lookup(effective: &Effective) -> GateDecision {
    let (slot, verb) = ("s", Verb::NetLookup);
    let name = Some("a.example.com");
    decide(effective, Mode::Effects, &Operation::Lookup { slot, verb, name, kind: "A" })
}

fn resolver(effective: &Effective) -> GateDecision {
    let (slot, verb) = ("s", Verb::NetLookup);
    let resolver = std::net::SocketAddr::from(([10, 0, 0, 53], 53));
    decide(effective, Mode::Effects, &Operation::Resolver { slot, verb, resolver })
}

fn redirect(effective: &Effective) -> GateDecision {
    let base = url::Url::parse("http://api.internal").expect("a URL");
    let to = url::Url::parse("http://api.internal/b").expect("a URL");
    decide(
        effective,
        Mode::Effects,
        &Operation::Redirect { slot: "s", verb: Verb::HttpGet, base: &base, to: &to, hop: 1 },
    )
}

const ENFORCED: &[(Capability, &str, Enforcement)] = &[
    (
        Capability::Http,
        "http",
        Enforcement::Test("redirects_are_not_followed_unless_the_target_says_so"),
    ),
    (
        Capability::Http,
        "paths",
        Enforcement::Gate("paths = [\"/b\"]", "paths = [\"/a\"]", |e| request(e, "/a", &[])),
    ),
    (
        Capability::Http,
        "request_headers",
        Enforcement::Gate("request_headers = []", "request_headers = [\"x-trace\"]", header),
    ),
    (
        Capability::Http,
        "headers",
        Enforcement::Gate(
            "request_headers = [\"x-trace\"]\nheaders = { x-trace = \"own\" }",
            "request_headers = [\"x-trace\"]",
            header,
        ),
    ),
    (
        Capability::Http,
        "auth",
        Enforcement::Gate(
            "request_headers = [\"authorization\"]\nauth = { bearer = \"secret:t\" }",
            "request_headers = [\"authorization\"]",
            |e| request(e, "/", &[("Authorization", HeaderValue::Plain("own"))]),
        ),
    ),
    (
        Capability::Http,
        "addresses",
        Enforcement::Gate("addresses = [\"public\"]", "addresses = [\"private\"]", |e| {
            connect(e, Verb::HttpGet)
        }),
    ),
    (Capability::Http, "redirects", Enforcement::Gate("redirects = 0", "redirects = 1", redirect)),
    (
        Capability::Http,
        "max_body",
        Enforcement::Test("a_body_is_sent_and_an_answer_is_cut_at_the_limit_of_the_target"),
    ),
    (
        Capability::Http,
        "timeout",
        Enforcement::Test("a_server_that_hangs_is_left_at_the_timeout_of_the_target"),
    ),
    (
        Capability::Http,
        "ca",
        Enforcement::Test("a_certificate_is_trusted_by_the_authority_of_the_target_alone"),
    ),
    (
        Capability::Http,
        "client_cert",
        Enforcement::Test(
            "a_server_that_asks_who_its_client_is_gets_the_certificate_of_the_target",
        ),
    ),
    (
        Capability::Http,
        "client_key",
        Enforcement::Test("a_certificate_or_a_key_that_cannot_be_used_is_said_to_be_and_why"),
    ),
    (
        Capability::Http,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (Capability::Sql, "sql", Enforcement::Test("an_address_names_one_host_and_no_password")),
    (
        Capability::Sql,
        "addresses",
        Enforcement::Gate("addresses = [\"public\"]", "addresses = [\"private\"]", |e| {
            connect(e, Verb::SqlQuery)
        }),
    ),
    (
        Capability::Sql,
        "ca",
        Enforcement::Test("a_database_server_is_believed_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Sql,
        "client_cert",
        Enforcement::Test(
            "a_database_server_that_asks_who_its_client_is_gets_the_certificate_of_the_target",
        ),
    ),
    (
        Capability::Sql,
        "client_key",
        Enforcement::Test(
            "a_database_server_that_asks_who_its_client_is_gets_the_certificate_of_the_target",
        ),
    ),
    (
        Capability::Sql,
        "password",
        Enforcement::Test("a_superuser_is_refused_because_nothing_is_read_only_for_one"),
    ),
    (
        Capability::Sql,
        "statements",
        Enforcement::Gate("statements = [\"insert\"]", "statements = [\"select\"]", statement),
    ),
    (
        Capability::Sql,
        "relations",
        Enforcement::Gate("relations = [\"customers\"]", "relations = [\"orders\"]", statement),
    ),
    (
        Capability::Sql,
        "superuser",
        Enforcement::Test("a_superuser_is_refused_because_nothing_is_read_only_for_one"),
    ),
    (
        Capability::Sql,
        "create",
        Enforcement::Test("a_database_file_is_made_only_where_the_target_says_so"),
    ),
    (
        Capability::Sql,
        "max_rows",
        Enforcement::Test("a_result_is_cut_at_the_rows_and_the_bytes_of_the_target"),
    ),
    (
        Capability::Sql,
        "max_bytes",
        Enforcement::Test("a_result_is_cut_at_the_rows_and_the_bytes_of_the_target"),
    ),
    (
        Capability::Sql,
        "max_copy",
        Enforcement::Test("a_copy_that_becomes_larger_than_the_target_allows_is_not_restored"),
    ),
    (
        Capability::Sql,
        "timeout",
        Enforcement::Test("a_query_that_never_ends_is_stopped_at_its_deadline"),
    ),
    (
        Capability::Sql,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (
        Capability::Docker,
        "docker",
        Enforcement::Gate(
            "docker = { name = \"other\" }",
            "docker = { name = \"orders-api\" }",
            container,
        ),
    ),
    (Capability::Docker, "socket", Enforcement::Test("an_engine_that_is_away_is_said_to_be")),
    (
        Capability::Docker,
        "images",
        Enforcement::Gate("images = [\"y\"]", "images = [\"x:*\"]", |e| {
            decide(
                e,
                Mode::Effects,
                &Operation::Image { slot: "s", verb: Verb::DockerPull, image: "x:1" },
            )
        }),
    ),
    (
        Capability::Docker,
        "command",
        Enforcement::Gate("command = [\"ls\", \"/\"]", "command = [\"ls\"]", |e| {
            decide(
                e,
                Mode::Effects,
                &Operation::Exec { slot: "s", verb: Verb::DockerExec, command: &["ls".to_owned()] },
            )
        }),
    ),
    (
        Capability::Docker,
        "environment",
        Enforcement::Gate(
            "images = [\"x\"]\nenvironment = [\"A\", \"MODE=y*\"]",
            "images = [\"x\"]\nenvironment = [\"MODE=x*\"]",
            |e| {
                let environment = [("MODE".to_owned(), "xy".to_owned())];
                let (image, command, container) =
                    ("x", &[][..], ContainerFacts { name: "a", labels: &[] });
                let creation = Creation { container, image, command, environment: &environment };
                let e = e.clone().with_every_verb();
                decide(
                    &e,
                    Mode::Effects,
                    &Operation::Create { slot: "s", verb: Verb::DockerCreate, creation },
                )
            },
        ),
    ),
    (
        Capability::Docker,
        "network",
        Enforcement::Test("a_container_that_a_plugin_creates_is_confined_in_every_respect"),
    ),
    (
        Capability::Docker,
        "memory",
        Enforcement::Test("a_container_that_a_plugin_creates_is_confined_in_every_respect"),
    ),
    (
        Capability::Docker,
        "pids",
        Enforcement::Test("a_container_that_a_plugin_creates_is_confined_in_every_respect"),
    ),
    (
        Capability::Docker,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (
        Capability::Files,
        "files",
        Enforcement::Test("nothing_outside_of_the_directory_can_be_opened"),
    ),
    (
        Capability::Files,
        "access",
        Enforcement::Test("a_writable_directory_for_a_slot_that_only_reads_is_refused"),
    ),
    (Capability::Files, "max_bytes", Enforcement::Test("the_verbs_do_what_they_say")),
    (
        Capability::Files,
        "verbs",
        Enforcement::Test("a_writable_directory_for_a_slot_that_only_reads_is_refused"),
    ),
    (
        Capability::Process,
        "process",
        Enforcement::Test("a_program_that_is_not_there_or_cannot_run_is_said_so"),
    ),
    (
        Capability::Process,
        "sha256",
        Enforcement::Test("a_pinned_program_runs_only_as_it_was_pinned"),
    ),
    (
        Capability::Process,
        "interpreter_sha256",
        Enforcement::Test("the_interpreter_of_a_pinned_script_is_pinned_too_if_the_target_says_so"),
    ),
    (
        Capability::Process,
        "read_only",
        Enforcement::Gate("arguments = []", "read_only = true", |e| {
            decide(
                e,
                Mode::ReadOnly,
                &Operation::Process { slot: "s", verb: Verb::ProcessInspect, arguments: &[] },
            )
        }),
    ),
    (
        Capability::Process,
        "reads",
        Enforcement::Test("a_program_opens_only_the_files_that_its_target_names"),
    ),
    (
        Capability::Process,
        "writes",
        Enforcement::Test("a_program_opens_only_the_files_that_its_target_names"),
    ),
    (
        Capability::Process,
        "memory",
        Enforcement::Test("a_program_uses_no_more_memory_and_time_than_its_target_says"),
    ),
    (
        Capability::Process,
        "cpu",
        Enforcement::Test("a_program_uses_no_more_memory_and_time_than_its_target_says"),
    ),
    (
        Capability::Process,
        "network",
        Enforcement::Test("a_program_makes_no_connection_unless_its_target_says_so"),
    ),
    (
        Capability::Process,
        "signals",
        Enforcement::Test("a_program_signals_no_other_process_unless_its_target_says_so"),
    ),
    (
        Capability::Process,
        "arguments",
        Enforcement::Gate("arguments = [\"-b\"]", "arguments = [\"-a\"]", arguments),
    ),
    (
        Capability::Process,
        "environment",
        Enforcement::Test("the_environment_is_what_the_target_says_and_nothing_else"),
    ),
    (
        Capability::Process,
        "directory",
        Enforcement::Test("the_environment_is_what_the_target_says_and_nothing_else"),
    ),
    (
        Capability::Process,
        "connection",
        Enforcement::Test("the_environment_is_what_the_target_says_and_nothing_else"),
    ),
    (
        Capability::Process,
        "max_output",
        Enforcement::Test("captured_output_is_cut_at_the_limit_of_the_target"),
    ),
    (Capability::Process, "timeout", Enforcement::Test("at_its_timeout_the_whole_group_is_killed")),
    (
        Capability::Process,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (
        Capability::Secrets,
        "secret",
        Enforcement::Test("a_secret_is_described_without_its_value_and_revealed_only_if_granted"),
    ),
    (
        Capability::Secrets,
        "positions",
        Enforcement::Test("a_secret_goes_only_where_its_target_says"),
    ),
    (
        Capability::Secrets,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (
        Capability::Net,
        "net",
        Enforcement::Gate(
            "net = \"other\"\nports = [443]\nsend = [\"PING\"]",
            "net = [\"other\", \"h\"]\nports = [443]\nsend = [\"PING\"]",
            server,
        ),
    ),
    (
        Capability::Net,
        "ports",
        Enforcement::Gate(
            "send = [\"PING\"]\nports = [80]",
            "send = [\"PING\"]\nports = [80, 443]",
            server,
        ),
    ),
    (
        Capability::Net,
        "addresses",
        Enforcement::Gate(
            "ports = [443]\naddresses = [\"public\"]",
            "ports = [443]\naddresses = [\"private\"]",
            |e| connect(e, Verb::NetConnect),
        ),
    ),
    (
        Capability::Net,
        "ca",
        Enforcement::Test("an_inspection_believes_the_authority_of_the_target_alone"),
    ),
    (
        Capability::Net,
        "send",
        Enforcement::Gate(
            "ports = [443]\nsend = [\"PONG\"]",
            "ports = [443]\nsend = [\"P*G\"]",
            server,
        ),
    ),
    (
        Capability::Net,
        "names",
        Enforcement::Gate(
            "ports = [443]\nnames = [\"*.example.org\"]",
            "ports = [443]\nnames = [\"*.example.com\"]",
            lookup,
        ),
    ),
    (
        Capability::Net,
        "resolver",
        Enforcement::Gate(
            "ports = [443]\nresolver = \"10.0.0.54\"",
            "ports = [443]\nresolver = \"10.0.0.53\"",
            resolver,
        ),
    ),
    (
        Capability::Net,
        "max_bytes",
        Enforcement::Test("endless_bytes_are_cut_at_the_limit_of_the_target"),
    ),
    (
        Capability::Net,
        "max_records",
        Enforcement::Test("records_beyond_the_limit_of_the_target_are_cut_and_that_is_told"),
    ),
    (
        Capability::Net,
        "timeout",
        Enforcement::Test("a_server_that_accepts_and_never_answers_is_left_at_the_timeout"),
    ),
    (
        Capability::Net,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
];

/// The keys that the reader of a kind of target knows: it lists them for a key that it does not
/// know.
pub(crate) fn known_keys(least: &str) -> BTreeSet<String> {
    let source = Source::new(
        "r.toml",
        format!("[targets.t]\n{least}\nquite_another_thing_altogether = 1\n"),
    );
    let mut diagnostics = Diagnostics::default();
    let table = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
    let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value) else {
        panic!("targets")
    };
    let folder = Folder::without_links(Path::new("/base")).expect("absolute");
    Targets::default().read(&source, table, folder, &mut diagnostics);
    let unknown =
        diagnostics.iter().find(|found| found.code == "E0204").expect("an unknown key is an error");
    let help = unknown
        .help
        .as_deref()
        .and_then(|help| help.strip_prefix("known keys: "))
        .expect("it lists what is known");
    help.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_of_every_target_is_in_the_table() {
    for (capability, _, least) in MINIMAL_TARGETS {
        let listed: BTreeSet<String> = ENFORCED
            .iter()
            .filter(|(of, ..)| of == capability)
            .map(|(_, key, _)| (*key).to_owned())
            .collect();
        assert_eq!(known_keys(least), listed, "{capability}");
    }
}

#[test]
fn every_key_that_the_gate_enforces_makes_the_difference() {
    for (capability, key, by) in ENFORCED {
        let Enforcement::Gate(narrow, wide, operation) = by else { continue };
        let (_, kind, least) =
            MINIMAL_TARGETS.iter().find(|(of, ..)| of == capability).expect("listed");
        let with = |line: &str| {
            if key == kind {
                effective(capability.name(), line)
            } else {
                effective(capability.name(), &format!("{least}\n{line}"))
            }
        };
        assert!(
            matches!(operation(&with(narrow)), GateDecision::Deny(_)),
            "{capability} {key}: `{narrow}` does not deny"
        );
        assert_eq!(
            operation(&with(wide)),
            GateDecision::Allow,
            "{capability} {key}: `{wide}` does not allow"
        );
    }
    // The other ways to say which containers.
    for (narrow, wide) in [
        ("pattern = \"x*\"", "pattern = \"orders-*\""),
        ("label = \"role=db\"", "label = \"role=api\""),
        ("project = \"x\"", "project = \"shop\""),
    ] {
        let with = |filter: &str| effective("docker", &format!("docker = {{ {filter} }}"));
        assert!(
            matches!(container(&with(narrow)), GateDecision::Deny(_))
                && container(&with(wide)) == GateDecision::Allow,
            "{wide}"
        );
    }
}

/// Texts in every place that a key can have one.
const PLACES: &[&str] = &[
    "\"<>\"",
    "\"a <> b\"",
    "[\"<>\"]",
    "[[\"<>\"]]",
    "{ a = \"<>\" }",
    "{ \"<>\" = \"a\" }",
    "[{ a = [\"<>\"] }]",
    "{ a = { b = \"<>\" } }",
];

#[test]
fn a_template_is_an_error_at_its_line_in_every_text_of_every_key_of_every_target() {
    for (capability, key, _) in ENFORCED {
        let (_, kind, least) =
            MINIMAL_TARGETS.iter().find(|(of, ..)| of == capability).expect("listed");
        let first = if key == kind { String::new() } else { format!("{least}\n") };
        for (place, template) in PLACES.iter().flat_map(|place| {
            [
                "{{ params.host }}",
                "{{ secrets.token }}",
                "{{steps.a.output.b}}",
                "{% if params.a %}x{% endif %}",
            ]
            .map(|template| (place, template))
        }) {
            let text = format!("[targets.t]\n{first}{key} = {}\n", place.replace("<>", template));
            let source = Source::new("r.toml", text.clone());
            let mut diagnostics = Diagnostics::default();
            let table = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
            let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value) else {
                panic!("targets")
            };
            Targets::default().read(
                &source,
                table,
                Folder::without_links(Path::new("/base")).expect("absolute"),
                &mut diagnostics,
            );
            let found: Vec<_> = diagnostics.iter().filter(|found| found.code == "E0107").collect();
            let [found] = found.as_slice() else { panic!("{text}: {diagnostics:?}") };
            assert_eq!(found.position().line, text.lines().count(), "{text}");
            assert!(
                found.help.as_deref().is_some_and(
                    |help| help.contains("secret:NAME") == template.contains("secrets")
                ),
                "{found:?}"
            );
            let same = diagnostics.iter().filter(|other| other.span == found.span).count();
            assert_eq!(same, 1, "one mistake, one finding: {text}: {diagnostics:?}");
        }
    }
}

#[test]
fn every_other_key_has_the_test_that_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = String::new();
    let mut folders = vec![root.join("host"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(path).expect("readable"));
            }
        }
    }
    for (capability, key, by) in ENFORCED {
        let Enforcement::Test(name) = by else { continue };
        assert!(
            sources.contains(&format!("fn {name}(")),
            "{capability} {key}: there is no test `{name}`"
        );
    }
}
