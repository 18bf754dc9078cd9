//! Making a container's image present.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{CALL_LIMIT, bounded};
use crate::model::{Container, ImagePullPolicy, Pod};
use crate::node::action::StartError;
use crate::node::agent::Shared;
use crate::node::apply::Note;
use crate::node::env::Sources;
use crate::node::error::chain;
use crate::node::registry_auth::registry_auth;
use crate::node::spec::pull_policy;
use crate::runtime::{ImageSpec, PullProgress, RuntimeError};

/// How long a pull may take: a large image over a slow line. After that it is tried again.
const PULL_LIMIT: Duration = Duration::from_secs(1800);

/// Between two events that say how far a pull has come.
const TELL_PERIOD: Duration = Duration::from_secs(5);

/// Makes it present. Returns the user that it runs as, where that is known.
pub(super) async fn ensure(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    sources: &Sources,
) -> Result<Option<u32>, StartError> {
    let image = ImageSpec::from(container.image.as_str());
    let policy = pull_policy(container);
    if policy != ImagePullPolicy::Always {
        let call = shared.runtime.image(&image);
        let present = bounded(CALL_LIMIT, &image.name, "look for the image", call).await;
        match present.map_err(|error| refused(container, &error))? {
            Some(info) => return Ok(info.user),
            None if policy == ImagePullPolicy::Never => {
                let message = format!(
                    "image {} of container {} is not present, and its pull policy is Never",
                    container.image, container.name
                );
                return Err(StartError::Pull { reason: "ErrImageNeverPull", message });
            }
            None => {}
        }
    }
    let auth = registry_auth(pod, &container.image, sources);
    shared.tell(pod, &Note::normal("Pulling", format!("pulling image {image}")));
    let begin = Instant::now();
    let told = Mutex::new(begin);
    let progress = |now: PullProgress| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= TELL_PERIOD {
            *told = Instant::now();
            let PullProgress { bytes, total } = now;
            let message =
                format!("pulling image {image}: {bytes} of {total} bytes in {:.0?}", begin.elapsed());
            shared.tell(pod, &Note::normal("Pulling", message));
        }
    };
    let call = shared.runtime.pull_image(&image, auth.as_ref(), &progress);
    let pulled = bounded(PULL_LIMIT, &image.name, "pull the image", call).await;
    let info = pulled.map_err(|error| refused(container, &error))?;
    let message = format!("pulled image {image} of {} bytes in {:.1?}", info.size, begin.elapsed());
    shared.tell(pod, &Note::normal("Pulled", message));
    Ok(info.user)
}

fn refused(container: &Container, error: &RuntimeError) -> StartError {
    let reason =
        if matches!(error, RuntimeError::InvalidImage { .. }) { "InvalidImageName" } else { "ErrImagePull" };
    StartError::Pull { reason, message: format!("container {}: {}", container.name, chain(error)) }
}
