//! Every MUST of a port has an identifier, and every identifier a contract test that adapters run.
#![expect(clippy::unwrap_used, reason = "in tests, and in their helpers, it fails the test")]

#[path = "support/functions.rs"]
mod functions;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use functions::function;

#[test]
fn every_must_of_a_port_has_its_contract_test() {
    let texts = texts();
    let sources: Vec<_> = texts.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect();
    let musts = musts(&sources);
    assert!(musts.len() > 40, "the ports are found: {musts:?}");
    let faults = faults(&sources);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn missing_identifiers_and_tests_are_named() {
    let port = "/// Adds a user.\n///\n/// - MUST refuse a taken name, also\n///   in a race. [user-unique]\nfn insert();\n";
    let contract = "/// Refuses.\n// MUST user-unique\npub fn refuses(tested: &TestedStore) {\n}\n";
    let list = "    user_store::{\n        refuses,\n    }\n";
    let check = |port: &str, contract: &str, list: &str, expected: &[&str]| {
        let sources = [
            (Path::new("crates/domain/src/account/store.rs"), port),
            (Path::new("crates/testkit/src/contract/user_store.rs"), contract),
            (Path::new("crates/testkit/src/contract/store_contract.rs"), list),
        ];
        assert_eq!(faults(&sources), expected);
    };
    check(port, contract, list, &[]);
    let place = "crates/domain/src/account/store.rs:3";
    let unnamed = format!("{place}: the MUST does not end with an identifier in brackets");
    let unknown = "crates/testkit/src/contract/user_store.rs:2: no MUST has the identifier user-unique";
    check(&port.replace(" [user-unique]", ""), contract, list, &[&unnamed, unknown]);
    check(&port.replace("[user-unique]", "[User]"), contract, list, &[&unnamed, unknown]);
    let unproved = format!("{place}: no contract test names user-unique");
    let idle = "crates/testkit/src/contract/user_store.rs:2: no adapter runs the test";
    check(port, contract, "", &[idle, &unproved]);
    let unnamed_test = "crates/testkit/src/contract/user_store.rs:2: the contract test names no MUST";
    check(port, &contract.replace("// MUST user-unique\n", ""), list, &[unnamed_test, &unproved]);
    let twice = format!("{port}{port}");
    let again = "crates/domain/src/account/store.rs:8: another MUST has the identifier user-unique";
    check(&twice, contract, list, &[again]);
    let hidden = port.replace("- MUST refuse", "It MUST refuse");
    let inline = format!("{place}: a MUST begins no item of a list");
    check(&hidden, contract, list, &[&inline, unknown]);
}

/// The methods that an operator calls rarely, and that may read a whole table.
const RARE: [&str; 1] = ["invalidate_sessions"];

#[test]
fn hot_statements_call_every_store_method() {
    let texts = texts();
    let stores = texts.iter().filter(|(path, _)| {
        path.starts_with("crates/domain/src")
            && (path.ends_with("store.rs") || path.ends_with("audit/log.rs"))
    });
    let lines = stores.flat_map(|(_, text)| text.lines());
    let methods: Vec<_> = lines.filter_map(|line| line.strip_prefix("    fn ")?.split('(').next()).collect();
    assert!(methods.len() > 20, "the stores are found: {methods:?}");
    let plans = Path::new("crates/adapters/tests/contract/plans.rs");
    let (_, plans) = texts.iter().find(|(path, _)| path == plans).unwrap();
    for method in methods {
        let calls = [format!("database.{method}("), format!("::{method}(database")];
        let is_called = calls.iter().any(|call| plans.contains(call));
        assert_ne!(is_called, RARE.contains(&method), "call {method} in `hot_statements` or list it in RARE");
    }
}

/// A MUST of a port.
#[derive(Debug)]
struct Must {
    place: String,
    id: Option<String>,
    begins_item: bool,
}

/// Returns what is wrong with the MUSTs in these sources and the contract tests that prove them.
fn faults(sources: &[(&Path, &str)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for must in musts(sources) {
        match must.id {
            _ if !must.begins_item => faults.push(format!("{}: a MUST begins no item of a list", must.place)),
            None => {
                faults.push(format!("{}: the MUST does not end with an identifier in brackets", must.place));
            }
            Some(id) if places.contains_key(&id) => {
                faults.push(format!("{}: another MUST has the identifier {id}", must.place));
            }
            Some(id) => drop(places.insert(id, must.place)),
        }
    }
    let mut unproved = places.clone();
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with("crates/testkit/src/contract")) {
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(ids) = line.strip_prefix("// MUST ") else { continue };
            let place = format!("{}:{}", path.display(), at + 1);
            for id in ids.split(' ').filter(|id| !places.contains_key(*id)) {
                faults.push(format!("{place}: no MUST has the identifier {id}"));
            }
            match function(&lines, at).is_some_and(|function| function.runs(path, &lines, sources)) {
                true => unproved.retain(|id, _| !ids.split(' ').any(|proved| proved == id)),
                false => faults.push(format!("{place}: no adapter runs the test")),
            }
        }
    }
    faults.extend(unnamed_contracts(sources));
    faults.extend(unproved.iter().map(|(id, place)| format!("{place}: no contract test names {id}")));
    faults
}

/// Returns the contract tests of the stores that name no MUST: promises that no port documents.
fn unnamed_contracts(sources: &[(&Path, &str)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with("crates/testkit/src/contract")) {
        let lines: Vec<_> = text.lines().collect();
        for at in (0..lines.len()).filter(|at| lines[*at].starts_with("pub fn ")) {
            let mut comments = (0..at).rev().map(|n| lines[n]).take_while(|line| line.starts_with("//"));
            let names_a_must = comments.any(|line| line.starts_with("// MUST "));
            if !names_a_must && function(&lines, at).is_some_and(|function| function.is_listed(path, sources))
            {
                faults.push(format!("{}:{}: the contract test names no MUST", path.display(), at + 1));
            }
        }
    }
    faults
}

/// Returns the MUSTs in the documentation of the domain, where the ports are.
fn musts(sources: &[(&Path, &str)]) -> Vec<Must> {
    let mut found = Vec::new();
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with("crates/domain/src")) {
        let docs: Vec<_> = text.lines().map(|line| line.trim_start().strip_prefix("///")).collect();
        for (at, line) in docs.iter().enumerate() {
            let Some(line) = line.filter(|line| line.split(' ').any(|word| word == "MUST")) else { continue };
            let rest = docs[at + 1..].iter().map_while(|line| line.filter(|line| line.starts_with("   ")));
            let item = std::iter::once(line).chain(rest).collect::<String>();
            found.push(Must {
                place: format!("{}:{}", path.display(), at + 1),
                id: identifier(&item),
                begins_item: line.starts_with(" - MUST "),
            });
        }
    }
    found
}

/// Returns the identifier that a text ends with: words in lower case, joined by hyphens, in brackets.
fn identifier(text: &str) -> Option<String> {
    let (_, id) = text.strip_suffix(']')?.rsplit_once('[')?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    (id.contains('-') && id.split('-').all(is_word)).then(|| id.to_owned())
}

/// The Rust sources of all crates.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders = vec![root.join("crates")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}
