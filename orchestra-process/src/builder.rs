//! Builds a runtime.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orchestra_core::clock::{SharedClock, SystemClock};
use orchestra_core::rng::Rng;
use orchestra_core::runtime::RuntimeError;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Addresses;
use crate::cgroup::Cgroups;
use crate::error::failed;
use crate::image::{Images, ProcessImage};
use crate::journal::Journal;
use crate::keeper::{self, Keeper};
use crate::log::LogLimits;
use crate::runtime::ProcessRuntime;
use crate::slots::Slots;
use crate::state::{Core, Index, MAX_EVENTS, Settings};
use crate::state_lock::StateLock;
use crate::{adopt, launch, procfs};

/// How long an address rests by default before another pod gets it: longer than any balancer of a healthy
/// cluster takes to forget the pod that had it.
pub const DEFAULT_ADDRESS_QUARANTINE: Duration = Duration::from_secs(60);

/// Size of one log file by default: Kubernetes' 10 MiB.
pub const DEFAULT_LOG_BYTES: u64 = 10 * 1024 * 1024;

/// Number of log files of a container by default: Kubernetes' 5.
pub const DEFAULT_LOG_FILES: u64 = 5;

/// The smallest log file: a line of full length with its stamp must fit.
const MIN_LOG_BYTES: u64 = 32 * 1024;

/// Builds a [`ProcessRuntime`]. Every setter replaces a working default.
#[derive(Debug)]
pub struct ProcessRuntimeBuilder {
    root: PathBuf,
    cluster_id: String,
    images: BTreeMap<String, ProcessImage>,
    clock: SharedClock,
    rng: Rng,
    quarantine: Duration,
    log: LogLimits,
    cgroups: bool,
}

impl ProcessRuntimeBuilder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            cluster_id: "default".to_owned(),
            images: BTreeMap::new(),
            clock: Arc::new(SystemClock),
            rng: Rng::from_os(),
            quarantine: DEFAULT_ADDRESS_QUARANTINE,
            log: LogLimits { max_bytes: DEFAULT_LOG_BYTES, max_files: DEFAULT_LOG_FILES },
            cgroups: true,
        }
    }

    /// The state directory. Who opens the same one again finds the same containers.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// The cluster whose pods run here; `default` by default. Clusters that share a state directory do not
    /// see each other's pods.
    #[must_use]
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.cluster_id = id.into();
        self
    }

    /// Adds an image: what runs where a container names `name`.
    #[must_use]
    pub fn image(mut self, name: impl Into<String>, image: ProcessImage) -> Self {
        self.images.insert(name.into(), image);
        self
    }

    /// The clock that stamps logs and states; the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Where the identity of a new state directory comes from; seeded by the operating system by default.
    #[must_use]
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    /// How long an address rests before another pod gets it; [`DEFAULT_ADDRESS_QUARANTINE`] by default.
    #[must_use]
    pub fn address_quarantine(mut self, quarantine: Duration) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// Size of one log file in bytes, at least 32 KiB; [`DEFAULT_LOG_BYTES`] by default. At this size the next
    /// one is begun.
    #[must_use]
    pub fn log_max_bytes(mut self, bytes: u64) -> Self {
        self.log.max_bytes = bytes.max(MIN_LOG_BYTES);
        self
    }

    /// Number of log files that are kept of one container, at least 1; [`DEFAULT_LOG_FILES`] by default.
    #[must_use]
    pub fn log_max_files(mut self, files: u64) -> Self {
        self.log.max_files = files.max(1);
        self
    }

    /// Whether limits are enforced by control groups where this process may make some; `true` by default.
    #[must_use]
    pub fn cgroups(mut self, enabled: bool) -> Self {
        self.cgroups = enabled;
        self
    }

    /// Opens the state directory, and takes over the containers that are recorded there: those that run go
    /// on, those that ended meanwhile are known to have ended. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`RuntimeError::InUse`] where another runtime has this state directory open; [`RuntimeError::Unsupported`]
    /// for a cluster id that can't be the name of a directory, and for an image whose stop signal is none; [`RuntimeError::Failed`] where the directory
    /// can't be used.
    pub fn build(self) -> Result<ProcessRuntime, RuntimeError> {
        let subject = self.root.display().to_string();
        if !is_name(&self.cluster_id) {
            let why = format!("`{}` is no cluster id: use letters, digits, `-` and `.`", self.cluster_id);
            return Err(RuntimeError::Unsupported { subject, why });
        }
        let unknown = |(name, image): (&String, &ProcessImage)| Some((name.clone(), image.unknown_signal()?));
        if let Some((subject, why)) = self.images.iter().find_map(unknown) {
            return Err(RuntimeError::Unsupported { subject, why });
        }
        let root = std::path::absolute(self.root.join(&self.cluster_id))
            .map_err(|error| failed(&subject, "find its state directory", error))?;
        let lock = prepare(&root).map_err(|error| failed(&subject, "create its state directory", error))?;
        let Some(lock) =
            StateLock::take(lock).map_err(|error| failed(&subject, "lock its state directory", error))?
        else {
            return Err(RuntimeError::InUse {
                subject,
                what: format!("the state of cluster {} (by another runtime)", self.cluster_id),
            });
        };
        self.open(root, lock).map_err(|error| failed(&subject, "open its state directory", error))
    }

    fn open(self, root: PathBuf, lock: StateLock) -> io::Result<ProcessRuntime> {
        let journal = root.join("journal");
        let mut contents = Journal::read(&journal)?;
        let boot = procfs::boot_id()?;
        let same_boot = contents.boot == boot;
        let now = self.clock.now();
        if !same_boot {
            // Nothing runs of them. It is written down together with the new boot, by which the next run would take them for live.
            contents.sandboxes.values_mut().for_each(|entry| entry.stopped = entry.stopped.or(Some(now)));
        }
        if contents.instance.is_empty() {
            contents.instance = format!("{}-{}", self.cluster_id, self.rng.suffix(12));
        }
        contents.boot = boot;
        contents.resting.retain(|_, until| *until > now);
        let images = Images::default();
        for (name, image) in self.images {
            images.register(name, image);
        }
        let slots = Slots::new(&root);
        let keeper = Keeper::new(slots.spool_dir())?;
        let core = Arc::new(Core {
            instance: contents.instance.clone(),
            settings: Settings { log: self.log, inherited_env: launch::inherited_env() },
            clock: self.clock,
            images,
            addresses: Addresses::new(&root.to_string_lossy(), self.quarantine),
            slots,
            cgroups: Cgroups::new(self.cgroups, &contents.instance),
            journal: Journal::start(&journal, contents.clone())?,
            keeper,
            index: Mutex::new(Index::default()),
            events: broadcast::Sender::new(MAX_EVENTS),
            starting: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            root,
            _lock: lock,
        });
        if contents.containers.values().any(|entry| !entry.record.launch.limits.is_none()) {
            core.cgroups.recover();
        }
        adopt::adopt(&core, contents, same_boot)?;
        let of_thread = Arc::clone(&core);
        let keeper = std::thread::Builder::new()
            .name("orchestra-keeper".to_owned())
            .spawn(move || keeper::run(&of_thread))?;
        ProcessRuntime::start(core, keeper)
    }
}

/// Makes the directories. Only the ones on the way to a container's own are open to other users, to be passed.
fn prepare(root: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o711).create(root)?;
    Slots::prepare(root)?;
    match DirBuilder::new().mode(0o700).create(root.join("logs")) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create(true).truncate(false).open(root.join("lock"))
}

/// Whether a name can be part of a file's name, and read back from it.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(plain)
}
