//! `[params.NAME]`, and the typed values of parameters.

use super::names;
use crate::model::{Param, ParamType};
use runbook_contract::Json;
use runbook_document::{Key, Node, Reader, Spanned, parse_byte_size, parse_duration};

/// Reads all `[params.NAME]` tables, and reports what is wrong.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Param> {
    reader.read_named("params", "parameter", read_one)
}

fn read_one(name: &Key, reader: &mut Reader<'_>) -> Option<Param> {
    names::check_identifier(reader, &name.name, &name.span, "the name of a parameter");
    let types: Vec<(ParamType, &'static str)> =
        ParamType::ALL.iter().map(|(kind, name, _)| (*kind, *name)).collect();
    if reader.table().get("type").is_none() {
        reader.required::<String>("type");
    }
    let kind = names::choice(reader, "type", &types);
    let required = reader.optional::<bool>("required");
    let default = reader.optional::<Node>("default");
    let pattern = reader.optional::<String>("pattern");
    let min = reader.optional::<Node>("min");
    let max = reader.optional::<Node>("max");
    let choices = reader.optional::<Vec<String>>("choices");
    let help = reader.optional::<String>("help");
    let kind = kind?;
    check_shape(reader, name, &kind, required.as_ref(), default.as_ref(), choices.as_ref());
    check_pattern(reader, kind.value, pattern.as_ref());
    let param = Param {
        name: name.clone(),
        kind: kind.value,
        required: required.is_some_and(|required| required.value),
        min: min.as_ref().and_then(|bound| read_bound(reader, kind.value, "min", bound)),
        max: max.as_ref().and_then(|bound| read_bound(reader, kind.value, "max", bound)),
        choices: choices.map(|choices| choices.value).unwrap_or_default(),
        help: help.map(|help| help.value),
        pattern,
        default: None,
    };
    if let (Some(least), Some(most), Some(written_max)) = (
        param.min.as_ref().and_then(comparable_number),
        param.max.as_ref().and_then(comparable_number),
        &max,
    ) && most < least
    {
        let message =
            format!("`max` of {} is less than its `min`, so no value fits", reader.subject());
        reader.error_with_help(
            "E0214",
            written_max.span.clone(),
            message,
            "below `min`",
            "swap them, or leave one out",
        );
        // The bounds contradict each other, so the default is not checked.
        return Some(param);
    }
    let default = default.and_then(|default| read_default(reader, &param, &default));
    Some(Param { default, ..param })
}

fn check_shape(
    reader: &mut Reader<'_>,
    name: &Key,
    kind: &Spanned<ParamType>,
    required: Option<&Spanned<bool>>,
    default: Option<&Spanned<Node>>,
    choices: Option<&Spanned<Vec<String>>>,
) {
    match (required.is_some_and(|required| required.value), default) {
        (true, Some(default)) => {
            let message = format!(
                "parameter `{}` is required and has a default; only one of both can be",
                name.name
            );
            reader.error_with_help(
                "E0214",
                default.span.clone(),
                message,
                "never used",
                "remove `required = true` or the default",
            );
        }
        (false, None) => {
            let message =
                format!("parameter `{}` is neither required nor has it a default", name.name);
            reader.error_with_help(
                "E0214",
                name.span.clone(),
                message,
                "no value",
                "add `required = true` or `default = …`",
            );
        }
        (true, None) | (false, Some(_)) => {}
    }
    match (kind.value == ParamType::Enum, choices) {
        (true, None) => {
            let message = format!("parameter `{}` is an enum without `choices`", name.name);
            reader.error_with_help(
                "E0214",
                kind.span.clone(),
                message,
                "no choices",
                "add `choices = [\"…\", \"…\"]`",
            );
        }
        (false, Some(choices)) => {
            let message = format!("`choices` of parameter `{}` needs `type = \"enum\"`", name.name);
            reader.error("E0214", choices.span.clone(), message, "only for enums");
        }
        (true, Some(choices)) if choices.value.is_empty() => {
            reader.error(
                "E0214",
                choices.span.clone(),
                format!("parameter `{}` has no choice", name.name),
                "empty",
            );
        }
        (true, Some(_)) | (false, None) => {}
    }
}

fn check_pattern(reader: &mut Reader<'_>, kind: ParamType, pattern: Option<&Spanned<String>>) {
    let Some(pattern) = pattern else { return };
    if !matches!(kind, ParamType::String | ParamType::List) {
        let message = format!("`pattern` of {} needs the type string or list", reader.subject());
        reader.error("E0214", pattern.span.clone(), message, "not for this type");
    }
    if let Err(error) = whole_match(&pattern.value) {
        let reason = error
            .to_string()
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let message =
            format!("`pattern` of {} is not a regular expression: {reason}", reader.subject());
        reader.error("E0214", pattern.span.clone(), message, "cannot be compiled");
    }
}

fn read_bound(
    reader: &mut Reader<'_>,
    kind: ParamType,
    key: &str,
    bound: &Spanned<Node>,
) -> Option<Json> {
    let element = if kind == ParamType::List { ParamType::Int } else { kind };
    let value = match kind {
        ParamType::Int
        | ParamType::Float
        | ParamType::Duration
        | ParamType::Size
        | ParamType::Timestamp
        | ParamType::List => parse_json(element, &bound.value.to_json()),
        ParamType::String | ParamType::Bool | ParamType::Enum => {
            Err(format!("has no order, so `{key}` means nothing"))
        }
    };
    value
        .map_err(|problem| {
            let message = format!("`{key}` of {}: {problem}", reader.subject());
            reader.error("E0214", bound.span.clone(), message, "not usable");
        })
        .ok()
}

fn read_default(reader: &mut Reader<'_>, param: &Param, default: &Spanned<Node>) -> Option<Json> {
    let value = parse_json(param.kind, &default.value.to_json())
        .and_then(|value| check_value(param, value));
    value
        .map_err(|problem| {
            let message = format!("the default of {}: {problem}", reader.subject());
            reader.error("E0214", default.span.clone(), message, "not usable");
        })
        .ok()
}

/// The typed value of a `--set`, or what is wrong with it.
pub(crate) fn parse_text(param: &Param, text: &str) -> Result<Json, String> {
    let value = match param.kind {
        ParamType::Int => {
            text.parse::<i64>().map(Json::from).map_err(|_| mismatch(param.kind, text))
        }
        ParamType::Float => text
            .parse::<f64>()
            .ok()
            .filter(|n| n.is_finite())
            .map(Json::from)
            .ok_or_else(|| mismatch(param.kind, text)),
        ParamType::Bool => {
            text.parse::<bool>().map(Json::from).map_err(|_| mismatch(param.kind, text))
        }
        ParamType::List => items(text).map(Json::from),
        ParamType::String
        | ParamType::Duration
        | ParamType::Size
        | ParamType::Timestamp
        | ParamType::Enum => parse_json(param.kind, &Json::from(text)),
    };
    value.and_then(|value| check_value(param, value))
}

/// The list that several `--set` of one name give together, or the text that is wrong and why.
pub(crate) fn parse_texts(param: &Param, texts: &[&str]) -> Result<Json, (String, String)> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(items(text).map_err(|problem| ((*text).to_owned(), problem))?);
    }
    check_value(param, Json::from(all)).map_err(|problem| (texts.join(","), problem))
}

