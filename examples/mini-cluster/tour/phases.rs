//! What happens to the shop.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::future::BoxFuture;
use orchestra::model::EndpointSlice;
use orchestra::prelude::*;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::load::get_json;
use super::report::Progress;
use super::{NODES, Tour, pods};
use crate::shop;

/// A phase, while it runs; it gives back what it showed its progress with.
pub(crate) type Running<'a> = BoxFuture<'a, (anyhow::Result<String>, Progress)>;

type PhaseFn = for<'a> fn(&'a Tour<'a>, Progress) -> Running<'a>;

macro_rules! phase {
    ($body:ident) => {
        |tour, mut progress| {
            Box::pin(async move {
                let result = $body(tour, &mut progress).await;
                (result, progress)
            })
        }
    };
}

/// The phases, in order.
pub(crate) const ALL: [(&str, PhaseFn); 8] = [
    ("deploy", phase!(deploy)),
    ("heal a killed process", phase!(heal)),
    ("scale 2 to 6", phase!(scale_up)),
    ("scale 6 to 2", phase!(scale_down)),
    ("roll out version 2", phase!(rollout)),
    ("bad version, rolled back", phase!(bad_rollout)),
    ("lose a node", phase!(lose_node)),
    ("autoscale", phase!(autoscale)),
];

/// The service that is scaled, rolled out and killed.
const STAR: &str = "catalogue";

/// Waits until the Deployment is as `holds` says; `says` is shown meanwhile.
async fn until(
    shop: &Client,
    name: &str,
    progress: &mut Progress,
    mut holds: impl FnMut(&Deployment) -> bool + Send,
) -> anyhow::Result<Arc<Deployment>> {
    let found = shop
        .wait::<Deployment>(name, |deployment| {
            let Some(d) = deployment else { return false };
            let s = &d.status;
            progress.say(format!(
                "{name}: {} wanted, {} pods, {} of this version, {} available",
                d.spec.replicas, s.replicas, s.updated_replicas, s.available_replicas
            ));
            holds(d)
        })
        .await?;
    found.with_context(|| format!("the Deployment {name} is gone"))
}

/// Whether all of a Deployment's pods are of its version, and available.
fn is_settled(d: &Deployment) -> bool {
    let (s, wanted) = (&d.status, d.spec.replicas);
    s.observed_generation >= d.metadata.generation
        && s.updated_replicas == wanted
        && s.available_replicas == wanted
        && s.replicas == wanted
}

async fn deploy(tour: &Tour<'_>, progress: &mut Progress) -> anyhow::Result<String> {
    let images = format!("image: {}/", tour.engine.repository());
    let applied = tour.cluster.apply_yaml(&super::MANIFESTS.replace("image: shop/", &images)).await?;
    progress.say(format!("{} objects applied", applied.len()));
    for name in shop::NAMES {
        until(&tour.shop, name, progress, is_settled).await?;
    }
    let version = get_json(tour.page, "/version").await?;
    Ok(format!("{} objects, 6 services; {} answers", applied.len(), version["pod"]))
}

/// The pod's process. It says itself which one it is.
async fn pid_of(pod: &Pod) -> anyhow::Result<u64> {
    let ip = pod.status.pod_ip.context("the pod has no address")?;
    let version = get_json(SocketAddr::from((ip, 8080)), "/version").await?;
    version["pid"].as_u64().context("the service does not say its process")
}

async fn heal(tour: &Tour<'_>, progress: &mut Progress) -> anyhow::Result<String> {
    let all = pods(&tour.shop, STAR).await?;
    let (name, pod) = all.first_key_value().context("there are no pods")?;
    let pid = pid_of(pod).await?;
    progress.say(format!("kill -9 {pid}, the process of {name}"));
    let restarted = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| {
            pod.is_ready() && pod.status.container_statuses.iter().any(|c| c.restart_count > 0)
        })
    };
    let killed = Instant::now();
    let healed = async {
        tour.shop.wait::<Pod>(name, restarted).await?;
        Ok(killed.elapsed())
    };
    let ((), took) = tokio::try_join!(tour.engine.kill(pod, pid), healed)?;
    until(&tour.shop, STAR, progress, is_settled).await?;
    Ok(format!("{name} was ready again {} ms after the kill", took.as_millis()))
}

async fn scale(tour: &Tour<'_>, progress: &mut Progress, replicas: u32) -> anyhow::Result<String> {
    tour.shop.scale::<Deployment>(STAR, replicas).await?;
    until(&tour.shop, STAR, progress, is_settled).await?;
    // Those that go have gone when their objects are: after they were drained and have ended.
    loop {
        let left = pods(&tour.shop, STAR).await?;
        progress.say(format!("{} pods are there", left.len()));
        let Some(ending) = left.values().find(|pod| pod.is_terminating()) else { break };
        tour.shop.wait::<Pod>(&ending.metadata.name, |pod| pod.is_none()).await?;
    }
    Ok(format!("{replicas} pods of {STAR} are available"))
}

async fn scale_up(tour: &Tour<'_>, progress: &mut Progress) -> anyhow::Result<String> {
    scale(tour, progress, 6).await
}

async fn scale_down(tour: &Tour<'_>, progress: &mut Progress) -> anyhow::Result<String> {
    scale(tour, progress, 2).await
}

