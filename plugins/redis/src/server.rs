//! `redis:server`

use crate::{database, number, text};
use runbook_sdk::assertion::pluralize;
use runbook_sdk::prelude::*;
use std::collections::BTreeMap;

/// What the server must be, and the limits of its numbers. A limit that is absent is not compared.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The role that it must have.
    role: Option<Role>,
    /// More used memory, in percent of `maxmemory`, is a warning.
    warn_memory_percent: Option<f64>,
    /// More used memory, in percent of `maxmemory`, is a failure.
    fail_memory_percent: Option<f64>,
    /// More connected clients are a warning.
    warn_clients: Option<u64>,
    /// More connected clients are a failure.
    fail_clients: Option<u64>,
    /// Fewer replicas that are online are a failure.
    min_replicas: Option<u64>,
    /// A longer silence between a replica and its primary is a failure. A replica acknowledges every
    /// second; a primary that has nothing to send pings every 10 s, so a replica that is up to date
    /// may have heard nothing for that long.
    max_lag: Option<Span>,
    /// A last saved copy that is older is a failure, and so is one that could not be written. If
    /// absent, one that could not be written is a warning.
    max_save_age: Option<Span>,
}

/// The role of a server.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// It takes changes.
    Primary,
    /// It follows a primary.
    Replica,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// What the server says of itself.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Its version, such as `7.0.15`.
    version: String,
    role: Role,
    uptime_s: i64,
    /// Bytes that it uses.
    used_memory: i64,
    /// Bytes that it may use; 0 if there is no limit.
    max_memory: i64,
    connected_clients: i64,
    /// Clients that wait for a key.
    blocked_clients: i64,
    /// Of a primary: replicas that are online.
    replicas: u64,
    /// The longest silence between a replica and its primary, in seconds; of a replica that has no
    /// link, and of a primary without replicas, null.
    lag_s: Option<i64>,
    /// Of a replica: whether it is linked to its primary.
    linked: Option<bool>,
    /// Seconds since the last copy on disk.
    save_age_s: i64,
    /// Whether the last copy, and the last lines of the append-only file, could be written. By
    /// default the server refuses every change while they could not.
    save_ok: bool,
    /// Whether it refuses changes for lack of memory: all of `maxmemory` is used, and it evicts
    /// nothing.
    memory_full: bool,
    /// While it loads its data after a start, how much of it, in percent; null otherwise. It answers
    /// hardly any command then.
    loading_percent: Option<f64>,
    /// Keys that were evicted since the start, for lack of memory.
    evicted_keys: i64,
}

pub(crate) fn server(_job: &Job, input: Input) -> Result<Report<Output>> {
    let info = database().read(["info"])?;
    let time = database().read(["time"])?;
    let now = number(time.parts().first().unwrap_or(&time))?;
    let info = Info::parse(text(&info)?);
    Ok(report(&input, output(&info, now)?))
}

/// The fields of `INFO`.
struct Info<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    fn parse(text: &'a str) -> Self {
        Self(text.lines().filter_map(|line| line.trim_end().split_once(':')).collect())
    }

    fn text(&self, field: &str) -> Result<&'a str> {
        let missing =
            || Fault::assertion("redis.info", format!("the server does not report `{field}`"));
        self.0.get(field).copied().ok_or_else(missing)
    }

    fn number(&self, field: &str) -> Result<i64> {
        let text = self.text(field)?;
        let wrong = |_| Fault::assertion("redis.info", format!("`{field}` is `{text}`, no number"));
        text.parse().map_err(wrong)
    }

    /// The lag of each replica that is online: `slave0:ip=…,port=…,state=online,offset=…,lag=0`.
    fn replica_lags(&self) -> impl Iterator<Item = i64> {
        self.0.iter().filter_map(|(field, value)| {
            let is_replica = field
                .strip_prefix("slave")
                .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()) && !rest.is_empty());
            let parts: BTreeMap<&str, &str> =
                value.split(',').filter_map(|part| part.split_once('=')).collect();
            let is_online = parts.get("state") == Some(&"online");
            (is_replica && is_online).then(|| parts.get("lag")?.parse().ok()).flatten()
        })
    }
}

