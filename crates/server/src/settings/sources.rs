use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{Config, ConfigBuilder, ConfigError, File, FileFormat, Map, Source, Value};

use super::InvalidSetting;
use super::values::SECRETS;

/// The file that lists every setting, as it is compiled in.
pub(super) const DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// What differs in production, as it is compiled in: the binary runs alone there too.
const PRODUCTION: &str = include_str!("../../../../config/production.toml");

/// Where settings come from besides the defaults: a folder or a file, and environment variables.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub environment: Environment,
    /// A file given on the command line: it stands for the whole folder.
    pub file: Option<PathBuf>,
    /// The folder with `default.toml` and one file for each environment.
    pub folder: PathBuf,
    /// `PORT`: another port of the address that the files name.
    pub port: Option<String>,
    variables: Vec<Variable>,
}

/// `PORTCULLIS_ENV`: which file of the folder holds, and how strict the checks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment(String);

/// A setting from an environment variable.
#[derive(Clone, Debug)]
struct Variable {
    key: String,
    value: String,
    origin: String,
}

impl Environment {
    /// Everything but development is as strict as production.
    pub(crate) fn is_development(&self) -> bool {
        self.0 == "development"
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl Sources {
    /// The sources of a process with these environment variables.
    ///
    /// # Errors
    /// A variable that is not UTF-8, contradicts another, or names a file that cannot be read.
    pub(crate) fn new(
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, InvalidSetting> {
        let variables = ours(variables)?;
        let environment = match variables.get("PORTCULLIS_ENV").map(String::as_str) {
            None | Some("") => Environment("development".to_owned()),
            Some(name) if name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') => {
                Environment(name.to_owned())
            }
            Some(_) => {
                return Err(InvalidSetting::new(
                    "PORTCULLIS_ENV must be development, production or another name of lower-case letters, digits and \
                     hyphens",
                ));
            }
        };
        Ok(Self {
            environment,
            file,
            folder: PathBuf::from("config"),
            port: variables.get("PORT").cloned(),
            variables: settings_in(&variables)?,
        })
    }

    /// Everything, later sources over earlier ones. Not yet checked against the known settings.
    pub(super) fn collect(&self) -> Result<Config, InvalidSetting> {
        let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if self.environment.name() == "production" {
            builder = builder.add_source(File::from_str(PRODUCTION, FileFormat::Toml));
        }
        let named = self.folder.join(format!("{}.toml", self.environment.name()));
        let files: &[(&Path, bool)] = match &self.file {
            Some(file) => &[(file, true)],
            None => &[(&self.folder.join("default.toml"), false), (&named, false)],
        };
        for (file, required) in files {
            let file = File::from(*file).format(FileFormat::Toml).required(*required);
            builder = builder.add_source(PlainlyNamed(file));
        }
        build(builder.add_source(Variables(self.variables.clone())))
    }

    /// The key of each setting that comes from a variable, with its value.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, Value)> {
        self.variables.iter().map(|variable| (variable.key.as_str(), variable.value()))
    }
}

/// Reads TOML that has no other source beside it.
pub(super) fn parse_toml(text: &str) -> Result<Config, InvalidSetting> {
    build(Config::builder().add_source(File::from_str(text, FileFormat::Toml)))
}

fn build(builder: ConfigBuilder<DefaultState>) -> Result<Config, InvalidSetting> {
    builder.build().map_err(|error| InvalidSetting::new(without_excerpt(&error)))
}

impl Variable {
    fn value(&self) -> Value {
        Value::new(Some(&self.origin), self.value.clone())
    }
}

/// A file whose names are names. A quoted one such as `"server.docs"` would be taken for a path, and where the file has the
/// table too, chance would say which of them holds.
#[derive(Clone, Debug)]
struct PlainlyNamed<S>(S);

impl<S: Source + Clone + Send + Sync + 'static> Source for PlainlyNamed<S> {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let values = self.0.collect()?;
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

/// The variables as a source that says of each value which variable it came from.
#[derive(Clone, Debug)]
struct Variables(Vec<Variable>);

impl Source for Variables {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.iter().map(|variable| (variable.key.clone(), variable.value())).collect())
    }
}

/// The variables that concern this program. One that cannot be read must not pass for one that is not set.
fn ours(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, InvalidSetting> {
    let is_ours = |name: &str| name.starts_with("PORTCULLIS_") || name == "DATABASE_URL" || name == "PORT";
    variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok().filter(|name| is_ours(name))?, value)))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(InvalidSetting::new(format!("{name} is not UTF-8 text"))),
        })
        .collect()
}

/// Picks the settings out of our variables.
fn settings_in(variables: &BTreeMap<String, String>) -> Result<Vec<Variable>, InvalidSetting> {
    let alias = variables.get("DATABASE_URL").map(|url| Variable {
        key: "database.url".to_owned(),
        value: url.clone(),
        origin: "DATABASE_URL".to_owned(),
    });
    let mut found: Vec<_> = alias.into_iter().collect();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("PORTCULLIS_") else { continue };
        if is_not_a_setting(rest) {
            continue;
        }
        let secret = name.strip_suffix("_FILE").map(|plain| (plain, key_of(&plain["PORTCULLIS_".len()..])));
        found.push(match secret.filter(|(_, key)| SECRETS.contains(&key.as_str())) {
            Some((plain, _)) if variables.contains_key(plain) => {
                return Err(InvalidSetting::new(format!("{plain} and {name} are both set: leave one out")));
            }
            Some((_, key)) => Variable { key, value: read(name, Path::new(value))?, origin: name.clone() },
            None => Variable { key: key_of(rest), value: value.clone(), origin: name.clone() },
        });
    }
    Ok(found)
}

/// `SERVER__LISTEN` is `server.listen`.
fn key_of(rest: &str) -> String {
    rest.to_ascii_lowercase().replace("__", ".")
}

/// What is not a setting: the environment's name, what the tests go by, and what Kubernetes puts into every pod for a
/// Service called `portcullis` or `portcullis-db`: `PORTCULLIS_SERVICE_HOST`, `PORTCULLIS_DB_PORT_5432_TCP`, ...
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
    rest == "ENV" || is_from_kubernetes || is_for_tests
}

/// The content of a secret's file, without the newline that editors add.
fn read(variable: &str, file: &Path) -> Result<String, InvalidSetting> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => {
            Err(InvalidSetting::new(format!("{variable}: cannot read {}: {error}", file.display())))
        }
    }
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
