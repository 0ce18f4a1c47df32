//! `postgres:terminate-blockers`

use crate::database;
use crate::sessions::count;
use crate::terminate::{end, integers, named};
use runbook_sdk::assertion::{counted, start_of};
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
    /// Sessions that wait for a lock still, most for those that have just got theirs.
    still_waiting: u64,
    /// Whether `ended` leaves some out.
    truncated: bool,
}

/// What stands at the head of a chain of waiters. A session in the middle of one waits itself: when
/// the head is gone, it goes on.
struct Head {
    /// 0 is a prepared transaction, which has no process.
    pid: i64,
    user: String,
    application: String,
    /// `client backend`, or a worker of the server; empty if this role may not know.
    kind: String,
    state: String,
    /// `None` if this role may not know.
    age_s: Option<i64>,
    old: bool,
    waiters: Vec<i64>,
    longest: String,
}

/// Why a session is not ended.
enum KeptBecause {
    Young,
    Cannot(String),
}

/// A session without a transaction can hold an advisory lock; then the time since it did anything
/// counts.
const SINCE: &str = "coalesce(xact_start, state_change)";

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
             state, max(extract(epoch from now() - {SINCE}))::bigint as age_s, \
             coalesce(bool_or({SINCE} < now() - make_interval(secs => $1::float8)), false) as old, \
             array_agg(reach.waiter::bigint order by w.query_start, reach.waiter) as waiters, \
             (array_agg(format('process %s of %s for %s s: %s', w.pid, coalesce(w.usename, '?'), \
             coalesce(extract(epoch from now() - w.query_start)::bigint::text, '?'), \
             regexp_replace(w.query, '\\s+', ' ', 'g')) order by w.query_start, w.pid))[1] as \
             longest, count(*) over () as total from reach join waiting w on w.pid = reach.waiter \
             left join pg_stat_activity a on a.pid = reach.head and reach.head > 0 group by \
             reach.head order by count(*) desc, reach.head"
    )
}

/// What blocks others now, those with the most waiters first. All of it: a part would hide whose
/// turn it is.
fn heads(older_than: Span) -> Result<Vec<Head>> {
    let rows = database().query(&statement(), params![older_than.0.as_secs_f64()])?;
    let found = rows.iter().map(|row| head(&row)).collect::<Result<Vec<_>>>()?;
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

fn head(row: &Row<'_>) -> Result<Head> {
    Ok(Head {
        pid: row.get("pid")?,
        user: row.get("who")?,
        application: row.get("application")?,
        kind: row.get("kind")?,
        state: row.get("state")?,
        age_s: row.get("age_s")?,
        old: row.get("old")?,
        waiters: integers(row.value("waiters")?),
        longest: row.get("longest")?,
    })
}

impl Head {
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

    fn waits(&self) -> String {
        format!("{} for it, longest {}", waits(self.waiters.len()), start_of(&self.longest))
    }

    /// Why it is not ended, if it is not.
    fn spared(&self) -> Option<KeptBecause> {
        match (self.pid, self.kind.as_str()) {
            (0, _) => Some(KeptBecause::Cannot(
                "see `pg_prepared_xacts`, and end it with `ROLLBACK PREPARED`".to_owned(),
            )),
            (_, "") => Some(KeptBecause::Cannot(
                "this role may not see what it is: grant `pg_read_all_stats`".to_owned(),
            )),
            (_, "client backend") if self.old => None,
            (_, "client backend") => Some(KeptBecause::Young),
            (_, kind) => Some(KeptBecause::Cannot(format!("it is a {kind} of the server"))),
        }
    }
}

fn waits(waiters: usize) -> String {
    if waiters == 1 { "1 session waits".to_owned() } else { format!("{waiters} sessions wait") }
}

pub(crate) struct TerminateBlockers;

impl Step for TerminateBlockers {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let heads = heads(input.older_than)?;
        let mut effects = Vec::new();
        let mut notes = Vec::new();
        for head in &heads {
            match head.spared() {
                None => {
                    let summary = format!("terminate {}; {}", head.name(), head.waits());
                    effects.push(effect("sql.execute", format!("process {}", head.pid), summary));
                }
                Some(KeptBecause::Young) => {
                    notes.push(format!("{} is younger; {}", head.name(), head.waits()));
                }
                Some(KeptBecause::Cannot(why)) => {
                    notes.push(format!(
                        "{} cannot be ended ({why}); {}",
                        head.name(),
                        head.waits()
                    ));
                }
            }
        }
        let notes =
            if notes.is_empty() { String::new() } else { format!("; {}", notes.join("; ")) };
        if effects.is_empty() {
            let nothing = if heads.is_empty() {
                "no session blocks another"
            } else {
                "no session that blocks others is that old"
            };
            return Ok(Proposal::nothing(format!("{nothing}{notes}"), Json::Null));
        }
        let summary = match effects.as_slice() {
            [only] => format!("{}{notes}", only.summary),
            all => format!("terminate {}{notes}", counted(all.len() as u64, "blocker")),
        };
        Ok(Proposal { effects, summary, before: Json::Null })
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        // Looked at again: a blocker of the proposal may have ended by itself.
        let found = heads(input.older_than)?;
        let chosen: Vec<&Head> = found.iter().filter(|head| head.spared().is_none()).collect();
        for head in &chosen {
            info!("terminating {}; {}", head.name(), head.waits());
        }
        let condition = format!(
            "backend_type = 'client backend' and pid <> pg_backend_pid() and {SINCE} < \
                     now() - make_interval(secs => $1::float8) and exists (select 1 from pg_locks \
                     l where not l.granted and pg_stat_activity.pid = \
                     any(pg_blocking_pids(l.pid)))"
        );
        let processes: Vec<i64> = chosen.iter().map(|head| head.pid).collect();
        let ending = end(&processes, &condition, params![input.older_than.0.as_secs_f64()])?;
        let ended: Vec<EndedSession> =
            chosen.into_iter().filter(|head| ending.gone.contains(&head.pid)).map(ended).collect();
        let mut left = ending.left;
        let mut still_waiting = 0;
        for head in heads(input.older_than)? {
            still_waiting += head.waiters.len() as u64;
            if let Some(KeptBecause::Cannot(why)) = head.spared() {
                left.push((head.pid, why));
            }
        }
        if !left.is_empty() {
            let message =
                format!("{} terminated, {} left: {}", ended.len(), left.len(), named(&left));
            return Err(Fault::assertion("postgres.left", message));
        }
        Ok(completion(Kept::of(ended, 0), still_waiting))
    }
}

fn ended(head: &Head) -> EndedSession {
    EndedSession {
        pid: head.pid,
        user: head.user.clone(),
        application: head.application.clone(),
        age_s: head.age_s.unwrap_or(0),
        waiters: head.waiters.clone(),
    }
}

fn completion(listed: Kept<EndedSession>, still_waiting: u64) -> Completion<Output> {
    let waiting = match still_waiting {
        0 => String::new(),
        more => {
            format!("; {} still for a lock", waits(usize::try_from(more).unwrap_or(usize::MAX)))
        }
    };
    let freed: usize = listed.items.iter().map(|ended| ended.waiters.len()).sum();
    let summary = match listed.items.first() {
        None => format!("no session that blocks others is that old{waiting}"),
        Some(_) => format!("{} terminated, for which {freed} waited{waiting}", listed.total),
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
