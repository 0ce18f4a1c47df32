//! The bundled plugin `system`, compared with what happens on this machine.

use crate::home;
use runbook_tests::env::TestEnv;
use std::net::TcpListener;
use std::process::{Child, Command};

/// Each check of a suite with its health and its summary.
fn checks(env: &TestEnv, suite: &str, status: i32) -> Vec<(String, String)> {
    env.file("system.toml", suite);
    let found = env.run(&["check", "--format", "json", "system.toml"]).status(status);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    let text = |check: &serde_json::Value, key: &str| {
        check[key].as_str().unwrap_or_else(|| panic!("{key} of {check:#}")).to_owned()
    };
    let all = found["checks"].as_array().expect("checks");
    all.iter().map(|check| (text(check, "health"), text(check, "summary"))).collect()
}

/// One check with its status: 0 healthy, 1 warning, 2 critical, 3 unknown.
fn check(env: &TestEnv, target: &str, uses: &str, with: &str, status: i32) -> String {
    let suite = format!(
        "format = 1\n[runbook]\nname = \"system\"\n[targets.m]\n{target}\n[[check]]\nid = \"it\"\n\
         uses = \"system:{uses}\"\nbind.machine = \"m\"\nwith = {with}\n"
    );
    checks(env, &suite, status).remove(0).1
}

/// A copy of `sleep` with the name `nginx`, which ends with the test.
struct Nginx(Child);

