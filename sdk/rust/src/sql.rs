//! The database that the runbook bound to a slot.

use crate::bindings::runbook::sql::{reader, snapshot, types, writer};
use crate::fault::{Fault, Result};
use crate::native::host;
use crate::slot::Slot;

pub use types::{Artifact, Column, Driver, Element, Value};

/// A slot that is bound to one database. The host holds its address and password.
#[derive(Debug, Clone)]
pub struct Database {
    slot: Slot,
}

/// Makes the parameters of a statement: `params!["orders", 5, true]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Value::from($value)),*] };
}

impl Database {
    /// The database of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// The kind of database that the slot is bound to.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `query`.
    #[track_caller]
    pub fn kind(&self) -> Result<Driver> {
        host!("sql/reader.kind", reader::kind(self.slot.name()))
    }

    /// Runs one statement that returns rows, in a transaction that cannot write. Placeholders are
    /// `$1` (PostgreSQL) or `?` (MySQL, MariaDB, SQLite).
    ///
    /// # Errors
    /// `denied` if the grant does not allow the statement, or the database does not allow it to
    /// this user; `invalid` if the statement or a parameter is wrong; `not-found` if a relation
    /// does not exist; `transient` if the server cannot be reached; `timeout` if it takes too long.
    #[track_caller]
    pub fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows> {
        host!("sql/reader.query", reader::query(self.slot.name(), statement, parameters))
            .map(|rows| Rows { columns: rows.columns, rows: rows.rows, truncated: rows.truncated })
    }

    /// Runs one statement, and returns how many rows it touched or returned. Placeholders are those
    /// of [`query`](Self::query).
    ///
    /// # Errors
    /// As [`query`](Self::query); `conflict` if a constraint or a lock forbids it, `unknown` if the
    /// connection broke before the answer.
    #[track_caller]
    pub fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64> {
        host!("sql/writer.execute", writer::execute(self.slot.name(), statement, parameters))
    }

    /// Runs statements in one transaction, all or none, and returns how many rows each touched.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    #[track_caller]
    pub fn transaction(&self, statements: &[(&str, &[Value])]) -> Result<Vec<u64>> {
        let statements: Vec<_> = statements
            .iter()
            .map(|(text, parameters)| types::Statement {
                text: (*text).to_owned(),
                parameters: parameters.to_vec(),
            })
            .collect();
        host!("sql/writer.transaction", writer::transaction(self.slot.name(), &statements))
    }

    /// Copies a SQLite database into a new file of a files slot, compressed if its name ends in
    /// `.zst`.
    ///
    /// # Errors
    /// `denied` if one of the slots is not granted it, `conflict` if the file is there already,
    /// `invalid` if the database is not SQLite.
    #[track_caller]
    pub fn backup(&self, directory: Slot, path: &str) -> Result<Artifact> {
        host!("sql/snapshot.backup", snapshot::backup(self.slot.name(), directory.name(), path))
    }

    /// Replaces the content of a SQLite database by a copy from a files slot, after checking that
    /// the copy is sound.
    ///
    /// # Errors
    /// `denied` if one of the slots is not granted it, `not-found` if there is no such file,
    /// `invalid` if the database is not SQLite, `conflict` if the copy is damaged; nothing is
    /// restored then.
    #[track_caller]
    pub fn restore(&self, directory: Slot, path: &str) -> Result<()> {
        host!("sql/snapshot.restore", snapshot::restore(self.slot.name(), directory.name(), path))
    }
}

/// The result of a query.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The name and type of each column.
    pub columns: Vec<Column>,
    /// The values, row by row.
    pub rows: Vec<Vec<Value>>,
    /// Whether a limit of the target cut the result off, so that there are more rows.
    pub truncated: bool,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, each readable by column name.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }

    /// The first row.
    ///
    /// # Errors
    /// `not-found` if there is no row.
    pub fn first(&self) -> Result<Row<'_>> {
        self.iter()
            .next()
            .ok_or_else(|| Fault::not_found("sql.no-row", "the query returned no row"))
    }
}

/// One row of a result, readable by column name.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    columns: &'a [Column],
    values: &'a [Value],
}

impl<'a> Row<'a> {
    /// The value of a column, by its name.
    ///
    /// # Errors
    /// `invalid` if the result has no such column.
    pub fn value(&self, column: &str) -> Result<&'a Value> {
        let index = self.columns.iter().position(|known| known.name == column);
        index.and_then(|index| self.values.get(index)).ok_or_else(|| {
            Fault::invalid("sql.no-column", format!("the result has no column `{column}`"))
        })
    }

    /// The value of a column as a Rust type. Use `Option` for a column that can be NULL.
    ///
    /// # Errors
    /// `invalid` if the result has no such column, or its value is of another type or NULL.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T> {
        let value = self.value(column)?;
        T::from_value(value).ok_or_else(|| {
            Fault::invalid(
                "sql.type",
                format!(
                    "column `{column}` is {}, which is not what the plugin expects",
                    kind(value)
                ),
            )
        })
    }

    /// The name and value of each column.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.columns.iter().map(|column| column.name.as_str()).zip(self.values)
    }
}

