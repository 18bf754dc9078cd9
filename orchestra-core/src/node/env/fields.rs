//! Fields of a pod and resources of its containers, as text.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::ConfigError;
use crate::model::{Container, Labels, Node, Pod, Quantity, ResourceFieldSelector};

/// The field of `pod` at `path`, as the downward API has them.
pub(crate) fn field_value(pod: &Pod, path: &str, node: Option<&Node>) -> Result<String, ConfigError> {
    let meta = &pod.metadata;
    let ip = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    if let Some(key) = subscript(path, "metadata.labels") {
        return Ok(meta.labels.value(key).unwrap_or_default().to_owned());
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Ok(meta.annotations.value(key).unwrap_or_default().to_owned());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.to_string(),
        "metadata.labels" => map(&meta.labels),
        "metadata.annotations" => map(&meta.annotations),
        "spec.nodeName" => pod.node_name.as_deref().unwrap_or_default().to_owned(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.podIP" => ip(pod.status.pod_ip),
        "status.podIPs" => pod.status.pod_ips.iter().map(|p| p.ip.to_string()).collect::<Vec<_>>().join(","),
        "status.hostIP" | "status.hostIPs" => match pod.status.host_ip {
            Some(host) => host.to_string(),
            None => host_ip(node),
        },
        _ => return Err(ConfigError(format!("`{path}` is no field that pods can be given"))),
    })
}

fn host_ip(node: Option<&Node>) -> String {
    let addresses = node.map(|n| n.status.addresses.as_slice()).unwrap_or_default();
    let internal = addresses.iter().find(|a| a.type_ == crate::model::NodeAddressType::InternalIP);
    internal.map(|a| a.address.clone()).unwrap_or_default()
}

/// `key` of `field['key']`.
fn subscript<'a>(path: &'a str, field: &str) -> Option<&'a str> {
    path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")
}

/// One line for each entry, its value in quotes, as Kubernetes writes them into files.
fn map(entries: &Labels) -> String {
    let mut text = String::new();
    for (key, value) in entries.iter() {
        // Writing to a String does not fail.
        let _ok = writeln!(text, "{key}={value:?}");
    }
    text
}

/// A container's `limits.cpu` and the like, counted in the selector's unit and rounded up. Without a limit it is
/// what the node has.
pub(crate) fn resource_value(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    node: Option<&Node>,
) -> Result<String, ConfigError> {
    let named = pod.spec.container(&selector.container_name);
    let container = if selector.container_name.is_empty() { own } else { named };
    let Some(container) = container else {
        let name = &selector.container_name;
        return Err(ConfigError(format!("there is no container `{name}` to take a resource of")));
    };
    let Some((list, resource)) = selector.resource.split_once('.') else {
        return Err(ConfigError(format!("`{}` is neither limits. nor requests.", selector.resource)));
    };
    let allocatable = || node.and_then(|n| n.status.allocatable.get(resource)).copied();
    let amount = match list {
        "limits" => container.resources.limits.get(resource).copied().or_else(allocatable),
        "requests" => container.resources.requests.get(resource).copied(),
        _ => return Err(ConfigError(format!("`{}` is neither limits. nor requests.", selector.resource))),
    };
    let amount = amount.unwrap_or(Quantity::ZERO);
    let unit = selector.divisor.filter(|d| !d.is_zero()).unwrap_or(Quantity::from_units(1));
    Ok(count(amount, unit).to_string())
}

/// How many `unit`s there are in `amount`, rounded up. Exact in thousandths, which is what divisors are.
fn count(amount: Quantity, unit: Quantity) -> i64 {
    if unit.milli() % 1000 == 0 {
        let (amount, unit) = (amount.value(), (unit.milli() / 1000).max(1));
        return amount.div_euclid(unit) + i64::from(amount.rem_euclid(unit) > 0);
    }
    let (amount, unit) = (amount.milli(), unit.milli().max(1));
    amount.div_euclid(unit) + i64::from(amount.rem_euclid(unit) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PodSpec;

    fn pod() -> Pod {
        let container = Container::new("web", "img").limit("cpu", "1500m").request("memory", "200Mi");
        Pod::new("web-1").namespace("shop").label("app", "a \"b\"").node("n1").spec(PodSpec::new(container))
    }

    #[test]
    fn fields() {
        let pod = pod();
        for (path, expected) in [
            ("metadata.name", "web-1"),
            ("metadata.labels['app']", "a \"b\""),
            ("metadata.labels['no']", ""),
            ("metadata.labels", "app=\"a \\\"b\\\"\"\n"),
            ("spec.nodeName", "n1"),
            ("status.podIP", ""),
        ] {
            assert_eq!(field_value(&pod, path, None).unwrap(), expected, "{path}");
        }
        assert!(field_value(&pod, "spec.containers", None).is_err());
    }

    #[test]
    fn resources_are_counted_and_rounded_up() {
        let (pod, node) = (pod(), Node::new("n1").capacity("memory", "4Gi"));
        let own = &pod.spec.containers[0];
        for (resource, divisor, expected) in [
            ("limits.cpu", None, "2"),
            ("limits.cpu", Some("1m"), "1500"),
            ("requests.memory", Some("1Mi"), "200"),
            ("limits.memory", Some("1Gi"), "4"),
            ("requests.cpu", None, "0"),
        ] {
            let selector = ResourceFieldSelector {
                resource: resource.to_owned(),
                divisor: divisor.map(|d: &str| d.parse().unwrap()),
                ..ResourceFieldSelector::default()
            };
            let value = resource_value(&pod, Some(own), &selector, Some(&node)).unwrap();
            assert_eq!(value, expected, "{resource} {divisor:?}");
        }
    }
}
