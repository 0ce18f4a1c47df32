//! The journal in one SQLite file or one PostgreSQL database: the same statements, the same
//! judgements.

use crate::connect::{self, Pools, Sharing};
use crate::disk_room::{self, Reserve};
use crate::error::JournalError;
use crate::journal_file;
use crate::lease::{self, Decision, Stored, Takeover, TakeoverReason, decide};
use crate::location::Location;
use crate::sql;
use jiff::{SignedDuration, Timestamp};
use runbook_engine::{
    Acquired, Appended, Fence, Holder, Journal, Lease, LeaseRequest, LifecycleEvent, Record,
    Renewed, RunEnd, RunEvent, RunHeader, RunId, RunPhase, RunSummary, StoredRun, TakenBy,
};
use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// How long a write waits for another process. Writes take milliseconds; a longer wait means that
/// something is stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many candidates an ambiguous id lists.
const MAX_CANDIDATES: i64 = 20;

/// How long a write waits for a server that has gone away: a restart passes, and an operator still
/// sees that something waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// A caller that waits for the server longer than this is told why.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// How long is waited before an operation is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How many runs are removed in one transaction: others wait for it.
const PRUNED_AT_ONCE: i64 = 100;

/// Runs and leases in one SQLite file or one PostgreSQL database. Cheap to clone; clones share
/// their connections.
#[derive(Clone)]
pub struct SqlJournal {
    location: Location,
    pools: Arc<Pools>,
    /// Space kept free on the disk of a file; `None` for a server, whose disk others watch.
    reserve: Option<Arc<Reserve>>,
    away: Arc<AwayFlag>,
    /// The copy that was made when its file had lost its name, if one could be.
    rescued: Arc<OnceCell<Option<PathBuf>>>,
}

/// That the server of a journal went away or came back, for those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// It does not answer. It is waited for so long at most; nothing begins meanwhile.
    Gone {
        /// How long it has not answered.
        since: Duration,
        /// How long it is waited for at most.
        patience: Duration,
    },
    /// The server answers again.
    Back {
        /// How long it was away.
        after: Duration,
    },
}

/// The listener for the loss and return of the server, and whether it was called.
#[derive(Default)]
struct AwayFlag {
    is_gone: AtomicBool,
    tell: OnceLock<fn(&Location, Away)>,
}

impl SqlJournal {
    /// Opens the journal, and makes it if there is none: a file of mode 0600 with its missing
    /// folders (0700), or the tables in the first schema of the database's search path.
    ///
    /// # Errors
    /// [`JournalError`] if the file or server cannot be reached, opened for writing or locked, is
    /// no journal, has no space left, or was written by a newer program.
    pub async fn open(location: &Location) -> Result<Self, JournalError> {
        Self::open_waiting(location, BUSY_TIMEOUT).await
    }

