//! The steps of the background tasks.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// The steps of a task. One that panics takes none of the later ones with it.
pub(super) struct Steps {
    task: &'static str,
    panics: Trouble,
}

impl Steps {
    pub(super) fn of(task: &'static str) -> Self {
        Self { task, panics: Trouble::default() }
    }

    /// Makes a step; `None` if it panicked.
    ///
    /// Going on is safe: the database undoes a transaction that was not committed, every lock is taken whether or not
    /// somebody panicked under it, and what a step keeps in memory says at most that less was done than was.
    pub(super) fn make<T>(&mut self, step: impl FnOnce() -> T) -> Option<T> {
        let task = self.task;
        match catch_unwind(AssertUnwindSafe(step)) {
            Ok(outcome) => {
                self.panics.ends(|| log::info!(task; "a step succeeded again after a panic"));
                Some(outcome)
            }
            Err(panic) => {
                let reason = words_of(panic.as_ref());
                self.panics.begins(|| log::error!(task, reason; "a step panicked; it is tried again"));
                None
            }
        }
    }

    /// Makes step after step until it is told to stop. Each says how long to wait before the next one; after a panic it
    /// is `pause`.
    pub(super) fn repeat(
        &mut self,
        mut step: impl FnMut() -> Duration,
        pause: Duration,
        stopped: &Receiver<()>,
    ) {
        while !is_stopped(stopped, self.make(&mut step).unwrap_or(pause)) {}
    }
}

/// What a panic said.
pub(super) fn words_of(panic: &(dyn Any + Send)) -> &str {
    let literal = || panic.downcast_ref::<&str>().copied();
    panic.downcast_ref::<String>().map(String::as_str).or_else(literal).unwrap_or("no words")
}

/// Something that goes wrong for a while: told once when it begins and once when it ends.
#[derive(Default)]
pub(super) struct Trouble {
    pub(super) lasts: bool,
}

impl Trouble {
    pub(super) fn begins(&mut self, tell: impl FnOnce()) {
        if !mem::replace(&mut self.lasts, true) {
            tell();
        }
    }

    pub(super) fn ends(&mut self, tell: impl FnOnce()) {
        if mem::replace(&mut self.lasts, false) {
            tell();
        }
    }
}

pub(super) fn is_stopped(stopped: &Receiver<()>, pause: Duration) -> bool {
    !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::{Cell, RefCell};
    use std::sync::mpsc;

    use super::*;

    /// Counts its calls; those of these numbers panic.
    pub(in crate::background) fn call(calls: &Cell<u32>, panicking: &[u32]) -> u32 {
        calls.set(calls.get() + 1);
        assert!(!panicking.contains(&calls.get()), "call {}, on purpose", calls.get());
        calls.get()
    }

    #[test]
    fn a_panic_is_told_once_and_so_is_its_end() {
        log::set_logger(&Recorder).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let calls = Cell::new(0);
        let mut steps = Steps::of("counting");
        let made: Vec<_> = (0..6).map(|_| steps.make(|| call(&calls, &[2, 3, 6]))).collect();
        assert_eq!(made, [Some(1), None, None, Some(4), Some(5), None]);
        let panicked =
            |n| format!("ERROR a step panicked; it is tried again task=counting reason=call {n}, on purpose");
        let again = "INFO a step succeeded again after a panic task=counting".to_owned();
        assert_eq!(LINES.take(), [panicked(2), again, panicked(6)]);
    }

    #[test]
    fn a_step_that_panics_is_followed_by_the_next() {
        let (running, stopped) = mpsc::sync_channel(0);
        let (calls, mut running) = (Cell::new(0), Some(running));
        let step = || {
            if call(&calls, &[1]) == 3 {
                drop(running.take());
            }
            Duration::ZERO
        };
        Steps::of("counting").repeat(step, Duration::from_millis(1), &stopped);
        assert_eq!(calls.get(), 3);
    }

    #[test]
    fn a_panic_is_told_in_its_words() {
        let words = |work: fn()| words_of(catch_unwind(work).unwrap_err().as_ref()).to_owned();
        assert_eq!(words(|| panic!("of a literal")), "of a literal");
        assert_eq!(words(|| panic!("of {} parts", 2)), "of 2 parts");
        assert_eq!(words(|| std::panic::panic_any(1)), "no words");
    }

    thread_local! {
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// Keeps what each thread logs.
    struct Recorder;

    impl log::Log for Recorder {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let field = |name: &str| {
                let value = record.key_values().get(name.into());
                value.map(|value| format!(" {name}={value}")).unwrap_or_default()
            };
            let line = format!("{} {}{}{}", record.level(), record.args(), field("task"), field("reason"));
            LINES.with_borrow_mut(|lines| lines.push(line));
        }

        fn flush(&self) {}
    }
}
