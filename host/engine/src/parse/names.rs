//! Checks names, and reads words with a closed list of values.

use runbook_document::{Reader, Span, Spanned, nearest};

/// Reports a name that is not kebab-case: it is part of lock names, file names and ids.
pub(super) fn check_kebab(reader: &mut Reader<'_>, name: &str, span: &Span, subject: &str) {
    if is_kebab(name) {
        return;
    }
    let message = format!("{subject} must be lowercase words joined by `-`, not `{name}`");
    let help = format!("write `{}`", suggest_kebab(name));
    reader.error_with_help("E0206", span.clone(), message, "not kebab-case", help);
}

/// Whether `name` is words of `a-z0-9` joined by single dashes, the first character a letter.
fn is_kebab(name: &str) -> bool {
    let are_words_valid = name.split('-').all(|word| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    });
    are_words_valid && name.starts_with(|c: char| c.is_ascii_lowercase())
}

fn suggest_kebab(name: &str) -> String {
    let lower = name.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let joined = words.join("-");
    if joined.starts_with(|c: char| c.is_ascii_lowercase()) {
        joined
    } else {
        format!("step-{joined}")
    }
}

/// Reports a name that cannot stand in a template: `params.NAME`.
pub(super) fn check_identifier(reader: &mut Reader<'_>, name: &str, span: &Span, subject: &str) {
    let is_identifier = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_identifier {
        let message = format!("{subject} must be lowercase letters, digits and `_`, not `{name}`");
        reader.error("E0206", span.clone(), message, "cannot stand in a template");
    }
}

/// The value among `all` that the word under `key` names.
pub(super) fn choice<T: Copy>(
    reader: &mut Reader<'_>,
    key: &'static str,
    all: &[(T, &'static str)],
) -> Option<Spanned<T>> {
    let word = reader.optional::<String>(key)?;
    choose(reader, key, &word, all).map(|value| Spanned { value, span: word.span })
}

/// The values that the words under `key` name.
pub(super) fn choices<T: Copy>(
    reader: &mut Reader<'_>,
    key: &'static str,
    all: &[(T, &'static str)],
) -> Option<Spanned<Vec<T>>> {
    let words = reader.optional::<Vec<Spanned<String>>>(key)?;
    let values = words.value.iter().filter_map(|word| choose(reader, key, word, all)).collect();
    Some(Spanned { value: values, span: words.span })
}

fn choose<T: Copy>(
    reader: &mut Reader<'_>,
    key: &str,
    word: &Spanned<String>,
    all: &[(T, &'static str)],
) -> Option<T> {
    let found = all.iter().find(|(_, name)| *name == word.value).map(|(value, _)| *value);
    if found.is_none() {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        let message = format!("`{key}` of {} cannot be `{}`", reader.subject(), word.value);
        let help = match nearest(&word.value, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of: {}", names.join(", ")),
        };
        reader.error_with_help("E0208", word.span.clone(), message, "not a known value", help);
    }
    found
}
