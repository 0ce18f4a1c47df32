//! The journal as one process sees it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use proptest::prelude::*;
use runbook_engine::{Acquired, Journal, Lease, Record, Renewed, RunEnd, RunEvent, RunId, RunPhase};
use runbook_journal::{JournalError, SqliteJournal, TakeoverReason, bare_commits};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{at, ended, header, plain, request};
use uuid::Uuid;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state/runbook/journal.db")
    }

    async fn journal(&self) -> SqliteJournal {
        SqliteJournal::open(&self.path()).await.unwrap()
    }
}

fn held(acquired: Acquired) -> Lease {
    match acquired {
        Acquired::Held(lease) => lease,
        Acquired::Busy { holder, .. } => panic!("busy: {holder}"),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_kept_comes_back_from_a_journal_that_is_opened_again() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    let header = header(run, 0);
    journal.create(&header).await.unwrap();
    for seq in 0..5 {
        journal.append(run, &plain(seq)).await.unwrap();
    }
    journal.append(run, &ended(5, RunEnd::Undone)).await.unwrap();
    journal.close().await;

    let stored = folder.journal().await.load(run).await.unwrap();
    assert_eq!(stored.header, header);
    assert_eq!(stored.records, (0..5).map(plain).chain([ended(5, RunEnd::Undone)]).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_list_is_newest_first_and_follows_the_events() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    let runs = [RunId::generate(), RunId::generate(), RunId::generate()];
    for (second, run) in [(10, runs[0]), (30, runs[1]), (20, runs[2])] {
        journal.create(&header(run, second)).await.unwrap();
    }
    let waiting = RunEvent::LockWaiting { name: "db".into(), holder: "x".into() };
    journal.append(runs[0], &Record { event: waiting, ..plain(0) }).await.unwrap();
    journal.append(runs[2], &ended(0, RunEnd::Dirty)).await.unwrap();
    let list = journal.list(10).await.unwrap();
    assert_eq!(list.iter().map(|run| run.run).collect::<Vec<_>>(), [runs[1], runs[2], runs[0]]);
    assert_eq!(
        list.iter().map(|run| run.phase).collect::<Vec<_>>(),
        [RunPhase::Running, RunPhase::Ended(RunEnd::Dirty), RunPhase::Waiting]
    );
    assert_eq!((list[1].ended, list[0].ended), (Some(at(0)), None));
    assert_eq!(journal.list(2).await.unwrap().len(), 2);

    // A run that is undone after its end is running again, and has no end.
    journal.append(runs[2], &Record { event: RunEvent::Resumed { by: "ops".into() }, ..plain(1) }).await.unwrap();
    assert_eq!(journal.list(2).await.unwrap()[1].ended, None);
}

#[tokio::test]
async fn a_run_or_record_that_is_there_already_is_never_written_over() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    journal.create(&header(run, 0)).await.unwrap();
    assert!(matches!(journal.create(&header(run, 9)).await, Err(JournalError::RunExists { run: r }) if r == run));
    for first in [plain(0), ended(1, RunEnd::Succeeded)] {
        journal.append(run, &first).await.unwrap();
        for second in [plain(first.seq), ended(first.seq, RunEnd::Dirty)] {
            let error = journal.append(run, &second).await.unwrap_err();
            assert!(matches!(error, JournalError::RecordExists { seq, .. } if seq == first.seq), "{error}");
        }
    }
    assert_eq!(journal.load(run).await.unwrap().records, [plain(0), ended(1, RunEnd::Succeeded)]);
    assert_eq!(journal.list(1).await.unwrap()[0].phase, RunPhase::Ended(RunEnd::Succeeded), "a refused record changes no phase");
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    for error in [
        journal.load(run).await.unwrap_err(),
        journal.append(run, &plain(0)).await.unwrap_err(),
        journal.find("0193").await.unwrap_err(),
    ] {
        assert!(matches!(error, JournalError::NoRun { .. }), "{error}");
        assert!(error.to_string().contains("`runbook runs` lists them") && error.code() == "E0509");
    }
}

#[tokio::test]
async fn the_beginning_of_an_id_finds_its_run_and_an_ambiguous_one_lists_them() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    let ids =
        ["0193ab12-7700-7000-8000-000000000001", "0193ab12-7701-7000-8000-000000000002", "0193ac00-0000-7000-8000-000000000003"];
    let runs = ids.map(|id| RunId::parse(id).unwrap());
    for run in runs {
        journal.create(&header(run, 0)).await.unwrap();
    }
    for (prefix, run) in [("0193ac", runs[2]), ("0193AB12-7701", runs[1]), ("0193ab127700", runs[0]), (ids[2], runs[2])] {
        assert_eq!(journal.find(prefix).await.unwrap(), run, "{prefix}");
    }
    let error = journal.find("0193ab").await.unwrap_err();
    assert!(matches!(&error, JournalError::Ambiguous { candidates, .. } if candidates.len() == 2));
    let message = error.to_string();
    assert!(
        message.starts_with("`0193ab` is the beginning of 2 runs") && ids[..2].iter().all(|id| message.contains(id)),
        "{message}"
    );
    for bad in ["", "%", "0193ab12-7702", "zz", "'; DROP TABLE runs"] {
        assert!(matches!(journal.find(bad).await, Err(JournalError::NoRun { .. })), "{bad}");
    }
}

