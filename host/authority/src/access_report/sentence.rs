//! The sentence of one verb of a grant: what it allows, with every key of the target that widens or
//! limits it.

use crate::capability::{Capability, Verb};
use crate::grant::{EffectiveGrants, Grant};
use crate::pattern::{AddressClass, AddressPolicy};
use crate::scope::{AccessScope, Dimension, Text, Values};
use crate::targets::{
    DockerTarget, FilesTarget, Gateway, HttpTarget, MailTarget, NO_NETWORK, NameResolution,
    NetTarget, ObjectsTarget, PathView, ProcessTarget, RedisTarget, SYSTEM_BUS, SqlAddress,
    SqlTarget, SystemTarget, Target, TargetKind, TlsMode, asks_systemd, changes_units,
};

/// What one verb of a grant allows, in one plain sentence.
pub(super) fn verb_sentence(
    grant: &Grant,
    verb: Verb,
    grants: &EffectiveGrants,
    scope: &AccessScope,
) -> String {
    let mut extra_parts = match &grant.target.kind {
        TargetKind::Http(http) => http_parts(http, verb),
        TargetKind::Sql(sql) => sql_parts(sql),
        TargetKind::Docker(docker) => docker_parts(docker, verb),
        TargetKind::Process(process) => {
            process_parts(process, verb, grants.connection_of(grant).map(AsRef::as_ref))
        }
        TargetKind::Net(net) => net_parts(net, verb),
        TargetKind::Redis(redis) => redis_parts(redis),
        TargetKind::Objects(objects) => objects_parts(objects, verb),
        TargetKind::Mail(mail) => mail_parts(mail),
        TargetKind::System(system) => system_parts(system, verb),
        TargetKind::Files(files) => files_parts(files, scope, verb),
        TargetKind::Secret(_) => Vec::new(),
    };
    if let Some(gateway) = grants.gateway_of(grant) {
        extra_parts.push(gateway_part(&grant.target, gateway));
    }
    extra_parts.extend(secret_parts(grant, grants));
    let extra_parts: String = extra_parts.iter().map(|part| format!("; {part}")).collect();
    verb.row().sentence.replace("{}", &grant.target.describe())
        + &limits_part(scope, verb)
        + &variables_part(scope, verb)
        + &extra_parts
}

/// The gateway that the connections go through, and what cannot be judged because of it.
fn gateway_part(target: &Target, gateway: &Gateway) -> String {
    let addresses = address_part(gateway.addresses())
        .map_or_else(String::new, |addresses| format!(" {addresses}"));
    let mut part = format!("through {}{addresses}", gateway.identity(PathView::OnThisHost));
    if target.via.as_ref().is_some_and(|via| via.resolution == NameResolution::Remote) {
        part += ", which resolves the name, so that its addresses cannot be judged";
    }
    part
}

/// The sources of the secrets that a grant names.
fn secret_parts(grant: &Grant, grants: &EffectiveGrants) -> Vec<String> {
    let connection = grants.connection_of(grant).into_iter();
    let sources_of = |target: &std::sync::Arc<Target>| -> Vec<(String, String)> {
        let named_source =
            |name: &str| Some((name.to_owned(), target.source_of(name, PathView::OnThisHost)?));
        target.secrets().into_iter().filter_map(named_source).collect()
    };
    let of_gateway = grants.gateway_of(grant).map_or_else(Vec::new, |gateway| {
        let names = gateway.secrets().into_iter().map(str::to_owned);
        names.zip(gateway.secret_sources(PathView::OnThisHost)).collect()
    });
    let named_source: std::collections::BTreeMap<_, _> = std::iter::once(&grant.target)
        .chain(connection)
        .flat_map(sources_of)
        .chain(of_gateway)
        .collect();
    named_source.into_iter().map(|(name, source)| format!("secret:{name} is {source}")).collect()
}

fn http_parts(target: &HttpTarget, verb: Verb) -> Vec<String> {
    let mut parts = Vec::new();
    let headers: Vec<String> = target.header_lines(PathView::OnThisHost).collect();
    if !headers.is_empty() {
        parts.push(format!("with headers {}", headers.join(", ")));
    }
    let chooses_request = verb != Verb::HttpHealth;
    if chooses_request && !target.request_headers.is_empty() {
        parts.push(format!("the plugin may set headers {}", target.request_headers.join(", ")));
    }
    parts.extend(address_part(&target.addresses));
    if chooses_request && target.redirects > 0 {
        let redirects = if target.redirects == 1 { "redirect" } else { "redirects" };
        parts.push(format!("following up to {} {redirects}", target.redirects));
    }
    if chooses_request && !target.redirect_origins.is_empty() {
        let origins: Vec<_> =
            target.redirect_origins.iter().map(|url| url.origin().ascii_serialization()).collect();
        parts.push(format!("of a read also to {}, where no secret goes", origins.join(", ")));
    }
    if chooses_request && target.cookies {
        parts.push("sending the cookies of the server back to it".to_owned());
    }
    parts.extend(target.tls_keys.sentences(PathView::OnThisHost));
    parts
}

