use super::super::decode::Encoding;
use crate::bindings::runbook::files::reader::{self, Host as _};
use crate::bindings::runbook::files::types::LineSearch;
use crate::fault::FaultClass;
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host};
use flate2::write::GzEncoder;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

const SLOTS: &[Slot] = &[("dir", &["files.read"], "dir")];

fn reading(folder: &Path, keys: &str) -> Host {
    host(SLOTS, &format!("[targets.dir]\nfiles = \".\"\n{keys}\n"), folder)
}

fn dir() -> String {
    "dir".to_owned()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Writes a file that was changed so many seconds ago.
fn write(folder: &Path, name: &str, content: &[u8], age_s: u64) {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    let time = SystemTime::now() - Duration::from_secs(age_s);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn search(pattern: &str, rotated: bool) -> LineSearch {
    LineSearch { pattern: pattern.to_owned(), rotated, since_ms: None, zone_minutes: 0 }
}

/// A log that was rotated plainly, by gzip and by zstd, with lines 0 to 39.
fn rotated_log(folder: &Path) {
    let lines =
        |from: u32| -> String { (from..from + 10).map(|n| format!("line {n}\n")).collect() };
    write(folder, "app.log", lines(30).as_bytes(), 0);
    write(folder, "app.log.1", lines(20).as_bytes(), 100);
    write(folder, "app.log.2.gz", &gzip(lines(10).as_bytes()), 200);
    write(folder, "app.log-20261101.zst", &zstd::encode_all(lines(0).as_bytes(), 1).unwrap(), 300);
    for other in ["app.log.bak", "app.logs", "app.log.1.tmp", "other.log.1"] {
        write(folder, other, b"line of another file\n", 0);
    }
}

#[tokio::test]
async fn the_last_lines_and_matches_of_a_log_are_found_also_where_it_was_rotated_and_compressed() {
    let folder = tempfile::tempdir().unwrap();
    rotated_log(folder.path());
    let mut host = reading(folder.path(), "");
    let mut host = HostCall::new(&mut host);
    let path = || "app.log".to_owned();
    let end = host.tail(dir(), path(), 2, false).await.unwrap();
    assert_eq!(
        (end.lines, end.more, end.cut),
        (vec!["line 38".into(), "line 39".into()], true, false)
    );
    let end = host.tail(dir(), path(), 25, true).await.unwrap();
    assert_eq!(end.lines.len(), 25);
    assert_eq!((end.lines[0].as_str(), end.lines[24].as_str()), ("line 15", "line 39"));
    assert_eq!(end.files, ["app.log.2.gz", "app.log.1", "app.log"]);
    let end = host.tail(dir(), path(), 100, true).await.unwrap();
    assert_eq!((end.lines.len(), end.more, end.cut), (40, false, false));
    assert_eq!(end.files[0], "app.log-20261101.zst");
    let count = reader::Host::count(&mut host, dir(), path(), search("5$", true)).await.unwrap();
    assert_eq!((count.matches, count.lines, count.cut), (4, 40, false));
    assert_eq!((count.last_match.as_deref(), count.files.len()), (Some("line 35"), 4));
    let count =
        reader::Host::count(&mut host, dir(), path(), search("^line", false)).await.unwrap();
    assert_eq!((count.matches, count.files), (10, vec!["app.log".to_owned()]));
    let decoded = host.read_decoded(dir(), "app.log.2.gz".to_owned()).await.unwrap();
    assert!(decoded.starts_with(b"line 10\n"));
}

#[tokio::test]
async fn lines_are_counted_in_a_window_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = "2020-11-22T10:00:00Z ERROR old\n2020-11-22T11:00:00Z ERROR new\n  at ERROR of it\n\
               2020-11-22T11:00:01Z fine\n";
    write(folder.path(), "app.log", log.as_bytes(), 0);
    write(folder.path(), "plain.log", b"ERROR\n", 0);
    let mut host = reading(folder.path(), "");
    let mut host = HostCall::new(&mut host);
    let since = |minutes_later: u64, path: &str| {
        let since_ms = Some(1_606_039_200_000 + minutes_later * 60_000); // 2020-11-22T10:00:00Z
        (dir(), path.to_owned(), LineSearch { since_ms, ..search("ERROR", false) })
    };
    for (minutes, matches, lines) in [(0, 3, 4), (1, 2, 3), (61, 0, 0)] {
        let (slot, path, search) = since(minutes, "app.log");
        let count = reader::Host::count(&mut host, slot, path, search).await.unwrap();
        assert_eq!((count.matches, count.lines), (matches, lines), "{minutes}");
    }
    let (slot, path, search) = since(0, "plain.log");
    let fault = reader::Host::count(&mut host, slot, path, search).await.err().unwrap();
    assert_eq!(fault.class, FaultClass::Invalid, "{}", fault.message);
}

#[tokio::test]
async fn a_small_compressed_file_that_becomes_huge_is_refused_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = vec![0; 32 << 20];
    write(folder.path(), "bomb.gz", &gzip(&zeros), 0);
    write(folder.path(), "bomb.zst", &zstd::encode_all(zeros.as_slice(), 19).unwrap(), 0);
    write(folder.path(), "double.gz", &gzip(&gzip(&zeros)), 0);
    write(folder.path(), "broken.gz", &gzip(b"some text that is cut")[..20], 0);
    write(folder.path(), "no.zst", b"this is no zstd", 0);
    for name in ["bomb.gz", "bomb.zst"] {
        let mut host = reading(folder.path(), "max_bytes = \"1MiB\"\nmax_total = \"4MiB\"");
        let mut host = HostCall::new(&mut host);
        let fault = host.read_decoded(dir(), name.to_owned()).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Limit, "files.too-large"));
        let fault = host.tail(dir(), name.to_owned(), 1, false).await.err().unwrap();
        assert_eq!(fault.class, FaultClass::Limit, "{}", fault.message);
        let count = reader::Host::count(&mut host, dir(), name.to_owned(), search("x", false))
            .await
            .unwrap();
        assert_eq!((count.cut, count.bytes, count.matches), (true, 4 << 20, 0), "{name}");
    }
    let mut host = reading(folder.path(), "");
    let mut host = HostCall::new(&mut host);
    let once = host.read_decoded(dir(), "double.gz".to_owned()).await.unwrap();
    assert_eq!(once, gzip(&zeros), "only one layer is removed");
    for name in ["broken.gz", "no.zst"] {
        let fault = host.read_decoded(dir(), name.to_owned()).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Invalid, "{}", fault.message);
        assert!(fault.message.contains("cannot be decompressed"), "{}", fault.message);
    }
}

