//! TOML values with their spans.

use crate::source::{Source, Span};
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// A value with its span.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The bytes of the value in its file.
    pub span: Span,
    /// The value that stands there.
    pub value: Value,
    /// The file that the span belongs to, if it is not the file in which the value is used.
    pub other_source: Option<Arc<Source>>,
}

/// A TOML value. Dates are kept as text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string, with its escapes resolved.
    String(String),
    /// A whole number that fits into 64 bits; a bigger one is read as a float.
    Integer(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// One of the words `true` and `false`.
    Boolean(bool),
    /// A date, a time or both, as written.
    Datetime(String),
    /// An array, its items in file order.
    Array(Vec<Node>),
    /// A table, inline or under a header.
    Table(Table),
}

impl Value {
    /// The TOML name of the kind, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// A string from a file that is not TOML: the text at `span`.
    pub fn text(source: &Arc<Source>, span: Span) -> Self {
        let value = Value::String(source.text().get(span.clone()).unwrap_or_default().to_owned());
        Self { span, value, other_source: Some(Arc::clone(source)) }
    }

    /// An array whose items come from another file.
    pub fn list(source: &Arc<Source>, span: Span, items: Vec<Self>) -> Self {
        Self { span, value: Value::Array(items), other_source: Some(Arc::clone(source)) }
    }

    /// The same value and all values in it, with `source` as the file that they come from.
    #[must_use]
    pub fn with_source(mut self, source: &Arc<Source>) -> Self {
        self.other_source = Some(Arc::clone(source));
        self.value = match self.value {
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| item.with_source(source)).collect())
            }
            Value::Table(mut table) => {
                for (_, node) in &mut table.entries {
                    *node = node.clone().with_source(source);
                }
                Value::Table(table)
            }
            plain @ (Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)) => plain,
        };
        self
    }

    /// The file that the value comes from, if it is used in the file `using`.
    pub fn source<'a>(&'a self, using: &'a Arc<Source>) -> &'a Arc<Source> {
        self.other_source.as_ref().unwrap_or(using)
    }

    /// The date, such as `2027-01-31`, if it is one without a time.
    pub fn date(&self) -> Option<&str> {
        match &self.value {
            Value::Datetime(text) => {
                Some(text.as_str()).filter(|text| text.len() == 10 && !text.contains(':'))
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Array(_)
            | Value::Table(_) => None,
        }
    }

    /// The value as JSON. Dates become strings, as JSON has none.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::String(text) | Value::Datetime(text) => Json::from(text.as_str()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Boolean(truth) => Json::from(*truth),
            Value::Array(items) => items.iter().map(Node::to_json).collect(),
            Value::Table(table) => table.to_json(),
        }
    }
}

/// A key with its span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The bytes of the key.
    pub span: Span,
    /// The text of the key, without quotes.
    pub name: String,
}

/// A table, its entries in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The bytes of the table, or of its header.
    pub span: Span,
    /// Key and value, in file order.
    pub entries: Vec<(Key, Node)>,
    /// Whether a part of it could not be read, which a diagnostic reports. Then nothing is known
    /// about missing keys.
    pub is_partial: bool,
}

impl Table {
    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The table as a JSON object, in file order.
    pub fn to_json(&self) -> serde_json::Value {
        self.entries
            .iter()
            .map(|(key, node)| (key.name.clone(), node.to_json()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

pub(crate) fn table_from_toml(span: Span, table: &DeTable<'_>) -> Table {
    let mut entries: Vec<(Key, Node)> = table
        .iter()
        .map(|(key, value)| {
            let key = Key { span: key.span(), name: key.get_ref().to_string() };
            (key, node_from_toml(value))
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    Table { span, entries, is_partial: false }
}

fn node_from_toml(value: &toml::Spanned<DeValue<'_>>) -> Node {
    let span = value.span();
    Node { span: span.clone(), value: value_from_toml(span, value.get_ref()), other_source: None }
}

fn value_from_toml(span: Span, value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(
                |_| Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
                Value::Integer,
            ),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(date) => Value::Datetime(date.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(node_from_toml).collect()),
        DeValue::Table(table) => Value::Table(table_from_toml(span, table)),
    }
}
