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

/// Makes the records of the run, one after the other.
struct RecordBuilder {
    seconds: i64,
    records: Vec<Record>,
    moments: Vec<Moment>,
}

impl RecordBuilder {
    /// Adds an event, this many seconds after the last one.
    fn after(&mut self, seconds: i64, event: Value) {
        self.seconds += seconds;
        let started: jiff::Timestamp = STARTED.parse().unwrap();
        let at = started + jiff::SignedDuration::from_secs(self.seconds);
        let event: RunEvent = serde_json::from_value(event.clone())
            .unwrap_or_else(|error| panic!("{event}: {error}"));
        self.records.push(Record { seq: self.records.len() as u64, at, event });
    }

    /// Adds a moment: the run as it stands after the records so far.
    fn add_moment(&mut self, name: &'static str) {
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

fn then_final() -> Value {
    json!({ "type": "final" })
}

fn succeeded_result(summary: &str, changed: bool) -> Value {
    json!({ "type": "succeeded", "outcome": "pass", "summary": summary, "output": { "rows": 12 },
        "changed": changed })
}

fn fault(class: &str, code: &str, message: &str) -> Value {
    json!({ "class": class, "code": code, "message": message, "logs": [] })
}

fn failed_result(class: &str, code: &str, message: &str) -> Value {
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
    let steps = [
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
    steps.iter().map(listing).collect()
}

/// The run, with all its records.
pub fn migration() -> Migration {
    let mut builder = RecordBuilder { seconds: 0, records: Vec::new(), moments: Vec::new() };
    add_begin(&mut builder);
    add_interruption(&mut builder);
    add_failure(&mut builder);
    add_undo(&mut builder);
    Migration { header: header(), records: builder.records, moments: builder.moments }
}

/// Adds the records until the run waits for people.
fn add_begin(builder: &mut RecordBuilder) {
    builder.after(
        0,
        json!({ "of": "run", "type": "run-started", "runbook": "migrate-orders",
        "title": "Migrate the orders database", "steps": listings(), "params": { "version": 42 } }),
    );
    builder.after(
        1,
        json!({ "of": "run", "type": "window-checked",
        "verdict": { "type": "overridden", "by": "ada@ops-1", "opens": "2026-03-05T01:00:00Z" } }),
    );
    let measurements =
        json!([{ "label": "free", "value": 12.5, "unit": "GiB", "warn": "20:", "crit": "5:" }]);
    let warned_result = json!({ "type": "succeeded", "outcome": "warn",
        "summary": "12.5 GiB are free, less than 20", "output": { "free": 12.5 }, "changed": false,
        "measurements": measurements });
    builder.attempt("disk", 1, "not-needed", &warned_result, &then_final());
    builder.attempt(
        "replicas",
        0,
        "not-needed",
        &succeeded_result("2 replicas follow", false),
        &then_final(),
    );
    builder.after(
        0,
        json!({ "of": "run", "type": "lock-waiting", "name": "orders",
        "holder": "run 0190aa10-ffff (bob@ops-2)" }),
    );
    builder.after(
        5,
        json!({ "of": "run", "type": "steps-began", "locks": [{ "name": "orders", "token": 7 }] }),
    );
    builder.after(
        0,
        json!({ "of": "guard", "type": "guard-observed", "guard": "load",
        "observation": { "verdict": "holds", "summary": "0.4 of the capacity is used" } }),
    );
    builder.begin("backup", 1, "not-needed");
    builder.after(
        60,
        json!({ "of": "step", "type": "still-waiting", "step": "backup",
        "call": "attempt", "waited_ms": 60_000, "at_most_ms": 600_000, "then": "goes-on" }),
    );
    let logs = json!([{ "level": "info", "message": "writing /backup/orders.dump" },
        { "level": "warn", "message": "the network is slow" }]);
    builder.end(
        "backup",
        1,
        31,
        &succeeded_result("wrote orders.dump, 1.2 GiB", false),
        &then_final(),
        &logs,
    );
    builder.after(
        0,
        json!({ "of": "step", "type": "step-skipped", "step": "announce", "reason": "condition" }),
    );
    builder.after(1, json!({ "of": "step", "type": "manual-asked", "step": "drain",
        "instructions": "Open the console of the workers.\n\
                         Set each to `drain`, and wait until none has a job.", "options": ["--set workers=NUMBER", "--choice=done"] }));
    builder.after(1, json!({ "of": "step", "type": "approval-asked", "step": "schema",
        "digest": "sha256:51", "input": { "version": 42 },
        "proposal": { "effects": [{ "verb": "sql.write", "target": "orders",
        "summary": "3 migrations are applied: 40_totals, 41_index and 42_currency" }],
        "summary": "apply 3 migrations to `orders`", "before": { "version": 41 } }, "quorum": 2, "expires_ms": 900_000 }));
    builder.begin("cache", 1, "irreversible");
    builder.end(
        "cache",
        1,
        2,
        &failed_result("transient", "http-503", "the cache answered 503 Service Unavailable"),
        &json!({ "type": "retry", "delay_ms": 300_000 }),
        &json!([]),
    );
    builder.add_moment("executed");
    builder.after(
        1,
        json!({ "of": "run", "type": "paused",
        "reason": { "type": "approval", "steps": ["schema"] } }),
    );
    builder.add_moment("paused");
}

/// Adds an answer, an interruption during `index`, and the operator's decision about it.
fn add_interruption(builder: &mut RecordBuilder) {
    builder.after(
        100,
        json!({ "of": "step", "type": "approval-given", "step": "schema",
        "digest": "sha256:51", "by": "grace@ops-1", "verdict": { "type": "approved" } }),
    );
    builder.after(
        10,
        json!({ "of": "step", "type": "approval-given", "step": "schema",
        "digest": "sha256:51", "by": "linus@ops-3", "verdict": { "type": "approved" } }),
    );
    builder.after(
        5,
        json!({ "of": "step", "type": "manual-answered", "step": "drain",
        "by": "grace@ops-1", "values": { "workers": 6, "choice": "done" } }),
    );
    builder.after(20, json!({ "of": "run", "type": "resumed", "by": "ada@ops-1" }));
    builder.after(
        0,
        json!({ "of": "run", "type": "locks-retaken",
        "locks": [{ "name": "orders", "token": 9, "taken_from": "process 4711, which is dead" }] }),
    );
    builder.attempt(
        "schema",
        12,
        "auto",
        &succeeded_result("3 migrations applied: orders is at version 42", true),
        &then_final(),
    );
    builder.after(
        0,
        json!({ "of": "step", "type": "items-listed", "step": "regions",
        "items": [{ "key": "eu", "value": "eu" }, { "key": "us", "value": "us" }] }),
    );
    builder.attempt(
        "regions[eu]",
        2,
        "auto",
        &succeeded_result("eu reads version 42", true),
        &then_final(),
    );
    builder.attempt(
        "regions[us]",
        2,
        "auto",
        &succeeded_result("us reads version 42", true),
        &then_final(),
    );
    builder.after(
        0,
        json!({ "of": "step", "type": "items-ended", "step": "regions",
            "result": succeeded_result("2 items done", true), "then": then_final() }),
    );
    builder.begin("cache", 2, "irreversible");
    builder.end(
        "cache",
        2,
        2,
        &succeeded_result("412 entries removed", true),
        &then_final(),
        &json!([]),
    );
    builder.begin("index", 1, "auto");
    builder.after(
        40,
        json!({ "of": "step", "type": "recovered", "step": "index", "attempt": 1,
        "decision": { "type": "ask-operator",
        "known": "the connection was lost before the answer came", "before": { "indexes": 3 },
        "now": null } }),
    );
    builder.after(
        1,
        json!({ "of": "run", "type": "paused",
        "reason": { "type": "unknown-outcome", "steps": ["index"] } }),
    );
    builder.add_moment("unknown");
    builder.after(300, json!({ "of": "run", "type": "resumed", "by": "ada@ops-1" }));
    builder.after(
        0,
        json!({ "of": "step", "type": "recovered", "step": "index", "attempt": 1,
            "decision": { "type": "operator-done" } }),
    );
}

/// Adds the failure of the smoke test.
fn add_failure(builder: &mut RecordBuilder) {
    let cases = json!([
        { "name": "search", "outcome": "pass", "detail": "", "duration_ms": 120 },
        { "name": "pay", "outcome": "fail", "detail": "status is 500, expected 201",
        "duration_ms": 2_300 },
        { "name": "mail", "outcome": "unknown", "detail": "not tried, because `pay` failed",
        "duration_ms": 0 }
    ]);
    let smoke_result = json!({ "type": "failed",
        "fault": fault("assertion", "smoke-failed", "1 of 3 cases failed: pay"), "outcome": "fail",
        "cases": cases, "output": { "failed": 1 } });
    let logs =
        json!([{ "level": "error", "message": "POST /orders: 500, `currency` must not be null" }]);
    builder.begin("smoke", 1, "not-needed");
    builder.end("smoke", 1, 3, &smoke_result, &then_final(), &logs);
    builder.after(
        0,
        json!({ "of": "guard", "type": "guard-observed", "guard": "load",
        "observation": { "verdict": "blind", "summary": "no answer from metrics.internal" } }),
    );
    builder.after(
        0,
        json!({ "of": "run", "type": "stopping", "cause": { "type": "step", "step": "smoke" } }),
    );
}

/// Adds the undo, of which one step fails.
fn add_undo(builder: &mut RecordBuilder) {
    let undo_ended = |step: &str, result: Value, then: Value| json!({ "of": "step", "type": "undo-ended", "step": step, "attempt": 1, "result": result, "then": then, "duration_ms": 1_500 });
    let undo_started = |step: &str, attempt: u32| {
        json!({ "of": "step", "type": "undo-started",
        "step": step, "attempt": attempt })
    };
    builder.after(
        0,
        json!({ "of": "run", "type": "undo-began",
        "cause": { "type": "step", "step": "smoke" },
        "order": ["regions[us]", "regions[eu]", "schema"] }),
    );
    builder.after(0, undo_started("regions[us]", 1));
    builder.after(
        2,
        undo_ended(
            "regions[us]",
            json!({ "type": "done", "summary": "us reads version 41" }),
            then_final(),
        ),
    );
    builder.after(
        0,
        json!({ "of": "step", "type": "undo-checked", "step": "regions[us]",
        "finding": { "type": "restored" } }),
    );
    builder.after(0, undo_started("regions[eu]", 1));
    builder.after(
        2,
        undo_ended(
            "regions[eu]",
            json!({ "type": "failed",
                "fault": fault("transient", "http-timeout", "no answer from eu within 5 s") }),
            json!({ "type": "retry", "delay_ms": 5_000 }),
        ),
    );
    builder.after(5, undo_started("regions[eu]", 2));
    builder.add_moment("undoing");
    builder.after(
        5,
        undo_ended(
            "regions[eu]",
            json!({ "type": "failed",
            "fault": fault("conflict", "http-409",
            "eu refuses: it is being changed by somebody else") }),
            then_final(),
        ),
    );
    builder.after(0, undo_started("schema", 1));
    builder.after(
        4,
        undo_ended(
            "schema",
            json!({ "type": "done", "summary": "orders is at version 41" }),
            then_final(),
        ),
    );
    builder.after(
        0,
        json!({ "of": "step", "type": "undo-checked", "step": "schema",
        "finding": { "type": "drifted", "before": { "version": 41, "rows": 12 },
        "now": { "version": 41, "rows": 13 } } }),
    );
    builder.after(
        0,
        json!({ "of": "run", "type": "finally-began", "end": "dirty",
        "cause": { "type": "step", "step": "smoke" } }),
    );
    builder.attempt(
        "undrain",
        1,
        "not-needed",
        &failed_result("denied", "denied", "POST https://workers.internal/undrain is not granted"),
        &json!({ "type": "continue" }),
    );
    builder.after(
        0,
        json!({ "of": "notify", "type": "notify-started", "notify": "page", "on": "dirty" }),
    );
    builder.after(
        1,
        json!({ "of": "notify", "type": "notify-ended", "notify": "page", "on": "dirty",
        "fault": fault("transient", "http-timeout", "no answer from pager.example within 5 s") }),
    );
    builder.after(
        0,
        json!({ "of": "run", "type": "run-ended", "end": "dirty",
        "cause": { "type": "step", "step": "smoke" }, "took_ms": 346_000 }),
    );
    builder.add_moment("dirty");
}
