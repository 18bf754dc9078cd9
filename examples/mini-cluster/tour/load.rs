//! Steady load on the shop, from the first second to the last.
//!
//! Requests are due at fixed times, whatever became of those before (an open loop), and each is timed from when it was due:
//! while the shop stands still, requests grow late and fail, and do not just become fewer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use hyper::Method;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval};

use super::log::Log;
use crate::http::Http;

/// A request that has no answer so long after it was due has failed. On Docker a connection to a lost node's container
/// is given up after two seconds, and a page may meet one at each of three services in a row.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Requests that are sent until they are stopped.
pub(crate) struct Load {
    stop: oneshot::Sender<()>,
    driver: JoinHandle<()>,
}

impl Load {
    /// Starts to send `rate` requests a second to the shop at `page`. Every tenth places an order, the others look at the page;
    /// all of them may be repeated without harm.
    pub(crate) fn start(http: Http, page: String, log: Arc<Log>, rate: u32) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, driver: tokio::spawn(drive(http, page, log, rate, stopped)) }
    }

    /// Sends no more, and waits for the answers that are still to come.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        // It can't have ended before.
        let _told = self.stop.send(());
        Ok(self.driver.await?)
    }
}

async fn drive(http: Http, page: String, log: Arc<Log>, rate: u32, mut stopped: oneshot::Receiver<()>) {
    // As many as are due until the deadline. One that is due beyond is not sent, and has failed. Each holds up to nine
    // sockets of this program, through the proxies between the services.
    let most_in_flight = usize::try_from(u64::from(rate) * DEADLINE.as_secs()).unwrap_or(usize::MAX);
    let mut due = interval(Duration::from_secs(1) / rate);
    let mut in_flight = JoinSet::new();
    for number in 1_u64.. {
        let due = tokio::select! {
            biased;
            _ = &mut stopped => break,
            due = due.tick() => due,
        };
        while in_flight.try_join_next().is_some() {}
        let (method, uri) = if number.is_multiple_of(10) {
            (Method::PUT, format!("{page}orders/{number}"))
        } else {
            (Method::GET, page.clone())
        };
        let (http, log) = (http.clone(), Arc::clone(&log));
        if in_flight.len() < most_in_flight {
            in_flight.spawn(async move { request(&http, method, &uri, due, &log).await });
        } else {
            let error = anyhow!("not sent: {most_in_flight} requests are without an answer");
            log.add(log.phase(), &method, &uri, DEADLINE, Err(error));
        }
    }
    while in_flight.join_next().await.is_some() {}
}

/// Sends a request that was due at `due`, and notes what became of it.
pub(crate) async fn request(http: &Http, method: Method, uri: &str, due: Instant, log: &Log) {
    let phase = log.phase();
    let answer = http.send(method.clone(), uri, Bytes::new());
    let answer = tokio::time::timeout_at(due + DEADLINE, answer).await;
    let answer = answer.unwrap_or_else(|_| Err(anyhow!("no answer within {DEADLINE:?}")));
    log.add(phase, &method, uri, due.elapsed(), answer.map(drop));
}
