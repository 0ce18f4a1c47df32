//! Builds the access report of plugins and runbooks.

use super::{ReviewArgs, details};
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::kind_of_file::KindOfFile;
use crate::other_files::kind;
use crate::plugins::{self, Plugins};
use crate::prepare::{self, Strictness};
use crate::prepared::{GrantedSite, PreparedRunbook};
use crate::signatures::TrustFiles;
use crate::{audited_runbook, boundary, lockfile, signatures, text_file, ui};
use runbook_authority::access_report::{
    AccessReport, CallSite, Component, FindingRule, FlowStep, PluginEntry, PluginOrigin,
    ReportContext, ReviewGap, RunbookEntry, StepEntry, flows,
};
use runbook_authority::lockfile::FILE_NAME;
use runbook_runtime::{VerifiedComponent, resolve_symlinks};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shows the access report. A file that cannot be read is reported, and the rest is still shown.
pub(super) fn run(context: &Context, args: &ReviewArgs) -> Result<ExitStatus, Failure> {
    let reviewed_items = reviewed_items(&args.paths)?;
    let boundaries = boundary::load(context)?;
    let used = if args.used { Some(super::usage::usage_counts(context)?) } else { None };
    let report_context = ReportContext { boundaries: &boundaries, used: used.as_ref() };
    let trust = TrustFiles::load(context)?;
    let mut plugins = Vec::new();
    let mut runbooks = Vec::new();
    let mut first_failure = ExitStatus::Success;
    let mut gaps: Vec<ReviewGap> = Vec::new();
    let mut read_files = BTreeSet::new();
    let mut record_failure = |what: &str, failure: &Failure| {
        ui::failure(context.color_stderr.into(), failure);
        gaps.push(ReviewGap {
            rule: FindingRule::NotReviewed,
            file: what.to_owned(),
            reason: failure.to_single_line(),
        });
        first_failure =
            if first_failure == ExitStatus::Success { failure.status() } else { first_failure };
    };
    for item in &reviewed_items {
        match item {
            ReviewedItem::Plugin(reference) => {
                match Plugins::default().get(reference, Path::new(".")) {
                    Ok(plugin) => {
                        plugins.push(plugin_entry(
                            reference,
                            Path::new("."),
                            &plugin,
                            &trust,
                            &report_context,
                        )?);
                    }
                    Err(failure) => record_failure(reference, &failure),
                }
            }
            ReviewedItem::Runbook(path) => {
                match prepare::without_lockfile(
                    context,
                    path,
                    args.env.as_deref(),
                    Strictness::Report,
                ) {
                    Ok(prepared) => {
                        for site in sites_by_plugin(&prepared).values() {
                            plugins.push(plugin_entry(
                                &site.reference,
                                &prepared.folder,
                                &site.plugin,
                                &trust,
                                &report_context,
                            )?);
                        }
                        read_files.extend(
                            controlling_files(path, &prepared)
                                .iter()
                                .filter_map(|file| file.canonicalize().ok()),
                        );
                        runbooks.push(runbook_entry(path, &prepared, &report_context));
                    }
                    Err(failure) => record_failure(&path.display().to_string(), &failure),
                }
            }
            ReviewedItem::Unreadable(path, failure) => {
                record_failure(&path.display().to_string(), failure);
            }
            ReviewedItem::Link(_) => {}
        }
    }
    gaps.extend(reviewed_items.iter().filter_map(|item| match item {
        ReviewedItem::Link(path) => Some(ReviewGap {
            rule: FindingRule::NotReviewed,
            file: path.display().to_string(),
            reason: "a link to a folder, which is not followed".to_owned(),
        }),
        ReviewedItem::Plugin(_) | ReviewedItem::Runbook(_) | ReviewedItem::Unreadable(..) => None,
    }));
    gaps.extend(other_environments(&reviewed_items, args.env.as_deref(), &read_files));
    let report = AccessReport::new(plugins, runbooks).with_gaps(gaps);
    super::write_output(args, &runbook_report::access_report::render(args.format, &report))?;
    if first_failure != ExitStatus::Success {
        return Ok(first_failure);
    }
    Ok(status(&report, args))
}

/// Review gaps for the files of targets of other environments beside the runbooks, unless a runbook
/// includes them.
fn other_environments(
    reviewed_items: &[ReviewedItem],
    reviewed: Option<&str>,
    read_files: &BTreeSet<PathBuf>,
) -> Vec<ReviewGap> {
    let folder = |item: &ReviewedItem| match item {
        ReviewedItem::Runbook(path) => path.parent().map(Path::to_owned),
        ReviewedItem::Plugin(_) | ReviewedItem::Link(_) | ReviewedItem::Unreadable(..) => None,
    };
    let folders: BTreeSet<PathBuf> = reviewed_items.iter().filter_map(folder).collect();
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
            if file.canonicalize().is_ok_and(|file| read_files.contains(&file)) {
                continue;
            }
            let reason = format!(
                "the targets of environment `{environment}`; review them with `--env {environment}`"
            );
            let file = without_current_dir(&file).display().to_string();
            gaps.insert(
                file.clone(),
                ReviewGap { rule: FindingRule::OtherEnvironment, file, reason },
            );
        }
    }
    gaps.into_values().collect()
}

