//! Ingresses and HTTP routes, as manifests, followed by a proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::header::LOCATION;
use http::{HeaderName, Request, StatusCode};
use http_body_util::Full;
use orchestra_core::engine::Tasks;
use orchestra_core::model::{HTTPRoute, Ingress};
use orchestra_net::{HttpOptions, HttpProxy, Listening, NetError, Routes, Upstream};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::client::{Client, read};

/// Services by their names, made as they are asked for.
#[derive(Default)]
struct Services(Mutex<BTreeMap<String, Arc<Upstream>>>);

impl Services {
    fn find(&self, name: String) -> Arc<Upstream> {
        let mut all = self.0.lock().unwrap();
        Arc::clone(all.entry(name.clone()).or_insert_with(|| Upstream::named(name)))
    }

    fn routes(&self, objects: &[Value]) -> (Routes, Vec<NetError>) {
        let read = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind).cloned();
        let ingresses: Vec<Ingress> = read("Ingress").map(|o| serde_json::from_value(o).unwrap()).collect();
        let routes: Vec<HTTPRoute> = read("HTTPRoute").map(|o| serde_json::from_value(o).unwrap()).collect();
        let (ingresses, routes): (Vec<_>, Vec<_>) = (ingresses.iter().collect(), routes.iter().collect());
        Routes::from_objects(&ingresses, &routes, |namespace, service, port| {
            self.find(format!("{namespace}/{service}{port}"))
        })
    }
}

fn http_route(name: &str, created: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": "shop", "creationTimestamp": created});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec})
}

fn ingress(spec: &Value) -> Value {
    let metadata = json!({"name": "ingress", "namespace": "shop"});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec})
}

/// Which service's rule counts for a request.
fn found(routes: &Routes, request: http::request::Builder) -> String {
    let request = request.body(()).unwrap();
    let service = routes.find(&request).map(|route| route.services().next().unwrap().name().to_string());
    service.unwrap_or_else(|| "none".to_owned())
}

fn get(host: &str, path: &str) -> http::request::Builder {
    Request::get(path).header("host", host)
}

#[tokio::test]
async fn an_ingress_routes_by_host_and_path() {
    let to = |name: &str| json!({"service": {"name": name, "port": {"number": 80}}});
    let path =
        |kind: &str, path: &str, name: &str| json!({"path": path, "pathType": kind, "backend": to(name)});
    let (routes, refused) = Services::default().routes(&[ingress(&json!({
        "defaultBackend": {"service": {"name": "default", "port": {"name": "http"}}},
        "rules": [
            {"host": "shop.local", "http": {"paths": [
                path("Prefix", "/cart/", "cart"), path("Exact", "/cart/1", "one"), path("ImplementationSpecific", "", "all"),
            ]}},
            {"host": "*.shop.local", "http": {"paths": [path("Prefix", "/", "below")]}},
            {"host": "bare.local"},
        ],
    }))]);
    assert!(refused.is_empty(), "{refused:?}");
    for (host, path, service) in [
        ("shop.local", "/cart", "shop/cart:80"),
        ("shop.local", "/cart/1", "shop/one:80"),
        ("shop.local:81", "/cart/1/2", "shop/cart:80"),
        ("shop.local", "/carts", "shop/all:80"),
        ("a.shop.local", "/x", "shop/below:80"),
        ("b.a.shop.local", "/x", "shop/default:http"),
        ("bare.local", "/", "shop/default:http"),
        ("other", "/", "shop/default:http"),
    ] {
        assert_eq!(found(&routes, get(host, path)), service, "{host}{path}");
    }
}

