//! Inside a crate, modules import each other in one direction only. Read from the `use` lines and the paths of the sources.
//!
//! Compared are the modules of one parent: a module and its own parent know each other by nature, and tests know
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::run::repository;

/// Crates without circles.
const CRATES: &[&str] = &["rag/src", "web/server/src"];

/// A module, or a name in one: the parts of its path below `crate`.
type ModulePath = Vec<String>;

/// The code of a crate by module.
type Sources = BTreeMap<ModulePath, String>;

#[test]
fn modules_import_each_other_in_one_direction() {
    let mut circles = Vec::new();
    for folder in CRATES {
        let mut sources = Sources::new();
        read_below(&repository().join(folder), &[], &mut sources);
        assert!(sources.len() > 20, "{folder} is not there");
        let circle = circles_of(&imports(&sources));
        circles.extend(
            circle
                .into_iter()
                .map(|circle| format!("{folder}: {circle}")),
        );
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_through_groups_paths_and_names_that_are_handed_on() {
    let source = |path: &str, code: &str| {
        let parts = path.split("::").filter(|part| !part.is_empty());
        (parts.map(str::to_owned).collect(), code.to_owned())
    };
    let sources = |a: &str| {
        Sources::from([
            source("", "pub use b::{Given, other::Other};"),
            source("a", a),
            source("b", "use super::c;\n"),
            source(
                "c",
                "use crate::{\n    d::{Deep, Deeper as D},\n    e,\n};\n",
            ),
            source("d", "fn f() { crate::a::f() }"),
            source("e", "use std::fs;"),
        ])
    };
    for code in [
        "use crate::Given;",
        "use super::b;",
        "fn f() -> crate::b::Given {}",
    ] {
        let found = circles_of(&imports(&sources(code)));
        assert_eq!(found, ["a -> b -> c -> d -> a"], "{code}");
    }
    assert!(circles_of(&imports(&sources("use crate::e;"))).is_empty());
}

fn read_below(folder: &Path, module: &[String], sources: &mut Sources) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let own = match name.as_str() {
            "testing" => continue,
            tests if tests.ends_with("tests") => continue,
            "mod" | "lib" => module.to_vec(),
            _ => [module, &[name]].concat(),
        };
        if path.is_dir() {
            read_below(&path, &own, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.insert(own, code_of(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The code above the tests of a file, without comments.
fn code_of(text: &str) -> String {
    let above = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = above.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Which module imports which.
fn imports(sources: &Sources) -> BTreeSet<(ModulePath, ModulePath)> {
    let mut handed_on = BTreeMap::new();
    for (module, code) in sources {
        for path in used_paths(code, true) {
            let name = [
                module.as_slice(),
                path.last().map_or(&[], std::slice::from_ref),
            ]
            .concat();
            handed_on.insert(name, absolute(module, &path));
        }
    }
    let mut imports = BTreeSet::new();
    for (module, code) in sources {
        let paths = used_paths(code, false)
            .into_iter()
            .chain(inline_paths(code));
        for path in paths.filter(is_of_crate) {
            let found = module_of(absolute(module, &path), sources, &handed_on);
            imports.insert((module.clone(), found));
        }
    }
    imports
}

/// The paths of the `use` statements; only of those that hand names on, if `is_public`.
fn used_paths(code: &str, is_public: bool) -> Vec<ModulePath> {
    let mut paths = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let (before, mut statement) = match line.trim_start().split_once("use ") {
            Some((before, rest)) => (before.to_owned(), rest.to_owned()),
            None => continue,
        };
        if !(before.is_empty() || before.starts_with("pub")) || is_public && before.is_empty() {
            continue;
        }
        while !statement.contains(';') {
            statement.push_str(lines.next().unwrap());
        }
        paths.extend(expanded(statement.split(';').next().unwrap()));
    }
    paths
}

/// `a::{b, c::d as e}` as the paths `a::b` and `a::c::d`.
fn expanded(tree: &str) -> Vec<ModulePath> {
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![
            path.split("::")
                .map(|part| part.trim().to_owned())
                .collect(),
        ];
    };
    let inner = &tree[open + 1..tree.rfind('}').unwrap()];
    let mut depth = 0;
    let parts = inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| expanded(&format!("{}{}", &tree[..open], part.trim())))
        .collect()
}

/// `crate::a::b` in the middle of code.
fn inline_paths(code: &str) -> impl Iterator<Item = ModulePath> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    words.map(|word| word.split("::").map(str::to_owned).collect())
}

fn is_of_crate(path: &ModulePath) -> bool {
    path.len() > 1 && matches!(path[0].as_str(), "crate" | "super" | "self")
}

/// A path from the crate's root.
fn absolute(module: &[String], path: &[String]) -> ModulePath {
    let mut base = match path[0].as_str() {
        "crate" => Vec::new(),
        _ => module.to_vec(),
    };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => {
                base.pop();
            }
            _ => base.push(part.clone()),
        }
    }
    base
}

/// The module that a path from the root leads to, through names that are handed on.
fn module_of(
    mut path: ModulePath,
    sources: &Sources,
    handed_on: &BTreeMap<ModulePath, ModulePath>,
) -> ModulePath {
    // More hops than that are a name that is handed on to itself.
    for _ in 0..8 {
        let known = (1..=path.len())
            .rev()
            .find(|&i| handed_on.contains_key(&path[..i]));
        let Some(i) = known.filter(|&i| !sources.contains_key(&path[..i])) else {
            break;
        };
        path = [handed_on[&path[..i]].as_slice(), &path[i..]].concat();
    }
    while !path.is_empty() && !sources.contains_key(&path) {
        path.pop();
    }
    path
}

/// One circle for each group of siblings that has one, as `a -> b -> a`.
fn circles_of(imports: &BTreeSet<(ModulePath, ModulePath)>) -> Vec<String> {
    let mut siblings: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (from, to) in imports {
        let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
            siblings
                .entry(&from[..shared])
                .or_default()
                .entry(a)
                .or_default()
                .insert(b);
        }
    }
    let circles = siblings.into_iter().filter_map(|(parent, graph)| {
        let circle = graph.keys().find_map(|start| way_back(start, &graph))?;
        let names = circle
            .iter()
            .map(|name| [parent, &[(*name).to_owned()]].concat().join("::"));
        Some(names.collect::<Vec<_>>().join(" -> "))
    });
    circles.collect()
}

/// The shortest way from a module to itself.
fn way_back<'a>(
    start: &'a str,
    graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in &ways {
            for next in graph.get(way.last().unwrap()).into_iter().flatten() {
                let way = [way.as_slice(), &[next]].concat();
                if *next == start {
                    return Some(way);
                }
                if seen.insert(*next) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}
