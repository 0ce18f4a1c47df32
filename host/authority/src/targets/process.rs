//! A `process` target: one program.

use super::variable::is_variable_name;
use super::{Folder, HostPath, secret_reference};
use crate::digest::Digest;
use crate::pattern::ArgumentPattern;
use runbook_document::{ByteSize, Node, Reader, Spanned, Table, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentValue {
    /// A text that is given as it is.
    Plain(String),
    /// The secret of this name.
    Secret(String),
}

impl EnvironmentValue {
    /// The value with `secret:NAME` in place of a secret.
    pub fn redacted(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Secret(name) => format!("secret:{name}"),
        }
    }
}

/// The variables that tell libpq where to connect to, and as which user.
const CONNECTION_VARIABLES: &[&str] = &[
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGDATABASE",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
];

/// One program, as a `process` target describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessTarget {
    /// The absolute path of the program's file.
    pub program: HostPath,
    /// The digest that the file must have.
    pub sha256: Option<Digest>,
    /// The digest that its interpreter must have, if it is a pinned script.
    pub interpreter_sha256: Option<Digest>,
    /// Whether the program only reads. It then runs in a sandbox without write access, and probes
    /// may run it.
    pub read_only: bool,
    /// The files and folders that it may read, with all that is below; all if absent. What every
    /// program needs to begin is not listed.
    pub reads: Option<Vec<HostPath>>,
    /// The files and folders that it may write, with all that is below; all if absent.
    pub writes: Option<Vec<HostPath>>,
    /// Bytes of address space, of each of its processes.
    pub memory: Option<ByteSize>,
    /// Time of one processor, of each of its processes.
    pub cpu: Option<Duration>,
    /// Whether it may make connections. Without, it gets no socket but for `connection`.
    pub network: bool,
    /// Whether it may send signals to processes that it did not start.
    pub signals: bool,
    /// A pattern for each argument, by position.
    pub arguments: Vec<ArgumentPattern>,
    /// All its environment variables, except those of `connection`.
    pub environment: BTreeMap<String, EnvironmentValue>,
    /// Working directory; the root directory if absent.
    pub directory: Option<HostPath>,
    /// A sql target, whose connection the program gets as PGHOST, PGPORT, PGUSER, PGDATABASE and
    /// PGPASSWORD.
    pub connection: Option<String>,
    /// How much output of each stream a plugin gets.
    pub max_output: ByteSize,
    /// For one run of the program. After that time the whole process group is killed.
    pub timeout: Option<Duration>,
}

