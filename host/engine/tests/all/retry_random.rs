//! Random runbooks (plain steps, items, nested files, branches), a failure at a random step, and
//! retries from every possible step, repeatedly: each effect happens once, whatever was done
//! before.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{FakePlugins, Reply, Run};
use proptest::prelude::*;
use runbook_engine::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One entry of a file.
#[derive(Debug, Clone)]
enum Node {
    /// A step with an effect.
    Act,
    /// A step that only reads.
    Look,
    /// A step with an effect for each of `items` items.
    Each { items: usize, max_parallel: usize },
    /// Another file.
    Nest(Vec<Entry>),
}

#[derive(Debug, Clone)]
struct Entry {
    node: Node,
    /// The entries before it that it needs, as numbers that are taken modulo; `None` means the one
    /// before it.
    needs: Option<Vec<usize>>,
}

/// The effect that fails, counted in file order, and how it fails.
#[derive(Debug, Clone, Copy)]
struct Failure {
    place: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The plugin reports a failure; whether anything happened is not known.
    Clean,
    /// The host knows that nothing of it happened.
    Refused,
    /// It took effect, and got no answer.
    Late,
}

/// The undo of a step, as TOML.
const AUTO: &str = "undo = \"auto\"";
const EXPLICIT: &str = "undo = { uses = \"test:move\" }";

/// What the operator does after a run has ended.
#[derive(Debug, Clone)]
enum Request {
    /// Undoes one of the runs so far, by a number that is taken modulo; one of its undos gets this
    /// reply.
    Undo { run: usize, answer: Option<(usize, Reply)> },
    /// Retries the last run from a step, by a number that is taken modulo.
    Retry { from: usize, failure: Option<Failure> },
}

#[derive(Debug, Clone)]
struct Sequence {
    case: Case,
    requests: Vec<Request>,
}

#[derive(Debug, Clone)]
struct Case {
    entries: Vec<Entry>,
    undo: &'static str,
    on_failure: &'static str,
    first: Failure,
    second: Option<Failure>,
}

fn leaf() -> impl Strategy<Value = Node> {
    let each = (1_usize..4, 1_usize..3)
        .prop_map(|(items, max_parallel)| Node::Each { items, max_parallel });
    prop_oneof![3 => Just(Node::Act), 1 => Just(Node::Look), 2 => each]
}

