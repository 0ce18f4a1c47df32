//! Parses a [`Runbook`] from text, and reports all mistakes at once.
//!
//! The parser opens no file: the [`Loader`] of the caller does.

mod calls;
mod defaults;
mod expect;
mod for_each;
mod guard;
mod include;
mod inline_targets;
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

pub use include::parse_targets_file;
pub use with_file::parse_inputs;

use crate::lint;
use crate::model::{Runbook, SecretEntry, TargetEntry};
use runbook_document::{Diagnostics, Reader, Source, Spanned, Table};
use std::sync::Arc;
use std::time::Duration;

/// Loads another file, by a name relative to the folder of the runbook.
pub type Loader<'a> = dyn FnMut(&str) -> std::io::Result<Arc<Source>> + 'a;

/// The targets and secrets of a file, which other files can include.
#[derive(Debug, Default)]
pub struct TargetsAndSecrets {
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

/// Parses a runbook as far as possible, and returns all findings beside it, so that later stages
/// can report their findings too. If there is an error among the findings, the runbook must not be
/// used for anything else.
pub fn parse_leniently(
    source: &Arc<Source>,
    environment: Option<&str>,
    load: &mut Loader<'_>,
) -> (Option<Runbook>, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let runbook = read_with_nested(
        source,
        &mut ParseContext::new(source, environment, load),
        &mut diagnostics,
    );
    (runbook, diagnostics)
}

/// The state of the parser, shared by all files of a run.
pub(crate) struct ParseContext<'a, 'l> {
    /// The runbook that is run.
    root: std::path::PathBuf,
    environment: Option<&'a str>,
    load: &'a mut Loader<'l>,
    /// The nested files that are being read, outermost first.
    open_files: Vec<String>,
    /// The names of the targets of those files and of the runbook: a nested file sees them.
    targets: Vec<String>,
}

/// Reads and checks one file and all that it nests.
fn read_with_nested(
    source: &Arc<Source>,
    parsing: &mut ParseContext<'_, '_>,
    diagnostics: &mut Diagnostics,
) -> Option<Runbook> {
    let mut table = runbook_document::parse(source, diagnostics)?;
    let mut files = Vec::new();
    inline_targets::move_to_targets(&mut table);
    with_file::insert_inputs(&mut table, source, parsing.load, &mut files, diagnostics);
    let mut runbook = read_file(source, &table, parsing.environment, parsing.load, diagnostics)?;
    runbook.sources.append(&mut files);
    lint::check_runbook(&runbook, &parsing.targets, diagnostics);
    let n_outer_targets = parsing.targets.len();
    parsing.targets.extend(runbook.targets.iter().map(|target| target.name.name.clone()));
    nest::expand(&mut runbook, parsing, diagnostics);
    parsing.targets.truncate(n_outer_targets);
    Some(runbook)
}

/// Reads all that can be read of a file. `None` only if `name` of `[runbook]` is missing.
fn read_file(
    source: &Arc<Source>,
    table: &Table,
    environment: Option<&str>,
    load: &mut Loader<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Runbook> {
    let mut shared = TargetsAndSecrets::default();
    let mut reader = Reader::new(source, table, "the runbook", diagnostics);
    read_format(&mut reader);
    let runbook_table = reader.section("runbook", "`[runbook]`", read_runbook_header).flatten();
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
    include::read_shared(&mut reader, &mut shared);
    let includes = reader
        .optional::<Vec<Spanned<String>>>("include")
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
        reader.mark_known("suite");
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
    include::load_all(source, &includes, environment, load, &mut shared, &mut sources, diagnostics);
    let runbook_table = runbook_table?;
    Some(Runbook {
        sources,
        title: runbook_table.title.unwrap_or_else(|| runbook_table.name.value.clone()),
        name: runbook_table.name,
        owner: runbook_table.owner,
        description: runbook_table.description,
        risk: runbook_table.risk,
        timeout: runbook_table.timeout,
        params,
        secrets: shared.secrets,
        targets: shared.targets,
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

/// The table `[runbook]`.
struct RunbookTable {
    name: Spanned<String>,
    title: Option<String>,
    owner: Option<String>,
    description: Option<String>,
    risk: Option<Spanned<crate::model::DeclaredRisk>>,
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

fn read_runbook_header(reader: &mut Reader<'_>) -> Option<RunbookTable> {
    let name = reader.required::<String>("name");
    let runbook_table = RunbookTable {
        title: reader.optional("title").map(|title| title.value),
        owner: reader.optional("owner").map(|owner| owner.value),
        description: reader.optional("description").map(|description| description.value),
        risk: names::choice(reader, "risk", crate::model::DeclaredRisk::ALL),
        timeout: reader.optional("timeout").map(|timeout| timeout.value),
        name: name?,
    };
    if let Some(node) = reader.table().get("on_failure") {
        let span = node.span.clone();
        reader.mark_known("on_failure");
        let help = "write it into `[defaults]`, which holds for every step that does not say it";
        reader.error_with_help(
            "E0204",
            span,
            "unknown key `on_failure` in `[runbook]`",
            "unknown key",
            help,
        );
    }
    names::check_kebab(
        reader,
        &runbook_table.name.value,
        &runbook_table.name.span,
        "the name of a runbook",
    );
    Some(runbook_table)
}
