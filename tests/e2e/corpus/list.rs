//! `docs/security/attacks.toml`: the cases, and what becomes of each.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::functions::{STORE_CONTRACT, function};

/// What becomes of a case, besides other tests that prove more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The corpus runs it.
    Run,
    /// Other tests are the case.
    Tests,
    /// It waits for something that does not exist yet.
    Later,
    /// It concerns nothing here.
    None,
    /// Nothing proves it yet, or not all of it.
    Open,
}

const FATES: [(&str, Fate); 5] = [
    ("run", Fate::Run),
    ("tests", Fate::Tests),
    ("later", Fate::Later),
    ("none", Fate::None),
    ("open", Fate::Open),
];

/// A case.
#[derive(Debug)]
struct Entry {
    fate: Fate,
    /// Tests elsewhere, as `path::name`.
    tests: Vec<String>,
}

/// All cases.
#[derive(Debug)]
pub(super) struct List(BTreeMap<String, Entry>);

impl List {
    pub(super) fn read() -> Self {
        let table: Table =
            fs::read_to_string(root().join("docs/security/attacks.toml")).unwrap().parse().unwrap();
        Self(
            table
                .iter()
                .map(|(id, entry)| (id.clone(), Entry::parse(id, entry.as_table().unwrap())))
                .collect(),
        )
    }

    /// What is not as the list says.
    pub(super) fn faults(&self, registered: &BTreeMap<&str, usize>) -> Vec<String> {
        let mut faults = Vec::new();
        for (id, entry) in &self.0 {
            match (entry.fate, registered.get(id.as_str())) {
                (Fate::Run, None) => faults.push(format!("{id}: the corpus does not run it")),
                (Fate::Run, Some(1)) | (_, None) => {}
                (Fate::Run, Some(n)) => faults.push(format!("{id}: there are {n} cases of that number")),
                (_, Some(_)) => {
                    faults.push(format!("{id}: the corpus runs it, and the list does not say so"));
                }
            }
            let missing = entry.tests.iter().filter(|test| !exists(test));
            faults.extend(missing.map(|test| format!("{id}: there is no test {test} that runs")));
        }
        let unknown = registered.keys().filter(|id| !self.0.contains_key(**id));
        faults.extend(unknown.map(|id| format!("{id}: the corpus runs it, and it is not listed")));
        let page = fs::read_to_string(root().join("docs/security/attacks.md")).unwrap();
        let counts = FATES.iter().map(|(name, fate)| format!("| `{name}` | {} |", self.count(*fate)));
        let counts = counts.chain([format!("| all | {} |", self.0.len())]);
        faults.extend(
            counts.filter(|row| !page.contains(row)).map(|row| format!("attacks.md does not say {row}")),
        );
        faults
    }

    fn count(&self, fate: Fate) -> usize {
        self.0.values().filter(|entry| entry.fate == fate).count()
    }
}

impl Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cases", self.0.len())?;
        FATES.iter().try_for_each(|(name, fate)| write!(f, ", {} {name}", self.count(*fate)))
    }
}

impl Entry {
    fn parse(id: &str, entry: &Table) -> Self {
        let text = |key: &str| {
            entry.get(key).map(|value| value.as_str().unwrap_or_else(|| panic!("{id}: {key} is no text")))
        };
        for key in ["tries", "source"] {
            assert!(text(key).is_some_and(|text| !text.is_empty()), "{id}: no {key}");
        }
        for key in entry.keys() {
            let is_known = ["tries", "source", "but"].contains(&key.as_str())
                || FATES.iter().any(|(name, _)| key == name);
            assert!(is_known, "{id}: {key} is nothing that is known");
        }
        let tests = entry.get("tests").and_then(Value::as_array).into_iter().flatten();
        let tests: Vec<_> = tests.map(|test| test.as_str().unwrap().to_owned()).collect();
        // Tests may prove more of what is run or open; otherwise a case has one fate.
        let mut fates = FATES
            .iter()
            .filter(|(name, _)| entry.contains_key(*name))
            .map(|(_, fate)| *fate)
            .collect::<Vec<_>>();
        if fates.len() == 2 && fates.contains(&Fate::Tests) {
            fates.retain(|fate| *fate != Fate::Tests);
        }
        let [fate] = fates[..] else { panic!("{id}: {fates:?} and not one fate") };
        match fate {
            Fate::Run => assert_eq!(entry["run"].as_bool(), Some(true), "{id}"),
            Fate::Tests => assert!(!tests.is_empty(), "{id}: no tests"),
            Fate::Later => assert!(text("later").is_some_and(|why| !why.is_empty()), "{id}: why?"),
            Fate::None => assert!(text("none").is_some_and(|why| !why.is_empty()), "{id}: why?"),
            Fate::Open => assert!(text("open").is_some_and(|what| !what.is_empty()), "{id}: what?"),
        }
        Self { fate, tests }
    }
}

/// Whether there is a test of this path and name, and runs.
fn exists(test: &str) -> bool {
    let Some((path, name)) = test.split_once("::") else { return false };
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_default();
    let sources = [path, STORE_CONTRACT].map(|path| (Path::new(path), read(path)));
    let sources = sources.each_ref().map(|(path, content)| (*path, content.as_str()));
    let lines: Vec<_> = sources[0].1.lines().collect();
    let declares = |line: &str| {
        let declared = line.split_once("fn ").and_then(|(_, rest)| rest.strip_prefix(name));
        declared.is_some_and(|rest| rest.starts_with('('))
    };
    let mut found = (0..lines.len()).filter(|at| declares(lines[*at]));
    found.any(|at| {
        function(&lines, at).is_some_and(|function| function.runs(Path::new(path), &lines, &sources))
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
