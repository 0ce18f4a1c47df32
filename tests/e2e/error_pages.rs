//! Each error code has a page in `docs/errors`, each page has a code, and the examples on a page
//! are what the program prints.

use crate::{home, repository};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// One fenced block of a page.
struct Block {
    /// The info string after the fence: the language, then a file name.
    info: String,
    /// Its lines.
    lines: Vec<String>,
}

fn folder() -> PathBuf {
    repository().join("docs/errors")
}

/// Every page, by its code.
fn pages() -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path());
    let name = |path: &PathBuf| {
        path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned()
    };
    let files = entries.filter(|path| name(path) != "README");
    files.map(|path| (name(&path), fs::read_to_string(&path).expect("a page is text"))).collect()
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, bool) = (Vec::new(), false);
    for line in page.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(info), false) => {
                blocks.push(Block { info: info.to_owned(), lines: Vec::new() });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => blocks.last_mut().expect("it is open").lines.push(line.to_owned()),
            (None, false) => {}
        }
    }
    blocks
}

/// Whether a text is `E` and four digits, or `RB` and three.
fn is_code(text: &str) -> bool {
    let digits = |prefix: &str| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.len() == 5 && (digits("E") || digits("RB"))
}

/// Every code that stands as a string in the sources of the host.
fn codes() -> BTreeSet<String> {
    let mut files = Vec::new();
    crate::docs::collect_files(&repository().join("host"), "rs", &mut files);
    let mut codes = BTreeSet::new();
    for file in files.iter().filter(|file| file.to_string_lossy().contains("/src/")) {
        let text = fs::read_to_string(file).expect("a source file is text");
        codes.extend(text.split('"').filter(|text| is_code(text)).map(str::to_owned));
    }
    codes
}

/// Codes that more than one crate raises, with their one meaning.
const SHARED: &[(&str, &str)] = &[
    ("E0202", "something is missing in a file"),
    ("E0203", "a value of a file has the wrong type"),
    ("E0204", "a key of a file is unknown"),
    ("E0207", "a name is used twice in a file"),
    ("E0290", "a file is longer or deeper than is read"),
    ("E0234", "an output never has what is read or expected"),
    ("E0115", "a target grants more than the plugin declares"),
    ("E0116", "a target grants less than the operation needs"),
];

#[test]
fn a_code_means_one_thing_whichever_part_of_the_program_raises_it() {
    let mut files = Vec::new();
    crate::docs::collect_files(&repository().join("host"), "rs", &mut files);
    let mut raised: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.to_string_lossy().contains("/src/")) {
        let path = file
            .strip_prefix(repository().join("host"))
            .expect("it is below")
            .to_string_lossy()
            .into_owned();
        let part = path.split('/').next().unwrap_or_default().to_owned();
        let text = fs::read_to_string(file).expect("a source file is text");
        for code in text.split('"').filter(|text| is_code(text) && text.starts_with('E')) {
            raised.entry(code.to_owned()).or_default().insert(part.clone());
        }
    }
    let shared: BTreeSet<&str> =
        raised.iter().filter(|(_, parts)| parts.len() > 1).map(|(code, _)| code.as_str()).collect();
    let listed: BTreeSet<&str> = SHARED.iter().map(|(code, _)| *code).collect();
    assert_eq!(
        shared, listed,
        "a code that two parts raise must mean one thing in both: look, and list it"
    );
    for (code, page) in pages().into_iter().filter(|(code, _)| code.starts_with('E')) {
        for two in ["the code also stands for", "this code also"] {
            assert!(!page.contains(two), "{code} has two meanings");
        }
    }
    let titles: Vec<String> = pages()
        .values()
        .filter_map(|page| Some(page.lines().next()?.split_once(": ")?.1.to_owned()))
        .collect();
    assert_eq!(
        titles.iter().collect::<BTreeSet<_>>().len(),
        titles.len(),
        "two codes with one title: {titles:?}"
    );
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<String> = pages().into_keys().collect();
    let codes = codes();
    assert!(codes.len() > 80, "{} codes are found", codes.len());
    let missing: Vec<_> = codes.difference(&pages).collect();
    let of_nothing: Vec<_> = pages.difference(&codes).collect();
    assert!(
        missing.is_empty() && of_nothing.is_empty(),
        "without a page: {missing:?}; without a code: {of_nothing:?}"
    );
}

#[test]
fn every_page_says_what_it_means_shows_it_and_says_what_to_do() {
    let index = fs::read_to_string(folder().join("README.md")).expect("there is an index");
    for (code, page) in pages() {
        let title = page
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(&format!("# {code}: ")))
            .expect("a title");
        let row = format!("[{code}]({code}.md) | {title} |");
        assert!(index.contains(&row), "the index has no row `{row}`");
        let part = |from: &str, to: &str| {
            let (_, rest) =
                page.split_once(from).unwrap_or_else(|| panic!("{code} has no `{from}`"));
            rest.split(to).next().unwrap_or_default().trim().len()
        };
        assert!(part("\n\n", "## Example") > 40, "{code} does not say what it means");
        assert!(part("## Example\n", "## What to do") > 10, "{code} shows nothing");
        assert!(part("## What to do\n", "\n## ") > 20, "{code} does not say what to do");
        assert!(
            page.lines().filter(|line| !line.starts_with(' ')).count() > 8,
            "{code} is too short"
        );
    }
}

