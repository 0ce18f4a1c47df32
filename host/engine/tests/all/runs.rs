//! Random graphs of steps, random failures and a journal that fails at every record: no completed
//! step runs twice, completed steps are undone in reverse order of dependence, the lock is always
//! released, and the fold of the records is the state.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{InstantClock, MemoryJournal, block_on, options};
use proptest::prelude::*;
use runbook_document::Source;
use runbook_engine::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;

/// What plugins change: which steps have taken effect.
#[derive(Default)]
struct PluginChanges {
    done: BTreeSet<String>,
    applied: Vec<String>,
    undone: Vec<String>,
}

struct Plugins {
    facts: OperationFacts,
    changes: Mutex<PluginChanges>,
    failing: Option<(String, Failure)>,
    /// Steps that their plugin cannot observe, with an explicit undo that is not idempotent.
    blind: BTreeSet<String>,
}

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    /// Before it has any effect.
    Clean,
    /// After its effect, without an answer.
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
        Self { facts, changes: Mutex::default(), failing: case.failing.clone(), blind }
    }

    fn seen(&self, step: &str) -> Json {
        if self.blind.contains(step) || step.ends_with("/undo") {
            return Json::Null;
        }
        serde_json::json!({ "done": self.changes.lock().unwrap().done.contains(step) })
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
        let mut changes = self.changes.lock().unwrap();
        if let Some(undone) = step.strip_suffix("/undo") {
            changes.undone.push(undone.to_owned());
            changes.done.remove(undone);
            return Ok(());
        }
        changes.applied.push(step.to_owned());
        changes.done.insert(step.to_owned());
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
        let mut changes = self.changes.lock().unwrap();
        changes.undone.push(step.to_owned());
        if before["done"] == serde_json::json!(false) {
            changes.done.remove(step);
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
        Ok(CallReturn { response: answer, logs: Vec::new(), changing_verbs: Vec::new() })
    }
}

/// Steps `s0`, `s1`, …; each needs some of the earlier ones.
#[derive(Debug, Clone)]
struct Graph(Vec<BTreeSet<usize>>);

/// A graph, the step that fails, and the steps that cannot be observed.
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
        let facts_by_site: BTreeMap<_, _> =
            runbook.call_sites().into_iter().map(|site| (site.step, facts.clone())).collect();
        Plan::build(&runbook, &resolve_params(&runbook, &[]).unwrap(), &facts_by_site).unwrap()
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
                    .filter(|(_, is_needed)| *is_needed)
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

fn execute_run(
    plan: &Plan,
    plugins: &Plugins,
    journal: &MemoryJournal,
    run: RunId,
) -> Result<RunOutcome, RunError> {
    let (clock, options) = (&InstantClock::default(), &options(run));
    block_on(Run { plan, operate: plugins, journal, clock, options }.execute(&mut |_: &Record| {}))
}

/// Resumes until the run ends. A question about an unknown outcome is answered with what the
/// plugins have done.
fn resume_to_the_end(
    plan: &Plan,
    plugins: &Plugins,
    journal: &MemoryJournal,
    run: RunId,
) -> RunEnd {
    let mut decisions = BTreeMap::new();
    for _ in 0..10 {
        let (clock, options) = (&InstantClock::default(), &options(run));
        let engine = Run { plan, operate: plugins, journal, clock, options };
        let outcome =
            block_on(engine.resume(&decisions, ChangePolicy::Refuse, &mut |_: &Record| {}))
                .unwrap();
        match outcome.stopped {
            StopReason::Ended { end, .. } => return end,
            StopReason::Paused { reason: PauseReason::UnknownOutcome { steps } } => {
                let done = &plugins.changes.lock().unwrap().done;
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
            StopReason::Paused { reason } => panic!("it paused: {reason:?}"),
        }
    }
    panic!("it never ended")
}

fn check_undo_order(graph: &Graph, undone: &[String]) {
    let position = |index: usize| undone.iter().position(|step| *step == format!("s{index}"));
    for (index, needs) in graph.0.iter().enumerate() {
        for need in needs {
            if let (Some(dependent), Some(needed)) = (position(index), position(*need)) {
                assert!(
                    dependent < needed,
                    "s{index} needs s{need}, and was undone after it: {undone:?}"
                );
            }
        }
    }
}

fn check_end(graph: &Graph, plugins: &Plugins, journal: &MemoryJournal, end: RunEnd) {
    let changes = plugins.changes.lock().unwrap();
    assert_eq!(
        changes.applied.iter().collect::<BTreeSet<_>>().len(),
        changes.applied.len(),
        "an effect happened twice: {:?}",
        changes.applied
    );
    let is_blind = |step: &&String| plugins.blind.contains(*step);
    let refunds: Vec<_> = changes.undone.iter().filter(is_blind).collect();
    assert_eq!(
        refunds.iter().collect::<BTreeSet<_>>().len(),
        refunds.len(),
        "an undo happened twice: {refunds:?}"
    );
    match &plugins.failing {
        // An undo was cut off, and its outcome is unknown. Only changes of such steps are left.
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
                changes.done.iter().all(|step| is_open(&step.as_str())),
                "left: {:?}",
                changes.done
            );
        }
        None => {
            assert_eq!(changes.done.len(), graph.0.len());
            assert!(matches!(end, RunEnd::Succeeded | RunEnd::SucceededWithWarnings), "{end:?}");
        }
        Some(_) => {
            assert!(changes.done.is_empty(), "left: {:?}, end {end:?}", changes.done);
            assert!(matches!(end, RunEnd::Undone | RunEnd::FailedClean), "{end:?}");
        }
    }
    check_remaining_changes(
        &fold(&*journal.records.lock().unwrap()).unwrap().unwrap().remaining_changes(),
        &changes,
        end,
    );
    check_undo_order(graph, &changes.undone);
    assert!(journal.leases.lock().unwrap().is_empty(), "every lease is released");
}

