//! Limits by actix-governor: the only file that names it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix_governor::governor::clock::{Clock, DefaultClock, QuantaInstant};
use actix_governor::governor::middleware::StateInformationMiddleware;
use actix_governor::governor::{DefaultKeyedRateLimiter, NotUntil, Quota as Allowance, RateLimiter};
use actix_governor::{Governor, GovernorConfig, GovernorConfigBuilder, GovernorResult, KeyExtractor};
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpMessage, HttpResponse, HttpResponseBuilder, ResponseError, Route};
use portcullis_domain::client::Network;
use portcullis_domain::id::SessionId;

use crate::extract::forwarded::TrustedProxies;
use crate::limit::quota::{LimitsConfig, Quota, RateLimit};
use crate::respond::problem::Problem;

/// The limits of one process, shared by its workers.
#[derive(Debug)]
pub(crate) struct Limits {
    register: Limit,
    login: Limit,
    refresh: Limit,
    pub(crate) session_refresh: SessionLimit,
    password: Limit,
}

impl Limits {
    pub(crate) fn new(config: LimitsConfig, proxies: &TrustedProxies) -> Self {
        let limit = |name, quota| Limit(config.enabled.then(|| Bucketed::new(name, quota, proxies)));
        Self {
            register: limit("register", config.register),
            login: limit("login", config.login),
            refresh: limit("refresh", config.refresh),
            session_refresh: SessionLimit(
                config.enabled.then(|| BySession::new("session", config.session_refresh)),
            ),
            password: limit("password", config.password),
        }
    }

    /// Returns the limit of this name.
    pub(crate) fn of(&self, limit: RateLimit) -> &Limit {
        match limit {
            RateLimit::Register => &self.register,
            RateLimit::Login => &self.login,
            RateLimit::Refresh => &self.refresh,
            RateLimit::Password => &self.password,
        }
    }
}

/// The limit of one route or of several together, or none.
#[derive(Debug)]
pub(crate) struct Limit(Option<Bucketed>);

#[derive(Debug)]
struct Bucketed {
    config: GovernorConfig<ByAddress, StateInformationMiddleware>,
    fields: Arc<RateLimitFields>,
}

impl Limit {
    /// Puts the limit before a route.
    pub(crate) fn guard(&self, route: Route) -> Route {
        let Some(Bucketed { config, fields }) = &self.0 else { return route };
        let fields = Arc::clone(fields);
        // `Governor` goes innermost: it asks for a future that can be moved.
        route
            .wrap(Governor::new(config))
            .wrap(from_fn(move |request, next| tell_what_remains(Arc::clone(&fields), request, next)))
    }
}

/// The limit of what each session may do, or none. Only who has a genuine token of the session can ask.
#[derive(Debug)]
pub(crate) struct SessionLimit(Option<BySession>);

impl SessionLimit {
    /// Counts one more, and answers where it is one too many.
    pub(crate) fn refusal(&self, session: SessionId) -> Option<HttpResponse> {
        let BySession { limiter, hasher, fields } = self.0.as_ref()?;
        let slot = hasher.hash_one(session) % SLOTS;
        limiter.check_key(&slot).err().map(|refusal| refuse(&refusal, fields))
    }
}

/// The number of slots is fixed here too. Two sessions hardly ever share one, and which ones nobody can choose.
struct BySession {
    limiter: DefaultKeyedRateLimiter<u64>,
    hasher: RandomState,
    fields: RateLimitFields,
}

impl BySession {
    fn new(name: &'static str, quota: Quota) -> Self {
        let period = period(quota);
        #[expect(clippy::expect_used, reason = "the period is not zero")]
        let allowance = Allowance::with_period(period).expect("a valid quota").allow_burst(quota.burst);
        Self {
            limiter: RateLimiter::keyed(allowance),
            hasher: RandomState::new(),
            fields: RateLimitFields::new(name, period, quota.burst.get()),
        }
    }
}

impl fmt::Debug for BySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BySession").field("fields", &self.fields).finish_non_exhaustive()
    }
}

/// After how long a bucket has one call more.
fn period(quota: Quota) -> Duration {
    (quota.per / quota.count.get()).max(Duration::from_nanos(1))
}

