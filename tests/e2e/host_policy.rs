//! The limits in `/etc/runbook` hold for everybody: flags and variables can add limits but not
//! replace them.
//!
//! No flag or variable can name another folder. So these tests run the real program in a mount
//! namespace of its own (`unshare`), whose `/etc/runbook` is a folder of the test.

use crate::{bundled, home};
use runbook_tests::env::{ProgramOutput, TestEnv};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const RUNBOOK: &str = r#"format = 1
[runbook]
name = "check"
[targets.shop]
sql = "sqlite:shop.db"
create = true
[[step]]
id = "write"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table if not exists t (x)"] }
irreversible = "an example"
"#;

const WIDE: &str = "format = 1\n[[allow]]\ncapability = \"sql\"\n\
                    verbs = [\"query\", \"transaction\"]\nsuperuser = true\n";
const NARROW: &str = "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\n";

/// A shell script that builds an `/etc` with the entries of the host except `runbook`, and then
/// executes the program.
const NAMESPACE: &str = r#"set -e
mkdir -p "$HOME/etc-of-host" "$HOME/policy"
mount --make-rprivate /
mount --bind /etc "$HOME/etc-of-host"
mount -t tmpfs tmpfs /etc
for entry in "$HOME/etc-of-host"/*; do
  case "$entry" in */runbook) ;; *) ln -s "$entry" /etc/ ;; esac
done
cp -a "$HOME/policy" /etc/runbook
exec "$@""#;

/// Runs the program on a host whose `/etc/runbook` is the folder `policy` of the home.
fn run_with_policy(env: &TestEnv, variables: &[(&str, &str)], arguments: &[&str]) -> ProgramOutput {
    std::fs::create_dir_all(env.path().join("policy")).expect("a folder can be made");
    let program = env.command(arguments);
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--mount", "--", "sh", "-c", NAMESPACE, "sh"])
        .arg(program.get_program())
        .args(program.get_args());
    command.env_clear().current_dir(env.path());
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(variables.iter().copied());
    let output = command.output().expect("`unshare` of util-linux runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !stderr.contains("unshare:") && !stderr.contains("mount:"),
        "no namespace could be made: {stderr}"
    );
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    ProgramOutput { status: output.status.code().unwrap_or(-1), stdout, stderr }
}