fn output(info: &Info<'_>, now: i64) -> Result<Output> {
    let role = if info.text("role")? == "master" { Role::Primary } else { Role::Replica };
    let linked = match role {
        Role::Primary => None,
        Role::Replica => Some(info.text("master_link_status")? == "up"),
    };
    let lag_s = match (role, linked) {
        (Role::Primary, _) => info.replica_lags().max(),
        (Role::Replica, Some(true)) => Some(info.number("master_last_io_seconds_ago")?),
        (Role::Replica, Some(false) | None) => None,
    };
    let (used_memory, max_memory) = (info.number("used_memory")?, info.number("maxmemory")?);
    let is_written = |field: &str| info.0.get(field).is_none_or(|status| *status == "ok");
    let evicts = info.0.get("maxmemory_policy").is_none_or(|policy| *policy != "noeviction");
    let loaded = || info.0.get("loading_loaded_perc").and_then(|percent| percent.parse().ok());
    let is_loading = info.0.get("loading").is_some_and(|loading| *loading != "0");
    Ok(Output {
        version: info.text("redis_version")?.to_owned(),
        role,
        uptime_s: info.number("uptime_in_seconds")?,
        used_memory,
        max_memory,
        memory_full: max_memory > 0 && used_memory >= max_memory && !evicts,
        loading_percent: is_loading.then(|| loaded().unwrap_or_default()),
        connected_clients: info.number("connected_clients")?,
        blocked_clients: info.number("blocked_clients")?,
        replicas: info.replica_lags().count() as u64,
        lag_s,
        linked,
        save_age_s: now.saturating_sub(info.number("rdb_last_save_time")?),
        save_ok: info.text("rdb_last_bgsave_status")? == "ok"
            && is_written("aof_last_write_status"),
        evicted_keys: info.number("evicted_keys")?,
    })
}

/// What does not hold, by how bad it is.
#[derive(Default)]
struct Findings {
    failures: Vec<String>,
    /// What cannot be compared.
    unknown: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn outcome(&self) -> Outcome {
        if !self.failures.is_empty() {
            Outcome::Fail
        } else if !self.unknown.is_empty() {
            Outcome::Unknown
        } else if !self.warnings.is_empty() {
            Outcome::Warn
        } else {
            Outcome::Pass
        }
    }
}

fn report(input: &Input, output: Output) -> Report<Output> {
    let mut findings = Findings::default();
    if let Some(percent) = output.loading_percent {
        findings.unknown.push(format!(
            "it is loading its data ({percent} % so far) and answers no other command until then"
        ));
    }
    if let Some(role) = input.role.filter(|role| *role != output.role) {
        findings.failures.push(format!("it is a {}, not a {}", output.role.word(), role.word()));
    }
    judge_memory(input, &output, &mut findings);
    judge_clients(input, &output, &mut findings);
    findings.failures.extend(replication_failures(input, &output));
    judge_saving(input, &output, &mut findings);
    let outcome = findings.outcome();
    let Findings { failures, unknown, warnings } = findings;
    let problems: Vec<_> = failures.into_iter().chain(unknown).chain(warnings).collect();
    let summary = if problems.is_empty() { condition(&output) } else { problems.join("; ") };
    with_measurements(Report::new(outcome, summary, output))
}

/// The line about a server of which nothing is wrong.
fn condition(output: &Output) -> String {
    let limit = memory_percent(output)
        .map(|percent| format!(" ({percent} % of `maxmemory`)"))
        .unwrap_or_default();
    format!(
        "Redis {} {}, {} used{limit}, {}",
        output.version,
        output.role.word(),
        Size(output.used_memory.cast_unsigned()),
        clients(output)
    )
}

