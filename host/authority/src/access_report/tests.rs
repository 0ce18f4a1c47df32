use super::*;
use crate::gate::tests::{grants, grants_with_verbs, process_grants};
use crate::snapshot::PluginFacts;
use runbook_document::{Diagnostics, Source};

fn manifest(slots: &str) -> Manifest {
    let text = format!(
        "format = 1\n[plugin]\nname = \"p\"\nversion = \"1.0.0\"\ndescription = \"d\"\n{slots}"
    );
    let mut diagnostics = Diagnostics::default();
    Manifest::parse(&Source::new("plugin.toml", text), &mut diagnostics)
        .unwrap_or_else(|| panic!("{diagnostics:?}"))
}

fn entry(capability: &str, verbs: &[&str], target: &str, boundary: Option<&str>) -> RunbookEntry {
    entry_of(&grants_with_verbs(capability, verbs, target), boundary)
}

fn entry_of(grants: &EffectiveGrants, boundary: Option<&str>) -> RunbookEntry {
    let manifest = manifest("");
    let digest = crate::Digest::of(b"x");
    let imports = BTreeSet::from(["runbook:http/writer@1.0.0#post".to_owned()]);
    let component = Component {
        reference: "p",
        manifest: &manifest,
        digest: &digest,
        size_bytes: 1,
        imports: &imports,
        needs_inert_wasi: false,
        origin: &PluginOrigin::Bundled,
    };
    let mut diagnostics = Diagnostics::default();
    let boundary = boundary.map(|text| {
        Boundary::parse(
            &Source::new("boundary.toml", format!("format = 1\n{text}")),
            &mut diagnostics,
        )
        .expect("good")
    });
    let boundaries: Vec<_> = boundary.into_iter().collect();
    let context = ReportContext { boundaries: &boundaries, used: None };
    let runbook_key = RunbookKey { file: "/base/r.toml".to_owned(), environment: None };
    let call =
        CallSite { step: "one", uses: "p:o", details: Vec::new(), runbook_key: &runbook_key };
    let step = StepEntry::new(call, &component, grants, &context);
    let steps = [FlowStep { step: "one", grants, input_steps: &BTreeSet::new() }];
    RunbookEntry {
        file: "r.toml".to_owned(),
        name: "r".to_owned(),
        environment: None,
        details: Vec::new(),
        steps: vec![step],
        flows: flows(&steps),
        file_entries: Vec::new(),
        controlling_files: vec!["/base/r.toml".into(), "/base/runbook.lock".into()],
    }
}

fn rules(
    capability: &str,
    verbs: &[&str],
    target: &str,
    boundary: Option<&str>,
) -> Vec<&'static str> {
    let report = AccessReport::new(Vec::new(), vec![entry(capability, verbs, target, boundary)]);
    report.findings.iter().map(|finding| finding.rule.row().name).collect()
}

#[test]
fn every_rule_has_a_row_with_an_id_of_its_own() {
    let ids: BTreeSet<_> = FINDING_RULES.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), FINDING_RULES.len());
    assert_eq!(FINDING_RULES.len(), FindingRule::SshAgent as usize + 1);
    for row in FINDING_RULES {
        assert_eq!(row.rule.row().id, row.id);
    }
}

#[test]
fn a_row_is_one_plain_sentence_with_its_place() {
    let entry = entry(
        "http",
        &["post"],
        "http = \"https://api.internal/v1\"\npaths = [\"/orders/*\"]",
        None,
    );
    let row = entry.steps[0].rows.iter().find(|row| row.slot == "s").expect("a row");
    assert_eq!(
        row.sentence,
        "sends data to https://api.internal/v1 with POST; only paths /v1/orders/*"
    );
    assert_eq!((row.verb.as_str(), row.risk, row.declared), ("http.post", Risk::Medium, true));
    assert_eq!(row.imported, ["runbook:http/writer@1.0.0#post"]);
    let place = &row.granted.as_ref().expect("granted").place;
    assert_eq!((place.file.as_str(), place.line), ("r.toml", 1));
}

