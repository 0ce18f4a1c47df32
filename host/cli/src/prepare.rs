//! From a file to a runbook that can be run: parse → resolve plugins → verify → grant. Nothing is
//! executed here, and all mistakes are reported at once.

mod input_fit;
mod repeats;
mod resolver;
mod targets;

use crate::boundary;
use crate::context::Context;
use crate::environment_targets::SharedTargetNames;
use crate::failure::Failure;
use crate::host_places::{self, PlacesOfHost};
use crate::plugins::Plugins;
use crate::prepared::{Prepared, Site};
use crate::runbook_file::RunbookFile;
use crate::signatures::TrustFiles;
use crate::{text_file, waivers};
use repeats::{holds_a_mistake, new_findings};
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
    let path = file.written();
    let text = text_file::read(file.real()).map_err(|error| {
        let failure =
            Failure::usage(format!("runbook `{}` cannot be read: {error}", path.display()));
        if error.kind() == std::io::ErrorKind::InvalidData {
            failure.hint("a runbook is UTF-8 text")
        } else {
            failure
        }
    })?;
    Ok(text_file::named(path, path.display().to_string(), text))
}

/// Prepares the runbook in a file to be run, and compares it with its lock entry.
pub fn from_file(
    context: &Context,
    path: &Path,
    environment: Option<&str>,
) -> Result<Prepared, Failure> {
    as_locked(context, path, environment, Scrutiny::Refuse)
}

/// Prepares the runbook in a file, and compares it with its lock entry.
pub fn as_locked(
    context: &Context,
    path: &Path,
    environment: Option<&str>,
    scrutiny: Scrutiny,
) -> Result<Prepared, Failure> {
    let prepared = unlocked(context, path, environment, scrutiny)?;
    crate::lockfile::check(context, path, environment, &prepared)?;
    Ok(prepared)
}

/// Prepares the runbook in a file, whatever the lockfile says: for those who review it.
pub fn unlocked(
    context: &Context,
    path: &Path,
    environment: Option<&str>,
    scrutiny: Scrutiny,
) -> Result<Prepared, Failure> {
    let file = RunbookFile::locate(path)?;
    let source = read(&file)?;
    crate::kind_of_file::refuse(&source)?;
    if let Some(environment) = environment {
        find_environment(&file, environment)?;
    }
    let limits = match scrutiny {
        Scrutiny::Refuse | Scrutiny::Reach => Limits::load(context, file.folder())?,
        Scrutiny::Report => Limits::default(),
    };
    let neighbors = SharedTargetNames::Beside(&file);
    let mut prepared = prepare_within(
        (limits, scrutiny),
        &source,
        file.folder(),
        environment,
        &mut includes(&file),
        neighbors,
    )?;
    if prepared.runbook.section(Section::Check).next().is_some() {
        prepared.waivers = waivers::source(&file)?;
    }
    Ok(prepared)
}

