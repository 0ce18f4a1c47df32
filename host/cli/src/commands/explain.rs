//! `runbook explain`: explains a key of a file, or the code of an error, finding or fault.

use crate::completion;
use crate::error_pages::PAGES;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::fault_codes;
use crate::schemas::{KeyExplanation, SchemaKind, find_key, schema};
use crate::ui;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_document::nearest;
use std::fmt::Write as _;

/// The arguments of `runbook explain`.
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// The code of an error, finding or fault, such as `E0231`, `RB004` or `engine.expect`, or the
    /// key, such as `step.retry.on` or `boundary.allow.files`; without one, all keys at the top
    #[arg(add = ArgValueCompleter::new(completion::keys))]
    pub key: Option<String>,
    /// The kind of file that has the key [default: a runbook, else the first kind that has such a
    /// key]
    #[arg(long, value_enum)]
    pub file: Option<SchemaKind>,
}

/// Explains a key of a file, or a code.
pub fn run(args: &ExplainArgs) -> Result<ExitStatus, Failure> {
    let key = args.key.as_deref().unwrap_or_default();
    if is_code(key) {
        return print_page(key);
    }
    let (key, found) = match look_up(args.file, key) {
        Ok(found) => found,
        Err(unknown) => {
            let Some(text) = fault_codes::explain(key) else { return Err(unknown) };
            ui::text(&text)?;
            return Ok(ExitStatus::Success);
        }
    };
    let mut text = String::new();
    if !key.is_empty() {
        let _ = writeln!(text, "{key}: {}", found.meaning);
        let _ = writeln!(text, "  {}", found.kind);
    }
    if !found.keys.is_empty() {
        let rows: Vec<_> = found
            .keys
            .into_iter()
            .map(|(name, meaning)| vec![format!("  {name}"), meaning])
            .collect();
        let _ = write!(
            text,
            "{}{}",
            if key.is_empty() { "" } else { "\n" },
            runbook_report::table(&rows)
        );
    }
    ui::text(&text)?;
    Ok(ExitStatus::Success)
}

/// The kinds of files other than runbooks, and the word for each before a key, as in
/// `boundary.allow`.
const OTHER_KINDS: &[(SchemaKind, &str)] = &[
    (SchemaKind::Boundary, "boundary"),
    (SchemaKind::Trust, "trust"),
    (SchemaKind::Waivers, "waivers"),
    (SchemaKind::Settings, "settings"),
    (SchemaKind::Configuration, "configuration"),
    (SchemaKind::Project, "project"),
    (SchemaKind::Plugin, "plugin"),
    (SchemaKind::Suite, "suite"),
];

/// Explains a key, and returns it as it is shown. Without a kind of file, all kinds are tried, and
/// the key may begin with the word for one.
fn look_up(file: Option<SchemaKind>, key: &str) -> Result<(String, KeyExplanation), Failure> {
    let unknown = |(unknown, known): (String, Vec<String>)| {
        let help = nearest(&unknown, known.iter().map(String::as_str)).map_or_else(
            || match known.as_slice() {
                [] => "no key stands below the one before it".to_owned(),
                known => format!("known there: {}", known.join(", ")),
            },
            |near| format!("did you mean `{near}`?"),
        );
        Failure::usage(format!("there is no key `{unknown}` in `{key}`")).hint(help)
    };
    let found_in_runbook = find_key(&schema(file.unwrap_or(SchemaKind::Runbook)), key);
    if file.is_some() || found_in_runbook.is_ok() {
        return found_in_runbook.map(|found| (key.to_owned(), found)).map_err(unknown);
    }
    // `trust.key` begins with a kind of file, so errors are about that kind.
    if let Some((kind, rest)) = OTHER_KINDS
        .iter()
        .find_map(|(kind, name)| Some((*kind, key.strip_prefix(name)?.strip_prefix('.')?)))
    {
        let schema = schema(kind);
        // `plugin.name` is itself a key of `plugin.toml`; `boundary.files` is short for
        // `allow.files`.
        let top = find_key(&schema, "").map(|found| found.keys).unwrap_or_default();
        let inside = top.iter().map(|(table, _)| format!("{table}.{rest}"));
        let candidates = [rest.to_owned(), key.to_owned()].into_iter().chain(inside);
        let mut found =
            candidates.filter_map(|path| Some((path.clone(), find_key(&schema, &path).ok()?)));
        return found.next().map_or_else(
            || find_key(&schema, rest).map(|found| (key.to_owned(), found)).map_err(unknown),
            Ok,
        );
    }
    let elsewhere = OTHER_KINDS.iter().find_map(|(kind, _)| find_key(&schema(*kind), key).ok());
    match elsewhere {
        Some(found) => Ok((key.to_owned(), found)),
        None => found_in_runbook.map(|found| (key.to_owned(), found)).map_err(unknown),
    }
}

/// Whether a word has the form of a code: `E` or `RB` and digits. No key of a file has it.
fn is_code(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let digits = |prefix: &str| {
        let rest = word.strip_prefix(prefix).unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
    };
    digits("E") || digits("RB")
}

/// Prints the page of a code, in upper or lower case.
fn print_page(typed: &str) -> Result<ExitStatus, Failure> {
    let typed = typed.to_ascii_uppercase();
    let Some(page) = PAGES.iter().find(|page| page.code == typed) else {
        let near = nearest(&typed, PAGES.iter().map(|page| page.code));
        let help = near.map_or_else(
            || {
                "errors print their code, such as `E0231`; findings of a review have one, such as \
                 `RB004`"
                    .to_owned()
            },
            |near| format!("did you mean `{near}`?"),
        );
        return Err(Failure::usage(format!("there is no code `{typed}`")).hint(help));
    };
    ui::text(page.text)?;
    Ok(ExitStatus::Success)
}
