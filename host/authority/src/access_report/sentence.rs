//! What one verb of a grant allows, in one plain sentence: every key of the target that says more
//! than its kind does.

use crate::capability::{Capability, Verb};
use crate::grant::{Effective, Grant};
use crate::pattern::{AddressClass, AddressPolicy};
use crate::scope::{AccessScope, Dimension, Text, Values};
use crate::targets::{
    DEFAULT_SOCKET, DockerTarget, HttpTarget, NO_NETWORK, NetTarget, PathView, ProcessTarget,
    SqlAddress, SqlTarget, Target, TargetKind, TlsMode,
};

/// The sentence of one verb.
pub(super) fn of(grant: &Grant, verb: Verb, effective: &Effective, scope: &AccessScope) -> String {
    let mut further = match &grant.target.kind {
        TargetKind::Http(http) => of_http(http),
        TargetKind::Sql(sql) => of_sql(sql),
        TargetKind::Docker(docker) => of_docker(docker, verb),
        TargetKind::Process(process) => {
            of_process(process, effective.lent(grant).map(AsRef::as_ref))
        }
        TargetKind::Net(net) => of_net(net, verb),
        TargetKind::Files(_) | TargetKind::Secret(_) => Vec::new(),
    };
    further.extend(of_secrets(grant, effective));
    let further: String = further.iter().map(|part| format!("; {part}")).collect();
    verb.row().sentence.replace("{}", &grant.target.describe())
        + &narrowed(scope, verb)
        + &variables(scope, verb)
        + &further
}

/// The secrets that the names in a grant stand for.
fn of_secrets(grant: &Grant, effective: &Effective) -> Vec<String> {
    let lent = effective.lent(grant).into_iter();
    let of = |target: &std::sync::Arc<Target>| -> Vec<(String, String)> {
        let named = |name: &str| Some((name.to_owned(), target.source_of(name, PathView::Opened)?));
        target.secrets().into_iter().filter_map(named).collect()
    };
    let named: std::collections::BTreeMap<_, _> =
        std::iter::once(&grant.target).chain(lent).flat_map(of).collect();
    named.into_iter().map(|(name, source)| format!("secret:{name} is {source}")).collect()
}

fn of_http(target: &HttpTarget) -> Vec<String> {
    let mut parts = Vec::new();
    let headers: Vec<String> = target.header_lines(PathView::Opened).collect();
    if !headers.is_empty() {
        parts.push(format!("with headers {}", headers.join(", ")));
    }
    if !target.request_headers.is_empty() {
        parts.push(format!("the plugin may set headers {}", target.request_headers.join(", ")));
    }
    parts.extend(of_addresses(&target.addresses));
    if target.redirects > 0 {
        parts.push(format!("following up to {} redirects", target.redirects));
    }
    parts.extend(target.tls_keys.sentences(PathView::Opened));
    parts
}

/// Which addresses a name may lead to, if not public ones alone.
fn of_addresses(policy: &AddressPolicy) -> Option<String> {
    if policy.classes == [AddressClass::Public] && policy.blocks.is_empty() {
        return None;
    }
    let classes: Vec<_> = policy.classes.iter().map(|class| class.name()).collect();
    let blocks: Vec<_> = policy.blocks.iter().map(ToString::to_string).collect();
    Some(match (classes.is_empty(), blocks.is_empty()) {
        (true, true) => "at no addresses".to_owned(),
        (false, true) => format!("at addresses that are {}", classes.join(", ")),
        (true, false) => format!("at addresses in {}", blocks.join(", ")),
        (false, false) => {
            format!("at addresses that are {} or in {}", classes.join(", "), blocks.join(", "))
        }
    })
}

fn of_sql(target: &SqlTarget) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(of_addresses(&target.addresses).filter(|_| target.server().is_some()));
    if let Some(mode) =
        target.address.tls_to_elsewhere().filter(|mode| *mode != TlsMode::VerifyFull)
    {
        parts.push(format!("sslmode {}, so the server is not verified", mode.name()));
    }
    parts.extend(target.tls_keys.sentences(PathView::Opened));
    if let Some(password) = &target.password {
        parts.push(format!("with password secret:{password}"));
    }
    if target.superuser {
        parts.push("also as a superuser".to_owned());
    }
    if target.create && matches!(target.address, SqlAddress::File(_)) {
        parts.push("making the file if it is not there".to_owned());
    }
    parts
}