/// Says which environments there are, where there is no such one.
fn find_environment(file: &RunbookFile, environment: &str) -> Result<(), Failure> {
    let wanted = format!("targets.{environment}.toml");
    if file.folder().join(&wanted).exists() {
        return Ok(());
    }
    let mut known: Vec<String> = environments(file.folder());
    known.sort();
    let shown = file.shown(&wanted).display().to_string();
    let failure = Failure::usage(format!("`--env {environment}`: there is no `{shown}`"));
    let near = runbook_document::nearest(environment, known.iter().map(String::as_str));
    Err(match near {
        Some(near) => failure.hint(format!("did you mean `--env {near}`?")),
        None if known.is_empty() => failure.hint(format!(
            "leave `--env` out, or write `{shown}` with `format = 1` and `[targets]`"
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

/// What happens to a runbook that goes beyond the boundary, or that could not be run to its end as
/// it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrutiny {
    /// It is refused: it is to be run, or locked to be run.
    Refuse,
    /// It is refused if it goes beyond the boundary: what was done of it is put back or decided
    /// about, and whether the rest of it could be run does not matter then.
    Reach,
    /// Whoever asked reports it.
    Report,
}

/// Reads what a runbook includes, from beside it. A file that is named twice is read once, so that
/// the text that is compared with the lockfile is the text that runs.
pub fn includes(file: &RunbookFile) -> impl FnMut(&str) -> std::io::Result<Arc<Source>> {
    let mut known: BTreeMap<String, Arc<Source>> = BTreeMap::new();
    move |name| {
        if let Some(source) = known.get(name) {
            return Ok(Arc::clone(source));
        }
        let text = text_file::read_below(file.folder(), name)?;
        let source = Source::new(file.shown(name).display().to_string(), text);
        known.insert(name.to_owned(), Arc::clone(&source));
        Ok(source)
    }
}

/// Prepares a runbook from the texts that the journal kept when the run started. Its folder is
/// absolute and without links.
pub fn prepare_with(
    (context, scrutiny): (&Context, Scrutiny),
    source: &Arc<Source>,
    folder: &Path,
    environment: Option<&str>,
    load: &mut runbook_engine::Loader<'_>,
) -> Result<Prepared, Failure> {
    prepare_within(
        (Limits::load(context, folder)?, scrutiny),
        source,
        folder,
        environment,
        load,
        SharedTargetNames::Unasked,
    )
}

/// What holds for every runbook of this host.
#[derive(Debug, Default)]
struct Limits {
    boundaries: Vec<Boundary>,
    trust: TrustFiles,
    places: PlacesOfHost,
}

impl Limits {
    /// Those of the host, the operator and the working directory, and those of the project in which
    /// a runbook lies, wherever it is named from.
    fn load(context: &Context, folder: &Path) -> Result<Self, Failure> {
        let projects = context.projects_beyond(folder)?;
        let mut boundaries = boundary::load(context)?;
        boundaries.extend(boundary::of_projects(&projects)?);
        let trust = TrustFiles::with_projects(context, &projects)?;
        Ok(Self { boundaries, trust, places: host_places::of(context, &projects) })
    }
}

fn prepare_within(
    (limits, scrutiny): (Limits, Scrutiny),
    source: &Arc<Source>,
    folder: &Path,
    environment: Option<&str>,
    load: &mut runbook_engine::Loader<'_>,
    neighbors: SharedTargetNames<'_>,
) -> Result<Prepared, Failure> {
    // Each stage adds what it finds to what those before it have found, so that all is said at
    // once.
    let (runbook, mut diagnostics) = runbook_engine::parse_leniently(source, environment, load);
    let Some(mut runbook) = runbook else { return Err(Failure::findings(diagnostics)) };
    if !diagnostics.has_errors() {
        runbook.warnings = std::mem::take(&mut diagnostics);
    }
    let mut later = Diagnostics::default();
    let paths = Folder::new(folder, &runbook_runtime::follow_links)
        .ok_or_else(|| {
            Failure::engine(format!("the folder `{}` is not absolute", folder.display()))
        })?
        .with_digests(&runbook_runtime::certificates_digest);
    let (targets, wrong) = targets::read(&runbook, paths, &mut later);
    later.extend(
        runbook.secrets.iter().filter_map(|secret| crate::secret_source::source_of(secret).err()),
    );
    later.append(crate::environment_targets::strays(&runbook, &targets, neighbors));
    let resolver = UseResolver {
        boundaries: &limits.boundaries,
        places: &limits.places,
        plugins: Plugins::trusted(limits.trust),
        folder,
        targets: &targets,
        wrong: &wrong,
    };
    let (sites, facts) = resolver.resolve(&runbook, &mut later)?;
    let reads = crate::outputs::wrong_reads(
        &runbook_engine::output_reads(&runbook),
        &runbook.steps,
        &sites,
    );
    later.extend(reads.into_iter().filter(|found| !holds_a_mistake(found, &diagnostics)));
    add_what_cannot_run(&runbook, (&sites, &facts), scrutiny, &diagnostics, &mut later);
    diagnostics.extend(new_findings(&diagnostics, later));
    if diagnostics.has_errors() {
        refuse(diagnostics)?;
    } else {
        runbook.warnings.extend(diagnostics);
    }
    let environment = environment.map(str::to_owned);
    Ok(Prepared { runbook, folder: folder.to_owned(), environment, waivers: None, sites, facts })
}

/// Adds why the runbook cannot run as it stands, where it is to run or has other errors. Its
/// warnings alone are told with the plan.
fn add_what_cannot_run(
    runbook: &Runbook,
    (sites, facts): (&BTreeMap<StepId, Site>, &BTreeMap<StepId, OperationFacts>),
    scrutiny: Scrutiny,
    told: &Diagnostics,
    later: &mut Diagnostics,
) {
    let of_facts = runbook_engine::check_facts(runbook, facts);
    let mut cannot_run = false;
    if scrutiny == Scrutiny::Refuse {
        later.extend(crate::statements::foreseen(runbook, sites));
        cannot_run = of_facts.has_errors();
    }
    if cannot_run || told.has_errors() || later.has_errors() {
        // Why nothing is known of an operation was said above.
        later.extend(
            of_facts.into_iter().filter(|found| found.code != runbook_engine::NOTHING_KNOWN),
        );
    }
}

/// The codes of refusals by authority: a target that is wider or narrower than the plugin says, a
/// plugin that is not trusted, a place of the host itself, and what lies beyond the boundary. Every
/// other code is a mistake in the text, such as a name that is not there.
const OF_AUTHORITY: &[&str] = &["E0115", "E0116", "E0117", "E0118", "E0120"];

/// Errors of authority end the program with another status than mistakes in the text.
fn refuse(diagnostics: Diagnostics) -> Result<(), Failure> {
    if !diagnostics.has_errors() {
        return Ok(());
    }
    let all_of_authority = diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .all(|found| OF_AUTHORITY.contains(&found.code));
    let status = if all_of_authority {
        crate::exit_status::ExitStatus::Refused
    } else {
        crate::exit_status::ExitStatus::Usage
    };
    Err(Failure::Findings { status, diagnostics })
}
