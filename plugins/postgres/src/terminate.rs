//! Terminates sessions. `pg_terminate_backend` only sends a signal, so this checks afterwards
//! whether they are gone.

use crate::database;
use runbook_sdk::prelude::*;
use runbook_sdk::sql::Value;
use std::time::Duration;

/// The time between two checks whether a session is gone.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How many times it is checked whether a session is gone.
const MAX_POLLS: usize = 200;

/// The result of terminating sessions.
#[derive(Debug, Default)]
pub(crate) struct TerminationResult {
    /// The sessions that are gone.
    pub(crate) gone: Vec<i64>,
    /// The sessions that are still there, and why.
    pub(crate) left: Vec<(i64, String)>,
}

/// Ends those of `sessions` for which `condition` still holds: a process may have finished in the
/// meantime and serve another client by now. In the condition `pid` is the process, and the
/// parameters begin with `$1`.
pub(crate) fn terminate_sessions(
    sessions: &[i64],
    condition: &str,
    parameters: &[Value],
) -> Result<TerminationResult> {
    // `materialized` keeps the order: without it the planner may call `pg_terminate_backend` before
    // it checks the other conditions, and so for every process, including this one.
    let pid_parameter = parameters.len() + 1;
    let statement = format!(
        "with chosen as materialized (select pid from pg_stat_activity where pid = \
                 ${pid_parameter}::int4 and {condition}) select pg_terminate_backend(pid) from chosen"
    );
    let mut termination = TerminationResult::default();
    let mut signalled = Vec::new();
    for pid in sessions {
        let mut parameters = parameters.to_vec();
        parameters.push(Value::Integer(*pid));
        match database().execute(&statement, &parameters) {
            Ok(0) => {}
            Ok(_) => signalled.push(*pid),
            // A session that this role may not end does not protect the others.
            Err(fault) if fault.code == "sql.privilege" => {
                termination.left.push((*pid, fault.message));
            }
            Err(fault) => return Err(fault),
        }
    }
    let still_running = wait_until_gone(&signalled)?;
    termination.left.extend(
        still_running.iter().map(|pid| (*pid, "it was told to end and has not".to_owned())),
    );
    termination.gone = signalled.into_iter().filter(|pid| !still_running.contains(pid)).collect();
    Ok(termination)
}

/// The sessions that are still there after some seconds.
fn wait_until_gone(sessions: &[i64]) -> Result<Vec<i64>> {
    let mut remaining = sessions.to_vec();
    for _ in 0..MAX_POLLS {
        if remaining.is_empty() {
            break;
        }
        let rows = database().query(
            "select coalesce(array_agg(pid::bigint), '{}') as pids from pg_stat_activity where \
             pid::bigint = any($1::int8[])",
            params![crate::sessions::pids(&remaining)],
        )?;
        remaining = integers(rows.first()?.value("pids")?);
        if !remaining.is_empty() {
            clock::sleep(POLL_INTERVAL);
        }
    }
    Ok(remaining)
}

/// The numbers of an array.
pub(crate) fn integers(value: &Value) -> Vec<i64> {
    use runbook_sdk::sql::Element;
    let Value::Sequence(items) = value else { return Vec::new() };
    items
        .iter()
        .filter_map(|item| if let Element::Integer(number) = item { Some(*number) } else { None })
        .collect()
}

/// `4711 (why), 4712 (why) and 3 more`.
pub(crate) fn list_processes(left: &[(i64, String)]) -> String {
    const MAX_NAMED: usize = 5;
    let names: Vec<_> =
        left.iter().take(MAX_NAMED).map(|(pid, why)| format!("process {pid} ({why})")).collect();
    match left.len().saturating_sub(MAX_NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
