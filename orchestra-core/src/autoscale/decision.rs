//! What an autoscaler answers.

use std::borrow::Cow;

use super::{ScaleHistory, ScaleView};
use crate::model::MetricValueStatus;

/// One of an autoscaler's conditions: whether it holds, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleStatus {
    /// Whether it holds.
    pub holds: bool,
    /// Why, as one word for programs: one of Kubernetes' where it fits.
    pub reason: Cow<'static, str>,
    /// Why, for people.
    pub message: String,
}

impl ScaleStatus {
    /// It holds or not, and why.
    #[must_use]
    pub fn new(holds: bool, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { holds, reason: reason.into(), message: message.into() }
    }
}

/// How many replicas there shall be, and why.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScaleDecision {
    /// How many replicas there shall be.
    pub replicas: u32,
    /// What asks for them, for the event: `cpu resource utilization (percentage of request) above target`.
    pub cause: String,
    /// Whether the number may change: the condition `AbleToScale`.
    pub able: ScaleStatus,
    /// Whether a number could be computed: the condition `ScalingActive`.
    pub active: ScaleStatus,
    /// Whether a bound kept the number from what was computed: the condition `ScalingLimited`.
    pub limited: ScaleStatus,
    /// What was measured, for each of the spec's metrics; `None` where it wasn't.
    pub current: Vec<Option<MetricValueStatus>>,
    /// What the next call is shown as its history, provided that the change was carried out.
    pub history: ScaleHistory,
}

impl ScaleDecision {
    /// This many replicas, brought within the spec's bounds.
    #[must_use]
    pub fn to(
        view: &ScaleView<'_>,
        replicas: u32,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let within = view.clamp(replicas);
        let limited = if within == replicas {
            ScaleStatus::new(false, "DesiredWithinRange", "the desired count is within the acceptable range")
        } else if within < replicas {
            ScaleStatus::new(
                true,
                "TooManyReplicas",
                "the desired count is more than the maximum replica count",
            )
        } else {
            ScaleStatus::new(
                true,
                "TooFewReplicas",
                "the desired count is less than the minimum replica count",
            )
        };
        let message = message.into();
        Self {
            replicas: within,
            cause: message.clone(),
            able: ScaleStatus::new(true, "ReadyForNewScale", "the last scale is done"),
            active: ScaleStatus::new(true, reason, message),
            limited,
            current: Vec::new(),
            history: view.history.clone(),
        }
    }

    /// As many replicas as there are, because no number could be computed.
    #[must_use]
    pub fn unknown(
        view: &ScaleView<'_>,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self {
            replicas: view.current,
            active: ScaleStatus::new(false, reason, message.clone()),
            limited: ScaleStatus::new(false, "DesiredWithinRange", "the number of replicas stays"),
            ..Self::to(view, view.current, "", message)
        }
    }
}
