//! The rows of `docs/security/asvs.toml`, and whether their proofs are there.

#[path = "../support/functions.rs"]
mod functions;
mod tags;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use tags::{Tag, tags};

/// The number of a requirement: chapter, section and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id([u8; 3]);

impl Id {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<u8> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        Some(Self(parts.try_into().ok()?))
    }
}

impl Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([chapter, section, place]) = self;
        f.pad(&format!("{chapter}.{section}.{place}"))
    }
}

/// What the service makes of a requirement.
#[derive(Clone, Debug)]
enum State {
    /// The tests, as `path::name`.
    Test(Vec<String>),
    Static {
        file: String,
        line: String,
    },
    Document(String),
    Later(String),
    Open(String),
    Deviation(String),
    None(String),
}

/// The states, in the order in which they are printed.
const STATES: [&str; 7] = ["test", "static", "document", "later", "open", "deviation", "none"];

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Test(_) => "test",
            Self::Static { .. } => "static",
            Self::Document(_) => "document",
            Self::Later(_) => "later",
            Self::Open(_) => "open",
            Self::Deviation(_) => "deviation",
            Self::None(_) => "none",
        }
    }

    fn is_green(&self) -> bool {
        matches!(self, Self::Test(_) | Self::Static { .. } | Self::Document(_))
    }
}

/// A requirement.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) level: i64,
    /// What it asks for; nothing in a group.
    asks: Option<String>,
    state: State,
}

/// All rows, and the tests that carry their numbers.
#[derive(Debug)]
pub(crate) struct Scoreboard {
    rows: BTreeMap<Id, Row>,
    tags: Vec<Tag>,
}

impl Scoreboard {
    /// That of this repository.
    pub(crate) fn read() -> Self {
        let texts = texts();
        let sources: Vec<_> = texts.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect();
        Self::parse(&fs::read_to_string(root().join("docs/security/asvs.toml")).unwrap(), &sources)
    }

    /// That of a file, over these sources.
    pub(crate) fn parse(text: &str, sources: &[(&Path, &str)]) -> Self {
        let table: Table = text.parse().unwrap();
        let mut rows = BTreeMap::new();
        let mut insert = |id: &str, row| {
            let id = Id::parse(id).unwrap_or_else(|| panic!("{id} is no number"));
            assert!(rows.insert(id, row).is_none(), "{id} has two rows");
        };
        for (id, row) in table["rows"].as_table().unwrap() {
            insert(id, Row::parse(id, row));
        }
        for state in ["later", "none"] {
            let groups = table.get(state).and_then(Value::as_array);
            for group in groups.into_iter().flatten() {
                let because = text_of(&group["because"]);
                for level in 1..=3 {
                    let ids = group.get(format!("level{level}")).and_then(Value::as_array);
                    for id in ids.into_iter().flatten() {
                        let state = match state {
                            "later" => State::Later(because.clone()),
                            _ => State::None(because.clone()),
                        };
                        insert(&text_of(id), Row { level, asks: None, state });
                    }
                }
            }
        }
        Self { rows, tags: tags(sources) }
    }

    /// All requirements of the standard.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// What is not as the rows say.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut tests: BTreeMap<Id, BTreeSet<&str>> = BTreeMap::new();
        for tag in &self.tags {
            for id in &tag.ids {
                tests.entry(*id).or_default().extend(tag.test.as_deref());
            }
        }
        let no_tests = BTreeSet::new();
        let mut faults = Vec::new();
        for (id, row) in &self.rows {
            let tests = tests.get(id).unwrap_or(&no_tests);
            match &row.state {
                State::Test(named) => {
                    let missing = named.iter().filter(|test| !tests.contains(test.as_str()));
                    faults.extend(
                        missing.map(|test| format!("{id}: {test} does not run, or lacks the number")),
                    );
                    let unnamed = tests.iter().filter(|test| !named.iter().any(|named| named == *test));
                    faults.extend(unnamed.map(|test| format!("{id}: the row does not name {test}")));
                }
                State::Static { file, line } if !has_line(file, line) => {
                    faults.push(format!("{id}: {file} has no line `{line}`"));
                }
                State::Document(page) if !has_heading(page) => {
                    faults.push(format!("{id}: {page} is no heading"));
                }
                State::Later(_) | State::Open(_) | State::Deviation(_) | State::None(_)
                    if !tests.is_empty() =>
                {
                    faults.push(format!("{id}: a test has its number, and the row is {}", row.state.name()));
                }
                _ => {}
            }
        }
        for tag in &self.tags {
            let place = &tag.place;
            if tag.test.is_none() {
                faults.push(format!("{place}: there is no test under the numbers that runs"));
            }
            if tag.is_above && tag.ids.len() > MOST_NUMBERS {
                faults.push(format!(
                    "{place}: more than {MOST_NUMBERS} numbers; put each beside what tests it"
                ));
            }
            let unknown = tag.ids.iter().filter(|id| !self.rows.contains_key(id));
            faults.extend(unknown.map(|id| format!("{place}: there is no row {id}")));
        }
        faults
    }

    fn count(&self, level: Option<i64>, counts: impl Fn(&Row) -> bool) -> usize {
        self.rows().filter(|row| level.is_none_or(|level| row.level == level) && counts(row)).count()
    }
}

