//! What others build on: tokens that any JOSE library verifies, and documents at their well-known places.

use jwt_compact::alg::{Ed25519, Es256};
use jwt_compact::jwk::JsonWebKey;
use jwt_compact::{Algorithm, AlgorithmExt as _, UntrustedToken};
use serde_json::{Value, json};

use crate::database::Database;
use crate::on_both_databases;
use crate::server::Server;

on_both_databases! {
    fn access_tokens_verify_with_another_library(database: &Database) {
        for (setting, algorithm) in [("EdDSA", "EdDSA"), ("ES256", "ES256")] {
            let server = Server::start_with(database, &[("TOKENS__ALGORITHM", setting)]);
            server.register("alice");
            let access = server.login("alice").access;
            let keys = server.get("/.well-known/jwks.json");
            assert_eq!(keys.header("cache-control"), Some("public, max-age=3600"));
            assert!(keys.text.len() < 1_536, "{} bytes", keys.text.len());
            let keys = keys.json();

            let token = UntrustedToken::new(&access).unwrap();
            let key_id = token.header().key_id.clone().unwrap();
            let jwk = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == key_id.as_str()).unwrap();
            assert_eq!((&jwk["alg"], &jwk["use"]), (&algorithm.into(), &"sig".into()));
            let jwk: JsonWebKey<'_> = serde_json::from_value(jwk.clone()).unwrap();
            let claims = match algorithm {
                "EdDSA" => verified(&Ed25519, &ed25519(&jwk), &token),
                _ => verified(&Es256, &es256(&jwk), &token),
            };
            assert_eq!((&claims["iss"], &claims["aud"]), (&"http://auth.test".into(), &"portcullis".into()));
            assert_eq!(claims["client_id"], "portcullis");
        }
    }

    fn the_metadata_says_what_exists(database: &Database) {
        let server = Server::start(database);
        let metadata = server.get("/.well-known/oauth-authorization-server").json();
        assert_eq!(metadata["issuer"], "http://auth.test");
        assert_eq!(metadata["jwks_uri"], "http://auth.test/.well-known/jwks.json");
        assert_eq!(metadata["response_types_supported"], Value::Array(vec![]));
        assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["ES256", "EdDSA"]));
        assert_eq!(server.get("/.well-known/openid-configuration").json(), metadata);
    }
}

fn ed25519(jwk: &JsonWebKey<'_>) -> <Ed25519 as Algorithm>::VerifyingKey {
    jwk.try_into().unwrap()
}

fn es256(jwk: &JsonWebKey<'_>) -> <Es256 as Algorithm>::VerifyingKey {
    jwk.try_into().unwrap()
}

fn verified<A: Algorithm>(algorithm: &A, key: &A::VerifyingKey, token: &UntrustedToken<'_>) -> Value {
    let verified = algorithm.validator::<Value>(key).validate(token).unwrap();
    verified.claims().custom.clone()
}
