//! Converts values from the server's text format, by the names of their types.

use super::super::failure::fault_of;
use crate::bindings::runbook::sql::types::{Element, Value};
use crate::fault::{Fault, FaultClass};
use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};
use std::borrow::Cow;

/// The values of a row of the simple protocol.
pub(super) fn values(row: &PgRow) -> Result<Vec<Value>, Fault> {
    (0..row.len())
        .map(|index| {
            let raw = row.try_get_raw(index).map_err(|error| fault_of(&error))?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            let name = raw.type_info().name().to_owned();
            debug_assert!(
                matches!(raw.format(), PgValueFormat::Text),
                "the simple protocol sends text"
            );
            let text = raw.as_str().map_err(|error| {
                Fault::new(FaultClass::Invalid, "sql.encoding", error.to_string())
            })?;
            Ok(value(&name, text))
        })
        .collect()
}

fn value(name: &str, text: &str) -> Value {
    let other = || Value::Other((name.to_lowercase(), text.to_owned()));
    if let Some(element) = name.strip_suffix("[]") {
        return elements(element, text).map_or_else(other, Value::Sequence);
    }
    match name {
        "BOOL" => Value::Boolean(text == "t"),
        "INT2" | "INT4" | "INT8" | "OID" => text.parse().map_or_else(|_| other(), Value::Integer),
        "FLOAT4" | "FLOAT8" => text.parse().map_or_else(|_| other(), Value::Float),
        "NUMERIC" => Value::Decimal(text.to_owned()),
        "TEXT" | "VARCHAR" | "CHAR" | "\"CHAR\"" | "BPCHAR" | "NAME" | "UNKNOWN" => {
            Value::Text(text.to_owned())
        }
        "BYTEA" => text.strip_prefix("\\x").and_then(decode_hex).map_or_else(other, Value::Bytes),
        "UUID" => Value::Uuid(text.to_owned()),
        "JSON" | "JSONB" => Value::Json(text.to_owned()),
        // Before the common era there is no ISO form.
        "TIMESTAMPTZ" | "TIMESTAMP" | "DATE" if text.ends_with(" BC") => other(),
        "TIMESTAMPTZ" => Value::Timestamp(utc(text)),
        "TIMESTAMP" => Value::Timestamp(text.replacen(' ', "T", 1)),
        "DATE" => Value::Date(text.to_owned()),
        "TIME" | "TIMETZ" => Value::Time(text.to_owned()),
        _ if name.eq_ignore_ascii_case("citext") => Value::Text(text.to_owned()),
        _ => other(),
    }
}

/// `2026-11-20 21:50:00.5+00` → `2026-11-20T21:50:00.5Z`; `infinity` is unchanged.
fn utc(text: &str) -> String {
    match text.strip_suffix("+00") {
        Some(utc) => utc.replacen(' ', "T", 1) + "Z",
        None => text.to_owned(),
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The elements of an array such as `{1,NULL,"a b"}`. The elements of a multidimensional array are
/// the texts of its inner arrays.
fn elements(ty: &str, text: &str) -> Option<Vec<Element>> {
    // BOX is the only type whose elements are separated by semicolons.
    if ty == "BOX" {
        return None;
    }
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    Some(split_elements(inner).into_iter().map(|part| element(ty, part)).collect())
}

/// Splits at the commas outside of quotes and braces.
fn split_elements(inner: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut quoted, mut escaped) = (0, 0_u32, false, false);
    for (index, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                parts.push(&inner[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    parts
}

fn element(ty: &str, part: &str) -> Element {
    if part == "NULL" {
        return Element::Null;
    }
    if part.starts_with('{') {
        return Element::Text(part.to_owned());
    }
    let text = unquote(part);
    match value(ty, &text) {
        Value::Boolean(truth) => Element::Boolean(truth),
        Value::Integer(number) => Element::Integer(number),
        Value::Float(number) => Element::Float(number),
        Value::Timestamp(iso) => Element::Text(iso),
        Value::Null
        | Value::Decimal(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Uuid(_)
        | Value::Json(_)
        | Value::Sequence(_)
        | Value::Other(_) => Element::Text(text.into_owned()),
    }
}

fn unquote(part: &str) -> Cow<'_, str> {
    let Some(inner) = part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) else {
        return Cow::Borrowed(part);
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        text.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_a_zone_are_utc_and_infinity_stays_a_word() {
        assert_eq!(utc("2026-11-20 21:50:00.5+00"), "2026-11-20T21:50:00.5Z");
        assert_eq!(utc("infinity"), "infinity");
        assert_eq!(utc("-infinity"), "-infinity");
    }

    #[test]
    fn arrays_keep_their_elements() {
        let texts = |text: &str| -> Vec<Option<String>> {
            let text_of = |item| match item {
                Element::Null => None,
                Element::Text(text) => Some(text),
                Element::Boolean(_) | Element::Integer(_) | Element::Float(_) => panic!("not text"),
            };
            elements("TEXT", text).unwrap().into_iter().map(text_of).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            texts(r#"{a,"b, c",NULL,"NULL","q\"q\\",""}"#),
            [some("a"), some("b, c"), None, some("NULL"), some("q\"q\\"), some("")]
        );
        assert_eq!(texts(r#"{{"a}","b,"},{c,d}}"#), [some(r#"{"a}","b,"}"#), some("{c,d}")]);
        assert!(matches!(
            elements("INT8", "{1,2}").as_deref(),
            Some([Element::Integer(1), Element::Integer(2)])
        ));
        assert_eq!(elements("INT8", "{}").map(|items| items.len()), Some(0));
        assert!(
            elements("INT8", "[0:1]={1,2}").is_none() && elements("BOX", "{(1,1),(0,0)}").is_none()
        );
    }

    #[test]
    fn a_value_without_an_exact_form_keeps_the_text_of_the_server() {
        assert!(matches!(value("BYTEA", "\\x00ff"), Value::Bytes(bytes) if bytes == [0, 255]));
        assert!(matches!(value("NUMERIC", "NaN"), Value::Decimal(text) if text == "NaN"));
        assert!(
            matches!(value("INTERVAL", "P1D"), Value::Other((name, text)) if name == "interval" && text == "P1D")
        );
        assert!(matches!(value("TIMESTAMPTZ", "0044-03-15 00:00:00+00 BC"), Value::Other(_)));
        assert!(
            matches!(value("FLOAT8", "-Infinity"), Value::Float(number) if number == f64::NEG_INFINITY)
        );
    }
}
