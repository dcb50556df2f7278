use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use config::{Value, ValueKind};

use super::sources::{DEFAULTS, parse_toml};
use super::wrapping::{Sensitivity, Wrapping, unwrapped, unwrapped_items};
use super::{InvalidSetting, Sources};

/// The settings that must not be shown and may come from a file of their own.
pub(super) const SECRETS: &[&str] = &["secret", "accepted_secrets", "database.url", "database.migrate_url"];

/// Every setting's value and origin, not yet of its type. Exactly the keys of `config/default.toml` are known.
#[derive(Debug)]
pub(super) struct Values(BTreeMap<String, Value>);

impl Values {
    pub(super) fn load(sources: &Sources) -> Result<Self, InvalidSetting> {
        let known = flatten(&parse_toml(DEFAULTS)?.cache);
        // Before they are set: a key such as `server` or `log[9]` would replace or stretch what is there.
        if let Some((key, origin)) = sources.variables().find(|(key, _)| !known.contains_key(*key)) {
            return Err(unknown(key, origin, known.keys()));
        }
        let mut values = Self(BTreeMap::new());
        for (key, value) in flatten(&sources.collect()?.cache) {
            let Some(default) = known.get(&key) else {
                return Err(unknown(&key, origin(&value), known.keys()));
            };
            let is_list = matches!(default.kind, ValueKind::Array(_));
            let kind = unwrapped_kind(&key, &value.kind, is_list);
            let kind = kind.map_err(|wrapping| invalid(&key, &value, wrapping))?;
            values.set(&key, origin(&value), kind);
        }
        if let Some(port) = &sources.port {
            values.set_port(port)?;
        }
        Ok(values)
    }

    /// Replaces the port of `server.listen`, regardless of the source that the address comes from: a platform that sets
    /// `PORT` sends its requests there.
    fn set_port(&mut self, port: &str) -> Result<(), InvalidSetting> {
        let advice = "must be a number from 0 to 65535";
        let port = unwrapped(port, Sensitivity::Plain).map_err(|wrapping| wrapping.to_string());
        let port: u16 = port
            .and_then(|port| port.parse().map_err(|_error| format!("= {port:?}: {advice}")))
            .map_err(|reason| InvalidSetting::new(format!("PORT {reason}")))?;
        let listen = self.value("server.listen");
        // An address that cannot be read is reported with its own source.
        if let Ok(mut address) = text(listen).parse::<SocketAddr>() {
            address.set_port(port);
            let origin = format!("{}, with the port of PORT", origin(listen));
            self.set("server.listen", &origin, ValueKind::String(address.to_string()));
        }
        Ok(())
    }

    /// Sets a value and its origin.
    pub(super) fn set(&mut self, key: &str, origin: &str, kind: ValueKind) {
        self.0.insert(key.to_owned(), Value::new(Some(&origin.to_owned()), kind));
    }

    /// A value that `parse` understands.
    pub(super) fn parsed<T, E: Display>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, InvalidSetting> {
        let value = self.value(key);
        match &value.kind {
            ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => {
                Err(invalid(key, value, "must be a single value"))
            }
            _ => parse(&text(value)).map_err(|reason| invalid(key, value, reason)),
        }
    }

    /// A value that `parse` understands, or nothing where the text is empty.
    pub(super) fn optional<T, E: Display>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, InvalidSetting> {
        self.parsed(key, |text| match text {
            "" => Ok(None),
            text => parse(text).map(Some),
        })
    }

    /// A list, in a file as such or separated by commas or line breaks.
    pub(super) fn list_parsed<T, E: Display>(
        &self,
        key: &str,
        parse: impl FnOnce(&[String]) -> Result<T, E>,
    ) -> Result<T, InvalidSetting> {
        let value = self.value(key);
        let items: Option<Vec<String>> = match &value.kind {
            ValueKind::Array(items) => items.iter().map(|item| item.clone().into_string().ok()).collect(),
            _ => None,
        };
        let items = items.ok_or_else(|| invalid(key, value, "must be a list of texts"))?;
        parse(&items).map_err(|reason| invalid(key, value, reason))
    }

