//! Every verb, against a real engine.

mod endpoints;
mod hostile;

use super::failure::engine_fault;
use super::*;
use crate::bindings::runbook::docker::control::Host as _;
use crate::bindings::runbook::docker::exec::Host as _;
use crate::bindings::runbook::docker::lifecycle::Host as _;
use crate::bindings::runbook::docker::reader::Host as _;
use crate::capabilities::truncation_tests::{CAP, Channel, CutOrigin};
use crate::host::HostCall;
use crate::testing::host;
use bollard::errors::Error;
use runbook_secrets::Scrubber;
use runbook_tests::docker::{IMAGE, docker, ensure_engine};
use runbook_tests::registry::Registry;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

const ALL_VERBS: &[&str] = &[
    "docker.list",
    "docker.inspect",
    "docker.logs",
    "docker.stats",
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

/// A unique prefix for the names of a test. Containers and images with it are removed when this is
/// dropped.
struct TestNames(String);

impl TestNames {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        ensure_engine();
        Self(format!(
            "runbook-verb-{}-{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        ))
    }

    fn name(&self, end: &str) -> String {
        format!("{}-{end}", self.0)
    }

    /// Runs a container with the Docker command.
    fn run(&self, end: &str, options: &[&str], command: &[&str]) -> String {
        let name = self.name(end);
        let (text, ran) = docker(
            &[
                &["run", "-d", "--stop-signal", "SIGKILL", "--name", &name],
                options,
                &[IMAGE],
                command,
            ]
            .concat(),
        );
        assert!(ran, "{text}");
        name
    }

    /// The host side of a call whose slot is bound to a target with this filter.
    fn host(&self, filter: &str) -> Host {
        let prefix = &self.0;
        let targets = format!(
            "[targets.c]\ndocker = {{ {filter} }}\n\
                     images = [\"{IMAGE}\", \"{prefix}*\", \"127.0.0.1:*/{prefix}*\"]\n\
                     command = [\"/bin/sh\", \"-c\", {{ regex = \"echo [a-z]+( >&2)?; exit [0-9]\" \
                     }}]\nenvironment = [\"A\"]\n"
        );
        host(&[("c", ALL_VERBS, "c")], &targets, Path::new("/"))
    }

    /// As [`host`](Self::host), with a filter for every container of this test.
    fn all(&self) -> Host {
        self.host(&format!("pattern = \"{}-*\"", self.0))
    }
}

impl Drop for TestNames {
    fn drop(&mut self) {
        let (ids, _) = docker(&["ps", "-aq", "--filter", &format!("name={}", self.0)]);
        for id in ids.split_whitespace() {
            docker(&["rm", "-f", id]);
        }
        let (images, _) = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        for image in images.lines().filter(|image| image.contains(&self.0)) {
            docker(&["rmi", "-f", image]);
        }
    }
}

fn slot() -> String {
    "c".to_owned()
}

fn state(name: &str) -> String {
    docker(&["inspect", "--format", "{{.State.Status}}", name]).0
}

#[tokio::test]
async fn list_and_inspect_show_what_the_filter_lets_through_and_never_an_environment() {
    let names = TestNames::new();
    let one = names.run(
        "one",
        &["--env", "PASSWORD=hunter2-in-the-environment", "--label", "role=api"],
        &["/bin/sleep", "600"],
    );
    names.run("two", &[], &["/bin/true"]);
    let mut host = names.all();
    let listed = HostCall::new(&mut host).list(slot()).await.unwrap();
    let found: Vec<_> = listed.iter().map(|container| container.name.clone()).collect();
    assert_eq!(found, [names.name("one"), names.name("two")]);
    let inspected = HostCall::new(&mut host).inspect(slot(), one.clone()).await.unwrap();
    assert_eq!(
        (inspected.name.as_str(), inspected.state, inspected.image.as_str()),
        (one.as_str(), ContainerState::Running, IMAGE)
    );
    assert!(inspected.labels.contains(&("role".to_owned(), "api".to_owned())));
    assert!(!format!("{listed:?}{inspected:?}").contains("hunter2"));
}

#[tokio::test]
async fn logs_are_the_last_lines_of_both_streams() {
    let names = TestNames::new();
    let name = names.run("logs", &[], &["/bin/sh", "-c", "echo one; echo two; echo three >&2"]);
    runbook_tests::wait_for("it has ended", || state(&name) == "exited");
    let mut host = names.all();
    let found = HostCall::new(&mut host).logs(slot(), name.clone(), 10).await.unwrap();
    assert!(!found.truncated);
    let mut lines = found.lines;
    lines.sort_by(|a, b| a.text.cmp(&b.text));
    let lines: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.stderr)).collect();
    assert_eq!(lines, [("one", false), ("three", true), ("two", false)]);
    let last = HostCall::new(&mut host).logs(slot(), name, 1).await.unwrap();
    assert_eq!(
        (last.lines.len(), last.truncated),
        (1, false),
        "who asks for one line misses nothing"
    );
}

