//! Checks in every format.

use crate::structure::{self, Grammar, RenderedReport};
use crate::{HARMLESS, hostile_texts, joined_hostile_texts};
use runbook_engine::{Case, Measurement, Outcome};
use runbook_report::checks::{
    CHECK_FORMATS, CheckFormat, CheckResult, Checks, Health, WarningPolicy,
};

fn grammar(format: CheckFormat) -> Grammar {
    match format {
        CheckFormat::Table => Grammar::Lines,
        CheckFormat::Json => Grammar::Json,
        CheckFormat::JsonLines => Grammar::JsonLines,
        CheckFormat::Junit => Grammar::Junit,
        CheckFormat::Tap => Grammar::Tap,
        CheckFormat::Prometheus => Grammar::Prometheus,
        CheckFormat::Nagios => Grammar::Nagios,
        CheckFormat::Markdown => Grammar::Markdown,
        CheckFormat::Github => Grammar::Github,
    }
}

fn checks() -> Checks {
    let measurement = |label: &str, value| Measurement {
        label: label.to_owned(),
        value,
        unit: "s".to_owned(),
        warn: Some("5:".to_owned()),
        crit: Some("@1:2".to_owned()),
    };
    let result = |health, measurements| CheckResult {
        suite: "s".to_owned(),
        check: format!("c-{health:?}"),
        health,
        summary: "seen".to_owned(),
        duration_ms: 5,
        measurements,
        cases: vec![Case {
            name: "n".to_owned(),
            outcome: Outcome::Fail,
            detail: "d".to_owned(),
            duration_ms: 1,
        }],
    };
    let results =
        [Health::Healthy, Health::Skipped, Health::Warning, Health::Unknown, Health::Critical];
    let results = results
        .into_iter()
        .map(|health| result(health, vec![measurement("a", 1.5), measurement("b", -3.0)]));
    Checks {
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        results: results.collect(),
        warnings: WarningPolicy::Fail,
    }
}

/// Every text of the checks. Without `..`, so that a new field is not forgotten.
fn texts(checks: &mut Checks) -> Vec<&mut String> {
    let Checks { at: _, results, warnings: _ } = checks;
    let mut found = Vec::new();
    for CheckResult { suite, check, health: _, summary, duration_ms: _, measurements, cases } in
        results
    {
        found.extend([suite, check, summary]);
        for Measurement { label, value: _, unit, warn, crit } in measurements {
            found.extend([label, unit]);
            found.extend(warn.iter_mut().chain(crit));
        }
        for Case { name, outcome: _, detail, duration_ms: _ } in cases {
            found.extend([name, detail]);
        }
    }
    found
}

fn structures(checks: &Checks) -> Vec<RenderedReport> {
    CHECK_FORMATS
        .iter()
        .map(|(format, name)| RenderedReport::new(name, grammar(*format), format.render(checks)))
        .collect()
}

fn checks_with(change: impl Fn(usize, &mut String)) -> Checks {
    let mut changed = checks();
    texts(&mut changed).into_iter().enumerate().for_each(|(index, text)| change(index, text));
    changed
}

#[test]
fn no_text_of_a_check_changes_the_structure_of_any_format() {
    let hostile = joined_hostile_texts();
    for index in 0..texts(&mut checks()).len() {
        let with_one_text = |text: &str| {
            checks_with(|at, field| {
                if at == index {
                    text.clone_into(field);
                }
            })
        };
        structure::compare(
            &structures(&with_one_text(HARMLESS)),
            &structures(&with_one_text(&hostile)),
            &format!("text {index}"),
        );
    }
}

#[test]
fn no_text_of_a_check_changes_the_structure_when_all_texts_are_hostile() {
    // Prometheus takes a series once, and these differ by their number.
    let with_all_texts = |text: &str| checks_with(|at, field| *field = format!("{text}{at}"));
    for text in hostile_texts() {
        let text: String = text.chars().take(3_000).collect();
        structure::compare(
            &structures(&with_all_texts(HARMLESS)),
            &structures(&with_all_texts(&text)),
            &text,
        );
    }
}

#[test]
fn measurements_that_are_not_finite_are_not_given_to_monitoring() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut checks = checks();
        checks.results[0].measurements[0].value = value;
        for (format, _) in CHECK_FORMATS {
            structure::of(grammar(*format), &format.render(&checks));
        }
        assert!(CheckFormat::Nagios.render(&checks).contains("'c-Healthy/a'=U;"));
    }
}