#[test]
fn each_rule_finds_a_wide_grant_and_not_a_narrow_one() {
    for (capability, verbs, target, rule) in [
        ("process", ["run"], "process = \"/opt/x\"", "unpinned-program"),
        ("process", ["run"], "process = \"/usr/bin/x\"", "system-program"),
        ("http", ["post"], "http = \"secret:hook\"", "hidden-destination"),
        ("sql", ["query"], "sql = \"postgres://a@h/d\"\nsuperuser = true", "superuser"),
        ("sql", ["execute"], "sql = \"postgres://a@h/d\"", "any-statement"),
        ("http", ["delete"], "http = \"https://h\"", "any-path"),
        ("http", ["get"], "http = \"https://h\"\naddresses = [\"metadata\"]", "metadata-address"),
        ("http", ["get"], "http = \"http://169.254.169.254\"", "metadata-address"),
        ("secrets", ["reveal"], "secret = \"x\"", "reveals-secret"),
        (
            "process",
            ["run"],
            "process = \"/bin/sh\"\narguments = [\"-c\", { regex = \".*\" }]",
            "open-interpreter",
        ),
        (
            "process",
            ["run"],
            "process = \"/usr/bin/python3.11\"\narguments = [{ regex = \"[a-z/]+\\\\.py\" }]",
            "open-interpreter",
        ),
        (
            "docker",
            ["exec"],
            "docker = { name = \"a\" }\ncommand = [\"bash\", \"-c\", { regex = \".+\" }]",
            "open-interpreter",
        ),
        (
            "process",
            ["run"],
            "process = \"/bin/sh\"\n\
             sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"",
            "open-interpreter",
        ),
        (
            "process",
            ["run"],
            "process = \"/usr/bin/psql\"\narguments = [\"--dbname=orders\"]",
            "open-interpreter",
        ),
        (
            "process",
            ["run"],
            "process = \"/opt/x\"\nenvironment = { LD_PRELOAD = \"/tmp/x.so\" }",
            "steering-variable",
        ),
        (
            "process",
            ["inspect"],
            "process = \"/opt/x\"\nread_only = true\nenvironment = { BASH_ENV = \"secret:x\" }",
            "steering-variable",
        ),
        ("files", ["write"], "files = \".\"\naccess = \"write\"", "own-runbook"),
        ("files", ["write"], "files = \"/\"\naccess = \"write\"", "own-runbook"),
        (
            "docker",
            ["exec"],
            "docker = { name = \"a\" }\ncommand = [{ regex = \".+\" }]",
            "open-interpreter",
        ),
        ("docker", ["stop"], "docker = { pattern = \"*\" }", "every-container"),
        ("files", ["read"], "files = \"/\"", "system-directory"),
        ("files", ["read"], "files = \"/etc/\"", "system-directory"),
        ("redis", ["write"], "redis = \"h\"\ncommands = [\"eval\"]", "server-command"),
        ("redis", ["read"], "redis = \"h\"\ncommands = [\"config get\"]", "server-command"),
        ("redis", ["read"], "redis = \"h\"\ncommands = [\"json.get\"]", "server-command"),
        (
            "mail",
            ["send"],
            "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\ntls = \"off\"",
            "unencrypted-mail",
        ),
        ("net", ["connect"], "net = \"h\"\nports = [25]\nquestions = [\"*\"]", "says-at-will"),
        ("net", ["connect"], "net = \"h\"\nports = [25]\nquestions = [\"*X\"]", "says-at-will"),
        ("net", ["lookup"], "net = []\nnames = [\"*\"]", "says-at-will"),
        (
            "http",
            ["get"],
            "http = \"https://h\"\nvia = \"bastion\"\nremote_dns = true",
            "remote-names",
        ),
        (
            "http",
            ["get"],
            "http = \"https://h\"\nvia = \"bastion\"\n[targets.bastion]\nssh = \"b\"\n\
             user = \"ops\"\nknown_hosts = \"k\"\nagent = \"/run/agent\"",
            "ssh-agent",
        ),
        (
            "http",
            ["get"],
            "http = \"https://h\"\nvia = \"bastion\"\n[targets.bastion]\nssh = \"b\"\n\
             user = \"ops\"\nknown_hosts = \"k\"\nkey = \"secret:env-key\"",
            "secret-from-environment",
        ),
        ("net", ["lookup"], "net = []\nnames = [\"*.com\"]", "says-at-will"),
        ("net", ["lookup"], "net = []\nnames = [\"*example.com\"]", "says-at-will"),
        ("net", ["lookup"], "net = []\nnames = [\"db.*\"]", "says-at-will"),
        (
            "net",
            ["connect"],
            "net = \"h\"\nports = [80]\naddresses = [\"metadata\"]",
            "metadata-address",
        ),
        ("net", ["connect"], "net = \"169.254.169.254\"\nports = [80]", "metadata-address"),
        (
            "system",
            ["processes"],
            "system = [\"processes\"]\nprocesses = [\"*\"]\nprocess_arguments = true",
            "whole-machine",
        ),
        ("system", ["units"], "system = [\"units\"]\nunits = [\"*.service\"]", "whole-machine"),
        (
            "system",
            ["processes"],
            "system = [\"processes\"]\nprocesses = [\"nginx\", \"*d\"]\nprocess_arguments = true",
            "whole-machine",
        ),
    ] {
        assert!(
            rules(capability, &verbs, target, None).contains(&rule),
            "{rule}: {:?}",
            rules(capability, &verbs, target, None)
        );
    }
    for (capability, verbs, target, rule) in [
        (
            "process",
            ["run"],
            "process = \"/bin/x\"\n\
             sha256 = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
            "unpinned-program",
        ),
        ("sql", ["execute"], "sql = \"postgres://a@h/d\"\nrelations = [\"a\"]", "any-statement"),
        ("http", ["delete"], "http = \"https://h\"\npaths = [\"/a\"]", "any-path"),
        ("http", ["get"], "http = \"https://h\"", "any-path"),
        (
            "process",
            ["run"],
            "process = \"/bin/sh\"\narguments = [\"-c\", \"date\"]",
            "open-interpreter",
        ),
        (
            "process",
            ["run"],
            "process = \"/usr/bin/psql\"\n\
             arguments = [{ regex = \"--dbname=[a-z]{1,20}\" }, \"-f\", \"/x.sql\"]",
            "open-interpreter",
        ),
        ("process", ["inspect"], "process = \"/bin/sh\"\nread_only = true", "open-interpreter"),
        (
            "process",
            ["run"],
            "process = \"/opt/x\"\nenvironment = { LANG = \"C\" }",
            "steering-variable",
        ),
        ("files", ["write"], "files = \"/base/dumps\"\naccess = \"write\"", "own-runbook"),
        ("files", ["read"], "files = \"/base\"", "own-runbook"),
        (
            "process",
            ["run"],
            "process = \"/usr/bin/pg_dump\"\narguments = [{ regex = \".*\" }]",
            "open-interpreter",
        ),
        ("docker", ["stop"], "docker = { pattern = \"app-*\" }", "every-container"),
        ("docker", ["stop"], "docker = { name = \"app\" }", "every-container"),
        ("files", ["read"], "files = \"/var/backups/orders\"", "system-directory"),
        ("redis", ["write"], "redis = \"h\"\ncommands = [\"*\", \"get\"]", "server-command"),
        ("redis", ["write"], "redis = \"h\"", "server-command"),
        (
            "mail",
            ["send"],
            "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]",
            "unencrypted-mail",
        ),
        (
            "mail",
            ["send"],
            "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\nstarttls = true",
            "unencrypted-mail",
        ),
        ("net", ["connect"], "net = \"h\"\nports = [25]\nquestions = [\"EHLO *\"]", "says-at-will"),
        ("net", ["inspect-tls"], "net = \"h\"\nports = [25]\nquestions = [\"*\"]", "says-at-will"),
        ("net", ["lookup"], "net = []\nnames = [\"*.example.com\"]", "says-at-will"),
        ("net", ["lookup"], "net = \"db.internal\"", "says-at-will"),
        ("system", ["processes"], "system = [\"processes\"]\nprocesses = [\"*\"]", "whole-machine"),
        (
            "system",
            ["processes"],
            "system = [\"processes\"]\nprocesses = [\"java*\"]\nprocess_arguments = true",
            "whole-machine",
        ),
        ("system", ["units"], "system = [\"units\"]\nunits = [\"app-*\"]", "whole-machine"),
        ("http", ["get"], "http = \"https://h\"\nvia = \"bastion\"", "remote-names"),
        ("http", ["get"], "http = \"https://h\"\nvia = \"bastion\"", "ssh-agent"),
        (
            "http",
            ["get"],
            "http = \"https://h\"\nvia = \"bastion\"\nremote_dns = true",
            "metadata-address",
        ),
    ] {
        assert!(!rules(capability, &verbs, target, None).contains(&rule), "{rule}");
    }
}

