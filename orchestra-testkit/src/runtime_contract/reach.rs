//! Addresses, clusters, and the time between two lives of the runtime.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use orchestra_core::model::Protocol;
use orchestra_core::runtime::{ContainerState, LogOptions, PortMapping, RuntimeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::case::{DEADLINE, GRACE, next, text};
use super::{Case, Program};

pub(super) async fn each_pod_has_its_own_address(case: &Case<'_>) {
    let mut addresses = BTreeSet::new();
    for _ in 0..5 {
        let sandbox = case.run_sandbox().await;
        assert_eq!(case.sandbox(&sandbox.id).await.ip, sandbox.ip);
        let address = case.runtime().await.address(&sandbox.id, 8080).await.expect("address");
        assert!(addresses.insert(address), "{address} was given twice");
    }
}

/// What a pod's server answers, once it listens.
async fn get(address: SocketAddr) -> String {
    let answer = async {
        loop {
            if let Ok(mut connection) = TcpStream::connect(address).await {
                let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
                let mut answer = Vec::new();
                if connection.write_all(request.as_bytes()).await.is_ok()
                    && connection.read_to_end(&mut answer).await.is_ok()
                    && answer.starts_with(b"HTTP/1.")
                {
                    return String::from_utf8_lossy(&answer).into_owned();
                }
            }
            // It starts up: there is no event for that.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, answer).await.unwrap_or_else(|_| panic!("nothing answers at {address}"))
}

pub(super) async fn a_pod_answers_at_its_address(case: &Case<'_>) {
    let runtime = case.runtime().await;
    // The same port in two pods.
    for _ in 0..2 {
        let (sandbox, _) = case.run(&Program::Serve(8080)).await;
        let answer = get(runtime.address(&sandbox, 8080).await.expect("address")).await;
        let status = case.sandbox(&sandbox).await;
        let ip = status.ip.expect("an address");
        assert!(answer.contains(&*status.pod_name) && answer.contains(&ip.to_string()), "{answer}");
    }
}

pub(super) async fn a_host_port_is_open_and_only_once(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host_port = free.local_addr().expect("its number").port();
    drop(free);
    let host_ip = Some(std::net::Ipv4Addr::LOCALHOST.into());
    let mut spec = case.pod();
    spec.ports = vec![PortMapping { container_port: 8080, host_port, host_ip, protocol: Protocol::Tcp }];
    let sandbox = runtime.run_sandbox(&spec).await.expect("run_sandbox");
    case.start(&sandbox.id, &case.program(&Program::Serve(8080))).await;
    let answer = get((std::net::Ipv4Addr::LOCALHOST, host_port).into()).await;
    assert!(answer.contains(&*sandbox.pod_name), "{answer}");
    let mut other = case.pod();
    other.ports.clone_from(&spec.ports);
    let refused = runtime.run_sandbox(&other).await;
    assert!(matches!(refused, Err(RuntimeError::InUse { .. })), "{refused:?}");
    runtime.remove_sandbox(&sandbox.id).await.expect("remove_sandbox");
    runtime.run_sandbox(&other).await.expect("the port is free again");
}

pub(super) async fn a_host_port_may_be_the_pods_own_and_other_pods_have_theirs(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its number").port();
    drop(free);
    let mut spec = case.pod();
    spec.ports =
        vec![PortMapping { container_port: port, host_port: port, host_ip: None, protocol: Protocol::Tcp }];
    let sandbox = runtime.run_sandbox(&spec).await.expect("run_sandbox");
    case.start(&sandbox.id, &case.program(&Program::Serve(port))).await;
    let (other, _) = case.run(&Program::Serve(port)).await;
    let own = runtime.address(&sandbox.id, port).await.expect("address");
    for address in [(std::net::Ipv4Addr::LOCALHOST, port).into(), own] {
        let answer = get(address).await;
        assert!(answer.contains(&*sandbox.pod_name), "{address}: {answer}");
    }
    let answer = get(runtime.address(&other, port).await.expect("address")).await;
    assert!(answer.contains(&*case.sandbox(&other).await.pod_name), "{answer}");
}

pub(super) async fn clusters_do_not_meet(case: &Case<'_>) {
    let (sandbox, container) = case.run(&Program::Sleep).await;
    let other = case.subject.open(&format!("{}-other", case.cluster)).await;
    assert!(other.list().await.expect("list").is_empty());
    assert!(other.sandbox(&sandbox).await.expect("sandbox").is_none());
    other.stop_container(&container, GRACE).await.expect("it is not there");
    other.stop_sandbox(&sandbox).await.expect("it is not there");
    other.remove_sandbox(&sandbox).await.expect("it is not there");
    assert!(case.container(&sandbox, &container).await.state.is_running(), "a foreign pod was stopped");
    case.subject.close(other).await;
}

pub(super) async fn containers_outlive_the_runtime(case: &Case<'_>) {
    let (sandbox, container) = case.run(&Program::WriteAndSleep("before\n".to_owned())).await;
    if case.subject.capabilities().logs {
        let mut log = case.logs(&container, &LogOptions { follow: true, ..LogOptions::default() }).await;
        assert_eq!(text(&next(&mut log).await), "before\n");
    }
    let created = case.create(&sandbox, &case.subject.container("created", &Program::Sleep)).await;
    let before = case.sandbox(&sandbox).await;
    case.close().await;
    let runtime = case.open().await;
    assert_eq!(runtime.list().await.expect("list"), vec![before], "all is as it was");
    if case.subject.capabilities().logs {
        let mut log = case.logs(&container, &LogOptions::default()).await;
        assert_eq!(text(&next(&mut log).await), "before\n");
    }
    runtime.start_container(&created).await.expect("what was created before is started now");
    runtime.stop_container(&container, GRACE).await.expect("stop_container");
    let state = case.container(&sandbox, &container).await.state;
    assert!(state.is_over(), "{state:?}");
    assert!(case.container(&sandbox, &created).await.state.is_running());
}

pub(super) async fn an_exit_in_between_is_not_missed(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let (sandbox, container) = case.run(&Program::Exit(5)).await;
    drop(runtime);
    case.close().await;
    let runtime = case.open().await;
    let state = case.ended(&sandbox, &container).await;
    assert!(
        matches!(state, ContainerState::Unknown | ContainerState::Exited { exit_code: 5, .. }),
        "{state:?}"
    );
    case.close_held(runtime).await;
    let runtime = case.open().await;
    assert_eq!(case.container(&sandbox, &container).await.state, state, "an end is final");
    drop(runtime);
}

impl Case<'_> {
    /// Closes the runtime together with the caller's handle on it.
    async fn close_held(&self, runtime: Arc<dyn orchestra_core::runtime::Runtime>) {
        drop(runtime);
        self.close().await;
    }
}
