//! Removing images to make room, by the kubelet's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::models::ImageSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptions, RemoveImageOptions};
use orchestra_core::runtime::RuntimeError;
use tokio::time::Instant;

use crate::core::Core;
use crate::error;

/// When images are removed to make room for one that is to be pulled: only such as no container of anybody uses and a registry
/// gave, for they can be pulled again, those first that were not used for longest. By default as the kubelet does. With the containerd
/// image store and on Podman, which don't say what a registry gave, these are the ones that this runtime has pulled itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImageCollection {
    /// Images are removed where more of the engine's disk is used, in percent: 85.
    pub high: u8,
    /// And until so much of it is, in percent: 80.
    pub low: u8,
    /// How long ago an image must have come, and been used: 2 minutes.
    pub min_age: Duration,
}

impl Default for ImageCollection {
    fn default() -> Self {
        Self { high: 85, low: 80, min_age: Duration::from_secs(120) }
    }
}

/// What is known of images beside what the engine says.
#[derive(Debug)]
pub(crate) struct Collector {
    options: ImageCollection,
    /// Where the engine keeps them, on this host.
    root: PathBuf,
    /// Whether an image with a digest came from a registry, on this engine. Podman and the containerd image store give all of them
    /// one: there only what was fetched here is known to come from somewhere.
    digests_tell: bool,
    /// When each was used last here, or else seen first.
    used: Mutex<BTreeMap<String, Instant>>,
    /// Those that were fetched here.
    fetched: Mutex<BTreeSet<String>>,
}

/// An image that may go.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    used: Instant,
    id: String,
    bytes: u64,
    names: Vec<String>,
}

impl Collector {
    pub(crate) fn new(options: ImageCollection, root: PathBuf, digests_tell: bool) -> Self {
        Self { options, root, digests_tell, used: Mutex::default(), fetched: Mutex::default() }
    }

    /// Takes down that an image came from a registry.
    pub(crate) fn fetched(&self, id: &str) {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    /// Takes down that an image is used now.
    pub(crate) fn note(&self, id: &str) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(id.to_owned(), Instant::now());
    }

    /// How many bytes have to go.
    fn excess(&self) -> u64 {
        let Ok(disk) = rustix::fs::statvfs(&self.root) else { return 0 };
        let size = disk.f_blocks.saturating_mul(disk.f_frsize);
        excess(size, disk.f_bavail.saturating_mul(disk.f_frsize), &self.options)
    }

    /// Those that may go, the one that was not used for longest first.
    fn candidates(&self, images: Vec<ImageSummary>, in_use: &BTreeSet<String>) -> Vec<Candidate> {
        let now = Instant::now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let present: BTreeSet<_> = images.iter().map(|image| image.id.clone()).collect();
        used.retain(|id, _| present.contains(id));
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.retain(|id| present.contains(id));
        let mut candidates = Vec::new();
        for image in images {
            if in_use.contains(&image.id) {
                used.insert(image.id, now);
                continue;
            }
            let last = *used.entry(image.id.clone()).or_insert(now);
            let real = |name: &String| !name.contains("<none>");
            let digests: Vec<_> = image.repo_digests.into_iter().filter(real).collect();
            let can_come_again = !digests.is_empty() && (self.digests_tell || fetched.contains(&image.id));
            if !can_come_again || now.saturating_duration_since(last) < self.options.min_age {
                continue;
            }
            let tags: Vec<_> = image.repo_tags.into_iter().filter(real).collect();
            let (bytes, names) =
                (u64::try_from(image.size).unwrap_or_default(), if tags.is_empty() { digests } else { tags });
            candidates.push(Candidate { used: last, id: image.id, bytes, names });
        }
        candidates.sort();
        candidates
    }
}

/// How much of a disk of this size is used too much, where that is more than the high threshold.
fn excess(size: u64, free: u64, options: &ImageCollection) -> u64 {
    let used = size.saturating_sub(free);
    let part = |percent: u8| size / 100 * u64::from(percent);
    if size == 0 || used < part(options.high) { 0 } else { used.saturating_sub(part(options.low)) }
}

