//! The documents say what is so.

use crate::{home, repository};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let mut sources = Vec::new();
    for folder in ["host", "tests", "sdk", "plugins"] {
        files(&repository().join(folder), "rs", &mut sources);
    }
    let sources: String = sources.iter().map(|path| std::fs::read_to_string(path).expect("readable")).collect();
    let read = |name: &str| std::fs::read_to_string(repository().join("docs").join(name)).expect("readable");
    let text = ["security.md", "semantics.md", "traps.md"].map(read).join("\n");
    let is_test = |name: &&str| {
        name.matches('_').count() > 2
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 60, "{} tests are named", named.len());
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "a document names `{name}`, which is no test");
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let root = repository();
    let at_the_top = std::fs::read_dir(&root).expect("readable").map(|entry| entry.expect("an entry").path());
    let mut documents: Vec<PathBuf> = at_the_top.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    for folder in ["docs", "plugins", "sdk"] {
        files(&root.join(folder), "md", &mut documents);
    }
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = document.parent().expect("a folder").join(path);
            assert!(target.exists(), "{}: `{link}` leads nowhere", document.display());
        }
    }
}

/// The index names each decision once, in the order of its number, with its title and status; each decision says why and what follows.
#[test]
fn the_index_of_decisions_lists_each_of_them_in_order() {
    let folder = repository().join("docs/adr");
    let mut decisions = Vec::new();
    files(&folder, "md", &mut decisions);
    decisions.retain(|path| !path.ends_with("README.md"));
    decisions.sort();
    let index = std::fs::read_to_string(folder.join("README.md")).expect("readable");
    let rows: Vec<&str> = index.lines().filter(|line| line.starts_with("| [")).collect();
    let mut expected = Vec::new();
    for (number, path) in (1..).zip(&decisions) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let text = std::fs::read_to_string(path).expect("readable");
        assert!(name.starts_with(&format!("{number:04}-")), "{name}: the next number is {number}");
        let title = text.lines().next().and_then(|line| line.strip_prefix("# ")).expect("a title");
        assert!(title.starts_with(&format!("{number}. ")), "{name}: `{title}`");
        let status = text.lines().find_map(|line| line.strip_prefix("Status: ")).expect("a status");
        for part in ["\n## Context\n", "\n## Decision\n", "\n## Consequences\n"] {
            let said = text.split(part).nth(1).unwrap_or_else(|| panic!("{name} has no `{}`", part.trim()));
            assert!(said.split("\n## ").next().is_some_and(|said| said.trim().len() > 40), "{name}: `{}` is empty", part.trim());
        }
        expected.push(format!("| [{title}]({name}) | {} |", status.split(',').next().unwrap_or_default()));
    }
    assert!(expected.len() > 25, "{} decisions", expected.len());
    assert_eq!(rows, expected);
}

/// The boundary and the trust file of the guide are good, and the emergency has the findings that it shows.
#[test]
fn the_review_guide_shows_what_comes_out() {
    let env = home();
    let text = std::fs::read_to_string(repository().join("docs/review-guide.md")).expect("readable");
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    env.file("boundary.toml", blocks[0]);
    let runbook = repository().join("runbooks/emergency-db.toml").display().to_string();
    let found = env.run(&["audit", "--boundary", "boundary.toml", &runbook]).status(6).stdout;
    assert!(found.contains("RB016 system-program") && found.contains("BEYOND THE BOUNDARY"), "{found}");
    let shown = text.split("```\nFindings\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let plain = env.run(&["audit", &runbook]).status(0).stdout.replace(&runbook, "emergency-db.toml");
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        assert!(plain.contains(line.trim()), "the guide shows `{}`, which does not come out:\n{plain}", line.trim());
    }
}

/// The list `Where next` of the README leads to every document, and no document of the top is forgotten.
#[test]
fn the_readme_leads_to_every_document() {
    let root = repository();
    let readme = std::fs::read_to_string(root.join("README.md")).expect("readable");
    let next = readme.split_once("## Where next").expect("a list").1;
    let mut documents =
        vec!["sdk/rust/README.md".to_owned(), "docs/adr/README.md".to_owned(), "docs/errors/README.md".to_owned()];
    for (folder, prefix) in [("", ""), ("docs", "docs/")] {
        for entry in std::fs::read_dir(root.join(folder)).expect("readable") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.extension().is_some_and(|end| end == "md") && name != "README.md" {
                documents.push(format!("{prefix}{name}"));
            }
        }
    }
    assert!(documents.len() > 12, "{documents:?}");
    for document in documents {
        assert!(next.contains(&format!("({document})")), "`Where next` does not lead to {document}");
    }
}

/// The changelog has the form of Keep a Changelog: versions from new to old, with its kinds of change and no other.
#[test]
fn the_changelog_keeps_its_form() {
    let text = std::fs::read_to_string(repository().join("CHANGELOG.md")).expect("readable");
    let versions: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(versions.first(), Some(&"Unreleased"));
    let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    for kind in text.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(kinds.contains(&kind), "`{kind}` is no kind of change");
    }
}
