//! One database: PostgreSQL, MySQL or MariaDB, or SQLite.
//!
//! Each host call has a connection of its own: nothing that one call did to its session reaches the
//! next. The parser is not the defence: reads are read-only because of how each driver runs them.

mod failure;
mod foreseen;
mod mysql;
mod postgres;
mod sqlite;
mod stream;
mod words;

pub use foreseen::{Foreseen, foresee};

use crate::bindings::runbook::sql::types::{Artifact, Driver, Element, Rows, Statement, Value};
use crate::bindings::runbook::sql::{reader, snapshot, types, writer};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::net::judged::{Judged, Server};
use crate::net::tls::Proof;
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{SqlAddress, SqlTarget, TlsMode};
use runbook_authority::{Grant, Operation, Target, Verb};
use runbook_secrets::{Scrubber, Secret};
use rustls::ClientConfig;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn kind(&mut self, slot: String) -> Result<Driver, Fault> {
        self.enter(&Operation::Sql { slot: &slot, verb: Verb::SqlQuery, statement: None })?;
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
        let limits = access.time_limits();
        let rows = match access.sql().dialect() {
            Dialect::Postgres => postgres::query(&access, &statement, &parameters).await,
            Dialect::MySql => mysql::query(&access, &statement, &parameters).await,
            Dialect::Sqlite => sqlite::query(access, statement, parameters).await,
        };
        let rows = rows.map_err(|fault| self.shown_fault(limits.explain(fault)))?;
        self.moved(rows.rows.iter().flatten().map(size_of).sum());
        Ok(shown(rows, &self.scrubber()))
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
        let commit = self.provisional(&slot, Verb::SqlExecute, 1);
        let access = self.access(&slot, Verb::SqlExecute).await?;
        let limits = access.time_limits();
        let done = match access.sql().dialect() {
            Dialect::Postgres => postgres::execute(&access, &statement, &parameters, &commit).await,
            Dialect::MySql => mysql::execute(&access, &statement, &parameters, &commit).await,
            Dialect::Sqlite => sqlite::execute(access, statement, parameters, commit).await,
        };
        done.map_err(|fault| self.shown_fault(limits.explain(fault)))
    }

    async fn transaction(
        &mut self,
        slot: String,
        statements: Vec<Statement>,
    ) -> Result<Vec<u64>, Fault> {
        let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        self.enter_sql(&slot, Verb::SqlTransaction, &texts)?;
        let commit = self.provisional(&slot, Verb::SqlTransaction, statements.len().max(1));
        let access = self.access(&slot, Verb::SqlTransaction).await?;
        let limits = access.time_limits();
        let done = match access.sql().dialect() {
            Dialect::Postgres => postgres::transaction(&access, &statements, &commit).await,
            Dialect::MySql => mysql::transaction(&access, &statements, &commit).await,
            Dialect::Sqlite => sqlite::transaction(access, statements, commit).await,
        };
        done.map_err(|fault| self.shown_fault(limits.explain(fault)))
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
        only_sqlite(access.sql())?;
        let artifact =
            sqlite::backup(access, files, path).await.map_err(|fault| self.shown_fault(fault))?;
        self.moved(usize::try_from(artifact.size_bytes).unwrap_or(usize::MAX));
        Ok(artifact)
    }

    async fn restore(
        &mut self,
        slot: String,
        directory: String,
        path: String,
    ) -> Result<(), Fault> {
        let access = self.sql(&slot, Verb::SqlRestore, &[]).await?;
        let commit = self.provisional(&slot, Verb::SqlRestore, 1);
        let files = self.files(&directory, Verb::FilesRead, &path)?;
        only_sqlite(access.sql())?;
        sqlite::restore(access, files, path, commit).await.map_err(|fault| self.shown_fault(fault))
    }
}

/// Rows as a guest sees them: a database knows what its clients sent. A row is cut off whole, so no
/// secret lies across a cut.
fn shown(mut rows: Rows, scrubber: &Scrubber) -> Rows {
    if scrubber.is_empty() {
        return rows;
    }
    let clean = |text: &mut String| {
        if let Cow::Owned(clean) = scrubber.text(text) {
            *text = clean;
        }
    };
    for column in &mut rows.columns {
        clean(&mut column.name);
        clean(&mut column.type_name);
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
            | Value::Json(text) => clean(text),
            Value::Other((name, text)) => {
                clean(name);
                clean(text);
            }
            Value::Bytes(bytes) => {
                if let Cow::Owned(clean) = scrubber.bytes(bytes) {
                    *bytes = clean;
                }
            }
            Value::Sequence(items) => items.iter_mut().for_each(|item| {
                if let Element::Text(text) = item {
                    clean(text);
                }
            }),
        }
    }
    rows
}

