//! `runbook doctor --targets FILE` tries each target on real servers, changes nothing, and says in
//! one line what is wrong with it.

use crate::home;
use runbook_tests::docker::ensure_engine;
use runbook_tests::env::TestEnv;
use runbook_tests::free_port;
use runbook_tests::http::Receiver;
use runbook_tests::postgres::{PASSWORD, Postgres};
use std::collections::BTreeMap;
use std::net::TcpListener;

/// What is said about each target: its verdict, the reason, and the detail.
fn tried(env: &TestEnv, status: i32) -> BTreeMap<String, (String, String, String)> {
    let done = env.run(&["doctor", "--targets", "suite.toml", "--format", "json"]).status(status);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    done.stdout
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON lines");
            (
                text(&line["target"]),
                (text(&line["verdict"]), text(&line["reason"]), text(&line["detail"])),
            )
        })
        .collect()
}

/// A suite in which a check is bound to each of these targets: name, its lines, the operation, the
/// slot, and the input.
fn suite(targets: &[(&str, String, &str, &str, &str)]) -> String {
    let mut text = "format = 1\n[runbook]\nname = \"all\"\n[secrets.word]\n\
                    source = \"age:s.age#word\"\n[secrets.wrong]\nsource = \"age:s.age#wrong\"\n\
                    [secrets.missing]\nsource = \"age:s.age#nothing\"\n\
                    [secrets.s3]\nsource = \"age:s.age#s3\"\n"
        .to_owned();
    for (name, lines, uses, slot, with) in targets {
        text.push_str(&format!(
            "[targets.{name}]\n{lines}\n[[check]]\nid = \"{name}\"\nuses = \"{uses}\"\n\
             bind.{slot} = \"{name}\"\nwith = {{ {with} }}\n"
        ));
    }
    text
}

fn with_secrets() -> TestEnv {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#word"], PASSWORD).status(0);
    env.run_with_input(&["secret", "set", "s.age#wrong"], "not-the-password").status(0);
    env.run_with_input(&["secret", "set", "s.age#s3"], runbook_tests::s3::SECRET_KEY).status(0);
    env
}

fn postgres_target(postgres: &Postgres, secret: &str) -> String {
    format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders?sslmode=disable\"\n\
         password = \"secret:{secret}\"",
        postgres.port
    )
}

fn objects_target(port: u16, secret: &str) -> String {
    let (bucket, key) = (runbook_tests::s3::BUCKET, runbook_tests::s3::ACCESS_KEY);
    format!(
        "objects = \"s3://{bucket}/\"\nendpoint = \"http://127.0.0.1:{port}\"\nauth = {{ aws-sigv4 = \
         {{ access_key = \"{key}\", secret_key = \"secret:{secret}\", region = \"r\" }} }}"
    )
}

fn program(env: &TestEnv, name: &str) -> String {
    format!("process = \"{}\"\nread_only = true", env.path().join(name).display())
}

