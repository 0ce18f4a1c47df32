//! The parameters of a run: the values of `--set` and the defaults, typed and checked.

use crate::model::{Param, ParamType, Runbook};
use crate::parse::params::{
    parse_text as parse_param_text, parse_texts as parse_param_texts,
    parse_value as parse_param_json,
};
use crate::template::has_markers;
use runbook_contract::Json;
use runbook_document::{Diagnostic, Diagnostics, nearest};

/// The checked parameters of a runbook: none is missing, and each has its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Params(serde_json::Map<String, Json>);

impl Params {
    /// The values by name, in file order.
    pub fn values(&self) -> &serde_json::Map<String, Json> {
        &self.0
    }

    /// The parameters of a resumed run, which were checked when it started.
    pub fn from_journal(values: serde_json::Map<String, Json>) -> Self {
        Self(values)
    }
}

/// A value that somebody gives for a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenParam {
    /// The name of the parameter.
    pub name: String,
    /// The value that is given.
    pub value: GivenValue,
    /// Where it was given, for messages, such as `--set rows=5`.
    pub place: String,
}

/// A value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenValue {
    /// A text, which is parsed by the type of the parameter.
    Text(String),
    /// A JSON value, which must be of the type of the parameter.
    Json(Json),
}

impl GivenParam {
    /// The value of `--set NAME=TEXT`.
    pub fn set(name: &str, text: &str) -> Self {
        let value = GivenValue::Text(text.to_owned());
        Self { name: name.to_owned(), value, place: format!("--set {name}={text}") }
    }

    fn display_text(&self) -> String {
        match &self.value {
            GivenValue::Text(text) => text.clone(),
            GivenValue::Json(value) => value.to_string(),
        }
    }
}

/// The parameters of a run, from the values that were given and the defaults.
///
/// # Errors
/// Every unknown, missing and wrong parameter.
pub fn resolve_params(runbook: &Runbook, given: &[GivenParam]) -> Result<Params, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    for unknown_param in given.iter().filter(|given_param| {
        !runbook.params.iter().any(|param| param.name.name == given_param.name)
    }) {
        diagnostics.push(unknown_param_error(runbook, unknown_param));
    }
    let mut values = serde_json::Map::new();
    for param in &runbook.params {
        match param_value(runbook, param, given) {
            Ok(Some(value)) => {
                values.insert(param.name.name.clone(), value);
            }
            Ok(None) => {}
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    if diagnostics.is_empty() { Ok(Params(values)) } else { Err(diagnostics) }
}

/// Checks one value for a parameter.
///
/// # Errors
/// What is wrong with it, in one sentence.
pub fn check_param(param: &Param, text: &str) -> Result<(), String> {
    if param.kind == ParamType::List {
        return parse_param_texts(param, &[text]).map(drop).map_err(|(_, why)| why);
    }
    parse_param_text(param, text).map(drop)
}

/// The value of one parameter; `None` if it was not given and has no default. A list may be given
/// several times, and has all items; any other parameter only once.
fn param_value(
    runbook: &Runbook,
    param: &Param,
    given: &[GivenParam],
) -> Result<Option<Json>, Box<Diagnostic>> {
    let name = &param.name.name;
    let given: Vec<&GivenParam> =
        given.iter().filter(|given_param| given_param.name == *name).collect();
    let value_problem = |given_param: &GivenParam, why: String, help: String| {
        let message = format!("`{}`: {why}", given_param.place);
        let diagnostic =
            Diagnostic::error("E0216", runbook.source(), param.name.span.clone(), message);
        Box::new(diagnostic.label("declared here").help(help))
    };
    let help = || {
        param
            .help
            .clone()
            .unwrap_or_else(|| format!("give {} {}", param.kind.article(), param.kind.name()))
    };
    let texts: Option<Vec<&str>> =
        given.iter().map(|given_param| given_param.value.as_text()).collect();
    match (given.as_slice(), texts) {
        ([], _) => {}
        ([first, ..], Some(texts)) if param.kind == ParamType::List => {
            let parsed = parse_param_texts(param, &texts).map(Some);
            return parsed.map_err(|(text, why)| {
                let given_param = given
                    .iter()
                    .find(|given_param| given_param.value.as_text() == Some(&text))
                    .unwrap_or(first);
                value_problem(given_param, why, help())
            });
        }
        ([given_param], _) => {
            let parsed = match &given_param.value {
                GivenValue::Text(text) => parse_param_text(param, text),
                GivenValue::Json(value) => parse_param_json(param, value),
            };
            return parsed.map(Some).map_err(|why| value_problem(given_param, why, help()));
        }
        ([first, .., last], _) => {
            let why =
                format!("`{name}` was given before, as `{}`, and is no list", first.display_text());
            return Err(value_problem(last, why, "give it once".to_owned()));
        }
    }
    if !param.required {
        return Ok(param.default.clone());
    }
    let message = format!("parameter `{name}` is required");
    let diagnostic = Diagnostic::error("E0215", runbook.source(), param.name.span.clone(), message);
    let help_suffix = param.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    Err(Box::new(
        diagnostic
            .label("has no value")
            .help(format!("add `--set {name}={}`{help_suffix}", example(param))),
    ))
}

impl GivenValue {
    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Json(_) => None,
        }
    }
}

