//! What `runbook runs` and `runbook show` cost the journal where it holds 100,000 runs.

use criterion::{Criterion, criterion_group, criterion_main};
use runbook_engine::Journal as _;
use runbook_journal::{JournalLocation, SqlJournal};
use sqlx::Connection as _;

const RUNS: u32 = 100_000;

fn look_up(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    let journal = runtime.block_on(async {
        let journal = SqlJournal::open(&JournalLocation::File(path.clone())).await.expect("opened");
        fill(&path).await;
        journal
    });
    let newest = runtime.block_on(journal.list(20)).expect("listed")[7].run.to_string();
    criterion.bench_function("list the newest 20 of 100,000 runs", |bencher| {
        bencher.iter(|| runtime.block_on(journal.list(20)).expect("listed"));
    });
    criterion.bench_function("find and load one of 100,000 runs", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let run = journal.find(&newest[..13]).await.expect("found");
                journal.load(run).await.expect("loaded")
            })
        });
    });
}

async fn fill(path: &std::path::Path) {
    let sources =
        "[[\"runbook.toml\",\"".to_owned() + &"# a line of the runbook\\n".repeat(80) + "\"]]";
    let statement = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE \
                 n < {RUNS}) INSERT INTO runs (run, name, title, operator, environment, phase, \
                 started_ns, ended_ns, digest, sources, params) SELECT \
                 printf('%08x-0000-7000-8000-%012x', n, n), 'emergency-db', 'Database emergency', \
                 'ops', NULL, '{{\"ended\":\"succeeded\"}}', n * 1000, n * 1000 + 5, 'sha256:00', \
                 '{sources}', '{{}}' FROM numbers"
    );
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("connected");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("filled");
    connection.close().await.expect("closed");
}

criterion_group!(benches, look_up);
criterion_main!(benches);
