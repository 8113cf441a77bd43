//! The rules of the house that a compiler does not know: who may import whom, what may be named
//! where, what lies at the top.
#![forbid(unsafe_code)]
// What is looked at must be there; where it is not, the test has failed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Floors from below: what a crate of ours may depend on. Whoever adds a crate gives it a floor here.
const FLOORS: [(&str, &[&str]); 8] = [
    ("postrider-base", &[]),
    ("postrider-testkit", &["postrider-base"]),
    ("postrider-engine", &["postrider-base"]),
    ("postrider-exec", &["postrider-base"]),
    ("postrider-spool", &["postrider-base"]),
    ("postrider-transports", &["postrider-base"]),
    ("postrider-world", &["postrider-base", "postrider-engine", "postrider-spool"]),
    (
        "postrider",
        &[
            "postrider-base",
            "postrider-engine",
            "postrider-exec",
            "postrider-spool",
            "postrider-transports",
            "postrider-world",
        ],
    ),
];
/// Only tests may use it.
const FOR_TESTS: &str = "postrider-testkit";
/// Beyond this a file holds more than one idea.
const LINES_MAX: usize = 800;
/// What lies at the top beside dotfiles; `target` is cargo's.
const TOP: [&str; 12] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "docs",
    "examples",
    "spool",
    "src",
    "target",
    "tests",
    "transports",
];
/// What decisions and values must be given and never ask for: clocks, files, sockets, chance,
/// threads, the environment. An address is a value, so not all of `std::net`.
const ASKING: [&str; 15] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "getrandom",
    "rand",
    "ring::rand",
    "rustix",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The manifests of the workspace by package name, with their directories.
fn manifests() -> BTreeMap<String, (PathBuf, toml::Table)> {
    let read = |dir: &Path| -> toml::Table {
        fs::read_to_string(dir.join("Cargo.toml")).unwrap().parse().unwrap()
    };
    let members = read(root())["workspace"]["members"].as_array().unwrap().clone();
    let named = members.iter().map(|member| {
        let dir = root().join(member.as_str().unwrap());
        let manifest = read(&dir);
        (manifest["package"]["name"].as_str().unwrap().to_owned(), (dir, manifest))
    });
    named.collect()
}

/// The names in the dependency tables of a kind, also those of single targets.
fn dependencies(manifest: &toml::Table, kind: &str) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(|t| t.as_table());
    let tables = targets
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(|target| target.as_table()))
        .chain([manifest]);
    let names = tables
        .filter_map(|table| table.get(kind)?.as_table())
        .flat_map(|table| table.iter())
        .map(|(name, value)| value.get("package").and_then(|p| p.as_str()).unwrap_or(name).into());
    names.collect()
}

fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> =
        ["src", "spool", "transports", "tests", "examples"].map(|dir| root().join(dir)).into();
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name() != Some("target".as_ref()) {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    assert!(ending != "rs" || found.len() > 100, "the sources were not found");
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// A source without comments, strings and its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap();
        code.extend(line.split('"').step_by(2));
        code.push('\n');
    }
    code
}

