//! Targets: the concrete things that a runbook binds slots to. A target, bound to a slot, is the
//! grant. Beside them, `[targets]` has gateways, through which the connections of targets go.
//!
//! A target is literal: it has no template, environment variable or parameter, so that a reviewer
//! reads exactly what the run may reach.

mod accessors;
mod auth;
mod base_url;
mod docker;
mod docker_endpoint;
#[cfg(test)]
pub(crate) mod fields;
mod files;
mod gateway;
mod host_path;
mod http;
mod injected;
mod mail;
mod net;
mod network;
mod objects;
mod pem_file;
mod process;
mod proxy;
mod redirect_origins;
mod redis;
mod secret;
mod secret_origin;
mod secret_source;
mod sent;
mod sql;
mod ssh;
mod system;
mod template_check;
mod tls;
mod unix_socket;
mod variable;
mod via;

pub use accessors::RequiredPath;
pub use auth::{AwsSigV4, ClientName, HttpAuth, OAuth2Client, VaultAppRole};
pub use base_url::{HttpBase, parse_base};
pub use docker::{ContainerFacts, ContainerFilter, DockerTarget, NO_NETWORK};
pub use docker_endpoint::{DockerEndpoint, DockerServer};
pub use files::{FileAccess, FilesTarget};
pub use gateway::{Gateway, GatewayKind};
pub use host_path::normalize_path;
pub use host_path::{FileDigestFn, Folder, HostPath, PathView, RecipientsFn};
pub use http::HttpTarget;
pub(crate) use http::{unusable_header, unusable_service};
pub use injected::{HeaderEncoding, InjectedHeader};
pub use mail::{MailLogin, MailTarget, MailTls};
pub(crate) use net::SYSTEM_RESOLVER;
pub use net::{NetTarget, NotListed, dns_name};
pub use network::{AddressVisibility, ServerName, addresses_for};
pub(crate) use network::{reachable_addresses, read_address_policy};
pub use objects::ObjectsTarget;
pub use pem_file::{FileContent, PemFile};
pub(crate) use process::read_argument_patterns;
pub use process::{EnvironmentValue, ProcessTarget};
pub use proxy::{ProxyGateway, ProxyLogin, ProxyTransport};
pub use redis::{RedisTarget, RedisTls};
pub use secret::{SecretFormat, SecretPlace, SecretPosition, SecretTarget};
pub use secret_origin::{
    FileEntry, ProgramOutput, RecipientList, SecretOrigin, VaultValue, source_slot,
};
pub(crate) use secret_origin::{has_absolute_path, is_source_pattern, map_path, program_verb};
pub use secret_source::{DeclaredSecret, check_sources, read_origins};
pub(crate) use sent::{SecretForm, SentSecret};
pub(crate) use sql::is_local_host;
pub use sql::{SqlAddress, SqlTarget, TlsMode};
pub use ssh::{HostKey, HostKeys, SshCredential, SshGateway};
pub use system::SystemTarget;
pub use system::asks_systemd;
pub(crate) use system::{SYSTEM_BUS, changes_units};
pub use template_check::{TextLanguage, diagnostic as template_diagnostic, template_in};
pub use tls::{Certificates, ClientCertificate, PrivateKey, TlsKeys};
pub use unix_socket::{ENGINE_SOCKETS, USER_ENGINE_SOCKETS, USER_FOLDERS, refused_socket};
pub(crate) use variable::{HARMLESS_IN_WORDS, is_harmless, is_variable_name};
pub use variable::{VariableEffect, variable_effect};
pub(crate) use via::goes_through;
pub use via::{NameResolution, Via};

use crate::capability::{Capability, Verb};
use crate::pattern::AddressPolicy;
use runbook_document::{Diagnostic, Diagnostics, Key, Reader, Source, Span, Spanned, Table, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// One target, as `[targets.NAME]` describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The `NAME` of `[targets.NAME]`.
    pub name: String,
    /// The file that it is written in.
    pub source: Arc<Source>,
    /// The place of its name.
    pub span: Span,
    /// The verbs that it lists, if it lists any: the most that it grants.
    pub verbs: Option<Spanned<Vec<Verb>>>,
    /// The kind of the target, with its settings.
    pub kind: TargetKind,
    /// The gateway through which it is reached; `None` if it is reached directly.
    pub via: Option<Via>,
    /// The origins of the secrets of its runbook, by the names that the runbook gives them.
    pub secret_origins: Arc<BTreeMap<String, SecretOrigin>>,
}

