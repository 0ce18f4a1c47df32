//! The bundled plugin `redis`, against a real server.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv};
use runbook_tests::redis::{Answer, PASSWORD, Redis};

/// Each check of a suite with its health and its summary.
fn checks(env: &TestEnv, suite: &str, status: i32) -> Vec<(String, String)> {
    env.file("redis.toml", suite);
    let found = env.run(&["check", "--format", "json", "redis.toml"]).status(status);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    let text = |check: &serde_json::Value, key: &str| {
        check[key].as_str().unwrap_or_else(|| panic!("{key} of {check:#}")).to_owned()
    };
    found["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|check| (text(check, "health"), text(check, "summary")))
        .collect()
}

fn target(server: &Redis, more: &str) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"redis\"\n[targets.db]\nredis = \"127.0.0.1:{}\"\n\
         tls = \"off\"\n{more}\n",
        server.port
    )
}

fn tells(output: &ProgramOutput, words: &str) {
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(words), "{words}: {said}");
}

fn text(words: &str) -> Answer {
    Answer::Text(words.to_owned())
}

#[test]
fn the_probes_compare_what_a_server_and_a_key_are() {
    let server = Redis::start();
    let env = home();
    server.commands(&[
        &["RPUSH", "jobs", "1", "2", "3"],
        &["SET", "flag", "on", "EX", "1000"],
        &["CONFIG", "SET", "maxmemory", "1000000000"],
    ]);
    let of = |uses: &str, with: &str, status: i32| {
        let suite = target(&server, "")
            + &format!(
                "[[check]]\nid = \"c\"\nuses = \"redis:{uses}\"\nbind.db = \"db\"\nwith = {with}\n"
            );
        checks(&env, &suite, status).remove(0)
    };
    for (uses, with, status, words) in [
        ("ping", "{}", 0, "answered PONG"),
        (
            "server",
            "{ role = \"primary\", fail_memory_percent = 99, max_save_age = \"999d\" }",
            0,
            "primary",
        ),
        ("server", "{ role = \"replica\" }", 2, "it is a primary, not a replica"),
        ("server", "{ min_replicas = 1 }", 2, "0 of 1 replicas"),
        (
            "key",
            "{ key = \"jobs\", type = \"list\", min_length = 3, max_length = 3 }",
            0,
            "length 3",
        ),
        ("key", "{ key = \"jobs\", max_length = 2 }", 2, "its length is 3"),
        (
            "key",
            "{ key = \"flag\", equals = \"on\", min_ttl = \"10s\", max_ttl = \"1000s\" }",
            0,
            "string",
        ),
        ("key", "{ key = \"flag\", equals = \"off\" }", 2, "it holds `on`"),
        ("key", "{ key = \"gone\" }", 2, "does not exist"),
        ("key", "{ key = \"gone\", exists = false }", 0, "none"),
    ] {
        let (_, summary) = of(uses, with, status);
        assert!(summary.contains(words), "{uses} {with}: {summary}");
    }
}

#[test]
fn a_replica_is_compared_with_its_primary() {
    let (primary, replica) = (Redis::start(), Redis::start());
    let env = home();
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    runbook_tests::wait_for("the replica is linked", || {
        matches!(replica.command(&["INFO", "replication"]), Answer::Text(info) if info.contains("master_link_status:up"))
            && matches!(primary.command(&["INFO", "replication"]), Answer::Text(info) if info.contains("state=online"))
    });
    let check = |server: &Redis, with: &str| {
        let suite = target(server, "")
            + &format!(
                "[[check]]\nid = \"c\"\nuses = \"redis:server\"\nbind.db = \"db\"\nwith = {with}\n"
            );
        checks(&env, &suite, 0).remove(0)
    };
    check(&replica, "{ role = \"replica\", max_lag = \"10m\" }");
    check(&primary, "{ role = \"primary\", min_replicas = 1, max_lag = \"10m\" }");
    // A replica takes no changes, and that is told.
    let step = "[[step]]\nid = \"a\"\nuses = \"redis:set\"\nbind.db = \"db\"\nundo = \"auto\"\n\
                with = { key = \"a\", value = \"b\" }\n";
    env.file("r.toml", &(target(&replica, "") + step));
    tells(&env.run(&["exec", "r.toml"]).status(1), "READONLY");
}

#[test]
fn set_and_delete_put_back_what_was_there_if_the_run_fails() {
    let server = Redis::start();
    let env = home();
    server.commands(&[&["SET", "flag", "on"], &["SET", "soon", "x", "PXAT", "4102444800000"]]);
    let steps = "[[step]]\nid = \"a\"\nuses = \"redis:set\"\nbind.db = \"db\"\nundo = \"auto\"\n\
                 with = { key = \"flag\", value = \"off\" }\n\
                 [[step]]\nid = \"b\"\nuses = \"redis:delete\"\nbind.db = \"db\"\nundo = \"auto\"\n\
                 with = { key = \"soon\" }\n\
                 [[step]]\nid = \"c\"\nuses = \"redis:set\"\nbind.db = \"db\"\nundo = \"auto\"\n\
                 with = { key = \"new\", value = \"1\", ttl = \"1h\" }\n";
    let fails =
        "[[step]]\nid = \"d\"\nuses = \"redis:key\"\nbind.db = \"db\"\nwith = { key = \"gone\" }\n";
    env.file("good.toml", &(target(&server, "") + steps));
    tells(&env.run(&["plan", "good.toml"]).status(0), "[\"set\",\"flag\",\"off\"]");
    env.run(&["exec", "--dry-run", "good.toml"]).status(0);
    assert_eq!(server.command(&["GET", "flag"]), text("on"));
    env.file("bad.toml", &(target(&server, "") + steps + fails));
    env.run(&["exec", "bad.toml"]).status(1);
    assert_eq!(server.command(&["GET", "flag"]), text("on"));
    assert_eq!(server.command(&["GET", "soon"]), text("x"));
    assert_eq!(server.command(&["PEXPIRETIME", "soon"]), Answer::Number(4_102_444_800_000));
    assert_eq!(server.command(&["EXISTS", "new"]), Answer::Number(0));
    env.run(&["exec", "good.toml"]).status(0);
    assert_eq!(server.command(&["GET", "flag"]), text("off"));
    assert_eq!(server.command(&["EXISTS", "soon"]), Answer::Number(0));
    // Somebody else changes the key: the undo leaves it alone.
    server.command(&["SET", "flag", "mine"]);
    let id = env.newest_run();
    tells(&env.run(&["undo", &id, "--yes"]), "changed by somebody else");
    assert_eq!(server.command(&["GET", "flag"]), text("mine"));
}

