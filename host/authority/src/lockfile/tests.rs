use super::*;
use crate::diff::{Direction, diff};
use crate::gate::tests::{grants, grants_with_verbs};
use crate::manifest::Manifest;
use crate::snapshot::{PluginFacts, RunbookFacts, Snapshot};
use runbook_document::{Diagnostics, Source};
use std::collections::BTreeSet;

fn snapshot(steps: &[(&str, crate::EffectiveGrants)]) -> Snapshot {
    let mut runbook = RunbookFacts::default();
    for (step, grants) in steps {
        runbook.add((step, "p:o", "p"), grants);
    }
    let mut snapshot = Snapshot::default();
    snapshot.runbooks.insert("r.toml".to_owned(), runbook);
    snapshot
}

fn plugin(verbs: &str, code: &[u8], imports: &[&str]) -> PluginFacts {
    let mut diagnostics = Diagnostics::default();
    let text = format!(
        "format = 1\n[plugin]\nname = \"p\"\nversion = \"1.0.0\"\ndescription = \"d\"\n\
                 [slots.s]\ncapability = \"docker\"\nverbs = {verbs}\nreason = \"r\"\n\
                 [[operation]]\nname = \"o\"\nkind = \"step\"\nsummary = \"s\"\n\
                 slots = {{ s = {verbs} }}\n"
    );
    let manifest = Manifest::parse(&Source::new("plugin.toml", text), &mut diagnostics)
        .unwrap_or_else(|| panic!("{diagnostics:?}"));
    let imports: BTreeSet<_> = imports.iter().map(|&import| import.to_owned()).collect();
    PluginFacts::of(&manifest, &crate::Digest::of(code), imports, &[])
}

fn reread(snapshot: &Snapshot) -> Snapshot {
    let mut diagnostics = Diagnostics::default();
    let text = render(snapshot, "/base");
    parse(&Source::new("runbook.lock", text.clone()), "/base", &mut diagnostics)
        .unwrap_or_else(|| panic!("{diagnostics:#?}\n{text}"))
}

fn changes(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    diff(old, new)
        .into_iter()
        .map(|change| {
            let witness = change.witness.map(|call| format!(" ({call})")).unwrap_or_default();
            format!("{} {}: {}{witness}", change.direction.name(), change.subject, change.what)
        })
        .collect()
}

