//! Handing over to a new process, where the system can pass sockets.

use std::path::PathBuf;

use orchestra::net::{Listening, Workers};

#[cfg(target_os = "linux")]
pub(crate) use orchestra::net::{Heir, Inherited};

/// Nobody's, where the system can't.
#[cfg(not(target_os = "linux"))]
pub(crate) type Heir = std::convert::Infallible;
#[cfg(not(target_os = "linux"))]
pub(crate) type Inherited = std::convert::Infallible;

/// Whom this process takes over from, and hands over to.
#[derive(clap::Args)]
pub(crate) struct HandOver {
    /// Takes over from the process that was started with the same path, which finishes its requests and ends, and hands over to the
    /// next one. So a new version is started beside the old one, with the same arguments, and no connection and no datagram is lost. Linux only.
    #[arg(long, value_name = "PATH")]
    hand_over: Option<PathBuf>,
}

#[cfg(target_os = "linux")]
impl HandOver {
    /// Has what is bound to `workers` listen on the sockets of the process before, where there is one.
    pub(crate) async fn inherit(&self, workers: &Workers) -> anyhow::Result<Option<Inherited>> {
        let Some(path) = &self.hand_over else { return Ok(None) };
        Ok(workers.inherit(path).await?)
    }

    /// Waits until another process serves in our place: for ever, where nothing is said of that.
    pub(crate) async fn next(&self, listening: &Listening) -> anyhow::Result<Heir> {
        match &self.hand_over {
            Some(path) => Ok(Heir::wait(path, &[listening]).await?),
            None => std::future::pending().await,
        }
    }
}

/// Tells the process before that we serve, and waits until it has let go of its admin listener.
#[cfg(target_os = "linux")]
pub(crate) async fn serving(before: Option<Inherited>) {
    if let Some(before) = before {
        match before.serving().await {
            Ok(()) => println!("has taken over"),
            Err(error) => eprintln!("has taken over from a process that died: {error}"),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl HandOver {
    pub(crate) async fn inherit(&self, _workers: &Workers) -> anyhow::Result<Option<Inherited>> {
        anyhow::ensure!(self.hand_over.is_none(), "--hand-over: sockets are passed on Linux only");
        Ok(None)
    }

    pub(crate) async fn next(&self, _listening: &Listening) -> anyhow::Result<Heir> {
        std::future::pending().await
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) async fn serving(_before: Option<Inherited>) {}
