//! Building services in code.

use super::{
    Labels, ObjectMeta, PortRef, Protocol, Service, ServicePort, ServiceSpec, ServiceType, SessionAffinity,
};

impl Service {
    /// A service for the pods labelled `app: <name>`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let selector = Labels::from([("app", name.as_str())]);
        let spec = ServiceSpec { selector, ..ServiceSpec::default() };
        Self { metadata: ObjectMeta::named(name), spec, ..Self::default() }
    }

    /// Puts it into a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = namespace.into();
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.labels.insert(key.into(), value.into());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.annotations.insert(key.into(), value.into());
        self
    }

    /// Chooses the pods with these labels instead.
    #[must_use]
    pub fn selector(mut self, labels: impl Into<Labels>) -> Self {
        self.spec.selector = labels.into();
        self
    }

    /// Adds a TCP port, which leads to the same port of the pods.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.spec.ports.push(ServicePort::new(port));
        self
    }

    /// Adds a TCP port with a name, which leads to the same port of the pods. A service with several ports
    /// needs their names.
    #[must_use]
    pub fn named_port(mut self, name: impl Into<String>, port: u16) -> Self {
        self.spec.ports.push(ServicePort { name: name.into(), ..ServicePort::new(port) });
        self
    }

    /// Lets the port that was added last lead to another port of the pods, by number or by name. Without one
    /// before, it adds a port of that number.
    #[must_use]
    pub fn target_port(mut self, target: impl Into<PortRef>) -> Self {
        let target = target.into();
        if self.spec.ports.is_empty() {
            let port = if let PortRef::Number(number) = target { number } else { 0 };
            self.spec.ports.push(ServicePort::new(port));
        }
        if let Some(port) = self.spec.ports.last_mut() {
            port.target_port = Some(target);
        }
        self
    }

    /// Sets the transport protocol of the port that was added last.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        if let Some(port) = self.spec.ports.last_mut() {
            port.protocol = protocol;
        }
        self
    }

    /// Sets how it is reached.
    #[must_use]
    pub fn service_type(mut self, type_: ServiceType) -> Self {
        self.spec.type_ = type_;
        self
    }

    /// Gives it no address of its own: its name leads to its pods' addresses.
    #[must_use]
    pub fn headless(mut self) -> Self {
        self.spec.cluster_ip = ServiceSpec::HEADLESS.to_owned();
        self
    }

    /// Sends requests from one address to one pod.
    #[must_use]
    pub fn sticky(mut self) -> Self {
        self.spec.session_affinity = SessionAffinity::ClientIP;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_reads_well() {
        let web = Service::new("web").port(80).target_port(8080);
        assert_eq!(web.spec.selector.value("app"), Some("web"));
        assert_eq!((web.spec.ports[0].port, web.spec.ports[0].target()), (80, PortRef::Number(8080)));
        let two =
            Service::new("web").named_port("http", 80).target_port("web").named_port("admin", 81).headless();
        assert_eq!(two.spec.port(&"http".into()).map(ServicePort::target), Some(PortRef::from("web")));
        assert_eq!(two.spec.port(&81.into()).map(ServicePort::target), Some(PortRef::Number(81)));
        assert!(two.spec.is_headless());
    }
}
