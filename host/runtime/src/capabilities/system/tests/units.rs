//! Units of a real systemd.

use super::part;
use crate::bindings::runbook::system::control::Host as _;
use crate::bindings::runbook::system::types::ExitKind;
use crate::bindings::runbook::system::units::Host as _;
use crate::fault::FaultClass;
use crate::host::{Host, HostCall};
use runbook_authority::Verb;
use runbook_tests::systemd::Systemd;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const VERBS: &[&str] = &[
    "system.units",
    "system.unit-start",
    "system.unit-stop",
    "system.unit-restart",
    "system.unit-reload",
    "system.unit-enable",
    "system.unit-disable",
];

const PARTS: &str = "system = [\"units\", \"unit-start\", \"unit-stop\", \"unit-restart\", \
                     \"unit-reload\", \"unit-enable\", \"unit-disable\"]";

const SLEEPER: &str = "[Unit]\nDescription=A sleeper\n[Service]\nExecStart=/bin/sleep 600\n\
                       ExecReload=/bin/touch /tmp/reloaded\n[Install]\nWantedBy=multi-user.target\n";

fn host(bus: &Path, more: &str) -> Host {
    part(
        VERBS,
        &format!(
            "{PARTS}\nbus = \"{}\"\nunits = [\"rb-*\"]\ncontrol = [\"rb-a.service\", \
             \"rb-fails.service\", \"rb-static.service\", \"rb-none.service\", \"rb-slow.service\"]\n{more}",
            bus.display()
        ),
    )
}

fn slot() -> String {
    "s".to_owned()
}

fn named(unit: &str) -> String {
    unit.to_owned()
}

#[tokio::test]
async fn units_of_a_real_systemd_are_seen_and_changed_as_systemctl_says() {
    let systemd = Systemd::start("runtime");
    systemd.add("rb-a.service", SLEEPER);
    systemd.add("rb-fails.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 7'\n");
    systemd.add("rb-static.service", "[Service]\nExecStart=/bin/sleep 600\n");
    let mut host = host(&systemd.bus(), "timeout = \"60s\"");
    let mut call = HostCall::new(&mut host);
    let unit = async |call: &mut HostCall<'_>, name: &str| {
        call.inspect(slot(), named(name)).await.unwrap()
    };

    let found = unit(&mut call, "rb-a.service").await;
    assert_eq!(
        (found.load.as_str(), found.active.as_str(), found.sub.as_str()),
        ("loaded", "inactive", "dead")
    );
    assert_eq!((found.description.as_str(), found.file_state.as_str()), ("A sleeper", "disabled"));
    assert_eq!(unit(&mut call, "rb-none.service").await.load, "not-found");

    call.start(slot(), named("rb-a.service")).await.unwrap();
    let found = unit(&mut call, "rb-a.service").await;
    assert_eq!((found.active.as_str(), found.sub.as_str()), ("active", "running"));
    assert_eq!(found.pid.unwrap().to_string(), systemd.property("rb-a.service", "MainPID"));
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    assert!(now - found.since_ms < 60_000, "{found:?}");
    // It runs already.
    call.start(slot(), named("rb-a.service")).await.unwrap();
    assert_eq!(unit(&mut call, "rb-a.service").await.pid, found.pid);

    call.reload(slot(), named("rb-a.service")).await.unwrap();
    assert!(systemd.run(&["test", "-e", "/tmp/reloaded"]).1);
    call.restart(slot(), named("rb-a.service")).await.unwrap();
    let restarted = unit(&mut call, "rb-a.service").await;
    assert_ne!(restarted.pid, found.pid);
    assert_eq!(restarted.active, "active");

    call.stop(slot(), named("rb-a.service")).await.unwrap();
    let stopped = unit(&mut call, "rb-a.service").await;
    assert_eq!((stopped.active.as_str(), stopped.pid), ("inactive", None));

    call.start(slot(), named("rb-a.service")).await.unwrap();
    assert!(systemd.run(&["systemctl", "kill", "-s", "KILL", "rb-a.service"]).1);
    runbook_tests::wait_for("it was killed", || {
        systemd.property("rb-a.service", "ActiveState") == "failed"
    });
    let killed = unit(&mut call, "rb-a.service").await;
    let exit = killed.last_exit.unwrap();
    assert_eq!((exit.kind, exit.status, killed.outcome.as_str()), (ExitKind::Killed, 9, "signal"));

    assert!(call.enable(slot(), named("rb-a.service")).await.unwrap());
    assert!(!call.enable(slot(), named("rb-a.service")).await.unwrap());
    assert_eq!(systemd.run(&["systemctl", "is-enabled", "rb-a.service"]).0, "enabled");
    assert_eq!(unit(&mut call, "rb-a.service").await.file_state, "enabled");
    assert!(call.disable(slot(), named("rb-a.service")).await.unwrap());
    assert_eq!(unit(&mut call, "rb-a.service").await.file_state, "disabled");
    let fault = call.enable(slot(), named("rb-static.service")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Conflict, "system.not-enablable"));

    let fault = call.start(slot(), named("rb-fails.service")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Assertion, "system.job"));
    let failed = unit(&mut call, "rb-fails.service").await;
    let exit = failed.last_exit.unwrap();
    assert_eq!((failed.active.as_str(), exit.kind, exit.status), ("failed", ExitKind::Exited, 7));
    assert_eq!(failed.outcome, "exit-code");

    let fault = call.start(slot(), named("rb-none.service")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::NotFound, "system.no-unit"));
    let fault = call.reload(slot(), named("rb-a.service")).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Conflict, "{}", fault.message);

    // Only what the target names is listed.
    let listed = call.list(slot()).await.unwrap();
    assert!(listed.found.iter().all(|unit| unit.name.starts_with("rb-")), "{listed:?}");
    assert!(
        listed.found.iter().any(|unit| unit.name == "rb-fails.service" && unit.active == "failed")
    );
    for denied in ["dbus.service", "rb-a", "rb-*.service"] {
        let fault = call.stop(slot(), named(denied)).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Denied, "{denied}");
    }
    assert_eq!(
        call.inspect(slot(), named("dbus.service")).await.unwrap_err().class,
        FaultClass::Denied
    );
}

