//! The permits of one class of callers. One caller can easily fill a bounded queue, so an account, a network and a block of
//! networks each have only a few permits at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_domain::account::CanonicalName;
use portcullis_domain::client::{ClientInfo, Network, NetworkBlock, NetworkStatus};
use portcullis_domain::id::UserId;

/// A caller whose request hashes a password: its class, and the keys that its permits are counted by.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    class: Class,
    keys: Vec<RateKey>,
}

impl Caller {
    /// A client that registers.
    pub(crate) fn registering(client: &ClientInfo) -> Self {
        Self::of(Class::Anonymous, None, client)
    }

    /// A client that logs in under a name. Whether an account of that name exists makes no difference: a network is known
    /// only to accounts that were logged in to from there.
    pub(crate) fn logging_in(username: &str, client: &ClientInfo, network: NetworkStatus) -> Self {
        let class = match network {
            NetworkStatus::Known => Class::Recognized,
            NetworkStatus::Unknown => Class::Anonymous,
        };
        // A longer name is refused without a hash.
        let can_be_a_name = username.len() <= CanonicalName::MAX_LENGTH * char::MAX_LEN_UTF8;
        let name = can_be_a_name.then(|| RateKey::Name(CanonicalName::of(username)));
        Self::of(class, name, client)
    }

    /// A user who is logged in.
    pub(crate) fn user(user: UserId, client: &ClientInfo) -> Self {
        Self::of(Class::Recognized, Some(RateKey::User(user)), client)
    }

    pub(crate) fn class(&self) -> Class {
        self.class
    }

    fn of(class: Class, account: Option<RateKey>, client: &ClientInfo) -> Self {
        let network = client.network();
        let networks = network.map(|network| [RateKey::Network(network), RateKey::Block(network.block())]);
        Self { class, keys: account.into_iter().chain(networks.into_iter().flatten()).collect() }
    }
}

/// The class of a caller, which has a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The caller holds an access token, or logs in from a network that the account knows.
    Recognized,
    /// Everyone else: registrations, and logins from networks that the account doesn't know.
    Anonymous,
}

/// A key that permits are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RateKey {
    Name(CanonicalName),
    User(UserId),
    Network(Network),
    Block(NetworkBlock),
}

/// Permits of one account: one for each device that its owner may pick up at once. Parallel guesses get no more.
const MOST_PER_ACCOUNT: usize = 3;

/// Permits of one IPv4 address or IPv6 /64, and never more than half of the class: the other half is left to others.
const MOST_PER_ADDRESS: usize = 6;

/// Permits of one IPv4 /24 or IPv6 /48, and never more than half of the class. Twice as many as of one address, because
/// mobile providers place many customers in one block.
const MOST_PER_BLOCK: usize = 12;

/// The permits that one class has given out. The map never has more entries than the capacity of the class allows.
#[derive(Debug)]
pub(crate) struct FairShare {
    half: usize,
    taken: Mutex<HashMap<RateKey, usize>>,
}

impl FairShare {
    /// Creates the permits of a class with this capacity.
    pub(crate) fn of(capacity: usize) -> Self {
        Self { half: capacity.div_ceil(2), taken: Mutex::default() }
    }

    /// Takes a permit; `None` if one of the caller's keys has no permit left.
    pub(crate) fn admit(self: &Arc<Self>, caller: &Caller) -> Option<Permit> {
        let mut taken = self.lock();
        let has_room = |key: &RateKey| taken.get(key).is_none_or(|count| *count < self.most(key));
        if !caller.keys.iter().all(has_room) {
            return None;
        }
        for key in &caller.keys {
            *taken.entry(key.clone()).or_default() += 1;
        }
        Some(Permit { share: Arc::clone(self), keys: caller.keys.clone() })
    }

