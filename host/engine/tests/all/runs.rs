//! Random graphs of steps, random failures and a journal that breaks at every record: no completed
//! step runs twice, what was done is undone in reverse order of dependence, the lock is always
//! released, and the fold of the records is the state.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{Memory, Still, block_on, options};
use proptest::prelude::*;
use runbook_document::Source;
use runbook_engine::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;

/// What plugins change: which steps have taken effect.
#[derive(Default)]
struct World {
    done: BTreeSet<String>,
    applied: Vec<String>,
    undone: Vec<String>,
}

struct Plugins {
    facts: OperationFacts,
    world: Mutex<World>,
    failing: Option<(String, Failure)>,
    /// Steps of which their plugin sees nothing, and which another operation undoes that must not
    /// happen twice.
    blind: BTreeSet<String>,
}

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    /// Before it had any effect.
    Clean,
    /// After it, and nobody heard of it.
    AfterEffect,
}

impl Plugins {
    fn new(case: &Case) -> Self {
        let facts = OperationFacts {
            kind: Kind::Step,
            idempotent: false,
            undo: true,
            writes: true,
            digest: "sha256:0".to_owned(),
            places: Vec::new(),
        };
        let blind = case.blind.iter().map(|index| format!("s{index}")).collect();
        Self { facts, world: Mutex::default(), failing: case.failing.clone(), blind }
    }

    fn seen(&self, step: &str) -> Json {
        if self.blind.contains(step) || step.ends_with("/undo") {
            return Json::Null;
        }
        serde_json::json!({ "done": self.world.lock().unwrap().done.contains(step) })
    }

    fn apply(&self, step: &str) -> Result<(), Fault> {
        let failure = self
            .failing
            .as_ref()
            .filter(|(failing, _)| failing == step)
            .map(|(_, failure)| *failure);
        if failure == Some(Failure::Clean) {
            return Err(Fault::new(
                ErrorClass::Assertion,
                "test.clean",
                "it failed before it did anything",
            ));
        }
        let mut world = self.world.lock().unwrap();
        if let Some(undone) = step.strip_suffix("/undo") {
            world.undone.push(undone.to_owned());
            world.done.remove(undone);
            return Ok(());
        }
        world.applied.push(step.to_owned());
        world.done.insert(step.to_owned());
        match failure {
            Some(_) => Err(Fault::new(
                ErrorClass::Timeout,
                "test.late",
                "it took effect and nobody heard of it",
            )),
            None => Ok(()),
        }
    }

    fn undo(&self, step: &str, before: &Json) {
        let mut world = self.world.lock().unwrap();
        world.undone.push(step.to_owned());
        if before["done"] == serde_json::json!(false) {
            world.done.remove(step);
        }
    }
}

impl Operate for Plugins {
    async fn call(&self, call: Call, _leases: LeaseWatch) -> Result<CallReturn, Fault> {
        let step = call.step.as_str();
        let completion = |summary: &str| {
            Response::Completion(Completion {
                summary: summary.to_owned(),
                output: serde_json::json!({}),
                changed: true,
                measurements: Vec::new(),
            })
        };
        let answer = match &call.phase {
            Phase::Plan => {
                let effect = Effect {
                    verb: "test.do".to_owned(),
                    target: step.to_owned(),
                    summary: "does it".to_owned(),
                };
                Response::Proposal(Proposal {
                    effects: vec![effect],
                    summary: "does it".to_owned(),
                    before: self.seen(step),
                })
            }
            Phase::Observe => Response::Observation(self.seen(step)),
            Phase::Apply { .. } => {
                assert_eq!(call.mode, Mode::Effects);
                self.apply(step)?;
                completion("done")
            }
            Phase::Undo { before } => {
                self.undo(step, before);
                completion("undone")
            }
            Phase::Check => unreachable!("there are only steps"),
        };
        Ok(CallReturn { response: answer, logs: Vec::new(), acted: Vec::new() })
    }
}

/// Steps `s0`, `s1`, …; each needs some of the earlier ones.
#[derive(Debug, Clone)]
struct Graph(Vec<BTreeSet<usize>>);

/// A graph, what fails in it, and what its plugins see.
#[derive(Debug, Clone)]
struct Case {
    graph: Graph,
    failing: Option<(String, Failure)>,
    blind: BTreeSet<usize>,
}

