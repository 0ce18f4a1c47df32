//! Tests that every key of every target is enforced: by the gate, which is shown here, or by a
//! capability, which the named test shows.
//!
//! The first test fails if a new key is not in the table. The second fails if the gate no longer
//! checks a key.

use crate::gate::Creation;
use crate::gate::tests::grants;
use crate::gate::{
    ConnectionState, GateDecision, GateRequest, HeaderValue, MailMessage, Mode, SystemObject,
    decide,
};
use crate::grant::EffectiveGrants;
use crate::targets::{ContainerFacts, Folder, Targets};
use crate::{Capability, Verb};
use runbook_document::{Diagnostics, Source, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// How a key is enforced.
enum Enforcement {
    /// By the gate: with the first line in the target, the request is denied; with the second line,
    /// it is allowed.
    Gate(&'static str, &'static str, fn(&EffectiveGrants) -> GateDecision),
    /// By other code: the test of this name shows it, anywhere in the repository.
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
    (Capability::System, "system", "system = [\"disks\", \"ports\"]"),
    (Capability::Redis, "redis", "redis = \"h\""),
    (
        Capability::Objects,
        "objects",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h\"\nauth = { aws-sigv4 = { \
         access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
    ),
    (
        Capability::Mail,
        "mail",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]",
    ),
];

/// A minimal target without the line of one of its keys.
pub(crate) fn without_key(minimal: &str, key: &str) -> String {
    let of_key = |line: &&str| line.split(" = ").next() == Some(key);
    minimal.lines().filter(|line| !of_key(line)).map(|line| format!("{line}\n")).collect()
}

