//! Checks the `format` key of settings, configurations, projects and waivers.

use runbook_document::Reader;

/// The only format of these files so far.
const KNOWN_FORMAT: u32 = 1;

/// Reads `format`, and reports a format that this version does not know, with this code. `noun` is
/// what messages call the file, such as `a project`.
pub fn check(reader: &mut Reader<'_>, code: &'static str, noun: &str) {
    if let Some(format) =
        reader.required::<u32>("format").filter(|format| format.value != KNOWN_FORMAT)
    {
        let message = format!(
            "format {} of {noun} is not known; this host reads format {KNOWN_FORMAT}",
            format.value
        );
        reader.error(code, format.span, message, "unknown format");
    }
}
