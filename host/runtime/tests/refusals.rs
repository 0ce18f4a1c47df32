//! What is not a plugin, or asks for more than it says, is refused with a reason before it is compiled.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_runtime::{InspectError, inspect, verify};
use support::{LOG, PROBE, PROBE_INTERFACE, component, manifest, probe, with_section};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

fn good() -> Vec<u8> {
    component(&probe("", "", "(i32.const 0)", "{}"), &[], PROBE_INTERFACE, &manifest(PROBE))
}

/// A component of a world of its own.
fn of_world(core: &str, wit: &str) -> Vec<u8> {
    let mut resolve = support::contract();
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(core).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes = ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap();
    with_section(bytes, &manifest(PROBE).to_section())
}

fn refusal(bytes: Vec<u8>) -> String {
    verify(inspect(bytes).unwrap()).unwrap_err().to_string()
}

#[test]
fn what_is_not_a_component_says_what_it_is() {
    let error = |bytes: &[u8]| inspect(bytes.to_vec()).unwrap_err();
    assert!(matches!(error(b""), InspectError::NotWasm));
    assert!(matches!(error(b"#!/bin/sh"), InspectError::NotWasm));
    assert!(matches!(error(b"\0asm"), InspectError::NotAccepted { .. }));
    assert!(matches!(error(b"\0asm\x0d\0\x01\0"), InspectError::NoManifest));
    assert!(matches!(error(&wat::parse_str("(module)").unwrap()), InspectError::CoreModule));
    assert!(matches!(error(&vec![0; (64 << 20) + 1]), InspectError::TooLarge { .. }));
}

#[test]
fn a_component_cut_short_or_changed_is_refused_and_never_a_panic() {
    let bytes = good();
    for length in 0..bytes.len() {
        let _ = inspect(bytes[..length].to_vec()).map(verify);
    }
    for position in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[position] ^= flip;
            let _ = inspect(changed).map(verify);
        }
    }
    assert!(inspect(bytes[..bytes.len() / 2].to_vec()).is_err());
}

#[test]
fn a_component_has_exactly_one_manifest() {
    let bytes = good();
    let twice = with_section(bytes, &manifest(PROBE).to_section());
    assert!(matches!(inspect(twice), Err(InspectError::TwoManifests)));
    let junk = with_section(wat::parse_str("(component)").unwrap(), b"not json");
    assert!(matches!(inspect(junk), Err(InspectError::Manifest(_))));
}

#[test]
fn features_that_are_off_are_refused() {
    for (what, core) in
        [("threads", "(memory $shared 1 1 shared)"), ("two memories", "(memory $other 1)"), ("memory64", "(memory $other i64 1)")]
    {
        let text = format!("(component (core module {core} {}))", if what == "two memories" { "(memory 1)" } else { "" });
        let bytes = with_section(wat::parse_str(&text).unwrap(), &manifest(PROBE).to_section());
        assert!(matches!(inspect(bytes), Err(InspectError::NotAccepted { .. })), "{what}");
    }
}

#[test]
fn each_part_that_the_profile_does_not_allow_is_refused() {
    for (what, text) in [
        ("garbage collection", "(component (core module (type (struct (field i32)))))"),
        ("custom page sizes", "(component (core module (memory 1 (pagesize 1))))"),
        ("exceptions", "(component (core module (tag)))"),
        ("tail calls", "(component (core module (func (return_call 0))))"),
        ("async", "(component (type (future u8)))"),
        ("async functions", "(component (type (func async)))"),
        ("error contexts", "(component (type error-context) (core func (canon error-context.drop)))"),
        ("values", "(component (import \"a\" (value string)))"),
    ] {
        let Ok(bytes) = wat::parse_str(text) else { panic!("{what}: the test's text is no component") };
        let found = inspect(with_section(bytes, &manifest(PROBE).to_section()));
        // A body is read by the compiler, and refused there.
        let is_body = what == "tail calls";
        assert!(is_body || matches!(found, Err(InspectError::NotAccepted { .. })), "{what}: {found:?}");
    }
}

#[test]
fn a_composition_is_refused() {
    let refused = |text: &str| inspect(with_section(wat::parse_str(text).unwrap(), &manifest(PROBE).to_section())).err();
    let nested = "(component (component (core module)))";
    assert!(matches!(refused(nested), Some(InspectError::NestedCode)), "{:?}", refused(nested));
    assert!(matches!(refused("(component (component (component (core module))))"), Some(InspectError::NestedCode)));
    // What toolchains put there, types and shims, is no code; and code beside a shim is the plugin's own.
    assert!(refused("(component (component) (core module))").is_none());
}

#[test]
fn a_body_that_uses_a_feature_that_is_off_does_not_compile() {
    let core = probe("", "(func (export \"x\") (drop (i32x4.extract_lane 0 (v128.const i64x2 0 0))))", "(i32.const 0)", "{}");
    let bytes = component(&core, &[], PROBE_INTERFACE, &manifest(PROBE));
    let refused = inspect(bytes).map(|inspected| support::runtime().prepare(&verify(inspected).unwrap()));
    assert!(matches!(refused, Err(_) | Ok(Err(runbook_runtime::PrepareError::Compile { .. }))), "{refused:?}");
}

