//! Texts that look like a secret. A runbook is committed and shown to people, so a secret in it is an error.

use crate::model::Runbook;
use runbook_document::{Diagnostic, Diagnostics, Node, Source, Table, Value};
use std::sync::{Arc, LazyLock};

/// Few rules with next to no false alarm, after gitleaks: what it is, and how it looks.
static RULES: LazyLock<Vec<(&str, regex::Regex)>> = LazyLock::new(|| {
    [
        ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
        ("an AWS access key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        ("a GitHub token", r"\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{60,}"),
        ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20}"),
        ("a Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
        ("a Slack webhook", r"https://hooks\.slack\.com/(?:services|workflows)/\S{20,}"),
        ("an age identity", r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
        ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
        ("a password in a URL", r"\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@{]{3,}@"),
    ]
    .into_iter()
    .map(|(what, pattern)| (what, regex::Regex::new(pattern).expect("the rules are compiled by a test")))
    .collect()
});

/// Keys whose value is a secret by their name.
static KEYS: LazyLock<regex::Regex> = LazyLock::new(|| {
    regex::Regex::new(r"(?i)(^|_|-)(password|passwd|secret|api_?key|access_?key|auth_?token|bearer|private_?key)$")
        .expect("the pattern is compiled by a test")
});

pub(super) fn check(runbook: &Runbook, diagnostics: &mut Diagnostics) {
    let secrets: Vec<&str> = runbook.secrets.iter().map(|secret| secret.name.name.as_str()).collect();
    for site in runbook.use_sites() {
        table(site.with, site.source, diagnostics);
        each_text(site.with, &mut |text, span| {
            if let Some(name) = named_secret(text, &secrets) {
                diagnostics.push(sent_as_it_stands(site.source, span, name));
            }
        });
    }
    for param in &runbook.params {
        if let Some(text) = param.default.as_ref().and_then(|default| default.as_str()) {
            report(what_looks_secret(Some(&param.name.name), text), runbook.source(), &param.name.span, diagnostics);
        }
    }
}

/// The secret of the runbook that a text names as targets do, by itself or after a word such as `Bearer`.
fn named_secret<'a>(text: &'a str, secrets: &[&str]) -> Option<&'a str> {
    let mut names = text.split_whitespace().filter_map(|word| word.strip_prefix("secret:"));
    names.find(|name| secrets.contains(name))
}

/// An input is a value, and no secret is one: the plugin would send its name.
fn sent_as_it_stands(source: &Arc<Source>, span: &runbook_document::Span, name: &str) -> Diagnostic {
    let message = format!("an input is a value, so `secret:{name}` would be sent as it stands");
    let help = format!(
        "name it in the target (`headers`, `basic`, `password`), or bind a slot to a target with `secret = \"{name}\"` whose `positions` say \
         where it goes: `header`, `basic`, `json` or `form`"
    );
    Diagnostic::error("E0235", source, span.clone(), message).label("no secret stands here").help(help)
}

fn each_text(table: Option<&Table>, seen: &mut dyn FnMut(&str, &runbook_document::Span)) {
    for (_, value) in table.iter().flat_map(|table| &table.entries) {
        each_text_of(value, seen);
    }
}

fn each_text_of(value: &Node, seen: &mut dyn FnMut(&str, &runbook_document::Span)) {
    match &value.value {
        Value::String(text) => seen(text, &value.span),
        Value::Array(items) => items.iter().for_each(|item| each_text_of(item, seen)),
        Value::Table(inner) => each_text(Some(inner), seen),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn table(table: Option<&Table>, source: &Arc<Source>, diagnostics: &mut Diagnostics) {
    for (key, value) in table.iter().flat_map(|table| &table.entries) {
        node(Some(&key.name), value, source, diagnostics);
    }
}

fn node(key: Option<&str>, value: &Node, source: &Arc<Source>, diagnostics: &mut Diagnostics) {
    match &value.value {
        Value::String(text) => report(what_looks_secret(key, text), source, &value.span, diagnostics),
        Value::Array(items) => items.iter().for_each(|item| node(key, item, source, diagnostics)),
        Value::Table(inner) => table(Some(inner), source, diagnostics),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn report(what: Option<&str>, source: &Arc<Source>, span: &runbook_document::Span, diagnostics: &mut Diagnostics) {
    let Some(what) = what else { return };
    let diagnostic =
        Diagnostic::error("E0223", source, span.clone(), format!("this looks like {what}; a runbook holds no secret"));
    let help = "store it with `runbook secret set`, name it under `[secrets]`, and refer to it from a target";
    diagnostics.push(diagnostic.label("looks like a secret").help(help));
}

/// What a text looks like. A name of a secret (`secret:…`) or a template is none.
fn what_looks_secret(key: Option<&str>, text: &str) -> Option<&'static str> {
    if let Some((what, _)) = RULES.iter().find(|(_, rule)| rule.is_match(text)) {
        return Some(what);
    }
    let by_name = key.is_some_and(|key| KEYS.is_match(key)) && text.len() >= 6;
    (by_name && !text.contains("{{") && !text.starts_with("secret:")).then_some("a password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognized_and_ordinary_texts_are_not() {
        let secret = [
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_0123456789abcdefghijABCDEFGHIJ012345",
            "postgres://admin:hunter2@db/orders",
            "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXX",
        ];
        for text in secret {
            assert!(what_looks_secret(None, text).is_some(), "{text}");
        }
        let plain = ["orders-2026.dump.zst", "http://127.0.0.1:3000/health", "postgres://db/orders", "INC-42", "select 1"];
        for text in plain {
            assert_eq!(what_looks_secret(None, text), None, "{text}");
        }
    }

    #[test]
    fn a_value_under_a_key_that_names_a_secret_is_one_unless_it_refers_to_one() {
        assert!(what_looks_secret(Some("db_password"), "hunter2hunter2").is_some());
        assert_eq!(what_looks_secret(Some("password"), "secret:db-password"), None);
        assert_eq!(what_looks_secret(Some("password"), "{{ params.name }}"), None);
        assert_eq!(what_looks_secret(Some("passwordless"), "hunter2hunter2"), None);
    }
}
