//! The sessions of the database's clients, as the server shows them. Ages are compared by the
//! server's clock.

use crate::database;
use runbook_sdk::prelude::*;
use runbook_sdk::sql::{Element, Value};

/// Whose age counts: that of the statement, or that of its transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AgeBasis {
    /// The last statement began that long ago.
    #[default]
    Query,
    /// The transaction began that long ago, even if it sends short statements again and again.
    Transaction,
}

impl AgeBasis {
    /// The column with the start time.
    fn column(self) -> &'static str {
        match self {
            Self::Query => "query_start",
            Self::Transaction => "xact_start",
        }
    }

    /// The noun for what is counted, in the singular.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Transaction => "transaction",
        }
    }

    /// The noun for what is counted, in the plural.
    pub(crate) fn nouns(self) -> &'static str {
        match self {
            Self::Query => "queries",
            Self::Transaction => "transactions",
        }
    }

    /// The SQL condition for client sessions of this database, without our own, whose query or
    /// transaction is older than `$1` seconds.
    pub(crate) fn condition(self) -> String {
        format!(
            "backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid() and \
             datname = current_database() and {} < now() - make_interval(secs => $1::float8)",
            self.column()
        )
    }
}

/// One session of a client of the database.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Session {
    /// The number of the server's process.
    pub(crate) pid: i64,
    /// The user of the session.
    pub(crate) user: String,
    /// The name that the client gave itself.
    pub(crate) application: String,
    /// `active`, `idle in transaction` and so on.
    pub(crate) state: String,
    /// How long its query or transaction has run, in seconds.
    pub(crate) age_s: i64,
    /// Its last statement, on one line, as the server keeps it (`track_activity_query_size`).
    pub(crate) query: String,
}

/// The sessions that are older than the limit.
pub(crate) struct OldSessions {
    /// The oldest first, as many as the target's limits let through.
    pub(crate) sessions: Vec<Session>,
    /// How many sessions there are.
    pub(crate) total: usize,
    /// How many sessions of other roles there are, which this role cannot see.
    pub(crate) unseen: u64,
}

/// The sessions that are older than `older_than`, without those in `except`.
pub(crate) fn old_sessions(by: AgeBasis, older_than: Span, except: &[i64]) -> Result<OldSessions> {
    let statement = format!(
        "with old as (select pid::bigint as pid, coalesce(usename, '') as who, \
         coalesce(application_name, '') as application, coalesce(state, '') as state, \
         extract(epoch from now() - {column})::bigint as age_s, regexp_replace(query, '\\s+', ' ', \
         'g') as query, {column} as began, count(*) over () as total from pg_stat_activity where \
         {condition} and pid::bigint <> all($2::int8[])), unseen as (select count(*) as n from \
         pg_stat_activity where datname = current_database() and query = '<insufficient \
         privilege>') select old.*, unseen.n as unseen from unseen left join old on true order by \
         old.began, old.pid",
        column = by.column(),
        condition = by.condition()
    );
    let rows = database().query(&statement, params![older_than.0.as_secs_f64(), pids(except)])?;
    let first = rows.first()?;
    let total = first.get::<Option<i64>>("total")?.unwrap_or(0);
    let unseen = count(first.get("unseen")?);
    let sessions = if total == 0 {
        Vec::new()
    } else {
        rows.iter().map(|row| session(&row)).collect::<Result<_>>()?
    };
    Ok(OldSessions { sessions, total: usize::try_from(total).unwrap_or(usize::MAX), unseen })
}

fn session(row: &runbook_sdk::sql::Row<'_>) -> Result<Session> {
    Ok(Session {
        pid: row.get("pid")?,
        user: row.get("who")?,
        application: row.get("application")?,
        state: row.get("state")?,
        age_s: row.get("age_s")?,
        query: row.get("query")?,
    })
}

/// A count from the server, as an unsigned number.
pub(crate) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Process numbers as an array parameter.
pub(crate) fn pids(pids: &[i64]) -> Value {
    Value::Sequence(pids.iter().copied().map(Element::Integer).collect())
}

/// A note about sessions that this role cannot see; empty if there are none.
pub(crate) fn unseen_note(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => "; 1 session of another role cannot be seen (grant `pg_read_all_stats`)".to_owned(),
        more => {
            format!("; {more} sessions of other roles cannot be seen (grant `pg_read_all_stats`)")
        }
    }
}