/// The items of a list: texts with commas between them, or a JSON list for items with commas.
fn items(text: &str) -> Result<Vec<Json>, String> {
    if text.trim_start().starts_with('[') {
        let list = serde_json::from_str::<Vec<String>>(text).map_err(|_| {
            "it begins like a JSON list but is not a list of texts; write `[\"a\",\"b\"]`, or \
             `a,b` if no item begins with `[`"
                .to_owned()
        })?;
        return Ok(list.into_iter().map(Json::from).collect());
    }
    Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Json::from).collect())
}

/// The checked value of a JSON value, or what is wrong with it.
pub(crate) fn parse_value(param: &Param, value: &Json) -> Result<Json, String> {
    parse_json(param.kind, value).and_then(|value| check_value(param, value))
}

/// The value if it is of the type, or what is wrong with it.
pub(crate) fn parse_json(kind: ParamType, value: &Json) -> Result<Json, String> {
    let is_text = |fits: &dyn Fn(&str) -> bool| value.as_str().is_some_and(fits);
    let valid = match kind {
        ParamType::String | ParamType::Enum => value.is_string(),
        ParamType::Bool => value.is_boolean(),
        ParamType::Float => value.is_number(),
        ParamType::Int => value.is_i64(),
        ParamType::Duration => is_text(&|text| parse_duration(text).is_some()),
        ParamType::Size => is_text(&|text| parse_byte_size(text).is_some()),
        ParamType::Timestamp => is_text(&|text| text.parse::<jiff::Timestamp>().is_ok()),
        ParamType::List => value.as_array().is_some_and(|items| items.iter().all(Json::is_string)),
    };
    if valid {
        return Ok(value.clone());
    }
    let why = if kind == ParamType::List { not_a_list_of_texts(value) } else { None };
    Err(why.unwrap_or_else(|| mismatch(kind, &plain(value))))
}