#[test]
fn system_home_and_hidden_directories_are_found() {
    let is_found = |path: &str| {
        rules("files", &["read"], &format!("files = {path:?}"), None).contains(&"system-directory")
    };
    for tree in [
        "/etc",
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib64",
        "/libx32",
        "/boot",
        "/dev",
        "/proc",
        "/sys",
        "/root",
        "/var/spool",
    ] {
        for below in ["", "/", "/cron.d", "/a/b/c", "/../../tmp/..", "/./x//y"] {
            let path = format!("{tree}{below}");
            assert!(is_found(&path), "{path}");
        }
    }
    for path in [
        "/",
        "/home",
        "/home/ops",
        "/home/ops/.ssh",
        "/home/ops/.config/x",
        "/srv/app/.git",
        "/mnt",
        "/var/log",
        "/tmp",
        "/x/../etc",
    ] {
        assert!(is_found(path), "{path}");
    }
    for path in [
        "/home/ops/dumps",
        "/srv/app",
        "/var/log/app",
        "/mnt/backups",
        "/data/library",
        "/opt/app/lib",
        "/etc/../srv/app",
    ] {
        assert!(!is_found(path), "{path}");
    }
}

#[test]
fn a_grant_that_reaches_a_default_protected_path_is_found() {
    for (capability, verbs, target) in [
        ("files", &["write"][..], "files = \"/home/ops/.cache/runbook\"\naccess = \"write\""),
        ("files", &["remove"], "files = \"/home/ops\"\naccess = \"write\""),
        ("files", &["write"], "files = \"/etc\"\naccess = \"write\""),
        ("sql", &["query"], "sql = \"sqlite:/root/.local/state/runbook/journal.db\""),
        ("process", &["run"], "process = \"/opt/x\"\ndirectory = \"/etc/runbook\""),
    ] {
        assert!(rules(capability, verbs, target, None).contains(&"own-runbook"), "{target}");
    }
    for (capability, verbs, target) in [
        ("files", &["read"][..], "files = \"/home/ops\""),
        ("files", &["write"], "files = \"/home/ops/dumps\"\naccess = \"write\""),
        ("sql", &["query"], "sql = \"sqlite:/home/ops/orders.db\""),
    ] {
        assert!(!rules(capability, verbs, target, None).contains(&"own-runbook"), "{target}");
    }
}

