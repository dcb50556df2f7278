//! The codecs honour the contract, and an independent library reads their tokens.

use std::time::Duration;

use jwt_compact::alg::{Ed25519, Es256};
use jwt_compact::jwk::{JsonWebKey, JwkError};
use jwt_compact::{Algorithm, AlgorithmExt, UntrustedToken};
use portcullis_adapters::account_keys::MacAccountKeys;
use portcullis_adapters::keys::{KeyRing, KeyRotation, SigningAlgorithm};
use portcullis_adapters::secret::{Secret, Secrets};
use portcullis_adapters::token::jwt::{JwtCodec, TokenName};
use portcullis_adapters::token::refresh::MacRefreshTokenCodec;
use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::token::{AccessTokenCodec, Claims, PublicKey, VerificationKey};
use portcullis_testkit::SeededRandom;
use portcullis_testkit::contract::{access_token_codec, account_keys, refresh_token_codec};
use portcullis_testkit::fixtures::NOW;
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example.org";

fn secrets(text: &str) -> Secrets {
    Secrets::new(Secret::parse_for_development(text).unwrap(), [])
}

fn codec(algorithm: SigningAlgorithm, secret: &str, issuer: &str, audience: &str) -> JwtCodec {
    let keys = KeyRing::new(&secrets(secret), algorithm, KeyRotation::default(), NOW);
    JwtCodec::new(keys, TokenName::parse(issuer).unwrap(), TokenName::parse(audience).unwrap())
        .remembering(64)
}

macro_rules! access_token_contract {
    ($($module:ident: $algorithm:expr;)*) => {$(
        mod $module {
            use super::*;

            fn own() -> JwtCodec {
                codec($algorithm, "ours", ISSUER, "portcullis")
            }

            #[test]
            fn verifies_what_it_signed() {
                access_token_codec::verifies_what_it_signed(&own());
            }

            #[test]
            fn refuses_changed_tokens() {
                access_token_codec::refuses_changed_tokens(&own());
            }

            #[test]
            fn refuses_tokens_that_are_not_from_here_or_not_for_here() {
                let others = [
                    codec($algorithm, "ours", "https://id.example.org/", "portcullis"),
                    codec($algorithm, "ours", ISSUER, "another service"),
                    codec($algorithm, "theirs", ISSUER, "portcullis"),
                ];
                let others: Vec<&dyn AccessTokenCodec> = others.iter().map(|other| other as _).collect();
                access_token_codec::refuses_tokens_that_are_not_from_here_or_not_for_here(&own(), &others);
            }

            #[test]
            fn does_not_judge_dates() {
                access_token_codec::does_not_judge_dates(&own());
            }

            #[test]
            fn expired_tokens_name_their_session() {
                access_token_codec::expired_tokens_name_their_session(&own());
            }

            #[test]
            fn publishes_its_keys() {
                access_token_codec::publishes_its_keys(&own());
            }
        }
    )*};
}

access_token_contract! {
    eddsa: SigningAlgorithm::EdDsa;
    es256: SigningAlgorithm::Es256;
}

fn refresh_codec(secret: &str) -> MacRefreshTokenCodec {
    MacRefreshTokenCodec::new(&secrets(secret))
}

#[test]
fn refresh_verifies_what_it_issued() {
    refresh_token_codec::verifies_what_it_issued(&refresh_codec("ours"));
}

#[test]
fn refresh_issues_the_same_token_each_time() {
    refresh_token_codec::issues_the_same_token_each_time(&refresh_codec("ours"));
}

#[test]
fn refresh_refuses_changed_tokens() {
    refresh_token_codec::refuses_changed_tokens(&refresh_codec("ours"));
}

#[test]
fn refresh_refuses_tokens_of_another_key() {
    refresh_token_codec::refuses_tokens_of_another_key(&refresh_codec("ours"), &refresh_codec("theirs"));
}

