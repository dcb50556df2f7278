//! Where it was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::baseline::cores;
use crate::server::find;

/// Lines of Markdown about this machine, the build and the run, which began under this [load]. What cannot be
/// found out is left out.
pub(crate) fn describe(server: &Path, work: &Path, load: Option<String>) -> String {
    let work = work.display().to_string();
    let facts = [
        ("cores", Some(cores().to_string())),
        ("processor", field("/proc/cpuinfo", "model name").or_else(|| output("sysctl", &["-n", MAC_CPU]))),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("system", output("uname", &["-srm"])),
        ("sched_autogroup", first_line("/proc/sys/kernel/sched_autogroup_enabled").map(|on| autogroup(&on))),
        ("load average before", load),
        ("disk of the databases", output("stat", &["-f", "-c", "%T", &work])),
        ("server", output(&server.display().to_string(), &["--version"])),
        ("source", output("git", &["describe", "--always", "--dirty", "--tags"])),
        ("compiler", output("rustc", &["--version"])),
        ("PostgreSQL", output("pgbench", &["--version"])),
        ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("command", Some(std::env::args().collect::<Vec<_>>().join(" "))),
    ];
    let lines = facts.into_iter().filter_map(|(name, fact)| Some(format!("- {name}: {}\n", fact?)));
    lines.collect()
}

/// What other work the machine had in the last minutes: it disturbs what is measured.
pub(crate) fn load() -> Option<String> {
    let line = first_line("/proc/loadavg")?;
    Some(line.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn autogroup(on: &str) -> String {
    let sessions = match find("setsid") {
        Some(_) => "in sessions of their own, but for P3, P4, P8 and the storm",
        None => "in one session (no `setsid`)",
    };
    format!("{on}; server, baselines and load {sessions}")
}

/// The value after a name and a colon in a file of `/proc`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

/// The first line that a program prints.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.to_owned()).filter(|_| output.status.success())
}

/// What macOS calls the processor's name.
const MAC_CPU: &str = "machdep.cpu.brand_string";
