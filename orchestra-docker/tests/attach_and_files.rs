//! Connecting to a container's own program, and copying files out of containers and into them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use common::Host;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{
    AttachSession, ContainerId, ContainerSpec, ExecOptions, Runtime, RuntimeError, SandboxId, SandboxSpec,
    TarStream,
};

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

async fn sandbox(host: &Host) -> SandboxId {
    let spec = SandboxSpec::new("test", "pod", Uid::from("pod".to_owned()));
    host.runtime.run_sandbox(&spec).await.unwrap().id
}

/// A container that runs a script; `reads`: its standard input is open.
fn script(host: &Host, name: &str, script: &str, reads: bool) -> ContainerSpec {
    let mut spec = ContainerSpec::new(name, host.image.as_str());
    spec.command = ["/bin/sh", "-c", script].map(String::from).into();
    spec.stdin = reads;
    spec
}

async fn start(host: &Host, sandbox: &SandboxId, spec: &ContainerSpec) -> ContainerId {
    let container = host.runtime.create_container(sandbox, spec).await.unwrap();
    host.runtime.start_container(&container).await.unwrap();
    container
}

/// Reads output until it has `words`, and gives all of it.
async fn until(session: &mut AttachSession, words: &str) -> String {
    let mut read = String::new();
    while !read.contains(words) {
        let piece = tokio::time::timeout(LIMIT, session.output.next()).await;
        let piece = piece.unwrap_or_else(|_| panic!("{words} did not come after {read:?}"));
        read += &piece.unwrap_or_else(|| panic!("it ended after {read:?}")).unwrap().text();
    }
    read
}

async fn says(session: &mut AttachSession, line: &'static str) {
    session.stdin.as_ref().unwrap().send(line.into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_attaches_speaks_with_the_program_which_goes_on_without_them() {
    let Some(host) = Host::open("attach").await else { return };
    host.scope(async |host| {
        let sandbox = sandbox(host).await;
        let echo = "while read line; do echo \"got $line\"; echo aside >&2; done";
        let echo = start(host, &sandbox, &script(host, "echo", echo, true)).await;
        for line in ["one\n", "two\n"] {
            let mut session = host.runtime.attach(&echo, true).await.unwrap();
            assert!(session.resize.is_none(), "it has no terminal");
            says(&mut session, line).await;
            let read = until(&mut session, &format!("got {line}")).await;
            assert!(line == "one\n" || !read.contains("one"), "what was before is in the log: {read}");
        }
        let mut session = host.runtime.attach(&echo, false).await.unwrap();
        assert!(session.stdin.is_none());
        host.runtime.stop_container(&echo, Duration::ZERO).await.unwrap();
        while let Some(piece) = tokio::time::timeout(LIMIT, session.output.next()).await.unwrap() {
            piece.unwrap();
        }
        let ended = host.runtime.attach(&echo, false).await;
        assert!(ended.is_err_and(|error| error.to_string().contains("attach")), "it does not run");
        let deaf = start(host, &sandbox, &script(host, "deaf", "sleep 1000", false)).await;
        let refused = host.runtime.attach(&deaf, true).await;
        assert!(matches!(refused, Err(RuntimeError::Unsupported { .. })), "{refused:?}");
        let mut spec = script(host, "terminal", "while read line; do stty size; done", true);
        spec.tty = true;
        let terminal = start(host, &sandbox, &spec).await;
        let mut session = host.runtime.attach(&terminal, true).await.unwrap();
        session.resize.as_ref().unwrap().send((123, 45)).await.unwrap();
        // The size gets there by another way than the line.
        let mut read = String::new();
        while !read.contains("45 123") {
            says(&mut session, "?\n").await;
            read = until(&mut session, "\n").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_copied_into_containers_and_out_of_them() {
    let Some(host) = Host::open("files").await else { return };
    host.scope(async |host| {
        let sandbox = sandbox(host).await;
        let container = start(host, &sandbox, &script(host, "web", "sleep 1000", false)).await;
        let large = vec![b'x'; 3 << 20];
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in [("data/a.txt", b"one".as_slice()), ("data/sub/large", &large)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o640);
            archive.append_data(&mut header, path, content).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let into = |directory: &'static str, archive: Vec<u8>| {
            host.runtime.write_files(&container, directory, TarStream::from(archive))
        };
        into("/", archive.clone()).await.unwrap();
        let mut files = read(&mut host.runtime.read_files(&container, "/data").await.unwrap()).await;
        assert_eq!(files.remove("data/a.txt").as_deref(), Some(b"one".as_slice()));
        assert_eq!(files.remove("data/sub/large"), Some(large));
        let missing = host.runtime.read_files(&container, "/nothing").await;
        assert!(matches!(missing, Err(RuntimeError::NotFound(_))), "{missing:?}");
        assert!(matches!(into("/nothing", archive.clone()).await, Err(RuntimeError::NotFound(_))));
        // What looks like a way out leads to the container's own files.
        let link = ExecOptions::new(["/bin/sh", "-c", "ln -s /../../../tmp /data/out; mkdir -p /tmp"]);
        let linked = host.runtime.exec(&container, &link).await.unwrap().wait_with_output().await.unwrap();
        assert_eq!(linked.exit_code, 0);
        into("/data/out", named(&host.name)).await.unwrap();
        assert!(!Path::new("/tmp").join(&host.name).exists(), "it is in the container");
        let found = host.runtime.read_files(&container, &format!("/tmp/{}", host.name)).await;
        assert_eq!(read(&mut found.unwrap()).await.len(), 1);
        // Also of one that has ended.
        host.runtime.stop_container(&container, Duration::ZERO).await.unwrap();
        let files = read(&mut host.runtime.read_files(&container, "/data/a.txt").await.unwrap()).await;
        assert_eq!(files["a.txt"], b"one");
        let broken = futures_util::stream::iter([Err(std::io::Error::other("the reader is gone"))]);
        let broken = host.runtime.write_files(&container, "/", TarStream::new(broken)).await;
        assert!(broken.is_err(), "it broke off");
    })
    .await;
}

/// An archive with one empty file of this name.
fn named(name: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, std::io::empty()).unwrap();
    archive.into_inner().unwrap()
}

/// The files of an archive, by path.
async fn read(archive: &mut TarStream) -> BTreeMap<String, Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = archive.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if entry.header().entry_type().is_file() {
            files.insert(path, content);
        }
    }
    files
}
