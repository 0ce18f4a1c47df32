//! How far a grant reaches, in each dimension. Grants are compared with boundaries, lockfiles and
//! each other in this form.
//!
//! An [`AccessScope`] describes exactly the calls that the gate allows for the same grant; a
//! property test compares the two.

mod call;
mod dimension;
#[cfg(test)]
mod tests;
mod values;

pub use call::ConcreteCall;
pub use dimension::{DIMENSIONS, Dimension, DimensionRow, Shape};
pub(crate) use values::Remainder;
pub use values::{CallValue, Flag, Text, Values};

use crate::capability::{Capability, Verb};
use crate::grant::{EffectiveGrants, Grant};
use crate::pattern::{AddressClass, AddressPolicy, Dialect, StatementClass};
use crate::targets::{
    ContainerFilter, DockerEndpoint, DockerTarget, FilesTarget, HeaderEncoding, HostPath, HttpAuth,
    HttpBase, HttpTarget, InjectedHeader, MailTarget, MailTls, NameResolution, NetTarget,
    ObjectsTarget, PathView, ProcessTarget, RedisTarget, RedisTls, SecretTarget, SqlAddress,
    SqlTarget, SystemTarget, Target, TargetKind, TlsMode, asks_systemd, changes_units,
    reachable_addresses,
};
use runbook_document::ByteSize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How far a grant reaches, in each dimension of its capability.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessScope {
    /// The capability of the grant.
    pub capability: Capability,
    /// The values that are allowed in each dimension.
    pub values: BTreeMap<Dimension, Values>,
}

/// An empty list of header names, for a target without `request_headers`.
const NO_HEADERS: [&str; 0] = [];

impl AccessScope {
    /// How far the grant of one slot reaches, for the plugin of this name.
    pub fn of(plugin: &str, grant: &Grant, grants: &EffectiveGrants, view: PathView) -> Self {
        let mut values = match &grant.target.kind {
            TargetKind::Http(http) => http_values(http, &grant.verbs, view),
            TargetKind::Sql(sql) => sql_values(sql, view),
            TargetKind::Docker(docker) => docker_values(docker, &grant.verbs, view),
            TargetKind::Files(files) => files_values(files, &grant.verbs, view),
            TargetKind::Process(process) => process_values(process, grants, view),
            TargetKind::Secret(secret) => secret_values(secret, grant),
            TargetKind::Net(net) => net_values(net, &grant.verbs, view),
            TargetKind::Redis(redis) => redis_values(redis, view),
            TargetKind::Mail(mail) => mail_values(mail, view),
            TargetKind::Objects(objects) => objects_values(objects, &grant.verbs, view),
            TargetKind::System(system) => system_values(system, &grant.verbs, view),
        };
        let mut secrets = grant.target.secret_sources(view);
        if let Some(connection) = grants.connection_of(grant) {
            secrets.extend(connection.secret_sources(view));
        }
        if let Some(client) = grant.target.tls_keys().and_then(|keys| keys.client.as_ref()) {
            values.insert(Dimension::ClientCertificates, Values::exact([client.render(view)]));
        }
        if let Some(gateway) = grants.gateway_of(grant) {
            secrets.extend(gateway.secret_sources(view));
        }
        insert_via(&mut values, grant, grants, view);
        values.insert(Dimension::Plugins, Values::exact([plugin]));
        values.insert(Dimension::Verbs, Values::exact(grant.verbs.iter().map(Verb::to_string)));
        if !secrets.is_empty() {
            values.insert(Dimension::Secrets, Values::exact(secrets));
        }
        Self { capability: grant.capability, values }
    }

    /// How far a program reaches by the database connection that its target gives it. The host does
    /// not see the statements of the program, so this is every statement that the user of that
    /// target can run. `None` without a connection.
    pub fn of_connection(plugin: &str, grant: &Grant, grants: &EffectiveGrants) -> Option<Self> {
        let process = grant.target.process()?;
        let target = grants.connection_of(grant)?;
        let sql = target.sql()?;
        let unlimited_sql = SqlTarget {
            statements: None,
            relations: None,
            max_rows: u32::MAX,
            max_bytes: ByteSize(u64::MAX),
            timeout: process.timeout.unwrap_or(Duration::MAX),
            ..sql.clone()
        };
        let connection = Grant {
            slot: grant.slot.clone(),
            capability: Capability::Sql,
            verbs: vec![Verb::SqlQuery, Verb::SqlExecute, Verb::SqlTransaction],
            target: Arc::new(Target {
                kind: TargetKind::Sql(unlimited_sql),
                ..Target::clone(target)
            }),
        };
        Some(Self::of(plugin, &connection, grants, PathView::OnThisHost))
    }