#[tokio::test]
async fn a_log_that_is_longer_than_its_limits_keeps_the_newest_lines_and_says_that_there_are_more()
{
    let names = TestNames::new();
    let many = names.run(
        "many",
        &[],
        &["/bin/sh", "-c", "i=0; while [ $i -lt 1500 ]; do i=$((i + 1)); echo line $i; done"],
    );
    let wide =
        "x=$(printf %010000d 0); i=0; while [ $i -lt 150 ]; do i=$((i + 1)); echo $i $x; done";
    let wide = names.run("wide", &[], &["/bin/sh", "-c", wide]);
    for name in [&many, &wide] {
        runbook_tests::wait_for("it has ended", || state(name) == "exited");
    }
    let mut host = names.all();
    let found = HostCall::new(&mut host).logs(slot(), many.clone(), 5_000).await.unwrap();
    let first_and_last_line =
        (found.lines.first().unwrap().text.as_str(), found.lines.last().unwrap().text.as_str());
    assert_eq!(
        (found.lines.len(), found.truncated, first_and_last_line),
        (1_000, true, ("line 501", "line 1500"))
    );
    let found = HostCall::new(&mut host).logs(slot(), many, 1_000).await.unwrap();
    assert_eq!((found.lines.len(), found.truncated), (1_000, false), "all that was asked for");
    let found = HostCall::new(&mut host).logs(slot(), wide, 1_000).await.unwrap();
    assert!(found.truncated && found.lines.len() > 50, "{} lines", found.lines.len());
    assert!(found.lines.last().unwrap().text.starts_with("150 "), "the newest is there");
}

#[tokio::test]
async fn stats_measure_a_running_container() {
    let names = TestNames::new();
    let name = names.run("stats", &[], &["/bin/sh", "-c", "while true; do true; done"]);
    let usage = HostCall::new(&mut names.all()).stats(slot(), name).await.unwrap();
    assert!(usage.cpu_percent > 1.0, "{usage:?}");
    assert!(usage.memory_limit_bytes > 0, "{usage:?}");
}

#[tokio::test]
async fn stop_start_and_restart_change_the_container_and_may_be_repeated() {
    let names = TestNames::new();
    let name = names.run("control", &[], &["/bin/sleep", "600"]);
    let mut host = names.host(&format!("name = \"{name}\""));
    let started = || docker(&["inspect", "--format", "{{.State.StartedAt}}", &name]).0;
    HostCall::new(&mut host).stop(slot(), String::new(), 1).await.unwrap();
    assert_eq!(state(&name), "exited");
    HostCall::new(&mut host).stop(slot(), String::new(), 1).await.unwrap();
    HostCall::new(&mut host).start(slot(), String::new()).await.unwrap();
    HostCall::new(&mut host).start(slot(), String::new()).await.unwrap();
    assert_eq!(state(&name), "running");
    let before = started();
    HostCall::new(&mut host).restart(slot(), String::new(), 1).await.unwrap();
    assert_eq!(state(&name), "running");
    assert_ne!(started(), before);
}

