//! The contract suite of [`Runtime`]: whoever implements it runs this.
//!
//! Implement [`RuntimeUnderTest`] for a value that opens the runtime and knows some test programs, and call
//! [`run`] with it. Each rule is a check of its own, named in [`CHECKS`]; all are run, each in a cluster of its own,
//! and the failures are reported together.

mod case;
mod lifecycle;
mod logs;
mod output;
mod reach;
mod shell;
mod together;

use std::any::Any;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use orchestra_core::runtime::{ContainerSpec, Runtime};

pub use case::Case;
pub use shell::run_as_tests;

/// How long one check may take. A runtime that is slower than this for a handful of pods doesn't work.
pub const CHECK_DEADLINE: Duration = Duration::from_secs(120);

/// A runtime, and what the suite needs to exercise it.
#[async_trait]
pub trait RuntimeUnderTest: Debug + Send + Sync {
    /// What it can do beyond the contract's core. Checks that need more are left out, and named on the way.
    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    /// Opens the runtime for a cluster. Opened again, after [`close`](Self::close), it finds what it left.
    async fn open(&self, cluster: &str) -> Arc<dyn Runtime>;

    /// Ends the use of a runtime without ending its containers, as when its process dies.
    async fn close(&self, runtime: Arc<dyn Runtime>) {
        drop(runtime);
    }

    /// A container that runs `program`. Its image is present, or can be pulled.
    fn container(&self, name: &str, program: &Program) -> ContainerSpec;

    /// A command for `exec` that runs `program` inside any such container.
    fn exec_command(&self, program: &Program) -> Vec<String>;
}

/// What a runtime can do beyond the contract's core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// `exec` runs programs.
    pub exec: bool,
    /// Containers can be reached by TCP.
    pub network: bool,
    /// Ports can be opened on the host.
    pub host_ports: bool,
    /// `logs` gives what programs write.
    pub logs: bool,
    /// Directories of the host can be mounted.
    pub mounts: bool,
    /// A container can leave a termination message.
    pub messages: bool,
    /// `stats` tells what containers use.
    pub stats: bool,
    /// Containers outlive the runtime's value.
    pub survives: bool,
    /// A program that does not exist fails the start.
    pub checks_program: bool,
}

impl Capabilities {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            exec: true,
            network: true,
            host_ports: true,
            logs: true,
            mounts: true,
            messages: true,
            stats: true,
            survives: true,
            checks_program: true,
        }
    }

    /// Nothing but the core: for a simulated runtime to start from.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            exec: false,
            network: false,
            host_ports: false,
            logs: false,
            mounts: false,
            messages: false,
            stats: false,
            survives: false,
            checks_program: false,
        }
    }
}

/// A test program, to be provided in whatever way the runtime runs programs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// Runs until it is asked to stop, and ends then at once.
    Sleep,
    /// Runs for ever, and ignores being asked to stop; writes `ready` to standard output once it does.
    IgnoreStop,
    /// Exits with this code.
    Exit(i32),
    /// Writes two texts to standard output and standard error, as they are, and exits with 0.
    Write {
        /// To standard output.
        out: String,
        /// To standard error.
        err: String,
    },
    /// Writes this text to standard output, and runs until it is asked to stop.
    WriteAndSleep(String),
    /// Writes `line 0` to `line <n - 1>`, and exits with 0.
    Lines(usize),
    /// Writes `line <n>` for growing numbers, without pause, until it is asked to stop.
    LinesForEver,
    /// Writes the values of variables, one in a line, and exits with 0.
    PrintEnv(Vec<String>),
    /// Writes its further arguments, each in `<` and `>` on a line of its own, and exits with 0. The check puts
    /// them into the spec's `args`, behind those that are there.
    PrintArgs,
    /// Writes the content of a file, and exits with 0. The path is one inside the container.
    PrintFile(PathBuf),
    /// Copies standard input to standard output, until its end.
    Cat,
    /// Answers TCP connections on this port of the pod with the pod's name and `POD_IP`, as HTTP.
    Serve(u16),
    /// Leaves this termination message, and exits with 1.
    Say(String),
}

/// One rule of the contract.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    needs: fn(&Capabilities) -> bool,
    run: for<'a> fn(&'a Case<'a>) -> BoxFuture<'a, ()>,
}

impl Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A check of the function of that name; `|capabilities| ..` says what it needs.
macro_rules! check {
    ($module:ident :: $name:ident) => {
        check!($module::$name, |_| true)
    };
    ($module:ident :: $name:ident, $needs:expr) => {
        Check { name: stringify!($name), needs: $needs, run: |case| Box::pin($module::$name(case)) }
    };
}

