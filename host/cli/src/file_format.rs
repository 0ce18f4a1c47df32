//! The `format` key of the files that the program itself reads: which one it knows.

use runbook_document::Reader;

/// The only format so far of settings, configurations, projects and waivers.
const KNOWN: u32 = 1;

/// Reads `format`; a format that this version does not know is refused under `code`. `of` is what
/// messages call the file, such as `a project`.
pub fn check(reader: &mut Reader<'_>, code: &'static str, of: &str) {
    if let Some(format) = reader.required::<u32>("format").filter(|format| format.value != KNOWN) {
        let message =
            format!("format {} of {of} is not known; this host reads format {KNOWN}", format.value);
        reader.error(code, format.span, message, "unknown format");
    }
}
