//! Accessors of targets for other modules. Only this folder matches on the kinds of targets.

use super::{
    AddressVisibility, DockerTarget, FilesTarget, HttpBase, HttpTarget, MailTarget, NetTarget,
    ObjectsTarget, PemFile, ProcessTarget, RedisTarget, RedisTls, SecretTarget, SqlAddress,
    SqlTarget, SystemTarget, Target, TargetKind, TlsKeys, TlsMode,
};
use crate::pattern::Dialect;
use std::path::Path;

/// A path of this machine that must exist before a target can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredPath<'a> {
    /// What the path is: `program`, `directory` or `database`.
    pub what: &'static str,
    /// The absolute path, with links resolved.
    pub path: &'a Path,
}

impl Target {
    /// Its base address and what it allows there, if it is an `http` target.
    pub fn http(&self) -> Option<&HttpTarget> {
        if let TargetKind::Http(http) = &self.kind { Some(http) } else { None }
    }

    /// Its database and what it allows there, if it is a `sql` target.
    pub fn sql(&self) -> Option<&SqlTarget> {
        if let TargetKind::Sql(sql) = &self.kind { Some(sql) } else { None }
    }

    /// Its containers and what it allows with them, if it is a `docker` target.
    pub fn docker(&self) -> Option<&DockerTarget> {
        if let TargetKind::Docker(docker) = &self.kind { Some(docker) } else { None }
    }

    /// Its directory, if it is a `files` target.
    pub fn files(&self) -> Option<&FilesTarget> {
        if let TargetKind::Files(files) = &self.kind { Some(files) } else { None }
    }

    /// Its program, if it is a `process` target.
    pub fn process(&self) -> Option<&ProcessTarget> {
        if let TargetKind::Process(process) = &self.kind { Some(process) } else { None }
    }

    /// Its secret and where that may go, if it is a `secret` target.
    pub fn secret(&self) -> Option<&SecretTarget> {
        if let TargetKind::Secret(secret) = &self.kind { Some(secret) } else { None }
    }

    /// Its servers and names, if it is a `net` target.
    pub fn net(&self) -> Option<&NetTarget> {
        if let TargetKind::Net(net) = &self.kind { Some(net) } else { None }
    }

    /// The parts of this machine that it lists, if it is a `system` target.
    pub fn system(&self) -> Option<&SystemTarget> {
        if let TargetKind::System(system) = &self.kind { Some(system) } else { None }
    }

    /// Its database and what it allows there, if it is a `redis` target.
    pub fn redis(&self) -> Option<&RedisTarget> {
        if let TargetKind::Redis(redis) = &self.kind { Some(redis) } else { None }
    }

    /// Where its objects are and what it allows there, if it is an `objects` target.
    pub fn objects(&self) -> Option<&ObjectsTarget> {
        if let TargetKind::Objects(objects) = &self.kind { Some(objects) } else { None }
    }

    /// Its server, its sender and its recipients, if it is a `mail` target.
    pub fn mail(&self) -> Option<&MailTarget> {
        if let TargetKind::Mail(mail) = &self.kind { Some(mail) } else { None }
    }

    /// The SQL dialect of its database.
    pub fn dialect(&self) -> Option<Dialect> {
        self.sql().map(SqlTarget::dialect)
    }

    /// The name of the `sql` target whose connection its program is given.
    pub fn connection(&self) -> Option<&str> {
        self.process()?.connection.as_deref()
    }

    /// The variables that its program gets, as `NAME=value`, with `secret:NAME` in place of a
    /// secret.
    pub fn variables(&self) -> Vec<String> {
        self.process().map(|process| process.variables().collect()).unwrap_or_default()
    }

    /// The files of certificates that it names: the trusted authorities and the client certificate.
    pub fn certificate_files(&self) -> impl Iterator<Item = &Path> {
        let of_tokens = self.http().and_then(HttpTarget::oauth2).map(|client| &client.tls_keys);
        let keys = self.tls_keys().into_iter().chain(of_tokens);
        keys.flat_map(TlsKeys::files).map(PemFile::real)
    }

