//! `runbook review`: uses are counted for exactly one runbook, the input stands beside each call,
//! every plugin is listed once, and each finding has a location.

use crate::{home, renamed_plugin, repository};
use runbook_tests::env::TestEnv;
use runbook_tests::http::Receiver;

/// Two runbooks with the same name, step, plugin and slot.
fn twins() -> TestEnv {
    let env = home();
    for folder in ["a", "b"] {
        env.file(
            &format!("{folder}/r.toml"),
            "format = 1\n[runbook]\nname = \"twin\"\n[targets.db]\nsql = \"sqlite:work.db\"\n\
             create = true\n[[step]]\nid = \"make\"\nuses = \"sql:execute\"\nbind.db = \"db\"\n\
             irreversible = \"a scratch table\"\n\
             with = { statement = \"create table if not exists t (n int)\" }\n[[step]]\n\
             id = \"each\"\nuses = \"sql:execute\"\nbind.db = \"db\"\n\
             irreversible = \"a scratch table\"\nfor_each = [1, 2, 3]\n\
             with = { statement = \"insert into t values (1)\" }\n",
        );
    }
    env
}

/// The lines of one runbook in a review.
fn section_of<'a>(review: &'a str, runbook: &str) -> &'a str {
    let start = review
        .find(&format!("Runbook {runbook} "))
        .unwrap_or_else(|| panic!("no `{runbook}` in\n{review}"));
    let rest = &review[start..];
    &rest[..rest.find("\n\n").unwrap_or(rest.len())]
}

#[test]
fn uses_count_for_the_runbook_that_ran_wherever_it_is_reviewed_from() {
    let env = twins();
    env.run(&["exec", "a/r.toml"]).status(0);
    for (folder, arguments, used, unused) in [
        (".", vec!["review", "--used", "a/r.toml", "b/r.toml"], "a/r.toml", "b/r.toml"),
        ("a", vec!["review", "--used", "r.toml", "../b/r.toml"], "r.toml", "../b/r.toml"),
        ("b", vec!["review", "--used", "../a/r.toml", "r.toml"], "../a/r.toml", "r.toml"),
    ] {
        let review = env.run_in(folder, &arguments).status(0).stdout;
        let (used, unused) = (section_of(&review, used), section_of(&review, unused));
        assert!(used.contains("used 3 times"), "each item counts for its step:\n{used}");
        assert!(
            !unused.contains("used once") && !unused.contains(" times"),
            "it never ran:\n{unused}"
        );
        assert!(unused.contains("never used"), "{unused}");
    }
    env.run(&["review", "suggest", "b/r.toml"])
        .status(2)
        .err("no run of `b/r.toml` is in the audit log");
    env.run(&["review", "suggest", "a/r.toml"]).status(0).out("statements = [");
}

