//! What an operator can do about an error of the adapters. They know neither the settings nor the commands, so whatever names
//! one is added here.

use portcullis_adapters::db::{Denial, FailureCause, InvalidDatabaseUrl, PrepareError};
use portcullis_adapters::secret::InvalidSecret;

/// Returns the text of a failure to prepare a database, with advice.
pub(crate) fn on_database(error: &PrepareError) -> String {
    let advice = match error {
        PrepareError::Unreachable(failure) => failure.cause().map_or("", on_failure),
        PrepareError::Denied(_, denial) => on_denial(denial),
        PrepareError::Pooler => {
            " with database.pool_size + 3 server connections for each instance; for transaction mode set database.pooler to \
             transaction (docs/operations/pgbouncer.md)"
        }
        PrepareError::NoDirectUrl => {
            ": set database.migrate_url to a URL that leads past the pooler (docs/operations/pgbouncer.md)"
        }
        PrepareError::Direct(error) => return on_database(error),
        PrepareError::Outdated => ": bring it up to date with `portcullis migrate`",
        PrepareError::BinaryTooOld { .. } => {
            ": start that version or a newer one, or restore a backup from before the upgrade"
        }
        PrepareError::Url(error) => return on_database_url(error),
        PrepareError::Refused(_)
        | PrepareError::TooOld(_)
        | PrepareError::Unusable(..)
        | PrepareError::Absent(_)
        | PrepareError::Encoding(_)
        | PrepareError::OtherSecret
        | PrepareError::StatementPooler
        | PrepareError::RoleSettings(_)
        | PrepareError::OtherDatabase
        | PrepareError::RefusedSecret
        | PrepareError::RefusedAcceptedSecret
        | PrepareError::Moved(_)
        | PrepareError::UnfinishedCopy
        | PrepareError::Migration(_) => "",
    };
    format!("{error}{advice}")
}

/// Returns why a URL is refused, with advice.
pub(crate) fn on_database_url(error: &InvalidDatabaseUrl) -> String {
    let advice = match error {
        InvalidDatabaseUrl::PoolSizeOption { .. } => " and set database.pool_size",
        _ => "",
    };
    format!("{error}{advice}")
}

/// Returns why a secret is refused, with advice.
pub(crate) fn on_secret(error: InvalidSecret) -> String {
    let advice = match error {
        InvalidSecret::Damaged => " `portcullis secret generate` makes a new one",
        InvalidSecret::Empty
        | InvalidSecret::TooShort
        | InvalidSecret::Repetitive
        | InvalidSecret::Sample => "; make one with `portcullis secret generate`",
    };
    format!("{error}{advice}")
}

fn on_failure(cause: FailureCause) -> &'static str {
    match cause {
        FailureCause::AuthenticationMethod => {
            "; the server asks for another authentication method than require_auth in database.url allows: change one of \
             them"
        }
        FailureCause::SessionParameter => {
            "; correct the options in database.url (or in PGOPTIONS), or the settings of the role and the database"
        }
        FailureCause::Credentials => "; check user and password in database.url and the server's pg_hba.conf",
        FailureCause::HostBasedAuthentication => {
            "; add an entry for this user, database and address to the server's pg_hba.conf"
        }
        FailureCause::Role => {
            "; create the role with CREATE ROLE .. LOGIN, or check the user in database.url"
        }
        FailureCause::MissingDatabase => {
            "; create the database with CREATE DATABASE .. ENCODING 'UTF8', or check its name in database.url"
        }
        FailureCause::ConnectPrivilege => "; GRANT CONNECT ON DATABASE to the role in database.url",
        FailureCause::HostName => "; check the host in database.url",
        FailureCause::NotPostgres => {
            "; what listens there is no PostgreSQL server: check host and port in database.url"
        }
        FailureCause::NoTls => "; switch TLS on at the server, or check sslmode in database.url",
        FailureCause::Certificate => "; check the server's certificate and sslrootcert",
        FailureCause::StartupParameter => {
            "; take that option out of database.url, or let the pooler ignore it"
        }
        FailureCause::TooManyConnections => "; raise max_connections or lower database.pool_size",
        FailureCause::NoServer => "; check host and port in database.url, and that the server runs",
    }
}

fn on_denial(denial: &Denial) -> &'static str {
    match denial {
        Denial::Standby => ": set database.url to the primary",
        Denial::ReadOnly => "",
        Denial::NoSchema { .. } => ", or choose another with options=-csearch_path%3DNAME in database.url",
        Denial::NoCreate { .. } => ", or run `portcullis migrate` as the owner of the tables",
        Denial::NoAccess { .. } => " (docs/audit.md lists the rights one by one)",
    }
}

#[cfg(test)]
mod tests {
    use portcullis_adapters::db::DatabaseUrl;
    use portcullis_adapters::secret::Secret;

    use super::*;

    #[test]
    fn database_errors_end_with_settings_and_commands() {
        for (error, expected) in [
            (
                PrepareError::Pooler,
                "set the pooler to session mode with database.pool_size + 3 server connections for each instance; for \
                 transaction mode set database.pooler to transaction (docs/operations/pgbouncer.md)",
            ),
            (
                PrepareError::NoDirectUrl,
                "set database.migrate_url to a URL that leads past the pooler (docs/operations/pgbouncer.md)",
            ),
            (
                PrepareError::Outdated,
                "the database's schema is older than this build: bring it up to date with `portcullis migrate`",
            ),
            (PrepareError::OtherSecret, "the database is used with another secret"),
        ] {
            let text = on_database(&error);
            assert!(text.ends_with(expected), "{text}");
        }
    }

    #[test]
    fn denials_end_with_the_operators_choice() {
        let role = || "clerk".to_owned();
        for (denial, expected) in [
            (Denial::Standby, "the server is a standby: set database.url to the primary"),
            (
                Denial::NoSchema { role: role() },
                "CREATE ON SCHEMA public TO clerk, or choose another with options=-csearch_path%3DNAME in database.url",
            ),
            (
                Denial::NoCreate { schema: "public".to_owned(), role: role() },
                "GRANT CREATE ON SCHEMA public TO clerk, or run `portcullis migrate` as the owner of the tables",
            ),
            (
                Denial::NoAccess { tables: "users".to_owned(), role: role() },
                "DELETE ON users TO clerk (docs/audit.md lists the rights one by one)",
            ),
        ] {
            let text = format!("{denial}{}", on_denial(&denial));
            assert!(text.ends_with(expected), "{text}");
        }
    }

    #[test]
    fn pool_sizes_in_urls_lead_to_the_setting() {
        let url = "postgres://localhost/x?connection_limit=5";
        let text = on_database_url(&DatabaseUrl::parse(url).unwrap_err());
        let expected = "has an option connection_limit that libpq does not know: leave it out and set database.pool_size";
        assert_eq!(text, expected);
    }

    #[test]
    fn refused_secrets_lead_to_the_command() {
        for secret in
            ["", "pcs_", "short", "passwordpasswordpasswordpassword", "0123456789abcdef0123456789abcdef"]
        {
            let text = on_secret(Secret::parse(secret).unwrap_err());
            assert!(text.contains("`portcullis secret generate`"), "{text}");
        }
    }
}
