//! One database: PostgreSQL, MySQL or MariaDB, or SQLite.
//!
//! Each host call has a connection of its own, so the session state of one call does not affect the
//! next. Reads are read-only because of how each driver runs them; the parser is not relied on.

mod failure;
mod mysql;
mod postgres;
mod reachability;
mod sqlite;
mod static_check;
mod stream;
mod words;

pub use static_check::{StatementProblem, check_statement};

use crate::bindings::runbook::sql::types::{Artifact, Driver, Element, Rows, Statement, Value};
use crate::bindings::runbook::sql::{reader, snapshot, types, writer};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::limits::format_limit;
use crate::net::allowed_addresses::{ConnectError, Server};
use crate::net::route::Route;
use crate::net::tls::ServerVerification;
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{SqlAddress, SqlTarget, TlsMode};
use runbook_authority::{GateRequest, Grant, Target, Verb};
use runbook_secrets::{Scrubber, Secret};
use rustls::ClientConfig;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn kind(&mut self, slot: String) -> Result<Driver, Fault> {
        self.enter(&GateRequest::Sql { slot: &slot, verb: Verb::SqlQuery, statement: None })?;
        Ok(match sql_of(&*self.target(&slot)?).dialect() {
            Dialect::Postgres => Driver::Postgres,
            Dialect::MySql => Driver::Mysql,
            Dialect::Sqlite => Driver::Sqlite,
        })
    }

    async fn query(
        &mut self,
        slot: String,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Rows, Fault> {
        let access = self.sql(&slot, Verb::SqlQuery, &[&statement]).await?;
        let limits = access.time_limit();
        let rows = match access.sql().dialect() {
            Dialect::Postgres => postgres::query(&access, &statement, &parameters).await,
            Dialect::MySql => mysql::query(&access, &statement, &parameters).await,
            Dialect::Sqlite => sqlite::query(access, statement, parameters).await,
        };
        let rows =
            rows.map_err(|fault| self.explained_fault(&slot, limits.explain_timeout(fault)))?;
        self.count_transferred(rows.rows.iter().flatten().map(size_of).sum());
        Ok(scrub_rows(rows, &self.scrubber()))
    }
}

impl writer::Host for HostCall<'_> {
    async fn execute(
        &mut self,
        slot: String,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<u64, Fault> {
        self.enter_sql(&slot, Verb::SqlExecute, &[&statement])?;
        let commit = self.begin_uncommitted(&slot, Verb::SqlExecute, 1);
        let access = self.access(&slot, Verb::SqlExecute).await?;
        let limits = access.time_limit();
        let result = match access.sql().dialect() {
            Dialect::Postgres => postgres::execute(&access, &statement, &parameters, &commit).await,
            Dialect::MySql => mysql::execute(&access, &statement, &parameters, &commit).await,
            Dialect::Sqlite => sqlite::execute(access, statement, parameters, commit).await,
        };
        result.map_err(|fault| self.explained_fault(&slot, limits.explain_timeout(fault)))
    }

    async fn transaction(
        &mut self,
        slot: String,
        statements: Vec<Statement>,
    ) -> Result<Vec<u64>, Fault> {
        let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        self.enter_sql(&slot, Verb::SqlTransaction, &texts)?;
        let commit = self.begin_uncommitted(&slot, Verb::SqlTransaction, statements.len().max(1));
        let access = self.access(&slot, Verb::SqlTransaction).await?;
        let limits = access.time_limit();
        let result = match access.sql().dialect() {
            Dialect::Postgres => postgres::transaction(&access, &statements, &commit).await,
            Dialect::MySql => mysql::transaction(&access, &statements, &commit).await,
            Dialect::Sqlite => sqlite::transaction(access, statements, commit).await,
        };
        result.map_err(|fault| self.explained_fault(&slot, limits.explain_timeout(fault)))
    }
}

