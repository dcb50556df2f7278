//! What came of rounds.

use std::fmt;

use crate::history::{Action, Operation, Outcome};

/// What came of some rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub rounds: usize,
    /// Writes by their outcome.
    pub acknowledged: usize,
    pub unknown: usize,
    /// What violates a rule, and responses that no fault explains.
    pub violations: Vec<String>,
}

impl Tally {
    /// Counts the writes of a history. What one operation does to several subjects counts once.
    pub(crate) fn of(rounds: usize, history: &[Operation], violations: Vec<String>) -> Self {
        let is_write = |operation: &&Operation| {
            !matches!(operation.action, Action::Authenticate | Action::EndWithUser | Action::Consume)
        };
        let count = |outcome| history.iter().filter(is_write).filter(|one| one.outcome == outcome).count();
        Self { rounds, acknowledged: count(Outcome::Ok), unknown: count(Outcome::Unknown), violations }
    }

    /// Adds other rounds.
    pub(crate) fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.violations.extend(other.violations);
    }

    /// How many acknowledged writes are lost.
    pub(crate) fn lost(&self) -> usize {
        self.violations.iter().filter(|violation| violation.starts_with("I1")).count()
    }

    /// Fails the test if a rule is violated, or if nothing happened that could.
    #[track_caller]
    pub(crate) fn assert_clean(&self, fewest: usize) -> &Self {
        assert!(self.violations.is_empty(), "{self}\n{:#?}", self.violations);
        assert!(self.acknowledged >= fewest, "too little happened: {self}");
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} rounds {:>8} acknowledged {:>4} lost {:>6} unknown {:>3} violations",
            self.rounds,
            self.acknowledged,
            self.lost(),
            self.unknown,
            self.violations.len()
        )
    }
}
