//! Client addresses behind the proxies that the operator trusts.

#[cfg(any(test, fuzzing))]
pub mod invariants;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use actix_web::dev::RequestHead;
use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest};

/// The proxies whose word is taken for whom they forward.
///
/// ```
/// use portcullis_http::{Cidr, TrustedProxies};
///
/// let inside: Cidr = "10.0.0.0/8".parse().unwrap();
/// let proxies = TrustedProxies::new(vec![inside, "::1".parse().unwrap()]);
/// assert!("10.0.0.0/33".parse::<Cidr>().is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Cidr>);

impl TrustedProxies {
    /// Trusts the proxies of these networks; of none, when it is empty.
    pub fn new(networks: Vec<Cidr>) -> Self {
        Self(networks)
    }

    /// The address of the client of a request, found out once per request.
    pub(crate) fn client_of(&self, request: &HttpRequest) -> Option<IpAddr> {
        if let Some(ClientAddress(known)) = request.extensions().get() {
            return *known;
        }
        let address = self.client_address(request.head());
        request.extensions_mut().insert(ClientAddress(address));
        address
    }

    /// The address of the client: the peer's, unless the peer is trusted. Then `X-Forwarded-For` is walked from its
    /// right end, which the peer wrote, past every hop that is trusted too; what stands further left is what the
    /// client claims. An entry that is no address ends the walk. No other header counts.
    ///
    /// `None` when the peer has no address.
    fn client_address(&self, head: &RequestHead) -> Option<IpAddr> {
        let mut address = head.peer_addr?.ip().to_canonical();
        if !self.trusts(address) {
            return Some(address);
        }
        // A proxy that adds a field of its own adds it after the others.
        let fields = head.headers().get_all(header::X_FORWARDED_FOR).rev();
        let mut entries = fields.flat_map(|field| field.to_str().unwrap_or(UNREADABLE).rsplit(','));
        while let Some(hop) = entries.next().and_then(address_of) {
            address = hop;
            if !self.trusts(address) {
                break;
            }
        }
        Some(address)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// The address of the client of a request, seen through the [trusted proxies](TrustedProxies). An extractor, for handlers
/// of any app that is [configured](crate::configure) with an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(Option<IpAddr>);

impl ClientAddress {
    pub(crate) fn new(address: Option<IpAddr>) -> Self {
        Self(address)
    }

    /// Returns the address; `None` if the connection has none, as over a Unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        self.0
    }
}

/// The address in an entry of `X-Forwarded-For`; some proxies write the port too.
fn address_of(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let address = entry.parse().or_else(|_| entry.parse().map(|socket: SocketAddr| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u32,
}

impl Cidr {
    /// Whether `address` lies in it. IPv4 addresses mapped to IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let difference = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => u128::from(ours.to_bits() ^ theirs.to_bits()) << 96,
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => ours.to_bits() ^ theirs.to_bits(),
            _ => return false,
        };
        difference.leading_zeros() >= self.prefix
    }
}

/// Parses `192.0.2.0/24`, `2001:db8::/32`, or an address alone.
impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_no_address| InvalidCidr)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) => number(digits).ok_or(InvalidCidr)?,
            None => bits,
        };
        // A mapped network would never match: addresses are looked at in their canonical form.
        if prefix > bits || address != address.to_canonical() {
            return Err(InvalidCidr);
        }
        Ok(Self { address, prefix })
    }
}

/// A number in digits alone: `parse` would take a sign.
fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an IP address or a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct InvalidCidr;

