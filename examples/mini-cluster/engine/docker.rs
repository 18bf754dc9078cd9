//! Docker Engine: images that hold nothing but this program and the libraries it is linked with.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, bail};
use orchestra::net::DataPlaneOptions;
use orchestra::prelude::*;
use orchestra::runtime::{ContainerId, ContainerState, ExecOptions, Runtime as _};

use super::VERSIONS;
use crate::shop;

/// The services' addresses, which containers reach: a network that is set aside for tests (RFC 2544).
const SERVICES: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// Where the images have this program.
const PROGRAM: &str = "mini-cluster";

pub(crate) struct Docker {
    /// Each node's, on the one engine.
    runtimes: BTreeMap<String, DockerRuntime>,
    /// The images' names begin so, unlike those of anybody else.
    repository: String,
}

pub(super) fn data_plane() -> DataPlaneOptions {
    DataPlaneOptions::default().with_service_network(SERVICES)
}

impl Docker {
    pub(super) async fn open(nodes: &[&str]) -> anyhow::Result<Self> {
        let repository = format!("mini-cluster-{}", std::process::id());
        let mut runtimes = BTreeMap::new();
        for name in nodes {
            let runtime = DockerRuntime::builder(format!("{repository}-{name}")).service_network(SERVICES);
            runtimes.insert((*name).to_owned(), runtime.connect().await?);
        }
        let docker = Self { runtimes, repository };
        println!("Docker: making the shop's images of this program");
        let made = docker.make_images().await;
        if made.is_err() {
            docker.close().await?;
        }
        made.map(|()| docker)
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn node(&self, name: &str) -> anyhow::Result<NodeOptions> {
        let runtime = self.runtimes.get(name).with_context(|| format!("no runtime for {name}"))?;
        Ok(NodeOptions::new(name, runtime.clone()))
    }

    fn any(&self) -> anyhow::Result<&DockerRuntime> {
        self.runtimes.values().next().context("there is no node")
    }

    fn images(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let name = |service, version| format!("{}/{service}:{version}", self.repository);
        shop::NAMES
            .into_iter()
            .flat_map(move |service| VERSIONS.map(|version| (service, version, name(service, version))))
    }

    async fn make_images(&self) -> anyhow::Result<()> {
        let mut files = ImageFiles::new();
        files.this_program(PROGRAM)?;
        for (service, version, name) in self.images() {
            files.entrypoint([format!("/{PROGRAM}").as_str(), "shop", service]);
            files.env("VERSION", version)?;
            self.any()?.import_image(&name, &files).await?;
        }
        Ok(())
    }

    /// The pod's container, and the runtime that has it.
    async fn container(&self, pod: &Pod) -> anyhow::Result<(&DockerRuntime, ContainerId)> {
        for runtime in self.runtimes.values() {
            let sandboxes = runtime.list().await?;
            let of_pod = sandboxes.into_iter().filter(|sandbox| sandbox.pod_uid == pod.metadata.uid);
            let mut containers = of_pod.flat_map(|sandbox| sandbox.containers);
            if let Some(found) = containers.find(|c| matches!(c.state, ContainerState::Running { .. })) {
                return Ok((runtime, found.id));
            }
        }
        bail!("no container of {} runs", pod.metadata.name)
    }

    /// The pod's processes have numbers of their own, so the killer is run inside.
    pub(super) async fn kill(&self, pod: &Pod, pid: u64) -> anyhow::Result<()> {
        let (runtime, container) = self.container(pod).await?;
        let command = vec![format!("/{PROGRAM}"), "kill".to_owned(), pid.to_string()];
        let options = ExecOptions { command, ..ExecOptions::default() };
        match runtime.exec(&container, &options).await?.exit.await {
            // It may end with the container before it can say so.
            Ok(0) | Err(_) => Ok(()),
            Ok(code) => bail!("the killer ended with {code}"),
        }
    }

    pub(super) async fn close(&self) -> anyhow::Result<()> {
        for runtime in self.runtimes.values() {
            // Those of a node that lost power are stopped, and still there.
            for sandbox in runtime.list().await? {
                runtime.remove_sandbox(&sandbox.id).await?;
            }
        }
        for (.., name) in self.images() {
            self.any()?.remove_image(&name.into()).await?;
        }
        Ok(self.any()?.close_service_network().await?)
    }
}
