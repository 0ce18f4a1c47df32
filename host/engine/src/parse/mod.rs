//! Text → [`Runbook`], all mistakes at once.
//!
//! The parser opens no file: other files come through the [`Loader`] of the caller.

mod calls;
mod defaults;
mod expect;
mod for_each;
mod guard;
mod in_place;
mod include;
mod manual;
mod names;
mod nest;
pub(crate) mod params;
mod sections;
mod sql_text;
mod step;
mod suite;
mod undo;
mod uses;
mod window;
mod with_file;

pub use include::parse_shared;
pub use with_file::parse_inputs;

use crate::lint;
use crate::model::{Runbook, SecretEntry, TargetEntry};
use runbook_document::{Diagnostics, Located, Reader, Source, Table};
use std::sync::Arc;
use std::time::Duration;

/// Gives the text of another file, named relative to the runbook.
pub type Loader<'a> = dyn FnMut(&str) -> std::io::Result<Arc<Source>> + 'a;

/// What files may share: all that a file of targets holds.
#[derive(Debug, Default)]
pub struct Shared {
    /// The entries of `[secrets]`.
    pub secrets: Vec<SecretEntry>,
    /// The entries of `[targets]`.
    pub targets: Vec<TargetEntry>,
}

/// Parses a runbook.
///
/// `environment` is the value of `--env`: the file `targets.NAME.toml` beside the runbook overrides
/// targets of the same name.
///
/// # Errors
/// Every finding about the file and what it includes, at least one of them an error.
pub fn parse(
    source: &Arc<Source>,
    environment: Option<&str>,
    load: &mut Loader<'_>,
) -> Result<Runbook, Diagnostics> {
    match parse_leniently(source, environment, load) {
        (Some(mut runbook), diagnostics) if !diagnostics.has_errors() => {
            runbook.warnings = diagnostics;
            Ok(runbook)
        }
        (Some(_) | None, diagnostics) => Err(diagnostics),
    }
}

/// Parses a runbook and gives what could be read of it beside all findings, so that later stages
/// can find their mistakes, too. With an error among the findings it is only good for that.
pub fn parse_leniently(
    source: &Arc<Source>,
    environment: Option<&str>,
    load: &mut Loader<'_>,
) -> (Option<Runbook>, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let runbook =
        read_whole(source, &mut ParseContext::new(source, environment, load), &mut diagnostics);
    (runbook, diagnostics)
}

/// Where the parser is, through all files of a run.
pub(crate) struct ParseContext<'a, 'l> {
    /// The runbook that is run.
    root: std::path::PathBuf,
    environment: Option<&'a str>,
    load: &'a mut Loader<'l>,
    /// The nested files that are being read, outermost first.
    open: Vec<String>,
    /// The names of the targets of those files and of the runbook: a nested file sees them.
    targets: Vec<String>,
}

/// One file and all that it nests, checked by itself.
fn read_whole(
    source: &Arc<Source>,
    parsing: &mut ParseContext<'_, '_>,
    diagnostics: &mut Diagnostics,
) -> Option<Runbook> {
    let mut table = runbook_document::parse(source, diagnostics)?;
    let mut files = Vec::new();
    in_place::name_targets(&mut table);
    with_file::put_in(&mut table, source, parsing.load, &mut files, diagnostics);
    let mut runbook = read_file(source, &table, parsing.environment, parsing.load, diagnostics)?;
    runbook.sources.append(&mut files);
    lint::runbook(&runbook, &parsing.targets, diagnostics);
    let around = parsing.targets.len();
    parsing.targets.extend(runbook.targets.iter().map(|target| target.name.name.clone()));
    nest::expand(&mut runbook, parsing, diagnostics);
    parsing.targets.truncate(around);
    Some(runbook)
}