    /// The same, with another time than 10 s that each operation waits for other processes.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub async fn open_waiting(location: &Location, wait: Duration) -> Result<Self, JournalError> {
        if let Location::File(path) = location {
            let owned = path.clone();
            tokio::task::spawn_blocking(move || journal_file::prepare(&owned))
                .await
                .expect("preparing does not panic and is never aborted")?;
        }
        let reserve = location.file().map(Reserve::of);
        let open = |sharing| Pools::open(location, wait, sharing);
        let pools = match (open(Sharing::Shared).await, &reserve) {
            // Whoever only looks needs a little room too, for what SQLite keeps beside the file, or
            // has the file alone.
            (Err(JournalError::Full { .. }), Some(reserve)) => {
                let again =
                    if reserve.give_back() { open(Sharing::Shared).await.ok() } else { None };
                match again {
                    Some(pools) => pools,
                    None => open(Sharing::Alone).await?,
                }
            }
            (pools, _) => pools?,
        };
        if let Some(reserve) = &reserve {
            reserve.keep();
        }
        let (pools, reserve) = (Arc::new(pools), reserve.map(Arc::new));
        Ok(Self {
            location: location.clone(),
            pools,
            reserve,
            away: Arc::default(),
            rescued: Arc::default(),
        })
    }

    /// Sets who is told, once each time, that the server is away and that it is back. The first
    /// call decides.
    #[must_use]
    pub fn telling(self, tell: fn(&Location, Away)) -> Self {
        let _ = self.away.tell.set(tell);
        self
    }

    fn tell_away(&self, away: Away) {
        let is_gone = matches!(away, Away::Gone { .. });
        let was_gone = self.away.is_gone.swap(is_gone, Ordering::SeqCst);
        if let (Some(tell), true) = (self.away.tell.get(), was_gone != is_gone) {
            tell(&self.location, away);
        }
    }

    /// Where the journal is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Closes the connections and folds the side files back in. Nothing is lost without it.
    pub async fn close(&self) {
        self.pools.readers.close().await;
        self.pools.writer.close().await;
    }

    /// The one run whose id begins with `prefix`, with or without hyphens, in either case.
    ///
    /// # Errors
    /// [`JournalError::NoRun`] if no run fits, [`JournalError::Ambiguous`] if several do; others if
    /// the journal cannot be read.
    pub async fn find(&self, prefix: &str) -> Result<RunId, JournalError> {
        let none = || JournalError::NoRun { run: prefix.to_owned() };
        let (from, to) = bounds(prefix).ok_or_else(none)?;
        let rows = sqlx::query(sql::FIND_RUNS)
            .bind(from)
            .bind(to)
            .bind(MAX_CANDIDATES)
            .fetch_all(&self.pools.readers)
            .await;
        let rows = rows.map_err(|source| self.failed(source))?;
        let mut candidates = rows.iter().map(sql::summary).collect::<Result<Vec<_>, _>>()?;
        match candidates.len() {
            0 => Err(none()),
            1 => Ok(candidates.remove(0).run),
            _ => Err(JournalError::Ambiguous { prefix: prefix.to_owned(), candidates }),
        }
    }

    /// The records from number `seq` on: what is new for one who follows a run.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or holds a record that this program does not
    /// understand. An unknown run is no error: it has no records.
    pub async fn records_from(&self, run: RunId, seq: u64) -> Result<Vec<Record>, JournalError> {
        let rows = sqlx::query(sql::SELECT_EVENTS)
            .bind(run.to_string())
            .bind(sql::stored(seq))
            .fetch_all(&self.pools.readers)
            .await;
        rows.map_err(|source| self.failed(source))?
            .iter()
            .map(|row| sql::record(run, row))
            .collect()
    }

    /// Who holds a lease and how long it lives at `now` without a renewal, if anybody does.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or the stored lease is not understood.
    pub async fn holder(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<(Holder, Duration)>, JournalError> {
        let row =
            sqlx::query(sql::SELECT_LEASE).bind(name).fetch_optional(&self.pools.readers).await;
        let stored =
            row.map_err(|source| self.failed(source))?.as_ref().map(sql::lease).transpose()?;
        let Some((holder, expires)) =
            stored.and_then(|stored| Some((stored.holder, stored.expires?)))
        else {
            return Ok(None);
        };
        let left = lease::left(expires, self.now(now).await?);
        Ok((!left.is_zero()).then_some((holder, left)))
    }

    /// Every time that this lease was taken from a holder that had not released it.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or a stored takeover is not understood.
    pub async fn takeovers(&self, name: &str) -> Result<Vec<Takeover>, JournalError> {
        let rows =
            sqlx::query(sql::SELECT_TAKEOVERS).bind(name).fetch_all(&self.pools.readers).await;
        rows.map_err(|source| self.failed(source))?.iter().map(sql::takeover).collect()
    }

    /// Asks whoever executes a run, as `executor`, to end it in order. Once is enough.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be written, or its server stays away for longer than
    /// it is waited for.
    pub async fn request_cancel(
        &self,
        run: RunId,
        executor: Uuid,
        operator: &str,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.patiently(async |_| {
            let insert = sqlx::query(sql::INSERT_CANCEL)
                .bind(run.to_string())
                .bind(executor.to_string())
                .bind(sql::nanoseconds(now))
                .bind(operator);
            insert.execute(&self.pools.writer).await.map(drop).map_err(|source| self.failed(source))
        })
        .await
    }

    /// Who holds a lease although its time is over: it was not given back, and nobody has taken it
    /// yet.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or the stored lease is not understood.
    pub async fn late_holder(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Holder>, JournalError> {
        let row =
            sqlx::query(sql::SELECT_LEASE).bind(name).fetch_optional(&self.pools.readers).await;
        let stored =
            row.map_err(|source| self.failed(source))?.as_ref().map(sql::lease).transpose()?;
        let Some((holder, expires)) =
            stored.and_then(|stored| Some((stored.holder, stored.expires?)))
        else {
            return Ok(None);
        };
        Ok(lease::left(expires, self.now(now).await?).is_zero().then_some(holder))
    }

    /// When the process that executes a run, or died while it did, renewed its lease last, which it
    /// takes for `ttl`. `None` if it was given back.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or the stored lease is not understood.
    pub async fn last_seen(
        &self,
        run: RunId,
        ttl: Duration,
    ) -> Result<Option<Timestamp>, JournalError> {
        let row = sqlx::query(sql::SELECT_LEASE)
            .bind(format!("run:{run}"))
            .fetch_optional(&self.pools.readers)
            .await;
        let stored =
            row.map_err(|source| self.failed(source))?.as_ref().map(sql::lease).transpose()?;
        Ok(stored.and_then(|stored| stored.last_seen(ttl)))
    }

    /// Who asked last that any execution of a run end it, and when.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn last_cancel_request(
        &self,
        run: RunId,
    ) -> Result<Option<(String, Timestamp)>, JournalError> {
        let row = sqlx::query(sql::SELECT_LAST_CANCEL)
            .bind(run.to_string())
            .fetch_optional(&self.pools.readers)
            .await;
        let row = row.map_err(|source| self.failed(source))?;
        row.map(|row| Ok((sql::text(&row, "operator")?, sql::time(&row, "at_ns")?))).transpose()
    }

    /// Who asked this execution of a run to end it, if anybody did.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn cancel_request(
        &self,
        run: RunId,
        executor: Uuid,
    ) -> Result<Option<String>, JournalError> {
        let select =
            sqlx::query(sql::SELECT_CANCEL).bind(run.to_string()).bind(executor.to_string());
        let row = select
            .fetch_optional(&self.pools.readers)
            .await
            .map_err(|source| self.failed(source))?;
        row.map(|row| sql::text(&row, "operator")).transpose()
    }

    /// The run that tries `run` again, if there is one.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn tried_again_by(&self, run: RunId) -> Result<Option<RunId>, JournalError> {
        let row = sqlx::query(sql::SELECT_RETRY)
            .bind(run.to_string())
            .fetch_optional(&self.pools.readers)
            .await;
        row.map_err(|source| self.failed(source))?.as_ref().map_or(Ok(None), sql::tried_again_by)
    }

    /// Writes onto `old` that `run` tries it again, in the transaction of that run's first record.
    /// Only one run can.
    async fn claim(
        &self,
        transaction: &mut Transaction<'static, Any>,
        run: RunId,
        old: RunId,
    ) -> Result<(), JournalError> {
        let failed = |source| self.failed(source);
        let set = sqlx::query(sql::SET_RETRY).bind(old.to_string()).bind(run.to_string());
        if set.execute(&mut **transaction).await.map_err(failed)?.rows_affected() == 1 {
            return Ok(());
        }
        let row = sqlx::query(sql::SELECT_RETRY)
            .bind(old.to_string())
            .fetch_optional(&mut **transaction)
            .await;
        match row.map_err(failed)?.as_ref().map_or(Ok(None), sql::tried_again_by)? {
            Some(by) => Err(JournalError::TriedAgain { run: old, by }),
            None => Err(JournalError::NoRun { run: old.to_string() }),
        }
    }

    /// Removes what is kept of a run whose first record was refused: it never began.
    async fn forget(&self, run: RunId) {
        // A remaining row is listed and has no effect.
        let _ =
            sqlx::query(sql::FORGET_RUN).bind(run.to_string()).execute(&self.pools.writer).await;
    }

    pub(crate) fn readers(&self) -> &AnyPool {
        &self.pools.readers
    }

    pub(crate) fn writer(&self) -> &AnyPool {
        &self.pools.writer
    }

    pub(crate) fn failed(&self, source: sqlx::Error) -> JournalError {
        JournalError::of(&self.location, source)
    }

    /// A transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, JournalError> {
        self.pools
            .writer
            .begin_with(connect::begin(&self.location))
            .await
            .map_err(|source| self.failed(source))
    }

    pub(crate) async fn commit(
        &self,
        transaction: Transaction<'static, Any>,
    ) -> Result<(), JournalError> {
        transaction.commit().await.map_err(|source| self.failed(source))
    }

    pub(crate) fn append_error(&self, run: RunId, seq: u64, source: sqlx::Error) -> JournalError {
        match source.as_database_error().map(sqlx::error::DatabaseError::kind) {
            Some(sqlx::error::ErrorKind::UniqueViolation) => {
                JournalError::RecordExists { run, seq }
            }
            Some(sqlx::error::ErrorKind::ForeignKeyViolation) => {
                JournalError::NoRun { run: run.to_string() }
            }
            _ => self.failed(source),
        }
    }

    /// The clock that decides about leases: this machine's for a file, which only this machine has;
    /// the server's for a database, because the clocks of two machines differ, and the faster one
    /// would take the other's leases.
    pub(crate) async fn now(&self, caller: Timestamp) -> Result<Timestamp, JournalError> {
        if self.location.file().is_some() {
            return Ok(caller);
        }
        let row = sqlx::query(sql::SELECT_CLOCK)
            .fetch_one(&self.pools.writer)
            .await
            .map_err(|source| self.failed(source))?;
        sql::time(&row, "now_ns")
    }

    /// Tries again as long as the server is away. What is tried may have happened before the
    /// connection broke.
    async fn patiently<T, F: Future<Output = Result<T, JournalError>>>(
        &self,
        mut attempt: impl FnMut(Try) -> F,
    ) -> Result<T, JournalError> {
        let since = Instant::now();
        let mut this = Try::First;
        loop {
            self.has_its_files().await?;
            let mut work = pin!(attempt(this));
            let result = match tokio::time::timeout(TELL_AFTER, &mut work).await {
                Ok(result) => result,
                Err(_) => {
                    self.tell_away(Away::Gone { since: since.elapsed(), patience: PATIENCE });
                    work.await
                }
            };
            // Records in a file that has lost its name are lost.
            self.has_its_files().await?;
            match result {
                Err(JournalError::Unreachable { .. }) if since.elapsed() < PATIENCE => {
                    self.tell_away(Away::Gone { since: since.elapsed(), patience: PATIENCE });
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                Err(error @ JournalError::Unreachable { .. }) => return Err(error),
                other => {
                    self.tell_away(Away::Back { after: since.elapsed() });
                    return other;
                }
            }
            this = Try::Again;
        }
    }

    /// Refuses to go on with a file that cannot be opened by its name any more.
    async fn has_its_files(&self) -> Result<(), JournalError> {
        let Some((file, change)) = self.pools.files.as_ref().and_then(|files| files.changed())
        else {
            return Ok(());
        };
        let rescued = self.rescued.get_or_init(|| self.rescue()).await.clone();
        Err(JournalError::Gone { file, change, rescued })
    }

    /// Copies all records out of the open files to a new one, from which the run can be resumed;
    /// `None` if that cannot be.
    async fn rescue(&self) -> Option<PathBuf> {
        let path = self
            .location
            .file()
            .filter(|_| self.pools.files.as_ref().is_some_and(|files| files.is_written()))?;
        let copy = journal_file::place_of_copy(path)?;
        let name = copy.to_str()?.to_owned();
        match sqlx::query("VACUUM INTO $1").bind(name).execute(&self.pools.writer).await {
            Ok(_) => Some(copy),
            Err(_) => {
                drop(std::fs::remove_file(&copy));
                None
            }
        }
    }

    /// Tries once to take a lease; `None` if another process was faster between reading and
    /// writing.
    async fn try_acquire(&self, request: &LeaseRequest) -> Result<Option<Acquired>, JournalError> {
        let request = &LeaseRequest { now: self.now(request.now).await?, ..request.clone() };
        let mut transaction = self.begin().await?;
        let row = sqlx::query(sql::SELECT_LEASE)
            .bind(&request.name)
            .fetch_optional(&mut *transaction)
            .await;
        let stored =
            row.map_err(|source| self.failed(source))?.as_ref().map(sql::lease).transpose()?;
        let (token, from) = match decide(stored.as_ref(), request) {
            Decision::Busy { holder, token, left } => {
                return Ok(Some(Acquired::Busy { holder, token, left }));
            }
            Decision::Give { token, from } => (token, from),
        };
        if !write_lease(&mut transaction, request, stored.as_ref(), token)
            .await
            .map_err(|source| self.failed(source))?
        {
            return Ok(None);
        }
        self.note_holder(&mut transaction, request, token).await?;
        if let Some((holder, reason)) = &from {
            write_takeover(&mut transaction, request, token, holder, *reason)
                .await
                .map_err(|source| self.failed(source))?;
        }
        self.commit(transaction).await?;
        let taken_from = from.map(|(holder, _)| holder);
        let last_seen = stored
            .filter(|_| taken_from.is_some())
            .and_then(|stored| stored.last_seen(request.ttl));
        Ok(Some(Acquired::Held(Lease { name: request.name.clone(), token, taken_from, last_seen })))
    }

    async fn try_renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Renewed, JournalError> {
        let now = self.now(now).await?;
        let renewed = sqlx::query(sql::RENEW_LEASE)
            .bind(&lease.name)
            .bind(sql::stored(lease.token))
            .bind(sql::nanoseconds(expiry(now, ttl)))
            .execute(&self.pools.writer)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(if renewed.rows_affected() == 1 { Renewed::Held } else { Renewed::Lost })
    }

    async fn try_release(&self, lease: &Lease) -> Result<(), JournalError> {
        let released = sqlx::query(sql::RELEASE_LEASE)
            .bind(&lease.name)
            .bind(sql::stored(lease.token))
            .execute(&self.pools.writer)
            .await;
        released.map(drop).map_err(|source| self.failed(source))
    }

    async fn insert_run(&self, header: &RunHeader) -> Result<(), JournalError> {
        // A run that begins without room for its last records would stop in the middle, with its
        // locks held.
        let has_no_room = self.reserve.as_ref().is_some_and(|reserve| !reserve.keep());
        if has_no_room || self.location.file().is_some_and(disk_room::is_full) {
            let source = sqlx::Error::Io(std::io::ErrorKind::StorageFull.into());
            return Err(JournalError::Full { place: self.location.clone(), source });
        }
        let inserted = sqlx::query(sql::INSERT_RUN)
            .bind(header.run.to_string())
            .bind(&header.name)
            .bind(&header.title)
            .bind(&header.operator)
            .bind(&header.environment)
            .bind(json(&RunPhase::Running))
            .bind(sql::nanoseconds(header.started))
            .bind(&header.digest)
            .bind(json(&header.sources))
            .bind(json(&header.params))
            .execute(&self.pools.writer)
            .await;
        inserted.map(drop).map_err(|source| {
            match source.as_database_error().map(sqlx::error::DatabaseError::kind) {
                Some(sqlx::error::ErrorKind::UniqueViolation) => {
                    JournalError::RunExists { run: header.run }
                }
                _ => self.failed(source),
            }
        })
    }

    async fn insert_record(&self, run: RunId, record: &Record) -> Result<(), JournalError> {
        if record.event.phase().is_none() {
            // One statement is a transaction of its own: the common case costs one trip to the
            // database.
            let inserted = insert_event(run, record).execute(&self.pools.writer).await;
            return inserted.map(drop).map_err(|source| self.append_error(run, record.seq, source));
        }
        let mut transaction = self.begin().await?;
        self.insert_with_phase(&mut transaction, run, record).await?;
        self.commit(transaction).await
    }

    /// Inserts a record, and the phase that follows from it.
    pub(crate) async fn insert_with_phase(
        &self,
        transaction: &mut Transaction<'static, Any>,
        run: RunId,
        record: &Record,
    ) -> Result<(), JournalError> {
        let failed = |source| self.append_error(run, record.seq, source);
        insert_event(run, record).execute(&mut **transaction).await.map_err(failed)?;
        if let RunEvent::Run(LifecycleEvent::RunStarted { retry_of: Some(retry), .. }) =
            &record.event
        {
            self.claim(transaction, run, retry.run).await?;
        }
        let Some(phase) = record.event.phase() else { return Ok(()) };
        let ended = matches!(phase, RunPhase::Ended(_)).then(|| sql::nanoseconds(record.at));
        let took_ms = match &record.event {
            RunEvent::Run(
                LifecycleEvent::Paused { took_ms, .. } | LifecycleEvent::RunEnded { took_ms, .. },
            ) => *took_ms,
            _ => None,
        };
        let update = sqlx::query(sql::SET_PHASE)
            .bind(run.to_string())
            .bind(json(&phase))
            .bind(ended)
            .bind(took_ms.map(sql::stored));
        update.execute(&mut **transaction).await.map(drop).map_err(failed)
    }

    /// How long the last runs of a runbook took that succeeded, at most `limit` of them, newest
    /// first.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn durations(&self, name: &str, limit: usize) -> Result<Vec<Duration>, JournalError> {
        let good = [RunEnd::Succeeded, RunEnd::SucceededWithWarnings]
            .map(|end| json(&RunPhase::Ended(end)));
        let [plain, warned] = good;
        let query = sqlx::query(sql::SELECT_DURATIONS).bind(name).bind(plain).bind(warned);
        let rows = query
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pools.readers)
            .await;
        let took = |row| sql::number(row, "took_ms").map(Duration::from_millis);
        rows.map_err(|source| self.failed(source))?.iter().map(took).collect()
    }

    /// How many runs there are.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn count(&self) -> Result<u64, JournalError> {
        let row = sqlx::query(sql::COUNT_RUNS)
            .fetch_one(&self.pools.readers)
            .await
            .map_err(|source| self.failed(source))?;
        sql::number(&row, "n")
    }

    /// How many runs [`prune`](Self::prune) would remove.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn prunable(&self, pruning: &Pruning) -> Result<u64, JournalError> {
        let row =
            pruning.bind(sqlx::query(sql::COUNT_PRUNABLE)).fetch_one(&self.pools.readers).await;
        sql::number(&row.map_err(|source| self.failed(source))?, "n")
    }

    /// Removes runs that have ended, with their records, oldest first, a hundred at once; how many.
    /// A run that goes on, waits or is being undone is never removed.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or written. The hundreds that were removed
    /// before stay removed.
    pub async fn prune(&self, pruning: &Pruning) -> Result<u64, JournalError> {
        let mut removed = 0;
        loop {
            let found = pruning.bind(sqlx::query(sql::SELECT_PRUNABLE)).bind(PRUNED_AT_ONCE);
            let rows =
                found.fetch_all(&self.pools.readers).await.map_err(|source| self.failed(source))?;
            let ids =
                rows.iter().map(|row| sql::text(row, "run")).collect::<Result<Vec<_>, _>>()?;
            if ids.is_empty() {
                return Ok(removed);
            }
            let before = removed;
            let mut transaction = self.begin().await?;
            for id in &ids {
                removed += u64::from(
                    remove(&mut transaction, id).await.map_err(|source| self.failed(source))?,
                );
            }
            self.commit(transaction).await?;
            if removed == before {
                // Somebody else was faster with all of them.
                return Ok(removed);
            }
        }
    }
}

