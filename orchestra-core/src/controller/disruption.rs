//! How many pods may be taken away on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::selected::{Selected, Selects};
use super::workload::owner_of;
use crate::client::{Client, ClientError, DeleteOptions};
use crate::engine::{Cache, CacheChange, Caches, Controller, Next, ReconcileError, Reconciler, Tasks};
use crate::model::{
    Condition, Deployment, IntOrPercent, Labels, ObjectKey, Pod, PodDisruptionBudget,
    PodDisruptionBudgetStatus, PodPhase, ReplicaSet, Resource, Timestamp, UnhealthyPodEvictionPolicy,
};
use crate::rng::Rng;

/// How long an eviction that was granted counts as on its way, until the pod is seen to go: Kubernetes' 2 min.
const EVICTION_PENDING: Duration = Duration::from_secs(120);

/// How often an eviction is tried again where the pod or its budget changed meanwhile.
const TRIES: usize = 16;

/// Keeps each budget's count of how many more pods may go. [`Client::evict`] spends it.
#[derive(Debug)]
pub struct DisruptionController {
    budgets: Arc<Cache<PodDisruptionBudget>>,
    selected: Selected<PodDisruptionBudget>,
    replica_sets: Arc<Cache<ReplicaSet>>,
    deployments: Arc<Cache<Deployment>>,
}

impl Selects for PodDisruptionBudget {
    fn has(&self, pod: &Pod) -> bool {
        self.covers(pod)
    }

    fn selects_like(&self, other: &Self) -> bool {
        self.spec.selector == other.spec.selector
    }
}

impl DisruptionController {
    /// Starts the controller in `tasks`.
    pub fn start(client: &Client, caches: &Caches, rng: &Rng, tasks: &Tasks) {
        let selected = Selected::new(caches);
        let reconciler = Self {
            budgets: caches.of(),
            selected: selected.clone(),
            replica_sets: caches.of(),
            deployments: caches.of(),
        };
        let (of_sets, of_deployments) = (caches.of(), caches.of());
        let controller = Controller::new("disruption", client, caches, rng)
            .on::<PodDisruptionBudget>()
            .maps(move |change, add| {
                look_if_scaled(&of_sets, change, |set: &ReplicaSet| set.spec.replicas, add)
            })
            .maps(move |change, add| {
                look_if_scaled(&of_deployments, change, |d: &Deployment| d.spec.replicas, add)
            });
        selected.look_on_change(controller.queue(), |old, new| counts_as(old) != counts_as(new));
        controller.start(reconciler, tasks);
    }
}

/// All that a budget looks at of a pod.
fn counts_as(pod: &Pod) -> (&Labels, bool, bool, bool) {
    (&pod.metadata.labels, pod.is_ready(), pod.metadata.is_deleting(), pod.is_terminal())
}

/// Has the budgets looked at whose pods may be those of an owner that is wanted in another size.
fn look_if_scaled<T: Resource>(
    budgets: &Cache<PodDisruptionBudget>,
    change: &CacheChange<'_, T>,
    size: fn(&T) -> u32,
    add: &mut dyn FnMut(ObjectKey),
) {
    let (old, new) = (change.old.map(|old| size(old)), change.new.map(|new| size(new)));
    if old != new {
        let here = budgets.in_namespace(&change.key.namespace);
        here.iter().for_each(|budget| add(ObjectKey::of(&**budget)));
    }
}

fn is_healthy(pod: &Pod) -> bool {
    pod.is_ready() && !pod.metadata.is_deleting()
}

#[async_trait]
impl Reconciler for DisruptionController {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Next::OnChange) };
        let now = client.clock().now();
        let pods = self.selected.pods(key);
        let status = status(&budget, &pods, self.wanted(&pods), now);
        let pending = !status.disrupted_pods.is_empty();
        if status != budget.status {
            client.update_status(PodDisruptionBudget { status, ..(*budget).clone() }).await?;
        }
        Ok(if pending { Next::After(EVICTION_PENDING) } else { Next::OnChange })
    }
}

impl DisruptionController {
    /// How many pods the owners of these want, each counted once; else the name of a pod of which nobody says so.
    fn wanted(&self, pods: &[Arc<Pod>]) -> Result<u32, String> {
        let mut sizes = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !pod.is_terminal()) {
            let unknown = || pod.metadata.name.clone();
            let set = owner_of(&pod.metadata, &self.replica_sets).ok_or_else(unknown)?;
            // All versions of a deployment together are to have its size.
            match owner_of(&set.metadata, &self.deployments) {
                Some(owner) => sizes.insert(owner.metadata.uid.clone(), owner.spec.replicas),
                None => sizes.insert(set.metadata.uid.clone(), set.spec.replicas),
            };
        }
        Ok(sizes.into_values().fold(0, u32::saturating_add))
    }
}

