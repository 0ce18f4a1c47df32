//! Runs the program that a slot is bound to: without a shell, with an empty environment, and with
//! the end of its whole process group.

mod child;
mod failure;
mod group;
mod program;
mod program_sandbox;

use crate::bindings::runbook::process::types::{Input, Output, Sink};
use crate::bindings::runbook::process::{inspector, runner, types};
use crate::blocking;
use crate::capabilities::files::FilesSlot;
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::limits::format_limit;
use crate::net::allowed_addresses::{ConnectError, Server};
use child::{Child, CompletedProgram, StdinSource, StdoutSink};
use failure::Failure;
use group::ProcessGroup;
use program::Program;
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{
    ClientCertificate, EnvironmentValue, PrivateKey, ProcessTarget, SqlAddress, TlsKeys,
};
use runbook_authority::{GateRequest, Target, Verb};
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

/// The timeout for resolving the server of the `connection` of a target.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout of a read-only program whose target has none.
const READ_ONLY_TIMEOUT: Duration = Duration::from_mins(1);

/// The timeout of a program that prints a secret and whose target has none.
const SECRET_TIMEOUT: Duration = Duration::from_mins(1);

impl Host {
    async fn program(
        &mut self,
        verb: Verb,
        slot: &str,
        arguments: Vec<String>,
        stdin: Input,
        stdout: Sink,
    ) -> Result<Output, Fault> {
        let default_timeout =
            if verb == Verb::ProcessInspect { READ_ONLY_TIMEOUT } else { Duration::MAX };
        let ended = self.run_program((verb, slot), arguments, (stdin, stdout), default_timeout);
        let ProgramRun { completed, max_output } = ended.await?;
        let output = output(completed, max_output, &self.scrubber());
        self.count_transferred(
            usize::try_from(output.produced_bytes)
                .unwrap_or(usize::MAX)
                .saturating_add(output.stderr.len()),
        );
        Ok(output)
    }

    /// The output of the program of a slot as a secret, without one newline at its end. If it
    /// fails, the error shows what it wrote to its standard error, without secrets and without what
    /// it printed.
    pub(crate) async fn program_secret(
        &mut self,
        (verb, slot): (Verb, &str),
        arguments: Vec<String>,
        name: &str,
    ) -> Result<Secret, Fault> {
        let streams = (Input::Nothing, Sink::Capture);
        let run = self.run_program((verb, slot), arguments, streams, SECRET_TIMEOUT).await?;
        let CompletedProgram { exit_code, stdout, stderr, file: _ } = run.completed;
        let is_cut = stdout.truncated || stdout.captured_bytes.len() > run.max_output;
        let mut printed = stdout.captured_bytes;
        if printed.last() == Some(&b'\n') {
            printed.pop();
            printed.pop_if(|byte| *byte == b'\r');
        }
        let printed = Secret::new(printed);
        self.count_transferred(printed.len());
        let description = self.target(slot)?.describe();
        let fault = |class, what: String| {
            Fault::new(class, "secrets.exec", format!("{description}: {what}"))
        };
        if exit_code != 0 {
            // What it printed may be a part of the secret, and may stand in its standard error.
            self.learn_printed(name, &printed);
            let said = String::from_utf8_lossy(&stderr.captured_bytes).trim().to_owned();
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            let what = format!("it ended with exit code {exit_code}{said}");
            return Err(self.scrubbed_fault(fault(FaultClass::NotFound, what)));
        }
        if is_cut {
            let what = format!("it printed more than {} bytes", run.max_output);
            return Err(fault(FaultClass::Limit, what));
        }
        Ok(printed)
    }

    /// Runs the program of a slot until it ends.
    async fn run_program(
        &mut self,
        (verb, slot): (Verb, &str),
        arguments: Vec<String>,
        (stdin, stdout): (Input, Sink),
        default_timeout: Duration,
    ) -> Result<ProgramRun, Fault> {
        self.enter(&GateRequest::Process { slot, verb, arguments: &arguments })?;
        let commit = self.begin_uncommitted(slot, verb, 1);
        let launcher = self.launcher()?;
        let target = self.target(slot)?;
        let process = process_target(&target)?;
        let source = self.source(stdin)?;
        let environment = self.environment((slot, verb), process).await?;
        let (sink, file) = self.sink(stdout, process)?;
        let timeout = self.remaining(process.timeout.unwrap_or(default_timeout));
        let (sandbox, cgroup) = self.program_sandbox(verb, process, timeout)?;
        let child = Child {
            launcher,
            sandbox,
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
        let group = ProcessGroup::default();
        // Dropped with this future, so the program is killed when the call is cut off.
        let _guard = group.guard();
        let result = blocking::run(move |stop| child.run(&group, stop)).await;
        let max_output = usize::try_from(process.max_output.0).unwrap_or(usize::MAX);
        result.map(|completed| ProgramRun { completed, max_output }).map_err(|failure| {
            self.scrubbed_fault(fault(&failure, &target, file.as_ref(), timeout))
        })
    }
}

/// A program that has ended by itself.
struct ProgramRun {
    completed: CompletedProgram,
    /// How many bytes of each stream its target allows. More were captured.
    max_output: usize,
}

impl Host {
    /// Looks whether the program is there, can be executed, and is the one that the target pins.
    pub(super) async fn reach_program(&mut self, slot: &str) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let process = process_target(&target)?;
        let (program, is_pinned) = (Program::new(process), process.sha256.is_some());
        let found = blocking::run(move |_| program.image()).await;
        found.map_err(|failure| fault(&failure, &target, None, Duration::ZERO))?;
        Ok(if is_pinned {
            "the program can be executed, and its content is what the target pins".to_owned()
        } else {
            "the program can be executed".to_owned()
        })
    }
}

