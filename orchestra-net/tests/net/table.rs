//! Services and slices put together, in whatever order they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orchestra_core::balance::{Endpoint, Outcome, RoundRobin};
use orchestra_core::engine::Tasks;
use orchestra_core::model::{
    Endpoint as Listed, EndpointConditions, EndpointPort, EndpointSlice, ObjectReference, Service,
    ServiceType, Uid,
};
use orchestra_net::{
    Answer, BALANCER_ANNOTATION, DataPlaneOptions, PortKey, Question, ServiceTable, UpstreamOptions,
};

fn table() -> ServiceTable {
    ServiceTable::new(DataPlaneOptions::default(), &Tasks::new())
}

fn service() -> Arc<Service> {
    let mut service = Service::new("cart").namespace("shop").named_port("http", 80).named_port("admin", 81);
    service.spec.cluster_ip = "127.0.64.9".to_owned();
    Arc::new(service)
}

fn listed(i: u8, ready: bool) -> Listed {
    Listed {
        addresses: vec![format!("10.0.0.{i}")],
        conditions: EndpointConditions { ready: Some(ready), ..EndpointConditions::default() },
        target_ref: Some(ObjectReference { uid: pod(i), ..ObjectReference::default() }),
        ..Listed::default()
    }
}

fn pod(i: u8) -> Uid {
    format!("pod-{i}").into()
}

fn slice(name: &str, endpoints: &[Listed]) -> Arc<EndpointSlice> {
    let mut slice = EndpointSlice::new(name).namespace("shop").service("cart");
    let port = |name: &str, port| EndpointPort {
        name: name.to_owned(),
        port: Some(port),
        ..EndpointPort::default()
    };
    slice.ports = vec![port("http", 8080), port("admin", 9090)];
    slice.endpoints = endpoints.to_vec();
    Arc::new(slice)
}

/// The last numbers of the addresses of a port's endpoints, and their port.
fn endpoints(table: &ServiceTable, port: impl Into<PortKey>) -> Vec<String> {
    let mut ids: Vec<_> = table.upstream("shop", "cart", &port.into()).endpoints();
    ids.sort_by(|a: &Endpoint, b| a.id.cmp(&b.id));
    ids.into_iter().map(|endpoint| format!("{:?}", endpoint.id)).collect()
}

#[tokio::test]
async fn slices_before_their_service_and_after_it_are_the_same() {
    let (one, two) = (table(), table());
    let early = one.upstream("shop", "cart", &PortKey::First);
    one.apply_slice(&slice("cart-0", &[listed(1, true), listed(2, false)]));
    assert!(early.endpoints().is_empty(), "nobody knows its ports yet");
    one.apply_service(&service());
    two.apply_service(&service());
    two.apply_slice(&slice("cart-0", &[listed(1, true), listed(2, false)]));
    for table in [&one, &two] {
        assert_eq!(endpoints(table, "http"), ["pod-1@10.0.0.1:8080"]);
        assert_eq!(endpoints(table, 81), ["pod-1@10.0.0.1:9090"]);
        assert!(endpoints(table, "other").is_empty());
    }
    assert_eq!(early.endpoints().len(), 1);
    let (by_name, by_number) =
        (two.upstream("shop", "cart", &"http".into()), two.upstream("shop", "cart", &80.into()));
    assert!(Arc::ptr_eq(&by_name, &by_number), "names of one port share its endpoints");
    two.apply_slice(&slice("cart-1", &[listed(3, true)]));
    assert_eq!(endpoints(&two, "http").len(), 2);
    two.remove_slice("shop", "cart-0");
    assert_eq!(endpoints(&two, "http"), ["pod-3@10.0.0.3:8080"]);
    two.remove_service("shop", "cart");
    assert!(by_name.endpoints().is_empty() && two.listeners().is_empty());
    two.apply_service(&service());
    assert_eq!(by_name.endpoints().len(), 1, "whoever has it gets on with the new one");
}

#[tokio::test]
async fn names_that_nobody_uses_any_more_are_forgotten_unless_something_is_there() {
    let table = table();
    let held = table.upstream("shop", "cart", &80.into());
    table.apply_slice(&slice("early", &[listed(1, true)]));
    table.remove_slice("shop", "early");
    drop(table.upstream("shop", "listed", &80.into()));
    let of_listed = (*slice("listed-0", &[listed(2, true)])).clone().service("listed");
    table.apply_slice(&Arc::new(of_listed));
    let names = |table: &ServiceTable| -> Vec<String> {
        table.upstreams().iter().map(|upstream| upstream.name().to_string()).collect()
    };
    let come_and_go = || {
        for i in 0..1000 {
            drop(table.upstream("shop", &format!("never-{i}"), &80.into()));
            assert!(table.upstreams().len() < 10, "{:?}", names(&table));
        }
    };
    come_and_go();
    assert!(names(&table).contains(&"shop/listed:80".to_owned()), "its slices are there");
    table.apply_slice(&slice("cart-0", &[listed(1, true)]));
    table.apply_service(&service());
    assert_eq!(held.endpoints().len(), 1, "whoever has one gets on with the service that comes");
    table.remove_slice("shop", "cart-0");
    table.remove_service("shop", "cart");
    drop(held);
    come_and_go();
    assert!(!names(&table).contains(&"shop/cart:80".to_owned()), "gone with the last who had it");
}