/// Bytes of a value, roughly: for the audit.
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

fn only_sqlite(target: &SqlTarget) -> Result<(), Fault> {
    if target.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let message = "only a SQLite database is copied this way; others have a program for it, such \
                   as `pg_dump`";
    Err(Fault::new(FaultClass::Invalid, "sql.not-sqlite", message))
}

/// A database that the gate has let a statement of, with what a connection to it needs.
pub(super) struct Access {
    target: Arc<Target>,
    password: Option<Secret>,
    /// Where its server may be connected to; `None` if it is not reached over a network.
    judged: Option<Judged>,
    /// How the connection is encrypted; `None` if it is not.
    tls: Option<Arc<ClientConfig>>,
    /// For connecting and running, enforced by the server too.
    timeout: Duration,
    began: Instant,
    /// The name of a lock on the server that every session of the step holds which may change
    /// something, and of no other step.
    session_lock: String,
}

/// The time limits of a call, in words for the person who may have to raise one.
struct TimeLimits {
    began: Instant,
    limit: Duration,
    words: String,
}

/// Servers count from a moment of their own, in whole milliseconds.
const SLACK: Duration = Duration::from_millis(20);

impl TimeLimits {
    /// Says beside a fault of time which limit it was, and of one that came before any limit that
    /// it was none.
    fn explain(&self, mut fault: Fault) -> Fault {
        let elapsed = self.began.elapsed();
        let is_over = elapsed + SLACK >= self.limit;
        match (fault.code.as_str(), is_over) {
            ("sql.timeout" | "sql.lock-timeout", true) => {
                fault.message = format!("{}: {}", fault.message, self.words);
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
        fault
    }
}

impl Access {
    fn time_limits(&self) -> TimeLimits {
        let place = self.target.place();
        let place = place.rsplit('/').next().unwrap_or(&place);
        let of_target = self.sql().timeout;
        let words = if self.timeout < self.sql().timeout {
            let left =
                Duration::from_millis(u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX));
            format!(
                "{left:?} were left of the step's own `timeout`, which ended it; the target's \
                     is {of_target:?} ({place})"
            )
        } else {
            format!("the `timeout` of the target ended it, which is {of_target:?} ({place})")
        };
        TimeLimits { began: self.began, limit: self.timeout, words }
    }

    fn sql(&self) -> &SqlTarget {
        sql_of(&self.target)
    }
}

fn sql_of(target: &Target) -> &SqlTarget {
    target.sql().expect("the gate lets sql operations through on sql targets only")
}

impl Host {
    /// The database of `slot`, if `verb` may be used there with each of these statements.
    async fn sql(&mut self, slot: &str, verb: Verb, statements: &[&str]) -> Result<Access, Fault> {
        self.enter_sql(slot, verb, statements)?;
        self.access(slot, verb).await
    }

    fn enter_sql(&mut self, slot: &str, verb: Verb, statements: &[&str]) -> Result<(), Fault> {
        if statements.is_empty() {
            self.enter(&Operation::Sql { slot, verb, statement: None })?;
        }
        for statement in statements {
            self.enter(&Operation::Sql { slot, verb, statement: Some(statement) })?;
        }
        // PostgreSQL calls it done, the others call it an error.
        let dialect = sql_of(&*self.target(slot)?).dialect();
        if statements.iter().any(|statement| foreseen::is_empty(dialect, statement)) {
            return Err(Fault::new(FaultClass::Invalid, "sql.empty", "there is no statement"));
        }
        Ok(())
    }