#[test]
fn account_keys_are_the_same_each_time_and_for_every_spelling() {
    account_keys::are_the_same_each_time_and_for_every_spelling(&MacAccountKeys::new(&secrets("ours")));
}

#[test]
fn account_keys_differ_for_every_name_and_network() {
    account_keys::differ_for_every_name_and_network(&MacAccountKeys::new(&secrets("ours")));
}

#[test]
fn account_keys_differ_for_another_key() {
    let [ours, theirs] = ["ours", "theirs"].map(|text| MacAccountKeys::new(&secrets(text)));
    account_keys::differ_for_another_key(&ours, &theirs);
}

#[test]
fn jwt_compact_verifies_eddsa_tokens() {
    check_with_jwt_compact(&Ed25519, SigningAlgorithm::EdDsa);
}

#[test]
fn jwt_compact_verifies_es256_tokens() {
    check_with_jwt_compact(&Es256, SigningAlgorithm::Es256);
}

/// Reads a token with the published key that it names, as a resource server would, and tells a forged one.
fn check_with_jwt_compact<A>(theirs: &A, ours: SigningAlgorithm)
where
    A: Algorithm,
    A::VerifyingKey: for<'a> TryFrom<&'a JsonWebKey<'a>, Error = JwkError>,
{
    let codec = codec(ours, "ours", ISSUER, "portcullis");
    let random = SeededRandom::new(5);
    let claims = Claims {
        user: UserId::new(NOW, &random),
        session: SessionId::new(NOW, &random),
        token: TokenId::new(NOW, &random),
        opened_at: NOW - Duration::from_hours(1),
        issued_at: NOW,
        not_before: NOW,
        expires_at: NOW + Duration::from_mins(15),
    };
    let token = codec.sign(&claims).unwrap();
    let token = UntrustedToken::new(token.expose()).unwrap();
    assert_eq!(token.algorithm(), ours.name());
    assert_eq!(token.header().token_type.as_deref(), Some("at+jwt"));

    let keys = codec.verification_keys(NOW);
    let (named, others): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|key| token.header().key_id.as_ref() == Some(&key.id));
    assert_eq!((named.len(), others.len()), (1, 5));
    let verified =
        theirs.validator::<Value>(&verifying_key::<A>(&named[0]).unwrap()).validate(&token).unwrap();
    let seconds = NOW.as_secs();
    let expected = json!({
        "iss": ISSUER,
        "aud": "portcullis",
        "sub": claims.user.to_string(),
        "client_id": "portcullis",
        "sid": claims.session.to_string(),
        "jti": claims.token.to_string(),
        "auth_time": NOW.as_secs() - 3_600,
    });
    assert_eq!(verified.claims().custom, expected);
    assert_eq!(verified.claims().issued_at.unwrap().timestamp(), seconds);
    assert_eq!(verified.claims().not_before.unwrap().timestamp(), seconds);
    assert_eq!(verified.claims().expiration.unwrap().timestamp(), seconds + 900);
    let others: Vec<_> = others.iter().filter_map(verifying_key::<A>).collect();
    assert_eq!(others.len(), 2, "a key of the other algorithm is none of this one");
    for other in &others {
        assert!(theirs.validator::<Value>(other).validate(&token).is_err());
    }
}

/// Reads a key as a verifier of one algorithm does; `None` for a key of the other.
fn verifying_key<A>(key: &VerificationKey) -> Option<A::VerifyingKey>
where
    A: Algorithm,
    A::VerifyingKey: for<'a> TryFrom<&'a JsonWebKey<'a>, Error = JwkError>,
{
    let encode = |bytes: [u8; 32]| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, bytes);
    let jwk = match key.material {
        PublicKey::Ed25519(x) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(x)}),
        PublicKey::P256 { x, y } => json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)}),
    };
    let jwk: JsonWebKey<'_> = serde_json::from_value(jwk).unwrap();
    A::VerifyingKey::try_from(&jwk).ok()
}
