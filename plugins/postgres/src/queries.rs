//! `postgres:long-running` and `postgres:terminate-queries`

use crate::sessions::{AgeBasis, OldSessions, Session, old_sessions, unseen_note};
use crate::terminate::{list_processes, terminate_sessions};
use runbook_sdk::assertion::start_of;
use runbook_sdk::prelude::*;

/// Which queries are counted, and how many may be there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongRunningInput {
    /// Those that are older than this.
    older_than: Span,
    /// Whether the age of a query or of its transaction counts.
    #[serde(default)]
    by: AgeBasis,
    /// More than this many are a failure; 0 if absent.
    #[serde(default)]
    max: u64,
}

/// The queries that run too long.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LongRunningOutput {
    /// How many there are.
    count: u64,
    /// The queries that are older than `older_than`, the oldest first.
    queries: Vec<Session>,
    /// Whether `queries` is incomplete, because of the target's `max_rows` or `max_bytes` or the
    /// largest size of a result.
    truncated: bool,
    /// How many sessions of other roles there are, which this role cannot see without
    /// `pg_read_all_stats`.
    unseen: u64,
}

pub(crate) fn long_running(
    _job: &Job,
    input: LongRunningInput,
) -> Result<Report<LongRunningOutput>> {
    let OldSessions { sessions, total, unseen } = old_sessions(input.by, input.older_than, &[])?;
    let listed = BoundedList::fit(sessions, total);
    let summary = match listed.items.first() {
        None => format!("no {} is that old{}", input.by.noun(), unseen_note(unseen)),
        Some(oldest) => format!("{}{}", describe(input.by, oldest, &listed), unseen_note(unseen)),
    };
    let count = total as u64;
    let outcome = match (count <= input.max, unseen) {
        (false, _) => Outcome::Fail,
        (true, 0) => Outcome::Pass,
        // A session that cannot be seen may be older than `older_than`.
        (true, _) => Outcome::Unknown,
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "a server has fewer sessions than a float has digits"
    )]
    let number = measurement("long_running", total as f64, "");
    let output = LongRunningOutput {
        count,
        truncated: listed.is_truncated(),
        queries: listed.items,
        unseen,
    };
    Ok(Report::new(outcome, summary, output).measure(number))
}

fn describe(by: AgeBasis, oldest: &Session, listed: &BoundedList<Session>) -> String {
    let noun = if listed.total == 1 { by.noun() } else { by.nouns() };
    let truncation_note = if listed.is_truncated() {
        format!("; {} are listed", listed.count())
    } else {
        String::new()
    };
    format!(
        "{} {noun}, the oldest for {} s by {}{truncation_note}",
        listed.total, oldest.age_s, oldest.user
    )
}

/// Which queries are terminated.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TerminateInput {
    /// Those that are older than this. Only clients of this database, never this connection.
    older_than: Span,
    /// Whether the age of a query or of its transaction counts.
    #[serde(default)]
    by: AgeBasis,
}

/// The queries that were terminated.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TerminateOutput {
    /// How many were terminated.
    count: u64,
    /// The process ids of the sessions that were terminated.
    pids: Vec<i64>,
    /// Whether `pids` is incomplete, because of the largest size of a result.
    truncated: bool,
}

pub(crate) struct Terminate;

/// The most rounds of a step. After so many, new sessions grow old as fast as old ones are ended.
const MAX_ROUNDS: usize = 20;

impl Step for Terminate {
    type Input = TerminateInput;
    type Output = TerminateOutput;

    fn plan(_job: &Job, input: &TerminateInput) -> Result<Proposal> {
        let OldSessions { sessions, total, unseen } =
            old_sessions(input.by, input.older_than, &[])?;
        if total == 0 {
            return Ok(Proposal::nothing(
                format!("no {} is that old{}", input.by.noun(), unseen_note(unseen)),
                Json::Null,
            ));
        }
        let effects: Vec<_> = sessions.iter().map(termination_effect).collect();
        let listed = if effects.len() < total {
            format!(" ({} of {total} are listed)", effects.len())
        } else {
            String::new()
        };
        let summary =
            format!("terminate {total} of the server's processes{listed}{}", unseen_note(unseen));
        Ok(Proposal { summary, effects, before: Json::Null })
    }

    fn apply(
        _job: &Job,
        input: &TerminateInput,
        _proposal: &Proposal,
    ) -> Result<Completion<TerminateOutput>> {
        let (mut gone, mut left) = (Vec::new(), Vec::<(i64, String)>::new());
        let mut unseen = 0;
        // The sessions are queried again, because one of the proposal may have ended; in rounds,
        // because the limits of the target may let through only some of them.
        for _ in 0..MAX_ROUNDS {
            let except: Vec<i64> = left.iter().map(|(pid, _)| *pid).collect();
            let found = old_sessions(input.by, input.older_than, &except)?;
            unseen = found.unseen;
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
            let termination = terminate_sessions(
                &processes,
                &input.by.condition(),
                params![input.older_than.0.as_secs_f64()],
            )?;
            gone.extend(termination.gone);
            left.extend(termination.left);
        }
        let remaining = old_sessions(input.by, input.older_than, &[])?.total;
        if remaining > 0 {
            let why = if left.is_empty() {
                "new ones grow old as fast as they are ended".to_owned()
            } else {
                list_processes(&left)
            };
            let message = format!("{} terminated, {remaining} left: {why}", gone.len());
            return Err(Fault::assertion("postgres.left", message));
        }
        let listed = BoundedList::fit(gone, 0);
        let output = TerminateOutput {
            count: listed.total as u64,
            truncated: listed.is_truncated(),
            pids: listed.items,
        };
        Ok(if output.count == 0 {
            Completion::unchanged(
                format!("no {} is that old{}", input.by.noun(), unseen_note(unseen)),
                output,
            )
        } else {
            Completion::changed(
                format!("{} terminated{}", output.count, unseen_note(unseen)),
                output,
            )
        })
    }
}

/// The effect of terminating one session, for the plan.
fn termination_effect(session: &Session) -> Effect {
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
