//! The bundled plugin `nagios`: real monitoring plugins, and scripts with malformed output.

use crate::home;
use runbook_tests::env::TestEnv;
use serde_json::Value as Json;
use std::net::TcpListener;

const PLUGINS: &str = "/usr/lib/nagios/plugins";

fn check(env: &TestEnv, target: &str, uses: &str, arguments: &str, status: i32) -> Json {
    env.file(
        "checks.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"monitoring\"\n[targets.program]\n{target}\n[[check]]\n\
             id = \"it\"\nuses = \"{uses}\"\nbind.program = \"program\"\n\
             with = {{ arguments = {arguments} }}\n"
        ),
    );
    let found = env.run(&["check", "--format", "json", "checks.toml"]).status(status);
    let found: Json = serde_json::from_str(&found.stdout).expect("JSON");
    found["checks"][0].clone()
}

fn monitoring_target(name: &str) -> String {
    format!(
        "process = \"{PLUGINS}/{name}\"\narguments = [{{ repeat = {{ regex = \".*\" }} }}]\n\
         read_only = true"
    )
}

#[test]
fn the_verdict_of_a_real_monitoring_plugin_is_the_verdict_of_the_check() {
    let env = home();
    for (name, arguments, status, health) in [
        ("check_load", "[\"-w\", \"9999\", \"-c\", \"9999\"]", 0, "healthy"),
        ("check_load", "[\"-w\", \"0.00001\", \"-c\", \"9999\"]", 1, "warning"),
        ("check_disk", "[\"-w\", \"0%\", \"-c\", \"0%\", \"-p\", \"/\"]", 0, "healthy"),
        ("check_disk", "[\"-w\", \"100%\", \"-c\", \"100%\", \"-p\", \"/\"]", 2, "critical"),
        ("check_dummy", "[\"0\", \"fine\"]", 0, "healthy"),
        ("check_dummy", "[\"1\", \"fine\"]", 1, "warning"),
        ("check_dummy", "[\"2\", \"fine\"]", 2, "critical"),
        ("check_dummy", "[\"3\", \"fine\"]", 3, "unknown"),
        ("check_dummy", "[]", 3, "unknown"),
        ("no_such_plugin", "[]", 3, "unknown"),
    ] {
        let check = check(&env, &monitoring_target(name), "nagios:check", arguments, status);
        assert_eq!(check["health"], health, "{name} {arguments}: {check:#}");
    }
}

#[test]
fn performance_data_are_measurements_with_their_limits() {
    let env = home();
    let arguments = "[\"-w\", \"9998,9997,9996\", \"-c\", \"9999\"]";
    let check = check(&env, &monitoring_target("check_load"), "nagios:check", arguments, 0);
    let measured = check["measurements"].as_array().expect("measurements");
    let labels: Vec<_> =
        measured.iter().map(|one| one["label"].as_str().expect("a label")).collect();
    assert_eq!(labels, ["load1", "load5", "load15"], "{check:#}");
    assert_eq!(
        (&measured[1]["warn"], &measured[1]["crit"]),
        (&"9997.000".into(), &"9999.000".into())
    );
    env.run(&["check", "--format", "nagios", "checks.toml"]).status(0).out("load5");
}

#[test]
fn a_probe_reaches_no_network_and_a_smoke_test_is_granted_what_the_review_says() {
    let env = home();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let arguments = format!("[\"-H\", \"127.0.0.1\", \"-p\", \"{port}\", \"-t\", \"5\"]");
    let probed = check(&env, &monitoring_target("check_tcp"), "nagios:check", &arguments, 3);
    assert_eq!(probed["health"], "unknown", "{probed:#}");
    listener.set_nonblocking(true).expect("ours");
    assert!(listener.accept().is_err(), "the probe reached the server");

    let target = monitoring_target("check_tcp").replace("read_only = true", "network = true");
    let tested = check(&env, &target, "nagios:run", &arguments, 0);
    assert_eq!(tested["health"], "healthy", "{tested:#}");
    env.run(&["review", "checks.toml"]).status(0).out("check_tcp");
    drop(listener);
    let away = check(&env, &target, "nagios:run", &arguments, 2);
    assert_eq!(away["health"], "critical", "{away:#}");
}

#[test]
fn malformed_output_of_a_monitoring_plugin_is_reported() {
    let env = home();
    for (script, status, said) in [
        ("true", 3, "it printed nothing"),
        ("echo no such host >&2", 3, "no such host"),
        ("echo; exit 2", 2, "it printed nothing"),
        ("echo fine; exit 4", 3, "it ended with 4"),
        ("echo fine; exit 127", 3, "it ended with 127"),
        ("echo fine; exit 137", 3, "it ended with 137"),
        ("echo 'fine | a=x'", 0, "1 part of its performance data is unreadable"),
    ] {
        let program = env.script("check_it", script);
        let target =
            format!("process = \"{}\"\narguments = []\nread_only = true", program.display());
        let check = check(&env, &target, "nagios:check", "[]", status);
        let summary = check["summary"].as_str().unwrap_or_default();
        assert!(summary.contains(said), "{script}: {check:#}");
    }
}
