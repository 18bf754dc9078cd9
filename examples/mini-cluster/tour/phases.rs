//! What happens to the shop.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use futures_util::future::BoxFuture;
use orchestra::model::EndpointSlice;
use orchestra::prelude::*;
use serde_json::Value;
use tokio::time::Instant;

use super::report::Progress;
use super::{NODES, Tour, autoscale, pods};
use crate::shop;

/// A phase; it says how far it is, and at last what was shown.
pub(crate) type PhaseFn = for<'a> fn(&'a Tour<'a>, &'a Progress) -> BoxFuture<'a, anyhow::Result<String>>;

/// The phases, in order.
pub(crate) const ALL: [(&str, PhaseFn); 8] = [
    ("deploy", |tour, progress| Box::pin(deploy(tour, progress))),
    ("heal a killed process", |tour, progress| Box::pin(heal(tour, progress))),
    ("scale 2 to 6", |tour, progress| Box::pin(scale_up(tour, progress))),
    ("scale 6 to 2", |tour, progress| Box::pin(scale_down(tour, progress))),
    ("roll out version 2", |tour, progress| Box::pin(rollout(tour, progress))),
    ("bad version, rolled back", |tour, progress| Box::pin(bad_rollout(tour, progress))),
    ("lose a node", |tour, progress| Box::pin(lose_node(tour, progress))),
    ("autoscale", |tour, progress| Box::pin(autoscale::run(tour, progress))),
];

/// The service that is scaled, rolled out and killed.
const STAR: &str = "catalogue";

/// Waits until the Deployment is as `holds` says; `says` is shown meanwhile.
pub(super) async fn until(
    shop: &Client,
    name: &str,
    progress: &Progress,
    mut holds: impl FnMut(&Deployment) -> bool + Send,
) -> anyhow::Result<Arc<Deployment>> {
    let found = shop
        .wait::<Deployment>(name, |deployment| {
            let Some(d) = deployment else { return false };
            let s = &d.status;
            progress.say(format!(
                "{name}: {} of {} available, {} pods, {} of this version",
                s.available_replicas, d.spec.replicas, s.replicas, s.updated_replicas
            ));
            holds(d)
        })
        .await?;
    found.with_context(|| format!("the Deployment {name} is gone"))
}

/// Whether all of a Deployment's pods are of its version, and available.
pub(super) fn is_settled(d: &Deployment) -> bool {
    let (s, wanted) = (&d.status, d.spec.replicas);
    s.observed_generation >= d.metadata.generation
        && s.updated_replicas == wanted
        && s.available_replicas == wanted
        && s.replicas == wanted
}

async fn deploy(tour: &Tour<'_>, progress: &Progress) -> anyhow::Result<String> {
    let images = format!("image: {}/", tour.engine.repository());
    let applied = tour.cluster.apply_yaml(&super::MANIFESTS.replace("image: shop/", &images)).await?;
    progress.say(format!("{} objects applied", applied.len()));
    for name in shop::NAMES {
        until(&tour.shop, name, progress, is_settled).await?;
    }
    let version = tour.http.get_json(&format!("{}version", tour.page)).await?;
    let pod = version["pod"].as_str().context("the front end does not say its pod")?;
    Ok(format!("{} objects, 6 services; {pod} answers", applied.len()))
}

/// What a pod's service says of itself.
async fn version_of(tour: &Tour<'_>, pod: &Pod) -> anyhow::Result<Value> {
    let ip = pod.status.pod_ip.context("the pod has no address")?;
    tour.http.get_json(&format!("http://{}/version", SocketAddr::from((ip, 8080)))).await
}

async fn heal(tour: &Tour<'_>, progress: &Progress) -> anyhow::Result<String> {
    let all = pods(&tour.shop, STAR).await?;
    let (name, pod) = all.first_key_value().context("there are no pods")?;
    let pid = version_of(tour, pod).await?["pid"].as_u64().context("the service does not say its process")?;
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

async fn scale(tour: &Tour<'_>, progress: &Progress, replicas: u32) -> anyhow::Result<String> {
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

async fn scale_up(tour: &Tour<'_>, progress: &Progress) -> anyhow::Result<String> {
    scale(tour, progress, 6).await
}

async fn scale_down(tour: &Tour<'_>, progress: &Progress) -> anyhow::Result<String> {
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
        let version = version_of(tour, pod).await?;
        versions.insert(version["version"].as_str().unwrap_or_default().to_owned());
    }
    Ok(versions)
}

async fn rollout(tour: &Tour<'_>, progress: &Progress) -> anyhow::Result<String> {
    set_version(tour, "2").await?;
    until(&tour.shop, STAR, progress, is_settled).await?;
    let versions = versions(tour).await?;
    ensure!(versions == BTreeSet::from(["2".to_owned()]), "the pods answer as versions {versions:?}");
    Ok(format!("every pod of {STAR} is of version 2"))
}

async fn bad_rollout(tour: &Tour<'_>, progress: &Progress) -> anyhow::Result<String> {
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

async fn lose_node(tour: &Tour<'_>, progress: &Progress) -> anyhow::Result<String> {
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
