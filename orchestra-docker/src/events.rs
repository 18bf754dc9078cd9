//! The engine's events, resumed after it was away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use orchestra_core::model::Uid;
use orchestra_core::runtime::{EventStream, RuntimeError, RuntimeEvent, SandboxId};

use crate::core::Core;
use crate::{error, labels};

/// Before the first attempt to reach an engine that is away; doubled for each further one.
const FIRST: Duration = Duration::from_millis(50);

/// The longest time between two attempts.
const LAST: Duration = Duration::from_secs(2);

struct Follower {
    core: Arc<Core>,
    messages: BoxStream<'static, Result<EventMessage, bollard::errors::Error>>,
}

/// Events from now on. The connection is made when the stream is first read, so it is told by the engine's clock where
/// to begin.
pub(crate) async fn subscribe(core: &Arc<Core>) -> Result<EventStream, RuntimeError> {
    let now = engine_time(core).await?;
    let follower = Follower { core: Arc::clone(core), messages: connect(core, &now) };
    Ok(EventStream::new(stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await;
        Some((event, follower))
    })))
}

async fn engine_time(core: &Core) -> Result<String, RuntimeError> {
    let info = core.docker.info().await;
    let info = info.map_err(|error| error::read("the engine", "ask for its time", error))?;
    info.system_time.ok_or_else(|| error::not_found("the time", "of the engine"))
}

fn connect(core: &Core, since: &str) -> BoxStream<'static, Result<EventMessage, bollard::errors::Error>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let filters = HashMap::from([
        ("type".to_owned(), words(&["container"])),
        // Without those of execs, which each probe would cause, and of creations, which tell nothing new.
        ("event".to_owned(), words(&["start", "die", "destroy"])),
        ("label".to_owned(), vec![format!("{}={}", labels::CLUSTER, core.cluster)]),
    ]);
    let options = EventsOptionsBuilder::default().since(since).filters(&filters).build();
    core.docker.events(Some(options)).boxed()
}

impl Follower {
    async fn next(&mut self) -> RuntimeEvent {
        loop {
            match self.messages.next().await {
                Some(Ok(message)) => {
                    if let Some(event) = event(message) {
                        return event;
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "the engine's events were lost");
                    return self.resume().await;
                }
                None => {
                    tracing::warn!("the engine ended its events");
                    return self.resume().await;
                }
            }
        }
    }

    /// Waits until the engine answers. Whoever lists after this sees all that happened before.
    async fn resume(&mut self) -> RuntimeEvent {
        let mut pause = FIRST;
        loop {
            tokio::time::sleep(pause).await;
            match engine_time(&self.core).await {
                Ok(now) => {
                    self.messages = connect(&self.core, &now);
                    return RuntimeEvent::Lost;
                }
                Err(error) => {
                    tracing::debug!(%error, "the engine does not answer yet");
                    pause = (pause * 2).min(LAST);
                }
            }
        }
    }
}

fn event(message: EventMessage) -> Option<RuntimeEvent> {
    let labels = message.actor?.attributes?;
    let sandbox = SandboxId(labels.get(labels::SANDBOX)?.as_str().into());
    Some(RuntimeEvent::PodChanged { pod_uid: Uid::from(labels.get(labels::POD_UID)?.clone()), sandbox })
}
