//! Each word of the glossary is in use.

use crate::repository;
use std::collections::BTreeSet;
use std::fs;

/// The cells of each row of the tables in a text, without heading rows and separators.
fn rows(text: &str) -> Vec<Vec<String>> {
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| ---");
    let rows = text
        .lines()
        .filter(is_row)
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()));
    rows.map(Iterator::collect::<Vec<_>>).filter(|row| row[0] != "word").collect()
}

/// The words of the glossary.
fn glossary() -> Vec<Vec<String>> {
    rows(&fs::read_to_string(repository().join("GLOSSARY.md")).expect("it is there"))
}

fn is_word_in(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        // A plural is the word, too.
        let rest = text[at + word.len()..].trim_start_matches('s');
        !text[..at].ends_with(is_part) && !rest.starts_with(is_part)
    })
}

#[test]
fn every_word_of_the_glossary_is_in_use() {
    let root = repository();
    let mut documents = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    for (folder, ending) in [("docs", "md"), ("schema", "json"), ("wit", "wit"), ("host", "rs")] {
        crate::docs::collect_files(&root.join(folder), ending, &mut documents);
    }
    let text: String = documents
        .iter()
        .map(|path| fs::read_to_string(path).expect("readable").to_lowercase())
        .collect();
    let words = glossary();
    assert!(words.len() > 70, "{} words", words.len());
    let mut seen = BTreeSet::new();
    for row in &words {
        assert!(row.len() == 2 && row[1].ends_with('.'), "one word, one sentence: {row:?}");
        for word in row[0].split(" · ") {
            assert!(
                is_word_in(&text, &word.to_lowercase()),
                "`{word}` is in no document, schema or source"
            );
            assert!(seen.insert(word.to_owned()), "`{word}` is there twice");
        }
    }
}
