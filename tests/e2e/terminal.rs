//! Prompts on a real terminal, which they leave as they found it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};

use crate::database::Database;
use crate::server::{PASSWORD, command, wait, wait_until};

/// A terminal with a command that runs on it.
struct Terminal {
    user: File,
    /// Keeps the terminal's settings when the command is gone.
    side: File,
    before: Termios,
    child: Child,
}

impl Terminal {
    fn run(database: &Database, arguments: &[&str]) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap().into_string().unwrap();
        let side =
            rustix::fs::open(&name, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY, 0.into()).unwrap();
        let side = File::from(side);
        let before = tcgetattr(&side).unwrap();
        let bare = command(database.folder.path());
        let mut on_terminal = Command::new("setsid");
        on_terminal.arg("--ctty").arg(bare.get_program()).args(arguments).current_dir(database.folder.path());
        on_terminal.env_clear().envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let end = || side.try_clone().unwrap();
        let child = on_terminal.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { user: user.into(), side, before, child }
    }

    /// Reads until the command has printed a text.
    fn wait_for(&mut self, text: &str) {
        let mut printed = Vec::new();
        while !String::from_utf8_lossy(&printed).contains(text) {
            let mut some = [0; 256];
            let read = self.user.read(&mut some).unwrap();
            printed.extend_from_slice(&some[..read]);
        }
    }

    fn type_keys(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).unwrap();
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.side).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits until the command ends, and checks that the terminal is as it was.
    #[track_caller]
    fn ended(mut self) -> ExitStatus {
        let status = wait(&mut self.child);
        let after = tcgetattr(&self.side).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask() -> (Database, Terminal) {
    let database = Database::sqlite();
    let mut terminal = Terminal::run(&database, &["user", "add", "bob"]);
    terminal.wait_for("Password: ");
    assert!(!terminal.echoes());
    (database, terminal)
}

#[test]
fn keys_that_end_a_prompt_restore_the_terminal() {
    for (keys, signal) in [("\u{3}", Some(2)), ("\u{1c}", Some(3)), ("\u{4}", None)] {
        let (_database, mut terminal) = ask();
        terminal.type_keys(keys);
        let status = terminal.ended();
        assert_eq!(status.signal(), signal, "{keys:?}");
        assert!(!status.success());
    }
}

#[test]
fn signals_that_end_a_prompt_restore_the_terminal() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::ALARM, Signal::USR1] {
        let (_database, terminal) = ask();
        terminal.send(signal);
        assert_eq!(terminal.ended().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn second_password_prompt_restores_the_terminal() {
    for (keys, signal, code) in [("\u{3}", Some(2), None), ("another\n", None, Some(1))] {
        let (_database, mut terminal) = ask();
        terminal.type_keys(&format!("{PASSWORD}\n"));
        terminal.wait_for("Once more: ");
        terminal.type_keys(keys);
        let status = terminal.ended();
        assert_eq!((status.signal(), status.code()), (signal, code));
    }
}

#[test]
fn stopped_prompt_shows_and_continued_prompt_hides() {
    let (_database, mut terminal) = ask();
    terminal.type_keys("\u{1a}");
    let stat = format!("/proc/{}/stat", terminal.child.id());
    let state = || std::fs::read_to_string(&stat).unwrap().rsplit_once(") ").unwrap().1.starts_with('T');
    wait_until("it is stopped", state);
    assert!(terminal.echoes());

    terminal.send(Signal::CONT);
    terminal.wait_for("Password: ");
    assert!(!terminal.echoes());
    for prompt in ["Once more: ", "added bob"] {
        terminal.type_keys(&format!("{PASSWORD}\n"));
        terminal.wait_for(prompt);
    }
    assert!(terminal.ended().success());
}

#[test]
fn confirmation_leaves_the_terminal_alone() {
    let (database, mut terminal) = ask();
    for prompt in ["Once more: ", "added bob"] {
        terminal.type_keys(&format!("{PASSWORD}\n"));
        terminal.wait_for(prompt);
    }
    assert!(terminal.ended().success());
    for (keys, signal) in [("\u{3}", Some(2)), ("n\n", None), ("\u{4}", None)] {
        let mut terminal = Terminal::run(&database, &["user", "delete", "bob"]);
        terminal.wait_for("[y/N] ");
        assert!(terminal.echoes());
        terminal.type_keys(keys);
        let status = terminal.ended();
        assert_eq!(status.signal(), signal, "{keys:?}");
        assert!(!status.success());
    }
}
