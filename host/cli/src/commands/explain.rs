//! `runbook explain`: a key of a file, or the code of an error or finding.

use crate::completion;
use crate::error_pages::PAGES;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::fault_codes;
use crate::schemas::{Explained, FileKind, find, schema};
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
    pub file: Option<FileKind>,
}

/// Explains a key of a file, or a code.
pub fn run(args: &ExplainArgs) -> Result<ExitStatus, Failure> {
    let key = args.key.as_deref().unwrap_or_default();
    if is_code(key) {
        return page(key);
    }
    let (key, found) = match look_up(args.file, key) {
        Ok(found) => found,
        Err(unknown) => {
            let Some(text) = fault_codes::explained(key) else { return Err(unknown) };
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

/// The kinds of files that people write, other than runbooks, and what a person calls each before
/// its keys.
const OTHER_KINDS: &[(FileKind, &str)] = &[
    (FileKind::Boundary, "boundary"),
    (FileKind::Trust, "trust"),
    (FileKind::Waivers, "waivers"),
    (FileKind::Settings, "settings"),
    (FileKind::Configuration, "configuration"),
    (FileKind::Project, "project"),
    (FileKind::Plugin, "plugin"),
    (FileKind::Suite, "suite"),
];

/// What a key means, with the key as it is shown. Without a kind of file all are tried, and a key
/// may begin with the name of one.
fn look_up(file: Option<FileKind>, key: &str) -> Result<(String, Explained), Failure> {
    let unknown = |(unknown, known): (String, Vec<String>)| {
        let help = nearest(&unknown, known.iter().map(String::as_str)).map_or_else(
            || format!("known there: {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Failure::usage(format!("there is no key `{unknown}` in `{key}`")).hint(help)
    };
    let of_runbook = find(&schema(file.unwrap_or(FileKind::Runbook)), key);
    if file.is_some() || of_runbook.is_ok() {
        return of_runbook.map(|found| (key.to_owned(), found)).map_err(unknown);
    }
    // `trust.key`: the kind of file is named first, so its mistakes are told of that kind.
    if let Some((kind, below)) = OTHER_KINDS
        .iter()
        .find_map(|(kind, name)| Some((*kind, key.strip_prefix(name)?.strip_prefix('.')?)))
    {
        let schema = schema(kind);
        // `plugin.name` is a key of `plugin.toml` as it stands; `boundary.files` is one of each
        // rule.
        let top = find(&schema, "").map(|found| found.keys).unwrap_or_default();
        let inside = top.iter().map(|(table, _)| format!("{table}.{below}"));
        let ways = [below.to_owned(), key.to_owned()].into_iter().chain(inside);
        let mut found = ways.filter_map(|way| Some((way.clone(), find(&schema, &way).ok()?)));
        return found.next().map_or_else(
            || find(&schema, below).map(|found| (key.to_owned(), found)).map_err(unknown),
            Ok,
        );
    }
    let elsewhere = OTHER_KINDS.iter().find_map(|(kind, _)| find(&schema(*kind), key).ok());
    match elsewhere {
        Some(found) => Ok((key.to_owned(), found)),
        None => of_runbook.map(|found| (key.to_owned(), found)).map_err(unknown),
    }
}

/// Whether a word is written as a code is: `E` or `RB` and digits, perhaps one too few. No key of a
/// file is.
fn is_code(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let digits = |prefix: &str| {
        let rest = word.strip_prefix(prefix).unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
    };
    digits("E") || digits("RB")
}

/// Prints the page of a code, which may be typed in small letters.
fn page(typed: &str) -> Result<ExitStatus, Failure> {
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