/// What may go, from the pods as they are, and from how many there should be: a budget that counted those that are
/// there would give way with each that is gone. Where that can't be known, nothing may go, unless the budget names
/// a number. PURE.
fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    wanted: Result<u32, String>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    // They come ordered by name.
    let find = |name: &String| pods.binary_search_by(|pod| pod.metadata.name.cmp(name)).ok();
    let going = |(name, since): (&String, &Timestamp)| {
        let waits = find(name).is_some_and(|found| !pods[found].metadata.is_deleting());
        (waits && now.since(*since) < EVICTION_PENDING).then(|| (name.clone(), *since))
    };
    let disrupted: BTreeMap<String, Timestamp> =
        budget.status.disrupted_pods.iter().filter_map(going).collect();
    let counted = |pod: &&Arc<Pod>| is_healthy(pod) && !disrupted.contains_key(&pod.metadata.name);
    let healthy = count(pods.iter().filter(counted).count());
    let there = count(pods.iter().filter(|p| !p.is_terminal()).count());
    let (min, max) = (budget.spec.min_available, budget.spec.max_unavailable);
    let (expected, desired, unknown) = match (min, max, wanted) {
        (Some(IntOrPercent::Int(n)), ..) => (there, n, None),
        (Some(share), _, Ok(wanted)) => (wanted, share.round_up(wanted), None),
        (None, Some(max), Ok(wanted)) => (wanted, wanted.saturating_sub(max.round_up(wanted)), None),
        (None, None, _) => (there, there, None),
        (.., Err(pod)) => (there, there, Some(pod)),
    };
    let allowed = if unknown.is_some() || expected == 0 { 0 } else { healthy.saturating_sub(desired) };
    let mut conditions = budget.status.conditions.clone();
    let reason = match (&unknown, allowed) {
        (Some(_), _) => "SyncFailed",
        (None, 0) => "InsufficientPods",
        (None, _) => "SufficientPods",
    };
    let mut condition = Condition::new("DisruptionAllowed", allowed > 0, now).reason(reason);
    if let Some(pod) = unknown {
        condition = condition.message(format!(
            "no ReplicaSet or Deployment says how many pods there should be beside {pod}: set minAvailable to a number"
        ));
    }
    condition.observed_generation = budget.metadata.generation;
    condition.set_in(&mut conditions);
    PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disruptions_allowed: allowed,
        current_healthy: healthy,
        desired_healthy: desired,
        expected_pods: expected,
        disrupted_pods: disrupted,
        conditions,
        extra: budget.status.extra.clone(),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Client {
    /// Deletes a pod, unless a disruption budget forbids it just now. The budget is spent in the commit
    /// that deletes the pod, so two evictions at once can't both use the last of it. A pod that never ran takes
    /// nothing from it.
    ///
    /// # Errors
    /// [`ClientError::Denied`] names the budget that forbids it; try again later. Else as
    /// [`delete`](Self::delete).
    pub async fn evict(&self, name: &str, options: &DeleteOptions) -> Result<(), ClientError> {
        let mut tries = 0;
        loop {
            let pod = self.get::<Pod>(name).await?;
            let meant = options.uid.as_ref().is_none_or(|uid| *uid == pod.metadata.uid)
                && options.revision.is_none_or(|revision| revision == pod.metadata.resource_version);
            let mut options = options.clone();
            options.uid.get_or_insert_with(|| pod.metadata.uid.clone());
            let mut transaction = self.transaction();
            if meant && !pod.is_terminal() && !pod.metadata.is_deleting() {
                if let Some(spent) = self.budget_without(&pod).await? {
                    transaction = transaction.update_status(spent);
                } else {
                    // It goes free as it is now: it may be about to get well.
                    options.revision = Some(pod.metadata.resource_version);
                }
            }
            tries += 1;
            match transaction.delete_any(ObjectKey::of(&*pod), options).commit().await {
                Err(error) if error.is_conflict() && meant && tries < TRIES => {}
                result => return result.map(drop),
            }
        }
    }

    /// The budget that covers `pod`, less its eviction; `None` where that takes nothing from one.
    async fn budget_without(&self, pod: &Pod) -> Result<Option<PodDisruptionBudget>, ClientError> {
        if !is_healthy(pod) && pod.status.phase == PodPhase::Pending {
            return Ok(None);
        }
        let denied = |why: String| ClientError::Denied { key: ObjectKey::of(pod), why };
        let budgets = self.list::<PodDisruptionBudget>(&crate::client::ListOptions::default()).await?;
        let mut covering = budgets.items.iter().filter(|budget| budget.covers(pod));
        match (covering.next(), covering.next()) {
            (Some(budget), None) => spend(budget, pod, self.clock().now()).map_err(denied),
            (None, _) => Ok(None),
            _ => Err(denied(
                "more than one disruption budget selects it; make their selectors disjoint".to_owned(),
            )),
        }
    }
}