fn status(report: &AccessReport, args: &ReviewArgs) -> ExitStatus {
    if report.exceeds_boundary() {
        return ExitStatus::Refused;
    }
    let too_risky = args
        .fail_on
        .is_some_and(|limit| report.findings.iter().any(|finding| finding.risk >= limit));
    if too_risky { ExitStatus::Failed } else { ExitStatus::Success }
}

/// A plugin or file that is to be reviewed.
pub(super) enum ReviewedItem {
    /// A bundled plugin's name or a component file.
    Plugin(String),
    /// The file of a runbook or suite.
    Runbook(PathBuf),
    /// A link to a folder. It is not followed, because it may lead outside or in a circle.
    Link(PathBuf),
    /// A TOML file that cannot be read, and why.
    Unreadable(PathBuf, Failure),
}

/// The items that the arguments name. A folder stands for every runbook and component in it.
pub(super) fn reviewed_items(paths: &[String]) -> Result<Vec<ReviewedItem>, Failure> {
    let here = [".".to_owned()];
    let mut reviewed_items = Vec::new();
    for path in if paths.is_empty() { &here } else { paths } {
        let as_path = Path::new(path);
        if as_path.is_dir() {
            walk(as_path, &mut reviewed_items)?;
        } else if as_path.extension().is_some_and(|extension| extension == "toml") {
            match kind(as_path).non_runbook_noun() {
                None => reviewed_items.push(ReviewedItem::Runbook(as_path.to_owned())),
                Some(noun) => {
                    ui::note(&format!("{path}: skipped, because it is {noun} and not a runbook"));
                }
            }
        } else if !as_path.exists() && plugins::BUNDLED.iter().all(|bundled| bundled.name != *path)
        {
            return Err(unknown_subject(path));
        } else {
            reviewed_items.push(ReviewedItem::Plugin(path.clone()));
        }
    }
    if reviewed_items.is_empty() {
        return Err(Failure::usage("there is no runbook and no plugin here")
            .hint("name one: `runbook review FILE`"));
    }
    Ok(reviewed_items)
}

