//! Takes over what an earlier run of the runtime left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::journal::{ContainerEntry, Contents};
use crate::keeper::Target;
use crate::kill::{self, Marked};
use crate::log::ContainerLog;
use crate::reap;
use crate::record::{End, Record, Started};
use crate::state::{Container, Core, Process, Run, Sandbox};

/// Fills the index from the journal, and finds out what still runs.
///
/// A process is a container's if it was written down and started at the same moment of the same run of the kernel,
/// or if it bears the container's marker: the runtime may have died between starting it and writing it down.
/// Whatever else bears our marker is killed.
pub(crate) fn adopt(core: &Core, contents: Contents, same_boot: bool) -> io::Result<()> {
    let now = core.now();
    for (ip, until) in &contents.resting {
        core.addresses.rest(*ip, until.since(now));
    }
    for (id, entry) in contents.sandboxes {
        let stopped = entry.stopped.is_some();
        if !stopped && !entry.record.host_network {
            core.addresses.adopt(entry.record.ip);
        }
        let sandbox = Arc::new(Sandbox::new(entry.record, stopped, core.shutdown.child_token()));
        core.index().sandboxes.insert(id, sandbox);
    }
    let none = BTreeSet::from([rustix::process::getpid().as_raw_nonzero().get()]);
    let mut marked: BTreeMap<String, Vec<Marked>> = BTreeMap::new();
    for process in kill::find_marked(&core.instance, &none)? {
        marked.entry(process.container.clone()).or_default().push(process);
    }
    for (_, entry) in contents.containers {
        let Some(sandbox) = core.index().sandboxes.get(&entry.record.sandbox).cloned() else { continue };
        let processes = marked.remove(entry.record.id.as_ref()).unwrap_or_default();
        adopt_container(core, sandbox, entry, processes, same_boot)?;
    }
    // Containers we know nothing of: they were never acknowledged, or are removed.
    for (container, processes) in marked {
        tracing::info!(container, processes = processes.len(), "killing what nobody knows");
        kill::kill_all(&processes);
    }
    clean(core)
}

fn adopt_container(
    core: &Core,
    sandbox: Arc<Sandbox>,
    entry: ContainerEntry,
    mut processes: Vec<Marked>,
    same_boot: bool,
) -> io::Result<()> {
    let record = entry.record;
    let dir = core.slots.dir(record.slot);
    let log = ContainerLog::recover(core.log_paths(&record), core.settings.log, entry.end.is_some())?;
    let started_at = entry.started.as_ref().map(|started| started.at);
    let run = match (&entry.end, &entry.started) {
        (Some(end), _) => Run::Ended { end: end.clone(), started: started_at },
        (None, Some(started)) if same_boot => match kill::open(started.pid, started.ticks)? {
            Some(pidfd) => Run::Running(Process {
                pid: started.pid,
                start_ticks: started.ticks,
                pidfd: Arc::new(pidfd),
                at: started.at,
            }),
            None => Run::Ended { end: End::Unknown, started: started_at },
        },
        (None, Some(_)) => Run::Ended { end: End::Unknown, started: started_at },
        (None, None) => unrecorded(core, &record.id, &mut processes)?.map_or(Run::Created, Run::Running),
    };
    let ended = matches!(run, Run::Ended { .. });
    let lost = ended && entry.end.is_none();
    let container = Arc::new(Container {
        record,
        sandbox,
        log: Arc::new(log),
        dir,
        run: Mutex::new(run),
        over: watch::Sender::new(ended),
        execs: Mutex::default(),
        cpu_nanos: std::sync::atomic::AtomicU64::new(0),
    });
    // The rest of a dead main process; and what exec ran, whose client is gone.
    let running = container.process();
    processes.retain(|marked| {
        running.as_ref().is_none_or(|main| main.pid != marked.pid) && (ended || marked.exec)
    });
    kill::kill_all(&processes);
    core.index().insert(Arc::clone(&container));
    if let Some(process) = running {
        if kill::has_ended(&process.pidfd)? {
            // Known before anybody asks.
            reap::reap(core, vec![Target::Container(container)]);
        } else {
            core.keeper.watch(process.pidfd, Target::Container(container))?;
        }
    } else if lost {
        kill::marked(core, &BTreeSet::from([container.id().as_ref()]));
        core.cgroups.remove(container.id());
        if let Err(error) = container.log.finish(core.now()) {
            tracing::warn!(container = %container.id(), %error, "its last output can't be moved into the log");
        }
        reap::set_end(core, &container, End::Unknown, started_at);
    }
    Ok(())
}

/// The main process of a container whose start was not written down: the one that leads its own group, and
/// started first of those.
fn unrecorded(core: &Core, id: &Arc<str>, processes: &mut Vec<Marked>) -> io::Result<Option<Process>> {
    let main = (0..processes.len())
        .filter(|index| !processes[*index].exec && processes[*index].stat.pgrp == processes[*index].pid)
        .min_by_key(|index| (processes[*index].stat.start_ticks, processes[*index].pid));
    let Some(main) = main else { return Ok(None) };
    let main = processes.swap_remove(main);
    let at = core.now();
    let started = Started { id: Arc::clone(id), pid: main.pid, ticks: main.stat.start_ticks, at };
    core.journal.append(Record::Started(started))?;
    Ok(Some(Process { pid: main.pid, start_ticks: main.stat.start_ticks, pidfd: Arc::new(main.pidfd), at }))
}

/// Removes files and groups that belong to no container: a removal, or a creation, was cut short.
fn clean(core: &Core) -> io::Result<()> {
    let known = |id: &str| core.index().get(id).is_some();
    core.cgroups.clean(&known);
    let logs = core.root.join("logs");
    for entry in fs::read_dir(&logs)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !known(&name) {
            fs::remove_dir_all(logs.join(name))?;
        }
    }
    let used = core.index().all().iter().map(|container| container.record.slot).collect();
    core.slots.recover(&used)
}