#[test]
fn each_target_that_answers_is_ok_and_is_left_as_it_was() {
    ensure_engine();
    let (env, postgres, web) = (with_secrets(), Postgres::start(3), Receiver::start());
    env.file("data/a.txt", "a");
    env.script("tool.sh", "echo ran > ran.txt");
    let mail = crate::net::mail();
    let cache = runbook_tests::redis::Redis::start();
    let store = runbook_tests::s3::S3::start();
    let select = "statement = \"select 1\"";
    env.file(
        "suite.toml",
        &suite(&[
            ("orders", postgres_target(&postgres, "word"), "sql:query", "db", select),
            (
                "web",
                format!("http = \"http://127.0.0.1:{}\"", web.port),
                "http:get",
                "target",
                "path = \"/health\"",
            ),
            ("engine", "docker = { name = \"web\" }".to_owned(), "docker:status", "container", ""),
            ("mail", format!("net = \"127.0.0.1\"\nports = [{mail}]"), "net:tcp", "server", ""),
            (
                "cache",
                format!("redis = \"127.0.0.1:{}\"\ntls = \"off\"", cache.port),
                "redis:ping",
                "db",
                "",
            ),
            ("store", objects_target(store.port, "s3"), "objects:object", "store", "key = \"a\""),
            ("tool", program(&env, "tool.sh"), "command:check", "program", ""),
        ]),
    );
    for (target, (verdict, reason, detail)) in tried(&env, 0) {
        assert_eq!((verdict.as_str(), reason.as_str()), ("ok", ""), "{target}: {detail}");
    }
    let shown = env.run(&["doctor", "--targets", "suite.toml"]).status(0);
    let shown = shown.out("`orders_admin` can log in to database `orders` (PostgreSQL)");
    shown
        .out("GET / is answered with 200")
        .out("the program can be executed")
        .out("connections are accepted by");
    assert!(!env.path().join("ran.txt").exists(), "a program is looked at, and not run");
    let rows = postgres.psql("orders", "select count(*) from orders");
    assert_eq!(rows.trim(), "3");
}

