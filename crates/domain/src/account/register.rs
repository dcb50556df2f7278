use crate::AuthService;
use crate::account::{InsertUserError, NewUser, User, Username, UsernameViolation};
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::core::Core;
use crate::error::{Unavailable, unavailable};
use crate::id::UserId;
use crate::password::policy::PasswordViolation;
use crate::password::{HashError, PlaintextPassword};
use crate::ports::StoreError;

/// The input of a client that registers a user.
#[derive(Debug)]
pub struct Registration {
    /// The name wanted.
    pub username: String,
    /// The password wanted.
    pub password: PlaintextPassword,
}

impl AuthService {
    /// Registers a user.
    ///
    /// # Errors
    /// [`RegisterError`]; [`RegisterError::Rejected`] lists every rule that name and password break.
    pub fn register(&self, form: &Registration, client: &ClientInfo) -> Result<User, RegisterError> {
        match self.core.config.registration_enabled {
            true => self.core.register_user(form, Username::parse(&form.username), client),
            false => Err(RegisterError::Closed),
        }
    }
}

impl Core {
    /// Registers a user under a name that was parsed by the rules that apply to the caller.
    pub(crate) fn register_user(
        &self,
        form: &Registration,
        username: Result<Username, Vec<UsernameViolation>>,
        client: &ClientInfo,
    ) -> Result<User, RegisterError> {
        let password = self.config.password.accept(&form.password, &form.username);
        let (username, password) = match (username, password) {
            (Ok(username), Ok(password)) => (username, password),
            (username, password) => {
                return Err(RegisterError::Rejected(Rejections {
                    username: username.err().unwrap_or_default(),
                    password: password.err().unwrap_or_default(),
                }));
            }
        };
        let password_hash = self.ports.hasher.hash(&password)?;
        let now = self.ports.clock.now();
        let id = UserId::new(now, self.ports.random.as_ref());
        let user = NewUser { id, username, password_hash, created_at: now };
        let event = self.event(EventKind::UserRegistered, now, client).of_user(id);
        self.ports.store.insert_user(&user, &event)?;
        Ok(user.into_user())
    }
}

/// What is wrong with a username and a password, all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// The rules that the username breaks.
    pub username: Vec<UsernameViolation>,
    /// The rules that the password breaks.
    pub password: Vec<PasswordViolation>,
}

impl Rejections {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.password.is_empty()
    }
}

/// Nobody was registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Registration is closed.
    #[error("registration is closed")]
    Closed,
    /// The username or the password breaks a rule.
    #[error("the username or the password breaks a rule")]
    Rejected(Rejections),
    /// Another user has that name.
    #[error("the username is taken")]
    UsernameTaken,
    /// The store or the hasher failed.
    #[error(transparent)]
    Unavailable(Unavailable),
}

unavailable! {
    RegisterError from StoreError, HashError;
}

impl From<InsertUserError> for RegisterError {
    fn from(error: InsertUserError) -> Self {
        match error {
            InsertUserError::UsernameTaken => Self::UsernameTaken,
            InsertUserError::Store(error) => error.into(),
        }
    }
}
