//! Promises of [`PasswordHasher`].

use portcullis_domain::password::policy::PasswordPolicy;
use portcullis_domain::password::{
    AcceptedPassword, HashError, PasswordHash, PasswordHasher, PlaintextPassword, Verdict,
};

/// A hash is of its own password and of no other, and not outdated when it was just made.
pub fn verifies_what_it_made(hasher: &dyn PasswordHasher) {
    let hash = hash(hasher, "Corr3ct-horse battery");
    assert_eq!(verify(hasher, "Corr3ct-horse battery", &hash), Verdict::Match);
    for other in [
        "",
        "corr3ct-horse battery",
        "Corr3ct-horse batter",
        "Corr3ct-horse battery ",
        "Corr3ct-horse\0battery",
    ] {
        assert_eq!(verify(hasher, other, &hash), Verdict::Mismatch, "{other:?}");
    }
}

/// Two hashes of one password differ.
// MUST hasher-salt
pub fn salts(hasher: &dyn PasswordHasher) {
    let made = [(); 3].map(|()| hash(hasher, "Corr3ct-horse battery"));
    for (n, hash) in made.iter().enumerate() {
        assert!(made[..n].iter().all(|earlier| earlier.expose() != hash.expose()));
    }
}

/// A password of 256 code points, the longest allowed, differs from one in which a single character is another:
/// around the 72nd byte, where bcrypt alone would stop looking, and at the end.
// MUST hasher-every-character
pub fn tells_every_character_apart(hasher: &dyn PasswordHasher) {
    for letter in ["x", "\u{1f980}"] {
        let password = letter.repeat(PlaintextPassword::MAX_LENGTH);
        let hash = hash(hasher, &password);
        assert_eq!(verify(hasher, &password, &hash), Verdict::Match);
        for at in [0, 17, 18, 55, 70, 71, 72, 73, 254, 255] {
            let other: String =
                (0..PlaintextPassword::MAX_LENGTH).map(|n| if n == at { "y" } else { letter }).collect();
            assert_eq!(verify(hasher, &other, &hash), Verdict::Mismatch, "{letter} {at}");
        }
        let shorter = letter.repeat(PlaintextPassword::MAX_LENGTH - 1);
        assert_eq!(verify(hasher, &shorter, &hash), Verdict::Mismatch, "{letter}");
    }
}

/// What does not parse, or asks for hours of work or gigabytes of memory, is unusable; the answer comes at once, since
/// otherwise this test would take those hours.
// ASVS 11.2.5
// MUST hasher-unusable
pub fn refuses_unusable_hashes(hasher: &dyn PasswordHasher) {
    let scrypt = format!("scrypt:1073741824:8:16$salt${}", "ab".repeat(64));
    let pbkdf2 = format!("pbkdf2:sha512:4294967295$salt${}", "ab".repeat(64));
    let not_ascii = "\u{e9}".repeat(30);
    for hash in [
        "",
        "$",
        "\0",
        "nonsense",
        "$unknown$v=1$salt$digest",
        &not_ascii,
        "$2b$31$n79VH.0Q2TMWmt3Oqt9ukuKq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$bcrypt-sha256$v=2,t=2b,r=31$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWRpZ2VzdHNvbWVkaWdlc3Rzb21lZGlnZXN0c28",
        "$argon2id$v=19$m=65536,t=100000,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWRpZ2VzdHNvbWVkaWdlc3Rzb21lZGlnZXN0c28",
        &scrypt,
        &pbkdf2,
    ] {
        let answer = hasher.verify(&attempt("password"), &PasswordHash::new(hash.to_owned()));
        assert!(matches!(answer, Err(HashError::Unusable(_))), "{hash}: {answer:?}");
    }
}

/// A match against a hash that is weaker than [`PasswordHasher::hash`] makes is outdated; `weaker` makes such hashes.
// ASVS 11.2.2 11.4.2
// MUST hasher-outdated
pub fn reports_weaker_hashes_as_outdated(hasher: &dyn PasswordHasher, weaker: &dyn PasswordHasher) {
    let hash = hash(weaker, "Corr3ct-horse battery");
    assert_eq!(verify(hasher, "Corr3ct-horse battery", &hash), Verdict::MatchOutdated);
    assert_eq!(verify(hasher, "Corr3ct-horse batterz", &hash), Verdict::Mismatch);
}

/// One password in two Unicode spellings is one password.
pub fn hashes_the_password_in_nfc(hasher: &dyn PasswordHasher) {
    let hash = hash(hasher, "Cafe\u{301} 2027");
    assert_eq!(verify(hasher, "Caf\u{e9} 2027", &hash), Verdict::Match);
    assert_eq!(verify(hasher, "Cafe\u{301} 2027", &hash), Verdict::Match);
}

fn hash(hasher: &dyn PasswordHasher, password: &str) -> PasswordHash {
    hasher.hash(&accepted(password)).expect("hashing works")
}

fn verify(hasher: &dyn PasswordHasher, password: &str, hash: &PasswordHash) -> Verdict {
    hasher.verify(&attempt(password), hash).expect("its own hashes are usable")
}

fn attempt(password: &str) -> PlaintextPassword {
    PlaintextPassword::new(password.to_owned())
}

fn accepted(password: &str) -> AcceptedPassword {
    let anything = PasswordPolicy { min_length: 0, forbid_common: false, ..PasswordPolicy::nist() };
    anything.accept(&attempt(password), "").expect("the policy asks for nothing")
}
