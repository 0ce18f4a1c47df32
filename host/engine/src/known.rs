//! What is known of an input before its templates are rendered. That much can be compared with the
//! schema of its operation.

use crate::model::{Param, ParamType};
use crate::template::markers::{has_markers, sole_expression};
use runbook_contract::Json;

/// An input with places whose values are not known yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The input; what is not known stands in it as it is written.
    pub value: Json,
    /// JSON pointers of the places whose value is not known.
    pub unknown: Vec<String>,
    /// JSON pointers of the places whose type is known, and whose value stands for any of that
    /// type.
    pub sampled: Vec<String>,
}

/// One thing that does not fit the schema of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// The key there that it is about, if it is not the place itself: one that is not known.
    pub key: Option<String>,
    /// What is wrong, without the value itself.
    pub reason: String,
    /// The nearest name that would fit, if there is one.
    pub help: Option<String>,
    /// What kind of thing it is.
    pub kind: MisfitKind,
}

/// What is wrong with a place of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MisfitKind {
    /// Its type, or which keys it has.
    Structure,
    /// None of several forms fits; which one was meant depends on what is in it.
    Choice,
    /// The value itself: a pattern, a limit, a list of values.
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

impl Known {
    /// The misfits that remain whatever the unknown places become.
    pub fn certain<'m, 'k: 'm>(
        &'k self,
        misfits: &'m [Misfit],
    ) -> impl Iterator<Item = &'m Misfit> {
        let within = move |misfit: &Misfit, places: &[String]| {
            places.iter().any(|place| is_below(&misfit.pointer, place))
        };
        let touches = move |misfit: &Misfit, places: &[String]| {
            places
                .iter()
                .any(|place| is_below(&misfit.pointer, place) || is_below(place, &misfit.pointer))
        };
        misfits.iter().filter(move |misfit| match misfit.kind {
            MisfitKind::Structure => !within(misfit, &self.unknown),
            MisfitKind::Value | MisfitKind::Choice => {
                !touches(misfit, &self.unknown) && !touches(misfit, &self.sampled)
            }
        })
    }

    fn of_template(text: &str, params: &[Param]) -> Sampled {
        let Some(inner) = sole_expression(text) else {
            // Text around a template makes a text of it.
            return Sampled::Value(Json::from("text"));
        };
        let param =
            param_name(inner).and_then(|name| params.iter().find(|param| param.name.name == name));
        param.map_or(Sampled::Unknown, |param| Sampled::Value(sample_of(param)))
    }

    fn walk(value: &Json, params: &[Param], pointer: &str, known: &mut Self) -> Json {
        match value {
            Json::String(text) if has_markers(text) => match Self::of_template(text, params) {
                Sampled::Value(sample) => {
                    known.sampled.push(pointer.to_owned());
                    sample
                }
                Sampled::Unknown => {
                    known.unknown.push(pointer.to_owned());
                    value.clone()
                }
            },
            Json::Array(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(number, item)| {
                        Self::walk(item, params, &format!("{pointer}/{number}"), known)
                    })
                    .collect()
            }
            Json::Object(entries) => entries
                .iter()
                .map(|(key, value)| {
                    (key.clone(), Self::walk(value, params, &below(pointer, key), known))
                })
                .collect(),
            Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        }
    }

    /// What is known of an input as it is written, before there are parameters: the type of
    /// `{{ params.NAME }}`, and that a template with text around it is a text.
    pub fn of_types(with: &Json, params: &[Param]) -> Self {
        let mut known = Self { value: Json::Null, unknown: Vec::new(), sampled: Vec::new() };
        known.value = Self::walk(with, params, "", &mut known);
        known
    }
}

/// The parameter that a text is, and nothing else: `{{ params.NAME }}`.
pub fn param_of(text: &str) -> Option<&str> {
    param_name(sole_expression(text)?)
}

fn param_name(expression: &str) -> Option<&str> {
    let name = expression.trim().strip_prefix("params.")?;
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
}

/// The pointer of a key below a pointer.
pub(crate) fn below(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn is_below(pointer: &str, place: &str) -> bool {
    pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

enum Sampled {
    Value(Json),
    Unknown,
}

/// A value of a parameter's type.
fn sample_of(param: &Param) -> Json {
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
    fn only_what_is_wrong_whatever_is_filled_in_is_certain() {
        let known = Known {
            value: json!({}),
            unknown: vec!["/a/1".to_owned()],
            sampled: vec!["/b".to_owned()],
        };
        let is_certain = |pointer: &str, kind| {
            let misfit = Misfit {
                pointer: pointer.to_owned(),
                key: None,
                reason: String::new(),
                help: None,
                kind,
            };
            known.certain(&[misfit]).next().is_some()
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
