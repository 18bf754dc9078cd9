//! What runs the containers of the tour's nodes: plain processes, or Docker Engine.

#[cfg(feature = "docker")]
mod docker;
mod process;

use std::path::Path;

use clap::ValueEnum;
use orchestra::ClusterBuilder;
use orchestra::prelude::*;

/// The versions of the shop's images; `broken` exits at once.
const VERSIONS: [&str; 3] = ["1", "2", "broken"];

/// What the user asks for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Plain processes.
    Process,
    /// Docker Engine.
    Docker,
    /// Docker Engine where one answers, plain processes elsewhere.
    Auto,
}

/// What runs the containers.
pub(crate) enum Engine {
    Process,
    #[cfg(feature = "docker")]
    Docker(docker::Docker),
}

impl Engine {
    /// Makes what was chosen ready for the nodes of these names.
    #[cfg(feature = "docker")]
    pub(crate) async fn open(choice: Choice, nodes: &[&str]) -> anyhow::Result<Self> {
        if choice == Choice::Process {
            return Ok(Self::Process);
        }
        match docker::Docker::open(nodes).await {
            Ok(docker) => Ok(Self::Docker(docker)),
            Err(error) if choice == Choice::Auto => {
                println!("plain processes, because Docker is not to be had: {error:#}");
                Ok(Self::Process)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes what was chosen ready for the nodes of these names.
    #[cfg(not(feature = "docker"))]
    pub(crate) async fn open(choice: Choice, _nodes: &[&str]) -> anyhow::Result<Self> {
        anyhow::ensure!(
            choice != Choice::Docker,
            "this build has no Docker runtime: build it with `--features docker`"
        );
        Ok(Self::Process)
    }

    /// Adds a node to the cluster. What it leaves behind is in `dir`.
    pub(crate) fn node(
        &self,
        builder: ClusterBuilder,
        name: &str,
        dir: &Path,
    ) -> anyhow::Result<ClusterBuilder> {
        let node = match self {
            Self::Process => process::node(name, dir)?,
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.node(name)?,
        };
        Ok(builder.node(node.data_dir(dir.join(name).join("volumes"))))
    }

    /// Tells the cluster where its services have their addresses.
    pub(crate) fn configure(&self, builder: ClusterBuilder) -> ClusterBuilder {
        match self {
            Self::Process => builder,
            #[cfg(feature = "docker")]
            Self::Docker(_) => builder.data_plane(docker::data_plane()),
        }
    }

    /// What the names of the shop's images begin with.
    pub(crate) fn repository(&self) -> &str {
        match self {
            Self::Process => "shop",
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.repository(),
        }
    }

    /// Kills a process of the pod, which it has this number for.
    #[cfg_attr(not(feature = "docker"), allow(unused_variables, reason = "processes are this machine's own"))]
    pub(crate) async fn kill(&self, pod: &Pod, pid: u64) -> anyhow::Result<()> {
        match self {
            Self::Process => process::kill(pid).await,
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.kill(pod, pid).await,
        }
    }

    /// Removes what is left, after the cluster was stopped.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        match self {
            Self::Process => Ok(()),
            #[cfg(feature = "docker")]
            Self::Docker(docker) => docker.close().await,
        }
    }
}