#[tokio::test]
async fn an_image_is_tagged_pulled_created_and_removed() {
    let names = TestNames::new();
    let registry = Registry::start();
    let mut host = names.all();
    let image_name = format!("127.0.0.1:{}/{}-app:7", registry.port, names.0);
    HostCall::new(&mut host).tag(slot(), IMAGE.to_owned(), image_name.clone()).await.unwrap();
    let (text, pushed) = docker(&["push", &image_name]);
    assert!(pushed, "{text}");
    docker(&["rmi", &image_name]);
    let id = HostCall::new(&mut host).pull(slot(), image_name.clone()).await.unwrap();
    assert!(id.starts_with("sha256:"), "{id}");
    let missing = image_name.replace(":7", ":8");
    assert!(HostCall::new(&mut host).pull(slot(), missing).await.is_err());
    let spec = ContainerSpec {
        name: names.name("made"),
        image: image_name.clone(),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo a; exit 0".to_owned()],
        environment: vec![("A".to_owned(), "b".to_owned())],
        labels: vec![("role".to_owned(), "api".to_owned())],
    };
    let id = HostCall::new(&mut host).create(slot(), spec.clone()).await.unwrap();
    assert_eq!(
        docker(&[
            "inspect",
            "--format",
            "{{.Id}} {{.State.Status}} {{index .Config.Env 0}}",
            &spec.name
        ])
        .0,
        format!("{id} created A=b")
    );
    assert_eq!(
        HostCall::new(&mut host).create(slot(), spec.clone()).await.unwrap_err().class,
        FaultClass::Conflict
    );
    HostCall::new(&mut host).start(slot(), spec.name.clone()).await.unwrap();
    runbook_tests::wait_for("it has ended", || state(&spec.name) == "exited");
    HostCall::new(&mut host).remove(slot(), spec.name.clone(), true).await.unwrap();
    assert_eq!(
        HostCall::new(&mut host).inspect(slot(), spec.name).await.unwrap_err().class,
        FaultClass::NotFound
    );
}

/// The output of `docker inspect` for a container, as JSON.
fn inspected(name: &str) -> serde_json::Value {
    let (text, found) = docker(&["inspect", name]);
    assert!(found, "{text}");
    serde_json::from_str::<serde_json::Value>(&text).unwrap()[0].clone()
}

