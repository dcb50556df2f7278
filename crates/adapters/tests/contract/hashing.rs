//! The password hasher honours the contract with either scheme.

use std::sync::Arc;

use portcullis_adapters::hashing::{BcryptCost, HashScheme, SchemeHasher};
use portcullis_testkit::SeededRandom;
use portcullis_testkit::contract::password_hasher;

fn hasher(scheme: HashScheme) -> SchemeHasher {
    SchemeHasher::new(scheme, Arc::new(SeededRandom::new(3)))
}

fn bcrypt(cost: u32) -> SchemeHasher {
    hasher(HashScheme::BcryptSha256 { cost: BcryptCost::new(cost).unwrap() })
}

macro_rules! password_hasher_contract {
    ($($module:ident: $hasher:expr, weaker: $weaker:expr;)*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn verifies_what_it_made() {
                password_hasher::verifies_what_it_made(&$hasher);
            }

            #[test]
            fn salts() {
                password_hasher::salts(&$hasher);
            }

            #[test]
            fn tells_every_character_apart() {
                password_hasher::tells_every_character_apart(&$hasher);
            }

            #[test]
            fn refuses_unusable_hashes() {
                password_hasher::refuses_unusable_hashes(&$hasher);
            }

            #[test]
            fn reports_weaker_hashes_as_outdated() {
                password_hasher::reports_weaker_hashes_as_outdated(&$hasher, &$weaker);
            }

            #[test]
            fn hashes_the_password_in_nfc() {
                password_hasher::hashes_the_password_in_nfc(&$hasher);
            }
        }
    )*};
}

password_hasher_contract! {
    bcrypt_sha256: bcrypt(5), weaker: bcrypt(4);
    argon2id: hasher(HashScheme::Argon2id), weaker: bcrypt(4);
}

#[test]
fn a_change_of_scheme_outdates_what_the_other_made() {
    password_hasher::reports_weaker_hashes_as_outdated(&bcrypt(5), &hasher(HashScheme::Argon2id));
}
