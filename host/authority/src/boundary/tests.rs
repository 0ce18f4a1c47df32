use super::*;
use crate::Verb;
use crate::gate::tests::{grants, grants_with_verbs};
use crate::gate::{GateDecision, GateRequest, HeaderValue, Mode, decide};
use crate::grant::EffectiveGrants;
use crate::scope::{AccessScope, CallValue, ConcreteCall};
use crate::targets::ContainerFacts;
use proptest::prelude::*;
use runbook_document::Diagnostics;

fn boundary(toml: &str) -> Boundary {
    let mut diagnostics = Diagnostics::default();
    let source = Source::new("boundary.toml", format!("format = 1\n{toml}"));
    Boundary::parse(&source, &mut diagnostics).unwrap_or_else(|| panic!("{diagnostics:#?}\n{toml}"))
}

fn scope(grants: &EffectiveGrants) -> AccessScope {
    AccessScope::of(
        "p",
        grants.get("s").expect("bound"),
        grants,
        crate::targets::PathView::OnThisHost,
    )
}

/// A call that the grant allows and the rules do not, with the nearest rule and the dimensions that
/// the call exceeds.
fn witness(capability: &str, verbs: &[&str], target: &str, rules: &str) -> Option<String> {
    let violation =
        boundary(rules).check(&scope(&grants_with_verbs(capability, verbs, target))).err()?;
    let nearest = violation.nearest_rule.map(|nearest| {
        let exceeded_dimensions: Vec<_> = nearest
            .exceeded_dimensions
            .iter()
            .map(|(dimension, covered)| format!("{} = {covered}", dimension.key()))
            .collect();
        format!(" [{}: {}]", nearest.location, exceeded_dimensions.join("; "))
    });
    let witness = violation.witness.map_or_else(|| "unknown".to_owned(), |call| call.sentence());
    Some(format!("{witness}{}", nearest.unwrap_or_default()))
}

#[test]
fn a_boundary_without_rules_allows_nothing() {
    let found = witness("http", &["get"], "http = \"https://api.internal\"", "");
    assert_eq!(found.as_deref(), Some("GET https://api.internal:443/anything"));
}

#[test]
fn a_token_server_is_covered_as_any_server_is() {
    let target = "http = \"https://api.internal\"\n[targets.t.auth.oauth2]\n\
                  token_url = \"https://auth.internal/token\"\nclient_id = \"checks\"\n\
                  client_secret = \"secret:k\"";
    let api = "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\nhosts = [\"api.internal\"]\n";
    let tokens = |more: &str| {
        format!(
            "{api}[[allow]]\ncapability = \"http\"\nverbs = [\"post\"]\n\
             hosts = [\"auth.internal\"]\n{more}"
        )
    };
    let check = |rules: &str| {
        let grants = grants_with_verbs("http", &["get"], target);
        let grant = grants.get("s").expect("bound");
        let violation = boundary(rules).check_grant("p", grant, &grants).err()?;
        Some(violation.witness.map_or_else(String::new, |call| call.sentence()))
    };
    let beyond = Some("POST https://auth.internal:443/token".to_owned());
    assert_eq!(check(api), beyond);
    assert_eq!(check(&tokens("")), None);
    assert_eq!(check(&tokens("paths = [\"/token\"]\n")), None);
    assert_eq!(check(&tokens("headers = [\"authorization\"]\n")), None);
    for narrow in ["paths = [\"/other\"]\n", "ports = [8443]\n", "headers = []\n", "secrets = []\n"]
    {
        assert_eq!(check(&tokens(narrow)), beyond, "{narrow}");
    }
}

const API: &str = "[[allow]]\ncapability = \"http\"\nverbs = [\"get\", \"head\"]\n\
                   schemes = [\"https\"]\nhosts = [\"*.internal\"]\nports = [443]\n\
                   paths = [\"/v1/**\"]\n";

#[test]
fn a_request_that_no_rule_covers_is_shown() {
    let check = |verbs: &[&str], target: &str| witness("http", verbs, target, API);
    assert_eq!(
        check(&["get"], "http = \"https://api.internal/v1\"\npaths = [\"/orders/*\"]"),
        None
    );
    assert_eq!(
        check(&["get", "post"], "http = \"https://api.internal/v1\"\npaths = [\"/orders/*\"]")
            .as_deref(),
        Some("POST https://api.internal:443/v1/orders/a [boundary.toml:2: verbs = get, head]")
    );
    assert_eq!(
        check(&["get"], "http = \"https://api.internal/v1/\"\npaths = [\"/\"]"),
        None,
        "the base address itself, as written"
    );
    assert_eq!(
        check(&["get"], "http = \"https://api.internal/\"").as_deref(),
        Some("GET https://api.internal:443/anything [boundary.toml:2: paths = /v1/**]")
    );
    assert_eq!(
        check(&["get"], "http = \"https://evil.example/v1/\"").as_deref(),
        Some("GET https://evil.example:443/v1/a [boundary.toml:2: hosts = *.internal]")
    );
}

