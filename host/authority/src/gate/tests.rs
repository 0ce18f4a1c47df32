use super::*;
use crate::capability::{VERBS, Verb};
use crate::grant::{Binding, GrantSite, grant};
use crate::manifest::{KnownInput, Manifest};
use crate::pattern::AddressClass;
use crate::targets::{ContainerFacts, Folder, SecretPlace, Targets};
use runbook_document::{Diagnostics, Located, Source};
use std::net::IpAddr;
use std::path::Path;
use url::Url;

/// The authority of a step that binds slot `s` (and `k`, a secret) to the target that `toml`
/// describes, with every verb declared.
pub(crate) fn effective(capability: &str, toml: &str) -> Effective {
    // A program only reads, or it may do anything: no target is both.
    let other =
        if toml.contains("read_only = true") { Verb::ProcessRun } else { Verb::ProcessInspect };
    let all = crate::Capability::find(capability)
        .expect("a capability")
        .verbs()
        .filter(|verb| *verb != other);
    effective_for(capability, &all.map(|verb| verb.row().name).collect::<Vec<_>>(), toml)
}

/// Like [`effective`] of a program that may run, with other targets beside its own.
pub(crate) fn effective_with(toml: &str, others: &str) -> Effective {
    effective_beside("process", &["run"], toml, others)
}

/// Like [`effective`], with these verbs declared.
pub(crate) fn effective_for(capability: &str, verbs: &[&str], toml: &str) -> Effective {
    effective_beside(capability, verbs, toml, "")
}

fn effective_beside(capability: &str, verbs: &[&str], toml: &str, others: &str) -> Effective {
    let verbs = verbs.iter().map(|verb| format!("\"{verb}\"")).collect::<Vec<_>>().join(",");
    let manifest = format!(
        "format = 1\n[plugin]\nname = \"p\"\nversion = \"1.0.0\"\ndescription = \"d\"\n\
                 [slots.s]\ncapability = \"{capability}\"\nverbs = [{verbs}]\nreason = \"r\"\n\
                 [slots.k]\ncapability = \"secrets\"\nverbs = [\"use\"]\nreason = \"r\"\n\
                 [[operation]]\nname = \"o\"\nkind = \"step\"\nsummary = \"s\"\n\
                 slots = {{ s = [{verbs}], k = [\"use\"] }}\noptional = [\"k\"]\n"
    );
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", manifest), &mut diagnostics)
        .unwrap_or_else(|| panic!("{diagnostics:?}"));
    let source = Source::new(
        "r.toml",
        format!(
            "[targets.t]\n{toml}\n[targets.key]\nsecret = \"token\"\n\
                 positions = [{{ slot = \"s\", header = \"authorization\" }}]\n{others}"
        ),
    );
    let table = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
    let Some(runbook_document::Value::Table(table)) =
        table.get("targets").map(|node| node.value.clone())
    else {
        panic!("no targets")
    };
    let mut targets = Targets::default();
    let folder = Folder::without_links(Path::new("/base")).expect("absolute");
    targets.read(&source, &table, folder, &mut diagnostics);
    let stored =
        |name: &str| (name.to_owned(), crate::targets::StoredSecret::locate("s.age", name, folder));
    let names: Vec<String> =
        targets.iter().flat_map(|target| target.secrets()).map(str::to_owned).collect();
    targets.name_secrets(names.iter().map(|name| stored(name)).collect());
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let located = |text: &str| Located { value: text.to_owned(), span: 0..0 };
    let bindings = [
        Binding { slot: located("s"), target: located("t") },
        Binding { slot: located("k"), target: located("key") },
    ];
    let site = GrantSite {
        step: "one",
        uses: "p:o",
        operation: "o",
        source: &source,
        span: &(0..0),
        input: KnownInput::empty(),
    };
    grant(&site, &manifest, &bindings, &targets).unwrap_or_else(|refusals| panic!("{refusals:?}"))
}

