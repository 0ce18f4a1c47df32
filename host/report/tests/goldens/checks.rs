//! A suite whose checks have every health, in every format.

use crate::{assert_golden, assert_on_terminals};
use runbook_engine::{Case, Measurement, Outcome};
use runbook_report::checks::{
    CHECK_FORMATS, CheckFormat, CheckResult, Checks, Health, WarningPolicy,
};

fn result(check: &str, health: Health, summary: &str, duration_ms: u64) -> CheckResult {
    CheckResult {
        suite: "orders".to_owned(),
        check: check.to_owned(),
        health,
        summary: summary.to_owned(),
        duration_ms,
        measurements: Vec::new(),
        cases: Vec::new(),
    }
}

fn measurement(label: &str, value: f64, unit: &str) -> Measurement {
    Measurement {
        label: label.to_owned(),
        value,
        unit: unit.to_owned(),
        warn: Some("5".to_owned()),
        crit: Some("@10:20".to_owned()),
    }
}

fn case(name: &str, outcome: Outcome, detail: &str) -> Case {
    Case { name: name.to_owned(), outcome, detail: detail.to_owned(), duration_ms: 120 }
}

fn suite(warnings: WarningPolicy) -> Checks {
    let mut lag =
        result("replica-lag", Health::Warning, "the replica is 7.5 s behind, more than 5", 1_250);
    lag.measurements = vec![measurement("lag", 7.5, "s"), measurement("sessions", 12.0, "")];
    let mut buy = result("buy", Health::Critical, "1 of 4 cases failed: pay", 2_300);
    buy.cases = vec![
        case("search", Outcome::Pass, ""),
        case("basket", Outcome::Warn, "took 1.2 s, more than 1 s"),
        case("pay", Outcome::Fail, "status is 500, expected 201"),
        case("mail", Outcome::Unknown, "not tried, because `pay` failed"),
    ];
    let results = vec![
        result("login", Health::Healthy, "status 200 in 80 ms", 80),
        CheckResult::waived("orders", "certificate", "the new one comes on Monday", "2026-03-09"),
        lag,
        result("search", Health::Unknown, "no answer from search.internal:9200 within 5 s", 5_000),
        buy,
    ];
    Checks { at: "2026-03-04T02:17:00Z".parse().unwrap(), results, warnings }
}

#[test]
fn every_report_of_a_suite_is_equal_to_its_golden() {
    let suite = suite(WarningPolicy::Fail);
    for (format, name) in CHECK_FORMATS {
        let text = format.render(&suite);
        match format {
            CheckFormat::Table => assert_on_terminals(&format!("checks.{name}"), &text),
            CheckFormat::Json
            | CheckFormat::JsonLines
            | CheckFormat::Junit
            | CheckFormat::Tap
            | CheckFormat::Prometheus
            | CheckFormat::Nagios
            | CheckFormat::Markdown
            | CheckFormat::Github => assert_golden(&format!("checks.{name}"), &text),
        }
    }
}

#[test]
fn if_warnings_pass_they_pass_in_each_format_with_only_passed_and_failed() {
    let suite = suite(WarningPolicy::Pass);
    for (format, name) in [(CheckFormat::Junit, "junit"), (CheckFormat::Tap, "tap")] {
        assert_golden(&format!("checks.warnings-pass.{name}"), &format.render(&suite));
    }
}

#[test]
fn every_format_can_report_no_checks() {
    let no_checks = Checks { results: Vec::new(), ..suite(WarningPolicy::Fail) };
    let texts = CHECK_FORMATS
        .iter()
        .map(|(format, name)| format!("--- {name}\n{}\n", format.render(&no_checks)));
    assert_golden("checks.none", &texts.collect::<String>());
}
