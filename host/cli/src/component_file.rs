//! A component, read from its file.

use crate::failure::Failure;
use runbook_runtime::{Inspected, inspect};
use std::path::Path;
use std::sync::Arc;

/// The largest component, in bytes: twice the size of those that toolchains for scripting languages
/// make.
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

/// What a component file says of itself. It is validated whole.
pub fn read_and_inspect(path: &Path) -> Result<Inspected, Failure> {
    inspect(read(path)?).map_err(|error| unusable(&path.display().to_string(), &error))
}

/// The refusal of a file that is no plugin, with its name.
pub fn unusable(reference: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let said = std::iter::once(error.to_string())
        .chain(Failure::causes(error))
        .collect::<Vec<_>>()
        .join(": ");
    Failure::refused(format!("`{reference}` is not a plugin that can be used: {said}"))
        .hint("it was not run")
}
