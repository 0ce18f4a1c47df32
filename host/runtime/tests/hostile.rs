//! Hostile guests: each is stopped with the right reason, in bounded time and memory, and the host
//! continues.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_contract::{Call, ErrorClass, Outcome, Phase, Response};
use runbook_runtime::Permit;
use std::time::Duration;
use support::{
    CLOCK, LOG, PROBE, PROBE_INTERFACE, call, component, linked, manifest, prepare, probe, request,
    runtime,
};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The class and code of the fault that a guest ends with.
async fn fault(core: &str, imports: &[&str], timeout: Duration) -> (ErrorClass, String, String) {
    let outcome = call(core, imports, timeout).await;
    let fault = outcome.result.expect_err("the guest is hostile");
    (fault.class, fault.code, fault.message)
}

#[tokio::test]
async fn an_honest_guest_answers() {
    let outcome = call(&probe("", "", "(i32.const 0)", "{\"a\": 1}"), &[], TIMEOUT).await;
    let Response::Report(report) = outcome.result.unwrap() else { panic!("a probe reports") };
    assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Pass, "ok"));
    assert_eq!(report.output, serde_json::json!({ "a": 1 }));
}

#[tokio::test]
async fn a_guest_that_loops_for_ever_is_stopped_at_its_deadline() {
    let (class, code, message) = fault(
        &probe("", "", "(loop $for_ever (br $for_ever)) unreachable", "{}"),
        &[],
        Duration::from_millis(300),
    )
    .await;
    assert_eq!((class, code.as_str()), (ErrorClass::Timeout, "timeout"));
    assert!(message.contains("300ms"), "{message}");
}

#[tokio::test]
async fn a_looping_guest_does_not_stop_the_others() {
    let core = probe("", "", "(loop $for_ever (br $for_ever)) unreachable", "{}");
    let prepared = prepare(&runtime(), component(&core, &[], PROBE_INTERFACE, &manifest(PROBE)));
    let looping = linked(&prepared, runbook_runtime::CallLimits::default());
    let (done, is_done) = tokio::sync::oneshot::channel();
    let honest = async move {
        let outcome = call(&probe("", "", "(i32.const 0)", "{}"), &[], TIMEOUT).await;
        done.send(()).expect("the looping guest is still there");
        outcome
    };
    // On one thread, the looping guest is polled first, so it must yield by itself. It is cancelled
    // when the honest guest has answered.
    let ended = async { is_done.await.expect("the honest guest answers") };
    let request = Call { timeout: Duration::from_mins(10), ..request(Phase::Check) };
    let looping = looping.call(request, Permit::default(), ended);
    let (looping, honest) = tokio::join!(looping, honest);
    assert!(honest.result.is_ok(), "{:?}", honest.result);
    assert_eq!(looping.result.unwrap_err().class, ErrorClass::Cancelled);
}

#[tokio::test]
async fn a_guest_that_allocates_without_end_is_stopped_by_the_limit() {
    let body = "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) unreachable";
    let (class, code, message) = fault(&probe("", "", body, "{}"), &[], TIMEOUT).await;
    assert_eq!((class, code.as_str()), (ErrorClass::Limit, "limit.memory"));
    assert!(message.contains("64 MiB"), "{message}");
}

#[tokio::test]
async fn a_guest_whose_initial_memory_exceeds_the_limit_is_stopped() {
    let big = probe("", "", "(i32.const 0)", "{}")
        .replace("(export \"memory\") 4", "(export \"memory\") 2000");
    let (class, code, _) = fault(&big, &[], TIMEOUT).await;
    assert_eq!((class, code.as_str()), (ErrorClass::Limit, "limit.memory"));
}

#[tokio::test]
async fn a_guest_that_calls_itself_for_ever_is_a_trap() {
    let globals = "(func $deeper (param i32) (result i32) (i32.add (call $deeper (local.get 0)) \
                   (i32.const 1)))";
    let (class, code, _) =
        fault(&probe("", globals, "(call $deeper (i32.const 1))", "{}"), &[], TIMEOUT).await;
    assert_eq!((class, code.as_str()), (ErrorClass::Trap, "trap.stack-overflow"));
}