impl Row {
    /// Whether it applies to the service as it is meant to be: then it has a line of its own.
    pub(crate) fn applies(&self) -> bool {
        self.asks.is_some()
    }

    fn parse(id: &str, row: &Value) -> Self {
        let table = row.as_table().unwrap();
        let [level, asks] =
            ["level", "asks"].map(|key| table.get(key).unwrap_or_else(|| panic!("{id}: no {key}")));
        let mut others = table.iter().filter(|(key, _)| !["level", "asks"].contains(&key.as_str()));
        let (name, value) = others.next().unwrap_or_else(|| panic!("{id}: no state"));
        assert!(others.next().is_none(), "{id}: two states");
        let state = match name.as_str() {
            "test" => {
                let tests: Vec<_> = value.as_array().into_iter().flatten().map(text_of).collect();
                assert!(!tests.is_empty(), "{id}: `test` names the tests");
                State::Test(tests)
            }
            "static" => State::Static { file: text_of(&value["file"]), line: text_of(&value["line"]) },
            "document" => State::Document(text_of(value)),
            "later" => State::Later(text_of(value)),
            "open" => State::Open(text_of(value)),
            "deviation" => State::Deviation(text_of(value)),
            "none" => State::None(text_of(value)),
            other => panic!("{id}: {other} is no state"),
        };
        Self { level: level.as_integer().unwrap(), asks: Some(text_of(asks)), state }
    }
}

impl Display for Scoreboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "OWASP ASVS 5.0.0   level 1  level 2  level 3      all")?;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, counts: &dyn Fn(&Row) -> bool| {
            let [one, two, three, all] =
                [Some(1), Some(2), Some(3), None].map(|level| self.count(level, counts));
            writeln!(f, "{name:16} {one:9} {two:8} {three:8} {all:8}")
        };
        for state in STATES {
            line(f, state, &|row| row.state.name() == state)?;
        }
        line(f, "green", &|row| row.state.is_green())?;
        line(f, "of what applies", &Row::applies)?;
        line(f, "of all", &|_| true)?;
        let tests = self.tags.iter().filter_map(|tag| tag.test.as_deref()).collect::<BTreeSet<_>>().len();
        writeln!(f, "{tests} tests carry numbers.")?;
        for state in ["open", "deviation", "later", "none"] {
            writeln!(f, "\n{state}")?;
            for (id, row) in self.rows.iter().filter(|(_, row)| row.state.name() == state) {
                if let (
                    Some(asks),
                    State::Open(why) | State::Deviation(why) | State::Later(why) | State::None(why),
                ) = (&row.asks, &row.state)
                {
                    writeln!(f, "  {id:7} L{}  {asks} | {why}", row.level)?;
                }
            }
            for (why, ids) in self.groups(state) {
                let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
                writeln!(f, "  {} more | {why}: {}", ids.len(), ids.join(" "))?;
            }
        }
        Ok(())
    }
}

impl Scoreboard {
    /// The groups of a state, by what they have in common.
    fn groups(&self, state: &str) -> BTreeMap<&str, Vec<Id>> {
        let mut groups: BTreeMap<&str, Vec<Id>> = BTreeMap::new();
        for (id, row) in self.rows.iter().filter(|(_, row)| !row.applies()) {
            if let State::Later(why) | State::None(why) = &row.state
                && row.state.name() == state
            {
                groups.entry(why).or_default().push(*id);
            }
        }
        groups
    }
}

/// The most numbers above one test. A test that proves more has parts, each with its number beside it.
const MOST_NUMBERS: usize = 2;

/// Whether a file has a line of this text, which is no comment.
fn has_line(file: &str, line: &str) -> bool {
    let text = fs::read_to_string(root().join(file)).unwrap_or_default();
    text.lines().any(|found| found.trim().trim_end_matches(',') == line)
}

/// Whether there is a heading, given as `page#anchor`.
fn has_heading(heading: &str) -> bool {
    let Some((page, anchor)) = heading.split_once('#') else { return false };
    let text = fs::read_to_string(root().join(page)).unwrap_or_default();
    let mut is_code = false;
    text.lines().any(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#') && anchor_of(line.trim_start_matches('#').trim()) == anchor
    })
}

/// The anchor that hosts of repositories make of a heading.
fn anchor_of(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// All sources that may have tests, by their paths in the repository.
pub(crate) fn texts() -> Vec<(PathBuf, String)> {
    let paths = ["crates", "tests"].map(|folder| sources(&root().join(folder))).concat();
    let read = |path: &PathBuf| {
        (path.strip_prefix(root()).unwrap().to_path_buf(), fs::read_to_string(path).unwrap())
    };
    // The tests of this scanner, and its own comments, are full of numbers that are no tags.
    let is_scanner = |path: &Path| path == Path::new("tests/asvs.rs") || path.starts_with("tests/asvs");
    paths.iter().map(read).filter(|(path, _)| !is_scanner(path)).collect()
}

/// The Rust sources under a folder, sorted.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
