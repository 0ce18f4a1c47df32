//! `runbook validate`

use crate::args::ValidateArgs;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepare;
use crate::ui;
use runbook_engine::Section;
use std::path::Path;

/// Checks runbooks; each is checked whatever is wrong with another.
pub fn run(context: &Context, args: &ValidateArgs) -> Result<ExitStatus, Failure> {
    let mut worst = ExitStatus::Success;
    for file in &args.files {
        match check(context, file, args.env.as_deref()) {
            Ok(what) => ui::line(&format!("{}: ok, {what}", file.display()))?,
            Err(failure) => {
                ui::failure(Some(context), &failure);
                worst = if worst == ExitStatus::Success { failure.status() } else { worst };
            }
        }
    }
    Ok(worst)
}

fn check(context: &Context, file: &Path, environment: Option<&str>) -> Result<String, Failure> {
    let prepared = prepare::from_file(context, file, environment)?;
    let findings = runbook_engine::check_facts(&prepared.runbook, &prepared.facts);
    if findings.has_errors() {
        return Err(Failure::findings(findings));
    }
    let mut warnings = prepared.runbook.warnings.clone();
    warnings.append(findings);
    if !warnings.is_empty() {
        ui::note_painted(&ui::render_diagnostics(&warnings, context.color_stderr.into()));
    }
    let counted = |section, noun| ui::counted(prepared.runbook.section(section).count(), noun);
    let is_suite = prepared.runbook.section(Section::Check).next().is_some();
    Ok(if is_suite { counted(Section::Check, "check") } else { counted(Section::Step, "step") })
}