/// The kind of a target, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetKind {
    /// One base address over HTTP.
    Http(Box<HttpTarget>),
    /// A database, on a server or in a SQLite file.
    Sql(SqlTarget),
    /// The containers of one Docker engine that a filter matches.
    Docker(DockerTarget),
    /// A directory with all that is below it.
    Files(FilesTarget),
    /// A program on this host.
    Process(ProcessTarget),
    /// A secret that a plugin may place, or see.
    Secret(SecretTarget),
    /// Servers over TCP and TLS, and DNS names.
    Net(NetTarget),
    /// One database of a server of Redis.
    Redis(RedisTarget),
    /// The objects below one prefix of a bucket.
    Objects(Box<ObjectsTarget>),
    /// A mail server, with the sender and the recipients of what is sent.
    Mail(MailTarget),
    /// This machine, by parts.
    System(SystemTarget),
}

impl Target {
    /// The capability whose slots it can be bound to.
    pub fn capability(&self) -> Capability {
        match self.kind {
            TargetKind::Http(_) => Capability::Http,
            TargetKind::Sql(_) => Capability::Sql,
            TargetKind::Docker(_) => Capability::Docker,
            TargetKind::Files(_) => Capability::Files,
            TargetKind::Process(_) => Capability::Process,
            TargetKind::Secret(_) => Capability::Secrets,
            TargetKind::Net(_) => Capability::Net,
            TargetKind::Redis(_) => Capability::Redis,
            TargetKind::Objects(_) => Capability::Objects,
            TargetKind::Mail(_) => Capability::Mail,
            TargetKind::System(_) => Capability::System,
        }
    }

    /// A short description of the target without secrets: `database orders on db.internal:5432`.
    pub fn describe(&self) -> String {
        match &self.kind {
            TargetKind::Http(http) => http.describe(),
            TargetKind::Sql(sql) => sql.describe(),
            TargetKind::Docker(docker) => docker.describe(),
            TargetKind::Files(files) => format!("directory {}", files.root),
            TargetKind::Process(process) => {
                format!("program {}", process.program.unresolved().display())
            }
            TargetKind::Secret(secret) => format!("secret `{}`", secret.secret),
            TargetKind::Net(net) => net.describe(),
            TargetKind::Redis(redis) => redis.describe(),
            TargetKind::Objects(objects) => objects.describe(),
            TargetKind::Mail(mail) => mail.describe(),
            TargetKind::System(_) => "this machine".to_owned(),
        }
    }

    /// The time limit of one call of a plugin to the target, if there is one.
    pub fn timeout(&self) -> Option<Duration> {
        match &self.kind {
            TargetKind::Http(http) => Some(http.timeout),
            TargetKind::Sql(sql) => Some(sql.timeout),
            TargetKind::Process(process) => process.timeout,
            TargetKind::Net(net) => Some(net.timeout),
            TargetKind::Redis(redis) => Some(redis.timeout),
            // Of a call that copies, it limits each request and each pause, not the whole.
            TargetKind::Objects(objects) => Some(objects.timeout),
            TargetKind::Mail(mail) => Some(mail.timeout),
            TargetKind::System(system) => Some(system.timeout),
            TargetKind::Docker(_) | TargetKind::Files(_) | TargetKind::Secret(_) => None,
        }
    }

    /// The addresses that the name of its server may resolve to; `None` if the target is not
    /// reached over a network.
    pub fn addresses(&self) -> Option<&AddressPolicy> {
        match &self.kind {
            TargetKind::Http(http) => Some(&http.addresses),
            TargetKind::Sql(sql) => sql.server().map(|_| &sql.addresses),
            TargetKind::Net(net) => Some(&net.addresses),
            TargetKind::Redis(redis) => Some(&redis.addresses),
            TargetKind::Docker(docker) => docker.addresses(),
            TargetKind::Objects(objects) => Some(&objects.addresses),
            TargetKind::Mail(mail) => Some(&mail.addresses),
            TargetKind::Files(_)
            | TargetKind::Process(_)
            | TargetKind::Secret(_)
            | TargetKind::System(_) => None,
        }
    }

