# Short names for common commands. `just` lists them.

# What CI runs is in .ci/run and scripts; these recipes call the same.
set shell := ["bash", "-euo", "pipefail", "-c"]

[private]
default:
    @just --list

# Build the program, with the bundled plugins inside
build *args:
    cargo build --locked {{ args }}

# Run the tests that need no server
test-fast:
    scripts/test-fast

# Run all tests; starts PostgreSQL, MariaDB and Docker
test *args:
    scripts/test {{ args }}

# Run one end-to-end test file, such as `just e2e check`
e2e topic *args:
    cargo test --locked -p runbook-cli --test e2e {{ topic }}:: -- {{ args }}

# Rewrite the files that tests compare with; read the difference before you commit it
bless:
    RUNBOOK_BLESS=1 cargo test --locked -p runbook-cli --test e2e -- wrong_runbooks:: error_pages::

# Check format, lints, dependencies and licences
lint:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo clippy --locked -p runbook-cli --no-default-features -- -D warnings
    cargo deny check
    cargo machete

# Format all Rust code
fmt:
    cargo fmt --all

# Build the documentation; a broken link is an error
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# Measure what BENCHMARKS.md reports; takes some minutes
bench:
    scripts/bench

# Fuzz each target for the given number of seconds
fuzz seconds="60" *targets:
    scripts/fuzz {{ seconds }} {{ targets }}

# What CI runs
ci:
    .ci/run