/// All rules that are checked.
pub const CHECKS: &[Check] = &[
    check!(lifecycle::info_describes_the_host),
    check!(lifecycle::a_repeated_run_sandbox_finds_the_first),
    check!(lifecycle::a_repeated_create_finds_the_first),
    check!(lifecycle::every_step_can_be_repeated),
    check!(lifecycle::a_started_container_runs_or_has_run),
    check!(lifecycle::an_exit_code_is_kept_and_nothing_runs_twice),
    check!(lifecycle::a_stopped_container_is_dead),
    check!(lifecycle::who_ignores_the_stop_signal_is_killed_after_the_grace),
    check!(lifecycle::a_running_container_is_not_removed),
    check!(lifecycle::a_stopped_sandbox_holds_nothing_that_runs),
    check!(lifecycle::a_removed_sandbox_is_gone_with_all_in_it),
    check!(lifecycle::attempts_are_containers_of_their_own),
    check!(lifecycle::what_does_not_exist_is_not_found),
    check!(lifecycle::images_are_present_or_not_found),
    check!(lifecycle::a_program_that_does_not_exist_fails_to_start, |can| can.checks_program),
    check!(lifecycle::a_termination_message_is_kept, |can| can.messages),
    check!(logs::both_outputs_are_kept_as_they_were_written, |can| can.logs),
    check!(logs::a_tail_is_the_last_lines, |can| can.logs),
    check!(logs::a_limit_cuts_off, |can| can.logs),
    check!(logs::since_leaves_out_what_is_older, |can| can.logs),
    check!(logs::a_followed_log_ends_with_its_container, |can| can.logs),
    check!(logs::a_followed_log_has_every_line_once, |can| can.logs),
    check!(output::arguments_arrive_unchanged, |can| can.logs),
    check!(output::variables_arrive, |can| can.logs),
    check!(output::a_mounted_directory_is_there, |can| can.logs && can.mounts),
    check!(output::exec_gives_output_and_exit_code, |can| can.exec),
    check!(output::exec_of_what_is_no_program_says_so, |can| can.exec),
    check!(output::exec_reads_its_input, |can| can.exec),
    check!(output::a_dropped_exec_is_killed, |can| can.exec && can.stats),
    check!(output::exec_ends_with_its_container, |can| can.exec),
    check!(reach::each_pod_has_its_own_address),
    check!(reach::a_pod_answers_at_its_address, |can| can.network),
    check!(reach::a_host_port_is_open_and_only_once, |can| can.network && can.host_ports),
    check!(reach::a_host_port_may_be_the_pods_own_and_other_pods_have_theirs, |can| can.network
        && can.host_ports),
    check!(reach::clusters_do_not_meet),
    check!(reach::containers_outlive_the_runtime, |can| can.survives),
    check!(reach::an_exit_in_between_is_not_missed, |can| can.survives),
    check!(together::events_tell_of_starts_and_exits),
    check!(together::list_is_ordered_and_agrees_with_sandbox),
    check!(together::many_pods_at_once),
    check!(together::a_dropped_call_can_be_repeated),
    check!(together::stats_tell_of_what_runs, |can| can.stats),
];

/// Runs all checks the runtime is capable of.
///
/// # Panics
/// If one fails: with the names of all that did, and why.
pub async fn run(subject: &dyn RuntimeUnderTest) {
    let capabilities = subject.capabilities();
    let mut failures = Vec::new();
    for check in CHECKS {
        if !(check.needs)(&capabilities) {
            tracing::info!(check = check.name, "not checked: the runtime does not claim it");
            continue;
        }
        if let Err(why) = run_check(subject, check).await {
            failures.push(format!("{}: {why}", check.name));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} checks failed:\n{}",
        failures.len(),
        CHECKS.len(),
        failures.join("\n")
    );
}

/// Runs one check, and removes what it left also where it fails.
///
/// # Errors
/// Says why it failed.
pub async fn run_check(subject: &dyn RuntimeUnderTest, check: &Check) -> Result<(), String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let cluster = format!("contract-{}-{number}", std::process::id());
    let case = Case::new(subject, cluster).await;
    let checked =
        tokio::time::timeout(CHECK_DEADLINE, AssertUnwindSafe((check.run)(&case)).catch_unwind()).await;
    let cleaned = case.clean().await;
    match checked {
        Ok(Ok(())) => cleaned,
        Ok(Err(panic)) => Err(message(panic.as_ref())),
        Err(_) => Err(format!("not done after {CHECK_DEADLINE:?}")),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
