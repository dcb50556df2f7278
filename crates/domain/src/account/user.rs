//! Users.

use crate::account::Username;
use crate::id::{SessionId, UserId};
use crate::password::PasswordHash;
use crate::session::Proof;
use crate::time::UnixTime;

/// Somebody who may log in.
#[derive(Clone, Debug)]
pub struct User {
    /// Names the user for ever.
    pub id: UserId,
    /// The name as registered; unique by its canonical form.
    pub username: Username,
    /// The hash of the current password.
    pub password_hash: PasswordHash,
    /// Counts the changes of password; a session opens only for the version that was verified.
    pub credential_version: CredentialVersion,
    /// Whether the user may log in.
    pub status: UserStatus,
    /// When the user was registered.
    pub created_at: UnixTime,
}

impl User {
    /// Returns whether the user may log in and still has the password that was verified at this version. Sessions open,
    /// and users change or delete their account, only then.
    pub fn is_enabled_at(&self, version: CredentialVersion) -> bool {
        self.status == UserStatus::Enabled && self.credential_version == version
    }

    /// Replaces the password by a new one, and raises the credential version. An upgraded hash of the same password keeps
    /// the version.
    pub fn set_password(&mut self, hash: PasswordHash) {
        self.password_hash = hash;
        self.credential_version = self.credential_version.next();
    }
}

/// A user about to be stored: enabled, at [`CredentialVersion::FIRST`].
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The new id.
    pub id: UserId,
    /// The chosen name.
    pub username: Username,
    /// The hash of the chosen password.
    pub password_hash: PasswordHash,
    /// When the user registers.
    pub created_at: UnixTime,
}

impl NewUser {
    /// The user as it stands right after it was stored.
    pub fn into_user(self) -> User {
        User {
            id: self.id,
            username: self.username,
            password_hash: self.password_hash,
            credential_version: CredentialVersion::FIRST,
            status: UserStatus::Enabled,
            created_at: self.created_at,
        }
    }
}

/// Whether a user may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserStatus {
    /// May log in.
    Enabled,
    /// May not; the answer to a login is that of a wrong password.
    Disabled,
}

/// A user's request to delete the account: the session that made it, and the proof that was verified there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reauthentication {
    /// The session, live until then.
    pub session: SessionId,
    /// The user's version when the password was verified.
    pub credential_version: CredentialVersion,
    /// What the client proved. The store consumes it with the deletion.
    pub proof: Proof,
}

/// How often a user's password was changed. A rehash of the same password does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialVersion(i64);

impl CredentialVersion {
    /// The version of a user just registered.
    pub const FIRST: Self = Self(1);

    /// A version read from a store.
    pub const fn new(version: i64) -> Self {
        Self(version)
    }

    /// The number that stores keep.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The version after one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