impl snapshot::Host for HostCall<'_> {
    async fn backup(
        &mut self,
        slot: String,
        directory: String,
        path: String,
    ) -> Result<Artifact, Fault> {
        let access = self.sql(&slot, Verb::SqlBackup, &[]).await?;
        let files = self.files(&directory, Verb::FilesWrite, &path)?;
        require_sqlite(access.sql())?;
        let artifact = sqlite::backup(access, files, path)
            .await
            .map_err(|fault| self.scrubbed_fault(fault))?;
        self.count_transferred(usize::try_from(artifact.size_bytes).unwrap_or(usize::MAX));
        Ok(artifact)
    }

    async fn restore(
        &mut self,
        slot: String,
        directory: String,
        path: String,
    ) -> Result<(), Fault> {
        let access = self.sql(&slot, Verb::SqlRestore, &[]).await?;
        let commit = self.begin_uncommitted(&slot, Verb::SqlRestore, 1);
        let files = self.files(&directory, Verb::FilesRead, &path)?;
        require_sqlite(access.sql())?;
        sqlite::restore(access, files, path, commit)
            .await
            .map_err(|fault| self.scrubbed_fault(fault))
    }
}

/// The rows for the guest, without secrets: a database may return what clients have sent. A result
/// is truncated between rows, so no secret is cut.
fn scrub_rows(mut rows: Rows, scrubber: &Scrubber) -> Rows {
    if scrubber.is_empty() {
        return rows;
    }
    let scrub = |text: &mut String| {
        if let Cow::Owned(scrubbed) = scrubber.text(text) {
            *text = scrubbed;
        }
    };
    for column in &mut rows.columns {
        scrub(&mut column.name);
        scrub(&mut column.type_name);
    }
    for value in rows.rows.iter_mut().flatten() {
        match value {
            Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => {}
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Timestamp(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Uuid(text)
            | Value::Json(text) => scrub(text),
            Value::Other((name, text)) => {
                scrub(name);
                scrub(text);
            }
            Value::Bytes(bytes) => {
                if let Cow::Owned(scrubbed) = scrubber.bytes(bytes) {
                    *bytes = scrubbed;
                }
            }
            Value::Sequence(items) => items.iter_mut().for_each(|item| {
                if let Element::Text(text) = item {
                    scrub(text);
                }
            }),
        }
    }
    rows
}

/// The approximate size of a value in bytes, for the audit log.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => 8,
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Timestamp(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Uuid(text)
        | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Sequence(items) => items.len() * 24,
        Value::Other((name, text)) => name.len() + text.len(),
    }
}

fn require_sqlite(target: &SqlTarget) -> Result<(), Fault> {
    if target.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let message = "only a SQLite database is copied this way; others have a program for it, such \
                   as `pg_dump`";
    Err(Fault::new(FaultClass::Invalid, "sql.not-sqlite", message))
}

/// A database on which the gate has allowed a call, with everything that a connection to it needs.
pub(super) struct DatabaseAccess {
    target: Arc<Target>,
    password: Option<Secret>,
    /// The allowed route to its server; `None` if it is not reached over a network.
    route: Option<Route>,
    /// The TLS configuration of the connection; `None` if it is not encrypted.
    tls: Option<Arc<ClientConfig>>,
    /// For connecting and running together; the server enforces it too.
    timeout: Duration,
    started: Instant,
    /// The name of a lock on the server. Every session of the step that may change something holds
    /// it, and no session of another step does.
    session_lock: String,
}

/// The time limit of a call, with a description for the person who may have to raise it.
struct TimeLimit {
    started: Instant,
    limit: Duration,
    description: String,
    /// The server, such as `db.internal:5432`; `None` if there is none.
    server: Option<String>,
}

/// Whether a fault is about the server or the connection to it, and not about a statement.
fn is_about_server(fault: &Fault) -> bool {
    matches!(
        fault.code.as_str(),
        "sql.connect"
            | "sql.timeout"
            | "sql.login"
            | "sql.too-many-connections"
            | "sql.not-ready"
            | "sql.terminated"
            | "sql.disconnected"
            | "sql.protocol"
            | "sql.tls"
    )
}

/// How much earlier than the host a server may report a timeout: its clock starts at another time,
/// and counts whole milliseconds.
const CLOCK_SLACK: Duration = Duration::from_millis(20);

