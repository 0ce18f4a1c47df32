//! `runbook approve` and `runbook reject`: record the approval or rejection of a waiting step.

use super::record_decision::{self, OperatorDecision};
use super::resume::{load, rebuild};
use crate::completion;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepare::Strictness;
use crate::question;
use crate::{execution, interactive, ui};
use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::ArgValueCompleter;
use runbook_engine::model::{Approval, person_of};
use runbook_engine::{
    ApprovalEvent, ApprovalRecord, ApprovalRequest, ApprovalVerdict, ChangePolicy, PauseReason,
    Plan, RunId, RunState, StepId, StoredRun, fold,
};
use runbook_journal::SqlJournal;
use std::time::Duration;

/// The arguments of `runbook approve`.
#[derive(Debug, ClapArgs)]
pub struct ApproveArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// The step that waits for approval
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::steps))]
    pub step: String,
    /// Do not ask; what is approved is still shown
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// The arguments of `runbook reject`.
#[derive(Debug, ClapArgs)]
pub struct RejectArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// The step that waits for approval
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::steps))]
    pub step: String,
    /// Why, for those who read the report
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub reason: String,
}

/// Shows the plan of a waiting step, and records that the operator approves it.
pub fn approve(context: &Context, args: &ApproveArgs) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let pending = PendingApproval::find(context, &journal, &args.run, &args.step).await?;
        if pending.was_approved_by(&context.operator) {
            let how_to_continue =
                record_decision::how_to_continue(&pending.plan, pending.run, &pending.state);
            ui::report_done(&format!(
                "step `{}` is approved by you already, and a person counts once; {how_to_continue}",
                pending.step
            ));
            return Ok(ExitStatus::Success);
        }
        ui::print_stderr(&interactive::describe_request(
            &pending.step,
            pending.run,
            &pending.request,
        ));
        let question = format!("Approve this for step `{}`?", pending.step);
        if !question::confirm(context, &question, question::Consent::by_flag(args.yes))? {
            return Err(Failure::usage("nothing was recorded, as you answered"));
        }
        pending.answer(context, &journal, ApprovalVerdict::Approved).await
    })
}

/// Records that the operator rejects the plan of a waiting step.
pub fn reject(context: &Context, args: &RejectArgs) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let pending = PendingApproval::find(context, &journal, &args.run, &args.step).await?;
        pending
            .answer(context, &journal, ApprovalVerdict::Rejected { reason: args.reason.clone() })
            .await
    })
}

/// A step that waits for approval, with its run and plan.
struct PendingApproval {
    run: RunId,
    step: StepId,
    request: ApprovalRequest,
    expires: Option<Duration>,
    state: RunState,
    plan: Plan,
}

impl PendingApproval {
    async fn find(
        context: &Context,
        journal: &SqlJournal,
        run: &str,
        step: &str,
    ) -> Result<Self, Failure> {
        let (run, stored) = load(journal, run).await?;
        let state = fold(&stored.records)
            .map_err(Failure::engine)?
            .ok_or_else(|| Failure::usage("the run has no record"))?;
        let Some(PauseReason::Approval { steps }) = &state.paused else {
            return Err(Failure::usage(format!("run {} does not wait for approval", run.short()))
                .hint(format!("see `runbook show {}`", run.short())));
        };
        let step = StepId::new(step);
        let Some(request) =
            steps.contains(&step).then(|| state.step(&step).approval.asked.clone()).flatten()
        else {
            let waiting: Vec<_> = steps.iter().map(|step| format!("`{step}`")).collect();
            return Err(Failure::usage(format!(
                "step `{step}` does not wait for approval; these do: {}",
                waiting.join(", ")
            )));
        };
        let (approval, plan) = may_answer(context, &stored, &step)?;
        let expires = approval.expires;
        let mut given = state
            .step(&step)
            .approval
            .answers
            .iter()
            .filter(|given| given.digest == request.digest);
        if let Some((by, reason)) = given.find_map(rejection) {
            let run = run.short();
            return Err(Failure::usage(format!(
                "step `{step}` is rejected already, by {by}: {reason}"
            ))
            .hint(format!(
                "`runbook resume {run}` goes on without it, as the runbook says; \
                 `runbook cancel {run}` ends the run"
            )));
        }
        Ok(Self { run, step, request, expires, state, plan })
    }

    /// Whether this person has approved it already, and the approval has not expired.
    fn was_approved_by(&self, operator: &str) -> bool {
        let now = jiff::Timestamp::now();
        self.state.step(&self.step).approval.answers.iter().any(|given| {
            given.digest == self.request.digest
                && given.verdict == ApprovalVerdict::Approved
                && person_of(&given.by) == person_of(operator)
                && self
                    .expires
                    .is_none_or(|expires| now.duration_since(given.at).unsigned_abs() <= expires)
        })
    }

    async fn answer(
        self,
        context: &Context,
        journal: &SqlJournal,
        verdict: ApprovalVerdict,
    ) -> Result<ExitStatus, Failure> {
        let verb = match &verdict {
            ApprovalVerdict::Approved => "approved",
            ApprovalVerdict::Rejected { .. } => "rejected",
        };
        let (digest, by) = (self.request.digest.clone(), context.operator.clone());
        let event = ApprovalEvent::Given { digest, by, verdict }.of(self.step.clone());
        record_decision::write(
            context,
            journal,
            &self.plan,
            (self.run, self.state),
            OperatorDecision { verb, event },
        )
        .await?;
        Ok(ExitStatus::Success)
    }
}

/// Who has rejected the step, and why; `None` for an approval.
fn rejection(given: &ApprovalRecord) -> Option<(&str, &str)> {
    match &given.verdict {
        ApprovalVerdict::Rejected { reason } => Some((&given.by, reason)),
        ApprovalVerdict::Approved => None,
    }
}

/// The step's `approval`, and the plan. Fails if this operator may neither approve nor reject.
fn may_answer(
    context: &Context,
    stored: &StoredRun,
    step: &StepId,
) -> Result<(Approval, Plan), Failure> {
    let (_, plan) = rebuild(context, stored, ChangePolicy::Refuse, Strictness::BoundaryOnly)?;
    let Some(approval) = plan.approval(step).cloned() else {
        return Err(Failure::engine(format!("step `{step}` asks for no approval")));
    };
    let starter = &stored.header.operator;
    if !approval.counts(&context.operator, starter) {
        let (operator, person) = (&context.operator, person_of(starter));
        return Err(Failure::refused(format!(
            "you are {operator}, {person} started the run, and `not_self` asks for somebody else"
        )));
    }
    if !approval.may_answer(&context.operator) {
        let names = approval.approvers.join(", ");
        return Err(Failure::refused(format!(
            "{} is none of the approvers: {names}",
            context.operator
        )));
    }
    Ok((approval, plan))
}
