//! The access report of authority in every format.

use crate::structure::{self, Grammar, RenderedReport};
use crate::{HARMLESS, hostile_texts};
use runbook_authority::access_report::flow::FlowEndpoint;
use runbook_authority::access_report::{
    AccessReport, AccessRow, BoundaryStatus, Component, Detail, Finding, FindingRule, Flow,
    GrantedTarget, Location, PluginEntry, PluginOrigin, ReportContext, RunbookEntry, SinkKind,
    SourceKind, SourceLocation, StepEntry, UngrantedVerb,
};
use runbook_authority::{Digest, Manifest, Risk};
use runbook_document::{Diagnostics, Source};
use runbook_report::access_report::{REVIEW_FORMATS, ReviewFormat, render};
use serde_json::Value;
use std::collections::BTreeSet;

fn grammar(format: ReviewFormat) -> Grammar {
    match format {
        ReviewFormat::Text => Grammar::Lines,
        ReviewFormat::Json | ReviewFormat::Sarif => Grammar::Json,
        ReviewFormat::Html => Grammar::Html,
    }
}

const MANIFEST: &str = r#"
format = 1
[plugin]
name = "sender"
version = "1.0.0"
description = "d"
[slots.api]
capability = "http"
verbs = ["get"]
reason = "r"
[[operation]]
name = "send"
kind = "probe"
summary = "s"
slots = { api = ["get"] }
"#;

fn place(text: &str) -> SourceLocation {
    SourceLocation { file: text.to_owned(), line: 3, column: 4 }
}

/// An access report whose every text is this one.
fn report(text: &str) -> AccessReport {
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", MANIFEST), &mut diagnostics);
    let manifest = manifest.unwrap_or_else(|| {
        panic!("{:?}", diagnostics.iter().map(|found| &found.message).collect::<Vec<_>>())
    });
    let origin = PluginOrigin::File {
        path: text.to_owned(),
        signature: text.to_owned(),
        is_trusted: false,
        is_wrongly_signed: false,
    };
    let component = Component {
        reference: text,
        manifest: &manifest,
        digest: &Digest::of(b"x"),
        size_bytes: 1,
        imports: &BTreeSet::new(),
        needs_inert_wasi: true,
        origin: &origin,
    };
    let mut plugin = PluginEntry::new(&component, &ReportContext::default());
    for part in [&mut plugin.name, &mut plugin.version, &mut plugin.description, &mut plugin.digest]
    {
        text.clone_into(part);
    }
    for row in &mut plugin.rows {
        fill(row, text);
    }
    let detail = || vec![Detail { name: text.to_owned(), text: text.to_owned() }];
    let step = StepEntry {
        step: text.to_owned(),
        uses: text.to_owned(),
        details: detail(),
        rows: plugin.rows.clone(),
        withheld: vec![UngrantedVerb {
            slot: text.to_owned(),
            verb: text.to_owned(),
            reason: text.to_owned(),
        }],
    };
    let flow = Flow {
        risk: Risk::High,
        source: FlowEndpoint {
            kind: SourceKind::RevealedSecret,
            what: text.to_owned(),
            place: Some(place(text)),
        },
        sink: FlowEndpoint {
            kind: SinkKind::Network,
            what: text.to_owned(),
            place: Some(place(text)),
        },
        steps: vec![text.to_owned(), text.to_owned()],
    };
    let runbook = RunbookEntry {
        controlling_files: Vec::new(),
        file: text.to_owned(),
        name: text.to_owned(),
        environment: Some(text.to_owned()),
        details: detail(),
        steps: vec![step],
        flows: vec![flow],
        file_entries: detail(),
    };
    let locations = [
        Location::Line(place(text)),
        Location::File(text.to_owned()),
        Location::Bundled(text.to_owned()),
    ];
    let finding = |location| Finding {
        rule: FindingRule::InertWasi,
        risk: Risk::Critical,
        subject: text.to_owned(),
        message: text.to_owned(),
        location,
    };
    AccessReport {
        format: 1,
        plugins: vec![plugin],
        runbooks: vec![runbook],
        findings: locations.map(finding).into(),
    }
}

fn fill(row: &mut AccessRow, text: &str) {
    for part in [&mut row.slot, &mut row.verb, &mut row.sentence, &mut row.reason] {
        text.clone_into(part);
    }
    row.imported = vec![text.to_owned()];
    row.granted = Some(GrantedTarget {
        target: text.to_owned(),
        what: text.to_owned(),
        reach: [("hosts", vec![text.to_owned()])].into(),
        place: place(text),
    });
    row.boundary = Some(BoundaryStatus::Exceeded { witness: text.to_owned() });
    row.used = Some(1);
}

fn collect_texts(value: &Value, key: &str, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::String(text) => {
            found.insert((key.to_owned(), text.clone()));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, key, found)),
        Value::Object(entries) => {
            entries.iter().for_each(|(key, value)| collect_texts(value, key, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn every_text_of_the_access_report_is_tried() {
    let mut found = BTreeSet::new();
    collect_texts(&serde_json::to_value(report(HARMLESS)).unwrap(), "", &mut found);
    let others: Vec<_> =
        found.iter().filter(|(_, text)| text != HARMLESS).map(|(key, _)| key.as_str()).collect();
    assert!(
        others.iter().all(|key| ["risk", "kind", "rule"].contains(key)),
        "no text was tried in {others:?}"
    );
}

#[test]
fn no_text_of_the_access_report_changes_the_structure_of_any_format() {
    for text in hostile_texts() {
        structure::compare(&structures(&report(HARMLESS)), &structures(&report(&text)), &text);
    }
}

fn structures(report: &AccessReport) -> Vec<RenderedReport> {
    REVIEW_FORMATS
        .iter()
        .map(|(format, name, _)| {
            RenderedReport::new(name, grammar(*format), render(*format, report))
        })
        .collect()
}