fn rule(effective: &Effective, operation: &Operation<'_>) -> Option<&'static str> {
    match decide(effective, Mode::Effects, operation) {
        GateDecision::Allow => None,
        GateDecision::Deny(denial) => Some(denial.rule.name()),
    }
}

fn get<'a>(path: &'a str, headers: &'a [(&'a str, HeaderValue<'a>)]) -> Operation<'a> {
    Operation::Http { slot: "s", verb: Verb::HttpGet, path, headers, secrets: &[] }
}

#[test]
fn nothing_is_allowed_to_a_plugin_that_was_granted_nothing() {
    for row in VERBS {
        let operation = Operation::Docker { slot: "s", verb: row.verb };
        assert_eq!(rule(&Effective::none(), &operation), Some("unbound"), "{}", row.name);
    }
}

/// Every operation there is, with one verb.
fn every_operation<'a>(verb: Verb, url: &'a Url, command: &'a [String]) -> Vec<Operation<'a>> {
    let slot = "s";
    let address = IpAddr::from([127, 0, 0, 1]);
    let all = vec![
        Operation::Http { slot, verb, path: "/", headers: &[], secrets: &[] },
        Operation::Connect {
            slot,
            verb,
            host: url.host_str().unwrap_or_default(),
            address,
            connection: ConnectionState::New,
        },
        Operation::Token { slot, verb, server: url },
        Operation::Redirect { slot, verb, base: url, to: url, hop: 1 },
        Operation::Sql { slot, verb, statement: None },
        Operation::Docker { slot, verb },
        Operation::Container { slot, verb, container: ContainerFacts { name: "c", labels: &[] } },
        Operation::Create {
            slot,
            verb,
            creation: Creation {
                container: ContainerFacts { name: "c", labels: &[] },
                image: "i",
                command,
                environment: &[],
            },
        },
        Operation::Image { slot, verb, image: "i" },
        Operation::Exec { slot, verb, command },
        Operation::Secret { slot, verb },
        Operation::Files { slot, verb, path: "a" },
        Operation::Process { slot, verb, arguments: command },
        Operation::Endpoint { slot, verb, host: None, port: None, says: &[] },
        Operation::Lookup { slot, verb, name: None, kind: "A" },
        Operation::Resolver { slot, verb, resolver: ([127, 0, 0, 1], 53).into() },
    ];
    // Who adds an operation adds it above: the first one not named here does not compile.
    for operation in &all {
        match operation {
            Operation::Http { .. }
            | Operation::Connect { .. }
            | Operation::Token { .. }
            | Operation::Redirect { .. }
            | Operation::Sql { .. }
            | Operation::Docker { .. }
            | Operation::Container { .. }
            | Operation::Create { .. }
            | Operation::Image { .. }
            | Operation::Exec { .. }
            | Operation::Secret { .. }
            | Operation::Files { .. }
            | Operation::Process { .. }
            | Operation::Endpoint { .. }
            | Operation::Lookup { .. }
            | Operation::Resolver { .. } => {}
        }
    }
    all
}

/// A step that is bound to a target of each kind, and a word for it.
fn every_target() -> [(&'static str, Effective); 7] {
    [
        (
            "http",
            "http = \"http://127.0.0.1\"\nredirects = 1\n[targets.t.auth.oauth2]\n\
             token_url = \"http://127.0.0.1\"\nclient_id = \"c\"\nclient_secret = \"secret:s\"",
        ),
        ("sql", "sql = \"postgres://a@127.0.0.1/d\""),
        ("docker", "docker = { name = \"c\" }\nimages = [\"i\"]\ncommand = []"),
        ("secrets", "secret = \"k\"\npositions = []"),
        ("files", "files = \"x\"\naccess = \"write\""),
        ("process", "process = \"/bin/true\"\narguments = []"),
        ("net", "net = \"127.0.0.1\"\nports = [1]\nnames = [\"a.example\"]"),
    ]
    .map(|(capability, toml)| (capability, effective(capability, toml)))
}

#[test]
fn every_change_is_denied_where_effects_are_off() {
    let url = Url::parse("http://127.0.0.1").expect("good URL");
    for (kind, effective) in every_target() {
        let effective = effective.with_every_verb();
        for row in VERBS {
            for operation in every_operation(row.verb, &url, &[]) {
                let denied_as_change = match decide(&effective, Mode::ReadOnly, &operation) {
                    GateDecision::Allow => false,
                    GateDecision::Deny(denial) => denial.rule == Rule::EffectsOff,
                };
                assert_eq!(
                    denied_as_change,
                    row.effect == VerbEffect::Change,
                    "{operation:?} on a {kind} target"
                );
            }
        }
    }
}

#[test]
fn an_operation_is_allowed_on_the_kinds_of_target_that_it_is_about() {
    let url = Url::parse("http://127.0.0.1").expect("good URL");
    let mut allowed = Vec::new();
    for (kind, effective) in every_target() {
        let effective = effective.with_every_verb();
        for operation in every_operation(Verb::ProcessRun, &url, &[]) {
            if decide(&effective, Mode::Effects, &operation) == GateDecision::Allow {
                let name = format!("{operation:?}");
                allowed.push(format!("{kind}: {}", name.split(' ').next().unwrap_or_default()));
            } else {
                assert!(rule(&effective, &operation).is_some(), "{operation:?} on a {kind} target");
            }
        }
    }
    let expected = [
        "http: Http",
        "http: Connect",
        "http: Token",
        "http: Redirect",
        "sql: Connect",
        "sql: Sql",
        "docker: Docker",
        "docker: Container",
        "docker: Create",
        "docker: Image",
        "docker: Exec",
        "secrets: Secret",
        "files: Files",
        "process: Process",
        "net: Connect",
        "net: Endpoint",
        "net: Lookup",
        "net: Resolver",
    ];
    assert_eq!(allowed, expected);
}

#[test]
fn a_call_on_a_slot_of_another_kind_is_denied() {
    let effective = effective("http", "http = \"http://h\"");
    assert_eq!(
        rule(&effective, &Operation::Files { slot: "s", verb: Verb::FilesRead, path: "a" }),
        Some("verb")
    );
}

#[test]
fn request_paths_are_held_to_the_patterns() {
    let effective = effective("http", "http = \"http://h/v1\"\npaths = [\"/orders/*\"]");
    assert_eq!(rule(&effective, &get("/orders/1?x=2", &[])), None);
    for path in [
        "/orders",
        "/orders/1/x",
        "/orders/../admin",
        "/orders/%2e%2e/admin",
        "//h2/orders/1",
        "orders/1",
        "/orders/1\r\nx: y",
    ] {
        assert_eq!(rule(&effective, &get(path, &[])), Some("path"), "{path}");
    }
}

#[test]
fn headers_that_steer_a_request_belong_to_the_host() {
    let effective = effective(
        "http",
        "http = \"http://h\"\nrequest_headers = [\"X-Trace\"]\n\
         headers = { Authorization = \"Bearer secret:token\" }",
    );
    assert_eq!(
        rule(
            &effective,
            &get(
                "/",
                &[("x-trace", HeaderValue::Plain("1")), ("Accept", HeaderValue::Plain("*/*"))]
            )
        ),
        None
    );
    for (name, value) in [
        ("Host", "evil"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Proxy-Authorization", "x"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("AUTHORIZATION", "mine"),
        ("x-other", "1"),
        ("x-trace", "a\r\nHost: evil"),
        ("x trace", "1"),
        ("", "1"),
    ] {
        assert_eq!(
            rule(&effective, &get("/", &[(name, HeaderValue::Plain(value))])),
            Some("header"),
            "{name}"
        );
    }
}

#[test]
fn a_secret_goes_only_where_its_target_says() {
    let effective = effective("http", "http = \"http://h\"");
    assert_eq!(rule(&effective, &get("/", &[("Authorization", HeaderValue::Secret("k"))])), None);
    assert_eq!(
        rule(&effective, &get("/", &[("X-Other", HeaderValue::Secret("k"))])),
        Some("position")
    );
    assert_eq!(
        rule(&effective, &get("/", &[("Authorization", HeaderValue::Secret("s"))])),
        Some("position")
    );
    assert_eq!(
        rule(&effective, &get("/", &[("Authorization", HeaderValue::Secret("nobody"))])),
        Some("position")
    );
}

#[test]
fn every_secret_of_a_request_is_told_wherever_it_goes() {
    let headers =
        [("authorization", HeaderValue::Secret("one")), ("accept", HeaderValue::Plain("*/*"))];
    let secrets = [
        (SecretPlace::Json("/password".to_owned()), "two"),
        (SecretPlace::Form("code".to_owned()), "three"),
    ];
    let operation = Operation::Http {
        slot: "s",
        verb: Verb::HttpPost,
        path: "/",
        headers: &headers,
        secrets: &secrets,
    };
    assert_eq!(operation.secret_slots(), ["one", "two", "three"]);
}

#[test]
fn addresses_are_judged_after_they_are_resolved() {
    let connect = |effective: &Effective, base: &str, address: &str| {
        let base = Url::parse(base).expect("good URL");
        rule(
            effective,
            &Operation::Connect {
                slot: "s",
                verb: Verb::HttpGet,
                host: base.host_str().expect("a host"),
                address: address.parse().expect("good address"),
                connection: ConnectionState::New,
            },
        )
    };
    let public = effective("http", "http = \"http://api.example.com\"");
    assert_eq!(connect(&public, "http://api.example.com", "93.184.216.34"), None);
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::ffff:10.0.0.1",
        "fd00:ec2::254",
        "0.0.0.0",
        "64:ff9b::a9fe:a9fe",
    ] {
        assert_eq!(
            connect(&public, "http://api.example.com", address),
            Some("address"),
            "{address}"
        );
    }
    let private = effective(
        "http",
        "http = \"http://api.internal\"\naddresses = [\"private\", \"link-local\"]",
    );
    assert_eq!(connect(&private, "http://api.internal", "10.0.0.1"), None);
    assert_eq!(connect(&private, "http://api.internal", "169.254.169.254"), Some("address"));
    let literal = effective("http", "http = \"http://127.0.0.1:3000\"");
    assert_eq!(connect(&literal, "http://127.0.0.1:3000", "127.0.0.1"), None);
    assert_eq!(connect(&literal, "http://127.0.0.1:3000", "127.0.0.2"), Some("address"));
}

/// Names and spellings of a server, and those that say by themselves where it is.
const SERVERS: &[&str] = &["db.internal", "localhost", "10.0.0.7", "[::1]", "[fd12::7]"];

fn any_address() -> impl proptest::strategy::Strategy<Value = IpAddr> {
    use proptest::prelude::*;
    let special = AddressClass::all().map(AddressClass::example).collect::<Vec<_>>();
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::from(std::net::Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| IpAddr::from(std::net::Ipv6Addr::from(bits))),
        any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from(bits).to_ipv6_mapped().into()),
        proptest::sample::select(special.clone()),
        proptest::sample::select(special).prop_map(|address| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
            IpAddr::V6(_) => address,
        }),
        proptest::sample::select(SERVERS).prop_map(|server| {
            server.trim_matches(['[', ']']).parse().unwrap_or(IpAddr::from([127, 0, 0, 1]))
        }),
    ]
}

