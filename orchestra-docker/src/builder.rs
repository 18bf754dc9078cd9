//! Connecting to an engine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::Docker;
use orchestra_core::runtime::RuntimeError;
use tokio::sync::OnceCell;

use crate::collect::{Collector, ImageCollection};
use crate::core::{Core, Locks, Unstarted};
use crate::kills::Kills;
use crate::members::Members;
use crate::raw::Local;
use crate::runtime::DockerRuntime;
use crate::tasks::Tasks;
use crate::{error, helper, image, message, pause, podman, pull, services, volumes};

/// How long the engine may take to begin an answer, in seconds: the client's own default.
#[cfg(any(feature = "tls", feature = "ssh"))]
const CALL_SECONDS: u64 = 120;

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
    docker_config: Option<PathBuf>,
    seccomp_profiles: Option<PathBuf>,
    collection: Option<ImageCollection>,
    pull_stall: Duration,
    #[cfg(feature = "tls")]
    tls: Option<PathBuf>,
    #[cfg(feature = "ssh")]
    ssh_key: Option<PathBuf>,
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
            docker_config: None,
            seccomp_profiles: None,
            collection: None,
            pull_stall: pull::STALL,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "ssh")]
            ssh_key: None,
        }
    }

    /// Connects to this engine: `unix:///path/to/socket`, `tcp://host:port`, or, with the feature `ssh`,
    /// `ssh://user@host:port`. That of `DOCKER_HOST` otherwise, or `/var/run/docker.sock`.
    ///
    /// An engine on another host is a node as any other, with this to be seen to: the addresses of its pods must be
    /// routed to here and between the hosts, and what pods mount from their node must be there under the same path as
    /// here (a file system that both have).
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Speaks TLS with an engine at a `tcp://` address, both sides with certificates: `ca.pem`, `cert.pem` and
    /// `key.pem` of this directory, as Docker's own programs have them in `DOCKER_CERT_PATH`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, certificates: impl Into<PathBuf>) -> Self {
        self.tls = Some(certificates.into());
        self
    }

    /// Logs in to an engine at a `ssh://` address with this private key; with those that the program `ssh` finds
    /// otherwise. Whose key that host has, the program's settings say; a new one is taken down.
    #[cfg(feature = "ssh")]
    pub fn ssh_key(mut self, file: impl Into<PathBuf>) -> Self {
        self.ssh_key = Some(file.into());
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

    /// Pulls with the credentials of this configuration of Docker's, `~/.docker/config.json`, where a pod brings none: those
    /// in it, or of the credential helpers (`docker-credential-NAME`) that it names. It is read anew for each pull.
    pub fn docker_config(mut self, file: impl Into<PathBuf>) -> Self {
        self.docker_config = Some(file.into());
        self
    }

    /// The directory of this host with the files that a `seccompProfile` of the type `Localhost` names: profiles as Docker takes
    /// them. Without it such containers are refused.
    pub fn seccomp_profiles(mut self, dir: impl Into<PathBuf>) -> Self {
        self.seccomp_profiles = Some(dir.into());
        self
    }

    /// Removes images to make room before one is pulled, of all that a registry gave and nobody uses: ask for it where the
    /// engine has no other users. Needs the engine to be on this host.
    pub fn collect_images(mut self, collection: ImageCollection) -> Self {
        self.collection = Some(collection);
        self
    }

    /// How long nothing may come of an image that is pulled, before the pull is ended and tried again later: a minute otherwise.
    pub fn pull_stall(mut self, limit: Duration) -> Self {
        self.pull_stall = limit;
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
        let docker = self.client().map_err(|error| error::read(SUBJECT, "connect to it", error))?;
        let remote = self.is_remote();
        let docker = docker.negotiate_version().await;
        let docker = docker.map_err(|error| error::read(SUBJECT, "settle on an API version", error))?;
        let state_dir = self.state_dir.map(|dir| message::prepare(&dir, &self.cluster)).transpose()?;
        let pause_image = pause::ensure(&docker).await?;
        let version =
            docker.version().await.map_err(|error| error::read(SUBJECT, "ask what it is", error))?;
        let collector = match self.collection {
            Some(_) if remote => {
                let why = "the disk of an engine on another host can't be measured from here".to_owned();
                return Err(RuntimeError::Unsupported { subject: "collecting images".to_owned(), why });
            }
            Some(collection) => {
                let info =
                    docker.info().await.map_err(|error| error::read(SUBJECT, "ask what it is", error))?;
                let digests_tell = !podman::is(&version) && !image::is_containerds(&info);
                let root = info.docker_root_dir.unwrap_or_default();
                Some(Collector::new(collection, root.into(), digests_tell))
            }
            None => None,
        };
        let local = Local::of(self.host.as_deref(), &docker).filter(|_| !podman::is(&version));
        let core = Core {
            docker,
            cluster: self.cluster,
            remote,
            network: self.network,
            host_address: self.host_address,
            state_dir,
            service_network: self.service_network,
            docker_config: self.docker_config,
            seccomp_profiles: self.seccomp_profiles,
            collector,
            pull_stall: self.pull_stall,
            is_podman: podman::is(&version),
            local,
            pause_image,
            no_pod_limits: OnceCell::new(),
            tasks: Tasks::default(),
            locks: Locks::default(),
            created: Unstarted::default(),
            members: Members::default(),
            kills: Kills::default(),
            helpers: Mutex::default(),
            addresses: Mutex::default(),
        };
        helper::remove_left(&core).await?;
        volumes::remove_left(&core).await?;
        if let Some(dir) = &core.state_dir {
            // Those of containers that somebody removed while nobody looked.
            let mut names = BTreeSet::new();
            core.each(|summary| {
                let of_it = summary.names.unwrap_or_default();
                names.extend(of_it.iter().map(|name| name.trim_start_matches('/').to_owned()));
            })
            .await?;
            message::remove_all(dir, |container| !names.contains(container));
        }
        if let Some(network) = core.service_network {
            services::open(&core, network).await?;
        }
        Ok(DockerRuntime::new(Arc::new(core)))
    }

    /// Whether the engine is reached over a network.
    fn is_remote(&self) -> bool {
        let host = self.host.clone().or_else(|| std::env::var("DOCKER_HOST").ok()).unwrap_or_default();
        host.split_once("://").is_some_and(|(scheme, _)| !matches!(scheme, "unix" | "npipe"))
    }

    fn client(&self) -> Result<Docker, bollard::errors::Error> {
        let Some(host) = &self.host else { return Docker::connect_with_defaults() };
        #[cfg(feature = "tls")]
        if let Some(dir) = &self.tls {
            let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| dir.join(name));
            return Docker::connect_with_ssl(
                host,
                &key,
                &cert,
                &ca,
                CALL_SECONDS,
                bollard::API_DEFAULT_VERSION,
            );
        }
        #[cfg(feature = "ssh")]
        if host.starts_with("ssh://") {
            let key = self.ssh_key.as_ref().map(|key| key.display().to_string());
            return Docker::connect_with_ssh(host, CALL_SECONDS, bollard::API_DEFAULT_VERSION, key);
        }
        Docker::connect_with_host(host)
    }
}