impl Case {
    fn plan(&self) -> Plan {
        let mut text = String::from(
            "format = 1\n[runbook]\nname = \"random\"\n[locks]\nexclusive = [\"lock\"]\n",
        );
        for (index, needs) in self.graph.0.iter().enumerate() {
            let needs: Vec<_> = needs.iter().map(|need| format!("\"s{need}\"")).collect();
            let undo =
                if self.blind.contains(&index) { "{ uses = \"test:back\" }" } else { "\"auto\"" };
            write!(
                text,
                "[[step]]\nid = \"s{index}\"\nuses = \"test:do\"\nneeds = [{}]\nundo = {undo}\n",
                needs.join(", ")
            )
            .unwrap();
        }
        let source = Source::new("random.toml", text);
        let runbook =
            parse(&source, None, &mut |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let facts = Plugins::new(self).facts;
        let all: BTreeMap<_, _> =
            runbook.use_sites().into_iter().map(|site| (site.step, facts.clone())).collect();
        Plan::build(&runbook, &resolve_params(&runbook, &[]).unwrap(), &all).unwrap()
    }
}

fn cases() -> impl Strategy<Value = Case> {
    (1_usize..7).prop_flat_map(|n| {
        let edges = proptest::collection::vec(proptest::collection::vec(any::<bool>(), n), n);
        let failing = proptest::option::of((
            0..n,
            prop_oneof![Just(Failure::Clean), Just(Failure::AfterEffect)],
        ));
        let blind = proptest::collection::btree_set(0..n, 0..=n);
        (edges, failing, blind).prop_map(|(edges, failing, blind)| {
            let needs = |(index, row): (usize, Vec<bool>)| {
                row.into_iter()
                    .take(index)
                    .enumerate()
                    .filter(|(_, on)| *on)
                    .map(|(need, _)| need)
                    .collect()
            };
            let graph = Graph(edges.into_iter().enumerate().map(needs).collect());
            Case {
                graph,
                failing: failing.map(|(index, failure)| (format!("s{index}"), failure)),
                blind,
            }
        })
    })
}

fn run_whole(
    plan: &Plan,
    plugins: &Plugins,
    journal: &Memory,
    run: RunId,
) -> Result<RunOutcome, RunError> {
    let (clock, options) = (&Still::default(), &options(run));
    block_on(Run { plan, operate: plugins, journal, clock, options }.execute(&mut |_: &Record| {}))
}

/// Resumes until the run ends; where it is unknown whether a step took effect, looks at the world
/// and says so.
fn resume_to_the_end(plan: &Plan, plugins: &Plugins, journal: &Memory, run: RunId) -> RunEnd {
    let mut decisions = BTreeMap::new();
    for _ in 0..10 {
        let (clock, options) = (&Still::default(), &options(run));
        let engine = Run { plan, operate: plugins, journal, clock, options };
        let outcome =
            block_on(engine.resume(&decisions, Changes::Refuse, &mut |_: &Record| {})).unwrap();
        match outcome.stopped {
            Stopped::Ended { end, .. } => return end,
            Stopped::Paused { reason: PauseReason::UnknownOutcome { steps } } => {
                let done = &plugins.world.lock().unwrap().done;
                let is_undoing = outcome.state.stage == Stage::Undo;
                let decide = |step: StepId| {
                    let failing = plugins
                        .failing
                        .as_ref()
                        .is_some_and(|(failing, _)| failing == step.as_str());
                    let decision = match (done.contains(step.as_str()), failing) {
                        (true, true) => Decision::Fail,
                        (true, false) => Decision::Done,
                        (false, false) if !is_undoing => Decision::Retry,
                        (false, _) => Decision::NotDone,
                    };
                    (step, decision)
                };
                decisions = steps.into_iter().map(decide).collect();
            }
            Stopped::Paused { reason } => panic!("it paused: {reason:?}"),
        }
    }
    panic!("it never ended")
}

fn check_undo_order(graph: &Graph, undone: &[String]) {
    let position = |index: usize| undone.iter().position(|step| *step == format!("s{index}"));
    for (index, needs) in graph.0.iter().enumerate() {
        for need in needs {
            if let (Some(own), Some(needed)) = (position(index), position(*need)) {
                assert!(
                    own < needed,
                    "s{index} needs s{need}, and was undone after it: {undone:?}"
                );
            }
        }
    }
}

fn check_end(graph: &Graph, plugins: &Plugins, journal: &Memory, end: RunEnd) {
    let world = plugins.world.lock().unwrap();
    assert_eq!(
        world.applied.iter().collect::<BTreeSet<_>>().len(),
        world.applied.len(),
        "an effect happened twice: {:?}",
        world.applied
    );
    let refunded = |step: &&String| plugins.blind.contains(*step);
    let refunds: Vec<_> = world.undone.iter().filter(refunded).collect();
    assert_eq!(
        refunds.iter().collect::<BTreeSet<_>>().len(),
        refunds.len(),
        "an undo happened twice: {refunds:?}"
    );
    match &plugins.failing {
        // An undo was cut off of which nobody can say whether it happened. Whatever is left, it is
        // of such a step.
        Some(_) if end == RunEnd::Dirty => {
            let state = fold(&*journal.records.lock().unwrap()).unwrap().unwrap();
            let is_open = |step: &&str| {
                state
                    .step(&StepId::new(*step))
                    .undo
                    .fault
                    .as_ref()
                    .is_some_and(|fault| fault.code == "engine.undo-cut-off")
            };
            assert!(
                state.steps.keys().any(|step| is_open(&step.as_str())),
                "dirty, and no undo was cut off"
            );
            assert!(
                world.done.iter().all(|step| is_open(&step.as_str())),
                "left: {:?}",
                world.done
            );
        }
        None => {
            assert_eq!(world.done.len(), graph.0.len());
            assert!(matches!(end, RunEnd::Succeeded | RunEnd::SucceededWithWarnings), "{end:?}");
        }
        Some(_) => {
            assert!(world.done.is_empty(), "left: {:?}, end {end:?}", world.done);
            assert!(matches!(end, RunEnd::Undone | RunEnd::FailedClean), "{end:?}");
        }
    }
    check_account(
        &fold(&*journal.records.lock().unwrap()).unwrap().unwrap().account(),
        &world,
        end,
    );
    check_undo_order(graph, &world.undone);
    assert!(journal.leases.lock().unwrap().is_empty(), "every lease is released");
}

/// What is said to be changed is, what is changed is at least said to be perhaps, and where nothing
/// is said nothing is.
fn check_account(account: &Account, world: &World, end: RunEnd) {
    let names = |steps: &[StepId]| steps.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let (changed, perhaps, undoable) =
        (names(&account.changed), names(&account.perhaps), names(&account.undoable));
    assert!(changed.is_subset(&world.done), "{account:?}, and there is {:?}", world.done);
    assert!(
        world.done.iter().all(|step| changed.contains(step) || perhaps.contains(step)),
        "{account:?}, {:?}",
        world.done
    );
    assert!(
        undoable.iter().all(|step| changed.contains(step) || perhaps.contains(step)),
        "{account:?}"
    );
    match end {
        RunEnd::Undone | RunEnd::FailedClean | RunEnd::Cancelled => {
            assert!(account.is_clean(), "{end:?}: {account:?}");
        }
        RunEnd::Dirty => assert!(!account.is_clean(), "dirty, and nothing is left"),
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings => {}
    }
}

/// A dirty run says of which undo it is not known whether it happened; who has looked says so, and
/// then all is undone, once. What has nothing to undo says so and stays as it is.
fn undo_to_the_end(plan: &Plan, plugins: &Plugins, journal: &Memory, run: RunId, end: RunEnd) {
    let undo = |decisions: &BTreeMap<StepId, Decision>| {
        let (clock, options) = (&Still::default(), &options(run));
        let engine = Run { plan, operate: plugins, journal, clock, options };
        block_on(engine.undo(UndoText::OfTheRun, decisions, &mut |_: &Record| {}))
    };
    let n_records = || journal.records.lock().unwrap().len();
    let before = n_records();
    match end {
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings => {}
        RunEnd::FailedClean | RunEnd::Undone | RunEnd::Cancelled => {
            let refused = undo(&BTreeMap::new());
            assert!(matches!(refused, Err(RunError::NothingToUndo { .. })), "{refused:?}");
            assert_eq!(n_records(), before, "the run is as it was");
        }
        RunEnd::Dirty => {
            let Err(RunError::UndoUnclear { steps }) = undo(&BTreeMap::new()) else {
                panic!("it asks about the undo")
            };
            assert_eq!(n_records(), before, "the run is as it was");
            let look = |step: StepId| {
                let is_there = plugins.world.lock().unwrap().done.contains(step.as_str());
                (step, if is_there { Decision::Retry } else { Decision::Done })
            };
            let decisions = steps.into_iter().map(look).collect();
            let ended = undo(&decisions).unwrap();
            assert!(
                matches!(ended.stopped, Stopped::Ended { end: RunEnd::Undone, .. }),
                "{:?}",
                ended.stopped
            );
            assert!(ended.state.account().is_clean(), "{:?}", ended.state.account());
            check_end(&Graph(Vec::new()), plugins, journal, RunEnd::Undone);
        }
    }
}

/// Steps whose success is in the journal.
fn completed(records: &[Record]) -> Vec<String> {
    let succeeded = |record: &Record| {
        let RunEvent::Step { step, event: StepEvent::Attempt(AttemptEvent::Ended { result, .. }) } =
            &record.event
        else {
            return None;
        };
        match result {
            AttemptResult::Succeeded { .. } => Some(step.to_string()),
            AttemptResult::Failed { .. } => None,
        }
    };
    records.iter().filter_map(succeeded).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_run_does_all_or_nothing_in_the_order_of_dependence(case in cases()) {
        let (plan, plugins, journal, run) = (case.plan(), Plugins::new(&case), Memory::default(), RunId::generate());
        let graph = &case.graph;
        let outcome = run_whole(&plan, &plugins, &journal, run).unwrap();
        let end = match &outcome.stopped {
            Stopped::Ended { end, .. } => *end,
            // Whether what failed late is to be undone is asked where its undo would be a guess.
            Stopped::Paused { reason: PauseReason::UnknownOutcome { .. } } => resume_to_the_end(&plan, &plugins, &journal, run),
            Stopped::Paused { reason } => panic!("it paused: {reason:?}"),
        };
        prop_assert_ne!(end, RunEnd::Dirty);
        check_end(graph, &plugins, &journal, end);
        let applied = plugins.world.lock().unwrap().applied.clone();
        for (index, needs) in graph.0.iter().enumerate() {
            let Some(own) = applied.iter().position(|step| *step == format!("s{index}")) else { continue };
            for need in needs {
                prop_assert!(applied[..own].contains(&format!("s{need}")), "s{index} ran before s{need}");
            }
        }
        prop_assert_eq!(applied.iter().collect::<BTreeSet<_>>().len(), applied.len(), "no step ran twice");
        if matches!(outcome.stopped, Stopped::Ended { .. }) {
            let folded = fold(&journal.records.lock().unwrap().clone()).unwrap().unwrap();
            prop_assert_eq!(folded, outcome.state, "the fold is the state");
        }
    }

    #[test]
    fn a_run_whose_journal_breaks_at_any_record_is_resumed_to_the_same_end(case in cases()) {
        let plan = case.plan();
        let whole = Memory::default();
        run_whole(&plan, &Plugins::new(&case), &whole, RunId::generate()).unwrap();
        let n_records = whole.records.lock().unwrap().len() as u64;
        for breaks_at in 1..n_records {
            let (plugins, journal, run) = (Plugins::new(&case), Memory::default(), RunId::generate());
            *journal.breaks_at.lock().unwrap() = Some(breaks_at);
            let stopped = run_whole(&plan, &plugins, &journal, run);
            assert!(matches!(stopped, Err(RunError::Journal { .. })), "{stopped:?}");
            prop_assert!(journal.leases.lock().unwrap().is_empty(), "the lock is released although the journal is broken");
            let before = completed(&journal.records.lock().unwrap());
            let counts = |plugins: &Plugins| -> Vec<usize> {
                let world = plugins.world.lock().unwrap();
                before.iter().map(|step| world.applied.iter().filter(|applied| *applied == step).count()).collect()
            };
            let applied_before = counts(&plugins);
            *journal.breaks_at.lock().unwrap() = None;
            let end = resume_to_the_end(&plan, &plugins, &journal, run);
            prop_assert_eq!(counts(&plugins), applied_before, "a completed step ran again");
            check_end(&case.graph, &plugins, &journal, end);
            undo_to_the_end(&plan, &plugins, &journal, run, end);
        }
    }
}

#[test]
fn an_illegal_event_is_refused_with_both_states() {
    let graph = Graph(vec![BTreeSet::new()]);
    let case = Case { graph, failing: None, blind: BTreeSet::new() };
    let (plan, plugins, journal) = (case.plan(), Plugins::new(&case), Memory::default());
    run_whole(&plan, &plugins, &journal, RunId::generate()).unwrap();
    let mut records = journal.records.lock().unwrap().clone();
    let ended = records
        .iter()
        .position(|record| {
            matches!(
                record.event,
                RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Ended { .. }), .. }
            )
        })
        .unwrap();
    // The result of an attempt that never started.
    records.remove(ended - 1);
    for (seq, record) in records.iter_mut().enumerate() {
        record.seq = seq as u64;
    }
    assert!(fold(&records).is_err());
}
