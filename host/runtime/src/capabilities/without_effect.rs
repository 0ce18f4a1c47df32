//! Tests that an allowed change is reported as without effect if it certainly did not leave the
//! host.

use crate::bindings::runbook::docker::control::Host as _;
use crate::bindings::runbook::docker::lifecycle::{self, Host as _};
use crate::bindings::runbook::docker::types::ContainerSpec;
use crate::bindings::runbook::files::writer::{self, Host as _};
use crate::bindings::runbook::http::writer::Host as _;
use crate::bindings::runbook::process::runner::Host as _;
use crate::bindings::runbook::process::types::{File, Input, Sink};
use crate::fault::Fault;
use crate::host::{Host, HostCall};
use crate::testing::{Slot, host};
use runbook_authority::Verb;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const API: &[Slot] = &[("api", &["http.post", "http.put", "http.patch", "http.delete"], "api")];

/// Sends one request with each HTTP verb that changes something. Returns the result and the verbs
/// that may have had an effect.
async fn requests(targets: &str) -> Vec<(Result<u16, Fault>, Vec<Verb>)> {
    let mut results = Vec::new();
    for verb in [Verb::HttpPost, Verb::HttpPut, Verb::HttpPatch, Verb::HttpDelete] {
        let mut host = host(API, targets, Path::new("/"));
        let mut call = HostCall::new(&mut host);
        let (slot, path, body) = ("api".to_owned(), "/charge".to_owned(), b"{}".to_vec());
        let result = match verb {
            Verb::HttpPost => call.post(slot, path, Vec::new(), body, Vec::new()).await,
            Verb::HttpPut => call.put(slot, path, Vec::new(), body, Vec::new()).await,
            Verb::HttpPatch => call.patch(slot, path, Vec::new(), body, Vec::new()).await,
            Verb::HttpDelete => call.delete(slot, path, Vec::new()).await,
            other => unreachable!("{other} is not among the verbs above"),
        };
        drop(call);
        results.push((result.map(|response| response.status), host.verbs_that_acted()));
    }
    results
}

fn target(address: &str) -> String {
    format!("[targets.api]\nhttp = \"{address}\"\n")
}

#[tokio::test]
async fn a_request_of_which_no_byte_left_has_changed_nothing() {
    let closed_address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // A server that closes each connection during the handshake.
    let closing_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing_url = format!("https://{}", closing_listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = closing_listener.accept().await {
            drop(stream);
        }
    });
    // A label of a host name is never so long, so it is not even resolved.
    let unresolvable_url = format!("http://{}", "a".repeat(64));
    // The address of this machine, which the gate denies because it is not link-local.
    let hostname = std::fs::read_to_string("/etc/hostname").unwrap();
    let denied_url = format!("http://{}\"\naddresses = [\"link-local\"]\n#", hostname.trim());
    for address in
        [&format!("http://{closed_address}"), &unresolvable_url, &closing_url, &denied_url]
    {
        for (result, verbs_that_acted) in requests(&target(address)).await {
            let fault = result.expect_err("nothing answers there");
            assert!(
                verbs_that_acted.is_empty(),
                "{address}: {verbs_that_acted:?} after {}: {}",
                fault.code,
                fault.message
            );
        }
    }
}

#[tokio::test]
async fn a_request_that_left_may_have_changed_something_whatever_came_back() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        for (result, verbs_that_acted) in requests(&target(&format!("http://{address}"))).await {
            assert_eq!(verbs_that_acted.len(), 1, "{answer:?}: {result:?}");
        }
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_has_changed_nothing() {
    const VERBS: &[&str] = &[
        "docker.start",
        "docker.stop",
        "docker.restart",
        "docker.pull",
        "docker.tag",
        "docker.create",
        "docker.remove",
        "docker.prune",
        "docker.exec",
    ];
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let targets = format!(
        "[targets.c]\ndocker = {{ name = \"a\" }}\nsocket = {socket:?}\nimages = [\"b\"]\n\
                 command = [\"true\"]\n"
    );
    let mut host = host(&[("c", VERBS, "c")], &targets, Path::new("/"));
    let (slot, name) = (|| "c".to_owned(), || "a".to_owned());
    let spec = ContainerSpec {
        name: name(),
        image: "b".to_owned(),
        command: Vec::new(),
        environment: Vec::new(),
        labels: Vec::new(),
    };
    let mut errors = Vec::new();
    errors.push(HostCall::new(&mut host).start(slot(), name()).await.err());
    errors.push(HostCall::new(&mut host).stop(slot(), name(), 1).await.err());
    errors.push(HostCall::new(&mut host).restart(slot(), name(), 1).await.err());
    errors.push(HostCall::new(&mut host).pull(slot(), "b".to_owned()).await.err());
    errors.push(HostCall::new(&mut host).tag(slot(), "b".to_owned(), "b".to_owned()).await.err());
    errors.push(HostCall::new(&mut host).create(slot(), spec).await.err());
    errors.push(
        lifecycle::Host::remove(&mut HostCall::new(&mut host), slot(), name(), false).await.err(),
    );
    errors.push(lifecycle::Host::prune(&mut HostCall::new(&mut host), slot()).await.err());
    errors.push(exec(&mut host, slot(), name()).await.err());
    assert!(errors.iter().all(Option::is_some), "{errors:?}");
    assert_eq!(host.verbs_that_acted(), Vec::<Verb>::new());
}

