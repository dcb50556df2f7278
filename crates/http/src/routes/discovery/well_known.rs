//! `/.well-known/`: what resource servers need to verify access tokens.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::token::{PublicKey, VerificationKey};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::config::HttpConfig;
use crate::respond::json::{self, JSON};
use crate::respond::vocabulary;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Lists the public keys that verify access tokens
///
/// A JWK Set (RFC 7517). It holds keys of the previous, the current and the next period, and those of both signing
/// algorithms unless the operator limits it to one; the keys of the algorithm that signs come first. Select a key by its
/// `kid`, and ignore key types that you do not know. Fetch the set again after its `max-age`, and if a token names a `kid`
/// that it does not contain.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "discovery", operation_id = "getJwks",
    responses((status = 200, description = "The keys.", body = JwkSet)),
)]
pub(crate) async fn jwks(api: Data<ApiState>) -> HttpResponse {
    let keys = api.auth.verification_keys();
    let set = JwkSet { keys: keys.iter().map(Jwk::from).collect() };
    json::cacheable(JSON, json::to_json(&set).into())
}

/// Returns the metadata of the token issuer (RFC 8414)
///
/// There is no OAuth authorization endpoint and no OAuth token endpoint: configure a library that requires them with
/// `issuer` and `jwks_uri` instead of discovery.
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "discovery",
    operation_id = "getAuthorizationServerMetadata",
    responses((status = 200, description = "The metadata.", body = Metadata)),
)]
pub(crate) async fn metadata(document: Data<MetadataDocument>) -> HttpResponse {
    json::cacheable(JSON, document.0.clone())
}

/// Returns the metadata of the token issuer, for clients that look at this path
///
/// The same document as `/.well-known/oauth-authorization-server`. The service issues no ID tokens.
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "discovery", operation_id = "getOpenidConfiguration",
    responses((status = 200, description = "The metadata.", body = Metadata)),
)]
pub(crate) async fn openid_configuration(document: Data<MetadataDocument>) -> HttpResponse {
    json::cacheable(JSON, document.0.clone())
}

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route!(jwks, schemas(EcJwk<'static>, OkpJwk<'static>)).public(),
        route!(metadata).public(),
        route!(openid_configuration).public(),
    ]
}

/// The metadata, the same for every request: keys change, but not their algorithms.
#[derive(Debug)]
pub(crate) struct MetadataDocument(Bytes);

impl MetadataDocument {
    /// Creates the metadata of an issuer that publishes `keys`.
    pub(crate) fn new(config: &HttpConfig, keys: &[VerificationKey]) -> Self {
        // Keys of one algorithm are neighbours.
        let mut algorithms: Vec<_> = keys.iter().map(|key| algorithm(&key.material)).collect();
        algorithms.dedup();
        let metadata = Metadata {
            issuer: &config.issuer,
            jwks_uri: format!("{}/.well-known/jwks.json", config.public_url),
            service_documentation: config.docs.then(|| format!("{}/docs", config.public_url)),
            response_types_supported: [],
            grant_types_supported: [],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms,
        };
        Self(json::to_json(&metadata).into())
    }
}

/// A JWK Set (RFC 7517, section 5).
#[derive(Serialize, ToSchema)]
pub(crate) struct JwkSet<'a> {
    keys: Vec<Jwk<'a>>,
}

/// A public key (RFC 7517). `kty` tells the two shapes apart.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(discriminator(property_name = "kty", mapping(
    ("EC" = "#/components/schemas/EcJwk"),
    ("OKP" = "#/components/schemas/OkpJwk"),
)))]
pub(crate) enum Jwk<'a> {
    Ec(EcJwk<'a>),
    Okp(OkpJwk<'a>),
}

/// A public P-256 key, which verifies ES256 signatures (RFC 7518, section 6.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct EcJwk<'a> {
    #[schema(schema_with = ec)]
    kty: &'static str,
    #[schema(example = "P-256")]
    crv: &'static str,
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$", example = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")]
    x: String,
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$", example = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")]
    y: String,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    usage: &'static str,
    #[schema(example = "ES256")]
    alg: &'static str,
    /// The SHA-256 thumbprint of the key (RFC 7638).
    #[schema(example = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U")]
    kid: &'a str,
}

