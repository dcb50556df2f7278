//! The keys of a deployment: all derived from its secrets, none stored.
//!
//! Access tokens are signed with the key of the *epoch* that their `iat` lies in: time is cut into epochs of one
//! length, counted from 1970, and every epoch has a key of its own. So keys replace themselves, and all instances
//! have the same ones without talking. At any time the keys of the epoch before, of this one and of the next are
//! known and published: tokens outlive their epoch a little, and a verifier that fetched the keys just before an epoch
//! began already has its key.
//!
//! The ring always holds the keys of every [`SigningAlgorithm`], although one algorithm signs. Instances can therefore
//! change the algorithm one after the other, and each of them accepts the tokens of the others.

mod derivation;
mod epoch;
mod signing;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_domain::time::UnixTime;
use portcullis_domain::token::VerificationKey;

pub(crate) use derivation::RootKey;
pub use derivation::SecretFingerprint;
pub(crate) use epoch::Epoch;
pub use epoch::{InvalidKeyRotation, KeyRotation};
pub use signing::SigningAlgorithm;
pub(crate) use signing::{SigningKey, VerifyingKey};

use crate::secret::Secrets;

/// The keys that sign and verify access tokens at any time.
pub struct KeyRing {
    /// Signs; the others only verify.
    algorithm: SigningAlgorithm,
    rotation: KeyRotation,
    published: PublishedKeys,
    /// The root of the current secret, which signs.
    current: RootKey,
    /// The roots of the accepted secrets, whose keys only verify.
    accepted: Vec<RootKey>,
    /// The newest keys asked for.
    keys: RwLock<Arc<Keys>>,
}

/// The keys around one epoch.
pub(crate) struct Keys {
    /// Two rings of one deployment hold the same keys exactly when this is the same.
    pub(crate) epoch: Epoch,
    /// Signs, in this epoch alone.
    pub(crate) signing: SigningKey,
    /// The algorithm that signs first; of each algorithm every secret, the current one first; of each secret the epochs
    /// before, now and next.
    pub(crate) verifying: Vec<VerifyingKey>,
}

impl KeyRing {
    /// The ring over these secrets, with the keys around `now` derived.
    pub fn new(secrets: &Secrets, algorithm: SigningAlgorithm, rotation: KeyRotation, now: UnixTime) -> Self {
        let current = RootKey::of(secrets.current());
        let accepted: Vec<_> = secrets.accepted().iter().map(RootKey::of).collect();
        let keys = Keys::derive(algorithm, Epoch::containing(now, rotation), &current, &accepted);
        let published = PublishedKeys::default();
        Self { algorithm, rotation, published, current, accepted, keys: RwLock::new(Arc::new(keys)) }
    }

    /// Sets which keys the key set lists. Every key of the ring still verifies.
    #[must_use]
    pub fn publishing(self, published: PublishedKeys) -> Self {
        Self { published, ..self }
    }

    /// Returns whether the key set lists `key`.
    pub fn publishes(&self, key: &ListedKey) -> bool {
        match self.published {
            PublishedKeys::Both => true,
            PublishedKeys::Signing => key.algorithm == self.algorithm,
        }
    }

    /// Returns the public keys that verify tokens at `now`, those of the signing algorithm first.
    pub fn list(&self, now: UnixTime) -> Vec<ListedKey> {
        self.at(now).verifying.iter().map(|key| key.listed().clone()).collect()
    }

