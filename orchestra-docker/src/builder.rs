//! Connecting to an engine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use bollard::Docker;
use orchestra_core::runtime::RuntimeError;
use tokio_util::task::TaskTracker;

use crate::core::{Core, Locks};
use crate::runtime::DockerRuntime;
use crate::{error, helper, message, pause, services};

/// Configures a [`DockerRuntime`].
#[derive(Clone, Debug)]
#[must_use = "nothing is connected before `connect`"]
pub struct DockerRuntimeBuilder {
    cluster: String,
    host: Option<String>,
    network: String,
    host_address: IpAddr,
    state_dir: Option<PathBuf>,
    service_network: Option<Ipv4Addr>,
}

impl DockerRuntimeBuilder {
    pub(crate) fn new(cluster: String) -> Self {
        Self {
            cluster,
            host: None,
            network: "bridge".to_owned(),
            host_address: Ipv4Addr::LOCALHOST.into(),
            state_dir: None,
            service_network: None,
        }
    }

    /// Connects to this engine: `unix:///path/to/socket` or `tcp://host:port`. That of `DOCKER_HOST` otherwise, or
    /// `/var/run/docker.sock`.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Gives pods their addresses on this network of the engine, which exists: `bridge` otherwise.
    pub fn network(mut self, network: impl Into<String>) -> Self {
        self.network = network.into();
        self
    }

    /// Where pods in the host's network are reached: 127.0.0.1 otherwise, which is right for an engine on this host.
    pub fn host_address(mut self, address: IpAddr) -> Self {
        self.host_address = address;
        self
    }

    /// Keeps the containers' termination messages in this directory of the engine's host, which must be this host. It
    /// is created where need be. Without it `/dev/termination-log` is not there, and no message is read.
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// Lets pods reach services whose addresses are of the /16 that this address is in, by who listens for them in the
    /// network of the engine's host: it is made to answer for that network, by a route that stays until
    /// [`DockerRuntime::close_service_network`] or the host's next start. The network must be used for nothing else.
    /// Services have their addresses from there where the cluster's data plane is told the same.
    pub fn service_network(mut self, network: Ipv4Addr) -> Self {
        self.service_network = Some(network);
        self
    }

    /// Connects, settles on an API version, and makes the sandboxes' image where it is not there.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] where no engine answers, [`RuntimeError::Unsupported`] where it is of another
    /// architecture or too old, [`RuntimeError::InUse`] where a network of the engine has addresses of the service
    /// network.
    pub async fn connect(self) -> Result<DockerRuntime, RuntimeError> {
        const SUBJECT: &str = "the engine";
        if self.cluster.is_empty() {
            let why = "the cluster's id is empty: name the cluster whose containers these are".to_owned();
            return Err(RuntimeError::Unsupported { subject: SUBJECT.to_owned(), why });
        }
        let docker = match &self.host {
            Some(host) => Docker::connect_with_host(host),
            None => Docker::connect_with_defaults(),
        };
        let docker = docker.map_err(|error| error::read(SUBJECT, "connect to it", error))?;
        let docker = docker.negotiate_version().await;
        let docker = docker.map_err(|error| error::read(SUBJECT, "settle on an API version", error))?;
        let state_dir = self.state_dir.map(|dir| message::prepare(&dir, &self.cluster)).transpose()?;
        let pause_image = pause::ensure(&docker).await?;
        let core = Core {
            docker,
            cluster: self.cluster,
            network: self.network,
            host_address: self.host_address,
            state_dir,
            service_network: self.service_network,
            pause_image,
            tasks: TaskTracker::new(),
            locks: Locks::default(),
        };
        helper::remove_left(&core).await?;
        if let Some(network) = core.service_network {
            services::open(&core, network).await?;
        }
        Ok(DockerRuntime::new(Arc::new(core)))
    }
}
