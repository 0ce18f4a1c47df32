//! A run in every format, at each moment at which somebody looks at it.

use crate::migration::{Migration, migration};
use crate::{assert_golden, assert_on_terminals};
use runbook_report::trace::trace;
use runbook_report::{
    FORMATS, Format, StepStatus, Summary, closing_text, event_line, record_lines, render,
    report_schema,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The run as it stands at each moment.
fn summaries() -> Vec<(&'static str, Summary)> {
    let Migration { header, records, moments } = migration();
    moments
        .iter()
        .map(|moment| (moment.name, Summary::of(&header, &records[..moment.records])))
        .collect()
}

/// A format that is new has no golden yet, and fails here until somebody has read what it says.
#[test]
fn every_report_of_a_run_is_equal_to_its_golden() {
    for (moment, summary) in summaries() {
        for (format, name, ..) in FORMATS {
            let text = render(*format, &summary);
            match format {
                Format::Text => assert_on_terminals(&format!("run.{moment}.{name}"), &text),
                Format::Json | Format::Junit | Format::Markdown | Format::Html => {
                    assert_golden(&format!("run.{moment}.{name}"), &text);
                }
            }
        }
    }
}

#[test]
fn the_lines_of_the_live_view_are_equal_to_their_golden() {
    let Migration { header, records, .. } = migration();
    let mut summary = Summary::of(&header, &[]);
    let mut lines = String::new();
    for record in &records {
        summary.fold(record);
        for line in record_lines(&summary, record) {
            let _ = writeln!(lines, "{}", line.text);
        }
    }
    let _ = write!(lines, "{}", closing_text(&summary));
    assert_on_terminals("run.live", &lines);
}

#[test]
fn the_events_and_the_trace_of_a_run_are_equal_to_their_goldens() {
    let Migration { header, records, .. } = migration();
    let events: Vec<_> =
        records.iter().map(|record| event_line(header.run, record, None)).collect();
    assert_golden("run.events", &events.join("\n"));
    let spans = trace(&Summary::of(&header, &records)).unwrap();
    assert_golden(
        "run.trace",
        &spans.iter().fold(String::new(), |text, span| format!("{text}{span:#?}\n")),
    );
}

/// A state in which no step stands would be in no golden.
#[test]
fn the_goldens_have_a_step_in_every_state() {
    let found: BTreeSet<String> = summaries()
        .iter()
        .flat_map(|(_, summary)| &summary.steps)
        .map(|step| name(step.state))
        .collect();
    let schema = report_schema();
    let variants =
        schema.pointer("/$defs/StepStatus/oneOf").and_then(|variants| variants.as_array()).unwrap();
    let all: BTreeSet<String> =
        variants.iter().map(|variant| variant["const"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, all);
}

fn name(state: StepStatus) -> String {
    serde_json::to_value(state).unwrap().as_str().unwrap().to_owned()
}