#[test]
fn uses_of_a_suite_count_for_the_suite() {
    let env = home();
    env.file(
        "s.toml",
        "format = 1\n[runbook]\nname = \"suite\"\n[targets.db]\nsql = \"sqlite:work.db\"\n\
         create = true\n[[check]]\nid = \"one\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
         with = { statement = \"select 1 as n\" }\n",
    );
    env.file("work.db", "");
    env.run(&["check", "s.toml"]).status(0);
    let review = env.run(&["review", "--used", "s.toml"]).status(0).stdout;
    assert!(section_of(&review, "s.toml").contains("used "), "{review}");
    assert!(!section_of(&review, "s.toml").contains("never used"), "{review}");
}

#[test]
fn a_secret_inserted_by_the_host_counts_as_used_and_a_generated_id_is_no_path() {
    let receiver = Receiver::start_with_response("200 OK", "{\"id\":\"062bd806\"}");
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#login"], "hunter2-hunter2").status(0);
    env.run_with_input(&["secret", "set", "s.age#key"], "key-of-the-service").status(0);
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"t\"\n[secrets.login]\nsource = \"age:s.age#login\"\n\
             [secrets.key]\nsource = \"age:s.age#key\"\n[targets.api]\n\
             http = \"http://127.0.0.1:{}\"\nheaders = {{ x-key = \"secret:key\" }}\n\
             [targets.login]\nsecret = \"login\"\n\
             positions = [{{ slot = \"target\", header = \"authorization\", format = \"Bearer \
             {{}}\" }}]\n[[step]]\nid = \"smoke\"\nuses = \"smoke:run\"\n\
             bind = {{ target = \"api\", token = \"login\" }}\nirreversible = \"it cleans up\"\n\
             [[step.with.cases]]\nname = \"make\"\nmethod = \"POST\"\npath = \"/things\"\n\
             auth = true\ncapture = {{ id = \"id\" }}\n[[step.with.cleanup]]\nname = \"remove\"\n\
             method = \"DELETE\"\npath = \"/things/${{id}}\"\nauth = true\n",
            receiver.port
        ),
    );
    env.run(&["plan", "r.toml"]).status(0);
    env.run(&["exec", "--dry-run", "r.toml"]).status(0);
    let never = env.run(&["review", "suggest", "r.toml"]).status(2);
    assert!(never.stderr.contains("plans and dry runs do not count"), "{}", never.stderr);
    let review = env.run(&["review", "--used", "r.toml"]).status(0).stdout;
    assert!(
        section_of(&review, "r.toml").contains("never used") && !review.contains("used once"),
        "{review}"
    );
    env.run(&["exec", "r.toml"]).status(0);
    let review = env.run(&["review", "--used", "r.toml"]).status(0).stdout;
    let token = section_of(&review, "r.toml")
        .lines()
        .find(|line| line.contains("secrets.use"))
        .expect("a row")
        .to_owned();
    assert!(token.contains("used 2 times"), "{token}");
    assert!(token.contains("\"Bearer {}\" with the secret for {}"), "{token}");
    // A secret in the headers of a target is counted once for each request, and the audit log has
    // its name.
    for verb in ["http.post", "http.delete"] {
        let row = section_of(&review, "r.toml")
            .lines()
            .find(|line| line.contains(verb))
            .expect("a row")
            .to_owned();
        assert!(row.contains("sent secret `key` once"), "{row}");
    }
    let log = env.run(&["audit", "show", "--json"]).status(0).stdout;
    assert_eq!(log.matches("\"target_secrets\":[\"key\"]").count(), 2, "{log}");
    assert!(!log.contains("key-of-the-service"), "{log}");
    let proposal = env.run(&["review", "suggest", "r.toml"]).status(0).stdout;
    assert!(proposal.contains("paths = [\"/things\", \"/things/*\"]"), "{proposal}");
    assert!(!proposal.contains("never used") && !proposal.contains("062bd806"), "{proposal}");
}

#[test]
fn the_review_shows_input_approval_and_undo_of_each_call() {
    let env = home();
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"t\"\nowner = \"dba\"\n[targets.db]\n\
         sql = \"sqlite:work.db\"\ncreate = true\n[[step]]\nid = \"drop\"\nuses = \"sql:execute\"\n\
         bind.db = \"db\"\ntimeout = \"5m\"\nirreversible = \"nobody reads it\"\n\
         approval = { quorum = 2, expires = \"1h\" }\nwhen = \"run.id != ''\"\n\
         with = { statement = \"\"\"\ndrop table\n  old_orders\"\"\" }\n[[step]]\nid = \"make\"\n\
         uses = \"sql:execute\"\nbind.db = \"db\"\n\
         with = { statement = \"create table t (n int)\" }\n\
         undo = \
         { uses = \"sql:execute\", bind.db = \"db\", with = { statement = \"drop table t\" } }\n",
    );
    let review = env.run(&["review", "r.toml"]).status(0).stdout;
    for line in [
        "  owner: dba",
        "    with.statement: drop table",
        "      |   old_orders",
        "    when: run.id != ''",
        "    approval: 2 people, expires after 1 h 00 m",
        "    irreversible: nobody reads it",
        "    timeout: 5 m 00 s",
        "    undo: sql:execute, shown as `make/undo`",
        "    with.statement: drop table t",
    ] {
        assert!(review.lines().any(|found| found == line), "no line `{line}` in\n{review}");
    }
    let page = env.run(&["review", "--format", "html", "r.toml"]).status(0).stdout;
    assert!(page.contains("<pre>drop table\n  old_orders</pre>"), "{page}");
}

