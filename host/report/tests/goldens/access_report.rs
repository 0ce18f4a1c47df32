//! The access report with one of everything, in every format.

use crate::{assert_golden, assert_on_terminals};
use runbook_authority::access_report::flow::FlowEndpoint;
use runbook_authority::access_report::{
    AccessReport, BoundaryStatus, Component, Detail, Finding, FindingRule, Flow, GrantedTarget,
    Location, PluginEntry, PluginOrigin, ReportContext, RunbookEntry, SinkKind, SourceKind,
    SourceLocation, StepEntry, UngrantedVerb,
};
use runbook_authority::{Digest, Manifest, Risk};
use runbook_document::{Diagnostics, Source};
use runbook_report::access_report::{REVIEW_FORMATS, ReviewFormat, render};

fn place(file: &str, line: usize) -> SourceLocation {
    SourceLocation { file: file.to_owned(), line, column: 1 }
}

const MANIFEST: &str = r#"
format = 1
[plugin]
name = "sender"
version = "1.2.0"
description = "Sends a report <to> somebody"
[slots.api]
capability = "http"
verbs = ["get", "post"]
reason = "the report is sent there"
[[operation]]
name = "send"
kind = "step"
summary = "sends it"
slots = { api = ["get", "post"] }
"#;

fn granted_target(target: &str) -> GrantedTarget {
    let reach =
        [("hosts", vec!["api.example.com".to_owned()]), ("paths", vec!["/v1/**".to_owned()])]
            .into();
    GrantedTarget {
        target: target.to_owned(),
        what: "https://api.example.com".to_owned(),
        reach,
        place: place("send.toml", 12),
    }
}

fn plugin(reference: &str, origin: &PluginOrigin) -> PluginEntry {
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", MANIFEST), &mut diagnostics);
    let manifest = manifest.unwrap_or_else(|| {
        panic!("{:?}", diagnostics.iter().map(|found| &found.message).collect::<Vec<_>>())
    });
    let component = Component {
        reference,
        manifest: &manifest,
        digest: &Digest::of(b"sender"),
        size_bytes: 81_234,
        imports: &["runbook:http/write@0.1.0".to_owned()].into(),
        needs_inert_wasi: true,
        origin,
    };
    PluginEntry::new(&component, &ReportContext::default())
}

fn access_report() -> AccessReport {
    let file = PluginOrigin::File {
        path: "plugins/sender.wasm".to_owned(),
        signature: "signed by `ops`".to_owned(),
        is_trusted: true,
        is_wrongly_signed: false,
    };
    let file_plugin = plugin("plugins/sender.wasm", &file);
    let mut rows = file_plugin.rows.clone();
    for row in &mut rows {
        row.granted = Some(granted_target("api"));
        row.boundary = Some(BoundaryStatus::Within);
        row.used = Some(3);
    }
    rows[0].used_secrets = [("token".to_owned(), 3)].into();
    rows[1].boundary =
        Some(BoundaryStatus::Exceeded { witness: "POST https://api.example.com/v1/x".to_owned() });
    rows[1].used = Some(0);
    rows[1].needed_by = Some("needed by `notices[0].to` of the input".to_owned());
    rows[1].imported = vec!["runbook:http/write".to_owned()];
    let details = vec![Detail {
        name: "input".to_owned(),
        text: "to = \"ops & friends\"\nretries = 3".to_owned(),
    }];
    let step = StepEntry {
        step: "send".to_owned(),
        uses: "sender:send".to_owned(),
        details: details.clone(),
        rows,
        withheld: vec![UngrantedVerb {
            slot: "api".to_owned(),
            verb: "http.delete".to_owned(),
            reason: "this input does not need it; it is needed if `all` is `true`".to_owned(),
        }],
    };
    let flow = Flow {
        risk: Risk::High,
        source: FlowEndpoint {
            kind: SourceKind::RevealedSecret,
            what: "secret `token`".to_owned(),
            place: Some(place("send.toml", 4)),
        },
        sink: FlowEndpoint {
            kind: SinkKind::Network,
            what: "api.example.com".to_owned(),
            place: Some(place("send.toml", 12)),
        },
        steps: vec!["read".to_owned(), "send".to_owned()],
    };
    let runbook = RunbookEntry {
        file: "send.toml".to_owned(),
        name: "send-report".to_owned(),
        environment: Some("production".to_owned()),
        details,
        steps: vec![step],
        flows: vec![flow],
        file_entries: vec![Detail {
            name: "step.send.timeout".to_owned(),
            text: "\"5m\"".to_owned(),
        }],
        controlling_files: Vec::new(),
    };
    let finding = |rule, risk, location| Finding {
        rule,
        risk,
        subject: "plugin `sender`".to_owned(),
        message: "it may POST where the boundary ends".to_owned(),
        location,
    };
    let findings = vec![
        finding(FindingRule::InertWasi, Risk::Critical, Location::Line(place("send.toml", 12))),
        finding(
            FindingRule::InertWasi,
            Risk::Medium,
            Location::File("plugins/sender.wasm".to_owned()),
        ),
        finding(FindingRule::InertWasi, Risk::Info, Location::Bundled("http".to_owned())),
    ];
    let plugins = vec![file_plugin, plugin("http", &PluginOrigin::Bundled)];
    AccessReport { format: 1, plugins, runbooks: vec![runbook], findings }
}

#[test]
fn every_format_of_the_access_report_is_equal_to_its_golden() {
    let report = access_report();
    for (format, name, _) in REVIEW_FORMATS {
        let text = render(*format, &report);
        match format {
            ReviewFormat::Text => assert_on_terminals(&format!("access-report.{name}"), &text),
            ReviewFormat::Json | ReviewFormat::Sarif | ReviewFormat::Html => {
                assert_golden(&format!("access-report.{name}"), &text);
            }
        }
    }
}

/// Without a boundary and without a log of what was used, their columns are not there.
#[test]
fn a_column_without_data_is_left_out() {
    let mut report = access_report();
    report.findings.clear();
    for row in &mut report.runbooks[0].steps[0].rows {
        row.boundary = None;
        row.used = None;
    }
    assert_golden("access-report.plain.html", &render(ReviewFormat::Html, &report));
}