/// Creates containers from hostile specifications, and inspects what the engine has created.
#[tokio::test]
async fn a_container_that_a_plugin_creates_is_confined_in_every_respect() {
    let names = TestNames::new();
    let command = || vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo a; exit 0".to_owned()];
    let spec = |name: &str, command: Vec<String>| ContainerSpec {
        name: names.name(name),
        image: IMAGE.to_owned(),
        command,
        environment: vec![("MODE".to_owned(), "fast".to_owned())],
        labels: vec![("privileged".to_owned(), "true".to_owned())],
    };
    for (index, (keys, network, memory, pids)) in [
        ("", "none", 512_i64 << 20, 256),
        ("network = \"none\"\nmemory = \"64MiB\"\npids = 7\n", "none", 64 << 20, 7),
    ]
    .into_iter()
    .enumerate()
    {
        let targets = format!(
            "[targets.c]\ndocker = {{ pattern = \"{}-*\" }}\nimages = [\"{IMAGE}\"]\n\
             {keys}command = [\"/bin/sh\", \"-c\", {{ regex = \"echo [a-z]+; exit [0-9]\" }}]\n\
             environment = [\"MODE\"]\n",
            names.0
        );
        let mut host = host(&[("c", ALL_VERBS, "c")], &targets, Path::new("/"));
        let spec = spec(&format!("confined-{index}"), command());
        HostCall::new(&mut host).create(slot(), spec.clone()).await.unwrap();
        let made = inspected(&spec.name);
        let host_setting = |pointer: &str| {
            made.pointer(&format!("/HostConfig/{pointer}")).cloned().unwrap_or_default()
        };
        let variables = made
            .pointer("/Config/Env")
            .and_then(serde_json::Value::as_array)
            .cloned()
            .unwrap_or_default();
        assert!(variables.contains(&"MODE=fast".into()), "{variables:?}");
        assert_eq!(host_setting("NetworkMode"), network);
        assert_eq!(host_setting("Memory"), memory);
        assert_eq!(host_setting("PidsLimit"), pids);
        assert_eq!(host_setting("CapDrop"), serde_json::json!(["ALL"]));
        assert_eq!(host_setting("SecurityOpt"), serde_json::json!(["no-new-privileges:true"]));
        assert_eq!(host_setting("RestartPolicy/Name"), "no");
        assert_eq!(host_setting("Privileged"), false);
        assert_eq!(host_setting("IpcMode"), "private");
        // Nothing of the host is passed on: each of these is empty, absent or false.
        for field in [
            "Binds",
            "Mounts",
            "VolumesFrom",
            "Devices",
            "DeviceRequests",
            "DeviceCgroupRules",
            "PortBindings",
            "PublishAllPorts",
            "CapAdd",
            "PidMode",
            "UTSMode",
            "UsernsMode",
            "CgroupParent",
            "Links",
            "ExtraHosts",
            "GroupAdd",
            "Sysctls",
            "Tmpfs",
            "VolumeDriver",
            "AutoRemove",
            "OomKillDisable",
        ] {
            let value = host_setting(field);
            let is_nothing = value.is_null()
                || value == false
                || value.as_str().is_some_and(str::is_empty)
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty);
            assert!(is_nothing, "{field} = {value}");
        }
        // Exactly the requested command runs.
        HostCall::new(&mut host).start(slot(), spec.name.clone()).await.unwrap();
        runbook_tests::wait_for("it has ended", || state(&spec.name) == "exited");
        assert_eq!(docker(&["logs", &spec.name]).0, "a");
    }
    // The gate decides about the command as for `exec`; without one the image's own runs.
    let mut host = names.all();
    for words in [
        vec!["/bin/sh".to_owned()],
        vec!["/bin/wget".to_owned(), "http://169.254.169.254/".to_owned()],
    ] {
        let fault = HostCall::new(&mut host)
            .create(slot(), spec("never", words.clone()))
            .await
            .unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{words:?}");
        assert!(!docker(&["inspect", &names.name("never")]).1);
    }
    let spec_without_environment =
        |name: &str| ContainerSpec { environment: Vec::new(), ..spec(name, Vec::new()) };
    HostCall::new(&mut host).create(slot(), spec_without_environment("own")).await.unwrap();
    // Only variables that the target lists are allowed, and only names that the engine and a shell
    // parse in the same way.
    let listed = format!(
        "[targets.c]\ndocker = {{ pattern = \"{}-*\" }}\nimages = [\"{IMAGE}\"]\n\
         environment = [\"MODE=f*\"]\n",
        names.0
    );
    let mut listing_host = self::host(&[("c", ALL_VERBS, "c")], &listed, Path::new("/"));
    let variables = [
        ("MODE", "slow"),
        ("mode", "fast"),
        ("LD_PRELOAD", "/x.so"),
        ("MODE=f", "x"),
        ("MODE=fa\0LD_PRELOAD", "x"),
    ];
    for (name, value) in variables.into_iter().chain([
        ("MODE", "f\0LD_PRELOAD=/x"),
        ("BASH_FUNC_date%%", "() { id; }"),
        ("", ""),
    ]) {
        let environment =
            vec![("MODE".to_owned(), "fast".to_owned()), (name.to_owned(), value.to_owned())];
        for host in [&mut host, &mut listing_host] {
            let spec = ContainerSpec {
                environment: environment.clone(),
                ..spec_without_environment("variable")
            };
            let fault = HostCall::new(host).create(slot(), spec).await.unwrap_err();
            assert_eq!(fault.class, FaultClass::Denied, "{name} {value}");
            assert!(!docker(&["inspect", &names.name("variable")]).1);
        }
    }
}

#[tokio::test]
async fn prune_removes_stopped_containers_of_the_filter_and_no_other() {
    let names = TestNames::new();
    let running = names.run("running", &["--label", "role=worker"], &["/bin/sleep", "600"]);
    let stopped = names.run("stopped", &["--label", "role=worker"], &["/bin/true"]);
    let other = names.run("other", &[], &["/bin/true"]);
    runbook_tests::wait_for("they have ended", || {
        state(&stopped) == "exited" && state(&other) == "exited"
    });
    // The label is this test's own: other tests run on the same engine.
    docker(&["rm", "-f", &running]);
    let label = format!("role={}", names.0);
    let running = names.run("running", &["--label", &label], &["/bin/sleep", "600"]);
    docker(&["rm", "-f", &stopped]);
    let stopped = names.run("stopped", &["--label", &label], &["/bin/true"]);
    runbook_tests::wait_for("it has ended", || state(&stopped) == "exited");
    let removed = HostCall::new(&mut names.host(&format!("label = \"{label}\"")))
        .prune(slot())
        .await
        .unwrap();
    assert_eq!(removed, std::slice::from_ref(&stopped));
    assert_eq!((state(&running).as_str(), state(&other).as_str()), ("running", "exited"));
}