    /// How far the host goes by itself to fetch the tokens of a grant: one request to the token
    /// server. `None` without one.
    pub fn of_tokens(plugin: &str, grant: &Grant, grants: &EffectiveGrants) -> Option<Self> {
        let http = grant.target.http()?;
        let token_url = http.token_url()?;
        let Some(client) = http.oauth2() else {
            // The login of Vault: the same server, with the same headers.
            let login = Grant { verbs: vec![Verb::HttpPost], ..grant.clone() };
            let mut scope = Self::of(plugin, &login, grants, PathView::OnThisHost);
            scope.values.insert(Dimension::Paths, Values::exact([token_url.path()]));
            return Some(scope);
        };
        let authorization = InjectedHeader {
            prefix: format!("{}:", client.client_id.redacted()),
            secret: Some(client.client_secret.clone()),
            encoding: HeaderEncoding::Basic,
        };
        let server = HttpTarget {
            base: HttpBase::Url(client.token_url.clone()),
            request_headers: Vec::new(),
            headers: BTreeMap::new(),
            auth: Some(HttpAuth::Header(authorization)),
            socket: None,
            redirects: 0,
            redirect_origins: Vec::new(),
            cookies: false,
            tls_keys: client.tls_keys.clone(),
            ..http.clone()
        };
        let fetched = Grant {
            verbs: vec![Verb::HttpPost],
            target: Arc::new(Target {
                kind: TargetKind::Http(Box::new(server)),
                ..Target::clone(&grant.target)
            }),
            ..grant.clone()
        };
        let mut scope = Self::of(plugin, &fetched, grants, PathView::OnThisHost);
        scope.values.insert(Dimension::Paths, Values::exact([client.token_url.path()]));
        Some(scope)
    }

    /// The values that are allowed in one dimension; `None` if the grant does not have the
    /// dimension.
    pub fn get(&self, dimension: Dimension) -> Option<&Values> {
        self.values.get(&dimension)
    }
}

/// The value of [`Dimension::Via`] of a grant that goes through no gateway.
pub(crate) const DIRECT: &str = "direct";

/// Adds what the connections of a grant go through. A lockfile does not say that they are direct.
fn insert_via(
    values: &mut BTreeMap<Dimension, Values>,
    grant: &Grant,
    grants: &EffectiveGrants,
    view: PathView,
) {
    let Some(via) = &grant.target.via else {
        if view == PathView::OnThisHost && values.contains_key(&Dimension::Addresses) {
            values.insert(Dimension::Via, Values::exact([DIRECT]));
        }
        return;
    };
    // An unknown gateway is an error elsewhere; no boundary covers its name.
    let gateway = grants
        .gateway_of(grant)
        .map_or_else(|| via.gateway.value.clone(), |gateway| gateway.identity(view));
    values.insert(Dimension::Via, Values::exact([gateway]));
    if via.resolution == NameResolution::Remote {
        let classes = AddressClass::all().collect();
        let all = Values::Addresses { classes, blocks: BTreeSet::new() };
        values.insert(Dimension::Addresses, all);
    }
}

