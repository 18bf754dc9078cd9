//! What happened, in order: its end to read, and a number that two equal runs share.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many of the last events a failure shows: some seconds of a busy cluster, a few screens.
const RECENT: usize = 200;

/// All events of a run: every commit, runtime call and fault.
#[derive(Debug)]
pub(crate) struct Trace(Mutex<Log>);

#[derive(Debug)]
struct Log {
    hash: u64,
    events: u64,
    recent: VecDeque<String>,
    /// Every line, where asked for: to find where two runs part.
    all: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keep_all: bool) -> Self {
        let all = keep_all.then(Vec::new);
        // FNV-1a's offset basis.
        Self(Mutex::new(Log { hash: 0xcbf2_9ce4_8422_2325, events: 0, recent: VecDeque::new(), all }))
    }

    /// Notes an event at a time since the start.
    pub(crate) fn note(&self, at: Duration, what: fmt::Arguments<'_>) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = &mut *log;
        let mut line = if log.recent.len() < RECENT {
            String::new()
        } else {
            log.recent.pop_front().unwrap_or_default()
        };
        line.clear();
        // Writing to a String does not fail.
        let _ok = write!(line, "{:>9.3} {what}", at.as_secs_f64());
        for byte in line.bytes() {
            log.hash = (log.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        log.events += 1;
        if let Some(all) = &mut log.all {
            all.push(line.clone());
        }
        log.recent.push_back(line);
    }

    /// The number that stands for all events so far.
    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hash
    }

    /// How many events there were.
    pub(crate) fn events(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).events
    }

    /// The last events; all of them where they were kept.
    pub(crate) fn lines(&self) -> Vec<String> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.all.clone().unwrap_or_else(|| log.recent.iter().cloned().collect())
    }
}
