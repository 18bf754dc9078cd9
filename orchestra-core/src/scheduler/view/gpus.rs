//! Which share of which GPU of a node is taken.
//!
//! How full a node's GPUs are is a function of its objects: of how many it has, of the pods there, and of the annotation
//! by which each says which GPUs are its own. So a view that is made anew has the same.

use std::sync::Arc;

use super::View;
use super::class::PodClass;
use super::slots::NodeId;
use crate::model::pod::gpu::{devices_text, named_devices};
use crate::model::{GPU_DEVICES, GpuRequest, Pod, WHOLE_GPU};

/// The most GPUs of a node that are told apart; further ones are not given to anybody.
const MAX_GPUS: usize = 1024;

/// The GPUs of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Devices {
    /// How much of each is taken, in thousandths.
    used: Vec<u32>,
    /// How many pods with GPUs don't say which they have.
    unsaid: u32,
}

impl Devices {
    pub(crate) const fn none() -> Self {
        Self { used: Vec::new(), unsaid: 0 }
    }

    /// What is left of each, in thousandths.
    pub(crate) fn free(&self) -> impl ExactSizeIterator<Item = u16> {
        self.used.iter().map(|used| left(*used))
    }

    pub(crate) fn fits(&self, request: GpuRequest) -> bool {
        match request {
            GpuRequest::None => true,
            GpuRequest::Whole(devices) => {
                self.used.iter().filter(|used| **used == 0).count() >= usize::from(devices)
            }
            GpuRequest::Share(milli) => self.free().any(|free| free >= milli),
            GpuRequest::Impossible => false,
        }
    }

    /// The devices for `request`: whole ones by number; a share on the fullest device that has room for it, of equal
    /// ones on the first. `None` where there is no room.
    pub(crate) fn choose(&self, request: GpuRequest) -> Option<Vec<u16>> {
        let enough = |device: &usize| left(self.used[*device]) >= request.of_each();
        let mut devices: Vec<usize> = (0..self.used.len()).filter(enough).collect();
        if let GpuRequest::Share(_) = request {
            devices.sort_by_key(|device| std::cmp::Reverse(self.used[*device]));
        }
        devices.truncate(request.devices());
        (self.fits(request) && devices.len() == request.devices()).then(|| numbers(devices))
    }

    /// Where `request` is taken to be that is there already and does not say where: as if it were placed now, or on the
    /// emptiest devices where there is no room.
    fn guess(&self, request: GpuRequest) -> Vec<u16> {
        self.choose(request).unwrap_or_else(|| {
            let mut devices: Vec<usize> = (0..self.used.len()).collect();
            devices.sort_by_key(|device| self.used[*device]);
            devices.truncate(request.devices());
            numbers(devices)
        })
    }

    fn knows(&self, devices: &[u16]) -> bool {
        devices.last().is_some_and(|last| usize::from(*last) < self.used.len())
    }

    pub(super) fn add(&mut self, devices: &[u16], of_each: u16) {
        devices.iter().for_each(|device| self.used[usize::from(*device)] += u32::from(of_each));
    }

    pub(super) fn take_off(&mut self, devices: &[u16], of_each: u16) {
        devices.iter().for_each(|device| self.used[usize::from(*device)] -= u32::from(of_each));
    }
}

fn left(used: u32) -> u16 {
    WHOLE_GPU.saturating_sub(u16::try_from(used).unwrap_or(u16::MAX))
}

fn numbers(mut devices: Vec<usize>) -> Vec<u16> {
    devices.sort_unstable();
    devices.into_iter().filter_map(|device| u16::try_from(device).ok()).collect()
}

/// The GPUs of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Gpus(Vec<Devices>);

impl Gpus {
    /// Those of a node; `None` where no GPU was ever heard of there.
    pub(crate) fn of(&self, node: NodeId) -> Option<&Devices> {
        self.0.get(node.index())
    }

    fn entry(&mut self, node: NodeId) -> &mut Devices {
        if self.0.len() <= node.index() {
            self.0.resize((node.index() + 1).next_power_of_two(), Devices::default());
        }
        &mut self.0[node.index()]
    }
}

impl View {
    pub(crate) fn gpus(&self) -> &Gpus {
        &self.gpus
    }

    /// `pod` with the annotation that says which GPUs of the node it gets; as it is, where it asks for none.
    pub(super) fn with_devices(&self, pod: &Arc<Pod>, class: &PodClass, node: NodeId) -> Arc<Pod> {
        if class.gpus == GpuRequest::None {
            return Arc::clone(pod);
        }
        let mut pod = Pod::clone(pod);
        // Who waits for others to leave has none yet.
        match self.gpus.of(node).and_then(|devices| devices.choose(class.gpus)) {
            Some(devices) => {
                pod.metadata.annotations.insert(GPU_DEVICES.to_owned(), devices_text(&devices));
            }
            None => {
                pod.metadata.annotations.remove(GPU_DEVICES);
            }
        }
        Arc::new(pod)
    }