#[test]
fn two_rules_together_cover_what_neither_covers_alone() {
    let rules = "[[allow]]\ncapability = \"http\"\nverbs = [\"get\", \"post\"]\n\
                 paths = [\"/a/*\"]\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
                 paths = [\"/b\"]\n";
    let check = |verbs: &[&str]| {
        witness("http", verbs, "http = \"http://localhost\"\npaths = [\"/a/x\", \"/b\"]", rules)
    };
    assert_eq!(check(&["get"]), None);
    assert_eq!(
        check(&["get", "post"]).as_deref(),
        Some("POST http://localhost:80/b [boundary.toml:2: paths = /a/*]")
    );
}

#[test]
fn an_address_behind_a_secret_exceeds_every_boundary_that_names_a_host() {
    let found = witness(
        "http",
        &["post"],
        "http = \"secret:hook\"",
        "[[allow]]\ncapability = \"http\"\nverbs = [\"post\"]\nhosts = [\"*.internal\"]\n\
         addresses = \
         [\"public\", \"private\", \"loopback\", \"link-local\", \"metadata\", \"reserved\"]\n",
    );
    assert_eq!(
        found.as_deref(),
        Some("POST http://elsewhere.example:8080/anything [boundary.toml:2: hosts = *.internal]")
    );
}

#[test]
fn metadata_addresses_and_superusers_are_covered_only_if_a_rule_names_them() {
    let any_http = "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n";
    assert!(witness("http", &["get"], "http = \"http://169.254.169.254/\"", any_http).is_some());
    assert!(
        witness("http", &["get"], "http = \"http://[::ffff:169.254.169.254]/\"", any_http)
            .is_some()
    );
    assert!(witness("http", &["get"], "http = \"http://10.0.0.7/\"", any_http).is_none());
    let any_sql = "[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\n";
    let database = "sql = \"postgres://a@db/orders\"\n";
    assert_eq!(witness("sql", &["query"], database, any_sql), None);
    assert!(
        witness("sql", &["query"], &format!("{database}superuser = true\n"), any_sql).is_some()
    );
}

#[test]
fn a_rule_about_files_is_not_about_servers() {
    let rules = "[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\nfiles = [\"/var/lib\"]\n";
    assert_eq!(witness("sql", &["query"], "sql = \"sqlite:/var/lib/app/a.db\"", rules), None);
    assert!(witness("sql", &["query"], "sql = \"sqlite:/var/library.db\"", rules).is_some());
    assert!(witness("sql", &["query"], "sql = \"postgres://a@db/orders\"", rules).is_some());
}

#[test]
fn a_socket_and_other_origins_are_covered_only_by_a_rule_that_names_them() {
    let any = "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n";
    let rule = |more: &str| format!("{any}{more}\n");
    let through = |path: &str| format!("http = \"http://app/\"\nsocket = \"{path}\"");
    let check = |target: &str, rules: &str| witness("http", &["get"], target, rules);
    assert_eq!(
        check(&through("/run/app.sock"), any).as_deref(),
        Some(
            "GET http://app:80/anything through the socket /run/app.sock [boundary.toml:2: \
             sockets = ]"
        )
    );
    let sockets = rule("sockets = [\"/run/app.sock\", \"/run/shop/*\"]");
    assert_eq!(check(&through("/run/app.sock"), &sockets), None);
    assert_eq!(check(&through("/run/shop/a.sock"), &sockets), None);
    assert!(check(&through("/run/other.sock"), &sockets).is_some());
    assert!(check(&through("/run/shop/../other.sock"), &sockets).is_some());
    let bus = |path: &str| {
        let target = format!("system = [\"units\"]\nunits = [\"a.service\"]\nbus = \"{path}\"");
        let rules = "[[allow]]\ncapability = \"system\"\nverbs = [\"units\"]\nunits = [\"*\"]\n\
                     sockets = [\"/run/app/*\"]\n";
        witness("system", &["units"], &target, rules)
    };
    assert_eq!(bus("/run/app/bus"), None);
    for elsewhere in ["/run/dbus/bus", "/run/app/../dbus/bus", "/run//app/../dbus/bus"] {
        assert!(bus(elsewhere).is_some(), "{elsewhere}");
    }
    // A rule for sockets covers no network, and the other way round.
    assert!(check("http = \"http://app/\"", &sockets).is_some());
    assert_eq!(check("http = \"http://app/\"", &format!("{sockets}{any}")), None);
    assert_eq!(check("http = \"http://app/\"", &rule("sockets = []")), None);
    assert!(check(&through("/run/app.sock"), &rule("sockets = []")).is_some());
    assert!(
        check(&through("/run/app.sock"), &rule("hosts = [\"other\"]\nsockets = [\"*\"]")).is_some()
    );

    let redirected = |origins: &str| {
        format!("http = \"https://api.internal\"\nredirects = 1\nredirect_origins = [{origins}]")
    };
    assert_eq!(
        check(&redirected("\"https://cdn.example\""), any).as_deref(),
        Some(
            "GET https://api.internal:443/anything, redirected to https://cdn.example \
             [boundary.toml:2: redirect_origins = ]"
        )
    );
    let cdn = rule("redirect_origins = [\"https://cdn.example\"]");
    assert_eq!(check(&redirected("\"https://cdn.example\""), &cdn), None);
    assert_eq!(check(&redirected("\"https://cdn.example:443/\""), &cdn), None);
    for beyond in ["\"https://cdn.example:8443\"", "\"https://cdn.example\", \"https://b.example\""]
    {
        assert!(check(&redirected(beyond), &cdn).is_some(), "{beyond}");
    }
    // The addresses of every origin count.
    let metadata = rule("redirect_origins = [\"*\"]");
    assert!(check(&redirected("\"https://169.254.169.254\""), &metadata).is_some());
    // Cookies widen nothing unless a rule refuses them.
    let cookies = "http = \"http://app/\"\ncookies = true";
    assert_eq!(check(cookies, any), None);
    assert_eq!(check(cookies, &rule("cookies = true")), None);
    assert!(check(cookies, &rule("cookies = false")).is_some());
}

/// The witness for a query is a SELECT, because the statements of a query cannot change anything.
#[test]
fn the_witness_of_a_query_is_a_select_unless_the_rules_cover_all_selects() {
    for target in ["sqlite:/a.db", "postgres://a@db/orders", "mysql://a@db/orders"] {
        let found = witness("sql", &["query"], &format!("sql = \"{target}\""), "")
            .expect("nothing is allowed");
        assert!(found.contains("query with a `select` statement on "), "{found}");
    }
    let found =
        witness("sql", &["execute"], "sql = \"sqlite:/a.db\"", "").expect("nothing is allowed");
    assert!(!found.contains("`select`"), "{found}");
    let rules = "[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\nstatements = [\"select\"]\n";
    let found = witness("sql", &["query"], "sql = \"postgres://a@db/orders\"", rules)
        .expect("other statements are left");
    assert!(!found.contains("`select`"), "{found}");
}

#[test]
fn statements_and_relations_are_limits_of_their_own() {
    let rules = "[[allow]]\ncapability = \"sql\"\nverbs = [\"query\", \"execute\"]\n\
                 statements = [\"select\", \"maintain\"]\nrelations = [\"public.*\"]\n";
    let target = |more: &str| format!("sql = \"postgres://a@db/orders\"\n{more}");
    let narrow = target("statements = [\"select\"]\nrelations = [\"public.orders\"]\n");
    assert_eq!(witness("sql", &["query"], &narrow, rules), None);
    assert_eq!(
        witness("sql", &["query", "execute"], &target("statements = [\"select\"]\n"), rules)
            .as_deref(),
        Some(
            "execute with a `select` statement on postgres a@db:5432/orders [boundary.toml:2: \
              relations = public.*]"
        )
    );
    let found = witness("sql", &["execute"], &target("relations = [\"public.orders\"]\n"), rules);
    assert!(found.is_some_and(|found| found.contains("execute with a `define` statement")
        && found.contains("statements = ")));
}

#[test]
fn containers_by_label_are_not_containers_by_name() {
    let rules =
        "[[allow]]\ncapability = \"docker\"\nverbs = [\"stop\"]\ncontainers = [\"orders-*\"]\n";
    assert_eq!(witness("docker", &["stop"], "docker = { name = \"orders-api\" }", rules), None);
    assert_eq!(witness("docker", &["stop"], "docker = { pattern = \"orders-a*\" }", rules), None);
    assert_eq!(
        witness("docker", &["stop"], "docker = { pattern = \"orders*\" }", rules).as_deref(),
        Some("stop container orders [boundary.toml:2: containers = orders-*]")
    );
    assert_eq!(
        witness("docker", &["stop"], "docker = { label = \"role=api\" }", rules).as_deref(),
        Some(
            "stop container any-container labelled role=api [boundary.toml:2: containers = \
              orders-*]"
        )
    );
    let by_label =
        "[[allow]]\ncapability = \"docker\"\nverbs = [\"stop\"]\nlabels = [\"role=*\"]\n";
    assert_eq!(witness("docker", &["stop"], "docker = { label = \"role=api\" }", by_label), None);
    assert!(witness("docker", &["stop"], "docker = { name = \"orders-api\" }", by_label).is_some());
}

#[test]
fn arguments_directories_and_digests_are_compared() {
    let rules = "[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\n\
                 programs = [\"/usr/bin/pg_dump\"]\n\
                 arguments = [[\"--format=plain\", { regex = \"--table=[a-z_]+\" }]]\n\
                 timeout = \"10m\"\n";
    let target = |arguments: &str| {
        format!("process = \"/usr/bin/pg_dump\"\narguments = {arguments}\ntimeout = \"5m\"\n")
    };
    assert_eq!(
        witness("process", &["run"], &target("[\"--format=plain\", \"--table=orders\"]"), rules),
        None
    );
    assert_eq!(
        witness(
            "process",
            &["run"],
            &target("[\"--format=plain\", { regex = \"--table=[a-z]+[0-9]?\" }]"),
            rules
        )
        .as_deref()
        .map(|found| found.split(" [").next().unwrap_or_default().to_owned()),
        Some("run /usr/bin/pg_dump --format=plain --table=a0".to_owned())
    );
    assert!(
        witness(
            "process",
            &["run"],
            "process = \"/usr/bin/pg_dump\"\narguments = [\"--format=plain\", \"--table=a\"]\n",
            rules
        )
        .is_some(),
        "no time limit"
    );
    let folders = "[[allow]]\ncapability = \"files\"\nverbs = [\"read\", \"write\", \"remove\"]\n\
                   directories = [\"/var/backups\"]\n";
    assert_eq!(witness("files", &["read"], "files = \"/var/backups/orders\"", folders), None);
    assert!(witness("files", &["read"], "files = \"/var/backups/../../etc\"", folders).is_some());
    assert!(witness("files", &["read"], "files = \"/var/backups-old\"", folders).is_some());
}

#[test]
fn a_pattern_that_cannot_be_compared_counts_as_exceeded() {
    let rules = "[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\n\
                 arguments = [[{ regex = '\\w{60}' }]]\n";
    let target = "process = \"/bin/x\"\narguments = [{ regex = '\\w{60}' }]\ntimeout = \"1s\"\n";
    assert_eq!(witness("process", &["run"], target, rules).as_deref(), Some("unknown"));
}

#[test]
fn every_form_of_a_host_is_accepted() {
    for host in [
        "db.internal",
        "*.internal",
        "*",
        "10.0.0.1",
        "10.0.*",
        "::1",
        "[::1]",
        "[fd00::1]",
        "localhost",
        "a_b-c.example",
    ] {
        let mut diagnostics = Diagnostics::default();
        let text = format!(
            "format = 1\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
                     hosts = [\"{host}\"]\n"
        );
        assert!(
            Boundary::parse(&Source::new("boundary.toml", text), &mut diagnostics).is_some(),
            "{host}"
        );
    }
}

#[test]
fn every_mistake_of_a_boundary_is_an_error() {
    for (toml, expected) in [
        (
            "[[allow]]\ncapability = \"htp\"\nverbs = [\"get\"]\n",
            "`htp` is not a capability (did you mean `http`?)",
        ),
        ("[[allow]]\ncapability = \"http\"\n", "rule 1 names no `verbs`"),
        (
            "[[allow]]\ncapability = \"http\"\nverbs = [\"gett\"]\n",
            "`gett` is not one of `verbs` (did you mean `get`?)",
        ),
        (
            "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\ncontainers = [\"x\"]\n",
            "unknown key `containers` in rule 1",
        ),
        (
            "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\naddresses = [\"privat\"]\n",
            "`privat` is not a class, an address or a block of addresses",
        ),
        (
            "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\npaths = [\"v1\"]\n",
            "`v1` is not a path pattern",
        ),
        (
            "[[allow]]\ncapability = \"files\"\nverbs = [\"read\"]\ndirectories = [\"backups\"]\n",
            "`backups` is not an absolute path",
        ),
        (
            "[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\nstatements = [\"selects\"]\n",
            "`selects` is not one of `statements`",
        ),
        (
            "[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\nfiles = [\"/data/*.db\"]\n",
            "`/data/*.db` is a pattern, and `files` has none (a folder holds for all that is below \
             it: write `/data`",
        ),
        (
            "[[allow]]\ncapability = \"files\"\nverbs = [\"read\"]\ndirectories = [\"/var/**\"]\n",
            "`/var/**` is a pattern, and `directories` has none (a folder holds for all that is \
             below it: write `/var`",
        ),
        (
            "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
             hosts = [\"http://127.0.0.1:8080\"]\n",
            "`http://127.0.0.1:8080` is not a host (a host stands without scheme, port and path",
        ),
        (
            "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\nhosts = [\"127.0.0.1:8080\"]\n",
            "`127.0.0.1:8080` is not a host (a host stands without scheme, port and path",
        ),
        (
            "[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\nhosts = [\"10.0.0.0/8\"]\n",
            "`10.0.0.0/8` is not a host (a host stands without scheme, port and path",
        ),
        ("[[alow]]\ncapability = \"sql\"\n", "unknown key `alow` in the boundary"),
    ] {
        let mut diagnostics = Diagnostics::default();
        let source = Source::new("boundary.toml", format!("format = 1\n{toml}"));
        assert_eq!(Boundary::parse(&source, &mut diagnostics), None, "{toml}");
        let found: Vec<_> = diagnostics
            .iter()
            .map(|found| format!("{} ({})", found.message, found.help.clone().unwrap_or_default()))
            .collect();
        assert!(
            found.iter().any(|found| found.starts_with(expected.trim_end_matches(')'))),
            "{found:?}"
        );
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn some_of(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(words, 1..=words.len())
}

fn list(words: &[&str]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", "))
}

const PATTERNS: &[&str] =
    &["/", "/a", "/a/*", "/a/**", "/a*", "/a/b", "/**", "/*", "/v1/**", "/v1/a/*", "/b/*/c"];
const PATHS: &[&str] =
    &["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b/x/c", "/b//c", "/a/%20", "/v1", "/v1/a/b"];

prop_compose! {
    fn http_rule()(verbs in some_of(&["get", "head", "post"]), hosts in some_of(&["a.internal", "*.internal", "b.example", "*"]),
                   ports in some_of(&["80", "8080", "*"]), paths in some_of(PATTERNS), with_paths in any::<bool>()) -> String {
        let paths = if with_paths { format!("paths = {}\n", list(&paths)) } else { String::new() };
        format!("[[allow]]\ncapability = \"http\"\nverbs = {}\nhosts = {}\nports = {}\n{paths}", list(&verbs), list(&hosts), list(&ports))
    }
}

prop_compose! {
    fn http_target()(base in prop::sample::select(vec!["http://a.internal", "http://b.example:8080", "http://a.internal:8080/v1", "http://a.internal/v1/"]),
                     paths in prop::option::of(some_of(PATTERNS))) -> String {
        let paths = paths.map(|paths| format!("paths = {}\n", list(&paths))).unwrap_or_default();
        format!("http = \"{base}\"\n{paths}")
    }
}

fn text(value: &str) -> CallValue {
    CallValue::Text(value.to_owned())
}

/// The gate's decision about an HTTP request; `path` is below the base address, as a plugin gives
/// it.
fn gate_allows(grants: &EffectiveGrants, verb: &str, path: &str) -> bool {
    let verb = crate::Verb::find(Capability::Http, verb).expect("a verb");
    let headers: [(&str, HeaderValue<'_>); 0] = [];
    let request = GateRequest::Http { slot: "s", verb, path, headers: &headers, secrets: &[] };
    decide(grants, Mode::Effects, &request) == GateDecision::Allow
}

proptest! {
    #![proptest_config(config())]

    /// The boundary and the gate agree. If a grant is within the boundary, some rule covers each
    /// call that the gate allows. If not, the witness is a call that the gate allows and no rule
    /// covers.
    #[test]
    fn containment_of_requests_agrees_with_the_gate(rules in prop::collection::vec(http_rule(), 0..4), target in http_target(),
                                                    verbs in some_of(&["get", "head", "post"])) {
        let (boundary, grants) = (boundary(&rules.concat()), grants_with_verbs("http", &verbs, &target));
        let scope = scope(&grants);
        let crate::TargetKind::Http(http) = &grants.get("s").expect("bound").target.kind else { panic!("http") };
        let crate::targets::HttpBase::Url(base) = &http.base else { panic!("a URL") };
        match boundary.check(&scope) {
            Ok(()) => {
                for (verb, path) in verbs.iter().flat_map(|verb| PATHS.iter().map(move |path| (verb, path))) {
                    if !gate_allows(&grants, verb, path) {
                        continue;
                    }
                    let full_path = http.url(base, path).expect("a path that the gate allows").path().to_owned();
                    let call = ConcreteCall { capability: Capability::Http, values: BTreeMap::from([
                        (Dimension::Plugins, text("p")), (Dimension::Verbs, text(verb)), (Dimension::Schemes, text(base.scheme())),
                        (Dimension::Hosts, text(base.host_str().expect("a host"))),
                        (Dimension::Ports, text(&base.port_or_known_default().expect("a port").to_string())),
                        (Dimension::Paths, text(&full_path)), (Dimension::Addresses, text("1.1.1.1")),
                    ]) };
                    prop_assert!(boundary.permits(&call), "{} is not covered", call.sentence());
                }
            }
            Err(violation) => {
                let call = violation.witness.expect("these patterns are small");
                prop_assert!(!boundary.permits(&call), "{} is covered", call.sentence());
                let full_path = call.value_text(Dimension::Paths);
                let prefix = base.path().trim_end_matches('/');
                // The base address itself is asked for as `/`.
                let path = if full_path == base.path() { "/" } else { full_path.strip_prefix(prefix).expect("below the base") };
                prop_assert!(gate_allows(&grants, &call.value_text(Dimension::Verbs), path), "the gate denies {}", call.sentence());
            }
        }
    }

    #[test]
    fn containment_of_containers_agrees_with_the_gate(
        rules in prop::collection::vec((some_of(&["stop", "start"]), prop::option::of(some_of(&["a*", "ab", "*b", "*"])),
                                        prop::option::of(some_of(&["role=x", "role=*", "team=y"]))), 0..4),
        filter in prop::sample::select(vec!["name = \"ab\"", "name = \"b\"", "pattern = \"a*\"", "pattern = \"*b*\"", "label = \"role=x\"", "label = \"team=z\""]),
        verbs in some_of(&["stop", "start"]),
    ) {
        let rules: Vec<String> = rules.iter().map(|(verbs, names, labels)| {
            let names = names.as_ref().map(|names| format!("containers = {}\n", list(names))).unwrap_or_default();
            let labels = labels.as_ref().map(|labels| format!("labels = {}\n", list(labels))).unwrap_or_default();
            format!("[[allow]]\ncapability = \"docker\"\nverbs = {}\n{names}{labels}", list(verbs))
        }).collect();
        let (boundary, grants) = (boundary(&rules.concat()), grants_with_verbs("docker", &verbs, &format!("docker = {{ {filter} }}")));
        let allows = |verb: &str, name: &str, labels: &[(String, String)]| {
            let verb = crate::Verb::find(Capability::Docker, verb).expect("a verb");
            let request = GateRequest::Container { slot: "s", verb, container: ContainerFacts { name, labels } };
            decide(&grants, Mode::Effects, &request) == GateDecision::Allow
        };
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        match boundary.check(&scope(&grants)) {
            Ok(()) => {
                for (verb, name) in verbs.iter().flat_map(|verb| ["a", "ab", "b", "bc", "cab"].into_iter().map(move |name| (verb, name))) {
                    for labels in [vec![], vec![label("role", "x")], vec![label("team", "y")], vec![label("team", "z"), label("role", "x")]] {
                        if !allows(verb, name, &labels) {
                            continue;
                        }
                        // A rule about labels covers a container by any one of its labels.
                        let mut label_texts = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
                        label_texts.push(crate::scope::ANY_LABEL.to_owned());
                        let covered = label_texts.iter().any(|label| boundary.permits(&ConcreteCall { capability: Capability::Docker, values: BTreeMap::from([
                            (Dimension::Verbs, text(verb)), (Dimension::Containers, text(name)), (Dimension::Labels, text(label))]) }));
                        prop_assert!(covered, "{verb} {name} {labels:?}");
                    }
                }
            }
            Err(violation) => {
                let call = violation.witness.expect("these patterns are small");
                prop_assert!(!boundary.permits(&call), "{}", call.sentence());
                let labels: Vec<_> = call.value_text(Dimension::Labels).split_once('=').map(|(key, value)| label(key, value)).into_iter().collect();
                prop_assert!(allows(&call.value_text(Dimension::Verbs), &call.value_text(Dimension::Containers), &labels), "{}", call.sentence());
            }
        }
    }

    #[test]
    fn containment_of_arguments_agrees_with_the_gate(
        rules in prop::collection::vec(argument_list(), 0..4), granted in argument_list(),
    ) {
        let forms = rules.iter().map(|form| format!("[{}]", form.join(", "))).collect::<Vec<_>>().join(", ");
        let boundary = boundary(&format!("[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\n\
                                          arguments = [{forms}]\n"));
        let target = format!("process = \"/bin/x\"\narguments = [{}]\ntimeout = \"1s\"", granted.join(", "));
        let grants = grants("process", &target);
        let allows = |arguments: &[String]| {
            decide(&grants, Mode::Effects, &GateRequest::Process { slot: "s", verb: Verb::ProcessRun, arguments }) == GateDecision::Allow
        };
        let permits = |arguments: Vec<String>| boundary.permits(&ConcreteCall { capability: Capability::Process, values: BTreeMap::from([
            (Dimension::Verbs, text("run")), (Dimension::Arguments, CallValue::Arguments(arguments))]) });
        match boundary.check(&scope(&grants)) {
            Ok(()) => {
                let words = ["", "a", "b", "ab", "-x", "aa"].map(str::to_owned);
                let mut all: Vec<Vec<String>> = vec![Vec::new()];
                for length in 0..3 {
                    let extended: Vec<_> = all.iter().filter(|list| list.len() == length).flat_map(|list| {
                        words.iter().map(|word| [list.as_slice(), std::slice::from_ref(word)].concat()).collect::<Vec<_>>()
                    }).collect();
                    all.extend(extended);
                }
                for arguments in all.into_iter().filter(|arguments| allows(arguments)) {
                    prop_assert!(permits(arguments.clone()), "{arguments:?}");
                }
            }
            Err(violation) => {
                let call = violation.witness.expect("these patterns are small");
                let Some(CallValue::Arguments(arguments)) = call.values.get(&Dimension::Arguments) else { panic!("arguments") };
                prop_assert!(allows(arguments), "the gate denies {}", call.sentence());
                prop_assert!(!permits(arguments.clone()), "{} is covered", call.sentence());
            }
        }
    }
}

fn argument_list() -> impl Strategy<Value = Vec<String>> {
    let matcher = prop::sample::select(vec![
        "\"a\"",
        "\"-x\"",
        "{ one_of = [\"a\", \"b\"] }",
        "{ regex = \"a*\" }",
        "{ regex = \"[ab]+\" }",
        "{ regex = \".*\" }",
    ]);
    (prop::collection::vec(matcher.clone(), 0..3), prop::option::of(matcher)).prop_map(
        |(fixed, repeat)| {
            let repeat = repeat.map(|pattern| format!("{{ repeat = {pattern} }}"));
            fixed.into_iter().map(str::to_owned).chain(repeat).collect()
        },
    )
}

/// For every dimension of every capability that has it: a grant, a value of a rule that does not
/// cover the grant, and one that does.
const DIMENSION_EXAMPLES: &[(&str, &str, &str, &str, &str, &str)] = &[
    (
        "net",
        "via",
        "connect",
        "net = \"h\"\nports = [25]\nvia = \"bastion\"",
        "[\"direct\", \"ssh *@10.0.0.6:*\"]",
        "[\"ssh ops@10.0.0.5:22 with host key *\"]",
    ),
    (
        "sql",
        "via",
        "query",
        "sql = \"postgres://a@h/d\"\nvia = \"bastion\"",
        "[\"direct\", \"ssh *@10.0.0.6:*\"]",
        "[\"ssh ops@10.0.0.5:22 with host key *\"]",
    ),
    (
        "http",
        "via",
        "get",
        "http = \"https://h\"\nvia = \"bastion\"",
        "[\"direct\", \"ssh *@10.0.0.6:*\"]",
        "[\"ssh ops@10.0.0.5:22 with host key *\"]",
    ),
    ("http", "plugins", "get", "http = \"https://h\"", "[\"other\"]", "[\"p\"]"),
    ("http", "verbs", "get", "http = \"https://h\"", "[\"head\"]", "[\"get\"]"),
    ("http", "schemes", "get", "http = \"https://h\"", "[\"http\"]", "[\"https\"]"),
    ("http", "hosts", "get", "http = \"https://h\"", "[\"other\"]", "[\"h\"]"),
    ("http", "ports", "get", "http = \"https://h\"", "[80]", "[443]"),
    ("http", "paths", "get", "http = \"https://h\"\npaths = [\"/a\"]", "[\"/b\"]", "[\"/*\"]"),
    ("http", "addresses", "get", "http = \"https://h\"", "[\"private\"]", "[\"public\"]"),
    (
        "http",
        "request_headers",
        "get",
        "http = \"https://h\"\nrequest_headers = [\"x-a\"]",
        "[]",
        "[\"x-*\"]",
    ),
    (
        "http",
        "headers",
        "get",
        "http = \"https://h\"\nheaders = { X-A = \"b\" }",
        "[\"x-b\"]",
        "[\"X-A\"]",
    ),
    ("http", "tls", "get", "http = \"https://h\"", "[\"ca *\"]", "[\"verify-full\"]"),
    (
        "http",
        "client_cert",
        "get",
        "http = \"https://h\"\nclient_cert = \"a.pem\"\nclient_key = \"secret:token\"",
        "[\"/base/b.pem*\"]",
        "[\"/base/a.pem with the key secret:*\"]",
    ),
    (
        "http",
        "sockets",
        "get",
        "http = \"http://h\"\nsocket = \"/run/a.sock\"",
        "[\"/run/b.sock\"]",
        "[\"/run/*\"]",
    ),
    (
        "http",
        "redirect_origins",
        "get",
        "http = \"https://h\"\nredirects = 1\nredirect_origins = [\"https://c.example\"]",
        "[\"https://d.example\"]",
        "[\"https://*.example\"]",
    ),
    (
        "http",
        "services",
        "health",
        "http = \"https://h\"\nservices = [\"orders.v1.Orders\"]",
        "[\"other.*\"]",
        "[\"orders.*\"]",
    ),
    ("http", "cookies", "get", "http = \"https://h\"\ncookies = true", "false", "true"),
    ("http", "redirects", "get", "http = \"https://h\"\nredirects = 2", "1", "2"),
    (
        "http",
        "secrets",
        "get",
        "http = \"https://h\"\nheaders = { a = \"secret:token\" }",
        "[\"age:/base/s.age#other\"]",
        "[\"age:/base/*#tok*\"]",
    ),
    (
        "http",
        "max_body",
        "get",
        "http = \"https://h\"\nmax_body = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    ("http", "timeout", "get", "http = \"https://h\"\ntimeout = \"2s\"", "\"1s\"", "\"2s\""),
    ("sql", "engines", "query", "sql = \"postgres://a@h/d\"", "[\"mysql\"]", "[\"postgres\"]"),
    ("sql", "hosts", "query", "sql = \"postgres://a@h/d\"", "[\"other\"]", "[\"h\"]"),
    ("sql", "ports", "query", "sql = \"postgres://a@h/d\"", "[1]", "[5432]"),
    ("sql", "tls", "query", "sql = \"postgres://a@h/d\"", "[\"verify-full\"]", "[\"prefer\"]"),
    ("sql", "addresses", "query", "sql = \"postgres://a@h/d\"", "[\"private\"]", "[\"public\"]"),
    (
        "sql",
        "client_cert",
        "query",
        "sql = \"postgres://a@h/d?sslmode=require\"\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
        "[\"/base/a.pem with the key /base/b.key\"]",
        "[\"/base/a.pem with the key /base/a.key\"]",
    ),
    ("sql", "databases", "query", "sql = \"postgres://a@h/d\"", "[\"other\"]", "[\"d\"]"),
    ("sql", "users", "query", "sql = \"postgres://a@h/d\"", "[\"b\"]", "[\"a\"]"),
    ("sql", "files", "query", "sql = \"sqlite:/data/a.db\"", "[\"/other\"]", "[\"/data\"]"),
    (
        "sql",
        "statements",
        "query",
        "sql = \"postgres://a@h/d\"\nstatements = [\"select\"]",
        "[\"insert\"]",
        "[\"select\"]",
    ),
    (
        "sql",
        "relations",
        "query",
        "sql = \"postgres://a@h/d\"\nrelations = [\"t\"]",
        "[\"u\"]",
        "[\"t\"]",
    ),
    ("sql", "superuser", "query", "sql = \"postgres://a@h/d\"\nsuperuser = true", "false", "true"),
    ("sql", "create", "query", "sql = \"sqlite:/data/a.db\"\ncreate = true", "false", "true"),
    (
        "sql",
        "secrets",
        "query",
        "sql = \"postgres://a@h/d\"\npassword = \"secret:token\"",
        "[]",
        "[\"age:/base/s.age#token\"]",
    ),
    ("sql", "max_rows", "query", "sql = \"postgres://a@h/d\"\nmax_rows = 5", "4", "5"),
    (
        "sql",
        "max_bytes",
        "query",
        "sql = \"postgres://a@h/d\"\nmax_bytes = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    ("sql", "timeout", "query", "sql = \"postgres://a@h/d\"\ntimeout = \"2s\"", "\"1s\"", "\"2s\""),
    (
        "docker",
        "sockets",
        "stop",
        "docker = { name = \"a\" }",
        "[\"/other.sock\"]",
        "[\"/var/run/docker.sock\"]",
    ),
    (
        "docker",
        "hosts",
        "stop",
        "docker = { name = \"a\" }\nengine = \"tcp://h\"",
        "[\"other\"]",
        "[\"H\"]",
    ),
    (
        "docker",
        "ports",
        "stop",
        "docker = { name = \"a\" }\nengine = \"tcp://h:7\"",
        "[2376]",
        "[7]",
    ),
    (
        "docker",
        "addresses",
        "stop",
        "docker = { name = \"a\" }\nengine = \"tcp://h\"",
        "[\"private\"]",
        "[\"public\"]",
    ),
    (
        "docker",
        "tls",
        "stop",
        "docker = { name = \"a\" }\nengine = \"tcp://127.0.0.1\"\ntls = \"off\"",
        "[\"verify-full\"]",
        "[\"disable\"]",
    ),
    (
        "docker",
        "client_cert",
        "stop",
        "docker = { name = \"a\" }\nengine = \"tcp://h\"\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
        "[\"/base/a.pem with the key /base/b.key\"]",
        "[\"/base/a.pem with the key /base/a.key\"]",
    ),
    (
        "docker",
        "secrets",
        "stop",
        "docker = { name = \"a\" }\nengine = \"tcp://h\"\nca = \"secret:token\"",
        "[]",
        "[\"age:/base/s.age#token\"]",
    ),
    ("docker", "containers", "stop", "docker = { name = \"a\" }", "[\"b\"]", "[\"a\"]"),
    ("docker", "labels", "stop", "docker = { label = \"role=x\" }", "[\"role=y\"]", "[\"role=*\"]"),
    (
        "docker",
        "images",
        "pull",
        "docker = { name = \"a\" }\nimages = [\"x:1\"]",
        "[\"y\"]",
        "[\"x:*\"]",
    ),
    (
        "docker",
        "commands",
        "exec",
        "docker = { name = \"a\" }\ncommand = [\"ls\"]",
        "[[\"id\"]]",
        "[[\"ls\"]]",
    ),
    (
        "docker",
        "environment",
        "create",
        "docker = { name = \"a\" }\nenvironment = [\"A\"]",
        "[\"A=b\"]",
        "[\"A\"]",
    ),
    (
        "docker",
        "networks",
        "create",
        "docker = { name = \"a\" }\nnetwork = \"bridge\"",
        "[\"none\"]",
        "[\"bridge\"]",
    ),
    (
        "docker",
        "memory",
        "create",
        "docker = { name = \"a\" }\nmemory = \"2MiB\"",
        "\"1MiB\"",
        "\"2MiB\"",
    ),
    ("docker", "pids", "create", "docker = { name = \"a\" }\npids = 9", "8", "9"),
    ("files", "directories", "read", "files = \"/data/x\"", "[\"/other\"]", "[\"/data\"]"),
    (
        "files",
        "max_bytes",
        "read",
        "files = \"/data/x\"\nmax_bytes = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    (
        "files",
        "max_total",
        "read",
        "files = \"/data/x\"\nmax_total = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    (
        "files",
        "patterns",
        "read",
        "files = \"/data/x\"\npatterns = [\"a*.log\", \"b.log\"]",
        "[\"a*\"]",
        "[\"*.log\"]",
    ),
    (
        "files",
        "min_age",
        "remove",
        "files = \"/data/x\"\naccess = \"write\"\nmin_age = \"7d\"",
        "\"8d\"",
        "\"6d\"",
    ),
    ("process", "programs", "run", "process = \"/bin/x\"", "[\"/bin/y\"]", "[\"/bin/*\"]"),
    ("process", "sha256", "run", "process = \"/bin/x\"", "[\"sha256:0\"]", "[\"*\"]"),
    ("process", "interpreter_sha256", "run", "process = \"/bin/x\"", "[\"sha256:0\"]", "[\"*\"]"),
    (
        "process",
        "arguments",
        "run",
        "process = \"/bin/x\"\narguments = [\"-a\"]",
        "[[\"-b\"]]",
        "[[{ one_of = [\"-a\", \"-b\"] }]]",
    ),
    (
        "process",
        "environment",
        "run",
        "process = \"/bin/x\"\nenvironment = { A = \"b\" }",
        "[\"B\"]",
        "[\"A\"]",
    ),
    (
        "process",
        "directories",
        "run",
        "process = \"/bin/x\"\ndirectory = \"/data\"",
        "[\"/other\"]",
        "[\"/data\"]",
    ),
    (
        "process",
        "reads",
        "run",
        "process = \"/bin/x\"\nreads = [\"/data/x\"]",
        "[\"/other\"]",
        "[\"/data\"]",
    ),
    (
        "process",
        "writes",
        "run",
        "process = \"/bin/x\"\nwrites = [\"/data/x\"]",
        "[\"/data/x/y\"]",
        "[\"/data\"]",
    ),
    ("process", "memory", "run", "process = \"/bin/x\"\nmemory = \"2MiB\"", "\"1MiB\"", "\"2MiB\""),
    ("process", "cpu", "run", "process = \"/bin/x\"\ncpu = \"2s\"", "\"1s\"", "\"2s\""),
    ("process", "network", "run", "process = \"/bin/x\"\nnetwork = true", "false", "true"),
    ("process", "signals", "run", "process = \"/bin/x\"\nsignals = true", "false", "true"),
    (
        "process",
        "secrets",
        "run",
        "process = \"/bin/x\"\nenvironment = { PGPASSWORD = \"secret:token\" }",
        "[]",
        "[\"age:/base/s.age#token\"]",
    ),
    (
        "process",
        "max_output",
        "run",
        "process = \"/bin/x\"\nmax_output = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    ("process", "timeout", "run", "process = \"/bin/x\"\ntimeout = \"2s\"", "\"1s\"", "\"2s\""),
    (
        "secrets",
        "secrets",
        "use",
        "secret = \"token\"",
        "[\"age:/other.age#token\"]",
        "[\"age:/base/s.age#token\"]",
    ),
    (
        "secrets",
        "positions",
        "use",
        "secret = \"token\"\npositions = [{ slot = \"api\", header = \"a\" }]",
        "[\"web *\"]",
        "[\"api *\"]",
    ),
    (
        "secrets",
        "recipients",
        "rotate",
        "secret = \"token\"",
        "[\"age1other\"]",
        "[\"age1other\", \"age1te*\"]",
    ),
    ("net", "hosts", "connect", "net = \"h\"\nports = [443]", "[\"other\"]", "[\"H\"]"),
    ("net", "ports", "connect", "net = \"h\"\nports = [443]", "[80]", "[443]"),
    ("net", "addresses", "connect", "net = \"h\"\nports = [443]", "[\"private\"]", "[\"public\"]"),
    ("net", "tls", "inspect-tls", "net = \"h\"\nports = [443]", "[\"ca *\"]", "[\"verify-full\"]"),
    (
        "net",
        "questions",
        "connect",
        "net = \"h\"\nports = [443]\nquestions = [\"EHLO *\"]",
        "[\"EHLO a*\"]",
        "[\"EH*\"]",
    ),
    (
        "net",
        "names",
        "lookup",
        "net = \"h\"\nports = [443]\nnames = [\"*.a.example\"]",
        "[\"*.b.example\"]",
        "[\"*.Example\"]",
    ),
    (
        "net",
        "resolvers",
        "lookup",
        "net = \"h\"\nports = [443]\nresolver = \"10.0.0.53\"",
        "[\"system\"]",
        "[\"10.0.0.*:53\"]",
    ),
    (
        "net",
        "secrets",
        "inspect-tls",
        "net = \"h\"\nports = [443]\nca = \"secret:token\"",
        "[]",
        "[\"age:/base/s.age#token\"]",
    ),
    (
        "net",
        "max_bytes",
        "connect",
        "net = \"h\"\nports = [443]\nmax_bytes = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    ("net", "max_records", "lookup", "net = \"h\"\nports = [443]\nmax_records = 9", "8", "9"),
    (
        "net",
        "timeout",
        "connect",
        "net = \"h\"\nports = [443]\ntimeout = \"2s\"",
        "\"1s\"",
        "\"2s\"",
    ),
    (
        "system",
        "mounts",
        "disks",
        "system = [\"disks\"]\nmounts = [\"/var*\"]",
        "[\"/var\"]",
        "[\"/v*\"]",
    ),
    (
        "system",
        "processes",
        "processes",
        "system = [\"processes\"]\nprocesses = [\"php*\"]",
        "[\"php-*\"]",
        "[\"p*\"]",
    ),
    (
        "system",
        "process_arguments",
        "processes",
        "system = [\"processes\"]\nprocesses = [\"a\"]\nprocess_arguments = true",
        "false",
        "true",
    ),
    (
        "system",
        "units",
        "units",
        "system = [\"units\"]\nunits = [\"app-*\"]",
        "[\"app-a*\"]",
        "[\"a*\"]",
    ),
    (
        "system",
        "control",
        "unit-stop",
        "system = [\"unit-stop\"]\ncontrol = [\"a.service\"]",
        "[\"b.service\"]",
        "[\"*.service\"]",
    ),
    (
        "system",
        "sockets",
        "units",
        "system = [\"units\"]\nunits = [\"a\"]\nbus = \"/run/x\"",
        "[\"/run/y\"]",
        "[\"/run/x\"]",
    ),
    ("system", "max_rows", "users", "system = [\"users\"]\nmax_rows = 9", "8", "9"),
    (
        "system",
        "max_bytes",
        "users",
        "system = [\"users\"]\nmax_bytes = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    ("system", "timeout", "cpu", "system = [\"cpu\"]\ntimeout = \"2s\"", "\"1s\"", "\"2s\""),
    ("redis", "hosts", "read", "redis = \"h\"", "[\"other\"]", "[\"H\"]"),
    ("redis", "ports", "read", "redis = \"h:7\"", "[6379]", "[7]"),
    ("redis", "addresses", "read", "redis = \"h\"", "[\"private\"]", "[\"public\"]"),
    ("redis", "tls", "read", "redis = \"h\"\ntls = \"off\"", "[\"verify-full\"]", "[\"disable\"]"),
    (
        "redis",
        "client_cert",
        "read",
        "redis = \"h\"\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
        "[\"/base/a.pem with the key /base/b.key\"]",
        "[\"/base/a.pem with the key /base/a.key\"]",
    ),
    ("redis", "databases", "read", "redis = \"h\"\ndatabase = 3", "[\"0\"]", "[\"3\"]"),
    (
        "redis",
        "users",
        "read",
        "redis = \"h\"\nuser = \"probe\"\npassword = \"secret:token\"",
        "[\"default\"]",
        "[\"probe\"]",
    ),
    (
        "redis",
        "redis_commands",
        "write",
        "redis = \"h\"\ncommands = [\"h*\", \"eval\"]",
        "[\"*\"]",
        "[\"*\", \"EVAL\"]",
    ),
    ("redis", "keys", "read", "redis = \"h\"\nkeys = [\"a:*\"]", "[\"a:b*\"]", "[\"a*\"]"),
    (
        "redis",
        "secrets",
        "read",
        "redis = \"h\"\npassword = \"secret:token\"",
        "[]",
        "[\"age:/base/s.age#token\"]",
    ),
    ("redis", "max_bytes", "read", "redis = \"h\"\nmax_bytes = \"2KiB\"", "\"1KiB\"", "\"2KiB\""),
    ("redis", "timeout", "read", "redis = \"h\"\ntimeout = \"2s\"", "\"1s\"", "\"2s\""),
    (
        "objects",
        "schemes",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[\"http\"]",
        "[\"https\"]",
    ),
    (
        "objects",
        "hosts",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[\"other\"]",
        "[\"h\"]",
    ),
    (
        "objects",
        "ports",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[443]",
        "[7]",
    ),
    (
        "objects",
        "addresses",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[\"private\"]",
        "[\"public\"]",
    ),
    (
        "objects",
        "headers",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[]",
        "[\"authorization\"]",
    ),
    (
        "objects",
        "tls",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[\"disable\"]",
        "[\"verify-full\"]",
    ),
    (
        "objects",
        "client_cert",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
        "[\"/base/a.pem with the key /base/b.key\"]",
        "[\"/base/a.pem with the key /base/a.key\"]",
    ),
    (
        "objects",
        "buckets",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[\"other\"]",
        "[\"buck*\"]",
    ),
    (
        "objects",
        "keys",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[\"a/b*\"]",
        "[\"a/*\"]",
    ),
    (
        "objects",
        "storage_classes",
        "put",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }\nstorage_class = \"GLACIER\"",
        "[\"default\"]",
        "[\"GLACIER\"]",
    ),
    (
        "objects",
        "secrets",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }",
        "[]",
        "[\"age:/base/s.age#token\"]",
    ),
    (
        "objects",
        "max_bytes",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }\nmax_bytes = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    (
        "objects",
        "max_copy",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }\nmax_copy = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    (
        "objects",
        "max_rows",
        "list",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }\nmax_rows = 5",
        "4",
        "5",
    ),
    (
        "objects",
        "timeout",
        "get",
        "objects = \"s3://bucket/a/\"\nendpoint = \"https://h:7\"\nauth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:token\", region = \"r\" } }\ntimeout = \"2s\"",
        "\"1s\"",
        "\"2s\"",
    ),
    (
        "mail",
        "hosts",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]",
        "[\"other\"]",
        "[\"H\"]",
    ),
    (
        "mail",
        "ports",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]",
        "[587]",
        "[465]",
    ),
    (
        "mail",
        "addresses",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]",
        "[\"private\"]",
        "[\"public\"]",
    ),
    (
        "mail",
        "tls",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\ntls = \"off\"",
        "[\"verify-full\"]",
        "[\"disable\"]",
    ),
    (
        "mail",
        "client_cert",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
        "[\"/base/a.pem with the key /base/b.key\"]",
        "[\"/base/a.pem with the key /base/a.key\"]",
    ),
    (
        "mail",
        "users",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\nuser = \"probe\"\npassword = \"secret:token\"",
        "[\"other\"]",
        "[\"probe\"]",
    ),
    (
        "mail",
        "senders",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]",
        "[\"*@b.example\"]",
        "[\"*@a.example\"]",
    ),
    (
        "mail",
        "recipients",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]",
        "[\"*@b.example\"]",
        "[\"*@a.example\"]",
    ),
    (
        "mail",
        "secrets",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\nuser = \"probe\"\npassword = \"secret:token\"",
        "[]",
        "[\"age:/base/s.age#token\"]",
    ),
    (
        "mail",
        "max_messages",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\nmax_messages = 2",
        "1",
        "2",
    ),
    (
        "mail",
        "max_bytes",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\nmax_bytes = \"2KiB\"",
        "\"1KiB\"",
        "\"2KiB\"",
    ),
    (
        "mail",
        "timeout",
        "send",
        "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\ntimeout = \"2s\"",
        "\"1s\"",
        "\"2s\"",
    ),
];

#[test]
fn each_dimension_of_a_rule_decides_whether_a_grant_is_within() {
    for (capability, key, verb, target, narrow, wide) in DIMENSION_EXAMPLES {
        let rule = |value: &str| {
            let verbs =
                if *key == "verbs" { String::new() } else { format!("verbs = [\"{verb}\"]\n") };
            // A rule that names no names lets none be looked up, and one without processes lets none
            // be seen.
            let names = match *verb {
                "lookup" if *key != "names" => "names = [\"*\"]\n",
                "processes" if *key != "processes" => "processes = [\"*\"]\n",
                "units" if *key != "units" => "units = [\"*\"]\n",
                // A rule that names no host allows the engines of this host alone.
                _ if target.contains("engine =") && *key != "hosts" => "hosts = [\"*\"]\n",
                _ => "",
            };
            format!("[[allow]]\ncapability = \"{capability}\"\n{verbs}{names}{key} = {value}\n")
        };
        assert!(
            witness(capability, &[verb], target, &rule(narrow)).is_some(),
            "{capability} {key} = {narrow} lets it in"
        );
        assert_eq!(
            witness(capability, &[verb], target, &rule(wide)),
            None,
            "{capability} {key} = {wide}"
        );
    }
}

/// A rule of before targets could name a server is about the engines of its host, and stays so.
#[test]
fn a_rule_for_engines_covers_those_of_this_host_or_those_that_it_names_and_never_both() {
    let own = "docker = { name = \"a\" }";
    let podman = "docker = { name = \"a\" }\nsocket = \"/run/podman/podman.sock\"";
    let far = "docker = { name = \"a\" }\nengine = \"tcp://10.0.0.5\"\naddresses = [\"private\"]";
    let other = "docker = { name = \"a\" }\nengine = \"tcp://10.0.0.6\"\naddresses = [\"private\"]";
    for (lines, covered) in [
        ("", [true, true, false, false]),
        ("hosts = []", [true, true, false, false]),
        ("hosts = [\"10.0.0.5\"]", [false, false, true, false]),
        ("hosts = [\"*\"]", [false, false, true, true]),
        ("hosts = [\"10.0.0.5\"]\nports = [2375]", [false; 4]),
        ("ports = [2376]", [false; 4]),
        ("sockets = [\"/var/run/docker.sock\"]", [true, false, false, false]),
        ("sockets = [\"*\"]", [true, true, false, false]),
        ("sockets = [\"*\"]\nhosts = [\"*\"]", [false; 4]),
    ] {
        let rule = format!("[[allow]]\ncapability = \"docker\"\nverbs = [\"stop\"]\n{lines}\n");
        let found = [own, podman, far, other]
            .map(|target| witness("docker", &["stop"], target, &rule).is_none());
        assert_eq!(found, covered, "{lines}");
    }
    let rule = "[[allow]]\ncapability = \"docker\"\nverbs = [\"stop\"]\n";
    assert_eq!(
        witness("docker", &["stop"], far, rule).as_deref(),
        Some("stop container a of the engine at tcp://10.0.0.5:2376 [boundary.toml:2: hosts = ]")
    );
}

#[test]
fn a_rule_without_recipients_lets_no_store_be_encrypted_to_any() {
    let rule = "[[allow]]\ncapability = \"secrets\"\nverbs = [\"use\", \"rotate\"]\n";
    let found = |verbs: &[&str]| witness("secrets", verbs, "secret = \"token\"", rule);
    assert_eq!(found(&["use"]), None);
    let beyond = found(&["rotate"]).expect("beyond the rule");
    assert!(beyond.contains("encrypted to age1team [boundary.toml:2: recipients = ]"), "{beyond}");
}

#[test]
fn every_dimension_has_an_example() {
    // This dimension needs two targets, so it has a test of its own.
    const ELSEWHERE: &[(&str, &str)] = &[("process", "connections")];
    for capability in ["http", "sql", "docker", "files", "process", "secrets", "net", "system"] {
        let found = Capability::find(capability).expect("a capability");
        for row in Dimension::of(found).filter(|row| !row.capabilities.is_empty()) {
            let listed =
                DIMENSION_EXAMPLES.iter().any(|(of, key, ..)| *of == capability && *key == row.key);
            assert!(
                listed || ELSEWHERE.contains(&(capability, row.key)),
                "{capability} {}",
                row.key
            );
        }
    }
}

const STATEMENTS: &[(&str, &str)] = &[
    ("select", "select * from NAME"),
    ("insert", "insert into NAME values (1)"),
    ("update", "update NAME set x = 1"),
    ("delete", "delete from NAME"),
    ("define", "drop table NAME"),
];

fn subset(words: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    prop::option::of(some_of(words))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn containment_of_statements_agrees_with_the_gate(
        rules in prop::collection::vec((some_of(&["query", "execute"]), subset(&["select", "insert", "update", "delete", "define"]), subset(&["a", "b*", "c", "*"])), 0..4),
        verbs in some_of(&["query", "execute"]), classes in some_of(&["select", "insert", "update", "delete", "define"]), relations in subset(&["a", "b1", "c"]),
    ) {
        let rules: Vec<String> = rules.iter().map(|(verbs, classes, relations)| {
            let classes = classes.as_ref().map(|classes| format!("statements = {}\n", list(classes))).unwrap_or_default();
            let relations = relations.as_ref().map(|relations| format!("relations = {}\n", list(relations))).unwrap_or_default();
            format!("[[allow]]\ncapability = \"sql\"\nverbs = {}\n{classes}{relations}", list(verbs))
        }).collect();
        let relations = relations.map(|relations| format!("relations = {}\n", list(&relations))).unwrap_or_default();
        let target = format!("sql = \"postgres://a@h/d\"\nstatements = {}\n{relations}", list(&classes));
        let (boundary, grants) = (boundary(&rules.concat()), grants_with_verbs("sql", &verbs, &target));
        let allows = |verb: &str, class: &str, relation: &str| {
            let statement = STATEMENTS.iter().find(|(name, _)| *name == class).expect("a class").1.replace("NAME", relation);
            let verb = crate::Verb::find(Capability::Sql, verb).expect("a verb");
            let request = GateRequest::Sql { slot: "s", verb, statement: Some(&statement) };
            decide(&grants, Mode::Effects, &request) == GateDecision::Allow
        };
        match boundary.check(&scope(&grants)) {
            Ok(()) => {
                for (verb, class, relation) in ["query", "execute"].iter().flat_map(|verb| STATEMENTS.iter().map(move |(class, _)| (verb, class)))
                    .flat_map(|(verb, class)| ["a", "b1", "c", "d"].into_iter().map(move |relation| (verb, class, relation))) {
                    if !allows(verb, class, relation) {
                        continue;
                    }
                    let call = ConcreteCall { capability: Capability::Sql, values: BTreeMap::from([
                        (Dimension::Verbs, text(verb)), (Dimension::Statements, text(class)), (Dimension::Relations, text(relation)),
                        (Dimension::Superuser, text("false")) ]) };
                    prop_assert!(boundary.permits(&call), "{verb} {class} {relation}");
                }
            }
            Err(violation) => {
                let call = violation.witness.expect("these patterns are small");
                prop_assert!(!boundary.permits(&call), "{}", call.sentence());
                prop_assert!(allows(&call.value_text(Dimension::Verbs), &call.value_text(Dimension::Statements), &call.value_text(Dimension::Relations)), "{}", call.sentence());
            }
        }
    }
}

/// A piece of a pattern, or of a text that it may match.
fn pieces(words: &'static [&'static str], max_count: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 0..=max_count)
        .prop_map(|pieces| pieces.concat())
}

/// Texts of up to three of these letters.
fn short_texts(letters: &[&str]) -> Vec<String> {
    let mut texts = vec![String::new()];
    for from in [0, 1, 1 + letters.len()] {
        let extended: Vec<_> = texts[from..]
            .iter()
            .flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}")))
            .collect();
        texts.extend(extended);
    }
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..config() })]

    /// Names of containers: for any two patterns, the gate and the automaton agree about which
    /// names one allows and the other does not cover.
    #[test]
    fn containment_of_generated_name_patterns_agrees_with_the_gate(
        granted in pieces(&["a", "b", "A", "*", "-", ".", "\\\\", "[", "é", "(", "+", "?", "$"], 5),
        allowed in pieces(&["a", "b", "A", "*", "-", ".", "\\\\", "[", "é", "(", "+", "?", "$"], 5),
    ) {
        prop_assume!(!granted.is_empty() && !allowed.is_empty());
        let grants = grants_with_verbs("docker", &["stop"], &format!("docker = {{ pattern = \"{granted}\" }}"));
        let boundary = boundary(&format!("[[allow]]\ncapability = \"docker\"\nverbs = [\"stop\"]\n\
                                          containers = [\"{allowed}\"]\n"));
        let allows = |name: &str| {
            let container = ContainerFacts { name, labels: &[] };
            decide(&grants, Mode::Effects, &GateRequest::Container { slot: "s", verb: crate::Verb::DockerStop, container }) == GateDecision::Allow
        };
        let call = |name: &str| ConcreteCall { capability: Capability::Docker, values: BTreeMap::from([
            (Dimension::Verbs, text("stop")), (Dimension::Containers, text(name)) ]) };
        match boundary.check(&scope(&grants)) {
            Ok(()) => for name in short_texts(&["a", "b", "A", "-", ".", "\\", "é", "("]).iter().filter(|name| !name.is_empty() && allows(name)) {
                prop_assert!(boundary.permits(&call(name)), "{name:?} of {granted:?} is not in \
                                                             {allowed:?}");
            },
            Err(violation) => {
                let witness = violation.witness.expect("these patterns are small").value_text(Dimension::Containers);
                prop_assert!(allows(&witness) && !boundary.permits(&call(&witness)), "{witness:?} of {granted:?}, {allowed:?}");
            }
        }
    }

    /// Paths of requests, in the same way. The path that is sent is the path that was judged.
    #[test]
    fn containment_of_generated_path_patterns_agrees_with_the_gate(
        granted in pieces(&["a", "b", "*", "/", "/*", ".", "%41", "/**", "~", "+"], 5),
        allowed in pieces(&["a", "b", "*", "/", "/*", ".", "%41", "/**", "~", "+"], 5),
        base in prop::sample::select(vec!["", "/", "/a", "/a/"]),
    ) {
        let (granted, allowed) = (format!("/{granted}"), format!("/{allowed}"));
        let is_pattern = |text: &str| crate::pattern::PathPattern::parse(text).is_some();
        prop_assume!(is_pattern(&granted) && is_pattern(&allowed));
        let grants = grants_with_verbs("http", &["get"], &format!("http = \"https://h{base}\"\npaths = [\"{granted}\"]"));
        let boundary = boundary(&format!("[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
                                          paths = [\"{allowed}\"]\n"));
        let crate::targets::TargetKind::Http(http) = &grants.get("s").expect("bound").target.kind else { panic!("http") };
        let crate::targets::HttpBase::Url(url) = &http.base else { panic!("an address") };
        // The path that is sent, if the gate allows it.
        let sent_path = |path: &str| {
            let request = GateRequest::Http { slot: "s", verb: crate::Verb::HttpGet, path, headers: &[], secrets: &[] };
            let is_allowed = decide(&grants, Mode::Effects, &request) == GateDecision::Allow;
            is_allowed.then(|| http.url(url, path).ok().map(|url| url.path().to_owned())).flatten()
        };
        let call = |path: &str| ConcreteCall { capability: Capability::Http, values: BTreeMap::from([
            (Dimension::Verbs, text("get")), (Dimension::Paths, text(path)) ]) };
        match boundary.check(&scope(&grants)) {
            Ok(()) => for path in short_texts(&["a", "b", "/", ".", "%41", "~", "+", "/a"]) {
                if let Some(sent_path) = sent_path(&format!("/{path}")) {
                    prop_assert!(boundary.permits(&call(&sent_path)), "{sent_path:?} of {granted:?} is not in {allowed:?}");
                }
            },
            Err(violation) => {
                let witness = violation.witness.expect("these patterns are small").value_text(Dimension::Paths);
                prop_assert!(!boundary.permits(&call(&witness)), "{witness:?}, {allowed:?}");
            }
        }
    }

    /// Hosts and names of headers are case-insensitive, in the patterns of a rule, too.
    #[test]
    fn containment_of_generated_host_and_header_patterns_agrees_with_what_is_sent(
        name in pieces(&["a", "B", "x-", "1"], 4),
        host in pieces(&["a", "B", "x-", "1"], 3),
        allowed in pieces(&["a", "A", "b", "B", "x-", "X-", "1", "*"], 4),
    ) {
        let host = format!("h{host}.Internal");
        prop_assume!(!name.is_empty() && !allowed.is_empty());
        let grants = grants_with_verbs("http", &["get"], &format!("http = \"https://{host}\"\nrequest_headers = [\"{name}\"]\nheaders = {{ h-{name} = \"V*\" }}"));
        let is_within = |rule: &str| {
            boundary(&format!("[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n{rule}\n")).check(&scope(&grants)).is_ok()
        };
        let matches = |pattern: &str, text: &str| crate::pattern_matches(&pattern.to_lowercase(), &text.to_lowercase());
        prop_assert_eq!(is_within(&format!("request_headers = [\"{allowed}\"]")), matches(&allowed, &name), "{} {}", name, allowed);
        prop_assert_eq!(is_within(&format!("headers = [\"h-{allowed}\"]")), matches(&allowed, &name), "{} {}", name, allowed);
        prop_assert!(!is_within(&format!("headers = [\"h-{allowed}: v*\"]")), "the value of a header is not one in any letters");
        let pattern = format!("h{allowed}.INTERNAL");
        prop_assert_eq!(is_within(&format!("hosts = [\"{pattern}\"]")), matches(&pattern, &host), "{} {}", host, pattern);
    }
}

