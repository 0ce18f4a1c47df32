//! `[window]` by the clock of this machine.

use crate::home;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use runbook_tests::env::TestEnv;

/// A day of the week three days from now, so that midnight during the test does not matter.
fn another_day() -> &'static str {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let day = (now.date() + jiff::Span::new().days(3)).weekday().to_monday_zero_offset();
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        [usize::try_from(day).expect("a day of the week")]
}

/// A runbook that makes a table, with a window on some days of the week.
fn with_window(day: &str, outside: &str) -> TestEnv {
    let env = home();
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"windowed\"\n[targets.db]\nsql = \"sqlite:w.db\"\n\
                  create = true\n[window]\n\
                  allow = [{{ days = \"{day}\", from = \"00:00\", to = \"24:00\", zone = \"UTC\" \
                  }}]\noutside = \"{outside}\"\n[[step]]\nid = \"make\"\n\
                  uses = \"sql:transaction\"\nbind.db = \"db\"\n\
                  with = {{ statements = [\"create table t (n integer)\"] }}\n\
                  irreversible = \"a new table\"\n"
        ),
    );
    env
}

#[test]
fn a_closed_window_refuses_the_run_and_can_be_overridden() {
    let env = with_window(another_day(), "refuse");
    env.run(&["plan", "r.toml"]).status(0).out("closed now; outside: refuse");
    env.run(&["exec", "r.toml", "--dry-run"])
        .status(0)
        .out("the maintenance window is closed, and opens at");
    env.run(&["exec", "r.toml"]).status(6).out("Refused.").out("the maintenance window is closed");
    assert!(!env.path().join("w.db").exists());
    env.run(&["exec", "r.toml", "--outside-window"]).status(0).err("overridden by ");
    assert!(env.path().join("w.db").exists());
}

#[test]
fn outside_a_window_that_warns_the_run_succeeds_with_warnings() {
    with_window(another_day(), "warn")
        .run(&["exec", "r.toml"])
        .status(0)
        .out("Succeeded, with warnings")
        .err("the maintenance window is closed");
}

#[test]
fn inside_its_window_a_run_does_not_mention_it() {
    let env = with_window("mon-sun", "refuse");
    env.run(&["exec", "r.toml"]).status(0).without("window is closed");
}

/// Outside of the window, a run can be resumed only with `--outside-window`. The printed commands
/// work as they are.
#[test]
fn the_printed_commands_work_outside_the_window() {
    let manual =
        "[[step]]\nid = \"look\"\nmanual = { instructions = \"look\", confirm = \"I looked\" }\n";
    for way in ["resume", "cancel"] {
        let env = with_window(another_day(), "refuse");
        let text = env.read("r.toml").replacen(
            "[[step]]",
            &format!("{manual}[[step]]\nneeds = [\"look\"]"),
            1,
        );
        env.file("r.toml", &text);
        env.run(&["exec", "r.toml", "--outside-window", "--yes"]).status(5);
        let run = env.newest_run();
        env.run(&["answer", &run, "look", "--confirm", "I looked"]).status(0);
        let closed = env.run(&["resume", &run]).status(6).out("the maintenance window is closed");
        let commands =
            [format!("runbook resume {run} --outside-window"), format!("runbook cancel {run}")];
        let shown = closed.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for command in &commands {
            assert!(shown.contains(&format!("`{command}`")), "{shown}");
        }
        assert!(shown.contains("Next: from 20"), "when it opens is told: {shown}");
        assert!(!env.path().join("w.db").exists(), "nothing was done");
        if way == "resume" {
            env.run(&["resume", &run, "--outside-window"]).status(0);
            assert!(env.path().join("w.db").exists());
        } else {
            env.run(&["cancel", &run, "--yes"]).status(0).out("Cancelled.");
        }
    }
}
