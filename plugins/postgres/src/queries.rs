//! `postgres:long-running` and `postgres:terminate-queries`

use crate::sessions::{AgeOf, OldSessions, Session, old_sessions, unseen};
use crate::terminate::{end, named};
use runbook_sdk::assertion::start_of;
use runbook_sdk::prelude::*;

/// Which queries are counted, and how many may be there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongRunningInput {
    /// Those that are older than this.
    older_than: Span,
    /// What is that old.
    #[serde(default)]
    by: AgeOf,
    /// More than this many are a failure; 0 if absent.
    #[serde(default)]
    max: u64,
}

/// What runs too long.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LongRunning {
    /// How many there are.
    count: u64,
    /// The queries that are that old. The oldest first.
    queries: Vec<Session>,
    /// Whether `queries` leaves some out: the target's `max_rows` or `max_bytes`, or the size of a
    /// result.
    truncated: bool,
    /// How many sessions of other roles there are, which this role cannot see without
    /// `pg_read_all_stats`.
    unseen: u64,
}

pub(crate) fn long_running(_job: &Job, input: LongRunningInput) -> Result<Report<LongRunning>> {
    let OldSessions { sessions, total, unseen: n_unseen } =
        old_sessions(input.by, input.older_than, &[])?;
    let listed = Kept::of(sessions, total);
    let summary = match listed.items.first() {
        None => format!("no {} is that old{}", input.by.noun(), unseen(n_unseen)),
        Some(oldest) => format!("{}{}", describe(input.by, oldest, &listed), unseen(n_unseen)),
    };
    let count = total as u64;
    let outcome = match (count <= input.max, n_unseen) {
        (false, _) => Outcome::Fail,
        (true, 0) => Outcome::Pass,
        // What cannot be seen may be the one that is looked for.
        (true, _) => Outcome::Unknown,
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "a server has fewer sessions than a float has digits"
    )]
    let number = measurement("long_running", total as f64, "");
    let output = LongRunning {
        count,
        truncated: listed.is_truncated(),
        queries: listed.items,
        unseen: n_unseen,
    };
    Ok(Report::new(outcome, summary, output).measure(number))
}

fn describe(by: AgeOf, oldest: &Session, listed: &Kept<Session>) -> String {
    let noun = if listed.total == 1 { by.noun() } else { by.nouns() };
    let cut = if listed.is_truncated() {
        format!("; {} are listed", listed.count())
    } else {
        String::new()
    };
    format!("{} {noun}, the oldest for {} s by {}{cut}", listed.total, oldest.age_s, oldest.user)
}

/// Which queries are terminated.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TerminateInput {
    /// Those that are older than this. Only clients of this database, never this connection.
    older_than: Span,
    /// What is that old.
    #[serde(default)]
    by: AgeOf,
}

/// The queries that were terminated.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Terminated {
    /// How many were terminated.
    count: u64,
    /// The server's processes, all of them.
    pids: Vec<i64>,
    /// Whether `pids` leaves some out.
    truncated: bool,
}

pub(crate) struct Terminate;

/// How many rounds are made: after so many, new sessions come as fast as old ones are ended.
const ROUNDS: usize = 20;

impl Step for Terminate {
    type Input = TerminateInput;
    type Output = Terminated;

    fn plan(_job: &Job, input: &TerminateInput) -> Result<Proposal> {
        let OldSessions { sessions, total, unseen: n_unseen } =
            old_sessions(input.by, input.older_than, &[])?;
        if total == 0 {
            return Ok(Proposal::nothing(
                format!("no {} is that old{}", input.by.noun(), unseen(n_unseen)),
                Json::Null,
            ));
        }
        let effects: Vec<_> = sessions.iter().map(termination).collect();
        let listed = if effects.len() < total {
            format!(" ({} of {total} are listed)", effects.len())
        } else {
            String::new()
        };
        let summary =
            format!("terminate {total} of the server's processes{listed}{}", unseen(n_unseen));
        Ok(Proposal { summary, effects, before: Json::Null })
    }

    fn apply(
        _job: &Job,
        input: &TerminateInput,
        _proposal: &Proposal,
    ) -> Result<Completion<Terminated>> {
        let (mut gone, mut left) = (Vec::new(), Vec::<(i64, String)>::new());
        let mut n_unseen = 0;
        // Looked at again: a query of the proposal may have ended, and a look may show only some of
        // them.
        for _ in 0..ROUNDS {
            let except: Vec<i64> = left.iter().map(|(pid, _)| *pid).collect();
            let found = old_sessions(input.by, input.older_than, &except)?;
            n_unseen = found.unseen;
            if found.sessions.is_empty() {
                break;
            }
            for session in &found.sessions {
                info!(
                    "terminating process {} of {}, {} s: {}",
                    session.pid,
                    session.user,
                    session.age_s,
                    start_of(&session.query)
                );
            }
            let processes: Vec<i64> = found.sessions.iter().map(|session| session.pid).collect();
            let ending =
                end(&processes, &input.by.condition(), params![input.older_than.0.as_secs_f64()])?;
            gone.extend(ending.gone);
            left.extend(ending.left);
        }
        let remaining = old_sessions(input.by, input.older_than, &[])?.total;
        if remaining > 0 {
            let why = if left.is_empty() {
                "new ones grow old as fast as they are ended".to_owned()
            } else {
                named(&left)
            };
            let message = format!("{} terminated, {remaining} left: {why}", gone.len());
            return Err(Fault::assertion("postgres.left", message));
        }
        let listed = Kept::of(gone, 0);
        let output = Terminated {
            count: listed.total as u64,
            truncated: listed.is_truncated(),
            pids: listed.items,
        };
        Ok(if output.count == 0 {
            Completion::unchanged(
                format!("no {} is that old{}", input.by.noun(), unseen(n_unseen)),
                output,
            )
        } else {
            Completion::changed(format!("{} terminated{}", output.count, unseen(n_unseen)), output)
        })
    }
}

/// What a plan says of one session.
fn termination(session: &Session) -> Effect {
    let application = if session.application.is_empty() {
        String::new()
    } else {
        format!(" (`{}`)", session.application)
    };
    let summary = format!(
        "terminate process {} of {}{application}, {}, {} s: {}",
        session.pid,
        session.user,
        session.state,
        session.age_s,
        start_of(&session.query)
    );
    effect("sql.execute", format!("process {}", session.pid), summary)
}
