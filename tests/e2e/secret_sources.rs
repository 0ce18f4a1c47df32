//! The sources of secrets beside an age store: each read by the real program, reviewed, bounded,
//! and hostile.

use crate::{home, repository};
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use runbook_tests::http::Receiver;
use runbook_tests::vault::{Behavior, ROLE_ID, SECRET_ID, TOKEN, VaultServer};
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

const VALUE: &str = "qzjkvwx-7-wxvkjzq";

/// A runbook that sends secret `a` to a server, with these keys of the secret and these targets.
fn runbook(port: u16, secret: &str, targets: &str) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"t\"\n{targets}\n[targets.api]\n\
         http = \"http://127.0.0.1:{port}\"\nauth = {{ bearer = \"secret:a\" }}\n[[preflight]]\n\
         id = \"look\"\nuses = \"http:get\"\nbind.target = \"api\"\nwith = {{ path = \"/\" }}\n\
         [secrets.a]\n{secret}\n"
    )
}

fn private_file(env: &TestEnv, name: &str, text: &str) {
    let path = env.file(name, text);
    std::fs::set_permissions(path, Permissions::from_mode(0o400)).expect("a file of our own");
}

/// Runs the program with credentials of systemd in the folder `creds`, and the variable `TOKEN_A`.
fn run(env: &TestEnv, arguments: &[&str]) -> ProgramOutput {
    let mut command = env.command(arguments);
    command.env("CREDENTIALS_DIRECTORY", env.path().join("creds")).env("TOKEN_A", VALUE);
    finish(command.output().expect("the program starts"))
}

/// A home with the key and the files of `tests/sops`.
fn home_with_sops() -> TestEnv {
    let env = home();
    let files = repository().join("tests/sops");
    for name in ["key.txt", "prod.yaml", "prod.json", "prod.env"] {
        let text = std::fs::read_to_string(files.join(name)).expect("it is in the repository");
        private_file(&env, name, &text);
    }
    env
}

/// A program that prints the value, as `pass show` does.
fn pass(env: &TestEnv, commands: &str) -> String {
    let program = env.script("pass.sh", commands);
    format!(
        "[targets.pass]\nprocess = \"{}\"\narguments = [\"show\", {{ regex = \"[a-z/]+\" }}]\n",
        program.display()
    )
}

const PASS: &str = "source = \"exec:pass\"\narguments = [\"show\", \"orders/db\"]";

fn vault(port: u16) -> String {
    format!(
        "[secrets.role]\nsource = \"systemd:secret-id\"\n[targets.vault]\n\
         http = \"http://127.0.0.1:{port}\"\n\
         auth = {{ vault-approle = {{ role_id = \"{ROLE_ID}\", secret_id = \"secret:role\" }} }}\n"
    )
}

const VAULT: &str =
    "source = \"vault:vault\"\nmount = \"kv\"\npath = \"orders/db\"\nfield = \"password\"";

/// The bearer tokens that a server got.
fn bearers(server: &Receiver) -> Vec<String> {
    let requests = server.received();
    let headers = requests.iter().flat_map(|request| &request.headers);
    headers
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .map(|(_, value)| value.to_owned())
        .collect()
}