#[tokio::test]
async fn who_follows_a_run_gets_only_what_is_new() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    journal.create(&header(run, 0)).await.unwrap();
    for seq in 0..4 {
        journal.append(run, &plain(seq)).await.unwrap();
    }
    assert_eq!(journal.records_from(run, 2).await.unwrap(), [plain(2), plain(3)]);
    assert_eq!(journal.records_from(run, 4).await.unwrap(), []);
}

#[tokio::test]
async fn a_lease_is_held_renewed_released_and_its_token_only_grows() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    let first = held(journal.acquire(&request("lock:db", 1, 1, 0)).await.unwrap());
    assert_eq!((first.token, &first.taken_from), (1, &None));
    let busy = journal.acquire(&request("lock:db", 2, 2, 29)).await.unwrap();
    assert_eq!(busy, Acquired::Busy { holder: request("lock:db", 1, 1, 0).holder, token: 1, expires: at(30) });

    assert_eq!(journal.renew(&first, at(29), Duration::from_secs(30)).await.unwrap(), Renewed::Held);
    assert!(
        matches!(journal.acquire(&request("lock:db", 2, 2, 58)).await.unwrap(), Acquired::Busy { expires, .. } if expires == at(59))
    );
    journal.release(&first).await.unwrap();
    assert_eq!(journal.holder("lock:db").await.unwrap(), None);
    assert_eq!(journal.renew(&first, at(30), Duration::from_secs(30)).await.unwrap(), Renewed::Lost, "released is released");

    let second = held(journal.acquire(&request("lock:db", 2, 2, 58)).await.unwrap());
    assert_eq!((second.token, &second.taken_from), (2, &None));
    journal.release(&first).await.unwrap();
    assert!(journal.holder("lock:db").await.unwrap().is_some(), "a late release of an old holder frees nothing");
    assert!(journal.takeovers("lock:db").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_that_is_recorded() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    let old = held(journal.acquire(&request("lock:db", 1, 1, 0)).await.unwrap());
    let new = held(journal.acquire(&request("lock:db", 2, 2, 30)).await.unwrap());
    assert_eq!((new.token, new.taken_from.as_ref().map(|holder| holder.run)), (2, Some(RunId(Uuid::from_u128(1)))));
    assert_eq!(journal.renew(&old, at(31), Duration::from_secs(30)).await.unwrap(), Renewed::Lost);
    let stolen =
        held(journal.acquire(&runbook_engine::LeaseRequest { steal: Some(2), ..request("lock:db", 3, 3, 31) }).await.unwrap());
    let takeovers = journal.takeovers("lock:db").await.unwrap();
    assert_eq!(
        takeovers.iter().map(|t| (t.token, t.reason, t.at)).collect::<Vec<_>>(),
        [(2, TakeoverReason::Expired, at(30)), (3, TakeoverReason::Stolen, at(31)),]
    );
    assert_eq!((stolen.token, takeovers[1].from.executor), (3, Uuid::from_u128(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_a_lease_at_once_exactly_one_gets_it() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    for round in 0..10 {
        let name = format!("lock:{round}");
        let tasks: Vec<_> = (0..32u128)
            .map(|n| {
                let (journal, request) = (journal.clone(), request(&name, n, n, 0));
                tokio::spawn(async move { journal.acquire(&request).await.unwrap() })
            })
            .collect();
        let mut n_held = 0;
        for task in tasks {
            n_held += usize::from(matches!(task.await.unwrap(), Acquired::Held(_)));
        }
        assert_eq!(n_held, 1);
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_in_the_middle_leaves_the_journal_usable() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    journal.create(&header(run, 0)).await.unwrap();
    for seq in 0..40 {
        let dropped =
            tokio::time::timeout(Duration::from_micros(seq * 50), journal.append(run, &ended(seq, RunEnd::Dirty))).await;
        let again = journal.append(run, &ended(seq, RunEnd::Succeeded)).await;
        match (dropped, again) {
            (_, Ok(())) | (Ok(Ok(())) | Err(_), Err(JournalError::RecordExists { .. })) => {}
            (dropped, again) => panic!("{dropped:?} {again:?}"),
        }
    }
    assert_eq!(journal.load(run).await.unwrap().records.len(), 40);
}

#[tokio::test]
async fn folder_and_files_are_closed_to_others() {
    let folder = Folder::new();
    let path = folder.path();
    let journal = folder.journal().await;
    journal.create(&header(RunId::generate(), 0)).await.unwrap();
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
    assert_eq!(mode(&path.with_file_name("journal.db-wal")), 0o600);
    journal.close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    folder.journal().await;
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn a_file_that_is_no_journal_is_refused_and_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().parent().unwrap()).unwrap();
    let junk = "not a database, but longer than the header of one is, so that it is looked at ".repeat(20);
    std::fs::write(folder.path(), &junk).unwrap();
    let error = SqliteJournal::open(&folder.path()).await.err().unwrap();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(folder.path()).unwrap(), junk);
}

#[tokio::test]
async fn a_damaged_journal_says_so() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    journal.create(&header(run, 0)).await.unwrap();
    for seq in 0..200 {
        journal.append(run, &plain(seq)).await.unwrap();
    }
    journal.close().await;
    let mut bytes = std::fs::read(folder.path()).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(folder.path(), bytes).unwrap();
    let error = match SqliteJournal::open(&folder.path()).await {
        Ok(journal) => journal.load(run).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_journal_of_a_newer_program_is_refused() {
    let folder = Folder::new();
    folder.journal().await.close().await;
    sql(&folder.path(), "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'future', 1, x'00', 1)").await;
    let error = SqliteJournal::open(&folder.path()).await.err().unwrap();
    assert!(matches!(error, JournalError::Newer { found: 99, .. }), "{error:?}");
}

async fn sql(path: &Path, statement: &'static str) {
    use sqlx::Connection;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn an_event_of_a_newer_program_is_named() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    journal.create(&header(run, 0)).await.unwrap();
    journal.append(run, &plain(0)).await.unwrap();
    sql(&folder.path(), "UPDATE events SET event = '{\"type\":\"from-the-future\"}'").await;
    let error = journal.load(run).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("record 0 of run {run} in the journal is not understood")), "{error}");
}

#[tokio::test]
async fn a_journal_that_another_connection_holds_is_locked_and_then_works_again() {
    use sqlx::Connection;
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = SqliteJournal::open_waiting(&folder.path(), Duration::from_millis(50)).await.unwrap();
    journal.create(&header(run, 0)).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path());
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    for record in [plain(0), ended(0, RunEnd::Dirty)] {
        let error = journal.append(run, &record).await.unwrap_err();
        assert!(matches!(error, JournalError::Locked { .. }), "{error:?}");
    }
    assert_eq!(journal.list(1).await.unwrap().len(), 1, "who only reads does not wait");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    journal.append(run, &plain(0)).await.unwrap();
}