/// The allowed classes and blocks of addresses; `None` if only public ones are allowed.
fn address_part(policy: &AddressPolicy) -> Option<String> {
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

fn sql_parts(target: &SqlTarget) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(address_part(&target.addresses).filter(|_| target.server().is_some()));
    if let Some(mode) = target.address.remote_tls_mode().filter(|mode| *mode != TlsMode::VerifyFull)
    {
        parts.push(format!("sslmode {}, so the server is not verified", mode.name()));
    }
    parts.extend(target.tls_keys.sentences(PathView::OnThisHost));
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

fn docker_parts(target: &DockerTarget, verb: Verb) -> Vec<String> {
    let mut parts = vec![target.endpoint.sentence()];
    if let Some(server) = target.endpoint.server() {
        parts.extend(address_part(&server.addresses));
        let keys = server.tls.as_ref();
        parts.extend(keys.into_iter().flat_map(|keys| keys.sentences(PathView::OnThisHost)));
    }
    if verb == Verb::DockerCreate && target.network != NO_NETWORK {
        parts.push(format!("on network {}", target.network));
    }
    parts
}

fn process_parts(target: &ProcessTarget, verb: Verb, connection: Option<&Target>) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(connection) = connection {
        let mut connection_parts = vec![format!("connected to {}", connection.describe())];
        connection_parts.extend(connection.sql().into_iter().flat_map(sql_parts));
        parts.push(connection_parts.join(", "));
        if connection.sql().is_some_and(SqlTarget::is_reached_by_unix_socket) && !target.network {
            parts.push("it may connect to every Unix socket of this host".to_owned());
        }
    }
    let unlimited: Vec<_> = [("read", &target.reads), ("write", &target.writes)]
        .into_iter()
        .filter(|(_, paths)| paths.is_none())
        .map(|(verb, _)| verb)
        .collect();
    if !unlimited.is_empty() && verb == Verb::ProcessRun {
        let verbs = unlimited.join(" and ");
        parts.push(format!("it may {verbs} every file that its user may"));
    }
    for (verb, paths) in [("reads", &target.reads), ("writes", &target.writes)] {
        let Some(paths) = paths else { continue };
        let named: Vec<_> = paths.iter().map(ToString::to_string).collect();
        parts.push(if named.is_empty() {
            format!("it {verb} no file but those that every program needs")
        } else {
            format!("it {verb} only {}", named.join(", "))
        });
    }
    if target.network {
        parts.push("it may make any connection".to_owned());
    }
    if target.signals {
        parts.push(
            "it may send signals to processes that it did not start, change their limits and \
                    share memory with them"
                .to_owned(),
        );
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

fn net_parts(target: &NetTarget, verb: Verb) -> Vec<String> {
    let mut parts = Vec::new();
    let is_any = |patterns: &[String]| patterns.iter().any(|pattern| pattern == "*");
    if verb == Verb::NetLookup {
        if is_any(&target.names) {
            parts.push("any other name too".to_owned());
        }
        parts.extend(target.resolver.map(|resolver| format!("by the resolver {resolver}")));
        return parts;
    }
    if verb == Verb::NetConnect && is_any(&target.questions) {
        parts.push("saying any line".to_owned());
    }
    parts.extend(address_part(&target.addresses));
    if verb == Verb::NetInspectTls {
        parts.extend(target.tls_keys.sentences(PathView::OnThisHost));
    }
    parts
}

fn system_parts(target: &SystemTarget, verb: Verb) -> Vec<String> {
    if asks_systemd(verb) && target.bus.unresolved().as_os_str() != SYSTEM_BUS {
        return vec![format!("by the bus at {}", target.bus)];
    }
    if verb == Verb::SystemPorts {
        return vec![if target.processes.is_empty() {
            "every port, without the processes that have them".to_owned()
        } else {
            let names = target.processes.join(", ");
            format!("every port; of the processes that have them, only {names}")
        }];
    }
    if verb == Verb::SystemProcesses && target.process_arguments {
        vec!["with the arguments that they were started with".to_owned()]
    } else {
        Vec::new()
    }
}

fn files_parts(target: &FilesTarget, scope: &AccessScope, verb: Verb) -> Vec<String> {
    let age = scope.get(Dimension::MinAge).filter(|_| !target.min_age.is_zero());
    match age {
        Some(age) if verb == Verb::FilesRemove => {
            let age = age.words(Dimension::MinAge.row().shape).concat();
            vec![format!("only those older than {age}")]
        }
        Some(_) | None => Vec::new(),
    }
}

fn redis_parts(target: &RedisTarget) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(address_part(&target.addresses));
    if target.is_exposed() {
        parts.push("without encryption, so the server is not verified".to_owned());
    }
    parts.extend(target.tls_keys.sentences(PathView::OnThisHost));
    if let Some(password) = &target.password {
        parts.push(format!("with password secret:{password}"));
    }
    let Some(commands) = &target.commands else { return parts };
    let exact: Vec<_> = target.exact_commands().collect();
    if !commands.iter().any(|pattern| pattern == "*") {
        let commands = if commands.is_empty() { "none".to_owned() } else { commands.join(", ") };
        parts.push(format!("only commands {commands}"));
    } else if !exact.is_empty() {
        parts.push(format!("also with {}", exact.join(", ")));
    }
    parts
}

fn objects_parts(target: &ObjectsTarget, verb: Verb) -> Vec<String> {
    let mut parts = vec![format!("with headers {}", target.header_line(PathView::OnThisHost))];
    parts.extend(address_part(&target.addresses));
    parts.extend(target.tls_keys.sentences(PathView::OnThisHost));
    if let (Verb::ObjectsPut, Some(class)) = (verb, &target.storage_class) {
        parts.push(format!("in storage class {class}"));
    }
    parts
}

fn mail_parts(target: &MailTarget) -> Vec<String> {
    let mut parts = vec![format!("from {} to {}", target.from, target.to.join(", "))];
    parts.extend(address_part(&target.addresses));
    if target.is_exposed() {
        parts.push("without encryption, so the server is not verified".to_owned());
    }
    parts.extend(target.tls_keys.sentences(PathView::OnThisHost));
    if let Some(password) = target.password() {
        parts.push(format!("with password secret:{password}"));
    }
    let count = match target.max_messages {
        1 => "one message".to_owned(),
        count => format!("{count} messages"),
    };
    parts.push(format!("at most {count} in one call of the plugin"));
    parts
}

/// Whether the values of a dimension matter for a verb.
type IsRelevant = fn(Verb) -> bool;

/// The limits of a grant beyond the description of its target: `; only paths /health`.
fn limits_part(scope: &AccessScope, verb: Verb) -> String {
    /// The dimensions that the sentence shows, and for which verbs.
    const SHOWN_DIMENSIONS: &[(Dimension, IsRelevant)] = &[
        (Dimension::Paths, |verb| verb != Verb::HttpHealth),
        (Dimension::Services, |verb| verb == Verb::HttpHealth),
        (Dimension::Statements, |verb| !matches!(verb, Verb::SqlBackup | Verb::SqlRestore)),
        (Dimension::Relations, |_| true),
        (Dimension::Images, |verb| {
            matches!(verb, Verb::DockerPull | Verb::DockerTag | Verb::DockerCreate)
        }),
        (Dimension::Commands, |verb| matches!(verb, Verb::DockerExec | Verb::DockerCreate)),
        (Dimension::Arguments, |_| true),
        (Dimension::Positions, |_| true),
        (Dimension::Recipients, |verb| verb == Verb::SecretsRotate),
        (Dimension::Questions, |verb| verb == Verb::NetConnect),
        (Dimension::Names, |verb| verb == Verb::NetLookup),
        (Dimension::Keys, |_| true),
        (Dimension::Mounts, |_| true),
        (Dimension::Processes, |verb| verb != Verb::SystemPorts),
        (Dimension::Units, |verb| verb == Verb::SystemUnits),
        (Dimension::Control, changes_units),
        (Dimension::FilePatterns, |_| true),
    ];
    let is_unlimited = |dimension: Dimension, values: &Values| match values {
        Values::Texts(texts) if dimension == Dimension::Statements => {
            texts.len() == crate::pattern::StatementClass::names().len()
        }
        Values::Texts(texts) => texts.iter().any(is_everything),
        Values::AtLeast(age) => *age == 0,
        Values::Addresses { .. } | Values::Arguments(_) | Values::AtMost(_) => false,
    };
    let parts: Vec<_> = SHOWN_DIMENSIONS
        .iter()
        .filter(|(_, is_relevant)| is_relevant(verb))
        .filter_map(|(dimension, _)| scope.get(*dimension).map(|values| (*dimension, values)))
        .filter(|(dimension, values)| !is_unlimited(*dimension, values))
        .map(|(dimension, values)| (dimension.key(), values.words(dimension.row().shape)))
        .collect();
    let (empty_dimensions, limited_dimensions): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|(_, words)| words.is_empty());
    let limited_dimensions: Vec<_> = limited_dimensions
        .iter()
        .map(|(key, words)| {
            // A position is several words.
            let separator = if *key == Dimension::Positions.key() { ", " } else { " " };
            format!("{key} {}", words.join(separator))
        })
        .collect();
    let limits_text = if limited_dimensions.is_empty() {
        String::new()
    } else {
        format!("; only {}", limited_dimensions.join(", "))
    };
    let empty_dimensions: Vec<_> =
        empty_dimensions.iter().map(|(key, _)| format!("no {key}")).collect();
    let empty_text = if empty_dimensions.is_empty() {
        String::new()
    } else {
        format!("; {}", empty_dimensions.join(", "))
    };
    limits_text + &empty_text
}

