//! Shared by the tests of the engine: a journal in memory, a clock that tests control, and plugins
//! with scripted answers.
#![allow(clippy::unwrap_used, dead_code, reason = "tests; each uses a part of this")]

mod world;

pub use world::*;

use jiff::{SignedDuration, Timestamp};
use runbook_document::Source;
use runbook_engine::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// A journal in memory that breaks at a record.
#[derive(Default)]
pub struct Memory {
    pub header: Mutex<Option<RunHeader>>,
    pub records: Mutex<Vec<Record>>,
    pub leases: Mutex<BTreeMap<String, (Lease, Holder)>>,
    pub breaks_at: Mutex<Option<u64>>,
    /// From this record on (counted from 0) somebody else holds the lease of this name.
    pub taken_at: Mutex<Option<(u64, String)>>,
    /// When a process that died was seen last, as its lease says.
    pub last_seen: Mutex<Option<Timestamp>>,
}

impl Memory {
    /// Whether somebody else holds the lease by the time the next record is written.
    fn is_taken(&self, name: &str) -> bool {
        let next = self.records.lock().unwrap().len() as u64;
        self.taken_at
            .lock()
            .unwrap()
            .as_ref()
            .is_some_and(|(at, taken)| next >= *at && name == taken)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the disk is full")]
pub struct Full;

impl Journal for Memory {
    type Error = Full;

    async fn create(&self, header: &RunHeader) -> Result<(), Full> {
        *self.header.lock().unwrap() = Some(header.clone());
        Ok(())
    }

    async fn append(&self, _run: RunId, record: &Record) -> Result<(), Full> {
        if self.breaks_at.lock().unwrap().is_some_and(|at| record.seq >= at) {
            return Err(Full);
        }
        let mut records = self.records.lock().unwrap();
        assert_eq!(record.seq, records.len() as u64, "records have no gaps");
        // What is kept is what can be read again.
        records.push(serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap());
        Ok(())
    }

    async fn append_fenced(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<FencedAppend, Full> {
        assert!(!fence.leases.is_empty(), "each record needs the right to execute the run");
        match fence.leases.iter().find(|lease| self.is_taken(&lease.name)) {
            Some(lease) => Ok(FencedAppend::Lost { lease: lease.name.clone() }),
            None => self.append(run, record).await.map(|()| FencedAppend::Kept),
        }
    }

    async fn load(&self, _run: RunId) -> Result<StoredRun, Full> {
        Ok(StoredRun {
            header: self.header.lock().unwrap().clone().unwrap(),
            records: self.records.lock().unwrap().clone(),
        })
    }

    async fn list(&self, _limit: usize) -> Result<Vec<RunSummary>, Full> {
        Ok(Vec::new())
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Acquired, Full> {
        let lease = Lease {
            name: request.name.clone(),
            token: 1,
            taken_from: None,
            last_seen: *self.last_seen.lock().unwrap(),
        };
        self.leases
            .lock()
            .unwrap()
            .insert(request.name.clone(), (lease.clone(), request.holder.clone()));
        Ok(Acquired::Held(lease))
    }

    async fn renew(&self, lease: &Lease, _now: Timestamp, _ttl: Duration) -> Result<Renewed, Full> {
        Ok(if self.is_taken(&lease.name) { Renewed::Lost } else { Renewed::Held })
    }

    async fn release(&self, lease: &Lease) -> Result<(), Full> {
        self.leases.lock().unwrap().remove(&lease.name);
        Ok(())
    }
}

/// Time goes on only when somebody waits.
#[derive(Default)]
pub struct Still {
    since: Timestamp,
    passed: Mutex<Duration>,
    /// By how much the wall clock is set forward (or back) whenever it is asked, in turn.
    jumps: Mutex<VecDeque<SignedDuration>>,
}

impl Still {
    /// The wall clock is set by these, again and again, whenever it is asked; time itself goes on
    /// as it does.
    pub fn set_by(&self, jumps: impl IntoIterator<Item = SignedDuration>) {
        *self.jumps.lock().unwrap() = jumps.into_iter().collect();
    }

    /// A clock that shows this time now.
    pub fn at(since: &str) -> Self {
        Self { since: since.parse().unwrap(), passed: Mutex::default(), jumps: Mutex::default() }
    }

    /// Lets time pass.
    pub fn pass(&self, duration: Duration) {
        *self.passed.lock().unwrap() += duration;
    }
}

impl Clock for Still {
    fn now(&self) -> Timestamp {
        let mut jumps = self.jumps.lock().unwrap();
        let jump = jumps.pop_front();
        jumps.extend(jump);
        self.since + *self.passed.lock().unwrap() + jump.unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        *self.passed.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        self.pass(duration);
    }
}

/// Time goes on to the next moment for which somebody waits, when nothing else can be done.
#[derive(Default)]
pub struct Paced(Mutex<Moments>);

#[derive(Default)]
struct Moments {
    passed: Duration,
    waiting: BTreeMap<u64, Duration>,
    next: u64,
    /// How often somebody began to wait, or does no more.
    changes: u64,
}

impl Clock for Paced {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().passed
    }

    async fn sleep(&self, duration: Duration) {
        let (number, until) = self.begin(duration);
        let _waiting = Waiting(self, number);
        let mut seen = None;
        std::future::poll_fn(|context| {
            let mut moments = self.0.lock().unwrap();
            let first = moments.waiting.values().min().copied();
            // Whoever else will wait is asked first: nothing is the least of all moments while the
            // others are not known.
            let is_news = seen.replace(moments.changes) != Some(moments.changes);
            if moments.passed < until && (is_news || first != Some(until)) {
                context.waker().wake_by_ref();
                return std::task::Poll::Pending;
            }
            moments.passed = moments.passed.max(until);
            std::task::Poll::Ready(())
        })
        .await;
    }
}

impl Paced {
    fn begin(&self, duration: Duration) -> (u64, Duration) {
        let mut moments = self.0.lock().unwrap();
        let (number, until) = (moments.next, moments.passed + duration);
        moments.next += 1;
        moments.changes += 1;
        moments.waiting.insert(number, until);
        (number, until)
    }
}

struct Waiting<'a>(&'a Paced, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut moments = self.0.0.lock().unwrap();
        moments.waiting.remove(&self.1);
        moments.changes += 1;
    }
}

pub fn options(run: RunId) -> Options {
    Options {
        run,
        operator: "tester".to_owned(),
        environment: None,
        executor: uuid::Uuid::now_v7(),
        host: "test".to_owned(),
        pid: 1,
        process: None,
        lease_ttl: LEASE_TTL,
        cancel: CancelToken::new(),
        usual: None,
        retry_of: None,
        outside_window: OutsideWindow::AsWritten,
        is_dead: |_, _| false,
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The plan of a runbook. `test:look` is a probe, `test:move` a step that cannot be undone, every
/// other operation a step that can.
pub fn plan(text: &str) -> Plan {
    try_plan(text).unwrap_or_else(|found| panic!("{:#?}", messages(&found)))
}

/// The plan of a runbook, or what is wrong with it.
pub fn try_plan(text: &str) -> Result<Plan, runbook_document::Diagnostics> {
    try_plan_with(text, &[])
}

/// The same for a runbook beside which other files lie; each begins after `[runbook]` and its name,
/// which is that of the file.
pub fn try_plan_with(
    text: &str,
    files: &[(&str, &str)],
) -> Result<Plan, runbook_document::Diagnostics> {
    let headed = |name: &str, text: &str| {
        let stem = name.trim_end_matches(".toml");
        Source::new(name, format!("format = 1\n[runbook]\nname = \"{stem}\"\n{text}"))
    };
    let found = |wanted: &str| {
        let file = files.iter().find(|(name, _)| *name == wanted);
        file.map(|(name, text)| headed(name, text))
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    };
    let runbook = parse(&headed("test.toml", text), None, &mut |wanted| found(wanted))?;
    let facts = runbook
        .use_sites()
        .into_iter()
        .map(|site| (site.step, World::facts_of(&site.uses.value)))
        .collect();
    Plan::build(&runbook, &resolve_params(&runbook, &[])?, &facts)
}

/// The plan of a runbook whose operations are all of this kind.
pub fn plan_with(text: &str, facts: &OperationFacts) -> Plan {
    let source =
        Source::new("test.toml", format!("format = 1\n[runbook]\nname = \"test\"\n{text}"));
    let runbook = parse(&source, None, &mut |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    let facts = runbook.use_sites().into_iter().map(|site| (site.step, facts.clone())).collect();
    Plan::build(&runbook, &resolve_params(&runbook, &[]).unwrap(), &facts).unwrap()
}

/// What is wrong, one line each.
pub fn messages(found: &runbook_document::Diagnostics) -> Vec<String> {
    found.iter().map(|diagnostic| diagnostic.message.clone()).collect()
}

/// What stands in the way of a runbook, all in one text.
pub fn refused(text: &str) -> String {
    messages(&try_plan(text).expect_err("it is refused")).join("\n")
}

/// One run: its plan, its world, its journal.
pub struct Run {
    pub plan: Plan,
    pub world: World,
    pub journal: Memory,
    pub clock: Still,
    pub options: Options,
}

impl Run {
    pub fn new(text: &str, world: World) -> Self {
        Self {
            plan: plan(text),
            world,
            journal: Memory::default(),
            clock: Still::at("2026-11-22T03:00:00Z"),
            options: options(RunId::generate()),
        }
    }

    /// A run of a runbook beside which other files lie.
    pub fn nesting(text: &str, files: &[(&str, &str)], world: World) -> Self {
        let plan =
            try_plan_with(text, files).unwrap_or_else(|found| panic!("{:#?}", messages(&found)));
        Self { plan, ..Self::new("[[step]]\nid = \"a\"\nuses = \"test:look\"", world) }
    }

    /// It, as the engine takes it.
    pub fn engine(&self) -> runbook_engine::Run<'_, World, Memory, Still> {
        let Self { plan, world, journal, clock, options } = self;
        runbook_engine::Run { plan, operate: world, journal, clock, options }
    }

    pub fn execute(&self) -> Result<RunOutcome, RunError> {
        block_on(self.engine().execute(&mut |_: &Record| {}))
    }

    pub fn resume(&self) -> Result<RunOutcome, RunError> {
        self.decide(&BTreeMap::new())
    }

    pub fn decide(&self, decisions: &BTreeMap<StepId, Decision>) -> Result<RunOutcome, RunError> {
        block_on(self.engine().resume(decisions, Changes::Refuse, &mut |_: &Record| {}))
    }

    pub fn undo(&self) -> Result<RunOutcome, RunError> {
        self.undo_deciding(&BTreeMap::new())
    }

    pub fn undo_deciding(
        &self,
        decisions: &BTreeMap<StepId, Decision>,
    ) -> Result<RunOutcome, RunError> {
        block_on(self.engine().undo(UndoText::OfTheRun, decisions, &mut |_: &Record| {}))
    }

    /// Undoes it by another text, as the plan says it.
    pub fn undo_by(&self, corrected: &Plan) -> Result<RunOutcome, RunError> {
        let run = runbook_engine::Run { plan: corrected, ..self.engine() };
        block_on(run.undo(UndoText::Corrected, &BTreeMap::new(), &mut |_: &Record| {}))
    }

    pub fn records(&self) -> Vec<Record> {
        self.journal.records.lock().unwrap().clone()
    }

    pub fn state(&self) -> RunState {
        fold(&self.records()).unwrap().unwrap()
    }
}

/// How a run ended.
#[track_caller]
pub fn end(outcome: Result<RunOutcome, RunError>) -> (RunEnd, Option<Cause>) {
    match outcome.unwrap().stopped {
        Stopped::Ended { end, cause } => (end, cause),
        Stopped::Paused { reason } => panic!("it paused: {reason:?}"),
    }
}

/// Why a run paused.
#[track_caller]
pub fn pause(outcome: Result<RunOutcome, RunError>) -> PauseReason {
    match outcome.unwrap().stopped {
        Stopped::Paused { reason } => reason,
        Stopped::Ended { end, cause } => panic!("it ended: {end:?} {cause:?}"),
    }
}

/// Breaks the journal at every record of a whole run in turn, and resumes each broken run by
/// `finish`, which says how it ended.
pub fn broken_at_each_record(whole: &Run, anew: impl Fn() -> Run, finish: impl Fn(&Run, u64)) {
    let n_records = whole.records().len() as u64;
    for breaks_at in 1..n_records {
        let run = anew();
        *run.journal.breaks_at.lock().unwrap() = Some(breaks_at);
        let broken = run.execute();
        assert!(matches!(broken, Err(RunError::Journal { .. })), "record {breaks_at}: {broken:?}");
        assert!(
            run.journal.leases.lock().unwrap().is_empty(),
            "record {breaks_at}: a lease is left"
        );
        *run.journal.breaks_at.lock().unwrap() = None;
        finish(&run, breaks_at);
        let state = run.state();
        assert!(state.ended.is_some(), "record {breaks_at}: it has not ended");
    }
}
