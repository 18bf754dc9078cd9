//! The fragmentation of a node, written down as plainly as it can be.

use orchestra_core::model::{GpuRequest, Pod};
use orchestra_core::scheduler::Points;

use super::naive::{Place, amounts, has};
use super::naive_gpus::taken;

/// Weighted points in thousandths, for what the pod makes of the fragments of a node and how well it fits.
pub(super) fn fragmentation_rank(pod: &Pod, place: &Place<'_>, typical: &[(Pod, f64)]) -> u64 {
    let mut after = Place { id: place.id, node: place.node, pods: place.pods.clone() };
    let less = {
        let before = fragments(&free_gpus(place), place, typical);
        after.pods.push(pod);
        (before - fragments(&free_gpus_with(pod, place), &after, typical)) / 1000.0
    };
    let fragments = Points::new(50.0 * (1.0 + less / (4.0 + less * less).sqrt()));
    55 * u64::from(fragments.as_millis()) + u64::from(best_fit(pod, place).as_millis())
}

fn free(place: &Place<'_>, resource: &str) -> i64 {
    let used = place.pods.iter().map(|pod| amounts(pod).get(resource).copied().unwrap_or(0));
    has(place.node, resource) - used.sum::<i64>()
}

fn free_gpus(place: &Place<'_>) -> Vec<u32> {
    taken(place.node, place.pods.iter().copied())
        .into_iter()
        .map(|taken| 1000_u32.saturating_sub(taken))
        .collect()
}

/// With the pod on the first devices that are whole, or on the fullest that has room.
fn free_gpus_with(pod: &Pod, place: &Place<'_>) -> Vec<u32> {
    let (mut free, request) = (free_gpus(place), pod.spec.gpus());
    for _ in 0..request.devices() {
        let need = u32::from(request.of_each());
        let device = free.iter_mut().filter(|free| **free >= need).min_by_key(|free| **free);
        *device.expect("the node has room for the pod") -= need;
    }
    free
}

fn fragments(gpus: &[u32], place: &Place<'_>, typical: &[(Pod, f64)]) -> f64 {
    let holds = |pod: &Pod| {
        let room =
            amounts(pod).into_iter().filter(|(name, _)| !["nvidia.com/gpu", "pods"].contains(&name.as_str()));
        let enough = gpus.iter().filter(|free| **free >= u32::from(pod.spec.gpus().of_each())).count();
        room.into_iter().all(|(name, amount)| amount <= free(place, &name))
            && enough >= pod.spec.gpus().devices()
    };
    let all = f64::from(gpus.iter().sum::<u32>());
    if !gpus.is_empty() {
        let useless = |pod: &Pod| match pod.spec.gpus() {
            GpuRequest::None => all,
            _ if !holds(pod) => all,
            request => {
                f64::from(gpus.iter().filter(|free| **free < u32::from(request.of_each())).sum::<u32>())
            }
        };
        return typical.iter().map(|(pod, part)| part * useless(pod)).sum();
    }
    let of = |resource: &str| {
        let left = free(place, resource).max(0) as f64 * 1000.0 / has(place.node, resource).max(1) as f64;
        let asks = |pod: &Pod| amounts(pod).get(resource).is_some_and(|amount| *amount > 0);
        let useless = typical.iter().filter(|(pod, _)| !asks(pod) || !holds(pod));
        useless.map(|(_, part)| part).sum::<f64>() * left
    };
    of("cpu") + of("memory")
}

/// The less is left of 128 CPUs, 1 TiB and 8 GPUs, the better.
fn best_fit(pod: &Pod, place: &Place<'_>) -> Points {
    let left = |resource, most: i64| {
        let left = free(place, resource) - amounts(pod).get(resource).copied().unwrap_or(0);
        left.clamp(0, most) as f64 / most as f64
    };
    let taken: i64 = place.pods.iter().copied().chain([pod]).map(thousandths).sum();
    let gpus = (1000 * has(place.node, "nvidia.com/gpu") - taken).clamp(0, 8000) as f64 / 8000.0;
    Points::new((1.0 - (left("cpu", 128_000) + left("memory", 1 << 40) + gpus) / 3.0) * 100.0)
}

fn thousandths(pod: &Pod) -> i64 {
    let request = pod.spec.gpus();
    i64::from(request.of_each()) * i64::try_from(request.devices()).unwrap_or(0)
}
