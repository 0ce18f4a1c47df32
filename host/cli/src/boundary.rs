//! Loads the boundaries in force, and compares them with the grants of each step.

use crate::context::Context;
use crate::failure::Failure;
use crate::project::Project;
use crate::{text_file, writable};
use runbook_authority::boundary::BoundaryViolation;
use runbook_authority::scope::{CallValue, ConcreteCall, Dimension};
use runbook_authority::{Boundary, Capability, EffectiveGrants, Grant, Manifest};
use runbook_document::{Diagnostic, Diagnostics};
use runbook_engine::CallSite;
use runbook_launch::protection::Protection;
use runbook_runtime::resolve_symlinks;
use std::path::Path;
use std::sync::Arc;

/// Loads the boundaries in force. Each of them must contain every grant. If one cannot be read or
/// has a mistake, the command stops.
pub fn load(context: &Context) -> Result<Vec<Boundary>, Failure> {
    context.boundaries.iter().map(|path| read(path)).collect()
}

/// The boundaries that projects set.
pub fn of_projects(projects: &[Project]) -> Result<Vec<Boundary>, Failure> {
    projects.iter().filter_map(|project| project.boundary.as_deref()).map(read).collect()
}

fn read(path: &Path) -> Result<Boundary, Failure> {
    let source = text_file::source(path).map_err(|error| {
        Failure::refused(format!("the boundary `{}` cannot be read: {error}", path.display()))
    })?;
    writable::warn_if_world_writable("the boundary", path);
    let mut diagnostics = Diagnostics::default();
    match Boundary::parse(&source, &mut diagnostics) {
        Some(boundary) => Ok(boundary.with_links_resolved(&resolve_symlinks)),
        None => {
            Err(Failure::Findings { status: crate::exit_status::ExitStatus::Refused, diagnostics })
        }
    }
}

/// Reports every slot of one step that reaches beyond a boundary.
pub fn check(
    boundary: &Boundary,
    site: &CallSite<'_>,
    (manifest, grants): (&Manifest, &EffectiveGrants),
    diagnostics: &mut Diagnostics,
) {
    for grant in grants.reviewed() {
        if let Some(diagnostic) = unmet_requirement(boundary, site, grant) {
            diagnostics.push(diagnostic);
        }
        let Err(violation) = boundary.check_grant(&manifest.name, grant, grants) else {
            continue;
        };
        let target = &grant.target;
        let message = format!(
            "slot `{}` of step `{}` reaches beyond the boundary: {}",
            grant.slot,
            site.step,
            witness(&violation)
        );
        let diagnostic =
            Diagnostic::error("E0120", &Arc::clone(&target.source), target.span.clone(), message)
                .label("grants more than the boundary allows");
        diagnostics.push(diagnostic.help(help(boundary, &violation)));
    }
}

/// The finding about a program, if the boundary requires what this kernel does not have.
fn unmet_requirement(
    boundary: &Boundary,
    site: &CallSite<'_>,
    grant: &Grant,
) -> Option<Diagnostic> {
    grant.target.process()?;
    let required = Protection::ALL
        .into_iter()
        .filter(|protection| boundary.require.contains(protection.name()));
    let lacks = Protection::missing(required);
    let first = lacks.first()?;
    let names: Vec<_> = lacks.iter().map(|protection| format!("`{protection}`")).collect();
    let message = format!(
        "slot `{}` of step `{}` runs a program, and {} requires of the kernel what this host lacks: \
         {}",
        grant.slot,
        site.step,
        boundary.source.name(),
        names.join(", ")
    );
    let target = &grant.target;
    let diagnostic =
        Diagnostic::error("E0120", &Arc::clone(&target.source), target.span.clone(), message)
            .label("no program is run here");
    let help = format!(
        "run it on a host that has {}; without it, {}",
        first.requirement(),
        first.effect_of_absence()
    );
    Some(diagnostic.help(help))
}

/// The witness as a clause, such as `it would allow: POST https://billing.internal:443/refund`.
pub fn witness(violation: &BoundaryViolation) -> String {
    match &violation.witness {
        Some(call) => format!("it would allow: {}", call.sentence()),
        None => "its patterns are too complex to compare, so it counts as beyond the boundary"
            .to_owned(),
    }
}

/// What to do: names the nearest rule and the dimensions in which the call exceeds it.
fn help(boundary: &Boundary, violation: &BoundaryViolation) -> String {
    let Some(nearest) = &violation.nearest_rule else {
        return format!(
            "no rule of {} covers this; narrow the target, or ask who owns the boundary",
            boundary.source.name()
        );
    };
    let exceeded_dimensions: Vec<_> = nearest
        .exceeded_dimensions
        .iter()
        .map(|(dimension, covered)| format!("{} = {covered}", dimension.key()))
        .collect();
    let kind_note = violation
        .witness
        .as_ref()
        .and_then(|call| other_database_kind_note(call, &nearest.exceeded_dimensions))
        .unwrap_or_default();
    format!(
        "narrow the target; the nearest rule, {}, allows only {}{kind_note}",
        nearest.location,
        exceeded_dimensions.join("; ")
    )
}

/// A note that the nearest rule is about database servers and the call about a SQLite file, or the
/// reverse: no values of its keys would allow the call.
fn other_database_kind_note(
    call: &ConcreteCall,
    exceeded_dimensions: &[(Dimension, String)],
) -> Option<String> {
    if call.capability != Capability::Sql {
        return None;
    }
    let exceeds_any = |dimensions: &[Dimension]| {
        exceeded_dimensions.iter().any(|(dimension, _)| dimensions.contains(dimension))
    };
    match call.values.get(&Dimension::Files) {
        Some(CallValue::Text(file))
            if exceeds_any(&[
                Dimension::Hosts,
                Dimension::Databases,
                Dimension::Ports,
                Dimension::Users,
            ]) =>
        {
            Some(format!(
                ", which are of servers; a SQLite file is allowed by `files = [{file:?}]`, or its \
                 folder, in a rule of its own"
            ))
        }
        None if exceeds_any(&[Dimension::Files]) => Some(
            ", which are of SQLite files; a server is allowed by `hosts` and `databases`, in a \
             rule of its own"
                .to_owned(),
        ),
        Some(CallValue::Text(_) | CallValue::Arguments(_) | CallValue::Number(_)) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_can_require_each_protection_that_the_launcher_knows() {
        let names: Vec<_> =
            runbook_authority::boundary::PROTECTIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, Protection::ALL.map(Protection::name));
    }
}
