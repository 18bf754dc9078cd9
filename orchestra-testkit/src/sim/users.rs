//! What people do to a cluster.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::client::{Client, ClientError, DeleteOptions, ListOptions, Propagation};
use orchestra_core::model::{Deployment, LabelSelector, Namespace, Node, Pod, PodSpec, Resource, Scheme};
use orchestra_core::rng::Rng;
use orchestra_core::store::Store;

use super::apps::{App, OTHER, bare_pod};
use super::image::runs_any;
use super::process::{Actor, Link, Process};
use super::store::FaultyStore;
use super::world::World;

/// The label of pods that were taken aside.
const ASIDE: &str = "aside";

/// How often people try again what failed for the moment.
const TRIES: u32 = 40;

/// How often they try to put an application right, a second apart: what can't be deleted can't be made anew.
const PUTS_RIGHT: u32 = 120;

/// The people.
#[derive(Debug)]
pub(crate) struct Users {
    world: Arc<World>,
    client: Client,
    rng: Rng,
    apps: Vec<App>,
    bare: usize,
}

impl Users {
    pub(crate) fn new(world: &Arc<World>, scheme: &Arc<Scheme>) -> Self {
        let (process, link) = (Arc::new(Process::new()), Arc::new(Link::new()));
        let store: Arc<dyn Store> = Arc::new(FaultyStore::new(world, Actor::User, &process, &link));
        let rng = world.rng.fork();
        let client = Client::new(store, Arc::clone(scheme), Arc::clone(&world.clock), rng.fork());
        let apps = (0..world.options.deployments).map(|index| App::of(&rng, index)).collect();
        Self { world: Arc::clone(world), client, rng, apps, bare: world.options.bare_pods }
    }

    /// Makes the namespaces, and all that is to run.
    pub(crate) async fn set_up(&self) {
        for name in ["default", OTHER, "kube-node-lease"] {
            self.insist("make a namespace", || self.client.apply(Namespace::new(name))).await;
        }
        for app in &self.apps {
            self.put(app).await;
        }
        for index in 0..self.bare {
            let pod = bare_pod(&self.rng, index);
            self.insist("make a pod", || self.client.apply(pod.clone())).await;
        }
    }

    /// Does a number of things, spread over a time.
    pub(crate) async fn act(&mut self, actions: usize, time: Duration) {
        let share = time / u32::try_from(actions + 1).unwrap_or(1);
        for _ in 0..actions {
            tokio::time::sleep(share / 2 + self.world.up_to(share)).await;
            if !self.apps.is_empty() {
                self.act_once().await;
            }
        }
    }

