//! Guests for tests: components from a few lines of WebAssembly text, with their manifests and
//! grants.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "each test binary uses a part of this"
)]

use runbook_authority::grant::{self, GrantSite};
use runbook_authority::manifest::KnownInput;
use runbook_authority::targets::Folder;
use runbook_authority::{Binding, EffectiveGrants, Manifest, Mode, Targets};
use runbook_contract::{Call, Phase, RunId, StepId};
use runbook_document::{Diagnostics, Source, Spanned, Value};
use runbook_runtime::{
    CallLimits, CallOutcome, LinkedOperation, Permit, PreparedComponent, Runtime, RuntimeConfig,
    Services, inspect, verify,
};
use std::path::Path;
use std::time::Duration;
use wasm_encoder::{ComponentSection as _, CustomSection};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// The manifest of a plugin with one probe and no slot.
pub const PROBE: &str = r#"
format = 1
[plugin]
name = "guest"
version = "1.0.0"
description = "a guest of a test"
[[operation]]
name = "check"
kind = "probe"
summary = "is a guest"
"#;

/// A probe that may use slot `s` with `verbs` of `capability`.
pub fn manifest_with_slot(capability: &str, verbs: &[&str], kind: &str) -> String {
    format!(
        "{}\nslots = {{ s = {verbs:?} }}\noptional = [\"s\"]\n[slots.s]\n\
         capability = \"{capability}\"\nverbs = {verbs:?}\nreason = \"r\"\n",
        PROBE.replace("\"probe\"", &format!("{kind:?}"))
    )
}

pub fn manifest(text: &str) -> Manifest {
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", text), &mut diagnostics);
    manifest.unwrap_or_else(|| panic!("{diagnostics:?}"))
}

/// All packages of the contract.
pub fn contract() -> Resolve {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    for package in [
        "base", "http", "sql", "docker", "secrets", "net", "redis", "objects", "mail", "files",
        "process", "system", "state", "plugin",
    ] {
        resolve.push_path(wit.join(package)).unwrap();
    }
    resolve
}

/// A world that imports some interfaces and exports one of the plugin's.
pub fn world(resolve: &mut Resolve, imports: &[&str], export: &str) -> WorldId {
    let imports: String = imports.iter().map(|import| format!("import {import};")).collect();
    let package = resolve.push_str(
        "guest.wit",
        &format!("package test:guest; world guest {{ {imports} export {export}; }}"),
    );
    resolve.select_world(&[package.unwrap()], None).unwrap()
}

/// A component from the text of a core module.
pub fn component(core: &str, imports: &[&str], export: &str, manifest: &Manifest) -> Vec<u8> {
    let mut resolve = contract();
    let world = world(&mut resolve, imports, export);
    let mut module = wat::parse_str(core).unwrap_or_else(|error| panic!("{error}\n{core}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes =
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap();
    with_section(bytes, &manifest.to_section())
}

/// A component with its manifest.
pub fn with_section(mut bytes: Vec<u8>, section: &[u8]) -> Vec<u8> {
    CustomSection { name: "runbook:manifest".into(), data: section.into() }
        .append_to_component(&mut bytes);
    bytes
}

pub const PROBE_INTERFACE: &str = "runbook:plugin/probe@1.0.0";
pub const STEP_INTERFACE: &str = "runbook:plugin/step@1.0.0";
pub const LOG: &str = "runbook:base/log@1.0.0";
pub const CLOCK: &str = "runbook:base/clock@1.0.0";

/// The text of a core module that is a probe. `check` runs `body`, which returns the address of a
/// `result<report, fault>`.
///
/// Memory: at 0 the result "pass", with the output `output` (at 1024); from 64 KiB on the arguments
/// of the host.
pub fn probe(imports: &str, globals: &str, body: &str, output: &str) -> String {
    let answer =
        [word(0), word(0), word(1000), word(2), word(1024), word(output.len()), word(0), word(0)]
            .concat();
    let output: String = output.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module
  {imports}
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 65536))
  (data (i32.const 0) "{answer}")
  (data (i32.const 1000) "ok")
  (data (i32.const 1024) "{output}")
  {globals}
  (func $realloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get $new)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.shr_u (local.get $new) (i32.const 16)) (i32.const 1)))))
    (local.get $at))
  (func (export "runbook:plugin/probe@1.0.0#check")
    (param $op i32) (param $op_len i32) (param $run i32) (param $run_len i32) (param $step i32) (param $step_len i32)
    (param $attempt i32) (param $input i32) (param $input_len i32) (param $deadline i64) (param $dry i32)
    (param $is_unanswered i32) (param $unanswered i64) (result i32)
    {body}))"#
    )
}