    /// The node has so many GPUs from now on.
    pub(super) fn set_gpus(&mut self, node: NodeId, count: i64) {
        let count = usize::try_from(count).unwrap_or(0).min(MAX_GPUS);
        if count > 0 || self.gpus.of(node).is_some_and(|devices| !devices.used.is_empty()) {
            self.gpus.entry(node).used.resize(count, 0);
            self.lay_out_gpus(node);
        }
    }

    /// A pod of this class, which asks for GPUs, has come to the node ([`Devices::add`]) or left it
    /// ([`Devices::take_off`]).
    pub(super) fn charge_gpus(
        &mut self,
        node: NodeId,
        pod: &Pod,
        class: &PodClass,
        charge: fn(&mut Devices, &[u16], u16),
    ) {
        let (devices, entry) = (named_devices(&pod.metadata, class.gpus), self.gpus.entry(node));
        if entry.unsaid == 0 && entry.knows(&devices) {
            charge(entry, &devices, class.gpus.of_each());
        } else {
            self.lay_out_gpus(node);
        }
    }

    /// Works out anew what is taken. Pods that say which GPUs they have come first; the others follow from the oldest to
    /// the youngest.
    fn lay_out_gpus(&mut self, node: NodeId) {
        let count = self.gpus.of(node).map_or(0, |devices| devices.used.len());
        let mut devices = Devices { used: vec![0; count], unsaid: 0 };
        let mut unsaid: Vec<(&Pod, GpuRequest)> = Vec::new();
        for (pod, class) in self.residents_of(node).filter(|(_, class)| class.gpus != GpuRequest::None) {
            let named = named_devices(&pod.metadata, class.gpus);
            if devices.knows(&named) {
                devices.add(&named, class.gpus.of_each());
            } else {
                unsaid.push((pod, class.gpus));
            }
        }
        unsaid.sort_by_key(|(pod, _)| (pod.metadata.creation_timestamp, &pod.metadata.uid));
        for (_, request) in &unsaid {
            let guess = devices.guess(*request);
            devices.add(&guess, request.of_each());
        }
        devices.unsaid = u32::try_from(unsaid.len()).unwrap_or(u32::MAX);
        *self.gpus.entry(node) = devices;
    }
}

#[cfg(test)]
mod tests {
    use super::super::View;
    use super::*;
    use crate::model::{GPU, GPU_MILLI, Node};
    use crate::scheduler::testing::{bound, node, pod, quantity, run, view};
    use crate::scheduler::{Outcome, Pipeline, schedule};

    fn with_gpus(name: &str, count: &str) -> Node {
        let mut node = node(name, "a");
        node.status.allocatable.insert(GPU.into(), quantity(count));
        node
    }

    fn asking(name: &str, resource: &str, amount: &str) -> Pod {
        let mut pod = pod(name, "web", "1m");
        pod.spec_mut().containers[0].resources.requests.insert(resource.into(), quantity(amount));
        pod
    }

    fn free(view: &View, node: &str) -> Vec<u16> {
        view.node_named(node).unwrap().gpus().collect()
    }

    /// Places one, and gives it as it is to be bound.
    fn place(view: &mut View, pod: Pod) -> Arc<Pod> {
        let decision = schedule(&mut Pipeline::kubernetes(), view, [Arc::new(pod)]).remove(0);
        let Outcome::Assigned(node) = decision.outcome else { panic!("{:?}", decision.outcome) };
        bound(Pod::clone(&decision.pod), &node)
    }

    #[test]
    fn shares_lie_on_one_device_and_whole_gpus_on_empty_ones() {
        let mut view = view([with_gpus("n", "2")]);
        let shares = [("a", "600"), ("b", "500"), ("c", "400")];
        let placed = shares.map(|(name, milli)| place(&mut view, asking(name, GPU_MILLI, milli)));
        assert_eq!(placed.each_ref().map(|pod| pod.gpu_devices()), [[0], [1], [0]]);
        assert_eq!(free(&view, "n"), [0, 500]);
        let node = view.node_named("n").unwrap();
        assert_eq!((node.used(GPU_MILLI), node.allocatable(GPU_MILLI), node.used(GPU)), (1500, 2000, 0));
        let mut why = |name: &str, resource: &str, amount: &str| {
            run(&mut Pipeline::kubernetes(), &mut view, [Arc::new(asking(name, resource, amount))])
                .remove(0)
                .1
        };
        assert_eq!(why("d", GPU_MILLI, "501"), "0/1 nodes: 1 insufficient orchestra.dev/gpu-milli");
        assert_eq!(why("e", GPU, "1"), "0/1 nodes: 1 insufficient nvidia.com/gpu");
        assert_eq!(why("f", GPU_MILLI, "1500"), "0/1 nodes: 1 insufficient orchestra.dev/gpu-milli");
        assert!(view.pod_removed(&placed[1].metadata.uid) != crate::scheduler::Change::NONE);
        assert_eq!(place(&mut view, asking("g", GPU, "1")).gpu_devices(), [1]);
    }

