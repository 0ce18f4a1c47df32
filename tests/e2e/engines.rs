//! Docker engines at other places than the usual socket, by the bundled plugin `docker`.

use crate::home;
use runbook_tests::certificates::CertificateAuthority;
use runbook_tests::docker::{App, IMAGE};
use runbook_tests::engines::{Podman, TlsEngine};
use runbook_tests::env::TestEnv;
use runbook_tests::free_port;
use std::net::TcpListener;

/// A folder with `ca.pem`, `client.pem` and `client.key` of an engine.
fn with_certificates(engine: &TlsEngine) -> TestEnv {
    let env = home();
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::copy(engine.folder().join(name), env.path().join(name)).expect("copied");
    }
    env
}

const KEYS: &str = "ca = \"ca.pem\"\nclient_cert = \"client.pem\"\nclient_key = \"client.key\"";

/// Starts a container that ends at once when it is stopped.
fn run(docker: &dyn Fn(&[&str]) -> (String, bool), name: &str) {
    let options = ["run", "-d", "--stop-signal", "SIGKILL", "--network", "none", "--name", name];
    let (text, ran) = docker(&[&options[..], &[IMAGE, "/bin/sleep", "600"]].concat());
    assert!(ran, "{text}");
}

fn facts(docker: &dyn Fn(&[&str]) -> (String, bool), name: &str) -> (String, String) {
    let fact = |format: &str| docker(&["inspect", "--format", format, name]).0;
    (fact("{{.State.Status}}"), fact("{{.State.StartedAt}}"))
}