impl Journal for SqlJournal {
    type Error = JournalError;

    async fn create(&self, header: &RunHeader) -> Result<(), JournalError> {
        self.patiently(async |this| match (this, self.insert_run(header).await) {
            (Try::Again, Err(JournalError::RunExists { run }))
                if self.load(run).await?.header == *header =>
            {
                Ok(())
            }
            (_, result) => result,
        })
        .await
    }

    async fn append(&self, run: RunId, record: &Record) -> Result<(), JournalError> {
        self.patiently(async |this| match (this, self.insert_record(run, record).await) {
            // The connection broke after the commit and before its answer: what is there is ours.
            (Try::Again, Err(JournalError::RecordExists { .. }))
                if self.records_from(run, record.seq).await?.first() == Some(record) =>
            {
                Ok(())
            }
            (_, Err(error @ JournalError::TriedAgain { .. })) => {
                self.forget(run).await;
                Err(error)
            }
            (_, result) => result,
        })
        .await
    }

    async fn append_fenced(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<Appended, JournalError> {
        self.patiently(async |this| match (this, self.insert_fenced(run, record, fence).await) {
            // As above; the leases were held when it was written.
            (Try::Again, Err(JournalError::RecordExists { .. }))
                if self.records_from(run, record.seq).await?.first() == Some(record) =>
            {
                Ok(Appended::Kept)
            }
            (_, Err(error @ JournalError::TriedAgain { .. })) => {
                self.forget(run).await;
                Err(error)
            }
            (_, result) => result,
        })
        .await
    }

    async fn load(&self, run: RunId) -> Result<StoredRun, JournalError> {
        let row = sqlx::query(sql::SELECT_RUN)
            .bind(run.to_string())
            .fetch_optional(&self.pools.readers)
            .await;
        let row = row
            .map_err(|source| self.failed(source))?
            .ok_or_else(|| JournalError::NoRun { run: run.to_string() })?;
        Ok(StoredRun { header: sql::header(&row)?, records: self.records_from(run, 0).await? })
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunSummary>, JournalError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql::LIST_RUNS).bind(limit).fetch_all(&self.pools.readers).await;
        rows.map_err(|source| self.failed(source))?.iter().map(sql::summary).collect()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Acquired, JournalError> {
        loop {
            if let Some(acquired) =
                self.patiently(async |_| self.try_acquire(request).await).await?
            {
                return Ok(acquired);
            }
        }
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Renewed, JournalError> {
        self.patiently(async |_| self.try_renew(lease, now, ttl).await).await
    }

    async fn taken_by(&self, run: RunId, lock: &str) -> Result<Option<TakenBy>, JournalError> {
        let broken =
            self.locks_taken_from(run).await?.into_iter().rev().find(|broken| broken.name == lock);
        Ok(broken.map(|broken| TakenBy {
            by: broken.operator,
            at: broken.at,
            reason: broken.reason,
        }))
    }

    async fn held_between(
        &self,
        lock: &str,
        between: (u64, u64),
    ) -> Result<Vec<RunId>, JournalError> {
        self.holders_between(lock, between).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), JournalError> {
        // Tried once: nobody waits for it, and a lease that could not be released expires.
        match self.try_release(lease).await {
            // A lock that could not be released because the disk is full would block others for no
            // reason.
            Err(JournalError::Full { .. })
                if self.reserve.as_ref().is_some_and(|reserve| reserve.give_back()) =>
            {
                self.try_release(lease).await
            }
            other => other,
        }
    }
}

/// Whether something was tried before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    Again,
}

/// What is removed by [`SqlJournal::prune`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning {
    /// Runs that ended before this.
    pub ended_before: Timestamp,
    /// Whether runs that need a person are removed too.
    pub dirty: DirtyRuns,
    /// Now: who executes a run at this moment keeps it.
    pub now: Timestamp,
}

