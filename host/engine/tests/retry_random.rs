//! Random runbooks (plain steps, items, nested files, branches), a failure at a random place, and a new run from each place from
//! which one may begin, again and again: each effect happens once, whatever was done before.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use proptest::prelude::*;
use runbook_engine::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use support::{Reply, Run, World};

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
    /// Which of the entries before it is needed, by a number that is taken modulo; `None` is the one before it.
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
    Clean,
    /// It took effect, and nobody heard of it.
    Late,
}

#[derive(Debug, Clone)]
struct Case {
    entries: Vec<Entry>,
    on_failure: &'static str,
    first: Failure,
    second: Option<Failure>,
}

fn leaf() -> impl Strategy<Value = Node> {
    let each = (1_usize..4, 1_usize..3).prop_map(|(items, max_parallel)| Node::Each { items, max_parallel });
    prop_oneof![3 => Just(Node::Act), 1 => Just(Node::Look), 2 => each]
}

fn entries(node: impl Strategy<Value = Node>, most: usize) -> impl Strategy<Value = Vec<Entry>> {
    let needs = proptest::option::of(proptest::collection::vec(0_usize..8, 0..3));
    proptest::collection::vec((node, needs).prop_map(|(node, needs)| Entry { node, needs }), 1..=most)
}

fn failure() -> impl Strategy<Value = Failure> {
    (0_usize..16, prop_oneof![Just(Kind::Clean), Just(Kind::Late)]).prop_map(|(place, kind)| Failure { place, kind })
}

fn cases() -> impl Strategy<Value = Case> {
    let nest = entries(leaf(), 3).prop_map(Node::Nest);
    let policy = prop_oneof![2 => Just("stop"), 1 => Just("undo")];
    (entries(prop_oneof![3 => leaf(), 2 => nest], 4), policy, failure(), proptest::option::of(failure()))
        .prop_map(|(entries, on_failure, first, second)| Case { entries, on_failure, first, second })
}

/// The text of a file, and of those that it nests.
fn write(entries: &[Entry], name: &str, on_failure: &str, files: &mut Vec<(String, String)>) -> String {
    let mut text = format!("[defaults]\non_failure = \"{on_failure}\"\n");
    for (number, entry) in entries.iter().enumerate() {
        let id = format!("s{number}");
        writeln!(text, "[[step]]\nid = \"{id}\"").unwrap();
        let needs: Option<BTreeSet<usize>> =
            entry.needs.as_ref().map(|needs| needs.iter().filter(|_| number > 0).map(|need| need % number.max(1)).collect());
        if let Some(needs) = &needs {
            let names: Vec<String> = needs.iter().map(|need| format!("\"s{need}\"")).collect();
            writeln!(text, "needs = [{}]", names.join(", ")).unwrap();
        }
        let seen = needs.map_or_else(|| number.checked_sub(1), |needs| needs.first().copied());
        let with = seen.map(|seen| format!("with.seen = \"{{{{ steps.s{seen}.output }}}}\"\n")).unwrap_or_default();
        match &entry.node {
            Node::Act => write!(text, "uses = \"test:do\"\nundo = \"auto\"\n{with}").unwrap(),
            Node::Look => write!(text, "uses = \"test:look\"\n{with}").unwrap(),
            Node::Each { items, max_parallel } => {
                let items: Vec<String> = (0..*items).map(|item| format!("\"k{item}\"")).collect();
                let items = items.join(", ");
                write!(text, "uses = \"test:do\"\nundo = \"auto\"\nfor_each = [{items}]\nmax_parallel = {max_parallel}\n{with}")
                    .unwrap();
            }
            Node::Nest(inner) => {
                let file = format!("{name}-{id}");
                writeln!(text, "runbook = \"{file}.toml\"").unwrap();
                let inner = write(inner, &file, on_failure, files);
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
        let text = write(&self.entries, "n", self.on_failure, &mut files);
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Run::nesting(&text, &files, world)
    }

    fn world(&self, failure: Option<Failure>, done: &BTreeSet<String>) -> World {
        let effects = effects(&self.entries, "");
        match failure.filter(|_| !effects.is_empty()) {
            Some(Failure { place, kind }) => {
                let step = &effects[place % effects.len()];
                let reply = match kind {
                    Kind::Clean => Reply::Fails(ErrorClass::Assertion),
                    Kind::Late => Reply::FailsLate(ErrorClass::Timeout),
                };
                World::default().having_done(done).with(step, [reply])
            }
            None => World::default().having_done(done),
        }
    }
}

/// What the new run takes as done; says of each step in doubt what the world knows.
fn begin(old: &Run, from: &StepId, done: &BTreeSet<String>) -> Option<RetryOf> {
    let mut decisions = BTreeMap::new();
    loop {
        match retry_of(&old.plan, old.options.run, &old.state(), from, &decisions) {
            Ok(retry) => return Some(retry),
            Err(RetryError::Doubtful { steps }) => {
                for step in steps {
                    let decision = if done.contains(step.as_str()) { Decision::Done } else { Decision::Retry };
                    assert!(decisions.insert(step, decision).is_none(), "it asks twice");
                }
            }
            Err(RetryError::NoStep { .. } | RetryError::NotDone { .. } | RetryError::Done { .. }) => return None,
            Err(error) => panic!("{from}: {error}"),
        }
    }
}

/// From every place from which the run may be tried again: what was done is not done again, what was not is, and all is done in
/// the end. Returns from how many places that was.
fn try_everywhere(case: &Case, old: &Run, done: &BTreeSet<String>, failures: &[Option<Failure>]) -> usize {
    let state = old.state();
    let places: Vec<StepId> = state.steps.keys().cloned().collect();
    let all: BTreeSet<String> = effects(&case.entries, "").into_iter().collect();
    let mut tried = 0;
    for from in &places {
        let Some(retry) = begin(old, from, done) else { continue };
        tried += 1;
        let mut run = case.run(case.world(failures.first().copied().flatten(), done));
        run.options.retry_of = Some(retry);
        let outcome = run.execute().unwrap();
        let Stopped::Ended { end, .. } = outcome.stopped else { panic!("from {from}: it stopped: {:?}", outcome.stopped) };
        assert_eq!(run.state(), outcome.state, "from {from}: the fold is the state");
        let applied = run.world.applied();
        for effect in &applied {
            assert!(!done.contains(effect), "from {from}: `{effect}` was done, and is done again");
        }
        assert_eq!(applied.iter().collect::<BTreeSet<_>>().len(), applied.len(), "from {from}: twice in one run: {applied:?}");
        let done: BTreeSet<String> = run.world.done().into_iter().collect();
        match end {
            RunEnd::Succeeded | RunEnd::SucceededWithWarnings => assert_eq!(done, all, "from {from}"),
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
}
