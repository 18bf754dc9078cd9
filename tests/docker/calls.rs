//! How much is asked of the engine for a pod, which is what a start and an end cost beside the engine's own work, and for all of them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, Once};

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use futures_util::{StreamExt, stream};
use orchestra::prelude::*;
use orchestra::runtime::Runtime;
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

/// Sandboxes on two full pages, one more, and one that goes.
const LISTED: usize = 202;

const ENGINE: &str = "/var/run/docker.sock";

type Calls = Arc<Mutex<Vec<String>>>;

/// Passes a connection on, which is one request, and takes down which, after `meanwhile` has happened.
async fn relay(mut client: UnixStream, calls: &Calls, meanwhile: impl Fn(&str)) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(ENGINE).await?;
    let mut request = vec![0; 64 << 10];
    let n = client.read(&mut request).await?;
    let line = String::from_utf8_lossy(&request[..n]).lines().next().unwrap_or_default().to_owned();
    meanwhile(&line);
    calls.lock().unwrap().push(line);
    engine.write_all(&request[..n]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut engine).await.map(|_| ())
}

/// Starts to relay at `at`.
fn relay_all(at: &Path, meanwhile: impl Fn(&str) + Clone + Send + 'static) -> Calls {
    let calls = Calls::default();
    let listener = UnixListener::bind(at).unwrap();
    let of_task = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (calls, meanwhile) = (Arc::clone(&of_task), meanwhile.clone());
            tokio::spawn(async move {
                let _ended = relay(client, &calls, meanwhile).await;
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

async fn open(test: &str) -> Option<Host> {
    let host = Host::open(test).await?;
    if !Path::new(ENGINE).exists() {
        crate::host::skip("the engine has no socket at /var/run/docker.sock");
        return None;
    }
    std::fs::create_dir_all(&host.dir).unwrap();
    Some(host)
}

async fn scale(host: &Host, cluster: &Cluster, replicas: u32) {
    cluster.apply_yaml(&host.web(replicas)).await.unwrap();
    settled(cluster, replicas).await;
    let all = || (host.containers().len() == 2 * replicas as usize).then_some(());
    eventually("as many containers", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_costs_few_calls_whatever_else_is_there() {
    let Some(host) = open("calls").await else { return };
    let socket = host.dir.join("relay.sock");
    let calls = relay_all(&socket, |_call| {});
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

/// Creates a container that looks like the sandbox of a pod of this number, and returns its name.
async fn sandbox(host: &Host, engine: &Docker, number: usize) -> String {
    let name = format!("orchestra.{}.{number}.0", host.name);
    let number = number.to_string();
    let labels = [
        ("cluster", &*host.name),
        ("role", "sandbox"),
        ("sandbox", &name),
        ("namespace", "default"),
        ("pod", &number),
        ("pod-uid", &number),
        ("sandbox-attempt", "0"),
    ];
    let labels = labels.map(|(key, value)| (format!("dev.orchestra.{key}"), value.to_owned()));
    let body = ContainerCreateBody {
        image: Some(host.image()),
        cmd: Some(vec!["true".to_owned()]),
        labels: Some(HashMap::from(labels)),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    engine.create_container(Some(options), body).await.unwrap();
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_are_listed_page_by_page_also_when_one_goes_meanwhile() {
    let Some(host) = open("lists").await else { return };
    let host = Arc::new(host);
    let engine = Docker::connect_with_socket_defaults().unwrap();
    let made = stream::iter(0..LISTED).map(|number| sandbox(&host, &engine, number)).buffer_unordered(8);
    let made: BTreeSet<String> = made.collect().await;

    // The last one of the first page goes before the second is asked for.
    let (once, gone) = (Arc::new(Once::new()), Arc::new(Mutex::new(None)));
    let (of_relay, goes) = (Arc::clone(&host), Arc::clone(&gone));
    let socket = host.dir.join("relay.sock");
    let calls = relay_all(&socket, move |call| {
        let Some((_, id)) = call.split_once("before%22%3A%5B%22") else { return };
        once.call_once(|| {
            let name = of_relay.docker(&["inspect", "--format", "{{.Name}}", &id[..64]]);
            of_relay.docker(&["rm", &id[..64]]);
            *goes.lock().unwrap() = Some(name.trim_start_matches('/').to_owned());
        });
    });
    let builder = DockerRuntime::builder(host.name.as_str()).host(format!("unix://{}", socket.display()));
    let listed = builder.connect().await.unwrap().list().await.unwrap();

    let gone = gone.lock().unwrap().clone().expect("a second page was asked for");
    let listed: BTreeSet<_> = listed.iter().map(|sandbox| sandbox.id.0.to_string()).collect();
    let left: BTreeSet<_> = made.into_iter().filter(|name| *name != gone).collect();
    assert_eq!(listed, left);
    let lists = calls.lock().unwrap().iter().filter(|call| call.contains("limit=")).count();
    assert_eq!(lists, 5, "the first page, the second in vain, and all three");
}