#[test]
fn a_grant_beyond_the_boundary_is_the_first_finding() {
    let boundary = "[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n[[allow]]\n\
                    capability = \"secrets\"\nverbs = [\"use\"]\n";
    let report = AccessReport::new(
        Vec::new(),
        vec![entry(
            "http",
            &["get", "post"],
            "http = \"https://h\"\npaths = [\"/a\"]",
            Some(boundary),
        )],
    );
    assert!(report.exceeds_boundary());
    assert_eq!(
        report.findings[0].message,
        "`http.post` on slot `s` would allow: POST https://h:443/a; the nearest rule, \
         boundary.toml:2, allows only verbs = get"
    );
    let boundary_status = |verb: &str| {
        report.runbooks[0].steps[0]
            .rows
            .iter()
            .find(|row| row.verb == verb)
            .and_then(|row| row.boundary.clone())
    };
    assert_eq!(boundary_status("http.get"), Some(BoundaryStatus::Within));
    assert_eq!(
        boundary_status("http.post"),
        Some(BoundaryStatus::Exceeded {
            witness:
                "POST https://h:443/a; the nearest rule, boundary.toml:2, allows only verbs = get"
                    .to_owned()
        })
    );
}

#[test]
fn a_declared_verb_without_an_import_is_found() {
    let manifest = manifest(
        "[slots.s]\ncapability = \"http\"\nverbs = [\"get\", \"post\"]\nreason = \"r\"\n\
                  [[operation]]\nname = \"o\"\nkind = \"step\"\nsummary = \"s\"\n\
                  slots = { s = [\"get\", \"post\"] }\n",
    );
    let digest = crate::Digest::of(b"x");
    let imports = BTreeSet::from(["runbook:http/reader@1.0.0#get".to_owned()]);
    let component = Component {
        reference: "p",
        manifest: &manifest,
        digest: &digest,
        size_bytes: 1,
        imports: &imports,
        needs_inert_wasi: true,
        origin: &PluginOrigin::Bundled,
    };
    let report = AccessReport::new(
        vec![PluginEntry::new(&component, &ReportContext::default())],
        Vec::new(),
    );
    let found: Vec<_> = report.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        found,
        ["declares `http.post` on slot `s` and imports no function for it", "needs inert WASI"]
    );
    let facts = PluginFacts::of(&manifest, &digest, imports.clone(), &[]);
    assert_eq!(facts.imports, imports);
}

fn sentences(steps: &[(&str, &EffectiveGrants, &[&str])]) -> Vec<String> {
    let inputs: Vec<BTreeSet<String>> =
        steps.iter().map(|(.., from)| from.iter().map(|&step| step.to_owned()).collect()).collect();
    let steps: Vec<_> = steps
        .iter()
        .zip(&inputs)
        .map(|((step, grants, _), input_steps)| FlowStep { step, grants, input_steps })
        .collect();
    flows(&steps).iter().map(|flow| format!("{} {}", flow.risk.name(), flow.sentence())).collect()
}

#[test]
fn rows_that_a_later_step_is_given_can_reach_its_destination() {
    let query = grants_with_verbs("sql", &["query"], "sql = \"postgres://a@h/d\"");
    let post =
        grants_with_verbs("http", &["post"], "# one line more\nhttp = \"https://hooks.example\"");
    let chained_sentences = sentences(&[("read", &query, &[]), ("tell", &post, &["read"])]);
    let leak_sentence = "high rows of database d on h:5432 as a can reach https://hooks.example by `read`, \
                then `tell`";
    assert!(
        chained_sentences.iter().any(|sentence| sentence == leak_sentence),
        "{chained_sentences:#?}"
    );
    let separate_sentences = sentences(&[("read", &query, &[]), ("tell", &post, &[])]);
    assert!(
        !separate_sentences.iter().any(|sentence| sentence.contains("then")),
        "{separate_sentences:#?}"
    );
}

#[test]
fn a_pattern_of_lines_or_of_names_is_a_way_out_and_fixed_ones_are_none() {
    let read = grants_with_verbs("files", &["read"], "files = \"data\"");
    for (verb, target, is_out) in [
        ("connect", "net = \"h\"\nports = [25]\nquestions = [\"EHLO *\"]", true),
        ("connect", "net = \"h\"\nports = [25]\nquestions = [\"QUIT\"]", false),
        ("connect", "net = \"h\"\nports = [25]", false),
        ("inspect-tls", "net = \"h\"\nports = [25]\nquestions = [\"EHLO *\"]", false),
        ("lookup", "net = []\nnames = [\"*.example.com\"]", true),
        ("lookup", "net = []\nnames = [\"example.com\"]", false),
    ] {
        let net = grants_with_verbs("net", &[verb], &format!("# one line more\n{target}"));
        let found = sentences(&[("a", &read, &[]), ("b", &net, &["a"])]);
        let reaches = |sentence: &String| {
            sentence.starts_with("high files of")
                && sentence.contains("by `a`, then `b`")
                && !sentence.contains("log, journal")
        };
        assert_eq!(found.iter().any(reaches), is_out, "{verb} {target}: {found:#?}");
    }
}