#[tokio::test]
async fn a_panic_is_a_trap_and_its_log_is_kept() {
    let imports = r#"(import "runbook:base/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
    let body = "(call $log (i32.const 3) (i32.const 1000) (i32.const 2)) unreachable";
    let outcome = call(&probe(imports, "", body, "{}"), &[LOG], TIMEOUT).await;
    let fault = outcome.result.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (ErrorClass::Trap, "trap.panic"));
    assert_eq!(outcome.logs.len(), 1);
    assert_eq!(outcome.logs[0].message, "ok");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_capped() {
    let imports = r#"(import "runbook:base/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
    let body = "(local $n i32)
        (loop $more
          (call $log (i32.const 1) (i32.const 4096) (i32.const 20000))
          (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 50000))))
        (i32.const 0)";
    let outcome = call(&probe(imports, "", body, "{}"), &[LOG], TIMEOUT).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    let bytes: usize = outcome.logs.iter().map(|line| line.message.len()).sum();
    assert!(bytes <= (64 << 10) + 100, "{bytes}");
    assert!(outcome.logs.last().unwrap().message.contains("more lines were dropped"));
}

#[tokio::test]
async fn junk_in_the_place_of_json_is_refused() {
    for junk in ["", "{", "nonsense", "\u{1}", "{\"a\":1}}", &"[".repeat(5000)] {
        let (class, code, _) = fault(&probe("", "", "(i32.const 0)", junk), &[], TIMEOUT).await;
        assert_eq!((class, code.as_str()), (ErrorClass::Invalid, "output.json"), "{junk:.20}");
    }
}

#[tokio::test]
async fn an_output_that_does_not_fit_its_schema_is_refused() {
    let mut manifest = manifest(PROBE);
    let schema = serde_json::json!({ "type": "object", "required": ["rows"], "properties": { "rows": { "type": "integer" } } });
    manifest.operations.get_mut("check").unwrap().output = schema;
    let core = probe("", "", "(i32.const 0)", "{\"rows\": \"many\"}");
    let prepared = prepare(&runtime(), component(&core, &[], PROBE_INTERFACE, &manifest));
    let outcome = linked(&prepared, runbook_runtime::CallLimits::default())
        .call(request(Phase::Check), Permit::default(), std::future::pending())
        .await;
    let fault = outcome.result.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (ErrorClass::Invalid, "output.schema"));
    assert!(fault.message.contains("`/rows`"), "{}", fault.message);
}

#[tokio::test]
async fn an_input_that_does_not_fit_its_schema_never_reaches_the_guest() {
    let mut manifest = manifest(PROBE);
    manifest.operations.get_mut("check").unwrap().input =
        serde_json::json!({ "type": "object", "required": ["path"] });
    let core = probe("", "", "unreachable", "{}");
    let prepared = prepare(&runtime(), component(&core, &[], PROBE_INTERFACE, &manifest));
    let outcome = linked(&prepared, runbook_runtime::CallLimits::default())
        .call(request(Phase::Check), Permit::default(), std::future::pending())
        .await;
    let fault = outcome.result.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (ErrorClass::Invalid, "input.schema"));
    assert!(fault.message.contains("path"), "{}", fault.message);
}

#[tokio::test]
async fn an_output_or_argument_over_its_size_limit_is_refused() {
    // An output that is longer than the memory: the engine refuses before it reads.
    let false_length_probe =
        probe("", "", "(i32.store (i32.const 20) (i32.const 0x7fffffff)) (i32.const 0)", "{}");
    let (class, ..) = fault(&false_length_probe, &[], TIMEOUT).await;
    assert_eq!(class, ErrorClass::Trap);
    // An output that is too long for a result.
    let grow = "(drop (memory.grow (i32.const 40)))
        (memory.fill (i32.const 65536) (i32.const 32) (i32.const 2000000))
        (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const 2000000)) (i32.const 0)";
    let (class, code, _) = fault(&probe("", "", grow, "{}"), &[], TIMEOUT).await;
    assert_eq!((class, code.as_str()), (ErrorClass::Limit, "limit.result"));
    // An output that is too long for a host call.
    let huge_grow =
        grow.replace("(i32.const 40)", "(i32.const 800)").replace("2000000", "50000000");
    let (class, code, _) = fault(&probe("", "", &huge_grow, "{}"), &[], TIMEOUT).await;
    assert_eq!((class, code.as_str()), (ErrorClass::Limit, "limit.host-call-bytes"));
    // The same, as an argument of a host function.
    let imports = r#"(import "runbook:base/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
    let body = "(drop (memory.grow (i32.const 800)))
        (call $log (i32.const 1) (i32.const 0) (i32.const 50000000)) (i32.const 0)";
    let (class, code, _) = fault(&probe(imports, "", body, "{}"), &[LOG], TIMEOUT).await;
    assert_eq!((class, code.as_str()), (ErrorClass::Limit, "limit.host-call-bytes"));
}

