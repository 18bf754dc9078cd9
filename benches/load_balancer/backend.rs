//! The backends: this program again, on the core that the load comes from.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orchestra::engine::Tasks;

use super::proxies::{load_core, until_open};

/// Four backends in one process, which ends with this.
pub(crate) struct Backends {
    process: Child,
    pub(crate) ports: Vec<u16>,
}

impl Drop for Backends {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn start() -> Backends {
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let said = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let this = std::env::current_exe().unwrap();
    let mut process = Command::new("taskset");
    let process = process.args(["-c", load_core()]).arg(this).args(["--serve", &said]).spawn().unwrap();
    let backends = Backends { process, ports };
    backends.ports.iter().for_each(|port| until_open(*port));
    backends
}

/// Answers at these ports, in HTTP/1.1 and h2c, until the process is killed.
pub(crate) fn serve(ports: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks = Tasks::new();
        let bodies = [1024, 100 * 1024].map(|length| Bytes::from(vec![b'x'; length]));
        for port in ports.split(',') {
            let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let (bodies, of_connections) = (bodies.clone(), tasks.clone());
            tasks.spawn("accept", async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let bodies = bodies.clone();
                    let service = service_fn(move |request: Request<_>| {
                        let body = bodies[usize::from(request.uri().path() == "/100k")].clone();
                        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                    });
                    of_connections.spawn("serve", async move {
                        let server = auto::Builder::new(TokioExecutor::new());
                        drop(server.serve_connection(TokioIo::new(stream), service).await);
                    });
                }
            });
        }
        std::future::pending::<()>().await;
    });
}