#[tokio::test]
async fn precedence_among_routes_is_the_gateway_apis() {
    let to = |name: &str| json!([{"name": name, "port": 80}]);
    let rule = |matches: Value, name: &str| json!({"matches": [matches], "backendRefs": to(name)});
    let prefix = |value: &str| json!({"type": "PathPrefix", "value": value});
    let header =
        |n: usize| (0..n).map(|i| json!({"name": format!("x-{i}"), "value": "1"})).collect::<Vec<_>>();
    let one = http_route(
        "one",
        "2026-01-02T00:00:00Z",
        &json!({
            "hostnames": ["shop.local"],
            "rules": [
                rule(json!({"path": prefix("/")}), "root"),
                rule(json!({"path": prefix("/a")}), "short"),
                rule(json!({"path": prefix("/a/b")}), "long"),
                rule(json!({"path": {"type": "Exact", "value": "/a/b"}}), "exact"),
                rule(json!({"path": prefix("/a/b"), "method": "POST"}), "method"),
                rule(json!({"path": prefix("/a/b"), "headers": header(1)}), "one-header"),
                rule(json!({"path": prefix("/a/b"), "headers": header(2)}), "two-headers"),
                rule(json!({"path": prefix("/a/b"), "queryParams": [{"name": "q", "value": "a b"}]}), "parameter"),
            ],
        }),
    );
    let younger = http_route(
        "a-younger",
        "2026-01-03T00:00:00Z",
        &json!({
            "hostnames": ["shop.local", "*.shop.local"], "rules": [rule(json!({"path": prefix("/a")}), "younger")],
        }),
    );
    let everywhere = http_route(
        "everywhere",
        "2026-01-01T00:00:00Z",
        &json!({
            "rules": [{"matches": [{"path": {"type": "Exact", "value": "/a/b"}}, {"method": "PUT"}], "backendRefs": to("any")}],
        }),
    );
    let twins = ["shop", "shop-b"].map(|namespace| {
        let rules = json!({"rules": [rule(json!({"path": prefix("/twin")}), "twin")]});
        let mut twin = http_route("twin", "2026-01-02T00:00:00Z", &rules);
        twin["metadata"]["namespace"] = json!(namespace);
        twin
    });
    let (routes, refused) = Services::default().routes(&twins);
    assert!(refused.is_empty(), "{refused:?}");
    // By `namespace/name`, in which a dash comes before the slash.
    assert_eq!(found(&routes, get("other", "/twin")), "shop-b/twin:80");
    let (routes, refused) = Services::default().routes(&[younger, everywhere, one]);
    assert!(refused.is_empty(), "{refused:?}");
    let is = |request: http::request::Builder, service: &str| {
        assert_eq!(found(&routes, request), format!("shop/{service}:80"));
    };
    is(get("shop.local", "/x"), "root");
    is(get("shop.local", "/a"), "short");
    is(get("shop.local", "/a/b/c"), "long");
    is(get("shop.local", "/a/b"), "exact");
    is(Request::post("/a/b/c").header("host", "shop.local").header("x-0", "1"), "method");
    is(get("shop.local", "/a/b/c").header("x-0", "1"), "one-header");
    is(get("shop.local", "/a/b/c?q=a+b").header("x-0", "1"), "one-header");
    is(get("shop.local", "/a/b/c").header("x-0", "1").header("x-1", "1"), "two-headers");
    is(get("shop.local", "/a/b/c?q=a+b"), "parameter");
    is(get("b.a.shop.local", "/a/b"), "younger");
    is(get("other", "/a/b"), "any");
    is(Request::put("/z").header("host", "other"), "any");
    assert_eq!(found(&routes, get("other", "/z")), "none");
}

async fn serve(routes: Routes) -> Listening {
    let proxy = HttpProxy::new(routes, HttpOptions::default(), &Tasks::new());
    proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap()
}

