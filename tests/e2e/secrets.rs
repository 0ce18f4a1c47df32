//! `runbook secret`, and secrets in runs: no output shows one.

use crate::home;
use runbook_tests::http::Receiver;
use std::path::Path;
use std::process::Command;

#[test]
fn a_secret_is_set_and_read_without_being_shown() {
    let env = home();
    let public = env.run(&["secret", "keygen"]).status(0).out("age1").stdout;
    env.run_with_input(
        &["secret", "set", "prod.age#orders-db", "--note", "the orders database"],
        "s3cret\n",
    )
    .status(0)
    .without("s3cret");
    env.run(&["secret", "list", "prod.age"])
        .status(0)
        .out("orders-db")
        .out("the orders database")
        .without("s3cret");
    assert_eq!(env.run(&["secret", "get", "prod.age#orders-db"]).status(0).stdout, "s3cret");
    assert!(!env.read("prod.age").contains("s3cret"));
    assert_eq!(env.read("prod.age.recipients").trim(), public.trim());
}

#[test]
fn the_age_tool_reads_what_we_write() {
    let env = home();
    env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
    env.run_with_input(&with_key(&["secret", "set", "prod.age#token"]), "abc").status(0);
    let age = runbook_tests::program(&["/usr/bin/age", "/usr/local/bin/age"], "age");
    let output = Command::new(age)
        .args(["-d", "-i", "key.txt", "prod.age"])
        .current_dir(env.path())
        .output()
        .expect("age runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("abc"));
}

#[test]
fn a_wrong_key_and_a_wrong_name_are_clear_errors() {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "prod.age#token"], "abc").status(0);
    env.run(&["secret", "get", "prod.age#tokem"]).status(2).err("did you mean `token`?");
    env.run(&["secret", "get", "none.age#token"]).status(2).err("there is no secret store");
    env.run(&["secret", "keygen", "--output", "other.txt"]).status(0);
    env.run(&["--identity", "other.txt", "secret", "get", "prod.age#token"])
        .status(2)
        .err("prod.age")
        .without("abc");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let env = home();
    env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
    std::fs::set_permissions(env.path().join("key.txt"), std::fs::Permissions::from_mode(0o644))
        .expect("a mode can be set");
    env.run(&["--identity", "key.txt", "secret", "list", "x.age"]).status(2);
    env.run_with_input(&["--identity", "key.txt", "secret", "set", "x.age#a"], "abc")
        .status(2)
        .err("chmod 600");
}

#[test]
fn an_empty_value_changes_nothing() {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "prod.age#token"], "\n")
        .status(2)
        .err("the value is empty");
    assert!(!env.path().join("prod.age").exists());
}

fn with_key<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--identity", "key.txt"], arguments].concat()
}

