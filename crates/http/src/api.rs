//! The API over a service, and the application of one worker over it.

use std::io;
use std::sync::Arc;

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
use crate::routes::docs::page::Docs;
use crate::routes::route::Route;
use crate::routes::{router, subjects};
use crate::state::ApiState;

/// What all requests share. Built once per process.
#[derive(Debug)]
pub struct Api {
    state: Data<ApiState>,
    routes: Vec<Route>,
    docs: Option<Data<Docs>>,
}

impl Api {
    /// Creates the API of an instance.
    ///
    /// # Errors
    /// When the threads of the password pool, or the one of `/ready`, cannot be started.
    pub fn new(core: &Arc<Core>, config: HttpConfig) -> io::Result<Self> {
        let subjects = subjects(&config);
        let docs = config.docs.then(|| Data::new(Docs::new(&openapi_of(&subjects, &config.public_url))));
        let state = Data::new(ApiState::new(core, config)?);
        Ok(Self { state, routes: subjects.into_iter().flat_map(|subject| subject.routes).collect(), docs })
    }

    /// Begins to stop: password work that waits in line is answered 503 instead of keeping the server from ending
    /// in time. What runs goes on.
    pub fn close_password_pool(&self) {
        self.state.password_pool.close();
    }

    /// How much password work waits and what became of the rest, for metrics.
    pub fn password_pool_counts(&self) -> PoolCounts {
        self.state.password_pool.counts()
    }

    /// Registers every route, and the data that its handler reads.
    fn register(&self, config: &mut ServiceConfig) {
        config.app_data(Data::clone(&self.state));
        if let Some(docs) = &self.docs {
            config.app_data(Data::clone(docs));
        }
        router::register(config, &self.routes, &self.state.limits);
    }
}

/// Mounts the API below `prefix` in an app that has other routes too, and makes [`Bearer`](crate::Bearer) and
/// [`ClientAddress`](crate::ClientAddress) available to all of its handlers.
///
/// The API owns everything below the prefix: there, unknown paths get its problem documents, and every response has its
/// header fields. Nothing else in the app changes. `prefix` starts with a slash and has none at the end. The path of
/// [`HttpConfig::public_url`] must be where clients find the prefix, because links in responses start with it.
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
    let origins = &api.state.config.allowed_origins;
    let has_cors = origins.are_any();
    let scope = web::scope(prefix)
        .configure(|config| api.register(config))
        .default_service(router::not_found())
        // The last is the outermost.
        .wrap(Condition::new(has_cors, origins.middleware()))
        .wrap(Condition::new(has_cors, from_fn(cors::explain)))
        .wrap(RequestContext(Data::clone(&api.state)));
    config.app_data(Data::clone(&api.state)).service(scope);
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
    let origins = &api.state.config.allowed_origins;
    let has_cors = origins.are_any();
    App::new()
        .configure(|config| api.register(config))
        .default_service(router::not_found())
        // The last is the outermost.
        .wrap(Condition::new(has_cors, origins.middleware()))
        .wrap(Condition::new(has_cors, from_fn(cors::explain)))
        .wrap(RequestContext(Data::clone(&api.state)))
}
