use diesel::prelude::*;
use portcullis_domain::ports::StoreError;

use super::Database;
use super::error::store_error;
use super::schema::deployment;
use crate::keys::KeyCheck;

impl Database {
    /// Holds this instance's secrets against the one the database is used with, by their one-way check values
    /// (the current secret's and each accepted one's). The first instance of a database sets the value; the first one
    /// that starts with a new secret, accepting the old, moves it on.
    ///
    /// # Errors
    /// [`KeyCheckError::Mismatch`] when none matches.
    pub fn check_key(&self, current: KeyCheck, accepted: &[KeyCheck]) -> Result<(), KeyCheckError> {
        self.transaction(|connection| {
            // An update that changes nothing locks the row, so that instances starting together decide in turn.
            let is = |stored: &Option<Vec<u8>>, check: &KeyCheck| stored.as_deref() == Some(check.as_bytes());
            let (stored, previous): (Option<Vec<u8>>, Option<Vec<u8>>) = diesel::update(deployment::table)
                .set(deployment::session_floor.eq(deployment::session_floor))
                .returning((deployment::key_check, deployment::previous_key_check))
                .get_result(connection)
                .map_err(store_error)?;
            let move_to_current = match &stored {
                None => true,
                stored if is(stored, &current) => false,
                // An instance that still has the old secret, and already accepts the new one, must not move it back.
                stored if accepted.iter().any(|check| is(stored, check)) => !is(&previous, &current),
                Some(_) => return Err(KeyCheckError::Mismatch),
            };
            if move_to_current {
                diesel::update(deployment::table)
                    .set((
                        deployment::key_check.eq(current.as_bytes().as_slice()),
                        deployment::previous_key_check.eq(&stored),
                    ))
                    .execute(connection)
                    .map_err(store_error)?;
            }
            Ok(())
        })
    }
}

/// The instance must not use this database.
#[derive(Debug, thiserror::Error)]
pub enum KeyCheckError {
    /// The database is used with another secret.
    #[error("the database is used with another secret")]
    Mismatch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