proptest::proptest! {
    /// Of every policy, server and address: one verdict, whatever kind of target asks.
    #[test]
    fn an_address_is_judged_alike_for_every_kind_of_target_over_a_network(
        classes in proptest::option::of(proptest::sample::subsequence(AddressClass::names(), 0..=6)),
        server in proptest::sample::select(SERVERS),
        addresses in proptest::collection::vec(any_address(), 1..20),
    ) {
        let policy = classes.map_or(String::new(), |classes| format!("addresses = {classes:?}"));
        let verdicts = |capability: &str, verb: Verb, target: &str| {
            let effective = effective(capability, &format!("{target}\n{policy}"));
            let host = server;
            addresses
                .iter()
                .map(|address| Operation::Connect {
                    slot: "s",
                    verb,
                    host,
                    address: *address,
                    connection: ConnectionState::New,
                })
                .map(|connect| rule(&effective, &connect))
                .collect::<Vec<_>>()
        };
        let http = verdicts("http", Verb::HttpGet, &format!("http = \"http://{server}\""));
        for scheme in ["postgres", "mysql"] {
            let target = format!("sql = \"{scheme}://a@{server}/d\"");
            proptest::prop_assert_eq!(&verdicts("sql", Verb::SqlQuery, &target), &http);
        }
        let target = format!("net = \"{server}\"\nports = [80]");
        proptest::prop_assert_eq!(&verdicts("net", Verb::NetConnect, &target), &http);
    }
}

