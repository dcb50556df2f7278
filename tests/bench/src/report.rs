//! The table.

use std::fmt;

use crate::statistics::{median, spread};

/// A line of the table: a figure, what it is compared with, and what is demanded of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub id: &'static str,
    pub what: String,
    pub unit: Unit,
    /// One a repetition.
    pub figures: Vec<f64>,
    pub baseline: Option<Baseline>,
    pub goal: Goal,
}

/// What a figure is divided by.
#[derive(Debug)]
pub(crate) struct Baseline {
    pub what: &'static str,
    /// One a repetition, measured beside the figure of the same place.
    pub figures: Vec<f64>,
}

/// What is demanded of the ratio, or of the figure where there is no baseline.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// It is there for information.
    None,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Things done in a second.
    PerSecond,
    Milliseconds,
    Seconds,
    /// 2^20 bytes.
    Mebibytes,
    /// 10^6 bytes.
    Megabytes,
    Percent,
}

impl Row {
    /// A figure for itself.
    pub(crate) fn new(id: &'static str, what: impl Into<String>, unit: Unit, figures: Vec<f64>) -> Self {
        Self { id, what: what.into(), unit, figures, baseline: None, goal: Goal::None }
    }

    pub(crate) fn against(mut self, what: &'static str, figures: &[f64]) -> Self {
        self.baseline = Some(Baseline { what, figures: figures.to_vec() });
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    /// A goal that this machine, or this build, cannot be asked about.
    pub(crate) fn unmeasured(id: &'static str, why: &anyhow::Error) -> Self {
        Self::new(id, format!("not measured: {}", one_line(&format!("{why:#}"))), Unit::PerSecond, Vec::new())
    }

    /// What the goal judges: the ratio of each repetition, or its figure.
    fn judged(&self) -> Vec<f64> {
        match &self.baseline {
            Some(baseline) => {
                self.figures.iter().zip(&baseline.figures).map(|(figure, base)| figure / base).collect()
            }
            None => self.figures.clone(),
        }
    }

    fn holds(&self) -> Option<bool> {
        let judged = median(&self.judged())?;
        match self.goal {
            Goal::AtLeast(least) => Some(judged >= least),
            Goal::AtMost(most) => Some(judged <= most),
            Goal::None => None,
        }
    }

    fn show_judged(&self, value: f64) -> String {
        match self.baseline {
            Some(_) => ratio(value),
            None => self.unit.show(value),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |figures: &[f64]| median(figures).map(|median| self.unit.show(median)).unwrap_or_default();
        let judged = self.judged();
        let ratio = median(&judged).filter(|_| self.baseline.is_some()).map(ratio);
        let range = spread(&judged)
            .map(|(least, most)| format!("{} .. {}", self.show_judged(least), self.show_judged(most)));
        let goal = match self.goal {
            Goal::AtLeast(least) => format!("≥ {}", self.show_judged(least)),
            Goal::AtMost(most) => format!("≤ {}", self.show_judged(most)),
            Goal::None => String::new(),
        };
        let holds = self.holds().map_or("", |holds| if holds { "yes" } else { "**no**" });
        let baseline = self.baseline.as_ref();
        let baseline = baseline.map(|baseline| format!("{}: {}", baseline.what, show(&baseline.figures)));
        let separator = if self.figures.is_empty() { "" } else { ": " };
        write!(
            f,
            "| {} | {}{separator}{} | {} | {} | {} | {goal} | {holds} |",
            self.id,
            self.what,
            show(&self.figures),
            baseline.unwrap_or_default(),
            ratio.unwrap_or_default(),
            range.unwrap_or_default(),
        )
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond if value >= 1000.0 => format!("{}/s", thousands(value)),
            Self::PerSecond => format!("{value:.1}/s"),
            Self::Milliseconds if value >= 100.0 => format!("{} ms", thousands(value)),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Megabytes => format!("{value:.2} MB"),
            Self::Percent => format!("{value:.0} %"),
        }
    }
}

/// The table of these rows.
pub(crate) fn table(rows: &[Row]) -> String {
    let rows: Vec<_> = rows.iter().map(Row::to_string).collect();
    format!("{HEAD}{}\n", rows.join("\n"))
}

fn ratio(value: f64) -> String {
    format!("{value:.3}")
}

/// A whole number with commas.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text that fits into a cell.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

const HEAD: &str = "\
| | figure | baseline | ratio | spread | goal | holds |
|---|---|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_judges_the_ratios_of_each_repetition() {
        let row = Row::new("P1", "hot", Unit::PerSecond, vec![80_000.0, 90_000.0, 50.0])
            .against("hello", &[100_000.0, 100_000.0, 100.0])
            .goal(Goal::AtLeast(0.85));
        let expected =
            "| P1 | hot: 80,000/s | hello: 100,000/s | 0.800 | 0.500 .. 0.900 | ≥ 0.850 | **no** |";
        assert_eq!(row.to_string(), expected);
    }

    #[test]
    fn a_row_without_a_baseline_judges_the_figure() {
        let row = Row::new("P9", "start", Unit::Milliseconds, vec![30.0, 50.0]).goal(Goal::AtMost(80.0));
        assert_eq!(
            row.to_string(),
            "| P9 | start: 40.00 ms |  |  | 30.00 ms .. 50.00 ms | ≤ 80.00 ms | yes |"
        );
    }

    #[test]
    fn a_row_that_was_not_measured_says_why() {
        let row = Row::unmeasured("P6", &anyhow::anyhow!("no pgbench\nanywhere"));
        assert_eq!(row.to_string(), "| P6 | not measured: no pgbench anywhere |  |  |  |  |  |");
    }

    #[test]
    fn thousands_have_commas() {
        for (value, expected) in [(0.4, "0"), (999.0, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(thousands(value), expected);
        }
    }
}
