//! The agent dies and comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::client::{Client, DeleteOptions};
use orchestra_core::engine::Caches;
use orchestra_core::model::{Container, HostPathType, Pod, PodSpec, Probe, RestartPolicy, Uid};
use orchestra_core::node::{FileSet, VolumeError, VolumeFiles};
use orchestra_testkit::sim_runtime::{SimProgram, SimRecord, SimStop, SimVolumes, SimWhat};

use crate::rig::{Rig, container, web};

#[tokio::test(start_paused = true)]
async fn what_runs_goes_on_and_stays_ready() {
    let mut rig = Rig::new().await;
    rig.runtime.image("init:1", SimProgram::job(0));
    let spec = PodSpec::new(container("web").readiness(Probe::tcp(80).period(10)).startup(Probe::tcp(80)))
        .init_container(Container::new("init", "init:1"));
    for i in 0..20 {
        rig.create(&format!("web-{i}"), spec.clone()).await;
    }
    rig.ready("web-19").await;
    for i in 0..20 {
        rig.ready(&format!("web-{i}")).await;
    }
    let (live, revision) = (rig.runtime.live(), rig.pod("web-3").await.metadata.resource_version);
    rig.kill_agent().await;
    // While nobody looks, somebody tidies up.
    for pod in &live {
        rig.runtime.prune(&pod.pod);
    }
    rig.start_agent().await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(rig.runtime.live(), live, "neither restarted nor doubled");
    let pod = rig.pod("web-3").await;
    assert!(pod.is_ready());
    assert_eq!(pod.metadata.resource_version, revision, "nothing changed, nothing was written");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_any_more_is_stopped() {
    let mut rig = Rig::new().await;
    rig.create("gone", web()).await;
    rig.create("deleted", web()).await;
    rig.create("stays", web()).await;
    for name in ["gone", "deleted", "stays"] {
        rig.ready(name).await;
    }
    rig.kill_agent().await;
    // Replaced while the node was silent, and deleted in the ordinary way.
    rig.client.delete::<Pod>("gone", &DeleteOptions::default().grace_period(0)).await.unwrap();
    rig.client.delete::<Pod>("deleted", &DeleteOptions::default()).await.unwrap();
    let replacement = rig.create("gone", web()).await;
    rig.start_agent().await;
    rig.gone("deleted").await;
    rig.ready("gone").await;
    rig.until("the old copies are dead", || rig.runtime.live().len() == 2).await;
    assert!(rig.runtime.live().iter().any(|c| c.pod == replacement));
    assert_eq!(rig.runtime.sandboxes(), 2);
}

#[tokio::test(start_paused = true)]
async fn exits_that_nobody_saw_are_made_good() {
    let mut rig = Rig::new().await;
    let uid = rig.create("web", web()).await;
    rig.ready("web").await;
    rig.kill_agent().await;
    rig.runtime.kill(&uid, "web");
    rig.start_agent().await;
    rig.wait("web", "restarted", |p| p.status.container_statuses[0].restart_count == 1 && p.is_ready()).await;
    // The back-off goes on where it was.
    rig.runtime.kill(&uid, "web");
    let killed = rig.client.clock().now();
    rig.kill_agent().await;
    rig.start_agent().await;
    rig.wait("web", "restarted", |p| p.status.container_statuses[0].restart_count == 2 && p.is_ready()).await;
    let started = *rig.times(&uid, |r| r.what == SimWhat::Started).last().unwrap();
    let waited = started.since(killed);
    assert!(waited >= Duration::from_secs(10) && waited < Duration::from_secs(11), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reboot_brings_every_pod_back_once() {
    let mut rig = Rig::new().await;
    let uid = rig.create("web", web()).await;
    rig.create("never", web().restart_policy(RestartPolicy::Never)).await;
    rig.ready("web").await;
    rig.ready("never").await;
    for _ in 0..2 {
        rig.kill_agent().await;
        rig.runtime.reboot();
        rig.start_agent().await;
        rig.wait("never", "failed", Pod::is_terminal).await;
        rig.until("it runs again", || rig.runtime.live().len() == 1).await;
        rig.ready("web").await;
    }
    assert_eq!(rig.runtime.live()[0].attempt, 2);
    assert_eq!(rig.pod("web").await.status.container_statuses[0].restart_count, 2);
    assert_eq!(rig.times(&uid, |r| r.what == SimWhat::SandboxRun).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stop_under_way_is_gone_on_with() {
    let mut rig = Rig::new().await;
    rig.runtime.image("deaf:1", SimProgram::service().on_stop(SimStop::Ignores));
    let mut spec = web().grace_period(20);
    spec.containers[0].image = "deaf:1".into();
    let uid = rig.create("web", spec).await;
    rig.ready("web").await;
    rig.delete("web").await;
    rig.until("the signal", || rig.history(&uid).iter().any(|h| h.ends_with("Signal"))).await;
    rig.kill_agent().await;
    rig.start_agent().await;
    rig.gone("web").await;
    assert_eq!(rig.runtime.sandboxes(), 0);
    assert_eq!(rig.times(&uid, |r| r.what == SimWhat::Started).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_somebody_removed_is_replaced() {
    let rig = Rig::new().await;
    let uid = rig.create("web", web()).await;
    rig.ready("web").await;
    assert_eq!(rig.runtime.remove_by_hand(&uid), 1);
    rig.wait("web", "back", |p| p.status.container_statuses[0].restart_count == 1 && p.is_ready()).await;
    assert_eq!(rig.runtime.live().len(), 1);
}

/// Starts an agent for the pod `web`, which is down: it runs for the so-many-th time without a pause.
async fn comes_back_at_once(rig: &mut Rig, uid: &Uid, attempt: u32) {
    let down = rig.client.clock().now();
    rig.start_agent().await;
    let again = |p: &Pod| p.status.container_statuses[0].restart_count == attempt && p.is_ready();
    rig.wait("web", "up again", again).await;
    let started = *rig.times(uid, |r| r.what == SimWhat::Started).last().unwrap();
    assert!(started.since(down) < Duration::from_secs(1), "{attempt}: {:?}", started.since(down));
}

#[tokio::test(start_paused = true)]
async fn a_reboot_after_long_runs_is_no_crash() {
    let mut rig = Rig::new().await;
    let uid = rig.create("web", web()).await;
    rig.ready("web").await;
    for attempt in 1..8 {
        tokio::time::sleep(Duration::from_secs(601)).await;
        rig.kill_agent().await;
        if attempt % 2 == 0 {
            rig.runtime.reboot();
        } else {
            rig.runtime.kill(&uid, "web");
        }
        comes_back_at_once(&mut rig, &uid, attempt).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_its_pods_makes_no_crashes_of_them() {
    let mut rig = Rig::new().await;
    let uid = rig.create("web", web()).await;
    rig.ready("web").await;
    for attempt in 1..8 {
        rig.agent.take().unwrap().shutdown(true).await;
        comes_back_at_once(&mut rig, &uid, attempt).await;
    }
}

/// Volumes of a node where a pod is taken out of the store while its agent looks for the directories of others.
#[derive(Debug)]
struct Meanwhile {
    volumes: SimVolumes,
    client: Client,
    caches: Caches,
}

#[async_trait]
impl VolumeFiles for Meanwhile {
    async fn directory(&self, pod: &Uid, volume: &str, group: Option<u32>) -> Result<PathBuf, VolumeError> {
        self.volumes.directory(pod, volume, group).await
    }

    async fn publish(
        &self,
        pod: &Uid,
        volume: &str,
        files: &FileSet,
        group: Option<u32>,
    ) -> Result<PathBuf, VolumeError> {
        self.volumes.publish(pod, volume, files, group).await
    }

    async fn host_path(&self, path: &Path, type_: HostPathType) -> Result<PathBuf, VolumeError> {
        self.volumes.host_path(path, type_).await
    }

    async fn persistent(&self, volume: &str, group: Option<u32>) -> Result<PathBuf, VolumeError> {
        self.volumes.persistent(volume, group).await
    }

    async fn remove_persistent(&self, volume: &str) -> Result<(), VolumeError> {
        self.volumes.remove_persistent(volume).await
    }

    async fn sub_path(&self, volume: &Path, path: &str) -> Result<PathBuf, VolumeError> {
        self.volumes.sub_path(volume, path).await
    }

    async fn remove(&self, pod: &Uid) -> Result<(), VolumeError> {
        self.volumes.remove(pod).await
    }

    async fn pods(&self) -> Result<Vec<Uid>, VolumeError> {
        self.client.delete::<Pod>("gone", &DeleteOptions::default().grace_period(0)).await.unwrap();
        let pods = self.caches.of::<Pod>();
        while pods.list().iter().any(|pod| pod.metadata.name == "gone") {
            tokio::task::yield_now().await;
        }
        self.volumes.pods().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_while_it_is_taken_up_is_stopped() {
    let mut rig = Rig::new().await;
    rig.create("gone", web()).await;
    rig.create("stays", web()).await;
    rig.ready("gone").await;
    rig.ready("stays").await;
    rig.kill_agent().await;
    let (client, caches) = (rig.client.clone(), rig.caches.clone());
    let meanwhile = Meanwhile { volumes: rig.volumes.clone(), client, caches };
    rig.start_agent_with(Arc::new(meanwhile)).await;
    rig.until("only the other one runs", || rig.runtime.sandboxes() == 1).await;
    assert!(rig.pod("stays").await.is_ready());
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_again_in_the_sandbox_after_a_reboot() {
    for policy in [RestartPolicy::Always, RestartPolicy::OnFailure] {
        let mut rig = Rig::new().await;
        rig.runtime.image("init:1", SimProgram::job(0));
        let init = Container::new("init", "init:1");
        let uid = rig.create("web", web().restart_policy(policy).init_container(init)).await;
        rig.ready("web").await;
        for run in 2..5 {
            if run % 2 == 0 {
                rig.kill_agent().await;
                rig.runtime.reboot();
            } else {
                rig.agent.take().unwrap().shutdown(true).await;
            }
            rig.start_agent().await;
            let inits = |r: &SimRecord| r.what == SimWhat::Started && &*r.container == "init";
            rig.until("it runs again", || rig.times(&uid, inits).len() == run).await;
            rig.ready("web").await;
        }
    }
}
