//! Plain processes: this program, as one of the shop's services.

use std::path::Path;

use anyhow::{Context, ensure};
use orchestra::prelude::*;

use super::VERSIONS;
use crate::shop;

pub(super) fn node(name: &str, dir: &Path) -> anyhow::Result<NodeOptions> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    let mut runtime = ProcessRuntime::builder(dir.join(name).join("runtime"));
    for service in shop::NAMES {
        for version in VERSIONS {
            let image = ProcessImage::new(&program).args(["shop", service]).env("VERSION", version);
            runtime = runtime.image(format!("shop/{service}:{version}"), image);
        }
    }
    let runtime = runtime.build().with_context(|| format!("preparing {name}"))?;
    Ok(NodeOptions::new(name, runtime))
}

pub(super) async fn kill(pid: u64) -> anyhow::Result<()> {
    let status = tokio::process::Command::new("kill").args(["-9", &pid.to_string()]).status().await?;
    ensure!(status.success(), "kill: {status}");
    Ok(())
}