#[test]
fn a_variable_that_is_not_harmless_is_not_covered_by_a_rule_that_does_not_name_it() {
    let rule = |more: &str| {
        format!(
            "[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\nprograms = [\"/opt/x\"]\n\
                 {more}"
        )
    };
    let check = |variables: &str, more: &str| {
        witness(
            "process",
            &["run"],
            &format!("process = \"/opt/x\"\nenvironment = {{ {variables} }}"),
            &rule(more),
        )
    };
    let no_environment = "";
    assert_eq!(
        check("LANG = \"C\", PGPASSWORD = \"secret:t\", PGUSER = \"orders\"", no_environment),
        None
    );
    let token = check("LANG = \"C\", TOKEN = \"secret:t\"", no_environment)
        .expect("nobody knows what it does");
    assert!(token.contains("with TOKEN=secret:t"), "{token}");
    assert_eq!(
        check("LANG = \"C\", TOKEN = \"secret:t\"", "environment = [\"LANG\", \"TOKEN\"]"),
        None
    );
    assert_eq!(check("TOKEN = \"secret:t\"", "environment = [\"TOKEN=secret:t\"]"), None);
    assert!(check("LANG = \"/tmp/x\"", no_environment).is_some());
    for name in [
        "LD_PRELOAD",
        "ld_preload",
        "BASH_ENV",
        "PATH",
        "PYTHONPATH",
        "NODE_OPTIONS",
        "GIT_SSH",
        "HOME",
        "https_proxy",
        "NOBODY_KNOWS",
    ] {
        let found = check(&format!("LANG = \"C\", {name} = \"/x\""), no_environment)
            .unwrap_or_else(|| panic!("{name} is inside"));
        assert!(
            found.starts_with(&format!("run /opt/x (no argument) with {name}=/x [")),
            "{found}"
        );
    }
    // A rule with `environment` covers exactly the variables that it names, harmless or not.
    assert_eq!(check("LD_PRELOAD = \"/x\"", "environment = [\"LD_PRELOAD\"]"), None);
    assert_eq!(check("LD_PRELOAD = \"/x\"", "environment = [\"LD_PRELOAD=/x\"]"), None);
    assert_eq!(check("LD_PRELOAD = \"/x\"", "environment = [\"*\"]"), None);
    assert!(check("LD_PRELOAD = \"/y\"", "environment = [\"LD_PRELOAD=/x\"]").is_some());
    assert!(check("LD_PRELOADX = \"/x\"", "environment = [\"LD_PRELOAD\"]").is_some());
    assert!(check("LANG = \"C\"", "environment = [\"LD_PRELOAD\"]").is_some());
    assert_eq!(check("PATH = \"/usr/bin\"", "environment = [\"PATH=/usr/*\", \"LANG\"]"), None);
    assert_eq!(check("PATH = \"secret:x\"", "environment = [\"PATH=secret:*\"]"), None);
}

