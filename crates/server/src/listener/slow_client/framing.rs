//! Which bytes belong to a request: the head, and the body that the head announces.

/// The bytes that a connection hands over next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The head of a request.
    Head(Lines),
    /// This number of bytes of a body.
    Body(u64),
    /// A body in chunks.
    Chunks(Chunk),
    /// Nothing until the request is answered.
    Response,
    /// Nothing any more.
    Close,
}

impl Default for Step {
    fn default() -> Self {
        Self::Head(Lines { has_begun: false, is_empty: true })
    }
}

impl Step {
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let end = match self {
            Self::Head(lines) => lines.end(bytes),
            Self::Body(left) => end_of(left, bytes),
            Self::Chunks(chunk) => chunk.end(bytes),
            Self::Response | Self::Close => return 0,
        };
        match end {
            Some(end) => {
                *self = Self::Response;
                end
            }
            None => bytes.len(),
        }
    }
}

/// Lines up to an empty one. Like actix-http, accepts a bare LF as the end of a line, and skips empty lines before a
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// Whether the next empty line is the end.
    has_begun: bool,
    /// Whether the present line has been empty so far.
    is_empty: bool,
}

impl Lines {
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut begin = 0;
        while let Some(length) = line_feed(&bytes[begin..]) {
            let end = begin + length;
            self.pass(&bytes[begin..end]);
            begin = end + 1;
            if self.has_begun && self.is_empty {
                return Some(begin);
            }
            self.is_empty = true;
        }
        self.pass(&bytes[begin..]);
        None
    }

    fn pass(&mut self, part_of_line: &[u8]) {
        if part_of_line.iter().any(|byte| *byte != b'\r') {
            *self = Self { has_begun: true, is_empty: false };
        }
    }
}

/// Returns the position of the first LF. Every byte of every head passes here, so most are compared sixteen at a time.
fn line_feed(bytes: &[u8]) -> Option<usize> {
    let has_none =
        |chunk: &&[u8; 16]| chunk.iter().fold(0, |found, byte| found | u8::from(*byte == b'\n')) == 0;
    let passed = 16 * bytes.as_chunks().0.iter().take_while(has_none).count();
    bytes[passed..].iter().position(|byte| *byte == b'\n').map(|place| passed + place)
}

/// A position in a body in chunks (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the line before a chunk: the size so far, and whether its digits are over.
    Size { size: u64, is_over: bool },
    /// This number of bytes before the next such line.
    Data(u64),
    /// Behind the last chunk.
    Trailer(Lines),
}

impl Chunk {
    pub(super) const NEXT: Self = Self::Size { size: 0, is_over: false };

    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self {
                Self::Size { size: 0, .. } if *byte == b'\n' => {
                    *self = Self::Trailer(Lines { has_begun: true, is_empty: true });
                    at += 1;
                }
                Self::Size { size, .. } if *byte == b'\n' => {
                    // CR LF follows the data.
                    *self = Self::Data(size.saturating_add(2));
                    at += 1;
                }
                Self::Size { size, is_over } => {
                    match char::from(*byte).to_digit(16) {
                        Some(digit) if !*is_over => {
                            *size = size.saturating_mul(16).saturating_add(digit.into());
                        }
                        _ => *is_over = true,
                    }
                    at += 1;
                }
                Self::Data(left) => {
                    at += end_of(left, &bytes[at..])?;
                    *self = Self::NEXT;
                }
                Self::Trailer(lines) => return lines.end(&bytes[at..]).map(|end| at + end),
            }
        }
        None
    }
}

/// Returns the end of the next `left` bytes if it is within `bytes`. Otherwise reduces `left` by their length.
fn end_of(left: &mut u64, bytes: &[u8]) -> Option<usize> {
    match usize::try_from(*left) {
        Ok(end) if end <= bytes.len() => Some(end),
        _ => {
            *left -= bytes.len() as u64;
            None
        }
    }
}
