//! `runbook doctor`

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::plugins::BUNDLED;
use crate::{execution, ui, vault};
use std::path::Path;

/// Shows every setting with its origin, and tries what runs need.
pub fn run(context: &Context) -> Result<ExitStatus, Failure> {
    let identities: Vec<_> = context.identities.iter().map(|path| path.display().to_string()).collect();
    let settings = [
        setting("journal", &context.journal.to_string(), "RUNBOOK_JOURNAL"),
        setting("identity", &identities.join(":"), "RUNBOOK_IDENTITY"),
        setting("cache", &context.cache.display().to_string(), "RUNBOOK_CACHE"),
        setting("operator", &context.operator, "USER"),
    ];
    let (checks, status) = checks(context);
    let mut text =
        format!("runbook {}, {} bundled\n\nSettings\n", env!("CARGO_PKG_VERSION"), ui::counted(BUNDLED.len(), "plugin"));
    text.push_str(&runbook_report::table(&settings));
    text.push_str("\n\nChecks\n");
    text.push_str(&runbook_report::table(&checks));
    ui::text(&text)?;
    Ok(status)
}

fn setting(name: &str, value: &str, variable: &str) -> Vec<String> {
    let origin = if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
        format!("from {variable}")
    } else {
        "default, or a flag".to_owned()
    };
    vec![name.to_owned(), value.to_owned(), origin]
}

/// Each check: what, verdict, what to do.
fn checks(context: &Context) -> (Vec<Vec<String>>, ExitStatus) {
    let journal = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        journal.count().await.map_err(Failure::engine)
    });
    let identities = vault::identities(context).map(|identities| identities.len());
    let mut status = ExitStatus::Success;
    let mut rows = Vec::new();
    let mut row = |what: &str, verdict: Result<String, String>, help: &str| {
        let (word, detail) = match verdict {
            Ok(detail) => ("ok", detail),
            Err(detail) => {
                status = ExitStatus::Engine;
                ("FAIL", format!("{detail}; {help}"))
            }
        };
        rows.push(vec![what.to_owned(), word.to_owned(), detail]);
    };
    row(
        "journal can be written",
        journal.map(|runs| ui::counted(usize::try_from(runs).unwrap_or(usize::MAX), "run")).map_err(|failure| describe(&failure)),
        "name another with --journal",
    );
    let keys =
        identities.map(|count| if count == 0 { "none yet: runbook secret keygen".to_owned() } else { ui::counted(count, "key") });
    row("private keys", keys.map_err(|failure| describe(&failure)), "see `runbook secret keygen`");
    let socket = if Path::new("/var/run/docker.sock").exists() {
        "its socket is there"
    } else {
        "no socket; needed only by docker targets"
    };
    row("Docker engine", Ok(socket.to_owned()), "");
    (rows, status)
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Error { error, .. } => error.to_string(),
        Failure::Findings { .. } | Failure::BrokenPipe => "unusable".to_owned(),
    }
}