/// As they stand, and with engines of this machine in place of those that they name.
#[test]
fn the_examples_of_the_page_about_docker_targets_do_what_they_say() {
    let app = App::start("page");
    let engine = TlsEngine::start(&CertificateAuthority::new("Team Root"));
    let podman = Podman::start();
    let (by_tls, by_podman) =
        (|words: &[&str]| engine.docker(words), |words: &[&str]| podman.docker(words));
    run(&by_tls, "orders-worker");
    run(&by_podman, "orders-web");
    let page = include_str!("../../docs/targets/docker.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let examples: Vec<&str> = blocks.filter(|text| text.starts_with("format")).collect();
    assert_eq!(examples.len(), 3);
    let env = with_certificates(&engine);
    let before = facts(&by_tls, "orders-worker");
    for example in examples {
        env.file("example.toml", example);
        env.run(&["validate", "example.toml"]).status(0);
        let local = example
            .replace("orders-api", &app.name)
            .replace("engine.internal:2376", &format!("localhost:{}", engine.port))
            .replace("localhost", "127.0.0.1")
            .replace("addresses = [\"private\"]", "addresses = [\"loopback\"]")
            .replace("/run/podman/podman.sock", &podman.socket().display().to_string());
        env.file("local.toml", &local);
        let verb = if example.contains("[[check]]") { "check" } else { "exec" };
        env.run(&[verb, "local.toml"]).status(0);
    }
    let after = facts(&by_tls, "orders-worker");
    assert!(after.0 == "running" && after.1 != before.1, "{before:?} {after:?}");
    assert_eq!(facts(&by_podman, "orders-web").0, "exited");
    let review = env.run(&["review", "local.toml"]).stdout;
    let place = podman.socket().display().to_string();
    let sentence = format!("of the Docker engine at {place}, which acts as root on this machine");
    assert!(review.replace('\n', " ").contains(&sentence), "{review}");
    // The rest of the maintenance has failed: the container is started again.
    env.run(&["undo", &env.newest_run(), "--yes"]).status(0);
    assert_eq!(facts(&by_podman, "orders-web").0, "running");
}

/// The rule of the page covers the example of the page, and neither another engine nor a socket.
#[test]
fn the_boundary_of_the_page_about_docker_targets_covers_the_engine_that_it_names() {
    let page = include_str!("../../docs/targets/docker.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let (rules, examples): (Vec<&str>, Vec<&str>) =
        blocks.partition(|text| text.starts_with("[[allow]]"));
    let env = home();
    for name in ["ca.pem", "client.pem", "client.key"] {
        env.file(name, "none");
    }
    env.file("boundary.toml", &format!("format = 1\n{}", rules[0]));
    for (index, (engine, is_covered)) in
        [("engine.internal", true), ("other.internal", false)].into_iter().enumerate()
    {
        let name = format!("r{index}.toml");
        let runbook = examples[1].replace("engine.internal", engine);
        env.file(&name, &runbook);
        let review = env.run(&["--boundary", "boundary.toml", "review", &name]);
        let text = format!("{}{}", review.stdout, review.stderr);
        assert_eq!(!text.contains("beyond"), is_covered, "{engine}: {text}");
    }
}

/// Every variable by which a client of Docker or Podman finds an engine, while somebody listens
/// where they lead.
#[test]
fn no_variable_leads_to_another_engine() {
    let app = App::start("variables");
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("a listener can be asked");
    let place = format!("tcp://127.0.0.1:{}", elsewhere.local_addr().expect("bound").port());
    let env = home();
    let host =
        format!("{{\"Endpoints\":{{\"docker\":{{\"Host\":\"{place}\"}}}},\"Name\":\"other\"}}");
    env.file(".docker/config.json", "{\"currentContext\":\"other\"}");
    env.file(".docker/contexts/meta/a/meta.json", &host);
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"r\"\n[targets.app]\ndocker = {{ name = \"{}\" }}\n\
             verbs = [\"inspect\"]\n[[check]]\nid = \"runs\"\nuses = \"docker:status\"\n\
             bind.container = \"app\"\n",
            app.name
        ),
    );
    let certificates = env.path().join(".docker").display().to_string();
    let variables = [
        ("DOCKER_HOST", place.as_str()),
        ("CONTAINER_HOST", place.as_str()),
        ("DOCKER_CONTEXT", "other"),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", certificates.as_str()),
        ("DOCKER_CONFIG", certificates.as_str()),
    ];
    for arguments in
        [["check", "r.toml"].as_slice(), &["doctor", "--targets", "r.toml"], &["doctor"]]
    {
        let mut command = env.command(arguments);
        let done = command.envs(variables).output().expect("the program starts");
        let shown = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{shown}{}", String::from_utf8_lossy(&done.stderr));
        if *arguments == ["doctor"] {
            for (name, _) in variables {
                assert!(shown.contains(name), "{name}: {shown}");
            }
            let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(shown.contains("are set and ignored: a target names its engine"), "{shown}");
            assert!(!shown.contains(&place), "{shown}");
        }
    }
    let accepted = elsewhere.accept().map(|(_, from)| from);
    assert_eq!(accepted.expect_err("nobody connects").kind(), std::io::ErrorKind::WouldBlock);
}

