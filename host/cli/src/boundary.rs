//! The boundary of this host or organisation: found, read, and held against what each step is granted.

use crate::context::{Context, Origin};
use crate::failure::Failure;
use runbook_authority::boundary::Exceeded;
use runbook_authority::{Boundary, Effective, Extent, Manifest};
use runbook_document::{Diagnostic, Diagnostics, Source};
use runbook_engine::UseSite;
use std::path::Path;
use std::sync::Arc;

/// The boundary in force. One that the operator names must be there; one that cannot be read whole stops everything.
pub fn load(context: &Context) -> Result<Option<Boundary>, Failure> {
    let path = &context.boundary;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && context.boundary_origin == Origin::Default => {
            return Ok(None);
        }
        Err(error) => return Err(Failure::refused(format!("the boundary `{}` cannot be read: {error}", path.display()))),
    };
    let mut diagnostics = Diagnostics::default();
    let source = Source::new(path.display().to_string(), text);
    match Boundary::parse(&source, &mut diagnostics) {
        Some(boundary) => Ok(Some(boundary)),
        None => Err(Failure::Findings { status: crate::exit_status::ExitStatus::Refused, diagnostics }),
    }
}

/// Reports every slot of one step that reaches beyond the boundary.
pub fn check(
    boundary: &Boundary,
    site: &UseSite<'_>,
    (manifest, effective): (&Manifest, &Effective),
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Result<(), Failure> {
    let folder = std::path::absolute(folder)?;
    for grant in effective.iter() {
        let Err(exceeded) = boundary.check(&Extent::of(&manifest.name, grant, effective, &folder)) else { continue };
        let target = &grant.target;
        let message =
            format!("slot `{}` of step `{}` reaches beyond the boundary: {}", grant.slot, site.step, witness(&exceeded));
        let diagnostic = Diagnostic::error("E0120", &Arc::clone(&target.source), target.span.clone(), message)
            .label("grants more than the boundary allows");
        diagnostics.push(diagnostic.help(help(boundary, &exceeded)));
    }
    Ok(())
}

/// `it would allow: POST https://billing.internal:443/refund`
pub fn witness(exceeded: &Exceeded) -> String {
    match &exceeded.witness {
        Some(call) => format!("it would allow: {}", call.sentence()),
        None => "its patterns are too complex to be compared, which counts as beyond".to_owned(),
    }
}

/// Which rule comes nearest, and where the call leaves it.
fn help(boundary: &Boundary, exceeded: &Exceeded) -> String {
    let Some(nearest) = &exceeded.nearest else {
        return format!("no rule of {} is about this; narrow the target, or ask who owns the boundary", boundary.source.name());
    };
    let leaves: Vec<_> = nearest.leaves.iter().map(|(dimension, covered)| format!("{} = {covered}", dimension.key())).collect();
    format!("narrow the target; the nearest rule, {}, allows only {}", nearest.place, leaves.join("; "))
}
