//! `runbook doctor`

use crate::context::{Context, LockPolicy};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::plugins::BUNDLED;
use crate::program_log::LogFormat;
use crate::{execution, secret_store, ui};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the Docker engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the Docker engine of this host listens.
const DOCKER: &str = "/var/run/docker.sock";

/// Shows every setting with its origin, and tries what runs need.
pub fn run(context: &Context) -> Result<ExitStatus, Failure> {
    let (checks, status) = checks(context);
    let mut text =
        format!("runbook {}, {} bundled\n\nSettings\n", env!("CARGO_PKG_VERSION"), ui::counted(BUNDLED.len(), "plugin"));
    text.push_str(&runbook_report::table(&settings(context)));
    text.push_str("\n\nChecks\n");
    text.push_str(&runbook_report::table(&checks));
    ui::text(&text)?;
    Ok(status)
}

/// Every option of every command, as it is now and where that comes from. A test compares it with the command line.
fn settings(context: &Context) -> Vec<Vec<String>> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let file = |path: &Path| if path.exists() { path.display().to_string() } else { format!("{} (not there)", path.display()) };
    let identities: Vec<_> = context.identities.iter().map(|path| file(path)).collect();
    let files = |paths: &[PathBuf]| match paths.iter().map(|path| file(path)).collect::<Vec<_>>().join(" and ") {
        none if none.is_empty() => "none".to_owned(),
        all => all,
    };
    let values = [
        ("color", format!("{} on stderr", if context.color_stderr { "used" } else { "not used" })),
        ("no-input", format!("questions: {}", if context.interactive { "asked here" } else { "nobody can be asked" })),
        ("journal", context.journal.to_string()),
        ("identity", identities.join(":")),
        ("passphrase-file", context.passphrase_file.as_deref().map_or_else(|| "none".to_owned(), file)),
        ("boundary", files(&context.boundaries)),
        ("audit-log", context.audit_log.display().to_string()),
        ("trust", files(&context.trusts)),
        ("locked", yes_no(context.lock_policy == LockPolicy::Required)),
        ("cache", context.cache.display().to_string()),
        ("log", context.log.clone().unwrap_or_else(|| "none".to_owned())),
        ("log-format", if context.log_format == Some(LogFormat::Json) { "json" } else { "text" }.to_owned()),
    ];
    let row = |(name, value): (&str, String)| {
        let origin = context.origins.get(name).cloned().unwrap_or_default();
        vec![name.to_owned(), value, origin]
    };
    let mut rows: Vec<_> = values.into_iter().map(row).collect();
    rows.push(vec!["operator".to_owned(), context.operator.clone(), "the user id of this process".to_owned()]);
    rows
}

/// Asks the Docker engine whether it is well: that its socket is there says nothing.
fn ping_docker() -> Result<String, String> {
    let answer = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(DOCKER)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    match answer() {
        Ok(answer) if answer.split_whitespace().nth(1) == Some("200") => Ok(format!("answers at {DOCKER}")),
        Ok(answer) => Err(format!("{DOCKER} answers `{}`", answer.lines().next().unwrap_or_default())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("none at {DOCKER}; needed only by docker targets"))
        }
        Err(error) => Err(format!("{DOCKER} does not answer: {error}; needed only by docker targets")),
    }
}

/// Each check: what, verdict, what to do.
fn checks(context: &Context) -> (Vec<Vec<String>>, ExitStatus) {
    let journal = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        journal.count().await.map_err(Failure::engine)
    });
    let identities = secret_store::identities(context).map(|identities| identities.len());
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
    // Most hosts need none, so it is no failure of theirs.
    let (word, detail) = ping_docker().map_or_else(|why| ("no", why), |found| ("ok", found));
    rows.push(vec!["Docker engine".to_owned(), word.to_owned(), detail]);
    // Only targets that say `read_only` need it, and they refuse to run without it.
    let (word, detail) = match runbook_launch::sandbox::available() {
        Ok(()) => ("ok", "Landlock and seccomp are there".to_owned()),
        Err(missing) => ("no", format!("targets with `read_only = true` are refused here: {missing}")),
    };
    rows.push(vec!["programs that only read".to_owned(), word.to_owned(), detail]);
    (rows, status)
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Error { error, .. } => error.to_string(),
        Failure::Findings { .. } | Failure::BrokenPipe => "unusable".to_owned(),
    }
}
