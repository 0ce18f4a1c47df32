//! `runbook answer`: records the answer to a manual step.

use super::record_decision::{self, OperatorDecision};
use super::resume::{load, rebuild};
use crate::completion;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepare::Strictness;
use crate::value_parsers::parameter;
use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::ArgValueCompleter;
use runbook_engine::model::TypedAnswer;
use runbook_engine::{ChangePolicy, ManualEvent, PauseReason, StepId, fold};

/// The arguments of `runbook answer`.
#[derive(Debug, ClapArgs)]
pub struct AnswerArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// The manual step that is done
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::steps))]
    pub step: String,
    /// A value of its form; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    pub set: Vec<(String, String)>,
    /// One of its choices
    #[arg(long)]
    pub choice: Option<String>,
    /// The text that the step asks you to type, exactly
    #[arg(long)]
    pub confirm: Option<String>,
}

/// Records the answer in the journal of a run that waits for it.
pub fn run(context: &Context, args: &AnswerArgs) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run).await?;
        let state = fold(&stored.records)
            .map_err(Failure::engine)?
            .ok_or_else(|| Failure::usage("the run has no record"))?;
        let step = StepId::new(args.step.as_str());
        let waiting: Vec<_> = match &state.paused {
            Some(PauseReason::Manual { steps }) => steps
                .iter()
                .filter(|step| state.step(step).manual_answer().is_none())
                .cloned()
                .collect(),
            Some(_) | None => Vec::new(),
        };
        if !waiting.contains(&step) {
            let failure = Failure::usage(format!(
                "step `{step}` of run {} does not wait for an answer",
                run.short()
            ));
            let names: Vec<_> = waiting.iter().map(|step| format!("`{step}`")).collect();
            let hint = if names.is_empty() {
                format!("see `runbook show {}`", run.short())
            } else {
                format!("these do: {}", names.join(", "))
            };
            return Err(failure.hint(hint));
        }
        let (_, plan) = rebuild(context, &stored, ChangePolicy::Refuse, Strictness::BoundaryOnly)?;
        let manual = plan.step(&step).and_then(|step| step.manual.clone());
        let manual =
            manual.ok_or_else(|| Failure::engine(format!("step `{step}` is no manual step")))?;
        let typed = TypedAnswer {
            values: &args.set,
            choice: args.choice.as_deref(),
            confirm: args.confirm.as_deref(),
        };
        let values = manual.parse_answer(&typed).map_err(|problems| {
            let failure = Failure::usage(format!(
                "the answer of step `{step}` does not fit; nothing was written"
            ));
            problems.into_iter().fold(failure, Failure::hint)
        })?;
        let event = ManualEvent::Answered { by: context.operator.clone(), values }.of(step.clone());
        record_decision::write(
            context,
            &journal,
            &plan,
            (run, state),
            OperatorDecision { verb: "answered", event },
        )
        .await?;
        Ok(ExitStatus::Success)
    })
}
