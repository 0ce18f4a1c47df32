mod mail;
mod redis;

use super::*;
use crate::capability::{VERBS, Verb};
use crate::grant::{Binding, GrantSite, grant};
use crate::manifest::{KnownInput, Manifest};
use crate::pattern::{AddressClass, ServerFacts};
use crate::targets::{ContainerFacts, Folder, SecretPlace, Targets};
use runbook_document::{Diagnostics, Source, Spanned};
use std::net::IpAddr;
use std::path::Path;
use url::Url;

/// A gateway for targets with `via = "bastion"`.
pub(crate) const BASTION: &str = "\n[targets.bastion]\nssh = \"10.0.0.5\"\nuser = \"ops\"\n\
     host_key = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\nkey = \"secret:bastion-key\"\n";

/// The grants of a step that binds slot `s` to the target that `toml` describes, with every verb of
/// the capability declared. Slot `k` is bound to a secret.
pub(crate) fn grants(capability: &str, toml: &str) -> EffectiveGrants {
    // A `process` target grants either `run` or `inspect`.
    let excluded_verb =
        if toml.contains("read_only = true") { Verb::ProcessRun } else { Verb::ProcessInspect };
    let all = crate::Capability::find(capability)
        .expect("a capability")
        .verbs()
        .filter(|verb| *verb != excluded_verb)
        // A `system` target lists its verbs.
        .filter(|verb| capability != "system" || toml.contains(&format!("\"{verb}\"")))
        .filter(|verb| *verb != Verb::NetLookup || !toml.contains("via ="));
    grants_with_verbs(capability, &all.map(|verb| verb.row().name).collect::<Vec<_>>(), toml)
}

/// The grants of a step whose slot `s` is bound to a program that it may run, with other targets in
/// the runbook.
pub(crate) fn process_grants(toml: &str, others: &str) -> EffectiveGrants {
    grants_with_targets("process", &["run"], toml, others)
}

/// Like [`grants`], with only these verbs declared.
pub(crate) fn grants_with_verbs(capability: &str, verbs: &[&str], toml: &str) -> EffectiveGrants {
    grants_with_targets(capability, verbs, toml, "")
}