#[test]
fn each_source_gives_its_secret_to_the_server_and_to_no_output() {
    let env = home_with_sops();
    private_file(&env, "creds/token", &format!("{VALUE}\n"));
    private_file(&env, "creds/secret-id", SECRET_ID);
    let program = pass(&env, &format!("test \"$1 $2\" = 'show orders/db' && echo {VALUE}"));
    let kv = VaultServer::start(VALUE, Behavior::Unsealed);
    let of_vault = vault(kv.port);
    let token_vault = format!(
        "[secrets.token]\nsource = \"systemd:vault\"\n[targets.vault]\n\
         http = \"http://127.0.0.1:{}\"\nheaders = {{ X-Vault-Token = \"secret:token\" }}\n",
        kv.port
    );
    private_file(&env, "creds/vault", TOKEN);
    for (secret, targets, value) in [
        ("source = \"systemd:token\"", "", VALUE),
        ("source = \"env:TOKEN_A\"", "", VALUE),
        ("source = \"sops:prod.yaml#orders/token\"", "", "token-of-the-yaml-file"),
        ("source = \"sops:prod.json#orders/token\"", "", "token-of-the-json-file"),
        ("source = \"sops:prod.env#ORDERS_TOKEN\"", "", "token-of-the-dotenv-file"),
        (PASS, program.as_str(), VALUE),
        (VAULT, &of_vault, VALUE),
        (VAULT, &token_vault, VALUE),
        (&format!("{VAULT}\nversion = 2").replace("\"password\"", "\"port\""), &of_vault, "5432"),
    ] {
        let server = Receiver::start();
        env.file("r.toml", &runbook(server.port, secret, targets));
        let reports = ["--report", "json=all.json", "--report", "markdown=all.md"];
        let base = ["--identity", "key.txt", "exec", "r.toml", "--yes", "-v"];
        let done = run(&env, &[&base[..], &reports].concat());
        assert_eq!(done.status, 0, "{secret}: {}{}", done.stdout, done.stderr);
        assert_eq!(bearers(&server), [format!("Bearer {value}")], "{secret}");
        if value.len() > 4 {
            let shown = [&done.stdout, &done.stderr, &env.read("all.json"), &env.read("all.md")];
            assert!(!shown.iter().any(|text| text.contains(value)), "{secret}: {shown:?}");
        }
        if !targets.is_empty() {
            // The read of the host is in the audit log, without a value.
            let call = if secret == PASS { "process.run" } else { "/v1/kv/data/orders/db" };
            run(&env, &["audit", "show"]).status(0).out("secrets.a").out(call).without(VALUE);
        }
        for text in [SECRET_ID, TOKEN] {
            assert!(!done.stderr.contains(text) && !done.stdout.contains(text), "{secret}");
        }
    }
    let requests = kv.requests();
    assert_eq!(requests[0], "POST /v1/auth/approle/login");
    assert_eq!(requests[1], "GET /v1/kv/data/orders/db");
    assert!(requests.contains(&"GET /v1/kv/data/orders/db?version=2".to_owned()), "{requests:?}");
}