fn of_docker(target: &DockerTarget, verb: Verb) -> Vec<String> {
    let mut parts = Vec::new();
    if target.socket != DEFAULT_SOCKET {
        parts.push(format!("of the engine at {}", target.socket));
    }
    if verb == Verb::DockerCreate && target.network != NO_NETWORK {
        parts.push(format!("on network {}", target.network));
    }
    parts
}

fn of_process(target: &ProcessTarget, lent: Option<&Target>) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(connection) = lent {
        let mut connected = vec![format!("connected to {}", connection.describe())];
        connected.extend(connection.sql().into_iter().flat_map(of_sql));
        parts.push(connected.join(", "));
    }
    for (verb, paths) in [("reads", &target.reads), ("writes", &target.writes)] {
        let Some(paths) = paths else { continue };
        let named: Vec<_> = paths.iter().map(ToString::to_string).collect();
        parts.push(if named.is_empty() {
            format!("it {verb} no file")
        } else {
            format!("it {verb} only {}", named.join(", "))
        });
    }
    if target.network {
        parts.push("it may make any connection".to_owned());
    }
    if target.signals {
        parts.push("it may send signals to processes that it did not start".to_owned());
    }
    if let Some(directory) = &target.directory {
        parts.push(format!("in directory {directory}"));
    }
    if let Some(digest) = &target.sha256 {
        parts.push(format!("whose file is {digest}"));
    }
    if let Some(digest) = &target.interpreter_sha256 {
        parts.push(format!("read by {digest}"));
    }
    parts
}

fn of_net(target: &NetTarget, verb: Verb) -> Vec<String> {
    let mut parts = Vec::new();
    if verb == Verb::NetLookup {
        parts.extend(target.resolver.map(|resolver| format!("by the resolver {resolver}")));
        return parts;
    }
    parts.extend(of_addresses(&target.addresses));
    if verb == Verb::NetInspectTls {
        parts.extend(target.tls_keys.sentences(PathView::Opened));
    }
    parts
}

/// Whether a dimension says something of a verb.
type IsRelevant = fn(Verb) -> bool;

/// What makes a grant narrower than its target's description says: `, only paths /health`.
fn narrowed(scope: &AccessScope, verb: Verb) -> String {
    /// The dimensions that are told, and of which verbs.
    const TELLING: &[(Dimension, IsRelevant)] = &[
        (Dimension::Paths, |_| true),
        (Dimension::Statements, |verb| !matches!(verb, Verb::SqlBackup | Verb::SqlRestore)),
        (Dimension::Relations, |_| true),
        (Dimension::Images, |verb| {
            matches!(verb, Verb::DockerPull | Verb::DockerTag | Verb::DockerCreate)
        }),
        (Dimension::Commands, |verb| matches!(verb, Verb::DockerExec | Verb::DockerCreate)),
        (Dimension::Arguments, |_| true),
        (Dimension::Positions, |_| true),
        (Dimension::Send, |verb| verb == Verb::NetConnect),
        (Dimension::Names, |verb| verb == Verb::NetLookup),
    ];
    let is_open = |dimension: Dimension, values: &Values| match values {
        Values::Texts(texts) if dimension == Dimension::Statements => {
            texts.len() == crate::pattern::StatementClass::names().len()
        }
        Values::Texts(texts) => texts.iter().any(is_everything),
        Values::Addresses { .. } | Values::Arguments(_) | Values::AtMost(_) => false,
    };
    let parts: Vec<_> = TELLING
        .iter()
        .filter(|(_, is_told)| is_told(verb))
        .filter_map(|(dimension, _)| scope.get(*dimension).map(|values| (*dimension, values)))
        .filter(|(dimension, values)| !is_open(*dimension, values))
        .map(|(dimension, values)| (dimension.key(), values.words(dimension.row().shape)))
        .collect();
    let (none, some): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(_, words)| words.is_empty());
    let some: Vec<_> =
        some.iter().map(|(key, words)| format!("{key} {}", words.join(" "))).collect();
    let only = if some.is_empty() { String::new() } else { format!("; only {}", some.join(", ")) };
    let none: Vec<_> = none.iter().map(|(key, _)| format!("no {key}")).collect();
    let no = if none.is_empty() { String::new() } else { format!("; {}", none.join(", ")) };
    only + &no
}

