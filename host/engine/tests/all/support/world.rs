//! Plugins with scripted replies, which remember their calls.

use runbook_engine::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// The reply to one call, if it is not a plain success.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A probe reports this.
    Found(Outcome, Json),
    /// It fails before it has any effect; the host does not know that.
    Fails(ErrorClass),
    /// It fails before it has any effect, and the host knows that.
    FailsWithoutEffect(ErrorClass),
    /// It takes effect, and then fails.
    FailsAfterEffect(ErrorClass),
    /// A smoke test reports these cases, and the host saw it write.
    Cases(&'static [(&'static str, Outcome)]),
    /// It never returns.
    Hangs,
}

/// The plugins of a run. They remember what they have changed and the calls that they got.
#[derive(Default)]
pub struct FakePlugins {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Steps that have taken effect and are not undone.
    done: BTreeSet<String>,
    applied: Vec<String>,
    undone: Vec<String>,
    /// The input of each effect.
    inputs: BTreeMap<String, Json>,
    /// The `before` of a step's proposal; by default, whether the step is done.
    before: BTreeMap<String, Json>,
    /// The verbs that a step uses, if they are not those of its proposal.
    changing_verbs: BTreeMap<String, Vec<String>>,
    /// For each call: the step, the phase, and how long ago an attempt without an answer began, as
    /// the call was told.
    unanswered: Vec<(String, &'static str, Option<Duration>)>,
    /// The next replies of a step; the last one repeats.
    replies: BTreeMap<String, VecDeque<Reply>>,
}

impl FakePlugins {
    /// The facts of an operation, by its name.
    pub fn facts_of(uses: &str) -> OperationFacts {
        let kind = match uses {
            "test:look" => Kind::Probe,
            "test:smoke" => Kind::SmokeTest,
            _ => Kind::Step,
        };
        let is_step = kind == Kind::Step;
        OperationFacts {
            kind,
            idempotent: !is_step,
            undo: is_step && uses != "test:move",
            writes: is_step || matches!(uses, "test:scribble" | "test:smoke"),
            digest: "sha256:0".to_owned(),
            places: vec!["`t` (a test)".to_owned()],
        }
    }

    /// Sets the replies to the calls of a step, one after the other; the last one repeats.
    #[must_use]
    pub fn with(self, step: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.set_replies(step, replies);
        self
    }

    /// Sets the steps that have taken effect already.
    #[must_use]
    pub fn with_done<'a>(self, steps: impl IntoIterator<Item = &'a String>) -> Self {
        self.state.lock().unwrap().done.extend(steps.into_iter().cloned());
        self
    }

    /// The same as [`Self::with`] for plugins that are in use.
    pub fn set_replies(&self, step: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().replies.insert(step.to_owned(), replies.into_iter().collect());
    }

    fn hangs(&self, step: &str) -> bool {
        let state = self.state.lock().unwrap();
        matches!(state.replies.get(step).and_then(VecDeque::front), Some(Reply::Hangs))
    }

    /// Sets the verbs that a step uses, whatever its proposal says.
    #[must_use]
    pub fn with_changing_verbs(self, step: &str, changing_verbs: &[&str]) -> Self {
        self.state
            .lock()
            .unwrap()
            .changing_verbs
            .insert(step.to_owned(), changing_verbs.iter().map(ToString::to_string).collect());
        self
    }

    /// Changes what a step's `plan` finds.
    pub fn set_before(&self, step: &str, before: Json) {
        self.state.lock().unwrap().before.insert(step.to_owned(), before);
    }

    /// Steps that have taken effect and are not undone.
    pub fn done(&self) -> Vec<String> {
        self.state.lock().unwrap().done.iter().cloned().collect()
    }

    /// The steps that took effect, in order.
    pub fn applied(&self) -> Vec<String> {
        self.state.lock().unwrap().applied.clone()
    }

    /// The steps that their plugin has undone, in order.
    pub fn undone(&self) -> Vec<String> {
        self.state.lock().unwrap().undone.clone()
    }

    /// For each call of a step in a phase, how long ago an attempt without an answer began.
    pub fn unanswered(&self, step: &str, phase: &str) -> Vec<Option<Duration>> {
        let state = self.state.lock().unwrap();
        let calls = state.unanswered.iter().filter(|(of, at, _)| of == step && *at == phase);
        calls.map(|(.., ago)| *ago).collect()
    }

    /// The input of the last effect of a step.
    pub fn input(&self, step: &str) -> Json {
        self.state.lock().unwrap().inputs.get(step).cloned().unwrap_or_default()
    }
}

impl State {
    fn reply(&mut self, step: &str) -> Option<Reply> {
        let replies = self.replies.get_mut(step)?;
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
    }

    fn observe(&self, step: &str) -> Json {
        self.before
            .get(step)
            .cloned()
            .unwrap_or_else(|| json!({ "done": self.done.contains(step) }))
    }

