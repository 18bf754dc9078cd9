//! Which rollout a deployment is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Deployment, StrategyType};
use crate::rollout::{BlueGreen, Canary, Recreate, RollingUpdate, Rollout};

/// The annotation of a deployment that names its rollout, in place of the one of `spec.strategy.type`.
pub const ROLLOUT: &str = "orchestra.dev/rollout";

/// The name of the rollout that ends all old pods before it makes new ones.
pub(in crate::controller) const RECREATE: &str = "recreate";

/// How long the canary that ships pauses after each of its steps.
const CANARY_PAUSE: Duration = Duration::from_secs(60);

/// The rollouts of a cluster, by name.
///
/// There are `rolling-update`, `recreate`, `blue-green`, and `canary` (a tenth, a minute, a half, a minute, all);
/// an application adds its own or replaces these. A deployment names one with the annotation [`ROLLOUT`]; without
/// it the strategy of its manifest counts.
#[derive(Clone, Debug)]
pub struct Rollouts {
    named: BTreeMap<String, Arc<dyn Rollout>>,
}

impl Default for Rollouts {
    fn default() -> Self {
        let canary = Canary::new().weight(10).pause(CANARY_PAUSE).weight(50).pause(CANARY_PAUSE);
        Self { named: BTreeMap::new() }
            .with("rolling-update", RollingUpdate::new())
            .with(RECREATE, Recreate::new())
            .with("blue-green", BlueGreen::new())
            .with("canary", canary)
    }
}

impl Rollouts {
    /// Those that ship.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rollout, or replaces the one of that name.
    #[must_use]
    pub fn with(self, name: impl Into<String>, rollout: impl Rollout) -> Self {
        self.with_shared(name, Arc::new(rollout))
    }

    /// Adds a rollout that is shared with others.
    #[must_use]
    pub fn with_shared(mut self, name: impl Into<String>, rollout: Arc<dyn Rollout>) -> Self {
        self.named.insert(name.into(), rollout);
        self
    }

    /// The rollout of `deployment`.
    ///
    /// # Errors
    /// The name, where there is none of that name.
    pub fn of<'d>(&self, deployment: &'d Deployment) -> Result<&Arc<dyn Rollout>, &'d str> {
        let by_type = match deployment.spec.strategy.type_ {
            StrategyType::RollingUpdate => "rolling-update",
            StrategyType::Recreate => RECREATE,
        };
        let name = deployment.metadata.annotations.value(ROLLOUT).unwrap_or(by_type);
        self.named.get(name).ok_or(name)
    }
}