/// The error of a run whose secret has these keys; nothing was sent to the server.
fn refusal(env: &TestEnv, secret: &str, targets: &str) -> String {
    let server = Receiver::start();
    env.file("r.toml", &runbook(server.port, secret, targets));
    let done = run(env, &["--identity", "key.txt", "exec", "r.toml", "--yes"]);
    assert_ne!(done.status, 0, "{secret}: {}{}", done.stdout, done.stderr);
    assert!(server.received().is_empty(), "{secret}: {}", done.stderr);
    let text = format!("{}{}", done.stdout, done.stderr);
    assert!(!text.contains(VALUE) && !text.contains(SECRET_ID), "{secret}: {text}");
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn refused(env: &TestEnv, secret: &str, targets: &str, why: &str) {
    let text = refusal(env, secret, targets);
    assert!(text.contains(why), "{secret}: no `{why}` in: {text}");
}

#[test]
fn a_credential_that_others_can_change_or_read_or_that_is_no_file_is_refused() {
    let env = home_with_sops();
    let set = |name: &str, mode| {
        let path = env.file(&format!("creds/{name}"), VALUE);
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of our own");
    };
    for (mode, why) in [(0o404, "is open to others"), (0o420, "is open to others")] {
        set("token", mode);
        refused(&env, "source = \"systemd:token\"", "", why);
    }
    std::os::unix::fs::symlink("token", env.path().join("creds/link")).expect("a link");
    std::fs::create_dir(env.path().join("creds/folder")).expect("a folder");
    private_file(&env, "creds/empty", "");
    private_file(&env, "creds/newline", "\n");
    private_file(&env, "creds/huge", &"x".repeat((1 << 20) + 1));
    private_file(&env, "creds/two-lines", &format!("{VALUE}\n{VALUE}\n"));
    private_file(&env, "creds/nul", &format!("{VALUE}\0{VALUE}"));
    for (name, why) in [
        ("link", "is not a file, or is a link"),
        ("folder", "is not a file, or is a link"),
        ("empty", "is empty at its source"),
        ("newline", "is empty at its source"),
        ("huge", "is too big"),
        ("missing", "there is no credential"),
        ("two-lines", "a character that no header may have"),
        ("nul", "a character that no header may have"),
    ] {
        refused(&env, &format!("source = \"systemd:{name}\""), "", why);
    }
    let mut command = env.command(&["exec", "r.toml", "--yes"]);
    command.env("CREDENTIALS_DIRECTORY", "creds");
    let relative = finish(command.output().expect("the program starts"));
    assert!(relative.stderr.contains("names no folder"), "{}", relative.stderr);
    refused(&env, "source = \"env:NOT_THERE\"", "", "has no variable `NOT_THERE`");
}

#[test]
fn a_program_that_fails_floods_or_never_ends_gives_no_secret_and_shows_none() {
    let env = home_with_sops();
    let said = format!("echo {VALUE}; echo \"cannot: {VALUE} is bad\" >&2; exit 3");
    for (commands, limits, why) in [
        (said.as_str(), "", "ended with exit code 3: cannot:"),
        ("exit 1", "", "ended with exit code 1"),
        ("true", "", "is empty at its source"),
        ("echo", "", "is empty at its source"),
        ("yes", "max_output = \"4KiB\"\ntimeout = \"2s\"\n", "it did not end within"),
        ("head -c 5000 /dev/zero", "max_output = \"4KiB\"\n", "printed more than 4096 bytes"),
        ("sleep 600", "timeout = \"1s\"\n", "it did not end within 1s and was killed"),
        ("kill -9 $$", "", "exit code 137"),
        ("printf 'a\\000b'", "", "a character that no header may have"),
    ] {
        let target = pass(&env, commands) + limits;
        refused(&env, PASS, &target, why);
    }
    // It gets the variables of its target and none of the host.
    let target =
        pass(&env, "echo \"<$TOKEN_A$HOME$ORDERS>\"") + "environment = { ORDERS = \"x\" }\n";
    let server = Receiver::start();
    env.file("r.toml", &runbook(server.port, PASS, &target));
    run(&env, &["exec", "r.toml", "--yes"]).status(0);
    assert_eq!(bearers(&server), ["Bearer <x>"]);
}

#[test]
fn a_vault_that_is_sealed_refuses_or_is_something_else_gives_its_reason() {
    let env = home_with_sops();
    private_file(&env, "creds/secret-id", SECRET_ID);
    let kv = VaultServer::start(VALUE, Behavior::Unsealed);
    let targets = vault(kv.port);
    let keys = |from: &str, to: &str| VAULT.replace(from, to);
    for (secret, why) in [
        (keys("orders/db", "orders/other"), "has no such secret (status 404)"),
        (keys("\"password\"", "\"pasword\""), "has no field `pasword`"),
        (keys("\"password\"", "\"nested\""), "has no text in field `nested`"),
        (keys("\"kv\"", "\"old\""), "check `mount`"),
        (format!("{VAULT}\nversion = 1"), "it was deleted at 2026-06-01T00:00:00Z"),
    ] {
        refused(&env, &secret, &targets, why);
    }
    refused(&env, VAULT, &targets.replace(ROLE_ID, "another"), "invalid role or secret ID");
    let bad_token = format!(
        "[targets.vault]\nhttp = \"http://127.0.0.1:{}\"\nauth = {{ bearer = \"secret:t\" }}\n\
         [secrets.t]\nsource = \"systemd:secret-id\"\n",
        kv.port
    );
    refused(&env, VAULT, &bad_token, "refused the token (status 403: permission denied)");
    for (behavior, why) in [
        (Behavior::Sealed, "is sealed or in maintenance"),
        (Behavior::ErrorPage(200), "answered without a token"),
        (Behavior::ErrorPage(502), "answered with status 502"),
    ] {
        let server = VaultServer::start(VALUE, behavior);
        refused(&env, VAULT, &vault(server.port), why);
    }
    let page = VaultServer::start(VALUE, Behavior::ErrorPage(200));
    let target = bad_token.replace(&kv.port.to_string(), &page.port.to_string());
    refused(&env, VAULT, &target, "answered without a secret of a KV store");
    let empty = VaultServer::start("", Behavior::Unsealed);
    refused(&env, VAULT, &vault(empty.port), "is empty at its source");
    let target = targets.replace("auth =", "max_body = \"100B\"\nauth =");
    refused(&env, VAULT, &target, "answered with more than `max_body`");
}

#[test]
fn a_sops_file_that_was_changed_or_that_no_key_opens_gives_no_value() {
    let env = home_with_sops();
    let sops = "source = \"sops:prod.yaml#orders/token\"";
    refused(&env, "source = \"sops:prod.yaml#orders/nothing\"", "", "has no value at");
    refused(&env, "source = \"sops:prod.yaml#region_unencrypted\"", "", "is not encrypted");
    refused(&env, "source = \"sops:none.yaml#a\"", "", "there is no file");
    let changed =
        env.read("prod.yaml").replace("region_unencrypted: north", "region_unencrypted: south");
    env.file("changed.yaml", &changed);
    refused(&env, "source = \"sops:changed.yaml#orders/token\"", "", "was changed after `sops`");
    std::fs::remove_file(env.path().join("key.txt")).expect("it is there");
    env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
    refused(&env, sops, "", "is not encrypted to any of your keys");
}

/// What each source reads stands in the review, in the lockfile and in the boundary; another one
/// is a difference that a locked run refuses.
#[test]
fn every_source_is_reviewed_compared_locked_and_bounded() {
    let env = home();
    let folder = env.path().canonicalize().expect("it is there");
    let program = pass(&env, "echo x");
    let of_vault = vault(8200);
    let below = |scheme: &str, rest: &str| format!("{scheme}:{}/{rest}", folder.display());
    for (targets, secret, other, meaning) in [
        (
            "",
            "source = \"sops:a.yaml#b/c\"".to_owned(),
            ("#b/c", "#b/d"),
            below("sops", "a.yaml#b/c"),
        ),
        (
            "",
            "source = \"systemd:b\"".to_owned(),
            ("systemd:b", "systemd:c"),
            "systemd:b".to_owned(),
        ),
        ("", "source = \"env:B\"".to_owned(), ("env:B", "env:C"), "env:B".to_owned()),
        (
            &program,
            PASS.to_owned(),
            ("orders/db", "orders/root"),
            below("exec", "pass.sh [\"show\",\"orders/db\"]"),
        ),
        (
            &of_vault,
            VAULT.to_owned(),
            ("orders/db", "orders/root"),
            "vault:http://127.0.0.1:8200/v1/kv/data/orders/db#password".to_owned(),
        ),
    ] {
        env.file("r.toml", &runbook(1, &secret, targets));
        let review = env.run(&["review", "r.toml"]).status(0).stdout;
        assert!(review.contains(&format!("secret:a is {meaning}")), "{meaning}: {review}");
        assert_eq!(review.contains("RB028"), secret.contains("env:"), "{review}");
        let needs_target = !targets.is_empty();
        let has_row = review.split_whitespace().any(|word| word == "secrets.a");
        assert_eq!(has_row, needs_target, "{review}");
        env.run(&["lock", "r.toml"]).status(0);
        env.run(&["validate", "--locked", "r.toml"]).status(0);
        env.file("r.toml", &runbook(1, &secret.replace(other.0, other.1), targets));
        env.run(&["validate", "--locked", "r.toml"]).status(6).err(other.1);
        env.file("other.toml", &runbook(1, &secret, targets));
        env.run(&["review", "--diff", "other.toml", "r.toml"]).status(1).out("widened");
        std::fs::remove_file(env.path().join("runbook.lock")).expect("it was written");
        let boundary = |secrets: &str, rest: &str| {
            format!(
                "format = 1\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
                 hosts = [\"127.0.0.1\"]\nschemes = [\"http\"]\naddresses = [\"loopback\"]\n\
                 headers = [\"authorization\"]\nports = [1]\nsecrets = ['{secrets}']\n\
                 tls = [\"disable\"]\n{rest}"
            )
        };
        env.file("r.toml", &runbook(1, &secret, targets));
        let validate = ["validate", "--boundary", "b.toml", "r.toml"];
        env.file("b.toml", &boundary("*#nothing", ""));
        env.run(&validate).status(6).err("E0120");
        env.file("b.toml", &boundary(&meaning, ""));
        let done = env.run(&validate);
        if needs_target {
            // What reads the secret is beyond the boundary, too.
            done.status(6).err("slot `secrets.a`");
            let process = "[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\n\
                           programs = [\"*\"]\narguments = [[\"show\", \"orders/db\"]]\n";
            let server = "[[allow]]\ncapability = \"http\"\nverbs = [\"get\", \"post\"]\n\
                          hosts = [\"127.0.0.1\"]\nschemes = [\"http\"]\nports = [8200]\n\
                          addresses = [\"loopback\"]\nheaders = [\"authorization\"]\n\
                          tls = [\"disable\"]\nsecrets = [\"systemd:secret-id\"]\n\
                          paths = [\"/v1/kv/data/orders/db\", \"/v1/auth/approle/login\"]\n";
            env.file("b.toml", &boundary(&meaning, &format!("{process}{server}")));
            env.run(&validate).status(0);
        } else {
            done.status(0);
        }
    }
}

/// A program that may change something is run for a secret by nothing that is to change nothing,
/// and not before the run may change something: inside of its window, and after the approval.
#[test]
fn a_program_that_may_change_something_is_run_for_a_secret_only_by_a_call_of_a_run() {
    let env = home();
    let program = pass(&env, &format!("echo run >> ran; echo {VALUE}")) + "directory = \".\"\n";
    let server = Receiver::start();
    let text = runbook(server.port, PASS, &program);
    env.file("r.toml", &text);
    let has_run = || env.path().join("ran").exists();
    for (arguments, said) in [
        (&["validate", "r.toml"][..], "ok"),
        (&["review", "r.toml"], "secrets.a"),
        (&["plan", "r.toml"], "exec:pass"),
        (&["exec", "r.toml", "--dry-run"], "which may change something"),
        (&["doctor", "--targets", "r.toml"], "not tried: secret `a` cannot be had"),
        (&["lock", "r.toml"], ""),
    ] {
        let done = env.run(arguments).status(0);
        assert!(done.stdout.contains(said), "{arguments:?}: {}", done.stdout);
        assert!(!has_run() && server.received().is_empty(), "{arguments:?}");
    }
    std::fs::remove_file(env.path().join("runbook.lock")).expect("it was written");
    // Outside of its window a run is refused.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let day = (now.date() + jiff::Span::new().days(3)).strftime("%a").to_string().to_lowercase();
    let window = format!(
        "[window]\nallow = [{{ days = \"{day}\", from = \"03:00\", to = \"03:01\", zone = \"UTC\" }}]\n"
    );
    env.file("w.toml", &format!("{text}{window}"));
    env.run(&["exec", "w.toml", "--yes"]).status(6);
    assert!(!has_run(), "outside of the window");
    // A step that waits for an approval.
    let step = "[[step]]\nid = \"look\"\nuses = \"http:post\"\nirreversible = \"sent\"\n\
                approval = { quorum = 2 }\n";
    let look = "[[preflight]]\nid = \"look\"\nuses = \"http:get\"\n";
    let approved = text.replace(look, step).replace("path = \"/\"", "path = \"/\", body = \"{}\"");
    env.file("a.toml", &approved);
    env.run(&["exec", "a.toml", "--yes"]).status(5);
    assert!(!has_run() && server.received().is_empty(), "before the approval");
    // The call of a run gets it.
    env.run(&["exec", "r.toml", "--yes"]).status(0);
    assert!(has_run());
    assert_eq!(bearers(&server), [format!("Bearer {VALUE}")]);
    // One that can change nothing is run whenever a probe needs it.
    let reading = pass(&env, &format!("echo {VALUE}")) + "read_only = true\n";
    env.file("r.toml", &runbook(server.port, PASS, &reading));
    env.run(&["exec", "r.toml", "--dry-run"]).status(0);
    assert_eq!(bearers(&server).len(), 2);
    env.run(&["doctor", "--targets", "r.toml"]).status(0);
    assert_eq!(bearers(&server).len(), 3);
}

#[test]
fn a_key_that_a_plugin_of_age_holds_opens_a_store_and_is_asked_for_once() {
    let env = home();
    let plugin = repository().join("tests/age/age-plugin-runbooktest");
    let folder = env.path().join("bin");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(&plugin, folder.join("age-plugin-runbooktest")).expect("it is there");
    let log = env.path().join("plugin.log");
    let with_plugin = |arguments: &[&str], input: &str| {
        let mut command = env.command(arguments);
        let path = format!("{}:/usr/bin:/bin", folder.display());
        command.env("PATH", path).env("AGE_PLUGIN_LOG", &log).stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        finish(child.wait_with_output().expect("it ends"))
    };
    let data = |name: &str| {
        std::fs::read_to_string(repository().join("tests/age").join(name)).expect("it is there")
    };
    private_file(&env, "token.txt", &data("identity.txt"));
    private_file(&env, "pin.txt", "123456\n");
    env.file("prod.age.recipients", &data("recipient.txt"));
    with_plugin(&["--identity", "token.txt", "secret", "set", "prod.age#a"], VALUE).status(0);
    let get = ["--identity", "token.txt", "--passphrase-file", "pin.txt"];
    let got = with_plugin(&[&get[..], &["secret", "get", "prod.age#a"]].concat(), "").status(0);
    assert_eq!(got.stdout, VALUE);
    // What the token says is shown. Only its first question is answered: a token may lock itself
    // after some wrong answers.
    assert!(got.stderr.contains("touch the token"), "{}", got.stderr);
    assert_eq!(env.read("plugin.log"), "-> ok MTIzNDU2\n-> fail \n");
    // Without the program, the message names it.
    env.run(&["--identity", "token.txt", "secret", "get", "prod.age#a"])
        .status(2)
        .err("age-plugin-runbooktest")
        .err("is not in PATH");
}
