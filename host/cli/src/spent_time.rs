//! Compares a time that an operation waits by its input, such as the grace time of a stop, with
//! the timeout of its step.

use runbook_authority::manifest::Operation;
use runbook_document::{Diagnostic, FromNode as _, format_duration, parse_duration};
use runbook_engine::{CallSite, DEFAULT_TIMEOUT};

/// The keyword in an input schema that marks a property with such a duration. Its value is the
/// default of the property.
const SPENT_KEY: &str = "x-runbook-spent";

/// Warns of a step whose `timeout` is not longer than the duration in its input: the host would
/// stop the call first, and what the call has started would continue outside of the host.
pub fn check_timeout(site: &CallSite<'_>, operation: &Operation) -> Option<Diagnostic> {
    let properties = operation.input.get("properties")?.as_object()?;
    let (key, default) =
        properties.iter().find_map(|(key, property)| Some((key, property.get(SPENT_KEY)?)))?;
    let input_node = site.with.and_then(|with| with.get(key));
    let text = match input_node {
        Some(node) => String::from_node(node)?,
        None => default.as_str()?.to_owned(),
    };
    let spent_time = parse_duration(&text)?;
    let step = site.calling_step?;
    let timeout = step.timeout.unwrap_or(DEFAULT_TIMEOUT);
    if spent_time < timeout {
        return None;
    }
    let (spent_time, timeout) = (format_duration(spent_time), format_duration(timeout));
    let message =
        format!("`{key}` of {} is {spent_time}, and its `timeout` is {timeout}", step.subject());
    let span = input_node.map_or_else(|| site.span.clone(), |node| node.span.clone());
    let help = format!("a `timeout` longer than {spent_time}, or a shorter `{key}`");
    let source = input_node.map_or(site.source, |node| node.source(site.source));
    Some(Diagnostic::warning("E0239", source, span, message).label("may be cut off").help(help))
}
