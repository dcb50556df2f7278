//! What holds of all that callers and proxies may write into `X-Forwarded-For`.

use actix_web::http::header::HeaderValue;
use actix_web::test::TestRequest;

use super::*;

/// The client's address is the peer's or stands in the header, in its canonical form; it is what the walk from the right end
/// comes to, however the entries are spread over fields; and what is written left of a client says nothing.
///
/// The input is lines: the peer, the trusted networks separated by spaces, and then a field each.
///
/// # Panics
/// Where it does not hold.
pub fn holds(input: &[u8]) {
    let mut lines = input.split(|&byte| byte == b'\n');
    let text = |line: Option<&[u8]>| line.and_then(|line| String::from_utf8(line.to_owned()).ok());
    let Some((peer, networks)) = text(lines.next()).zip(text(lines.next())) else { return };
    let networks = networks.split(' ').filter_map(|network| {
        let parsed: Cidr = network.parse().ok()?;
        assert_eq!(parsed.to_string().parse(), Ok(parsed), "{network}");
        assert!(parsed.contains(parsed.address), "{network}");
        Some(parsed)
    });
    let proxies = TrustedProxies::new(networks.collect());
    let Ok(peer) = peer.parse::<IpAddr>() else { return };
    let fields: Vec<_> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();

    let address = address(&proxies, peer, &fields);
    assert_eq!(address, address.to_canonical());
    let peer = peer.to_canonical();
    if !proxies.trusts(peer) {
        assert_eq!(address, peer);
        return;
    }

    // The walk once more, over a list of all entries.
    let entries =
        fields.iter().map(|field| field.to_str().unwrap_or("garbage")).collect::<Vec<_>>().join(",");
    let mut expected = peer;
    for entry in entries.rsplit(',').map(address_of) {
        match entry {
            Some(hop) if proxies.trusts(expected) => expected = hop,
            _ => break,
        }
    }
    assert_eq!(address, expected);

    let in_one = HeaderValue::from_str(&entries).unwrap_or(HeaderValue::from_static(""));
    assert_eq!(self::address(&proxies, peer, &[in_one]), address, "fields make no difference");
    if !proxies.trusts(address) {
        for claim in ["203.0.113.66", "unknown", "", "::1, 10.0.0.1"] {
            let claimed = [&[HeaderValue::from_static(claim)], &fields[..]].concat();
            assert_eq!(self::address(&proxies, peer, &claimed), address, "a claim says nothing");
        }
    }
}

fn address(proxies: &TrustedProxies, peer: IpAddr, fields: &[HeaderValue]) -> IpAddr {
    let mut request = TestRequest::default().peer_addr(SocketAddr::new(peer, 1));
    for field in fields {
        request = request.append_header((header::X_FORWARDED_FOR, field));
    }
    let address = proxies.client_of(&request.to_http_request());
    assert!(address.is_some(), "a peer has an address");
    address.unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;

    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/forwarded"), 10_000, super::holds);
    }
}
