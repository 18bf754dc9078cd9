//! What the contract does not ask of a runtime: images made of files, and services that pods reach on the host.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::Ipv4Addr;

use common::Host;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{ContainerSpec, LogOptions, Runtime, SandboxSpec};
use orchestra_docker::{DockerRuntime, ImageFiles};
use tokio::io::AsyncWriteExt;

/// Set aside for tests of networks (RFC 2544); the second half of it, as the mini-cluster has the first.
const SERVICES: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

/// Runs a container to its end, and gives what it wrote.
async fn output(runtime: &DockerRuntime, pod: &str, spec: &ContainerSpec) -> String {
    let sandbox =
        runtime.run_sandbox(&SandboxSpec::new("test", pod, Uid::from(pod.to_owned()))).await.unwrap();
    let container = runtime.create_container(&sandbox.id, spec).await.unwrap();
    runtime.start_container(&container).await.unwrap();
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut log = runtime.logs(&container, &options).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = log.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap().bytes));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_has_its_program_and_its_variables_as_they_were_given() {
    let Some(host) = Host::open("program").await else { return };
    host.scope(async |host| {
        let mut files = host.files();
        let hostile = r#"a "b" $HOME \ 'c' ${X:-y}"#;
        files.entrypoint(["/bin/sh", "-c", r#"printf '%s|%s' "$VALUE" "$1""#, "sh"]);
        files.env("VALUE", hostile).unwrap();
        let image = format!("{}-own:1", host.name);
        host.runtime.import_image(&image, &files).await.unwrap();
        let mut spec = ContainerSpec::new("main", image.as_str());
        spec.args = vec!["an argument".to_owned()];
        let written = output(&host.runtime, "own", &spec).await;
        host.remove_sandboxes().await;
        host.runtime.remove_image(&image.into()).await.unwrap();
        assert_eq!(written, format!("{hostile}|an argument"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_in_an_image_of_itself() {
    let Some(host) = Host::open("itself").await else { return };
    host.scope(async |host| {
        let mut files = ImageFiles::new();
        files.this_program("bin/program").unwrap();
        files.entrypoint(["/bin/program", "--list"]);
        let image = format!("{}-itself:1", host.name);
        host.runtime.import_image(&image, &files).await.unwrap();
        let listed = output(&host.runtime, "itself", &ContainerSpec::new("main", image.as_str())).await;
        host.remove_sandboxes().await;
        host.runtime.remove_image(&image.into()).await.unwrap();
        assert!(listed.contains("a_program_runs_in_an_image_of_itself: test"), "{listed}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_reach_who_listens_in_the_service_network() {
    let Some(host) = Host::open("services").await else { return };
    host.scope(async |host| {
        let cluster = format!("{}-routed", host.name);
        let routed = DockerRuntime::builder(cluster).service_network(SERVICES).connect().await.unwrap();
        // The route is there already.
        let again =
            DockerRuntime::builder(format!("{}-again", host.name)).service_network(SERVICES).connect().await;
        drop(again.unwrap());
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::new(198, 19, 64, 1), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"hello from the host").await.unwrap();
        };
        let mut spec = ContainerSpec::new("main", host.image.as_str());
        spec.command =
            ["/bin/nc", &address.ip().to_string(), &address.port().to_string()].map(String::from).into();
        let ((), heard) = tokio::join!(serve, output(&host.runtime, "caller", &spec));
        assert_eq!(heard, "hello from the host");
        host.remove_sandboxes().await;
        routed.close_service_network().await.unwrap();
        routed.close_service_network().await.unwrap();
        assert!(tokio::net::TcpListener::bind((Ipv4Addr::new(198, 19, 64, 1), 0)).await.is_err());
    })
    .await;
}
