//! `waivers.toml` beside a suite: checks that do not run until a date, each with its reason.

use crate::failure::Failure;
use crate::file_format;
use crate::runbook_file::RunbookFile;
use crate::{text_file, writable};
use runbook_document::{Diagnostic, Diagnostics, Node, Reader, Source, Spanned, suggestion};
use runbook_engine::{Runbook, Section};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the file, which is beside its suites.
pub const FILE_NAME: &str = "waivers.toml";

/// The waivers of one suite.
#[derive(Debug, Default)]
pub struct Waivers(BTreeMap<String, Waiver>);

/// The waiver of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The reason, as the file gives it.
    pub reason: String,
    /// The last day, as `2027-01-31`, in UTC.
    pub expires: String,
}

/// Whether a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaiverStatus<'a> {
    /// The check is not waived, so it runs.
    NotWaived,
    /// The check is waived, so it does not run.
    Waived(&'a Waiver),
    /// Its waiver has expired, so it runs again.
    Expired(&'a Waiver),
}

impl Waivers {
    /// The waivers of a suite from the file beside it; none without a file. One mistake makes the
    /// whole file invalid, because a file that is read in part could waive the wrong checks.
    pub fn read(source: Option<&Arc<Source>>, suite: &Runbook) -> Result<Self, Failure> {
        let Some(source) = source else { return Ok(Self::default()) };
        let mut diagnostics = Diagnostics::default();
        let entries = Self::entries(source, &mut diagnostics);
        let found = entries
            .into_iter()
            .filter_map(|entry| entry.for_suite(suite, source, &mut diagnostics))
            .collect();
        if diagnostics.has_errors() {
            return Err(Failure::findings(diagnostics));
        }
        Ok(Self(found))
    }

    /// All waivers of a file, for any suite.
    pub fn entries(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Vec<WaiverEntry> {
        let Some(table) = runbook_document::parse(source, diagnostics) else { return Vec::new() };
        let mut reader = Reader::new(source, &table, "the waivers", diagnostics);
        file_format::check(&mut reader, "E0236", "waivers");
        let found = reader.read_each("waiver", "waiver", read_entry);
        reader.finish();
        found
    }

    /// Whether a check runs on a day (`2026-11-21`).
    pub fn status_of(&self, check: &str, today: &str) -> WaiverStatus<'_> {
        match self.0.get(check) {
            None => WaiverStatus::NotWaived,
            // ISO dates can be compared as strings.
            Some(waiver) if today <= waiver.expires.as_str() => WaiverStatus::Waived(waiver),
            Some(waiver) => WaiverStatus::Expired(waiver),
        }
    }
}

/// The text of the file beside a suite; `None` if there is none.
pub fn source(suite: &RunbookFile) -> Result<Option<Arc<Source>>, Failure> {
    let displayed_path = suite.display_path(FILE_NAME);
    let text = match text_file::read_below(suite.folder(), FILE_NAME) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::usage(format!(
                "`{}` cannot be read: {error}",
                displayed_path.display()
            )));
        }
    };
    writable::warn_if_world_writable("the waivers", &suite.folder().join(FILE_NAME));
    Ok(Some(Source::new(displayed_path.display().to_string(), text)))
}

/// One waiver of the file, for any suite.
#[derive(Debug)]
pub struct WaiverEntry {
    suite: String,
    check: Spanned<String>,
    waiver: Waiver,
}

impl WaiverEntry {
    /// The check of this suite and its waiver. `None` if the waiver is for another suite, or if
    /// there is no such check, which is reported.
    fn for_suite(
        self,
        suite: &Runbook,
        source: &Arc<Source>,
        diagnostics: &mut Diagnostics,
    ) -> Option<(String, Waiver)> {
        if self.suite != suite.name.value {
            return None;
        }
        let known: Vec<&str> =
            suite.section(Section::Check).map(|check| check.id.value.as_str()).collect();
        if known.contains(&self.check.value.as_str()) {
            return Some((self.check.value, self.waiver));
        }
        let message = format!("suite `{}` has no check `{}`", self.suite, self.check.value);
        let diagnostic =
            Diagnostic::error("E0236", source, self.check.span.clone(), message).label("unknown");
        diagnostics.push(diagnostic.help(suggestion(&self.check.value, &known)));
        None
    }
}

fn read_entry(reader: &mut Reader<'_>) -> Option<WaiverEntry> {
    let suite = reader.required::<String>("suite");
    let check = reader.required::<String>("check");
    let reason = reader.required::<String>("reason");
    let expires = read_date(reader);
    let (suite, check, reason, expires) = (suite?, check?, reason?, expires?);
    if reason.value.trim().is_empty() {
        reader.error("E0236", reason.span, "a waiver needs a reason", "say why");
        return None;
    }
    Some(WaiverEntry {
        suite: suite.value,
        check,
        waiver: Waiver { reason: reason.value, expires },
    })
}

fn read_date(reader: &mut Reader<'_>) -> Option<String> {
    let node = reader.required::<Node>("expires")?;
    let date = node.value.date();
    if date.is_none() {
        reader.error(
            "E0236",
            node.span,
            "`expires` must be a date",
            "such as 2027-01-31, without quotes",
        );
    }
    date.map(str::to_owned)
}
