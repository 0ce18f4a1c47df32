//! The parameters of a run: what `--set` says, typed and checked, over the defaults.

use crate::model::{Param, ParamType, Runbook};
use crate::parse::params::{
    parse_text as parse_param_text, parse_texts as parse_param_texts,
    parse_value as parse_param_json,
};
use crate::template::has_markers;
use runbook_contract::Json;
use runbook_document::{Diagnostic, Diagnostics, nearest};

/// Parameters that fit a runbook: every one is there, each of its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Params(serde_json::Map<String, Json>);

impl Params {
    /// The values by name, in file order.
    pub fn values(&self) -> &serde_json::Map<String, Json> {
        &self.0
    }

    /// The parameters of a run that is resumed: they were checked when it started.
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
    /// How a person finds it again, such as `--set rows=5`.
    pub place: String,
}

/// A value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenValue {
    /// As text, whose type is that of the parameter.
    Text(String),
    /// With a type of its own.
    Json(Json),
}

impl GivenParam {
    /// What `--set NAME=TEXT` gives.
    pub fn set(name: &str, text: &str) -> Self {
        let value = GivenValue::Text(text.to_owned());
        Self { name: name.to_owned(), value, place: format!("--set {name}={text}") }
    }

    fn shown(&self) -> String {
        match &self.value {
            GivenValue::Text(text) => text.clone(),
            GivenValue::Json(value) => value.to_string(),
        }
    }
}

/// Types and checks what was given for the parameters of a runbook.
///
/// # Errors
/// Every unknown, missing and wrong parameter.
pub fn resolve_params(runbook: &Runbook, given: &[GivenParam]) -> Result<Params, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    for unknown_one in
        given.iter().filter(|one| !runbook.params.iter().any(|param| param.name.name == one.name))
    {
        diagnostics.push(unknown(runbook, unknown_one));
    }
    let mut values = serde_json::Map::new();
    for param in &runbook.params {
        match value_of(runbook, param, given) {
            Ok(Some(value)) => {
                values.insert(param.name.name.clone(), value);
            }
            Ok(None) => {}
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    if diagnostics.is_empty() { Ok(Params(values)) } else { Err(diagnostics) }
}

/// What is wrong with one value for a parameter.
///
/// # Errors
/// In one sentence.
pub fn check_param(param: &Param, text: &str) -> Result<(), String> {
    if param.kind == ParamType::List {
        return parse_param_texts(param, &[text]).map(drop).map_err(|(_, why)| why);
    }
    parse_param_text(param, text).map(drop)
}

/// A name is given once. Lists grow with each `--set`: to drop one of them in silence would leave a
/// host out.
fn value_of(
    runbook: &Runbook,
    param: &Param,
    given: &[GivenParam],
) -> Result<Option<Json>, Box<Diagnostic>> {
    let name = &param.name.name;
    let given: Vec<&GivenParam> = given.iter().filter(|one| one.name == *name).collect();
    let wrong = |one: &GivenParam, why: String, help: String| {
        let message = format!("`{}`: {why}", one.place);
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
    let texts: Option<Vec<&str>> = given.iter().map(|one| one.value.as_text()).collect();
    match (given.as_slice(), texts) {
        ([], _) => {}
        ([first, ..], Some(texts)) if param.kind == ParamType::List => {
            let parsed = parse_param_texts(param, &texts).map(Some);
            return parsed.map_err(|(text, why)| {
                let one =
                    given.iter().find(|one| one.value.as_text() == Some(&text)).unwrap_or(first);
                wrong(one, why, help())
            });
        }
        ([one], _) => {
            let parsed = match &one.value {
                GivenValue::Text(text) => parse_param_text(param, text),
                GivenValue::Json(value) => parse_param_json(param, value),
            };
            return parsed.map(Some).map_err(|why| wrong(one, why, help()));
        }
        ([first, .., last], _) => {
            let why = format!("`{name}` was given before, as `{}`, and is no list", first.shown());
            return Err(wrong(last, why, "give it once".to_owned()));
        }
    }
    if !param.required {
        return Ok(param.default.clone());
    }
    let message = format!("parameter `{name}` is required");
    let diagnostic = Diagnostic::error("E0215", runbook.source(), param.name.span.clone(), message);
    let about = param.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    Err(Box::new(
        diagnostic
            .label("has no value")
            .help(format!("add `--set {name}={}`{about}", example(param))),
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

/// A value that the parameter takes, if there is one.
fn example(param: &Param) -> String {
    let limits = [&param.min, &param.max].into_iter().flatten();
    let of_limits =
        limits.map(|limit| limit.as_str().map_or_else(|| limit.to_string(), str::to_owned));
    let candidates = std::iter::once(param.kind.example().to_owned())
        .chain(param.choices.iter().cloned())
        .chain(of_limits);
    let mut fitting =
        candidates.filter(|text| parse_param_text(param, text).is_ok() && !text.contains(' '));
    fitting.next().unwrap_or_else(|| match &param.pattern {
        Some(pattern) => format!("…`, a value that matches `{}", pattern.value),
        None => "…".to_owned(),
    })
}

/// What is done about a value that is a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Templates {
    /// It is not known yet, and judged when it is rendered.
    Later,
    /// The value was rendered, and is judged as it is.
    Rendered,
}

/// What is wrong with one parameter of a nested file.
pub(crate) struct Problem {
    /// The name of the parameter.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
}

/// What is wrong with what a step gives to a nested file.
pub(crate) fn problems(
    params: &[Param],
    given: &serde_json::Map<String, Json>,
    templates: Templates,
) -> Vec<Problem> {
    from_step(params, given, templates).1
}

/// The parameters of a nested file, from what its step gives.
///
/// # Errors
/// Everything that is wrong, in one line.
pub(crate) fn of_nested(
    params: &[Param],
    given: &serde_json::Map<String, Json>,
) -> Result<serde_json::Map<String, Json>, String> {
    let (values, problems) = from_step(params, given, Templates::Rendered);
    let all: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
    if all.is_empty() { Ok(values) } else { Err(all.join("; ")) }
}

fn from_step(
    params: &[Param],
    given: &serde_json::Map<String, Json>,
    templates: Templates,
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
            Some(Json::String(text)) if templates == Templates::Later && has_markers(text) => {
                continue;
            }
            Some(value @ Json::Array(_))
                if templates == Templates::Later && value.to_string().contains("{{") =>
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

fn unknown(runbook: &Runbook, one: &GivenParam) -> Diagnostic {
    let name = &one.name;
    let names: Vec<&str> = runbook.params.iter().map(|param| param.name.name.as_str()).collect();
    let message =
        format!("`{}`: runbook `{}` has no parameter `{name}`", one.place, runbook.name.value);
    let diagnostic =
        Diagnostic::error("E0217", runbook.source(), runbook.name.span.clone(), message)
            .label("this runbook");
    match nearest(name, names.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => diagnostic.help("it takes no parameters"),
        None => diagnostic.help(format!("it takes: {}", names.join(", "))),
    }
}