/// Variables and flags.
type Override = (&'static [(&'static str, &'static str)], &'static [&'static str]);

fn env() -> TestEnv {
    let env = home();
    env.file("r.toml", RUNBOOK);
    env.file("wide.toml", WIDE);
    env.file("narrow.toml", NARROW);
    env
}

#[test]
fn no_flag_and_no_variable_replaces_the_boundary_of_the_host() {
    let env = env();
    env.file("policy/boundary.toml", NARROW);
    let ways: [Override; 5] = [
        (&[], &[]),
        (&[], &["--boundary", "wide.toml"]),
        (&[("RUNBOOK_BOUNDARY", "wide.toml")], &[]),
        (&[("XDG_CONFIG_HOME", "/nowhere"), ("XDG_CONFIG_DIRS", "/nowhere")], &[]),
        (&[("RUNBOOK_BOUNDARY", "wide.toml")], &["--boundary", "wide.toml"]),
    ];
    for (variables, flags) in ways {
        for command in ["exec", "validate", "plan"] {
            let refused = run_with_policy(&env, variables, &[flags, &[command, "r.toml"]].concat());
            refused.status(6).err("/etc/runbook/boundary.toml").without("Succeeded");
        }
        run_with_policy(&env, variables, &[flags, &["review", "r.toml"]].concat()).status(6);
    }
    assert!(!env.path().join("shop.db").exists(), "something was done");
}

#[test]
fn an_operator_can_be_stricter_than_the_host() {
    let env = env();
    env.file("policy/boundary.toml", WIDE);
    run_with_policy(&env, &[], &["exec", "r.toml"]).status(0);
    run_with_policy(&env, &[], &["--boundary", "wide.toml", "exec", "r.toml"]).status(0);
    run_with_policy(&env, &[], &["--boundary", "narrow.toml", "exec", "r.toml"])
        .status(6)
        .err("narrow.toml");
    run_with_policy(&env, &[("RUNBOOK_BOUNDARY", "narrow.toml")], &["exec", "r.toml"])
        .status(6)
        .err("narrow.toml");
}

#[test]
fn an_unreadable_host_policy_stops_every_run() {
    for file in ["boundary.toml", "trust.toml", "settings.toml"] {
        // A link to nothing, a directory, and a text that is none.
        let env = env();
        let path = env.path().join("policy").join(file);
        std::fs::create_dir_all(env.path().join("policy")).expect("a folder can be made");
        symlink("nowhere.toml", &path).expect("a link can be made");
        run_with_policy(&env, &[], &["exec", "r.toml"]).status(6).err(file);
        std::fs::remove_file(&path).expect("removable");
        std::fs::create_dir(&path).expect("a folder can be made");
        run_with_policy(&env, &[], &["exec", "r.toml"]).status(6).err(file);
        std::fs::remove_dir(&path).expect("removable");
        env.file(&format!("policy/{file}"), "format = 99\n");
        run_with_policy(&env, &[], &["exec", "r.toml"]).status(6).err("99");
        assert!(!env.path().join("shop.db").exists(), "something was done");
    }
}

#[test]
fn every_trust_file_must_accept_a_plugin() {
    let env = env();
    std::fs::write(env.path().join("mine.wasm"), bundled("sql")).expect("a file can be written");
    env.file("r.toml", &RUNBOOK.replace("sql:transaction", "./mine.wasm:transaction"));
    let key = |name: &str| {
        let made = env.run(&["plugin", "keygen", "--output", &format!("{name}.key")]).status(0);
        format!(
            "format = 1\n[[key]]\nname = \"{name}\"\npublic = \"{}\"\nplugins = [\"*\"]\n",
            made.stdout.trim()
        )
    };
    let (ours, theirs) = (key("host"), key("operator"));
    env.file("policy/trust.toml", &ours);
    env.file("own.toml", &theirs);
    env.run(&["plugin", "sign", "mine.wasm", "--key", "operator.key"]).status(0);
    // The operator's own trust file accepts it, and that of the host does not.
    for (variables, flags) in
        [(&[][..], &["--trust", "own.toml"][..]), (&[("RUNBOOK_TRUST", "own.toml")], &[])]
    {
        let refused = run_with_policy(&env, variables, &[flags, &["exec", "r.toml"]].concat());
        refused.status(6).err("its signature is good, but key").err("/etc/runbook/trust.toml");
        run_with_policy(&env, variables, &[flags, &["plugin", "verify", "mine.wasm"]].concat())
            .status(6);
    }
    env.run(&["plugin", "sign", "mine.wasm", "--key", "host.key"]).status(0);
    run_with_policy(&env, &[], &["exec", "r.toml"]).status(0);
    run_with_policy(&env, &[], &["--trust", "own.toml", "exec", "r.toml"])
        .status(6)
        .err("own.toml");
    env.file("own.toml", &format!("{theirs}{}", ours.replace("format = 1\n", "")));
    run_with_policy(&env, &[], &["--trust", "own.toml", "exec", "r.toml"]).status(0);
    run_with_policy(&env, &[], &["--trust", "own.toml", "plugin", "verify", "mine.wasm"])
        .status(0)
        .out("signed by `host`");
}

#[test]
fn the_audit_log_of_the_host_cannot_be_moved() {
    let env = env();
    let log = env.path().join("log");
    env.file("policy/settings.toml", &format!("format = 1\naudit_log = {log:?}\n"));
    for (variables, flags) in [
        (&[][..], &["--audit-log", "elsewhere"][..]),
        (&[("RUNBOOK_AUDIT_LOG", "elsewhere")], &[]),
        (&[("RUNBOOK_AUDIT_LOG", "elsewhere")], &["--audit-log", "elsewhere"]),
    ] {
        let refused = run_with_policy(&env, variables, &[flags, &["exec", "r.toml"]].concat());
        refused.status(6).err("settings.toml").err("--audit-log");
    }
    assert!(
        !env.path().join("shop.db").exists() && !Path::exists(&env.path().join("elsewhere")),
        "something was done"
    );
    run_with_policy(
        &env,
        &[("XDG_STATE_HOME", "/nowhere")],
        &["--journal", "j.db", "exec", "r.toml"],
    )
    .status(0);
    run_with_policy(&env, &[], &["--audit-log", "log/../log", "exec", "r.toml"]).status(0);
    run_with_policy(&env, &[], &["audit", "verify"]).status(0).out("2 chains of runs");
    // Reading another log is allowed.
    run_with_policy(&env, &[], &["exec", "r.toml"]).status(0);
    env.run(&["--audit-log", "log", "audit", "verify"]).status(0).out("3 chains of runs");
}

/// A protected path is bind-mounted below a granted folder, so a write to the folder could reach
/// it.
#[test]
fn a_folder_with_a_protected_path_mounted_below_it_is_refused() {
    let env = env();
    let runbook = |folder: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n\
                 [targets.out]\nfiles = \"{folder}\"\naccess = \"write\"\n[[step]]\nid = \"copy\"\n\
                 uses = \"sqlite:backup\"\nbind = {{ db = \"db\", directory = \"out\" }}\n\
                 with = {{ file = \"copy.db\" }}\nundo = \"auto\"\n"
        )
    };
    env.file("elsewhere/below/x", "");
    let state = ".local/state/runbook";
    for (shown, granted, expected) in [
        (state, "data", 6),
        (state, "data/sub", 6),
        (".local", "data", 6),
        (&format!("{state}/audit/runs"), "data", 6),
        (&format!("{state}/audit/runs"), "data/sub/x", 6),
        ("elsewhere", "data", 0),
        (state, "other", 0),
    ] {
        for folder in [&format!("{state}/audit/runs/x"), "data/sub/x", "other", "elsewhere/x"] {
            std::fs::create_dir_all(env.path().join(folder)).expect("a folder can be made");
        }
        env.file("r.toml", &runbook(granted));
        let program = env.command(&["validate", "r.toml"]);
        let script = "set -e\nmount --bind \"$HOME/$0\" \"$HOME/data/sub\"\n\
                      mkdir -p \"$HOME/data/sub/x\"\nexec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "--", "sh", "-c", script, shown])
            .arg(program.get_program())
            .args(program.get_args());
        command.env_clear().current_dir(env.path());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .expect("`unshare` of util-linux runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{shown} below {granted}: {told}");
        assert_eq!(told.contains("E0118"), expected != 0, "{shown} below {granted}: {told}");
    }
}
