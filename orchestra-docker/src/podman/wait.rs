//! Waiting for the end of a container.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use orchestra_core::runtime::RuntimeError;

use crate::core::Core;
use crate::{error, events, status};

/// Before the events are read again that ended before the container did.
const AGAIN: Duration = Duration::from_millis(200);

/// Returns when a container does not run, or is gone. Podman's own call for that (4.3) looks again and again without a pause, which takes
/// a CPU, and does not end while the program of an exec is left in the container. So this reads the events since the container's start.
pub(crate) async fn ended(core: &Core, docker_id: &str) -> Result<(), RuntimeError> {
    loop {
        let Some(found) = core.by_docker_id(docker_id).await?.filter(|found| found.is_running()) else {
            return Ok(());
        };
        let started_at =
            found.details.state.as_ref().and_then(|state| status::time(state.started_at.as_ref()));
        let filters = [("container", docker_id), ("event", "died")];
        let filters: HashMap<_, _> =
            filters.map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).into();
        let options = EventsOptionsBuilder::default().filters(&filters);
        let options = options.since(&events::seconds(started_at.unwrap_or_default())).build();
        match core.docker.events(Some(options)).boxed().next().await {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => return Err(error::read(docker_id, "wait for its end", error)),
            // It began a new file of events.
            None => tokio::time::sleep(AGAIN).await,
        }
    }
}
