//! Telling people what happened to an object.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Tasks;
use crate::client::{Client, ClientError, DeleteOptions, ListOptions};
use crate::model::{
    Event, EventSource, EventType, Object, ObjectKey, ObjectMeta, ObjectReference, Timestamp,
};

/// How many reports may wait to be written; further ones are dropped and counted. Events are for people:
/// whoever decides by them must not, so dropping some under a flood is right.
const WAITING: usize = 4096;

/// How long an event is kept: Kubernetes' hour.
const KEPT: Duration = Duration::from_secs(3600);

/// How many events are kept at most; the oldest go first.
const KEPT_MAX: usize = 10_000;

/// Writes Event objects, without making its caller wait. Equal reports become one event with a count.
#[derive(Clone, Debug)]
pub struct Recorder {
    reports: Option<mpsc::Sender<Report>>,
    component: Arc<str>,
}

#[derive(Debug)]
struct Report {
    about: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
    component: Arc<str>,
    at: Timestamp,
    count: u32,
}

impl Recorder {
    /// A recorder that writes through `client`, in a task of `tasks`, in the name of `component`.
    #[must_use]
    pub fn start(client: &Client, component: &str, tasks: &Tasks) -> Self {
        let (reports, received) = mpsc::channel(WAITING);
        let writer = Writer { client: client.clone(), kept: VecDeque::new() };
        tasks.spawn("events", writer.run(received));
        Self { reports: Some(reports), component: component.into() }
    }

    /// A recorder that forgets what it is told.
    #[must_use]
    pub fn disabled() -> Self {
        Self { reports: None, component: "".into() }
    }

    /// The same recorder, speaking for another component.
    #[must_use]
    pub fn component(&self, component: &str) -> Self {
        Self { reports: self.reports.clone(), component: component.into() }
    }

    /// Reports what happened to `about`: a reason in one CamelCase word, and a message for people. Secrets
    /// have no place in it.
    pub fn event(
        &self,
        clock: &dyn crate::clock::Clock,
        about: &dyn Object,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let Some(reports) = &self.reports else { return };
        let report = Report {
            about: ObjectReference::to(about),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            component: Arc::clone(&self.component),
            at: clock.now(),
            count: 1,
        };
        if reports.try_send(report).is_err() {
            metrics::counter!("orchestra_events_dropped_total").increment(1);
        }
    }
}

struct Writer {
    client: Client,
    /// The events that exist, oldest first.
    kept: VecDeque<(Timestamp, ObjectKey)>,
}

impl Writer {
    async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        self.remember().await;
        let mut batch = Vec::new();
        while reports.recv_many(&mut batch, WAITING).await > 0 {
            let mut events: BTreeMap<String, Report> = BTreeMap::new();
            for report in batch.drain(..) {
                match events.entry(report.name()) {
                    std::collections::btree_map::Entry::Occupied(mut entry) => {
                        entry.get_mut().count += 1;
                        entry.get_mut().at = report.at;
                    }
                    std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(report)),
                }
            }
            for (name, report) in events {
                if let Err(error) = self.write(name, &report).await {
                    tracing::debug!(%error, reason = report.reason, "an event was not written");
                }
            }
        }
    }

    /// The events that an earlier process left, so that they are forgotten in time.
    async fn remember(&mut self) {
        let Ok(events) = self.client.list::<Event>(&ListOptions::all_namespaces()).await else { return };
        let mut kept: Vec<_> = events
            .items
            .iter()
            .map(|e| (e.last_timestamp.unwrap_or_default(), ObjectKey::of(&**e)))
            .collect();
        kept.sort();
        self.kept = kept.into();
    }

    async fn write(&mut self, name: String, report: &Report) -> Result<(), ClientError> {
        let namespace =
            if report.about.namespace.is_empty() { "default" } else { report.about.namespace.as_str() };
        let client = self.client.namespace(namespace);
        let known = client
            .modify::<Event>(&name, |event| {
                event.count += report.count;
                event.last_timestamp = Some(report.at);
            })
            .await;
        match known {
            Err(ClientError::NotFound(_)) => {}
            other => return other.map(|_| ()),
        }
        let event = client.create(report.event(name)).await?;
        self.kept.push_back((report.at, ObjectKey::of(&*event)));
        self.forget(report.at).await;
        Ok(())
    }

    async fn forget(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.kept.front() {
            if now.since(*at) < KEPT && self.kept.len() <= KEPT_MAX {
                break;
            }
            let Some((_, key)) = self.kept.pop_front() else { break };
            // Counted up meanwhile: it stays for another while.
            let live = self.client.get_any(&key).await.ok().flatten();
            let last = live
                .as_ref()
                .and_then(|o| crate::model::AnyObjectExt::as_resource::<Event>(o)?.last_timestamp);
            if let Some(last) = last
                && now.since(last) < KEPT
                && self.kept.len() < KEPT_MAX
            {
                self.kept.push_back((last, key));
                continue;
            }
            if let Err(error) = self.client.delete_any(key, &DeleteOptions::default()).await
                && !error.is_not_found()
            {
                tracing::debug!(%error, "an old event was not removed");
            }
        }
    }
}

impl Report {
    /// Equal reports have one name, whoever writes them and when.
    fn name(&self) -> String {
        let parts = [self.about.uid.as_str(), &self.reason, &self.message, &self.component];
        // FNV-1a over the parts: names need no more than to differ.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut about = self.about.name.clone();
        about.truncate(200);
        format!("{about}.{hash:016x}")
    }

    fn event(&self, name: String) -> Event {
        Event {
            metadata: ObjectMeta::named(name),
            involved_object: self.about.clone(),
            reason: self.reason.clone(),
            message: self.message.clone(),
            type_: self.kind,
            count: self.count,
            first_timestamp: Some(self.at),
            last_timestamp: Some(self.at),
            source: EventSource { component: self.component.to_string(), ..EventSource::default() },
            ..Event::default()
        }
    }
}
