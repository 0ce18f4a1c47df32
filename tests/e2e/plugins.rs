//! `runbook plugin`: what authors and users of a plugin can learn about it.

use crate::{BUNDLED, bundled, home};
use runbook_tests::env::TestEnv;
use runbook_tests::running::RunningProgram;

/// A home with the bundled plugin `slack` as a file of a team.
fn env_with_plugin_file() -> TestEnv {
    let env = home();
    env.file("checks/placeholder", "");
    std::fs::write(env.path().join("checks/mine.wasm"), bundled("slack"))
        .expect("it can be written");
    env
}

#[test]
fn the_example_of_every_operation_is_valid() {
    let env = home();
    let mut tried = 0;
    for plugin in BUNDLED {
        let inspected = runbook_runtime::inspect(plugin.component).expect("it is a plugin");
        for name in inspected.manifest.operations.keys() {
            let reference = format!("{}:{name}", plugin.name);
            let shown = env.run(&["plugin", "inspect", &reference]).status(0).stdout;
            let (_, example) = shown
                .split_once("  example\n")
                .unwrap_or_else(|| panic!("`{reference}` has no example:\n{shown}"));
            let mut text = format!("format = 1\n[runbook]\nname = \"example\"\n{example}\n");
            if !text.contains("[[step]]") {
                text.push_str(
                    "[[step]]\nid = \"other\"\nuses = \"docker:status\"\nbind.container = \"c\"\n\
                     [targets.c]\ndocker = { name = \"c\" }\n",
                );
            }
            env.file("example.toml", &text);
            let validated = env.run(&["validate", "example.toml"]);
            assert_eq!(validated.status, 0, "{text}\n{}{}", validated.stdout, validated.stderr);
            tried += 1;
        }
    }
    assert!(tried > 15, "{tried}");
}

#[test]
fn inspect_shows_inputs_and_outputs_with_type_need_and_description() {
    let env = home();
    let shown = env.run(&["plugin", "inspect", "postgres:long-running"]).status(0).stdout;
    for said in [
        "older_than",
        "duration",
        "required",
        "\"query\" | \"transaction\"",
        "default \"query\"",
        "queries[].pid",
        "the oldest first.",
    ] {
        assert!(shown.contains(said), "`{said}` is not in\n{shown}");
    }
    let all = env.run(&["plugin", "inspect", "postgres"]).status(0).stdout;
    assert!(all.contains("postgres:dump (step)") && all.contains("postgres:ping (probe)"), "{all}");
    env.run(&["plugin", "inspect", "postgres:dmup"]).status(2).err("did you mean `postgres:dump`?");
}

#[test]
fn suggestions_name_a_plugin_file_as_the_runbook_does() {
    let env = env_with_plugin_file();
    let runbook = |operation: &str, with: &str| {
        env.file(
            "checks/r.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"r\"\n[targets.it]\nhttp = \"http://127.0.0.1:9\"\n\
                 [[step]]\nid = \"tell\"\nuses = \"./mine.wasm:{operation}\"\n\
                 bind.webhook = \"it\"\nwith = {with}\nirreversible = \"sent\"\n"
            ),
        );
        env.run(&["validate", "checks/r.toml"])
    };
    assert!(
        runbook("pots", "{ text = \"x\" }").stderr.contains("did you mean `./mine.wasm:post`?")
    );
    assert!(runbook("post", "{ txt = \"x\" }").stderr.contains("did you mean `text`?"));
    let wrong = runbook("post", "{}").stderr;
    let suggested = wrong
        .split("see `runbook ")
        .nth(1)
        .and_then(|rest| rest.split('`').next())
        .unwrap_or_else(|| panic!("{wrong}"));
    let arguments: Vec<&str> = suggested.split_whitespace().collect();
    env.run(&arguments).status(0).out("mine.wasm:post (step)").out("text  text  required");
    runbook("post", "{ text = \"x\" }").status(0);
}

#[test]
fn a_failed_plugin_build_reports_its_reason_once() {
    let env = home();
    env.file("p/Cargo.toml", "[package]\nname = \"p\"\nversion = \"0.1.0\"\n[workspace]\n");
    let missing = env.run(&["plugin", "build", "p"]).status(2).err("plugin.toml").stderr;
    assert_eq!(missing.matches("No such file or directory").count(), 1, "{missing}");
    env.file(
        "p/plugin.toml",
        "format = 1\n[plugin]\nname = \"p\"\nversion = \"0.1.0\"\ndescription = \"x\"\n\
         [[operation]]\nname = \"o\"\nkind = \"prob\"\nsummary = \"x\"\n",
    );
    env.run(&["plugin", "build", "p"]).status(2).err("E0307").err("plugin.toml:8");
}

/// A bundled plugin with an additional custom section: the same manifest and name, other code.
fn impostor(plugin: &crate::BundledPlugin) -> Vec<u8> {
    [plugin.component, &[0, 2, 1, b'x']].concat()
}