/// Decrypts the store with the `age` program.
fn decrypt_with_age(env: &runbook_tests::env::TestEnv, key: &str) -> Option<String> {
    let age = runbook_tests::program(&["/usr/bin/age", "/usr/local/bin/age"], "age");
    let output = Command::new(age)
        .args(["-d", "-i", key, "prod.age"])
        .current_dir(env.path())
        .output()
        .expect("age runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn only_an_existing_secret_can_be_rotated() {
    let env = home();
    env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
    env.run_with_input(
        &with_key(&["secret", "set", "prod.age#token", "--note", "of the API"]),
        "first",
    )
    .status(0);
    env.run_with_input(&with_key(&["secret", "rotate", "prod.age#tokem"]), "x")
        .status(2)
        .err("nothing was changed");
    env.run_with_input(&with_key(&["secret", "rotate", "prod.age#token"]), "first")
        .status(2)
        .err("is the old one");
    env.run_with_input(&with_key(&["secret", "rotate", "prod.age#token"]), "second")
        .status(0)
        .err("was 0 days old");
    assert_eq!(env.run(&with_key(&["secret", "get", "prod.age#token"])).status(0).stdout, "second");
    env.run(&with_key(&["secret", "list", "prod.age"])).status(0).out("of the API");
    env.run(&with_key(&["secret", "list", "prod.age", "--max-age", "90d"])).status(0);
    env.run(&with_key(&["secret", "list", "prod.age", "--max-age", "0s"])).status(1).out("TOO OLD");
}

#[test]
fn recipients_can_be_added_and_removed_but_not_the_own_key() {
    let env = home();
    let own =
        env.run(&["secret", "keygen", "--output", "key.txt"]).status(0).stdout.trim().to_owned();
    let other =
        env.run(&["secret", "keygen", "--output", "other.txt"]).status(0).stdout.trim().to_owned();
    let ssh = Command::new(runbook_tests::program(&["/usr/bin/ssh-keygen"], "openssh-client"))
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "ops@example", "-f", "id"])
        .current_dir(env.path())
        .status()
        .expect("ssh-keygen runs");
    assert!(ssh.success());
    let ssh = env.read("id.pub").trim().to_owned();
    env.run_with_input(&with_key(&["secret", "set", "prod.age#token"]), "abc").status(0);
    assert_eq!(decrypt_with_age(&env, "other.txt"), None);
    let added = with_key(&["secret", "recipients", "prod.age", "--add", &other, "--add", &ssh]);
    env.run(&added).status(0).out(&own).out(&other).out("ssh-ed25519");
    for key in ["key.txt", "other.txt", "id"] {
        assert!(decrypt_with_age(&env, key).is_some_and(|text| text.contains("abc")), "{key}");
    }
    // An SSH key that the `age` program accepts works here, too.
    env.run(&["--identity", "id", "secret", "get", "prod.age#token"]).status(0).out("abc");
    let remove_own = env.run(&with_key(&["secret", "recipients", "prod.age", "--remove", &own]));
    remove_own.status(2).err("could not open `prod.age` any more").err("nothing was changed");
    env.run(&with_key(&["secret", "recipients", "prod.age", "--remove", &other]))
        .status(0)
        .without(&other)
        .err("rotate");
    assert_eq!(decrypt_with_age(&env, "other.txt"), None);
    assert!(!env.read("prod.age.recipients").contains(&other));
    env.run(&with_key(&["secret", "recipients", "prod.age", "--remove", "age1nobody"]))
        .status(2)
        .err("not among the recipients");
    env.run(&with_key(&["secret", "recipients", "prod.age", "--add", "age1junk"])).status(2);
}

#[test]
fn rekey_encrypts_for_the_keys_in_the_recipients_file() {
    let env = home();
    env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
    let other = env.run(&["secret", "keygen", "--output", "other.txt"]).status(0).stdout;
    env.run_with_input(&with_key(&["secret", "set", "prod.age#token"]), "abc").status(0);
    env.file("prod.age.recipients", &format!("{}{other}", env.read("prod.age.recipients")));
    assert_eq!(
        decrypt_with_age(&env, "other.txt"),
        None,
        "it takes effect when the store is encrypted again"
    );
    env.run(&with_key(&["secret", "rekey", "prod.age"])).status(0).err("for 2 recipients");
    assert!(decrypt_with_age(&env, "other.txt").is_some());
}

#[test]
fn passphrases_can_be_read_from_a_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let env = home();
    let file = env.file("pass.txt", "correct horse battery\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))
        .expect("a mode can be set");
    let with_pass =
        |arguments: &[&'static str]| [&["--passphrase-file", "pass.txt"], arguments].concat();
    env.run_with_input(&with_pass(&["secret", "set", "prod.age#token", "--passphrase"]), "abc")
        .status(0);
    env.run(&with_pass(&["secret", "get", "prod.age#token"])).status(0).out("abc");
    env.run(&["secret", "get", "prod.age#token"]).status(2);
    // An encrypted SSH key is opened the same way.
    let made = Command::new(runbook_tests::program(&["/usr/bin/ssh-keygen"], "openssh-client"))
        .args(["-q", "-t", "ed25519", "-N", "correct horse battery", "-f", "locked"])
        .current_dir(env.path())
        .status()
        .expect("ssh-keygen runs");
    assert!(made.success());
    env.file("ssh.age.recipients", &env.read("locked.pub"));
    let locked = ["--identity", "locked", "--passphrase-file", "pass.txt"];
    env.run_with_input(&[&locked[..], &["secret", "set", "ssh.age#token"]].concat(), "def")
        .status(0);
    env.run(&[&locked[..], &["secret", "get", "ssh.age#token"]].concat()).status(0).out("def");
    env.run(&["--identity", "locked", "secret", "get", "ssh.age#token"]).status(2).without("def");
}

#[test]
fn a_secret_that_is_too_old_is_warned_about_once() {
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#token"], "abcdefgh").status(0);
    let receiver = runbook_tests::http::Receiver::start();
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"t\"\n[secrets.token]\nsource = \"age:s.age#token\"\n\
             max_age = \"1ms\"\n[targets.api]\nhttp = \"http://127.0.0.1:{}\"\n\
             headers = {{ authorization = \"Bearer secret:token\" }}\n[[preflight]]\nid = \"one\"\n\
             uses = \"http:get\"\nbind.target = \"api\"\nwith = {{ path = \"/\" }}\n[[preflight]]\n\
             id = \"two\"\nuses = \"http:get\"\nbind.target = \"api\"\nwith = {{ path = \"/\" }}\n",
            receiver.port
        ),
    );
    let finished = env
        .run(&["exec", "r.toml"])
        .status(0)
        .err("warning: secret `token` is 0 days old")
        .err("runbook secret rotate");
    assert_eq!(finished.stderr.matches("warning: secret").count(), 1);
}