#[test]
fn what_is_wrong_with_a_target_is_said_with_its_kind_and_no_other_target_is_held_up() {
    let (env, postgres) = (with_secrets(), Postgres::start(1));
    let guarded = Receiver::start_with_response("401 Unauthorized", "{}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("bound").port();
    let closed = free_port();
    let cache = runbook_tests::redis::Redis::start();
    let store = runbook_tests::s3::S3::start();
    let select = "statement = \"select 1\"";
    let get = "path = \"/health\"";
    let http = |base: String| format!("http = \"{base}\"");
    env.script("changed.sh", "true");
    let cases = [
        (
            "wrong-password",
            postgres_target(&postgres, "wrong"),
            "sql:query",
            "db",
            select,
            "credentials",
        ),
        (
            "no-secret",
            postgres_target(&postgres, "missing"),
            "sql:query",
            "db",
            select,
            "credentials",
        ),
        (
            "no-database",
            postgres_target(&postgres, "word").replace("/orders?", "/nothing?"),
            "sql:query",
            "db",
            select,
            "other",
        ),
        (
            "guarded",
            http(format!("http://127.0.0.1:{}", guarded.port)),
            "http:get",
            "target",
            get,
            "credentials",
        ),
        (
            "refused",
            http(format!("http://127.0.0.1:{closed}")),
            "http:get",
            "target",
            get,
            "connection",
        ),
        (
            "no-name",
            http("http://no-such-name.invalid".to_owned()),
            "http:get",
            "target",
            get,
            "name",
        ),
        (
            "plain-port",
            http(format!("https://127.0.0.1:{}", guarded.port)),
            "http:get",
            "target",
            get,
            "tls",
        ),
        (
            "silent",
            http(format!("http://127.0.0.1:{silent}")) + "\ntimeout = \"1s\"",
            "http:get",
            "target",
            get,
            "timeout",
        ),
        (
            "no-engine",
            "docker = { name = \"web\" }\nsocket = \"/run/no-such-engine.sock\"".to_owned(),
            "docker:status",
            "container",
            "",
            "connection",
        ),
        (
            "wrong-login",
            format!(
                "redis = \"127.0.0.1:{}\"\ntls = \"off\"\nuser = \"probe\"\n\
                 password = \"secret:wrong\"",
                cache.port
            ),
            "redis:ping",
            "db",
            "",
            "credentials",
        ),
        (
            "wrong-keys",
            objects_target(store.port, "wrong"),
            "objects:object",
            "store",
            "key = \"a\"",
            "credentials",
        ),
        (
            "no-server",
            format!("net = \"127.0.0.1\"\nports = [{closed}]"),
            "net:tcp",
            "server",
            "",
            "connection",
        ),
        (
            "changed",
            format!(
                "{}
sha256 = \"{}\"",
                program(&env, "changed.sh"),
                "0".repeat(64)
            ),
            "command:check",
            "program",
            "",
            "local",
        ),
        ("no-file", "sql = \"sqlite:nothing.db\"".to_owned(), "sql:query", "db", select, "local"),
    ];
    let targets: Vec<_> = cases
        .iter()
        .map(|(name, lines, uses, slot, with, _)| (*name, lines.clone(), *uses, *slot, *with))
        .collect();
    env.file("suite.toml", &suite(&targets));
    let found = tried(&env, 3);
    assert_eq!(found.len(), cases.len());
    for (name, .., expected) in &cases {
        let (verdict, reason, detail) = &found[*name];
        assert_eq!((verdict.as_str(), reason.as_str()), ("fail", *expected), "{name}: {detail}");
        assert!(!detail.contains("not-the-password") && !detail.contains(PASSWORD), "{detail}");
    }
    let shown = env.run(&["doctor", "--targets", "suite.toml"]).status(3).stdout;
    for (name, ..) in &cases {
        let lines = shown.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(lines, 1, "one line for {name}:\n{shown}");
    }
}

#[test]
fn a_target_that_the_boundary_does_not_allow_is_not_tried() {
    let (env, web) = (home(), Receiver::start());
    let target = format!("http = \"http://127.0.0.1:{}\"", web.port);
    env.file("suite.toml", &suite(&[("web", target, "http:get", "target", "path = \"/health\"")]));
    env.file("boundary.toml", "format = 1\n");
    env.run(&["doctor", "--targets", "suite.toml", "--boundary", "boundary.toml"]).status(6);
    assert!(web.received().is_empty());
}

#[test]
fn a_target_without_a_step_is_named_and_not_tried() {
    let (env, web) = (home(), Receiver::start());
    let unused = format!("[targets.unused]\nhttp = \"http://127.0.0.1:{}\"\n", web.port);
    let target = format!("net = \"127.0.0.1\"\nports = [{}]", crate::net::mail());
    env.file("suite.toml", &(suite(&[("mail", target, "net:tcp", "server", "")]) + &unused));
    let found = tried(&env, 0);
    assert_eq!(found["unused"].0, "unbound");
    assert_eq!(found["mail"].0, "ok");
    assert!(web.received().is_empty());
}

#[test]
fn a_proxy_that_makes_no_connection_is_the_reason_in_one_line() {
    use runbook_tests::proxy::Tinyproxy;
    let (env, web) = (with_secrets(), Receiver::start());
    let (asking, limited) = (Tinyproxy::start_with_login(), Tinyproxy::start("ConnectPort 1"));
    let login = "user = \"runbook\"\npassword = \"secret:wrong\"";
    let cases = [
        ("asks", asking.port, "", "it asks for a login"),
        ("wrong", asking.port, login, "it does not accept the password of the user `runbook`"),
        ("forbids", limited.port, "", "its own rules forbid"),
        ("gone", free_port(), "", "cannot be connected to"),
    ];
    let lines = |name: &str, port: u16, more: &str| {
        format!(
            "http = \"http://127.0.0.1:{}\"\nvia = \"by-{name}\"\n[targets.by-{name}]\n\
             proxy = \"http://127.0.0.1:{port}\"\n{more}",
            web.port
        )
    };
    let targets = cases.map(|(name, port, more, _)| {
        (name, lines(name, port, more), "http:get", "target", "path = \"/health\"")
    });
    env.file("suite.toml", &suite(&targets));
    let found = tried(&env, 3);
    for (name, .., said) in cases {
        let (verdict, reason, detail) = &found[name];
        assert_eq!((verdict.as_str(), reason.as_str()), ("fail", "proxy"), "{name}: {detail}");
        assert!(detail.contains(said) && !detail.contains("not-the-password"), "{detail}");
        assert_eq!(found[&format!("by-{name}")].0, "gateway");
    }
    assert!(web.received().is_empty());
}
