//! The access report of plugins and runbooks.

use super::{ReviewArgs, details};
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::kind_of_file::KindOfFile;
use crate::other_files::kind;
use crate::plugins::{self, Plugins};
use crate::prepare::{self, Scrutiny};
use crate::prepared::{Prepared, Site};
use crate::signatures::TrustFiles;
use crate::{audited, boundary, lockfile, signatures, text_file, ui};
use runbook_authority::access_report::{
    AccessReport, CallSite, Component, FindingRule, FlowStep, Gap, PluginEntry, PluginOrigin,
    RunbookEntry, SentenceContext, StepEntry, flows,
};
use runbook_authority::lockfile::FILE_NAME;
use runbook_runtime::{Verified, follow_links};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shows the access report. A file that cannot be read is reported, and the rest is still shown.
pub(super) fn run(context: &Context, args: &ReviewArgs) -> Result<ExitStatus, Failure> {
    let subjects = subjects(&args.paths)?;
    let boundaries = boundary::load(context)?;
    let used = if args.used { Some(super::usage::used(context)?) } else { None };
    let lens = SentenceContext { boundaries: &boundaries, used: used.as_ref() };
    let trust = TrustFiles::load(context)?;
    let mut plugins = Vec::new();
    let mut runbooks = Vec::new();
    let mut worst = ExitStatus::Success;
    let mut gaps: Vec<Gap> = Vec::new();
    let mut read = BTreeSet::new();
    let mut failed = |what: &str, failure: &Failure| {
        ui::failure(context.color_stderr.into(), failure);
        gaps.push(Gap {
            rule: FindingRule::NotReviewed,
            file: what.to_owned(),
            why: failure.in_one_line(),
        });
        worst = if worst == ExitStatus::Success { failure.status() } else { worst };
    };
    for subject in &subjects {
        match subject {
            ReviewedItem::Plugin(reference) => match Plugins::default()
                .get(reference, Path::new("."))
            {
                Ok(plugin) => {
                    plugins.push(plugin_entry(reference, Path::new("."), &plugin, &trust, &lens)?);
                }
                Err(failure) => failed(reference, &failure),
            },
            ReviewedItem::Runbook(path) => {
                match prepare::unlocked(context, path, args.env.as_deref(), Scrutiny::Report) {
                    Ok(prepared) => {
                        for site in by_reference(&prepared).values() {
                            plugins.push(plugin_entry(
                                &site.reference,
                                &prepared.folder,
                                &site.plugin,
                                &trust,
                                &lens,
                            )?);
                        }
                        read.extend(
                            decided_by(path, &prepared)
                                .iter()
                                .filter_map(|file| file.canonicalize().ok()),
                        );
                        runbooks.push(runbook_entry(path, &prepared, &lens));
                    }
                    Err(failure) => failed(&path.display().to_string(), &failure),
                }
            }
            ReviewedItem::Unreadable(path, failure) => failed(&path.display().to_string(), failure),
            ReviewedItem::Link(_) => {}
        }
    }
    gaps.extend(subjects.iter().filter_map(|subject| match subject {
        ReviewedItem::Link(path) => Some(Gap {
            rule: FindingRule::NotReviewed,
            file: path.display().to_string(),
            why: "a link to a folder, which is not followed".to_owned(),
        }),
        ReviewedItem::Plugin(_) | ReviewedItem::Runbook(_) | ReviewedItem::Unreadable(..) => None,
    }));
    gaps.extend(other_environments(&subjects, args.env.as_deref(), &read));
    let ledger = AccessReport::new(plugins, runbooks).without(gaps);
    super::deliver(args, &runbook_report::access_report::render(args.format, &ledger))?;
    if worst != ExitStatus::Success {
        return Ok(worst);
    }
    Ok(status(&ledger, args))
}

/// Files of targets beside the runbooks that are of another environment than the one that is
/// reviewed, and that none of them includes.
fn other_environments(
    subjects: &[ReviewedItem],
    reviewed: Option<&str>,
    read: &BTreeSet<PathBuf>,
) -> Vec<Gap> {
    let folder = |subject: &ReviewedItem| match subject {
        ReviewedItem::Runbook(path) => path.parent().map(Path::to_owned),
        ReviewedItem::Plugin(_) | ReviewedItem::Link(_) | ReviewedItem::Unreadable(..) => None,
    };
    let folders: BTreeSet<PathBuf> = subjects.iter().filter_map(folder).collect();
    let mut gaps = BTreeMap::new();
    for folder in folders {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        for entry in std::fs::read_dir(here).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(environment) =
                prepare::environment_of(&name).filter(|environment| Some(*environment) != reviewed)
            else {
                continue;
            };
            let file = folder.join(&name);
            if file.canonicalize().is_ok_and(|file| read.contains(&file)) {
                continue;
            }
            let why = format!(
                "the targets of environment `{environment}`; review them with `--env {environment}`"
            );
            let file = plain(&file).display().to_string();
            gaps.insert(file.clone(), Gap { rule: FindingRule::OtherEnvironment, file, why });
        }
    }
    gaps.into_values().collect()
}

