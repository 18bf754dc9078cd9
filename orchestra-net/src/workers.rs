//! Threads that each serve connections of their own: no work moves between them, so none waits for another.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use socket2::{Socket, Type};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::error::NetError;

/// The most threads of one group: more than any host has cores to spare for its proxy.
const MOST: usize = 512;

/// How many lists an endpoint's waiting connections are kept in at most. A list without connections costs 32 bytes.
const MOST_SHARDS: usize = 64;

/// Numbers the threads of all groups, so that two groups share lists only where there are many threads.
static STARTED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// 0 where the thread is no worker.
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Threads that serve connections, each with a runtime of its own. Clones are the same threads.
///
/// A connection stays on the thread that accepted it, with its requests and their connections to endpoints. No task
/// moves between threads, and no thread is woken for another. What it costs: a handler that computes for long holds up
/// the other connections of its thread.
///
/// The threads end when the last clone is dropped, and what they served ends with them.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use orchestra_core::engine::Tasks;
/// use orchestra_net::{HttpOptions, HttpProxy, Routes, Upstream, Workers};
///
/// let workers = Workers::start(2.try_into().unwrap()).unwrap();
/// let proxy = HttpProxy::new(Routes::to(Upstream::named("shop")), HttpOptions::default(), &Tasks::new());
/// let listening = proxy.bind_to(&workers, ([127, 0, 0, 1], 0).into()).await.unwrap();
/// listening.shutdown().await;
/// workers.shutdown().await;
/// # });
/// ```
#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    handles: Vec<Handle>,
    /// Sockets of another process, until somebody binds their addresses.
    inherited: Mutex<Vec<Socket>>,
    /// Until then nobody reads datagrams from these: it ends.
    held: Mutex<Option<watch::Receiver<()>>>,
    /// Dropping it ends the threads; each holds a receiver for as long as it runs.
    end: watch::Sender<bool>,
}

impl Workers {
    /// Starts `count` threads, 512 at most.
    ///
    /// # Errors
    /// [`NetError::Workers`] where the system gives no thread or no runtime for one. Those that started end again.
    pub fn start(count: NonZeroUsize) -> Result<Self, NetError> {
        let (end, ended) = watch::channel(false);
        let mut inner =
            Inner { handles: Vec::new(), inherited: Mutex::default(), held: Mutex::default(), end };
        let failed = |source| NetError::Workers { source };
        for _ in 0..count.get().min(MOST) {
            let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
            inner.handles.push(runtime.handle().clone());
            let mut ended = ended.clone();
            let number = STARTED.fetch_add(1, Ordering::Relaxed);
            let run = move || {
                SHARD.set(1 + number % (shards() - 1));
                // Also where the sender is gone.
                let _ended = runtime.block_on(ended.wait_for(|ended| *ended));
            };
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(run).map_err(failed)?;
        }
        Ok(Self(Arc::new(inner)))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.handles.len()
    }

    pub(crate) fn handles(&self) -> &[Handle] {
        &self.0.handles
    }

    /// Takes these sockets. Nobody reads datagrams from them before what this returns is dropped.
    #[cfg(target_os = "linux")]
    pub(crate) fn take_over(&self, sockets: Vec<Socket>) -> watch::Sender<()> {
        let (hold, held) = watch::channel(());
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        self.0.inherited.lock().unwrap_or_else(PoisonError::into_inner).extend(sockets);
        hold
    }

    /// The inherited sockets of this kind at this address, once.
    pub(crate) fn inherited(&self, address: SocketAddr, kind: Type) -> Vec<Socket> {
        let mut all = self.0.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        let here = |socket: &Socket| socket.local_addr().is_ok_and(|at| at.as_socket() == Some(address));
        all.extract_if(.., |socket| here(socket) && socket.r#type().is_ok_and(|of| of == kind)).collect()
    }

    /// Returns when datagrams may be read here.
    pub(crate) fn may_read(&self) -> impl Future<Output = ()> + use<> {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move {
            if let Some(mut held) = held {
                // Nothing is ever sent.
                let _dropped = held.changed().await;
            }
        }
    }

    /// The inherited sockets that nobody has asked for.
    #[cfg(target_os = "linux")]
    pub(crate) fn leave(&self) -> Vec<Socket> {
        std::mem::take(&mut self.0.inherited.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the threads, and returns when they have. What they serve is cut off: shut its listeners down before.
    pub async fn shutdown(&self) {
        self.0.end.send_replace(true);
        self.0.end.closed().await;
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("count", &self.count()).finish()
    }
}

/// How many lists an endpoint's waiting connections are kept in: one for each thread that the host has cores for,
/// and the first for all other threads.
pub(crate) fn shards() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    *SHARDS.get_or_init(|| (cores().next_power_of_two() * 2 + 1).min(MOST_SHARDS))
}

/// Which of them is this thread's.
pub(crate) fn shard() -> usize {
    SHARD.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_thread_has_its_list_and_shutdown_waits_for_their_ends() {
        let workers = Workers::start(NonZeroUsize::new(2).unwrap()).unwrap();
        assert_eq!((workers.count(), shard()), (2, 0));
        let mut found = Vec::new();
        for handle in workers.handles() {
            let task = orchestra_core::engine::Tasks::new();
            let (tell, told) = tokio::sync::oneshot::channel();
            let guard = handle.enter();
            task.spawn("shard", async move { tell.send(shard()).unwrap() });
            drop(guard);
            found.push(told.await.unwrap());
        }
        assert!(found[0] != found[1] && found.iter().all(|shard| (1..shards()).contains(shard)), "{found:?}");
        workers.shutdown().await;
        assert_eq!(workers.0.end.receiver_count(), 0);
    }
}
