//! `postgres:terminate-blockers`

use crate::database;
use crate::sessions::count;
use crate::terminate::{integers, list_processes, terminate_sessions};
use runbook_sdk::assertion::{pluralize, start_of};
use runbook_sdk::prelude::*;
use runbook_sdk::sql::Row;

/// Which blocking sessions are terminated.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Those whose transaction is older than this. A younger one may be about to end by itself.
    older_than: Span,
}

/// A session that was ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EndedSession {
    /// The number of the server's process.
    pid: i64,
    /// The user of the session.
    user: String,
    /// The name that the client gave itself.
    application: String,
    /// How long its transaction was open, in seconds.
    age_s: i64,
    /// The processes that waited for it, directly or behind another.
    waiters: Vec<i64>,
}

/// What was ended, and what waits now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How many sessions were ended.
    count: u64,
    /// The sessions that were ended.
    ended: Vec<EndedSession>,
    /// Sessions that still wait for a lock. Most of them wait for a session that has just got its
    /// own.
    still_waiting: u64,
    /// Whether `ended` is incomplete, because of the largest size of a result.
    truncated: bool,
}

/// A session for which others wait and which itself waits for none: the head of a chain. When it
/// ends, the next sessions of the chain continue.
struct RootBlocker {
    /// The number of the server's process; 0 for a prepared transaction, which has none.
    pid: i64,
    user: String,
    application: String,
    /// `client backend`, or a worker of the server; empty if this role may not know.
    kind: String,
    state: String,
    /// How long its transaction is open, in seconds; `None` if this role may not know.
    age_s: Option<i64>,
    is_old: bool,
    waiters: Vec<i64>,
    longest_waiter: String,
}

/// Why a session is not ended.
enum KeepReason {
    Young,
    CannotEnd(String),
}

/// The SQL expression for the start of a session's transaction. A session without a transaction can
/// hold an advisory lock; then the time of its last activity counts.
const TRANSACTION_START: &str = "coalesce(xact_start, state_change)";

/// The query for the sessions that block others.
fn statement() -> String {
    format!(
        "with recursive waiting as materialized (select pid, usename, query_start, query, \
             pg_blocking_pids(pid) as blocked_by from pg_stat_activity where datname = \
             current_database() and pid in (select pid from pg_locks where not granted)), edges as \
             (select pid as waiter, unnest(blocked_by) as blocker from waiting), reach(head, \
             waiter) as (select blocker, waiter from edges where blocker not in (select waiter \
             from edges) union select reach.head, edges.waiter from reach join edges on \
             edges.blocker = reach.waiter) select reach.head::bigint as pid, \
             coalesce(max(a.usename), '') as who, coalesce(max(a.application_name), '') as \
             application, coalesce(max(a.backend_type), '') as kind, coalesce(max(a.state), '') as \
             state, max(extract(epoch from now() - {TRANSACTION_START}))::bigint as age_s, \
             coalesce(bool_or({TRANSACTION_START} < now() - make_interval(secs => $1::float8)), false) as old, \
             array_agg(reach.waiter::bigint order by w.query_start, reach.waiter) as waiters, \
             (array_agg(format('process %s of %s for %s s: %s', w.pid, coalesce(w.usename, '?'), \
             coalesce(extract(epoch from now() - w.query_start)::bigint::text, '?'), \
             regexp_replace(w.query, '\\s+', ' ', 'g')) order by w.query_start, w.pid))[1] as \
             longest, count(*) over () as total from reach join waiting w on w.pid = reach.waiter \
             left join pg_stat_activity a on a.pid = reach.head and reach.head > 0 group by \
             reach.head order by count(*) desc, reach.head"
    )
}

/// All sessions that block others now, those with the most waiters first. If the limits of the
/// target leave some out, it fails, because the first one to end may be among those.
fn root_blockers(older_than: Span) -> Result<Vec<RootBlocker>> {
    let rows = database().query(&statement(), params![older_than.0.as_secs_f64()])?;
    let found = rows.iter().map(|row| read_blocker(&row)).collect::<Result<Vec<_>>>()?;
    let total = rows.iter().next().map_or(Ok(0), |row| row.get::<i64>("total"))?;
    if rows.truncated || count(total) > found.len() as u64 {
        let message = format!(
            "{} of {total} blockers pass the target's `max_rows` and `max_bytes`; nothing was \
             ended: raise them, or end them by `terminate-queries` with `by = \"transaction\"`",
            found.len()
        );
        return Err(Fault::limit("postgres.too-many-blockers", message));
    }
    Ok(found)
}

fn read_blocker(row: &Row<'_>) -> Result<RootBlocker> {
    Ok(RootBlocker {
        pid: row.get("pid")?,
        user: row.get("who")?,
        application: row.get("application")?,
        kind: row.get("kind")?,
        state: row.get("state")?,
        age_s: row.get("age_s")?,
        is_old: row.get("old")?,
        waiters: integers(row.value("waiters")?),
        longest_waiter: row.get("longest")?,
    })
}

impl RootBlocker {
    fn name(&self) -> String {
        let application = if self.application.is_empty() {
            String::new()
        } else {
            format!(" (`{}`)", self.application)
        };
        let age =
            self.age_s.map_or_else(String::new, |age| format!(", transaction open for {age} s"));
        let state = if self.state.is_empty() { String::new() } else { format!(", {}", self.state) };
        match self.pid {
            0 => "a prepared transaction".to_owned(),
            pid => format!("process {pid} of {}{application}{state}{age}", self.user),
        }
    }