/// Every link by which systemd decides which units start with the machine.
fn links(systemd: &Systemd) -> String {
    let find = "find /etc/systemd/system /run/systemd/system -type l -printf '%p -> %l\\n' | sort";
    systemd.run(&["sh", "-c", find]).0
}

/// Of a unit with `Also=`: what a request changes is in `control`, and the opposite request puts
/// every link back; where one of the two does not hold, nothing is changed.
#[tokio::test]
async fn no_other_unit_is_enabled_or_disabled_and_every_change_can_be_put_back() {
    let systemd = Systemd::start("also");
    let unit = |install: &str| {
        format!("[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n{install}")
    };
    systemd.add("rb-a.service", &unit("Also=rb-b.service\nAlias=rb-alias.service\n"));
    systemd.add("rb-b.service", &unit("Also=rb-c.service\n"));
    systemd.add("rb-c.service", &unit(""));
    let all = "\"rb-a.service\", \"rb-b.service\", \"rb-c.service\", \"rb-alias.service\"";
    let host = |control: &str| {
        let text =
            format!("{PARTS}\nbus = {:?}\nunits = [\"rb-*\"]\ntimeout = \"60s\"", systemd.bus());
        part(VERBS, &format!("{text}\ncontrol = [{control}]\n"))
    };
    let before = links(&systemd);
    let shell = |command: &str| {
        let (said, done) = systemd.run(&["sh", "-c", command]);
        assert!(done, "{command}: {said}");
    };
    for control in [
        "\"rb-a.service\"",
        "\"rb-a.service\", \"rb-b.service\", \"rb-c.service\"",
        "\"rb-a.service\", \"rb-b.service\", \"rb-alias.service\"",
    ] {
        let mut host = host(control);
        let mut call = HostCall::new(&mut host);
        let fault = call.enable(slot(), named("rb-a.service")).await.unwrap_err();
        assert_eq!(fault.code, "system.other-units", "{}", fault.message);
        assert_eq!(links(&systemd), before, "{control}");
        shell("systemctl enable -q rb-a.service");
        let enabled = links(&systemd);
        let fault = call.disable(slot(), named("rb-a.service")).await.unwrap_err();
        assert_eq!(fault.code, "system.other-units", "{}", fault.message);
        assert_eq!(links(&systemd), enabled, "{control}");
        shell("systemctl disable -q rb-a.service");
        drop(call);
        assert!(host.verbs_that_acted().is_empty(), "a refusal has no effect");
    }
    let mut host = host(all);
    let mut call = HostCall::new(&mut host);
    assert!(call.enable(slot(), named("rb-a.service")).await.unwrap());
    assert_eq!(systemd.run(&["systemctl", "is-enabled", "rb-c.service"]).0, "enabled");
    assert!(!call.enable(slot(), named("rb-a.service")).await.unwrap(), "it is so already");
    assert!(call.disable(slot(), named("rb-a.service")).await.unwrap());
    assert_eq!(links(&systemd), before);
    assert!(!call.disable(slot(), named("rb-a.service")).await.unwrap(), "it is so already");
    // Where another unit has the state already, the opposite request would take it away.
    for (prepare, is_enabling) in [
        ("systemctl enable -q rb-c.service", true),
        ("systemctl enable -q rb-a.service && systemctl disable -q rb-c.service", false),
        ("systemctl enable -q --runtime rb-c.service", true),
        ("systemctl disable -q rb-a.service; systemctl enable -q --runtime rb-b.service", true),
    ] {
        shell(prepare);
        let prepared = links(&systemd);
        let done = if is_enabling {
            call.enable(slot(), named("rb-a.service")).await
        } else {
            call.disable(slot(), named("rb-a.service")).await
        };
        let fault = done.unwrap_err();
        assert_eq!(fault.code, "system.other-units", "{prepare}: {}", fault.message);
        assert_eq!(links(&systemd), prepared, "{prepare}");
        shell("systemctl disable -q rb-a.service; systemctl disable -q --runtime rb-a.service");
        assert_eq!(links(&systemd), before);
    }
}