    /// The path that must exist before it can be used: its program, its directory, or its database
    /// file unless the file may be created.
    pub fn required_path(&self) -> Option<RequiredPath<'_>> {
        let (what, path) = match &self.kind {
            TargetKind::Process(process) => ("program", process.program.real()),
            TargetKind::Files(files) => ("directory", files.root.real()),
            TargetKind::Sql(sql) => match &sql.address {
                SqlAddress::File(file) if !sql.create => ("database", file.real()),
                SqlAddress::File(_) | SqlAddress::Server { .. } => return None,
            },
            TargetKind::Http(_)
            | TargetKind::Docker(_)
            | TargetKind::Secret(_)
            | TargetKind::Net(_)
            | TargetKind::System(_)
            | TargetKind::Redis(_)
            | TargetKind::Objects(_)
            | TargetKind::Mail(_) => return None,
        };
        Some(RequiredPath { what, path })
    }

    /// Its description, and the source of the secret if it is a secret.
    pub fn identity(&self) -> String {
        match self.secret() {
            Some(secret) => self.describe_secret(&secret.secret),
            None => self.describe(),
        }
    }

    /// The names of the secrets that the host puts into calls for the target: a password, a header,
    /// a variable. Empty if the target itself is a secret.
    pub fn injected_secrets(&self) -> Vec<&str> {
        if self.secret().is_some() { Vec::new() } else { self.secrets() }
    }

    /// Whether a reviewer sees the address of its server.
    pub fn address_visibility(&self) -> AddressVisibility {
        match self.http().map(|http| &http.base) {
            Some(HttpBase::Secret(_)) => AddressVisibility::Hidden,
            Some(HttpBase::Url(_)) | None => AddressVisibility::Visible,
        }
    }

    /// Whether all that goes through its connections is encrypted up to a server whose certificate
    /// is verified, so that nobody in between can read it.
    pub(crate) fn is_encrypted_to_verified_server(&self) -> bool {
        match &self.kind {
            TargetKind::Http(http) => {
                matches!(&http.base, HttpBase::Url(base) if base.scheme() == "https")
            }
            TargetKind::Sql(sql) => match &sql.address {
                SqlAddress::Server { tls, .. } => *tls == TlsMode::VerifyFull,
                SqlAddress::File(_) => true,
            },
            // Lines are sent as they are; an inspection sends nothing.
            TargetKind::Net(net) => net.questions.is_empty(),
            TargetKind::Redis(redis) => matches!(redis.tls, RedisTls::Required),
            TargetKind::Objects(objects) => objects.endpoint.scheme() == "https",
            TargetKind::Mail(mail) => !matches!(mail.tls, super::MailTls::Off),
            TargetKind::Docker(_)
            | TargetKind::Files(_)
            | TargetKind::Process(_)
            | TargetKind::Secret(_)
            | TargetKind::System(_) => true,
        }
    }

    /// How it connects to a remote server without verifying it: a `sslmode`, `http`, or
    /// `tls = "off"`. `None` if the server is verified or local, or if there is no server. Behind a
    /// gateway no server is local: what goes to `localhost` there passes the gateway.
    pub fn unverified_transport(&self) -> Option<&'static str> {
        let is_through_gateway = self.via.is_some();
        match &self.kind {
            TargetKind::Sql(sql) if is_through_gateway => {
                let mode = sql.address.tls_mode()?;
                (mode != TlsMode::VerifyFull).then(|| mode.name())
            }
            TargetKind::Sql(sql) => {
                let mode = sql.address.remote_tls_mode()?;
                (mode != TlsMode::VerifyFull).then(|| mode.name())
            }
            TargetKind::Http(http) if http.socket.is_some() => None,
            TargetKind::Http(http) => match &http.base {
                HttpBase::Url(base) => self.unencrypted_transport(base),
                HttpBase::Secret(_) => None,
            },
            TargetKind::Redis(redis) if is_through_gateway => {
                (redis.tls == RedisTls::Off).then_some("tls off")
            }
            TargetKind::Redis(redis) => redis.is_exposed().then_some("tls off"),
            TargetKind::Objects(objects) => self.unencrypted_transport(&objects.endpoint),
            TargetKind::Mail(mail) => mail.is_exposed().then_some("tls off"),
            TargetKind::Docker(_)
            | TargetKind::Files(_)
            | TargetKind::Process(_)
            | TargetKind::Secret(_)
            | TargetKind::Net(_)
            | TargetKind::System(_) => None,
        }
    }
}
