//! Recognises a pooler that moves a session from one server process to another between transactions, such as PgBouncer in
//! transaction or statement mode.
//!
//! No pooler reveals its mode. But every server process serves one direct connection, or one client of a pooler in session
//! mode, as long as that connection lasts. So two open connections with the same server process, or a connection whose
//! process changes, prove the pooler. The check changes no session setting, because the pooler would pass the
//! changed session to its next client.

use diesel::sql_types::Text;
use diesel::{PgConnection, QueryableByName, RunQueryDsl as _};

use super::hosts::{Wanted, establish};
use crate::db::DatabaseUrl;
use crate::db::failure::DatabaseFailure;
use crate::db::url::{Pooler, PostgresUrl};

/// Returns whether such a pooler is between this instance and PostgreSQL although the URL promises none.
pub(in crate::db) fn stands_before(url: &DatabaseUrl) -> Result<bool, DatabaseFailure> {
    match url {
        DatabaseUrl::Postgres(url) if url.pooler() == Pooler::None => {
            stands_between(&mut establish(url, Wanted::AnyServer)?, url)
        }
        DatabaseUrl::Postgres(_) | DatabaseUrl::Sqlite(_) => Ok(false),
    }
}

/// The same for a connection to `url` that nothing was set on.
pub(in crate::db) fn stands_between(
    first: &mut PgConnection,
    url: &PostgresUrl,
) -> Result<bool, DatabaseFailure> {
    let process = server_process(first)?;
    for _ in 0..OTHERS {
        // A pooler gives its idle server connection to the next client: the one that the first connection just released.
        let mut other = establish(url, Wanted::AnyServer)?;
        if server_process(&mut other)? == process || server_process(first)? != process {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Names the server process that serves a connection right now, among all servers that a URL may lead to.
pub(in crate::db) fn server_process(connection: &mut PgConnection) -> Result<String, DatabaseFailure> {
    #[derive(QueryableByName)]
    struct Process {
        #[diesel(sql_type = Text)]
        process: String,
    }
    let asked = diesel::sql_query(
        "SELECT pg_backend_pid() || ' of ' || extract(epoch FROM pg_postmaster_start_time()) AS process",
    );
    Ok(asked.get_result::<Process>(connection)?.process)
}

/// How many connections are compared with the first. More than one: several processes of PgBouncer can share an address
/// (`so_reuseport`), each with server connections of its own, and busy clients may take the one that was left.
const OTHERS: usize = 4;