    /// What a connection to the database of `slot` needs. The addresses of its server are judged
    /// here, once for all connections of the call.
    async fn access(&mut self, slot: &str, verb: Verb) -> Result<Access, Fault> {
        let target = self.target(slot)?;
        let password = match &sql_of(&target).password {
            Some(name) => Some(self.secret(name).await?),
            None => None,
        };
        let timeout = self.remaining(sql_of(&target).timeout);
        let began = Instant::now();
        let tls = match proof(sql_of(&target)) {
            Some(proof) => {
                let keys = &sql_of(&target).tls_keys;
                Some(self.client_config(keys, proof, &[], "sql.tls").await?)
            }
            None => None,
        };
        let judged = match sql_of(&target).server() {
            Some((host, port)) => {
                let server = Server { slot, verb, host, port, within: timeout };
                Some(self.judged(&server).await.map_err(stream::unreached)?)
            }
            None => None,
        };
        let session_lock = session_lock(self.run(), self.step());
        Ok(Access { target, password, judged, tls, timeout, began, session_lock })
    }

    /// Ends what earlier attempts of the step still do on the databases that it may change, and
    /// says what was ended.
    ///
    /// # Errors
    /// [`Unfinished::StillRuns`] if something goes on all the same, [`Unfinished::Unasked`] if that
    /// cannot be found out.
    pub(crate) async fn end_earlier_sessions(&mut self) -> Result<Vec<String>, Unfinished> {
        let mut ended = Vec::new();
        let going_on: Vec<_> = self.grants().filter_map(may_go_on).collect();
        for (slot, verb) in going_on {
            let mut call = HostCall::new(self);
            let access = match call.access(&slot, verb).await {
                Ok(access) => access,
                Err(fault) => return Err(Unfinished::Unasked(call.explained(fault))),
            };
            ended.extend(mysql::end_earlier(&access).await?);
        }
        Ok(ended)
    }
}

/// How a server proves who it is, if the connection to it is encrypted.
fn proof(sql: &SqlTarget) -> Option<Proof> {
    sql.server()?;
    match &sql.address {
        SqlAddress::Server { tls: TlsMode::VerifyFull, .. } => Some(Proof::Certificate),
        SqlAddress::Server { tls: TlsMode::Prefer | TlsMode::Require, .. } => Some(Proof::Nothing),
        SqlAddress::Server { tls: TlsMode::Disable, .. } | SqlAddress::File(_) => None,
    }
}

/// The slot of a grant by which something may have been begun that goes on without its client,
/// and the verb by which it was.
fn may_go_on(grant: &Grant) -> Option<(String, Verb)> {
    let verb =
        grant.verbs.iter().find(|verb| matches!(verb, Verb::SqlExecute | Verb::SqlTransaction))?;
    match grant.target.dialect() {
        Some(Dialect::MySql) => Some((grant.slot.clone(), *verb)),
        // It ends what its client does not wait for any more; a file has no server.
        Some(Dialect::Postgres | Dialect::Sqlite) | None => None,
    }
}

/// Why an earlier attempt may still be running.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// The earlier attempt still runs in the database.
    StillRuns(Fault),
    /// It could not be found out whether it is still running.
    Unasked(Fault),
}

/// The name by which the sessions of one step of one run know each other; those of its undo as
/// well. Servers limit it to 64 characters.
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

    /// Whether a row with values of these sizes, as the server sent them, still fits. Asked before
    /// anything of it is copied.
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

/// Rows and errors, as a guest sees them.
#[cfg(test)]
pub(super) fn channels() -> Vec<super::cuts::Channel> {
    use super::cuts::{CAP, Channel};
    use crate::bindings::runbook::sql::types::Column;
    let seen = |scrubber: &Scrubber, values: Vec<Value>| {
        let column = Column { name: "n".to_owned(), type_name: "t".to_owned() };
        format!(
            "{:?}",
            shown(Rows { columns: vec![column], rows: vec![values], truncated: true }, scrubber)
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
            seen(scrubber, values)
        }),
        Channel::bytes("bytes of a cell", CAP, |scrubber, text| {
            let rows = Rows {
                columns: Vec::new(),
                rows: vec![vec![Value::Bytes(text.to_vec())]],
                truncated: false,
            };
            let Value::Bytes(bytes) = shown(rows, scrubber).rows.remove(0).remove(0) else {
                unreachable!("it is bytes")
            };
            bytes
        }),
        Channel::text("names of columns", CAP, |scrubber, text| {
            let column = Column { name: text.to_owned(), type_name: text.to_owned() };
            format!(
                "{:?}",
                shown(Rows { columns: vec![column], rows: Vec::new(), truncated: false }, scrubber)
            )
        }),
    ]
}
