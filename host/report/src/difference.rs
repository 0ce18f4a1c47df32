//! The differences between what a step's plugin observed before and now, in words.

use serde_json::Value;

/// How many differences are shown at most.
const MAX_DIFFERENCES: usize = 3;

/// The differences between two JSON values in one line: `` `exists` was false and is true ``.
pub(crate) fn text(before: &Value, now: &Value) -> String {
    let mut found = Vec::new();
    collect(before, now, "", &mut found);
    let more = found.len().saturating_sub(MAX_DIFFERENCES);
    found.truncate(MAX_DIFFERENCES);
    if more > 0 {
        found.push(format!("{more} more"));
    }
    found.join(", ")
}

fn collect(before: &Value, now: &Value, path: &str, found: &mut Vec<String>) {
    let (Value::Object(old_members), Value::Object(new_members)) = (before, now) else {
        if before != now {
            let name = if path.is_empty() { String::new() } else { format!("`{path}` ") };
            found.push(format!("{name}was {} and is {}", value_text(before), value_text(now)));
        }
        return;
    };
    let keys: std::collections::BTreeSet<&String> =
        old_members.keys().chain(new_members.keys()).collect();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect(
            old_members.get(key).unwrap_or(&Value::Null),
            new_members.get(key).unwrap_or(&Value::Null),
            &path,
            found,
        );
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "not there".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "there".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::text;
    use serde_json::json;

    #[test]
    fn only_differences_are_named_and_no_json_is_shown() {
        assert_eq!(
            text(&json!({ "exists": false, "name": "x" }), &json!({ "exists": true, "name": "x" })),
            "`exists` was false and is true"
        );
        assert_eq!(
            text(&json!({ "a": { "b": 1 } }), &json!({ "a": { "b": "two", "c": [1, 2] } })),
            "`a.b` was 1 and is `two`, `a.c` was not there and is a list of 2"
        );
        assert_eq!(text(&json!(null), &json!({ "a": 1 })), "was not there and is there");
        let many = |n: i32| {
            json!((0..6).map(|key| (key.to_string(), json!(n))).collect::<serde_json::Map<_, _>>())
        };
        assert!(text(&many(1), &many(2)).ends_with("`2` was 1 and is 2, 3 more"));
    }
}