impl ProcessTarget {
    /// `NAME=value` of each variable that it sets, with `secret:NAME` in place of a secret.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        self.environment.iter().map(|(name, value)| format!("{name}={}", value.redacted()))
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        self.environment
            .values()
            .filter_map(|value| match value {
                EnvironmentValue::Plain(_) => None,
                EnvironmentValue::Secret(name) => Some(name.as_str()),
            })
            .collect()
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<ProcessTarget> {
    let program = reader.required::<String>("process").and_then(|text| {
        if !Path::new(&text.value).is_absolute() {
            reader.error(
                "E0103",
                text.span,
                format!("program `{}` is not an absolute path", text.value),
                "such as \"/usr/bin/pg_dump\"",
            );
            return None;
        }
        Some(folder.locate(&text.value))
    });
    let sha256 = read_digest(reader, "sha256");
    let interpreter_span = reader.table().get("interpreter_sha256").map(|node| node.span.clone());
    let interpreter_sha256 = read_digest(reader, "interpreter_sha256");
    if let Some(span) = interpreter_span.filter(|_| sha256.is_none()) {
        let message = "an interpreter is pinned, but not the script that it reads";
        reader.error_with_help(
            "E0108",
            span,
            message,
            "without `sha256`",
            "add the `sha256` of the script",
        );
    }
    let read_only = reader.optional::<bool>("read_only").is_some_and(|flag| flag.value);
    let network = reader.optional::<bool>("network").is_some_and(|flag| flag.value);
    let signals = reader.optional::<bool>("signals").is_some_and(|flag| flag.value);
    let reads = read_paths(reader, folder, "reads");
    let writes = read_paths(reader, folder, "writes");
    let memory = reader.optional::<ByteSize>("memory").map(|size| size.value);
    let cpu = reader.optional::<Duration>("cpu").map(|time| time.value);
    if read_only {
        refuse_what_changes_something(reader);
    }
    let arguments = read_arguments(reader, "arguments");
    let environment = reader
        .optional::<Table>("environment")
        .map(|table| read_environment(reader, &table.value))
        .unwrap_or_default();
    let directory = reader.optional::<String>("directory").map(|path| folder.locate(&path.value));
    let connection = reader.optional::<String>("connection").map(|name| name.value);
    if connection.is_some() {
        refuse_connection_variables(reader);
    }
    let max_output =
        reader.optional::<ByteSize>("max_output").map_or(ByteSize(1 << 20), |size| size.value);
    let timeout = reader.optional::<Duration>("timeout").map(|timeout| timeout.value);
    Some(ProcessTarget {
        program: program?,
        sha256,
        interpreter_sha256,
        read_only,
        reads,
        writes,
        memory,
        cpu,
        network,
        signals,
        arguments: arguments?,
        environment,
        directory,
        connection,
        max_output,
        timeout,
    })
}

/// A connection or a signal may change something, and a program that only reads must not.
fn refuse_what_changes_something(reader: &mut Reader<'_>) {
    for (key, what) in
        [("network", "connections"), ("signals", "signals"), ("writes", "what it writes")]
    {
        let Some(node) = reader.table().get(key) else { continue };
        let is_nothing = match &node.value {
            Value::Boolean(is_set) => !is_set,
            Value::Array(paths) => paths.is_empty(),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Datetime(_)
            | Value::Table(_) => true,
        };
        if is_nothing {
            continue;
        }
        let span = node.span.clone();
        let message = format!(
            "a program with `read_only = true` can change nothing, and {what} may change something"
        );
        let help = format!("remove `{key}`, or `read_only` and the checks that run the program");
        reader.error_with_help("E0108", span, message, "beside `read_only = true`", help);
    }
}

/// Refuses variables that `connection` sets already. Such a variable could send the password of the
/// connection to another server.
fn refuse_connection_variables(reader: &mut Reader<'_>) {
    let Some(Value::Table(table)) = reader.table().get("environment").map(|node| &node.value)
    else {
        return;
    };
    let duplicate_entries: Vec<_> = table
        .entries
        .iter()
        .filter(|(key, _)| CONNECTION_VARIABLES.contains(&key.name.as_str()))
        .collect();
    let duplicates: Vec<_> = duplicate_entries
        .into_iter()
        .map(|(key, _)| (key.name.clone(), key.span.clone()))
        .collect();
    for (name, span) in duplicates {
        let message = format!(
            "`connection` says where the program connects to, and so does the variable `{name}`"
        );
        reader.error_with_help(
            "E0108",
            span,
            message,
            "beside `connection`",
            "remove the one that is not meant",
        );
    }
}

/// Paths of this host; relative ones are below the folder of the runbook.
fn read_paths(
    reader: &mut Reader<'_>,
    folder: Folder<'_>,
    key: &'static str,
) -> Option<Vec<HostPath>> {
    let written = reader.optional::<Vec<Spanned<String>>>(key)?.value;
    let mut paths = Vec::new();
    for path in written {
        if path.value.is_empty() || path.value.contains('*') {
            let message = format!("`{}` is no path", path.value);
            let label = "a folder holds for all that is below it";
            reader.error("E0103", path.span, message, label);
            continue;
        }
        paths.push(folder.locate(&path.value));
    }
    Some(paths)
}

fn read_digest(reader: &mut Reader<'_>, key: &'static str) -> Option<Digest> {
    let text = reader.optional::<String>(key)?;
    let digest =
        Digest::parse(&text.value).or_else(|| Digest::parse(&format!("sha256:{}", text.value)));
    if digest.is_none() {
        reader.error("E0103", text.span, "this is not a SHA-256 digest", "64 hex digits");
    }
    digest
}

fn read_environment(reader: &mut Reader<'_>, table: &Table) -> BTreeMap<String, EnvironmentValue> {
    let mut environment = BTreeMap::new();
    for (key, node) in &table.entries {
        if !is_variable_name(&key.name) {
            let message = format!("`{}` is not the name of a variable", key.name);
            reader.error(
                "E0103",
                key.span.clone(),
                message,
                "letters, digits and `_`, and no digit first",
            );
            continue;
        }
        match &node.value {
            Value::String(text) => {
                let value = secret_reference(text).map_or_else(
                    || EnvironmentValue::Plain(text.clone()),
                    |name| EnvironmentValue::Secret(name.to_owned()),
                );
                environment.insert(key.name.clone(), value);
            }
            Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => {
                reader.error(
                    "E0203",
                    node.span.clone(),
                    format!("variable `{}` must be a string", key.name),
                    "wrong type",
                );
            }
        }
    }
    environment
}

/// Reads a list of argument patterns. Without the key, no argument is allowed.
pub(super) fn read_arguments(
    reader: &mut Reader<'_>,
    key: &'static str,
) -> Option<Vec<ArgumentPattern>> {
    match reader.optional::<Vec<Node>>(key) {
        Some(nodes) => read_argument_patterns(reader, &nodes.value),
        None => Some(Vec::new()),
    }
}

/// Reads argument patterns. Returns `None` after it has reported every mistake.
pub(crate) fn read_argument_patterns(
    reader: &mut Reader<'_>,
    nodes: &[Node],
) -> Option<Vec<ArgumentPattern>> {
    let mut patterns = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        match read_pattern(node) {
            Ok(ArgumentPattern::Repeat(_)) if index + 1 != nodes.len() => {
                reader.error(
                    "E0103",
                    node.span.clone(),
                    "`repeat` must be the last pattern",
                    "nothing may follow",
                );
            }
            Ok(pattern) => patterns.push(pattern),
            Err(PatternError::Regex(reason)) => {
                let message =
                    format!("this is not a regular expression for a whole argument: {reason}");
                reader.error("E0103", node.span.clone(), message, "cannot be compiled");
            }
            Err(PatternError::Shape) => {
                let label =
                    "a string, { one_of = [\"a\", \"b\"] }, { regex = \"…\" } or { repeat = … }";
                reader.error(
                    "E0103",
                    node.span.clone(),
                    "this is not a pattern for an argument",
                    label,
                );
            }
        }
    }
    (patterns.len() == nodes.len()).then_some(patterns)
}