/// The variables that a program gets: `; with environment LANG=C, TOKEN=secret:token`. In a
/// container the plugin sets them.
fn variables(scope: &AccessScope, verb: Verb) -> String {
    let words = scope
        .get(Dimension::Environment)
        .map(|values| values.words(Dimension::Environment.row().shape));
    let how = match scope.capability {
        Capability::Docker if verb == Verb::DockerCreate => "the plugin may set environment",
        Capability::Process => "with environment",
        Capability::Docker
        | Capability::Files
        | Capability::Http
        | Capability::Net
        | Capability::Secrets
        | Capability::Sql
        | Capability::State
        | Capability::System => return String::new(),
    };
    words
        .filter(|words| !words.is_empty())
        .map(|words| format!("; {how} {}", words.join(", ")))
        .unwrap_or_default()
}

fn is_everything(text: &Text) -> bool {
    match text {
        Text::Any => true,
        Text::Path { pattern, .. } => pattern == "/**",
        Text::Exact(_) | Text::Glob(_) | Text::Directory(_) | Text::PlainVariable => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::{effective, effective_for, effective_with};
    use crate::targets::fields::{MINIMAL_TARGETS, known_keys};
    use std::collections::BTreeSet;

    /// Where a key stands.
    enum In {
        /// With this line (beside the least target of its kind), the sentence of some verb holds
        /// this.
        Sentence(&'static str, &'static str),
        /// It is not part of the sentence, for this reason.
        Elsewhere(&'static str),
    }

    const LIMIT: In = In::Elsewhere(
        "a limit of size, count or time: it widens nothing, and stands in the JSON and the \
         lockfile",
    );
    const VERBS: In = In::Elsewhere("each verb is a row of its own");
    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    const KEYS: &[(Capability, &str, In)] = &[
        (Capability::Http, "http", In::Sentence("", "http://api.internal")),
        (Capability::Http, "paths", In::Sentence("paths = [\"/health\"]", "only paths /health")),
        (
            Capability::Http,
            "request_headers",
            In::Sentence("request_headers = [\"x-admin\"]", "the plugin may set headers x-admin"),
        ),
        (
            Capability::Http,
            "headers",
            In::Sentence(
                "headers = { X-Tenant = \"a\", Authorization = \"Bearer secret:token\" }",
                "with headers authorization: Bearer secret:token, x-tenant: a",
            ),
        ),
        (
            Capability::Http,
            "auth",
            In::Sentence(
                "auth = { basic = { user = \"a\", password = \"secret:b\" } }",
                "with headers authorization: Basic a:secret:b",
            ),
        ),
        (
            Capability::Http,
            "addresses",
            In::Sentence("addresses = [\"private\"]", "at addresses that are private"),
        ),
        (
            Capability::Http,
            "redirects",
            In::Sentence("redirects = 3", "following up to 3 redirects"),
        ),
        (Capability::Http, "max_body", LIMIT),
        (Capability::Http, "timeout", LIMIT),
        (
            Capability::Http,
            "ca",
            In::Sentence(
                "http = \"https://h\"\nca = \"ca.pem\"",
                "believing the authorities of /base/ca.pem alone",
            ),
        ),
        (
            Capability::Http,
            "client_cert",
            In::Sentence(
                "http = \"https://h\"\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "showing the certificate /base/a.pem with the key /base/a.key",
            ),
        ),
        (
            Capability::Http,
            "client_key",
            In::Sentence(
                "http = \"https://h\"\nclient_cert = \"a.pem\"\nclient_key = \"secret:k\"",
                "with the key secret:k",
            ),
        ),
        (Capability::Http, "verbs", VERBS),
        (
            Capability::Sql,
            "sql",
            In::Sentence(
                "sql = \"postgres://a@h/d?sslmode=require\"",
                "as a; sslmode require, so the server is not verified",
            ),
        ),
        (
            Capability::Sql,
            "addresses",
            In::Sentence("addresses = [\"private\"]", "at addresses that are private"),
        ),
        (
            Capability::Sql,
            "ca",
            In::Sentence(
                "sql = \"postgres://a@h/d?sslmode=verify-full\"\nca = \"ca.pem\"",
                "believing the authorities of /base/ca.pem alone",
            ),
        ),
        (
            Capability::Sql,
            "client_cert",
            In::Sentence(
                "sql = \"postgres://a@h/d?sslmode=require\"\n\
                 client_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "showing the certificate /base/a.pem with the key /base/a.key",
            ),
        ),
        (
            Capability::Sql,
            "client_key",
            In::Sentence(
                "sql = \"postgres://a@h/d?sslmode=require\"\n\
                 client_cert = \"a.pem\"\nclient_key = \"secret:k\"",
                "with the key secret:k",
            ),
        ),
        (
            Capability::Sql,
            "password",
            In::Sentence("password = \"secret:pw\"", "with password secret:pw"),
        ),
        (
            Capability::Sql,
            "statements",
            In::Sentence("statements = [\"select\"]", "only statements select"),
        ),
        (
            Capability::Sql,
            "relations",
            In::Sentence("relations = [\"orders\"]", "only relations orders"),
        ),
        (Capability::Sql, "superuser", In::Sentence("superuser = true", "also as a superuser")),
        (
            Capability::Sql,
            "create",
            In::Sentence(
                "sql = \"sqlite:x.db\"\ncreate = true",
                "making the file if it is not there",
            ),
        ),
        (Capability::Sql, "max_rows", LIMIT),
        (Capability::Sql, "max_bytes", LIMIT),
        (Capability::Sql, "max_copy", LIMIT),
        (Capability::Sql, "timeout", LIMIT),
        (Capability::Sql, "verbs", VERBS),
        (
            Capability::Docker,
            "docker",
            In::Sentence("docker = { label = \"role=api\" }", "role=api"),
        ),
        (
            Capability::Docker,
            "socket",
            In::Sentence("socket = \"/run/other.sock\"", "of the engine at /run/other.sock"),
        ),
        (Capability::Docker, "images", In::Sentence("images = [\"api:*\"]", "only images api:*")),
        (Capability::Docker, "command", In::Sentence("command = [\"ls\"]", "commands [\"ls\"]")),
        (
            Capability::Docker,
            "environment",
            In::Sentence(
                "environment = [\"MODE\", \"LEVEL=debug\"]",
                "the plugin may set environment LEVEL=debug, MODE=*",
            ),
        ),
        (Capability::Docker, "network", In::Sentence("network = \"shop\"", "on network shop")),
        (Capability::Docker, "memory", LIMIT),
        (Capability::Docker, "pids", LIMIT),
        (Capability::Docker, "verbs", VERBS),
        (Capability::Files, "files", In::Sentence("", "directory /base/x")),
        (Capability::Files, "access", VERBS),
        (Capability::Files, "max_bytes", LIMIT),
        (Capability::Files, "verbs", VERBS),
        (Capability::Process, "process", In::Sentence("", "program /bin/x")),
        (
            Capability::Process,
            "sha256",
            In::Sentence("sha256 = \"DIGEST\"", "whose file is DIGEST"),
        ),
        (
            Capability::Process,
            "interpreter_sha256",
            In::Sentence("sha256 = \"DIGEST\"\ninterpreter_sha256 = \"DIGEST\"", "read by DIGEST"),
        ),
        (Capability::Process, "read_only", VERBS),
        (
            Capability::Process,
            "reads",
            In::Sentence("reads = [\"/etc/app\", \"data\"]", "it reads only /etc/app, /base/data"),
        ),
        (Capability::Process, "writes", In::Sentence("writes = []", "it writes no file")),
        (Capability::Process, "memory", LIMIT),
        (Capability::Process, "cpu", LIMIT),
        (
            Capability::Process,
            "network",
            In::Sentence("network = true", "it may make any connection"),
        ),
        (
            Capability::Process,
            "signals",
            In::Sentence("signals = true", "it may send signals to processes"),
        ),
        (
            Capability::Process,
            "arguments",
            In::Sentence("arguments = [\"-a\"]", "only arguments [\"-a\"]"),
        ),
        (
            Capability::Process,
            "environment",
            In::Sentence("environment = { A = \"b\" }", "with environment A=b"),
        ),
        (
            Capability::Process,
            "directory",
            In::Sentence("directory = \"/srv\"", "in directory /srv"),
        ),
        (
            Capability::Process,
            "connection",
            In::Sentence(
                "connection = \"lent\"",
                "connected to database pay on db.internal:5432 as root, sslmode prefer, so the \
                 server is not verified, with password secret:pw",
            ),
        ),
        (Capability::Process, "max_output", LIMIT),
        (Capability::Process, "timeout", LIMIT),
        (Capability::Process, "verbs", VERBS),
        (Capability::Secrets, "secret", In::Sentence("", "secret `token`")),
        (
            Capability::Secrets,
            "positions",
            In::Sentence(
                "positions = [{ slot = \"s\", header = \"x-a\" }]",
                "only positions s x-a",
            ),
        ),
        (Capability::Secrets, "verbs", VERBS),
        (Capability::Net, "net", In::Sentence("", "looks up h")),
        (
            Capability::Net,
            "ports",
            In::Sentence("ports = [25, 587]", "connections to h, ports 25, 587"),
        ),
        (
            Capability::Net,
            "addresses",
            In::Sentence(
                "ports = [25]\naddresses = [\"private\"]",
                "at addresses that are private",
            ),
        ),
        (
            Capability::Net,
            "ca",
            In::Sentence(
                "ports = [443]\nca = \"ca.pem\"",
                "believing the authorities of /base/ca.pem alone",
            ),
        ),
        (
            Capability::Net,
            "send",
            In::Sentence("ports = [6379]\nsend = [\"PING\"]", "only send PING"),
        ),
        (
            Capability::Net,
            "names",
            In::Sentence("names = [\"*.example.com\"]", "only names *.example.com"),
        ),
        (
            Capability::Net,
            "resolver",
            In::Sentence("resolver = \"10.0.0.53\"", "by the resolver 10.0.0.53:53"),
        ),
        (Capability::Net, "max_bytes", LIMIT),
        (Capability::Net, "max_records", LIMIT),
        (Capability::Net, "timeout", LIMIT),
        (Capability::Net, "verbs", VERBS),
    ];

    fn sentences(capability: Capability, target: &str) -> Vec<String> {
        let effective = if target.contains("lent") {
            effective_with(
                target,
                "[targets.lent]\nsql = \"postgres://root@db.internal/pay\"\n\
                 password = \"secret:pw\"\n",
            )
        } else if capability == Capability::Net && !target.contains("ports") {
            effective_for("net", &["lookup"], target)
        } else if capability == Capability::Files {
            effective_for("files", &["read"], target)
        } else {
            effective(capability.name(), target)
        };
        let grant = effective.get("s").expect("bound");
        let scope = AccessScope::of("p", grant, &effective, PathView::Opened);
        grant.verbs.iter().map(|verb| of(grant, *verb, &effective, &scope)).collect()
    }

    #[test]
    fn every_key_of_every_target_stands_in_the_row_of_a_review_or_is_listed_with_the_reason() {
        for (capability, kind, least) in MINIMAL_TARGETS {
            let listed: BTreeSet<String> = KEYS
                .iter()
                .filter(|(of, ..)| of == capability)
                .map(|(_, key, _)| (*key).to_owned())
                .collect();
            assert_eq!(known_keys(least), listed, "{capability}");
            for (_, key, place) in KEYS.iter().filter(|(of, ..)| of == capability) {
                let (line, words) = match place {
                    In::Sentence(line, words) => {
                        (line.replace("DIGEST", DIGEST), words.replace("DIGEST", DIGEST))
                    }
                    In::Elsewhere(reason) => {
                        assert!(reason.len() > 20, "{capability} {key}");
                        continue;
                    }
                };
                let is_whole = line.starts_with(&format!("{kind} ="));
                let with = sentences(
                    *capability,
                    &if is_whole { line.clone() } else { format!("{least}\n{line}") },
                );
                assert!(
                    with.iter().any(|sentence| sentence.contains(&words)),
                    "{capability} {key}: {with:#?}"
                );
                if !line.is_empty() {
                    let without = sentences(*capability, least);
                    assert!(
                        !without.iter().any(|sentence| sentence.contains(&words)),
                        "{capability} {key}: {without:#?}"
                    );
                }
            }
        }
    }
}