/// Each probe and each effect of the plugin, with its undo, on Podman.
#[test]
fn the_plugin_docker_does_on_podman_what_it_does_on_docker() {
    let podman = Podman::start();
    let docker = |words: &[&str]| podman.docker(words);
    run(&docker, "app");
    let env = home();
    let runbook = |steps: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"r\"\n[targets.app]\ndocker = {{ name = \"app\" }}\n\
             socket = \"{}\"\n{steps}",
            podman.socket().display()
        )
    };
    let check = |uses: &str, with: &str, status: i32| {
        let checks = format!(
            "[[check]]\nid = \"c\"\nuses = \"docker:{uses}\"\nbind.container = \"app\"\nwith = {with}\n"
        );
        env.file("check.toml", &runbook(&checks));
        env.run(&["check", "check.toml"]).status(status);
    };
    let step = |uses: &str, more: &str| {
        format!(
            "[[step]]\nid = \"{uses}\"\nuses = \"docker:{uses}\"\nbind.container = \"app\"\n\
             with = {{ grace = \"1s\" }}\n{more}\n"
        )
    };
    check("status", "{ expect = \"running\", max_restarts = 0 }", 0);
    check("status", "{ expect = \"stopped\" }", 2);
    check("wait-healthy", "{}", 0);
    // The step after the stop fails, so the stop is undone.
    let failing = "[[step]]\nid = \"fails\"\nuses = \"docker:stop\"\nbind.container = \"none\"\n\
                   needs = [\"stop\"]\n[targets.none]\ndocker = { name = \"none\" }\n";
    let failing = format!("{failing}socket = \"{}\"\n", podman.socket().display());
    env.file("fails.toml", &runbook(&(step("stop", "undo = \"auto\"") + &failing)));
    let done = env.run(&["exec", "fails.toml", "--yes"]);
    assert_ne!(done.status, 0, "{}", done.stdout);
    assert_eq!(facts(&docker, "app").0, "running", "{}{}", done.stdout, done.stderr);
    env.file("stop.toml", &runbook(&step("stop", "undo = \"auto\"")));
    env.run(&["exec", "stop.toml", "--yes"]).status(0);
    assert_eq!(facts(&docker, "app").0, "exited");
    check("status", "{ expect = \"stopped\" }", 0);
    env.file("start.toml", &runbook(&step("start", "undo = \"auto\"")));
    env.run(&["exec", "start.toml", "--yes"]).status(0);
    let (state, before) = facts(&docker, "app");
    assert_eq!(state, "running");
    env.file("restart.toml", &runbook(&step("restart", "irreversible = \"it is a test\"")));
    env.run(&["exec", "restart.toml", "--yes"]).status(0);
    let (state, after) = facts(&docker, "app");
    assert!(state == "running" && after != before, "{state} {before} {after}");
    let id = env.newest_run();
    env.run(&["audit", "show", &id]).status(0).out("docker.restart");
}

#[test]
fn doctor_says_what_is_wrong_on_the_way_to_an_engine() {
    let (ours, other) = (CertificateAuthority::new("ours"), CertificateAuthority::new("other"));
    let engine = TlsEngine::start_with(&ours, &ours.server("127.0.0.1"));
    let env = with_certificates(&engine);
    env.file("other.pem", &other.certificate());
    let place = format!("tcp://127.0.0.1:{}", engine.port);
    let closed = format!("tcp://127.0.0.1:{}", free_port());
    let cases = [
        ("good", format!("engine = \"{place}\"\n{KEYS}"), "ok", ""),
        ("stranger", format!("engine = \"{place}\"\nca = \"ca.pem\""), "fail", "tls"),
        (
            "untrusted",
            format!("engine = \"{place}\"\n{}", KEYS.replace("\"ca.pem", "\"other.pem")),
            "fail",
            "tls",
        ),
        ("plain", format!("engine = \"{place}\"\ntls = \"off\""), "fail", "other"),
        ("closed", format!("engine = \"{closed}\"\n{KEYS}"), "fail", "connection"),
        ("nameless", format!("engine = \"tcp://no-such-name.invalid\"\n{KEYS}"), "fail", "name"),
        (
            "inside",
            format!("engine = \"tcp://localhost.localdomain.invalid\"\n{KEYS}"),
            "fail",
            "name",
        ),
    ];
    let mut suite = "format = 1\n[runbook]\nname = \"all\"\n".to_owned();
    for (name, lines, ..) in &cases {
        suite.push_str(&format!(
            "[targets.{name}]\ndocker = {{ name = \"a\" }}\n{lines}\n[[check]]\nid = \"{name}\"\n\
             uses = \"docker:status\"\nbind.container = \"{name}\"\n"
        ));
    }
    env.file("suite.toml", &suite);
    let done = env.run(&["doctor", "--targets", "suite.toml", "--format", "json"]);
    let lines: Vec<serde_json::Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    for (name, _, verdict, reason) in cases {
        let found = lines.iter().find(|line| line["target"] == name).expect("each is tried");
        let said = (found["verdict"].as_str(), found["reason"].as_str().unwrap_or_default());
        assert_eq!(said, (Some(verdict), reason), "{found}");
    }
    assert!(done.stdout.contains("the Docker engine answers by TLS, version "), "{}", done.stdout);
}
