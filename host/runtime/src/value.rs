//! Checks JSON values against the schemas of operations: input before the plugin gets it, output
//! before it is used.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// A compiled JSON schema; `None` accepts every value.
#[derive(Debug)]
pub(crate) struct Schema(Option<Validator>);

/// A schema that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SchemaError {
    reason: String,
}

/// The first mismatch of a value with its schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {shown_pointer}: {reason}")]
pub struct Mismatch {
    /// [`pointer`](Self::pointer) as the message shows it.
    shown_pointer: String,
    reason: String,
    /// The first key of the pointer; `None` at the top.
    key: Option<Box<str>>,
    /// Where the value does not fit, as a JSON pointer.
    pointer: String,
    /// The keyword of the schema that the value breaks: `type`, `required`, `pattern`.
    keyword: Box<str>,
    /// The required key that is missing.
    missing: Option<Box<str>>,
}

impl Mismatch {
    /// The first key of the pointer; `None` at the top.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Where the value does not fit, as a JSON pointer; empty at the top.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The keyword of the schema that the value breaks: `type`, `required`, `pattern`.
    pub fn keyword(&self) -> &str {
        &self.keyword
    }

    /// The required key that is missing at [`pointer`](Self::pointer).
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// The reason, without the pointer and without the value.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn of(error: &jsonschema::ValidationError<'_>) -> Self {
        let pointer = error.instance_path().as_str().to_owned();
        let shown_pointer =
            if pointer.is_empty() { "the top".to_owned() } else { format!("`{pointer}`") };
        let key = pointer.split('/').nth(1).map(Box::from);
        let keyword = error.kind().keyword().into();
        let missing = match error.kind() {
            jsonschema::error::ValidationErrorKind::Required { property } => {
                property.as_str().map(Box::from)
            }
            _ => None,
        };
        // Without the value itself: it may be long, and it may be a secret.
        Self {
            shown_pointer,
            reason: error.masked_with("the value").to_string(),
            key,
            pointer,
            keyword,
            missing,
        }
    }
}

impl Schema {
    /// Compiles a schema; `null` (a plugin built without schemas) and `true` accept everything.
    ///
    /// A schema comes with a plugin and is not trusted: external references are not fetched, and
    /// patterns are matched in linear time.
    pub(crate) fn parse(schema: &Value) -> Result<Self, SchemaError> {
        if matches!(schema, Value::Null | Value::Bool(true)) {
            return Ok(Self(None));
        }
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let validator =
            options.build(schema).map_err(|error| SchemaError { reason: error.to_string() })?;
        Ok(Self(Some(validator)))
    }

    /// Checks one value against the schema.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Mismatch> {
        let Some(validator) = &self.0 else { return Ok(()) };
        validator.validate(value).map_err(|error| Mismatch::of(&error))
    }

    /// Everything that is wrong with one value.
    pub(crate) fn mismatches(&self, value: &Value) -> Vec<Mismatch> {
        self.0
            .iter()
            .flat_map(|validator| validator.iter_errors(value))
            .map(|error| Mismatch::of(&error))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mismatch_names_the_place_and_hides_the_value() {
        let schema = Schema::parse(&json!({
            "type": "object",
            "properties": { "older_than": { "type": "string", "pattern": "^[0-9]+m$" } },
            "required": ["older_than"],
        }))
        .unwrap();
        assert!(schema.check(&json!({ "older_than": "5m" })).is_ok());
        let pattern_mismatch =
            schema.check(&json!({ "older_than": "hunter2" })).unwrap_err().to_string();
        assert!(
            pattern_mismatch.starts_with("at `/older_than`: ")
                && !pattern_mismatch.contains("hunter2"),
            "{pattern_mismatch}"
        );
        let missing = schema.check(&json!({})).unwrap_err().to_string();
        assert!(missing.contains("older_than"), "{missing}");
    }

    #[test]
    fn no_schema_accepts_everything() {
        assert!(Schema::parse(&Value::Null).unwrap().check(&json!([1])).is_ok());
        assert!(Schema::parse(&json!(true)).unwrap().check(&json!({})).is_ok());
        assert!(Schema::parse(&json!(false)).unwrap().check(&json!({})).is_err());
    }

    #[test]
    fn a_schema_cannot_fetch_references_or_match_slowly() {
        for reference in ["http://127.0.0.1:1/x", "file:///etc/passwd"] {
            assert!(Schema::parse(&json!({ "$ref": reference })).is_err(), "{reference}");
        }
        let slow_pattern =
            Schema::parse(&json!({ "type": "string", "pattern": "^(a+)+$" })).unwrap();
        let started = std::time::Instant::now();
        assert!(slow_pattern.check(&json!("a".repeat(50_000) + "!")).is_err());
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
