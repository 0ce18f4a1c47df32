//! Values that cases capture and later ones use as `${name}`.

use runbook_sdk::serde_json::Value as Json;
use std::collections::BTreeMap;

/// The values that cases have captured so far, by name.
#[derive(Debug, Default)]
pub(crate) struct Values(BTreeMap<String, String>);

impl Values {
    /// Keeps a captured value under a name.
    pub(crate) fn set(&mut self, name: &str, value: &Json) {
        self.0.insert(
            name.to_owned(),
            value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        );
    }

    /// A text with every `${name}` replaced, or the first name that was not captured.
    pub(crate) fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else { break };
            filled.push_str(before);
            filled.push_str(self.0.get(name).ok_or_else(|| name.to_owned())?);
            rest = tail;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// A JSON value in which every text is filled as [`fill`](Self::fill) does.
    pub(crate) fn fill_json(&self, value: &Json) -> Result<Json, String> {
        Ok(match value {
            Json::String(text) => Json::String(self.fill(text)?),
            Json::Array(items) => {
                items.iter().map(|item| self.fill_json(item)).collect::<Result<_, _>>()?
            }
            Json::Object(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), self.fill_json(value)?)))
                    .collect::<Result<_, String>>()?,
            ),
            Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        })
    }
}

/// Every text in some JSON.
pub(crate) fn texts(value: &Json) -> Vec<&str> {
    match value {
        Json::String(text) => vec![text],
        Json::Array(items) => items.iter().flat_map(texts).collect(),
        Json::Object(entries) => entries.values().flat_map(texts).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::serde_json::json;

    #[test]
    fn captured_values_fill_texts_and_missing_ones_are_named() {
        let mut values = Values::default();
        values.set("id", &json!(7));
        values.set("name", &json!("a b"));
        assert_eq!(values.fill("/orders/${id}/${name}"), Ok("/orders/7/a b".to_owned()));
        assert_eq!(values.fill("/orders/${nobody}"), Err("nobody".to_owned()));
        assert_eq!(values.fill("$5 and ${"), Ok("$5 and ${".to_owned()));
        assert_eq!(values.fill_json(&json!({ "a": ["${id}", 1] })), Ok(json!({ "a": ["7", 1] })));
    }
}
