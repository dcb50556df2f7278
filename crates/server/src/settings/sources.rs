use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{Config, ConfigBuilder, ConfigError, File, FileFormat, Format as _, Map, Source, Value};

use super::InvalidSetting;
use super::text_file::{UnreadableFile, read_text};
use super::values::SECRETS;
use super::wrapping::{Sensitivity, unwrapped};

/// The file that lists every setting, as it is compiled in.
pub(super) const DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// What differs in production, as it is compiled in: the binary runs alone there too.
const PRODUCTION: &str = include_str!("../../../../config/production.toml");

/// The sources of settings besides the defaults: files and environment variables.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub environment: Environment,
    /// A file of `PORTCULLIS_DEFAULTS`, which an image or a package presets. Every other file and variable overrides it.
    pub presets: Option<PathBuf>,
    /// The file of `--config` or `PORTCULLIS_CONFIG`. It replaces the folder.
    pub file: Option<PathBuf>,
    /// The folder with `default.toml` and one file for each environment.
    pub folder: PathBuf,
    /// `PORT`: the port of `server.listen`.
    pub port: Option<String>,
    variables: Vec<Variable>,
}

/// `PORTCULLIS_ENV`: the name of the folder's second file. It also controls how strict the checks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment(String);

/// A setting from an environment variable.
#[derive(Clone, Debug)]
struct Variable {
    key: String,
    content: Content,
    origin: String,
}

/// The content of a variable.
#[derive(Clone, Debug)]
enum Content {
    Value(String),
    /// The file that has the value.
    File(PathBuf),
}

impl Environment {
    /// Everything but development is as strict as production.
    pub(crate) fn is_development(&self) -> bool {
        self.0 == "development"
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, InvalidSetting> {
        let name = unwrapped(text, Sensitivity::Plain)
            .map_err(|wrapping| InvalidSetting::new(format!("PORTCULLIS_ENV {wrapping}")))?;
        let is_plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        match name {
            "" => Err(InvalidSetting::new(
                "PORTCULLIS_ENV is empty; set it to production, or leave it out for development",
            )),
            // The file of this name holds in every environment.
            "default" => Err(unknown_environment(name, KNOWN_ENVIRONMENTS.iter().copied())),
            name if is_plain => Ok(Self(name.to_owned())),
            name => Err(unknown_environment(name, KNOWN_ENVIRONMENTS.iter().copied())),
        }
    }
}

impl Sources {
    /// The sources of a process with these environment variables. No file is read yet.
    ///
    /// # Errors
    /// A variable that is not UTF-8, contradicts another, or is empty although it must name something.
    pub(crate) fn new(
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, InvalidSetting> {
        let variables = ours(variables)?;
        let environment = match variables.get("PORTCULLIS_ENV") {
            None => Environment("development".to_owned()),
            Some(name) => Environment::parse(name)?,
        };
        let path_in = |name: &str| variables.get(name).map(|path| path_of(name, path)).transpose();
        Ok(Self {
            environment,
            presets: path_in("PORTCULLIS_DEFAULTS")?,
            file: match file {
                Some(file) => Some(file),
                None => path_in("PORTCULLIS_CONFIG")?,
            },
            folder: PathBuf::from("config"),
            port: variables.get("PORT").cloned(),
            variables: settings_in(&variables)?,
        })
    }

    /// The same without secrets, for commands that must work even if their files cannot be read.
    pub(crate) fn without_secrets(mut self) -> Self {
        self.variables.retain(|variable| !SECRETS.contains(&variable.key.as_str()));
        self
    }

    /// Everything, later sources over earlier ones. Not yet checked against the known settings.
    pub(super) fn collect(&self) -> Result<Config, InvalidSetting> {
        self.check_environment()?;
        let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if self.environment.name() == "production" {
            builder = builder.add_source(File::from_str(PRODUCTION, FileFormat::Toml));
        }
        let required = self.presets.iter().chain(&self.file);
        let mut files = required.map(|file| TomlFile::read(file)).collect::<Result<Vec<_>, _>>()?;
        if self.file.is_none() {
            std::env::current_dir().map_err(|error| {
                InvalidSetting::new(format!(
                    "cannot determine the current folder, in which config/ is looked for: {error}"
                ))
            })?;
            for name in ["default", self.environment.name()] {
                files.extend(TomlFile::read_if_present(&self.folder.join(format!("{name}.toml")))?);
            }
        }
        for file in files {
            builder = builder.add_source(file);
        }
        let variables = self.variables.iter().map(|variable| Ok((variable.key.clone(), variable.value()?)));
        build(builder.add_source(Variables(variables.collect::<Result<_, _>>()?)))
    }

    /// The key of each setting that comes from a variable, and the variable's name.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|variable| (variable.key.as_str(), variable.origin.as_str()))
    }

