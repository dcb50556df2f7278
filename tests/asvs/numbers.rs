//! The numbers in the tables of the pages, and where they come from: rows of tables with the columns `value` and `from`.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use crate::scoreboard::root;

/// A number that a page says.
#[derive(Debug)]
pub(crate) struct Number {
    page: String,
    value: String,
    from: String,
}

/// Those of all pages in a folder.
pub(crate) fn of_pages(folder: &Path) -> Vec<Number> {
    let mut pages: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages.iter().flat_map(|page| of_page(page)).collect()
}

fn of_page(page: &Path) -> Vec<Number> {
    let text = fs::read_to_string(page).unwrap();
    let mut columns = None;
    let mut numbers = Vec::new();
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|') else {
            columns = None;
            continue;
        };
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let column = |name| cells.iter().position(|cell| *cell == name);
        match (columns, column("value"), column("from")) {
            (_, Some(value), Some(from)) => columns = Some((value, from)),
            (Some((value, from)), ..) if !cells[0].starts_with("---") => numbers.push(Number {
                page: page.file_name().unwrap().to_string_lossy().into_owned(),
                value: cells[value].to_owned(),
                from: cells[from].to_owned(),
            }),
            _ => {}
        }
    }
    numbers
}

impl Number {
    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let said = said(&self.value);
        let found = self.found();
        (said.is_none() || said != found)
            .then(|| format!("{}: {} is {} there, and {found:?} in fact", self.page, self.from, self.value))
    }

    /// The number where it comes from: `` `CONSTANT` in `file` ``, or a setting.
    fn found(&self) -> Option<Amount> {
        let names: Vec<_> = self.from.split('`').collect();
        match names[..] {
            ["", constant, " in ", file, ""] => {
                let text = fs::read_to_string(root().join(file)).ok()?;
                let (_, rest) = text.split_once(&format!("const {constant}: "))?;
                let (_, expression) = rest.split_once("= ")?;
                amount(expression.split(';').next()?)
            }
            ["", setting, ""] => {
                let defaults: Table =
                    fs::read_to_string(root().join("config/default.toml")).ok()?.parse().ok()?;
                let mut value = &Value::Table(defaults);
                for key in setting.split('.') {
                    value = value.get(key)?;
                }
                match value {
                    Value::Integer(number) => Some(Amount::Number(u64::try_from(*number).ok()?)),
                    Value::String(text) => duration(text),
                    Value::Table(limit) => {
                        let requests = u64::try_from(limit.get("requests")?.as_integer()?).ok()?;
                        let Amount::Milliseconds(per) = duration(limit.get("per")?.as_str()?)? else {
                            return None;
                        };
                        Some(Amount::Limit(requests, per))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Amount {
    Number(u64),
    Milliseconds(u64),
    /// So many in so many milliseconds.
    Limit(u64, u64),
}

/// `10,000`, `16,384 bytes`, `5 s` or `30 in 1m`.
fn said(text: &str) -> Option<Amount> {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let number = first.replace(',', "").parse().ok()?;
    match rest.split_once(' ') {
        Some(("in", per)) => match duration(per)? {
            Amount::Milliseconds(per) => Some(Amount::Limit(number, per)),
            _ => None,
        },
        None if rest == "s" => Some(Amount::Milliseconds(number * 1_000)),
        None if rest == "ms" => Some(Amount::Milliseconds(number)),
        None if ["", "bytes"].contains(&rest) => Some(Amount::Number(number)),
        _ => None,
    }
}

/// A duration as settings have it.
fn duration(text: &str) -> Option<Amount> {
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    let seconds = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    Some(Amount::Milliseconds(number * seconds * 1_000))
}

/// `5`, `16 * 1_024`, or `Duration::from_secs(5)`.
fn amount(expression: &str) -> Option<Amount> {
    if let Some(rest) = expression.strip_prefix("Duration::from_") {
        let (unit, number) = rest.strip_suffix(')')?.split_once('(')?;
        let milliseconds = match unit {
            "millis" => 1,
            "secs" => 1_000,
            "mins" => 60_000,
            _ => return None,
        };
        return Some(Amount::Milliseconds(number.parse::<u64>().ok()? * milliseconds));
    }
    let factors = expression.split(" * ").map(|factor| factor.replace('_', "").parse::<u64>().ok());
    Some(Amount::Number(factors.collect::<Option<Vec<_>>>()?.iter().product()))
}