#[test]
fn a_run_that_is_killed_at_any_host_call_ends_as_if_it_were_not() {
    let server = Redis::start();
    let runbook = target(&server, "")
        + "[[step]]\nid = \"a\"\nuses = \"redis:set\"\nbind.db = \"db\"\nundo = \"auto\"\n\
           with = { key = \"flag\", value = \"off\" }\n\
           [[step]]\nid = \"b\"\nuses = \"redis:delete\"\nbind.db = \"db\"\nundo = \"auto\"\n\
           with = { key = \"old\" }\n";
    let mut killed = 0;
    for failpoint in ["entered", "returned"] {
        for number in 1.. {
            let env = home();
            env.file("r.toml", &runbook);
            server.commands(&[&["SET", "flag", "on"], &["SET", "old", "x"]]);
            let mut command = env.command(&["exec", "r.toml", "--yes"]);
            command.env("RUNBOOK_TEST_KILL", format!("{failpoint}:{number}"));
            let first = runbook_tests::env::finish(command.output().expect("the program starts"));
            if first.status != -1 {
                break;
            }
            killed += 1;
            let id = env.newest_run();
            env.run(&["resume", &id]).status(0);
            let state = (server.command(&["GET", "flag"]), server.command(&["EXISTS", "old"]));
            assert_eq!(state, (text("off"), Answer::Number(0)), "{failpoint}:{number}");
        }
    }
    assert!(killed > 8, "{killed}");
}

#[test]
fn keys_that_could_not_be_put_back_are_refused_and_removed_only_by_remove() {
    let server = Redis::start();
    let env = home();
    server.commands(&[&["RPUSH", "list", "1"], &["SET", "text", "1"]]);
    let step = |uses: &str, with: &str, end: &str| {
        target(&server, "keys = [\"list\", \"text\"]")
            + &format!(
                "[[step]]\nid = \"a\"\nuses = \"redis:{uses}\"\nbind.db = \"db\"\nwith = {with}\n{end}\n"
            )
    };
    env.file("r.toml", &step("delete", "{ key = \"list\" }", "undo = \"auto\""));
    tells(&env.run(&["exec", "r.toml"]).status(1), "only a text can be put back");
    env.file("r.toml", &step("set", "{ key = \"other\", value = \"1\" }", "undo = \"auto\""));
    tells(&env.run(&["exec", "r.toml"]).status(1), "key `other` fits none of");
    assert_eq!(server.command(&["DBSIZE"]), Answer::Number(2));
    let irreversible = "irreversible = \"the queue is filled again\"";
    env.file("r.toml", &step("remove", "{ keys = [\"list\", \"text\"] }", irreversible));
    tells(&env.run(&["exec", "r.toml"]).status(0), "removed 2 keys");
    assert_eq!(server.command(&["DBSIZE"]), Answer::Number(0));
    let id = env.newest_run();
    env.run(&["audit", "show", &id]).status(0).out("redis.write").out("command unlink keys");
}

/// As they stand, and with a server of this machine in place of those that they name.
#[test]
fn the_examples_of_the_page_about_redis_targets_do_what_they_say() {
    let authority = runbook_tests::certificates::CertificateAuthority::new("Team Root");
    let server = Redis::start_with_tls(&authority.server("localhost"), None);
    server.commands(&[
        &["SELECT", "2"],
        &["RPUSH", "jobs:waiting", "1", "2"],
        &["SELECT", "0"],
        &["SET", "feature:checkout", "on"],
    ]);
    let page = include_str!("../../docs/targets/redis.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "prod.age#queue"], PASSWORD).status(0);
    std::fs::write(env.path().join("ca.pem"), authority.certificate()).expect("writable");
    let with_tls = format!("redis = \"localhost:{}\"\nca = \"ca.pem\"", server.tls_port);
    let plain = format!("redis = \"localhost:{}\"", server.port);
    for example in examples {
        env.file("example.toml", example);
        env.run(&["validate", "example.toml"]).status(0);
        let local = example
            .replace("redis = \"cache.example:6380\"", &with_tls)
            .replace("redis = \"queue.internal\"", &plain)
            .replace("redis = \"flags.internal\"", &plain)
            .replace("[\"private\"]", "[\"loopback\"]");
        env.file("local.toml", &local);
        if example.contains("[[check]]") {
            for (health, summary) in checks(&env, &local, 0) {
                assert_eq!(health, "healthy", "{summary}");
            }
        } else {
            env.run(&["exec", "local.toml"]).status(0);
        }
    }
    assert_eq!(server.command(&["GET", "feature:checkout"]), text("off"));
}
