//! The parameters of a run: what is given on the command line, in the environment and in a file,
//! and what a person is asked for.

use crate::context::Context;
use crate::failure::Failure;
use crate::input::{self, TypedLine};
use crate::shared_arguments::ParamArgs;
use crate::ui;
use runbook_engine::model::Param;
use runbook_engine::{GivenParam, GivenValue, Params, Runbook, check_param, resolve_params};
use std::io::Read as _;
use std::path::Path;

/// What the name of a variable that gives a parameter begins with.
const VARIABLE: &str = "RUNBOOK_PARAM_";

/// How long a file of parameters may be, in bytes.
const LIMIT: u64 = 1 << 20;

/// How often a person may mistype one value.
const TRIES: u32 = 3;

/// The parameters of a run. A required one that is given nowhere is asked for, if there is a
/// terminal.
///
/// # Errors
/// Every unknown, missing and wrong parameter; a file that cannot be read.
pub fn resolve(context: &Context, runbook: &Runbook, args: &ParamArgs) -> Result<Params, Failure> {
    warn_of_unknown_variables(runbook);
    let set: Vec<GivenParam> =
        args.set.iter().map(|(name, text)| GivenParam::set(name, text)).collect();
    let file = args.params_file.as_deref().map_or_else(|| Ok(Vec::new()), from_file)?;
    let mut given = set;
    for weaker in [from_environment(runbook)?, file] {
        let new: Vec<_> = weaker
            .into_iter()
            .filter(|one| !given.iter().any(|known| known.name == one.name))
            .collect();
        given.extend(new);
    }
    if context.interactive {
        let is_missing =
            |param: &&Param| param.required && !given.iter().any(|one| one.name == param.name.name);
        let asked: Vec<GivenParam> =
            runbook.params.iter().filter(is_missing).filter_map(ask).collect();
        given.extend(asked);
    }
    resolve_params(runbook, &given).map_err(Failure::findings)
}

/// Warns of variables that give no parameter of this runbook. They may be meant for another one, so
/// they are no error; a mistyped one would otherwise go unnoticed.
fn warn_of_unknown_variables(runbook: &Runbook) {
    let known: Vec<String> =
        runbook.params.iter().map(|param| param.name.name.to_ascii_uppercase()).collect();
    let mut unknown: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.to_str()?.strip_prefix(VARIABLE).map(str::to_owned))
        .filter(|name| !known.contains(name))
        .collect();
    unknown.sort_unstable();
    for name in unknown {
        let near = runbook_document::nearest(&name, known.iter().map(String::as_str));
        let near =
            near.map_or_else(String::new, |near| format!("; did you mean {VARIABLE}{near}?"));
        ui::warning(&format!(
            "the variable {VARIABLE}{name} names no parameter of `{}`{near}",
            runbook.name.value
        ));
    }
}

/// The parameters that the environment gives: `RUNBOOK_PARAM_INCIDENT` gives `incident`.
fn from_environment(runbook: &Runbook) -> Result<Vec<GivenParam>, Failure> {
    let variable = |param: &Param| {
        let name = format!("{VARIABLE}{}", param.name.name.to_ascii_uppercase());
        match std::env::var(&name) {
            Ok(text) => {
                let place = format!("{name}={text}");
                Some(Ok(GivenParam {
                    name: param.name.name.clone(),
                    place,
                    value: GivenValue::Text(text),
                }))
            }
            Err(std::env::VarError::NotPresent) => None,
            // A weaker value in its place would be a mistake that nobody is told of.
            Err(std::env::VarError::NotUnicode(_)) => {
                Some(Err(Failure::usage(format!("the variable {name} is not UTF-8"))))
            }
        }
    };
    runbook.params.iter().filter_map(variable).collect()
}

fn from_file(path: &Path) -> Result<Vec<GivenParam>, Failure> {
    let shown = path.display();
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        // One more than the limit, so that nothing is cut in silence.
        std::io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes).and_then(|n| {
            let is_whole = u64::try_from(n).is_ok_and(|n| n <= LIMIT);
            if is_whole { Ok(bytes) } else { Err(std::io::ErrorKind::FileTooLarge.into()) }
        })
    } else {
        runbook_regular_file::read(path, LIMIT)
    };
    let bytes = read.map_err(|error| {
        Failure::usage(format!("the parameters `{shown}` cannot be read: {error}"))
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("the parameters `{shown}` are not UTF-8")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Failure::usage(format!("{shown}:{line}: {}", error.message()))
            .hint("write one `name = value` a line, as TOML")
    })?;
    let values = table.into_iter().map(|(name, value)| {
        let place = format!("{shown}: {name} = {value}");
        let value = match value {
            toml::Value::String(text) => GivenValue::Text(text),
            toml::Value::Datetime(time) => GivenValue::Text(time.to_string()),
            other => GivenValue::Json(serde_json::to_value(other).map_err(Failure::engine)?),
        };
        Ok(GivenParam { name, value, place })
    });
    values.collect()
}

/// Asks for one value until it fits. Returns `None` if there is no answer; the parameter is then
/// missing, and reported with the others.
fn ask(param: &Param) -> Option<GivenParam> {
    let name = &param.name.name;
    let about = param.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    for _ in 0..TRIES {
        input::discard_typed();
        ui::prompt(&format!("{name}{about}: "));
        ui::flush();
        let TypedLine::Line(text) = input::line() else { return None };
        if text.is_empty() {
            return None;
        }
        match check_param(param, &text) {
            Ok(()) => return Some(GivenParam::set(name, &text)),
            Err(why) => ui::notice(&why),
        }
    }
    None
}
