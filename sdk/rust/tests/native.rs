//! In `cargo test` there is no host. A host call must fail its own test only, and not abort the
//! process with the results of the others.

use runbook_sdk::docker::{ContainerSpec, Containers};
use runbook_sdk::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn endpoint() -> http::Endpoint {
    http::Endpoint::slot(slot!("target"))
}

fn database() -> sql::Database {
    sql::Database::slot(slot!("db"))
}

fn containers() -> Containers {
    Containers::slot(slot!("app"))
}

fn directory() -> files::Directory {
    files::Directory::slot(slot!("directory"))
}

fn units() -> system::Units {
    system::Units::slot(slot!("units"))
}

fn machine() -> system::Machine {
    system::Machine::slot(slot!("machine"))
}

fn spec() -> ContainerSpec {
    let name = String::new();
    ContainerSpec {
        image: name.clone(),
        name,
        command: Vec::new(),
        environment: Vec::new(),
        labels: Vec::new(),
    }
}

/// Every function of the contract that needs a host, as the SDK offers it.
const CALLS: &[(&str, fn())] = &[
    ("http/reader.get", || drop(endpoint().get("/"))),
    ("http/reader.head", || drop(endpoint().head("/"))),
    ("http/writer.post", || drop(endpoint().post("/", b""))),
    ("http/writer.put", || drop(endpoint().put("/", b""))),
    ("http/writer.patch", || drop(endpoint().patch("/", b""))),
    ("http/writer.delete", || drop(endpoint().delete("/"))),
    ("sql/reader.kind", || drop(database().kind())),
    ("sql/reader.query", || drop(database().query("select 1", params![]))),
    ("sql/writer.execute", || drop(database().execute("vacuum", params![]))),
    ("sql/writer.transaction", || drop(database().transaction(&[("delete from t", params![])]))),
    ("sql/snapshot.backup", || drop(database().backup(slot!("directory"), "a"))),
    ("sql/snapshot.restore", || drop(database().restore(slot!("directory"), "a"))),
    ("docker/reader.list", || drop(containers().list())),
    ("docker/reader.inspect", || drop(containers().inspect(""))),
    ("docker/reader.logs", || drop(containers().logs("", 1))),
    ("docker/reader.stats", || drop(containers().stats(""))),
    ("docker/control.start", || drop(containers().start(""))),
    ("docker/control.stop", || drop(containers().stop("", Duration::ZERO))),
    ("docker/control.restart", || drop(containers().restart("", Duration::ZERO))),
    ("docker/lifecycle.pull", || drop(containers().pull("a"))),
    ("docker/lifecycle.tag", || drop(containers().tag("a", "b"))),
    ("docker/lifecycle.create", || drop(containers().create(&spec()))),
    ("docker/lifecycle.remove", || drop(containers().remove(""))),
    ("docker/lifecycle.prune", || drop(containers().prune())),
    ("docker/exec.run", || drop(containers().exec("", &[]))),
    ("files/reader.read", || drop(directory().read("a"))),
    ("files/reader.list", || drop(directory().list(""))),
    ("files/reader.stat", || drop(directory().stat("a"))),
    ("files/reader.digest", || drop(directory().digest("a"))),
    ("files/reader.entries", || {
        let (pattern, order) = (None, files::Order::Name);
        let (files_only, max_entries) = (true, 1);
        let options = files::ListOptions { pattern, order, files_only, max_entries };
        drop(directory().entries("", &options));
    }),
    ("files/reader.read-decoded", || drop(directory().read_decoded("a"))),
    ("files/reader.tail", || drop(directory().tail("a", 1, files::Rotation::Excluded))),
    ("files/reader.count", || {
        let (pattern, rotated, since_ms, zone_minutes) = (String::new(), false, None, 0);
        let search = files::LineSearch { pattern, rotated, since_ms, zone_minutes };
        drop(directory().count("a", &search));
    }),
    ("files/writer.write", || drop(directory().write("a", b""))),
    ("files/writer.remove", || drop(directory().remove("a"))),
    ("files/writer.replace", || {
        drop(directory().replace("a", b"", &files::ExpectedFile::Anything, None));
    }),
    ("files/writer.rename", || {
        drop(directory().rename("a", "b", files::ExistingFile::Refuse));
    }),
    ("files/writer.prune", || drop(directory().prune(&[]))),
    ("process/inspector.run", || drop(process::Program::slot(slot!("program")).inspect())),
    ("process/runner.run", || drop(process::Program::slot(slot!("program")).run())),
    ("http/health.check", || drop(http::Endpoint::slot(slot!("service")).health(""))),
    ("net/connect.check", || drop(net::Server::slot(slot!("server")).connect(&[]))),
    ("net/tls.inspect", || drop(net::Server::slot(slot!("server")).inspect_tls())),
    ("net/dns.lookup", || {
        drop(net::Names::slot(slot!("names")).lookup(None, net::RecordKind::A));
    }),
    ("system/reader.cpu", || drop(machine().cpu(Duration::from_secs(1)))),
    ("system/reader.load", || drop(machine().load())),
    ("system/reader.memory", || drop(machine().memory())),
    ("system/reader.disks", || drop(machine().disks(None))),
    ("system/reader.uptime", || drop(machine().uptime())),
    ("system/reader.identity", || drop(machine().identity())),
    ("system/reader.processes", || drop(machine().processes(None))),
    ("system/reader.users", || drop(machine().users())),
    ("system/reader.ports", || drop(machine().ports(None))),
    ("redis/reader.read", || drop(redis::Database::slot(slot!("db")).read(["ping"]))),
    ("redis/writer.write", || drop(redis::Database::slot(slot!("db")).write(["del", "a"]))),
    ("objects/reader.head", || drop(bucket().head("a"))),
    ("objects/reader.list", || drop(bucket().list(""))),
    ("objects/reader.get", || drop(bucket().get("a"))),
    ("objects/reader.download", || drop(bucket().download("a", slot!("dir"), "a"))),
    ("objects/writer.put", || drop(bucket().put("a", b"", &objects::Condition::Absent))),
    ("objects/writer.upload", || {
        drop(bucket().upload("a", slot!("dir"), "a", &objects::Condition::Absent));
    }),
    ("objects/writer.delete", || drop(bucket().delete("a", "b"))),
    ("mail/sender.send", || drop(mail::Mailbox::slot(slot!("mailbox")).send("a", "b"))),
    ("system/units.inspect", || drop(units().unit("a.service"))),
    ("system/units.list", || drop(units().list())),
    ("system/control.start", || drop(units().start("a.service"))),
    ("system/control.stop", || drop(units().stop("a.service"))),
    ("system/control.restart", || drop(units().restart("a.service"))),
    ("system/control.reload", || drop(units().reload("a.service"))),
    ("system/control.enable", || drop(units().enable("a.service"))),
    ("system/control.disable", || drop(units().disable("a.service"))),
    ("secrets/metadata.describe", || drop(secrets::SecretSlot::slot(slot!("token")).describe())),
    ("secrets/reveal.reveal", || drop(secrets::SecretSlot::slot(slot!("token")).reveal())),
    ("secrets/rotation.observe", || {
        drop(secrets::SecretSlot::slot(slot!("token")).observe(slot!("db"), slot!("db")));
    }),
    ("secrets/rotation.rotate", || {
        drop(secrets::SecretSlot::slot(slot!("token")).rotate(slot!("db"), slot!("db")));
    }),
    ("secrets/rotation.restore", || {
        drop(secrets::SecretSlot::slot(slot!("token")).restore(slot!("db"), slot!("db")));
    }),
];

