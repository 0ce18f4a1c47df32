//! Reads `boundary.toml`.

use super::{Boundary, BoundaryRule, FORMAT, PROTECTIONS};
use crate::capability::Capability;
use crate::digest::Digest;
use crate::pattern::{AddressPolicy, PathPattern};
use crate::scope::{Dimension, DimensionRow, Shape, Text, Values};
use crate::targets::{is_source_pattern, read_address_policy};
use runbook_document::{ByteSize, Diagnostics, FromNode, Node, Reader, Source, Spanned, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

impl Boundary {
    /// Reads a `boundary.toml`. All mistakes are reported; `None` if there is any, because a partly
    /// read boundary is not a boundary.
    pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let table = runbook_document::parse(source, diagnostics)?;
        let mut boundary_diagnostics = Diagnostics::default();
        let mut reader = Reader::new(source, &table, "the boundary", &mut boundary_diagnostics);
        let format = reader.required::<u32>("format");
        if let Some(format) = format.filter(|format| format.value != FORMAT) {
            let message = format!(
                "boundary format {} is not known; this host reads format {FORMAT}",
                format.value
            );
            reader.error("E0121", format.span, message, "unknown format");
        }
        let require = read_required(&mut reader);
        let rules = reader.read_each("allow", "rule", read_rule);
        reader.finish();
        let is_valid = !boundary_diagnostics.has_errors();
        diagnostics.append(boundary_diagnostics);
        is_valid.then(|| Self { source: Arc::clone(source), rules, require })
    }
}

