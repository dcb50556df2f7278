//! Wycheproof's vectors (`tests/data/wycheproof`): whole against the codec, and by signature against the layer below.

use serde_json::Value;

use super::*;
use crate::keys::{Epoch, KeyUse};

const JWS: &str = include_str!("../../../../tests/data/wycheproof/json_web_signature_test.json");
const ED25519: &str = include_str!("../../../../tests/data/wycheproof/ed25519_test.json");
const P256: &str = include_str!("../../../../tests/data/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json");

/// The groups of a file, each of which has a key, with their vectors. No vector is left out.
fn groups(file: &str) -> Vec<(Value, Vec<Value>)> {
    let file: Value = serde_json::from_str(file).unwrap();
    let groups = file["testGroups"].as_array().unwrap().iter();
    let groups: Vec<_> =
        groups.map(|group| (group.clone(), group["tests"].as_array().unwrap().clone())).collect();
    let vectors: usize = groups.iter().map(|(_, tests)| tests.len()).sum();
    assert_eq!(file["numberOfTests"], vectors);
    groups
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn is_valid(test: &Value) -> bool {
    match text(&test["result"]) {
        "valid" => true,
        "invalid" => false,
        other => panic!("{other}"),
    }
}

fn hex(digits: &Value) -> Vec<u8> {
    base16ct::mixed::decode_vec(text(digits)).unwrap()
}

/// The key of a group of signatures.
fn key(group: &Value) -> VerifyingKey {
    let key = &group["publicKey"];
    match text(&group["type"]) {
        "EddsaVerify" => {
            assert_eq!(text(&key["curve"]), "edwards25519");
            verifying(PublicKey::Ed25519(hex(&key["pk"]).try_into().unwrap()))
        }
        "EcdsaP1363Verify" => {
            assert_eq!([text(&key["curve"]), text(&group["sha"])], ["secp256r1", "SHA-256"]);
            let point = hex(&key["uncompressed"]);
            let (form, point) = point.split_first().unwrap();
            let (x, y) = point.split_at(32);
            assert_eq!(*form, 4);
            verifying(PublicKey::P256 { x: x.try_into().unwrap(), y: y.try_into().unwrap() })
        }
        other => panic!("{other}"),
    }
}

/// The key of a JWK on P-256.
fn key_of_jwk(jwk: &Value) -> VerifyingKey {
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(text(&jwk[name])).unwrap().try_into().unwrap();
    verifying(PublicKey::P256 { x: coordinate("x"), y: coordinate("y") })
}

fn verifying(material: PublicKey) -> VerifyingKey {
    VerifyingKey::of(material, Epoch::containing(NOW, KeyRotation::default()), KeyUse::Verifies)
}

#[test]
fn no_jws_of_another_header_is_accepted() {
    let vectors: Vec<_> = groups(JWS).into_iter().flat_map(|(_, tests)| tests).collect();
    assert_eq!(vectors.len(), 401);
    for codec in [codec(), codec_of(SigningAlgorithm::Es256)] {
        for test in &vectors {
            // The vectors of the JSON serialisation are objects.
            let jws = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            assert_eq!(codec.verify(&jws, NOW).err(), Some(InvalidToken), "{test}");
        }
    }
}

/// What a key is for (`use`, `key_ops`) is no matter of signatures: there the signature of the first vector is good.
#[test]
fn jws_of_p256_verify_exactly_when_they_are_valid() {
    let mut ran = Vec::new();
    for (group, tests) in groups(JWS) {
        if group["public"]["crv"] != "P-256" {
            continue;
        }
        let key = key_of_jwk(&group["public"]);
        let mut verified = Vec::new();
        for test in &tests {
            let signed = text(&test["jws"])
                .rsplit_once('.')
                .is_some_and(|(message, signature)| key.signed(message.as_bytes(), signature));
            let about_use = matches!(text(&test["comment"]), "rejectWrongUse" | "rejectWrongKeyOps");
            assert_eq!(signed, is_valid(test) || about_use, "{test}");
            if signed {
                verified.push(test["tcId"].as_u64().unwrap());
            }
        }
        ran.push((tests.len(), verified));
    }
    assert_eq!(ran, [(15, vec![18]), (1, vec![354]), (1, vec![356]), (24, vec![378])]);
}

/// Groups, and vectors refused and verified.
#[track_caller]
fn check(file: &str, expected: (usize, [usize; 2])) {
    let groups = groups(file);
    let mut ran = [0, 0];
    for (group, tests) in &groups {
        let key = key(group);
        for test in tests {
            let signature = URL_SAFE_NO_PAD.encode(hex(&test["sig"]));
            let signed = key.signed(&hex(&test["msg"]), &signature);
            assert_eq!(signed, is_valid(test), "{test}");
            ran[usize::from(signed)] += 1;
        }
        assert!(!tests.is_empty(), "{group}");
    }
    assert_eq!((groups.len(), ran), expected);
}

#[test]
fn signatures_of_ed25519_verify_exactly_when_they_are_valid() {
    check(ED25519, (78, [63, 88]));
}

#[test]
fn signatures_of_p256_verify_exactly_when_they_are_valid() {
    check(P256, (112, [89, 173]));
}