/// The answer to a call too many. The one of `Governor` would cut the wait to whole seconds: `Retry-After: 0`.
fn refuse(refusal: &NotUntil<QuantaInstant>, fields: &RateLimitFields) -> HttpResponse {
    let wait = refusal.wait_time_from(DefaultClock::default().now());
    let mut response = Problem::rate_limited(wait).error_response();
    fields.add_to(response.headers_mut(), 0, wait);
    response
}

impl Bucketed {
    fn new(name: &'static str, quota: Quota, proxies: &TrustedProxies) -> Self {
        let period = period(quota);
        let fields = Arc::new(RateLimitFields::new(name, period, quota.burst.get()));
        let key = ByAddress {
            name,
            proxies: proxies.clone(),
            hasher: RandomState::new(),
            fields: Arc::clone(&fields),
        };
        #[expect(clippy::expect_used, reason = "neither the period nor the burst is zero")]
        let config = GovernorConfigBuilder::default()
            .period(period)
            .burst_size(quota.burst.get())
            .key_extractor(key)
            .use_headers()
            .finish()
            .expect("a valid quota");
        Self { config, fields }
    }
}

/// Counts by client address: IPv4, mapped IPv4 as IPv4, IPv6 by /64, which is what one customer gets.
#[derive(Clone, Debug)]
struct ByAddress {
    name: &'static str,
    proxies: TrustedProxies,
    hasher: RandomState,
    fields: Arc<RateLimitFields>,
}

impl ByAddress {
    /// The slot in which an address is counted.
    ///
    /// The number of slots is fixed, so no number of addresses takes more memory, and none pushes another's
    /// count out. Two addresses may share a slot, and then its calls; which ones nobody can tell, for the hash
    /// has a random key. But who calls from very many addresses can use up many slots, and IPv6 prefixes come
    /// cheap by the million: each family has its own half, so that they cost IPv4 nothing.
    fn slot(&self, address: IpAddr) -> u64 {
        let network = Network::of(address).address();
        let slot = self.hasher.hash_one(network) % SLOTS_PER_FAMILY;
        if network.is_ipv4() { slot } else { SLOTS_PER_FAMILY + slot }
    }
}

impl KeyExtractor for ByAddress {
    type Key = u64;
    type KeyExtractionError = Problem;

    fn name(&self) -> &'static str {
        self.name
    }

    fn extract(&self, request: &ServiceRequest) -> Result<u64, Problem> {
        let address = self.proxies.client_of(request.request());
        Ok(self.slot(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }

    fn exceed_rate_limit_response(
        &self,
        refusal: &NotUntil<QuantaInstant>,
        _: HttpResponseBuilder,
    ) -> HttpResponse {
        refuse(refusal, &self.fields)
    }
}

/// Adds what remains to an answer that was let through. (Refusals already say it.)
async fn tell_what_remains<B: MessageBody + 'static>(
    fields: Arc<RateLimitFields>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let mut response = next.call(request).await?;
    let remaining = match response.request().extensions().get::<GovernorResult<Problem>>() {
        Some(GovernorResult::Ok { remaining, .. }) => *remaining,
        _ => None,
    };
    if let Some(remaining) = remaining {
        fields.add_to(response.headers_mut(), remaining, Duration::ZERO);
    }
    for own in [X_RATELIMIT_LIMIT, X_RATELIMIT_REMAINING] {
        response.headers_mut().remove(own);
    }
    Ok(response)
}

/// The fields of draft-ietf-httpapi-ratelimit-headers.
#[derive(Debug)]
struct RateLimitFields {
    name: &'static str,
    period: Duration,
    burst: u32,
    policy: HeaderValue,
}

impl RateLimitFields {
    fn new(name: &'static str, period: Duration, burst: u32) -> Self {
        let policy = format!("\"{name}\";q={burst};w={}", ceil(period * burst));
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(""));
        Self { name, period, burst, policy }
    }

    /// Says that `remaining` calls are left, and when all are back: the bucket refills by one a period, the
    /// first of them after `wait` where that is known.
    fn add_to(&self, headers: &mut HeaderMap, remaining: u32, wait: Duration) {
        let missing = self.burst.saturating_sub(remaining);
        let until_full = match wait {
            Duration::ZERO => self.period * missing,
            wait => wait + self.period * missing.saturating_sub(1),
        };
        let limit = format!("\"{}\";r={remaining};t={}", self.name, ceil(until_full));
        // Both are lists: a route may have two limits.
        headers.append(RATELIMIT_POLICY, self.policy.clone());
        headers.append(RATELIMIT, HeaderValue::from_str(&limit).unwrap_or(HeaderValue::from_static("")));
    }
}

