//! Servers that note down what they are asked, a line each: `METHOD TARGET`, and, where they say, the body's length.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orchestra_core::engine::Tasks;

use crate::PATIENCE;

/// A running server. Dropping it ends it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    notes: Notes,
    _running: Running,
}

enum Notes {
    Here(Arc<Mutex<Vec<String>>>),
    File(PathBuf),
}

#[allow(dead_code, reason = "held for their drop")]
enum Running {
    Tasks(Group),
    Program(Program),
}

struct Group(Tasks);

impl Drop for Group {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A program of its own, in a directory of its own.
struct Program {
    child: Child,
    directory: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

impl Server {
    /// What it was asked, once `last` is among it.
    pub(crate) async fn seen_up_to(&self, last: &str) -> Vec<String> {
        let reading = async {
            loop {
                let lines = self.lines();
                if lines.iter().any(|line| line.split(' ').nth(1) == Some(last)) {
                    return lines;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the server notes the last request")
    }

    fn lines(&self) -> Vec<String> {
        match &self.notes {
            Notes::Here(lines) => lines.lock().unwrap().clone(),
            Notes::File(path) => {
                let text = std::fs::read(path).unwrap_or_default();
                String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
            }
        }
    }
}

/// hyper, in this process.
pub(crate) async fn hyper() -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (lines, tasks) = (Arc::<Mutex<Vec<String>>>::default(), Tasks::new());
    let (notes, group) = (Arc::clone(&lines), tasks.clone());
    tasks.spawn("hyper", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let notes = Arc::clone(&notes);
            let service = service_fn(move |request| note(request, Arc::clone(&notes)));
            group.spawn("hyper-connection", async move {
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Server { address, notes: Notes::Here(lines), _running: Running::Tasks(Group(tasks)) }
}

async fn note(
    request: Request<Incoming>,
    notes: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let asked = format!("{} {}", request.method(), request.uri());
    let length = request.into_body().collect().await.map(|body| body.to_bytes().len().to_string());
    let line = format!("{asked} {}", length.unwrap_or_else(|_| "broken".to_owned()));
    notes.lock().unwrap().push(line);
    Ok(Response::new(Full::from(asked)))
}

const PYTHON: &str = r#"
import http.server, sys, threading
lock = threading.Lock()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def body(self):
        if "chunked" in (self.headers.get("transfer-encoding") or "").lower():
            length = 0
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                length += len(self.rfile.read(size))
                if size == 0:
                    while self.rfile.readline().strip():
                        pass
                    return length
                self.rfile.readline()
        return len(self.rfile.read(int(self.headers.get("content-length") or 0)))
    def answer(self):
        length = self.body()
        asked = f"{self.command} {self.path}"
        with lock, open(sys.argv[2], "a") as notes:
            notes.write(f"{asked} {length}\n")
        self.send_response(200)
        self.send_header("content-length", str(len(asked)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(asked.encode())
    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// The server of Python's library.
pub(crate) async fn python() -> Option<Server> {
    program("python3", |port, directory, command| {
        command.args(["-c", PYTHON, &port.to_string()]).arg(directory.join("notes"));
    })
    .await
}

/// nginx, which answers by itself.
pub(crate) async fn nginx() -> Option<Server> {
    program("nginx", |port, directory, command| {
        let at = directory.display();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/errors;
             events {{ worker_connections 512; }}
             http {{
                 log_format asked '$request_method $request_uri s$status;$request_length;$connection_requests;$request'; access_log {at}/notes asked;
                 client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c;
                 uwsgi_temp_path {at}/d; scgi_temp_path {at}/e; underscores_in_headers on;
                 server {{ listen 127.0.0.1:{port}; location / {{ return 200 '$request_method $request_uri'; }} }}
             }}"
        );
        std::fs::write(directory.join("configuration"), configuration).unwrap();
        command.arg("-e").arg(directory.join("errors")).arg("-c").arg(directory.join("configuration"));
    })
    .await
}

/// HAProxy, which answers by itself.
pub(crate) async fn haproxy() -> Option<Server> {
    program("haproxy", |port, directory, command| {
        let configuration = format!(
            "global\n log stdout format raw local0\n maxconn 512\n\
             defaults\n mode http\n option dontlognull\n log global\n log-format \"%HM %HU\"\n timeout client 60s\n timeout server 60s\n timeout connect 5s\n\
             frontend all\n bind 127.0.0.1:{port}\n\
             http-request return status 200 content-type text/plain lf-string \"%HM %HU\"\n"
        );
        std::fs::write(directory.join("configuration"), configuration).unwrap();
        let notes = std::fs::File::create(directory.join("notes")).unwrap();
        command.arg("-db").arg("-f").arg(directory.join("configuration")).stdout(notes);
    })
    .await
}

/// Starts a program on a free port, where it is installed, and waits until it listens.
async fn program(name: &str, prepare: impl Fn(u16, &PathBuf, &mut Command)) -> Option<Server> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("orchestra-smuggling-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(name);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    prepare(port, &directory, &mut command);
    let Ok(child) = command.spawn() else {
        drop(std::fs::remove_dir_all(&directory));
        return None;
    };
    let notes = Notes::File(directory.join("notes"));
    let mut program = Program { child, directory };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listens = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(program.child.try_wait().unwrap().is_none(), "{name} ended: its configuration is wrong");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listens).await.expect("the server listens");
    Some(Server { address, notes, _running: Running::Program(program) })
}
