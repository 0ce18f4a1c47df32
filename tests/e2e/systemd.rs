//! The bundled plugin `systemd`, on a real systemd.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::systemd::Systemd;

const SLEEPER: &str = "[Unit]\nDescription=A sleeper\n[Service]\nExecStart=/bin/sleep 600\n\
                       [Install]\nWantedBy=multi-user.target\n";

/// A runbook of one step on the unit `rb-a.service`.
fn step(systemd: &Systemd, operation: &str, verbs: &str, more: &str) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"systemd\"\n[targets.app]\nsystem = [\"units\", {verbs}]\n\
         units = [\"rb-*.service\"]\ncontrol = [\"rb-a.service\"]\nbus = \"{}\"\ntimeout = \"60s\"\n\
         [[step]]\nid = \"it\"\nuses = \"systemd:{operation}\"\nbind.units = \"app\"\n\
         with = {{ unit = \"rb-a.service\" }}\n{more}\n",
        systemd.bus().display()
    )
}

const START_STOP: &str = "\"unit-start\", \"unit-stop\"";
const ENABLE_DISABLE: &str = "\"unit-enable\", \"unit-disable\"";

/// A later step that fails, so that the run undoes what it did.
const FAILS: &str = "undo = \"auto\"\n[[step]]\nid = \"fails\"\nneeds = [\"it\"]\n\
                     uses = \"systemd:unit\"\nbind.units = \"app\"\n\
                     with = { unit = \"rb-none.service\" }";

fn exec(env: &TestEnv, text: &str, status: i32) -> String {
    env.file("r.toml", text);
    env.run(&["exec", "r.toml", "--yes"]).status(status).stdout.clone()
}

#[test]
fn a_unit_is_started_stopped_enabled_and_disabled_and_each_is_undone() {
    let systemd = Systemd::start("e2e");
    systemd.add("rb-a.service", SLEEPER);
    let env = home();
    let active = || systemd.property("rb-a.service", "ActiveState");
    let enabled = || systemd.property("rb-a.service", "UnitFileState");

    let start = step(&systemd, "start", START_STOP, "undo = \"auto\"");
    env.file("r.toml", &start);
    env.run(&["plan", "r.toml"]).status(0).out("start rb-a.service");
    env.run(&["exec", "--dry-run", "r.toml"]).status(0);
    assert_eq!(active(), "inactive", "a plan and a dry run start nothing");
    exec(&env, &start, 0);
    assert_eq!(active(), "active");
    assert!(exec(&env, &start, 0).contains("rb-a.service ran already"));

    let stop = step(&systemd, "stop", START_STOP, FAILS);
    exec(&env, &stop, 1);
    assert_eq!(active(), "active", "the stop was undone");
    exec(&env, &step(&systemd, "stop", START_STOP, "undo = \"auto\""), 0);
    assert_eq!(active(), "inactive");
    exec(&env, &step(&systemd, "start", START_STOP, FAILS), 1);
    assert_eq!(active(), "inactive", "the start was undone");

    exec(&env, &step(&systemd, "enable", ENABLE_DISABLE, FAILS), 1);
    assert_eq!(enabled(), "disabled", "it was undone");
    exec(&env, &step(&systemd, "enable", ENABLE_DISABLE, "undo = \"auto\""), 0);
    assert_eq!(enabled(), "enabled");
    exec(&env, &step(&systemd, "disable", ENABLE_DISABLE, FAILS), 1);
    assert_eq!(enabled(), "enabled", "it was undone");

    let restart = "irreversible = \"it runs again\"";
    exec(&env, &step(&systemd, "restart", "\"unit-restart\"", restart), 0);
    assert_eq!(active(), "active");
    let told = exec(&env, &step(&systemd, "reload", "\"unit-reload\"", restart), 1);
    assert!(told.contains("JobTypeNotApplicable"), "a unit without ExecReload: {told}");
}

