mod changes;

use super::directory::Directory;
use super::stream::IfExists;
use crate::bindings::runbook::files::reader::{self, Host as _};
use crate::bindings::runbook::files::types::FileKind;
use crate::bindings::runbook::files::writer::Host as _;
use crate::capabilities::truncation_tests::{CAP, Channel};
use crate::fault::FaultClass;
use crate::host::HostCall;
use crate::testing::{Slot, effective_grants, host, host_with_limits};
use runbook_contract::Mode;
use runbook_secrets::Scrubber;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

fn directory() -> (tempfile::TempDir, Directory) {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path()).unwrap();
    (folder, directory)
}

fn kind(error: &std::io::Error) -> &'static str {
    super::classify(error).1
}

#[test]
fn nothing_outside_of_the_directory_can_be_opened() {
    let (folder, directory) = directory();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    symlink("/etc", folder.path().join("etc")).unwrap();
    symlink("/etc/passwd", folder.path().join("passwd")).unwrap();
    symlink("sub", folder.path().join("inside")).unwrap();
    for path in [
        "etc/passwd",
        "passwd",
        "../x",
        "sub/../../x",
        "/etc/passwd",
        "inside/x",
        "/proc/self/root/etc/passwd",
    ] {
        let error = directory.file(path).unwrap_err();
        assert_eq!(kind(&error), "files.symlink", "{path}: {error}");
        assert!(directory.create(path, IfExists::Refuse).is_err(), "{path}");
    }
    assert!(remove(&directory, "etc/passwd").is_err());
}

#[test]
fn sqlite_files_beside_a_database_are_neither_written_nor_removed() {
    let (folder, directory) = directory();
    let path_of = |name: &str| folder.path().join(name);
    let database = rusqlite::Connection::open(path_of("shop.db")).unwrap();
    database
        .execute_batch("pragma journal_mode = wal; create table t (a); insert into t values (1)")
        .unwrap();
    std::fs::write(path_of("plain"), "text").unwrap();
    for ending in ["-journal", "-wal", "-shm"] {
        for name in
            [format!("shop.db{ending}"), format!("later.db{ending}"), format!("plain{ending}")]
        {
            for existing in [IfExists::Refuse, IfExists::Replace] {
                let error = directory.create(&name, existing).err().unwrap();
                assert_eq!(kind(&error), "files.database", "{name}: {error}");
                assert_eq!(
                    kind(&directory.create_plain(&name, existing).err().unwrap()),
                    "files.database",
                    "{name}"
                );
            }
        }
        std::fs::write(path_of(&format!("plain{ending}")), "old").unwrap();
        remove(&directory, &format!("plain{ending}")).unwrap();
        let database_file = format!("shop.db{ending}");
        assert_eq!(
            kind(&remove(&directory, &database_file).unwrap_err()),
            "files.database",
            "{database_file}"
        );
    }
    assert!(path_of("shop.db-wal").exists());
    directory.create("wal", IfExists::Refuse).unwrap().finish().unwrap();
    directory.create("-wal", IfExists::Refuse).unwrap().finish().unwrap();
    assert_eq!(database.query_row("select a from t", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[test]
fn a_link_in_the_place_of_the_file_is_not_written_through() {
    let (folder, directory) = directory();
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), folder.path().join("x")).unwrap();
    assert_eq!(kind(&directory.create("x", IfExists::Replace).err().unwrap()), "files.symlink");
    assert_eq!(std::fs::metadata(outside.path()).unwrap().len(), 0);
}

#[test]
fn only_regular_files_are_opened() {
    let (folder, directory) = directory();
    let fifo = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    assert_eq!(kind(&directory.file("pipe").unwrap_err()), "files.special");
    assert_eq!(kind(&directory.file("sub").unwrap_err()), "files.directory");
    assert_eq!(kind(&directory.file("none").unwrap_err()), "files.not-found");
}

#[test]
fn a_file_appears_when_it_is_finished_and_never_before() {
    let (folder, directory) = directory();
    let mut writer = directory.create("a.txt", IfExists::Refuse).unwrap();
    writer.write_all(b"content").unwrap();
    assert!(!folder.path().join("a.txt").exists());
    let written = writer.finish().unwrap();
    assert_eq!(std::fs::read(folder.path().join("a.txt")).unwrap(), b"content");
    assert_eq!((written.size, written.produced), (7, 7));
    assert_eq!(written.digest, runbook_authority::Digest::of(b"content"));
    assert_eq!(
        std::fs::metadata(folder.path().join("a.txt")).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn an_abandoned_file_leaves_nothing() {
    let (folder, directory) = directory();
    let mut writer = directory.create("a.zst", IfExists::Refuse).unwrap();
    writer.write_all(&vec![1; 1 << 20]).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_came_meanwhile_is_not_replaced() {
    let (folder, directory) = directory();
    let writer = directory.create("a", IfExists::Refuse).unwrap();
    std::fs::write(folder.path().join("a"), "theirs").unwrap();
    assert_eq!(kind(&writer.finish().unwrap_err()), "files.exists");
    assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"theirs");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(kind(&directory.create("a", IfExists::Refuse).err().unwrap()), "files.exists");
}

#[test]
fn a_replaced_file_keeps_its_permissions() {
    let (folder, directory) = directory();
    let path = folder.path().join("a");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o646)).unwrap();
    let mut writer = directory.create("a", IfExists::Replace).unwrap();
    writer.write_all(b"new").unwrap();
    writer.finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o646);
}

