//! `redis:server`

use crate::{database, number, text};
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
    /// A longer silence between a replica and its primary is a failure.
    max_lag: Option<Span>,
    /// A last saved copy that is older is a failure, and so is one that could not be written.
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
    /// Whether the last copy could be written.
    save_ok: bool,
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
    Ok(Output {
        version: info.text("redis_version")?.to_owned(),
        role,
        uptime_s: info.number("uptime_in_seconds")?,
        used_memory: info.number("used_memory")?,
        max_memory: info.number("maxmemory")?,
        connected_clients: info.number("connected_clients")?,
        blocked_clients: info.number("blocked_clients")?,
        replicas: info.replica_lags().count() as u64,
        lag_s,
        linked,
        save_age_s: now.saturating_sub(info.number("rdb_last_save_time")?),
        save_ok: info.text("rdb_last_bgsave_status")? == "ok",
        evicted_keys: info.number("evicted_keys")?,
    })
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn report(input: &Input, output: Output) -> Report<Output> {
    let mut failures = Vec::new();
    let mut warnings = Vec::new();
    if let Some(role) = input.role.filter(|role| *role != output.role) {
        failures.push(format!("it is a {}, not a {}", output.role.word(), role.word()));
    }
    let memory_percent = (output.max_memory > 0)
        .then(|| (output.used_memory as f64 / output.max_memory as f64 * 1000.0).round() / 10.0);
    let has_memory_limit = input.warn_memory_percent.or(input.fail_memory_percent).is_some();
    match memory_percent {
        Some(percent) => {
            let message = || format!("{percent} % of its memory is used");
            if input.fail_memory_percent.is_some_and(|limit| percent > limit) {
                failures.push(message());
            } else if input.warn_memory_percent.is_some_and(|limit| percent > limit) {
                warnings.push(message());
            }
        }
        None if has_memory_limit => {
            failures
                .push("it has no `maxmemory` that its memory could be compared with".to_owned());
        }
        None => {}
    }
    let more_clients = |limit: Option<u64>| {
        limit.is_some_and(|limit| output.connected_clients.cast_unsigned() > limit)
    };
    if more_clients(input.fail_clients) {
        failures.push(format!("{} clients are connected", output.connected_clients));
    } else if more_clients(input.warn_clients) {
        warnings.push(format!("{} clients are connected", output.connected_clients));
    }
    failures.extend(replication_failures(input, &output));
    if let Some(limit) = input.max_save_age {
        if !output.save_ok {
            failures.push("the last copy could not be written to disk".to_owned());
        }
        if output.save_age_s > i64::try_from(limit.as_secs()).unwrap_or(i64::MAX) {
            failures.push(format!("the last copy on disk is {} s old", output.save_age_s));
        }
    }
    let outcome = match (failures.is_empty(), warnings.is_empty()) {
        (false, _) => Outcome::Fail,
        (true, false) => Outcome::Warn,
        (true, true) => Outcome::Pass,
    };
    let problems: Vec<_> = failures.into_iter().chain(warnings).collect();
    let summary = if problems.is_empty() {
        format!(
            "Redis {} {}, {} used, {} clients",
            output.version,
            output.role.word(),
            Size(output.used_memory.cast_unsigned()),
            output.connected_clients
        )
    } else {
        problems.join("; ")
    };
    let memory = measurement("used_memory", output.used_memory as f64, "B");
    let clients = measurement("clients", output.connected_clients as f64, "");
    let lag = output.lag_s.map(|lag| measurement("lag", lag as f64, "s"));
    let report = Report::new(outcome, summary, output).measure(memory).measure(clients);
    match lag {
        Some(lag) => report.measure(lag),
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
    if let Some(lag) =
        output.lag_s.filter(|lag| *lag > i64::try_from(limit.as_secs()).unwrap_or(i64::MAX))
    {
        failures.push(format!("replication is {lag} s behind"));
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
            (&unlimited, json!({ "fail_memory_percent": 80 }), Outcome::Fail, "no `maxmemory`"),
            (PRIMARY, json!({ "warn_clients": 6, "fail_clients": 7 }), Outcome::Warn, "7 clients"),
            (PRIMARY, json!({ "min_replicas": 2 }), Outcome::Fail, "1 of 2 replicas"),
            (PRIMARY, json!({ "max_lag": "2s" }), Outcome::Fail, "3 s behind"),
            (PRIMARY, json!({ "max_lag": "3s" }), Outcome::Pass, "primary"),
            (&replica, json!({ "max_lag": "5s" }), Outcome::Fail, "8 s behind"),
            (&away, json!({ "max_lag": "1h" }), Outcome::Fail, "no link"),
            (PRIMARY, json!({ "max_save_age": "50s" }), Outcome::Fail, "60 s old"),
            (PRIMARY, json!({ "max_save_age": "2m" }), Outcome::Pass, "primary"),
            (&unsaved, json!({ "max_save_age": "2m" }), Outcome::Fail, "could not be written"),
        ] {
            let (found, summary) = summary(info, &input);
            assert!(found == outcome && summary.contains(words), "{input}: {summary}");
        }
        assert!(output(&Info::parse("role:master"), 0).is_err());
    }
}
