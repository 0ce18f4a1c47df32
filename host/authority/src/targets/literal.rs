//! Targets have no templates. A text that looks like one is reported as a mistake, and never used.

use runbook_document::{Diagnostic, Diagnostics, Key, Node, Source, Span, Table, Value};
use std::sync::Arc;

/// Keys whose texts are a program's own language, in which `{{.State}}` is a text like any other
/// (`docker inspect --format`).
const TEXTS_OF_PROGRAMS: &[&str] = &["arguments", "command", "environment"];

/// What the templates of a runbook begin with; no other language has these names behind its braces.
const NAMES_OF_TEMPLATES: &[&str] =
    &["params", "steps", "run", "secrets", "targets", "item", "env", "vars", "inputs"];

/// Reports each text of a target, and each name of a key, that has a template in it.
pub(super) fn check(
    target: &Key,
    table: &Table,
    source: &Arc<Source>,
    diagnostics: &mut Diagnostics,
) {
    for (key, node) in &table.entries {
        let texts = if TEXTS_OF_PROGRAMS.contains(&key.name.as_str()) {
            Texts::OfProgram
        } else {
            Texts::OfTarget
        };
        let mut walk = |span: &Span, text: &str| {
            if let Some(template) = template_in(text, texts) {
                diagnostics.push(diagnostic(
                    &format!("target `{}`", target.name),
                    template,
                    source,
                    span.clone(),
                ));
            }
        };
        walk_texts(node, &mut walk);
    }
}

/// The finding for a template that stands where only a literal text can: `subject` says in what.
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

/// Whose language a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texts {
    /// The text is a target's, in which braces have no meaning.
    OfTarget,
    /// The text is a program's, which may have templates of its own.
    OfProgram,
}

/// The first template in a text, as it is written.
pub fn template_in(text: &str, texts: Texts) -> Option<&str> {
    let mut rest = text;
    loop {
        let (start, end) = match (rest.find("{{"), rest.find("{%")) {
            (Some(value), Some(statement)) if statement < value => (statement, "%}"),
            (Some(value), _) => (value, "}}"),
            (None, Some(statement)) => (statement, "%}"),
            (None, None) => return None,
        };
        let inner = &rest[start + 2..];
        let written =
            inner.find(end).map_or(&rest[start..], |length| &rest[start..start + 2 + length + 2]);
        let is_template = match (texts, end) {
            (Texts::OfTarget, _) => true,
            (Texts::OfProgram, "}}") => names_a_value(inner),
            (Texts::OfProgram, _) => {
                written.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(is_name)
            }
        };
        if is_template {
            return Some(written);
        }
        rest = inner;
    }
}

fn names_a_value(inner: &str) -> bool {
    let inner = inner.trim_start_matches(['-', '+']).trim_start();
    let name =
        inner.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    is_name(name)
}

fn is_name(word: &str) -> bool {
    NAMES_OF_TEMPLATES.contains(&word)
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
    fn a_template_of_a_runbook_is_found_and_one_of_a_program_is_its_own() {
        for text in [
            "{{ params.host }}",
            "a{{steps.a.output}}",
            "{% if params.a %}",
            "{{- secrets.token }}",
            "x {{ item }} y",
        ] {
            assert!(
                template_in(text, Texts::OfTarget).is_some()
                    && template_in(text, Texts::OfProgram).is_some(),
                "{text}"
            );
        }
        for text in ["{{.State.Status}}", "{{ json .Config }}", "{{range .items}}{{.name}}{{end}}"]
        {
            assert!(
                template_in(text, Texts::OfTarget).is_some()
                    && template_in(text, Texts::OfProgram).is_none(),
                "{text}"
            );
        }
        for text in ["{}", "Bearer {}", "a{2}", "}}", "{ {"] {
            assert_eq!(template_in(text, Texts::OfTarget), None, "{text}");
        }
        assert_eq!(
            template_in("{{.A}} {{ params.b }} c", Texts::OfProgram),
            Some("{{ params.b }}")
        );
        assert_eq!(template_in("{{ params.b", Texts::OfTarget), Some("{{ params.b"));
    }
}
