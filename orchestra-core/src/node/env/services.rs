//! The addresses of services as environment variables, as Kubernetes and, before it, Docker's links have them.

use std::sync::Arc;

use crate::model::Service;

/// The variables for `services`, which are those of the pod's namespace, in order.
pub(crate) fn service_env(services: &[Arc<Service>]) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for service in services {
        let (spec, address) = (&service.spec, service.spec.cluster_ip.as_str());
        let Some(first) = spec.ports.first() else { continue };
        if address.is_empty() || spec.is_headless() {
            continue;
        }
        let name = service.metadata.name.to_uppercase().replace('-', "_");
        let mut set = |suffix: &str, value: String| env.push((format!("{name}_{suffix}"), value));
        set("SERVICE_HOST", address.to_owned());
        set("SERVICE_PORT", first.port.to_string());
        for port in spec.ports.iter().filter(|p| !p.name.is_empty()) {
            let suffix = port.name.to_uppercase().replace('-', "_");
            set(&format!("SERVICE_PORT_{suffix}"), port.port.to_string());
        }
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        for (i, port) in spec.ports.iter().enumerate() {
            let protocol = port.protocol.to_string();
            let lower = protocol.to_lowercase();
            let url = format!("{lower}://{host}:{}", port.port);
            if i == 0 {
                set("PORT", url.clone());
            }
            let prefix = format!("PORT_{}_{protocol}", port.port);
            set(&prefix, url);
            set(&format!("{prefix}_PROTO"), lower);
            set(&format!("{prefix}_PORT"), port.port.to_string());
            set(&format!("{prefix}_ADDR"), address.to_owned());
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ObjectMeta, ServicePort, ServiceSpec};

    #[test]
    fn variables_of_a_service() {
        let port = |name: &str, port| ServicePort { name: name.to_owned(), ..ServicePort::new(port) };
        let service = |name: &str, ip: &str| Service {
            metadata: ObjectMeta::named(name),
            spec: ServiceSpec {
                cluster_ip: ip.to_owned(),
                ports: vec![port("http", 80), port("admin-ui", 81)],
                ..ServiceSpec::default()
            },
            ..Service::default()
        };
        let env = service_env(&[
            service("web-shop", "10.0.0.7").into(),
            service("headless", ServiceSpec::HEADLESS).into(),
            service("unborn", "").into(),
        ]);
        let names: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            names[..4],
            [
                "WEB_SHOP_SERVICE_HOST=10.0.0.7",
                "WEB_SHOP_SERVICE_PORT=80",
                "WEB_SHOP_SERVICE_PORT_HTTP=80",
                "WEB_SHOP_SERVICE_PORT_ADMIN_UI=81"
            ]
        );
        assert!(names.contains(&"WEB_SHOP_PORT=tcp://10.0.0.7:80".to_owned()));
        assert!(names.contains(&"WEB_SHOP_PORT_81_TCP_ADDR=10.0.0.7".to_owned()));
        assert!(!names.iter().any(|n| n.starts_with("HEADLESS") || n.starts_with("UNBORN")), "{names:?}");
    }
}