#[test]
fn data_flows_through_a_chain_of_steps() {
    let read = grants_with_verbs("files", &["read"], "files = \"data\"");
    let middle = grants_with_verbs("sql", &["query"], "# two\n\nsql = \"postgres://a@h/d\"");
    let post = grants_with_verbs("http", &["get"], "# three\n\n\nhttp = \"https://hooks.example\"");
    let found = sentences(&[("a", &read, &[]), ("b", &middle, &["a"]), ("c", &post, &["b"])]);
    assert!(
        found.iter().any(|sentence| sentence
            == "high files of directory /base/data can reach https://hooks.example by `a`, then \
                `b`, then `c`"),
        "{found:#?}"
    );
}

#[test]
fn an_injected_secret_goes_where_the_target_says_and_nowhere_else() {
    let grants = grants(
        "http",
        "http = \"https://api.internal\"\nheaders = { authorization = \"Bearer secret:token\" }",
    );
    let found = sentences(&[("one", &grants, &[])]);
    assert!(
        found.iter().any(|sentence| sentence
            == "low the value of secret `token` (age:/base/s.age#token) is sent, unseen by the \
                plugin, to https://api.internal by `one`"),
        "{found:#?}"
    );
    assert!(!found.iter().any(|sentence| sentence.contains("plain text")), "{found:#?}");
}

/// The findings of rule `open-interpreter` for a runbook whose first step may write in `files` and
/// whose second runs a program.
fn written_then_run(files: &str, process: &str) -> Vec<String> {
    let mut runbook =
        entry("files", &["write"], &format!("files = \"{files}\"\naccess = \"write\""), None);
    runbook.steps.extend(entry("process", &["run"], process, None).steps);
    let report = AccessReport::new(Vec::new(), vec![runbook]);
    let found =
        report.findings.iter().filter(|finding| finding.rule == FindingRule::OpenInterpreter);
    found.map(|finding| finding.message.clone()).collect()
}

#[test]
fn a_text_that_a_program_runs_and_that_a_step_may_write_is_found() {
    for process in [
        "process = \"/dumps/tool\"",
        "process = \"/bin/sh\"\narguments = [\"/dumps/x.sh\"]",
        "process = \"/bin/sh\"\narguments = [{ one_of = [\"/opt/x.sh\", \"/opt/../dumps/x.sh\"] }]",
        "process = \"/bin/sh\"\narguments = [{ regex = \"/dumps/[a-z]{1,9}\" }]",
        "process = \"/bin/sh\"\narguments = [{ regex = \"[a-z./]{1,9}\" }]",
        "process = \"/bin/sh\"\ndirectory = \"/dumps\"\narguments = [{ regex = \"[a-z]{1,9}\" }]",
        "process = \"/bin/sh\"\ndirectory = \"/dumps/sub\"\narguments = [\"./x.sh\"]",
        "process = \"/usr/bin/psql\"\narguments = [\"-f\", \"/dumps/x.sql\"]",
        "process = \"/usr/bin/psql\"\narguments = [\"--file=/dumps/x.sql\"]",
        "process = \"/usr/bin/env\"\narguments = [\"sh\", \"/dumps/x.sql\"]",
        "process = \"/usr/bin/git\"\ndirectory = \"/dumps/repository\"\narguments = [\"status\"]",
        "process = \"/usr/bin/python3\"\ndirectory = \"/dumps\"\n\
         arguments = [\"-c\", \"import tool\"]",
    ] {
        let found = written_then_run("/dumps", process);
        assert!(
            found.iter().any(|message| message.contains("may write in `/dumps`")),
            "{process}: {found:?}"
        );
    }
    for process in [
        "process = \"/opt/tool\"\narguments = [\"/dumps/x\"]",
        "process = \"/bin/sh\"\narguments = [\"/opt/x.sh\", \"/dumps/data\"]",
        "process = \"/bin/sh\"\narguments = [\"/dumpsters/x.sh\"]",
        "process = \"/bin/sh\"\narguments = [{ regex = \"/opt/[a-z]{1,9}\" }]",
        "process = \"/bin/tar\"\narguments = [\"-xf\", \"/dumps/x.tar\"]",
        "process = \"/usr/bin/psql\"\narguments = [\"-c\", \"select 1\", \"-o\", \"/dumps/x\"]",
    ] {
        assert_eq!(written_then_run("/dumps", process), Vec::<String>::new(), "{process}");
    }
}

