use std::iter;

use crate::AuthService;
use crate::account::{CanonicalName, Rejections, User, UserStatus, UsernameViolation};
use crate::audit::{EventKind, LoginFailure};
use crate::client::{ClientInfo, NetworkStatus};
use crate::error::{Throttled, Unavailable, unavailable};
use crate::maintenance::ClockNotTrusted;
use crate::password::policy::PasswordViolation;
use crate::password::{HashError, PlaintextPassword, Verdict};
use crate::ports::{StoreError, StoreErrorKind};
use crate::session::{OpenSessionError, Proof, SessionOpened};
use crate::throttle::{Admitted, NotAdmitted};
use crate::time::UnixTime;
use crate::token::{SignError, TokenSet};

/// The input of a client that logs in. The rules of registration do not apply, so imported users can log in too.
#[derive(Debug)]
pub struct Credentials {
    /// The name typed, in any case.
    pub username: String,
    /// The password typed.
    pub password: PlaintextPassword,
}

impl AuthService {
    /// Opens a session for whoever knows a user's password.
    ///
    /// A name without an account, a wrong password and a disabled user get one answer, at the cost of one hash. Who tries
    /// too often has to [wait](crate::throttle), at the cost of none.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn login(&self, credentials: &Credentials, client: &ClientInfo) -> Result<LoginOutcome, LoginError> {
        check_size(credentials)?;
        // Before the hash: nothing would come of it.
        self.core.trusted_time()?;
        let name = CanonicalName::of(&credentials.username);
        let user = match self.core.ports.store.find_user_by_name(&name) {
            Ok(user) => user,
            // A row that does not parse is this user's trouble alone: nobody can log in to it.
            Err(error) if error.kind() == StoreErrorKind::Corrupt => None,
            Err(error) => return Err(error.into()),
        };
        let admitted = self.core.begin_attempt(&name, user.as_ref().map(|user| user.id), client)?;
        let Some(user) = user else {
            self.core.spend_a_hash(&admitted, &credentials.password)?;
            return Err(self.refuse(None, LoginFailure::UnknownUser, client)?);
        };
        let verdict = match self.core.verify(&admitted, &credentials.password, &user) {
            Ok(verdict) => verdict,
            Err(HashError::Unusable(_)) => {
                self.core.spend_a_hash(&admitted, &credentials.password)?;
                return Err(self.refuse(Some(&user), LoginFailure::UnusableHash, client)?);
            }
            Err(error) => return Err(error.into()),
        };
        match (verdict, user.status) {
            (Verdict::Mismatch, _) => {
                return Err(self.refuse(Some(&user), LoginFailure::WrongPassword, client)?);
            }
            (_, UserStatus::Disabled) => {
                return Err(self.refuse(Some(&user), LoginFailure::UserDisabled, client)?);
            }
            (Verdict::MatchOutdated, UserStatus::Enabled) => {
                self.upgrade_hash(&user, &credentials.password, client);
            }
            (Verdict::Match, UserStatus::Enabled) => {}
        }
        self.open_session(&user, &admitted, client).map(LoginOutcome::Session)
    }

    /// Checks whether a login may be attempted now, and returns whether the account knows the client's network. Reads at
    /// most two counters from the store, counts nothing and hashes nothing: for callers that queue logins before the hash.
    ///
    /// # Errors
    /// [`LoginError`]. `Ok` promises nothing about the login itself.
    pub fn may_log_in(
        &self,
        credentials: &Credentials,
        client: &ClientInfo,
    ) -> Result<NetworkStatus, LoginError> {
        check_size(credentials)?;
        self.core.trusted_time()?;
        Ok(self.core.check_throttle(&CanonicalName::of(&credentials.username), client)?)
    }

    fn open_session(
        &self,
        user: &User,
        admitted: &Admitted,
        client: &ClientInfo,
    ) -> Result<TokenSet, LoginError> {
        let now = self.core.trusted_time()?;
        let throttling_end = self.core.throttling_end(user.id, now, client);
        let proof = Proof::Password(admitted.successful_login(now));
        let session = self.core.new_session(user, proof, now, client);
        let event = |kind| self.core.event(kind, now, client).of_user(user.id);
        let login = event(EventKind::LoginSucceeded).in_session(session.id);
        let evicted = event(EventKind::SessionEvicted);
        let events = |opened: &SessionOpened| -> Vec<_> {
            let evictions = opened.ended.iter().map(|session| evicted.for_session(*session));
            iter::once(login.clone())
                .chain(evictions)
                .chain(throttling_end.by_success(opened.consumed))
                .collect()
        };
        match self.core.ports.store.open_session(&session, &events) {
            Ok(opened) => {
                self.core.mark_ended(opened.ended, now);
                Ok(self.core.issue(&opened.grant, now)?)
            }
            Err(OpenSessionError::UserChanged) => {
                Err(self.refuse(Some(user), LoginFailure::UserChanged, client)?)
            }
            Err(OpenSessionError::Store(error)) => Err(error.into()),
        }
    }

    /// Records a failed login and gives the one answer to all of them.
    fn refuse(
        &self,
        user: Option<&User>,
        failure: LoginFailure,
        client: &ClientInfo,
    ) -> Result<LoginError, StoreError> {
        let event = self.core.event(EventKind::LoginFailed(failure), self.core.ports.clock.now(), client);
        self.core.ports.store.record_event(&match user {
            Some(user) => event.of_user(user.id),
            None => event,
        })?;
        Ok(LoginError::InvalidCredentials)
    }

    /// Replaces an outdated hash. A failure costs nothing but the upgrade: the next login tries again, and a store
    /// that is down shows in opening the session.
    fn upgrade_hash(&self, user: &User, attempt: &PlaintextPassword, client: &ClientInfo) {
        let now: UnixTime = self.core.ports.clock.now();
        let event = self.core.event(EventKind::HashUpgraded, now, client).of_user(user.id);
        if let Ok(new) = self.core.ports.hasher.hash(&attempt.to_hashable()) {
            let _left_for_the_next_login =
                self.core.ports.store.upgrade_hash(user.id, &user.password_hash, &new, &event);
        }
    }
}