#[test]
fn a_socket_and_a_file_have_no_address_to_connect_to() {
    for target in ["postgres://a@h/d?host=/run/postgresql", "sqlite:/a.db"] {
        let effective = effective("sql", &format!("sql = \"{target}\""));
        let (verb, address) = (Verb::SqlQuery, IpAddr::from([93, 184, 216, 34]));
        let connect = Operation::Connect {
            slot: "s",
            verb,
            host: "h",
            address,
            connection: ConnectionState::Reused,
        };
        assert_eq!(rule(&effective, &connect), Some("verb"), "{target}");
    }
}

/// Every way of `auth`, and the headers that it sets.
const AUTHS: &[(&str, &[&str])] = &[
    ("auth = { bearer = \"secret:t\" }", &["authorization"]),
    ("auth = { basic = { user = \"u\", password = \"secret:t\" } }", &["authorization"]),
    (
        "auth = { aws-sigv4 = { access_key = \"AKID\", secret_key = \"secret:t\", region = \"r\", \
         service = \"s3\" } }",
        &["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"],
    ),
    (
        "auth = { oauth2 = { token_url = \"https://auth/token\", client_id = \"c\", client_secret = \
         \"secret:t\" } }",
        &["authorization"],
    ),
];

#[test]
fn no_plugin_sets_a_header_by_which_the_host_shows_who_asks() {
    for (auth, headers) in AUTHS {
        let all: Vec<_> = headers.iter().map(|name| format!("{name:?}")).collect();
        let free = format!("http = \"http://h\"\nrequest_headers = [{}]\n", all.join(", "));
        let (bound, open) = (effective("http", &format!("{free}{auth}")), effective("http", &free));
        let mut own: Vec<_> =
            headers.iter().map(|name| (name.to_string(), HeaderValue::Plain("own"))).collect();
        own.push(("authorization".to_owned(), HeaderValue::Secret("k")));
        for (name, value) in own {
            for spelling in [name.clone(), name.to_uppercase()] {
                let header = [(spelling.as_str(), value)];
                assert_eq!(rule(&bound, &get("/", &header)), Some("header"), "{auth} {spelling}");
                assert_eq!(rule(&open, &get("/", &header)), None, "{spelling}");
            }
        }
    }
}

