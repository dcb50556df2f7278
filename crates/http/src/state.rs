//! What the handlers and the middleware of all requests share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::HttpRequest;
use actix_web::web::Data;
use portcullis_domain::maintenance::{Check, Readiness};
use portcullis_domain::ports::{Clock, SecureRandom};
use portcullis_domain::{AuthService, Core};

use crate::blocking::data::DataPools;
use crate::blocking::password::PasswordPool;
use crate::blocking::{BlockingError, Pool};
use crate::config::HttpConfig;
use crate::limit::Limits;
use crate::middleware::security_headers::SecurityHeaders;
use crate::readiness::LastReadiness;
use crate::respond::base_path;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;

/// The state of one API, created once per process.
#[derive(Debug)]
pub(crate) struct ApiState {
    core: Arc<Core>,
    pub(crate) auth: AuthService,
    pub(crate) config: HttpConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn SecureRandom>,
    pub(crate) password_pool: PasswordPool,
    pub(crate) limits: Limits,
    pub(crate) security_headers: SecurityHeaders,
    /// The path of the public URL.
    pub(crate) base_path: Option<Arc<str>>,
    data_pools: DataPools,
    /// Whether the instance was told to stop.
    is_draining: AtomicBool,
    readiness: LastReadiness,
}

impl ApiState {
    /// Creates the state of the API of an instance.
    ///
    /// # Errors
    /// Fails if the threads of the pools, or the one of `/ready`, cannot be started.
    pub(crate) fn new(core: &Arc<Core>, config: HttpConfig) -> io::Result<Self> {
        let clock = Arc::clone(core.clock());
        Ok(Self {
            auth: AuthService::new(core),
            core: Arc::clone(core),
            password_pool: PasswordPool::start(
                config.password_pool,
                config.limits.enabled,
                Arc::clone(&clock),
            )?,
            limits: Limits::new(config.limits, &config.trusted_proxies),
            security_headers: SecurityHeaders::new(&config.public_url),
            base_path: base_path::of_url(&config.public_url),
            data_pools: DataPools::start(config.data_threads)?,
            is_draining: AtomicBool::new(false),
            config,
            random: Arc::clone(core.random()),
            clock,
            readiness: LastReadiness::new(core)?,
        })
    }

    /// Returns the state that the app of a request was configured with.
    ///
    /// # Errors
    /// Fails with `internal_error` if the app has no API.
    pub(crate) fn of(request: &HttpRequest) -> Result<&Data<Self>, Problem> {
        request.app_data::<Data<Self>>().ok_or_else(|| {
            log::error!("the app has no API; call `portcullis_http::configure` when building it");
            ProblemCode::InternalError.into()
        })
    }

    /// Does `work` on a thread that may block, as part of the current request.
    ///
    /// # Errors
    /// [`BlockingError`].
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        pool: Pool,
        work: impl FnOnce(&Arc<Core>) -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let core = Arc::clone(&self.core);
        let work = move || work(&core);
        match pool {
            Pool::Read => self.data_pools.read(work).await,
            Pool::Write => self.data_pools.write(work).await,
            Pool::LoginCheck => {
                self.password_pool.has_room()?;
                self.data_pools.check_login(work).await
            }
            Pool::Password(caller) => {
                let writes_fail = || self.readiness.writes() == Check::Failing;
                self.password_pool.run(&caller, writes_fail, work).await
            }
        }
    }

    /// Fails the readiness check `draining` from now on.
    pub(crate) fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Returns whether the service can do its work.
    ///
    /// # Errors
    /// Fails with `not_ready` if the checks take too long.
    pub(crate) async fn readiness(&self) -> Result<Readiness, Problem> {
        self.readiness.get().await
    }
}