fn duration_limit(duration: Duration) -> Values {
    Values::AtMost(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn http_values(target: &HttpTarget, verbs: &[Verb], view: PathView) -> BTreeMap<Dimension, Values> {
    let mut values = BTreeMap::from([
        (Dimension::RequestHeaders, request_header_values(target)),
        (Dimension::Headers, Values::exact(target.header_lines(view))),
        (Dimension::Tls, Values::exact([tls_verification(target, view)])),
        (Dimension::Redirects, Values::AtMost(target.redirects.into())),
        (Dimension::MaxBody, Values::AtMost(target.max_body.0)),
        (Dimension::Timeout, duration_limit(target.timeout)),
    ]);
    if !target.redirect_origins.is_empty() {
        let origins = target.redirect_origins.iter().map(|url| url.origin().ascii_serialization());
        values.insert(Dimension::RedirectOrigins, Values::exact(origins));
    }
    if verbs.contains(&Verb::HttpHealth) {
        let services = target.services.as_ref();
        let services = services.map_or_else(Values::any, |names| Values::exact(names.clone()));
        values.insert(Dimension::Services, services);
    }
    if target.cookies {
        values.insert(Dimension::Cookies, Values::flag(target.cookies.into()));
    }
    let HttpBase::Url(base) = &target.base else {
        // The address is a secret, so its parts are not known here.
        for dimension in [Dimension::Schemes, Dimension::Hosts, Dimension::Ports, Dimension::Paths]
        {
            values.insert(dimension, Values::any());
        }
        let all_classes = AddressClass::all().collect();
        values.insert(
            Dimension::Addresses,
            Values::Addresses { classes: all_classes, blocks: BTreeSet::new() },
        );
        return values;
    };
    values.insert(Dimension::Schemes, Values::exact([base.scheme()]));
    values.insert(Dimension::Hosts, Values::exact(base.host_str()));
    values.insert(
        Dimension::Ports,
        Values::exact(base.port_or_known_default().map(|port| port.to_string())),
    );
    // A health check has one path, which the verb stands for.
    if verbs.iter().any(|verb| *verb != Verb::HttpHealth) {
        values.insert(Dimension::Paths, path_values(target, base.path()));
    }
    if let Some(socket) = &target.socket {
        values.insert(Dimension::Sockets, Values::exact([socket.render(view)]));
    } else {
        let servers = std::iter::once(base).chain(&target.redirect_origins);
        let hosts = servers.filter_map(Url::host_str);
        values.insert(Dimension::Addresses, address_values(&target.addresses, hosts));
    }
    values
}

/// The addresses that connections to servers of these names may use.
fn address_values<'a>(policy: &AddressPolicy, hosts: impl IntoIterator<Item = &'a str>) -> Values {
    let (mut classes, mut blocks) = (BTreeSet::new(), BTreeSet::new());
    for host in hosts {
        let reached = reachable_addresses(policy, host);
        classes.extend(reached.classes);
        blocks.extend(reached.blocks);
    }
    Values::Addresses { classes, blocks }
}

/// How a connection verifies the server. A secret address may begin with `http:`, which verifies
/// nothing.
fn tls_verification(target: &HttpTarget, view: PathView) -> String {
    let is_encrypted = matches!(&target.base, HttpBase::Url(url) if url.scheme() == "https");
    match &target.tls_keys.ca {
        Some(ca) if is_encrypted || matches!(target.base, HttpBase::Secret(_)) => {
            format!("ca {}", ca.render(view))
        }
        None if is_encrypted => TlsMode::VerifyFull.name().to_owned(),
        Some(_) | None => TlsMode::Disable.name().to_owned(),
    }
}

fn request_header_values(target: &HttpTarget) -> Values {
    if target.request_headers.is_empty() {
        Values::exact(NO_HEADERS)
    } else {
        Values::exact(target.request_headers.clone())
    }
}

/// The allowed paths, with the path of the base address before them. The path `/` of a plugin is
/// the base address itself, as written.
fn path_values(target: &HttpTarget, base: &str) -> Values {
    let prefix = base.trim_end_matches('/').to_owned();
    let mut texts = BTreeSet::new();
    let patterns: Vec<&str> =
        target.paths.iter().map(crate::pattern::PathPattern::as_str).collect();
    for pattern in if patterns.is_empty() { vec!["/**"] } else { patterns } {
        if crate::pattern::PathPattern::parse(pattern).is_some_and(|pattern| pattern.matches("/")) {
            texts.insert(Text::Exact(base.to_owned()));
        }
        texts.insert(Text::Path { prefix: prefix.clone(), pattern: pattern.to_owned() });
    }
    Values::Texts(texts)
}

fn sql_values(target: &SqlTarget, view: PathView) -> BTreeMap<Dimension, Values> {
    let mut values = BTreeMap::from([
        (Dimension::Superuser, Values::flag(target.superuser.into())),
        (Dimension::MaxRows, Values::AtMost(target.max_rows.into())),
        (Dimension::MaxBytes, Values::AtMost(target.max_bytes.0)),
        (Dimension::Timeout, duration_limit(target.timeout)),
        (Dimension::Statements, Values::exact(classes_of(target))),
        (
            Dimension::Relations,
            target
                .relations
                .as_ref()
                .map_or_else(Values::any, |names| Values::exact(names.clone())),
        ),
    ]);
    let engine = match target.dialect() {
        Dialect::Postgres => "postgres",
        Dialect::MySql => "mysql",
        Dialect::Sqlite => "sqlite",
    };
    values.insert(Dimension::Engines, Values::exact([engine]));
    match &target.address {
        SqlAddress::File(path) => {
            values.insert(Dimension::Files, Values::exact([path.render(view)]));
            values.insert(Dimension::Create, Values::flag(target.create.into()));
        }
        SqlAddress::Server { host, port, user, database, tls, .. } => {
            let tls = match &target.tls_keys.ca {
                Some(ca) => format!("ca {}", ca.render(view)),
                None => tls.name().to_owned(),
            };
            values.insert(Dimension::Tls, Values::exact([tls]));
            values.insert(Dimension::Hosts, Values::exact([host]));
            values.insert(Dimension::Ports, Values::exact([port.to_string()]));
            values.insert(Dimension::Users, Values::exact([user]));
            values.insert(Dimension::Databases, Values::exact([database]));
            if target.server().is_some() {
                values.insert(
                    Dimension::Addresses,
                    address_values(&target.addresses, [host.as_str()]),
                );
            }
        }
    }
    values
}

fn classes_of(target: &SqlTarget) -> Vec<&'static str> {
    match &target.statements {
        Some(classes) => classes.iter().map(|class| class.name()).collect(),
        None => StatementClass::names(),
    }
}

