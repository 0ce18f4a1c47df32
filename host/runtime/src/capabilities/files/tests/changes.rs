use crate::bindings::runbook::files::reader::Host as _;
use crate::bindings::runbook::files::types::{
    ExistingFile, ExpectedFile, FileInfo, FileKind, ListOptions, Listing, Order,
};
use crate::bindings::runbook::files::writer::Host as _;
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host};
use runbook_authority::Verb;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

const SLOTS: &[Slot] =
    &[("dir", &["files.read", "files.write", "files.rename", "files.remove"], "dir")];

fn changing(folder: &Path, keys: &str) -> Host {
    let target = format!("[targets.dir]\nfiles = \".\"\naccess = \"write\"\n{keys}\n");
    host(SLOTS, &target, folder)
}

fn dir() -> String {
    "dir".to_owned()
}

fn write(folder: &Path, name: &str, age_s: u64) {
    let path = folder.join(name);
    std::fs::write(&path, name).unwrap();
    let time = SystemTime::now() - Duration::from_secs(age_s);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

async fn listed(host: &mut Host, pattern: Option<&str>, order: Order, max_entries: u32) -> Listing {
    let pattern = pattern.map(str::to_owned);
    let options = ListOptions { pattern, order, files_only: false, max_entries };
    HostCall::new(host).entries(dir(), String::new(), options).await.unwrap()
}

fn paths(files: &[FileInfo]) -> Vec<&str> {
    files.iter().map(|file| file.path.as_str()).collect()
}

async fn replaced(
    host: &mut Host,
    path: &str,
    expected: ExpectedFile,
    backup: Option<&str>,
) -> Result<String, Fault> {
    let backup = backup.map(str::to_owned);
    HostCall::new(host).replace(dir(), path.to_owned(), b"new".to_vec(), expected, backup).await
}

#[tokio::test]
async fn a_file_is_replaced_if_it_is_as_expected_and_the_old_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let mut host = changing(folder.path(), "");
    let digest = |content: &[u8]| runbook_authority::Digest::of(content).to_string();
    for (name, expected) in [
        ("a", ExpectedFile::Absent),
        ("a", ExpectedFile::Digest(digest(b"other"))),
        ("missing", ExpectedFile::Digest(digest(b"old"))),
    ] {
        let fault = replaced(&mut host, name, expected, Some("a.bak")).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Conflict, "files.changed"));
        assert_eq!(names(folder.path()), ["a"]);
    }
    assert_eq!(host.verbs_that_acted(), Vec::<Verb>::new());
    let expected = ExpectedFile::Digest(digest(b"old"));
    let found = replaced(&mut host, "a", expected, Some("a.bak")).await.unwrap();
    assert_eq!(found, digest(b"new"));
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    // The backup is the old file itself, so nothing of it is lost.
    assert_eq!(std::fs::metadata(folder.path().join("a.bak")).unwrap().ino(), inode);
    assert_eq!(host.verbs_that_acted(), [Verb::FilesWrite]);
    // Another file has the name of the backup: it is kept, and nothing is replaced.
    let fault = replaced(&mut host, "a", ExpectedFile::Anything, Some("a.bak")).await.unwrap_err();
    assert_eq!(fault.code, "files.exists");
    assert_eq!(std::fs::read(folder.path().join("a.bak")).unwrap(), b"old");
    // The backup was made and the run was killed before the replacement: the run goes on.
    std::fs::hard_link(&path, folder.path().join("a.bak2")).unwrap();
    replaced(&mut host, "a", ExpectedFile::Anything, Some("a.bak2")).await.unwrap();
    replaced(&mut host, "b", ExpectedFile::Absent, Some("b.bak")).await.unwrap();
    assert_eq!(names(folder.path()), ["a", "a.bak", "a.bak2", "b"]);
}