#[test]
fn a_plugin_is_listed_once_with_where_it_comes_from_and_who_signed_it() {
    let env = home();
    env.file(
        "checks/r.toml",
        "format = 1\n[runbook]\nname = \"t\"\n[targets.db]\nsql = \"sqlite:work.db\"\n\
         create = true\n[[preflight]]\nid = \"own\"\nuses = \"../plugins/mine.wasm:query\"\n\
         bind.db = \"db\"\nwith = { statement = \"select 1 as n\" }\n[[preflight]]\nid = \"ours\"\n\
         uses = \"sql:query\"\nbind.db = \"db\"\nwith = { statement = \"select 1 as n\" }\n",
    );
    std::fs::create_dir_all(env.path().join("plugins")).expect("a folder");
    std::fs::write(env.path().join("plugins/mine.wasm"), renamed_plugin("sql", "our"))
        .expect("written");
    let review = env.run(&["review", "."]).status(0).stdout;
    let plugins: Vec<&str> = review.lines().filter(|line| line.starts_with("Plugin ")).collect();
    assert_eq!(plugins.len(), 2, "{plugins:#?}");
    assert!(plugins[0].starts_with("Plugin plugins/mine.wasm (our "), "{plugins:#?}");
    assert!(review.contains("  file plugins/mine.wasm, signature: none"), "{review}");
    assert!(review.contains("  bundled with this program"), "{review}");
    assert!(review.contains("1 runbook, 2 plugins,"), "{review}");
    // An unsigned plugin is a finding only if a trust file is in force.
    assert!(!review.contains("RB015"), "{review}");
    env.file("trust.toml", "format = 1\n");
    let review = env.run(&["review", "--trust", "trust.toml", "."]).stdout;
    assert!(review.contains("RB015 unsigned-plugin  plugin `plugins/mine.wasm`"), "{review}");
}

#[test]
fn every_finding_in_sarif_has_a_location() {
    let env = home();
    std::fs::write(env.path().join("mine.wasm"), renamed_plugin("smoke", "smock"))
        .expect("written");
    let shipped = repository().join("runbooks").display().to_string();
    let all: Vec<&str> = crate::BUNDLED.iter().map(|plugin| plugin.name).collect();
    let arguments =
        [&["review", "--format", "sarif", &shipped, "./mine.wasm"], all.as_slice()].concat();
    let sarif: serde_json::Value = serde_json::from_str(&env.run(&arguments).stdout).expect("JSON");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    assert!(!results.is_empty());
    for result in results {
        let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert!(uri.as_str().is_some_and(|uri| !uri.is_empty()), "{result:#}");
    }
}

/// A reader of the report file must see that some files are missing in it.
#[test]
fn files_that_cannot_be_reviewed_are_the_first_findings_in_every_format() {
    let env = twins();
    env.file("a/broken.toml", "format = 1\n[runbook]\nname = \"broken\"\n[[stepp]]\nid = \"x\"\n");
    env.file("a/not-toml.toml", "[runbook]\nname = \n");
    env.file("a/no-plugin.wasm", "nothing of the kind");
    std::fs::write(env.path().join("a/latin.toml"), b"[runbook]\nname = \"\xff\"\n")
        .expect("written");
    std::os::unix::fs::symlink("../b", env.path().join("a/elsewhere")).expect("a link");
    let gaps =
        ["a/broken.toml", "a/not-toml.toml", "a/no-plugin.wasm", "a/latin.toml", "a/elsewhere"];
    for format in ["text", "json", "sarif", "html"] {
        let found = env.run(&["review", "--format", format, "a"]);
        assert_ne!(found.status, 0, "{format}");
        for gap in gaps {
            assert!(found.stdout.contains(gap), "{format} has no {gap}: {}", found.stdout);
        }
    }
    let json: serde_json::Value =
        serde_json::from_str(&env.run(&["review", "--format", "json", "a"]).stdout).expect("JSON");
    let findings = json["findings"].as_array().expect("findings");
    let rules: Vec<_> =
        findings.iter().map(|finding| finding["rule"].as_str().expect("a rule")).collect();
    assert_eq!(rules[..gaps.len()], ["RB021"; 5], "{rules:?}");
    env.run(&["review", "b"]).status(0).without("RB021");
}

