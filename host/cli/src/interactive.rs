//! Asks the operator at the terminal for the decision that a run waits for, so that the run
//! continues at once. Without a terminal the run stays paused until somebody uses `runbook answer`,
//! `approve` or `reject`.

use crate::commands::record_decision;
use crate::context::Context;
use crate::failure::Failure;
use crate::input::{self, TypedLine as Line};
use crate::live::Live;
use crate::signals::CancelSignals;
use crate::ui;
use runbook_engine::model::{Approval, Manual, SelfApproval, TypedAnswer};
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

/// How often the journal is read for the approvals of other people.
const DECISION_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What happens to the run after the operator was asked.
pub enum PromptOutcome {
    /// It is resumed, with these decisions about unknown outcomes.
    Resume(BTreeMap<StepId, Decision>),
    /// It stays paused.
    StayPaused,
}

/// Asks the operator at the terminal about a paused run.
pub struct OperatorPrompt<'a> {
    /// The environment of the program.
    pub context: &'a Context,
    /// Where the decisions are recorded.
    pub journal: &'a SqlJournal,
    /// The run that waits.
    pub run: RunId,
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The signals that interrupt a question, such as Ctrl-C.
    pub signals: &'a CancelSignals,
}

impl OperatorPrompt<'_> {
    /// Asks for every decision that the run waits for.
    pub async fn ask(&self, live: &mut Live, state: RunState) -> Result<PromptOutcome, Failure> {
        if !self.context.interactive || !self.signals.has_terminal() || self.signals.is_cancelled()
        {
            return Ok(PromptOutcome::StayPaused);
        }
        live.note_questions();
        match state.paused.clone() {
            Some(PauseReason::Manual { steps }) => self.ask_manual(live, state, &steps).await,
            Some(PauseReason::Approval { steps }) => self.ask_approvals(live, state, &steps).await,
            Some(PauseReason::UnknownOutcome { steps }) => self.ask_decisions(&state, &steps).await,
            Some(
                PauseReason::Guard { .. }
                | PauseReason::LeaseLost { .. }
                | PauseReason::OutsideWindow { .. }
                | PauseReason::Interrupted,
            )
            | None => Ok(PromptOutcome::StayPaused),
        }
    }

    async fn ask_manual(
        &self,
        live: &mut Live,
        mut state: RunState,
        steps: &[StepId],
    ) -> Result<PromptOutcome, Failure> {
        for step in steps {
            let Some(manual) = self.plan.step(step).and_then(|step| step.manual.as_ref()) else {
                return Ok(PromptOutcome::StayPaused);
            };
            let asked_at = state.step(step).manual.as_ref().map(|manual| manual.asked);
            let time_left = time_left(manual, asked_at);
            let instructions = live.instructions(step).to_owned();
            let Ok(values) =
                tokio::time::timeout(time_left, self.ask_form(step, manual, &instructions)).await
            else {
                // The resumed run notices the timeout itself.
                return Ok(PromptOutcome::Resume(BTreeMap::new()));
            };
            let Some(values) = values else { return Ok(PromptOutcome::StayPaused) };
            let event = ManualEvent::Answered { by: self.context.operator.clone(), values }
                .of(step.clone());
            state = self.record(live, state, event).await?;
        }
        Ok(PromptOutcome::Resume(BTreeMap::new()))
    }

    /// Asks for each field of a manual step until its value is valid. `None` if the operator leaves
    /// the step open.
    async fn ask_form(
        &self,
        step: &StepId,
        manual: &Manual,
        instructions: &str,
    ) -> Option<runbook_engine::Json> {
        let indented: String = instructions.lines().map(|line| format!("\n    {line}")).collect();
        ui::print_stderr(&ui::wrapped(&format!(
            "\nStep `{step}` is yours:{indented}\nCtrl-C leaves it open; the run then waits."
        )));
        let mut values: Vec<(String, String)> = Vec::new();
        for (name, kind) in &manual.form {
            let question = format!("  {name} ({}): ", kind.name());
            let text = self
                .ask_until_valid(&question, |text| manual.parse_field(name, text).map(drop))
                .await?;
            values.push((name.clone(), text));
        }
        let choice = if manual.choices.is_empty() {
            None
        } else {
            let question = format!("  choose one of {}: ", manual.choices.join(", "));
            Some(self.ask_until_valid(&question, |text| manual.parse_choice(text).map(drop)).await?)
        };
        let wanted = manual.confirm.as_deref().unwrap_or("done");
        let check_word = |text: &str| {
            if text == wanted { Ok(()) } else { Err(format!("that is not `{wanted}`")) }
        };
        let confirm = self
            .ask_until_valid(&format!("  type `{wanted}` when it is done: "), check_word)
            .await?;
        let confirm = manual.confirm.is_some().then_some(confirm);
        match manual.parse_answer(&TypedAnswer {
            values: &values,
            choice: choice.as_deref(),
            confirm: confirm.as_deref(),
        }) {
            Ok(values) => Some(values),
            Err(problems) => {
                ui::print_stderr(&format!("  nothing was written: {}", problems.join("; ")));
                None
            }
        }
    }

    /// Asks until the answer is valid.
    async fn ask_until_valid(
        &self,
        question: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        loop {
            let text = self.ask_line(question).await?;
            match check(&text) {
                Ok(()) => return Some(text),
                Err(why) => {
                    ui::print_stderr(&ui::wrapped(&format!("  {why}; nothing was written")));
                }
            }
        }
    }

    async fn ask_approvals(
        &self,
        live: &mut Live,
        mut state: RunState,
        steps: &[StepId],
    ) -> Result<PromptOutcome, Failure> {
        for step in steps {
            let Some(approval) = self.plan.approval(step) else {
                return Ok(PromptOutcome::StayPaused);
            };
            let Some(request) = state.step(step).approval.asked.clone() else {
                return Ok(PromptOutcome::StayPaused);
            };
            if self.may_approve(approval) {
                let Some(verdict) = self.ask_verdict(step, &request).await else {
                    return Ok(PromptOutcome::StayPaused);
                };
                let (digest, by) = (request.digest, self.context.operator.clone());
                state = self
                    .record(
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

    /// Whether the operator, who has started the run, may approve a step of it.
    fn may_approve(&self, approval: &Approval) -> bool {
        approval.self_approval == SelfApproval::Counts
            && approval.may_answer(&self.context.operator)
    }

    /// Asks for the verdict about a step. `None` if the operator leaves it open.
    async fn ask_verdict(
        &self,
        step: &StepId,
        request: &ApprovalRequest,
    ) -> Option<ApprovalVerdict> {
        ui::print_stderr(&ui::wrapped(&format!("\n{}", describe_request(step, self.run, request))));
        let approve = format!("approve {step}");
        loop {
            let question = format!(
                "  type `{approve}` to let it happen, `reject` to refuse it; Enter leaves it open: "
            );
            match self.ask_line(&question).await?.as_str() {
                "" => return None,
                "reject" => {
                    let require_reason = |text: &str| {
                        if text.is_empty() { Err("a reason is needed".to_owned()) } else { Ok(()) }
                    };
                    let reason = self
                        .ask_until_valid("  why, for those who read the report: ", require_reason)
                        .await?;
                    return Some(ApprovalVerdict::Rejected { reason });
                }
                text if text == approve => return Some(ApprovalVerdict::Approved),
                _ => ui::print_stderr("  that is none of them; nothing was written"),
            }
        }
    }

    /// Waits until other people have approved or rejected the steps.
    async fn wait_for_others(
        &self,
        mut state: RunState,
        steps: &[StepId],
    ) -> Result<PromptOutcome, Failure> {
        let open_commands = |state: &RunState| -> Vec<String> {
            let open_steps = steps.iter().filter(|step| {
                !self
                    .plan
                    .approval(step)
                    .is_none_or(|known| known.is_answered(&state.step(step).approval))
            });
            open_steps
                .map(|step| {
                    format!(
                        "`runbook approve {} {}`",
                        self.run.short(),
                        runbook_text::shell_argument(step.as_str())
                    )
                })
                .collect()
        };
        let waiting = open_commands(&state);
        if !waiting.is_empty() {
            ui::print_stderr(&format!(
                "\nwaiting for somebody else: {}; Ctrl-C leaves the run waiting",
                waiting.join(", ")
            ));
        }
        while !open_commands(&state).is_empty() {
            tokio::select! {
                () = tokio::time::sleep(DECISION_POLL_INTERVAL) => {}
                () = self.signals.cancel.raised_above(CancelLevel::None) => return Ok(PromptOutcome::StayPaused),
                () = self.signals.hung_up() => return Ok(PromptOutcome::StayPaused),
            }
            let stored = self.journal.load(self.run).await.map_err(Failure::engine)?;
            state = fold(&stored.records)
                .map_err(Failure::engine)?
                .ok_or_else(|| Failure::engine("the run has no record"))?;
        }
        Ok(PromptOutcome::Resume(BTreeMap::new()))
    }

    async fn ask_decisions(
        &self,
        state: &RunState,
        steps: &[StepId],
    ) -> Result<PromptOutcome, Failure> {
        let mut decisions = BTreeMap::new();
        for step in steps {
            ui::print_stderr(&format!("\n{}", describe_unknown_outcome(state, step)));
            let possible_decisions = Decision::ALL
                .iter()
                .filter(|(decision, ..)| is_possible_decision(state, *decision));
            let words: Vec<String> = possible_decisions
                .map(|(_, word, meaning)| format!("`{word}` ({meaning})"))
                .collect();
            let question =
                format!("  did `{step}` happen? type {}; Enter leaves it open: ", words.join(", "));
            let decision = loop {
                let Some(text) = self.ask_line(&question).await else {
                    return Ok(PromptOutcome::StayPaused);
                };
                if text.is_empty() {
                    return Ok(PromptOutcome::StayPaused);
                }
                match Decision::named(&text)
                    .filter(|decision| is_possible_decision(state, *decision))
                {
                    Some(decision) => break decision,
                    None => ui::print_stderr("  that is none of them; nothing was decided"),
                }
            };
            decisions.insert(step.clone(), decision);
        }
        Ok(PromptOutcome::Resume(decisions))
    }

    /// Records an event in the journal and shows it.
    async fn record(
        &self,
        live: &mut Live,
        state: RunState,
        event: RunEvent,
    ) -> Result<RunState, Failure> {
        let (state, record) = record_decision::append(self.journal, self.run, state, event).await?;
        live.show(&record);
        Ok(state)
    }

    /// Asks a question and reads one line, trimmed. `None` if the terminal is gone or Ctrl-C was
    /// pressed.
    async fn ask_line(&self, question: &str) -> Option<String> {
        loop {
            input::discard_typed();
            ui::prompt(question);
            let typed = tokio::select! {
                typed = input::next_line() => typed,
                () = self.signals.cancel.raised_above(CancelLevel::None) => return None,
                () = self.signals.hung_up() => return None,
            };
            match typed {
                Line::Line(text) => return Some(text),
                Line::NotText => ui::print_stderr("  that is not text; nothing was written"),
                Line::Gone => return None,
            }
        }
    }
}

/// The time until the step's timeout; a day if it has none.
fn time_left(manual: &Manual, asked_at: Option<jiff::Timestamp>) -> Duration {
    let day = Duration::from_hours(24);
    let Some((timeout, asked_at)) = manual.timeout.zip(asked_at) else { return day };
    let waited =
        Duration::try_from(jiff::Timestamp::now().duration_since(asked_at)).unwrap_or_default();
    // A little longer, so that the timeout has passed for the run too, which has its own clock.
    timeout.saturating_sub(waited) + Duration::from_millis(100)
}

/// The whole plan of a step as text, because the approval is for exactly this plan.
pub fn describe_request(step: &StepId, run: RunId, request: &ApprovalRequest) -> String {
    let ApprovalRequest { digest, input, proposal, places } = request;
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
    let _ = writeln!(text, "  input  {}", json_line(input));
    let before_text = if proposal.before.is_null() {
        "nothing that its plugin can see".to_owned()
    } else {
        json_line(&proposal.before)
    };
    let _ = writeln!(text, "  there  {before_text}");
    let _ = write!(text, "  digest {digest}");
    text
}

/// A value as JSON in one line, with invisible characters as escapes.
fn json_line(value: &Json) -> String {
    runbook_text::json(&value.to_string()).into_owned()
}

/// Whether a decision is possible now: a run that is being undone cannot retry a step.
fn is_possible_decision(state: &RunState, decision: Decision) -> bool {
    decision != Decision::Retry || state.stage != Stage::Undo
}

/// What is known about a step whose outcome is unknown.
fn describe_unknown_outcome(state: &RunState, step: &StepId) -> String {
    let mut text = format!("It is unknown whether `{step}` took effect.");
    if let Some(Question { known, before, now }) = &state.step(step).question {
        let _ = write!(
            text,
            "\n  known   {}\n  before  {}",
            runbook_text::line(known),
            json_line(before)
        );
        if let Some(now) = now {
            let _ = write!(text, "\n  now     {}", json_line(now));
        }
    }
    text
}
