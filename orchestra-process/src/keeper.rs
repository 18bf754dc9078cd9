//! The thread that waits for processes to end, and for output to be written.
//!
//! It sleeps in one `epoll_wait` over the process descriptors of all containers, an inotify descriptor on the
//! spools, and an event descriptor that wakes it: nothing is polled, and nothing depends on SIGCHLD, which
//! belongs to the embedding program.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};

use crate::exec::ExecProcess;
use crate::reap;
use crate::slots::Slots;
use crate::state::{Container, Core};

/// Events taken at once. More wait in the kernel.
const MAX_BATCH: usize = 256;

/// Holds some hundred inotify events.
const INOTIFY_BUFFER: usize = 32 * 1024;

const WAKE: u64 = 0;
const SPOOLS: u64 = 1;
const FIRST_PROCESS: u64 = 2;

/// What becomes of an ended process.
#[derive(Debug)]
pub(crate) enum Target {
    /// It was the main process of a container.
    Container(Arc<Container>),
    /// It was run by `exec`.
    Exec(Arc<ExecProcess>),
}

/// The keeper's side that others call.
#[derive(Debug)]
pub(crate) struct Keeper {
    epoll: OwnedFd,
    wake: OwnedFd,
    spools: OwnedFd,
    stop: AtomicBool,
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    next: u64,
    processes: BTreeMap<u64, (Arc<OwnedFd>, Target)>,
}

impl Keeper {
    /// A keeper over the directory of spools; [`run`] makes it work.
    pub(crate) fn new(spool_dir: &Path) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let spools = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&spools, spool_dir, WatchFlags::MODIFY)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        epoll::add(&epoll, &spools, EventData::new_u64(SPOOLS), EventFlags::IN)?;
        let watched = Mutex::new(Watched { next: FIRST_PROCESS, processes: BTreeMap::new() });
        Ok(Self { epoll, wake, spools, stop: AtomicBool::new(false), watched })
    }

    /// Waits for a process to end.
    pub(crate) fn watch(&self, pidfd: Arc<OwnedFd>, target: Target) -> io::Result<()> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let key = watched.next;
        watched.next += 1;
        epoll::add(&self.epoll, &pidfd, EventData::new_u64(key), EventFlags::IN)?;
        watched.processes.insert(key, (pidfd, target));
        Ok(())
    }

    /// Ends the thread after what it is at.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Err(error) = rustix::io::write(&self.wake, &1u64.to_ne_bytes()) {
            tracing::warn!(%error, "the keeper can't be woken");
        }
    }

    fn take(&self, key: u64) -> Option<(Arc<OwnedFd>, Target)> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = watched.processes.remove(&key)?;
        if let Err(error) = epoll::delete(&self.epoll, &taken.0) {
            tracing::warn!(%error, "an ended process can't be forgotten");
        }
        Some(taken)
    }

    /// The slots whose spools were written to; `None` where the kernel lost count.
    fn written(&self) -> io::Result<Option<BTreeSet<u32>>> {
        let mut slots = BTreeSet::new();
        let mut buffer = [MaybeUninit::uninit(); INOTIFY_BUFFER];
        let mut events = inotify::Reader::new(&self.spools, &mut buffer);
        loop {
            let event = match events.next() {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Some(slots)),
                event => event?,
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return Ok(None);
            }
            let name = event.file_name().and_then(|name| name.to_str().ok());
            slots.extend(name.and_then(Slots::of_spool));
        }
    }
}

/// The thread: returns when it was stopped.
pub(crate) fn run(core: &Core) {
    let keeper = &core.keeper;
    let mut backlog: BTreeMap<Arc<str>, Arc<Container>> = BTreeMap::new();
    let mut events: Vec<epoll::Event> = Vec::with_capacity(MAX_BATCH);
    // Before the thread ran, spools may have been written to.
    backlog.extend(core.index().all().into_iter().map(|container| (Arc::clone(container.id()), container)));
    while !keeper.stop.load(Ordering::SeqCst) {
        // With a backlog: look, but don't wait.
        let timeout = (!backlog.is_empty()).then(rustix::event::Timespec::default);
        events.clear();
        match epoll::wait(&keeper.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the keeper can't wait for processes any more");
                return;
            }
        }
        let mut ended = Vec::new();
        for event in &events {
            match event.data.u64() {
                WAKE => {}
                SPOOLS => note_written(core, &mut backlog),
                key => ended.extend(keeper.take(key).map(|(_, target)| target)),
            }
        }
        ingest(core, &mut backlog);
        reap::reap(core, ended);
    }
    end_execs(keeper);
}

/// What `exec` runs ends with the runtime: nobody could reach it any more.
fn end_execs(keeper: &Keeper) {
    let mut watched = keeper.watched.lock().unwrap_or_else(PoisonError::into_inner);
    for (_, (_, target)) in std::mem::take(&mut watched.processes) {
        if let Target::Exec(process) = target {
            process.kill();
            process.reap();
        }
    }
}

fn note_written(core: &Core, backlog: &mut BTreeMap<Arc<str>, Arc<Container>>) {
    let containers = match core.keeper.written() {
        Ok(Some(slots)) => {
            let index = core.index();
            slots.iter().filter_map(|slot| index.in_slot(*slot)).collect()
        }
        Ok(None) => core.index().all(),
        Err(error) => {
            tracing::warn!(%error, "the keeper can't tell which container wrote");
            core.index().all()
        }
    };
    backlog.extend(containers.into_iter().map(|container| (Arc::clone(container.id()), container)));
}

/// One turn for each container that has written. Those with more to move keep their place.
fn ingest(core: &Core, backlog: &mut BTreeMap<Arc<str>, Arc<Container>>) {
    if backlog.is_empty() {
        return;
    }
    let now = core.now();
    backlog.retain(|id, container| match container.log.ingest(now) {
        Ok(more) => more,
        Err(error) => {
            // What it wrote stays in the spool, and is moved with what it writes next.
            tracing::warn!(container = %id, %error, "output can't be moved into the log");
            false
        }
    });
}
