//! Log lines on standard error: text for people, one JSON object per line for machines.
//!
//! Commands write their few lines at once. The service hands its lines to a [`Queue`] with a thread of its own, so a
//! reader of standard error that stalls delays no request and no shutdown.

mod colours;
mod filters;
mod line;
mod queue;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use log::kv::Value;
use log::{Level, Log, Metadata, Record};
use portcullis_adapters::system::operating_system_time;
use portcullis_http::{ACCESS_LOG, RequestId};

use self::line::{Format, Line};
use self::queue::{Queue, Urgency};
use self::writer::write_now;
use crate::settings;

/// Starts logging. `RUST_LOG`, if set, overrides the level of the settings; its directives that cannot be read are
/// ignored with a warning.
pub(crate) fn init(log: &settings::Log) {
    let _ = FORMAT.set(Format::of(log.format, io::stderr().is_terminal()));
    let mut builder = env_logger::Builder::new();
    builder.filter_level(log.level);
    let filters = std::env::var(env_logger::DEFAULT_FILTER_ENV).unwrap_or_default();
    let (readable, ignored) = filters::split(&filters);
    builder.parse_filters(&readable);
    let logger = Logger { filters: builder.build() };
    let most = logger.filters.filter();
    // Only a test could have started logging before.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(most);
    }
    if !ignored.is_empty() {
        log::warn!(ignored = ignored.join(","); "RUST_LOG contains directives that cannot be read");
    }
}

/// Makes the process write its lines through a queue from now on, panics included.
///
/// # Errors
/// If the thread that writes cannot be started.
pub(crate) fn start_queue() -> anyhow::Result<()> {
    let queue = Queue::start(io::stderr(), BATCH_TIME, dropped_line);
    let queue = queue.context("cannot start the thread that writes the log")?;
    if QUEUE.set(queue).is_ok() {
        std::panic::set_hook(Box::new(|panic| report_panic(panic, emit)));
    }
    Ok(())
}

/// Writes a line of text for the operator, regardless of level and format.
pub(crate) fn print(line: &str) {
    deliver(format!("{line}\n").as_bytes(), Urgency::Now);
}

/// Waits until queued lines are written, but never longer than [`LONGEST_DRAIN`].
pub(crate) fn drain() {
    if let Some(queue) = QUEUE.get() {
        queue.drain(LONGEST_DRAIN);
    }
}

/// Calls [`drain`] when it goes out of scope, also during a panic.
#[derive(Debug)]
pub(crate) struct DrainOnDrop;

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        drain();
    }
}

struct Logger {
    /// Only its filters are used: it would write to standard error itself.
    filters: env_logger::Logger,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filters.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filters.matches(record) && !is_chatter_of_the_stack(record) {
            emit(record);
        }
    }

    fn flush(&self) {
        drain();
    }
}

/// Whether the HTTP stack reports something that must not be logged. Below a warning it repeats what clients sent,
/// tokens included, so no filter brings it back. It also reports errors that a client causes: malformed requests and
/// closed connections.
fn is_chatter_of_the_stack(record: &Record<'_>) -> bool {
    let is_of = |stack: &&str| record.target().starts_with(stack);
    let is_about_a_client =
        || is_of(&"actix_http") && record.args().to_string().starts_with("stream error: ");
    match record.level() > Level::Warn {
        true => ["actix_", "mio", "h2", "tokio", "r2d2"].iter().any(is_of),
        false => is_about_a_client(),
    }
}

/// Formats a record and delivers its line.
fn emit(record: &Record<'_>) {
    let is_access = record.target() == ACCESS_LOG && record.level() > Level::Warn;
    let urgency = if is_access { Urgency::Batched } else { Urgency::Now };
    // Taken out, because formatting a value may log or panic.
    let mut line = LINE.try_with(Cell::take).unwrap_or_default();
    let request = portcullis_http::current_request_id();
    line.write(format(), operating_system_time(), request.as_ref().map(RequestId::as_str), record);
    deliver(line.as_bytes(), urgency);
    let _ = LINE.try_with(|kept| kept.set(line));
}