/// What happens to runs that left something changed for a person to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirtyRuns {
    /// Dirty runs stay in the journal.
    Keep,
    /// Dirty runs are removed like others.
    Remove,
}

type Query<'q> = sqlx::query::Query<'q, Any, sqlx::any::AnyArguments>;

impl Pruning {
    fn bind<'q>(&self, query: Query<'q>) -> Query<'q> {
        let kept = match self.dirty {
            DirtyRuns::Keep => json(&RunPhase::Ended(RunEnd::Dirty)),
            DirtyRuns::Remove => String::new(),
        };
        query.bind(sql::nanoseconds(self.ended_before)).bind(kept).bind(sql::nanoseconds(self.now))
    }
}

fn insert_event(run: RunId, record: &Record) -> Query<'static> {
    sqlx::query(sql::INSERT_EVENT)
        .bind(run.to_string())
        .bind(sql::stored(record.seq))
        .bind(sql::nanoseconds(record.at))
        .bind(json(&record.event))
}

/// Removes one run with all that is kept of it; whether it was there and had ended.
async fn remove(connection: &mut AnyConnection, id: &str) -> Result<bool, sqlx::Error> {
    for statement in
        [sql::DELETE_EVENTS, sql::DELETE_CANCELS, sql::DELETE_BROKEN, sql::DELETE_HOLDERS]
    {
        sqlx::query(statement).bind(id).execute(&mut *connection).await?;
    }
    let removed =
        sqlx::query(sql::DELETE_RUN).bind(id).execute(&mut *connection).await?.rows_affected() == 1;
    let lease = format!("run:{id}");
    for statement in [sql::DELETE_LEASE, sql::DELETE_TAKEOVERS] {
        sqlx::query(statement).bind(&lease).execute(&mut *connection).await?;
    }
    Ok(removed)
}