#[tokio::test]
async fn a_slice_that_changes_its_service_leaves_the_old_one() {
    let table = table();
    table.apply_service(&service());
    table.apply_slice(&slice("a", &[listed(1, true)]));
    let mut moved = (*slice("a", &[listed(1, true)])).clone();
    moved = moved.service("other");
    table.apply_slice(&Arc::new(moved));
    assert!(endpoints(&table, "http").is_empty());
    table.apply_slice(&slice("a", &[listed(1, true)]));
    assert_eq!(endpoints(&table, "http").len(), 1);
}

#[tokio::test]
async fn a_drained_pod_stays_out_of_every_service_also_of_one_that_comes_later() {
    let table = table();
    // Before anything lists it: an update under way will.
    table.drain(&pod(1)).await;
    table.apply_service(&service());
    table.apply_slice(&slice("a", &[listed(1, true), listed(2, true)]));
    assert_eq!(endpoints(&table, "http"), ["pod-2@10.0.0.2:8080"]);
    assert_eq!(endpoints(&table, "admin"), ["pod-2@10.0.0.2:9090"]);
    // Listed by two slices, in the moment that it goes from one to the other.
    table.drain(&pod(2)).await;
    assert!(endpoints(&table, "http").is_empty());
    table.apply_slice(&slice("b", &[listed(2, true)]));
    table.apply_slice(&slice("a", &[listed(1, true)]));
    assert!(endpoints(&table, "http").is_empty());
    // When nothing lists them any more they are forgotten.
    table.remove_slice("shop", "a");
    table.remove_slice("shop", "b");
    table.apply_slice(&slice("a", &[listed(1, true), listed(2, true)]));
    assert_eq!(endpoints(&table, "http").len(), 2);
}

#[tokio::test]
async fn a_drain_waits_for_requests_of_any_protocol() {
    let table = table();
    table.apply_service(&service());
    table.apply_slice(&slice("a", &[listed(1, true)]));
    let upstream = table.upstream("shop", "cart", &PortKey::First);
    let mut ticket = upstream.pick(&[], None).unwrap();
    assert_eq!(ticket.id().pod, pod(1));
    let pod = pod(1);
    let drain = table.drain(&pod);
    tokio::pin!(drain);
    assert!(futures_util::poll!(drain.as_mut()).is_pending());
    assert!(upstream.pick(&[], None).is_none());
    ticket.ended(Outcome::Success);
    drop(ticket);
    drain.await;
}

#[tokio::test]
async fn a_drain_waits_for_what_a_pod_got_before_its_service_selected_others() {
    for also_gone in [false, true] {
        let table = table();
        table.apply_service(&service());
        table.apply_slice(&slice("s", &[listed(1, true)]));
        let upstream = table.upstream("shop", "cart", &80.into());
        let ticket = upstream.pick(&[], None).unwrap();
        drop(upstream);
        match also_gone {
            false => table.apply_slice(&slice("s", &[listed(2, true)])),
            true => {
                table.remove_slice("shop", "s");
                table.remove_service("shop", "cart");
            }
        }
        let one = pod(1);
        let mut drain = std::pin::pin!(table.drain(&one));
        assert!(futures_util::poll!(drain.as_mut()).is_pending(), "gone: {also_gone}");
        // Also where it is asked for once more.
        drain.set(table.drain(&one));
        assert!(futures_util::poll!(drain.as_mut()).is_pending(), "again, gone: {also_gone}");
        drop(ticket);
        crate::soon("the drain", drain).await;
    }
}

#[tokio::test]
async fn a_headless_service_leads_to_its_pods_until_they_drain() {
    let table = table();
    let mut headless = (*service()).clone().headless();
    headless.spec.cluster_ips.clear();
    table.apply_service(&Arc::new(headless));
    table.apply_slice(&slice("a", &[listed(1, true), listed(2, false), listed(3, true)]));
    let addresses = |table: &ServiceTable| match table
        .zone()
        .lookup("cart.shop.svc.cluster.local", Question::Addresses)
    {
        Answer::Addresses(addresses) => addresses.iter().map(ToString::to_string).collect(),
        other => vec![format!("{other:?}")],
    };
    assert_eq!(addresses(&table), ["10.0.0.1", "10.0.0.3"]);
    table.drain(&pod(3)).await;
    assert_eq!(addresses(&table), ["10.0.0.1"]);
    assert!(table.listeners().is_empty());
    let mut external = (*service()).clone().service_type(ServiceType::ExternalName);
    external.spec.external_name = "cart.example".to_owned();
    table.apply_service(&Arc::new(external));
    assert_eq!(addresses(&table), ["Alias(\"cart.example\")"]);
    table.remove_service("shop", "cart");
    assert_eq!(addresses(&table), ["NoName"]);
}

