//! What containers use.

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse, ContainerSummary};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt, stream};
use orchestra_core::model::Timestamp;
use orchestra_core::runtime::{ContainerId, ContainerStats, RuntimeError};

use crate::core::{Core, IN_FLIGHT};
use crate::{error, labels, status};

/// One reading of each running container, without the second that the engine takes for a rate.
pub(crate) async fn read(core: &Core) -> Result<Vec<ContainerStats>, RuntimeError> {
    let running = core.summaries(&[(labels::ROLE, labels::ROLE_CONTAINER)], false).await?;
    let readings = stream::iter(running.into_iter().map(|summary| one(core, summary)));
    let readings: Vec<_> = readings.buffer_unordered(IN_FLIGHT).try_collect().await?;
    let mut readings: Vec<_> = readings.into_iter().flatten().collect();
    readings.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(readings)
}

async fn one(core: &Core, summary: ContainerSummary) -> Result<Option<ContainerStats>, RuntimeError> {
    let (Some(id), Some(of)) = (summary.id, summary.labels) else { return Ok(None) };
    let name = summary.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
    let (Some(pod), Some((run, ..))) = (labels::pod(&of), labels::run(&of)) else { return Ok(None) };
    let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
    let reading = match Box::pin(core.docker.stats(&id, Some(options))).next().await {
        Some(Ok(reading)) => reading,
        // It has ended in between.
        None => return Ok(None),
        Some(Err(error)) if matches!(error::status(&error), Some(404 | 409)) => return Ok(None),
        Some(Err(error)) => return Err(error::read(&name, "read what it uses", error)),
    };
    let Some(at) = status::time(reading.read.as_ref()) else { return Ok(None) };
    let id = ContainerId(name.trim_start_matches('/').into());
    Ok(filled(ContainerStats::new(id, run, pod.uid, at), reading, at))
}

/// `None` where the container has ended: the engine answers with zeros. One that counts no processes, as it lacks the
/// controller, still knows of CPU time.
fn filled(
    mut stats: ContainerStats,
    reading: ContainerStatsResponse,
    at: Timestamp,
) -> Option<ContainerStats> {
    stats.at = at;
    stats.cpu_nanos = reading.cpu_stats?.cpu_usage?.total_usage?;
    stats.pids = reading.pids_stats.and_then(|pids| pids.current).unwrap_or_default();
    stats.memory = reading.memory_stats.map(|memory| held(&memory)).unwrap_or_default();
    (stats.pids > 0 || stats.cpu_nanos > 0).then_some(stats)
}

/// Memory without the cache that the host can take back: named so by cgroup v1, and so by v2.
fn held(memory: &ContainerMemoryStats) -> u64 {
    let stats = memory.stats.as_ref();
    let cache =
        stats.and_then(|stats| stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")));
    memory.usage.unwrap_or_default().saturating_sub(cache.copied().unwrap_or_default())
}
