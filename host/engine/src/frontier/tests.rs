//! Counts the lookups of steps in runs of many steps.

use crate::advance::{Action, OutsideFacts, advance};
use crate::event::{
    AfterAttempt, AttemptEvent, AttemptResult, Item, ItemsEvent, LifecycleEvent, Record, RunEvent,
    UndoPlan,
};
use crate::frontier::Frontier;
use crate::plan::Plan;
use crate::state::{RunState, next};
use runbook_contract::{Kind, OperationFacts, Outcome, StepId};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

fn plan(text: &str) -> Plan {
    let source = runbook_document::Source::new(
        "test.toml",
        format!("format = 1\n[runbook]\nname = \"test\"\n{text}"),
    );
    let runbook = crate::parse(&source, None, &mut |_| Err(std::io::ErrorKind::NotFound.into()))
        .expect("a good runbook");
    let probe_facts = OperationFacts {
        kind: Kind::Probe,
        idempotent: true,
        undo: false,
        writes: false,
        digest: "sha256:0".to_owned(),
        places: Vec::new(),
    };
    let facts =
        runbook.call_sites().into_iter().map(|site| (site.step, probe_facts.clone())).collect();
    Plan::build(&runbook, &crate::resolve_params(&runbook, &[]).expect("no parameter"), &facts)
        .expect("a good plan")
}

/// A run in which every call succeeds at once.
struct SimulatedRun {
    plan: Plan,
    state: Option<RunState>,
    frontier: Frontier,
    /// How often a step was looked up.
    lookups: usize,
    items: usize,
}

impl SimulatedRun {
    fn new(plan: Plan, items: usize) -> Self {
        let started = LifecycleEvent::RunStarted {
            runbook: plan.name.clone(),
            title: plan.title.clone(),
            steps: plan.listing(),
            params: plan.params.clone(),
            retry_of: None,
        }
        .into();
        let record = Record { seq: 0, at: jiff::Timestamp::UNIX_EPOCH, event: started };
        let state = next(None, &record).expect("a run begins so");
        let frontier = Frontier::new(&plan, &state);
        Self { plan, state: Some(state), frontier, lookups: 0, items }
    }

    fn state(&self) -> &RunState {
        self.state.as_ref().expect("it is put back")
    }

    fn record(&mut self, event: impl Into<RunEvent>) {
        let record = Record {
            seq: self.state().next_seq,
            at: jiff::Timestamp::UNIX_EPOCH,
            event: event.into(),
        };
        self.state =
            Some(next(self.state.take(), &record).expect("what `advance` says can follow"));
        if let (RunEvent::Step { step, .. }, Some(state)) = (&record.event, &self.state) {
            self.frontier.update(&self.plan, state, step);
        }
    }

    /// The first of the actions to take now. Only one is taken, so that there are as many decisions
    /// as possible.
    fn decide(&mut self) -> Action {
        let n_lookups = Cell::new(0);
        let no_steps = BTreeSet::new();
        let is_due = |_: &StepId| {
            n_lookups.set(n_lookups.get() + 1);
            true
        };
        let facts = OutsideFacts {
            pending: &no_steps,
            probing_guards: &no_steps,
            is_due: &is_due,
            is_overdue: &|_| false,
            stop: None,
            cleanup_timed_out: false,
            waiting_for_lock: false,
            is_slow: false,
        };
        let first = advance(&self.plan, self.state(), &self.frontier, &facts).into_iter().next();
        self.lookups += n_lookups.get();
        first.expect("there is something to do until the end")
    }

    fn attempt(&mut self, step: StepId) {
        if self.plan.step(&step).is_some_and(|step| step.for_each.is_some()) {
            let item = |number: usize| Item { key: number.to_string(), value: number.into() };
            let items: Vec<Item> = (0..self.items).map(item).collect();
            self.record(ItemsEvent::Listed { items: items.clone() }.of(step.clone()));
            self.plan = self.plan.with_items(&step, &items).expect("it has items");
            self.lookups += self.frontier.lookups.0;
            self.frontier = Frontier::new(&self.plan, self.state());
            return;
        }
        let input = serde_json::Value::Null;
        self.record(
            AttemptEvent::Started {
                attempt: 1,
                input,
                input_digest: String::new(),
                proposal: None,
                undo: UndoPlan::NotNeeded,
            }
            .of(step.clone()),
        );
        self.record(
            AttemptEvent::Ended {
                attempt: 1,
                result: passed(),
                then: AfterAttempt::Final,
                duration_ms: 1,
                logs: Vec::new(),
            }
            .of(step),
        );
    }

    /// Runs to the end. Returns how often a step was looked up.
    fn run_to_the_end(mut self) -> usize {
        loop {
            match self.decide() {
                Action::Attempt { step } => self.attempt(step),
                Action::EndItems { step } => {
                    self.record(
                        ItemsEvent::Ended { result: passed(), then: AfterAttempt::Final }.of(step),
                    );
                }
                Action::TakeLocks => self.record(LifecycleEvent::StepsBegan { locks: Vec::new() }),
                Action::BeginFinally { end, cause } => {
                    self.record(LifecycleEvent::FinallyBegan { end, cause });
                }
                Action::End { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.frontier, Frontier::new(&self.plan, self.state()), "it has kept up");
        self.lookups + self.frontier.lookups.0
    }
}

fn passed() -> AttemptResult {
    AttemptResult::Succeeded {
        outcome: Outcome::Pass,
        summary: String::new(),
        output: serde_json::Value::Null,
        changed: false,
        measurements: Vec::new(),
        cases: Vec::new(),
    }
}

fn steps(n: usize, rest: &str) -> String {
    (0..n).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "[[step]]\nid = \"s{number}\"\nuses = \"test:look\"\n{rest}");
        text
    })
}

#[test]
fn ten_times_as_many_steps_are_looked_at_ten_times_as_often() {
    let for_each = "[[step]]\nid = \"each\"\nuses = \"test:look\"\nfor_each = \"[1]\"\n";
    let several =
        "[[step]]\nid = \"each\"\nuses = \"test:look\"\nfor_each = \"[1]\"\nmax_parallel = 8\n";
    let shapes: [(&str, &dyn Fn(usize) -> SimulatedRun); 4] = [
        ("one after the other", &|n| SimulatedRun::new(plan(&steps(n, "")), 0)),
        ("all at once", &|n| SimulatedRun::new(plan(&steps(n, "needs = []")), 0)),
        ("items", &|n| SimulatedRun::new(plan(for_each), n)),
        ("items, several at once", &|n| SimulatedRun::new(plan(several), n)),
    ];
    for (name, run) in shapes {
        let (few, many) = (run(200).run_to_the_end(), run(2_000).run_to_the_end());
        assert!(many <= 12 * few, "{name}: {few} lookups for 200, {many} for 2,000");
    }
}