#[tokio::test]
async fn a_service_chooses_its_balancer_at_any_time() {
    let table = table();
    table.apply_service(&service());
    table.apply_slice(&slice("a", &[listed(1, true), listed(2, true)]));
    let upstream = table.upstream("shop", "cart", &PortKey::First);
    let turn = || upstream.pick(&[], None).unwrap().id().pod.to_string();
    let round_robin = (*service()).clone().annotation(BALANCER_ANNOTATION, "round-robin");
    table.apply_service(&Arc::new(round_robin));
    let turns: Vec<String> = (0..8).map(|_| turn()).collect();
    assert!(turns.windows(2).all(|two| two[0] != two[1]), "{turns:?}");
    table.apply_service(&Arc::new((*service()).clone().sticky()));
    let sticky: Vec<String> =
        (0..8).map(|_| upstream.pick(&[], Some(7)).unwrap().id().pod.to_string()).collect();
    assert!(sticky.windows(2).all(|two| two[0] == two[1]), "{sticky:?}");
}

#[tokio::test]
async fn a_balancer_stays_while_what_it_is_chosen_by_stays() {
    let made = Arc::<AtomicUsize>::default();
    let counting = Arc::clone(&made);
    let options = DataPlaneOptions::default().with_balancer(move |_service| {
        counting.fetch_add(1, Ordering::SeqCst);
        Box::<RoundRobin>::default()
    });
    let own = ServiceTable::new(options, &Tasks::new());
    let named = table();
    let round_robin = (*service()).clone().annotation(BALANCER_ANNOTATION, "round-robin");
    let turn = |table: &ServiceTable| {
        let upstream = table.upstream("shop", "cart", &PortKey::First);
        upstream.pick(&[], None).unwrap().id().pod.clone()
    };
    for table in [&own, &named] {
        table.apply_service(&Arc::new(round_robin.clone()));
        table.apply_slice(&slice("a", &[listed(1, true), listed(2, true), listed(3, true)]));
        assert_eq!(turn(table), pod(1));
    }
    assert_eq!(made.load(Ordering::SeqCst), 1);
    let applied = "kubectl.kubernetes.io/last-applied-configuration";
    let again = round_robin.clone().annotation(applied, "{}");
    own.apply_service(&Arc::new(again.clone()));
    assert_eq!(made.load(Ordering::SeqCst), 1, "it says nothing that was not there");
    named.apply_service(&Arc::new(again.annotation("team", "carts").label("team", "carts")));
    assert_eq!((turn(&own), turn(&named)), (pod(2), pod(2)), "they go on where they were");
    own.apply_service(&Arc::new(round_robin.annotation("team", "carts")));
    assert_eq!((made.load(Ordering::SeqCst), turn(&own)), (2, pod(1)), "it may look at that");
}

#[tokio::test]
async fn the_application_chooses_how_each_service_is_asked_whenever_it_changes() {
    let table = ServiceTable::new(
        DataPlaneOptions::default().with_upstream_of(|service| {
            let most = service.metadata.labels.value("most").and_then(|most| most.parse().ok());
            UpstreamOptions::default().with_max_in_flight(most)
        }),
        &Tasks::new(),
    );
    let upstream = table.upstream("shop", "cart", &PortKey::First);
    table.apply_slice(&slice("a", &[listed(1, true)]));
    let places = |most: &str| {
        let service =
            if most.is_empty() { service() } else { Arc::new((*service()).clone().label("most", most)) };
        table.apply_service(&service);
        let tickets: Vec<_> = (0..9).map_while(|_| upstream.pick(&[], None)).collect();
        tickets.len()
    };
    assert_eq!(["1", "3", "", "2"].map(places), [1, 3, 9, 2]);
}

#[tokio::test]
async fn endpoints_stay_with_the_name_of_their_port_when_its_number_changes() {
    let table = table();
    let early = table.upstream("shop", "cart", &PortKey::First);
    table.apply_service(&service());
    table.apply_slice(&slice("s", &[listed(1, true)]));
    let [first, admin] = [PortKey::First, 81.into()].map(|port| table.upstream("shop", "cart", &port));
    let ports = |numbers: [u16; 2]| {
        let mut changed = Service::clone(&service());
        let ports = changed.spec.ports.iter_mut();
        ports.zip(numbers).for_each(|(port, number)| port.port = number);
        table.apply_service(&Arc::new(changed));
        [&early, &first, &admin]
            .map(|upstream| upstream.endpoints().first().map(|found| found.id.address.port()))
    };
    assert_eq!(ports([82, 81]), [Some(8080), Some(8080), Some(9090)]);
    assert!(Arc::ptr_eq(&table.upstream("shop", "cart", &82.into()), &first), "it is the same port");
    // A number that is another port's now is that one's.
    assert_eq!(ports([81, 82]), [Some(8080), Some(9090), Some(8080)]);
    // Nobody has asked for what is at 83.
    drop(table.upstream("shop", "cart", &83.into()));
    assert_eq!(table.upstreams().len(), 4);
    ports([81, 82]);
    assert_eq!(table.upstreams().len(), 3, "a port that is not there is forgotten");
}
