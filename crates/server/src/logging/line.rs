//! Formats a record as one line.

use std::fmt::{self, Write as _};

use env_logger::fmt::style::Style;
use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};
use portcullis_domain::time::UnixTime;

use super::colours;
use crate::rfc3339::rfc3339;
use crate::settings::LogFormat;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Text { is_coloured: bool },
}

impl Format {
    /// The format that a setting selects for this standard error.
    pub(super) fn of(setting: LogFormat, is_terminal: bool) -> Self {
        match (setting, is_terminal) {
            (LogFormat::Json, _) | (LogFormat::Auto, false) => Self::Json,
            (LogFormat::Human, _) | (LogFormat::Auto, true) => {
                Self::Text { is_coloured: colours::are_wanted(is_terminal) }
            }
        }
    }
}

/// A line in a buffer that is used again for the next one.
#[derive(Debug, Default)]
pub(super) struct Line {
    bytes: Vec<u8>,
    second: Second,
}

impl Line {
    /// Replaces the line by that of a record.
    pub(super) fn write(
        &mut self,
        format: Format,
        time: UnixTime,
        request_id: Option<&str>,
        record: &Record<'_>,
    ) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.second.set(time);
        match format {
            Format::Json => self.write_json(time, request_id, record),
            Format::Text { is_coloured } => self.write_text(is_coloured, request_id, record),
        }
        self.bytes.push(b'\n');
    }

    /// The line with its newline.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `{"ts":..,"level":..,"target":..,"msg":..,"request_id":..}` and the record's fields in their order.
    fn write_json(&mut self, time: UnixTime, request_id: Option<&str>, record: &Record<'_>) {
        let out = &mut self.bytes;
        out.extend_from_slice(br#"{"ts":""#);
        out.extend_from_slice(self.second.date.as_bytes());
        out.extend_from_slice(&fraction(time));
        out.extend_from_slice(br#"Z","level":""#);
        out.extend_from_slice(name_of(record.level()).as_bytes());
        out.extend_from_slice(br#"","target":"#);
        json_text(out, record.target());
        out.extend_from_slice(br#","msg":"#);
        match record.args().as_str() {
            Some(constant) => json_text(out, constant),
            None => json_display(out, record.args()),
        }
        if let Some(id) = request_id {
            out.extend_from_slice(br#","request_id":"#);
            json_text(out, id);
        }
        // None of these visitors fails.
        let _ = record.key_values().visit(&mut JsonFields(out));
        out.push(b'}');
    }

    /// `2026-01-01T00:00:00Z INFO message field=value`; control characters are escaped, so that a line stays a line.
    fn write_text(&mut self, is_coloured: bool, request_id: Option<&str>, record: &Record<'_>) {
        let mut out = Escaped { bytes: &mut self.bytes, as_json: false };
        let style = if is_coloured { colours::of(record.level()) } else { Style::new() };
        out.bytes.extend_from_slice(self.second.date.as_bytes());
        out.bytes.extend_from_slice(b"Z ");
        out.bytes.extend_from_slice(style.render().to_string().as_bytes());
        let _ = write!(out, "{:5}", record.level());
        out.bytes.extend_from_slice(style.render_reset().to_string().as_bytes());
        let _ = write!(out, " {}", record.args());
        let _ = record.key_values().visit(&mut TextFields(&mut out));
        if let Some(id) = request_id {
            let _ = write!(out, " request_id={id}");
        }
    }
}

/// The date and time of a second, which many lines share.
#[derive(Debug, Default)]
struct Second {
    number: i64,
    /// In the form `2026-01-01T00:00:00`, without a zone.
    date: String,
}

impl Second {
    fn set(&mut self, time: UnixTime) {
        let number = time.as_secs();
        if number != self.number || self.date.is_empty() {
            self.number = number;
            self.date = rfc3339(UnixTime::from_secs(number));
            if self.date.ends_with('Z') {
                self.date.pop();
            }
        }
    }
}

/// The microseconds of a time behind the point, `.000000`.
fn fraction(time: UnixTime) -> [u8; 7] {
    let mut digits = *b".000000";
    let mut rest = time.as_micros().rem_euclid(1_000_000);
    for digit in digits[1..].iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    digits
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// Writes a record's fields as members of a JSON object, except those named like a member that every line has.
struct JsonFields<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for JsonFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if FIXED.contains(&key.as_str()) {
            return Ok(());
        }
        self.0.push(b',');
        json_text(self.0, key.as_str());
        self.0.push(b':');
        value.visit(JsonValue(self.0))
    }
}

/// Writes a value as JSON: numbers and booleans as such, anything else as text.
struct JsonValue<'a>(&'a mut Vec<u8>);

impl VisitValue<'_> for JsonValue<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        json_display(self.0, &value);
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        json_number(self.0, &value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        json_number(self.0, &value);
        Ok(())
    }

    fn visit_u128(&mut self, value: u128) -> Result<(), kv::Error> {
        match u64::try_from(value) {
            Ok(small) => self.visit_u64(small),
            Err(_too_large) => self.visit_any(Value::from(value)),
        }
    }

    fn visit_i128(&mut self, value: i128) -> Result<(), kv::Error> {
        match i64::try_from(value) {
            Ok(small) => self.visit_i64(small),
            Err(_too_large) => self.visit_any(Value::from(value)),
        }
    }

    /// JSON has no infinities and no NaN: these become `null`.
    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        json_number(self.0, &value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        json_text(self.0, value);
        Ok(())
    }
}

/// Writes a record's fields as ` name=value`.
struct TextFields<'a, 'b>(&'a mut Escaped<'b>);

impl<'kvs> VisitSource<'kvs> for TextFields<'_, '_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let _ = write!(self.0, " {key}={value}");
        Ok(())
    }
}