impl TimeLimit {
    /// Adds to a timeout fault which limit was reached. If no limit was reached, the fault says
    /// that somebody else stopped the statement.
    fn explain_timeout(&self, mut fault: Fault) -> Fault {
        let elapsed = self.started.elapsed();
        let limit_reached = elapsed + CLOCK_SLACK >= self.limit;
        match (fault.code.as_str(), limit_reached) {
            ("sql.timeout" | "sql.lock-timeout", true) => {
                fault.message = format!("{}: {}", fault.message, self.description);
            }
            ("sql.timeout" | "sql.cancelled", _) => {
                let message = format!(
                    "somebody else stopped the statement on the server after {} ms, and no limit \
                     of this step did: {}",
                    elapsed.as_millis(),
                    fault.message
                );
                fault = Fault::new(FaultClass::Conflict, "sql.cancelled", message);
            }
            ("sql.terminated", _) => {
                let message =
                    "somebody ended the session on the server, or the server is being stopped";
                fault.message = format!("{message}: {}", fault.message);
            }
            _ => {}
        }
        if let Some(server) = self.server.as_ref().filter(|_| is_about_server(&fault)) {
            fault.message = format!("{server}: {}", fault.message);
        }
        fault
    }
}

impl DatabaseAccess {
    fn time_limit(&self) -> TimeLimit {
        let location = self.target.location();
        let location = location.rsplit('/').next().unwrap_or(&location);
        let target_timeout = format_limit(self.sql().timeout);
        let description = if self.timeout < self.sql().timeout {
            let time_left = format_limit(self.timeout);
            format!(
                "{time_left} were left of the step's own `timeout`, which ended it; the target's \
                     is {target_timeout} ({location})"
            )
        } else {
            format!("the `timeout` of the target ended it, which is {target_timeout} ({location})")
        };
        let server = self.sql().server().map(|(host, port)| format!("{host}:{port}"));
        TimeLimit { started: self.started, limit: self.timeout, description, server }
    }

    fn sql(&self) -> &SqlTarget {
        sql_of(&self.target)
    }
}

fn sql_of(target: &Target) -> &SqlTarget {
    target.sql().expect("the gate lets sql operations through on sql targets only")
}

impl Host {
    /// Access to the database of `slot`, if the gate allows `verb` with each of these statements.
    async fn sql(
        &mut self,
        slot: &str,
        verb: Verb,
        statements: &[&str],
    ) -> Result<DatabaseAccess, Fault> {
        self.enter_sql(slot, verb, statements)?;
        self.access(slot, verb).await
    }

    fn enter_sql(&mut self, slot: &str, verb: Verb, statements: &[&str]) -> Result<(), Fault> {
        if statements.is_empty() {
            self.enter(&GateRequest::Sql { slot, verb, statement: None })?;
        }
        for statement in statements {
            self.enter(&GateRequest::Sql { slot, verb, statement: Some(statement) })?;
        }
        // PostgreSQL accepts an empty statement, the others return an error.
        let dialect = sql_of(&*self.target(slot)?).dialect();
        if statements.iter().any(|statement| static_check::is_empty(dialect, statement)) {
            return Err(Fault::new(FaultClass::Invalid, "sql.empty", "there is no statement"));
        }
        Ok(())
    }

    /// Access to the database of `slot`. The gate decides about the addresses of its server here,
    /// once for all connections of the call.
    async fn access(&mut self, slot: &str, verb: Verb) -> Result<DatabaseAccess, Fault> {
        let password = match &sql_of(&*self.target(slot)?).password {
            Some(name) => Some(self.secret(name).await?),
            None => None,
        };
        self.access_with(slot, verb, password).await
    }

    /// As [`access`](Self::access), with this password.
    async fn access_with(
        &mut self,
        slot: &str,
        verb: Verb,
        password: Option<Secret>,
    ) -> Result<DatabaseAccess, Fault> {
        let target = self.target(slot)?;
        let timeout = self.remaining(sql_of(&target).timeout);
        let started = Instant::now();
        let tls = match server_verification(sql_of(&target)) {
            Some(server_verification) => {
                let keys = &sql_of(&target).tls_keys;
                Some(self.client_config(keys, server_verification, &[], "sql.tls").await?)
            }
            None => None,
        };
        let route = match sql_of(&target).server() {
            Some((host, port)) => {
                let server = Server { slot, verb, host, port, timeout };
                let route = self.route(&server).await;
                Some(route.map_err(|error| match error {
                    ConnectError::Refused(fault) => fault,
                    ConnectError::Resolve(_)
                    | ConnectError::Connect(_)
                    | ConnectError::TimedOut(_) => {
                        let fault = stream::connect_fault(error);
                        let message = format!("{host}:{port}: {}", fault.message);
                        Fault { message, ..fault }
                    }
                })?)
            }
            None => None,
        };
        let session_lock = session_lock(self.run(), self.step());
        Ok(DatabaseAccess { target, password, route, tls, timeout, started, session_lock })
    }