/// The label of a target that does not filter containers by label.
pub(crate) const ANY_LABEL: &str = "any label or none";

fn endpoint_values(endpoint: &DockerEndpoint, view: PathView) -> BTreeMap<Dimension, Values> {
    let server = match endpoint {
        DockerEndpoint::Socket(path) => {
            return BTreeMap::from([(Dimension::Sockets, Values::exact([path]))]);
        }
        DockerEndpoint::Server(server) => server,
    };
    let tls = match server.tls.as_ref().map(|keys| &keys.ca) {
        Some(Some(ca)) => format!("ca {}", ca.render(view)),
        Some(None) => TlsMode::VerifyFull.name().to_owned(),
        None => TlsMode::Disable.name().to_owned(),
    };
    BTreeMap::from([
        (Dimension::Hosts, Values::exact([&server.host])),
        (Dimension::Ports, Values::exact([server.port.to_string()])),
        (Dimension::Addresses, address_values(&server.addresses, [server.host.as_str()])),
        (Dimension::Tls, Values::exact([tls])),
    ])
}

fn docker_values(
    target: &DockerTarget,
    verbs: &[Verb],
    view: PathView,
) -> BTreeMap<Dimension, Values> {
    let any_name = || Values::Texts(BTreeSet::from([Text::Any]));
    let any_label = || Values::exact([ANY_LABEL]);
    let (names, labels) = match &target.filter {
        ContainerFilter::Name(name) => (Values::exact([name]), any_label()),
        ContainerFilter::Pattern(pattern) => {
            (Values::Texts(BTreeSet::from([Text::Glob(pattern.clone())])), any_label())
        }
        ContainerFilter::Label { key, value } => {
            (any_name(), Values::exact([format!("{key}={value}")]))
        }
        ContainerFilter::Project(project) => {
            (any_name(), Values::exact([format!("com.docker.compose.project={project}")]))
        }
    };
    let mut values = endpoint_values(&target.endpoint, view);
    values.extend([(Dimension::Containers, names), (Dimension::Labels, labels)]);
    if verbs
        .iter()
        .any(|verb| matches!(verb, Verb::DockerPull | Verb::DockerTag | Verb::DockerCreate))
    {
        let images = target.images.iter().cloned().map(Text::Glob).collect();
        values.insert(Dimension::Images, Values::Texts(images));
    }
    if verbs.contains(&Verb::DockerCreate) {
        values.insert(Dimension::Networks, Values::exact([&target.network]));
        let variables = target.environment.iter().cloned().map(Text::Glob).collect();
        values.insert(Dimension::Environment, Values::Texts(variables));
        values.insert(Dimension::Memory, Values::AtMost(target.memory.0));
        values.insert(Dimension::Pids, Values::AtMost(target.pids.into()));
    }
    if verbs.iter().any(|verb| matches!(verb, Verb::DockerExec | Verb::DockerCreate)) {
        values.insert(Dimension::Commands, Values::Arguments(vec![target.command.clone()]));
    }
    values
}

