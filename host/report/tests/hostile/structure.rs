//! The structure of a text, by the grammar of its format, and where there is one, by a parser of
//! another project.

use quick_xml::events::Event;
use serde_json::Value;

/// A format's grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// Lines for people. Those that quote a text of several lines begin with `|`.
    Lines,
    Json,
    JsonLines,
    Junit,
    Html,
    Markdown,
    Tap,
    Nagios,
    Prometheus,
    Github,
}

/// A report in one format, and its structure.
pub struct RenderedReport {
    format: &'static str,
    text: String,
    structure: Vec<String>,
}

impl RenderedReport {
    pub fn new(format: &'static str, grammar: Grammar, text: String) -> Self {
        Self { format, structure: of(grammar, &text), text }
    }
}

/// Compares what was made with harmless texts and with hostile ones.
///
/// # Panics
/// If a structure differs.
pub fn compare(harmless: &[RenderedReport], hostile: &[RenderedReport], what: &str) {
    assert_eq!(harmless.len(), hostile.len(), "{what:.60}");
    for (expected, found) in harmless.iter().zip(hostile) {
        if expected.structure != found.structure {
            let at =
                expected.structure.iter().zip(&found.structure).take_while(|(a, b)| a == b).count();
            let (a, b) = (expected.structure.get(at), found.structure.get(at));
            panic!(
                "{} by {what:.60?}: {b:?} instead of {a:?} at {at}\n{:.6000}\n---\n{:.6000}",
                found.format, expected.text, found.text
            );
        }
    }
}

/// The structure of a text.
///
/// # Panics
/// If the text is not what the grammar allows, or has characters that are not to be shown.
pub fn of(grammar: Grammar, text: &str) -> Vec<String> {
    if let Some(found) = runbook_text::first_hidden(text) {
        let from = text.floor_char_boundary(found.offset.saturating_sub(100));
        panic!(
            "{grammar:?} has {}: {:?}",
            runbook_text::describe(found.character),
            &text[from..=found.offset]
        );
    }
    if grammar == Grammar::Github {
        // Its own lines are commands.
        assert!(
            !text.contains("##[") && !text.contains("##vso[") && !text.contains("##teamcity["),
            "{text}"
        );
    } else {
        assert_no_command(text);
    }
    match grammar {
        Grammar::Lines => lines(text),
        Grammar::Json => shape(&serde_json::from_str(text).unwrap()),
        Grammar::JsonLines => {
            text.lines().flat_map(|line| shape(&serde_json::from_str(line).unwrap())).collect()
        }
        Grammar::Junit => xml(text),
        Grammar::Html => html(text),
        Grammar::Markdown => markdown(text),
        Grammar::Tap => text.lines().map(tap).collect(),
        Grammar::Nagios => nagios(text),
        Grammar::Prometheus => text.lines().map(prometheus).collect(),
        Grammar::Github => {
            text.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
        }
    }
}

/// Fails if a CI service would take a line of the text for a command.
fn assert_no_command(text: &str) {
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("::"), "{line}");
        assert!(
            !["##[", "##vso[", "##teamcity["].iter().any(|command| line.contains(command)),
            "{line}"
        );
    }
}

fn lines(text: &str) -> Vec<String> {
    assert_no_command(text);
    let unquoted_lines = text.lines().filter(|line| !line.trim_start().starts_with('|'));
    unquoted_lines.map(|line| if line.is_empty() { "empty" } else { "line" }.to_owned()).collect()
}

fn shape(value: &Value) -> Vec<String> {
    match value {
        Value::Object(entries) => {
            entries.values().flat_map(shape).chain([format!("object {}", entries.len())]).collect()
        }
        Value::Array(items) => {
            items.iter().flat_map(shape).chain([format!("array {}", items.len())]).collect()
        }
        Value::String(_) => vec!["text".to_owned()],
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => vec![scalar.to_string()],
    }
}

fn xml(text: &str) -> Vec<String> {
    assert!(
        text.chars().all(|c| matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)),
        "{text}"
    );
    let mut reader = quick_xml::Reader::from_str(text);
    let mut found = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return found,
            Event::Start(element) | Event::Empty(element) => {
                found.push(String::from_utf8(element.name().as_ref().to_vec()).unwrap());
                for attribute in element.attributes() {
                    found
                        .push(String::from_utf8(attribute.unwrap().key.as_ref().to_vec()).unwrap());
                }
            }
            Event::End(_) => found.push("end".to_owned()),
            Event::Text(_) | Event::GeneralRef(_) | Event::Decl(_) => {}
            Event::CData(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {
                panic!("only elements and text: {text}")
            }
        }
    }
}

/// Every tag without the values of its attributes, of which only the number of quotes counts.
fn html(text: &str) -> Vec<String> {
    let mut tags = Vec::new();
    for part in text.split('<').skip(1) {
        let (tag, rest) = part.split_once('>').unwrap_or((part, ""));
        let name = tag.split([' ', '>']).next().unwrap_or_default();
        tags.push(format!(
            "{name} {} {} {}",
            tag.matches('"').count(),
            tag.matches('=').count().min(1),
            rest.matches('>').count()
        ));
        assert!(name != "script" && name != "img" && name != "a" && name != "iframe", "{part}");
    }
    tags
}