fn json_number(out: &mut Vec<u8>, number: &impl serde::Serialize) {
    // Writing to a Vec does not fail.
    let _ = serde_json::to_writer(out, number);
}

fn json_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let _ = Escaped { bytes: out, as_json: true }.write_str(text);
    out.push(b'"');
}

fn json_display(out: &mut Vec<u8>, value: &dyn fmt::Display) {
    out.push(b'"');
    // A value that fails to format leaves what it wrote before.
    let _ = write!(Escaped { bytes: out, as_json: true }, "{value}");
    out.push(b'"');
}

/// Escapes what could end a line or rearrange it on a screen; for JSON also what JSON reserves.
struct Escaped<'a> {
    bytes: &'a mut Vec<u8>,
    as_json: bool,
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_special = |byte: u8| !matches!(byte, b' '..=b'~') | matches!(byte, b'"' | b'\\');
        // Looks at every byte, which compiles to vector instructions, unlike `any`.
        if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
            self.bytes.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        for c in text.chars() {
            match c {
                '"' if self.as_json => self.bytes.extend(br#"\""#),
                '\\' if self.as_json => self.bytes.extend(br"\\"),
                _ if !must_be_escaped(c) => {
                    self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                '\n' if self.as_json => self.bytes.extend(br"\n"),
                // All of them lie below U+10000, so one escape is enough.
                _ if self.as_json => self.bytes.extend(format!("\\u{:04x}", u32::from(c)).bytes()),
                _ => self.bytes.extend(c.escape_unicode().to_string().bytes()),
            }
        }
        Ok(())
    }
}

