//! Inputs of which only a part is known, because their templates are not rendered yet. The known
//! part can be compared with the schema of the operation.

use crate::model::{Param, ParamType};
use crate::template::markers::{has_markers, sole_expression};
use runbook_contract::Json;

/// An input of which some values are not known yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialInput {
    /// The input. A template without a known value is still in it as it is written.
    pub value: Json,
    /// JSON pointers of the values that are not known.
    pub unknown: Vec<String>,
    /// JSON pointers of the values of which only the type is known. In the input, they are samples
    /// of that type.
    pub sample_places: Vec<String>,
}

/// One thing that does not fit the schema of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The place in the input, as a JSON pointer.
    pub pointer: String,
    /// The unknown key at that place, if that is what does not fit.
    pub key: Option<String>,
    /// What is wrong, without the value itself.
    pub reason: String,
    /// The nearest name that would fit, if there is one.
    pub help: Option<String>,
    /// The kind of the problem.
    pub kind: MisfitKind,
}

/// The kind of problem with a value in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MisfitKind {
    /// Its type or its keys do not fit.
    Structure,
    /// None of several alternatives of the schema fits.
    Choice,
    /// The value itself does not fit: a pattern, a limit, a list of values.
    Value,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pointer.as_str() {
            "" => write!(f, "{}", self.reason),
            pointer => write!(f, "at `{pointer}`: {}", self.reason),
        }
    }
}

impl PartialInput {
    /// The misfits that remain whatever the unknown values will be.
    pub fn certain_misfits<'m, 'k: 'm>(
        &'k self,
        misfits: &'m [Misfit],
    ) -> impl Iterator<Item = &'m Misfit> {
        let is_within = move |misfit: &Misfit, places: &[String]| {
            places.iter().any(|place| is_below(&misfit.pointer, place))
        };
        let overlaps = move |misfit: &Misfit, places: &[String]| {
            places
                .iter()
                .any(|place| is_below(&misfit.pointer, place) || is_below(place, &misfit.pointer))
        };
        misfits.iter().filter(move |misfit| match misfit.kind {
            MisfitKind::Structure => !is_within(misfit, &self.unknown),
            MisfitKind::Value | MisfitKind::Choice => {
                !overlaps(misfit, &self.unknown) && !overlaps(misfit, &self.sample_places)
            }
        })
    }

    fn sample_for_template(text: &str, params: &[Param]) -> SampleValue {
        let Some(inner) = sole_expression(text) else {
            // A template with text around it renders to a text.
            return SampleValue::Value(Json::from("text"));
        };
        let param =
            param_name(inner).and_then(|name| params.iter().find(|param| param.name.name == name));
        param.map_or(SampleValue::Unknown, |param| SampleValue::Value(sample_value(param)))
    }

    fn sample_templates(value: &Json, params: &[Param], pointer: &str, partial: &mut Self) -> Json {
        match value {
            Json::String(text) if has_markers(text) => {
                match Self::sample_for_template(text, params) {
                    SampleValue::Value(sample) => {
                        partial.sample_places.push(pointer.to_owned());
                        sample
                    }
                    SampleValue::Unknown => {
                        partial.unknown.push(pointer.to_owned());
                        value.clone()
                    }
                }
            }
            Json::Array(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(number, item)| {
                        Self::sample_templates(
                            item,
                            params,
                            &format!("{pointer}/{number}"),
                            partial,
                        )
                    })
                    .collect()
            }
            Json::Object(entries) => entries
                .iter()
                .map(|(key, value)| {
                    (
                        key.clone(),
                        Self::sample_templates(value, params, &below(pointer, key), partial),
                    )
                })
                .collect(),
            Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        }
    }

    /// The known part of an input before the parameters have values: the type of `{{ params.NAME
    /// }}`, and that a template with text around it is a text.
    pub fn from_types(with: &Json, params: &[Param]) -> Self {
        let mut partial =
            Self { value: Json::Null, unknown: Vec::new(), sample_places: Vec::new() };
        partial.value = Self::sample_templates(with, params, "", &mut partial);
        partial
    }
}

/// The name of the parameter, if the whole text is `{{ params.NAME }}`.
pub fn sole_param(text: &str) -> Option<&str> {
    param_name(sole_expression(text)?)
}

fn param_name(expression: &str) -> Option<&str> {
    let name = expression.trim().strip_prefix("params.")?;
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
}

/// The JSON pointer of a key below a pointer.
pub(crate) fn below(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn is_below(pointer: &str, place: &str) -> bool {
    pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

enum SampleValue {
    Value(Json),
    Unknown,
}

/// A sample value of the type of a parameter.
fn sample_value(param: &Param) -> Json {
    match param.kind {
        ParamType::Int => Json::from(1),
        ParamType::Float => Json::from(1.5),
        ParamType::Bool => Json::from(true),
        ParamType::List => Json::from(vec!["text"]),
        ParamType::String
        | ParamType::Duration
        | ParamType::Size
        | ParamType::Timestamp
        | ParamType::Enum => Json::from("text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_misfit_is_certain_if_no_unknown_value_can_mend_it() {
        let known = PartialInput {
            value: json!({}),
            unknown: vec!["/a/1".to_owned()],
            sample_places: vec!["/b".to_owned()],
        };
        let is_certain = |pointer: &str, kind| {
            let misfit = Misfit {
                pointer: pointer.to_owned(),
                key: None,
                reason: String::new(),
                help: None,
                kind,
            };
            known.certain_misfits(&[misfit]).next().is_some()
        };
        assert!(
            !is_certain("/a/1", MisfitKind::Structure)
                && !is_certain("/a/1/x", MisfitKind::Structure)
        );
        assert!(
            is_certain("/a/10", MisfitKind::Structure) && is_certain("/a", MisfitKind::Structure)
        );
        assert!(is_certain("/b", MisfitKind::Structure) && !is_certain("/b", MisfitKind::Value));
        assert!(!is_certain("", MisfitKind::Choice) && is_certain("/c", MisfitKind::Choice));
        assert!(is_certain("/c", MisfitKind::Value) && !is_certain("/a", MisfitKind::Value));
    }
}