/// Whole seconds, rounded up.
fn ceil(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// 2¹⁷ slots for IPv4 and as many for IPv6 are about 8 MiB a limit when all are in use, and let ten thousand busy
/// addresses share hardly any.
const SLOTS_PER_FAMILY: u64 = 1 << 17;

/// The slots of sessions.
const SLOTS: u64 = 1 << 17;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

#[cfg(test)]
mod tests {
    use super::*;

    fn extractor() -> ByAddress {
        let fields = Arc::new(RateLimitFields::new("test", Duration::from_secs(2), 10));
        ByAddress { name: "test", proxies: TrustedProxies::default(), hasher: RandomState::new(), fields }
    }

    #[test]
    fn addresses_of_one_customer_share_a_slot() {
        let extractor = extractor();
        let slot = |address: &str| extractor.slot(address.parse().unwrap());
        assert_eq!(slot("192.0.2.1"), slot("::ffff:192.0.2.1"));
        assert_eq!(slot("2001:db8::1"), slot("2001:db8::ffff:ffff:ffff:ffff"));
    }

    #[test]
    fn addresses_of_others_rarely_do_and_differently_in_each_process() {
        let (one, other) = (extractor(), extractor());
        let addresses = || (0..1_000_u32).map(|n| IpAddr::V4(Ipv4Addr::from_bits(n << 8)));
        let slots: std::collections::HashSet<_> = addresses().map(|address| one.slot(address)).collect();
        assert!(slots.len() > 950, "{}", slots.len());
        assert!(slots.iter().all(|slot| *slot < SLOTS_PER_FAMILY));
        assert!(addresses().any(|address| one.slot(address) != other.slot(address)));
    }

    #[test]
    fn no_number_of_ipv6_prefixes_takes_a_slot_of_ipv4() {
        let extractor = extractor();
        let slots = (0..10_000_u128).map(|n| extractor.slot(IpAddr::V6((n << 64).into())));
        let is_theirs = |slot| (SLOTS_PER_FAMILY..2 * SLOTS_PER_FAMILY).contains(&slot);
        assert!(slots.skip(1).all(is_theirs));
    }

    /// Counters are never given up one by one, so their number has to have an end.
    #[test]
    fn a_million_addresses_and_sessions_take_no_more_than_the_slots() {
        const MILLION: u128 = 1_000_000;
        let Limits { login, session_refresh, .. } =
            Limits::new(LimitsConfig::default(), &TrustedProxies::default());
        let (extractor, by_address) = (extractor(), login.0.unwrap().config.limiter());
        let spread = 0x9e37_79b9_u32;
        for n in 0..1_000_000 {
            let v4 = IpAddr::V4(Ipv4Addr::from_bits(spread.wrapping_mul(n)));
            let v6 = IpAddr::V6((u128::from(n) << 64).into());
            for address in [v4, v6] {
                let _counted = by_address.check_key(&extractor.slot(address));
            }
        }
        assert!((SLOTS_PER_FAMILY..=2 * SLOTS_PER_FAMILY).contains(&(by_address.len() as u64)));

        let slots = session_refresh.0.as_ref().map(|by_session| &by_session.limiter).unwrap();
        for n in 0..MILLION {
            let _counted = session_refresh.refusal(SessionId::from_uuid(uuid::Uuid::from_u128(n)));
        }
        assert!((SLOTS / 2..=SLOTS).contains(&(slots.len() as u64)), "{}", slots.len());
    }

    #[test]
    fn the_fields_say_what_is_left_and_when_all_is_back() {
        let fields = RateLimitFields::new("login", Duration::from_secs(2), 10);
        let check = |remaining, wait, expected: &str| {
            let mut headers = HeaderMap::new();
            fields.add_to(&mut headers, remaining, wait);
            assert_eq!(headers.get(RATELIMIT).unwrap(), expected);
            assert_eq!(headers.get(RATELIMIT_POLICY).unwrap(), "\"login\";q=10;w=20");
        };
        check(9, Duration::ZERO, "\"login\";r=9;t=2");
        check(0, Duration::ZERO, "\"login\";r=0;t=20");
        check(0, Duration::from_millis(1_500), "\"login\";r=0;t=20");
        check(0, Duration::from_millis(200), "\"login\";r=0;t=19");
    }
}
