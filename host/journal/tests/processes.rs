//! The journal as several processes see it: killed at any moment, all at once, and on a full disk.
//!
//! This program starts itself as a child, so it has no test harness. Each check is one function; a
//! panic in one is its failure. With an argument only the checks whose name holds it are run, as
//! with `cargo test NAME`.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use runbook_engine::{AcquireResult, Holder, Journal, Lease, LeaseRequest, RunEnd, RunId};
use runbook_journal::{JournalError, JournalLocation, SqlJournal};
use std::io::{BufRead, BufReader, Read, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;
use support::{at, ended, header, plain_record, request};
use uuid::Uuid;

/// A check gets a folder of its own.
type Check = fn(&Path);

const CHECKS: &[(&str, Check)] = &[
    ("a_record_survives_a_kill_once_append_has_returned", survives_a_kill),
    ("several_processes_open_a_new_journal_at_once_and_lose_no_record", open_at_once),
    ("a_new_journal_opens_for_all_who_open_it_at_the_same_moment", only_open_at_once),
    ("a_second_process_that_executes_the_same_run_is_detected", same_run),
    ("a_lease_excludes_other_processes_and_its_tokens_only_grow", lease_excludes),
    ("a_full_disk_stops_the_append_loses_nothing_and_still_releases_the_lock", full_disk),
    (
        "with_little_space_left_the_journal_can_be_read_and_a_failed_write_is_reported_as_full",
        with_little_space_left_the_journal_can_be_read_and_a_failed_write_is_reported_as_full,
    ),
    ("a_disk_that_cannot_be_written_is_refused", read_only_disk),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name, rest @ ..] = arguments.as_slice()
        && first == "child"
    {
        child(name, rest);
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in CHECKS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = CHECKS
        .iter()
        .filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter.as_str())));
    let mut n_failed = 0;
    for (name, check) in chosen {
        let folder = tempfile::tempdir().unwrap();
        let passed = std::panic::catch_unwind(AssertUnwindSafe(|| check(folder.path()))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        n_failed += u32::from(!passed);
    }
    if n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn child(name: &str, arguments: &[String]) {
    let path = PathBuf::from(&arguments[0]);
    match name {
        "append" => append_for_ever(&path, arguments[1].parse().map(RunId).unwrap()),
        "append-some" => append_some(&path, arguments[1].parse().map(RunId).unwrap()),
        "open" => drop(wait(open(&path))),
        "count" => count_under_lease(&path, &arguments[1]),
        "full" => on_full_disk(&path),
        "nearly-full" => on_nearly_full_disk(&path),
        "read-only" => on_read_only_disk(&path),
        other => panic!("no child `{other}`"),
    }
}

fn start(arguments: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg("child")
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(mut child: Child) -> String {
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success());
    output
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn open(path: &Path) -> SqlJournal {
    SqlJournal::open(&JournalLocation::from(path)).await.unwrap()
}

fn survives_a_kill(folder: &Path) {
    let (path, run) = (folder.join("journal.db"), RunId::generate());
    wait(async { open(&path).await.create(&header(run, 0)).await.unwrap() });
    let mut n_before = 0;
    for round in 0..12 {
        let mut child = start(&["append", path.to_str().unwrap(), &run.to_string()]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = 0;
        for _ in 0..=round * 7 {
            last = lines.next().unwrap().unwrap().parse::<u64>().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it wrote between the last line that was read and the kill counts too.
        let last =
            lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).last().unwrap_or(last);
        let records = wait(async { open(&path).await.load(run).await.unwrap().records });
        assert!(
            records.len() as u64 > last,
            "record {last} was promised, {} are there",
            records.len()
        );
        assert!(records.len() > n_before, "round {round} added records");
        assert!(
            records.iter().zip(0..).all(|(record, seq)| *record == plain_record(seq)),
            "no gap, nothing torn"
        );
        n_before = records.len();
    }
}

/// Appends from where the journal ends, and prints each number once it is promised.
fn append_for_ever(path: &Path, run: RunId) {
    wait(async {
        let journal = open(path).await;
        for seq in journal.load(run).await.unwrap().records.len() as u64.. {
            journal.append(run, &plain_record(seq)).await.unwrap();
            // The parent may have stopped reading; it kills this process in any case.
            drop(writeln!(std::io::stdout(), "{seq}"));
        }
    });
}

fn open_at_once(folder: &Path) {
    let path = folder.join("new/journal.db");
    let runs: Vec<RunId> = (0..6).map(|_| RunId::generate()).collect();
    let children: Vec<Child> = runs
        .iter()
        .map(|run| start(&["append-some", path.to_str().unwrap(), &run.to_string()]))
        .collect();
    for child in children {
        finish(child);
    }
    wait(async {
        let journal = open(&path).await;
        for run in runs {
            assert_eq!(journal.load(run).await.unwrap().records.len(), 50);
        }
        assert!(journal.list(100).await.unwrap().iter().all(|run| run.ended.is_some()));
    });
}

/// Repeated, because the processes collide only sometimes.
fn only_open_at_once(folder: &Path) {
    for round in 0..15 {
        let path = folder.join(format!("{round}/journal.db"));
        let children: Vec<Child> =
            (0..8).map(|_| start(&["open", path.to_str().unwrap()])).collect();
        for child in children {
            finish(child);
        }
    }
}

fn append_some(path: &Path, run: RunId) {
    wait(async {
        let journal = open(path).await;
        journal.create(&header(run, 0)).await.unwrap();
        for seq in 0..49 {
            journal.append(run, &plain_record(seq)).await.unwrap();
        }
        journal.append(run, &ended(49, RunEnd::Succeeded)).await.unwrap();
    });
}

fn same_run(folder: &Path) {
    let (path, run) = (folder.join("journal.db"), RunId::generate());
    wait(async {
        let journal = open(&path).await;
        journal.create(&header(run, 0)).await.unwrap();
        let mut child = start(&["append", path.to_str().unwrap(), &run.to_string()]);
        BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let error = journal.append(run, &ended(0, RunEnd::Dirty)).await.unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(error, JournalError::RecordExists { seq: 0, .. }), "{error}");
        assert_eq!(journal.load(run).await.unwrap().records[0], plain_record(0));
    });
}

fn lease_excludes(folder: &Path) {
    let path = folder.join("journal.db");
    std::fs::write(folder.join("count"), "0").unwrap();
    let children: Vec<Child> =
        (1..=4).map(|n| start(&["count", path.to_str().unwrap(), &n.to_string()])).collect();
    let mut tokens: Vec<u64> = children
        .into_iter()
        .flat_map(|child| {
            finish(child).lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (1..=100).collect::<Vec<u64>>(), "each token is given out once");
    assert_eq!(
        std::fs::read_to_string(folder.join("count")).unwrap(),
        "100",
        "no two were within at once"
    );
}

/// Counts a file up 25 times, each time under the lease, without which counts would be lost.
fn count_under_lease(path: &Path, executor: &str) {
    let count = path.with_file_name("count");
    let executor = executor.parse().unwrap();
    wait(async {
        let journal = open(path).await;
        for _ in 0..25 {
            let lease = loop {
                match journal.acquire(&request("lock:count", executor, executor, 0)).await.unwrap()
                {
                    AcquireResult::Held(lease) => break lease,
                    AcquireResult::Busy { .. } => tokio::task::yield_now().await,
                }
            };
            let n: u32 = std::fs::read_to_string(&count).unwrap().parse().unwrap();
            std::fs::write(&count, (n + 1).to_string()).unwrap();
            println!("{}", lease.token);
            journal.release(&lease).await.unwrap();
        }
    });
}

/// Runs a child of this program with a file system of its own at `folder`, as root or in a user
/// namespace.
fn in_tmpfs(folder: &Path, script: &str, child: &str) {
    let output = Command::new("unshare")
        .args([
            "--map-root-user",
            "--mount",
            "sh",
            "-ec",
            &format!("mount -t tmpfs -o size=1m tmpfs \"$1\"; {script}"),
            "sh",
        ])
        .arg(folder)
        .arg(std::env::current_exe().unwrap())
        .args(["child", child])
        .arg(folder.join("journal.db"))
        .output()
        .expect("`unshare` of util-linux is needed");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.contains("done"),
        "needs root or user namespaces: {out}{err}"
    );
}

fn full_disk(folder: &Path) {
    in_tmpfs(folder, "shift; exec \"$@\"", "full");
}

/// In a file system of 1 MiB: until it is full, then with space again.
fn on_full_disk(path: &Path) {
    wait(async {
        let run = RunId::generate();
        let journal = open(path).await;
        journal.create(&header(run, 0)).await.unwrap();
        let mut leases = Vec::new();
        for n in 0..10 {
            leases.push(hold_lease(&journal, run, n).await);
        }
        // Somebody else's file, which is deleted at the end.
        std::fs::write(path.with_file_name("other"), vec![1; 200 << 10]).unwrap();
        let mut n_kept = 0;
        let error = loop {
            match journal.append(run, &plain_record(n_kept)).await {
                Ok(()) => n_kept += 1,
                Err(error) => break error,
            }
        };
        assert!(n_kept > 10, "{n_kept} records");
        assert!(matches!(error, JournalError::Full { .. }), "{error:?}");
        assert!(
            error.to_string().contains("is full; free some space, then run `runbook resume`"),
            "{error}"
        );
        assert!(matches!(
            journal.append(run, &plain_record(n_kept)).await,
            Err(JournalError::Full { .. })
        ));
        assert_eq!(
            journal.load(run).await.unwrap().records.len() as u64,
            n_kept,
            "reading goes on, and nothing is lost"
        );

        assert!(path.with_file_name("journal.db-reserve").exists());
        for lease in &leases {
            journal.release(lease).await.unwrap();
            assert_eq!(
                journal.holder(&lease.name, at(0)).await.unwrap(),
                None,
                "the lock is free for others"
            );
        }
        assert!(
            !path.with_file_name("journal.db-reserve").exists(),
            "ten releases do not fit without the reserve"
        );

        std::fs::remove_file(path.with_file_name("other")).unwrap();
        journal.append(run, &plain_record(n_kept)).await.unwrap();
        journal.close().await;
        let journal = open(path).await;
        assert_eq!(journal.load(run).await.unwrap().records.len() as u64, n_kept + 1);
        assert!(path.with_file_name("journal.db-reserve").exists(), "and there is a reserve again");
        println!("done");
    });
}

fn with_little_space_left_the_journal_can_be_read_and_a_failed_write_is_reported_as_full(
    folder: &Path,
) {
    in_tmpfs(folder, "shift; exec \"$@\"", "nearly-full");
}

/// In a file system of 1 MiB: with each number of free pages, opened anew or before, with and
/// without its reserve.
fn on_nearly_full_disk(path: &Path) {
    let junk = path.with_file_name("junk");
    let leave_free = |n_pages: u64| {
        drop(std::fs::remove_file(&junk));
        let free = rustix::fs::statvfs(path.parent().unwrap()).unwrap();
        assert_eq!(free.f_bsize, 4096, "a page of a tmpfs");
        let full = std::fs::write(
            &junk,
            vec![1; usize::try_from((free.f_bavail - n_pages) * 4096).unwrap()],
        );
        full.unwrap();
    };
    let assert_full =
        |error: &JournalError| assert!(matches!(error, JournalError::Full { .. }), "{error:?}");
    wait(async {
        let run = RunId::generate();
        let journal = open(path).await;
        journal.create(&header(run, 0)).await.unwrap();
        journal.close().await;
        let (mut n_begun, mut n_refused, mut n_kept) = (0, 0, 0);
        for n_pages in 0..48 {
            for with_reserve in [true, false] {
                drop(std::fs::remove_file(&junk));
                open(path).await.close().await;
                if !with_reserve {
                    std::fs::remove_file(path.with_file_name("journal.db-reserve")).unwrap();
                }
                leave_free(n_pages);
                // Reading always works.
                let journal = open(path).await;
                assert_eq!(
                    journal.load(run).await.unwrap().records.len() as u64,
                    n_kept,
                    "{n_pages}"
                );
                match journal.create(&header(RunId::generate(), 0)).await {
                    Ok(()) => n_begun += 1,
                    Err(error) => {
                        assert_full(&error);
                        n_refused += 1;
                    }
                }
                match journal.append(run, &plain_record(n_kept)).await {
                    Ok(()) => n_kept += 1,
                    Err(error) => assert_full(&error),
                }
                journal.close().await;
            }
        }
        assert!(n_begun > 0 && n_refused > 0 && n_kept > 0, "{n_begun} {n_refused} {n_kept}");
        println!("done");
    });
}

async fn hold_lease(journal: &SqlJournal, run: RunId, n: u32) -> Lease {
    let holder =
        Holder { run, executor: Uuid::from_u128(1), host: "bastion".into(), pid: 1, process: None };
    let request = LeaseRequest {
        name: format!("lock:{n}"),
        holder,
        now: at(0),
        ttl: Duration::from_secs(30),
        steal: None,
    };
    match journal.acquire(&request).await.unwrap() {
        AcquireResult::Held(lease) => lease,
        AcquireResult::Busy { holder, .. } => panic!("busy: {holder}"),
    }
}

fn read_only_disk(folder: &Path) {
    in_tmpfs(folder, "shift; mount -o remount,ro \"$(dirname \"$4\")\"; exec \"$@\"", "read-only");
}

fn on_read_only_disk(path: &Path) {
    wait(async {
        let error = SqlJournal::open(&JournalLocation::from(path)).await.err().unwrap();
        assert!(matches!(error, JournalError::UnusablePath { .. }), "{error:?}");
        assert!(
            error.to_string().contains("choose one in a folder that belongs to you"),
            "{error}"
        );
        println!("done");
    });
}
