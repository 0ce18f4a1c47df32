//! No file of the host imports a file that imports it, directly or through others: each can be read after those below it.
//!
//! What a file takes from the folder that it is in (its own ancestors) does not count: a folder's `mod.rs` is made of its files.

use crate::repository;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use syn::visit::Visit;

/// The path of a module below its crate: `["commands", "exec"]`; empty is the crate itself.
type Module = Vec<String>;

/// The modules of a crate and the files that they are in. Files of tests are none.
fn modules(source: &Path) -> BTreeMap<Module, syn::File> {
    let mut files = Vec::new();
    crate::docs::files(source, "rs", &mut files);
    let mut found = BTreeMap::new();
    for file in files {
        let below = file.strip_prefix(source).expect("it is below").with_extension("");
        let mut module: Module = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        if !module.iter().any(|part| part == "tests") {
            let text = fs::read_to_string(&file).expect("readable");
            found.insert(module, syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
        }
    }
    found
}

/// Whether an item is there for tests only.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Every path that a file names, from imports and from code.
#[derive(Default)]
struct Paths {
    named: Vec<Vec<String>>,
    /// Modules that exist for tests only.
    for_tests: BTreeSet<String>,
}

impl Paths {
    fn import(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.named.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.named.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.named.push(before.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // What is only handed on is imported by whoever takes it from here.
        if matches!(item.vis, syn::Visibility::Inherited) && !is_for_tests(&item.attrs) {
            self.import(&[], &item.tree);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            self.for_tests.insert(item.ident.to_string());
        } else {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.named.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

/// The module that a path leads to, as far as it leads through modules.
fn target(from: &Module, path: &[String], modules: &BTreeMap<Module, syn::File>) -> Option<Module> {
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
    (0..=whole.len()).rev().map(|length| whole[..length].to_vec()).find(|module| modules.contains_key(module))
}

/// Which modules each module of a crate imports.
fn imports(modules: &BTreeMap<Module, syn::File>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut graph = BTreeMap::new();
    let mut for_tests = BTreeSet::new();
    for (module, file) in modules {
        let mut paths = Paths::default();
        paths.visit_file(file);
        for_tests.extend(paths.for_tests.iter().map(|name| [module.as_slice(), std::slice::from_ref(name)].concat()));
        let found = paths.named.iter().filter_map(|path| target(module, path, modules));
        graph.insert(module.clone(), found.filter(|found| !module.starts_with(found)).collect::<BTreeSet<_>>());
    }
    graph.retain(|module, _| !for_tests.iter().any(|test| module.starts_with(test)));
    graph
}

/// One way from a module back to itself, if there is one.
fn cycle(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    let mut left: BTreeSet<&Module> = graph.keys().collect();
    // Whoever imports nothing that is left is in no cycle.
    while let Some(leaf) = left.iter().copied().find(|module| !graph[*module].iter().any(|to| left.contains(to))) {
        left.remove(leaf);
    }
    let mut way: Vec<&Module> = vec![left.first()?];
    loop {
        let last = way[way.len() - 1];
        let next = graph[last].iter().find(|to| left.contains(to)).expect("all that are left import one that is left");
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
    let parse = |files: &[(&str, &str)]| -> BTreeMap<Module, syn::File> {
        let module = |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        files.iter().map(|(name, text)| (module(name), syn::parse_file(text).expect("Rust"))).collect()
    };
    let found = |files: &[(&str, &str)]| cycle(&imports(&parse(files)));
    let two = [("", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "fn f() { crate::a::g(); }")];
    assert_eq!(found(&two).expect("a cycle"), ["a", "b", "a"]);
    let three = [("a", "use super::b::{self, B};"), ("b", "use crate::c as other;"), ("c", "impl crate::a::A {}")];
    assert_eq!(found(&three).map(|names| names.len()), Some(4));
    assert_eq!(found(&[("a", "mod b; use b::B;"), ("a::b", "use super::A;")]), None);
    assert_eq!(found(&[("a", "use crate::b::B;"), ("b", "#[cfg(test)] mod tests { use crate::a::A; }")]), None);
}
