//! Asks the person at the terminal for the decision that a run waits for, so that the run continues
//! at once. Without a terminal the run stays paused, and others answer by `runbook answer`,
//! `approve` and `reject`.

use crate::commands::record_decision;
use crate::context::Context;
use crate::failure::Failure;
use crate::input::{self, TypedLine as Line};
use crate::live::Live;
use crate::signals::CancelSignals;
use crate::ui;
use runbook_engine::model::{Approval, Manual, SelfApproval, Typed};
use runbook_engine::{
    ApprovalEvent, ApprovalRequest, ApprovalVerdict, CancelLevel, Decision, Journal as _, Json,
    ManualEvent, PauseReason, Plan, Question, RunEvent, RunId, RunState, Stage, StepEvent, StepId,
    fold,
};
use runbook_journal::SqlJournal;
use runbook_report::push_line;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// How often the journal is read to see what other people have decided.
const LOOK: Duration = Duration::from_millis(500);

/// What follows from what was said.
pub enum Next {
    /// The run goes on, with these decisions about unknown outcomes.
    GoOn(BTreeMap<StepId, Decision>),
    /// It stays as it is.
    Leave,
}

/// The person at the terminal, and the run that they are asked about.
pub struct OperatorPrompt<'a> {
    /// The surroundings of the program: its terminal and its operator.
    pub context: &'a Context,
    /// Where what they say is written down.
    pub journal: &'a SqlJournal,
    /// The run that waits.
    pub run: RunId,
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The signals that interrupt a question, such as Ctrl-C.
    pub signals: &'a CancelSignals,
}

