//! Containers that are hard to stop.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Host, sandbox_spec};
use orchestra_core::runtime::{ContainerSpec, Runtime, RuntimeError};
use orchestra_process::ProcessImage;

#[tokio::test]
async fn a_stop_signal_that_is_none_is_refused() {
    let host = Host::new();
    for signal in [0, 37, -1] {
        let image = || ProcessImage::new("/bin/sh").stop_signal(signal);
        let refused = host.builder().image("odd", image()).build();
        assert!(matches!(refused, Err(RuntimeError::Unsupported { .. })), "{refused:?}");
        let runtime = host.open();
        runtime.add_image("odd", image());
        let sandbox = runtime.run_sandbox(&sandbox_spec("odd")).await.unwrap().id;
        let spec = ContainerSpec::new("main", "odd");
        let refused = runtime.create_container(&sandbox, &spec).await;
        assert!(matches!(refused, Err(RuntimeError::Unsupported { .. })), "{refused:?}");
        runtime.remove_sandbox(&sandbox).await.unwrap();
    }
}
