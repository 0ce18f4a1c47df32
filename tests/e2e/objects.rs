//! The bundled plugin `objects`, against a real server of S3.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv};
use runbook_tests::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};

/// A home with the secret key of the server, and nothing in the environment that could sign.
fn env() -> TestEnv {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "prod.age#s3-key"], SECRET_KEY).status(0);
    env.run_with_input(&["secret", "set", "prod.age#s3-id"], ACCESS_KEY).status(0);
    env
}

fn target(server: &S3, more: &str) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"objects\"\n[secrets.s3-key]\nsource = \
         \"age:prod.age#s3-key\"\n[targets.dir]\nfiles = \"data\"\naccess = \"write\"\n\
         [targets.store]\nobjects = \"s3://{BUCKET}/shop/\"\nendpoint = \
         \"http://127.0.0.1:{}\"\nauth = {{ aws-sigv4 = {{ access_key = \"{ACCESS_KEY}\", \
         secret_key = \"secret:s3-key\", region = \"eu-central-1\" }} }}\n{more}\n",
        server.port
    )
}

fn step(id: &str, uses: &str, with: &str, more: &str) -> String {
    let directory = if uses.ends_with("load") { "bind.directory = \"dir\"\n" } else { "" };
    format!(
        "[[step]]\nid = \"{id}\"\nuses = \"objects:{uses}\"\nbind.store = \"store\"\n{directory}\
         with = {with}\n{more}\n"
    )
}

const UNDO: &str = "undo = \"auto\"";
const FINAL: &str = "irreversible = \"there is another copy\"";

fn tells(output: &ProgramOutput, words: &str) {
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(words), "{words}: {said}");
    assert!(!said.contains(SECRET_KEY), "{said}");
}

#[test]
fn the_probes_of_objects_compare_what_is_there() {
    let (server, env) = (S3::start(), env());
    std::fs::create_dir_all(server.object("shop/daily")).expect("writable");
    for (name, size) in [("a", 5), ("daily/1", 10), ("daily/2", 20)] {
        std::fs::write(server.object(&format!("shop/{name}")), vec![b'x'; size]).expect("writable");
    }
    // Beside the prefix.
    std::fs::write(server.object("other"), "x").expect("writable");
    for (uses, with, more, status, words) in [
        ("object", "{ key = \"a\", max_age = \"1h\", min_bytes = 5 }", "", 0, "5 B"),
        ("object", "{ key = \"a\", min_bytes = 6 }", "", 2, "it is smaller than 6 B"),
        ("object", "{ key = \"a\", max_bytes = 4 }", "", 2, "it is larger than 4 B"),
        ("object", "{ key = \"gone\" }", "", 2, "there is no `gone`"),
        ("object", "{ key = \"gone\", exists = false }", "", 0, "there is no `gone`"),
        ("object", "{ key = \"a\", exists = false }", "", 2, "it exists"),
        ("object", "{ key = \"../other\" }", "", 3, "`..` segment"),
        ("objects", "{ min_count = 3, max_count = 3, max_age = \"1h\" }", "", 0, "3 objects"),
        ("objects", "{ prefix = \"daily/\", max_total_bytes = 30 }", "", 0, "2 objects"),
        ("objects", "{ prefix = \"daily/\", max_total_bytes = 29 }", "", 2, "more than 29 B"),
        ("objects", "{ prefix = \"none\", max_age = \"1h\" }", "", 2, "none is newer"),
        ("objects", "{ min_count = 4 }", "", 2, "fewer than 4"),
        ("objects", "{ min_count = 2 }", "max_rows = 2", 0, "more that were not listed"),
        ("objects", "{ min_count = 3 }", "max_rows = 2", 3, "more that were not listed"),
        ("objects", "{ max_count = 1 }", "max_rows = 2", 2, "more than 1"),
        ("objects", "{ max_count = 9 }", "max_rows = 2", 3, "more that were not listed"),
    ] {
        let check = format!(
            "[[check]]\nid = \"c\"\nuses = \"objects:{uses}\"\nbind.store = \"store\"\nwith = {with}\n"
        );
        let suite = target(&server, more).replace("access = \"write\"\n", "") + &check;
        env.file("suite.toml", &suite);
        tells(&env.run(&["check", "suite.toml"]).status(status), words);
    }
}

