//! Which functions in the sources are tests.

use std::path::Path;

/// A function under a comment.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    at: usize,
    has_test_attribute: bool,
    is_ignored: bool,
}

/// The function whose comments and attributes the line `at` is among.
pub(crate) fn function<'a>(lines: &[&'a str], at: usize) -> Option<Function<'a>> {
    let belongs = |line: &str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    };
    let first = (0..at).rev().take_while(|n| belongs(lines[*n])).last().unwrap_or(at);
    let mut is_within_attribute = false;
    for n in first..lines.len() {
        let line = lines[n].trim();
        if is_within_attribute {
            is_within_attribute = line != ")]";
        } else if line.starts_with("#[") {
            is_within_attribute = !line.ends_with(']');
        } else if !line.starts_with("//") {
            let (_, rest) = line.split_once("fn ")?;
            let attributes = || lines[first..n].iter().map(|line| line.trim());
            return Some(Function {
                name: rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?,
                at: n,
                has_test_attribute: attributes()
                    .any(|line| ["#[test]", "#[actix_web::test]"].contains(&line)),
                is_ignored: attributes().any(|line| line.starts_with("#[ignore")),
            });
        }
    }
    None
}

impl Function<'_> {
    /// Whether it is a test that runs.
    pub(crate) fn runs(&self, path: &Path, lines: &[&str], sources: &[(&Path, &str)]) -> bool {
        let is_test = self.has_test_attribute
            || self.is_on_both_databases(lines)
            || self.is_contract(path, sources)
            || self.is_attack(path, lines, sources);
        is_test && !self.is_ignored
    }

    /// Whether it stands in the macro that makes a test for each database, or is listed there.
    fn is_on_both_databases(&self, lines: &[&str]) -> bool {
        let begins = |n: &usize| lines[*n] == "on_both_databases! {";
        (0..lines.len()).filter(begins).any(|begin| {
            let length = lines[begin..].iter().position(|line| *line == "}").unwrap_or(0);
            let end = begin + length;
            (begin..end).contains(&self.at) || lines[begin..end].iter().any(|line| self.is_listed_in(line))
        })
    }

    fn is_listed_in(&self, line: &str) -> bool {
        line.trim().strip_suffix(',') == Some(self.name)
    }

    /// Whether it is a case of the corpus of attacks: registered in its family, which the corpus runs.
    fn is_attack(&self, path: &Path, lines: &[&str], sources: &[(&Path, &str)]) -> bool {
        if path.parent() != Some(Path::new("tests/e2e/corpus")) {
            return false;
        }
        let family = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let runner = sources.iter().find(|(path, _)| *path == Path::new("tests/e2e/corpus.rs"));
        let families = runner.map(|(_, text)| list(text, "const FAMILIES: ")).unwrap_or_default();
        list(&lines.join("\n"), "const CASES: ").contains(&format!(", {})", self.name))
            && families.contains(&format!(" {family}::CASES,"))
    }

    /// Whether it is a contract that adapters are held to: listed for the stores, or called by the tests of the adapters.
    fn is_contract(&self, path: &Path, sources: &[(&Path, &str)]) -> bool {
        let Some(module) = contract_module(path) else { return false };
        let call = format!("{module}::{}(", self.name);
        let is_called = |(path, text): &(&Path, &str)| {
            path.starts_with("crates/adapters/tests/contract") && text.contains(&call)
        };
        self.is_listed(path, sources) || sources.iter().any(is_called)
    }

    /// Whether it is a contract that `store_contract!` lists.
    pub(crate) fn is_listed(&self, path: &Path, sources: &[(&Path, &str)]) -> bool {
        let Some(module) = contract_module(path) else { return false };
        let begin = format!("{module}::{{");
        let lists = sources.iter().filter(|(path, _)| *path == Path::new(STORE_CONTRACT));
        let mut names = lists.filter_map(|(_, text)| text.split_once(&begin)?.1.split('}').next());
        names.any(|names| names.split(',').any(|name| name.trim() == self.name))
    }
}

/// The file with the list of all contract tests of the stores.
pub(crate) const STORE_CONTRACT: &str = "crates/testkit/src/contract/store_contract.rs";

/// Returns the module of the contract that a file belongs to: that of its port.
fn contract_module(path: &Path) -> Option<&str> {
    let module = path.strip_prefix("crates/testkit/src/contract").ok()?.components().next()?;
    Path::new(module.as_os_str()).file_stem()?.to_str()
}

/// A constant array, from its name to its end.
fn list(text: &str, name: &str) -> String {
    let list = text.split_once(name).and_then(|(_, rest)| rest.split_once("];")).unwrap_or_default();
    list.0.to_owned()
}