/// The paths of every `use`, with the braces opened.
fn imports(code: &str) -> Vec<String> {
    fn open(tree: &str, before: &str, found: &mut Vec<String>) {
        let (mut depth, mut start) = (0, 0);
        let ends = tree.char_indices().chain([(tree.len(), ',')]);
        for (at, c) in ends {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let part = tree[start..at].trim();
                    start = at + 1;
                    match part.split_once('{') {
                        Some((path, inner)) => {
                            let inner = inner.trim_end();
                            let inner = inner.strip_suffix('}').unwrap_or(inner);
                            open(inner, &format!("{before}{}", path.trim()), found);
                        }
                        None if part.is_empty() => {}
                        None => {
                            let path = part.split(" as ").next().unwrap().trim();
                            let path = format!("{before}{path}");
                            found.push(path.trim_end_matches("::self").to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    for (_, rest) in code.match_indices("use ").map(|(at, _)| code.split_at(at + 4)) {
        if let Some((tree, _)) = rest.split_once(';') {
            let flat: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
            open(&flat, "", &mut found);
        }
    }
    found
}

#[test]
fn nobody_imports_upward_or_sideways() {
    let manifests = manifests();
    let floors: BTreeMap<&str, &[&str]> = FLOORS.into();
    for (name, (_, manifest)) in &manifests {
        let allowed = floors.get(&**name).unwrap_or_else(|| panic!("{name} has no floor"));
        let ours = |kind: &str| {
            let all = dependencies(manifest, kind);
            all.into_iter().filter(|dependency| manifests.contains_key(dependency))
        };
        for dependency in ours("dependencies").chain(ours("build-dependencies")) {
            assert!(allowed.contains(&&*dependency), "{name} imports {dependency}");
        }
        for dependency in ours("dev-dependencies") {
            let fine = dependency == FOR_TESTS || allowed.contains(&&*dependency);
            assert!(fine, "the tests of {name} import {dependency}");
        }
    }
}

#[test]
fn unsafe_code_is_refused_where_it_must_be() {
    for (name, (dir, manifest)) in manifests() {
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name}");
        let root_files: &[&str] =
            if name == "postrider" { &["src/lib.rs", "src/main.rs"] } else { &["lib.rs"] };
        for file in root_files {
            let text = fs::read_to_string(dir.join(file)).unwrap();
            // A driver may need one small module with a reason; nothing else may.
            let refused = text.contains("#![forbid(unsafe_code)]")
                || name == "postrider-transports" && text.contains("#![deny(unsafe_code)]");
            assert!(refused, "{name}: {file}");
        }
    }
}

#[test]
fn a_file_holds_one_idea_and_says_which() {
    for path in files("rs") {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", shown(&path));
        assert!(text.starts_with("//! "), "{} does not say what it is for", shown(&path));
    }
}

#[test]
fn only_the_index_knows_what_it_is_made_of() {
    for (name, (_, manifest)) in manifests() {
        let here = dependencies(&manifest, "dependencies").contains("sled")
            || dependencies(&manifest, "dev-dependencies").contains("sled");
        assert_eq!(here, name == "postrider-spool", "{name}");
    }
    for path in files("rs").iter().filter(|path| !path.starts_with(root().join("spool/index"))) {
        let code = code(path);
        let named = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "sled");
        assert!(!named, "{} names sled", shown(path));
    }
}

#[test]
fn values_and_decisions_ask_for_nothing() {
    let manifests = manifests();
    for name in ["postrider-base", "postrider-engine"] {
        let (dir, manifest) = &manifests[name];
        for asking in ASKING.iter().filter(|name| !name.contains("::")) {
            assert!(!dependencies(manifest, "dependencies").contains(*asking), "{name}: {asking}");
        }
        let is_test = |path: &Path| {
            path.file_name() == Some("tests.rs".as_ref()) || path.starts_with(dir.join("tests"))
        };
        for path in files("rs").iter().filter(|path| path.starts_with(dir) && !is_test(path)) {
            let code = code(path);
            for asking in ASKING {
                let inside = |import: &String| {
                    import == asking || import.starts_with(&format!("{asking}::"))
                };
                let named = asking.contains("::") && code.contains(asking)
                    || imports(&code).iter().any(inside);
                assert!(!named, "{} names {asking}", shown(path));
            }
        }
    }
}

#[test]
fn nothing_is_left_for_later_or_points_out_of_the_house() {
    // In pieces, or this file would find itself.
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("/wo", "rk/"),
        concat!("../sha", "red"),
    ];
    for path in ["rs", "sh", "py", "toml", "md"].into_iter().flat_map(files) {
        let text = fs::read_to_string(&path).unwrap();
        for word in words {
            // mktemp's pattern is a row of the same letter.
            let found = text.match_indices(word).any(|(at, _)| {
                !text[at..].starts_with(&"X".repeat(4)) && !text[..at].ends_with('X')
            });
            assert!(!found, "{} has {word}", shown(&path));
        }
    }
}

#[test]
fn the_top_holds_what_the_plan_says() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || TOP.contains(&&*name), "{name} does not belong there");
    }
}

#[test]
fn imports_are_found_however_they_are_written() {
    let found = imports("use std::{\n  fs::{self, File},\n  io,\n};\nuse std::time::Instant as T;");
    assert_eq!(found, ["std::fs", "std::fs::File", "std::io", "std::time::Instant"]);
}