    /// `file:line` of the target.
    pub fn location(&self) -> String {
        self.source.place(&self.span)
    }

    /// The names of the secrets that it needs.
    pub fn secrets(&self) -> Vec<&str> {
        match &self.kind {
            TargetKind::Http(http) => http.secrets(),
            TargetKind::Sql(sql) => {
                sql.password.as_deref().into_iter().chain(sql.tls_keys.secrets()).collect()
            }
            TargetKind::Docker(docker) => {
                docker.tls_keys().map(TlsKeys::secrets).unwrap_or_default()
            }
            TargetKind::Files(_) | TargetKind::System(_) => Vec::new(),
            TargetKind::Process(process) => process.secrets(),
            TargetKind::Secret(secret) => vec![&secret.secret],
            TargetKind::Net(net) => net.tls_keys.secrets(),
            TargetKind::Objects(objects) => objects.secrets(),
            TargetKind::Redis(redis) => {
                redis.password.as_deref().into_iter().chain(redis.tls_keys.secrets()).collect()
            }
            TargetKind::Mail(mail) => {
                mail.password().into_iter().chain(mail.tls_keys.secrets()).collect()
            }
        }
    }

    /// Its authorities and client certificate for TLS, if it is a `http`, `sql`, `net` or `redis`
    /// target,, a `docker` or `mail` target that is reached by TLS.
    pub fn tls_keys(&self) -> Option<&TlsKeys> {
        match &self.kind {
            TargetKind::Http(http) => Some(&http.tls_keys),
            TargetKind::Sql(sql) => Some(&sql.tls_keys),
            TargetKind::Net(net) => Some(&net.tls_keys),
            TargetKind::Redis(redis) => Some(&redis.tls_keys),
            TargetKind::Docker(docker) => docker.tls_keys(),
            TargetKind::Objects(objects) => Some(&objects.tls_keys),
            TargetKind::Mail(mail) => Some(&mail.tls_keys),
            TargetKind::Files(_)
            | TargetKind::Process(_)
            | TargetKind::Secret(_)
            | TargetKind::System(_) => None,
        }
    }

    /// The sources of the secrets that the target names. For an unknown secret, its name.
    pub fn secret_sources(&self, view: PathView) -> Vec<String> {
        let source = |name: &str| self.source_of(name, view).unwrap_or_else(|| name.to_owned());
        self.secrets().into_iter().map(source).collect()
    }

    /// The source of the secret of this name: `age:/srv/checks/secrets/prod.age#orders-db`.
    pub fn source_of(&self, name: &str, view: PathView) -> Option<String> {
        self.secret_origins.get(name).map(|secret| secret.render(view))
    }

    /// Whom a run may encrypt the store of its secret to, if it is a `secret` target.
    pub fn recipients(&self) -> Vec<&str> {
        let origin = self.secret().and_then(|secret| self.secret_origins.get(&secret.secret));
        match origin {
            Some(SecretOrigin::Age(entry)) => entry.recipients.keys().collect(),
            Some(
                SecretOrigin::Sops(_)
                | SecretOrigin::Credential(_)
                | SecretOrigin::Variable(_)
                | SecretOrigin::Program(_)
                | SecretOrigin::Vault(_),
            )
            | None => Vec::new(),
        }
    }

    /// A secret by its name, with its source.
    pub fn describe_secret(&self, name: &str) -> String {
        match self.source_of(name, PathView::OnThisHost) {
            Some(source) => format!("secret `{name}` ({source})"),
            None => format!("secret `{name}`"),
        }
    }
}

/// All targets and gateways of a runbook, by name. No name is both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Targets {
    targets: BTreeMap<String, Arc<Target>>,
    gateways: BTreeMap<String, Arc<Gateway>>,
}

