//! A daemon that is killed in the middle of a start forgets that it began it: nothing of that is left all the same.

use std::path::Path;

use orchestra::prelude::*;

use crate::chaos::in_cgroups;
use crate::daemon::{converged, end, two_pods};
use crate::host::{eventually, pods};

/// runc, but for a start while the file `hang` stands beside this script: it says so in `hangs`, and never comes to it. A file
/// `pass` lets one start go on.
const RUNTIME: &str = r#"#!/bin/sh
dir=$(dirname "$0")
case " $* " in
*" start "*)
    if [ -e "$dir/hang" ] && ! rm "$dir/pass" 2>/dev/null; then
        touch "$dir/hangs"
        while [ -e "$dir/hang" ]; do sleep 0.05; done
        exit 1
    fi
    ;;
esac
exec runc "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_start_whose_daemon_was_killed() {
    let Some((host, cluster, mut daemon)) = two_pods("starts", 7, false).await else { return };
    daemon.set_runtime(RUNTIME);
    daemon.end("-TERM");
    daemon.start().await.unwrap();
    converged(&host, &cluster).await;
    let mut ids = host.ids();
    // The start of a sandbox hangs, and then that of the container in one.
    for passes in [false, true] {
        let file = |name: &str| Path::new(&daemon.path(name)).to_owned();
        let (hang, hangs, pass) = (file("hang"), file("hangs"), file("pass"));
        if passes {
            std::fs::write(&pass, "").unwrap();
        }
        std::fs::write(&hang, "").unwrap();
        let pod = pods(&cluster).await.swap_remove(0);
        cluster.delete::<Pod>(&pod.metadata.name, &DeleteOptions::default()).await.unwrap();
        eventually("a start hangs", || hangs.exists().then_some(())).await;
        ids.extend(host.ids());
        let waits = in_cgroups(&ids).into_values().any(|about| about.contains("runc init"));
        assert!(waits, "a process waits for its start: {:?}", in_cgroups(&ids));
        daemon.end("-KILL");
        for file in [hang, hangs] {
            std::fs::remove_file(file).unwrap();
        }
        daemon.start().await.unwrap();
        converged(&host, &cluster).await;
        ids.extend(host.ids());
    }
    end(&host, cluster).await;
    eventually("no process is left", || in_cgroups(&ids).is_empty().then_some(())).await;
    eventually("no shim is left", || (daemon.shims() == 0).then_some(())).await;
}