#[test]
fn strings_in_another_encoding_are_refused() {
    let mut resolve = support::contract();
    let world = support::world(&mut resolve, &[LOG], PROBE_INTERFACE);
    let imports = r#"(import "runbook:base/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
    let body = "(call $log (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const 0)";
    let mut module = wat::parse_str(probe(imports, "", body, "{}")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF16).unwrap();
    let bytes = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    assert!(matches!(inspect(with_section(bytes, &manifest(PROBE).to_section())), Err(InspectError::StringEncoding)));
}

#[test]
fn an_import_from_outside_of_the_contract_is_refused_by_name() {
    let of = |interface: &str, wit: &str| {
        let core = probe(&format!(r#"(import "{interface}" "steal" (func $f))"#), "", "(call $f) (i32.const 0)", "{}");
        refusal(of_world(&core, wit))
    };
    let text = of(
        "other:thing/evil@1.0.0",
        "package test:guest; world guest { import other:thing/evil@1.0.0; export runbook:plugin/probe@1.0.0; }
         package other:thing@1.0.0 { interface evil { steal: func(); } }",
    );
    assert_eq!(
        text,
        "plugin `guest` is refused: it imports `steal` of `other:thing/evil@1.0.0`, which is no part of the plugin contract; remove it"
    );
    let text = of(
        "wasi:http/outgoing-handler@0.2.6",
        "package test:guest; world guest { import wasi:http/outgoing-handler@0.2.6; export runbook:plugin/probe@1.0.0; }
         package wasi:http@0.2.6 { interface outgoing-handler { steal: func(); } }",
    );
    assert!(
        text.contains("`wasi:http/outgoing-handler@0.2.6`")
            && text.contains("a part of WASI that this host does not have")
            && text.contains("wasm32-unknown-unknown"),
        "{text}"
    );
}

#[test]
fn a_newer_interface_or_function_is_told_from_an_unknown_one() {
    let core = probe(r#"(import "runbook:base/log@1.7.0" "write" (func $f))"#, "", "(call $f) (i32.const 0)", "{}");
    let text = refusal(of_world(
        &core,
        "package test:guest; world guest { import runbook:base/log@1.7.0; export runbook:plugin/probe@1.0.0; }
         package runbook:base@1.7.0 { interface log { write: func(); } }",
    ));
    assert!(text.contains("`runbook:base/log@1.7.0`, but this host has `runbook:base/log@1.0.0`"), "{text}");
}

#[test]
fn a_bare_import_is_refused() {
    let core = probe(r#"(import "$root" "steal" (func $f))"#, "", "(call $f) (i32.const 0)", "{}");
    let text =
        refusal(of_world(&core, "package test:guest; world guest { import steal: func(); export runbook:plugin/probe@1.0.0; }"));
    assert!(text.contains("`steal`") && text.contains("no part of the plugin contract"), "{text}");
}

#[test]
fn an_operation_whose_kind_is_not_exported_is_refused() {
    let text = PROBE.replace("\"probe\"", "\"step\"");
    let bytes = component(&probe("", "", "(i32.const 0)", "{}"), &[], PROBE_INTERFACE, &manifest(&text));
    let text = refusal(bytes);
    assert!(text.contains("kind `step`") && text.contains("`runbook:plugin/step@1.0.0`"), "{text}");
}

#[test]
fn an_import_with_other_types_than_the_contract_does_not_link() {
    let core = probe(
        r#"(import "runbook:base/clock@1.0.0" "now-ms" (func $f (result i32)))"#,
        "",
        "(drop (call $f)) (i32.const 0)",
        "{}",
    );
    let mut resolve = wit_parser::Resolve::default();
    let wit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let clock = "package runbook:base@1.0.0; interface types { enum fault-class { invalid, denied, not-found, conflict, transient, timeout, limit, assertion, cancelled, unknown }
        record fault { class: fault-class, code: string, message: string } } interface clock { now-ms: func() -> u32; }";
    resolve.push_str("base.wit", clock).unwrap();
    let plugin = std::fs::read_to_string(wit.join("plugin/plugin.wit")).unwrap();
    let plugin = plugin[..plugin.find("/// All that a plugin may import").unwrap()].to_owned();
    resolve.push_str("plugin.wit", &plugin).unwrap();
    let guest = "package test:guest; world guest { import runbook:base/clock@1.0.0; export runbook:plugin/probe@1.0.0; }";
    let package = resolve.push_str("guest.wit", guest).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(&core).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes = ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap();
    let verified = verify(inspect(with_section(bytes, &manifest(PROBE).to_section())).unwrap()).unwrap();
    let error = support::runtime().prepare(&verified).unwrap_err().to_string();
    assert!(error.contains("does not fit the plugin contract") && error.contains("now-ms"), "{error}");
}
