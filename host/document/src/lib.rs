//! TOML documents with spans, and the diagnostics about them.
//!
//! Every file that a person writes (`runbook.toml`, `plugin.toml`, `targets.toml`) is read through
//! this crate, so that each mistake is shown with its line, all mistakes of a file are shown at
//! once, and an unknown key is always an error. The crate parses text; it never opens a file.

#![warn(clippy::missing_errors_doc)]

mod diagnostic;
mod hidden;
mod node;
mod quantity;
mod reader;
mod source;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use hidden::{refuse_hidden, refuse_in_strings};
pub use node::{Key, Node, Table, Value};
pub use quantity::{ByteSize, format_duration, parse_byte_size, parse_duration};
pub use reader::{FromNode, Reader, Spanned};
pub use source::{Position, Source, Span};

use std::sync::Arc;

/// Parses a TOML text into a [`Table`] with the span of every key and value.
///
/// Returns `None` after reporting the first syntax error to `diagnostics`; further ones mostly
/// follow from it. Invisible characters that make a text look different from what it is are syntax
/// errors too; a string can have them as escapes.
pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Table> {
    hidden::refuse_hidden(source, diagnostics)?;
    let (table, errors) = toml::de::DeTable::parse_recoverable(source.text());
    if let Some(error) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start))
    {
        let span = error.span().unwrap_or(0..0);
        diagnostics.push(
            Diagnostic::error("E0201", source, span, error.message().to_owned())
                .label("not valid TOML here"),
        );
    }
    if !errors.is_empty() {
        return None;
    }
    let table = node::table_from_toml(table.span(), table.get_ref());
    hidden::refuse_in_keys(source, &table, diagnostics).then_some(table)
}

/// The name among `known` that is nearest to `typed`, if it is at most two typing errors away (one
/// in a short word).
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, name)| {
            *distance <= (name.len() / 3).clamp(1, 2) && *distance < name.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The help for a word that is none of `known`: the nearest of them, or all of them.
pub fn suggestion(typed: &str, known: &[&str]) -> String {
    nearest(typed, known.iter().copied()).map_or_else(
        || format!("known: {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_two_typing_errors_is_found_and_a_different_word_is_not() {
        assert_eq!(nearest("retires", ["retry", "retries", "timeout"]), Some("retries"));
        assert_eq!(nearest("colour", ["retry", "timeout"]), None);
    }

    #[test]
    fn malformed_toml_is_reported_with_its_line() {
        let source = Source::new("a.toml", "format = 1\nname = \n");
        let mut diagnostics = Diagnostics::default();
        assert!(parse(&source, &mut diagnostics).is_none());
        assert_eq!(diagnostics.iter().next().map(|d| d.position().line), Some(2));
    }
}
