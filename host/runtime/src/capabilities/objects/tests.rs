//! Objects of a real server, and of servers that do not do what they should.

mod hostile;

use crate::bindings::runbook::http;
use crate::bindings::runbook::objects::reader::Host as _;
use crate::bindings::runbook::objects::types::{Condition, ObjectInfo};
use crate::bindings::runbook::objects::writer::Host as _;
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host};
use runbook_authority::Digest;
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::s3::{ACCESS_KEY, BUCKET, S3};
use sha2::{Digest as _, Sha256};
use std::path::Path;

const SLOTS: &[Slot] = &[
    ("s", &["objects.head", "objects.list", "objects.get", "objects.put", "objects.delete"], "t"),
    ("dir", &["files.read", "files.write"], "d"),
];

/// The target of a server on this machine, with more keys, and a directory.
fn target(port: u16, more: &str) -> String {
    target_at(&format!("http://127.0.0.1:{port}"), more)
}

fn target_at(endpoint: &str, more: &str) -> String {
    format!(
        "[targets.t]\nobjects = \"s3://{BUCKET}/a/\"\nendpoint = \"{endpoint}\"\nauth = {{ aws-sigv4 \
         = {{ access_key = \"{ACCESS_KEY}\", secret_key = \"secret:password\", region = \
         \"eu-central-1\" }} }}\n{more}\n[targets.d]\nfiles = \"data\"\naccess = \"write\"\n"
    )
}

/// A folder with the directory of the slot `dir`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    folder
}

fn new_host(targets: &str, folder: &Path) -> Host {
    host(SLOTS, targets, folder)
}

fn s() -> String {
    "s".to_owned()
}

fn digest(content: &[u8]) -> String {
    Digest::from_sha256(Sha256::digest(content).into()).to_string()
}

fn code(fault: &Fault) -> (FaultClass, &str) {
    (fault.class, fault.code.as_str())
}

async fn head(host: &mut Host, key: &str) -> Result<ObjectInfo, Fault> {
    HostCall::new(host).head(s(), key.to_owned()).await
}

async fn put(host: &mut Host, key: &str, content: &[u8]) -> Result<String, Fault> {
    let mut call = HostCall::new(host);
    let put = call.put(s(), key.to_owned(), content.to_vec(), Condition::Absent).await;
    put.map(|artifact| artifact.etag)
}

async fn get(host: &mut Host, key: &str) -> Result<Vec<u8>, Fault> {
    HostCall::new(host).get(s(), key.to_owned()).await.map(|object| object.content)
}

#[tokio::test]
async fn an_object_is_written_seen_read_listed_and_deleted() {
    let server = S3::start();
    let folder = folder();
    let mut host = new_host(&target(server.port, ""), folder.path());
    assert_eq!(
        code(&head(&mut host, "x/b").await.unwrap_err()),
        (FaultClass::NotFound, "objects.not-found")
    );
    let tag = put(&mut host, "x/b", b"hello").await.unwrap();
    assert_eq!(std::fs::read(server.object("a/x/b")).unwrap(), b"hello");
    let info = head(&mut host, "x/b").await.unwrap();
    assert_eq!((info.key.as_str(), info.size_bytes, &info.etag), ("x/b", 5, &tag));
    assert_eq!(info.sha256, Some(digest(b"hello")));
    let age_ms = jiff::Timestamp::now().as_millisecond().abs_diff(info.modified_ms.cast_signed());
    assert!(age_ms < 600_000, "{age_ms}");
    assert_eq!(get(&mut host, "x/b").await.unwrap(), b"hello");
    put(&mut host, "c", b"").await.unwrap();
    for (prefix, keys) in
        [("", vec!["c", "x/b"]), ("x/", vec!["x/b"]), ("x/b", vec!["x/b"]), ("none", vec![])]
    {
        let listing = HostCall::new(&mut host).list(s(), prefix.to_owned()).await.unwrap();
        let found: Vec<_> = listing.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!((found, listing.cut), (keys, false), "{prefix}");
    }
    let deleted = HostCall::new(&mut host).delete(s(), "x/b".to_owned(), "other".to_owned()).await;
    assert_eq!(code(&deleted.unwrap_err()), (FaultClass::Conflict, "objects.replaced"));
    HostCall::new(&mut host).delete(s(), "x/b".to_owned(), tag.clone()).await.unwrap();
    assert!(!server.object("a/x/b").exists());
    let deleted = HostCall::new(&mut host).delete(s(), "x/b".to_owned(), tag).await;
    assert_eq!(code(&deleted.unwrap_err()), (FaultClass::NotFound, "objects.not-found"));
}

