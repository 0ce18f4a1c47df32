//! Reports texts that look like a secret. A runbook is committed and shown to people, so a secret
//! in it is an error.

use crate::model::Runbook;
use runbook_document::{Diagnostic, Diagnostics, Node, Source, Table, Value};
use std::sync::{Arc, OnceLock};

/// A rule for one kind of secret.
struct Rule {
    what: &'static str,
    /// Texts one of which every match contains. Without them in a text, the pattern is not
    /// compiled, because that takes longer than all other checks.
    required_texts: &'static [&'static str],
    pattern: &'static str,
    compiled: OnceLock<regex::Regex>,
}

impl Rule {
    const fn new(
        what: &'static str,
        required_texts: &'static [&'static str],
        pattern: &'static str,
    ) -> Self {
        Self { what, required_texts, pattern, compiled: OnceLock::new() }
    }

    fn is_match(&self, text: &str) -> bool {
        let compile = || regex::Regex::new(self.pattern).expect("the rules are compiled by a test");
        self.required_texts.iter().any(|part| text.contains(part))
            && self.compiled.get_or_init(compile).is_match(text)
    }
}

/// A few rules with almost no false positives, after gitleaks.
static RULES: [Rule; 9] = [
    Rule::new("a private key", &["PRIVATE KEY-----"], r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    Rule::new("an AWS access key", &["AKIA", "ASIA"], r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    Rule::new(
        "a GitHub token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        r"\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{60,}",
    ),
    Rule::new("a GitLab token", &["glpat-"], r"\bglpat-[A-Za-z0-9_-]{20}"),
    Rule::new("a Slack token", &["xox"], r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    Rule::new(
        "a Slack webhook",
        &["https://hooks.slack.com/"],
        r"https://hooks\.slack\.com/(?:services|workflows)/\S{20,}",
    ),
    Rule::new("an age identity", &["AGE-SECRET-KEY-1"], r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    Rule::new(
        "a JSON web token",
        &[".eyJ"],
        r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    ),
    Rule::new("a password in a URL", &["@"], r"\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@{]{3,}@"),
];

/// The last words of keys whose value is a secret.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "auth_token",
    "authtoken",
    "bearer",
    "private_key",
    "privatekey",
];

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let text_before = |word: &&str| key.strip_suffix(*word);
    SECRET_WORDS
        .iter()
        .filter_map(text_before)
        .any(|text_before| text_before.is_empty() || text_before.ends_with(['_', '-']))
}

pub(super) fn check(runbook: &Runbook, diagnostics: &mut Diagnostics) {
    let secrets: Vec<&str> =
        runbook.secrets.iter().map(|secret| secret.name.name.as_str()).collect();
    for site in runbook.call_sites() {
        check_table(site.with, site.source, diagnostics);
        for_each_text(site.with, &mut |text, node| {
            if let Some(name) = named_secret(text, &secrets) {
                diagnostics.push(secret_reference_in_input(
                    node.source(site.source),
                    &node.span,
                    name,
                ));
            }
        });
    }
    for param in &runbook.params {
        if let Some(text) = param.default.as_ref().and_then(|default| default.as_str()) {
            report_secret(
                kind_of_secret(Some(&param.name.name), text),
                runbook.source(),
                &param.name.span,
                diagnostics,
            );
        }
    }
}

/// The secret of the runbook that a text names by `secret:NAME`, alone or after a word such as
/// `Bearer`.
fn named_secret<'a>(text: &'a str, secrets: &[&str]) -> Option<&'a str> {
    let mut names = text.split_whitespace().filter_map(|word| word.strip_prefix("secret:"));
    names.find(|name| secrets.contains(name))
}

/// The error about `secret:NAME` in an input: only targets can refer to secrets, so the plugin
/// would send the name itself.
fn secret_reference_in_input(
    source: &Arc<Source>,
    span: &runbook_document::Span,
    name: &str,
) -> Diagnostic {
    let message = format!("an input is a value, so `secret:{name}` would be sent as it stands");
    let help = format!(
        "name it in the target (`headers`, `basic`, `password`), or bind a slot to a \
                 target with `secret = \"{name}\"` whose `positions` say where it goes: `header`, \
                 `basic`, `json` or `form`"
    );
    Diagnostic::error("E0235", source, span.clone(), message)
        .label("no secret stands here")
        .help(help)
}

