//! Reads a [`Table`] key by key, and reports every mistake and every unknown key.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Key, Node, Table, Value};
use crate::quantity::{ByteSize, parse_byte_size, parse_duration};
use crate::source::{Source, Span};
use std::sync::Arc;
use std::time::Duration;

/// A value with its span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value that was read.
    pub value: T,
    /// The bytes of the value in its file.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Another value with the same span.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: f(self.value), span: self.span }
    }
}

/// A type that can be read from one TOML value.
pub trait FromNode: Sized {
    /// What is expected, with an example, such as ``a duration such as `"5m"` ``.
    const EXPECTED: &'static str;

    /// The value, or `None` if the node is of another kind or shape.
    fn from_node(node: &Node) -> Option<Self>;
}

impl FromNode for String {
    const EXPECTED: &'static str = "a string";
    fn from_node(node: &Node) -> Option<Self> {
        if let Value::String(text) = &node.value { Some(text.clone()) } else { None }
    }
}

impl FromNode for bool {
    const EXPECTED: &'static str = "`true` or `false`";
    fn from_node(node: &Node) -> Option<Self> {
        if let Value::Boolean(truth) = node.value { Some(truth) } else { None }
    }
}

impl FromNode for i64 {
    const EXPECTED: &'static str = "an integer";
    fn from_node(node: &Node) -> Option<Self> {
        if let Value::Integer(number) = node.value { Some(number) } else { None }
    }
}

impl FromNode for u32 {
    const EXPECTED: &'static str = "an integer of 0 or more";
    fn from_node(node: &Node) -> Option<Self> {
        i64::from_node(node).and_then(|number| Self::try_from(number).ok())
    }
}

impl FromNode for u64 {
    const EXPECTED: &'static str = "an integer of 0 or more";
    fn from_node(node: &Node) -> Option<Self> {
        i64::from_node(node).and_then(|number| Self::try_from(number).ok())
    }
}

impl FromNode for f64 {
    const EXPECTED: &'static str = "a number";
    #[expect(clippy::cast_precision_loss, reason = "an integer in a place for a float is small")]
    fn from_node(node: &Node) -> Option<Self> {
        match node.value {
            Value::Float(number) => Some(number),
            Value::Integer(number) => Some(number as Self),
            _ => None,
        }
    }
}

impl FromNode for Duration {
    const EXPECTED: &'static str = "a duration with its unit, such as `\"5m\"`";
    fn from_node(node: &Node) -> Option<Self> {
        String::from_node(node).and_then(|text| parse_duration(&text))
    }
}

impl FromNode for ByteSize {
    const EXPECTED: &'static str = "a size with its unit, such as `\"10MiB\"`";
    fn from_node(node: &Node) -> Option<Self> {
        String::from_node(node).and_then(|text| parse_byte_size(&text))
    }
}

impl FromNode for Table {
    const EXPECTED: &'static str = "a table such as `{ key = \"value\" }`";
    fn from_node(node: &Node) -> Option<Self> {
        if let Value::Table(table) = &node.value { Some(table.clone()) } else { None }
    }
}

impl FromNode for Node {
    const EXPECTED: &'static str = "a value";
    fn from_node(node: &Node) -> Option<Self> {
        Some(node.clone())
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    const EXPECTED: &'static str = "a list such as `[\"a\", \"b\"]`";
    fn from_node(node: &Node) -> Option<Self> {
        if let Value::Array(items) = &node.value {
            items.iter().map(T::from_node).collect()
        } else {
            None
        }
    }
}

impl<T: FromNode> FromNode for Spanned<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_node(node: &Node) -> Option<Self> {
        T::from_node(node).map(|value| Self { value, span: node.span.clone() })
    }
}

/// Reads one table. Ask for each key that the format knows, then call [`Reader::finish`].
#[derive(Debug)]
pub struct Reader<'a> {
    table: &'a Table,
    source: &'a Arc<Source>,
    /// What the table is, for messages: ``step `backup` ``.
    subject: String,
    /// The keys that were asked for so far.
    known: Vec<&'static str>,
    diagnostics: &'a mut Diagnostics,
}

impl<'a> Reader<'a> {
    /// A reader of `table`, which messages call `subject`.
    pub fn new(
        source: &'a Arc<Source>,
        table: &'a Table,
        subject: impl Into<String>,
        diagnostics: &'a mut Diagnostics,
    ) -> Self {
        Self { table, source, subject: subject.into(), known: Vec::new(), diagnostics }
    }

