//! What a deployment says about itself.

use super::mark;
use super::situation::Situation;
use crate::model::{Condition, ConditionStatus, Deployment, DeploymentStatus, StrategyType};
use crate::rollout::{Phase, RolloutStep};

/// The condition of a deployment whose last rollout failed and was undone.
pub const ROLLED_BACK: &str = "RolledBack";

/// Whether all pods of a deployment are of the version now desired, and available: its rollout is over.
#[must_use]
pub fn is_rolled_out(deployment: &Deployment) -> bool {
    let (status, want) = (&deployment.status, deployment.spec.replicas);
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas == want
        && status.replicas == want
        && status.available_replicas == want
        && Condition::find(&status.conditions, "Progressing")
            .is_some_and(|c| c.reason == "NewReplicaSetAvailable")
}

/// The status that follows from a look and a step. PURE.
pub(super) fn status(
    situation: &Situation,
    step: &RolloutStep,
    created: bool,
    got_on: bool,
) -> DeploymentStatus {
    let (deployment, counts) = (&situation.deployment, &situation.counts);
    let old = &deployment.status;
    let terminating = situation.versions.iter().map(|v| v.standing.terminating).sum();
    let mut conditions = old.conditions.clone();
    available(situation).set_in(&mut conditions);
    progressing(situation, step, created, got_on).set_in(&mut conditions);
    failure(situation, &mut conditions);
    if !situation.view().undone && step.rollback_to.is_none() {
        conditions.retain(|c| c.type_ != ROLLED_BACK);
    }
    let mut extra = old.extra.clone();
    mark::write(
        &mut extra,
        situation.revision,
        Some(&situation.mark).filter(|_| step.phase != Phase::Complete),
    );
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: counts.total,
        updated_replicas: counts.updated,
        ready_replicas: counts.ready,
        available_replicas: counts.available,
        unavailable_replicas: deployment.spec.replicas.max(counts.total).saturating_sub(counts.available),
        terminating_replicas: Some(terminating),
        collision_count: Some(situation.collisions).filter(|n| *n > 0),
        conditions,
        extra,
    }
}

fn available(situation: &Situation) -> Condition {
    let spec = &situation.deployment.spec;
    let least = match spec.strategy.type_ {
        // Recreate allows an outage, but an outage it is.
        StrategyType::Recreate => spec.replicas,
        StrategyType::RollingUpdate => situation.view().floor(),
    };
    let holds = situation.counts.available >= least;
    let condition = Condition::new("Available", holds, situation.now);
    let mut condition = if holds {
        condition.reason("MinimumReplicasAvailable").message("Deployment has minimum availability.")
    } else {
        condition
            .reason("MinimumReplicasUnavailable")
            .message("Deployment does not have minimum availability.")
    };
    let before = Condition::find(&situation.deployment.status.conditions, "Available");
    let unchanged = before.filter(|before| before.status == condition.status);
    condition.last_update_time = unchanged.map_or(Some(situation.now), |before| before.last_update_time);
    condition
}

fn progressing(situation: &Situation, step: &RolloutStep, created: bool, got_on: bool) -> Condition {
    let status = match step.phase {
        Phase::Progressing | Phase::Complete => ConditionStatus::True,
        Phase::Failed => ConditionStatus::False,
        Phase::Paused => ConditionStatus::Unknown,
    };
    let mut condition = Condition::new("Progressing", status, situation.now);
    condition = if created {
        let message = format!("Created new replica set \"{}\"", situation.name);
        condition.reason("NewReplicaSetCreated").message(message)
    } else {
        condition.reason(step.reason.as_ref()).message(step.message.as_str())
    };
    // This time is what the progress deadline runs from. While it is paused, none runs.
    let before = Condition::find(&situation.deployment.status.conditions, "Progressing");
    let waits = before.filter(|before| before.reason == condition.reason && step.phase == Phase::Paused);
    let at = if got_on { situation.now } else { situation.progressed_at };
    condition.last_update_time = waits.map_or(Some(at), |before| before.last_update_time);
    condition
}

fn failure(situation: &Situation, conditions: &mut Vec<Condition>) {
    let failure =
        |i: usize| Condition::find(&situation.versions[i].set.status.conditions, "ReplicaFailure").cloned();
    let any = || (0..situation.versions.len()).find_map(failure);
    match situation.new.and_then(failure).or_else(any) {
        Some(failure) => {
            failure.set_in(conditions);
        }
        None => conditions.retain(|c| c.type_ != "ReplicaFailure"),
    }
}
