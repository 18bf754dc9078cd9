//! The engine's events, resumed after it was away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use orchestra_core::model::{Timestamp, Uid};
use orchestra_core::runtime::{EventStream, RuntimeError, RuntimeEvent, SandboxId};
use tokio::time::Instant;

use crate::core::Core;
use crate::{error, labels, status};

/// Before the first attempt to reach an engine that is away; doubled for each further one.
const FIRST: Duration = Duration::from_millis(50);

/// The longest time between two attempts.
const LAST: Duration = Duration::from_secs(2);

/// How long an engine on another host may take to say its time.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// An engine on another host is asked for the events of so long at a time: its host may be gone without a word, and a
/// stream without end would be waited at for ever.
const SPAN: Duration = Duration::from_secs(10);

/// How much later than agreed the events of a span may end.
const SPAN_SLACK: Duration = Duration::from_secs(5);

type Messages = BoxStream<'static, Result<EventMessage, bollard::errors::Error>>;

struct Follower {
    core: Arc<Core>,
    messages: Messages,
    span: Option<Span>,
}

/// Until when events were asked for: by the engine's clock, and by ours.
#[derive(Clone, Copy)]
struct Span {
    end: Timestamp,
    limit: Instant,
}

impl Span {
    /// The one that begins at this time of the engine; none where it is on this host.
    fn of(core: &Core, begin: Timestamp) -> Option<Self> {
        core.remote.then(|| Self { end: begin + SPAN, limit: Instant::now() + SPAN + SPAN_SLACK })
    }
}

/// Events from now on. The connection is made when the stream is first read, so it is told by the engine's clock where
/// to begin.
pub(crate) async fn subscribe(core: &Arc<Core>) -> Result<EventStream, RuntimeError> {
    let now = engine_time(core).await?;
    let span = Span::of(core, now);
    let follower = Follower { core: Arc::clone(core), messages: connect(core, now, span), span };
    Ok(EventStream::new(stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await;
        Some((event, follower))
    })))
}

async fn engine_time(core: &Core) -> Result<Timestamp, RuntimeError> {
    let info = match tokio::time::timeout(ANSWER_LIMIT, core.docker.info()).await {
        Ok(info) => info.map_err(|error| error::read("the engine", "ask for its time", error))?,
        Err(elapsed) => {
            let (runtime, source) = ("docker".to_owned(), Box::new(elapsed));
            return Err(RuntimeError::Unavailable { runtime, source });
        }
    };
    status::time(info.system_time.as_ref()).ok_or_else(|| error::not_found("the time", "of the engine"))
}

/// A time as the engine takes it: seconds and their fraction.
pub(crate) fn seconds(time: Timestamp) -> String {
    let micros = time.as_micros();
    format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000))
}

fn connect(core: &Core, since: Timestamp, span: Option<Span>) -> Messages {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let filters = HashMap::from([
        ("type".to_owned(), words(&["container"])),
        // Without those of execs, which each probe would cause, and of creations, which tell nothing new. Podman wants to be asked
        // for `died` and `remove`; it tells of the first as `die`.
        ("event".to_owned(), words(&["start", "die", "destroy", "died", "remove"])),
        ("label".to_owned(), vec![format!("{}={}", labels::CLUSTER, core.cluster)]),
    ]);
    let options = EventsOptionsBuilder::default().since(&seconds(since)).filters(&filters);
    let options = match span {
        Some(span) => options.until(&seconds(span.end)),
        None => options,
    };
    core.docker.events(Some(options.build())).boxed()
}

impl Follower {
    async fn next(&mut self) -> RuntimeEvent {
        loop {
            let next = match self.span {
                None => self.messages.next().await,
                Some(span) => match tokio::time::timeout_at(span.limit, self.messages.next()).await {
                    // The next span begins where this one has ended.
                    Ok(None) if Instant::now() + SPAN_SLACK >= span.limit => {
                        self.span = Span::of(&self.core, span.end);
                        self.messages = connect(&self.core, span.end, self.span);
                        continue;
                    }
                    Ok(next) => next,
                    Err(_elapsed) => None,
                },
            };
            match next {
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
                    self.span = Span::of(&self.core, now);
                    self.messages = connect(&self.core, now, self.span);
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
    let pod_uid = Uid::from(labels.get(labels::POD_UID)?.clone());
    let action = message.action?;
    match (labels.get(labels::CONTAINER), action.as_str()) {
        // Whoever runs a sandbox knows that it runs; this comes while its answer is still on the way.
        (None, "start") => None,
        (Some(container), "start" | "die") => {
            let (container, runs) = (container.as_str().into(), action == "start");
            Some(RuntimeEvent::ContainerChanged { pod_uid, sandbox, container, runs })
        }
        _ => Some(RuntimeEvent::PodChanged { pod_uid, sandbox }),
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    #[test]
    fn what_changed_is_told_where_the_engine_says_it() {
        let told = |container: Option<&str>, action: &str| {
            let labels = [(labels::SANDBOX, "s"), (labels::POD_UID, "uid")];
            let labels = labels.into_iter().chain(container.map(|name| (labels::CONTAINER, name)));
            let attributes = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let actor = Some(EventActor { attributes: Some(attributes), ..EventActor::default() });
            event(EventMessage { actor, action: Some(action.to_owned()), ..EventMessage::default() })
        };
        let (pod_uid, sandbox) = (Uid::from("uid"), SandboxId("s".into()));
        let changed = Some(RuntimeEvent::PodChanged { pod_uid: pod_uid.clone(), sandbox: sandbox.clone() });
        assert_eq!(told(None, "start"), None);
        assert_eq!(told(None, "die"), changed);
        assert_eq!(told(Some("web"), "destroy"), changed);
        for (action, runs) in [("start", true), ("die", false)] {
            let (pod_uid, sandbox, container) = (pod_uid.clone(), sandbox.clone(), "web".into());
            let expected = RuntimeEvent::ContainerChanged { pod_uid, sandbox, container, runs };
            assert_eq!(told(Some("web"), action), Some(expected));
        }
    }
}
