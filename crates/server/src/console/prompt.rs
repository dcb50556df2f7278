//! Reads a password from the terminal without showing it, and leaves the terminal as it was, however the prompt ends.
//!
//! The echo is a property of the terminal, not of the process: if a signal ends the process in the middle of a prompt, the
//! user's shell continues without echo. So the signals that end or stop a process restore the terminal first.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use zeroize::Zeroizing;

use crate::signals::is_ignored;

/// Prints `text` on the terminal and reads a line that is not shown.
///
/// # Errors
/// If there is no terminal, or the input ends before a line.
pub(crate) fn read_hidden(text: &str) -> io::Result<Zeroizing<String>> {
    // Standard input may be another terminal than that of this process.
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let terminal = terminal.or_else(|_| io::stdin().as_fd().try_clone_to_owned().map(File::from))?;
    restore_on_signals()?;
    let prompt = Prompt::begin(&terminal, text)?;
    let line = read_line(&terminal);
    drop(prompt);
    line
}

/// A line without its end. Reading it byte by byte leaves no copies in a buffer.
fn read_line(mut terminal: &File) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
    let mut byte = Zeroizing::new([0]);
    loop {
        if terminal.read(&mut *byte)? == 0 {
            writeln!(terminal)?;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no password was typed"));
        }
        match byte[0] {
            b'\n' => break,
            _ if line.len() == LONGEST_LINE => {}
            byte => line.push(byte),
        }
    }
    let text = String::from_utf8(std::mem::take(&mut *line)).map(Zeroizing::new);
    text.map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        io::Error::new(io::ErrorKind::InvalidData, "the password is not UTF-8")
    })
}

/// The state that is needed to leave a prompt and to resume it.
struct State {
    terminal: File,
    text: String,
    shown: Termios,
    hidden: Termios,
}

impl State {
    fn hide(&mut self) -> io::Result<()> {
        tcsetattr(&self.terminal, OptionalActions::Now, &self.hidden)?;
        self.terminal.write_all(self.text.as_bytes())
    }

    fn show(&self) {
        // The terminal may have been closed.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.shown);
    }
}

/// A prompt that is under way. Dropping it restores the terminal.
struct Prompt;

impl Prompt {
    fn begin(terminal: &File, text: &str) -> io::Result<Self> {
        let shown = tcgetattr(terminal)?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // Echo the end of the line, so that later output starts on a line of its own.
        hidden.local_modes.insert(LocalModes::ECHONL);
        let mut state = State { terminal: terminal.try_clone()?, text: text.to_owned(), shown, hidden };
        let mut under_way = under_way();
        state.hide()?;
        *under_way = Some(state);
        Ok(Self)
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        if let Some(state) = under_way().take() {
            state.show();
        }
    }
}

/// Starts the thread that restores the terminal on a signal, and then runs the signal's default action.
fn restore_on_signals() -> io::Result<()> {
    static STARTED: OnceLock<()> = OnceLock::new();
    if STARTED.get().is_none() {
        let handled = [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2];
        let mut signals = Signals::new(handled.into_iter().filter(|signal| !is_ignored(*signal)))?;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                let mut under_way = under_way();
                if let Some(state) = &mut *under_way {
                    state.show();
                    let _ = state.terminal.write_all(b"\n");
                }
                // Returns only if the process was stopped and is continued.
                let _ = emulate_default_handler(signal);
                if let Some(state) = &mut *under_way {
                    let _ = state.hide();
                }
            }
        })?;
        let _ = STARTED.set(());
    }
    Ok(())
}

fn under_way() -> MutexGuard<'static, Option<State>> {
    static UNDER_WAY: Mutex<Option<State>> = Mutex::new(None);
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest line that terminals pass on, in bytes: more than any accepted password.
const LONGEST_LINE: usize = 4_096;
