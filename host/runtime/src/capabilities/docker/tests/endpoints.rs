//! Engines at other places than the usual socket: by TLS, and Podman.

use super::{ALL_VERBS, slot};
use crate::bindings::runbook::docker::control::Host as _;
use crate::bindings::runbook::docker::exec::Host as _;
use crate::bindings::runbook::docker::lifecycle::Host as _;
use crate::bindings::runbook::docker::reader::Host as _;
use crate::bindings::runbook::docker::types::{ContainerSpec, ContainerState};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use crate::testing::{host, host_with_audited_names};
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::docker::IMAGE;
use runbook_tests::engines::{Podman, TlsEngine};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MORE: &str = "images = [\"*\"]\n\
                    command = [\"/bin/sh\", \"-c\", { regex = \"echo [a-z]+; exit [0-9]\" }]\n\
                    environment = [\"A\"]\n";

/// The host side of a call whose slot is bound to the containers `app*` of an engine.
fn engine_host(engine: &str, folder: &Path) -> Host {
    let targets = format!("[targets.c]\ndocker = {{ pattern = \"app*\" }}\n{engine}\n{MORE}");
    host(&[("c", ALL_VERBS, "c")], &targets, folder)
}

const CERTIFICATE: &str = "client_cert = \"client.pem\"\nclient_key = \"client.key\"";

fn tls(port: u16, keys: &str) -> String {
    format!("engine = \"tcp://127.0.0.1:{port}\"\n{keys}")
}

async fn list(host: &mut Host) -> Result<Vec<String>, Fault> {
    let listed = HostCall::new(host).list(slot()).await?;
    Ok(listed.into_iter().map(|container| container.name).collect())
}

/// The class and the code of a fault, and its message.
fn parts(fault: &Fault) -> (FaultClass, &str, &str) {
    (fault.class, fault.code.as_str(), fault.message.as_str())
}

#[tokio::test]
async fn an_engine_is_verified_by_the_authority_of_its_target_alone() {
    let (ours, other) = (CertificateAuthority::new("ours"), CertificateAuthority::new("other"));
    let engine = TlsEngine::start(&ours);
    let folder = engine.folder();
    std::fs::write(folder.join("other.pem"), other.certificate()).unwrap();
    let good = tls(engine.port, &format!("ca = \"ca.pem\"\n{CERTIFICATE}"));
    assert_eq!(list(&mut engine_host(&good, folder)).await.unwrap(), [""; 0]);
    for keys in [format!("ca = \"other.pem\"\n{CERTIFICATE}"), CERTIFICATE.to_owned()] {
        let mut host = engine_host(&tls(engine.port, &keys), folder);
        let fault = list(&mut host).await.unwrap_err();
        let (class, code, message) = parts(&fault);
        assert_eq!((class, code), (FaultClass::Assertion, "docker.certificate"), "{message}");
        assert!(message.contains("issued by `ours`"), "{message}");
        assert!(host.verbs_that_acted().is_empty());
    }
    for (certificate, reason) in [
        (ours.server("far.internal"), "is for far.internal, not for 127.0.0.1"),
        (ours.expired_server("127.0.0.1"), "expired"),
    ] {
        let engine = TlsEngine::start_with(&ours, &certificate);
        let good = tls(engine.port, &format!("ca = \"ca.pem\"\n{CERTIFICATE}"));
        let fault = list(&mut engine_host(&good, engine.folder())).await.unwrap_err();
        let (class, code, message) = parts(&fault);
        assert_eq!((class, code), (FaultClass::Assertion, "docker.certificate"), "{message}");
        assert!(message.contains(reason), "{message}");
    }
}

#[tokio::test]
async fn an_engine_that_demands_a_certificate_gets_that_of_the_target() {
    let (ours, other) = (CertificateAuthority::new("ours"), CertificateAuthority::new("other"));
    let engine = TlsEngine::start(&ours);
    let folder = engine.folder();
    other.client("stranger").write(folder, "stranger");
    ours.expired_client("late").write(folder, "late");
    for certificate in [
        "",
        "client_cert = \"stranger.pem\"\nclient_key = \"stranger.key\"",
        "client_cert = \"late.pem\"\nclient_key = \"late.key\"",
    ] {
        let mut host =
            engine_host(&tls(engine.port, &format!("ca = \"ca.pem\"\n{certificate}")), folder);
        let fault = list(&mut host).await.unwrap_err();
        let (class, code, message) = parts(&fault);
        let expected = (FaultClass::Invalid, "docker.client-certificate");
        assert_eq!((class, code), expected, "{certificate}: {message}");
    }
    let good = tls(engine.port, &format!("ca = \"ca.pem\"\n{CERTIFICATE}"));
    let mut host = engine_host(&good, folder);
    every_verb(&mut host, IMAGE, &|arguments| engine.docker(arguments)).await;
    let tried = host.reach_docker_engine("c", runbook_authority::Verb::DockerList).await.unwrap();
    assert!(tried.starts_with("the Docker engine answers by TLS, version "), "{tried}");
}