fn word(value: usize) -> String {
    u32::try_from(value).unwrap().to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// An engine with the configuration of the program.
pub fn engine() -> wasmtime::Engine {
    runbook_runtime::engine().unwrap()
}

pub fn runtime() -> Runtime {
    Runtime::new(RuntimeConfig::with_cache(None)).unwrap()
}

pub fn prepare(runtime: &Runtime, component: Vec<u8>) -> PreparedComponent {
    let inspected = inspect(component).unwrap_or_else(|error| panic!("{error}"));
    let verified = verify(inspected).unwrap_or_else(|error| panic!("{error}"));
    runtime.prepare(&verified).unwrap_or_else(|error| panic!("{error}"))
}

/// The grants of an operation of `manifest` whose slots are bound by `bindings` to the targets of
/// `toml`.
pub fn effective_grants(
    manifest: &Manifest,
    operation: &str,
    toml: &str,
    bindings: &[(&str, &str)],
    base: &Path,
) -> EffectiveGrants {
    let source = Source::new("runbook.toml", toml);
    let mut diagnostics = Diagnostics::default();
    let mut targets = Targets::default();
    if let Some(table) = runbook_document::parse(&source, &mut diagnostics)
        && let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value)
    {
        let folder = Folder::new(base, &runbook_runtime::resolve_symlinks)
            .expect("absolute")
            .with_digests(&runbook_runtime::certificates_digest);
        targets.read(&source, table, folder, &mut diagnostics);
    }
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let located = |text: &str| Spanned { value: text.to_owned(), span: 0..0 };
    let bindings: Vec<_> = bindings
        .iter()
        .map(|(slot, target)| Binding { slot: located(slot), target: located(target) })
        .collect();
    let uses = format!("guest:{operation}");
    let site = GrantSite {
        step: "step",
        uses: &uses,
        operation,
        source: &source,
        span: &(0..0),
        input: KnownInput::empty(),
    };
    grant::grant(&site, manifest, &bindings, &targets)
        .unwrap_or_else(|refusals| panic!("{refusals:?}"))
}

pub fn request(phase: Phase) -> Call {
    Call {
        run: RunId::parse("01a1fec1-e55e-7000-8000-000000000000").unwrap(),
        site: StepId::from("step"),
        step: StepId::from("step"),
        attempt: 1,
        phase,
        input: serde_json::json!({}),
        mode: Mode::Effects,
        timeout: Duration::from_secs(20),
        unanswered: None,
    }
}

pub fn linked(prepared: &PreparedComponent, limits: CallLimits) -> LinkedOperation {
    LinkedOperation::new(prepared, "check", EffectiveGrants::none(), limits, Services::none())
        .unwrap()
}

/// Calls a probe without grants.
pub async fn call(core: &str, imports: &[&str], timeout: Duration) -> CallOutcome {
    let prepared = prepare(&runtime(), component(core, imports, PROBE_INTERFACE, &manifest(PROBE)));
    let request = Call { timeout, ..request(Phase::Check) };
    linked(&prepared, CallLimits::default())
        .call(request, Permit::default(), std::future::pending())
        .await
}

/// The component of `tests/hostile/rogue`, built with the SDK as any plugin is.
pub fn rogue() -> Vec<u8> {
    static BUILT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let build = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = root.join("tests/hostile/rogue");
        let built = runbook_pack::cargo::build(
            &[folder],
            &runbook_pack::cargo::TargetDir::Given(root.join("target/guests")),
            runbook_pack::cargo::Profile::Release,
        );
        built.unwrap_or_else(|error| panic!("{error:?}")).remove(0).component
    };
    BUILT.get_or_init(build).clone()
}
