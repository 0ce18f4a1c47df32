//! Support for the tests of the engine: a journal in memory, clocks that tests control, and plugins
//! with scripted replies.
#![allow(clippy::unwrap_used, dead_code, reason = "tests; each uses a part of this")]

mod world;

pub use world::*;

use jiff::{SignedDuration, Timestamp};
use runbook_document::Source;
use runbook_engine::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// A journal in memory that can fail from a record on.
#[derive(Default)]
pub struct MemoryJournal {
    pub header: Mutex<Option<RunHeader>>,
    pub records: Mutex<Vec<Record>>,
    pub leases: Mutex<BTreeMap<String, (Lease, Holder)>>,
    /// From this record on (counted from 0) no record can be written.
    pub breaks_at: Mutex<Option<u64>>,
    /// From this record on (counted from 0) another run holds the lease of this name.
    pub taken_at: Mutex<Option<(u64, String)>>,
    /// When the previous holder of a lease last renewed it.
    pub last_seen: Mutex<Option<Timestamp>>,
}

impl MemoryJournal {
    /// Whether another run holds the lease when the next record is written.
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
pub struct DiskFull;

impl Journal for MemoryJournal {
    type Error = DiskFull;

    async fn create(&self, header: &RunHeader) -> Result<(), DiskFull> {
        *self.header.lock().unwrap() = Some(header.clone());
        Ok(())
    }

    async fn append(&self, _run: RunId, record: &Record) -> Result<(), DiskFull> {
        if self.breaks_at.lock().unwrap().is_some_and(|at| record.seq >= at) {
            return Err(DiskFull);
        }
        let mut records = self.records.lock().unwrap();
        assert_eq!(record.seq, records.len() as u64, "records have no gaps");
        // Serialized and parsed again, as a real journal does.
        records.push(serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap());
        Ok(())
    }

    async fn append_fenced(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<FencedAppend, DiskFull> {
        assert!(!fence.leases.is_empty(), "each record needs the right to execute the run");
        match fence.leases.iter().find(|lease| self.is_taken(&lease.name)) {
            Some(lease) => Ok(FencedAppend::Lost { lease: lease.name.clone() }),
            None => self.append(run, record).await.map(|()| FencedAppend::Written),
        }
    }

    async fn load(&self, _run: RunId) -> Result<StoredRun, DiskFull> {
        Ok(StoredRun {
            header: self.header.lock().unwrap().clone().unwrap(),
            records: self.records.lock().unwrap().clone(),
        })
    }

    async fn list(&self, _limit: usize) -> Result<Vec<RunSummary>, DiskFull> {
        Ok(Vec::new())
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<AcquireResult, DiskFull> {
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
        Ok(AcquireResult::Held(lease))
    }

    async fn renew(
        &self,
        lease: &Lease,
        _now: Timestamp,
        _ttl: Duration,
    ) -> Result<RenewResult, DiskFull> {
        Ok(if self.is_taken(&lease.name) { RenewResult::Lost } else { RenewResult::Held })
    }

    async fn release(&self, lease: &Lease) -> Result<(), DiskFull> {
        self.leases.lock().unwrap().remove(&lease.name);
        Ok(())
    }
}

/// A clock on which a sleep returns at once, and advances the time by its duration.
#[derive(Default)]
pub struct InstantClock {
    start: Timestamp,
    elapsed: Mutex<Duration>,
    /// By how much the wall clock is wrong at each reading, in turn.
    jumps: Mutex<VecDeque<SignedDuration>>,
}

impl InstantClock {
    /// Makes the wall clock wrong by these durations, one for each reading, again and again. The
    /// monotonic clock is not changed.
    pub fn set_jumps(&self, jumps: impl IntoIterator<Item = SignedDuration>) {
        *self.jumps.lock().unwrap() = jumps.into_iter().collect();
    }

    /// A clock that shows this time now.
    pub fn at(start: &str) -> Self {
        Self { start: start.parse().unwrap(), elapsed: Mutex::default(), jumps: Mutex::default() }
    }

    /// Advances the time.
    pub fn advance(&self, duration: Duration) {
        *self.elapsed.lock().unwrap() += duration;
    }
}

impl Clock for InstantClock {
    fn now(&self) -> Timestamp {
        let mut jumps = self.jumps.lock().unwrap();
        let jump = jumps.pop_front();
        jumps.extend(jump);
        self.start + *self.elapsed.lock().unwrap() + jump.unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}

/// A clock that advances to the end of the earliest sleep when nothing else can be done.
#[derive(Default)]
pub struct AutoAdvanceClock(Mutex<ClockState>);

#[derive(Default)]
struct ClockState {
    elapsed: Duration,
    waiting: BTreeMap<u64, Duration>,
    next: u64,
    /// How often a sleep began or ended.
    changes: u64,
}

impl Clock for AutoAdvanceClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().elapsed
    }

    async fn sleep(&self, duration: Duration) {
        let (number, until) = self.begin(duration);
        let _waiting = SleepGuard(self, number);
        let mut seen = None;
        std::future::poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            let earliest = state.waiting.values().min().copied();
            // Time advances only after all tasks were polled since the last change, because another
            // sleep may end earlier.
            let is_changed = seen.replace(state.changes) != Some(state.changes);
            if state.elapsed < until && (is_changed || earliest != Some(until)) {
                context.waker().wake_by_ref();
                return std::task::Poll::Pending;
            }
            state.elapsed = state.elapsed.max(until);
            std::task::Poll::Ready(())
        })
        .await;
    }
}

