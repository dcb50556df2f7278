//! Finds users whose stored password hash cannot be used, for an operator who imported them.

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Binary;
use portcullis_domain::password::PasswordHash;
use uuid::Uuid;

use super::DatabaseUrl;
use super::connection::AnyConnection;
use super::prepare::{PrepareError, connect_to_existing};
use super::schema::users;
use super::types::DbId;
use crate::hashing;

/// A user who cannot log in with any password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableHash {
    /// The user's id.
    pub user: Uuid,
    /// The user's name; bytes that are not UTF-8 are replaced.
    pub username: String,
    /// Why the hash cannot be used. Contains nothing of the hash.
    pub reason: &'static str,
}

/// Checks the stored password hash of every user, oldest first, and passes those that cannot be used to `found`. Returns
/// how many users there are. Connects, and only reads.
///
/// # Errors
/// [`PrepareError`], among them [`PrepareError::Absent`].
pub fn check_hashes(url: &DatabaseUrl, mut found: impl FnMut(UnusableHash)) -> Result<usize, PrepareError> {
    let mut connection = connect_to_existing(url)?;
    let (mut after, mut checked) = (Uuid::nil(), 0);
    loop {
        let page = page(&mut connection, after).map_err(|error| PrepareError::of(url, error.into()))?;
        let Some((DbId(last), ..)) = page.last() else { return Ok(checked) };
        after = *last;
        checked += page.len();
        for (DbId(user), username, hash) in page {
            let hash = String::from_utf8(hash).map(PasswordHash::new);
            let usable = hash.map_or(Err("not UTF-8"), |hash| hashing::check(&hash));
            if let Err(reason) = usable {
                found(UnusableHash {
                    user,
                    username: String::from_utf8_lossy(&username).into_owned(),
                    reason,
                });
            }
        }
    }
}

/// The bytes of names and hashes: SQLite keeps texts that are not UTF-8, and one of them must not hide the others.
fn page(connection: &mut AnyConnection, after: Uuid) -> QueryResult<Vec<Row>> {
    let bytes = |column: &str| -> SqlLiteral<Binary> {
        sql(&match connection {
            AnyConnection::Postgres(_) => format!("convert_to({column}, 'UTF8')"),
            AnyConnection::Sqlite(_) => format!("CAST({column} AS BLOB)"),
        })
    };
    let (username, hash) = (bytes("username"), bytes("password_hash"));
    users::table
        .filter(users::id.gt(DbId(after)))
        .order(users::id.asc())
        .limit(PAGE)
        .select((users::id, username, hash))
        .load(connection)
}

/// Id, name and hash.
type Row = (DbId, Vec<u8>, Vec<u8>);

/// How many users are read at once.
const PAGE: i64 = 1_000;
