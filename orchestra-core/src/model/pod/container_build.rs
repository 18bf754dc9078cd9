//! Building containers in code. Setters of lists and maps add to them.

use std::fmt::Display;

use super::{
    Container, ContainerPort, EnvFromSource, EnvSourceRef, EnvVar, ImagePullPolicy, Lifecycle,
    LifecycleHandler, Probe, VolumeMount,
};
use crate::model::Quantity;
use crate::model::quantity::set_amount;

impl Container {
    /// A container.
    #[must_use]
    pub fn new(name: impl Into<String>, image: impl Into<String>) -> Self {
        Self { name: name.into(), image: image.into(), ..Self::default() }
    }

    /// Sets the program and its first arguments, instead of the image's entry point.
    #[must_use]
    pub fn command<S: Into<String>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the arguments, instead of the image's.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the directory it starts in.
    #[must_use]
    pub fn working_dir(mut self, path: impl Into<String>) -> Self {
        self.working_dir = path.into();
        self
    }

    /// Sets when the image is pulled.
    #[must_use]
    pub fn pull(mut self, policy: ImagePullPolicy) -> Self {
        self.image_pull_policy = Some(policy);
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env_var(EnvVar::new(name, value))
    }

    /// Adds an environment variable whose value comes from elsewhere.
    #[must_use]
    pub fn env_var(mut self, variable: EnvVar) -> Self {
        self.env.push(variable);
        self
    }

    /// Adds all keys of a ConfigMap as environment variables.
    #[must_use]
    pub fn env_from_config_map(mut self, name: impl Into<String>) -> Self {
        let source = EnvSourceRef { name: name.into(), ..EnvSourceRef::default() };
        self.env_from.push(EnvFromSource { config_map_ref: Some(source), ..EnvFromSource::default() });
        self
    }

    /// Adds all keys of a Secret as environment variables.
    #[must_use]
    pub fn env_from_secret(mut self, name: impl Into<String>) -> Self {
        let source = EnvSourceRef { name: name.into(), ..EnvSourceRef::default() };
        self.env_from.push(EnvFromSource { secret_ref: Some(source), ..EnvFromSource::default() });
        self
    }

    /// Adds a TCP port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.ports.push(ContainerPort { container_port: port, ..ContainerPort::default() });
        self
    }

    /// Adds a TCP port with a name.
    #[must_use]
    pub fn named_port(mut self, name: impl Into<String>, port: u16) -> Self {
        self.ports.push(ContainerPort {
            name: name.into(),
            container_port: port,
            ..ContainerPort::default()
        });
        self
    }

    /// Sets what is set aside of a resource.
    ///
    /// # Panics
    /// Where `amount` is text that is not a quantity. Parse what isn't fixed in the program into a [`Quantity`] first.
    #[must_use]
    pub fn request<Q: TryInto<Quantity, Error: Display>>(mut self, name: &str, amount: Q) -> Self {
        set_amount(&mut self.resources.requests, name, amount);
        self
    }

    /// Sets how much of a resource it gets at most.
    ///
    /// # Panics
    /// Where `amount` is text that is not a quantity. Parse what isn't fixed in the program into a [`Quantity`] first.
    #[must_use]
    pub fn limit<Q: TryInto<Quantity, Error: Display>>(mut self, name: &str, amount: Q) -> Self {
        set_amount(&mut self.resources.limits, name, amount);
        self
    }

    /// Mounts the volume `name` at `path`.
    #[must_use]
    pub fn mount(self, name: impl Into<String>, path: impl Into<String>) -> Self {
        self.volume_mount(VolumeMount {
            name: name.into(),
            mount_path: path.into(),
            ..VolumeMount::default()
        })
    }

    /// Adds a mount.
    #[must_use]
    pub fn volume_mount(mut self, mount: VolumeMount) -> Self {
        self.volume_mounts.push(mount);
        self
    }

    /// Sets the liveness probe.
    #[must_use]
    pub fn liveness(mut self, probe: Probe) -> Self {
        self.liveness_probe = Some(probe);
        self
    }

    /// Sets the readiness probe.
    #[must_use]
    pub fn readiness(mut self, probe: Probe) -> Self {
        self.readiness_probe = Some(probe);
        self
    }

    /// Sets the startup probe.
    #[must_use]
    pub fn startup(mut self, probe: Probe) -> Self {
        self.startup_probe = Some(probe);
        self
    }

    /// Sets what is done before its stop signal.
    #[must_use]
    pub fn pre_stop(mut self, handler: LifecycleHandler) -> Self {
        self.lifecycle.get_or_insert_with(Lifecycle::default).pre_stop = Some(handler);
        self
    }

    /// Sets what is done right after its start.
    #[must_use]
    pub fn post_start(mut self, handler: LifecycleHandler) -> Self {
        self.lifecycle.get_or_insert_with(Lifecycle::default).post_start = Some(handler);
        self
    }
}