/// A public Ed25519 key, which verifies `EdDSA` signatures (RFC 8037, section 2).
#[derive(Serialize, ToSchema)]
pub(crate) struct OkpJwk<'a> {
    #[schema(schema_with = okp)]
    kty: &'static str,
    #[schema(example = "Ed25519")]
    crv: &'static str,
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$", example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    usage: &'static str,
    #[schema(example = "EdDSA")]
    alg: &'static str,
    /// The SHA-256 thumbprint of the key (RFC 7638).
    #[schema(example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    kid: &'a str,
}

fn ec() -> RefOr<Schema> {
    vocabulary::constant("EC")
}

fn okp() -> RefOr<Schema> {
    vocabulary::constant("OKP")
}

impl<'a> From<&'a VerificationKey> for Jwk<'a> {
    fn from(key: &'a VerificationKey) -> Self {
        let encode = |bytes: &[u8; 32]| URL_SAFE_NO_PAD.encode(bytes);
        let (usage, alg, kid) = ("sig", algorithm(&key.material), key.id.as_str());
        match &key.material {
            PublicKey::Ed25519(x) => {
                Self::Okp(OkpJwk { kty: "OKP", crv: "Ed25519", x: encode(x), usage, alg, kid })
            }
            PublicKey::P256 { x, y } => {
                Self::Ec(EcJwk { kty: "EC", crv: "P-256", x: encode(x), y: encode(y), usage, alg, kid })
            }
        }
    }
}

/// The `alg` of a key and of the tokens that it verifies (RFC 7518, section 3.1; RFC 8037, section 3.1).
const fn algorithm(key: &PublicKey) -> &'static str {
    match key {
        PublicKey::Ed25519(_) => "EdDSA",
        PublicKey::P256 { .. } => "ES256",
    }
}

/// The metadata of an authorization server (RFC 8414, section 2).
#[derive(Serialize, ToSchema)]
#[schema(as = AuthorizationServerMetadata)]
pub(crate) struct Metadata<'a> {
    /// The `iss` of access tokens.
    #[schema(format = "uri", example = "https://auth.example.com")]
    issuer: &'a str,
    /// The URL of the verification keys.
    #[schema(format = "uri", example = "https://auth.example.com/.well-known/jwks.json")]
    jwks_uri: String,
    /// The URL of the documentation page. Left out if the page is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "uri", example = "https://auth.example.com/docs")]
    service_documentation: Option<String>,
    /// Empty: there is no authorization endpoint.
    #[schema(value_type = Vec<String>)]
    response_types_supported: [&'static str; 0],
    /// Empty: there is no token endpoint of OAuth.
    #[schema(value_type = Vec<String>)]
    grant_types_supported: [&'static str; 0],
    /// A user has the same `sub` for every client.
    #[schema(value_type = Vec<String>)]
    subject_types_supported: [&'static str; 1],
    /// The algorithms of the published keys, the one that signs first. Libraries read this member to learn which
    /// algorithms to accept in tokens from this issuer; ID tokens are not issued.
    #[schema(value_type = Vec<String>, example = json!(["ES256", "EdDSA"]))]
    id_token_signing_alg_values_supported: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_lists_algorithms_in_the_order_of_keys() {
        let ed25519 = VerificationKey { id: "e".to_owned(), material: PublicKey::Ed25519([1; 32]) };
        let p256 =
            VerificationKey { id: "p".to_owned(), material: PublicKey::P256 { x: [1; 32], y: [2; 32] } };
        let listed = |keys: &[&VerificationKey]| {
            let keys: Vec<_> = keys.iter().map(|key| (*key).clone()).collect();
            let document = MetadataDocument::new(&HttpConfig::default(), &keys);
            let metadata: serde_json::Value = serde_json::from_slice(&document.0).unwrap();
            metadata["id_token_signing_alg_values_supported"].clone()
        };
        assert_eq!(listed(&[&p256, &p256, &ed25519, &ed25519]), serde_json::json!(["ES256", "EdDSA"]));
        assert_eq!(listed(&[&ed25519, &p256]), serde_json::json!(["EdDSA", "ES256"]));
        assert_eq!(listed(&[&p256, &p256]), serde_json::json!(["ES256"]));
    }

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