/// Every reported change exists, every change is reported as sure or possible, and a clean end has
/// no change.
fn check_remaining_changes(
    remaining_changes: &RemainingChanges,
    plugin_changes: &PluginChanges,
    end: RunEnd,
) {
    let names = |steps: &[StepId]| steps.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let (changed, possibly_changed, undoable) = (
        names(&remaining_changes.changed),
        names(&remaining_changes.possibly_changed),
        names(&remaining_changes.undoable),
    );
    assert!(
        changed.is_subset(&plugin_changes.done),
        "{remaining_changes:?}, and there is {:?}",
        plugin_changes.done
    );
    assert!(
        plugin_changes
            .done
            .iter()
            .all(|step| changed.contains(step) || possibly_changed.contains(step)),
        "{remaining_changes:?}, {:?}",
        plugin_changes.done
    );
    assert!(
        undoable.iter().all(|step| changed.contains(step) || possibly_changed.contains(step)),
        "{remaining_changes:?}"
    );
    match end {
        RunEnd::Undone | RunEnd::FailedClean | RunEnd::Cancelled => {
            assert!(remaining_changes.is_clean(), "{end:?}: {remaining_changes:?}");
        }
        RunEnd::Dirty => assert!(!remaining_changes.is_clean(), "dirty, and nothing is left"),
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings => {}
    }
}

/// Undoes a run that has ended. A dirty run asks about the undos with an unknown outcome, and with
/// these decisions everything is undone once. A run without changes refuses, and stays as it is.
fn undo_to_the_end(
    plan: &Plan,
    plugins: &Plugins,
    journal: &MemoryJournal,
    run: RunId,
    end: RunEnd,
) {
    let undo = |decisions: &BTreeMap<StepId, Decision>| {
        let (clock, options) = (&InstantClock::default(), &options(run));
        let engine = Run { plan, operate: plugins, journal, clock, options };
        block_on(engine.undo(UndoText::Recorded, decisions, &mut |_: &Record| {}))
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
            let decision_about = |step: StepId| {
                let is_there = plugins.changes.lock().unwrap().done.contains(step.as_str());
                (step, if is_there { Decision::Retry } else { Decision::Done })
            };
            let decisions = steps.into_iter().map(decision_about).collect();
            let ended = undo(&decisions).unwrap();
            assert!(
                matches!(ended.stopped, StopReason::Ended { end: RunEnd::Undone, .. }),
                "{:?}",
                ended.stopped
            );
            assert!(
                ended.state.remaining_changes().is_clean(),
                "{:?}",
                ended.state.remaining_changes()
            );
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
        let (plan, plugins, journal, run) = (case.plan(), Plugins::new(&case), MemoryJournal::default(), RunId::generate());
        let graph = &case.graph;
        let outcome = execute_run(&plan, &plugins, &journal, run).unwrap();
        let end = match &outcome.stopped {
            StopReason::Ended { end, .. } => *end,
            // A step that failed after its effect, with an undo that needs a decision.
            StopReason::Paused { reason: PauseReason::UnknownOutcome { .. } } => resume_to_the_end(&plan, &plugins, &journal, run),
            StopReason::Paused { reason } => panic!("it paused: {reason:?}"),
        };
        prop_assert_ne!(end, RunEnd::Dirty);
        check_end(graph, &plugins, &journal, end);
        let applied = plugins.changes.lock().unwrap().applied.clone();
        for (index, needs) in graph.0.iter().enumerate() {
            let Some(position) = applied.iter().position(|step| *step == format!("s{index}")) else { continue };
            for need in needs {
                prop_assert!(applied[..position].contains(&format!("s{need}")), "s{index} ran before s{need}");
            }
        }
        prop_assert_eq!(applied.iter().collect::<BTreeSet<_>>().len(), applied.len(), "no step ran twice");
        if matches!(outcome.stopped, StopReason::Ended { .. }) {
            let folded = fold(&journal.records.lock().unwrap().clone()).unwrap().unwrap();
            prop_assert_eq!(folded, outcome.state, "the fold is the state");
        }
    }

    #[test]
    fn a_run_whose_journal_breaks_at_any_record_is_resumed_to_the_same_end(case in cases()) {
        let plan = case.plan();
        let complete_journal = MemoryJournal::default();
        execute_run(&plan, &Plugins::new(&case), &complete_journal, RunId::generate()).unwrap();
        let n_records = complete_journal.records.lock().unwrap().len() as u64;
        for breaks_at in 1..n_records {
            let (plugins, journal, run) = (Plugins::new(&case), MemoryJournal::default(), RunId::generate());
            *journal.breaks_at.lock().unwrap() = Some(breaks_at);
            let stopped = execute_run(&plan, &plugins, &journal, run);
            assert!(matches!(stopped, Err(RunError::Journal { .. })), "{stopped:?}");
            prop_assert!(journal.leases.lock().unwrap().is_empty(), "the lock is released although the journal is broken");
            let before = completed(&journal.records.lock().unwrap());
            let counts = |plugins: &Plugins| -> Vec<usize> {
                let changes = plugins.changes.lock().unwrap();
                before.iter().map(|step| changes.applied.iter().filter(|applied| *applied == step).count()).collect()
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
    let (plan, plugins, journal) = (case.plan(), Plugins::new(&case), MemoryJournal::default());
    execute_run(&plan, &plugins, &journal, RunId::generate()).unwrap();
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
