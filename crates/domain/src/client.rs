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

    /// Takes what the transport knows; the agent is cut to [`Self::MAX_AGENT`], its control characters and those that
    /// turn the direction of writing become spaces, and an IPv4-mapped IPv6 address becomes the IPv4 address.
    pub fn new(address: Option<IpAddr>, agent: Option<&str>) -> Self {
        let clean = |c: char| if c.is_control() || is_invisible(c) { ' ' } else { c };
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

/// What shows nothing, but changes how the rest is shown: on an operator's terminal it could hide or reorder text.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
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
    fn what_hides_or_reorders_text_becomes_space() {
        let client = ClientInfo::new(None, Some("a\u{202e}b\u{200b}c\u{2066}d\u{9b}e"));
        assert_eq!(client.agent(), Some("a b c d e"));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let client = ClientInfo::new("::ffff:192.0.2.1".parse().ok(), None);
        assert_eq!(client.address(), "192.0.2.1".parse().ok());
    }
}
