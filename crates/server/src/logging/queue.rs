//! The bounded queue between the threads that log and the one thread that writes.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::writer::{LineWriter, Pauses};

/// Lines that wait to be written, in the order in which they were pushed.
///
/// [`Queue::push`] never waits for the stream. If the stream stalls or refuses, the queue fills, further lines are
/// dropped and counted, and the count is written after the lines that the queue held.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

/// How soon a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// With the next batch: when it is large enough, or after the batch time.
    Batched,
    /// At once, with all lines before it.
    Now,
}

impl Queue {
    /// Starts the thread that writes to `stream`. A line that is not urgent waits `batch_time` for others. `report`
    /// formats the line that reports a number of dropped lines.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn start(
        stream: impl Write + Send + 'static,
        batch_time: Duration,
        report: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        let thread = thread::Builder::new().name("log".to_owned());
        // Never joined: the thread may be blocked in a write until the process ends.
        thread.spawn(move || write_batches(&writing, LineWriter::new(stream), batch_time, report))?;
        Ok(Self { shared })
    }

    /// Appends a line that ends with a newline, or counts it as dropped if the queue is full.
    pub(super) fn push(&self, line: &[u8], urgency: Urgency) {
        let is_urgent = urgency == Urgency::Now;
        let most = if is_urgent { QUEUE_BYTES } else { QUEUE_BYTES - RESERVED_BYTES };
        let mut state = self.shared.lock();
        let before = state.lines.len();
        let after = before + line.len();
        let becomes_urgent = is_urgent && !state.is_urgent;
        state.is_urgent |= is_urgent;
        let is_full_batch = before < BATCH_BYTES && after >= BATCH_BYTES;
        match after > most {
            true => state.dropped += 1,
            false => state.lines.extend_from_slice(line),
        }
        drop(state);
        // The writer sleeps until there is something to write, and then until there is reason to write it.
        if before == 0 || becomes_urgent || is_full_batch {
            self.shared.wake.notify_one();
        }
    }

    /// Waits until all lines pushed before are written, at most for `longest`. Returns early if the stream fails.
    pub(super) fn drain(&self, longest: Duration) {
        let mut state = self.shared.lock();
        state.is_urgent = true;
        state.has_failed = false;
        self.shared.wake.notify_one();
        let is_waiting = |state: &mut State| !(state.is_idle() || state.has_failed);
        // Both outcomes end the wait.
        drop(self.shared.progress.wait_timeout_while(state, longest, is_waiting));
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Condvar,
    /// Wakes the callers of [`Queue::drain`].
    progress: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Whether a line must be written at once.
    is_urgent: bool,
    /// Lines that did not fit and were not reported yet.
    dropped: u64,
    /// Whether the writer has taken lines that it has not written yet.
    is_writing: bool,
    /// Whether the last write failed, other than by a full non-blocking stream.
    has_failed: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0 && !self.is_writing
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete, even if a thread panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a batch, swaps it into `batch`, which is empty, and returns how many lines were dropped after it.
    fn next_batch(&self, batch: &mut Vec<u8>, batch_time: Duration) -> u64 {
        let mut state = self.lock();
        state.is_writing = false;
        state.has_failed = false;
        self.progress.notify_all();
        let state = self.wake.wait_while(state, |state| state.lines.is_empty() && state.dropped == 0);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let may_grow = |state: &mut State| !state.is_urgent && state.lines.len() < BATCH_BYTES;
        let waited = self.wake.wait_timeout_while(state, batch_time, may_grow);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut state.lines, batch);
        state.is_urgent = false;
        state.is_writing = true;
        mem::take(&mut state.dropped)
    }

    /// Records a refused write, and waits for `pause` or for a reason to try again sooner.
    fn pause(&self, error: &io::Error, pause: Duration) {
        let mut state = self.lock();
        if error.kind() != io::ErrorKind::WouldBlock {
            state.has_failed = true;
            self.progress.notify_all();
        }
        drop(self.wake.wait_timeout(state, pause));
    }
}

