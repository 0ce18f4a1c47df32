//! Tests of a journal in a file. `every_journal.rs` has the checks of every kind of journal.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use proptest::prelude::*;
use runbook_engine::{
    AcquireResult, AttemptEvent, Fence, FencedAppend, Journal, Lease, LeaseRequest, Record,
    RenewResult, RunEnd, RunId,
};
use runbook_journal::{
    JournalError, JournalLocation, SqlJournal, TakeoverReason, measure_bare_commits,
};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{at, ended, header, plain_record, request};
use uuid::Uuid;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state/runbook/journal.db")
    }

    async fn journal(&self) -> SqlJournal {
        SqlJournal::open(&JournalLocation::File(self.path())).await.unwrap()
    }
}

fn held(acquired: AcquireResult) -> Lease {
    match acquired {
        AcquireResult::Held(lease) => lease,
        AcquireResult::Busy { holder, .. } => panic!("busy: {holder}"),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_lease_is_held_renewed_released_and_its_token_only_grows() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    let first = held(journal.acquire(&request("lock:db", 1, 1, 0)).await.unwrap());
    assert_eq!((first.token, &first.taken_from), (1, &None));
    let busy = journal.acquire(&request("lock:db", 2, 2, 29)).await.unwrap();
    assert_eq!(
        busy,
        AcquireResult::Busy {
            holder: request("lock:db", 1, 1, 0).holder,
            token: 1,
            left: Duration::from_secs(1)
        }
    );

    assert_eq!(
        journal.renew(&first, at(29), Duration::from_secs(30)).await.unwrap(),
        RenewResult::Held
    );
    assert!(matches!(journal.acquire(&request("lock:db", 2, 2, 58)).await.unwrap(),
            AcquireResult::Busy { left, .. } if left == Duration::from_secs(1)));
    journal.release(&first).await.unwrap();
    assert_eq!(journal.holder("lock:db", at(0)).await.unwrap(), None);
    assert_eq!(
        journal.renew(&first, at(30), Duration::from_secs(30)).await.unwrap(),
        RenewResult::Lost,
        "released is released"
    );

    let second = held(journal.acquire(&request("lock:db", 2, 2, 58)).await.unwrap());
    assert_eq!((second.token, &second.taken_from), (2, &None));
    journal.release(&first).await.unwrap();
    assert!(
        journal.holder("lock:db", at(0)).await.unwrap().is_some(),
        "a late release of an old holder frees nothing"
    );
    assert!(journal.takeovers("lock:db").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_that_is_recorded() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    let old = held(journal.acquire(&request("lock:db", 1, 1, 0)).await.unwrap());
    let new = held(journal.acquire(&request("lock:db", 2, 2, 30)).await.unwrap());
    assert_eq!(
        (new.token, new.taken_from.as_ref().map(|holder| holder.run)),
        (2, Some(RunId(Uuid::from_u128(1))))
    );
    assert_eq!(
        journal.renew(&old, at(31), Duration::from_secs(30)).await.unwrap(),
        RenewResult::Lost
    );
    let stolen = held(
        journal
            .acquire(&runbook_engine::LeaseRequest {
                steal: Some(2),
                ..request("lock:db", 3, 3, 31)
            })
            .await
            .unwrap(),
    );
    let takeovers = journal.takeovers("lock:db").await.unwrap();
    assert_eq!(
        takeovers.iter().map(|t| (t.token, t.reason, t.at)).collect::<Vec<_>>(),
        [(2, TakeoverReason::Expired, at(30)), (3, TakeoverReason::Stolen, at(31)),]
    );
    assert_eq!((stolen.token, takeovers[1].from.executor), (3, Uuid::from_u128(2)));
}

#[tokio::test]
async fn others_have_no_access_to_the_folder_and_files_of_a_journal() {
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
    let junk =
        "not a database, but longer than the header of one is, so that it is looked at ".repeat(20);
    std::fs::write(folder.path(), &junk).unwrap();
    let error = SqlJournal::open(&JournalLocation::File(folder.path())).await.err().unwrap();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(folder.path()).unwrap(), junk);
}

#[tokio::test]
async fn a_damaged_journal_is_reported_as_damaged() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    journal.create(&header(run, 0)).await.unwrap();
    for seq in 0..200 {
        journal.append(run, &plain_record(seq)).await.unwrap();
    }
    journal.close().await;
    let mut bytes = std::fs::read(folder.path()).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(folder.path(), bytes).unwrap();
    let error = match SqlJournal::open(&JournalLocation::File(folder.path())).await {
        Ok(journal) => journal.load(run).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_journal_of_a_newer_program_is_refused() {
    let folder = Folder::new();
    folder.journal().await.close().await;
    sql(
        &folder.path(),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'future', 1, x'00', 1)",
    )
    .await;
    let error = SqlJournal::open(&JournalLocation::File(folder.path())).await.err().unwrap();
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
async fn an_event_of_a_newer_program_is_reported_with_its_number() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    journal.create(&header(run, 0)).await.unwrap();
    journal.append(run, &plain_record(0)).await.unwrap();
    sql(&folder.path(), "UPDATE events SET event = '{\"type\":\"from-the-future\"}'").await;
    let error = journal.load(run).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("record 0 of run {run} in the journal is not understood")),
        "{error}"
    );
}