    /// A fault of a server, without secrets. If it refused the password, and a rotation of that
    /// secret is half done, the fault says which run ends it.
    pub(super) fn explained_fault(&self, slot: &str, fault: Fault) -> Fault {
        let pending = || {
            let target = self.target(slot).ok()?;
            let name = target.sql()?.password.as_deref()?.to_owned();
            let pending = self.secret_source().pending_rotation(&name)?;
            Some(format!("secret `{name}`: {pending}"))
        };
        let explained = match (fault.code == "sql.login").then(pending).flatten() {
            Some(pending) => Fault { message: format!("{}; {pending}", fault.message), ..fault },
            None => fault,
        };
        self.scrubbed_fault(explained)
    }

    /// Ends the sessions that earlier attempts of the step have left on the databases that it may
    /// change. Returns a description of each.
    ///
    /// # Errors
    /// [`EarlierAttemptError::StillRunning`] if a session does not end,
    /// [`EarlierAttemptError::Unknown`] if the server does not tell.
    pub(crate) async fn end_earlier_sessions(
        &mut self,
    ) -> Result<Vec<String>, EarlierAttemptError> {
        let mut descriptions = Vec::new();
        let grants_to_check: Vec<_> = self.grants().filter_map(verb_that_may_still_run).collect();
        for (slot, verb) in grants_to_check {
            let mut call = HostCall::new(self);
            let access = match call.access(&slot, verb).await {
                Ok(access) => access,
                Err(fault) => {
                    return Err(EarlierAttemptError::Unknown(call.with_denial_reason(fault)));
                }
            };
            descriptions.extend(mysql::end_earlier_session(&access).await?);
        }
        Ok(descriptions)
    }
}

/// A statement of the host itself on the database of a slot.
pub(crate) struct RoleLogin<'a> {
    pub(crate) slot: &'a str,
    /// The password instead of that of the target.
    pub(crate) password: Option<&'a Secret>,
    /// The statement as the gate and the audit log see it: without what is derived from a secret.
    pub(crate) shown_statement: &'a str,
}

impl Host {
    /// Opens a session on the PostgreSQL database of a slot with this password, and closes it. The
    /// gate has allowed it.
    pub(crate) async fn open_session(
        &mut self,
        slot: &str,
        password: &Secret,
    ) -> Result<(), Fault> {
        let access = self.access_with(slot, Verb::SqlQuery, Some(password.clone())).await?;
        postgres::reach(&access).await
    }

    /// Runs a statement that the host made on the PostgreSQL database of a slot, in a transaction of
    /// its own. The second value says whether a failed one may have an effect.
    pub(crate) async fn execute_unseen(
        &mut self,
        login: RoleLogin<'_>,
        statement: &str,
    ) -> Result<(), (Fault, UnseenEffect)> {
        let RoleLogin { slot, password, shown_statement } = login;
        let none = |fault| (fault, UnseenEffect::None);
        self.enter_sql(slot, Verb::SqlExecute, &[shown_statement]).map_err(none)?;
        let commit = self.begin_uncommitted(slot, Verb::SqlExecute, 1);
        let access = match password {
            Some(password) => {
                self.access_with(slot, Verb::SqlExecute, Some(password.clone())).await
            }
            None => self.access(slot, Verb::SqlExecute).await,
        };
        let access = access.map_err(none)?;
        let limits = access.time_limit();
        let result = postgres::execute(&access, statement, &[], &commit).await;
        result.map(drop).map_err(|fault| {
            let effect = if commit.is_sent() { UnseenEffect::Possible } else { UnseenEffect::None };
            (self.scrubbed_fault(limits.explain_timeout(fault)), effect)
        })
    }
}

/// Whether a statement of the host that failed may have an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnseenEffect {
    /// It was refused, or never committed.
    None,
    /// Its COMMIT was sent, and no answer came.
    Possible,
}

