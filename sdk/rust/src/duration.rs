//! Durations in inputs, written with their unit as everywhere in runbooks: `"5m"`, `"1h30m"`,
//! `"250ms"`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A duration such as `"5m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// The duration in whole seconds, rounded down.
    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// The duration in milliseconds, with its fraction.
    pub fn as_millis_f64(self) -> f64 {
        self.0.as_secs_f64() * 1_000.0
    }
}

const UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Parses a duration with its units, such as `5m`, `1h30m` or `250ms`: `ms`, `s`, `m`, `h`, `d` and
/// `w`. Returns `None` for any other text.
pub fn parse(text: &str) -> Option<Duration> {
    let mut total_ms = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let part_ms = match number.parse::<u64>() {
            Ok(part_ms) => part_ms.checked_mul(*factor)?,
            Err(_) => fraction(number, *factor)?,
        };
        total_ms = total_ms.checked_add(part_ms)?;
        rest = next;
    }
    Some(Duration::from_millis(total_ms))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "fractions of a unit are small"
)]
fn fraction(number: &str, factor: u64) -> Option<u64> {
    number
        .parse::<f64>()
        .ok()
        .filter(|value| value.is_finite() && *value >= 0.0 && *value < 1e9)
        .map(|value| (value * factor as f64) as u64)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is not a duration such as `5m`"))
        })
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}ms", self.0.as_millis()))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^\\s*([0-9]+(\\.[0-9]+)?(ms|s|m|h|d|w))+\\s*$",
            "description": "a duration with its unit, such as 5m"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse("5m"), Some(Duration::from_mins(5)));
        assert_eq!(parse("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(parse("1.5s"), Some(Duration::from_millis(1_500)));
        for text in ["", "5", "m", "5x", "-1s"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