/// Collects the files below a folder that contain a text. Returns the number of all files.
fn files_with(folder: &Path, text: &str, found: &mut Vec<String>) -> usize {
    let mut looked_at = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            looked_at += files_with(&path, text, found);
            continue;
        }
        looked_at += 1;
        let bytes = std::fs::read(&path).expect("a file of our own");
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    looked_at
}

#[test]
fn the_password_of_a_smoke_test_reaches_only_the_server() {
    const PASSWORD: &str = "hunter2 \"quoted\\ & ünïcode";
    // A server that returns the password that it was sent.
    for (body, position, place, expected) in [
        (
            "body = { user = \"probe\", password = \"\" }",
            "json = \"/password\"",
            "/password",
            serde_json::json!({ "user": "probe", "password": PASSWORD }).to_string(),
        ),
        ("form = { user = \"probe\" }", "form = \"password\"", "password", String::new()),
    ] {
        let server = Receiver::start_with_response(
            "200 OK",
            "{\"token\":\"t-1\",\"you_sent\":\"hunter2 \\\"quoted\\\\ & ünïcode\"}",
        );
        let env = home();
        env.run(&["secret", "keygen"]).status(0);
        env.run_with_input(&["secret", "set", "s.age#login"], PASSWORD).status(0);
        let runbook = |position: &str| {
            format!(
                "format = 1\n[runbook]\nname = \"login\"\n[secrets.login]\n\
                 source = \"age:s.age#login\"\n[targets.api]\nhttp = \"http://127.0.0.1:{}\"\n\
                 [targets.word]\nsecret = \"login\"\n\
                 positions = [{{ slot = \"target\", {position} }}]\n[[step]]\nid = \"smoke\"\n\
                 uses = \"smoke:run\"\nbind = {{ target = \"api\", password = \"word\" }}\n\
                 irreversible = \"a session\"\n[[step.with.cases]]\nname = \"log in\"\n\
                 method = \"POST\"\npath = \"/session\"\n{body}\npassword_at = \"{place}\"\n\
                 capture = {{ token = \"token\", said = \"you_sent\" }}\n[[step.with.cases]]\n\
                 name = \"what it said\"\nmethod = \"POST\"\npath = \"/me/${{token}}\"\n\
                 body = {{ said = \"${{said}}\" }}\n\
                 expect = {{ json = {{ token = \"another\" }} }}\n",
                server.port
            )
        };
        env.file("r.toml", &runbook(position));
        // The second case fails, so that the report quotes the answer.
        let done = env.run(&["exec", "r.toml", "--report", "json=all.json", "--yes"]);
        let received = server.received();
        assert_eq!(received[0].line, "POST /session", "{}{}", done.stdout, done.stderr);
        if expected.is_empty() {
            let coded = received[0].body.replace("%20", "+").to_uppercase();
            assert_eq!(
                coded,
                "user=probe&password=hunter2+%22quoted%5C+%26+%C3%BCn%C3%AFcode".to_uppercase()
            );
        } else {
            let sent: serde_json::Value =
                serde_json::from_str(&received[0].body).expect("it is JSON");
            assert_eq!(
                sent,
                serde_json::from_str::<serde_json::Value>(&expected).expect("it is JSON")
            );
        }
        // The plugin did not get the password from the answer, so it could not send it on.
        assert!(
            !received.iter().skip(1).any(|request| request.body.contains("hunter2")),
            "{received:?}"
        );
        done.status(7).without("hunter2");
        let run = env.newest_run();
        for command in [
            &["show", &run][..],
            &["show", &run, "--format", "json"],
            &["audit", "show"],
            &["review", "--used", "r.toml"],
        ] {
            env.run(command).status(0).without("hunter2");
        }
        env.run(&["audit", "show"]).out("+secret:");
        let mut found = Vec::new();
        assert!(files_with(env.path(), "hunter2", &mut found) > 5);
        assert_eq!(found, [""; 0], "the password is in files");
        // If the position is not allowed by the target, the request is not sent.
        let (before, other) = (server.received().len(), "header = \"authorization\"");
        env.file("r.toml", &runbook(other));
        env.run(&["exec", "r.toml", "--yes"]).without("hunter2");
        assert!(
            server.received().iter().skip(before).all(|request| request.line != "POST /session")
        );
    }
}

