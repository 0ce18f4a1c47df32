//! What a step does when it begins: decided by plan and templates alone. A run and a dry run use
//! the same function; only what templates see, and what follows, differs.

use crate::event::Item;
use crate::model::Manual;
use crate::plan::{ListError, ParamsError, Plan, PlannedStep};
use crate::template::{self, Scope, TemplateError};
use runbook_contract::{ErrorClass, Fault, Json};
use std::collections::BTreeMap;

/// The intent of a step.
#[derive(Debug)]
pub(crate) enum Intent<'a> {
    /// Nothing: its `when` is false.
    Skip,
    /// A person does it.
    Ask(&'a Manual),
    /// It runs once for each of these.
    List(Vec<Item>),
    /// It opens the nested file that it stands for.
    Open {
        /// What the steps of the file see as `params`.
        params: serde_json::Map<String, Json>,
        /// The parameters that come from an output which was cut off, with the name of that output.
        cut: BTreeMap<String, String>,
    },
    /// Its operation is called.
    Call {
        /// The input that the operation is given, with all templates filled in.
        input: Json,
    },
}

/// Why a step cannot be begun.
#[derive(Debug)]
pub(crate) enum NoIntent {
    /// Its `when` has no value.
    When(TemplateError),
    /// Its items are not known.
    Items(ListError),
    /// What the nested file would be given is not known, or does not fit.
    Params(ParamsError),
    /// Its `with` has no value.
    Input(TemplateError),
    /// What it would be called with was refused.
    Refused(Fault),
}

impl NoIntent {
    /// What a template says that has no value.
    pub(crate) fn template(&self) -> Option<&TemplateError> {
        match self {
            Self::When(error)
            | Self::Input(error)
            | Self::Items(ListError::Template(error))
            | Self::Params(ParamsError::Template(error)) => Some(error),
            Self::Items(ListError::Invalid(_) | ListError::Cut(_))
            | Self::Params(ParamsError::Invalid(_))
            | Self::Refused(_) => None,
        }
    }

    /// The same as an attempt ends with it: with the key that is wrong.
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

/// What a step does with its next attempt, by what templates see now. `refusal` is why it must not
/// begin although its `when` holds.
///
/// A condition is evaluated before the first attempt only; one that names the item is evaluated for
/// each item.
pub(crate) fn intent<'a>(
    plan: &Plan,
    step: &'a PlannedStep,
    attempt: u32,
    refusal: Option<Fault>,
    scope: &Scope<'_>,
) -> Result<Intent<'a>, NoIntent> {
    let is_of_items =
        |when: &&String| step.for_each.as_ref().is_some_and(|for_each| for_each.is_named_in(when));
    if let (1, Some(when)) = (attempt, step.when.as_ref().filter(|when| !is_of_items(when)))
        && !template::holds(when, scope).map_err(NoIntent::When)?
    {
        return Ok(Intent::Skip);
    }
    if let Some(fault) = refusal {
        return Err(NoIntent::Refused(fault));
    }
    if let Some(manual) = &step.manual {
        return Ok(Intent::Ask(manual));
    }
    if let Some(for_each) = &step.for_each {
        return for_each.list(scope).map(Intent::List).map_err(NoIntent::Items);
    }
    if let Some(group) = plan.groups.get(&step.id) {
        let params = group.params_in(scope).map_err(NoIntent::Params)?;
        return Ok(Intent::Open { params, cut: group.cut_in(scope) });
    }
    template::render(&step.with, scope).map(|input| Intent::Call { input }).map_err(NoIntent::Input)
}