/// The failure for an argument that is neither a path nor the name of a plugin.
fn unknown_subject(word: &str) -> Failure {
    let parent = Path::new(word).parent().filter(|parent| !parent.as_os_str().is_empty());
    let siblings =
        std::fs::read_dir(parent.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let path_of = |name: std::ffi::OsString| {
        parent.map_or_else(|| PathBuf::from(&name), |parent| parent.join(&name))
    };
    let files: Vec<String> =
        siblings.map(|entry| path_of(entry.file_name()).display().to_string()).collect();
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

fn walk(folder: &Path, reviewed_items: &mut Vec<ReviewedItem>) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("`{}` cannot be read: {error}", folder.display()))
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        // `target` has build outputs of cargo, and `.git` has no files of the working tree. Other
        // hidden folders are searched, because a runbook in them can be run.
        let is_generated = path.file_name().is_some_and(|name| name == "target" || name == ".git");
        if path.is_dir() && !path.is_symlink() && !is_generated {
            walk(&path, reviewed_items)?;
        } else if path.is_dir() && path.is_symlink() {
            reviewed_items.push(ReviewedItem::Link(without_current_dir(&path)));
        } else if path.extension().is_some_and(|extension| extension == "wasm") {
            reviewed_items.push(ReviewedItem::Plugin(
                Path::new(".").join(without_current_dir(&path)).display().to_string(),
            ));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            match text_file::read(&path) {
                Err(error) => {
                    let failure =
                        Failure::usage(format!("`{}` cannot be read: {error}", path.display()));
                    reviewed_items
                        .push(ReviewedItem::Unreadable(without_current_dir(&path), failure));
                }
                Ok(_) if kind(&path) == KindOfFile::Runbook => {
                    reviewed_items.push(ReviewedItem::Runbook(without_current_dir(&path)));
                }
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

/// A component's imports as a report shows them.
pub(super) fn imports(plugin: &VerifiedComponent) -> BTreeSet<String> {
    lockfile::plugin_facts(plugin).imports
}

fn component<'a>(
    reference: &'a str,
    plugin: &'a VerifiedComponent,
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

/// The entry of a plugin. Its path is relative to the working directory, so that all runbooks that
/// use one file share its entry.
fn plugin_entry(
    reference: &str,
    folder: &Path,
    plugin: &Arc<VerifiedComponent>,
    trust: &TrustFiles,
    report_context: &ReportContext<'_>,
) -> Result<PluginEntry, Failure> {
    let imports = imports(plugin);
    let (displayed_reference, origin) = if plugins::is_file(reference) {
        let file = relative_to_working_directory(&folder.join(reference));
        let state = signatures::status(trust, &file, &plugin.manifest().name, plugin.digest())?;
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
    Ok(PluginEntry::new(
        &component(&displayed_reference, plugin, &imports, &origin),
        report_context,
    ))
}

/// The path of a file, relative to the working directory if it is below it.
fn relative_to_working_directory(file: &Path) -> PathBuf {
    let resolved =
        || Some((file.canonicalize().ok()?, std::env::current_dir().ok()?.canonicalize().ok()?));
    match resolved() {
        Some((file, here)) => file.strip_prefix(&here).map(Path::to_owned).unwrap_or(file),
        None => without_current_dir(file),
    }
}

/// A path without `.` components, so that `./a` and `a` are the same.
fn without_current_dir(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

/// One call site for each plugin that a runbook uses, by the reference of the plugin.
fn sites_by_plugin(prepared: &PreparedRunbook) -> BTreeMap<&str, &GrantedSite> {
    prepared.sites.values().map(|site| (site.reference.as_str(), site)).collect()
}

fn runbook_entry(
    path: &Path,
    prepared: &PreparedRunbook,
    report_context: &ReportContext<'_>,
) -> RunbookEntry {
    let inputs: BTreeMap<_, BTreeSet<String>> = runbook_engine::input_steps(&prepared.runbook)
        .into_iter()
        .map(|(step, from)| (step, from.iter().map(|step| step.as_str().to_owned()).collect()))
        .collect();
    let no_steps = BTreeSet::new();
    let runbook_key = audited_runbook::of(prepared).runbook_key;
    let in_file_order: Vec<_> = prepared
        .runbook
        .call_sites()
        .into_iter()
        .filter_map(|call_site| prepared.sites.get(&call_site.step).map(|site| (call_site, site)))
        .collect();
    let imports: BTreeMap<_, _> = sites_by_plugin(prepared)
        .into_iter()
        .map(|(reference, site)| (reference, imports(&site.plugin)))
        .collect();
    let steps = in_file_order.iter().map(|(call_site, site)| {
        let uses = format!("{}:{}", site.reference, site.operation);
        // The entry of a step does not show the origin of its plugin, so any value will do.
        let component = component(
            &site.reference,
            &site.plugin,
            &imports[site.reference.as_str()],
            &PluginOrigin::Bundled,
        );
        let details = details::of_call(call_site);
        let call = CallSite {
            step: call_site.step.as_str(),
            uses: &uses,
            details,
            runbook_key: &runbook_key,
        };
        StepEntry::new(call, &component, &site.grants, report_context)
    });
    let flow_steps: Vec<FlowStep<'_>> = in_file_order
        .iter()
        .map(|(call_site, site)| FlowStep {
            step: call_site.step.as_str(),
            grants: &site.grants,
            input_steps: inputs.get(&call_site.step).unwrap_or(&no_steps),
        })
        .collect();
    RunbookEntry {
        file: without_current_dir(path).display().to_string(),
        name: prepared.runbook.name.value.clone(),
        environment: prepared.environment.clone(),
        details: details::of_runbook(&prepared.runbook),
        steps: steps.chain(details::manual_steps(&prepared.runbook)).collect(),
        flows: flows(&flow_steps),
        file_entries: details::of_texts(prepared),
        controlling_files: controlling_files(path, prepared),
    }
}

/// The files that control what a runbook does: its texts, its lockfile, the components that it
/// uses, and the certificates of its targets.
fn controlling_files(path: &Path, prepared: &PreparedRunbook) -> Vec<PathBuf> {
    let texts = prepared.runbook.sources.iter().chain(&prepared.waivers);
    let texts = texts.map(|source| PathBuf::from(source.name())).chain([path.to_owned()]);
    let components =
        sites_by_plugin(prepared).into_keys().filter(|reference| plugins::is_file(reference));
    let components = components.map(|reference| prepared.folder.join(reference));
    let grants = prepared.sites.values().flat_map(|site| site.grants.reviewed());
    let certificates =
        grants.flat_map(|grant| grant.target.certificate_files().map(Path::to_owned));
    let files = texts
        .chain(components)
        .chain(certificates)
        .filter_map(|file| std::path::absolute(file).ok());
    // Duplicates are removed first, because many steps name the same few files.
    let files: BTreeSet<PathBuf> = files.collect();
    files
        .into_iter()
        .map(|file| resolve_symlinks(&file))
        .chain([prepared.folder.join(FILE_NAME)])
        .collect()
}
