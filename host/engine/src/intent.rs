//! Decides what a step does when it begins, from the plan and the values of templates. A run and a
//! dry run use the same function.

use crate::event::Item;
use crate::model::Manual;
use crate::plan::{ListError, ParamsError, Plan, PlannedStep};
use crate::template::{self, Scope, TemplateError};
use runbook_contract::{ErrorClass, Fault, Json};
use std::collections::BTreeMap;

/// What a step does when it begins.
#[derive(Debug)]
pub(crate) enum Intent<'a> {
    /// It is skipped: its `when` is false.
    Skip,
    /// A person does it.
    Ask(&'a Manual),
    /// It runs once for each of these.
    List(Vec<Item>),
    /// It begins the nested file that it stands for.
    Open {
        /// The `params` of the steps of the file.
        params: serde_json::Map<String, Json>,
        /// The parameters whose value comes from a truncated output, each with the name of that
        /// output.
        truncated_params: BTreeMap<String, String>,
    },
    /// Its operation is called.
    Call {
        /// The input of the operation, with all templates filled in.
        input: Json,
    },
}

/// Why a step cannot begin.
#[derive(Debug)]
pub(crate) enum IntentError {
    /// Its `when` cannot be evaluated.
    When(TemplateError),
    /// Its items cannot be listed.
    Items(ListError),
    /// The `params` of its nested file have no value, or do not fit.
    Params(ParamsError),
    /// Its `with` cannot be rendered.
    Input(TemplateError),
    /// What it would do was rejected by an approver.
    Refused(Fault),
}

impl IntentError {
    /// The error of the template that has no value, if that is the reason.
    pub(crate) fn template(&self) -> Option<&TemplateError> {
        match self {
            Self::When(error)
            | Self::Input(error)
            | Self::Items(ListError::Template(error))
            | Self::Params(ParamsError::Template(error)) => Some(error),
            Self::Items(ListError::Invalid(_) | ListError::Truncated(_))
            | Self::Params(ParamsError::Invalid(_))
            | Self::Refused(_) => None,
        }
    }

    /// The fault with which the attempt ends; its message names the key that is wrong.
    pub(crate) fn into_fault(self) -> Fault {
        let invalid = |code: &str, key: &str, error: &dyn std::error::Error| {
            Fault::new(ErrorClass::Invalid, code, format!("`{key}`: {error}"))
        };
        match self {
            Self::When(error) => invalid("engine.template", "when", &error),
            Self::Input(error) => invalid("engine.template", "with", &error),
            Self::Params(error @ ParamsError::Template(_)) => {
                invalid("engine.template", "with", &error)
            }
            Self::Params(error @ ParamsError::Invalid(_)) => {
                invalid("engine.params", "with", &error)
            }
            Self::Items(error) => error.into_fault(),
            Self::Refused(fault) => fault,
        }
    }
}

/// What a step does with its next attempt. `refusal` is a reason why it must not begin although its
/// `when` holds.
///
/// `when` is evaluated before the first attempt only; if it refers to the item, for each item.
pub(crate) fn intent<'a>(
    plan: &Plan,
    step: &'a PlannedStep,
    attempt: u32,
    refusal: Option<Fault>,
    scope: &Scope<'_>,
) -> Result<Intent<'a>, IntentError> {
    let refers_to_item =
        |when: &&String| step.for_each.as_ref().is_some_and(|for_each| for_each.is_named_in(when));
    if let (1, Some(when)) = (attempt, step.when.as_ref().filter(|when| !refers_to_item(when)))
        && !template::holds(when, scope).map_err(IntentError::When)?
    {
        return Ok(Intent::Skip);
    }
    if let Some(fault) = refusal {
        return Err(IntentError::Refused(fault));
    }
    if let Some(manual) = &step.manual {
        return Ok(Intent::Ask(manual));
    }
    if let Some(for_each) = &step.for_each {
        return for_each.list(scope).map(Intent::List).map_err(IntentError::Items);
    }
    if let Some(group) = plan.groups.get(&step.id) {
        let params = group.params_in(scope).map_err(IntentError::Params)?;
        return Ok(Intent::Open { params, truncated_params: group.truncated_params_in(scope) });
    }
    template::render(&step.with, scope)
        .map(|input| Intent::Call { input })
        .map_err(IntentError::Input)
}