fn grants_with_targets(
    capability: &str,
    verbs: &[&str],
    toml: &str,
    others: &str,
) -> EffectiveGrants {
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
    let needs_gateway = toml.contains("via =") && !toml.contains("[targets.bastion]");
    let gateway = if needs_gateway { BASTION } else { "" };
    let source = Source::new(
        "r.toml",
        format!(
            "[targets.t]\n{toml}\n[targets.key]\nsecret = \"token\"\n\
                 positions = [{{ slot = \"s\", header = \"authorization\" }}]\n{others}{gateway}"
        ),
    );
    let table = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
    let Some(runbook_document::Value::Table(table)) =
        table.get("targets").map(|node| node.value.clone())
    else {
        panic!("no targets")
    };
    let mut targets = Targets::default();
    let recipients = |_: &Path| Some(["age1team".to_owned()].into());
    let folder = Folder::without_links(Path::new("/base")).expect("absolute");
    let folder = folder.with_recipients(&recipients);
    targets.read(&source, &table, folder, &mut diagnostics);
    let secret_origin = |name: &str| {
        let origin = match name.strip_prefix("env-") {
            Some(variable) => crate::targets::SecretOrigin::Variable(variable.to_owned()),
            None => crate::targets::SecretOrigin::age("s.age", name, folder),
        };
        (name.to_owned(), origin)
    };
    let of_gateways = targets.gateways().flat_map(|gateway| gateway.secrets());
    let names: Vec<String> = targets
        .iter()
        .flat_map(|target| target.secrets())
        .chain(of_gateways)
        .map(str::to_owned)
        .collect();
    targets.set_secret_origins(names.iter().map(|name| secret_origin(name)).collect());
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let spanned = |text: &str| Spanned { value: text.to_owned(), span: 0..0 };
    let bindings = [
        Binding { slot: spanned("s"), target: spanned("t") },
        Binding { slot: spanned("k"), target: spanned("key") },
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

fn rule(grants: &EffectiveGrants, request: &GateRequest<'_>) -> Option<&'static str> {
    match decide(grants, Mode::Effects, request) {
        GateDecision::Allow => None,
        GateDecision::Deny(denial) => Some(denial.rule.name()),
    }
}

fn get<'a>(path: &'a str, headers: &'a [(&'a str, HeaderValue<'a>)]) -> GateRequest<'a> {
    GateRequest::Http { slot: "s", verb: Verb::HttpGet, path, headers, secrets: &[] }
}

#[test]
fn nothing_is_allowed_to_a_plugin_that_was_granted_nothing() {
    for row in VERBS {
        let request = GateRequest::Docker { slot: "s", verb: row.verb };
        assert_eq!(rule(&EffectiveGrants::none(), &request), Some("unbound"), "{}", row.name);
    }
}

/// What a server says of a command that it knows nothing special about.
static NO_FACTS: ServerFacts = ServerFacts { flags: Vec::new(), keys: Vec::new() };

fn ping() -> &'static [Vec<u8>] {
    static PING: std::sync::LazyLock<Vec<Vec<u8>>> =
        std::sync::LazyLock::new(|| vec![b"ping".to_vec()]);
    &PING
}

/// An `objects` target on this machine.
const OBJECTS: &str = "objects = \"s3://bucket/a/\"\nendpoint = \"http://127.0.0.1\"\n\
                       auth = { aws-sigv4 = { access_key = \"AKID\", secret_key = \
                       \"secret:token\", region = \"r\" } }";

/// Every kind of request, with one verb.
fn every_request<'a>(verb: Verb, url: &'a Url, command: &'a [String]) -> Vec<GateRequest<'a>> {
    let slot = "s";
    let address = IpAddr::from([127, 0, 0, 1]);
    let all = vec![
        GateRequest::Http { slot, verb, path: "/", headers: &[], secrets: &[] },
        GateRequest::Connect {
            slot,
            verb,
            host: url.host_str().unwrap_or_default(),
            address,
            connection: ConnectionState::New,
        },
        GateRequest::Gateway { slot, verb, host: "bastion", address },
        GateRequest::Forward {
            slot,
            verb,
            host: "127.0.0.1",
            address: Some(address),
            connection: ConnectionState::New,
        },
        GateRequest::Token { slot, verb, server: url },
        GateRequest::Redirect { slot, verb, base: url, from: url, to: url, hop: 1 },
        GateRequest::Health { slot, verb, service: "a.Service" },
        GateRequest::Socket {
            slot,
            verb,
            path: Path::new("/run/app.sock"),
            connection: ConnectionState::New,
        },
        GateRequest::Sql { slot, verb, statement: None },
        GateRequest::Docker { slot, verb },
        GateRequest::Container { slot, verb, container: ContainerFacts { name: "c", labels: &[] } },
        GateRequest::Create {
            slot,
            verb,
            creation: Creation {
                container: ContainerFacts { name: "c", labels: &[] },
                image: "i",
                command,
                environment: &[],
            },
        },
        GateRequest::Image { slot, verb, image: "i" },
        GateRequest::Exec { slot, verb, command },
        GateRequest::Secret { slot, verb },
        GateRequest::Files { slot, verb, path: "a" },
        GateRequest::FileList { slot, verb, path: "" },
        GateRequest::FileRename { slot, verb, from: "a", to: "b" },
        GateRequest::FileRemoval { slot, verb, path: "a", age: std::time::Duration::ZERO },
        GateRequest::Process { slot, verb, arguments: command },
        GateRequest::Endpoint { slot, verb, host: None, port: None, says: &[] },
        GateRequest::Lookup { slot, verb, name: None, kind: "A" },
        GateRequest::Resolver { slot, verb, resolver: ([127, 0, 0, 1], 53).into() },
        GateRequest::System { slot, verb, object: SystemObject::Part },
        GateRequest::Mail {
            slot,
            verb,
            message: MailMessage { subject: "a", text: "b", number: 1 },
        },
        GateRequest::Redis { slot, verb, command: ping() },
        GateRequest::RedisFacts { slot, verb, command: ping(), facts: Some(&NO_FACTS) },
        GateRequest::Objects { slot, verb, name: ObjectName::Key("a") },
    ];
    // A new kind of request does not compile here, as a reminder to add it to the list above.
    for request in &all {
        match request {
            GateRequest::Http { .. }
            | GateRequest::Connect { .. }
            | GateRequest::Gateway { .. }
            | GateRequest::Forward { .. }
            | GateRequest::Token { .. }
            | GateRequest::Redirect { .. }
            | GateRequest::Socket { .. }
            | GateRequest::Health { .. }
            | GateRequest::Sql { .. }
            | GateRequest::Docker { .. }
            | GateRequest::Container { .. }
            | GateRequest::Create { .. }
            | GateRequest::Image { .. }
            | GateRequest::Exec { .. }
            | GateRequest::Secret { .. }
            | GateRequest::Files { .. }
            | GateRequest::FileList { .. }
            | GateRequest::FileRename { .. }
            | GateRequest::FileRemoval { .. }
            | GateRequest::Process { .. }
            | GateRequest::Endpoint { .. }
            | GateRequest::Lookup { .. }
            | GateRequest::Resolver { .. }
            | GateRequest::System { .. }
            | GateRequest::Mail { .. }
            | GateRequest::Redis { .. }
            | GateRequest::RedisFacts { .. }
            | GateRequest::Objects { .. } => {}
        }
    }
    all
}

/// The grants of a step that is bound to a target of each kind, with the name of that kind.
fn every_target() -> [(&'static str, EffectiveGrants); 13] {
    [
        (
            "http",
            "http = \"http://127.0.0.1\"\nredirects = 1\n[targets.t.auth.oauth2]\n\
             token_url = \"http://127.0.0.1\"\nclient_id = \"c\"\nclient_secret = \"secret:s\"",
        ),
        (
            "http (socket)",
            "http = \"http://127.0.0.1\"\nredirects = 1\nsocket = \"/run/app.sock\"\n\
             [targets.t.auth.oauth2]\n\
             token_url = \"http://127.0.0.1\"\nclient_id = \"c\"\nclient_secret = \"secret:s\"",
        ),
        ("sql", "sql = \"postgres://a@127.0.0.1/d\""),
        ("docker", "docker = { name = \"c\" }\nimages = [\"i\"]\ncommand = []"),
        (
            "docker (server)",
            "docker = { name = \"c\" }\nimages = [\"i\"]\ncommand = []\n\
             engine = \"tcp://127.0.0.1\"",
        ),
        ("secrets", "secret = \"k\"\npositions = []"),
        ("files", "files = \"x\"\naccess = \"write\""),
        ("process", "process = \"/bin/true\"\narguments = []"),
        ("net", "net = \"127.0.0.1\"\nports = [1]\nnames = [\"a.example\"]"),
        ("system", "system = [\"cpu\"]"),
        ("redis", "redis = \"127.0.0.1\""),
        ("objects", OBJECTS),
        ("mail", "mail = \"127.0.0.1\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]"),
    ]
    .map(|(kind, toml)| {
        let capability = kind.split(' ').next().unwrap_or_default();
        (kind, grants(capability, toml))
    })
}

#[test]
fn every_change_is_denied_where_effects_are_off() {
    let url = Url::parse("http://127.0.0.1").expect("good URL");
    for (kind, grants) in every_target() {
        let grants = grants.with_every_verb();
        for row in VERBS {
            for request in every_request(row.verb, &url, &[]) {
                let denied_as_change = match decide(&grants, Mode::ReadOnly, &request) {
                    GateDecision::Allow => false,
                    GateDecision::Deny(denial) => denial.rule == Rule::EffectsOff,
                };
                assert_eq!(
                    denied_as_change,
                    row.effect == VerbEffect::Change,
                    "{request:?} on a {kind} target"
                );
            }
        }
    }
}

#[test]
fn a_request_is_allowed_on_the_kinds_of_target_that_it_is_about() {
    let url = Url::parse("http://127.0.0.1").expect("good URL");
    let mut allowed = Vec::new();
    for (kind, grants) in every_target() {
        let grants = grants.with_every_verb();
        for request in every_request(Verb::ProcessRun, &url, &[]) {
            if decide(&grants, Mode::Effects, &request) == GateDecision::Allow {
                let name = format!("{request:?}");
                allowed.push(format!("{kind}: {}", name.split(' ').next().unwrap_or_default()));
            } else {
                assert!(rule(&grants, &request).is_some(), "{request:?} on a {kind} target");
            }
        }
    }
    let expected = [
        "http: Http",
        "http: Connect",
        "http: Token",
        "http: Redirect",
        "http: Health",
        "http (socket): Http",
        "http (socket): Connect",
        "http (socket): Token",
        "http (socket): Redirect",
        "http (socket): Health",
        "http (socket): Socket",
        "sql: Connect",
        "sql: Sql",
        "docker: Docker",
        "docker: Container",
        "docker: Create",
        "docker: Image",
        "docker: Exec",
        "docker (server): Connect",
        "docker (server): Docker",
        "docker (server): Container",
        "docker (server): Create",
        "docker (server): Image",
        "docker (server): Exec",
        "secrets: Secret",
        "files: Files",
        "files: FileList",
        "files: FileRename",
        "files: FileRemoval",
        "process: Process",
        "net: Connect",
        "net: Endpoint",
        "net: Lookup",
        "net: Resolver",
        "system: System",
        "redis: Connect",
        "redis: Redis",
        "redis: RedisFacts",
        "objects: Connect",
        "objects: Objects",
        "mail: Connect",
        "mail: Mail",
    ];
    assert_eq!(allowed, expected);
}

#[test]
fn a_call_on_a_slot_of_another_kind_is_denied() {
    let grants = grants("http", "http = \"http://h\"");
    assert_eq!(
        rule(&grants, &GateRequest::Files { slot: "s", verb: Verb::FilesRead, path: "a" }),
        Some("verb")
    );
}

#[test]
fn request_paths_must_match_the_patterns() {
    let grants = grants("http", "http = \"http://h/v1\"\npaths = [\"/orders/*\"]");
    assert_eq!(rule(&grants, &get("/orders/1?x=2", &[])), None);
    for path in [
        "/orders",
        "/orders/1/x",
        "/orders/../admin",
        "/orders/%2e%2e/admin",
        "//h2/orders/1",
        "orders/1",
        "/orders/1\r\nx: y",
    ] {
        assert_eq!(rule(&grants, &get(path, &[])), Some("path"), "{path}");
    }
}

#[test]
fn headers_that_control_a_request_are_set_only_by_the_host() {
    let grants = grants(
        "http",
        "http = \"http://h\"\nrequest_headers = [\"X-Trace\"]\n\
         headers = { Authorization = \"Bearer secret:token\" }",
    );
    assert_eq!(
        rule(
            &grants,
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
            rule(&grants, &get("/", &[(name, HeaderValue::Plain(value))])),
            Some("header"),
            "{name}"
        );
    }
}

#[test]
fn a_secret_goes_only_where_its_target_says() {
    let grants = grants("http", "http = \"http://h\"");
    assert_eq!(rule(&grants, &get("/", &[("Authorization", HeaderValue::Secret("k"))])), None);
    assert_eq!(
        rule(&grants, &get("/", &[("X-Other", HeaderValue::Secret("k"))])),
        Some("position")
    );
    assert_eq!(
        rule(&grants, &get("/", &[("Authorization", HeaderValue::Secret("s"))])),
        Some("position")
    );
    assert_eq!(
        rule(&grants, &get("/", &[("Authorization", HeaderValue::Secret("nobody"))])),
        Some("position")
    );
}

#[test]
fn every_secret_slot_of_a_request_is_listed() {
    let headers =
        [("authorization", HeaderValue::Secret("one")), ("accept", HeaderValue::Plain("*/*"))];
    let secrets = [
        (SecretPlace::Json("/password".to_owned()), "two"),
        (SecretPlace::Form("code".to_owned()), "three"),
    ];
    let request = GateRequest::Http {
        slot: "s",
        verb: Verb::HttpPost,
        path: "/",
        headers: &headers,
        secrets: &secrets,
    };
    assert_eq!(request.secret_slots(), ["one", "two", "three"]);
}

#[test]
fn addresses_are_judged_after_they_are_resolved() {
    let connect = |grants: &EffectiveGrants, base: &str, address: &str| {
        let base = Url::parse(base).expect("good URL");
        rule(
            grants,
            &GateRequest::Connect {
                slot: "s",
                verb: Verb::HttpGet,
                host: base.host_str().expect("a host"),
                address: address.parse().expect("good address"),
                connection: ConnectionState::New,
            },
        )
    };
    let public = grants("http", "http = \"http://api.example.com\"");
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
    let private =
        grants("http", "http = \"http://api.internal\"\naddresses = [\"private\", \"link-local\"]");
    assert_eq!(connect(&private, "http://api.internal", "10.0.0.1"), None);
    assert_eq!(connect(&private, "http://api.internal", "169.254.169.254"), Some("address"));
    let literal = grants("http", "http = \"http://127.0.0.1:3000\"");
    assert_eq!(connect(&literal, "http://127.0.0.1:3000", "127.0.0.1"), None);
    assert_eq!(connect(&literal, "http://127.0.0.1:3000", "127.0.0.2"), Some("address"));
}

/// Names and addresses of servers.
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
    /// For every policy, server and address, the decision is the same for every kind of target.
    #[test]
    fn an_address_is_judged_in_the_same_way_for_every_kind_of_target(
        classes in proptest::option::of(proptest::sample::subsequence(AddressClass::names(), 0..=6)),
        server in proptest::sample::select(SERVERS),
        addresses in proptest::collection::vec(any_address(), 1..20),
    ) {
        let policy = classes.map_or(String::new(), |classes| format!("addresses = {classes:?}"));
        let decisions = |capability: &str, verb: Verb, target: &str| {
            let grants = grants(capability, &format!("{target}\n{policy}"));
            let host = server;
            addresses
                .iter()
                .map(|address| GateRequest::Connect {
                    slot: "s",
                    verb,
                    host,
                    address: *address,
                    connection: ConnectionState::New,
                })
                .map(|connect| rule(&grants, &connect))
                .collect::<Vec<_>>()
        };
        let http = decisions("http", Verb::HttpGet, &format!("http = \"http://{server}\""));
        for scheme in ["postgres", "mysql"] {
            let target = format!("sql = \"{scheme}://a@{server}/d\"");
            proptest::prop_assert_eq!(&decisions("sql", Verb::SqlQuery, &target), &http);
        }
        let target = format!("net = \"{server}\"\nports = [80]");
        proptest::prop_assert_eq!(&decisions("net", Verb::NetConnect, &target), &http);
        let target = format!("docker = {{ name = \"c\" }}\nengine = \"tcp://{server}\"");
        proptest::prop_assert_eq!(&decisions("docker", Verb::DockerList, &target), &http);
        let target = format!("redis = \"{server}\"");
        proptest::prop_assert_eq!(&decisions("redis", Verb::RedisRead, &target), &http);
        let target = OBJECTS.replace("127.0.0.1", server);
        proptest::prop_assert_eq!(&decisions("objects", Verb::ObjectsGet, &target), &http);
        let target = format!(
            "mail = \"{server}\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]"
        );
        proptest::prop_assert_eq!(&decisions("mail", Verb::MailSend, &target), &http);
    }
}

#[test]
fn a_socket_and_a_file_have_no_address_to_connect_to() {
    for target in ["postgres://a@h/d?host=/run/postgresql", "sqlite:/a.db"] {
        let grants = grants("sql", &format!("sql = \"{target}\""));
        let (verb, address) = (Verb::SqlQuery, IpAddr::from([93, 184, 216, 34]));
        let connect = GateRequest::Connect {
            slot: "s",
            verb,
            host: "h",
            address,
            connection: ConnectionState::Reused,
        };
        assert_eq!(rule(&grants, &connect), Some("verb"), "{target}");
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
        let (bound, open) = (grants("http", &format!("{free}{auth}")), grants("http", &free));
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
        let request = GateRequest::Token { slot: "s", verb: Verb::HttpGet, server: &server };
        rule(&grants("http", toml), &request)
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
    let redirect = |grants: &EffectiveGrants, url: &str, hop| {
        let base = Url::parse("https://h/v1").expect("good URL");
        rule(
            grants,
            &GateRequest::Redirect {
                slot: "s",
                verb: Verb::HttpGet,
                base: &base,
                from: &base,
                to: &Url::parse(url).expect("good URL"),
                hop,
            },
        )
    };
    assert_eq!(
        redirect(&grants("http", "http = \"https://h/v1\""), "https://h/v1/x", 1),
        Some("redirect")
    );
    let one_redirect = grants("http", "http = \"https://h/v1\"\nredirects = 1");
    assert_eq!(redirect(&one_redirect, "https://h/v1/x", 1), None);
    for url in [
        "http://h/v1/x",
        "https://h:8443/v1/x",
        "https://other/v1/x",
        "https://h/v2/x",
        "https://h/v10",
        "https://u:p@h/v1/x",
        "http://169.254.169.254/",
    ] {
        assert_eq!(redirect(&one_redirect, url, 1), Some("redirect"), "{url}");
    }
    assert_eq!(redirect(&one_redirect, "https://h/v1/x", 2), Some("redirect"));
}

/// Every hop between these origins, of a read and of a change.
#[test]
fn a_redirect_leads_to_a_listed_origin_only_for_a_read_and_never_out_of_encryption() {
    let url = |text: &str| Url::parse(text).expect("good URL");
    let places = ["http://h/v1/", "https://h/v1/", "http://b.example/", "https://c.example/"];
    for base in ["http://h/v1", "https://h/v1"] {
        let listed = if base.starts_with("https") { &places[3..] } else { &places[2..] };
        let grants = grants(
            "http",
            &format!("http = \"{base}\"\nredirects = 2\nredirect_origins = {listed:?}"),
        )
        .with_every_verb();
        let base = url(base);
        for (from, to) in places.iter().flat_map(|from| places.map(|to| (*from, to))) {
            for verb in [Verb::HttpGet, Verb::HttpHead, Verb::HttpPost, Verb::HttpDelete] {
                for (path, is_good_path) in [("x", true), ("a%2f..%2fb", false), ("a%00b", false)] {
                    let (from, to) = (url(from), url(&format!("{to}{path}")));
                    let request = GateRequest::Redirect {
                        slot: "s",
                        verb,
                        base: &base,
                        from: &from,
                        to: &to,
                        hop: 1,
                    };
                    let is_own = to.origin() == base.origin();
                    let is_listed = listed.iter().any(|place| url(place).origin() == to.origin())
                        && verb.effect() == VerbEffect::Read;
                    let leaves_encryption = from.scheme() == "https" && to.scheme() == "http";
                    let is_allowed = is_good_path && !leaves_encryption && (is_own || is_listed);
                    let expected = if is_allowed { None } else { Some("redirect") };
                    assert_eq!(rule(&grants, &request), expected, "{request:?}");
                }
            }
        }
    }
}

#[test]
fn a_target_with_a_socket_is_reached_through_that_socket_alone() {
    let address = IpAddr::from([127, 0, 0, 1]);
    let connect = |host: &'static str| GateRequest::Connect {
        slot: "s",
        verb: Verb::HttpGet,
        host,
        address,
        connection: ConnectionState::New,
    };
    let socket = |path: &'static str| GateRequest::Socket {
        slot: "s",
        verb: Verb::HttpGet,
        path: Path::new(path),
        connection: ConnectionState::New,
    };
    let by_socket = grants("http", "http = \"http://localhost\"\nsocket = \"/run/app.sock\"");
    assert_eq!(rule(&by_socket, &socket("/run/app.sock")), None);
    for other in ["/run/docker.sock", "/run/app.sock2", "/run", "run/app.sock", ""] {
        assert_eq!(rule(&by_socket, &socket(other)), Some("socket"), "{other}");
    }
    assert_eq!(rule(&by_socket, &connect("localhost")), Some("socket"));
    let by_network = grants("http", "http = \"http://localhost\"");
    assert_eq!(rule(&by_network, &connect("localhost")), None);
    assert_eq!(rule(&by_network, &socket("/run/app.sock")), Some("socket"));
    let with_tokens = grants(
        "http",
        "http = \"http://localhost\"\nsocket = \"/run/app.sock\"\n[targets.t.auth.oauth2]\n\
         token_url = \"https://127.0.0.1/token\"\nclient_id = \"c\"\nclient_secret = \"secret:s\"",
    );
    assert_eq!(rule(&with_tokens, &connect("127.0.0.1")), None);
    assert_eq!(rule(&with_tokens, &connect("localhost")), Some("socket"));
}

#[test]
fn an_object_is_named_by_a_canonical_key_below_the_prefix_of_its_target() {
    let grants = grants("objects", OBJECTS);
    let judged = |name| {
        let request = GateRequest::Objects { slot: "s", verb: Verb::ObjectsGet, name };
        rule(&grants, &request)
    };
    let long = "k".repeat(1023);
    for (text, key, prefix) in [
        ("b", None, None),
        ("b/c", None, None),
        ("b/", Some("object"), None),
        ("", Some("object"), None),
        ("/b", Some("object"), Some("object")),
        ("/", Some("object"), Some("object")),
        ("../b", Some("object"), Some("object")),
        ("b/../../c", Some("object"), Some("object")),
        ("b//", Some("object"), Some("object")),
        ("b\nc", Some("object"), Some("object")),
        // With the prefix `a/` of the target, 1025 bytes and 1024.
        (&long, Some("object"), Some("object")),
        (&long[1..], None, None),
    ] {
        assert_eq!(judged(ObjectName::Key(text)), key, "{text:?}");
        assert_eq!(judged(ObjectName::Prefix(text)), prefix, "{text:?}");
    }
}

#[test]
fn the_health_of_a_service_is_asked_for_only_if_the_target_lists_it() {
    let health = |target: &str, service: &str| {
        let request = GateRequest::Health { slot: "s", verb: Verb::HttpHealth, service };
        rule(&grants("http", &format!("http = \"https://h:50051\"\n{target}")), &request)
    };
    let listed = "services = [\"orders.v1.Orders\"]";
    for (service, by_list, by_none) in [
        ("", None, None),
        ("orders.v1.Orders", None, None),
        ("orders.v1.Order", Some("service"), None),
        ("orders.v1.orders", Some("service"), None),
        ("orders.v1.Orders ", Some("service"), Some("service")),
        ("a\nb", Some("service"), Some("service")),
        ("*", Some("service"), Some("service")),
    ] {
        assert_eq!(health(listed, service), by_list, "{service}");
        assert_eq!(
            health("services = []", service),
            by_list.or((!service.is_empty()).then_some("service"))
        );
        assert_eq!(health("", service), by_none, "{service}");
    }
    let long = "a".repeat(201);
    assert_eq!(health("", &long), Some("service"));
    assert_eq!(health("", &long[1..]), None);
}

#[test]
fn no_plugin_sets_the_cookies_that_the_host_keeps() {
    let own = [("Cookie", HeaderValue::Plain("a=b"))];
    let keys = "http = \"http://h\"\nrequest_headers = [\"cookie\"]\n";
    assert_eq!(rule(&grants("http", keys), &get("/", &own)), None);
    let kept = "http = \"http://h\"\ncookies = true\n";
    for name in ["Cookie", "cookie", "COOKIE"] {
        for value in [HeaderValue::Plain("a=b"), HeaderValue::Secret("k")] {
            let headers = [(name, value)];
            assert_eq!(rule(&grants("http", kept), &get("/", &headers)), Some("header"), "{name}");
        }
    }
}

#[test]
fn statements_must_fit_the_allowed_classes_and_relations() {
    let grants = grants(
        "sql",
        "sql = \"postgres://a@h/d\"\nstatements = [\"select\"]\nrelations = [\"orders\"]",
    );
    let statement = |text: &str| {
        rule(&grants, &GateRequest::Sql { slot: "s", verb: Verb::SqlQuery, statement: Some(text) })
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
    let container = |grants: &EffectiveGrants, name: &str, labels: &[(String, String)]| {
        rule(
            grants,
            &GateRequest::Container {
                slot: "s",
                verb: Verb::DockerStop,
                container: ContainerFacts { name, labels },
            },
        )
    };
    let by_name = grants("docker", "docker = { name = \"orders-api\" }");
    assert_eq!(container(&by_name, "orders-api", &[]), None);
    assert_eq!(container(&by_name, "orders-api-2", &[]), Some("container"));
    let labelled = grants("docker", "docker = { label = \"role=worker\" }");
    assert_eq!(container(&labelled, "x", &[("role".to_owned(), "worker".to_owned())]), None);
    assert_eq!(
        container(&labelled, "x", &[("role".to_owned(), "db".to_owned())]),
        Some("container")
    );
    assert_eq!(
        rule(
            &by_name,
            &GateRequest::Exec { slot: "s", verb: Verb::DockerExec, command: &["sh".to_owned()] }
        ),
        Some("argument")
    );
    assert_eq!(
        rule(&by_name, &GateRequest::Image { slot: "s", verb: Verb::DockerPull, image: "x" }),
        Some("image")
    );
}

#[test]
fn arguments_must_match_their_patterns() {
    let grants = grants(
        "process",
        "process = \"/bin/x\"\narguments = [\"--plain\", { regex = \"[a-z]+\" }]",
    );
    let run = |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        rule(
            &grants,
            &GateRequest::Process { slot: "s", verb: Verb::ProcessRun, arguments: &arguments },
        )
    };
    assert_eq!(run(&["--plain", "orders"]), None);
    for refused_arguments in [
        &["--plain"][..],
        &["--evil", "orders"],
        &["--plain", "or ders"],
        &["--plain", "orders", "x"],
        &["--plain", "a\0b"],
        &[],
    ] {
        assert_eq!(run(refused_arguments), Some("argument"), "{refused_arguments:?}");
    }
}

#[test]
fn a_server_is_one_of_the_target_and_what_is_said_fits_its_patterns() {
    let of = |toml: &str| grants("net", toml);
    let judged =
        |grants: &EffectiveGrants, host: Option<&str>, port: Option<u16>, says: &[&str]| {
            let (slot, verb) = ("s", Verb::NetConnect);
            rule(grants, &GateRequest::Endpoint { slot, verb, host, port, says })
        };
    let one = of("net = \"Mail.internal\"\nports = [25]\nquestions = [\"EHLO *\", \"QUIT\"]");
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
        assert_eq!(judged(&one, None, None, &["QUIT", line]), Some("questions"), "{line:?}");
    }
    assert_eq!(judged(&of("net = \"h\"\nports = [1]"), None, None, &["QUIT"]), Some("questions"));
    let many = of("net = [\"a\", \"b\"]\nports = [1, 2]");
    assert_eq!(judged(&many, None, Some(1), &[]), Some("host"));
    assert_eq!(judged(&many, Some("b"), None, &[]), Some("port"));
    assert_eq!(judged(&many, Some("b"), Some(2), &[]), None);
}

