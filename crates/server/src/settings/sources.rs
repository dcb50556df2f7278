use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{ConfigBuilder, ConfigError, File, FileFormat, Map, Source, Value};

use super::InvalidSetting;

/// Where settings come from besides the defaults: a folder or a file, and environment variables.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub environment: Environment,
    /// A file given on the command line: it stands for the whole folder.
    pub file: Option<PathBuf>,
    /// The folder with `default.toml` and one file for each environment.
    pub folder: PathBuf,
    port: Option<String>,
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
    /// A variable that contradicts another, or names a file that cannot be read.
    pub(crate) fn new(
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvalidSetting> {
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
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
        let port = variables.get("PORT").cloned();
        Ok(Self {
            environment,
            file,
            folder: PathBuf::from("config"),
            port,
            variables: settings_in(&variables)?,
        })
    }

    /// Everything, later sources over earlier ones. Not yet checked against the known settings.
    pub(super) fn collect(&self) -> Result<config::Config, InvalidSetting> {
        let mut builder =
            config::Config::builder().add_source(File::from_str(super::values::DEFAULTS, FileFormat::Toml));
        let named = self.folder.join(format!("{}.toml", self.environment.name()));
        let files: &[(&Path, bool)] = match &self.file {
            Some(file) => &[(file, true)],
            None => &[(&self.folder.join("default.toml"), false), (&named, false)],
        };
        for (file, required) in files {
            builder = builder.add_source(File::from(*file).format(FileFormat::Toml).required(*required));
        }
        let build = |builder: ConfigBuilder<DefaultState>| {
            builder.build().map_err(|error: ConfigError| InvalidSetting::new(one_line(&error)))
        };
        let mut variables = self.variables.clone();
        if let Some(port) = &self.port {
            // PORT moves the listener to another port of the address it has.
            let listen = build(builder.clone())?.get_string("server.listen").unwrap_or_default();
            let host = listen.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
            let value = format!("{host}:{port}");
            variables
                .insert(0, Variable { key: "server.listen".to_owned(), value, origin: "PORT".to_owned() });
        }
        build(builder.add_source(Variables(variables)))
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
        let value = |v: &Variable| (v.key.clone(), Value::new(Some(&v.origin), v.value.clone()));
        Ok(self.0.iter().map(value).collect())
    }
}

/// Picks the settings out of all environment variables.
fn settings_in(variables: &BTreeMap<String, String>) -> Result<Vec<Variable>, InvalidSetting> {
    let mut found = Vec::new();
    if let Some(url) = variables.get("DATABASE_URL") {
        found.push(Variable {
            key: "database.url".to_owned(),
            value: url.clone(),
            origin: "DATABASE_URL".to_owned(),
        });
    }
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("PORTCULLIS_") else { continue };
        if is_not_ours(rest) {
            continue;
        }
        let file_of = rest
            .strip_suffix("_FILE")
            .map(key_of)
            .filter(|key| super::values::SECRETS.contains(&key.as_str()));
        found.push(match file_of {
            Some(key) => {
                let plain = name.trim_end_matches("_FILE");
                if variables.contains_key(plain) {
                    return Err(InvalidSetting::new(format!(
                        "{plain} and {name} are both set: leave one out"
                    )));
                }
                Variable { key, value: read(name, Path::new(value))?, origin: name.clone() }
            }
            None => Variable { key: key_of(rest), value: value.clone(), origin: name.clone() },
        });
    }
    Ok(found)
}

/// `SERVER__LISTEN` is `server.listen`.
fn key_of(rest: &str) -> String {
    rest.to_ascii_lowercase().replace("__", ".")
}

/// What is not a setting: the environment's name, what tests go by, and what Kubernetes puts into every pod for a
/// Service called `portcullis` (`PORTCULLIS_SERVICE_HOST`, `PORTCULLIS_PORT`, `PORTCULLIS_PORT_8080_TCP`, ...).
fn is_not_ours(rest: &str) -> bool {
    let port = rest.strip_prefix("PORT_").is_some_and(|more| more.starts_with(|c: char| c.is_ascii_digit()));
    matches!(rest, "ENV" | "PORT") || port || rest.starts_with("SERVICE_") || rest.starts_with("TEST_")
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

fn one_line(error: &ConfigError) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "|").collect::<Vec<_>>().join(" ")
}
