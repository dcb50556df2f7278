//! The shell that starts a server, and stops it with this process.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::is_root;

/// A shell that outlives this process by a moment: it makes the server's directory, carries out orders that it reads
/// from a pipe, and when the pipe closes, for whatever reason, stops the server and removes the directory.
#[derive(Debug)]
pub(super) struct Keeper {
    shell: Child,
    /// `None` only while it is being dropped.
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts the shell; returns the directory it made as well.
    pub(super) fn start(binaries: &Path, parent: &str) -> Result<(Self, PathBuf), String> {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(binaries).arg(parent);
        // Variables like PGPORT and PGDATESTYLE would reach the server.
        command.env_clear().env("LC_ALL", "C").env("PATH", env::var_os("PATH").unwrap_or_default());
        // A Ctrl-C in the terminal ends the tests, and through the pipe the server: not the shell in between.
        command.process_group(0).current_dir(parent).stdin(Stdio::piped()).stdout(Stdio::piped());
        if is_root() {
            // PostgreSQL refuses to run as root; this is `nobody`.
            command.uid(65_534).gid(65_534);
        }
        let mut shell = command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let (Some(orders), Some(replies)) = (shell.stdin.take(), shell.stdout.take()) else {
            return Err("the shell has no pipes".to_owned());
        };
        let mut keeper = Self { shell, orders: Some(orders), replies: BufReader::new(replies) };
        match keeper.reply() {
            directory if directory.starts_with(parent) => Ok((keeper, PathBuf::from(directory))),
            _ => Err(format!("the shell could not make a directory in {parent}")),
        }
    }

    /// Carries out a line of shell, in which `$1` is the folder of the programs, and returns its exit status.
    pub(super) fn order(&mut self, order: &str) -> String {
        match self.orders.as_mut().map(|orders| writeln!(orders, "{order}")) {
            Some(Ok(())) => self.reply(),
            Some(Err(error)) => error.to_string(),
            None => String::new(),
        }
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        match self.replies.read_line(&mut line) {
            Ok(0) => "the shell ended".to_owned(),
            Ok(_) => line.trim_end().to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.orders.take());
        // Nothing is lost when this fails: the shell does its work anyway.
        let _status = self.shell.wait();
    }
}

/// What the keeper's shell runs. The signals that it ignores are meant for the tests, whose end it sees by the pipe.
const KEEPER: &str = r#"
trap '' HUP INT PIPE TERM
umask 077
directory=$(mktemp -d "$2/portcullis-pg.XXXXXX") && cd "$directory" && echo "$directory" || exit 1
exec 2>>log
server=
# Each process of a server has a process group of its own.
children() { grep -ls "^PPid:[[:blank:]]$server\$" /proc/[0-9]*/status | cut -d/ -f3; }
while read -r order; do
    eval "$order" </dev/null >>log
    echo "$?"
done
# A frozen server takes no signal but this one.
[ -n "$server" ] && kill -CONT $(children) "$server"
kill -QUIT "$server" && wait "$server"
rm -rf "$directory"
"#;