/// Refuses what no account can have, before anything is hashed.
fn check_size(credentials: &Credentials) -> Result<(), LoginError> {
    let mut rejections = Rejections::default();
    if credentials.username.chars().count() > CanonicalName::MAX_LENGTH {
        rejections.username.push(UsernameViolation::TooLong { max: CanonicalName::MAX_LENGTH });
    }
    if credentials.username.contains('\0') {
        rejections.username.push(UsernameViolation::InvalidCharacter);
    }
    if credentials.password.length().is_none_or(|length| length > PlaintextPassword::MAX_LENGTH) {
        rejections.password.push(PasswordViolation::TooLong);
    }
    if credentials.password.expose().contains('\0') {
        rejections.password.push(PasswordViolation::InvalidCharacter);
    }
    match rejections.is_empty() {
        true => Ok(()),
        false => Err(LoginError::Rejected(rejections)),
    }
}

/// What a login with the right password leads to.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoginOutcome {
    /// A session was opened.
    Session(TokenSet),
}

/// Nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Name or password are longer than any, or contain NUL.
    #[error("the username or the password cannot exist")]
    Rejected(Rejections),
    /// No such user, a wrong password or a disabled user.
    #[error("the username or the password is wrong")]
    InvalidCredentials,
    /// Too many logins were tried before.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The store, the hasher or the signing failed, or the clock is not trusted.
    #[error(transparent)]
    Unavailable(Unavailable),
}

unavailable! {
    LoginError from StoreError, HashError, ClockNotTrusted, SignError;
}

impl From<NotAdmitted> for LoginError {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Throttled(error) => error.into(),
            NotAdmitted::Store(error) => error.into(),
        }
    }
}
