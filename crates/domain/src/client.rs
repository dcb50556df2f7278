//! Who is calling, as far as the network tells.

use std::net::IpAddr;

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

    /// Takes what the transport knows; the agent is cut to [`Self::MAX_AGENT`], its control characters become
    /// spaces, and an IPv4-mapped IPv6 address becomes the IPv4 address.
    pub fn new(address: Option<IpAddr>, agent: Option<&str>) -> Self {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        Self {
            address: address.map(|a| a.to_canonical()),
            agent: agent.map(|a| a.chars().take(Self::MAX_AGENT).map(clean).collect()),
        }
    }

    /// The network address, when there is one (a command line has none).
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The user agent, when the client sent one.
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_agents_are_cut() {
        let client = ClientInfo::new(None, Some(&"é".repeat(10_000)));
        assert_eq!(client.agent().map(|a| a.chars().count()), Some(ClientInfo::MAX_AGENT));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let client = ClientInfo::new("::ffff:192.0.2.1".parse().ok(), None);
        assert_eq!(client.address(), "192.0.2.1".parse().ok());
    }
}
