//! Promises of [`AccessTokenCodec`].

use std::time::Duration;

use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::session::revocation::Revocations;
use portcullis_domain::session::{MAX_ACCESS_LIFETIME, SessionChanges};
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::{AccessToken, AccessTokenCodec, Authentication, Claims, InvalidToken};

use super::changes::{one_added, one_changed, one_removed};
use crate::SeededRandom;
use crate::fixtures::NOW;

/// What went in comes out, its dates cut to whole seconds.
pub fn verifies_what_it_signed(codec: &dyn AccessTokenCodec) {
    let claims = claims();
    let token = sign(codec, &claims);
    let Authentication::Live(live) = validate(codec, token.expose(), NOW).expect("its own token") else {
        panic!("not live");
    };
    let cut = |time: UnixTime| UnixTime::from_secs(time.as_secs());
    let expected = Claims {
        opened_at: cut(claims.opened_at),
        issued_at: cut(claims.issued_at),
        not_before: cut(claims.not_before),
        expires_at: cut(claims.expires_at),
        ..claims
    };
    assert_eq!(live.claims(), &expected);
}

/// A token of which any character was changed, added or removed is refused, also by a codec that remembers what it
/// verified, and so is what never was one.
// ASVS 9.1.1
// MUST access-token-exact
pub fn refuses_changed_tokens(codec: &dyn AccessTokenCodec) {
    let token = sign(codec, &claims()).expose().to_owned();
    assert!(codec.verify(&token, NOW).is_ok(), "unchanged");
    let changed = one_changed(&token).chain(one_added(&token)).chain(one_removed(&token));
    let never_was = ["", ".", "..", "nonsense", "a.b.c", "\0", "\u{e9}"].map(str::to_owned);
    for other in changed.chain(never_was).chain([token.repeat(2), token.repeat(1_000)]) {
        let verified = codec.verify(&other, NOW).map(drop);
        assert_eq!(
            verified,
            Err(InvalidToken),
            "{} instead of {token}",
            other.get(..2_000).unwrap_or(&other)
        );
    }
}

/// A genuine token of another issuer, for another audience or of another deployment is refused; each of `others` is
/// such a one.
// ASVS 9.2.3 10.3.1
// MUST access-token-issuer-audience
pub fn refuses_tokens_that_are_not_from_here_or_not_for_here(
    codec: &dyn AccessTokenCodec,
    others: &[&dyn AccessTokenCodec],
) {
    for (n, other) in others.iter().enumerate() {
        let token = sign(*other, &claims());
        assert!(other.verify(token.expose(), NOW).is_ok(), "{n} knows its own tokens"); // ASVS 9.2.4
        assert_eq!(codec.verify(token.expose(), NOW).map(drop), Err(InvalidToken), "{n}");
    }
}

/// An expired token and one that has not begun are genuine; [`SignedClaims::validate`] says that they are not good.
///
/// [`SignedClaims::validate`]: portcullis_domain::token::SignedClaims::validate
// MUST access-token-dates
pub fn does_not_judge_dates(codec: &dyn AccessTokenCodec) {
    let token = sign(codec, &claims());
    let later = NOW + MAX_ACCESS_LIFETIME;
    assert!(matches!(validate(codec, token.expose(), later), Ok(Authentication::Refused)), "expired");

    let hour = Duration::from_hours(1);
    let early = sign(codec, &Claims { not_before: NOW + hour, expires_at: NOW + 2 * hour, ..claims() });
    assert!(matches!(validate(codec, early.expose(), NOW), Ok(Authentication::Refused)), "not begun");
}

/// An expired token still names its session: logging out works with it.
pub fn expired_tokens_name_their_session(codec: &dyn AccessTokenCodec) {
    let claims = claims();
    let token = sign(codec, &claims);
    let later = claims.expires_at + Duration::from_secs(1);
    let verified = codec.verify(token.expose(), later).expect("genuine");
    assert_eq!(verified.session_to_end(), claims.session);
}

/// There are keys to publish, each under an id of its own.
pub fn publishes_its_keys(codec: &dyn AccessTokenCodec) {
    let mut ids: Vec<_> = codec.verification_keys(NOW).into_iter().map(|key| key.id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert!(count > 0 && ids.len() == count && ids.iter().all(|id| !id.is_empty()), "{ids:?}");
}

fn sign(codec: &dyn AccessTokenCodec, claims: &Claims) -> AccessToken {
    codec.sign(claims).expect("there is a key")
}

/// Verifies and judges, with nothing revoked.
fn validate(
    codec: &dyn AccessTokenCodec,
    token: &str,
    now: UnixTime,
) -> Result<Authentication, InvalidToken> {
    let revocations = Revocations::default();
    let look = revocations.begin(now, Duration::ZERO).expect("nothing is known yet");
    revocations.merge(&look, SessionChanges::default());
    codec.verify(token, now).map(|claims| claims.validate(now, Duration::ZERO, &revocations))
}

fn claims() -> Claims {
    let random = SeededRandom::new(13);
    Claims {
        user: UserId::new(NOW, &random),
        session: SessionId::new(NOW, &random),
        token: TokenId::new(NOW, &random),
        opened_at: NOW - Duration::from_hours(2),
        issued_at: NOW,
        not_before: NOW,
        expires_at: NOW + Duration::from_mins(15),
    }
}
