//! Log lines on standard error: text for people, one JSON object a line for machines.

use std::io::{self, IsTerminal as _, Write as _};

use env_logger::fmt::Formatter;
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use serde_json::Map;

use crate::settings::{Log, LogFormat};

/// Starts logging. `RUST_LOG`, where it is set, decides about levels instead of the setting; what cannot be read of it
/// is passed over.
pub(crate) fn init(log: &Log) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(log.level);
    if let Ok(filters) = std::env::var(env_logger::DEFAULT_FILTER_ENV) {
        builder.parse_filters(&filters);
    }
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let write = if json { write_json } else { write_text };
    builder.format(move |out, record| match is_the_stacks_chatter(record) {
        true => Ok(()),
        false => write(out, record),
    });
    // Only a test could have started logging before.
    let _ = builder.try_init();
}

/// What the HTTP stack tells about itself below a warning: it repeats what clients sent, tokens included, so no filter
/// brings it back. And what it calls an error though a client is to blame: a request that is none, a connection that ends.
fn is_the_stacks_chatter(record: &Record<'_>) -> bool {
    let is_of = |stack: &&str| record.target().starts_with(stack);
    let is_about_a_client =
        || is_of(&"actix_http") && record.args().to_string().starts_with("stream error: ");
    match record.level() > Level::Warn {
        true => ["actix_", "mio", "h2", "tokio", "r2d2"].iter().any(is_of),
        false => is_about_a_client(),
    }
}

/// `{"ts":..,"level":..,"target":..,"msg":..,"request_id":..}` and the record's fields.
fn write_json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let mut fields = Fields(Map::new());
    // Fields first: none can pass for what is added after them.
    let _ = record.key_values().visit(&mut fields);
    let Fields(mut object) = fields;
    object.insert("ts".to_owned(), out.timestamp_micros().to_string().into());
    object.insert("level".to_owned(), record.level().as_str().to_ascii_lowercase().into());
    object.insert("target".to_owned(), record.target().into());
    object.insert("msg".to_owned(), record.args().to_string().into());
    if let Some(id) = portcullis_http::current_request_id() {
        object.insert("request_id".to_owned(), id.as_str().into());
    }
    let line = serde_json::to_string(&object).map_err(io::Error::other)?;
    writeln!(out, "{line}")
}

/// `2026-01-01T00:00:00Z INFO message field=value`; control characters are escaped, so that a line is a line.
fn write_text(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let style = out.default_level_style(record.level());
    let mut fields = Fields(Map::new());
    let _ = record.key_values().visit(&mut fields);
    if let Some(id) = portcullis_http::current_request_id() {
        fields.0.insert("request_id".to_owned(), id.as_str().into());
    }
    let time = out.timestamp_seconds();
    write!(out, "{time} {style}{:5}{style:#} {}", record.level(), escaped(&record.args().to_string()))?;
    for (key, value) in &fields.0 {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        write!(out, " {key}={}", escaped(&text))?;
    }
    writeln!(out)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            true => safe.extend(c.escape_unicode()),
            false => safe.push(c),
        }
    }
    safe
}

/// A record's fields as JSON: numbers and booleans as such, anything else as text.
struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value = match (value.to_bool(), value.to_u64(), value.to_i64(), value.to_f64()) {
            (Some(bool), ..) => bool.into(),
            (_, Some(number), ..) => number.into(),
            (_, _, Some(number), _) => number.into(),
            (_, _, _, Some(number)) => number.into(),
            _ => value.to_string().into(),
        };
        self.0.insert(key.to_string(), value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ASVS 16.4.1
    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(escaped("a\r\nb\u{1b}[31m\u{202e}é"), r"a\u{d}\u{a}b\u{1b}[31m\u{202e}é");
    }
}
