use std::time::Duration;

use crate::maintenance::ClockNotTrusted;
use crate::password::HashError;
use crate::ports::StoreError;
use crate::token::SignError;

/// Too many passwords were tried before. The password was not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords were tried")]
pub struct Throttled {
    /// How long the next attempt has to wait.
    pub retry_after: Duration,
}

/// The service cannot do what was asked now. The client is not at fault.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hasher failed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The clock is too far from the store's to issue a token.
    #[error(transparent)]
    Clock(#[from] ClockNotTrusted),
    /// The access token could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Makes the errors of a use case from those of the ports that it calls, by way of [`Unavailable`].
macro_rules! unavailable {
    ($($error:ident from $($cause:ty),+;)*) => {$($(
        impl From<$cause> for $error {
            fn from(cause: $cause) -> Self {
                Self::Unavailable(cause.into())
            }
        }
    )+)*};
}

pub(crate) use unavailable;
