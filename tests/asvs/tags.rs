//! Finds the numbers in comments above tests, and beside what is tested within them.

use std::path::Path;

use super::Id;
use super::functions::{Function, function};

/// A comment with numbers, and the test that it belongs to.
#[derive(Debug)]
pub(crate) struct Tag {
    /// The file and the line.
    pub(crate) place: String,
    pub(crate) ids: Vec<Id>,
    /// The test as `path::name`, if it runs.
    pub(crate) test: Option<String>,
    /// Whether the numbers stand above the whole test.
    pub(crate) is_above: bool,
}

/// The tags of these sources.
pub(crate) fn tags(sources: &[(&Path, &str)]) -> Vec<Tag> {
    let mut tags = Vec::new();
    for (path, text) in sources {
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let ids = ids(line);
            if ids.is_empty() {
                continue;
            }
            let above = function(&lines, at).filter(|_| line.trim_start().starts_with("//"));
            let is_above = above.is_some();
            let function = above.or_else(|| enclosing(&lines, at));
            let test = function
                .filter(|function| function.runs(path, &lines, sources))
                .map(|function| format!("{}::{}", path.display(), function.name));
            tags.push(Tag { place: format!("{}:{}", path.display(), at + 1), ids, test, is_above });
        }
    }
    tags
}

/// The function in whose body the line `at` is, by its indentation.
fn enclosing<'a>(lines: &[&'a str], at: usize) -> Option<Function<'a>> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let begins = |line: &str| {
        let line = line.trim_start();
        ["fn ", "async fn ", "pub fn ", "pub(crate) fn "].iter().any(|start| line.starts_with(start))
    };
    let begin = (0..at).rev().find(|n| begins(lines[*n]) && indent(lines[*n]) < indent(lines[at]))?;
    let end = format!("{}}}", " ".repeat(indent(lines[begin])));
    let is_inside = lines[begin..at].iter().all(|line| **line != end);
    is_inside.then(|| function(lines, begin)).flatten()
}

/// The numbers of a comment that begins with the standard's name: `// ASVS 9.1.1 9.1.2`, and what follows is a sentence.
fn ids(line: &str) -> Vec<Id> {
    let Some((_, comment)) = line.split_once("//") else { return Vec::new() };
    let Some(rest) = comment.trim_start_matches('/').trim_start().strip_prefix("ASVS ") else {
        return Vec::new();
    };
    rest.split(' ').map_while(|word| Id::parse(word.trim_end_matches([',', ':']))).collect()
}