impl Nginx {
    fn start(env: &TestEnv) -> Self {
        let program = env.path().join("nginx");
        std::fs::copy("/bin/sleep", &program).expect("it can be copied");
        let child = Command::new(&program).arg("600").spawn().expect("it starts");
        let comm = format!("/proc/{}/comm", child.id());
        runbook_tests::wait_for("it has its name", || {
            std::fs::read_to_string(&comm).is_ok_and(|name| name.trim_end() == "nginx")
        });
        Self(child)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_and_a_port_are_healthy_as_long_as_they_are_there() {
    let env = home();
    let name = format!("rb-e-{}", std::process::id());
    let program = env.path().join(&name);
    std::fs::copy("/bin/sleep", &program).expect("it can be copied");
    let target = format!("system = [\"processes\"]\nprocesses = [\"{name}\"]");
    let of = |with: &str, status: i32| check(&env, &target, "processes", with, status);
    assert!(of("{}", 2).contains("expected 1 at least"), "nothing runs yet");
    assert!(of("{ min = 0, max = 0 }", 0).contains("0 processes run"));
    let mut child = Command::new(&program).arg("600").spawn().expect("it starts");
    runbook_tests::wait_for("it has its name", || {
        std::fs::read_to_string(format!("/proc/{}/comm", child.id()))
            .is_ok_and(|comm| comm.trim_end() == name)
    });
    of("{ max = 1 }", 0);
    assert!(of("{ warn_younger = \"1d\" }", 1).contains("one was started"));
    assert!(of("{ name = \"sshd\" }", 3).contains("not granted"));
    child.kill().expect("it runs");
    runbook_tests::wait_for("it is a zombie", || {
        std::fs::read_to_string(format!("/proc/{}/stat", child.id()))
            .is_ok_and(|stat| stat.contains(") Z "))
    });
    assert!(of("{}", 2).contains("expected 1 at least"), "a zombie does not run");
    child.wait().expect("it has ended");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let ports = "system = [\"ports\"]";
    let listens = check(&env, ports, "port", &format!("{{ port = {port} }}"), 0);
    assert_eq!(listens, format!("TCP port {port} listens"));
    check(&env, ports, "port", &format!("{{ port = {port}, absent = true }}"), 2);
    check(&env, ports, "port", &format!("{{ port = {port}, protocol = \"udp\" }}"), 2);
    let hidden = check(&env, ports, "port", &format!("{{ port = {port}, process = \"x\" }}"), 3);
    assert!(hidden.contains("whether `x` has it cannot be seen"), "{hidden}");
    drop(listener);
    let gone = check(&env, ports, "port", &format!("{{ port = {port} }}"), 2);
    assert_eq!(gone, format!("TCP port {port} does not listen"));
}

/// A check of a file system of 4 MiB with 100 inodes, in a mount name space of its own: empty, half
/// full, full, with all inodes used, read-only, and gone.
const ON_A_SMALL_DISK: &str = r#"
mkdir small; mount -t tmpfs -o size=4m,nr_inodes=100 tmpfs small
look() { "$1" check --format json disks.toml > "$2.json" || true; }
look "$1" empty
dd if=/dev/zero of=small/half bs=1M count=2 2> /dev/null; look "$1" half
dd if=/dev/zero of=small/rest bs=1M count=2 2> /dev/null || true; look "$1" full
rm small/half small/rest
i=0; while [ $i -lt 95 ]; do : > small/$i; i=$((i + 1)); done; look "$1" inodes
rm small/*; mount -o remount,ro small; look "$1" readonly
umount small; look "$1" gone
"#;

#[test]
fn a_small_disk_is_measured_in_bytes_and_inodes_and_told_when_it_is_read_only_or_gone() {
    let env = home();
    let small = env.path().join("small").display().to_string();
    env.file(
        "disks.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"disks\"\n[targets.m]\nsystem = [\"disks\"]\n\
             mounts = [\"{small}\"]\n[[check]]\nid = \"it\"\nuses = \"system:disks\"\n\
             bind.machine = \"m\"\nwith = {{ mounts = [\"{small}\"], warn_percent = 40, writable = true }}\n"
        ),
    );
    let program = env.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-ec", ON_A_SMALL_DISK, "sh"])
        .arg(program.get_program())
        .current_dir(env.path())
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(command.status().expect("unshare is there").success());
    for (look, health, words) in [
        ("empty", "healthy", "is 0 % full, 4 MiB are free"),
        ("half", "warning", "is 50 % full, 2 MiB are free"),
        ("full", "critical", "is 100 % full, 0 B are free"),
        ("inodes", "critical", "96 % of its inodes are used"),
        ("readonly", "critical", "is mounted read-only"),
        ("gone", "critical", "nothing is mounted at"),
    ] {
        let found: serde_json::Value =
            serde_json::from_str(&env.read(&format!("{look}.json"))).expect("JSON");
        let found = &found["checks"][0];
        assert_eq!(found["health"], health, "{look}: {found:#}");
        assert!(
            found["summary"].as_str().is_some_and(|summary| summary.contains(words)),
            "{look}: {found:#}"
        );
    }
}

#[test]
fn limits_of_processors_memory_and_uptime_decide() {
    let env = home();
    let target = "system = [\"cpu\", \"memory\", \"uptime\"]";
    for (uses, with, status) in [
        ("cpu", "{ sample = \"100ms\", warn_percent = 100, crit_percent = 100 }", 0),
        ("load", "{ warn_per_processor = 1000, crit_per_processor = 1000 }", 0),
        ("load", "{ warn_per_processor = -1, crit_per_processor = 1000 }", 1),
        ("load", "{ warn_per_processor = -1, crit_per_processor = -1 }", 2),
        (
            "memory",
            "{ warn_percent = 100, crit_percent = 100, warn_swap_percent = 100, crit_swap_percent = 100 }",
            0,
        ),
        (
            "memory",
            "{ warn_percent = 0, crit_percent = 100, warn_swap_percent = 100, crit_swap_percent = 100 }",
            1,
        ),
        ("memory", "{ warn_percent = 0, crit_percent = 0 }", 2),
        ("memory", "{ warn_percent = 9, crit_percent = 8 }", 3),
        ("uptime", "{ warn_below = \"1s\" }", 0),
        ("uptime", "{ warn_below = \"5000w\" }", 1),
        ("uptime", "{ crit_below = \"5000w\" }", 2),
    ] {
        check(&env, target, uses, with, status);
    }
    let refused = check(&env, target, "cpu", "{ sample = \"1ms\" }", 3);
    assert!(refused.contains("a sample takes from 100 to 10000 ms"), "{refused}");
}

#[test]
fn every_example_of_the_page_is_valid_and_the_first_two_are_healthy_here() {
    let page = include_str!("../../docs/targets/system.md");
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 4);
    let env = home();
    for block in &blocks {
        env.file("example.toml", block);
        env.run(&["validate", "example.toml"]).status(0);
    }
    // How busy this machine is, the test does not decide.
    env.file("example.toml", blocks[0]);
    let found = env.run(&["check", "--format", "json", "example.toml"]);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    for check in found["checks"].as_array().expect("checks") {
        let is_busy = check["check"] == "processors" && check["health"] == "warning";
        assert!(check["health"] == "healthy" || is_busy, "{check:#}");
    }
    // The name of the process and the port are those of this test.
    let nginx = Nginx::start(&env);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let own = std::fs::read_to_string("/proc/self/comm").expect("its name");
    let local = blocks[1]
        .replace(
            "port = 443, process = \"nginx\"",
            &format!("port = {port}, process = \"{}\"", own.trim_end()),
        )
        .replace(
            "processes = [\"nginx\"]",
            &format!("processes = [\"nginx\", \"{}\"]", own.trim_end()),
        );
    for (health, summary) in checks(&env, &local, 0) {
        assert_eq!(health, "healthy", "{summary}");
    }
    drop(nginx);
    env.file("example.toml", blocks[3]);
    let found = env.run(&["check", "--format", "json", "example.toml"]);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    let release = std::fs::read_to_string("/etc/os-release").expect("a distribution");
    let is_debian = release.lines().any(|line| line == "ID=debian");
    assert_eq!(found["checks"][0]["health"] == "healthy", is_debian, "{found:#}");
    // Without a list of sessions nothing is said about them.
    let has_list = std::path::Path::new("/run/utmp").exists();
    assert_eq!(found["checks"][1]["health"] == "unknown", !has_list, "{found:#}");
}

#[test]
fn a_part_that_the_target_does_not_list_is_refused_before_the_run() {
    let env = home();
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"x\"\n[targets.m]\nsystem = [\"memory\"]\n[[step]]\n\
         id = \"it\"\nuses = \"system:cpu\"\nbind.machine = \"m\"\nwith = {}\n",
    );
    env.run(&["exec", "r.toml"]).status(6).err("add `cpu` to `system`");
}