    fn waiting_sessions(&self) -> String {
        format!(
            "{} for it, longest {}",
            waiting_sessions(self.waiters.len()),
            start_of(&self.longest_waiter)
        )
    }

    /// Why the session is not ended; `None` if it is to be ended.
    fn keep_reason(&self) -> Option<KeepReason> {
        match (self.pid, self.kind.as_str()) {
            (0, _) => Some(KeepReason::CannotEnd(
                "see `pg_prepared_xacts`, and end it with `ROLLBACK PREPARED`".to_owned(),
            )),
            (_, "") => Some(KeepReason::CannotEnd(
                "this role may not see what it is: grant `pg_read_all_stats`".to_owned(),
            )),
            (_, "client backend") if self.is_old => None,
            (_, "client backend") => Some(KeepReason::Young),
            (_, kind) => Some(KeepReason::CannotEnd(format!("it is a {kind} of the server"))),
        }
    }
}

fn waiting_sessions(waiters: usize) -> String {
    if waiters == 1 { "1 session waits".to_owned() } else { format!("{waiters} sessions wait") }
}

pub(crate) struct TerminateBlockers;

impl Step for TerminateBlockers {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let root_blockers = root_blockers(input.older_than)?;
        let mut effects = Vec::new();
        let mut notes = Vec::new();
        for blocker in &root_blockers {
            match blocker.keep_reason() {
                None => {
                    let summary =
                        format!("terminate {}; {}", blocker.name(), blocker.waiting_sessions());
                    effects.push(effect(
                        "sql.execute",
                        format!("process {}", blocker.pid),
                        summary,
                    ));
                }
                Some(KeepReason::Young) => {
                    notes.push(format!(
                        "{} is younger; {}",
                        blocker.name(),
                        blocker.waiting_sessions()
                    ));
                }
                Some(KeepReason::CannotEnd(why)) => {
                    notes.push(format!(
                        "{} cannot be ended ({why}); {}",
                        blocker.name(),
                        blocker.waiting_sessions()
                    ));
                }
            }
        }
        let notes =
            if notes.is_empty() { String::new() } else { format!("; {}", notes.join("; ")) };
        if effects.is_empty() {
            let reason = if root_blockers.is_empty() {
                "no session blocks another"
            } else {
                "no session that blocks others is that old"
            };
            return Ok(Proposal::nothing(format!("{reason}{notes}"), Json::Null));
        }
        let summary = match effects.as_slice() {
            [only] => format!("{}{notes}", only.summary),
            all => format!("terminate {}{notes}", pluralize(all.len() as u64, "blocker")),
        };
        Ok(Proposal { effects, summary, before: Json::Null })
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        // The blockers are queried again, because one of the proposal may have ended by itself.
        let found = root_blockers(input.older_than)?;
        let blockers_to_end: Vec<&RootBlocker> =
            found.iter().filter(|blocker| blocker.keep_reason().is_none()).collect();
        for blocker in &blockers_to_end {
            info!("terminating {}; {}", blocker.name(), blocker.waiting_sessions());
        }
        let condition = format!(
            "backend_type = 'client backend' and pid <> pg_backend_pid() and {TRANSACTION_START} < \
                     now() - make_interval(secs => $1::float8) and exists (select 1 from pg_locks \
                     l where not l.granted and pg_stat_activity.pid = \
                     any(pg_blocking_pids(l.pid)))"
        );
        let processes: Vec<i64> = blockers_to_end.iter().map(|blocker| blocker.pid).collect();
        let termination =
            terminate_sessions(&processes, &condition, params![input.older_than.0.as_secs_f64()])?;
        let ended: Vec<EndedSession> = blockers_to_end
            .into_iter()
            .filter(|blocker| termination.gone.contains(&blocker.pid))
            .map(ended_session)
            .collect();
        let mut left = termination.left;
        let mut still_waiting = 0;
        for blocker in root_blockers(input.older_than)? {
            still_waiting += blocker.waiters.len() as u64;
            if let Some(KeepReason::CannotEnd(why)) = blocker.keep_reason() {
                left.push((blocker.pid, why));
            }
        }
        if !left.is_empty() {
            let message = format!(
                "{} terminated, {} left: {}",
                ended.len(),
                left.len(),
                list_processes(&left)
            );
            return Err(Fault::assertion("postgres.left", message));
        }
        Ok(completion(BoundedList::fit(ended, 0), still_waiting))
    }
}

/// The entry of a terminated session in the output.
fn ended_session(blocker: &RootBlocker) -> EndedSession {
    EndedSession {
        pid: blocker.pid,
        user: blocker.user.clone(),
        application: blocker.application.clone(),
        age_s: blocker.age_s.unwrap_or(0),
        waiters: blocker.waiters.clone(),
    }
}

fn completion(listed: BoundedList<EndedSession>, still_waiting: u64) -> Completion<Output> {
    let waiting = match still_waiting {
        0 => String::new(),
        more => {
            format!(
                "; {} still for a lock",
                waiting_sessions(usize::try_from(more).unwrap_or(usize::MAX))
            )
        }
    };
    let n_waiters: usize = listed.items.iter().map(|ended| ended.waiters.len()).sum();
    let summary = match listed.items.first() {
        None => format!("no session that blocks others is that old{waiting}"),
        Some(_) => format!("{} terminated, for which {n_waiters} waited{waiting}", listed.total),
    };
    let output = Output {
        count: listed.total as u64,
        still_waiting,
        truncated: listed.is_truncated(),
        ended: listed.items,
    };
    if output.count == 0 {
        Completion::unchanged(summary, output)
    } else {
        Completion::changed(summary, output)
    }
}
