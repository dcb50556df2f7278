//! Sessions: login, refresh, logout, and how an instance knows which sessions ended.

mod list;
mod login;
mod logout;
mod open;
mod refresh;
pub mod revocation;
mod rotation;
mod service;
mod store;
mod stored;

pub use self::list::EndSessionError;
pub use self::login::{Credentials, LoginError, LoginOutcome};
pub use self::logout::{LogoutError, LogoutToken};
pub use self::refresh::RefreshError;
pub use self::rotation::{
    CLOCK_TOLERANCE, CurrentGeneration, EndOutcome, Generation, Lifetimes, MAX_ACCESS_LIFETIME, NewSession,
    Proof, ReuseCheck, RotateOutcome, RotateRequest, RotatedSession, Session, SessionChanges, SessionOpened,
};
pub use self::service::Sessions;
#[cfg(feature = "mocks")]
pub use self::store::MockSessionStore;
pub use self::store::{OpenSessionError, SessionStore};
pub use self::stored::{StoredSession, next_valid_from};