/// Writes the lease; `false` if the stored one is no longer the one that was decided about.
async fn write_lease(
    connection: &mut AnyConnection,
    request: &LeaseRequest,
    stored: Option<&Stored>,
    token: u64,
) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(if stored.is_some() { sql::TAKE_LEASE } else { sql::INSERT_LEASE })
        .bind(&request.name)
        .bind(sql::stored(token))
        .bind(request.holder.run.to_string())
        .bind(request.holder.executor.to_string())
        .bind(&request.holder.host)
        .bind(i64::from(request.holder.pid))
        .bind(process(&request.holder))
        .bind(sql::nanoseconds(expiry(request.now, request.ttl)));
    let query = match stored {
        Some(stored) => {
            query.bind(sql::stored(stored.token)).bind(stored.expires.map_or(-1, sql::nanoseconds))
        }
        None => query,
    };
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

async fn write_takeover(
    connection: &mut AnyConnection,
    request: &LeaseRequest,
    token: u64,
    from: &Holder,
    reason: TakeoverReason,
) -> Result<(), sqlx::Error> {
    sqlx::query(sql::INSERT_TAKEOVER)
        .bind(&request.name)
        .bind(sql::stored(token))
        .bind(sql::nanoseconds(request.now))
        .bind(reason.name())
        .bind(request.holder.run.to_string())
        .bind(sql::stored(token - 1))
        .bind(from.run.to_string())
        .bind(from.executor.to_string())
        .bind(&from.host)
        .bind(i64::from(from.pid))
        .bind(process(from))
        .execute(connection)
        .await
        .map(drop)
}

