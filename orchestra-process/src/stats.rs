//! What containers use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use orchestra_core::model::Uid;
use orchestra_core::runtime::{ContainerId, ContainerStats, RuntimeError};

use crate::error::failed;
use crate::procfs::{self, Stat};
use crate::state::{Container, Core};

/// Steps from a process to its container's main process. A deeper family is counted up to here.
const MAX_DEPTH: usize = 64;

/// Reads the process table once, whatever the number of containers. A process belongs to the container whose main
/// process, or one run by `exec`, leads its group or is among its ancestors.
pub(crate) fn stats(core: &Arc<Core>) -> Result<Vec<ContainerStats>, RuntimeError> {
    let containers = core.index().all();
    let running: Vec<(Arc<Container>, i32)> = containers
        .into_iter()
        .filter_map(|container| container.process().map(|process| (container, process.pid)))
        .collect();
    if running.is_empty() {
        return Ok(Vec::new());
    }
    let mut mains: BTreeMap<i32, usize> = BTreeMap::new();
    for (index, (container, pid)) in running.iter().enumerate() {
        mains.insert(*pid, index);
        mains.extend(container.execs().iter().map(|pid| (*pid, index)));
    }
    let table: BTreeMap<i32, Stat> = procfs::pids()
        .map_err(|error| failed("the host", "read its process table", error))?
        .into_iter()
        .filter_map(|pid| procfs::stat(pid).ok().map(|stat| (pid, stat)))
        .collect();
    let nanos_per_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let at = core.now();
    let mut stats: Vec<_> = running
        .iter()
        .map(|(container, _)| {
            let id = ContainerId(Arc::clone(container.id()));
            let uid = Uid::from(container.sandbox.record.uid.as_ref());
            ContainerStats::new(id, Arc::clone(&container.record.name), uid, at)
        })
        .collect();
    for (pid, stat) in &table {
        let Some(index) = owner(&table, &mains, *pid) else { continue };
        if stat.is_zombie() {
            continue;
        }
        let stats = &mut stats[index];
        stats.cpu_nanos += stat.cpu_ticks * nanos_per_tick;
        stats.memory += procfs::private_memory(*pid).unwrap_or(0);
        stats.pids += 1;
    }
    for ((container, _), stats) in running.iter().zip(&mut stats) {
        if !container.record.launch.limits.is_none() {
            let (cpu, memory) = core.cgroups.usage(container.id());
            stats.cpu_nanos = cpu.unwrap_or(stats.cpu_nanos);
            stats.memory = memory.unwrap_or(stats.memory);
        }
        // A child's time is lost with it where nobody waited for it; the sum never shrinks all the same.
        let before = container.cpu_nanos.fetch_max(stats.cpu_nanos, Ordering::SeqCst);
        stats.cpu_nanos = stats.cpu_nanos.max(before);
    }
    Ok(stats)
}

fn owner(table: &BTreeMap<i32, Stat>, mains: &BTreeMap<i32, usize>, pid: i32) -> Option<usize> {
    let mut pid = pid;
    for _ in 0..MAX_DEPTH {
        if let Some(index) = mains.get(&pid) {
            return Some(*index);
        }
        let stat = table.get(&pid)?;
        if let Some(index) = mains.get(&stat.pgrp) {
            return Some(*index);
        }
        pid = stat.ppid;
    }
    None
}
