//! Measures how much longer ten times as many steps, items or checks take. The journal stores
//! nothing, so that only the engine is measured. Run by `scripts/bench`.

use jiff::Timestamp;
use runbook_document::Source;
use runbook_engine::{
    AcquireResult, Call, CallReturn, CancelToken, Clock, Fault, Fence, FencedAppend, Journal, Kind,
    Lease, LeaseRequest, LeaseWatch, Operate, OperationFacts, Options, Outcome, Plan, Record,
    RenewResult, Report, Response, Run, RunHeader, RunId, RunSummary, Runbook, StoredRun, parse,
    resolve_params,
};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FEW: usize = 1_000;
const MANY: usize = 10_000;
/// A larger ratio is not linear.
const MAX_RATIO: f64 = 12.0;

struct PassingPlugins;

impl Operate for PassingPlugins {
    async fn call(&self, _call: Call, _leases: LeaseWatch) -> Result<CallReturn, Fault> {
        let answer = Response::Report(Report {
            outcome: Outcome::Pass,
            summary: "nothing".to_owned(),
            output: serde_json::json!({}),
            measurements: Vec::new(),
        });
        Ok(CallReturn { response: answer, logs: Vec::new(), changing_verbs: Vec::new() })
    }
}

struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A journal that stores nothing.
struct NoJournal;

impl Journal for NoJournal {
    type Error = Infallible;

    async fn create(&self, _header: &RunHeader) -> Result<(), Infallible> {
        Ok(())
    }

    async fn append(&self, _run: RunId, _record: &Record) -> Result<(), Infallible> {
        Ok(())
    }

    async fn append_fenced(
        &self,
        _run: RunId,
        _record: &Record,
        _fence: &Fence<'_>,
    ) -> Result<FencedAppend, Infallible> {
        Ok(FencedAppend::Written)
    }

    async fn load(&self, _run: RunId) -> Result<StoredRun, Infallible> {
        unreachable!("nothing is resumed here")
    }

    async fn list(&self, _limit: usize) -> Result<Vec<RunSummary>, Infallible> {
        Ok(Vec::new())
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<AcquireResult, Infallible> {
        Ok(AcquireResult::Held(Lease {
            name: request.name.clone(),
            token: 1,
            taken_from: None,
            last_seen: None,
        }))
    }

    async fn renew(
        &self,
        _lease: &Lease,
        _now: Timestamp,
        _ttl: Duration,
    ) -> Result<RenewResult, Infallible> {
        Ok(RenewResult::Held)
    }

    async fn release(&self, _lease: &Lease) -> Result<(), Infallible> {
        Ok(())
    }
}

fn source_of(name: &str, text: &str) -> Arc<Source> {
    Source::new(name, format!("format = 1\n[runbook]\nname = \"bench\"\n{text}"))
}

/// Parses a runbook with `checks.toml` in its folder.
fn read(text: &str, checks: &str) -> Runbook {
    let mut load = |_: &str| Ok(source_of("checks.toml", checks));
    parse(&source_of("bench.toml", text), None, &mut load).expect("the runbook is good")
}

fn probe_facts() -> OperationFacts {
    OperationFacts {
        kind: Kind::Probe,
        idempotent: true,
        undo: false,
        writes: false,
        digest: "sha256:0".to_owned(),
        places: Vec::new(),
    }
}

fn plan(runbook: &Runbook) -> Plan {
    let facts = runbook.call_sites().into_iter().map(|site| (site.step, probe_facts())).collect();
    Plan::build(runbook, &resolve_params(runbook, &[]).expect("no parameter"), &facts)
        .expect("the plan is good")
}

/// Steps one after the other, each with a reference to the first.
fn chain(n: usize) -> String {
    (0..n).fold(String::new(), |mut text, number| {
        let with = if number == 0 { "" } else { "with.at = \"{{ steps.s0.outcome }}\"\n" };
        write!(text, "[[step]]\nid = \"s{number}\"\nuses = \"no:op\"\n{with}")
            .expect("a string can be written");
        text
    })
}

fn items(n: usize) -> String {
    let items: Vec<String> = (0..n).map(|number| format!("\"i{number}\"")).collect();
    format!(
        "[[step]]\nid = \"each\"\nuses = \"no:op\"\nmax_parallel = 8\nfor_each = [{}]\n",
        items.join(", ")
    )
}

fn checks(n: usize) -> String {
    (0..n).fold(String::new(), |mut text, number| {
        write!(text, "[[check]]\nid = \"c{number}\"\nuses = \"no:op\"\n")
            .expect("a string can be written");
        text
    })
}

const SUITE: &str = "[[step]]\nid = \"suite\"\nsuite = \"checks.toml\"\n";

fn run(plan: &Plan) {
    let options = Options {
        run: RunId::generate(),
        operator: "bench".to_owned(),
        environment: None,
        executor: uuid::Uuid::nil(),
        host: "bench".to_owned(),
        pid: 1,
        process: None,
        lease_ttl: runbook_engine::LEASE_TTL,
        cancel: CancelToken::new(),
        usual_duration: None,
        retry_of: None,
        outside_window: runbook_engine::OutsideWindow::AsWritten,
        is_dead: |_, _| false,
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let clock = SystemClock(Instant::now());
    let run = Run {
        plan,
        operate: &PassingPlugins,
        journal: &NoJournal,
        clock: &clock,
        options: &options,
    };
    let outcome = runtime.block_on(run.execute(&mut |_: &Record| {}));
    outcome.expect("nothing can fail");
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn main() {
    let measurements: [(&str, &dyn Fn(usize) -> f64); 5] = [
        ("read and check steps", &|n| {
            let text = chain(n);
            seconds(|| drop(read(&text, "")))
        }),
        ("read and check a suite", &|n| {
            let checks = checks(n);
            seconds(|| drop(read(SUITE, &checks)))
        }),
        ("run steps", &|n| {
            let plan = plan(&read(&chain(n), ""));
            seconds(|| run(&plan))
        }),
        ("run items", &|n| {
            let plan = plan(&read(&items(n), ""));
            seconds(|| run(&plan))
        }),
        ("run checks of a suite", &|n| {
            let plan = plan(&read(SUITE, &checks(n)));
            seconds(|| run(&plan))
        }),
    ];
    let mut linear = true;
    for (name, measure) in measurements {
        let best = |n: usize| (0..3).map(|_| measure(n)).fold(f64::INFINITY, f64::min);
        let (few, many) = (best(FEW), best(MANY));
        linear &= many / few <= MAX_RATIO;
        println!(
            "{name}: {FEW} in {:.0} ms, {MANY} in {:.0} ms, {:.1} times",
            few * 1e3,
            many * 1e3,
            many / few
        );
    }
    println!("budget {MAX_RATIO:.0} times: {}", if linear { "met" } else { "not met" });
}