/// A value that fits the parameter, for help texts; `…` if none is found.
fn example(param: &Param) -> String {
    let limits = [&param.min, &param.max].into_iter().flatten();
    let limit_texts =
        limits.map(|limit| limit.as_str().map_or_else(|| limit.to_string(), str::to_owned));
    let candidates = std::iter::once(param.kind.example().to_owned())
        .chain(param.choices.iter().cloned())
        .chain(limit_texts);
    let mut fitting =
        candidates.filter(|text| parse_param_text(param, text).is_ok() && !text.contains(' '));
    fitting.next().unwrap_or_else(|| match &param.pattern {
        Some(pattern) => format!("…`, a value that matches `{}", pattern.value),
        None => "…".to_owned(),
    })
}

/// Whether the values that a step gives still contain templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateValues {
    /// Templates are not rendered yet, so values with templates are not checked.
    NotRendered,
    /// All values are rendered, and are checked.
    Rendered,
}

/// What is wrong with one parameter of a nested file.
pub(crate) struct Problem {
    /// The name of the parameter.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
}

/// The problems with the parameters that a step gives to a nested file.
pub(crate) fn problems(
    params: &[Param],
    given: &serde_json::Map<String, Json>,
    templates: TemplateValues,
) -> Vec<Problem> {
    read_nested_params(params, given, templates).1
}

/// The parameters of a nested file, from the values that its step gives.
///
/// # Errors
/// All problems, in one line.
pub(crate) fn nested_params(
    params: &[Param],
    given: &serde_json::Map<String, Json>,
) -> Result<serde_json::Map<String, Json>, String> {
    let (values, problems) = read_nested_params(params, given, TemplateValues::Rendered);
    let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
    if messages.is_empty() { Ok(values) } else { Err(messages.join("; ")) }
}

fn read_nested_params(
    params: &[Param],
    given: &serde_json::Map<String, Json>,
    templates: TemplateValues,
) -> (serde_json::Map<String, Json>, Vec<Problem>) {
    let (mut values, mut problems) = (serde_json::Map::new(), Vec::new());
    for name in given.keys().filter(|name| !params.iter().any(|param| param.name.name == **name)) {
        let near = nearest(name, params.iter().map(|param| param.name.name.as_str()));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        problems.push(Problem {
            name: name.clone(),
            message: format!("it has no parameter `{name}`{hint}"),
        });
    }
    for param in params {
        let name = &param.name.name;
        let value = match given.get(name) {
            Some(Json::String(text))
                if templates == TemplateValues::NotRendered && has_markers(text) =>
            {
                continue;
            }
            Some(value @ Json::Array(_))
                if templates == TemplateValues::NotRendered && value.to_string().contains("{{") =>
            {
                continue;
            }
            Some(Json::String(text)) => parse_param_text(param, text)
                .map(Some)
                .map_err(|problem| format!("`{name}`: {problem}")),
            Some(value) => parse_param_json(param, value)
                .map(Some)
                .map_err(|problem| format!("`{name}`: {problem}")),
            None if param.required => Err(format!("its parameter `{name}` is required")),
            None => Ok(param.default.clone()),
        };
        match value {
            Ok(Some(value)) => drop(values.insert(name.clone(), value)),
            Ok(None) => {}
            Err(message) => problems.push(Problem { name: name.clone(), message }),
        }
    }
    (values, problems)
}

fn unknown_param_error(runbook: &Runbook, given_param: &GivenParam) -> Diagnostic {
    let name = &given_param.name;
    let names: Vec<&str> = runbook.params.iter().map(|param| param.name.name.as_str()).collect();
    let message = format!(
        "`{}`: runbook `{}` has no parameter `{name}`",
        given_param.place, runbook.name.value
    );
    let diagnostic =
        Diagnostic::error("E0217", runbook.source(), runbook.name.span.clone(), message)
            .label("this runbook");
    match nearest(name, names.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => diagnostic.help("it takes no parameters"),
        None => diagnostic.help(format!("it takes: {}", names.join(", "))),
    }
}
