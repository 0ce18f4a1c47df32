//! The bundled plugin `sql`: queries and changes a database with the statements that the runbook
//! writes.

mod change;
mod query;

runbook_sdk::plugin! {
    probes: { "query" => query::query },
    steps: { "execute" => change::Execute, "transaction" => change::Transaction },
}

/// A parameter of a statement, from JSON.
pub(crate) fn parameter(
    value: &runbook_sdk::serde_json::Value,
) -> runbook_sdk::Result<runbook_sdk::sql::Value> {
    use runbook_sdk::serde_json::Value as Json;
    use runbook_sdk::sql::Value;
    Ok(match value {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Boolean(*truth),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Integer(whole),
            (None, Some(float)) => Value::Float(float),
            (None, None) => {
                return Err(runbook_sdk::Fault::invalid(
                    "sql.parameter",
                    format!("`{number}` is too large"),
                ));
            }
        },
        Json::Array(_) | Json::Object(_) => Value::Json(value.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::parameter;
    use runbook_sdk::serde_json::json;
    use runbook_sdk::sql::Value;

    #[test]
    fn parameters_keep_their_type() {
        assert!(matches!(parameter(&json!(5)), Ok(Value::Integer(5))));
        assert!(matches!(parameter(&json!("x")), Ok(Value::Text(text)) if text == "x"));
        assert!(matches!(parameter(&json!(null)), Ok(Value::Null)));
        assert!(
            matches!(parameter(&json!({ "a": 1 })), Ok(Value::Json(text)) if text == "{\"a\":1}")
        );
    }
}