/// The file of a unit that is a link is removed by disabling, and enabling does not bring it back.
#[tokio::test]
async fn a_unit_whose_file_is_a_link_is_not_disabled() {
    let systemd = Systemd::start("linked");
    let write = "printf '[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n' \
                 > /opt/rb-a.service && systemctl link -q /opt/rb-a.service \
                 && systemctl enable -q rb-a.service";
    let (said, done) = systemd.run(&["sh", "-c", write]);
    assert!(done, "{said}");
    let before = links(&systemd);
    let mut host = host(&systemd.bus(), "timeout = \"60s\"");
    let mut call = HostCall::new(&mut host);
    let fault = call.disable(slot(), named("rb-a.service")).await.unwrap_err();
    assert!(fault.message.contains("is a link"), "{}", fault.message);
    assert_eq!(links(&systemd), before);
}

#[tokio::test]
async fn a_bus_that_is_cut_after_the_request_leaves_the_effect_in_doubt() {
    let systemd = Systemd::start("cut");
    systemd.add("rb-a.service", SLEEPER);
    systemd.add("rb-slow.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    let behind = systemd.bus();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(cut_after_start(client, UnixStream::connect(&behind).await.unwrap()));
        }
    });
    let mut cut = host(&socket, "timeout = \"60s\"");
    let fault = HostCall::new(&mut cut).start(slot(), named("rb-a.service")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Unknown, "system.in-doubt"));
    assert_eq!(cut.verbs_that_acted(), [Verb::SystemUnitStart]);
    runbook_tests::wait_for("systemd has done what it was asked", || {
        systemd.property("rb-a.service", "ActiveState") == "active"
    });
    // A job that takes longer than the target allows goes on.
    let mut slow = host(&systemd.bus(), "timeout = \"1s\"");
    let fault = HostCall::new(&mut slow).start(slot(), named("rb-slow.service")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Timeout, "system.timeout"));
    assert_eq!(slow.verbs_that_acted(), [Verb::SystemUnitStart]);
    assert_eq!(systemd.property("rb-slow.service", "ActiveState"), "activating");
    // What systemd refuses has changed nothing.
    let mut refused = host(&systemd.bus(), "timeout = \"60s\"");
    let fault =
        HostCall::new(&mut refused).start(slot(), named("rb-none.service")).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::NotFound);
    assert!(refused.verbs_that_acted().is_empty());
}

/// Passes everything on in both directions until a start was asked for, and cuts both when systemd
/// has answered, without passing the answer on.
async fn cut_after_start(mut client: UnixStream, mut bus: UnixStream) {
    let (mut from_client, mut from_bus) = ([0; 4096], [0; 4096]);
    let mut is_asked = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(count @ 1..) = read else { return };
                is_asked |= from_client[..count].windows(9).any(|window| window == b"StartUnit");
                if bus.write_all(&from_client[..count]).await.is_err() {
                    return;
                }
            }
            read = bus.read(&mut from_bus) => {
                let Ok(count @ 1..) = read else { return };
                if is_asked || client.write_all(&from_bus[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_bus_that_is_away_or_silent_gives_no_verdict_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let silent = folder.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let away = folder.path().join("away");
    for (bus, class, code) in [
        (&away, FaultClass::Transient, "system.bus-away"),
        (&silent, FaultClass::Timeout, "system.timeout"),
    ] {
        let mut host = host(bus, "timeout = \"300ms\"");
        let mut call = HostCall::new(&mut host);
        let unit = || named("rb-a.service");
        let faults = [
            call.inspect(slot(), unit()).await.map(drop).unwrap_err(),
            call.list(slot()).await.map(drop).unwrap_err(),
            call.start(slot(), unit()).await.unwrap_err(),
            call.stop(slot(), unit()).await.unwrap_err(),
            call.restart(slot(), unit()).await.unwrap_err(),
            call.reload(slot(), unit()).await.unwrap_err(),
            call.enable(slot(), unit()).await.map(drop).unwrap_err(),
            call.disable(slot(), unit()).await.map(drop).unwrap_err(),
        ];
        drop(call);
        for fault in faults {
            assert_eq!((fault.class, fault.code.as_str()), (class, code), "{}", fault.message);
        }
        assert!(host.verbs_that_acted().is_empty(), "{:?}", host.verbs_that_acted());
    }
}
