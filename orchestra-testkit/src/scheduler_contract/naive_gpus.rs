//! Which GPUs of a node are taken, written down as plainly as it can be.

use std::cmp::Reverse;

use orchestra_core::model::{GPU, GpuRequest, Node, Pod};

use super::naive::{Place, has};

/// How much of each GPU of `node` its pods take, in thousandths. Pods whose annotation does not tell, which others have
/// bound, are taken to be where they would be placed, one after the other, the oldest first.
pub(super) fn taken<'p>(node: &Node, pods: impl Iterator<Item = &'p Pod>) -> Vec<u32> {
    let mut taken = vec![0_u32; usize::try_from(has(node, GPU)).unwrap_or(0)];
    let mut silent = Vec::new();
    for pod in pods.filter(|pod| pod.spec.gpus() != GpuRequest::None) {
        let devices: Vec<usize> = pod.gpu_devices().into_iter().map(usize::from).collect();
        if devices.is_empty() || devices.iter().any(|device| *device >= taken.len()) {
            silent.push(pod);
        } else {
            devices.iter().for_each(|device| taken[*device] += u32::from(pod.spec.gpus().of_each()));
        }
    }
    silent.sort_by_key(|pod| (pod.metadata.creation_timestamp, &pod.metadata.uid));
    for pod in silent {
        let request = pod.spec.gpus();
        let room = |taken: &u32| taken + u32::from(request.of_each()) <= 1000;
        let enough = taken.iter().filter(|taken| room(taken)).count() >= request.devices();
        let mut devices: Vec<usize> = (0..taken.len()).collect();
        match request {
            GpuRequest::Share(_) if enough => {
                devices.sort_by_key(|d| (!room(&taken[*d]), Reverse(taken[*d])))
            }
            _ => devices.sort_by_key(|device| taken[*device]),
        }
        for device in devices.into_iter().take(request.devices()) {
            taken[device] += u32::from(request.of_each());
        }
    }
    taken
}

/// Whether the node has GPUs for the pod.
pub(super) fn has_gpus(pod: &Pod, place: &Place<'_>) -> bool {
    let taken = taken(place.node, place.pods.iter().copied());
    match pod.spec.gpus() {
        GpuRequest::None => true,
        GpuRequest::Whole(devices) => {
            taken.iter().filter(|taken| **taken == 0).count() >= usize::from(devices)
        }
        GpuRequest::Share(milli) => taken.iter().any(|taken| taken + u32::from(milli) <= 1000),
        _ => false,
    }
}
