//! People are notified when a run waits for them, once for each wait.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

const NOTIFY: &str = "[[notify]]\non = [\"waiting\"]\nuses = \"test:tell\"\n";

fn n_waiting_notifications(run: &Run) -> usize {
    let is_sent = |record: &Record| {
        matches!(
            record.event,
            RunEvent::Notify {
                event: NotifyEvent::NotifyEnded { fault: None },
                on: Trigger::Waiting,
                ..
            }
        )
    };
    run.records().iter().filter(|record| is_sent(record)).count()
}

#[test]
fn people_are_notified_once_before_a_run_pauses_for_them() {
    let manual = "manual = { instructions = \"Look.\" }";
    let approval = "uses = \"test:do\"\napproval = { quorum = 1 }\nirreversible = \"x\"";
    let unknown = "uses = \"test:do\"\nirreversible = \"x\"";
    for step in [manual, approval, unknown] {
        let text = format!("[[step]]\nid = \"a\"\n{step}\n{NOTIFY}");
        let plugins = FakePlugins::default();
        plugins.set_before("a", Json::Null);
        let run = Run::new(&text, plugins);
        if step == unknown {
            *run.journal.breaks_at.lock().unwrap() = Some(3);
            assert!(run.execute().is_err());
            *run.journal.breaks_at.lock().unwrap() = None;
            pause(run.resume());
        } else {
            pause(run.execute());
        }
        assert_eq!(n_waiting_notifications(&run), 1, "{step}: {:#?}", run.records());
        let last: Vec<Record> = run.records().into_iter().rev().take(2).collect();
        assert!(
            matches!(last[1].event, RunEvent::Notify { .. }),
            "{step}: before it pauses: {last:#?}"
        );
        // A resume that has to wait again notifies nobody.
        pause(run.resume());
        assert_eq!(n_waiting_notifications(&run), 1, "{step}");
    }
}

#[test]
fn after_an_answer_the_next_wait_is_notified_again() {
    let text = format!(
        "[[step]]\nid = \"a\"\nmanual = {{ instructions = \"Look.\" }}\n[[step]]\n\
                 id = \"b\"\nmanual = {{ instructions = \"Look again.\" }}\n{NOTIFY}"
    );
    let run = Run::new(&text, FakePlugins::default());
    pause(run.execute());
    let seq = run.records().len() as u64;
    let event =
        ManualEvent::Answered { by: "ada".into(), values: serde_json::json!({}) }.of("a".into());
    let record = Record { seq, at: run.records().last().unwrap().at, event };
    block_on(run.journal.append(run.options.run, &record)).unwrap();
    pause(run.resume());
    assert_eq!(n_waiting_notifications(&run), 2);
}
