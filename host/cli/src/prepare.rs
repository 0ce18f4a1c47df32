//! Prepares a runbook to be run: parse → resolve plugins → verify → grant. Nothing is executed,
//! and all mistakes are reported at once.

mod input_fit;
mod repeats;
mod resolver;
mod targets;

use crate::boundary;
use crate::context::Context;
use crate::environment_targets::SiblingRunbooks;
use crate::failure::Failure;
use crate::plugins::Plugins;
use crate::prepared::{GrantedSite, PreparedRunbook};
use crate::protected_paths::{self, ProtectedPathsAndMounts};
use crate::runbook_file::RunbookFile;
use crate::signatures::TrustFiles;
use crate::{text_file, waivers};
use repeats::{contains_reported_error, new_findings};
use resolver::UseResolver;
use runbook_authority::Boundary;
use runbook_authority::targets::Folder;
use runbook_contract::StepId;
use runbook_document::{Diagnostics, Severity, Source};
use runbook_engine::{OperationFacts, Runbook, Section};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
pub use targets::check_shared;

/// Reads a runbook from its file.
fn read(file: &RunbookFile) -> Result<Arc<Source>, Failure> {
    let path = file.typed_path();
    let text = text_file::read(file.real()).map_err(|error| {
        let failure =
            Failure::usage(format!("runbook `{}` cannot be read: {error}", path.display()));
        if error.kind() == std::io::ErrorKind::InvalidData {
            failure.hint("a runbook is UTF-8 text")
        } else {
            failure
        }
    })?;
    Ok(text_file::named_source(path, path.display().to_string(), text))
}

/// Prepares the runbook in a file to be run, and compares it with its lock entry.
pub fn from_file(
    context: &Context,
    path: &Path,
    environment: Option<&str>,
) -> Result<PreparedRunbook, Failure> {
    with_lockfile(context, path, environment, Strictness::Full)
}

/// Prepares the runbook in a file, and compares it with its lock entry.
pub fn with_lockfile(
    context: &Context,
    path: &Path,
    environment: Option<&str>,
    strictness: Strictness,
) -> Result<PreparedRunbook, Failure> {
    let prepared = without_lockfile(context, path, environment, strictness)?;
    crate::lockfile::check(context, path, environment, &prepared)?;
    Ok(prepared)
}

/// Prepares the runbook in a file without looking at its lockfile: to lock or review it.
pub fn without_lockfile(
    context: &Context,
    path: &Path,
    environment: Option<&str>,
    strictness: Strictness,
) -> Result<PreparedRunbook, Failure> {
    let file = RunbookFile::locate(path)?;
    let source = read(&file)?;
    crate::kind_of_file::refuse_non_runbook(&source)?;
    if let Some(environment) = environment {
        require_environment(&file, environment)?;
    }
    let limits = match strictness {
        Strictness::Full | Strictness::BoundaryOnly => Limits::load(context, file.folder())?,
        Strictness::Report => Limits::default(),
    };
    let siblings = SiblingRunbooks::Read(&file);
    let mut prepared = prepare_source(
        (limits, strictness),
        &source,
        file.folder(),
        environment,
        &mut include_loader(&file),
        siblings,
    )?;
    if prepared.runbook.section(Section::Check).next().is_some() {
        prepared.waivers = waivers::source(&file)?;
    }
    Ok(prepared)
}

/// Fails if the environment does not exist, and suggests one that does.
fn require_environment(file: &RunbookFile, environment: &str) -> Result<(), Failure> {
    let file_name = format!("targets.{environment}.toml");
    if file.folder().join(&file_name).exists() {
        return Ok(());
    }
    let mut known: Vec<String> = environments(file.folder());
    known.sort();
    let displayed_path = file.display_path(&file_name).display().to_string();
    let failure = Failure::usage(format!("`--env {environment}`: there is no `{displayed_path}`"));
    let near = runbook_document::nearest(environment, known.iter().map(String::as_str));
    Err(match near {
        Some(near) => failure.hint(format!("did you mean `--env {near}`?")),
        None if known.is_empty() => failure.hint(format!(
            "leave `--env` out, or write `{displayed_path}` with `format = 1` and `[targets]`"
        )),
        None => failure.hint(format!("environments here: {}", known.join(", "))),
    })
}

/// The environments of the runbooks in a folder, by the names of their files.
pub fn environments(folder: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| Some(environment_of(name.to_str()?)?.to_owned())).collect()
}

/// The environment whose targets a file of this name has.
pub fn environment_of(name: &str) -> Option<&str> {
    name.strip_prefix("targets.")?.strip_suffix(".toml")
}

/// Whether a runbook is refused that goes beyond the boundary, or that could not be run to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Both are refused: the runbook is to be run or locked.
    Full,
    /// A runbook beyond the boundary is refused. It need not be possible to run it to its end,
    /// because it is only undone, or a decision about it is recorded.
    BoundaryOnly,
    /// Neither is refused: the caller reports both.
    Report,
}

/// A function that reads the files that a runbook includes. Each file is read once, so that the
/// text that is compared with the lockfile is the text that runs.
pub fn include_loader(file: &RunbookFile) -> impl FnMut(&str) -> std::io::Result<Arc<Source>> {
    let mut known: BTreeMap<String, Arc<Source>> = BTreeMap::new();
    move |name| {
        if let Some(source) = known.get(name) {
            return Ok(Arc::clone(source));
        }
        let text = text_file::read_below(file.folder(), name)?;
        let source = Source::new(file.display_path(name).display().to_string(), text);
        known.insert(name.to_owned(), Arc::clone(&source));
        Ok(source)
    }
}