    /// One of some words.
    pub(super) fn one_of<T: Clone>(&self, key: &str, choices: &[(&str, T)]) -> Result<T, InvalidSetting> {
        self.parsed(key, |text| {
            let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| choice.clone());
            chosen.ok_or_else(|| format!("must be one of: {words}"))
        })
    }

    pub(super) fn boolean(&self, key: &str) -> Result<bool, InvalidSetting> {
        self.one_of(key, &[("true", true), ("false", false)])
    }

    /// A whole number within bounds, both included.
    pub(super) fn integer<T>(&self, key: &str, min: T, max: T) -> Result<T, InvalidSetting>
    where
        T: std::str::FromStr + PartialOrd + Display + Copy,
    {
        self.parsed(key, |text| match text.parse() {
            Ok(number) if number >= min && number <= max => Ok(number),
            _ => Err(format!("must be a whole number from {min} to {max}")),
        })
    }

    /// A duration of whole seconds within bounds, both included.
    pub(super) fn duration(
        &self,
        key: &str,
        min: Duration,
        max: Duration,
    ) -> Result<Duration, InvalidSetting> {
        let shown = humantime::format_duration;
        self.parsed(key, |text| match humantime::parse_duration(text) {
            Ok(duration) if duration.subsec_nanos() != 0 => Err("must be whole seconds".to_owned()),
            Ok(duration) if duration >= min && duration <= max => Ok(duration),
            Ok(_) => Err(format!("must be from {} to {}", shown(min), shown(max))),
            Err(_) => Err("must be a duration such as 30s, 15m, 12h or 30d".to_owned()),
        })
    }

    /// The same, or a word that stands for none.
    pub(super) fn duration_or(
        &self,
        key: &str,
        none: &str,
        min: Duration,
        max: Duration,
    ) -> Result<Option<Duration>, InvalidSetting> {
        let is_none = self.parsed(key, |text| Ok::<_, std::convert::Infallible>(text == none))?;
        (!is_none).then(|| self.duration(key, min, max)).transpose()
    }

    /// Whether a value is an empty text.
    pub(super) fn is_empty(&self, key: &str) -> bool {
        text(self.value(key)).is_empty()
    }

    /// Holds a value against something that needs more than its text.
    pub(super) fn checked<T, E: Display>(
        &self,
        key: &str,
        result: Result<T, E>,
    ) -> Result<T, InvalidSetting> {
        result.map_err(|reason| invalid(key, self.value(key), reason))
    }

    /// A line for each setting: its value, masked where it is a secret, and where it came from.
    pub(super) fn describe(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(key, value)| format!("{key} = {}  # {}", shown(key, value), origin(value)))
            .collect()
    }

    fn value(&self, key: &str) -> &Value {
        static NOTHING: std::sync::LazyLock<Value> =
            std::sync::LazyLock::new(|| Value::new(None, ValueKind::Nil));
        // Every key asked for stands in the defaults: a test goes through them.
        self.0.get(key).unwrap_or(&NOTHING)
    }
}

/// `server.listen` and so on, with the values of all tables. Lists are values, and so are empty tables: somebody may
/// have meant something by one.
fn flatten(value: &Value) -> BTreeMap<String, Value> {
    fn add(prefix: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
        match &value.kind {
            ValueKind::Table(table) if !table.is_empty() => {
                for (name, value) in table {
                    // A name with a dot in it is quoted, as in the file: it is not the one in a table of a table.
                    let name = if name.contains('.') { format!("{name:?}") } else { name.clone() };
                    let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
                    add(&key, value, flat);
                }
            }
            _ => {
                flat.insert(prefix.to_owned(), value.clone());
            }
        }
    }
    let mut flat = BTreeMap::new();
    add("", value, &mut flat);
    flat
}

/// Returns the value without white space around it, or around each item of a list.
fn unwrapped_kind(key: &str, kind: &ValueKind, is_list: bool) -> Result<ValueKind, Wrapping> {
    let sensitivity = if SECRETS.contains(&key) { Sensitivity::Secret } else { Sensitivity::Plain };
    match kind {
        ValueKind::String(text) if is_list => {
            let items = unwrapped_items(text, sensitivity)?;
            Ok(ValueKind::Array(items.into_iter().map(|item| Value::new(None, item)).collect()))
        }
        ValueKind::String(text) => Ok(ValueKind::String(unwrapped(text, sensitivity)?.to_owned())),
        ValueKind::Array(items) => {
            let items =
                items.iter().map(|item| Ok(Value::new(None, unwrapped_kind(key, &item.kind, false)?)));
            Ok(ValueKind::Array(items.collect::<Result<_, _>>()?))
        }
        kind => Ok(kind.clone()),
    }
}

fn unknown<'a>(key: &str, origin: &str, known: impl Iterator<Item = &'a String>) -> InvalidSetting {
    // The file of a secret is a misspelling of the secret's name.
    let name = key.strip_suffix("_file").filter(|name| !name.is_empty()).unwrap_or(key);
    let distance = |candidate: &str| strsim::damerau_levenshtein(candidate, name);
    let nearest = known.min_by_key(|candidate| distance(candidate));
    // Beyond a third of its letters a name is no misspelling of another.
    let hint = nearest.filter(|nearest| distance(nearest) * 3 <= nearest.len().max(name.len()));
    let hint = hint.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    InvalidSetting::new(format!("unknown setting {key} (from {origin}){hint}"))
}

/// The reason is the parser's and never repeats a secret.
fn invalid(key: &str, value: &Value, reason: impl Display) -> InvalidSetting {
    let shown = match SECRETS.contains(&key) {
        true => String::new(),
        false => format!(" = {}", shown(key, value)),
    };
    InvalidSetting::new(format!("{key}{shown} (from {}): {reason}", origin(value)))
}

fn shown(key: &str, value: &Value) -> String {
    let text = match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown("", item)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => value.to_string(),
    };
    let is_empty = matches!(text.as_str(), "\"\"" | "[]");
    match (SECRETS.contains(&key), is_empty) {
        (true, false) => masked(key, value),
        _ => text,
    }
}

/// A database's address without user and password; nothing at all of a secret.
fn masked(key: &str, value: &Value) -> String {
    match portcullis_adapters::db::DatabaseUrl::parse(&text(value)) {
        Ok(url) if key.starts_with("database.") => format!("\"{url}\""),
        _ => "********".to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.clone().into_string().unwrap_or_default()
}

fn origin(value: &Value) -> &str {
    value.origin().unwrap_or("the built-in defaults")
}
