//! The commands `audit`: verify the audit log, and delete old events.

use anyhow::Context as _;
use clap::Subcommand;
use portcullis_adapters::audit::{Link, Verified};

use crate::cli_error::CliError;
use crate::console::{Progress, print};
use crate::rfc3339::rfc3339;
use crate::settings::{InvalidSetting, Settings};
use crate::{bootstrap, logging};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify that nobody changed the audit log, and name the first place where somebody did (exit code 1 then)
    Verify {
        /// A head that was kept elsewhere, against which nobody can cut the log unnoticed
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<Link>,
    },
    /// Delete the sealed events that are older than audit.retention, where the service's own role may not
    Trim,
}

/// Runs an `audit` command.
pub(crate) fn run(command: &AuditCommand, settings: &Settings) -> Result<(), CliError> {
    match command {
        AuditCommand::Verify { head } => verify(settings, *head),
        AuditCommand::Trim => trim(settings),
    }
}

/// Verifies the audit log and prints what was found, or fails with the first place where something is wrong.
fn verify(settings: &Settings, kept: Option<Link>) -> Result<(), CliError> {
    logging::init(&settings.log);
    let mut reported = Progress::new();
    let verified = bootstrap::verify_audit(settings, kept, |at, end| {
        reported.report(|| format!("verified up to seq {at} of {end}"));
    })?;
    print(lines(&verified))
}

/// Deletes what is too old. The service does the same, where its role may.
fn trim(settings: &Settings) -> Result<(), CliError> {
    if settings.audit.retention.is_none() {
        return Err(InvalidSetting::new("audit.retention = forever: nothing is ever too old").into());
    }
    let deleted = bootstrap::sealer_for_command(settings)?.trim_all();
    let deleted = deleted.context("cannot delete old events")?;
    print([format!("deleted {deleted} sealed events")])
}

fn lines(verified: &Verified) -> Vec<String> {
    let Verified { first, end, unsealed, head, adopted_at, is_kept_head_older } = *verified;
    let sealed = end.seq + 1 - first;
    let mut lines = vec![
        match sealed {
            0 => "sealed: 0".to_owned(),
            _ => format!("sealed: {sealed}, from seq {first} to {end_seq}", end_seq = end.seq),
        },
        format!("not sealed yet: {unsealed}"),
        format!("end of the chain: {end}"),
        match head {
            Some((head, at)) => format!("newest signed head: {head} of {}", rfc3339(at)),
            None => "newest signed head: none".to_owned(),
        },
    ];
    if first > 1 {
        lines.push(format!("deleted as too old: up to seq {}", first - 1));
    }
    if let Some(seq) = adopted_at {
        lines.push(format!("a secret was adopted at seq {seq}: what was signed before proves nothing"));
    }
    if is_kept_head_older {
        lines.push(
            "the head that was kept is of a place that was deleted since: it proves nothing".to_owned(),
        );
    }
    lines
}