fn entries(
    node: impl Strategy<Value = Node>,
    max_entries: usize,
) -> impl Strategy<Value = Vec<Entry>> {
    let needs = proptest::option::of(proptest::collection::vec(0_usize..8, 0..3));
    proptest::collection::vec(
        (node, needs).prop_map(|(node, needs)| Entry { node, needs }),
        1..=max_entries,
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    (0_usize..16, prop_oneof![Just(Kind::Clean), Just(Kind::Late)])
        .prop_map(|(place, kind)| Failure { place, kind })
}

fn cases() -> impl Strategy<Value = Case> {
    let nest = entries(leaf(), 3).prop_map(Node::Nest);
    let policy = prop_oneof![2 => Just("stop"), 1 => Just("undo")];
    (
        entries(prop_oneof![3 => leaf(), 2 => nest], 4),
        policy,
        failure(),
        proptest::option::of(failure()),
    )
        .prop_map(|(entries, on_failure, first, second)| Case {
            entries,
            undo: AUTO,
            on_failure,
            first,
            second,
        })
}

/// A failure whose effect is known, so that an explicit undo needs no decision.
fn known_failure() -> impl Strategy<Value = Failure> {
    (0_usize..16, prop_oneof![Just(Kind::Refused), Just(Kind::Late)])
        .prop_map(|(place, kind)| Failure { place, kind })
}

fn undo_answer() -> impl Strategy<Value = Reply> {
    let class = || {
        prop_oneof![
            Just(ErrorClass::Assertion),
            Just(ErrorClass::Transient),
            Just(ErrorClass::Timeout)
        ]
    };
    prop_oneof![
        class().prop_map(Reply::FailsAfterEffect),
        class().prop_map(Reply::Fails),
        class().prop_map(Reply::FailsWithoutEffect)
    ]
}

fn sequences() -> impl Strategy<Value = Sequence> {
    let undo = (0_usize..4, proptest::option::of((0_usize..16, undo_answer())))
        .prop_map(|(run, answer)| Request::Undo { run, answer });
    let retry = (0_usize..24, proptest::option::of(known_failure()))
        .prop_map(|(from, failure)| Request::Retry { from, failure });
    let requests = proptest::collection::vec(prop_oneof![2 => undo, 3 => retry], 1..7);
    (cases(), known_failure(), prop_oneof![Just(AUTO), Just(EXPLICIT)], requests).prop_map(
        |(case, first, undo, requests)| Sequence { case: Case { undo, first, ..case }, requests },
    )
}

/// The text of a file, and of those that it nests.
fn write(
    entries: &[Entry],
    name: &str,
    (on_failure, undo): (&str, &str),
    files: &mut Vec<(String, String)>,
) -> String {
    let mut text = format!("[defaults]\non_failure = \"{on_failure}\"\n");
    for (number, entry) in entries.iter().enumerate() {
        let id = format!("s{number}");
        writeln!(text, "[[step]]\nid = \"{id}\"").unwrap();
        let needs: Option<BTreeSet<usize>> = entry.needs.as_ref().map(|needs| {
            needs.iter().filter(|_| number > 0).map(|need| need % number.max(1)).collect()
        });
        if let Some(needs) = &needs {
            let names: Vec<String> = needs.iter().map(|need| format!("\"s{need}\"")).collect();
            writeln!(text, "needs = [{}]", names.join(", ")).unwrap();
        }
        let seen = needs.map_or_else(|| number.checked_sub(1), |needs| needs.first().copied());
        let with = seen
            .map(|seen| format!("with.seen = \"{{{{ steps.s{seen}.output }}}}\"\n"))
            .unwrap_or_default();
        match &entry.node {
            Node::Act => write!(text, "uses = \"test:do\"\n{undo}\n{with}").unwrap(),
            Node::Look => write!(text, "uses = \"test:look\"\n{with}").unwrap(),
            Node::Each { items, max_parallel } => {
                let items: Vec<String> = (0..*items).map(|item| format!("\"k{item}\"")).collect();
                let items = items.join(", ");
                write!(
                    text,
                    "uses = \"test:do\"\n{undo}\nfor_each = [{items}]\n\
                     max_parallel = {max_parallel}\n{with}"
                )
                .unwrap();
            }
            Node::Nest(inner) => {
                let file = format!("{name}-{id}");
                writeln!(text, "runbook = \"{file}.toml\"").unwrap();
                let inner = write(inner, &file, (on_failure, undo), files);
                files.push((format!("{file}.toml"), inner));
            }
        }
    }
    text
}

/// Every effect of a file, in file order.
fn effects(entries: &[Entry], prefix: &str) -> Vec<String> {
    let effects_of_entry = |(number, entry): (usize, &Entry)| {
        let id = format!("{prefix}s{number}");
        match &entry.node {
            Node::Act => vec![id],
            Node::Look => Vec::new(),
            Node::Each { items, .. } => (0..*items).map(|item| format!("{id}[k{item}]")).collect(),
            Node::Nest(inner) => effects(inner, &format!("{id}.")),
        }
    };
    entries.iter().enumerate().flat_map(effects_of_entry).collect()
}

impl Case {
    fn run(&self, plugins: FakePlugins) -> Run {
        let mut files = Vec::new();
        let text = write(&self.entries, "n", (self.on_failure, self.undo), &mut files);
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Run::with_nested_files(&text, &files, plugins)
    }

    fn plugins(&self, failure: Option<Failure>, done: &BTreeSet<String>) -> FakePlugins {
        let effects = effects(&self.entries, "");
        match failure.filter(|_| !effects.is_empty()) {
            Some(Failure { place, kind }) => {
                let step = &effects[place % effects.len()];
                let reply = match kind {
                    Kind::Clean => Reply::Fails(ErrorClass::Assertion),
                    Kind::Refused => Reply::FailsWithoutEffect(ErrorClass::Assertion),
                    Kind::Late => Reply::FailsAfterEffect(ErrorClass::Timeout),
                };
                FakePlugins::default().with_done(done).with(step, [reply])
            }
            None => FakePlugins::default().with_done(done),
        }
    }
}

/// Plans a retry. A question about an unknown outcome is answered with what the plugins have done.
fn begin(
    old: &Run,
    earlier: &BTreeMap<RunId, RunState>,
    from: &StepId,
    done: &BTreeSet<String>,
) -> Option<RetryOf> {
    let mut decisions = BTreeMap::new();
    loop {
        match retry_of(&old.plan, old.options.run, &old.state(), earlier, from, &decisions) {
            Ok(retry) => return Some(retry),
            Err(RetryError::OutcomeUnknown { steps } | RetryError::UndoUnknown { steps }) => {
                for step in steps {
                    let decision =
                        if done.contains(step.as_str()) { Decision::Done } else { Decision::Retry };
                    assert!(decisions.insert(step, decision).is_none(), "it asks twice");
                }
            }
            Err(
                RetryError::UnknownStep { .. }
                | RetryError::NeededStepNotDone { .. }
                | RetryError::AlreadyDone { .. },
            ) => return None,
            Err(error) => panic!("{from}: {error}"),
        }
    }
}

/// Runs each of which retries the one before, and the effects that exist.
struct Chain {
    runs: Vec<Run>,
    /// For each run, how many effects and undos were checked so far.
    seen: Vec<(usize, usize)>,
    done: BTreeSet<String>,
}

impl Chain {
    /// Resumes a run until it ends. A question is answered with what the plugins have done.
    fn drive(&mut self, run: usize, mut outcome: RunOutcome) {
        while let StopReason::Paused { reason } = &outcome.stopped {
            let PauseReason::UnknownOutcome { steps } = reason else {
                panic!("it paused: {reason:?}")
            };
            let happened: BTreeSet<String> = self.runs[run].plugins.done().into_iter().collect();
            let decision = |step: &StepId| {
                (
                    step.clone(),
                    if happened.contains(step.as_str()) {
                        Decision::Done
                    } else {
                        Decision::NotDone
                    },
                )
            };
            outcome = self.runs[run].resume_with(&steps.iter().map(decision).collect()).unwrap();
        }
        self.check_effects(run);
    }

    /// Checks that no existing effect was done again, and no missing one was undone.
    fn check_effects(&mut self, run: usize) {
        let (applied, undone) = (self.runs[run].plugins.applied(), self.runs[run].plugins.undone());
        let (effects, undos) = self.seen[run];
        for effect in &applied[effects..] {
            match effect.strip_suffix("/undo") {
                Some(undone) => assert!(self.done.remove(undone), "`{undone}` is undone twice"),
                None => assert!(self.done.insert(effect.clone()), "`{effect}` is done twice"),
            }
        }
        for effect in &undone[undos..] {
            self.done.remove(effect);
        }
        self.seen[run] = (applied.len(), undone.len());
    }

    fn begin(&mut self, run: Run) {
        let outcome = run.execute().unwrap();
        self.runs.push(run);
        self.seen.push((0, 0));
        self.drive(self.runs.len() - 1, outcome);
    }

    /// Undoes a run, unless a later run has changes that must be undone first.
    fn undo(&mut self, run: usize) {
        if self.runs[run + 1..]
            .iter()
            .any(|later| !later.state().remaining_changes().undoable.is_empty())
        {
            return;
        }
        let mut decisions = BTreeMap::new();
        let outcome = loop {
            match self.runs[run].undo_with(&decisions) {
                Ok(outcome) => break outcome,
                Err(RunError::NothingToUndo { .. }) => return,
                Err(RunError::UndoUnclear { steps }) => {
                    for step in steps {
                        let decision = if self.done.contains(step.as_str()) {
                            Decision::Retry
                        } else {
                            Decision::Done
                        };
                        assert!(decisions.insert(step, decision).is_none(), "it asks twice");
                    }
                }
                Err(error) => panic!("{error}"),
            }
        };
        self.drive(run, outcome);
    }

    /// Retries the last run from the first possible step, counted from `first`.
    fn retry(&mut self, case: &Case, first: usize, failure: Option<Failure>) {
        let old = self.runs.last().unwrap();
        let earlier = self.runs.iter().map(|run| (run.options.run, run.state())).collect();
        let places: Vec<StepId> = old.state().steps.keys().cloned().collect();
        let mut candidates = (0..places.len()).map(|place| &places[(first + place) % places.len()]);
        let Some(retry) = candidates.find_map(|from| begin(old, &earlier, from, &self.done)) else {
            return;
        };
        for assumed in retry
            .assumed
            .iter()
            .filter(|assumed| effects(&case.entries, "").contains(&assumed.step.to_string()))
        {
            let done_in = self
                .runs
                .iter()
                .find(|run| run.options.run == assumed.done_in)
                .expect("it is one of them");
            let (step, found) = (assumed.step.as_str(), done_in.plugins.applied());
            assert!(
                found.iter().any(|effect| effect == step),
                "`{step}` was not done in the run that is named"
            );
        }
        let mut run = case.run(case.plugins(failure, &self.done));
        run.options.retry_of = Some(retry);
        self.begin(run);
    }
}

/// Retries a run from every possible step: completed steps are not repeated, and in the end all are
/// done. Returns the number of possible steps.
fn try_everywhere(
    case: &Case,
    old: &Run,
    done: &BTreeSet<String>,
    failures: &[Option<Failure>],
) -> usize {
    let state = old.state();
    let places: Vec<StepId> = state.steps.keys().cloned().collect();
    let all_effects: BTreeSet<String> = effects(&case.entries, "").into_iter().collect();
    let mut tried = 0;
    for from in &places {
        let Some(retry) = begin(old, &BTreeMap::new(), from, done) else { continue };
        tried += 1;
        let mut run = case.run(case.plugins(failures.first().copied().flatten(), done));
        run.options.retry_of = Some(retry);
        let outcome = run.execute().unwrap();
        let StopReason::Ended { end, .. } = outcome.stopped else {
            panic!("from {from}: it stopped: {:?}", outcome.stopped)
        };
        assert_eq!(run.state(), outcome.state, "from {from}: the fold is the state");
        let applied = run.plugins.applied();
        for effect in &applied {
            assert!(!done.contains(effect), "from {from}: `{effect}` was done, and is done again");
        }
        assert_eq!(
            applied.iter().collect::<BTreeSet<_>>().len(),
            applied.len(),
            "from {from}: twice in one run: {applied:?}"
        );
        let done: BTreeSet<String> = run.plugins.done().into_iter().collect();
        match end {
            RunEnd::Succeeded | RunEnd::SucceededWithWarnings => {
                assert_eq!(done, all_effects, "from {from}");
            }
            RunEnd::Undone | RunEnd::FailedClean | RunEnd::Dirty => {
                assert!(failures.first().is_some_and(Option::is_some), "from {from}: {end:?}");
                try_everywhere(case, &run, &done, &failures[1..]);
            }
            RunEnd::Cancelled => panic!("from {from}: {end:?}"),
        }
    }
    tried
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_retry_from_any_step_has_each_effect_once(case in cases()) {
        let old = case.run(case.plugins(Some(case.first), &BTreeSet::new()));
        let outcome = old.execute().unwrap();
        let StopReason::Ended { end, .. } = outcome.stopped else { panic!("it stopped: {:?}", outcome.stopped) };
        let done: BTreeSet<String> = old.plugins.done().into_iter().collect();
        let tried = try_everywhere(&case, &old, &done, &[case.second, None]);
        let all_effects: BTreeSet<String> = effects(&case.entries, "").into_iter().collect();
        if end != RunEnd::Succeeded && done != all_effects {
            prop_assert!(tried > 0, "there is no place from which the run can be tried again");
        }
    }

    #[test]
    fn over_any_sequence_of_runs_undos_and_retries_no_effect_exists_twice(sequence in sequences()) {
        let Sequence { case, requests } = sequence;
        let all_effects: BTreeSet<String> = effects(&case.entries, "").into_iter().collect();
        let mut chain = Chain { runs: Vec::new(), seen: Vec::new(), done: BTreeSet::new() };
        chain.begin(case.run(case.plugins(Some(case.first), &BTreeSet::new())));
        for request in requests {
            match request {
                Request::Undo { run, answer } => {
                    let run = run % chain.runs.len();
                    if let Some((place, answer)) = answer.filter(|_| !all_effects.is_empty()) {
                        let step = all_effects.iter().nth(place % all_effects.len()).unwrap();
                        chain.runs[run].plugins.set_replies(&format!("{step}/undo"), [answer]);
                    }
                    chain.undo(run);
                }
                Request::Retry { from, failure } => chain.retry(&case, from, failure),
            }
        }
        // Whatever was asked for before, all can be done in the end.
        if chain.done != all_effects {
            chain.retry(&case, 0, None);
            prop_assert_eq!(chain.done, all_effects);
        }
    }
}
