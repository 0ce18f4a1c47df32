use super::*;
use runbook_document::Diagnostics;
use std::path::Path;
use std::sync::Arc;

const PLUGIN: &str = r#"
format = 1
[plugin]
name = "docker"
version = "1.0.0"
description = "d"
[slots.container]
capability = "docker"
verbs = ["inspect", "stop", "start"]
reason = "r"
[slots.notes]
capability = "files"
verbs = ["read"]
reason = "r"
[[operation]]
name = "stop"
kind = "step"
summary = "s"
slots = { container = ["inspect", "stop"], notes = ["read"] }
optional = ["notes"]
"#;

/// The targets of a file without mistakes.
fn targets_of(source: &Arc<Source>) -> Targets {
    let mut diagnostics = Diagnostics::default();
    let document = runbook_document::parse(source, &mut diagnostics).expect("good TOML");
    let Some(runbook_document::Value::Table(table)) =
        document.get("targets").map(|node| &node.value)
    else {
        panic!("no targets")
    };
    let mut all = Targets::default();
    let folder = crate::targets::Folder::without_links(Path::new("/base")).expect("absolute");
    all.read(source, table, folder, &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    all
}

/// The refusals for a step with these bindings, in a runbook with these targets.
fn refusals(operation: &str, targets: &str, bindings: &[(&str, &str)]) -> Vec<String> {
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", PLUGIN), &mut diagnostics)
        .expect("the test's manifest is good");
    let source = Source::new("r.toml", format!("# step\n{targets}"));
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let all = targets_of(&source);
    let spanned = |text: &str| Spanned { value: text.to_owned(), span: 0..1 };
    let bindings: Vec<_> = bindings
        .iter()
        .map(|(slot, target)| Binding { slot: spanned(slot), target: spanned(target) })
        .collect();
    let uses = format!("docker:{operation}");
    let site = GrantSite {
        step: "stop-app",
        uses: &uses,
        operation,
        source: &source,
        span: &(0..1),
        input: KnownInput::empty(),
    };
    let refusals = grant(&site, &manifest, &bindings, &all).err().unwrap_or_default();
    let place = |refusal: &Refusal| refusal.source.place(&refusal.span);
    refusals
        .iter()
        .map(|refusal| {
            format!(
                "{} {} [{}] {}",
                refusal.rule.name(),
                refusal.message,
                place(refusal),
                refusal.help
            )
        })
        .collect()
}

const APP: &str = "[targets.app]\ndocker = { name = \"app\" }\n";

#[test]
fn a_bound_step_gets_the_verbs_of_its_operation_and_no_more() {
    assert!(refusals("stop", APP, &[("container", "app")]).is_empty());
}

/// The grants or refusals for a step whose plugin needs each verb of a capability only for an input
/// that names the verb under `wants`.
fn granted_for(
    capability: Capability,
    toml: &str,
    input: &serde_json::Value,
    unknown: &[&str],
) -> Result<EffectiveGrants, Vec<String>> {
    let names: Vec<_> = capability.verbs().map(|verb| verb.row().name).collect();
    let verbs = format!("[\"{}\"]", names.join("\", \""));
    let conditions: String = names
        .iter()
        .map(|verb| {
            format!(
                "{{ slot = \"s\", verb = \"{verb}\", any_of = [\"wants[].verb\"], is \
                     = \"{verb}\" }},\n"
            )
        })
        .collect();
    let plugin = format!(
        "format = 1\n[plugin]\nname = \"p\"\nversion = \"1.0.0\"\ndescription = \"d\"\n\
         [slots.s]\ncapability = \"{capability}\"\nverbs = {verbs}\nreason = \"r\"\n\
         [[operation]]\nname = \"o\"\nkind = \"step\"\nsummary = \"s\"\nslots = {{ s = {verbs} }}\n\
         needed_if = [\n{conditions}]\n"
    );
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", plugin), &mut diagnostics)
        .unwrap_or_else(|| panic!("{diagnostics:?}"));
    let source = Source::new("r.toml", format!("[targets.t]\n{toml}\n"));
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let all = targets_of(&source);
    let spanned = |text: &str| Spanned { value: text.to_owned(), span: 0..1 };
    let bindings = [Binding { slot: spanned("s"), target: spanned("t") }];
    let unknown = unknown.iter().map(|&place| place.to_owned()).collect();
    let site = GrantSite {
        step: "one",
        uses: "p:o",
        operation: "o",
        source: &source,
        span: &(0..1),
        input: KnownInput { value: input, unknown: &unknown },
    };
    grant(&site, &manifest, &bindings, &all)
        .map_err(|refusals| refusals.into_iter().map(|refusal| refusal.message).collect())
}

/// A target of each capability that has one.
const TARGETS: &[(Capability, &str)] = &[
    (Capability::Http, "http = \"http://h\""),
    (Capability::Sql, "sql = \"postgres://a@h/d\""),
    (Capability::Docker, "docker = { name = \"c\" }"),
    (Capability::Files, "files = \"x\"\naccess = \"write\""),
    (Capability::Process, "process = \"/bin/x\"\narguments = []"),
    (Capability::Net, "net = \"h\"\nports = [1]"),
    (Capability::Redis, "redis = \"h\""),
    (Capability::Mail, "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]"),
    (
        Capability::Objects,
        "objects = \"s3://bucket\"\nendpoint = \"https://h\"\nauth = { aws-sigv4 = { access_key = \
         \"A\", secret_key = \"secret:token\", region = \"r\" } }",
    ),
    (
        Capability::System,
        "system = [\"cpu\", \"memory\", \"disks\", \"uptime\", \"identity\", \"processes\", \
         \"users\", \"ports\", \"units\", \"unit-start\", \"unit-stop\", \"unit-restart\", \
         \"unit-reload\", \"unit-enable\", \"unit-disable\"]\nprocesses = [\"a\"]\nunits = [\"a\"]\n\
         control = [\"a.service\"]",
    ),
    (Capability::Secrets, "secret = \"x\"\npositions = [{ slot = \"s\", header = \"a\" }]"),
];

#[test]
fn each_verb_is_granted_to_an_input_that_needs_it_or_may_need_it_and_to_no_other() {
    use crate::gate::{GateDecision, GateRequest, Mode, decide};
    for (capability, toml) in TARGETS {
        for verb in capability.verbs() {
            let name = verb.row().name;
            let wanting_input =
                serde_json::json!({ "wants": [{ "verb": name }, { "verb": "other" }] });
            let template = serde_json::json!({ "wants": [{ "verb": "{{ x }}" }] });
            let granted = |input: &serde_json::Value, unknown: &[&str]| {
                granted_for(*capability, toml, input, unknown)
                    .unwrap_or_else(|refusals| panic!("{name}: {refusals:?}"))
            };
            // Only the verb that the input names is granted. The target of a program grants `run`
            // only, so `inspect` is refused whatever the input is.
            let by_target = toml.starts_with("process") && verb == Verb::ProcessInspect;
            if !by_target {
                let granted_certainly = granted(&wanting_input, &[]);
                assert_eq!(
                    granted_certainly.get("s").map(|grant| grant.verbs.clone()),
                    Some(vec![verb])
                );
                let reason =
                    granted_certainly.conditional_verb("s", verb).expect("it has one").reason();
                assert_eq!(reason, "needed by `wants[0].verb` of the input");
            }
            if *capability != Capability::Process {
                let granted_possibly = granted(&template, &["/wants/0/verb"]);
                assert_eq!(
                    granted_possibly.get("s").map(|grant| grant.verbs.len()),
                    Some(capability.verbs().count())
                );
                let reason =
                    granted_possibly.conditional_verb("s", verb).expect("it has one").reason();
                assert_eq!(
                    reason,
                    "may be needed: `wants[0].verb` of the input is a template, known only at run \
                     time"
                );
            }
            for input in [
                serde_json::json!({}),
                serde_json::json!({ "wants": [] }),
                serde_json::json!({ "wants": [{ "verb": "other" }, {}] }),
                serde_json::json!({ "wants": name }),
                template.clone(),
            ] {
                let no_grants = granted(&input, &["/elsewhere"]);
                assert_eq!(no_grants.iter().count(), 0, "{name} for {input}");
                assert!(no_grants.secrets().is_empty(), "{name} for {input}");
                let operation = GateRequest::Docker { slot: "s", verb };
                let GateDecision::Deny(denial) = decide(&no_grants, Mode::Effects, &operation)
                else {
                    panic!("`{name}` is allowed for {input}")
                };
                let message = denial.to_string();
                let expected = format!(
                    "is not granted: this input does not need it; it is needed if `wants[].verb` \
                     is `\"{name}\"`"
                );
                assert!(message.contains(&expected), "{message}");
                assert!(message.ends_with("(rule `input` of target `t`)"), "{message}");
            }
        }
    }
    let with_targets: Vec<_> = TARGETS.iter().map(|(capability, _)| *capability).collect();
    for capability in Capability::all() {
        let is_planned = capability == Capability::State;
        assert!(is_planned || with_targets.contains(&capability), "{capability} has no target");
    }
}

#[test]
fn a_target_that_lists_its_verbs_needs_to_list_only_those_that_the_input_needs() {
    let toml = "http = \"http://h\"\nverbs = [\"get\"]";
    let granted = |input: serde_json::Value, unknown: &[&str]| {
        granted_for(Capability::Http, toml, &input, unknown).map(drop)
    };
    assert_eq!(granted(serde_json::json!({ "wants": [{ "verb": "get" }] }), &[]), Ok(()));
    let needs = "`p:o` needs `delete` on slot `s`, but target `t` grants only `get`";
    let deletes = serde_json::json!({ "wants": [{ "verb": "get" }, { "verb": "delete" }] });
    assert_eq!(granted(deletes, &[]), Err(vec![needs.to_owned()]));
    let template = serde_json::json!({ "wants": [{ "verb": "{{ x }}" }] });
    let refusals = granted(template, &["/wants/0/verb"]).expect_err("it may be any of them");
    let expected = "`p:o` may need `head`, `health`, `post`, `put`, `patch`, `delete` on slot `s`, because \
                    `wants[0].verb` of its input is a template, but target `t` grants only `get`";
    assert_eq!(refusals, [expected]);
}

#[test]
fn an_unbound_slot_is_refused_with_the_line_to_add() {
    assert_eq!(
        refusals("stop", APP, &[]),
        [
            "unbound-slot slot `container` of `docker:stop` is not bound; it needs `inspect`, `stop` \
          [r.toml:1] add `bind.container = \"app\"` to step `stop-app`"
        ]
    );
}

#[test]
fn a_grant_wider_than_declared_is_refused_at_the_target() {
    let targets =
        "[targets.app]\ndocker = { name = \"app\" }\nverbs = [\"inspect\", \"stop\", \"exec\"]\n";
    assert_eq!(
        refusals("stop", targets, &[("container", "app")]),
        ["grant-wider-than-declared target `app` grants `exec`, but slot `container` of plugin \
          `docker` declares only `inspect`, `start`, `stop` [r.toml:2] remove `exec` from the \
          verbs of `[targets.app]`, or bind another target"]
    );
}

#[test]
fn a_writable_directory_for_a_slot_that_only_reads_is_refused() {
    let targets = format!("{APP}[targets.dir]\nfiles = \"x\"\naccess = \"write\"\n");
    let found = refusals("stop", &targets, &[("container", "app"), ("notes", "dir")]);
    assert!(
        found.len() == 1
            && found[0].starts_with("grant-wider-than-declared target `dir` grants `write`"),
        "{found:?}"
    );
}

#[test]
fn a_grant_narrower_than_needed_is_refused_at_the_target() {
    let targets = "[targets.app]\ndocker = { name = \"app\" }\nverbs = [\"inspect\"]\n";
    let found = refusals("stop", targets, &[("container", "app")]);
    assert!(
        found[0].starts_with(
            "grant-narrower-than-needed `docker:stop` needs `stop` on slot `container`"
        ),
        "{found:?}"
    );
}

#[test]
fn wrong_names_and_kinds_are_all_refused_at_once() {
    let targets = format!("{APP}[targets.api]\nhttp = \"http://h\"\n");
    let found = refusals(
        "stop",
        &targets,
        &[("container", "api"), ("notes", "nobody"), ("contaner", "app")],
    );
    let rules: Vec<_> = found.iter().map(|text| text.split(' ').next().expect("a rule")).collect();
    assert_eq!(rules, ["unknown-slot", "wrong-kind", "unknown-target"]);
    assert!(found[0].ends_with("did you mean `container`?"), "{found:?}");
    assert!(refusals("stpo", APP, &[])[0].ends_with("did you mean `docker:stop`?"));
}
