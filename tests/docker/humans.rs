//! People who use the engine beside the cluster.

use orchestra::prelude::*;

use crate::host::{Host, eventually, first_of, pods, settled};

/// Things of somebody else, removed with this value.
struct Foreign<'h> {
    host: &'h Host,
    containers: Vec<String>,
    network: String,
    volume: String,
}

impl<'h> Foreign<'h> {
    /// Containers that look like the cluster's in one way each, a network and a volume.
    fn make(host: &'h Host) -> Self {
        let name = |what: &str| format!("{}-{what}", host.name);
        let (plain, other) = (name("plain"), name("other"));
        // The name of a pod's sandbox, without its labels.
        let named = format!("orchestra.{}.somebody.0", host.name);
        let foreign = Self {
            host,
            containers: vec![plain, other, named],
            network: name("net"),
            volume: name("volume"),
        };
        host.docker(&["network", "create", &foreign.network]);
        host.docker(&["volume", "create", &foreign.volume]);
        let labels =
            ["app=web".to_owned(), format!("dev.orchestra.cluster={}-other", host.name), String::new()];
        for (name, label) in foreign.containers.iter().zip(&labels) {
            let mut args = vec!["run", "--detach", "--name", name];
            if !label.is_empty() {
                args.extend(["--label", label]);
            }
            let image = host.image();
            args.extend([&image, "/bin/httpd", "-f", "-p", "8080"]);
            host.docker(&args);
        }
        foreign
    }

    fn starts(&self) -> String {
        let mut args = vec!["inspect", "--format", "{{.Id}} {{.State.Running}} {{.State.StartedAt}}"];
        args.extend(self.containers.iter().map(String::as_str));
        self.host.docker(&args)
    }

    fn has_all(&self) -> bool {
        self.host.docker(&["network", "ls", "--format", "{{.Name}}"]).contains(&self.network)
            && self.host.docker(&["volume", "ls", "--format", "{{.Name}}"]).contains(&self.volume)
    }
}

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        for name in &self.containers {
            let _removed = self.host.try_docker(&["rm", "--force", name]);
        }
        let _removed = self.host.try_docker(&["network", "rm", &self.network]);
        let _removed = self.host.try_docker(&["volume", "rm", &self.volume]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_human_removed_is_replaced_and_what_a_human_started_is_never_touched() {
    let Some(host) = Host::open("humans").await else { return };
    let foreign = Foreign::make(&host);
    let before = foreign.starts();
    let cluster = host.cluster().await;
    cluster.apply_yaml(&host.web(2)).await.unwrap();
    settled(&cluster, 2).await;

    let first = host.containers();
    let container = first.iter().find(|name| name.ends_with(".web.0")).unwrap().clone();
    host.docker(&["rm", "--force", &container]);
    let replaced = |_: &()| (host.running().len() == 4 && !host.running().contains(&container)).then_some(());
    eventually("the removed container is replaced", || replaced(&())).await;
    settled(&cluster, 2).await;

    let sandbox = host.running().into_iter().find(|name| !name.contains(".web.")).unwrap();
    host.docker(&["rm", "--force", &sandbox]);
    let replaced = || (host.running().len() == 4 && !host.running().contains(&sandbox)).then_some(());
    eventually("the removed sandbox is replaced, with its container", replaced).await;
    settled(&cluster, 2).await;

    cluster.stop().await;
    assert_eq!(host.containers().len(), 0, "{:?}", host.containers());
    assert_eq!(foreign.starts(), before, "what a human started runs on");
    assert!(foreign.has_all());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_the_engine_has_what_the_objects_say() {
    let Some(host) = Host::open("rest").await else { return };
    let sets = || {
        let networks = host.docker(&["network", "ls", "--quiet", "--filter", "label=dev.orchestra.cluster"]);
        (networks, host.docker(&["volume", "ls", "--quiet", "--filter", "label=dev.orchestra.cluster"]))
    };
    let cluster = host.cluster().await;
    for replicas in [3, 8, 1] {
        cluster.apply_yaml(&host.web(replicas)).await.unwrap();
        settled(&cluster, replicas).await;
        eventually("the pods that went are gone", || {
            (host.containers().len() == 2 * replicas as usize).then_some(())
        })
        .await;
        let pods = pods(&cluster).await;
        assert_eq!(host.containers(), first_of(&host, &pods));
        assert_eq!(host.running(), host.containers());
    }
    let changed = host.web(1).replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 2");
    cluster.apply_yaml(&changed).await.unwrap();
    settled(&cluster, 1).await;
    eventually("the old version is gone", || (host.containers().len() == 2).then_some(())).await;
    assert_eq!(host.containers(), first_of(&host, &pods(&cluster).await));
    assert_eq!(sets(), (String::new(), String::new()), "no networks and volumes are made");
    cluster.delete::<Deployment>("web", &DeleteOptions::default()).await.unwrap();
    eventually("nothing is left", || host.containers().is_empty().then_some(())).await;
    cluster.stop().await;
}
