//! Security events: who did what, when, from where. They are stored with the change they describe or not at all.

use std::borrow::Cow;

use crate::client::ClientInfo;
use crate::id::{EventId, SessionId, UserId};
use crate::ports::SecureRandom;
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
    /// The user whom it concerns, if known.
    pub user: Option<UserId>,
    /// The session it concerns, if one.
    pub session: Option<SessionId>,
    /// Who caused it.
    pub client: ClientInfo,
}

impl SecurityEvent {
    /// A new event that concerns nobody yet.
    pub fn new(kind: EventKind, at: UnixTime, client: &ClientInfo, random: &dyn SecureRandom) -> Self {
        Self {
            id: EventId::new(at, random),
            at,
            kind,
            user: None,
            session: None,
            client: client.for_events(),
        }
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

    /// The same event of one of several sessions, with an id of its own.
    #[must_use]
    pub(crate) fn for_session(&self, session: SessionId) -> Self {
        Self { id: self.id.derived(session.as_uuid()), ..self.clone() }.in_session(session)
    }
}

/// Makes the security events of a change from facts that a store decides inside its transaction. Closures of the facts
/// implement it; they return any collection of events, such as a `Vec` or an `Option`.
///
/// It is pure: a store that repeats its transaction calls it again, and records the events of the last call. An event that
/// needs randomness for its ID is therefore made before the call, and only completed in it.
///
/// ```
/// use portcullis_domain::audit::{EventKind, EventsOf, SecurityEvent};
/// use portcullis_domain::id::UserId;
/// use portcullis_testkit::{SeededRandom, fixtures};
///
/// let random = SeededRandom::new(1);
/// let event = fixtures::event(EventKind::RefreshTokenReused, fixtures::NOW, &random);
/// let events: &dyn EventsOf<UserId> = &|user: &UserId| [event.clone().of_user(*user)];
/// let user = fixtures::new_user("alice", &random).id;
/// assert_eq!(events.of(&user), [event.of_user(user)]);
/// ```
pub trait EventsOf<Facts> {
    /// Returns the events to record with the change.
    fn of(&self, facts: &Facts) -> Vec<SecurityEvent>;
}

impl<Facts, Events, Make> EventsOf<Facts> for Make
where
    Events: IntoIterator<Item = SecurityEvent>,
    Make: Fn(&Facts) -> Events,
{
    fn of(&self, facts: &Facts) -> Vec<SecurityEvent> {
        self(facts).into_iter().collect()
    }
}

/// A finished event, where the facts add nothing to it.
impl<Facts> EventsOf<Facts> for SecurityEvent {
    fn of(&self, _facts: &Facts) -> Vec<SecurityEvent> {
        vec![self.clone()]
    }
}

/// A security event as a store kept it.
///
/// A store keeps [`EventKind::name`] and [`EventKind::detail`] as text and returns them without interpreting them: a row may
/// come from a newer version, whose kinds this one does not know. So no function turns a name back into an [`EventKind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Names the event.
    pub id: EventId,
    /// When it happened.
    pub at: UnixTime,
    /// What happened: [`EventKind::name`].
    pub kind: String,
    /// [`EventKind::detail`].
    pub detail: Option<String>,
    /// The session it concerns, if one.
    pub session: Option<SessionId>,
    /// Who caused it.
    pub client: ClientInfo,
}

impl From<&SecurityEvent> for StoredEvent {
    fn from(event: &SecurityEvent) -> Self {
        Self {
            id: event.id,
            at: event.at,
            kind: event.kind.name().to_owned(),
            detail: event.kind.detail().map(Cow::into_owned),
            session: event.session,
            client: event.client.clone(),
        }
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
    /// A user logged out.
    LoggedOut(LogoutScope),
    /// A user ended one of the own sessions from another one.
    SessionEnded,
    /// A session ended to make room for a new one.
    SessionEvicted,
    /// A copy of an old refresh token was presented and ended its session.
    RefreshTokenReused,
    /// A user changed the own password, which ended the sessions of old and opened a new one.
    PasswordChanged,
    /// A logged-in user did not know the password when asked for it again.
    PasswordNotConfirmed,
    /// So many attempts at a password were made in a row that the next one has to wait.
    ThrottlingBegun,
    /// It does not any more: the password was right, or nobody tried for long.
    ThrottlingEnded {
        /// How many attempts had failed in a row.
        attempts: u32,
    },
    /// A user deleted the own account, which ended the sessions.
    AccountDeleted,
    /// An operator set a user's password, which ended the sessions.
    PasswordSet,
    /// An operator disabled a user, which ended the sessions.
    UserDisabled,
    /// An operator enabled a user.
    UserEnabled,
    /// An operator deleted a user, which ended the sessions.
    UserDeleted,
    /// An operator ended all sessions of a user.
    UserSessionsEnded,
    /// An operator ended all sessions of everybody.
    AllSessionsEnded,
    /// An operator put a new secret in the place of one that is known to others, which ended all sessions.
    SecretAdopted,
    /// A new secret came in the place of one that stays accepted for a while.
    SecretReplaced,
    /// The database was found to be a restored backup or a copy, which ended all sessions.
    DatabaseRestored,
    /// An operator declared that the database moved and that no other copy is in use, which kept the sessions.
    DatabaseMoved,
}

impl EventKind {
    /// The stable name under which stores keep it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserRegistered => "user_registered",
            Self::LoginSucceeded => "login_succeeded",
            Self::LoginFailed(_) => "login_failed",
            Self::HashUpgraded => "hash_upgraded",
            Self::LoggedOut(_) => "logged_out",
            Self::SessionEnded => "session_ended",
            Self::SessionEvicted => "session_evicted",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::PasswordChanged => "password_changed",
            Self::PasswordNotConfirmed => "password_not_confirmed",
            Self::ThrottlingBegun => "throttling_begun",
            Self::ThrottlingEnded { attempts: _ } => "throttling_ended",
            Self::AccountDeleted => "account_deleted",
            Self::PasswordSet => "password_set",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::UserDeleted => "user_deleted",
            Self::UserSessionsEnded => "user_sessions_ended",
            Self::AllSessionsEnded => "all_sessions_ended",
            Self::SecretAdopted => "secret_adopted",
            Self::SecretReplaced => "secret_replaced",
            Self::DatabaseRestored => "database_restored",
            Self::DatabaseMoved => "database_moved",
        }
    }

    /// What the name leaves open, as a stable word or a number.
    pub fn detail(self) -> Option<Cow<'static, str>> {
        match self {
            Self::LoginFailed(failure) => Some(failure.name().into()),
            Self::LoggedOut(scope) => Some(scope.name().into()),
            Self::ThrottlingEnded { attempts } => Some(attempts.to_string().into()),
            _ => None,
        }
    }
}

/// Which of a user's sessions a logout ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogoutScope {
    /// The one of the token.
    #[default]
    Current,
    /// All but the one of the token.
    Others,
    /// All.
    All,
}

impl LogoutScope {
    const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Others => "others",
            Self::All => "all",
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
