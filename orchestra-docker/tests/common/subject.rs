//! The Docker runtime under the contract suite.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use orchestra_core::runtime::{ContainerSpec, Runtime};
use orchestra_testkit::runtime_contract::{Program, RuntimeUnderTest, run_as_tests};

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
    match program {
        Program::Serve(port) => ["-c", SERVER, "sh", &port.to_string()].map(str::to_owned).into(),
        other => other.shell_arguments("", "/dev/termination-log").unwrap(),
    }
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
    let failed = tokio.block_on(run_as_tests(&subject, &filter));
    tokio.block_on(host.close());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
