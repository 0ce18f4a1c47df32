//! Signed plugins: where a trust file is in force, only plugins with an accepted signature run.

use crate::{home, renamed_plugin};
use runbook_tests::env::TestEnv;

fn env() -> (TestEnv, String) {
    let env = home();
    std::fs::write(env.path().join("mine.wasm"), renamed_plugin("sql", "our"))
        .expect("a file can be written");
    env.file("shop.db", "");
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"check\"\n[targets.shop]\nsql = \"sqlite:shop.db\"\n\
         [[preflight]]\nid = \"there\"\nuses = \"./mine.wasm:query\"\nbind.db = \"shop\"\n\
         with = { statement = \"select 1 as one\" }\n",
    );
    let public = env
        .run(&["plugin", "keygen", "--output", "team.key"])
        .status(0)
        .out("ed25519:")
        .stdout
        .trim()
        .to_owned();
    (env, public)
}

fn trust(env: &TestEnv, public: &str, plugins: &str, more: &str) {
    env.file(
        "trust.toml",
        &format!(
            "format = 1\n[[key]]\nname = \"team\"\npublic = \"{public}\"\n\
                  plugins = {plugins}\n{more}"
        ),
    );
}

const EXEC: &[&str] = &["exec", "--trust", "trust.toml", "r.toml"];

#[test]
fn a_plugin_runs_when_an_accepted_key_has_signed_it() {
    let (env, public) = env();
    trust(&env, &public, "[\"our\"]", "");
    env.run(EXEC).status(6).err("plugin `our`").err("is not signed").err("runbook plugin sign");
    env.run(&["plugin", "sign", "mine.wasm", "--key", "team.key"]).status(0).out("mine.wasm.sig");
    env.run(EXEC).status(0);
    env.run(&["plugin", "verify", "--trust", "trust.toml", "mine.wasm"])
        .status(0)
        .out("trusted, signed by `team`");
    env.run(&["plugin", "inspect", "--trust", "trust.toml", "./mine.wasm"])
        .status(0)
        .out("accepted for this plugin");
    // A bundled plugin is a part of the program.
    env.file("r.toml", &env.read("r.toml").replace("./mine.wasm:query", "sql:query"));
    env.run(EXEC).status(0);
}

/// Without a trust file, a wrong signature is a finding and a missing one is not.
#[test]
fn a_wrong_signature_is_a_finding_with_and_without_a_trust_file() {
    let (env, public) = env();
    trust(&env, &public, "[\"our\"]", "");
    let audit =
        |more: &[&str]| env.run(&[more, &["review", "--fail-on", "high", "r.toml"]].concat());
    let (good, signature) = (renamed_plugin("sql", "our"), "mine.wasm.sig");
    audit(&[]).status(0).without("RB020");
    env.run(&["plugin", "sign", "mine.wasm", "--key", "team.key"]).status(0);
    audit(&[]).status(0).without("RB020").without("RB015");
    audit(&["--trust", "trust.toml"]).status(0).without("RB020").without("RB015");
    let signed = env.read(signature);
    // A changed file with the old signature, and the old file with a changed signature.
    let changed = [good.as_slice(), &[0, 2, 1, b'x']].concat();
    let hex = |from: &str, to: &str| signed.replacen(from, to, 1);
    let digit =
        signed.split("sha256:").nth(1).and_then(|rest| rest.chars().next()).expect("a digest");
    let other = if digit == '0' { "1" } else { "0" };
    let cases = [
        (changed, signed.clone()),
        (good.clone(), hex(&format!("sha256:{digit}"), &format!("sha256:{other}"))),
    ];
    for (bytes, signature_text) in cases {
        std::fs::write(env.path().join("mine.wasm"), bytes).expect("a file can be written");
        env.file(signature, &signature_text);
        for more in [&[][..], &["--trust", "trust.toml"]] {
            audit(more).status(1).out("RB020 wrongly-signed").out("NOT good").without("RB015");
        }
    }
    env.run(EXEC).status(6).err("put back the file that was signed");
}

#[test]
fn a_changed_component_a_strange_key_and_another_plugin_are_refused() {
    let (env, public) = env();
    trust(&env, &public, "[\"our\"]", "");
    env.run(&["plugin", "sign", "mine.wasm", "--key", "team.key"]).status(0);
    std::fs::write(
        env.path().join("mine.wasm"),
        [renamed_plugin("sql", "our").as_slice(), &[0, 2, 1, b'x']].concat(),
    )
    .expect("a file can be written");
    env.run(EXEC).status(6).err("it was changed after");
    std::fs::write(env.path().join("mine.wasm"), renamed_plugin("sql", "our"))
        .expect("a file can be written");
    env.run(&["plugin", "keygen", "--output", "stranger.key"]).status(0);
    env.run(&["plugin", "sign", "mine.wasm", "--key", "stranger.key"]).status(0);
    env.run(EXEC).status(6).err("its signature is good, but key");
    env.run(&["plugin", "sign", "mine.wasm", "--key", "team.key"]).status(0);
    trust(&env, &public, "[\"other\"]", "");
    env.run(EXEC).status(6).err("is accepted for `other`");
    trust(&env, &public, "[\"our\"]", "expires = 2020-01-01\n");
    env.run(EXEC).status(6).err("was accepted until 2020-01-01");
    env.file("trust.toml", "format = 1\n[[key]]\nname = \"x\"\n");
    env.run(EXEC).status(6).err("has no `public`");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let (env, _) = env();
    std::fs::set_permissions(env.path().join("team.key"), std::fs::Permissions::from_mode(0o644))
        .expect("a mode can be set");
    env.run(&["plugin", "sign", "mine.wasm", "--key", "team.key"]).status(2).err("chmod 600");
    env.run(&["plugin", "keygen", "--output", "team.key"]).status(2);
}

#[test]
fn world_writable_files_that_decide_what_runs_are_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let (env, public) = env();
    trust(&env, &public, "[\"our\"]", "");
    env.file(
        "boundary.toml",
        "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\n\
         engines = [\"sqlite\"]\n",
    );
    env.run(&["plugin", "sign", "mine.wasm", "--key", "team.key"]).status(0);
    let mode = |file: &str, mode: u32| {
        std::fs::set_permissions(env.path().join(file), std::fs::Permissions::from_mode(mode))
            .expect("it is ours");
    };
    let arguments = ["validate", "--trust", "trust.toml", "--boundary", "boundary.toml", "r.toml"];
    env.run(&["lock", "r.toml"]).status(0);
    mode("", 0o755);
    let files = [
        ("the lockfile", "runbook.lock"),
        ("the boundary", "boundary.toml"),
        ("the trust file", "trust.toml"),
        ("the plugin", "mine.wasm"),
    ];
    for (_, file) in files {
        mode(file, 0o664);
    }
    env.run(&arguments).status(0).without("everybody on this host");
    for (what, file) in files {
        mode(file, 0o666);
        let said = env
            .run(&arguments)
            .status(0)
            .err(&format!("everybody on this host can change {what}"))
            .err("chmod o-w")
            .stderr;
        assert_eq!(said.matches("everybody on this host").count(), 1, "{said}");
        mode(file, 0o664);
    }
    mode("", 0o777);
    let said = env.run(&arguments).status(0).stderr;
    for (what, _) in files {
        assert!(said.contains(&format!("everybody on this host can replace {what}")), "{said}");
    }
    // In a folder such as /tmp only the owner of a file may replace it.
    mode("", 0o1777);
    env.run(&arguments).status(0).without("everybody on this host");
}
