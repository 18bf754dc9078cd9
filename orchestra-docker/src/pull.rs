//! Following a pull: how far it has come, and whether it still goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use futures_util::{Stream, StreamExt};
use orchestra_core::runtime::{OnPull, PullProgress, RuntimeError};

use crate::image::not_pulled;

/// A pull that has not moved for so long is ended, as the kubelet did with Docker.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// Waits until a pull is over. Ends it where nothing more comes.
pub(crate) async fn follow(
    steps: impl Stream<Item = Result<CreateImageInfo, Error>>,
    stall: Duration,
    name: &str,
    progress: OnPull<'_>,
) -> Result<(), RuntimeError> {
    let mut steps = std::pin::pin!(steps);
    let mut layers = Layers::default();
    loop {
        match tokio::time::timeout(stall, steps.next()).await {
            Ok(Some(Ok(step))) => {
                if layers.take(&step) {
                    progress(layers.progress());
                }
            }
            Ok(Some(Err(error))) => return Err(not_pulled(name, error)),
            Ok(None) => return Ok(()),
            Err(_) => {
                let PullProgress { bytes, total } = layers.progress();
                let (subject, operation) = (name.to_owned(), "pull it");
                let source = format!("nothing came for {stall:?}, after {bytes} of {total} bytes").into();
                return Err(RuntimeError::Failed { subject, operation, transient: true, source });
            }
        }
    }
}

/// The layers of an image that come: how many bytes are here, and how many there are.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, (u64, u64)>);

impl Layers {
    /// Takes down what the engine says of a layer; whether it is something new.
    fn take(&mut self, step: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&step.id, &step.status) else { return false };
        let layer = match status.as_str() {
            "Downloading" => {
                let detail = step.progress_detail.as_ref();
                let count =
                    |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
                let total = count(detail.and_then(|detail| detail.total));
                (count(detail.and_then(|detail| detail.current)), total)
            }
            "Verifying Checksum" | "Download complete" | "Pull complete" => match self.0.get(id) {
                Some((_, total)) => (*total, *total),
                None => return false,
            },
            _ => return false,
        };
        self.0.insert(id.clone(), layer) != Some(layer)
    }

    fn progress(&self) -> PullProgress {
        let sum = |part: fn(&(u64, u64)) -> u64| self.0.values().map(part).fold(0, u64::saturating_add);
        PullProgress { bytes: sum(|layer| layer.0), total: sum(|layer| layer.1.max(layer.0)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bollard::models::ProgressDetail;
    use futures_util::stream;

    use super::*;

    fn step(id: &str, status: &str, numbers: Option<(i64, i64)>) -> Result<CreateImageInfo, Error> {
        let detail =
            numbers.map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) });
        Ok(CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: detail,
            ..CreateImageInfo::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_bytes_of_all_layers_are_told_and_a_stalled_pull_ends() {
        let steps = [
            step("1", "Pulling from shop/a", None),
            step("a", "Pulling fs layer", None),
            step("a", "Downloading", Some((10, 100))),
            step("b", "Downloading", Some((5, 50))),
            step("b", "Downloading", Some((5, 50))),
            step("a", "Download complete", None),
            step("a", "Extracting", Some((1, 100))),
        ];
        let told = Mutex::new(Vec::new());
        let progress = |now: PullProgress| told.lock().unwrap().push((now.bytes, now.total));
        let done = follow(stream::iter(steps), STALL, "a:1", &progress).await;
        assert!(done.is_ok(), "{done:?}");
        assert_eq!(*told.lock().unwrap(), [(10, 100), (15, 150), (105, 150)]);
        let begin = tokio::time::Instant::now();
        let stalled = stream::iter([step("a", "Downloading", Some((10, 100)))]).chain(stream::pending());
        let error = follow(stalled, STALL, "a:1", &|_| {}).await.unwrap_err();
        assert!(error.is_transient() && begin.elapsed() == STALL, "{error:?}");
    }
}
