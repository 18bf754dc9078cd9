//! The load balancer of the examples, as a program: its endpoints are changed while clients send.

#![cfg(all(unix, feature = "net"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The program. Dropping it kills it.
struct Balancer {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Balancer {
    fn start(arguments: &[&str], backends: &[SocketAddr]) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(any, any, arguments, backends)
    }

    fn start_at(listen: SocketAddr, admin: SocketAddr, arguments: &[&str], backends: &[SocketAddr]) -> Self {
        // Cargo builds the examples for the tests, beside them.
        let mut program: PathBuf = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        program.push("examples/load-balancer");
        let mut command = Command::new(program);
        command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string(), "--workers", "2"]);
        command.args(arguments);
        command.args(backends.iter().flat_map(|backend| ["--backend".to_owned(), backend.to_string()]));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // It says in one line each where it listens and where it is asked.
        let mut address = || {
            let said = |line: String| line.split([' ', ',']).find_map(|word| word.parse().ok());
            lines.find_map(|line| said(line.unwrap())).expect("it says where")
        };
        let (listen, admin) = (address(), address());
        spawn(move || lines.for_each(drop));
        Self { child, listen, admin }
    }

    fn endpoints(&self, change: &str) -> String {
        exchange(self.admin, &post("/endpoints", change)).unwrap()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Answers every request on every connection with its name. It counts, and stops at once when it is told to.
struct Backend {
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
    dead: Arc<AtomicBool>,
}

impl Backend {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (answered, dead) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let backend = Self {
            address: listener.local_addr().unwrap(),
            answered: Arc::clone(&answered),
            dead: Arc::clone(&dead),
        };
        spawn(move || {
            for stream in listener.incoming() {
                if dead.load(Ordering::SeqCst) {
                    return;
                }
                let (answered, dead) = (Arc::clone(&answered), Arc::clone(&dead));
                spawn(move || serve(stream.unwrap(), name, &answered, &dead));
            }
        });
        backend
    }

    /// From here on a request that comes gets no answer.
    fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, name: &str, answered: &AtomicUsize, dead: &AtomicBool) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut lines = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || dead.load(Ordering::SeqCst) {
                return;
            }
            if let Some(said) = line.strip_prefix("content-length: ") {
                length = said.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            lines += 1;
        }
        assert!(lines > 0, "a request has a head");
        reader.read_exact(&mut vec![0; length]).unwrap();
        answered.fetch_add(1, Ordering::SeqCst);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request and reads its whole answer.
fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Sends requests, every other one a POST, until it is told to stop; returns how many, and what failed.
fn load(address: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<(usize, Vec<String>)> {
    let stop = Arc::clone(stop);
    spawn(move || {
        let (mut sent, mut failed) = (0, Vec::new());
        while !stop.load(Ordering::SeqCst) {
            sent += 1;
            let request = if sent % 2 == 0 { post("/order", "one") } else { get("/") };
            match exchange(address, &request) {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => {}
                other => failed.push(format!("{other:?}")),
            }
        }
        (sent, failed)
    })
}

/// The same on a connection that is kept until an answer says that it ends.
fn kept_load(address: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<(usize, Vec<String>)> {
    let stop = Arc::clone(stop);
    spawn(move || {
        let (mut sent, mut failed, mut kept) = (0, Vec::new(), None);
        while !stop.load(Ordering::SeqCst) {
            sent += 1;
            let request = if sent % 2 == 0 { post("/order", "one") } else { get("/") };
            match exchange_on(&mut kept, address, &request.replace("connection: close\r\n", "")) {
                Ok(200) => {}
                other => failed.push(format!("{other:?}")),
            }
        }
        (sent, failed)
    })
}

/// Sends a request on a connection, made where there is none. It is gone where the answer says so, or something failed.
fn exchange_on(
    kept: &mut Option<BufReader<TcpStream>>,
    address: SocketAddr,
    request: &str,
) -> std::io::Result<u16> {
    let mut reader = match kept.take() {
        Some(reader) => reader,
        None => BufReader::new(TcpStream::connect(address)?),
    };
    reader.get_ref().set_read_timeout(Some(PATIENCE))?;
    reader.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length, mut ends) = (0, 0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        match line.split_once(": ") {
            None if line.is_empty() => break,
            None => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("connection", value)) => ends = value == "close",
            Some(_) => {}
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    *kept = (!ends).then_some(reader);
    Ok(status)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = PATIENCE.as_millis();
    for _ in 0..patience {
        if holds() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("never: {what}");
}

#[test]
fn backends_are_swapped_under_load_and_no_request_is_lost() {
    let names = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"];
    let backends = names.map(Backend::start);
    let balancer = Balancer::start(&[], &[backends[0].address, backends[1].address]);
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..4).map(|_| load(balancer.listen, &stop)).collect();
    for (old, new) in backends.iter().zip(&backends[2..]) {
        until("the old one is used", || old.answered() > 20);
        let change = format!(r#"{{"add": ["{}"], "drain": ["{}"]}}"#, new.address, old.address);
        let answer = balancer.endpoints(&change);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&new.address.to_string()), "{answer}");
        assert!(!answer.contains(&old.address.to_string()), "{answer}");
        old.kill();
    }
    until("the last one is used", || backends[7].answered() > 20);
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let (sent, failed) = client.join().unwrap();
        assert!(failed.is_empty(), "{} of {sent} failed: {failed:?}", failed.len());
    }
    let metrics = exchange(balancer.admin, &get("/metrics")).unwrap();
    let counted = metrics.lines().find(|line| {
        line.starts_with("orchestra_upstream_requests_total") && line.contains(r#"outcome="success""#)
    });
    let counted: usize = counted.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(counted, backends.iter().map(Backend::answered).sum::<usize>(), "{metrics}");
}

#[test]
fn what_is_no_change_is_refused_and_says_what_is() {
    let balancer = Balancer::start(&["--algorithm", "round-robin"], &[]);
    let answer = balancer.endpoints(r#"{"ad": []}"#);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(r#"say {"add":"#), "{answer}");
    let answer = exchange(balancer.admin, &get("/endpoints")).unwrap();
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    assert!(answer.ends_with("\"balancer\":\"RoundRobin\",\"waiting\":0,\"endpoints\":[]}\n"), "{answer}");
}

#[test]
fn any_protocol_passes_where_it_is_told_so() {
    let backend = Backend::start("tcp");
    let balancer = Balancer::start(&["--tcp"], &[backend.address]);
    let mut stream = TcpStream::connect(balancer.listen).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Which no HTTP proxy would pass on.
    stream.write_all(b"ANY THING\r\n\r\n").unwrap();
    let mut answer = [0; 41];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.ends_with(b"\r\n\r\ntcp"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn backends_may_speak_http2() {
    // One that notes what the balancer begins with.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let balancer = Balancer::start(&["--http2"], &[listener.local_addr().unwrap()]);
    let mut client = TcpStream::connect(balancer.listen).unwrap();
    client.write_all(get("/").as_bytes()).unwrap();
    // The health check's connections say nothing.
    let preface = listener.incoming().find_map(|stream| {
        let mut preface = [0; 24];
        stream.unwrap().read_exact(&mut preface).is_ok().then_some(preface)
    });
    assert_eq!(&preface.unwrap(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

/// Sends this request, and returns the line of the answer's head that begins so.
fn line(address: SocketAddr, request: &str, begin: &str) -> Option<String> {
    let answer = exchange(address, request).unwrap();
    answer.lines().find(|line| line.starts_with(begin)).map(ToOwned::to_owned)
}

#[test]
fn sessions_and_keys_stay_with_their_backends() {
    let backends = ["s0", "s1", "s2", "s3"].map(Backend::start);
    let addresses = backends.each_ref().map(|backend| backend.address);
    let sticky = Balancer::start(&["--sticky-cookie", "lb", "--algorithm", "round-robin"], &addresses);
    let cookie = line(sticky.listen, &get("/"), "set-cookie: ").unwrap();
    let session = cookie["set-cookie: ".len()..].split(';').next().unwrap().to_owned();
    let with = |name: &str, value: &str| get("/").replace("host:", &format!("{name}: {value}\r\nhost:"));
    for _ in 0..4 {
        assert_eq!(line(sticky.listen, &with("cookie", &session), "set-cookie: "), None);
    }
    let keyed = Balancer::start(&["--algorithm", "maglev", "--hash-by", "header:x-user"], &addresses);
    let name = |user: &str| exchange(keyed.listen, &with("x-user", user)).unwrap()[38..].to_owned();
    for user in ["a", "b", "c"] {
        assert_eq!(name(user), name(user));
    }
}

#[test]
fn near_backends_come_first_and_new_ones_little_by_little() {
    let [near, far] = ["near", "far"].map(Backend::start);
    let balancer = Balancer::start(&["--zone", "a", "--slow-start", "1"], &[]);
    let change = format!(r#"{{"add": ["{}@a", "{}@b"]}}"#, near.address, far.address);
    assert!(balancer.endpoints(&change).starts_with("HTTP/1.1 200"));
    for _ in 0..10 {
        assert!(exchange(balancer.listen, &get("/")).unwrap().ends_with("near"));
    }
    assert!(balancer.endpoints(&format!(r#"{{"drain": ["{}"]}}"#, near.address)).starts_with("HTTP/1.1 200"));
    assert!(exchange(balancer.listen, &get("/")).unwrap().ends_with("far"));
}

/// What the program says where it does not start.
fn refused(arguments: &[&str]) -> String {
    let mut program: PathBuf = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    program.push("examples/load-balancer");
    let mut command = Command::new(program);
    let output = command.args(["--listen", "127.0.0.1:0"]).args(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_can_not_be_done_is_told_at_the_begin() {
    let said = refused(&["--tcp", "--algorithm", "maglev", "--hash-by", "cookie:user"]);
    assert!(said.contains("with --tcp and --udp there are no headers"), "{said}");
    let said = refused(&["--hash-by", "moon"]);
    assert!(said.contains("header:NAME"), "{said}");
    let said = refused(&["--tls-cert", "/nonexistent/cert.pem", "--tls-key", "/nonexistent/key.pem"]);
    let why = if cfg!(feature = "tls") { "can't read /nonexistent/cert.pem" } else { "--features tls" };
    assert!(said.contains(why), "{said}");
}

#[test]
fn datagrams_pass_and_answers_come_back() {
    let backend = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let balancer = Balancer::start(&["--udp"], &[backend.local_addr().unwrap()]);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for socket in [&backend, &client] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    client.send_to(b"question", balancer.listen).unwrap();
    let mut datagram = [0; 16];
    let (length, session) = backend.recv_from(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"question");
    backend.send_to(b"answer", session).unwrap();
    let (length, from) = client.recv_from(&mut datagram).unwrap();
    assert_eq!((&datagram[..length], from), (&b"answer"[..], balancer.listen));
}

#[cfg(target_os = "linux")]
#[test]
fn a_new_process_takes_over_under_load_and_no_request_is_lost() {
    let backend = Backend::start("backend");
    let path = std::env::temp_dir().join(format!("orchestra-take-over-{}", std::process::id()));
    let arguments = ["--hand-over", path.to_str().unwrap()];
    let mut old = Balancer::start(&arguments, &[backend.address]);
    let (listen, admin) = (old.listen, old.admin);
    let stop = Arc::<AtomicBool>::default();
    let clients = (0..3).flat_map(|_| [load(listen, &stop), kept_load(listen, &stop)]);
    let clients: Vec<_> = clients.collect();
    for _ in 0..3 {
        let before = backend.answered();
        until("it is used", || backend.answered() > before + 200);
        let new = Balancer::start_at(listen, admin, &arguments, &[backend.address]);
        assert_eq!((new.listen, new.admin), (listen, admin));
        let ended = old.child.wait().unwrap();
        assert!(ended.success(), "the old one ends by itself: {ended}");
        old = new;
    }
    let before = backend.answered();
    until("the last one is used", || backend.answered() > before + 200);
    stop.store(true, Ordering::SeqCst);
    let ended: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    drop(std::fs::remove_file(&path));
    for (sent, failed) in ended {
        assert!(failed.is_empty(), "{} of {sent} failed: {failed:?}", failed.len());
    }
}

/// Asks by datagrams, one after the other, until it is told to stop; returns how many, and how many were not answered.
#[cfg(target_os = "linux")]
fn datagram_load(address: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<(usize, usize)> {
    let stop = Arc::clone(stop);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    spawn(move || {
        let (mut sent, mut lost, mut answer) = (0, 0, [0; 16]);
        while !stop.load(Ordering::SeqCst) {
            sent += 1;
            let question = sent.to_string();
            client.send(question.as_bytes()).unwrap();
            let answered =
                client.recv(&mut answer).is_ok_and(|length| answer[..length] == *question.as_bytes());
            lost += usize::from(!answered);
        }
        (sent, lost)
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_new_process_takes_over_datagrams_and_none_is_lost() {
    let backend = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = backend.local_addr().unwrap();
    let answered = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&answered);
    spawn(move || {
        let mut datagram = [0; 16];
        loop {
            let (length, session) = backend.recv_from(&mut datagram).unwrap();
            backend.send_to(&datagram[..length], session).unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let path = std::env::temp_dir().join(format!("orchestra-take-over-udp-{}", std::process::id()));
    let arguments = ["--udp", "--hand-over", path.to_str().unwrap()];
    let mut old = Balancer::start(&arguments, &[at]);
    let (listen, admin) = (old.listen, old.admin);
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..3).map(|_| datagram_load(listen, &stop)).collect();
    let used = || {
        let before = answered.load(Ordering::SeqCst);
        until("it is used", || answered.load(Ordering::SeqCst) > before + 200);
    };
    for _ in 0..2 {
        used();
        let new = Balancer::start_at(listen, admin, &arguments, &[at]);
        let ended = old.child.wait().unwrap();
        assert!(ended.success(), "the old one ends by itself: {ended}");
        old = new;
    }
    used();
    stop.store(true, Ordering::SeqCst);
    let ended: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    drop(std::fs::remove_file(&path));
    for (sent, lost) in ended {
        assert_eq!(lost, 0, "of {sent}");
    }
}
