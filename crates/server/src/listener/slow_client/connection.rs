//! A connection that limits how long its client may take for each step.
//!
//! actix-http limits the first head of a connection, and the HTTP stack limits bodies. A [`Connection`] limits the rest:
//! later heads, answers that the client does not read, and bytes that arrive while such an answer waits. It hands over
//! [one request at a time](super::turn), and closes so that the client can still read the answer. The table in
//! [`super`] names the reason and the test of each part.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::time::{Instant, Sleep, sleep_until};
use actix_web::web::BytesMut;
use portcullis_http::LONGEST_RESPONSE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::turn::Turn;

/// A connection to a client, with a time limit for each step.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    /// How long an idle connection is kept.
    keep_alive: Duration,
    awaited: Awaited,
    since: Instant,
    /// Fires no later than the present step's limit. If it fires too early, it is set again: steps are far more frequent.
    alarm: Pin<Box<Sleep>>,
    turn: Turn,
    /// Bytes that arrived behind the present request: at most those of one read.
    ahead: BytesMut,
}

/// The step that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// The next request, or its first byte.
    Request,
    /// The rest of a request, and its response.
    Response,
    /// The client, to take what it was sent.
    Room,
    /// The client's close.
    End,
}

impl<S> Connection<S> {
    /// Creates a connection over `stream` that waits for its first request, and closes after it was idle for `keep_alive`.
    pub(crate) fn new(stream: S, keep_alive: Duration, turn: Turn) -> Self {
        let since = Instant::now();
        let alarm = Box::pin(sleep_until(since + keep_alive));
        let awaited = Awaited::Request;
        let ahead = BytesMut::new();
        Self { stream, keep_alive, awaited, since, alarm, turn, ahead }
    }

    /// Returns the step of the connection, for the service that answers its requests.
    pub(crate) fn turn(&self) -> Turn {
        self.turn.clone()
    }

    /// How long the present step may take.
    const fn limit(&self) -> Duration {
        match self.awaited {
            Awaited::Request => self.keep_alive,
            Awaited::Response => LONGEST_REQUEST,
            Awaited::Room => LONGEST_SENDING,
            Awaited::End => LINGER,
        }
    }

    fn wait_for(&mut self, awaited: Awaited) {
        self.awaited = awaited;
        self.since = Instant::now();
        // Only a step that may take less than the one before needs another alarm.
        let over = self.since + self.limit();
        if over < self.alarm.deadline() {
            self.alarm.as_mut().reset(over);
        }
    }

    /// Ready when the client took too long.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            let over = self.since + self.limit();
            if over <= Instant::now() {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(over);
        }
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Records that a part of a request was handed over.
    fn handed_over(&mut self) -> Poll<io::Result<()>> {
        if self.awaited == Awaited::Request {
            self.wait_for(Awaited::Response);
        }
        Poll::Ready(Ok(()))
    }

