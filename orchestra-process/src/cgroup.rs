//! Limits, by control groups, where we may make some.
//!
//! A container gets a group only where its spec limits something: moving a process into a group makes every
//! `fork` on the host wait for a moment. Version 1 has one tree for each controller, version 2 one for all; which
//! controllers are used from where is found out once.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::record::Limits;

/// Where cgroups are mounted on every distribution.
const MOUNT: &str = "/sys/fs/cgroup";

/// The directory in each tree under which our groups are.
const OURS: &str = "orchestra";

/// The period of the CPU quota in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// The smallest CPU quota the kernel takes, in microseconds.
const MIN_QUOTA: u64 = 1000;

/// The least and the most shares the kernel takes.
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;

/// The controllers that are used.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Tries to remove a group whose last process is being buried. Each waits for the kernel's next step.
const MAX_REMOVALS: usize = 20;

/// Rounds of killing what is in a group: each finds what was forked during the one before.
const MAX_KILLS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A tree in which we may make groups.
#[derive(Clone, Debug)]
struct Tree {
    version: Version,
    /// The directory that holds a group for each container.
    parent: PathBuf,
    controllers: BTreeSet<&'static str>,
}

/// The groups of one runtime.
#[derive(Debug)]
pub(crate) struct Cgroups {
    enabled: bool,
    instance: String,
    trees: OnceLock<Vec<Tree>>,
}

impl Cgroups {
    pub(crate) fn new(enabled: bool, instance: &str) -> Self {
        Self { enabled, instance: instance.to_owned(), trees: OnceLock::new() }
    }

    fn trees(&self) -> &[Tree] {
        self.trees.get_or_init(|| {
            let trees = if self.enabled { find(&self.instance) } else { Vec::new() };
            if trees.is_empty() {
                tracing::warn!("limits are not enforced: no control group can be made under {MOUNT}");
            }
            trees
        })
    }

    /// Whether there is a tree for this controller.
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.trees().iter().any(|tree| tree.controllers.contains(controller))
    }

    /// Makes the groups of a container with its limits. Returns the files into which its process writes itself
    /// before it becomes the container's program, so that nothing it starts is ever outside. Where there are no
    /// groups, it runs without. After an error there are no groups.
    pub(crate) fn create(&self, id: &str, limits: &Limits) -> io::Result<Vec<File>> {
        if limits.is_none() {
            return Ok(Vec::new());
        }
        let doors = self.make(id, limits);
        if doors.is_err() {
            self.remove(id);
        }
        doors
    }

    fn make(&self, id: &str, limits: &Limits) -> io::Result<Vec<File>> {
        let mut doors = Vec::new();
        for tree in self.trees() {
            let group = tree.parent.join(id);
            match fs::create_dir(&group) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            for (file, value) in settings(tree, limits) {
                fs::write(group.join(file), value)?;
            }
            doors.push(door(&group)?);
        }
        Ok(doors)
    }

    /// The same for what `exec` runs in a container that has groups.
    pub(crate) fn doors(&self, id: &str) -> io::Result<Vec<File>> {
        self.groups(id).map(|(_, group)| door(&group)).collect()
    }

    /// The existing groups of a container. Looks only where trees were found: nothing was made elsewhere.
    fn groups(&self, id: &str) -> impl Iterator<Item = (Version, PathBuf)> {
        let trees = self.trees.get().map(Vec::as_slice).unwrap_or_default();
        trees.iter().map(move |tree| (tree.version, tree.parent.join(id))).filter(|(_, group)| group.is_dir())
    }

    /// Looks for the trees, where an earlier run may have made groups.
    pub(crate) fn recover(&self) {
        if self.enabled {
            self.trees();
        }
    }

    /// Kills all processes of a container's group, however they were started, and waits until they are gone.
    pub(crate) fn kill(&self, id: &str) {
        for (version, group) in self.groups(id) {
            if !empty(version, &group) {
                tracing::warn!(group = %group.display(), "a control group's processes do not end, or fork faster");
            }
        }
    }

    /// Removes a container's groups. Returns whether the kernel killed something in them for lack of memory.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut oom = false;
        for (_, group) in self.groups(id) {
            for file in ["memory.oom_control", "memory.events"] {
                oom |= counter(&group.join(file), "oom_kill").is_some_and(|count| count > 0);
            }
            if let Err(error) = remove_group(&group) {
                tracing::warn!(group = %group.display(), %error, "a control group can't be removed");
            }
        }
        oom
    }

    /// Removes what is ours and belongs to none of the containers in `keep`, and the common parent, if empty.
    pub(crate) fn clean(&self, keep: &dyn Fn(&str) -> bool) {
        for tree in self.trees.get().map(Vec::as_slice).unwrap_or_default() {
            let Ok(entries) = fs::read_dir(&tree.parent) else { continue };
            for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
                let name = entry.file_name();
                if !name.to_str().is_some_and(keep)
                    && let Err(error) = remove_group(&entry.path())
                {
                    tracing::warn!(group = %entry.path().display(), %error, "a control group can't be removed");
                }
            }
        }
    }

    /// Removes the runtime's own groups where no container has one.
    pub(crate) fn close(&self) {
        for tree in self.trees.get().map(Vec::as_slice).unwrap_or_default() {
            // Fails where something is still inside, as it should.
            let removed = fs::remove_dir(&tree.parent);
            tracing::trace!(?removed, "removing the runtime's control group");
            let removed = tree.parent.parent().map(fs::remove_dir);
            tracing::trace!(?removed, "removing the common control group");
        }
    }

    /// CPU time in nanoseconds and memory in bytes of a container with a group, as far as it accounts for them.
    pub(crate) fn usage(&self, id: &str) -> (Option<u64>, Option<u64>) {
        let (mut cpu, mut memory) = (None, None);
        for (version, group) in self.groups(id) {
            let (used, inactive) = match version {
                Version::V1 => (number(&group.join("memory.usage_in_bytes")), "total_inactive_file"),
                Version::V2 => (number(&group.join("memory.current")), "inactive_file"),
            };
            let reclaimable = counter(&group.join("memory.stat"), inactive).unwrap_or(0);
            memory = memory.or(used.map(|used| used.saturating_sub(reclaimable)));
            cpu = cpu.or_else(|| counter(&group.join("cpu.stat"), "usage_usec").map(|micros| micros * 1000));
        }
        (cpu, memory)
    }
}