#[test]
fn a_lockfile_is_read_back_without_any_difference() {
    let targets = [
        (
            "http",
            "http = \"https://api.internal/v1\"\npaths = [\"/a/*\", \"/b/**\"]\n\
                  headers = { authorization = \"Bearer secret:x\" }",
        ),
        ("http", "http = \"secret:hook\""),
        ("http", "http = \"http://127.0.0.1:8080\"\naddresses = [\"private\"]"),
        ("sql", "sql = \"postgres://a@h/d\"\npassword = \"secret:x\"\nstatements = [\"select\"]"),
        ("sql", "sql = \"postgres://a@h/d\"\naddresses = [\"private\", \"loopback\"]"),
        ("sql", "sql = \"postgres://a@[::1]/d\""),
        (
            "sql",
            "sql = \"postgres://a@h/d?sslmode=verify-full\"\nca = \"ca.pem\"\n\
             client_cert = \"secret:cert\"\nclient_key = \"/etc/ssl/private/a.key\"",
        ),
        ("sql", "sql = \"sqlite:data/a.db\"\ncreate = true"),
        (
            "docker",
            "docker = { pattern = \"a*\" }\nimages = [\"x:*\"]\n\
                    command = [\"ls\", { regex = '\\d+\"x' }]",
        ),
        (
            "docker",
            "docker = { name = \"a\" }\nengine = \"tcp://[fd00::1]:2377\"\n\
             addresses = [\"private\"]\nca = \"ca.pem\"\nclient_cert = \"secret:cert\"\n\
             client_key = \"/etc/ssl/private/a.key\"",
        ),
        ("docker", "docker = { name = \"a\" }\nengine = \"tcp://[::1]:2375\"\ntls = \"off\""),
        ("docker", "docker = { name = \"a\" }\nsocket = \"/run/podman/podman.sock\""),
        ("files", "files = \"backups\"\naccess = \"write\""),
        ("files", "files = \"/var/x\"\naccess = \"write\""),
        (
            "process",
            "process = \"/bin/x\"\n\
                     arguments = [{ one_of = [\"a\", \"b\"] }, { repeat = { regex = 'x\\.y' } }]\n\
                     environment = { A = \"b\" }\nnetwork = true\nsignals = true\n\
                     reads = [\"data\", \"/etc/app\"]\nwrites = []\nmemory = \"1GiB\"\ncpu = \"5s\"",
        ),
        (
            "redis",
            "redis = \"[fd00::1]:6380\"\ndatabase = 3\naddresses = [\"private\"]\nca = \"ca.pem\"\n\
             user = \"probe\"\npassword = \"secret:x\"\ncommands = [\"*\", \"h*\", \"eval\", \"json.get\"]\n\
             keys = [\"a:*\", \"b\"]",
        ),
        ("redis", "redis = \"h\"\ntls = \"off\""),
        (
            "objects",
            "objects = \"s3://bucket/a b/\"\nendpoint = \"https://[fd00::1]:9000\"\n\
             addresses = [\"private\"]\nca = \"ca.pem\"\nstorage_class = \"GLACIER\"\n\
             auth = { aws-sigv4 = { access_key = \"secret:x\", secret_key = \"secret:x\", \
             session_token = \"secret:x\", region = \"r\" } }",
        ),
        (
            "mail",
            "mail = \"[fd00::1]:2525\"\nfrom = \"checks@a.example\"\n\
             to = [\"ops@a.example\", \"root@localhost\"]\naddresses = [\"private\"]\n\
             starttls = false\nca = \"ca.pem\"\nuser = \"probe\"\npassword = \"secret:x\"\n\
             max_messages = 7",
        ),
        (
            "mail",
            "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]\ntls = \"off\"",
        ),
        (
            "net",
            "net = [\"mail.internal\", \"10.0.0.7\", \"[fd00::1]\"]\nports = [25, 587]\n\
             addresses = [\"private\"]\nca = \"ca.pem\"\nquestions = [\"EHLO *\", \"*\"]\n\
             names = [\"*.internal\", \"*\"]\nresolver = \"[fd00::53]:5353\"",
        ),
        (
            "system",
            "system = [\"disks\", \"processes\", \"ports\"]\nmounts = [\"/\", \"/srv/*\"]\n\
             processes = [\"nginx\", \"*\"]\nprocess_arguments = true\nmax_rows = 7",
        ),
        (
            "system",
            "system = [\"units\", \"unit-stop\"]\nunits = [\"app-*\", \"*\"]\n\
             control = [\"a.service\", \"b.timer\"]\nbus = \"/run/other\"",
        ),
        (
            "secrets",
            "secret = \"x\"\npositions = \
                     [{ slot = \"api\", header = \"Authorization\", format = \"Bearer {}\" }]",
        ),
    ];
    for (capability, toml) in targets {
        let snapshot = snapshot(&[("one", grants(capability, toml))]);
        assert_eq!(
            changes(&snapshot, &reread(&snapshot)),
            Vec::<String>::new(),
            "{toml}\n{}",
            render(&snapshot, "/base")
        );
        assert_eq!(render(&reread(&snapshot), "/base"), render(&snapshot, "/base"));
    }
    let mut with_plugin = Snapshot::default();
    with_plugin.plugins.insert(
        "./p.wasm".to_owned(),
        plugin("[\"stop\"]", b"x", &["runbook:docker/control@1.0.0#stop"]),
    );
    assert_eq!(reread(&with_plugin), with_plugin);
}

#[test]
fn paths_below_the_folder_are_the_same_in_every_clone() {
    let snapshot =
        snapshot(&[("one", grants_with_verbs("files", &["read"], "files = \"backups\""))]);
    let text = render(&snapshot, "/base");
    assert!(text.contains("directories = [\"./backups\"]"), "{text}");
}

#[test]
fn other_code_is_a_difference_even_if_the_manifest_is_the_same() {
    let (mut old, mut new) = (Snapshot::default(), Snapshot::default());
    old.plugins.insert("p".to_owned(), plugin("[\"stop\"]", b"one", &[]));
    new.plugins.insert("p".to_owned(), plugin("[\"stop\"]", b"two", &[]));
    let found = changes(&old, &new);
    assert!(
        found.len() == 1 && found[0].starts_with("moved plugin `p`: is other code"),
        "{found:?}"
    );
}

#[test]
fn a_plugin_that_declares_and_imports_more_is_widened() {
    let (mut old, mut new) = (Snapshot::default(), Snapshot::default());
    old.plugins.insert("p".to_owned(), plugin("[\"stop\"]", b"one", &[]));
    new.plugins.insert(
        "p".to_owned(),
        plugin("[\"exec\", \"stop\"]", b"one", &["runbook:docker/exec@1.0.0#run"]),
    );
    let found = changes(&old, &new);
    assert_eq!(
        found[0],
        "widened plugin `p`: declares `docker.exec` on slot `s`, which it did not"
    );
    assert_eq!(
        found[1],
        "widened plugin `p`: imports `runbook:docker/exec@1.0.0#run`, which it did not"
    );
    assert_eq!(diff(&old, &new)[0].risk, crate::Risk::Critical);
}

