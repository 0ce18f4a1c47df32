//! `runbook plugin build`: compiles a plugin and packs it.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::plugins::BUNDLED;
use crate::ui;
use runbook_document::ByteSize;
use runbook_pack::PackError;
use runbook_pack::cargo::{BuildError, Profile, TargetDir};
use runbook_runtime::{inspect, verify};
use std::path::{Path, PathBuf};

/// Builds the plugin in a folder, and writes its component.
///
/// # Errors
/// The plugin cannot be built or packed, or imports what its manifest does not declare.
pub fn build(
    context: &Context,
    folder: &Path,
    output: Option<PathBuf>,
) -> Result<ExitStatus, Failure> {
    let folder = std::path::absolute(folder)?;
    ui::note(&format!("building `{}`", folder.display()));
    let packed = match runbook_pack::cargo::build(
        std::slice::from_ref(&folder),
        &TargetDir::Workspace,
        Profile::Release,
    ) {
        Ok(mut built) => built.pop().ok_or_else(|| Failure::engine("nothing was built"))?,
        Err(BuildError::Pack { source: PackError::Manifest(diagnostics), .. }) => {
            return Err(Failure::findings(diagnostics));
        }
        Err(BuildError::Cargo { output, folder }) => {
            ui::print_stderr(&output);
            return Err(Failure::usage(format!("cargo could not build `{}`", folder.display())));
        }
        Err(error) => return Err(Failure::usage(error)),
    };
    ui::findings(&packed.warnings, context.color_stderr.into());
    let component = packed.component;
    let inspected = inspect(component.clone()).map_err(Failure::refused)?;
    let path = output.unwrap_or_else(|| folder.join(format!("{}.wasm", inspected.manifest.name)));
    let verified = verify(inspected).map_err(|error| {
        Failure::refused(error).hint("declare it in `plugin.toml`, with a reason")
    })?;
    std::fs::write(&path, &component).map_err(|error| {
        Failure::usage(format!("`{}` cannot be written: {error}", path.display()))
    })?;
    let name = &verified.manifest().name;
    if let Some(bundled) =
        BUNDLED.iter().find(|bundled| bundled.name == *name && *bundled.component != *component)
    {
        let advice = "is the name of a bundled plugin, so this program never runs the file; give it \
                    another name in `plugin.toml`";
        ui::warning(&format!("`{}` {advice}", bundled.name));
    }
    for slot in &packed.unnamed_slots {
        ui::warning(&format!(
            "slot `{slot}` is in `plugin.toml`, and the code names it nowhere; remove it"
        ));
    }
    for verb in verified.unused_verbs() {
        let advice = "is declared in `plugin.toml`, and the code imports no function that needs it; \
                    remove it (a review reports it as RB010)";
        ui::warning(&format!("`{}` {advice}", verb.full_name()));
    }
    ui::line(&format!(
        "{}  {}  {}",
        path.display(),
        ByteSize(component.len() as u64),
        verified.digest()
    ))?;
    Ok(ExitStatus::Success)
}