    /// Discards the bytes that the client still sends. Ready when the client has closed, or took too long to close.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.ahead = BytesMut::new();
        let mut bytes = [0; 1_024];
        for _ in 0..MOST_DISCARDED {
            let mut discarded = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut discarded) {
                Poll::Ready(Ok(())) if !discarded.filled().is_empty() => {}
                Poll::Ready(_closed_or_broken) => return Poll::Ready(()),
                Poll::Pending => return self.poll_over(context),
            }
        }
        context.waker().wake_by_ref();
        self.poll_over(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    /// Ends the input if the client took too long for its request, as if it had closed the connection. The caller gets no
    /// byte behind the present request.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // A client that takes no answers is asked for no more. The last write of the answer wakes the task.
        if this.awaited == Awaited::Room {
            return Poll::Pending;
        }
        if !this.ahead.is_empty() {
            let most = this.ahead.len().min(buffer.remaining());
            let length = this.turn.take(&this.ahead[..most]);
            if length > 0 {
                buffer.put_slice(&this.ahead.split_to(length));
                return this.handed_over();
            }
            // No more is read, so a client that left is not noticed either.
            this.turn.wake_at_next_step(context);
            return this.poll_over(context).map(Ok);
        }
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            let arrived = &buffer.filled()[before..];
            if read.is_err() || arrived.is_empty() {
                return Poll::Ready(read);
            }
            let length = this.turn.take(arrived);
            this.ahead = BytesMut::from(&arrived[length..]);
            buffer.set_filled(before + length);
            if length > 0 {
                return this.handed_over();
            }
            this.turn.wake_at_next_step(context);
        }
        this.poll_over(context).map(Ok)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    /// Fails if the client takes too long to take what it was sent before.
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                if matches!(written, Ok(length) if length == bytes.len()) {
                    // Nothing was read meanwhile, and what has arrived wakes no task a second time.
                    if this.awaited == Awaited::Room {
                        context.waker().wake_by_ref();
                    }
                    this.wait_for(Awaited::Request);
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                if this.awaited != Awaited::Room {
                    this.wait_for(Awaited::Room);
                }
                this.poll_over(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Closes this side, and then waits a moment for the client to close. The kernel resets a connection that is closed while
    /// it has unread bytes, and then the client may lose the answer (RFC 9112, section 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.awaited != Awaited::End {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if this.turn.is_idle() {
                return Poll::Ready(Ok(()));
            }
            this.wait_for(Awaited::End);
        }
        this.poll_discard(context).map(Ok)
    }
}

/// How long a request may take, from its first byte to the first of its answer. The connection then closes without an
/// answer, so only a client that sends its request too slowly may meet this limit.
const LONGEST_REQUEST: Duration = Duration::from_secs(75);

const _: () = assert!(
    LONGEST_RESPONSE.as_secs() < LONGEST_REQUEST.as_secs(),
    "a request whose work takes too long would get no answer"
);

/// How long a client may take for what it was sent at once, which is tens of kilobytes, or a file of `/docs`.
const LONGEST_SENDING: Duration = Duration::from_mins(1);

