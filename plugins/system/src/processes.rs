//! `system:processes`

use crate::uptime::words;
use runbook_sdk::prelude::*;
use runbook_sdk::system::{Machine, Process as Found, ProcessList, ProcessState};

/// Which processes must run, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Their name, at most 15 bytes; all that the target lets be seen, if absent.
    name: Option<String>,
    /// Only those with an argument that contains this text. The target must say
    /// `process_arguments = true`. A server that writes a title over its arguments (Redis,
    /// PostgreSQL, nginx) has that title instead.
    argument: Option<String>,
    /// Fewer are a failure.
    #[serde(default = "default_min")]
    min: u64,
    /// More are a failure; any number may run if absent.
    max: Option<u64>,
    /// A younger one is a warning: it was started again.
    warn_younger: Option<Span>,
    /// More resident memory of all together, in MiB, is a warning.
    warn_mib: Option<u64>,
    /// More is a failure.
    crit_mib: Option<u64>,
}

fn default_min() -> u64 {
    1
}

/// The processes that run.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The oldest first.
    processes: Vec<Process>,
    /// How many run. One that has ended and is not yet taken note of (a zombie) does not.
    count: u64,
    /// How many have ended so.
    zombies: u64,
    /// How many of those that run are stopped (by a signal or a debugger), and so do nothing.
    stopped: u64,
    /// Of all that are listed.
    resident_bytes: u64,
    /// Whether some were left out, because of `max_rows` or `max_bytes` of the target.
    truncated: bool,
    /// Whether they are those of a container.
    in_container: bool,
}

/// One process.
#[derive(Serialize, JsonSchema)]
struct Process {
    pid: u32,
    name: String,
    /// `running`, `sleeping`, `disk-wait`, `stopped`, `zombie`, `idle` or `other`.
    state: String,
    age_s: u64,
    resident_bytes: u64,
}

pub(crate) fn processes(_job: &Job, input: Input) -> Result<Report<Output>> {
    let found = Machine::slot(slot!("machine")).processes(input.name.as_deref())?;
    report(&input, found)
}

