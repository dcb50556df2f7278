//! The parameters of the path.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;

/// The parameters of the path, by name.
///
/// An app may mount the API in a scope that has parameters too. actix-web's `Path<String>` counts them and fails with a bare
/// 404 if there is more than one.
#[derive(Debug)]
pub(crate) struct PathParameters(HttpRequest);

impl PathParameters {
    /// Returns the value of the route's parameter `name`.
    ///
    /// # Errors
    /// Fails with `internal_error` if the route has no such parameter.
    pub(crate) fn get(&self, name: &'static str) -> Result<&str, Problem> {
        // Those of enclosing scopes come first, and may have the same name.
        let values = self.0.match_info().iter().filter(|(known, _)| *known == name);
        values.last().map(|(_, value)| value).ok_or_else(|| {
            log::error!(name; "the route has no path parameter of this name");
            ProblemCode::InternalError.into()
        })
    }
}

impl FromRequest for PathParameters {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(request.clone())))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn parameter_of_the_route_precedes_those_of_scopes() {
        let request = TestRequest::default().param("id", "scope").param("tenant", "t").param("id", "route");
        let parameters = PathParameters(request.to_http_request());
        assert_eq!(parameters.get("id").unwrap(), "route");
        assert_eq!(parameters.get("tenant").unwrap(), "t");
        assert_eq!(parameters.get("other").unwrap_err().code(), ProblemCode::InternalError);
    }
}