    /// Refuses an environment that is neither known nor has a settings file: a misspelt `production` must not start with
    /// the defaults of development.
    fn check_environment(&self) -> Result<(), InvalidSetting> {
        let name = self.environment.name();
        let own_file = self.folder.join(format!("{name}.toml"));
        let is_given =
            self.file.as_ref().is_some_and(|file| file.file_stem().is_some_and(|stem| stem == name));
        // Reading it later reports whether it is readable.
        match KNOWN_ENVIRONMENTS.contains(&name) || is_given || own_file.symlink_metadata().is_ok() {
            true => Ok(()),
            false => {
                let names = environments_in(&self.folder);
                Err(unknown_environment(
                    name,
                    KNOWN_ENVIRONMENTS.into_iter().chain(names.iter().map(String::as_str)),
                ))
            }
        }
    }
}

/// The names of the settings files of a folder, which may not exist.
fn environments_in(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| Some(name.strip_suffix(".toml").filter(|name| *name != "default")?.to_owned()))
        .collect()
}

fn unknown_environment<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> InvalidSetting {
    let lower = name.to_ascii_lowercase();
    let distance = |known: &str| match known.starts_with(&lower) {
        true => 0,
        false => strsim::damerau_levenshtein(known, &lower),
    };
    let nearest = known.min_by_key(|known| distance(known));
    let hint = nearest.filter(|nearest| !lower.is_empty() && distance(nearest) * 3 <= nearest.len());
    let hint = hint.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    InvalidSetting::new(format!(
        "PORTCULLIS_ENV = {name:?} is not a known environment{hint} (use development, production, or a \
         name of lower-case letters, digits and hyphens that has a settings file, as staging with config/staging.toml)"
    ))
}

/// Reads TOML that has no other source beside it.
pub(super) fn parse_toml(text: &str) -> Result<Config, InvalidSetting> {
    build(Config::builder().add_source(File::from_str(text, FileFormat::Toml)))
}

fn build(builder: ConfigBuilder<DefaultState>) -> Result<Config, InvalidSetting> {
    builder.build().map_err(|error| InvalidSetting::new(without_excerpt(&error)))
}

impl Variable {
    fn value(&self) -> Result<Value, InvalidSetting> {
        let text = match &self.content {
            Content::Value(text) => text.clone(),
            Content::File(file) => read_text(file, LONGEST_SECRET_FILE)
                .map_err(|error| unreadable(&self.origin, file, &error))?,
        };
        Ok(Value::new(Some(&self.origin), text))
    }
}

/// A settings file. A quoted name such as `"server.docs"` is refused: it would be taken for a path, and if the file has the
/// table too, either of the two could override the other.
#[derive(Clone, Debug)]
struct TomlFile {
    uri: String,
    text: String,
}

impl TomlFile {
    /// Reads a file that must exist.
    fn read(path: &Path) -> Result<Self, InvalidSetting> {
        Self::read_if_present(path)?
            .ok_or_else(|| InvalidSetting::new(format!("settings file {} does not exist", path.display())))
    }

    /// Reads a file unless there is nothing at its path. Anything there that is not a readable file is an error, because
    /// the operator intended it to apply.
    fn read_if_present(path: &Path) -> Result<Option<Self>, InvalidSetting> {
        match read_text(path, LONGEST_SETTINGS_FILE) {
            Ok(text) => {
                let text = text.trim_start_matches('\u{feff}').to_owned();
                Ok(Some(Self { uri: path.display().to_string(), text }))
            }
            Err(UnreadableFile::Absent) => Ok(None),
            Err(error) => Err(InvalidSetting::new(format!("settings file {} {error}", path.display()))),
        }
    }
}

impl Source for TomlFile {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let values = FileFormat::Toml.parse(Some(&self.uri), &self.text);
        let values = values.map_err(|cause| ConfigError::FileParse { uri: Some(self.uri.clone()), cause })?;
        let is_plain =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        match values.iter().filter(|(name, _)| !is_plain(name)).min_by_key(|(name, _)| *name) {
            Some((name, value)) => {
                let origin = value.origin().unwrap_or_default();
                Err(ConfigError::Message(format!("unknown setting {name:?} (from {origin})")))
            }
            None => Ok(values),
        }
    }
}

/// The variables as a source that keeps the name of the variable with each value.
#[derive(Clone, Debug)]
struct Variables(Vec<(String, Value)>);

impl Source for Variables {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.iter().cloned().collect())
    }
}

/// The variables that concern this program. One that cannot be read, or whose name differs in the case of its letters,
/// must not pass for one that is not set.
fn ours(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, InvalidSetting> {
    let mut found = BTreeMap::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let upper = name.to_ascii_uppercase();
        let is_prefixed = upper.starts_with("PORTCULLIS_");
        if !is_prefixed && !["DATABASE_URL", "DATABASE_URL_FILE", "PORT"].contains(&&*name) {
            continue;
        }
        if is_prefixed && upper != name {
            return Err(InvalidSetting::new(format!(
                "variable {name} is not a setting; names of variables are upper-case: did you mean {upper}?"
            )));
        }
        let Ok(value) = value.into_string() else {
            return Err(InvalidSetting::new(format!("{name} is not UTF-8 text")));
        };
        found.insert(name.into_owned(), value);
    }
    Ok(found)
}