#[test]
fn no_other_plugin_may_have_the_name_of_a_bundled_one() {
    let env = home();
    env.file("checks/placeholder", "");
    for plugin in BUNDLED {
        let name = plugin.name;
        let inspected = runbook_runtime::inspect(plugin.component).expect("it is a plugin");
        let operation = inspected.manifest.operations.keys().next().expect("it has an operation");
        let runbook = |reference: &str| {
            format!(
                "format = 1\n[runbook]\nname = \"x\"\n[[step]]\nid = \"one\"\n\
                     uses = \"{reference}:{operation}\"\n"
            )
        };
        env.file("r.toml", &runbook("./checks/other.wasm"));
        std::fs::write(env.path().join("checks/other.wasm"), impostor(plugin))
            .expect("it can be written");
        for command in [
            &["validate", "r.toml"][..],
            &["plan", "r.toml"],
            &["exec", "r.toml"],
            &["lock", "r.toml"],
        ] {
            env.run(command)
                .status(6)
                .err(&format!("calls itself `{name}`"))
                .err("needs a name of its");
        }
        env.run(&["review", "./checks/other.wasm"])
            .status(6)
            .err(&format!("calls itself `{name}`"));
        let shown = env
            .run(&["plugin", "inspect", "./checks/other.wasm"])
            .status(6)
            .err(&format!("calls itself `{name}`"));
        assert!(shown.stdout.contains(&format!("NOT the bundled `{name}`")), "{}", shown.stdout);
        // The same bytes are the bundled plugin, wherever they are.
        std::fs::write(env.path().join("checks/other.wasm"), plugin.component)
            .expect("it can be written");
        env.run(&["validate", "r.toml"]).without("calls itself");
        env.run(&["plugin", "inspect", "./checks/other.wasm"])
            .status(0)
            .out(&format!("file ./checks/other.wasm: the same code as the bundled `{name}`"));
        env.run(&["plugin", "inspect", name]).status(0).out("bundled: a part of this program");
    }
}

#[test]
fn inspect_shows_that_a_plugin_comes_from_a_file() {
    let env = home();
    std::fs::write(env.path().join("mine.wasm"), crate::renamed_plugin("sql", "our"))
        .expect("it can be written");
    let inspected = env.run(&["plugin", "inspect", "./mine.wasm"]).status(0);
    assert!(
        inspected.stdout.lines().any(|line| line == "file ./mine.wasm"),
        "{}",
        inspected.stdout
    );
}

/// The command lines of the running child processes of a process.
fn children(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let pids = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<String> = pids
        .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    pids.iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok())
        .collect()
}

#[test]
fn the_program_compiles_plugins_in_a_child_with_limits() {
    let env = home();
    env.file(
        "c.toml",
        "format = 1\n[runbook]\nname = \"c\"\n[targets.site]\nhttp = \"http://127.0.0.1:1\"\n\
         [[preflight]]\nid = \"p\"\nuses = \"http:get\"\nbind.target = \"site\"\n",
    );
    let seen_in = |cache: &std::path::Path| {
        let mut run =
            RunningProgram::start(env.command(&["exec", "c.toml"]).env("RUNBOOK_CACHE", cache));
        let mut seen = Vec::new();
        while run.try_wait().expect("it is a child of ours").is_none() {
            seen.extend(
                children(run.id())
                    .into_iter()
                    .filter(|line| line.contains(runbook_runtime::COMPILE_MODE)),
            );
        }
        seen
    };
    let cache = env.path().join("cache");
    let seen = seen_in(&cache);
    assert!(
        seen.iter()
            .any(|line| line.contains("\"cpu_s\":300") && line.contains("\"memory\":4294967296")),
        "{seen:?}"
    );
    assert_eq!(std::fs::read_dir(&cache).expect("there is a cache").count(), 1);
    assert_eq!(seen_in(&cache), Vec::<String>::new(), "what is kept is not compiled again");
}

/// A bundled plugin can be exported, signed and trusted like a plugin from elsewhere.
#[test]
fn a_bundled_plugin_is_exported_inspected_signed_and_trusted() {
    let env = home();
    env.run(&["plugin", "export", "sql"]).status(0).out("sql.wasm");
    env.run(&["plugin", "inspect", "./sql.wasm"])
        .status(0)
        .out("the same code as the bundled `sql`");
    env.run(&["plugin", "export", "sql"])
        .status(2)
        .err("`sql.wasm` cannot be written")
        .err("--output");
    env.run(&["plugin", "export", "sqll", "-o", "x.wasm"]).status(2).err("did you mean `sql`?");
    let public = env.run(&["plugin", "keygen", "-o", "key"]).status(0).stdout;
    env.run(&["plugin", "sign", "sql.wasm", "--key", "key"]).status(0);
    env.file(
        "trust.toml",
        &format!(
            "format = 1\n[[key]]\nname = \"us\"\npublic = \"{}\"\nplugins = [\"sql\"]\n",
            public.trim()
        ),
    );
    env.run(&["validate", "trust.toml"]).status(0);
    env.run(&["--trust", "trust.toml", "plugin", "verify", "sql.wasm"])
        .status(0)
        .out("trusted, signed by `us`");
    env.file("junk.wasm", "junk");
    for line in [
        &["plugin", "inspect", "junk.wasm"][..],
        &["plugin", "sign", "junk.wasm", "--key", "key"],
        &["plugin", "verify", "junk.wasm"],
    ] {
        env.run(line).status(6).err("`junk.wasm` is not a plugin that can be used");
    }
}

#[test]
fn optional_slots_are_comments_in_the_example() {
    let example = home().run(&["plugin", "inspect", "smoke:run"]).status(0).stdout;
    for slot in ["password", "token"] {
        assert!(example.contains(&format!("# bind.{slot} = \"{slot}\"")), "{example}");
        assert!(example.contains(&format!("# [targets.{slot}]")), "{example}");
    }
}
