//! What commands print, and what they ask of whoever typed them.

#[cfg(unix)]
mod prompt;

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use portcullis_domain::password::PlaintextPassword;
use zeroize::Zeroizing;

#[cfg(unix)]
use self::prompt::read_hidden;
use crate::cli_error::CliError;

/// Prints lines of data on standard output. A reader that closes early, such as `head`, is no failure.
pub(crate) fn print(lines: impl IntoIterator<Item = impl fmt::Display>) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let written = lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output").into()),
        Ok(()) => Ok(()),
    }
}

/// Reports on standard error how far a command has come, every two seconds. A command that takes less reports nothing.
pub(crate) struct Progress {
    reported_at: Instant,
}

impl Progress {
    /// Starts now.
    pub(crate) fn new() -> Self {
        Self { reported_at: Instant::now() }
    }

    /// Writes a line if the last one is old enough.
    pub(crate) fn report(&mut self, line: impl FnOnce() -> String) {
        if self.reported_at.elapsed() > REPORT_EVERY {
            self.reported_at = Instant::now();
            // The command goes on without a terminal.
            let _written = writeln!(io::stderr(), "{}", line());
        }
    }
}

/// Asks whether to do what cannot be undone, unless `yes` was said on the command line.
///
/// # Errors
/// [`CliError::Usage`] where there is no terminal to ask on.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(CliError::Usage("not running in a terminal; pass --yes to confirm".to_owned()));
    }
    match ask(question).context("cannot ask")?.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(anyhow!("nothing was done").into()),
    }
}

fn ask(question: &str) -> io::Result<Zeroizing<String>> {
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    read_line()
}

/// A password, asked for on a terminal or else one line of standard input. It never stands on the command line,
/// which other users of the machine can read.
pub(crate) fn read_password() -> Result<PlaintextPassword, CliError> {
    let mut password = match io::stdin().is_terminal() {
        true => ask_twice()?,
        false => {
            let line = read_line().context("cannot read the password from standard input")?;
            // Editors and PowerShell begin a text with a byte order mark.
            let text = line.strip_prefix('\u{feff}').unwrap_or(&line);
            Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
        }
    };
    Ok(PlaintextPassword::new(std::mem::take(&mut *password)))
}

/// A password that nobody sees being typed may be mistyped.
fn ask_twice() -> anyhow::Result<Zeroizing<String>> {
    let ask = |prompt| read_hidden(prompt).context("cannot ask for the password");
    let password = ask("Password: ")?;
    anyhow::ensure!(password == ask("Once more: ")?, "the two passwords differ");
    Ok(password)
}

#[cfg(not(unix))]
fn read_hidden(prompt: &str) -> io::Result<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

/// A line, which may be a password: growing would leave copies of it behind.
fn read_line() -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(LONGEST_LINE));
    io::stdin().lock().take(LONGEST_LINE as u64).read_line(&mut line)?;
    Ok(line)
}

/// How often a command reports how far it has come.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// In bytes: more than any password that is accepted.
const LONGEST_LINE: usize = 16 * 1024;
