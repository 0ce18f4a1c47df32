//! What one isolated call costs: fresh store, instance, call, one host call, result read and
//! checked, everything dropped.
//!
//! Budget: median ≤ 10 µs from a pool on one thread; two threads ≥ 1.8 × one, or the factor that
//! `spin` reaches on the machine.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use runbook_authority::EffectiveGrants;
use runbook_contract::{Call, Phase};
use runbook_runtime::{
    Allocation, CallLimits, LinkedOperation, Permit, PreparedComponent, Runtime, RuntimeConfig,
    Services, inspect, verify,
};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

fn prepared(allocation: Allocation) -> PreparedComponent {
    let runtime =
        Runtime::new(RuntimeConfig { allocation, ..RuntimeConfig::with_cache(None) }).unwrap();
    runtime.prepare(&verify(inspect(support::rogue()).unwrap()).unwrap()).unwrap()
}

/// Links the operation `noop` of the plugin `rogue`. Its one host call reads the clock.
fn clock_call(prepared: &PreparedComponent) -> LinkedOperation {
    LinkedOperation::new(
        prepared,
        "noop",
        EffectiveGrants::none(),
        CallLimits::default(),
        Services::none(),
    )
    .unwrap()
}

fn request() -> Call {
    support::request(Phase::Check)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn call(linked: &LinkedOperation) {
    let outcome = linked.call(request(), Permit::default(), std::future::pending()).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
}

/// The time of `count` calls, shared by `threads` threads that each have a runtime of their own.
fn on_threads(linked: &LinkedOperation, threads: u64, count: u64) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = runtime();
                for _ in 0..count.div_ceil(threads) {
                    runtime.block_on(call(linked));
                }
            });
        }
    });
    start.elapsed()
}

/// As [`on_threads`], for pure computation. It shows how much two threads can gain on this machine
/// (two processors may share a core).
fn spin_on_threads(threads: u64, count: u64) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                (0..count.div_ceil(threads) * 1000)
                    .fold(0_u64, |sum, number| std::hint::black_box(sum ^ number))
            });
        }
    });
    start.elapsed()
}

fn isolated_call(criterion: &mut Criterion) {
    let pooled =
        clock_call(&prepared(Allocation::Pooling { instances: NonZeroU32::new(64).unwrap() }));
    let on_demand = clock_call(&prepared(Allocation::OnDemand));
    let mut group = criterion.benchmark_group("isolated_call");
    group.throughput(Throughput::Elements(1));
    group.bench_function("pooled", |bencher| bencher.to_async(runtime()).iter(|| call(&pooled)));
    group.bench_function("on_demand", |bencher| {
        bencher.to_async(runtime()).iter(|| call(&on_demand));
    });
    for threads in [1, 2] {
        group.bench_function(format!("pooled_{threads}_threads"), |bencher| {
            bencher.iter_custom(|count| on_threads(&pooled, threads, count));
        });
        group.bench_function(format!("spin_{threads}_threads"), |bencher| {
            bencher.iter_custom(|count| spin_on_threads(threads, count));
        });
    }
    group.finish();
}

fn start(criterion: &mut Criterion) {
    let bytes = support::rogue();
    let folder = std::env::temp_dir().join(format!("runbook-bench-{}", std::process::id()));
    let cached = Runtime::new(RuntimeConfig::with_cache(Some(folder.clone()))).unwrap();
    let verified = verify(inspect(bytes.clone()).unwrap()).unwrap();
    cached.prepare(&verified).unwrap();
    let plain = Runtime::new(RuntimeConfig::with_cache(None)).unwrap();
    let mut group = criterion.benchmark_group("start");
    group.bench_function("inspect_and_verify", |bencher| {
        bencher.iter(|| verify(inspect(bytes.clone()).unwrap()).unwrap());
    });
    group.bench_function("prepare_cached", |bencher| {
        bencher.iter(|| cached.prepare(&verified).unwrap());
    });
    group.sample_size(10);
    group.bench_function("prepare_compiled", |bencher| {
        bencher.iter(|| plain.prepare(&verified).unwrap());
    });
    group.finish();
    let _ = std::fs::remove_dir_all(folder);
}

criterion_group!(benches, isolated_call, start);
criterion_main!(benches);
