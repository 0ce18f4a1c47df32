//! What is true of a journal in a file; `both.rs` has what is true of every journal.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use proptest::prelude::*;
use runbook_engine::{
    Acquired, AttemptEvent, Fence, FencedAppend, Journal, Lease, LeaseRequest, Record, Renewed,
    RunEnd, RunId,
};
use runbook_journal::{JournalError, JournalLocation, SqlJournal, TakeoverReason, bare_commits};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
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

    async fn journal(&self) -> SqlJournal {
        SqlJournal::open(&JournalLocation::File(self.path())).await.unwrap()
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
async fn a_lease_is_held_renewed_released_and_its_token_only_grows() {
    let folder = Folder::new();
    let journal = folder.journal().await;
    let first = held(journal.acquire(&request("lock:db", 1, 1, 0)).await.unwrap());
    assert_eq!((first.token, &first.taken_from), (1, &None));
    let busy = journal.acquire(&request("lock:db", 2, 2, 29)).await.unwrap();
    assert_eq!(
        busy,
        Acquired::Busy {
            holder: request("lock:db", 1, 1, 0).holder,
            token: 1,
            left: Duration::from_secs(1)
        }
    );

    assert_eq!(
        journal.renew(&first, at(29), Duration::from_secs(30)).await.unwrap(),
        Renewed::Held
    );
    assert!(matches!(journal.acquire(&request("lock:db", 2, 2, 58)).await.unwrap(),
            Acquired::Busy { left, .. } if left == Duration::from_secs(1)));
    journal.release(&first).await.unwrap();
    assert_eq!(journal.holder("lock:db", at(0)).await.unwrap(), None);
    assert_eq!(
        journal.renew(&first, at(30), Duration::from_secs(30)).await.unwrap(),
        Renewed::Lost,
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
    assert_eq!(journal.renew(&old, at(31), Duration::from_secs(30)).await.unwrap(), Renewed::Lost);
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
    let junk =
        "not a database, but longer than the header of one is, so that it is looked at ".repeat(20);
    std::fs::write(folder.path(), &junk).unwrap();
    let error = SqlJournal::open(&JournalLocation::File(folder.path())).await.err().unwrap();
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
async fn an_event_of_a_newer_program_is_named() {
    let (folder, run) = (Folder::new(), RunId::generate());
    let journal = folder.journal().await;
    journal.create(&header(run, 0)).await.unwrap();
    journal.append(run, &plain(0)).await.unwrap();
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
    let journal =
        SqlJournal::open_waiting(&JournalLocation::File(folder.path()), Duration::from_millis(50))
            .await
            .unwrap();
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
    for path in [
        folder.0.path().to_owned(),
        PathBuf::from("/proc/self/journal.db"),
        PathBuf::from("/dev/null/journal.db"),
    ] {
        let error = SqlJournal::open(&JournalLocation::File(path)).await.err().unwrap();
        assert!(matches!(error, JournalError::Place { .. }), "{error:?}");
    }
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
    fn numbers_times_and_texts_come_back_exactly(float in any::<f64>(), integer in any::<i64>(),
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

/// What one of several processes does with one of two leases of one run or another.
#[derive(Debug, Clone)]
enum Act {
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
    /// The clock goes on, or back.
    Clock {
        seconds: i64,
    },
}

const NAMES: [&str; 2] = ["run:1", "lock:db"];
/// Each process is an executor of its own; the first two execute the same run.
const RUNS: [u128; 3] = [1, 1, 2];
const TTL: i64 = 30;

fn act() -> impl Strategy<Value = Act> {
    let (process, lease) = (0..RUNS.len(), 0..NAMES.len());
    prop_oneof![
        4 => (process.clone(), lease.clone(), prop::bool::weighted(0.2))
            .prop_map(|(process, lease, steal)| Act::Acquire { process, lease, steal }),
        1 => (process.clone(), lease.clone()).prop_map(|(process, lease)| Act::Renew { process,
            lease }),
        1 => (process.clone(), lease).prop_map(|(process, lease)| Act::Release { process, lease }),
        3 => process.prop_map(|process| Act::Append { process }),
        2 => (-40i64..40).prop_map(|seconds| Act::Clock { seconds }),
    ]
}

/// What a lease is, told as simply as it can be.
#[derive(Debug, Default, Clone)]
struct Told {
    token: u64,
    holder: Option<usize>,
    expires: i64,
}

impl Told {
    fn may_take(&self, process: usize, lease: usize, now: i64, steal: bool) -> bool {
        self.holder.is_none_or(|holder| {
            let same_run = RUNS[holder] == RUNS[process] && lease != 0;
            holder == process || self.expires <= now || steal || same_run
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever happens in whatever order, with clocks that jump: the journal gives and keeps
    /// leases as the few lines above say, and a record is written by nobody but who holds every
    /// lease that it needs.
    #[test]
    fn leases_follow_their_model_and_only_their_holders_write(acts in prop::collection::vec(act(),
        1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (folder, run, ttl) = (Folder::new(), RunId::generate(), Duration::from_secs(30));
            let journal = folder.journal().await;
            journal.create(&header(run, 0)).await.unwrap();
            let mut told = [Told::default(), Told::default()];
            let mut own: [[Option<Lease>; 2]; 3] = Default::default();
            let (mut now, mut seq) = (0, 0);
            for act in acts {
                match act {
                    Act::Clock { seconds } => now += seconds,
                    Act::Acquire { process, lease, steal } => {
                        let (number, known) = (process as u128, &mut told[lease]);
                        let steal = steal.then_some(known.token);
                        let request = LeaseRequest { steal,
                            ..request(NAMES[lease], RUNS[process], number, now) };
                        let expected = known.may_take(process, lease, now, steal.is_some());
                        match journal.acquire(&request).await.unwrap() {
                            Acquired::Held(held) => {
                                assert!(expected, "{process} took it");
                                *known = Told { token: known.token + 1, holder: Some(process),
                                    expires: now + TTL };
                                assert_eq!(held.token, known.token);
                                own[process][lease] = Some(held);
                            }
                            Acquired::Busy { token, left, .. } => {
                                assert!(!expected, "{process} did not get it");
                                let seconds = u64::try_from(known.expires - now).unwrap();
                                assert_eq!((token, left),
                                    (known.token, Duration::from_secs(seconds)));
                            }
                        }
                    }
                    Act::Renew { process, lease } => {
                        let (Some(held), known) = (&own[process][lease],
                            &mut told[lease]) else { continue };
                        let is_held = known.token == held.token && known.holder == Some(process);
                        let renewed = journal.renew(held, at(now), ttl).await.unwrap();
                        assert_eq!(renewed == Renewed::Held, is_held);
                        if is_held {
                            known.expires = now + TTL;
                        }
                    }
                    Act::Release { process, lease } => {
                        let (Some(held), known) = (&own[process][lease],
                            &mut told[lease]) else { continue };
                        journal.release(held).await.unwrap();
                        if known.token == held.token {
                            known.holder = None;
                        }
                    }
                    Act::Append { process } => {
                        let [Some(first), Some(second)] = &own[process] else { continue };
                        let leases = [first, second];
                        let is_held = |index: usize| {
                            told[index].token == leases[index].token
                                && told[index].holder == Some(process)
                        };
                        let expected = (0..2).find(|index| !is_held(*index));
                        let fence = Fence { leases: &leases, now: at(now), ttl };
                        let record = Record { at: at(0), ..plain(seq) };
                        match journal.append_fenced(run, &record, &fence).await.unwrap() {
                            FencedAppend::Kept => {
                                assert_eq!(expected, None);
                                seq += 1;
                                told.iter_mut().for_each(|known| known.expires = now + TTL);
                            }
                            FencedAppend::Lost { lease } => {
                                assert_eq!(Some(lease.as_str()),
                                    expected.map(|index| NAMES[index]));
                            }
                        }
                    }
                }
                let seen = journal.records_from(run, 0).await.unwrap().len() as u64;
                assert_eq!(seen, seq, "nothing is written that was refused");
            }
        });
    }
}