#[tokio::test]
async fn a_journal_that_another_connection_holds_is_locked_and_then_works_again() {
    use sqlx::Connection;
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = SqlJournal::open_with_timeout(
        &JournalLocation::File(folder.path()),
        Duration::from_millis(50),
    )
    .await
    .unwrap();
    journal.create(&header(run, 0)).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path());
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    for record in [plain_record(0), ended(0, RunEnd::Dirty)] {
        let error = journal.append(run, &record).await.unwrap_err();
        assert!(matches!(error, JournalError::Locked { .. }), "{error:?}");
    }
    assert_eq!(journal.list(1).await.unwrap().len(), 1, "who only reads does not wait");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    journal.append(run, &plain_record(0)).await.unwrap();
}

#[tokio::test]
async fn a_path_that_cannot_be_a_journal_is_refused() {
    let folder = Folder::new();
    for path in [
        folder.0.path().to_owned(),
        PathBuf::from("/proc/self/journal.db"),
        PathBuf::from("/dev/null/journal.db"),
    ] {
        let error = SqlJournal::open(&JournalLocation::File(path)).await.err().unwrap();
        assert!(matches!(error, JournalError::UnusablePath { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_cost_of_bare_commits_can_be_measured() {
    let folder = Folder::new();
    let path = folder.0.path().join("bare.db");
    let took = measure_bare_commits(&path, 20, 500).await.unwrap();
    assert!(took > Duration::ZERO && std::fs::metadata(&path).unwrap().len() > 20 * 500);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn numbers_times_and_texts_are_stored_exactly(float in any::<f64>(), integer in any::<i64>(),
        text in ".{0,30}", nanosecond in 0i64..i64::MAX) {
        prop_assume!(float.is_finite());
        let input = serde_json::json!({"f": float, "i": integer, "t": text});
        let event = AttemptEvent::Started { attempt: 1, input, input_digest: String::new(),
            proposal: None, undo: runbook_engine::UndoPlan::NotNeeded }.of("a".into());
        let record = Record { seq: 0,
            at: jiff::Timestamp::from_nanosecond(nanosecond.into()).unwrap(), event };
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

/// One action of one of several processes, with one of two leases.
#[derive(Debug, Clone)]
enum Action {
    Acquire {
        process: usize,
        lease: usize,
        steal: bool,
    },
    Renew {
        process: usize,
        lease: usize,
    },
    Release {
        process: usize,
        lease: usize,
    },
    /// A record that needs both leases.
    Append {
        process: usize,
    },
    /// The clock is set forward or back.
    Clock {
        seconds: i64,
    },
}

const LEASE_NAMES: [&str; 2] = ["run:1", "lock:db"];
/// Each process is an executor of its own; the first two execute the same run.
const RUNS: [u128; 3] = [1, 1, 2];
const TTL: i64 = 30;

fn action() -> impl Strategy<Value = Action> {
    let (process, lease) = (0..RUNS.len(), 0..LEASE_NAMES.len());
    prop_oneof![
        4 => (process.clone(), lease.clone(), prop::bool::weighted(0.2))
            .prop_map(|(process, lease, steal)| Action::Acquire { process, lease, steal }),
        1 => (process.clone(), lease.clone()).prop_map(|(process, lease)| Action::Renew { process,
            lease }),
        1 => (process.clone(), lease).prop_map(|(process, lease)| Action::Release { process, lease }),
        3 => process.prop_map(|process| Action::Append { process }),
        2 => (-40i64..40).prop_map(|seconds| Action::Clock { seconds }),
    ]
}

/// The simplest model of a lease, to compare the journal with.
#[derive(Debug, Default, Clone)]
struct LeaseModel {
    token: u64,
    holder: Option<usize>,
    expires: i64,
}

impl LeaseModel {
    fn may_take(&self, process: usize, lease: usize, now: i64, steal: bool) -> bool {
        self.holder.is_none_or(|holder| {
            let same_run = RUNS[holder] == RUNS[process] && lease != 0;
            holder == process || self.expires <= now || steal || same_run
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// For any order of actions, with clocks that jump: the journal gives and keeps leases as the
    /// model does, and a record is written only by a process that holds every lease that it needs.
    #[test]
    fn leases_follow_their_model_and_only_their_holders_write(actions in prop::collection::vec(action(),
        1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (folder, run, ttl) = (Folder::new(), RunId::generate(), Duration::from_secs(30));
            let journal = folder.journal().await;
            journal.create(&header(run, 0)).await.unwrap();
            let mut models = [LeaseModel::default(), LeaseModel::default()];
            let mut held_leases: [[Option<Lease>; 2]; 3] = Default::default();
            let (mut now, mut seq) = (0, 0);
            for action in actions {
                match action {
                    Action::Clock { seconds } => now += seconds,
                    Action::Acquire { process, lease, steal } => {
                        let (number, model) = (process as u128, &mut models[lease]);
                        let steal = steal.then_some(model.token);
                        let request = LeaseRequest { steal,
                            ..request(LEASE_NAMES[lease], RUNS[process], number, now) };
                        let expected = model.may_take(process, lease, now, steal.is_some());
                        match journal.acquire(&request).await.unwrap() {
                            AcquireResult::Held(held) => {
                                assert!(expected, "{process} took it");
                                *model = LeaseModel { token: model.token + 1, holder: Some(process),
                                    expires: now + TTL };
                                assert_eq!(held.token, model.token);
                                held_leases[process][lease] = Some(held);
                            }
                            AcquireResult::Busy { token, left, .. } => {
                                assert!(!expected, "{process} did not get it");
                                let seconds = u64::try_from(model.expires - now).unwrap();
                                assert_eq!((token, left),
                                    (model.token, Duration::from_secs(seconds)));
                            }
                        }
                    }
                    Action::Renew { process, lease } => {
                        let (Some(held), model) = (&held_leases[process][lease],
                            &mut models[lease]) else { continue };
                        let is_held = model.token == held.token && model.holder == Some(process);
                        let renewed = journal.renew(held, at(now), ttl).await.unwrap();
                        assert_eq!(renewed == RenewResult::Held, is_held);
                        if is_held {
                            model.expires = now + TTL;
                        }
                    }
                    Action::Release { process, lease } => {
                        let (Some(held), model) = (&held_leases[process][lease],
                            &mut models[lease]) else { continue };
                        journal.release(held).await.unwrap();
                        if model.token == held.token {
                            model.holder = None;
                        }
                    }
                    Action::Append { process } => {
                        let [Some(first), Some(second)] = &held_leases[process] else { continue };
                        let leases = [first, second];
                        let is_held = |index: usize| {
                            models[index].token == leases[index].token
                                && models[index].holder == Some(process)
                        };
                        let expected = (0..2).find(|index| !is_held(*index));
                        let fence = Fence { leases: &leases, now: at(now), ttl };
                        let record = Record { at: at(0), ..plain_record(seq) };
                        match journal.append_fenced(run, &record, &fence).await.unwrap() {
                            FencedAppend::Written => {
                                assert_eq!(expected, None);
                                seq += 1;
                                models.iter_mut().for_each(|model| model.expires = now + TTL);
                            }
                            FencedAppend::Lost { lease } => {
                                assert_eq!(Some(lease.as_str()),
                                    expected.map(|index| LEASE_NAMES[index]));
                            }
                        }
                    }
                }
                let n_records = journal.records_from(run, 0).await.unwrap().len() as u64;
                assert_eq!(n_records, seq, "nothing is written that was refused");
            }
        });
    }
}
