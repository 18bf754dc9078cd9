//! What pods have of the host: its ports and its files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Host, follow, line, run, sandbox_spec, sh, until};
use orchestra_core::model::Protocol;
use orchestra_core::runtime::{Mount, MountSource, PortMapping, Runtime};

#[tokio::test]
async fn a_mounted_file_stays_what_it_was() {
    let host = Host::new();
    let runtime = host.open();
    std::fs::create_dir_all(host.root()).unwrap();
    let (file, go) = (host.root().join("config"), host.root().join("go"));
    std::fs::write(&file, "first").unwrap();
    let script = format!(
        "while ! [ -e {} ]; do sleep 0.01; done; cat $CONTAINER_ROOT/etc/config; echo .",
        go.display()
    );
    let mut spec = sh("main", &script);
    spec.mounts = vec![Mount::new("/etc/config", MountSource::Host(file.clone()))];
    let (sandbox, container) = run(&runtime, &spec).await;
    let mut log = follow(&runtime, &container).await;
    // As an update of the volume that it is in would.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&go, "").unwrap();
    assert_eq!(line(&mut log).await.unwrap(), "first.");
    runtime.remove_sandbox(&sandbox).await.unwrap();
    host.assert_empty();
}

#[tokio::test]
async fn of_the_host_ports_that_are_opened_again_one_may_be_taken() {
    let host = Host::new();
    let runtime = host.open();
    let listen = |port| std::net::TcpListener::bind(("127.0.0.1", port));
    let ports = [listen(0).unwrap(), listen(0).unwrap()].map(|free| free.local_addr().unwrap().port());
    let mut spec = sandbox_spec("ports");
    let mapping = |host_port| PortMapping {
        container_port: 80,
        host_port,
        host_ip: Some([127, 0, 0, 1].into()),
        protocol: Protocol::Tcp,
    };
    spec.ports = ports.map(mapping).into();
    let sandbox = runtime.run_sandbox(&spec).await.unwrap().id;
    drop(runtime);
    let mut taken = None;
    until("the port is free", || {
        taken = listen(ports[0]).ok();
        taken.is_some() && listen(ports[1]).is_ok()
    })
    .await;
    let runtime = host.open();
    assert!(std::net::TcpStream::connect(("127.0.0.1", ports[1])).is_ok());
    runtime.remove_sandbox(&sandbox).await.unwrap();
}
