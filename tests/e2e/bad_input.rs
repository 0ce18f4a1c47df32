//! Mistakes in a runbook, its files and its services are reported with what to do.

use crate::home;

const HEAD: &str = "format = 1\n[runbook]\nname = \"t\"\n";

fn validate(text: &str) -> runbook_tests::env::ProgramOutput {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{text}"));
    env.run(&["validate", "r.toml"])
}

const API: &str = "[targets.api]\nhttp = \"http://127.0.0.1:1\"\n";

#[test]
fn malformed_toml_is_shown_at_its_line() {
    validate("[targets\n").status(2).err("r.toml:4").err("1 error");
}

#[test]
fn an_unknown_key_comes_with_the_nearest_name() {
    validate(&format!(
        "{API}[[preflight]]\nid = \"a\"\nuses = \"http:get\"\nbind.target = \"api\"\n\
         timout = \"5s\"\n"
    ))
    .status(2)
    .err("unknown key `timout`")
    .err("did you mean `timeout`?");
}

#[test]
fn a_cycle_in_needs_is_shown() {
    let step = |id: &str, needs: &str| {
        format!(
            "[[step]]\nid = \"{id}\"\nuses = \"http:get\"\nbind.target = \"api\"\n\
                 with = {{ path = \"/\" }}\nneeds = [\"{needs}\"]\n"
        )
    };
    validate(&format!("{API}{}{}", step("a", "b"), step("b", "a"))).status(2).err("cycle");
}

#[test]
fn a_missing_parameter_is_an_error_with_the_flag_to_add() {
    let env = home();
    let steps = "[[preflight]]\nid = \"a\"\nuses = \"http:get\"\nbind.target = \"api\"\n\
                 with = { path = \"/\" }\n";
    env.file(
        "r.toml",
        &format!("{HEAD}[params.incident]\ntype = \"string\"\nrequired = true\n{API}{steps}"),
    );
    env.run(&["exec", "r.toml"])
        .status(2)
        .err("parameter `incident` is required")
        .err("--set incident=");
}

#[test]
fn an_undefined_name_in_a_template_is_found_before_anything_runs() {
    validate(&format!(
        "{API}[[preflight]]\nid = \"a\"\nuses = \"http:get\"\nbind.target = \"api\"\n\
         with = {{ path = \"/{{{{ params.nobody }}}}\" }}\n"
    ))
    .status(2)
    .err("nobody");
}

#[test]
fn an_unbound_slot_is_refused_with_the_line_to_add() {
    validate(&format!(
        "{API}[[preflight]]\nid = \"a\"\nuses = \"http:get\"\nwith = {{ path = \"/\" }}\n"
    ))
    .status(2)
    .err("slot `target` of `http:get` is not bound")
    .err("bind.target = \"api\"");
}

#[test]
fn a_grant_wider_than_declared_is_refused() {
    let targets =
        "[targets.api]\nhttp = \"http://127.0.0.1:1\"\nverbs = [\"get\", \"head\", \"delete\"]\n";
    validate(&format!(
        "{targets}[[preflight]]\nid = \"a\"\nuses = \"http:get\"\nbind.target = \"api\"\n\
         with = {{ path = \"/\" }}\n"
    ))
    .status(6)
    .err("grants `delete`")
    .err("r.toml");
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    validate(
        "[targets.db]\nsql = \"postgres://a:hunter2hunter2@h/d\"\n[[preflight]]\nid = \"p\"\n\
              uses = \"postgres:ping\"\nbind.db = \"db\"\n",
    )
    .status(2)
    .err("it holds a password")
    .err("secret:NAME");
}

#[test]
fn a_plugin_that_is_no_component_is_refused() {
    let env = home();
    env.file("bad.wasm", "not wasm at all");
    env.file("r.toml", &format!("{HEAD}[[preflight]]\nid = \"a\"\nuses = \"./bad.wasm:check\"\n"));
    env.run(&["validate", "r.toml"]).status(6).err("it is not WebAssembly").err("r.toml:6");
}

#[test]
fn an_input_of_the_wrong_type_is_shown_at_its_line() {
    validate(&format!(
        "{API}[[preflight]]\nid = \"a\"\nuses = \"http:get\"\nbind.target = \"api\"\n\
         with = {{ path = 5 }}\n"
    ))
    .status(2)
    .err("the input of `http:get` does not fit: at `/path`")
    .err("r.toml:10");
}

#[test]
fn a_plugin_that_does_not_exist_is_named() {
    validate("[[preflight]]\nid = \"a\"\nuses = \"htp:get\"\n")
        .status(2)
        .err("there is no plugin `htp`")
        .err("did you mean `http`?");
}