impl Targets {
    /// Reads a `[targets]` table. Relative paths are below `folder`, the folder of the file. A
    /// target replaces an earlier one of the same name, so that the file of an environment
    /// overrides the runbook.
    pub fn read(
        &mut self,
        source: &Arc<Source>,
        table: &Table,
        folder: Folder<'_>,
        diagnostics: &mut Diagnostics,
    ) {
        for (key, node) in &table.entries {
            match &node.value {
                Value::Table(table) => self.add(key, source, table, folder, diagnostics),
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_) => {
                    let message =
                        format!("target `{}` must be a table, not {}", key.name, node.value.kind());
                    diagnostics.push(
                        Diagnostic::error("E0203", source, node.span.clone(), message)
                            .label("wrong type"),
                    );
                }
            }
        }
    }

    /// Reads one `[targets.NAME]` table and keeps the target, unless it has mistakes, which are
    /// reported.
    pub fn add(
        &mut self,
        key: &Key,
        source: &Arc<Source>,
        table: &Table,
        folder: Folder<'_>,
        diagnostics: &mut Diagnostics,
    ) {
        let mut templates = Diagnostics::default();
        template_check::check(key, table, source, &mut templates);
        let mut other_diagnostics = Diagnostics::default();
        let mut reader =
            Reader::new(source, table, format!("target `{}`", key.name), &mut other_diagnostics);
        let target = read_target(key, &mut reader, folder);
        reader.finish();
        // Other mistakes at the same position follow from the template there.
        diagnostics.extend(other_diagnostics.into_iter().filter(|diagnostic| {
            !templates.iter().any(|template| template.span == diagnostic.span)
        }));
        diagnostics.append(templates);
        match target {
            Some(Entry::Target(target)) => {
                self.gateways.remove(&target.name);
                self.targets.insert(target.name.clone(), Arc::new(*target));
            }
            Some(Entry::Gateway(gateway)) => {
                self.targets.remove(&gateway.name);
                self.gateways.insert(gateway.name.clone(), Arc::new(*gateway));
            }
            None => {}
        }
    }

    /// The target called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.get(name)
    }

    /// The gateway called `name`.
    pub fn gateway(&self, name: &str) -> Option<&Arc<Gateway>> {
        self.gateways.get(name)
    }

    /// The gateways, sorted by name.
    pub fn gateways(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.gateways.values()
    }

    /// The names of all targets, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// The targets, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.targets.values()
    }

    /// Sets the origins of the secrets of every target and gateway, by name.
    pub fn set_secret_origins(&mut self, secret_origins: BTreeMap<String, SecretOrigin>) {
        let secret_origins = Arc::new(secret_origins);
        for target in self.targets.values_mut() {
            Arc::make_mut(target).secret_origins = Arc::clone(&secret_origins);
        }
        for gateway in self.gateways.values_mut() {
            Arc::make_mut(gateway).secret_origins = Arc::clone(&secret_origins);
        }
    }

    /// Reports unknown secrets, connections and gateways. `invalid_targets` names the targets that
    /// have mistakes already: a reference to one of them is not reported.
    pub fn check_references(
        &self,
        secrets: &[&str],
        invalid_targets: &BTreeSet<&str>,
        diagnostics: &mut Diagnostics,
    ) {
        let of_targets = self
            .iter()
            .map(|target| (target.name.as_str(), target.secrets(), &target.source, &target.span));
        let of_gateways = self.gateways().map(|gateway| {
            (gateway.name.as_str(), gateway.secrets(), &gateway.source, &gateway.span)
        });
        for (name, used, source, span) in of_targets.chain(of_gateways) {
            for secret in used.into_iter().filter(|secret| !secrets.contains(secret)) {
                let message = format!(
                    "target `{name}` uses secret `{secret}`, which `[secrets]` does not have"
                );
                let diagnostic = Diagnostic::error("E0104", source, span.clone(), message)
                    .label("in this target");
                diagnostics.push(
                    match runbook_document::nearest(secret, secrets.iter().copied()) {
                        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                        None => {
                            diagnostic.help(format!("add `[secrets.{secret}]` with its `source`"))
                        }
                    },
                );
            }
        }
        for target in self.iter() {
            self.check_via(target, invalid_targets, diagnostics);
            if let Some(connection) = target.connection() {
                let is_sql = self.get(connection).is_some_and(|other| other.sql().is_some());
                if !is_sql && !invalid_targets.contains(connection) {
                    let message = format!(
                        "target `{}` takes its connection from `{connection}`, which is not a sql \
                         target",
                        target.name
                    );
                    diagnostics.push(
                        Diagnostic::error("E0105", &target.source, target.span.clone(), message)
                            .label("in this target"),
                    );
                }
                self.check_connection_is_direct(target, connection, diagnostics);
            }
        }
    }

    /// Reports a `via` that names no gateway.
    fn check_via(
        &self,
        target: &Target,
        invalid_targets: &BTreeSet<&str>,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(Via { gateway, .. }) = &target.via else { return };
        let name = gateway.value.as_str();
        if self.gateway(name).is_some() || invalid_targets.contains(name) {
            return;
        }
        let message =
            format!("target `{}` is reached through `{name}`, which is not a gateway", target.name);
        let near = runbook_document::nearest(name, self.gateways.keys().map(String::as_str));
        let help = near.map_or_else(
            || {
                format!(
                    "add `[targets.{name}]` with `ssh = \"host:port\"` or `proxy = \"http://host:port\"`"
                )
            },
            |near| format!("did you mean `{near}`?"),
        );
        diagnostics.push(
            Diagnostic::error("E0105", &target.source, gateway.span.clone(), message)
                .label("no gateway")
                .help(help),
        );
    }

    /// Reports a `connection` to a database behind a gateway: a program connects by itself.
    fn check_connection_is_direct(
        &self,
        target: &Target,
        connection: &str,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(via) = self.get(connection).and_then(|database| database.via.as_ref()) else {
            return;
        };
        let message = format!(
            "target `{}` takes its connection from `{connection}`, which is reached through `{}`: \
             a program connects by itself, and not through a gateway",
            target.name, via.gateway.value
        );
        diagnostics.push(
            Diagnostic::error("E0105", &target.source, target.span.clone(), message)
                .label("in this target")
                .help("name a sql target without `via`, if there is a direct way"),
        );
    }
}

