//! `redis:key`

use crate::{database, number, text};
use runbook_sdk::assertion::start_of;
use runbook_sdk::prelude::*;

/// A key, and what it must be. What is absent is not compared.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The name of the key.
    key: String,
    /// Whether it must exist; true if absent.
    exists: Option<bool>,
    /// The type that it must have: `string`, `list`, `set`, `zset`, `hash` or `stream`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The text that it must hold.
    equals: Option<String>,
    /// It must have at least as many bytes or elements.
    min_length: Option<i64>,
    /// It must have at most as many bytes or elements.
    max_length: Option<i64>,
    /// It must not expire sooner. A key that does not expire is good.
    min_ttl: Option<Span>,
    /// It must expire, and no later.
    max_ttl: Option<Span>,
}

/// What the key is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    exists: bool,
    /// Its type; `none` if it does not exist.
    #[serde(rename = "type")]
    kind: String,
    /// Its bytes or elements; null for a type that has no length.
    length: Option<i64>,
    /// Milliseconds until it expires; null if it does not.
    ttl_ms: Option<i64>,
}

pub(crate) fn key(_job: &Job, input: Input) -> Result<Report<Output>> {
    let db = database();
    let kind = text(&db.read(["type", &input.key])?)?.to_owned();
    let length = match length_command(&kind) {
        Some(command) => Some(number(&db.read([command, &input.key])?)?),
        None => None,
    };
    let ttl_ms = Some(number(&db.read(["pttl", &input.key])?)?).filter(|ttl| *ttl >= 0);
    let value = if input.equals.is_some() && kind == "string" {
        db.read(["get", &input.key])?.text().map(str::to_owned)
    } else {
        None
    };
    let output = Output { exists: kind != "none", kind, length, ttl_ms };
    Ok(report(&input, output, value.as_deref()))
}

fn length_command(kind: &str) -> Option<&'static str> {
    const COMMANDS: [(&str, &str); 6] = [
        ("string", "strlen"),
        ("list", "llen"),
        ("set", "scard"),
        ("zset", "zcard"),
        ("hash", "hlen"),
        ("stream", "xlen"),
    ];
    COMMANDS.iter().find(|(known, _)| *known == kind).map(|(_, command)| *command)
}

fn report(input: &Input, output: Output, value: Option<&str>) -> Report<Output> {
    let key = &input.key;
    let mut assertions = Assertions::new();
    let must_exist = input.exists.unwrap_or(true);
    assertions.holds(output.exists == must_exist, || {
        if must_exist { "it does not exist".to_owned() } else { "it exists".to_owned() }
    });
    if output.exists && must_exist {
        if let Some(kind) = &input.kind {
            assertions.equals("its type", &output.kind, kind);
        }
        if let Some(expected) = &input.equals {
            assertions.holds(value == Some(expected), || match value {
                Some(value) => format!("it holds `{}`", start_of(value)),
                None => "it holds no text".to_owned(),
            });
        }
        let length = output.length.unwrap_or_default();
        if let Some(least) = input.min_length {
            assertions
                .holds(length >= least, || format!("its length is {length}, less than {least}"));
        }
        if let Some(most) = input.max_length {
            assertions
                .holds(length <= most, || format!("its length is {length}, more than {most}"));
        }
        compare_ttl(&mut assertions, input, output.ttl_ms);
    }
    let summary = if assertions.all_hold() {
        let length = output.length.map(|length| format!(", length {length}")).unwrap_or_default();
        format!("`{key}`: {}{length}", output.kind)
    } else {
        format!("`{key}`: {}", assertions.failures().join("; "))
    };
    Report::pass_if(assertions.all_hold(), summary, output)
}

fn compare_ttl(assertions: &mut Assertions, input: &Input, ttl_ms: Option<i64>) {
    let ms = |span: Span| i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX);
    if let (Some(least), Some(ttl)) = (input.min_ttl, ttl_ms) {
        assertions.holds(ttl >= ms(least), || format!("it expires in {ttl} ms"));
    }
    if let Some(most) = input.max_ttl {
        assertions.holds(ttl_ms.is_some_and(|ttl| ttl <= ms(most)), || match ttl_ms {
            Some(ttl) => format!("it expires in {ttl} ms"),
            None => "it does not expire".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_expectation_is_compared() {
        let found =
            |exists: bool, kind: &str, ttl_ms: Option<i64>, value: Option<&str>, input: &Json| {
                let input = serde_json::from_value(input.clone()).expect("good input");
                let output = Output { exists, kind: kind.to_owned(), length: Some(5), ttl_ms };
                report(&input, output, value).outcome
            };
        let string = |input: Json| found(true, "string", Some(5000), Some("hello"), &input);
        let pass = [
            json!({ "key": "a" }),
            json!({ "key": "a", "equals": "hello", "type": "string" }),
            json!({ "key": "a", "min_length": 5, "max_length": 5, "min_ttl": "5s", "max_ttl": "5s" }),
        ];
        for input in pass {
            assert_eq!(string(input.clone()), Outcome::Pass, "{input}");
        }
        for input in [
            json!({ "key": "a", "exists": false }),
            json!({ "key": "a", "equals": "other" }),
            json!({ "key": "a", "type": "list" }),
            json!({ "key": "a", "min_length": 6 }),
            json!({ "key": "a", "max_length": 4 }),
            json!({ "key": "a", "min_ttl": "6s" }),
            json!({ "key": "a", "max_ttl": "4s" }),
        ] {
            assert_eq!(string(input.clone()), Outcome::Fail, "{input}");
        }
        let absent = |input: Json| found(false, "none", None, None, &input);
        assert_eq!(absent(json!({ "key": "a" })), Outcome::Fail);
        assert_eq!(absent(json!({ "key": "a", "exists": false })), Outcome::Pass);
        let lasting = found(true, "list", None, None, &json!({ "key": "a", "min_ttl": "1h" }));
        assert_eq!(lasting, Outcome::Pass);
        let never = found(true, "list", None, None, &json!({ "key": "a", "max_ttl": "1h" }));
        assert_eq!(never, Outcome::Fail);
    }
}