#[tokio::test]
async fn a_replacement_never_writes_through_a_link_and_never_waits_at_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "theirs").unwrap();
    std::fs::hard_link(&secret, folder.path().join("hard")).unwrap();
    symlink(&secret, folder.path().join("soft")).unwrap();
    symlink(outside.path(), folder.path().join("folder")).unwrap();
    for (name, kind) in
        [("pipe", rustix::fs::FileType::Fifo), ("socket", rustix::fs::FileType::Socket)]
    {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, folder.path().join(name), kind, mode, 0).unwrap();
    }
    let mut host = changing(folder.path(), "");
    replaced(&mut host, "hard", ExpectedFile::Anything, None).await.unwrap();
    assert_eq!(std::fs::read(&secret).unwrap(), b"theirs");
    for (path, code) in [
        ("soft", "files.symlink"),
        ("folder/secret", "files.symlink"),
        ("folder/new", "files.symlink"),
        ("pipe", "files.special"),
    ] {
        let fault = replaced(&mut host, path, ExpectedFile::Anything, None).await.unwrap_err();
        assert_eq!(fault.code, code, "{path}");
        let (path, to) = (path.to_owned(), "moved".to_owned());
        let fault = HostCall::new(&mut host)
            .rename(dir(), path.clone(), to, ExistingFile::Refuse)
            .await
            .unwrap_err();
        assert!(["files.not-found", code].contains(&fault.code.as_str()), "{path}: {}", fault.code);
        let mut host = HostCall::new(&mut host);
        assert!(host.tail(dir(), path.clone(), 1, false).await.is_err(), "{path}");
        assert!(host.read_decoded(dir(), path).await.is_err());
    }
    let fault = HostCall::new(&mut host)
        .rename(dir(), "hard".to_owned(), "folder/x".to_owned(), ExistingFile::Replace)
        .await
        .unwrap_err();
    assert_eq!(fault.code, "files.symlink");
    assert_eq!(names(outside.path()), ["secret"]);
}

#[test]
fn a_link_that_is_swapped_in_at_any_moment_never_leads_a_change_outside() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("a"), "theirs").unwrap();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    std::fs::write(folder.path().join("real/a"), "ours").unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (root, away, stopped) =
        (folder.path().to_owned(), outside.path().to_owned(), std::sync::Arc::clone(&stop));
    let swapper = std::thread::spawn(move || {
        symlink(&away, root.join("link")).unwrap();
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            // The folder and the link change places, again and again.
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                root.join("real"),
                rustix::fs::CWD,
                root.join("link"),
                rustix::fs::RenameFlags::EXCHANGE,
            )
            .unwrap();
        }
    });
    let mut host = changing(folder.path(), "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut done = 0;
    for number in 0..300 {
        let path = "real/a".to_owned();
        let result = runtime.block_on(replaced(&mut host, &path, ExpectedFile::Anything, None));
        done += u32::from(result.is_ok());
        let mut call = HostCall::new(&mut host);
        let new = format!("real/{number}");
        let _ = runtime.block_on(call.rename(dir(), path, new.clone(), ExistingFile::Refuse));
        let _ =
            runtime.block_on(call.rename(dir(), new, "real/a".to_owned(), ExistingFile::Replace));
        let _ = runtime.block_on(call.remove(dir(), "real/none".to_owned()));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(names(outside.path()), ["a"]);
    assert_eq!(std::fs::read(outside.path().join("a")).unwrap(), b"theirs");
    assert!(done < 300, "the link was never in the way");
}

#[tokio::test]
async fn a_file_is_renamed_and_another_one_replaced_only_if_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        write(folder.path(), name, 0);
    }
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let mut host = changing(folder.path(), "");
    let mut rename = async |from: &str, to: &str, existing: ExistingFile| {
        HostCall::new(&mut host).rename(dir(), from.to_owned(), to.to_owned(), existing).await
    };
    for (from, to, existing, code) in [
        ("a", "b", ExistingFile::Refuse, "files.exists"),
        ("a", "sub", ExistingFile::Replace, "files.directory"),
        ("sub", "c", ExistingFile::Refuse, "files.directory"),
        ("none", "c", ExistingFile::Refuse, "files.not-found"),
        ("a", "none/c", ExistingFile::Refuse, "files.not-found"),
        ("a", "x.db-wal", ExistingFile::Refuse, "files.database"),
    ] {
        assert_eq!(rename(from, to, existing).await.unwrap_err().code, code, "{from} {to}");
    }
    assert_eq!(
        rename("a", "../a", ExistingFile::Refuse).await.unwrap_err().class,
        FaultClass::Denied
    );
    rename("a", "sub/a", ExistingFile::Refuse).await.unwrap();
    rename("sub/a", "b", ExistingFile::Replace).await.unwrap();
    assert_eq!(std::fs::read(folder.path().join("b")).unwrap(), b"a");
    // Two names of one file: the kernel would leave both.
    std::fs::hard_link(folder.path().join("b"), folder.path().join("c")).unwrap();
    rename("c", "b", ExistingFile::Replace).await.unwrap();
    assert_eq!(names(folder.path()), ["b", "sub"]);
    assert_eq!(host.verbs_that_acted(), [Verb::FilesRename, Verb::FilesWrite]);
}

