//! Building deployments and replica sets in code. Setters of lists and maps add to them.

use std::fmt::Display;

use super::{
    Container, Deployment, IntOrPercent, LabelSelector, ObjectMeta, PodSpec, PodTemplateSpec, Probe,
    Quantity, ReplicaSet, StrategyType,
};

/// The label that names the pods of something that was built in code, unless told otherwise.
const APP: &str = "app";

/// The setters that everything with a template of pods has.
macro_rules! workload {
    ($type:ident) => {
        impl $type {
            /// One pod, labelled `app: <name>`, and chosen by that label.
            #[must_use]
            pub fn new(name: impl Into<String>) -> Self {
                let name = name.into();
                let mut workload = Self { metadata: ObjectMeta::named(name.as_str()), ..Self::default() };
                workload.spec.selector = LabelSelector::labels([(APP, name.as_str())]);
                workload.spec.template.metadata.labels.insert(APP.to_owned(), name);
                workload
            }

            /// Puts it into a namespace.
            #[must_use]
            pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
                self.metadata.namespace = namespace.into();
                self
            }

            /// Adds a label to it and to its pods. The selector stays.
            #[must_use]
            pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                let (key, value) = (key.into(), value.into());
                self.metadata.labels.insert(key.clone(), value.clone());
                self.spec.template.metadata.labels.insert(key, value);
                self
            }

            /// Adds an annotation to it. Its pods don't get it.
            #[must_use]
            pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                self.metadata.annotations.insert(key.into(), value.into());
                self
            }

            /// Adds an annotation to its pods.
            #[must_use]
            pub fn pod_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                self.spec.template.metadata.annotations.insert(key.into(), value.into());
                self
            }

            /// Chooses its pods by these labels instead of `app: <name>`, and gives them to the pods.
            #[must_use]
            pub fn selector(mut self, labels: impl Into<super::Labels>) -> Self {
                let labels = labels.into();
                for key in self.spec.selector.match_labels.keys() {
                    self.spec.template.metadata.labels.remove(key);
                }
                for (key, value) in labels.iter() {
                    self.spec.template.metadata.labels.insert(key.clone(), value.clone());
                }
                self.spec.selector = LabelSelector::labels(labels);
                self
            }

            /// Sets how many pods there are.
            #[must_use]
            pub fn replicas(mut self, replicas: u32) -> Self {
                self.spec.replicas = replicas;
                self
            }

            /// Sets how long a pod must have been ready to count as available, in seconds.
            #[must_use]
            pub fn min_ready(mut self, seconds: u32) -> Self {
                self.spec.min_ready_seconds = seconds;
                self
            }

            /// Sets what the pods are made of, but for their labels and annotations.
            #[must_use]
            pub fn pod(mut self, spec: PodSpec) -> Self {
                self.spec.template.spec = spec.into();
                self
            }

            /// Sets what the pods are made of.
            #[must_use]
            pub fn template(mut self, template: PodTemplateSpec) -> Self {
                self.spec.template = template;
                self
            }

            /// Adds a container to the pods.
            #[must_use]
            pub fn container(mut self, container: Container) -> Self {
                self.spec.template.spec_mut().containers.push(container);
                self
            }

            /// The pods' first container, made where there is none and named like this object.
            pub fn main_container(&mut self) -> &mut Container {
                let spec = self.spec.template.spec_mut();
                if spec.containers.is_empty() {
                    spec.containers
                        .push(Container { name: self.metadata.name.clone(), ..Container::default() });
                }
                &mut spec.containers[0]
            }

            /// Changes the pods' first container.
            fn main(mut self, change: impl FnOnce(Container) -> Container) -> Self {
                let container = self.main_container();
                *container = change(std::mem::take(container));
                self
            }

            /// Sets the image of the first container.
            #[must_use]
            pub fn image(self, image: impl Into<String>) -> Self {
                self.main(|c| Container { image: image.into(), ..c })
            }

            /// Sets the program of the first container, in place of its image's.
            #[must_use]
            pub fn command<S: Into<String>>(self, command: impl IntoIterator<Item = S>) -> Self {
                self.main(|c| c.command(command))
            }

            /// Sets the arguments of the first container's program.
            #[must_use]
            pub fn args<S: Into<String>>(self, args: impl IntoIterator<Item = S>) -> Self {
                self.main(|c| c.args(args))
            }

            /// Adds an environment variable to the first container.
            #[must_use]
            pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.main(|c| c.env(name, value))
            }

            /// Gives all entries of a ConfigMap to the first container as environment variables.
            #[must_use]
            pub fn env_from_config_map(self, name: impl Into<String>) -> Self {
                self.main(|c| c.env_from_config_map(name))
            }

            /// Gives all entries of a Secret to the first container as environment variables.
            #[must_use]
            pub fn env_from_secret(self, name: impl Into<String>) -> Self {
                self.main(|c| c.env_from_secret(name))
            }

            /// Adds a TCP port to the first container.
            #[must_use]
            pub fn port(self, port: u16) -> Self {
                self.main(|c| c.port(port))
            }

            /// Adds a TCP port with a name to the first container.
            #[must_use]
            pub fn named_port(self, name: impl Into<String>, port: u16) -> Self {
                self.main(|c| c.named_port(name, port))
            }

            /// Sets what the first container is sure to get of a resource: `.request("cpu", "250m")`.
            ///
            /// # Panics
            /// Where the amount is not a quantity.
            #[must_use]
            pub fn request<Q: TryInto<Quantity, Error: Display>>(self, resource: &str, amount: Q) -> Self {
                self.main(|c| c.request(resource, amount))
            }

            /// Sets what the first container may have of a resource at most: `.limit("memory", "64Mi")`.
            ///
            /// # Panics
            /// Where the amount is not a quantity.
            #[must_use]
            pub fn limit<Q: TryInto<Quantity, Error: Display>>(self, resource: &str, amount: Q) -> Self {
                self.main(|c| c.limit(resource, amount))
            }

            /// Sets how the first container is asked whether it takes requests.
            #[must_use]
            pub fn readiness(self, probe: Probe) -> Self {
                self.main(|c| c.readiness(probe))
            }

            /// Sets how the first container is asked whether it works or must be started anew.
            #[must_use]
            pub fn liveness(self, probe: Probe) -> Self {
                self.main(|c| c.liveness(probe))
            }

            /// Sets how the first container is asked whether it has started.
            #[must_use]
            pub fn startup(self, probe: Probe) -> Self {
                self.main(|c| c.startup(probe))
            }

            /// Sets how long the pods may take to end, in seconds.
            #[must_use]
            pub fn grace_period(mut self, seconds: u64) -> Self {
                self.spec.template.spec_mut().termination_grace_period_seconds = seconds;
                self
            }
        }
    };
}