impl OperatorPrompt<'_> {
    /// Asks for all that a paused run waits for.
    pub async fn ask(&self, live: &mut Live, state: RunState) -> Result<Next, Failure> {
        if !self.context.interactive || !self.signals.has_terminal() || self.signals.is_cancelled()
        {
            return Ok(Next::Leave);
        }
        live.ask();
        match state.paused.clone() {
            Some(PauseReason::Manual { steps }) => self.manual(live, state, &steps).await,
            Some(PauseReason::Approval { steps }) => self.approvals(live, state, &steps).await,
            Some(PauseReason::UnknownOutcome { steps }) => self.decisions(&state, &steps).await,
            Some(
                PauseReason::Guard { .. }
                | PauseReason::LeaseLost { .. }
                | PauseReason::OutsideWindow { .. }
                | PauseReason::Interrupted,
            )
            | None => Ok(Next::Leave),
        }
    }

    async fn manual(
        &self,
        live: &mut Live,
        mut state: RunState,
        steps: &[StepId],
    ) -> Result<Next, Failure> {
        for step in steps {
            let Some(manual) = self.plan.step(step).and_then(|step| step.manual.as_ref()) else {
                return Ok(Next::Leave);
            };
            let asked = state.step(step).manual.as_ref().map(|manual| manual.asked);
            let left = left(manual, asked);
            let instructions = live.instructions(step).to_owned();
            let Ok(values) =
                tokio::time::timeout(left, self.fill_in(step, manual, &instructions)).await
            else {
                // The run itself says what follows from that.
                return Ok(Next::GoOn(BTreeMap::new()));
            };
            let Some(values) = values else { return Ok(Next::Leave) };
            let event = ManualEvent::Answered { by: self.context.operator.clone(), values }
                .of(step.clone());
            state = self.say(live, state, event).await?;
        }
        Ok(Next::GoOn(BTreeMap::new()))
    }

    /// The answer as the form wants it: each part asked again until it fits. `None` if the person
    /// leaves it open.
    async fn fill_in(
        &self,
        step: &StepId,
        manual: &Manual,
        instructions: &str,
    ) -> Option<runbook_engine::Json> {
        let indented: String = instructions.lines().map(|line| format!("\n    {line}")).collect();
        ui::notice(&ui::wrapped(&format!(
            "\nStep `{step}` is yours:{indented}\nCtrl-C leaves it open; the run then waits."
        )));
        let mut values: Vec<(String, String)> = Vec::new();
        for (name, kind) in &manual.form {
            let question = format!("  {name} ({}): ", kind.name());
            let text =
                self.until(&question, |text| manual.read_field(name, text).map(drop)).await?;
            values.push((name.clone(), text));
        }
        let choice = if manual.choices.is_empty() {
            None
        } else {
            let question = format!("  choose one of {}: ", manual.choices.join(", "));
            Some(self.until(&question, |text| manual.read_choice(text).map(drop)).await?)
        };
        let wanted = manual.confirm.as_deref().unwrap_or("done");
        let typed = |text: &str| {
            if text == wanted { Ok(()) } else { Err(format!("that is not `{wanted}`")) }
        };
        let confirm = self.until(&format!("  type `{wanted}` when it is done: "), typed).await?;
        let confirm = manual.confirm.is_some().then_some(confirm);
        match manual.read(&Typed {
            values: &values,
            choice: choice.as_deref(),
            confirm: confirm.as_deref(),
        }) {
            Ok(values) => Some(values),
            Err(wrong) => {
                ui::notice(&format!("  nothing was written: {}", wrong.join("; ")));
                None
            }
        }
    }

    /// Asks until the answer fits.
    async fn until(
        &self,
        question: &str,
        fits: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        loop {
            let text = self.line(question).await?;
            match fits(&text) {
                Ok(()) => return Some(text),
                Err(why) => ui::notice(&ui::wrapped(&format!("  {why}; nothing was written"))),
            }
        }
    }

    async fn approvals(
        &self,
        live: &mut Live,
        mut state: RunState,
        steps: &[StepId],
    ) -> Result<Next, Failure> {
        for step in steps {
            let Some(approval) = self.plan.approval(step) else { return Ok(Next::Leave) };
            let Some(asked) = state.step(step).approval.asked.clone() else {
                return Ok(Next::Leave);
            };
            if self.may_approve(approval) {
                let Some(verdict) = self.judge(step, &asked).await else { return Ok(Next::Leave) };
                let (digest, by) = (asked.digest, self.context.operator.clone());
                state = self
                    .say(
                        live,
                        state,
                        RunEvent::Step {
                            step: step.clone(),
                            event: StepEvent::Approval(ApprovalEvent::Given {
                                digest,
                                by,
                                verdict,
                            }),
                        },
                    )
                    .await?;
            }
        }
        self.wait_for_others(state, steps).await
    }

    /// Whether the person at this terminal, who started the run, may approve a step of it.
    fn may_approve(&self, approval: &Approval) -> bool {
        approval.oneself == SelfApproval::Counts && approval.may_answer(&self.context.operator)
    }

    /// What the person says of a step. `None` if they leave it open.
    async fn judge(&self, step: &StepId, asked: &ApprovalRequest) -> Option<ApprovalVerdict> {
        ui::notice(&ui::wrapped(&format!("\n{}", shown(step, self.run, asked))));
        let approve = format!("approve {step}");
        loop {
            let question = format!(
                "  type `{approve}` to let it happen, `reject` to refuse it; Enter leaves it open: "
            );
            match self.line(&question).await?.as_str() {
                "" => return None,
                "reject" => {
                    let is_said = |text: &str| {
                        if text.is_empty() { Err("a reason is needed".to_owned()) } else { Ok(()) }
                    };
                    let reason =
                        self.until("  why, for those who read the report: ", is_said).await?;
                    return Some(ApprovalVerdict::Rejected { reason });
                }
                text if text == approve => return Some(ApprovalVerdict::Approved),
                _ => ui::notice("  that is none of them; nothing was written"),
            }
        }
    }

    /// Waits at the terminal for those who approve elsewhere.
    async fn wait_for_others(
        &self,
        mut state: RunState,
        steps: &[StepId],
    ) -> Result<Next, Failure> {
        let open = |state: &RunState| -> Vec<String> {
            let open = steps.iter().filter(|step| {
                !self
                    .plan
                    .approval(step)
                    .is_none_or(|known| known.is_answered(&state.step(step).approval))
            });
            open.map(|step| {
                format!(
                    "`runbook approve {} {}`",
                    self.run.short(),
                    runbook_text::argument(step.as_str())
                )
            })
            .collect()
        };
        let waiting = open(&state);
        if !waiting.is_empty() {
            ui::notice(&format!(
                "\nwaiting for somebody else: {}; Ctrl-C leaves the run waiting",
                waiting.join(", ")
            ));
        }
        while !open(&state).is_empty() {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.signals.cancel.above(CancelLevel::None) => return Ok(Next::Leave),
                () = self.signals.hung_up() => return Ok(Next::Leave),
            }
            let stored = self.journal.load(self.run).await.map_err(Failure::engine)?;
            state = fold(&stored.records)
                .map_err(Failure::engine)?
                .ok_or_else(|| Failure::engine("the run has no record"))?;
        }
        Ok(Next::GoOn(BTreeMap::new()))
    }

    async fn decisions(&self, state: &RunState, steps: &[StepId]) -> Result<Next, Failure> {
        let mut decisions = BTreeMap::new();
        for step in steps {
            ui::notice(&format!("\n{}", unknown(state, step)));
            let asked = Decision::ALL
                .iter()
                .filter(|(decision, ..)| is_possible_decision(state, *decision));
            let words: Vec<String> =
                asked.map(|(_, word, meaning)| format!("`{word}` ({meaning})")).collect();
            let question =
                format!("  did `{step}` happen? type {}; Enter leaves it open: ", words.join(", "));
            let decision = loop {
                let Some(text) = self.line(&question).await else { return Ok(Next::Leave) };
                if text.is_empty() {
                    return Ok(Next::Leave);
                }
                match Decision::named(&text)
                    .filter(|decision| is_possible_decision(state, *decision))
                {
                    Some(decision) => break decision,
                    None => ui::notice("  that is none of them; nothing was decided"),
                }
            };
            decisions.insert(step.clone(), decision);
        }
        Ok(Next::GoOn(decisions))
    }

    /// Writes down what was said, and tells it like everything that happens.
    async fn say(
        &self,
        live: &mut Live,
        state: RunState,
        event: RunEvent,
    ) -> Result<RunState, Failure> {
        let (state, record) = record_decision::append(self.journal, self.run, state, event).await?;
        live.tell(&record);
        Ok(state)
    }

    /// Reads one line, without the space around it; `None` if no answer will come: the terminal is
    /// gone, or Ctrl-C was pressed.
    async fn line(&self, question: &str) -> Option<String> {
        loop {
            input::discard_typed();
            ui::prompt(question);
            let typed = tokio::select! {
                typed = input::next_line() => typed,
                () = self.signals.cancel.above(CancelLevel::None) => return None,
                () = self.signals.hung_up() => return None,
            };
            match typed {
                Line::Line(text) => return Some(text),
                Line::NotText => ui::notice("  that is not text; nothing was written"),
                Line::Gone => return None,
            }
        }
    }
}

