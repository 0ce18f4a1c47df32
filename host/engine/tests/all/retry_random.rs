//! Random runbooks (plain steps, items, nested files, branches), a failure at a random place, and a
//! new run from each place from which one may begin, again and again: each effect happens once,
//! whatever was done before.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{Reply, Run, World};
use proptest::prelude::*;
use runbook_engine::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One entry of a file.
#[derive(Debug, Clone)]
enum Node {
    /// A step that acts.
    Act,
    /// A step that only looks.
    Look,
    /// A step that acts once for each of so many items.
    Each { items: usize, max_parallel: usize },
    /// Another file.
    Nest(Vec<Entry>),
}

#[derive(Debug, Clone)]
struct Entry {
    node: Node,
    /// Which of the entries before it is needed, by a number that is taken modulo; `None` is the
    /// one before it.
    needs: Option<Vec<usize>>,
}

/// What fails, of all effects in file order, and how.
#[derive(Debug, Clone, Copy)]
struct Failure {
    place: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The plugin says that it failed; whether anything of it happened is not known.
    Clean,
    /// The host knows that nothing of it happened.
    Refused,
    /// It took effect, and nobody heard of it.
    Late,
}

/// What undoes a step, in the words of a runbook.
const AUTO: &str = "undo = \"auto\"";
const EXPLICIT: &str = "undo = { uses = \"test:move\" }";

/// What is asked for after a run has ended.
#[derive(Debug, Clone)]
enum Request {
    /// That one of the runs so far be undone, by a number that is taken modulo; of its undos this
    /// one is answered so.
    Undo { run: usize, answer: Option<(usize, Reply)> },
    /// That the last one be tried again from a place, by a number that is taken modulo.
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

fn entries(node: impl Strategy<Value = Node>, most: usize) -> impl Strategy<Value = Vec<Entry>> {
    let needs = proptest::option::of(proptest::collection::vec(0_usize..8, 0..3));
    proptest::collection::vec(
        (node, needs).prop_map(|(node, needs)| Entry { node, needs }),
        1..=most,
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

/// A failure of which an undo by another operation is no guess.
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
        class().prop_map(Reply::FailsLate),
        class().prop_map(Reply::Fails),
        class().prop_map(Reply::Refused)
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
    let of = |(number, entry): (usize, &Entry)| {
        let id = format!("{prefix}s{number}");
        match &entry.node {
            Node::Act => vec![id],
            Node::Look => Vec::new(),
            Node::Each { items, .. } => (0..*items).map(|item| format!("{id}[k{item}]")).collect(),
            Node::Nest(inner) => effects(inner, &format!("{id}.")),
        }
    };
    entries.iter().enumerate().flat_map(of).collect()
}

impl Case {
    fn run(&self, world: World) -> Run {
        let mut files = Vec::new();
        let text = write(&self.entries, "n", (self.on_failure, self.undo), &mut files);
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Run::nesting(&text, &files, world)
    }

    fn world(&self, failure: Option<Failure>, done: &BTreeSet<String>) -> World {
        let effects = effects(&self.entries, "");
        match failure.filter(|_| !effects.is_empty()) {
            Some(Failure { place, kind }) => {
                let step = &effects[place % effects.len()];
                let reply = match kind {
                    Kind::Clean => Reply::Fails(ErrorClass::Assertion),
                    Kind::Refused => Reply::Refused(ErrorClass::Assertion),
                    Kind::Late => Reply::FailsLate(ErrorClass::Timeout),
                };
                World::default().having_done(done).with(step, [reply])
            }
            None => World::default().having_done(done),
        }
    }
}

/// What the new run takes as done; says of each step in doubt what the world knows.
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
            Err(RetryError::Doubtful { steps } | RetryError::PerhapsUndone { steps }) => {
                for step in steps {
                    let decision =
                        if done.contains(step.as_str()) { Decision::Done } else { Decision::Retry };
                    assert!(decisions.insert(step, decision).is_none(), "it asks twice");
                }
            }
            Err(
                RetryError::NoStep { .. } | RetryError::NotDone { .. } | RetryError::Done { .. },
            ) => return None,
            Err(error) => panic!("{from}: {error}"),
        }
    }
}

/// Runs that try one another again, and what of their effects is there.
struct Chain {
    runs: Vec<Run>,
    /// How much each of them had done and undone when it was looked at last.
    seen: Vec<(usize, usize)>,
    done: BTreeSet<String>,
}

impl Chain {
    /// Drives a run to its end; what it asks is answered as the world is.
    fn drive(&mut self, run: usize, mut outcome: RunOutcome) {
        while let Stopped::Paused { reason } = &outcome.stopped {
            let PauseReason::UnknownOutcome { steps } = reason else {
                panic!("it paused: {reason:?}")
            };
            let happened: BTreeSet<String> = self.runs[run].world.done().into_iter().collect();
            let say = |step: &StepId| {
                (
                    step.clone(),
                    if happened.contains(step.as_str()) {
                        Decision::Done
                    } else {
                        Decision::NotDone
                    },
                )
            };
            outcome = self.runs[run].decide(&steps.iter().map(say).collect()).unwrap();
        }
        self.look(run);
    }

