//! What one record of the audit log costs a host call, buffered and flushed.

use criterion::{Criterion, criterion_group, criterion_main};
use runbook_journal::audit::{AuditLog, Durability, Rotation};

fn record(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = AuditLog::new(folder.path(), Rotation { max_bytes: 1 << 30 });
    let run = log.open_run("bench", format_args!("\"runbook\":\"r.toml\"")).expect("opened");
    for (name, durability) in [("buffered", Durability::Buffered), ("flushed", Durability::Flushed)]
    {
        criterion.bench_function(&format!("audit record, {name}"), |bencher| {
            bencher.iter(|| {
                run.append(
                    durability,
                    format_args!(
                        "\"kind\":\"judged\",\"step\":\"healthy\",\"attempt\":1,\"plugin\":\"http\",\
                         \"digest\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\",\"slot\":\"target\",\
                         \"function\":\"http.get\",\"operation\":\"GET /health?… +accept\",\"decision\":\"allow\""
                    ),
                )
                .expect("written");
            });
        });
    }
}

criterion_group!(benches, record);
criterion_main!(benches);