/// The budget with one eviction less; `None` where the pod takes nothing from it.
fn spend(
    budget: &PodDisruptionBudget,
    pod: &Pod,
    now: Timestamp,
) -> Result<Option<PodDisruptionBudget>, String> {
    let status = &budget.status;
    if !is_healthy(pod) {
        let enough = status.current_healthy >= status.desired_healthy;
        if enough || budget.spec.unhealthy_pod_eviction_policy == UnhealthyPodEvictionPolicy::AlwaysAllow {
            return Ok(None);
        }
    }
    let name = &budget.metadata.name;
    if status.observed_generation < budget.metadata.generation {
        return Err(format!("disruption budget {name} was changed and is still being evaluated; try again"));
    }
    if status.disruptions_allowed == 0 {
        let (healthy, desired) = (status.current_healthy, status.desired_healthy);
        return Err(format!(
            "disruption budget {name} needs {desired} healthy pods and has {healthy}; try again later"
        ));
    }
    let mut spent = budget.clone();
    spent.status.disruptions_allowed -= 1;
    spent.status.disrupted_pods.insert(pod.metadata.name.clone(), now);
    Ok(Some(spent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: bool) -> Pod {
        let mut pod = Pod::new(name).label("app", "web");
        pod.set_condition(Condition::new("Ready", ready, Timestamp::EPOCH));
        pod
    }

    #[test]
    fn a_budget_counts_healthy_pods_and_rounds_up() {
        let pods: Vec<_> = (0..7).map(|i| Arc::new(pod(&format!("web-{i}"), i != 0))).collect();
        let allowed = |budget: PodDisruptionBudget, wanted| {
            status(&budget, &pods, wanted, Timestamp::EPOCH).disruptions_allowed
        };
        let half = IntOrPercent::Percent(50);
        assert_eq!(allowed(PodDisruptionBudget::new("web").min_available(4), Ok(7)), 2);
        assert_eq!(allowed(PodDisruptionBudget::new("web").min_available(half), Ok(7)), 2);
        assert_eq!(allowed(PodDisruptionBudget::new("web").max_unavailable(1), Ok(7)), 0);
        assert_eq!(allowed(PodDisruptionBudget::new("web").max_unavailable(half), Ok(7)), 3);
        // Three more should be there: they are missing already.
        assert_eq!(allowed(PodDisruptionBudget::new("web").min_available(half), Ok(10)), 1);
        assert_eq!(allowed(PodDisruptionBudget::new("web").max_unavailable(half), Ok(10)), 1);
        assert_eq!(allowed(PodDisruptionBudget::new("web").max_unavailable(3), Ok(10)), 0);
        let unknown = || Err("web-3".to_owned());
        assert_eq!(allowed(PodDisruptionBudget::new("web").min_available(4), unknown()), 2);
        assert_eq!(allowed(PodDisruptionBudget::new("web").min_available(half), unknown()), 0);
        assert_eq!(allowed(PodDisruptionBudget::new("web").max_unavailable(5), unknown()), 0);
    }

    #[test]
    fn an_eviction_that_is_on_its_way_is_not_counted_twice() {
        let pods: Vec<_> = (0..3).map(|i| Arc::new(pod(&format!("web-{i}"), true))).collect();
        let mut budget = PodDisruptionBudget::new("web").min_available(2);
        budget.status = status(&budget, &pods, Ok(3), Timestamp::EPOCH);
        assert_eq!(budget.status.disruptions_allowed, 1);
        let spent = spend(&budget, &pods[0], Timestamp::EPOCH).unwrap().unwrap();
        assert!(spend(&spent, &pods[1], Timestamp::EPOCH).is_err());
        let again = status(&spent, &pods, Ok(3), Timestamp::EPOCH);
        assert_eq!(again.disruptions_allowed, 0, "the pod is still there, but granted");
        let later = status(&spent, &pods, Ok(3), Timestamp::EPOCH + EVICTION_PENDING);
        assert_eq!(later.disruptions_allowed, 1, "it never went: the grant lapses");
    }
}