#[test]
fn checks_of_units_are_what_systemd_says_and_a_cut_list_is_told() {
    let systemd = Systemd::start("checks");
    systemd.add("rb-a.service", SLEEPER);
    systemd.add("rb-fails.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 7'\n");
    assert!(systemd.run(&["systemctl", "start", "rb-a.service"]).1);
    let env = home();
    let check = |uses: &str, with: &str, more: &str, status: i32| {
        let suite = format!(
            "format = 1\n[runbook]\nname = \"systemd\"\n[targets.app]\nsystem = [\"units\"]\n\
             units = [\"rb-*.service\"]\nbus = \"{}\"\n{more}\n[[check]]\nid = \"it\"\n\
             uses = \"systemd:{uses}\"\nbind.units = \"app\"\nwith = {with}\n",
            systemd.bus().display()
        );
        env.file("s.toml", &suite);
        let found = env.run(&["check", "--format", "json", "s.toml"]).status(status);
        let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
        found["checks"][0]["summary"].as_str().unwrap_or_default().to_owned()
    };
    let healthy = check("unit", "{ unit = \"rb-a.service\", sub = \"running\" }", "", 0);
    assert_eq!(healthy, "rb-a.service: active (running)");
    check("unit", "{ unit = \"rb-a.service\", file_state = \"enabled\" }", "", 2);
    check("unit", "{ unit = \"rb-a.service\", warn_younger = \"1d\" }", "", 1);
    let missing = check("unit", "{ unit = \"rb-none.service\" }", "", 2);
    assert!(missing.contains("is `not-found`"), "{missing}");
    let denied = check("unit", "{ unit = \"dbus.service\" }", "", 3);
    assert!(denied.contains("not granted"), "{denied}");
    check("failed", "{}", "", 0);
    assert!(!systemd.run(&["systemctl", "start", "rb-fails.service"]).1);
    assert_eq!(check("failed", "{}", "", 2), "failed: rb-fails.service");
    let failed = check("unit", "{ unit = \"rb-fails.service\" }", "", 2);
    assert!(failed.contains("its last exit code was 7"), "{failed}");
    let cut = check("failed", "{ max = 9 }", "max_rows = 1", 3);
    assert!(cut.contains("more units than the target lets through"), "{cut}");
}

#[test]
fn a_run_that_is_killed_while_a_unit_stops_is_resumed_and_the_unit_is_stopped_once() {
    let systemd = Systemd::start("crash");
    // It needs some seconds to stop.
    systemd.add(
        "rb-a.service",
        "[Service]\nExecStart=/bin/sleep 600\nExecStop=/bin/sh -c 'echo stop >> /var/stops; sleep 3'\n",
    );
    assert!(systemd.run(&["systemctl", "start", "rb-a.service"]).1);
    let env = home();
    env.file("r.toml", &step(&systemd, "stop", START_STOP, "undo = \"auto\""));
    let mut child = env.command(&["exec", "r.toml", "--yes"]).spawn().expect("it starts");
    runbook_tests::wait_for("it stops", || {
        systemd.property("rb-a.service", "ActiveState") == "deactivating"
    });
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    let id = env.newest_run();
    env.run(&["resume", &id]).status(0);
    assert_eq!(systemd.property("rb-a.service", "ActiveState"), "inactive");
    assert_eq!(systemd.run(&["cat", "/var/stops"]).0, "stop");
}

#[test]
fn the_example_of_the_page_restarts_a_unit() {
    let page = include_str!("../../docs/targets/system.md");
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let systemd = Systemd::start("page");
    systemd.add("app.service", SLEEPER);
    let bus = format!("timeout = \"2m\"\nbus = \"{}\"", systemd.bus().display());
    let env = home();
    exec(&env, &blocks[2].replace("timeout = \"2m\"", &bus), 0);
    assert_eq!(systemd.property("app.service", "ActiveState"), "active");
}
