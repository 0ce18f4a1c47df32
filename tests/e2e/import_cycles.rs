//! The imports between the files of a host crate have no cycle, so each file can be read after the
//! files that it imports.
//!
//! Imports from the module's own ancestors do not count: a `mod.rs` consists of its files.

use crate::repository;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The path of a module in its crate, such as `["commands", "exec"]`. It is empty for the crate.
type Module = Vec<String>;

/// The modules of a crate with their texts, without test modules.
fn modules(source: &Path) -> BTreeMap<Module, String> {
    let mut files = Vec::new();
    crate::docs::collect_files(source, "rs", &mut files);
    let mut found = BTreeMap::new();
    for file in files {
        let below = file.strip_prefix(source).expect("it is below").with_extension("");
        let mut module: Module =
            below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        if !module.iter().any(|part| part == "tests") {
            found.insert(module, fs::read_to_string(&file).expect("readable"));
        }
    }
    found
}

/// The code of a file without comments and without its `tests` module, which is always the last.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let line = |line: &str| format!("{}\n", line.split("//").next().unwrap_or_default());
    text.lines().map(line).collect()
}

/// The modules of a file that are compiled only for tests.
fn test_modules(text: &str) -> Vec<&str> {
    text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|after| after.split(';').next()).collect()
}

/// The paths that an import names: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn push_import_paths(before: &str, tree: &str, named: &mut Vec<String>) {
    let mut depth = 0;
    for part in tree.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    }) {
        match part.trim().split_once('{') {
            Some((path, inner)) => push_import_paths(
                &format!("{before}{path}"),
                inner.trim_end().trim_end_matches('}'),
                named,
            ),
            None => named
                .push(format!("{before}{}", part.split(" as ").next().unwrap_or_default().trim())),
        }
    }
}

/// Every path in the imports and the code of a file. Re-exports (`pub use`) do not count: the
/// module that uses the re-export imports it.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code = code(text);
    let mut named = Vec::new();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let begin = ["\nuse ", "\npub use ", "\npub(crate) use ", "\npub(super) use "]
            .into_iter()
            .find(|begin| statement.contains(begin));
        let Some((before, tree)) = begin.and_then(|begin| statement.split_once(begin)) else {
            rest.push_str(statement);
            continue;
        };
        rest.push_str(before);
        if begin == Some("\nuse ") {
            push_import_paths("", tree.trim_end_matches(';'), &mut named);
        }
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    named.extend(rest.split(|c| !is_part(c)).filter(|word| word.contains("::")).map(str::to_owned));
    named.iter().map(|path| path.split("::").map(|part| part.trim().to_owned()).collect()).collect()
}

/// The deepest module on a path, if the path leads through modules of the crate.
fn target(from: &Module, path: &[String], modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut base = from.clone();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => (base.clear(), rest = &rest[1..]).1,
        "self" | "super" => {
            while let Some(first @ ("self" | "super")) = rest.first().map(String::as_str) {
                if first == "super" {
                    base.pop();
                }
                rest = &rest[1..];
            }
        }
        child => {
            let is_child = modules.contains_key(&[base.as_slice(), &[child.to_owned()]].concat());
            if !is_child {
                return None;
            }
        }
    }
    let whole = [base.as_slice(), rest].concat();
    (0..=whole.len())
        .rev()
        .map(|length| whole[..length].to_vec())
        .find(|module| modules.contains_key(module))
}

/// Which modules each module of a crate imports.
fn imports(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut graph = BTreeMap::new();
    let mut for_tests_only: BTreeSet<Module> = BTreeSet::new();
    for (module, text) in modules {
        for_tests_only.extend(
            test_modules(text)
                .into_iter()
                .map(|name| [module.as_slice(), &[name.to_owned()]].concat()),
        );
        let named = paths(text);
        let found = named.iter().filter_map(|path| target(module, path, modules));
        graph.insert(
            module.clone(),
            found.filter(|found| !module.starts_with(found)).collect::<BTreeSet<_>>(),
        );
    }
    graph.retain(|module, _| !for_tests_only.iter().any(|test| module.starts_with(test)));
    graph
}

/// A cycle of imports, if there is one.
fn cycle(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    let mut left: BTreeSet<&Module> = graph.keys().collect();
    // A module that imports none of the remaining modules is in no cycle.
    while let Some(leaf) =
        left.iter().copied().find(|module| !graph[*module].iter().any(|to| left.contains(to)))
    {
        left.remove(leaf);
    }
    let mut way: Vec<&Module> = vec![left.first()?];
    loop {
        let last = way[way.len() - 1];
        let next = graph[last]
            .iter()
            .find(|to| left.contains(to))
            .expect("all that are left import one that is left");
        if let Some(begin) = way.iter().position(|known| *known == next) {
            let names = way[begin..].iter().copied().chain([next]);
            return Some(names.map(|module| module.join("::")).collect());
        }
        way.push(next);
    }
}

#[test]
fn no_file_imports_one_that_imports_it() {
    let mut looked_at = 0;
    for entry in fs::read_dir(repository().join("host")).expect("the crates of the host") {
        let source = entry.expect("readable").path().join("src");
        let modules = modules(&source);
        looked_at += modules.len();
        if let Some(cycle) = cycle(&imports(&modules)) {
            panic!("{}: {}", source.display(), cycle.join(" → "));
        }
    }
    assert!(looked_at > 250, "only {looked_at} files were found");
}

#[test]
fn a_cycle_is_found_and_a_folder_that_is_made_of_its_files_is_none() {
    let parse = |files: &[(&str, &str)]| -> BTreeMap<Module, String> {
        let module = |name: &str| {
            name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        files.iter().map(|(name, text)| (module(name), format!("\n{text}\n"))).collect()
    };
    let found = |files: &[(&str, &str)]| cycle(&imports(&parse(files)));
    let two =
        [("", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "fn f() { crate::a::g(); }")];
    assert_eq!(found(&two).expect("a cycle"), ["a", "b", "a"]);
    let three = [
        ("a", "use super::b::{self, B};"),
        ("b", "use crate::c as other;"),
        ("c", "impl crate::a::A {}"),
    ];
    assert_eq!(found(&three).map(|names| names.len()), Some(4));
    assert_eq!(found(&[("a", "mod b; use b::B;"), ("a::b", "use super::A;")]), None);
    assert_eq!(
        found(&[
            ("a", "use crate::b::B;"),
            ("b", "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}")
        ]),
        None
    );
}