/// How long an answer is still waited for; a day where there is no limit.
fn left(manual: &Manual, asked: Option<jiff::Timestamp>) -> Duration {
    let day = Duration::from_hours(24);
    let Some((timeout, asked)) = manual.timeout.zip(asked) else { return day };
    let waited =
        Duration::try_from(jiff::Timestamp::now().duration_since(asked)).unwrap_or_default();
    // A little more, so that the run, which looks at its own clock, agrees.
    timeout.saturating_sub(waited) + Duration::from_millis(100)
}

/// The whole plan, because the approval is for exactly this plan.
pub fn shown(step: &StepId, run: RunId, asked: &ApprovalRequest) -> String {
    let ApprovalRequest { digest, input, proposal, places } = asked;
    let mut text = String::new();
    push_line(
        &mut text,
        format_args!("step `{step}` of run {} would: {}", run.short(), proposal.summary),
    );
    for effect in &proposal.effects {
        push_line(
            &mut text,
            format_args!("  {} on `{}`: {}", effect.verb, effect.target, effect.summary),
        );
    }
    if !places.is_empty() {
        push_line(&mut text, format_args!("  where  {}", places.join(", ")));
    }
    // Not shortened, because a part that is not shown must not be approved. JSON is one line.
    let _ = writeln!(text, "  input  {}", whole(input));
    let there = if proposal.before.is_null() {
        "nothing that its plugin can see".to_owned()
    } else {
        whole(&proposal.before)
    };
    let _ = writeln!(text, "  there  {there}");
    let _ = write!(text, "  digest {digest}");
    text
}

/// A value as JSON in one line, in which every character is seen.
fn whole(value: &Json) -> String {
    runbook_text::json(&value.to_string()).into_owned()
}

/// Whether an answer has a meaning where the run is: one that is being undone does nothing again.
fn is_possible_decision(state: &RunState, decision: Decision) -> bool {
    decision != Decision::Retry || state.stage != Stage::Undo
}

/// What is known of a step whose outcome is not.
fn unknown(state: &RunState, step: &StepId) -> String {
    let mut text = format!("It is unknown whether `{step}` took effect.");
    if let Some(Question { known, before, now }) = &state.step(step).question {
        let _ =
            write!(text, "\n  known   {}\n  before  {}", runbook_text::line(known), whole(before));
        if let Some(now) = now {
            let _ = write!(text, "\n  now     {}", whole(now));
        }
    }
    text
}