fn for_each_text(table: Option<&Table>, visit: &mut dyn FnMut(&str, &Node)) {
    for (_, value) in table.iter().flat_map(|table| &table.entries) {
        for_each_text_in(value, visit);
    }
}

fn for_each_text_in(value: &Node, visit: &mut dyn FnMut(&str, &Node)) {
    match &value.value {
        Value::String(text) => visit(text, value),
        Value::Array(items) => items.iter().for_each(|item| for_each_text_in(item, visit)),
        Value::Table(inner) => for_each_text(Some(inner), visit),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn check_table(table: Option<&Table>, source: &Arc<Source>, diagnostics: &mut Diagnostics) {
    for (key, value) in table.iter().flat_map(|table| &table.entries) {
        check_node(Some(&key.name), value, source, diagnostics);
    }
}

fn check_node(
    key: Option<&str>,
    value: &Node,
    source: &Arc<Source>,
    diagnostics: &mut Diagnostics,
) {
    let source = value.source(source);
    match &value.value {
        Value::String(text) => {
            report_secret(kind_of_secret(key, text), source, &value.span, diagnostics);
        }
        Value::Array(items) => {
            items.iter().for_each(|item| check_node(key, item, source, diagnostics));
        }
        Value::Table(inner) => check_table(Some(inner), source, diagnostics),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn report_secret(
    what: Option<&str>,
    source: &Arc<Source>,
    span: &runbook_document::Span,
    diagnostics: &mut Diagnostics,
) {
    let Some(what) = what else { return };
    let diagnostic = Diagnostic::error(
        "E0223",
        source,
        span.clone(),
        format!("this looks like {what}; a runbook holds no secret"),
    );
    let help = "store it with `runbook secret set`, name it under `[secrets]`, and refer to it \
                from a target";
    diagnostics.push(diagnostic.label("looks like a secret").help(help));
}

/// The kind of secret that a text looks like; `None` for other texts, for `secret:…` and for
/// templates.
fn kind_of_secret(key: Option<&str>, text: &str) -> Option<&'static str> {
    if let Some(rule) = RULES.iter().find(|rule| rule.is_match(text)) {
        return Some(rule.what);
    }
    let is_secret_value = key.is_some_and(is_secret_key) && text.len() >= 6;
    (is_secret_value && !text.contains("{{") && !text.starts_with("secret:"))
        .then_some("a password")
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
            assert!(kind_of_secret(None, text).is_some(), "{text}");
        }
        let plain = [
            "orders-2026.dump.zst",
            "http://127.0.0.1:3000/health",
            "postgres://db/orders",
            "INC-42",
            "select 1",
        ];
        for text in plain {
            assert_eq!(kind_of_secret(None, text), None, "{text}");
        }
    }

    #[test]
    fn every_rule_has_a_text_that_it_finds_and_no_text_is_found_without_one_of_its_parts() {
        let filled = |length: usize| "A1".repeat(length);
        let texts = [
            "-----BEGIN RSA PRIVATE KEY-----".to_owned(),
            format!("x ASIA{} y", filled(8)),
            format!("github_pat_{}", filled(40)),
            format!("glpat-{}", filled(10)),
            format!("xoxb-{}", filled(8)),
            format!("https://hooks.slack.com/workflows/{}", filled(12)),
            format!("AGE-SECRET-KEY-1{}", filled(12)),
            format!("eyJ{0}.eyJ{0}.{0}", filled(6)),
            "amqp://me:word@host".to_owned(),
        ];
        for (rule, text) in RULES.iter().zip(&texts) {
            assert_eq!(kind_of_secret(None, text), Some(rule.what), "{text}");
            let pattern = regex::Regex::new(rule.pattern).expect("a pattern");
            let without =
                rule.required_texts.iter().fold(text.clone(), |text, part| text.replace(part, ""));
            assert!(!pattern.is_match(&without), "{}: {without}", rule.what);
        }
    }

    #[test]
    fn a_value_under_a_key_that_names_a_secret_is_one_unless_it_refers_to_one() {
        assert!(kind_of_secret(Some("db_password"), "hunter2hunter2").is_some());
        assert_eq!(kind_of_secret(Some("password"), "secret:db-password"), None);
        assert_eq!(kind_of_secret(Some("password"), "{{ params.name }}"), None);
        assert_eq!(kind_of_secret(Some("passwordless"), "hunter2hunter2"), None);
    }
}
