//! Reports templates in targets. A target is literal, so a text that looks like a template is a
//! mistake.

use runbook_document::{Diagnostic, Diagnostics, Key, Node, Source, Span, Table, Value};
use std::sync::Arc;

/// Keys whose texts go to a program. Programs have templates of their own, such as `{{.State}}` of
/// `docker inspect --format`.
const PROGRAM_TEXT_KEYS: &[&str] = &["arguments", "command", "environment"];

/// The first names in templates of a runbook. No other template language has these names after its
/// braces.
const TEMPLATE_NAMES: &[&str] =
    &["params", "steps", "run", "secrets", "targets", "item", "env", "vars", "inputs"];

/// Reports each text of a target, and each name of a key, that has a template in it.
pub(super) fn check(
    target: &Key,
    table: &Table,
    source: &Arc<Source>,
    diagnostics: &mut Diagnostics,
) {
    for (key, node) in &table.entries {
        let language = if PROGRAM_TEXT_KEYS.contains(&key.name.as_str()) {
            TextLanguage::Program
        } else {
            TextLanguage::Target
        };
        let mut report = |span: &Span, text: &str| {
            if let Some(template) = template_in(text, language) {
                diagnostics.push(diagnostic(
                    &format!("target `{}`", target.name),
                    template,
                    source,
                    span.clone(),
                ));
            }
        };
        walk_texts(node, &mut report);
    }
}

/// The diagnostic for a template where only a literal text is allowed. `subject` names the thing
/// that has the template.
pub fn diagnostic(subject: &str, template: &str, source: &Arc<Source>, span: Span) -> Diagnostic {
    let message = format!(
        "`{template}` stands in {subject}, which is literal: no template is filled in here"
    );
    let help = if template.contains("secrets") {
        "a target names a secret as `secret:NAME`, as in `password = \"secret:NAME\"`"
    } else {
        "write the text itself; what differs between environments stands in `targets.NAME.toml`, \
         which `--env NAME` reads"
    };
    Diagnostic::error("E0107", source, span, message).label("a template").help(help)
}

/// The language of a text: which braces in it are templates of a runbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextLanguage {
    /// A text of a target. Any template in it is one of a runbook.
    Target,
    /// A text for a program, which may have templates of its own.
    Program,
}

/// The first template of a runbook in a text, as it is written.
pub fn template_in(text: &str, language: TextLanguage) -> Option<&str> {
    let mut rest = text;
    loop {
        let (start, end) = match (rest.find("{{"), rest.find("{%")) {
            (Some(value), Some(statement)) if statement < value => (statement, "%}"),
            (Some(value), _) => (value, "}}"),
            (None, Some(statement)) => (statement, "%}"),
            (None, None) => return None,
        };
        let inner = &rest[start + 2..];
        let template =
            inner.find(end).map_or(&rest[start..], |length| &rest[start..start + 2 + length + 2]);
        let is_template = match (language, end) {
            (TextLanguage::Target, _) => true,
            (TextLanguage::Program, "}}") => starts_with_template_name(inner),
            (TextLanguage::Program, _) => template
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .any(is_template_name),
        };
        if is_template {
            return Some(template);
        }
        rest = inner;
    }
}

fn starts_with_template_name(inner: &str) -> bool {
    let inner = inner.trim_start_matches(['-', '+']).trim_start();
    let name =
        inner.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    is_template_name(name)
}

fn is_template_name(word: &str) -> bool {
    TEMPLATE_NAMES.contains(&word)
}

fn walk_texts(node: &Node, visit: &mut impl FnMut(&Span, &str)) {
    match &node.value {
        Value::String(text) => visit(&node.span, text),
        Value::Array(items) => items.iter().for_each(|item| walk_texts(item, visit)),
        Value::Table(table) => {
            for (key, node) in &table.entries {
                visit(&key.span, &key.name);
                walk_texts(node, visit);
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_of_a_runbook_is_found_and_a_template_of_a_program_is_not() {
        for text in [
            "{{ params.host }}",
            "a{{steps.a.output}}",
            "{% if params.a %}",
            "{{- secrets.token }}",
            "x {{ item }} y",
        ] {
            assert!(
                template_in(text, TextLanguage::Target).is_some()
                    && template_in(text, TextLanguage::Program).is_some(),
                "{text}"
            );
        }
        for text in ["{{.State.Status}}", "{{ json .Config }}", "{{range .items}}{{.name}}{{end}}"]
        {
            assert!(
                template_in(text, TextLanguage::Target).is_some()
                    && template_in(text, TextLanguage::Program).is_none(),
                "{text}"
            );
        }
        for text in ["{}", "Bearer {}", "a{2}", "}}", "{ {"] {
            assert_eq!(template_in(text, TextLanguage::Target), None, "{text}");
        }
        assert_eq!(
            template_in("{{.A}} {{ params.b }} c", TextLanguage::Program),
            Some("{{ params.b }}")
        );
        assert_eq!(template_in("{{ params.b", TextLanguage::Target), Some("{{ params.b"));
    }
}
