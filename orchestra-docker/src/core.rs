//! What all parts of the runtime share: the connection, the cluster, and how containers are looked up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use orchestra_core::runtime::RuntimeError;
use tokio::sync::OnceCell;

use crate::collect::Collector;
use crate::kills::Kills;
use crate::members::Members;
use crate::raw::Local;
use crate::tasks::Tasks;
use crate::{error, helper, labels, podman};

/// Calls in flight where many containers are looked at: more than eight gain nothing on a small host.
pub(crate) const IN_FLIGHT: usize = 8;

/// How long a container may take to be created or removed by a call that was begun before.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// Containers in one answer of the engine, where all are listed: what is read of one is some 4 KB, of which little is kept.
const PAGE: i32 = 100;

/// How often a list that is read page by page begins again where the container is gone that its next page would begin after. Then
/// it is read at once.
const BEGINS: usize = 3;

/// Between two looks at a container that is being created or removed: the engine tells of neither.
const SETTLE_PERIOD: Duration = Duration::from_millis(20);

/// The filter of those that were created before a container.
const BEFORE: &str = "before";

/// The filter of containers with all these labels.
fn labelled(labels: Vec<String>) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), labels)])
}

fn list_failed(error: Error) -> RuntimeError {
    error::read("the engine", "list containers", error)
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) docker: Docker,
    pub(crate) cluster: String,
    /// Whether the engine is reached over a network, where nobody may say that the other side is gone.
    pub(crate) remote: bool,
    pub(crate) network: String,
    pub(crate) host_address: IpAddr,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) service_network: Option<Ipv4Addr>,
    pub(crate) docker_config: Option<PathBuf>,
    pub(crate) seccomp_profiles: Option<PathBuf>,
    pub(crate) collector: Option<Collector>,
    pub(crate) pull_stall: Duration,
    /// Whether the engine is Podman, which has habits of its own.
    pub(crate) is_podman: bool,
    /// The engine without its client, for what terminals show.
    pub(crate) local: Option<Local>,
    pub(crate) pause_image: String,
    /// Why the engine has no limits for a whole pod, where it has none; asked for when a pod wants some.
    pub(crate) no_pod_limits: OnceCell<Option<String>>,
    pub(crate) tasks: Tasks,
    pub(crate) locks: Locks,
    pub(crate) created: Unstarted,
    pub(crate) members: Members,
    pub(crate) kills: Kills,
    /// The engine's ids of the helpers that somebody waits for.
    pub(crate) helpers: Mutex<BTreeSet<String>>,
    /// The addresses of sandboxes that ran when they were last looked at: each probe asks for one.
    pub(crate) addresses: Mutex<BTreeMap<Arc<str>, IpAddr>>,
}

/// Containers that were created here and not started, with the engine's ids: nobody need look at them before their start.
#[derive(Debug, Default)]
pub(crate) struct Unstarted(Mutex<BTreeMap<String, String>>);

impl Unstarted {
    /// Those of more containers are forgotten, which costs a look each: more do not wait for their start at once.
    const LIMIT: usize = 1024;

    pub(crate) fn note(&self, name: &str, docker_id: String) {
        let mut created = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if created.len() == Self::LIMIT {
            created.pop_first();
        }
        created.insert(name.to_owned(), docker_id);
    }

    /// Whoever starts it takes it out: what became of that is not known here.
    pub(crate) fn take(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

/// One lock a container or sandbox, for as long as somebody holds or wants it.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<BTreeMap<String, Weak<tokio::sync::RwLock<()>>>>);

impl Locks {
    pub(crate) fn of(&self, id: &str) -> Arc<tokio::sync::RwLock<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(id).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::RwLock::new(()));
        locks.insert(id.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// A container of ours, as the engine describes it.
#[derive(Debug)]
pub(crate) struct Found {
    /// The engine's id, which is never given to another container.
    pub(crate) docker_id: String,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) details: ContainerInspectResponse,
}

/// What a call that creates has come to.
#[derive(Debug)]
pub(crate) enum Created {
    /// A container with this id of the engine, which nobody has started.
    New(String),
    /// One that was there under the name.
    Found(Box<Found>),
}

impl Found {
    pub(crate) fn phase(&self) -> ContainerStateStatusEnum {
        let state = self.details.state.as_ref().and_then(|state| state.status);
        state.unwrap_or(ContainerStateStatusEnum::EMPTY)
    }

    /// Whether its process runs; a paused one does.
    pub(crate) fn is_running(&self) -> bool {
        self.details.state.as_ref().is_some_and(|state| state.running == Some(true))
    }

    /// Whether its program has a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.details.config.as_ref().and_then(|config| config.tty) == Some(true)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.phase() == ContainerStateStatusEnum::REMOVING
    }

    /// Whether the engine may have begun to start it and forgotten that: it was killed meanwhile, and takes it for one that nobody
    /// started. Where it could not run the program it says so by these exit codes, and has cleaned up.
    pub(crate) fn is_forgotten(&self) -> bool {
        let code = self.details.state.as_ref().and_then(|state| state.exit_code);
        self.phase() == ContainerStateStatusEnum::CREATED && !matches!(code, Some(126 | 127))
    }

    pub(crate) fn has_role(&self, role: &str) -> bool {
        labels::has_role(&self.labels, role)
    }
}

impl Core {
    /// Takes down where a sandbox is, or that it has no address.
    pub(crate) fn note_address(&self, sandbox: &Arc<str>, ip: Option<IpAddr>) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        match ip {
            Some(ip) => addresses.insert(Arc::clone(sandbox), ip),
            None => addresses.remove(sandbox),
        };
    }