#[test]
fn a_secret_across_a_truncation_limit_is_in_no_output() {
    // Begin and end are plain ASCII, so that any remaining part can be found.
    const SECRET: &str = "qzjkvwx\"7 %ünïcode\\ wxvkjzq";
    for straddles in [1, 5, 9, 20] {
        let body: &'static str =
            format!("{}{SECRET} and more of it{}", "x".repeat(512 - straddles), "y".repeat(4_000))
                .leak();
        let server = Receiver::start_with_response("200 OK", body);
        let env = home();
        env.run(&["secret", "keygen"]).status(0);
        env.run_with_input(&["secret", "set", "s.age#key"], SECRET).status(0);
        // A program that prints its secret across the limit of its output, and fails.
        let filled = "x".repeat(512 - straddles);
        let program = env.script(
            "df.sh",
            &format!("printf '%s%s, and more\\n' '{filled}' \"$KEY\" | tee /dev/stderr\nexit 1"),
        );
        // In another home, because this runbook contains the secret.
        let elsewhere = home();
        let cell = format!("{filled}{SECRET}")
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        elsewhere.file(
            "fill.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"fill\"\n[targets.shop]\n\
                 sql = \"sqlite:{}/shop.db\"\ncreate = true\n[[step]]\nid = \"fill\"\n\
                 uses = \"sql:transaction\"\nbind.db = \"shop\"\nirreversible = \"new\"\n\
                 with = {{ statements = [\"create table t (a text)\", \"insert into t values \
                 (cast(x'{cell}' as text)), ('more')\"] }}\n",
                env.path().display()
            ),
        );
        elsewhere.run(&["exec", "fill.toml", "--yes"]).status(0);
        env.file(
            "r.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"cut\"\n[secrets.key]\nsource = \"age:s.age#key\"\n\
                 [targets.api]\nhttp = \"http://127.0.0.1:{}\"\n\
                 headers = {{ x-key = \"secret:key\" }}\nmax_body = \"512B\"\n[targets.df]\n\
                 process = \"{}\"\nread_only = true\nmax_output = \"512B\"\n\
                 arguments = [{{ repeat = {{ regex = \".*\" }} }}]\n\
                 environment = {{ KEY = \"secret:key\", PATH = \"/usr/bin:/bin\" }}\n\
                 [targets.shop]\nsql = \"sqlite:shop.db\"\nmax_bytes = \"700B\"\n[[step]]\n\
                 id = \"page\"\nuses = \"http:get\"\nbind.target = \"api\"\n\
                 with = {{ body_equals = \"nothing\" }}\non_failure = \"continue\"\n[[step]]\n\
                 id = \"disk\"\nuses = \"disk:space\"\nbind.program = \"df\"\n\
                 with = {{ paths = [\"/\"] }}\non_failure = \"continue\"\n[[step]]\nid = \"rows\"\n\
                 uses = \"sql:query\"\nbind.db = \"shop\"\n\
                 with = {{ statement = \"select a from t\" }}\n",
                server.port,
                program.display()
            ),
        );
        let reports = ["json=r.json", "junit=r.xml", "markdown=r.md", "html=r.html"];
        let mut arguments = vec!["exec", "r.toml", "-v", "--yes", "--events", "events.jsonl"];
        reports.iter().for_each(|report| arguments.extend(["--report", report]));
        let done = env.run(&arguments);
        assert!(
            server
                .received()
                .iter()
                .any(|request| request.headers.iter().any(|header| header.contains("qzjkvwx"))),
            "{}",
            done.stderr
        );
        for part in ["qzjk", "kjzq", "vkjz"] {
            let run = env.newest_run();
            assert!(
                !done.stdout.contains(part) && !done.stderr.contains(part),
                "{}{}",
                done.stdout,
                done.stderr
            );
            for command in
                [&["show", &run][..], &["show", &run, "--format", "json"], &["audit", "show"]]
            {
                env.run(command).status(0).without(part);
            }
            let mut found = Vec::new();
            files_with(env.path(), part, &mut found);
            found.retain(|file| !file.ends_with("shop.db"));
            assert_eq!(found, [""; 0], "`{part}` of the secret, {straddles} bytes before the cut");
        }
        assert!(env.read("r.json").contains("[secret key]"), "{}", env.read("r.json"));
    }
}

