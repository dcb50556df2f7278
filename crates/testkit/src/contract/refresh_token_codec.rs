//! Promises of [`RefreshTokenCodec`].

use portcullis_domain::id::SessionId;
use portcullis_domain::session::Generation;
use portcullis_domain::token::{InvalidToken, RefreshClaims, RefreshToken, RefreshTokenCodec};

use super::changes::{one_added, one_changed, one_removed};
use crate::SeededRandom;
use crate::fixtures::NOW;

/// The claims of an issued token are those that it was issued for.
pub fn verifies_what_it_issued(codec: &dyn RefreshTokenCodec) {
    for generation in [0, 1, 255, 256, u32::MAX] {
        let claims = claims(generation);
        assert_eq!(codec.verify(&codec.issue(claims)), Ok(claims));
    }
}

/// The same claims make the same token each time, other claims another.
pub fn issues_the_same_token_each_time(codec: &dyn RefreshTokenCodec) {
    let token = codec.issue(claims(3));
    assert_eq!(codec.issue(claims(3)).expose(), token.expose());
    assert_ne!(codec.issue(claims(4)).expose(), token.expose());
}

/// A token of which any character was changed, added or removed is refused, and so is what never was one.
// MUST refresh-token-exact
pub fn refuses_changed_tokens(codec: &dyn RefreshTokenCodec) {
    let token = codec.issue(claims(3)).expose().to_owned();
    let changed = one_changed(&token).chain(one_added(&token)).chain(one_removed(&token));
    let never_was = ["", ".", "nonsense", "\0", "\u{e9}"].map(str::to_owned);
    for other in changed.chain(never_was).chain([token.repeat(2), token.repeat(10_000)]) {
        let verified = codec.verify(&RefreshToken::new(other.clone()));
        assert_eq!(verified, Err(InvalidToken), "{} instead of {token}", other.get(..200).unwrap_or(&other));
    }
}

/// A token of another deployment is refused; `other` has another key.
pub fn refuses_tokens_of_another_key(codec: &dyn RefreshTokenCodec, other: &dyn RefreshTokenCodec) {
    assert_eq!(codec.verify(&other.issue(claims(3))), Err(InvalidToken));
    assert_eq!(other.verify(&codec.issue(claims(3))), Err(InvalidToken));
}

fn claims(generation: u32) -> RefreshClaims {
    let session = SessionId::new(NOW, &SeededRandom::new(11));
    RefreshClaims { session, generation: Generation::new(generation) }
}