fn files_values(
    target: &FilesTarget,
    verbs: &[Verb],
    view: PathView,
) -> BTreeMap<Dimension, Values> {
    let root = Values::Texts(BTreeSet::from([Text::Directory(target.root.render(view))]));
    let patterns = target.patterns.as_deref().map_or_else(Values::any, globs);
    let mut values = BTreeMap::from([
        (Dimension::Directories, root),
        (Dimension::FilePatterns, patterns),
        (Dimension::MaxBytes, Values::AtMost(target.max_bytes.0)),
    ]);
    if verbs.contains(&Verb::FilesRead) {
        values.insert(Dimension::MaxTotal, Values::AtMost(target.max_total.0));
    }
    if verbs.contains(&Verb::FilesRemove) {
        let age = u64::try_from(target.min_age.as_millis()).unwrap_or(u64::MAX);
        values.insert(Dimension::MinAge, Values::AtLeast(age));
    }
    values
}

fn process_values(
    target: &ProcessTarget,
    grants: &EffectiveGrants,
    view: PathView,
) -> BTreeMap<Dimension, Values> {
    let mut values = BTreeMap::from([
        (Dimension::Programs, Values::exact(target.program.render_program(view))),
        (
            Dimension::Digests,
            target
                .sha256
                .as_ref()
                .map_or_else(Values::any, |digest| Values::exact([digest.as_str()])),
        ),
        (
            Dimension::Interpreters,
            target
                .interpreter_sha256
                .as_ref()
                .map_or_else(Values::any, |digest| Values::exact([digest.as_str()])),
        ),
        (Dimension::Arguments, Values::Arguments(vec![target.arguments.clone()])),
        (Dimension::Environment, Values::exact(target.variables())),
        (Dimension::Reads, below(target.reads.as_deref(), view)),
        (Dimension::Writes, below(target.writes.as_deref(), view)),
        (Dimension::Memory, Values::AtMost(target.memory.map_or(u64::MAX, |size| size.0))),
        (Dimension::Cpu, target.cpu.map_or(Values::AtMost(u64::MAX), duration_limit)),
        (Dimension::Network, Values::flag(grants.connects_anywhere(target).into())),
        (Dimension::Signals, Values::flag(target.signals.into())),
        (Dimension::MaxOutput, Values::AtMost(target.max_output.0)),
    ]);
    if let Some(directory) = &target.directory {
        let directory = Values::Texts(BTreeSet::from([Text::Directory(directory.render(view))]));
        values.insert(Dimension::Directories, directory);
    }
    let connection = target.connection.as_ref().and_then(|name| grants.connection(name));
    if let Some(connection) = connection {
        values.insert(Dimension::Connections, Values::exact([connection.describe()]));
    }
    // A program without a timeout of its own may run as long as the call that started it.
    values.insert(
        Dimension::Timeout,
        target.timeout.map_or(Values::AtMost(u64::MAX), duration_limit),
    );
    values
}

/// These paths and all that is below; every path if none are named.
fn below(paths: Option<&[HostPath]>, view: PathView) -> Values {
    paths.map_or_else(Values::any, |paths| {
        Values::Texts(paths.iter().map(|path| Text::Directory(path.render(view))).collect())
    })
}