#[test]
fn a_boundary_requires_what_a_kernel_can_have_and_nothing_else() {
    let all: Vec<_> = PROTECTIONS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let required = boundary(&format!("require = [{}]\n", all.join(", "))).require;
    assert_eq!(required.len(), PROTECTIONS.len());
    assert!(boundary("").require.is_empty());
    let source = Arc::new(Source::new("b.toml", "format = 1\nrequire = [\"signal\"]\n"));
    let mut diagnostics = Diagnostics::default();
    assert!(Boundary::parse(&source, &mut diagnostics).is_none());
    let said = format!("{diagnostics:?}");
    assert!(said.contains("E0121") && said.contains("signals"), "{said}");
}

const MAIL: &str = "net = [\"mail.internal\", \"mx.internal\"]\nports = [25]\n\
                    addresses = [\"private\"]\nquestions = [\"QUIT\"]\nnames = [\"*.internal\"]";

#[test]
fn a_rule_for_connections_and_one_for_lookups_together_cover_a_target_of_both() {
    let connects = "[[allow]]\ncapability = \"net\"\nverbs = [\"connect\"]\nhosts = [\"*.internal\"]\n\
                    ports = [25]\nquestions = [\"QUIT\"]\n";
    let looks_up =
        "[[allow]]\ncapability = \"net\"\nverbs = [\"lookup\"]\nnames = [\"*.internal\"]\n";
    let check = |verbs: &[&str], rules: &str| witness("net", verbs, MAIL, rules);
    let both = format!("{connects}{looks_up}");
    assert_eq!(check(&["connect", "lookup"], &both), None);
    assert_eq!(check(&["connect"], connects), None);
    assert_eq!(check(&["lookup"], looks_up), None);
    // A rule about both is about each.
    let one = connects.replace("[\"connect\"]", "[\"connect\", \"lookup\"]")
        + "names = [\"*.internal\"]\n";
    for verbs in [&["connect"][..], &["lookup"], &["connect", "lookup"]] {
        assert_eq!(check(verbs, &one), None, "{verbs:?}");
    }
    assert!(check(&["inspect-tls"], &one).is_some());
    let found = check(&["lookup"], connects).expect("it is about connections");
    assert!(found.starts_with("lookup "), "{found}");
}