/// How many clients are connected. The connection of this check is one of them.
fn clients(output: &Output) -> String {
    let number = output.connected_clients.cast_unsigned();
    format!("{}, this check among them", pluralize(number, "client"))
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn memory_percent(output: &Output) -> Option<f64> {
    (output.max_memory > 0)
        .then(|| (output.used_memory as f64 / output.max_memory as f64 * 1000.0).round() / 10.0)
}

fn judge_memory(input: &Input, output: &Output, findings: &mut Findings) {
    let has_limit = input.warn_memory_percent.or(input.fail_memory_percent).is_some();
    match memory_percent(output) {
        Some(percent) => {
            let message = || format!("{percent} % of its memory is used");
            if input.fail_memory_percent.is_some_and(|limit| percent > limit) {
                findings.failures.push(message());
            } else if input.warn_memory_percent.is_some_and(|limit| percent > limit) {
                findings.warnings.push(message());
            }
        }
        None if has_limit => {
            let message = "it has no `maxmemory` that its memory could be compared with";
            findings.unknown.push(message.to_owned());
        }
        None => {}
    }
    if output.memory_full {
        let message = "its memory is full and it evicts no key, so it refuses what needs more";
        findings.warnings.push(message.to_owned());
    }
}

fn judge_clients(input: &Input, output: &Output, findings: &mut Findings) {
    let number = output.connected_clients.cast_unsigned();
    let is_more = |limit: Option<u64>| limit.is_some_and(|limit| number > limit);
    let message = || format!("{} are connected", clients(output));
    if is_more(input.fail_clients) {
        findings.failures.push(message());
    } else if is_more(input.warn_clients) {
        findings.warnings.push(message());
    }
}

fn judge_saving(input: &Input, output: &Output, findings: &mut Findings) {
    let age = u64::try_from(output.save_age_s).unwrap_or_default();
    if let Some(limit) = input.max_save_age
        && age > limit.as_secs()
    {
        findings.failures.push(format!("the last copy on disk is {age} s old"));
    }
    if !output.save_ok {
        let message = "its data could not be written to disk the last time, so by default it \
                       refuses every change"
            .to_owned();
        match input.max_save_age {
            Some(_) => findings.failures.push(message),
            None => findings.warnings.push(message),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^52")]
fn with_measurements(report: Report<Output>) -> Report<Output> {
    let output = &report.output;
    let memory = measurement("used_memory", output.used_memory as f64, "B");
    let clients = measurement("clients", output.connected_clients as f64, "");
    let silence = output.lag_s.map(|silence| measurement("silence", silence as f64, "s"));
    let report = report.measure(memory).measure(clients);
    match silence {
        Some(silence) => report.measure(silence),
        None => report,
    }
}

fn replication_failures(input: &Input, output: &Output) -> Vec<String> {
    let mut failures = Vec::new();
    if let Some(wanted) = input.min_replicas.filter(|wanted| output.replicas < *wanted) {
        failures.push(format!("{} of {wanted} replicas are online", output.replicas));
    }
    let Some(limit) = input.max_lag else { return failures };
    if output.linked == Some(false) {
        failures.push("it has no link to its primary".to_owned());
    }
    if let Some(silence) =
        output.lag_s.filter(|lag| *lag > i64::try_from(limit.as_secs()).unwrap_or(i64::MAX))
    {
        failures.push(match output.role {
            Role::Primary => format!("a replica acknowledged nothing for {silence} s"),
            Role::Replica => format!("nothing was heard from its primary for {silence} s"),
        });
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:60\r\n\
        connected_clients:7\r\nblocked_clients:1\r\nused_memory:900\r\nmaxmemory:1000\r\n\
        rdb_last_save_time:940\r\nrdb_last_bgsave_status:ok\r\nevicted_keys:0\r\nrole:master\r\n\
        connected_slaves:2\r\nslave0:ip=10.0.0.1,port=6379,state=online,offset=1,lag=3\r\n\
        slave1:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=1,lag=9\r\n";

    fn summary(info: &str, input: &Json) -> (Outcome, String) {
        let input = serde_json::from_value(input.clone()).expect("good input");
        let output = output(&Info::parse(info), 1000).expect("complete");
        let report = report(&input, output);
        (report.outcome, report.summary)
    }

    #[test]
    fn each_limit_is_compared_with_its_number() {
        let replica = PRIMARY.replace(
            "role:master",
            "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:8",
        );
        let away = replica.replace("status:up", "status:down");
        let unlimited = PRIMARY.replace("maxmemory:1000", "maxmemory:0");
        let loading = format!("{PRIMARY}loading:1\r\nloading_loaded_perc:18.5\r\n");
        let unappended = format!("{PRIMARY}loading:0\r\naof_last_write_status:err\r\n");
        let evicting = PRIMARY.replace("used_memory:900", "used_memory:1000");
        let full = format!("{evicting}maxmemory_policy:noeviction\r\n");
        let unsaved = PRIMARY.replace("bgsave_status:ok", "bgsave_status:err");
        for (info, input, outcome, words) in [
            (PRIMARY, json!({}), Outcome::Pass, "Redis 7.0.15 primary"),
            (
                PRIMARY,
                json!({ "role": "replica" }),
                Outcome::Fail,
                "it is a primary, not a replica",
            ),
            (
                PRIMARY,
                json!({ "warn_memory_percent": 80, "fail_memory_percent": 95 }),
                Outcome::Warn,
                "90 %",
            ),
            (PRIMARY, json!({ "fail_memory_percent": 80 }), Outcome::Fail, "90 %"),
            (&unlimited, json!({ "fail_memory_percent": 80 }), Outcome::Unknown, "no `maxmemory`"),
            (&unlimited, json!({ "warn_memory_percent": 80 }), Outcome::Unknown, "no `maxmemory`"),
            (PRIMARY, json!({}), Outcome::Pass, "(90 % of `maxmemory`)"),
            (PRIMARY, json!({ "warn_clients": 6, "fail_clients": 7 }), Outcome::Warn, "7 clients"),
            (PRIMARY, json!({ "min_replicas": 2 }), Outcome::Fail, "1 of 2 replicas"),
            (PRIMARY, json!({ "max_lag": "2s" }), Outcome::Fail, "acknowledged nothing for 3 s"),
            (PRIMARY, json!({ "max_lag": "3s" }), Outcome::Pass, "primary"),
            (&replica, json!({ "max_lag": "5s" }), Outcome::Fail, "heard from its primary for 8 s"),
            (&away, json!({ "max_lag": "1h" }), Outcome::Fail, "no link"),
            (PRIMARY, json!({ "max_save_age": "50s" }), Outcome::Fail, "60 s old"),
            (PRIMARY, json!({ "max_save_age": "2m" }), Outcome::Pass, "primary"),
            (&unsaved, json!({ "max_save_age": "2m" }), Outcome::Fail, "could not be written"),
            (&unsaved, json!({}), Outcome::Warn, "refuses every change"),
            (&unappended, json!({}), Outcome::Warn, "refuses every change"),
            (&full, json!({}), Outcome::Warn, "evicts no key"),
            (&evicting, json!({}), Outcome::Pass, "100 % of `maxmemory`"),
            (&loading, json!({}), Outcome::Unknown, "it is loading its data (18.5 % so far)"),
            (&loading, json!({ "role": "replica" }), Outcome::Fail, "not a replica; it is loading"),
        ] {
            let (found, summary) = summary(info, &input);
            assert!(found == outcome && summary.contains(words), "{input}: {summary}");
        }
        assert!(output(&Info::parse("role:master"), 0).is_err());
    }
}