    /// Together two devices have enough left for a whole one, but neither has.
    #[test]
    fn the_sum_of_what_is_left_is_no_gpu() {
        let mut view = view([with_gpus("n", "2")]);
        for name in ["a", "b"] {
            place(&mut view, asking(name, GPU_MILLI, "501"));
        }
        for (resource, amount) in [(GPU, "1"), (GPU_MILLI, "600")] {
            let waits =
                run(&mut Pipeline::kubernetes(), &mut view, [Arc::new(asking("c", resource, amount))]);
            assert_eq!(waits[0].1, format!("0/1 nodes: 1 insufficient {resource}"));
        }
        for (resource, amount, missing) in [(GPU_MILLI, "600", 101), (GPU, "2", 2)] {
            let pod = Arc::new(asking("c", resource, amount));
            let why = crate::scheduler::explain(&mut Pipeline::kubernetes(), &mut view, &pod).to_string();
            assert!(why.contains(&format!("if {missing} more {resource} were free")), "{why}");
        }
        // Who is more important has the one leave whose device it can have then.
        let mut urgent = asking("urgent", GPU, "1");
        urgent.spec_mut().priority = Some(5);
        let placed = run(&mut Pipeline::kubernetes(), &mut view, [Arc::new(urgent)]);
        assert!(placed[0].1 == "n without a" || placed[0].1 == "n without b", "{placed:?}");
    }

    #[test]
    fn a_view_made_anew_has_the_same_shares() {
        let mut followed = view([with_gpus("n", "3")]);
        let mut bound_pods: Vec<Arc<Pod>> = Vec::new();
        for (name, milli) in [("a", "600"), ("b", "700"), ("c", "300"), ("d", "400"), ("e", "250")] {
            bound_pods.push(place(&mut followed, asking(name, GPU_MILLI, milli)));
        }
        // It would be packed otherwise now.
        followed.pod_removed(&bound_pods.remove(0).metadata.uid);
        for pod in &bound_pods {
            assert_eq!(followed.pod_changed(pod), crate::scheduler::Change::NONE, "a confirmation");
        }
        let before = free(&followed, "n");
        let mut anew = view([]);
        bound_pods.reverse();
        bound_pods.iter().for_each(|pod| {
            anew.pod_changed(pod);
        });
        anew.node_changed(&Arc::new(with_gpus("n", "3")));
        assert_eq!(free(&anew, "n"), before);
        assert_ne!(before, [1000; 3]);
        // What is tried out leaves no trace.
        followed.what_if(|view| {
            view.pod_removed(&bound_pods[0].metadata.uid);
            place(view, asking("x", GPU_MILLI, "100"));
            view.node_changed(&Arc::new(with_gpus("n", "1")));
        });
        assert_eq!(free(&followed, "n"), before);
    }

    /// Pods that others have bound say nothing: where they are does not depend on the order of the news.
    #[test]
    fn pods_that_do_not_say_are_counted_in_one_order() {
        let pods: Vec<Arc<Pod>> =
            [("a", GPU_MILLI, "300"), ("b", GPU_MILLI, "800"), ("c", GPU, "1"), ("d", GPU_MILLI, "200")]
                .into_iter()
                .map(|(name, resource, amount)| bound(asking(name, resource, amount), "n"))
                .collect();
        let free_after = |order: &[usize]| {
            let mut view = view([with_gpus("n", "3")]);
            order.iter().for_each(|i| {
                view.pod_changed(&pods[*i]);
            });
            free(&view, "n")
        };
        assert_eq!(free_after(&[0, 1, 2, 3]), [700, 0, 0]);
        assert_eq!(free_after(&[3, 1, 2, 0]), free_after(&[0, 1, 2, 3]));
        let mut view = view([with_gpus("n", "1")]);
        pods.iter().for_each(|pod| {
            view.pod_changed(pod);
        });
        assert_eq!((free(&view, "n"), view.node_named("n").unwrap().free(GPU_MILLI)), (vec![0], -1300));
        pods.iter().for_each(|pod| {
            view.pod_removed(&pod.metadata.uid);
        });
        assert_eq!(free(&view, "n"), [1000]);
    }
}
