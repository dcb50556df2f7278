//! Security events: who did what, when, from where. They are stored with the change they describe or not at all.

use crate::client::ClientInfo;
use crate::id::{EventId, SessionId, UserId};
use crate::ports::Entropy;
use crate::time::UnixTime;

/// One security event. It never holds a secret, nor a name typed for no account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// Names the event.
    pub id: EventId,
    /// When it happened; also the time of the change it is stored with.
    pub at: UnixTime,
    /// What happened.
    pub kind: EventKind,
    /// Whom it concerns, when that is known. Stores fill it in from the session where a caller cannot know.
    pub user: Option<UserId>,
    /// The session it concerns, if one.
    pub session: Option<SessionId>,
    /// Who caused it.
    pub client: ClientInfo,
}

impl SecurityEvent {
    /// A new event that concerns nobody yet.
    pub fn new(kind: EventKind, at: UnixTime, client: &ClientInfo, entropy: &dyn Entropy) -> Self {
        Self { id: EventId::new(at, entropy), at, kind, user: None, session: None, client: client.clone() }
    }

    /// The same event, of this user.
    #[must_use]
    pub fn of_user(self, user: UserId) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The same event, in this session.
    #[must_use]
    pub fn in_session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A user was registered.
    UserRegistered,
    /// A login succeeded and opened a session.
    LoginSucceeded,
    /// A login failed.
    LoginFailed(LoginFailure),
    /// A password's hash was replaced by a stronger one of the same password.
    HashUpgraded,
    /// A user logged out of a session.
    LoggedOut,
    /// A copy of an old refresh token was presented and ended its session.
    RefreshTokenReused,
    /// A user's password was changed, which ended the sessions of old.
    PasswordChanged,
    /// A user was disabled, which ended the sessions.
    UserDisabled,
    /// All sessions opened before were ended at once.
    AllSessionsEnded,
}

impl EventKind {
    /// The stable name under which stores keep it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserRegistered => "user_registered",
            Self::LoginSucceeded => "login_succeeded",
            Self::LoginFailed(_) => "login_failed",
            Self::HashUpgraded => "hash_upgraded",
            Self::LoggedOut => "logged_out",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::AllSessionsEnded => "all_sessions_ended",
        }
    }

    /// What the name leaves open, as a stable word.
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Self::LoginFailed(failure) => Some(failure.name()),
            _ => None,
        }
    }
}

/// Why a login failed; the caller of the service never learns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// There is no such user.
    UnknownUser,
    /// The password is wrong.
    WrongPassword,
    /// The user is disabled.
    UserDisabled,
    /// The stored hash cannot be verified: damaged, or of a scheme or cost that is refused.
    UnusableHash,
    /// The user was disabled or got a new password while the login was under way.
    UserChanged,
}

impl LoginFailure {
    const fn name(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::UserDisabled => "user_disabled",
            Self::UnusableHash => "unusable_hash",
            Self::UserChanged => "user_changed",
        }
    }
}