#[tokio::test]
async fn each_address_of_an_engine_is_judged_before_a_packet_is_sent() {
    let ours = CertificateAuthority::new("ours");
    let engine = TlsEngine::start_with(&ours, &ours.server("far.internal"));
    let names: &[(&str, &[&str])] =
        &[("far.internal", &["127.0.0.1"]), ("metadata.internal", &["169.254.169.254"])];
    let file = |name: &str| engine.folder().join(name).display().to_string();
    let keys = format!(
        "ca = \"{}\"\nclient_cert = \"{}\"\nclient_key = \"{}\"",
        file("ca.pem"),
        file("client.pem"),
        file("client.key")
    );
    for (name, addresses, is_allowed) in [
        ("far.internal", "", false),
        ("far.internal", "addresses = [\"private\"]", false),
        ("far.internal", "addresses = [\"loopback\"]", true),
        ("metadata.internal", "addresses = [\"private\", \"loopback\", \"link-local\"]", false),
    ] {
        let audited = Arc::<Mutex<Vec<String>>>::default();
        let targets = format!(
            "[targets.c]\ndocker = {{ name = \"app\" }}\nengine = \"tcp://{name}:{}\"\n\
             {addresses}\n{keys}\n",
            engine.port
        );
        let slots = [("c", &["docker.list"] as &'static [&'static str], "c")];
        let mut host = host_with_audited_names(&slots, &targets, names, &audited);
        let listed = HostCall::new(&mut host).list(slot()).await;
        let audited = audited.lock().unwrap().join("\n");
        match listed {
            Ok(containers) => assert!(is_allowed && containers.is_empty(), "{name} {addresses}"),
            Err(fault) => {
                assert_eq!((fault.class, is_allowed), (FaultClass::Denied, false), "{audited}");
            }
        }
        let decision = if is_allowed { "allowed" } else { "denied" };
        let connect = audited.lines().find(|line| line.contains("connect ")).unwrap_or_default();
        assert!(connect.starts_with(decision), "{audited}");
    }
}

#[tokio::test]
async fn podman_does_what_docker_does_for_every_verb() {
    let podman = Podman::start();
    let socket = format!("socket = \"{}\"", podman.socket().display());
    let mut host = engine_host(&socket, Path::new("/"));
    let image = format!("localhost/{IMAGE}");
    every_verb(&mut host, &image, &|arguments| podman.docker(arguments)).await;
    let tried = host.reach_docker_engine("c", runbook_authority::Verb::DockerList).await.unwrap();
    assert!(tried.starts_with("Podman answers, version "), "{tried}");
}

/// A container that ignores the signal to stop is running until it was killed. Podman calls its
/// state `stopping`, which Docker does not have.
#[tokio::test]
async fn a_container_that_podman_is_stopping_still_runs() {
    let podman = Podman::start();
    let script = "trap '' TERM; echo ready; while true; do /bin/sleep 1; done";
    let run = ["run", "-d", "--name", "app", "--network", "none", IMAGE, "/bin/sh", "-c", script];
    let (text, ran) = podman.docker(&run);
    assert!(ran, "{text}");
    runbook_tests::wait_for("it ignores the signal", || {
        podman.docker(&["logs", "app"]).0 == "ready"
    });
    let socket = format!("socket = \"{}\"", podman.socket().display());
    let (mut stopping, mut watching) =
        (engine_host(&socket, Path::new("/")), engine_host(&socket, Path::new("/")));
    let watch = async {
        let state = ["inspect", "--format", "{{.State.Status}}", "app"];
        while podman.docker(&state).0 != "stopping" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut call = HostCall::new(&mut watching);
        let inspected = call.inspect(slot(), "app".to_owned()).await.unwrap();
        let listed = call.list(slot()).await.unwrap();
        let pruned = call.prune(slot()).await.unwrap();
        (inspected.state, listed[0].state, pruned)
    };
    let mut stop = HostCall::new(&mut stopping);
    let (stopped, seen) = tokio::join!(stop.stop(slot(), "app".to_owned(), 5), watch);
    stopped.unwrap();
    assert_eq!(seen, (ContainerState::Running, ContainerState::Running, Vec::new()));
    drop(stop);
    let inspected = HostCall::new(&mut watching).inspect(slot(), "app".to_owned()).await.unwrap();
    assert_eq!((inspected.state, inspected.exit_code), (ContainerState::Exited, 137));
}

