//! What is being measured, and how long it still takes, on stderr.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

/// How far the measurements are.
#[derive(Debug)]
pub(crate) struct Progress {
    repetitions: u32,
    /// About how long one repetition of each measurement takes.
    estimates: Vec<Duration>,
    /// Which measurement it is, counted from one.
    current: Cell<usize>,
    what: Cell<&'static str>,
    begun: Instant,
}

impl Progress {
    pub(crate) fn new(repetitions: u32, estimates: impl Iterator<Item = Duration>) -> Self {
        let estimates = estimates.collect();
        Self { repetitions, estimates, current: Cell::new(0), what: Cell::new(""), begun: Instant::now() }
    }

    /// The next measurement begins.
    pub(crate) fn begin(&self, what: &'static str) {
        self.current.set(self.current.get() + 1);
        self.what.set(what);
    }

    /// The repetitions of the current measurement.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = Round> {
        (0..self.repetitions).map(|number| {
            let repetition = format!("repetition {} of {}", number + 1, self.repetitions);
            self.say(&format!("{repetition}, about {} left", minutes(self.left(number))));
            Round { number }
        })
    }

    /// Says something about the current measurement. That nobody may be there to read it is no reason to stop.
    pub(crate) fn say(&self, text: &str) {
        let (current, all, what) = (self.current.get(), self.estimates.len(), self.what.get());
        let elapsed = minutes(self.begun.elapsed());
        let _written = writeln!(io::stderr(), "[{elapsed}] {current}/{all} {what}: {text}");
    }

    fn left(&self, repetitions_done: u32) -> Duration {
        let mut left = self.estimates.iter().skip(self.current.get() - 1).copied();
        let of_this = left.next().unwrap_or_default() * (self.repetitions - repetitions_done);
        of_this + left.map(|estimate| estimate * self.repetitions).sum::<Duration>()
    }
}

/// One repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub number: u32,
}

impl Round {
    /// The sides in the order in which this repetition takes them: forth, and the next time back, so that a machine
    /// that slows down slows none of them more.
    pub(crate) fn order<T: Copy>(self, sides: &[T]) -> Vec<T> {
        let mut sides = sides.to_vec();
        if self.number % 2 == 1 {
            sides.reverse();
        }
        sides
    }
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_counts_down() {
        let progress = Progress::new(2, [10, 1].map(Duration::from_secs).into_iter());
        progress.begin("first");
        assert_eq!([0, 1].map(|done| progress.left(done).as_secs()), [22, 12]);
        progress.begin("second");
        assert_eq!([0, 1].map(|done| progress.left(done).as_secs()), [2, 1]);
    }

    #[test]
    fn every_other_repetition_goes_back() {
        let orders: Vec<_> = (0..3).map(|number| Round { number }.order(&[1, 2])).collect();
        assert_eq!(orders, [[1, 2], [2, 1], [1, 2]]);
    }
}