/// How long a client may take to close, once it was sent its last answer: enough for it to read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// How often in a row a connection is read to discard what arrives, 1 KiB at a time, before other connections have their
/// turn.
const MOST_DISCARDED: usize = 16;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{advance, timeout};

    use super::*;

    /// A connection and its client, who takes in 16 bytes before it has to read.
    fn pair() -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(16);
        (Connection::new(ours, KEEP_ALIVE, Turn::default()), theirs)
    }

    const SECOND: Duration = Duration::from_secs(1);

    const KEEP_ALIVE: Duration = Duration::from_secs(130);

    #[tokio::test(start_paused = true)]
    async fn idle_connection_closes_after_keep_alive() {
        let (mut connection, mut client) = pair();
        for _ in 0..3 {
            advance(KEEP_ALIVE - SECOND).await;
            client.write_all(b"request").await.unwrap();
            connection.read_exact(&mut [0; 7]).await.unwrap();
            connection.write_all(b"answer").await.unwrap();
            client.read_exact(&mut [0; 6]).await.unwrap();
        }
        let begun = Instant::now();
        assert_eq!(connection.read(&mut [0; 9]).await.unwrap(), 0, "as if the client had left");
        assert_eq!(begun.elapsed().as_secs(), KEEP_ALIVE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn trickling_request_ends_after_longest_request() {
        let (mut connection, mut client) = pair();
        let begun = Instant::now();
        // No byte comes at the very moment of the end.
        let trickle = async {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SECOND * 2 / 3).await;
            }
        };
        let all = async {
            let mut bytes = 0;
            loop {
                match connection.read(&mut [0; 9]).await.unwrap() {
                    0 => return bytes,
                    some => bytes += some,
                }
            }
        };
        tokio::select! {
            () = trickle => panic!("nobody closed it"),
            bytes = all => assert_eq!(bytes as u64, LONGEST_REQUEST.as_secs() * 3 / 2 + 1),
        }
        assert_eq!(begun.elapsed().as_secs(), LONGEST_REQUEST.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn unread_answer_stops_reads_and_times_out() {
        let (mut connection, mut client) = pair();
        client.write_all(b"one").await.unwrap();
        connection.read_exact(&mut [0; 3]).await.unwrap();
        let begun = Instant::now();
        let answer = async { connection.write_all(&[b'x'; 17]).await };
        let error = answer.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), LONGEST_SENDING.as_secs());
        client.write_all(b"two").await.unwrap();
        assert!(timeout(SECOND, connection.read(&mut [0; 3])).await.is_err(), "nothing is read");
    }

    #[tokio::test(start_paused = true)]
    async fn request_behind_blocked_answer_is_read_once_sent() {
        let (mut connection, mut client) = pair();
        client.write_all(b"one").await.unwrap();
        connection.read_exact(&mut [0; 3]).await.unwrap();
        let answer = [b'x'; 40];
        let (mut sent, mut request) = (0, [0; 3]);
        // Like the HTTP implementation, reads before it writes, and each once for every time it is woken.
        let server = std::future::poll_fn(|context| {
            let mut read = ReadBuf::new(&mut request);
            if Pin::new(&mut connection).poll_read(context, &mut read).is_ready() {
                return Poll::Ready(sent);
            }
            while sent < answer.len() {
                let written = ready!(Pin::new(&mut connection).poll_write(context, &answer[sent..]));
                sent += written.unwrap();
            }
            Poll::Pending
        });
        // In a task of its own, so that it wakes the server only by what it sends and takes.
        let client = tokio::spawn(async move {
            client.write_all(b"two").await.unwrap();
            client.read_exact(&mut [0; 40]).await.unwrap();
            client
        });
        let begun = Instant::now();
        // An alarm would wake the server too, much later.
        let sent = server.await;
        assert_eq!((sent, &request, begun.elapsed()), (40, b"two", Duration::ZERO));
        let _client = client.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn second_request_waits_for_first_answer() {
        let (ours, mut client) = duplex(1 << 10);
        let mut connection = Connection::new(ours, KEEP_ALIVE, Turn::default());
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write_all(&request.repeat(2)).await.unwrap();
        let mut bytes = [0; 1 << 10];
        assert_eq!(connection.read(&mut bytes).await.unwrap(), request.len());
        assert!(timeout(SECOND, connection.read(&mut bytes)).await.is_err(), "it is not handed over");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_client_to_close() {
        for (request, leaves, waits) in [
            ("", false, Duration::ZERO),
            ("GET / HTTP/1.1\r\n\r\nmore", false, LINGER),
            ("GET / HTTP/1.1\r\n\r\nmore", true, Duration::ZERO),
            ("half a head", false, LINGER),
        ] {
            let (ours, mut client) = duplex(1 << 10);
            let mut connection = Connection::new(ours, KEEP_ALIVE, Turn::default());
            client.write_all(request.as_bytes()).await.unwrap();
            if !request.is_empty() {
                let _length = connection.read(&mut [0; 64]).await.unwrap();
            }
            connection.write_all(b"answer").await.unwrap();
            let begun = Instant::now();
            let mut answer = String::new();
            if leaves {
                client.shutdown().await.unwrap();
            }
            connection.shutdown().await.unwrap();
            assert_eq!(begun.elapsed(), waits, "{request:?}");
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "answer");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reader_gets_whole_answer() {
        let (mut connection, mut client) = pair();
        let take = async {
            let mut taken = 0;
            while taken < 1_000 {
                tokio::time::sleep(SECOND / 2).await;
                taken += client.read(&mut [0; 16]).await.unwrap();
            }
            client.write_all(b"next").await.unwrap();
        };
        let answer = async {
            connection.write_all(&[b'x'; 1_000]).await.unwrap();
            connection.read_exact(&mut [0; 4]).await.unwrap();
        };
        tokio::join!(take, answer);
    }
}
