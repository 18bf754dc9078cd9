//! A pod of two containers on Docker that share a volume: a program run in one, and the log of the other as it is written.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that tells people")]

use std::{env, fs, io::Write, thread, time::Duration};

use anyhow::Context;
use orchestra::prelude::*;
use orchestra::runtime::Runtime as _;

const POD: &str = r#"
{apiVersion: v1, kind: Pod, metadata: {name: pair}, spec: {volumes: [{name: shared, emptyDir: {}}], containers: [
  {name: writer, image: "docker-example:1", args: [write], volumeMounts: [{name: shared, mountPath: /shared}]},
  {name: reader, image: "docker-example:1", args: [read], volumeMounts: [{name: shared, mountPath: /shared}]}]}}"#;

/// What the containers run: this very program.
fn in_container(role: &str) -> anyhow::Result<()> {
    let mut file = fs::File::options().append(true).create(true).open("/shared/lines")?;
    loop {
        let lines = fs::read_to_string("/shared/lines")?.lines().count();
        match role {
            "write" => writeln!(file, "line {lines}")?,
            "count" => break println!("{lines} lines so far"),
            _ => println!("the reader sees {lines} lines"),
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if let Some(role) = env::args().nth(1) {
        return in_container(&role);
    }
    let runtime = DockerRuntime::builder("docker-example").connect().await?;
    let mut files = ImageFiles::new();
    files.this_program("example")?;
    files.entrypoint(["/example"]);
    runtime.import_image("docker-example:1", &files).await?;
    let cluster = Cluster::builder().node(NodeOptions::new("here", runtime.clone())).start().await?;
    cluster.apply_yaml(POD).await?;
    cluster.wait::<Pod>("pair", |pod| pod.is_some_and(Pod::is_ready)).await?;

    let writer = cluster.pod("pair").container("writer");
    let count = writer.exec(&ExecOptions::new(["/example", "count"])).await?.wait_with_output().await?;
    print!("exec: exit code {}: {}", count.exit_code, String::from_utf8_lossy(&count.stdout));
    let mut log = cluster.pod("pair").container("reader").logs(&LogOptions::default().follow()).await?;
    for _ in 0..5 {
        print!("log: {}", log.next().await.context("the log ended")??.text());
    }
    cluster.stop().await;
    Ok(runtime.remove_image(&"docker-example:1".into()).await?)
}