/// Why a value is not an argument pattern.
enum PatternError {
    /// The value is neither a string nor a known table.
    Shape,
    /// Its regular expression cannot be compiled, and why.
    Regex(String),
}

fn read_pattern(node: &Node) -> Result<ArgumentPattern, PatternError> {
    let table = match &node.value {
        Value::String(text) => return Ok(ArgumentPattern::Literal(text.clone())),
        Value::Table(table) => table,
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_) => {
            return Err(PatternError::Shape);
        }
    };
    let [(key, value)] = table.entries.as_slice() else { return Err(PatternError::Shape) };
    match (key.name.as_str(), &value.value) {
        ("one_of", Value::Array(_)) => {
            let texts = <Vec<String> as runbook_document::FromNode>::from_node(value);
            texts.map(ArgumentPattern::OneOf).ok_or(PatternError::Shape)
        }
        ("regex", Value::String(text)) => ArgumentPattern::regex(text).map_err(|error| {
            let message = error.to_string();
            PatternError::Regex(
                message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            )
        }),
        ("repeat", _) => match read_pattern(value)? {
            ArgumentPattern::Repeat(_) => Err(PatternError::Shape),
            inner => Ok(ArgumentPattern::Repeat(Box::new(inner))),
        },
        _ => Err(PatternError::Shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_document::{Diagnostics, Source};

    #[test]
    fn a_regular_expression_that_cannot_be_compiled_is_refused_with_its_reason() {
        for (pattern, reason) in [
            ("{ regex = '[a-z' }", "unclosed character class"),
            ("{ repeat = { regex = 'a{2,1}' } }", "invalid repetition count range"),
            ("{ regex = 'safe)|(?:safe' }", "unopened group"),
            ("{ regex = '(?x)a # a comment' }", "unclosed group"),
        ] {
            let source = Source::new("r.toml", format!("arguments = [{pattern}]\n"));
            let mut diagnostics = Diagnostics::default();
            let table = runbook_document::parse(&source, &mut diagnostics)
                .expect("the test's TOML is good");
            let mut reader = Reader::new(&source, &table, "the target", &mut diagnostics);
            assert!(read_arguments(&mut reader, "arguments").is_none(), "{pattern}");
            let messages = format!("{diagnostics:?}");
            assert!(messages.contains(reason), "{pattern}: {messages}");
        }
    }
}