/// The only `run` that takes a container.
async fn exec(host: &mut Host, slot: String, name: String) -> Result<(), Fault> {
    let mut call = HostCall::new(host);
    crate::bindings::runbook::docker::exec::Host::run(
        &mut call,
        slot,
        name,
        vec!["true".to_owned()],
    )
    .await
    .map(drop)
}

#[tokio::test]
async fn a_program_that_cannot_start_and_a_file_that_cannot_be_opened_have_changed_nothing() {
    const SLOTS: &[Slot] = &[
        ("program", &["process.run"], "program"),
        ("files", &["files.read", "files.write", "files.remove"], "files"),
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("out/there"), "old").unwrap();
    std::fs::create_dir(folder.path().join("out/folder")).unwrap();
    let script = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let (working_script, broken_script) =
        (script("good.sh", "#!/bin/sh\nexit 0\n"), script("broken.sh", "#!/no/such/interpreter\n"));
    let targets = |program: &Path| {
        format!(
            "[targets.program]\nprocess = {program:?}\n[targets.files]\nfiles = \"out\"\n\
                 access = \"write\"\n"
        )
    };
    let file = |path: &str| File { slot: "files".to_owned(), path: path.to_owned() };
    for (program, stdin, stdout) in [
        (folder.path().join("missing"), Input::Nothing, Sink::Capture),
        (broken_script, Input::Nothing, Sink::Capture),
        (working_script.clone(), Input::File(file("missing")), Sink::Capture),
        (working_script.clone(), Input::Nothing, Sink::File(file("there"))),
        (working_script.clone(), Input::Nothing, Sink::File(file("missing/new"))),
    ] {
        let mut host = host(SLOTS, &targets(&program), folder.path());
        let result =
            HostCall::new(&mut host).run("program".to_owned(), Vec::new(), stdin, stdout).await;
        let fault = result.err().unwrap_or_else(|| panic!("{} ran", program.display()));
        assert_eq!(
            host.verbs_that_acted(),
            Vec::<Verb>::new(),
            "{}: {}",
            program.display(),
            fault.message
        );
    }
    let mut host = host(SLOTS, &targets(&working_script), folder.path());
    let slot = || "files".to_owned();
    for path in ["missing/new", "folder"] {
        assert!(
            HostCall::new(&mut host).write(slot(), path.to_owned(), b"new".to_vec()).await.is_err()
        );
    }
    for path in ["missing", "folder", "missing/old"] {
        assert!(
            writer::Host::remove(&mut HostCall::new(&mut host), slot(), path.to_owned())
                .await
                .is_err()
        );
    }
    assert_eq!(host.verbs_that_acted(), Vec::<Verb>::new());
    // And what happened is counted.
    HostCall::new(&mut host).write(slot(), "there".to_owned(), b"new".to_vec()).await.unwrap();
    writer::Host::remove(&mut HostCall::new(&mut host), slot(), "there".to_owned()).await.unwrap();
    HostCall::new(&mut host)
        .run("program".to_owned(), Vec::new(), Input::Nothing, Sink::File(file("new")))
        .await
        .unwrap();
    let verbs_that_acted = host.verbs_that_acted();
    for verb in [Verb::FilesWrite, Verb::FilesRemove, Verb::ProcessRun] {
        assert!(verbs_that_acted.contains(&verb), "{verbs_that_acted:?}");
    }
}