impl AutoAdvanceClock {
    fn begin(&self, duration: Duration) -> (u64, Duration) {
        let mut state = self.0.lock().unwrap();
        let (number, until) = (state.next, state.elapsed + duration);
        state.next += 1;
        state.changes += 1;
        state.waiting.insert(number, until);
        (number, until)
    }
}

/// Removes a sleep from the clock when it is dropped.
struct SleepGuard<'a>(&'a AutoAdvanceClock, u64);

impl Drop for SleepGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap();
        state.waiting.remove(&self.1);
        state.changes += 1;
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
        usual_duration: None,
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

/// As [`try_plan`], for a runbook with other files in its folder. Each text follows after
/// `[runbook]` and `name`, which is the stem of the file name.
pub fn try_plan_with(
    text: &str,
    files: &[(&str, &str)],
) -> Result<Plan, runbook_document::Diagnostics> {
    let source_of = |name: &str, text: &str| {
        let stem = name.trim_end_matches(".toml");
        Source::new(name, format!("format = 1\n[runbook]\nname = \"{stem}\"\n{text}"))
    };
    let load = |wanted: &str| {
        let file = files.iter().find(|(name, _)| *name == wanted);
        file.map(|(name, text)| source_of(name, text))
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    };
    let runbook = parse(&source_of("test.toml", text), None, &mut |wanted| load(wanted))?;
    let facts = runbook
        .call_sites()
        .into_iter()
        .map(|site| (site.step, FakePlugins::facts_of(&site.uses.value)))
        .collect();
    Plan::build(&runbook, &resolve_params(&runbook, &[])?, &facts)
}

/// The plan of a runbook whose operations are all of this kind.
pub fn plan_with(text: &str, facts: &OperationFacts) -> Plan {
    let source =
        Source::new("test.toml", format!("format = 1\n[runbook]\nname = \"test\"\n{text}"));
    let runbook = parse(&source, None, &mut |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    let facts = runbook.call_sites().into_iter().map(|site| (site.step, facts.clone())).collect();
    Plan::build(&runbook, &resolve_params(&runbook, &[]).unwrap(), &facts).unwrap()
}

/// The messages of diagnostics.
pub fn messages(found: &runbook_document::Diagnostics) -> Vec<String> {
    found.iter().map(|diagnostic| diagnostic.message.clone()).collect()
}

/// The messages about a runbook that must be refused, in one text.
pub fn refusal_messages(text: &str) -> String {
    messages(&try_plan(text).expect_err("it is refused")).join("\n")
}

/// One run: its plan, its fake plugins, its journal.
pub struct Run {
    pub plan: Plan,
    pub plugins: FakePlugins,
    pub journal: MemoryJournal,
    pub clock: InstantClock,
    pub options: Options,
}

impl Run {
    pub fn new(text: &str, plugins: FakePlugins) -> Self {
        Self {
            plan: plan(text),
            plugins,
            journal: MemoryJournal::default(),
            clock: InstantClock::at("2026-11-22T03:00:00Z"),
            options: options(RunId::generate()),
        }
    }

    /// A run of a runbook with other files in its folder.
    pub fn with_nested_files(text: &str, files: &[(&str, &str)], plugins: FakePlugins) -> Self {
        let plan =
            try_plan_with(text, files).unwrap_or_else(|found| panic!("{:#?}", messages(&found)));
        Self { plan, ..Self::new("[[step]]\nid = \"a\"\nuses = \"test:look\"", plugins) }
    }

    /// The run as a value of the engine.
    pub fn engine(&self) -> runbook_engine::Run<'_, FakePlugins, MemoryJournal, InstantClock> {
        let Self { plan, plugins, journal, clock, options } = self;
        runbook_engine::Run { plan, operate: plugins, journal, clock, options }
    }

    pub fn execute(&self) -> Result<RunOutcome, RunError> {
        block_on(self.engine().execute(&mut |_: &Record| {}))
    }

    pub fn resume(&self) -> Result<RunOutcome, RunError> {
        self.resume_with(&BTreeMap::new())
    }

    pub fn resume_with(
        &self,
        decisions: &BTreeMap<StepId, Decision>,
    ) -> Result<RunOutcome, RunError> {
        block_on(self.engine().resume(decisions, ChangePolicy::Refuse, &mut |_: &Record| {}))
    }

    pub fn undo(&self) -> Result<RunOutcome, RunError> {
        self.undo_with(&BTreeMap::new())
    }

    pub fn undo_with(
        &self,
        decisions: &BTreeMap<StepId, Decision>,
    ) -> Result<RunOutcome, RunError> {
        block_on(self.engine().undo(UndoText::Recorded, decisions, &mut |_: &Record| {}))
    }

    /// Undoes the run by the plan of a corrected text.
    pub fn undo_with_text(&self, corrected: &Plan) -> Result<RunOutcome, RunError> {
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
        StopReason::Ended { end, cause } => (end, cause),
        StopReason::Paused { reason } => panic!("it paused: {reason:?}"),
    }
}

/// Why a run paused.
#[track_caller]
pub fn pause(outcome: Result<RunOutcome, RunError>) -> PauseReason {
    match outcome.unwrap().stopped {
        StopReason::Paused { reason } => reason,
        StopReason::Ended { end, cause } => panic!("it ended: {end:?} {cause:?}"),
    }
}

/// For each record of a complete run, makes a new run whose journal fails at that record, and
/// finishes that run by `finish`.
pub fn break_journal_at_each_record(
    complete_run: &Run,
    new_run: impl Fn() -> Run,
    finish: impl Fn(&Run, u64),
) {
    let n_records = complete_run.records().len() as u64;
    for breaks_at in 1..n_records {
        let run = new_run();
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