fn status(ledger: &AccessReport, args: &ReviewArgs) -> ExitStatus {
    if ledger.exceeds_boundary() {
        return ExitStatus::Refused;
    }
    let too_risky = args
        .fail_on
        .is_some_and(|limit| ledger.findings.iter().any(|finding| finding.risk >= limit));
    if too_risky { ExitStatus::Failed } else { ExitStatus::Success }
}

/// One thing that is to be reviewed.
pub(super) enum ReviewedItem {
    /// A bundled plugin's name or a component file.
    Plugin(String),
    /// The file of a runbook or suite.
    Runbook(PathBuf),
    /// A link to a folder, which is not followed: what is in it may be reviewed elsewhere, or lead
    /// round in a circle.
    Link(PathBuf),
    /// A file that may be a runbook, and why this is unknown.
    Unreadable(PathBuf, Failure),
}

/// What the arguments name; a folder names every runbook and component in it.
pub(super) fn subjects(paths: &[String]) -> Result<Vec<ReviewedItem>, Failure> {
    let here = [".".to_owned()];
    let mut subjects = Vec::new();
    for path in if paths.is_empty() { &here } else { paths } {
        let as_path = Path::new(path);
        if as_path.is_dir() {
            walk(as_path, &mut subjects)?;
        } else if as_path.extension().is_some_and(|extension| extension == "toml") {
            match kind(as_path).other_than_a_runbook() {
                None => subjects.push(ReviewedItem::Runbook(as_path.to_owned())),
                Some(noun) => {
                    ui::note(&format!("{path}: skipped, because it is {noun} and not a runbook"));
                }
            }
        } else if !as_path.exists() && plugins::BUNDLED.iter().all(|bundled| bundled.name != *path)
        {
            return Err(nothing_is_called(path));
        } else {
            subjects.push(ReviewedItem::Plugin(path.clone()));
        }
    }
    if subjects.is_empty() {
        return Err(Failure::usage("there is no runbook and no plugin here")
            .hint("name one: `runbook review FILE`"));
    }
    Ok(subjects)
}

/// The refusal of a word that is neither a path nor the name of a plugin.
fn nothing_is_called(word: &str) -> Failure {
    let parent = Path::new(word).parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside =
        std::fs::read_dir(parent.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let named = |name: std::ffi::OsString| {
        parent.map_or_else(|| PathBuf::from(&name), |parent| parent.join(&name))
    };
    let files: Vec<String> =
        beside.map(|entry| named(entry.file_name()).display().to_string()).collect();
    let known =
        files.iter().map(String::as_str).chain(plugins::BUNDLED.iter().map(|bundled| bundled.name));
    let failure =
        Failure::usage(format!("there is no folder, no file and no bundled plugin `{word}`"));
    match runbook_document::nearest(word.trim_end_matches('/'), known) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure
            .hint("name a runbook, a component, a folder, or a plugin of `runbook plugin list`"),
    }
}

fn walk(folder: &Path, subjects: &mut Vec<ReviewedItem>) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("`{}` cannot be read: {error}", folder.display()))
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        // `target` is what cargo makes, copies of what is reviewed elsewhere; in `.git` nothing
        // lies as a file of its own. Other hidden folders are looked into: what lies there can be
        // run.
        let is_made = path.file_name().is_some_and(|name| name == "target" || name == ".git");
        if path.is_dir() && !path.is_symlink() && !is_made {
            walk(&path, subjects)?;
        } else if path.is_dir() && path.is_symlink() {
            subjects.push(ReviewedItem::Link(plain(&path)));
        } else if path.extension().is_some_and(|extension| extension == "wasm") {
            subjects.push(ReviewedItem::Plugin(
                Path::new(".").join(plain(&path)).display().to_string(),
            ));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            match text_file::read(&path) {
                Err(error) => {
                    let failure =
                        Failure::usage(format!("`{}` cannot be read: {error}", path.display()));
                    subjects.push(ReviewedItem::Unreadable(plain(&path), failure));
                }
                Ok(_) if kind(&path) == KindOfFile::Runbook => {
                    subjects.push(ReviewedItem::Runbook(plain(&path)));
                }
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

/// A component's imports as ledgers write them.
pub(super) fn imports(plugin: &Verified) -> BTreeSet<String> {
    lockfile::plugin_facts(plugin).imports
}

fn component<'a>(
    reference: &'a str,
    plugin: &'a Verified,
    imports: &'a BTreeSet<String>,
    origin: &'a PluginOrigin,
) -> Component<'a> {
    Component {
        reference,
        manifest: plugin.manifest(),
        digest: plugin.digest(),
        size_bytes: plugin.size() as u64,
        imports,
        needs_inert_wasi: plugin.needs_inert_wasi(),
        origin,
    }
}

