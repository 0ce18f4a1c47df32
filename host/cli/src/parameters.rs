//! Collects the parameters of a run: from the command line, the environment, a file, and questions
//! to the operator.

use crate::context::Context;
use crate::failure::Failure;
use crate::input::{self, TypedLine};
use crate::shared_arguments::ParamArgs;
use crate::ui;
use runbook_engine::model::Param;
use runbook_engine::{GivenParam, GivenValue, Params, Runbook, check_param, resolve_params};
use std::io::Read as _;
use std::path::Path;

/// The prefix of environment variables for parameters.
const VARIABLE_PREFIX: &str = "RUNBOOK_PARAM_";

/// The largest file of parameters, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How many times a value is asked for if the answer is invalid.
const MAX_TRIES: u32 = 3;

/// Resolves the parameters of a run. Asks for required ones that are not given, if there is a
/// terminal.
///
/// # Errors
/// Every unknown, missing and wrong parameter; or the file cannot be read.
pub fn resolve(context: &Context, runbook: &Runbook, args: &ParamArgs) -> Result<Params, Failure> {
    warn_of_unknown_variables(runbook);
    let mut given: Vec<GivenParam> =
        args.set.iter().map(|(name, text)| GivenParam::set(name, text)).collect();
    let file = args.params_file.as_deref().map_or_else(|| Ok(Vec::new()), from_file)?;
    // Values of higher priority come first.
    for lower_priority in [from_environment(runbook)?, file] {
        let new: Vec<_> = lower_priority
            .into_iter()
            .filter(|given_param| !given.iter().any(|known| known.name == given_param.name))
            .collect();
        given.extend(new);
    }
    if context.interactive {
        let is_missing = |param: &&Param| {
            param.required && !given.iter().any(|given_param| given_param.name == param.name.name)
        };
        let asked: Vec<GivenParam> =
            runbook.params.iter().filter(is_missing).filter_map(ask).collect();
        given.extend(asked);
    }
    resolve_params(runbook, &given).map_err(Failure::findings)
}

/// Warns of variables that are no parameter of this runbook. They may be mistyped. They are not an
/// error, because they may be meant for another runbook.
fn warn_of_unknown_variables(runbook: &Runbook) {
    let known: Vec<String> =
        runbook.params.iter().map(|param| param.name.name.to_ascii_uppercase()).collect();
    let mut unknown: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.to_str()?.strip_prefix(VARIABLE_PREFIX).map(str::to_owned))
        .filter(|name| !known.contains(name))
        .collect();
    unknown.sort_unstable();
    for name in unknown {
        let near = runbook_document::nearest(&name, known.iter().map(String::as_str));
        let near = near
            .map_or_else(String::new, |near| format!("; did you mean {VARIABLE_PREFIX}{near}?"));
        ui::warning(&format!(
            "the variable {VARIABLE_PREFIX}{name} names no parameter of `{}`{near}",
            runbook.name.value
        ));
    }
}

/// The parameters that the environment gives: `RUNBOOK_PARAM_INCIDENT` gives `incident`.
fn from_environment(runbook: &Runbook) -> Result<Vec<GivenParam>, Failure> {
    let variable = |param: &Param| {
        let name = format!("{VARIABLE_PREFIX}{}", param.name.name.to_ascii_uppercase());
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
            // Falling back to a value of lower priority would hide the mistake.
            Err(std::env::VarError::NotUnicode(_)) => {
                Some(Err(Failure::usage(format!("the variable {name} is not UTF-8"))))
            }
        }
    };
    runbook.params.iter().filter_map(variable).collect()
}

/// The parameters in a TOML file; `-` is stdin.
fn from_file(path: &Path) -> Result<Vec<GivenParam>, Failure> {
    let displayed_path = path.display();
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        // One byte more than the limit, to detect a longer input.
        std::io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).and_then(|n| {
            let is_within_limit = u64::try_from(n).is_ok_and(|n| n <= MAX_FILE_BYTES);
            if is_within_limit { Ok(bytes) } else { Err(std::io::ErrorKind::FileTooLarge.into()) }
        })
    } else {
        runbook_regular_file::read(path, MAX_FILE_BYTES)
    };
    let bytes = read.map_err(|error| {
        Failure::usage(format!("the parameters `{displayed_path}` cannot be read: {error}"))
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("the parameters `{displayed_path}` are not UTF-8")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Failure::usage(format!("{displayed_path}:{line}: {}", error.message()))
            .hint("write one `name = value` a line, as TOML")
    })?;
    let values = table.into_iter().map(|(name, value)| {
        let place = format!("{displayed_path}: {name} = {value}");
        let value = match value {
            toml::Value::String(text) => GivenValue::Text(text),
            toml::Value::Datetime(time) => GivenValue::Text(time.to_string()),
            other => GivenValue::Json(serde_json::to_value(other).map_err(Failure::engine)?),
        };
        Ok(GivenParam { name, value, place })
    });
    values.collect()
}

/// Asks for one value until it is valid. Returns `None` if there is no answer; the parameter is
/// then reported as missing.
fn ask(param: &Param) -> Option<GivenParam> {
    let name = &param.name.name;
    let help_note = param.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    for _ in 0..MAX_TRIES {
        input::discard_typed();
        ui::prompt(&format!("{name}{help_note}: "));
        ui::flush();
        let TypedLine::Line(text) = input::read_line() else { return None };
        if text.is_empty() {
            return None;
        }
        match check_param(param, &text) {
            Ok(()) => return Some(GivenParam::set(name, &text)),
            Err(why) => ui::print_stderr(&why),
        }
    }
    None
}
