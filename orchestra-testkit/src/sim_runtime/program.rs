//! What simulated containers do.

use std::time::Duration;

/// What a container does when it gets the stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimStop {
    /// It exits after this time, with code 143: as a program that has no handler, or a quick one.
    Exits(Duration),
    /// It goes on: only the kill ends it.
    Ignores,
}

/// What the containers of an image do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SimProgram {
    /// It exits by itself after this time, with this code; `None`: it runs until it is stopped.
    pub exits: Option<(Duration, i32)>,
    /// How long after its start it can serve; `None`: it never can.
    pub ready_after: Option<Duration>,
    /// The ports it serves; all where empty.
    pub ports: Vec<u16>,
    /// What it does when it gets the stop signal.
    pub stop: SimStop,
    /// Whether it can be run at all.
    pub starts: bool,
    /// What it writes to standard output at its start, line by line.
    pub output: Vec<String>,
    /// The CPU it uses, in thousandths of a core.
    pub cpu_milli: u64,
    /// The memory it holds, in bytes.
    pub memory: u64,
}

impl SimProgram {
    /// Runs until it is stopped, and serves at once.
    #[must_use]
    pub fn service() -> Self {
        Self {
            exits: None,
            ready_after: Some(Duration::ZERO),
            ports: Vec::new(),
            stop: SimStop::Exits(Duration::ZERO),
            starts: true,
            output: Vec::new(),
            cpu_milli: 10,
            memory: 16 << 20,
        }
    }

    /// Exits at once, with `code`.
    #[must_use]
    pub fn job(code: i32) -> Self {
        Self { exits: Some((Duration::ZERO, code)), ..Self::service() }
    }

    /// Sets how long a job runs, or a service until it crashes with code 1.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        self.exits = Some((time, self.exits.map_or(1, |(_, code)| code)));
        self
    }

    /// Sets how long after its start it can serve.
    #[must_use]
    pub fn ready_after(mut self, time: Duration) -> Self {
        self.ready_after = Some(time);
        self
    }

    /// It never can serve.
    #[must_use]
    pub fn never_ready(mut self) -> Self {
        self.ready_after = None;
        self
    }

    /// It serves this port, and none that isn't named so.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Sets what it does when it gets the stop signal.
    #[must_use]
    pub fn on_stop(mut self, stop: SimStop) -> Self {
        self.stop = stop;
        self
    }

    /// It can't be run: its program does not exist.
    #[must_use]
    pub fn that_cannot_start(mut self) -> Self {
        self.starts = false;
        self
    }

    /// It writes a line at its start.
    #[must_use]
    pub fn writing(mut self, line: impl Into<String>) -> Self {
        self.output.push(line.into());
        self
    }

    /// Sets what it uses.
    #[must_use]
    pub fn using(mut self, cpu_milli: u64, memory: u64) -> Self {
        (self.cpu_milli, self.memory) = (cpu_milli, memory);
        self
    }
}