/// The file through which processes come into a group.
fn door(group: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(group.join("cgroup.procs"))
}

/// The files to write for some limits, in the order in which they must be.
fn settings(tree: &Tree, limits: &Limits) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    let has = |controller| tree.controllers.contains(controller);
    let quota = limits.cpu_milli.map(|milli| (milli.saturating_mul(CPU_PERIOD) / 1000).max(MIN_QUOTA));
    // Who asks for none comes after all who do, as under Kubernetes: the kernel's default is as much as a whole core's.
    let shares = limits.cpu_request_milli.or(limits.cpu_milli).map_or(MIN_SHARES, shares);
    if tree.version == Version::V1 {
        if has("cpu") {
            settings.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
            settings.push(("cpu.shares", shares.to_string()));
        }
        if has("memory") {
            settings.extend(limits.memory.map(|bytes| ("memory.limit_in_bytes", bytes.to_string())));
        }
    } else {
        if has("cpu") {
            settings.extend(quota.map(|quota| ("cpu.max", format!("{quota} {CPU_PERIOD}"))));
            settings.push(("cpu.weight", weight(shares).to_string()));
        }
        if has("memory") {
            settings.extend(limits.memory.map(|bytes| ("memory.max", bytes.to_string())));
        }
    }
    if has("pids") {
        settings.extend(limits.pids.map(|pids| ("pids.max", pids.to_string())));
    }
    settings
}

/// CPU shares as Kubernetes computes them: 1,024 for a whole core, between the kernel's limits.
fn shares(milli: u64) -> u64 {
    (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The weight of version 2 for the shares of version 1, as Kubernetes converts them.
fn weight(shares: u64) -> u64 {
    1 + (shares - MIN_SHARES) * 9999 / (MAX_SHARES - MIN_SHARES)
}

/// Finds the trees in which groups can be made, by making ours there.
fn find(instance: &str) -> Vec<Tree> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut trees = Vec::new();
    let mut missing: BTreeSet<&'static str> = CONTROLLERS.into_iter().collect();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        let tree = if names.is_empty() { v2(path, instance) } else { v1(names, path, instance) };
        let Some(mut tree) = tree else { continue };
        tree.controllers.retain(|controller| missing.remove(controller));
        if !tree.controllers.is_empty() {
            trees.push(tree);
        } else {
            drop(fs::remove_dir(&tree.parent));
        }
    }
    trees
}

