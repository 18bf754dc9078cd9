//! The proxies that are compared, each on a core of its own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::backend::free_port;

/// Where proxies run.
const PROXY_CORE: &str = "0";

/// Where load and backends run.
pub(crate) fn load_core() -> &'static str {
    "1"
}

/// A proxy that runs, and ends with this.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    process: Child,
    /// Where its configuration is; removed along with it.
    dir: PathBuf,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's worker ends with its master only where that is asked to end.
        drop(Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// A directory for the proxy at this port.
fn directory(port: u16) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("load-balancer-bench-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn example() -> PathBuf {
    // target/release/deps/load_balancer-HASH
    let this = std::env::current_exe().unwrap();
    this.ancestors().nth(2).unwrap().join("examples/load-balancer")
}

/// What has to be there.
///
/// # Errors
/// What is not, and where it comes from.
pub(crate) fn tools() -> Result<(), String> {
    for tool in ["nginx", "haproxy", "wrk", "taskset"] {
        let found =
            Command::new("sh").args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {tool}")]).output();
        if !found.is_ok_and(|found| found.status.success()) {
            return Err(format!("{tool} is missing: apt-get install nginx-light haproxy wrk util-linux"));
        }
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err("it takes two cores: one for the proxy, one for load and backends".to_owned());
    }
    match example().exists() {
        true => Ok(()),
        false => {
            Err("the program to measure is missing: cargo build --release --example load-balancer".to_owned())
        }
    }
}

pub(crate) fn until_open(port: u16) {
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "nothing else runs here, and there is nothing to wait on"
        )]
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody listens at port {port}");
}

impl Proxy {
    fn start(name: &'static str, port: u16, dir: PathBuf, command: &[&str]) -> Self {
        let mut process = Command::new("taskset");
        process.args(["-c", PROXY_CORE]).args(command).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let process = process.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        until_open(port);
        Self { name, port, process, dir }
    }

    pub(crate) fn nginx(backends: &[u16]) -> Self {
        let port = free_port();
        let dir = directory(port);
        let at = dir.display();
        let servers: String = backends.iter().map(|port| format!("server 127.0.0.1:{port};")).collect();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {at}/{what};"))
            .concat();
        let config = format!(
            "worker_processes 1; daemon off; pid {at}/pid; error_log stderr crit;
             events {{ worker_connections 8192; }}
             http {{ access_log off; keepalive_requests 1000000000; {temporary}
               proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;
               upstream b {{ {servers} keepalive 256; keepalive_requests 1000000000; }}
               server {{ listen 127.0.0.1:{port}; location / {{
                 proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }} }}"
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let file = file.display().to_string();
        Self::start("nginx", port, dir, &["nginx", "-c", &file])
    }

    pub(crate) fn haproxy(backends: &[u16]) -> Self {
        let port = free_port();
        let dir = directory(port);
        let servers: String =
            backends.iter().enumerate().map(|(i, port)| format!(" server s{i} 127.0.0.1:{port}\n")).collect();
        let config = format!(
            "global\n nbthread 1\n maxconn 4096\ndefaults\n mode http\n option http-keep-alive\n http-reuse always\n \
             timeout connect 5s\n timeout client 60s\n timeout server 60s\nlisten l\n bind 127.0.0.1:{port}\n balance \
             roundrobin\n{servers}"
        );
        let file = dir.join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let file = file.display().to_string();
        Self::start("HAProxy", port, dir, &["haproxy", "-db", "-f", &file])
    }

    /// The program as people start it: metrics, health checks and peak EWMA are on.
    pub(crate) fn ours(backends: &[u16], http2: bool) -> Self {
        let port = free_port();
        let (program, listen) = (example().display().to_string(), format!("127.0.0.1:{port}"));
        let addresses: Vec<String> = backends.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut command = vec![program.as_str(), "--listen", &listen, "--workers", "1"];
        addresses.iter().for_each(|address| command.extend(["--backend", address]));
        if http2 {
            command.push("--http2");
        }
        Self::start("this", port, directory(port), &command)
    }

    /// The CPU time that it and what it has started have used, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let own = self.process.id().to_string();
        let ticks: f64 = children.split_whitespace().chain([own.as_str()]).map(ticks).sum();
        ticks / rustix::param::clock_ticks_per_second() as f64
    }
}

/// User and system time of a process, in ticks.
fn ticks(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // What is before the last parenthesis is the program's name, which may have blanks.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
}
