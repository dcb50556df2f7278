use std::time::Duration;

/// How long to wait after how many attempts.
///
/// ```
/// use portcullis_domain::throttle::SCHEDULE;
///
/// let waits = [4, 5, 6, 7, 14, 15, 99, 100].map(|attempts| SCHEDULE.wait_after(attempts).as_secs());
/// assert_eq!(waits, [0, 1, 2, 4, 512, 900, 900, 86_400]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// So many attempts are free; the next one has to wait.
    pub free: u32,
    /// The first wait. It doubles with every further attempt.
    pub first_wait: Duration,
    /// It doubles up to this.
    pub longest_wait: Duration,
    /// After so many attempts in a row nobody takes it for a slip of memory any more.
    pub tolerated: u32,
    /// From then on the wait is this.
    pub last_wait: Duration,
}

/// The one schedule. Nobody mistypes a password more often than is free; who guesses gets through a hundred in a day.
pub const SCHEDULE: Schedule = Schedule {
    free: 5,
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_mins(15),
    tolerated: 100,
    last_wait: Duration::from_hours(24),
};

/// How long after the next attempt was allowed, and none was made, a counter begins anew.
pub const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// How long after the last login from it a network is known.
pub const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);

impl Schedule {
    /// How long after the last of so many attempts the next one may come.
    pub fn wait_after(&self, attempts: u32) -> Duration {
        if attempts >= self.tolerated {
            return self.last_wait;
        }
        match attempts.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
                self.first_wait.saturating_mul(factor).min(self.longest_wait)
            }
        }
    }

    /// After how many attempts the wait becomes another one, and which, in order: for stores that keep no function.
    pub fn steps(&self) -> impl Iterator<Item = (u32, Duration)> + '_ {
        let wait = |attempts| self.wait_after(attempts);
        let changes = (2..=self.tolerated).filter(move |attempts| wait(*attempts) != wait(attempts - 1));
        changes.map(move |attempts| (attempts, wait(attempts)))
    }

    /// Whether somebody has to wait after so many attempts.
    pub fn throttles(&self, attempts: u32) -> bool {
        self.wait_after(attempts) > Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_quarter_of_an_hour_and_then_becomes_a_day() {
        let waits: Vec<_> = (0..20).map(|attempts| SCHEDULE.wait_after(attempts).as_secs()).collect();
        let expected = [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900];
        assert_eq!(waits, expected);
        for attempts in 20..100 {
            assert_eq!(SCHEDULE.wait_after(attempts).as_secs(), 900, "{attempts}");
        }
        for attempts in [100, 101, 1_000, u32::MAX] {
            assert_eq!(SCHEDULE.wait_after(attempts).as_secs(), 86_400, "{attempts}");
        }
    }

    #[test]
    fn the_steps_are_the_whole_schedule() {
        let steps: Vec<_> = SCHEDULE.steps().collect();
        assert!(steps.is_sorted());
        for attempts in 1..300 {
            let step = steps.iter().rev().find(|(from, _)| *from <= attempts);
            let wait = step.map_or(SCHEDULE.wait_after(1), |(_, wait)| *wait);
            assert_eq!(wait, SCHEDULE.wait_after(attempts), "{attempts}");
        }
    }
}