/// Stands for a field that is not even text: an entry that is no address.
const UNREADABLE: &str = "";

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    fn proxies() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8:ffff::/48", "127.0.0.1"];
        TrustedProxies::new(networks.map(|network| network.parse().unwrap()).into())
    }

    fn client(peer: IpAddr, forwarded: &[impl AsRef<str>]) -> IpAddr {
        let mut request = TestRequest::default().peer_addr(SocketAddr::new(peer, 1));
        for field in forwarded {
            request = request.append_header((header::X_FORWARDED_FOR, field.as_ref()));
        }
        proxies().client_address(request.to_http_request().head()).unwrap()
    }

    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let address = client(peer.parse().unwrap(), forwarded);
        assert_eq!(address.to_string(), expected, "{peer} {forwarded:?}");
    }

    #[test]
    fn only_trusted_hops_are_believed() {
        check("203.0.113.1", &[], "203.0.113.1");
        check("203.0.113.1", &["192.0.2.1"], "203.0.113.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.1"], "192.0.2.1");
        check("10.0.0.1", &["6.6.6.6, 192.0.2.1"], "192.0.2.1");
        check("10.0.0.1", &["6.6.6.6,192.0.2.1 , 10.9.9.9"], "192.0.2.1");
        check("10.0.0.1", &["6.6.6.6", "192.0.2.1", "10.9.9.9"], "192.0.2.1");
        check("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1");
    }

    #[test]
    fn the_address_is_found_out_once_per_request() {
        let request = TestRequest::default()
            .peer_addr("10.0.0.1:1".parse().unwrap())
            .insert_header((header::X_FORWARDED_FOR, "192.0.2.1"))
            .to_http_request();
        let trusting = TrustedProxies::new(vec!["10.0.0.1".parse().unwrap()]);
        let expected = Some("192.0.2.1".parse().unwrap());
        assert_eq!(trusting.client_of(&request), expected);
        assert_eq!(TrustedProxies::default().client_of(&request), expected, "it was kept");
    }

    #[test]
    fn garbage_ends_the_walk_at_the_last_good_address() {
        check("10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.1, , 10.3.3.3"], "10.3.3.3");
        check("10.0.0.1", &["192.0.2.1", "\u{e9}"], "10.0.0.1");
    }

    #[test]
    fn all_forms_of_an_address_are_one() {
        check("::ffff:10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1");
        check("2001:db8:ffff::1", &["2001:db8::7"], "2001:db8::7");
        check("127.0.0.1", &["192.0.2.1:5000"], "192.0.2.1");
        check("127.0.0.1", &["[2001:db8::7]:5000"], "2001:db8::7");
    }

    #[test]
    fn networks_have_edges() {
        let cases = [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.0", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::/0", "::1", true),
        ];
        for (network, address, expected) in cases {
            let network: Cidr = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0", "a", "::ffff:10.0.0.0/104"]
        {
            assert_eq!(text.parse::<Cidr>(), Err(InvalidCidr), "{text}");
        }
    }

    fn trusted() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(10, b, c, d).into()),
            any::<u128>()
                .prop_map(|bits| Ipv6Addr::from_bits((0x2001_0db8_ffff << 80) | (bits >> 48)).into()),
            Just(Ipv4Addr::LOCALHOST.into()),
        ]
    }

    fn untrusted() -> impl Strategy<Value = IpAddr> {
        let any = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u16; 8]>().prop_map(|segments| IpAddr::from(segments).to_canonical()),
        ];
        any.prop_filter("is no proxy", |address| !proxies().trusts(*address))
    }

    /// An address as proxies write it.
    fn written(address: impl Strategy<Value = IpAddr>) -> impl Strategy<Value = String> {
        (address, 0..5_u8, 0_u8..4).prop_map(|(address, form, blanks)| {
            let text = match (address, form) {
                (address, 0) => SocketAddr::new(address, 443).to_string(),
                (IpAddr::V4(address), 1) => address.to_ipv6_mapped().to_string(),
                (address, _) => address.to_string(),
            };
            let [before, after] = [blanks & 1, blanks & 2].map(|blank| if blank == 0 { "" } else { " " });
            format!("{before}{text}{after}")
        })
    }

    fn claimed() -> impl Strategy<Value = Vec<String>> {
        let entry = prop_oneof![written(trusted()), written(untrusted()), "[ -+\\--~]{0,20}"];
        prop::collection::vec(entry, 0..5)
    }

    /// The entries in fields as they may come: each begins a field of its own or goes on with the one before.
    fn in_fields(entries: &[String], cuts: u16) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        for (n, entry) in entries.iter().enumerate() {
            match fields.last_mut() {
                Some(field) if (cuts >> n) & 1 == 0 => field.extend([",", entry.as_str()]),
                _ => fields.push(entry.clone()),
            }
        }
        fields
    }

    proptest! {
        /// What clients claim stands left of the address from which they came, and says nothing.
        #[test]
        fn the_walk_ends_at_the_first_hop_that_is_not_trusted(
            peer in trusted(),
            claimed in claimed(),
            (client_address, client_entry) in untrusted().prop_flat_map(|address| (Just(address), written(Just(address)))),
            hops in prop::collection::vec(written(trusted()), 0..5),
            cuts in any::<u16>(),
        ) {
            let entries = [claimed, vec![client_entry], hops].concat();
            prop_assert_eq!(client(peer, &in_fields(&entries, cuts)), client_address, "{:?}", entries);
        }

        #[test]
        fn who_is_not_trusted_is_the_client(peer in untrusted(), claimed in claimed(), cuts in any::<u16>()) {
            prop_assert_eq!(client(peer, &in_fields(&claimed, cuts)), peer);
        }

        /// Where nobody but proxies is named, it is the last of them before the first entry that is no address.
        #[test]
        fn an_entry_that_is_no_address_ends_the_walk(
            peer in trusted(),
            claimed in claimed(),
            garbage in "[ -+.-9;-~]{0,3}|unknown|_hidden|10\\.0\\.0|[0-9a-f]{5}:",
            hops in prop::collection::vec(trusted(), 0..5),
            cuts in any::<u16>(),
        ) {
            let named = hops.iter().map(ToString::to_string).collect();
            let entries = [claimed, vec![garbage], named].concat();
            prop_assert_eq!(client(peer, &in_fields(&entries, cuts)), hops.first().map_or(peer, IpAddr::to_canonical));
        }
    }
}