/// The tags that a Markdown parser produces, with the extensions of GitHub.
fn markdown(text: &str) -> Vec<String> {
    assert_no_command(text);
    let mut options = comrak::Options::default();
    options.extension.table = true;
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.tasklist = true;
    options.extension.math_dollars = true;
    // What is taken for markup of HTML shows as a tag.
    options.render.r#unsafe = true;
    let page = comrak::markdown_to_html(text, &options);
    assert_no_reference(&page);
    let page = page.replace("<!-- -->", "");
    // A text of several lines may stay one, where it is quoted.
    let tags =
        page.split('<').skip(1).map(|part| part.split('>').next().unwrap_or_default().to_owned());
    tags.filter(|tag| tag != "br /").collect()
}

/// Fails if GitHub or GitLab would turn a text of the page into a mention or a reference. They do
/// so everywhere but in code.
fn assert_no_reference(page: &str) {
    let mut is_code = false;
    for part in page.split('<') {
        let (tag, text) = part.split_once('>').unwrap_or(("", part));
        is_code = if tag == "code" { true } else { is_code && tag != "/code" };
        let characters: Vec<char> =
            text.replace("&amp;", "&").replace("&quot;", "\"").chars().collect();
        for pair in characters.windows(2).filter(|_| !is_code) {
            let refers = matches!(pair[0], '@' | '#' | '!' | '$' | '%' | '~')
                && (pair[1].is_alphanumeric() || pair[1] == '"');
            assert!(!refers, "{text:?} refers to something");
        }
        for triple in characters.windows(3).filter(|_| !is_code) {
            let is_issue =
                triple[0].is_ascii_alphabetic() && triple[1] == '-' && triple[2].is_ascii_digit();
            assert!(!is_issue, "{text:?} refers to something");
        }
    }
}

fn tap(line: &str) -> String {
    assert_no_command(line);
    let (description, directive) = line
        .split_once(" # ")
        .map_or((line, ""), |(description, directive)| (description, directive));
    assert!(!description.contains('#') || description == "# ", "a directive in {line}");
    let begin: String = description.split(" - ").next().unwrap_or_default().to_owned();
    assert!(
        line.starts_with("ok ")
            || line.starts_with("not ok ")
            || line.starts_with("1..")
            || line.starts_with("TAP "),
        "{line}"
    );
    format!("{begin} {directive}")
}

/// `STATE - text | 'label'=value[unit];[warn];[crit] …`, then lines without a `|`.
fn nagios(text: &str) -> Vec<String> {
    assert_no_command(text);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let mut found = vec![first.split(" - ").next().unwrap().to_owned()];
    let data = first.split_once(" | ").map_or("", |(_, data)| data);
    let mut remaining = data.trim();
    while !remaining.is_empty() {
        let (label, after) = remaining
            .strip_prefix('\'')
            .and_then(|remaining| remaining.split_once("'="))
            .unwrap_or_else(|| panic!("{remaining}"));
        assert!(!label.is_empty() && !label.contains(['\'', '=', '|']), "{label}");
        let (datum, next) = after.split_once(' ').unwrap_or((after, ""));
        let parts: Vec<_> = datum.split(';').collect();
        let [value, warn, crit] = parts.as_slice() else { panic!("three parts: {datum}") };
        let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        assert!(*value == "U" || number.parse::<f64>().is_ok(), "{value}");
        assert!(
            [warn, crit]
                .iter()
                .all(|range| range.chars().all(|c| "0123456789.:~@-+eE".contains(c))),
            "{datum}"
        );
        found.push("datum".to_owned());
        remaining = next.trim_start();
    }
    for line in rest.lines() {
        assert!(!line.contains('|'), "{line}");
        found.push(line.split(' ').next().unwrap_or_default().to_owned());
    }
    found
}

/// `# HELP …`, `# TYPE …`, or `name{label="value",…} number`.
fn prometheus(line: &str) -> String {
    if line.starts_with("# HELP ") || line.starts_with("# TYPE ") {
        return line.to_owned();
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = line.find(|c| !is_name(c)).unwrap();
    let (name, mut remaining) = line.split_at(end);
    let mut found = name.to_owned();
    if let Some(labels) = remaining.strip_prefix('{') {
        remaining = labels;
        while !remaining.starts_with('}') {
            let (label, value) = remaining.split_once("=\"").unwrap();
            assert!(label.chars().all(is_name), "{label}");
            found += label;
            let mut characters = value.char_indices();
            let close = loop {
                match characters.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => assert!(matches!(characters.next(), Some((_, '\\' | '"' | 'n')))),
                    (_, _) => {}
                }
            };
            remaining = value[close + 1..].trim_start_matches(',');
        }
        remaining = &remaining[1..];
    }
    assert!(remaining.trim_start().parse::<f64>().is_ok_and(f64::is_finite), "{line}");
    found
}
