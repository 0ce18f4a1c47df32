//! From a file to something that can be run: parse → resolve plugins → verify → grant. Nothing is
//! executed here, and everything that is wrong is said at once.

use crate::boundary;
use crate::context::Context;
use crate::environment_targets::Neighbors;
use crate::failure::Failure;
use crate::host_places::{self, PlacesOfHost};
use crate::plugins::{Plugins, file_of, is_file};
use crate::prepared::{Prepared, Site};
use crate::runbook_file::RunbookFile;
use crate::schema_words;
use crate::signatures::TrustFiles;
use crate::written_input::{node_at, params_of_sites};
use crate::{text_file, waivers};
use runbook_authority::grant::{self, GrantSite, Refusal, RefusalRule};
use runbook_authority::manifest::KnownInput;
use runbook_authority::targets::{Folder, StoredSecret};
use runbook_authority::{Binding, Boundary, Effective, Manifest, Targets};
use runbook_document::{Diagnostic, Diagnostics, FromNode as _, Severity, Source, Value};
use runbook_engine::model::{Bind, Param, ParamType, SecretEntry, TargetEntry};
use runbook_engine::{Known, Misfit, OperationFacts, Runbook, Section, Shared, UseSite};
use runbook_runtime::Verified;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

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
    let neighbors = Neighbors::Beside(&file);
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
        Neighbors::Unasked,
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
    neighbors: Neighbors<'_>,
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
        .with_digests(&runbook_runtime::ca_digest);
    let (targets, wrong) = read_targets(&runbook, paths, &mut later);
    later.extend(
        runbook.secrets.iter().filter_map(|secret| crate::secret_source::source_of(secret).err()),
    );
    later.append(crate::environment_targets::strays(&runbook, &targets, neighbors));
    let mut plugins = Plugins::trusted(limits.trust);
    let mut sites = BTreeMap::new();
    let mut facts = BTreeMap::new();
    let params_of = params_of_sites(&runbook);
    for site in runbook.use_sites() {
        let Some((reference, operation)) = site.uses.value.rsplit_once(':') else { continue };
        let plugin = match plugins.get(reference, folder) {
            Ok(plugin) => plugin,
            Err(failure) => {
                later.push(unusable(&site, failure)?);
                continue;
            }
        };
        match granted(&site, operation, plugin.manifest(), &targets, params_of(&site.step)) {
            Ok(effective) => {
                for boundary in &limits.boundaries {
                    boundary::check(boundary, &site, (plugin.manifest(), &effective), &mut later);
                }
                host_places::check(&limits.places, &site, &effective, &mut later);
                later.extend(wrong_input(
                    &site,
                    (reference, operation),
                    folder,
                    &plugin,
                    params_of(&site.step),
                ));
                let declared = plugin.manifest().operations.get(operation);
                later.extend(
                    declared.and_then(|declared| {
                        crate::spent_time::longer_than_the_step(&site, declared)
                    }),
                );
                facts.insert(site.step.clone(), facts_of(&plugin, operation, &effective));
                let site_of = Site {
                    reference: reference.to_owned(),
                    operation: operation.to_owned(),
                    plugin,
                    effective,
                };
                sites.insert(site.step, site_of);
            }
            Err(refusals) => {
                // A slot whose name is mistyped is not bound.
                let has_slip =
                    refusals.iter().any(|refusal| refusal.rule == RefusalRule::UnknownSlot);
                let follows = |refusal: &Refusal| match refusal.rule {
                    RefusalRule::Unbound => has_slip,
                    rule => rule.concerns_target() && is_bound_to(&site, &wrong),
                };
                later.extend(
                    refusals.into_iter().filter(|refusal| !follows(refusal)).map(Into::into),
                );
            }
        }
    }
    let reads = crate::outputs::wrong_reads(
        &runbook_engine::output_reads(&runbook),
        &runbook.steps,
        &sites,
    );
    later.extend(reads.into_iter().filter(|found| !holds_a_mistake(found, &diagnostics)));
    drop(params_of);
    let of_facts = runbook_engine::check_facts(&runbook, &facts);
    let mut cannot_run = false;
    if scrutiny == Scrutiny::Refuse {
        later.extend(crate::statements::foreseen(&runbook, &sites));
        cannot_run = of_facts.has_errors();
    }
    // Its warnings alone are told with the plan.
    if cannot_run || diagnostics.has_errors() || later.has_errors() {
        // Why nothing is known of an operation was said above.
        later.extend(
            of_facts.into_iter().filter(|found| found.code != runbook_engine::NOTHING_KNOWN),
        );
    }
    diagnostics.extend(unsaid(&diagnostics, later));
    if diagnostics.has_errors() {
        refuse(diagnostics)?;
    } else {
        runbook.warnings.extend(diagnostics);
    }
    let environment = environment.map(str::to_owned);
    Ok(Prepared { runbook, folder: folder.to_owned(), environment, waivers: None, sites, facts })
}