    /// The keys around the epoch that `now` lies in. Derives them when they are not the ones asked for last: once an
    /// epoch, for clocks do not run backwards.
    pub(crate) fn at(&self, now: UnixTime) -> Arc<Keys> {
        let known = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        if known.epoch.contains(now) {
            return known;
        }
        let epoch = Epoch::containing(now, self.rotation);
        let derived = Arc::new(Keys::derive(self.algorithm, epoch, &self.current, &self.accepted));
        let mut newest = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // A caller that read the clock just before the epoch turned must not turn it back for all others.
        if newest.epoch < epoch {
            *newest = Arc::clone(&derived);
        }
        derived
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("algorithm", &self.algorithm)
            .field("rotation", &self.rotation)
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

impl Keys {
    fn derive(algorithm: SigningAlgorithm, now: Epoch, current: &RootKey, accepted: &[RootKey]) -> Self {
        let (signing, _) = signing::derive(algorithm, current, now, KeyUse::Signs);
        let mut verifying = Vec::new();
        for other in algorithm.then_other() {
            let current_use = if other == algorithm { KeyUse::Signs } else { KeyUse::Verifies };
            let roots = std::iter::once((current, current_use))
                .chain(accepted.iter().map(|root| (root, KeyUse::Verifies)));
            for (root, key_use) in roots {
                verifying.extend(
                    now.with_neighbours().map(|epoch| signing::derive(other, root, epoch, key_use).1),
                );
            }
        }
        Self { epoch: now, signing, verifying }
    }
}

/// A public key of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// The key as it is published.
    pub key: VerificationKey,
    /// The algorithm of its signatures.
    pub algorithm: SigningAlgorithm,
    /// The first moment that tokens are signed with it.
    pub from: UnixTime,
    /// The first moment that they are not any more.
    pub until: UnixTime,
    /// What it is there for.
    pub key_use: KeyUse,
}

/// What a key of the ring is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// A key of the current secret and the signing algorithm: signs in its epoch.
    Signs,
    /// A key of an accepted secret or of another algorithm: never signs.
    Verifies,
}