#[tokio::test]
async fn only_files_that_did_not_change_since_they_were_listed_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    for (name, age) in [("1.bak", 300), ("2.bak", 200), ("3.bak", 100), ("4.bak", 50)] {
        write(folder.path(), name, age);
    }
    let mut host = changing(folder.path(), "");
    let mut files = listed(&mut host, Some("*.bak"), Order::Oldest, 100).await.entries;
    assert_eq!(paths(&files), ["1.bak", "2.bak", "3.bak", "4.bak"]);
    write(folder.path(), "2.bak", 1);
    std::fs::remove_file(folder.path().join("3.bak")).unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    files.push(FileInfo {
        path: "sub".to_owned(),
        kind: FileKind::File,
        size_bytes: 0,
        modified_ms: 0,
    });
    let pruned = HostCall::new(&mut host).prune(dir(), files).await.unwrap();
    assert_eq!(paths(&pruned.removed), ["1.bak", "4.bak"]);
    let kept: Vec<_> = pruned.kept.iter().map(|kept| kept.path.as_str()).collect();
    assert_eq!(kept, ["2.bak", "3.bak", "sub"]);
    assert!(pruned.kept[0].reason.contains("changed"), "{}", pruned.kept[0].reason);
    assert_eq!(names(folder.path()), ["2.bak", "sub"]);
}

#[tokio::test]
async fn a_file_that_is_younger_than_the_target_says_is_not_removed_in_any_way() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "old", 7200);
    write(folder.path(), "young", 60);
    std::fs::write(folder.path().join("future"), "").unwrap();
    let later = SystemTime::now() + Duration::from_secs(9999);
    let future = std::fs::File::options().write(true).open(folder.path().join("future")).unwrap();
    future.set_modified(later).unwrap();
    let mut host = changing(folder.path(), "min_age = \"1h\"");
    let listing = listed(&mut host, None, Order::Oldest, 100).await;
    assert_eq!((listing.min_age_ms, listing.total), (3_600_000, 3));
    // One that is too young: none is removed.
    let fault = HostCall::new(&mut host).prune(dir(), listing.entries.clone()).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Denied);
    assert!(
        host.denials()[0].reason.contains("young") || host.denials()[0].reason.contains("future")
    );
    for name in ["young", "future"] {
        let fault = HostCall::new(&mut host).remove(dir(), name.to_owned()).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{name}");
    }
    assert_eq!(names(folder.path()).len(), 3);
    assert_eq!(host.verbs_that_acted(), Vec::<Verb>::new());
    HostCall::new(&mut host).remove(dir(), "old".to_owned()).await.unwrap();
    assert_eq!(names(folder.path()), ["future", "young"]);
}

