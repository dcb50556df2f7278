//! The commands `user`: manage users. Running instances learn within a second of sessions that a command ends.

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use portcullis_adapters::db::{self, UnusableHash};
use portcullis_domain::account::{RegisterError, Registration};
use portcullis_domain::admin::{Authority, SetPasswordError};
use portcullis_domain::session::Session;

use crate::bootstrap::{self, Purpose};
use crate::cli_error::CliError;
use crate::console::{confirm, print, read_password};
use crate::rfc3339::rfc3339;
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, whose password is asked for or read from standard input
    Add {
        /// The user's name
        username: String,
    },
    /// Disable a user, who cannot log in then, and end the user's sessions
    Disable {
        /// The user's name
        username: String,
    },
    /// Let a disabled user log in again
    Enable {
        /// The user's name
        username: String,
    },
    /// Delete a user, whose name is free then, and end the user's sessions
    Delete {
        /// The user's name
        username: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Set a user's password, which is asked for or read from standard input, and end the user's sessions
    SetPassword {
        /// The user's name
        username: String,
    },
    /// Print a user's sessions, a line each: id, when opened, last refreshed and over, address, user agent
    Sessions {
        /// The user's name
        username: String,
        /// End all of them instead
        #[arg(long)]
        end: bool,
    },
    /// List users whose stored password hash cannot be used, as after an import (exit code 1 if there are any)
    CheckHashes,
}

/// Runs a `user` command.
pub(crate) fn run(command: &UserCommand, settings: &Settings) -> Result<(), CliError> {
    match command {
        UserCommand::Add { username } => add(settings, username.clone()),
        UserCommand::Disable { username } => disable(settings, username),
        UserCommand::Enable { username } => enable(settings, username),
        UserCommand::Delete { username, yes } => delete(settings, username, *yes),
        UserCommand::SetPassword { username } => set_password(settings, username),
        UserCommand::Sessions { username, end: false } => sessions(settings, username),
        UserCommand::Sessions { username, end: true } => end_sessions(settings, username),
        UserCommand::CheckHashes => check_hashes(settings),
    }
}

/// Adds a user, also while registration is closed and under a reserved name.
fn add(settings: &Settings, username: String) -> Result<(), CliError> {
    let admin = bootstrap::for_command(settings, Purpose::Create)?;
    let form = Registration { username, password: read_password()? };
    match admin.add_user(&Authority::operator(), &form) {
        Ok(user) => print([format!("added {} ({})", user.username.as_str(), user.id)]),
        Err(RegisterError::Rejected(rejections)) => {
            let names = rejections.username.iter().map(|violation| format!("the username {violation}"));
            let passwords = rejections.password.iter().map(|violation| format!("the password {violation}"));
            Err(anyhow!("{}", names.chain(passwords).collect::<Vec<_>>().join("; ")).into())
        }
        Err(error) => Err(anyhow::Error::new(error).into()),
    }
}

/// Disables a user.
fn disable(settings: &Settings, username: &str) -> Result<(), CliError> {
    let ended =
        bootstrap::for_command(settings, Purpose::Change)?.disable_user(&Authority::operator(), username);
    let ended = ended.with_context(|| format!("cannot disable {username}"))?;
    print([format!("disabled {username}: {}", told(ended))])
}

/// Enables a user who was disabled.
fn enable(settings: &Settings, username: &str) -> Result<(), CliError> {
    let enabled =
        bootstrap::for_command(settings, Purpose::Change)?.enable_user(&Authority::operator(), username);
    enabled.with_context(|| format!("cannot enable {username}"))?;
    print([format!("enabled {username}")])
}

/// Deletes a user.
fn delete(settings: &Settings, username: &str, yes: bool) -> Result<(), CliError> {
    let admin = bootstrap::for_command(settings, Purpose::Change)?;
    confirm(&format!("Delete the user {username} for good?"), yes)?;
    let ended = admin.delete_user(&Authority::operator(), username);
    let ended = ended.with_context(|| format!("cannot delete {username}"))?;
    print([format!("deleted {username}, whose name is free now: {}", told(ended))])
}

/// Sets a user's password.
fn set_password(settings: &Settings, username: &str) -> Result<(), CliError> {
    let admin = bootstrap::for_command(settings, Purpose::Change)?;
    match admin.set_password(&Authority::operator(), username, &read_password()?) {
        Ok(ended) => print([format!("set the password of {username}: {}", told(ended))]),
        Err(SetPasswordError::Rejected(violations)) => {
            let violations = violations.iter().map(|violation| format!("the password {violation}"));
            Err(anyhow!("{}", violations.collect::<Vec<_>>().join("; ")).into())
        }
        Err(error) => {
            Err(anyhow::Error::new(error).context(format!("cannot set the password of {username}")).into())
        }
    }
}

/// Lists a user's live sessions, the latest opened first.
fn sessions(settings: &Settings, username: &str) -> Result<(), CliError> {
    let sessions =
        bootstrap::for_command(settings, Purpose::Read)?.sessions_of(&Authority::operator(), username);
    print(sessions.with_context(|| format!("cannot list the sessions of {username}"))?.iter().map(line))
}

/// Ends a user's sessions.
fn end_sessions(settings: &Settings, username: &str) -> Result<(), CliError> {
    let ended =
        bootstrap::for_command(settings, Purpose::Change)?.end_sessions_of(&Authority::operator(), username);
    let ended = ended.with_context(|| format!("cannot end the sessions of {username}"))?;
    print([format!("{username}: {}", told(ended))])
}

/// Lists the users whose stored password hash cannot be used, and fails if there are any.
fn check_hashes(settings: &Settings) -> Result<(), CliError> {
    let mut lines = Vec::new();
    let database = bootstrap::database(settings)?;
    let checked = db::check_hashes(database, |UnusableHash { user, username, reason }| {
        lines.push(format!("{user}\t{}\t{reason}", username.escape_debug()));
    });
    let checked = checked?;
    let unusable = lines.len();
    print(lines)?;
    match unusable {
        0 => print([format!("the password hashes of all {checked} users can be used")]),
        _ => {
            Err(anyhow!("{unusable} of {checked} users cannot log in: their password hashes cannot be used")
                .into())
        }
    }
}

/// Separated by tabs, which no user agent holds.
fn line(session: &Session) -> String {
    let address = session.client.address().map(|address| address.to_string());
    [
        session.id.to_string().as_str(),
        &rfc3339(session.opened_at),
        &rfc3339(session.newest.at),
        &rfc3339(session.expires_at),
        address.as_deref().unwrap_or("-"),
        session.client.agent().unwrap_or("-"),
    ]
    .join("\t")
}

fn told(ended: usize) -> String {
    match ended {
        0 => "no session was live".to_owned(),
        1 => "1 session ended; running instances refuse its tokens within a second".to_owned(),
        ended => format!("{ended} sessions ended; running instances refuse their tokens within a second"),
    }
}