#[test]
fn a_token_comes_from_the_server_that_the_target_names() {
    let token = |toml: &str, server: &str| {
        let server = Url::parse(server).expect("a URL");
        let operation = Operation::Token { slot: "s", verb: Verb::HttpGet, server: &server };
        rule(&effective("http", toml), &operation)
    };
    let oauth2 = format!("http = \"https://h\"\n{}", AUTHS[3].0);
    assert_eq!(token(&oauth2, "https://auth/token"), None);
    for other in
        ["https://auth/", "http://auth/token", "https://auth:8443/token", "https://h/token"]
    {
        assert_eq!(token(&oauth2, other), Some("auth"), "{other}");
    }
    for (auth, _) in &AUTHS[..3] {
        let other = format!("http = \"https://h\"\n{auth}");
        assert_eq!(token(&other, "https://auth/token"), Some("auth"), "{auth}");
    }
}

#[test]
fn a_redirect_stays_within_the_target() {
    let redirect = |effective: &Effective, to: &str, hop| {
        let base = Url::parse("https://h/v1").expect("good URL");
        rule(
            effective,
            &Operation::Redirect {
                slot: "s",
                verb: Verb::HttpGet,
                base: &base,
                to: &Url::parse(to).expect("good URL"),
                hop,
            },
        )
    };
    assert_eq!(
        redirect(&effective("http", "http = \"https://h/v1\""), "https://h/v1/x", 1),
        Some("redirect")
    );
    let one = effective("http", "http = \"https://h/v1\"\nredirects = 1");
    assert_eq!(redirect(&one, "https://h/v1/x", 1), None);
    for to in [
        "http://h/v1/x",
        "https://h:8443/v1/x",
        "https://other/v1/x",
        "https://h/v2/x",
        "https://h/v10",
        "https://u:p@h/v1/x",
        "http://169.254.169.254/",
    ] {
        assert_eq!(redirect(&one, to, 1), Some("redirect"), "{to}");
    }
    assert_eq!(redirect(&one, "https://h/v1/x", 2), Some("redirect"));
}