/// Whether a finding is about a text in which a mistake was reported already: a name that is
/// unknown there has no output either.
fn holds_a_mistake(found: &Diagnostic, told: &Diagnostics) -> bool {
    let is_inside = |inner: &Diagnostic| {
        found.span.start <= inner.span.start && inner.span.end <= found.span.end
    };
    told.iter().any(|told| {
        told.severity == Severity::Error
            && told.source.name() == found.source.name()
            && is_inside(told)
    })
}

/// What a later stage has found, without findings at the place of a mistake that was reported
/// already.
fn unsaid(told: &Diagnostics, later: Diagnostics) -> Vec<Diagnostic> {
    let place =
        |found: &Diagnostic| (found.source.name().to_owned(), found.span.start, found.span.end);
    let errors = told.iter().filter(|found| found.severity == Severity::Error);
    let mut places: BTreeSet<_> = errors.map(place).collect();
    let mut fresh = Vec::new();
    for found in later {
        let is_new = !places.contains(&place(&found));
        if found.severity == Severity::Error {
            places.insert(place(&found));
        }
        if is_new {
            fresh.push(found);
        }
    }
    fresh
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

/// Whether a slot is bound to one of these targets, which have mistakes. A refusal of such a slot
/// would only repeat the mistake of its target.
fn is_bound_to(site: &UseSite<'_>, targets: &BTreeSet<&str>) -> bool {
    site.bind.iter().any(|bind| targets.contains(bind.target.value.as_str()))
}

/// The targets, and the names of those with mistakes.
fn read_targets<'a>(
    runbook: &'a Runbook,
    folder: Folder<'_>,
    diagnostics: &mut Diagnostics,
) -> (Targets, BTreeSet<&'a str>) {
    let (mut targets, wrong) = read_each(&runbook.targets, folder, diagnostics);
    // A source with a mistake is told elsewhere.
    let stored = |secret: &SecretEntry| {
        let source = crate::secret_source::source_of(secret).ok()?;
        Some((
            secret.name.name.clone(),
            StoredSecret::locate(&source.path().to_string_lossy(), source.name(), folder),
        ))
    };
    targets.name_secrets(runbook.secrets.iter().filter_map(stored).collect());
    let secrets: Vec<_> = runbook.secrets.iter().map(|secret| secret.name.name.as_str()).collect();
    targets.check_references(&secrets, &wrong, diagnostics);
    (targets, wrong)
}

/// Reports what is wrong with a file of targets and secrets by itself. Which secrets its targets
/// may name depends on the runbook.
pub fn check_shared(
    file: &Path,
    shared: &Shared,
    diagnostics: &mut Diagnostics,
) -> Result<(), Failure> {
    let file = RunbookFile::locate(file)?;
    let Some(folder) = Folder::new(file.folder(), &runbook_runtime::follow_links) else {
        return Ok(());
    };
    read_each(&shared.targets, folder, diagnostics);
    diagnostics.extend(
        shared.secrets.iter().filter_map(|secret| crate::secret_source::source_of(secret).err()),
    );
    Ok(())
}