/// Writes batches until the process ends.
fn write_batches<W: Write>(
    shared: &Shared,
    mut writer: LineWriter<W>,
    batch_time: Duration,
    report: impl Fn(u64) -> Vec<u8>,
) {
    let mut batch = Vec::with_capacity(KEPT_BYTES);
    loop {
        let dropped = shared.next_batch(&mut batch, batch_time);
        if dropped > 0 {
            batch.extend(report(dropped));
        }
        let (mut at, mut reached) = (0, 0);
        let mut pauses = Pauses::default();
        while let Err(error) = writer.write(&batch, &mut at) {
            if at > reached {
                pauses = Pauses::default();
            }
            reached = at;
            shared.pause(&error, pauses.next());
        }
        batch.clear();
        batch.shrink_to(KEPT_BYTES);
    }
}

/// The most bytes that wait: some 9,000 lines of the access log. As many again may be with the writer.
const QUEUE_BYTES: usize = 2 * 1_024 * 1_024;

/// The part of the queue that lines of the access log leave to warnings, errors and other urgent lines.
const RESERVED_BYTES: usize = QUEUE_BYTES / 4;

/// The bytes at which a batch is written before its time.
const BATCH_BYTES: usize = 64 * 1024;

/// The bytes of a buffer that are kept from one batch to the next.
const KEPT_BYTES: usize = 2 * BATCH_BYTES;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::time::Instant;

    use super::*;

    /// A stream that passes on the bytes that it accepts, and accepts none until it is allowed to.
    struct StallingStream {
        allowed: Receiver<io::Result<usize>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for StallingStream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Until a test allows a write, it stalls like an unread pipe.
            let Ok(allowed) = self.allowed.recv() else {
                loop {
                    thread::park();
                }
            };
            let written = allowed?.min(bytes.len());
            self.written.send(bytes[..written].to_vec()).unwrap();
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct TestQueue {
        queue: Queue,
        allow: Sender<io::Result<usize>>,
        written: Receiver<Vec<u8>>,
    }

    impl TestQueue {
        fn new() -> Self {
            Self::with_batch_time(PATIENCE * 10)
        }

        fn with_batch_time(batch_time: Duration) -> Self {
            let (allow, allowed) = mpsc::channel();
            let (writes, written) = mpsc::channel();
            let report = |dropped| format!("dropped {dropped}\n").into_bytes();
            let queue =
                Queue::start(StallingStream { allowed, written: writes }, batch_time, report).unwrap();
            Self { queue, allow, written }
        }

        fn push(&self, line: &str, urgency: Urgency) {
            self.queue.push(format!("{line}\n").as_bytes(), urgency);
        }

        fn allow(&self, writes: usize) {
            for _ in 0..writes {
                self.allow.send(Ok(usize::MAX)).unwrap();
            }
        }

        fn refuse(&self, kind: io::ErrorKind) {
            self.allow.send(Err(kind.into())).unwrap();
        }

        /// The bytes of the next write.
        fn written(&self) -> String {
            String::from_utf8(self.written.recv_timeout(PATIENCE).unwrap()).unwrap()
        }

        /// All bytes up to a line that contains `last`.
        fn written_until(&self, last: &str) -> Vec<String> {
            let (mut text, mut chunk) = (String::new(), String::new());
            while !chunk.contains(last) {
                self.allow(1);
                chunk = self.written();
                text.push_str(&chunk);
            }
            text.lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn urgent_line_is_written_at_once_with_all_before_it() {
        let queue = TestQueue::new();
        queue.push("first", Urgency::Batched);
        queue.push("second", Urgency::Batched);
        queue.push("urgent", Urgency::Now);
        queue.allow(1);
        assert_eq!(queue.written(), "first\nsecond\nurgent\n");
    }

    #[test]
    fn batched_lines_are_written_together_after_their_time() {
        let batch_time = Duration::from_millis(300);
        let queue = TestQueue::with_batch_time(batch_time);
        queue.allow(2);
        let begun = Instant::now();
        queue.push("first", Urgency::Batched);
        queue.push("second", Urgency::Batched);
        assert_eq!(queue.written(), "first\nsecond\n");
        let waited = begun.elapsed();
        assert!(waited >= batch_time, "{waited:?}");
    }

    #[test]
    fn full_batch_is_written_before_its_time() {
        let queue = TestQueue::new();
        let line = "x".repeat(1_023);
        for _ in 0..BATCH_BYTES / 1_024 {
            queue.push(&line, Urgency::Batched);
        }
        queue.allow(1);
        assert_eq!(queue.written().len(), 4_096, "whole lines, as many as one write takes");
    }

    #[test]
    fn stalled_stream_makes_lines_drop_and_their_number_follows() {
        let queue = TestQueue::new();
        queue.push("taken by the writer", Urgency::Now);
        queue.allow.send(Ok(5)).unwrap();
        assert_eq!(queue.written(), "taken");
        let line = "x".repeat(1_023);
        let fitting = (QUEUE_BYTES - RESERVED_BYTES) / 1_024;
        for _ in 0..fitting + 7 {
            queue.push(&line, Urgency::Batched);
        }
        // Access lines leave room for it.
        queue.push("urgent", Urgency::Now);
        let lines = queue.written_until("dropped");
        assert_eq!(lines.len(), fitting + 3);
        assert_eq!(lines[fitting + 1..], ["urgent", "dropped 7"]);
        queue.push("after", Urgency::Now);
        queue.allow(1);
        assert_eq!(queue.written(), "after\n", "the number is reported once");
    }

    #[test]
    fn line_longer_than_the_queue_is_reported_as_dropped() {
        let queue = TestQueue::new();
        queue.push(&"x".repeat(QUEUE_BYTES), Urgency::Now);
        queue.allow(1);
        assert_eq!(queue.written(), "dropped 1\n");
    }

    #[test]
    fn partial_write_is_continued() {
        let queue = TestQueue::new();
        queue.push("one line", Urgency::Now);
        queue.allow.send(Ok(3)).unwrap();
        queue.refuse(io::ErrorKind::Interrupted);
        queue.refuse(io::ErrorKind::WouldBlock);
        queue.allow(1);
        assert_eq!([queue.written(), queue.written()], ["one", " line\n"]);
    }

    #[test]
    fn line_interrupted_by_an_error_is_repeated_on_a_line_of_its_own() {
        let queue = TestQueue::new();
        queue.push("first\nsecond", Urgency::Now);
        queue.allow.send(Ok(9)).unwrap();
        queue.refuse(io::ErrorKind::StorageFull);
        queue.refuse(io::ErrorKind::StorageFull);
        queue.allow(2);
        assert_eq!([queue.written(), queue.written(), queue.written()], ["first\nsec", "\n", "second\n"]);
    }

    #[test]
    fn drain_returns_when_everything_is_written() {
        let queue = TestQueue::new();
        queue.queue.drain(PATIENCE);
        queue.push("access", Urgency::Batched);
        queue.allow(1);
        queue.queue.drain(PATIENCE * 10);
        assert_eq!(queue.written.try_recv().unwrap(), b"access\n");
    }

    #[test]
    fn drain_does_not_wait_for_a_stalled_or_failing_stream() {
        let queue = TestQueue::new();
        queue.push("line", Urgency::Now);
        let begun = Instant::now();
        queue.queue.drain(Duration::from_millis(20));
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(20) && waited < PATIENCE, "{waited:?}");
        for _ in 0..1_000 {
            queue.refuse(io::ErrorKind::BrokenPipe);
        }
        let begun = Instant::now();
        queue.queue.drain(PATIENCE);
        assert!(begun.elapsed() < PATIENCE);
    }

    /// How long anything may take before a test fails.
    const PATIENCE: Duration = Duration::from_secs(20);
}