/// What a grant reaches depends on its verbs: one that only looks up names connects to no server.
/// The texts that match one of some patterns.
fn globs(patterns: &[String]) -> Values {
    let text = |pattern: &String| match pattern.as_str() {
        "*" => Text::Any,
        text if text.contains('*') => Text::Glob(text.to_owned()),
        text => Text::Exact(text.to_owned()),
    };
    Values::Texts(patterns.iter().map(text).collect())
}

fn system_values(
    target: &SystemTarget,
    verbs: &[Verb],
    view: PathView,
) -> BTreeMap<Dimension, Values> {
    let mut values = BTreeMap::from([
        (Dimension::MaxRows, Values::AtMost(target.max_rows.into())),
        (Dimension::MaxBytes, Values::AtMost(target.max_bytes.0)),
        (Dimension::Timeout, duration_limit(target.timeout)),
    ]);
    if verbs.contains(&Verb::SystemDisks) {
        values.insert(Dimension::Mounts, globs(&target.mounts));
    }
    if verbs.iter().any(|verb| matches!(verb, Verb::SystemProcesses | Verb::SystemPorts)) {
        values.insert(Dimension::Processes, globs(&target.processes));
    }
    if verbs.contains(&Verb::SystemUnits) {
        values.insert(Dimension::Units, globs(&target.units));
    }
    if verbs.iter().any(|verb| changes_units(*verb)) {
        values.insert(Dimension::Control, Values::exact(target.control.clone()));
    }
    if verbs.iter().any(|verb| asks_systemd(*verb)) {
        values.insert(Dimension::Sockets, Values::exact([target.bus.render(view)]));
    }
    if verbs.contains(&Verb::SystemProcesses) {
        let arguments = Values::flag(target.process_arguments.into());
        values.insert(Dimension::ProcessArguments, arguments);
    }
    values
}

fn net_values(target: &NetTarget, verbs: &[Verb], view: PathView) -> BTreeMap<Dimension, Values> {
    let mut values = BTreeMap::from([
        (Dimension::MaxBytes, Values::AtMost(target.max_bytes.0)),
        (Dimension::Timeout, duration_limit(target.timeout)),
    ]);
    if verbs.iter().any(|verb| matches!(verb, Verb::NetConnect | Verb::NetInspectTls)) {
        values.insert(Dimension::Hosts, Values::exact(target.hosts.clone()));
        values.insert(Dimension::Ports, Values::exact(target.ports.iter().map(u16::to_string)));
        let hosts = target.hosts.iter().map(String::as_str);
        values.insert(Dimension::Addresses, address_values(&target.addresses, hosts));
    }
    if verbs.contains(&Verb::NetConnect) {
        values.insert(Dimension::Questions, globs(&target.questions));
    }
    if verbs.contains(&Verb::NetInspectTls) {
        let believed = match &target.tls_keys.ca {
            Some(ca) => format!("ca {}", ca.render(view)),
            None => TlsMode::VerifyFull.name().to_owned(),
        };
        values.insert(Dimension::Tls, Values::exact([believed]));
    }
    if verbs.contains(&Verb::NetLookup) {
        values.insert(Dimension::Names, globs(&target.names));
        values.insert(Dimension::Resolvers, Values::exact([target.resolver_word()]));
        values.insert(Dimension::MaxRecords, Values::AtMost(target.max_records.into()));
    }
    values
}

fn redis_values(target: &RedisTarget, view: PathView) -> BTreeMap<Dimension, Values> {
    let tls = match (target.tls, &target.tls_keys.ca) {
        (RedisTls::Required, Some(ca)) => format!("ca {}", ca.render(view)),
        (RedisTls::Required, None) => TlsMode::VerifyFull.name().to_owned(),
        (RedisTls::Off, _) => TlsMode::Disable.name().to_owned(),
    };
    let commands = target.commands.as_ref().map_or_else(
        || Values::Texts(BTreeSet::from([Text::Command("*".to_owned())])),
        |patterns| Values::Texts(patterns.iter().map(|pattern| Text::command(pattern)).collect()),
    );
    BTreeMap::from([
        (Dimension::Hosts, Values::exact([&target.host])),
        (Dimension::Ports, Values::exact([target.port.to_string()])),
        (Dimension::Addresses, address_values(&target.addresses, [target.host.as_str()])),
        (Dimension::Tls, Values::exact([tls])),
        (Dimension::Databases, Values::exact([target.database.to_string()])),
        (Dimension::Users, Values::exact([&target.user])),
        (Dimension::RedisCommands, commands),
        (Dimension::Keys, target.keys.as_deref().map_or_else(Values::any, globs)),
        (Dimension::MaxBytes, Values::AtMost(target.max_bytes.0)),
        (Dimension::Timeout, duration_limit(target.timeout)),
    ])
}