#[test]
fn what_is_said_names_that_are_looked_up_and_who_is_asked_are_never_covered_by_silence() {
    let rule = "[[allow]]\ncapability = \"net\"\nverbs = [\"*\"]\n";
    let check = |verb: &str, target: &str| witness("net", &[verb], target, rule);
    assert!(check("connect", MAIL).is_some_and(|found| found.contains("saying `QUIT`")));
    assert!(check("lookup", "net = \"h\"").is_some());
    let named = format!("{rule}names = [\"h\"]\n");
    let elsewhere = "net = \"h\"\nresolver = \"192.0.2.53\"";
    assert_eq!(witness("net", &["lookup"], "net = \"h\"", &named), None);
    assert!(witness("net", &["lookup"], elsewhere, &named).is_some());
    assert_eq!(check("connect", "net = \"h\"\nports = [1]"), None);
    let metadata = "net = \"h\"\nports = [1]\naddresses = [\"metadata\"]";
    assert!(check("connect", metadata).is_some());
    assert!(check("connect", "net = \"169.254.169.254\"\nports = [80]").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..config() })]

    /// Lines that may be said and names that may be looked up: whatever two patterns are, the gate
    /// and the automaton agree on what the one lets through and the other does not cover.
    #[test]
    fn containment_of_generated_lines_and_names_agrees_with_the_gate(
        granted in pieces(&["a", "b", "*", "-", ".", "_"], 5),
        allowed in pieces(&["a", "b", "*", "-", ".", "_"], 5),
    ) {
        prop_assume!(!granted.is_empty() && !allowed.is_empty());
        let net = "net = \"h\"\nports = [1]";
        let rule = |verb: &str, key: &str| boundary(&format!("[[allow]]\ncapability = \"net\"\nverbs = [\"{verb}\"]\n{key} = [\"{allowed}\"]\n"));
        let call = |verb: &str, dimension: Dimension, value: &str| ConcreteCall { capability: Capability::Net, values: BTreeMap::from([
            (Dimension::Verbs, text(verb)), (dimension, text(value)) ]) };
        let says = grants_with_verbs("net", &["connect"], &format!("{net}\nquestions = [\"{granted}\"]"));
        let may_say = |line: &str| {
            let (slot, verb, says_) = ("s", Verb::NetConnect, [line]);
            decide(&says, Mode::Effects, &GateRequest::Endpoint { slot, verb, host: None, port: None, says: &says_ }) == GateDecision::Allow
        };
        let lines = rule("connect", "questions");
        match lines.check(&scope(&says)) {
            Ok(()) => for line in short_texts(&["a", "b", "-", ".", "_"]).iter().filter(|line| may_say(line)) {
                prop_assert!(lines.permits(&call("connect", Dimension::Questions, line)), "{line:?} of {granted:?} is not in {allowed:?}");
            },
            Err(violation) => {
                let witness = violation.witness.expect("these patterns are small").value_text(Dimension::Questions);
                prop_assert!(may_say(&witness) && !lines.permits(&call("connect", Dimension::Questions, &witness)), "{witness:?} of {granted:?}, {allowed:?}");
            }
        }
        prop_assume!(crate::targets::dns_name(&granted.replace('*', "x")).is_some());
        let looks_up = grants_with_verbs("net", &["lookup"], &format!("{net}\nnames = [\"{granted}\"]"));
        let may_look_up = |name: &str| {
            let (slot, verb, name) = ("s", Verb::NetLookup, Some(name));
            decide(&looks_up, Mode::Effects, &GateRequest::Lookup { slot, verb, name, kind: "A" }) == GateDecision::Allow
        };
        let names = rule("lookup", "names");
        if names.check(&scope(&looks_up)).is_ok() {
            for name in short_texts(&["a", "b", "-", ".", "_"]).iter().filter(|name| may_look_up(name)) {
                let name = crate::targets::dns_name(name).expect("it was let through");
                prop_assert!(names.permits(&call("lookup", Dimension::Names, &name)), "{name:?} of {granted:?} is not in {allowed:?}");
            }
        }
    }
}