#[test]
fn every_variable_of_a_program_is_shown_with_its_value_and_a_secret_by_its_name() {
    let target = "process = \"/opt/x\"\n\
                  environment = \
                  { LANG = \"C\", TOKEN = \"secret:token\", LD_PRELOAD = \"/tmp/x.so\" }";
    let report = AccessReport::new(Vec::new(), vec![entry("process", &["run"], target, None)]);
    let row = report.runbooks[0].steps[0]
        .rows
        .iter()
        .find(|row| row.slot == "s" && row.verb == "process.run")
        .expect("granted");
    let variables = "; with environment LANG=C, LD_PRELOAD=/tmp/x.so, TOKEN=secret:token; \
                     it may read and write every file that its user may; \
                     secret:token is age:/base/s.age#token";
    assert!(row.sentence.ends_with(variables), "{}", row.sentence);
    let reach = &row.granted.as_ref().expect("granted").reach["environment"];
    assert_eq!(reach, &["LANG=C", "LD_PRELOAD=/tmp/x.so", "TOKEN=secret:token"]);
    let found: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.rule == FindingRule::SteeringVariable)
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].message,
        "slot `s` sets LD_PRELOAD=/tmp/x.so, which can make the program run other code"
    );
}

#[test]
fn a_finding_names_what_is_sent_of_a_secret_and_each_server_that_nobody_verifies() {
    let oauth2 = |scheme: &str| {
        format!(
            "auth = {{ oauth2 = {{ token_url = \"{scheme}://auth.example/t\", client_id = \"c\", \
             client_secret = \"secret:k\" }} }}"
        )
    };
    let aws = "auth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:k\", region = \"r\", \
               service = \"s\" } }";
    let found = |base: &str, auth: &str| {
        let grants = grants("http", &format!("http = \"{base}://api.example\"\n{auth}"));
        let report = AccessReport::new(Vec::new(), vec![entry_of(&grants, None)]);
        let finding = |rule| report.findings.iter().find(|found| found.rule == rule);
        finding(FindingRule::UnverifiedServer).map(|found| found.message.clone())
    };
    let says = |what: &str, to: &str| Some(format!("slot `s` sends {what} to {to} by `http`"));
    let api = "http://api.example";
    assert_eq!(found("https", &oauth2("https")), None);
    assert_eq!(found("https", aws), None);
    assert_eq!(found("http", "auth = { bearer = \"secret:k\" }"), says("secret `k`", api));
    assert_eq!(found("http", aws), says("what it signs with secret `k`", api));
    assert_eq!(found("http", &oauth2("https")), says("a token that it gets for secret `k`", api));
    assert_eq!(found("https", &oauth2("http")), says("secret `k`", "http://auth.example/t"));
}

#[test]
fn a_secret_flows_to_the_server_that_gets_its_value() {
    let sinks = |auth: &str| {
        let grants = grants("http", &format!("http = \"https://api.example\"\n{auth}"));
        let report = AccessReport::new(Vec::new(), vec![entry_of(&grants, None)]);
        let flows = report.runbooks[0].flows.iter();
        let of_secret = flows.filter(|flow| flow.source.what.starts_with("secret `k`"));
        of_secret.map(|flow| flow.sink.what.clone()).collect::<Vec<_>>()
    };
    assert_eq!(sinks("auth = { bearer = \"secret:k\" }"), ["https://api.example"]);
    assert_eq!(
        sinks(
            "auth = { oauth2 = { token_url = \"https://auth.example/t\", client_id = \"c\", \
             client_secret = \"secret:k\" } }"
        ),
        ["https://auth.example/t"]
    );
    // A secret that only signs stays here.
    assert_eq!(
        sinks(
            "auth = { aws-sigv4 = { access_key = \"A\", secret_key = \"secret:k\", region = \"r\", \
             service = \"s\" } }"
        ),
        Vec::<String>::new()
    );
}

const CONNECTION_TARGET: &str = "[targets.lent]\nsql = \"postgres://root@forbidden.internal/payroll\"\n\
                    password = \"secret:pw\"\n";

#[test]
fn the_database_of_a_connection_is_in_the_row_the_findings_and_the_flows() {
    let grants =
        process_grants("process = \"/usr/bin/pg_dump\"\nconnection = \"lent\"", CONNECTION_TARGET);
    let report = AccessReport::new(Vec::new(), vec![entry_of(&grants, None)]);
    let database = "database payroll on forbidden.internal:5432 as root";
    let row = report.runbooks[0].steps[0]
        .rows
        .iter()
        .find(|row| row.verb == "process.run")
        .expect("granted");
    assert!(row.sentence.contains(&format!("connected to {database}")), "{}", row.sentence);
    let message = |rule: FindingRule| {
        report.findings.iter().find(|found| found.rule == rule).map(|found| found.message.clone())
    };
    assert!(message(FindingRule::SystemProgram).is_some_and(|message| message.contains(database)));
    assert!(
        message(FindingRule::UnverifiedServer).is_some_and(|message| message.contains(database))
    );
    let flows = &report.runbooks[0].flows;
    assert!(
        flows
            .iter()
            .any(|flow| flow.source.kind == SourceKind::Rows && flow.source.what == database),
        "{flows:#?}"
    );
    assert!(
        flows.iter().any(|flow| flow.sink.kind == SinkKind::Database && flow.sink.what == database),
        "{flows:#?}"
    );
}