/// The entry of a plugin, named as from the current folder, so that one file has one entry for all
/// runbooks that use it.
fn plugin_entry(
    reference: &str,
    folder: &Path,
    plugin: &Arc<Verified>,
    trust: &TrustFiles,
    lens: &SentenceContext<'_>,
) -> Result<PluginEntry, Failure> {
    let imports = imports(plugin);
    let (shown, origin) = if plugins::is_file(reference) {
        let file = from_here(&folder.join(reference));
        let state = signatures::state(trust, &file, &plugin.manifest().name, plugin.digest())?;
        let path = file.display().to_string();
        let is_trusted = state.is_trusted || (trust.is_empty() && !state.is_wrong);
        (
            path.clone(),
            PluginOrigin::File {
                path,
                signature: state.text,
                is_trusted,
                is_wrongly_signed: state.is_wrong,
            },
        )
    } else {
        (reference.to_owned(), PluginOrigin::Bundled)
    };
    Ok(PluginEntry::new(&component(&shown, plugin, &imports, &origin), lens))
}

/// The path of a file as a person in the current folder writes it, so that one file has one name.
fn from_here(file: &Path) -> PathBuf {
    let resolved =
        || Some((file.canonicalize().ok()?, std::env::current_dir().ok()?.canonicalize().ok()?));
    match resolved() {
        Some((file, here)) => file.strip_prefix(&here).map(Path::to_owned).unwrap_or(file),
        None => plain(file),
    }
}

/// A path without `.` in it, so that `./a`, `././a` and `a` are one file.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

/// One place for each plugin that a runbook uses.
fn by_reference(prepared: &Prepared) -> BTreeMap<&str, &Site> {
    prepared.sites.values().map(|site| (site.reference.as_str(), site)).collect()
}

fn runbook_entry(path: &Path, prepared: &Prepared, lens: &SentenceContext<'_>) -> RunbookEntry {
    let inputs: BTreeMap<_, BTreeSet<String>> = runbook_engine::inputs_from(&prepared.runbook)
        .into_iter()
        .map(|(step, from)| (step, from.iter().map(|step| step.as_str().to_owned()).collect()))
        .collect();
    let nothing = BTreeSet::new();
    let used_at = audited::of(prepared).at;
    let in_file_order: Vec<_> = prepared
        .runbook
        .use_sites()
        .into_iter()
        .filter_map(|written| prepared.sites.get(&written.step).map(|site| (written, site)))
        .collect();
    let imports: BTreeMap<_, _> = by_reference(prepared)
        .into_iter()
        .map(|(reference, site)| (reference, imports(&site.plugin)))
        .collect();
    let steps = in_file_order.iter().map(|(written, site)| {
        let uses = format!("{}:{}", site.reference, site.operation);
        // What a step of the ledger shows is what may be done; where its plugin comes from stands
        // in the plugin's entry.
        let component = component(
            &site.reference,
            &site.plugin,
            &imports[site.reference.as_str()],
            &PluginOrigin::Bundled,
        );
        let details = details::of_call(written);
        let call =
            CallSite { step: written.step.as_str(), uses: &uses, details, used_at: &used_at };
        StepEntry::new(call, &component, &site.effective, lens)
    });
    let flow_steps: Vec<FlowStep<'_>> = in_file_order
        .iter()
        .map(|(written, site)| FlowStep {
            step: written.step.as_str(),
            effective: &site.effective,
            inputs_from: inputs.get(&written.step).unwrap_or(&nothing),
        })
        .collect();
    RunbookEntry {
        file: plain(path).display().to_string(),
        name: prepared.runbook.name.value.clone(),
        environment: prepared.environment.clone(),
        details: details::of_runbook(&prepared.runbook),
        steps: steps.chain(details::manual_steps(&prepared.runbook)).collect(),
        flows: flows(&flow_steps),
        written: details::of_texts(prepared),
        decided_by: decided_by(path, prepared),
    }
}

/// The files that decide what a runbook does: its texts, its lockfile, the components that it uses,
/// and the certificates that it believes or shows.
fn decided_by(path: &Path, prepared: &Prepared) -> Vec<PathBuf> {
    let texts = prepared.runbook.sources.iter().chain(&prepared.waivers);
    let texts = texts.map(|source| PathBuf::from(source.name())).chain([path.to_owned()]);
    let components =
        by_reference(prepared).into_keys().filter(|reference| plugins::is_file(reference));
    let components = components.map(|reference| prepared.folder.join(reference));
    let grants = prepared.sites.values().flat_map(|site| site.effective.iter());
    let certificates =
        grants.flat_map(|grant| grant.target.certificate_files().map(Path::to_owned));
    let files = texts
        .chain(components)
        .chain(certificates)
        .filter_map(|file| std::path::absolute(file).ok());
    // Thousands of steps name the same few files.
    let files: BTreeSet<PathBuf> = files.collect();
    files
        .into_iter()
        .map(|file| follow_links(&file))
        .chain([prepared.folder.join(FILE_NAME)])
        .collect()
}