fn must_be_escaped(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The members that every line has, or may have.
const FIXED: [&str; 5] = ["ts", "level", "target", "msg", "request_id"];

/// The bytes of a buffer that are kept from one line to the next: more than usual lines have.
const KEPT_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(format: Format, message: &str, fields: &[(&str, Value<'_>)]) -> String {
        let mut line = Line::default();
        let mut record = Record::builder();
        record.level(Level::Info).target("portcullis::access").key_values(&fields);
        let time = UnixTime::from_micros(1_800_000_000_000_042);
        line.write(format, time, Some("id-1"), &record.args(format_args!("{message}")).build());
        String::from_utf8(line.bytes).unwrap()
    }

    #[test]
    fn json_line_contains_fixed_members_then_fields() {
        let fields =
            [("status", Value::from(200)), ("duration_ms", Value::from(0.25)), ("ok", Value::from(true))];
        assert_eq!(
            line(Format::Json, "request", &fields),
            "{\"ts\":\"2027-01-15T08:00:00.000042Z\",\"level\":\"info\",\"target\":\"portcullis::access\",\
             \"msg\":\"request\",\"request_id\":\"id-1\",\"status\":200,\"duration_ms\":0.25,\"ok\":true}\n"
        );
    }

    #[test]
    fn json_fields_cannot_replace_fixed_members() {
        let fields = FIXED.map(|name| (name, Value::from("forged")));
        let value: serde_json::Value = serde_json::from_str(&line(Format::Json, "true", &fields)).unwrap();
        assert_eq!((&value["msg"], &value["request_id"]), (&json!("true"), &json!("id-1")));
        assert!(!value.to_string().contains("forged"));
    }

    #[test]
    fn json_values_keep_their_types() {
        let text = "a\"b\\c\r\n\t\0\u{1b}\u{7f}\u{85}\u{2028}\u{202e}é\u{1f512}";
        let fields = [
            ("text", Value::from(text)),
            ("display", Value::from_display(&text)),
            ("char", Value::from('\n')),
            ("null", Value::null()),
            ("nan", Value::from(f64::NAN)),
            ("tiny", Value::from(1e-300)),
            ("most", Value::from(u64::MAX)),
            ("least", Value::from(i64::MIN)),
            ("small", Value::from(7_u128)),
            ("huge", Value::from(u128::MAX)),
        ];
        let line = line(Format::Json, text, &fields);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        for name in ["msg", "text", "display"] {
            assert_eq!(value[name], text, "{name}");
        }
        assert!(!line.trim_end_matches('\n').chars().any(must_be_escaped), "{line:?}");
        let numbers =
            ["null", "nan", "tiny", "most", "least", "small", "huge", "char"].map(|name| value[name].clone());
        let expected = json!([null, null, 1e-300, u64::MAX, i64::MIN, 7, u128::MAX.to_string(), "\n"]);
        assert_eq!(json!(numbers), expected);
    }

    // ASVS 1.2.3
    #[test]
    fn json_text_of_every_character_is_read_back() {
        let text: String = ('\0'..='\u{1ffff}').collect();
        let value: serde_json::Value =
            serde_json::from_str(&line(Format::Json, &text, &[(&text, Value::from_display(&text))])).unwrap();
        assert_eq!(value["msg"], text);
        assert_eq!(value[&text], text);
    }

    // ASVS 16.4.1
    #[test]
    fn a_line_stays_a_line() {
        let fields = [("agent", Value::from("x\u{2028}y"))];
        let text = line(Format::Text { is_coloured: false }, "a\r\nb\u{1b}[31m\u{202e}é", &fields);
        let expected =
            r"2027-01-15T08:00:00Z INFO  a\u{d}\u{a}b\u{1b}[31m\u{202e}é agent=x\u{2028}y request_id=id-1";
        assert_eq!(text, format!("{expected}\n"));
    }

    #[test]
    fn coloured_text_styles_the_level() {
        let text = line(Format::Text { is_coloured: true }, "started", &[]);
        assert!(text.starts_with("2027-01-15T08:00:00Z \u{1b}[32mINFO \u{1b}[0m started "), "{text:?}");
    }

    #[test]
    fn fraction_has_six_digits() {
        for (micros, expected) in [(0, ".000000"), (1_234_567, ".234567"), (-1, ".999999")] {
            assert_eq!(fraction(UnixTime::from_micros(micros)), expected.as_bytes(), "{micros}");
        }
    }

    #[test]
    fn auto_format_follows_the_terminal() {
        let is_json = |setting, is_terminal| Format::of(setting, is_terminal) == Format::Json;
        assert!(is_json(LogFormat::Auto, false) && !is_json(LogFormat::Auto, true));
        assert!(is_json(LogFormat::Json, true) && !is_json(LogFormat::Human, false));
    }
}
