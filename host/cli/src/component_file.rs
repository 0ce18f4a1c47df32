//! Reads component files.

use crate::failure::Failure;
use runbook_runtime::{InspectedComponent, inspect};
use std::path::Path;
use std::sync::Arc;

/// The largest component, in bytes: twice the size that toolchains for scripting languages produce.
const MAX_COMPONENT: u64 = 64 << 20;

/// The bytes of a component file.
pub fn read(path: &Path) -> Result<Arc<[u8]>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("plugin `{}` cannot be read: {error}", path.display()))
    };
    match runbook_regular_file::read(path, MAX_COMPONENT) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            Err(Failure::refused(format!(
                "plugin `{}` has more than {MAX_COMPONENT} bytes, which are not loaded",
                path.display()
            )))
        }
        Err(error) => Err(unreadable(error)),
    }
}

/// Reads and validates a component file, and reads its manifest.
pub fn read_and_inspect(path: &Path) -> Result<InspectedComponent, Failure> {
    inspect(read(path)?).map_err(|error| invalid_component(&path.display().to_string(), &error))
}

/// The failure for a file that is not a valid plugin.
pub fn invalid_component(reference: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let message = std::iter::once(error.to_string())
        .chain(Failure::causes(error))
        .collect::<Vec<_>>()
        .join(": ");
    Failure::refused(format!("`{reference}` is not a plugin that can be used: {message}"))
        .hint("it was not run")
}
