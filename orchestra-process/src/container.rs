//! The life of a container.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orchestra_core::runtime::{ContainerId, ContainerSpec, RuntimeError};
use rustix::process::Signal;
use tokio::sync::watch;

use crate::builder::is_name;
use crate::error::{failed, not_found, passes, start as start_error, unsupported};
use crate::keeper::Target;
use crate::kill::{self, KILL_DEADLINE};
use crate::launch::{self, Context};
use crate::log::ContainerLog;
use crate::record::{ContainerRecord, Record, Started};
use crate::spawn;
use crate::state::{Container, Core, Process, Run, Sandbox};

/// The longest name of a container: a DNS label's.
const MAX_NAME: usize = 63;

/// Whether creating a container takes no longer than going to another thread for it: where it needs no files but
/// its own directory, and nothing else is done to its sandbox.
pub(crate) fn is_quick(core: &Core, sandbox: &str, spec: &ContainerSpec) -> bool {
    let plain = spec.mounts.is_empty() && spec.working_dir.is_none() && core.slots.has_free();
    plain && core.index().sandboxes.get(sandbox).is_none_or(|sandbox| sandbox.op.try_lock().is_ok())
}

/// A start under way, counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Starting(Arc<Core>);

impl Starting {
    /// Counts one more. Returns also whether it is the only one.
    pub(crate) fn begin(core: &Arc<Core>) -> (Self, bool) {
        (Self(Arc::clone(core)), core.starting.fetch_add(1, Ordering::Relaxed) == 0)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.starting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether starting a container takes hardly longer than going to another thread for it: it takes no fork, and
/// nobody else is about it.
pub(crate) fn starts_quickly(container: &Container) -> bool {
    spawn::starts_directly(&container.record.launch) && container.run.try_lock().is_ok()
}

/// Creates a container, or finds it.
pub(crate) fn create(
    core: &Core,
    sandbox: &Arc<str>,
    spec: &ContainerSpec,
) -> Result<ContainerId, RuntimeError> {
    let Some(sandbox) = core.index().sandboxes.get(sandbox).cloned() else {
        return Err(not_found("sandbox", sandbox));
    };
    if !is_name(&spec.name) || spec.name.len() > MAX_NAME {
        let why =
            format!("`{}` is no container name: up to {MAX_NAME} letters, digits, `-` and `.`", spec.name);
        return Err(unsupported(&sandbox.record.id, why));
    }
    let id: Arc<str> = format!("{}_{}_{}", sandbox.record.id, spec.name, spec.attempt).into();
    let _op = sandbox.lock();
    if core.index().get(&id).is_some() {
        return Ok(ContainerId(id));
    }
    if sandbox.is_stopped() {
        return Err(not_found("running sandbox", &sandbox.record.id));
    }
    let Some((image, info)) = core.images.present(&spec.image)? else {
        let why = "it is not present; pull it first".to_owned();
        return Err(RuntimeError::ImageNotFound { image: spec.image.name.clone(), why });
    };
    launch::check(&id, spec, &image)?;
    let slot = core.slots.take(spec.run_as).map_err(|error| failed(&id, "create its directory", error))?;
    let dir = core.slots.dir(slot);
    let context = Context {
        id: &id,
        instance: &core.instance,
        sandbox: &sandbox.record,
        inherited: &core.settings.inherited_env,
        dir: &dir,
    };
    let created = launch::mount(&id, &dir, &spec.mounts)
        .and_then(|()| launch::resolve(&context, spec, &image))
        .and_then(|launch| {
            let record = Arc::new(ContainerRecord {
                id: Arc::clone(&id),
                sandbox: Arc::clone(&sandbox.record.id),
                name: Arc::clone(&spec.name),
                attempt: spec.attempt,
                slot,
                image: spec.image.name.clone(),
                image_id: info.id,
                at: core.now(),
                launch,
            });
            let written = core.journal.append(Record::Container(Arc::clone(&record)));
            written.map_err(|error| failed(&id, "write it down", error)).map(|()| record)
        });
    match created {
        Ok(record) => {
            core.index().insert(new(core, Arc::clone(&sandbox), record, dir));
            core.changed(&sandbox.record);
            Ok(ContainerId(id))
        }
        Err(error) => {
            if let Err(error) = core.slots.give_back(slot, spec.run_as) {
                tracing::warn!(container = %id, %error, "the directory of a failed container can't be emptied");
            }
            Err(error)
        }
    }
}

fn new(
    core: &Core,
    sandbox: Arc<Sandbox>,
    record: Arc<ContainerRecord>,
    dir: std::path::PathBuf,
) -> Arc<Container> {
    let log = ContainerLog::new(core.log_paths(&record), core.settings.log);
    Arc::new(Container {
        record,
        sandbox,
        log: Arc::new(log),
        dir,
        run: Mutex::new(Run::Created),
        over: watch::Sender::new(false),
        execs: Mutex::default(),
        cpu_nanos: AtomicU64::new(0),
    })
}

/// Starts a container, or finds that it runs or has run.
pub(crate) fn start(core: &Core, container: &Arc<Container>) -> Result<(), RuntimeError> {
    let id = container.id();
    let mut run = container.run();
    match &*run {
        Run::Running(_) | Run::Ended { .. } => return Ok(()),
        Run::Removed => return Err(not_found("container", id)),
        Run::Created => {}
    }
    // The run is locked: a stop that comes now sees the process, or we see the stop.
    if container.sandbox.is_stopped() {
        return Err(not_found("running sandbox", &container.sandbox.record.id));
    }
    let launch = &container.record.launch;
    let stdin = launch.stdin.then(|| container.dir.join("stdin"));
    let spools =
        container.log.open_spools().map_err(|error| failed(id, "open the files for its output", error))?;
    let doors =
        core.cgroups.create(id, &launch.limits).map_err(|error| failed(id, "limit its resources", error))?;
    let spawned = spawn::main_process(launch, spools, stdin.as_deref(), doors).map_err(|error| {
        core.cgroups.remove(id);
        let program = launch.program.display().to_string();
        if passes(&error) { failed(id, "start its program", error) } else { start_error(id, &program, error) }
    })?;
    let at = core.now();
    let started = Started { id: Arc::clone(id), pid: spawned.pid, ticks: spawned.start_ticks, at };
    let ready = core.journal.append(Record::Started(started)).and_then(|()| {
        core.keeper.watch(Arc::clone(&spawned.pidfd), Target::Container(Arc::clone(container)))
    });
    if let Err(error) = ready {
        spawn::undo(&spawned);
        core.cgroups.remove(id);
        return Err(failed(id, "start its program", error));
    }
    let (pid, start_ticks) = (spawned.pid, spawned.start_ticks);
    *run = Run::Running(Process { pid, start_ticks, pidfd: spawned.pidfd, at });
    drop(run);
    core.changed(&container.sandbox.record);
    Ok(())
}

/// Kills a container's main process, where it runs. The keeper does the rest.
pub(crate) fn kill(container: &Container) -> Result<(), RuntimeError> {
    signal(container, Signal::KILL.as_raw())
}

fn signal(container: &Container, signal: i32) -> Result<(), RuntimeError> {
    match container.process() {
        Some(process) => kill::signal(&process.pidfd, signal)
            .map_err(|error| failed(container.id(), "send a signal to its process", error)),
        None => Ok(()),
    }
}

/// Asks a container to end, and kills it after `grace`. Returns when nothing of it runs.
pub(crate) async fn stop(container: &Container, grace: Duration) -> Result<(), RuntimeError> {
    let mut over = container.over.subscribe();
    if container.process().is_none() {
        return Ok(());
    }
    if !grace.is_zero() {
        match signal(container, container.record.launch.stop_signal) {
            Ok(()) if tokio::time::timeout(grace, over.wait_for(|over| *over)).await.is_ok() => return Ok(()),
            Ok(()) => {}
            // Nothing tells it to end, so there is nothing to wait for.
            Err(error) => tracing::warn!(container = %container.id(), %error, "it is killed at once"),
        }
    }
    kill(container)?;
    match tokio::time::timeout(KILL_DEADLINE, over.wait_for(|over| *over)).await {
        Ok(_) => Ok(()),
        Err(elapsed) => Err(RuntimeError::OutcomeUnknown {
            subject: container.id().to_string(),
            operation: "the end of its process",
            source: Box::new(elapsed),
        }),
    }
}

/// Removes a container that does not run.
pub(crate) fn remove(core: &Core, container: &Arc<Container>) -> Result<(), RuntimeError> {
    let id = container.id();
    let mut run = container.run();
    match &*run {
        Run::Removed => return Ok(()),
        Run::Running(_) => {
            return Err(RuntimeError::InUse {
                subject: id.to_string(),
                what: "its running process".to_owned(),
            });
        }
        Run::Created | Run::Ended { .. } => {}
    }
    let (slot, user) = (container.record.slot, container.record.launch.user);
    container
        .log
        .remove()
        .and_then(|()| core.journal.append(Record::ContainerRemoved { id: Arc::clone(id) }))
        .map_err(|error| failed(id, "remove it", error))?;
    *run = Run::Removed;
    drop(run);
    core.index().remove(container);
    // Only now is the slot free for the next one. Where it can't be emptied it is left out.
    if let Err(error) = core.slots.give_back(slot, user) {
        tracing::warn!(container = %id, %error, "the directory of a removed container can't be emptied");
    }
    core.changed(&container.sandbox.record);
    Ok(())
}