#[test]
fn a_program_that_is_lent_a_unix_socket_counts_as_one_with_a_network() {
    let of = |address: &str, rules: Option<&str>| {
        let lent = format!("[targets.lent]\nsql = \"postgres://{address}\"\n");
        let grants = process_grants("process = \"/usr/bin/pg_dump\"\nconnection = \"lent\"", &lent);
        AccessReport::new(Vec::new(), vec![entry_of(&grants, rules)])
    };
    let rules = |network: &str| {
        format!(
            "[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\nconnections = [\"*\"]\n{network}\n\
             [[allow]]\ncapability = \"secrets\"\nverbs = [\"use\"]\n"
        )
    };
    for (address, is_socket) in
        [("me@localhost/orders?host=/run/postgresql", true), ("me@localhost/orders", false)]
    {
        let report = of(address, None);
        let found = report.findings.iter().any(|found| found.rule == FindingRule::AnyConnection);
        assert_eq!(found, is_socket, "{address}");
        let said = report.runbooks[0].steps[0]
            .rows
            .iter()
            .any(|row| row.sentence.contains("it may connect to every Unix socket of this host"));
        assert_eq!(said, is_socket, "{address}");
        assert_eq!(of(address, Some(&rules("network = false"))).exceeds_boundary(), is_socket);
        assert!(!of(address, Some(&rules("network = true"))).exceeds_boundary());
    }
}

#[test]
fn rules_for_databases_apply_to_the_connection_of_a_program() {
    let program = "[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\n[[allow]]\n\
                   capability = \"secrets\"\nverbs = [\"use\"]\n";
    let naming = |database: &str| {
        program.replacen("\nverbs", &format!("\nconnections = [\"{database}\"]\nverbs"), 1)
    };
    let sql = |rest: &str| {
        let all = if rest.contains("verbs") {
            ""
        } else {
            "verbs = [\"query\", \"execute\", \"transaction\"]\n"
        };
        format!("{program}[[allow]]\ncapability = \"sql\"\n{all}{rest}\n")
    };
    let pay_secret_database = "database payroll on forbidden.internal:5432 as root";
    for (rules, is_within) in [
        (program.to_owned(), false),
        (sql("hosts = [\"db.internal\"]"), false),
        (sql("hosts = [\"*.internal\"]"), true),
        (sql("hosts = [\"*.internal\"]\nusers = [\"app\"]"), false),
        (sql("hosts = [\"*.internal\"]\nverbs = [\"query\"]"), false),
        // The host does not see the statements of the program, so every statement on every relation
        // counts.
        (sql("hosts = [\"*.internal\"]\nstatements = [\"select\"]"), false),
        (sql("hosts = [\"*.internal\"]\nrelations = [\"orders\"]"), false),
        (sql("hosts = [\"*.internal\"]\ntls = [\"verify-full\"]"), false),
        (naming(pay_secret_database), true),
        (naming("database orders *"), false),
    ] {
        let grants = process_grants(
            "process = \"/usr/bin/pg_dump\"\nconnection = \"lent\"",
            CONNECTION_TARGET,
        );
        let report = AccessReport::new(Vec::new(), vec![entry_of(&grants, Some(&rules))]);
        assert_eq!(!report.exceeds_boundary(), is_within, "{rules}");
    }
}

#[test]
fn a_secret_that_is_sent_to_an_unverified_remote_server_is_found() {
    let is_found = |capability: &str, verb: &str, target: &str| {
        rules(capability, &[verb], target, None).contains(&"unverified-server")
    };
    for mode in ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require"] {
        for host in ["db.internal", "10.0.0.1", "[2001:db8::1]"] {
            for scheme in ["postgres", "mysql"] {
                let target = format!("sql = \"{scheme}://a@{host}/d{mode}\"");
                assert!(
                    is_found("sql", "query", &format!("{target}\npassword = \"secret:pw\"")),
                    "{target}"
                );
                assert!(!is_found("sql", "query", &target), "without a password: {target}");
            }
        }
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let target = format!("sql = \"postgres://a@{host}/d{mode}\"\npassword = \"secret:pw\"");
            assert!(!is_found("sql", "query", &target), "{target}");
        }
    }
    let login = "user = \"u\"\npassword = \"secret:pw\"";
    for (proxy, found) in [
        (format!("proxy = \"http://10.0.0.6:3128\"\n{login}"), true),
        (format!("proxy = \"https://10.0.0.6:3128\"\n{login}"), false),
        (format!("proxy = \"http://127.0.0.1:3128\"\n{login}"), false),
        ("proxy = \"http://10.0.0.6:3128\"".to_owned(), false),
    ] {
        let target = format!("http = \"https://h\"\nvia = \"bastion\"\n[targets.bastion]\n{proxy}");
        assert_eq!(is_found("http", "get", &target), found, "{proxy}");
    }
    // What goes to the loopback of a gateway passes the gateway.
    let secret = "password = \"secret:pw\"";
    for (capability, verb, target) in [
        ("sql", "query", format!("sql = \"postgres://a@localhost/d\"\n{secret}")),
        ("redis", "read", format!("redis = \"localhost\"\ntls = \"off\"\n{secret}")),
        (
            "http",
            "get",
            "http = \"http://localhost\"\nheaders = { X-Key = \"secret:pw\" }".to_owned(),
        ),
    ] {
        assert!(!is_found(capability, verb, &target), "{target}");
        assert!(is_found(capability, verb, &format!("{target}\nvia = \"bastion\"")), "{target}");
    }
    assert!(!is_found(
        "sql",
        "query",
        "sql = \"postgres://a@db.internal/d?sslmode=verify-full\"\npassword = \"secret:pw\""
    ));
    let store = |endpoint: &str| {
        format!(
            "objects = \"s3://backups/\"\nendpoint = \"{endpoint}\"\nauth = {{ aws-sigv4 = {{ access_key = \
             \"secret:token\", secret_key = \"secret:pw\", region = \"r\" }} }}"
        )
    };
    assert!(is_found("objects", "get", &store("http://store.internal")));
    assert!(!is_found("objects", "get", &store("https://store.internal")));
    let headers = "headers = { authorization = \"secret:token\" }";
    assert!(is_found("http", "get", &format!("http = \"http://api.internal\"\n{headers}")));
    assert!(!is_found("http", "get", &format!("http = \"https://api.internal\"\n{headers}")));
    assert!(!is_found("http", "get", &format!("http = \"http://localhost:8080\"\n{headers}")));
}