#[test]
fn zst_is_compressed_on_the_way_in_and_decompressed_on_the_way_out() {
    let (folder, directory) = directory();
    let text = "a line that repeats\n".repeat(100_000);
    let mut writer = directory.create("a.sql.zst", IfExists::Refuse).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    let written = writer.finish().unwrap();
    let bytes = std::fs::read(folder.path().join("a.sql.zst")).unwrap();
    assert_eq!(written.produced, text.len() as u64);
    assert_eq!(written.size, bytes.len() as u64);
    assert!(bytes.len() < text.len() / 100);
    assert_eq!(written.digest, runbook_authority::Digest::of(&bytes));
    let mut decompressed = String::new();
    directory.reader("a.sql.zst").unwrap().read_to_string(&mut decompressed).unwrap();
    assert_eq!(decompressed, text);
}

#[test]
fn entries_come_sorted_and_without_following_links() {
    let (folder, directory) = directory();
    for name in ["b", "a", "c"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    symlink("/etc", folder.path().join("d")).unwrap();
    let names: Vec<_> =
        directory.list("", 10).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(kind(&directory.list("", 2).unwrap_err()), "files.too-large");
    assert_eq!(kind(&directory.list("a", 2).unwrap_err()), "files.not-directory");
}

#[tokio::test]
async fn each_files_verb_works() {
    let folder = tempfile::tempdir().unwrap();
    let slots: &[Slot] = &[("dir", &["files.read", "files.write", "files.remove"], "dir")];
    let mut host = host(
        slots,
        "[targets.dir]\nfiles = \".\"\naccess = \"write\"\nmax_bytes = \"1KiB\"\n",
        folder.path(),
    );
    let mut host = HostCall::new(&mut host);
    let (dir, name) = (|| "dir".to_owned(), || "a.txt".to_owned());
    assert_eq!(host.remove(dir(), name()).await.unwrap_err().class, FaultClass::NotFound);
    host.write(dir(), name(), b"one".to_vec()).await.unwrap();
    host.write(dir(), name(), b"other".to_vec()).await.unwrap();
    assert_eq!(host.read(dir(), name()).await.unwrap(), b"other");
    assert_eq!(
        host.digest(dir(), name()).await.unwrap(),
        runbook_authority::Digest::of(b"other").to_string()
    );
    let info = reader::Host::stat(&mut host, dir(), name()).await.unwrap();
    assert_eq!((info.path.as_str(), info.size_bytes, info.kind), ("a.txt", 5, FileKind::File));
    assert!(info.modified_ms > 1_700_000_000_000);
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    host.write(dir(), "sub/b".to_owned(), vec![0; 2000]).await.unwrap();
    let paths: Vec<_> =
        host.list(dir(), String::new()).await.unwrap().into_iter().map(|info| info.path).collect();
    assert_eq!(paths, ["a.txt", "sub"]);
    assert_eq!(host.list(dir(), "sub".to_owned()).await.unwrap()[0].path, "sub/b");
    let fault = host.read(dir(), "sub/b".to_owned()).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Limit, "files.too-large"));
    assert!(
        fault.message.contains("slot `dir`: `sub/b`")
            && !fault.message.contains(folder.path().to_str().unwrap())
    );
    assert_eq!(
        host.write(dir(), "no/c".to_owned(), Vec::new()).await.unwrap_err().code,
        "files.not-found"
    );
    assert_eq!(host.remove(dir(), "sub".to_owned()).await.unwrap_err().code, "files.directory");
    host.remove(dir(), name()).await.unwrap();
    assert!(!folder.path().join("a.txt").exists());
    assert_eq!(
        host.write(dir(), "../out".to_owned(), Vec::new()).await.unwrap_err().class,
        FaultClass::Denied
    );
}