#[tokio::test]
async fn exec_runs_what_the_target_lists_and_nothing_else() {
    let names = TestNames::new();
    let name = names.run("exec", &[], &["/bin/sleep", "600"]);
    let mut host = names.host(&format!("name = \"{name}\""));
    let command = |script: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let output = HostCall::new(&mut host)
        .run(slot(), name.clone(), command("echo hello; exit 3"))
        .await
        .unwrap();
    assert_eq!(
        (output.exit_code, output.stdout.as_slice(), output.stderr.as_slice()),
        (3, b"hello\n".as_slice(), b"".as_slice())
    );
    let output = HostCall::new(&mut host)
        .run(slot(), name.clone(), command("echo oops >&2; exit 0"))
        .await
        .unwrap();
    assert_eq!((output.exit_code, output.stderr.as_slice()), (0, b"oops\n".as_slice()));
    for script in
        ["echo hello; exit 3; cat /etc/passwd", "cat /etc/passwd", "echo hello; exit 3\nid"]
    {
        let fault =
            HostCall::new(&mut host).run(slot(), name.clone(), command(script)).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{script}");
    }
}

/// A container that does not match the filter, named in every possible way.
#[tokio::test]
async fn what_the_filter_does_not_let_through_is_denied_however_it_is_named() {
    let names = TestNames::new();
    let granted_container = names.run("own", &[], &["/bin/sleep", "600"]);
    let foreign = names.run(
        "foreign",
        &["--label", &format!("name={granted_container}")],
        &["/bin/sleep", "600"],
    );
    let id = docker(&["inspect", "--format", "{{.Id}}", &foreign]).0;
    let mut host = names.host(&format!("name = \"{granted_container}\""));
    for name in [foreign.clone(), id.clone(), id[..12].to_owned()] {
        let mut call = HostCall::new(&mut host);
        let denied = [
            call.inspect(slot(), name.clone()).await.map(|_| ()),
            call.logs(slot(), name.clone(), 1).await.map(|_| ()),
            call.stats(slot(), name.clone()).await.map(|_| ()),
            call.stop(slot(), name.clone(), 0).await,
            call.start(slot(), name.clone()).await,
            call.restart(slot(), name.clone(), 0).await,
            call.remove(slot(), name.clone(), true).await,
            call.run(
                slot(),
                name.clone(),
                vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo a; exit 0".to_owned()],
            )
            .await
            .map(|_| ()),
        ];
        for result in denied {
            assert_eq!(result.unwrap_err().class, FaultClass::Denied, "{name}");
        }
    }
    // A name that would change the path of the API request is refused.
    for name in [
        format!("/{foreign}"),
        format!("{granted_container}/../{foreign}"),
        format!("{foreign}/json?x="),
        "%2e%2e".to_owned(),
        "a\nb".to_owned(),
    ] {
        let fault = HostCall::new(&mut host).inspect(slot(), name.clone()).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Invalid, "docker.name"),
            "{name}"
        );
    }
    let image = format!("{}/../../containers/{foreign}", names.0);
    assert_eq!(
        HostCall::new(&mut host).tag(slot(), image, IMAGE.to_owned()).await.unwrap_err().code,
        "docker.image"
    );
    assert_eq!(state(&foreign), "running");
    // A container that matches the filter can also be named by its id.
    let own_id = docker(&["inspect", "--format", "{{.Id}}", &granted_container]).0;
    assert_eq!(
        HostCall::new(&mut host).inspect(slot(), own_id).await.unwrap().name,
        granted_container
    );
    let spec = |name: &str, image: &str| ContainerSpec {
        name: name.to_owned(),
        image: image.to_owned(),
        command: Vec::new(),
        environment: Vec::new(),
        labels: Vec::new(),
    };
    for spec in [spec(&names.name("new"), IMAGE), spec(&granted_container, "somebody/else:1")] {
        assert_eq!(
            HostCall::new(&mut host).create(slot(), spec).await.unwrap_err().class,
            FaultClass::Denied
        );
    }
    assert_eq!(
        HostCall::new(&mut host)
            .pull(slot(), "somebody/else:1".to_owned())
            .await
            .unwrap_err()
            .class,
        FaultClass::Denied
    );
    assert_eq!(
        HostCall::new(&mut host)
            .tag(slot(), IMAGE.to_owned(), "somebody/else:1".to_owned())
            .await
            .unwrap_err()
            .class,
        FaultClass::Denied
    );
}