    fn apply(&mut self, step: &str, input: &Json) -> Result<Response, Fault> {
        let reply = self.reply(step);
        if let Some(Reply::Fails(class)) = reply {
            return Err(Fault::new(class, "test.fails", "it failed before it did anything"));
        }
        if let Some(Reply::FailsWithoutEffect(class)) = reply {
            let fault = Fault::new(class, "test.refused", "nothing of it left");
            return Err(Fault { effect: FaultEffect::None, ..fault });
        }
        self.applied.push(step.to_owned());
        match step.strip_suffix("/undo") {
            Some(undone) => drop(self.done.remove(undone)),
            None => drop(self.done.insert(step.to_owned())),
        }
        self.inputs.insert(step.to_owned(), input.clone());
        match reply {
            Some(Reply::FailsAfterEffect(class)) => {
                Err(Fault::new(class, "test.late", "it took effect and nobody heard of it"))
            }
            Some(
                Reply::Fails(_)
                | Reply::FailsWithoutEffect(_)
                | Reply::Found(..)
                | Reply::Cases(_)
                | Reply::Hangs,
            )
            | None => Ok(completion("done", json!({ "input": input }))),
        }
    }

    fn undo(&mut self, step: &str, before: &Json) {
        self.undone.push(step.to_owned());
        if before["done"] != json!(true) {
            self.done.remove(step);
        }
    }
}

fn completion(summary: &str, output: Json) -> Response {
    Response::Completion(Completion {
        summary: summary.to_owned(),
        output,
        changed: true,
        measurements: Vec::new(),
    })
}

impl Operate for FakePlugins {
    /// The schema of every operation: `text` is a string.
    fn misfits(&self, _site: &StepId, input: &Json) -> Vec<Misfit> {
        let wrong_text = input.get("text").filter(|text| !text.is_string());
        let misfit = |_| Misfit {
            pointer: "/text".to_owned(),
            key: None,
            help: None,
            reason: "the value is not of type \"string\"".to_owned(),
            kind: MisfitKind::Structure,
        };
        wrong_text.map(misfit).into_iter().collect()
    }

    async fn call(&self, call: Call, _leases: LeaseWatch) -> Result<CallReturn, Fault> {
        let step = call.step.as_str();
        if call.phase == Phase::Plan && self.hangs(step) {
            std::future::pending::<()>().await;
        }
        let mut state = self.state.lock().unwrap();
        state.unanswered.push((step.to_owned(), call.phase.name(), call.unanswered));
        let answer = match &call.phase {
            Phase::Plan => {
                let effect = Effect {
                    verb: "sql.do".to_owned(),
                    target: step.to_owned(),
                    summary: format!("does {step}"),
                };
                Response::Proposal(Proposal {
                    effects: vec![effect],
                    summary: format!("does {step}"),
                    before: state.observe(step),
                })
            }
            Phase::Observe => Response::Observation(state.observe(step)),
            Phase::Apply { .. } => {
                assert_eq!(call.mode, Mode::Effects);
                state.apply(step, &call.input)?
            }
            Phase::Undo { before } => {
                let reply = state.reply(&format!("{step}/undo"));
                let fault = |class| Fault::new(class, "test.undo-fails", "its undo failed");
                match reply {
                    Some(Reply::Fails(class)) => return Err(fault(class)),
                    Some(Reply::FailsWithoutEffect(class)) => {
                        return Err(Fault { effect: FaultEffect::None, ..fault(class) });
                    }
                    Some(Reply::FailsAfterEffect(class)) => {
                        state.undo(step, before);
                        return Err(fault(class));
                    }
                    Some(Reply::Found(..) | Reply::Cases(_) | Reply::Hangs) | None => {
                        state.undo(step, before);
                    }
                }
                completion("undone", json!({}))
            }
            Phase::Check => match state.reply(step) {
                Some(Reply::Found(outcome, output)) => Response::Report(Report {
                    outcome,
                    summary: format!("found {output}"),
                    output,
                    measurements: Vec::new(),
                }),
                Some(Reply::Cases(cases)) => {
                    let verdict = |(name, outcome): &(&str, Outcome)| Case {
                        name: (*name).to_owned(),
                        outcome: *outcome,
                        detail: "seen".to_owned(),
                        duration_ms: 1,
                    };
                    let answer = Response::Cases(cases.iter().map(verdict).collect());
                    let changing_verbs = state
                        .changing_verbs
                        .get(step)
                        .cloned()
                        .unwrap_or_else(|| vec!["http.post".to_owned()]);
                    return Ok(CallReturn { response: answer, logs: Vec::new(), changing_verbs });
                }
                Some(Reply::Hangs) => unreachable!("only `plan` hangs"),
                Some(
                    Reply::Fails(class)
                    | Reply::FailsWithoutEffect(class)
                    | Reply::FailsAfterEffect(class),
                ) => {
                    return Err(Fault::new(class, "test.fails", "it could not look"));
                }
                None => {
                    let output = json!({ "input": call.input });
                    Response::Report(Report {
                        outcome: Outcome::Pass,
                        summary: "looks good".to_owned(),
                        output,
                        measurements: Vec::new(),
                    })
                }
            },
        };
        let changing_verbs = match &call.phase {
            Phase::Apply { .. } => {
                state.changing_verbs.get(step).cloned().unwrap_or_else(|| vec!["sql.do".to_owned()])
            }
            Phase::Plan | Phase::Observe | Phase::Undo { .. } | Phase::Check => Vec::new(),
        };
        Ok(CallReturn { response: answer, logs: Vec::new(), changing_verbs })
    }
}
