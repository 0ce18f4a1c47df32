//! The documents are correct: tests, links, samples and output that they show.

use crate::{home, repository};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) fn collect_files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect_files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let mut sources = Vec::new();
    for folder in ["host", "tests", "sdk", "plugins"] {
        collect_files(&repository().join(folder), "rs", &mut sources);
    }
    let sources: String =
        sources.iter().map(|path| std::fs::read_to_string(path).expect("readable")).collect();
    let read = |name: &str| {
        std::fs::read_to_string(repository().join("docs").join(name)).expect("readable")
    };
    let text = ["security.md", "semantics.md", "traps.md"].map(read).join("\n");
    let is_test = |name: &&str| {
        name.matches('_').count() > 2
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let test_names: BTreeSet<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(test_names.len() > 60, "{} tests are named", test_names.len());
    for name in test_names {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "a document names `{name}`, which is no test"
        );
    }
}

/// Every document of the repository.
fn documents() -> Vec<PathBuf> {
    let root = repository();
    let at_the_top =
        std::fs::read_dir(&root).expect("readable").map(|entry| entry.expect("an entry").path());
    let mut documents: Vec<PathBuf> =
        at_the_top.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    for folder in ["docs", "plugins", "sdk"] {
        collect_files(&root.join(folder), "md", &mut documents);
    }
    documents
}

/// A diff of a longer line is hard to review. Tables, code and lines without a space are exempt.
#[test]
fn no_line_of_prose_is_longer_than_100_columns() {
    let mut long = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("readable");
        let mut is_code = false;
        for (number, line) in text.lines().enumerate() {
            let start = line.trim_start();
            is_code ^= start.starts_with("```");
            let is_prose = !is_code && !start.starts_with(['|', '[', '!']);
            if is_prose && line.chars().count() > 100 && start.contains(' ') {
                long.push(format!("{}:{}", document.display(), number + 1));
            }
        }
    }
    assert!(long.is_empty(), "wrap these: {long:#?}");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for document in documents() {
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

/// The index names each decision once, in the order of its number, with its title and status. Each
/// decision has a context, a decision and consequences.
#[test]
fn the_index_of_decisions_lists_each_of_them_in_order() {
    let folder = repository().join("docs/adr");
    let mut decisions = Vec::new();
    collect_files(&folder, "md", &mut decisions);
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
            let said = text
                .split(part)
                .nth(1)
                .unwrap_or_else(|| panic!("{name} has no `{}`", part.trim()));
            assert!(
                said.split("\n## ").next().is_some_and(|said| said.trim().len() > 40),
                "{name}: `{}` is empty",
                part.trim()
            );
        }
        expected.push(format!(
            "| [{title}]({name}) | {} |",
            status.split(',').next().unwrap_or_default()
        ));
    }
    assert!(expected.len() > 25, "{} decisions", expected.len());
    assert_eq!(rows, expected);
}

/// The boundary of the guide is valid, and the review of the emergency runbook has the findings
/// that the guide shows.
#[test]
fn the_review_guide_shows_real_output() {
    let env = home();
    let text =
        std::fs::read_to_string(repository().join("docs/review-guide.md")).expect("readable");
    let blocks: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    env.file("boundary.toml", blocks[0]);
    let runbook = repository().join("runbooks/emergency-db.toml").display().to_string();
    let found = env.run(&["review", "--boundary", "boundary.toml", &runbook]).status(6).stdout;
    assert!(
        found.contains("RB016 system-program") && found.contains("BEYOND THE BOUNDARY"),
        "{found}"
    );
    let shown = text
        .split("```\nFindings\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example");
    let folder = repository().join("runbooks").display().to_string();
    let plain =
        env.run(&["review", &runbook]).status(0).stdout.replace(&runbook, "emergency-db.toml");
    let plain = plain.replace(&folder, "/srv/runbooks");
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        assert!(
            plain.contains(line.trim()),
            "the guide shows `{}`, which does not come out:\n{plain}",
            line.trim()
        );
    }
}

/// The list `Where next` of the README links to every document at the top and in `docs`.
#[test]
fn the_readme_leads_to_every_document() {
    let root = repository();
    let readme = std::fs::read_to_string(root.join("README.md")).expect("readable");
    let next = readme.split_once("## Where next").expect("a list").1;
    let mut documents = vec![
        "sdk/rust/README.md".to_owned(),
        "docs/adr/README.md".to_owned(),
        "docs/errors/README.md".to_owned(),
    ];
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
        assert!(
            next.contains(&format!("({document})")),
            "`Where next` does not lead to {document}"
        );
    }
}

/// The changelog has the form of Keep a Changelog: it begins with `Unreleased`, and uses only the
/// standard kinds of change.
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