#[tokio::test]
async fn filters_shares_and_redirects_are_carried_out() {
    let (a, copy) = (Backend::start("a").await, Backend::start("copy").await);
    let few = Backend::start("few").await;
    let services = Services::default();
    services.find("shop/few:81".to_owned()).apply([few.endpoint()]);
    services.find("shop/a:80".to_owned()).apply([a.endpoint()]);
    services.find("shop/copy:81".to_owned()).apply([copy.endpoint()]);
    let (routes, refused) = services.routes(&[http_route("r", "2026-01-01T00:00:00Z", &json!({"rules": [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/shop"}}],
            "filters": [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {
                    "set": [{"name": "x-set", "value": "s"}], "add": [{"name": "x-add", "value": "a"}], "remove": ["x-gone"]}},
                {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-answer", "value": "1"}]}},
                {"type": "URLRewrite", "urlRewrite": {
                    "hostname": "inside", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}},
                {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "copy", "port": 81}}},
                {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "few", "port": 81}, "percent": 0}},
            ],
            "backendRefs": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "weight": 0}],
        },
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/old"}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": {
                "scheme": "https", "statusCode": 301,
                "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}}],
        },
        {"matches": [{"path": {"type": "Exact", "value": "/nowhere"}}], "backendRefs": [{"name": "b", "port": 80, "weight": 0}]},
        {
            "matches": [{"path": {"type": "Exact", "value": "/never"}}], "backendRefs": [{"name": "a", "port": 80}],
            "timeouts": {"request": "5s", "backendRequest": "20ms"},
        },
    ]}))]);
    assert!(refused.is_empty(), "{refused:?}");
    let listening = serve(routes).await;
    let mut client = Client::new(listening.address());
    let ask = Request::get("/shop/head?x=1")
        .header("host", "shop.local")
        .header("x-gone", "1")
        .header("x-set", "0");
    let answer = client.send(ask.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(answer.headers()["x-answer"], "1");
    let head = read(answer).await.unwrap().1;
    assert!(head.starts_with("GET /head?x=1 HTTP/1.1\n"), "{head}");
    for line in ["host: inside\n", "x-set: s\n", "x-add: a\n"] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(!head.contains("x-gone"), "{head}");
    crate::until("the copy came", || copy.entered() == 1).await;
    assert_eq!(few.entered(), 0);
    let ask = Request::get("/old/1?x").header("host", "shop.local").body(Full::default()).unwrap();
    let answer = client.send(ask).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()[LOCATION]),
        (StatusCode::MOVED_PERMANENTLY, &"https://shop.local/new/1?x".parse().unwrap())
    );
    drop(read(answer).await);
    let (status, text) = client.get("/nowhere").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
    let (status, text) = client.get("/never").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{text}");
    assert!(text.contains("within 20ms"), "{text}");
    assert_eq!(client.get("/").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_can_not_be_followed_is_told_and_the_rest_is_followed() {
    let backend = |backend: Value| json!({"rules": [{"backendRefs": [backend]}]});
    let regex = json!({"rules": [{"matches": [{"path": {"type": "RegularExpression", "value": "/.*"}}]}]});
    for (spec, why) in [
        (
            regex,
            "spec.rules[0].matches[0].path.type: RegularExpression is not supported: use Exact or PathPrefix",
        ),
        (
            backend(json!({"kind": "Bucket", "name": "b"})),
            "spec.rules[0].backendRefs[0]: Bucket b is no Service",
        ),
        (backend(json!({"namespace": "bank", "name": "b", "port": 80})), "bank/b is in another namespace"),
        (backend(json!({"name": "b"})), "needs a port of the Service b"),
    ] {
        let bad = http_route("bad", "2026-01-01T00:00:00Z", &spec);
        let good = http_route("good", "2026-01-02T00:00:00Z", &backend(json!({"name": "a", "port": 80})));
        let (routes, refused) = Services::default().routes(&[bad, good]);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].to_string(), "HTTPRoute shop/bad can't be followed");
        let source = std::error::Error::source(&refused[0]).unwrap().to_string();
        assert!(source.contains(why), "{source}");
        assert_eq!(found(&routes, get("x", "/")), "shop/a:80");
    }
    let header = (HeaderName::from_static("x"), "1");
    assert_eq!(found(&Routes::new(), get("x", "/").header(header.0, header.1)), "none");
}