#[test]
fn the_page_of_a_finding_says_what_the_table_says() {
    let table = runbook_authority::access_report::FINDING_RULES;
    let pages = pages();
    for row in table {
        let page = pages[row.id].split_whitespace().collect::<Vec<_>>().join(" ");
        for said in [&format!("# {}: {} ", row.id, row.name), row.description, row.help] {
            assert!(page.contains(said), "{}: the page does not say `{said}`", row.id);
        }
    }
}

/// The output of a command, line by line. The path of the home is replaced by `.`, and paths in it
/// are relative.
fn printed(env: &runbook_tests::env::TestEnv, command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let finished = env.run(&words);
    let home = env.path().display().to_string();
    let text = format!("{}{}", finished.stdout, finished.stderr)
        .replace(&format!("{home}/"), "")
        .replace(&home, ".");
    text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Writes the files of each example and runs its commands, which print what the page shows. If the
/// shown output ends with `…`, only its beginning is compared. After a change of a message,
/// `RUNBOOK_BLESS=1` updates the pages; read their diff.
#[test]
fn every_example_prints_what_its_page_shows() {
    let bless = std::env::var_os("RUNBOOK_BLESS").is_some();
    let (mut wrong, mut shown) = (String::new(), 0);
    for (code, page) in pages() {
        let env = home();
        for name in ["checks.toml", "restore.toml"] {
            env.file(
                name,
                &fs::read_to_string(repository().join("tests/wrong/beside").join(name))
                    .expect("it is there"),
            );
        }
        for Block { info, lines } in blocks(&page) {
            let text = lines.join("\n") + "\n";
            if let Some((_, name)) = info.split_once(' ') {
                env.file(name, &text);
            } else if info == "console" {
                let command = lines[0]
                    .strip_prefix("$ ")
                    .unwrap_or_else(|| panic!("{code}: `{}` is no command", lines[0]));
                let mut answer = printed(&env, command);
                if lines.last().is_some_and(|line| line == "…") {
                    answer = answer
                        .into_iter()
                        .take_while(|line| !line.is_empty())
                        .chain(["…".to_owned()])
                        .collect();
                }
                shown += 1;
                if answer != lines[1..] {
                    wrong.push_str(&format!(
                        "\n{code}: {command}\n--- found\n{}\n",
                        answer.join("\n")
                    ));
                }
                assert!(
                    answer.iter().any(|line| line.contains(&code)),
                    "{code}: the example has another code: {answer:#?}"
                );
                if bless {
                    let path = folder().join(format!("{code}.md"));
                    let now = fs::read_to_string(&path).expect("a page is text");
                    let new = format!("$ {command}\n{}\n", answer.join("\n"));
                    fs::write(path, now.replace(&text, &new)).expect("a page can be written");
                }
            }
        }
    }
    assert!(shown > 70, "only {shown} examples");
    assert!(wrong.is_empty() || bless, "{wrong}");
}

/// Joins string literals that a `\` at the end of a line continues on the next line.
fn join_continued_lines(sources: &str) -> String {
    let mut lines = sources.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

/// A page whose error cannot be produced by a file and a command quotes the message, with `…` for
/// the variable parts.
#[test]
fn every_message_that_a_page_quotes_is_in_the_sources() {
    let mut files = Vec::new();
    crate::docs::collect_files(&repository().join("host"), "rs", &mut files);
    let sources: Vec<String> =
        files.iter().map(|path| fs::read_to_string(path).expect("readable")).collect();
    let sources = join_continued_lines(&sources.join("\n"));
    for (code, page) in pages().into_iter().filter(|(code, _)| code.starts_with('E')) {
        for block in blocks(&page).iter().filter(|block| block.info == "text") {
            for part in block.lines.join("\n").split('…').filter(|part| part.trim().len() > 3) {
                assert!(
                    sources.contains(part.trim_matches('`')),
                    "{code}: no message has `{part}`"
                );
            }
        }
    }
}

#[test]
fn explain_prints_the_page_of_a_code() {
    let env = home();
    for (code, page) in pages() {
        let printed = env.run(&["explain", &code]).status(0).stdout;
        assert_eq!(printed.trim_end(), page.trim_end(), "{code}");
    }
    env.run(&["explain", "e0231"]).status(0).out("# E0231: ");
    env.run(&["explain", "E9999"]).status(2).err("there is no code `E9999`").err("such as `E0231`");
}

/// An error of the journal is no diagnostic of a file, but it prints its code, too.
#[test]
fn an_error_of_the_journal_prints_the_code_that_can_be_explained() {
    home().run(&["show", "0190"]).status(2).err("error[E0509]: no run `0190` in the journal");
}
