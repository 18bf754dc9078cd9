//! Near endpoints first.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::endpoint::Lease;
use super::members::Dice;
use super::{Endpoint, EndpointId, LoadBalancer, RequestKey};

/// How [`ZoneAware`] divides requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZoneOptions {
    /// How much the own zone's endpoints may be asked to do beyond their own share, in percent of it; 100 at least. With 140,
    /// they take all requests for as long as five of seven of them can be picked.
    pub overprovisioning: u32,
    /// Seeds the choices.
    pub seed: u64,
}

impl Default for ZoneOptions {
    fn default() -> Self {
        // As Envoy has it: two of seven may be out before the rest has 1.4 times its share.
        Self { overprovisioning: 140, seed: 0 }
    }
}

impl ZoneOptions {
    /// Sets [`overprovisioning`](Self::overprovisioning), to 100 at least.
    #[must_use]
    pub fn with_overprovisioning(self, percent: u32) -> Self {
        Self { overprovisioning: percent.max(100), ..self }
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// Picks endpoints of the own zone, and of other zones only as far as the own ones can't do it.
///
/// The rule is Envoy's for localities: of a request's own zone's endpoints, those count as fit that it does not
/// [exclude](RequestKey::exclude), which are those that are not ejected, not unhealthy and not full. The own zone gets the
/// share `fit / all * overprovisioning` of the requests, all of them at most, and the other zones the rest. Where the own
/// zone has no endpoint, the others get all. An endpoint without a zone is in no zone.
///
/// Among the endpoints of either side another balancer picks: one for the own zone, one for all others.
#[derive(Debug)]
pub struct ZoneAware {
    zone: Arc<str>,
    options: ZoneOptions,
    own: Box<dyn LoadBalancer>,
    others: Box<dyn LoadBalancer>,
    /// The own zone's endpoints.
    near: ArcSwap<Vec<EndpointId>>,
    writer: Mutex<()>,
    dice: Dice,
}

impl ZoneAware {
    /// A balancer without endpoints, for requests that come from `zone`. `make` makes the two that pick.
    #[must_use]
    pub fn new(
        zone: impl Into<Arc<str>>,
        options: ZoneOptions,
        make: impl Fn() -> Box<dyn LoadBalancer>,
    ) -> Self {
        Self {
            zone: zone.into(),
            options,
            own: make(),
            others: make(),
            near: ArcSwap::default(),
            writer: Mutex::default(),
            dice: Dice::new(options.seed),
        }
    }

    /// Whether this request is the own zone's.
    fn stays(&self, request: &RequestKey<'_>) -> bool {
        if request.exclude.is_empty() || request.only.is_some() {
            return true;
        }
        let near = self.near.load();
        let fit = near.iter().filter(|id| request.allows(id)).count();
        let percent = fit * self.options.overprovisioning as usize / near.len().max(1);
        percent >= 100 || self.dice.below(100) < percent
    }

    fn set_near(&self, id: &EndpointId, is_near: bool) {
        let near = self.near.load();
        if near.contains(id) == is_near {
            return;
        }
        let mut changed = (**near).clone();
        changed.retain(|other| other != id);
        changed.extend(is_near.then(|| id.clone()));
        self.near.store(Arc::new(changed));
    }
}

impl LoadBalancer for ZoneAware {
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease> {
        let (first, second) = match self.stays(request) {
            true => (&self.own, &self.others),
            false => (&self.others, &self.own),
        };
        first.pick(request).or_else(|| second.pick(request))
    }

    /// What is known of an endpoint that changes its zone is lost.
    fn insert(&self, endpoint: Endpoint) {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let is_near = !self.zone.is_empty() && endpoint.zone == self.zone;
        let (to, from) = if is_near { (&self.own, &self.others) } else { (&self.others, &self.own) };
        let id = endpoint.id.clone();
        to.insert(endpoint);
        from.remove(&id);
        self.set_near(&id, is_near);
    }

    fn remove(&self, id: &EndpointId) {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.own.remove(id);
        self.others.remove(id);
        self.set_near(id, false);
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let mut all = self.own.endpoints();
        all.extend(self.others.endpoints());
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{LeastRequests, RoundRobin};
    use super::*;

    fn endpoint(zone: &str, i: u8) -> Endpoint {
        Endpoint::new(format!("{zone}-{i}"), ([127, 0, 0, i], 80)).zone(zone)
    }

    fn balancer(near: u8, far: u8) -> ZoneAware {
        let balancer = ZoneAware::new("a", ZoneOptions::default(), || Box::<RoundRobin>::default());
        (1..=near).for_each(|i| balancer.insert(endpoint("a", i)));
        (1..=far).for_each(|i| balancer.insert(endpoint("b", i)));
        balancer
    }

    /// How many of a thousand requests stay in the own zone, while these of it are out.
    fn stay(balancer: &ZoneAware, out: &[EndpointId]) -> usize {
        let request = RequestKey::at(Duration::ZERO).exclude(out);
        let picked = (0..1000).map(|_| balancer.pick(&request).unwrap());
        picked.filter(|lease| lease.id().pod.as_str().starts_with("a-")).count()
    }

    #[test]
    fn requests_leave_the_zone_by_as_much_as_it_can_not_do() {
        let balancer = balancer(10, 3);
        let out: Vec<EndpointId> = (1..=10).map(|i| endpoint("a", i).id).collect();
        assert_eq!([0, 1, 2].map(|n| stay(&balancer, &out[..n])), [1000; 3], "eight of ten do all");
        // 0.5 * 1.4, and 0.1 * 1.4.
        let (half, tenth) = (stay(&balancer, &out[..5]), stay(&balancer, &out[..9]));
        assert!((640..760).contains(&half), "{half} of 1000 stay with five of ten");
        assert!((100..190).contains(&tenth), "{tenth} of 1000 stay with one of ten");
        assert_eq!(stay(&balancer, &out), 0);
    }

    #[test]
    fn where_one_side_has_nobody_the_other_does_all() {
        assert_eq!(stay(&balancer(0, 2), &[]), 0);
        let alone = balancer(2, 0);
        assert_eq!(stay(&alone, &[endpoint("a", 1).id]), 1000);
        assert!(balancer(0, 0).pick(&RequestKey::at(Duration::ZERO)).is_none());
        let nowhere = ZoneAware::new("", ZoneOptions::default(), || Box::<LeastRequests>::default());
        nowhere.insert(endpoint("", 1));
        assert!(nowhere.near.load().is_empty(), "no zone is nobody's own");
    }

    #[test]
    fn an_endpoint_that_changes_its_zone_is_in_one_of_them() {
        let balancer = balancer(1, 1);
        let moved = Endpoint::new("a-1", ([127, 0, 0, 1], 80)).zone("b");
        balancer.insert(moved.clone());
        assert_eq!((balancer.endpoints().len(), stay(&balancer, &[endpoint("b", 1).id])), (2, 1000));
        assert!(balancer.near.load().is_empty());
        balancer.remove(&moved.id);
        assert_eq!(balancer.endpoints().len(), 1);
    }
}