/// What the kernel must have.
fn read_required(reader: &mut Reader<'_>) -> BTreeSet<&'static str> {
    let names: Vec<_> = PROTECTIONS.iter().map(|(name, _)| *name).collect();
    let written = reader.optional::<Vec<Spanned<String>>>("require");
    let mut required = BTreeSet::new();
    for text in written.map(|list| list.value).unwrap_or_default() {
        match names.iter().find(|name| **name == text.value) {
            Some(name) => {
                required.insert(*name);
            }
            None => report_unknown(reader, &text, "what a kernel can be required to have", &names),
        }
    }
    required
}

fn read_rule(reader: &mut Reader<'_>) -> Option<BoundaryRule> {
    let span = reader.table().span.clone();
    let capability = reader.required::<String>("capability").and_then(|typed| {
        let found = Capability::find(&typed.value);
        if found.is_none() {
            let known: Vec<_> = Capability::all().map(Capability::name).collect();
            report_unknown(reader, &typed, "a capability", &known);
        }
        found
    });
    let reason = reader.optional::<String>("reason").map(|reason| reason.value);
    let Some(capability) = capability else {
        // The known keys depend on the capability. Without it, no key is reported as unknown.
        for row in crate::scope::DIMENSIONS {
            reader.mark_known(row.key);
        }
        return None;
    };
    if reader.table().get("verbs").is_none() {
        let names: Vec<_> = capability.verbs().map(|verb| format!("\"{verb}\"")).collect();
        reader.error_with_help(
            "E0121",
            span.clone(),
            format!("{} names no `verbs`", reader.subject()),
            "`verbs` is missing",
            format!("list what may be done, of: {}", names.join(", ")),
        );
    }
    let mut values = BTreeMap::new();
    for row in Dimension::of(capability) {
        if let Some(dimension_values) = read_values(reader, capability, row) {
            values.insert(row.dimension, dimension_values);
        }
    }
    let mut rule = BoundaryRule { capability, reason, values, span };
    rule.fill_defaults();
    Some(rule)
}

/// Reads the values of one dimension, of a rule or of an entry in a lockfile.
pub(crate) fn read_values(
    reader: &mut Reader<'_>,
    capability: Capability,
    row: &DimensionRow,
) -> Option<Values> {
    match row.shape {
        Shape::Count => reader.optional::<u64>(row.key).map(|count| Values::AtMost(count.value)),
        Shape::Size => {
            reader.optional::<ByteSize>(row.key).map(|size| Values::AtMost(size.value.0))
        }
        Shape::Duration => reader.optional::<Duration>(row.key).map(|duration| {
            Values::AtMost(u64::try_from(duration.value.as_millis()).unwrap_or(u64::MAX))
        }),
        Shape::Age => reader.optional::<Duration>(row.key).map(|duration| {
            Values::AtLeast(u64::try_from(duration.value.as_millis()).unwrap_or(u64::MAX))
        }),
        Shape::Flag => reader.optional::<bool>(row.key).map(|flag| Values::flag(flag.value.into())),
        Shape::Arguments => read_arguments(reader, row.key),
        Shape::Address => read_addresses(reader, row.key),
        Shape::Glob | Shape::Path | Shape::Directory => read_texts(reader, capability, row),
    }
}

/// Reads a list of texts. Ports may be numbers, as in every other file.
fn read_texts(
    reader: &mut Reader<'_>,
    capability: Capability,
    row: &DimensionRow,
) -> Option<Values> {
    let nodes = reader.optional::<Vec<Node>>(row.key)?;
    let mut texts = BTreeSet::new();
    for node in &nodes.value {
        let written = match &node.value {
            Value::String(text) => text.clone(),
            Value::Integer(number) if row.dimension == Dimension::Ports => number.to_string(),
            Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => {
                reader.error(
                    "E0203",
                    node.span.clone(),
                    format!("`{}` must be a list of strings", row.key),
                    "wrong type",
                );
                continue;
            }
        };
        let located = Spanned { value: written, span: node.span.clone() };
        texts.extend(read_text(reader, capability, row, located));
    }
    Some(Values::Texts(texts))
}

fn read_text(
    reader: &mut Reader<'_>,
    capability: Capability,
    row: &DimensionRow,
    text: Spanned<String>,
) -> Option<Text> {
    if row.dimension == Dimension::RedisCommands {
        // A pattern never covers a command that must be named, not even `*`.
        return Some(Text::command(&text.value.to_lowercase()));
    }
    if text.value == "*" {
        return Some(Text::Any);
    }
    let known = row.dimension.fixed_values(capability);
    if let Some(known) = known.filter(|known| !known.contains(&text.value.as_str())) {
        report_unknown(reader, &text, &format!("one of `{}`", row.key), &known);
        return None;
    }
    match row.shape {
        Shape::Path => path_text(reader, text),
        Shape::Directory => directory_text(reader, row, &text),
        Shape::Glob
        | Shape::Address
        | Shape::Arguments
        | Shape::Flag
        | Shape::Count
        | Shape::Size
        | Shape::Duration
        | Shape::Age => glob_text(reader, row.dimension, text),
    }
}

fn path_text(reader: &mut Reader<'_>, text: Spanned<String>) -> Option<Text> {
    let is_valid = text.value.starts_with('/') && PathPattern::parse(&text.value).is_some();
    if !is_valid {
        let message = format!("`{}` is not a path pattern", text.value);
        reader.error("E0121", text.span, message, "such as `/orders/*` or `/v1/**`");
        return None;
    }
    Some(Text::Path { prefix: String::new(), pattern: text.value })
}

fn directory_text(
    reader: &mut Reader<'_>,
    row: &DimensionRow,
    text: &Spanned<String>,
) -> Option<Text> {
    if !text.value.starts_with('/') {
        let message = format!("`{}` is not an absolute path", text.value);
        let label = "a boundary holds wherever it is read, so its paths are absolute";
        reader.error("E0121", text.span.clone(), message, label);
        return None;
    }
    if let Some((prefix, _)) = text.value.split_once('*') {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = if folder.is_empty() { "/" } else { folder };
        let message = format!("`{}` is a pattern, and `{}` has none", text.value, row.key);
        let help = format!(
            "a folder holds for all that is below it: write `{folder}`, or the whole path, or `*` \
             alone"
        );
        reader.error_with_help("E0121", text.span.clone(), message, "a path without `*`", help);
        return None;
    }
    let folder = crate::targets::normalize_path(Path::new(&text.value));
    Some(Text::Directory(folder.to_string_lossy().into_owned()))
}

fn glob_text(reader: &mut Reader<'_>, dimension: Dimension, text: Spanned<String>) -> Option<Text> {
    if dimension == Dimension::Environment && !text.value.contains('=') {
        // A name alone allows that variable with any value.
        return Some(Text::Glob(format!("{}=*", text.value)));
    }
    if dimension == Dimension::Headers {
        return Some(header_text(&text.value));
    }
    if dimension == Dimension::Hosts && !is_host_pattern(&text.value) {
        let message = format!("`{}` is not a host", text.value);
        let help = "a host stands without scheme, port and path: ports are `ports = [8080]`, \
                    networks `addresses = [\"loopback\"]`";
        let label = "such as \"*.internal\" or \"10.0.0.1\"";
        reader.error_with_help("E0121", text.span, message, label, help);
        return None;
    }
    if dimension == Dimension::Secrets && !is_source_pattern(&text.value) {
        let message = format!("`{}` is not the source of a secret", text.value);
        let help = "a runbook may give any secret any name, so a secret is allowed by its store, \
                    with an absolute path, and its name there";
        let label = "such as \"age:/srv/checks/secrets/prod.age#orders-*\"";
        reader.error_with_help("E0121", text.span, message, label, help);
        return None;
    }
    if dimension == Dimension::Digests {
        return digest_text(reader, text);
    }
    // Hosts, DNS names and names of headers are case-insensitive, in patterns too.
    if matches!(dimension, Dimension::Hosts | Dimension::Names | Dimension::RequestHeaders) {
        return Some(glob_or_exact(text.value.to_lowercase()));
    }
    Some(glob_or_exact(text.value))
}

/// Reads a digest as a target writes it, with or without `sha256:`, or a pattern for digests.
fn digest_text(reader: &mut Reader<'_>, text: Spanned<String>) -> Option<Text> {
    let written = text.value.to_ascii_lowercase();
    if written.starts_with("sha256:") || written.contains('*') {
        return Some(glob_or_exact(written));
    }
    let digest = format!("sha256:{written}");
    if Digest::parse(&digest).is_none() {
        let message = format!("`{}` is not a digest, and no program has it", text.value);
        let label = "64 hexadecimal digits, as `sha256` of a target has them";
        reader.error("E0121", text.span, message, label);
        return None;
    }
    Some(Text::Exact(digest))
}

/// Whether a text can match a host: a name, perhaps with `*`, or an address. An IPv6 address may
/// have brackets.
fn is_host_pattern(written: &str) -> bool {
    let without_brackets =
        written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
    let is_name = !written.is_empty() && !written.contains(['/', ':', '[', ']', '@', ' ']);
    is_name || without_brackets.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Reads a header. A name alone allows that header with any value. The name is case-insensitive.
fn header_text(written: &str) -> Text {
    let (name, value) = written.split_once(": ").unwrap_or((written, "*"));
    let text = format!("{}: {value}", name.to_ascii_lowercase());
    glob_or_exact(text)
}

fn glob_or_exact(text: String) -> Text {
    if text.contains('*') { Text::Glob(text) } else { Text::Exact(text) }
}

fn read_addresses(reader: &mut Reader<'_>, key: &'static str) -> Option<Values> {
    let AddressPolicy { classes, blocks } = read_address_policy(reader, key, "E0121")?;
    Some(Values::Addresses {
        classes: classes.into_iter().collect(),
        blocks: blocks.into_iter().collect(),
    })
}

/// Reads a list of lists: each inner list is one form of the whole command line.
fn read_arguments(reader: &mut Reader<'_>, key: &'static str) -> Option<Values> {
    let nodes = reader.optional::<Vec<Node>>(key)?;
    let mut lists = Vec::new();
    for node in &nodes.value {
        let Some(patterns) = <Vec<Node> as FromNode>::from_node(node) else {
            reader.error(
                "E0121",
                node.span.clone(),
                "each form is a list of argument patterns",
                "such as `[[\"--version\"]]`",
            );
            continue;
        };
        lists.extend(crate::targets::read_argument_patterns(reader, &patterns));
    }
    Some(Values::Arguments(lists))
}

fn report_unknown(reader: &mut Reader<'_>, typed: &Spanned<String>, what: &str, known: &[&str]) {
    let help = runbook_document::suggestion(&typed.value, known);
    reader.error_with_help(
        "E0121",
        typed.span.clone(),
        format!("`{}` is not {what}", typed.value),
        "unknown",
        help,
    );
}
