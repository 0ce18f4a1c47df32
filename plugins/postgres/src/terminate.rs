//! Terminates sessions. `pg_terminate_backend` only sends a signal, so this checks afterwards
//! whether they are gone.

use crate::database;
use runbook_sdk::prelude::*;
use runbook_sdk::sql::Value;
use std::time::Duration;

/// How often it is looked whether a session is gone, and how many times.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: usize = 200;

/// What became of the sessions that were to end.
#[derive(Debug, Default)]
pub(crate) struct TerminationResult {
    /// The sessions that are gone.
    pub(crate) gone: Vec<i64>,
    /// The sessions that are still there, and why.
    pub(crate) left: Vec<(i64, String)>,
}

/// Ends those of `sessions` for which `condition` still holds: a process may have finished since it
/// was looked at, and serve another client by now. In the condition, `pid` is the process, the
/// parameters begin with `$1`, and the last one is the process.
pub(crate) fn end(
    sessions: &[i64],
    condition: &str,
    parameters: &[Value],
) -> Result<TerminationResult> {
    // The materialized part is a fence: without it the planner may ask `pg_terminate_backend`
    // before the other conditions, and so for every process, this one included.
    let last = parameters.len() + 1;
    let statement = format!(
        "with chosen as materialized (select pid from pg_stat_activity where pid = \
                 ${last}::int4 and {condition}) select pg_terminate_backend(pid) from chosen"
    );
    let mut ending = TerminationResult::default();
    let mut signalled = Vec::new();
    for pid in sessions {
        let mut parameters = parameters.to_vec();
        parameters.push(Value::Integer(*pid));
        match database().execute(&statement, &parameters) {
            Ok(0) => {}
            Ok(_) => signalled.push(*pid),
            // One that may not be ended does not keep the others.
            Err(fault) if fault.code == "sql.privilege" => ending.left.push((*pid, fault.message)),
            Err(fault) => return Err(fault),
        }
    }
    let stubborn = wait_until_gone(&signalled)?;
    ending
        .left
        .extend(stubborn.iter().map(|pid| (*pid, "it was told to end and has not".to_owned())));
    ending.gone = signalled.into_iter().filter(|pid| !stubborn.contains(pid)).collect();
    Ok(ending)
}

/// The sessions that are still there after some seconds.
fn wait_until_gone(sessions: &[i64]) -> Result<Vec<i64>> {
    let mut there = sessions.to_vec();
    for _ in 0..LOOKS {
        if there.is_empty() {
            break;
        }
        let rows = database().query(
            "select coalesce(array_agg(pid::bigint), '{}') as pids from pg_stat_activity where \
             pid::bigint = any($1::int8[])",
            params![crate::sessions::pids(&there)],
        )?;
        there = integers(rows.first()?.value("pids")?);
        if !there.is_empty() {
            clock::sleep(LOOK_EVERY);
        }
    }
    Ok(there)
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
pub(crate) fn named(left: &[(i64, String)]) -> String {
    const NAMED: usize = 5;
    let names: Vec<_> =
        left.iter().take(NAMED).map(|(pid, why)| format!("process {pid} ({why})")).collect();
    match left.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
