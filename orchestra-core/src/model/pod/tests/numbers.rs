use proptest::prelude::*;

use super::*;
use crate::model::pod::rules::default_pod_spec;
use crate::model::{
    Condition, ContainerPort, HostPort, Protocol, QosClass, Quantity, ResourceList, Taint, TaintEffect,
    Timestamp,
};

fn cpu(milli: i64) -> Container {
    Container::new("c", "i").request("cpu", Quantity::from_milli(milli))
}

fn total(spec: &PodSpec) -> i64 {
    spec.requests().get("cpu").copied().unwrap_or_default().milli()
}

#[test]
fn requests_count_init_containers_and_sidecars() {
    let both = PodSpec::new(cpu(100)).with_container(cpu(200));
    assert_eq!(total(&both), 300);
    assert_eq!(total(&both.clone().init_container(cpu(250))), 300, "an init container runs alone");
    assert_eq!(total(&both.clone().init_container(cpu(1000))), 1000);
    assert_eq!(total(&both.clone().sidecar(cpu(50))), 350, "a sidecar runs beside the containers");
    assert_eq!(
        total(&both.clone().sidecar(cpu(50)).init_container(cpu(1000))),
        1050,
        "and beside what follows it"
    );
    assert_eq!(
        total(&both.clone().init_container(cpu(1000)).sidecar(cpu(50))),
        1000,
        "but not beside what was before"
    );
    let mut overhead = both;
    overhead.overhead.insert("cpu".into(), Quantity::from_milli(7));
    assert_eq!(total(&overhead), 307);
    assert_eq!(PodSpec::default().requests(), ResourceList::new());
}

proptest! {
    #[test]
    fn requests_cover_every_moment(
        init in prop::collection::vec((0..1000_i64, any::<bool>()), 0..5), main in prop::collection::vec(0..1000_i64, 1..4),
    ) {
        let mut spec = PodSpec::default();
        let (mut sidecars, mut moments) = (0, vec![]);
        for (milli, is_sidecar) in init {
            moments.push(sidecars + milli);
            sidecars += if is_sidecar { milli } else { 0 };
            spec = if is_sidecar { spec.sidecar(cpu(milli)) } else { spec.init_container(cpu(milli)) };
        }
        moments.push(sidecars + main.iter().sum::<i64>());
        spec.containers = main.into_iter().map(cpu).collect();
        prop_assert_eq!(Some(total(&spec)), moments.into_iter().max());
    }
}

#[test]
fn host_ports_of_all_that_goes_on_running() {
    let port = |port| ContainerPort { container_port: 80, host_port: port, ..ContainerPort::default() };
    let with =
        |name: &str, host_port| Container { ports: vec![port(host_port)], ..Container::new(name, "i") };
    let spec = PodSpec::new(with("a", 8080)).sidecar(with("b", 9090)).init_container(with("c", 7070));
    let ports: Vec<u16> = spec.host_ports().map(|p| p.port).collect();
    assert_eq!(ports, [8080, 9090]);
    assert_eq!(PodSpec::new(with("a", 0)).host_ports().count(), 0);
    let on_host = PodSpec { host_network: true, ..PodSpec::new(with("a", 0)) };
    assert_eq!(on_host.host_ports().next().map(|p| p.port), Some(80));
}

#[test]
fn host_ports_conflict_on_the_same_address() {
    let port =
        |ip: Option<&str>, protocol| HostPort { ip: ip.map(|ip| ip.parse().unwrap()), protocol, port: 80 };
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    for (a, b, conflict) in [
        (port(None, tcp), port(None, tcp), true),
        (port(None, tcp), port(None, udp), false),
        (port(None, tcp), port(Some("10.0.0.1"), tcp), true),
        (port(Some("0.0.0.0"), tcp), port(Some("10.0.0.1"), tcp), true),
        (port(Some("10.0.0.2"), tcp), port(Some("10.0.0.1"), tcp), false),
        (port(Some("10.0.0.1"), tcp), port(Some("10.0.0.1"), tcp), true),
        (port(None, tcp), HostPort { port: 81, ..port(None, tcp) }, false),
    ] {
        assert_eq!((a.conflicts_with(&b), b.conflicts_with(&a)), (conflict, conflict), "{a:?} {b:?}");
    }
}

