//! Who acts in a simulation, whether it lives, and whether it reaches the others.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    /// The people who use the cluster.
    User,
    /// One controller of the control plane, by its name; `caches` for what all of them share.
    Controller(&'static str),
    /// The agent of a node.
    Node(usize),
    /// The balancer.
    Traffic,
    /// Another writer, who changes objects under the feet of the rest.
    Rival,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("user"),
            Self::Controller(name) => write!(f, "control/{name}"),
            Self::Node(index) => write!(f, "node-{index}"),
            Self::Traffic => f.write_str("traffic"),
            Self::Rival => f.write_str("rival"),
        }
    }
}

/// One run of a program. What it does after its death has no effect, whatever its tasks still try.
#[derive(Debug)]
pub(crate) struct Process {
    alive: AtomicBool,
    frozen: Mutex<Option<Instant>>,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self { alive: AtomicBool::new(true), frozen: Mutex::new(None) }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// From now on nothing it does has an effect.
    pub(crate) fn kill(&self) {
        self.alive.store(false, Ordering::Relaxed);
    }

    /// Goes on only if the process lives.
    pub(crate) async fn goes_on(&self) {
        if !self.is_alive() {
            std::future::pending::<()>().await;
        }
    }

    /// Holds back all that it is told of the store, for a time.
    pub(crate) fn freeze(&self, time: Duration) {
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
    }

    /// Waits until it is told things again.
    pub(crate) async fn thaw(&self) {
        loop {
            let until = *self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }
}

/// The way from a host to the store.
#[derive(Debug)]
pub(crate) struct Link {
    up: AtomicBool,
    changed: Notify,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self { up: AtomicBool::new(true), changed: Notify::new() }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Resolves when the link is up.
    pub(crate) async fn up(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_up() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when the link is down.
    pub(crate) async fn down(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_up() {
                return;
            }
            changed.await;
        }
    }
}