#[test]
fn a_command_that_must_be_named_is_covered_only_by_a_rule_that_names_it() {
    let rule = "[[allow]]\ncapability = \"redis\"\nverbs = [\"*\"]\n";
    let check = |commands: &str, more: &str| {
        witness(
            "redis",
            &["write"],
            &format!("redis = \"h\"\n{commands}"),
            &format!("{rule}{more}"),
        )
    };
    assert_eq!(check("", ""), None);
    assert_eq!(check("commands = [\"*\"]", ""), None);
    assert_eq!(check("", "redis_commands = [\"*\"]"), None);
    for rule in ["", "redis_commands = [\"*\"]", "redis_commands = [\"ev*\"]"] {
        let found = check("commands = [\"eval\"]", rule).expect("it is not named");
        assert!(found.contains("`eval`"), "{found}");
    }
    assert_eq!(check("commands = [\"eval\"]", "redis_commands = [\"EVAL\"]"), None);
    assert!(check("", "redis_commands = [\"h*\"]").is_some());
    assert_eq!(check("commands = [\"hget*\"]", "redis_commands = [\"h*\"]"), None);
    assert!(check("commands = [\"json.get\"]", "redis_commands = [\"*\"]").is_some());
    assert!(check("addresses = [\"metadata\"]", "").is_some());
}