fn v1(names: &str, path: &str, instance: &str) -> Option<Tree> {
    let controllers: BTreeSet<_> = CONTROLLERS
        .into_iter()
        .filter(|controller| names.split(',').any(|name| name == *controller))
        .collect();
    if controllers.is_empty() {
        return None;
    }
    let parent = inside(&Path::new(MOUNT).join(names), path).join(OURS).join(instance);
    fs::create_dir_all(&parent).ok()?;
    Some(Tree { version: Version::V1, parent, controllers })
}

/// In version 2 only the root may hold both processes and groups with controllers: anywhere else we can't limit
/// without moving the embedding program, which is not ours to move.
fn v2(path: &str, instance: &str) -> Option<Tree> {
    let mount = [MOUNT, "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(Path::new)
        .find(|mount| mount.join("cgroup.controllers").is_file())?;
    let own = inside(mount, path);
    let available = fs::read_to_string(own.join("cgroup.controllers")).ok()?;
    let controllers: BTreeSet<_> = CONTROLLERS
        .into_iter()
        .filter(|controller| available.split_ascii_whitespace().any(|name| name == *controller))
        .collect();
    if controllers.is_empty() {
        return None;
    }
    let parent = own.join(OURS).join(instance);
    fs::create_dir_all(&parent).ok()?;
    let enable: Vec<_> = controllers.iter().map(|controller| format!("+{controller}")).collect();
    let enable = enable.join(" ");
    let enabled = [own.clone(), own.join(OURS), parent.clone()]
        .iter()
        .all(|group| fs::write(group.join("cgroup.subtree_control"), &enable).is_ok());
    if !enabled {
        drop(fs::remove_dir(&parent));
        drop(fs::remove_dir(own.join(OURS)));
        return None;
    }
    Some(Tree { version: Version::V2, parent, controllers })
}

fn inside(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

/// Kills what is in a group, and waits for it, until nothing is. Returns whether that came about.
fn empty(version: Version, group: &Path) -> bool {
    for _ in 0..MAX_KILLS {
        let members = pids(group);
        if members.is_empty() {
            return true;
        }
        // Opened before they are killed: a descriptor tells of its own process's end, whoever gets the number.
        let opened: Vec<OwnedFd> = members.iter().filter_map(|number| open_member(group, *number)).collect();
        if version == Version::V1 || fs::write(group.join("cgroup.kill"), "1").is_err() {
            for pidfd in &opened {
                if let Err(error) = crate::kill::signal(pidfd, rustix::process::Signal::KILL.as_raw()) {
                    tracing::warn!(group = %group.display(), %error, "a process of a control group can't be killed");
                }
            }
        }
        for pidfd in &opened {
            if !crate::kill::wait_for_death(pidfd) {
                return false;
            }
        }
    }
    false
}

/// A process of a group. The group holds nothing but its container's: a number that is still in it when the
/// descriptor is open is the right one.
fn open_member(group: &Path, number: i32) -> Option<OwnedFd> {
    let pidfd =
        rustix::process::pidfd_open(crate::kill::pid(number)?, rustix::process::PidfdFlags::empty()).ok()?;
    pids(group).contains(&number).then_some(pidfd)
}

fn remove_group(group: &Path) -> io::Result<()> {
    for _ in 0..MAX_REMOVALS {
        match fs::remove_dir(group) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
        std::thread::yield_now();
    }
    fs::remove_dir(group)
}

fn pids(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The value beside a name in a file of such pairs.
fn counter(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_the_files_of_each_version() {
        let limits = Limits {
            cpu_milli: Some(250),
            cpu_request_milli: Some(500),
            memory: Some(1 << 20),
            pids: Some(7),
        };
        let all: BTreeSet<_> = CONTROLLERS.into_iter().collect();
        let tree = |version| Tree { version, parent: PathBuf::new(), controllers: all.clone() };
        let v1 = settings(&tree(Version::V1), &limits);
        assert!(
            v1.contains(&("cpu.cfs_quota_us", "25000".to_owned()))
                && v1.contains(&("cpu.shares", "512".to_owned()))
        );
        let v2 = settings(&tree(Version::V2), &limits);
        assert!(
            v2.contains(&("cpu.max", "25000 100000".to_owned()))
                && v2.contains(&("pids.max", "7".to_owned()))
        );
        assert_eq!((weight(2), weight(262_144), shares(0), shares(u64::MAX)), (1, 10_000, 2, 262_144));
        let no_cpu = Limits { memory: Some(1 << 20), ..Limits::default() };
        assert!(settings(&tree(Version::V1), &no_cpu).contains(&("cpu.shares", "2".to_owned())));
        assert!(settings(&tree(Version::V2), &no_cpu).contains(&("cpu.weight", "1".to_owned())));
    }
}
