//! Compares durations that an operation spends itself, such as the grace time of a stop, with the
//! timeout of its step.

use runbook_authority::manifest::Operation;
use runbook_document::{Diagnostic, FromNode as _, format_duration, parse_duration};
use runbook_engine::{DEFAULT_TIMEOUT, UseSite};

/// The key in an input schema that marks such a property. Its value is the default of the property.
const SPENT_KEY: &str = "x-runbook-spent";

/// Warns of a step whose `timeout` is shorter than the time that its input asks for: the call would
/// be cut off, and what it started would continue outside.
pub fn check_timeout(site: &UseSite<'_>, operation: &Operation) -> Option<Diagnostic> {
    let properties = operation.input.get("properties")?.as_object()?;
    let (key, default) =
        properties.iter().find_map(|(key, property)| Some((key, property.get(SPENT_KEY)?)))?;
    let written = site.with.and_then(|with| with.get(key));
    let text = match written {
        Some(node) => String::from_node(node)?,
        None => default.as_str()?.to_owned(),
    };
    let spent = parse_duration(&text)?;
    let step = site.of?;
    let timeout = step.timeout.unwrap_or(DEFAULT_TIMEOUT);
    if spent < timeout {
        return None;
    }
    let (spent, timeout) = (format_duration(spent), format_duration(timeout));
    let message =
        format!("`{key}` of {} is {spent}, and its `timeout` is {timeout}", step.subject());
    let span = written.map_or_else(|| site.span.clone(), |node| node.span.clone());
    let help = format!("a `timeout` longer than {spent}, or a shorter `{key}`");
    let source = written.map_or(site.source, |node| node.source(site.source));
    Some(Diagnostic::warning("E0239", source, span, message).label("may be cut off").help(help))
}
