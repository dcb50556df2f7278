use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use anyhow::{Context as _, anyhow};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::password::PasswordAttempt;
use portcullis_domain::service::{RegisterError, Registration};

use crate::failure::{Failure, print};
use crate::logging;
use crate::settings::Settings;
use crate::wire::Instance;

/// Adds a user, also while registration is closed and under a reserved name. Passwords never stand on the command
/// line, where other users of the machine can read them.
pub(crate) fn add(settings: &Settings, username: String) -> Result<(), Failure> {
    logging::init(&settings.log);
    let instance = Instance::wire(settings)?;
    instance.prepare()?;
    let form = Registration { username, password: read_password()? };
    match instance.service.add_user(&form, &ClientInfo::default()) {
        Ok(user) => print([format!("added {} ({})", user.username.as_str(), user.id)]),
        Err(RegisterError::Rejected(rejections)) => {
            let names = rejections.username.iter().map(|violation| format!("the username {violation}"));
            let passwords = rejections.password.iter().map(|violation| format!("the password {violation}"));
            Err(anyhow!("{}", names.chain(passwords).collect::<Vec<_>>().join("; ")).into())
        }
        Err(error) => Err(anyhow::Error::new(error).into()),
    }
}

fn read_password() -> Result<PasswordAttempt, Failure> {
    let password = match io::stdin().is_terminal() {
        true => ask_twice()?,
        false => {
            let mut line = String::new();
            let mut bounded = io::stdin().lock().take(LONGEST_LINE);
            bounded.read_line(&mut line).context("cannot read the password from standard input")?;
            line.truncate(line.trim_end_matches(['\r', '\n']).len());
            line
        }
    };
    Ok(PasswordAttempt::new(password))
}

/// A password that nobody sees being typed may be mistyped.
fn ask_twice() -> anyhow::Result<String> {
    let ask = |prompt| rpassword::prompt_password(prompt).context("cannot ask for the password");
    let password = ask("Password: ")?;
    anyhow::ensure!(password == ask("Once more: ")?, "the two passwords differ");
    Ok(password)
}

/// In bytes: more than any password that is accepted.
const LONGEST_LINE: u64 = 16 * 1024;