#[test]
fn a_name_that_is_looked_up_is_one_of_the_target() {
    let judged = |toml: &str, name: Option<&str>| {
        let grants = grants_with_verbs("net", &["lookup"], toml);
        rule(&grants, &GateRequest::Lookup { slot: "s", verb: Verb::NetLookup, name, kind: "A" })
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

#[test]
fn a_mount_point_or_a_process_that_the_target_does_not_list_is_denied() {
    let toml = "system = [\"disks\", \"processes\"]\nmounts = [\"/\", \"/var*\"]\n\
                processes = [\"nginx\", \"php-fpm*\"]";
    let grants = grants("system", toml);
    let of = |verb, object| rule(&grants, &GateRequest::System { slot: "s", verb, object });
    for (mount, expected) in [
        ("/", None),
        ("/var", None),
        ("/var/log", None),
        ("/home", Some("mount")),
        ("", Some("mount")),
    ] {
        assert_eq!(of(Verb::SystemDisks, SystemObject::Mount(mount)), expected, "{mount}");
    }
    for (name, expected) in [
        ("nginx", None),
        ("php-fpm8.4", None),
        ("nginx2", Some("process")),
        ("NGINX", Some("process")),
        ("php-fpm\n", None),
        ("sshd", Some("process")),
    ] {
        assert_eq!(of(Verb::SystemProcesses, SystemObject::Process(name)), expected, "{name}");
    }
    assert_eq!(of(Verb::SystemUsers, SystemObject::Part), Some("verb"));
}

#[test]
fn a_unit_is_seen_by_a_pattern_and_changed_only_by_its_full_name() {
    let toml = "system = [\"units\", \"unit-stop\"]\nunits = [\"app-*.service\"]\n\
                control = [\"app-one.service\", \"db.service\"]";
    let grants = grants("system", toml);
    for (name, seen, changed) in [
        ("app-one.service", None, None),
        ("app-two.service", None, Some("control")),
        ("db.service", Some("unit"), None),
        ("app-*.service", None, Some("control")),
        ("app-one", Some("unit"), Some("control")),
        ("", Some("unit"), Some("control")),
    ] {
        let of = |verb| {
            let object = SystemObject::Unit(name);
            rule(&grants, &GateRequest::System { slot: "s", verb, object })
        };
        assert_eq!(of(Verb::SystemUnits), seen, "{name}");
        assert_eq!(of(Verb::SystemUnitStop), changed, "{name}");
        assert_eq!(of(Verb::SystemUnitStart), Some("verb"), "{name}");
    }
}

/// The requests that a capability makes to connect to `h` at an address: directly, to the gateway,
/// and through it.
fn connection_requests<'a>(verb: Verb, address: Option<IpAddr>) -> [GateRequest<'a>; 3] {
    let (slot, host, connection) = ("s", "h", ConnectionState::New);
    let direct = address.unwrap_or(IpAddr::from([1, 1, 1, 1]));
    let gateway = IpAddr::from([10, 0, 0, 5]);
    [
        GateRequest::Connect { slot, verb, host, address: direct, connection },
        GateRequest::Gateway { slot, verb, host: "10.0.0.5", address: gateway },
        GateRequest::Forward { slot, verb, host, address, connection },
    ]
}

const NETWORK_TARGETS: [(&str, Verb, &str); 4] = [
    ("http", Verb::HttpGet, "http = \"https://h\""),
    ("sql", Verb::SqlQuery, "sql = \"postgres://a@h/d\""),
    ("net", Verb::NetConnect, "net = \"h\"\nports = [25]"),
    ("redis", Verb::RedisRead, "redis = \"h\""),
];

#[test]
fn a_target_with_a_gateway_is_never_connected_to_directly_and_one_without_is_through_none() {
    let public = Some(IpAddr::from([1, 1, 1, 1]));
    for (capability, verb, target) in NETWORK_TARGETS {
        let through = grants(capability, &format!("{target}\nvia = \"bastion\""));
        let direct = grants(capability, target);
        let decisions = |grants: &EffectiveGrants| {
            connection_requests(verb, public).map(|request| rule(grants, &request))
        };
        assert_eq!(decisions(&through), [Some("via"), None, None], "{capability}");
        assert_eq!(decisions(&direct), [None, Some("via"), Some("via")], "{capability}");
        let proxy = "[targets.bastion]\nproxy = \"http://10.0.0.5:3128\"";
        let by_proxy = grants(capability, &format!("{target}\nvia = \"bastion\"\n{proxy}"));
        assert_eq!(decisions(&by_proxy), [Some("via"), None, None], "{capability}");
        let other =
            GateRequest::Gateway { slot: "s", verb, host: "h", address: [10, 0, 0, 5].into() };
        assert_eq!(rule(&through, &other), Some("via"), "another server is not the gateway");
        // The name of the gateway leads elsewhere than its target says.
        let named = grants(capability, &format!("{target}\nvia = \"bastion\""));
        let elsewhere = GateRequest::Gateway {
            slot: "s",
            verb,
            host: "10.0.0.5",
            address: [10, 0, 0, 6].into(),
        };
        assert_eq!(rule(&named, &elsewhere), Some("address"));
    }
}

#[test]
fn addresses_behind_a_gateway_are_judged_as_others_and_names_only_with_remote_dns() {
    for (capability, verb, target) in NETWORK_TARGETS {
        let forward = |more: &str, address: Option<[u8; 4]>| {
            let grants = grants(capability, &format!("{target}\nvia = \"bastion\"\n{more}"));
            let [_, _, forward] = connection_requests(verb, address.map(IpAddr::from));
            rule(&grants, &forward)
        };
        let (private, metadata) = (Some([10, 1, 2, 3]), Some([169, 254, 169, 254]));
        assert_eq!(forward("", private), Some("address"), "{capability}");
        assert_eq!(forward("addresses = [\"private\"]", private), None, "{capability}");
        assert_eq!(forward("addresses = [\"private\"]", metadata), Some("address"));
        assert_eq!(forward("", None), Some("via"), "{capability}");
        assert_eq!(forward("remote_dns = true", None), None, "{capability}");
        assert_eq!(forward("remote_dns = true", private), Some("address"), "{capability}");
    }
}

#[test]
fn a_lookup_does_not_go_through_a_gateway() {
    let target = "net = \"db.internal\"\nports = [25]\nvia = \"bastion\"";
    let grants = grants("net", target).with_every_verb();
    let (slot, verb) = ("s", Verb::NetLookup);
    let lookup = GateRequest::Lookup { slot, verb, name: None, kind: "A" };
    assert_eq!(rule(&grants, &lookup), Some("via"));
    let resolver = GateRequest::Resolver { slot, verb, resolver: ([10, 0, 0, 53], 53).into() };
    assert_eq!(rule(&grants, &resolver), Some("via"));
}