fn read_each<'a>(
    entries: &'a [TargetEntry],
    folder: Folder<'_>,
    diagnostics: &mut Diagnostics,
) -> (Targets, BTreeSet<&'a str>) {
    let mut targets = Targets::default();
    let mut wrong = BTreeSet::new();
    for entry in entries {
        let mut found = Diagnostics::default();
        targets.add(&entry.name, &entry.source, &entry.table, folder, &mut found);
        if found.has_errors() {
            wrong.insert(entry.name.name.as_str());
        }
        diagnostics.extend(found);
    }
    (targets, wrong)
}

/// The input of a call, as far as it is known before parameters have values and steps have run.
fn known_input(site: &UseSite<'_>, params: &[Param]) -> Known {
    let input = site.with.map_or_else(|| serde_json::json!({}), runbook_document::Table::to_json);
    Known::of_types(&input, params)
}

/// What is known of an input now is compared with the operation's schema now: all that has no
/// template, the types of parameters, and that a template with text around it is a text. The rest
/// is compared when it is rendered.
fn wrong_input(
    site: &UseSite<'_>,
    (reference, operation): (&str, &str),
    folder: &Path,
    plugin: &Verified,
    params: &[Param],
) -> Vec<Diagnostic> {
    // What is missing may stand where nobody could read it.
    if site.with.is_some_and(|with| with.is_partial) {
        return Vec::new();
    }
    let known = known_input(site, params);
    let misfits = crate::misfits::misfits(plugin, operation, &known.value);
    let schema = plugin.manifest().operations.get(operation).map(|declared| &declared.input);
    let as_diagnostic = |misfit: &Misfit| {
        let node = site.with.and_then(|with| node_at(with, &misfit.pointer));
        let of_key = misfit
            .key
            .as_ref()
            .map(|key| format!("{}/{}", misfit.pointer, key.replace('~', "~0").replace('/', "~1")));
        let there = of_key.and_then(|pointer| node_at(site.with?, &pointer)).or(node);
        let source = there.map_or(site.source, |node| node.source(site.source));
        let key = misfit.key.as_ref().and_then(|key| key_at(site.with?, &misfit.pointer, key));
        let whole = || site.with.map_or_else(|| site.span.clone(), |with| with.span.clone());
        let span = key.or_else(|| node.map(|node| node.span.clone())).unwrap_or_else(whole);
        let place = if misfit.pointer.is_empty() {
            "the top".to_owned()
        } else {
            format!("`{}`", misfit.pointer)
        };
        let message = format!(
            "the input of `{}` does not fit: at {place}: {}",
            site.uses.value, misfit.reason
        );
        let diagnostic = Diagnostic::error("E0230", source, span, message).label("does not fit");
        let written =
            node.and_then(String::from_node).filter(|_| known.sampled.contains(&misfit.pointer));
        let param = written.as_deref().and_then(runbook_engine::param_of);
        match (
            &misfit.help,
            param.and_then(|name| params.iter().find(|param| param.name.name == name)),
        ) {
            (Some(help), _) => diagnostic.help(help.clone()),
            (None, Some(param)) => {
                let there = schema.map_or(&serde_json::Value::Null, |schema| {
                    schema_words::at(schema, &misfit.pointer)
                });
                let wanted =
                    schema_words::kind(there, schema.unwrap_or(there), schema_words::DEEPEST);
                diagnostic.help(advice_for_param(param, &wanted))
            }
            (None, None) if written.is_some() => diagnostic.help(
                "a template with text around it is a text; alone in its quotes it keeps its type",
            ),
            (None, None) => {
                // What can be run from here: a file is named relative to the runbook in it, and
                // relative to this folder on the command line.
                let place = if is_file(reference) {
                    file_of(reference, folder).display().to_string()
                } else {
                    reference.to_owned()
                };
                let place = runbook_text::file(&format!("{place}:{operation}")).into_owned();
                diagnostic.help(format!("see `runbook plugin inspect {place}`"))
            }
        }
    };
    known.certain(&misfits).map(as_diagnostic).collect()
}