#[test]
fn a_writing_step_must_have_an_undo_or_be_irreversible() {
    let targets = "[targets.hook]\nhttp = \"http://127.0.0.1:1\"\n";
    validate(&format!(
        "{targets}[[step]]\nid = \"a\"\nuses = \"webhook:post\"\nbind.webhook = \"hook\"\n\
         with = {{ text = \"x\" }}\n"
    ))
    .status(2)
    .err("irreversible");
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once() {
    let text = "[targets.a]\nhttp = \"ftp://x\"\n[targets.b]\nsql = \"nonsense\"\n[[preflight]]\n\
                id = \"p\"\nuses = \"http:gte\"\nbind.target = \"a\"\n";
    validate(text).status(2).err("scheme").err("address of a database").err("http:get");
}

#[test]
fn a_dead_database_fails_the_preflight_and_changes_nothing() {
    let env = home();
    let text = "[targets.db]\nsql = \"postgres://nobody@127.0.0.1:1/none\"\n[[preflight]]\n\
                id = \"reachable\"\nuses = \"postgres:ping\"\nbind.db = \"db\"\n";
    env.file("r.toml", &format!("{HEAD}{text}"));
    env.run(&["exec", "r.toml"]).status(4).err("reachable").out("No step had changed anything");
}

#[test]
fn an_unreachable_docker_engine_is_reported_with_its_socket() {
    let env = home();
    let text = "[targets.app]\ndocker = { name = \"x\" }\nsocket = \"/tmp/no-such-docker.sock\"\n\
                [[preflight]]\nid = \"up\"\nuses = \"docker:status\"\nbind.container = \"app\"\n";
    env.file("r.toml", &format!("{HEAD}{text}"));
    env.run(&["exec", "r.toml"]).status(4).err("/tmp/no-such-docker.sock");
}

#[test]
fn a_journal_that_cannot_be_written_stops_the_run_before_the_first_effect() {
    let env = home();
    let hook = runbook_tests::http::Receiver::start();
    let text = format!(
        "[targets.hook]\nhttp = \"http://127.0.0.1:{}\"\n[[step]]\nid = \"a\"\n\
         uses = \"webhook:post\"\nbind.webhook = \"hook\"\nwith = {{ text = \"x\" }}\n\
         irreversible = \"a message\"\n",
        hook.port
    );
    env.file("r.toml", &format!("{HEAD}{text}"));
    env.file("not-a-folder", "");
    env.run(&["--journal", "not-a-folder/journal.db", "exec", "r.toml"])
        .status(3)
        .err("not-a-folder");
    assert!(hook.received().is_empty());
}

/// Values of `--set` for a parameter of type list, and the resulting list; `None` is an error.
const LISTS: &[(&[&str], Option<&str>)] = &[
    (&["hosts=a,b"], Some("a+b")),
    (&["hosts=a, b ,"], Some("a+b")),
    (&["hosts=a", "hosts=b"], Some("a+b")),
    (&["hosts=a,b", "hosts=c"], Some("a+b+c")),
    (&["hosts=[\"a\",\"b, c\"]"], Some("a+b, c")),
    (&["hosts=[\"a\"]", "hosts=b"], Some("a+b")),
    (&["hosts="], Some("")),
    (&["hosts=[\"a\",1]"], None),
    (&["hosts=[a,b]"], None),
    (&["hosts=[::1]:80,b"], None),
    (&["word=a", "word=b"], None),
];

#[test]
fn every_set_option_counts_and_lists_are_parsed_one_way() {
    let env = crate::home();
    rusqlite::Connection::open(env.path().join("work.db"))
        .expect("a file")
        .execute_batch("vacuum")
        .expect("a database");
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"lists\"\n[params.hosts]\ntype = \"list\"\ndefault = []\n\
         [params.word]\ntype = \"string\"\ndefault = \"x\"\n[targets.db]\n\
         sql = \"sqlite:work.db\"\ncreate = true\n[[step]]\nid = \"look\"\nuses = \"sql:query\"\n\
         bind.db = \"db\"\nwith = \
         { statement = \"select '{{ params.hosts | join('+') }}' as found\", first_row = { found = \"{{ params.hosts | join('+') }}\" } }\n",
    );
    for (sets, expected) in LISTS {
        let mut arguments = vec!["exec", "r.toml"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        let finished = env.run(&arguments);
        match expected {
            Some(list) => drop(finished.status(0).out(format!("found = {list}").trim_end())),
            None => drop(finished.status(2).err("--set")),
        }
    }
}