#[tokio::test]
async fn a_condition_that_does_not_hold_changes_nothing_and_is_no_effect() {
    let server = S3::start();
    let folder = folder();
    let targets = target(server.port, "");
    let tag = put(&mut new_host(&targets, folder.path()), "b", b"first").await.unwrap();
    let mut again = new_host(&targets, folder.path());
    let fault = put(&mut again, "b", b"second").await.unwrap_err();
    assert_eq!(code(&fault), (FaultClass::Conflict, "objects.condition"), "{}", fault.message);
    assert!(again.verbs_that_acted().is_empty());
    assert_eq!(std::fs::read(server.object("a/b")).unwrap(), b"first");
    let tagged = |tag: &str| Condition::Tagged(tag.to_owned());
    let replace = async |condition: Condition| {
        let mut host = new_host(&targets, folder.path());
        let mut call = HostCall::new(&mut host);
        call.put(s(), "b".to_owned(), b"third".to_vec(), condition).await
    };
    let fault = replace(tagged("5d41402abc4b2a76b9719d911017c592")).await.unwrap_err();
    assert_eq!(code(&fault), (FaultClass::Conflict, "objects.condition"), "{}", fault.message);
    for wrong in ["", "a\"b", "a b", "\"quoted\"", "a\r\nx: y"] {
        let fault = replace(tagged(wrong)).await.unwrap_err();
        assert_eq!(code(&fault), (FaultClass::Invalid, "objects.tag"), "{wrong:?}");
    }
    assert_eq!(std::fs::read(server.object("a/b")).unwrap(), b"first");
    replace(tagged(&tag)).await.unwrap();
    assert_eq!(std::fs::read(server.object("a/b")).unwrap(), b"third");
}

#[tokio::test]
async fn every_character_of_a_key_reaches_the_server_as_it_is() {
    let server = S3::start();
    let folder = folder();
    let mut host = new_host(&target(server.port, ""), folder.path());
    for c in (b' '..=b'~').map(char::from).filter(|c| !matches!(c, '/' | '\\')).chain(['ü', '日'])
    {
        let key = format!("x{c}y/{c}{c}{c}%41");
        put(&mut host, &key, key.as_bytes())
            .await
            .unwrap_or_else(|fault| panic!("{key}: {fault:?}"));
        assert_eq!(std::fs::read(server.object(&format!("a/{key}"))).unwrap(), key.as_bytes());
        assert_eq!(get(&mut host, &key).await.unwrap(), key.as_bytes(), "{key}");
        let listing = HostCall::new(&mut host).list(s(), format!("x{c}y/")).await.unwrap();
        assert_eq!(listing.objects.len(), 1, "{key}");
        assert_eq!(listing.objects[0].key, key);
    }
}

#[tokio::test]
async fn a_key_that_is_not_canonical_is_denied_before_anything_is_sent() {
    let server = S3::start();
    std::fs::write(server.object("other"), "x").unwrap();
    let folder = folder();
    // Nothing listens there.
    let mut host = new_host(&target(1, ""), folder.path());
    for key in ["../other", "x/../../other", "/other", "x//b", "x/", "", ".", "x\n", "x\\b"] {
        let key = key.to_owned();
        assert_eq!(head(&mut host, &key).await.unwrap_err().class, FaultClass::Denied, "{key}");
        let mut call = HostCall::new(&mut host);
        assert_eq!(call.get(s(), key.clone()).await.unwrap_err().class, FaultClass::Denied);
        let put = call.put(s(), key.clone(), Vec::new(), Condition::Absent).await;
        assert_eq!(put.unwrap_err().class, FaultClass::Denied, "{key}");
        let deleted = call.delete(s(), key, "e".to_owned()).await;
        assert_eq!(deleted.unwrap_err().class, FaultClass::Denied);
    }
}

#[tokio::test]
async fn a_request_is_signed_with_the_keys_of_the_target_alone() {
    let server = S3::start();
    let folder = folder();
    let good = target(server.port, "");
    for (from, to, expected) in [
        (ACCESS_KEY, "AKIDOTHER", (FaultClass::Invalid, "objects.keys")),
        ("secret:password", "secret:token", (FaultClass::Invalid, "objects.keys")),
    ] {
        let mut host = new_host(&good.replace(from, to), folder.path());
        let fault = put(&mut host, "b", b"x").await.unwrap_err();
        assert!(
            code(&fault) == expected || fault.code == "objects.access-denied",
            "{to}: {}",
            fault.message
        );
        assert!(host.verbs_that_acted().is_empty());
        let listed = HostCall::new(&mut host).list(s(), String::new()).await;
        assert_eq!(listed.unwrap_err().class, FaultClass::Invalid);
    }
    assert!(!server.object("a/b").exists());
    put(&mut new_host(&good, folder.path()), "b", b"x").await.unwrap();
    let other = good.replace(&format!("s3://{BUCKET}/a/"), "s3://elsewhere/a/");
    let listed = HostCall::new(&mut new_host(&other, folder.path())).list(s(), String::new()).await;
    assert_eq!(code(&listed.unwrap_err()), (FaultClass::Invalid, "objects.no-bucket"));
}

