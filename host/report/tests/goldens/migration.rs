//! A migration that goes wrong: the records of one run, in which a step stands in every state at
//! one moment or another.

use runbook_engine::{Record, RunEvent, RunHeader};
use serde_json::{Value, json};

/// When it started.
const STARTED: &str = "2026-03-04T02:17:00Z";

/// A moment at which the run is looked at: how many of its records there are by then.
pub struct Moment {
    pub name: &'static str,
    pub records: usize,
}

/// The run.
pub struct Migration {
    pub header: RunHeader,
    pub records: Vec<Record>,
    pub moments: Vec<Moment>,
}

/// Its records, told one after the other.
struct Story {
    seconds: i64,
    records: Vec<Record>,
    moments: Vec<Moment>,
}

impl Story {
    fn after(&mut self, seconds: i64, event: Value) {
        self.seconds += seconds;
        let started: jiff::Timestamp = STARTED.parse().unwrap();
        let at = started + jiff::SignedDuration::from_secs(self.seconds);
        let event: RunEvent = serde_json::from_value(event.clone())
            .unwrap_or_else(|error| panic!("{event}: {error}"));
        self.records.push(Record { seq: self.records.len() as u64, at, event });
    }

    fn moment(&mut self, name: &'static str) {
        self.moments.push(Moment { name, records: self.records.len() });
    }

    /// An attempt at a step that says what it will do, and what came of it.
    fn attempt(&mut self, step: &str, seconds: i64, undo: &str, result: &Value, then: &Value) {
        self.begin(step, 1, undo);
        self.end(step, 1, seconds, result, then, &json!([]));
    }

    fn begin(&mut self, step: &str, attempt: u32, undo: &str) {
        let proposal = json!({
            "effects": [{ "verb": "sql.write", "target": "orders",
            "summary": format!("{step} changes `orders`") }],
            "summary": format!("do {step}"), "before": { "version": 41 }
        });
        let proposal = if undo == "not-needed" { Value::Null } else { proposal };
        self.after(
            0,
            json!({
                "of": "step", "type": "attempt-started", "step": step, "attempt": attempt,
                "input": { "database": "orders" },
                "input_digest": "sha256:11", "proposal": proposal, "undo": undo
            }),
        );
    }

    fn end(
        &mut self,
        step: &str,
        attempt: u32,
        seconds: i64,
        result: &Value,
        then: &Value,
        logs: &Value,
    ) {
        self.after(
            seconds,
            json!({
                "of": "step", "type": "attempt-ended", "step": step, "attempt": attempt,
                "result": result, "then": then,
                "duration_ms": seconds * 1_000 + 250, "logs": logs
            }),
        );
    }
}

fn last() -> Value {
    json!({ "type": "final" })
}

fn done(summary: &str, changed: bool) -> Value {
    json!({ "type": "succeeded", "outcome": "pass", "summary": summary, "output": { "rows": 12 },
        "changed": changed })
}

fn fault(class: &str, code: &str, message: &str) -> Value {
    json!({ "class": class, "code": code, "message": message, "logs": [] })
}

fn failed(class: &str, code: &str, message: &str) -> Value {
    json!({ "type": "failed", "fault": fault(class, code, message) })
}

fn header() -> RunHeader {
    serde_json::from_value(json!({
        "run": "0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f", "name": "migrate-orders",
        "title": "Migrate the orders database",
        "sources": [["migrate.toml", "…"]], "digest": "sha256:42",
        "params": { "version": 42, "regions": ["eu", "us"] },
        "environment": "production", "operator": "ada@ops-1", "started": STARTED
    }))
    .unwrap()
}

fn listings() -> Vec<Value> {
    let sites = [
        ("disk", "There is room for a backup", "preflight", "sql:query"),
        ("replicas", "replicas", "preflight", "sql:query"),
        ("load", "The load is low", "guard", "http:get"),
        ("backup", "Back up the database", "step", "sql:backup"),
        ("announce", "announce", "step", "http:post"),
        ("drain", "Drain the workers", "step", "manual"),
        ("schema", "Migrate the schema", "step", "sql:migrate"),
        ("regions", "Switch the regions", "step", "http:put"),
        ("cache", "cache", "step", "http:delete"),
        ("index", "Build the index", "step", "sql:execute"),
        ("smoke", "Buy something", "step", "smoke:run"),
        ("cleanup", "cleanup", "step", "files:delete"),
        ("orders-open", "Orders can be placed", "verify", "http:get"),
        ("undrain", "undrain", "finally", "http:post"),
        ("page", "page", "notify", "http:post"),
    ];
    let listing = |(id, title, section, uses): &(&str, &str, &str, &str)| json!({ "id": id, "title": title, "section": section, "uses": uses, "digest": "sha256:0a0b" });
    sites.iter().map(listing).collect()
}

/// The whole story.
pub fn migration() -> Migration {
    let mut story = Story { seconds: 0, records: Vec::new(), moments: Vec::new() };
    begins(&mut story);
    is_interrupted(&mut story);
    fails(&mut story);
    is_undone(&mut story);
    Migration { header: header(), records: story.records, moments: story.moments }
}

