//! What the command line says without doing anything. (Being here, this test has cargo build the binary that the tests of
//! the package `portcullis-e2e` start.)

#![expect(clippy::unwrap_used, reason = "in tests, and in their helpers, it fails the test")]

use std::process::{Command, Output};

const SECRET: &str = "pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q";

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).env_clear().output().unwrap()
}

#[test]
fn usage_errors_are_two() {
    for arguments in [&["serv"][..], &["user", "add"], &["migrate", "--force"], &["sessions", "end", "--yes"]]
    {
        assert_eq!(portcullis(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_undone_is_not_done_unasked() {
    let folder = tempfile::TempDir::new().unwrap();
    let in_folder = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).env_clear().env("PORTCULLIS_SECRET", SECRET).current_dir(&folder);
        command.output().unwrap()
    };
    assert!(in_folder(&["migrate"]).status.success());
    for arguments in [&["user", "delete", "alice"][..], &["sessions", "end", "--all"], &["secret", "adopt"]] {
        let output = in_folder(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), error.as_str()),
            (Some(2), "portcullis: not running in a terminal; pass --yes to confirm\n"),
            "{arguments:?}"
        );
    }
}

#[test]
fn no_password_stands_on_the_command_line() {
    for command in ["add", "set-password"] {
        let output = portcullis(&["user", command, "alice", "Corr3ct-horse"]);
        assert_eq!(output.status.code(), Some(2), "{command}");
    }
}

#[test]
fn the_long_version_names_the_licence_of_the_binary() {
    let version = String::from_utf8(portcullis(&["--version"]).stdout).unwrap();
    let licence = if cfg!(feature = "governor") { "GPL-3.0-or-later" } else { "MIT OR Apache-2.0" };
    assert!(version.contains(licence), "{version}");
}

#[test]
fn every_command_is_explained() {
    let commands = commands(&[]);
    for command in
        ["serve", "migrate", "config", "user", "sessions", "secret", "keys", "openapi", "healthcheck"]
    {
        assert!(commands.iter().any(|(name, _)| name == command), "{command}: {commands:?}");
    }
    for (command, explanation) in commands {
        assert!(explanation.len() > 10, "{command}: {explanation}");
    }
}

#[test]
fn every_command_has_a_row_in_the_readme() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    for (command, _) in commands(&[]) {
        let subcommands = commands(&[&command]);
        let names = subcommands.iter().map(|(subcommand, _)| format!("{command} {subcommand}"));
        let names = if subcommands.is_empty() { vec![command.clone()] } else { names.collect() };
        for name in names {
            let spellings =
                [format!("`portcullis {name}`"), format!("`portcullis {name} "), format!("`{name} ")];
            let has_row = spellings.iter().any(|spelling| readme.contains(spelling));
            assert!(has_row, "add a row for `portcullis {name}` to the table of commands in README.md");
        }
    }
}

/// Returns the commands that the help of `command` lists, each with its explanation.
fn commands(command: &[&str]) -> Vec<(String, String)> {
    let help = String::from_utf8(portcullis(&[command, &["--help"]].concat()).stdout).unwrap();
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let commands = lines.filter_map(|line| line.split_once(' '));
    let commands = commands.filter(|(name, _)| !name.is_empty() && *name != "help");
    commands.map(|(name, explanation)| (name.to_owned(), explanation.trim().to_owned())).collect()
}
