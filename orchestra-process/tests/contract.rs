//! The process runtime keeps the contract of runtimes.
//!
//! Without libtest's harness, so that this program can be its own test server: run as `contract serve <port>` it
//! answers HTTP on `POD_IP`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use orchestra_core::runtime::{ContainerSpec, Runtime};
use orchestra_process::{ProcessImage, ProcessRuntime};
use orchestra_testkit::runtime_contract::{Program, RuntimeUnderTest, run_as_tests};

#[derive(Debug)]
struct Subject {
    root: PathBuf,
}

#[async_trait]
impl RuntimeUnderTest for Subject {
    async fn open(&self, cluster: &str) -> Arc<dyn Runtime> {
        let server = std::env::current_exe().unwrap();
        let runtime = ProcessRuntime::builder(&self.root)
            .cluster_id(cluster)
            .image("contract/sh:1", ProcessImage::new("/bin/sh"))
            .image("contract/server:1", ProcessImage::new(server))
            .build();
        Arc::new(runtime.unwrap())
    }

    fn container(&self, name: &str, program: &Program) -> ContainerSpec {
        if let Program::Serve(port) = program {
            let mut spec = ContainerSpec::new(name, "contract/server:1");
            spec.args = vec!["serve".to_owned(), port.to_string()];
            return spec;
        }
        let mut spec = ContainerSpec::new(name, "contract/sh:1");
        spec.args = script(program);
        spec
    }

    fn exec_command(&self, program: &Program) -> Vec<String> {
        let mut command = vec!["sh".to_owned()];
        command.extend(script(program));
        command
    }
}

/// The arguments of a shell that make it this program.
fn script(program: &Program) -> Vec<String> {
    program.shell_arguments("$CONTAINER_ROOT", "$TERMINATION_LOG").unwrap()
}

fn serve(port: u16) {
    let (ip, pod) = (std::env::var("POD_IP").unwrap(), std::env::var("POD_NAME").unwrap());
    let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), port)).unwrap();
    let body = format!("{pod} {ip}");
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|read| read > 0) {
            request.push(byte[0]);
        }
        drop(connection.write_all(answer.as_bytes()));
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [command, port] = &args[..]
        && command == "serve"
    {
        serve(port.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let filter = args.iter().find(|arg| !arg.starts_with('-')).cloned().unwrap_or_default();
    let root = std::env::temp_dir().join(format!("orchestra-process-contract-{}", std::process::id()));
    let subject = Subject { root };
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let failed = tokio.block_on(run_as_tests(&subject, &filter));
    drop(std::fs::remove_dir_all(&subject.root));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