/// One entry of `[targets]`.
enum Entry {
    Target(Box<Target>),
    Gateway(Box<Gateway>),
}

fn read_target(key: &Key, reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<Entry> {
    const KEY_OF_KIND: [(&str, Capability); 11] = [
        ("http", Capability::Http),
        ("sql", Capability::Sql),
        ("docker", Capability::Docker),
        ("files", Capability::Files),
        ("process", Capability::Process),
        ("secret", Capability::Secrets),
        ("net", Capability::Net),
        ("system", Capability::System),
        ("redis", Capability::Redis),
        ("objects", Capability::Objects),
        ("mail", Capability::Mail),
    ];
    let kind_keys: Vec<_> =
        KEY_OF_KIND.iter().filter(|(name, _)| reader.table().get(name).is_some()).collect();
    let is_gateway = gateway::KIND_KEYS.iter().any(|name| reader.table().get(name).is_some());
    if is_gateway && kind_keys.is_empty() {
        return gateway::read(key, reader, folder).map(Box::new).map(Entry::Gateway);
    }
    let (false, [(_, capability)]) = (is_gateway, kind_keys.as_slice()) else {
        let message = format!(
            "target `{}` must have exactly one of http, sql, docker, files, process, secret, net, \
             system, redis, ssh, proxy, objects, mail",
            key.name
        );
        reader.error("E0101", key.span.clone(), message, "which kind of thing is it?");
        // The known keys depend on the kind. Without it, no key is reported as unknown.
        for key in KEYS {
            reader.mark_known(key);
        }
        return None;
    };
    let kind = match capability {
        Capability::Http => http::read(reader, folder).map(Box::new).map(TargetKind::Http),
        Capability::Sql => sql::read(reader, folder).map(TargetKind::Sql),
        Capability::Docker => docker::read(reader, folder).map(TargetKind::Docker),
        Capability::Files => files::read(reader, folder).map(TargetKind::Files),
        Capability::Process => process::read(reader, folder).map(TargetKind::Process),
        Capability::Net => net::read(reader, folder).map(TargetKind::Net),
        Capability::Redis => redis::read(reader, folder).map(TargetKind::Redis),
        Capability::Mail => mail::read(reader, folder).map(TargetKind::Mail),
        Capability::Objects => objects::read(reader, folder).map(Box::new).map(TargetKind::Objects),
        Capability::System => system::read(reader, folder).map(TargetKind::System),
        Capability::Secrets | Capability::State => secret::read(reader).map(TargetKind::Secret),
    };
    let verbs = read_verb_list(reader, *capability);
    let via = match capability {
        Capability::Http | Capability::Sql | Capability::Net | Capability::Redis => {
            via::read(reader, kind.as_ref())
        }
        Capability::Docker
        | Capability::Objects
        | Capability::Mail
        | Capability::Files
        | Capability::Process
        | Capability::Secrets
        | Capability::System
        | Capability::State => None,
    };
    if let (Some(TargetKind::Net(net)), Some(verbs)) = (&kind, &verbs) {
        match &via {
            Some(_) => via::refuse_verbs(reader, verbs),
            None => net::refuse_verbs(reader, net, verbs),
        }
    }
    if let (Some(TargetKind::System(system)), Some(verbs)) = (&kind, &verbs) {
        system::refuse_verbs(reader, system, verbs);
    }
    let kind = kind?;
    let verbs = verbs.or_else(|| implied_verbs(&kind, key));
    let source = Arc::clone(reader.source());
    Some(Entry::Target(Box::new(Target {
        name: key.name.clone(),
        source,
        span: key.span.clone(),
        verbs,
        kind,
        via,
        secret_origins: Arc::default(),
    })))
}

/// Keys that are not reported as unknown if the kind of the target is unknown.
const KEYS: &[&str] = &[
    "http",
    "sql",
    "docker",
    "files",
    "process",
    "secret",
    "net",
    "system",
    "redis",
    "objects",
    "mail",
    "verbs",
    "password",
    "access",
    "patterns",
    "max_total",
    "min_age",
    "arguments",
    "connection",
    "ports",
    "names",
    "ssh",
    "proxy",
    "via",
];

/// Reads the optional `verbs = ["query"]`.
fn read_verb_list(reader: &mut Reader<'_>, capability: Capability) -> Option<Spanned<Vec<Verb>>> {
    let names = reader.optional::<Vec<Spanned<String>>>("verbs")?;
    let mut verbs = Vec::new();
    for name in &names.value {
        match Verb::find(capability, &name.value) {
            Some(verb) => verbs.push(verb),
            None => {
                let known: Vec<_> = capability.verbs().map(|verb| verb.row().name).collect();
                let message = format!("`{}` is not a verb of `{capability}`", name.value);
                let help = runbook_document::suggestion(&name.value, &known);
                reader.error_with_help("E0102", name.span.clone(), message, "unknown verb", help);
            }
        }
    }
    Some(Spanned { value: verbs, span: names.span })
}

/// The verbs that `access` of a directory or `read_only` of a program stands for, and those of a
/// `net` target without ports, which connects to nothing. A `system` target lists its verbs.
fn implied_verbs(kind: &TargetKind, key: &Key) -> Option<Spanned<Vec<Verb>>> {
    match kind {
        TargetKind::Files(files) => {
            Some(Spanned { value: files.access.verbs().to_vec(), span: key.span.clone() })
        }
        // A target is either a program that only reads, or one that may do anything.
        TargetKind::Process(process) => {
            let verb = if process.read_only { Verb::ProcessInspect } else { Verb::ProcessRun };
            Some(Spanned { value: vec![verb], span: key.span.clone() })
        }
        TargetKind::Net(net) => net::implied_verbs(net)
            .map(|verbs| Spanned { value: verbs.to_vec(), span: key.span.clone() }),
        TargetKind::System(system) => {
            Some(Spanned { value: system.parts.clone(), span: key.span.clone() })
        }
        TargetKind::Http(_)
        | TargetKind::Sql(_)
        | TargetKind::Docker(_)
        | TargetKind::Secret(_)
        | TargetKind::Redis(_)
        | TargetKind::Objects(_)
        | TargetKind::Mail(_) => None,
    }
}

/// The name in `secret:NAME`, the form in which a target refers to a secret.
pub(crate) fn secret_reference(text: &str) -> Option<&str> {
    text.strip_prefix("secret:").filter(|name| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    })
}
