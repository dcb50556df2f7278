//! Who is calling, as far as the network tells.

use std::net::{IpAddr, Ipv6Addr};

/// The caller's address and user agent, kept with sessions and security events.
///
/// ```
/// use portcullis_domain::client::ClientInfo;
///
/// let client = ClientInfo::new("203.0.113.7".parse().ok(), Some("curl/8\r\nX-Evil: 1"));
/// assert_eq!(client.agent(), Some("curl/8  X-Evil: 1"), "control characters become spaces");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    address: Option<IpAddr>,
    agent: Option<String>,
}

impl ClientInfo {
    /// The longest user agent kept, in code points; a header may be kilobytes long.
    pub const MAX_AGENT: usize = 256;

    /// Takes what the transport knows; the agent is cut to [`Self::MAX_AGENT`], its control characters and those that
    /// turn the direction of writing become spaces, and an IPv4-mapped IPv6 address becomes the IPv4 address.
    pub fn new(address: Option<IpAddr>, agent: Option<&str>) -> Self {
        let clean = |c: char| if c.is_control() || is_invisible(c) { ' ' } else { c };
        Self {
            address: address.map(|a| a.to_canonical()),
            agent: agent.map(|a| a.chars().take(Self::MAX_AGENT).map(clean).collect()),
        }
    }

    /// The same as security events keep it, which outlive sessions: of an IPv6 address only the /64, which is what one
    /// customer of a provider gets, for the rest of it may name a single device for years. An IPv4 address stays whole.
    ///
    /// ```
    /// use portcullis_domain::client::ClientInfo;
    ///
    /// let kept = |address: &str| ClientInfo::new(address.parse().ok(), None).for_events().address();
    /// assert_eq!(kept("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::".parse().ok());
    /// assert_eq!(kept("::ffff:192.0.2.1"), "192.0.2.1".parse().ok());
    /// ```
    #[must_use]
    pub fn for_events(&self) -> Self {
        Self { address: self.network().map(Network::address), agent: self.agent.clone() }
    }

    /// The network address, when there is one (a command line has none).
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The network of that address.
    pub fn network(&self) -> Option<Network> {
        self.address.map(Network::of)
    }

    /// The user agent, when the client sent one.
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }
}

/// The network a client connects from, used as a rate-limit key: an IPv4 address, or the IPv6 /64 that one customer of a
/// provider gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address. An IPv4-mapped IPv6 address is one of IPv4.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => IpAddr::V6(prefix_of(address, 64)),
        })
    }

    /// Its first address.
    pub const fn address(self) -> IpAddr {
        self.0
    }

    /// The block of networks that it belongs to.
    pub fn block(self) -> NetworkBlock {
        NetworkBlock(match self.0 {
            IpAddr::V4(address) => IpAddr::V4((address.to_bits() >> 8 << 8).into()),
            IpAddr::V6(address) => IpAddr::V6(prefix_of(address, 48)),
        })
    }
}

/// Neighbouring networks that one party can rent or is assigned as a whole: an IPv4 /24, or the IPv6 /48 of one site
/// (RFC 6177). Mobile providers place unrelated customers in one block, so a block may have more than a network may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkBlock(IpAddr);

/// Whether an account knows the network that a client connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkStatus {
    /// A login to the account succeeded from there within [`KNOWN_FOR`](crate::throttle::KNOWN_FOR).
    Known,
    /// No login succeeded from there lately, the client has no address, or the account does not exist.
    Unknown,
}

/// The first `bits` of an address, followed by zeros.
fn prefix_of(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    let rest = 128 - bits;
    (address.to_bits() >> rest << rest).into()
}

/// What shows nothing, but changes how the rest is shown: on an operator's terminal it could hide or reorder text.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    // ASVS 1.3.3
    #[test]
    fn long_agents_are_cut() {
        let client = ClientInfo::new(None, Some(&"é".repeat(10_000)));
        assert_eq!(client.agent().map(|a| a.chars().count()), Some(ClientInfo::MAX_AGENT));
    }

    // ASVS 1.3.3
    #[test]
    fn what_hides_or_reorders_text_becomes_space() {
        let client = ClientInfo::new(None, Some("a\u{202e}b\u{200b}c\u{2066}d\u{9b}e"));
        assert_eq!(client.agent(), Some("a b c d e"));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let client = ClientInfo::new("::ffff:192.0.2.1".parse().ok(), None);
        assert_eq!(client.address(), "192.0.2.1".parse().ok());
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_half_an_ipv6_address() {
        let network = |address: &str| Network::of(address.parse().unwrap());
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8:0:1::7"), network("2001:db8:0:1:ffff::"));
        assert_ne!(network("2001:db8:0:1::7"), network("2001:db8:0:2::7"));
        assert_eq!(network("2001:db8::7").address().to_string(), "2001:db8::");
    }

    #[test]
    fn block_is_ipv4_24_or_ipv6_48() {
        let block = |address: &str| Network::of(address.parse().unwrap()).block();
        assert_eq!(block("192.0.2.1"), block("192.0.2.255"));
        assert_ne!(block("192.0.2.1"), block("192.0.3.1"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert_eq!(block("2001:db8:1:2::7"), block("2001:db8:1:ffff::7"));
        assert_ne!(block("2001:db8:1:2::7"), block("2001:db8:2:2::7"));
        assert_ne!(block("::c000:200:0:0:1"), block("192.0.2.0"));
    }
}
