//! Control groups on the kernel of this machine.
#![allow(clippy::unwrap_used, reason = "tests")]

use runbook_launch::cgroup::Cgroup;
use runbook_launch::protection::Protection;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// If this variable is set, the test runs as the host that is killed.
const HOST_TO_KILL: &str = "RUNBOOK_TEST_HOST_WITH_A_GROUP";

#[test]
fn a_group_is_killed_with_its_host_or_by_the_next_one_and_none_is_left() {
    let made = Cgroup::make().unwrap();
    assert_eq!(made.is_some(), Protection::Descendants.is_available());
    let Some(group) = made else { return };
    if std::env::var_os(HOST_TO_KILL).is_some() {
        let mut escaped =
            Command::new("/usr/bin/setsid").arg("/bin/sleep").arg("600").spawn().unwrap();
        fs::write(group.path().join("cgroup.procs"), escaped.id().to_string()).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
        escaped.wait().unwrap();
    }
    let path = group.path().to_owned();
    let mut member = Command::new("/bin/sleep").arg("600").spawn().unwrap();
    fs::write(path.join("cgroup.procs"), member.id().to_string()).unwrap();
    drop(group);
    assert!(!path.exists() && !member.wait().unwrap().success());

    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_group_is_killed_with_its_host_or_by_the_next_one_and_none_is_left"])
        .env(HOST_TO_KILL, "1")
        .spawn()
        .unwrap();
    let host_id = host.id();
    host.wait().unwrap();
    let count_left_groups = || {
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().flatten();
        let prefix = format!("runbook-program-{host_id}-");
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
    };
    assert_eq!(count_left_groups(), 1, "the test can fail");
    let deadline = Instant::now() + Duration::from_mins(1);
    while count_left_groups() > 0 {
        drop(Cgroup::make().unwrap());
        assert!(Instant::now() < deadline, "the group of a killed host is still there");
    }
}
