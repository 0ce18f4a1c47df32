//! Helpers that the tests of the journal share.

use runbook_engine::{
    Holder, LeaseRequest, LifecycleEvent, ProcessIdentity, Record, RunEnd, RunHeader, RunId,
};
use std::time::Duration;
use uuid::Uuid;

/// A fixed time, `second` seconds into the tests.
pub fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A header of a run that started at `second`.
pub fn header(run: RunId, second: i64) -> RunHeader {
    RunHeader {
        run,
        name: "emergency-db".into(),
        title: "Database emergency".into(),
        sources: vec![("runbook.toml".into(), "format = 1\n".into())],
        digest: "sha256:00".into(),
        params: serde_json::from_str(r#"{"incident": "INC-42", "ratio": 0.1}"#).unwrap(),
        environment: None,
        operator: "ops".into(),
        started: at(second),
    }
}

/// A record that does not change the status of the run.
pub fn plain_record(seq: u64) -> Record {
    let event = LifecycleEvent::LocksRetaken { locks: Vec::new() }.into();
    Record { seq, at: at(i64::try_from(seq).unwrap()), event }
}

/// The record that ends a run.
pub fn ended(seq: u64, end: RunEnd) -> Record {
    Record {
        event: LifecycleEvent::RunEnded { end, cause: None, took_ms: None }.into(),
        ..plain_record(seq)
    }
}

/// A request of run `run` by process `executor` at `second`, for 30 s.
pub fn request(name: &str, run: u128, executor: u128, second: i64) -> LeaseRequest {
    let process = ProcessIdentity {
        machine: "m".into(),
        boot: "b".into(),
        namespaces: "pid:[1]".into(),
        started: 7,
    };
    let (run, executor) = (RunId(Uuid::from_u128(run)), Uuid::from_u128(executor));
    let holder =
        Holder { run, executor, host: "bastion".into(), pid: 4711, process: Some(process) };
    LeaseRequest {
        name: name.into(),
        holder,
        now: at(second),
        ttl: Duration::from_secs(30),
        steal: None,
    }
}
