//! Listening on the services' addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orchestra_core::engine::Tasks;
use orchestra_core::model::Protocol;
use tokio::sync::watch;
use tokio::time::Instant;

use super::either::{SpeaksHttp, listen_for_either};
use super::options::DataPlaneOptions;
use super::port::PortKey;
use super::served::Listener;
use super::table::ServiceTable;
use crate::error::NetError;
use crate::listener::Listening;
use crate::udp::UdpProxy;

/// How long until an address that could not be had is tried again; it doubles up to the second value. Another
/// program may just be letting go of it.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Whether a service's address is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// What is to be listened for.
    pub listener: Listener,
    /// Why it is not, where that failed.
    pub error: Option<String>,
}

/// The state of every address that is to be listened on.
pub(super) type Statuses = watch::Sender<BTreeMap<(SocketAddr, Protocol), ListenerStatus>>;

struct Running {
    listener: Listener,
    listening: Listening,
    speaks_http: SpeaksHttp,
}

impl Running {
    /// Becomes what is wanted here, if it can do so without listening anew.
    fn becomes(&mut self, wanted: Option<&Listener>) -> bool {
        let Some(wanted) = wanted.filter(|wanted| wanted.leads_where(&self.listener)) else { return false };
        if *wanted != self.listener {
            self.speaks_http.store(wanted.http, Ordering::Relaxed);
            // What else it says the upstream knows.
            self.listener.clone_from(wanted);
        }
        true
    }

    /// Returns when its address is free. Requests end in `tasks` of their own; sessions of UDP, which hold the socket, at once, or, where they
    /// have a `grace`, in such a task: nobody else waits for that.
    async fn close(self, grace: Duration, tasks: &Tasks) {
        match self.listener.protocol {
            Protocol::Udp if grace.is_zero() => self.listening.shutdown().await,
            Protocol::Udp => {
                let ended = async move { self.listening.shutdown().await };
                tasks.spawn_graceful("udp-sessions", ended);
            }
            _ => self.listening.close().await,
        }
    }
}

/// Keeps the listeners equal to what the table wants, until dropped.
pub(super) struct Listeners {
    pub(super) table: Arc<ServiceTable>,
    pub(super) options: DataPlaneOptions,
    pub(super) tasks: Tasks,
    pub(super) statuses: Arc<Statuses>,
}

impl Listeners {
    pub(super) async fn keep(self) {
        let mut running = BTreeMap::new();
        let mut pause = FIRST_RETRY;
        loop {
            let changed = self.table.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let all_well = self.sync(&mut running).await;
            pause = if all_well { FIRST_RETRY } else { (pause * 2).min(LONGEST_RETRY) };
            if all_well {
                changed.await;
            } else {
                // A change is looked at earlier; late or not, all is tried again.
                let _late = tokio::time::timeout_at(Instant::now() + pause, changed).await;
            }
        }
    }

    async fn sync(&self, running: &mut BTreeMap<(SocketAddr, Protocol), Running>) -> bool {
        let wanted = self.table.listeners();
        let going = running.extract_if(.., |at, running| !running.becomes(wanted.get(at)));
        // Before others take their places.
        for (_at, going) in going.collect::<Vec<_>>() {
            going.close(self.options.udp.shutdown_grace, &self.tasks).await;
        }
        let mut statuses = BTreeMap::new();
        let before = self.statuses.borrow().clone();
        for (at, listener) in wanted {
            let (address, protocol) = at;
            let error = match running.get(&at) {
                Some(_) => None,
                None => match self.listen(address, &listener).await {
                    Ok(listening) => {
                        running.insert(at, listening);
                        None
                    }
                    Err(error) => Some(error),
                },
            };
            let status = ListenerStatus { error: error.as_ref().map(ToString::to_string), listener };
            // Once: it is tried at each change of any service.
            if let Some(error) = error.filter(|_| before.get(&at) != Some(&status)) {
                let service = format!("{}/{}", status.listener.namespace, status.listener.service);
                tracing::warn!(%address, %protocol, service, %error, "a service's address is not served; tries again");
            }
            statuses.insert(at, status);
        }
        let all_well = statuses.values().all(|status| status.error.is_none());
        self.statuses.send_replace(statuses);
        all_well
    }

    async fn listen(&self, address: SocketAddr, listener: &Listener) -> Result<Running, NetError> {
        let port = match listener.protocol {
            Protocol::Udp => PortKey::Udp(listener.port),
            _ => PortKey::Number(listener.port),
        };
        let upstream = self.table.upstream(&listener.namespace, &listener.service, &port);
        let speaks_http = SpeaksHttp::new(AtomicBool::new(listener.http));
        let listening = match listener.protocol {
            Protocol::Udp => UdpProxy::new(upstream, self.options.udp, &self.tasks).bind(address).await?,
            _ => {
                let speaks_http = Arc::clone(&speaks_http);
                listen_for_either(address, upstream, speaks_http, &self.options, &self.tasks).await?
            }
        };
        Ok(Running { listener: listener.clone(), listening, speaks_http })
    }
}
