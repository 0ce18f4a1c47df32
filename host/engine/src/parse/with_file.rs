//! `with_file`: inputs of a call that are written in other files.
//!
//! They are inserted into `with` before the runbook is parsed, so that they are checked like all
//! other inputs. Messages show the file and line where they are written.

use super::Loader;
use super::calls;
use super::sql_text::{self, SplitError};
use runbook_document::{Diagnostic, Diagnostics, Key, Node, Reader, Source, Span, Table, Value};
use std::sync::Arc;

const KEY: &str = "with_file";

/// The code of every finding about such a file, except that it cannot be read.
const CODE: &str = "E0240";

/// The input whose file is split into statements.
const STATEMENTS: &str = "statements";

/// What templates begin with.
const MARKERS: [&str; 3] = ["{{", "{%", "{#"];

/// Reads every file that a call names in `with_file`, and inserts its inputs into `with` of the
/// call. Adds each file to `sources`.
pub(super) fn insert_inputs(
    table: &mut Table,
    runbook: &Arc<Source>,
    load: &mut Loader<'_>,
    sources: &mut Vec<Arc<Source>>,
    diagnostics: &mut Diagnostics,
) {
    let mut files = Files { runbook, load, sources, diagnostics };
    calls::for_each_call(table, |call, place| files.insert_into_call(call, &place.subject));
}

/// Reads `with`, into which the inputs from files are already inserted.
pub(super) fn read_with(reader: &mut Reader<'_>) -> Option<Table> {
    reader.mark_known(KEY);
    reader.optional::<Table>("with").map(|with| with.value)
}

/// Reads a file of inputs by itself. All mistakes are reported.
pub fn parse_inputs(source: &Arc<Source>, diagnostics: &mut Diagnostics) {
    inputs(source, diagnostics);
}

