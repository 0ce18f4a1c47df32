//! The files in `/etc/runbook`: what the administrator of this host has set for everybody. No flag
//! and no variable overrides them; an operator can only add limits.

use crate::failure::Failure;
use crate::file_format;
use runbook_document::{Diagnostics, Reader, Source};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of the administrator. It cannot be changed: a user who could change it would escape
/// its limits.
pub const FOLDER: &str = "/etc/runbook";

/// The files of the administrator of this host.
#[derive(Debug, Clone, Default)]
pub struct HostPolicy {
    /// `boundary.toml`, if it exists.
    pub boundary: Option<PathBuf>,
    /// `trust.toml`, if it exists.
    pub trust: Option<PathBuf>,
    /// The folder of the audit log, if `settings.toml` names one.
    pub audit_log: Option<PathBuf>,
}

impl HostPolicy {
    /// Looks for the files, and reads `settings.toml`.
    ///
    /// # Errors
    /// `settings.toml` cannot be read or has a mistake.
    pub fn load() -> Result<Self, Failure> {
        Ok(Self {
            boundary: existing_file("boundary.toml"),
            trust: existing_file("trust.toml"),
            audit_log: audit_log()?,
        })
    }
}

/// The path of a file, unless it certainly does not exist. A file that cannot be inspected counts
/// as existing, so that reading it fails.
fn existing_file(name: &str) -> Option<PathBuf> {
    let path = Path::new(FOLDER).join(name);
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Ok(_) | Err(_) => Some(path),
    }
}

fn audit_log() -> Result<Option<PathBuf>, Failure> {
    let Some(path) = existing_file("settings.toml") else { return Ok(None) };
    let source = crate::text_file::source(&path).map_err(|error| {
        Failure::refused(format!("the settings `{}` cannot be read: {error}", path.display()))
    })?;
    let mut diagnostics = Diagnostics::default();
    let found = parse(&source, &mut diagnostics);
    if diagnostics.has_errors() {
        return Err(Failure::Findings {
            status: crate::exit_status::ExitStatus::Refused,
            diagnostics,
        });
    }
    Ok(found)
}

/// Reads a settings file: the folder of the audit log, if it names one. All mistakes are reported.
pub fn parse(source: &std::sync::Arc<Source>, diagnostics: &mut Diagnostics) -> Option<PathBuf> {
    let table = runbook_document::parse(source, diagnostics)?;
    let mut reader = Reader::new(source, &table, "the settings of this host", diagnostics);
    file_format::check(&mut reader, "E0124", "settings");
    let setting = reader.optional::<String>("audit_log");
    let audit_log = setting.and_then(|text| {
        let path = PathBuf::from(&text.value);
        if path.is_absolute() {
            return Some(path);
        }
        reader.error(
            "E0124",
            text.span,
            format!("`{}` is not an absolute path", text.value),
            "such as \"/var/log/runbook\"",
        );
        None
    });
    reader.finish();
    audit_log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<PathBuf>, String> {
        let mut diagnostics = Diagnostics::default();
        let found = parse(&Source::new("settings.toml", text), &mut diagnostics);
        match diagnostics.iter().next() {
            None => Ok(found),
            Some(diagnostic) => Err(diagnostic.message.clone()),
        }
    }

    #[test]
    fn settings_of_the_host_with_any_mistake_are_refused() {
        assert_eq!(read("format = 1\n"), Ok(None));
        assert_eq!(
            read("format = 1\naudit_log = \"/var/log/runbook\"\n"),
            Ok(Some(PathBuf::from("/var/log/runbook")))
        );
        for wrong_text in [
            "",
            "format = 2\n",
            "format = 1\naudit_log = \"log\"\n",
            "format = 1\naudit-log = \"/x\"\n",
            "format = \n",
        ] {
            assert!(read(wrong_text).is_err(), "{wrong_text}");
        }
    }
}
