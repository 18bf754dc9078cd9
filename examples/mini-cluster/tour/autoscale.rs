//! The phase in which the autoscaler raises and lowers replicas.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use hyper::Method;
use orchestra::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::phases::{is_settled, until};
use super::report::Progress;
use super::{Tour, load};

/// The service with an autoscaler, and the fewest replicas that it has.
const NAME: &str = "recommendation";
const FEWEST: u32 = 2;

/// How many visitors there are, and how long each looks at an answer before it asks for the next. They wait for
/// their answers, so that they take what a slow machine can give and no more.
const VISITORS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);

/// Asks for this much of a processor's time, in milliseconds. All visitors together take at most 2,000m of CPU. The
/// replicas are raised above 352m, less than a fifth of that, and lowered to the fewest below 320m, of which the steady
/// load takes less than half, even where nothing is optimised.
const WORK: &str = "work/10";

pub(super) async fn run(tour: &Tour<'_>, progress: &Progress) -> anyhow::Result<String> {
    let service = tour.shop.get::<Service>(NAME).await?;
    let ip: IpAddr = service.spec.cluster_ip.parse().context("the service has no address")?;
    let uri = format!("http://{}/{WORK}", SocketAddr::from((ip, 8080)));
    until(&tour.shop, NAME, progress, |d| d.spec.replicas == FEWEST && is_settled(d)).await?;
    let (mut visitors, leave) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for _ in 0..VISITORS {
        let (http, log, uri) = (tour.http.clone(), Arc::clone(&tour.log), uri.clone());
        let leave = Arc::clone(&leave);
        visitors.spawn(async move {
            while !leave.load(Ordering::Relaxed) {
                load::request(&http, Method::GET, &uri, Instant::now(), &log).await;
                sleep(PAUSE).await;
            }
        });
    }
    let up = until(&tour.shop, NAME, progress, |d| {
        d.spec.replicas > FEWEST && d.status.available_replicas > FEWEST
    });
    let most = up.await?.spec.replicas;
    leave.store(true, Ordering::Relaxed);
    visitors.join_all().await;
    until(&tour.shop, NAME, progress, |d| d.spec.replicas == FEWEST && is_settled(d)).await?;
    Ok(format!("{NAME} went from {FEWEST} to {most} replicas and back to {FEWEST}"))
}