/// The keys of a file of inputs, without its `format`.
fn inputs(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Vec<(Key, Node)>> {
    let mut table = runbook_document::parse(source, diagnostics)?;
    let (format, inputs): (Vec<_>, Vec<_>) =
        std::mem::take(&mut table.entries).into_iter().partition(|(key, _)| key.name == "format");
    let format = Table { entries: format, ..table };
    let mut reader = Reader::new(source, &format, "a file of inputs", diagnostics);
    super::read_format(&mut reader);
    Some(inputs.into_iter().map(|(key, node)| (key, node.with_source(source))).collect())
}

/// Reads the files that `with_file` names, and inserts their inputs.
struct Files<'a, 'l> {
    runbook: &'a Arc<Source>,
    load: &'a mut Loader<'l>,
    sources: &'a mut Vec<Arc<Source>>,
    diagnostics: &'a mut Diagnostics,
}

impl Files<'_, '_> {
    fn insert_into_call(&mut self, call: &mut Table, subject: &str) {
        let Some(position) = call.entries.iter().position(|(key, _)| key.name == KEY) else {
            return;
        };
        let (key, named) = call.entries.remove(position);
        if call.get("uses").is_none() {
            let message = format!("`{KEY}` of {subject} has no meaning without `uses`");
            let diagnostic = Diagnostic::error("E0220", self.runbook, key.span, message);
            self.diagnostics.push(diagnostic.label("only beside `uses`"));
            return;
        }
        let inputs = match named.value {
            Value::String(name) => vec![self.all_inputs(&name, &named.span)],
            Value::Table(files) => self.each_input(&files, subject),
            other @ (Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)) => {
                self.wrong_type(&named.span, subject, other.kind());
                vec![None]
            }
        };
        self.add(call, key.span, inputs);
    }

    fn wrong_type(&mut self, span: &Span, subject: &str, kind: &str) {
        let message =
            format!("`{KEY}` of {subject} must be a file or a table of files, not {kind}");
        let help = format!(
            "write `{KEY} = \"shop.with.toml\"` for a file with inputs, or \
                     `{KEY}.statement = \"look.sql\"` for the text of one"
        );
        let diagnostic = Diagnostic::error("E0203", self.runbook, span.clone(), message);
        self.diagnostics.push(diagnostic.label("wrong type").help(help));
    }

    /// `with_file = "shop.with.toml"`: all inputs in the file; `None` if it cannot be read.
    fn all_inputs(&mut self, name: &str, span: &Span) -> Option<Vec<(Key, Node)>> {
        let source = self.read(name, span, InputFileKind::Toml)?;
        inputs(&source, self.diagnostics)
    }

    /// `with_file.statement = "look.sql"`: for each input the text of its file, or its statements;
    /// `None` for a file that cannot be read.
    fn each_input(&mut self, files: &Table, subject: &str) -> Vec<Option<Vec<(Key, Node)>>> {
        files.entries.iter().map(|(key, named)| self.one_input(key, named, subject)).collect()
    }

    fn one_input(&mut self, key: &Key, named: &Node, subject: &str) -> Option<Vec<(Key, Node)>> {
        let Value::String(name) = &named.value else {
            self.wrong_type(&named.span, subject, named.value.kind());
            return None;
        };
        let source = self.read(name, &named.span, InputFileKind::Sql)?;
        Some(vec![(key.clone(), self.statements(key, &source)?)])
    }

    fn read(&mut self, name: &str, span: &Span, kind: InputFileKind) -> Option<Arc<Source>> {
        let has_extension = std::path::Path::new(name)
            .extension()
            .is_some_and(|extension| extension == kind.extension());
        if !has_extension {
            let message = format!("`{name}` does not end in `.{}`", kind.extension());
            let diagnostic = Diagnostic::error(CODE, self.runbook, span.clone(), message);
            self.diagnostics.push(diagnostic.label("another kind of file").help(kind.help()));
            return None;
        }
        let source =
            super::include::load_one(self.runbook, name, span, self.load, self.diagnostics)?;
        if self.sources.iter().all(|known| known.name() != source.name()) {
            self.sources.push(Arc::clone(&source));
        }
        Some(source)
    }

    /// The text of a SQL file as the value of the input `key`: one text, or a list of statements.
    fn statements(&mut self, key: &Key, source: &Arc<Source>) -> Option<Node> {
        runbook_document::refuse_hidden(source, self.diagnostics)?;
        let text = source.text();
        if let Some(marker) = MARKERS.iter().filter_map(|marker| text.find(marker)).min() {
            let message = "a file of statements holds no template: its text is run as it stands";
            let help = "write a placeholder (`$1`, `?`) here, and the value into `parameters` of `with`; \
                 a brace that is meant stands apart: `{ {`";
            let found = Diagnostic::error(CODE, source, marker..marker + 2, message);
            self.diagnostics.push(found.label("a template?").help(help));
            return None;
        }
        match (sql_text::statements(text), key.name.as_str()) {
            (Ok(found), _) if found.is_empty() => {
                let message = "the file has no statement";
                let found = Diagnostic::error(CODE, source, 0..text.len().min(1), message);
                self.diagnostics
                    .push(found.label("nothing to run").help("write the statement here"));
                None
            }
            (Ok(found), STATEMENTS) => {
                let items = found.into_iter().map(|span| Node::text(source, span)).collect();
                Some(Node::list(source, 0..text.len(), items))
            }
            (Err((at, error)), STATEMENTS) => {
                let (message, help) = message_and_help(error);
                let found = Diagnostic::error(CODE, source, at..(at + 1).min(text.len()), message);
                self.diagnostics.push(found.label("from here on").help(help));
                None
            }
            (Ok(found), _) => Some(match <[Span; 1]>::try_from(found) {
                // The comment before the statement is kept, because a server or a proxy may obey
                // it. Findings point at the statement.
                Ok([only]) => {
                    Node { span: only.clone(), ..Node::text(source, trimmed(text).start..only.end) }
                }
                Err(_) => Node::text(source, trimmed(text)),
            }),
            // One statement does not have to be split.
            (Err(_), _) => Some(Node::text(source, trimmed(text))),
        }
    }

    /// Adds inputs to `with`. An input that `with` has already is an error.
    fn add(&mut self, call: &mut Table, span: Span, inputs: Vec<Option<Vec<(Key, Node)>>>) {
        let with = match call.entries.iter_mut().position(|(key, _)| key.name == "with") {
            Some(at) => at,
            None => {
                let key = Key { span: span.clone(), name: "with".to_owned() };
                let table = Table { span: span.clone(), entries: Vec::new(), is_partial: false };
                let node = Node { span, value: Value::Table(table), other_source: None };
                call.entries.push((key, node));
                call.entries.len() - 1
            }
        };
        // Other problems are reported by the reader of the file.
        let Value::Table(with) = &mut call.entries[with].1.value else { return };
        with.is_partial |= inputs.iter().any(Option::is_none);
        for (key, node) in inputs.into_iter().flatten().flatten() {
            let Some((first, _)) = with.entries.iter().find(|(known, _)| known.name == key.name)
            else {
                with.entries.push((key, node));
                continue;
            };
            let source = node.other_source.as_ref().unwrap_or(self.runbook);
            let message = format!(
                "`{}` stands in this file, and in `with` at {}",
                key.name,
                self.runbook.place(&first.span)
            );
            let diagnostic = Diagnostic::error(CODE, source, node.span.clone(), message);
            self.diagnostics
                .push(diagnostic.label("which one is meant?").help("remove one of them"));
        }
    }
}

/// The kind of a file of inputs, which is told by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputFileKind {
    /// Inputs, as they stand in `with`.
    Toml,
    /// The text of one input.
    Sql,
}

impl InputFileKind {
    fn extension(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Sql => "sql",
        }
    }

    fn help(self) -> String {
        match self {
            Self::Toml => format!(
                "`{KEY} = \"NAME.toml\"` names a file with inputs; \
                 `{KEY}.statement = \"NAME.sql\"` one with a statement"
            ),
            Self::Sql => format!(
                "`{KEY}.statement = \"NAME.sql\"` names a file with a statement; \
                 `{KEY} = \"NAME.toml\"` one with inputs of any kind"
            ),
        }
    }
}

fn trimmed(text: &str) -> Span {
    let text_begin = text.trim_start_matches('\u{feff}').trim_start();
    let start = text.len() - text_begin.len();
    start..start + text_begin.trim_end().len()
}

fn message_and_help(error: SplitError) -> (&'static str, &'static str) {
    match error {
        SplitError::Unterminated => {
            ("a string, a quoted name or a comment does not end", "close it")
        }
        SplitError::DialectsDiffer => (
            "where this statement ends, databases read differently (a backslash in a string, `#`, \
             `` ` ``, `[`, `--` without a blank, comments in comments)",
            "write it so that all read the same, or write the statements into `statements` of \
             `with`",
        ),
        SplitError::ExecutableComment => (
            "MySQL runs what stands in this comment, and other databases do not",
            "write it as a statement",
        ),
        SplitError::StatementBody => (
            "this statement has statements in it, so it cannot be told where it ends",
            "give it a file of its own, as `statement` of a `sql:execute`",
        ),
    }
}