fn report(input: &Input, found: ProcessList) -> Result<Report<Output>> {
    if let (Some(warn), Some(crit)) = (input.warn_mib, input.crit_mib)
        && crit < warn
    {
        let message = "`crit_mib` is less than `warn_mib`, so nothing would be a warning";
        return Err(Fault::invalid("system.limits", message));
    }
    let all = with_argument(input, found.found)?;
    let (zombies, running): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| one.state == ProcessState::Zombie);
    // Of those that were left out, nothing but their number is known.
    let left_out = if found.cut && input.argument.is_none() {
        u64::from(found.count).saturating_sub((zombies.len() + running.len()) as u64)
    } else {
        0
    };
    let count = running.len() as u64 + left_out;
    let resident_bytes = running.iter().map(|one| one.resident_bytes).sum::<u64>();
    let is_above = |limit: Option<u64>| limit.is_some_and(|mib| resident_bytes > mib << 20);
    let mut failures = Assertions::new();
    failures.holds(count >= input.min, || {
        format!("{}, expected {} at least", runs_words(input, count), input.min)
    });
    if let Some(max) = input.max {
        failures.holds(count <= max, || {
            format!("{}, expected {max} at most", runs_words(input, count))
        });
    }
    failures.holds(!is_above(input.crit_mib), || format!("they use {}", Size(resident_bytes)));
    let mut warnings = Assertions::new();
    warnings.holds(!is_above(input.warn_mib), || format!("they use {}", Size(resident_bytes)));
    let youngest = running.iter().map(|one| one.age_s).min();
    if let (Some(limit), Some(youngest)) = (input.warn_younger, youngest) {
        warnings.holds(youngest >= limit.as_secs(), || {
            format!("one was started {} ago", words(youngest))
        });
    }
    let stopped = running.iter().filter(|one| one.state == ProcessState::Stopped).count() as u64;
    if stopped > 0 {
        warnings.holds(false, || {
            let which = match (count, stopped) {
                (1, _) => "and is stopped: it does no work".to_owned(),
                (_, 1) => "and 1 of them is stopped: it does no work".to_owned(),
                (_, many) => format!("and {many} of them are stopped: they do no work"),
            };
            format!("{}, {which}", runs_words(input, count))
        });
    }
    let is_judged_by_more = input.max.is_some()
        || input.argument.is_some()
        || input.warn_younger.is_some()
        || input.warn_mib.is_some()
        || input.crit_mib.is_some();
    let outcome = if !failures.all_hold() {
        if found.cut && count < input.min { Outcome::Unknown } else { Outcome::Fail }
    } else if found.cut && is_judged_by_more {
        Outcome::Unknown
    } else if warnings.all_hold() {
        Outcome::Pass
    } else {
        Outcome::Warn
    };
    let mut parts: Vec<String> = failures.failures().to_vec();
    if parts.is_empty() {
        parts.extend_from_slice(warnings.failures());
    }
    if parts.is_empty() {
        // Of those that are not listed, neither age nor memory is known.
        let known = youngest
            .filter(|_| !found.cut)
            .map(|age| format!(", the youngest for {}, with {}", words(age), Size(resident_bytes)));
        parts.push(format!("{}{}", runs_words(input, count), known.unwrap_or_default()));
    }
    if found.cut {
        parts.push(format!("{} of {} are listed", running.len() + zombies.len(), found.count));
    }
    if found.in_container {
        parts.push("only processes of this container are seen".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "processes are few")]
    let measured = measurement("processes", count as f64, "");
    let range =
        input.max.map_or_else(|| format!("{}:", input.min), |max| format!("{}:{max}", input.min));
    let measured = measured.crit(range);
    let zombie_count = zombies.len() as u64;
    let list = BoundedList::fit(running.into_iter().map(process).collect(), 0);
    let truncated = found.cut || list.is_truncated();
    let output = Output {
        processes: list.items,
        count,
        zombies: zombie_count,
        stopped,
        resident_bytes,
        truncated,
        in_container: found.in_container,
    };
    Ok(Report::new(outcome, parts.join("; "), output).measure(measured))
}

/// How many run, of which name and with which argument.
fn runs_words(input: &Input, count: u64) -> String {
    let runs = if count == 1 { "runs" } else { "run" };
    let argument = input.argument.as_ref().map(|text| format!(" with `{text}` in an argument"));
    let argument = argument.unwrap_or_default();
    match &input.name {
        Some(name) => format!("{count} of `{name}`{argument} {runs}"),
        None if count == 1 => format!("1 process{argument} runs"),
        None => format!("{count} processes{argument} run"),
    }
}

/// Those with an argument that contains the text of the input.
fn with_argument(input: &Input, found: Vec<Found>) -> Result<Vec<Found>> {
    let Some(text) = &input.argument else { return Ok(found) };
    if found.iter().any(|one| one.arguments.is_none()) {
        let message = "`argument` needs `process_arguments = true` in the target";
        return Err(Fault::invalid("system.arguments", message));
    }
    let has = |one: &Found| {
        one.arguments.iter().flatten().any(|argument| argument.contains(text.as_str()))
    };
    Ok(found.into_iter().filter(has).collect())
}

