//! `postgres:long-running` and `postgres:terminate-queries`

use crate::database;
use runbook_sdk::duration::Span;
use runbook_sdk::operation::{effect, measurement};
use runbook_sdk::prelude::*;

/// Which queries.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongRunningInput {
    /// Those that run longer than this.
    older_than: Span,
    /// More than this many are a failure; 0 if absent.
    #[serde(default)]
    max: u64,
}

/// One query.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Running {
    /// The server's process.
    pid: i64,
    /// Who runs it.
    user: String,
    /// How long, in seconds.
    age_s: i64,
    /// Its first 80 characters.
    query: String,
}

/// What runs too long.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LongRunning {
    /// How many.
    count: u64,
    /// The oldest first, at most 50.
    queries: Vec<Running>,
}

/// Client queries of this database but our own. Ages are compared by the server's clock.
fn running(older_than: Span) -> Result<Vec<Running>> {
    let statement = "select pid::bigint as pid, coalesce(usename, '') as who, extract(epoch from now() - query_start)::bigint as age_s, \
        left(regexp_replace(query, '\\s+', ' ', 'g'), 80) as query from pg_stat_activity \
        where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid() and datname = current_database() \
        and query_start < now() - make_interval(secs => $1::float8) order by query_start limit 50";
    let rows = database().query(statement, params![older_than.0.as_secs_f64()])?;
    rows.iter()
        .map(|row| {
            Ok(Running {
                pid: row.get("pid")?,
                user: row.get::<String>("who")?,
                age_s: row.get("age_s")?,
                query: row.get("query")?,
            })
        })
        .collect()
}

pub(crate) fn long_running(_job: &Job, input: LongRunningInput) -> Result<Report<LongRunning>> {
    let queries = running(input.older_than)?;
    let count = queries.len() as u64;
    let summary = match queries.first() {
        None => "no query runs that long".to_owned(),
        Some(oldest) => format!("{count} queries, the oldest for {} s by {}", oldest.age_s, oldest.user),
    };
    #[expect(clippy::cast_precision_loss, reason = "at most 50")]
    let number = measurement("long_running", count as f64, "");
    Ok(Report::pass_if(count <= input.max, summary, LongRunning { count, queries }).measure(number))
}

/// Which queries.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TerminateInput {
    /// Those that run longer than this. Only clients of this database, never this connection.
    older_than: Span,
}

/// What was terminated.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Terminated {
    /// How many.
    count: u64,
    /// The server's processes.
    pids: Vec<i64>,
}

pub(crate) struct Terminate;

impl Step for Terminate {
    type Input = TerminateInput;
    type Output = Terminated;

    fn plan(_job: &Job, input: &TerminateInput) -> Result<Proposal> {
        let queries = running(input.older_than)?;
        if queries.is_empty() {
            return Ok(Proposal::nothing("no query runs that long", Json::Null));
        }
        let describe =
            |query: &Running| format!("terminate process {} of {} ({} s): {}", query.pid, query.user, query.age_s, query.query);
        let effects: Vec<_> =
            queries.iter().map(|query| effect("sql.execute", format!("process {}", query.pid), describe(query))).collect();
        Ok(Proposal { summary: format!("terminate {} of the server's processes", effects.len()), effects, before: Json::Null })
    }

    fn apply(_job: &Job, input: &TerminateInput, _proposal: &Proposal) -> Result<Completion<Terminated>> {
        // Looked at again: a query of the proposal may have ended, and its process may serve another by now.
        let mut pids = Vec::new();
        for query in running(input.older_than)? {
            // The materialized part is a fence: without it the planner may ask `pg_terminate_backend` before the other conditions,
            // and so for every process, this one included.
            let statement = "with old as materialized (select pid from pg_stat_activity where pid = $1::int4 and state <> 'idle' \
                and pid <> pg_backend_pid() and query_start < now() - make_interval(secs => $2::float8)) \
                select pg_terminate_backend(pid) from old";
            if database().execute(statement, params![query.pid, input.older_than.0.as_secs_f64()])? > 0 {
                info!("terminated process {} of {}, {} s: {}", query.pid, query.user, query.age_s, query.query);
                pids.push(query.pid);
            }
        }
        let count = pids.len() as u64;
        let output = Terminated { count, pids };
        Ok(if count == 0 {
            Completion::unchanged("no query runs that long", output)
        } else {
            Completion::changed(format!("{count} terminated"), output)
        })
    }
}