fn image(tour: &Tour<'_>, version: &str) -> String {
    format!("{}/{STAR}:{version}", tour.engine.repository())
}

async fn set_version(tour: &Tour<'_>, version: &str) -> anyhow::Result<()> {
    let image = image(tour, version);
    tour.shop
        .modify::<Deployment>(STAR, |d| {
            if let Some(container) = d.spec.template.spec_mut().containers.first_mut() {
                container.image.clone_from(&image);
            }
        })
        .await?;
    Ok(())
}

/// The versions that the pods of the service answer with.
async fn versions(tour: &Tour<'_>) -> anyhow::Result<BTreeSet<String>> {
    let mut versions = BTreeSet::new();
    for pod in pods(&tour.shop, STAR).await?.values().filter(|pod| pod.is_ready() && !pod.is_terminating()) {
        let ip = pod.status.pod_ip.context("the pod has no address")?;
        let version = get_json(SocketAddr::from((ip, 8080)), "/version").await?;
        versions.insert(version["version"].as_str().unwrap_or_default().to_owned());
    }
    Ok(versions)
}

async fn rollout(tour: &Tour<'_>, progress: &mut Progress) -> anyhow::Result<String> {
    set_version(tour, "2").await?;
    until(&tour.shop, STAR, progress, is_settled).await?;
    let versions = versions(tour).await?;
    ensure!(versions == BTreeSet::from(["2".to_owned()]), "the pods answer as versions {versions:?}");
    Ok(format!("every pod of {STAR} is of version 2"))
}

async fn bad_rollout(tour: &Tour<'_>, progress: &mut Progress) -> anyhow::Result<String> {
    let good = image(tour, "2");
    let asked = |d: &mut Deployment| {
        d.metadata.annotations.insert("orchestra.dev/rollback-on-failure".into(), "true".into());
    };
    tour.shop.modify::<Deployment>(STAR, asked).await?;
    set_version(tour, "broken").await?;
    let mut least = u32::MAX;
    until(&tour.shop, STAR, progress, |d| {
        least = least.min(d.status.available_replicas);
        let image = d.spec.template.spec.containers.first().map(|c| c.image.as_str());
        image == Some(good.as_str()) && is_settled(d)
    })
    .await?;
    ensure!(least >= 2, "only {least} pods were available meanwhile");
    let versions = versions(tour).await?;
    ensure!(versions == BTreeSet::from(["2".to_owned()]), "the pods answer as versions {versions:?}");
    Ok(format!("version `broken` never served; version 2 is back, {least} pods were available throughout"))
}

async fn lose_node(tour: &Tour<'_>, progress: &mut Progress) -> anyhow::Result<String> {
    let lost = NODES[2];
    let all = tour.shop.list::<Pod>(&ListOptions::default()).await?.items;
    let there = all.iter().filter(|pod| pod.node_name.as_deref() == Some(lost)).count();
    progress.say(format!("{lost} loses power, and with it {there} pods"));
    tour.cluster.crash_node(lost).await?;
    let names: Vec<String> = all
        .iter()
        .filter(|p| p.node_name.as_deref() == Some(lost))
        .map(|p| p.metadata.name.clone())
        .collect();
    for name in &names {
        progress.say(format!("waiting until {name} is moved"));
        let moved = |pod: Option<&Pod>| pod.is_none_or(Pod::is_terminating);
        tour.shop.wait::<Pod>(name, moved).await?;
    }
    for name in shop::NAMES {
        progress.say(format!("waiting until {name} is served elsewhere"));
        let wanted = tour.shop.get::<Deployment>(name).await?.spec.replicas;
        let elsewhere = |slice: Option<&EndpointSlice>| {
            let ready =
                slice.into_iter().flat_map(|slice| &slice.endpoints).filter(|e| e.conditions.is_ready());
            ready.filter(|endpoint| endpoint.node_name != lost).count() >= wanted as usize
        };
        tour.shop.wait::<EndpointSlice>(&format!("{name}-0"), elsewhere).await?;
        until(&tour.shop, name, progress, is_settled).await?;
    }
    Ok(format!("{there} pods of {lost} run elsewhere"))
}

async fn autoscale(tour: &Tour<'_>, progress: &mut Progress) -> anyhow::Result<String> {
    let name = "recommendation";
    let service = tour.shop.get::<Service>(name).await?;
    let ip: std::net::IpAddr = service.spec.cluster_ip.parse().context("the service has no address")?;
    let address = SocketAddr::from((ip, 8080));
    let mut work = JoinSet::new();
    for _ in 0..4 {
        work.spawn(async move {
            loop {
                if get_json(address, "/work/100").await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    let up = until(&tour.shop, name, progress, |d| d.spec.replicas >= 2 && d.status.available_replicas >= 2)
        .await?;
    let most = up.spec.replicas;
    work.shutdown().await;
    let down = until(&tour.shop, name, progress, |d| d.spec.replicas == 1 && is_settled(d)).await?;
    if down.spec.replicas >= most {
        bail!("it stayed at {most} replicas");
    }
    Ok(format!("{name} went from 1 to {most} replicas and back to {}", down.spec.replicas))
}
