//! A run in every format, at each moment at which somebody looks at it.

use crate::migration::{Migration, migration};
use crate::{assert_golden, assert_on_terminals};
use runbook_report::trace::trace;
use runbook_report::{
    FORMATS, Format, StepStatus, Summary, closing, event_line, lines, render, report_schema,
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
fn a_run_in_every_format_is_exactly_what_it_was() {
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
fn what_the_operator_reads_while_it_goes_on_is_exactly_what_it_was() {
    let Migration { header, records, .. } = migration();
    let mut summary = Summary::of(&header, &[]);
    let mut told = String::new();
    for record in &records {
        summary.fold(record);
        for line in lines(&summary, record) {
            let _ = writeln!(told, "{}", line.text);
        }
    }
    let _ = write!(told, "{}", closing(&summary));
    assert_on_terminals("run.live", &told);
}

#[test]
fn its_events_and_its_trace_are_exactly_what_they_were() {
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

/// Otherwise the goldens would say nothing of it.
#[test]
fn a_step_stands_in_every_state_at_one_of_the_moments() {
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