/// The kind of a value, in words for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL",
        Value::Boolean(_) => "a boolean",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Decimal(_) => "a decimal",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
        Value::Timestamp(_) => "a timestamp",
        Value::Date(_) => "a date",
        Value::Time(_) => "a time",
        Value::Uuid(_) => "a uuid",
        Value::Json(_) => "JSON",
        Value::Sequence(_) => "an array",
        Value::Other(_) => "of another type",
    }
}

/// A Rust type as which a value of a database can be read.
pub trait FromValue: Sized {
    /// The value as this type; `None` if it is of another type.
    fn from_value(value: &Value) -> Option<Self>;
}

/// The number that the digits of a decimal are, if the type can hold it.
fn parse_decimal<T: std::str::FromStr>(value: &Value) -> Option<T> {
    if let Value::Decimal(digits) = value { digits.parse().ok() } else { None }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value { Some(*number) } else { parse_decimal(value) }
    }
}

impl FromValue for f64 {
    #[expect(clippy::cast_precision_loss, reason = "who asks for a float takes one")]
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Float(number) = value {
            return Some(*number);
        }
        if let Value::Integer(number) = value {
            Some(*number as Self)
        } else {
            parse_decimal(value)
        }
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        // SQLite and MySQL have no type of their own for it.
        let is_number =
            |number: i64| matches!(value, Value::Integer(value_number) if *value_number == number);
        if let Value::Boolean(truth) = value {
            return Some(*truth);
        }
        (is_number(0) || is_number(1)).then(|| is_number(1))
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text)
            | Value::Decimal(text)
            | Value::Timestamp(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Uuid(text)
            | Value::Json(text)
            | Value::Other((_, text)) => Some(text.clone()),
            Value::Null
            | Value::Boolean(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bytes(_)
            | Value::Sequence(_) => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// A value as JSON, for outputs: bytes become hexadecimal, decimals stay text so that no digit is
/// lost.
pub fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::json;
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(truth) => json!(truth),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Timestamp(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Uuid(text)
        | Value::Other((_, text)) => json!(text),
        Value::Bytes(bytes) => json!(hexadecimal(bytes)),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Value::Sequence(items) => items
            .iter()
            .map(|item| match item {
                Element::Null => serde_json::Value::Null,
                Element::Boolean(truth) => json!(truth),
                Element::Integer(number) => json!(number),
                Element::Float(number) => json!(number),
                Element::Text(text) => json!(text),
            })
            .collect(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(values: Vec<Vec<Value>>) -> Rows {
        let column = |name: &str| Column { name: name.to_owned(), type_name: String::new() };
        Rows { columns: vec![column("id"), column("note")], rows: values, truncated: false }
    }

    #[test]
    fn a_column_is_read_as_the_type_that_is_asked_for_or_said_not_to_be() {
        let rows = rows(vec![vec![Value::Integer(7), Value::Null]]);
        let row = rows.first().expect("there is one");
        assert_eq!(row.get::<i64>("id").ok(), Some(7));
        assert_eq!(row.get::<Option<String>>("note").ok(), Some(None));
        let codes =
            [row.get::<String>("id"), row.get::<String>("note"), row.get::<String>("nobody")]
                .map(|result| result.expect_err("it cannot be read").code);
        assert_eq!(codes, ["sql.type", "sql.type", "sql.no-column"]);
    }

    #[test]
    fn first_of_an_empty_result_is_a_not_found_fault() {
        assert_eq!(
            rows(Vec::new()).first().expect_err("there is none").class,
            crate::FaultClass::NotFound
        );
    }

    #[test]
    fn only_0_and_1_are_read_as_a_boolean() {
        let truths = [0, 1, 2].map(|number| bool::from_value(&Value::Integer(number)));
        assert_eq!(truths, [Some(false), Some(true), None]);
    }

    #[test]
    fn no_digit_is_lost_on_the_way_into_json() {
        assert_eq!(
            to_json(&Value::Decimal("0.10000000000000000000001".to_owned())),
            json!("0.10000000000000000000001")
        );
        assert_eq!(to_json(&Value::Bytes(vec![0, 171, 255])), json!("00abff"));
        assert_eq!(to_json(&Value::Json("{\"a\":1}".to_owned())), json!({ "a": 1 }));
        assert_eq!(
            to_json(&Value::Json("{".to_owned())),
            json!("{"),
            "what is not JSON stays text"
        );
        assert_eq!(
            to_json(&Value::Sequence(vec![Element::Integer(1), Element::Null])),
            json!([1, null])
        );
    }

    #[test]
    fn parameters_become_values_of_their_types() {
        let parameters: &[Value] = params!["orders", 5_i64, true];
        assert!(matches!(parameters, [Value::Text(_), Value::Integer(5), Value::Boolean(true)]));
    }
}