#[tokio::test]
async fn all_searches_of_a_call_go_through_no_more_than_the_target_says() {
    let folder = tempfile::tempdir().unwrap();
    let log: String = (0..1_000).map(|number| format!("line {number}\n")).collect();
    write(folder.path(), "a.log", log.as_bytes(), 0);
    let size = log.len();
    let mut host = reading(folder.path(), &format!("max_total = \"{}B\"", size + size / 2));
    let mut host = HostCall::new(&mut host);
    let path = || "a.log".to_owned();
    let whole = reader::Host::count(&mut host, dir(), path(), search("line", false)).await.unwrap();
    assert_eq!((whole.matches, whole.cut), (1_000, false));
    // What is left is used for the newest lines, and that it is not all is told.
    let part = reader::Host::count(&mut host, dir(), path(), search("line", false)).await.unwrap();
    assert!(part.cut && (400..600).contains(&part.matches), "{part:?}");
    assert_eq!(part.last_match.as_deref(), Some("line 999"));
    let fault = host.read(dir(), path()).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Limit, "files.too-large"));
    let none = reader::Host::count(&mut host, dir(), path(), search("line", false)).await.unwrap();
    assert!(none.cut && none.lines == 0, "{none:?}");
    assert!(host.tail(dir(), path(), 1, false).await.unwrap().cut);
}

#[tokio::test]
async fn a_sparse_file_a_growing_file_and_endless_lines_take_no_more_memory_than_the_limits() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = std::fs::File::create(folder.path().join("sparse.log")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let keys = "max_bytes = \"1MiB\"\nmax_total = \"16MiB\"";
    let mut host = reading(folder.path(), keys);
    let mut host = HostCall::new(&mut host);
    let path = || "sparse.log".to_owned();
    let end = host.tail(dir(), path(), 10, false).await.unwrap();
    assert!(end.cut && end.lines.is_empty(), "{} lines", end.lines.len());
    let count = reader::Host::count(&mut host, dir(), path(), search("a", false)).await.unwrap();
    assert!(count.cut && count.matches == 0, "{count:?}");
    // What a file had when it was opened is read, and no more.
    let growing = folder.path().join("growing.log");
    std::fs::write(&growing, "one\n").unwrap();
    let file = std::fs::File::open(&growing).unwrap();
    let (scrubber, stop) =
        (runbook_secrets::Scrubber::default(), crate::blocking::StopFlag::default());
    let mut stream =
        super::DecodedFile::new(file, Encoding::Plain, 1 << 20, &scrubber, &stop).unwrap();
    std::fs::OpenOptions::new().append(true).open(&growing).unwrap().write_all(b"two\n").unwrap();
    let mut content = String::new();
    std::io::Read::read_to_string(&mut stream, &mut content).unwrap();
    assert_eq!((content.as_str(), stream.is_cut()), ("one\n", false));
    // A line of 3 MiB is compared by its beginning.
    let long = [b"begin ".as_slice(), &vec![b'x'; 3 << 20], b" end\nshort\n"].concat();
    write(folder.path(), "long.log", &long, 0);
    let mut host = reading(folder.path(), "");
    let mut host = HostCall::new(&mut host);
    for (pattern, matches) in [("^begin", 1), (" end$", 0), ("short", 1)] {
        let path = "long.log".to_owned();
        let count =
            reader::Host::count(&mut host, dir(), path, search(pattern, false)).await.unwrap();
        assert_eq!((count.matches, count.lines), (matches, 2), "{pattern}");
    }
    let end = host.tail(dir(), "long.log".to_owned(), 2, false).await.unwrap();
    assert_eq!((end.lines[0].len(), end.lines[1].as_str()), (super::MAX_LINE, "short"));
}