#[tokio::test]
async fn paths_that_fit_no_pattern_are_neither_listed_nor_used() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.log", "b.txt", "a.log.1"] {
        write(folder.path(), name, 0);
    }
    let mut host = changing(folder.path(), "patterns = [\"*.log\"]");
    let listing = listed(&mut host, None, Order::Name, 100).await;
    assert_eq!(paths(&listing.entries), ["a.log"]);
    let mut host = HostCall::new(&mut host);
    let plain = host.list(dir(), String::new()).await.unwrap();
    assert_eq!(paths(&plain), ["a.log"]);
    let text = str::to_owned;
    let denied = [
        host.read(dir(), text("b.txt")).await.unwrap_err(),
        host.digest(dir(), text("b.txt")).await.unwrap_err(),
        host.read_decoded(dir(), text("b.txt")).await.unwrap_err(),
        host.write(dir(), text("c.txt"), Vec::new()).await.unwrap_err(),
        host.remove(dir(), text("b.txt")).await.unwrap_err(),
        host.rename(dir(), text("a.log"), text("c"), ExistingFile::Refuse).await.unwrap_err(),
        host.rename(dir(), text("b.txt"), text("c.log"), ExistingFile::Refuse).await.unwrap_err(),
        host.tail(dir(), text("a.log"), 1, true).await.err().unwrap(),
        host.prune(dir(), vec![FileInfo { path: text("b.txt"), ..plain[0].clone() }])
            .await
            .unwrap_err(),
        host.replace(dir(), text("a.log"), Vec::new(), ExpectedFile::Anything, Some(text("a.bak")))
            .await
            .unwrap_err(),
    ];
    for fault in denied {
        assert_eq!(fault.class, FaultClass::Denied, "{}", fault.message);
    }
    assert_eq!(names(folder.path()), ["a.log", "a.log.1", "b.txt"]);
    assert_eq!(host.tail(dir(), text("a.log"), 1, false).await.unwrap().lines, ["a.log"]);
}

#[tokio::test]
async fn names_that_no_call_can_name_are_counted_and_others_are_listed_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for name in [&b"a\nb"[..], b"\xff\xfe", b"a\\b", b"\x1b[31mred", "ä ö".as_bytes()] {
        std::fs::write(folder.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let mut host = changing(folder.path(), "");
    let listing = listed(&mut host, None, Order::Name, 100).await;
    assert_eq!(paths(&listing.entries), ["\u{1b}[31mred", "ä ö"]);
    assert_eq!((listing.total, listing.unnamed), (2, 3));
    // A fault quotes it without its escape sequence.
    let fault = HostCall::new(&mut host)
        .rename(dir(), "\u{1b}[31mred".to_owned(), "ä ö".to_owned(), ExistingFile::Refuse)
        .await
        .unwrap_err();
    assert!(!fault.message.contains('\u{1b}'), "{}", fault.message);
    let pruned = HostCall::new(&mut host).prune(dir(), listing.entries).await.unwrap();
    assert_eq!(pruned.removed.len(), 2);
}

#[tokio::test]
async fn of_a_hundred_thousand_files_the_first_are_listed_and_all_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..100_000 {
        std::fs::File::create(folder.path().join(number.to_string())).unwrap();
    }
    write(folder.path(), "oldest", 1000);
    let mut host = changing(folder.path(), "");
    let listing = listed(&mut host, None, Order::Oldest, 3).await;
    assert_eq!((listing.entries.len(), listing.total), (3, 100_001));
    assert_eq!(listing.entries[0].path, "oldest");
    assert_eq!((listing.total_bytes, listing.unnamed), (6, 0));
    let most = listed(&mut host, Some("9*"), Order::Name, u32::MAX).await;
    assert_eq!((most.entries.len() as u64, most.total), (super::super::MAX_ENTRIES as u64, 11_111));
    let fault = HostCall::new(&mut host).list(dir(), String::new()).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Limit);
}