/// How the server is verified, if the connection to it is encrypted.
fn server_verification(sql: &SqlTarget) -> Option<ServerVerification> {
    sql.server()?;
    match &sql.address {
        SqlAddress::Server { tls: TlsMode::VerifyFull, .. } => {
            Some(ServerVerification::Certificate)
        }
        SqlAddress::Server { tls: TlsMode::Prefer | TlsMode::Require, .. } => {
            Some(ServerVerification::Skipped)
        }
        SqlAddress::Server { tls: TlsMode::Disable, .. } | SqlAddress::File(_) => None,
    }
}

/// The slot and verb of a grant with which a statement may have been started that continues without
/// its client.
fn verb_that_may_still_run(grant: &Grant) -> Option<(String, Verb)> {
    let verb =
        grant.verbs.iter().find(|verb| matches!(verb, Verb::SqlExecute | Verb::SqlTransaction))?;
    match grant.target.dialect() {
        Some(Dialect::MySql) => Some((grant.slot.clone(), *verb)),
        // PostgreSQL ends the statements of a client that is gone; SQLite has no server.
        Some(Dialect::Postgres | Dialect::Sqlite) | None => None,
    }
}

/// Why an earlier attempt may still be running.
#[derive(Debug)]
pub(crate) enum EarlierAttemptError {
    /// The earlier attempt still runs in the database.
    StillRunning(Fault),
    /// It is unknown whether the earlier attempt still runs.
    Unknown(Fault),
}

/// The name of the lock that the sessions of one step of one run share, with those of its undo.
/// Servers limit it to 64 characters.
fn session_lock(run: &str, step: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let step = step.strip_suffix("/undo").unwrap_or(step);
    let digest = Sha256::digest(format!("{run}\0{step}"));
    format!("runbook-{}", digest[..20].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Counts rows and bytes against the target's limits.
struct Budget {
    rows: u32,
    bytes: u64,
}

impl Budget {
    fn new(target: &SqlTarget) -> Self {
        Self { rows: target.max_rows, bytes: target.max_bytes.0 }
    }

    /// Subtracts a row with values of these sizes. Returns false if it does not fit. Call it before
    /// the row is copied.
    fn take(&mut self, sizes: impl Iterator<Item = usize>) -> bool {
        // An empty value counts too.
        let size = sizes.fold(16_u64, |sum, size| sum.saturating_add(size as u64 + 8));
        if self.rows == 0 || self.bytes < size {
            return false;
        }
        self.rows -= 1;
        self.bytes -= size;
        true
    }
}

/// Channels for the rows of a database.
#[cfg(test)]
pub(super) fn channels() -> Vec<super::truncation_tests::Channel> {
    use super::truncation_tests::{CAP, Channel};
    use crate::bindings::runbook::sql::types::Column;
    let shown_values = |scrubber: &Scrubber, values: Vec<Value>| {
        let column = Column { name: "n".to_owned(), type_name: "t".to_owned() };
        format!(
            "{:?}",
            scrub_rows(
                Rows { columns: vec![column], rows: vec![values], truncated: true },
                scrubber
            )
        )
    };
    vec![
        Channel::text("cells", CAP, move |scrubber, text| {
            let text = || text.to_owned();
            let sequence = Value::Sequence(vec![Element::Text(text())]);
            let texts = [
                Value::Decimal,
                Value::Text,
                Value::Timestamp,
                Value::Date,
                Value::Time,
                Value::Uuid,
                Value::Json,
            ];
            let mut values: Vec<_> = texts.into_iter().map(|value| value(text())).collect();
            values.extend([Value::Other((text(), text())), sequence]);
            shown_values(scrubber, values)
        }),
        Channel::bytes("bytes of a cell", CAP, |scrubber, text| {
            let rows = Rows {
                columns: Vec::new(),
                rows: vec![vec![Value::Bytes(text.to_vec())]],
                truncated: false,
            };
            let Value::Bytes(bytes) = scrub_rows(rows, scrubber).rows.remove(0).remove(0) else {
                unreachable!("it is bytes")
            };
            bytes
        }),
        Channel::text("names of columns", CAP, |scrubber, text| {
            let column = Column { name: text.to_owned(), type_name: text.to_owned() };
            format!(
                "{:?}",
                scrub_rows(
                    Rows { columns: vec![column], rows: Vec::new(), truncated: false },
                    scrubber
                )
            )
        }),
    ]
}