#[tokio::test]
async fn a_pattern_that_would_take_for_ever_elsewhere_is_compared_in_linear_time() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.log", ("a".repeat(5_000) + "!\n").as_bytes(), 0);
    let mut host = reading(folder.path(), "");
    let mut host = HostCall::new(&mut host);
    let path = || "a.log".to_owned();
    let count =
        reader::Host::count(&mut host, dir(), path(), search("^(a+)+$", false)).await.unwrap();
    assert_eq!(count.matches, 0);
    for pattern in ["(", "(?:a{100}){100000}", "\\1"] {
        let fault = reader::Host::count(&mut host, dir(), path(), search(pattern, false))
            .await
            .err()
            .unwrap();
        assert_eq!(fault.class, FaultClass::Invalid, "{pattern}: {}", fault.message);
    }
}

#[tokio::test]
async fn no_search_tells_a_plugin_whether_a_line_shows_a_secret() {
    let targets = "[targets.dir]\nfiles = \".\"\n[targets.key]\nsecret = \"token\"\n";
    let slots: &[Slot] = &[("dir", &["files.read"], "dir"), ("key", &["secrets.reveal"], "key")];
    let folder = tempfile::tempdir().unwrap();
    let log = format!("{}password=s3cr3t-t0ken\nlast\n", "fine\n".repeat(100_000));
    write(folder.path(), "a.log", log.as_bytes(), 0);
    write(folder.path(), "a.log.1.gz", &gzip(log.as_bytes()), 10);
    let mut host = host(slots, targets, folder.path());
    host.secret("token").await.unwrap();
    let mut host = HostCall::new(&mut host);
    // The same answer for a pattern that matches a part of it, and for one that does not.
    for (path, pattern) in
        [("a.log", "=s3"), ("a.log", "=x"), ("a.log", "last"), ("a.log.1.gz", "=x")]
    {
        let search = search(pattern, false);
        let fault =
            reader::Host::count(&mut host, dir(), path.to_owned(), search).await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Denied, "files.secret"));
    }
    for path in ["a.log", "a.log.1.gz"] {
        let fault = host.tail(dir(), path.to_owned(), 2, false).await.err().unwrap();
        assert_eq!(fault.code, "files.secret", "{path}");
        let fault = host.read_decoded(dir(), path.to_owned()).await.unwrap_err();
        assert_eq!(fault.code, "files.secret", "{path}");
    }
}

#[tokio::test]
async fn a_limit_in_the_middle_of_a_secret_shows_nothing_of_it() {
    let targets = |total: usize| {
        format!(
            "[targets.dir]\nfiles = \".\"\nmax_total = \"{total}B\"\n\
             [targets.key]\nsecret = \"token\"\n"
        )
    };
    let slots: &[Slot] = &[("dir", &["files.read"], "dir"), ("key", &["secrets.reveal"], "key")];
    let folder = tempfile::tempdir().unwrap();
    let log = "fine\npassword=s3cr3t-t0ken\nlast\n";
    write(folder.path(), "a.log.gz", &gzip(log.as_bytes()), 0);
    write(folder.path(), "a.log", log.as_bytes(), 0);
    for total in (1..=log.len()).step_by(4) {
        for (path, pattern) in [("a.log.gz", "."), ("a.log", ".")] {
            let mut host = host(slots, &targets(total), folder.path());
            host.secret("token").await.unwrap();
            let mut host = HostCall::new(&mut host);
            let search = search(pattern, false);
            let count = reader::Host::count(&mut host, dir(), path.to_owned(), search).await;
            let shown = count.ok().and_then(|count| count.last_match).unwrap_or_default();
            assert!(!shown.contains("s3") && !shown.contains("ken"), "{total}: {shown}");
        }
    }
}

#[test]
fn rotated_files_are_known_by_a_number_or_a_date() {
    for name in ["a.log.1", "a.log.12.gz", "a.log-20261122", "a.log-2026-11-22.zst", "a.log.1.zst"]
    {
        assert!(super::is_rotated("a.log", name), "{name}");
    }
    for name in ["a.log", "a.log.gz", "a.log.bak", "a.log.1.tmp", "a.log1", "b.log.1", "a.log.1\n"]
    {
        assert!(!super::is_rotated("a.log", name), "{name}");
    }
    assert_eq!(Encoding::of("a.log.gz"), Encoding::Gzip);
}