#[test]
fn environments_that_were_not_reviewed_are_the_first_findings() {
    let env = twins();
    for name in ["prod", "stage"] {
        env.file(
            &format!("a/targets.{name}.toml"),
            "format = 1\n[targets.db]\nsql = \"sqlite:other.db\"\ncreate = true\n",
        );
    }
    let told = |more: &[&str]| {
        let found = env.run(&[&["review", "--format", "json", "a"], more].concat()).status(0);
        let json: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
        let findings = json["findings"].as_array().expect("findings").clone();
        let rules: Vec<bool> = findings.iter().map(|finding| finding["rule"] == "RB022").collect();
        assert!(rules.is_sorted_by(|a, b| a >= b), "they stand first: {rules:?}");
        let ours = findings.iter().filter(|finding| finding["rule"] == "RB022");
        ours.map(|finding| finding["subject"].as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    let (prod, stage) = ("`a/targets.prod.toml`".to_owned(), "`a/targets.stage.toml`".to_owned());
    assert_eq!(told(&[]), [prod.clone(), stage.clone()]);
    assert_eq!(told(&["--env", "prod"]), [stage]);
    // If one runbook is named, its folder is searched for environments, too.
    env.run(&["review", "a/r.toml", "--env", "stage"])
        .status(0)
        .out("RB022")
        .out("targets.prod.toml")
        .without("targets.stage.toml`");
    // An included file is a part of the review.
    let text = std::fs::read_to_string(env.path().join("a/r.toml")).expect("it is there");
    let (before, steps) = text.split_once("[targets.db]").expect("a target");
    let steps = &steps[steps.find("[[step]]").expect("a step")..];
    env.file(
        "a/r.toml",
        &format!(
            "{}{steps}",
            before.replacen("format = 1\n", "format = 1\ninclude = [\"targets.prod.toml\"]\n", 1)
        ),
    );
    assert_eq!(told(&[]), ["`a/targets.stage.toml`".to_owned()]);
}

/// Each kind of path of this host, in the folder of the runbook.
const PATHS: &str = "format = 1\n[runbook]\nname = \"r\"\n[secrets.a]\nsource = \"age:s.age#a\"\n\
     [secrets.b]\nsource = \"sops:p.yaml#b\"\n[targets.web]\nhttp = \"https://h.example\"\n\
     ca = \"ca.pem\"\nclient_cert = \"c.pem\"\nclient_key = \"c.key\"\n\
     headers = { X-A = \"secret:a\", X-B = \"secret:b\" }\n[targets.local]\nhttp = \"http://app\"\n\
     socket = \"app.sock\"\n[targets.db]\nsql = \"sqlite:data.db\"\n[targets.dir]\nfiles = \"data\"\n\
     [targets.tool]\nprocess = \"/bin/true\"\narguments = []\nreads = [\"data\"]\n\
     writes = [\"out\"]\ndirectory = \"data\"\n\
     [[preflight]]\nid = \"web\"\nuses = \"http:get\"\nbind.target = \"web\"\nwith = { path = \"/\" }\n\
     [[preflight]]\nid = \"local\"\nuses = \"http:get\"\nbind.target = \"local\"\nwith = { path = \"/\" }\n\
     [[step]]\nid = \"tool\"\nuses = \"command:run\"\nbind.program = \"tool\"\nirreversible = \"x\"\n";

#[test]
fn a_copy_of_a_folder_has_no_difference_and_a_change_in_it_is_the_only_one() {
    let env = home();
    for folder in ["old/ops", "new/ops"] {
        env.file(&format!("{folder}/r.toml"), PATHS);
        for file in ["s.age", "p.yaml", "ca.pem", "c.pem", "c.key", "data.db", "data/x", "out/x"] {
            env.file(&format!("{folder}/{file}"), "text");
        }
    }
    for (old, new) in [("old", "new"), ("old/ops", "new/ops"), ("old/ops/r.toml", "new/ops/r.toml")]
    {
        let same = env.run(&["review", "--diff", old, new]);
        assert_eq!(
            (same.status, same.stdout.trim()),
            (0, "no difference in authority, nor in any key"),
            "{old}"
        );
    }
    env.file("new/ops/r.toml", &PATHS.replace("age:s.age#a", "age:other.age#a"));
    let changed = env.run(&["review", "--diff", "old", "new"]).status(1).out("other.age#a");
    assert_eq!(changed.stdout.matches("widened").count(), 1, "{}", changed.stdout);
    // The store of the other folder is not the one of this folder.
    let absolute = format!(
        "age:{}/new/ops/s.age#a",
        env.path().canonicalize().expect("it is there").display()
    );
    env.file("new/ops/r.toml", PATHS);
    env.file("old/ops/r.toml", &PATHS.replace("age:s.age#a", &absolute));
    env.run(&["review", "--diff", "old", "new"]).status(1).out("widened");
}