/// Reads all that can be read; `None` only if the part without which nothing makes sense, the name,
/// is missing.
fn read_file(
    source: &Arc<Source>,
    table: &Table,
    environment: Option<&str>,
    load: &mut Loader<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Runbook> {
    let mut parts = Shared::default();
    let mut reader = Reader::new(source, table, "the runbook", diagnostics);
    read_format(&mut reader);
    let about = reader.section("runbook", "`[runbook]`", read_about).flatten();
    if table.get("runbook").is_none() && table.get("suite").is_none() {
        let help = "add `[runbook]` with `name = \"…\"`";
        reader.error_with_help(
            "E0202",
            0..0,
            "the runbook has no `[runbook]`",
            "`[runbook]` is missing",
            help,
        );
    }
    let params = params::read(&mut reader);
    include::read_shared(&mut reader, &mut parts);
    let includes = reader
        .optional::<Vec<Located<String>>>("include")
        .map(|list| list.value)
        .unwrap_or_default();
    let locks = sections::locks(&mut reader);
    let limits = sections::limits(&mut reader);
    let undo = sections::undo_policy(&mut reader);
    let window = window::read(&mut reader);
    let guards = guard::read_all(&mut reader);
    let checks = suite::read_all(&mut reader);
    let defaults = defaults::Defaults::read(&mut reader);
    if !checks.is_empty() {
        defaults.check_suite(&mut reader);
    }
    let mut steps: Vec<_> =
        step::read_all(&mut reader, defaults.on_failure()).into_iter().chain(checks).collect();
    steps.iter_mut().for_each(|step| defaults.fill(step));
    let notifies = step::read_notifies(&mut reader);
    if let Some(node) = reader.table().get("suite") {
        let span = node.span.clone();
        reader.knows("suite");
        let help = "write `[runbook]`: a suite begins as a runbook does, and has `[[check]]` in \
                    place of `[[step]]`";
        reader.error_with_help(
            "E0204",
            span,
            "unknown key `suite` in the runbook",
            "unknown key",
            help,
        );
    }
    reader.finish();
    let mut sources = vec![Arc::clone(source)];
    include::load_all(source, &includes, environment, load, &mut parts, &mut sources, diagnostics);
    let about = about?;
    Some(Runbook {
        sources,
        title: about.title.unwrap_or_else(|| about.name.value.clone()),
        name: about.name,
        owner: about.owner,
        description: about.description,
        risk: about.risk,
        timeout: about.timeout,
        params,
        secrets: parts.secrets,
        targets: parts.targets,
        locks,
        window,
        limits,
        undo,
        steps,
        guards,
        notifies,
        groups: Vec::new(),
        warnings: Diagnostics::default(),
    })
}

struct About {
    name: Located<String>,
    title: Option<String>,
    owner: Option<String>,
    description: Option<String>,
    risk: Option<Located<crate::model::DeclaredRisk>>,
    timeout: Option<Duration>,
}

/// Reads the `format` key. A format that this version does not know is refused, even if all else is
/// right.
fn read_format(reader: &mut Reader<'_>) {
    let Some(format) = reader.required::<i64>("format") else { return };
    if format.value != 1 {
        let message = format!("format {} is not known; this version reads format 1", format.value);
        reader.error("E0205", format.span, message, "unknown format");
    }
}

fn read_about(reader: &mut Reader<'_>) -> Option<About> {
    let name = reader.required::<String>("name");
    let about = About {
        title: reader.optional("title").map(|title| title.value),
        owner: reader.optional("owner").map(|owner| owner.value),
        description: reader.optional("description").map(|description| description.value),
        risk: names::choice(reader, "risk", crate::model::DeclaredRisk::ALL),
        timeout: reader.optional("timeout").map(|timeout| timeout.value),
        name: name?,
    };
    if let Some(node) = reader.table().get("on_failure") {
        let span = node.span.clone();
        reader.knows("on_failure");
        let help = "write it into `[defaults]`, which holds for every step that does not say it";
        reader.error_with_help(
            "E0204",
            span,
            "unknown key `on_failure` in `[runbook]`",
            "unknown key",
            help,
        );
    }
    names::check_kebab(reader, &about.name.value, &about.name.span, "the name of a runbook");
    Some(about)
}
