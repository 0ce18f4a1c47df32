//! Tests that the WIT contract, the table of functions and the linker agree, and that every
//! function denies calls that are not granted.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_authority::capability::{Availability, FUNCTIONS, FunctionRow};
use runbook_contract::{ErrorClass, Phase};
use runbook_runtime::{Permit, VerifyProblem, inspect, verify};
use std::collections::BTreeSet;
use support::{
    component, contract, linked, manifest, manifest_with_slot, prepare, request, runtime,
};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Function, Resolve, SizeAlign, Type, TypeDefKind, WorldItem};

const SMOKE_TEST: &str = "runbook:plugin/smoke-test@1.0.0";

/// Every function that a world of the contract imports, as (interface, function).
fn functions(resolve: &Resolve, world: &str) -> BTreeSet<(String, String)> {
    let (_, world) = resolve.worlds.iter().find(|(_, candidate)| candidate.name == world).unwrap();
    let mut functions = BTreeSet::new();
    for item in world.imports.values() {
        let WorldItem::Interface { id, .. } = item else {
            panic!("a world of the contract imports interfaces only")
        };
        let name = resolve.id_of(*id).unwrap();
        functions.extend(
            resolve.interfaces[*id]
                .functions
                .keys()
                .map(|function| (name.clone(), function.clone())),
        );
    }
    functions
}

fn rows(availability: Availability) -> BTreeSet<(String, String)> {
    let rows = FUNCTIONS.iter().filter(|row| row.availability == availability);
    rows.map(|row| (row.interface.to_owned(), row.function.to_owned())).collect()
}

#[test]
fn every_function_of_the_contract_has_a_row_and_every_row_a_function() {
    let resolve = contract();
    assert_eq!(functions(&resolve, "imports"), rows(Availability::Linked));
    assert_eq!(functions(&resolve, "later"), rows(Availability::Planned));
}

/// The function of a row.
fn function<'r>(resolve: &'r Resolve, row: &FunctionRow) -> &'r Function {
    let (_, interface) = resolve
        .interfaces
        .iter()
        .find(|(id, _)| resolve.id_of(*id).as_deref() == Some(row.interface))
        .unwrap();
    &interface.functions[row.function]
}

/// The offset of the error in a function's result.
fn error_offset(resolve: &Resolve, function: &Function) -> usize {
    let Some(Type::Id(id)) = function.result else { panic!("`{}` has no result", function.name) };
    let TypeDefKind::Result(result) = &resolve.types[id].kind else {
        panic!("`{}` has no error", function.name)
    };
    let mut sizes = SizeAlign::default();
    sizes.fill(resolve);
    sizes
        .payload_offset(wit_parser::Int::U8, [result.ok.as_ref(), result.err.as_ref()])
        .size_wasm32()
}

/// A smoke test that calls one function with zeros and empty strings, and returns its fault.
fn caller(resolve: &Resolve, row: &FunctionRow) -> String {
    let function = function(resolve, row);
    let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
    assert!(signature.retptr, "`{}` answers in memory", row.function);
    let types: Vec<_> = signature.params.iter().copied().map(wasm_type).collect();
    let (result, arguments) = (8192, 16384);
    let mut values: Vec<_> = types.iter().map(|name| format!("({name}.const 0)")).collect();
    if signature.indirect_params {
        values[0] = format!("(i32.const {arguments})");
    }
    *values.last_mut().unwrap() = format!("(i32.const {result})");
    let offset = error_offset(resolve, function);
    let imports = format!(
        r#"(import "{}" "{}" (func $call (param {})))"#,
        row.interface,
        row.function,
        types.join(" ")
    );
    let body = format!(
        "(call $call {})
         (if (i32.eqz (i32.load8_u (i32.const {result}))) (then unreachable))
         (i32.store8 (i32.const 512) (i32.const 1))
         (memory.copy (i32.const 516) (i32.const {}) (i32.const 20))
         (i32.const 512)",
        values.join(" "),
        result + offset
    );
    support::probe(&imports, "", &body, "{}")
        .replace("runbook:plugin/probe@1.0.0#check", "runbook:plugin/smoke-test@1.0.0#run")
}

fn wasm_type(wasm_type: WasmType) -> &'static str {
    match wasm_type {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

#[tokio::test]
async fn every_linked_function_denies_what_was_not_granted() {
    let (resolve, runtime) = (contract(), runtime());
    let mut called = 0;
    for row in FUNCTIONS.iter().filter(|row| row.availability == Availability::Linked) {
        let Some(verb) = row.verb else { continue };
        let declared =
            manifest_with_slot(verb.row().capability.name(), &[verb.row().name], "smoke-test");
        let bytes =
            component(&caller(&resolve, row), &[row.interface], SMOKE_TEST, &manifest(&declared));
        let linked = linked(&prepare(&runtime, bytes), runbook_runtime::CallLimits::default());
        let outcome =
            linked.call(request(Phase::Check), Permit::default(), std::future::pending()).await;
        let name = format!("{} {}", row.interface, row.function);
        let fault = outcome.result.expect_err(&name);
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (ErrorClass::Denied, "denied"),
            "{name}: {fault}"
        );
        assert_eq!(fault.message, "not granted", "{name}: a guest learns no more");
        let [denial] = outcome.denials.as_slice() else { panic!("{name}: {:?}", outcome.denials) };
        assert_eq!((denial.verb, denial.rule.name()), (verb, "unbound"), "{name}");
        called += 1;
    }
    let expected = FUNCTIONS
        .iter()
        .filter(|row| row.availability == Availability::Linked && row.verb.is_some())
        .count();
    assert_eq!(called, expected);
    assert!(called > 25, "the table has the functions of every capability");
}

#[test]
fn a_function_that_no_slot_declares_is_refused_before_anything_is_compiled() {
    let resolve = contract();
    for row in FUNCTIONS
        .iter()
        .filter(|row| row.availability == Availability::Linked && row.verb.is_some())
    {
        let text = support::PROBE.replace("\"probe\"", "\"smoke-test\"");
        let bytes =
            component(&caller(&resolve, row), &[row.interface], SMOKE_TEST, &manifest(&text));
        let error = verify(inspect(bytes).unwrap()).expect_err(row.function);
        let [VerifyProblem::Undeclared { import, verb }] = error.problems.as_slice() else {
            panic!("{error}")
        };
        assert_eq!(
            (import.interface.as_str(), import.function.as_deref()),
            (row.interface, Some(row.function))
        );
        assert_eq!(Some(*verb), row.verb);
    }
}

#[test]
fn a_planned_function_is_refused() {
    let resolve = contract();
    for row in FUNCTIONS.iter().filter(|row| row.availability == Availability::Planned) {
        let verb = row.verb.unwrap();
        let declared =
            manifest_with_slot(verb.row().capability.name(), &[verb.row().name], "smoke-test");
        let bytes =
            component(&caller(&resolve, row), &[row.interface], SMOKE_TEST, &manifest(&declared));
        let error = verify(inspect(bytes).unwrap()).expect_err(row.function);
        assert!(matches!(error.problems.as_slice(), [VerifyProblem::Planned { .. }]), "{error}");
    }
}