/// Until it waits for people.
fn begins(story: &mut Story) {
    story.after(
        0,
        json!({ "of": "run", "type": "run-started", "runbook": "migrate-orders",
        "title": "Migrate the orders database", "steps": listings(), "params": { "version": 42 } }),
    );
    story.after(
        1,
        json!({ "of": "run", "type": "window-checked",
        "verdict": { "type": "overridden", "by": "ada@ops-1", "opens": "2026-03-05T01:00:00Z" } }),
    );
    let measured =
        json!([{ "label": "free", "value": 12.5, "unit": "GiB", "warn": "20:", "crit": "5:" }]);
    let warned = json!({ "type": "succeeded", "outcome": "warn",
        "summary": "12.5 GiB are free, less than 20", "output": { "free": 12.5 }, "changed": false,
        "measurements": measured });
    story.attempt("disk", 1, "not-needed", &warned, &last());
    story.attempt("replicas", 0, "not-needed", &done("2 replicas follow", false), &last());
    story.after(
        0,
        json!({ "of": "run", "type": "lock-waiting", "name": "orders",
        "holder": "run 0190aa10-ffff (bob@ops-2)" }),
    );
    story.after(
        5,
        json!({ "of": "run", "type": "steps-began", "locks": [{ "name": "orders", "token": 7 }] }),
    );
    story.after(
        0,
        json!({ "of": "guard", "type": "guard-observed", "guard": "load",
        "observation": { "verdict": "holds", "summary": "0.4 of the capacity is used" } }),
    );
    story.begin("backup", 1, "not-needed");
    story.after(
        60,
        json!({ "of": "step", "type": "still-waiting", "step": "backup",
        "call": "attempt", "waited_ms": 60_000, "at_most_ms": 600_000, "then": "goes-on" }),
    );
    let logs = json!([{ "level": "info", "message": "writing /backup/orders.dump" },
        { "level": "warn", "message": "the network is slow" }]);
    story.end("backup", 1, 31, &done("wrote orders.dump, 1.2 GiB", false), &last(), &logs);
    story.after(
        0,
        json!({ "of": "step", "type": "step-skipped", "step": "announce", "reason": "condition" }),
    );
    story.after(1, json!({ "of": "step", "type": "manual-asked", "step": "drain",
        "instructions": "Open the console of the workers.\n\
                         Set each to `drain`, and wait until none has a job.", "options": ["--set workers=NUMBER", "--choice=done"] }));
    story.after(1, json!({ "of": "step", "type": "approval-asked", "step": "schema",
        "digest": "sha256:51", "input": { "version": 42 },
        "proposal": { "effects": [{ "verb": "sql.write", "target": "orders",
        "summary": "3 migrations are applied: 40_totals, 41_index and 42_currency" }],
        "summary": "apply 3 migrations to `orders`", "before": { "version": 41 } }, "quorum": 2, "expires_ms": 900_000 }));
    story.begin("cache", 1, "irreversible");
    story.end(
        "cache",
        1,
        2,
        &failed("transient", "http-503", "the cache answered 503 Service Unavailable"),
        &json!({ "type": "retry", "delay_ms": 300_000 }),
        &json!([]),
    );
    story.moment("executed");
    story.after(
        1,
        json!({ "of": "run", "type": "paused",
        "reason": { "type": "approval", "steps": ["schema"] } }),
    );
    story.moment("paused");
}

/// An answer comes, its process dies half-way through the index, and the operator says what came of
/// that.
fn is_interrupted(story: &mut Story) {
    story.after(
        100,
        json!({ "of": "step", "type": "approval-given", "step": "schema",
        "digest": "sha256:51", "by": "grace@ops-1", "verdict": { "type": "approved" } }),
    );
    story.after(
        10,
        json!({ "of": "step", "type": "approval-given", "step": "schema",
        "digest": "sha256:51", "by": "linus@ops-3", "verdict": { "type": "approved" } }),
    );
    story.after(
        5,
        json!({ "of": "step", "type": "manual-answered", "step": "drain",
        "by": "grace@ops-1", "values": { "workers": 6, "choice": "done" } }),
    );
    story.after(20, json!({ "of": "run", "type": "resumed", "by": "ada@ops-1" }));
    story.after(
        0,
        json!({ "of": "run", "type": "locks-retaken",
        "locks": [{ "name": "orders", "token": 9, "taken_from": "process 4711, which is dead" }] }),
    );
    story.attempt(
        "schema",
        12,
        "auto",
        &done("3 migrations applied: orders is at version 42", true),
        &last(),
    );
    story.after(
        0,
        json!({ "of": "step", "type": "items-listed", "step": "regions",
        "items": [{ "key": "eu", "value": "eu" }, { "key": "us", "value": "us" }] }),
    );
    story.attempt("regions[eu]", 2, "auto", &done("eu reads version 42", true), &last());
    story.attempt("regions[us]", 2, "auto", &done("us reads version 42", true), &last());
    story.after(
        0,
        json!({ "of": "step", "type": "items-ended", "step": "regions",
            "result": done("2 items done", true), "then": last() }),
    );
    story.begin("cache", 2, "irreversible");
    story.end("cache", 2, 2, &done("412 entries removed", true), &last(), &json!([]));
    story.begin("index", 1, "auto");
    story.after(
        40,
        json!({ "of": "step", "type": "recovered", "step": "index", "attempt": 1,
        "decision": { "type": "ask-operator",
        "known": "the connection was lost before the answer came", "before": { "indexes": 3 },
        "now": null } }),
    );
    story.after(
        1,
        json!({ "of": "run", "type": "paused",
        "reason": { "type": "unknown-outcome", "steps": ["index"] } }),
    );
    story.moment("unknown");
    story.after(300, json!({ "of": "run", "type": "resumed", "by": "ada@ops-1" }));
    story.after(
        0,
        json!({ "of": "step", "type": "recovered", "step": "index", "attempt": 1,
            "decision": { "type": "operator-done" } }),
    );
}

