//! The work on the blocking pool, and its end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Handle;

use super::disk::Disk;
use super::segments::{self, Segments};
use super::snapshot;
use super::writer::{Writer, broken, lock, runtime};
use crate::store::StoreError;
use crate::store::state::Image;

/// Writes what waits, until nothing does.
#[derive(Debug)]
pub(super) struct Turn {
    writer: Arc<Writer>,
    at_rest: bool,
}

impl Turn {
    pub(super) fn new(writer: &Arc<Writer>) -> Self {
        Self { writer: Arc::clone(writer), at_rest: false }
    }

    pub(super) fn run(mut self) {
        let mut group = lock(&self.writer.queue).take_group();
        while !group.is_empty() {
            group = self.writer.write(group);
        }
        self.at_rest = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.at_rest {
            // The runtime ended before it ran, or it panicked: then what is on disk is anybody's guess.
            let error = Arc::new(io::Error::other("the writer of the log was stopped"));
            let mut queue = lock(&self.writer.queue);
            queue.writing = false;
            if std::thread::panicking() {
                queue.broken = Some(Arc::clone(&error));
            }
            let items = queue.abandon();
            drop(queue);
            items.into_iter().for_each(|item| item.failed(broken(&error)));
        }
        self.writer.rest.notify_waiters();
    }
}

/// Makes one snapshot, beside the writer.
struct SnapshotTurn {
    writer: Arc<Writer>,
    image: Image,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl SnapshotTurn {
    fn run(self) {
        let Self { writer, image, disk, dir } = &self;
        let stop = || writer.stop.load(Ordering::Relaxed);
        let made = snapshot::write(&**disk, dir, image, &stop);
        let path = dir.join(snapshot::name(image.revision));
        let mut guard = lock(&writer.segments);
        let Some(segments) = guard.as_mut() else { return };
        match made {
            Ok(size) => {
                let superfluous = segments.snapshot_made(image.revision, path, size);
                drop(guard);
                segments::remove(&**disk, &superfluous);
            }
            Err(error) => {
                segments.snapshot_failed(writer.policy);
                if !stop() {
                    tracing::warn!(path = %path.display(), %error, "no snapshot was made, the log grows on");
                }
            }
        }
    }
}

impl Drop for SnapshotTurn {
    fn drop(&mut self) {
        lock(&self.writer.queue).snapshotting = false;
        self.writer.rest.notify_waiters();
    }
}

impl Writer {
    /// Starts a snapshot of the state, which is what `segments` hold. The writer goes on meanwhile.
    pub(super) fn start_snapshot(self: &Arc<Self>, segments: &mut Segments) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut queue = lock(&self.queue);
        if queue.snapshotting || queue.closing {
            return;
        }
        let Ok(image) = self.shared.with(|state| state.image()) else { return };
        queue.snapshotting = true;
        drop(queue);
        segments.rotate();
        let turn = SnapshotTurn {
            writer: Arc::clone(self),
            image,
            disk: Arc::clone(&segments.disk),
            dir: segments.dir.clone(),
        };
        runtime.spawn_blocking(move || turn.run());
    }

    /// Accepts nothing more.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.room.close();
        lock(&self.queue).closing = true;
    }

    /// Lets go of the files. Nobody may be at work on them.
    pub(super) fn let_go(&self) {
        *lock(&self.segments) = None;
        *lock(&self.lock) = None;
    }

    /// Writes what waits, and lets go of the files.
    ///
    /// # Errors
    /// Where the disk had failed.
    pub(super) async fn close(self: &Arc<Self>) -> Result<(), StoreError> {
        let runtime = runtime()?;
        self.stop();
        self.start(lock(&self.queue), &runtime);
        loop {
            // Made before looking, so that an end in between is not missed.
            let rest = self.rest.notified();
            if lock(&self.queue).is_at_rest() {
                break;
            }
            rest.await;
        }
        self.shared.close();
        self.let_go();
        lock(&self.queue).broken.as_ref().map_or(Ok(()), |error| Err(broken(error)))
    }
}
