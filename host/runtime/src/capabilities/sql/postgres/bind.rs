//! Binds parameters by the types that the server expects.

use super::super::failure::{parameter_mismatch, unsupported_parameter};
use crate::bindings::runbook::sql::types::{Element, Value};
use crate::fault::{Fault, FaultClass};
use sqlx::postgres::PgArguments;
use sqlx::types::chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use sqlx::types::{BigDecimal, Json, Uuid};
use sqlx::{Arguments as _, Either, Statement as _, TypeInfo as _};
use std::str::FromStr;

/// The parameters of a statement that the server has prepared.
pub(super) fn arguments(
    prepared: &sqlx::postgres::PgStatement,
    parameters: &[Value],
) -> Result<PgArguments, Fault> {
    let types: Vec<String> = match prepared.parameters() {
        Some(Either::Left(types)) => types.iter().map(|ty| ty.name().to_owned()).collect(),
        Some(Either::Right(_)) | None => Vec::new(),
    };
    if types.len() != parameters.len() {
        let message = format!(
            "the statement has {} parameters, {} were given",
            types.len(),
            parameters.len()
        );
        return Err(Fault::new(FaultClass::Invalid, "sql.parameter", message));
    }
    let mut arguments = PgArguments::default();
    for (index, (ty, value)) in types.iter().zip(parameters).enumerate() {
        bind(&mut arguments, index + 1, ty, value)?;
    }
    Ok(arguments)
}

fn bind(
    arguments: &mut PgArguments,
    position: usize,
    ty: &str,
    value: &Value,
) -> Result<(), Fault> {
    let mismatch = || parameter_mismatch(position, ty);
    let text = text_of(value);
    let is_null = matches!(value, Value::Null);
    macro_rules! add {
        ($kind:ty, $value:expr) => {{
            let value: Option<$kind> =
                if is_null { None } else { Some($value.ok_or_else(mismatch)?) };
            arguments.add(value)
        }};
    }
    let result = match ty {
        "BOOL" => add!(bool, if let Value::Boolean(truth) = value { Some(*truth) } else { None }),
        "INT2" => add!(i16, parse_text(text.as_ref())),
        "INT4" => add!(i32, parse_text(text.as_ref())),
        // An oid is unsigned; the server accepts a bigint instead.
        "INT8" | "OID" => add!(i64, parse_text(text.as_ref())),
        "FLOAT4" => add!(f32, parse_text(text.as_ref())),
        "FLOAT8" => add!(f64, parse_text(text.as_ref())),
        "NUMERIC" => add!(BigDecimal, parse_text(text.as_ref())),
        "TEXT" | "VARCHAR" | "CHAR" | "BPCHAR" | "NAME" => add!(String, text),
        "UUID" => add!(Uuid, parse_text(text.as_ref())),
        "JSON" | "JSONB" => {
            add!(
                Json<serde_json::Value>,
                text.as_ref().and_then(|text| serde_json::from_str(text).ok()).map(Json)
            )
        }
        "BYTEA" => {
            add!(Vec<u8>, if let Value::Bytes(bytes) = value { Some(bytes.clone()) } else { None })
        }
        "TIMESTAMPTZ" => add!(DateTime<Utc>, text.as_ref().and_then(|text| parse_timestamp(text))),
        "TIMESTAMP" => {
            add!(NaiveDateTime, parse_text(text.map(|text| text.replacen(' ', "T", 1)).as_ref()))
        }
        "DATE" => add!(NaiveDate, parse_text(text.as_ref())),
        "TIME" => add!(NaiveTime, parse_text(text.as_ref())),
        "BOOL[]" => add!(Vec<Option<bool>>, sequence(value, |text| text.parse().ok())),
        "INT2[]" => add!(Vec<Option<i16>>, sequence(value, |text| text.parse().ok())),
        "INT4[]" => add!(Vec<Option<i32>>, sequence(value, |text| text.parse().ok())),
        "INT8[]" => add!(Vec<Option<i64>>, sequence(value, |text| text.parse().ok())),
        "FLOAT8[]" => add!(Vec<Option<f64>>, sequence(value, |text| text.parse().ok())),
        "NUMERIC[]" => add!(Vec<Option<BigDecimal>>, sequence(value, |text| text.parse().ok())),
        "TEXT[]" | "VARCHAR[]" => {
            add!(Vec<Option<String>>, sequence(value, |text| Some(text.to_owned())))
        }
        "UUID[]" => add!(Vec<Option<Uuid>>, sequence(value, |text| text.parse().ok())),
        _ => return Err(unsupported_parameter(position, ty)),
    };
    result.map_err(|error| Fault::new(FaultClass::Invalid, "sql.parameter", error.to_string()))
}

fn parse_text<T: FromStr>(text: Option<&String>) -> Option<T> {
    text.and_then(|text| text.parse().ok())
}

/// Parses `2026-11-20T21:50:00Z`, with any offset, and with `T` or a space.
fn parse_timestamp(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)).ok().map(|time| time.to_utc())
}

/// Parses every element. `None` if one cannot be parsed, or if the value is not a sequence.
fn sequence<T>(value: &Value, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<Option<T>>> {
    let Value::Sequence(items) = value else { return None };
    let read = |item: &Element| match item {
        Element::Null => Some(None),
        Element::Boolean(truth) => parse(&truth.to_string()).map(Some),
        Element::Integer(number) => parse(&number.to_string()).map(Some),
        Element::Float(number) => parse(&number.to_string()).map(Some),
        Element::Text(text) => parse(text).map(Some),
    };
    items.iter().map(read).collect()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Timestamp(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Uuid(text)
        | Value::Json(text)
        | Value::Other((_, text)) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Null | Value::Bytes(_) | Value::Sequence(_) => None,
    }
}
