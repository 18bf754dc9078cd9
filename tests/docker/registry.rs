//! Images from a registry, which is one of the test's own: credentials, digests, and room that is made for them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orchestra::docker::ImageCollection;
use orchestra::model::Event;
use orchestra::prelude::*;
use serde_json::json;
use tokio::net::TcpListener;

use crate::daemon::Daemon;
use crate::host::{Host, busybox, eventually, until};
use crate::trouble::told;

/// `me:own`, as it comes in the header.
const BASIC: &str = "Basic bWU6b3du";

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What blobs are: layers, and the settings of images, which are smaller than this.
const SMALL: usize = 4096;
const LAYER: &str = "application/octet-stream";

fn digest(content: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, content);
    hash.as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How a layer comes: in so many pieces, with a pause before each.
#[derive(Clone, Copy)]
struct Pace {
    pieces: usize,
    pause: Duration,
    /// After so many nothing more comes.
    silent_after: usize,
}

impl Pace {
    fn body(self, content: &Bytes) -> Body {
        let size = content.len().div_ceil(self.pieces).max(1);
        let pieces: Vec<_> = content.chunks(size).map(Bytes::copy_from_slice).collect();
        let pieces = stream::iter(pieces.into_iter().enumerate()).then(move |(number, piece)| async move {
            if number >= self.silent_after {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(self.pause).await;
            Ok(Frame::data(piece))
        });
        StreamBody::new(pieces).boxed_unsync()
    }
}

/// A registry by the distribution API, on loopback, where engines speak plain HTTP. Only who is `me` gets anything.
struct Registry {
    address: String,
    /// By digest, and manifests by name and tag too.
    content: BTreeMap<String, Bytes>,
    /// How layers come; at once where it is not said.
    pace: Option<Pace>,
}

impl Registry {
    /// One with the images `shop/a:1`, `shop/b:1` and `shop/c:1`, each with a program that sleeps.
    async fn start() -> Arc<Self> {
        Self::start_at(None).await
    }

    /// The same, whose layers come at that pace.
    async fn start_at(pace: Option<Pace>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut registry =
            Self { address: listener.local_addr().unwrap().to_string(), content: BTreeMap::new(), pace };
        for name in ["a", "b", "c"] {
            registry.add(name);
        }
        let registry = Arc::new(registry);
        let served = Arc::clone(&registry);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                tokio::spawn(async move {
                    let service = service_fn(async |request| Ok::<_, Infallible>(served.answer(&request)));
                    let http = hyper::server::conn::http1::Builder::new();
                    // The engine may go at any time.
                    let _ended = http.serve_connection(TokioIo::new(connection), service).await;
                });
            }
        });
        registry
    }

    fn keep(&mut self, content: impl Into<Bytes>) -> serde_json::Value {
        let content = content.into();
        let digest = digest(&content);
        let described = json!({"digest": digest, "size": content.len()});
        self.content.insert(digest, content);
        described
    }

    fn add(&mut self, name: &str) {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, content) in [("bin/sleep", busybox().unwrap()), ("name", name.as_bytes().to_vec())] {
            let mut head = tar::Header::new_gnu();
            head.set_size(content.len() as u64);
            head.set_mode(0o755);
            layer.append_data(&mut head, path, content.as_slice()).unwrap();
        }
        let layer = layer.into_inner().unwrap();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}});
        let (mut config, mut layer) = (self.keep(config.to_string()), self.keep(layer));
        config["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let manifest = Bytes::from(manifest.to_string());
        self.keep(manifest.clone());
        self.content.insert(format!("{name}:1"), manifest);
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let refused = |status, code: &str| {
            let body = json!({"errors": [{"code": code, "message": code}]}).to_string();
            let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
            answer
                .header(header::WWW_AUTHENTICATE, "Basic realm=\"shop\"")
                .body(Full::from(body).boxed_unsync())
                .unwrap()
        };
        if request.headers().get(header::AUTHORIZATION).is_none_or(|given| given != BASIC) {
            return refused(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
        let path: Vec<_> = request.uri().path().split('/').collect();
        let (found, kind) = match path[..] {
            ["", "v2", ""] => (Some(Bytes::new()), "text/plain"),
            ["", "v2", "shop", _, "blobs", digest] => (self.content.get(digest).cloned(), LAYER),
            ["", "v2", "shop", name, "manifests", tag] => {
                let by_tag = self.content.get(&format!("{name}:{tag}"));
                (by_tag.or_else(|| self.content.get(tag)).cloned(), MANIFEST)
            }
            _ => (None, ""),
        };
        let Some(found) = found else { return refused(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN") };
        let answer = Response::builder().header(header::CONTENT_TYPE, kind);
        let answer = answer.header("Docker-Content-Digest", digest(&found));
        let answer = answer.header(header::CONTENT_LENGTH, found.len());
        let body = if request.method() == Method::HEAD { Bytes::new() } else { found };
        let body = match self.pace {
            Some(pace) if kind == LAYER && body.len() > SMALL => pace.body(&body),
            _ => Full::new(body).boxed_unsync(),
        };
        answer.body(body).unwrap()
    }

    fn image(&self, name: &str) -> String {
        format!("{}/shop/{name}", self.address)
    }

    /// The Docker configuration of who may pull.
    fn config(&self) -> String {
        json!({"auths": {self.address.as_str(): {"username": "me", "password": "own"}}}).to_string()
    }
}

fn pod(name: &str, image: &str, more: &str) -> String {
    format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, {more}
        containers: [{{name: main, image: "{image}", command: [/bin/sleep, "1000"]}}]}}}}"#
    )
}

