//! The audit chain has no problem if nothing was changed, and every change is detected.

use runbook_journal::audit::{AuditLog, CHAIN, Durability, RUNS, Rotation, verify};
use std::path::{Path, PathBuf};

fn write_run(folder: &Path, run: &str, count: u32, rotation: Rotation) {
    let log = AuditLog::new(folder, rotation);
    let run = log.open_run(run, format_args!("\"runbook\":\"r.toml\"")).expect("opened");
    for number in 0..count {
        run.append(Durability::Buffered, format_args!("\"kind\":\"judged\",\"number\":{number}"))
            .expect("written");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn problems(folder: &Path) -> Vec<String> {
    let verification = verify(folder).expect("readable");
    verification
        .problems
        .iter()
        .map(|problem| format!("{} {}", problem.line, problem.what))
        .collect()
}

fn join_lines(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

fn run_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(RUNS).join(name)
}

#[test]
fn an_unchanged_log_has_no_problem() {
    let folder = folder();
    for run in ["a", "b"] {
        write_run(folder.path(), run, 20, Rotation::default());
    }
    // The same run, resumed by another process.
    write_run(folder.path(), "a", 3, Rotation::default());
    let verification = verify(folder.path()).expect("readable");
    assert_eq!(
        (
            verification.problems.len(),
            verification.runs,
            verification.records,
            verification.unsealed.len()
        ),
        (0, 3, 49, 0)
    );
}

#[test]
fn every_change_of_every_record_is_found() {
    let folder = folder();
    write_run(folder.path(), "a", 5, Rotation::default());
    for file in [folder.path().join(CHAIN), run_file(folder.path(), "a.jsonl")] {
        let original = std::fs::read(&file).expect("readable");
        for index in 0..original.len() {
            let mut changed = original.clone();
            changed[index] ^= 1;
            std::fs::write(&file, &changed).expect("writable");
            assert!(!problems(folder.path()).is_empty(), "byte {index} of {}", file.display());
        }
        std::fs::write(&file, &original).expect("writable");
    }
    assert_eq!(problems(folder.path()), Vec::<String>::new());
}

#[test]
fn removed_moved_and_repeated_records_are_found() {
    let folder = folder();
    write_run(folder.path(), "a", 6, Rotation::default());
    let file = run_file(folder.path(), "a.jsonl");
    let text = std::fs::read_to_string(&file).expect("readable");
    let lines: Vec<&str> = text.lines().collect();
    let cases: Vec<Vec<&str>> = vec![
        lines[1..].to_vec(),
        [&lines[..2], &lines[3..]].concat(),
        lines[..5].to_vec(),
        [&lines[..2], &[lines[3], lines[2]], &lines[4..]].concat(),
        [&lines[..3], &lines[2..]].concat(),
        Vec::new(),
    ];
    for case in cases {
        std::fs::write(&file, join_lines(&case)).expect("writable");
        assert!(!problems(folder.path()).is_empty(), "{} of {} lines", case.len(), lines.len());
    }
    std::fs::remove_file(&file).expect("removable");
    assert!(problems(folder.path())[0].contains("it is missing"), "{:?}", problems(folder.path()));
}

#[test]
fn the_chain_of_a_run_cannot_be_replaced_by_that_of_another() {
    let folder = folder();
    write_run(folder.path(), "a", 3, Rotation::default());
    write_run(folder.path(), "b", 3, Rotation::default());
    std::fs::copy(run_file(folder.path(), "a.jsonl"), run_file(folder.path(), "b.jsonl"))
        .expect("copied");
    assert!(
        problems(folder.path()).iter().any(|problem| problem.contains("does not follow")),
        "{:?}",
        problems(folder.path())
    );
    std::fs::copy(run_file(folder.path(), "a.jsonl"), run_file(folder.path(), "c.jsonl"))
        .expect("copied");
    assert!(problems(folder.path()).iter().any(|problem| problem.contains("has opened it")));
}

#[test]
fn rotation_keeps_the_chain() {
    let folder = folder();
    let small = Rotation { max_bytes: 1_000 };
    for run in ["a", "b", "c", "d"] {
        write_run(folder.path(), run, 30, small);
    }
    let files = std::fs::read_dir(folder.path().join(RUNS)).expect("readable").count();
    assert!(files > 8, "{files} files");
    assert_eq!(problems(folder.path()), Vec::<String>::new());
    let oldest = std::fs::read_dir(folder.path().join(RUNS))
        .expect("readable")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("/a."))
        .min()
        .expect("a full file");
    std::fs::remove_file(oldest).expect("removable");
    assert!(!problems(folder.path()).is_empty());
}

#[test]
fn the_head_tells_whether_the_end_was_cut_off() {
    let folder = folder();
    write_run(folder.path(), "a", 3, Rotation::default());
    let before = verify(folder.path()).expect("readable").head;
    write_run(folder.path(), "b", 3, Rotation::default());
    let after = verify(folder.path()).expect("readable").head;
    assert_ne!(before, after);
    // Everything of the last run is taken away: the chain by itself is whole again, and its head is
    // the old one.
    let chain = folder.path().join(CHAIN);
    let text = std::fs::read_to_string(&chain).expect("readable");
    std::fs::write(&chain, join_lines(&text.lines().take(2).collect::<Vec<_>>()))
        .expect("writable");
    std::fs::remove_file(run_file(folder.path(), "b.jsonl")).expect("removable");
    let cut = verify(folder.path()).expect("readable");
    assert_eq!((cut.problems.len(), cut.head), (0, before));
}

#[test]
fn a_missing_or_emptied_log_has_a_problem() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("the folder is removed", |folder| std::fs::remove_dir_all(folder).expect("removable")),
        ("the folder is emptied", |folder| {
            std::fs::remove_dir_all(folder).expect("removable");
            std::fs::create_dir(folder).expect("made");
        }),
        ("its chain is removed", |folder| {
            std::fs::remove_file(folder.join(CHAIN)).expect("removable");
        }),
        ("its chain is cut to nothing", |folder| {
            std::fs::write(folder.join(CHAIN), "").expect("writable");
        }),
        ("its chain and its runs are removed", |folder| {
            std::fs::remove_file(folder.join(CHAIN)).expect("removable");
            std::fs::remove_dir_all(folder.join(RUNS)).expect("removable");
        }),
        ("its runs are removed", |folder| {
            std::fs::remove_dir_all(folder.join(RUNS)).expect("removable");
        }),
    ];
    for (name, damage) in damages {
        let parent = folder();
        let log = parent.path().join("log");
        write_run(&log, "a", 3, Rotation::default());
        assert_eq!(problems(&log), Vec::<String>::new());
        damage(&log);
        assert!(!problems(&log).is_empty(), "{name}");
    }
    assert_eq!(problems(&folder().path().join("typo")).len(), 1);
    let file = folder();
    std::fs::write(file.path().join("file"), "").expect("writable");
    assert!(verify(&file.path().join("file")).is_err(), "a file is no log");
}