#[test]
fn what_was_put_is_deleted_if_the_run_fails_and_nothing_is_replaced() {
    let (server, env) = (S3::start(), env());
    env.file("data/dump", "a dump");
    let steps = step("note", "put", "{ key = \"note\", content = \"hello\" }", UNDO)
        + &step("dump", "upload", "{ key = \"dumps/1\", path = \"dump\" }", UNDO);
    let fails = "[[step]]\nid = \"fails\"\nuses = \"objects:object\"\nbind.store = \"store\"\n\
                 with = { key = \"gone\" }\n";
    env.file("good.toml", &(target(&server, "") + &steps));
    tells(&env.run(&["plan", "good.toml"]).status(0), "write `note`");
    env.run(&["exec", "--dry-run", "good.toml"]).status(0);
    assert!(!server.object("shop/note").exists());
    env.file("bad.toml", &(target(&server, "") + &steps + fails));
    env.run(&["exec", "bad.toml"]).status(1);
    assert!(!server.object("shop/note").exists() && !server.object("shop/dumps/1").exists());
    env.run(&["exec", "good.toml"]).status(0);
    assert_eq!(std::fs::read(server.object("shop/note")).expect("it is there"), b"hello");
    assert_eq!(std::fs::read(server.object("shop/dumps/1")).expect("it is there"), b"a dump");
    let id = env.newest_run();
    // The same again changes nothing, and the undo of that deletes nothing.
    env.file("fails.toml", &(target(&server, "") + &steps + fails));
    tells(&env.run(&["exec", "fails.toml"]).status(1), "`note` is there already");
    assert!(server.object("shop/note").exists() && server.object("shop/dumps/1").exists());
    // Somebody else writes another object there: neither a step nor the undo touches it.
    let other =
        target(&server, "") + &step("note", "put", "{ key = \"note\", content = \"other\" }", UNDO);
    env.file("other.toml", &other);
    tells(&env.run(&["exec", "other.toml"]).status(1), "`note` holds another object");
    env.file(
        "away.toml",
        &(target(&server, "") + &step("a", "delete", "{ key = \"note\" }", FINAL)),
    );
    tells(&env.run(&["exec", "away.toml"]).status(0), "deleted `note`");
    env.run(&["exec", "other.toml"]).status(0);
    tells(&env.run(&["undo", &id, "--yes"]), "changed by somebody else");
    assert_eq!(std::fs::read(server.object("shop/note")).expect("it is there"), b"other");
}

#[test]
fn an_object_is_copied_to_a_new_file_and_never_over_another() {
    let (server, env) = (S3::start(), env());
    env.file("data/there", "mine");
    std::fs::create_dir_all(server.object("shop")).expect("writable");
    std::fs::write(server.object("shop/a"), "theirs").expect("writable");
    let runbook = |path: &str| {
        target(&server, "")
            + &step("a", "download", &format!("{{ key = \"a\", path = \"{path}\" }}"), FINAL)
    };
    env.file("r.toml", &runbook("there"));
    tells(&env.run(&["exec", "r.toml"]).status(1), "`there` is there already");
    env.file("r.toml", &runbook("new"));
    tells(&env.run(&["exec", "r.toml"]).status(0), "copied 6 B to `new`");
    assert_eq!(std::fs::read(env.path().join("data/new")).expect("it is there"), b"theirs");
    assert_eq!(std::fs::read(env.path().join("data/there")).expect("it is there"), b"mine");
}

#[test]
fn nothing_of_the_environment_signs_or_redirects_a_request() {
    let (server, env) = (S3::start(), env());
    let check = "[[check]]\nid = \"c\"\nuses = \"objects:objects\"\nbind.store = \"store\"\n\
                 with = {}\n";
    let variables = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
        ("AWS_REGION", "elsewhere"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
        ("ALL_PROXY", "http://127.0.0.1:1"),
    ];
    let run = |suite: &str, status: i32| {
        env.file("suite.toml", suite);
        let mut command = env.command(&["check", "suite.toml"]);
        command.envs(variables);
        let output = command.output().expect("the program starts");
        runbook_tests::env::finish(output).status(status)
    };
    let good = target(&server, "") + check;
    run(&good, 0);
    // The right keys are in the environment, wrong ones in the target.
    let wrong = good.replace(&format!("\"{ACCESS_KEY}\""), "\"AKIDOTHER\"");
    run(&wrong, 3);
    let without = good.lines().filter(|line| !line.starts_with("auth")).collect::<Vec<_>>();
    tells(&run(&without.join("\n"), 3), "nothing of the environment is used");
}