fn bucket() -> objects::Bucket {
    objects::Bucket::slot(slot!("store"))
}

/// The functions of the packages of the contract that are linked, as their WIT files write them.
fn contract() -> BTreeSet<String> {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut found = BTreeSet::new();
    for package in [
        "http", "sql", "docker", "files", "process", "secrets", "net", "system", "redis",
        "objects", "mail",
    ] {
        let text = std::fs::read_to_string(wit.join(package).join(format!("{package}.wit")))
            .expect("the package has a file");
        let mut interface = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("interface ") {
                interface = name.trim_end_matches(" {");
            }
            if let Some((name, _)) = line.split_once(": func(") {
                found.insert(format!(
                    "{package}/{interface}.{}",
                    name.trim().trim_start_matches('%')
                ));
            }
        }
    }
    found
}

#[test]
fn every_host_call_in_a_native_build_is_a_panic_that_unwinds_and_says_what_to_do() {
    assert_eq!(
        CALLS.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>(),
        contract()
    );
    for (name, call) in CALLS {
        let panic = std::panic::catch_unwind(call).expect_err("there is no host");
        let message = panic.downcast_ref::<String>().expect("it is a text");
        assert!(
            message.contains("host calls answer only inside `runbook`")
                && message.contains(&format!("`{name}`")),
            "{message}"
        );
        assert!(message.contains("README of runbook-sdk"), "{message}");
    }
}

#[test]
fn lines_of_the_log_and_the_clock_need_no_host() {
    info!("seen by nobody but who runs the test");
    let before = clock::monotonic();
    clock::sleep(Duration::from_millis(1));
    assert!(clock::monotonic() > before && clock::now_ms() > 0);
}

#[test]
#[ignore = "calls the host; another test runs it"]
fn a_test_that_calls_the_host() {
    drop(endpoint().get("/stats"));
}

#[test]
#[ignore = "stands beside one that calls the host; another test runs it"]
fn a_test_that_is_good() {}

#[test]
fn a_test_that_calls_the_host_fails_by_itself_and_names_its_line() {
    let test_program = std::env::current_exe().expect("the test has a program");
    let output = Command::new(test_program)
        .args(["--ignored", "--test-threads=1", "a_test_that_"])
        .output()
        .expect("it starts");
    let message = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(101), "it was not aborted: {message}");
    assert!(message.contains("1 passed; 1 failed"), "{message}");
    assert!(
        message.contains("tests/native.rs:"),
        "the line of the author, not of the SDK: {message}"
    );
}
