//! Programs that are to be killed on the engine's host, which its API can't.

use std::sync::{Mutex, PoisonError};

use crate::core::Core;
use crate::helper;

/// Programs that one helper kills: their numbers and containers are its arguments, and take some 20 KB.
const BATCH: usize = 256;

/// What the helper ends with where a number is no longer one of the container's: there is nothing to kill.
const OF_NOBODY: i64 = 3;

/// Those that wait for a helper. There is one at a time, so that a hundred probes whose time is over together make no hundred
/// containers: it takes all that have come while the one before it was at work.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    /// The numbers of processes, each with the engine's id of its container.
    wanted: Mutex<Vec<(i64, String)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Kills {
    fn add(&self, pid: i64, docker_id: &str) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).push((pid, docker_id.to_owned()));
    }

    fn take(&self) -> Vec<(i64, String)> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = wanted.len().min(BATCH);
        wanted.drain(..batch).collect()
    }
}

/// Kills the group of a program, if the number still is that of a process of the container. Returns when that is done, whoever's
/// helper did it.
pub(crate) async fn kill(core: &Core, pid: i64, docker_id: &str) {
    core.kills.add(pid, docker_id);
    let _turn = core.kills.turn.lock().await;
    let batch = core.kills.take();
    if batch.is_empty() {
        return;
    }
    let mut words = vec!["kill".to_owned()];
    words.extend(batch.iter().flat_map(|(pid, docker_id)| [pid.to_string(), docker_id.clone()]));
    match helper::run(core, "dropped programs", words, helper::may_kill()).await {
        Ok(0 | OF_NOBODY) => {}
        Ok(code) => tracing::warn!(?batch, code, "programs whose sessions were dropped can't be killed"),
        Err(error) => tracing::warn!(?batch, %error, "programs whose sessions were dropped run on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_helper_takes_all_that_wait_and_not_too_many() {
        let kills = Kills::default();
        for pid in 0..300 {
            kills.add(pid, "abc");
        }
        assert_eq!((kills.take().len(), kills.take().len(), kills.take().len()), (BATCH, 44, 0));
    }
}
