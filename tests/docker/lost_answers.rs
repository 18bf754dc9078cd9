//! Answers of the engine that are lost on their way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::host::{Host, eventually, first_of, pods, settled};

/// Passes a connection on, but for the answers to requests that begin so, as long as there are some to be lost.
async fn relay(mut client: UnixStream, engine: &Path, lose: &str, left: &AtomicUsize) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(engine).await?;
    let (mut from_client, mut from_engine) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut losing = false;
    loop {
        tokio::select! {
            biased;
            read = client.read(&mut from_client) => match read? {
                0 => return engine.shutdown().await,
                n => {
                    let request = String::from_utf8_lossy(&from_client[..n]);
                    let is_meant = request.starts_with("POST ") && request.lines().next().unwrap().contains(lose);
                    let one_less = |left: usize| left.checked_sub(1);
                    losing |= is_meant && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
                    engine.write_all(&from_client[..n]).await?;
                }
            },
            read = engine.read(&mut from_engine) => match read? {
                0 => return client.shutdown().await,
                // It has been done, and nobody hears of it.
                _ if losing => return Ok(()),
                n => client.write_all(&from_engine[..n]).await?,
            },
        }
    }
}

/// Starts to relay at `at`. Says how many answers are still to be lost.
fn relay_all(at: &Path, lose: &'static str, answers: usize) -> Arc<AtomicUsize> {
    let left = Arc::new(AtomicUsize::new(answers));
    let listener = UnixListener::bind(at).unwrap();
    let of_task = Arc::clone(&left);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let left = Arc::clone(&of_task);
            tokio::spawn(async move {
                let _ended = relay(client, Path::new("/var/run/docker.sock"), lose, &left).await;
            });
        }
    });
    left
}

async fn lose(test: &str, request: &'static str) {
    let Some(host) = Host::open(test).await else { return };
    if !Path::new("/var/run/docker.sock").exists() {
        return crate::host::skip("the engine has no socket at /var/run/docker.sock");
    }
    std::fs::create_dir_all(&host.dir).unwrap();
    let socket = host.dir.join("relay.sock");
    let left = relay_all(&socket, request, 5);
    let runtime = host.builder().host(format!("unix://{}", socket.display())).connect().await.unwrap();
    let cluster = host.cluster_on(runtime).await;
    cluster.apply_yaml(&host.web(3)).await.unwrap();
    settled(&cluster, 3).await;
    assert_eq!(left.load(Ordering::SeqCst), 0, "answers were lost");
    assert_eq!(host.containers(), first_of(&host, &pods(&cluster).await), "each once, none left over");
    cluster.stop().await;
    eventually("nothing is left", || host.containers().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_was_lost_finds_the_first() {
    lose("lost-create", "/containers/create").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_answer_was_lost_is_not_a_second_run() {
    lose("lost-start", "/start").await;
}