/// `one` changes the database. `two`, after a manual step, needs the secret.
const RUNBOOK_WITH_SECRET: &str = r#"
format = 1
[runbook]
name = "needs"
[defaults]
on_failure = "stop"
[secrets.tok]
source = "age:prod.age#token"
[targets.db]
sql = "sqlite:work.db"
create = true
[targets.api]
http = "http://127.0.0.1:1"
headers = { Authorization = "Bearer secret:tok" }
[[step]]
id = "one"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["create table t (a)"]
undo = { uses = "sql:transaction", bind.db = "db", with.statements = ["drop table t"] }
[[step]]
id = "look"
manual = { instructions = "look", confirm = "I looked" }
[[step]]
id = "two"
uses = "webhook:post"
bind.webhook = "api"
with = { json = { text = "x" } }
irreversible = "a message"
"#;

/// The expected message, and a function that makes the secret unavailable.
type MissingSecretCase = (&'static str, fn(&runbook_tests::env::TestEnv));

/// Each reason why a secret is unavailable.
fn missing_secret_cases() -> [MissingSecretCase; 3] {
    [
        ("there is no secret store", |env| {
            std::fs::remove_file(env.path().join("prod.age")).expect("it is there");
        }),
        ("has no secret `token`", |env| {
            std::fs::remove_file(env.path().join("prod.age")).expect("it is there");
            env.run_with_input(&with_key(&["secret", "set", "prod.age#other"]), "abc").status(0);
        }),
        ("prod.age", |env| {
            std::fs::remove_file(env.path().join("key.txt")).expect("it is there");
            env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
        }),
    ]
}

#[test]
fn a_missing_secret_is_reported_before_the_first_effect_of_a_run_and_of_a_resume() {
    let keyed = || {
        let env = home();
        env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
        env.run_with_input(&with_key(&["secret", "set", "prod.age#token"]), "abc").status(0);
        env.file("r.toml", RUNBOOK_WITH_SECRET);
        env
    };
    for (why, remove_secret) in missing_secret_cases() {
        let env = keyed();
        remove_secret(&env);
        env.run(&with_key(&["exec", "r.toml", "--yes"]))
            .status(3)
            .err(why)
            .err("nothing was begun")
            .err("`two`");
        assert!(!env.path().join("work.db").exists(), "{why}: the first effect happened");
        // `resume` checks the secrets of the remaining steps, and does not change the run.
        let env = keyed();
        env.run(&with_key(&["exec", "r.toml", "--yes"])).status(5);
        let run = env.newest_run();
        env.run(&["answer", &run, "look", "--confirm", "I looked"]).status(0);
        remove_secret(&env);
        env.run(&with_key(&["resume", &run])).status(3).err(why).err("the run is as it was");
        env.run(&["runs"]).status(0).out("paused");
        // A cancel does not need the secret.
        env.run(&with_key(&["cancel", &run, "--yes"])).status(0).out("Cancelled.");
    }
    let env = home();
    env.file("r.toml", RUNBOOK_WITH_SECRET);
    env.run(&["validate", "r.toml"]).status(0).err("there is no secret store").err("target `api`");
    env.run(&["exec", "r.toml", "--dry-run"])
        .status(0)
        .out("cannot say")
        .out("there is no secret store");
}