    /// The container with that id of the engine, where it is ours.
    pub(crate) async fn by_docker_id(&self, docker_id: &str) -> Result<Option<Found>, RuntimeError> {
        Ok(self.inspect(docker_id).await?.and_then(|details| self.ours(details)))
    }

    async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
        match podman::read(self.docker.inspect_container(id, None::<InspectContainerOptions>).await) {
            Ok(details) => Ok(Some(details)),
            Err(error) if error::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(error::read(id, "inspect it", error)),
        }
    }

    /// The container of that id of ours, with the role; `None` where there is none, or it is somebody else's.
    pub(crate) async fn find(&self, id: &str, role: &str) -> Result<Option<Found>, RuntimeError> {
        if !id.starts_with(&labels::cluster_prefix(&self.cluster)) {
            return Ok(None);
        }
        Ok(self
            .inspect(id)
            .await?
            .and_then(|details| self.ours(details))
            .filter(|found| found.has_role(role)))
    }

    fn ours(&self, mut details: ContainerInspectResponse) -> Option<Found> {
        let labels = details.config.as_mut()?.labels.take()?;
        let docker_id = details.id.clone()?;
        (labels.get(labels::CLUSTER)? == &self.cluster).then_some(Found { docker_id, labels, details })
    }

    /// Containers with all these labels, and that of the cluster.
    pub(crate) async fn summaries(
        &self,
        with: &[(&str, &str)],
        all: bool,
    ) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let mut wanted = vec![format!("{}={}", labels::CLUSTER, self.cluster)];
        wanted.extend(with.iter().map(|(key, value)| format!("{key}={value}")));
        self.listed(&labelled(wanted), all, None).await.map_err(list_failed)
    }

    async fn listed(
        &self,
        filters: &HashMap<String, Vec<String>>,
        all: bool,
        most: Option<i32>,
    ) -> Result<Vec<ContainerSummary>, Error> {
        let options = ListContainersOptionsBuilder::default().all(all).filters(filters);
        let options = if let Some(most) = most { options.limit(most) } else { options };
        podman::read(self.docker.list_containers(Some(options.build())).await)
    }

    /// Shows `seen` all containers of the cluster, page by page, the newest first; some of them more than once, where one is removed
    /// meanwhile. One that is created meanwhile may be among them or not.
    pub(crate) async fn each(&self, mut seen: impl FnMut(ContainerSummary)) -> Result<(), RuntimeError> {
        let mut filters = labelled(vec![format!("{}={}", labels::CLUSTER, self.cluster)]);
        let mut begins = 1;
        loop {
            let most = (begins <= BEGINS).then_some(PAGE);
            let page = match self.listed(&filters, true, most).await {
                Err(error) if filters.contains_key(BEFORE) && error::status(&error).is_some() => {
                    filters.remove(BEFORE);
                    begins += 1;
                    continue;
                }
                page => page.map_err(list_failed)?,
            };
            let is_full = i32::try_from(page.len()).ok() == most;
            let last = page.last().and_then(|summary| summary.id.clone());
            page.into_iter().for_each(&mut seen);
            match last {
                Some(last) if is_full => filters.insert(BEFORE.to_owned(), vec![last]),
                _ => return Ok(()),
            };
        }
    }

    /// The containers of a sandbox, its own among them, in full. Where another process has made it the engine looks through all that
    /// it has for each label that is asked for, so it is asked for one, which no other cluster's containers have.
    pub(crate) async fn of_sandbox(&self, id: &str) -> Result<Vec<Found>, RuntimeError> {
        let Some(members) = self.members.of(id) else {
            let filters = labelled(vec![format!("{}={id}", labels::SANDBOX)]);
            let listed = self.listed(&filters, true, None).await.map_err(list_failed)?;
            return self.described(listed.into_iter().filter_map(|summary| summary.id), |_gone| {}).await;
        };
        let mut found = self.described(members, |member| self.members.is_missing(id, member)).await?;
        // Under a name that is free somebody may have made one of their own.
        found.retain(|found| found.labels.get(labels::SANDBOX).is_some_and(|of| of == id));
        Ok(found)
    }

    /// Those of ours among these ids or names, in full; `missing` is told of each that the engine does not have.
    pub(crate) async fn described(
        &self,
        ids: impl IntoIterator<Item = String>,
        missing: impl Fn(&str),
    ) -> Result<Vec<Found>, RuntimeError> {
        let looks = ids.into_iter().map(|id| async move { Ok((self.inspect(&id).await?, id)) });
        let mut looks = stream::iter(looks).buffer_unordered(IN_FLIGHT);
        let mut all = Vec::new();
        while let Some((details, id)) = looks.try_next().await? {
            match details {
                Some(details) => all.extend(self.ours(details)),
                None => missing(&id),
            }
        }
        Ok(all)
    }

    /// Creates a container, or finds the one that an earlier call, or one whose answer was lost, has created under the
    /// name.
    pub(crate) async fn create_or_find(
        &self,
        name: &str,
        role: &str,
        body: ContainerCreateBody,
    ) -> Result<Created, RuntimeError> {
        let deadline = tokio::time::Instant::now() + SETTLE_LIMIT;
        let image = body.image.clone().unwrap_or_default();
        loop {
            let options = CreateContainerOptionsBuilder::default().name(name).build();
            match self.docker.create_container(Some(options), body.clone()).await {
                Ok(created) => return Ok(Created::New(created.id)),
                Err(error) if error::is_taken(&error) => {}
                Err(error) if error::message(&error).to_lowercase().contains("no such image") => {
                    let why = "it is not present: pull or import it first".to_owned();
                    return Err(RuntimeError::ImageNotFound { image, why });
                }
                // Whether it was created is found out below.
                Err(error) if error::is_lost(&error) => {
                    tracing::debug!(container = name, %error, "the answer to its creation was lost");
                }
                Err(error) => return Err(error::effect(name, "create it", error)),
            }
            // The name is taken before the container is there, and after it is gone: `None` says nothing.
            if let Some(details) = self.inspect(name).await? {
                let Some(found) = self.ours(details).filter(|found| found.has_role(role)) else {
                    return Err(self.taken(name));
                };
                if !found.is_leaving() {
                    return Ok(Created::Found(Box::new(found)));
                }
            }
            if tokio::time::Instant::now() > deadline {
                let source = "the engine neither finishes creating nor removing it".into();
                return Err(RuntimeError::OutcomeUnknown {
                    subject: name.to_owned(),
                    operation: "create it",
                    source,
                });
            }
            tokio::time::sleep(SETTLE_PERIOD).await;
        }
    }

    fn taken(&self, name: &str) -> RuntimeError {
        let what = format!("its name, by a container that is not of the cluster {},", self.cluster);
        RuntimeError::InUse { subject: name.to_owned(), what }
    }

    /// Ends what an engine that was killed during a start has left of it: a process that waits to become the program, and its
    /// shim. The engine would remove the container and leave them for good.
    pub(crate) async fn end_forgotten(&self, docker_id: &str, subject: &str) -> Result<(), RuntimeError> {
        let words = vec!["end".to_owned(), docker_id.to_owned()];
        match helper::run(self, subject, words, helper::may_kill()).await? {
            0 => Ok(()),
            code => {
                let why = format!("the helper ended with code {code}");
                Err(error::refused(subject, "end what a lost start has left", &why))
            }
        }
    }

    /// The same for a container of this name that is to be removed, where its start may have been lost. Whether what was created was
    /// to be started, the engine does not know: those that were not are known here.
    pub(crate) async fn end_if_forgotten(
        &self,
        found: &Found,
        name: &str,
        subject: &str,
    ) -> Result<(), RuntimeError> {
        if self.created.take(name).is_none() && found.is_forgotten() {
            self.end_forgotten(&found.docker_id, subject).await?;
        }
        Ok(())
    }

    /// Removes a container, killing it where `force` says so, and returns when it is gone.
    pub(crate) async fn remove(
        &self,
        docker_id: &str,
        subject: &str,
        force: bool,
    ) -> Result<(), RuntimeError> {
        let deadline = tokio::time::Instant::now() + SETTLE_LIMIT;
        loop {
            let options = RemoveContainerOptionsBuilder::default().v(true).force(force).build();
            let last = match self.docker.remove_container(docker_id, Some(options)).await {
                Ok(()) => return Ok(()),
                Err(error) if error::status(&error) == Some(404) => return Ok(()),
                Err(error) => error,
            };
            // Podman wants the containers of a sandbox to go first, which they do meanwhile.
            let waits = ["already in progress", "has dependent containers"];
            let leaving = waits.iter().any(|words| error::message(&last).contains(words));
            let runs =
                error::status(&last) == Some(409) || error::message(&last).contains("as it is running");
            if runs && !leaving {
                return Err(RuntimeError::InUse {
                    subject: subject.to_owned(),
                    what: "the container".to_owned(),
                });
            }
            if !leaving || tokio::time::Instant::now() > deadline {
                return Err(error::effect(subject, "remove it", last));
            }
            tokio::time::sleep(SETTLE_PERIOD).await;
        }
    }
}