#[test]
fn a_run_with_objects_that_is_killed_at_any_host_call_ends_as_if_it_were_not() {
    let (server, env) = (S3::start(), env());
    // In parts.
    std::fs::create_dir_all(env.path().join("data")).expect("writable");
    std::fs::write(env.path().join("data/dump"), vec![b'x'; 9 << 20]).expect("writable");
    let runbook = target(&server, "")
        + &step("note", "put", "{ key = \"note\", content = \"hello\" }", UNDO)
        + &step("dump", "upload", "{ key = \"dump\", path = \"dump\" }", UNDO)
        + &step("old", "delete", "{ key = \"old\" }", FINAL);
    env.file("r.toml", &runbook);
    std::fs::create_dir_all(server.object("shop")).expect("writable");
    let mut killed = 0;
    for failpoint in ["entered", "returned"] {
        for number in 1.. {
            std::fs::write(server.object("shop/old"), "x").expect("writable");
            for name in ["note", "dump"] {
                let _ = std::fs::remove_file(server.object(&format!("shop/{name}")));
            }
            let mut command = env.command(&["exec", "r.toml", "--yes"]);
            command.env("RUNBOOK_TEST_KILL", format!("{failpoint}:{number}"));
            let first = runbook_tests::env::finish(command.output().expect("the program starts"));
            if first.status != -1 {
                break;
            }
            killed += 1;
            env.run(&["resume", &env.newest_run()]).status(0);
            let note = std::fs::read(server.object("shop/note")).expect("it is there");
            let dump = std::fs::metadata(server.object("shop/dump")).expect("it is there").len();
            let found = (note.as_slice(), dump, server.object("shop/old").exists());
            assert_eq!(found, (b"hello".as_slice(), 9 << 20, false), "{failpoint}:{number}");
        }
    }
    assert!(killed > 10, "{killed}");
}

/// As they stand, and with a server of this machine in place of those that they name.
#[test]
fn the_examples_of_the_page_about_objects_do_what_they_say() {
    let (server, env) = (S3::start(), env());
    std::fs::create_dir_all(server.object("orders/daily")).expect("writable");
    for number in 0..7 {
        std::fs::write(server.object(&format!("orders/daily/{number}")), "x").expect("writable");
    }
    env.file("dumps/orders.dump", "a dump");
    std::fs::create_dir_all(env.path().join("restored")).expect("writable");
    let page = include_str!("../../docs/targets/objects.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        env.file("example.toml", example);
        env.run(&["validate", "example.toml"]).status(0);
        let local = example
            .replace("s3://acme-backups/", &format!("s3://{BUCKET}/"))
            .replace(
                "https://s3.eu-central-1.amazonaws.com",
                &format!("http://127.0.0.1:{}", server.port),
            )
            .replace("https://minio.internal:9000", &format!("http://127.0.0.1:{}", server.port))
            .replace("ca = \"ca.pem\"\n", "")
            .replace("\"private\"", "\"loopback\"")
            .replace("storage_class = \"STANDARD_IA\"", "storage_class = \"STANDARD\"");
        env.file("local.toml", &local);
        let command = if example.contains("[[check]]") { "check" } else { "exec" };
        env.run(&[command, "local.toml"]).status(0);
    }
    assert_eq!(
        std::fs::read(server.object("orders/manual/orders.dump")).expect("it is there"),
        b"a dump"
    );
    assert_eq!(
        std::fs::read(env.path().join("restored/orders.dump")).expect("it is there"),
        b"a dump"
    );
}

/// The size of an object that must not be held in memory.
const LARGE: u64 = 1 << 30;

/// The peak of the program's memory, in KiB.
fn peak_of(env: &TestEnv, arguments: &[&str]) -> u64 {
    let mut child = env.spawn(arguments);
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        if let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let found = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            peak = found.unwrap_or(0).max(peak);
        }
        if let Some(status) = child.try_wait().expect("a child of ours") {
            assert!(status.success(), "{status}");
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_large_object_is_copied_up_and_down_without_being_held_in_memory() {
    let (server, env) = (S3::start(), env());
    env.file("data/small", "x");
    let file = std::fs::File::create(env.path().join("data/large")).expect("writable");
    file.set_len(LARGE).expect("a hole");
    let mut peaks = Vec::new();
    for name in ["small", "large"] {
        let up = format!("{{ key = \"{name}\", path = \"{name}\" }}");
        let down = format!("{{ key = \"{name}\", path = \"{name}-back\" }}");
        let timeout = "timeout = \"10m\"\n";
        let runbook = target(&server, "")
            + &step("up", "upload", &up, &format!("{timeout}{UNDO}"))
            + &step("down", "download", &down, &format!("{timeout}{FINAL}"));
        env.file("r.toml", &runbook);
        peaks.push(peak_of(&env, &["exec", "r.toml"]));
        let back = env.path().join(format!("data/{name}-back"));
        let expected = std::fs::metadata(env.path().join("data").join(name)).expect("there").len();
        assert_eq!(std::fs::metadata(back).expect("it is there").len(), expected);
    }
    println!("peak of a small object {} KiB, of one of 1 GiB {} KiB", peaks[0], peaks[1]);
    // What the unoptimised program holds of itself is no measure, so the difference counts.
    assert!(peaks[1].saturating_sub(peaks[0]) < 48 << 10, "{peaks:?}");
}