impl Host {
    fn source(&mut self, input: Input) -> Result<StdinSource, Fault> {
        Ok(match input {
            Input::Nothing => StdinSource::Nothing,
            Input::Bytes(bytes) => StdinSource::Bytes(bytes),
            Input::File(file) => {
                StdinSource::File(self.files(&file.slot, Verb::FilesRead, &file.path)?, file.path)
            }
        })
    }

    /// The destination of the output, and its file for messages.
    fn sink(
        &mut self,
        sink: Sink,
        process: &ProcessTarget,
    ) -> Result<(StdoutSink, Option<(FilesSlot, String)>), Fault> {
        Ok(match sink {
            Sink::Capture => (
                StdoutSink::Capture(
                    process.max_output.0.saturating_add(self.scrubber().lookahead() as u64),
                ),
                None,
            ),
            Sink::File(file) => {
                let slot = self.files(&file.slot, Verb::FilesWrite, &file.path)?;
                (StdoutSink::File(slot.clone(), file.path.clone()), Some((slot, file.path)))
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
        let is_invalid = |(name, value): &&(String, Secret)| {
            name.is_empty() || name.contains(['=', '\0']) || value.expose().contains(&0)
        };
        if let Some((name, _)) = environment.iter().find(is_invalid) {
            let message = format!(
                "variable `{}` cannot be set: its name or value has a character that no variable \
                 may have",
                name.escape_debug()
            );
            return Err(Fault::new(FaultClass::Invalid, "process.environment", message));
        }
        Ok(environment)
    }

    /// The environment variables of libpq. The host resolves the name of the server and passes the
    /// addresses that the gate has allowed, so libpq resolves no names.
    async fn connection_environment(
        &mut self,
        (slot, verb): (&str, Verb),
        name: &str,
    ) -> Result<Vec<(String, Secret)>, Fault> {
        let target = self.connection(name)?;
        let not_postgres_fault = || {
            let message = format!(
                "the connection of target `{name}` is not one to PostgreSQL, the only one that \
                 programs are given"
            );
            Fault::new(FaultClass::Invalid, "process.connection", message)
        };
        let sql = target.sql().ok_or_else(not_postgres_fault)?;
        let SqlAddress::Server { dialect: Dialect::Postgres, host, port, user, database, tls } =
            &sql.address
        else {
            return Err(not_postgres_fault());
        };
        let variable = |name: &str, value: &str| (name.to_owned(), Secret::from(value));
        let mut environment = vec![
            variable("PGPORT", &port.to_string()),
            variable("PGUSER", user),
            variable("PGDATABASE", database),
            variable("PGSSLMODE", ssl_mode(*tls)),
        ];
        if host.starts_with('/') {
            environment.push(variable("PGHOST", host));
        } else {
            let server = Server { slot, verb, host, port: *port, timeout: RESOLVE_TIMEOUT };
            let addresses =
                self.allowed_addresses(&server).await.map_err(connect_fault)?.addresses();
            // The name is repeated for each address; libpq verifies the certificate with it.
            environment.push(variable("PGHOST", &vec![host.as_str(); addresses.len()].join(",")));
            environment.push(variable("PGHOSTADDR", &addresses.join(",")));
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

/// The fault for a connection whose server cannot be resolved.
fn connect_fault(connect_fault: ConnectError) -> Fault {
    match connect_fault {
        ConnectError::Refused(fault) => fault,
        ConnectError::Resolve(error) | ConnectError::Connect(error) => Fault::new(
            FaultClass::Transient,
            "process.resolve",
            format!("the name of the database server cannot be resolved: {error}"),
        ),
        ConnectError::TimedOut(timeout) => Fault::new(
            FaultClass::Timeout,
            "process.resolve",
            format!(
                "nobody told the address of the database server within {} s",
                timeout.as_secs()
            ),
        ),
    }
}

/// The environment variables of libpq for the certificates and the private key of a connection.
///
/// # Errors
/// The TOML key whose value is not a file.
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

/// The output of a program for the guest: the first `max_bytes` bytes of each stream, without
/// secrets. More was captured, so that secrets across the cut are recognised.
fn output(
    completed: CompletedProgram,
    max_bytes: usize,
    scrubber: &runbook_secrets::Scrubber,
) -> Output {
    let CompletedProgram { exit_code, stdout, stderr, file } = completed;
    Output {
        exit_code,
        truncated: [&stdout, &stderr]
            .into_iter()
            .any(|stream| stream.truncated || stream.captured_bytes.len() > max_bytes),
        produced_bytes: stdout.produced,
        stdout: scrubber.first_bytes(&stdout.captured_bytes, max_bytes).into_owned(),
        stderr: scrubber.first_bytes(&stderr.captured_bytes, max_bytes).into_owned(),
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
    let description = target.describe();
    let new = |class, code, what: String| Fault::new(class, code, format!("{description}: {what}"));
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
            format!("it did not end within {} and was killed", format_limit(timeout)),
        ),
        Failure::Stopped => new(FaultClass::Cancelled, "cancelled", "it was killed".to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests;