    /// Puts right what they did, so that everything can run.
    pub(crate) async fn put_right(&mut self) {
        let nodes = self.client.list::<Node>(&ListOptions::all_namespaces()).await;
        for node in nodes.iter().flat_map(|list| &list.items).filter(|node| node.spec.unschedulable) {
            self.cordon(&node.metadata.name, false).await;
        }
        self.remove_broken_aside().await;
        for index in 0..self.apps.len() {
            self.apps[index].flaw = None;
            if self.apps[index].paused {
                // One that stands between a good version and a bad one must go on.
                self.apps[index].paused = self.rng.chance(0.5) && self.is_whole(&self.apps[index]).await;
            }
            let app = self.apps[index].clone();
            for _ in 0..PUTS_RIGHT {
                let live = self.client.namespace(app.namespace).find::<Deployment>(&app.name).await;
                let live = live.ok().flatten();
                let broken = live
                    .as_ref()
                    .is_none_or(|live| is_broken(&live.spec.template.spec) || live.metadata.is_deleting());
                if !broken && live.is_some_and(|live| live.spec.paused == self.apps[index].paused) {
                    break;
                }
                self.apps[index].version += 1;
                // A paused deployment does not get the version that puts it right.
                self.apps[index].paused &= !broken;
                let app = self.apps[index].clone();
                self.put(&app).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Whether an application has all its pods, and they are ready.
    async fn is_whole(&self, app: &App) -> bool {
        let live = self.client.namespace(app.namespace).find::<Deployment>(&app.name).await;
        live.ok().flatten().is_some_and(|live| {
            live.status.ready_replicas == live.spec.replicas && live.status.replicas == live.spec.replicas
        })
    }

    /// Deletes the pods that were taken aside and can't run: nobody else would.
    async fn remove_broken_aside(&self) {
        let labels = LabelSelector::labels([("app", ASIDE)]);
        let options = ListOptions { labels, ..ListOptions::all_namespaces() };
        let pods = self.insist("list pods", || self.client.list::<Pod>(&options)).await;
        for pod in pods.iter().flat_map(|list| &list.items).filter(|pod| is_broken(&pod.spec)) {
            let client = self.client.namespace(pod.metadata.namespace.as_str());
            let options = DeleteOptions::default().uid(pod.metadata.uid.clone());
            self.insist("delete a pod", || client.delete::<Pod>(&pod.metadata.name, &options)).await;
        }
    }

    async fn act_once(&mut self) {
        let index = usize::try_from(self.rng.below(self.apps.len() as u64)).unwrap_or(0);
        let name = self.apps[index].name.clone();
        match self.rng.below(12) {
            0 | 1 => {
                self.apps[index].replicas = u32::try_from(self.rng.below(7)).unwrap_or(1);
                self.did("scale", &name);
                let app = self.apps[index].clone();
                let client = self.client.namespace(app.namespace);
                self.insist("scale", || client.scale::<Deployment>(&app.name, app.replicas)).await;
            }
            2..=4 => {
                self.apps[index].version += 1;
                self.apps[index].flaw = None;
                self.did("new version", &name);
                self.put(&self.apps[index]).await;
            }
            5 => {
                let flaws: &[&str] = if self.apps[index].has_probe() {
                    &["crash", "missing", "unready"]
                } else {
                    &["crash", "missing"]
                };
                let pick = usize::try_from(self.rng.below(flaws.len() as u64)).unwrap_or(0);
                self.apps[index].version += 1;
                self.apps[index].flaw = Some(flaws[pick]);
                self.did("bad version", &name);
                self.put(&self.apps[index]).await;
            }
            6 => {
                self.did("undo", &name);
                self.undo(index).await;
            }
            7 => {
                self.apps[index].paused = !self.apps[index].paused;
                self.did("pause or resume", &name);
                self.put(&self.apps[index]).await;
            }
            8 => self.delete_and_recreate(index).await,
            9 => self.delete_pod(index).await,
            10 => self.relabel(index).await,
            _ => self.drain_node().await,
        }
    }

    fn did(&self, what: &str, name: &str) {
        self.world.note(format_args!("user: {what} {name}"));
    }

    /// Tries until it works, or can't.
    async fn insist<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        what: &str,
        call: impl Fn() -> F,
    ) -> Option<T> {
        for _ in 0..TRIES {
            match call().await {
                Ok(done) => return Some(done),
                Err(error) if error.is_transient() || error.is_conflict() => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => {
                    self.world.note(format_args!("user: can't {what}: {error}"));
                    return None;
                }
            }
        }
        None
    }

    async fn apply<T: Resource>(&self, object: T) {
        self.insist("apply", || self.client.apply(object.clone())).await;
    }

    /// Applies an application with all that belongs to it.
    async fn put(&self, app: &App) {
        if let Some(config) = app.config() {
            self.apply(config).await;
        }
        if let Some(service) = app.service() {
            self.apply(service).await;
        }
        if let Some(budget) = app.budget() {
            self.apply(budget).await;
        }
        self.apply(app.deployment()).await;
    }

    async fn undo(&self, index: usize) {
        let app = &self.apps[index];
        let client = self.client.namespace(app.namespace);
        self.insist("undo", || client.undo_rollout(&app.name, 0)).await;
    }

    async fn delete_and_recreate(&mut self, index: usize) {
        // One that is new and paused would have no pods.
        self.apps[index].paused = false;
        let app = &self.apps[index];
        let propagations = [Propagation::Background, Propagation::Foreground, Propagation::Orphan];
        let pick = usize::try_from(self.rng.below(3)).unwrap_or(0);
        self.did("delete and recreate", &app.name);
        let options = DeleteOptions::default().propagation(propagations[pick]);
        let client = self.client.namespace(app.namespace);
        self.insist("delete", || client.delete::<Deployment>(&app.name, &options)).await;
        tokio::time::sleep(self.world.up_to(Duration::from_secs(20))).await;
        self.put(app).await;
    }

    async fn pods_of(&self, app: &App) -> Vec<Arc<Pod>> {
        let labels = LabelSelector::labels([("app", app.name.as_str())]);
        let options = ListOptions { labels, ..ListOptions::default() };
        let client = self.client.namespace(app.namespace);
        self.insist("list pods", || client.list::<Pod>(&options))
            .await
            .map(|list| list.items)
            .unwrap_or_default()
    }

    async fn any_pod(&self, app: &App) -> Option<Arc<Pod>> {
        let pods = self.pods_of(app).await;
        let pick = usize::try_from(self.rng.below(pods.len() as u64)).unwrap_or(0);
        pods.get(pick).cloned()
    }

    async fn delete_pod(&self, index: usize) {
        let app = &self.apps[index];
        let Some(pod) = self.any_pod(app).await else { return };
        let mut options = DeleteOptions::default().uid(pod.metadata.uid.clone());
        let forced = self.rng.chance(0.3) && !self.world.options.is_calm();
        if forced {
            options = options.grace_period(0);
        }
        self.did(if forced { "delete by force" } else { "delete" }, &pod.metadata.name);
        let client = self.client.namespace(app.namespace);
        self.insist("delete a pod", || client.delete::<Pod>(&pod.metadata.name, &options)).await;
    }

    /// Takes a pod out of its replica set, to look at it in peace.
    async fn relabel(&self, index: usize) {
        let app = &self.apps[index];
        let Some(pod) = self.any_pod(app).await else { return };
        self.did("take aside", &pod.metadata.name);
        let client = self.client.namespace(app.namespace);
        let change = |pod: &mut Pod| {
            pod.metadata.labels.insert("app".to_owned(), ASIDE.to_owned());
        };
        self.insist("relabel", || client.modify::<Pod>(&pod.metadata.name, change)).await;
    }

    async fn cordon(&self, name: &str, closed: bool) {
        self.did(if closed { "cordon" } else { "uncordon" }, name);
        self.insist("cordon", || self.client.modify::<Node>(name, |node| node.spec.unschedulable = closed))
            .await;
    }

    /// Closes a node, and evicts its pods as far as budgets allow.
    async fn drain_node(&self) {
        let name = format!("node-{}", self.rng.below(self.world.options.nodes as u64));
        self.cordon(&name, true).await;
        let everywhere = ListOptions::all_namespaces();
        let Some(pods) = self.insist("list", || self.client.list::<Pod>(&everywhere)).await else {
            return;
        };
        for pod in pods.items.iter().filter(|pod| pod.node_name.as_deref() == Some(name.as_str())) {
            let client = self.client.namespace(pod.metadata.namespace.as_str());
            for _ in 0..10 {
                match client.evict(&pod.metadata.name, &DeleteOptions::default()).await {
                    Err(ClientError::Denied { .. }) => tokio::time::sleep(Duration::from_secs(2)).await,
                    Err(error) if error.is_transient() || error.is_conflict() => {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    _ => break,
                }
            }
        }
        if self.rng.chance(0.5) {
            self.cordon(&name, false).await;
        }
    }
}

/// Whether a pod of this kind can't run.
fn is_broken(spec: &PodSpec) -> bool {
    runs_any(spec, |image| image.missing || image.never_ready || image.ends.is_some())
}
