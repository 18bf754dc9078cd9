//! What an application's own listener answers about services and their endpoints.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde::Serialize;

/// The answer to `GET /endpoints`, as `application/json`: what `status` says, such as
/// [`Upstream::describe`](crate::Upstream::describe) or [`ServiceTable::describe`](crate::ServiceTable::describe). `None` where
/// something else is asked.
///
/// For a listener of the application's own, beside its metrics; it tells where endpoints are, so strangers should not reach it.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use orchestra_net::{Upstream, answer_endpoints};
///
/// let cart = Upstream::named("cart");
/// let request = http::Request::get("/endpoints").body(()).unwrap();
/// let answer = answer_endpoints(&request, || cart.describe()).unwrap();
/// assert_eq!(answer.body(), "{\"name\":\"cart\",\"balancer\":\"PeakEwma\",\"waiting\":0,\"endpoints\":[]}\n");
/// # });
/// ```
pub fn answer_endpoints<B, S: Serialize>(
    request: &Request<B>,
    status: impl FnOnce() -> S,
) -> Option<Response<String>> {
    if request.uri().path() != "/endpoints" || ![Method::GET, Method::HEAD].contains(request.method()) {
        return None;
    }
    let (code, text, kind) = match serde_json::to_string(&status()) {
        Ok(json) => (StatusCode::OK, json, "application/json"),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "text/plain; charset=utf-8"),
    };
    let mut response = Response::new(text + "\n");
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Some(response)
}
