//! Tests that components are compiled by a child process within limits, so that a hostile component
//! cannot harm this process.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_contract::Phase;
use runbook_runtime::{
    Allocation, CodeOrigin, CompileLimits, Compiler, Launcher, Permit, PrepareError,
    PreparedComponent, Runtime, RuntimeConfig, VerifiedComponent, inspect, verify,
};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use support::{PROBE, PROBE_INTERFACE, component, linked, manifest, probe, request};

fn child(limits: CompileLimits) -> Compiler {
    let launcher = Launcher {
        program: PathBuf::from(env!("CARGO_BIN_EXE_runbook-compile")),
        arguments: Vec::new(),
    };
    Compiler::Child { launcher, limits }
}

/// A plugin with `functions` further functions, each near the limits of `inspect`.
fn plugin(functions: usize) -> VerifiedComponent {
    // Each variable depends on others on both branches, so the compiler cannot remove it.
    let branch = |at: usize| {
        let (to, from) = (at % 900, (at * 7 + 13) % 900);
        format!(
            "(if (local.get {from}) (then (local.set {to} (i32.add (local.get {from}) \
                 (i32.load (local.get {to})))))) "
        )
    };
    let heavy = format!(
        "(func (local {}) {})",
        "i32 ".repeat(900),
        (0..4_000).map(branch).collect::<String>()
    );
    let core = probe("", &heavy.repeat(functions), "(i32.const 0)", "{}");
    verify(inspect(component(&core, &[], PROBE_INTERFACE, &manifest(PROBE))).unwrap()).unwrap()
}

fn prepare(
    config: RuntimeConfig,
    plugin: &VerifiedComponent,
) -> Result<PreparedComponent, PrepareError> {
    Runtime::new(config).unwrap().prepare(plugin)
}

fn config(limits: CompileLimits, cache: Option<&Path>) -> RuntimeConfig {
    RuntimeConfig {
        compiler: child(limits),
        ..RuntimeConfig::with_cache(cache.map(Path::to_owned))
    }
}

async fn call_succeeds(prepared: &PreparedComponent) -> bool {
    let linked = linked(prepared, runbook_runtime::CallLimits::default());
    linked
        .call(request(Phase::Check), Permit::default(), std::future::pending())
        .await
        .result
        .is_ok()
}

#[tokio::test]
async fn what_a_child_compiled_runs_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let plugin = plugin(0);
    let first = prepare(config(CompileLimits::default(), Some(&cache)), &plugin).unwrap();
    assert!(
        matches!(first.origin(), CodeOrigin::Compiled { problem: None }),
        "{:?}",
        first.origin()
    );
    let second = prepare(config(CompileLimits::default(), Some(&cache)), &plugin).unwrap();
    assert!(matches!(second.origin(), CodeOrigin::Cached), "{:?}", second.origin());
    assert!(call_succeeds(&first).await && call_succeeds(&second).await);
}

#[tokio::test]
async fn a_pool_takes_over_what_a_child_compiled() {
    let allocation = Allocation::Pooling { instances: NonZeroU32::new(2).unwrap() };
    let prepared =
        prepare(RuntimeConfig { allocation, ..config(CompileLimits::default(), None) }, &plugin(0))
            .unwrap();
    assert!(call_succeeds(&prepared).await);
}

#[test]
fn a_component_that_the_compiler_is_not_done_with_within_a_limit_is_refused_and_nothing_is_kept() {
    let (small, large) = (plugin(0), plugin(4));
    let default_limits = CompileLimits::default();
    for (plugin, limits, expected_message) in [
        (&large, CompileLimits { cpu_s: 1, ..default_limits }, "more than 1 s of a processor"),
        (&large, CompileLimits { deadline_ms: 1, ..default_limits }, "longer than 1 ms"),
        (
            &large,
            CompileLimits { memory: 16 << 20, ..default_limits },
            "more than 16 MiB of memory",
        ),
        (&small, CompileLimits { code: 512, ..default_limits }, "more than 512 bytes"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let error = prepare(config(limits, Some(&cache)), plugin).unwrap_err().to_string();
        assert!(
            error.starts_with("plugin `guest` cannot be compiled: ")
                && error.contains(expected_message),
            "{expected_message}: {error}"
        );
        assert!(std::fs::read_dir(&cache).unwrap().next().is_none(), "{expected_message}");
    }
}

#[test]
fn a_compiler_that_cannot_be_started_or_ends_without_an_answer_says_so() {
    for (program, arguments, expected_message) in [
        ("/nonexistent/runbook", &[][..], "the compiler cannot be started"),
        ("/bin/sh", &["-c", "kill -9 $$"], "ended without an answer (signal: 9"),
        ("/bin/sh", &["-c", "echo no luck >&2; exit 7"], "no luck"),
        (
            "/bin/sh",
            &["-c", "echo refused for a reason >&2; exit 1"],
            "cannot be compiled: refused for a reason",
        ),
        // It exits with success, but its output is not code of this engine.
        ("/bin/sh", &["-c", "echo code"], "cannot be compiled"),
    ] {
        let arguments = arguments.iter().map(Into::into).collect();
        let launcher = Launcher { program: program.into(), arguments };
        let compiler = Compiler::Child { launcher, limits: CompileLimits::default() };
        let error =
            prepare(RuntimeConfig { compiler, ..RuntimeConfig::with_cache(None) }, &plugin(0))
                .unwrap_err()
                .to_string();
        assert!(error.contains(expected_message), "{expected_message}: {error}");
    }
}