/// The variables that a program gets: `; with environment LANG=C, TOKEN=secret:token`. In a
/// container the plugin sets them.
fn variables_part(scope: &AccessScope, verb: Verb) -> String {
    let words = scope
        .get(Dimension::Environment)
        .map(|values| values.words(Dimension::Environment.row().shape));
    let introduction = match scope.capability {
        Capability::Docker if verb == Verb::DockerCreate => "the plugin may set environment",
        Capability::Process => "with environment",
        Capability::Docker
        | Capability::Files
        | Capability::Http
        | Capability::Mail
        | Capability::Net
        | Capability::Redis
        | Capability::Objects
        | Capability::Secrets
        | Capability::Sql
        | Capability::State
        | Capability::System => return String::new(),
    };
    words
        .filter(|words| !words.is_empty())
        .map(|words| format!("; {introduction} {}", words.join(", ")))
        .unwrap_or_default()
}

fn is_everything(text: &Text) -> bool {
    match text {
        Text::Any => true,
        Text::Path { pattern, .. } => pattern == "/**",
        Text::Command(pattern) => pattern == "*",
        Text::Exact(_) | Text::Glob(_) | Text::Directory(_) | Text::HarmlessVariable => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::{grants, grants_with_verbs, process_grants};
    use crate::targets::fields::{MINIMAL_TARGETS, known_keys};
    use std::collections::BTreeSet;

    /// Whether the sentence of a verb shows a key.
    enum SentenceCoverage {
        /// With this line added to the minimal target of its kind, the sentence of some verb
        /// contains this text.
        Sentence(&'static str, &'static str),
        /// The sentence does not show the key, for this reason.
        NotShown(&'static str),
    }

    const LIMIT: SentenceCoverage = SentenceCoverage::NotShown(
        "a limit of size, count or time: it widens nothing, and stands in the JSON and the \
         lockfile",
    );
    const VERBS: SentenceCoverage = SentenceCoverage::NotShown("each verb is a row of its own");
    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    const KEYS: &[(Capability, &str, SentenceCoverage)] = &[
        (Capability::Http, "http", SentenceCoverage::Sentence("", "http://api.internal")),
        (
            Capability::Http,
            "paths",
            SentenceCoverage::Sentence("paths = [\"/health\"]", "only paths /health"),
        ),
        (
            Capability::Http,
            "request_headers",
            SentenceCoverage::Sentence(
                "request_headers = [\"x-admin\"]",
                "the plugin may set headers x-admin",
            ),
        ),
        (
            Capability::Http,
            "headers",
            SentenceCoverage::Sentence(
                "headers = { X-Tenant = \"a\", Authorization = \"Bearer secret:token\" }",
                "with headers authorization: Bearer secret:token, x-tenant: a",
            ),
        ),
        (
            Capability::Http,
            "auth",
            SentenceCoverage::Sentence(
                "auth = { basic = { user = \"a\", password = \"secret:b\" } }",
                "with headers authorization: Basic a:secret:b",
            ),
        ),
        (
            Capability::Http,
            "addresses",
            SentenceCoverage::Sentence(
                "addresses = [\"private\"]",
                "at addresses that are private",
            ),
        ),
        (
            Capability::Http,
            "redirects",
            SentenceCoverage::Sentence("redirects = 3", "following up to 3 redirects"),
        ),
        (
            Capability::Http,
            "redirect_origins",
            SentenceCoverage::Sentence(
                "redirects = 1\nredirect_origins = [\"https://cdn.example\"]",
                "of a read also to https://cdn.example, where no secret goes",
            ),
        ),
        (
            Capability::Http,
            "services",
            SentenceCoverage::Sentence(
                "services = [\"orders.v1.Orders\"]",
                "only services orders.v1.Orders",
            ),
        ),
        (
            Capability::Http,
            "cookies",
            SentenceCoverage::Sentence(
                "cookies = true",
                "sending the cookies of the server back to it",
            ),
        ),
        (
            Capability::Http,
            "socket",
            SentenceCoverage::Sentence(
                "socket = \"/run/app.sock\"",
                "http://api.internal through the socket /run/app.sock",
            ),
        ),
        (Capability::Http, "max_body", LIMIT),
        (Capability::Http, "timeout", LIMIT),
        (
            Capability::Http,
            "ca",
            SentenceCoverage::Sentence(
                "http = \"https://h\"\nca = \"ca.pem\"",
                "trusting only the authorities of /base/ca.pem",
            ),
        ),
        (
            Capability::Http,
            "client_cert",
            SentenceCoverage::Sentence(
                "http = \"https://h\"\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "showing the certificate /base/a.pem with the key /base/a.key",
            ),
        ),
        (
            Capability::Http,
            "client_key",
            SentenceCoverage::Sentence(
                "http = \"https://h\"\nclient_cert = \"a.pem\"\nclient_key = \"secret:k\"",
                "with the key secret:k",
            ),
        ),
        (
            Capability::Http,
            "via",
            SentenceCoverage::Sentence(
                "http = \"https://h\"\nvia = \"bastion\"",
                "through ssh ops@10.0.0.5:22 with host key SHA256:",
            ),
        ),
        (
            Capability::Http,
            "remote_dns",
            SentenceCoverage::Sentence(
                "http = \"https://h\"\nvia = \"bastion\"\nremote_dns = true",
                "which resolves the name, so that its addresses cannot be judged",
            ),
        ),
        (Capability::Http, "verbs", VERBS),
        (
            Capability::Sql,
            "sql",
            SentenceCoverage::Sentence(
                "sql = \"postgres://a@h/d?sslmode=require\"",
                "as a; sslmode require, so the server is not verified",
            ),
        ),
        (
            Capability::Sql,
            "addresses",
            SentenceCoverage::Sentence(
                "addresses = [\"private\"]",
                "at addresses that are private",
            ),
        ),
        (
            Capability::Sql,
            "ca",
            SentenceCoverage::Sentence(
                "sql = \"postgres://a@h/d?sslmode=verify-full\"\nca = \"ca.pem\"",
                "trusting only the authorities of /base/ca.pem",
            ),
        ),
        (
            Capability::Sql,
            "client_cert",
            SentenceCoverage::Sentence(
                "sql = \"postgres://a@h/d?sslmode=require\"\n\
                 client_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "showing the certificate /base/a.pem with the key /base/a.key",
            ),
        ),
        (
            Capability::Sql,
            "client_key",
            SentenceCoverage::Sentence(
                "sql = \"postgres://a@h/d?sslmode=require\"\n\
                 client_cert = \"a.pem\"\nclient_key = \"secret:k\"",
                "with the key secret:k",
            ),
        ),
        (
            Capability::Sql,
            "password",
            SentenceCoverage::Sentence("password = \"secret:pw\"", "with password secret:pw"),
        ),
        (
            Capability::Sql,
            "statements",
            SentenceCoverage::Sentence("statements = [\"select\"]", "only statements select"),
        ),
        (
            Capability::Sql,
            "relations",
            SentenceCoverage::Sentence("relations = [\"orders\"]", "only relations orders"),
        ),
        (
            Capability::Sql,
            "superuser",
            SentenceCoverage::Sentence("superuser = true", "also as a superuser"),
        ),
        (
            Capability::Sql,
            "create",
            SentenceCoverage::Sentence(
                "sql = \"sqlite:x.db\"\ncreate = true",
                "making the file if it is not there",
            ),
        ),
        (Capability::Sql, "max_rows", LIMIT),
        (Capability::Sql, "max_bytes", LIMIT),
        (Capability::Sql, "max_copy", LIMIT),
        (Capability::Sql, "timeout", LIMIT),
        (
            Capability::Sql,
            "via",
            SentenceCoverage::Sentence(
                "via = \"bastion\"",
                "through ssh ops@10.0.0.5:22 with host key SHA256:",
            ),
        ),
        (
            Capability::Sql,
            "remote_dns",
            SentenceCoverage::Sentence(
                "via = \"bastion\"\nremote_dns = true",
                "which resolves the name, so that its addresses cannot be judged",
            ),
        ),
        (Capability::Sql, "verbs", VERBS),
        (
            Capability::Docker,
            "docker",
            SentenceCoverage::Sentence("docker = { label = \"role=api\" }", "role=api"),
        ),
        (
            Capability::Docker,
            "socket",
            SentenceCoverage::Sentence(
                "socket = \"/run/other.sock\"",
                "of the Docker engine at /run/other.sock, which acts as root",
            ),
        ),
        (
            Capability::Docker,
            "engine",
            SentenceCoverage::Sentence(
                "engine = \"tcp://10.0.0.5\"",
                "of the Docker engine at tcp://10.0.0.5:2376; by TLS, to an engine that acts as \
                 root on its machine",
            ),
        ),
        (
            Capability::Docker,
            "tls",
            SentenceCoverage::Sentence(
                "engine = \"tcp://127.0.0.1:2375\"\ntls = \"off\"",
                "tcp://127.0.0.1:2375; without encryption, to an engine that acts as root",
            ),
        ),
        (
            Capability::Docker,
            "addresses",
            SentenceCoverage::Sentence(
                "engine = \"tcp://h\"\naddresses = [\"private\"]",
                "at addresses that are private",
            ),
        ),
        (
            Capability::Docker,
            "ca",
            SentenceCoverage::Sentence(
                "engine = \"tcp://h\"\nca = \"ca.pem\"",
                "trusting only the authorities of /base/ca.pem",
            ),
        ),
        (
            Capability::Docker,
            "client_cert",
            SentenceCoverage::Sentence(
                "engine = \"tcp://h\"\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "showing the certificate /base/a.pem",
            ),
        ),
        (
            Capability::Docker,
            "client_key",
            SentenceCoverage::Sentence(
                "engine = \"tcp://h\"\nclient_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "with the key /base/a.key",
            ),
        ),
        (
            Capability::Docker,
            "images",
            SentenceCoverage::Sentence("images = [\"api:*\"]", "only images api:*"),
        ),
        (
            Capability::Docker,
            "command",
            SentenceCoverage::Sentence("command = [\"ls\"]", "commands [\"ls\"]"),
        ),
        (
            Capability::Docker,
            "environment",
            SentenceCoverage::Sentence(
                "environment = [\"MODE\", \"LEVEL=debug\"]",
                "the plugin may set environment LEVEL=debug, MODE=*",
            ),
        ),
        (
            Capability::Docker,
            "network",
            SentenceCoverage::Sentence("network = \"shop\"", "on network shop"),
        ),
        (Capability::Docker, "memory", LIMIT),
        (Capability::Docker, "pids", LIMIT),
        (Capability::Docker, "verbs", VERBS),
        (Capability::Files, "files", SentenceCoverage::Sentence("", "directory /base/x")),
        (Capability::Files, "access", VERBS),
        (Capability::Files, "max_bytes", LIMIT),
        (Capability::Files, "max_total", LIMIT),
        (
            Capability::Files,
            "patterns",
            SentenceCoverage::Sentence("patterns = [\"*.log\"]", "only patterns *.log"),
        ),
        (
            Capability::Files,
            "min_age",
            SentenceCoverage::Sentence(
                "access = \"write\"\nmin_age = \"7d\"",
                "only those older than 168h",
            ),
        ),
        (Capability::Files, "verbs", VERBS),
        (Capability::Process, "process", SentenceCoverage::Sentence("", "program /bin/x")),
        (
            Capability::Process,
            "sha256",
            SentenceCoverage::Sentence("sha256 = \"DIGEST\"", "whose file is DIGEST"),
        ),
        (
            Capability::Process,
            "interpreter_sha256",
            SentenceCoverage::Sentence(
                "sha256 = \"DIGEST\"\ninterpreter_sha256 = \"DIGEST\"",
                "read by DIGEST",
            ),
        ),
        (Capability::Process, "read_only", VERBS),
        (
            Capability::Process,
            "reads",
            SentenceCoverage::Sentence(
                "reads = [\"/etc/app\", \"data\"]",
                "it reads only /etc/app, /base/data",
            ),
        ),
        (
            Capability::Process,
            "writes",
            SentenceCoverage::Sentence("writes = []", "it writes no file"),
        ),
        (Capability::Process, "memory", LIMIT),
        (Capability::Process, "cpu", LIMIT),
        (
            Capability::Process,
            "network",
            SentenceCoverage::Sentence("network = true", "it may make any connection"),
        ),
        (
            Capability::Process,
            "signals",
            SentenceCoverage::Sentence("signals = true", "it may send signals to processes"),
        ),
        (
            Capability::Process,
            "arguments",
            SentenceCoverage::Sentence("arguments = [\"-a\"]", "only arguments [\"-a\"]"),
        ),
        (
            Capability::Process,
            "environment",
            SentenceCoverage::Sentence("environment = { A = \"b\" }", "with environment A=b"),
        ),
        (
            Capability::Process,
            "directory",
            SentenceCoverage::Sentence("directory = \"/srv\"", "in directory /srv"),
        ),
        (
            Capability::Process,
            "connection",
            SentenceCoverage::Sentence(
                "connection = \"lent\"",
                "connected to database pay on db.internal:5432 as root, sslmode prefer, so the \
                 server is not verified, with password secret:pw",
            ),
        ),
        (Capability::Process, "max_output", LIMIT),
        (Capability::Process, "timeout", LIMIT),
        (Capability::Process, "verbs", VERBS),
        (Capability::Secrets, "secret", SentenceCoverage::Sentence("", "secret `token`")),
        (
            Capability::Secrets,
            "positions",
            SentenceCoverage::Sentence(
                "positions = [{ slot = \"s\", header = \"x-a\" }]",
                "only positions s x-a",
            ),
        ),
        (Capability::Secrets, "verbs", VERBS),
        (Capability::Net, "net", SentenceCoverage::Sentence("", "looks up h")),
        (
            Capability::Net,
            "ports",
            SentenceCoverage::Sentence("ports = [25, 587]", "connections to h, ports 25, 587"),
        ),
        (
            Capability::Net,
            "addresses",
            SentenceCoverage::Sentence(
                "ports = [25]\naddresses = [\"private\"]",
                "at addresses that are private",
            ),
        ),
        (
            Capability::Net,
            "ca",
            SentenceCoverage::Sentence(
                "ports = [443]\nca = \"ca.pem\"",
                "trusting only the authorities of /base/ca.pem",
            ),
        ),
        (
            Capability::Net,
            "questions",
            SentenceCoverage::Sentence(
                "ports = [6379]\nquestions = [\"PING\"]",
                "only questions PING",
            ),
        ),
        (
            Capability::Net,
            "names",
            SentenceCoverage::Sentence("names = [\"*.example.com\"]", "only names *.example.com"),
        ),
        (
            Capability::Net,
            "resolver",
            SentenceCoverage::Sentence("resolver = \"10.0.0.53\"", "by the resolver 10.0.0.53:53"),
        ),
        (Capability::Net, "max_bytes", LIMIT),
        (Capability::Net, "max_records", LIMIT),
        (Capability::Net, "timeout", LIMIT),
        (
            Capability::Net,
            "via",
            SentenceCoverage::Sentence(
                "ports = [25]\nvia = \"bastion\"",
                "through ssh ops@10.0.0.5:22 with host key SHA256:",
            ),
        ),
        (
            Capability::Net,
            "remote_dns",
            SentenceCoverage::Sentence(
                "ports = [25]\nvia = \"bastion\"\nremote_dns = true",
                "which resolves the name, so that its addresses cannot be judged",
            ),
        ),
        (Capability::Net, "verbs", VERBS),
        (
            Capability::Redis,
            "redis",
            SentenceCoverage::Sentence("", "database 0 of Redis on h:6379 as default"),
        ),
        (
            Capability::Redis,
            "database",
            SentenceCoverage::Sentence("database = 3", "database 3 of Redis"),
        ),
        (
            Capability::Redis,
            "addresses",
            SentenceCoverage::Sentence(
                "addresses = [\"private\"]",
                "at addresses that are private",
            ),
        ),
        (
            Capability::Redis,
            "tls",
            SentenceCoverage::Sentence("tls = \"off\"", "without encryption, so the server is not"),
        ),
        (
            Capability::Redis,
            "ca",
            SentenceCoverage::Sentence(
                "ca = \"ca.pem\"",
                "trusting only the authorities of /base/ca.pem",
            ),
        ),
        (
            Capability::Redis,
            "client_cert",
            SentenceCoverage::Sentence(
                "client_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "showing the certificate /base/a.pem",
            ),
        ),
        (
            Capability::Redis,
            "client_key",
            SentenceCoverage::Sentence(
                "client_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "with the key /base/a.key",
            ),
        ),
        (
            Capability::Redis,
            "user",
            SentenceCoverage::Sentence(
                "user = \"probe\"\npassword = \"secret:pw\"",
                "on h:6379 as probe",
            ),
        ),
        (
            Capability::Redis,
            "password",
            SentenceCoverage::Sentence("password = \"secret:pw\"", "with password secret:pw"),
        ),
        (
            Capability::Redis,
            "commands",
            SentenceCoverage::Sentence("commands = [\"get\", \"eval\"]", "only commands get, eval"),
        ),
        (
            Capability::Redis,
            "keys",
            SentenceCoverage::Sentence("keys = [\"session:*\"]", "only keys session:*"),
        ),
        (
            Capability::Redis,
            "via",
            SentenceCoverage::Sentence(
                "via = \"bastion\"",
                "through ssh ops@10.0.0.5:22 with host key SHA256:",
            ),
        ),
        (
            Capability::Redis,
            "remote_dns",
            SentenceCoverage::Sentence(
                "via = \"bastion\"\nremote_dns = true",
                "which resolves the name, so that its addresses cannot be judged",
            ),
        ),
        (Capability::Redis, "max_bytes", LIMIT),
        (Capability::Redis, "timeout", LIMIT),
        (Capability::Redis, "verbs", VERBS),
        (
            Capability::Objects,
            "objects",
            SentenceCoverage::Sentence("", "objects of s3://bucket/a/"),
        ),
        (Capability::Objects, "endpoint", SentenceCoverage::Sentence("", "at https://h")),
        (
            Capability::Objects,
            "auth",
            SentenceCoverage::Sentence("", "with access key A, secret key secret:token"),
        ),
        (
            Capability::Objects,
            "addresses",
            SentenceCoverage::Sentence(
                "addresses = [\"private\"]",
                "at addresses that are private",
            ),
        ),
        (
            Capability::Objects,
            "ca",
            SentenceCoverage::Sentence(
                "ca = \"ca.pem\"",
                "trusting only the authorities of /base/ca.pem",
            ),
        ),
        (
            Capability::Objects,
            "client_cert",
            SentenceCoverage::Sentence(
                "client_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "showing the certificate /base/a.pem",
            ),
        ),
        (
            Capability::Objects,
            "client_key",
            SentenceCoverage::Sentence(
                "client_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "with the key /base/a.key",
            ),
        ),
        (Capability::Objects, "max_bytes", LIMIT),
        (Capability::Objects, "max_copy", LIMIT),
        (Capability::Objects, "max_rows", LIMIT),
        (
            Capability::Objects,
            "storage_class",
            SentenceCoverage::Sentence("storage_class = \"GLACIER\"", "in storage class GLACIER"),
        ),
        (Capability::Objects, "timeout", LIMIT),
        (Capability::Objects, "verbs", VERBS),
        (
            Capability::Mail,
            "mail",
            SentenceCoverage::Sentence("", "which cannot be taken back, by mail server h:465"),
        ),
        (
            Capability::Mail,
            "from",
            SentenceCoverage::Sentence("", "from checks@a.example to ops@a.example"),
        ),
        (
            Capability::Mail,
            "to",
            SentenceCoverage::Sentence("", "from checks@a.example to ops@a.example"),
        ),
        (
            Capability::Mail,
            "addresses",
            SentenceCoverage::Sentence(
                "addresses = [\"private\"]",
                "at addresses that are private",
            ),
        ),
        (
            Capability::Mail,
            "tls",
            SentenceCoverage::Sentence("tls = \"off\"", "without encryption, so the server is not"),
        ),
        (
            Capability::Mail,
            "starttls",
            SentenceCoverage::Sentence("starttls = true", "by mail server h:587 (STARTTLS)"),
        ),
        (
            Capability::Mail,
            "ca",
            SentenceCoverage::Sentence(
                "ca = \"ca.pem\"",
                "trusting only the authorities of /base/ca.pem",
            ),
        ),
        (
            Capability::Mail,
            "client_cert",
            SentenceCoverage::Sentence(
                "client_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "showing the certificate /base/a.pem",
            ),
        ),
        (
            Capability::Mail,
            "client_key",
            SentenceCoverage::Sentence(
                "client_cert = \"a.pem\"\nclient_key = \"a.key\"",
                "with the key /base/a.key",
            ),
        ),
        (
            Capability::Mail,
            "user",
            SentenceCoverage::Sentence(
                "user = \"probe\"\npassword = \"secret:pw\"",
                "mail server h:465 as probe",
            ),
        ),
        (
            Capability::Mail,
            "password",
            SentenceCoverage::Sentence(
                "user = \"probe\"\npassword = \"secret:pw\"",
                "with password secret:pw",
            ),
        ),
        (
            Capability::Mail,
            "max_messages",
            SentenceCoverage::Sentence("max_messages = 3", "at most 3 messages in one call"),
        ),
        (Capability::Mail, "max_bytes", LIMIT),
        (Capability::Mail, "timeout", LIMIT),
        (Capability::Mail, "verbs", VERBS),
        (
            Capability::System,
            "system",
            SentenceCoverage::Sentence("", "sees the ports that listen on this machine"),
        ),
        (
            Capability::System,
            "mounts",
            SentenceCoverage::Sentence("mounts = [\"/var*\"]", "only mounts /var*"),
        ),
        (
            Capability::System,
            "processes",
            SentenceCoverage::Sentence("processes = [\"nginx\"]", "only processes nginx"),
        ),
        (
            Capability::System,
            "process_arguments",
            SentenceCoverage::Sentence(
                "system = [\"processes\"]\nprocesses = [\"java\"]\nprocess_arguments = true",
                "with the arguments that they were started with",
            ),
        ),
        (
            Capability::System,
            "units",
            SentenceCoverage::Sentence(
                "system = [\"units\"]\nunits = [\"app-*.service\"]",
                "only units app-*.service",
            ),
        ),
        (
            Capability::System,
            "control",
            SentenceCoverage::Sentence(
                "system = [\"unit-stop\"]\ncontrol = [\"app.service\"]",
                "stops units of this machine; only control app.service",
            ),
        ),
        (
            Capability::System,
            "bus",
            SentenceCoverage::Sentence(
                "system = [\"units\"]\nunits = [\"a.service\"]\nbus = \"/run/other\"",
                "by the bus at /run/other",
            ),
        ),
        (Capability::System, "max_rows", LIMIT),
        (Capability::System, "max_bytes", LIMIT),
        (Capability::System, "timeout", LIMIT),
        (Capability::System, "verbs", VERBS),
    ];

    fn sentences(capability: Capability, target: &str) -> Vec<String> {
        let grants = if target.contains("lent") {
            process_grants(
                target,
                "[targets.lent]\nsql = \"postgres://root@db.internal/pay\"\n\
                 password = \"secret:pw\"\n",
            )
        } else if capability == Capability::Net && target.contains("via") {
            grants_with_verbs("net", &["connect", "inspect-tls"], target)
        } else if capability == Capability::Net && !target.contains("ports") {
            grants_with_verbs("net", &["lookup"], target)
        } else if capability == Capability::Files {
            let verbs: &[&str] =
                if target.contains("write") { &["read", "remove"] } else { &["read"] };
            grants_with_verbs("files", verbs, target)
        } else {
            grants(capability.name(), target)
        };
        let grant = grants.get("s").expect("bound");
        let scope = AccessScope::of("p", grant, &grants, PathView::OnThisHost);
        grant.verbs.iter().map(|verb| verb_sentence(grant, *verb, &grants, &scope)).collect()
    }

    #[test]
    fn every_key_of_every_target_is_in_a_sentence_or_is_listed_with_the_reason() {
        for (capability, kind, minimal) in MINIMAL_TARGETS {
            let listed: BTreeSet<String> = KEYS
                .iter()
                .filter(|(key_capability, ..)| key_capability == capability)
                .map(|(_, key, _)| (*key).to_owned())
                .collect();
            assert_eq!(known_keys(minimal), listed, "{capability}");
            for (_, key, coverage) in
                KEYS.iter().filter(|(key_capability, ..)| key_capability == capability)
            {
                let (line, words) = match coverage {
                    SentenceCoverage::Sentence(line, words) => {
                        (line.replace("DIGEST", DIGEST), words.replace("DIGEST", DIGEST))
                    }
                    SentenceCoverage::NotShown(reason) => {
                        assert!(reason.len() > 20, "{capability} {key}");
                        continue;
                    }
                };
                let is_whole_target = line.starts_with(&format!("{kind} ="));
                let sentences_with_key = sentences(
                    *capability,
                    &if is_whole_target { line.clone() } else { format!("{minimal}\n{line}") },
                );
                assert!(
                    sentences_with_key.iter().any(|sentence| sentence.contains(&words)),
                    "{capability} {key}: {sentences_with_key:#?}"
                );
                if !line.is_empty() {
                    let sentences_without_key = sentences(*capability, minimal);
                    assert!(
                        !sentences_without_key.iter().any(|sentence| sentence.contains(&words)),
                        "{capability} {key}: {sentences_without_key:#?}"
                    );
                }
            }
        }
    }

    /// A target that is open in some way, and what a reviewer must read of it.
    const OPEN: &[(Capability, &str, &str)] = &[
        (
            Capability::Net,
            "net = [\"a.example\"]\nports = [25]\nquestions = [\"*\"]",
            "saying any line",
        ),
        (Capability::Net, "net = [\"a.example\"]\nnames = [\"*\"]", "any other name too"),
        (
            Capability::Process,
            "process = \"/usr/bin/rm\"",
            "it may read and write every file that its user may",
        ),
        (
            Capability::Process,
            "process = \"/usr/bin/rm\"\nreads = [\"/srv\"]",
            "it may write every file that its user may",
        ),
        (
            Capability::System,
            "system = [\"ports\", \"processes\"]\nprocesses = [\"nginx\"]",
            "every port; of the processes that have them, only nginx",
        ),
        (
            Capability::Http,
            "http = \"https://h.example\"\nredirects = 1",
            "following up to 1 redirect",
        ),
    ];

    #[test]
    fn what_is_open_is_said_and_not_left_out() {
        for (capability, target, words) in OPEN {
            let sentences = sentences(*capability, target);
            assert!(sentences.iter().any(|one| one.contains(words)), "{target}: {sentences:#?}");
        }
        let one = sentences(Capability::Http, "http = \"https://h.example\"\nredirects = 1");
        assert!(one.iter().all(|sentence| !sentence.contains("redirects")), "{one:#?}");
    }
}