#[tokio::test]
async fn a_list_that_is_longer_than_memory_is_refused() {
    let false_length_probe =
        probe("", "", "(i32.store (i32.const 28) (i32.const 0x0fffffff)) (i32.const 0)", "{}");
    assert_eq!(fault(&false_length_probe, &[], TIMEOUT).await.0, ErrorClass::Trap);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    let junk = probe("", "", "(i32.store8 (i32.const 1000) (i32.const 255)) (i32.const 0)", "{}");
    assert_eq!(fault(&junk, &[], TIMEOUT).await.0, ErrorClass::Trap);
}

#[tokio::test]
async fn a_summary_of_several_lines_becomes_one() {
    let body = "(i32.store8 (i32.const 1000) (i32.const 10)) (i32.const 0)";
    let outcome = call(&probe("", "", body, "{}"), &[], TIMEOUT).await;
    let Response::Report(report) = outcome.result.unwrap() else { panic!("a probe reports") };
    assert_eq!(report.summary, " k");
}

#[tokio::test]
async fn a_guest_that_sleeps_is_cut_off_and_a_cancelled_one_too() {
    let imports = r#"(import "runbook:base/clock@1.0.0" "sleep-ms" (func $sleep (param i32)))"#;
    let core = probe(imports, "", "(call $sleep (i32.const 60000)) (i32.const 0)", "{}");
    assert_eq!(fault(&core, &[CLOCK], Duration::from_millis(200)).await.0, ErrorClass::Timeout);

    let prepared =
        prepare(&runtime(), component(&core, &[CLOCK], PROBE_INTERFACE, &manifest(PROBE)));
    let linked = linked(&prepared, runbook_runtime::CallLimits::default());
    let cancel = tokio::time::sleep(Duration::from_millis(100));
    let outcome = linked.call(request(Phase::Check), Permit::default(), cancel).await;
    assert_eq!(outcome.result.unwrap_err().class, ErrorClass::Cancelled);
    // The linked operation can be called again.
    let cancel = tokio::time::sleep(Duration::from_millis(100));
    assert_eq!(
        linked
            .call(request(Phase::Check), Permit::default(), cancel)
            .await
            .result
            .unwrap_err()
            .class,
        ErrorClass::Cancelled
    );
}

#[tokio::test]
async fn each_call_starts_with_fresh_memory() {
    // The guest traps if it is called twice in the same memory.
    let body = "(if (i32.eqz (global.get $called)) (then (global.set $called (i32.const 1))) (else \
                unreachable)) (i32.const 0)";
    let core = probe("", "(global $called (mut i32) (i32.const 0))", body, "{}");
    let prepared = prepare(&runtime(), component(&core, &[], PROBE_INTERFACE, &manifest(PROBE)));
    let linked = linked(&prepared, runbook_runtime::CallLimits::default());
    for _ in 0..3 {
        assert!(
            linked
                .call(request(Phase::Check), Permit::default(), std::future::pending())
                .await
                .result
                .is_ok()
        );
    }
}

#[tokio::test]
async fn a_phase_that_the_operation_does_not_have_is_refused() {
    let prepared = prepare(
        &runtime(),
        component(&probe("", "", "unreachable", "{}"), &[], PROBE_INTERFACE, &manifest(PROBE)),
    );
    let linked = linked(&prepared, runbook_runtime::CallLimits::default());
    for phase in [Phase::Plan, Phase::Observe, Phase::Undo { before: serde_json::Value::Null }] {
        let fault = linked
            .call(request(phase), Permit::default(), std::future::pending())
            .await
            .result
            .unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (ErrorClass::Invalid, "call.phase"));
    }
}
