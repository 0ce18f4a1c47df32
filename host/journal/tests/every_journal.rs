//! Checks of every journal: each one runs on a SQLite file and on a database of a real PostgreSQL
//! server.
//!
//! All checks use one server, which is stopped at the end, so this program has no test harness.
//! With an argument, only the checks are run whose name contains it, as with `cargo test NAME`.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use runbook_engine::{
    AcquireResult, Fence, FencedAppend, GuardEvent, Holder, Journal, Lease, LeaseRequest,
    LifecycleEvent, NotifyEvent, PauseReason, Record, RenewResult, RetryOf, RunEnd, RunId,
    RunStatus, Stage, StepEvent,
};
use runbook_journal::{
    DirtyRuns, JournalError, JournalLocation, Pruning, ServerEvent, SqlJournal, TakeoverReason,
    lookup_statements,
};
use runbook_tests::postgres::Postgres;
use runbook_tests::wait_for;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::{at, ended, header, plain_record, request};
use uuid::Uuid;

type Check = fn(JournalLocation) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), |location| Box::pin($name(location)))),*] };
}

const CHECKS: &[(&str, Check)] = checks![
    a_run_and_its_records_are_the_same_after_the_journal_is_opened_again,
    the_list_is_newest_first_and_follows_the_events,
    a_run_or_record_that_is_there_already_is_never_written_over,
    of_many_retries_of_a_run_at_one_time_exactly_one_begins,
    a_missing_run_is_reported_with_the_command_that_lists_runs,
    the_beginning_of_an_id_finds_its_run_and_an_ambiguous_one_lists_them,
    a_reader_that_follows_a_run_gets_only_new_records,
    of_many_who_want_a_lease_at_once_exactly_one_gets_it,
    a_call_that_is_dropped_in_the_middle_leaves_the_journal_usable,
    a_lease_is_busy_until_it_is_released_or_not_renewed,
    each_record_needs_every_lease_of_its_fence_and_renews_them,
    a_record_and_a_takeover_at_one_moment_are_one_after_the_other,
    the_runs_that_held_a_lock_between_two_tokens_are_found,
    a_cancel_is_asked_of_one_execution_of_a_run,
    a_journal_of_the_first_version_is_brought_up_to_date,
    a_journal_of_a_newer_program_is_refused,
    only_runs_that_have_ended_long_ago_are_pruned,
    durations_of_successful_runs_are_found_by_the_name_of_the_runbook,
    several_processes_can_open_a_new_journal_at_once,
    runs_are_listed_found_and_read_by_an_index,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names =
        || CHECKS.iter().map(|(name, _)| *name).chain(SERVER_CHECKS.iter().map(|(name, _)| *name));
    if arguments.iter().any(|argument| argument == "--list") {
        names().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_chosen = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    if !names().any(is_chosen) {
        return ExitCode::SUCCESS;
    }
    let mut postgres = Postgres::start(1);
    let mut n_failed = 0;
    let mut report = |name: &str, location: &str, passed: bool| {
        println!("test {name} on {location} ... {}", if passed { "ok" } else { "FAILED" });
        n_failed += u32::from(!passed);
    };
    for (name, check) in CHECKS.iter().filter(|(name, _)| is_chosen(name)) {
        let folder = tempfile::tempdir().unwrap();
        report(
            name,
            "SQLite",
            passes(|| {
                block_on(check(JournalLocation::File(folder.path().join("state/journal.db"))));
            }),
        );
        let url = postgres.database(&name[..name.len().min(60)]);
        report(
            name,
            "PostgreSQL",
            passes(|| block_on(check(JournalLocation::parse(&url).unwrap()))),
        );
    }
    for (name, check) in SERVER_CHECKS.iter().filter(|(name, _)| is_chosen(name)) {
        report(name, "PostgreSQL", passes(|| check(&mut postgres)));
    }
    if n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passes(check: impl FnOnce()) -> bool {
    std::panic::catch_unwind(AssertUnwindSafe(check)).is_ok()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

async fn open(location: &JournalLocation) -> SqlJournal {
    SqlJournal::open(location).await.unwrap()
}

fn held(acquired: AcquireResult) -> Lease {
    match acquired {
        AcquireResult::Held(lease) => lease,
        AcquireResult::Busy { holder, .. } => panic!("busy: {holder}"),
    }
}

/// Runs a statement by a connection of its own.
async fn sql(location: &JournalLocation, statement: &str) {
    use sqlx::Connection;
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    match location {
        JournalLocation::File(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        JournalLocation::Server(_) => {
            let mut connection = sqlx::PgConnection::connect(&location.to_string()).await.unwrap();
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

async fn a_run_and_its_records_are_the_same_after_the_journal_is_opened_again(
    location: JournalLocation,
) {
    let run = RunId::generate();
    let journal = open(&location).await;
    let header = header(run, 0);
    journal.create(&header).await.unwrap();
    for seq in 0..5 {
        journal.append(run, &plain_record(seq)).await.unwrap();
    }
    journal.append(run, &ended(5, RunEnd::Undone)).await.unwrap();
    journal.close().await;

    let stored = open(&location).await.load(run).await.unwrap();
    assert_eq!(stored.header, header);
    assert_eq!(
        stored.records,
        (0..5).map(plain_record).chain([ended(5, RunEnd::Undone)]).collect::<Vec<_>>()
    );
}

async fn the_list_is_newest_first_and_follows_the_events(location: JournalLocation) {
    let journal = open(&location).await;
    let runs = [RunId::generate(), RunId::generate(), RunId::generate()];
    for (second, run) in [(10, runs[0]), (30, runs[1]), (20, runs[2])] {
        journal.create(&header(run, second)).await.unwrap();
    }
    let waiting = LifecycleEvent::LockWaiting { name: "db".into(), holder: "x".into() }.into();
    journal.append(runs[0], &Record { event: waiting, ..plain_record(0) }).await.unwrap();
    journal.append(runs[2], &ended(0, RunEnd::Dirty)).await.unwrap();
    let list = journal.list(10).await.unwrap();
    assert_eq!(list.iter().map(|run| run.run).collect::<Vec<_>>(), [runs[1], runs[2], runs[0]]);
    assert_eq!(
        list.iter().map(|run| run.status).collect::<Vec<_>>(),
        [RunStatus::Running, RunStatus::Ended(RunEnd::Dirty), RunStatus::Waiting]
    );
    assert_eq!((list[1].ended, list[0].ended), (Some(at(0)), None));
    assert_eq!(journal.list(2).await.unwrap().len(), 2);

    // A run that is undone after its end is running again, and has no end.
    journal
        .append(
            runs[2],
            &Record {
                event: LifecycleEvent::Resumed { by: "ops".into(), stage: None, last_seen: None }
                    .into(),
                ..plain_record(1)
            },
        )
        .await
        .unwrap();
    assert_eq!(journal.list(2).await.unwrap()[1].ended, None);

    // A run that is paused in its undo, or resumed there, has a status of its own.
    let undo = Some(Stage::Undo);
    let paused =
        LifecycleEvent::Paused { reason: PauseReason::Interrupted, took_ms: None, stage: undo };
    let resumed = LifecycleEvent::Resumed { by: "ops".into(), stage: undo, last_seen: None };
    for (seq, event, status) in
        [(2, paused, RunStatus::PausedUndoing), (3, resumed, RunStatus::Undoing)]
    {
        journal
            .append(runs[2], &Record { event: event.into(), ..plain_record(seq) })
            .await
            .unwrap();
        assert_eq!(journal.list(2).await.unwrap()[1].status, status);
    }
}

/// Each run that held the lock between the two tokens is named once. A run that held it before or
/// after, or that was removed, is not.
async fn the_runs_that_held_a_lock_between_two_tokens_are_found(location: JournalLocation) {
    let journal = open(&location).await;
    let runs: Vec<RunId> = (0..5).map(|_| RunId::generate()).collect();
    for (second, run) in [0, 1, 2, 2, 3, 4].into_iter().zip([0, 1, 2, 2, 3, 4].map(|at| runs[at])) {
        let any_request = request("lock:db", 0, 0, second);
        let holder = Holder { run, executor: Uuid::now_v7(), ..any_request.holder.clone() };
        let lease = held(journal.acquire(&LeaseRequest { holder, ..any_request }).await.unwrap());
        journal.release(&lease).await.unwrap();
    }
    let between = async |from, to| journal.held_between("db", (from, to)).await.unwrap();
    assert_eq!(between(1, 6).await, [runs[1], runs[2], runs[3]]);
    assert_eq!(between(1, 2).await, []);
    assert_eq!(journal.held_between("other", (0, 9)).await.unwrap(), []);
    journal.create(&header(runs[2], 0)).await.unwrap();
    journal.append(runs[2], &ended(0, RunEnd::Succeeded)).await.unwrap();
    let pruning = Pruning { ended_before: at(100), dirty: DirtyRuns::Keep, now: at(100) };
    assert_eq!(journal.prune(&pruning).await.unwrap(), 1);
    assert_eq!(between(0, 9).await, [runs[0], runs[1], runs[3], runs[4]]);
}

async fn a_run_or_record_that_is_there_already_is_never_written_over(location: JournalLocation) {
    let run = RunId::generate();
    let journal = open(&location).await;
    journal.create(&header(run, 0)).await.unwrap();
    assert!(
        matches!(journal.create(&header(run, 9)).await, Err(JournalError::RunExists { run: r }) if r == run)
    );
    for first in [plain_record(0), ended(1, RunEnd::Succeeded)] {
        journal.append(run, &first).await.unwrap();
        for second in [plain_record(first.seq), ended(first.seq, RunEnd::Dirty)] {
            let error = journal.append(run, &second).await.unwrap_err();
            assert!(
                matches!(error, JournalError::RecordExists { seq, .. } if seq == first.seq),
                "{error}"
            );
        }
    }
    assert_eq!(
        journal.load(run).await.unwrap().records,
        [plain_record(0), ended(1, RunEnd::Succeeded)]
    );
    assert_eq!(
        journal.list(1).await.unwrap()[0].status,
        RunStatus::Ended(RunEnd::Succeeded),
        "a refused record does not change the status"
    );
}

async fn of_many_retries_of_a_run_at_one_time_exactly_one_begins(location: JournalLocation) {
    let old = RunId::generate();
    let journal = open(&location).await;
    journal.create(&header(old, 0)).await.unwrap();
    journal.append(old, &ended(0, RunEnd::Dirty)).await.unwrap();
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..8 {
        // Each client has connections of its own.
        let (client, run) = (open(&location).await, RunId::generate());
        tries.spawn(async move {
            client.create(&header(run, 1)).await.unwrap();
            let retry_of = Some(RetryOf { run: old, assumed: Vec::new() });
            let (runbook, title) = ("a".to_owned(), "a".to_owned());
            let started = LifecycleEvent::RunStarted {
                runbook,
                title,
                steps: Vec::new(),
                params: serde_json::Map::new(),
                retry_of,
            }
            .into();
            (run, client.append(run, &Record { event: started, ..plain_record(0) }).await)
        });
    }
    let results = tries.join_all().await;
    let begun: Vec<RunId> =
        results.iter().filter(|(_, result)| result.is_ok()).map(|(run, _)| *run).collect();
    let [winner] = begun[..] else { panic!("{results:?}") };
    for (run, result) in &results {
        let Err(error) = result else { continue };
        assert!(
            matches!(error, JournalError::AlreadyRetried { run, by } if *run == old && *by == winner),
            "{error}"
        );
        assert!(
            matches!(journal.load(*run).await, Err(JournalError::NoRun { .. })),
            "a run that never began is not kept"
        );
    }
    assert_eq!(journal.retried_by(old).await.unwrap(), Some(winner));
    let listed = journal.list(20).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed.iter().find(|run| run.run == old).unwrap().retried_by, Some(winner));
    // The run that began is itself not retried.
    assert_eq!(journal.retried_by(winner).await.unwrap(), None);
}

async fn a_missing_run_is_reported_with_the_command_that_lists_runs(location: JournalLocation) {
    let run = RunId::generate();
    let journal = open(&location).await;
    for error in [
        journal.load(run).await.unwrap_err(),
        journal.append(run, &plain_record(0)).await.unwrap_err(),
        journal.find("0193").await.unwrap_err(),
    ] {
        assert!(matches!(error, JournalError::NoRun { .. }), "{error}");
        assert!(error.to_string().contains("`runbook runs` lists them") && error.code() == "E0509");
    }
}

async fn the_beginning_of_an_id_finds_its_run_and_an_ambiguous_one_lists_them(
    location: JournalLocation,
) {
    let journal = open(&location).await;
    let ids = [
        "0193ab12-7700-7000-8000-000000000001",
        "0193ab12-7701-7000-8000-000000000002",
        "0193ac00-0000-7000-8000-000000000003",
    ];
    let runs = ids.map(|id| RunId::parse(id).unwrap());
    for run in runs {
        journal.create(&header(run, 0)).await.unwrap();
    }
    for (prefix, run) in [
        ("0193ac", runs[2]),
        ("0193AB12-7701", runs[1]),
        ("0193ab127700", runs[0]),
        (ids[2], runs[2]),
    ] {
        assert_eq!(journal.find(prefix).await.unwrap(), run, "{prefix}");
    }
    let error = journal.find("0193ab").await.unwrap_err();
    assert!(matches!(&error, JournalError::Ambiguous { candidates, .. } if candidates.len() == 2));
    let message = error.to_string();
    assert!(
        message.starts_with("`0193ab` is the beginning of 2 runs")
            && ids[..2].iter().all(|id| message.contains(id)),
        "{message}"
    );
    for unknown_prefix in ["", "%", "0193ab12-7702", "zz", "'; DROP TABLE runs"] {
        assert!(
            matches!(journal.find(unknown_prefix).await, Err(JournalError::NoRun { .. })),
            "{unknown_prefix}"
        );
    }
}

async fn a_reader_that_follows_a_run_gets_only_new_records(location: JournalLocation) {
    let run = RunId::generate();
    let journal = open(&location).await;
    journal.create(&header(run, 0)).await.unwrap();
    for seq in 0..4 {
        journal.append(run, &plain_record(seq)).await.unwrap();
    }
    assert_eq!(journal.records_from(run, 2).await.unwrap(), [plain_record(2), plain_record(3)]);
    assert_eq!(journal.records_from(run, 4).await.unwrap(), []);
}

async fn of_many_who_want_a_lease_at_once_exactly_one_gets_it(location: JournalLocation) {
    let journal = open(&location).await;
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
            n_held += usize::from(matches!(task.await.unwrap(), AcquireResult::Held(_)));
        }
        assert_eq!(n_held, 1);
    }
}

async fn a_call_that_is_dropped_in_the_middle_leaves_the_journal_usable(location: JournalLocation) {
    let run = RunId::generate();
    let journal = open(&location).await;
    journal.create(&header(run, 0)).await.unwrap();
    for seq in 0..40 {
        let first_result = tokio::time::timeout(
            Duration::from_micros(seq * 50),
            journal.append(run, &ended(seq, RunEnd::Dirty)),
        )
        .await;
        let second_result = journal.append(run, &ended(seq, RunEnd::Succeeded)).await;
        match (first_result, second_result) {
            (_, Ok(())) | (Ok(Ok(())) | Err(_), Err(JournalError::RecordExists { .. })) => {}
            (first_result, second_result) => panic!("{first_result:?} {second_result:?}"),
        }
    }
    assert_eq!(journal.load(run).await.unwrap().records.len(), 40);
}

/// With real clocks, because a server uses its own. A lease that must not expire has a time of
/// minutes, so that it survives a pause of a busy machine; one that must expire is renewed for a
/// millisecond.
async fn a_lease_is_busy_until_it_is_released_or_not_renewed(location: JournalLocation) {
    let journal = open(&location).await;
    let now = jiff::Timestamp::now;
    let (moment, short, long) =
        (Duration::from_millis(1), Duration::from_secs(3), Duration::from_mins(10));
    let lease_request = |run, ttl, steal| LeaseRequest {
        now: now(),
        ttl,
        steal,
        ..request("lock:db", run, run, 0)
    };
    let first = held(journal.acquire(&lease_request(1, short, None)).await.unwrap());
    assert_eq!((first.token, &first.taken_from), (1, &None));
    // For longer than the lease lives without a renewal.
    let begun = std::time::Instant::now();
    while begun.elapsed() < short + moment {
        assert!(matches!(
            journal.acquire(&lease_request(2, long, None)).await.unwrap(),
            AcquireResult::Busy { token: 1, .. }
        ));
        assert_eq!(journal.renew(&first, now(), short).await.unwrap(), RenewResult::Held);
    }
    journal.release(&first).await.unwrap();
    let second = held(journal.acquire(&lease_request(2, long, None)).await.unwrap());
    assert_eq!((second.token, &second.taken_from), (2, &None));
    journal.release(&first).await.unwrap();
    assert!(
        journal.holder("lock:db", now()).await.unwrap().is_some(),
        "a late release of an old holder frees nothing"
    );
    assert!(
        matches!(
            journal.acquire(&lease_request(3, long, None)).await.unwrap(),
            AcquireResult::Busy { token, .. } if token == second.token
        ),
        "nor does it let another in"
    );
    assert_eq!(journal.renew(&second, now(), moment).await.unwrap(), RenewResult::Held);
    let third = loop {
        match journal.acquire(&lease_request(3, long, None)).await.unwrap() {
            AcquireResult::Held(lease) => break lease,
            // The second lives a moment longer.
            AcquireResult::Busy { token, .. } => assert_eq!(token, second.token),
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "the second lease ends at some time");
    };
    assert_eq!(third.taken_from.as_ref().map(|holder| holder.run), Some(RunId(Uuid::from_u128(2))));
    assert_eq!(journal.renew(&second, now(), long).await.unwrap(), RenewResult::Lost);
    held(journal.acquire(&lease_request(4, long, Some(third.token))).await.unwrap());
    let reasons: Vec<_> = journal
        .takeovers("lock:db")
        .await
        .unwrap()
        .iter()
        .map(|takeover| takeover.reason)
        .collect();
    assert_eq!(reasons, [TakeoverReason::Expired, TakeoverReason::Stolen]);
}

/// For each way to lose a lease, for each lease, for records that change the run's status and for
/// those that do not.
async fn each_record_needs_every_lease_of_its_fence_and_renews_them(location: JournalLocation) {
    let journal = open(&location).await;
    let long = Duration::from_secs(30);
    let now = jiff::Timestamp::now;
    let lease_request = |name: &str, run, ttl, steal| LeaseRequest {
        now: now(),
        ttl,
        steal,
        ..request(name, run, run, 0)
    };
    let new_records: [fn(u64) -> Record; 2] = [plain_record, |seq| Record {
        event: LifecycleEvent::Resumed { by: "x".into(), stage: None, last_seen: None }.into(),
        ..plain_record(seq)
    }];
    for record in new_records {
        for lost in 0..3 {
            for way in ["expired", "released", "stolen"] {
                let run = RunId::generate();
                journal.create(&header(run, 0)).await.unwrap();
                let names =
                    [format!("run:{run}"), format!("lock:a:{run}"), format!("lock:b:{run}")];
                let mut leases = Vec::new();
                for name in &names {
                    leases.push(held(
                        journal.acquire(&lease_request(name, 1, long, None)).await.unwrap(),
                    ));
                }
                let all_leases: Vec<&Lease> = leases.iter().collect();
                // The leases are renewed for a moment only, so that they end soon.
                let short_fence =
                    Fence { leases: &all_leases, now: now(), ttl: Duration::from_millis(1) };
                assert_eq!(
                    journal.append_fenced(run, &record(0), &short_fence).await.unwrap(),
                    FencedAppend::Written
                );
                match way {
                    "expired" => loop {
                        if let AcquireResult::Held(_) = journal
                            .acquire(&lease_request(&names[lost], 2, long, None))
                            .await
                            .unwrap()
                        {
                            break;
                        }
                    },
                    "released" => journal.release(&leases[lost]).await.unwrap(),
                    _ => drop(held(
                        journal
                            .acquire(&lease_request(
                                &names[lost],
                                2,
                                long,
                                Some(leases[lost].token),
                            ))
                            .await
                            .unwrap(),
                    )),
                }
                let fence = Fence { leases: &all_leases, now: now(), ttl: long };
                let refused = journal.append_fenced(run, &record(1), &fence).await.unwrap();
                assert_eq!(refused, FencedAppend::Lost { lease: names[lost].clone() }, "{way}");
                assert_eq!(journal.load(run).await.unwrap().records, [record(0)], "{way}");
                // The others are still held, and a record that needs no more than them is written
                // and renews them.
                let other_leases: Vec<&Lease> =
                    leases.iter().filter(|lease| lease.name != names[lost]).collect();
                let fence = Fence { leases: &other_leases, now: now(), ttl: long };
                assert_eq!(
                    journal.append_fenced(run, &record(1), &fence).await.unwrap(),
                    FencedAppend::Written,
                    "{way}"
                );
                for lease in other_leases {
                    let (_, left) = journal.holder(&lease.name, now()).await.unwrap().unwrap();
                    assert!(left > Duration::from_secs(1), "{way}: {left:?}");
                }
            }
        }
    }
}

/// One process writes as fast as it can with leases that live for a moment; another takes the lock
/// as soon as it may.
async fn a_record_and_a_takeover_at_one_moment_are_one_after_the_other(location: JournalLocation) {
    let (writer, taker) = (open(&location).await, open(&location).await);
    for round in 0..30u64 {
        let run = RunId::generate();
        writer.create(&header(run, 0)).await.unwrap();
        let (name, ttl) = (format!("lock:{run}"), Duration::from_micros(500 + round * 200));
        let lease_request =
            |run| LeaseRequest { now: jiff::Timestamp::now(), ttl, ..request(&name, run, run, 0) };
        let lease = held(writer.acquire(&lease_request(1)).await.unwrap());
        let journal = writer.clone();
        let writing = tokio::spawn(async move {
            for seq in 0.. {
                let fence = Fence { leases: &[&lease], now: jiff::Timestamp::now(), ttl };
                if let FencedAppend::Lost { .. } =
                    journal.append_fenced(run, &plain_record(seq), &fence).await.unwrap()
                {
                    return seq;
                }
                // The writer gets slower until its lease has expired.
                tokio::time::sleep(Duration::from_micros(seq * 300)).await;
            }
            unreachable!("the lease is lost at some time")
        });
        while matches!(taker.acquire(&lease_request(2)).await.unwrap(), AcquireResult::Busy { .. })
        {
        }
        let at_takeover = taker.load(run).await.unwrap().records.len() as u64;
        let written = writing.await.unwrap();
        assert_eq!(
            at_takeover, written,
            "round {round}: nothing is written by whom the lock was taken from"
        );
    }
}

async fn a_cancel_is_asked_of_one_execution_of_a_run(location: JournalLocation) {
    let (journal, run, now) = (open(&location).await, RunId::generate(), at(0));
    let [first, second] = [Uuid::from_u128(1), Uuid::from_u128(2)];
    assert_eq!(journal.cancel_request(run, first).await.unwrap(), None);
    journal.request_cancel(run, first, "ada", now).await.unwrap();
    journal.request_cancel(run, first, "bob", now).await.unwrap();
    assert_eq!(journal.cancel_request(run, first).await.unwrap().as_deref(), Some("ada"));
    assert_eq!(
        journal.cancel_request(run, second).await.unwrap(),
        None,
        "a run that is resumed is not cancelled by what was asked before"
    );
}

/// Events that were added after events had the field `of`.
const LATER_EVENTS: &[&str] = &["cancel-requested"];

/// The journal has the tables and runs of the first version of the program, and nothing of later
/// versions.
async fn a_journal_of_the_first_version_is_brought_up_to_date(location: JournalLocation) {
    let journal = open(&location).await;
    let run = RunId::generate();
    journal.create(&header(run, 0)).await.unwrap();
    journal.append(run, &plain_record(0)).await.unwrap();
    journal.close().await;
    sql(
        &location,
        &format!("{} DELETE FROM _sqlx_migrations WHERE version > 1;", drop_later_tables()),
    )
    .await;
    // Events had no field `of`.
    let all_types: Vec<(&str, String)> = event_types()
        .into_iter()
        .flat_map(|(subject, types)| types.into_iter().map(move |kind| (subject, kind)))
        .collect();
    let all_types: Vec<_> =
        all_types.into_iter().filter(|(_, kind)| !LATER_EVENTS.contains(&kind.as_str())).collect();
    assert!(all_types.len() > 30, "{all_types:?}");
    let old_events: Vec<String> =
        all_types.iter().map(|(_, kind)| format!(r#"{{"type":"{kind}","x":1}}"#)).collect();
    let first_event =
        serde_json::to_string(&plain_record(0).event).unwrap().replacen(r#""of":"run","#, "", 1);
    sql(&location, &format!("UPDATE events SET event = '{first_event}';")).await;
    for (seq, event) in old_events.iter().enumerate() {
        sql(
            &location,
            &format!("INSERT INTO events VALUES ('{}', {}, 0, '{event}');", run, seq + 100),
        )
        .await;
    }
    let journal = open(&location).await;
    for (seq, (subject, kind)) in all_types.iter().enumerate() {
        let new_event = format!(r#"{{"of":"{subject}","type":"{kind}","x":1}}"#);
        let copy_if_equal = format!(
            "INSERT INTO events SELECT run, 100000 + {seq}, 0, event FROM events WHERE seq = {} \
             AND event = '{new_event}';",
            seq + 100
        );
        sql(&location, &copy_if_equal).await;
    }
    assert_eq!(count(&location, "seq >= 100000").await, all_types.len());
    sql(&location, "DELETE FROM events WHERE seq >= 100;").await;
    assert_eq!(journal.load(run).await.unwrap().records, [plain_record(0)]);
    journal.append(run, &Record { at: at(10), ..ended(1, RunEnd::Succeeded) }).await.unwrap();
    journal.close().await;
    sql(&location, drop_later_tables()).await;
}

/// The types of all events, by what they happen to, as serde tells them.
fn event_types() -> [(&'static str, Vec<String>); 4] {
    fn names<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_str::<T>(r#"{"type":"?"}"#).err().unwrap().to_string();
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }
    [
        ("run", names::<LifecycleEvent>()),
        ("step", names::<StepEvent>()),
        ("guard", names::<GuardEvent>()),
        ("notify", names::<NotifyEvent>()),
    ]
}

/// How many events there are of which a condition holds.
async fn count(location: &JournalLocation, condition: &str) -> usize {
    use sqlx::{Connection, Row};
    let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM events WHERE {condition}"));
    let n: i64 = match location {
        JournalLocation::File(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(statement).fetch_one(&mut connection).await.unwrap().get(0)
        }
        JournalLocation::Server(_) => {
            let mut connection = sqlx::PgConnection::connect(&location.to_string()).await.unwrap();
            sqlx::raw_sql(statement).fetch_one(&mut connection).await.unwrap().get(0)
        }
    };
    usize::try_from(n).unwrap()
}

/// The statements that remove what later versions have added to the tables.
fn drop_later_tables() -> &'static str {
    "DROP TABLE lock_holders; DROP TABLE broken_locks; DROP INDEX runs_by_end; DROP INDEX \
     runs_by_name; DROP TABLE cancel_requests; ALTER TABLE leases DROP COLUMN process; ALTER TABLE \
     takeovers DROP COLUMN from_process; ALTER TABLE runs DROP COLUMN tried_again_by; ALTER TABLE \
     runs DROP COLUMN took_ms;"
}

async fn a_journal_of_a_newer_program_is_refused(location: JournalLocation) {
    open(&location).await.close().await;
    let blob = if location.file().is_some() { "x'00'" } else { "'\\x00'" };
    let is_done = if location.file().is_some() { "1" } else { "true" };
    let columns = "(version, description, success, checksum, execution_time)";
    sql(
        &location,
        &format!(
            "INSERT INTO _sqlx_migrations {columns} VALUES (99, 'future', {is_done}, {blob}, 1)"
        ),
    )
    .await;
    let error = SqlJournal::open(&location).await.err().unwrap();
    assert!(matches!(error, JournalError::Newer { found: 99, .. }), "{error:?}");
}

async fn only_runs_that_have_ended_long_ago_are_pruned(location: JournalLocation) {
    let journal = open(&location).await;
    let runs: Vec<RunId> = (0..6).map(|_| RunId::generate()).collect();
    for run in &runs {
        journal.create(&header(*run, 0)).await.unwrap();
    }
    let end = |second: i64, end| Record { at: at(second), ..ended(0, end) };
    journal.append(runs[0], &end(10, RunEnd::Succeeded)).await.unwrap();
    journal.append(runs[1], &end(20, RunEnd::Undone)).await.unwrap();
    journal.append(runs[2], &end(30, RunEnd::Dirty)).await.unwrap();
    journal.append(runs[3], &end(90, RunEnd::Succeeded)).await.unwrap();
    journal.append(runs[4], &plain_record(0)).await.unwrap();
    // It has ended, and somebody is about to undo it.
    journal.append(runs[5], &end(10, RunEnd::Succeeded)).await.unwrap();
    let now = jiff::Timestamp::now();
    let lease = LeaseRequest { now, ..request(&format!("run:{}", runs[5]), 1, 1, 0) };
    held(journal.acquire(&lease).await.unwrap());

    let mut pruning = Pruning { ended_before: at(60), dirty: DirtyRuns::Keep, now };
    assert_eq!(
        (journal.count_prunable(&pruning).await.unwrap(), journal.count().await.unwrap()),
        (2, 6)
    );
    assert_eq!(journal.prune(&pruning).await.unwrap(), 2);
    let remaining: Vec<RunId> = journal.list(10).await.unwrap().iter().map(|run| run.run).collect();
    assert!(
        runs[2..].iter().all(|run| remaining.contains(run)) && remaining.len() == 4,
        "{remaining:?}"
    );
    assert!(matches!(journal.load(runs[0]).await, Err(JournalError::NoRun { .. })));
    assert!(journal.records_from(runs[0], 0).await.unwrap().is_empty(), "its records are gone too");
    pruning.dirty = DirtyRuns::Remove;
    assert_eq!(journal.prune(&pruning).await.unwrap(), 1);
    assert_eq!(journal.prune(&pruning).await.unwrap(), 0);
}

async fn durations_of_successful_runs_are_found_by_the_name_of_the_runbook(
    location: JournalLocation,
) {
    let journal = open(&location).await;
    for (number, end) in
        [RunEnd::Succeeded, RunEnd::SucceededWithWarnings, RunEnd::Dirty].into_iter().enumerate()
    {
        let (run, second) = (RunId::generate(), i64::try_from(number).unwrap() * 100);
        journal.create(&header(run, second)).await.unwrap();
        // It was paused for most of the time between its start and its end.
        let took_ms = Some(5_000 + u64::try_from(number).unwrap() * 1_000);
        let event = LifecycleEvent::RunEnded { end, cause: None, took_ms }.into();
        journal
            .append(run, &Record { at: at(second + 3_600), event, ..plain_record(0) })
            .await
            .unwrap();
    }
    let seconds = |took: Vec<Duration>| took.iter().map(Duration::as_secs).collect::<Vec<_>>();
    assert_eq!(seconds(journal.durations("emergency-db", 10).await.unwrap()), [6, 5]);
    assert_eq!(seconds(journal.durations("emergency-db", 1).await.unwrap()), [6]);
    assert!(journal.durations("other", 10).await.unwrap().is_empty());
}

async fn several_processes_can_open_a_new_journal_at_once(location: JournalLocation) {
    let open = || block_on(async { SqlJournal::open(&location).await.map(drop) });
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let openings: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            for opening in openings {
                opening.join().unwrap().unwrap();
            }
        });
    });
}

/// The list, one run by a prefix of its id, and its records are read by an index, because a person
/// waits for them. `benches/many_runs.rs` measures the time.
async fn runs_are_listed_found_and_read_by_an_index(location: JournalLocation) {
    let _journal = open(&location).await;
    sql(&location, &many_runs(&location, 20_000)).await;
    sql(&location, "ANALYZE").await;
    for (name, statement) in lookup_statements() {
        let plan = query_plan(&location, statement).await;
        let is_scan = |line: &&String| {
            line.contains("Seq Scan") || (line.starts_with("SCAN") && !line.contains(" USING "))
        };
        assert_eq!(plan.iter().find(is_scan), None, "{name} on {location}: {plan:#?}");
        let uses_index = |line: &String| {
            ["INDEX", "PRIMARY KEY", "Index"].iter().any(|word| line.contains(word))
        };
        assert!(plan.iter().any(uses_index), "{name} on {location}: {plan:#?}");
    }
}

/// How the database answers a statement, line by line.
async fn query_plan(location: &JournalLocation, statement: &str) -> Vec<String> {
    use sqlx::{Connection, Row};
    let run = "'00000001-0000-7000-8000-000000000001'";
    let values = |first: &str, second: &str| {
        statement.replace("$1", first).replace("$2", second).replace("$3", "3")
    };
    let full_statement = match (statement.contains("LIMIT $1"), statement.contains("seq >= $2")) {
        (true, _) => values("20", ""),
        (false, true) => values(run, "0"),
        (false, false) => values(run, run),
    };
    match location {
        JournalLocation::File(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            let statement = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {full_statement}"));
            sqlx::raw_sql(statement)
                .fetch_all(&mut connection)
                .await
                .unwrap()
                .iter()
                .map(|row| row.get("detail"))
                .collect()
        }
        JournalLocation::Server(_) => {
            let mut connection = sqlx::PgConnection::connect(&location.to_string()).await.unwrap();
            let statement = sqlx::AssertSqlSafe(format!("EXPLAIN {full_statement}"));
            sqlx::raw_sql(statement)
                .fetch_all(&mut connection)
                .await
                .unwrap()
                .iter()
                .map(|row| row.get(0))
                .collect()
        }
    }
}

/// A statement that adds so many runs of one record each.
fn many_runs(location: &JournalLocation, n: u32) -> String {
    let id = if location.file().is_some() {
        "printf('%08x-0000-7000-8000-%012x', n, n)"
    } else {
        "lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0')"
    };
    let numbers = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 \
                 FROM numbers WHERE n < {n})"
    );
    let event = serde_json::to_string(&plain_record(0).event).unwrap();
    format!(
        "INSERT INTO runs (run, name, title, operator, environment, phase, started_ns, \
             ended_ns, digest, sources, params) {numbers} SELECT {id}, 'emergency-db', 'Database \
             emergency', 'ops', NULL, '{{\"ended\":\"succeeded\"}}', n * 1000, n * 1000 + 5, \
             'sha256:00', '[]', '{{}}' FROM numbers; INSERT INTO events {numbers} SELECT {id}, 0, \
             n * 1000, '{event}' FROM numbers;"
    )
}

type ServerCheck = fn(&mut Postgres);

const SERVER_CHECKS: &[(&str, ServerCheck)] = &[
    ("a_server_that_restarts_is_waited_for_and_nothing_is_written_twice", restart),
    ("an_append_whose_answer_was_lost_is_recognised", lost_answer),
    ("leases_expire_by_the_clock_of_the_server", clock_of_the_server),
    ("a_refused_user_is_told_what_to_check", refused_user),
];

fn restart(postgres: &mut Postgres) {
    let location = JournalLocation::parse(&postgres.database("restart")).unwrap();
    let run = RunId::generate();
    block_on(async {
        let journal = open(&location).await.with_server_listener(note_unreachable);
        journal.create(&header(run, 0)).await.unwrap();
        let lease_request =
            LeaseRequest { now: jiff::Timestamp::now(), ..request("lock:db", 1, 1, 0) };
        let lease = held(journal.acquire(&lease_request).await.unwrap());
        let (written, is_enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let writer = tokio::spawn({
            let (journal, written, is_enough) =
                (journal.clone(), Arc::clone(&written), Arc::clone(&is_enough));
            async move {
                while !is_enough.load(Ordering::SeqCst) {
                    let seq = written.load(Ordering::SeqCst);
                    journal.append(run, &plain_record(seq)).await.unwrap();
                    written.store(seq + 1, Ordering::SeqCst);
                }
            }
        });
        let written = || written.load(Ordering::SeqCst);
        tokio::task::block_in_place(|| {
            wait_for("some records are written", || written() >= 20);
            postgres.kill();
            wait_for("the writer has noticed", || IS_UNREACHABLE.load(Ordering::SeqCst));
            postgres.start_again();
            let before = written();
            wait_for("it writes again", || written() >= before + 20);
        });
        is_enough.store(true, Ordering::SeqCst);
        writer.await.unwrap();
        assert_eq!(
            journal.renew(&lease, jiff::Timestamp::now(), Duration::from_secs(30)).await.unwrap(),
            RenewResult::Held
        );
        let records = journal.load(run).await.unwrap().records;
        assert_eq!(records.len() as u64, written());
        assert!(records.iter().zip(0..).all(|(record, seq)| *record == plain_record(seq)));
    });
}

/// Whether the journal of [`restart`] has reported that its server does not answer.
static IS_UNREACHABLE: AtomicBool = AtomicBool::new(false);

fn note_unreachable(_: &JournalLocation, event: ServerEvent) {
    if let ServerEvent::Unreachable { .. } = event {
        IS_UNREACHABLE.store(true, Ordering::SeqCst);
    }
}

/// The record is in the journal and the connection is cut before its answer arrives: a trigger ends
/// the session that inserts the record, until another connection has inserted it.
fn lost_answer(postgres: &mut Postgres) {
    let url = postgres.database("lost");
    let location = JournalLocation::parse(&url).unwrap();
    let run = RunId::generate();
    block_on(async {
        let journal = open(&location).await;
        journal.create(&header(run, 0)).await.unwrap();
        // Another connection writes the same record, as the first try has, and then cuts the one
        // that tries.
        sql(
            &location,
            "CREATE SEQUENCE cuts; CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql \
                     AS $$ BEGIN PERFORM nextval('cuts'); PERFORM \
                     pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$; CREATE TRIGGER \
                     cut BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.seq = 1) EXECUTE FUNCTION \
                     cut();",
        )
        .await;
        journal.append(run, &plain_record(0)).await.unwrap();
        let appending = tokio::spawn({
            let journal = journal.clone();
            async move { journal.append(run, &plain_record(1)).await }
        });
        // A number that was drawn stays drawn, whatever becomes of the transaction.
        tokio::task::block_in_place(|| {
            wait_for("it was cut three times", || {
                postgres.psql("lost", "select last_value >= 3 from cuts") == "t"
            });
        });
        assert!(!appending.is_finished(), "it is cut again and again, and goes on trying");
        let text = serde_json::to_string(&plain_record(1).event).unwrap();
        let at = plain_record(1).at.as_nanosecond();
        sql(
            &location,
            &format!(
                "ALTER TABLE events DISABLE TRIGGER cut; INSERT INTO events VALUES ('{run}', 1, \
                 {at}, '{text}');"
            ),
        )
        .await;
        appending.await.unwrap().unwrap();
        assert_eq!(journal.load(run).await.unwrap().records, [plain_record(0), plain_record(1)]);
    });
}

/// A caller whose clock is an hour ahead takes nothing from one whose clock is right.
fn clock_of_the_server(postgres: &mut Postgres) {
    let location = JournalLocation::parse(&postgres.database("clock")).unwrap();
    block_on(async {
        let journal = open(&location).await;
        let now = jiff::Timestamp::now();
        held(journal.acquire(&LeaseRequest { now, ..request("lock:db", 1, 1, 0) }).await.unwrap());
        let ahead = now + Duration::from_hours(1);
        let found = journal
            .acquire(&LeaseRequest { now: ahead, ..request("lock:db", 2, 2, 0) })
            .await
            .unwrap();
        assert!(matches!(found, AcquireResult::Busy { .. }), "{found:?}");
    });
}

fn refused_user(postgres: &mut Postgres) {
    let url = postgres.database("closed").replace("journal@", "nobody-of-this-name@");
    let error = block_on(SqlJournal::open(&JournalLocation::parse(&url).unwrap())).err().unwrap();
    assert!(matches!(error, JournalError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("PGPASSWORD"), "{error}");
    let closed_port = JournalLocation::parse("postgres://journal@127.0.0.1:1/journal").unwrap();
    let error = block_on(SqlJournal::open(&closed_port)).err().unwrap();
    assert!(matches!(error, JournalError::Unreachable { .. }), "{error:?}");
}