#[test]
fn grants_are_widened_or_narrowed() {
    let docker = |filter: &str, verbs: &[&str]| {
        snapshot(&[(
            "one",
            grants_with_verbs("docker", verbs, &format!("docker = {{ {filter} }}")),
        )])
    };
    let by_name = docker("name = \"ab\"", &["stop"]);
    let by_pattern = docker("pattern = \"a*\"", &["stop"]);
    assert_eq!(
        changes(&by_name, &by_pattern),
        ["widened step `one` of r.toml, slot `s`: containers: ab → a* (stop container \
          any-container)"]
    );
    assert_eq!(
        changes(&by_pattern, &by_name),
        ["narrowed step `one` of r.toml, slot `s`: containers: a* → ab"]
    );
    let by_other_name = docker("name = \"cd\"", &["stop"]);
    assert_eq!(
        changes(&by_name, &by_other_name),
        ["widened step `one` of r.toml, slot `s`: containers: ab → cd (stop container cd)"]
    );
    assert_eq!(changes(&by_name, &by_name), Vec::<String>::new());
    let with_exec = docker("name = \"ab\"", &["exec", "stop"]);
    assert_eq!(diff(&by_name, &with_exec)[0].direction, Direction::Widened);
    assert_eq!(diff(&with_exec, &by_name)[0].direction, Direction::Narrowed);
}

#[test]
fn a_new_step_widens_and_a_removed_step_narrows() {
    let one = snapshot(&[("one", grants_with_verbs("files", &["read"], "files = \"x\""))]);
    let both = snapshot(&[
        ("one", grants_with_verbs("files", &["read"], "files = \"x\"")),
        ("two", grants_with_verbs("files", &["read"], "files = \"y\"")),
    ]);
    assert_eq!(
        changes(&one, &both)[1..],
        ["widened step `two` of r.toml, slot `s`: is granted, which it was not: `p:o` on target \
          `t` (read a file below /base/y)"]
    );
    assert_eq!(
        changes(&both, &one)[1..],
        ["narrowed step `two` of r.toml, slot `s`: is no longer granted: `p:o` on target `t`"]
    );
}

#[test]
fn a_damaged_lockfile_is_an_error() {
    for text in [
        "",
        "format = 0\n",
        "format = 3\n",
        "format = 2\n[[runbook]]\nfile = \"x\"\n",
        "format = 1\n[[runbook]]\nfile = \"x\"\nplugins = []\n",
        "format = 1\n[[plugin]]\nname = \"p\"\n",
        "format = 1\n[[runbook]]\nfile = \"x\"\n[[runbook.grant]]\nstep = \"s\"\nhosts = []\n",
    ] {
        let mut diagnostics = Diagnostics::default();
        assert_eq!(
            parse(&Source::new("runbook.lock", text), "/base", &mut diagnostics),
            None,
            "{text}"
        );
        assert!(diagnostics.has_errors());
    }
}

fn with_texts(texts: &[(&str, &str)]) -> Snapshot {
    let mut snapshot = snapshot(&[("one", grants_with_verbs("files", &["read"], "files = \"x\""))]);
    let runbook = snapshot.runbooks.get_mut("r.toml").expect("it has one");
    runbook.texts =
        texts.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    runbook.plugins = ["p".to_owned(), "without-grants".to_owned()].into();
    snapshot
}

#[test]
fn the_text_of_every_file_and_the_plugins_without_grants_are_read_back() {
    let long = "statement = \"update t set a = 1\"\n".repeat(5000);
    for text in ["", "a = 1", "a = 1\r\n# ümlaut \u{202e}\0\n", &long] {
        let snapshot = with_texts(&[("r.toml", text), ("targets \"x\".toml", "[targets]\n")]);
        let read = reread(&snapshot);
        assert_eq!(read, snapshot, "{text:?}");
        assert_eq!(render(&read, "/base"), render(&snapshot, "/base"));
    }
}

#[test]
fn a_text_that_does_not_match_its_digest_is_an_error() {
    let good = render(&with_texts(&[("r.toml", "a = 1\n")]), "/base");
    let other = render(&with_texts(&[("r.toml", "a = 2\n")]), "/base");
    let line = |text: &str, key: &str| {
        text.lines().find(|line| line.starts_with(key)).expect("it has one").to_owned()
    };
    for (key, replacement) in [
        ("zstd = ", line(&other, "zstd = ")),
        ("zstd = ", "zstd = \"\"".to_owned()),
        ("zstd = ", "zstd = \"!\"".to_owned()),
        ("zstd = ", "zstd = \"AAAA\"".to_owned()),
        ("digest = ", line(&other, "digest = ")),
    ] {
        let edited = good.replace(&line(&good, key), &replacement);
        assert_ne!(edited, good);
        let mut diagnostics = Diagnostics::default();
        assert_eq!(
            parse(&Source::new("runbook.lock", edited), "/base", &mut diagnostics),
            None,
            "{replacement}"
        );
        let messages = format!("{diagnostics:?}");
        assert!(messages.contains("the text of `r.toml` does not match its digest"), "{messages}");
    }
}