workload!(Deployment);
workload!(ReplicaSet);

impl Deployment {
    /// Lets an update have so many pods more than desired: `2`, or a share, rounded up.
    #[must_use]
    pub fn max_surge(mut self, pods: impl Into<IntOrPercent>) -> Self {
        self.spec.strategy.rolling_update.get_or_insert_default().max_surge = pods.into();
        self
    }

    /// Lets an update have so many available pods fewer than desired: `2`, or a share, rounded down.
    #[must_use]
    pub fn max_unavailable(mut self, pods: impl Into<IntOrPercent>) -> Self {
        self.spec.strategy.rolling_update.get_or_insert_default().max_unavailable = pods.into();
        self
    }

    /// Ends all old pods before new ones start.
    #[must_use]
    pub fn recreate(mut self) -> Self {
        self.spec.strategy.type_ = StrategyType::Recreate;
        self.spec.strategy.rolling_update = None;
        self
    }

    /// Sets how long a rollout may go without progress before it counts as failed, in seconds.
    #[must_use]
    pub fn progress_deadline(mut self, seconds: u32) -> Self {
        self.spec.progress_deadline_seconds = seconds;
        self
    }

    /// Sets how many old versions are kept to go back to.
    #[must_use]
    pub fn revision_history(mut self, versions: u32) -> Self {
        self.spec.revision_history_limit = versions;
        self
    }

    /// Lets changes of the template wait.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.spec.paused = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_reads_well_and_hangs_together() {
        let web = Deployment::new("web")
            .namespace("shop")
            .image("shop/web:1")
            .replicas(3)
            .env("COLOUR", "blue")
            .port(8080)
            .label("tier", "front")
            .readiness(Probe::http("/ready", 8080))
            .max_surge(1)
            .max_unavailable(0);
        let pod = &web.spec.template;
        assert!(web.spec.selector.matches(&pod.metadata.labels));
        assert_eq!(pod.metadata.labels.value("tier"), Some("front"));
        assert_eq!(web.spec.selector.match_labels.len(), 1);
        assert_eq!(pod.spec.containers.len(), 1);
        let container = &pod.spec.containers[0];
        assert_eq!((container.name.as_str(), container.image.as_str()), ("web", "shop/web:1"));
        assert_eq!(web.spec.strategy.rolling().max_surge, IntOrPercent::Int(1));
    }

    #[test]
    fn another_selector_takes_the_place_of_the_first() {
        let web = ReplicaSet::new("web").selector([("part", "web")]);
        assert_eq!(web.spec.template.metadata.labels, super::super::Labels::from([("part", "web")]));
        assert!(web.spec.selector.matches(&web.spec.template.metadata.labels));
    }
}