#[test]
fn statements_are_held_to_classes_and_relations() {
    let effective = effective(
        "sql",
        "sql = \"postgres://a@h/d\"\nstatements = [\"select\"]\nrelations = [\"orders\"]",
    );
    let statement = |text: &str| {
        rule(&effective, &Operation::Sql { slot: "s", verb: Verb::SqlQuery, statement: Some(text) })
    };
    assert_eq!(statement("select * from orders"), None);
    assert_eq!(statement("select * from users"), Some("relation"));
    assert_eq!(
        statement("select * from orders where id in (select id from users)"),
        Some("relation")
    );
    for text in [
        "delete from orders",
        "with d as (delete from orders returning 1) select 1",
        "select 1; delete from orders",
        "sel ect",
    ] {
        assert_eq!(statement(text), Some("statement"), "{text}");
    }
}

#[test]
fn containers_are_judged_by_what_was_inspected() {
    let container = |effective: &Effective, name: &str, labels: &[(String, String)]| {
        rule(
            effective,
            &Operation::Container {
                slot: "s",
                verb: Verb::DockerStop,
                container: ContainerFacts { name, labels },
            },
        )
    };
    let named = effective("docker", "docker = { name = \"orders-api\" }");
    assert_eq!(container(&named, "orders-api", &[]), None);
    assert_eq!(container(&named, "orders-api-2", &[]), Some("container"));
    let labelled = effective("docker", "docker = { label = \"role=worker\" }");
    assert_eq!(container(&labelled, "x", &[("role".to_owned(), "worker".to_owned())]), None);
    assert_eq!(
        container(&labelled, "x", &[("role".to_owned(), "db".to_owned())]),
        Some("container")
    );
    assert_eq!(
        rule(
            &named,
            &Operation::Exec { slot: "s", verb: Verb::DockerExec, command: &["sh".to_owned()] }
        ),
        Some("argument")
    );
    assert_eq!(
        rule(&named, &Operation::Image { slot: "s", verb: Verb::DockerPull, image: "x" }),
        Some("image")
    );
}