/// Uses every verb but `pull`, on an engine without containers that has an image.
async fn every_verb(host: &mut Host, image: &str, docker: &dyn Fn(&[&str]) -> (String, bool)) {
    let busy = "echo out; echo err >&2; while true; do true; done";
    let run = ["run", "-d", "--stop-signal", "SIGKILL", "--network", "none", "--name", "app"];
    let label = ["--label", "role=api", "--env", "PASSWORD=hunter2-in-the-environment"];
    let (text, ran) = docker(&[&run[..], &label, &[image, "/bin/sh", "-c", busy]].concat());
    assert!(ran, "{text}");
    assert!(docker(&["create", "--network", "none", "--name", "other", image, "/bin/true"]).1);
    let app = || "app".to_owned();
    let state = || docker(&["inspect", "--format", "{{.State.Status}}", "app"]).0;
    let started = || docker(&["inspect", "--format", "{{.State.StartedAt}}", "app"]).0;
    let mut call = HostCall::new(host);
    let listed = call.list(slot()).await.unwrap();
    let inspected = call.inspect(slot(), app()).await.unwrap();
    assert_eq!(listed.len(), 1, "the filter is the target's");
    let shown = (inspected.name.as_str(), inspected.state, inspected.image.as_str());
    assert_eq!(shown, ("app", ContainerState::Running, image));
    assert!(inspected.labels.contains(&("role".to_owned(), "api".to_owned())));
    assert!(!format!("{listed:?}{inspected:?}").contains("hunter2"));
    let logs = call.logs(slot(), app(), 10).await.unwrap();
    let mut lines: Vec<_> =
        logs.lines.iter().map(|line| (line.text.as_str(), line.stderr)).collect();
    lines.sort_unstable();
    assert_eq!((lines, logs.truncated), (vec![("err", true), ("out", false)], false));
    let used = call.stats(slot(), app()).await.unwrap();
    assert!(used.cpu_percent > 1.0 && used.cpu_percent < 1_000.0, "{used:?}");
    assert!(used.memory_limit_bytes > 0, "{used:?}");
    let echo = |script: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let output = call.run(slot(), app(), echo("echo hello; exit 3")).await.unwrap();
    assert_eq!((output.exit_code, output.stdout.as_slice()), (3, b"hello\n".as_slice()));
    // Each is repeated: the second time it changes nothing, and is no failure.
    for _ in 0..2 {
        call.stop(slot(), app(), 1).await.unwrap();
        assert_eq!(state(), "exited");
    }
    for _ in 0..2 {
        call.start(slot(), app()).await.unwrap();
        assert_eq!(state(), "running");
    }
    let before = started();
    call.restart(slot(), app(), 1).await.unwrap();
    assert_eq!(state(), "running");
    assert_ne!(started(), before);
    call.tag(slot(), image.to_owned(), "localhost/app:9".to_owned()).await.unwrap();
    let spec = ContainerSpec {
        name: "app-made".to_owned(),
        image: "localhost/app:9".to_owned(),
        command: echo("echo a; exit 4"),
        environment: vec![("A".to_owned(), "b".to_owned())],
        labels: Vec::new(),
    };
    call.create(slot(), spec.clone()).await.unwrap();
    let again = call.create(slot(), spec).await.unwrap_err();
    assert_eq!(again.class, FaultClass::Conflict, "{}", again.message);
    call.start(slot(), "app-made".to_owned()).await.unwrap();
    let made =
        || docker(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "app-made"]).0;
    runbook_tests::wait_for("it has ended", || made() == "exited 4");
    let ended = call.stats(slot(), "app-made".to_owned()).await;
    assert!(ended.is_err() || ended.is_ok_and(|used| used.memory_bytes == 0));
    assert_eq!(call.prune(slot()).await.unwrap(), ["app-made"]);
    call.remove(slot(), app(), true).await.unwrap();
    let gone = call.inspect(slot(), app()).await.unwrap_err();
    assert_eq!(parts(&gone).0, FaultClass::NotFound, "{}", gone.message);
    let other = call.inspect(slot(), "other".to_owned()).await.unwrap_err();
    assert_eq!(other.class, FaultClass::Denied);
    assert!(docker(&["inspect", "other"]).1, "it is not of the target");
}
