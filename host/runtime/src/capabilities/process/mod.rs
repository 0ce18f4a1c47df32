//! The one program that a slot is bound to. No shell, an empty environment, and an end for the
//! whole process group.

mod child;
mod failure;
mod group;
mod program;
mod walls;

use crate::bindings::runbook::process::types::{Input, Output, Sink};
use crate::bindings::runbook::process::{inspector, runner, types};
use crate::blocking;
use crate::capabilities::files::FilesSlot;
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::net::judged::{Server, Unreached};
use child::{Child, Ended, Source, Target as Out};
use failure::Failure;
use group::Group;
use program::Program;
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{
    ClientCertificate, EnvironmentValue, PrivateKey, ProcessTarget, SqlAddress, TlsKeys,
};
use runbook_authority::{Operation, Target, Verb};
use runbook_launch::LaunchRefusal;
use runbook_secrets::Secret;
use std::path::Path;
use std::time::Duration;

impl types::Host for HostCall<'_> {}

impl inspector::Host for HostCall<'_> {
    async fn run(&mut self, slot: String, arguments: Vec<String>) -> Result<Output, Fault> {
        self.program(Verb::ProcessInspect, &slot, arguments, Input::Nothing, Sink::Capture).await
    }
}

impl runner::Host for HostCall<'_> {
    async fn run(
        &mut self,
        slot: String,
        arguments: Vec<String>,
        stdin: Input,
        stdout: Sink,
    ) -> Result<Output, Fault> {
        self.program(Verb::ProcessRun, &slot, arguments, stdin, stdout).await
    }
}

/// How long the name of the server of a lent connection may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(10);

/// For a program that may only read and whose target has no timeout: a look at something is short.
const READ_ONLY_TIMEOUT: Duration = Duration::from_mins(1);

impl Host {
    async fn program(
        &mut self,
        verb: Verb,
        slot: &str,
        arguments: Vec<String>,
        stdin: Input,
        stdout: Sink,
    ) -> Result<Output, Fault> {
        self.enter(&Operation::Process { slot, verb, arguments: &arguments })?;
        let commit = self.provisional(slot, verb, 1);
        let launcher = self.launcher()?;
        let target = self.target(slot)?;
        let process = process_target(&target)?;
        let source = self.source(stdin)?;
        let environment = self.environment((slot, verb), process).await?;
        let (sink, file) = self.sink(stdout, process)?;
        let unlimited =
            if verb == Verb::ProcessInspect { READ_ONLY_TIMEOUT } else { Duration::MAX };
        let timeout = self.remaining(process.timeout.unwrap_or(unlimited));
        let (walls, cgroup) = self.walls(verb, process, timeout)?;
        let child = Child {
            launcher,
            walls,
            cgroup,
            program: Program::new(process),
            arguments,
            environment,
            directory: process.directory.as_ref().map(|directory| directory.real().to_owned()),
            source,
            sink,
            max_output: process.max_output.0.saturating_add(self.scrubber().lookahead() as u64),
            timeout,
            commit,
        };
        let group = Group::default();
        // Dropped with this future: a call that is cut off takes its program with it.
        let _guard = group.guard();
        let ended = blocking::run(move |stop| child.run(&group, stop)).await;
        let scrubber = self.scrubber();
        match ended {
            Ok(ended) => {
                let output = output(
                    ended,
                    usize::try_from(process.max_output.0).unwrap_or(usize::MAX),
                    &scrubber,
                );
                self.moved(
                    usize::try_from(output.produced_bytes)
                        .unwrap_or(usize::MAX)
                        .saturating_add(output.stderr.len()),
                );
                Ok(output)
            }
            Err(failure) => Err(self.shown_fault(fault(&failure, &target, file.as_ref(), timeout))),
        }
    }
}

impl Host {
    fn source(&mut self, input: Input) -> Result<Source, Fault> {
        Ok(match input {
            Input::Nothing => Source::Nothing,
            Input::Bytes(bytes) => Source::Bytes(bytes),
            Input::File(file) => {
                Source::File(self.files(&file.slot, Verb::FilesRead, &file.path)?, file.path)
            }
        })
    }