#[test]
fn arguments_are_held_to_their_patterns() {
    let effective = effective(
        "process",
        "process = \"/bin/x\"\narguments = [\"--plain\", { regex = \"[a-z]+\" }]",
    );
    let run = |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        rule(
            &effective,
            &Operation::Process { slot: "s", verb: Verb::ProcessRun, arguments: &arguments },
        )
    };
    assert_eq!(run(&["--plain", "orders"]), None);
    for wrong in [
        &["--plain"][..],
        &["--evil", "orders"],
        &["--plain", "or ders"],
        &["--plain", "orders", "x"],
        &["--plain", "a\0b"],
        &[],
    ] {
        assert_eq!(run(wrong), Some("argument"), "{wrong:?}");
    }
}

#[test]
fn a_server_is_one_of_the_target_and_what_is_said_fits_its_patterns() {
    let of = |toml: &str| effective("net", toml);
    let judged = |effective: &Effective, host: Option<&str>, port: Option<u16>, says: &[&str]| {
        let (slot, verb) = ("s", Verb::NetConnect);
        rule(effective, &Operation::Endpoint { slot, verb, host, port, says })
    };
    let one = of("net = \"Mail.internal\"\nports = [25]\nsend = [\"EHLO *\", \"QUIT\"]");
    for host in [None, Some("mail.internal"), Some("MAIL.internal")] {
        assert_eq!(judged(&one, host, None, &["EHLO probe", "QUIT"]), None, "{host:?}");
    }
    for host in
        ["evil.example", "mail.internal.evil.example", "mail.internal.", "", "*", "10.0.0.1"]
    {
        assert_eq!(judged(&one, Some(host), None, &[]), Some("host"), "{host}");
    }
    assert_eq!(judged(&one, None, Some(25), &[]), None);
    assert_eq!(judged(&one, None, Some(587), &[]), Some("port"));
    for line in
        ["ehlo x", "QUIT ", "DATA", "", "EHLO a\r\nDATA", "EHLO a\nDATA", "EHLO \0", "EHLO \u{85}"]
    {
        assert_eq!(judged(&one, None, None, &["QUIT", line]), Some("send"), "{line:?}");
    }
    assert_eq!(judged(&of("net = \"h\"\nports = [1]"), None, None, &["QUIT"]), Some("send"));
    let many = of("net = [\"a\", \"b\"]\nports = [1, 2]");
    assert_eq!(judged(&many, None, Some(1), &[]), Some("host"));
    assert_eq!(judged(&many, Some("b"), None, &[]), Some("port"));
    assert_eq!(judged(&many, Some("b"), Some(2), &[]), None);
}

#[test]
fn a_name_that_is_looked_up_is_one_of_the_target() {
    let judged = |toml: &str, name: Option<&str>| {
        let effective = effective_for("net", &["lookup"], toml);
        rule(&effective, &Operation::Lookup { slot: "s", verb: Verb::NetLookup, name, kind: "A" })
    };
    let host = "net = \"db.internal\"";
    for name in [None, Some("db.internal"), Some("DB.internal.")] {
        assert_eq!(judged(host, name), None, "{name:?}");
    }
    let pattern = "net = []\nnames = [\"*.Example.com.\", \"example.com\"]";
    for name in ["a.example.com", "b.a.EXAMPLE.com", "_sip._tcp.example.com.", "example.com"] {
        assert_eq!(judged(pattern, Some(name)), None, "{name}");
    }
    for name in [
        "example.org",
        "a.example.com.evil.example",
        "aexample.com",
        "a b.example.com",
        "..example.com",
        "a\\.example.com",
        "a\0.example.com",
        ".example.com",
        "",
        "*.example.com",
    ] {
        assert_eq!(judged(pattern, Some(name)), Some("name"), "{name:?}");
    }
    // One of them is a pattern, so none is the only one.
    assert_eq!(judged(pattern, None), Some("name"));
    assert_eq!(judged("net = \"10.0.0.1\"\nnames = [\"a\", \"b\"]", None), Some("name"));
}
