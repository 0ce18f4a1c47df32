//! Files that are not plugins, or that need more than they declare, are refused with a reason
//! before they are compiled.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_runtime::{InspectError, inspect, verify};
use support::{LOG, PROBE, PROBE_INTERFACE, component, manifest, probe, with_section};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

fn good() -> Vec<u8> {
    component(&probe("", "", "(i32.const 0)", "{}"), &[], PROBE_INTERFACE, &manifest(PROBE))
}

/// A component of a world of its own.
fn component_of_world(core: &str, wit: &str) -> Vec<u8> {
    let mut resolve = support::contract();
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(core).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes =
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap();
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

/// A component that uses a WebAssembly feature, and whether the host enables the feature.
enum WasmFeature {
    Enabled(&'static str),
    Disabled(&'static str),
    /// It cannot be written in the text format; the reason.
    NotTestable(&'static str),
}

const WASM_FEATURES: &[(&str, WasmFeature)] = {
    use WasmFeature::{Disabled, Enabled, NotTestable};
    &[
        (
            "MUTABLE_GLOBAL",
            Enabled("(component (core module (global (export \"g\") (mut i32) (i32.const 0))))"),
        ),
        (
            "SATURATING_FLOAT_TO_INT",
            Enabled("(component (core module (func (drop (i32.trunc_sat_f32_s (f32.const 0))))))"),
        ),
        (
            "SIGN_EXTENSION",
            Enabled("(component (core module (func (drop (i32.extend8_s (i32.const 0))))))"),
        ),
        (
            "REFERENCE_TYPES",
            Enabled("(component (core module (table 1 funcref) (func (drop (table.size 0)))))"),
        ),
        (
            "MULTI_VALUE",
            Enabled(
                "(component (core module (func (result i32 i32) (i32.const 0) (i32.const 0))))",
            ),
        ),
        (
            "BULK_MEMORY",
            Enabled(
                "(component (core module (memory 1) (func (memory.copy (i32.const 0) (i32.const \
                  0) (i32.const 0)))))",
            ),
        ),
        (
            "EXTENDED_CONST",
            Enabled("(component (core module (global i32 (i32.add (i32.const 1) (i32.const 1)))))"),
        ),
        (
            "FLOATS",
            Enabled(
                "(component (core module (func (drop (f64.add (f64.const 0) (f64.const 0))))))",
            ),
        ),
        ("GC_TYPES", Disabled("(component (core module (func (param externref))))")),
        ("COMPONENT_MODEL", Enabled("(component)")),
        (
            "SIMD",
            Disabled(
                "(component (core module (func (drop (i32x4.extract_lane 0 (v128.const i64x2 0 \
                 0))))))",
            ),
        ),
        (
            "RELAXED_SIMD",
            Disabled(
                "(component (core module (func (param v128) (drop (i8x16.relaxed_swizzle \
                 (local.get 0) (local.get 0))))))",
            ),
        ),
        ("THREADS", Disabled("(component (core module (memory 1 1 shared)))")),
        (
            "SHARED_EVERYTHING_THREADS",
            Disabled("(component (core module (global (shared mut i32) (i32.const 0))))"),
        ),
        ("TAIL_CALL", Disabled("(component (core module (func (return_call 0))))")),
        ("MULTI_MEMORY", Disabled("(component (core module (memory 1) (memory 1)))")),
        ("EXCEPTIONS", Disabled("(component (core module (tag)))")),
        ("MEMORY64", Disabled("(component (core module (memory i64 1)))")),
        (
            "FUNCTION_REFERENCES",
            Disabled(
                "(component (core module (type $t (func)) (func (param (ref $t)) (call_ref $t \
                 (local.get 0)))))",
            ),
        ),
        (
            "MEMORY_CONTROL",
            Disabled(
                "(component (core module (memory 1) (func (memory.discard (i32.const 0) (i32.const \
                 0)))))",
            ),
        ),
        ("GC", Disabled("(component (core module (type (struct (field i32)))))")),
        ("CUSTOM_PAGE_SIZES", Disabled("(component (core module (memory 1 (pagesize 1))))")),
        ("LEGACY_EXCEPTIONS", Disabled("(component (core module (func try catch_all end)))")),
        (
            "STACK_SWITCHING",
            Disabled("(component (core module (type $f (func)) (type (cont $f))))"),
        ),
        (
            "WIDE_ARITHMETIC",
            Disabled(
                "(component (core module (func (i64.mul_wide_s (i64.const 0) (i64.const 0)) drop \
                 drop)))",
            ),
        ),
        ("CM_VALUES", Disabled("(component (import \"a\" (value string)))")),
        ("CM_NESTED_NAMES", Disabled("(component (import \"a:b:c/d\" (func)))")),
        ("CM_ASYNC", Disabled("(component (type (future u8)))")),
        (
            "CM_ASYNC_STACKFUL",
            Disabled(
                "(component (import \"a\" (func $f async)) (core func (canon lower (func $f) \
                 async)))",
            ),
        ),
        (
            "CM_MORE_ASYNC_BUILTINS",
            Disabled("(component (core func (canon subtask.cancel async)))"),
        ),
        ("CM_THREADING", Disabled("(component (core func (canon thread.index)))")),
        ("CM_ERROR_CONTEXT", Disabled("(component (type error-context))")),
        ("CM_FIXED_LENGTH_LISTS", Disabled("(component (type (list u8 4)))")),
        (
            "CM_GC",
            Disabled(
                "(component (import \"f\" (func $f)) (core type $t (func)) (core func (canon lower \
                 (func $f) gc (core-type $t))))",
            ),
        ),
        (
            "CUSTOM_DESCRIPTORS",
            Disabled(
                "(component (core module (rec (type $a (descriptor $b) (struct)) (type $b \
                 (describes $a) (struct)))))",
            ),
        ),
        (
            "COMPACT_IMPORTS",
            NotTestable("an encoding of imports, refused by the reader by its byte"),
        ),
        ("CM_MAP", Disabled("(component (type (map string u8)))")),
        ("CM64", NotTestable("64-bit memories, refused as such")),
        ("CM_IMPLEMENTS", NotTestable("a name of an import, which must be one of the contract")),
        ("CM_CANON_NAMES", NotTestable("a name of an import, which must be one of the contract")),
    ]
};

#[test]
fn each_wasm_feature_is_refused_by_the_reader_exactly_if_the_engine_refuses_it() {
    let known: std::collections::BTreeSet<_> =
        wasmparser::WasmFeatures::all().iter_names().map(|(name, _)| name).collect();
    let listed: std::collections::BTreeSet<_> =
        WASM_FEATURES.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, listed, "a feature that the reader knows is not in the table");
    let engine = support::engine();
    let mut wrong = Vec::new();
    for (name, feature) in WASM_FEATURES {
        let (text, is_on) = match feature {
            WasmFeature::Enabled(text) => (text, true),
            WasmFeature::Disabled(text) => (text, false),
            WasmFeature::NotTestable(why) => {
                assert!(!why.is_empty());
                continue;
            }
        };
        let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let read = inspect(with_section(bytes.clone(), &manifest(PROBE).to_section()));
        let compiled = wasmtime::component::Component::new(&engine, &bytes);
        if (read.is_ok(), compiled.is_ok()) != (is_on, is_on) {
            let (reader, engine) = (
                read.err().map(|error| error.to_string()),
                compiled.err().map(|error| format!("{error:#}")),
            );
            wrong.push(format!("{name}: the reader says {reader:?}, the engine {engine:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A component with a module whose text is `before`, `count` pieces, and `after`.
fn component_with_repeated(
    before: &str,
    piece: impl Fn(usize) -> String,
    count: usize,
    after: &str,
) -> Vec<u8> {
    let pieces: String = (0..count).map(piece).collect();
    let text = format!("(component (core module {before}{pieces}{after}))");
    with_section(
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}")),
        &manifest(PROBE).to_section(),
    )
}

/// Small files that would take the compiler long, or fill its memory. They are not compiled here.
#[test]
fn code_that_would_keep_the_compiler_busy_is_refused_when_it_is_read() {
    let locals = |count: usize| format!("(func (local {})", "i64 ".repeat(count));
    let repeated_text = |text: &'static str| move |_: usize| text.to_owned();
    for (what, bytes) in [
        ("variables", component_with_repeated(&locals(20_000), repeated_text(""), 0, ")")),
        (
            "blocks within blocks",
            component_with_repeated(
                "(func ",
                repeated_text("block "),
                6_000,
                &format!("{})", "end ".repeat(6_000)),
            ),
        ),
        (
            "variables times blocks",
            component_with_repeated(
                &locals(2_000),
                repeated_text("(if (i32.const 0) (then (local.set 1 (local.get 0)))) "),
                9_000,
                ")",
            ),
        ),
        (
            "branches",
            component_with_repeated(
                "(func ",
                |_| format!("(block (br_table {}(i32.const 0)))", "0 ".repeat(60_000)),
                2,
                ")",
            ),
        ),
        (
            "bytes of code",
            component_with_repeated(
                "(func ",
                repeated_text("(drop (i64.const 0x7fffffffffffffff)) "),
                100_000,
                ")",
            ),
        ),
        ("functions", component_with_repeated("", repeated_text("(func)"), 100_001, "")),
        (
            "parameters or results",
            component_with_repeated("(func (param ", repeated_text("i32 "), 300, "))"),
        ),
    ] {
        match inspect(bytes) {
            Err(InspectError::TooMuchCode { source }) => {
                assert!(source.to_string().contains(what), "{what}: {source}");
            }
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what}: it is read"),
        }
    }
    // Half as much of each is not refused.
    for bytes in [
        component_with_repeated(&locals(5_000), repeated_text(""), 0, ")"),
        component_with_repeated(
            "(func ",
            repeated_text("block "),
            2_500,
            &format!("{})", "end ".repeat(2_500)),
        ),
        component_with_repeated("", repeated_text("(func)"), 50_000, ""),
    ] {
        inspect(bytes).unwrap();
    }
}

#[test]
fn a_composition_is_refused() {
    let refused = |text: &str| {
        inspect(with_section(wat::parse_str(text).unwrap(), &manifest(PROBE).to_section())).err()
    };
    let nested = "(component (component (core module)))";
    assert!(matches!(refused(nested), Some(InspectError::NestedCode)), "{:?}", refused(nested));
    assert!(matches!(
        refused("(component (component (component (core module))))"),
        Some(InspectError::NestedCode)
    ));
    // A nested component without code is accepted: toolchains create them for types and shims.
    assert!(refused("(component (component) (core module))").is_none());
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
    assert!(matches!(
        inspect(with_section(bytes, &manifest(PROBE).to_section())),
        Err(InspectError::StringEncoding)
    ));
}

#[test]
fn an_import_from_outside_of_the_contract_is_refused_by_name() {
    let probe_of_import = |interface: &str, wit: &str| {
        let core = probe(
            &format!(r#"(import "{interface}" "steal" (func $f))"#),
            "",
            "(call $f) (i32.const 0)",
            "{}",
        );
        refusal(component_of_world(&core, wit))
    };
    let text = probe_of_import(
        "other:thing/evil@1.0.0",
        "package test:guest; world guest { import other:thing/evil@1.0.0; export runbook:plugin/probe@1.0.0; }
         package other:thing@1.0.0 { interface evil { steal: func(); } }",
    );
    assert_eq!(
        text,
        "plugin `guest` is refused: it imports `steal` of `other:thing/evil@1.0.0`, which is not \
         part of the plugin contract; remove it"
    );
    let text = probe_of_import(
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
    let core = probe(
        r#"(import "runbook:base/log@1.7.0" "write" (func $f))"#,
        "",
        "(call $f) (i32.const 0)",
        "{}",
    );
    let text = refusal(component_of_world(
        &core,
        "package test:guest; world guest { import runbook:base/log@1.7.0; export runbook:plugin/probe@1.0.0; }
         package runbook:base@1.7.0 { interface log { write: func(); } }",
    ));
    assert!(
        text.contains("`runbook:base/log@1.7.0`, but this host has `runbook:base/log@1.0.0`"),
        "{text}"
    );
}

#[test]
fn a_bare_import_is_refused() {
    let core = probe(r#"(import "$root" "steal" (func $f))"#, "", "(call $f) (i32.const 0)", "{}");
    let text = refusal(component_of_world(
        &core,
        "package test:guest; world guest \
         { import steal: func(); export runbook:plugin/probe@1.0.0; }",
    ));
    assert!(text.contains("`steal`") && text.contains("not part of the plugin contract"), "{text}");
}

#[test]
fn an_operation_whose_kind_is_not_exported_is_refused() {
    let text = PROBE.replace("\"probe\"", "\"step\"");
    let bytes =
        component(&probe("", "", "(i32.const 0)", "{}"), &[], PROBE_INTERFACE, &manifest(&text));
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
    let guest = "package test:guest; world guest \
                 { import runbook:base/clock@1.0.0; export runbook:plugin/probe@1.0.0; }";
    let package = resolve.push_str("guest.wit", guest).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(&core).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes =
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap();
    let verified =
        verify(inspect(with_section(bytes, &manifest(PROBE).to_section())).unwrap()).unwrap();
    let error = support::runtime().prepare(&verified).unwrap_err().to_string();
    assert!(
        error.contains("does not fit the plugin contract") && error.contains("now-ms"),
        "{error}"
    );
}
