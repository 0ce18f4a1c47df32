//! What the engine adds to the synced commits of its journal: a runbook of steps that do nothing,
//! against the same number of bare commits of the same size. Run by `scripts/bench`.

use jiff::Timestamp;
use runbook_document::Source;
use runbook_engine::{
    Call, CallReturn, CancelToken, Clock, Fault, Journal as _, Kind, LeaseWatch, Operate,
    OperationFacts, Options, Outcome, Plan, Record, Report, Response, Run, RunId, parse,
    resolve_params,
};
use runbook_journal::{JournalLocation, SqlJournal, measure_bare_commits};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const STEPS: u32 = 1_000;

struct NoPlugins;

impl Operate for NoPlugins {
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

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let mut text = String::from("format = 1\n[runbook]\nname = \"bench\"\n");
    for index in 0..STEPS {
        write!(text, "[[step]]\nid = \"s{index}\"\nuses = \"no:op\"\n")
            .expect("a string can be written");
    }
    let source = Source::new("bench.toml", text);
    let runbook = parse(&source, None, &mut |_| Err(std::io::ErrorKind::NotFound.into()))
        .expect("the runbook is good");
    let facts = OperationFacts {
        kind: Kind::Probe,
        idempotent: true,
        undo: false,
        writes: false,
        digest: "sha256:0".to_owned(),
        places: Vec::new(),
    };
    let facts_by_site: BTreeMap<_, _> =
        runbook.call_sites().into_iter().map(|site| (site.step, facts.clone())).collect();
    let plan = Plan::build(
        &runbook,
        &resolve_params(&runbook, &[]).expect("there are none"),
        &facts_by_site,
    )
    .expect("the plan is good");
    let mut ratios = Vec::new();
    for round in 0..5 {
        let journal =
            SqlJournal::open(&JournalLocation::File(folder.path().join(format!("{round}.db"))))
                .await
                .expect("a journal can be made");
        let options = Options {
            run: RunId::generate(),
            operator: "bench".to_owned(),
            environment: None,
            host: "bench".to_owned(),
            pid: std::process::id(),
            usual_duration: None,
            retry_of: None,
            cancel: CancelToken::new(),
            executor: uuid::Uuid::now_v7(),
            process: None,
            lease_ttl: runbook_engine::LEASE_TTL,
            is_dead: |_, _| false,
            outside_window: runbook_engine::OutsideWindow::AsWritten,
        };
        let start = Instant::now();
        let clock = SystemClock(Instant::now());
        let run = Run {
            plan: &plan,
            operate: &NoPlugins,
            journal: &journal,
            clock: &clock,
            options: &options,
        };
        run.execute(&mut |_: &Record| {}).await.expect("it runs");
        let engine = start.elapsed();
        let records =
            u32::try_from(journal.load(options.run).await.expect("it is there").records.len())
                .expect("few");
        let bare =
            measure_bare_commits(&folder.path().join(format!("bare-{round}.db")), records, 400)
                .await
                .expect("commits can be made");
        println!(
            "{records} records: {:.1} us a record with the engine, {:.1} us a bare synced commit",
            engine.as_secs_f64() * 1e6 / f64::from(records),
            bare.as_secs_f64() * 1e6 / f64::from(records)
        );
        ratios.push(engine.as_secs_f64() / bare.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!("engine / bare commits, median of 5: {:.2}   budget 3", ratios[2]);
}