#[test]
fn a_line_that_a_crash_cut_off_is_no_record_and_stops_nothing() {
    let folder = folder();
    write_run(folder.path(), "a", 3, Rotation::default());
    let chain = folder.path().join(CHAIN);
    let mut text = std::fs::read(&chain).expect("readable");
    text.extend(b"{\"seq\":3,\"prev\":\"ab");
    std::fs::write(&chain, &text).expect("writable");
    write_run(folder.path(), "b", 3, Rotation::default());
    assert_eq!(problems(folder.path()), Vec::<String>::new());
}

#[test]
fn the_chain_of_a_live_process_is_no_problem_and_is_not_sealed() {
    let folder = folder();
    let log = AuditLog::new(folder.path(), Rotation::default());
    let run = log.open_run("a", format_args!("\"runbook\":\"r.toml\"")).expect("opened");
    run.append(Durability::Flushed, format_args!("\"kind\":\"judged\"")).expect("written");
    write_run(folder.path(), "b", 1, Rotation::default());
    let verification = verify(folder.path()).expect("readable");
    assert_eq!(
        (verification.problems.len(), verification.live_chains, verification.unsealed.len()),
        (0, vec!["a.jsonl".to_owned()], 0)
    );
    run.append(Durability::Flushed, format_args!("\"kind\":\"judged\"")).expect("written");
    drop(run);
    let verification = verify(folder.path()).expect("readable");
    assert_eq!(
        (verification.problems.len(), verification.live_chains.len(), verification.unsealed.len()),
        (0, 0, 0)
    );
}

#[test]
fn two_processes_may_write_at_once() {
    let folder = folder();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let path = folder.path();
            scope.spawn(move || {
                for round in 0..10 {
                    write_run(path, &format!("{thread}-{round}"), 5, Rotation::default());
                }
            });
        }
    });
    let verification = verify(folder.path()).expect("readable");
    assert_eq!((verification.problems.len(), verification.runs), (0, 40));
}
