use super::*;
use crate::grant::source_grant;
use crate::targets::PathView;
use runbook_document::Reader;

const TARGETS: &str = r#"
[targets.pass]
process = "/usr/bin/pass"
arguments = ["show", { regex = "orders/[a-z]+" }]
[targets.fixed]
process = "/usr/bin/op"
arguments = ["read", "op://a/b"]
environment = { OP_SERVICE_ACCOUNT_TOKEN = "secret:op" }
network = true
[targets.vault]
http = "https://vault.internal:8200"
headers = { X-Vault-Token = "secret:vault-token" }
[targets.role]
http = "https://vault.internal:8200/proxy"
paths = ["/v1/kv/**"]
redirects = 3
redirect_origins = ["https://other.internal"]
auth = { vault-approle = { role_id = "ops", secret_id = "secret:vault-token" } }
[targets.plain]
http = "http://vault.internal:8200"
[targets.loop]
http = "https://vault.internal"
auth = { bearer = "secret:a" }
[targets.writes]
http = "https://vault.internal"
verbs = ["post"]
"#;

/// The origin of secret `a` with these keys, or the message and help of the first mistake.
fn origin(keys: &str) -> Result<SecretOrigin, String> {
    origin_among(&format!(
        "[secrets.op]\nsource = \"systemd:op\"\n[secrets.vault-token]\n\
         source = \"age:s.age#vault\"\n[secrets.a]\n{keys}\n{TARGETS}"
    ))
}

