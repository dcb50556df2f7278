//! Writes whole lines to a stream that may refuse them for a while.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// Writes lines, and continues after an error without mixing them.
#[derive(Debug)]
pub(super) struct LineWriter<W> {
    stream: W,
    /// Whether the last line was left unfinished: the next write ends it first.
    is_torn: bool,
}

impl<W: Write> LineWriter<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream, is_torn: false }
    }

    /// Writes `lines` from `at` on, and advances `at` past what was written.
    ///
    /// # Errors
    /// If the stream refuses; a later call continues. After [`io::ErrorKind::WouldBlock`] it continues at the same byte.
    /// After other errors it starts the line again, because the first part may be lost, as with another reader.
    pub(super) fn write(&mut self, lines: &[u8], at: &mut usize) -> io::Result<()> {
        while self.is_torn || *at < lines.len() {
            let chunk = if self.is_torn { b"\n" } else { chunk_of(&lines[*at..]) };
            match self.stream.write(chunk) {
                Ok(0) => return Err(self.interrupted(lines, at, io::ErrorKind::WriteZero.into())),
                Ok(_) if self.is_torn => self.is_torn = false,
                Ok(written) => *at += written,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Err(error),
                    _ => return Err(self.interrupted(lines, at, error)),
                },
            }
        }
        Ok(())
    }

    /// Goes back to the beginning of the line at which the stream failed.
    fn interrupted(&mut self, lines: &[u8], at: &mut usize, error: io::Error) -> io::Error {
        let start = lines[..*at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.is_torn |= start < *at;
        *at = start;
        error
    }
}

/// As many whole lines as fit into one atomic write, or one longer line.
fn chunk_of(lines: &[u8]) -> &[u8] {
    let most = lines.len().min(ATOMIC_BYTES);
    let end = lines[..most].iter().rposition(|byte| *byte == b'\n');
    let end = end.or_else(|| lines.iter().position(|byte| *byte == b'\n'));
    end.map_or(lines, |end| &lines[..=end])
}

/// Writes a line at once, and gives up after an error, or after [`LONGEST_WAIT`] if the stream is non-blocking and full.
pub(super) fn write_now(stream: &mut impl Write, line: &[u8]) {
    let mut writer = LineWriter::new(stream);
    let (mut at, mut waited) = (0, Duration::ZERO);
    let mut pauses = Pauses::default();
    while let Err(error) = writer.write(line, &mut at) {
        if error.kind() != io::ErrorKind::WouldBlock || waited >= LONGEST_WAIT {
            return;
        }
        let pause = pauses.next();
        thread::sleep(pause);
        waited += pause;
    }
}

/// The pauses before a refused write is repeated: short at first, because a full pipe is soon read; longer while the
/// stream stays as it is.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = LONGEST_PAUSE.min(pause * 2);
        pause
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

/// The bytes that Linux writes to a pipe at once or not at all (`PIPE_BUF` of `pipe(7)`): processes that share a pipe
/// do not split each other's lines.
const ATOMIC_BYTES: usize = 4 * 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause before writing continues after a disk has room again, or a pipe has a reader again.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a command waits for a full non-blocking stream.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses some writes, then takes a few bytes at a time.
    struct Reluctant {
        refusals: Vec<io::ErrorKind>,
        written: Vec<u8>,
    }

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(kind) = self.refusals.pop() {
                return Err(kind.into());
            }
            let some = bytes.len().min(3);
            self.written.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(refusals: &[io::ErrorKind]) -> String {
        let mut stream = Reluctant { refusals: refusals.to_vec(), written: Vec::new() };
        write_now(&mut stream, b"one line\n");
        String::from_utf8(stream.written).unwrap()
    }

    #[test]
    fn immediate_write_waits_for_a_full_stream_only() {
        use io::ErrorKind::{BrokenPipe, Interrupted, WouldBlock};
        assert_eq!(written(&[]), "one line\n");
        assert_eq!(written(&[WouldBlock, WouldBlock, Interrupted]), "one line\n");
        assert_eq!(written(&[BrokenPipe]), "");
        assert_eq!(written(&[WouldBlock; 1_000]), "", "it gives up");
    }

    #[test]
    fn chunks_are_whole_lines_unless_one_is_longer() {
        let line = |length| format!("{}\n", "x".repeat(length - 1));
        let check = |lines: &[usize], expected| {
            let lines: String = lines.iter().map(|length| line(*length)).collect();
            assert_eq!(chunk_of(lines.as_bytes()).len(), expected, "{}", lines.len());
        };
        check(&[100, 200], 300);
        check(&[4_000, 96], 4_096);
        check(&[4_000, 97], 4_000);
        check(&[5_000, 10], 5_000);
    }
}
