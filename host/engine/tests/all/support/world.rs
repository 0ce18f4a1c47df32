//! Plugins with scripted answers, which remember their calls.

use runbook_engine::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// How one call is answered, other than by doing as asked.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A probe reports this.
    Found(Outcome, Json),
    /// It fails before it has any effect.
    Fails(ErrorClass),
    /// It fails, and the host knows that nothing of it happened.
    Refused(ErrorClass),
    /// It has its effect, and nobody hears of it.
    FailsLate(ErrorClass),
    /// A smoke test has made these cases, and the host saw it write.
    Cases(&'static [(&'static str, Outcome)]),
    /// No answer, ever.
    Hangs,
}

/// What plugins change, and what they were asked.
#[derive(Default)]
pub struct World {
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
    /// What a step's `plan` says is there before; `done` if nothing is set.
    before: BTreeMap<String, Json>,
    /// What the host saw a step do, if it is not what it said.
    acted: BTreeMap<String, Vec<String>>,
    /// Of each call that looks or undoes: the step, the phase, and how long ago an attempt without
    /// an answer began.
    unanswered: Vec<(String, &'static str, Option<Duration>)>,
    /// The next answers of a step; the last one stays.
    replies: BTreeMap<String, VecDeque<Reply>>,
}

impl World {
    /// What is known of an operation, by its name.
    pub fn facts_of(uses: &str) -> OperationFacts {
        let kind = match uses {
            "test:look" => Kind::Probe,
            "test:smoke" => Kind::SmokeTest,
            _ => Kind::Step,
        };
        let acts = kind == Kind::Step;
        OperationFacts {
            kind,
            idempotent: !acts,
            undo: acts && uses != "test:move",
            writes: acts || matches!(uses, "test:scribble" | "test:smoke"),
            digest: "sha256:0".to_owned(),
            places: vec!["`t` (a test)".to_owned()],
        }
    }

    /// A world in which a step's calls are answered so, one after the other; the last answer stays.
    #[must_use]
    pub fn with(self, step: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.tell(step, replies);
        self
    }

    /// A world in which these have taken effect already.
    #[must_use]
    pub fn having_done<'a>(self, steps: impl IntoIterator<Item = &'a String>) -> Self {
        self.state.lock().unwrap().done.extend(steps.into_iter().cloned());
        self
    }

    /// The same for a world that is in use.
    pub fn tell(&self, step: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().replies.insert(step.to_owned(), replies.into_iter().collect());
    }

    fn hangs(&self, step: &str) -> bool {
        let state = self.state.lock().unwrap();
        matches!(state.replies.get(step).and_then(VecDeque::front), Some(Reply::Hangs))
    }

    /// A step does this, whatever its plan says.
    #[must_use]
    pub fn doing(self, step: &str, acted: &[&str]) -> Self {
        self.state
            .lock()
            .unwrap()
            .acted
            .insert(step.to_owned(), acted.iter().map(ToString::to_string).collect());
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

    /// Effects in their order.
    pub fn applied(&self) -> Vec<String> {
        self.state.lock().unwrap().applied.clone()
    }

    /// Undos in their order.
    pub fn undone(&self) -> Vec<String> {
        self.state.lock().unwrap().undone.clone()
    }

    /// What calls of a step in a phase were told of an attempt without an answer.
    pub fn unanswered(&self, step: &str, phase: &str) -> Vec<Option<Duration>> {
        let state = self.state.lock().unwrap();
        let told = state.unanswered.iter().filter(|(of, at, _)| of == step && *at == phase);
        told.map(|(.., ago)| *ago).collect()
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

    fn seen(&self, step: &str) -> Json {
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
        if let Some(Reply::Refused(class)) = reply {
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
            Some(Reply::FailsLate(class)) => {
                Err(Fault::new(class, "test.late", "it took effect and nobody heard of it"))
            }
            Some(
                Reply::Fails(_)
                | Reply::Refused(_)
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

impl Operate for World {
    /// Whatever is called, a `text` is a text.
    fn misfits(&self, _site: &StepId, input: &Json) -> Vec<Misfit> {
        let wrong = input.get("text").filter(|text| !text.is_string());
        let misfit = |_| Misfit {
            pointer: "/text".to_owned(),
            key: None,
            help: None,
            reason: "the value is not of type \"string\"".to_owned(),
            kind: MisfitKind::Structure,
        };
        wrong.map(misfit).into_iter().collect()
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
                    before: state.seen(step),
                })
            }
            Phase::Observe => Response::Observation(state.seen(step)),
            Phase::Apply { .. } => {
                assert_eq!(call.mode, Mode::Effects);
                state.apply(step, &call.input)?
            }
            Phase::Undo { before } => {
                let reply = state.reply(&format!("{step}/undo"));
                let fault = |class| Fault::new(class, "test.undo-fails", "its undo failed");
                match reply {
                    Some(Reply::Fails(class)) => return Err(fault(class)),
                    Some(Reply::Refused(class)) => {
                        return Err(Fault { effect: FaultEffect::None, ..fault(class) });
                    }
                    Some(Reply::FailsLate(class)) => {
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
                    let acted = state
                        .acted
                        .get(step)
                        .cloned()
                        .unwrap_or_else(|| vec!["http.post".to_owned()]);
                    return Ok(CallReturn { response: answer, logs: Vec::new(), acted });
                }
                Some(Reply::Hangs) => unreachable!("only `plan` hangs"),
                Some(Reply::Fails(class) | Reply::Refused(class) | Reply::FailsLate(class)) => {
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
        let acted = match &call.phase {
            Phase::Apply { .. } => {
                state.acted.get(step).cloned().unwrap_or_else(|| vec!["sql.do".to_owned()])
            }
            Phase::Plan | Phase::Observe | Phase::Undo { .. } | Phase::Check => Vec::new(),
        };
        Ok(CallReturn { response: answer, logs: Vec::new(), acted })
    }
}