/// What is wrong with a value that looks like a list and is not a list of texts.
fn not_a_list_of_texts(value: &Json) -> Option<String> {
    match value {
        // Commas separate items only in `--set`, which has no lists.
        Json::String(text) => {
            let items: Vec<_> =
                text.split(',').map(|item| format!("\"{}\"", item.trim())).collect();
            Some(format!("`{text}` is a text and not a list; write `[{}]`", items.join(", ")))
        }
        Json::Array(items) => not_a_text(items),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
    }
}

/// The first item of a list that is no text.
fn not_a_text(items: &[Json]) -> Option<String> {
    let (place, item) = items.iter().enumerate().find(|(_, item)| !item.is_string())?;
    let quoted: String = item.to_string().replace('"', "'");
    Some(format!("item {} of the list, `{quoted}`, is not a text; write `\"{quoted}\"`", place + 1))
}

fn mismatch(kind: ParamType, found: &str) -> String {
    format!("`{found}` is not of type {}, such as `{}`", kind.name(), kind.example())
}

/// JSON as people write it on a command line.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The pattern as one that the whole value must match.
///
/// # Errors
/// The pattern does not compile by itself, or does not compile between anchors, such as
/// `(?x)a # a comment`.
fn whole_match(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::Regex::new(pattern)?;
    regex::Regex::new(&format!("^(?:{pattern})$"))
}

fn check_value(param: &Param, value: Json) -> Result<Json, String> {
    if let Some(pattern) = &param.pattern {
        // A pattern that does not compile is reported at its declaration.
        let regex = whole_match(&pattern.value).ok();
        let wrong = texts(&value)
            .into_iter()
            .find(|text| regex.as_ref().is_some_and(|regex| !regex.is_match(text)));
        if let Some(wrong) = wrong {
            return Err(format!("`{wrong}` does not match the pattern `{}`", pattern.value));
        }
    }
    // An enum without choices is reported at its declaration.
    if param.kind == ParamType::Enum
        && !param.choices.is_empty()
        && !param.choices.iter().any(|choice| *choice == plain(&value))
    {
        return Err(format!("`{}` is not one of: {}", plain(&value), param.choices.join(", ")));
    }
    if let (Some(min), Some(number)) =
        (param.min.as_ref().and_then(comparable_number), comparable_number(&value))
        && number < min
    {
        return Err(format!(
            "`{}` is less than the least, {}",
            plain(&value),
            param.min.as_ref().map(plain).unwrap_or_default()
        ));
    }
    if let (Some(max), Some(number)) =
        (param.max.as_ref().and_then(comparable_number), comparable_number(&value))
        && number > max
    {
        return Err(format!(
            "`{}` is more than the most, {}",
            plain(&value),
            param.max.as_ref().map(plain).unwrap_or_default()
        ));
    }
    Ok(value)
}

fn texts(value: &Json) -> Vec<&str> {
    match value {
        Json::String(text) => vec![text],
        Json::Array(items) => items.iter().filter_map(Json::as_str).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => Vec::new(),
    }
}