#[test]
fn a_boundary_forbids_gateways_unless_it_names_them_and_can_demand_one() {
    for (capability, verb, target) in [
        ("http", "get", "http = \"https://h\""),
        ("sql", "query", "sql = \"postgres://a@h/d\""),
        ("net", "connect", "net = \"h\"\nports = [25]"),
        ("redis", "read", "redis = \"h\""),
    ] {
        let rule = |more: &str| {
            format!("[[allow]]\ncapability = \"{capability}\"\nverbs = [\"{verb}\"]\n{more}")
        };
        let is_covered =
            |target: &str, more: &str| witness(capability, &[verb], target, &rule(more)).is_none();
        let through = format!("{target}\nvia = \"bastion\"");
        assert!(is_covered(target, "") && !is_covered(&through, ""), "{capability}: by default");
        let demanded = "via = [\"ssh ops@10.0.0.5:22 *\"]";
        assert!(!is_covered(target, demanded) && is_covered(&through, demanded), "{capability}");
        let either = "via = [\"direct\", \"ssh *\"]";
        assert!(is_covered(target, either) && is_covered(&through, either), "{capability}");
        let proxied = format!("{through}\n[targets.bastion]\nproxy = \"http://10.0.0.6:3128\"");
        let demanded = "via = [\"proxy http://10.0.0.6:3128\"]";
        assert!(!is_covered(&proxied, "") && !is_covered(&proxied, either), "{capability}");
        assert!(is_covered(&proxied, demanded) && !is_covered(&through, demanded), "{capability}");
        // The gateway resolves the name, so the addresses may be any.
        let remote = format!("{through}\nremote_dns = true");
        let addresses = format!("{either}\naddresses = [\"public\", \"private\"]");
        assert!(is_covered(&through, &addresses) && !is_covered(&remote, &addresses));
    }
}