/// Prepares a runbook from the texts that were recorded in the journal when the run started.
/// `folder` is absolute and without symbolic links.
pub fn from_journaled_texts(
    (context, strictness): (&Context, Strictness),
    source: &Arc<Source>,
    folder: &Path,
    environment: Option<&str>,
    load: &mut runbook_engine::Loader<'_>,
) -> Result<PreparedRunbook, Failure> {
    prepare_source(
        (Limits::load(context, folder)?, strictness),
        source,
        folder,
        environment,
        load,
        SiblingRunbooks::Ignored,
    )
}

/// The limits that a runbook is checked against.
#[derive(Debug, Default)]
struct Limits {
    boundaries: Vec<Boundary>,
    trust: TrustFiles,
    protected_paths: ProtectedPathsAndMounts,
}

impl Limits {
    /// The limits of the host, the operator and the working directory, and those of the projects
    /// around the folder of a runbook.
    fn load(context: &Context, folder: &Path) -> Result<Self, Failure> {
        let projects = context.additional_projects(folder)?;
        let mut boundaries = boundary::load(context)?;
        boundaries.extend(boundary::of_projects(&projects)?);
        let trust = TrustFiles::with_projects(context, &projects)?;
        Ok(Self { boundaries, trust, protected_paths: protected_paths::of(context, &projects) })
    }
}

fn prepare_source(
    (limits, strictness): (Limits, Strictness),
    source: &Arc<Source>,
    folder: &Path,
    environment: Option<&str>,
    load: &mut runbook_engine::Loader<'_>,
    siblings: SiblingRunbooks<'_>,
) -> Result<PreparedRunbook, Failure> {
    // Each stage adds its findings to those of the stages before, so that all are reported at once.
    let (runbook, mut diagnostics) = runbook_engine::parse_leniently(source, environment, load);
    let Some(mut runbook) = runbook else { return Err(Failure::findings(diagnostics)) };
    if !diagnostics.has_errors() {
        runbook.warnings = std::mem::take(&mut diagnostics);
    }
    let mut later_findings = Diagnostics::default();
    let paths = Folder::new(folder, &runbook_runtime::resolve_symlinks)
        .ok_or_else(|| {
            Failure::engine(format!("the folder `{}` is not absolute", folder.display()))
        })?
        .with_digests(&runbook_runtime::certificates_digest)
        .with_recipients(&crate::secret_store::listed_recipients);
    let (targets, wrong_targets) = targets::read(&runbook, paths, &mut later_findings);
    later_findings.append(crate::environment_targets::unused_targets(&runbook, &targets, siblings));
    let resolver = UseResolver {
        boundaries: &limits.boundaries,
        protected_paths: &limits.protected_paths,
        plugins: Plugins::trusted(limits.trust),
        folder,
        targets: &targets,
        wrong_targets: &wrong_targets,
    };
    let (sites, facts) = resolver.resolve(&runbook, &mut later_findings)?;
    let reads = crate::outputs::wrong_reads(
        &runbook_engine::output_reads(&runbook),
        &runbook.steps,
        &sites,
    );
    later_findings
        .extend(reads.into_iter().filter(|found| !contains_reported_error(found, &diagnostics)));
    add_run_obstacles(&runbook, (&sites, &facts), strictness, &diagnostics, &mut later_findings);
    diagnostics.extend(new_findings(&diagnostics, later_findings));
    if diagnostics.has_errors() {
        refuse_errors(diagnostics)?;
    } else {
        runbook.warnings.extend(diagnostics);
    }
    let environment = environment.map(str::to_owned);
    Ok(PreparedRunbook {
        runbook,
        folder: folder.to_owned(),
        environment,
        waivers: None,
        sites,
        facts,
    })
}

/// Adds the reasons why the runbook could not be run to its end, if it is to be run or has other
/// errors.
fn add_run_obstacles(
    runbook: &Runbook,
    (sites, facts): (&BTreeMap<StepId, GrantedSite>, &BTreeMap<StepId, OperationFacts>),
    strictness: Strictness,
    reported: &Diagnostics,
    later_findings: &mut Diagnostics,
) {
    let fact_diagnostics = runbook_engine::check_facts(runbook, facts);
    let mut cannot_run = false;
    if strictness == Strictness::Full {
        later_findings.extend(crate::statements::check(runbook, sites));
        cannot_run = fact_diagnostics.has_errors();
    }
    if cannot_run || reported.has_errors() || later_findings.has_errors() {
        // An operation of which nothing is known has a finding of its own already.
        later_findings.extend(
            fact_diagnostics
                .into_iter()
                .filter(|found| found.code != runbook_engine::UNRESOLVED_OPERATION),
        );
    }
}

/// The codes of refusals by authority: a target that is wider or narrower than the plugin declares,
/// a plugin that is not trusted, a path of the host itself, and a grant beyond the boundary. All
/// other codes are mistakes in the text, such as an unknown name.
const AUTHORITY_CODES: &[&str] = &["E0115", "E0116", "E0117", "E0118", "E0120"];

/// Fails if there are errors. The exit status is `Refused` if all of them are refusals by
/// authority, else `Usage`.
fn refuse_errors(diagnostics: Diagnostics) -> Result<(), Failure> {
    if !diagnostics.has_errors() {
        return Ok(());
    }
    let all_of_authority = diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .all(|found| AUTHORITY_CODES.contains(&found.code));
    let status = if all_of_authority {
        crate::exit_status::ExitStatus::Refused
    } else {
        crate::exit_status::ExitStatus::Usage
    };
    Err(Failure::Findings { status, diagnostics })
}
