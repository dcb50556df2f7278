//! The API over a service, and the application of one worker over it.

use std::io;
use std::sync::{Arc, Once};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, Error};
use portcullis_domain::Core;

use crate::blocking::password::PoolCounts;
use crate::config::HttpConfig;
use crate::middleware::cors;
use crate::middleware::request_context::RequestContext;
use crate::openapi::openapi_of;
use crate::routes::discovery::problems::CatalogueDocument;
use crate::routes::discovery::well_known::MetadataDocument;
use crate::routes::docs::page::Docs;
use crate::routes::route::Route;
use crate::routes::{router, subjects};
use crate::state::ApiState;

/// What all requests share. Built once per process.
#[derive(Debug)]
pub struct Api {
    state: Data<ApiState>,
    routes: Vec<Route>,
    catalogue: Data<CatalogueDocument>,
    metadata: Data<MetadataDocument>,
    docs: Option<Data<Docs>>,
    mounting: Once,
}

impl Api {
    /// Creates the API of an instance.
    ///
    /// # Errors
    /// Fails if the threads of the pools, or the one of `/ready`, cannot be started.
    pub fn new(core: &Arc<Core>, config: HttpConfig) -> io::Result<Self> {
        let subjects = subjects(&config);
        let docs = config.docs.then(|| Data::new(Docs::new(&openapi_of(&subjects, &config.public_url))));
        let state = Data::new(ApiState::new(core, config)?);
        let metadata = MetadataDocument::new(&state.config, &state.auth.verification_keys());
        Ok(Self {
            catalogue: Data::new(CatalogueDocument::new(state.base_path.as_deref())),
            metadata: Data::new(metadata),
            state,
            routes: subjects.into_iter().flat_map(|subject| subject.routes).collect(),
            docs,
            mounting: Once::new(),
        })
    }

    /// Tells balancers to send requests elsewhere: `/ready` returns 503 from now on. All other requests are answered as
    /// before. Call it when the process is told to stop, some seconds before connections are refused.
    pub fn start_draining(&self) {
        self.state.start_draining();
    }

    /// Returns whether [`Api::start_draining`] was called. A server then closes each connection after its next response.
    pub fn is_draining(&self) -> bool {
        self.state.is_draining()
    }

    /// Begins to stop: requests whose password work waits in line get a 503, so that the server ends in time. Work that runs
    /// continues.
    pub fn close_password_pool(&self) {
        self.state.password_pool.close();
    }

    /// Returns the counts of waiting and finished password work, for metrics.
    pub fn password_pool_counts(&self) -> PoolCounts {
        self.state.password_pool.counts()
    }

    /// Registers every route, and the data that its handler reads.
    fn register(&self, config: &mut ServiceConfig) {
        config
            .app_data(Data::clone(&self.state))
            .app_data(Data::clone(&self.catalogue))
            .app_data(Data::clone(&self.metadata));
        if let Some(docs) = &self.docs {
            config.app_data(Data::clone(docs));
        }
        router::register(config, &self.routes, &self.state.limits);
    }

    /// Warns once if links in responses do not lead to `prefix`.
    fn check_links(&self, prefix: &str) {
        let leads_here = self.state.base_path.as_ref().is_some_and(|path| path.ends_with(prefix));
        if !leads_here {
            self.mounting.call_once(|| {
                let public_url = self.state.config.public_url.as_str();
                log::warn!(
                    public_url, prefix;
                    "links in responses do not start with the prefix of the API: unless a proxy rewrites paths, end \
                     the path of public_url with the prefix"
                );
            });
        }
    }
}

/// Puts the API into an `App` or a `Scope`: the routes, the response to unknown paths, and the middleware around them.
macro_rules! serve {
    ($api:expr, $app:expr) => {{
        let origins = &$api.state.config.allowed_origins;
        let has_cors = origins.are_any();
        $app.configure(|config| $api.register(config))
            .default_service(router::not_found())
            // The last is the outermost.
            .wrap(Condition::new(has_cors, origins.middleware()))
            .wrap(Condition::new(has_cors, from_fn(cors::explain)))
            .wrap(RequestContext(Data::clone(&$api.state)))
    }};
}

/// Mounts the API below `prefix` in an app that has other routes too, and makes [`Bearer`](crate::Bearer) and
/// [`ClientAddress`](crate::ClientAddress) available to all of its handlers.
///
/// The API owns everything below the prefix: there, unknown paths get its problem documents, and every response has its
/// header fields. Nothing else in the app changes. The path of [`HttpConfig::public_url`] must be where clients find the
/// prefix, because links in responses start with it; if it does not end with the prefix, the log gets a warning.
///
/// Within a nested scope, the extractors are available to the handlers of that scope only. With several APIs in one app, each
/// serves its own prefix, and extractors elsewhere use the API that was configured last.
///
/// # Panics
/// Panics if `prefix` does not start with a slash, ends with one, or needs percent-encoding, which the router would never
/// match.
///
/// ```
/// use actix_web::{App, HttpResponse, web};
/// use portcullis_http::{Api, Bearer};
///
/// async fn orders(bearer: Bearer) -> HttpResponse {
///     HttpResponse::Ok().body(format!("orders of {}", bearer.claims().user))
/// }
///
/// # fn example(api: &std::sync::Arc<Api>) {
/// let app = App::new()
///     .configure(|config| portcullis_http::configure(config, api, "/auth"))
///     .route("/orders", web::get().to(orders));
/// # drop(app);
/// # }
/// ```
pub fn configure(config: &mut ServiceConfig, api: &Arc<Api>, prefix: &str) {
    let needs_no_encoding = prefix.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%');
    assert!(
        prefix.starts_with('/') && !prefix.ends_with('/') && needs_no_encoding,
        "the prefix of an API starts with a slash, has none at the end and needs no percent-encoding: {prefix:?}"
    );
    api.check_links(prefix);
    config.app_data(Data::clone(&api.state)).service(serve!(api, web::scope(prefix)));
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
    serve!(api, App::new())
}