#[test]
fn what_a_pod_says_itself_goes_before_its_containers() {
    let container =
        Container::new("c", "web").request("cpu", "1").request("memory", "64Mi").request("a.b/gpu", "1");
    let mut spec = std::sync::Arc::new(PodSpec::new(container));
    let resources = r#"{"limits": {"cpu": "3", "memory": "1Gi"}, "requests": {"cpu": "2"}}"#;
    std::sync::Arc::make_mut(&mut spec).resources = serde_json::from_str(resources).unwrap();
    default_pod_spec(&mut spec);
    let requests = spec.requests();
    let of = |name: &str| requests[name].to_string();
    assert_eq!((of("cpu"), of("memory"), of("a.b/gpu")), ("2".into(), "64Mi".into(), "1".into()));
    assert_eq!(spec.qos_class(), QosClass::Burstable);
    let spec = std::sync::Arc::make_mut(&mut spec);
    spec.resources.requests = spec.resources.limits.clone();
    assert_eq!(spec.qos_class(), QosClass::Guaranteed);
}

#[test]
fn qos_follows_requests_and_limits() {
    let all = |c: Container| c.limit("cpu", "1").limit("memory", "1Gi");
    for (spec, class) in [
        (PodSpec::new(Container::new("a", "b")), QosClass::BestEffort),
        (PodSpec::new(cpu(1)), QosClass::Burstable),
        (PodSpec::new(all(Container::new("a", "b"))), QosClass::Guaranteed),
        (PodSpec::new(all(cpu(1))), QosClass::Burstable),
        (
            PodSpec::new(all(Container::new("a", "b"))).with_container(Container::new("b", "b")),
            QosClass::Burstable,
        ),
        (PodSpec::new(Container::new("a", "b").limit("gpu.example.com/x", 1)), QosClass::BestEffort),
    ] {
        assert_eq!(spec.qos_class(), class, "{:?}", spec.containers);
    }
}

#[test]
fn tolerations_let_in() {
    let taint = Taint::new("k", "v", TaintEffect::NoSchedule);
    for (toleration, lets_in) in [
        (Toleration::exists("k"), true),
        (Toleration::exists(""), true),
        (Toleration::exists("other"), false),
        (Toleration::equal("k", "v"), true),
        (Toleration::equal("k", "w"), false),
        (Toleration::equal("", "v"), false),
        (Toleration::exists("k").effect(TaintEffect::NoSchedule), true),
        (Toleration::exists("k").effect(TaintEffect::NoExecute), false),
    ] {
        assert_eq!(toleration.tolerates(&taint), lets_in, "{toleration:?}");
    }
    assert_eq!(taint.to_string(), "k=v:NoSchedule");
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let (then, now) = (Timestamp::from_micros(1_000_000), Timestamp::from_micros(2_000_000));
    let mut pod = good();
    assert!(!pod.is_ready() && pod.ready_since().is_none());
    assert!(pod.set_condition(Condition::new("Ready", true, then)));
    assert!(!pod.set_condition(Condition::new("Ready", true, now)), "nothing changed");
    assert!(pod.set_condition(Condition::new("Ready", true, now).reason("Why")));
    assert_eq!((pod.is_ready(), pod.ready_since()), (true, Some(then)));
    assert!(pod.set_condition(Condition::new("Ready", false, now)));
    assert_eq!((pod.is_ready(), pod.ready_since()), (false, None));
    assert_eq!(pod.condition("Ready").unwrap().last_transition_time, Some(now));
    assert_eq!(pod.status.conditions.len(), 1);
}
