//! A call and its answer can be written down, and what is read is what was written.

use proptest::prelude::*;
use runbook_contract::{
    Call, CallRecord, CallReturn, Case, Completion, DriftPolicy, Effect, ErrorClass, FORMAT, Fault,
    FaultEffect, Json, LogLevel, LogLine, Measurement, Mode, Outcome, Phase, Proposal, RecordError,
    Report, Response, RunId, StepId,
};
use std::time::Duration;

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::vec((".{0,4}", inner), 0..3)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let effect = ("[a-z.]{1,8}", ".{0,8}", ".{0,8}").prop_map(|(verb, target, summary)| Effect {
        verb,
        target,
        summary,
    });
    (prop::collection::vec(effect, 0..3), ".{0,8}", json())
        .prop_map(|(effects, summary, before)| Proposal { effects, summary, before })
}

fn measurements() -> impl Strategy<Value = Vec<Measurement>> {
    let range = || prop::option::of("[0-9:@~]{0,4}");
    let measurement = (".{0,8}", -1e9..1e9, "[a-zB%]{0,2}", range(), range()).prop_map(
        |(label, value, unit, warn, crit)| Measurement { label, value, unit, warn, crit },
    );
    prop::collection::vec(measurement, 0..3)
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Check),
        Just(Phase::Plan),
        Just(Phase::Observe),
        (proposal(), prop_oneof![Just(DriftPolicy::Deny), Just(DriftPolicy::Warn)])
            .prop_map(|(proposal, drift)| Phase::Apply { proposal, drift }),
        json().prop_map(|before| Phase::Undo { before }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(Outcome::ALL)
}

fn response() -> impl Strategy<Value = Response> {
    let case = (".{0,8}", outcome(), ".{0,8}", any::<u64>()).prop_map(
        |(name, outcome, detail, duration_ms)| Case { name, outcome, detail, duration_ms },
    );
    prop_oneof![
        (outcome(), ".{0,8}", json(), measurements()).prop_map(
            |(outcome, summary, output, measurements)| {
                Response::Report(Report { outcome, summary, output, measurements })
            }
        ),
        prop::collection::vec(case, 0..3).prop_map(Response::Cases),
        proposal().prop_map(Response::Proposal),
        json().prop_map(Response::Observation),
        (".{0,8}", json(), any::<bool>(), measurements()).prop_map(
            |(summary, output, changed, measurements)| {
                Response::Completion(Completion { summary, output, changed, measurements })
            }
        ),
    ]
}

fn logs() -> impl Strategy<Value = Vec<LogLine>> {
    let level = prop::sample::select(
        &[LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error][..],
    );
    prop::collection::vec(
        (level, ".{0,8}").prop_map(|(level, message)| LogLine { level, message }),
        0..3,
    )
}

fn result() -> impl Strategy<Value = Result<CallReturn, Fault>> {
    let effect = prop_oneof![Just(FaultEffect::Possible), Just(FaultEffect::None)];
    let fault =
        (prop::sample::select(ErrorClass::ALL), "[a-z.]{0,8}", ".{0,8}", logs(), effect).prop_map(
            |(class, code, message, logs, effect)| Fault { class, code, message, logs, effect },
        );
    let returned = (response(), logs(), prop::collection::vec("[a-z.]{1,8}", 0..3))
        .prop_map(|(response, logs, changing_verbs)| CallReturn { response, logs, changing_verbs });
    prop_oneof![returned.prop_map(Ok), fault.prop_map(Err)]
}

fn call() -> impl Strategy<Value = Call> {
    let mode = prop_oneof![Just(Mode::Effects), Just(Mode::ReadOnly)];
    let ms = (any::<u32>(), proptest::option::of(any::<u32>()));
    (phase(), ".{0,8}", 1..9_u32, json(), mode, ms).prop_map(
        |(phase, step, attempt, input, mode, (timeout, unanswered))| Call {
            run: RunId::parse("01a1fec1-e55e-7000-8000-000000000000").expect("an id"),
            site: StepId::new(step.clone()),
            step: StepId::new(step),
            phase,
            attempt,
            input,
            mode,
            timeout: Duration::from_millis(timeout.into()),
            unanswered: unanswered.map(|ms| Duration::from_millis(ms.into())),
        },
    )
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(call in call(), result in result()) {
        let record = CallRecord { call, result };
        let line = record.to_line().expect("it is JSON");
        prop_assert!(!line.contains('\n'), "one line: {line}");
        prop_assert_eq!(CallRecord::from_line(&line).expect("it reads its own"), record);
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_refused(call in call(), result in result(),
        at in any::<prop::sample::Index>()) {
        let line = CallRecord { call, result }.to_line().expect("it is JSON");
        let ends: Vec<usize> = line.char_indices().map(|(end, _)| end).collect();
        let cut = &line[..ends[at.index(ends.len())]];
        prop_assert!(matches!(CallRecord::from_line(cut), Err(RecordError::Json(_))), "{cut}");
    }

    #[test]
    fn a_record_of_another_format_is_refused_by_its_number(call in call(), result in result()) {
        let line = CallRecord { call, result }.to_line().expect("it is JSON");
        let other = line.replacen(&format!("\"format\":{FORMAT}"),
            &format!("\"format\":{}", FORMAT + 1), 1);
        let refused = CallRecord::from_line(&other).expect_err("it is newer");
        prop_assert_eq!(refused.to_string(), "a record of format 2; this version reads format 1");
    }
}

#[test]
fn a_record_has_a_return_or_a_fault_and_not_both() {
    let head = r#"{"format":1,"call":{"run":"01a1fec1-e55e-7000-8000-000000000000","site":"a","step":"a","phase":"check","attempt":1,"input":{},"mode":"effects","timeout_ms":5}"#;
    let returned = r#""return":{"response":{"cases":[]},"logs":[],"changing_verbs":[]}"#;
    let fault = r#""fault":{"class":"denied","code":"denied","message":"not granted"}"#;
    for (line, is_good) in [
        (format!("{head},{returned}}}"), true),
        (format!("{head},{fault}}}"), true),
        (format!("{head}}}"), false),
        (format!("{head},{returned},{fault}}}"), false),
    ] {
        assert_eq!(CallRecord::from_line(&line).is_ok(), is_good, "{line}");
    }
}
