//! The HTTP contract of Portcullis on actix-web: routes, extractors, problem documents, limits and headers.
//!
//! The server and the tests run the very same stack: [`Api::new`] builds what all requests share, once per process,
//! and [`app`] makes the application of one worker over it.
//!
//! ```no_run
//! use std::sync::Arc;
//! use portcullis_domain::{AuthService, Rules};
//! use portcullis_http::{Api, HttpConfig};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let ports = portcullis_testkit::ports();
//! let (clock, entropy) = (Arc::clone(&ports.clock), Arc::clone(&ports.entropy));
//! let api = Api::new(AuthService::new(ports, Rules::default()), HttpConfig::default(), clock, entropy)?;
//! let api = Arc::new(api);
//! let server = actix_web::HttpServer::new(move || portcullis_http::app(&api));
//! server.bind(("127.0.0.1", 8080))?.run().await
//! # }
//! ```
//!
//! The service gives out and accepts no tokens before it has caught up with its store. Call
//! [`AuthService::catch_up`] a few times a second, and [`AuthService::check_writes`] about once a second: without it,
//! `/ready` answers 503.
//!
//! The crate knows the domain and nothing of databases: whatever needs one is a use case, called through
//! `blocking`.

mod access_log;
mod answer;
mod bearer;
mod blocking;
mod client_ip;
mod cors;
mod envelope;
mod headers;
mod limits;
mod openapi;
mod panics;
mod problem;
mod readiness;
mod request_id;
mod routes;
mod strict_json;
mod unread;

use std::io;
use std::sync::Arc;

pub use access_log::ACCESS_LOG;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::Data;
use actix_web::{App, Error, HttpRequest};
use blocking::{DataLane, LoginChecks, PasswordLane};
pub use blocking::{LaneCounts, PasswordLaneConfig};
#[cfg(any(test, fuzzing))]
pub use client_ip::law as forwarded_law;
pub use client_ip::{Cidr, InvalidCidr, TrustedProxies};
pub use cors::{AllowedOrigins, InvalidOrigin, Origin};
use envelope::Envelope;
use headers::SecurityHeaders;
use limits::Limits;
pub use limits::{LimitsConfig, Quota};
pub use openapi::openapi;
use portcullis_domain::AuthService;
use portcullis_domain::ports::{Clock, Entropy};
pub use problem::{ProblemCode, ViolationCode};
use readiness::LastReadiness;
pub use request_id::{RequestId, current_request_id};
use routes::Documents;
#[cfg(any(test, fuzzing))]
pub use strict_json::law as strict_json_law;
pub use strict_json::{BODY_DEADLINE, MAX_BODY};

/// What an operator decides about the HTTP side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where clients find the service, without a slash at the end. One with `https` is never to be reached without.
    pub public_url: String,
    /// The issuer that access tokens name.
    pub issuer: String,
    /// Whether `/openapi.json` and the page that shows it are served.
    pub docs: bool,
    /// Whose word is taken for the address of a client.
    pub trusted_proxies: TrustedProxies,
    /// Whose pages may read the answers.
    pub allowed_origins: AllowedOrigins,
    /// How often one address may call what costs most.
    pub limits: LimitsConfig,
    /// How much password work is taken on.
    pub password_lane: PasswordLaneConfig,
}

/// A service of its own machine.
impl Default for HttpConfig {
    fn default() -> Self {
        let public_url = "http://127.0.0.1:8080".to_owned();
        Self {
            issuer: public_url.clone(),
            public_url,
            docs: true,
            trusted_proxies: TrustedProxies::default(),
            allowed_origins: AllowedOrigins::default(),
            limits: LimitsConfig::default(),
            password_lane: PasswordLaneConfig::default(),
        }
    }
}

/// What all requests share. Built once per process.
#[derive(Debug)]
pub struct Api {
    auth: AuthService,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    data_lane: DataLane,
    login_checks: LoginChecks,
    password_lane: PasswordLane,
    readiness: LastReadiness,
    proxies: TrustedProxies,
    origins: AllowedOrigins,
    limits: Limits,
    security_headers: SecurityHeaders,
    documents: Documents,
}

impl Api {
    /// The API over a service. `clock` and `entropy` are those of the service's own ports: they time requests and
    /// name those that come without an id.
    ///
    /// # Errors
    /// When the threads of the password lane, or the one of `/ready`, cannot be started.
    pub fn new(
        auth: AuthService,
        config: HttpConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> io::Result<Self> {
        let password_lane =
            PasswordLane::start(config.password_lane, config.limits.enabled, Arc::clone(&clock))?;
        let documents = Documents::new(&config, &auth.verification_keys());
        Ok(Self {
            auth,
            clock,
            entropy,
            data_lane: DataLane::new(),
            login_checks: LoginChecks::new(),
            password_lane,
            readiness: LastReadiness::new()?,
            limits: Limits::new(config.limits, &config.trusted_proxies),
            security_headers: SecurityHeaders::new(&config.public_url),
            documents,
            proxies: config.trusted_proxies,
            origins: config.allowed_origins,
        })
    }

    /// Begins to stop: password work that waits in line is answered 503 instead of keeping the server from ending
    /// in time. What runs goes on.
    pub fn close_password_lane(&self) {
        self.password_lane.close();
    }

    /// How much password work waits and what became of the rest, for metrics.
    pub fn password_lane_counts(&self) -> LaneCounts {
        self.password_lane.counts()
    }

    /// The API that a request of [`app`] belongs to.
    fn of(request: &HttpRequest) -> &Data<Self> {
        #[expect(clippy::expect_used, reason = "`app` puts it there, and no route exists without `app`")]
        request.app_data::<Data<Self>>().expect("the application has its API")
    }
}

/// The application of one worker: every route, within everything that surrounds it.
pub fn app(
    api: &Arc<Api>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let has_cors = api.origins.are_any();
    App::new()
        .app_data(Data::from(Arc::clone(api)))
        .configure(|config| routes::configure(config, api))
        .default_service(routes::not_found())
        // The last is the outermost.
        .wrap(Condition::new(has_cors, api.origins.middleware()))
        .wrap(Condition::new(has_cors, from_fn(cors::explain)))
        .wrap(Envelope(Arc::clone(api)))
}