#[test]
fn a_digest_in_a_boundary_is_written_as_in_a_target() {
    let digits = "b047".repeat(16);
    for written in [digits.clone(), digits.to_uppercase(), format!("sha256:{digits}")] {
        let boundary = boundary(&format!(
            "[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\nsha256 = [\"{written}\"]\n"
        ));
        let grants = crate::gate::tests::grants_with_verbs(
            "process",
            &["run"],
            &format!("process = \"/bin/x\"\nsha256 = \"{digits}\""),
        );
        let grant = grants.get("s").expect("a grant");
        let beyond = boundary.check_grant("p", grant, &grants).err();
        let limits = beyond.and_then(|violation| violation.nearest_rule);
        let names: Vec<_> = limits
            .iter()
            .flat_map(|nearest| &nearest.exceeded_dimensions)
            .map(|(dimension, _)| dimension.key())
            .collect();
        assert!(!names.contains(&"sha256"), "{written}: {names:?}");
    }
    let mut diagnostics = Diagnostics::default();
    let text = "format = 1\n[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\n\
                sha256 = [\"b047\"]\n";
    assert!(Boundary::parse(&Source::new("b.toml", text), &mut diagnostics).is_none());
    assert!(format!("{diagnostics:?}").contains("is not a digest"), "{diagnostics:?}");
}
