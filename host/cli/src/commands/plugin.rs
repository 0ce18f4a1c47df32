//! `runbook plugin`: lists, inspects, signs and builds plugins. None of its commands runs a plugin.

#[cfg(feature = "plugin-build")]
mod build;
mod usage;

use crate::component_file;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::plugins::{self, BUNDLED, Provenance, is_file, load};
use crate::shared_arguments::ListFormat;
use crate::{signatures, ui};
use clap::Subcommand;
use runbook_authority::manifest::Operation;
use runbook_authority::{Manifest, Verb};
use runbook_document::ByteSize;
use runbook_report::push_line;
use runbook_runtime::{InspectedComponent, inspect, verify};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List the bundled plugins and their operations
    List {
        /// text, or json: each operation as a line
        #[arg(long, value_enum, default_value = "text")]
        format: ListFormat,
    },
    /// Show what a plugin is, offers and may ask for; it is not run
    Inspect {
        /// A bundled plugin's name, or a component file; with `:OPERATION`, as under `uses`, that
        /// operation only
        #[arg(add = clap_complete::ArgValueCompleter::new(crate::completion::plugins))]
        plugin: String,
    },
    /// Write a bundled plugin into a component file, to inspect, sign or keep it
    Export {
        /// The bundled plugin's name
        #[arg(add = clap_complete::ArgValueCompleter::new(crate::completion::plugins))]
        plugin: String,
        /// Where to write it [default: NAME.wasm here]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Make a key for signing plugins, and print its public half
    Keygen {
        /// Where to write the private key; nobody else may read it
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Sign a component: writes `FILE.sig` beside it
    Sign {
        /// The component file to sign
        file: PathBuf,
        /// The private key
        #[arg(long, value_name = "FILE", env = "RUNBOOK_SIGNING_KEY")]
        key: PathBuf,
    },
    /// Check the signature of a component by the trust file
    Verify {
        /// The component file to check
        file: PathBuf,
    },
    /// Build a plugin written in Rust into one component file
    Build {
        /// The folder with Cargo.toml and plugin.toml
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Where to write it [default: NAME.wasm in the folder]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Runs one of the commands under `runbook plugin`.
pub fn run(context: &Context, command: PluginCommand) -> Result<ExitStatus, Failure> {
    match command {
        PluginCommand::List { format } => list(format),
        PluginCommand::Inspect { plugin } => show(context, &plugin),
        PluginCommand::Export { plugin, output } => export(&plugin, output),
        PluginCommand::Keygen { output } => signatures::keygen(&output),
        PluginCommand::Sign { file, key } => signatures::sign(&file, &key),
        PluginCommand::Verify { file } => signatures::verify(context, &file),
        PluginCommand::Build { folder, output } => build(context, &folder, output),
    }
}

fn list(format: ListFormat) -> Result<ExitStatus, Failure> {
    let mut rows = Vec::new();
    for bundled in BUNDLED {
        let inspected = inspect(bundled.component).map_err(Failure::engine)?;
        for (name, operation) in &inspected.manifest.operations {
            let uses = format!("{}:{name}", bundled.name);
            match format {
                ListFormat::Text => rows.push(vec![
                    uses,
                    operation.kind.name().to_owned(),
                    operation.summary.clone(),
                ]),
                ListFormat::Json => {
                    ui::json(
                        &json!({ "uses": uses, "kind": operation.kind.name(), "summary": operation.summary }),
                    )?;
                }
            }
        }
    }
    if format == ListFormat::Text {
        ui::text(&runbook_report::table(&rows))?;
        ui::note("how one is used: `runbook plugin inspect NAME:OPERATION`");
    }
    Ok(ExitStatus::Success)
}

/// Splits `PLUGIN:OPERATION` as in `uses`; the operation may be missing.
fn split_uses(typed: &str) -> (&str, Option<&str>) {
    match typed.rsplit_once(':') {
        Some((reference, operation)) if !Path::new(typed).exists() && !operation.contains('/') => {
            (reference, Some(operation))
        }
        Some(_) | None => (typed, None),
    }
}

fn show(context: &Context, typed: &str) -> Result<ExitStatus, Failure> {
    let (plugin, operation) = split_uses(typed);
    let bytes = load(plugin, Path::new("."))?;
    let size = bytes.len() as u64;
    let inspected = inspect(std::sync::Arc::clone(&bytes))
        .map_err(|error| component_file::invalid_component(plugin, &error))?;
    let origin = Provenance::of(plugin, &inspected.manifest.name, &bytes);
    if let Some(name) = operation {
        return show_operation(&inspected.manifest, plugin, name);
    }
    let mut text = render(&inspected, size, &origin_text(plugin, origin));
    if is_file(plugin) {
        let trust = signatures::TrustFiles::load(context)?;
        let state = signatures::status(
            &trust,
            Path::new(plugin),
            &inspected.manifest.name,
            &inspected.digest,
        )?;
        text.push_str("\n\nSignature\n");
        push_line(&mut text, format_args!("{}", state.text));
    }
    for (name, operation) in &inspected.manifest.operations {
        let _ = write!(text, "\n\n{}", usage::usage(&inspected.manifest, plugin, name, operation));
    }
    ui::text(&text)?;
    verify(inspected).map_err(Failure::refused)?;
    match origin {
        Provenance::Bundled | Provenance::Copy(_) | Provenance::File => Ok(ExitStatus::Success),
        Provenance::NameConflict(bundled) => Err(plugins::name_conflict(plugin, bundled)),
    }
}

fn origin_text(reference: &str, origin: Provenance) -> String {
    match origin {
        Provenance::Bundled => "bundled: a part of this program".to_owned(),
        Provenance::Copy(bundled) => {
            format!("file {reference}: the same code as the bundled `{bundled}`")
        }
        Provenance::File => format!("file {reference}"),
        Provenance::NameConflict(bundled) => {
            format!(
                "file {reference}: NOT the bundled `{bundled}`, whose name it bears; it is \
                     never run"
            )
        }
    }
}

fn show_operation(manifest: &Manifest, plugin: &str, name: &str) -> Result<ExitStatus, Failure> {
    let Some(operation) = manifest.operations.get(name) else {
        let known = manifest.operations.keys().map(String::as_str);
        let help = runbook_document::nearest(name, known.clone()).map_or_else(
            || format!("it has: {}", known.collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{plugin}:{near}`?"),
        );
        return Err(
            Failure::usage(format!("plugin `{plugin}` has no operation `{name}`")).hint(help)
        );
    };
    ui::text(&usage::usage(manifest, plugin, name, operation))?;
    Ok(ExitStatus::Success)
}

fn render(inspected: &InspectedComponent, size: u64, origin: &str) -> String {
    let manifest = &inspected.manifest;
    let mut text = String::new();
    push_line(
        &mut text,
        format_args!("{} {}: {}", manifest.name, manifest.version, manifest.description),
    );
    let _ = writeln!(text, "{}, {}", inspected.digest, ByteSize(size));
    push_line(&mut text, format_args!("{origin}"));
    text.push_str("\nOperations\n");
    text.push_str(&runbook_report::table(&operations(manifest)));
    text.push_str("\n\nSlots: what it may ask for, and why\n");
    text.push_str(&runbook_report::table(&slots(manifest)));
    if inspected.needs_inert_wasi() {
        text.push_str(
            "\n\nIt needs inert WASI: it is linked with one that has no environment, no files, no \
             sockets, and prints to the log.",
        );
    }
    text.push_str("\n\nImports: what its code can call\n");
    let rows: Vec<_> = inspected
        .imports
        .iter()
        .map(|import| vec![import.interface.clone(), import.function.clone().unwrap_or_default()])
        .collect();
    text.push_str(&runbook_report::table(&rows));
    text
}

fn operations(manifest: &Manifest) -> Vec<Vec<String>> {
    let row = |(name, operation): (&String, &Operation)| {
        let mut traits = Vec::new();
        if operation.idempotent {
            traits.push("idempotent");
        }
        if operation.undo {
            traits.push("undo");
        }
        if operation.writes() {
            traits.push("writes");
        }
        vec![
            name.clone(),
            operation.kind.name().to_owned(),
            traits.join(", "),
            operation.summary.clone(),
        ]
    };
    manifest.operations.iter().map(row).collect()
}

fn slots(manifest: &Manifest) -> Vec<Vec<String>> {
    let highest_risk = |verbs: &[Verb]| verbs.iter().map(|verb| verb.row().risk).max();
    let row = |(name, slot): (&String, &runbook_authority::manifest::Slot)| {
        let verbs: Vec<_> = slot.verbs.iter().map(|verb| verb.full_name()).collect();
        let risk = highest_risk(&slot.verbs)
            .map(runbook_authority::Risk::name)
            .unwrap_or_default()
            .to_owned();
        vec![name.clone(), risk, verbs.join(", "), slot.reason.clone()]
    };
    manifest.slots.iter().map(row).collect()
}

/// Writes the component of a bundled plugin to a new file.
fn export(name: &str, output: Option<PathBuf>) -> Result<ExitStatus, Failure> {
    if is_file(name) {
        return Err(Failure::usage(format!("`{name}` is a file already"))
            .hint("name a plugin of `runbook plugin list`"));
    }
    let component = load(name, Path::new("."))?;
    let path = output.unwrap_or_else(|| PathBuf::from(format!("{name}.wasm")));
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    written.and_then(|mut file| std::io::Write::write_all(&mut file, &component)).map_err(
        |error| {
            Failure::usage(format!("`{}` cannot be written: {error}", path.display()))
                .hint("name another file with `--output`")
        },
    )?;
    ui::line(&path.display().to_string())?;
    Ok(ExitStatus::Success)
}

/// Builds a plugin, in a program with that feature.
#[cfg(feature = "plugin-build")]
fn build(context: &Context, folder: &Path, output: Option<PathBuf>) -> Result<ExitStatus, Failure> {
    build::build(context, folder, output)
}

#[cfg(not(feature = "plugin-build"))]
fn build(_: &Context, _: &Path, _: Option<PathBuf>) -> Result<ExitStatus, Failure> {
    Err(Failure::refused("this program was built without the feature `plugin-build`").hint(
        "build it with `cargo build --features plugin-build`, or with all features by `cargo build`",
    ))
}
