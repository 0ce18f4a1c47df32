//! `runbook explain`: a key of a file, or the code of an error or finding.

use crate::completion;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::schemas::FileKind;
use crate::schemas::{find, schema};
use crate::ui;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_document::nearest;
use std::fmt::Write as _;

/// `runbook explain`
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// The code, such as `E0231` or `RB004`, or the key, such as `step.retry.on`; without one, all keys at the top
    #[arg(add = ArgValueCompleter::new(completion::keys))]
    pub key: Option<String>,
    /// Of which kind of file
    #[arg(long, value_enum, default_value = "runbook")]
    pub file: FileKind,
}

/// One page of `docs/errors`.
struct Page {
    /// `E0231` or `RB004`.
    code: &'static str,
    /// The page, in Markdown.
    text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Every code that has a page, with the title of its page.
pub fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    let title = |page: &Page| page.text.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, title)| title);
    PAGES.iter().map(move |page| (page.code, title(page)))
}

/// Explains a key of a file, or a code.
pub fn run(args: &ExplainArgs) -> Result<ExitStatus, Failure> {
    let key = args.key.as_deref().unwrap_or_default();
    if is_code(key) {
        return page(key);
    }
    let found = find(&schema(args.file), key).map_err(|(unknown, known)| {
        let help = nearest(&unknown, known.iter().map(String::as_str))
            .map_or_else(|| format!("known there: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        Failure::usage(format!("there is no key `{unknown}` in `{key}`")).hint(help)
    })?;
    let mut text = String::new();
    if !key.is_empty() {
        let _ = writeln!(text, "{key}: {}", found.meaning);
        let _ = writeln!(text, "  {}", found.kind);
    }
    if !found.keys.is_empty() {
        let rows: Vec<_> = found.keys.into_iter().map(|(name, meaning)| vec![format!("  {name}"), meaning]).collect();
        let _ = write!(text, "{}{}", if key.is_empty() { "" } else { "\n" }, runbook_report::table(&rows));
    }
    ui::text(&text)?;
    Ok(ExitStatus::Success)
}

/// Whether a word is written as a code is: `E` and four digits, or `RB` and three. No key of a file is.
fn is_code(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let digits = |prefix: &str| word.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    word.len() == 5 && (digits("E") || digits("RB"))
}

/// Prints the page of a code, which may be typed in small letters.
fn page(typed: &str) -> Result<ExitStatus, Failure> {
    let typed = typed.to_ascii_uppercase();
    let Some(page) = PAGES.iter().find(|page| page.code == typed) else {
        let near = nearest(&typed, PAGES.iter().map(|page| page.code));
        let help = near.map_or_else(
            || "errors print their code, such as `E0231`; findings of a review have one, such as `RB004`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(Failure::usage(format!("there is no code `{typed}`")).hint(help));
    };
    ui::text(page.text)?;
    Ok(ExitStatus::Success)
}
