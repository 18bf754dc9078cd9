//! A rollout of one's own: one new pod first, all others once it has proved itself, back if it doesn't.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::io::{Read, Write};
use std::{env, error::Error, net::TcpListener, time::Duration};

use orchestra::controller::{ROLLBACK_ON_FAILURE, ROLLED_BACK, ROLLOUT, is_rolled_out};
use orchestra::model::{Condition, Timestamp};
use orchestra::prelude::*;
use orchestra::rollout::{FailurePolicy, Rollout, RolloutStep, RolloutView, Sizes};

/// One new pod, then all others at once.
#[derive(Debug)]
struct Scout {
    /// How long the first new pod must have been available.
    trial: Duration,
}

impl Rollout for Scout {
    fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        // When the first pod became available is remembered from one step to the next.
        let since = view.memory.parse().map_or(now, Timestamp::from_micros);
        let proved = view.new.available > 0 && now >= since + self.trial || !view.has_old_pods();
        let mut sizes = Sizes::of(view);
        sizes.shrink_new(view.replicas);
        sizes.grow_new(if proved { view.replicas } else { 1 });
        sizes.shrink_old(if proved { 0 } else { view.replicas.saturating_sub(1) });
        // Says how it stands, and goes back where a container was restarted twice.
        let step = FailurePolicy::new().after_restarts(2).judge(view, now).sized(&sizes);
        match view.new.available {
            0 => step.remember(""),
            _ if proved => step,
            _ => step.remember(since.as_micros().to_string()).wake_at(since + self.trial),
        }
    }
}

/// What the pods run: this very program, as a small web server. Version 3 doesn't work.
fn serve(version: &str) -> std::io::Result<()> {
    assert_ne!(version, "3", "version 3 is broken");
    let listener = TcpListener::bind((env::var("POD_IP").unwrap_or_default(), 8080))?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let _request = stream.read(&mut [0; 1024])?;
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nv{version}")?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let (Some("serve"), Some(version)) = (env::args().nth(1).as_deref(), env::args().nth(2)) {
        return Ok(serve(&version)?);
    }
    let dir = env::temp_dir().join(format!("custom-rollout-{}", std::process::id()));
    let mut runtime = ProcessRuntime::builder(&dir);
    for version in 1..=3 {
        let image = ProcessImage::new(env::current_exe()?).arg("serve").arg(version.to_string());
        runtime = runtime.image(format!("hello:{version}"), image);
    }
    let node = NodeOptions::new("here", runtime.build()?);
    let scout = Scout { trial: Duration::from_secs(1) };
    let cluster = Cluster::builder().node(node).rollout("scout", scout).start().await?;

    let hello = |version: u32| {
        let image = format!("hello:{version}");
        let hello = Deployment::new("hello").image(image).replicas(4).port(8080);
        hello.annotation(ROLLOUT, "scout").annotation(ROLLBACK_ON_FAILURE, "true")
    };
    cluster.apply(Service::new("hello").port(8080)).await?;
    for version in 1..=3 {
        cluster.apply(hello(version)).await?;
        println!("version {version} is rolled out");
        let mut said = String::new();
        let over = |deployment: Option<&Deployment>| {
            let Some(deployment) = deployment else { return false };
            let status = &deployment.status;
            let line = format!("  {} pods, {} of them new", status.replicas, status.updated_replicas);
            if line != said {
                println!("{line}");
                said = line;
            }
            let back = Condition::find(&status.conditions, ROLLED_BACK);
            is_rolled_out(deployment) && (version < 3 || back.is_some())
        };
        let deployment = cluster.wait("hello", over).await?;
        let conditions = deployment.map(|d| d.status.conditions.clone()).unwrap_or_default();
        if let Some(back) = Condition::find(&conditions, ROLLED_BACK) {
            println!("  {}", back.message);
        }
        let answer = cluster.service("hello", 8080).get("/").await?;
        println!("  hello answers {}", answer.status());
    }
    cluster.stop().await;
    Ok(std::fs::remove_dir_all(dir)?)
}
