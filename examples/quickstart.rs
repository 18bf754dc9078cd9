//! A cluster in this process: deploy a service of two pods, and send it a request.

#![allow(clippy::print_stdout, reason = "a program that tells people what it does")]

use std::io::{Read, Write};
use std::{env, error::Error, net::TcpListener};

use orchestra::prelude::*;

/// What the pods run: this very program, as a small web server.
fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind((env::var("POD_IP").unwrap_or_default(), 8080))?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let _request = stream.read(&mut [0; 1024])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n")?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("serve") {
        return Ok(serve()?);
    }
    let image = ProcessImage::new(env::current_exe()?).arg("serve");
    let dir = env::temp_dir().join(format!("quickstart-{}", std::process::id()));
    let runtime = ProcessRuntime::builder(&dir).image("hello:1", image).build()?;
    let cluster = Cluster::builder().node(NodeOptions::new("here", runtime)).start().await?;

    cluster.apply(Deployment::new("hello").image("hello:1").replicas(2).port(8080)).await?;
    cluster.apply(Service::new("hello").port(8080)).await?;

    let answer = cluster.service("hello", 8080).get("/").await?;
    print!("{}", answer.into_body().text().await?);
    cluster.stop().await;
    Ok(std::fs::remove_dir_all(dir)?)
}
