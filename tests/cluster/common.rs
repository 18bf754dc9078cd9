//! What these tests share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orchestra::model::{Event, Resource};
use orchestra::prelude::*;

/// How long anything here may take on a busy machine: less than the minute after which an agent lists what runs
/// without a cause, so that nothing here passes by that net.
pub(crate) const LIMIT: Duration = Duration::from_secs(50);

/// A directory of this test's own, removed at its end.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("orchestra-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until the object called `name` is as `holds` says.
pub(crate) async fn until<T: Resource>(
    client: &Client,
    name: &str,
    holds: impl FnMut(Option<&T>) -> bool + Send,
) -> Option<Arc<T>> {
    match tokio::time::timeout(LIMIT, client.wait::<T>(name, holds)).await {
        Ok(object) => object.unwrap(),
        Err(_) => panic!("{name} is not as awaited after {LIMIT:?}: {:?}", client.find::<T>(name).await),
    }
}

/// Waits for an event of the object called `name` whose message has `text` in it.
pub(crate) async fn event(client: &Client, name: &str, text: &str) -> Arc<Event> {
    let found = async {
        let mut list = client.list::<Event>(&ListOptions::default()).await.unwrap();
        let mut watch = client.watch::<Event>(&ListOptions::default(), list.revision).await.unwrap();
        loop {
            let told = |e: &Arc<Event>| e.involved_object.name == name && e.message.contains(text);
            if let Some(event) = list.items.drain(..).find(told) {
                return event;
            }
            list.items.push(Arc::clone(watch.next().await.unwrap().unwrap().object()));
        }
    };
    tokio::time::timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("no event of {name} says `{text}`"))
}

/// The processes of the program `program` (empty: of any) that the runtimes in `dir` started, or that those started.
pub(crate) fn processes(dir: &Path, program: &str) -> Vec<u32> {
    // The runtime marks what it starts in the environment; the directory tells ours from others'.
    let wanted = dir.to_string_lossy().into_owned();
    let mine = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains(&wanted) && command.starts_with(program.as_bytes())
    };
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(mine).collect()
}

/// The same, as soon as there are `count`: a program that has just been started bears no marks for a moment.
pub(crate) async fn started(dir: &Path, program: &str, count: usize) -> Vec<u32> {
    let all = async {
        loop {
            let found = processes(dir, program);
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let message = || panic!("there are no {count} processes of {program} after {LIMIT:?}");
    tokio::time::timeout(LIMIT, all).await.unwrap_or_else(|_| message())
}