/// What to do about a parameter that stands where another type is expected.
fn advice_for_param(param: &Param, wanted: &str) -> String {
    let name = &param.name.name;
    let types = [
        ("text", ParamType::String),
        (schema_words::DURATION, ParamType::Duration),
        ("whole number", ParamType::Int),
        ("number", ParamType::Float),
        ("true or false", ParamType::Bool),
        ("list of text", ParamType::List),
    ];
    let fitting = types
        .iter()
        .find(|(word, _)| wanted.split(" | ").any(|one| one == *word))
        .map(|(_, kind)| kind);
    match fitting {
        Some(ParamType::String) => format!(
            "a parameter keeps its type; a text of it is `{{{{ params.{name} | string }}}}`"
        ),
        Some(kind) => format!(
            "`params.{name}` is of type {}; give it `type = \"{}\"`",
            param.kind.name(),
            kind.name()
        ),
        None => {
            format!("`params.{name}` is of type {}, which does not fit there", param.kind.name())
        }
    }
}

/// Where a key stands in the table at a JSON pointer.
fn key_at(
    table: &runbook_document::Table,
    pointer: &str,
    key: &str,
) -> Option<runbook_document::Span> {
    let inner = if pointer.is_empty() {
        table
    } else {
        match &node_at(table, pointer)?.value {
            Value::Table(inner) => inner,
            Value::Array(_)
            | Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {
                return None;
            }
        }
    };
    inner.entries.iter().find(|(found, _)| found.name == key).map(|(found, _)| found.span.clone())
}

/// A plugin that cannot be used, shown where the runbook names it.
fn unusable(site: &UseSite<'_>, failure: Failure) -> Result<Diagnostic, Failure> {
    match failure {
        Failure::Error { error, hints, status } => {
            let code =
                if status == crate::exit_status::ExitStatus::Refused { "E0117" } else { "E0312" };
            let said = std::iter::once(error.to_string()).chain(Failure::causes(error.as_ref()));
            let message = said.collect::<Vec<_>>().join(": ");
            let diagnostic = Diagnostic::error(code, site.source, site.uses.span.clone(), message)
                .label("this plugin");
            Ok(if hints.is_empty() { diagnostic } else { diagnostic.help(hints.join("; ")) })
        }
        other @ (Failure::Findings { .. } | Failure::BrokenPipe) => Err(other),
    }
}

fn granted(
    site: &UseSite<'_>,
    operation: &str,
    manifest: &Manifest,
    targets: &Targets,
    params: &[Param],
) -> Result<Effective, Vec<grant::Refusal>> {
    let bindings: Vec<_> = site
        .bind
        .iter()
        .map(|Bind { slot, target, .. }| Binding { slot: slot.clone(), target: target.clone() })
        .collect();
    let step = site.step.as_str();
    let known = known_input(site, params);
    // A sample of a type says nothing about the value that a condition compares.
    let unknown: BTreeSet<String> = known.unknown.into_iter().chain(known.sampled).collect();
    let grant_site = GrantSite {
        step,
        uses: &site.uses.value,
        operation,
        source: site.source,
        span: &site.uses.span,
        input: KnownInput { value: &known.value, unknown: &unknown },
    };
    grant::grant(&grant_site, manifest, &bindings, targets)
}

fn facts_of(plugin: &Verified, operation: &str, effective: &Effective) -> OperationFacts {
    let declared =
        plugin.manifest().operations.get(operation).expect("granting found the operation");
    OperationFacts {
        kind: declared.kind,
        idempotent: declared.idempotent,
        undo: declared.undo,
        writes: declared.writes(),
        digest: plugin.digest().to_string(),
        places: effective
            .iter()
            .map(|grant| format!("`{}` ({})", grant.target.name, grant.target.describe()))
            .collect(),
    }
}
