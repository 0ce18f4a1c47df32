//! A notification is sent while a run still takes longer than usual.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

#[test]
fn a_run_that_takes_twice_as_long_as_usual_is_announced_while_it_hangs() {
    let text = r#"
        [[notify]]
        on = ["slow"]
        uses = "test:do"
        with = { text = "{{ run.title }} is {{ run.outcome }}" }

        [[step]]
        id = "wait"
        uses = "test:look"
        until = "outcome == 'pass'"
        every = "5s"
        within = "1m"
    "#;
    let not_yet = || Reply::Found(Outcome::Fail, serde_json::json!({}));
    let passes = Reply::Found(Outcome::Pass, serde_json::json!({}));
    let plugins = || {
        FakePlugins::default()
            .with("wait", [not_yet(), not_yet(), not_yet(), not_yet(), passes.clone()])
    };
    let mut slow = Run::new(text, plugins());
    slow.options.usual_duration = Some(std::time::Duration::from_secs(6));
    assert_eq!(end(slow.execute()), (RunEnd::Succeeded, None));
    assert_eq!(slow.plugins.applied(), ["notify/1"], "once");
    let records = slow.records();
    let position_of = |wanted: &dyn Fn(&RunEvent) -> bool| {
        records.iter().position(|record| wanted(&record.event)).unwrap()
    };
    let notified = position_of(&|event| {
        matches!(event, RunEvent::Notify { event: NotifyEvent::NotifyEnded { .. }, .. })
    });
    assert!(
        notified
            < position_of(&|event| matches!(
                event,
                RunEvent::Run(LifecycleEvent::FinallyBegan { .. })
            ))
    );
    let mut quick = Run::new(text, plugins());
    quick.options.usual_duration = Some(std::time::Duration::from_mins(1));
    end(quick.execute());
    assert!(quick.plugins.applied().is_empty());
}
