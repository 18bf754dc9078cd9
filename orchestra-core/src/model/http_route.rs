//! HTTP routes of the Gateway API: which requests go to which services, and what becomes of them on the way.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Condition, Extra, HttpHeader, ObjectMeta, TypeMeta};
use crate::object;

/// Which requests go to which services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HTTPRoute {
    /// `gateway.networking.k8s.io/v1`, `HTTPRoute`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: HttpRouteSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: HttpRouteStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(HTTPRoute, "gateway.networking.k8s.io", "v1", "httproutes", namespaced: true,
        desired: [spec, extra], status: status);

/// What is desired of an [`HTTPRoute`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteSpec {
    /// The gateways that it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// The hosts that it is for; none: every one. `*.shop.local` has all below `shop.local`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// What becomes of which requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<HttpRouteRule>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentReference {
    /// Its group; empty: the Gateway API's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its kind; empty: `Gateway`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its namespace; empty: the route's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The section of it, a listener by its name; empty: every one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub section_name: String,
    /// The port of its sections; `None`: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What becomes of the requests that one of its matches is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteRule {
    /// Its name, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Which requests; none: every one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<HttpRouteMatch>,
    /// What is changed on the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
    /// Where they go, each service with its share.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<HttpBackendRef>,
    /// How long they may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpRouteTimeouts>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A kind of request: all that it says must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteMatch {
    /// The path; `None`: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
    /// Headers that it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpValueMatch>,
    /// Parameters that its query has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<HttpValueMatch>,
    /// Its method; empty: every one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpPathMatch {
    /// How they are compared.
    #[serde(rename = "type")]
    pub type_: PathMatchType,
    /// What they are compared with.
    pub value: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for HttpPathMatch {
    fn default() -> Self {
        Self { type_: PathMatchType::PathPrefix, value: "/".to_owned(), extra: Extra::default() }
    }
}

/// How paths are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathMatchType {
    /// They are equal.
    Exact,
    /// They begin with it, by whole segments.
    #[default]
    PathPrefix,
    /// By an expression, which is refused here: each implementation has its own, and a bad one costs every request.
    RegularExpression,
}

/// A header or a parameter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpValueMatch {
    /// How its value is compared.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub type_: ValueMatchType,
    /// Its name.
    pub name: String,
    /// What its value is compared with.
    pub value: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How values are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueMatchType {
    /// They are equal.
    #[default]
    Exact,
    /// By an expression, which is refused here.
    RegularExpression,
}

/// Something that is changed on the way. The field of its type is set, and no other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteFilter {
    /// What it does.
    #[serde(rename = "type")]
    pub type_: HttpRouteFilterType,
    /// Changes headers of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HttpHeaderFilter>,
    /// Changes headers of answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HttpHeaderFilter>,
    /// Sends copies to another service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<HttpRequestMirrorFilter>,
    /// Answers with a redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<HttpRequestRedirectFilter>,
    /// Changes the host and the path.
    #[serde(rename = "urlRewrite", skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<HttpUrlRewriteFilter>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What an [`HttpRouteFilter`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HttpRouteFilterType {
    /// Changes headers of requests.
    #[default]
    RequestHeaderModifier,
    /// Changes headers of answers.
    ResponseHeaderModifier,
    /// Sends copies to another service.
    RequestMirror,
    /// Answers with a redirect.
    RequestRedirect,
    /// Changes the host and the path.
    URLRewrite,
    /// Something else, which is refused here.
    ExtensionRef,
    /// Answers other sites' scripts, which is refused here.
    CORS,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHeaderFilter {
    /// Put in place of all of their name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HttpHeader>,
    /// Put beside those of their name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HttpHeader>,
    /// Taken out, by their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where copies of requests go; of all of them where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRequestMirrorFilter {
    /// The service.
    pub backend_ref: BackendObjectReference,
    /// Of how many of a hundred, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// The same, more finely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl HttpRequestMirrorFilter {
    /// Of how many requests copies are made: so many of so many.
    #[must_use]
    pub fn share(&self) -> (u32, u32) {
        match (&self.fraction, self.percent) {
            (Some(fraction), _) => (fraction.numerator, fraction.denominator),
            (None, Some(percent)) => (percent, 100),
            (None, None) => (1, 1),
        }
    }
}

/// A part of a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fraction {
    /// How many, of the denominator at most.
    pub numerator: u32,
    /// Of how many, at least 1; 100 where it is not said.
    pub denominator: u32,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for Fraction {
    fn default() -> Self {
        Self { numerator: 0, denominator: 100, extra: Extra::default() }
    }
}

/// Where clients are sent instead. What it does not say stays as the client asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRequestRedirectFilter {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// The host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The status; 302 where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What services are asked for instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpUrlRewriteFilter {
    /// The host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Another path. The field of its type is set, and no other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpPathModifier {
    /// What is replaced.
    #[serde(rename = "type")]
    pub type_: HttpPathModifierType,
    /// In place of the whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// In place of what the match of the rule names, which must be a prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What an [`HttpPathModifier`] replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HttpPathModifierType {
    /// The whole path.
    #[default]
    ReplaceFullPath,
    /// What the match of the rule names.
    ReplacePrefixMatch,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendObjectReference {
    /// Its group; empty: the core's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its kind; empty: `Service`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its namespace; empty: the route's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A service with its share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpBackendRef {
    /// Its group; empty: the core's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its kind; empty: `Service`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its namespace; empty: the route's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its share beside the others': 0 to 1,000,000.
    pub weight: u32,
    /// What is changed on the way to it alone, which is refused here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for HttpBackendRef {
    fn default() -> Self {
        let none = String::new;
        let (group, kind, namespace, name) = (none(), none(), none(), none());
        let (filters, extra) = (Vec::new(), Extra::default());
        Self { group, kind, namespace, name, port: None, weight: 1, filters, extra }
    }
}

/// How long requests may take, such as `10s`, `1m30s` or `500ms`; `0s`: for ever.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteTimeouts {
    /// In all, until the answer begins.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// At one endpoint, until it answers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backend_request: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is observed of an [`HTTPRoute`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteStatus {
    /// What each gateway makes of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<RouteParentStatus>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a gateway makes of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteParentStatus {
    /// The gateway.
    pub parent_ref: ParentReference,
    /// Who says so.
    pub controller_name: String,
    /// What holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