/// The number that `min` and `max` compare: a number itself, a duration in milliseconds, a size in
/// bytes, a timestamp in milliseconds, or the length of a list.
#[expect(clippy::cast_precision_loss, reason = "bounds of parameters are far below 2^52")]
fn comparable_number(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::Array(items) => Some(items.len() as f64),
        Json::String(text) => parse_duration(text)
            .map(|duration| duration.as_millis() as f64)
            .or_else(|| parse_byte_size(text).map(|size| size.0 as f64))
            .or_else(|| text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond() as f64)),
        Json::Null | Json::Bool(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_document::Source;

    /// The parameter of a runbook with this pattern, or what is said about it.
    fn with_pattern(pattern: &str) -> Result<Param, String> {
        let text = format!(
            "format = 1\n[runbook]\nname = \"r\"\n[params.p]\ntype = \"string\"\nrequired = true\n\
             pattern = {}\n[[step]]\nid = \"s\"\n\
             manual = {{ instructions = \"x\", confirm = \"y\" }}\n",
            Json::String(pattern.to_owned())
        );
        let mut nothing = |_: &str| Err(std::io::Error::other("no other file"));
        let runbook = crate::parse(&Source::new("r.toml", text), None, &mut nothing)
            .map_err(|found| format!("{found:?}"))?;
        Ok(runbook.params[0].clone())
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_matches_the_whole_value_and_not_a_part_of_it(
            value in "[a-z]{1,8}",
            more in "[^a-z]{1,4}",
            rest in "[a-z]{0,4}",
            flags in proptest::sample::select(vec!["", "(?m)", "(?s)", "(?ms)", "(?x)", "(?R)"]),
        ) {
            for pattern in ["[a-z]+", "a?[a-z]+|[a-z]+", "^[a-z]+$", "(?:[a-z])+"] {
                // A line of a text is a whole match only where the pattern itself says so with `^`,
                // `$` and `m`.
                if flags.contains('m') && pattern.starts_with('^') { continue }
                let param = with_pattern(&format!("{flags}{pattern}")).expect("a good pattern");
                proptest::prop_assert!(check_value(&param, Json::String(value.clone())).is_ok(), "{pattern} {value}");
                for wrong in [format!("{value}{more}{rest}"), format!("{more}{value}"), format!("{rest}{more}{value}")] {
                    proptest::prop_assert!(check_value(&param, Json::String(wrong.clone())).is_err(), "{flags}{pattern} {wrong:?}");
                }
            }
        }
    }

    #[test]
    fn the_error_about_a_list_names_the_item_that_is_not_a_text() {
        let wrong = parse_json(ParamType::List, &serde_json::json!(["a", 2, 3]))
            .expect_err("2 is a number");
        assert_eq!(wrong, "item 2 of the list, `2`, is not a text; write `\"2\"`");
        for (kind, name, _) in ParamType::ALL {
            assert_eq!(
                kind.article() == "an",
                name.starts_with(['a', 'e', 'i', 'o', 'u']),
                "{name}"
            );
        }
    }

    #[test]
    fn a_pattern_allows_no_text_before_or_after_the_value() {
        let param = with_pattern("[a-z]+").expect("a good pattern");
        assert!(check_value(&param, Json::from("ab")).is_ok());
        for wrong in [
            "ab\n--evil",
            " ab",
            "ab ",
            "ab\n",
            "\nab",
            "ab\r\n",
            "ab\u{2028}",
            "",
            "--evil\nab",
            "ab\0",
        ] {
            assert!(check_value(&param, Json::from(wrong)).is_err(), "{wrong:?}");
        }
        let list = Param { kind: ParamType::List, ..param };
        assert!(check_value(&list, serde_json::json!(["ab", "ab\n--evil"])).is_err());
    }

    #[test]
    fn a_pattern_that_does_not_compile_between_anchors_is_an_error() {
        for pattern in ["a)|(?:b", "(?x)[a-z]+ # letters", "[a-z", "a{2,1}"] {
            let error = with_pattern(pattern).expect_err(pattern);
            assert!(error.contains("is not a regular expression"), "{pattern}: {error}");
        }
    }
}