#[tokio::test]
async fn a_folder_or_a_missing_root_in_the_place_of_the_journal_is_refused() {
    let folder = Folder::new();
    for path in [folder.0.path().to_owned(), PathBuf::from("/proc/self/journal.db"), PathBuf::from("/dev/null/journal.db")] {
        let error = SqliteJournal::open(&path).await.err().unwrap();
        assert!(matches!(error, JournalError::Place { .. }), "{error:?}");
    }
}

/// The budget for `runbook runs` (the newest 50 of 10,000) and for all of them.
#[tokio::test]
async fn ten_thousand_runs_are_listed_in_fifty_milliseconds() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    sql(&folder.path(), "INSERT INTO runs SELECT \
        printf('%08x-0000-7000-8000-%012x', value, value), 'emergency-db', 'Database emergency', 'ops', NULL, '{\"ended\":\"succeeded\"}', \
        value * 1000, value * 1000 + 5, 'sha256:00', json_array(json_array('runbook.toml', hex(zeroblob(2000)))), '{}' \
        FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 10000) SELECT value FROM n)").await;
    let start = Instant::now();
    let newest = journal.list(50).await.unwrap();
    let newest_took = start.elapsed();
    let start = Instant::now();
    let all = journal.list(10_000).await.unwrap();
    let all_took = start.elapsed();
    println!("50 of 10,000: {newest_took:?}; all: {all_took:?}");
    assert_eq!((newest.len(), all.len(), &newest[..]), (50, 10_000, &all[..50]));
    assert!(newest_took < Duration::from_millis(50), "{newest_took:?}");
}

#[tokio::test]
async fn the_floor_for_an_append_can_be_measured() {
    let folder = Folder::new();
    let path = folder.0.path().join("bare.db");
    let took = bare_commits(&path, 20, 500).await.unwrap();
    assert!(took > Duration::ZERO && std::fs::metadata(&path).unwrap().len() > 20 * 500);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn numbers_times_and_texts_come_back_exactly(float in any::<f64>(), integer in any::<i64>(), text in ".{0,30}", nanosecond in 0i64..i64::MAX) {
        prop_assume!(float.is_finite());
        let input = serde_json::json!({"f": float, "i": integer, "t": text});
        let event = RunEvent::AttemptStarted {
            step: "a".into(), attempt: 1, input, input_digest: String::new(), proposal: None, undo: runbook_engine::UndoPlan::NotNeeded,
        };
        let record = Record { seq: 0, at: jiff::Timestamp::from_nanosecond(nanosecond.into()).unwrap(), event };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stored = runtime.block_on(async {
            let (folder, run) = (Folder::new(), RunId::generate());
            let journal = folder.journal().await;
            journal.create(&header(run, 0)).await.unwrap();
            journal.append(run, &record).await.unwrap();
            journal.load(run).await.unwrap()
        });
        prop_assert_eq!(stored.records, [record]);
    }
}
