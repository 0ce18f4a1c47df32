//! The exact text of every report: of a run, of checks and of the access report, in every format,
//! and on a terminal of 80 and of 120 columns. `INSTA_UPDATE=always` writes them anew; the
//! difference is read before it is committed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod access_report;
mod checks;
mod migration;
mod run;

/// The widths of terminals that are tried.
const WIDTHS: [usize; 2] = [80, 120];

/// Compares a report with `tests/snapshots/NAME.snap`.
fn assert_golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// As a terminal of each width shows it.
fn assert_on_terminals(name: &str, text: &str) {
    for columns in WIDTHS {
        let shown =
            runbook_text::for_terminal(&runbook_report::wrap_to_width(text, columns)).into_owned();
        assert_golden(&format!("{name}.{columns}-columns"), &shown);
    }
}
