//! How fast it goes: windows and policies.

use std::time::Duration;

use super::ScaleHistory;
use crate::model::{
    HorizontalPodAutoscalerSpec, ScalingPolicy, ScalingPolicyType, ScalingRules, SelectPolicy, Timestamp,
};

/// How long it follows the highest of its wishes before it scales down, unless told otherwise: Kubernetes' default.
const DOWN_WINDOW: u32 = 300;
/// The period of the policies that hold where none are given: Kubernetes' default.
const DEFAULT_PERIOD: u32 = 15;

/// The rules of one autoscaler, with Kubernetes' defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct Behavior {
    up: ScalingRules,
    down: ScalingRules,
}

impl Behavior {
    pub(super) fn of(spec: &HorizontalPodAutoscalerSpec) -> Self {
        let behavior = spec.behavior.clone().unwrap_or_default();
        let policy = |type_, value| ScalingPolicy {
            type_,
            value,
            period_seconds: DEFAULT_PERIOD,
            ..ScalingPolicy::default()
        };
        let fill = |rules: Option<ScalingRules>, window, policies: Vec<ScalingPolicy>| {
            let mut rules = rules.unwrap_or_default();
            rules.stabilization_window_seconds.get_or_insert(window);
            if rules.policies.is_empty() {
                rules.policies = policies;
            }
            rules
        };
        let double = policy(ScalingPolicyType::Percent, 100);
        let four = policy(ScalingPolicyType::Pods, 4);
        Self {
            up: fill(behavior.scale_up, 0, vec![double.clone(), four]),
            down: fill(behavior.scale_down, DOWN_WINDOW, vec![double]),
        }
    }

    fn window(rules: &ScalingRules) -> Duration {
        Duration::from_secs(rules.stabilization_window_seconds.unwrap_or(0).into())
    }

    /// How long wishes and changes matter.
    pub(super) fn memory(&self) -> (Duration, Duration) {
        let policies = self.up.policies.iter().chain(&self.down.policies);
        let period = policies.map(|p| p.period_seconds).max().unwrap_or(0);
        (Self::window(&self.up).max(Self::window(&self.down)), Duration::from_secs(period.into()))
    }

    /// The most careful of the wishes in each direction's window.
    pub(super) fn stabilized(&self, history: &ScaleHistory, current: u32, wish: u32, now: Timestamp) -> u32 {
        let up = history.wishes_since(now, Self::window(&self.up)).fold(wish, u32::min);
        let down = history.wishes_since(now, Self::window(&self.down)).fold(wish, u32::max);
        current.max(up).min(down)
    }

    /// The most replicas that the policies allow.
    pub(super) fn ceiling(&self, history: &ScaleHistory, current: u32, now: Timestamp) -> u32 {
        let allowed = |policy: &ScalingPolicy| {
            let start = start_of_period(history, current, policy, now);
            match policy.type_ {
                ScalingPolicyType::Pods => start.saturating_add(policy.value),
                ScalingPolicyType::Percent => percent(start, 100u64.saturating_add(policy.value.into()), 99),
            }
        };
        let each = self.up.policies.iter().map(allowed);
        let limit = match self.up.select_policy {
            SelectPolicy::Max => each.max(),
            SelectPolicy::Min => each.min(),
            SelectPolicy::Disabled => None,
        };
        limit.unwrap_or(current).max(current)
    }

    /// The fewest replicas that the policies allow.
    pub(super) fn floor(&self, history: &ScaleHistory, current: u32, now: Timestamp) -> u32 {
        let allowed = |policy: &ScalingPolicy| {
            let start = start_of_period(history, current, policy, now);
            match policy.type_ {
                ScalingPolicyType::Pods => start.saturating_sub(policy.value),
                ScalingPolicyType::Percent => percent(start, 100u64.saturating_sub(policy.value.into()), 0),
            }
        };
        let each = self.down.policies.iter().map(allowed);
        let limit = match self.down.select_policy {
            SelectPolicy::Max => each.min(),
            SelectPolicy::Min => each.max(),
            SelectPolicy::Disabled => None,
        };
        limit.unwrap_or(current).min(current)
    }
}

/// How many replicas there were at the start of the policy's period, but for changes that others made.
fn start_of_period(history: &ScaleHistory, current: u32, policy: &ScalingPolicy, now: Timestamp) -> u32 {
    let change = history.change_since(now, Duration::from_secs(policy.period_seconds.into()));
    u32::try_from(i64::from(current).saturating_sub(change).max(0)).unwrap_or(u32::MAX)
}

fn percent(n: u32, percent: u64, bias: u64) -> u32 {
    u32::try_from(u64::from(n).saturating_mul(percent).saturating_add(bias) / 100).unwrap_or(u32::MAX)
}
