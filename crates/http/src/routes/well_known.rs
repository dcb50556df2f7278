//! `/.well-known/`: what resource servers need to verify access tokens.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::token::{PublicKey, VerificationKey};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{self, JSON};
use crate::openapi::problems;
use crate::{Api, HttpConfig};

/// Lists the public keys that verify access tokens
///
/// A JWK set (RFC 7517). It holds the keys of the time before, now and the time to come: fetch it again after its
/// `max-age`, and when a token names a key that it lacks.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "discovery",
    responses((status = 200, description = "The keys.", body = JwkSet), Problems),
)]
pub(crate) async fn jwks(api: Data<Api>) -> HttpResponse {
    let keys = api.auth.verification_keys();
    let set = JwkSet { keys: keys.iter().map(Jwk::from).collect() };
    answer::cacheable(JSON, answer::to_json(&set).into())
}

/// Describes the issuer of the tokens
///
/// RFC 8414, as far as there is something to describe.
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "discovery",
    responses((status = 200, description = "The metadata.", body = Metadata), Problems),
)]
pub(crate) async fn metadata(api: Data<Api>) -> HttpResponse {
    answer::cacheable(JSON, api.documents.metadata.clone())
}

/// Describes the issuer of the tokens, to those who look here
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "discovery",
    responses((status = 200, description = "The metadata.", body = Metadata), Problems),
)]
pub(crate) async fn openid_configuration(api: Data<Api>) -> HttpResponse {
    answer::cacheable(JSON, api.documents.metadata.clone())
}

pub(super) fn metadata_of(config: &HttpConfig) -> Bytes {
    let metadata = Metadata {
        issuer: &config.issuer,
        jwks_uri: format!("{}/.well-known/jwks.json", config.public_url),
        service_documentation: config.docs.then(|| format!("{}/docs", config.public_url)),
        response_types_supported: [],
        grant_types_supported: [],
    };
    answer::to_json(&metadata).into()
}

/// A JWK set (RFC 7517, section 5).
#[derive(Serialize, ToSchema)]
pub(crate) struct JwkSet<'a> {
    keys: Vec<Jwk<'a>>,
}

/// A public key (RFC 7517; RFC 8037 for Ed25519, RFC 7518 for P-256).
#[derive(Serialize, ToSchema)]
pub(crate) struct Jwk<'a> {
    #[schema(example = "OKP")]
    kty: &'static str,
    #[schema(example = "Ed25519")]
    crv: &'static str,
    x: String,
    /// Of P-256 keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    y: Option<String>,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    usage: &'static str,
    #[schema(example = "EdDSA")]
    alg: &'static str,
    /// The thumbprint of the key (RFC 7638, SHA-256).
    kid: &'a str,
}

impl<'a> From<&'a VerificationKey> for Jwk<'a> {
    fn from(key: &'a VerificationKey) -> Self {
        let (kty, crv, alg, x, y) = match &key.material {
            PublicKey::Ed25519(key) => ("OKP", "Ed25519", "EdDSA", key, None),
            PublicKey::P256 { x, y } => ("EC", "P-256", "ES256", x, Some(y)),
        };
        let encode = |bytes: &[u8; 32]| URL_SAFE_NO_PAD.encode(bytes);
        Self { kty, crv, x: encode(x), y: y.map(encode), usage: "sig", alg, kid: &key.id }
    }
}

/// The metadata of an authorization server (RFC 8414, section 2).
#[derive(Serialize, ToSchema)]
pub(crate) struct Metadata<'a> {
    /// What access tokens name in `iss`.
    issuer: &'a str,
    /// Where the verification keys are.
    jwks_uri: String,
    /// Where people read on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    service_documentation: Option<String>,
    /// Empty: there is no authorization endpoint.
    #[schema(value_type = Vec<String>)]
    response_types_supported: [&'static str; 0],
    /// Empty: there is no token endpoint of OAuth.
    #[schema(value_type = Vec<String>)]
    grant_types_supported: [&'static str; 0],
}

problems!();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p256_keys_have_both_coordinates() {
        let key =
            VerificationKey { id: "k".to_owned(), material: PublicKey::P256 { x: [0; 32], y: [255; 32] } };
        assert_eq!(
            serde_json::to_string(&Jwk::from(&key)).unwrap(),
            concat!(
                r#"{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","#,
                r#""y":"__________________________________________8","use":"sig","alg":"ES256","kid":"k"}"#
            )
        );
    }
}
