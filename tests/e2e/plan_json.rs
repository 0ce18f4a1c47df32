//! `plan --format json`: the plan for programs, with a published schema.

use crate::{home, repository};
use runbook_tests::env::TestEnv;
use serde_json::{Value, json};

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "planned"
title = "All that a plan has"
[params.who]
type = "string"
default = "ada"
[secrets.word]
source = "age:secrets/prod.age#word"
[targets.db]
sql = "sqlite:n.db"
[targets.api]
http = "http://127.0.0.1:1"
headers = { authorization = "Bearer secret:word" }
[locks]
exclusive = ["db:n"]
[[window.allow]]
days = "mon-sun"
from = "00:00"
to = "24:00"
zone = "UTC"
[[guard]]
id = "lag"
uses = "sql:query"
bind.db = "db"
with = { statement = "select 1 as n", row_count = 1 }
on_breach = "pause"
[[preflight]]
id = "up"
uses = "http:get"
bind.target = "api"
with = { path = "/" }
[[step]]
id = "say"
uses = "sql:execute"
bind.db = "db"
with = { statement = "insert into said values (?1)", parameters = ["{{ params.who }}"] }
undo = { uses = "sql:execute", bind.db = "db", with = { statement = "delete from said" } }
approval = { quorum = 2 }
[[step]]
id = "each"
uses = "sql:execute"
bind.db = "db"
for_each = ["a", "b"]
with = { statement = "insert into said values (?1)", parameters = ["{{ item }}"] }
irreversible = "it is said"
"#;

fn prepared() -> TestEnv {
    let env = home();
    rusqlite::Connection::open(env.path().join("n.db"))
        .and_then(|db| db.execute_batch("create table said (what)"))
        .expect("made");
    env.file("r.toml", RUNBOOK);
    env
}

fn plan(env: &TestEnv, more: &[&str]) -> Value {
    let printed = env.run(&[&["plan", "r.toml", "--format", "json"], more].concat()).status(0);
    serde_json::from_str(&printed.stdout).expect("one JSON object")
}

fn schema() -> jsonschema::Validator {
    let text =
        std::fs::read_to_string(repository().join("schema/plan.v1.json")).expect("it is published");
    jsonschema::validator_for(&serde_json::from_str(&text).expect("JSON")).expect("a good schema")
}

fn assert_matches_schema(schema: &jsonschema::Validator, plan: &Value) {
    let errors: Vec<_> = schema
        .iter_errors(plan)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{plan:#}");
}

/// The entry of a list whose `key` is `value`.
fn entry<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let mut entries = list.as_array().expect("a list").iter();
    entries.find(|entry| entry[key] == value).unwrap_or_else(|| panic!("no {value} in {list:#}"))
}

#[test]
fn a_json_plan_has_what_the_text_plan_shows() {
    let env = prepared();
    let plan = plan(&env, &["--set", "who=bob"]);
    assert_matches_schema(&schema(), &plan);
    assert_eq!((&plan["name"], &plan["asked"]), (&json!("planned"), &json!("steps")));
    assert_eq!(plan["params"], json!({ "who": "bob" }));
    assert_eq!(plan["locks"], json!(["db:n"]));
    assert_eq!(plan["window"]["is_open"], json!(true));
    let guard = entry(&plan["guards"], "uses", "sql:query");
    assert_eq!((&guard["on_breach"], &guard["every_ms"]), (&json!("pause"), &json!(10_000)));
    let say = entry(&plan["steps"], "id", "say");
    assert_eq!((&say["undo"]["kind"], &say["approvals"]), (&json!("explicit"), &json!(2)));
    let each = entry(&plan["steps"], "id", "each");
    assert_eq!(each["undo"], json!({ "kind": "irreversible", "reason": "it is said" }));
    assert_eq!(each["for_each"], json!("[\"a\",\"b\"]"));
    let call = entry(&plan["calls"], "id", "say");
    assert_eq!(call["input"]["parameters"], json!(["bob"]));
    assert_eq!(call["undo_input"]["statement"], json!("delete from said"));
    assert_eq!(entry(&plan["calls"], "id", "up")["result"], json!("not-asked"));
    let grant = entry(&plan["authority"], "call", "say");
    assert_eq!((&grant["slot"], &grant["target"]), (&json!("db"), &json!("db")));
    assert_eq!(grant["verbs"], json!(["sql.execute"]));
    assert!(grant["granted_at"].as_str().is_some_and(|at| at.contains("r.toml:")), "{grant}");
    let secret = entry(&plan["secrets"], "name", "word");
    assert_eq!(secret["used_by"], json!(["up"]));
    assert!(plan["changing_call_count"].as_u64().is_some_and(|calls| calls >= 2), "{plan:#}");
}

#[test]
fn shipped_and_offline_plans_match_the_schema() {
    let env = prepared();
    let offline = plan(&env, &["--offline"]);
    assert_matches_schema(&schema(), &offline);
    assert_eq!(offline["asked"], json!("nobody"));
    let out = plan(&env, &["--out", "p.json"]);
    assert_matches_schema(&schema(), &out);
    assert!(env.path().join("p.json").exists(), "both are written");
    let quickstart = repository().join("runbooks/quickstart.toml").display().to_string();
    let printed = env.run(&["plan", "--offline", "--format", "json", &quickstart]).status(0);
    assert_matches_schema(
        &schema(),
        &serde_json::from_str(&printed.stdout).expect("one JSON object"),
    );
    let wrong = schema().is_valid(&json!({ "format": 2 }));
    assert!(!wrong, "the schema refuses what is no plan");
}

#[test]
fn undos_and_notifications_stand_in_the_authority_of_a_plan_with_their_secrets() {
    let env = prepared();
    let undo = "undo = { uses = \"webhook:post\", bind.webhook = \"api\", \
                with = { path = \"/\", json = {} } }";
    let own = "undo = { uses = \"sql:execute\", bind.db = \"db\", with = { statement = \"delete from said\" } }";
    let notify = "[[notify]]\non = [\"failed\"]\nuses = \"sql:transaction\"\nbind.db = \"db\"\n\
                  with = { statements = [\"delete from said\"] }\n";
    let text = RUNBOOK.replace(own, undo);
    assert_ne!(text, RUNBOOK);
    env.file("undone.toml", &format!("{text}{notify}"));
    let plan = env.run(&["plan", "undone.toml", "--offline", "--format", "json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let granted: Vec<&str> = plan["authority"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|grant| grant["call"].as_str())
        .collect();
    for call in ["up", "say", "say/undo", "each", "lag", "notify/1"] {
        assert!(granted.contains(&call), "{call}: {granted:?}");
    }
    assert!(plan["secrets"][0]["used_by"].to_string().contains("say/undo"), "{}", plan["secrets"]);
    let text = env.run(&["plan", "undone.toml", "--offline"]).stdout;
    let authority = text.split_once("\nAuthority\n").expect("it is shown").1;
    assert!(authority.contains("say/undo") && authority.contains("notify/1"), "{authority}");
}