/// The keys of the ring that the key set lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublishedKeys {
    /// The keys of both algorithms, so that a change of the algorithm needs no preparation.
    #[default]
    Both,
    /// The keys of the signing algorithm, for verifiers that reject a key set with a key type they do not know.
    Signing,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base16ct::lower::encode_string;
    use portcullis_domain::token::PublicKey;

    use super::*;
    use crate::secret::Secret;

    const SECRET: &str = "pcs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const WEEK: i64 = 7 * 86_400;

    /// An epoch of the default length begins here.
    const START: i64 = 1_799_884_800;

    fn secrets(current: &str, accepted: &[&str]) -> Secrets {
        let parse = |text: &&str| Secret::parse_for_development(text).unwrap();
        Secrets::new(parse(&current), accepted.iter().map(parse))
    }

    fn ring(secrets: &Secrets, algorithm: SigningAlgorithm) -> KeyRing {
        KeyRing::new(secrets, algorithm, KeyRotation::default(), UnixTime::from_secs(START))
    }

    fn ids(ring: &KeyRing, secs: i64) -> Vec<String> {
        ring.list(UnixTime::from_secs(secs)).into_iter().map(|listed| listed.key.id).collect()
    }

    /// Checked against the Python package `cryptography`.
    #[test]
    fn public_keys_are_what_they_were_in_every_version() {
        let listed = ring(&secrets(SECRET, &[]), SigningAlgorithm::EdDsa).list(UnixTime::from_secs(START));
        let expected = [
            (
                "cr-MjNBkSSC_6iRFaMiFSkdpSK_jNNVUwayoSC5MtFU",
                "51a9e15ffd23f80986340dc86dcc5ecce82086f2dbcf82167b76519148a9c793",
            ),
            (
                "bxnROF-9Qm2WsyQJu1QodkFyYahSO1zmHmqfnvyXreY",
                "400b93df2a0b94fb2d9f6fd398cb4d8e1087d1e2b603392f4dae0d4ebfd876eb",
            ),
            (
                "bdOeD_HBCeogPCZ1F0qQ0YHpFAOw7SqZzYEaPZ-_Id4",
                "44422d9a18eeb4c885ce0a06afc95a2f14a70c4c86d39d5b7734ea11f6b1d51a",
            ),
        ];
        for (listed, (id, x)) in listed.iter().zip(expected) {
            assert_eq!(listed.key.id, id);
            assert!(
                matches!(listed.key.material, PublicKey::Ed25519(key) if encode_string(&key) == x),
                "{listed:?}"
            );
        }

        let listed = ring(&secrets(SECRET, &[]), SigningAlgorithm::Es256).list(UnixTime::from_secs(START));
        let id = "NxmOQIxSL-41TdhTYKWHt6pdjNPO9j0fRDSaRwkNSkQ";
        let x = "a8fa24faf1b60d27d5cf7c99615c73b724bc7c5876cfd1f866707ddc2c264347";
        let y = "e469667e13f8df63a043db4bb891bb347cca23a9b1059bc57a2e8ba96b5a046d";
        let PublicKey::P256 { x: got_x, y: got_y } = listed[1].key.material else {
            panic!("{listed:?}");
        };
        assert_eq!(
            (listed[1].key.id.as_str(), encode_string(&got_x).as_str(), encode_string(&got_y).as_str()),
            (id, x, y)
        );
    }

    #[test]
    fn the_ring_holds_three_epochs_of_every_secret_and_algorithm() {
        for algorithm in SigningAlgorithm::ALL {
            let both = ring(&secrets("new", &["old"]), algorithm);
            let [new, old] = ["new", "old"].map(|text| ids(&ring(&secrets(text, &[]), algorithm), START));
            assert_eq!(ids(&both, START), [&new[..3], &old[..3], &new[3..], &old[3..]].concat());

            let listed = both.list(UnixTime::from_secs(START));
            let times = |listed: &ListedKey| (listed.from.as_secs() - START, listed.until.as_secs() - START);
            assert_eq!(
                listed.iter().map(times).collect::<Vec<_>>(),
                [(-WEEK, 0), (0, WEEK), (WEEK, 2 * WEEK)].repeat(4)
            );
            let of_signing = listed.iter().map(|listed| listed.algorithm == algorithm).collect::<Vec<_>>();
            assert_eq!(of_signing, [[true; 6], [false; 6]].concat(), "the signing algorithm first");
            let uses = listed.iter().map(|listed| listed.key_use).collect::<Vec<_>>();
            assert_eq!(uses, [&[KeyUse::Signs; 3][..], &[KeyUse::Verifies; 9]].concat());
        }
    }

    #[test]
    fn rings_of_either_algorithm_hold_the_same_keys() {
        let [es256, eddsa] =
            SigningAlgorithm::ALL.map(|algorithm| ids(&ring(&secrets("a", &["b"]), algorithm), START));
        assert_eq!((&es256[..6], &es256[6..]), (&eddsa[6..], &eddsa[..6]));
    }

    #[test]
    fn jw_26_the_ring_turns_by_itself() {
        for algorithm in SigningAlgorithm::ALL {
            let ring = ring(&secrets(SECRET, &[]), algorithm);
            let (before, last, after) =
                (ids(&ring, START), ids(&ring, START + WEEK - 1), ids(&ring, START + WEEK));
            assert_eq!(last, before);
            for (before, after) in before.chunks(3).zip(after.chunks(3)) {
                assert_eq!(after[..2], before[1..]);
                assert!(!before.contains(&after[2]));
            }
            let much_later = ids(&ring, START + 52 * WEEK);
            assert!(much_later.iter().all(|id| !after.contains(id)));
        }
    }

    #[test]
    fn a_reader_of_the_last_epoch_does_not_turn_the_ring_back() {
        let ring = ring(&secrets(SECRET, &[]), SigningAlgorithm::EdDsa);
        let (old, new) = (UnixTime::from_secs(START), UnixTime::from_secs(START + WEEK));
        let turned = ring.at(new);
        let late = ring.at(old);
        assert!(late.epoch.contains(old));
        assert!(Arc::ptr_eq(&turned, &ring.at(new)), "the new keys are derived once");
        let moment = Duration::from_secs(1);
        assert!(Arc::ptr_eq(&turned, &ring.at(new + moment)), "and kept");
    }

    #[test]
    fn every_algorithm_secret_and_length_has_keys_of_its_own() {
        let rotation = KeyRotation::new(Duration::from_hours(24), Duration::from_mins(15)).unwrap();
        let mut all: Vec<String> = [KeyRotation::default(), rotation]
            .into_iter()
            .map(|rotation| {
                let (secrets, now) = (secrets("a", &["b"]), UnixTime::from_secs(START));
                KeyRing::new(&secrets, SigningAlgorithm::default(), rotation, now)
            })
            .flat_map(|ring| ids(&ring, START))
            .collect();
        assert_eq!(all.len(), 2 * 2 * 6);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 2 * 2 * 6);
    }
}
