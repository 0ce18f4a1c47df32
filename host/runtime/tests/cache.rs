//! Tests the cache of compiled code: a second start compiles nothing, and code that others could
//! have written is not run.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_contract::Phase;
use runbook_runtime::{
    CacheProblem, CodeOrigin, Permit, PreparedComponent, Runtime, RuntimeConfig, VerifiedComponent,
    inspect, verify,
};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use support::{PROBE, PROBE_INTERFACE, component, linked, manifest, probe, request};

fn plugin(output: &str) -> VerifiedComponent {
    let bytes =
        component(&probe("", "", "(i32.const 0)", output), &[], PROBE_INTERFACE, &manifest(PROBE));
    verify(inspect(bytes).unwrap()).unwrap()
}

fn start(cache: &Path) -> PreparedComponent {
    Runtime::new(RuntimeConfig::with_cache(Some(cache.to_owned())))
        .unwrap()
        .prepare(&plugin("{}"))
        .unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
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
async fn the_second_start_compiles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("a/b/cache");
    let first = start(&cache);
    assert!(
        matches!(first.origin(), CodeOrigin::Compiled { problem: None }),
        "{:?}",
        first.origin()
    );
    assert_eq!((mode(&cache), mode(&only_file(&cache))), (0o700, 0o600));
    let second = start(&cache);
    assert!(matches!(second.origin(), CodeOrigin::Cached), "{:?}", second.origin());
    assert!(call_succeeds(&first).await && call_succeeds(&second).await);
}

#[test]
fn the_listener_is_called_before_compiling_but_not_when_code_comes_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let compilations = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let plugin = plugin("{}");
    for _ in 0..2 {
        let compilations = std::sync::Arc::clone(&compilations);
        let on_compile = runbook_runtime::OnCompile::new(move |name, bytes| {
            compilations.lock().unwrap().push((name.to_owned(), bytes));
        });
        let config = RuntimeConfig {
            on_compile,
            ..RuntimeConfig::with_cache(Some(folder.path().join("cache")))
        };
        Runtime::new(config).unwrap().prepare(&plugin).unwrap();
    }
    assert_eq!(*compilations.lock().unwrap(), [("guest".to_owned(), plugin.size())]);
}

#[tokio::test]
async fn another_component_or_engine_has_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let config = RuntimeConfig::with_cache(Some(cache.clone()));
    Runtime::new(config.clone()).unwrap().prepare(&plugin("{}")).unwrap();
    Runtime::new(config).unwrap().prepare(&plugin("{\"other\":1}")).unwrap();
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 2);
}

#[tokio::test]
async fn a_damaged_file_is_compiled_again_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    start(&cache);
    let file = only_file(&cache);
    let original_code = std::fs::read(&file).unwrap();
    let mut flipped_code = original_code.clone();
    flipped_code[original_code.len() / 2] ^= 1;
    for damaged in [
        Vec::new(),
        original_code[..10].to_vec(),
        original_code[..original_code.len() - 1].to_vec(),
        flipped_code,
    ] {
        std::fs::write(&file, &damaged).unwrap();
        let prepared = start(&cache);
        let CodeOrigin::Compiled { problem: Some(problem) } = prepared.origin() else {
            panic!("{:?}", prepared.origin())
        };
        assert!(problem.to_string().contains("is damaged"), "{problem}");
        assert!(call_succeeds(&prepared).await);
        assert!(matches!(start(&cache).origin(), CodeOrigin::Cached));
    }
}

#[tokio::test]
async fn a_folder_or_file_that_others_can_open_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    start(&cache);
    let file = only_file(&cache);
    set_mode(&file, 0o644);
    let prepared = start(&cache);
    assert!(
        matches!(
            prepared.origin(),
            CodeOrigin::Compiled { problem: Some(CacheProblem::File { .. }) }
        ),
        "{:?}",
        prepared.origin()
    );
    assert_eq!(mode(&file), 0o600, "it was replaced by one of ours");
    set_mode(&cache, 0o755);
    let prepared = start(&cache);
    let CodeOrigin::Compiled { problem: Some(problem @ CacheProblem::Folder { .. }) } =
        prepared.origin()
    else {
        panic!("{:?}", prepared.origin())
    };
    assert!(
        problem
            .to_string()
            .contains("can be opened by others; it must be a folder of yours with mode 0700"),
        "{problem}"
    );
    assert!(call_succeeds(&prepared).await);
}

#[tokio::test]
async fn a_link_in_the_place_of_folder_or_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    start(&real);
    symlink(&real, &link).unwrap();
    assert!(matches!(
        start(&link).origin(),
        CodeOrigin::Compiled { problem: Some(CacheProblem::Folder { .. }) }
    ));
    let file = only_file(&real);
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(matches!(
        start(&real).origin(),
        CodeOrigin::Compiled { problem: Some(CacheProblem::Io { .. }) }
    ));
}

#[tokio::test]
async fn a_cache_folder_that_cannot_be_created_is_not_used_and_calls_still_work() {
    let prepared = start(Path::new("/proc/none/cache"));
    assert!(matches!(prepared.origin(), CodeOrigin::Compiled { problem: Some(_) }));
    assert!(call_succeeds(&prepared).await);
}
