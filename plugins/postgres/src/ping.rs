//! `postgres:ping`

use crate::database;
use runbook_sdk::prelude::*;

/// How quick it must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Slower is a warning.
    warn: Option<Span>,
    /// Slower is a failure.
    crit: Option<Span>,
}

/// What the server says of itself.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The server's version, such as `15.18`.
    version: String,
    /// Whether it is a standby.
    standby: bool,
    /// How many connections the server has now.
    connections: i64,
    /// How many connections the server allows at most.
    max_connections: i64,
    /// Milliseconds for connecting and one query.
    round_trip_ms: f64,
    /// Client queries that run longer than five minutes.
    long_running: i64,
}

const STATEMENT: &str = "select current_setting('server_version') as version, pg_is_in_recovery() as standby, (select \
     count(*) from pg_stat_activity where backend_type = 'client backend') as connections, \
     current_setting('max_connections')::bigint as max_connections, (select count(*) from \
     pg_stat_activity where backend_type = 'client backend' and state = 'active' and pid <> \
     pg_backend_pid() and query_start < now() - interval '5 minutes') as long_running";

pub(crate) fn ping(_job: &Job, input: Input) -> Result<Report<Output>> {
    let start = clock::monotonic();
    let rows = database().query(STATEMENT, &[])?;
    let round_trip = clock::monotonic().saturating_sub(start);
    let row = rows.first()?;
    let version: String = row.get("version")?;
    let output = Output {
        version: version.split(' ').next().unwrap_or_default().to_owned(),
        standby: row.get("standby")?,
        connections: row.get("connections")?,
        max_connections: row.get("max_connections")?,
        round_trip_ms: (round_trip.as_secs_f64() * 1e5).round() / 100.0,
        long_running: row.get("long_running")?,
    };
    let slower = |limit: Option<Span>| limit.is_some_and(|limit| round_trip > limit.0);
    let outcome = match (slower(input.crit), slower(input.warn)) {
        (true, _) => Outcome::Fail,
        (false, true) => Outcome::Warn,
        (false, false) => Outcome::Pass,
    };
    let role = if output.standby { "standby" } else { "primary" };
    let summary = format!(
        "PostgreSQL {} {role}, {} of {} connections, {} ms",
        output.version, output.connections, output.max_connections, output.round_trip_ms
    );
    let took = measurement("round_trip", output.round_trip_ms, "ms");
    Ok(Report::new(outcome, summary, output).measure(took))
}