#[tokio::test]
async fn a_plugin_that_goes_on_writing_is_stopped_before_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let targets = format!("[targets.f]\nfiles = {:?}\naccess = \"write\"\n", folder.path());
    let granted =
        effective_grants(&[("f", &["files.read", "files.write"], "f")], &targets, folder.path());
    let limits = crate::CallLimits { files_written_bytes: 10_000, ..crate::CallLimits::default() };
    let mut host = host_with_limits(granted, Mode::Effects, Duration::from_secs(20), limits);
    for _ in 0..10 {
        // The same name each time: all written bytes count, not the size of the files.
        HostCall::new(&mut host)
            .write("f".to_owned(), "x".to_owned(), vec![0; 1_000])
            .await
            .unwrap();
    }
    let fault = HostCall::new(&mut host)
        .write("f".to_owned(), "y".to_owned(), vec![0; 1])
        .await
        .unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Limit, "limit.files-written"));
    assert!(!folder.path().join("y").exists());
}

/// Channels for the content of files, which is refused if it contains a secret.
pub(in crate::capabilities) fn channels() -> Vec<Channel> {
    let content = |scrubber: &Scrubber, text: &[u8]| {
        super::secret::refuse(text, scrubber).map(|()| text.to_vec()).unwrap_or_default()
    };
    vec![
        Channel::bytes("content of a file", CAP, content),
        Channel::bytes("content of a compressed file", CAP, move |scrubber, text| {
            let packed = zstd::encode_all(text, 1).unwrap();
            if content(scrubber, &packed).is_empty() { Vec::new() } else { text.to_vec() }
        }),
        Channel::bytes("content of a searched file", CAP, |scrubber, text| {
            let mut search = super::decode::SecretSearch::new(scrubber);
            let mut pieces = text.chunks(text.len().div_ceil(3).max(1));
            let shows_none = pieces.all(|piece| search.refuse(piece).is_ok());
            if shows_none { text.to_vec() } else { Vec::new() }
        }),
    ]
}

#[tokio::test]
async fn a_name_of_a_file_that_shows_a_secret_is_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let targets = "[targets.files]\nfiles = \".\"\n[targets.key]\nsecret = \"token\"\n";
    let slots: &[Slot] =
        &[("files", &["files.read"], "files"), ("key", &["secrets.reveal"], "key")];
    std::fs::write(folder.path().join("s3cr3t-t0ken.txt"), "").unwrap();
    let mut host = host(slots, targets, folder.path());
    host.secret("token").await.unwrap();
    let fault = HostCall::new(&mut host).list("files".to_owned(), String::new()).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Denied, "files.secret"),
        "{}",
        fault.message
    );
    assert!(!fault.message.contains("s3"), "{}", fault.message);
}

/// Removes what is at a path now.
fn remove(directory: &Directory, path: &str) -> std::io::Result<()> {
    directory.remove_same(path, &directory.removable_stat(path)?)
}
