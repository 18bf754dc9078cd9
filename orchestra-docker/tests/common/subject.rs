//! The Docker runtime under the contract suite.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use orchestra_core::runtime::{ContainerSpec, Runtime};
use orchestra_testkit::runtime_contract::{CHECKS, Program, RuntimeUnderTest, run_check};

use super::Host;

#[derive(Debug)]
struct Subject {
    image: String,
    state: PathBuf,
    engine: Option<String>,
}

#[async_trait]
impl RuntimeUnderTest for Subject {
    async fn open(&self, cluster: &str) -> Arc<dyn Runtime> {
        let runtime = super::builder(cluster, self.engine.as_deref()).state_dir(&self.state).connect().await;
        Arc::new(runtime.unwrap())
    }

    fn container(&self, name: &str, program: &Program) -> ContainerSpec {
        let mut spec = ContainerSpec::new(name, self.image.as_str());
        spec.command = vec!["/bin/sh".to_owned()];
        spec.args = script(program);
        spec
    }

    fn exec_command(&self, program: &Program) -> Vec<String> {
        let mut command = vec!["/bin/sh".to_owned()];
        command.extend(script(program));
        command
    }
}

/// Serves one page with the pod's name and address.
const SERVER: &str =
    r#"mkdir /www; echo "$POD_NAME $POD_IP" > /www/index.html; exec httpd -f -p "$1" -h /www"#;

/// The arguments of a shell that make it this program.
fn script(program: &Program) -> Vec<String> {
    let (script, args): (&str, Vec<String>) = match program {
        Program::Sleep => ("exec sleep 1000000", vec![]),
        Program::IgnoreStop => ("trap '' TERM; echo ready; exec sleep 1000000", vec![]),
        Program::Exit(code) => ("exit $1", vec![code.to_string()]),
        Program::Write { out, err } => {
            (r#"printf %s "$1"; printf %s "$2" >&2"#, vec![out.clone(), err.clone()])
        }
        Program::WriteAndSleep(text) => (r#"printf %s "$1"; exec sleep 1000000"#, vec![text.clone()]),
        Program::Lines(lines) => {
            ("i=0; while [ $i -lt $1 ]; do echo line $i; i=$((i+1)); done", vec![lines.to_string()])
        }
        Program::LinesForEver => ("i=0; while :; do echo line $i; i=$((i+1)); done", vec![]),
        Program::PrintEnv(names) => {
            (r#"for n in "$@"; do eval "printf '%s\n' \"\$$n\""; done"#, names.clone())
        }
        Program::PrintArgs => (r#"for a in "$@"; do printf '<%s>\n' "$a"; done"#, vec![]),
        Program::PrintFile(path) => (r#"exec cat "$1""#, vec![path.display().to_string()]),
        Program::Cat => ("exec cat", vec![]),
        Program::Serve(port) => (SERVER, vec![port.to_string()]),
        Program::Say(text) => (r#"printf %s "$1" > /dev/termination-log; exit 1"#, vec![text.clone()]),
        other => panic!("no script for {other:?}"),
    };
    ["-c".to_owned(), script.to_owned(), "sh".to_owned()].into_iter().chain(args).collect()
}

/// Runs all checks on an engine, that of the machine where none is named, or those whose names the arguments have in them.
pub(crate) fn contract(test: &str, engine: Option<String>) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let filter = args.iter().find(|arg| !arg.starts_with('-')).cloned().unwrap_or_default();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let Some(host) = tokio.block_on(Host::open_on(test, engine.clone())) else { return ExitCode::SUCCESS };
    let subject = Subject { image: host.image.clone(), state: host.state.clone(), engine };
    let mut failed = 0;
    for check in CHECKS.iter().filter(|check| check.name.contains(&filter)) {
        match tokio.block_on(run_check(&subject, check)) {
            Ok(()) => println!("test {} ... ok", check.name),
            Err(why) => {
                failed += 1;
                println!("test {} ... FAILED\n{why}", check.name);
            }
        }
    }
    tokio.block_on(host.close());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
