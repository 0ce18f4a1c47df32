//! The checklists of CONTRIBUTING.md are correct: the paths that they name exist for every existing
//! item of the kind, and no path is missing.

use crate::repository;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One checklist: its heading, and the paths that its items name.
struct Checklist {
    heading: String,
    paths: Vec<String>,
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether a word in backquotes is a path of the repository.
fn is_path(word: &str) -> bool {
    let ends = [".rs", ".md", ".toml", ".wit", ".json"].iter().any(|end| word.ends_with(end));
    let begins =
        ["host/", "wit/", "sdk/", "plugins/", "tests/", "docs/", "schema/", "scripts/", ".ci/"];
    !word.contains([' ', '*'])
        && (begins.iter().any(|begin| word.starts_with(begin)) || (ends && !word.contains('/')))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn checklists() -> Vec<Checklist> {
    let text = read("CONTRIBUTING.md");
    let lists = text.split("\n### ").skip(1).map(|list| {
        let (heading, items) = list.split_once('\n').expect("a heading ends");
        let paths = items.split("- [ ] ").skip(1).flat_map(|item| {
            words(item)
                .filter(|word| is_path(word) && word.contains('/'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        Checklist { heading: heading.to_owned(), paths: paths.collect() }
    });
    lists.collect()
}

fn list(heading: &str) -> Checklist {
    checklists()
        .into_iter()
        .find(|list| list.heading == heading)
        .unwrap_or_else(|| panic!("no list `{heading}`"))
}

/// The names of all existing items of the kind that a checklist is about.
fn names(heading: &str) -> Vec<String> {
    let folder = |path: &str, has: &str| {
        let entries = fs::read_dir(repository().join(path))
            .expect("readable")
            .map(|entry| entry.expect("an entry").path());
        let names = entries.filter(|path| path.join(has).exists());
        let mut names: Vec<_> = names
            .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    match heading {
        "Add a capability" | "Add a target kind, or a key of a target" => linked_capabilities(),
        "Add an output format for runs" => {
            runbook_report::FORMATS.iter().map(|(_, name, ..)| (*name).to_owned()).collect()
        }
        "Add an output format for checks" => runbook_report::checks::CHECK_FORMATS
            .iter()
            .map(|(_, name)| (*name).to_owned())
            .collect(),
        STEP_EVENTS => events("EventType"),
        "Add an event of a run" => events("LifecycleEvent"),
        "Add a bundled plugin" => folder("plugins", "plugin.toml"),
        "Add an error code" => runbook_authority::access_report::FINDING_RULES
            .iter()
            .map(|row| row.id.to_owned())
            .collect(),
        "Add a command" => commands(),
        other => panic!("say here what the names are of: {other}"),
    }
}

/// The checklist for step events. Their variants stand in two enums: `EventType` for all events,
/// and the enum of the thing that they are about.
const STEP_EVENTS: &str = "Add an event of a step";

/// The capabilities that this host links.
fn linked_capabilities() -> Vec<String> {
    use runbook_authority::capability::{Availability, Capability, functions_of};
    let is_linked = |capability: &Capability| {
        capability
            .verbs()
            .any(|verb| functions_of(verb).any(|row| row.availability == Availability::Linked))
    };
    Capability::all().filter(is_linked).map(|capability| capability.name().to_owned()).collect()
}

/// The variants of the event enum with this name.
fn events(of: &str) -> Vec<String> {
    let text = read("host/engine/src/event/mod.rs") + &read("host/engine/src/event/step.rs");
    let body = text
        .split_once(&format!("enum {of} {{"))
        .expect("the enum of events")
        .1
        .split_once("\n}")
        .expect("its end")
        .0;
    let variants = body.lines().filter_map(|line| {
        line.strip_prefix("    ").filter(|rest| rest.starts_with(char::is_uppercase))
    });
    variants
        .map(|line| {
            line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
        })
        .collect()
}

/// The subcommands that `runbook help` lists.
fn commands() -> Vec<String> {
    let help = crate::home().run(&["help"]).status(0).stdout;
    let table = help
        .split_once("\nRun:\n")
        .expect("groups of commands")
        .1
        .split_once("Options:\n")
        .expect("options follow")
        .0;
    let rows = table.lines().filter_map(|line| line.strip_prefix("  "));
    let names =
        rows.filter(|row| !row.starts_with(' ')).filter_map(|row| row.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Whether a name stands in a text in any of its spellings, such as `lock-waiting` or
/// `LockWaiting`, or `http`, `Http` or `HttpTarget`.
fn is_named_in(text: &str, name: &str) -> bool {
    let kebab = name.chars().enumerate().fold(String::new(), |mut text, (at, letter)| {
        text.extend((letter.is_uppercase() && at > 0).then_some('-'));
        text.push(letter.to_ascii_lowercase());
        text
    });
    let camel: String =
        name.split('-').map(|part| part[..1].to_ascii_uppercase() + &part[1..]).collect();
    let jsonl = (name == "jsonl").then_some("JsonLines");
    let secret = (name == "secrets").then_some("Secret");
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    [Some(name), Some(&kebab), Some(&camel), jsonl, secret].into_iter().flatten().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            let after = text[at + word.len()..].chars().next();
            !text[..at].ends_with(is_part)
                && after.is_none_or(|c| !is_part(c) || (word == camel && c.is_uppercase()))
        })
    })
}

/// Whether a path exists with `NAME` replaced by a name. For `NAME.rs`, `secret.rs` and
/// `sql/mod.rs` count, too.
fn exists_for(path: &str, name: &str) -> bool {
    let root = repository();
    let module = name.replace('-', "_");
    let forms = [name.to_owned(), module.trim_end_matches('s').to_owned()];
    forms.iter().any(|name| {
        let path = path.replace("NAME", name);
        let folder = path.strip_suffix(".rs").map(|stem| format!("{stem}/mod.rs"));
        root.join(&path).exists() || folder.is_some_and(|folder| root.join(folder).exists())
    })
}

#[test]
fn every_path_that_a_checklist_names_exists_for_everything_of_its_kind() {
    let lists = checklists();
    assert!(lists.len() >= 8, "{} lists", lists.len());
    for list in lists {
        let names = names(&list.heading);
        assert!(
            names.len() >= 4 && list.paths.len() >= 4,
            "{}: {names:?} {:?}",
            list.heading,
            list.paths
        );
        for path in &list.paths {
            for name in names.iter().filter(|_| path.contains("NAME")) {
                // One file has both halves of a decision.
                let name = if list.heading == "Add a command" && name == "reject" {
                    "approve"
                } else {
                    name
                };
                assert!(
                    exists_for(path, name),
                    "{}: there is no `{path}` for `{name}`",
                    list.heading
                );
            }
            let is_plain = !path.contains("NAME");
            assert!(
                !is_plain || repository().join(path).exists(),
                "{}: there is no `{path}`",
                list.heading
            );
        }
    }
}

/// Tests, functions and files that CONTRIBUTING.md names in backquotes exist.
#[test]
fn everything_else_that_contributing_names_is_there() {
    let text = read("CONTRIBUTING.md");
    let mut sources = Vec::new();
    for folder in ["host", "tests", "sdk"] {
        crate::docs::collect_files(&repository().join(folder), "rs", &mut sources);
    }
    let sources: String =
        sources.iter().map(|path| fs::read_to_string(path).expect("readable")).collect();
    let prose: String = text.split("```").step_by(2).collect();
    for word in words(&prose) {
        let is_test = word.matches('_').count() > 2
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(!is_test || sources.contains(&format!("fn {word}(")), "there is no test `{word}`");
        if let Some((_, function)) =
            word.split_once("::").filter(|(_, rest)| !rest.is_empty() && !word.contains(' '))
        {
            assert!(sources.contains(&format!("fn {function}")), "there is no function `{word}`");
        }
        let is_file = is_path(word) && !word.contains("NAME");
        assert!(!is_file || is_somewhere(word), "there is no file `{word}`");
    }
    for line in text.lines().filter(|line| line.starts_with("scripts/") || line.starts_with(".ci/"))
    {
        let script = line.split_whitespace().next().unwrap_or_default();
        assert!(repository().join(script).exists(), "there is no `{script}`");
    }
}

/// Whether a path exists, or a bare name of a file (`tests.rs`) anywhere in the sources.
fn is_somewhere(word: &str) -> bool {
    let root = repository();
    root.join(word).exists()
        || (!word.contains('/') && {
            let mut files = Vec::new();
            let ending = word.rsplit('.').next().unwrap_or_default();
            ["host", "wit", "sdk", "plugins"].iter().for_each(|folder| {
                crate::docs::collect_files(&root.join(folder), ending, &mut files);
            });
            files.iter().any(|path| path.ends_with(word))
        })
}

/// Each file of a checklist names every existing item of its kind.
#[test]
fn everything_of_a_kind_is_named_in_each_file_of_its_list() {
    // These files name only some items: documents, and files with what only some items need.
    let exempt_files = [
        "docs/semantics.md",
        "docs/security.md",
        "host/engine/src/event/step_types.rs",
        "host/engine/src/event/run_types.rs",
        "host/cli/src/commands/check.rs",
    ];
    let kinds = [
        "Add a capability",
        STEP_EVENTS,
        "Add an event of a run",
        "Add an output format for runs",
        "Add an output format for checks",
    ];
    for heading in kinds {
        let names = names(heading);
        let families = events("StepEvent");
        let paths = list(heading).paths;
        let files = paths
            .iter()
            .filter(|path| !path.contains("NAME") && !exempt_files.contains(&path.as_str()));
        for path in files.filter(|path| repository().join(path).is_file()) {
            let text = read(path);
            // A fold over events matches on the enums by subject, not on each event.
            let is_fold = heading == STEP_EVENTS && path.contains("/src/");
            let names = if is_fold { &families } else { &names };
            let missing: Vec<_> = names.iter().filter(|name| !is_named_in(&text, name)).collect();
            assert!(
                missing.is_empty(),
                "{heading}: `{path}` is on the list and does not name {missing:?}"
            );
        }
    }
}

/// The other way round: a file with a match arm for every item of a kind has to be on the checklist
/// of that kind.
#[test]
fn every_file_that_has_an_arm_for_everything_of_a_kind_is_on_its_list() {
    let mut files = Vec::new();
    crate::docs::collect_files(&repository().join("host"), "rs", &mut files);
    let is_code = |path: &&PathBuf| {
        let text = path.to_string_lossy();
        text.contains("/src/") && !text.contains("tests")
    };
    let kinds: [(&str, &[&str]); 5] = [
        ("Add a capability", &["Capability::", "TargetKind::"]),
        (STEP_EVENTS, &["StepEvent::"]),
        ("Add an event of a run", &["LifecycleEvent::"]),
        ("Add an output format for runs", &["Format::"]),
        ("Add an output format for checks", &["CheckFormat::"]),
    ];
    for (heading, prefixes) in kinds {
        let listed = list(heading).paths;
        let names = if heading == STEP_EVENTS { events("StepEvent") } else { names(heading) };
        for file in files.iter().filter(is_code) {
            let text = fs::read_to_string(file).expect("readable");
            let has_arm = |name: &String| {
                let variant = match name.as_str() {
                    "jsonl" => "JsonLines".to_owned(),
                    // The capability is `secrets`, and its target kind is `Secret`.
                    "secrets" => "Secret".to_owned(),
                    name => name[..1].to_ascii_uppercase() + &name[1..],
                };
                prefixes.iter().any(|prefix| {
                    let whole =
                        |(at, _): (usize, &str)| !text[..at].ends_with(char::is_alphanumeric);
                    text.match_indices(&format!("{prefix}{variant}")).any(whole)
                })
            };
            let arms: BTreeSet<_> = names.iter().filter(|name| has_arm(name)).collect();
            // One missing arm is tolerated: a capability's own file may lack its own arm.
            if arms.len() + 1 < names.len() {
                continue;
            }
            let path = file
                .strip_prefix(repository())
                .expect("it is below")
                .to_string_lossy()
                .into_owned();
            let is_listed = listed.iter().any(|listed| path == *listed || is_below(&path, listed));
            assert!(is_listed, "{heading}: `{path}` has an arm for each and is not on the list");
        }
    }
}

/// Whether a file is in a folder that a list names as a whole.
fn is_below(path: &str, listed: &str) -> bool {
    repository().join(listed).is_dir() && Path::new(path).starts_with(listed)
}