#[test]
fn format_1_is_read_and_holds_no_text() {
    let snapshot = with_texts(&[("r.toml", "a = 1\n")]);
    let text = render(&snapshot, "/base");
    let without_texts = text
        .split("\n\n")
        .filter(|part| !part.contains("[[runbook.text]]"))
        .collect::<Vec<_>>()
        .join("\n\n");
    let old = without_texts
        .replace("plugins = [\"p\", \"without-grants\"]\n", "")
        .replace("format = 2", "format = 1");
    assert_ne!(without_texts.len(), old.len());
    let mut diagnostics = Diagnostics::default();
    let read = parse(&Source::new("runbook.lock", old.clone()), "/base", &mut diagnostics)
        .unwrap_or_else(|| panic!("{diagnostics:#?}\n{old}"));
    let (read, written) = (&read.runbooks["r.toml"], &snapshot.runbooks["r.toml"]);
    assert_eq!(read.grants, written.grants);
    assert!(read.texts.is_empty());
    assert_eq!(read.plugins.iter().collect::<Vec<_>>(), ["p"], "those that were granted something");
}

#[test]
fn another_value_of_a_variable_is_a_difference() {
    let snapshot_with = |variables: &str| {
        snapshot(&[(
            "one",
            grants_with_verbs(
                "process",
                &["run"],
                &format!("process = \"/opt/x\"\nenvironment = {{ {variables} }}"),
            ),
        )])
    };
    for (old, new, direction) in [
        ("A = \"1\"", "A = \"2\"", Some("widened")),
        ("A = \"*\"", "A = \"2\"", Some("widened")),
        ("A = \"1\"", "A = \"secret:x\"", Some("widened")),
        ("A = \"1\"", "A = \"1\", B = \"2\"", Some("widened")),
        ("A = \"1\", B = \"2\"", "A = \"1\"", Some("narrowed")),
        ("A = \"1\"", "A = \"1\"", None),
        ("A = \"*\"", "A = \"*\"", None),
    ] {
        let found = crate::diff::diff(&reread(&snapshot_with(old)), &snapshot_with(new));
        assert_eq!(
            found.first().map(|change| change.direction.name()),
            direction,
            "{old} → {new}: {found:?}"
        );
    }
}

#[test]
fn two_entries_with_the_same_key_are_an_error() {
    let mut snapshot = with_texts(&[("r.toml", "a = 1\n")]);
    snapshot.plugins.insert("p".to_owned(), plugin("[\"stop\"]", b"code", &[]));
    let text = render(&snapshot, "/base");
    let starts: Vec<usize> = text.match_indices("\n[[").map(|(at, _)| at + 1).collect();
    assert!(starts.len() >= 4, "each kind of entry is there: {text}");
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(text.len());
        // The copy follows the original, so that an entry of a runbook stays in its runbook.
        let duplicated_text = format!("{}\n{}{}", &text[..end], &text[*start..end], &text[end..]);
        let mut diagnostics = Diagnostics::default();
        assert_eq!(
            parse(&Source::new("runbook.lock", duplicated_text.clone()), "/base", &mut diagnostics),
            None,
            "{duplicated_text}"
        );
        let messages = format!("{diagnostics:?}");
        assert!(messages.contains("there are two entries for"), "{messages}");
    }
}

#[test]
fn another_way_to_a_server_and_another_host_key_are_widened() {
    let target = "http = \"https://h\"";
    let through = |lines: &str| {
        let bastion = format!(
            "\n[targets.bastion]\nssh = \"10.0.0.5\"\nuser = \"ops\"\nkey = \"secret:k\"\n{lines}"
        );
        format!("{target}\nvia = \"bastion\"{bastion}")
    };
    let key = |letter: &str| format!("host_key = \"SHA256:{}A\"", letter.repeat(42));
    let at = |target: &str| snapshot(&[("one", grants_with_verbs("http", &["get"], target))]);
    let (direct, one, other) = (at(target), at(&through(&key("A"))), at(&through(&key("E"))));
    assert!(!render(&direct, "/base").contains("via"), "a direct connection is not written down");
    for (old, new) in [
        (&direct, &one),
        (&one, &direct),
        (&one, &other),
        (&one, &at(&through("known_hosts = \"k\""))),
    ] {
        let found = diff(&reread(old), new);
        assert_eq!(found[0].direction, Direction::Widened, "{found:?}");
    }
    for same in [&direct, &one, &other] {
        assert_eq!(diff(&reread(same), same), Vec::new());
    }
}
