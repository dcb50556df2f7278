//! What `make bench` and `make bench-growth` run. The first measures the server and, beside it, what the server is
//! compared with, and prints one table; each file in `goals` has one measurement. The second is `growth`. What
//! `make timing` runs is `timing` and `sealing`; `make crowd` runs `crowd`.

mod baseline;
mod crowd;
mod goals;
mod growth;
mod load;
mod machine;
mod memory;
mod postgres;
mod progress;
mod report;
mod sealing;
mod server;
mod statistics;
mod timing;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, Subcommand};
use tempfile::TempDir;

use self::goals::{MEASUREMENTS, Measurement};
use self::progress::Progress;
use self::report::Row;

/// Measures a Portcullis server beside its baselines and prints a table
#[derive(Debug, Parser)]
#[command(name = "portcullis-bench")]
struct Cli {
    /// How often each measurement is repeated
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
    /// Measure only these
    #[arg(long, value_name = "P1c,P6,..", value_delimiter = ',', ignore_case = true, value_parser = clap::builder::PossibleValuesParser::new(goals::ids()))]
    only: Vec<String>,
    /// How long one side of a comparison is measured at a time
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The server's binary [default: `portcullis` beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The baseline, which measurements start for themselves
    #[command(hide = true)]
    Hello { address: SocketAddr },
    /// Measures login, refresh and /me over databases of several sizes, and prints tables
    Growth(growth::Growth),
    /// Measures whether the time of a refused login tells why it was refused
    Timing(timing::Timing),
    /// Measures whether owners get in while a crowd tries wrong passwords, and prints a table
    Crowd(crowd::Crowd),
    /// Measures whether logins that succeed or fail are slower while events are sealed
    Sealing(sealing::Sealing),
    /// Fills a database that has no users with users called user-0, user-1 and so on
    Fill(growth::Fill),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Hello { address }) => baseline::serve_hello(address),
        Some(Command::Growth(growth)) => growth::run(&growth),
        Some(Command::Timing(timing)) => timing::run(&timing),
        Some(Command::Crowd(crowd)) => crowd::run(&crowd),
        Some(Command::Sealing(sealing)) => sealing::run(&sealing),
        Some(Command::Fill(fill)) => growth::fill_one(&fill),
        None => measure(&cli),
    }
}

/// What every measurement is given.
#[derive(Debug)]
struct Bench {
    server: PathBuf,
    /// Where the databases are made: beside the build, and so on a disk.
    work: TempDir,
    /// The length of one measurement of one side.
    length: Duration,
    progress: Progress,
    /// That of the machine before anything was measured.
    load: Option<String>,
}

impl Bench {
    /// A folder of its own for a server.
    fn folder(&self) -> Result<TempDir> {
        TempDir::new_in(self.work.path()).context("cannot make a folder")
    }
}

fn measure(cli: &Cli) -> Result<()> {
    let beside = std::env::current_exe().context("cannot find this program")?;
    let beside = beside.parent().context("this program is in no folder")?;
    let server = cli.server.clone().unwrap_or_else(|| beside.join("portcullis"));
    let server = std::path::absolute(server)?;
    ensure!(server.is_file(), "there is no server at {}; build it or name it by --server", server.display());
    let wanted: Vec<_> =
        MEASUREMENTS.iter().filter(|measurement| is_wanted(measurement, &cli.only)).collect();
    let work =
        TempDir::with_prefix_in("bench-", beside).context("cannot make a folder beside this program")?;
    let length = Duration::from_secs(cli.seconds);
    let progress = Progress::new(cli.repetitions, wanted.iter().map(|wanted| (wanted.estimate)(length)));
    let bench = Bench { server, work, length, progress, load: machine::load() };
    let mut rows = Vec::new();
    for measurement in wanted {
        bench.progress.begin(measurement.what);
        rows.extend((measurement.run)(&bench).unwrap_or_else(|why| unmeasured(measurement, &bench, &why)));
    }
    rows.retain(|row: &Row| cli.only.is_empty() || cli.only.iter().any(|id| id.eq_ignore_ascii_case(row.id)));
    print(&rows, &bench)?;
    if rows.iter().all(|row| row.figures.is_empty()) {
        bail!("nothing could be measured");
    }
    Ok(())
}

fn is_wanted(measurement: &Measurement, only: &[String]) -> bool {
    only.is_empty() || measurement.ids.iter().any(|id| only.iter().any(|only| only.eq_ignore_ascii_case(id)))
}

fn unmeasured(measurement: &Measurement, bench: &Bench, why: &anyhow::Error) -> Vec<Row> {
    bench.progress.say(&format!("not measured: {why:#}"));
    measurement.ids.iter().map(|id| Row::unmeasured(id, why)).collect()
}

fn print(rows: &[Row], bench: &Bench) -> Result<()> {
    let machine = machine::describe(&bench.server, bench.work.path(), bench.load.clone());
    writeln!(io::stdout(), "{}\n{machine}", report::table(rows)).context("cannot print the table")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_takes_a_list_of_goals() {
        let cli = Cli::try_parse_from(["portcullis-bench", "--only", "P1c,p6"]).unwrap();
        let wanted: Vec<_> =
            MEASUREMENTS.iter().filter(|measurement| is_wanted(measurement, &cli.only)).collect();
        assert!(wanted.iter().all(|wanted| wanted.ids.contains(&"P1c") || wanted.ids.contains(&"P6")));
        assert!(Cli::try_parse_from(["portcullis-bench", "--only", "P99"]).is_err());
    }
}