fn process(found: Found) -> Process {
    let state = match found.state {
        ProcessState::Running => "running",
        ProcessState::Sleeping => "sleeping",
        ProcessState::DiskWait => "disk-wait",
        ProcessState::Stopped => "stopped",
        ProcessState::Zombie => "zombie",
        ProcessState::Idle => "idle",
        ProcessState::Other => "other",
    };
    Process {
        pid: found.pid,
        name: found.name,
        state: state.to_owned(),
        age_s: found.age_s,
        resident_bytes: found.resident_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(age_s: u64, mib: u64, state: ProcessState, arguments: Option<&[&str]>) -> Found {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Found {
            pid: 7,
            name: "java".to_owned(),
            state,
            age_s,
            resident_bytes: mib << 20,
            arguments: arguments.map(owned),
        }
    }

    fn judged(input: &Json, found: Vec<Found>, left_out: u32) -> Report<Output> {
        let input: Input = serde_json::from_value(input.clone()).expect("good input");
        let count = u32::try_from(found.len()).expect("few") + left_out;
        let found = ProcessList { found, count, cut: left_out > 0, in_container: false };
        report(&input, found).expect("good input")
    }

    #[test]
    fn number_memory_and_age_are_compared_and_a_zombie_does_not_run() {
        let two = || {
            vec![
                found(100, 300, ProcessState::Sleeping, None),
                found(50, 300, ProcessState::Running, None),
            ]
        };
        for (input, outcome) in [
            (json!({}), Outcome::Pass),
            (json!({ "min": 2, "max": 2 }), Outcome::Pass),
            (json!({ "min": 3 }), Outcome::Fail),
            (json!({ "max": 1 }), Outcome::Fail),
            (json!({ "warn_younger": "50s" }), Outcome::Pass),
            (json!({ "warn_younger": "51s" }), Outcome::Warn),
            (json!({ "warn_mib": 600 }), Outcome::Pass),
            (json!({ "warn_mib": 599 }), Outcome::Warn),
            (json!({ "warn_mib": 500, "crit_mib": 599 }), Outcome::Fail),
        ] {
            let report = judged(&input, two(), 0);
            assert_eq!(report.outcome, outcome, "{input}: {}", report.summary);
        }
        let dead = judged(&json!({}), vec![found(100, 0, ProcessState::Zombie, None)], 0);
        assert_eq!((dead.outcome, dead.output.zombies), (Outcome::Fail, 1), "{}", dead.summary);
        assert_eq!(judged(&json!({ "min": 0 }), Vec::new(), 0).outcome, Outcome::Pass);
        let stopped = vec![found(100, 1, ProcessState::Stopped, None)];
        let stopped = judged(&json!({ "name": "java" }), stopped, 0);
        assert_eq!((stopped.outcome, stopped.output.stopped), (Outcome::Warn, 1));
        assert_eq!(stopped.summary, "1 of `java` runs, and is stopped: it does no work");
    }

    #[test]
    fn of_those_that_were_left_out_only_the_number_is_known() {
        let one = || vec![found(100, 1, ProcessState::Sleeping, None)];
        // Neither the age nor the memory of the one that is listed is said of all.
        let counted = judged(&json!({ "name": "java" }), one(), 4).summary;
        assert_eq!(counted, "5 of `java` run; 1 of 5 are listed");
        for (input, outcome) in [
            (json!({ "min": 5 }), Outcome::Pass),
            (json!({ "max": 4 }), Outcome::Fail),
            (json!({ "max": 9 }), Outcome::Unknown),
            (json!({ "warn_mib": 9 }), Outcome::Unknown),
        ] {
            let report = judged(&input, one(), 4);
            assert_eq!(report.outcome, outcome, "{input}: {}", report.summary);
            assert!(
                report.output.truncated && report.summary.contains("1 of 5"),
                "{}",
                report.summary
            );
        }
    }

    #[test]
    fn an_argument_tells_programs_of_one_name_apart() {
        let two = || {
            vec![
                found(9, 1, ProcessState::Sleeping, Some(&["-jar", "/srv/orders.jar"])),
                found(9, 1, ProcessState::Sleeping, Some(&["-jar", "/srv/other.jar"])),
            ]
        };
        let input = json!({ "name": "java", "argument": "orders.jar", "max": 1 });
        assert_eq!(judged(&input, two(), 0).outcome, Outcome::Pass);
        let hidden: Input = serde_json::from_value(input).expect("good input");
        let found = ProcessList {
            found: vec![found(9, 1, ProcessState::Sleeping, None)],
            count: 1,
            cut: false,
            in_container: false,
        };
        assert!(
            report(&hidden, found).is_err_and(|fault| fault.message.contains("process_arguments"))
        );
    }
}
