//! The tools of contributors agree with each other: scripts, recipes, workflows and test groups.

use crate::repository;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn toml(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `a|b` of the first `^(a|b)::` in a filter of nextest.
fn modules(filter: &str) -> BTreeSet<String> {
    let list = filter
        .split_once("/^(")
        .and_then(|(_, rest)| rest.split_once(")::/"))
        .expect("a list of modules")
        .0;
    list.split('|').map(str::to_owned).collect()
}

/// The test files below a folder that start a server by the helpers of `tests/src`.
fn files_with_servers(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    crate::docs::collect_files(&repository().join(folder), "rs", &mut files);
    let starts = [
        "postgres::",
        "mariadb::",
        "redis::",
        "s3::",
        "mail::",
        "registry::",
        "docker::ensure_engine",
        "docker::App",
        "docker::{",
        "docker::docker",
        "systemd::",
        "engines::",
        "ssh::",
        "proxy::",
    ];
    let helpers = [
        "Postgres::start",
        "PostgresJudge::start",
        "MariaDb::start",
        "MariaDbJudge::start",
        "Redis::start",
        "S3::start",
        "MailServer::start",
        "Registry::start",
        "App::start",
        "Systemd::start",
        "TlsEngine::start",
        "Podman::start",
        "Sshd::start",
        "Tinyproxy::start",
    ];
    files.retain(|path| {
        let text = fs::read_to_string(path).expect("readable");
        let imports = text.lines().filter(|line| line.contains("runbook_tests"));
        imports.clone().any(|line| starts.iter().any(|start| line.contains(start)))
            || helpers.iter().any(|helper| text.contains(helper))
    });
    files.retain(|path| !path.ends_with("tooling.rs"));
    files
}

/// The module of a file of `tests/e2e`: `sql` for `sql.rs` and `sql/wire.rs`.
fn module(path: &Path) -> String {
    let below = path.strip_prefix(repository().join("tests/e2e")).expect("it is below");
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn the_group_of_servers_has_exactly_the_tests_that_start_one() {
    let config = toml(".config/nextest.toml");
    let filter = config["profile"]["default"]["overrides"][0]["filter"].as_str().expect("a filter");
    let with_servers: BTreeSet<String> =
        files_with_servers("tests/e2e").iter().map(|path| module(path)).collect();
    assert_eq!(modules(filter), with_servers);
    for folder in ["host/journal/tests", "host/runtime/tests", "host/runtime/src"] {
        for path in files_with_servers(folder) {
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let unit_tests = [
                "capabilities/docker/tests",
                "capabilities/mail/tests",
                "capabilities/objects/tests",
                "capabilities/redis/tests",
                "capabilities/system/tests/units",
                "net/proxy/tests",
                "net/ssh/tests",
            ];
            let is_unit_test =
                unit_tests.iter().any(|folder| path.to_string_lossy().contains(folder));
            assert!(
                is_unit_test || filter.contains(&format!("binary({stem})")),
                "{} starts a server",
                path.display()
            );
        }
    }
    for folder in ["engine", "authority", "document", "report", "secrets", "text", "launch", "pack"]
    {
        assert_eq!(files_with_servers(&format!("host/{folder}")), Vec::<PathBuf>::new());
    }
}

#[test]
fn the_fast_tests_are_the_same_with_and_without_nextest_and_start_no_server() {
    let config = toml(".config/nextest.toml");
    let fast = config["profile"]["fast"]["default-filter"].as_str().expect("a filter");
    let servers =
        config["profile"]["default"]["overrides"][0]["filter"].as_str().expect("a filter");
    let script = read("scripts/test-fast");
    let in_script: BTreeSet<String> = script
        .split_whitespace()
        .filter_map(|word| word.strip_suffix("::"))
        .filter(|word| !word.contains(':'))
        .map(str::to_owned)
        .collect();
    assert_eq!(modules(fast), in_script);
    assert_eq!(modules(fast).intersection(&modules(servers)).next(), None);
    let main = read("tests/e2e/main.rs");
    for module in modules(fast).union(&modules(servers)) {
        assert!(main.contains(&format!("mod {module};")), "there is no e2e module `{module}`");
    }
    let crates = script
        .split_once("host/{")
        .and_then(|(_, rest)| rest.split_once('}'))
        .expect("a list of crates")
        .0;
    for name in crates.split(',') {
        assert!(
            fast.contains(&format!("package(runbook-{name})")),
            "`{name}` is in scripts/test-fast only"
        );
    }
    assert_eq!(fast.matches("package(").count(), crates.split(',').count());
}

#[test]
fn the_minimum_rust_version_is_the_same_everywhere() {
    let oldest = toml("Cargo.toml")["workspace"]["package"]["rust-version"]
        .as_str()
        .expect("a version")
        .to_owned();
    assert!(
        read("scripts/setup-wasm").contains(&format!("Rust {oldest} or newer")),
        "scripts/setup-wasm"
    );
    assert!(
        read(".github/workflows/ci.yml").contains("s/^rust-version = "),
        "the workflow reads it from Cargo.toml"
    );
    let channel =
        toml("rust-toolchain.toml")["toolchain"]["channel"].as_str().expect("a channel").to_owned();
    let number = |text: &str| {
        text.split('.').take(2).map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    assert!(
        channel == "stable" || number(&channel) >= number(&oldest),
        "`{channel}` is older than {oldest}"
    );
}

/// Recipes, workflows and documents name existing scripts; actions are pinned to a major version.
#[test]
fn recipes_and_workflows_call_existing_scripts() {
    let workflow = read(".github/workflows/ci.yml");
    for text in [read("justfile"), workflow.clone(), read("CONTRIBUTING.md"), read("README.md")] {
        for word in text
            .split([' ', '`', '\n', '(', ')'])
            .filter(|word| word.starts_with("scripts/") || word.starts_with(".ci/"))
        {
            let word = word.trim_end_matches([',', '.', ':', ';']);
            assert!(repository().join(word).exists(), "there is no `{word}`");
        }
    }
    for action in workflow
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
    {
        let version = action.split_once('@').map_or("", |(_, version)| version);
        assert!(
            version.strip_prefix('v').is_some_and(|major| major.parse::<u32>().is_ok()),
            "`{action}`"
        );
    }
    assert!(!workflow.contains("secrets."), "a workflow for everybody needs no secret");
    assert!(workflow.contains("permissions:\n  contents: read\n"), "a workflow may read only");
    for line in read("CONTRIBUTING.md").lines().filter(|line| line.contains("--test e2e")) {
        let module =
            line.split("e2e ").nth(1).and_then(|rest| rest.split("::").next()).expect("a module");
        assert!(
            repository().join(format!("tests/e2e/{module}.rs")).exists(),
            "there is no e2e module `{module}`"
        );
    }
}

/// The GitHub workflow and the recipes run the same commands as `.ci/run`.
#[test]
fn the_workflow_runs_what_ci_runs() {
    let (workflow, recipes) = (read(".github/workflows/ci.yml"), read("justfile"));
    let script = read(".ci/run");
    let lines = script
        .lines()
        .filter(|line| line.starts_with("cargo ") || line.starts_with("RUSTDOCFLAGS="));
    let commands: Vec<&str> =
        lines.map(|line| &line[line.find("cargo ").unwrap_or_default()..]).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for line in commands {
        assert!(workflow.contains(line), "the workflow does not run `{line}`");
        assert!(recipes.contains(line), "no recipe runs `{line}`");
    }
}