fn mail_values(target: &MailTarget, view: PathView) -> BTreeMap<Dimension, Values> {
    let tls = match (target.tls, &target.tls_keys.ca) {
        (MailTls::Implicit | MailTls::StartTls, Some(ca)) => format!("ca {}", ca.render(view)),
        (MailTls::Implicit | MailTls::StartTls, None) => TlsMode::VerifyFull.name().to_owned(),
        (MailTls::Off, _) => TlsMode::Disable.name().to_owned(),
    };
    let mut values = BTreeMap::from([
        (Dimension::Hosts, Values::exact([&target.host])),
        (Dimension::Ports, Values::exact([target.port.to_string()])),
        (Dimension::Addresses, address_values(&target.addresses, [target.host.as_str()])),
        (Dimension::Tls, Values::exact([tls])),
        (Dimension::Senders, Values::exact([&target.from])),
        (Dimension::Recipients, Values::exact(target.to.clone())),
        (Dimension::MaxMessages, Values::AtMost(target.max_messages.into())),
        (Dimension::MaxBytes, Values::AtMost(target.max_bytes.0)),
        (Dimension::Timeout, duration_limit(target.timeout)),
    ]);
    if let Some(login) = &target.login {
        values.insert(Dimension::Users, Values::exact([&login.user]));
    }
    values
}

fn objects_values(
    target: &ObjectsTarget,
    verbs: &[Verb],
    view: PathView,
) -> BTreeMap<Dimension, Values> {
    let endpoint = &target.endpoint;
    let tls = match (endpoint.scheme(), &target.tls_keys.ca) {
        ("https", Some(ca)) => format!("ca {}", ca.render(view)),
        ("https", None) => TlsMode::VerifyFull.name().to_owned(),
        _ => TlsMode::Disable.name().to_owned(),
    };
    let port = endpoint.port_or_known_default().map(|port| port.to_string());
    let keys = if target.prefix.is_empty() {
        Values::any()
    } else {
        globs(&[format!("{}*", target.prefix)])
    };
    let mut values = BTreeMap::from([
        (Dimension::Schemes, Values::exact([endpoint.scheme()])),
        (Dimension::Hosts, Values::exact(endpoint.host_str())),
        (Dimension::Ports, Values::exact(port)),
        (Dimension::Addresses, address_values(&target.addresses, endpoint.host_str())),
        (Dimension::Tls, Values::exact([tls])),
        (Dimension::Headers, Values::exact([target.header_line(view)])),
        (Dimension::Buckets, Values::exact([&target.bucket])),
        (Dimension::Keys, keys),
        (Dimension::MaxBytes, Values::AtMost(target.max_bytes.0)),
        (Dimension::MaxCopy, Values::AtMost(target.max_copy.0)),
        (Dimension::MaxRows, Values::AtMost(target.max_rows.into())),
        (Dimension::Timeout, duration_limit(target.timeout)),
    ]);
    if verbs.contains(&Verb::ObjectsPut) {
        let class = target.storage_class.as_deref().unwrap_or("default");
        values.insert(Dimension::StorageClasses, Values::exact([class]));
    }
    values
}

fn secret_values(target: &SecretTarget, grant: &Grant) -> BTreeMap<Dimension, Values> {
    let positions = target.positions.iter().map(|position| {
        let crate::targets::SecretPosition { slot, place, format } = position;
        format!("{slot} {place}: {format}")
    });
    let mut values = BTreeMap::from([(Dimension::Positions, Values::exact(positions))]);
    if grant.verbs.contains(&Verb::SecretsRotate) {
        values.insert(Dimension::Recipients, Values::exact(grant.target.recipients()));
    }
    values
}
