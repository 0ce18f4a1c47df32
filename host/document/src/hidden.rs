//! Refuses characters that make a file look different from what a program reads.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Node, Table, Value};
use crate::source::{Source, Span};
use runbook_text::{DisallowedCharacter, describe, first_hidden, first_not_in_line};
use std::sync::Arc;

/// A file may begin with a byte order mark.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Refuses a text with an invisible or misleading character that is not written as an escape.
/// Returns `None` if there is one.
pub fn refuse_hidden(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<()> {
    let text = source.text();
    let begin = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
    let Some(DisallowedCharacter { offset, character }) = first_hidden(&text[begin..]) else {
        return Some(());
    };
    let start = begin + offset;
    let message = format!(
        "the file has {} here, which is not seen and lets it read otherwise than it is",
        describe(character)
    );
    let diagnostic =
        Diagnostic::error("E0290", source, start..start + character.len_utf8(), message)
            .label("not seen");
    diagnostics.push(
        diagnostic
            .help(format!("remove it; in a string that needs it, write `{}`", escape(character))),
    );
    None
}

fn escape(c: char) -> String {
    let code = u32::from(c);
    if code <= 0xFFFF { format!("\\u{code:04X}") } else { format!("\\U{code:08X}") }
}

/// Refuses keys that are not one line of text, because they are shown as names. Returns whether all
/// keys are good.
pub(crate) fn refuse_in_keys(
    source: &Arc<Source>,
    table: &Table,
    diagnostics: &mut Diagnostics,
) -> bool {
    let mut are_all_good = true;
    for (key, node) in &table.entries {
        if let Some(found) = first_not_in_line(&key.name) {
            refuse(source, key.span.clone(), "a key", found, diagnostics);
            are_all_good = false;
        }
        for_each_table(node, &mut |table| {
            are_all_good &= refuse_in_keys(source, table, diagnostics);
        });
    }
    are_all_good
}

fn for_each_table(node: &Node, visit: &mut impl FnMut(&Table)) {
    match &node.value {
        Value::Table(table) => visit(table),
        Value::Array(items) => items.iter().for_each(|item| for_each_table(item, visit)),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
}

/// Refuses strings that are not one line of text, escapes included. For files whose strings are all
/// shown.
pub fn refuse_in_strings(source: &Arc<Source>, table: &Table, diagnostics: &mut Diagnostics) {
    for (key, node) in &table.entries {
        refuse_in_node(source, &key.name, node, diagnostics);
    }
}

fn refuse_in_node(source: &Arc<Source>, key: &str, node: &Node, diagnostics: &mut Diagnostics) {
    match &node.value {
        Value::String(text) => {
            if let Some(found) = first_not_in_line(text) {
                refuse(source, node.span.clone(), &format!("`{key}`"), found, diagnostics);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| refuse_in_node(source, key, item, diagnostics));
        }
        Value::Table(table) => refuse_in_strings(source, table, diagnostics),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn refuse(
    source: &Arc<Source>,
    span: Span,
    subject: &str,
    found: DisallowedCharacter,
    diagnostics: &mut Diagnostics,
) {
    let message =
        format!("{subject} must be one line of text, but has {}", describe(found.character));
    diagnostics.push(
        Diagnostic::error("E0290", source, span, message)
            .label("not one line of text")
            .help("remove it"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let mut diagnostics = Diagnostics::default();
        let source = Source::new("evil\u{1b}[2J\nname.toml", text);
        if let Some(table) = crate::parse(&source, &mut diagnostics) {
            refuse_in_strings(&source, &table, &mut diagnostics);
        }
        diagnostics
            .iter()
            .map(|d| {
                format!("{}:{}: {} {}", d.position().line, d.position().column, d.code, d.message)
            })
            .collect()
    }

    #[test]
    fn an_invisible_character_is_refused_with_its_position() {
        assert_eq!(
            messages("a = 1\n# \u{202e}txt\n"),
            [
                "2:3: E0290 the file has U+202E (direction embedding or override) here, which is not \
              seen and lets it read otherwise than it is"
            ]
        );
        for hidden in ["\u{200b}", "\u{9b}", "\u{e0041}", "\u{2028}", "\u{ffff}", "\u{1b}", "\r"] {
            let found = messages(&format!("a = 'x{hidden}y'\n"));
            assert!(
                found.len() == 1 && found[0].starts_with("1:7: E0290 the file has U+"),
                "{hidden:?}: {found:?}"
            );
        }
        assert!(messages("\u{feff}a = 'é日本 👩\u{200d}🚒'\r\nb = 1\n").is_empty());
    }

    #[test]
    fn a_key_is_one_line_of_text_however_it_is_written() {
        assert_eq!(
            messages("a = [{ \"b\\nc\" = 1 }]"),
            ["1:8: E0290 a key must be one line of text, but has U+000A (line break)"]
        );
        assert_eq!(messages("[\"x\\u001b\"]\n").len(), 1);
    }

    #[test]
    fn a_string_that_is_shown_is_one_line_of_text_however_it_is_written() {
        let found = messages("[a]\nb = [\"x\", \"y\\u202Ez\"]\n");
        assert_eq!(
            found,
            ["2:11: E0290 `b` must be one line of text, but has U+202E (direction embedding or \
              override)"]
        );
    }

    #[test]
    fn diagnostics_contain_no_control_characters() {
        let mut diagnostics = Diagnostics::default();
        let source = Source::new("evil\u{1b}[2J\nname.toml", "x = 1");
        let quoted = format!("a\u{1b}[31m\n\u{202e}{}", "x".repeat(10_000));
        diagnostics.push(
            Diagnostic::error("E0", &source, 0..1, quoted.clone())
                .label(quoted.clone())
                .help(quoted),
        );
        for finding in diagnostics.iter() {
            for text in [
                &finding.message,
                &finding.label,
                finding.help.as_ref().unwrap_or(&String::new()),
                finding.source.name(),
            ] {
                assert!(
                    first_not_in_line(text).is_none() && text.len() <= MAX_TEXT_BYTES,
                    "{text:?}"
                );
            }
        }
    }

    const MAX_TEXT_BYTES: usize = 2_000;
}