fn document(path: &str) -> String {
    std::fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced blocks of a document in one language. An empty `language` selects plain blocks.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => found
                .extend(open.take().filter(|(found, _)| found == language).map(|(_, text)| text)),
            (Some((_, block)), None) => {
                let _ = writeln!(block, "{line}");
            }
            (None, None) => {}
        }
    }
    found
}

/// The file name in a comment on the first line of a block.
fn file_name_of_block(block: &str) -> Option<&str> {
    let first = block.lines().next()?;
    let name = first.strip_prefix("# ").or_else(|| first.strip_prefix("-- "))?;
    matches!(name.split('.').next_back(), Some("toml" | "sql")).then_some(name)
}

/// Every sample of the format is valid: a whole file as it is, and a part after it was completed to
/// a runbook.
#[test]
fn every_sample_of_a_document_that_is_a_runbook_or_a_part_of_one_is_valid() {
    let mut documents = vec![repository().join("docs/runbooks.md"), repository().join("README.md")];
    collect_files(&repository().join("plugins"), "md", &mut documents);
    let mut seen = 0;
    for path in documents {
        let text = std::fs::read_to_string(&path).expect("readable");
        let beside = ["toml", "sql"].map(|language| blocks(&text, language)).concat();
        for block in blocks(&text, "toml") {
            let env = home();
            // Files that a sample names by `with_file` are other samples of the same document.
            let named_blocks =
                beside.iter().filter_map(|block| Some((file_name_of_block(block)?, block)));
            for (name, file) in named_blocks {
                if block.contains(&format!("\"{name}\"")) {
                    env.file(name, file);
                }
            }
            // The sample of another kind of file has its name on the first line.
            let (name, text) = file_name_of_block(&block)
                .map_or_else(|| ("r.toml", complete_runbook(&block)), |name| (name, block.clone()));
            env.file(name, &text);
            let finished = env.run(&["validate", name]);
            assert_eq!(finished.status, 0, "{}:\n{block}\n{}", path.display(), finished.stderr);
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} samples");
}

/// Completes a part of a runbook: adds the head, the secrets and targets that it names, and a step
/// if it has none.
fn complete_runbook(block: &str) -> String {
    let part: toml::Table =
        toml::from_str(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
    let mut text = String::new();
    if !part.contains_key("runbook") {
        text.push_str("format = 1\n[runbook]\nname = \"sample\"\n");
    }
    let secret_names: BTreeSet<&str> = block
        .split("secret:")
        .skip(1)
        .map(name_of)
        .chain(block.split("secret = \"").skip(1).map(name_of))
        .collect();
    for name in secret_names
        .into_iter()
        .filter(|name| part.get("secrets").and_then(|secrets| secrets.get(name)).is_none())
    {
        let _ = writeln!(text, "[secrets.{name}]\nsource = \"age:secrets/prod.age#{name}\"");
    }
    text.push_str(block);
    for (name, target) in missing_targets(&part) {
        let _ = writeln!(text, "[targets.{name}]\n{target}");
    }
    if ["step", "check"].iter().all(|section| !part.contains_key(*section)) {
        text.push_str("[[step]]\nid = \"by-hand\"\nmanual = { instructions = \"look\" }\n");
    }
    text
}

fn name_of(rest: &str) -> &str {
    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
        .next()
        .unwrap_or_default()
}

/// Definitions of the targets that a part binds but does not define. The kind of each is guessed
/// from the name of the slot.
fn missing_targets(part: &toml::Table) -> Vec<(String, &'static str)> {
    let own = |name: &str| part.get("targets").and_then(|targets| targets.get(name)).is_some();
    let sections = ["preflight", "step", "verify", "check", "finally", "notify"];
    let calls = sections.iter().filter_map(|section| part.get(*section)?.as_array()).flatten();
    let binds = calls.filter_map(|call| call.get("bind")?.as_table()).flatten();
    let of_slot = |slot: &str| match slot {
        "db" => "sql = \"sqlite:shop.db\"",
        "container" => "docker = { name = \"api\" }",
        "directory" => "files = \"files\"\naccess = \"write\"",
        "program" => "process = \"/usr/bin/df\"",
        _ => "http = \"https://service.example\"",
    };
    let missing: std::collections::BTreeMap<String, &'static str> = binds
        .filter_map(|(slot, target)| Some((target.as_str()?.to_owned(), of_slot(slot))))
        .filter(|(name, _)| !own(name))
        .collect();
    missing.into_iter().collect()
}

#[test]
fn the_suite_of_the_documents_runs_as_it_stands() {
    let env = home();
    let suite = blocks(&document("docs/runbooks.md"), "toml")
        .into_iter()
        .find(|block| block.contains("orders-checks"));
    env.file("checks.toml", &suite.expect("it is there"));
    let database = rusqlite::Connection::open(env.path().join("shop.db")).expect("it opens");
    let run = |statements: &str| database.execute_batch(statements).expect("good SQL");
    run("create table orders (customer, state); insert into orders values (1, 'new'), (2, 'sent')");
    env.run(&["check", "checks.toml"]).status(0).out("3 healthy");
    run(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200) insert into \
         orders select 1, 'new' from n",
    );
    env.run(&["check", "checks.toml"]).status(1).out("1 warning");
    run("insert into orders values (null, 'sent')");
    env.run(&["check", "checks.toml"]).status(2).out("1 critical");
    env.run(&["check", "--tag", "quick", "checks.toml"]).status(0).out("1 healthy");
}

/// The lines of an output without the parts that differ between two runs: times, sizes, ids and the
/// operator.
fn without_variable_parts(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_number = |word: &str| word.parse::<f64>().is_ok();
        let is_unit =
            |word: &str| ["ms", "s", "B", "KiB"].contains(&word.trim_end_matches([',', ':']));
        let mut kept = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let is_id = word.matches('-').count() >= 1
                && word.bytes().filter(u8::is_ascii_digit).count() >= 4;
            let is_time = word.matches(':').count() == 2 && word.as_bytes()[0].is_ascii_digit();
            let is_amount =
                is_number(word) && words.get(index + 1).is_some_and(|next| is_unit(next));
            let is_of_amount = is_unit(word) && index > 0 && is_number(words[index - 1]);
            if is_id || is_time || word.contains('@') {
                kept.push("…".to_owned());
            } else if !is_amount && !is_of_amount {
                kept.push((*word).to_owned());
            }
        }
        kept.join(" ")
    };
    text.lines().map(line).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_readme_shows_what_the_quickstart_prints() {
    let env = home();
    env.file("runbooks/quickstart.toml", &document("runbooks/quickstart.toml"));
    std::fs::create_dir_all(env.path().join("runbooks/quickstart")).expect("a folder can be made");
    let shown = blocks(&document("README.md"), "");
    let find = |part: &str| {
        shown
            .iter()
            .find(|block| block.contains(part))
            .unwrap_or_else(|| panic!("no block shows `{part}`"))
    };
    let good = env.run(&["exec", "runbooks/quickstart.toml"]).status(0);
    let printed = without_variable_parts(&good.stdout);
    let expected = without_variable_parts(find("Succeeded. Everything was done."));
    assert!(
        printed.ends_with(&expected),
        "the README shows\n{expected:#?}\nand this comes out\n{printed:#?}"
    );
    let bad =
        env.run(&["exec", "runbooks/quickstart.toml", "--set", "expected_orders=99"]).status(1);
    let printed = without_variable_parts(&bad.stderr);
    let expected = without_variable_parts(find("undoing 1 step"));
    assert!(
        printed.windows(expected.len()).any(|lines| lines == expected),
        "the README shows\n{expected:#?}\nand this comes out\n{printed:#?}"
    );
}

