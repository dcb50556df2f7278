//! Finds the numbers in comments above tests.

use std::path::{Path, PathBuf};

use super::Id;
use super::functions::function;

/// A comment with numbers, and whether it stands above a test that runs.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
    pub(crate) ids: Vec<Id>,
    pub(crate) is_test: bool,
}

/// The tags of these sources.
pub(crate) fn tags(sources: &[(&Path, &str)]) -> Vec<Tag> {
    let mut tags = Vec::new();
    for (path, text) in sources {
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let ids = ids(line);
            if !ids.is_empty() {
                let is_test =
                    function(&lines, at).is_some_and(|function| function.runs(path, &lines, sources));
                tags.push(Tag { path: path.to_path_buf(), line: at + 1, ids, is_test });
            }
        }
    }
    tags
}

/// The numbers of a comment that begins with the standard's name: `// ASVS 9.1.1 9.1.2`, and what follows is a sentence.
fn ids(line: &str) -> Vec<Id> {
    let Some(comment) = line.trim_start().strip_prefix("//") else { return Vec::new() };
    let Some(rest) = comment.trim_start_matches('/').trim_start().strip_prefix("ASVS ") else {
        return Vec::new();
    };
    rest.split(' ').map_while(|word| Id::parse(word.trim_end_matches([',', ':']))).collect()
}