/// The decision about an HTTP request. Each function below decides about a request of another kind.
fn request(
    grants: &EffectiveGrants,
    path: &str,
    headers: &[(&str, HeaderValue<'_>)],
) -> GateDecision {
    decide(
        grants,
        Mode::Effects,
        &GateRequest::Http { slot: "s", verb: Verb::HttpGet, path, headers, secrets: &[] },
    )
}

fn header(grants: &EffectiveGrants) -> GateDecision {
    request(grants, "/", &[("x-trace", HeaderValue::Plain("a"))])
}

fn statement(grants: &EffectiveGrants) -> GateDecision {
    decide(
        grants,
        Mode::Effects,
        &GateRequest::Sql {
            slot: "s",
            verb: Verb::SqlQuery,
            statement: Some("select * from orders"),
        },
    )
}

fn container(grants: &EffectiveGrants) -> GateDecision {
    let labels = [
        ("role".to_owned(), "api".to_owned()),
        ("com.docker.compose.project".to_owned(), "shop".to_owned()),
    ];
    let container = ContainerFacts { name: "orders-api", labels: &labels };
    decide(
        grants,
        Mode::Effects,
        &GateRequest::Container { slot: "s", verb: Verb::DockerStop, container },
    )
}

fn arguments(grants: &EffectiveGrants) -> GateDecision {
    decide(
        grants,
        Mode::Effects,
        &GateRequest::Process { slot: "s", verb: Verb::ProcessRun, arguments: &["-a".to_owned()] },
    )
}

fn connect(grants: &EffectiveGrants, verb: Verb) -> GateDecision {
    let address = std::net::IpAddr::from([10, 0, 0, 1]);
    let connect = GateRequest::Connect {
        slot: "s",
        verb,
        host: "api.internal",
        address,
        connection: ConnectionState::New,
    };
    decide(grants, Mode::Effects, &connect)
}

fn server(grants: &EffectiveGrants) -> GateDecision {
    let says: &[&str] = &["PING"];
    let (slot, verb) = ("s", Verb::NetConnect);
    let (host, port) = (Some("h"), Some(443));
    decide(grants, Mode::Effects, &GateRequest::Endpoint { slot, verb, host, port, says })
}

fn lookup(grants: &EffectiveGrants) -> GateDecision {
    let (slot, verb) = ("s", Verb::NetLookup);
    let name = Some("a.example.com");
    decide(grants, Mode::Effects, &GateRequest::Lookup { slot, verb, name, kind: "A" })
}

fn resolver(grants: &EffectiveGrants) -> GateDecision {
    let (slot, verb) = ("s", Verb::NetLookup);
    let resolver = std::net::SocketAddr::from(([10, 0, 0, 53], 53));
    decide(grants, Mode::Effects, &GateRequest::Resolver { slot, verb, resolver })
}

fn mount(grants: &EffectiveGrants) -> GateDecision {
    let object = SystemObject::Mount("/var");
    let disks = GateRequest::System { slot: "s", verb: Verb::SystemDisks, object };
    decide(grants, Mode::Effects, &disks)
}

fn redis(grants: &EffectiveGrants) -> GateDecision {
    let command = [b"get".to_vec(), b"session:1".to_vec()];
    let (slot, verb) = ("s", Verb::RedisRead);
    decide(grants, Mode::Effects, &GateRequest::Redis { slot, verb, command: &command })
}

fn file(grants: &EffectiveGrants) -> GateDecision {
    let file = GateRequest::Files { slot: "s", verb: Verb::FilesRead, path: "old/app.log" };
    decide(grants, Mode::ReadOnly, &file)
}

fn removal(grants: &EffectiveGrants) -> GateDecision {
    let age = std::time::Duration::from_hours(7 * 24);
    let (slot, verb, path) = ("s", Verb::FilesRemove, "a");
    decide(grants, Mode::Effects, &GateRequest::FileRemoval { slot, verb, path, age })
}

fn message(grants: &EffectiveGrants) -> GateDecision {
    let message = MailMessage { subject: "orders is down", text: "", number: 2 };
    decide(grants, Mode::Effects, &GateRequest::Mail { slot: "s", verb: Verb::MailSend, message })
}

fn redirect(grants: &EffectiveGrants) -> GateDecision {
    let base = url::Url::parse("http://api.internal").expect("a URL");
    let to = url::Url::parse("http://api.internal/b").expect("a URL");
    decide(
        grants,
        Mode::Effects,
        &GateRequest::Redirect {
            slot: "s",
            verb: Verb::HttpGet,
            base: &base,
            from: &base,
            to: &to,
            hop: 1,
        },
    )
}

fn redirect_elsewhere(grants: &EffectiveGrants) -> GateDecision {
    let base = url::Url::parse("http://api.internal").expect("a URL");
    let to = url::Url::parse("https://cdn.example/b").expect("a URL");
    let (slot, verb, from, hop) = ("s", Verb::HttpGet, &base, 1);
    decide(
        grants,
        Mode::Effects,
        &GateRequest::Redirect { slot, verb, base: &base, from, to: &to, hop },
    )
}

fn health(grants: &EffectiveGrants) -> GateDecision {
    let (slot, verb, service) = ("s", Verb::HttpHealth, "orders.v1.Orders");
    decide(grants, Mode::Effects, &GateRequest::Health { slot, verb, service })
}

fn socket(grants: &EffectiveGrants) -> GateDecision {
    let (slot, verb, connection) = ("s", Verb::HttpGet, ConnectionState::New);
    let path = Path::new("/run/app.sock");
    decide(grants, Mode::Effects, &GateRequest::Socket { slot, verb, path, connection })
}

const KEY_ENFORCEMENT: &[(Capability, &str, Enforcement)] = &[
    (
        Capability::Http,
        "http",
        Enforcement::Test("redirects_are_not_followed_unless_the_target_says_so"),
    ),
    (
        Capability::Http,
        "paths",
        Enforcement::Gate("paths = [\"/b\"]", "paths = [\"/a\"]", |grants| {
            request(grants, "/a", &[])
        }),
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
            |grants| request(grants, "/", &[("Authorization", HeaderValue::Plain("own"))]),
        ),
    ),
    (
        Capability::Http,
        "addresses",
        Enforcement::Gate("addresses = [\"public\"]", "addresses = [\"private\"]", |grants| {
            connect(grants, Verb::HttpGet)
        }),
    ),
    (Capability::Http, "redirects", Enforcement::Gate("redirects = 0", "redirects = 1", redirect)),
    (
        Capability::Http,
        "redirect_origins",
        Enforcement::Gate(
            "redirects = 1",
            "redirects = 1\nredirect_origins = [\"https://cdn.example\"]",
            redirect_elsewhere,
        ),
    ),
    (
        Capability::Http,
        "socket",
        Enforcement::Gate("socket = \"/run/other.sock\"", "socket = \"/run/app.sock\"", socket),
    ),
    (
        Capability::Http,
        "services",
        Enforcement::Gate("services = []", "services = [\"orders.v1.Orders\"]", health),
    ),
    (
        Capability::Http,
        "cookies",
        Enforcement::Test("cookies_go_back_to_the_server_that_set_them_alone"),
    ),
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
        Enforcement::Test("a_server_that_requires_a_client_certificate_gets_the_one_of_the_target"),
    ),
    (
        Capability::Http,
        "client_key",
        Enforcement::Test("an_unusable_client_certificate_or_key_is_reported_with_the_reason"),
    ),
    (
        Capability::Http,
        "via",
        Enforcement::Test(
            "a_target_with_a_gateway_is_never_connected_to_directly_and_one_without_is_through_none",
        ),
    ),
    (
        Capability::Http,
        "remote_dns",
        Enforcement::Test(
            "addresses_behind_a_gateway_are_judged_as_others_and_names_only_with_remote_dns",
        ),
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
        Enforcement::Gate("addresses = [\"public\"]", "addresses = [\"private\"]", |grants| {
            connect(grants, Verb::SqlQuery)
        }),
    ),
    (
        Capability::Sql,
        "ca",
        Enforcement::Test("a_database_server_is_verified_by_the_authority_of_its_target_alone"),
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
        "via",
        Enforcement::Test(
            "a_target_with_a_gateway_is_never_connected_to_directly_and_one_without_is_through_none",
        ),
    ),
    (
        Capability::Sql,
        "remote_dns",
        Enforcement::Test(
            "addresses_behind_a_gateway_are_judged_as_others_and_names_only_with_remote_dns",
        ),
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
    (Capability::Docker, "socket", Enforcement::Test("an_engine_that_does_not_answer_is_reported")),
    (
        Capability::Docker,
        "engine",
        Enforcement::Test("an_engine_is_verified_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Docker,
        "addresses",
        Enforcement::Gate(
            "engine = \"tcp://h\"\naddresses = [\"public\"]",
            "engine = \"tcp://h\"\naddresses = [\"private\"]",
            |grants| connect(grants, Verb::DockerList),
        ),
    ),
    (
        Capability::Docker,
        "tls",
        Enforcement::Test("an_engine_of_another_machine_is_never_reached_without_tls"),
    ),
    (
        Capability::Docker,
        "ca",
        Enforcement::Test("an_engine_is_verified_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Docker,
        "client_cert",
        Enforcement::Test("an_engine_that_demands_a_certificate_gets_that_of_the_target"),
    ),
    (
        Capability::Docker,
        "client_key",
        Enforcement::Test("an_engine_that_demands_a_certificate_gets_that_of_the_target"),
    ),
    (
        Capability::Docker,
        "images",
        Enforcement::Gate("images = [\"y\"]", "images = [\"x:*\"]", |grants| {
            decide(
                grants,
                Mode::Effects,
                &GateRequest::Image { slot: "s", verb: Verb::DockerPull, image: "x:1" },
            )
        }),
    ),
    (
        Capability::Docker,
        "command",
        Enforcement::Gate("command = [\"ls\", \"/\"]", "command = [\"ls\"]", |grants| {
            decide(
                grants,
                Mode::Effects,
                &GateRequest::Exec {
                    slot: "s",
                    verb: Verb::DockerExec,
                    command: &["ls".to_owned()],
                },
            )
        }),
    ),
    (
        Capability::Docker,
        "environment",
        Enforcement::Gate(
            "images = [\"x\"]\nenvironment = [\"A\", \"MODE=y*\"]",
            "images = [\"x\"]\nenvironment = [\"MODE=x*\"]",
            |grants| {
                let environment = [("MODE".to_owned(), "xy".to_owned())];
                let (image, command, container) =
                    ("x", &[][..], ContainerFacts { name: "a", labels: &[] });
                let creation = Creation { container, image, command, environment: &environment };
                let grants = grants.clone().with_every_verb();
                decide(
                    &grants,
                    Mode::Effects,
                    &GateRequest::Create { slot: "s", verb: Verb::DockerCreate, creation },
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
    (Capability::Files, "max_bytes", Enforcement::Test("each_files_verb_works")),
    (
        Capability::Files,
        "max_total",
        Enforcement::Test("all_searches_of_a_call_go_through_no_more_than_the_target_says"),
    ),
    (
        Capability::Files,
        "patterns",
        Enforcement::Gate(
            "access = \"write\"\npatterns = [\"*.txt\"]",
            "access = \"write\"\npatterns = [\"*.log\"]",
            file,
        ),
    ),
    (
        Capability::Files,
        "min_age",
        Enforcement::Gate(
            "access = \"write\"\nmin_age = \"8d\"",
            "access = \"write\"\nmin_age = \"7d\"",
            removal,
        ),
    ),
    (
        Capability::Files,
        "verbs",
        Enforcement::Test("a_writable_directory_for_a_slot_that_only_reads_is_refused"),
    ),
    (
        Capability::Process,
        "process",
        Enforcement::Test("a_missing_or_not_executable_program_is_reported"),
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
        Enforcement::Gate("arguments = []", "read_only = true", |grants| {
            decide(
                grants,
                Mode::ReadOnly,
                &GateRequest::Process { slot: "s", verb: Verb::ProcessInspect, arguments: &[] },
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
            "net = \"other\"\nports = [443]\nquestions = [\"PING\"]",
            "net = [\"other\", \"h\"]\nports = [443]\nquestions = [\"PING\"]",
            server,
        ),
    ),
    (
        Capability::Net,
        "ports",
        Enforcement::Gate(
            "questions = [\"PING\"]\nports = [80]",
            "questions = [\"PING\"]\nports = [80, 443]",
            server,
        ),
    ),
    (
        Capability::Net,
        "addresses",
        Enforcement::Gate(
            "ports = [443]\naddresses = [\"public\"]",
            "ports = [443]\naddresses = [\"private\"]",
            |grants| connect(grants, Verb::NetConnect),
        ),
    ),
    (
        Capability::Net,
        "ca",
        Enforcement::Test("an_inspection_believes_the_authority_of_the_target_alone"),
    ),
    (
        Capability::Net,
        "questions",
        Enforcement::Gate(
            "ports = [443]\nquestions = [\"PONG\"]",
            "ports = [443]\nquestions = [\"P*G\"]",
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
        "via",
        Enforcement::Test(
            "a_target_with_a_gateway_is_never_connected_to_directly_and_one_without_is_through_none",
        ),
    ),
    (
        Capability::Net,
        "remote_dns",
        Enforcement::Test(
            "addresses_behind_a_gateway_are_judged_as_others_and_names_only_with_remote_dns",
        ),
    ),
    (
        Capability::Net,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (
        Capability::System,
        "system",
        Enforcement::Gate("system = [\"ports\"]", "system = [\"ports\", \"disks\"]", mount),
    ),
    (
        Capability::System,
        "mounts",
        Enforcement::Gate("mounts = [\"/\"]", "mounts = [\"/v*\"]", mount),
    ),
    (
        Capability::System,
        "processes",
        Enforcement::Test("a_mount_point_or_a_process_that_the_target_does_not_list_is_denied"),
    ),
    (
        Capability::System,
        "process_arguments",
        Enforcement::Test("arguments_are_seen_only_if_the_target_says_so_and_never_with_a_secret"),
    ),
    (
        Capability::System,
        "units",
        Enforcement::Test("a_unit_is_seen_by_a_pattern_and_changed_only_by_its_full_name"),
    ),
    (
        Capability::System,
        "control",
        Enforcement::Test("a_unit_is_seen_by_a_pattern_and_changed_only_by_its_full_name"),
    ),
    (
        Capability::System,
        "bus",
        Enforcement::Test("a_bus_that_is_away_or_silent_gives_no_verdict_and_changes_nothing"),
    ),
    (
        Capability::System,
        "max_rows",
        Enforcement::Test("rows_beyond_the_limit_of_the_target_are_left_out_and_that_is_told"),
    ),
    (
        Capability::System,
        "max_bytes",
        Enforcement::Test("texts_beyond_the_limit_of_the_target_are_left_out_and_that_is_told"),
    ),
    (
        Capability::System,
        "timeout",
        Enforcement::Test("a_sample_longer_than_the_timeout_of_the_target_is_a_timeout"),
    ),
    (
        Capability::System,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (
        Capability::Redis,
        "redis",
        Enforcement::Test("a_server_is_a_host_and_a_port_and_nothing_else"),
    ),
    (
        Capability::Redis,
        "database",
        Enforcement::Test("the_user_the_password_and_the_database_are_those_of_the_target"),
    ),
    (
        Capability::Redis,
        "addresses",
        Enforcement::Gate("addresses = [\"public\"]", "addresses = [\"private\"]", |grants| {
            connect(grants, Verb::RedisRead)
        }),
    ),
    (
        Capability::Redis,
        "tls",
        Enforcement::Test("a_server_of_redis_is_verified_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Redis,
        "ca",
        Enforcement::Test("a_server_of_redis_is_verified_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Redis,
        "client_cert",
        Enforcement::Test("a_server_of_redis_that_asks_for_a_certificate_gets_that_of_the_target"),
    ),
    (
        Capability::Redis,
        "client_key",
        Enforcement::Test("a_server_of_redis_that_asks_for_a_certificate_gets_that_of_the_target"),
    ),
    (
        Capability::Redis,
        "user",
        Enforcement::Test("the_user_the_password_and_the_database_are_those_of_the_target"),
    ),
    (
        Capability::Redis,
        "password",
        Enforcement::Test("the_user_the_password_and_the_database_are_those_of_the_target"),
    ),
    (
        Capability::Redis,
        "commands",
        Enforcement::Gate("commands = [\"ttl\"]", "commands = [\"g*\"]", redis),
    ),
    (
        Capability::Redis,
        "keys",
        Enforcement::Gate("keys = [\"cart\"]", "keys = [\"session:*\"]", redis),
    ),
    (
        Capability::Redis,
        "max_bytes",
        Enforcement::Test("an_answer_larger_than_the_target_allows_is_a_fault_and_not_read"),
    ),
    (
        Capability::Redis,
        "timeout",
        Enforcement::Test("a_server_of_redis_that_never_answers_is_left_at_the_timeout"),
    ),
    (
        Capability::Redis,
        "via",
        Enforcement::Test(
            "a_target_with_a_gateway_is_never_connected_to_directly_and_one_without_is_through_none",
        ),
    ),
    (
        Capability::Redis,
        "remote_dns",
        Enforcement::Test(
            "addresses_behind_a_gateway_are_judged_as_others_and_names_only_with_remote_dns",
        ),
    ),
    (
        Capability::Redis,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (
        Capability::Objects,
        "objects",
        Enforcement::Test("a_place_is_a_bucket_and_a_prefix_that_ends_at_a_slash"),
    ),
    (
        Capability::Objects,
        "endpoint",
        Enforcement::Test("a_request_goes_to_the_endpoint_of_the_target_and_nowhere_else"),
    ),
    (
        Capability::Objects,
        "auth",
        Enforcement::Test("a_request_is_signed_with_the_keys_of_the_target_alone"),
    ),
    (
        Capability::Objects,
        "addresses",
        Enforcement::Gate("addresses = [\"public\"]", "addresses = [\"private\"]", |grants| {
            connect(grants, Verb::ObjectsGet)
        }),
    ),
    (
        Capability::Objects,
        "ca",
        Enforcement::Test("a_store_is_verified_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Objects,
        "client_cert",
        Enforcement::Test("a_store_that_asks_for_a_certificate_gets_that_of_the_target"),
    ),
    (
        Capability::Objects,
        "client_key",
        Enforcement::Test("a_store_that_asks_for_a_certificate_gets_that_of_the_target"),
    ),
    (
        Capability::Objects,
        "max_bytes",
        Enforcement::Test("an_object_larger_than_the_target_allows_is_a_fault_and_not_read"),
    ),
    (
        Capability::Objects,
        "max_copy",
        Enforcement::Test("an_object_larger_than_the_target_allows_is_a_fault_and_not_read"),
    ),
    (Capability::Objects, "max_rows", Enforcement::Test("a_list_that_was_cut_says_so")),
    (
        Capability::Objects,
        "storage_class",
        Enforcement::Test("what_is_put_has_the_storage_class_of_the_target"),
    ),
    (
        Capability::Objects,
        "timeout",
        Enforcement::Test("a_store_that_falls_silent_is_left_at_the_timeout"),
    ),
    (
        Capability::Objects,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
    (Capability::Mail, "mail", Enforcement::Test("a_server_is_a_host_and_a_port_and_nothing_else")),
    (
        Capability::Mail,
        "from",
        Enforcement::Test("a_message_goes_from_the_sender_to_the_recipients_of_the_target_alone"),
    ),
    (
        Capability::Mail,
        "to",
        Enforcement::Test("a_message_goes_from_the_sender_to_the_recipients_of_the_target_alone"),
    ),
    (
        Capability::Mail,
        "addresses",
        Enforcement::Gate("addresses = [\"public\"]", "addresses = [\"private\"]", |grants| {
            connect(grants, Verb::MailSend)
        }),
    ),
    (
        Capability::Mail,
        "tls",
        Enforcement::Test("a_mail_server_is_verified_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Mail,
        "starttls",
        Enforcement::Test("a_mail_server_is_verified_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Mail,
        "ca",
        Enforcement::Test("a_mail_server_is_verified_by_the_authority_of_its_target_alone"),
    ),
    (
        Capability::Mail,
        "client_cert",
        Enforcement::Test("a_mail_server_that_asks_for_a_certificate_gets_that_of_the_target"),
    ),
    (
        Capability::Mail,
        "client_key",
        Enforcement::Test("a_mail_server_that_asks_for_a_certificate_gets_that_of_the_target"),
    ),
    (
        Capability::Mail,
        "user",
        Enforcement::Test("a_mail_server_lets_the_user_of_the_target_in_with_its_password"),
    ),
    (
        Capability::Mail,
        "password",
        Enforcement::Test("a_mail_server_lets_the_user_of_the_target_in_with_its_password"),
    ),
    (
        Capability::Mail,
        "max_messages",
        Enforcement::Gate("max_messages = 1", "max_messages = 2", message),
    ),
    (
        Capability::Mail,
        "max_bytes",
        Enforcement::Test("a_message_larger_than_the_target_or_the_server_allows_is_not_sent"),
    ),
    (
        Capability::Mail,
        "timeout",
        Enforcement::Test("a_mail_server_that_is_silent_is_left_at_the_timeout"),
    ),
    (
        Capability::Mail,
        "verbs",
        Enforcement::Test("a_grant_wider_than_declared_is_refused_at_the_target"),
    ),
];

/// The keys that the reader of a kind of target knows: it lists them for a key that it does not
/// know.
pub(crate) fn known_keys(minimal: &str) -> BTreeSet<String> {
    let source = Source::new(
        "r.toml",
        format!("[targets.t]\n{minimal}\nquite_another_thing_altogether = 1\n"),
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
    for (capability, _, minimal) in MINIMAL_TARGETS {
        let listed: BTreeSet<String> = KEY_ENFORCEMENT
            .iter()
            .filter(|(row_capability, ..)| row_capability == capability)
            .map(|(_, key, _)| (*key).to_owned())
            .collect();
        assert_eq!(known_keys(minimal), listed, "{capability}");
    }
}

#[test]
fn each_key_that_the_gate_enforces_decides_the_request() {
    for (capability, key, enforcement) in KEY_ENFORCEMENT {
        let Enforcement::Gate(narrow, wide, decision) = enforcement else { continue };
        let (.., minimal) = MINIMAL_TARGETS
            .iter()
            .find(|(row_capability, ..)| row_capability == capability)
            .expect("listed");
        let grants_with = |line: &str| {
            let target = format!("{}{line}", without_key(minimal, key));
            grants(capability.name(), &target)
        };
        assert!(
            matches!(decision(&grants_with(narrow)), GateDecision::Deny(_)),
            "{capability} {key}: `{narrow}` does not deny"
        );
        assert_eq!(
            decision(&grants_with(wide)),
            GateDecision::Allow,
            "{capability} {key}: `{wide}` does not allow"
        );
    }
    // The other keys of the container filter.
    for (narrow, wide) in [
        ("pattern = \"x*\"", "pattern = \"orders-*\""),
        ("label = \"role=db\"", "label = \"role=api\""),
        ("project = \"x\"", "project = \"shop\""),
    ] {
        let grants_with = |filter: &str| grants("docker", &format!("docker = {{ {filter} }}"));
        assert!(
            matches!(container(&grants_with(narrow)), GateDecision::Deny(_))
                && container(&grants_with(wide)) == GateDecision::Allow,
            "{wide}"
        );
    }
}

/// Values with a text in each position that a value can have one. `<>` stands for the text.
const TEMPLATE_POSITIONS: &[&str] = &[
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
    for (capability, key, _) in KEY_ENFORCEMENT {
        let (.., minimal) = MINIMAL_TARGETS
            .iter()
            .find(|(row_capability, ..)| row_capability == capability)
            .expect("listed");
        let target_start = without_key(minimal, key);
        for (position, template) in TEMPLATE_POSITIONS.iter().flat_map(|position| {
            [
                "{{ params.host }}",
                "{{ secrets.token }}",
                "{{steps.a.output.b}}",
                "{% if params.a %}x{% endif %}",
            ]
            .map(|template| (position, template))
        }) {
            let text = format!(
                "[targets.t]\n{target_start}{key} = {}\n",
                position.replace("<>", template)
            );
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
            let same_span_count =
                diagnostics.iter().filter(|other| other.span == found.span).count();
            assert_eq!(same_span_count, 1, "one mistake, one finding: {text}: {diagnostics:?}");
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
    for (capability, key, enforcement) in KEY_ENFORCEMENT {
        let Enforcement::Test(name) = enforcement else { continue };
        assert!(
            sources.contains(&format!("fn {name}(")),
            "{capability} {key}: there is no test `{name}`"
        );
    }
}