fn deliver(line: &[u8], urgency: Urgency) {
    match QUEUE.get() {
        Some(queue) => queue.push(line, urgency),
        None => write_now(&mut io::stderr().lock(), line),
    }
}

/// The line that reports dropped lines.
fn dropped_line(dropped: u64) -> Vec<u8> {
    let fields = [("dropped", dropped)];
    let mut record = Record::builder();
    record.level(Level::Warn).target(module_path!()).key_values(&fields);
    let mut line = Line::default();
    let args = format_args!("log lines were dropped because standard error was not read fast enough");
    line.write(format(), operating_system_time(), None, &record.args(args).build());
    line.as_bytes().to_vec()
}

/// Passes the record of a panic to `emit`, at every log level: the standard library would write it to standard error
/// itself, and block there.
fn report_panic(panic: &PanicHookInfo<'_>, emit: impl FnOnce(&Record<'_>)) {
    let thread = thread::current();
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let mut fields = vec![
        ("thread", Value::from(thread.name().unwrap_or("unnamed"))),
        ("location", Value::from(location.as_str())),
        ("reason", Value::from(panic.payload_as_str().unwrap_or("unknown"))),
    ];
    if backtrace.status() == BacktraceStatus::Captured {
        fields.push(("backtrace", Value::from_display(&backtrace)));
    }
    let mut record = Record::builder();
    record.level(Level::Error).target("panic").key_values(&fields);
    emit(&record.args(format_args!("a thread panicked")).build());
}

/// The format of the settings; until they are loaded that of `log.format = "auto"`.
fn format() -> Format {
    let auto = || Format::of(settings::LogFormat::Auto, io::stderr().is_terminal());
    FORMAT.get().copied().unwrap_or_else(auto)
}

static FORMAT: OnceLock<Format> = OnceLock::new();

/// Set only for the service.
static QUEUE: OnceLock<Queue> = OnceLock::new();

thread_local! {
    /// The buffer in which this thread formats its lines.
    static LINE: Cell<Line> = Cell::new(Line::default());
}

/// How long a line of the access log waits for others to be written with.
const BATCH_TIME: Duration = Duration::from_millis(100);

/// How long the end of the process waits for queued lines: enough for a full queue and a reader that reads, short
/// beside the ten seconds after which orchestrators kill.
const LONGEST_DRAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::panic::{self, catch_unwind};
    use std::sync::mpsc;

    use serde_json::Value;

    use super::*;

    #[test]
    fn panic_becomes_one_line_with_its_reason() {
        let (lines, logged) = mpsc::channel();
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            report_panic(panic, |record| {
                let mut line = Line::default();
                line.write(Format::Json, operating_system_time(), None, record);
                lines.send(line.as_bytes().to_vec()).unwrap();
            });
        }));
        let thread = thread::Builder::new().name("panics".to_owned());
        let thread = thread.spawn(|| catch_unwind(|| panic!("no way\nout of {}", "here"))).unwrap();
        assert!(thread.join().unwrap().is_err());
        panic::set_hook(usual);
        // Other tests may have panicked meanwhile.
        let lines = logged.into_iter().map(|line| serde_json::from_slice::<Value>(&line).unwrap());
        let line = lines.into_iter().find(|line| line["thread"] == "panics").unwrap();
        assert_eq!((&line["level"], &line["target"]), (&"error".into(), &"panic".into()), "{line}");
        assert_eq!(
            (&line["msg"], &line["reason"]),
            (&"a thread panicked".into(), &"no way\nout of here".into())
        );
        assert!(line["location"].as_str().unwrap().starts_with(file!()), "{line}");
    }

    #[test]
    fn unwanted_messages_of_the_stack_are_filtered() {
        let is_left_out = |level, target: &str, message: &str| {
            let mut record = Record::builder();
            record.level(level).target(target);
            is_chatter_of_the_stack(&record.args(format_args!("{message}")).build())
        };
        assert!(is_left_out(Level::Info, "actix_server::builder", "starting"));
        assert!(is_left_out(Level::Error, "actix_http::h1::dispatcher", "stream error: bad head"));
        assert!(!is_left_out(Level::Error, "actix_server::accept", "error accepting connection"));
        assert!(!is_left_out(Level::Info, "portcullis::serve", "stopped"));
    }
}