#[test]
fn the_lock_sample_of_the_review_guide_is_real_output() {
    let env = home();
    let guide = document("docs/review-guide.md");
    let sample = blocks(&guide, "")
        .into_iter()
        .find(|block| block.starts_with("error: `r.toml` is not what"))
        .expect("it is there");
    let added: String = sample
        .lines()
        .filter_map(|line| line.strip_prefix("    +"))
        .fold(String::new(), |text, line| text + line + "\n");
    let before = "format = 1\n[runbook]\nname = \"r\"\n\n[targets.shop]\nsql = \"sqlite:shop.db\"\n\
                  create = true\n\n[[step]]\nid = \"look\"\nuses = \"sql:query\"\n\
                  bind.db = \"shop\"\nwith = { statement = \"select 1 as one\" }\n";
    rusqlite::Connection::open(env.path().join("shop.db"))
        .expect("it opens")
        .execute_batch("create table o (a)")
        .expect("good SQL");
    env.file("r.toml", before);
    env.run(&["lock", "r.toml"]).status(0);
    env.file("r.toml", &format!("{before}{added}"));
    let refused = env.run(&["exec", "r.toml"]).status(6).stderr;
    let here = std::fs::canonicalize(env.path()).expect("it is there").display().to_string();
    for line in sample.lines().filter(|line| !line.trim().is_empty()) {
        let line = line.replace("/srv/checks", &here).replace("`runbook.lock`", "");
        let said = refused.replace(&format!("`{here}/runbook.lock`"), "");
        assert!(
            said.contains(line.trim()),
            "the guide shows `{line}`, which does not come out:\n{said}"
        );
    }
    env.run(&["lock", "--accept", "r.toml"]).status(0);
    env.run(&["exec", "--locked", "r.toml"]).status(0);
}