    /// The file that is read.
    pub fn source(&self) -> &'a Arc<Source> {
        self.source
    }

    /// The table that is read.
    pub fn table(&self) -> &'a Table {
        self.table
    }

    /// The collection to which diagnostics are added.
    pub fn diagnostics(&mut self) -> &mut Diagnostics {
        self.diagnostics
    }

    /// The value under `key`, if the key is there and its value is of the right kind; a wrong kind
    /// is reported.
    pub fn optional<T: FromNode>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        self.known.push(key);
        let node = self.table.get(key)?;
        let value = T::from_node(node);
        if value.is_none() {
            let found = describe(node);
            self.error(
                "E0203",
                node.span.clone(),
                format!("`{key}` of {} must be {}, not {found}", self.subject, T::EXPECTED),
                "wrong type",
            );
        }
        value.map(|value| Spanned { value, span: node.span.clone() })
    }

    /// Reads a value as [`Reader::optional`] does, and reports a missing key.
    pub fn required<T: FromNode>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        if self.table.get(key).is_none() {
            self.known.push(key);
            let message = format!("{} has no `{key}`, which must be {}", self.subject, T::EXPECTED);
            let span = self.table.span.clone();
            self.error("E0202", span, message, format!("`{key}` is missing"));
            return None;
        }
        self.optional(key)
    }

    /// A sub-table under `key`, read by `read`; absent is `None`.
    pub fn section<T>(
        &mut self,
        key: &'static str,
        subject: impl Into<String>,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> Option<T> {
        let table = self.optional::<Table>(key)?.value;
        let mut reader = Reader::new(self.source, &table, subject, self.diagnostics);
        let value = read(&mut reader);
        reader.finish();
        Some(value)
    }

    /// Reads each entry of a table of tables such as `[params.NAME]`, by its key and a reader of
    /// its value.
    pub fn read_named<T>(
        &mut self,
        key: &'static str,
        noun: &str,
        mut read: impl FnMut(&Key, &mut Reader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(table) = self.optional::<Table>(key) else { return Vec::new() };
        let mut values = Vec::new();
        for (name, node) in &table.value.entries {
            let Value::Table(inner) = &node.value else {
                let message =
                    format!("{noun} `{}` must be a table, not {}", name.name, describe(node));
                let help = format!("write `[{key}.{}]` and its keys below", name.name);
                self.error_with_help("E0203", node.span.clone(), message, "wrong type", help);
                continue;
            };
            let mut reader = Reader::new(
                self.source,
                inner,
                format!("{noun} `{}`", name.name),
                self.diagnostics,
            );
            let value = read(name, &mut reader);
            reader.finish();
            values.extend(value);
        }
        values
    }

    /// Reads each table of an array of tables such as `[[step]]`.
    pub fn read_each<T>(
        &mut self,
        key: &'static str,
        noun: &str,
        mut read: impl FnMut(&mut Reader<'_>) -> Option<T>,
    ) -> Vec<T> {
        if let Some(node @ Node { value: Value::Table(_), .. }) = self.table.get(key) {
            self.known.push(key);
            let message =
                format!("`{key}` of {} must be a list of tables, not one table", self.subject);
            let help = format!("write `[[{key}]]`, with two brackets, before each {noun}");
            self.error_with_help("E0203", node.span.clone(), message, "one table", help);
            return Vec::new();
        }
        let Some(tables) = self.optional::<Vec<Table>>(key) else { return Vec::new() };
        let mut values = Vec::new();
        for (index, table) in tables.value.iter().enumerate() {
            let subject =
                match table.get("id").or_else(|| table.get("name")).map(|node| &node.value) {
                    Some(Value::String(id)) => format!("{noun} `{id}`"),
                    _ => format!("{noun} {}", index + 1),
                };
            let mut reader = Reader::new(self.source, table, subject, self.diagnostics);
            let value = read(&mut reader);
            reader.finish();
            values.extend(value);
        }
        values
    }

    /// What messages call this table.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Reports an error at a span of this file.
    pub fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) {
        self.diagnostics.push(Diagnostic::error(code, self.source, span, message).label(label));
    }

    /// Reports an error with what to do about it.
    pub fn error_with_help(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.diagnostics
            .push(Diagnostic::error(code, self.source, span, message).label(label).help(help));
    }

    /// Marks a key as known without reading it.
    pub fn mark_known(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Reports every key that was not asked for, with the nearest known name.
    pub fn finish(self) {
        for (key, _) in &self.table.entries {
            if self.known.contains(&key.name.as_str()) {
                continue;
            }
            let message = format!("unknown key `{}` in {}", key.name, self.subject);
            let diagnostic = Diagnostic::error("E0204", self.source, key.span.clone(), message)
                .label("unknown key");
            let meant = synonym(&key.name, &self.known)
                .or_else(|| crate::nearest(&key.name, self.known.iter().copied()));
            self.diagnostics.push(match meant {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic.help(format!("known keys: {}", self.known.join(", "))),
            });
        }
    }
}

/// Words of other tools, each with the keys of this format that may be meant, the likeliest first.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("if", &["when"]),
    ("condition", &["when"]),
    ("only_if", &["when"]),
    ("depends_on", &["needs"]),
    ("dependsOn", &["needs", "depends_on"]),
    ("requires", &["needs", "depends_on"]),
    ("after", &["needs", "depends_on"]),
    ("needs", &["depends_on"]),
    ("on_error", &["on_failure"]),
    ("continue_on_error", &["on_failure"]),
    ("ignore_errors", &["on_failure"]),
    ("loop", &["for_each"]),
    ("with_items", &["for_each"]),
    ("rollback", &["undo"]),
    ("compensate", &["undo"]),
    ("inputs", &["with"]),
    ("args", &["arguments", "with"]),
    ("env", &["environment"]),
    ("cwd", &["directory"]),
    ("url", &["http"]),
    ("database", &["sql"]),
    ("container", &["docker"]),
    ("retries", &["retry"]),
    ("interval", &["every"]),
    ("assert", &["expect"]),
    ("description", &["title"]),
    ("name", &["id"]),
];

fn synonym(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let (_, meant) = SYNONYMS.iter().find(|(other, _)| *other == word)?;
    meant.iter().find(|meant| known.contains(meant)).copied()
}

/// A value in words, for messages: ``the integer `5` ``.
fn describe(node: &Node) -> String {
    match &node.value {
        Value::String(text) => format!("the string `{text}`"),
        Value::Integer(number) => format!("the integer `{number}`"),
        Value::Float(number) => format!("the float `{number}`"),
        Value::Boolean(truth) => format!("the boolean `{truth}`"),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => node.value.kind().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str, read: impl FnOnce(&mut Reader<'_>)) -> Vec<String> {
        let source = Source::new("t.toml", text);
        let mut diagnostics = Diagnostics::default();
        let table =
            crate::parse(&source, &mut diagnostics).expect("the test's TOML is well formed");
        let mut reader = Reader::new(&source, &table, "the file", &mut diagnostics);
        read(&mut reader);
        reader.finish();
        diagnostics
            .iter()
            .map(|d| {
                format!(
                    "{}: {}{}",
                    d.position().line,
                    d.message,
                    d.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default()
                )
            })
            .collect()
    }

    #[test]
    fn an_unknown_key_is_an_error_with_the_nearest_name() {
        let found = messages("timeout = \"5s\"\nretires = 3\n", |reader| {
            reader.optional::<Duration>("timeout");
            reader.optional::<u32>("retries");
        });
        assert_eq!(found, ["2: unknown key `retires` in the file (did you mean `retries`?)"]);
    }

    #[test]
    fn a_key_of_another_tool_is_reported_with_the_key_of_this_format() {
        for (word, meant) in SYNONYMS {
            for meant in *meant {
                let known: &'static str = meant;
                let found = messages(&format!("{word} = 1\n"), |reader| reader.mark_known(known));
                assert_eq!(
                    found,
                    [format!("1: unknown key `{word}` in the file (did you mean `{meant}`?)")]
                );
            }
        }
        // A nearer name that is something else: `id`.
        let found = messages("if = 1\n", |reader| {
            ["id", "when"].into_iter().for_each(|key| reader.mark_known(key));
        });
        assert_eq!(found, ["1: unknown key `if` in the file (did you mean `when`?)"]);
    }

    #[test]
    fn all_mistakes_of_a_file_are_reported_at_once() {
        let found = messages("timeout = 5\n", |reader| {
            reader.required::<String>("name");
            reader.optional::<Duration>("timeout");
        });
        assert_eq!(
            found,
            [
                "1: the file has no `name`, which must be a string",
                "1: `timeout` of the file must be a duration with its unit, such as `\"5m\"`, not \
                 the integer `5`"
            ]
        );
    }
}