    fn most(&self, key: &RateKey) -> usize {
        let most = match key {
            RateKey::Name(_) | RateKey::User(_) => MOST_PER_ACCOUNT,
            RateKey::Network(_) => MOST_PER_ADDRESS,
            RateKey::Block(_) => MOST_PER_BLOCK,
        };
        most.min(self.half)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RateKey, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    share: Arc<FairShare>,
    keys: Vec<RateKey>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.share.lock();
        for key in &self.keys {
            match taken.get_mut(key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(taken.remove(key)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::SeededRandom;
    use portcullis_testkit::fixtures::NOW;

    use super::*;

    fn from(address: &str) -> ClientInfo {
        ClientInfo::new(Some(address.parse().unwrap()), None)
    }

    /// A login from a network that the account does not know.
    fn login(name: &str, address: &str) -> Caller {
        Caller::logging_in(name, &from(address), NetworkStatus::Unknown)
    }

    /// How many of these callers get a permit before the first that does not.
    fn admitted(callers: impl IntoIterator<Item = Caller>) -> usize {
        let share = Arc::new(FairShare::of(100));
        let permits: Vec<_> = callers.into_iter().map_while(|caller| share.admit(&caller)).collect();
        permits.len()
    }

    #[test]
    fn account_has_few_permits_from_any_network() {
        for network in [NetworkStatus::Known, NetworkStatus::Unknown] {
            let login = |n: usize| {
                let name = ["Alice", "aLICE", "alice"][n % 3];
                Caller::logging_in(name, &from(&format!("192.0.{n}.1")), network)
            };
            assert_eq!(admitted((0..9).map(login)), MOST_PER_ACCOUNT, "{network:?}");
        }
        let user = UserId::new(NOW, &SeededRandom::new(1));
        let change = |n: usize| Caller::user(user, &from(&format!("192.0.{n}.1")));
        assert_eq!(admitted((0..9).map(change)), MOST_PER_ACCOUNT);
    }

    #[test]
    fn address_has_few_permits_for_all_accounts() {
        assert_eq!(admitted((0..9).map(|n| login(&format!("user-{n}"), "192.0.2.1"))), MOST_PER_ADDRESS);

        let register = |n: usize| Caller::registering(&from(&format!("2001:db8::{n}")));
        assert_eq!(admitted((0..9).map(register)), MOST_PER_ADDRESS, "a /64 is one");
    }

    #[test]
    fn neighbouring_networks_share_the_permits_of_their_block() {
        let in_a_48 = |n: usize| login(&format!("user-{n}"), &format!("2001:db8:7:{n:x}::1"));
        assert_eq!(admitted((0..99).map(in_a_48)), MOST_PER_BLOCK);
        let in_a_24 = |n: usize| login(&format!("user-{n}"), &format!("192.0.2.{n}"));
        assert_eq!(admitted((0..99).map(in_a_24)), MOST_PER_BLOCK);
        let registrations = |n: usize| Caller::registering(&from(&format!("2001:db8:7:{n:x}::1")));
        assert_eq!(admitted((0..99).map(registrations)), MOST_PER_BLOCK);

        let in_other_48s = |n: usize| login(&format!("user-{n}"), &format!("2001:db8:{n:x}::1"));
        assert_eq!(admitted((0..99).map(in_other_48s)), 99);
        let in_other_24s = |n: usize| login(&format!("user-{n}"), &format!("192.0.{n}.1"));
        assert_eq!(admitted((0..99).map(in_other_24s)), 99);
    }

    #[test]
    fn recognized_callers_share_permits_by_block_too() {
        let own_account = |n: usize| {
            let client = from(&format!("2001:db8:7:{n:x}::1"));
            Caller::logging_in(&format!("user-{n}"), &client, NetworkStatus::Known)
        };
        assert_eq!(admitted((0..99).map(own_account)), MOST_PER_BLOCK);
    }

    #[test]
    fn no_key_has_more_than_half_of_a_small_class() {
        for (capacity, per_address, per_block) in [(1, 1, 1), (4, 2, 2), (5, 3, 3), (12, 6, 6), (20, 6, 10)] {
            let most = |login: fn(usize) -> Caller| {
                let share = Arc::new(FairShare::of(capacity));
                let permits: Vec<_> = (0..99).map_while(|n| share.admit(&login(n))).collect();
                permits.len()
            };
            let one_address = |n| login(&format!("user-{n}"), "192.0.2.1");
            let one_block = |n| login(&format!("user-{n}"), &format!("2001:db8:7:{n:x}::1"));
            assert_eq!((most(one_address), most(one_block)), (per_address, per_block), "of {capacity}");
        }
    }

    #[test]
    fn class_follows_from_token_or_known_network() {
        let client = from("192.0.2.1");
        let login = |network| Caller::logging_in("alice", &client, network).class();
        assert_eq!(login(NetworkStatus::Known), Class::Recognized);
        assert_eq!(login(NetworkStatus::Unknown), Class::Anonymous);
        assert_eq!(Caller::registering(&client).class(), Class::Anonymous);
        let user = UserId::new(NOW, &SeededRandom::new(1));
        assert_eq!(Caller::user(user, &client).class(), Class::Recognized);
    }

    #[test]
    fn caller_without_address_and_name_is_not_counted() {
        let unknown = ClientInfo::default();
        assert_eq!(admitted((0..9).map(|_| Caller::registering(&unknown))), 9);
        let long = "x".repeat(CanonicalName::MAX_LENGTH * 4 + 1);
        let login = |_| Caller::logging_in(&long, &unknown, NetworkStatus::Unknown);
        assert_eq!(admitted((0..9).map(login)), 9);
    }

    #[test]
    fn returned_permit_goes_to_the_next_caller() {
        let share = Arc::new(FairShare::of(100));
        let alice = login("alice", "192.0.2.1");
        let mut permits: Vec<_> = (0..MOST_PER_ACCOUNT).map(|_| share.admit(&alice).unwrap()).collect();
        assert!(share.admit(&alice).is_none());
        permits.pop();
        permits.push(share.admit(&alice).unwrap());
        assert!(share.admit(&alice).is_none());
        drop(permits);
        assert!(share.lock().is_empty(), "no key of a caller that left is kept");
    }

    #[test]
    fn refused_caller_takes_no_permit() {
        let share = Arc::new(FairShare::of(100));
        let _permits: Vec<_> = (0..MOST_PER_ACCOUNT)
            .map(|n| share.admit(&login("alice", ["192.0.2.1", "198.51.100.1"][n % 2])))
            .collect();
        assert!(share.admit(&login("alice", "203.0.113.1")).is_none());
        let network = Network::of("203.0.113.1".parse().unwrap());
        for key in [RateKey::Network(network), RateKey::Block(network.block())] {
            assert_eq!(share.lock().get(&key), None);
        }
    }
}