/// A content in which no part equals another.
fn content(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(size)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_copied_to_an_object_and_back_in_one_request_or_in_parts() {
    let server = S3::start();
    let folder = folder();
    let mut host = new_host(&target(server.port, ""), folder.path());
    for size in [0, 1, 8 << 20, (8 << 20) + 1, 17 << 20] {
        let bytes = content(size);
        let name = format!("file-{size}");
        std::fs::write(folder.path().join("data").join(&name), &bytes).unwrap();
        let mut call = HostCall::new(&mut host);
        let (key, dir) = (format!("copy/{name}"), "dir".to_owned());
        let up = call
            .upload(s(), key.clone(), dir.clone(), name.clone(), Condition::Absent)
            .await
            .unwrap();
        assert_eq!((up.size_bytes, &up.digest), (size as u64, &digest(&bytes)));
        assert!(std::fs::read(server.object(&format!("a/{key}"))).unwrap() == bytes, "{size}");
        let back = format!("back-{size}");
        let down = call.download(s(), key.clone(), dir.clone(), back.clone()).await.unwrap();
        assert_eq!((&down.digest, down.size_bytes), (&up.digest, up.size_bytes));
        assert!(std::fs::read(folder.path().join("data").join(&back)).unwrap() == bytes);
        // Neither is replaced.
        let twice = call.download(s(), key.clone(), dir.clone(), back).await.unwrap_err();
        assert_eq!(code(&twice), (FaultClass::Conflict, "files.exists"));
        let twice = call.upload(s(), key, dir, name, Condition::Absent).await.unwrap_err();
        // The server may answer before it has read the object, and hang up: if the answer is lost,
        // it is unknown what happened.
        let expected =
            [(FaultClass::Conflict, "objects.condition"), (FaultClass::Unknown, "objects.broken")];
        assert!(expected.contains(&code(&twice)), "{size}: {}", twice.message);
    }
    assert_eq!(server.unfinished_parts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_larger_than_the_target_allows_is_a_fault_and_not_read() {
    let server = S3::start();
    let folder = folder();
    let targets = target(server.port, "max_bytes = \"4B\"\nmax_copy = \"6B\"");
    let mut host = new_host(&targets, folder.path());
    put(&mut host, "four", b"1234").await.unwrap();
    assert_eq!(get(&mut host, "four").await.unwrap(), b"1234");
    let too_large = (FaultClass::Limit, "objects.too-large");
    assert_eq!(code(&put(&mut host, "five", b"12345").await.unwrap_err()), too_large);
    assert!(!server.object("a/five").exists());
    for (name, size) in [("five", 5), ("seven", 7)] {
        std::fs::write(server.object(&format!("a/{name}")), vec![b'x'; size]).unwrap();
        std::fs::write(folder.path().join("data").join(name), vec![b'x'; size]).unwrap();
    }
    assert_eq!(code(&get(&mut host, "five").await.unwrap_err()), too_large);
    let mut call = HostCall::new(&mut host);
    let dir = || "dir".to_owned();
    call.download(s(), "five".to_owned(), dir(), "copy".to_owned()).await.unwrap();
    let down = call.download(s(), "seven".to_owned(), dir(), "copy-7".to_owned()).await;
    assert_eq!(code(&down.unwrap_err()), too_large);
    assert!(!folder.path().join("data/copy-7").exists());
    let up = call.upload(s(), "up".to_owned(), dir(), "seven".to_owned(), Condition::Absent).await;
    assert_eq!(code(&up.unwrap_err()), too_large);
    assert!(!server.object("a/up").exists());
}

#[tokio::test]
async fn a_list_that_was_cut_says_so() {
    let server = S3::start();
    std::fs::create_dir(server.object("a")).unwrap();
    for number in 0..2500 {
        std::fs::write(server.object(&format!("a/{number:05}")), "").unwrap();
    }
    let folder = folder();
    for (max_rows, count, cut) in [
        (10_000, 2500, false),
        (2500, 2500, false),
        (2499, 2499, true),
        (1000, 1000, true),
        (0, 0, true),
    ] {
        let targets = target(server.port, &format!("max_rows = {max_rows}"));
        let listing = HostCall::new(&mut new_host(&targets, folder.path()))
            .list(s(), String::new())
            .await
            .unwrap();
        assert_eq!((listing.objects.len(), listing.cut), (count, cut), "{max_rows}");
    }
}

#[tokio::test]
async fn an_object_that_shows_a_secret_is_not_given_to_a_plugin() {
    let server = S3::start();
    std::fs::create_dir(server.object("a")).unwrap();
    std::fs::write(server.object("a/log"), "the key is hunter2-hunter2, they said").unwrap();
    let folder = folder();
    let mut host = new_host(&target(server.port, ""), folder.path());
    let fault = get(&mut host, "log").await.unwrap_err();
    assert_eq!(code(&fault), (FaultClass::Denied, "objects.secret"));
    std::fs::write(server.object("a/hunter2-hunter2"), "").unwrap();
    let listed = HostCall::new(&mut host).list(s(), String::new()).await;
    assert_eq!(code(&listed.unwrap_err()), (FaultClass::Denied, "objects.secret"));
}

/// The signature of `http` slots, whose plugins write the paths themselves.
#[tokio::test]
async fn every_character_of_a_path_is_signed_as_a_server_of_s3_expects_it() {
    let server = S3::start();
    let folder = folder();
    let targets = format!(
        "[targets.t]\nhttp = \"http://127.0.0.1:{}/{BUCKET}/\"\nauth = {{ aws-sigv4 = {{ access_key = \
         \"{ACCESS_KEY}\", secret_key = \"secret:password\", region = \"eu-central-1\", service = \
         \"s3\" }} }}\n",
        server.port
    );
    let slots: &[Slot] = &[("s", &["http.get", "http.put"], "t")];
    let mut tried = 0;
    for byte in 0..=127_u8 {
        let (c, escaped) = (char::from(byte), format!("%{byte:02x}"));
        let is_graphic = c.is_ascii_graphic() && !matches!(c, '/' | '\\' | '%' | '?' | '.');
        for (written, is_tried) in
            [(c.to_string(), is_graphic), (escaped, is_graphic || matches!(c, ' ' | '%' | '?'))]
        {
            let path = format!("/x{written}y/{written}z");
            if !is_tried || runbook_authority::pattern::canonical_request_path(&path).is_err() {
                continue;
            }
            tried += 1;
            let _ = std::fs::remove_dir_all(server.object(""));
            std::fs::create_dir(server.object("")).unwrap();
            let mut host = host(slots, &targets, folder.path());
            let mut call = HostCall::new(&mut host);
            let (body, none) = (path.clone().into_bytes(), Vec::new);
            let put = http::writer::Host::put(
                &mut call,
                s(),
                path.clone(),
                none(),
                body.clone(),
                Vec::new(),
            );
            assert_eq!(put.await.unwrap().status, 200, "{path}");
            let key = format!("x{c}y/{c}z");
            assert_eq!(std::fs::read(server.object(&key)).unwrap(), body, "{path}");
            let got = http::reader::Host::get(&mut call, s(), path.clone(), none()).await.unwrap();
            assert_eq!((got.status, got.body), (200, body), "{path}");
        }
    }
    assert!(tried > 150, "{tried}");
}

/// A proxy that ends TLS before the real server.
fn tls_front(server: &S3, authority: &CertificateAuthority, ask: bool) -> u16 {
    hostile::tls_proxy(server.port, authority, ask)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_verified_by_the_authority_of_its_target_alone() {
    let (authority, other) =
        (CertificateAuthority::new("Team"), CertificateAuthority::new("Other"));
    let server = S3::start();
    let port = tls_front(&server, &authority, false);
    let folder = folder();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    std::fs::write(folder.path().join("other.pem"), other.certificate()).unwrap();
    let listed = async |name: &str, ca: &str| {
        let targets = target_at(&format!("https://{name}:{port}"), ca);
        HostCall::new(&mut new_host(&targets, folder.path())).list(s(), String::new()).await
    };
    listed("localhost", "ca = \"ca.pem\"").await.unwrap_or_else(|fault| panic!("{fault:?}"));
    for (name, ca) in
        [("localhost", ""), ("localhost", "ca = \"other.pem\""), ("127.0.0.1", "ca = \"ca.pem\"")]
    {
        let fault = listed(name, ca).await.unwrap_err();
        assert_eq!(code(&fault), (FaultClass::Assertion, "objects.certificate"), "{name} {ca}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_asks_for_a_certificate_gets_that_of_the_target() {
    let authority = CertificateAuthority::new("Team");
    let server = S3::start();
    let port = tls_front(&server, &authority, true);
    let folder = folder();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    authority.client("me").write(folder.path(), "me");
    let listed = async |more: &str| {
        let keys = format!("ca = \"ca.pem\"\n{more}");
        let targets = target_at(&format!("https://localhost:{port}"), &keys);
        HostCall::new(&mut new_host(&targets, folder.path())).list(s(), String::new()).await
    };
    listed("client_cert = \"me.pem\"\nclient_key = \"me.key\"")
        .await
        .unwrap_or_else(|fault| panic!("{fault:?}"));
    let fault = listed("").await.unwrap_err();
    assert_eq!(code(&fault), (FaultClass::Invalid, "objects.client-certificate"));
}