/// Removes images where there is too little room. What fails is said in the log: the pull that follows will tell.
pub(crate) async fn make_room(core: &Core) {
    let Some(collector) = &core.collector else { return };
    let mut excess = collector.excess();
    if excess == 0 {
        return;
    }
    let candidates = match listed(core).await {
        Ok((images, in_use)) => collector.candidates(images, &in_use),
        Err(error) => return tracing::warn!(%error, "no images are removed to make room"),
    };
    for candidate in candidates {
        if excess == 0 {
            return;
        }
        let mut gone = true;
        for name in &candidate.names {
            // One that came into use meanwhile is refused.
            let removed = core.docker.remove_image(name, None::<RemoveImageOptions>, None).await;
            if let Err(error) = removed {
                tracing::info!(image = name, %error, "an image is not removed to make room");
                gone = false;
            }
        }
        if gone {
            tracing::info!(image = ?candidate.names, bytes = candidate.bytes, "removed an image to make room");
            excess = excess.saturating_sub(candidate.bytes);
        }
    }
    if excess > 0 {
        tracing::warn!(bytes = excess, "the engine's disk is too full, and no unused image is left");
    }
}

/// All images, and those that containers use, whoever made them.
async fn listed(core: &Core) -> Result<(Vec<ImageSummary>, BTreeSet<String>), RuntimeError> {
    let failed = |what| move |error| error::read("the engine", what, error);
    let options = ListContainersOptionsBuilder::default().all(true).build();
    // First: an image that comes into use in between is not old.
    let images = core.docker.list_images(None::<ListImagesOptions>).await.map_err(failed("list images"))?;
    let containers = core.docker.list_containers(Some(options)).await.map_err(failed("list containers"))?;
    Ok((images, containers.into_iter().filter_map(|container| container.image_id).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_down_to_the_low_threshold() {
        let options = ImageCollection::default();
        for (free, expected) in [(100, 0), (16, 0), (15, 5), (0, 20)] {
            assert_eq!(excess(100, free, &options), expected, "{free} free");
        }
        assert_eq!(excess(0, 0, &options), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_unused_image_of_a_registry_goes_first() {
        let image = |id: &str, tag: &str, digest: &str| ImageSummary {
            id: id.to_owned(),
            repo_tags: vec![tag.to_owned()],
            repo_digests: vec![digest.to_owned()],
            size: 7,
            ..ImageSummary::default()
        };
        let images = || {
            let built = image("built", "built:1", "<none>@<none>");
            vec![
                image("a", "a:1", "a@1"),
                image("b", "<none>:<none>", "b@1"),
                image("c", "c:1", "c@1"),
                built,
            ]
        };
        let collector = Collector::new(ImageCollection::default(), PathBuf::from("/"), true);
        let in_use = BTreeSet::from(["c".to_owned()]);
        let names = || {
            let candidates = collector.candidates(images(), &in_use);
            candidates.into_iter().flat_map(|candidate| candidate.names).collect::<Vec<_>>()
        };
        assert!(names().is_empty(), "they were not seen for long");
        tokio::time::advance(Duration::from_secs(60)).await;
        collector.note("a");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(names(), ["b@1"]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(names(), ["b@1", "a:1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_images_have_digests_only_what_was_fetched_here_goes() {
        let collector = Collector::new(ImageCollection::default(), PathBuf::from("/"), false);
        let image = |id: &str| ImageSummary {
            id: id.to_owned(),
            repo_tags: vec![format!("{id}:1")],
            repo_digests: vec![format!("{id}@1")],
            ..ImageSummary::default()
        };
        let candidates = || collector.candidates(vec![image("built"), image("pulled")], &BTreeSet::new());
        collector.fetched("pulled");
        assert!(candidates().is_empty());
        tokio::time::advance(Duration::from_secs(600)).await;
        let ids: Vec<_> = candidates().into_iter().map(|candidate| candidate.id).collect();
        assert_eq!(ids, ["pulled"]);
    }
}
