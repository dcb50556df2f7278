//! Errors that several handlers meet, as problems.

use std::convert::Infallible;

use portcullis_domain::account::Rejections;
use portcullis_domain::maintenance::ClockNotTrusted;
use portcullis_domain::password::HashError;
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::token::SignError;
use portcullis_domain::{Throttled, Unavailable};

use crate::blocking::BlockingError;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::{Problem, logged};
use crate::respond::violation::{Violation, ViolationCode, of_password};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match error.kind() {
            // To its owner, a row that does not parse is one that cannot be had.
            StoreErrorKind::Unavailable | StoreErrorKind::Corrupt => ProblemCode::StorageUnavailable,
            StoreErrorKind::Full => ProblemCode::StorageFull,
            StoreErrorKind::Internal => ProblemCode::InternalError,
        };
        logged(&error, code)
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded => ProblemCode::Overloaded.into(),
            HashError::Unusable(_) | HashError::Failed(_) => logged(&error, ProblemCode::InternalError),
        }
    }
}

impl From<SignError> for Problem {
    fn from(error: SignError) -> Self {
        logged(&error, ProblemCode::InternalError)
    }
}

impl From<ClockNotTrusted> for Problem {
    fn from(error: ClockNotTrusted) -> Self {
        // The log has it once, from whoever looks at the clock; not once a request.
        log::debug!("no token is given out: {error}");
        ProblemCode::NotReady.into()
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Store(error) => error.into(),
            Unavailable::Hash(error) => error.into(),
            Unavailable::Clock(error) => error.into(),
            Unavailable::Sign(error) => error.into(),
        }
    }
}

impl From<Throttled> for Problem {
    fn from(Throttled { retry_after }: Throttled) -> Self {
        Self::rate_limited(retry_after)
    }
}

impl From<BlockingError> for Problem {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::Overloaded => ProblemCode::Overloaded.into(),
            BlockingError::Panicked => logged(&error, ProblemCode::InternalError),
            BlockingError::Unfinished => logged(&error, ProblemCode::StorageUnavailable),
        }
    }
}

impl From<Infallible> for Problem {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Rejections> for Problem {
    fn from(rejections: Rejections) -> Self {
        let username = rejections.username.iter().map(|violation| {
            Violation::new("#/username", ViolationCode::from(violation), violation.to_string())
        });
        Self::invalid(username.chain(of_password("#/password", &rejections.password)).collect())
    }
}

/// Returns the problem of a user who is logged in and gave a wrong current password.
pub(crate) fn incorrect_password() -> Problem {
    let violation =
        Violation::new("#/current_password", ViolationCode::Incorrect, "is not the current password");
    Problem::invalid(vec![violation])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_store_errors_have_their_codes() {
        let cases = [
            (StoreErrorKind::Unavailable, ProblemCode::StorageUnavailable),
            (StoreErrorKind::Full, ProblemCode::StorageFull),
            (StoreErrorKind::Corrupt, ProblemCode::StorageUnavailable),
            (StoreErrorKind::Internal, ProblemCode::InternalError),
        ];
        for (kind, code) in cases {
            assert_eq!(Problem::from(StoreError::new(kind, "cause")).to_string(), code.word(), "{kind:?}");
        }
    }
}