    /// Where the output goes, and the file again for messages.
    fn sink(
        &mut self,
        sink: Sink,
        process: &ProcessTarget,
    ) -> Result<(Out, Option<(FilesSlot, String)>), Fault> {
        Ok(match sink {
            Sink::Capture => (
                Out::Capture(
                    process.max_output.0.saturating_add(self.scrubber().lookahead() as u64),
                ),
                None,
            ),
            Sink::File(file) => {
                let slot = self.files(&file.slot, Verb::FilesWrite, &file.path)?;
                (Out::File(slot.clone(), file.path.clone()), Some((slot, file.path)))
            }
        })
    }

    async fn environment(
        &mut self,
        call: (&str, Verb),
        process: &ProcessTarget,
    ) -> Result<Vec<(String, Secret)>, Fault> {
        let mut environment = match &process.connection {
            Some(name) => self.connection_environment(call, name).await?,
            None => Vec::new(),
        };
        for (name, value) in &process.environment {
            let value = match value {
                EnvironmentValue::Plain(text) => Secret::from(text.as_str()),
                EnvironmentValue::Secret(secret) => self.secret(secret).await?,
            };
            environment.push((name.clone(), value));
        }
        let broken = |(name, value): &&(String, Secret)| {
            name.is_empty() || name.contains(['=', '\0']) || value.expose().contains(&0)
        };
        if let Some((name, _)) = environment.iter().find(broken) {
            let message = format!(
                "variable `{}` cannot be set: its name or value has a character that no variable \
                 may have",
                name.escape_debug()
            );
            return Err(Fault::new(FaultClass::Invalid, "process.environment", message));
        }
        Ok(environment)
    }

    /// What libpq and its programs read. The name of the server is resolved here, and the program
    /// is given the addresses that the gate let through: libpq then asks no resolver.
    async fn connection_environment(
        &mut self,
        (slot, verb): (&str, Verb),
        name: &str,
    ) -> Result<Vec<(String, Secret)>, Fault> {
        let target = self.connection(name)?;
        let unusable = || {
            let message = format!(
                "the connection of target `{name}` is not one to PostgreSQL, the only one that \
                 programs are given"
            );
            Fault::new(FaultClass::Invalid, "process.connection", message)
        };
        let sql = target.sql().ok_or_else(unusable)?;
        let SqlAddress::Server { dialect: Dialect::Postgres, host, port, user, database, tls } =
            &sql.address
        else {
            return Err(unusable());
        };
        let text = |name: &str, value: &str| (name.to_owned(), Secret::from(value));
        let mut environment = vec![
            text("PGPORT", &port.to_string()),
            text("PGUSER", user),
            text("PGDATABASE", database),
            text("PGSSLMODE", ssl_mode(*tls)),
        ];
        if host.starts_with('/') {
            environment.push(text("PGHOST", host));
        } else {
            let server = Server { slot, verb, host, port: *port, within: RESOLVE };
            let addresses = self.judged(&server).await.map_err(unreached)?.addresses();
            // One name for each address, by which the certificate of the server is judged.
            environment.push(text("PGHOST", &vec![host.as_str(); addresses.len()].join(",")));
            environment.push(text("PGHOSTADDR", &addresses.join(",")));
        }
        if let Some(password) = &sql.password {
            environment.push(("PGPASSWORD".to_owned(), self.secret(password).await?));
        }
        for (name, path) in certificate_files(&sql.tls_keys).map_err(|key| {
            let message = format!(
                "`{key}` of target `{name}` is a secret, and a program is given a file: name a \
                 file that only its owner may read"
            );
            Fault::new(FaultClass::Invalid, "process.connection", message)
        })? {
            environment.push((name.to_owned(), Secret::from(path.to_string_lossy().as_ref())));
        }
        Ok(environment)
    }
}

