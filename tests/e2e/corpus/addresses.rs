//! IP: who calls, and what a client may claim about it.

use super::Case;
use super::attack::{Attack, CANARY, login_failed, refused};
use super::wire::Request;

pub(super) const CASES: &[Case] = &[
    ("IP-01", an_address_of_its_own_for_each_request),
    ("IP-02", addresses_before_the_last),
    ("IP-04", addresses_of_one_customer),
];

/// Three requests at once, and then none for long.
const LIMITED: [(&str, &str); 4] = [
    ("LIMITS__ENABLED", "true"),
    ("LIMITS__LOGIN__BURST", "3"),
    ("LIMITS__LOGIN__REQUESTS", "1"),
    ("LIMITS__LOGIN__PER", "24h"),
];

const BEHIND_A_PROXY: (&str, &str) = ("SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

/// A login of nobody, from where the fields say.
fn login(attack: &mut Attack<'_>, fields: &[(&str, &str)]) -> Request {
    let body = format!(r#"{{"username":"{}","password":"{CANARY}"}}"#, attack.name());
    fields.iter().fold(Request::post("/login", body), |request, (name, value)| request.field(name, value))
}

// ASVS 2.4.1 15.3.4
fn an_address_of_its_own_for_each_request(attack: &mut Attack<'_>) {
    attack.against(&LIMITED, |attack| {
        for n in 0..8 {
            let claimed = format!("203.0.113.{n}");
            let forwarded = format!("for={claimed}");
            let fields = [
                ("x-forwarded-for", claimed.as_str()),
                ("x_forwarded_for", claimed.as_str()),
                ("x-real-ip", claimed.as_str()),
                ("true-client-ip", claimed.as_str()),
                ("forwarded", forwarded.as_str()),
            ];
            let request = login(attack, &fields);
            let expected = if n < 3 { login_failed() } else { refused(429, "rate_limited") };
            let reply = attack.tries(&request, &expected);
            assert!(
                reply.field("ratelimit").is_some() && reply.field("ratelimit-policy").is_some(),
                "{reply:?}"
            );
            assert_eq!(reply.field("retry-after").is_some(), n >= 3, "{reply:?}");
        }
        // Another route has another bucket.
        attack.user();
    });
}

// ASVS 15.3.4
fn addresses_before_the_last(attack: &mut Attack<'_>) {
    attack.against(&[&LIMITED[..], &[BEHIND_A_PROXY]].concat(), |attack| {
        for n in 0..6 {
            let claimed = format!("198.51.100.{n}, 192.0.2.{n}, 203.0.113.1");
            let request = login(attack, &[("x-forwarded-for", &claimed)]);
            let expected = if n < 3 { login_failed() } else { refused(429, "rate_limited") };
            attack.tries(&request, &expected);
        }
        // Another one is not concerned; what is no address is nobody's, and ends the walk.
        let request = login(attack, &[("x-forwarded-for", "203.0.113.1, 203.0.113.2")]);
        attack.tries(&request, &login_failed());
        // That of the proxy, once for all of them: three attempts.
        for (n, garbage) in
            ["203.0.113.1, unknown", "203.0.113.1, 999.1.1.1", "203.0.113.1,", "203.0.113.2, '; DROP"]
                .into_iter()
                .enumerate()
        {
            let request = login(attack, &[("x-forwarded-for", garbage)]);
            let expected = if n < 3 { login_failed() } else { refused(429, "rate_limited") };
            attack.tries(&request, &expected);
        }
    });
}

fn addresses_of_one_customer(attack: &mut Attack<'_>) {
    attack.against(&[&LIMITED[..], &[BEHIND_A_PROXY]].concat(), |attack| {
        for n in 0..6 {
            let request = login(attack, &[("x-forwarded-for", &format!("2001:db8:1:2:{n:x}::{n}"))]);
            let expected = if n < 3 { login_failed() } else { refused(429, "rate_limited") };
            attack.tries(&request, &expected);
        }
        for (n, spelling) in
            ["192.0.2.9", "::ffff:192.0.2.9", "::FFFF:c000:209", "0:0:0:0:0:ffff:192.0.2.9", " 192.0.2.9 "]
                .into_iter()
                .enumerate()
        {
            let request = login(attack, &[("x-forwarded-for", spelling)]);
            let expected = if n < 3 { login_failed() } else { refused(429, "rate_limited") };
            attack.tries(&request, &expected);
        }
        let request = login(attack, &[("x-forwarded-for", "2001:db8:1:3::1")]);
        attack.tries(&request, &login_failed());
    });
}
