//! What other modules need to know of a target. Only this folder matches on the kinds of targets.

use super::{
    AddressVisibility, DockerTarget, FilesTarget, HttpBase, HttpTarget, NetTarget, PemFile,
    ProcessTarget, SecretTarget, SqlAddress, SqlTarget, Target, TargetKind, TlsKeys, TlsMode,
};
use crate::pattern::Dialect;
use std::path::Path;

/// Something of this machine that a target needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredPath<'a> {
    /// What should be there: `program`, `directory` or `database`.
    pub what: &'static str,
    /// Where: absolute, and without links.
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

    /// The language of its database.
    pub fn dialect(&self) -> Option<Dialect> {
        self.sql().map(SqlTarget::dialect)
    }

    /// The name of the `sql` target whose connection its program is given.
    pub fn connection(&self) -> Option<&str> {
        self.process()?.connection.as_deref()
    }

    /// The variables that its program gets, as `NAME=value`; a secret as its name.
    pub fn variables(&self) -> Vec<String> {
        self.process().map(|process| process.variables().collect()).unwrap_or_default()
    }

    /// The files of certificates that it names: the authorities that it believes alone, and what
    /// it shows of itself.
    pub fn certificate_files(&self) -> impl Iterator<Item = &Path> {
        let of_tokens = self.http().and_then(HttpTarget::oauth2).map(|client| &client.tls_keys);
        let keys = self.tls_keys().into_iter().chain(of_tokens);
        keys.flat_map(TlsKeys::files).map(PemFile::real)
    }

    /// What must be on this machine before it can be used: its program, its directory, or its
    /// database file, unless the file may be made.
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
            | TargetKind::Net(_) => return None,
        };
        Some(RequiredPath { what, path })
    }

    /// What it is, in a few words; of a secret, also which one that is.
    pub fn identity(&self) -> String {
        match self.secret() {
            Some(secret) => self.describe_secret(&secret.secret),
            None => self.describe(),
        }
    }

    /// The names of the secrets that it puts into what it does by itself: a password, a header, a
    /// variable. A secret that is itself the target is not among them.
    pub fn injected_secrets(&self) -> Vec<&str> {
        if self.secret().is_some() { Vec::new() } else { self.secrets() }
    }

    /// Whether a reviewer sees the address of its server.
    pub fn address_visibility(&self) -> AddressVisibility {
        match self.http().map(|http| &http.base) {
            Some(HttpBase::Secret(_)) => AddressVisibility::InASecret,
            Some(HttpBase::Url(_)) | None => AddressVisibility::Written,
        }
    }

    /// By what it talks to a server elsewhere without verifying who that is: a `sslmode`, or
    /// `http`. `None` if it verifies it, talks to no server, or the server is on this machine.
    pub fn unverified_transport(&self) -> Option<&'static str> {
        match &self.kind {
            TargetKind::Sql(sql) => {
                let mode = sql.address.tls_to_elsewhere()?;
                (mode != TlsMode::VerifyFull).then(|| mode.name())
            }
            TargetKind::Http(http) => match &http.base {
                HttpBase::Url(base) => super::sent::open_transport(base),
                HttpBase::Secret(_) => None,
            },
            TargetKind::Docker(_)
            | TargetKind::Files(_)
            | TargetKind::Process(_)
            | TargetKind::Secret(_)
            | TargetKind::Net(_) => None,
        }
    }
}