/// The smoke test finds that nothing can be bought.
fn fails(story: &mut Story) {
    let cases = json!([
        { "name": "search", "outcome": "pass", "detail": "", "duration_ms": 120 },
        { "name": "pay", "outcome": "fail", "detail": "status is 500, expected 201",
        "duration_ms": 2_300 },
        { "name": "mail", "outcome": "unknown", "detail": "not tried, because `pay` failed",
        "duration_ms": 0 }
    ]);
    let seen = json!({ "type": "failed",
        "fault": fault("assertion", "smoke-failed", "1 of 3 cases failed: pay"), "outcome": "fail",
        "cases": cases, "output": { "failed": 1 } });
    let logs =
        json!([{ "level": "error", "message": "POST /orders: 500, `currency` must not be null" }]);
    story.begin("smoke", 1, "not-needed");
    story.end("smoke", 1, 3, &seen, &last(), &logs);
    story.after(
        0,
        json!({ "of": "guard", "type": "guard-observed", "guard": "load",
        "observation": { "verdict": "blind", "summary": "no answer from metrics.internal" } }),
    );
    story.after(
        0,
        json!({ "of": "run", "type": "stopping", "cause": { "type": "step", "step": "smoke" } }),
    );
}

/// What can be undone is undone, one of it in vain.
fn is_undone(story: &mut Story) {
    let ended = |step: &str, result: Value, then: Value| json!({ "of": "step", "type": "undo-ended", "step": step, "attempt": 1, "result": result, "then": then, "duration_ms": 1_500 });
    let begun = |step: &str, attempt: u32| {
        json!({ "of": "step", "type": "undo-started",
        "step": step, "attempt": attempt })
    };
    story.after(
        0,
        json!({ "of": "run", "type": "undo-began",
        "cause": { "type": "step", "step": "smoke" },
        "order": ["regions[us]", "regions[eu]", "schema"] }),
    );
    story.after(0, begun("regions[us]", 1));
    story.after(
        2,
        ended("regions[us]", json!({ "type": "done", "summary": "us reads version 41" }), last()),
    );
    story.after(
        0,
        json!({ "of": "step", "type": "undo-checked", "step": "regions[us]",
        "finding": { "type": "restored" } }),
    );
    story.after(0, begun("regions[eu]", 1));
    story.after(
        2,
        ended(
            "regions[eu]",
            json!({ "type": "failed",
                "fault": fault("transient", "http-timeout", "no answer from eu within 5 s") }),
            json!({ "type": "retry", "delay_ms": 5_000 }),
        ),
    );
    story.after(5, begun("regions[eu]", 2));
    story.moment("undoing");
    story.after(
        5,
        ended(
            "regions[eu]",
            json!({ "type": "failed",
            "fault": fault("conflict", "http-409",
            "eu refuses: it is being changed by somebody else") }),
            last(),
        ),
    );
    story.after(0, begun("schema", 1));
    story.after(
        4,
        ended("schema", json!({ "type": "done", "summary": "orders is at version 41" }), last()),
    );
    story.after(
        0,
        json!({ "of": "step", "type": "undo-checked", "step": "schema",
        "finding": { "type": "drifted", "before": { "version": 41, "rows": 12 },
        "now": { "version": 41, "rows": 13 } } }),
    );
    story.after(
        0,
        json!({ "of": "run", "type": "finally-began", "end": "dirty",
        "cause": { "type": "step", "step": "smoke" } }),
    );
    story.attempt(
        "undrain",
        1,
        "not-needed",
        &failed("denied", "denied", "POST https://workers.internal/undrain is not granted"),
        &json!({ "type": "continue" }),
    );
    story.after(
        0,
        json!({ "of": "notify", "type": "notify-started", "notify": "page", "on": "dirty" }),
    );
    story.after(
        1,
        json!({ "of": "notify", "type": "notify-ended", "notify": "page", "on": "dirty",
        "fault": fault("transient", "http-timeout", "no answer from pager.example within 5 s") }),
    );
    story.after(
        0,
        json!({ "of": "run", "type": "run-ended", "end": "dirty",
        "cause": { "type": "step", "step": "smoke" }, "took_ms": 346_000 }),
    );
    story.moment("dirty");
}
