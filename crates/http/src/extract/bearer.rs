//! The only way an access token comes in: `Authorization: Bearer <token>` (RFC 6750, section 2.1).

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, dev};
use portcullis_domain::token::{AccessToken, Authentication, Claims, ConfirmSessionError, VerifiedClaims};
use portcullis_domain::{AuthService, Core};

use crate::blocking::Pool;
use crate::respond::base_path;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;
use crate::state::ApiState;

/// Proof that a request has a valid access token of a live session. An extractor, for handlers of any app that is
/// [configured](crate::configure) with an API. A request without such a token gets a problem document with status 401.
///
/// ```
/// use actix_web::{HttpResponse, web};
/// use portcullis_http::Bearer;
///
/// async fn orders(bearer: Bearer) -> HttpResponse {
///     HttpResponse::Ok().body(format!("orders of {}", bearer.claims().user))
/// }
///
/// let route = web::get().to(orders);
/// ```
#[derive(Clone, Debug)]
pub struct Bearer(pub(crate) VerifiedClaims);

impl Bearer {
    /// Returns the claims of the token.
    pub fn claims(&self) -> &Claims {
        self.0.claims()
    }

    /// Returns the proof that use cases of the domain require.
    pub fn verified(&self) -> &VerifiedClaims {
        &self.0
    }
}

impl FromRequest for Bearer {
    type Error = Problem;
    type Future = BearerFuture;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        let api = match ApiState::of(request) {
            Ok(api) => api,
            Err(problem) => return BearerFuture(Verdict::Known(ready(Err(problem)))),
        };
        // The handler may be one of an app around the API.
        base_path::scope_blocking(api.base_path.clone(), || BearerFuture(verdict(api, request)))
    }
}

/// Verifies the token of a request: at once, unless only the store knows the session.
fn verdict(api: &Data<ApiState>, request: &HttpRequest) -> Verdict {
    let known = match presented(request) {
        Err(problem) => Err(problem),
        Ok(None) => Err(ProblemCode::MissingToken.into()),
        Ok(Some(token)) => match api.auth.authenticate(token) {
            Authentication::Live(claims) => Ok(Bearer(claims)),
            Authentication::Refused => Err(ProblemCode::InvalidToken.into()),
            Authentication::NotReady => Err(ProblemCode::NotReady.into()),
            Authentication::NeedsLookup(claims) => {
                let (api, base_path) = (Data::clone(api), api.base_path.clone());
                let confirm = move |core: &Arc<Core>| AuthService::new(core).confirm_session(claims);
                return Verdict::Asked(base_path::scope(base_path, async move {
                    Ok(Bearer(api.blocking(Pool::Read, confirm).await??))
                }));
            }
        },
    };
    Verdict::Known(ready(known))
}

/// The future of [`Bearer`].
#[derive(Debug)]
pub struct BearerFuture(Verdict);

/// What comes of a bearer token: known at once, as nearly always, or asked of the store.
enum Verdict {
    Known(Ready<Result<Bearer, Problem>>),
    Asked(Pin<Box<dyn Future<Output = Result<Bearer, Problem>>>>),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known(_) => "Known",
            Self::Asked(_) => "Asked",
        })
    }
}

impl Future for BearerFuture {
    type Output = Result<Bearer, Problem>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Verdict::Known(known) => Pin::new(known).poll(context),
            Verdict::Asked(asked) => asked.as_mut().poll(context),
        }
    }
}

/// The access token of the request, if it has one. The token is not verified; an error means that the field cannot hold a
/// token.
#[derive(Debug)]
pub(crate) struct UnverifiedBearer(pub(crate) Result<Option<AccessToken>, Problem>);

impl FromRequest for UnverifiedBearer {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        let token = presented(request);
        ready(Ok(Self(token.map(|token| token.map(|token| AccessToken::new(token.to_owned()))))))
    }
}

impl From<ConfirmSessionError> for Problem {
    fn from(error: ConfirmSessionError) -> Self {
        match error {
            ConfirmSessionError::Refused => ProblemCode::InvalidToken.into(),
            ConfirmSessionError::Store(error) => error.into(),
        }
    }
}

/// The token of the `Authorization` field. Credentials of another scheme are as good as none.
fn presented(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let mut fields = request.headers().get_all(header::AUTHORIZATION);
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(field), None) => token_of(field),
        (Some(_), Some(_)) => Err(ProblemCode::InvalidToken.into()),
    }
}

fn token_of(field: &HeaderValue) -> Result<Option<&str>, Problem> {
    let credentials = field.as_bytes();
    let scheme_ends = credentials.iter().position(|&byte| byte == b' ').unwrap_or(credentials.len());
    let (scheme, rest) = credentials.split_at(scheme_ends);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = rest.get(1..).unwrap_or_default();
    if token.len() > MAX_TOKEN || !is_token68(token) {
        return Err(ProblemCode::InvalidToken.into());
    }
    str::from_utf8(token).map(Some).map_err(|_never| ProblemCode::InvalidToken.into())
}

/// `token68` of RFC 9110, section 11.2, which RFC 6750 calls `b64token`. Asked of every byte of every token: without a
/// branch in the loop, the compiler looks at many bytes at once.
fn is_token68(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = &text[..text.len() - padding];
    // From `-` to `9` lie `.`, `/` and the digits.
    #[expect(clippy::needless_bitwise_bool, reason = "the lazy ones are branches")]
    let is_one = |byte: u8| {
        byte.is_ascii_alphabetic()
            | (b'-'..=b'9').contains(&byte)
            | (byte == b'_')
            | (byte == b'~')
            | (byte == b'+')
    };
    !body.is_empty() && body.iter().fold(true, |all, &byte| all & is_one(byte))
}

/// The longest token looked at, in bytes.
const MAX_TOKEN: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_token68_after_one_space_is_looked_at() {
        let check = |field: &str, expected: Result<Option<&str>, ()>| {
            let value = HeaderValue::from_str(field).unwrap();
            assert_eq!(token_of(&value).map_err(|_problem| ()), expected, "{field:?}");
        };
        check("Bearer aZ9-._~+/==", Ok(Some("aZ9-._~+/==")));
        check("bEARER a", Ok(Some("a")));
        check("Basic YTpi", Ok(None));
        check("Bearer", Err(()));
        check("Bearer ", Err(()));
        check("Bearer =", Err(()));
        check("Bearer a=b", Err(()));
        check("Bearer  a", Err(()));
        check("Bearer a ", Err(()));
        check("Bearer a,b", Err(()));
        check("Bearer \"a\"", Err(()));
        check("Bearer a%62", Err(()));
        check("Bearer \u{e9}", Err(()));
        check("B\u{e9}arer a", Ok(None));
        for byte in 0x20..0x7f_u8 {
            let belongs = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(is_token68(&[byte]), belongs, "{:?}", char::from(byte));
        }
        check(&format!("Bearer {}", "x".repeat(MAX_TOKEN)), Ok(Some(&"x".repeat(MAX_TOKEN))));
        check(&format!("Bearer {}", "x".repeat(MAX_TOKEN + 1)), Err(()));
    }
}