/// The origin of secret `a` of a whole file.
fn origin_among(text: &str) -> Result<SecretOrigin, String> {
    let source = Source::new("r.toml", text);
    let mut diagnostics = Diagnostics::default();
    let document = runbook_document::parse(&source, &mut diagnostics).expect("good TOML");
    let folder = Folder::without_links(Path::new("/srv/checks")).expect("absolute");
    let table = |key: &str| match &document.get(key).expect("it is there").value {
        Value::Table(table) => table.clone(),
        _ => panic!("no table"),
    };
    let mut targets = Targets::default();
    targets.read(&source, &table("targets"), folder, &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let secrets = table("secrets");
    let tables: Vec<_> = secrets
        .entries
        .iter()
        .map(|(name, node)| match &node.value {
            Value::Table(table) => (name, table.clone()),
            _ => panic!("no table"),
        })
        .collect();
    let mut ignored = Diagnostics::default();
    let uris: Vec<_> = tables
        .iter()
        .map(|(_, table)| {
            let mut reader = Reader::new(&source, table, "secret", &mut ignored);
            reader.required::<String>("source").expect("a source")
        })
        .collect();
    let declared: Vec<_> = tables
        .iter()
        .zip(&uris)
        .map(|((name, table), uri)| DeclaredSecret { name, uri, table, source: &source })
        .collect();
    let mut origins = read_origins(&declared, &targets, &BTreeSet::new(), folder, &mut diagnostics);
    if let Some(found) = diagnostics.iter().next() {
        assert!(!origins.contains_key("a"), "a wrong secret has no origin");
        return Err(format!("{} {:?}", found.message, found.help));
    }
    Ok(origins.remove("a").expect("it has no mistake"))
}

#[test]
fn each_kind_of_source_is_read_and_rendered_as_what_it_reads() {
    for (keys, rendered) in [
        ("source = \"age:s.age#x\"", "age:/srv/checks/s.age#x"),
        ("source = \"sops:prod.yaml#db/0/pw\"", "sops:/srv/checks/prod.yaml#db/0/pw"),
        ("source = \"systemd:db-password\"", "systemd:db-password"),
        ("source = \"env:DB_PASSWORD\"", "env:DB_PASSWORD"),
        (
            "source = \"exec:pass\"\narguments = [\"show\", \"orders/db\"]",
            "exec:/usr/bin/pass [\"show\",\"orders/db\"]",
        ),
        ("source = \"exec:fixed\"", "exec:/usr/bin/op [\"read\",\"op://a/b\"]"),
        (
            "source = \"vault:vault\"\nmount = \"kv\"\npath = \"orders/db\"\nfield = \"pw\"",
            "vault:https://vault.internal:8200/v1/kv/data/orders/db#pw",
        ),
        (
            "source = \"vault:role\"\nmount = \"kv\"\npath = \"a\"\nfield = \"b\"\nversion = 3",
            "vault:https://vault.internal:8200/proxy/v1/kv/data/a?version=3#b",
        ),
    ] {
        let read = origin(keys).unwrap_or_else(|mistake| panic!("{keys}: {mistake}"));
        assert_eq!(read.render(PathView::OnThisHost), rendered);
    }
}

#[test]
fn every_mistake_in_a_source_is_reported_with_what_to_do() {
    let vault = "mount = \"kv\"\npath = \"a\"\nfield = \"b\"";
    for (keys, reported) in [
        ("source = \"keychain:x\"".to_owned(), "is not a source of a secret"),
        ("source = \"age:s.age\"".to_owned(), "add its name"),
        ("source = \"age:#x\"".to_owned(), "names no file"),
        ("source = \"age:s.age#a b\"".to_owned(), "1 to 128 letters"),
        ("source = \"age:s.age#\"".to_owned(), "1 to 128 letters"),
        ("source = \"sops:prod.ini#x\"".to_owned(), ".yaml, .yml, .json or .env"),
        ("source = \"sops:prod.yaml#a//b\"".to_owned(), "names no value"),
        ("source = \"systemd:../x\"".to_owned(), "1 to 128 letters"),
        ("source = \"env:A=B\"".to_owned(), "not the name of a variable"),
        ("source = \"exec:/usr/bin/pass\"".to_owned(), "name a `process` target"),
        ("source = \"exec:pas\"".to_owned(), "did you mean `pass`?"),
        ("source = \"exec:vault\"".to_owned(), "needs a `process` target"),
        ("source = \"exec:pass\"".to_owned(), "at position 2 it expects"),
        ("source = \"exec:pass\"\narguments = [\"rm\", \"x\"]".to_owned(), "at position 1"),
        ("source = \"exec:pass\"\narguments = \"show\"".to_owned(), "must be a list of texts"),
        ("source = \"age:s.age#x\"\narguments = []".to_owned(), "does not belong to its source"),
        (format!("source = \"exec:fixed\"\n{vault}"), "does not belong to its source"),
        (format!("source = \"vault:pass\"\n{vault}"), "needs a `http` target"),
        (format!("source = \"vault:plain\"\n{vault}"), "write `https`"),
        (format!("source = \"vault:writes\"\n{vault}"), "does not grant `get`"),
        (format!("source = \"vault:loop\"\n{vault}"), "which needs secret `a`"),
        ("source = \"vault:vault\"\nmount = \"kv\"\npath = \"a\"".to_owned(), "lacks `field`"),
        (
            "source = \"vault:role\"\nmount = \"other\"\npath = \"a\"\nfield = \"b\"".to_owned(),
            "does not allow the path",
        ),
        (
            "source = \"vault:vault\"\nmount = \"kv\"\npath = \"a/../b\"\nfield = \"b\"".to_owned(),
            "is not the path of a secret",
        ),
        (format!("source = \"vault:vault\"\n{vault}\nversion = 0"), "an integer of 1 or more"),
        ("source = \"env:{{ params.x }}\"".to_owned(), "no template is filled in"),
        (
            "source = \"exec:pass\"\narguments = [\"{{ params.x }}\"]".to_owned(),
            "no template is filled in",
        ),
    ] {
        let mistake = origin(&keys).err().unwrap_or_else(|| panic!("{keys} has no mistake"));
        assert!(mistake.contains(reported), "{keys}: {mistake}");
    }
}

#[test]
fn the_target_of_a_source_allows_exactly_the_call_that_reads_the_secret() {
    let read =
        origin("source = \"exec:pass\"\narguments = [\"show\", \"orders/db\"]").expect("good");
    let grant = source_grant("a", &read).expect("it names a target");
    let process = grant.target.process().expect("a program");
    assert_eq!(
        (grant.slot.as_str(), grant.verbs.as_slice()),
        ("secrets.a", &[Verb::ProcessRun][..])
    );
    let arguments = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
    assert!(first_mismatch(&process.arguments, &arguments(["show", "orders/db"])).is_none());
    assert!(first_mismatch(&process.arguments, &arguments(["show", "orders/other"])).is_some());
    let keys = "source = \"vault:role\"\nmount = \"kv\"\npath = \"a\"\nfield = \"b\"";
    let grant = source_grant("a", &origin(keys).expect("good")).expect("it names a target");
    let http = grant.target.http().expect("a server");
    assert_eq!(grant.verbs, [Verb::HttpGet]);
    assert!(http.paths.iter().any(|pattern| pattern.matches("/v1/kv/data/a")));
    assert!(!http.paths.iter().any(|pattern| pattern.matches("/v1/kv/data/b")));
    // A redirect would lead to another path or server, and so to another value.
    assert_eq!((http.redirects, http.redirect_origins.len()), (0, 0));
    assert!(source_grant("a", &origin("source = \"env:A\"").expect("good")).is_none());
}

/// What a call of a target needs before it can be made: each place where a target, its gateway or
/// its connection names a secret, as a source for secret `a` and the targets of that source.
const NEEDS: &[(&str, &str, &str)] = &[
    (
        "a header of the server",
        "vault:t",
        "[targets.t]\nhttp = \"https://v\"\nheaders = { X-Vault-Token = \"secret:inner\" }",
    ),
    (
        "the login of the server",
        "vault:t",
        "[targets.t]\nhttp = \"https://v\"\n\
         auth = { vault-approle = { role_id = \"r\", secret_id = \"secret:inner\" } }",
    ),
    (
        "the key of the client certificate",
        "vault:t",
        "[targets.t]\nhttp = \"https://v\"\nclient_cert = \"c.pem\"\nclient_key = \"secret:inner\"",
    ),
    (
        "the key of the gateway",
        "vault:t",
        "[targets.t]\nhttp = \"https://v\"\nvia = \"b\"\n\
         [targets.b]\nssh = \"b\"\nuser = \"u\"\nknown_hosts = \"k\"\nkey = \"secret:inner\"",
    ),
    (
        "the passphrase of the key of the gateway",
        "vault:t",
        "[targets.t]\nhttp = \"https://v\"\nvia = \"b\"\n\
         [targets.b]\nssh = \"b\"\nuser = \"u\"\nknown_hosts = \"k\"\nkey = \"secret:direct\"\n\
         passphrase = \"secret:inner\"",
    ),
    (
        "the login of the proxy",
        "vault:t",
        "[targets.t]\nhttp = \"https://v\"\nvia = \"b\"\n\
         [targets.b]\nproxy = \"http://b:1\"\nuser = \"u\"\npassword = \"secret:inner\"",
    ),
    (
        "the authorities of the proxy",
        "vault:t",
        "[targets.t]\nhttp = \"https://v\"\nvia = \"b\"\n\
         [targets.b]\nproxy = \"https://b:1\"\nca = \"secret:inner\"",
    ),
    (
        "the environment of the program",
        "exec:t",
        "[targets.t]\nprocess = \"/bin/t\"\nenvironment = { T = \"secret:inner\" }",
    ),
    (
        "the connection of the program",
        "exec:t",
        "[targets.t]\nprocess = \"/bin/t\"\nconnection = \"d\"\n\
         [targets.d]\nsql = \"postgres://u@h/d\"\npassword = \"secret:inner\"",
    ),
];

/// A secret that is needed to read another one is never read by a target: so no secret needs
/// itself, whichever way leads back to it.
#[test]
fn no_secret_is_read_through_a_gateway_or_target_that_needs_a_secret_of_a_target() {
    let vault_keys = "mount = \"kv\"\npath = \"p\"\nfield = \"f\"\n";
    for (what, source, targets) in NEEDS {
        let more = if source.starts_with("vault:") { vault_keys } else { "" };
        let outer = format!("[secrets.a]\nsource = \"{source}\"\n{more}");
        let direct = "[secrets.direct]\nsource = \"systemd:x\"\n";
        let others =
            "[targets.other]\nhttp = \"https://o\"\n[targets.program]\nprocess = \"/bin/p\"\n";
        let read = |inner: &str| {
            let inner = format!("[secrets.inner]\n{inner}");
            origin_among(&format!("{direct}{inner}{outer}{targets}\n{others}"))
        };
        for inner in ["age:s.age#x", "sops:s.yaml#x", "systemd:x", "env:X"] {
            let inner = format!("source = \"{inner}\"\n");
            read(&inner).unwrap_or_else(|mistake| panic!("{what}, {inner}: {mistake}"));
        }
        for inner in [
            format!("source = \"{source}\"\n{more}"),
            format!("source = \"vault:other\"\n{vault_keys}"),
            "source = \"exec:program\"\n".to_owned(),
        ] {
            let mistake = read(&inner).expect_err(what);
            assert!(mistake.contains("secret `inner`"), "{what}, {inner}: {mistake}");
        }
        let own = targets.replace("secret:inner", "secret:a");
        let mistake = origin_among(&format!("{direct}{outer}{own}\n")).expect_err(what);
        assert!(mistake.contains("secret `a` comes from target `t`"), "{what}: {mistake}");
    }
}

/// The host reads a secret with the grant of its source alone.
#[test]
fn a_secret_behind_a_gateway_is_granted_the_gateway() {
    let text = "[secrets.direct]\nsource = \"systemd:x\"\n[secrets.a]\nsource = \"vault:t\"\n\
                mount = \"kv\"\npath = \"p\"\nfield = \"f\"\n\
                [targets.t]\nhttp = \"https://v\"\nvia = \"b\"\n[targets.b]\nssh = \"b\"\n\
                user = \"u\"\nknown_hosts = \"k\"\nkey = \"secret:direct\"";
    let origin = origin_among(text).expect("no mistake");
    let grants = crate::grant::EffectiveGrants::of_source("a", &origin);
    let grant = grants.iter().next().expect("a grant");
    assert_eq!(grants.gateway_of(grant).map(|gateway| gateway.name.as_str()), Some("b"));
    assert_eq!(grants.secrets(), ["direct"]);
    assert!(grants.secret_origins().contains_key("direct"));
}