/// Why a program is not given the server of its connection.
fn unreached(unreached: Unreached) -> Fault {
    match unreached {
        Unreached::Refused(fault) => fault,
        Unreached::Resolve(error) | Unreached::Connect(error) => Fault::new(
            FaultClass::Transient,
            "process.resolve",
            format!("the name of the database server cannot be resolved: {error}"),
        ),
        Unreached::Late(within) => Fault::new(
            FaultClass::Timeout,
            "process.resolve",
            format!("nobody told the address of the database server within {} s", within.as_secs()),
        ),
    }
}

/// The variables by which libpq finds the certificates and the key of a connection; the key of the
/// target that is no file, if one is not.
fn certificate_files(keys: &TlsKeys) -> Result<Vec<(&'static str, &Path)>, &'static str> {
    let mut files = Vec::new();
    if let Some(ca) = &keys.ca {
        files.push(("PGSSLROOTCERT", ca.file().ok_or("ca")?.real()));
    }
    if let Some(ClientCertificate { certificates, key }) = &keys.client {
        files.push(("PGSSLCERT", certificates.file().ok_or("client_cert")?.real()));
        let PrivateKey::File(path) = key else { return Err("client_key") };
        files.push(("PGSSLKEY", path.real()));
    }
    Ok(files)
}

fn ssl_mode(tls: runbook_authority::targets::TlsMode) -> &'static str {
    use runbook_authority::targets::TlsMode;
    match tls {
        TlsMode::Prefer => "prefer",
        TlsMode::Disable => "disable",
        TlsMode::Require => "require",
        TlsMode::VerifyFull => "verify-full",
    }
}

fn process_target(target: &Target) -> Result<&ProcessTarget, Fault> {
    target.process().ok_or_else(Fault::denied)
}

/// What the guest sees of a program: `most` bytes of each stream. More was kept, to find secrets
/// that lie across the cut.
fn output(ended: Ended, most: usize, scrubber: &runbook_secrets::Scrubber) -> Output {
    let Ended { exit_code, stdout, stderr, file } = ended;
    Output {
        exit_code,
        truncated: [&stdout, &stderr]
            .into_iter()
            .any(|stream| stream.truncated || stream.kept.len() > most),
        produced_bytes: stdout.produced,
        stdout: scrubber.first_bytes(&stdout.kept, most).into_owned(),
        stderr: scrubber.first_bytes(&stderr.kept, most).into_owned(),
        size_bytes: file.as_ref().map_or(0, |file| file.size),
        digest: file.map_or_else(String::new, |file| file.digest.to_string()),
    }
}

fn fault(
    failure: &Failure,
    target: &Target,
    file: Option<&(FilesSlot, String)>,
    timeout: Duration,
) -> Fault {
    let place = target.describe();
    let new = |class, code, what: String| Fault::new(class, code, format!("{place}: {what}"));
    match failure {
        Failure::NotFound => {
            new(FaultClass::NotFound, "process.not-found", "it is not there".to_owned())
        }
        Failure::Digest { path, found } => new(
            FaultClass::Denied,
            "process.digest",
            format!("the content of {} is not what the target pins; it is {found}", path.display()),
        ),
        Failure::Interpreter(reason) => new(
            FaultClass::Denied,
            "process.interpreter",
            format!("the target pins its interpreter, but {reason}"),
        ),
        Failure::Refused(refusal @ LaunchRefusal::Sandbox(_)) => {
            new(FaultClass::Denied, "process.sandbox", refusal.to_string())
        }
        Failure::Refused(refusal) => {
            new(FaultClass::Conflict, "process.start", format!("it cannot be started: {refusal}"))
        }
        Failure::Start(error) => {
            new(FaultClass::Conflict, "process.start", format!("it cannot be started: {error}"))
        }
        Failure::Input(slot, path, error) => slot.fault(path, error),
        Failure::Sink(error) => match file {
            Some((slot, path)) => slot.fault(path, error),
            None => new(FaultClass::Unknown, "process.io", error.to_string()),
        },
        Failure::Io(error) => new(FaultClass::Unknown, "process.io", error.to_string()),
        Failure::Timeout => new(
            FaultClass::Timeout,
            "process.timeout",
            format!("it did not end within {timeout:?} and was killed"),
        ),
        Failure::Stopped => new(FaultClass::Cancelled, "cancelled", "it was killed".to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests;