#[tokio::test]
async fn a_call_acts_on_the_container_that_it_has_inspected_even_if_the_name_moves() {
    let names = TestNames::new();
    let name = names.run("moving", &[], &["/bin/sleep", "600"]);
    let first = docker(&["inspect", "--format", "{{.Id}}", &name]).0;
    let mut host = names.host(&format!("name = \"{name}\""));
    let (engine, inspected) = host.container("c", Verb::DockerStop, &name).await.unwrap();
    // Between the inspection and the stop, the name is given to another container.
    docker(&["rename", &name, &names.name("old")]);
    let second = names.run("moving", &[], &["/bin/sleep", "600"]);
    let options = StopContainerOptionsBuilder::default().t(0).build();
    engine.docker.stop_container(&id_of(&inspected), Some(options)).await.unwrap();
    assert_eq!((state(&first).as_str(), state(&second).as_str()), ("exited", "running"));
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_reported() {
    let targets = "[targets.c]\ndocker = { name = \"x\" }\nsocket = \"/nowhere/docker.sock\"\n";
    let mut host = host(&[("c", ALL_VERBS, "c")], targets, Path::new("/"));
    let fault = HostCall::new(&mut host).inspect(slot(), String::new()).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "docker.engine-away"));
    assert!(fault.message.contains("start it, or set `socket`"), "{}", fault.message);
}

/// Channels for the output of containers and for errors of the engine.
pub(in crate::capabilities) fn channels() -> Vec<Channel> {
    let executed = |scrubber: &Scrubber, text: &[u8]| {
        let captured = &text[..text.len().min(CAP + scrubber.lookahead())];
        let output = ExecOutput {
            exit_code: 0,
            stdout: captured.to_vec(),
            stderr: captured.to_vec(),
            truncated: false,
        };
        scrubbed_output(output, CAP, scrubber)
    };
    let tail = |scrubber: &Scrubber, text: &[u8]| {
        // Like the engine: the last lines, split at arbitrary places.
        let (line_count, before) = (2, scrubber.max_lines());
        let mut starts =
            text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let from = starts.nth(line_count + before - 1).unwrap_or(0);
        let mut newest = LogBuffer::default();
        text[from..].chunks(7).for_each(|part| newest.add(false, part));
        let lines = newest.into_tail(scrubber, u32::try_from(line_count).unwrap()).lines;
        lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n").into_bytes()
    };
    let described = |text: &str| ContainerInspectResponse {
        name: Some(format!("/{text}")),
        config: Some(bollard::models::ContainerConfig {
            image: Some(text.to_owned()),
            labels: Some(HashMap::from([(text.to_owned(), text.to_owned())])),
            ..Default::default()
        }),
        ..Default::default()
    };
    vec![
        Channel::bytes("stdout of a command in a container", CAP, move |scrubber, text| {
            executed(scrubber, text).stdout
        }),
        Channel::bytes("stderr of a command in a container", CAP, move |scrubber, text| {
            executed(scrubber, text).stderr
        }),
        Channel { cut_origin: CutOrigin::End, ..Channel::bytes("log of a container", 20, tail) },
        Channel::text("what is known of a container", CAP, move |scrubber, text| {
            // The name is not scrubbed, because the guest needs it for further calls.
            let Container { image, labels, .. } = container(described(text), scrubber);
            let labels = labels
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>();
            format!("{image}\n{}", labels.join("\n"))
        }),
        Channel::text("error of the engine", 4 << 10, |scrubber, text| {
            let error =
                Error::DockerResponseServerError { status_code: 409, message: text.to_owned() };
            engine_fault(&error, "/run/docker.sock", scrubber).message
        }),
    ]
}