async fn runs(cluster: &Cluster, name: &str) {
    until::<Pod>(cluster, name, |pod| pod.is_some_and(Pod::is_ready)).await;
}

/// An engine of the test's own, so that nobody else's images are removed.
async fn open(test: &str, subnet: u8) -> Option<(Host, Daemon)> {
    let daemon = match Daemon::open(test, subnet, false).await {
        Ok(daemon) => daemon,
        Err(why) => {
            crate::host::skip(&why);
            return None;
        }
    };
    let name = format!("orchestra-test-{test}-{}", std::process::id());
    Some((Host { dir: std::env::temp_dir().join(&name), name, socket: Some(daemon.socket()) }, daemon))
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_registry_need_their_secret_and_are_what_their_digest_says() {
    let Some((host, _daemon)) = open("registry", 6).await else { return };
    let registry = Registry::start().await;
    let cluster = host.cluster().await;
    let a = registry.image("a:1");
    cluster.apply_yaml(&pod("open", &a, "")).await.unwrap();
    told(&cluster, "open", "no basic auth credentials").await;

    let mut secret = Secret::new("pull").entry(".dockerconfigjson", registry.config());
    secret.type_ = "kubernetes.io/dockerconfigjson".to_owned();
    cluster.apply(secret).await.unwrap();
    let with_secret = "imagePullSecrets: [{name: pull}],";
    let exact = registry.image(&format!("b@{}", digest(&registry.content["b:1"])));
    cluster.apply_yaml(&pod("tagged", &a, with_secret)).await.unwrap();
    cluster.apply_yaml(&pod("exact", &exact, with_secret)).await.unwrap();
    let other = registry.image(&format!("b@{}", digest(b"another")));
    cluster.apply_yaml(&pod("other", &other, with_secret)).await.unwrap();
    runs(&cluster, "tagged").await;
    runs(&cluster, "exact").await;
    told(&cluster, "other", "not found").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn room_for_an_image_is_made_by_those_that_nobody_uses() {
    let Some((host, _daemon)) = open("collect", 5).await else { return };
    let registry = Registry::start().await;
    std::fs::create_dir_all(&host.dir).unwrap();
    let config = host.dir.join("config.json");
    std::fs::write(&config, registry.config()).unwrap();
    let mut always = ImageCollection::default();
    (always.high, always.low, always.min_age) = (0, 0, Duration::ZERO);
    let runtime = host.builder().docker_config(&config).collect_images(always).connect().await.unwrap();
    let cluster = host.cluster_on(runtime).await;
    for name in ["a", "b"] {
        cluster.apply_yaml(&pod(name, &registry.image(&format!("{name}:1")), "")).await.unwrap();
        runs(&cluster, name).await;
    }
    cluster.delete::<Pod>("b", &DeleteOptions::default()).await.unwrap();
    until::<Pod>(&cluster, "b", |pod| pod.is_none()).await;
    cluster.apply_yaml(&pod("c", &registry.image("c:1"), "")).await.unwrap();
    runs(&cluster, "c").await;
    let images = host.docker(&["images", "--format", "{{.Repository}}"]);
    for (name, is_there) in [("a", true), ("b", false), ("c", true), ("orchestra-pause", true)] {
        assert_eq!(images.lines().any(|image| image.ends_with(name)), is_there, "{name} of {images}");
    }
    cluster.stop().await;
    eventually("nothing is left", || host.containers().is_empty().then_some(())).await;
}

/// What was said of a pod's pull, in order.
async fn pulling(cluster: &Cluster, pod: &str) -> Vec<String> {
    let events = cluster.list::<Event>(&ListOptions::default()).await.unwrap().items;
    let of_pod = events.iter().filter(|e| e.involved_object.name == pod && e.reason == "Pulling");
    of_pod.map(|event| event.message.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_says_how_far_it_has_come_and_is_ended_when_it_stalls() {
    let Some((host, _daemon)) = open("progress", 8).await else { return };
    std::fs::create_dir_all(&host.dir).unwrap();
    let config = host.dir.join("config.json");
    // Twelve seconds in all: longer than the time between two events, twice.
    let pace = Pace { pieces: 40, pause: Duration::from_millis(300), silent_after: usize::MAX };
    let slow = Registry::start_at(Some(pace)).await;
    let silent = Registry::start_at(Some(Pace { silent_after: 20, pause: Duration::ZERO, ..pace })).await;
    let auth = json!({"username": "me", "password": "own"});
    let auths = json!({"auths": {slow.address.as_str(): auth, silent.address.as_str(): auth}});
    std::fs::write(&config, auths.to_string()).unwrap();
    let runtime = host.builder().docker_config(&config).pull_stall(Duration::from_secs(3));
    let cluster = host.cluster_on(runtime.connect().await.unwrap()).await;
    cluster.apply_yaml(&pod("slow", &slow.image("a:1"), "")).await.unwrap();
    cluster.apply_yaml(&pod("silent", &silent.image("b:1"), "")).await.unwrap();
    told(&cluster, "silent", "nothing came for 3s").await;
    runs(&cluster, "slow").await;
    let said = pulling(&cluster, "slow").await;
    let of_bytes: Vec<_> = said.iter().filter(|message| message.contains(" bytes in ")).collect();
    assert!((1..=3).contains(&of_bytes.len()), "at most one every five seconds: {said:?}");
    cluster.stop().await;
    eventually("nothing is left", || host.containers().is_empty().then_some(())).await;
}
