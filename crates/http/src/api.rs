//! What all requests share, and the application over it.

use std::io;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::Data;
use actix_web::{App, Error, HttpRequest};
use portcullis_domain::ports::{Clock, SecureRandom};
use portcullis_domain::{AuthService, Core};

use crate::blocking::{DataPool, LoginChecks, PasswordPool, PoolCounts};
use crate::config::HttpConfig;
use crate::extract::client::TrustedProxies;
use crate::limit::Limits;
use crate::middleware::cors::{self, AllowedOrigins};
use crate::middleware::request_context::RequestContext;
use crate::middleware::security_headers::SecurityHeaders;
use crate::routes::ops::readiness::LastReadiness;
use crate::routes::{self, Documents};

/// What all requests share. Built once per process.
#[derive(Debug)]
pub struct Api {
    pub(crate) core: Arc<Core>,
    pub(crate) auth: AuthService,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn SecureRandom>,
    pub(crate) data_pool: DataPool,
    pub(crate) login_checks: LoginChecks,
    pub(crate) password_pool: PasswordPool,
    pub(crate) readiness: LastReadiness,
    pub(crate) proxies: TrustedProxies,
    pub(crate) origins: AllowedOrigins,
    pub(crate) limits: Limits,
    pub(crate) security_headers: SecurityHeaders,
    pub(crate) documents: Documents,
}

impl Api {
    /// Creates the API of an instance.
    ///
    /// # Errors
    /// When the threads of the password pool, or the one of `/ready`, cannot be started.
    pub fn new(core: &Arc<Core>, config: HttpConfig) -> io::Result<Self> {
        let (auth, clock) = (AuthService::new(core), Arc::clone(core.clock()));
        let password_pool =
            PasswordPool::start(config.password_pool, config.limits.enabled, Arc::clone(&clock))?;
        let documents = Documents::new(&config, &auth.verification_keys());
        Ok(Self {
            core: Arc::clone(core),
            auth,
            clock,
            random: Arc::clone(core.random()),
            data_pool: DataPool::new(),
            login_checks: LoginChecks::new(),
            password_pool,
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
    pub fn close_password_pool(&self) {
        self.password_pool.close();
    }

    /// How much password work waits and what became of the rest, for metrics.
    pub fn password_pool_counts(&self) -> PoolCounts {
        self.password_pool.counts()
    }

    /// The API that a request of [`app`] belongs to.
    pub(crate) fn of(request: &HttpRequest) -> &Data<Self> {
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
        .wrap(RequestContext(Arc::clone(api)))
}