    /// Nothing was done that was there, and nothing was undone that was not.
    fn look(&mut self, run: usize) {
        let (applied, undone) = (self.runs[run].world.applied(), self.runs[run].world.undone());
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

    /// Last done, first undone: nothing of a run is undone on which a later one stands.
    fn undo(&mut self, run: usize) {
        if self.runs[run + 1..].iter().any(|later| !later.state().account().undoable.is_empty()) {
            return;
        }
        let mut decisions = BTreeMap::new();
        let outcome = loop {
            match self.runs[run].undo_deciding(&decisions) {
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

    /// The last run is tried again from the first place, counted from `first`, from which it can
    /// be.
    fn retry(&mut self, case: &Case, first: usize, failure: Option<Failure>) {
        let old = self.runs.last().unwrap();
        let earlier = self.runs.iter().map(|run| (run.options.run, run.state())).collect();
        let places: Vec<StepId> = old.state().steps.keys().cloned().collect();
        let mut turned = (0..places.len()).map(|place| &places[(first + place) % places.len()]);
        let Some(retry) = turned.find_map(|from| begin(old, &earlier, from, &self.done)) else {
            return;
        };
        for assumed in retry
            .assumed
            .iter()
            .filter(|assumed| effects(&case.entries, "").contains(&assumed.step.to_string()))
        {
            let by = self
                .runs
                .iter()
                .find(|run| run.options.run == assumed.done_in)
                .expect("it is one of them");
            let (step, found) = (assumed.step.as_str(), by.world.applied());
            assert!(
                found.iter().any(|effect| effect == step),
                "`{step}` was not done in the run that is named"
            );
        }
        let mut run = case.run(case.world(failure, &self.done));
        run.options.retry_of = Some(retry);
        self.begin(run);
    }
}

/// From every place from which the run may be tried again: what was done is not done again, what
/// was not is, and all is done in the end. Returns from how many places that was.
fn try_everywhere(
    case: &Case,
    old: &Run,
    done: &BTreeSet<String>,
    failures: &[Option<Failure>],
) -> usize {
    let state = old.state();
    let places: Vec<StepId> = state.steps.keys().cloned().collect();
    let all: BTreeSet<String> = effects(&case.entries, "").into_iter().collect();
    let mut tried = 0;
    for from in &places {
        let Some(retry) = begin(old, &BTreeMap::new(), from, done) else { continue };
        tried += 1;
        let mut run = case.run(case.world(failures.first().copied().flatten(), done));
        run.options.retry_of = Some(retry);
        let outcome = run.execute().unwrap();
        let Stopped::Ended { end, .. } = outcome.stopped else {
            panic!("from {from}: it stopped: {:?}", outcome.stopped)
        };
        assert_eq!(run.state(), outcome.state, "from {from}: the fold is the state");
        let applied = run.world.applied();
        for effect in &applied {
            assert!(!done.contains(effect), "from {from}: `{effect}` was done, and is done again");
        }
        assert_eq!(
            applied.iter().collect::<BTreeSet<_>>().len(),
            applied.len(),
            "from {from}: twice in one run: {applied:?}"
        );
        let done: BTreeSet<String> = run.world.done().into_iter().collect();
        match end {
            RunEnd::Succeeded | RunEnd::SucceededWithWarnings => {
                assert_eq!(done, all, "from {from}");
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
    fn a_run_that_is_tried_again_has_each_effect_once_from_wherever_it_begins(case in cases()) {
        let old = case.run(case.world(Some(case.first), &BTreeSet::new()));
        let outcome = old.execute().unwrap();
        let Stopped::Ended { end, .. } = outcome.stopped else { panic!("it stopped: {:?}", outcome.stopped) };
        let done: BTreeSet<String> = old.world.done().into_iter().collect();
        let tried = try_everywhere(&case, &old, &done, &[case.second, None]);
        let all: BTreeSet<String> = effects(&case.entries, "").into_iter().collect();
        if end != RunEnd::Succeeded && done != all {
            prop_assert!(tried > 0, "there is no place from which the run can be tried again");
        }
    }

    #[test]
    fn over_execs_undos_and_retries_each_effect_is_made_at_most_once_more_than_its_undos(sequence in sequences()) {
        let Sequence { case, requests } = sequence;
        let all: BTreeSet<String> = effects(&case.entries, "").into_iter().collect();
        let mut chain = Chain { runs: Vec::new(), seen: Vec::new(), done: BTreeSet::new() };
        chain.begin(case.run(case.world(Some(case.first), &BTreeSet::new())));
        for request in requests {
            match request {
                Request::Undo { run, answer } => {
                    let run = run % chain.runs.len();
                    if let Some((place, answer)) = answer.filter(|_| !all.is_empty()) {
                        let step = all.iter().nth(place % all.len()).unwrap();
                        chain.runs[run].world.tell(&format!("{step}/undo"), [answer]);
                    }
                    chain.undo(run);
                }
                Request::Retry { from, failure } => chain.retry(&case, from, failure),
            }
        }
        // Whatever was asked for before, all can be done in the end.
        if chain.done != all {
            chain.retry(&case, 0, None);
            prop_assert_eq!(chain.done, all);
        }
    }
}
