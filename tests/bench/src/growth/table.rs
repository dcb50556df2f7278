//! The tables, in Markdown.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Kind;
use super::fill::Filled;
use super::measure::{CALLS, Comparison};

/// A database of one size.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) filled: Filled,
    pub(super) comparison: Comparison,
}

/// A statement and its plan.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) kind: Kind,
    pub(super) users: u64,
    pub(super) call: &'static str,
    pub(super) plan: Vec<String>,
    /// Whether no line of it reads a whole table.
    pub(super) is_by_index: bool,
}

/// Prints what was measured and how each statement is carried out.
pub(super) fn print(rows: &[Row], planned: &[Planned]) -> Result<()> {
    let tables = [growth(rows), plans(planned)].join("\n");
    io::stdout().write_all(tables.as_bytes()).context("cannot print the tables")
}

fn growth(rows: &[Row]) -> String {
    let mut table = "| database | users and sessions | filled in s | MiB |".to_owned();
    let columns = CALLS.map(|call| format!(" {call} p50 µs | beside | ratio (lowest to highest round) |"));
    table.extend(columns);
    table.push_str("\n|---|---|---|---|");
    table.push_str(&"---|".repeat(3 * CALLS.len()));
    table.push('\n');
    for Row { kind, filled, comparison } in rows {
        let (took, size) = (filled.took.as_secs_f64(), filled.size >> 20);
        let _infallible = write!(table, "| {kind} | {} | {took:.1} | {size} |", filled.population.users);
        for figures in &comparison.0 {
            let [small, large] = [figures.small, figures.large].map(|took: Duration| took.as_micros());
            let [lowest, .., highest] = figures.ratios;
            let ratio = figures.ratio();
            let _infallible =
                write!(table, " {large} | {small} | **{ratio:.2}** ({lowest:.2} to {highest:.2}) |");
        }
        table.push('\n');
    }
    table
}

fn plans(planned: &[Planned]) -> String {
    let mut table = "| database | users | statement of | reads | |\n|---|---|---|---|---|\n".to_owned();
    for Planned { kind, users, call, plan, is_by_index } in planned {
        let lines = plan.iter().map(|line| line.trim_start_matches(['-', '>', ' ']));
        let reads: Vec<_> = lines.filter(|line| is_access(line)).collect();
        let verdict = if *is_by_index { "by index" } else { "**IN FULL**" };
        if !reads.is_empty() {
            let reads = reads.join("; ");
            let _infallible = writeln!(table, "| {kind} | {users} | {call} | {reads} | {verdict} |");
        }
    }
    table
}

/// Whether a line of a plan says how a table is read, other than the one of one row.
fn is_access(line: &str) -> bool {
    let reads = ["SCAN ", "SEARCH ", "Index ", "Bitmap ", "Seq "];
    reads.iter().any(|how| line.starts_with(how)) && !line.contains("deployment")
}
