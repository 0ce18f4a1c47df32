//! `sql:query`

use crate::parameter;
use runbook_sdk::assertion::pluralize;
use runbook_sdk::prelude::*;
use runbook_sdk::sql::{Database, Rows, to_json};
use std::collections::BTreeMap;

/// What to read, and what is expected of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// One statement that returns rows. Placeholders are `$1` (PostgreSQL) or `?` (MySQL, MariaDB,
    /// SQLite).
    statement: String,
    /// Values of the placeholders.
    #[serde(default)]
    parameters: Vec<Json>,
    /// How many rows there must be.
    row_count: Option<u64>,
    /// The least number of rows.
    min_rows: Option<u64>,
    /// The greatest number of rows.
    max_rows: Option<u64>,
    /// What columns of the first row must be.
    #[serde(default)]
    first_row: BTreeMap<String, Json>,
    /// What columns of every row must be.
    #[serde(default)]
    every_row: BTreeMap<String, Json>,
}

/// The rows that were read.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How many rows there are; at most as many as the target allows.
    row_count: u64,
    /// All of them: column and value.
    rows: Vec<serde_json::Map<String, Json>>,
    /// Whether the target's `max_rows` or `max_bytes` cut the result, so that there are more rows
    /// than these.
    truncated: bool,
}

pub(crate) fn query(_job: &Job, input: Input) -> Result<Report<Output>> {
    let parameters = input.parameters.iter().map(parameter).collect::<Result<Vec<_>>>()?;
    let rows = Database::slot(slot!("db")).query(&input.statement, &parameters)?;
    let found = as_json(&rows);
    let assertions = assertions(&input, &found, rows.truncated);
    let output = Output { row_count: found.len() as u64, rows: found, truncated: rows.truncated };
    let summary = match assertions.failures() {
        [] if output.rows.len() == 1 => describe(&output.rows[0]),
        [] if output.truncated => {
            format!("{} or more, the target's limit cut them", pluralize(output.row_count, "row"))
        }
        [] => pluralize(output.row_count, "row"),
        failures => failures.join("; "),
    };
    Ok(Report::pass_if(assertions.all_hold(), summary, output))
}

fn as_json(rows: &Rows) -> Vec<serde_json::Map<String, Json>> {
    rows.iter()
        .map(|row| row.iter().map(|(name, value)| (name.to_owned(), to_json(value))).collect())
        .collect()
}

fn assertions(
    input: &Input,
    rows: &[serde_json::Map<String, Json>],
    truncated: bool,
) -> Assertions {
    let mut assertions = Assertions::new();
    let count = rows.len() as u64;
    if let Some(expected) = input.row_count {
        // Of a result that was cut nobody knows how many there are.
        assertions.holds(!truncated || count > expected, || {
            format!(
                "there are {count} rows or more, which the target's limit cut; expected {expected}"
            )
        });
        assertions.equals("the number of rows", &count, &expected);
    }
    if let Some(minimum) = input.min_rows {
        assertions.holds(count >= minimum, || {
            format!("there are {count} rows, expected at least {minimum}")
        });
    }
    if let Some(maximum) = input.max_rows {
        assertions.holds(count <= maximum && !truncated, || {
            format!("there are {count} rows or more, expected at most {maximum}")
        });
    }
    if !input.first_row.is_empty() {
        match rows.first() {
            Some(row) => compare(&mut assertions, "the first row", row, &input.first_row),
            None => {
                assertions.holds(false, || "there is no row".to_owned());
            }
        }
    }
    if !input.every_row.is_empty() {
        assertions.holds(!rows.is_empty(), || "there is no row".to_owned());
        assertions.holds(!truncated, || {
            "the target's limit cut the rows, so not every row was seen".to_owned()
        });
        for (index, row) in rows.iter().enumerate() {
            compare(&mut assertions, &format!("row {}", index + 1), row, &input.every_row);
        }
    }
    assertions
}

fn compare(
    assertions: &mut Assertions,
    which: &str,
    row: &serde_json::Map<String, Json>,
    expected: &BTreeMap<String, Json>,
) {
    for (column, expected) in expected {
        match row.get(column) {
            Some(found) => assertions.holds(equal_or_same_number(found, expected), || {
                format!("`{column}` of {which} is {found}, expected {expected}")
            }),
            None => assertions.holds(false, || format!("{which} has no column `{column}`")),
        };
    }
}

/// Equal, or a number that one side has as text: decimals arrive as text so that no digit is lost.
fn equal_or_same_number(found: &Json, expected: &Json) -> bool {
    let number = |value: &Json| {
        value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse::<f64>().ok()))
    };
    found == expected
        || (expected.is_number() && number(found).is_some() && number(found) == number(expected))
}

fn describe(row: &serde_json::Map<String, Json>) -> String {
    let parts: Vec<_> = row
        .iter()
        .map(|(name, value)| {
            format!("{name} = {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect();
    parts.join(", ").chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(input: Json, rows: Json) -> Vec<String> {
        let input: Input = serde_json::from_value(input).expect("the test's input fits");
        let rows: Vec<_> = serde_json::from_value(rows).expect("the test's rows fit");
        assertions(&input, &rows, false).failures().to_vec()
    }

    #[test]
    fn a_query_that_returns_no_row_never_passes_an_assertion_about_rows() {
        assert_eq!(
            failures(json!({ "statement": "s", "first_row": { "a": 1 } }), json!([])),
            ["there is no row"]
        );
        assert_eq!(
            failures(json!({ "statement": "s", "every_row": { "a": 1 } }), json!([])),
            ["there is no row"]
        );
    }

    #[test]
    fn rows_are_compared_column_by_column() {
        let input = json!({ "statement": "s", "row_count": 2, "every_row": { "state": "ok" } });
        assert_eq!(
            failures(input, json!([{ "state": "ok" }, { "state": "bad" }])),
            ["`state` of row 2 is \"bad\", expected \"ok\""]
        );
        assert!(
            failures(
                json!({ "statement": "s", "first_row": { "n": 1.5 } }),
                json!([{ "n": "1.50" }])
            )
            .is_empty()
        );
        assert_eq!(
            failures(json!({ "statement": "s", "first_row": { "m": 1 } }), json!([{ "n": 1 }])),
            ["the first row has no column `m`"]
        );
    }
}