/// The flows of a chain of steps: the first reads rows, and each other step gets the output of the
/// step before it. In the file, the order is reversed.
fn chain_of_flows(steps: usize) -> Vec<Flow> {
    let (reads, nothing) = (
        grants_with_verbs("sql", &["query"], "sql = \"postgres://a@h/d\""),
        EffectiveGrants::none(),
    );
    let name = |number: usize| format!("s{number:05}");
    let names: Vec<String> = (0..steps).map(name).collect();
    let inputs: Vec<BTreeSet<String>> =
        (0..steps).map(|number| number.checked_sub(1).map(name).into_iter().collect()).collect();
    let step = |number: usize| FlowStep {
        step: &names[number],
        grants: if number == 0 { &reads } else { &nothing },
        input_steps: &inputs[number],
    };
    let reversed_steps: Vec<_> = (0..steps).rev().map(step).collect();
    flows(&reversed_steps)
}

#[test]
fn a_flow_through_thousands_of_steps_is_one_flow_by_the_shortest_way() {
    let flows = chain_of_flows(20_000);
    let rows: Vec<_> = flows.iter().filter(|flow| flow.source.kind == SourceKind::Rows).collect();
    assert!(!rows.is_empty() && rows.iter().all(|flow| flow.steps == ["s00000"]), "{rows:?}");
}

#[test]
fn many_steps_that_may_write_to_one_directory_give_one_finding() {
    let findings = |writers: usize| {
        let mut runbook = entry(
            "process",
            &["run"],
            "process = \"/bin/sh\"\narguments = [\"/base/dumps/x.sh\"]",
            None,
        );
        let writer = entry("files", &["write"], "files = \"dumps\"\naccess = \"write\"", None)
            .steps
            .remove(0);
        for number in 0..writers {
            runbook.steps.push(StepEntry { step: format!("w{number}"), ..writer.clone() });
        }
        let report = AccessReport::new(Vec::new(), vec![runbook]);
        let is_about_writers = |finding: &Finding| {
            finding.rule == FindingRule::OpenInterpreter && finding.message.contains("may write")
        };
        report
            .findings
            .into_iter()
            .filter(is_about_writers)
            .map(|finding| finding.message)
            .collect::<Vec<_>>()
    };
    assert!(findings(1)[0].contains("slot `s` of step `w0` may write"), "{:?}", findings(1));
    let messages = findings(1_000);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("slot `s` of step `w0` (and 999 more) may write"), "{messages:?}");
}

#[test]
fn a_gateway_can_read_along_only_what_is_not_encrypted_up_to_a_verified_server() {
    for (capability, verb, target, is_readable) in [
        ("http", "get", "http = \"https://h\"", false),
        ("http", "get", "http = \"http://h\"", true),
        ("sql", "query", "sql = \"postgres://a@h/d?sslmode=verify-full\"", false),
        ("sql", "query", "sql = \"postgres://a@h/d?sslmode=require\"", true),
        ("net", "connect", "net = \"h\"\nports = [25]\nquestions = [\"QUIT\"]", true),
        ("net", "inspect-tls", "net = \"h\"\nports = [443]", false),
    ] {
        let to_gateway = |more: &str| {
            let entry = entry(capability, &[verb], &format!("{target}{more}"), None);
            let sinks = entry.flows.iter().map(|flow| flow.sink.what.clone());
            sinks.filter(|what| what == "ssh ops@10.0.0.5:22").count() > 0
        };
        assert_eq!(to_gateway("\nvia = \"bastion\""), is_readable, "{target}");
        assert!(!to_gateway(""), "{target}");
    }
}
