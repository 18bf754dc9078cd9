//! How much is asked of the engine for a pod: that is what a start and an end cost beside the engine's own work.

use std::path::Path;
use std::sync::{Arc, Mutex};

use orchestra::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::host::{Host, eventually, settled};

/// Pods that are there while others come and go, and those others.
const PODS: u32 = 4;

/// For a start: its image looked for; its sandbox created, started, and looked at before and after; its container created and
/// started; and two looks at how the pod is then. For an end: a look, the signal, the wait, and two looks; two more, and two removals.
/// None of them is a list, for which the engine looks at all that it has. What is begun with, and news that come late, may cost two
/// looks more.
const START: usize = 9;
const END: usize = 9;
const LOOK: usize = 2;

/// Of which the one with the fewest calls counts: what a busy engine does not do in time is asked for once more.
const ROUNDS: usize = 3;

type Calls = Arc<Mutex<Vec<String>>>;

/// Passes a connection on, which is one request, and takes down which.
async fn relay(mut client: UnixStream, engine: &Path, calls: &Calls) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(engine).await?;
    let mut request = vec![0; 64 << 10];
    let n = client.read(&mut request).await?;
    let line = String::from_utf8_lossy(&request[..n]).lines().next().unwrap_or_default().to_owned();
    calls.lock().unwrap().push(line);
    engine.write_all(&request[..n]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut engine).await.map(|_| ())
}

/// Starts to relay at `at`.
fn relay_all(at: &Path) -> Calls {
    let calls = Calls::default();
    let listener = UnixListener::bind(at).unwrap();
    let of_task = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let calls = Arc::clone(&of_task);
            tokio::spawn(async move {
                let _ended = relay(client, Path::new("/var/run/docker.sock"), &calls).await;
            });
        }
    });
    calls
}

/// How often was asked since the last time, but for what the node itself asks now and then.
fn take(calls: &Calls) -> usize {
    let taken = std::mem::take(&mut *calls.lock().unwrap());
    taken.iter().filter(|call| !call.contains("/info")).count()
}

async fn scale(host: &Host, cluster: &Cluster, replicas: u32) {
    cluster.apply_yaml(&host.web(replicas)).await.unwrap();
    settled(cluster, replicas).await;
    let all = || (host.containers().len() == 2 * replicas as usize).then_some(());
    eventually("as many containers", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_costs_few_calls_whatever_else_is_there() {
    let Some(host) = Host::open("calls").await else { return };
    if !Path::new("/var/run/docker.sock").exists() {
        return crate::host::skip("the engine has no socket at /var/run/docker.sock");
    }
    std::fs::create_dir_all(&host.dir).unwrap();
    let socket = host.dir.join("relay.sock");
    let calls = relay_all(&socket);
    let runtime = host.builder().host(format!("unix://{}", socket.display())).connect().await.unwrap();
    let cluster = host.cluster_on(runtime).await;
    scale(&host, &cluster, PODS).await;
    let mut least = [usize::MAX; 2];
    for _ in 0..ROUNDS {
        for (least, replicas) in least.iter_mut().zip([2 * PODS, PODS]) {
            take(&calls);
            scale(&host, &cluster, replicas).await;
            *least = take(&calls).min(*least);
        }
    }
    let most = [START, END].map(|calls| calls * PODS as usize + 2 * LOOK);
    assert!(least[0] <= most[0] && least[1] <= most[1], "{least:?} calls, not {most:?}");
    cluster.stop().await;
    eventually("nothing is left", || host.containers().is_empty().then_some(())).await;
}
