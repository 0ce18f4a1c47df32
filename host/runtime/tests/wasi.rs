//! Tests that a component that imports WASI gets the inert WASI.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_authority::EffectiveGrants;
use runbook_contract::{Phase, Response};
use runbook_runtime::{
    CallLimits, CallOutcome, LinkedOperation, Permit, Services, inspect, verify,
};
use support::{PROBE, manifest, probe, request, runtime, with_section};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// The interfaces of WASI 0.2 that the test uses.
const WASI: &str = "
package test:guest;
world guest { import wasi:cli/environment@0.2.6; import wasi:cli/stdout@0.2.6; import wasi:filesystem/preopens@0.2.6; export runbook:plugin/probe@1.0.0; }
package wasi:io@0.2.6 {
    interface streams { resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
        use error.{error}; variant stream-error { last-operation-failed(error), closed } }
    interface error { resource error; }
}
package wasi:cli@0.2.6 {
    interface environment { get-environment: func() -> list<tuple<string, string>>; get-arguments: func() -> list<string>; }
    interface stdout { use wasi:io/streams@0.2.6.{output-stream}; get-stdout: func() -> output-stream; }
}
package wasi:filesystem@0.2.6 {
    interface types { resource descriptor; }
    interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }
}
";

async fn call(imports: &str, body: &str) -> CallOutcome {
    let mut resolve = support::contract();
    let package = resolve.push_str("guest.wit", WASI).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(probe(imports, "", body, "{}")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes =
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap();
    let verified =
        verify(inspect(with_section(bytes, &manifest(PROBE).to_section())).unwrap()).unwrap();
    assert!(verified.needs_inert_wasi());
    let prepared = runtime().prepare(&verified).unwrap();
    let linked = LinkedOperation::new(
        &prepared,
        "check",
        EffectiveGrants::none(),
        CallLimits::default(),
        Services::none(),
    )
    .unwrap();
    linked.call(request(Phase::Check), Permit::default(), std::future::pending()).await
}

#[tokio::test]
async fn there_is_no_environment_no_argument_and_no_directory() {
    assert!(std::env::vars().count() > 0, "the host has an environment");
    for (interface, function) in [
        ("wasi:cli/environment@0.2.6", "get-environment"),
        ("wasi:cli/environment@0.2.6", "get-arguments"),
        ("wasi:filesystem/preopens@0.2.6", "get-directories"),
    ] {
        let imports = format!(r#"(import "{interface}" "{function}" (func $get (param i32)))"#);
        // Ends in a trap if the list that is returned at 8192 has any element.
        let body = "(call $get (i32.const 8192)) (if (i32.load (i32.const 8196)) (then \
                    unreachable)) (i32.const 0)";
        let outcome = call(&imports, body).await;
        assert!(
            matches!(outcome.result, Ok(Response::Report(_))),
            "{function}: {:?}",
            outcome.result
        );
    }
}

#[tokio::test]
async fn what_is_printed_goes_to_the_log() {
    let imports = r#"(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))
        (import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))"#;
    let body = "(call $write (call $stdout) (i32.const 1000) (i32.const 2) (i32.const 8192)) \
                (i32.const 0)";
    let outcome = call(imports, body).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!(outcome.logs.len(), 1);
    assert_eq!(outcome.logs[0].message, "ok");
}

#[tokio::test]
async fn a_component_without_wasi_is_not_linked_with_it() {
    let bytes = support::component(
        &probe("", "", "(i32.const 0)", "{}"),
        &[],
        support::PROBE_INTERFACE,
        &manifest(PROBE),
    );
    assert!(!verify(inspect(bytes).unwrap()).unwrap().needs_inert_wasi());
}
