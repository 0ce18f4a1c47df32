//! `runbook explain`

use crate::args::ExplainArgs;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::schemas::{find, schema};
use crate::ui;
use runbook_document::nearest;
use std::fmt::Write as _;

/// Explains a key of a file.
pub fn run(args: &ExplainArgs) -> Result<ExitStatus, Failure> {
    let key = args.key.as_deref().unwrap_or_default();
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
