//! Ports of pods on the host.
//!
//! A pod's program listens on the pod's own address. A port that shall be open on the host is forwarded from
//! there by a task of this process: it rests while this process is away, and comes back with it. It may have the pod's
//! own number: where nothing else is asked for it is opened at the host's own addresses, and pods have others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use orchestra_core::model::Protocol;
use orchestra_core::runtime::RuntimeError;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{failed, unsupported};
use crate::host_address;
use crate::record::{PortRecord, SandboxRecord};

/// Connections that are forwarded at once for one port at one address. Further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;

/// How long to wait after a failed accept: the cause is a lack of descriptors, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket of the host, and the pod's port that it stands for.
type Opened = (TcpListener, SocketAddr);

/// Opens the host ports of a sandbox, all or none. Dropping them closes them again.
pub(crate) fn bind(record: &SandboxRecord) -> Result<Vec<Opened>, RuntimeError> {
    let opened = each(record).collect::<Result<Vec<_>, _>>()?;
    // In the host's network the program itself listens there: this was only to see that it can.
    Ok(if record.host_network { Vec::new() } else { opened })
}

/// Opens those host ports of an adopted sandbox that can be opened: others may be somebody else's by now.
pub(crate) fn bind_again(record: &SandboxRecord) -> Vec<Opened> {
    if record.host_network {
        return Vec::new();
    }
    let warn = |error: &RuntimeError| tracing::warn!(%error, "a host port can't be opened again");
    each(record).filter_map(|opened| opened.inspect_err(warn).ok()).collect()
}

/// What opening each of them at each of its addresses comes to.
fn each(record: &SandboxRecord) -> impl Iterator<Item = Result<Opened, RuntimeError>> {
    let ports = record.ports.iter().filter(|port| port.host != 0);
    ports.flat_map(|port| addresses(port).into_iter().filter_map(|ip| bind_one(record, port, ip).transpose()))
}

/// Where a port listens: at the address that is asked for, or at all of the host's own.
fn addresses(port: &PortRecord) -> Vec<IpAddr> {
    match port.ip.filter(|ip| *ip != IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
        Some(ip) => vec![ip],
        None => host_address::own().into_iter().map(IpAddr::V4).collect(),
    }
}

/// Opens a port at one address; `None` where the host has just lost the address, which nobody had asked for.
fn bind_one(record: &SandboxRecord, port: &PortRecord, ip: IpAddr) -> Result<Option<Opened>, RuntimeError> {
    let id = record.id.as_ref();
    if port.protocol != Protocol::Tcp {
        return Err(unsupported(
            id,
            format!("host port {}: only TCP ports can be opened on the host", port.host),
        ));
    }
    let at = SocketAddr::new(ip, port.host);
    let listener =
        TcpListener::bind(at).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    match listener {
        Ok(listener) => Ok(Some((listener, SocketAddr::new(IpAddr::V4(record.ip), port.container)))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(RuntimeError::InUse { subject: id.to_owned(), what: format!("host port {at}") })
        }
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && port.ip != Some(ip) => Ok(None),
        Err(error) => Err(failed(id, "open a host port", error)),
    }
}

/// Forwards what comes in until `stop`.
pub(crate) fn forward(tasks: &TaskTracker, stop: &CancellationToken, ports: Vec<Opened>) -> io::Result<()> {
    for (listener, to) in ports {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (connections, stop) = (TaskTracker::new(), stop.clone());
        tasks.spawn(accept(listener, to, connections, stop));
    }
    Ok(())
}

async fn accept(
    listener: tokio::net::TcpListener,
    to: SocketAddr,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    let limit = std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let permit = std::sync::Arc::clone(&limit).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((from, _)) => {
                let stop = stop.clone();
                connections.spawn(async move {
                    let _permit = permit;
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        done = connect(from, to) => tracing::trace!(?done, %to, "forwarded connection ended"),
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a host port can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connect(mut from: TcpStream, to: SocketAddr) -> io::Result<(u64, u64)> {
    let mut to = TcpStream::connect(to).await?;
    tokio::io::copy_bidirectional(&mut from, &mut to).await
}