/// Picks the settings out of our variables. `DATABASE_URL` comes first, so that the variable of the setting overrides it.
fn settings_in(variables: &BTreeMap<String, String>) -> Result<Vec<Variable>, InvalidSetting> {
    let mut found = Vec::new();
    found.extend(variable(variables, "DATABASE_URL", "database.url")?);
    let mut seen = BTreeSet::new();
    for name in variables.keys() {
        let Some(rest) = name.strip_prefix("PORTCULLIS_") else { continue };
        if is_not_a_setting(rest) {
            continue;
        }
        // A secret and its file are one setting.
        let secret = rest.strip_suffix("_FILE").filter(|plain| SECRETS.contains(&key_of(plain).as_str()));
        let plain = secret.unwrap_or(rest);
        if seen.insert(plain) {
            found.extend(variable(variables, &format!("PORTCULLIS_{plain}"), &key_of(plain))?);
        }
    }
    Ok(found)
}

/// A setting from its variable or, if it is a secret, from the file that the variable with `_FILE` names. Templates often
/// set the unused one of the two to an empty text, so it is ignored if the other is set.
fn variable(
    variables: &BTreeMap<String, String>,
    name: &str,
    key: &str,
) -> Result<Option<Variable>, InvalidSetting> {
    let name_of_file = format!("{name}_FILE");
    let value = variables.get(name);
    let file = variables.get(&name_of_file).filter(|_| SECRETS.contains(&key));
    let is_empty = |text: &&String| text.trim().is_empty();
    let content = match (value, file) {
        (None, None) => return Ok(None),
        (Some(value), None) => Content::Value(value.clone()),
        (Some(value), Some(file)) if is_empty(&file) => Content::Value(value.clone()),
        (Some(value), Some(_)) if !is_empty(&value) => {
            return Err(InvalidSetting::new(format!(
                "{name} and {name_of_file} are both set: leave one out"
            )));
        }
        (_, Some(file)) => Content::File(path_of(&name_of_file, file)?),
    };
    let origin = match content {
        Content::Value(_) => name.to_owned(),
        Content::File(_) => name_of_file,
    };
    Ok(Some(Variable { key: key.to_owned(), content, origin }))
}

/// The path in a variable.
fn path_of(variable: &str, text: &str) -> Result<PathBuf, InvalidSetting> {
    match unwrapped(text, Sensitivity::Plain) {
        Ok("") => {
            Err(InvalidSetting::new(format!("{variable} is empty; name a file, or leave the variable out")))
        }
        Ok(path) => Ok(PathBuf::from(path)),
        Err(wrapping) => Err(InvalidSetting::new(format!("{variable} {wrapping}"))),
    }
}

/// `SERVER__LISTEN` is `server.listen`.
fn key_of(rest: &str) -> String {
    rest.to_ascii_lowercase().replace("__", ".")
}

/// Whether a variable is not a setting: the environment's name, the names of files, the options of the tests, and the
/// variables that Kubernetes sets in every pod for a Service called `portcullis` or `portcullis-db`: `PORTCULLIS_SERVICE_HOST`, `PORTCULLIS_DB_PORT_5432_TCP`, ...
fn is_not_a_setting(rest: &str) -> bool {
    let is_from_kubernetes = !rest.contains("__") && {
        let after = |marker: &str| rest.find(marker).map(|at| &rest[at + marker.len()..]);
        let is_port =
            |more: &str| more.is_empty() || more.starts_with(|c: char| c == '_' || c.is_ascii_digit());
        rest == "PORT"
            || rest.ends_with("_PORT")
            || rest.starts_with("PORT_")
            || after("_PORT_").is_some_and(is_port)
            || rest.ends_with("SERVICE_HOST")
            || after("SERVICE_PORT").is_some_and(is_port)
    };
    let is_for_tests = matches!(rest, "TEST_POSTGRES_BIN" | "TEST_POSTGRES_INSTALL");
    matches!(rest, "ENV" | "CONFIG" | "DEFAULTS") || is_from_kubernetes || is_for_tests
}

fn unreadable(variable: &str, file: &Path, error: &UnreadableFile) -> InvalidSetting {
    InvalidSetting::new(format!("{variable}: {} {error}", file.display()))
}

/// The error in one line, without the piece of the file that TOML's parser quotes: it may be a secret.
fn without_excerpt(error: &ConfigError) -> String {
    let text = error.to_string();
    let is_excerpt = |line: &&str| {
        let rest = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        rest.trim_start().starts_with('|')
    };
    let lines = text.lines().filter(|line| !is_excerpt(line)).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(": ")
}

/// The environments that need no settings file.
const KNOWN_ENVIRONMENTS: [&str; 2] = ["development", "production"];

/// The longest settings file, in bytes: far beyond every setting with its comment.
const LONGEST_SETTINGS_FILE: u64 = 1_000_000;

/// The longest file of a secret, in bytes: far beyond a URL, and hundreds of accepted secrets.
const LONGEST_SECRET_FILE: u64 = 65_536;