/// What tells a process from others, as stored.
fn process(holder: &Holder) -> String {
    holder.process.as_ref().map(json).unwrap_or_default()
}

pub(crate) fn expiry(now: Timestamp, ttl: Duration) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types have string keys and no failing serializers")
}

/// The least and the greatest id that begin like this, or `None` if no id does.
fn bounds(prefix: &str) -> Option<(String, String)> {
    let digits: Vec<char> =
        prefix.trim().chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if digits.is_empty() || digits.len() > 32 || !digits.iter().all(char::is_ascii_hexdigit) {
        return None;
    }
    let filled = |with: char| {
        let mut text = String::new();
        for (index, digit) in
            digits.iter().copied().chain(std::iter::repeat(with)).take(32).enumerate()
        {
            if matches!(index, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        text
    };
    Some((filled('0'), filled('f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_read_with_or_without_hyphens() {
        let all = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        let eight =
            all("0193ab12-0000-0000-0000-000000000000", "0193ab12-ffff-ffff-ffff-ffffffffffff");
        assert_eq!((bounds("0193AB12"), bounds("0193ab12-")), (eight.clone(), eight));
        assert_eq!(
            bounds("0193ab1277"),
            all("0193ab12-7700-0000-0000-000000000000", "0193ab12-77ff-ffff-ffff-ffffffffffff")
        );
        assert_eq!((bounds(""), bounds("0193%"), bounds(&"0".repeat(33))), (None, None, None));
    }

    #[tokio::test]
    async fn each_commit_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let journal =
            SqlJournal::open(&Location::File(folder.path().join("journal.db"))).await.unwrap();
        for pool in [&journal.pools.writer, &journal.pools.readers] {
            let synchronous: i64 =
                sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await.unwrap();
            let mode: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
            assert_eq!((synchronous, mode.as_str()), (2, "wal"), "2 is FULL");
        }
    }
}
