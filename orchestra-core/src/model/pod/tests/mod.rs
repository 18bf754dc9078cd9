//! Pods as manifests, and what is refused in them.

mod manifest;
mod numbers;
mod rules;
mod update;

use serde_json::{Value, json};

use super::{Container, EnvVar, LifecycleHandler, Pod, PodSpec, Probe, Volume};
use crate::model::{FieldErrors, Object, Toleration};

/// The pod of a manifest.
fn read(manifest: Value) -> Pod {
    serde_json::from_value(manifest).unwrap()
}

/// A good pod that uses much of what there is.
fn good() -> Pod {
    let web = Container::new("web", "shop/web:1")
        .command(["/web"])
        .args(["--verbose"])
        .named_port("http", 8080)
        .env("MODE", "prod")
        .env_var(EnvVar::field("POD_IP", "status.podIP"))
        .env_var(EnvVar::secret("TOKEN", "tokens", "web"))
        .env_from_config_map("settings")
        .request("cpu", "100m")
        .limit("cpu", "1")
        .limit("memory", "64Mi")
        .mount("scratch", "/scratch")
        .liveness(Probe::http("/healthz", 8080).period(5))
        .readiness(Probe::tcp("http").initial_delay(1).successes(2))
        .startup(Probe::exec(["true"]).failures(30))
        .pre_stop(LifecycleHandler::sleep(2));
    let spec = PodSpec::new(web)
        .init_container(Container::new("migrate", "shop/migrate:1"))
        .sidecar(Container::new("proxy", "shop/proxy:1").readiness(Probe::grpc(9000)))
        .volume(Volume::empty_dir("scratch"))
        .volume(Volume::config_map("settings", "settings"))
        .grace_period(10)
        .on_nodes_with("disk", "ssd")
        .toleration(Toleration::exists("dedicated"));
    let mut pod = Pod::new("web-1").namespace("shop").label("app", "web").spec(spec);
    pod.set_defaults();
    pod
}

/// What is wrong with `pod`: `path: message` each.
fn wrong(pod: &Pod) -> Vec<String> {
    let mut errors = FieldErrors::new();
    pod.validate(&mut errors);
    errors.errors().iter().map(ToString::to_string).collect()
}

#[test]
fn the_good_pod_is_good() {
    assert_eq!(wrong(&good()), Vec::<String>::new());
    assert_eq!(good().to_value()["kind"], json!("Pod"));
}
